/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The ring: packets in memory that two endpoints share.
 *
 * Each endpoint writes one ring of a channel and reads the other. Our own index lives in private
 * memory and the shared copy of it is write-only; the peer's index is checked on every load and
 * cached until it says full or empty. Writing and publishing are separate steps, as are reading and
 * releasing, so a batch costs one fence.
 *
 * A writer and a reader each belong to one thread at a time; the owner locks. Nothing here
 * allocates, blocks, or trusts a byte that the peer can write.
 */
#ifndef VMBUS_RING_H
#define VMBUS_RING_H

#include "vmbus/barrier.h"
#include "vmbus/base.h"
#include "vmbus/shared_copy.h"

enum vmbus_ring_result {
	VMBUS_RING_OK,         /**< a packet was written or read */
	VMBUS_RING_EMPTY,      /**< nothing to read */
	VMBUS_RING_FULL,       /**< no room now */
	VMBUS_RING_TOO_LARGE,  /**< writer: can never fit, nothing was written. Reader: over the
				  caller's  limit; skipped, its size is in total_size, the ring goes
				  on */
	VMBUS_RING_BAD_PACKET, /**< this packet only; it was consumed */
	VMBUS_RING_CLOSED,     /**< not attached */
	VMBUS_RING_CORRUPT,    /**< the peer broke the ring; final */
};

enum vmbus_packet_type {
	VMBUS_PKT_INBAND = 0x6,
	VMBUS_PKT_TRANSFER_PAGES = 0x7,
	VMBUS_PKT_GPA_DIRECT = 0x9,
	VMBUS_PKT_COMPLETION = 0xb,
};
#define VMBUS_PKT_FLAG_COMPLETION_REQUESTED 0x1u

#define VMBUS_PKT_DESCRIPTOR 16u /* bytes of the descriptor */
#define VMBUS_PKT_TRAILER    8u
#define VMBUS_PKT_SMALLEST   (VMBUS_PKT_DESCRIPTOR + VMBUS_PKT_TRAILER)
#define VMBUS_PKT_UNITS_MAX  0xffffu /* length in 8-byte units, trailer not included */

/** The control page; each word has one writer. */
struct vmbus_ring_control {
	uint32_t in;      /**< writer: offset of the next packet to be written */
	uint32_t out;     /**< reader: offset of the next packet to be read */
	uint32_t mask;    /**< reader: nonzero, do not signal "became non-empty" */
	uint32_t pending; /**< writer: nonzero, signal when so many bytes are free */
	uint32_t reserved[12];
	uint32_t features; /**< writer: bit 0, `pending` is honoured */
};

/** A ring in this endpoint's address space. Exactly one of `data` and `pages` is used. */
struct vmbus_ring_view {
	void *control;
	uint8_t *data;         /**< contiguous: data[0..size) */
	uint8_t *const *pages; /**< scattered: one pointer a data page; outlives the ring */
	uint32_t size;         /**< bytes of data, a multiple of 4096 */
	bool mirrored;         /**< data[size..2*size) is data[0..size) again */
};

/* Private to ring.h and ring.c; embedded by the owner. All zeroes is a ring that is closed. */
struct vmbus_ring_writer {
	struct vmbus_ring_control *control; /* NULL: closed or corrupt */
	uint8_t *data;
	uint32_t linear; /* data[0..linear) is mapped in one piece; 0: scattered */
	uint32_t size;
	uint32_t in;        /* where the next packet goes */
	uint32_t room;      /* bytes that surely are free; at most the largest packet */
	uint32_t published; /* `in` as the peer was told */
	bool blocked;       /* `pending` is set */
	bool corrupt;
	uint8_t *const *pages;
};

struct vmbus_ring_reader {
	struct vmbus_ring_control *control; /* NULL: closed or corrupt */
	uint8_t *data;
	uint32_t linear;
	uint32_t size;
	uint32_t out;       /* where the next packet is */
	uint32_t available; /* bytes known to be there, from a checked index */
	uint32_t released;  /* `out` as the peer was told */
	bool corrupt;
	uint8_t *const *pages;
};

/**
 * What to write. The extra header is a multiple of 8 bytes. The payload can be in two pieces, of
 * which the first is then a multiple of 8 bytes.
 */
struct vmbus_packet_out {
	uint16_t type;
	uint16_t flags;
	uint64_t transaction_id;
	const void *header;
	uint32_t header_size;
	const void *payload;
	uint32_t payload_size;
	const void *tail; /**< the second piece */
	uint32_t tail_size;
};

