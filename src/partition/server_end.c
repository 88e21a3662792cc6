/* SPDX-License-Identifier: MIT */
/*
 * The server's end: the state machine's actions carried out. Whoever calls the state machine holds
 * the lock and carries out what comes of it, in order; only calls to an owner wait for the message
 * thread, one at a time a channel. Client messages are taken by the message thread alone, and only
 * while nothing waits to be posted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "partition/capture.h"
#include "partition/internal.h"
#include "partition/server_end.h"
#include "partition/sweep.h"
#include "vmbus/server_save.h"
#include "vmbus/wire.h"

/* A guest may have thrown away what came before it was ready for its open's result. */
#define RECHECK_NS    100000000u
#define TURNS_AT_ONCE 64u

/* ---- looking again ---- */

static void recheck_not(struct part_server_channel *ch)
{
	struct server_end *se = ch->ep->srv;

	if (!ch->recheck_at)
		return;
	ch->recheck_at = 0;
	if (ch->prev_recheck)
		ch->prev_recheck->next_recheck = ch->next_recheck;
	else
		se->rechecks = ch->next_recheck;
	if (ch->next_recheck)
		ch->next_recheck->prev_recheck = ch->prev_recheck;
	else
		se->last_recheck = ch->prev_recheck;
}

static void recheck_later(struct part_server_channel *ch)
{
	struct server_end *se = ch->ep->srv;

	recheck_not(ch);
	ch->recheck_at = clock_now_ns() + RECHECK_NS;
	ch->next_recheck = NULL;
	ch->prev_recheck = se->last_recheck;
	if (ch->prev_recheck)
		ch->prev_recheck->next_recheck = ch;
	else
		se->rechecks = ch;
	se->last_recheck = ch;
}

/* ---- posting ---- */

enum {
	OPEN_RESULT = 6,
	OPEN_RESULT_SIZE = 20
};

/* From OPEN_RESULT on the guest may be signalled. */
static void note_posted(struct part_endpoint *ep, const uint8_t *data, size_t size)
{
	struct part_server_channel *ch;

	if (size < OPEN_RESULT_SIZE || vmbus_get32(data) != OPEN_RESULT || vmbus_get32(data + 16))
		return;
	ch = ep->srv->opened[vmbus_get32(data + 8) % PART_CHANNELS];
	if (!ch || ch->state != CHANNEL_IS_OPEN || atomic_load(&ch->port->gate) != PORT_GATE_HELD)
		return;
	port_gate_set(ch->port, PORT_GATE_OPEN);
	recheck_later(ch);
	part_event_raise(&ep->messages);
}

static int post_now(struct part_endpoint *ep, uint32_t vp, uint8_t sint, const uint8_t *data,
		    size_t size)
{
	const struct part_capture_message m = {
		.direction = PART_CAPTURE_TO_CLIENT,
		.vp = vp,
		.sint = sint,
		.time = part_capture_clock(),
		.data = data,
		.size = (uint32_t)size,
	};
	int error = ep->host->deliver(ep->transport, vp, sint, data, size);

	if (!error) {
		part_capture_message(ep, &m);
		note_posted(ep, data, size);
	} else if (error != -EAGAIN)
		KMCL_LOG_PEER(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, 0,
			      "a message for VP %u is lost: the VP has no message page", vp);
	return error;
}

static void post_waiting(struct part_endpoint *ep)
{
	struct outgoing_queue *q = &ep->srv->outgoing;

	while (q->head) {
		struct outgoing *m = q->head;

		if (post_now(ep, m->vp, m->sint, m->data, m->size) == -EAGAIN)
			return;
		outgoing_pop(q);
	}
}

/* False: it can be neither posted nor queued now. */
static bool post(struct part_endpoint *ep, const struct vmbus_server_action *a)
{
	struct outgoing m = {.vp = a->message.vp, .sint = a->message.sint, .size = a->message.size};

	if (a->message.unqueued || !ep->srv->outgoing.head) {
		if (post_now(ep, m.vp, m.sint, a->message.data, m.size) != -EAGAIN ||
		    a->message.unqueued)
			return true;
	}
	if (ep->srv->outgoing.count >= ep->part->options.queued_messages) {
		if (ep->host->flooded)
			ep->host->flooded(ep->transport);
		return false;
	}
	memcpy(m.data, a->message.data, m.size);
	return outgoing_push(&ep->srv->outgoing, &m);
}

