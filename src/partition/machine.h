/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What every transport does for its host end: client messages that wait to be taken, message and
 * event ports, resets. How messages and interrupts reach the guest is the transport's own.
 *
 * A transport's structure begins with a struct hv_machine, so that these functions can stand in its
 * part_host_ops as they are.
 */
#ifndef PARTITION_MACHINE_H
#define PARTITION_MACHINE_H

#include <pthread.h>

#include "base/spin.h"
#include "partition/transport.h"

#define HV_MACHINE_MESSAGES      32u /* of all message ports */
#define HV_MACHINE_MESSAGE_PORTS 8u
#define HV_MACHINE_EVENT_PORTS   4096u

struct hv_machine {
	uint32_t partition;
	struct part_host_lines host;
	atomic_bool host_started;

	/* Message ports and what waits at them. */
	struct spin_lock lock;
	uint32_t ports[HV_MACHINE_MESSAGE_PORTS], port_count;
	struct hv_message messages[HV_MACHINE_MESSAGES];
	uint32_t first, count;

	/*
	 * Event ports: connection id << 32 | dispatcher << 16 | channel, 0 for none, in one word,
	 * so that a signal takes no lock and sees a binding whole or not at all. An id lies within
	 * a few places of its hash; the bus's own ids do not collide, ids that a guest chose may.
	 */
	_Atomic uint64_t signals[HV_MACHINE_EVENT_PORTS];

	pthread_mutex_t reset_lock;
	pthread_cond_t reset_changed;
	bool reset_wanted, reset_taken;
};

/** `m` is zeroed. */
void hv_machine_init(struct hv_machine *m, uint32_t partition);
void hv_machine_destroy(struct hv_machine *m);

/* ---- for part_host_ops; `transport` is the machine ---- */
void hv_machine_start(void *transport, const struct part_host_lines *lines);
void hv_machine_stop(void *transport);
int hv_machine_bind_messages(void *transport, uint32_t connection_id);
bool hv_machine_take_message(void *transport, struct hv_message *message);
int hv_machine_bind_port(void *transport, uint32_t connection_id, uint32_t dispatcher,
			 uint32_t channel);
void hv_machine_unbind_port(void *transport, uint32_t connection_id);
bool hv_machine_take_reset(void *transport);
void hv_machine_reset_done(void *transport);

/* ---- what a guest does ---- */
/** HvPostMessage: an enum hv_status. */
uint16_t hv_machine_post(struct hv_machine *m, const struct hv_message *message);
/** HvSignalEvent: an enum hv_status. Any thread; takes no lock. */
uint16_t hv_machine_signal(struct hv_machine *m, uint32_t connection_id, uint16_t flag);
/** The guest made room for a message; the host looks what waits. */
void hv_machine_look(struct hv_machine *m);
/** A reset of the partition. Blocks until the host has let go of everything. */
void hv_machine_reset(struct hv_machine *m);
/** The same without waiting. hv_machine_resetting tells when it is over. */
void hv_machine_ask_reset(struct hv_machine *m);
bool hv_machine_resetting(struct hv_machine *m);

#endif
