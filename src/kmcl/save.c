/* SPDX-License-Identifier: MIT */
/*
 * A server channel's state, saved in chunks. SaveBegin takes the channel off its dispatcher: from
 * then on the rings stand still, so what the stream says stays true. It stays off them when
 * everything has been saved, for whoever restores it may be at them already, and comes back with
 * the next Start; a save that was given up comes back at SaveEnd.
 *
 * What is in the rings is in guest memory and is not saved. What was taken out of the ring and not
 * delivered, or delivered and not answered for want of room, is.
 */
#include <stdlib.h>
#include <string.h>

#include "kmcl/saved.h"

/* An incoming packet, or an answer to one, as the session has it; or as it was restored to a
 * channel that has not been opened since. */
struct piece {
	const struct kmcl_incoming *in;
	struct kept *kept;
};

struct kmcl_save {
	bool broken; /* the channel started or closed, or a callback failed */
	bool complete;
	uint32_t next, total; /* chunks */
	uint8_t *chunk;       /* `next`, made and not yet taken */
	uint32_t chunk_size;
	struct kmcl_packet **packets; /* in use at SaveBegin */
	uint32_t packet_count, placed;
	struct piece *answers, *incoming;
	uint32_t answer_count, incoming_count;
	uint32_t generation, flags;
};

/* ---- the channel off its rings, and back ---- */

void kmcl_save_forget(struct kmcl_channel *ch)
{
	if (ch->save)
		ch->save->broken = true;
	atomic_store(&ch->saved, false);
	ch->detached = false;
}

void kmcl_save_resume(struct kmcl_channel *ch)
{
	bool detached = ch->detached;

	if (detached || ch->save)
		kmcl_save_forget(ch);
	if (!detached)
		return;
	kmcl_out_set_live(ch, true);
	part_port_attach(&ch->port);
}

bool kmcl_save_stands(const struct kmcl_channel *ch)
{
	return atomic_load(&ch->saved) || (ch->save && !ch->save->broken);
}

static void stand_off(struct kmcl_channel *ch)
{
	if (kmcl_link(ch) != KMCL_LINK_OPEN || ch->detached)
		return;
	part_port_detach(&ch->port);
	kmcl_out_set_live(ch, false);
	ch->detached = true;
}

/* ---- what there is to save ---- */

static void free_pieces(struct piece *pieces, uint32_t count)
{
	for (uint32_t i = 0; pieces && i < count; i++)
		free(pieces[i].kept);
	free(pieces);
}

static bool note_packets(struct kmcl_channel *ch, struct kmcl_save *save)
{
	uint32_t cursor = 0, most;
	struct kmcl_packet *p;

	spin_lock(&ch->out.lock);
	most = ch->out.queued + ch->out.in_flight;
	for (p = ch->out.restored; p; p = p->next)
		most++;
	spin_unlock(&ch->out.lock);
	/* senders may add to the queue meanwhile: what came after the save began is not part of it
	 */
	save->packets = calloc(most + 1u, sizeof(*save->packets));
	if (!save->packets)
		return false;
	spin_lock(&ch->out.lock);
	save->generation = ch->restored ? ch->restored->generation : 1;
	for (p = ch->out.restored; p && save->packet_count < most; p = p->next)
		save->packets[save->packet_count++] = p;
	if (ch->out.slots) {
		save->generation = vmbus_txn_generation(&ch->out.txns);
		while (save->packet_count < most && (p = vmbus_txn_next(&ch->out.txns, &cursor)))
			save->packets[save->packet_count++] = p;
	}
	save->placed = save->packet_count;
	for (p = ch->out.head; p && save->packet_count < most; p = p->next)
		save->packets[save->packet_count++] = p;
	spin_unlock(&ch->out.lock);
	return true;
}

/* Nobody takes from the list or adds to it while the channel stands still. */
static struct piece *pieces_of(const struct kmcl_incoming *list, uint32_t *count)
{
	struct piece *pieces;
	uint32_t n = 0;

	for (const struct kmcl_incoming *in = list; in; in = in->next)
		n++;
	pieces = calloc(n + 1u, sizeof(*pieces));
	if (!pieces)
		return NULL;
	for (*count = 0; *count < n; list = list->next)
		pieces[(*count)++].in = list;
	return pieces;
}

/* Copies: an open takes the originals. */
static struct piece *pieces_kept(const struct kept *list, uint32_t *count)
{
	struct piece *pieces;
	uint32_t n = 0;

