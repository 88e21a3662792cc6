/* SPDX-License-Identifier: MIT */
/** @file Sleeping on a word, until a time of nt_interrupt_time(). */
#ifndef NT_FUTEX_H
#define NT_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline void futex_wake(_Atomic uint32_t *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/** Sleeps while the word is `value`, or less. False: the deadline has passed. */
static inline bool futex_wait(_Atomic uint32_t *word, uint32_t value, const uint64_t *deadline)
{
	struct timespec until, *p = NULL;

	if (deadline) {
		until.tv_sec = (time_t)(*deadline / 10000000u);
		until.tv_nsec = (long)(*deadline % 10000000u) * 100;
		p = &until;
	}
	return !syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, p, NULL,
			FUTEX_BITSET_MATCH_ANY) ||
	       errno != ETIMEDOUT;
}

#endif
