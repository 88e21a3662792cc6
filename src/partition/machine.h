/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What every transport does for its host end: client messages that wait to be taken, message and
 * event ports, SynIC pages in guest memory, resets. How a processor is interrupted is the
 * transport's own.
 *
 * A transport's structure begins with a struct hv_machine, so that hv_machine_ops can be its
 * part_host_ops, or be copied into it.
 */
#ifndef PARTITION_MACHINE_H
#define PARTITION_MACHINE_H

#include <pthread.h>

#include "base/spin.h"
#include "partition/memory.h"
#include "partition/synic.h"

#define HV_MACHINE_MESSAGES      256u /* the most that may wait at all message ports */
#define HV_MACHINE_MESSAGE_PORTS 8u
#define HV_MACHINE_EVENT_PORTS   4096u

/** A message was put into the VP's page, or one of its event flags was set. Any thread. */
typedef void hv_interrupt(void *transport, uint32_t vp, uint8_t sint, bool message);

struct hv_machine {
	uint32_t partition;
	const struct part_memory *memory; /* where the host finds the guest's */
	uint32_t vps;
	hv_interrupt *interrupt;
	struct synic_vp vp[SYNIC_MAX_VPS];

	struct part_host_lines host;
	atomic_bool host_started;
	atomic_uint raising; /* guests' threads that are at the host's lines */

	/* Message ports and what waits at them. */
	struct spin_lock lock;
	uint32_t ports[HV_MACHINE_MESSAGE_PORTS], port_count;
	struct hv_message messages[HV_MACHINE_MESSAGES];
	uint32_t first, count, most_messages;

	/*
	 * Event ports: connection id << 32 | dispatcher << 16 | channel, 0 for none, in one word,
	 * so that a signal takes no lock and sees a binding whole or not at all. An id lies within
	 * a few places of its hash; the bus's own ids do not collide, ids that a guest chose may.
	 */
	_Atomic uint64_t signals[HV_MACHINE_EVENT_PORTS];

	/* CLOCK_MONOTONIC when the partition's reference counter was 0; 0: it has none here. */
	uint64_t reference_start_ns;

	pthread_mutex_t reset_lock;
	pthread_cond_t reset_changed;
	bool reset_wanted, reset_taken;
};

/** `m` is zeroed. `memory` is the host's view and outlives the machine. */
void hv_machine_init(struct hv_machine *m, uint32_t partition, const struct part_memory *memory,
		     uint32_t vps, hv_interrupt *interrupt);
/** How many messages may wait for the host, up to HV_MACHINE_MESSAGES; 32 without this. Before a
 * guest runs. */
void hv_machine_limit_posted(struct hv_machine *m, uint32_t most);
void hv_machine_destroy(struct hv_machine *m);

/** Reads a counter between two readings of the clock, again if something came between them. 0, or
 *  what `read` returned. */
int hv_bracket_clocks(int (*read)(void *ctx, uint64_t *reference), void *ctx,
		      struct hv_clocks *clocks);

extern const struct part_host_ops hv_machine_ops;

/* ---- what a guest does ---- */
/** HvPostMessage: an enum hv_status. */
uint16_t hv_machine_post(struct hv_machine *m, const struct hv_message *message);
/** HvSignalEvent: an enum hv_status. Any thread; takes no lock. */
uint16_t hv_machine_signal(struct hv_machine *m, uint32_t connection_id, uint16_t flag);
/** Rings a bound channel's doorbell. Any thread; takes no lock. */
void hv_machine_doorbell(struct hv_machine *m, uint32_t dispatcher, uint32_t channel);
/** The VP's message and event flag page, 0: none. The pages' SINT 2 is let through and no other.
 *  When it returns, nobody uses a page that was there before or interrupts for it: not to be called
 *  from `interrupt`.
 *  -EINVAL: no such VP, or no page of guest memory; nothing changed. */
int hv_machine_enable_synic(struct hv_machine *m, uint32_t vp, uint64_t simp_gpa,
			    uint64_t siefp_gpa);
/** Lets a SINT's messages and interrupts through, or no more; what waited is tried again. */
int hv_machine_unmask(struct hv_machine *m, uint32_t vp, uint8_t sint, bool unmasked);
/** The guest made room for a message; the host looks what waits. */
void hv_machine_look(struct hv_machine *m);
/** A reset of the partition. Blocks until the host has let go of everything. */
void hv_machine_reset(struct hv_machine *m);
/** The same without waiting. hv_machine_resetting tells when it is over. */
void hv_machine_ask_reset(struct hv_machine *m);
bool hv_machine_resetting(struct hv_machine *m);

#endif
