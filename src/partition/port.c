/* SPDX-License-Identifier: MIT */
/* An open channel's place on a dispatcher, and its signals to the other end. */
#include "base/clock.h"
#include "partition/capture.h"
#include "partition/internal.h"
#include "vmbus/monitor.h"

static struct part_dispatcher *dispatcher_of(const struct part_port *port)
{
	/* A channel that moves takes its port to another dispatcher. */
	return &port->ep->dispatchers[__atomic_load_n(&port->dispatcher, __ATOMIC_RELAXED)];
}

static void command(struct part_dispatcher *d, struct part_port *port, bool wanted)
{
	port->dispatch.wanted = wanted;
	if (port->dispatch.queued)
		return;
	port->dispatch.queued = true;
	port->dispatch.next_command = NULL;
	*d->last_command = port;
	d->last_command = &port->dispatch.next_command;
}

void part_port_attach(struct part_port *port)
{
	struct part_dispatcher *d = dispatcher_of(port);

	pthread_mutex_lock(&d->lock);
	command(d, port, true);
	pthread_mutex_unlock(&d->lock);
	part_event_raise(&d->event);
}

void part_port_detach(struct part_port *port)
{
	struct part_dispatcher *d;

	if (!port->ep)
		return;
	d = dispatcher_of(port);
	pthread_mutex_lock(&d->lock);
	if (port->dispatch.attached || port->dispatch.queued) {
		command(d, port, false);
		part_event_raise(&d->event);
		while (port->dispatch.attached || port->dispatch.queued)
			pthread_cond_wait(&d->detached, &d->lock);
	}
	pthread_mutex_unlock(&d->lock);
}

void part_port_kick(struct part_port *port)
{
	struct part_dispatcher *d = dispatcher_of(port);

	/* The line is raised even if the flag was set: who set it may not have come so far. */
	hv_flag_set(&d->kicks, port->event_flag % PART_CHANNELS);
	part_event_raise(&d->event);
}

static void signal_guest(struct part_port *port)
{
	struct part_endpoint *ep = port->ep;
	uint32_t vp = __atomic_load_n(&port->peer.vp, __ATOMIC_SEQ_CST);
	uint8_t *page = atomic_load(&ep->interrupt_page);

	__atomic_fetch_add(&port->signals_sent, 1, __ATOMIC_RELAXED);
	if (port->peer.muted)
		return;
	part_capture_signal(port, true, page ? PART_CAPTURE_SHARED : 0);
	if (page) {
		hv_flag_set((struct hv_flags *)(void *)page, port->relid);
		ep->host->set_flag(ep->transport, 0, VMBUS_SINT, 0);
		return;
	}
	ep->host->set_flag(ep->transport, vp, port->peer.sint, port->peer.flag);
}

/* The count makes who takes the page away wait for who is writing to it. */
static bool signal_by_monitor(struct part_port *port)
{
	void *page;

	if (!atomic_load_explicit(&port->monitor.page, memory_order_relaxed) ||
	    atomic_load_explicit(&port->monitor.hurried, memory_order_relaxed))
		return false;
	atomic_fetch_add(&port->signalling, 1);
	page = atomic_load(&port->monitor.page);
	if (page)
		vmbus_monitor_signal(page, port->monitor.id);
	atomic_fetch_sub(&port->signalling, 1);
	return page != NULL;
}

static void signal_host(struct part_port *port)
{
	struct part_endpoint *ep = port->ep;
	uint8_t *page = atomic_load(&ep->interrupt_page);

	__atomic_fetch_add(&port->signals_sent, 1, __ATOMIC_RELAXED);
	if (page && port->peer.shared)
		hv_flag_set((struct hv_flags *)(void *)(page + PART_INTERRUPT_TO_HOST),
			    port->relid);
	if (signal_by_monitor(port)) {
		part_capture_signal(port, true, PART_CAPTURE_MONITOR);
		return;
	}
	part_capture_signal(port, true, page && port->peer.shared ? PART_CAPTURE_SHARED : 0);
	if (ep->guest->signal_flag)
		ep->guest->signal_flag(ep->transport, port->dispatcher,
				       page && port->peer.shared ? 0 : (uint16_t)port->event_flag);
	else
		ep->guest->signal_event(ep->transport, port->peer.connection_id, 0);
}

/*
 * The gate and the count of threads inside are a Dekker pair: a signal counts itself and then looks
 * at the gate, who shuts the gate then waits for the count. So when port_gate_set(CLOSED) returns,
 * no flag of this channel will be set; and a retarget that waits likewise leaves no signal behind
 * for the old processor.
 */
static void server_signal(struct part_port *port)
{
	atomic_fetch_add(&port->signalling, 1);
	if (atomic_load(&port->gate) == PORT_GATE_HELD) {
		atomic_store(&port->signal_owed, true);
		/* If the gate was opened just now, its opener may have missed the note. */
		if (atomic_load(&port->gate) == PORT_GATE_OPEN &&
		    atomic_exchange(&port->signal_owed, false))
			signal_guest(port);
	} else if (atomic_load(&port->gate) == PORT_GATE_OPEN) {
		signal_guest(port);
	}
	atomic_fetch_sub(&port->signalling, 1);
}

void part_port_signal(struct part_port *port)
{
	if (port->ep->server)
		server_signal(port);
	else
		signal_host(port);
}

void port_gate_set(struct part_port *port, enum port_gate gate)
{
	atomic_store(&port->gate, gate);
	if (gate == PORT_GATE_OPEN && atomic_exchange(&port->signal_owed, false))
		part_port_signal(port);
	if (gate == PORT_GATE_CLOSED)
		while (atomic_load(&port->signalling))
			sched_yield();
}

bool part_port_on_dispatcher(const struct part_port *port)
{
	return port->ep && part_dispatcher_is_current(dispatcher_of(port));
}
