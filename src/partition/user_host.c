/* SPDX-License-Identifier: MIT */
/*
 * A guest at the other end of a socket, as the host's end sees it.
 *
 * The connection's thread reads packets one at a time and answers them; what it cannot do now (an
 * answer that finds no room, a message that finds no buffer, a reset under way) holds up the next
 * packet of this guest and nothing else. Messages for the guest are sent by the end's message
 * thread itself. Signals of the guest are heard through epoll alone: nothing is read from the
 * guest's descriptors, so that nothing a guest does to them can make us wait.
 *
 * A channel's signals come by the VP that its id says, modulo the VPs, and its dispatcher follows
 * from the id in the same way. Where the dispatchers divide the VPs, each sleeps where the bells of
 * its VPs ring and wakes at once; what came by another VP it passes on. Else a thread hears all,
 * for one dispatcher must not have to wait for another to be told.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "partition/internal.h"
#include "partition/machine.h"
#include "partition/ringer.h"
#include "partition/user.h"
#include "partition/user_flags.h"
#include "partition/user_relay.h"
#include "partition/user_wire.h"
#include "vmbus/wire.h"

#define MEMORY_LIMIT     (64ull << 30)
#define HELLO_TIMEOUT_MS 10000u
#define MAX_CHANNELS     2047u
#define FAREWELL_MS      1000u
#define MOST_QUEUED      4096u /* messages for a guest that does not read them */

struct user_vp {
	int to_host, to_guest;
	struct hv_flags *signals;
	atomic_bool present;
};

struct user_host {
	struct hv_machine machine;
	struct part_host_ops ops;
	struct user_host_options options;
	int fd, wake;
	struct ringer ringer;
	struct part *part;
	pthread_t thread, hearer;
	bool hearing;                              /* the hearer is there */
	atomic_bool deaf;                          /* it is to end */
	struct part_ear ear[PART_MAX_DISPATCHERS]; /* of `ears` dispatchers, or the hearer's */
	uint32_t ears;                             /* 0: there is a hearer */
	atomic_bool end;                           /* asked to end in order */
	atomic_bool drivers_changed;

	struct user_vp vp[USER_VPS_MAX];
	uint64_t memory;
	struct user_relay *relay; /* to where the drivers are, if not here */

	/* The socket's thread alone. */
	struct user_packet in, answer;
	bool answer_waits; /* `answer` found no room */
	bool post_waits;   /* `in` is a POST that found no buffer */
	bool reset_waits;  /* `in` is a RESET that came upon another */
	bool reset_owed;   /* RESET_DONE is to be said */
	bool over;

	atomic_bool want_out;            /* a message for the guest found no room */
	atomic_uint reset_taken, resets; /* resets begun and ended by the end */
	atomic_bool flooded;

	struct user_flags flags;
	atomic_ullong dropped_signals, dropped_messages;
};

static void wake(struct user_host *h)
{
	uint64_t one = 1;

	if (write(h->wake, &one, sizeof(one)) < 0)
		return; /* its counter is full: it is awake */
}

/* ---- host operations ---- */

static bool take_message(void *transport, struct hv_message *message)
{
	struct user_host *h = transport;
	bool taken = hv_machine_ops.take_message(transport, message);

	if (taken)
		wake(h);
	return taken;
}

static int deliver(void *transport, uint32_t vp, uint8_t sint, const void *payload, size_t size)
{
	struct user_host *h = transport;
	struct user_packet p;
	int error;

	if (vp >= USER_VPS_MAX || !atomic_load(&h->vp[vp].present)) {
		atomic_fetch_add(&h->dropped_messages, 1);
		return -ENODEV;
	}
	user_packet_init(&p, USER_MESSAGE, USER_MESSAGE_SIZE + (uint32_t)size);
	vmbus_put32(p.data + 8, vp);
	vmbus_put32(p.data + 12, sint);
	vmbus_put32(p.data + 16, HV_MESSAGE_TYPE_VMBUS);
	vmbus_put32(p.data + 20, (uint32_t)size);
	memcpy(p.data + USER_MESSAGE_SIZE, payload, size);
	error = user_send(h->fd, &p);
	if (error != -EAGAIN)
		return 0; /* or the guest is gone, which its thread sees */
	atomic_store(&h->want_out, true);
	wake(h);
	return -EAGAIN;
}

