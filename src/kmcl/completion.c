/* SPDX-License-Identifier: MIT */
/*
 * What a driver does with a packet that it was given: complete, defer or fail it, reach its
 * external data; and the settings that govern delivery.
 */
#include <string.h>

#include <openkmcl_ext.h>

#include "kmcl/channel.h"

/* The packet if it is the driver's now; NULL after reporting the rule that was broken. */
static struct kmcl_incoming *delivered(VMBPACKETCOMPLETION handle, const char *function)
{
	struct kmcl_incoming *in = (struct kmcl_incoming *)handle;
	uint32_t state;

	if (!in || in->magic != KMCL_INCOMING_MAGIC) {
		nt_violation("bad-handle", "%s: not a packet completion context", function);
		return NULL;
	}
	state = atomic_load_explicit(&in->state, memory_order_relaxed);
	if (state != KMCL_INCOMING_DELIVERED) {
		nt_violation("double-completion", "%s: the packet of channel %s has ended already",
			     function, in->channel->config.name);
		return NULL;
	}
	return in;
}

/* The one caller that ends the packet. */
static bool end_once(struct kmcl_incoming *in, const char *function)
{
	uint32_t state = KMCL_INCOMING_DELIVERED;

	if (atomic_compare_exchange_strong(&in->state, &state, KMCL_INCOMING_READ))
		return true;
	nt_violation("double-completion", "%s: the packet of channel %s has ended already",
		     function, in->channel->config.name);
	return false;
}

static void release_mdls(struct kmcl_incoming *in)
{
	for (PMDL mdl = in->mdl; mdl;) {
		PMDL next = mdl->Next;

		nt_mdl_release(mdl);
		mdl = next;
	}
	in->mdl = NULL;
}

VOID VmbChannelPacketComplete(VMBPACKETCOMPLETION PacketCompletionContext,
			      PVOID PacketCompletionBuffer, UINT32 BufSize)
{
	struct kmcl_incoming *in = delivered(PacketCompletionContext, "VmbChannelPacketComplete");

	if (!in)
		return;
	if (BufSize > in->channel->config.max_packet || (BufSize && !PacketCompletionBuffer)) {
		nt_violation("completion-buffer",
			     "VmbChannelPacketComplete: %u bytes at %p on channel %s, maximum %u",
			     BufSize, PacketCompletionBuffer, in->channel->config.name,
			     in->channel->config.max_packet);
		return;
	}
	if (!end_once(in, "VmbChannelPacketComplete"))
		return;
	release_mdls(in);
	if (in->packet.completion_requested)
		kmcl_out_answer(in->channel, in, PacketCompletionBuffer, BufSize);
	else
		kmcl_in_free(in, true);
}

VOID VmbChannelPacketFail(VMBPACKETCOMPLETION PacketCompletionContext)
{
	struct kmcl_incoming *in = delivered(PacketCompletionContext, "VmbChannelPacketFail");
	struct kmcl_channel *ch;

	if (!in || !end_once(in, "VmbChannelPacketFail"))
		return;
	ch = in->channel;
	release_mdls(in);
	spin_lock(&ch->in.lock);
	ch->in.failed = true;
	spin_unlock(&ch->in.lock);
	kmcl_in_free(in, true);
}

VOID VmbChannelPacketDeferToPassive(VMBPACKETCOMPLETION PacketCompletionContext)
{
	struct kmcl_incoming *in =
		delivered(PacketCompletionContext, "VmbChannelPacketDeferToPassive");

	if (!in)
		return;
	if (in->channel->in.current != in || kmcl_callback_of(in->channel) != KMCL_CB_PROCESS) {
		nt_violation("defer-outside-process",
			     "VmbChannelPacketDeferToPassive outside EvtVmbChannelProcessPacket of "
			     "channel %s",
			     in->channel->config.name);
		return;
	}
	in->channel->in.deferred = true;
}

VOID VmbChannelSetIncomingProcessingAtPassive(VMBCHANNEL Channel, BOOLEAN RequirePassive)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch) {
		nt_violation("bad-handle",
			     "VmbChannelSetIncomingProcessingAtPassive: not a channel");
		return;
	}
	atomic_store_explicit(&ch->in.passive, RequirePassive != FALSE, memory_order_relaxed);
}

