/* SPDX-License-Identifier: MIT */
/* kmcl vm: boots a kernel on a machine whose devices are server drivers. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kmcl.h"
#include "vm.h"

#define DEFAULT_MEMORY 512u
#define MOST_MEMORY    (64u << 10)

enum {
	OPT_KERNEL = 256,
	OPT_INITRD,
	OPT_APPEND,
	OPT_CPUS,
	OPT_MEMORY,
	OPT_DRIVER,
	OPT_CAPTURE,
	OPT_CONTROL,
	OPT_TIMEOUT,
	OPT_RESTART,
	OPT_STATS,
	OPT_MAX_VERSION,
	OPT_QUIRK,
};

static const struct option options[] = {
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"initrd", required_argument, NULL, OPT_INITRD},
	{"append", required_argument, NULL, OPT_APPEND},
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"driver", required_argument, NULL, OPT_DRIVER},
	{"capture", required_argument, NULL, OPT_CAPTURE},
	{"control", required_argument, NULL, OPT_CONTROL},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"restart", no_argument, NULL, OPT_RESTART},
	{"stats", no_argument, NULL, OPT_STATS},
	{"max-version", required_argument, NULL, OPT_MAX_VERSION},
	{"quirk", required_argument, NULL, OPT_QUIRK},
	{0},
};

/* ---- the command line ---- */

static int take_count(const char *option, uint64_t least, uint64_t most, uint64_t *value)
{
	if (parse_count(optarg, least, most, value))
		return TOOL_OK;
	return usage_error(&command_vm, "%s %s: not a number from %llu to %llu", option, optarg,
			   (unsigned long long)least, (unsigned long long)most);
}

static int take_version(struct vm *vm)
{
	unsigned int major, minor;
	char rest;

	if (sscanf(optarg, "%u.%u%c", &major, &minor, &rest) != 2 || major > 255 || minor > 255)
		return usage_error(&command_vm, "--max-version %s: not of the form 5.3", optarg);
	vm->options.max_version = major << 16 | minor;
	return TOOL_OK;
}

static int take_quirk(struct vm *vm)
{
	if (!strcmp(optarg, "auto-eoi"))
		vm->config.auto_eoi = true;
	else if (!strcmp(optarg, "no-enforce"))
		vm->config.no_enforce = true;
	else if (!strcmp(optarg, "signals-by-exit"))
		vm->machine.flags |= KMCL_KVM_SIGNALS_BY_EXIT;
	else if (!strcmp(optarg, "busy"))
		vm->machine.flags |= KMCL_KVM_BUSY;
	else
		return usage_error(&command_vm, "--quirk %s: there is no such quirk", optarg);
	return TOOL_OK;
}

static int take_number(struct vm *vm, int option)
{
	uint64_t value = 0;
	int code;

	switch (option) {
	case OPT_CPUS:
		code = take_count("--cpus", 1, VMM_MAX_PROCESSORS, &value);
		vm->config.processors = (uint32_t)value;
		return code;
	case OPT_MEMORY:
		code = take_count("--memory", 64, MOST_MEMORY, &value);
		vm->config.memory = value << 20;
		return code;
	default:
		return take_count("--timeout", 1, 1000000, &vm->timeout);
	}
}

