/* SPDX-License-Identifier: MIT */
/* What a capture's records mean, from the tables of the bus. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "host/internal.h"
#include "vmbus/message.h"
#include "vmbus/names.h"
#include "vmbus/pipe.h"
#include "vmbus/ring.h"

struct name {
	uint32_t value;
	const char *name;
};

#define NAME_ROW(value, name) {value, name},
static const struct name feature_names[] = {VMBUS_FEATURE_NAMES(NAME_ROW){0, NULL}};
static const struct name offer_flag_names[] = {VMBUS_OFFER_FLAG_NAMES(NAME_ROW){0, NULL}};
static const struct name open_flag_names[] = {VMBUS_OPEN_FLAG_NAMES(NAME_ROW){0, NULL}};
static const struct name status_names[] = {VMBUS_STATUS_NAMES(NAME_ROW){0, NULL}};
static const struct name state_names[] = {VMBUS_STATE_NAMES(NAME_ROW){0, NULL}};
static const struct name packet_names[] = {VMBUS_PACKET_TYPE_NAMES(NAME_ROW){0, NULL}};
static const struct name pipe_names[] = {VMBUS_PIPE_TYPE_NAMES(NAME_ROW){0, NULL}};

static const char *name_of(const struct name *names, uint64_t value)
{
	for (; names->name; names++)
		if (names->value == value)
			return names->name;
	return NULL;
}

/* ---- GUIDs ---- */

struct interface_name {
	uint32_t first;
	uint16_t second, third;
	uint64_t last; /* in the order in which it is written */
	const char *name;
};

#define INTERFACE_ROW(first, second, third, last, name) {first, second, third, last, name},
static const struct interface_name interface_names[] = {VMBUS_INTERFACE_NAMES(INTERFACE_ROW)};

const char *kmcl_interface_name(const uint8_t guid[16])
{
	uint64_t last = 0;

	for (unsigned int i = 8; i < 16; i++)
		last = last << 8 | guid[i];
	for (size_t i = 0; i < sizeof(interface_names) / sizeof(interface_names[0]); i++) {
		const struct interface_name *n = &interface_names[i];

		if (n->first == vmbus_get32(guid) && n->second == vmbus_get16(guid + 4) &&
		    n->third == vmbus_get16(guid + 6) && n->last == last)
			return n->name;
	}
	return NULL;
}

const char *kmcl_guid_text(const uint8_t guid[16], char text[37])
{
	snprintf(text, 37, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", vmbus_get32(guid),
		 vmbus_get16(guid + 4), vmbus_get16(guid + 6), guid[8], guid[9], guid[10], guid[11],
		 guid[12], guid[13], guid[14], guid[15]);
	return text;
}

/* ---- fields ---- */

struct format {
	const char *field;
	enum kmcl_field_format format;
	const char *unit;
};

#define FORMAT_ROW(field, format, unit) {#field, KMCL_FIELD_##format, unit},
static const struct format formats[] = {VMBUS_FIELD_FORMATS(FORMAT_ROW)};

static const struct format *format_of(const char *field)
{
	static const struct format other = {"", KMCL_FIELD_HEX, ""};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (!strcmp(formats[i].field, field))
			return &formats[i];
	return &other;
}

static uint64_t number_at(const uint8_t *p, uint32_t size)
{
	uint64_t value = 0;

	for (uint32_t i = size < 8 ? size : 8; i-- > 0;)
		value = value << 8 | p[i];
	return value;
}

/* From 5.0 on SINT, VTL and features are where the interrupt page's address was. */
static bool means_another(const uint8_t *message, const struct vmbus_field *f)
{
	bool views;

	if (vmbus_get32(message) != VMBUS_MSG_INITIATE_CONTACT || f->offset < 16 || f->offset >= 24)
		return false;
	views = vmbus_get32(message + 8) >= VMBUS_V5_0;
	return views != (f->kind == VMBUS_FIELD_VIEW);
}

