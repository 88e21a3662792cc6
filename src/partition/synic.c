/* SPDX-License-Identifier: MIT */
/*
 * A slot is 256 bytes: type u32 @0 (0: empty), payload size u8 @4, flags u8 @5 (bit 0: more wait),
 * sender u64 @8, payload @16. The type is the hand-over: the host fills a slot whose type is 0 and
 * then stores the type; the guest copies and then clears the type.
 *
 * The pending flag and the type form the usual pair: the host sets the flag and looks at the type
 * again, the guest clears the type and looks at the flag again, and with a full barrier in each at
 * least one of them sees the other. Both may; then the host is told once too often.
 */
#include "partition/synic.h"

#include <errno.h>

#include "vmbus/shared_copy.h"

#define SLOT_SIZE_AT    4
#define SLOT_FLAGS_AT   5
#define SLOT_SENDER_AT  8
#define SLOT_PAYLOAD_AT 16
#define SLOT_PENDING    1u

#define SLOT_EMPTY 0u

static _Atomic uint32_t *slot_type(uint8_t *slot)
{
	return (_Atomic uint32_t *)(void *)slot;
}

static _Atomic uint8_t *slot_byte(uint8_t *slot, unsigned int at)
{
	return (_Atomic uint8_t *)(slot + at);
}

static void fill_slot(uint8_t *slot, uint32_t type, uint64_t sender, const void *payload,
		      size_t size)
{
	vmbus_shared_put(slot + SLOT_PAYLOAD_AT, payload, size);
	vmbus_store64_relaxed(slot + SLOT_SENDER_AT, sender);
	atomic_store_explicit(slot_byte(slot, SLOT_SIZE_AT), (uint8_t)size, memory_order_relaxed);
	atomic_store_explicit(slot_byte(slot, SLOT_FLAGS_AT), 0, memory_order_relaxed);
	atomic_store_explicit((_Atomic uint16_t *)(void *)(slot + 6), 0, memory_order_relaxed);
	atomic_store(slot_type(slot), VMBUS_LE32(type));
}

int synic_deliver(struct synic_vp *vp, uint8_t sint, uint32_t type, uint64_t sender,
		  const void *payload, size_t size)
{
	uint8_t *simp = atomic_load(&vp->simp);
	uint8_t *slot;

	if (!simp || sint >= SYNIC_SINTS || size > HV_MESSAGE_MAX)
		return -ENODEV;
	if (!(atomic_load(&vp->unmasked) >> sint & 1))
		return -EAGAIN;
	slot = simp + sint * SYNIC_SLOT_BYTES;
	if (atomic_load(slot_type(slot)) != SLOT_EMPTY) {
		atomic_fetch_or(slot_byte(slot, SLOT_FLAGS_AT), SLOT_PENDING);
		if (atomic_load(slot_type(slot)) != SLOT_EMPTY)
			return -EAGAIN;
	}
	fill_slot(slot, type, sender, payload, size);
	return 0;
}

struct hv_flags *synic_flags(uint8_t *siefp, uint8_t sint)
{
	return (struct hv_flags *)(void *)(siefp + (sint % SYNIC_SINTS) * SYNIC_SLOT_BYTES);
}

int synic_set_flag(struct synic_vp *vp, uint8_t sint, uint16_t flag)
{
	uint8_t *siefp = atomic_load(&vp->siefp);

	if (!siefp || sint >= SYNIC_SINTS || flag >= HV_EVENT_FLAGS)
		return -ENODEV;
	return hv_flag_set(synic_flags(siefp, sint), flag) &&
	       atomic_load(&vp->unmasked) >> sint & 1;
}

/* The host may set the pending flag while the slot is copied; the rest it leaves alone, if it keeps
 * to the rules. If it does not, the copy is what counts. */
static void copy_slot(uint8_t *slot, struct hv_message *message)
{
	message->size = atomic_load_explicit(slot_byte(slot, SLOT_SIZE_AT), memory_order_relaxed);
	vmbus_shared_get(message->payload, slot + SLOT_PAYLOAD_AT, HV_MESSAGE_MAX);
}

enum synic_take synic_take(uint8_t *simp, uint8_t sint, struct hv_message *message,
			   bool *end_of_message)
{
	uint8_t *slot = simp + (sint % SYNIC_SINTS) * SYNIC_SLOT_BYTES;
	uint32_t type = atomic_load_explicit(slot_type(slot), memory_order_acquire);
	uint32_t seen = type;

	*end_of_message = false;
	if (type == SLOT_EMPTY)
		return SYNIC_EMPTY;
	message->connection_id = 0;
	message->type = VMBUS_LE32(type);
	copy_slot(slot, message);
	/* A type that changed meanwhile is another message, or a host out of its mind: it stays for
	 * the next look, and this one is not told to have ended. */
	if (atomic_compare_exchange_strong(slot_type(slot), &seen, SLOT_EMPTY))
		*end_of_message = atomic_load(slot_byte(slot, SLOT_FLAGS_AT)) & SLOT_PENDING;
	if (message->type != HV_MESSAGE_TYPE_VMBUS || message->size > HV_MESSAGE_MAX)
		return SYNIC_BAD;
	return SYNIC_MESSAGE;
}