static int set_flag(void *transport, uint32_t vp, uint8_t sint, uint16_t flag)
{
	struct user_host *h = transport;
	uint8_t *siefp;

	if (vp >= USER_VPS_MAX || !atomic_load(&h->vp[vp].present)) {
		atomic_fetch_add(&h->dropped_signals, 1);
		return -ENODEV;
	}
	siefp = atomic_load(&h->machine.vp[vp].siefp);
	if (sint >= SYNIC_SINTS || flag >= HV_EVENT_FLAGS)
		return -ENODEV;
	/* Rung whatever the flag was: that is what the guest is promised. */
	hv_flag_set(synic_flags(siefp, sint), flag);
	ringer_ring(&h->ringer, h->vp[vp].to_guest);
	return 0;
}

static int bind_port(void *transport, uint32_t connection_id, uint32_t dispatcher, uint32_t channel)
{
	struct user_host *h = transport;
	int error = hv_machine_ops.bind_port(transport, connection_id, dispatcher, channel);

	if (!error)
		user_flags_bind(&h->flags, channel, dispatcher, connection_id);
	return error;
}

static void bind_flag(void *transport, uint32_t channel, uint16_t flag)
{
	struct user_host *h = transport;

	user_flags_choose(&h->flags, channel, flag);
}

static void unbind_port(void *transport, uint32_t connection_id)
{
	struct user_host *h = transport;

	hv_machine_ops.unbind_port(transport, connection_id);
	user_flags_unbind(&h->flags, connection_id);
}

static bool take_reset(void *transport)
{
	struct user_host *h = transport;
	bool taken = hv_machine_ops.take_reset(transport);

	if (taken) {
		atomic_fetch_add(&h->reset_taken, 1);
		wake(h);
	}
	return taken;
}

static void reset_done(void *transport)
{
	struct user_host *h = transport;

	hv_machine_ops.reset_done(transport);
	atomic_fetch_add(&h->resets, 1);
	wake(h);
}

static void flooded(void *transport)
{
	struct user_host *h = transport;

	atomic_store(&h->flooded, true);
	wake(h);
}

/* ---- hearing the guest ---- */

/* Flag 0 is in the words of one process, so the others look whether the interrupt page means them.
 */
static void hear_shared(struct user_host *h)
{
	struct hv_flags *page =
		(struct hv_flags *)(void *)atomic_load(&h->part->server.interrupt_page);
	uint32_t word, end;

	if (!page || h->part->options.channel_range == VMBUS_MAX_CHANNEL)
		return;
	page += PART_INTERRUPT_TO_HOST / sizeof(*page);
	part_own_flags(h->part, &word, &end);
	while (word < end && !atomic_load(&page->word[word]))
		word++;
	if (word < end)
		user_flags_ring(&h->flags, 0, &h->machine);
}

/* Where other processes listen to the same bitmap each takes its own words of it. */
static void hear_vp(struct user_host *h, uint32_t vp)
{
	if (!atomic_load(&h->vp[vp].present))
		return;
	user_flags_take(&h->flags, h->vp[vp].signals, &h->machine);
	hear_shared(h);
}

static const struct part_ear *ear_of(void *transport, uint32_t dispatcher)
{
	struct user_host *h = transport;

	return h->ears ? &h->ear[dispatcher] : NULL;
}

static void hear(void *transport, uint32_t dispatcher)
{
	struct user_host *h = transport;

	for (uint32_t vp = dispatcher; vp < h->machine.vps; vp += h->ears)
		hear_vp(h, vp);
}

static void *hear_all(void *arg)
{
	struct user_host *h = arg;

	while (!atomic_load(&h->deaf)) {
		part_ear_listen(&h->ear[0], UINT64_MAX);
		for (uint32_t vp = 0; vp < h->machine.vps; vp++)
			hear_vp(h, vp);
	}
	return NULL;
}