	for (const struct kept *k = list; k; k = k->next)
		n++;
	pieces = calloc(n + 1u, sizeof(*pieces));
	for (*count = 0; pieces && *count < n; list = list->next) {
		struct kept *copy = malloc(sizeof(*copy) + list->size);

		if (!copy)
			break;
		memcpy(copy, list, sizeof(*copy) + list->size);
		pieces[(*count)++].kept = copy;
	}
	if (!pieces || *count == n)
		return pieces;
	free_pieces(pieces, *count);
	return NULL;
}

static bool note_incoming(struct kmcl_channel *ch, struct kmcl_save *save)
{
	if (ch->restored) {
		save->flags = ch->restored->flags & CHANNEL_IS_FAILED;
		save->answers = pieces_kept(ch->restored->answers, &save->answer_count);
		save->incoming = pieces_kept(ch->restored->incoming, &save->incoming_count);
	} else {
		if (kmcl_link(ch) == KMCL_LINK_OPEN && atomic_load(&ch->in.failed))
			save->flags = CHANNEL_IS_FAILED;
		save->answers = pieces_of(ch->out.answers, &save->answer_count);
		save->incoming = pieces_of(ch->in.head, &save->incoming_count);
	}
	return save->answers && save->incoming;
}

static void free_save(struct kmcl_save *save)
{
	if (!save)
		return;
	free(save->chunk);
	free(save->packets);
	free_pieces(save->answers, save->answer_count);
	free_pieces(save->incoming, save->incoming_count);
	free(save);
}

/* ---- chunks ---- */

static uint8_t *chunk_new(struct kmcl_save *save, enum chunk_kind kind, uint64_t body)
{
	uint64_t size = (CHUNK_HEADER + body + 7) & ~7ull;
	uint8_t *chunk;

	if (size > CHUNK_MAX)
		return NULL;
	chunk = calloc(1, size);
	if (!chunk)
		return NULL;
	vmbus_put32(chunk, SAVED_MAGIC);
	vmbus_put16(chunk + 4, SAVED_VERSION);
	vmbus_put16(chunk + 6, (uint16_t)kind);
	vmbus_put32(chunk + 8, (uint32_t)size);
	vmbus_put32(chunk + 12, save->next);
	save->chunk = chunk;
	save->chunk_size = (uint32_t)size;
	return chunk + CHUNK_HEADER;
}

static NTSTATUS make_channel(struct kmcl_channel *ch, struct kmcl_save *save)
{
	uint8_t *b = chunk_new(save, CHUNK_CHANNEL, CHANNEL_BODY);
	uint32_t flags = save->flags | (kmcl_is_pipe(ch) ? CHANNEL_IS_PIPE : 0);

	if (!b)
		return STATUS_INSUFFICIENT_RESOURCES;
	memcpy(b, &ch->config.type, 16);
	memcpy(b + 16, &ch->config.instance, 16);
	vmbus_put32(b + 32, flags);
	vmbus_put32(b + 36, ch->config.max_packet);
	vmbus_put32(b + 40, save->generation);
	vmbus_put32(b + 44, save->answer_count);
	vmbus_put32(b + 48, save->incoming_count);
	vmbus_put32(b + 52, save->packet_count);
	return STATUS_SUCCESS;
}

static NTSTATUS make_kept(struct kmcl_save *save, enum chunk_kind kind, const struct kept *kept)
{
	uint8_t *b = chunk_new(save, kind, kept->size);

	if (!b)
		return STATUS_INSUFFICIENT_RESOURCES;
	memcpy(b, kept->body, kept->size);
	return STATUS_SUCCESS;
}

static NTSTATUS make_answer(struct kmcl_save *save, const struct kmcl_incoming *in)
{
	uint8_t *b = chunk_new(save, CHUNK_ANSWER, ANSWER_BODY + (uint64_t)in->answer_size);

	if (!b)
		return STATUS_INSUFFICIENT_RESOURCES;
	vmbus_put64(b, in->packet.transaction_id);
	vmbus_put32(b + 8, in->answer_size);
	if (in->answer_size)
		memcpy(b + ANSWER_BODY, in->buffer, in->answer_size);
	return STATUS_SUCCESS;
}

static NTSTATUS make_incoming(struct kmcl_save *save, const struct kmcl_incoming *in)
{
	const struct vmbus_packet_in *p = &in->packet;
	uint32_t header = p->header_size - 16;
	uint8_t *b =
		chunk_new(save, CHUNK_INCOMING, INCOMING_BODY + (uint64_t)header + p->payload_size);

	if (!b)
		return STATUS_INSUFFICIENT_RESOURCES;
	vmbus_put64(b, p->transaction_id);
	vmbus_put16(b + 8, p->type);
	vmbus_put16(b + 10, p->flags);
	vmbus_put32(b + 12, (p->completion_requested ? INCOMING_WANTS_COMPLETION : 0) |
				    (in->passive ? INCOMING_IS_DEFERRED : 0));
	vmbus_put32(b + 16, header);
	vmbus_put32(b + 20, p->payload_size);
	if (header)
		memcpy(b + INCOMING_BODY, p->header, header);
	if (p->payload_size)
		memcpy(b + INCOMING_BODY + header, p->payload, p->payload_size);
	return STATUS_SUCCESS;
}

