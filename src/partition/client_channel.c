/* SPDX-License-Identifier: MIT */
/* A claimed channel at the client: its rings, its GPADLs, opening and closing. */
#include <errno.h>
#include <stdlib.h>

#include "partition/client_end.h"

#define MAX_RING_PAGES 8190u /* what one range of a GPADL can hold */

/* ---- GPADLs; called with the lock held ---- */

static int create_gpadl(struct part_client_channel *ch, const uint64_t *words, uint32_t word_count,
			uint32_t range_count, uint32_t hint, uint32_t *gpadl)
{
	struct part_endpoint *ep = ch->ep;
	struct client_end *ce = ep->cli;
	struct client_request r = {
		.owner = ch, .kind = REQUEST_GPADL_CREATE, .channel = ch->offer.channel};
	int error = endpoint_errno(vmbus_client_gpadl_create(
		ce->c, ch->offer.channel, words, word_count, range_count, hint, &r.gpadl));

	if (error)
		return error;
	client_request_begin(ce, &r);
	client_carry_out_actions(ep);
	client_await(ep, &r, ch->offer.relid, "the host to accept a GPADL");
	if (r.status == VMBUS_STATUS_GONE)
		return -ENODEV;
	*gpadl = r.gpadl;
	return r.status ? -ECONNREFUSED : 0;
}

static int delete_gpadl(struct part_client_channel *ch, uint32_t gpadl)
{
	struct part_endpoint *ep = ch->ep;
	struct client_end *ce = ep->cli;
	struct client_request r = {
		.owner = ch,
		.kind = REQUEST_GPADL_TEARDOWN,
		.channel = ch->offer.channel,
		.gpadl = gpadl,
	};
	enum vmbus_status status;

	/* A rescind gave back everything at once. */
	if (ch->rescinded)
		return 0;
	status = vmbus_client_gpadl_teardown(ce->c, ch->offer.channel, gpadl);
	if (status == VMBUS_E_GONE)
		return 0;
	if (status)
		return endpoint_errno(status);
	client_request_begin(ce, &r);
	client_carry_out_actions(ep);
	client_await(ep, &r, ch->offer.relid, "the host to let go of a GPADL");
	return 0;
}

int part_client_gpadl_create(struct part_client_channel *ch, const uint64_t *words,
			     uint32_t word_count, uint32_t range_count, bool read_only,
			     uint32_t *gpadl)
{
	struct part_endpoint *ep = ch->ep;
	int error;

	pthread_mutex_lock(&ep->lock);
	client_hold(ch);
	error = create_gpadl(ch, words, word_count, range_count,
			     read_only ? PART_GPADL_READ_ONLY : 0, gpadl);
	client_unhold(ch);
	pthread_mutex_unlock(&ep->lock);
	return error;
}

int part_client_gpadl_delete(struct part_client_channel *ch, uint32_t gpadl)
{
	struct part_endpoint *ep = ch->ep;
	int error;

	pthread_mutex_lock(&ep->lock);
	client_hold(ch);
	error = delete_gpadl(ch, gpadl);
	client_unhold(ch);
	pthread_mutex_unlock(&ep->lock);
	return error;
}

/* ---- rings ---- */

static uint64_t *ring_words(uint64_t gpa, uint32_t pages)
{
	uint64_t *words = malloc((pages + 1) * sizeof(*words));

	if (!words)
		return NULL;
	words[0] = (uint64_t)pages * PART_PAGE_SIZE;
	for (uint32_t i = 0; i < pages; i++)
		words[i + 1] = (gpa >> PART_PAGE_SHIFT) + i;
	return words;
}

/* The ring that the client writes comes first. Indices are 0 before the host can look. */
static int map_rings(struct part_endpoint *ep, struct part_port *port, const uint64_t *words,
		     uint32_t out_pages, uint32_t in_pages)
{
	struct ring_pages out = {.pfns = words + 1, .count = out_pages};
	struct ring_pages in = {.pfns = words + 1 + out_pages, .count = in_pages};
	struct port_rings *rings;
	int error;

	vmbus_ring_init_control(
		memory_at(&ep->memory, out.pfns[0] << PART_PAGE_SHIFT, PART_PAGE_SIZE));
	vmbus_ring_init_control(
		memory_at(&ep->memory, in.pfns[0] << PART_PAGE_SHIFT, PART_PAGE_SIZE));
	error = port_rings_map(ep, port, &in, &out, &rings);
	if (error)
		return error;
	rings->gpa = words[1] << PART_PAGE_SHIFT;
	rings->pages = out_pages + in_pages;
	rings->opening = true;
	return 0;
}

static int make_rings(struct part_endpoint *ep, struct part_port *port, uint32_t out_pages,
		      uint32_t in_pages, uint64_t **words)
{
	uint32_t pages = out_pages + in_pages;
	uint64_t gpa;
	int error = part_pages_alloc(ep, pages, &gpa);

	if (error)
		return error;
	*words = ring_words(gpa, pages);
	error = *words ? map_rings(ep, port, *words, out_pages, in_pages) : -ENOMEM;
	if (error) {
		free(*words);
		part_pages_free(ep, gpa, pages);
	}
	return error;
}

