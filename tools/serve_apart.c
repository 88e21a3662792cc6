/* SPDX-License-Identifier: MIT */
/*
 * kmcl serve --process-per-driver. Three kinds of processes:
 *
 *   the keeper  starts the others, and a driver again that died; reads nothing of a guest's
 *   the front   listens at the socket and speaks with guests; has no driver
 *   a driver's  executes this program anew, so that no two share where things lie
 *
 * The front is handed a feed to each driver's process by the keeper, and hands a connection for
 * each guest to the driver by the feed. Each waits for the hang-up of what it was given as the sign
 * to end, so that nobody stays behind, whoever dies.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"
#include "serve.h"

#define RESTART_MS      100u /* before a driver that died is started again; doubles up to */
#define RESTART_MOST_MS 10000u
#define LIVED_MS        30000u /* who lived so long is started again as if it were the first time */
#define END_MS          15000u /* for processes to end by themselves */
#define TICK_MS         100

struct driver {
	pid_t pid;                  /* 0: none */
	int feed;                   /* the front's end, until it has it; else -1 */
	bool fresh;                 /* has not said that it is ready */
	uint64_t started, start_at; /* ms; start_at 0: not to be started */
	uint64_t wait;
};

struct keeper {
	struct serve *s;
	const sigset_t *ends;
	int link; /* to the front */
	pid_t front;
	int signals;
	struct driver driver[MOST_DRIVERS];
	uint64_t end_at;
	bool good, over;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- handing feeds over ---- */

union fd_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static bool send_feed(int link, unsigned int driver, int fd)
{
	union fd_control control = {0};
	uint8_t number = (uint8_t)driver;
	struct iovec iov = {.iov_base = &number, .iov_len = 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};

	CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(fd));
	return sendmsg(link, &m, MSG_NOSIGNAL) == 1;
}

/* The driver's number; -1: the keeper is gone. */
static int receive_feed(int link, int *fd)
{
	union fd_control control;
	uint8_t number;
	struct iovec iov = {.iov_base = &number, .iov_len = 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};

	if (recvmsg(link, &m, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&m))
		return -1;
	memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(*fd));
	return number;
}

/* ---- a driver's process ---- */

static bool start_feed(struct serve *s)
{
	char *error;

	if (kmcl_server_create_fed(s->feed, (uint32_t)s->driver, (uint32_t)s->drivers, &s->options,
				   &s->server, &error) ||
	    kmcl_server_load(s->server, s->specs[0], &error))
		return serve_failed(error);
	if (s->sandbox && !sandbox_enter(NULL, NULL, false))
		return false;
	return !kmcl_server_start(s->server, &error) || serve_failed(error);
}

bool serve_feed(struct serve *s)
{
	bool good = start_feed(s), there = good;

	while (there) {
		struct pollfd pfd = {.fd = s->feed, .events = POLLRDHUP};

		there = poll(&pfd, 1, -1) <= 0;
	}
	kmcl_server_destroy(s->server);
	return good;
}

/* ---- the front ---- */

static bool attach(struct serve *s, int link)
{
	int fd, driver = receive_feed(link, &fd);

	if (driver < 0)
		return false;
	kmcl_server_attach(s->server, (unsigned int)driver, fd);
	return true;
}

static bool start_front(struct serve *s, int link)
{
	char *error;

	if (kmcl_server_create(s->socket, &s->options, &s->server, &error))
		return serve_failed(error);
	kmcl_server_expect(s->server, s->count);
	for (unsigned int i = 0; i < s->count; i++)
		if (!attach(s, link))
			return false;
	if (s->sandbox && !sandbox_enter(s->socket, NULL, true))
		return false;
	if (kmcl_server_start(s->server, &error))
		return serve_failed(error);
	printf("serving %s\n", s->socket);
	fflush(stdout);
	return true;
}

static bool serve_front(struct serve *s, int link)
{
	bool good = start_front(s, link), there = good;
	unsigned int known = 0;

	while (there) {
		struct pollfd pfd = {.fd = link, .events = POLLIN};
		unsigned int guests;

		if (poll(&pfd, 1, TICK_MS) > 0)
			there = attach(s, link);
		guests = kmcl_server_guests(s->server);
		if (guests != known) {
			printf("%u guest%s\n", guests, guests == 1 ? "" : "s");
			fflush(stdout);
		}
		known = guests;
	}
	kmcl_server_destroy(s->server);
	return good;
}

/* ---- the keeper: starting ---- */

static void add(char **argv, size_t *count, const char *word)
{
	argv[(*count)++] = (char *)(uintptr_t)word;
}

