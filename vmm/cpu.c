/* SPDX-License-Identifier: MIT */
/* A processor: what CPUID says, what the boot processor begins with, what exits ask for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "internal.h"

#define LEAVES_MAX      256u
#define HYPERVISOR_LEAF 0x40000000u
#define HYPERVISOR_MASK 0xf0000000u
#define HYPERVISOR_BIT  (1u << 31) /* leaf 1 ECX */
#define MANY_THREADS    (1u << 28) /* leaf 1 EDX */
#define CRASH_MSR       0x40000100u
#define CRASH_MSRS      5u

/* Leaf 0x40000003: what the guest may use. */
#define HAS_REFERENCE_COUNTER (1u << 1)
#define HAS_SYNIC             (1u << 2)
#define HAS_TIMERS            (1u << 3)
#define HAS_APIC_MSRS         (1u << 4)
#define HAS_HYPERCALL         (1u << 5)
#define HAS_VP_INDEX          (1u << 6)
#define HAS_REFERENCE_TSC     (1u << 9)
#define HAS_FREQUENCIES       (1u << 11)
#define MAY_POST_MESSAGES     (1u << 4)
#define MAY_SIGNAL_EVENTS     (1u << 5)
#define MISC_FREQUENCIES      (1u << 8)
#define MISC_CRASH            (1u << 10)
#define MISC_DIRECT_TIMERS    (1u << 19)
/* Leaf 0x40000004: what it had better do. */
#define RELAX_TIMING          (1u << 5)
#define DEPRECATE_AUTO_EOI    (1u << 9)

/* ---- CPUID ---- */

/* Hyper-V as Windows Server 2016 was one; leaves that it does not have are not there at all. */
static const struct kvm_cpuid_entry2 hyperv_leaves[] = {
	{.function = 0x40000000,
	 .eax = 0x40000005,
	 .ebx = 0x7263694d,
	 .ecx = 0x666f736f,
	 .edx = 0x76482074},                         /* "Microsoft Hv" */
	{.function = 0x40000001, .eax = 0x31237648}, /* "Hv#1" */
	{.function = 0x40000002, .eax = 14393, .ebx = 10u << 16},
	{.function = 0x40000003,
	 .eax = HAS_REFERENCE_COUNTER | HAS_SYNIC | HAS_TIMERS | HAS_APIC_MSRS | HAS_HYPERCALL |
		HAS_VP_INDEX | HAS_REFERENCE_TSC | HAS_FREQUENCIES,
	 .ebx = MAY_POST_MESSAGES | MAY_SIGNAL_EVENTS,
	 .edx = MISC_FREQUENCIES | MISC_CRASH | MISC_DIRECT_TIMERS},
	{.function = 0x40000004, .eax = RELAX_TIMING | DEPRECATE_AUTO_EOI, .ebx = 0xffffffff},
	{.function = 0x40000005, .eax = 240, .ebx = 512},
};

#define HYPERV_LEAVES (sizeof(hyperv_leaves) / sizeof(hyperv_leaves[0]))

static struct kvm_cpuid2 *get_leaves(int kvm_fd, unsigned long request)
{
	struct kvm_cpuid2 *leaves =
		calloc(1, sizeof(*leaves) + LEAVES_MAX * sizeof(leaves->entries[0]));

	if (!leaves)
		return NULL;
	leaves->nent = LEAVES_MAX - HYPERV_LEAVES;
	if (!ioctl(kvm_fd, request, leaves))
		return leaves;
	free(leaves);
	return NULL;
}

/* Every processor is a package of its own. */
static void patch_leaf(struct kvm_cpuid_entry2 *leaf, uint32_t index)
{
	switch (leaf->function) {
	case 1:
		leaf->ebx = (leaf->ebx & 0xffff) | 1u << 16 | index << 24;
		leaf->ecx |= HYPERVISOR_BIT;
		leaf->edx &= ~MANY_THREADS;
		break;
	case 4:
		leaf->eax &= 0x3fff;
		break;
	case 0xb:
	case 0x1f:
		leaf->eax = leaf->ebx = 0;
		leaf->edx = index;
		break;
	case 0x80000008:
		leaf->ecx = 0;
		break;
	case 0x8000001e:
		leaf->eax = leaf->ebx = index;
		leaf->ecx = 0;
		break;
	default:
		break;
	}
}

/* No bit that the kernel does not have, where it tells. */
static void mask_leaves(int kvm_fd, struct kvm_cpuid_entry2 *leaves)
{
	struct kvm_cpuid2 *supported = get_leaves(kvm_fd, KVM_GET_SUPPORTED_HV_CPUID);

	for (uint32_t i = 0; supported && i < supported->nent; i++) {
		const struct kvm_cpuid_entry2 *has = &supported->entries[i];

		for (uint32_t j = 0; j < HYPERV_LEAVES; j++) {
			if (has->function != leaves[j].function ||
			    (has->function != 0x40000003 && has->function != 0x40000004))
				continue;
			leaves[j].eax &= has->eax;
			leaves[j].edx &= has->edx;
			if (has->function == 0x40000003)
				leaves[j].ebx &= has->ebx;
		}
	}
	free(supported);
}

struct kvm_cpuid2 *cpu_leaves(int kvm_fd, uint32_t index, bool auto_eoi)
{
	struct kvm_cpuid2 *leaves = get_leaves(kvm_fd, KVM_GET_SUPPORTED_CPUID);
	uint32_t kept = 0;