static int take_option(struct vm *vm, int option, char **argv)
{
	switch (option) {
	case OPT_KERNEL:
		vm->config.kernel = optarg;
		return TOOL_OK;
	case OPT_INITRD:
		vm->config.initrd = optarg;
		return TOOL_OK;
	case OPT_APPEND:
		vm->config.append = optarg;
		return TOOL_OK;
	case OPT_CAPTURE:
		return capture_take(&command_vm, optarg, &vm->capture);
	case OPT_CONTROL:
		vm->control_path = optarg;
		return TOOL_OK;
	case OPT_RESTART:
		vm->config.restart = true;
		return TOOL_OK;
	case OPT_STATS:
		vm->stats = true;
		return TOOL_OK;
	case OPT_DRIVER:
		if (vm->spec_count == VM_MOST_DRIVERS)
			return usage_error(&command_vm, "at most %u drivers", VM_MOST_DRIVERS);
		vm->specs[vm->spec_count++] = optarg;
		return TOOL_OK;
	case OPT_CPUS:
	case OPT_MEMORY:
	case OPT_TIMEOUT:
		return take_number(vm, option);
	case OPT_MAX_VERSION:
		return take_version(vm);
	case OPT_QUIRK:
		return take_quirk(vm);
	default:
		return usage_error(&command_vm, "%s: no such option, or its value is missing",
				   argv[optind - 1]);
	}
}

static int parse_options(struct vm *vm, int argc, char **argv)
{
	int option, code = TOOL_OK;

	opterr = 0;
	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		code = take_option(vm, option, argv);
	if (!code && optind < argc)
		code = usage_error(&command_vm, "%s: not expected", argv[optind]);
	if (!code && !vm->config.kernel)
		code = usage_error(&command_vm, "needs --kernel");
	return code;
}

/* ---- drivers ---- */

static int offer(struct vm *vm, unsigned int number, const char *spec, char **error)
{
	struct vm_driver *d = &vm->drivers[number];

	d->spec = strdup(spec);
	if (d->spec && !kmcl_driver_load(vm->partition, KMCL_SERVER, spec, &d->driver, error))
		return (int)number;
	free(d->spec);
	*d = (struct vm_driver){0};
	return -1;
}

int vm_offer(struct vm *vm, const char *spec, char **error)
{
	int number = -1;

	*error = NULL;
	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < VM_MOST_DRIVERS; i++) {
		if (vm->drivers[i].spec)
			continue;
		number = offer(vm, i, spec, error);
		break;
	}
	pthread_mutex_unlock(&vm->lock);
	return number;
}

bool vm_revoke(struct vm *vm, unsigned int number)
{
	struct vm_driver *d = &vm->drivers[number % VM_MOST_DRIVERS];
	bool there;

	pthread_mutex_lock(&vm->lock);
	there = number < VM_MOST_DRIVERS && d->driver;
	if (there) {
		kmcl_driver_unload(d->driver);
		free(d->spec);
		*d = (struct vm_driver){0};
	}
	pthread_mutex_unlock(&vm->lock);
	return there;
}

static bool offer_all(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->spec_count; i++) {
		char *error;

		if (vm_offer(vm, vm->specs[i], &error) < 0) {
			complain("%s", error ? error : "out of memory");
			kmcl_free(error);
			return false;
		}
	}
	return true;
}

/* ---- what is printed at the end ---- */

static void print_messages(const char *what, const uint64_t *counts)
{
	printf("%s:", what);
	for (unsigned int i = 0; i < 32; i++)
		if (counts[i])
			printf(" %u=%llu", i, (unsigned long long)counts[i]);
	printf("\n");
}

static void print_stats(const struct vm *vm)
{
	struct vmm_stats m;
	struct kmcl_kvm_stats k;

	vmm_get_stats(vm->vmm, &m);
	kmcl_kvm_get_stats(vm->partition, &k);
	printf("exits: io=%llu mmio=%llu hyperv=%llu system=%llu shutdown=%llu halt=%llu "
	       "interrupted=%llu other=%llu\n",
	       (unsigned long long)m.io, (unsigned long long)m.mmio, (unsigned long long)m.hyperv,
	       (unsigned long long)m.system, (unsigned long long)m.shutdown,
	       (unsigned long long)m.halt, (unsigned long long)m.interrupted,
	       (unsigned long long)m.other);
	printf("bus: synic=%llu hypercalls=%llu signals-by-exit=%llu doorbells=%llu "
	       "interrupts=%llu resamples=%llu busy=%llu refused=%llu bad-posts=%llu "
	       "bad-pages=%llu\n",
	       (unsigned long long)k.synic_exits, (unsigned long long)k.hypercall_exits,
	       (unsigned long long)k.signal_exits, (unsigned long long)k.doorbells,
	       (unsigned long long)k.interrupts, (unsigned long long)k.resamples,
	       (unsigned long long)k.busy_slots, (unsigned long long)k.refused_posts,
	       (unsigned long long)k.bad_posts, (unsigned long long)k.bad_pages);
	print_messages("messages from the guest by type", k.from_guest);
	print_messages("messages to the guest by type", k.to_guest);
	printf("boots: %u, the last at %lld\n", m.boots, (long long)m.boot_time);
	if (k.contact_ns)
		printf("contact after: %.3f s\n", (double)(k.contact_ns - m.start_ns) / 1e9);
}

