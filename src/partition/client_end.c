/* SPDX-License-Identifier: MIT */
/*
 * The client's end: the state machine's actions carried out. Whoever calls the state machine holds
 * the lock and carries out what comes of it, in order. A message that the host does not take now
 * waits, and all later ones behind it; the message thread tries again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "partition/capture.h"
#include "partition/client_end.h"
#include "partition/sweep.h"
#include "partition/synic.h"
#include "vmbus/wire.h"

#define RETRY_FIRST_NS     50000u
#define RETRY_MOST_NS      50000000u
#define TRIES_WITHOUT_PORT 100u
#define MESSAGES_PER_TURN  64u
#define UNLOAD_WAIT_NS     2000000000u
#define LEAVE_WAIT_NS      5000000000u

/* ---- posting ---- */

enum post_result {
	POSTED,
	RETRY,
	FAILED
};

static bool is_contact(const struct outgoing *m)
{
	enum {
		INITIATE_CONTACT = 14
	};

	return m->data[0] == INITIATE_CONTACT && !m->data[1] && !m->data[2] && !m->data[3];
}

static enum post_result judge(struct part_endpoint *ep, const struct outgoing *m, uint16_t status)
{
	switch (status) {
	case HV_STATUS_SUCCESS:
		return POSTED;
	case HV_STATUS_INSUFFICIENT_MEMORY:
	case HV_STATUS_INSUFFICIENT_BUFFERS:
		return RETRY;
	case HV_STATUS_INVALID_CONNECTION_ID:
		/* To a contact it says "no such version". Else a host under load says so. */
		if (!is_contact(m) && ep->cli->tries < TRIES_WITHOUT_PORT)
			return RETRY;
		return FAILED;
	default:
		return FAILED;
	}
}

static enum post_result post_now(struct part_endpoint *ep, const struct outgoing *m)
{
	struct hv_message message = {
		.connection_id = m->connection_id,
		.type = HV_MESSAGE_TYPE_VMBUS,
		.size = m->size,
	};
	const struct part_capture_message c = {
		.direction = PART_CAPTURE_TO_SERVER,
		.connection_id = m->connection_id,
		.time = part_capture_clock(),
		.data = m->data,
		.size = m->size,
	};
	enum post_result result;
	uint16_t status;

	memcpy(message.payload, m->data, m->size);
	status = ep->guest->post_message(ep->transport, &message);
	result = judge(ep, m, status);
	if (result == POSTED)
		part_capture_message(ep, &c);
	if (result != FAILED)
		return result;
	if (!is_contact(m))
		KMCL_LOG_PEER(KMCL_LOG_ERROR, PART_SUBSYSTEM, ep->id, 0,
			      "the host refuses a message: status %u", status);
	vmbus_client_post_failed(ep->cli->c, status);
	return FAILED;
}

static void put_off(struct client_end *ce)
{
	uint64_t pause = ce->tries < 10 ? (uint64_t)RETRY_FIRST_NS << ce->tries : RETRY_MOST_NS;

	ce->tries++;
	ce->retry_at = clock_now_ns() + (pause < RETRY_MOST_NS ? pause : RETRY_MOST_NS);
}

static void post_waiting(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;

	if (ce->retry_at && clock_now_ns() < ce->retry_at)
		return;
	ce->retry_at = 0;
	while (ce->outgoing.head) {
		if (post_now(ep, ce->outgoing.head) == RETRY) {
			put_off(ce);
			return;
		}
		ce->tries = 0;
		outgoing_pop(&ce->outgoing);
	}
}

/* False: it can be neither posted nor queued now. */
static bool post(struct part_endpoint *ep, const struct vmbus_client_action *a)
{
	struct client_end *ce = ep->cli;
	struct outgoing m = {.connection_id = a->message.connection_id, .size = a->message.size};

	memcpy(m.data, a->message.data, m.size);
	if (!ce->outgoing.head) {
		if (post_now(ep, &m) != RETRY)
			return true;
		put_off(ce);
		part_event_raise(&ep->messages);
	}
	return outgoing_push(&ce->outgoing, &m);
}

/* ---- requests ---- */

void client_request_begin(struct client_end *ce, struct client_request *r)
{
	struct client_request **list = r->owner ? &r->owner->requests : &ce->requests;

	endpoint_cond_init(&r->answered);
	r->next = *list;
	*list = r;
	if (!ce->pending++)
		ce->progress_at = clock_now_ns();
	if (ce->leaving_since)
		part_event_raise(ce->messages);
}

