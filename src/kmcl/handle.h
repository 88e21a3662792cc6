/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Handles. A handle is no address; it says where to look and for which use of that place:
 *
 *     channel       kind 3 | slot 20 | generation 41
 *     packet        kind 3 | slot 20 | entry 21 | generation 20
 *     completion    kind 3 | slot 20 | object 12 | generation 29
 *
 * Places are never given back, so any value at all, of a channel long freed too, is looked up
 * without a lock and refused without being dereferenced. The one exception is a packet over memory
 * of the driver's own, whose handle the DDI says is that memory's address (kind 0: it is
 * 8-aligned).
 */
#ifndef KMCL_HANDLE_H
#define KMCL_HANDLE_H

#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct kmcl_channel;
struct kmcl_packet;
struct kmcl_incoming;

enum kmcl_handle_kind {
	KMCL_HANDLE_ADDRESS = 0,
	KMCL_HANDLE_CHANNEL = 1,
	KMCL_HANDLE_PACKET = 3,
	KMCL_HANDLE_COMPLETION = 5,
};

enum {
	KMCL_SLOT_BITS = 20,
	KMCL_ENTRY_BITS = 21,
	KMCL_OBJECT_BITS = 12,
	KMCL_SLOTS_A_CHUNK = 64,
	KMCL_SLOT_CHUNKS = (1 << KMCL_SLOT_BITS) / KMCL_SLOTS_A_CHUNK,
	KMCL_FIRST_ENTRIES = 8, /* of a slot's first chunk; each further one has twice as many */
	KMCL_ENTRY_CHUNKS = 18,
	KMCL_OBJECTS = 257, /* incoming packets of a channel at once */
};

/** Where a packet of VmbPacketAllocate is found. Its object stays with it until it is freed. */
struct kmcl_entry {
	_Atomic uint64_t handle; /* 0: not the driver's now */
	_Atomic(struct kmcl_packet *) packet;
	uint32_t generation;
	uint32_t index;
	struct kmcl_entry *next; /* free ones */
};

/** A channel's place, used again by later channels. Who looks a handle up shares no cache line with
 * who delivers. */
struct kmcl_slot {
	_Alignas(64) _Atomic uint64_t handle; /* 0: nobody's */
	_Atomic(struct kmcl_channel *) channel;
	uint64_t generation;
	uint32_t index;
	struct kmcl_slot *next; /* free ones */

	/* packets: written under the channel's packets.lock */
	_Atomic(struct kmcl_entry *) entries[KMCL_ENTRY_CHUNKS];
	uint32_t entry_count;
	struct kmcl_entry *free_entries;

	/* incoming packets: which delivery of an object the driver has; 0: none */
	_Alignas(64) uint32_t deliveries;
	_Atomic uint32_t delivered[KMCL_OBJECTS];
};

extern _Atomic(struct kmcl_slot *) kmcl_slots[KMCL_SLOT_CHUNKS];

static inline struct kmcl_slot *kmcl_slot_of(uint64_t handle)
{
	uint32_t index = (uint32_t)(handle >> 3) & ((1u << KMCL_SLOT_BITS) - 1);
	struct kmcl_slot *chunk =
		atomic_load_explicit(&kmcl_slots[index / KMCL_SLOTS_A_CHUNK], memory_order_acquire);

	return chunk ? &chunk[index % KMCL_SLOTS_A_CHUNK] : NULL;
}

/* ---- channels ---- */

/** Gives a new channel its place and handle; 0: no memory, or too many channels. */
uint64_t kmcl_slot_take(struct kmcl_channel *ch);
/** From here on the handle is stale. False: it was so already. */
bool kmcl_slot_retire(uint64_t handle);
/** The place may be used again: nothing of the channel refers to it any more. */
void kmcl_slot_give(uint64_t handle);

/** The channel behind a handle; NULL: not a channel, or not any more. Takes no lock. */
static inline struct kmcl_channel *kmcl_channel_of(VMBCHANNEL handle)
{
	uint64_t value = (uintptr_t)handle;
	struct kmcl_slot *slot;

	if ((value & 7) != KMCL_HANDLE_CHANNEL)
		return NULL;
	slot = kmcl_slot_of(value);
	if (!slot || atomic_load_explicit(&slot->handle, memory_order_acquire) != value)
		return NULL;
	return atomic_load_explicit(&slot->channel, memory_order_relaxed);
}

/* ---- packets ---- */

/** A place for a packet object of the channel; under its packets.lock. NULL: no memory. */
struct kmcl_entry *kmcl_entry_take(struct kmcl_slot *slot, struct kmcl_packet *p);
void kmcl_entry_give(struct kmcl_slot *slot, struct kmcl_entry *entry);
/** A fresh handle for the object. */
uint64_t kmcl_entry_begin(struct kmcl_slot *slot, struct kmcl_entry *entry);
static inline void kmcl_entry_end(struct kmcl_entry *entry)
{
	atomic_store_explicit(&entry->handle, 0, memory_order_release);
}

/** Of a packet over memory of the driver's own. */
struct kmcl_packet *kmcl_packet_at_address(VMBPACKET handle);

/** Where an entry is; chunk k begins at entry 8 * (2^k - 1). NULL: there is none. */
static inline struct kmcl_entry *kmcl_entry_at(struct kmcl_slot *slot, uint32_t index)
{
	uint32_t chunk = 31 - (uint32_t)__builtin_clz(index / KMCL_FIRST_ENTRIES + 1);
	struct kmcl_entry *entries;

	if (chunk >= KMCL_ENTRY_CHUNKS)
		return NULL;
	entries = atomic_load_explicit(&slot->entries[chunk], memory_order_acquire);
	return entries ? &entries[index - KMCL_FIRST_ENTRIES * ((1u << chunk) - 1)] : NULL;
}

/** The packet behind a handle; NULL: not a packet, or not any more, or its channel is gone. */
static inline struct kmcl_packet *kmcl_packet_of(VMBPACKET handle)
{
	uint64_t value = (uintptr_t)handle;
	struct kmcl_entry *entry;
	struct kmcl_slot *slot;

	if ((value & 7) == KMCL_HANDLE_ADDRESS)
		return kmcl_packet_at_address(handle);
	if ((value & 7) != KMCL_HANDLE_PACKET)
		return NULL;
	slot = kmcl_slot_of(value);
	if (!slot)
		return NULL;
	entry = kmcl_entry_at(slot,
			      (value >> (3 + KMCL_SLOT_BITS)) & ((1u << KMCL_ENTRY_BITS) - 1));
	if (!entry || atomic_load_explicit(&entry->handle, memory_order_acquire) != value)
		return NULL;
	return atomic_load_explicit(&entry->packet, memory_order_relaxed);
}

/* ---- incoming packets ---- */

/** The driver gets the object: a new handle, or the one that it had before a deferral. */
VMBPACKETCOMPLETION kmcl_delivery_begin(struct kmcl_incoming *in);
/** The object if the driver has it under this handle, else NULL. */
struct kmcl_incoming *kmcl_delivery_of(VMBPACKETCOMPLETION handle);
/** Takes it back from the driver. True for one caller a delivery. */
bool kmcl_delivery_end(VMBPACKETCOMPLETION handle);
/** The channel if this was a delivery of one that still lives, though it has ended. For reports. */
struct kmcl_channel *kmcl_delivery_was(VMBPACKETCOMPLETION handle);
/** The handle under which the driver has an object now; 0: it does not. */
uint64_t kmcl_delivery_handle(const struct kmcl_slot *slot, uint32_t index);

#endif
