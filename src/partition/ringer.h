/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Ringing an eventfd that somebody else may own too.
 *
 * A write to such a descriptor can block: O_NONBLOCK belongs to the description that both share,
 * and whoever fills the counter fills it for all. The kernel itself never blocks when it adds to
 * one, so the ringer has it do so: an asynchronous read of no bytes completes at once and rings the
 * descriptor named for its completion. Listening needs no reading either: edge-triggered epoll
 * tells of each ring, whatever the counter is.
 */
#ifndef PARTITION_RINGER_H
#define PARTITION_RINGER_H

#include <stdbool.h>
#include <stdint.h>

struct ringer {
	unsigned long context; /* aio_context_t */
	int zero;
	bool ready;
};

/** 0 or negative errno; -ENOSYS: a kernel without asynchronous I/O. */
int ringer_init(struct ringer *r);
void ringer_destroy(struct ringer *r);
/** Adds 1 to the eventfd. Any thread; never blocks. False: it is no eventfd, or the kernel is out
 * of resources. */
bool ringer_ring(const struct ringer *r, int eventfd);

#endif
