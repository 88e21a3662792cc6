/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The reference counter of a guest under KVM, for whoever may not wait, as an ioctl does.
 *
 * KVM derives the counter from the VM's clock. What is kept here is how far that is ahead of the
 * clock that KVM makes it from, looked at when the VM comes and once in a while: both run alike,
 * but for the rounding of a processor's frequency (in older kernels also for corrections of the
 * time of day, 500 millionths at most), until somebody sets the VM's.
 */
#ifndef PARTITION_KVM_CLOCK_H
#define PARTITION_KVM_CLOCK_H

#include "partition/kvm.h"

struct kvm_clock {
	kvm_control *control;
	uint64_t period_ns;
	int timer;             /**< readable: kvm_clock_look() is due */
	_Atomic int64_t ahead; /**< of CLOCK_MONOTONIC_RAW, in ns */
};

/** @return 0 or a negative errno; kvm_clock_close() is right either way. */
int kvm_clock_open(struct kvm_clock *c, kvm_control *control, uint64_t period_ns);
void kvm_clock_close(struct kvm_clock *c);

/* ---- one thread at a time ---- */
/** A VM is there, until kvm_clock_stop(). A clock that cannot be read is no error. */
int kvm_clock_start(struct kvm_clock *c, int vm_fd);
/** Nothing can be read any more. */
void kvm_clock_stop(struct kvm_clock *c);
/** Looks at the VM's clock, if that is due. */
void kvm_clock_look(struct kvm_clock *c, int vm_fd);

/** part_host_ops.read_clocks. */
int kvm_clock_read(struct kvm_clock *c, struct hv_clocks *clocks);

#endif
