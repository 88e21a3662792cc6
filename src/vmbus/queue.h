/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The actions a state machine owes its owner: records of various lengths, first in, first out, in
 * memory that is set aside when the objects they speak of are made. Adding one never allocates.
 */
#ifndef VMBUS_QUEUE_H
#define VMBUS_QUEUE_H

#include "vmbus/base.h"

struct vmbus_queue {
	uint8_t *bytes;
	size_t capacity;
	size_t head; /**< of the oldest record */
	size_t used;
	size_t records;
};

/** What a record of `size` bytes takes. */
static inline size_t vmbus_queue_cost(size_t size)
{
	return size + sizeof(uint32_t);
}

static inline size_t vmbus_queue_room(const struct vmbus_queue *q)
{
	return q->capacity - q->used;
}

/** Grows to at least `capacity` bytes; keeps what is queued. */
enum vmbus_status vmbus_queue_reserve(struct vmbus_queue *q, const struct vmbus_allocator *a,
				      size_t capacity);
void vmbus_queue_free(struct vmbus_queue *q, const struct vmbus_allocator *a);
/** False: no room, nothing queued. */
bool vmbus_queue_push(struct vmbus_queue *q, const void *record, size_t size);
/** The oldest record into `record`; its size, 0: empty. A record over `capacity` is cut. */
size_t vmbus_queue_pop(struct vmbus_queue *q, void *record, size_t capacity);
void vmbus_queue_clear(struct vmbus_queue *q);

#endif
