/* SPDX-License-Identifier: MIT */
#include "vmbus/pipe.h"

#include <string.h>

/* Below this a stream waits for room rather than be cut into crumbs. */
#define LEAST_CHUNK 256u

struct pipe_header {
	uint32_t type;
	uint32_t size;
};

/* ---- codec ---- */

static enum vmbus_pipe_result decode_partial(uint32_t word, uint32_t room,
					     struct vmbus_pipe_packet *pipe)
{
	pipe->size = word & 0xffff;
	pipe->consumed = word >> 16;
	if (pipe->size > VMBUS_PIPE_MAX_MESSAGE || pipe->size > room ||
	    pipe->consumed >= pipe->size)
		return VMBUS_PIPE_ERROR;
	return VMBUS_PIPE_OK;
}

enum vmbus_pipe_result vmbus_pipe_decode(const struct vmbus_packet_in *packet,
					 struct vmbus_pipe_packet *pipe)
{
	struct pipe_header h;
	uint32_t room, word;

	if (packet->type != VMBUS_PKT_INBAND || packet->completion_requested ||
	    packet->payload_size < VMBUS_PIPE_HEADER)
		return VMBUS_PIPE_ERROR;
	memcpy(&h, packet->payload, sizeof(h));
	room = packet->payload_size - VMBUS_PIPE_HEADER;
	word = VMBUS_LE32(h.size);
	pipe->data = packet->payload + VMBUS_PIPE_HEADER;
	pipe->size = room;
	pipe->consumed = 0;
	pipe->type = VMBUS_LE32(h.type);
	switch (VMBUS_LE32(h.type)) {
	case VMBUS_PIPE_DATA:
		pipe->size = word;
		return word <= VMBUS_PIPE_MAX_MESSAGE && word <= room ? VMBUS_PIPE_OK
								      : VMBUS_PIPE_ERROR;
	case VMBUS_PIPE_PARTIAL:
		return decode_partial(word, room, pipe);
	case VMBUS_PIPE_SETUP_GPA_DIRECT:
	case VMBUS_PIPE_TEARDOWN_GPA_DIRECT:
	case VMBUS_PIPE_INDICATION_COMPLETE:
		return VMBUS_PIPE_OK;
	default:
		return VMBUS_PIPE_ERROR;
	}
}

/* ---- writing ---- */

uint32_t vmbus_pipe_largest_message(const struct vmbus_ring_writer *w)
{
	uint32_t room = vmbus_ring_writer_largest_payload(w) - VMBUS_PIPE_HEADER;

	return room < VMBUS_PIPE_MAX_MESSAGE ? room : VMBUS_PIPE_MAX_MESSAGE;
}

uint32_t vmbus_pipe_need(enum vmbus_pipe_mode mode, uint32_t size)
{
	if (mode == VMBUS_PIPE_MESSAGES)
		return vmbus_ring_packet_size(0, (uint64_t)VMBUS_PIPE_HEADER + size);
	if (size > LEAST_CHUNK)
		size = LEAST_CHUNK;
	return VMBUS_PIPE_END_SIZE + vmbus_ring_packet_size(0, VMBUS_PIPE_HEADER + size);
}

static enum vmbus_pipe_result of_ring(enum vmbus_ring_result result)
{
	switch (result) {
	case VMBUS_RING_OK:
		return VMBUS_PIPE_OK;
	case VMBUS_RING_EMPTY:
		return VMBUS_PIPE_EMPTY;
	case VMBUS_RING_FULL:
		return VMBUS_PIPE_FULL;
	case VMBUS_RING_CLOSED:
		return VMBUS_PIPE_CLOSED;
	case VMBUS_RING_CORRUPT:
		return VMBUS_PIPE_CORRUPT;
	default:
		return VMBUS_PIPE_ERROR;
	}
}

enum vmbus_pipe_result vmbus_pipe_write_message(struct vmbus_ring_writer *w, const void *data,
						uint32_t size)
{
	struct pipe_header h = {VMBUS_LE32(VMBUS_PIPE_DATA), VMBUS_LE32(size)};
	struct vmbus_packet_out packet = {
		.type = VMBUS_PKT_INBAND,
		.payload = &h,
		.payload_size = sizeof(h),
		.tail = data,
		.tail_size = size,
	};
	enum vmbus_ring_result result;

	if (size > VMBUS_PIPE_MAX_MESSAGE)
		return VMBUS_PIPE_TOO_LARGE;
	result = vmbus_ring_write(w, &packet);
	return result == VMBUS_RING_TOO_LARGE ? VMBUS_PIPE_TOO_LARGE : of_ring(result);
}

/* Data for the next packet of a stream; 0: wait. */
static uint32_t next_chunk(struct vmbus_ring_writer *w, size_t left)
{
	uint32_t chunk = left < VMBUS_PIPE_CHUNK ? (uint32_t)left : VMBUS_PIPE_CHUNK;
	uint32_t fixed = vmbus_pipe_need(VMBUS_PIPE_BYTES, 0);
	uint32_t room = vmbus_ring_writer_room(w, fixed + vmbus_round8(chunk));
	uint32_t fits = room > fixed ? room - fixed : 0;

	if (fits >= chunk)
		return chunk;
	return fits >= LEAST_CHUNK ? fits : 0;
}

