/* SPDX-License-Identifier: MIT */
/*
 * A ring in memory with both its ends, in each of the three views, and the means to play the peer:
 * every word of control page and data can be read and written behind the ends' backs.
 */
#ifndef TESTS_VMBUS_RING_RIG_H
#define TESTS_VMBUS_RING_RIG_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmbus/ring.h"

enum rig_view {
	RIG_CONTIGUOUS, /* between two pages that fault */
	RIG_MIRRORED,
	RIG_SCATTERED, /* backwards, with faulting pages in between */
	RIG_VIEWS,
};

#define RIG_MAX_PACKET 524288u

struct rig {
	struct vmbus_ring_control *control;
	struct vmbus_ring_view view;
	struct vmbus_ring_writer w;
	struct vmbus_ring_reader r;
	uint32_t size;
	void *map;
	size_t map_size;
	uint8_t *pages[256];
	_Alignas(16) uint8_t buf[RIG_MAX_PACKET];
	struct vmbus_packet_in p;
};

/* Zeroed memory, both ends attached, indices 0. `size` is at most 1 MiB. */
struct rig *rig_new(enum rig_view view, uint32_t size);
void rig_free(struct rig *g);

/* Sets both indices in the control page and attaches both ends there. */
void rig_at(struct rig *g, uint32_t in, uint32_t out);
void rig_attach_reader(struct rig *g);
void rig_attach_writer(struct rig *g);

/* The peer's hands. Offsets are modulo the ring. */
uint64_t rig_word(const struct rig *g, uint32_t offset);
void rig_set_word(struct rig *g, uint32_t offset, uint64_t value);
void rig_fill(struct rig *g, uint8_t byte);
void rig_bytes(const struct rig *g, uint32_t offset, void *to, uint32_t size);
void rig_put_bytes(struct rig *g, uint32_t offset, const void *from, uint32_t size);
/* A descriptor, nothing else. Returns the ring bytes that it claims. */
uint32_t rig_descriptor(struct rig *g, uint32_t offset, uint16_t type, uint16_t offset8,
			uint16_t length8, uint16_t flags, uint64_t id);

static inline uint32_t rig_in(const struct rig *g)
{
	return vmbus_load32_relaxed(&g->control->in);
}

static inline uint32_t rig_out(const struct rig *g)
{
	return vmbus_load32_relaxed(&g->control->out);
}

static inline enum vmbus_ring_result rig_read(struct rig *g)
{
	return vmbus_ring_read(&g->r, g->buf, sizeof(g->buf), &g->p);
}

static inline enum vmbus_ring_result rig_write(struct rig *g, const void *payload, uint32_t size)
{
	return vmbus_ring_write_inband(&g->w, VMBUS_PKT_INBAND, 0, 0, payload, size);
}

/* The body runs once for each view of a ring of `bytes`. */
#define FOR_EACH_VIEW(g, bytes)                         \
	for (int view_ = 0; view_ < RIG_VIEWS; view_++) \
		for (struct rig *g = rig_new(view_, bytes); g; rig_free(g), g = NULL)

#endif
