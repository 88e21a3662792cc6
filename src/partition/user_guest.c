/* SPDX-License-Identifier: MIT */
/*
 * A host at the other end of a socket, as the guest's end sees it.
 *
 * The guest's end finds messages in its SynIC pages, whatever the transport: here the connection's
 * thread puts them there, one at a time, and reads no further while a slot is taken. The flags lie
 * in the guest's event flag pages, and each dispatcher sleeps where the host's signals for its VP
 * ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "partition/internal.h"
#include "partition/ringer.h"
#include "partition/synic.h"
#include "partition/user.h"
#include "partition/user_wire.h"
#include "vmbus/wire.h"

#define ANSWER_MS 10000u
#define RETRY_MS  20
#define ALL_SINTS 0xffffu
#define RESET_MS  5000u
#define MOST_SAID 200u

struct guest_vp {
	int to_host, to_guest;
	struct part_ear ear;
	struct hv_flags *signals;
	uint64_t flags_gpa, signals_gpa;
	struct synic_vp synic;
};

struct user_guest {
	struct part *part;
	struct user_guest_options options;
	struct sockaddr_un address;
	struct ringer ringer;
	struct part_guest_lines lines;
	uint32_t vps;
	uint64_t signals_gpa;
	int wake;
	pthread_t thread;
	bool running;
	atomic_bool ending;

	pthread_mutex_t lock; /* the socket, as others than the thread see it */
	pthread_cond_t changed;
	int fd; /* -1: no host */
	bool reset_wanted, reset_over;

	atomic_bool lost, up;
	atomic_ullong bad_packets;
	struct guest_vp vp[USER_VPS_MAX];

	/* The connection's thread alone. */
	struct user_packet in;
	bool held; /* `in` is a message that found its slot taken */
};

static void wake(struct user_guest *g)
{
	uint64_t one = 1;

	if (write(g->wake, &one, sizeof(one)) < 0)
		return; /* its counter is full: it is awake */
}

/* ---- shaking hands ---- */

static int send_in_time(struct user_guest *g, int fd, const struct user_packet *p)
{
	uint64_t until = clock_now_ns() + ANSWER_MS * 1000000ull;
	int error;

	while ((error = user_send(fd, p)) == -EAGAIN) {
		struct pollfd pfd = {.fd = fd, .events = POLLOUT};

		if (clock_now_ns() >= until || atomic_load(&g->ending))
			return -ETIMEDOUT;
		poll(&pfd, 1, RETRY_MS);
	}
	return error;
}

/* Nothing but what can be printed goes from the host to a terminal, and not too much of that. */
static void note_error(struct user_guest *g, const struct user_packet *p)
{
	char text[MOST_SAID + 1];
	uint32_t size;

	if (p->size < USER_ERROR_SIZE)
		return;
	size = p->size - USER_ERROR_SIZE < MOST_SAID ? p->size - USER_ERROR_SIZE : MOST_SAID;
	for (uint32_t i = 0; i < size; i++) {
		uint8_t c = p->data[USER_ERROR_SIZE + i];

		text[i] = c >= ' ' && c <= '~' ? (char)c : '?';
	}
	text[size] = 0;
	KMCL_LOG_PEER(KMCL_LOG_WARNING, PART_SUBSYSTEM, g->part->id, 0,
		      "the host says: %s (status %#x, op %#x)", text, vmbus_get32(p->data + 8),
		      vmbus_get32(p->data + 12));
}

/* The next packet must be `op` of that size; anything else is no host of ours. */
static int receive_answer(struct user_guest *g, int fd, struct user_packet *p, uint32_t op,
			  uint32_t size)
{
	uint64_t until = clock_now_ns() + ANSWER_MS * 1000000ull;
	const char *why;

	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		enum user_receive got = user_receive(fd, p, &why);

		if (got == USER_RECEIVED) {
			user_close_fds(p);
			if (user_op(p) == op && p->size == size)
				return 0;
			if (user_op(p) == USER_ERROR)
				note_error(g, p);
			return user_op(p) == USER_ERROR ? -ECONNREFUSED : -EPROTO;
		}
		if (got == USER_BAD)
			return -EPROTO;
		if (got == USER_HUNG_UP)
			return -ECONNRESET;
		if (clock_now_ns() >= until || atomic_load(&g->ending))
			return -ETIMEDOUT;
		poll(&pfd, 1, RETRY_MS);
	}
}