static int tell_end(const struct vm *vm, bool timed_out)
{
	uint64_t crash[5];

	switch (vm->end) {
	case VMM_OFF:
		return TOOL_OK;
	case VMM_PANICKED:
		vmm_crash(vm->vmm, crash);
		complain("the guest panicked: error %#llx, guest OS %#llx, RIP %#llx, RAX %#llx, "
			 "RSP %#llx",
			 (unsigned long long)crash[0], (unsigned long long)crash[1],
			 (unsigned long long)crash[2], (unsigned long long)crash[3],
			 (unsigned long long)crash[4]);
		return VM_PANIC;
	case VMM_REBOOTED:
		complain("the guest reset itself");
		return VM_RESET;
	case VMM_TRIPLE_FAULT:
		complain("the guest shut its processor down: a triple fault");
		return VM_TRIPLE;
	case VMM_STOPPED:
		if (timed_out)
			complain("the guest did not end within %llu s",
				 (unsigned long long)vm->timeout);
		return timed_out ? VM_TIMEOUT : VM_STOPPED_BY_USER;
	default:
		complain("%s", vmm_error(vm->vmm));
		return TOOL_FAILED;
	}
}

/* ---- running ---- */

static void *run_guest(void *context)
{
	struct vm *vm = context;

	vm->end = vmm_run(vm->vmm);
	atomic_store(&vm->ended, true);
	return NULL;
}

static uint64_t now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

/* True: the time is over. */
static bool wait_for_guest(struct vm *vm, const sigset_t *ends)
{
	const struct timespec tick = {.tv_nsec = 50000000};
	uint64_t start = now_seconds();
	bool timed_out = false;

	while (!atomic_load(&vm->ended)) {
		if (sigtimedwait(ends, NULL, &tick) > 0)
			vmm_stop(vm->vmm);
		if (!timed_out && vm->timeout && now_seconds() - start >= vm->timeout) {
			timed_out = true;
			vmm_stop(vm->vmm);
		}
	}
	return timed_out;
}

static int run(struct vm *vm, const sigset_t *ends)
{
	pthread_t thread;
	bool timed_out;
	int code;

	if (pthread_create(&thread, NULL, run_guest, vm)) {
		complain("cannot start the guest");
		return TOOL_FAILED;
	}
	console_raw(vm->config.input);
	timed_out = wait_for_guest(vm, ends);
	pthread_join(thread, NULL);
	console_restore();
	if (vm->stats)
		print_stats(vm);
	fflush(stdout);
	code = tell_end(vm, timed_out);
	return code;
}

static bool open_partition(struct vm *vm)
{
	char *error = NULL;
	int code;

	vm->kvm_fd = kmcl_kvm_open(&error);
	if (vm->kvm_fd < 0) {
		complain("%s", error ? error : strerror(-vm->kvm_fd));
		kmcl_free(error);
		return false;
	}
	if (!capture_begin(&vm->capture, &vm->options))
		return false;
	vm->machine.size = sizeof(vm->machine);
	vm->machine.processors = vm->config.processors;
	code = kmcl_partition_create_kvm(&vm->options, &vm->machine, &vm->partition);
	if (code)
		complain("cannot create the bus: %s", strerror(-code));
	return !code;
}

