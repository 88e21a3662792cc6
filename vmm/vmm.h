/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The smallest machine that boots a kernel and has nothing but VMBus for devices: a host for tests.
 *
 * No firmware, no PCI, no timer chip: a kernel, an initramfs, a serial console, a clock to read,
 * ACPI tables that lead to the bus and to power off. Everything else is Hyper-V's, by KVM and by
 * libkmcl.
 *
 *     machine.c   the VM, its processors' threads, how a guest ends     memory.c  guest memory
 *     cpu.c       CPUID, registers, exits                               boot.c    loading
 *     acpi.c      tables                                                ports.c   I/O ports
 *     serial.c    the 8250                                              console.c the terminal
 */
#ifndef VMM_H
#define VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <kmcl/kvm.h>

#define VMM_MAX_PROCESSORS 8u

/** How a guest ended. */
enum vmm_end {
	VMM_RUNNING,
	VMM_OFF,          /**< it powered itself off */
	VMM_PANICKED,     /**< it reported a crash; see vmm_crash() */
	VMM_REBOOTED,     /**< it asked for a reset, and restarting was not wanted */
	VMM_TRIPLE_FAULT, /**< a processor shut down, and restarting was not wanted */
	VMM_STOPPED,      /**< vmm_stop() */
	VMM_FAILED,       /**< the machine could not go on; see vmm_error() */
};

struct vmm_config {
	const char *kernel; /**< a bzImage or an uncompressed ELF kernel */
	const char *initrd; /**< NULL: none */
	const char *append; /**< the command line */
	uint32_t processors;
	uint64_t memory; /**< bytes, whole megabytes */
	bool restart;    /**< a reset boots again, on the same bus */
	bool auto_eoi;   /**< do not deprecate AutoEOI */
	bool no_enforce; /**< let the guest use what CPUID does not grant */
	int input;       /**< console; -1: none */
	int output;
};

struct vmm;

/** A sentence about what went wrong; empty: nothing. */
struct vmm_error {
	char text[256];
};

/**
 * Opens the files and makes the memory; nothing runs. The partition, of
 * kmcl_partition_create_kvm() for as many processors, gets the memory. NULL: see `error`.
 */
struct vmm *vmm_create(const struct vmm_config *config, int kvm_fd, kmcl_partition *partition,
		       struct vmm_error *error);
/** Boots, and boots again where that is wanted. Returns when the guest has ended and its channels
 *  are closed. Once. */
enum vmm_end vmm_run(struct vmm *vm);
/** Ends the guest from any thread, also before vmm_run(). */
void vmm_stop(struct vmm *vm);
/** Presses the machine's reset button. Any thread. */
void vmm_reset(struct vmm *vm);
void vmm_destroy(struct vmm *vm);

const char *vmm_error(const struct vmm *vm);
/** The five crash values of the last panic: error, guest OS id, RIP, RAX, RSP. False: none. */
bool vmm_crash(const struct vmm *vm, uint64_t values[5]);

/** Exits by reason, and times it booted. */
struct vmm_stats {
	uint32_t boots;
	uint64_t start_ns; /**< CLOCK_MONOTONIC of vmm_run() */
	int64_t boot_time; /**< time(2) of the last boot */
	uint64_t io, mmio, hyperv, system, shutdown, halt, interrupted, other;
	uint64_t output_bytes;
};
void vmm_get_stats(const struct vmm *vm, struct vmm_stats *stats);

/* ---- console.c: the caller's terminal ---- */
/** Puts a terminal into raw mode until console_restore(), exit() or a fatal signal. No effect on
 *  anything else than a terminal. */
void console_raw(int fd);
void console_restore(void);

#endif