static int ask(struct user_guest *g, int fd, struct user_packet *p, uint32_t op, uint32_t size,
	       uint32_t status_at)
{
	int error = send_in_time(g, fd, p);

	if (!error)
		error = receive_answer(g, fd, p, op, size);
	if (!error && vmbus_get32(p->data + status_at))
		error = -ECONNREFUSED;
	return error;
}

static int say_hello(struct user_guest *g, int fd)
{
	struct user_packet p;

	user_packet_init(&p, USER_HELLO, USER_HELLO_SIZE);
	vmbus_put32(p.data + 8, USER_VERSION);
	vmbus_put32(p.data + 12, g->vps);
	return ask(g, fd, &p, USER_HELLO_ACK, USER_HELLO_ACK_SIZE, 12);
}

static int show_memory(struct user_guest *g, int fd)
{
	const struct part_memory_range *r = &g->part->client.memory.range[0];
	struct user_packet p;

	user_packet_init(&p, USER_MEMORY, USER_MEMORY_SIZE);
	vmbus_put64(p.data + 8, r->gpa);
	vmbus_put64(p.data + 16, r->size);
	vmbus_put64(p.data + 24, r->offset);
	p.fds[p.fd_count++] = r->fd;
	return ask(g, fd, &p, USER_MEMORY_ACK, USER_MEMORY_ACK_SIZE, 8);
}

static int show_synic(struct user_guest *g, int fd, uint32_t vp)
{
	const struct guest_vp *v = &g->vp[vp];
	struct user_packet p;

	user_packet_init(&p, USER_SYNIC, USER_SYNIC_SIZE);
	vmbus_put32(p.data + 8, vp);
	vmbus_put64(p.data + 16, v->flags_gpa);
	vmbus_put64(p.data + 24, v->signals_gpa);
	p.fds[p.fd_count++] = v->to_host;
	p.fds[p.fd_count++] = v->to_guest;
	return ask(g, fd, &p, USER_SYNIC_ACK, USER_SYNIC_ACK_SIZE, 8);
}

static int renew_bell(int bell)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int error = fd < 0 || dup3(fd, bell, O_CLOEXEC) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return error;
}

/*
 * What the host before has done to its eventfds is nothing to the next one. The descriptors keep
 * their numbers: others may be ringing them.
 */
static int renew_bells(struct user_guest *g, uint32_t vp)
{
	struct guest_vp *v = &g->vp[vp];
	int error = renew_bell(v->to_host);

	if (error)
		return error;
	/* Before it is replaced: it would stay for as long as the host has it. */
	part_ear_remove(&v->ear, v->to_guest);
	error = renew_bell(v->to_guest);
	return error ? error : part_ear_add(&v->ear, v->to_guest);
}

static bool may_come(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -EAGAIN;
}

static int dial_once(const struct user_guest *g)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&g->address, sizeof(g->address)))
		error = -errno;
	if (!error)
		return fd;
	close(fd);
	return error;
}

/* A descriptor or negative errno. Where others wait to be accepted (-EAGAIN) there is a host. */
static int dial(struct user_guest *g, uint64_t until)
{
	uint64_t in_turn = clock_now_ns() + ANSWER_MS * 1000000ull;

	for (;;) {
		struct pollfd pfd = {.fd = g->wake, .events = POLLIN};
		int fd = dial_once(g);
		uint64_t end = fd == -EAGAIN && until < in_turn ? in_turn : until;

		if (fd >= 0 || !may_come(fd) || clock_now_ns() >= end || atomic_load(&g->ending))
			return fd;
		poll(&pfd, 1, RETRY_MS);
	}
}

static int show_processors(struct user_guest *g, int fd)
{
	int error = 0;

	for (uint32_t vp = 0; !error && vp < g->vps && g->vp[vp].flags_gpa; vp++) {
		error = renew_bells(g, vp);
		if (!error)
			error = show_synic(g, fd, vp);
	}
	return error;
}

static int meet(struct user_guest *g, uint64_t until, const char **why)
{
	int fd, error;

	*why = "nobody serves this socket, or not to us";
	fd = dial(g, until);
	if (fd < 0)
		return fd;
	*why = "who serves this socket takes no more guests, or does not speak vmbus-user "
	       "version 1";
	error = say_hello(g, fd);
	if (!error) {
		*why = "the host does not take the guest's memory";
		error = show_memory(g, fd);
	}
	if (!error) {
		*why = "the host does not take the guest's processors";
		error = show_processors(g, fd);
	}
	if (!error)
		return fd;
	close(fd);
	return error;
}