/* ---- opening and closing ---- */

static void queue_upcall(struct part_server_channel *ch, enum server_upcall upcall)
{
	struct server_end *se = ch->ep->srv;

	ch->upcall = upcall;
	ch->next_upcall = NULL;
	*se->upcalls_tail = ch;
	se->upcalls_tail = &ch->next_upcall;
	part_event_raise(&ch->ep->messages);
}

static void unqueue_upcall(struct part_server_channel *ch)
{
	struct server_end *se = ch->ep->srv;
	struct part_server_channel **link = &se->upcalls;

	while (*link && *link != ch)
		link = &(*link)->next_upcall;
	if (!*link)
		return;
	*link = ch->next_upcall;
	if (!*link)
		se->upcalls_tail = link;
	ch->upcall = UPCALL_NONE;
}

static int map_rings(struct part_server_channel *ch, const struct vmbus_server_action *a)
{
	struct vmbus_gpadl_view g;
	struct ring_pages in, out;
	struct port_rings *rings;
	uint32_t d = a->open.downstream_page;

	if (vmbus_server_gpadl(ch->ep->srv->s, ch->id, a->open.ring_gpadl, &g))
		return -ENOENT;
	/* One range, from a page's start, of whole pages; each ring has a control page and data. */
	if (g.range_count != 1 || g.words[0] >> 32 || (uint32_t)g.words[0] % PART_PAGE_SIZE ||
	    (uint32_t)g.words[0] / PART_PAGE_SIZE != g.page_count || d < 2 || d >= g.page_count ||
	    g.page_count - d < 2)
		return -EINVAL;
	in = (struct ring_pages){.pfns = g.words + 1, .count = d};
	out = (struct ring_pages){.pfns = g.words + 1 + d, .count = g.page_count - d};
	return port_rings_map(ch->ep, ch->port, &in, &out, &rings);
}

static void unmap_rings(struct part_server_channel *ch)
{
	struct port_rings *rings = ch->port->ring_private;

	ch->port->ring_private = NULL;
	port_rings_unmap(ch->ep, rings);
}

static void set_port(struct part_server_channel *ch, const struct vmbus_server_action *a)
{
	struct part_port *port = ch->port;

	port->relid = a->open.channel_id;
	port->event_flag = a->open.channel_id;
	port->dispatcher = port->relid % ch->ep->dispatcher_count;
	port->peer.connection_id = 0;
	port->peer.vp = a->open.target_vp;
	port->peer.flag = a->open.event_flag;
	port->peer.sint = a->open.sint;
	port->peer.muted = a->open.target_vp == VMBUS_VP_NONE;
	__atomic_store_n(&port->signals_sent, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&port->signals_taken, 0, __ATOMIC_RELAXED);
	atomic_store(&port->signal_owed, false);
	port_gate_set(port, PORT_GATE_HELD);
}

static int watch_monitor(struct part_server_channel *ch, const struct vmbus_server_action *a)
{
	struct server_end *se = ch->ep->srv;
	const struct vmbus_monitor_entry entry = {.connection_id = a->open.connection_id,
						  .latency = a->open.monitor_latency,
						  .resumed = a->open.restored};
	const struct part_monitor_target target = {.doorbell = se->doorbells[ch->port->dispatcher],
						   .event = se->events[ch->port->dispatcher],
						   .channel = ch->port->relid};
	int error;

	if (!a->open.monitored)
		return 0;
	error = monitor_watch(&se->monitor, a->open.monitor_id, &entry, &target);
	if (!error)
		ch->monitor_id = a->open.monitor_id;
	return error;
}

static void unwatch_monitor(struct part_server_channel *ch)
{
	if (ch->monitor_id != VMBUS_MONITOR_NONE)
		monitor_unwatch(&ch->ep->srv->monitor, ch->monitor_id);
	ch->monitor_id = VMBUS_MONITOR_NONE;
}