static void answer(struct part_endpoint *ep, enum client_request_kind kind,
		   const struct vmbus_client_action *a)
{
	struct part_client_channel *owner = a->owner;
	struct client_request **link = owner ? &owner->requests : &ep->cli->requests;

	for (; *link; link = &(*link)->next) {
		struct client_request *r = *link;

		if (r->kind != kind || r->channel != a->channel || r->gpadl != a->gpadl)
			continue;
		*link = r->next;
		r->status = a->status;
		r->done = true;
		ep->cli->pending--;
		ep->cli->progress_at = clock_now_ns();
		pthread_cond_signal(&r->answered);
		return;
	}
}

void client_await(struct part_endpoint *ep, struct client_request *r, uint32_t relid,
		  const char *what)
{
	endpoint_wait_for(ep, &r->answered, &r->done, relid, what);
	pthread_cond_destroy(&r->answered);
}

/* ---- actions ---- */

/* Behind the processors' pages. */
static uint64_t interrupt_gpa(const struct client_end *ce)
{
	return ce->synic_gpa + 2ull * ce->vps * PART_PAGE_SIZE;
}

static uint8_t *interrupt_page(struct part_endpoint *ep)
{
	return memory_at(&ep->memory, interrupt_gpa(ep->cli), PART_PAGE_SIZE);
}

static void set_link(struct part_endpoint *ep, enum client_link link)
{
	ep->cli->link = link;
	pthread_cond_broadcast(&ep->changed);
}

static void connect_failed(struct part_endpoint *ep, const struct vmbus_client_action *a)
{
	if (a->status != VMBUS_STATUS_GONE)
		kmcl_log(KMCL_LOG_ERROR, PART_SUBSYSTEM, ep->id, 0,
			 "the host does not speak a version of VMBus that the client speaks (%#x)",
			 a->status);
	set_link(ep, LINK_FAILED);
}

/* False: not now, try this action again. */
static bool carry_out(struct part_endpoint *ep, const struct vmbus_client_action *a)
{
	switch (a->type) {
	case VMBUS_CLIENT_POST:
		return post(ep, a);
	case VMBUS_CLIENT_CONNECTED:
		if (a->connected.version < VMBUS_V2_4)
			endpoint_share_interrupts(ep, interrupt_page(ep));
		client_monitor_use(ep, a->connected.monitor_child_to_parent);
		kmcl_log(KMCL_LOG_INFO, PART_SUBSYSTEM, ep->id, 0, "connected, version %u.%u",
			 a->connected.version >> 16, a->connected.version & 0xffff);
		break;
	case VMBUS_CLIENT_CONNECT_FAILED:
		connect_failed(ep, a);
		break;
	case VMBUS_CLIENT_OFFER:
		client_offered(ep, &a->offer);
		break;
	case VMBUS_CLIENT_OFFERS_DELIVERED:
		set_link(ep, LINK_UP);
		break;
	case VMBUS_CLIENT_RESCIND:
		client_rescinded(ep, a);
		break;
	case VMBUS_CLIENT_OPEN_RESULT:
		answer(ep, REQUEST_OPEN, a);
		break;
	case VMBUS_CLIENT_GPADL_CREATED:
		answer(ep, REQUEST_GPADL_CREATE, a);
		break;
	case VMBUS_CLIENT_GPADL_TORNDOWN:
		answer(ep, REQUEST_GPADL_TEARDOWN, a);
		break;
	case VMBUS_CLIENT_MODIFY_RESULT:
		answer(ep, REQUEST_MODIFY, a);
		break;
	case VMBUS_CLIENT_CONNECTION_MODIFIED:
		answer(ep, REQUEST_MODIFY_CONNECTION, a);
		break;
	case VMBUS_CLIENT_UNLOADED:
		set_link(ep, LINK_UNLOADED);
		break;
	}
	return true;
}

void client_carry_out_actions(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;

	for (;;) {
		PART_SWEEP_CLIENT(ep, ce->c);
		if (!ce->action_held && !vmbus_client_next_action(ce->c, &ce->action))
			return;
		ce->action_held = !carry_out(ep, &ce->action);
		if (ce->action_held)
			return;
	}
}

/* ---- the message thread ---- */

