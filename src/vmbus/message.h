/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The control messages: one table. The enumeration, the decoded structures, the codec, the checks,
 * the server's and the client's dispatch and every tool that shows messages come from the two
 * macros VMBUS_MESSAGES and VMBUS_FIELDS_*; nothing else in the tree knows an offset.
 */
#ifndef VMBUS_MESSAGE_H
#define VMBUS_MESSAGE_H

#include "vmbus/wire.h"

#define VMBUS_MESSAGE_HEADER 8u /* u32 type, u32 reserved */

/**
 * M(number, NAME, name, direction, lowest version, features, sizes...)
 *
 * direction: C client to server, S server to client. A message with features exists only when one
 * of them was granted. Sizes are the exact forms that may be sent, shortest first; the shortest is
 * the least a receiver takes. GPADL messages carry data after their least size.
 */
#define VMBUS_MESSAGES(M)                                                                 \
	M(1, OFFER_CHANNEL, offer_channel, S, VMBUS_V0_13, 0, 196)                        \
	M(2, RESCIND_CHANNEL_OFFER, rescind_channel_offer, S, VMBUS_V0_13, 0, 12)         \
	M(3, REQUEST_OFFERS, request_offers, C, VMBUS_V0_13, 0, 8)                        \
	M(4, ALL_OFFERS_DELIVERED, all_offers_delivered, S, VMBUS_V0_13, 0, 8)            \
	M(5, OPEN_CHANNEL, open_channel, C, VMBUS_V0_13, 0, 148, 156)                     \
	M(6, OPEN_CHANNEL_RESULT, open_channel_result, S, VMBUS_V0_13, 0, 20)             \
	M(7, CLOSE_CHANNEL, close_channel, C, VMBUS_V0_13, 0, 12)                         \
	M(8, GPADL_HEADER, gpadl_header, C, VMBUS_V0_13, 0, 20)                           \
	M(9, GPADL_BODY, gpadl_body, C, VMBUS_V0_13, 0, 16)                               \
	M(10, GPADL_CREATED, gpadl_created, S, VMBUS_V0_13, 0, 20)                        \
	M(11, GPADL_TEARDOWN, gpadl_teardown, C, VMBUS_V0_13, 0, 16)                      \
	M(12, GPADL_TORNDOWN, gpadl_torndown, S, VMBUS_V0_13, 0, 12)                      \
	M(13, RELID_RELEASED, relid_released, C, VMBUS_V0_13, 0, 12)                      \
	M(14, INITIATE_CONTACT, initiate_contact, C, VMBUS_V0_13, 0, 40, 56)              \
	M(15, VERSION_RESPONSE, version_response, S, VMBUS_V0_13, 0, 16, 20, 40)          \
	M(16, UNLOAD, unload, C, VMBUS_V0_13, 0, 8)                                       \
	M(17, UNLOAD_COMPLETE, unload_complete, S, VMBUS_V0_13, 0, 8)                     \
	M(18, OPEN_RESERVED_CHANNEL, open_reserved_channel, C, VMBUS_V4_0, 0, 28)         \
	M(19, CLOSE_RESERVED_CHANNEL, close_reserved_channel, C, VMBUS_V0_13, 0, 20)      \
	M(20, CLOSE_RESERVED_RESPONSE, close_reserved_response, S, VMBUS_V0_13, 0, 12)    \
	M(21, TL_CONNECT_REQUEST, tl_connect_request, C, VMBUS_V4_0, 0, 40, 56)           \
	M(22, MODIFY_CHANNEL, modify_channel, C, VMBUS_V4_1, 0, 16)                       \
	M(23, TL_CONNECT_REQUEST_RESULT, tl_connect_request_result, S, VMBUS_V4_1, 0, 44) \
	M(24, MODIFY_CHANNEL_RESPONSE, modify_channel_response, S, VMBUS_V5_3, 0, 16)     \
	M(25, MODIFY_CONNECTION, modify_connection, C, VMBUS_V6_0,                        \
	  VMBUS_FEATURE_MODIFY_CONNECTION, 24)                                            \
	M(26, MODIFY_CONNECTION_RESPONSE, modify_connection_response, S, VMBUS_V6_0,      \
	  VMBUS_FEATURE_MODIFY_CONNECTION, 9)                                             \
	M(27, PAUSE, pause, C, VMBUS_V6_0, VMBUS_FEATURE_PAUSE, 8)                        \
	M(28, PAUSE_RESPONSE, pause_response, S, VMBUS_V6_0, VMBUS_FEATURE_PAUSE, 8)      \
	M(29, RESUME, resume, C, VMBUS_V6_0, VMBUS_FEATURE_PAUSE, 8)

