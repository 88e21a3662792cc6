/* SPDX-License-Identifier: MIT */
/*
 * Packet objects and the sends of the DDI. All that a transaction needs is inside the object, so a
 * send never allocates.
 */
#include <stdlib.h>
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/inject.h"
#include "kmcl/verifier.h"

static VOID default_routine(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 size)
{
	VmbPacketFree(packet);
}

static uint32_t packet_state(struct kmcl_packet *p)
{
	return atomic_load_explicit(&p->state, memory_order_acquire);
}

uint32_t kmcl_max_external_pages(const struct kmcl_channel *ch)
{
	return ch->config.max_external / PAGE_SIZE + 2 * ch->config.max_chain;
}

/* Only a client describes memory. */
uint32_t kmcl_packet_header_room(const struct kmcl_channel *ch)
{
	if (ch->server)
		return 0;
	return 8 + 8 * ch->config.max_chain + 8 * kmcl_max_external_pages(ch);
}

size_t kmcl_packet_size(const struct kmcl_channel *ch)
{
	return sizeof(struct kmcl_packet) + ((ch->config.max_packet + 7u) & ~7u) +
	       kmcl_packet_header_room(ch);
}

void kmcl_packets_init(struct kmcl_channel *ch)
{
	ch->packets.free = NULL;
	ch->packets.size = 0;
}

static void drop_lookaside(struct kmcl_channel *ch)
{
	struct kmcl_packet *p = ch->packets.free;

	ch->packets.free = NULL;
	ch->packets.spare = 0;
	while (p) {
		struct kmcl_packet *next = p->next;

		kmcl_entry_give(ch->slot, p->entry);
		free(p);
		p = next;
	}
}

void kmcl_packets_destroy(struct kmcl_channel *ch)
{
	drop_lookaside(ch);
}

static struct kmcl_packet *take_spare(struct kmcl_channel *ch, size_t size)
{
	struct kmcl_packet *p;

	spin_lock(&ch->packets.lock);
	if (ch->packets.size != size) {
		drop_lookaside(ch); /* sizes changed while disabled */
		ch->packets.size = size;
	}
	p = ch->packets.free;
	if (p) {
		ch->packets.free = p->next;
		ch->packets.spare--;
	}
	spin_unlock(&ch->packets.lock);
	return p;
}

static void packet_reset(struct kmcl_packet *p, struct kmcl_channel *ch, struct kmcl_entry *entry)
{
	memset(p, 0, sizeof(*p));
	p->magic = KMCL_PACKET_MAGIC;
	p->channel = ch;
	p->owner = ch->handle;
	p->entry = entry;
	p->handle = entry ? kmcl_entry_begin(ch->slot, entry) : (uintptr_t)p;
	atomic_store_explicit(&p->state, KMCL_PACKET_IDLE, memory_order_release);
}

static struct kmcl_packet *new_packet(struct kmcl_channel *ch, size_t size,
				      struct kmcl_entry **entry)
{
	struct kmcl_packet *p = malloc(size);

	if (!p)
		return NULL;
	spin_lock(&ch->packets.lock);
	*entry = kmcl_entry_take(ch->slot, p);
	spin_unlock(&ch->packets.lock);
	if (!*entry) {
		free(p);
		return NULL;
	}
	return p;
}

struct kmcl_packet *kmcl_packet_alloc(struct kmcl_channel *ch, bool counted)
{
	size_t size = kmcl_packet_size(ch);
	struct kmcl_packet *p = take_spare(ch, size);
	struct kmcl_entry *entry = p ? p->entry : NULL;

	if (!p)
		p = new_packet(ch, size, &entry);
	if (!p)
		return NULL;
	packet_reset(p, ch, entry);
	p->allocated = counted;
	if (counted)
		atomic_fetch_add(&ch->packets.live, 1);
	return p;
}

/* The object may be gone as soon as the lookaside lock is released: nothing after it touches `p`,
 * and `live` is the last word that keeps the channel. */
void kmcl_packet_free(struct kmcl_packet *p)
{
	struct kmcl_channel *ch = p->channel;
	bool counted = p->allocated, keep;

	kmcl_entry_end(p->entry);
	atomic_store_explicit(&p->state, KMCL_PACKET_FREED, memory_order_release);
	spin_lock(&ch->packets.lock);
	keep = ch->packets.spare < KMCL_PACKET_LOOKASIDE;
	if (keep) {
		p->next = ch->packets.free;
		ch->packets.free = p;
		ch->packets.spare++;
	} else {
		kmcl_entry_give(ch->slot, p->entry);
	}
	spin_unlock(&ch->packets.lock);
	if (!keep)
		free(p);
	if (counted)
		atomic_fetch_sub(&ch->packets.live, 1);
}

VMBPACKET VmbPacketAllocate(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);
	struct kmcl_packet *p;

	if (!ch || kmcl_fault_alloc(ch, "VmbPacketAllocate"))
		return NULL;
	p = kmcl_packet_alloc(ch, true);
	if (p)
		p->routine = default_routine;
	return p ? kmcl_packet_handle(p) : NULL;
}