/** A packet in the caller's buffer, checked; every length in it is the checked one. */
struct vmbus_packet_in {
	uint16_t type;
	uint16_t flags; /**< known bits only */
	bool completion_requested;
	uint64_t transaction_id; /**< 0 unless a completion is asked for or this is one */
	uint32_t header_size;    /**< descriptor and extra header */
	uint32_t total_size;     /**< descriptor, extra header, padded payload */
	const uint8_t *header;   /**< extra header, header_size - 16 bytes */
	const uint8_t *payload;
	uint32_t payload_size; /**< padded to 8 */
};

/* ---- attaching (ring.c) ---- */

/**
 * Data bytes of both rings of a channel: `downstream` pages of @p pages make the ring toward the
 * host, each ring beginning with its control page.
 * @return false: a ring would have no data.
 */
bool vmbus_ring_geometry(uint32_t pages, uint32_t downstream, uint32_t *to_host,
			 uint32_t *to_guest);

/** Guest, before the ring is announced: indices, mask, pending and features are 0. */
void vmbus_ring_init_control(void *control);

/**
 * Takes the indices from the control page and goes on from there; CORRUPT if one is invalid or the
 * view is none. The writer announces that it honours `pending`. Behave once as if signals were
 * owed.
 */
enum vmbus_ring_result vmbus_ring_writer_attach(struct vmbus_ring_writer *w,
						const struct vmbus_ring_view *view);
enum vmbus_ring_result vmbus_ring_reader_attach(struct vmbus_ring_reader *r,
						const struct vmbus_ring_view *view);

/** The memory goes away: from here on everything is CLOSED, and nothing touches it. */
void vmbus_ring_writer_detach(struct vmbus_ring_writer *w);
void vmbus_ring_reader_detach(struct vmbus_ring_reader *r);

/* ---- out of line: packets that wrap in an unmirrored view, scattered pages, rare outcomes ---- */
enum vmbus_ring_result vmbus_ring_reserve_slow(struct vmbus_ring_writer *w, uint32_t total);
enum vmbus_ring_result vmbus_ring_write_split(struct vmbus_ring_writer *w,
					      const struct vmbus_packet_out *p, uint32_t total);
enum vmbus_ring_result vmbus_ring_write_inband_slow(struct vmbus_ring_writer *w, uint16_t type,
						    uint16_t flags, uint64_t id,
						    const void *payload, uint32_t size);
enum vmbus_ring_result vmbus_ring_fail(struct vmbus_ring_reader *r);
uint64_t vmbus_ring_word(const struct vmbus_ring_reader *r, uint32_t offset);
enum vmbus_ring_result vmbus_ring_read_other(struct vmbus_ring_reader *r, uint64_t descriptor,
					     void *buf, uint32_t cap, struct vmbus_packet_in *p);
bool vmbus_ring_release_signal(struct vmbus_ring_reader *r, uint32_t old, uint32_t pending);

/* ---- arithmetic ---- */

static inline uint32_t vmbus_ring_used(uint32_t in, uint32_t out, uint32_t size)
{
	uint32_t used = in - out;

	return in < out ? used + size : used;
}

static inline uint32_t vmbus_ring_advance(uint32_t index, uint32_t n, uint32_t size)
{
	index += n;
	return index >= size ? index - size : index;
}

static inline bool vmbus_ring_index_valid(uint32_t index, uint32_t size)
{
	return index < size && index % 8 == 0;
}

static inline uint32_t vmbus_round8(uint32_t n)
{
	return (n + 7u) & ~7u;
}

/** Ring bytes of a packet, trailer included; 0: more than the length field can say. */
static inline uint32_t vmbus_ring_packet_size(uint32_t header, uint64_t payload)
{
	uint64_t body = VMBUS_PKT_DESCRIPTOR + (uint64_t)header + ((payload + 7) & ~7ull);

	if (vmbus_unlikely(body / 8 > VMBUS_PKT_UNITS_MAX || header % 8))
		return 0;
	return (uint32_t)body + VMBUS_PKT_TRAILER;
}

/* ---- writer ---- */

static inline uint32_t vmbus_ring_writer_size(const struct vmbus_ring_writer *w)
{
	return w->size;
}

static inline uint32_t vmbus_ring_writer_unpublished(const struct vmbus_ring_writer *w)
{
	return vmbus_ring_used(w->in, w->published, w->size);
}

static inline bool vmbus_ring_writer_corrupt(const struct vmbus_ring_writer *w)
{
	return w->corrupt;
}

