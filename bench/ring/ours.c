/* SPDX-License-Identifier: MIT */
/* Our ring, as the library's dispatchers drive it. */
#include <stdlib.h>
#include <string.h>

#include "ring/ring.h"
#include "vmbus/ring.h"

enum {
	PAGE = 4096
};

struct ring {
	struct ring_memory memory;
	uint8_t **pages;
	_Alignas(64) struct vmbus_ring_writer writer;
	uint64_t signals; /* the writer's */
	_Alignas(64) struct vmbus_ring_reader reader;
	uint64_t signals_room; /* the reader's */
	struct vmbus_packet_in packet;
};

static RING_INLINE bool ring_write(struct ring *r, const void *payload, uint32_t size)
{
	return vmbus_ring_write_inband(&r->writer, VMBUS_PKT_INBAND, 0, 0, payload, size) ==
	       VMBUS_RING_OK;
}

static RING_INLINE bool ring_publish(struct ring *r)
{
	return vmbus_ring_publish(&r->writer);
}

static RING_INLINE const void *ring_read(struct ring *r, uint8_t *sink, uint32_t *size)
{
	if (vmbus_ring_read(&r->reader, sink, *size + 64, &r->packet) != VMBUS_RING_OK)
		return NULL;
	*size = r->packet.payload_size;
	return r->packet.payload;
}

static RING_INLINE bool ring_release(struct ring *r)
{
	return vmbus_ring_release(&r->reader);
}

#define RING_CAN_BLOCK
static inline void ring_mask(struct ring *r)
{
	vmbus_ring_mask(&r->reader);
}

static RING_INLINE bool ring_unmask(struct ring *r)
{
	return vmbus_ring_unmask(&r->reader);
}

static void ring_destroy(struct ring *r)
{
	ring_memory_destroy(&r->memory);
	free(r->pages);
	free(r);
}

static bool ring_attach(struct ring *r, enum ring_view view)
{
	struct vmbus_ring_view v = {
		.control = r->memory.control,
		.data = view == RING_PAGES ? NULL : r->memory.data,
		.pages = view == RING_PAGES ? r->pages : NULL,
		.size = r->memory.size,
		.mirrored = view == RING_MIRRORED,
	};

	vmbus_ring_init_control(r->memory.control);
	return vmbus_ring_writer_attach(&r->writer, &v) == VMBUS_RING_OK &&
	       vmbus_ring_reader_attach(&r->reader, &v) == VMBUS_RING_OK;
}

static struct ring *ring_create(uint32_t size, enum ring_view view)
{
	struct ring *r = aligned_alloc(64, sizeof(*r));

	if (!r)
		return NULL;
	memset(r, 0, sizeof(*r));
	r->pages = calloc(size / PAGE, sizeof(*r->pages));
	if (!r->pages || !ring_memory_create(&r->memory, size))
		goto fail;
	for (uint32_t i = 0; i < size / PAGE; i++)
		r->pages[i] = r->memory.data + (size_t)i * PAGE;
	if (!ring_attach(r, view))
		goto fail;
	ring_mask(r);
	return r;
fail:
	ring_destroy(r);
	return NULL;
}

#include "ring/loops.h"

const struct ring_candidate ring_ours = RING_CANDIDATE("ours");
