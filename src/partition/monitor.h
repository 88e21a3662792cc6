/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The host's watch over the monitor page that a guest signals with. A thread looks at the page at
 * the latencies that it names while a channel is watched, and sleeps while none is; there is no
 * thread before the first one.
 */
#ifndef PARTITION_MONITOR_H
#define PARTITION_MONITOR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "partition/event.h"
#include "partition/transport.h"
#include "vmbus/monitor.h"

/** Where a found signal goes: a doorbell's flag and line. */
struct part_monitor_target {
	struct hv_flags *doorbell;
	struct part_event *event;
	uint32_t channel;
};

struct part_monitor {
	struct part_event event;
	atomic_bool stop;
	bool running; /* the owner's */
	pthread_t thread;
	_Atomic uint64_t looks;

	pthread_mutex_t lock; /* what follows; never held together with another of the thread's */
	struct vmbus_monitor ids;
	void *page; /* toward the host; NULL: none */
	struct part_monitor_target target[VMBUS_MONITOR_IDS];
};

void monitor_init(struct part_monitor *m);
/** Ends the thread. */
void monitor_destroy(struct part_monitor *m);
/** NULL: the guest took its page back. No id is watched, and the old page is not looked at again
 * once it returns. */
void monitor_set_page(struct part_monitor *m, void *page);
/** -ENODEV: there is no page; or why there is no thread. */
int monitor_watch(struct part_monitor *m, uint32_t id, const struct vmbus_monitor_entry *entry,
		  const struct part_monitor_target *target);
/** Nothing comes of the id's bit once it returns. */
void monitor_unwatch(struct part_monitor *m, uint32_t id);

#endif
