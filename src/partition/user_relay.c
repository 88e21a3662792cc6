/* SPDX-License-Identifier: MIT */
/*
 * The sockets under a bridge (vmbus/bridge.h): toward each driver's process a guest of vmbus-user
 * that passes on the memory and the SynIC pages of the real one. One thread reads and connects;
 * whoever carries out the server's actions sends. All of it under the endpoint's lock, which nobody
 * holds while waiting: a process that does not read has its messages kept, up to the bounds of
 * vmbus/client.h.
 */
#include "partition/user_relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "partition/server_end.h"
#include "partition/user_wire.h"
#include "vmbus/bridge.h"
#include "vmbus/wire.h"

#define PATIENCE_NS   5000000000ull /* for offers before a contact is answered, and for an end */
#define RETRY_NS      100000000ull  /* before a lost connection is made again; doubles up to */
#define RETRY_MOST_NS 10000000000ull
#define BLOCKED_NS    1000000000ull /* a guest waits so long for a process that does not read */
#define NEVER         UINT64_MAX
#define READ_AT_ONCE  32u

struct synic_copy {
	bool present;
	uint8_t body[USER_SYNIC_SIZE];
	int fds[2];
};

/* The connection to one driver's process. */
struct link {
	int fd; /* -1: none. The thread's to open and close while it runs. */
	bool greeted, broken, want_out;
	bool hello_sent, out_held; /* `out` found no room */
	uint32_t ranges_sent;
	bool synic_sent[USER_VPS_MAX];
	struct vmbus_bridge_output out;
	uint64_t blocked_at; /* since when `want_out` */
	uint64_t retry_at, retry_after;
};

struct user_relay {
	struct part *part;
	struct part_endpoint *ep;
	struct user_relay_options options;
	uint32_t vps;
	struct vmbus_bridge *bridge;
	struct link link[VMBUS_BRIDGE_PARTS];
	struct synic_copy synic[USER_VPS_MAX];
	struct user_packet packet; /* being sent */
	struct user_packet in;     /* the thread's */
	int wake;
	pthread_t thread;
	bool running, ending;
	uint64_t answer_at; /* a contact, whatever is missing then */
	uint64_t end_at;
};

static void wake(struct user_relay *r)
{
	uint64_t one = 1;

	if (write(r->wake, &one, sizeof(one)) < 0)
		return; /* its counter is full: it is awake */
}

/* ---- sending ---- */

/* False: not now, or never. */
static bool send_packet(struct user_relay *r, struct link *l)
{
	int error = user_send(l->fd, &r->packet);

	if (!error)
		return true;
	l->want_out = error == -EAGAIN;
	l->blocked_at = clock_now_ns();
	l->broken |= error != -EAGAIN;
	wake(r);
	return false;
}

static bool send_hello(struct user_relay *r, struct link *l)
{
	if (l->hello_sent)
		return true;
	user_packet_init(&r->packet, USER_HELLO, USER_HELLO_SIZE);
	vmbus_put32(r->packet.data + 8, USER_VERSION);
	vmbus_put32(r->packet.data + 12, r->vps);
	l->hello_sent = send_packet(r, l);
	return l->hello_sent;
}

static bool send_memory(struct user_relay *r, struct link *l)
{
	const struct part_memory *m = &r->ep->memory;

	while (l->ranges_sent < atomic_load_explicit(&m->ranges, memory_order_acquire)) {
		const struct part_memory_range *range = &m->range[l->ranges_sent];

		user_packet_init(&r->packet, USER_MEMORY, USER_MEMORY_SIZE);
		vmbus_put64(r->packet.data + 8, range->gpa);
		vmbus_put64(r->packet.data + 16, range->size);
		vmbus_put64(r->packet.data + 24, range->offset);
		r->packet.fds[0] = range->fd;
		r->packet.fd_count = 1;
		if (!send_packet(r, l))
			return false;
		l->ranges_sent++;
	}
	return true;
}

