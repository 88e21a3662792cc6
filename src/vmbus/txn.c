/* SPDX-License-Identifier: MIT */
/*
 * An id is generation << 32 | slot + 1. The generation moves on whenever a slot ends, so that a
 * stale or repeated completion never meets a newer request; it stays below the top, which keeps ids
 * away from the reserved values.
 */
#include "vmbus/txn.h"

#include <stddef.h>

#define GENERATION_MAX 0x7fffffffu

static uint64_t id_of(const struct vmbus_txn_table *t, uint32_t slot)
{
	return (uint64_t)t->slots[slot].generation << 32 | (slot + 1);
}

void vmbus_txn_init(struct vmbus_txn_table *t, struct vmbus_txn_slot *slots, uint32_t count)
{
	if (count > VMBUS_TXN_MAX)
		count = VMBUS_TXN_MAX;
	t->slots = slots;
	t->count = count;
	t->used = 0;
	t->first = 1;
	t->free = 0;
	t->live = 0;
	t->dropped = 0;
}

/* One more that was never taken before is free: from the end, see the header. */
static void first_use(struct vmbus_txn_table *t)
{
	struct vmbus_txn_slot *s = &t->slots[t->count - ++t->used];

	s->owner = NULL;
	s->generation = t->first;
	s->next = t->free;
	s->state = VMBUS_TXN_FREE;
	t->free = t->count - t->used + 1;
}

bool vmbus_txn_begin(struct vmbus_txn_table *t, void *owner, uint64_t *id)
{
	struct vmbus_txn_slot *s;

	if (!t->free && t->used < t->count)
		first_use(t);
	if (!t->free)
		return false;
	s = &t->slots[t->free - 1];
	*id = id_of(t, t->free - 1);
	t->free = s->next;
	t->live++;
	s->owner = owner;
	s->state = VMBUS_TXN_LIVE;
	return true;
}

/* The slot that `id` names now, or NULL. */
static struct vmbus_txn_slot *find(const struct vmbus_txn_table *t, uint64_t id)
{
	uint32_t number = (uint32_t)id;

	if (number > t->count || number <= t->count - t->used || id_of(t, number - 1) != id ||
	    t->slots[number - 1].state == VMBUS_TXN_FREE)
		return NULL;
	return &t->slots[number - 1];
}

static void *release(struct vmbus_txn_table *t, struct vmbus_txn_slot *s)
{
	void *owner = s->owner;

	s->owner = NULL;
	s->state = VMBUS_TXN_FREE;
	s->generation = s->generation < GENERATION_MAX ? s->generation + 1 : 1;
	s->next = t->free;
	t->free = (uint32_t)(s - t->slots) + 1;
	t->live--;
	return owner;
}

void *vmbus_txn_end(struct vmbus_txn_table *t, uint64_t id)
{
	struct vmbus_txn_slot *s = find(t, id);

	if (!s) {
		t->dropped++;
		return NULL;
	}
	return release(t, s);
}

void *vmbus_txn_abandon(struct vmbus_txn_table *t, uint64_t id)
{
	struct vmbus_txn_slot *s = find(t, id);
	void *owner;

	if (!s || s->state != VMBUS_TXN_LIVE)
		return NULL;
	owner = s->owner;
	s->owner = NULL;
	s->state = VMBUS_TXN_ABANDONED;
	return owner;
}

void vmbus_txn_cancel(struct vmbus_txn_table *t, uint64_t id)
{
	struct vmbus_txn_slot *s = find(t, id);

	if (s)
		release(t, s);
}

void *vmbus_txn_next(const struct vmbus_txn_table *t, uint32_t *cursor)
{
	while (*cursor < t->used) {
		const struct vmbus_txn_slot *s = &t->slots[t->count - ++*cursor];

		if (s->state == VMBUS_TXN_LIVE)
			return s->owner;
	}
	return NULL;
}

void *vmbus_txn_take(struct vmbus_txn_table *t, uint32_t *cursor)
{
	while (*cursor < t->used) {
		struct vmbus_txn_slot *s = &t->slots[t->count - ++*cursor];

		if (s->state == VMBUS_TXN_LIVE)
			return release(t, s);
	}
	return NULL;
}

/* ---- saved state ---- */

uint32_t vmbus_txn_generation(const struct vmbus_txn_table *t)
{
	uint32_t highest = t->first;

	for (uint32_t i = t->count - t->used; i < t->count; i++) {
		const struct vmbus_txn_slot *s = &t->slots[i];
		uint32_t next = s->generation + (s->state != VMBUS_TXN_FREE);

		if (next > highest)
			highest = next;
	}
	return highest <= GENERATION_MAX ? highest : 1;
}

void vmbus_txn_resume(struct vmbus_txn_table *t, uint32_t generation)
{
	if (!generation || generation > GENERATION_MAX)
		generation = 1;
	t->first = generation;
	for (uint32_t i = t->count - t->used; i < t->count; i++)
		t->slots[i].generation = generation;
}

bool vmbus_txn_restore(struct vmbus_txn_table *t, uint64_t id, void *owner)
{
	uint32_t number = (uint32_t)id, generation = (uint32_t)(id >> 32);
	struct vmbus_txn_slot *s;
	uint32_t *link = &t->free;

	if (!number || number > t->count || !generation || generation > GENERATION_MAX)
		return false;
	while (number <= t->count - t->used)
		first_use(t);
	while (*link && *link != number)
		link = &t->slots[*link - 1].next;
	if (!*link)
		return false;
	s = &t->slots[number - 1];
	*link = s->next;
	s->owner = owner;
	s->generation = generation;
	s->state = VMBUS_TXN_LIVE;
	t->live++;
	return true;
}
