/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What a candidate ring offers to the measurements. Each candidate is one source file that defines
 * its operations inline and includes loops.h, which makes these loops out of them: one call a
 * slice, so that nobody pays for indirection per packet.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RING_BATCH = 32,
};

/** Operations of a candidate: in line for all, whatever the compiler thinks of their length. */
#define RING_INLINE inline __attribute__((always_inline))

/** Memory of a ring: a control page, then the data pages, mapped twice in a row. */
struct ring_memory {
	uint8_t *control;
	uint8_t *data;
	uint32_t size;
};
bool ring_memory_create(struct ring_memory *m, uint32_t size);
void ring_memory_destroy(struct ring_memory *m);

/** Packets to move: where they come from and where they are delivered, private to either side. */
struct ring_load {
	uint32_t size;  /**< payload bytes, a multiple of 8, at least 16 */
	uint32_t batch; /**< packets before one publish and before one release */
	bool filled; /**< each packet gets a head of 16 bytes of its own, as a driver would write it
		      */
	uint64_t tag;  /**< second word of every packet */
	uint32_t last; /**< index of a packet's last word */
	uint64_t *source;
	uint8_t *sink; /**< room for one packet and its headers */
	uint8_t *back; /**< the same for the answering side of a round trip */
};
bool ring_load_create(struct ring_load *l, uint32_t size, uint32_t batch, uint32_t ring_size);
void ring_load_destroy(struct ring_load *l);

struct ring;

/** Ways a candidate may look at the same memory. */
enum ring_view {
	RING_MIRRORED,
	RING_FLAT,  /**< wrapped packets are copied in two pieces */
	RING_PAGES, /**< a table of pages */
};

struct ring_candidate {
	const char *name;
	struct ring *(*create)(uint32_t size, enum ring_view view);
	void (*destroy)(struct ring *r);
	/** One thread: writes and reads `count` packets. False: a packet came out wrong. */
	bool (*pairs)(struct ring *r, const struct ring_load *l, uint64_t count);
	/** Two threads. */
	bool (*produce)(struct ring *r, const struct ring_load *l, uint64_t count);
	bool (*consume)(struct ring *r, const struct ring_load *l, uint64_t count);
	/** Round trips over two rings, both ends spinning. */
	bool (*ping)(struct ring *there, struct ring *back, const struct ring_load *l,
		     uint64_t count);
	bool (*pong)(struct ring *there, struct ring *back, const struct ring_load *l,
		     uint64_t count);
	/** The same, blocking on eventfds: [0] wakes pong, [1] wakes ping. NULL: no wake protocol.
	 */
	bool (*ping_blocking)(struct ring *there, struct ring *back, const struct ring_load *l,
			      uint64_t count, const int *events);
	bool (*pong_blocking)(struct ring *there, struct ring *back, const struct ring_load *l,
			      uint64_t count, const int *events);
};

extern const struct ring_candidate
	ring_slots; /**< copies with the least synchronisation: a limit */
extern const struct ring_candidate ring_plain;
extern const struct ring_candidate ring_floor;
extern const struct ring_candidate ring_ours;

/** Packets of a batch that use at most a quarter of the ring. */
static inline uint32_t ring_batch(uint32_t want, uint32_t packet, uint32_t ring_size)
{
	uint32_t fits = ring_size / 4 / packet;

	return fits < 1 ? 1 : fits < want ? fits : want;
}

#endif
