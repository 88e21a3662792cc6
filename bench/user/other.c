/* SPDX-License-Identifier: MIT */
#include "user/other.h"

#include <kmcl/user.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MOST_PLACES = 4,
	WAIT_MS = 10000,
};

/* What the measuring process asks the other one; each is answered by a number. */
enum question {
	ASK_READY,       /* that the hosts listen */
	ASK_CONFIGURE,   /* the drivers of the next guest: those of place `value` */
	ASK_PREEMPTIONS, /* how many there were */
	ASK_ECHO,        /* `value` times, from one eventfd to the other */
};

struct asked {
	enum question question;
	uint64_t value;
};

static struct {
	const struct place_options *places;
	unsigned int count;
	char folder[32];
	int line;        /* to the other process */
	int there, back; /* eventfds */
	pid_t pid;
} self;

static void fail(const char *what)
{
	fprintf(stderr, "the two processes: %s\n", what);
	exit(1);
}

static void path_of(unsigned int index, char path[64])
{
	snprintf(path, 64, "%s/%u", self.folder, index);
}

/* ---- the other process ---- */

static kmcl_server *host_start(unsigned int index, const char *driver)
{
	struct kmcl_partition_options partition;
	struct kmcl_server_options options = {.size = sizeof(options), .partition = &partition};
	kmcl_server *server;
	char path[64];
	char *error = NULL;
	int code;

	path_of(index, path);
	place_partition_options(&self.places[index], &partition);
	code = kmcl_server_create(path, &options, &server, &error);
	if (!code)
		code = kmcl_server_load(server, driver, &error);
	if (!code)
		code = kmcl_server_start(server, &error);
	if (code)
		fail(error ? error : strerror(-code));
	return server;
}

static void echo(uint64_t count)
{
	uint64_t n;

	while (count--) {
		if (read(self.there, &n, sizeof(n)) != sizeof(n))
			fail("an eventfd cannot be read");
		n = 1;
		if (write(self.back, &n, sizeof(n)) != sizeof(n))
			fail("an eventfd cannot be written");
	}
}

static void answer(int line, uint64_t value)
{
	if (write(line, &value, sizeof(value)) != sizeof(value))
		exit(1); /* who asked is gone */
}

static void obey(int line, const struct asked *a)
{
	struct rusage usage;

	switch (a->question) {
	case ASK_READY:
		answer(line, 0);
		break;
	case ASK_CONFIGURE:
		place_configure(&self.places[a->value]);
		answer(line, 0);
		break;
	case ASK_PREEMPTIONS:
		getrusage(RUSAGE_SELF, &usage);
		answer(line, (uint64_t)usage.ru_nivcsw);
		break;
	case ASK_ECHO:
		bench_pin(0);
		answer(line, 0);
		echo(a->value);
		break;
	}
}

/* Its main thread, which is pinned only after all others were created. */
static _Noreturn void other_main(int line, const char *driver)
{
	kmcl_server *servers[MOST_PLACES];
	struct asked a;

	for (unsigned int i = 0; i < self.count; i++)
		servers[i] = host_start(i, driver);
	while (read(line, &a, sizeof(a)) == sizeof(a))
		obey(line, &a);
	for (unsigned int i = 0; i < self.count; i++)
		kmcl_server_destroy(servers[i]);
	exit(0);
}

/* ---- this one ---- */

static uint64_t ask(enum question question, uint64_t value)
{
	struct asked a = {question, value};

	if (write(self.line, &a, sizeof(a)) != sizeof(a) ||
	    read(self.line, &value, sizeof(value)) != sizeof(value))
		fail("the other one is gone");
	return value;
}

void other_start(const struct place_options *places, unsigned int count, const char *driver)
{
	int lines[2];

	if (count > MOST_PLACES)
		abort();
	signal(SIGPIPE, SIG_IGN);
	self.places = places;
	self.count = count;
	snprintf(self.folder, sizeof(self.folder), "/tmp/kmcl-bench-XXXXXX");
	self.there = eventfd(0, EFD_CLOEXEC);
	self.back = eventfd(0, EFD_CLOEXEC);
	if (!mkdtemp(self.folder) || self.there < 0 || self.back < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, lines))
		fail("no folder, or no descriptors");
	fflush(NULL);
	self.pid = fork();
	if (self.pid < 0)
		fail("cannot fork");
	close(lines[self.pid ? 1 : 0]);
	if (!self.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		other_main(lines[1], driver);
	}
	self.line = lines[0];
	ask(ASK_READY, 0);
	bench_preemptions_elsewhere(other_preemptions);
}

void other_end(void)
{
	int status;

	bench_preemptions_elsewhere(NULL);
	close(self.line);
	if (waitpid(self.pid, &status, 0) != self.pid || status)
		fail("the other one did not end well");
	rmdir(self.folder);
}

void other_join(struct place *p, unsigned int index)
{
	const struct place_options *options = &self.places[index];
	struct kmcl_partition_options partition;
	struct kmcl_guest_options guest = {
		.size = sizeof(guest), .wait_ms = WAIT_MS, .partition = &partition};
	char path[64];
	char *error = NULL;
	int code;

	path_of(index, path);
	place_partition_options(options, &partition);
	place_configure(options);
	ask(ASK_CONFIGURE, index);
	code = kmcl_partition_create_user(path, &guest, &p->partition, &error);
	if (code)
		fail(error ? error : strerror(-code));
	place_begin(p, options);
}

long other_preemptions(void)
{
	return (long)ask(ASK_PREEMPTIONS, 0);
}

double other_eventfd(void *arg, uint64_t count)
{
	uint64_t n = 1;
	double start;

	bench_pin(1);
	ask(ASK_ECHO, count);
	start = bench_seconds();
	for (uint64_t i = 0; i < count; i++) {
		if (write(self.there, &n, sizeof(n)) != sizeof(n) ||
		    read(self.back, &n, sizeof(n)) != sizeof(n))
			fail("an eventfd that does not work");
		n = 1;
	}
	return bench_seconds() - start;
}
