/* SPDX-License-Identifier: MIT */
/*
 * VmbChannelSendSynchronousRequest: a packet of the library's own and a caller that waits for it.
 *
 * The wait ends in one of three ways, decided under out.lock: the packet's routine answers, the
 * caller's time is up, or the channel closes. Whoever comes second finds `sync` cut. A packet that
 * is in the ring when its caller leaves keeps its transaction id until the late reply or the close.
 */
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/inject.h"
#include "kmcl/verifier.h"

struct kmcl_sync {
	struct kmcl_sync *next;
	struct kmcl_packet *packet;
	KEVENT event;
	bool done;
	NTSTATUS status;
	void *buffer;
	uint32_t capacity;
	uint32_t written;
};

static void unlist(struct kmcl_channel *ch, struct kmcl_sync *s)
{
	for (struct kmcl_sync **p = &ch->out.syncs; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			return;
		}
	}
}

/* Under out.lock. The event is set inside it, so that the caller cannot leave in between. */
static void finish(struct kmcl_channel *ch, struct kmcl_sync *s, NTSTATUS status)
{
	unlist(ch, s);
	s->status = status;
	s->done = true;
	KeSetEvent(&s->event, IO_NO_INCREMENT, FALSE);
}

static VOID sync_routine(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 size)
{
	struct kmcl_packet *p = kmcl_packet_of(packet);
	struct kmcl_channel *ch = p->channel;
	struct kmcl_sync *s;

	spin_lock(&ch->out.lock);
	s = p->sync;
	if (s) {
		if (NT_SUCCESS(status) && s->buffer) {
			s->written = size < s->capacity ? size : s->capacity;
			if (s->written)
				memcpy(s->buffer, buffer, s->written);
			if (size > s->capacity)
				status = STATUS_BUFFER_TOO_SMALL;
		}
		finish(ch, s, status);
	}
	spin_unlock(&ch->out.lock);
	kmcl_packet_free(p);
}

/* Under out.lock: the packet loses its caller. True: it never reached the ring and is the caller's
 * to free. */
static bool cut(struct kmcl_channel *ch, struct kmcl_sync *s)
{
	struct kmcl_packet *p = s->packet;

	p->sync = NULL;
	p->abandoned = true;
	if (atomic_load_explicit(&p->state, memory_order_relaxed) != KMCL_PACKET_QUEUED)
		return false;
	kmcl_out_unqueue(ch, p);
	kmcl_bounce_give(p);
	return true;
}

void kmcl_sync_fail_all(struct kmcl_channel *ch)
{
	struct kmcl_packet *unsent = NULL, *p;
	struct kmcl_sync *s;

	spin_lock(&ch->out.lock);
	while ((s = ch->out.syncs)) {
		p = s->packet;
		if (cut(ch, s)) {
			p->next = unsent;
			unsent = p;
		}
		finish(ch, s, STATUS_DEVICE_REMOVED);
	}
	spin_unlock(&ch->out.lock);
	while ((p = unsent)) {
		unsent = p->next;
		kmcl_packet_free(p);
	}
}

static NTSTATUS wait_for_answer(struct kmcl_channel *ch, struct kmcl_sync *s,
				PLARGE_INTEGER timeout)
{
	struct kmcl_packet *unsent = NULL;

	if (KeWaitForSingleObject(&s->event, Executive, KernelMode, FALSE, timeout) ==
	    STATUS_TIMEOUT) {
		spin_lock(&ch->out.lock);
		if (!s->done) {
			if (cut(ch, s))
				unsent = s->packet;
			unlist(ch, s);
			s->status = STATUS_CANCELLED;
		}
		spin_unlock(&ch->out.lock);
	} else {
		/* whoever set the event still holds the lock that protects `s` */
		spin_lock(&ch->out.lock);
		spin_unlock(&ch->out.lock);
	}
	if (unsent)
		kmcl_packet_free(unsent);
	return s->status;
}