/* As we were told, but for one driver. */
static void execute_driver(const struct serve *s, unsigned int driver, int feed)
{
	char *argv[24], feed_text[16], place[32], guests[24], memory[24], dispatchers[24];
	size_t count = 0;

	snprintf(feed_text, sizeof(feed_text), "%d", feed);
	snprintf(place, sizeof(place), "%u/%u", driver, s->count);
	snprintf(guests, sizeof(guests), "%u", s->options.guests);
	snprintf(memory, sizeof(memory), "%llu",
		 (unsigned long long)(s->options.guest_memory >> 20));
	snprintf(dispatchers, sizeof(dispatchers), "%u", s->bus.processors);
	for (const char *const *word =
		     (const char *const[]){"kmcl", "serve", "--feed", feed_text, "--place", place,
					   "--driver", s->specs[driver], NULL};
	     *word; word++)
		add(argv, &count, *word);
	if (s->options.guests) {
		add(argv, &count, "--guests");
		add(argv, &count, guests);
	}
	if (s->options.guest_memory) {
		add(argv, &count, "--guest-memory");
		add(argv, &count, memory);
	}
	if (s->bus.processors) {
		add(argv, &count, "--dispatchers");
		add(argv, &count, dispatchers);
	}
	if (!s->sandbox)
		add(argv, &count, "--no-sandbox");
	argv[count] = NULL;
	execv("/proc/self/exe", argv);
	complain("cannot execute a driver's process: %s", strerror(errno));
}

/* The copy of ours that executes it; the end that goes along is the only one it keeps. */
static void become_driver(const struct keeper *k, unsigned int driver, int feed, pid_t keeper)
{
	int kept = dup(feed);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == keeper && kept >= 0)
		execute_driver(k->s, driver, kept);
	_exit(TOOL_FAILED);
}

static bool start_driver(struct keeper *k, unsigned int number)
{
	struct driver *d = &k->driver[number];
	int pair[2];
	pid_t self = getpid();

	d->start_at = 0;
	d->started = now_ms();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		complain("%s: %s", k->s->specs[number], strerror(errno));
		return false;
	}
	fflush(stdout);
	d->pid = fork();
	if (!d->pid)
		become_driver(k, number, pair[1], self);
	close(pair[1]);
	if (d->pid < 0) {
		complain("%s: %s", k->s->specs[number], strerror(errno));
		d->pid = 0;
		close(pair[0]);
		return false;
	}
	d->feed = pair[0];
	d->fresh = true;
	return true;
}

/* Told apart by their words, which a log and a test may look for. */
static void tell_of_driver(const struct keeper *k, unsigned int number)
{
	printf("driver %s: process %d\n", k->s->specs[number], (int)k->driver[number].pid);
	fflush(stdout);
}

/* False: it hung up instead. */
static bool driver_is_ready(struct keeper *k, unsigned int number)
{
	struct driver *d = &k->driver[number];
	char packet[64];

	if (recv(d->feed, packet, sizeof(packet), 0) <= 0)
		return false;
	d->fresh = false;
	tell_of_driver(k, number);
	return true;
}

static bool hand_over(struct keeper *k, unsigned int number)
{
	struct driver *d = &k->driver[number];
	bool sent = send_feed(k->link, number, d->feed);

	close_fd(&d->feed);
	return sent;
}

static bool start_front_process(struct keeper *k)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		complain("%s", strerror(errno));
		return false;
	}
	fflush(stdout);
	k->front = fork();
	if (!k->front) {
		close(pair[0]);
		close(k->signals);
		for (unsigned int i = 0; i < k->s->count; i++)
			close_fd(&k->driver[i].feed);
		exit(serve_front(k->s, pair[1]) ? TOOL_OK : TOOL_FAILED);
	}
	close(pair[1]);
	k->link = pair[0];
	if (k->front > 0)
		return true;
	complain("%s", strerror(errno));
	k->front = 0;
	return false;
}

static bool start_all(struct keeper *k)
{
	for (unsigned int i = 0; i < k->s->count; i++)
		if (!start_driver(k, i))
			return false;
	/* one that cannot be loaded has said why, and hangs up */
	for (unsigned int i = 0; i < k->s->count; i++)
		if (!driver_is_ready(k, i))
			return false;
	if (!start_front_process(k))
		return false;
	for (unsigned int i = 0; i < k->s->count; i++)
		if (!hand_over(k, i))
			return false;
	return true;
}

/* ---- the keeper: keeping ---- */

static void describe_end(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "died by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "ended with status %d", WEXITSTATUS(status));
}

static void bury_driver(struct keeper *k, unsigned int number, int status)
{
	struct driver *d = &k->driver[number];
	uint64_t now = now_ms();
	char how[96];

	describe_end(status, how, sizeof(how));
	if (now - d->started >= LIVED_MS || !d->wait)
		d->wait = RESTART_MS;
	if (!k->over)
		complain("driver %s: process %d %s; another is started in %llu ms",
			 k->s->specs[number], (int)d->pid, how, (unsigned long long)d->wait);
	d->pid = 0;
	close_fd(&d->feed);
	d->start_at = now + d->wait;
	d->wait = d->wait * 2 < RESTART_MOST_MS ? d->wait * 2 : RESTART_MOST_MS;
}

