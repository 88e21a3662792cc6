/* SPDX-License-Identifier: MIT */
/* A host's end whose guest runs under KVM. */
#include "kmcl/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "host/internal.h"
#include "partition/internal.h"
#include "partition/kvm.h"

_Static_assert(KMCL_KVM_FIRST_GSI == KVM_FIRST_SINT_GSI, "the header tells VMMs");
_Static_assert(sizeof(((struct kmcl_kvm_stats *)0)->from_guest) ==
		       KVM_MESSAGE_TYPES * sizeof(uint64_t),
	       "one count a type");

/* ---- /dev/kvm ---- */

static int refuse(char **error, int code, const char *text)
{
	if (error)
		*error = sentence("%s", text);
	return code;
}

static int cannot_open(char **error, int code)
{
	switch (code) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return refuse(error, -ENOENT,
			      "/dev/kvm is missing: this machine has no virtualisation, or KVM's "
			      "module is not loaded");
	case EACCES:
	case EPERM:
		return refuse(error, -code,
			      "/dev/kvm may not be opened: become a member of the group kvm");
	default:
		if (error)
			*error = sentence("/dev/kvm: %s", strerror(code));
		return -code;
	}
}

/* What this cannot do without; in the order in which to complain. */
static const struct {
	unsigned long cap;
	const char *complaint;
} needed[] = {
	{KVM_CAP_HYPERV_SYNIC2, "this kernel's KVM has no Hyper-V support (KVM_CAP_HYPERV_SYNIC2 "
				"is missing; kernel option "
				"CONFIG_KVM_HYPERV)"},
	{KVM_CAP_HYPERV_VP_INDEX, "KVM_CAP_HYPERV_VP_INDEX is missing: this kernel is too old"},
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP is missing: KVM has no interrupt controller"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING is missing: KVM cannot route interrupts"},
	{KVM_CAP_IRQFD_RESAMPLE, "KVM_CAP_IRQFD_RESAMPLE is missing: KVM cannot tell of the end of "
				 "a message"},
};

int kmcl_kvm_open(char **error)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return cannot_open(error, errno);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (kvm_control_system(fd, KVM_CHECK_EXTENSION, (void *)needed[i].cap) > 0)
			continue;
		close(fd);
		return refuse(error, -ENOTSUP, needed[i].complaint);
	}
	return fd;
}

/* ---- the partition ---- */

static struct kvm_transport *transport_of(kmcl_partition *partition)
{
	const struct part *part = partition->part;

	return part->transport_destroy == kvm_transport_destroy ? part->transport : NULL;
}

static int start(struct part *part, const struct kmcl_kvm_machine *machine)
{
	const struct kvm_transport_options options = {
		.partition = part->id,
		.vps = machine->processors,
		.sints = (uint16_t)machine->sints,
		.no_doorbells = machine->flags & KMCL_KVM_SIGNALS_BY_EXIT,
		.busy = machine->flags & KMCL_KVM_BUSY,
		.posted = part->options.posted_messages,
		.control = kvm_control_system,
	};
	struct kvm_transport *t;
	int error = kvm_transport_create(&options, &part->server.memory, &t);

	if (error)
		return error;
	return part_start_host(part, &(struct part_transport){.transport = t,
							      .host = kvm_transport_ops(t),
							      .destroy = kvm_transport_destroy});
}

static bool machine_is_valid(const struct kmcl_kvm_machine *m)
{
	return m->size == sizeof(*m) && m->processors && m->processors <= SYNIC_MAX_VPS &&
	       !(m->flags & ~(uint32_t)(KMCL_KVM_SIGNALS_BY_EXIT | KMCL_KVM_BUSY)) &&
	       m->sints <= UINT16_MAX;
}

int kmcl_partition_create_kvm(const struct kmcl_partition_options *options,
			      const struct kmcl_kvm_machine *machine, kmcl_partition **partition)
{
	struct part_options part_options;
	struct part *part;
	int error = host_read_options(options, &part_options);

	*partition = NULL;
	if (!machine_is_valid(machine))
		return -EINVAL;
	part_options.vps = machine->processors;
	if (!error)
		error = part_new(&part_options, &part);
	if (error)
		return error;
	error = start(part, machine);
	if (!error) {
		*partition = host_partition_of(part);
		error = *partition ? 0 : -ENOMEM;
	}
	if (error)
		part_destroy(part);
	return error;
}

int kmcl_kvm_attach(kmcl_partition *partition, int vm_fd)
{
	struct kvm_transport *t = transport_of(partition);

	return t ? kvm_transport_attach(t, vm_fd) : -EINVAL;
}

int kmcl_kvm_add_processor(kmcl_partition *partition, uint32_t vp, int vcpu_fd)
{
	struct kvm_transport *t = transport_of(partition);

	return t ? kvm_transport_vcpu(t, vp, vcpu_fd) : -EINVAL;
}

int kmcl_kvm_connect(kmcl_partition *partition, const struct kvm_irq_routing_entry *routes,
		     uint32_t count)
{
	struct kvm_transport *t = transport_of(partition);

	return t ? kvm_transport_connect(t, routes, count) : -EINVAL;
}

int kmcl_kvm_exit(kmcl_partition *partition, uint32_t vp, struct kvm_run *run)
{
	struct kvm_transport *t = transport_of(partition);

	return t && kvm_transport_exit(t, vp, run);
}

void kmcl_kvm_detach(kmcl_partition *partition)
{
	struct kvm_transport *t = transport_of(partition);

	if (t)
		kvm_transport_detach(t);
}

void kmcl_kvm_get_stats(kmcl_partition *partition, struct kmcl_kvm_stats *stats)
{
	struct kvm_transport *t = transport_of(partition);
	struct kvm_transport_counts c = {0};

	if (t)
		kvm_transport_count(t, &c);
	*stats = (struct kmcl_kvm_stats){
		.synic_exits = c.synic_exits,
		.hypercall_exits = c.hypercall_exits,
		.bad_pages = c.bad_pages,
		.bad_posts = c.bad_posts,
		.refused_posts = c.refused,
		.signal_exits = c.signals,
		.doorbells = c.doorbells,
		.resamples = c.resamples,
		.busy_slots = c.busy,
		.interrupts = c.interrupts,
		.contact_ns = c.contact_ns,
	};
	memcpy(stats->from_guest, c.from_guest, sizeof(stats->from_guest));
	memcpy(stats->to_guest, c.to_guest, sizeof(stats->to_guest));
}