/* ---- packets ---- */

static NTSTATUS call_driver(struct kmcl_channel *ch, struct kmcl_packet *p, void *buffer,
			    uint32_t size, uint32_t *needed)
{
	struct kmcl_frame frame;
	NTSTATUS status;

	kmcl_callback_enter(&frame, ch, KMCL_CB_SAVE_PACKET);
	status = ch->config.save_packet(kmcl_handle(ch), kmcl_packet_handle(p), buffer, size,
					needed);
	kmcl_callback_leave(&frame);
	return status;
}

/* The driver's own bytes of a packet. A failure that names no size is the driver's last word. */
static NTSTATUS driver_bytes(struct kmcl_channel *ch, struct kmcl_packet *p, uint8_t **bytes,
			     uint32_t *size)
{
	uint32_t needed = 0, ignored = 0;
	NTSTATUS status;

	*bytes = NULL;
	*size = 0;
	if (!ch->config.save_packet)
		return STATUS_SUCCESS;
	status = call_driver(ch, p, NULL, 0, &needed);
	if (NT_SUCCESS(status) || !needed)
		return status;
	if (needed > CHUNK_MAX / 2)
		return STATUS_INSUFFICIENT_RESOURCES;
	*bytes = calloc(1, needed);
	if (!*bytes)
		return STATUS_INSUFFICIENT_RESOURCES;
	status = call_driver(ch, p, *bytes, needed, &ignored);
	if (NT_SUCCESS(status)) {
		*size = needed;
		return status;
	}
	free(*bytes);
	*bytes = NULL;
	return status;
}

/* What of a packet is the library's. A placed one is in the ring: its payload is the peer's. */
static void put_library(uint8_t *b, struct kmcl_packet *p, bool placed, uint32_t payload)
{
	vmbus_put32(b, LIBRARY_MAGIC);
	vmbus_put16(b + 4, SAVED_VERSION);
	vmbus_put16(b + 6, placed ? PHASE_PLACED : PHASE_QUEUED);
	vmbus_put32(b + 8, p->wait ? LIBRARY_WAITS : 0);
	vmbus_put32(b + 12, payload);
	vmbus_put64(b + 16, placed ? p->transaction : 0);
	vmbus_put16(b + 24, p->type);
	if (payload)
		memcpy(b + LIBRARY_HEADER, kmcl_packet_payload(p), payload);
}