static int bind_signals(struct part_server_channel *ch, const struct vmbus_server_action *a)
{
	struct part_endpoint *ep = ch->ep;
	int error = watch_monitor(ch, a);

	if (error)
		return error;
	error = ep->host->bind_port(ep->transport, a->open.connection_id, ch->port->dispatcher,
				    ch->port->relid);
	if (error)
		unwatch_monitor(ch);
	else if (ep->host->bind_flag && a->open.event_flag != ch->port->relid)
		ep->host->bind_flag(ep->transport, ch->port->relid, a->open.event_flag);
	return error;
}

/* The guest's doorbell is bound before the device hears of the open, and rings nothing after. */
static int prepare_open(struct part_server_channel *ch, const struct vmbus_server_action *a)
{
	int error = server_use_gpadl(ch, a->open.ring_gpadl, true);

	if (error)
		return error;
	error = map_rings(ch, a);
	if (!error) {
		set_port(ch, a);
		error = bind_signals(ch, a);
		if (error)
			unmap_rings(ch);
	}
	if (error)
		server_end_use(ch, a->open.ring_gpadl);
	return error;
}

static void start_open(struct part_server_channel *ch, const struct vmbus_server_action *a)
{
	int error = prepare_open(ch, a);

	if (error) {
		KMCL_LOG_PEER(KMCL_LOG_WARNING, PART_SUBSYSTEM, ch->ep->id, a->open.channel_id,
			      "open refused: rings cannot be used (%s)", strerror(-error));
		vmbus_server_open_done(ch->ep->srv->s, ch->id, VMBUS_STATUS_FAILURE);
		return;
	}
	ch->state = CHANNEL_IS_OPENING;
	ch->ring_gpadl = a->open.ring_gpadl;
	ch->connection_id = a->open.connection_id;
	ch->open.relid = a->open.channel_id;
	ch->open.restored = a->open.restored;
	ch->ep->srv->opened[ch->open.relid % PART_CHANNELS] = ch;
	memcpy(ch->open.user_data, a->open.user_data, sizeof(ch->open.user_data));
	queue_upcall(ch, UPCALL_OPEN);
}

/* From here on the guest's doorbell fails, and it hears no more of the channel. */
static void hush(struct part_server_channel *ch)
{
	struct part_server_channel **opened = &ch->ep->srv->opened[ch->open.relid % PART_CHANNELS];

	ch->ep->host->unbind_port(ch->ep->transport, ch->connection_id);
	unwatch_monitor(ch);
	port_gate_set(ch->port, PORT_GATE_CLOSED);
	recheck_not(ch);
	if (*opened == ch)
		*opened = NULL;
}

static void let_go_of_rings(struct part_server_channel *ch)
{
	ch->state = CHANNEL_IS_CLOSED;
	unmap_rings(ch);
	server_end_use(ch, ch->ring_gpadl);
}

static void start_close(struct part_server_channel *ch)
{
	hush(ch);
	ch->state = CHANNEL_IS_CLOSING;
	queue_upcall(ch, UPCALL_CLOSE);
}

/* ---- actions ---- */

static bool page_usable(struct part_endpoint *ep, uint64_t gpa)
{
	return !gpa || (!(gpa % PART_PAGE_SIZE) && part_memory_at(ep, gpa, PART_PAGE_SIZE));
}

bool server_pages_usable(struct part_endpoint *ep, const struct vmbus_server_action *a)
{
	return page_usable(ep, a->connect.interrupt_page) &&
	       page_usable(ep, a->connect.monitor_parent_to_child) &&
	       page_usable(ep, a->connect.monitor_child_to_parent);
}

/* Signals are watched for in the page toward the host; the other one is never written. */
static void use_monitor_page(struct part_endpoint *ep, uint64_t gpa)
{
	monitor_set_page(&ep->srv->monitor, gpa ? part_memory_at(ep, gpa, PART_PAGE_SIZE) : NULL);
}

static bool connect(struct part_endpoint *ep, const struct vmbus_server_action *a)
{
	if (!server_pages_usable(ep, a))
		return false;
	use_monitor_page(ep, a->connect.monitor_child_to_parent);
	if (a->connect.version < VMBUS_V2_4 && a->connect.interrupt_page) {
		endpoint_share_interrupts(
			ep, part_memory_at(ep, a->connect.interrupt_page, PART_PAGE_SIZE));
		ep->host->bind_port(ep->transport, VMBUS_PORT_EVENT, 0, 0);
	}
	return true;
}

