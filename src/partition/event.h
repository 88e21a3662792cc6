/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A line that many raise and one thread waits for. Raising a line whose owner is awake costs no
 * system call; the owner learns of it by one load.
 *
 * What the line stands for (a flag, a queued message) is stored before the line is raised, and
 * looked at after it is taken: both sides are sequentially consistent, so one of them sees the
 * other.
 */
#ifndef PARTITION_EVENT_H
#define PARTITION_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "partition/ear.h"

enum {
	PART_EVENT_IDLE,     /* nothing raised, the owner is awake */
	PART_EVENT_SET,      /* raised, not taken */
	PART_EVENT_SLEEPING, /* nothing raised, the owner sleeps in the kernel */
};

struct part_event {
	_Atomic uint32_t state;
	const struct part_ear *ear; /* where the owner sleeps; NULL: on `state` */
};

#define PART_EVENT_FOREVER UINT64_MAX

void part_event_wake(struct part_event *event);
/** Owner only. Sleeps until raised, a bell rang in the ear or the time is over; takes the line.
 *  False: the time is over. */
bool part_event_wait(struct part_event *event, uint64_t timeout_ns);

static inline void part_event_raise(struct part_event *event)
{
	if (atomic_load(&event->state) == PART_EVENT_SET)
		return;
	if (atomic_exchange(&event->state, PART_EVENT_SET) == PART_EVENT_SLEEPING)
		part_event_wake(event);
}

/** Owner only. */
static inline bool part_event_take(struct part_event *event)
{
	if (atomic_load_explicit(&event->state, memory_order_relaxed) != PART_EVENT_SET)
		return false;
	atomic_exchange(&event->state, PART_EVENT_IDLE);
	return true;
}

#endif
