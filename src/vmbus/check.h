/* SPDX-License-Identifier: MIT */
/** @file What the sweeps of the server's and the client's invariants share. */
#ifndef VMBUS_CHECK_H
#define VMBUS_CHECK_H

#include "vmbus/base.h"

/** So many channels are swept for each operation. */
#define VMBUS_SWEPT_CHANNELS 64u

/** Whether it is time for a sweep of `channels`; counts the operation. */
static inline bool vmbus_sweep_due(uint32_t *unswept, uint32_t channels)
{
	if (++*unswept * VMBUS_SWEPT_CHANNELS < channels)
		return false;
	*unswept = 0;
	return true;
}

/**
 * How many of the pointers are set. Sweeps follow every call in debug builds, which is where a
 * sanitizer looks at each access: these two thousand need none, the array is a whole member.
 */
__attribute__((no_sanitize("address", "undefined"))) static inline uint32_t
vmbus_count_set(void *const *pointers, uint32_t count)
{
	uint32_t set = 0;

	for (uint32_t i = 0; i < count; i++)
		set += pointers[i] != NULL;
	return set;
}

#endif