/* ---- the connection's thread ---- */

static bool put_message(struct user_guest *g, const struct user_packet *p)
{
	uint32_t vp = vmbus_get32(p->data + 8);
	uint32_t sint = vmbus_get32(p->data + 12); /* and the reserved half, which is zero */
	uint32_t size = vmbus_get32(p->data + 20);

	if (p->size < USER_MESSAGE_SIZE || size != p->size - USER_MESSAGE_SIZE ||
	    size > HV_MESSAGE_MAX || vp >= g->vps || sint >= SYNIC_SINTS ||
	    vmbus_get32(p->data + 16) != HV_MESSAGE_TYPE_VMBUS) {
		atomic_fetch_add(&g->bad_packets, 1);
		return true;
	}
	if (synic_deliver(&g->vp[vp].synic, (uint8_t)sint, HV_MESSAGE_TYPE_VMBUS, 0,
			  p->data + USER_MESSAGE_SIZE, size) == -EAGAIN)
		return false;
	part_event_raise(g->lines.messages);
	return true;
}

static void end_reset(struct user_guest *g)
{
	pthread_mutex_lock(&g->lock);
	g->reset_over = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static void take_packet(struct user_guest *g)
{
	switch (user_op(&g->in)) {
	case USER_MESSAGE:
		g->held = !put_message(g, &g->in);
		break;
	case USER_RESET_DONE:
		end_reset(g);
		break;
	case USER_ERROR:
		note_error(g, &g->in);
		break;
	default:
		atomic_fetch_add(&g->bad_packets, 1);
		break;
	}
}

/* False: the host is gone. */
static bool read_packet(struct user_guest *g)
{
	const char *why;

	switch (user_receive(g->fd, &g->in, &why)) {
	case USER_RECEIVED:
		user_close_fds(&g->in);
		take_packet(g);
		return true;
	case USER_BAD:
		atomic_fetch_add(&g->bad_packets, 1);
		return true;
	case USER_HUNG_UP:
		return false;
	case USER_NOTHING:
		break;
	}
	return true;
}

static bool serve_once(struct user_guest *g)
{
	struct pollfd fds[2] = {
		{.fd = g->fd, .events = (short)(g->held ? 0 : POLLIN)},
		{.fd = g->wake, .events = POLLIN},
	};
	uint64_t count;

	if (poll(fds, 2, -1) < 0)
		return true;
	if (fds[1].revents && read(g->wake, &count, sizeof(count)) > 0 && g->held)
		g->held = !put_message(g, &g->in);
	if (fds[0].revents & POLLIN && !g->held)
		return read_packet(g);
	return !(fds[0].revents & (POLLHUP | POLLERR));
}

static void lose(struct user_guest *g)
{
	pthread_mutex_lock(&g->lock);
	close(g->fd);
	g->fd = -1;
	g->reset_over = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	g->held = false;
	atomic_store(&g->up, false);
	atomic_store(&g->lost, true);
	part_event_raise(g->lines.messages);
}

static bool find_host(struct user_guest *g)
{
	int fd = -ECONNREFUSED;
	const char *why;

	while (g->options.reconnect && fd < 0 && !atomic_load(&g->ending)) {
		struct pollfd pfd = {.fd = g->wake, .events = POLLIN};

		fd = meet(g, UINT64_MAX, &why);
		if (fd >= 0 || atomic_load(&g->ending))
			break;
		KMCL_LOG_PEER(KMCL_LOG_INFO, PART_SUBSYSTEM, g->part->id, 0, "%s (%s)", why,
			      strerror(-fd));
		poll(&pfd, 1, RETRY_MS);
	}
	if (fd < 0)
		return false;
	pthread_mutex_lock(&g->lock);
	g->fd = fd;
	pthread_mutex_unlock(&g->lock);
	atomic_store(&g->up, true);
	part_event_raise(g->lines.messages);
	return true;
}

static void *connection(void *arg)
{
	struct user_guest *g = arg;

	do {
		while (!atomic_load(&g->ending) && serve_once(g))
			;
		if (atomic_load(&g->ending))
			break;
		lose(g);
	} while (find_host(g));
	return NULL;
}

/* ---- guest operations ---- */

static void guest_start(void *transport, const struct part_guest_lines *lines)
{
	struct user_guest *g = transport;

	g->lines = *lines;
}

static void guest_stop(void *transport)
{
	struct user_guest *g = transport;

	atomic_store(&g->ending, true);
	wake(g);
	if (g->running)
		pthread_join(g->thread, NULL);
	g->running = false;
}

static int start_thread(struct user_guest *g)
{
	int error = part_thread_create(&g->thread, connection, g, "kmcl-user");

	g->running = !error;
	return error;
}

static int enable_synic(void *transport, uint32_t vp, uint64_t simp_gpa, uint64_t siefp_gpa)
{
	struct user_guest *g = transport;
	struct part_memory *m = &g->part->client.memory;
	struct guest_vp *v = &g->vp[vp];
	int error;

	v->flags_gpa = siefp_gpa;
	v->signals_gpa = g->signals_gpa + (uint64_t)vp * PART_PAGE_SIZE;
	v->signals = memory_at(m, v->signals_gpa, PART_PAGE_SIZE);
	atomic_store(&v->synic.simp, (uint8_t *)memory_at(m, simp_gpa, PART_PAGE_SIZE));
	atomic_store(&v->synic.siefp, (uint8_t *)memory_at(m, siefp_gpa, PART_PAGE_SIZE));
	atomic_store(&v->synic.unmasked, ALL_SINTS);
	error = part_ear_add(&v->ear, v->to_guest);
	if (!error)
		error = show_synic(g, g->fd, vp);
	/* The answers are over: from here on the thread reads. */
	return error || vp + 1 < g->vps ? error : start_thread(g);
}

static int unmask_sint(void *transport, uint32_t vp, uint8_t sint, bool unmasked)
{
	return 0; /* nothing comes at a SINT that nobody asked for */
}

static uint16_t post_message(void *transport, const struct hv_message *message)
{
	struct user_guest *g = transport;
	struct user_packet p;
	int error;

	user_packet_init(&p, USER_POST, USER_POST_SIZE + message->size);
	vmbus_put32(p.data + 8, message->connection_id);
	vmbus_put32(p.data + 12, message->type);
	memcpy(p.data + USER_POST_SIZE, message->payload, message->size);
	pthread_mutex_lock(&g->lock);
	/* To a host that is gone everything can be said, and who has not noticed speaks to it. */
	error = g->fd < 0 || atomic_load(&g->lost) ? 0 : user_send(g->fd, &p);
	pthread_mutex_unlock(&g->lock);
	return error == -EAGAIN ? HV_STATUS_INSUFFICIENT_BUFFERS : HV_STATUS_SUCCESS;
}

static void signal_flag(void *transport, uint32_t vp, uint16_t flag)
{
	struct user_guest *g = transport;
	struct guest_vp *v = &g->vp[vp % g->vps];

	hv_flag_set(v->signals, flag);
	ringer_ring(&g->ringer, v->to_host);
}

static void end_of_message(void *transport, uint32_t vp)
{
	wake(transport);
}

static int send_reset(struct user_guest *g)
{
	struct user_packet p;
	int error;

	user_packet_init(&p, USER_RESET, USER_RESET_SIZE);
	while ((error = g->fd < 0 ? -EPIPE : user_send(g->fd, &p)) == -EAGAIN) {
		struct timespec pause = {.tv_nsec = 1000000};

		pthread_mutex_unlock(&g->lock);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&g->lock);
	}
	return error;
}

