/* SPDX-License-Identifier: MIT */
/*
 * Signals of the client that are bits in a monitor page. Ports take the page from here when they
 * are opened and lose it when they close; who loses it waits for those that are setting a bit, so
 * that a page that was taken back is not written.
 */
#include <errno.h>
#include <sched.h>

#include "partition/client_end.h"
#include "vmbus/monitor.h"
#include "vmbus/wire.h"

void client_monitor_use(struct part_endpoint *ep, uint64_t gpa)
{
	struct client_end *ce = ep->cli;
	void *page = gpa ? memory_at(&ep->memory, gpa, PART_PAGE_SIZE) : NULL;

	if (gpa && (!page || gpa % PART_PAGE_SIZE)) {
		KMCL_LOG_PEER(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, 0,
			      "the host's monitor page %#llx is not in guest memory: every signal "
			      "is a hypercall",
			      (unsigned long long)gpa);
		page = NULL;
	}
	ce->monitor_page = page;
}

void client_monitor_begin(struct part_client_channel *ch, struct part_port *port, uint32_t vp)
{
	ch->port = port;
	ch->interrupts = vp != VMBUS_VP_NONE;
	/* The host watches on behalf of channels that it may interrupt, and of no others. */
	ch->monitor_page = ch->offer.monitored && ch->interrupts ? ch->ep->cli->monitor_page : NULL;
	ch->latency_set = false;
	port->monitor.id = ch->offer.monitor_id;
	atomic_store(&port->monitor.hurried, false);
	atomic_store(&port->monitor.page, ch->monitor_page);
}

void client_monitor_end(struct part_client_channel *ch)
{
	struct part_port *port = ch->port;

	ch->port = NULL;
	if (!port || !atomic_load(&port->monitor.page))
		return;
	atomic_store(&port->monitor.page, NULL);
	while (atomic_load(&port->signalling))
		sched_yield();
}

/* What the driver asked for was for this open. */
void client_monitor_forget(struct part_client_channel *ch)
{
	if (ch->latency_set && ch->monitor_page)
		vmbus_monitor_set_latency(ch->monitor_page, ch->offer.monitor_id,
					  ch->latency_before);
	ch->monitor_page = NULL;
	ch->latency_set = false;
}

void client_monitor_stop(struct part_endpoint *ep)
{
	ep->cli->monitor_page = NULL;
	for (struct part_client_channel *ch = ep->cli->channels; ch; ch = ch->next) {
		client_monitor_end(ch);
		client_monitor_forget(ch);
	}
}

static int set_latency(struct part_client_channel *ch, uint16_t latency, uint16_t *before)
{
	if (!ch->monitor_page)
		return -ENOTSUP;
	*before = vmbus_monitor_set_latency(ch->monitor_page, ch->offer.monitor_id, latency);
	if (!ch->latency_set)
		ch->latency_before = *before;
	ch->latency_set = true;
	if (ch->port)
		atomic_store(&ch->port->monitor.hurried, !latency);
	return 0;
}

int part_client_set_latency(struct part_client_channel *ch, uint16_t latency, uint16_t *before)
{
	struct part_endpoint *ep = ch->ep;
	int error;

	pthread_mutex_lock(&ep->lock);
	error = set_latency(ch, latency, before);
	pthread_mutex_unlock(&ep->lock);
	return error;
}

/* ---- other pages ---- */

static int ask_for_pages(struct part_endpoint *ep, uint64_t gpa)
{
	struct client_request r = {.kind = REQUEST_MODIFY_CONNECTION};
	uint64_t to_host = gpa ? gpa + PART_PAGE_SIZE : 0;

	if (vmbus_client_modify_connection(ep->cli->c, gpa, to_host))
		return -ENOTSUP;
	client_request_begin(ep->cli, &r);
	client_carry_out_actions(ep);
	client_await(ep, &r, 0, "the host to take other monitor pages");
	if (r.status == VMBUS_STATUS_GONE)
		return -ENODEV;
	return r.status ? -ECONNREFUSED : 0;
}

static void free_pages(struct part_endpoint *ep, uint64_t gpa)
{
	if (gpa)
		part_pages_free(ep, gpa, MONITOR_PAGES);
}

int part_client_move_monitor(struct part_endpoint *ep, bool pages)
{
	struct client_end *ce = ep->cli;
	uint64_t old, fresh = 0;
	int error = pages ? part_pages_alloc(ep, MONITOR_PAGES, &fresh) : 0;

	if (error)
		return error;
	pthread_mutex_lock(&ep->lock);
	error = ask_for_pages(ep, fresh);
	old = ce->monitor_gpa;
	if (!error) {
		ce->monitor_gpa = fresh;
		client_monitor_stop(ep);
		client_monitor_use(ep, fresh ? fresh + PART_PAGE_SIZE : 0);
	}
	pthread_mutex_unlock(&ep->lock);
	free_pages(ep, error ? fresh : old);
	return error;
}
