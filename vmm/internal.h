/* SPDX-License-Identifier: MIT */
/** @file What the files of the machine share. */
#ifndef VMM_INTERNAL_H
#define VMM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "vmm.h"

#define PAGE           4096ull
#define LOW_MEMORY_MAX (3ull << 30) /* RAM ends here below 4 GiB */
#define HIGH_MEMORY    (4ull << 30) /* and goes on here */

/* The hole: MMIO for VMBus devices, and what KVM wants of its own on Intel. */
#define MMIO_WINDOW       0xf8000000u
#define MMIO_WINDOW_END   0xfebfffffu
#define IOAPIC_ADDRESS    0xfec00000u
#define LAPIC_ADDRESS     0xfee00000u
#define IDENTITY_MAP_ADDR 0xfeffc000ull
#define TSS_ADDR          0xfeffd000ull

/* Below 1 MiB. */
#define GDT_AT         0x500u
#define PAGE_TABLES_AT 0x9000u
#define BOOT_PARAMS_AT 0x10000u
#define COMMAND_AT     0x20000u
#define COMMAND_MAX    2048u
#define LOW_RAM_END    0x9fc00u
#define ACPI_AT        0xe0000u
#define RESET_STUB_AT  0xffff0u
#define HIGH_RAM_AT    0x100000u

#define SLEEP_CONTROL_PORT 0x604u
#define SLEEP_STATUS_PORT  0x605u
#define RESET_PORT         0xcf9u
#define RESET_VALUE        6u

/* ---- memory.c ---- */
struct memory {
	int fd; /* sealed memfd: low memory, then high memory */
	uint64_t size, low;
	uint8_t *base;
};
int memory_make(struct memory *m, uint64_t size);
void memory_free(struct memory *m);
/* All of it reads 0 again. */
int memory_clear(struct memory *m);
int memory_map(const struct memory *m, int vm_fd);
int memory_show(const struct memory *m, kmcl_partition *partition);
/* NULL: not in low memory. */
void *memory_low(const struct memory *m, uint64_t gpa, uint64_t bytes);

/* ---- boot.c ---- */
struct image {
	const uint8_t *data;
	size_t size;
};
struct boot_files {
	struct image kernel, initrd;
	const char *append;
};
/* Where the boot processor begins. False: see `error`. */
bool boot_load(const struct memory *m, const struct boot_files *files, uint64_t acpi,
	       uint64_t *entry, struct vmm_error *error);
bool image_open(struct image *image, const char *path, struct vmm_error *error);
void image_close(struct image *image);

/* ---- acpi.c ---- */
/* Writes the tables at `at`, the RSDP first; bytes used. */
size_t acpi_write(uint8_t *to, uint64_t at, uint32_t processors);

/* ---- serial.c ---- */
#define SERIAL_PORT  0x3f8u
#define SERIAL_PORTS 8u
#define SERIAL_IRQ   4u
#define SERIAL_FIFO  16u
#define SERIAL_LINE  1024u

struct serial {
	pthread_mutex_t lock;
	uint8_t dll, dlm, ier, lcr, mcr, scr;
	bool fifo, thr_empty; /* THR empty and not yet told */
	uint8_t in[SERIAL_FIFO];
	uint32_t in_count;
	int output, irq_fd; /* level changes go to irq_fd: the VM */
	bool level;
	char line[SERIAL_LINE];
	uint32_t line_count;
	uint64_t bytes;
	atomic_bool ending;
	bool deaf; /* nobody reads the output, and that is not waited for any more */
};
void serial_init(struct serial *s, int output);
void serial_reset(struct serial *s, int vm_fd);
/* The guest ends: output that nobody reads holds nothing up any more. Until serial_reset for the
 * next one. Any thread. */
void serial_end(struct serial *s);
uint8_t serial_read(struct serial *s, uint16_t offset);
void serial_write(struct serial *s, uint16_t offset, uint8_t value);
/* How many bytes it takes now; 0 while the guest does not listen. */
uint32_t serial_room(struct serial *s);
void serial_receive(struct serial *s, const uint8_t *bytes, uint32_t count);
/* What was written and is not shown yet, a line without an end. */
void serial_flush(struct serial *s);

/* ---- machine.c ---- */
struct processor {
	struct vmm *vm;
	uint32_t index;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;
	bool started;
};

struct exits {
	_Atomic uint64_t io, mmio, hyperv, system, shutdown, halt, interrupted, other;
};

struct vmm {
	struct vmm_config config;
	int kvm_fd, vm_fd;
	kmcl_partition *partition;
	struct memory memory;
	struct boot_files files;
	struct serial serial;
	uint8_t rtc_index;
	struct processor processors[VMM_MAX_PROCESSORS];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum vmm_end end; /* of this boot */
	bool stopped;     /* vmm_stop: no boot any more */
	bool crashed;
	uint64_t crash[5], crash_ns, unloads_before_crash;
	atomic_bool halting; /* processors leave */

	struct exits exits;
	_Atomic uint32_t boots;
	uint64_t start_ns;
	_Atomic int64_t boot_time;
	struct vmm_error error;
};

/* The guest has ended: the first reason counts. Any thread. */
void machine_end(struct vmm *vm, enum vmm_end end);
void machine_fail(struct vmm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
void machine_crash(struct vmm *vm, const uint64_t values[5]);
uint64_t machine_now(void);

/* ---- cpu.c ---- */
/* CPUID, and the state that the boot processor begins with. */
int cpu_prepare(struct processor *p, uint64_t entry);
/* The leaves that processor gets. Freed by the caller; NULL: errno. */
struct kvm_cpuid2 *cpu_leaves(int kvm_fd, uint32_t index, bool auto_eoi);
/* Runs until the machine ends. */
void *cpu_run(void *processor);

/* ---- ports.c ---- */
void ports_exit(struct vmm *vm, struct kvm_run *run);

/* ---- console.c ---- */
/* A thread that carries input to the guest. */
int console_start(struct vmm *vm);
void console_stop(void);

#endif
