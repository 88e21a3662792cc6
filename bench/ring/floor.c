/* SPDX-License-Identifier: MIT */
/*
 * The floor of the VMBus format: what any ring costs that speaks it and survives a hostile peer.
 * Control page, packet format and trailer; checks of the indices on each load and of the header;
 * the opposite index cached; one copy in, one out; the two fences of the signalling rules, and
 * nothing else.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ring/ring.h"

struct control {
	_Atomic uint32_t in, out, mask, pending;
};

struct packet {
	uint16_t type, offset8, length8, flags;
	uint64_t id;
};

enum {
	INBAND = 6,
	HEADER = sizeof(struct packet),
	TRAILER = 8
};

struct ring {
	struct ring_memory memory;
	struct {
		_Alignas(64) uint32_t in, published, out_seen;
		bool broken;
	} writer;
	uint64_t signals; /* the writer's */
	struct {
		_Alignas(64) uint32_t out, released, in_seen;
		bool broken;
	} reader;
	uint64_t signals_room; /* the reader's */
};

static inline struct control *control(struct ring *r)
{
	return (void *)r->memory.control;
}

static inline bool valid(const struct ring *r, uint32_t index)
{
	return index < r->memory.size && index % 8 == 0;
}

static inline uint32_t used(const struct ring *r, uint32_t in, uint32_t out)
{
	return in - out + (in < out ? r->memory.size : 0);
}

static inline uint32_t advance(const struct ring *r, uint32_t index, uint32_t bytes)
{
	index += bytes;
	return index - (index >= r->memory.size ? r->memory.size : 0);
}

/* Also false once the reader's index is out of range. */
static inline bool room(struct ring *r, uint32_t total)
{
	uint32_t out;

	if (total < r->memory.size - used(r, r->writer.in, r->writer.out_seen))
		return true;
	out = atomic_load_explicit(&control(r)->out, memory_order_acquire);
	if (r->writer.broken || !valid(r, out)) {
		r->writer.broken = true;
		return false;
	}
	r->writer.out_seen = out;
	return total < r->memory.size - used(r, r->writer.in, out);
}

static RING_INLINE bool ring_write(struct ring *r, const void *payload, uint32_t size)
{
	uint32_t padded = (size + 7) & ~7u;
	uint32_t total = HEADER + padded + TRAILER;
	uint8_t *at = r->memory.data + r->writer.in;
	struct packet p = {INBAND, HEADER / 8, (uint16_t)((HEADER + padded) / 8), 0, 0};
	uint64_t trailer = (uint64_t)r->writer.in << 32;

	if (!room(r, total))
		return false;
	memcpy(at, &p, sizeof(p));
	memcpy(at + HEADER, payload, size);
	if (padded != size)
		memset(at + HEADER + size, 0, padded - size);
	memcpy(at + HEADER + padded, &trailer, sizeof(trailer));
	r->writer.in = advance(r, r->writer.in, total);
	return true;
}

static RING_INLINE bool ring_publish(struct ring *r)
{
	struct control *c = control(r);
	uint32_t old = r->writer.published;

	if (r->writer.in == old)
		return false;
	r->writer.published = r->writer.in;
	atomic_store_explicit(&c->in, r->writer.in, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&c->mask, memory_order_relaxed))
		return false;
	return atomic_load_explicit(&c->out, memory_order_relaxed) == old;
}

/* Bytes that may be read, 0: none. */
static inline uint32_t available(struct ring *r)
{
	uint32_t in;

	if (r->reader.in_seen == r->reader.out) {
		in = atomic_load_explicit(&control(r)->in, memory_order_acquire);
		if (r->reader.broken || !valid(r, in)) {
			r->reader.broken = true;
			return 0;
		}
		r->reader.in_seen = in;
	}
	return used(r, r->reader.in_seen, r->reader.out);
}

static RING_INLINE const void *ring_read(struct ring *r, uint8_t *sink, uint32_t *size)
{
	const uint8_t *at = r->memory.data + r->reader.out;
	uint32_t have = available(r);
	struct packet p;

	if (!have)
		return NULL;
	memcpy(&p, at, sizeof(p));
	if (have < HEADER + TRAILER || p.offset8 < 2 || p.length8 < p.offset8 ||
	    p.length8 * 8u + TRAILER > have) {
		r->reader.broken = true;
		r->reader.in_seen = r->reader.out;
		return NULL;
	}
	*size = (p.length8 - p.offset8) * 8u;
	memcpy(sink, at + p.offset8 * 8u, *size);
	r->reader.out = advance(r, r->reader.out, p.length8 * 8u + TRAILER);
	return sink;
}

static RING_INLINE bool ring_release(struct ring *r)
{
	struct control *c = control(r);
	uint32_t old = r->reader.released, pending, in;

	if (r->reader.out == old)
		return false;
	r->reader.released = r->reader.out;
	atomic_store_explicit(&c->out, r->reader.out, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	pending = atomic_load_explicit(&c->pending, memory_order_relaxed);
	if (!pending)
		return false;
	in = atomic_load_explicit(&c->in, memory_order_acquire);
	return valid(r, in) && r->memory.size - 1 - used(r, in, old) < pending &&
	       r->memory.size - 1 - used(r, in, r->reader.out) >= pending;
}

#define RING_CAN_BLOCK
static inline void ring_mask(struct ring *r)
{
	atomic_store_explicit(&control(r)->mask, 1, memory_order_relaxed);
}

static RING_INLINE bool ring_unmask(struct ring *r)
{
	atomic_store_explicit(&control(r)->mask, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&control(r)->in, memory_order_acquire) != r->reader.out;
}

static void ring_destroy(struct ring *r)
{
	ring_memory_destroy(&r->memory);
	free(r);
}

static struct ring *ring_create(uint32_t size, enum ring_view view)
{
	struct ring *r = aligned_alloc(64, sizeof(*r));

	if (!r)
		return NULL;
	memset(r, 0, sizeof(*r));
	if (view != RING_MIRRORED || !ring_memory_create(&r->memory, size)) {
		free(r);
		return NULL;
	}
	ring_mask(r);
	return r;
}

#include "ring/loops.h"

const struct ring_candidate ring_floor = RING_CANDIDATE("floor");