VOID VmbPacketFree(VMBPACKET VmbPacket)
{
	struct kmcl_packet *p = kmcl_packet_of(VmbPacket);
	uint32_t idle = KMCL_PACKET_IDLE;

	if (!p || !p->allocated) {
		kmcl_violation(p ? p->channel : NULL, "packet-free", "VmbPacketFree: %s",
			       p ? "the packet is not from VmbPacketAllocate"
				 : "not a packet, or free already");
		return;
	}
	if (!atomic_compare_exchange_strong(&p->state, &idle, KMCL_PACKET_BUSY)) {
		kmcl_violation(p->channel, "packet-in-flight",
			       "VmbPacketFree: the packet is in flight");
		return;
	}
	kmcl_packet_free(p);
}

UINT32 VmbChannelSizeofPacket(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch) {
		nt_violation("bad-handle", "VmbChannelSizeofPacket: not a channel");
		return 0;
	}
	return (UINT32)kmcl_packet_size(ch);
}

/* Whether memory that is to be a packet already is one, and is not the driver's now. */
static bool in_flight_at(VMBPACKET memory)
{
	struct kmcl_packet *p = kmcl_packet_at_address(memory);

	return p && p->handle == (uintptr_t)p && packet_state(p) != KMCL_PACKET_IDLE;
}

NTSTATUS VmbPacketInitialize(VMBCHANNEL Channel, VMBPACKET VmbPacket, UINT32 ByteCount)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!VmbPacket || (uintptr_t)VmbPacket % 8)
		return STATUS_INVALID_PARAMETER_2;
	if (ByteCount < kmcl_packet_size(ch))
		return STATUS_INVALID_PARAMETER_3;
	if (kmcl_verify() && in_flight_at(VmbPacket))
		kmcl_violation(ch, "packet-in-flight",
			       "VmbPacketInitialize: the packet in this memory is in flight");
	packet_reset((struct kmcl_packet *)VmbPacket, ch, NULL);
	return STATUS_SUCCESS;
}

VMBCHANNEL VmbPacketGetChannel(VMBPACKET PacketObject)
{
	struct kmcl_packet *p = kmcl_packet_of(PacketObject);

	if (!p) {
		nt_violation("bad-handle", "VmbPacketGetChannel: not a packet");
		return NULL;
	}
	return kmcl_handle(p->channel);
}

PVOID VmbPacketGetPointer(VMBPACKET PacketObject)
{
	struct kmcl_packet *p = kmcl_packet_of(PacketObject);

	if (!p) {
		nt_violation("bad-handle", "VmbPacketGetPointer: not a packet");
		return NULL;
	}
	return p->pointer;
}

VOID VmbPacketSetPointer(VMBPACKET PacketObject, PVOID Pointer)
{
	struct kmcl_packet *p = kmcl_packet_of(PacketObject);

	if (!p) {
		nt_violation("bad-handle", "VmbPacketSetPointer: not a packet");
		return;
	}
	p->pointer = Pointer;
}

VOID VmbPacketSetCompletionRoutine(VMBPACKET PacketObject,
				   PFN_VMB_PACKET_COMPLETION_ROUTINE CompletionRoutine)
{
	struct kmcl_packet *p = kmcl_packet_of(PacketObject);

	if (!p || !CompletionRoutine) {
		kmcl_violation(p ? p->channel : NULL, "completion-routine",
			       "VmbPacketSetCompletionRoutine: %s",
			       p ? "no routine" : "not a packet");
		return;
	}
	if (packet_state(p) != KMCL_PACKET_IDLE && packet_state(p) != KMCL_PACKET_RESTORED) {
		kmcl_violation(p->channel, "packet-in-flight",
			       "VmbPacketSetCompletionRoutine: the packet is in flight");
		return;
	}
	p->routine = CompletionRoutine;
}

/* A driver stops sending when it is told to suspend. */
static bool sends_in_suspend(struct kmcl_packet *p)
{
	return kmcl_callback_of(p->channel) == KMCL_CB_SUSPEND;
}

/* Takes an idle packet for a send. NULL: STATUS_INVALID_PARAMETER_1. */
static struct kmcl_packet *packet_take(VMBPACKET handle)
{
	struct kmcl_packet *p = kmcl_packet_of(handle);
	uint32_t idle = KMCL_PACKET_IDLE;

	if (!p)
		return NULL;
	if (!p->routine || !atomic_compare_exchange_strong(&p->state, &idle, KMCL_PACKET_BUSY)) {
		kmcl_report(p->channel, "send-in-flight", "a packet was sent that %s",
			    p->routine ? "is in flight" : "has no completion routine");
		return NULL;
	}
	p->type = VMBUS_PKT_INBAND;
	p->header_size = 0;
	p->wait = false;
	p->sync = NULL;
	p->bounce_needed = false;
	p->bounce_held = false;
	return p;
}

static NTSTATUS packet_return(struct kmcl_packet *p, NTSTATUS status)
{
	atomic_store_explicit(&p->state, KMCL_PACKET_IDLE, memory_order_release);
	return status;
}