static void reset(void *transport)
{
	struct user_guest *g = transport;

	pthread_mutex_lock(&g->lock);
	g->reset_over = false;
	if (send_reset(g))
		g->reset_over = true;
	while (!g->reset_over) {
		uint64_t at = clock_now_ns() + RESET_MS * 1000000ull;
		struct timespec t = {.tv_sec = (time_t)(at / 1000000000u),
				     .tv_nsec = (long)(at % 1000000000u)};

		if (pthread_cond_timedwait(&g->changed, &g->lock, &t) == ETIMEDOUT)
			kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, g->part->id, 0,
				 "a reset waits for the host");
	}
	pthread_mutex_unlock(&g->lock);
}

/* What the host that is gone has said is no answer of the next one. */
static void forget_messages(struct user_guest *g)
{
	struct hv_message message;
	bool end_of_message;

	for (uint32_t vp = 0; vp < g->vps; vp++)
		synic_take(atomic_load(&g->vp[vp].synic.simp), VMBUS_SINT, &message,
			   &end_of_message);
	wake(g);
}

static bool take_loss(void *transport)
{
	struct user_guest *g = transport;

	if (!atomic_load_explicit(&g->lost, memory_order_relaxed))
		return false;
	/* Messages first: of what is said from here on nothing may be lost. */
	forget_messages(g);
	return atomic_exchange(&g->lost, false);
}

