/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A bus for the guest of a virtual machine under KVM.
 *
 * The VMM makes the VM and its processors, gives the guest memory and runs it; the library turns
 * SynIC and hypercall exits into VMBus, and interrupts the guest through KVM itself. In this order:
 *
 *     kmcl_kvm_open                  /dev/kvm, or why it does not do
 *     kmcl_partition_create_kvm      then kmcl_driver_load, now or later (kmcl/kmcl.h)
 *     kmcl_host_add_memory           each range of RAM (kmcl/vmm.h)
 *     kmcl_kvm_attach                the VM
 *     kmcl_kvm_add_processor         each vCPU, after KVM_SET_CPUID2, before it runs
 *     kmcl_kvm_connect               the routing table and the interrupt lines
 *     kmcl_kvm_exit                  each KVM_EXIT_HYPERV
 *     kmcl_kvm_detach                when the guest has ended or is reset
 *
 * A reset guest needs a new VM, since KVM keeps much of Hyper-V's state: detach, and attach again.
 *
 * The guest finds Hyper-V by CPUID alone; leaf 0x40000001 must be "Hv#1" before a processor is
 * added. It finds the bus by ACPI (a device with _HID "VMBus").
 */
#ifndef KMCL_KVM_H
#define KMCL_KVM_H

#include <kmcl/vmm.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kvm_run;
struct kvm_irq_routing_entry;

/** GSIs from here on are the library's, one for each processor (and SINT). */
#define KMCL_KVM_FIRST_GSI 24u

/**
 * Opens /dev/kvm.
 *
 * @return the descriptor; -ENOENT: there is none; -EACCES, -EPERM: not permitted; -ENOTSUP: it
 *         cannot do Hyper-V, or not enough of it; or another negative errno. Then *error (if
 *         wanted) is a sentence for the user, to be freed with kmcl_free().
 */
int kmcl_kvm_open(char **error);

enum kmcl_kvm_flags {
	KMCL_KVM_SIGNALS_BY_EXIT = 1, /**< do not use KVM_HYPERV_EVENTFD */
	/** Puts each HvPostMessage off five times, as a host under load may: for tests of guests.
	 */
	KMCL_KVM_BUSY = 2,
};

struct kmcl_kvm_machine {
	uint32_t size;       /**< sizeof(struct kmcl_kvm_machine) */
	uint32_t processors; /**< of the guest, 1 to 64; VP indices from 0 in order of creation */
	uint32_t flags;      /**< enum kmcl_kvm_flags */
	uint32_t sints;      /**< bit a SINT that VMBus may use; 0: SINT 2 alone, as guests do */
};

/** A partition with a host's end, as kmcl_partition_create_host(), whose guest is to come. */
int kmcl_partition_create_kvm(const struct kmcl_partition_options *options,
			      const struct kmcl_kvm_machine *machine, kmcl_partition **partition);

/** Joins a VM; the descriptor is duplicated. @return 0; -EBUSY: has one; -EINVAL: not a partition
 *  of kmcl_partition_create_kvm(); -EMFILE */
int kmcl_kvm_attach(kmcl_partition *partition, int vm_fd);
/** Turns the processor's SynIC on and sets its VP index. @return 0; -EINVAL: no such processor, no
 *  in-kernel local APIC, or CPUID without Hyper-V */
int kmcl_kvm_add_processor(kmcl_partition *partition, uint32_t vp, int vcpu_fd);
/** After all processors: KVM_SET_GSI_ROUTING with `routes` (NULL: the pins of the PIC and the
 *  IOAPIC as KVM has them itself) and the library's, then the interrupt lines. @return 0; -EINVAL:
 *  a route is beyond KMCL_KVM_FIRST_GSI, or KVM refuses; -ENOTCONN: no VM */
int kmcl_kvm_connect(kmcl_partition *partition, const struct kvm_irq_routing_entry *routes,
		     uint32_t count);
/** Handles an exit whose reason is KVM_EXIT_HYPERV, on the processor's thread, before KVM_RUN is
 *  called again. @return 1: done; 0: not one of the bus's */
int kmcl_kvm_exit(kmcl_partition *partition, uint32_t vp, struct kvm_run *run);
/** No processor runs any more. The guest is gone as after a reset: each open channel of a driver
 *  closes, once. Blocks until drivers have let go; then the VM is the caller's to close. */
void kmcl_kvm_detach(kmcl_partition *partition);

/** What went over the bus, a snapshot. */
struct kmcl_kvm_stats {
	uint64_t synic_exits;
	uint64_t hypercall_exits;
	uint64_t bad_pages;      /**< SIMP or SIEFP set to what is no memory */
	uint64_t bad_posts;      /**< HvPostMessage with impossible input */
	uint64_t refused_posts;  /**< the guest was told to try again */
	uint64_t signal_exits;   /**< HvSignalEvent that came as exits */
	uint64_t doorbells;      /**< times that eventfds told of HvSignalEvent */
	uint64_t resamples;      /**< ends of interrupt or message */
	uint64_t busy_slots;     /**< messages that had to wait */
	uint64_t interrupts;     /**< sent to the guest */
	uint64_t contact_ns;     /**< CLOCK_MONOTONIC of the first INITIATE_CONTACT; 0: none */
	uint64_t from_guest[32]; /**< VMBus messages by type; 0: others */
	uint64_t to_guest[32];
};
void kmcl_kvm_get_stats(kmcl_partition *partition, struct kmcl_kvm_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