/* The rings are taken from the port first: it may be closed from two sides, at a rescind. */
static void free_rings_locked(struct part_client_channel *ch, struct part_port *port)
{
	struct port_rings *rings = port->ring_private;
	uint64_t gpa = rings->gpa;
	uint32_t pages = rings->pages;

	port->ring_private = NULL;
	client_monitor_forget(ch);
	if (rings->announced)
		delete_gpadl(ch, rings->gpadl);
	port_rings_unmap(ch->ep, rings);
	part_pages_free(ch->ep, gpa, pages);
}

static void set_port(struct part_client_channel *ch, struct part_port *port, uint32_t vp)
{
	struct part_endpoint *ep = ch->ep;

	port->ep = ep;
	port->relid = ch->offer.relid;
	port->event_flag = ch->signal.event_flag ? ch->signal.event_flag : ch->offer.relid;
	port->dispatcher = (vp == VMBUS_VP_NONE ? port->relid : vp) % ep->dispatcher_count;
	port->peer.connection_id =
		ch->signal.connection_id ? ch->signal.connection_id : ch->offer.connection_id;
	port->peer.muted = false;
	port->peer.shared = !ch->offer.dedicated_interrupt;
	__atomic_store_n(&port->signals_sent, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&port->signals_taken, 0, __ATOMIC_RELAXED);
}

/* ---- open and close ---- */

static int open_with_rings(struct part_client_channel *ch, const struct part_port *port,
			   uint32_t out_pages, uint32_t vp, uint32_t *status)
{
	const struct port_rings *rings = port->ring_private;
	struct part_endpoint *ep = ch->ep;
	struct client_request r = {.owner = ch, .kind = REQUEST_OPEN, .channel = ch->offer.channel};
	struct vmbus_client_open open = {
		.ring_gpadl = rings->gpadl,
		.downstream_page = out_pages,
		.target_vp = vp,
		.connection_id = port->peer.connection_id,
		.event_flag = (uint16_t)port->event_flag,
		.open_flags = ch->signal.redirect,
	};
	int error = endpoint_errno(vmbus_client_open(ep->cli->c, ch->offer.channel, &open));

	if (error)
		return error;
	client_request_begin(ep->cli, &r);
	client_carry_out_actions(ep);
	client_await(ep, &r, ch->offer.relid, "the host to open the channel");
	*status = r.status;
	if (r.status == VMBUS_STATUS_GONE && ch->rescinded)
		return -ENODEV;
	return r.status ? -ECONNREFUSED : 0;
}

static int announce(struct part_client_channel *ch, struct port_rings *rings, const uint64_t *words)
{
	int error = create_gpadl(ch, words, rings->pages + 1, 1, 0, &rings->gpadl);

	rings->announced = !error;
	return error;
}

static uint32_t choose_vp(const struct part_client_channel *ch, uint32_t vp)
{
	if (vp == VMBUS_VP_NONE || vp < ch->ep->cli->vps)
		return vp;
	return ch->offer.relid % ch->ep->cli->vps;
}

int part_client_open(struct part_client_channel *ch, struct part_port *port, uint32_t out_pages,
		     uint32_t in_pages, uint32_t target_vp, uint32_t *status)
{
	struct part_endpoint *ep = ch->ep;
	uint32_t vp = choose_vp(ch, target_vp);
	struct port_rings *rings;
	uint64_t *words;
	int error;

	*status = 0;
	if (out_pages < 2 || in_pages < 2 || out_pages > MAX_RING_PAGES ||
	    in_pages > MAX_RING_PAGES - out_pages || port->ring_private)
		return -EINVAL;
	error = make_rings(ep, port, out_pages, in_pages, &words);
	if (error)
		return error;
	pthread_mutex_lock(&ep->lock);
	client_hold(ch);
	rings = port->ring_private;
	set_port(ch, port, vp);
	error = client_flag_taken(ch, port->event_flag) ? -EEXIST : announce(ch, rings, words);
	if (!error) {
		client_monitor_begin(ch, port, vp);
		error = open_with_rings(ch, port, out_pages, vp, status);
	}
	ch->signal = (struct part_client_signal){0};
	rings->opening = false;
	if (error) {
		client_monitor_end(ch);
		free_rings_locked(ch, port);
	}
	client_unhold(ch);
	pthread_mutex_unlock(&ep->lock);
	free(words);
	return error;
}

void part_client_close(struct part_client_channel *ch)
{
	struct part_endpoint *ep = ch->ep;

	pthread_mutex_lock(&ep->lock);
	client_monitor_end(ch);
	if (!ch->rescinded) {
		vmbus_client_close(ep->cli->c, ch->offer.channel);
		client_carry_out_actions(ep);
	}
	pthread_mutex_unlock(&ep->lock);
}

void part_client_free_rings(struct part_client_channel *ch, struct part_port *port)
{
	struct part_endpoint *ep = ch->ep;
	struct port_rings *rings;

	pthread_mutex_lock(&ep->lock);
	client_hold(ch);
	rings = port->ring_private;
	/* An open that is under way frees its rings itself when it fails. */
	if (rings && !rings->opening)
		free_rings_locked(ch, port);
	client_unhold(ch);
	pthread_mutex_unlock(&ep->lock);
}