/**
 * Fields: F(structure, kind, name, offset, size). Kinds U8, U16, U32, U64, GUID and BYTES are
 * members of the decoded structure; VIEW names bytes for people that the code reads through another
 * field; REST is data up to the end of the message.
 */
#define VMBUS_FIELDS_offer_channel(F, S)           \
	F(S, GUID, interface_id, 8, 16)            \
	F(S, GUID, instance_id, 24, 16)            \
	F(S, VIEW, reserved, 40, 16)               \
	F(S, U16, flags, 56, 2)                    \
	F(S, U16, mmio_megabytes, 58, 2)           \
	F(S, BYTES, user_data, 60, 120)            \
	F(S, U16, subchannel, 180, 2)              \
	F(S, U16, mmio_megabytes_optional, 182, 2) \
	F(S, U32, channel_id, 184, 4)              \
	F(S, U8, monitor_id, 188, 1)               \
	F(S, U8, monitor_allocated, 189, 1)        \
	F(S, U16, dedicated, 190, 2)               \
	F(S, U32, connection_id, 192, 4)
#define VMBUS_FIELDS_channel_only(F, S) F(S, U32, channel_id, 8, 4)
#define VMBUS_FIELDS_open_channel(F, S)   \
	F(S, U32, channel_id, 8, 4)       \
	F(S, U32, open_id, 12, 4)         \
	F(S, U32, ring_gpadl, 16, 4)      \
	F(S, U32, target_vp, 20, 4)       \
	F(S, U32, downstream_page, 24, 4) \
	F(S, BYTES, user_data, 28, 120)   \
	F(S, U32, connection_id, 148, 4)  \
	F(S, U16, event_flag, 152, 2)     \
	F(S, U16, open_flags, 154, 2)
#define VMBUS_FIELDS_open_channel_result(F, S) \
	F(S, U32, channel_id, 8, 4)            \
	F(S, U32, open_id, 12, 4)              \
	F(S, U32, status, 16, 4)
#define VMBUS_FIELDS_gpadl_header(F, S) \
	F(S, U32, channel_id, 8, 4)     \
	F(S, U32, gpadl, 12, 4)         \
	F(S, U16, length, 16, 2)        \
	F(S, U16, range_count, 18, 2)   \
	F(S, REST, ranges, 20, 0)
#define VMBUS_FIELDS_gpadl_body(F, S)   \
	F(S, U32, message_number, 8, 4) \
	F(S, U32, gpadl, 12, 4)         \
	F(S, REST, ranges, 16, 0)
#define VMBUS_FIELDS_gpadl_created(F, S) \
	F(S, U32, channel_id, 8, 4)      \
	F(S, U32, gpadl, 12, 4)          \
	F(S, U32, status, 16, 4)
#define VMBUS_FIELDS_gpadl_teardown(F, S) \
	F(S, U32, channel_id, 8, 4)       \
	F(S, U32, gpadl, 12, 4)