static NTSTATUS make_packet(struct kmcl_channel *ch, struct kmcl_save *save, uint32_t index)
{
	struct kmcl_packet *p = save->packets[index];
	bool placed = index < save->placed;
	uint32_t payload = placed ? 0 : p->payload_size, library, size;
	uint8_t *bytes, *b;
	NTSTATUS status = driver_bytes(ch, p, &bytes, &size);

	if (!NT_SUCCESS(status))
		return status;
	library = (LIBRARY_HEADER + payload + 7) & ~7u;
	b = chunk_new(save, CHUNK_PACKET, PACKET_BODY + (uint64_t)library + size);
	if (b) {
		vmbus_put32(b, library);
		vmbus_put32(b + 4, size);
		put_library(b + PACKET_BODY, p, placed, payload);
		if (size)
			memcpy(b + PACKET_BODY + library, bytes, size);
	}
	free(bytes);
	return b ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

static NTSTATUS make_chunk(struct kmcl_channel *ch, struct kmcl_save *save)
{
	uint32_t i = save->next;
	NTSTATUS status;

	if (i == 0)
		status = make_channel(ch, save);
	else if ((i -= 1) < save->answer_count)
		status = save->answers[i].kept
				 ? make_kept(save, CHUNK_ANSWER, save->answers[i].kept)
				 : make_answer(save, save->answers[i].in);
	else if ((i -= save->answer_count) < save->incoming_count)
		status = save->incoming[i].kept
				 ? make_kept(save, CHUNK_INCOMING, save->incoming[i].kept)
				 : make_incoming(save, save->incoming[i].in);
	else if ((i -= save->incoming_count) < save->packet_count)
		status = make_packet(ch, save, i);
	else
		status = chunk_new(save, CHUNK_END, 0) ? STATUS_SUCCESS
						       : STATUS_INSUFFICIENT_RESOURCES;
	if (NT_SUCCESS(status))
		vmbus_put32(save->chunk + 16, chunk_crc(save->chunk, save->chunk_size));
	return status;
}

/* ---- the DDI ---- */

static struct kmcl_channel *server_channel(VMBCHANNEL handle)
{
	struct kmcl_channel *ch = kmcl_channel_of(handle);

	return ch && ch->server ? ch : NULL;
}

/* Enabled and not running: Enabled, Paused or Stopped, of which the last may be meant to run. */
static bool savable(struct kmcl_channel *ch)
{
	switch (kmcl_link(ch)) {
	case KMCL_LINK_ENABLED:
		return !atomic_load(&ch->run) || ch->opened_once;
	case KMCL_LINK_OPEN:
		return !ch->started && !atomic_load(&ch->run);
	default:
		return false;
	}
}

static NTSTATUS begin(struct kmcl_channel *ch)
{
	struct kmcl_save *save;

	if (ch->save || !savable(ch) || kmcl_closing(ch))
		return STATUS_INVALID_DEVICE_STATE;
	save = calloc(1, sizeof(*save));
	if (!save)
		return STATUS_INSUFFICIENT_RESOURCES;
	atomic_store(&ch->saved, false);
	stand_off(ch);
	if (!note_packets(ch, save) || !note_incoming(ch, save)) {
		free_save(save);
		kmcl_save_resume(ch);
		return STATUS_INSUFFICIENT_RESOURCES;
	}
	save->total = save->answer_count + save->incoming_count + save->packet_count + 2;
	ch->save = save;
	return STATUS_SUCCESS;
}

NTSTATUS VmbChannelSaveBegin(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = server_channel(Channel);
	struct kmcl_strand_hold hold;
	NTSTATUS status;

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (kmcl_forbidden_here(ch, "VmbChannelSaveBegin"))
		return STATUS_INVALID_DEVICE_STATE;
	kmcl_strand_hold(ch, &hold);
	status = begin(ch);
	kmcl_strand_release(&hold);
	return status;
}

static NTSTATUS go_on(struct kmcl_channel *ch, uint8_t *buffer, uint32_t room, ULONG *filled,
		      ULONG *required)
{
	struct kmcl_save *save = ch->save;
	NTSTATUS status;

	if (!save || save->broken)
		return STATUS_INVALID_DEVICE_STATE;
	*filled = 0;
	*required = 0;
	for (; save->next < save->total; save->next++) {
		status = save->chunk ? STATUS_SUCCESS : make_chunk(ch, save);
		if (!NT_SUCCESS(status)) {
			save->broken = true;
			return status;
		}
		if (save->chunk_size > room - *filled) {
			*required = save->chunk_size;
			return *filled ? STATUS_BUFFER_OVERFLOW : STATUS_BUFFER_TOO_SMALL;
		}
		memcpy(buffer + *filled, save->chunk, save->chunk_size);
		*filled += save->chunk_size;
		free(save->chunk);
		save->chunk = NULL;
	}
	save->complete = true;
	atomic_store(&ch->saved, true);
	return STATUS_SUCCESS;
}

NTSTATUS VmbChannelSaveContinue(VMBCHANNEL Channel, PVOID SaveBuffer, ULONG SaveBufferSize,
				PULONG BytesFilled, PULONG BytesRequired)
{
	struct kmcl_channel *ch = server_channel(Channel);
	struct kmcl_strand_hold hold;
	NTSTATUS status;

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!SaveBuffer && SaveBufferSize)
		return STATUS_INVALID_PARAMETER_2;
	if (!BytesFilled)
		return STATUS_INVALID_PARAMETER_4;
	if (!BytesRequired)
		return STATUS_INVALID_PARAMETER_5;
	if (kmcl_forbidden_here(ch, "VmbChannelSaveContinue"))
		return STATUS_INVALID_DEVICE_STATE;
	kmcl_strand_hold(ch, &hold);
	status = go_on(ch, SaveBuffer, SaveBufferSize, BytesFilled, BytesRequired);
	kmcl_strand_release(&hold);
	return status;
}

VOID VmbChannelSaveEnd(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = server_channel(Channel);
	struct kmcl_strand_hold hold;
	struct kmcl_save *save;

	if (!ch) {
		nt_violation("bad-handle", "VmbChannelSaveEnd: not a server channel");
		return;
	}
	if (kmcl_forbidden_here(ch, "VmbChannelSaveEnd"))
		return;
	kmcl_strand_hold(ch, &hold);
	save = ch->save;
	ch->save = NULL;
	if (save && !save->complete)
		kmcl_save_resume(ch);
	free_save(save);
	kmcl_strand_release(&hold);
}