/* ---- answers ---- */

static void send_answer(struct user_host *h)
{
	int error = user_send(h->fd, &h->answer);

	h->answer_waits = error == -EAGAIN;
	if (error == -EPIPE)
		h->over = true;
}

static void say_error(struct user_host *h, uint32_t status, uint32_t op, const char *text)
{
	size_t size = strlen(text);

	user_packet_init(&h->answer, USER_ERROR, USER_ERROR_SIZE + (uint32_t)size);
	vmbus_put32(h->answer.data + 8, status);
	vmbus_put32(h->answer.data + 12, op);
	memcpy(h->answer.data + USER_ERROR_SIZE, text, size);
	send_answer(h);
}

/* The connection is over; the guest is told why if there is room to tell it. */
static void fail(struct user_host *h, uint32_t status, const char *text)
{
	uint32_t op = h->in.size < USER_HEADER ? 0 : user_op(&h->in);

	KMCL_LOG_PEER(KMCL_LOG_WARNING, PART_SUBSYSTEM, h->machine.partition, 0,
		      "guest dropped: %s (op %#x)", text, op);
	say_error(h, status, op, text);
	h->answer_waits = false;
	h->over = true;
}

static void violate(struct user_host *h, const char *text)
{
	fail(h, USER_STATUS_INVALID_PARAMETER, text);
}

/* ---- packets ---- */

static void take_memory(struct user_host *h, struct user_packet *p)
{
	uint64_t gpa = vmbus_get64(p->data + 8), size = vmbus_get64(p->data + 16);
	uint64_t offset = vmbus_get64(p->data + 24);
	uint64_t left = h->options.memory_limit - h->memory;
	int error = part_memory_check(&h->part->server.memory, gpa, size, offset);

	/* What no range may be comes before what this host does not take. */
	if (!error && size > left)
		error = -EPERM;
	if (!error) {
		error = part_host_memory(h->part, p->fds[0], gpa, size, offset);
		p->fd_count = 0;
	}
	user_close_fds(p);
	if (error == -EINVAL || error == -EEXIST || error == -E2BIG) {
		violate(h, error == -EEXIST  ? "MEMORY: the range overlaps another"
			   : error == -E2BIG ? "MEMORY: more than 64 ranges"
					     : "MEMORY: no range of whole pages");
		return;
	}
	if (!error)
		h->memory += size;
	if (!error && h->relay)
		user_relay_memory(h->relay);
	user_packet_init(&h->answer, USER_MEMORY_ACK, USER_MEMORY_ACK_SIZE);
	vmbus_put32(h->answer.data + 8, !error            ? 0
					: error == -EPERM ? USER_STATUS_INVALID_PARAMETER
							  : USER_STATUS_INSUFFICIENT_RESOURCES);
	vmbus_put64(h->answer.data + 16, gpa);
	send_answer(h);
}

static const char *synic_fault(struct user_host *h, const struct user_packet *p)
{
	uint32_t vp = vmbus_get32(p->data + 8);
	uint64_t flags = vmbus_get64(p->data + 16), signals = vmbus_get64(p->data + 24);

	if (vmbus_get32(p->data + 12))
		return "SYNIC: reserved bits are set";
	if (vp >= h->machine.vps)
		return "SYNIC: no such VP";
	if (atomic_load(&h->vp[vp].present))
		return "SYNIC: the VP has one";
	if ((flags | signals) % PART_PAGE_SIZE ||
	    !memory_at(&h->part->server.memory, flags, PART_PAGE_SIZE) ||
	    !memory_at(&h->part->server.memory, signals, PART_PAGE_SIZE))
		return "SYNIC: a page that is not in memory";
	/* Rings once too often, which does no harm. */
	if (!ringer_ring(&h->ringer, p->fds[0]) || !ringer_ring(&h->ringer, p->fds[1]))
		return "SYNIC: a descriptor that is no eventfd";
	return NULL;
}