/** The largest total that is ever sent: one unit less than a reader must accept. */
static inline uint32_t vmbus_ring_writer_largest(const struct vmbus_ring_writer *w)
{
	return w->size - 16;
}

/** Largest in-band payload that fits an empty ring. */
static inline uint32_t vmbus_ring_writer_largest_payload(const struct vmbus_ring_writer *w)
{
	uint32_t room = vmbus_ring_writer_largest(w) - VMBUS_PKT_SMALLEST;
	uint32_t most = VMBUS_PKT_UNITS_MAX * 8 - VMBUS_PKT_DESCRIPTOR;

	return room < most ? room : most;
}

/** Bytes that a packet, trailer included, can have now; looks at the peer's index below @p want. */
uint32_t vmbus_ring_writer_room(struct vmbus_ring_writer *w, uint32_t want);

static inline enum vmbus_ring_result vmbus_ring_reserve(struct vmbus_ring_writer *w, uint32_t total)
{
	/* 0, a packet that no length can describe, goes the slow way too */
	if (vmbus_likely(total - 1 < w->room))
		return VMBUS_RING_OK;
	return vmbus_ring_reserve_slow(w, total);
}

static inline uint64_t vmbus_packet_descriptor(uint16_t type, uint32_t header, uint32_t total,
					       uint16_t flags)
{
	/* bits that nobody knows are never sent, and a completion has none */
	flags &= type == VMBUS_PKT_COMPLETION ? 0 : VMBUS_PKT_FLAG_COMPLETION_REQUESTED;
	return type | (uint64_t)((VMBUS_PKT_DESCRIPTOR + header) / 8) << 16 |
	       (uint64_t)((total - VMBUS_PKT_TRAILER) / 8) << 32 | (uint64_t)flags << 48;
}

/* A packet was placed: the writer is not blocked any more (B6). */
static inline void vmbus_ring_placed(struct vmbus_ring_writer *w, uint32_t total)
{
	w->in = vmbus_ring_advance(w->in, total, w->size);
	w->room -= total;
	if (vmbus_unlikely(w->blocked)) {
		vmbus_store32_relaxed(&w->control->pending, 0);
		w->blocked = false;
	}
}

/* The descriptor's two words. Returns where the packet goes on. */
static inline uint8_t *vmbus_ring_put_descriptor(uint8_t *at, uint64_t descriptor, uint64_t id)
{
	vmbus_store64_relaxed(at, descriptor);
	vmbus_store64_relaxed(at + 8, id);
	return at + VMBUS_PKT_DESCRIPTOR;
}

static inline void vmbus_ring_put_trailer(uint8_t *at, uint32_t total, uint32_t in)
{
	vmbus_store64_relaxed(at + total - VMBUS_PKT_TRAILER, (uint64_t)in << 32);
}

/**
 * Writes one packet at the private index; the peer sees it after vmbus_ring_publish(). The caller
 * chooses type and header; a wrong choice is for the peer to find.
 */
static inline enum vmbus_ring_result vmbus_ring_write(struct vmbus_ring_writer *w,
						      const struct vmbus_packet_out *p)
{
	uint64_t payload = (uint64_t)p->payload_size + p->tail_size;
	uint32_t total = vmbus_ring_packet_size(p->header_size, payload);
	enum vmbus_ring_result result = vmbus_ring_reserve(w, total);
	uint8_t *at, *to;

	if (vmbus_unlikely(result != VMBUS_RING_OK))
		return result;
	if (vmbus_unlikely(w->in + total > w->linear))
		return vmbus_ring_write_split(w, p, total);
	at = w->data + w->in;
	to = vmbus_ring_put_descriptor(
		at, vmbus_packet_descriptor(p->type, p->header_size, total, p->flags),
		p->transaction_id);
	if (p->header_size) {
		vmbus_shared_put(to, p->header, p->header_size);
		to += p->header_size;
	}
	vmbus_shared_put(to, p->payload, p->payload_size);
	if (p->tail_size)
		vmbus_shared_put(to + p->payload_size, p->tail, p->tail_size);
	vmbus_ring_put_trailer(at, total, w->in);
	vmbus_ring_placed(w, total);
	return VMBUS_RING_OK;
}

/** The same for a packet without extra header. In line, because most packets are this. */
static inline __attribute__((always_inline)) enum vmbus_ring_result
vmbus_ring_write_inband(struct vmbus_ring_writer *w, uint16_t type, uint16_t flags, uint64_t id,
			const void *payload, uint32_t size)
{
	uint32_t total = vmbus_ring_packet_size(0, size);
	uint8_t *at;

	if (vmbus_unlikely(total - 1 >= w->room || w->in + total > w->linear))
		return vmbus_ring_write_inband_slow(w, type, flags, id, payload, size);
	at = w->data + w->in;
	vmbus_shared_put(
		vmbus_ring_put_descriptor(at, vmbus_packet_descriptor(type, 0, total, flags), id),
		payload, size);
	vmbus_ring_put_trailer(at, total, w->in);
	vmbus_ring_placed(w, total);
	return VMBUS_RING_OK;
}

