/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The synthetic interrupt controller as both ends see it: a page of message slots and a page of
 * event flags a VP, in guest memory.
 */
#ifndef PARTITION_SYNIC_H
#define PARTITION_SYNIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "partition/transport.h"

#define SYNIC_SINTS      16u
#define SYNIC_SLOT_BYTES 256u
#define SYNIC_MAX_VPS    64u

/* ---- host: the pages of one VP, at this end's addresses ---- */
struct synic_vp {
	_Atomic(uint8_t *) simp;
	_Atomic(uint8_t *) siefp;
	_Atomic uint32_t unmasked; /**< bit a SINT: what the guest lets through */
	_Atomic uint32_t inside;   /**< threads of the host's that use the pages or interrupt */
};

/** 0: delivered, interrupt the VP. -EAGAIN: slot taken or masked; the pending flag is set, the
 * guest ends its message. -ENODEV: no page. One caller at a time for a VP. */
int synic_deliver(struct synic_vp *vp, uint8_t sint, uint32_t type, uint64_t sender,
		  const void *payload, size_t size);
/** 1: the flag was clear, interrupt the VP. 0: it was set, or the SINT is masked: who unmasks it
 * looks. -ENODEV: no page. Any thread. */
int synic_set_flag(struct synic_vp *vp, uint8_t sint, uint16_t flag);

/* ---- guest ---- */
enum synic_take {
	SYNIC_EMPTY,   /**< nothing in the slot */
	SYNIC_MESSAGE, /**< taken and valid */
	SYNIC_BAD,     /**< taken, not to be used: counted by the caller */
};

/** Empties a slot of `simp`. `*end_of_message`: the host waits to be told. */
enum synic_take synic_take(uint8_t *simp, uint8_t sint, struct hv_message *message,
			   bool *end_of_message);
/** The SINT's flags in a SIEFP page. */
struct hv_flags *synic_flags(uint8_t *siefp, uint8_t sint);

#endif
