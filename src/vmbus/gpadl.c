/* SPDX-License-Identifier: MIT */
#include "vmbus/gpadl.h"

static uint32_t bucket_of(const struct vmbus_gpadl_table *t, uint32_t id)
{
	/* Clients count upwards, some from a base with low zero bits: mix before masking. */
	return (id * 0x9e3779b1u >> 12) & t->mask;
}

enum vmbus_status vmbus_gpadl_table_init(struct vmbus_gpadl_table *t,
					 const struct vmbus_allocator *a, uint32_t max_count,
					 uint32_t max_words)
{
	uint32_t buckets = 16;

	while (buckets < max_count && buckets < 4096)
		buckets *= 2;
	t->buckets = a->alloc(a->ctx, buckets * sizeof(t->buckets[0]));
	if (!t->buckets)
		return VMBUS_E_NO_MEMORY;
	t->mask = buckets - 1;
	t->count = 0;
	t->max_count = max_count;
	t->words = 0;
	t->max_words = max_words;
	return VMBUS_OK;
}

void vmbus_gpadl_table_free(struct vmbus_gpadl_table *t, const struct vmbus_allocator *a)
{
	if (t->buckets)
		a->free(a->ctx, t->buckets, (t->mask + 1) * sizeof(t->buckets[0]));
	memset(t, 0, sizeof(*t));
}

struct vmbus_gpadl *vmbus_gpadl_find(const struct vmbus_gpadl_table *t, const void *channel,
				     uint32_t id)
{
	struct vmbus_gpadl *g = t->buckets[bucket_of(t, id)];

	while (g && (g->id != id || (channel && g->channel != channel)))
		g = g->hash_next;
	return g;
}

struct vmbus_gpadl *vmbus_gpadl_find_incomplete(const struct vmbus_gpadl_table *t, uint32_t id)
{
	struct vmbus_gpadl *g = t->buckets[bucket_of(t, id)];

	while (g && (g->id != id || g->state != VMBUS_GPADL_INCOMPLETE))
		g = g->hash_next;
	return g;
}

static void link_gpadl(struct vmbus_gpadl_table *t, struct vmbus_gpadl_list *list,
		       struct vmbus_gpadl *g)
{
	struct vmbus_gpadl **bucket = &t->buckets[bucket_of(t, g->id)];

	g->hash_next = *bucket;
	*bucket = g;
	g->prev = list->last;
	if (list->last)
		list->last->next = g;
	else
		list->first = g;
	list->last = g;
	t->count++;
	t->words += g->allocated;
}

enum vmbus_status vmbus_gpadl_add(struct vmbus_gpadl_table *t, const struct vmbus_allocator *a,
				  struct vmbus_gpadl_list *list, const void *channel, uint32_t id,
				  uint32_t words, struct vmbus_gpadl **gpadl)
{
	struct vmbus_gpadl *g;

	if (t->count >= t->max_count || words > t->max_words - t->words)
		return VMBUS_E_LIMIT;
	g = a->alloc(a->ctx, sizeof(*g));
	if (!g)
		return VMBUS_E_NO_MEMORY;
	if (words) {
		g->words = a->alloc(a->ctx, words * sizeof(g->words[0]));
		if (!g->words) {
			a->free(a->ctx, g, sizeof(*g));
			return VMBUS_E_NO_MEMORY;
		}
	}
	g->channel = channel;
	g->id = id;
	g->word_count = words;
	g->allocated = words;
	link_gpadl(t, list, g);
	*gpadl = g;
	return VMBUS_OK;
}

void vmbus_gpadl_remove(struct vmbus_gpadl_table *t, const struct vmbus_allocator *a,
			struct vmbus_gpadl_list *list, struct vmbus_gpadl *g)
{
	struct vmbus_gpadl **link = &t->buckets[bucket_of(t, g->id)];

	while (*link && *link != g)
		link = &(*link)->hash_next;
	if (*link)
		*link = g->hash_next;
	if (g->prev)
		g->prev->next = g->next;
	else
		list->first = g->next;
	if (g->next)
		g->next->prev = g->prev;
	else
		list->last = g->prev;
	t->count--;
	t->words -= g->allocated;
	if (g->words)
		a->free(a->ctx, g->words, g->allocated * sizeof(g->words[0]));
	a->free(a->ctx, g, sizeof(*g));
}

void vmbus_gpadl_append(struct vmbus_gpadl *g, const uint8_t *bytes, size_t size)
{
	size_t count = size / sizeof(uint64_t);

	if (count > g->word_count - g->received)
		count = g->word_count - g->received;
	for (size_t i = 0; i < count; i++)
		g->words[g->received + i] = vmbus_get64(bytes + i * sizeof(uint64_t));
	g->received += (uint32_t)count;
}

const char *vmbus_gpadl_list_check(const struct vmbus_gpadl_table *t,
				   const struct vmbus_gpadl_list *list, const void *channel)
{
	const struct vmbus_gpadl *prev = NULL;

	for (const struct vmbus_gpadl *g = list->first; g; prev = g, g = g->next) {
		if (g->prev != prev)
			return "a channel's GPADL list is broken";
		if (g->channel != channel)
			return "a GPADL is in the list of another channel";
		if (vmbus_gpadl_find(t, channel, g->id) != g)
			return "a GPADL cannot be found, or its id is live twice on one channel";
		if (g->received > g->word_count || g->word_count > g->allocated)
			return "a GPADL holds more words than it announced";
		if (g->state == VMBUS_GPADL_INCOMPLETE) {
			if (g->received == g->word_count)
				return "a complete GPADL is still taken for incomplete";
			if (vmbus_gpadl_find_incomplete(t, g->id) != g)
				return "two incomplete GPADLs share an id";
		}
	}
	if (list->last != prev)
		return "a channel's GPADL list is broken at its end";
	return NULL;
}