static bool send_synic(struct user_relay *r, struct link *l)
{
	for (uint32_t vp = 0; vp < r->vps; vp++) {
		const struct synic_copy *s = &r->synic[vp];

		if (!s->present || l->synic_sent[vp])
			continue;
		user_packet_init(&r->packet, USER_SYNIC, USER_SYNIC_SIZE);
		memcpy(r->packet.data + USER_HEADER, s->body + USER_HEADER,
		       USER_SYNIC_SIZE - USER_HEADER);
		memcpy(r->packet.fds, s->fds, sizeof(s->fds));
		r->packet.fd_count = 2;
		if (!send_packet(r, l))
			return false;
		l->synic_sent[vp] = true;
	}
	return true;
}

static bool send_output(struct user_relay *r, struct link *l)
{
	const struct vmbus_bridge_output *o = &l->out;

	if (o->type == VMBUS_BRIDGE_RESET) {
		user_packet_init(&r->packet, USER_RESET, USER_RESET_SIZE);
	} else {
		user_packet_init(&r->packet, USER_POST, USER_POST_SIZE + o->size);
		vmbus_put32(r->packet.data + 8, o->connection_id);
		vmbus_put32(r->packet.data + 12, HV_MESSAGE_TYPE_VMBUS);
		memcpy(r->packet.data + USER_POST_SIZE, o->data, o->size);
	}
	return send_packet(r, l);
}

/* True: something was taken from the bridge. A process is told of memory and pages before it is
 * told of anything that may name them. */
static bool flush(struct user_relay *r, uint32_t part)
{
	struct link *l = &r->link[part];
	bool taken = false;

	if (l->fd < 0 || l->broken || l->want_out)
		return false;
	if (!send_hello(r, l) || !send_memory(r, l) || !send_synic(r, l))
		return false;
	for (;;) {
		if (!l->out_held && !vmbus_bridge_next(r->bridge, part, &l->out))
			return taken;
		taken = true;
		l->out_held = !send_output(r, l);
		if (l->out_held)
			return taken;
	}
}

static bool flush_all(struct user_relay *r)
{
	bool taken = false;

	for (uint32_t i = 0; i < r->options.parts; i++)
		taken |= flush(r, i);
	return taken;
}

/* ---- what the server's end asks ---- */

static bool relay_action(void *relay, const struct vmbus_server_action *a)
{
	struct user_relay *r = relay;
	bool done;

	if ((a->type == VMBUS_SERVER_CONNECT || a->type == VMBUS_SERVER_MONITOR) &&
	    !server_pages_usable(r->ep, a)) {
		if (a->type == VMBUS_SERVER_CONNECT)
			vmbus_server_connect_done(r->ep->srv->s, false);
		else
			vmbus_server_monitor_done(r->ep->srv->s, false);
		return true;
	}
	done = vmbus_bridge_action(r->bridge, a);
	if (vmbus_bridge_waits(r->bridge) && r->answer_at == NEVER) {
		r->answer_at = clock_now_ns() + PATIENCE_NS;
		wake(r);
	}
	return done;
}

static bool relay_turn(void *relay)
{
	struct user_relay *r = relay;

	return vmbus_bridge_turn(r->bridge) || flush_all(r);
}

static void relay_reset(void *relay)
{
	struct user_relay *r = relay;

	vmbus_bridge_reset(r->bridge);
}

static bool relay_at_rest(void *relay)
{
	struct user_relay *r = relay;

	return vmbus_bridge_at_rest(r->bridge);
}

static uint64_t congested_until(const struct user_relay *r)
{
	uint64_t now = clock_now_ns(), until = NEVER;

	for (uint32_t i = 0; i < r->options.parts; i++) {
		const struct link *l = &r->link[i];

		if (l->fd >= 0 && l->want_out && now - l->blocked_at < BLOCKED_NS &&
		    l->blocked_at + BLOCKED_NS < until)
			until = l->blocked_at + BLOCKED_NS;
	}
	return until;
}

/* What a guest says faster than a process takes it waits where the guest put it. One that stands
 * still holds up its guest for no longer than a moment: it alone is refused more then. */
