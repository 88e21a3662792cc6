/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "vmbus/queue.h"

static void copy_in(struct vmbus_queue *q, size_t at, const void *from, size_t size)
{
	size_t first;

	at %= q->capacity;
	first = q->capacity - at < size ? q->capacity - at : size;
	memcpy(q->bytes + at, from, first);
	if (size > first)
		memcpy(q->bytes, (const uint8_t *)from + first, size - first);
}

static void copy_out(const struct vmbus_queue *q, size_t at, void *to, size_t size)
{
	size_t first;

	at %= q->capacity;
	first = q->capacity - at < size ? q->capacity - at : size;
	memcpy(to, q->bytes + at, first);
	if (size > first)
		memcpy((uint8_t *)to + first, q->bytes, size - first);
}

enum vmbus_status vmbus_queue_reserve(struct vmbus_queue *q, const struct vmbus_allocator *a,
				      size_t capacity)
{
	size_t grown = q->capacity ? q->capacity : 1024;
	uint8_t *bytes;

	if (capacity <= q->capacity)
		return VMBUS_OK;
	while (grown < capacity)
		grown *= 2;
	bytes = a->alloc(a->ctx, grown);
	if (!bytes)
		return VMBUS_E_NO_MEMORY;
	if (q->used)
		copy_out(q, q->head, bytes, q->used);
	if (q->bytes)
		a->free(a->ctx, q->bytes, q->capacity);
	q->bytes = bytes;
	q->capacity = grown;
	q->head = 0;
	return VMBUS_OK;
}

void vmbus_queue_free(struct vmbus_queue *q, const struct vmbus_allocator *a)
{
	if (q->bytes)
		a->free(a->ctx, q->bytes, q->capacity);
	memset(q, 0, sizeof(*q));
}

bool vmbus_queue_push(struct vmbus_queue *q, const void *record, size_t size)
{
	uint32_t length = (uint32_t)size;

	if (vmbus_queue_room(q) < vmbus_queue_cost(size))
		return false;
	copy_in(q, q->head + q->used, &length, sizeof(length));
	copy_in(q, q->head + q->used + sizeof(length), record, size);
	q->used += vmbus_queue_cost(size);
	q->records++;
	return true;
}

size_t vmbus_queue_pop(struct vmbus_queue *q, void *record, size_t capacity)
{
	uint32_t length;

	if (!q->records)
		return 0;
	copy_out(q, q->head, &length, sizeof(length));
	copy_out(q, q->head + sizeof(length), record, length < capacity ? length : capacity);
	q->head = (q->head + vmbus_queue_cost(length)) % q->capacity;
	q->used -= vmbus_queue_cost(length);
	q->records--;
	return length;
}

void vmbus_queue_clear(struct vmbus_queue *q)
{
	q->head = 0;
	q->used = 0;
	q->records = 0;
}
