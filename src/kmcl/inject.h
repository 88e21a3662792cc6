/* SPDX-License-Identifier: MIT */
/** @file Fault injection: the places where a fault may be ask here. */
#ifndef KMCL_INJECT_H
#define KMCL_INJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "kmcl/fault.h"

struct kmcl_channel;
struct nt_driver;

/** A bit for each kind of which there is a fault. */
extern _Atomic uint32_t kmcl_fault_kinds;

static inline bool kmcl_faults(enum kmcl_fault_kind kind)
{
	return atomic_load_explicit(&kmcl_fault_kinds, memory_order_relaxed) & 1u << kind;
}

/** Counts a call for `driver`; true: it is to fail. *delay_us (may be NULL): the fault's. */
bool kmcl_fault_hits(enum kmcl_fault_kind kind, struct nt_driver *driver, const char *function,
		     uint32_t *delay_us);
/** An allocation for the channel's driver. */
bool kmcl_fault_alloc(struct kmcl_channel *ch, const char *function);
/** A packet is sent or delivered: perhaps the channel is closed, rescinded or reset. Any thread and
 * IRQL, no lock held. */
void kmcl_fault_traffic(struct kmcl_channel *ch);

/* ---- fault_peer.c ---- */
void kmcl_fault_init(struct kmcl_channel *ch);
/** What the other end, or the guest, is made to do. False: it is not in this process. */
bool kmcl_fault_peer(struct kmcl_channel *ch, enum kmcl_fault_kind kind);
/** No reset that was begun for the channel is under way. Blocks. */
void kmcl_fault_quiesce(struct kmcl_channel *ch);

#endif
