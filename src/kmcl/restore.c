/* SPDX-License-Identifier: MIT */
/*
 * A server channel's state brought back before it is enabled. What was queued goes into the queue
 * at once; what was in flight, undelivered or unanswered waits for the open that the bus resumes,
 * as there are no rings before. If the guest has closed the channel meanwhile there is nobody left
 * to answer, and only the queue survives.
 */
#include <stdlib.h>
#include <string.h>

#include "kmcl/saved.h"

bool kmcl_restore_usable(const struct kmcl_channel *ch)
{
	return !ch->restored || (ch->restored->complete && !ch->restored->failed);
}

static void free_kept(struct kept *k)
{
	while (k) {
		struct kept *next = k->next;

		free(k);
		k = next;
	}
}

static void drop_restored(struct kmcl_channel *ch)
{
	struct kmcl_restored *r = ch->restored;

	ch->restored = NULL;
	free_kept(r->answers);
	free_kept(r->incoming);
	free(r);
}

void kmcl_restore_discard(struct kmcl_channel *ch)
{
	if (!ch->restored)
		return;
	drop_restored(ch);
	kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
}

/* ---- into the session ---- */

/* Packets that were in flight get their transactions back, or end with the open that they were of.
 */
static bool resume_packets(struct kmcl_channel *ch)
{
	struct kmcl_packet *p;
	bool all = true;

	spin_lock(&ch->out.lock);
	vmbus_txn_resume(&ch->out.txns, ch->restored->generation);
	for (p = ch->out.restored; p && all; p = p->next)
		all = vmbus_txn_restore(&ch->out.txns, p->transaction, p);
	if (all) {
		for (p = ch->out.restored; p; p = p->next)
			ch->out.in_flight++;
		ch->out.restored = NULL;
	} else {
		/* the table goes with the session that is not to be */
		vmbus_txn_init(&ch->out.txns, ch->out.slots, ch->out.txns.count);
	}
	spin_unlock(&ch->out.lock);
	return all;
}

static bool resume_incoming(struct kmcl_channel *ch, const struct kept *k)
{
	const uint8_t *b = (const uint8_t *)k->body;
	uint32_t what = vmbus_get32(b + 12), header = vmbus_get32(b + 16);
	struct vmbus_packet_in p = {
		.type = vmbus_get16(b + 8),
		.flags = vmbus_get16(b + 10),
		.completion_requested = what & INCOMING_WANTS_COMPLETION,
		.transaction_id = vmbus_get64(b),
		.header_size = header + 16,
		.header = b + INCOMING_BODY,
		.payload = b + INCOMING_BODY + header,
		.payload_size = vmbus_get32(b + 20),
	};

	p.total_size = p.header_size + ((p.payload_size + 7u) & ~7u);
	return kmcl_in_restore(ch, &p, what & INCOMING_IS_DEFERRED);
}

static bool resume_answer(struct kmcl_channel *ch, const struct kept *k)
{
	const uint8_t *b = (const uint8_t *)k->body;
	struct kmcl_incoming *in =
		kmcl_in_restore_answer(ch, vmbus_get64(b), b + ANSWER_BODY, vmbus_get32(b + 8));

	if (!in)
		return false;
	spin_lock(&ch->out.lock);
	if (ch->out.answers)
		ch->out.answers_tail->next = in;
	else
		ch->out.answers = in;
	ch->out.answers_tail = in;
	atomic_store_explicit(&ch->out.waiting, 1, memory_order_relaxed);
	spin_unlock(&ch->out.lock);
	return true;
}

static bool resume_all(struct kmcl_channel *ch, struct kmcl_restored *r)
{
	bool ok = resume_packets(ch);

	for (const struct kept *k = r->answers; k && ok; k = k->next)
		ok = resume_answer(ch, k);
	for (const struct kept *k = r->incoming; k && ok; k = k->next)
		ok = resume_incoming(ch, k);
	if (ok && (r->flags & CHANNEL_IS_FAILED))
		kmcl_in_fail(ch);
	return ok;
}

