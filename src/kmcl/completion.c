/* SPDX-License-Identifier: MIT */
/*
 * What a driver does with a packet that it was given: complete, defer or fail it, reach its
 * external data; and the settings that govern delivery.
 */
#include <stdatomic.h>
#include <string.h>

#include <openkmcl_ext.h>

#include "kmcl/channel.h"
#include "kmcl/inject.h"
#include "kmcl/verifier.h"

static void report_ended(VMBPACKETCOMPLETION handle, const char *function)
{
	struct kmcl_channel *ch = kmcl_delivery_was(handle);

	if (ch)
		kmcl_violation(ch, "double-completion", "%s: the packet has ended already",
			       function);
	else
		nt_violation("bad-handle", "%s: not a packet completion context", function);
}

/* The packet if it is the driver's now; NULL after reporting the rule that was broken. */
static struct kmcl_incoming *delivered(VMBPACKETCOMPLETION handle, const char *function)
{
	struct kmcl_incoming *in = kmcl_delivery_of(handle);

	if (!in)
		report_ended(handle, function);
	return in;
}

/* The one caller that ends the packet. */
static bool end_once(VMBPACKETCOMPLETION handle, const char *function)
{
	if (kmcl_delivery_end(handle))
		return true;
	report_ended(handle, function);
	return false;
}

void kmcl_release_mdls(struct kmcl_incoming *in)
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
		kmcl_violation(in->channel, "completion-buffer",
			       "VmbChannelPacketComplete: %u bytes at %p, maximum %u", BufSize,
			       PacketCompletionBuffer, in->channel->config.max_packet);
		return;
	}
	if (!end_once(PacketCompletionContext, "VmbChannelPacketComplete"))
		return;
	kmcl_release_mdls(in);
	if (in->packet.completion_requested)
		kmcl_out_answer(in->channel, in, PacketCompletionBuffer, BufSize);
	else
		kmcl_in_free(in, true);
}

/* What the peer sees: no answer, and a ring whose space does not come back, so that it fills up. */
VOID VmbChannelPacketFail(VMBPACKETCOMPLETION PacketCompletionContext)
{
	struct kmcl_incoming *in = delivered(PacketCompletionContext, "VmbChannelPacketFail");
	struct kmcl_channel *ch;

	if (!in || !end_once(PacketCompletionContext, "VmbChannelPacketFail"))
		return;
	ch = in->channel;
	kmcl_release_mdls(in);
	kmcl_log_channel(ch, KMCL_LOG_WARNING,
			 "the driver failed a packet: nothing is delivered until the next open");
	kmcl_in_fail(ch);
	kmcl_in_free(in, true);
}

/* Whether the calling thread is in the ProcessPacket of this very packet. */
static bool in_line(struct kmcl_incoming *in)
{
	return kmcl_callback_of(in->channel) == KMCL_CB_PROCESS && in->channel->in.current == in;
}

VOID VmbChannelPacketDeferToPassive(VMBPACKETCOMPLETION PacketCompletionContext)
{
	struct kmcl_incoming *in =
		delivered(PacketCompletionContext, "VmbChannelPacketDeferToPassive");

	if (!in)
		return;
	if (!in_line(in)) {
		kmcl_violation(in->channel, "defer-outside-process",
			       "VmbChannelPacketDeferToPassive outside "
			       "EvtVmbChannelProcessPacket");
		return;
	}
	in->channel->in.again = KMCL_AGAIN_PASSIVE;
}

PVOID KmclPacketClientContext(VMBPACKETCOMPLETION PacketCompletionContext)
{
	struct kmcl_incoming *in = delivered(PacketCompletionContext, "KmclPacketClientContext");

	return in && in->channel->config.context_size ? in->context : NULL;
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
		kmcl_violation(ch, ch ? "quota" : "bad-handle", "VmbChannelSetTransactionQuota: %s",
			       ch ? "a quota of 0" : "not a channel");
		return;
	}
	kmcl_in_set_quota(ch, Quota);
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
	if (largest)
		largest -= kmcl_pipe_header(ch);
	return largest < kmcl_max_payload(ch) ? largest : kmcl_max_payload(ch);
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
		kmcl_release_mdls(in);
	return status;
}

/* ---- fault injection: data that is not there yet ---- */

/* Only a packet that is being delivered can come back, and it pends once. */
static bool pend(struct kmcl_incoming *in)
{
	struct kmcl_channel *ch = in->channel;

	if (!kmcl_faults(KMCL_FAULT_PEND) || in->pended || !in_line(in) ||
	    !kmcl_fault_hits(KMCL_FAULT_PEND, ch->driver, "VmbChannelPacketGetExternalData",
			     &ch->in.pending_us))
		return false;
	in->pended = true;
	ch->in.again = KMCL_AGAIN_PENDING;
	return true;
}

NTSTATUS VmbChannelPacketGetExternalData(VMBPACKETCOMPLETION PacketCompletionContext, UINT32 Flags,
					 PMDL *Mdl)
{
	struct kmcl_incoming *in = kmcl_delivery_of(PacketCompletionContext);
	NTSTATUS status = STATUS_SUCCESS;

	if (!in)
		return STATUS_INVALID_PARAMETER_1;
	if (Flags & ~(UINT32)VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAGS)
		return STATUS_INVALID_PARAMETER_2;
	if (!Mdl)
		return STATUS_INVALID_PARAMETER_3;
	if (!in->external)
		return STATUS_NOT_FOUND;
	if (in_line(in) && in->channel->in.again == KMCL_AGAIN_PENDING)
		return STATUS_PENDING;
	if (!in->mdl) {
		if (pend(in))
			return STATUS_PENDING;
		status = kmcl_fault_alloc(in->channel, "VmbChannelPacketGetExternalData")
				 ? STATUS_INSUFFICIENT_RESOURCES
				 : build_chain(in);
	}
	if (NT_SUCCESS(status))
		*Mdl = in->mdl;
	return status;
}
