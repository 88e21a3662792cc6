/* SPDX-License-Identifier: MIT */
/*
 * The ring's slow half: attaching, views that need more than one copy a packet, blocked writers, and
 * everything that is wrong.
 */
#include <string.h>

#include "vmbus/ring.h"

_Static_assert(offsetof(struct vmbus_ring_control, mask) == 8, "control page");
_Static_assert(offsetof(struct vmbus_ring_control, pending) == 12, "control page");
_Static_assert(offsetof(struct vmbus_ring_control, features) == 64, "control page");

#define FEATURE_PENDING 1u

void vmbus_ring_init_control(void *control)
{
	struct vmbus_ring_control *c = control;

	vmbus_store32_relaxed(&c->in, 0);
	vmbus_store32_relaxed(&c->out, 0);
	vmbus_store32_relaxed(&c->mask, 0);
	vmbus_store32_relaxed(&c->pending, 0);
	vmbus_store32_relaxed(&c->features, 0);
}

static bool view_valid(const struct vmbus_ring_view *v)
{
	return v->control && v->size && v->size % VMBUS_PAGE_SIZE == 0 && v->size < 1u << 31 &&
	       (v->data || v->pages);
}

enum vmbus_ring_result vmbus_ring_writer_attach(struct vmbus_ring_writer *w,
						const struct vmbus_ring_view *view)
{
	struct vmbus_ring_control *c = view->control;

	memset(w, 0, sizeof(*w));
	if (!view_valid(view))
		return VMBUS_RING_CORRUPT;
	w->in = vmbus_load32_acquire(&c->in);
	w->out = vmbus_load32_acquire(&c->out);
	if (!vmbus_ring_index_valid(w->in, view->size) || !vmbus_ring_index_valid(w->out, view->size))
		return VMBUS_RING_CORRUPT;
	w->published = w->in;
	w->data = view->data;
	w->pages = view->pages;
	w->size = view->size;
	w->mirrored = view->mirrored;
	w->control = c;
	vmbus_store32_relaxed(&c->pending, 0);
	vmbus_store32_relaxed(&c->features, FEATURE_PENDING);
	return VMBUS_RING_OK;
}

enum vmbus_ring_result vmbus_ring_reader_attach(struct vmbus_ring_reader *r,
						const struct vmbus_ring_view *view)
{
	struct vmbus_ring_control *c = view->control;

	memset(r, 0, sizeof(*r));
	if (!view_valid(view))
		return VMBUS_RING_CORRUPT;
	r->in = vmbus_load32_acquire(&c->in);
	r->out = vmbus_load32_acquire(&c->out);
	if (!vmbus_ring_index_valid(r->in, view->size) || !vmbus_ring_index_valid(r->out, view->size))
		return VMBUS_RING_CORRUPT;
	r->released = r->out;
	r->data = view->data;
	r->pages = view->pages;
	r->size = view->size;
	r->mirrored = view->mirrored;
	r->control = c;
	return VMBUS_RING_OK;
}

/* ---- views in more than one piece ---- */

/* The run of bytes at `offset`: its address and how far it reaches. */
static uint8_t *piece(uint8_t *data, uint8_t *const *pages, uint32_t ring, uint32_t offset,
		      uint32_t *reach)
{
	if (data) {
		*reach = ring - offset;
		return data + offset;
	}
	*reach = VMBUS_PAGE_SIZE - offset % VMBUS_PAGE_SIZE;
	return pages[offset / VMBUS_PAGE_SIZE] + offset % VMBUS_PAGE_SIZE;
}

void vmbus_ring_put_split(const struct vmbus_ring_writer *w, uint32_t offset, const void *from,
			  uint32_t size)
{
	const uint8_t *p = from;

	while (size) {
		uint32_t reach;
		uint8_t *at = piece(w->data, w->pages, w->size, offset, &reach);

		if (reach > size)
			reach = size;
		vmbus_shared_put(at, p, reach);
		p += reach;
		size -= reach;
		offset = vmbus_ring_advance(offset, reach, w->size);
	}
}

void vmbus_ring_get_split(const struct vmbus_ring_reader *r, uint32_t offset, void *to, uint32_t size)
{
	uint8_t *p = to;

	while (size) {
		uint32_t reach;
		uint8_t *at = piece(r->data, r->pages, r->size, offset, &reach);

		if (reach > size)
			reach = size;
		vmbus_shared_get(p, at, reach);
		p += reach;
		size -= reach;
		offset = vmbus_ring_advance(offset, reach, r->size);
	}
}

static void put_word(const struct vmbus_ring_writer *w, uint32_t offset, uint64_t value)
{
	uint32_t reach;

	vmbus_store64_relaxed(piece(w->data, w->pages, w->size, offset, &reach), value);
}

enum vmbus_ring_result vmbus_ring_write_parts(struct vmbus_ring_writer *w,
					      const struct vmbus_packet_out *p, uint32_t total)
{
	uint32_t at = w->in;

	put_word(w, at, vmbus_packet_descriptor(p->type, p->header_size, total, p->flags));
	put_word(w, vmbus_ring_advance(at, 8, w->size), p->transaction_id);
	at = vmbus_ring_advance(at, VMBUS_PKT_DESCRIPTOR, w->size);
	vmbus_ring_put_split(w, at, p->header, p->header_size);
	at = vmbus_ring_advance(at, p->header_size, w->size);
	vmbus_ring_put_split(w, at, p->payload, p->payload_size);
	at = vmbus_ring_advance(at, vmbus_round8(p->payload_size), w->size);
	put_word(w, at, (uint64_t)w->in << 32);
	vmbus_ring_placed(w, total);
	return VMBUS_RING_OK;
}

