/* SPDX-License-Identifier: MIT */
/**
 * @file
 * One end of a bus alone, joined to the other by a machine of yours: a virtual machine monitor, an
 * emulator, a pair of processes, a test.
 *
 * The library does what VMBus does; the machine does what a hypervisor does: it shows the host the
 * guest's memory, carries messages and signals between the two, and resets the guest. Everything
 * else of the hosting API (kmcl/kmcl.h) works as on any partition, for drivers of the end that is
 * there.
 *
 * Callbacks come from the library's threads and from whoever calls into the library, several at a
 * time; they must not block and must not call back into it. All of them are set; `size` tells the
 * library which version of the table it is given.
 */
#ifndef KMCL_VMM_H
#define KMCL_VMM_H

#include <kmcl/kmcl.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Statuses of the two hypercalls, as the hypervisor's specification numbers them. */
enum kmcl_hv_status {
	KMCL_HV_SUCCESS = 0,
	KMCL_HV_INVALID_PARAMETER = 5,
	KMCL_HV_OPERATION_DENIED = 8,
	KMCL_HV_INSUFFICIENT_MEMORY = 11,
	KMCL_HV_INVALID_CONNECTION_ID = 18,
	KMCL_HV_INSUFFICIENT_BUFFERS = 19, /**< not now: the guest tries again */
};

/* ---- the host's end ---- */

/** What the library asks of the machine whose guest it serves. */
struct kmcl_host_machine {
	uint32_t size;       /**< sizeof(struct kmcl_host_machine) */
	uint32_t processors; /**< of the guest, 1 to 64 */
	/** Interrupts a processor at a SINT: its message page or its event flag page has changed.
	 *  An interrupt too many does no harm. */
	void (*interrupt)(void *ctx, uint32_t vp, uint32_t sint);
};

/**
 * A partition with a host's end, for server drivers. Guest memory follows with
 * kmcl_host_add_memory(). `options->memory` and `options->processors` mean nothing here but for the
 * number of the host's dispatchers.
 *
 * @return 0; -EINVAL: a member of the options or of `machine` is wrong; -ENOMEM, -EAGAIN.
 */
int kmcl_partition_create_host(const struct kmcl_partition_options *options,
			       const struct kmcl_host_machine *machine, void *ctx,
			       kmcl_partition **partition);

/**
 * Shows the host [gpa, gpa + size) of the guest's memory, `offset` into the file. Both ends map the
 * same file; it must be a memfd that is sealed against shrinking and not against writing, so that
 * nobody who touches it can be made to fault. The descriptor is duplicated. At most 64 ranges;
 * at any time; never taken back.
 *
 * @return 0; -EINVAL: not whole pages, none, or beyond 2^52; -EEXIST: overlaps a range; -E2BIG: too
 *         many; -EPERM: not such a file, or too small; -ENOMEM, -EMFILE.
 */
int kmcl_host_add_memory(kmcl_partition *partition, int fd, uint64_t gpa, uint64_t size,
			 uint64_t offset);

/** The guest set a processor's SIMP and SIEFP: addresses of its message page and its event flag
 *  page, 0 where it has none (any more). SINT 2 is taken as unmasked, the others as masked. When it
 *  returns, the host neither uses pages that were there before nor is in an `interrupt` for them.
 *  @return 0; -EINVAL: no such processor, or not a page of memory (nothing changed) */
int kmcl_host_synic(kmcl_partition *partition, uint32_t vp, uint64_t message_page,
		    uint64_t event_flag_page);
/** The guest masked or unmasked a SINT. @return 0; -EINVAL: no such processor or SINT */
int kmcl_host_mask(kmcl_partition *partition, uint32_t vp, uint32_t sint, int masked);
/** HvPostMessage. @return enum kmcl_hv_status */
uint16_t kmcl_host_post_message(kmcl_partition *partition, uint32_t connection_id, uint32_t type,
				const void *payload, size_t size);
/** HvSignalEvent. Takes no lock. @return enum kmcl_hv_status */
uint16_t kmcl_host_signal_event(kmcl_partition *partition, uint32_t connection_id, uint16_t flag);
/** The guest wrote EOM, or a message page became free in any other way. */
void kmcl_host_end_of_message(kmcl_partition *partition);
/** The guest was reset: all channels close, nothing more is sent. SynIC pages are forgotten. Blocks
 *  until every driver has let go; the guest must not run meanwhile. */
void kmcl_host_reset(kmcl_partition *partition);

/* ---- the guest's end ---- */

/** What the library asks of the machine that it is a guest of. */
struct kmcl_guest_machine {
	uint32_t size;       /**< sizeof(struct kmcl_guest_machine) */
	uint32_t processors; /**< 1 to 64 */
	/** SIMP and SIEFP of a processor; both 0 when the guest ends. 0 or negative errno. */
	int (*synic)(void *ctx, uint32_t vp, uint64_t message_page, uint64_t event_flag_page);
	/** A SINT is let through from now on, or no more. 0 or negative errno. */
	int (*mask)(void *ctx, uint32_t vp, uint32_t sint, int masked);
	/** HvPostMessage: enum kmcl_hv_status. */
	uint16_t (*post_message)(void *ctx, uint32_t connection_id, uint32_t type,
				 const void *payload, size_t size);
	/** HvSignalEvent: enum kmcl_hv_status. */
	uint16_t (*signal_event)(void *ctx, uint32_t connection_id, uint16_t flag);
	/** EOM: the processor's message page is free and the host waits for that. */
	void (*end_of_message)(void *ctx, uint32_t vp);
	/** Resets the partition as the host sees it; returns when the host has let go. May block.
	 */
	void (*reset)(void *ctx);
};

/**
 * A partition with a guest's end, for client drivers. Its memory is made; it calls the machine, and
 * takes drivers, from kmcl_guest_connect() on.
 *
 * @return 0; -EINVAL: a member of the options or of `machine` is wrong; -ENOMEM, -EMFILE
 */
int kmcl_partition_create_guest(const struct kmcl_partition_options *options,
				const struct kmcl_guest_machine *machine, void *ctx,
				kmcl_partition **partition);
/** The guest's memory: [0, *bytes) lies at the beginning of the sealed memfd that is returned. The
 *  descriptor is the partition's: duplicate it. */
int kmcl_guest_memory(kmcl_partition *partition, uint64_t *bytes);
/** Sets the SynIC pages and begins to connect, in the background. Once.
 *  @return 0; -EBUSY: called before; -ENOMEM, -EAGAIN; what `synic` or `mask` returned: then the
 *  partition is only to be destroyed */
int kmcl_guest_connect(kmcl_partition *partition);
/** A processor was interrupted. Any thread; does not block; from the first call of `synic` on, and
 *  not after the call that takes the processor's pages away has returned. */
void kmcl_guest_interrupt(kmcl_partition *partition, uint32_t vp);

#ifdef __cplusplus
}
#endif

#endif
