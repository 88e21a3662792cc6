/* SPDX-License-Identifier: MIT */
/* kmcl trace for programs: an object a line. What can have 64 bits is a string in hex. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "trace.h"

static json_t *hex_of(const uint8_t *bytes, size_t size)
{
	char *text = malloc(2 * size + 1);
	json_t *value;

	if (!text)
		return json_null();
	*text = 0;
	for (size_t i = 0; i < size; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	value = json_string(text);
	free(text);
	return value;
}

static json_t *wide(uint64_t value)
{
	char text[20];

	snprintf(text, sizeof(text), "%#" PRIx64, value);
	return json_string(text);
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_text(json_t *object, const char *key, const char *text)
{
	json_object_set_new(object, key, text ? json_string(text) : json_null());
}

static void put_line(json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

/* ---- messages ---- */

static json_t *field_json(const struct kmcl_field *f)
{
	char text[37];

	switch (f->format) {
	case KMCL_FIELD_GUID:
		return json_string(kmcl_guid_text(f->bytes, text));
	case KMCL_FIELD_BYTES:
	case KMCL_FIELD_RANGES:
		return hex_of(f->bytes, f->size);
	default:
		return f->size > 4 ? wide(f->value) : json_integer((json_int_t)f->value);
	}
}

static void message_json(json_t *line, const struct kmcl_trace_record *r)
{
	struct kmcl_field fields[KMCL_MESSAGE_FIELDS];
	size_t count = kmcl_message_fields(r->data, r->size, fields);
	const uint8_t *d = r->data;
	uint32_t type =
		r->size < 4 ? 0 : (uint32_t)(d[0] | d[1] << 8 | d[2] << 16) | (uint32_t)d[3] << 24;
	json_t *all = json_object();

	if (r->to_client) {
		set_number(line, "vp", r->vp);
		set_number(line, "sint", r->sint);
	} else {
		set_number(line, "connection_id", r->connection_id);
	}
	set_number(line, "type", type);
	set_text(line, "name", kmcl_message_name(type));
	set_number(line, "size", r->size);
	if (r->flags & KMCL_TRACE_REPEATED)
		json_object_set_new(line, "repeated", json_true());
	for (size_t i = 0; i < count; i++) {
		json_object_set_new(all, fields[i].name, field_json(&fields[i]));
		if (!strcmp(fields[i].name, "interface_id"))
			set_text(line, "interface", kmcl_interface_name(fields[i].bytes));
	}
	json_object_set_new(line, "fields", all);
}

/* ---- packets ---- */

static json_t *range_json(const struct kmcl_range *range)
{
	json_t *pfns = json_array(), *object = json_object();

	set_number(object, "bytes", range->bytes);
	set_number(object, "offset", range->offset);
	set_number(object, "pages", range->pages_wanted);
	for (size_t i = 0; i < range->pages; i++) {
		uint64_t pfn = 0;

		for (unsigned int b = 8; b-- > 0;)
			pfn = pfn << 8 | range->pfns[8 * i + b];
		json_array_append_new(pfns, wide(pfn));
	}
	json_object_set_new(object, "pfns", pfns);
	return object;
}

static json_t *ranges_json(const struct kmcl_packet *p)
{
	const uint8_t *at = p->extra + 8, *end = p->extra + p->extra_kept;
	json_t *ranges = json_array();
	struct kmcl_range range;

	while (p->extra_kept >= 8 && kmcl_range_next(&at, end, &range))
		json_array_append_new(ranges, range_json(&range));
	return ranges;
}

static void packet_json(json_t *line, const struct kmcl_trace_record *r)
{
	struct kmcl_packet p;

	if (kmcl_packet_decode(r, &p)) {
		set_number(line, "size", r->size);
		return;
	}
	set_number(line, "type", p.type);
	set_text(line, "name", p.name);
	set_number(line, "flags", p.flags);
	json_object_set_new(line, "transaction_id", wide(p.transaction_id));
	set_number(line, "header_size", p.header_size);
	set_number(line, "total_size", p.total_size);
	set_number(line, "payload_kept", p.payload_kept);
	if (p.type == 9)
		json_object_set_new(line, "ranges", ranges_json(&p));
	if (r->flags & KMCL_TRACE_PIPE) {
		set_number(line, "pipe_type", p.pipe_type);
		set_number(line, "pipe_size", p.pipe_size);
	}
	if (r->flags & KMCL_TRACE_REFUSED)
		json_object_set_new(line, "refused", json_true());
}

static void signal_json(json_t *line, const struct kmcl_trace_record *r)
{
	if (r->to_client) {
		set_number(line, "vp", r->vp);
		set_number(line, "sint", r->sint);
		set_number(line, "event_flag", r->event_flag);
	} else {
		set_number(line, "connection_id", r->connection_id);
	}
	json_object_set_new(line, "sent", json_boolean(r->to_client != r->by_client));
	json_object_set_new(line, "monitor", json_boolean(r->flags & KMCL_TRACE_MONITOR));
	json_object_set_new(line, "shared", json_boolean(r->flags & KMCL_TRACE_SHARED));
}

/* ---- records ---- */

void json_record(struct trace_view *view, const struct kmcl_trace_record *r)
{
	json_t *line = json_object();

	set_number(line, "time_ns", r->time);
	set_text(line, "kind",
		 r->kind == KMCL_TRACE_MESSAGE  ? "message"
		 : r->kind == KMCL_TRACE_PACKET ? "packet"
						: "signal");
	set_text(line, "direction", r->to_client ? "to-client" : "to-server");
	set_text(line, "recorded_by", r->by_client ? "client" : "server");
	if (r->lost)
		set_number(line, "lost_before", r->lost);
	if (r->kind != KMCL_TRACE_MESSAGE) {
		set_number(line, "channel", r->channel);
		set_text(line, "interface", trace_channel_name(view, r->channel));
	}
	if (r->kind == KMCL_TRACE_MESSAGE)
		message_json(line, r);
	else if (r->kind == KMCL_TRACE_PACKET)
		packet_json(line, r);
	else
		signal_json(line, r);
	if (view->hex)
		json_object_set_new(line, "bytes", hex_of(r->data, r->size));
	put_line(line);
}

void json_end(const struct trace_totals *totals)
{
	json_t *line = json_object();

	set_text(line, "kind", "end");
	set_number(line, "records", totals->records);
	set_number(line, "shown", totals->shown);
	set_number(line, "dropped", totals->dropped);
	set_text(line, "error", totals->error);
	put_line(line);
}