static bool is_up(void *transport)
{
	struct user_guest *g = transport;

	return atomic_load(&g->up);
}

static const struct part_ear *ear_of(void *transport, uint32_t vp)
{
	struct user_guest *g = transport;

	return &g->vp[vp].ear;
}

static const struct part_guest_ops guest_ops = {
	.start = guest_start,
	.stop = guest_stop,
	.enable_synic = enable_synic,
	.unmask_sint = unmask_sint,
	.post_message = post_message,
	.signal_flag = signal_flag,
	.end_of_message = end_of_message,
	.reset = reset,
	.take_loss = take_loss,
	.is_up = is_up,
	.ear = ear_of,
};

/* ---- life ---- */

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void destroy(void *transport)
{
	struct user_guest *g = transport;

	close_fd(g->fd);
	close_fd(g->wake);
	for (uint32_t i = 0; i < g->vps; i++) {
		close_fd(g->vp[i].to_host);
		close_fd(g->vp[i].to_guest);
		part_ear_close(&g->vp[i].ear);
	}
	ringer_destroy(&g->ringer);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static struct user_guest *new_guest(struct part *part, const struct user_guest_options *options)
{
	struct user_guest *g = calloc(1, sizeof(*g));
	pthread_condattr_t attr;

	if (!g)
		return NULL;
	g->part = part;
	g->options = *options;
	g->vps = part->options.vps;
	g->fd = g->wake = -1;
	for (uint32_t i = 0; i < g->vps; i++) {
		g->vp[i].to_host = g->vp[i].to_guest = -1;
		g->vp[i].ear = PART_EAR_CLOSED;
	}
	pthread_mutex_init(&g->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->changed, &attr);
	pthread_condattr_destroy(&attr);
	return g;
}

static int open_fds(struct user_guest *g)
{
	int error = 0;

	g->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (g->wake < 0)
		return -errno;
	for (uint32_t i = 0; !error && i < g->vps; i++) {
		g->vp[i].to_host = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		g->vp[i].to_guest = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (g->vp[i].to_host < 0 || g->vp[i].to_guest < 0)
			return -errno;
		error = part_ear_open(&g->vp[i].ear);
	}
	return error ? error : ringer_init(&g->ringer);
}

static int connect_guest(struct user_guest *g, const char *path, const char **why)
{
	int error;

	*why = "the socket's path is too long";
	if (strlen(path) >= sizeof(g->address.sun_path))
		return -ENAMETOOLONG;
	g->address.sun_family = AF_UNIX;
	memcpy(g->address.sun_path, path, strlen(path) + 1);
	*why = "out of descriptors, or a kernel without asynchronous I/O";
	error = open_fds(g);
	if (error)
		return error;
	*why = "out of memory";
	error = part_guest_memory(g->part);
	if (error >= 0)
		error = part_pages_alloc(&g->part->client, g->vps, &g->signals_gpa);
	if (error < 0)
		return error;
	g->fd = meet(g, clock_now_ns() + g->options.wait_ms * 1000000ull, why);
	atomic_store(&g->up, g->fd >= 0);
	return g->fd < 0 ? g->fd : 0;
}

int user_guest_create(const char *path, const struct user_guest_options *options,
		      struct part **part, const char **why)
{
	struct part_transport transport = {.guest = &guest_ops, .destroy = destroy};
	struct user_guest *g;
	struct part *p;
	int error = part_new(&options->part, &p);

	*why = "wrong options";
	if (error)
		return error;
	g = new_guest(p, options);
	if (!g) {
		part_destroy(p);
		return -ENOMEM;
	}
	error = connect_guest(g, path, why);
	if (error) {
		destroy(g);
	} else {
		transport.transport = g;
		error = part_start_guest(p, &transport);
	}
	if (error)
		part_destroy(p);
	else
		*part = p;
	return error;
}