static bool relay_congested(void *relay)
{
	return congested_until(relay) != NEVER;
}

static const struct part_relay_ops relay_ops = {
	.action = relay_action,
	.turn = relay_turn,
	.reset = relay_reset,
	.at_rest = relay_at_rest,
	.congested = relay_congested,
};

/* ---- connections ---- */

static void lose(struct user_relay *r, uint32_t part)
{
	struct link *l = &r->link[part];

	if (l->fd < 0)
		return;
	close(l->fd);
	l->fd = -1;
	vmbus_bridge_down(r->bridge, part);
	l->retry_at = clock_now_ns() + l->retry_after;
	l->retry_after = l->retry_after * 2 < RETRY_MOST_NS ? l->retry_after * 2 : RETRY_MOST_NS;
}

static void take_link(struct user_relay *r, uint32_t part, int fd)
{
	struct link *l = &r->link[part];
	uint64_t after = l->retry_after;

	memset(l, 0, sizeof(*l));
	l->retry_after = after;
	l->retry_at = NEVER;
	l->fd = fd;
	vmbus_bridge_up(r->bridge, part);
}

/* Connects what is due, without the lock: the owner has one of its own. */
static void connect_links(struct user_relay *r)
{
	for (uint32_t i = 0; i < r->options.parts; i++) {
		int fd;

		if (r->ending || r->link[i].fd >= 0 || clock_now_ns() < r->link[i].retry_at)
			continue;
		pthread_mutex_unlock(&r->ep->lock);
		fd = r->options.connect(r->options.owner, i);
		pthread_mutex_lock(&r->ep->lock);
		if (fd >= 0)
			take_link(r, i, fd);
		else
			r->link[i].retry_at =
				fd == -EAGAIN ? clock_now_ns() + RETRY_MOST_NS : NEVER;
	}
}

/* ---- what drivers' processes say ---- */

static bool take_message(struct user_relay *r, uint32_t part, const struct user_packet *p)
{
	uint32_t size;

	if (p->size < USER_MESSAGE_SIZE)
		return false;
	size = vmbus_get32(p->data + 20);
	if (size > HV_MESSAGE_MAX || size != p->size - USER_MESSAGE_SIZE ||
	    vmbus_get32(p->data + 16) != HV_MESSAGE_TYPE_VMBUS)
		return false;
	vmbus_bridge_receive(r->bridge, part, p->data + USER_MESSAGE_SIZE, size);
	return true;
}

static bool take_greeting(struct link *l, const struct user_packet *p)
{
	if (l->greeted || p->size != USER_HELLO_ACK_SIZE ||
	    vmbus_get32(p->data + 8) != USER_VERSION)
		return false;
	l->greeted = !vmbus_get32(p->data + 12);
	l->retry_after = RETRY_NS;
	return l->greeted;
}

/* False: that is no host of this protocol, or it has refused us. */
static bool take_packet(struct user_relay *r, uint32_t part, const struct user_packet *p)
{
	struct link *l = &r->link[part];

	if (p->fd_count || (!l->greeted && user_op(p) != USER_HELLO_ACK))
		return false;
	switch (user_op(p)) {
	case USER_HELLO_ACK:
		return take_greeting(l, p);
	case USER_MEMORY_ACK:
		return p->size == USER_MEMORY_ACK_SIZE && !vmbus_get32(p->data + 8);
	case USER_SYNIC_ACK:
		return p->size == USER_SYNIC_ACK_SIZE && !vmbus_get32(p->data + 8);
	case USER_MESSAGE:
		return take_message(r, part, p);
	case USER_RESET_DONE:
		vmbus_bridge_reset_done(r->bridge, part);
		part_event_raise(&r->ep->messages);
		return p->size == USER_RESET_DONE_SIZE;
	default:
		return false;
	}
}

