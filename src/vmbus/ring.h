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
 * A writer and a reader each belong to one thread at a time; the owner locks. Nothing here allocates,
 * blocks, or trusts a byte that the peer can write.
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
	VMBUS_RING_TOO_LARGE,  /**< writer: can never fit, nothing was written. Reader: over the caller's
				    limit; skipped, its size is in total_size, the ring goes on */
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
	uint32_t in;       /**< writer: offset of the next packet to be written */
	uint32_t out;      /**< reader: offset of the next packet to be read */
	uint32_t mask;     /**< reader: nonzero, do not signal "became non-empty" */
	uint32_t pending;  /**< writer: nonzero, signal when so many bytes are free */
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

struct vmbus_ring_writer {
	struct vmbus_ring_control *control;
	uint8_t *data;
	uint8_t *const *pages;
	uint32_t size;
	uint32_t in;        /* where the next packet goes */
	uint32_t published; /* `in` as the peer was told */
	uint32_t out;       /* the peer's, as last loaded */
	bool mirrored;
	bool blocked;       /* `pending` is set */
	bool corrupt;
};

struct vmbus_ring_reader {
	struct vmbus_ring_control *control;
	uint8_t *data;
	uint8_t *const *pages;
	uint32_t size;
	uint32_t out;      /* where the next packet is */
	uint32_t released; /* `out` as the peer was told */
	uint32_t in;       /* the peer's, as last loaded */
	bool mirrored;
	bool corrupt;
};

/** What to write. The extra header is a multiple of 8 bytes. */
struct vmbus_packet_out {
	uint16_t type;
	uint16_t flags;
	uint64_t transaction_id;
	const void *header;
	uint32_t header_size;
	const void *payload;
	uint32_t payload_size;
};

/** A packet in the caller's buffer, checked; every length in it is the checked one. */
struct vmbus_packet_in {
	uint16_t type;
	uint16_t flags;            /**< known bits only */
	bool completion_requested;
	uint64_t transaction_id;   /**< 0 unless a completion is asked for or this is one */
	uint32_t header_size;      /**< descriptor and extra header */
	uint32_t total_size;       /**< descriptor, extra header, padded payload */
	const uint8_t *header;     /**< extra header, header_size - 16 bytes */
	const uint8_t *payload;
	uint32_t payload_size;     /**< padded to 8 */
};

/* ---- attaching (ring.c) ---- */

/** Guest, before the ring is announced: indices, mask, pending and features are 0. */
void vmbus_ring_init_control(void *control);
/** Takes the indices from the control page; CORRUPT if one is invalid. Announces `pending`. */
enum vmbus_ring_result vmbus_ring_writer_attach(struct vmbus_ring_writer *w,
						const struct vmbus_ring_view *view);
enum vmbus_ring_result vmbus_ring_reader_attach(struct vmbus_ring_reader *r,
						const struct vmbus_ring_view *view);

/* ---- out of line: packets that wrap in an unmirrored view, scattered pages, rare outcomes ---- */
void vmbus_ring_put_split(const struct vmbus_ring_writer *w, uint32_t offset, const void *from,
			  uint32_t size);
void vmbus_ring_get_split(const struct vmbus_ring_reader *r, uint32_t offset, void *to,
			  uint32_t size);
enum vmbus_ring_result vmbus_ring_write_parts(struct vmbus_ring_writer *w,
					      const struct vmbus_packet_out *p, uint32_t total);
enum vmbus_ring_result vmbus_ring_read_other(struct vmbus_ring_reader *r, void *buf, uint32_t cap,
					     struct vmbus_packet_in *p);