/* ---- writer without room ---- */

/* Reloads the reader's index. False: the ring is corrupt. */
static bool reload_out(struct vmbus_ring_writer *w)
{
	uint32_t out = vmbus_load32_acquire(&w->control->out); /* pairs with the reader's release */

	if (!vmbus_ring_index_valid(out, w->size)) {
		w->corrupt = true;
		return false;
	}
	w->out = out;
	return true;
}

bool vmbus_ring_reserve_slow(struct vmbus_ring_writer *w, uint32_t total)
{
	if (w->corrupt || !reload_out(w))
		return false;
	return vmbus_ring_fits(w, total);
}

bool vmbus_ring_writer_block(struct vmbus_ring_writer *w, uint32_t need)
{
	uint32_t ask = vmbus_round8(need + vmbus_ring_writer_unpublished(w));

	/* a quarter of the ring at once spares a round trip for each packet */
	if (ask < w->size / 4)
		ask = w->size / 4;
	if (ask > w->size - 1)
		ask = w->size - 1;
	vmbus_store32_relaxed(&w->control->pending, ask);
	w->blocked = true;
	vmbus_fence_full(); /* pairs with the fence in vmbus_ring_release() */
	if (w->corrupt || !reload_out(w))
		return true;
	if (!vmbus_ring_fits(w, need))
		return true;
	vmbus_ring_writer_unblock(w);
	return false;
}

void vmbus_ring_writer_unblock(struct vmbus_ring_writer *w)
{
	if (!w->blocked)
		return;
	vmbus_store32_relaxed(&w->control->pending, 0);
	w->blocked = false;
}

/* ---- reader ---- */

static enum vmbus_ring_result corrupt(struct vmbus_ring_reader *r)
{
	r->corrupt = true;
	return VMBUS_RING_CORRUPT;
}

static uint32_t least_offset8(uint64_t type)
{
	return type == VMBUS_PKT_TRANSFER_PAGES || type == VMBUS_PKT_GPA_DIRECT ? 3 : 2;
}

static enum vmbus_ring_result judge(struct vmbus_ring_reader *r, struct vmbus_packet_in *p,
				    uint32_t start)
{
	switch (p->type) {
	case VMBUS_PKT_INBAND:
	case VMBUS_PKT_COMPLETION:
	case VMBUS_PKT_TRANSFER_PAGES:
		return VMBUS_RING_OK;
	case VMBUS_PKT_GPA_DIRECT:
		/* word 2 holds the range count in its upper half */
		if (!VMBUS_LE32(((const uint32_t *)(const void *)p->header)[1])) {
			r->out = start;
			return corrupt(r);
		}
		return VMBUS_RING_OK;
	default:
		return VMBUS_RING_BAD_PACKET;
	}
}

enum vmbus_ring_result vmbus_ring_read_other(struct vmbus_ring_reader *r, void *buf, uint32_t cap,
					     struct vmbus_packet_in *p)
{
	uint32_t available = vmbus_ring_used(r->in, r->out, r->size), start = r->out;
	uint32_t total, offset8, reach;
	uint64_t words[2];

	if (r->corrupt || available < VMBUS_PKT_SMALLEST)
		return corrupt(r);
	for (uint32_t i = 0; i < 2; i++)
		words[i] = vmbus_load64_relaxed(piece(r->data, r->pages, r->size,
						      vmbus_ring_advance(start, 8 * i, r->size),
						      &reach));
	total = (uint32_t)(words[0] >> 32 & 0xffff) * 8;
	offset8 = (uint32_t)(words[0] >> 16 & 0xffff);
	if (offset8 < least_offset8(words[0] & 0xffff) || offset8 * 8 > total ||
	    total + VMBUS_PKT_TRAILER > available)
		return corrupt(r);
	r->out = vmbus_ring_advance(start, total + VMBUS_PKT_TRAILER, r->size);
	vmbus_packet_describe(p, words[0], words[1], buf);
	if (total > cap) {
		p->header = p->payload = NULL;
		p->payload_size = 0;
		return VMBUS_RING_TOO_LARGE;
	}
	memcpy(buf, words, sizeof(words));
	vmbus_ring_get_split(r, vmbus_ring_advance(start, VMBUS_PKT_DESCRIPTOR, r->size),
			     (uint8_t *)buf + VMBUS_PKT_DESCRIPTOR, total - VMBUS_PKT_DESCRIPTOR);
	return judge(r, p, start);
}

/*
 * Free space is size - 1 - used, as Microsoft counts it: a writer that asks for size - 1 bytes
 * waits for an empty ring and must be reachable.
 */
bool vmbus_ring_release_signal(struct vmbus_ring_reader *r, uint32_t old, uint32_t pending)
{
	uint32_t before, after;

	if (r->corrupt || !vmbus_ring_refill(r))
		return false;
	before = r->size - 1 - vmbus_ring_used(r->in, old, r->size);
	after = r->size - 1 - vmbus_ring_used(r->in, r->released, r->size);
	return before < pending && after >= pending;
}
