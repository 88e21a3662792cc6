/* SPDX-License-Identifier: MIT */
#include "partition/event.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct timespec t = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
			     .tv_nsec = (long)(timeout_ns % 1000000000u)};

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value,
		timeout_ns == PART_EVENT_FOREVER ? NULL : &t, NULL, 0);
}

void part_event_wake(struct part_event *event)
{
	if (event->ear)
		part_ear_wake(event->ear);
	else
		syscall(SYS_futex, &event->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* True: a bell rang. */
static bool sleep_once(struct part_event *event, uint64_t timeout_ns)
{
	if (event->ear)
		return part_ear_listen(event->ear, timeout_ns);
	futex_wait(&event->state, PART_EVENT_SLEEPING, timeout_ns);
	return false;
}

bool part_event_wait(struct part_event *event, uint64_t timeout_ns)
{
	bool forever = timeout_ns == PART_EVENT_FOREVER;
	uint64_t start = forever ? 0 : clock_now_ns();
	uint64_t left = timeout_ns;
	uint32_t idle = PART_EVENT_IDLE;
	bool rang = false;

	if (!atomic_compare_exchange_strong(&event->state, &idle, PART_EVENT_SLEEPING)) {
		atomic_exchange(&event->state, PART_EVENT_IDLE);
		return true;
	}
	/* An ear may have kept a wake-up for a line that was taken meanwhile. */
	while (left && !rang && atomic_load(&event->state) == PART_EVENT_SLEEPING) {
		rang = sleep_once(event, left);
		if (!forever) {
			uint64_t gone = clock_now_ns() - start;

			left = gone < timeout_ns ? timeout_ns - gone : 0;
		}
	}
	return atomic_exchange(&event->state, PART_EVENT_IDLE) == PART_EVENT_SET || rang;
}