/**
 * Shows the peer all that was written (W3 to W7).
 * @return a signal is owed: send it now, or at the latest before waiting for room.
 */
static inline bool vmbus_ring_publish(struct vmbus_ring_writer *w)
{
	uint32_t old = w->published, mask;

	if (vmbus_unlikely(w->in == old))
		return false;
	vmbus_store32_release(&w->control->in, w->in); /* pairs with the acquire in a refill */
	w->published = w->in;
	vmbus_fence_full(); /* pairs with the fence in vmbus_ring_unmask() */
	mask = vmbus_load32_acquire(&w->control->mask); /* acquire: before `out` */
	return mask == 0 && vmbus_load32_relaxed(&w->control->out) == old;
}

/**
 * No room for @p need bytes (trailer included; at most the largest packet): asks the peer to signal
 * (B1 to B4). Publish and send the signal that is owed first; what is left unpublished is counted
 * in. A peer without the feature, and some with it, never signal: whoever sleeps also polls.
 * @return true: sleep until a signal, then write again; false: there is room now. A ring that is
 * corrupt or closed has nothing to wake for: true, and the next write says which.
 */
bool vmbus_ring_writer_block(struct vmbus_ring_writer *w, uint32_t need);
/** Does not want to write any more. */
void vmbus_ring_writer_unblock(struct vmbus_ring_writer *w);

/* ---- reader ---- */

static inline uint32_t vmbus_ring_reader_size(const struct vmbus_ring_reader *r)
{
	return r->size;
}

static inline uint32_t vmbus_ring_unreleased(const struct vmbus_ring_reader *r)
{
	return vmbus_ring_used(r->out, r->released, r->size);
}

static inline bool vmbus_ring_reader_corrupt(const struct vmbus_ring_reader *r)
{
	return r->corrupt;
}

/** Whether the peer, as writer of the ring that we read, says that it honours our `pending`. */
static inline bool vmbus_ring_peer_has_feature(const struct vmbus_ring_reader *r)
{
	return r->control && (vmbus_load32_relaxed(&r->control->features) & 1);
}

/** Whether a read would say anything but EMPTY; false once it has said CORRUPT. At most one load.
 */
static inline bool vmbus_ring_has_data(const struct vmbus_ring_reader *r)
{
	return r->available || (r->control && vmbus_load32_acquire(&r->control->in) != r->out);
}

/* Everything known was read: looks at the peer's index. */
static inline enum vmbus_ring_result vmbus_ring_refill(struct vmbus_ring_reader *r)
{
	uint32_t in;

	if (vmbus_unlikely(!r->control))
		return vmbus_ring_fail(r);
	in = vmbus_load32_acquire(&r->control->in); /* pairs with the release in a publish */
	if (in == r->out)
		return VMBUS_RING_EMPTY;
	if (vmbus_unlikely(!vmbus_ring_index_valid(in, r->size)))
		return vmbus_ring_fail(r);
	r->available = vmbus_ring_used(in, r->out, r->size);
	return VMBUS_RING_OK;
}

static inline void vmbus_packet_describe(struct vmbus_packet_in *p, uint64_t descriptor,
					 uint64_t id, const uint8_t *buf)
{
	uint32_t offset = (uint32_t)(descriptor >> 16 & 0xffff) * 8;

	p->type = (uint16_t)descriptor;
	p->flags = (uint16_t)(descriptor >> 48) & VMBUS_PKT_FLAG_COMPLETION_REQUESTED;
	p->completion_requested = p->flags != 0;
	p->transaction_id = p->flags || p->type == VMBUS_PKT_COMPLETION ? id : 0;
	p->header_size = offset;
	p->total_size = (uint32_t)(descriptor >> 32 & 0xffff) * 8;
	p->header = buf + VMBUS_PKT_DESCRIPTOR;
	p->payload = buf + offset;
	p->payload_size = p->total_size - offset;
}

/* An in-band packet or completion without extra header. */
static inline bool vmbus_packet_plain(uint64_t descriptor)
{
	uint32_t kind = (uint32_t)descriptor;

	return kind == (VMBUS_PKT_INBAND | 2u << 16) || kind == (VMBUS_PKT_COMPLETION | 2u << 16);
}

