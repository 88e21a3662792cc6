/* SPDX-License-Identifier: MIT */
/*
 * Both ends of a ring whose peer scribbles over control page and data between any two steps. The
 * input is a program: a byte for the view, then steps, each a byte and its operands.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmbus/ring.h"

#define D         4096u
#define PAGE      4096u
#define MOST_READ 8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at, *end;
};

struct bed {
	struct vmbus_ring_view view;
	struct vmbus_ring_control *control;
	struct vmbus_ring_writer w;
	struct vmbus_ring_reader r;
	uint8_t *page;
	bool reader_dead, writer_dead;
};

static uint8_t pattern[D];

static uint32_t take(struct input *in, uint32_t bytes)
{
	uint32_t value = 0;

	for (uint32_t i = 0; i < bytes && in->at < in->end; i++)
		value |= (uint32_t)*in->at++ << (8 * i);
	return value;
}

static void demand(bool holds)
{
	if (!holds)
		abort();
}

/* One mapping for all runs: the sanitizer guards the heap, the mirror has no other end. */
static uint8_t *mirror(void)
{
	static uint8_t *base;
	int fd;

	if (base)
		return base;
	fd = memfd_create("ring", MFD_CLOEXEC);
	demand(fd >= 0 && ftruncate(fd, D) == 0);
	base = mmap(NULL, 2 * D, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	demand(base != MAP_FAILED);
	for (uint32_t i = 0; i < 2; i++)
		demand(mmap(base + i * D, D, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			    0) == base + i * D);
	close(fd);
	return base;
}

static void attach(struct bed *b)
{
	b->writer_dead = vmbus_ring_writer_attach(&b->w, &b->view) != VMBUS_RING_OK;
	b->reader_dead = vmbus_ring_reader_attach(&b->r, &b->view) != VMBUS_RING_OK;
}

static void read_one(struct bed *b, uint32_t cap)
{
	uint32_t out = vmbus_load32_relaxed(&b->control->out);
	uint8_t *buf = aligned_alloc(8, (cap + 15) & ~7u);
	struct vmbus_packet_in p;
	enum vmbus_ring_result result = vmbus_ring_read(&b->r, buf, cap, &p);

	demand(vmbus_load32_relaxed(&b->control->out) == out);
	demand(!b->reader_dead || result == VMBUS_RING_CORRUPT);
	b->reader_dead = result == VMBUS_RING_CORRUPT;
	if (result == VMBUS_RING_OK) {
		demand(p.total_size <= cap && p.total_size + 16 <= D);
		demand(p.header == buf + 16 && p.payload == buf + p.header_size);
		demand(p.header_size >= 16 && p.header_size + p.payload_size == p.total_size);
		demand((p.flags & ~1) == 0 && p.completion_requested == (p.flags == 1));
	}
	if (result == VMBUS_RING_TOO_LARGE)
		demand(p.total_size > cap && p.total_size + 16 <= D);
	free(buf);
}

static void write_one(struct bed *b, uint32_t header, uint32_t payload)
{
	struct vmbus_packet_out out = {
		.type = header ? VMBUS_PKT_GPA_DIRECT : VMBUS_PKT_INBAND,
		.flags = 1,
		.header = pattern,
		.header_size = header * 8,
		.payload = pattern,
		.payload_size = payload,
	};
	uint32_t before = b->w.in;
	enum vmbus_ring_result result = vmbus_ring_write(&b->w, &out);

	demand(!b->writer_dead || result == VMBUS_RING_CORRUPT);
	b->writer_dead = result == VMBUS_RING_CORRUPT;
	demand((result == VMBUS_RING_OK) == (b->w.in != before));
	demand(vmbus_ring_index_valid(b->w.in, D) || b->writer_dead);
}

static void scribble_data(struct bed *b, struct input *in)
{
	uint32_t offset = take(in, 2), count = take(in, 1) % 64;

	for (uint32_t i = 0; i < count; i++) {
		uint8_t *ring = b->view.data ? b->view.data : b->view.pages[0];

		ring[(offset + i) % D] = (uint8_t)take(in, 1);
	}
}

static void scribble_control(struct bed *b, struct input *in)
{
	uint32_t word = take(in, 1) % 17;

	vmbus_store32_relaxed((uint32_t *)b->control + word, take(in, 4));
}

/* What the peer would do: a whole descriptor at our read index, and an index behind it. */
static void offer(struct bed *b, struct input *in)
{
	uint64_t descriptor = take(in, 4);
	uint8_t *ring = b->view.data ? b->view.data : b->view.pages[0];

	descriptor |= (uint64_t)take(in, 4) << 32;
	if (b->r.control)
		vmbus_store64_relaxed(ring + b->r.out, descriptor);
	vmbus_store32_relaxed(&b->control->in,
			      (vmbus_load32_relaxed(&b->control->out) + take(in, 1) * 8) % D);
}

static void step(struct bed *b, struct input *in)
{
	uint32_t n;

	switch (take(in, 1) % 12) {
	case 0:
		scribble_control(b, in);
		break;
	case 1:
		scribble_data(b, in);
		break;
	case 2:
		read_one(b, take(in, 2) % MOST_READ);
		break;
	case 3:
		vmbus_ring_release(&b->r);
		b->reader_dead = vmbus_ring_reader_corrupt(&b->r);
		break;
	case 4:
		write_one(b, 0, take(in, 2) % D);
		break;
	case 5:
		vmbus_ring_publish(&b->w);
		break;
	case 6:
		vmbus_ring_writer_block(&b->w, take(in, 2));
		b->writer_dead = vmbus_ring_writer_corrupt(&b->w);
		break;
	case 7:
		vmbus_ring_mask(&b->r);
		vmbus_ring_unmask(&b->r);
		vmbus_ring_has_data(&b->r);
		break;
	case 8:
		n = take(in, 1);
		write_one(b, n, take(in, 2) % (D - 8));
		break;
	case 9:
		attach(b);
		break;
	case 10:
		offer(b, in);
		break;
	default:
		vmbus_ring_writer_unblock(&b->w);
		vmbus_ring_writer_room(&b->w, take(in, 2));
		b->writer_dead = vmbus_ring_writer_corrupt(&b->w);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct bed b = {.view.size = D};

	b.page = calloc(1, D);
	b.control = calloc(1, PAGE);
	demand(b.page && b.control);
	b.view.control = b.control;
	switch (take(&in, 1) % 3) {
	case 0:
		b.view.data = b.page;
		break;
	case 1:
		b.view.data = mirror();
		b.view.mirrored = true;
		memset(b.view.data, 0, D);
		break;
	default:
		b.view.pages = &b.page;
		break;
	}
	vmbus_ring_init_control(b.control);
	attach(&b);
	while (in.at < in.end)
		step(&b, &in);
	free(b.page);
	free(b.control);
	return 0;
}
