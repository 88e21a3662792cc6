/* SPDX-License-Identifier: MIT */
/* The machine: made anew for each boot, run by a thread a processor, ended by whoever says so
 * first.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define LEAST_MEMORY (64ull << 20)
#define UNLOAD       16u

/* After a crash a guest unloads, and then resets itself or spins for ever. */
#define CRASH_UNLOAD_NS 60000000000ull
#define CRASH_RESET_NS  3000000000ull

uint64_t machine_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- ends ---- */

static void end_locked(struct vmm *vm, enum vmm_end end)
{
	if (vm->end == VMM_RUNNING)
		vm->end = end;
	pthread_cond_broadcast(&vm->changed);
}

void machine_end(struct vmm *vm, enum vmm_end end)
{
	pthread_mutex_lock(&vm->lock);
	end_locked(vm, end);
	pthread_mutex_unlock(&vm->lock);
}

void machine_fail(struct vmm *vm, const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&vm->lock);
	if (vm->end == VMM_RUNNING) {
		va_start(args, format);
		vsnprintf(vm->error.text, sizeof(vm->error.text), format, args);
		va_end(args);
	}
	end_locked(vm, VMM_FAILED);
	pthread_mutex_unlock(&vm->lock);
}

static uint64_t unloads(struct vmm *vm)
{
	struct kmcl_kvm_stats stats;

	kmcl_kvm_get_stats(vm->partition, &stats);
	return stats.from_guest[UNLOAD];
}

void machine_crash(struct vmm *vm, const uint64_t values[5])
{
	uint64_t before = unloads(vm);

	pthread_mutex_lock(&vm->lock);
	if (!vm->crashed) {
		vm->unloads_before_crash = before;
		vm->crash_ns = machine_now();
	}
	vm->crashed = true;
	memcpy(vm->crash, values, sizeof(vm->crash));
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

void vmm_stop(struct vmm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->stopped = true;
	end_locked(vm, VMM_STOPPED);
	pthread_mutex_unlock(&vm->lock);
}

void vmm_reset(struct vmm *vm)
{
	machine_end(vm, VMM_REBOOTED);
}

/* ---- a boot ---- */

static int make_vm(struct vmm *vm)
{
	uint64_t identity_map = IDENTITY_MAP_ADDR;

	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0 || ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) ||
	    ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDR) || ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0))
		return -errno;
	return memory_map(&vm->memory, vm->vm_fd);
}

static int make_processor(struct vmm *vm, uint32_t index, uint64_t entry)
{
	struct processor *p = &vm->processors[index];
	int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	*p = (struct processor){.vm = vm, .index = index, .run_size = (size_t)size};
	p->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (p->fd < 0 || size < 0)
		return -errno;
	p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	if (p->run == MAP_FAILED)
		return -errno;
	return cpu_prepare(p, entry);
}

static int make_machine(struct vmm *vm, uint64_t entry)
{
	int error = make_vm(vm);

	if (!error)
		error = kmcl_kvm_attach(vm->partition, vm->vm_fd);
	for (uint32_t i = 0; !error && i < vm->config.processors; i++)
		error = make_processor(vm, i, entry);
	if (!error)
		error = kmcl_kvm_connect(vm->partition, NULL, 0);
	return error;
}

static void close_processor(struct processor *p)
{
	if (p->run && p->run != MAP_FAILED)
		munmap(p->run, p->run_size);
	if (p->fd >= 0)
		close(p->fd);
	p->run = NULL;
	p->fd = -1;
}

static void close_machine(struct vmm *vm)
{
	for (uint32_t i = 0; i < vm->config.processors; i++)
		close_processor(&vm->processors[i]);
	serial_flush(&vm->serial);
	serial_reset(&vm->serial, -1);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	vm->vm_fd = -1;
}

static bool load(struct vmm *vm, uint64_t *entry)
{
	int error = memory_clear(&vm->memory);

	if (error) {
		machine_fail(vm, "guest memory: %s", strerror(-error));
		return false;
	}
	acpi_write(vm->memory.base + ACPI_AT, ACPI_AT, vm->config.processors);
	return boot_load(&vm->memory, &vm->files, ACPI_AT, entry, &vm->error);
}

