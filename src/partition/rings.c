/* SPDX-License-Identifier: MIT */
/*
 * Rings in memory. The data pages are mapped twice in a row where that is possible, so that nothing
 * wraps; else they are seen through the linear view, or page by page. The control page is always
 * the linear view's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "partition/internal.h"
#include "vmbus/barrier.h"

int ring_map(struct part_endpoint *ep, const struct ring_pages *ring, struct vmbus_ring_view *view,
	     struct part_mapping *mapping, uint8_t ***pages)
{
	struct part_memory *m = &ep->memory;
	const uint64_t *data = ring->pfns + 1;
	uint32_t count = ring->count - 1;

	*view = (struct vmbus_ring_view){.size = count * PART_PAGE_SIZE};
	*mapping = (struct part_mapping){0};
	*pages = NULL;
	if (ring->count < 2 || !memory_has_pages(m, ring->pfns, ring->count))
		return -EFAULT;
	view->control = memory_at(m, ring->pfns[0] << PART_PAGE_SHIFT, PART_PAGE_SIZE);
	if (!PART_ONE_VIEW)
		mapping->va = memory_stitch(m, data, count, 2);
	if (mapping->va) {
		mapping->bytes = 2 * (size_t)view->size;
		mapping->stitches = (uint32_t)(2 * memory_runs(m, data, count));
		mapping->stitched = true;
		view->data = mapping->va;
		view->mirrored = true;
		return 0;
	}
	if (memory_runs(m, data, count) == 1) {
		view->data = memory_at(m, data[0] << PART_PAGE_SHIFT, view->size);
		return 0;
	}
	*pages = malloc(count * sizeof(**pages));
	if (!*pages)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		(*pages)[i] = memory_at(m, data[i] << PART_PAGE_SHIFT, PART_PAGE_SIZE);
	view->pages = *pages;
	return 0;
}

static void ring_unmap(struct part_endpoint *ep, struct part_mapping *mapping, uint8_t **pages)
{
	part_pages_unmap(ep, mapping);
	free(pages);
}

static int attach(struct part_port *port, const struct port_rings *r)
{
	if (vmbus_ring_reader_attach(&port->in, &r->in) != VMBUS_RING_OK ||
	    vmbus_ring_writer_attach(&port->out, &r->out) != VMBUS_RING_OK)
		return -EINVAL;
	return 0;
}

#define NOWHERE_BYTES (4 * (size_t)PART_PAGE_SIZE)

/* Address space until it is needed. */
static void *set_aside(void)
{
	void *p = mmap(NULL, NOWHERE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	return p == MAP_FAILED ? NULL : p;
}

static void give_back(void *p)
{
	if (p)
		munmap(p, NOWHERE_BYTES);
}

int port_rings_map(struct part_endpoint *ep, struct part_port *port, const struct ring_pages *in,
		   const struct ring_pages *out, struct port_rings **rings)
{
	struct port_rings *r = calloc(1, sizeof(*r));
	int error;

	if (!r)
		return -ENOMEM;
	r->nowhere = ep->server ? set_aside() : NULL;
	if (ep->server && !r->nowhere) {
		free(r);
		return -ENOMEM;
	}
	r->map_in = &port->map_in[0];
	r->map_out = &port->map_out[0];
	error = ring_map(ep, in, &r->in, r->map_in, &r->in_pages);
	if (!error) {
		error = ring_map(ep, out, &r->out, r->map_out, &r->out_pages);
		if (!error) {
			error = attach(port, r);
			if (error)
				ring_unmap(ep, r->map_out, r->out_pages);
		}
		if (error)
			ring_unmap(ep, r->map_in, r->in_pages);
	}
	if (error) {
		give_back(r->nowhere);
		free(r);
		return error;
	}
	*rings = r;
	port->ring_private = r;
	return 0;
}

void port_rings_unmap(struct part_endpoint *ep, struct port_rings *rings)
{
	ring_unmap(ep, rings->map_in, rings->in_pages);
	ring_unmap(ep, rings->map_out, rings->out_pages);
	give_back(rings->nowhere);
	free(rings);
}

/* Nothing is allocated where it could fail: the memory was set aside with the rings. */
void port_rings_move_nowhere(struct part_endpoint *ep, struct part_port *port)
{
	struct port_rings *r = port->ring_private;
	uint8_t *in = r->nowhere;
	uint8_t *out = in + 2 * PART_PAGE_SIZE;

	ring_unmap(ep, r->map_in, r->in_pages);
	ring_unmap(ep, r->map_out, r->out_pages);
	r->in_pages = NULL;
	r->out_pages = NULL;
	r->in = (struct vmbus_ring_view){
		.control = in, .data = in + PART_PAGE_SIZE, .size = PART_PAGE_SIZE};
	r->out = (struct vmbus_ring_view){
		.control = out, .data = out + PART_PAGE_SIZE, .size = PART_PAGE_SIZE};
	attach(port, r);
}

/* Fields of a control page. */
enum {
	CONTROL_IN,
	CONTROL_OUT,
	CONTROL_MASK,
	CONTROL_PENDING
};

static uint32_t control_word(const struct vmbus_ring_view *ring, unsigned int word)
{
	return vmbus_load32_relaxed((const uint32_t *)ring->control + word);
}

bool port_rings_owe_signal(const struct port_rings *rings)
{
	const struct vmbus_ring_view *out = &rings->out;
	const struct vmbus_ring_view *in = &rings->in;
	uint32_t pending = control_word(in, CONTROL_PENDING);
	uint32_t written = control_word(in, CONTROL_IN);
	uint32_t read = control_word(in, CONTROL_OUT);

	if (!control_word(out, CONTROL_MASK) &&
	    control_word(out, CONTROL_IN) != control_word(out, CONTROL_OUT))
		return true;
	if (!pending || written >= in->size || read >= in->size)
		return false;
	return in->size - (written - read + (written < read ? in->size : 0)) > pending;
}