static void disconnect(struct part_endpoint *ep)
{
	ep->host->unbind_port(ep->transport, VMBUS_PORT_EVENT);
	endpoint_share_interrupts(ep, NULL);
	use_monitor_page(ep, 0);
}

static bool replace_monitor(struct part_endpoint *ep, const struct vmbus_server_action *a)
{
	if (!server_pages_usable(ep, a))
		return false;
	use_monitor_page(ep, a->connect.monitor_child_to_parent);
	return true;
}

/* A signal that is on its way to the old processor arrives before the answer leaves. */
static void retarget(struct part_server_channel *ch, uint32_t vp)
{
	__atomic_store_n(&ch->port->peer.vp, vp, __ATOMIC_SEQ_CST);
	while (atomic_load(&ch->port->signalling))
		sched_yield();
	vmbus_server_modify_done(ch->ep->srv->s, ch->id, 0);
}

/* False: not now, try this action again. */
static bool carry_out(struct part_endpoint *ep, const struct vmbus_server_action *a)
{
	struct vmbus_server *s = ep->srv->s;
	struct part_server_channel *ch = a->device;

	if (ep->relay && a->type != VMBUS_SERVER_POST && a->type != VMBUS_SERVER_HVSOCK)
		return ep->relay_ops->action(ep->relay, a);
	switch (a->type) {
	case VMBUS_SERVER_POST:
		return post(ep, a);
	case VMBUS_SERVER_CONNECT:
		vmbus_server_connect_done(s, connect(ep, a));
		break;
	case VMBUS_SERVER_DISCONNECTED:
		disconnect(ep);
		break;
	case VMBUS_SERVER_RESTORED:
		connect(ep, a);
		break;
	case VMBUS_SERVER_OPEN:
		start_open(ch, a);
		break;
	case VMBUS_SERVER_CLOSE:
		start_close(ch);
		break;
	case VMBUS_SERVER_GPADL:
		vmbus_server_gpadl_done(s, a->offer, a->gpadl.id, true);
		break;
	case VMBUS_SERVER_GPADL_TEARDOWN:
		server_gpadl_teardown(ch, a->gpadl.id);
		break;
	case VMBUS_SERVER_MODIFY:
		retarget(ch, a->modify.vp);
		break;
	case VMBUS_SERVER_MONITOR:
		vmbus_server_monitor_done(s, replace_monitor(ep, a));
		break;
	case VMBUS_SERVER_HVSOCK:
		vmbus_server_hvsock_done(s, &a->hvsock.endpoint, &a->hvsock.service, false);
		break;
	}
	return true;
}

static void carry_out_all(struct part_endpoint *ep)
{
	struct server_end *se = ep->srv;

	while (!se->frozen) {
		PART_SWEEP_SERVER(ep, se->s);
		if (!se->action_held && !vmbus_server_next_action(se->s, &se->action))
			return;
		se->action_held = !carry_out(ep, &se->action);
		if (se->action_held)
			return;
	}
}

void server_carry_out_actions(struct part_endpoint *ep)
{
	do
		carry_out_all(ep);
	while (ep->relay && ep->relay_ops->turn(ep->relay));
}

/* ---- the message thread ---- */

static bool run_upcall(struct part_endpoint *ep)
{
	struct server_end *se = ep->srv;
	struct part_server_channel *ch = se->upcalls;
	enum server_upcall upcall;

	if (!ch)
		return false;
	upcall = ch->upcall;
	unqueue_upcall(ch);
	ch->in_upcall = true;
	pthread_mutex_unlock(&ep->lock);
	if (upcall == UPCALL_OPEN)
		ch->ops->open(ch->device, &ch->open);
	else
		ch->ops->close(ch->device);
	pthread_mutex_lock(&ep->lock);
	ch->in_upcall = false;
	pthread_cond_broadcast(&ep->changed);
	return true;
}

static void capture_received(struct part_endpoint *ep, const struct hv_message *m)
{
	const struct part_capture_message c = {
		.direction = PART_CAPTURE_TO_SERVER,
		.connection_id = m->connection_id,
		.time = part_capture_clock(),
		.data = m->payload,
		.size = m->size,
	};

	part_capture_message(ep, &c);
}

