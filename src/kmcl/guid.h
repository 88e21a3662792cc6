/* SPDX-License-Identifier: MIT */
/** @file A GUID as Windows keeps it and as the wire carries it: first three fields little-endian.
 */
#ifndef KMCL_GUID_H
#define KMCL_GUID_H

#include <ntddk.h>

#include <string.h>

#include "vmbus/base.h"

static inline struct vmbus_guid kmcl_guid_to_wire(const GUID *guid)
{
	struct vmbus_guid wire;

	for (int i = 0; i < 4; i++)
		wire.b[i] = (uint8_t)(guid->Data1 >> (8 * i));
	for (int i = 0; i < 2; i++) {
		wire.b[4 + i] = (uint8_t)(guid->Data2 >> (8 * i));
		wire.b[6 + i] = (uint8_t)(guid->Data3 >> (8 * i));
	}
	memcpy(wire.b + 8, guid->Data4, 8);
	return wire;
}

static inline GUID kmcl_guid_from_wire(const struct vmbus_guid *wire)
{
	GUID guid;

	guid.Data1 = (uint32_t)wire->b[0] | (uint32_t)wire->b[1] << 8 | (uint32_t)wire->b[2] << 16 |
		     (uint32_t)wire->b[3] << 24;
	guid.Data2 = (uint16_t)(wire->b[4] | wire->b[5] << 8);
	guid.Data3 = (uint16_t)(wire->b[6] | wire->b[7] << 8);
	memcpy(guid.Data4, wire->b + 8, 8);
	return guid;
}

static inline bool kmcl_guid_matches(const GUID *guid, const struct vmbus_guid *wire)
{
	struct vmbus_guid own = kmcl_guid_to_wire(guid);

	return memcmp(own.b, wire->b, sizeof(own.b)) == 0;
}

#endif
