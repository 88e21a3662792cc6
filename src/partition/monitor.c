/* SPDX-License-Identifier: MIT */
#include "partition/monitor.h"

#include <errno.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "partition/dispatch.h"

/* The kernel may add that much to a sleep; its default is as long as the shortest latency. */
#define TIMER_SLACK_NS 1000ul

static void ring_doorbells(const struct part_monitor *m, const uint32_t *hits)
{
	for (uint32_t g = 0; g < VMBUS_MONITOR_GROUPS; g++) {
		for (uint32_t left = hits[g]; left; left &= left - 1) {
			const struct part_monitor_target *t =
				&m->target[32 * g + (uint32_t)__builtin_ctz(left)];

			hv_flag_set(t->doorbell, t->channel);
			part_event_raise(t->event);
		}
	}
}

static uint64_t look(struct part_monitor *m)
{
	uint32_t hits[VMBUS_MONITOR_GROUPS];
	uint64_t next = VMBUS_MONITOR_NEVER;

	pthread_mutex_lock(&m->lock);
	if (m->page && vmbus_monitor_watches(&m->ids)) {
		next = vmbus_monitor_look(&m->ids, m->page, clock_now_ns(), hits);
		ring_doorbells(m, hits);
		atomic_fetch_add_explicit(&m->looks, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&m->lock);
	return next;
}

static void *run(void *arg)
{
	struct part_monitor *m = arg;

	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	while (!atomic_load(&m->stop)) {
		uint64_t next = look(m);
		uint64_t now = clock_now_ns();

		if (next == VMBUS_MONITOR_NEVER)
			part_event_wait(&m->event, PART_EVENT_FOREVER);
		else if (next > now)
			part_event_wait(&m->event, next - now);
	}
	return NULL;
}

void monitor_init(struct part_monitor *m)
{
	pthread_mutex_init(&m->lock, NULL);
}

void monitor_destroy(struct part_monitor *m)
{
	if (m->running) {
		atomic_store(&m->stop, true);
		part_event_raise(&m->event);
		pthread_join(m->thread, NULL);
		m->running = false;
	}
	pthread_mutex_destroy(&m->lock);
}

void monitor_set_page(struct part_monitor *m, void *page)
{
	pthread_mutex_lock(&m->lock);
	m->page = page;
	pthread_mutex_unlock(&m->lock);
}

static int start(struct part_monitor *m)
{
	int error = 0;

	if (!m->running)
		error = part_thread_create(&m->thread, run, m, "kmcl-host-mon");
	m->running = !error;
	return error;
}

int monitor_watch(struct part_monitor *m, uint32_t id, const struct vmbus_monitor_entry *entry,
		  const struct part_monitor_target *target)
{
	int error = start(m);

	if (error)
		return error;
	pthread_mutex_lock(&m->lock);
	if (m->page) {
		m->target[id] = *target;
		vmbus_monitor_watch(&m->ids, m->page, id, entry, clock_now_ns());
	} else {
		error = -ENODEV;
	}
	pthread_mutex_unlock(&m->lock);
	part_event_raise(&m->event);
	return error;
}

void monitor_unwatch(struct part_monitor *m, uint32_t id)
{
	pthread_mutex_lock(&m->lock);
	vmbus_monitor_unwatch(&m->ids, m->page, id);
	pthread_mutex_unlock(&m->lock);
}