static uint8_t *simp_of(struct part_endpoint *ep, uint32_t vp)
{
	return memory_at(&ep->memory, ep->cli->synic_gpa + vp * 2ull * PART_PAGE_SIZE,
			 PART_PAGE_SIZE);
}

static void capture_received(struct part_endpoint *ep, uint32_t vp, const struct hv_message *m)
{
	const struct part_capture_message c = {
		.direction = PART_CAPTURE_TO_CLIENT,
		.vp = vp,
		.sint = VMBUS_SINT,
		.time = part_capture_clock(),
		.data = m->payload,
		.size = m->size,
	};

	part_capture_message(ep, &c);
}

/*
 * A host cannot know that an id is free again while the message that says so waits to be posted. An
 * offer of it is none then, or a host that offers and withdraws and takes nothing could have as
 * many of these messages wait as it likes. Nothing else that it says makes the client say more than
 * it was going to.
 */
static bool offers_what_is_taken(const struct client_end *ce, const struct hv_message *m)
{
	enum {
		OFFER_CHANNEL = 1,
		RELID_RELEASED = 13,
		OFFERED_AT = 184,
		RELEASED_AT = 8
	};

	if (m->size < OFFERED_AT + 4 || vmbus_get32(m->payload) != OFFER_CHANNEL)
		return false;
	for (const struct outgoing *o = ce->outgoing.head; o; o = o->next)
		if (vmbus_get32(o->data) == RELID_RELEASED &&
		    vmbus_get32(o->data + RELEASED_AT) == vmbus_get32(m->payload + OFFERED_AT))
			return true;
	return false;
}

static bool receive_one(struct part_endpoint *ep, uint32_t vp)
{
	struct client_end *ce = ep->cli;
	struct hv_message message;
	bool end_of_message;
	enum synic_take taken = synic_take(simp_of(ep, vp), VMBUS_SINT, &message, &end_of_message);

	if (taken == SYNIC_EMPTY)
		return false;
	if (end_of_message)
		ep->guest->end_of_message(ep->transport, vp);
	if (taken == SYNIC_BAD) {
		ce->bad_messages++;
		KMCL_LOG_PEER(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, 0,
			      "a message of type %#x with %u bytes is left out", message.type,
			      message.size);
		return true;
	}
	capture_received(ep, vp, &message);
	if (offers_what_is_taken(ce, &message)) {
		KMCL_LOG_PEER(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, 0,
			      "an offer of an id that was not given back is left out");
		return true;
	}
	vmbus_client_receive(ce->c, message.payload, message.size);
	client_carry_out_actions(ep);
	return true;
}

/* Messages come to the VP that the contact named, but a host may use any. True: more may be there.
 */
static bool receive(struct part_endpoint *ep)
{
	uint32_t most = 0;

	for (uint32_t vp = 0; vp < ep->cli->vps; vp++) {
		uint32_t n = 0;

		while (n < MESSAGES_PER_TURN && receive_one(ep, vp))
			n++;
		most = n > most ? n : most;
	}
	if (most == MESSAGES_PER_TURN)
		endpoint_give_way(ep);
	return most;
}

/* Whoever leaves has no use for a host that does not answer: the bus ends for this client, and with
 * it all that was asked for. Returns when to look again. */
static uint64_t leave_in_time(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;
	uint64_t since = ce->progress_at > ce->leaving_since ? ce->progress_at : ce->leaving_since;
	uint64_t now = clock_now_ns();

	if (!ce->leaving_since || !ce->pending)
		return PART_EVENT_FOREVER;
	if (now - since < LEAVE_WAIT_NS)
		return LEAVE_WAIT_NS - (now - since);
	kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, 0,
		 "the host does not answer; the client leaves all the same");
	client_monitor_stop(ep);
	vmbus_client_lost(ce->c);
	outgoing_clear(&ce->outgoing);
	client_carry_out_actions(ep);
	set_link(ep, LINK_FAILED);
	return 0;
}

void part_client_leave(struct part_endpoint *ep)
{
	pthread_mutex_lock(&ep->lock);
	if (ep->cli && !ep->cli->leaving_since)
		ep->cli->leaving_since = clock_now_ns();
	pthread_mutex_unlock(&ep->lock);
	part_event_raise(&ep->messages);
}

