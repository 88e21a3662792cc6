/* SPDX-License-Identifier: MIT */
/*
 * A monitor page: trigger state u32 @0 (bit g: group g is served), of group g the pending bits u32
 * @8 + 8g and the armed bits u32 @12 + 8g, of id i the next check u32 @0x40 + 4i, the latency u16
 * @0x240 + 2i, and the parameter {connection id u32, flag u16, 0 u16} @0x440 + 8i.
 *
 * Armed bits and next checks are a hypervisor's own notes; ours are private.
 */
#include "vmbus/monitor.h"

#include "vmbus/barrier.h"

#define TRIGGER_AT   0x000u
#define PENDING_AT   0x008u
#define LATENCY_AT   0x240u
#define PARAMETER_AT 0x440u

#define LATENCY_UNIT_NS 100u

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LE16(x) ((uint16_t)(x))
#else
#define LE16(x) __builtin_bswap16((uint16_t)(x))
#endif

static uint32_t *pending_word(void *page, uint32_t group)
{
	return (uint32_t *)(void *)((uint8_t *)page + PENDING_AT + 8 * group);
}

static uint16_t *latency_word(const void *page, uint32_t id)
{
	return (uint16_t *)((uintptr_t)page + LATENCY_AT + 2 * id);
}

/* ---- the sender ---- */

bool vmbus_monitor_signal(void *page, uint32_t id)
{
	uint32_t bit = VMBUS_LE32(1u << id % 32);

	/* What the signal is about was written to the ring before. */
	return !(__atomic_fetch_or(pending_word(page, id / 32), bit, __ATOMIC_SEQ_CST) & bit);
}

uint16_t vmbus_monitor_latency(const void *page, uint32_t id)
{
	return LE16(__atomic_load_n(latency_word(page, id), __ATOMIC_RELAXED));
}

uint16_t vmbus_monitor_set_latency(void *page, uint32_t id, uint16_t latency)
{
	return LE16(__atomic_exchange_n(latency_word(page, id), LE16(latency), __ATOMIC_SEQ_CST));
}

/* ---- the watcher ---- */

static void serve_group(void *page, uint32_t group, bool served)
{
	uint32_t *trigger = (uint32_t *)(void *)((uint8_t *)page + TRIGGER_AT);
	uint32_t bit = VMBUS_LE32(1u << group);

	if (served)
		__atomic_fetch_or(trigger, bit, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(trigger, ~bit, __ATOMIC_SEQ_CST);
}

static uint64_t latency_ns(const void *page, uint32_t id)
{
	uint64_t ns = (uint64_t)vmbus_monitor_latency(page, id) * LATENCY_UNIT_NS;

	return ns > VMBUS_MONITOR_FLOOR_NS ? ns : VMBUS_MONITOR_FLOOR_NS;
}

void vmbus_monitor_watch(struct vmbus_monitor *m, void *page, uint32_t id,
			 const struct vmbus_monitor_entry *entry, uint64_t now)
{
	uint8_t *parameter = (uint8_t *)page + PARAMETER_AT + 8 * id;

	vmbus_store64_relaxed(parameter, entry->connection_id);
	if (!entry->resumed)
		vmbus_monitor_set_latency(page, id, entry->latency);
	m->watched[id / 32] |= 1u << id % 32;
	m->due[id] = now;
	serve_group(page, id / 32, true);
}

void vmbus_monitor_unwatch(struct vmbus_monitor *m, void *page, uint32_t id)
{
	m->watched[id / 32] &= ~(1u << id % 32);
	if (page && !m->watched[id / 32])
		serve_group(page, id / 32, false);
}

bool vmbus_monitor_watches(const struct vmbus_monitor *m)
{
	uint32_t any = 0;

	for (uint32_t g = 0; g < VMBUS_MONITOR_GROUPS; g++)
		any |= m->watched[g];
	return any;
}

/* Times lie at multiples of the latency, so that ids of one latency are looked at together. */
static uint32_t due_in_group(struct vmbus_monitor *m, const void *page, uint32_t group,
			     uint64_t now, uint64_t *next)
{
	uint32_t due = 0;

	for (uint32_t left = m->watched[group]; left; left &= left - 1) {
		uint32_t bit = (uint32_t)__builtin_ctz(left);
		uint32_t id = 32 * group + bit;
		uint64_t latency = latency_ns(page, id);

		/* The sender may have asked for less since the time was set. */
		if (m->due[id] > now + latency)
			m->due[id] = now + latency;
		if (m->due[id] <= now) {
			due |= 1u << bit;
			m->due[id] = now - now % latency + latency;
		}
		if (m->due[id] < *next)
			*next = m->due[id];
	}
	return due;
}

static uint32_t take(void *page, uint32_t group, uint32_t wanted)
{
	uint32_t *word = pending_word(page, group);
	uint32_t bits = vmbus_load32_relaxed(word) & wanted;

	if (!bits)
		return 0;
	return VMBUS_LE32(__atomic_fetch_and(word, ~VMBUS_LE32(bits), __ATOMIC_SEQ_CST)) & bits;
}

uint64_t vmbus_monitor_look(struct vmbus_monitor *m, void *page, uint64_t now,
			    uint32_t hits[VMBUS_MONITOR_GROUPS])
{
	uint64_t next = VMBUS_MONITOR_NEVER;

	for (uint32_t g = 0; g < VMBUS_MONITOR_GROUPS; g++) {
		uint32_t due = due_in_group(m, page, g, now, &next);
		uint32_t taken = take(page, g, due | ~m->watched[g]);

		for (uint32_t strays = taken & ~m->watched[g]; strays; strays &= strays - 1)
			m->strays++;
		hits[g] = taken & m->watched[g];
	}
	if (next != VMBUS_MONITOR_NEVER && next < now + VMBUS_MONITOR_FLOOR_NS)
		next = now + VMBUS_MONITOR_FLOOR_NS;
	return next;
}
