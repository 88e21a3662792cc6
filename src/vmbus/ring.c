/* SPDX-License-Identifier: MIT */
/*
 * The ring's slow half: attaching, views that need more than one copy a packet, blocked writers,
 * and everything that is wrong.
 */
#include <string.h>

#include "vmbus/ring.h"

_Static_assert(offsetof(struct vmbus_ring_control, mask) == 8, "control page");
_Static_assert(offsetof(struct vmbus_ring_control, pending) == 12, "control page");
_Static_assert(offsetof(struct vmbus_ring_control, features) == 64, "control page");

#define FEATURE_PENDING 1u
#define SIZE_LIMIT      (1u << 31)

void vmbus_ring_init_control(void *control)
{
	struct vmbus_ring_control *c = control;

	vmbus_store32_relaxed(&c->in, 0);
	vmbus_store32_relaxed(&c->out, 0);
	vmbus_store32_relaxed(&c->mask, 0);
	vmbus_store32_relaxed(&c->pending, 0);
	vmbus_store32_relaxed(&c->features, 0);
}

bool vmbus_ring_geometry(uint32_t pages, uint32_t downstream, uint32_t *to_host, uint32_t *to_guest)
{
	if (downstream < 2 || downstream > pages || pages - downstream < 2 ||
	    pages >= SIZE_LIMIT / VMBUS_PAGE_SIZE)
		return false;
	*to_host = (downstream - 1) * VMBUS_PAGE_SIZE;
	*to_guest = (pages - downstream - 1) * VMBUS_PAGE_SIZE;
	return true;
}

static bool view_valid(const struct vmbus_ring_view *v)
{
	return v->control && v->size && v->size % VMBUS_PAGE_SIZE == 0 && v->size < SIZE_LIMIT &&
	       (v->data || v->pages);
}

/* How far data can be accessed without a wrap. */
static uint32_t view_linear(const struct vmbus_ring_view *v)
{
	if (!v->data)
		return 0;
	return v->mirrored ? 2 * v->size : v->size;
}

static void set_out(struct vmbus_ring_writer *w, uint32_t out)
{
	uint32_t room = w->size - 8 - vmbus_ring_used(w->in, out, w->size);
	uint32_t largest = vmbus_ring_writer_largest(w);

	w->room = room < largest ? room : largest;
}

enum vmbus_ring_result vmbus_ring_writer_attach(struct vmbus_ring_writer *w,
						const struct vmbus_ring_view *view)
{
	struct vmbus_ring_control *c = view->control;
	uint32_t in, out;

	memset(w, 0, sizeof(*w));
	if (!view_valid(view))
		return VMBUS_RING_CORRUPT;
	in = vmbus_load32_acquire(&c->in);
	out = vmbus_load32_acquire(&c->out);
	if (!vmbus_ring_index_valid(in, view->size) || !vmbus_ring_index_valid(out, view->size)) {
		w->corrupt = true;
		return VMBUS_RING_CORRUPT;
	}
	w->control = c;
	w->data = view->data;
	w->linear = view_linear(view);
	w->pages = view->pages;
	w->size = view->size;
	w->in = w->published = in;
	set_out(w, out);
	vmbus_store32_relaxed(&c->pending, 0);
	vmbus_store32_relaxed(&c->features, FEATURE_PENDING);
	return VMBUS_RING_OK;
}

enum vmbus_ring_result vmbus_ring_reader_attach(struct vmbus_ring_reader *r,
						const struct vmbus_ring_view *view)
{
	struct vmbus_ring_control *c = view->control;
	uint32_t in, out;

	memset(r, 0, sizeof(*r));
	if (!view_valid(view))
		return VMBUS_RING_CORRUPT;
	in = vmbus_load32_acquire(&c->in);
	out = vmbus_load32_acquire(&c->out);
	if (!vmbus_ring_index_valid(in, view->size) || !vmbus_ring_index_valid(out, view->size)) {
		r->corrupt = true;
		return VMBUS_RING_CORRUPT;
	}
	r->control = c;
	r->data = view->data;
	r->linear = view_linear(view);
	r->pages = view->pages;
	r->size = view->size;
	r->out = r->released = out;
	return VMBUS_RING_OK;
}