static void bury_front(struct keeper *k, int status)
{
	char how[96];

	describe_end(status, how, sizeof(how));
	k->front = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		k->good = false;
		complain("the process that listens at %s %s", k->s->socket, how);
	}
	k->over = true;
}

static void bury(struct keeper *k)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == k->front)
			bury_front(k, status);
		for (unsigned int i = 0; i < k->s->count; i++)
			if (k->driver[i].pid == pid)
				bury_driver(k, i, status);
	}
}

static void take_signals(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (read(k->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		printf("%s: ending\n", strsignal((int)info.ssi_signo));
		fflush(stdout);
		k->over = true;
	}
	bury(k);
}

static int time_to_wait(const struct keeper *k)
{
	uint64_t next = k->end_at, now = now_ms();

	for (unsigned int i = 0; i < k->s->count; i++)
		if (k->driver[i].start_at && k->driver[i].start_at < next)
			next = k->driver[i].start_at;
	if (next == UINT64_MAX)
		return -1;
	return next <= now ? 0 : next - now > 1000 ? 1000 : (int)(next - now);
}

static void wait_for_work(struct keeper *k)
{
	struct pollfd fds[MOST_DRIVERS + 1];

	for (unsigned int i = 0; i < k->s->count; i++) {
		const struct driver *d = &k->driver[i];

		fds[i] = (struct pollfd){.fd = d->fresh ? d->feed : -1, .events = POLLIN};
	}
	fds[k->s->count] = (struct pollfd){.fd = k->signals, .events = POLLIN};
	if (poll(fds, k->s->count + 1, time_to_wait(k)) < 0)
		return;
	for (unsigned int i = 0; i < k->s->count; i++) {
		if (!fds[i].revents)
			continue;
		if (!driver_is_ready(k, i))
			close_fd(&k->driver[i].feed); /* its end is told by its signal */
		else if (!hand_over(k, i))
			k->over = true;
	}
	take_signals(k);
}

static void keep(struct keeper *k)
{
	while (!k->over) {
		wait_for_work(k);
		for (unsigned int i = 0; i < k->s->count && !k->over; i++) {
			struct driver *d = &k->driver[i];

			if (d->start_at && d->start_at <= now_ms() && !start_driver(k, i))
				d->start_at = now_ms() + d->wait;
		}
		k->over |= now_ms() >= k->end_at;
	}
}

/* ---- the keeper: ending ---- */

static bool anybody(const struct keeper *k)
{
	bool any = k->front > 0;

	for (unsigned int i = 0; i < k->s->count; i++)
		any |= k->driver[i].pid > 0;
	return any;
}

static void kill_all(const struct keeper *k)
{
	if (k->front > 0)
		kill(k->front, SIGKILL);
	for (unsigned int i = 0; i < k->s->count; i++)
		if (k->driver[i].pid > 0)
			kill(k->driver[i].pid, SIGKILL);
}

/* The front tells guests and hangs up on drivers; they end then. */
static void end_all(struct keeper *k)
{
	uint64_t until = now_ms() + END_MS;
	bool killed = false;

	k->over = true;
	close_fd(&k->link);
	for (unsigned int i = 0; i < k->s->count; i++)
		close_fd(&k->driver[i].feed);
	while (anybody(k)) {
		struct pollfd pfd = {.fd = k->signals, .events = POLLIN};

		if (!killed && now_ms() >= until) {
			complain("a process does not end: killed");
			kill_all(k);
			killed = true;
			k->good = false;
		}
		poll(&pfd, 1, TICK_MS);
		take_signals(k);
	}
}

bool serve_apart(struct serve *s, const sigset_t *ends)
{
	struct keeper k = {.s = s, .ends = ends, .link = -1, .end_at = UINT64_MAX};
	sigset_t heard = *ends;

	for (unsigned int i = 0; i < MOST_DRIVERS; i++)
		k.driver[i].feed = -1;
	sigaddset(&heard, SIGCHLD);
	sigprocmask(SIG_BLOCK, &heard, NULL);
	k.signals = signalfd(-1, &heard, SFD_NONBLOCK | SFD_CLOEXEC);
	if (k.signals < 0) {
		complain("%s", strerror(errno));
		return false;
	}
	if (s->timeout)
		k.end_at = now_ms() + s->timeout * 1000;
	k.good = start_all(&k);
	if (k.good)
		keep(&k);
	end_all(&k);
	close(k.signals);
	return k.good;
}