enum vmbus_pipe_result vmbus_pipe_write_bytes(struct vmbus_ring_writer *w, const void *data,
					      size_t size, size_t *written)
{
	const uint8_t *p = data;

	*written = 0;
	while (*written < size) {
		uint32_t chunk = next_chunk(w, size - *written);
		enum vmbus_pipe_result result;

		if (!chunk)
			break;
		result = vmbus_pipe_write_message(w, p + *written, chunk);
		if (result != VMBUS_PIPE_OK)
			return result;
		*written += chunk;
	}
	if (*written || !size)
		return VMBUS_PIPE_OK;
	if (!w->control)
		return of_ring(vmbus_ring_reserve_slow(w, VMBUS_PKT_SMALLEST));
	return VMBUS_PIPE_FULL;
}

enum vmbus_pipe_result vmbus_pipe_write_end(struct vmbus_ring_writer *w)
{
	return vmbus_pipe_write_message(w, NULL, 0);
}

/* ---- reading ---- */

void vmbus_pipe_reader_init(struct vmbus_pipe_reader *p, struct vmbus_ring_reader *ring,
			    void *buffer, enum vmbus_pipe_mode mode)
{
	memset(p, 0, sizeof(*p));
	p->ring = ring;
	p->buffer = buffer;
	p->mode = mode;
}

void vmbus_pipe_reader_restore(struct vmbus_pipe_reader *p, uint32_t position)
{
	p->restored = true;
	p->restored_position = position;
}

uint32_t vmbus_pipe_reader_position(const struct vmbus_pipe_reader *p)
{
	return p->holding ? p->position : p->restored_position;
}

bool vmbus_pipe_release(struct vmbus_pipe_reader *p)
{
	return vmbus_ring_release_to(p->ring, p->holding ? p->start : p->ring->out);
}

static enum vmbus_pipe_result fail(struct vmbus_pipe_reader *p, enum vmbus_pipe_result why)
{
	p->failed = why;
	return why;
}

/* Where to begin in a packet that has just come. */
static enum vmbus_pipe_result begin(struct vmbus_pipe_reader *p,
				    const struct vmbus_pipe_packet *packet)
{
	uint32_t position = packet->consumed;

	if (packet->type == VMBUS_PIPE_PARTIAL && !p->restored)
		return fail(p, VMBUS_PIPE_ERROR);
	if (p->restored && packet->type == VMBUS_PIPE_DATA)
		position = p->restored_position;
	if (position && position >= packet->size)
		return fail(p, VMBUS_PIPE_ERROR);
	p->restored = false;
	p->restored_position = 0;
	p->data = packet->data;
	p->size = packet->size;
	p->position = position;
	p->holding = true;
	return VMBUS_PIPE_OK;
}

static enum vmbus_pipe_result read_packet(struct vmbus_pipe_reader *p,
					  struct vmbus_pipe_packet *packet)
{
	uint32_t start = p->ring->out;
	struct vmbus_packet_in in;
	enum vmbus_ring_result result = vmbus_ring_read(p->ring, p->buffer, VMBUS_PIPE_BUFFER, &in);

	if (result == VMBUS_RING_EMPTY || result == VMBUS_RING_CLOSED)
		return of_ring(result);
	if (result != VMBUS_RING_OK)
		return fail(p, of_ring(result));
	p->start = start;
	if (vmbus_pipe_decode(&in, packet) != VMBUS_PIPE_OK)
		return fail(p, VMBUS_PIPE_ERROR);
	return VMBUS_PIPE_OK;
}

/*
 * Makes a packet with data, or with the end of a stream, the current one. What other packets set up
 * is never used here. More of them than the ring holds come only from a peer that overwrites what
 * it was not given back.
 */
static enum vmbus_pipe_result hold(struct vmbus_pipe_reader *p)
{
	uint32_t skipped = 0;

	while (!p->holding && p->failed == VMBUS_PIPE_OK) {
		struct vmbus_pipe_packet packet;
		enum vmbus_pipe_result result = read_packet(p, &packet);

		if (result != VMBUS_PIPE_OK)
			return result;
		if (packet.type == VMBUS_PIPE_DATA || packet.type == VMBUS_PIPE_PARTIAL)
			return begin(p, &packet);
		p->other++;
		skipped += VMBUS_PIPE_END_SIZE;
		if (skipped > p->ring->size)
			return fail(p, VMBUS_PIPE_ERROR);
	}
	return p->failed;
}

enum vmbus_pipe_result vmbus_pipe_read_bytes(struct vmbus_pipe_reader *p, void *data, size_t size,
					     size_t *got)
{
	uint8_t *to = data;

	*got = 0;
	while (*got < size) {
		enum vmbus_pipe_result result = hold(p);
		uint32_t n;

		if (result != VMBUS_PIPE_OK)
			return *got ? VMBUS_PIPE_OK : result;
		if (!p->size) {
			if (*got)
				return VMBUS_PIPE_OK;
			p->holding = false;
			return VMBUS_PIPE_END;
		}
		n = p->size - p->position;
		if (n > size - *got)
			n = (uint32_t)(size - *got);
		memcpy(to + *got, p->data + p->position, n);
		*got += n;
		p->position += n;
		p->holding = p->position < p->size;
	}
	return VMBUS_PIPE_OK;
}

enum vmbus_pipe_result vmbus_pipe_read_message(struct vmbus_pipe_reader *p, void *data, size_t size,
					       size_t *got)
{
	enum vmbus_pipe_result result = hold(p);

	*got = 0;
	if (result != VMBUS_PIPE_OK)
		return result;
	*got = p->size - p->position;
	if (*got > size)
		return VMBUS_PIPE_TOO_LARGE;
	memcpy(data, p->data + p->position, *got);
	p->holding = false;
	return VMBUS_PIPE_OK;
}