/**
 * Copies the next packet, descriptor first, into @p buf (8-aligned, @p cap bytes) and describes it.
 * Every shared byte is fetched once: the descriptor into registers, where it is checked and from
 * where it goes into @p buf, the rest by as much as the checked length says. The space is the
 * peer's again only after vmbus_ring_release(). After TOO_LARGE @p p has everything but header and
 * payload.
 */
static inline __attribute__((always_inline)) enum vmbus_ring_result
vmbus_ring_read(struct vmbus_ring_reader *r, void *buf, uint32_t cap, struct vmbus_packet_in *p)
{
	uint64_t descriptor, id, *copy = buf;
	uint32_t total;
	const uint8_t *at;
	bool requested;

	if (!r->available) {
		enum vmbus_ring_result result = vmbus_ring_refill(r);

		if (result != VMBUS_RING_OK)
			return result;
	}
	if (vmbus_unlikely(r->out + VMBUS_PKT_DESCRIPTOR > r->linear))
		return vmbus_ring_read_other(r, vmbus_ring_word(r, r->out), buf, cap, p);
	at = r->data + r->out;
	descriptor = vmbus_load64_relaxed(at);
	total = (uint32_t)(descriptor >> 32 & 0xffff) * 8;
	if (vmbus_unlikely(!vmbus_packet_plain(descriptor) || total < VMBUS_PKT_DESCRIPTOR ||
			   total + VMBUS_PKT_TRAILER > r->available || total > cap ||
			   r->out + total > r->linear))
		return vmbus_ring_read_other(r, descriptor, buf, cap, p);
	id = vmbus_load64_relaxed(at + 8);
	copy[0] = VMBUS_LE64(descriptor);
	copy[1] = VMBUS_LE64(id);
	vmbus_shared_get(copy + 2, at + VMBUS_PKT_DESCRIPTOR, total - VMBUS_PKT_DESCRIPTOR);
	r->out = vmbus_ring_advance(r->out, total + VMBUS_PKT_TRAILER, r->size);
	r->available -= total + VMBUS_PKT_TRAILER;
	requested = descriptor >> 48 & VMBUS_PKT_FLAG_COMPLETION_REQUESTED;
	p->type = (uint16_t)descriptor;
	p->flags = requested;
	p->completion_requested = requested;
	p->transaction_id = requested || (uint16_t)descriptor == VMBUS_PKT_COMPLETION ? id : 0;
	p->header_size = VMBUS_PKT_DESCRIPTOR;
	p->total_size = total;
	p->header = p->payload = (const uint8_t *)buf + VMBUS_PKT_DESCRIPTOR;
	p->payload_size = total - VMBUS_PKT_DESCRIPTOR;
	return VMBUS_RING_OK;
}

/**
 * Gives back the space before @p index, where a packet begins that was read since the last release,
 * or the next one (R3 to R7). @return a room signal is owed.
 */
static inline bool vmbus_ring_release_to(struct vmbus_ring_reader *r, uint32_t index)
{
	uint32_t old = r->released, pending;

	if (vmbus_unlikely(index == old || !r->control))
		return false;
	/* pairs with the acquire in vmbus_ring_reserve_slow(): what was read stays read */
	vmbus_store32_release(&r->control->out, index);
	r->released = index;
	vmbus_fence_full(); /* pairs with the fence in vmbus_ring_writer_block() */
	pending = vmbus_load32_acquire(&r->control->pending); /* acquire: before `in` */
	if (vmbus_likely(!pending))
		return false;
	return vmbus_ring_release_signal(r, old, pending);
}

/** The same for all that was read. */
static inline bool vmbus_ring_release(struct vmbus_ring_reader *r)
{
	return vmbus_ring_release_to(r, r->out);
}

/** Tells the writer not to signal; only an optimisation. */
static inline void vmbus_ring_mask(struct vmbus_ring_reader *r)
{
	if (r->control)
		vmbus_store32_relaxed(&r->control->mask, 1);
}

/**
 * Before sleeping, after resetting what is slept on (I2 to I4).
 * @return true: there is something to read, an index that is corrupt included; do not sleep.
 */
static inline bool vmbus_ring_unmask(struct vmbus_ring_reader *r)
{
	if (vmbus_unlikely(!r->control))
		return false;
	vmbus_store32_relaxed(&r->control->mask, 0);
	vmbus_fence_full(); /* pairs with the fence in vmbus_ring_publish() */
	return vmbus_ring_has_data(r);
}

#endif
