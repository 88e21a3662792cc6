/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Numbers of the VMBus wire and the little-endian access that everything else is built on.
 */
#ifndef VMBUS_WIRE_H
#define VMBUS_WIRE_H

#include <string.h>

#include "vmbus/base.h"

/* Versions: major << 16 | minor. Matching is exact. */
#define VMBUS_V0_13 0x0000000du
#define VMBUS_V1_1  0x00010001u
#define VMBUS_V2_4  0x00020004u
#define VMBUS_V3_0  0x00030000u
#define VMBUS_V4_0  0x00040000u
#define VMBUS_V4_1  0x00040001u
#define VMBUS_V5_0  0x00050000u
#define VMBUS_V5_1  0x00050001u
#define VMBUS_V5_2  0x00050002u
#define VMBUS_V5_3  0x00050003u
#define VMBUS_V6_0  0x00060000u

/* Feature flags of 6.0. */
#define VMBUS_FEATURE_GUEST_SIGNAL      0x01u
#define VMBUS_FEATURE_REDIRECT          0x02u
#define VMBUS_FEATURE_MODIFY_CONNECTION 0x04u
#define VMBUS_FEATURE_CLIENT_ID         0x08u
#define VMBUS_FEATURE_CONFIDENTIAL      0x10u
#define VMBUS_FEATURE_PAUSE             0x20u
#define VMBUS_FEATURE_SERVER_MONITOR    0x40u
#define VMBUS_FEATURE_PINNING           0x80u
#define VMBUS_FEATURES_KNOWN            0xffu

#define VMBUS_STATUS_OK      0u
#define VMBUS_STATUS_FAILURE 0x8000ffffu
#define VMBUS_STATUS_HVSOCK  0xc0000236u

/* State byte of VERSION_RESPONSE and MODIFY_CONNECTION_RESPONSE. */
#define VMBUS_CONNECTION_OK     0u
#define VMBUS_CONNECTION_FAILED 2u

/* Connection ids that clients post messages to. */
#define VMBUS_PORT_MESSAGE      1u
#define VMBUS_PORT_EVENT        2u
#define VMBUS_PORT_MULTI_CLIENT 4u
#define VMBUS_PORT_MASK         0xffffffu

#define VMBUS_HV_INVALID_CONNECTION_ID 18u

#define VMBUS_OFFER_ENCRYPTED_RING   0x0002u
#define VMBUS_OFFER_ENCRYPTED_MEMORY 0x0004u
#define VMBUS_OFFER_PINNED           0x0008u
#define VMBUS_OFFER_PIPE             0x0010u
#define VMBUS_OFFER_HVSOCK           0x2000u

#define VMBUS_MONITOR_IDS  128u
#define VMBUS_MONITOR_NONE 0xffu

#define VMBUS_SINT_COUNT 16u

#define VMBUS_GPADL_HEADER_WORDS 27u
#define VMBUS_GPADL_BODY_WORDS   28u
#define VMBUS_GPADL_MAX_WORDS    8191u /* what the 16-bit length field can announce */

static inline uint16_t vmbus_get16(const void *p)
{
	const uint8_t *b = p;

	return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t vmbus_get32(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)vmbus_get16(b) | (uint32_t)vmbus_get16(b + 2) << 16;
}

static inline uint64_t vmbus_get64(const void *p)
{
	const uint8_t *b = p;

	return (uint64_t)vmbus_get32(b) | (uint64_t)vmbus_get32(b + 4) << 32;
}

static inline void vmbus_put16(void *p, uint16_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}

static inline void vmbus_put32(void *p, uint32_t v)
{
	uint8_t *b = p;

	vmbus_put16(b, (uint16_t)v);
	vmbus_put16(b + 2, (uint16_t)(v >> 16));
}

static inline void vmbus_put64(void *p, uint64_t v)
{
	uint8_t *b = p;

	vmbus_put32(b, (uint32_t)v);
	vmbus_put32(b + 4, (uint32_t)(v >> 32));
}

static inline bool vmbus_guid_equal(const struct vmbus_guid *a, const struct vmbus_guid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static inline bool vmbus_guid_is_zero(const struct vmbus_guid *g)
{
	static const struct vmbus_guid zero;

	return vmbus_guid_equal(g, &zero);
}

/** Order of the bytes on the wire: arbitrary, but the same on every run. */
static inline int vmbus_guid_compare(const struct vmbus_guid *a, const struct vmbus_guid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

/** Versions that exist, lowest first. */
extern const uint32_t vmbus_versions[];
extern const unsigned int vmbus_version_count;

/** Exact: a number between two versions is no version. */
bool vmbus_version_known(uint32_t version);
/** The highest version below `version`, 0: none. `version` itself need not be known. */
uint32_t vmbus_version_below(uint32_t version);

#endif
