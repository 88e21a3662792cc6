/* SPDX-License-Identifier: MIT */
/** @file What the files of `kmcl vm` share. */
#ifndef TOOLS_VM_H
#define TOOLS_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <kmcl/kmcl.h>

#include "vmm.h"

#define VM_MOST_DRIVERS 32u

/* Exit codes beside those of every command: how the guest ended. */
enum {
	VM_PANIC = 3,
	VM_RESET = 4,
	VM_TRIPLE = 5,
	VM_TIMEOUT = 6,
	VM_STOPPED_BY_USER = 7,
};

struct vm_driver {
	kmcl_driver *driver; /* NULL: the place is free */
	char *spec;
};

struct control;

struct vm {
	/* options */
	struct vmm_config config;
	struct kmcl_kvm_machine machine;
	struct kmcl_partition_options options;
	const char *specs[VM_MOST_DRIVERS];
	unsigned int spec_count;
	const char *control_path;
	struct capture_request capture;
	uint64_t timeout; /* seconds; 0: none */
	bool stats;

	int kvm_fd;
	kmcl_partition *partition;
	struct vmm *vmm;
	struct control *control; /* NULL: not asked for */
	pthread_mutex_t lock;    /* drivers */
	struct vm_driver drivers[VM_MOST_DRIVERS];
	enum vmm_end end;
	atomic_bool ended;
};

/** Loads a server driver. Its number, or -1 with *error to be freed with kmcl_free(). */
int vm_offer(struct vm *vm, const char *spec, char **error);
/** False: there is no such driver. */
bool vm_revoke(struct vm *vm, unsigned int number);

/* ---- vm_control.c ---- */
/** Listens at vm->control_path; false: said why. */
bool vm_control_start(struct vm *vm);
void vm_control_stop(struct vm *vm);

#endif
