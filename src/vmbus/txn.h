/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Requests that wait for their completion.
 *
 * An id on the wire is a slot number and that slot's generation, never a pointer. What the peer
 * sends back selects an owner only if all 64 bits match a request that is outstanding now; anything
 * else is dropped and counted. Ids are never 0 and never among the four values at the top, which
 * Linux reserves or uses as literals.
 *
 * The table allocates nothing and locks nothing: the owner gives the slots and holds its own lock.
 */
#ifndef VMBUS_TXN_H
#define VMBUS_TXN_H

#include <stdbool.h>
#include <stdint.h>

#include "vmbus/ring.h"

/** Most slots that a table can have. */
#define VMBUS_TXN_MAX 0x7fffffffu

enum vmbus_txn_state {
	VMBUS_TXN_FREE,
	VMBUS_TXN_LIVE,
	VMBUS_TXN_ABANDONED, /**< nobody waits any more, but the peer may still answer */
};

struct vmbus_txn_slot {
	void *owner;
	uint32_t generation;
	uint32_t next; /* free list: slot number + 1, 0 ends it */
	enum vmbus_txn_state state;
};

struct vmbus_txn_table {
	struct vmbus_txn_slot *slots;
	uint32_t count;
	uint32_t used;  /* slots ever taken, from the end; the others were not touched */
	uint32_t first; /* generation of a slot at its first use */
	uint32_t free;  /* slot number + 1, 0: full */
	uint32_t live;  /* live and abandoned */
	uint64_t dropped;
};

/** Starts with all of @p slots free. Those at the end are used first, and none is
 * touched before: memory that an owner lays behind them can share its first page with them. */
void vmbus_txn_init(struct vmbus_txn_table *t, struct vmbus_txn_slot *slots, uint32_t count);

/**
 * Reserves an id for @p owner (not NULL), before the request is written.
 * @return false: every slot is taken, nothing changed; try again after a completion.
 */
bool vmbus_txn_begin(struct vmbus_txn_table *t, void *owner, uint64_t *id);

/**
 * The peer completed @p id.
 * @return the owner, exactly once; NULL: unknown, stale or repeated (counted), or abandoned (not
 * counted).
 */
void *vmbus_txn_end(struct vmbus_txn_table *t, uint64_t id);

/**
 * Nobody waits for @p id any more, but it reached the ring: the id stays taken until its late
 * answer, for which vmbus_txn_end() then returns NULL.
 * @return the owner, or NULL if the id is not live.
 */
void *vmbus_txn_abandon(struct vmbus_txn_table *t, uint64_t id);

/** The request never reached the ring: the slot is free again. */
void vmbus_txn_cancel(struct vmbus_txn_table *t, uint64_t id);

/** The owner of the next live request at or after *cursor (start with 0); NULL: no more. */
void *vmbus_txn_next(const struct vmbus_txn_table *t, uint32_t *cursor);

/** Like vmbus_txn_next(), and ends it: what the peer may still say about it is stale. For closing.
 */
void *vmbus_txn_take(struct vmbus_txn_table *t, uint32_t *cursor);

/** Saved state: what the generations of another table are to begin with, so that no id that this
 * table gave out is given out again. */
uint32_t vmbus_txn_generation(const struct vmbus_txn_table *t);
/** Of a table where nothing is live. */
void vmbus_txn_resume(struct vmbus_txn_table *t, uint32_t generation);
/** Takes the slot of an id that the table's predecessor gave out. False: no id, or taken. */
bool vmbus_txn_restore(struct vmbus_txn_table *t, uint64_t id, void *owner);

/** Requests outstanding, abandoned ones included. */
static inline uint32_t vmbus_txn_outstanding(const struct vmbus_txn_table *t)
{
	return t->live;
}

/** Completions that named no outstanding request. */
static inline uint64_t vmbus_txn_dropped(const struct vmbus_txn_table *t)
{
	return t->dropped;
}

/**
 * Whether @p request may be completed, and by which id: only a request that asked for it, with any
 * id whatever, to be echoed bit for bit.
 */
static inline bool vmbus_txn_completion_id(const struct vmbus_packet_in *request, uint64_t *id)
{
	if (!request->completion_requested || request->type == VMBUS_PKT_COMPLETION)
		return false;
	*id = request->transaction_id;
	return true;
}

#endif