/* ---- processors ---- */

static void interrupted(int signal)
{
}

/* What gets a processor out of KVM_RUN. */
static int kick_signal(void)
{
	return SIGRTMIN + 1;
}

static void start_processors(struct vmm *vm)
{
	struct sigaction action = {.sa_handler = interrupted};

	sigaction(kick_signal(), &action, NULL);
	for (uint32_t i = 0; i < vm->config.processors; i++) {
		struct processor *p = &vm->processors[i];
		int error = pthread_create(&p->thread, NULL, cpu_run, p);

		p->started = !error;
		if (error)
			machine_fail(vm, "processor %u: %s", i, strerror(error));
	}
}

static void stop_processors(struct vmm *vm)
{
	atomic_store(&vm->halting, true);
	serial_end(&vm->serial);
	for (uint32_t i = 0; i < vm->config.processors; i++) {
		struct processor *p = &vm->processors[i];

		if (!p->started)
			continue;
		/* Also for one that is about to enter. */
		__atomic_store_n(&p->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		pthread_kill(p->thread, kick_signal());
		pthread_join(p->thread, NULL);
		p->started = false;
	}
}

/* ---- running ---- */

static void wait_a_while(struct vmm *vm, uint64_t ns)
{
	uint64_t at = machine_now() + ns;
	struct timespec t = {.tv_sec = (time_t)(at / 1000000000u),
			     .tv_nsec = (long)(at % 1000000000u)};

	pthread_cond_timedwait(&vm->changed, &vm->lock, &t);
}

/* Whether a guest that crashed has had its time to unload and to reset itself. */
static bool crash_is_over(struct vmm *vm, uint64_t *unloaded_ns)
{
	uint64_t now = machine_now();

	if (!*unloaded_ns && unloads(vm) > vm->unloads_before_crash)
		*unloaded_ns = now;
	return now - vm->crash_ns > CRASH_UNLOAD_NS ||
	       (*unloaded_ns && now - *unloaded_ns > CRASH_RESET_NS);
}

static enum vmm_end wait_for_end(struct vmm *vm)
{
	uint64_t unloaded_ns = 0;
	enum vmm_end end;

	pthread_mutex_lock(&vm->lock);
	while (vm->end == VMM_RUNNING) {
		wait_a_while(vm, 100000000);
		if (vm->end == VMM_RUNNING && vm->crashed && crash_is_over(vm, &unloaded_ns))
			vm->end = VMM_PANICKED;
	}
	if (vm->crashed && vm->end != VMM_FAILED && vm->end != VMM_STOPPED)
		vm->end = VMM_PANICKED;
	end = vm->end;
	pthread_mutex_unlock(&vm->lock);
	return end;
}

static enum vmm_end boot(struct vmm *vm)
{
	enum vmm_end end = VMM_FAILED;
	uint64_t entry;
	int error;

	if (!load(vm, &entry))
		return VMM_FAILED;
	atomic_store(&vm->halting, false);
	error = make_machine(vm, entry);
	if (error) {
		machine_fail(vm, "the virtual machine cannot be made: %s", strerror(-error));
	} else {
		serial_reset(&vm->serial, vm->vm_fd);
		vm->boots++;
		vm->boot_time = time(NULL);
		start_processors(vm);
		end = wait_for_end(vm);
		stop_processors(vm);
	}
	kmcl_kvm_detach(vm->partition);
	close_machine(vm);
	return end;
}

static bool boot_again(struct vmm *vm, enum vmm_end end)
{
	bool again;

	pthread_mutex_lock(&vm->lock);
	again = vm->config.restart && !vm->stopped &&
		(end == VMM_REBOOTED || end == VMM_TRIPLE_FAULT);
	if (again) {
		vm->end = VMM_RUNNING;
		vm->crashed = false;
	}
	pthread_mutex_unlock(&vm->lock);
	return again;
}

static bool is_stopped(struct vmm *vm)
{
	bool stopped;

	pthread_mutex_lock(&vm->lock);
	stopped = vm->stopped;
	pthread_mutex_unlock(&vm->lock);
	return stopped;
}

enum vmm_end vmm_run(struct vmm *vm)
{
	enum vmm_end end = is_stopped(vm) ? VMM_STOPPED : VMM_RUNNING;
	int error = console_start(vm);

	vm->start_ns = machine_now();
	if (error) {
		machine_fail(vm, "the console: %s", strerror(-error));
		return VMM_FAILED;
	}
	if (end == VMM_RUNNING) {
		do
			end = boot(vm);
		while (boot_again(vm, end));
	}
	console_stop();
	return end;
}

/* ---- life ---- */

static bool check_config(const struct vmm_config *c, struct vmm_error *error)
{
	if (!c->processors || c->processors > VMM_MAX_PROCESSORS)
		snprintf(error->text, sizeof(error->text), "1 to %u processors, not %u",
			 VMM_MAX_PROCESSORS, c->processors);
	else if (c->memory < LEAST_MEMORY || c->memory & ((1u << 20) - 1))
		snprintf(error->text, sizeof(error->text),
			 "at least %llu whole megabytes of memory", LEAST_MEMORY >> 20);
	else
		return true;
	return false;
}

static bool open_all(struct vmm *vm, struct vmm_error *error)
{
	int code;

	if (!image_open(&vm->files.kernel, vm->config.kernel, error) ||
	    (vm->config.initrd && !image_open(&vm->files.initrd, vm->config.initrd, error)))
		return false;
	code = memory_make(&vm->memory, vm->config.memory);
	if (!code)
		code = memory_show(&vm->memory, vm->partition);
	if (code)
		snprintf(error->text, sizeof(error->text), "guest memory: %s", strerror(-code));
	return !code;
}

struct vmm *vmm_create(const struct vmm_config *config, int kvm_fd, kmcl_partition *partition,
		       struct vmm_error *error)
{
	pthread_condattr_t attr;
	struct vmm *vm;

	error->text[0] = 0;
	if (!check_config(config, error))
		return NULL;
	vm = calloc(1, sizeof(*vm));
	if (!vm) {
		snprintf(error->text, sizeof(error->text), "out of memory");
		return NULL;
	}
	vm->config = *config;
	vm->files.append = config->append ? config->append : "";
	vm->kvm_fd = kvm_fd;
	vm->vm_fd = vm->memory.fd = -1;
	vm->partition = partition;
	for (uint32_t i = 0; i < VMM_MAX_PROCESSORS; i++)
		vm->processors[i].fd = -1;
	serial_init(&vm->serial, config->output);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (open_all(vm, error))
		return vm;
	vmm_destroy(vm);
	return NULL;
}

void vmm_destroy(struct vmm *vm)
{
	image_close(&vm->files.kernel);
	image_close(&vm->files.initrd);
	memory_free(&vm->memory);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->serial.lock);
	free(vm);
}

const char *vmm_error(const struct vmm *vm)
{
	return vm->error.text;
}

bool vmm_crash(const struct vmm *vm, uint64_t values[5])
{
	memcpy(values, vm->crash, sizeof(vm->crash));
	return vm->crashed;
}

void vmm_get_stats(const struct vmm *vm, struct vmm_stats *stats)
{
	*stats = (struct vmm_stats){
		.boots = vm->boots,
		.start_ns = vm->start_ns,
		.boot_time = vm->boot_time,
		.io = vm->exits.io,
		.mmio = vm->exits.mmio,
		.hyperv = vm->exits.hyperv,
		.system = vm->exits.system,
		.shutdown = vm->exits.shutdown,
		.halt = vm->exits.halt,
		.interrupted = vm->exits.interrupted,
		.other = vm->exits.other,
		.output_bytes = vm->serial.bytes,
	};
}
