/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The transport whose guest runs under KVM: SynIC pages and hypercalls come as exits, interrupts
 * go as eventfds on HV_SINT routes, end of message comes back through the resampling side of those,
 * and doorbells as eventfds where KVM offers that.
 *
 * The VMM runs the processors and hands over the exits. A VM is attached and detached; the
 * transport outlives it, since a reset guest gets a new one.
 */
#ifndef PARTITION_KVM_H
#define PARTITION_KVM_H

#include <linux/kvm.h>

#include "partition/machine.h"
#include "partition/transport.h"

/** GSIs below are the PIC's and the IOAPIC's. */
#define KVM_FIRST_SINT_GSI 24u
/** Types of VMBus messages that are counted one by one; 0 counts the others. */
#define KVM_MESSAGE_TYPES  32u

/** ioctl(2): -1 and errno. Another in tests. */
typedef int kvm_control(int fd, unsigned long request, void *argument);
extern kvm_control kvm_control_system;

struct kvm_transport_options {
	uint32_t partition;
	uint32_t vps;
	uint16_t sints;    /**< bit a SINT that gets a route; 0: SINT 2 alone */
	bool no_doorbells; /**< every HvSignalEvent is an exit */
	bool busy;         /**< for tests of guests: each post is put off five times */
	uint32_t posted;   /**< messages that may wait for the host; 0: hv_machine_init()'s */
	uint64_t clock_ns; /**< how often the VM's clock is looked at; 0: each second */
	kvm_control *control;
};

/** A snapshot. */
struct kvm_transport_counts {
	uint64_t synic_exits, hypercall_exits;
	uint64_t bad_pages; /**< SIMP or SIEFP outside memory */
	uint64_t bad_posts; /**< HvPostMessage that was refused for its input */
	uint64_t refused;   /**< HvPostMessage put off: too many wait */
	uint64_t signals;   /**< HvSignalEvent that came as exits */
	uint64_t doorbells; /**< wake-ups by eventfds, each for one or more HvSignalEvent */
	uint64_t resamples; /**< EOI or EOM */
	uint64_t busy;      /**< messages that found their slot taken */
	uint64_t interrupts;
	uint64_t contact_ns; /**< CLOCK_MONOTONIC of the first INITIATE_CONTACT; 0: none yet */
	uint64_t from_guest[KVM_MESSAGE_TYPES], to_guest[KVM_MESSAGE_TYPES];
};

struct kvm_transport;

/** `memory` is the host's view and outlives the transport. */
int kvm_transport_create(const struct kvm_transport_options *options,
			 const struct part_memory *memory, struct kvm_transport **transport);
/** Detaches nothing from the host's end: that has ended by now. */
void kvm_transport_destroy(void *transport);
const struct part_host_ops *kvm_transport_ops(const struct kvm_transport *t);

/** Joins a VM, whose descriptor is duplicated. -EBUSY: one is attached. */
int kvm_transport_attach(struct kvm_transport *t, int vm_fd);
/** A processor exists and its CPUID is set: turns its SynIC on and gives it its index. */
int kvm_transport_vcpu(struct kvm_transport *t, uint32_t vp, int vcpu_fd);
/** All processors are added: sets the VM's whole routing table, `others` first (NULL: pins of the
 *  PIC and the IOAPIC), and the interrupt lines. `others` use no GSI from KVM_FIRST_SINT_GSI on. */
int kvm_transport_connect(struct kvm_transport *t, const struct kvm_irq_routing_entry *others,
			  uint32_t count);
/** A processor's KVM_EXIT_HYPERV. False: of a kind that is not the bus's. */
bool kvm_transport_exit(struct kvm_transport *t, uint32_t vp, struct kvm_run *run);
/** The guest is gone or is reset; its processors do not run. Blocks until the host has let go of
 *  everything, then leaves the VM. */
void kvm_transport_detach(struct kvm_transport *t);
void kvm_transport_count(struct kvm_transport *t, struct kvm_transport_counts *counts);

#endif