static NTSTATUS check_arguments(struct kmcl_channel *ch, const void *buffer, uint32_t size,
				PMDL mdl, uint32_t flags, const void *completion,
				const uint32_t *completion_size, const LARGE_INTEGER *timeout)
{
	const uint32_t allowed = VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION |
				 VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER;
	bool wait = flags & VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION;

	if (!buffer && size)
		return STATUS_INVALID_PARAMETER_2;
	if (size > kmcl_max_payload(ch))
		return STATUS_INVALID_PARAMETER_3;
	if ((flags & ~allowed) || (mdl && !wait) || (ch->server && wait))
		return STATUS_INVALID_PARAMETER_5;
	if (completion_size && !completion)
		return STATUS_INVALID_PARAMETER_6;
	if ((completion && !completion_size) || (completion_size && *completion_size % 8))
		return STATUS_INVALID_PARAMETER_7;
	if (ch->server && (!timeout || timeout->QuadPart))
		return STATUS_INVALID_PARAMETER_8;
	if (wait && kmcl_is_pipe(ch))
		return STATUS_NOT_SUPPORTED;
	return STATUS_SUCCESS;
}

/* Whether the caller stands where what it would wait for cannot happen. */
static bool would_hang(struct kmcl_channel *ch)
{
	enum kmcl_callback cb = kmcl_callback_of(ch);

	return cb != KMCL_CB_NONE && cb != KMCL_CB_POST_STARTED;
}

static NTSTATUS send_waiting(struct kmcl_channel *ch, struct kmcl_sync *s, const void *buffer,
			     uint32_t size, PMDL mdl, bool wait, PLARGE_INTEGER timeout)
{
	struct kmcl_packet *p = kmcl_fault_alloc(ch, "VmbChannelSendSynchronousRequest")
					? NULL
					: kmcl_packet_alloc(ch, false);
	bool immediate = timeout && timeout->QuadPart == 0;
	NTSTATUS status = STATUS_SUCCESS;

	if (!p)
		return STATUS_INSUFFICIENT_RESOURCES;
	atomic_store_explicit(&p->state, KMCL_PACKET_BUSY, memory_order_relaxed);
	p->type = VMBUS_PKT_INBAND;
	p->routine = sync_routine;
	p->wait = wait;
	p->sync = s;
	s->packet = p;
	if (mdl)
		status = kmcl_external_from_mdl(p, mdl, 0, 0, false);
	if (NT_SUCCESS(status)) {
		spin_lock(&ch->out.lock);
		s->next = ch->out.syncs;
		ch->out.syncs = s;
		spin_unlock(&ch->out.lock);
		status = immediate ? kmcl_out_place_now(p, buffer, size)
				   : kmcl_out_send(p, buffer, size);
		if (NT_SUCCESS(status))
			return wait_for_answer(ch, s, immediate ? NULL : timeout);
		spin_lock(&ch->out.lock);
		if (!s->done)
			unlist(ch, s);
		spin_unlock(&ch->out.lock);
	}
	kmcl_packet_free(p);
	return status;
}

NTSTATUS VmbChannelSendSynchronousRequest(VMBCHANNEL Channel, PVOID Buffer, UINT32 BufferSize,
					  PMDL ExternalDataMdl, UINT32 Flags,
					  PVOID CompletionBuffer, PUINT32 CompletionBufferSize,
					  PLARGE_INTEGER Timeout)
{
	bool wait = Flags & VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION;
	struct kmcl_channel *ch = kmcl_channel_of(Channel);
	struct kmcl_sync sync = {.buffer = CompletionBuffer};
	NTSTATUS status;

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	status = check_arguments(ch, Buffer, BufferSize, ExternalDataMdl, Flags, CompletionBuffer,
				 CompletionBufferSize, Timeout);
	if (!NT_SUCCESS(status))
		return status;
	if (!wait && Timeout && Timeout->QuadPart == 0) {
		status = kmcl_out_send_now(ch, Buffer, BufferSize);
	} else {
		if (would_hang(ch)) {
			kmcl_report(
				ch, "wait-in-callback",
				"VmbChannelSendSynchronousRequest in a callback of the channel");
			return STATUS_INVALID_DEVICE_STATE;
		}
		if (kmcl_above_passive("VmbChannelSendSynchronousRequest"))
			return STATUS_INVALID_DEVICE_STATE;
		sync.capacity = CompletionBufferSize ? *CompletionBufferSize : 0;
		KeInitializeEvent(&sync.event, NotificationEvent, FALSE);
		status =
			send_waiting(ch, &sync, Buffer, BufferSize, ExternalDataMdl, wait, Timeout);
	}
	if (CompletionBufferSize && (NT_SUCCESS(status) || status == STATUS_BUFFER_TOO_SMALL))
		*CompletionBufferSize = sync.written;
	return status;
}