static uint64_t time_to_sleep(const struct client_end *ce)
{
	uint64_t now;

	if (ce->action_held)
		return RETRY_MOST_NS;
	if (!ce->outgoing.head)
		return PART_EVENT_FOREVER;
	now = clock_now_ns();
	return ce->retry_at > now ? ce->retry_at - now : 0;
}

/* What the host knew of us is gone: channels are rescinded as if it had said so. */
static void lose_host(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;

	client_monitor_stop(ep);
	vmbus_client_lost(ce->c);
	endpoint_share_interrupts(ep, NULL);
	outgoing_clear(&ce->outgoing);
	ce->retry_at = 0;
	ce->tries = 0;
	client_carry_out_actions(ep);
}

static int connect_locked(struct part_endpoint *ep)
{
	int error;

	ep->cli->link = LINK_CONNECTING;
	error = endpoint_errno(vmbus_client_connect(ep->cli->c));
	client_carry_out_actions(ep);
	return error;
}

/* A host that went away may come again, once nobody holds what it offered. */
static void watch_host(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;

	if (!ep->guest->take_loss)
		return;
	if (ep->guest->take_loss(ep->transport)) {
		lose_host(ep);
		set_link(ep, LINK_LOST);
		kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, 0, "the host went away");
	}
	if (ce->link == LINK_LOST && !ce->channels && ep->guest->is_up(ep->transport))
		connect_locked(ep);
}

static void *client_messages(void *arg)
{
	struct part_endpoint *ep = arg;

	pthread_mutex_lock(&ep->lock);
	for (;;) {
		uint64_t timeout, leave;
		bool busy;

		watch_host(ep);
		post_waiting(ep);
		client_carry_out_actions(ep);
		busy = client_run_upcalls(ep);
		/* a host that never stops talking is not listened to for ever */
		if (!busy && atomic_load(&ep->stop))
			break;
		busy |= receive(ep);
		leave = leave_in_time(ep);
		if (busy || !leave)
			continue;
		timeout = time_to_sleep(ep->cli);
		timeout = timeout < leave ? timeout : leave;
		pthread_mutex_unlock(&ep->lock);
		part_event_wait(&ep->messages, timeout);
		pthread_mutex_lock(&ep->lock);
	}
	pthread_mutex_unlock(&ep->lock);
	return NULL;
}

/* ---- life ---- */

static struct vmbus_client *create_client(struct part_endpoint *ep)
{
	const struct part_options *o = &ep->part->options;
	struct vmbus_client_config config = {
		.max_version = o->max_version,
		.features = o->features,
		.vtl = o->vtl,
		.interrupt_page = interrupt_gpa(ep->cli),
		.monitor_parent_to_child = ep->cli->monitor_gpa,
		.monitor_child_to_parent = ep->cli->monitor_gpa + PART_PAGE_SIZE,
		.limits = {.channels = o->limits.channels, .gpadls = o->limits.gpadls},
		.allocator = *endpoint_allocator(),
	};

	return vmbus_client_create(&config);
}

/* Interrupts that an open redirects come to a SINT of their own. */
static int listen_to_redirected(struct part_endpoint *ep, uint32_t vp)
{
	uint8_t sint = ep->part->options.redirect_sint;

	if (!sint || sint == VMBUS_SINT)
		return 0;
	atomic_store(&ep->dispatchers[vp].redirected,
		     synic_flags(simp_of(ep, vp) + PART_PAGE_SIZE, sint));
	return ep->guest->unmask_sint(ep->transport, vp, sint, true);
}

static int start_synic(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;
	struct part_guest_lines lines = {.messages = &ep->messages};
	int error;

	for (uint32_t i = 0; i < ce->vps; i++)
		ce->flags[i] = synic_flags(simp_of(ep, i) + PART_PAGE_SIZE, VMBUS_SINT);
	error = endpoint_start_dispatchers(ep, ce->vps, ce->flags);
	if (error)
		return error;
	for (uint32_t i = 0; i < ce->vps; i++)
		ce->events[i] = &ep->dispatchers[i].event;
	lines.vps = ce->vps;
	lines.flags = ce->events;
	ep->guest->start(ep->transport, &lines);
	for (uint32_t i = 0; !error && i < ce->vps; i++) {
		uint64_t simp = ce->synic_gpa + i * 2ull * PART_PAGE_SIZE;

		error = ep->guest->enable_synic(ep->transport, i, simp, simp + PART_PAGE_SIZE);
		if (!error)
			error = listen_to_redirected(ep, i);
	}
	return error;
}