static void take_synic(struct user_host *h, struct user_packet *p)
{
	const char *fault = synic_fault(h, p);
	uint32_t vp = vmbus_get32(p->data + 8);
	struct user_vp *v = &h->vp[vp % USER_VPS_MAX];
	struct part_ear *ear = &h->ear[h->ears ? vp % h->ears : 0];

	if (fault) {
		user_close_fds(p);
		violate(h, fault);
		return;
	}
	v->to_host = p->fds[0];
	v->to_guest = p->fds[1];
	p->fd_count = 0;
	v->signals = memory_at(&h->part->server.memory, vmbus_get64(p->data + 24), PART_PAGE_SIZE);
	atomic_store(&h->machine.vp[vp].siefp,
		     (uint8_t *)memory_at(&h->part->server.memory, vmbus_get64(p->data + 16),
					  PART_PAGE_SIZE));
	atomic_store(&v->present, true);
	if (h->relay)
		user_relay_synic(h->relay, p->data, v->to_host, v->to_guest);
	/* One description for several VPs is one entry, so each VP listens through its own copy. */
	if (!h->relay && part_ear_add(ear, v->to_host)) {
		fail(h, USER_STATUS_INSUFFICIENT_RESOURCES, "SYNIC: out of resources");
		return;
	}
	user_packet_init(&h->answer, USER_SYNIC_ACK, USER_SYNIC_ACK_SIZE);
	vmbus_put32(h->answer.data + 12, vp);
	send_answer(h);
}

static void take_post(struct user_host *h, const struct user_packet *p)
{
	struct hv_message m = {
		.connection_id = vmbus_get32(p->data + 8),
		.type = vmbus_get32(p->data + 12),
		.size = p->size - USER_POST_SIZE,
	};
	uint16_t status;

	if (m.size > HV_MESSAGE_MAX) {
		violate(h, "POST: a payload of more than 240 bytes");
		return;
	}
	memcpy(m.payload, p->data + USER_POST_SIZE, m.size);
	status = hv_machine_post(&h->machine, &m);
	h->post_waits = status == HV_STATUS_INSUFFICIENT_BUFFERS;
	if (status && !h->post_waits)
		say_error(h, status, USER_POST,
			  status == HV_STATUS_INVALID_CONNECTION_ID
				  ? "POST: no such connection id"
				  : "POST: a message type other than 1");
}

static void take_reset_packet(struct user_host *h)
{
	/* One at a time: each gets its RESET_DONE. */
	h->reset_waits = h->reset_owed;
	if (h->reset_waits)
		return;
	h->reset_owed = true;
	hv_machine_ask_reset(&h->machine);
}

struct packet_rule {
	uint32_t op, least, most, fds;
};

static const struct packet_rule rules[] = {
	{USER_MEMORY, USER_MEMORY_SIZE, USER_MEMORY_SIZE, 1},
	{USER_SYNIC, USER_SYNIC_SIZE, USER_SYNIC_SIZE, 2},
	{USER_POST, USER_POST_SIZE, USER_PACKET_MAX, 0},
	{USER_RESET, USER_RESET_SIZE, USER_RESET_SIZE, 0},
};

static const char *packet_fault(const struct user_packet *p)
{
	uint32_t op = user_op(p);

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (rules[i].op != op)
			continue;
		if (p->size < rules[i].least || p->size > rules[i].most)
			return "a packet of the wrong size";
		return p->fd_count == rules[i].fds ? NULL : "a wrong number of descriptors";
	}
	return op == USER_HELLO ? "a second HELLO" : "an unknown op";
}

static void take_packet(struct user_host *h, struct user_packet *p)
{
	const char *fault = packet_fault(p);

	if (fault) {
		user_close_fds(p);
		violate(h, fault);
		return;
	}
	switch (user_op(p)) {
	case USER_MEMORY:
		take_memory(h, p);
		break;
	case USER_SYNIC:
		take_synic(h, p);
		break;
	case USER_POST:
		take_post(h, p);
		break;
	case USER_RESET:
		take_reset_packet(h);
		break;
	}
}

/* ---- the connection's thread ---- */