static void take_field(struct kmcl_field *to, const struct vmbus_field *f, const uint8_t *message,
		       size_t size)
{
	const struct format *format = format_of(f->name);
	uint32_t bytes = f->kind == VMBUS_FIELD_REST ? (uint32_t)(size - f->offset) : f->size;

	*to = (struct kmcl_field){
		.name = f->name,
		.unit = format->unit,
		.format = format->format,
		.offset = f->offset,
		.size = bytes,
		.value = bytes <= 8 ? number_at(message + f->offset, bytes) : 0,
		.bytes = message + f->offset,
	};
}

const char *kmcl_message_name(uint32_t type)
{
	const struct vmbus_message_info *info = vmbus_message_info(type);

	return info ? info->name : NULL;
}

size_t kmcl_message_fields(const void *message, size_t size,
			   struct kmcl_field fields[KMCL_MESSAGE_FIELDS])
{
	const struct vmbus_message_info *info;
	size_t count = 0;

	if (size < VMBUS_MESSAGE_HEADER || size > VMBUS_MAX_MESSAGE)
		return 0;
	info = vmbus_message_info(vmbus_get32(message));
	for (unsigned int i = 0; info && i < info->field_count; i++) {
		const struct vmbus_field *f = &info->fields[i];

		if ((size_t)f->offset + f->size > size || count == KMCL_MESSAGE_FIELDS ||
		    (f->offset >= 16 && means_another(message, f)))
			continue;
		take_field(&fields[count++], f, message, size);
	}
	return count;
}

/* ---- values ---- */

struct text {
	char *to;
	size_t room, used;
};

static void add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	if (t->used >= t->room)
		return;
	va_start(args, format);
	n = vsnprintf(t->to + t->used, t->room - t->used, format, args);
	va_end(args);
	t->used += n > 0 ? (size_t)n : 0;
}

static void add_named(struct text *t, uint64_t value, const char *name)
{
	add(t, "%#" PRIx64, value);
	if (name)
		add(t, " (%s)", name);
}

static void add_flags(struct text *t, uint64_t value, const struct name *names)
{
	const char *before = " (";
	uint64_t left = value;

	add(t, "%#" PRIx64, value);
	for (; names->name; names++) {
		if (!(value & names->value))
			continue;
		add(t, "%s%s", before, names->name);
		before = ", ";
		left &= ~(uint64_t)names->value;
	}
	if (left && left != value)
		add(t, "%s%#" PRIx64, before, left);
	if (left != value)
		add(t, ")");
}

/* Without the zeroes at the end. */
static void add_bytes(struct text *t, const uint8_t *bytes, uint32_t size)
{
	uint32_t used = size;

	while (used && !bytes[used - 1])
		used--;
	if (!used)
		add(t, "%u zeroes", size);
	for (uint32_t i = 0; i < used; i++)
		add(t, "%02x", bytes[i]);
	if (used && used < size)
		add(t, " + %u zeroes", size - used);
}

static void add_version(struct text *t, uint64_t value)
{
	add(t, "%u.%u", (unsigned int)(value >> 16), (unsigned int)(value & 0xffff));
}

static void add_guid(struct text *t, const uint8_t *guid)
{
	const char *name = kmcl_interface_name(guid);
	char text[37];

	add(t, "%s", kmcl_guid_text(guid, text));
	if (name)
		add(t, " (%s)", name);
}