static bool open_machine(struct vm *vm)
{
	struct vmm_error error;

	vm->vmm = vmm_create(&vm->config, vm->kvm_fd, vm->partition, &error);
	if (!vm->vmm)
		complain("%s", error.text);
	return vm->vmm && offer_all(vm);
}

static bool close_all(struct vm *vm)
{
	bool captured;

	for (unsigned int i = 0; i < VM_MOST_DRIVERS; i++)
		vm_revoke(vm, i);
	kmcl_partition_destroy(vm->partition);
	captured = capture_end(&vm->capture);
	if (vm->vmm)
		vmm_destroy(vm->vmm);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	pthread_mutex_destroy(&vm->lock);
	return captured;
}

static int run_command(int argc, char **argv)
{
	struct vm vm = {
		.config = {.processors = 1,
			   .memory = (uint64_t)DEFAULT_MEMORY << 20,
			   .append = "console=ttyS0",
			   .input = STDIN_FILENO,
			   .output = STDOUT_FILENO},
		.kvm_fd = -1,
	};
	sigset_t ends;
	int code;

	kmcl_partition_options_init(&vm.options);
	/* On one processor whoever polls keeps the guest from running. */
	if (sysconf(_SC_NPROCESSORS_ONLN) == 1)
		vm.options.poll_ns = -1;
	code = parse_options(&vm, argc, argv);
	if (code)
		return code;
	/* before any thread starts, so that all of them leave these to us */
	take_ends(&ends);
	pthread_mutex_init(&vm.lock, NULL);
	code = TOOL_FAILED;
	if (open_partition(&vm) && open_machine(&vm) && vm_control_start(&vm)) {
		code = run(&vm, &ends);
		vm_control_stop(&vm);
	}
	if (!close_all(&vm) && !code)
		code = TOOL_FAILED;
	return code;
}

const struct subcommand command_vm = {
	.name = "vm",
	.summary = "boot a kernel under KVM, with server drivers for devices",
	.help = "usage: kmcl vm --kernel FILE [--initrd FILE] [--append TEXT]\n"
		"               [--driver FILE.so[,KEY=VALUE...]]... [OPTION...]\n"
		"\n"
		"Boots a kernel on a machine that has a serial console and, as Hyper-V has it, a "
		"VMBus,\n"
		"and nothing else. The console is this terminal; Ctrl-] ends the guest.\n"
		"\n"
		"  --kernel FILE        a bzImage, or an uncompressed ELF kernel\n"
		"  --initrd FILE        its initramfs\n"
		"  --append TEXT        its command line (console=ttyS0)\n"
		"  --cpus N             processors, 1 to 8 (1)\n"
		"  --memory MIB         memory (512)\n"
		"  --driver SPEC        offer this server driver's devices; may be repeated\n"
		"  --restart            boot again when the guest resets itself\n"
		"  --timeout SECONDS    end a guest that has not ended by then\n" CAPTURE_HELP
		"  --control PATH       take commands on this socket, JSON a line; help lists "
		"them\n"
		"  --stats              exits, messages and times at the end\n"
		"  --max-version X.Y    highest VMBus version of the host\n"
		"  --quirk NAME         auto-eoi: do not deprecate it; no-enforce: grant more than "
		"CPUID\n"
		"                       says; signals-by-exit: no eventfds for HvSignalEvent;\n"
		"                       busy: put each posted message off five times\n"
		"\n"
		"Exit status: 0 the guest powered off, 3 it panicked, 4 it reset itself (without\n"
		"--restart), 5 a triple fault, 6 --timeout, 7 ended from outside; 1 it could not "
		"run,\n"
		"2 a mistake on the command line.\n",
	.run = run_command,
};
