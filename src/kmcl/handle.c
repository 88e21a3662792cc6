/* SPDX-License-Identifier: MIT */
/*
 * Places for channels, packets and deliveries, and the values that name them. A place is written
 * before its handle, and the handle is taken away before what it leads to goes.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kmcl/channel.h"

#define PACKET_GENERATION   (64 - 3 - KMCL_SLOT_BITS - KMCL_ENTRY_BITS)
#define DELIVERY_GENERATION (64 - 3 - KMCL_SLOT_BITS - KMCL_OBJECT_BITS)

_Atomic(struct kmcl_slot *) kmcl_slots[KMCL_SLOT_CHUNKS];

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kmcl_slot *free_slots;
static uint32_t slot_count;

static uint64_t in_slot(enum kmcl_handle_kind kind, const struct kmcl_slot *slot)
{
	return (uint64_t)kind | (uint64_t)slot->index << 3;
}

/* ---- channels ---- */

static bool more_slots(void)
{
	struct kmcl_slot *chunk;

	if (slot_count / KMCL_SLOTS_A_CHUNK == KMCL_SLOT_CHUNKS)
		return false;
	chunk = aligned_alloc(_Alignof(struct kmcl_slot), KMCL_SLOTS_A_CHUNK * sizeof(*chunk));
	if (!chunk)
		return false;
	memset(chunk, 0, KMCL_SLOTS_A_CHUNK * sizeof(*chunk));
	atomic_store_explicit(&kmcl_slots[slot_count / KMCL_SLOTS_A_CHUNK], chunk,
			      memory_order_release);
	return true;
}

static struct kmcl_slot *take_slot(void)
{
	struct kmcl_slot *slot = free_slots;

	if (slot) {
		free_slots = slot->next;
		return slot;
	}
	if (slot_count % KMCL_SLOTS_A_CHUNK == 0 && !more_slots())
		return NULL;
	slot = kmcl_slot_of((uint64_t)slot_count << 3);
	slot->index = slot_count++;
	return slot;
}

uint64_t kmcl_slot_take(struct kmcl_channel *ch)
{
	struct kmcl_slot *slot;
	uint64_t handle = 0;

	pthread_mutex_lock(&slots_lock);
	slot = take_slot();
	if (slot) {
		handle = in_slot(KMCL_HANDLE_CHANNEL, slot) | ++slot->generation
								      << (3 + KMCL_SLOT_BITS);
		ch->slot = slot;
		atomic_store_explicit(&slot->channel, ch, memory_order_relaxed);
		atomic_store_explicit(&slot->handle, handle, memory_order_release);
	}
	pthread_mutex_unlock(&slots_lock);
	return handle;
}

bool kmcl_slot_retire(uint64_t handle)
{
	return atomic_compare_exchange_strong(&kmcl_slot_of(handle)->handle, &handle, 0);
}

void kmcl_slot_give(uint64_t handle)
{
	struct kmcl_slot *slot = kmcl_slot_of(handle);

	pthread_mutex_lock(&slots_lock);
	atomic_store_explicit(&slot->channel, NULL, memory_order_relaxed);
	slot->next = free_slots;
	free_slots = slot;
	pthread_mutex_unlock(&slots_lock);
}

/* ---- packets ---- */

static struct kmcl_entry *new_entry(struct kmcl_slot *slot)
{
	uint32_t chunk = 31 - (uint32_t)__builtin_clz(slot->entry_count / KMCL_FIRST_ENTRIES + 1);
	struct kmcl_entry *entries;

	if (chunk >= KMCL_ENTRY_CHUNKS)
		return NULL;
	if (!atomic_load_explicit(&slot->entries[chunk], memory_order_relaxed)) {
		entries = calloc((size_t)KMCL_FIRST_ENTRIES << chunk, sizeof(*entries));
		if (!entries)
			return NULL;
		atomic_store_explicit(&slot->entries[chunk], entries, memory_order_release);
	}
	entries = kmcl_entry_at(slot, slot->entry_count);
	entries->index = slot->entry_count++;
	return entries;
}

struct kmcl_entry *kmcl_entry_take(struct kmcl_slot *slot, struct kmcl_packet *p)
{
	struct kmcl_entry *entry = slot->free_entries;

	if (entry)
		slot->free_entries = entry->next;
	else
		entry = new_entry(slot);
	if (entry)
		atomic_store_explicit(&entry->packet, p, memory_order_relaxed);
	return entry;
}