bool server_end_has_to_say(struct part_endpoint *ep)
{
	bool more;

	pthread_mutex_lock(&ep->lock);
	more = ep->srv && (ep->srv->outgoing.head || ep->srv->action_held);
	pthread_mutex_unlock(&ep->lock);
	return more;
}

static bool receive(struct part_endpoint *ep)
{
	struct server_end *se = ep->srv;
	struct hv_message m;

	/* What a guest can make us hold is bounded by its having to take what it caused. */
	if (se->outgoing.head || se->action_held ||
	    (ep->relay && ep->relay_ops->congested(ep->relay)))
		return false;
	if (vmbus_server_receive_deferred(se->s)) {
		server_carry_out_actions(ep);
		return true;
	}
	if (!ep->host->take_message(ep->transport, &m))
		return false;
	capture_received(ep, &m);
	vmbus_server_receive(se->s, m.connection_id, m.payload, m.size);
	server_carry_out_actions(ep);
	return true;
}

static void recheck(struct part_endpoint *ep)
{
	struct server_end *se = ep->srv;
	uint64_t now = se->rechecks ? clock_now_ns() : 0;

	while (se->rechecks && se->rechecks->recheck_at <= now) {
		struct part_server_channel *ch = se->rechecks;

		recheck_not(ch);
		if (port_rings_owe_signal(ch->port->ring_private))
			part_port_signal(ch->port);
	}
}

/* A device that was asked to open need not answer for a reset to end. When it does, and goes on to
 * use its port, it is to find rings there, but none of the guest's. */
static void abandon_opens(struct server_end *se)
{
	for (struct part_server_channel *ch = se->channels; ch; ch = ch->next) {
		if (ch->state != CHANNEL_IS_OPENING || !ch->ring_gpadl)
			continue;
		hush(ch);
		port_rings_move_nowhere(ch->ep, ch->port);
		server_end_use(ch, ch->ring_gpadl);
		ch->ring_gpadl = 0;
		ch->connection_id = 0;
	}
}

static bool all_let_go(const struct server_end *se)
{
	for (const struct part_server_channel *ch = se->channels; ch; ch = ch->next)
		if (ch->state == CHANNEL_IS_OPEN || ch->state == CHANNEL_IS_CLOSING || ch->uses)
			return false;
	return vmbus_server_state(se->s) == VMBUS_SERVER_STATE_DISCONNECTED;
}

static void reset(struct part_endpoint *ep)
{
	struct server_end *se = ep->srv;

	if (ep->host->take_reset(ep->transport)) {
		vmbus_server_reset(se->s);
		outgoing_clear(&se->outgoing);
		/* a message, or the end of a connection that this one does away with */
		se->action_held = false;
		if (ep->relay)
			ep->relay_ops->reset(ep->relay);
		abandon_opens(se);
		se->resetting = true;
		server_carry_out_actions(ep);
	}
	if (se->resetting && all_let_go(se) && (!ep->relay || ep->relay_ops->at_rest(ep->relay))) {
		se->resetting = false;
		ep->host->reset_done(ep->transport);
	}
}

static uint64_t time_to_sleep(const struct server_end *se)
{
	uint64_t now;

	if (!se->rechecks || se->frozen)
		return PART_EVENT_FOREVER;
	now = clock_now_ns();
	return se->rechecks->recheck_at > now ? se->rechecks->recheck_at - now : 0;
}

/* True: there may be more. */
static bool work(struct part_endpoint *ep)
{
	if (ep->srv->frozen)
		return false;
	reset(ep);
	post_waiting(ep);
	server_carry_out_actions(ep);
	recheck(ep);
	return run_upcall(ep) || receive(ep);
}

static void *server_messages(void *arg)
{
	struct part_endpoint *ep = arg;
	struct server_end *se = ep->srv;
	uint32_t turns = 0;

	pthread_mutex_lock(&ep->lock);
	while (!atomic_load(&ep->stop)) {
		uint64_t timeout;

		if (work(ep)) {
			/* a guest that never stops talking keeps no device from its calls */
			if (++turns % TURNS_AT_ONCE == 0)
				endpoint_give_way(ep);
			continue;
		}
		timeout = time_to_sleep(se);
		pthread_mutex_unlock(&ep->lock);
		part_event_wait(&ep->messages, timeout);
		pthread_mutex_lock(&ep->lock);
	}
	pthread_mutex_unlock(&ep->lock);
	return NULL;
}

