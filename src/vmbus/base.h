/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What every part of the sans-I/O bus shares: results, GUIDs, the allocator that the owner hands
 * in.
 *
 * Nothing in src/vmbus calls the system, starts a thread, reads a clock or knows an NT type.
 */
#ifndef VMBUS_BASE_H
#define VMBUS_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMBUS_PAGE_SIZE   4096u
#define VMBUS_PAGE_SHIFT  12u
#define VMBUS_MAX_CHANNEL 2047u /* channel ids are 1..2047 */
#define VMBUS_MAX_MESSAGE 240u  /* bytes of one control message, its header included */
#define VMBUS_SINT        2u
#define VMBUS_VP_NONE     0xffffffffu /* OPEN: no interrupts for this channel */

/** Result of a call into the bus's state machines. The peer can cause any but NO_MEMORY and
 * INVALID. */
enum vmbus_status {
	VMBUS_OK = 0,
	VMBUS_E_NO_MEMORY, /**< the allocator said no; nothing changed */
	VMBUS_E_LIMIT,     /**< a configured bound is reached; nothing changed */
	VMBUS_E_INVALID,   /**< an argument is wrong */
	VMBUS_E_STATE,     /**< not in this state */
	VMBUS_E_NOT_FOUND, /**< no such channel, GPADL or request */
	VMBUS_E_EXISTS,    /**< an object with this key is live */
	VMBUS_E_REFUSED,   /**< the peer refused */
	VMBUS_E_GONE,      /**< rescinded, released, or the connection ended */
};

struct vmbus_guid {
	uint8_t b[16]; /**< wire order: first three fields little-endian */
};

/** Where a state machine gets its memory. alloc returns zeroed memory or NULL. */
struct vmbus_allocator {
	void *(*alloc)(void *ctx, size_t size);
	void (*free)(void *ctx, void *p, size_t size);
	void *ctx;
};

#endif
