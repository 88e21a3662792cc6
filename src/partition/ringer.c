/* SPDX-License-Identifier: MIT */
#include "partition/ringer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Completions that may wait to be thrown away. The system has few, one context a partition. */
#define EVENTS 64u
#define TRIES  4u

int ringer_init(struct ringer *r)
{
	aio_context_t context = 0;

	memset(r, 0, sizeof(*r));
	r->zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (r->zero < 0)
		return -errno;
	if (syscall(SYS_io_setup, EVENTS, &context)) {
		int error = -errno;

		close(r->zero);
		return error;
	}
	r->context = context;
	r->ready = true;
	return 0;
}

void ringer_destroy(struct ringer *r)
{
	if (!r->ready)
		return;
	syscall(SYS_io_destroy, (aio_context_t)r->context);
	close(r->zero);
	r->ready = false;
}

static void throw_completions_away(const struct ringer *r)
{
	struct timespec now = {0};
	struct io_event events[EVENTS];

	syscall(SYS_io_getevents, (aio_context_t)r->context, 0L, (long)EVENTS, events, &now);
}

bool ringer_ring(const struct ringer *r, int eventfd)
{
	char nothing;
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)r->zero,
		.aio_buf = (uintptr_t)&nothing,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)eventfd,
	};
	struct iocb *one = &request;

	for (unsigned int i = 0; i < TRIES; i++) {
		if (syscall(SYS_io_submit, (aio_context_t)r->context, 1L, &one) == 1)
			return true;
		if (errno != EAGAIN)
			return false;
		throw_completions_away(r);
	}
	return false;
}
