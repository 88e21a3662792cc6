/* SPDX-License-Identifier: MIT */
/*
 * The measured loops, instantiated by every candidate. The includer has defined struct ring and
 *
 *	bool ring_write(struct ring *, const void *payload, uint32_t size)
 *		places a packet; false: full
 *	bool ring_publish(struct ring *)
 *		shows what was placed; true: a signal is owed
 *	const void *ring_read(struct ring *, uint8_t *sink, uint32_t *size)
 *		delivers into `sink`; *size comes in as the size sent; NULL: empty or broken
 *	bool ring_release(struct ring *)
 *		gives back what was read; true: a signal is owed
 *
 * and, if RING_CAN_BLOCK, ring_mask(struct ring *) and bool ring_unmask(struct ring *) (true: there
 *is data).
 */
#include <unistd.h>

#include "base/clock.h"

/* Packet i as its sender has just made it: a number and a tag before a body that stays. */
static inline const void *load_packet(const struct ring_load *l, uint64_t i)
{
	uint64_t *packet = l->source;

	if (l->filled) {
		packet[0] = i;
		packet[1] = l->tag;
	}
	return packet;
}

/* Bits that are 0 if packet i came out whole: its size, its head and its last word. */
static inline uint64_t load_differs(const struct ring_load *l, uint64_t i, const void *payload,
				    uint32_t size)
{
	const uint64_t *got = payload;
	uint64_t number = l->filled ? i : l->source[0];

	return (got[0] ^ number) | (got[1] ^ l->tag) | (got[l->last] ^ l->source[l->last]) |
	       (size ^ l->size);
}

static bool loop_single(struct ring *r, const struct ring_load *l, uint64_t count)
{
	uint64_t differs = 0;

	for (uint64_t i = 0; i < count; i++) {
		const void *payload;
		uint32_t size = l->size;

		if (!ring_write(r, load_packet(l, i), l->size))
			return false;
		r->signals += ring_publish(r);
		payload = ring_read(r, l->sink, &size);
		if (!payload)
			return false;
		differs |= load_differs(l, i, payload, size);
		r->signals += ring_release(r);
	}
	return !differs;
}

static bool loop_batches(struct ring *r, const struct ring_load *l, uint64_t count)
{
	uint64_t differs = 0;

	for (uint64_t i = 0; i < count; i += l->batch) {
		for (uint64_t k = 0; k < l->batch; k++) {
			if (!ring_write(r, load_packet(l, i + k), l->size))
				return false;
		}
		r->signals += ring_publish(r);
		for (uint64_t k = 0; k < l->batch; k++) {
			uint32_t size = l->size;
			const void *payload = ring_read(r, l->sink, &size);

			if (!payload)
				return false;
			differs |= load_differs(l, i + k, payload, size);
		}
		r->signals += ring_release(r);
	}
	return !differs;
}

static bool loop_pairs(struct ring *r, const struct ring_load *l, uint64_t count)
{
	return l->batch == 1 ? loop_single(r, l, count) : loop_batches(r, l, count);
}

static bool loop_produce(struct ring *r, const struct ring_load *l, uint64_t count)
{
	for (uint64_t i = 0; i < count;) {
		uint64_t end = count - i < l->batch ? count : i + l->batch;

		for (; i < end; i++) {
			while (!ring_write(r, load_packet(l, i), l->size)) {
				r->signals += ring_publish(r);
				cpu_relax();
			}
		}
		r->signals += ring_publish(r);
	}
	return true;
}

static bool loop_consume(struct ring *r, const struct ring_load *l, uint64_t count)
{
	uint64_t differs = 0;

	for (uint64_t i = 0; i < count;) {
		uint64_t end = count - i < l->batch ? count : i + l->batch;
		uint64_t first = i;
		const void *payload;
		uint32_t size = l->size;

		while (i < end && (payload = ring_read(r, l->sink, &size)))
			differs |= load_differs(l, i++, payload, size);
		if (i != first)
			r->signals_room += ring_release(r);
		else
			cpu_relax();
	}
	return !differs;
}