void vmbus_ring_writer_detach(struct vmbus_ring_writer *w)
{
	memset(w, 0, sizeof(*w));
}

void vmbus_ring_reader_detach(struct vmbus_ring_reader *r)
{
	memset(r, 0, sizeof(*r));
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

/* Returns the offset behind the bytes and their padding. */
static uint32_t put_split(const struct vmbus_ring_writer *w, uint32_t offset, const void *from,
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
		offset = vmbus_ring_advance(offset, vmbus_round8(reach), w->size);
	}
	return offset;
}

static void get_split(const struct vmbus_ring_reader *r, uint32_t offset, void *to, uint32_t size)
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

static uint32_t put_word(const struct vmbus_ring_writer *w, uint32_t offset, uint64_t value)
{
	uint32_t reach;

	vmbus_store64_relaxed(piece(w->data, w->pages, w->size, offset, &reach), value);
	return vmbus_ring_advance(offset, 8, w->size);
}

enum vmbus_ring_result vmbus_ring_write_split(struct vmbus_ring_writer *w,
					      const struct vmbus_packet_out *p, uint32_t total)
{
	uint32_t at = w->in;

	at = put_word(w, at, vmbus_packet_descriptor(p->type, p->header_size, total, p->flags));
	at = put_word(w, at, p->transaction_id);
	at = put_split(w, at, p->header, p->header_size);
	at = put_split(w, at, p->payload, p->payload_size);
	at = put_split(w, at, p->tail, p->tail_size);
	put_word(w, at, (uint64_t)w->in << 32);
	vmbus_ring_placed(w, total);
	return VMBUS_RING_OK;
}

/* Out of line: whatever the short form in the header does not place itself. */
enum vmbus_ring_result vmbus_ring_write_inband_slow(struct vmbus_ring_writer *w, uint16_t type,
						    uint16_t flags, uint64_t id,
						    const void *payload, uint32_t size)
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

/* ---- writer without room ---- */

/* Nothing goes out any more, what is unpublished included. */
static void writer_fail(struct vmbus_ring_writer *w)
{
	w->corrupt = true;
	w->control = NULL;
	w->room = 0;
	w->published = w->in;
	w->blocked = false;
}

/* Reloads the reader's index. False: the ring is corrupt. */
static bool reload_out(struct vmbus_ring_writer *w)
{
	uint32_t out = vmbus_load32_acquire(&w->control->out); /* pairs with the reader's release */

	if (!vmbus_ring_index_valid(out, w->size)) {
		writer_fail(w);
		return false;
	}
	set_out(w, out);
	return true;
}

enum vmbus_ring_result vmbus_ring_reserve_slow(struct vmbus_ring_writer *w, uint32_t total)
{
	if (!w->control)
		return w->corrupt ? VMBUS_RING_CORRUPT : VMBUS_RING_CLOSED;
	if (!total || total > vmbus_ring_writer_largest(w))
		return VMBUS_RING_TOO_LARGE;
	if (!reload_out(w))
		return VMBUS_RING_CORRUPT;
	return total <= w->room ? VMBUS_RING_OK : VMBUS_RING_FULL;
}

uint32_t vmbus_ring_writer_room(struct vmbus_ring_writer *w, uint32_t want)
{
	if (w->room < want && w->control)
		reload_out(w);
	return w->room;
}

