/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Monitor pages: signals that wait. A sender sets a bit in a page; whoever watches the page finds
 * it within the latency that the page names, and signals the channel. Sans I/O: pages and times in,
 * channels and the next time out.
 *
 * There is a page in each direction; only the one toward the host is used. Of its fields the sender
 * sets pending bits and may set latencies, the watcher writes the rest. Both run at once, so every
 * access is one atomic access, and nothing but pending bits and latencies is ever read by the
 * watcher.
 */
#ifndef VMBUS_MONITOR_H
#define VMBUS_MONITOR_H

#include "vmbus/wire.h"

#define VMBUS_MONITOR_GROUPS (VMBUS_MONITOR_IDS / 32)

/** What a page means at the least: a shorter latency is served as this one. */
#define VMBUS_MONITOR_FLOOR_NS 50000u
#define VMBUS_MONITOR_NEVER    UINT64_MAX

/* ---- the sender ---- */

/** The pending bit of `id` (0..127). True: it was clear. */
bool vmbus_monitor_signal(void *page, uint32_t id);
/** The latency of `id` in units of 100 ns. */
uint16_t vmbus_monitor_latency(const void *page, uint32_t id);
/** Replaces it; the one before. */
uint16_t vmbus_monitor_set_latency(void *page, uint32_t id, uint16_t latency);

/* ---- the watcher ---- */

/** Zeroed before use. */
struct vmbus_monitor {
	uint32_t watched[VMBUS_MONITOR_GROUPS];
	uint64_t due[VMBUS_MONITOR_IDS]; /**< ns; of the watched ones */
	uint64_t strays;                 /**< bits that stood for nobody */
};

/** What the page says of a watched id: for whom a signal is, and how long it may wait. */
struct vmbus_monitor_entry {
	uint32_t connection_id;
	uint16_t latency; /**< 100 ns units */
	bool resumed; /**< watched before, elsewhere: the latency stays what the sender made it */
};

/** Watches `id` from `now` on; its fields of the page are written. */
void vmbus_monitor_watch(struct vmbus_monitor *m, void *page, uint32_t id,
			 const struct vmbus_monitor_entry *entry, uint64_t now);
/** `page` may be NULL, if it is gone already. */
void vmbus_monitor_unwatch(struct vmbus_monitor *m, void *page, uint32_t id);
bool vmbus_monitor_watches(const struct vmbus_monitor *m); /**< any id at all */

/**
 * One look at the page: takes the bits of watched ids whose time has come, and those of nobody.
 * @param hits  the watched ids among them, a bit each
 * @return when to look again (ns, at least VMBUS_MONITOR_FLOOR_NS after `now`);
 *         VMBUS_MONITOR_NEVER: nothing is watched
 */
uint64_t vmbus_monitor_look(struct vmbus_monitor *m, void *page, uint64_t now,
			    uint32_t hits[VMBUS_MONITOR_GROUPS]);

#endif