bool vmbus_ring_reserve_slow(struct vmbus_ring_writer *w, uint32_t total);

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
static inline uint32_t vmbus_ring_packet_size(uint32_t header, uint32_t payload)
{
	uint64_t body = VMBUS_PKT_DESCRIPTOR + (uint64_t)header + (((uint64_t)payload + 7) & ~7ull);

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

/** Whether the peer says that it honours `pending`; `control` is that of the ring the peer writes. */
static inline bool vmbus_ring_peer_has_feature(const struct vmbus_ring_reader *r)
{
	return vmbus_load32_relaxed(&r->control->features) & 1;
}

static inline bool vmbus_ring_fits(const struct vmbus_ring_writer *w, uint32_t total)
{
	return total < w->size - vmbus_ring_used(w->in, w->out, w->size);
}

static inline enum vmbus_ring_result vmbus_ring_reserve(struct vmbus_ring_writer *w, uint32_t total)
{
	if (vmbus_unlikely(!total || total > vmbus_ring_writer_largest(w)))
		return w->control ? VMBUS_RING_TOO_LARGE : VMBUS_RING_CLOSED;
	if (vmbus_likely(vmbus_ring_fits(w, total) && !w->corrupt))
		return VMBUS_RING_OK;
	if (vmbus_ring_reserve_slow(w, total))
		return VMBUS_RING_OK;
	return w->corrupt ? VMBUS_RING_CORRUPT : VMBUS_RING_FULL;
}

static inline bool vmbus_ring_writer_linear(const struct vmbus_ring_writer *w, uint32_t total)
{
	return w->data && (w->mirrored || total <= w->size - w->in);
}

static inline uint64_t vmbus_packet_descriptor(uint16_t type, uint32_t header, uint32_t total,
					       uint16_t flags)
{
	return type | (uint64_t)((VMBUS_PKT_DESCRIPTOR + header) / 8) << 16 |
	       (uint64_t)((total - VMBUS_PKT_TRAILER) / 8) << 32 | (uint64_t)flags << 48;
}

/* A packet was placed: the writer is not blocked any more (B6). */
static inline void vmbus_ring_placed(struct vmbus_ring_writer *w, uint32_t total)
{
	w->in = vmbus_ring_advance(w->in, total, w->size);
	if (vmbus_unlikely(w->blocked)) {
		vmbus_store32_relaxed(&w->control->pending, 0);
		w->blocked = false;
	}
}

/** Writes one packet at the private index; the peer sees it after vmbus_ring_publish(). */
static inline enum vmbus_ring_result vmbus_ring_write(struct vmbus_ring_writer *w,
						      const struct vmbus_packet_out *p)
{
	uint32_t total = vmbus_ring_packet_size(p->header_size, p->payload_size);
	enum vmbus_ring_result result = vmbus_ring_reserve(w, total);
	uint8_t *at;

	if (vmbus_unlikely(result != VMBUS_RING_OK))
		return result;
	if (vmbus_unlikely(!vmbus_ring_writer_linear(w, total)))
		return vmbus_ring_write_parts(w, p, total);
	at = w->data + w->in;
	vmbus_store64_relaxed(
		at, vmbus_packet_descriptor(p->type, p->header_size, total, p->flags));
	vmbus_store64_relaxed(at + 8, p->transaction_id);
	if (p->header_size)
		vmbus_shared_put(at + VMBUS_PKT_DESCRIPTOR, p->header, p->header_size);
	vmbus_shared_put(at + VMBUS_PKT_DESCRIPTOR + p->header_size, p->payload, p->payload_size);
	vmbus_store64_relaxed(at + total - VMBUS_PKT_TRAILER, (uint64_t)w->in << 32);
	vmbus_ring_placed(w, total);
	return VMBUS_RING_OK;
}

/** The same for a packet without extra header. */
static inline enum vmbus_ring_result vmbus_ring_write_inband(struct vmbus_ring_writer *w,
							     uint16_t type, uint16_t flags,
							     uint64_t id, const void *payload,
							     uint32_t size)
{
	struct vmbus_packet_out p = {
		.type = type,
		.flags = flags,
		.transaction_id = id,
		.payload = payload,
		.payload_size = size,
	};

	return vmbus_ring_write(w, &p);
}

/** Shows the peer all that was written (W3 to W7). @return a signal is owed. */
static inline bool vmbus_ring_publish(struct vmbus_ring_writer *w)
{
	uint32_t old = w->published, mask;

	if (vmbus_unlikely(w->in == old))
		return false;
	vmbus_store32_release(&w->control->in, w->in); /* pairs with the reader's acquire of `in` */
	w->published = w->in;
	vmbus_fence_full(); /* pairs with the fence in vmbus_ring_unmask() */
	mask = vmbus_load32_acquire(&w->control->mask);
	return mask == 0 && vmbus_load32_relaxed(&w->control->out) == old;
}

/**
 * No room for @p need bytes (trailer included): asks the peer to signal. Publish first.
 * @return true: sleep until a signal, then write again; false: there is room now.
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

/** Whether there is something to read, a corrupt index included. One load. */
static inline bool vmbus_ring_has_data(const struct vmbus_ring_reader *r)
{
	return r->in != r->out || vmbus_load32_relaxed(&r->control->in) != r->out;
}

/* Reloads the peer's index. False: the ring is corrupt. */
static inline bool vmbus_ring_refill(struct vmbus_ring_reader *r)
{
	uint32_t in = vmbus_load32_acquire(&r->control->in); /* pairs with the writer's release */

	if (vmbus_unlikely(!vmbus_ring_index_valid(in, r->size))) {
		r->corrupt = true;
		return false;
	}
	r->in = in;
	return true;
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

/**
 * Copies the next packet, descriptor first, into @p buf (8-aligned, @p cap bytes) and describes it.
 * Every shared byte is fetched once; what is described is the private copy. The space is the peer's
 * again only after vmbus_ring_release().
 */
static inline enum vmbus_ring_result vmbus_ring_read(struct vmbus_ring_reader *r, void *buf,
						     uint32_t cap, struct vmbus_packet_in *p)
{
	uint32_t available = vmbus_ring_used(r->in, r->out, r->size);
	uint64_t descriptor, id, type;
	uint32_t total, offset8;
	const uint8_t *at;

	if (!available) {
		if (vmbus_unlikely(r->corrupt))
			return VMBUS_RING_CORRUPT;
		if (vmbus_unlikely(!vmbus_ring_refill(r)))
			return VMBUS_RING_CORRUPT;
		available = vmbus_ring_used(r->in, r->out, r->size);
		if (!available)
			return VMBUS_RING_EMPTY;
	}
	if (vmbus_unlikely(r->corrupt || available < VMBUS_PKT_SMALLEST || !r->data ||
			   (!r->mirrored && available > r->size - r->out)))
		return vmbus_ring_read_other(r, buf, cap, p);
	at = r->data + r->out;
	descriptor = vmbus_load64_relaxed(at);
	total = (uint32_t)(descriptor >> 32 & 0xffff) * 8;
	offset8 = (uint32_t)(descriptor >> 16 & 0xffff);
	type = descriptor & 0xffff;
	/* anything but a sound in-band packet or completion that fits is looked at elsewhere */
	if (vmbus_unlikely((type != VMBUS_PKT_INBAND && type != VMBUS_PKT_COMPLETION) ||
			   offset8 < 2 || offset8 * 8 > total ||
			   total + VMBUS_PKT_TRAILER > available || total > cap))
		return vmbus_ring_read_other(r, buf, cap, p);
	id = vmbus_load64_relaxed(at + 8);
	((uint64_t *)buf)[0] = descriptor;
	((uint64_t *)buf)[1] = id;
	vmbus_shared_get((uint8_t *)buf + VMBUS_PKT_DESCRIPTOR, at + VMBUS_PKT_DESCRIPTOR,
			 total - VMBUS_PKT_DESCRIPTOR);
	r->out = vmbus_ring_advance(r->out, total + VMBUS_PKT_TRAILER, r->size);
	vmbus_packet_describe(p, descriptor, id, buf);
	return VMBUS_RING_OK;
}

/* Whether giving back the space crossed what the peer waits for (R5 to R7). */
bool vmbus_ring_release_signal(struct vmbus_ring_reader *r, uint32_t old, uint32_t pending);

/** Gives back the space of all that was read (R3 to R7). @return a room signal is owed. */
static inline bool vmbus_ring_release(struct vmbus_ring_reader *r)
{
	uint32_t old = r->released, pending;

	if (r->out == old)
		return false;
	vmbus_store32_release(&r->control->out, r->out); /* pairs with the writer's acquire of `out` */
	r->released = r->out;
	vmbus_fence_full(); /* pairs with the fence in vmbus_ring_writer_block() */
	pending = vmbus_load32_acquire(&r->control->pending);
	if (vmbus_likely(!pending))
		return false;
	return vmbus_ring_release_signal(r, old, pending);
}

/** Tells the writer not to signal; only an optimisation. */
static inline void vmbus_ring_mask(struct vmbus_ring_reader *r)
{
	vmbus_store32_relaxed(&r->control->mask, 1);
}

/** Before sleeping (I2 to I4). @return true: there is something to read, do not sleep. */
static inline bool vmbus_ring_unmask(struct vmbus_ring_reader *r)
{
	vmbus_store32_relaxed(&r->control->mask, 0);
	vmbus_fence_full(); /* pairs with the fence in vmbus_ring_publish() */
	if (vmbus_unlikely(r->corrupt))
		return false;
	/* an invalid index is for the next read to report */
	return !vmbus_ring_refill(r) || r->in != r->out;
}

#endif