/* ---- what devices call ---- */

int part_server_offer(struct part_endpoint *ep, const struct vmbus_offer *offer,
		      const struct part_server_channel_ops *ops, void *device,
		      struct part_port *port, struct part_server_channel **ch)
{
	struct part_server_channel *c;
	int error;

	if (!ep->server)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->ep = ep;
	c->ops = ops;
	c->device = device;
	c->port = port;
	c->monitor_id = VMBUS_MONITOR_NONE;
	port->ep = ep;
	pthread_mutex_lock(&ep->lock);
	error = endpoint_errno(vmbus_server_offer(ep->srv->s, offer, c, &c->id));
	if (!error) {
		c->next = ep->srv->channels;
		if (c->next)
			c->next->prev = c;
		ep->srv->channels = c;
		*ch = c;
		server_carry_out_actions(ep);
	}
	pthread_mutex_unlock(&ep->lock);
	if (error)
		free(c);
	return error;
}

/* Whether the guest has yet to get the result of this channel's open. */
static bool result_waits(const struct server_end *se, uint32_t relid)
{
	for (const struct outgoing *m = se->outgoing.head; m; m = m->next)
		if (m->size >= OPEN_RESULT_SIZE && vmbus_get32(m->data) == OPEN_RESULT &&
		    vmbus_get32(m->data + 8) == relid)
			return true;
	return false;
}

/* Whatever was signalled while nobody listened, in either direction, is made up for: who attaches
 * the port looks at the ring toward us, the guest is told here if the rules would have it. */
static void resume_signals(struct part_server_channel *ch)
{
	if (ch->state != CHANNEL_IS_OPEN || result_waits(ch->ep->srv, ch->port->relid))
		return;
	port_gate_set(ch->port, PORT_GATE_OPEN);
	if (port_rings_owe_signal(ch->port->ring_private))
		part_port_signal(ch->port);
}

void part_server_open_done(struct part_server_channel *ch, uint32_t status)
{
	struct part_endpoint *ep = ch->ep;

	pthread_mutex_lock(&ep->lock);
	if (ch->state == CHANNEL_IS_OPENING && ch->upcall == UPCALL_NONE) {
		if (status) {
			hush(ch);
			let_go_of_rings(ch);
		} else {
			ch->state = CHANNEL_IS_OPEN;
		}
		vmbus_server_open_done(ep->srv->s, ch->id, status);
		server_carry_out_actions(ep);
		if (!status && ch->open.restored)
			resume_signals(ch);
		part_event_raise(&ep->messages);
	}
	pthread_mutex_unlock(&ep->lock);
}

void part_server_close_done(struct part_server_channel *ch)
{
	struct part_endpoint *ep = ch->ep;

	pthread_mutex_lock(&ep->lock);
	if (ch->state == CHANNEL_IS_CLOSING && ch->upcall == UPCALL_NONE) {
		let_go_of_rings(ch);
		vmbus_server_close_done(ep->srv->s, ch->id);
		server_carry_out_actions(ep);
		part_event_raise(&ep->messages);
	}
	pthread_mutex_unlock(&ep->lock);
}

static void unlink_channel(struct server_end *se, struct part_server_channel *ch)
{
	if (ch->prev)
		ch->prev->next = ch->next;
	else
		se->channels = ch->next;
	if (ch->next)
		ch->next->prev = ch->prev;
}

void part_server_revoke(struct part_server_channel *ch)
{
	struct part_endpoint *ep = ch->ep;

	pthread_mutex_lock(&ep->lock);
	unqueue_upcall(ch);
	while (ch->in_upcall) {
		if (!endpoint_wait(ep))
			kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, ch->open.relid,
				 "a revoke waits for the device's open or close to return");
		unqueue_upcall(ch);
	}
	unlink_channel(ep->srv, ch);
	if (ch->state != CHANNEL_IS_CLOSED) {
		hush(ch);
		let_go_of_rings(ch);
	}
	while (ch->uses)
		server_end_use(ch, ch->uses->gpadl);
	vmbus_server_revoke(ep->srv->s, ch->id);
	server_carry_out_actions(ep);
	part_event_raise(&ep->messages);
	pthread_mutex_unlock(&ep->lock);
	free(ch);
}