bool vmbus_ring_writer_block(struct vmbus_ring_writer *w, uint32_t need)
{
	uint32_t ask = vmbus_round8(need + vmbus_ring_writer_unpublished(w));

	if (!w->control)
		return true;
	/* a quarter of the ring at once spares a round trip for each packet */
	if (ask < w->size / 4)
		ask = w->size / 4;
	if (ask > w->size - 1)
		ask = w->size - 1;
	vmbus_store32_relaxed(&w->control->pending, ask);
	w->blocked = true;
	vmbus_fence_full(); /* pairs with the fence in vmbus_ring_release() */
	if (!reload_out(w) || need > w->room)
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

/* Latches the error; `out` stays where it is, in memory and here. */
enum vmbus_ring_result vmbus_ring_fail(struct vmbus_ring_reader *r)
{
	if (!r->control && !r->corrupt)
		return VMBUS_RING_CLOSED;
	r->corrupt = true;
	r->control = NULL;
	r->available = 0;
	r->released = r->out;
	return VMBUS_RING_CORRUPT;
}

/* One word of the ring, whatever the view. */
uint64_t vmbus_ring_word(const struct vmbus_ring_reader *r, uint32_t offset)
{
	uint32_t reach;

	return vmbus_load64_relaxed(piece(r->data, r->pages, r->size, offset, &reach));
}

static uint32_t least_offset8(uint64_t type)
{
	return type == VMBUS_PKT_TRANSFER_PAGES || type == VMBUS_PKT_GPA_DIRECT ? 3 : 2;
}

/* What is sound also shows that a whole packet, 24 bytes at least, is available. */
static bool descriptor_sound(uint64_t descriptor, uint32_t available)
{
	uint32_t offset8 = (uint32_t)(descriptor >> 16 & 0xffff);
	uint32_t length8 = (uint32_t)(descriptor >> 32 & 0xffff);

	return offset8 >= least_offset8(descriptor & 0xffff) && offset8 <= length8 &&
	       length8 * 8 + VMBUS_PKT_TRAILER <= available;
}

static bool type_known(uint16_t type)
{
	switch (type) {
	case VMBUS_PKT_INBAND:
	case VMBUS_PKT_TRANSFER_PAGES:
	case VMBUS_PKT_GPA_DIRECT:
	case VMBUS_PKT_COMPLETION:
		return true;
	default:
		return false;
	}
}

static enum vmbus_ring_result consume(struct vmbus_ring_reader *r, uint32_t total,
				      enum vmbus_ring_result result)
{
	r->out = vmbus_ring_advance(r->out, total + VMBUS_PKT_TRAILER, r->size);
	r->available -= total + VMBUS_PKT_TRAILER;
	return result;
}

/* A descriptor that the fast path does not take, already fetched: its word must not be read again.
 */
enum vmbus_ring_result vmbus_ring_read_other(struct vmbus_ring_reader *r, uint64_t descriptor,
					     void *buf, uint32_t cap, struct vmbus_packet_in *p)
{
	uint32_t total = (uint32_t)(descriptor >> 32 & 0xffff) * 8;
	uint64_t id, *copy = buf;

	if (!descriptor_sound(descriptor, r->available))
		return vmbus_ring_fail(r);
	id = vmbus_ring_word(r, vmbus_ring_advance(r->out, 8, r->size));
	vmbus_packet_describe(p, descriptor, id, buf);
	if (total > cap || !type_known(p->type)) {
		p->header = p->payload = NULL;
		p->payload_size = 0;
		return consume(r, total,
			       total > cap ? VMBUS_RING_TOO_LARGE : VMBUS_RING_BAD_PACKET);
	}
	copy[0] = VMBUS_LE64(descriptor);
	copy[1] = VMBUS_LE64(id);
	get_split(r, vmbus_ring_advance(r->out, VMBUS_PKT_DESCRIPTOR, r->size), copy + 2,
		  total - VMBUS_PKT_DESCRIPTOR);
	/* the range count is the upper half of the first word behind the descriptor */
	if (p->type == VMBUS_PKT_GPA_DIRECT && !(VMBUS_LE64(copy[2]) >> 32))
		return vmbus_ring_fail(r);
	return consume(r, total, VMBUS_RING_OK);
}

/*
 * Free space is size - 1 - used, as Microsoft counts it: a writer that asks for size - 1 bytes
 * waits for an empty ring and must be reachable.
 */
bool vmbus_ring_release_signal(struct vmbus_ring_reader *r, uint32_t old, uint32_t pending)
{
	uint32_t in = vmbus_load32_acquire(&r->control->in);
	uint32_t before, after;

	if (!vmbus_ring_index_valid(in, r->size)) {
		vmbus_ring_fail(r);
		return false;
	}
	before = r->size - 1 - vmbus_ring_used(in, old, r->size);
	after = r->size - 1 - vmbus_ring_used(in, r->released, r->size);
	return before < pending && after >= pending;
}