static bool may_read(struct user_host *h)
{
	/* What comes after a reset belongs to the bus after it. */
	bool reset_begins = h->reset_owed && hv_machine_resetting(&h->machine) &&
			    atomic_load(&h->reset_taken) == atomic_load(&h->resets);

	return !h->answer_waits && !h->post_waits && !h->reset_waits && !reset_begins;
}

static void say_reset_done(struct user_host *h)
{
	if (!h->reset_owed || h->answer_waits || hv_machine_resetting(&h->machine))
		return;
	h->reset_owed = false;
	user_packet_init(&h->answer, USER_RESET_DONE, USER_RESET_DONE_SIZE);
	send_answer(h);
}

static void catch_up(struct user_host *h)
{
	if (h->answer_waits)
		send_answer(h);
	say_reset_done(h);
	if (!h->answer_waits && h->post_waits)
		take_post(h, &h->in);
	if (!h->answer_waits && h->reset_waits && !h->reset_owed)
		take_reset_packet(h);
	if (h->relay && atomic_exchange(&h->drivers_changed, false))
		user_relay_look(h->relay);
	if (atomic_load(&h->flooded) && !h->over)
		fail(h, USER_STATUS_INSUFFICIENT_RESOURCES, "the guest does not read its messages");
}

static void read_packet(struct user_host *h)
{
	const char *why;

	switch (user_receive(h->fd, &h->in, &why)) {
	case USER_RECEIVED:
		take_packet(h, &h->in);
		break;
	case USER_BAD:
		violate(h, why);
		break;
	case USER_HUNG_UP:
		h->over = true;
		break;
	case USER_NOTHING:
		break;
	}
}

static void drain_wake(struct user_host *h)
{
	uint64_t count;

	if (read(h->wake, &count, sizeof(count)) < 0)
		return; /* was drained */
}

/* Waits for what can be done next. */
static void wait_for_work(struct user_host *h, int timeout_ms)
{
	bool out = h->answer_waits || atomic_load(&h->want_out);
	/* A guest that has said its last is only heard when what it has said was read: to ask for
	 * that (POLLRDHUP) while we do not read would end no wait. A hang-up is told unasked. */
	struct pollfd fds[2] = {
		{.fd = h->fd, .events = (short)((may_read(h) ? POLLIN : 0) | (out ? POLLOUT : 0))},
		{.fd = h->wake, .events = POLLIN},
	};

	if (poll(fds, 2, timeout_ms) <= 0)
		return;
	if (fds[1].revents)
		drain_wake(h);
	if (fds[0].revents & (POLLHUP | POLLERR))
		h->over = true;
	else if (fds[0].revents & POLLIN && may_read(h))
		read_packet(h);
	if (fds[0].revents & POLLOUT && atomic_exchange(&h->want_out, false))
		hv_machine_look(&h->machine);
}

static void serve(struct user_host *h)
{
	while (!h->over && !atomic_load(&h->end)) {
		wait_for_work(h, -1);
		if (!h->over)
			catch_up(h);
	}
}

/* ---- HELLO ---- */

static const char *hello_fault(const struct user_packet *p)
{
	if (user_op(p) != USER_HELLO)
		return "an op before HELLO";
	if (p->size != USER_HELLO_SIZE)
		return "a packet of the wrong size";
	return p->fd_count ? "a wrong number of descriptors" : NULL;
}

static void acknowledge_hello(struct user_host *h, uint32_t status)
{
	user_packet_init(&h->answer, USER_HELLO_ACK, USER_HELLO_ACK_SIZE);
	vmbus_put32(h->answer.data + 8, USER_VERSION);
	vmbus_put32(h->answer.data + 12, status);
	vmbus_put32(h->answer.data + 16, h->options.part.limits.channels
						 ? h->options.part.limits.channels
						 : MAX_CHANNELS);
	send_answer(h);
}

