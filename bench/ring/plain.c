/* SPDX-License-Identifier: MIT */
/*
 * The plain ring: one producer, one consumer, who trust each other. Indices run freely on lines of
 * their own, the opposite one is cached, a packet is a length of 8 bytes and its payload. No wake
 * protocol.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ring/ring.h"

struct ring {
	struct ring_memory memory;
	uint64_t mask;
	struct {
		_Alignas(64) uint64_t in, published, out_seen;
		uint64_t signals;
	};
	struct {
		_Alignas(64) uint64_t out, in_seen;
		uint64_t signals_room;
	};
};

static inline _Atomic(uint64_t) *shared_in(struct ring *r)
{
	return (void *)r->memory.control;
}

static inline _Atomic(uint64_t) *shared_out(struct ring *r)
{
	return (void *)(r->memory.control + 128);
}

static RING_INLINE bool ring_write(struct ring *r, const void *payload, uint32_t size)
{
	uint64_t total = 8 + (((uint64_t)size + 7) & ~7ull);
	uint8_t *at = r->memory.data + (r->in & r->mask);
	uint64_t length = size;

	if (r->in + total - r->out_seen > r->memory.size) {
		r->out_seen = atomic_load_explicit(shared_out(r), memory_order_acquire);
		if (r->in + total - r->out_seen > r->memory.size)
			return false;
	}
	memcpy(at, &length, sizeof(length));
	memcpy(at + 8, payload, size);
	r->in += total;
	return true;
}

static RING_INLINE bool ring_publish(struct ring *r)
{
	atomic_store_explicit(shared_in(r), r->in, memory_order_release);
	return false;
}

static RING_INLINE const void *ring_read(struct ring *r, uint8_t *sink, uint32_t *size)
{
	const uint8_t *at = r->memory.data + (r->out & r->mask);
	uint64_t length;

	if (r->out == r->in_seen) {
		r->in_seen = atomic_load_explicit(shared_in(r), memory_order_acquire);
		if (r->out == r->in_seen)
			return NULL;
	}
	memcpy(&length, at, sizeof(length));
	memcpy(sink, at + 8, length);
	r->out += 8 + ((length + 7) & ~7ull);
	*size = (uint32_t)length;
	return sink;
}

static RING_INLINE bool ring_release(struct ring *r)
{
	atomic_store_explicit(shared_out(r), r->out, memory_order_release);
	return false;
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
	r->mask = size - 1;
	return r;
}

#include "ring/loops.h"

const struct ring_candidate ring_plain = RING_CANDIDATE("plain");