static void add_value(struct text *t, const struct kmcl_field *f)
{
	switch ((enum kmcl_field_format)f->format) {
	case KMCL_FIELD_DEC:
		add(t, "%" PRIu64, f->value);
		break;
	case KMCL_FIELD_HEX:
		add(t, "%#" PRIx64, f->value);
		break;
	case KMCL_FIELD_GUID:
		add_guid(t, f->bytes);
		break;
	case KMCL_FIELD_BYTES:
	case KMCL_FIELD_RANGES:
		add_bytes(t, f->bytes, f->size);
		break;
	case KMCL_FIELD_VERSION:
		add_version(t, f->value);
		break;
	case KMCL_FIELD_SELECTED:
		if (vmbus_version_known((uint32_t)f->value))
			add_version(t, f->value);
		else
			add(t, "connection %#" PRIx64, f->value);
		break;
	case KMCL_FIELD_STATUS:
		add_named(t, f->value, name_of(status_names, f->value));
		break;
	case KMCL_FIELD_STATE:
		add_named(t, f->value, name_of(state_names, f->value));
		break;
	case KMCL_FIELD_VP:
		if (f->value == VMBUS_VP_NONE)
			add(t, "none");
		else
			add(t, "%" PRIu64, f->value);
		break;
	case KMCL_FIELD_FEATURES:
		add_flags(t, f->value, feature_names);
		break;
	case KMCL_FIELD_OFFER_FLAGS:
		add_flags(t, f->value, offer_flag_names);
		break;
	case KMCL_FIELD_OPEN_FLAGS:
		add_flags(t, f->value, open_flag_names);
		break;
	}
}

const char *kmcl_field_text(const struct kmcl_field *field, char *text, size_t size)
{
	struct text t = {text, size, 0};

	if (size)
		*text = 0;
	add_value(&t, field);
	if (*field->unit)
		add(&t, " %s", field->unit);
	return text;
}

/* ---- packets ---- */

static void take_pipe(struct kmcl_packet *p)
{
	if (p->payload_kept < VMBUS_PIPE_HEADER)
		return;
	p->pipe_type = vmbus_get32(p->payload);
	p->pipe_size = vmbus_get32(p->payload + 4);
	p->pipe_name = name_of(pipe_names, p->pipe_type);
}

const char *kmcl_packet_type_name(uint32_t type)
{
	return name_of(packet_names, type);
}

int kmcl_packet_decode(const struct kmcl_trace_record *record, struct kmcl_packet *p)
{
	uint32_t header, kept = record->size < UINT32_MAX ? (uint32_t)record->size : UINT32_MAX;

	memset(p, 0, sizeof(*p));
	if (record->kind != KMCL_TRACE_PACKET || kept < VMBUS_PKT_DESCRIPTOR)
		return -EINVAL;
	p->type = vmbus_get16(record->data);
	p->header_size = vmbus_get16(record->data + 2) * 8u;
	p->total_size = vmbus_get16(record->data + 4) * 8u;
	p->flags = vmbus_get16(record->data + 6);
	p->name = kmcl_packet_type_name(p->type);
	p->transaction_id = vmbus_get64(record->data + 8);
	header = p->header_size < VMBUS_PKT_DESCRIPTOR ? VMBUS_PKT_DESCRIPTOR : p->header_size;
	if (header > kept)
		header = kept;
	p->extra = record->data + VMBUS_PKT_DESCRIPTOR;
	p->extra_kept = header - VMBUS_PKT_DESCRIPTOR;
	p->payload = record->data + header;
	p->payload_kept = kept - header;
	if (record->flags & KMCL_TRACE_PIPE)
		take_pipe(p);
	return 0;
}

int kmcl_range_next(const uint8_t **at, const uint8_t *end, struct kmcl_range *range)
{
	size_t kept;

	if (end - *at < 8)
		return 0;
	range->bytes = vmbus_get32(*at);
	range->offset = vmbus_get32(*at + 4);
	range->pfns = *at + 8;
	range->pages_wanted =
		(size_t)(((uint64_t)range->offset + range->bytes + VMBUS_PAGE_SIZE - 1) >>
			 VMBUS_PAGE_SHIFT);
	kept = (size_t)(end - range->pfns) / 8;
	range->pages = range->pages_wanted < kept ? range->pages_wanted : kept;
	*at = range->pfns + range->pages * 8;
	return 1;
}
