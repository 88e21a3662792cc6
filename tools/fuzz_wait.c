/* SPDX-License-Identifier: MIT */
/*
 * How long a driver is waited for. Time alone says little: a busy machine lets a driver's thread
 * wait for long, and an idle one has nothing to wait for when the driver is done. So it is seen
 * whether any thread of the process has something to do.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fuzz_wire.h"

/* Of a search: many drivers keep a packet, and time is dear. Of a replay: a timer of the driver's
 * may be what is waited for. */
#define QUIET_MS        2u
#define MOST_MS         30u
#define REPLAY_QUIET_MS 200u
#define REPLAY_MOST_MS  1500u

bool bell_init(struct fuzz_bell *b)
{
	b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return b->fd >= 0;
}

void bell_ring(struct fuzz_bell *b)
{
	uint64_t one = 1;

	if (write(b->fd, &one, sizeof(one)) < 0)
		return; /* its counter is full: it rings */
}

void bell_wait(struct fuzz_bell *b, int ms)
{
	struct pollfd fd = {.fd = b->fd, .events = POLLIN};
	uint64_t count;

	if (poll(&fd, 1, ms) > 0 && read(b->fd, &count, sizeof(count)) < 0)
		return;
}

void relax(void)
{
	sched_yield();
}

/* "17 (name) S ...": the name may have anything in it. A thread that has just gone sleeps too. */
static bool sleeps(int tasks, const char *task)
{
	char path[32], text[256];
	const char *at;
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "%.16s/stat", task);
	fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	size = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (size <= 0)
		return true;
	text[size] = 0;
	at = strrchr(text, ')');
	return at && !strncmp(at, ") S", 3);
}

bool others_sleep(void)
{
	static DIR *tasks; /* of this process, which has one such waiter */
	const struct dirent *e;
	bool asleep = true;

	if (tasks)
		rewinddir(tasks);
	else
		tasks = opendir("/proc/self/task");
	if (!tasks)
		return false;
	while (asleep && (e = readdir(tasks)) != NULL)
		if (e->d_name[0] != '.' && atoi(e->d_name) != gettid())
			asleep = sleeps(dirfd(tasks), e->d_name);
	return asleep;
}

void patience_begin(struct fuzz_patience *p, const struct fuzz_shared *shared)
{
	p->replay = shared->replay;
	p->began = p->quiet_since = fuzz_now_ms();
}

bool patience_ends(struct fuzz_patience *p)
{
	uint64_t now = fuzz_now_ms();

	if (!others_sleep())
		p->quiet_since = now;
	return now - p->quiet_since >= (p->replay ? REPLAY_QUIET_MS : QUIET_MS) ||
	       now - p->began >= (p->replay ? REPLAY_MOST_MS : MOST_MS);
}