void kmcl_entry_give(struct kmcl_slot *slot, struct kmcl_entry *entry)
{
	atomic_store_explicit(&entry->packet, NULL, memory_order_relaxed);
	entry->next = slot->free_entries;
	slot->free_entries = entry;
}

uint64_t kmcl_entry_begin(struct kmcl_slot *slot, struct kmcl_entry *entry)
{
	uint64_t handle = in_slot(KMCL_HANDLE_PACKET, slot) | (uint64_t)entry->index
								      << (3 + KMCL_SLOT_BITS);

	entry->generation = (entry->generation + 1) & ((1u << PACKET_GENERATION) - 1);
	handle |= (uint64_t)entry->generation << (64 - PACKET_GENERATION);
	atomic_store_explicit(&entry->handle, handle, memory_order_release);
	return handle;
}

/* VmbPacketInitialize's. Its channel may be gone, which VmbChannelCleanup cannot see. */
struct kmcl_packet *kmcl_packet_at_address(VMBPACKET handle)
{
	struct kmcl_packet *p = (struct kmcl_packet *)handle;

	if (!p || p->magic != KMCL_PACKET_MAGIC || p->entry ||
	    kmcl_channel_of((VMBCHANNEL)(uintptr_t)p->owner) != p->channel)
		return NULL;
	return p;
}

/* ---- incoming packets ---- */

VMBPACKETCOMPLETION kmcl_delivery_begin(struct kmcl_incoming *in)
{
	struct kmcl_slot *slot = in->channel->slot;
	const uint32_t mask = (1u << DELIVERY_GENERATION) - 1;
	uint64_t handle = in_slot(KMCL_HANDLE_COMPLETION, slot) | (uint64_t)in->index
									  << (3 + KMCL_SLOT_BITS);

	while (!in->delivery)
		in->delivery = ++slot->deliveries & mask;
	atomic_store_explicit(&slot->delivered[in->index], in->delivery, memory_order_release);
	return (VMBPACKETCOMPLETION)(uintptr_t)(handle | (uint64_t)in->delivery
								 << (64 - DELIVERY_GENERATION));
}

uint64_t kmcl_delivery_handle(const struct kmcl_slot *slot, uint32_t index)
{
	uint64_t delivery = atomic_load_explicit(&slot->delivered[index], memory_order_acquire);

	return delivery ? in_slot(KMCL_HANDLE_COMPLETION, slot) |
				  (uint64_t)index << (3 + KMCL_SLOT_BITS) |
				  delivery << (64 - DELIVERY_GENERATION)
			: 0;
}

static uint32_t object_of(uint64_t handle)
{
	return (handle >> (3 + KMCL_SLOT_BITS)) & ((1u << KMCL_OBJECT_BITS) - 1);
}

static uint32_t delivery_of(uint64_t handle)
{
	return (uint32_t)(handle >> (64 - DELIVERY_GENERATION));
}

/* NULL: no handle of this kind. */
static struct kmcl_slot *delivery_slot(uint64_t handle)
{
	if ((handle & 7) != KMCL_HANDLE_COMPLETION || object_of(handle) >= KMCL_OBJECTS ||
	    !delivery_of(handle))
		return NULL;
	return kmcl_slot_of(handle);
}

/* While the driver has a packet its channel can neither be closed nor freed. */
struct kmcl_incoming *kmcl_delivery_of(VMBPACKETCOMPLETION handle)
{
	uint64_t value = (uintptr_t)handle;
	struct kmcl_slot *slot = delivery_slot(value);
	uint32_t index = object_of(value);

	if (!slot || atomic_load_explicit(&slot->delivered[index], memory_order_acquire) !=
			     delivery_of(value))
		return NULL;
	return kmcl_incoming_at(atomic_load_explicit(&slot->channel, memory_order_relaxed), index);
}

/* By the handle, not by the object, which may be another delivery's by now. */
bool kmcl_delivery_end(VMBPACKETCOMPLETION handle)
{
	uint64_t value = (uintptr_t)handle;
	uint32_t delivery = delivery_of(value);

	return atomic_compare_exchange_strong_explicit(
		&kmcl_slot_of(value)->delivered[object_of(value)], &delivery, 0,
		memory_order_acq_rel, memory_order_relaxed);
}

struct kmcl_channel *kmcl_delivery_was(VMBPACKETCOMPLETION handle)
{
	struct kmcl_slot *slot = delivery_slot((uintptr_t)handle);

	if (!slot || !atomic_load_explicit(&slot->handle, memory_order_acquire))
		return NULL;
	return atomic_load_explicit(&slot->channel, memory_order_relaxed);
}
