/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Fault injection: what rarely happens to a driver happens at a chosen call.
 * docs/fault-injection.md has the language of specifications; the environment's KMCL_FAULT holds
 * one from the start.
 */
#ifndef KMCL_FAULT_H
#define KMCL_FAULT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kmcl_fault_kind {
	KMCL_FAULT_ALLOC,   /**< an allocation for the driver fails */
	KMCL_FAULT_PEND,    /**< VmbChannelPacketGetExternalData: STATUS_PENDING, then again */
	KMCL_FAULT_ROOM,    /**< the outgoing ring seems full */
	KMCL_FAULT_CLOSE,   /**< the client's end closes the channel */
	KMCL_FAULT_RESCIND, /**< the server's end withdraws the offer, and makes it anew */
	KMCL_FAULT_RESET,   /**< the guest is reset */
	KMCL_FAULT_KINDS,
};

/** Replaces all faults; counting begins anew. NULL or "": none. -EINVAL: then *error (if wanted) is
 * a sentence that names what is wrong, to be freed with kmcl_free(), and nothing has changed. */
int kmcl_fault_set(const char *spec, char **error);

struct kmcl_fault_counts {
	uint32_t size; /**< sizeof(struct kmcl_fault_counts); set by the caller */
	uint32_t reserved;
	uint64_t calls[16];    /**< by kind: at which a fault of that kind might have been */
	uint64_t injected[16]; /**< of those */
};
/** Since kmcl_fault_set. -EINVAL: another version's structure. */
int kmcl_fault_counts(struct kmcl_fault_counts *counts);

#ifdef __cplusplus
}
#endif

#endif