static bool receive_hello(struct user_host *h)
{
	uint64_t until = clock_now_ns() + h->options.hello_timeout_ms * 1000000ull;
	const char *why = NULL;

	while (!atomic_load(&h->end)) {
		struct pollfd fds[2] = {{.fd = h->fd, .events = POLLIN},
					{.fd = h->wake, .events = POLLIN}};
		uint64_t now = clock_now_ns();
		enum user_receive got;

		if (now >= until)
			return false;
		poll(fds, 2, (int)((until - now) / 1000000u) + 1);
		got = user_receive(h->fd, &h->in, &why);
		if (got == USER_NOTHING)
			continue;
		if (got == USER_HUNG_UP)
			return false;
		if (got == USER_RECEIVED)
			why = hello_fault(&h->in);
		if (!why)
			return true;
		user_close_fds(&h->in);
		violate(h, why);
		return false;
	}
	return false;
}

/* The number of VPs that the guest has, or 0: the connection is over. */
static uint32_t greet(struct user_host *h)
{
	uint32_t vps;

	if (!receive_hello(h))
		return 0;
	vps = vmbus_get32(h->in.data + 12);
	if (vmbus_get32(h->in.data + 8) != USER_VERSION) {
		acknowledge_hello(h, USER_STATUS_NOT_SUPPORTED);
		return 0;
	}
	if (!vps || vps > USER_VPS_MAX || vmbus_get64(h->in.data + 16)) {
		violate(h, "HELLO: VPs or features that there are not");
		return 0;
	}
	return vps;
}

/* ---- life ---- */

static void no_interrupt(void *transport, uint32_t vp, uint8_t sint, bool message)
{
}

static void end_transport(void *transport)
{
	/* What is here goes with the connection, which outlives its partition. */
}

static bool open_ears(struct user_host *h, uint32_t vps)
{
	uint32_t dispatchers = h->part->options.server_dispatchers;
	int error = 0;

	h->ears = vps % dispatchers ? 0 : dispatchers;
	for (uint32_t i = 0; !error && i < (h->ears ? h->ears : 1); i++)
		error = part_ear_open(&h->ear[i]);
	return !error;
}

static bool start_partition(struct user_host *h, uint32_t vps)
{
	struct part_transport transport = {
		.transport = h, .host = &h->ops, .destroy = end_transport};

	h->options.part.vps = vps;
	if (part_new(&h->options.part, &h->part))
		return false;
	if (!open_ears(h, vps))
		return false;
	hv_machine_init(&h->machine, h->part->id, &h->part->server.memory, vps, no_interrupt);
	hv_machine_limit_posted(&h->machine, h->part->options.posted_messages);
	if (part_start_host(h->part, &transport))
		return false;
	if (h->options.relay.parts)
		return !user_relay_create(h->part, vps, &h->options.relay, &h->relay);
	h->hearing = !h->ears && !part_thread_create(&h->hearer, hear_all, h, "kmcl-user-hear");
	return h->ears || h->hearing;
}

static void stop_hearing(struct user_host *h)
{
	if (!h->hearing)
		return;
	atomic_store(&h->deaf, true);
	part_ear_wake(&h->ear[0]);
	pthread_join(h->hearer, NULL);
	h->hearing = false;
}

/* What an end in order has to say is said, if the guest listens. */
static void say_farewell(struct user_host *h)
{
	uint64_t until = clock_now_ns() + FAREWELL_MS * 1000000ull;

	while (server_end_has_to_say(&h->part->server) && clock_now_ns() < until && !h->over) {
		wait_for_work(h, 10);
		hv_machine_look(&h->machine);
	}
}

static void host_guest(struct user_host *h)
{
	if (!h->options.joined(h->options.owner, h->part)) {
		fail(h, USER_STATUS_INSUFFICIENT_RESOURCES, "the host's drivers did not start");
		return;
	}
	acknowledge_hello(h, 0);
	serve(h);
	if (h->relay)
		user_relay_end(h->relay);
	else if (h->over)
		hv_machine_reset(&h->machine);
	h->options.left(h->options.owner, h->part);
	if (!h->over)
		say_farewell(h);
}

/*
 * The guest reads our last words before it sees the end: what it has sent is thrown away first. The
 * descriptor keeps its number while there may be a thread that has yet to find out.
 */