VOID VmbChannelSetTransactionQuota(VMBCHANNEL Channel, UINT32 Quota)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch || !Quota) {
		nt_violation("quota", "VmbChannelSetTransactionQuota: %s",
			     ch ? "a quota of 0" : "not a channel");
		return;
	}
	atomic_store_explicit(&ch->in.quota, Quota, memory_order_relaxed);
}

UINT32 KmclChannelMaximumOutgoingPacket(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);
	uint32_t largest;

	if (!ch)
		return 0;
	spin_lock(&ch->out.lock);
	largest = ch->out.live ? ch->out.largest : 0;
	spin_unlock(&ch->out.lock);
	return largest < ch->config.max_packet ? largest : ch->config.max_packet;
}

/* ---- external data of an incoming packet ---- */

/* MDLs and their page arrays, built in the object: nothing is allocated. */
size_t kmcl_mdl_room(const struct kmcl_channel *ch)
{
	if (!ch->server)
		return 0;
	return ch->config.max_chain * sizeof(MDL) +
	       kmcl_max_external_pages(ch) * sizeof(PFN_NUMBER);
}

struct build {
	struct kmcl_incoming *in;
	const struct nt_memory *memory;
	uint8_t *at;
	size_t left;
	PMDL *link;
	uint64_t bytes;
	uint32_t ranges;
};

static NTSTATUS add_range(struct build *b, const struct vmbus_gpa_range *range)
{
	struct kmcl_channel *ch = b->in->channel;
	size_t size = sizeof(MDL) + range->page_count * sizeof(PFN_NUMBER);
	PMDL mdl = (PMDL)b->at;

	b->bytes += range->byte_count;
	if (++b->ranges > ch->config.max_chain || b->bytes > ch->config.max_external ||
	    size > b->left)
		return STATUS_INVALID_BUFFER_SIZE;
	for (uint32_t i = 0; i < range->page_count; i++) {
		if (range->pfns[i] >= UINT64_MAX >> PAGE_SHIFT ||
		    !part_memory_at(ch->port.ep, range->pfns[i] << PAGE_SHIFT, PAGE_SIZE))
			return STATUS_INVALID_ADDRESS;
	}
	nt_mdl_init_pages(mdl, b->memory, range->pfns, range->page_count, range->byte_offset,
			  range->byte_count);
	*b->link = mdl;
	b->link = &mdl->Next;
	b->at += size;
	b->left -= size;
	return STATUS_SUCCESS;
}

static NTSTATUS build_chain(struct kmcl_incoming *in)
{
	struct kmcl_channel *ch = in->channel;
	struct vmbus_gpa_range_iter iter;
	struct vmbus_gpa_range range;
	struct build b = {
		.in = in,
		.memory = part_nt_memory(ch->port.ep),
		.at = in->mdl_room,
		.left = kmcl_mdl_room(ch),
		.link = &in->mdl,
	};
	NTSTATUS status = STATUS_SUCCESS;

	if (vmbus_packet_gpa_direct(&in->packet, kmcl_max_external_pages(ch), &iter) !=
	    VMBUS_RING_OK)
		return STATUS_INVALID_PARAMETER;
	while (NT_SUCCESS(status) && vmbus_gpa_range_next(&iter, &range))
		status = add_range(&b, &range);
	if (!NT_SUCCESS(status))
		release_mdls(in);
	return status;
}

NTSTATUS VmbChannelPacketGetExternalData(VMBPACKETCOMPLETION PacketCompletionContext, UINT32 Flags,
					 PMDL *Mdl)
{
	struct kmcl_incoming *in = (struct kmcl_incoming *)PacketCompletionContext;
	NTSTATUS status = STATUS_SUCCESS;

	if (!in || in->magic != KMCL_INCOMING_MAGIC ||
	    atomic_load_explicit(&in->state, memory_order_relaxed) != KMCL_INCOMING_DELIVERED)
		return STATUS_INVALID_PARAMETER_1;
	if (Flags & ~(UINT32)VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAGS)
		return STATUS_INVALID_PARAMETER_2;
	if (!Mdl)
		return STATUS_INVALID_PARAMETER_3;
	if (!in->external)
		return STATUS_NOT_FOUND;
	if (!in->mdl)
		status = build_chain(in);
	if (NT_SUCCESS(status))
		*Mdl = in->mdl;
	return status;
}
