/* SPDX-License-Identifier: MIT */
#include "partition/ear.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define AT_ONCE 16

int part_ear_open(struct part_ear *ear)
{
	int error = 0;

	ear->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ear->epoll = ear->wake < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
	if (ear->epoll < 0)
		error = -errno;
	if (!error)
		error = part_ear_add(ear, ear->wake);
	if (error)
		part_ear_close(ear);
	return error;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void part_ear_close(struct part_ear *ear)
{
	close_fd(&ear->epoll);
	close_fd(&ear->wake);
}

int part_ear_add(const struct part_ear *ear, int bell)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = bell};

	return epoll_ctl(ear->epoll, EPOLL_CTL_ADD, bell, &event) ? -errno : 0;
}

void part_ear_remove(const struct part_ear *ear, int bell)
{
	epoll_ctl(ear->epoll, EPOLL_CTL_DEL, bell, NULL);
}

void part_ear_wake(const struct part_ear *ear)
{
	uint64_t one = 1;

	/* It is ours alone: its counter never gets full. */
	if (write(ear->wake, &one, sizeof(one)) < 0)
		return;
}

/* epoll counts in milliseconds. */
static void wait_in_ns(const struct part_ear *ear, uint64_t ns)
{
	struct pollfd pfd = {.fd = ear->epoll, .events = POLLIN};
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u),
			     .tv_nsec = (long)(ns % 1000000000u)};

	ppoll(&pfd, 1, &t, NULL);
}

bool part_ear_listen(const struct part_ear *ear, uint64_t timeout_ns)
{
	bool forever = timeout_ns == UINT64_MAX;
	struct epoll_event events[AT_ONCE];
	bool rang = false;
	int count;

	if (!forever)
		wait_in_ns(ear, timeout_ns);
	count = epoll_wait(ear->epoll, events, AT_ONCE, forever ? -1 : 0);
	for (int i = 0; i < count; i++)
		rang |= events[i].data.fd != ear->wake;
	return rang;
}