static void read_link(struct user_relay *r, uint32_t part)
{
	struct link *l = &r->link[part];
	const char *why = "";

	for (uint32_t n = 0; n < READ_AT_ONCE && !l->broken; n++) {
		switch (user_receive(l->fd, &r->in, &why)) {
		case USER_RECEIVED:
			l->broken = !take_packet(r, part, &r->in);
			user_close_fds(&r->in);
			if (l->broken)
				KMCL_LOG_PEER(
					KMCL_LOG_WARNING, PART_SUBSYSTEM, r->ep->id, 0,
					"driver %u is hung up on: an op %#x that does not fit",
					part, user_op(&r->in));
			break;
		case USER_NOTHING:
			return;
		case USER_BAD:
		case USER_HUNG_UP:
			l->broken = true;
			break;
		}
		/* what it said has its effect before it says more: so no message finds no room */
		server_carry_out_actions(r->ep);
	}
}

/* ---- the thread ---- */

static uint64_t next_time(const struct user_relay *r)
{
	uint64_t next = r->ending ? r->end_at : r->answer_at;
	uint64_t congested = congested_until(r);

	if (congested < next)
		next = congested;

	for (uint32_t i = 0; i < r->options.parts && !r->ending; i++)
		if (r->link[i].fd < 0 && r->link[i].retry_at < next)
			next = r->link[i].retry_at;
	return next;
}

static int time_to_wait(const struct user_relay *r)
{
	uint64_t next = next_time(r), now = clock_now_ns();

	if (next == NEVER)
		return -1;
	return next <= now ? 0 : (int)((next - now) / 1000000u) + 1;
}

static void wait_for_work(struct user_relay *r, struct pollfd *fds)
{
	int timeout = time_to_wait(r);
	uint64_t count;

	fds[VMBUS_BRIDGE_PARTS] = (struct pollfd){.fd = r->wake, .events = POLLIN};
	for (uint32_t i = 0; i < VMBUS_BRIDGE_PARTS; i++) {
		const struct link *l = &r->link[i];
		bool there = i < r->options.parts && l->fd >= 0;

		fds[i] = (struct pollfd){
			.fd = there ? l->fd : -1,
			.events = (short)(POLLIN | (l->want_out ? POLLOUT : 0)),
		};
		if (there && l->broken)
			timeout = 0;
	}
	pthread_mutex_unlock(&r->ep->lock);
	if (poll(fds, VMBUS_BRIDGE_PARTS + 1, timeout) < 0)
		memset(fds, 0, VMBUS_BRIDGE_PARTS * sizeof(*fds));
	else if (fds[VMBUS_BRIDGE_PARTS].revents && read(r->wake, &count, sizeof(count)) < 0)
		count = 0; /* was drained */
	pthread_mutex_lock(&r->ep->lock);
}

static void serve_links(struct user_relay *r, const struct pollfd *fds)
{
	for (uint32_t i = 0; i < r->options.parts; i++) {
		struct link *l = &r->link[i];

		if (l->fd < 0)
			continue;
		if (fds[i].revents & POLLOUT)
			l->want_out = false;
		if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
			read_link(r, i);
		if (l->broken)
			lose(r, i);
	}
}

static void keep_time(struct user_relay *r)
{
	if (!vmbus_bridge_waits(r->bridge)) {
		r->answer_at = NEVER;
	} else if (r->answer_at <= clock_now_ns()) {
		kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, r->ep->id, 0,
			 "a guest is answered although a driver has not said what it offers");
		vmbus_bridge_wait_no_more(r->bridge);
		r->answer_at = NEVER;
	}
}

static bool ended(const struct user_relay *r)
{
	if (!r->ending)
		return false;
	for (uint32_t i = 0; i < r->options.parts; i++)
		if (r->link[i].fd >= 0)
			return clock_now_ns() >= r->end_at;
	return true;
}

static void *relay(void *arg)
{
	struct user_relay *r = arg;
	struct pollfd fds[VMBUS_BRIDGE_PARTS + 1];

	pthread_mutex_lock(&r->ep->lock);
	while (!ended(r)) {
		wait_for_work(r, fds);
		serve_links(r, fds);
		connect_links(r);
		keep_time(r);
		server_carry_out_actions(r->ep);
		part_event_raise(&r->ep->messages); /* a reset may be over */
	}
	pthread_mutex_unlock(&r->ep->lock);
	return NULL;
}

