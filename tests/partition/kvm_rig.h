/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The KVM transport with a KVM that is written here: it notes what it is asked for, and a guest by
 * hand makes the exits that a real one would.
 */
#ifndef KVM_RIG_H
#define KVM_RIG_H

#include "support.h"

#include "partition/kvm.h"

#define RIG_IDS         64
#define VCPU_FD         1000 /* + index; no descriptor of ours */
#define INTERRUPTION_NS 20000000u

/* ---- KVM ---- */
struct fake_kvm {
	unsigned int vcpus;
	bool synic[RAW_VPS];
	uint64_t vp_index[RAW_VPS];
	bool routed_after_synic;
	struct kvm_irq_routing_entry route[128];
	uint32_t routes;
	struct {
		int irq, resample;
		uint32_t flags;
		bool assigned;
	} line[RAW_VPS * 16];
	struct {
		uint32_t id;
		int fd;
	} doorbell[RIG_IDS];
	unsigned int doorbells, assigns, deassigns;
	int refuse_doorbells;   /* errno */
	_Atomic uint64_t clock; /* of the VM, when CLOCK_MONOTONIC_RAW began; 0: cannot be read */
	atomic_bool clock_interrupted;          /* something comes behind three readings of four */
	_Atomic unsigned int clock_undisturbed; /* which of the four it spares */
	atomic_bool clock_blocks;               /* readings do not end */
	atomic_bool clock_blocked;              /* one does not */
	_Atomic unsigned int clocks;            /* readings */
	pthread_mutex_t lock;
};
extern struct fake_kvm rig_kvm;

/** How often the VP was interrupted since the last look; 0: not. */
uint64_t rig_interrupts(uint32_t vp);
/** The guest's end of interrupt or message. */
void rig_resample(uint32_t vp);
uint64_t rig_raw_ns(void);
/** Doorbells that KVM has. */
unsigned int rig_doorbells(void);
kvm_control rig_control;

/* ---- the guest: every act is an exit ---- */
struct kvm_guest {
	struct raw_guest raw; /* first: what support.c drives */
	struct kvm_transport *t;
	uint64_t input_gpa;
	uint8_t *input;
	uint32_t posting_vp; /* whose exits posts are */
};

void rig_start(struct kvm_guest *g);
/** Without partition, processors and KVM, which are the rig's. */
void rig_start_with(struct kvm_guest *g, struct kvm_transport_options *o);
void rig_stop(struct kvm_guest *g);
/** A VM, as at the start and after a detach. */
void rig_attach(struct kvm_guest *g);
struct kvm_transport_counts rig_counts(const struct kvm_guest *g);

void rig_synic(struct kvm_transport *t, uint32_t vp, uint64_t scontrol, uint64_t simp,
	       uint64_t siefp);
/** Both pages; 0: off. */
int rig_pages(void *transport, uint32_t vp, uint64_t simp, uint64_t siefp);
uint64_t rig_hypercall(struct kvm_transport *t, uint32_t vp, uint64_t input, uint64_t parameter);
uint16_t rig_signal(void *transport, uint32_t connection_id, uint16_t flag);
void rig_write_post(uint8_t *at, uint32_t connection, uint32_t type, const void *payload,
		    uint32_t size);
void rig_contact(struct kvm_guest *g, uint32_t connection, uint32_t version, uint32_t vp,
		 uint8_t sint);
void rig_expect(struct kvm_guest *g, uint32_t vp, uint32_t sint, uint32_t type);

#endif