/* A session that the saved state does not fit is refused: its packets can come back no more. */
bool kmcl_restore_session(struct kmcl_channel *ch, bool resumed)
{
	struct kmcl_restored *r = ch->restored;
	bool ok = true;

	if (!r)
		return true;
	if (resumed)
		ok = resume_all(ch, r);
	else
		kmcl_out_end_placed(ch, STATUS_DEVICE_REMOVED);
	if (!ok) {
		kmcl_log_channel(ch, KMCL_LOG_ERROR,
				 "saved state does not fit the channel that it is restored to");
		kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
	}
	drop_restored(ch);
	return ok;
}

/* ---- chunks ---- */

static bool keep(struct kept ***tail, const uint8_t *body, uint32_t size)
{
	struct kept *k = malloc(sizeof(*k) + size);

	if (!k)
		return false;
	k->next = NULL;
	k->size = size;
	memcpy(k->body, body, size);
	**tail = k;
	*tail = &k->next;
	return true;
}

static NTSTATUS take_channel(struct kmcl_channel *ch, struct kmcl_restored *r, const uint8_t *b,
			     uint32_t size)
{
	uint64_t objects;

	if (size < CHANNEL_BODY || memcmp(b, &ch->config.type, 16) != 0 ||
	    memcmp(b + 16, &ch->config.instance, 16) != 0)
		return STATUS_DATA_ERROR;
	r->flags = vmbus_get32(b + 32);
	r->generation = vmbus_get32(b + 40);
	r->answer_count = vmbus_get32(b + 44);
	r->incoming_count = vmbus_get32(b + 48);
	r->packet_count = vmbus_get32(b + 52);
	objects = (uint64_t)r->answer_count + r->incoming_count;
	if ((r->flags & ~(uint32_t)(CHANNEL_IS_PIPE | CHANNEL_IS_FAILED)) ||
	    !!(r->flags & CHANNEL_IS_PIPE) != kmcl_is_pipe(ch) || objects > KMCL_OBJECTS ||
	    r->packet_count > UINT32_MAX / 2)
		return STATUS_DATA_ERROR;
	return STATUS_SUCCESS;
}

