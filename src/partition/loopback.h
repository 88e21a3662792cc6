/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The machine between two ends in one process: what a hypervisor does for a host and a guest.
 *
 * Messages are queued here as bytes; doorbells and interrupts are flags and lines. Nothing else
 * goes from one end to the other: no pointer of theirs, no lock, no call.
 */
#ifndef PARTITION_LOOPBACK_H
#define PARTITION_LOOPBACK_H

#include "partition/memory.h"
#include "partition/transport.h"

struct loopback;

/** `host_view` is where the host finds guest memory; it outlives the machine. */
struct loopback *loopback_create(const struct part_memory *host_view, uint32_t vps,
				 uint32_t partition);
void loopback_destroy(struct loopback *l);

extern const struct part_guest_ops loopback_guest_ops;

#endif