#define VMBUS_FIELDS_gpadl_torndown(F, S) F(S, U32, gpadl, 8, 4)
/* Offset 16 is the interrupt page's address or, from 5.0 on, SINT, VTL and features. */
#define VMBUS_FIELDS_initiate_contact(F, S)       \
	F(S, U32, version, 8, 4)                  \
	F(S, U32, target_vp, 12, 4)               \
	F(S, U64, page_or_target, 16, 8)          \
	F(S, VIEW, sint, 16, 1)                   \
	F(S, VIEW, vtl, 17, 1)                    \
	F(S, VIEW, features, 20, 4)               \
	F(S, U64, monitor_parent_to_child, 24, 8) \
	F(S, U64, monitor_child_to_parent, 32, 8) \
	F(S, GUID, client_id, 40, 16)
#define VMBUS_FIELDS_version_response(F, S)       \
	F(S, U8, supported, 8, 1)                 \
	F(S, U8, state, 9, 1)                     \
	F(S, U32, selected, 12, 4)                \
	F(S, U32, features, 16, 4)                \
	F(S, U64, monitor_parent_to_child, 24, 8) \
	F(S, U64, monitor_child_to_parent, 32, 8)
#define VMBUS_FIELDS_open_reserved_channel(F, S) \
	F(S, U32, channel_id, 8, 4)              \
	F(S, U32, target_vp, 12, 4)              \
	F(S, U32, target_sint, 16, 4)            \
	F(S, U32, ring_gpadl, 20, 4)             \
	F(S, U32, downstream_page, 24, 4)
#define VMBUS_FIELDS_close_reserved_channel(F, S) \
	F(S, U32, channel_id, 8, 4)               \
	F(S, U32, target_vp, 12, 4)               \
	F(S, U32, target_sint, 16, 4)
#define VMBUS_FIELDS_tl_connect_request(F, S) \
	F(S, GUID, endpoint_id, 8, 16)        \
	F(S, GUID, service_id, 24, 16)        \
	F(S, GUID, silo_id, 40, 16)
#define VMBUS_FIELDS_tl_connect_request_result(F, S) \
	F(S, GUID, endpoint_id, 8, 16)               \
	F(S, GUID, service_id, 24, 16)               \
	F(S, U32, status, 40, 4)
#define VMBUS_FIELDS_modify_channel(F, S) \
	F(S, U32, channel_id, 8, 4)       \
	F(S, U32, target_vp, 12, 4)
#define VMBUS_FIELDS_modify_channel_response(F, S) \
	F(S, U32, channel_id, 8, 4)                \
	F(S, U32, status, 12, 4)
#define VMBUS_FIELDS_modify_connection(F, S)     \
	F(S, U64, monitor_parent_to_child, 8, 8) \
	F(S, U64, monitor_child_to_parent, 16, 8)
#define VMBUS_FIELDS_modify_connection_response(F, S) F(S, U8, state, 8, 1)

#define VMBUS_FIELDS_rescind_channel_offer(F, S)   VMBUS_FIELDS_channel_only(F, S)
#define VMBUS_FIELDS_close_channel(F, S)           VMBUS_FIELDS_channel_only(F, S)
#define VMBUS_FIELDS_relid_released(F, S)          VMBUS_FIELDS_channel_only(F, S)
#define VMBUS_FIELDS_close_reserved_response(F, S) VMBUS_FIELDS_channel_only(F, S)

/* Header-only messages. */
#define VMBUS_FIELDS_request_offers(F, S)
#define VMBUS_FIELDS_all_offers_delivered(F, S)
#define VMBUS_FIELDS_unload(F, S)
#define VMBUS_FIELDS_unload_complete(F, S)
#define VMBUS_FIELDS_pause(F, S)
#define VMBUS_FIELDS_pause_response(F, S)
#define VMBUS_FIELDS_resume(F, S)

#define VMBUS_ENUM_ROW(number, NAME, ...) VMBUS_MSG_##NAME = number,
enum vmbus_message_type {
	VMBUS_MESSAGES(VMBUS_ENUM_ROW) VMBUS_MSG_COUNT
};
#undef VMBUS_ENUM_ROW