static void hang_up(struct user_host *h)
{
	const char *why;
	enum user_receive got;

	shutdown(h->fd, SHUT_RDWR);
	do {
		got = user_receive(h->fd, &h->in, &why);
		if (got == USER_RECEIVED)
			user_close_fds(&h->in);
	} while (got == USER_RECEIVED || got == USER_BAD);
}

static void *connection(void *arg)
{
	struct user_host *h = arg;
	uint32_t vps = greet(h);

	if (vps) {
		if (start_partition(h, vps))
			host_guest(h);
		else
			fail(h, USER_STATUS_INSUFFICIENT_RESOURCES, "out of resources");
	}
	hang_up(h);
	stop_hearing(h);
	if (h->relay)
		user_relay_destroy(h->relay);
	if (h->part)
		part_destroy(h->part);
	if (vps)
		hv_machine_destroy(&h->machine);
	h->options.gone(h->options.owner);
	return NULL;
}

static void take_options(struct user_host *h, const struct user_host_options *options)
{
	h->options = *options;
	if (!h->options.memory_limit)
		h->options.memory_limit = MEMORY_LIMIT;
	if (!h->options.hello_timeout_ms)
		h->options.hello_timeout_ms = HELLO_TIMEOUT_MS;
	if (!h->options.part.queued_messages)
		h->options.part.queued_messages = MOST_QUEUED;
	/* Of version 6.0's features the one that this transport has a part in. */
	if (!options->relay.parts && !options->part.channel_range)
		h->options.part.features |= VMBUS_FEATURE_GUEST_SIGNAL;
	h->ops = hv_machine_ops;
	h->ops.take_message = take_message;
	h->ops.deliver = deliver;
	h->ops.set_flag = set_flag;
	h->ops.bind_port = bind_port;
	h->ops.bind_flag = bind_flag;
	h->ops.unbind_port = unbind_port;
	h->ops.take_reset = take_reset;
	h->ops.reset_done = reset_done;
	h->ops.flooded = flooded;
	/* signals are the drivers' own where those are in other processes */
	h->ops.ear = options->relay.parts ? NULL : ear_of;
	h->ops.hear = options->relay.parts ? NULL : hear;
	user_flags_init(&h->flags);
	h->flags.first_word = options->part.first_channel / 64;
	for (uint32_t i = 0; i < USER_VPS_MAX; i++)
		h->vp[i].to_host = h->vp[i].to_guest = -1;
	for (uint32_t i = 0; i < PART_MAX_DISPATCHERS; i++)
		h->ear[i] = PART_EAR_CLOSED;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void release(struct user_host *h)
{
	close_fd(h->fd);
	close_fd(h->wake);
	for (uint32_t i = 0; i < PART_MAX_DISPATCHERS; i++)
		part_ear_close(&h->ear[i]);
	for (uint32_t i = 0; i < USER_VPS_MAX; i++) {
		close_fd(h->vp[i].to_host);
		close_fd(h->vp[i].to_guest);
	}
	ringer_destroy(&h->ringer);
	free(h);
}

static int open_fds(struct user_host *h)
{
	h->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (h->wake < 0)
		return -errno;
	return ringer_init(&h->ringer);
}

int user_host_serve(int fd, const struct user_host_options *options, struct user_host **host)
{
	struct user_host *h = calloc(1, sizeof(*h));
	int error;

	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	h->wake = -1;
	h->fd = fd;
	take_options(h, options);
	error = open_fds(h);
	if (!error) {
		*host = h;
		error = part_thread_create(&h->thread, connection, h, "kmcl-user");
	}
	if (error)
		release(h);
	return error;
}

void user_host_drivers_changed(struct user_host *host)
{
	atomic_store(&host->drivers_changed, true);
	wake(host);
}

void user_host_end(struct user_host *host)
{
	atomic_store(&host->end, true);
	wake(host);
}

void user_host_join(struct user_host *host)
{
	pthread_join(host->thread, NULL);
	release(host);
}
