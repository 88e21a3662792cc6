/* SPDX-License-Identifier: MIT */
/*
 * A pipe reader whose peer writes the packets of the input: {type, flags, size, bytes} each, read
 * in pieces, in both modes, restored or not.
 */
#include <stdlib.h>
#include <string.h>

#include "vmbus/pipe.h"

#define D 32768u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
	if (!holds)
		abort();
}

struct bed {
	struct vmbus_ring_writer w;
	struct vmbus_ring_reader r;
	struct vmbus_pipe_reader pipe;
	size_t written, read;
	bool failed;
};

static void read_some(struct bed *b, size_t piece)
{
	uint8_t *to = malloc(piece ? piece : 1);
	enum vmbus_pipe_result result;
	size_t got;

	demand(to);
	if (b->pipe.mode == VMBUS_PIPE_BYTES)
		result = vmbus_pipe_read_bytes(&b->pipe, to, piece, &got);
	else
		result = vmbus_pipe_read_message(&b->pipe, to, piece, &got);
	demand(!b->failed || result == VMBUS_PIPE_ERROR);
	b->failed = result == VMBUS_PIPE_ERROR;
	demand(result != VMBUS_PIPE_CORRUPT);
	if (result == VMBUS_PIPE_OK) {
		demand(got <= piece);
		b->read += got;
	}
	demand(b->read <= b->written);
	vmbus_pipe_release(&b->pipe);
	free(to);
}

static size_t write_packet(struct bed *b, const uint8_t *data, size_t size)
{
	size_t body = data[1] | (size_t)(data[2] & 0x3f) << 8;

	if (body > size - 3)
		body = size - 3;
	if (vmbus_ring_write_inband(&b->w, data[0] & 0x80 ? VMBUS_PKT_COMPLETION : VMBUS_PKT_INBAND,
				    data[0] & 1, 0, data + 3, (uint32_t)body) == VMBUS_RING_OK)
		b->written += body;
	vmbus_ring_publish(&b->w);
	return 3 + body;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmbus_ring_view view = {.size = D};
	struct bed b = {0};
	uint8_t *buffer, piece;
	int turns = 0;

	if (size < 4)
		return 0;
	view.control = calloc(1, 4096);
	view.data = calloc(1, D);
	buffer = aligned_alloc(8, VMBUS_PIPE_BUFFER);
	demand(view.control && view.data && buffer);
	demand(vmbus_ring_writer_attach(&b.w, &view) == VMBUS_RING_OK);
	demand(vmbus_ring_reader_attach(&b.r, &view) == VMBUS_RING_OK);
	vmbus_pipe_reader_init(&b.pipe, &b.r, buffer, data[0] & 1);
	if (data[0] & 2)
		vmbus_pipe_reader_restore(&b.pipe, data[0] >> 2);
	piece = data[1];
	data += 2;
	size -= 2;
	while (size >= 3) {
		size_t n = write_packet(&b, data, size);

		data += n;
		size -= n;
		read_some(&b, piece);
	}
	while (turns++ < 1000 && vmbus_ring_has_data(&b.r) && !b.failed)
		read_some(&b, piece + 1000u);
	free(view.control);
	free(view.data);
	free(buffer);
	return 0;
}
