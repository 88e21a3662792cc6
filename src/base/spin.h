/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A lock for a few instructions of work. It spins briefly and then gives the processor away,
 * because in user mode the holder can be preempted.
 */
#ifndef KMCL_BASE_SPIN_H
#define KMCL_BASE_SPIN_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"

struct spin_lock {
	atomic_int held;
};

static inline bool spin_try(struct spin_lock *l)
{
	return !atomic_load_explicit(&l->held, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&l->held, 1, memory_order_acquire);
}

static inline void spin_lock(struct spin_lock *l)
{
	if (!atomic_exchange_explicit(&l->held, 1, memory_order_acquire))
		return;
	for (unsigned int n = 0; !spin_try(l); n++) {
		if (n < 64)
			cpu_relax();
		else
			sched_yield();
	}
}

static inline void spin_unlock(struct spin_lock *l)
{
	atomic_store_explicit(&l->held, 0, memory_order_release);
}

#endif