/* ---- life ---- */

static int start(struct user_relay *r)
{
	struct vmbus_bridge_config config = {
		.server = r->ep->srv->s,
		.parts = r->options.parts,
		.allocator = *endpoint_allocator(),
	};
	int error;

	r->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (r->wake < 0)
		return -errno;
	r->bridge = vmbus_bridge_create(&config);
	if (!r->bridge)
		return -ENOMEM;
	pthread_mutex_lock(&r->ep->lock);
	r->ep->relay_ops = &relay_ops;
	r->ep->relay = r;
	connect_links(r);
	server_carry_out_actions(r->ep);
	pthread_mutex_unlock(&r->ep->lock);
	error = part_thread_create(&r->thread, relay, r, "kmcl-relay");
	r->running = !error;
	return error;
}

int user_relay_create(struct part *part, uint32_t vps, const struct user_relay_options *options,
		      struct user_relay **result)
{
	struct user_relay *r = calloc(1, sizeof(*r));
	int error;

	if (!r)
		return -ENOMEM;
	r->part = part;
	r->ep = &part->server;
	r->options = *options;
	r->vps = vps;
	r->wake = -1;
	r->answer_at = NEVER;
	for (uint32_t i = 0; i < VMBUS_BRIDGE_PARTS; i++) {
		r->link[i].fd = -1;
		r->link[i].retry_after = RETRY_NS;
	}
	error = start(r);
	if (error)
		user_relay_destroy(r);
	else
		*result = r;
	return error;
}

void user_relay_memory(struct user_relay *r)
{
	pthread_mutex_lock(&r->ep->lock);
	server_carry_out_actions(r->ep);
	pthread_mutex_unlock(&r->ep->lock);
}

void user_relay_synic(struct user_relay *r, const uint8_t *packet, int to_host, int to_guest)
{
	struct synic_copy *s = &r->synic[vmbus_get32(packet + 8) % USER_VPS_MAX];

	pthread_mutex_lock(&r->ep->lock);
	memcpy(s->body, packet, sizeof(s->body));
	s->fds[0] = to_host;
	s->fds[1] = to_guest;
	s->present = true;
	server_carry_out_actions(r->ep);
	pthread_mutex_unlock(&r->ep->lock);
}

void user_relay_look(struct user_relay *r)
{
	pthread_mutex_lock(&r->ep->lock);
	for (uint32_t i = 0; i < r->options.parts; i++) {
		r->link[i].retry_at = 0;
		r->link[i].retry_after = RETRY_NS;
	}
	pthread_mutex_unlock(&r->ep->lock);
	wake(r);
}

void user_relay_end(struct user_relay *r)
{
	if (!r->running)
		return;
	pthread_mutex_lock(&r->ep->lock);
	r->ending = true;
	r->end_at = clock_now_ns() + PATIENCE_NS;
	for (uint32_t i = 0; i < r->options.parts; i++)
		if (r->link[i].fd >= 0)
			shutdown(r->link[i].fd, SHUT_WR);
	pthread_mutex_unlock(&r->ep->lock);
	wake(r);
	pthread_join(r->thread, NULL);
	r->running = false;
	pthread_mutex_lock(&r->ep->lock);
	for (uint32_t i = 0; i < r->options.parts; i++)
		lose(r, i);
	server_carry_out_actions(r->ep);
	pthread_mutex_unlock(&r->ep->lock);
}

void user_relay_destroy(struct user_relay *r)
{
	user_relay_end(r);
	pthread_mutex_lock(&r->ep->lock);
	r->ep->relay = NULL;
	for (uint32_t i = 0; i < r->options.parts; i++)
		if (r->link[i].fd >= 0)
			close(r->link[i].fd);
	vmbus_bridge_destroy(r->bridge);
	pthread_mutex_unlock(&r->ep->lock);
	if (r->wake >= 0)
		close(r->wake);
	free(r);
}
