/* SPDX-License-Identifier: MIT */
/*
 * Memory of a session, from a channel's open to its close: transaction slots of what is sent, and
 * objects that packets are read into. It is address space until it is used, so that an idle channel
 * costs little.
 */
#include <sys/mman.h>

#include "kmcl/channel.h"

/* 16 slots; a multiple of the objects' alignment */
#define SHARED_SLOT_BYTES (16 * sizeof(struct vmbus_txn_slot))

static uint32_t header_room(const struct kmcl_channel *ch)
{
	if (!ch->server)
		return 0;
	return 8 + 8 * ch->config.max_chain + 8 * kmcl_max_external_pages(ch);
}

static uint32_t read_room(const struct kmcl_channel *ch)
{
	return 16 + header_room(ch) + kmcl_pipe_header(ch) + ((kmcl_max_payload(ch) + 7u) & ~7u);
}

static size_t round16(size_t size)
{
	return (size + 15) & ~(size_t)15;
}

static size_t object_stride(const struct kmcl_channel *ch)
{
	size_t size = sizeof(struct kmcl_incoming) + ch->in.room + kmcl_mdl_room(ch);

	return (round16(size) + ch->config.context_size + 63) & ~(size_t)63;
}

/* Transaction slots end in the page where the objects begin. */
static size_t slots_at(size_t slot_bytes)
{
	size_t behind = slot_bytes % PAGE_SIZE;

	return (SHARED_SLOT_BYTES + PAGE_SIZE - behind) % PAGE_SIZE;
}

bool kmcl_session_map(struct kmcl_channel *ch)
{
	size_t slot_bytes = ch->out.slot_count * sizeof(*ch->out.slots);
	size_t at = slots_at(slot_bytes);
	void *p;

	ch->in.room = read_room(ch);
	ch->in.stride = object_stride(ch);
	ch->in.session_size = at + slot_bytes + ch->in.stride * ch->in.count;
	p = mmap(NULL, ch->in.session_size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return false;
	ch->in.session = p;
	ch->out.slots = (struct vmbus_txn_slot *)(void *)(ch->in.session + at);
	ch->in.block = ch->in.session + at + slot_bytes;
	return true;
}

void kmcl_session_unmap(struct kmcl_channel *ch)
{
	if (ch->in.session)
		munmap(ch->in.session, ch->in.session_size);
	ch->in.session = ch->in.block = NULL;
}

struct kmcl_incoming *kmcl_session_object(struct kmcl_channel *ch)
{
	struct kmcl_incoming *in = kmcl_incoming_at(ch, ch->in.fresh);

	in->index = ch->in.fresh++;
	in->channel = ch;
	in->buffer = (uint8_t *)(in + 1);
	in->mdl_room = in->buffer + ch->in.room;
	in->context = (uint8_t *)in + round16(sizeof(*in) + ch->in.room + kmcl_mdl_room(ch));
	return in;
}