	if (!leaves)
		return NULL;
	for (uint32_t i = 0; i < leaves->nent; i++) {
		/* KVM's own signature would win over Hyper-V's. */
		if ((leaves->entries[i].function & HYPERVISOR_MASK) == HYPERVISOR_LEAF)
			continue;
		patch_leaf(&leaves->entries[i], index);
		leaves->entries[kept++] = leaves->entries[i];
	}
	memcpy(&leaves->entries[kept], hyperv_leaves, sizeof(hyperv_leaves));
	mask_leaves(kvm_fd, &leaves->entries[kept]);
	if (auto_eoi)
		leaves->entries[kept + 4].eax &= ~DEPRECATE_AUTO_EOI;
	leaves->nent = kept + HYPERV_LEAVES;
	return leaves;
}

/* ---- registers ---- */

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){.selector = selector,
				    .limit = 0xffffffff,
				    .type = type,
				    .present = 1,
				    .db = !code,
				    .s = 1,
				    .l = code,
				    .g = 1};
}

/* Long mode, 4 GiB mapped where they are, interrupts off; RSI: the boot parameters. */
static int set_boot_state(int fd, uint64_t entry)
{
	struct kvm_regs regs = {.rip = entry, .rsi = BOOT_PARAMS_AT, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = segment(0x10, 11, true);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(0x18, 3, false);
	sregs.gdt.base = GDT_AT;
	sregs.gdt.limit = 31;
	sregs.idt.limit = 0;
	sregs.cr0 = 0x80000031;
	sregs.cr3 = PAGE_TABLES_AT;
	sregs.cr4 = 0x20;
	sregs.efer = 0x500;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) || ioctl(fd, KVM_SET_REGS, &regs))
		return -errno;
	return 0;
}

/* KVM refuses from now on what the leaves do not grant. Older kernels cannot. */
static void enforce_leaves(int fd)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_HYPERV_ENFORCE_CPUID, .args = {1}};

	ioctl(fd, KVM_ENABLE_CAP, &cap);
}

int cpu_prepare(struct processor *p, uint64_t entry)
{
	const struct vmm_config *config = &p->vm->config;
	struct kvm_cpuid2 *leaves = cpu_leaves(p->vm->kvm_fd, p->index, config->auto_eoi);
	int error;

	if (!leaves)
		return -errno;
	error = ioctl(p->fd, KVM_SET_CPUID2, leaves) ? -errno : 0;
	free(leaves);
	if (error)
		return error;
	if (!config->no_enforce)
		enforce_leaves(p->fd);
	error = kmcl_kvm_add_processor(p->vm->partition, p->index, p->fd);
	/* The others wait for the first one to start them. */
	if (!error && !p->index)
		error = set_boot_state(p->fd, entry);
	return error;
}

/* ---- running ---- */

static void read_crash(struct processor *p)
{
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + CRASH_MSRS * sizeof(struct kvm_msr_entry)];
	} crash = {.room = {0}};
	uint64_t values[CRASH_MSRS];

	crash.msrs.nmsrs = CRASH_MSRS;
	for (uint32_t i = 0; i < CRASH_MSRS; i++)
		crash.msrs.entries[i].index = CRASH_MSR + i;
	ioctl(p->fd, KVM_GET_MSRS, &crash);
	for (uint32_t i = 0; i < CRASH_MSRS; i++)
		values[i] = crash.msrs.entries[i].data;
	machine_crash(p->vm, values);
}

static void system_event(struct processor *p)
{
	switch (p->run->system_event.type) {
	case KVM_SYSTEM_EVENT_CRASH:
		read_crash(p);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		machine_end(p->vm, VMM_REBOOTED);
		break;
	default:
		machine_end(p->vm, VMM_OFF);
		break;
	}
}

/* Nothing is there: reads give all ones. */
static void mmio_exit(struct kvm_run *run)
{
	if (!run->mmio.is_write)
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
}

static void handle_exit(struct processor *p)
{
	struct vmm *vm = p->vm;

	switch (p->run->exit_reason) {
	case KVM_EXIT_IO:
		vm->exits.io++;
		ports_exit(vm, p->run);
		break;
	case KVM_EXIT_HYPERV:
		vm->exits.hyperv++;
		if (!kmcl_kvm_exit(vm->partition, p->index, p->run))
			machine_fail(vm, "Hyper-V exit %u is not known", p->run->hyperv.type);
		break;
	case KVM_EXIT_MMIO:
		vm->exits.mmio++;
		mmio_exit(p->run);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		vm->exits.system++;
		system_event(p);
		break;
	case KVM_EXIT_SHUTDOWN:
		vm->exits.shutdown++;
		machine_end(vm, VMM_TRIPLE_FAULT);
		break;
	case KVM_EXIT_HLT:
		vm->exits.halt++;
		break;
	case KVM_EXIT_FAIL_ENTRY:
		machine_fail(vm, "processor %u cannot be entered: %#llx", p->index,
			     (unsigned long long)p->run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		vm->exits.other++;
		machine_fail(vm, "processor %u: KVM exit %u is not known", p->index,
			     p->run->exit_reason);
		break;
	}
}

void *cpu_run(void *processor)
{
	struct processor *p = processor;

	while (!atomic_load(&p->vm->halting)) {
		if (!ioctl(p->fd, KVM_RUN, 0)) {
			handle_exit(p);
		} else if (errno == EINTR || errno == EAGAIN) {
			p->vm->exits.interrupted++;
		} else {
			machine_fail(p->vm, "processor %u does not run: %s", p->index,
				     strerror(errno));
			break;
		}
	}
	return NULL;
}