/* ---- life ---- */

/* A server of another VTL has a message port of its own besides the two that everybody knows. */
static uint32_t own_message_port(const struct part_options *o)
{
	return o->vtl ? VMBUS_PORT_MULTI_CLIENT | VMBUS_SINT << 4 | (uint32_t)o->vtl << 22
		      : VMBUS_PORT_MESSAGE;
}

void server_end_config(const struct part *part, struct vmbus_server_config *config)
{
	const struct part_options *o = &part->options;

	*config = (struct vmbus_server_config){
		.max_version = o->max_version,
		.features = o->features,
		.message_connection_id = own_message_port(o),
		.vp_count = o->vps,
		.vtl = o->vtl,
		.redirect_sint = o->redirect_sint,
		.first_channel_id = o->first_channel,
		.monitor_parent_to_child = part->monitor_gpa,
		.monitor_child_to_parent =
			part->monitor_gpa ? part->monitor_gpa + PART_PAGE_SIZE : 0,
		.limits = o->limits,
		.allocator = *endpoint_allocator(),
	};
}

static int start_dispatchers(struct part_endpoint *ep)
{
	struct server_end *se = ep->srv;
	uint32_t count = ep->part->options.server_dispatchers;
	struct part_host_lines lines = {.messages = &ep->messages};
	int error;

	for (uint32_t i = 0; i < count; i++)
		se->doorbells[i] = &se->doorbell_memory[i];
	error = endpoint_start_dispatchers(ep, count, se->doorbells);
	if (error)
		return error;
	for (uint32_t i = 0; i < count; i++)
		se->events[i] = &ep->dispatchers[i].event;
	lines.dispatchers = count;
	lines.doorbells = se->doorbells;
	lines.events = se->events;
	ep->host->start(ep->transport, &lines);
	return 0;
}

int server_end_start_with(struct part_endpoint *ep, struct vmbus_server *s)
{
	struct server_end *se = calloc(1, sizeof(*se));
	int error;

	if (!se) {
		vmbus_server_destroy(s);
		return -ENOMEM;
	}
	ep->srv = se;
	se->upcalls_tail = &se->upcalls;
	outgoing_init(&se->outgoing);
	monitor_init(&se->monitor);
	se->s = s;
	error = start_dispatchers(ep);
	if (!error)
		error = ep->host->bind_messages(ep->transport, VMBUS_PORT_MESSAGE);
	if (!error)
		error = ep->host->bind_messages(ep->transport, VMBUS_PORT_MULTI_CLIENT);
	if (!error && ep->part->options.vtl)
		error = ep->host->bind_messages(ep->transport,
						own_message_port(&ep->part->options));
	if (!error)
		error = endpoint_start_messages(ep, server_messages);
	return error;
}

int server_end_start(struct part_endpoint *ep)
{
	struct vmbus_server_config config;
	struct vmbus_server *s;

	server_end_config(ep->part, &config);
	s = vmbus_server_create(&config);
	return s ? server_end_start_with(ep, s) : -ENOMEM;
}

void server_end_stop(struct part_endpoint *ep)
{
	struct server_end *se = ep->srv;

	if (!se)
		return;
	endpoint_stop_messages(ep);
	monitor_destroy(&se->monitor);
	if (ep->dispatchers)
		ep->host->stop(ep->transport);
	endpoint_stop_dispatchers(ep);
	while (se->channels) {
		struct part_server_channel *ch = se->channels;

		kmcl_log(KMCL_LOG_ERROR, PART_SUBSYSTEM, ep->id, ch->open.relid,
			 "the partition ends with an offer that was not revoked");
		if (ch->state != CHANNEL_IS_CLOSED)
			let_go_of_rings(ch);
		while (ch->uses)
			server_end_use(ch, ch->uses->gpadl);
		unlink_channel(se, ch);
		free(ch);
	}
	outgoing_clear(&se->outgoing);
	if (se->s)
		vmbus_server_destroy(se->s);
	free(se);
	ep->srv = NULL;
}