#define VMBUS_MEMBER_U8(name, size)    uint8_t name;
#define VMBUS_MEMBER_U16(name, size)   uint16_t name;
#define VMBUS_MEMBER_U32(name, size)   uint32_t name;
#define VMBUS_MEMBER_U64(name, size)   uint64_t name;
#define VMBUS_MEMBER_GUID(name, size)  struct vmbus_guid name;
#define VMBUS_MEMBER_BYTES(name, size) uint8_t name[size];
#define VMBUS_MEMBER_VIEW(name, size)
#define VMBUS_MEMBER_REST(name, size)
#define VMBUS_MEMBER(S, kind, name, offset, size) VMBUS_MEMBER_##kind(name, size)

#define VMBUS_STRUCT_ROW(number, NAME, name, ...)       \
	struct {                                        \
		VMBUS_FIELDS_##name(VMBUS_MEMBER, name) \
	} name;

/** A message decoded to host order, named members by message: m.open_channel.ring_gpadl. */
struct vmbus_message {
	enum vmbus_message_type type;
	union {
		VMBUS_MESSAGES(VMBUS_STRUCT_ROW)
	};
};
#undef VMBUS_STRUCT_ROW

enum vmbus_direction {
	VMBUS_TO_SERVER,
	VMBUS_TO_CLIENT,
};

enum vmbus_field_kind {
	VMBUS_FIELD_U8,
	VMBUS_FIELD_U16,
	VMBUS_FIELD_U32,
	VMBUS_FIELD_U64,
	VMBUS_FIELD_GUID,
	VMBUS_FIELD_BYTES,
	VMBUS_FIELD_VIEW,
	VMBUS_FIELD_REST,
};

struct vmbus_field {
	const char *name;
	enum vmbus_field_kind kind;
	uint8_t offset; /**< in the message */
	uint8_t size;   /**< 0: to the end */
	uint16_t host;  /**< in struct vmbus_message; 0 for VIEW and REST */
};

#define VMBUS_MESSAGE_FORMS 3u

struct vmbus_message_info {
	const char *name;
	enum vmbus_direction direction;
	uint32_t min_version;
	uint32_t features; /**< one of them must have been granted; 0: none needed */
	uint8_t sizes[VMBUS_MESSAGE_FORMS]; /**< exact forms, shortest first, 0: no more */
	const struct vmbus_field *fields;
	uint8_t field_count;
};

/** NULL: no such message. */
const struct vmbus_message_info *vmbus_message_info(uint32_t type);

enum vmbus_check {
	VMBUS_CHECK_OK,
	VMBUS_CHECK_SHORT,     /**< under 8 bytes, under its least size, or over 240 */
	VMBUS_CHECK_TYPE,      /**< no such message */
	VMBUS_CHECK_DIRECTION, /**< goes the other way */
};

/** The checks that need no connection, in the order in which a receiver makes them. */
enum vmbus_check vmbus_message_check(const void *bytes, size_t size,
				     enum vmbus_direction direction);
/** Whether a connection of that version and features may carry the message. */
bool vmbus_message_allowed(uint32_t type, uint32_t version, uint32_t features);

/** Decodes a checked message. Fields past its end are zero. */
void vmbus_message_decode(struct vmbus_message *m, const void *bytes, size_t size);
/** Encodes the fixed fields; bytes up to `size` (an exact form) that no field covers are zero. */
void vmbus_message_encode(const struct vmbus_message *m, void *bytes, size_t size);

/* INITIATE_CONTACT's overlaid bytes 16..23. */
static inline uint8_t vmbus_contact_sint(uint64_t page_or_target)
{
	return (uint8_t)page_or_target;
}

static inline uint8_t vmbus_contact_vtl(uint64_t page_or_target)
{
	return (uint8_t)(page_or_target >> 8);
}

static inline uint32_t vmbus_contact_features(uint64_t page_or_target)
{
	return (uint32_t)(page_or_target >> 32);
}

static inline uint64_t vmbus_contact_target(uint8_t sint, uint8_t vtl, uint32_t features)
{
	return sint | (uint64_t)vtl << 8 | (uint64_t)features << 32;
}

#endif