/* What all sends check of the inline buffer; 0: fine. */
static NTSTATUS check_inline(struct kmcl_packet *p, const void *buffer, uint32_t size,
			     uint32_t flags)
{
	if (!buffer && size)
		return STATUS_INVALID_PARAMETER_2;
	if (size > kmcl_max_payload(p->channel))
		return STATUS_INVALID_PARAMETER_3;
	if (sends_in_suspend(p)) {
		kmcl_report(p->channel, "send-in-suspend",
			    "a packet was sent from EvtVmbChannelSuspend");
		return STATUS_INVALID_DEVICE_STATE;
	}
	if ((flags & VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER) &&
	    kmcl_above_passive("VmbPacketSend*"))
		return STATUS_INVALID_DEVICE_STATE;
	return STATUS_SUCCESS;
}

/* The checks of VmbPacketSend, shared with the synchronous request, whose positions differ. */
static NTSTATUS prepare_send(struct kmcl_packet *p, const void *buffer, uint32_t size, PMDL mdl,
			     uint32_t flags)
{
	const uint32_t allowed = VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION |
				 VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER;
	NTSTATUS status = check_inline(p, buffer, size, flags);

	if (!NT_SUCCESS(status))
		return status;
	p->wait = flags & VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION;
	if ((flags & ~allowed) || (mdl && !p->wait))
		return STATUS_INVALID_PARAMETER_5;
	if ((mdl && p->channel->server) || (p->wait && kmcl_is_pipe(p->channel)))
		return STATUS_NOT_SUPPORTED;
	return mdl ? kmcl_external_from_mdl(p, mdl, 0, 0, false) : STATUS_SUCCESS;
}

NTSTATUS VmbPacketSend(VMBPACKET PacketObject, PVOID Buffer, UINT32 BufferLength,
		       PMDL ExternalDataMdl, UINT32 Flags)
{
	struct kmcl_packet *p = packet_take(PacketObject);
	NTSTATUS status;

	if (!p)
		return STATUS_INVALID_PARAMETER_1;
	status = prepare_send(p, Buffer, BufferLength, ExternalDataMdl, Flags);
	if (NT_SUCCESS(status))
		status = kmcl_out_send(p, Buffer, BufferLength);
	else
		packet_return(p, status);
	return status;
}

NTSTATUS VmbPacketSendWithExternalMdl(VMBPACKET PacketObject, PVOID Buffer, UINT32 BufferLength,
				      PMDL ExternalDataMdl, UINT32 MdlOffset, UINT32 MdlLength,
				      UINT32 Flags)
{
	struct kmcl_packet *p = packet_take(PacketObject);
	NTSTATUS status;

	if (!p)
		return STATUS_INVALID_PARAMETER_1;
	status = check_inline(p, Buffer, BufferLength, Flags);
	if (!NT_SUCCESS(status))
		return packet_return(p, status);
	if (!ExternalDataMdl)
		return packet_return(p, STATUS_INVALID_PARAMETER_4);
	if ((Flags & ~(UINT32)VMBUS_CHANNEL_FORMAT_FLAGS) ||
	    !(Flags & VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION))
		return packet_return(p, STATUS_INVALID_PARAMETER_7);
	if (p->channel->server || kmcl_is_pipe(p->channel))
		return packet_return(p, STATUS_NOT_SUPPORTED);
	p->wait = true;
	status = kmcl_external_from_mdl(p, ExternalDataMdl, MdlOffset, MdlLength,
					Flags & VMBUS_CHANNEL_FORMAT_FLAG_FORCE_MDL_LENGTH);
	if (!NT_SUCCESS(status))
		return packet_return(p, status);
	return kmcl_out_send(p, Buffer, BufferLength);
}

NTSTATUS VmbPacketSendWithExternalPfns(VMBPACKET PacketObject, PVOID Buffer, UINT32 BufferLength,
				       PPFN_NUMBER ExternalDataPfns, UINT32 PfnLength, UINT32 Flags)
{
	const uint32_t allowed = VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION |
				 VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER;
	struct kmcl_packet *p = packet_take(PacketObject);
	NTSTATUS status;

	if (!p)
		return STATUS_INVALID_PARAMETER_1;
	status = check_inline(p, Buffer, BufferLength, Flags);
	if (!NT_SUCCESS(status))
		return packet_return(p, status);
	if (!ExternalDataPfns)
		return packet_return(p, STATUS_INVALID_PARAMETER_4);
	if (!PfnLength)
		return packet_return(p, STATUS_INVALID_PARAMETER_5);
	if ((Flags & ~allowed) || !(Flags & VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION))
		return packet_return(p, STATUS_INVALID_PARAMETER_6);
	if (p->channel->server || kmcl_is_pipe(p->channel))
		return packet_return(p, STATUS_NOT_SUPPORTED);
	p->wait = true;
	status = kmcl_external_from_pfns(p, ExternalDataPfns, PfnLength);
	if (!NT_SUCCESS(status))
		return packet_return(p, status);
	return kmcl_out_send(p, Buffer, BufferLength);
}