static inline const void *spin_read(struct ring *r, uint8_t *sink, uint32_t *size)
{
	const void *payload;

	while (!(payload = ring_read(r, sink, size)))
		;
	return payload;
}

/*
 * While there is room nobody waits for space, so it is released for many packets at once: the line
 * of the indices then travels once each way. A dispatcher that sees its peer unblocked does the
 * same.
 */
static inline bool release_due(uint64_t i, uint64_t count)
{
	return i % RING_BATCH == RING_BATCH - 1 || i == count - 1;
}

static bool loop_ping(struct ring *there, struct ring *back, const struct ring_load *l,
		      uint64_t count)
{
	uint64_t differs = 0;

	for (uint64_t i = 0; i < count; i++) {
		const void *payload;
		uint32_t size = l->size;

		if (!ring_write(there, load_packet(l, i), l->size))
			return false;
		there->signals += ring_publish(there);
		payload = spin_read(back, l->sink, &size);
		differs |= load_differs(l, i, payload, size);
		if (release_due(i, count))
			back->signals_room += ring_release(back);
	}
	return !differs;
}

static bool loop_pong(struct ring *there, struct ring *back, const struct ring_load *l,
		      uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		uint32_t size = l->size;
		const void *payload = spin_read(there, l->back, &size);

		if (!ring_write(back, payload, size))
			return false;
		back->signals += ring_publish(back);
		if (release_due(i, count))
			there->signals_room += ring_release(there);
	}
	return true;
}

#ifdef RING_CAN_BLOCK
static inline bool wake(bool owed, int event)
{
	uint64_t one = 1;

	return !owed || write(event, &one, sizeof(one)) == (ssize_t)sizeof(one);
}

static inline const void *wait_read(struct ring *r, uint8_t *sink, uint32_t *size, int event)
{
	for (;;) {
		const void *payload = ring_read(r, sink, size);
		uint64_t n;

		if (payload)
			return payload;
		if (!ring_unmask(r) && read(event, &n, sizeof(n)) != (ssize_t)sizeof(n))
			return NULL;
		ring_mask(r);
	}
}

static bool loop_ping_blocking(struct ring *there, struct ring *back, const struct ring_load *l,
			       uint64_t count, const int *events)
{
	uint64_t differs = 0;

	for (uint64_t i = 0; i < count; i++) {
		const void *payload;
		uint32_t size = l->size;

		if (!ring_write(there, load_packet(l, i), l->size) ||
		    !wake(ring_publish(there), events[0]))
			return false;
		payload = wait_read(back, l->sink, &size, events[1]);
		if (!payload)
			return false;
		differs |= load_differs(l, i, payload, size);
		if (!wake(ring_release(back), events[0]))
			return false;
	}
	return !differs;
}

static bool loop_pong_blocking(struct ring *there, struct ring *back, const struct ring_load *l,
			       uint64_t count, const int *events)
{
	for (uint64_t i = 0; i < count; i++) {
		uint32_t size = l->size;
		const void *payload = wait_read(there, l->back, &size, events[0]);

		if (!payload || !ring_write(back, payload, size) ||
		    !wake(ring_publish(back), events[1]) || !wake(ring_release(there), events[1]))
			return false;
	}
	return true;
}
#else
#define loop_ping_blocking NULL
#define loop_pong_blocking NULL
#endif

#define RING_CANDIDATE(name_)                                                              \
	{                                                                                  \
		.name = name_, .create = ring_create, .destroy = ring_destroy,             \
		.pairs = loop_pairs, .produce = loop_produce, .consume = loop_consume,     \
		.ping = loop_ping, .pong = loop_pong, .ping_blocking = loop_ping_blocking, \
		.pong_blocking = loop_pong_blocking,                                       \
	}