static NTSTATUS take_answer(struct kmcl_restored *r, const uint8_t *b, uint32_t size)
{
	if (size < ANSWER_BODY || vmbus_get32(b + 8) > size - ANSWER_BODY)
		return STATUS_DATA_ERROR;
	return keep(&r->answers_tail, b, size) ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

static NTSTATUS take_incoming(struct kmcl_restored *r, const uint8_t *b, uint32_t size)
{
	uint32_t header, payload;

	if (size < INCOMING_BODY)
		return STATUS_DATA_ERROR;
	header = vmbus_get32(b + 16);
	payload = vmbus_get32(b + 20);
	if (header % 8 || header > size - INCOMING_BODY || payload > size - INCOMING_BODY - header)
		return STATUS_DATA_ERROR;
	return keep(&r->incoming_tail, b, size) ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* ---- packets ---- */

static bool library_valid(const struct kmcl_channel *ch, const uint8_t *b, uint32_t size)
{
	uint32_t payload, phase;

	if (size < LIBRARY_HEADER || vmbus_get32(b) != LIBRARY_MAGIC)
		return false;
	phase = vmbus_get16(b + 6);
	payload = vmbus_get32(b + 12);
	if (vmbus_get16(b + 4) != SAVED_VERSION || vmbus_get16(b + 24) != VMBUS_PKT_INBAND ||
	    payload > size - LIBRARY_HEADER || payload > kmcl_max_payload(ch))
		return false;
	return phase == PHASE_QUEUED ||
	       (phase == PHASE_PLACED && vmbus_get64(b + 16) && vmbus_get32(b + 8) & LIBRARY_WAITS);
}

static void fill_packet(struct kmcl_packet *p, const uint8_t *b)
{
	p->type = vmbus_get16(b + 24);
	p->wait = vmbus_get32(b + 8) & LIBRARY_WAITS;
	p->header_size = 0;
	p->sync = NULL;
	p->bounce_needed = p->bounce_held = p->bounce_waits = false;
	p->transaction = vmbus_get64(b + 16);
	p->payload_size = vmbus_get32(b + 12);
	if (p->payload_size)
		memcpy(kmcl_packet_payload(p), b + LIBRARY_HEADER, p->payload_size);
}

NTSTATUS VmbPacketRestore(VMBPACKET PacketObject, PVOID Buffer, ULONG BufferSize)
{
	struct kmcl_packet *p = kmcl_packet_of(PacketObject);
	uint32_t idle = KMCL_PACKET_IDLE;
	struct kmcl_restored *r;

	if (!p || !p->allocated)
		return STATUS_INVALID_PARAMETER_1;
	if (!Buffer)
		return STATUS_INVALID_PARAMETER_2;
	r = p->channel->restored;
	if (kmcl_callback_of(p->channel) != KMCL_CB_RESTORE_PACKET || !r || r->packet)
		return STATUS_INVALID_DEVICE_STATE;
	if (BufferSize != r->library_size || memcmp(Buffer, r->library, BufferSize) != 0)
		return STATUS_DATA_ERROR;
	if (!atomic_compare_exchange_strong(&p->state, &idle, KMCL_PACKET_RESTORED))
		return STATUS_INVALID_PARAMETER_1;
	fill_packet(p, r->library);
	r->packet = p;
	return STATUS_SUCCESS;
}

/* The packet is the library's now, and where it was when it was saved. */
static void put_back(struct kmcl_channel *ch, struct kmcl_packet *p, bool placed)
{
	struct kmcl_packet **link = &ch->out.restored;

	spin_lock(&ch->out.lock);
	if (placed) {
		while (*link)
			link = &(*link)->next;
		p->next = NULL;
		*link = p;
		atomic_store_explicit(&p->state, KMCL_PACKET_PLACED, memory_order_release);
	} else {
		kmcl_out_enqueue(ch, p);
	}
	spin_unlock(&ch->out.lock);
}

static NTSTATUS call_driver(struct kmcl_channel *ch, const uint8_t *b, uint32_t library,
			    uint32_t size)
{
	uint8_t *copy = malloc((size_t)library + size + 1);
	struct kmcl_frame frame;
	NTSTATUS status;

	if (!copy)
		return STATUS_INSUFFICIENT_RESOURCES;
	memcpy(copy, b, (size_t)library + size);
	kmcl_callback_enter(&frame, ch, KMCL_CB_RESTORE_PACKET);
	status = ch->config.restore_packet(kmcl_handle(ch), copy, library,
					   size ? copy + library : NULL, size);
	kmcl_callback_leave(&frame);
	free(copy);
	return status;
}

static NTSTATUS take_packet(struct kmcl_channel *ch, struct kmcl_restored *r, const uint8_t *b,
			    uint32_t size)
{
	uint32_t library, own;
	NTSTATUS status;

	if (size < PACKET_BODY)
		return STATUS_DATA_ERROR;
	library = vmbus_get32(b);
	own = vmbus_get32(b + 4);
	if (library > size - PACKET_BODY || own > size - PACKET_BODY - library ||
	    !library_valid(ch, b + PACKET_BODY, library))
		return STATUS_DATA_ERROR;
	if (!ch->config.restore_packet)
		return STATUS_NOT_SUPPORTED;
	r->library = b + PACKET_BODY;
	r->library_size = library;
	r->packet = NULL;
	status = call_driver(ch, r->library, library, own);
	r->library = NULL;
	if (r->packet)
		put_back(ch, r->packet, vmbus_get16(b + PACKET_BODY + 6) == PHASE_PLACED);
	r->packet = NULL;
	return status;
}

/* ---- the stream ---- */

static enum chunk_kind expected_kind(const struct kmcl_restored *r)
{
	uint64_t i = r->next;

	if (i == 0)
		return CHUNK_CHANNEL;
	if (i <= r->answer_count)
		return CHUNK_ANSWER;
	i -= r->answer_count;
	if (i <= r->incoming_count)
		return CHUNK_INCOMING;
	i -= r->incoming_count;
	return i <= r->packet_count ? CHUNK_PACKET : CHUNK_END;
}

/* The chunk at `b` is whole, of this version, undamaged and the one that comes next. */
static NTSTATUS check_chunk(const struct kmcl_restored *r, const uint8_t *b, uint32_t left)
{
	uint32_t size;

	if (left < CHUNK_HEADER || vmbus_get32(b) != SAVED_MAGIC)
		return STATUS_DATA_ERROR;
	if (vmbus_get16(b + 4) != SAVED_VERSION)
		return STATUS_REVISION_MISMATCH;
	size = vmbus_get32(b + 8);
	if (size < CHUNK_HEADER || size > left || size % 8 ||
	    vmbus_get32(b + 16) != chunk_crc(b, size) || vmbus_get32(b + 12) != r->next ||
	    vmbus_get16(b + 6) != (uint32_t)expected_kind(r))
		return STATUS_DATA_ERROR;
	return STATUS_SUCCESS;
}

static NTSTATUS take_chunk(struct kmcl_channel *ch, struct kmcl_restored *r, const uint8_t *chunk)
{
	const uint8_t *b = chunk + CHUNK_HEADER;
	uint32_t size = vmbus_get32(chunk + 8) - CHUNK_HEADER;

	switch ((enum chunk_kind)vmbus_get16(chunk + 6)) {
	case CHUNK_CHANNEL:
		return take_channel(ch, r, b, size);
	case CHUNK_ANSWER:
		return take_answer(r, b, size);
	case CHUNK_INCOMING:
		return take_incoming(r, b, size);
	case CHUNK_PACKET:
		return take_packet(ch, r, b, size);
	case CHUNK_END:
		r->complete = true;
		return STATUS_SUCCESS;
	}
	return STATUS_DATA_ERROR;
}

static NTSTATUS take_chunks(struct kmcl_channel *ch, struct kmcl_restored *r, const uint8_t *b,
			    uint32_t left)
{
	NTSTATUS status = left ? STATUS_SUCCESS : STATUS_DATA_ERROR;

	while (left && NT_SUCCESS(status)) {
		uint32_t size;

		if (r->complete)
			return STATUS_DATA_ERROR;
		status = check_chunk(r, b, left);
		if (!NT_SUCCESS(status))
			return status;
		size = vmbus_get32(b + 8);
		status = take_chunk(ch, r, b);
		r->next++;
		b += size;
		left -= size;
	}
	if (!NT_SUCCESS(status))
		return status;
	return r->complete ? STATUS_SUCCESS : STATUS_MORE_PROCESSING_REQUIRED;
}

static struct kmcl_restored *restored_of(struct kmcl_channel *ch)
{
	struct kmcl_restored *r = ch->restored;

	if (r)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->answers_tail = &r->answers;
	r->incoming_tail = &r->incoming;
	ch->restored = r;
	return r;
}

static NTSTATUS restore(struct kmcl_channel *ch, const uint8_t *buffer, uint32_t size)
{
	struct kmcl_restored *r;
	NTSTATUS status;

	if (kmcl_link(ch) != KMCL_LINK_DISABLED || atomic_load(&ch->enabling) ||
	    !ch->config.targeted)
		return STATUS_INVALID_DEVICE_STATE;
	r = restored_of(ch);
	if (!r)
		return STATUS_INSUFFICIENT_RESOURCES;
	if (r->failed || r->complete)
		return STATUS_INVALID_DEVICE_STATE;
	status = take_chunks(ch, r, buffer, size);
	if (!NT_SUCCESS(status) && status != STATUS_MORE_PROCESSING_REQUIRED)
		r->failed = true;
	return status;
}

NTSTATUS VmbChannelRestoreFromBuffer(VMBCHANNEL Channel, PVOID Buffer, ULONG BufferSize)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);
	struct kmcl_strand_hold hold;
	NTSTATUS status;
	bool failed;

	if (!ch || !ch->server)
		return STATUS_INVALID_PARAMETER_1;
	if (!Buffer)
		return STATUS_INVALID_PARAMETER_2;
	if (kmcl_forbidden_here(ch, "VmbChannelRestoreFromBuffer"))
		return STATUS_INVALID_DEVICE_STATE;
	kmcl_strand_hold(ch, &hold);
	status = restore(ch, Buffer, BufferSize);
	failed = ch->restored && ch->restored->failed;
	kmcl_strand_release(&hold);
	/* nothing of it will ever be of use: the driver gets its packets back */
	if (failed)
		kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
	return status;
}