int client_end_start(struct part_endpoint *ep)
{
	struct client_end *ce = calloc(1, sizeof(*ce));
	int error;

	if (!ce)
		return -ENOMEM;
	ep->cli = ce;
	ce->messages = &ep->messages;
	client_offers_init(ce);
	outgoing_init(&ce->outgoing);
	ce->vps = ep->part->options.vps;
	error = part_pages_alloc(ep, 2 * ce->vps + 1, &ce->synic_gpa);
	if (!error)
		error = part_pages_alloc(ep, MONITOR_PAGES, &ce->monitor_gpa);
	if (error)
		return error;
	ce->c = create_client(ep);
	if (!ce->c)
		return -ENOMEM;
	error = start_synic(ep);
	if (!error)
		error = endpoint_start_messages(ep, client_messages);
	if (error)
		return error;
	pthread_mutex_lock(&ep->lock);
	error = connect_locked(ep);
	pthread_mutex_unlock(&ep->lock);
	return error;
}

/* An orderly guest says goodbye; a host that does not answer is left all the same. */
static void unload(struct part_endpoint *ep)
{
	uint64_t until = clock_now_ns() + UNLOAD_WAIT_NS;
	struct timespec t = {.tv_sec = (time_t)(until / 1000000000u),
			     .tv_nsec = (long)(until % 1000000000u)};

	client_monitor_stop(ep);
	if (ep->cli->link != LINK_UP || vmbus_client_unload(ep->cli->c))
		return;
	client_carry_out_actions(ep);
	while (ep->cli->link == LINK_UP)
		if (pthread_cond_timedwait(&ep->changed, &ep->lock, &t))
			return;
}

void client_end_stop(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;

	if (!ce)
		return;
	if (ep->running) {
		pthread_mutex_lock(&ep->lock);
		unload(ep);
		vmbus_client_lost(ce->c);
		outgoing_clear(&ce->outgoing);
		client_carry_out_actions(ep);
		pthread_mutex_unlock(&ep->lock);
	}
	endpoint_stop_messages(ep);
	if (ep->dispatchers)
		ep->guest->stop(ep->transport);
	endpoint_stop_dispatchers(ep);
	client_forget_all(ep);
	outgoing_clear(&ce->outgoing);
	if (ce->c)
		vmbus_client_destroy(ce->c);
	free(ce);
	ep->cli = NULL;
}

/*
 * The host has let go of everything when this begins, so what the rescinds give back to the drivers
 * is theirs.
 */
static int reconnect(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;
	int error;

	lose_host(ep);
	part_event_raise(&ep->messages);
	while (ce->channels)
		if (!endpoint_wait(ep))
			kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id,
				 ce->channels ? ce->channels->offer.relid : 0,
				 "a reset waits for the driver to let go of its channel");
	error = connect_locked(ep);
	while (!error && ce->link == LINK_CONNECTING)
		if (!endpoint_wait(ep))
			kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, 0,
				 "a reset waits for the host to answer the contact");
	return !error && ce->link != LINK_UP ? -ECONNREFUSED : error;
}

int part_client_wait_offers(struct part_endpoint *ep, unsigned int timeout_ms)
{
	uint64_t until = clock_now_ns() + timeout_ms * 1000000ull;
	struct timespec t = {.tv_sec = (time_t)(until / 1000000000u),
			     .tv_nsec = (long)(until % 1000000000u)};
	enum client_link link;
	int error = 0;

	pthread_mutex_lock(&ep->lock);
	while ((ep->cli->link == LINK_DOWN || ep->cli->link == LINK_CONNECTING) && !error)
		error = pthread_cond_timedwait(&ep->changed, &ep->lock, &t);
	link = ep->cli->link;
	pthread_mutex_unlock(&ep->lock);
	if (link == LINK_UP)
		return 0;
	return error ? -ETIMEDOUT : -ECONNREFUSED;
}

int client_end_reset(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;
	int error = -EBUSY;

	pthread_mutex_lock(&ep->lock);
	if (!ce->resetting) {
		ce->resetting = true;
		pthread_mutex_unlock(&ep->lock);
		ep->guest->reset(ep->transport);
		pthread_mutex_lock(&ep->lock);
		error = reconnect(ep);
		ce->resetting = false;
	}
	pthread_mutex_unlock(&ep->lock);
	return error;
}
