/* SPDX-License-Identifier: MIT */
#include "vmbus/message.h"

const uint32_t vmbus_versions[] = {
	VMBUS_V0_13, VMBUS_V1_1, VMBUS_V2_4, VMBUS_V3_0, VMBUS_V4_0, VMBUS_V4_1,
	VMBUS_V5_0,  VMBUS_V5_1, VMBUS_V5_2, VMBUS_V5_3, VMBUS_V6_0,
};
const unsigned int vmbus_version_count = sizeof(vmbus_versions) / sizeof(vmbus_versions[0]);

bool vmbus_version_known(uint32_t version)
{
	for (unsigned int i = 0; i < vmbus_version_count; i++) {
		if (vmbus_versions[i] == version)
			return true;
	}
	return false;
}

uint32_t vmbus_version_below(uint32_t version)
{
	for (unsigned int i = vmbus_version_count; i-- > 0;) {
		if (vmbus_versions[i] < version)
			return vmbus_versions[i];
	}
	return 0;
}

#define HOST_U8(S, name)    offsetof(struct vmbus_message, S.name)
#define HOST_U16(S, name)   offsetof(struct vmbus_message, S.name)
#define HOST_U32(S, name)   offsetof(struct vmbus_message, S.name)
#define HOST_U64(S, name)   offsetof(struct vmbus_message, S.name)
#define HOST_GUID(S, name)  offsetof(struct vmbus_message, S.name)
#define HOST_BYTES(S, name) offsetof(struct vmbus_message, S.name)
#define HOST_VIEW(S, name)  0
#define HOST_REST(S, name)  0
#define FIELD_ROW(S, kind, name, offset, size) \
	{#name, VMBUS_FIELD_##kind, offset, size, HOST_##kind(S, name)},

/* A closing row, so that header-only messages have a table too. */
#define FIELD_TABLE(number, NAME, name, ...)                \
	static const struct vmbus_field fields_##name[] = { \
		VMBUS_FIELDS_##name(FIELD_ROW, name){NULL, VMBUS_FIELD_VIEW, 0, 0, 0}};
VMBUS_MESSAGES(FIELD_TABLE)

#define DIRECTION_C VMBUS_TO_SERVER
#define DIRECTION_S VMBUS_TO_CLIENT
#define INFO_ROW(number, NAME, name, dir, version, feature, ...) \
	[number] = {#NAME,                                       \
		    DIRECTION_##dir,                             \
		    version,                                     \
		    feature,                                     \
		    {__VA_ARGS__},                               \
		    fields_##name,                               \
		    sizeof(fields_##name) / sizeof(fields_##name[0]) - 1},

static const struct vmbus_message_info messages[VMBUS_MSG_COUNT] = {VMBUS_MESSAGES(INFO_ROW)};

const struct vmbus_message_info *vmbus_message_info(uint32_t type)
{
	if (type >= VMBUS_MSG_COUNT || !messages[type].name)
		return NULL;
	return &messages[type];
}

enum vmbus_check vmbus_message_check(const void *bytes, size_t size, enum vmbus_direction direction)
{
	const struct vmbus_message_info *info;

	if (size < VMBUS_MESSAGE_HEADER || size > VMBUS_MAX_MESSAGE)
		return VMBUS_CHECK_SHORT;
	info = vmbus_message_info(vmbus_get32(bytes));
	if (!info)
		return VMBUS_CHECK_TYPE;
	if (info->direction != direction)
		return VMBUS_CHECK_DIRECTION;
	if (size < info->sizes[0])
		return VMBUS_CHECK_SHORT;
	return VMBUS_CHECK_OK;
}

bool vmbus_message_allowed(uint32_t type, uint32_t version, uint32_t features)
{
	const struct vmbus_message_info *info = vmbus_message_info(type);

	return info && version >= info->min_version &&
	       (!info->features || (info->features & features));
}

static void decode_field(const struct vmbus_field *f, const uint8_t *from, uint8_t *to)
{
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (f->kind) {
	case VMBUS_FIELD_U8:
	case VMBUS_FIELD_GUID:
	case VMBUS_FIELD_BYTES:
		memcpy(to, from, f->size);
		break;
	case VMBUS_FIELD_U16:
		v16 = vmbus_get16(from);
		memcpy(to, &v16, sizeof(v16));
		break;
	case VMBUS_FIELD_U32:
		v32 = vmbus_get32(from);
		memcpy(to, &v32, sizeof(v32));
		break;
	case VMBUS_FIELD_U64:
		v64 = vmbus_get64(from);
		memcpy(to, &v64, sizeof(v64));
		break;
	case VMBUS_FIELD_VIEW:
	case VMBUS_FIELD_REST:
		break;
	}
}

void vmbus_message_decode(struct vmbus_message *m, const void *bytes, size_t size)
{
	const struct vmbus_message_info *info;

	memset(m, 0, sizeof(*m));
	m->type = (enum vmbus_message_type)vmbus_get32(bytes);
	info = vmbus_message_info(m->type);
	if (!info)
		return;
	for (unsigned int i = 0; i < info->field_count; i++) {
		const struct vmbus_field *f = &info->fields[i];

		if ((size_t)f->offset + f->size <= size)
			decode_field(f, (const uint8_t *)bytes + f->offset, (uint8_t *)m + f->host);
	}
}

static void encode_field(const struct vmbus_field *f, const uint8_t *from, uint8_t *to)
{
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (f->kind) {
	case VMBUS_FIELD_U8:
	case VMBUS_FIELD_GUID:
	case VMBUS_FIELD_BYTES:
		memcpy(to, from, f->size);
		break;
	case VMBUS_FIELD_U16:
		memcpy(&v16, from, sizeof(v16));
		vmbus_put16(to, v16);
		break;
	case VMBUS_FIELD_U32:
		memcpy(&v32, from, sizeof(v32));
		vmbus_put32(to, v32);
		break;
	case VMBUS_FIELD_U64:
		memcpy(&v64, from, sizeof(v64));
		vmbus_put64(to, v64);
		break;
	case VMBUS_FIELD_VIEW:
	case VMBUS_FIELD_REST:
		break;
	}
}

void vmbus_message_encode(const struct vmbus_message *m, void *bytes, size_t size)
{
	const struct vmbus_message_info *info = vmbus_message_info(m->type);

	memset(bytes, 0, size);
	if (!info || size < VMBUS_MESSAGE_HEADER)
		return;
	vmbus_put32(bytes, m->type);
	for (unsigned int i = 0; i < info->field_count; i++) {
		const struct vmbus_field *f = &info->fields[i];

		if ((size_t)f->offset + f->size <= size)
			encode_field(f, (const uint8_t *)m + f->host, (uint8_t *)bytes + f->offset);
	}
}
