/* SPDX-License-Identifier: MIT */
#include "kvm_rig.h"

#include <fcntl.h>
#include <unistd.h>

/* ---- KVM ---- */

struct fake_kvm rig_kvm = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int fail_with(int error)
{
	errno = error;
	return -1;
}

static int set_routing(const struct kvm_irq_routing *table)
{
	assert_true(table->nr <= sizeof(rig_kvm.route) / sizeof(rig_kvm.route[0]));
	memcpy(rig_kvm.route, table->entries, table->nr * sizeof(rig_kvm.route[0]));
	rig_kvm.routes = table->nr;
	rig_kvm.routed_after_synic = true;
	for (uint32_t i = 0; i < RAW_VPS; i++)
		rig_kvm.routed_after_synic &= rig_kvm.synic[i];
	return 0;
}

static int set_irqfd(const struct kvm_irqfd *request)
{
	uint32_t i = request->gsi - KVM_FIRST_SINT_GSI;

	if (i >= RAW_VPS * 16)
		return fail_with(EINVAL);
	if (rig_kvm.line[i].assigned && !(request->flags & KVM_IRQFD_FLAG_DEASSIGN))
		return fail_with(EBUSY);
	rig_kvm.line[i].assigned = !(request->flags & KVM_IRQFD_FLAG_DEASSIGN);
	if (rig_kvm.line[i].assigned) {
		rig_kvm.line[i].irq = (int)request->fd;
		rig_kvm.line[i].resample = (int)request->resamplefd;
		rig_kvm.line[i].flags = request->flags;
	}
	return 0;
}

static int find_doorbell(uint32_t id)
{
	for (unsigned int i = 0; i < rig_kvm.doorbells; i++)
		if (rig_kvm.doorbell[i].id == id)
			return (int)i;
	return -1;
}

static int set_doorbell(const struct kvm_hyperv_eventfd *request)
{
	int at = find_doorbell(request->conn_id);

	if (request->conn_id & ~0xffffffu)
		return fail_with(EINVAL);
	if (rig_kvm.refuse_doorbells)
		return fail_with(rig_kvm.refuse_doorbells);
	if (request->flags & KVM_HYPERV_EVENTFD_DEASSIGN) {
		if (at < 0)
			return fail_with(ENOENT);
		rig_kvm.doorbell[at] = rig_kvm.doorbell[--rig_kvm.doorbells];
		rig_kvm.deassigns++;
		return 0;
	}
	if (at >= 0)
		return fail_with(EEXIST);
	assert_true(rig_kvm.doorbells < RIG_IDS);
	rig_kvm.doorbell[rig_kvm.doorbells].id = request->conn_id;
	rig_kvm.doorbell[rig_kvm.doorbells++].fd = request->fd;
	rig_kvm.assigns++;
	return 0;
}

static int enable_cap(int fd, const struct kvm_enable_cap *cap)
{
	if (cap->cap != KVM_CAP_HYPERV_SYNIC2)
		return fail_with(EINVAL);
	rig_kvm.synic[fd - VCPU_FD] = true;
	return 0;
}

static int set_msrs(int fd, const struct kvm_msrs *msrs)
{
	if (msrs->nmsrs != 1 || msrs->entries[0].index != 0x40000002)
		return 0; /* as one that does not have Hyper-V */
	rig_kvm.vp_index[fd - VCPU_FD] = msrs->entries[0].data;
	return 1;
}

uint64_t rig_raw_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int get_clock(struct kvm_clock_data *data)
{
	unsigned int number = atomic_fetch_add(&rig_kvm.clocks, 1);
	uint64_t give_up = clock_now_ns() + DEADLINE_NS;

	if (!rig_kvm.clock)
		return fail_with(EINVAL);
	data->clock = rig_kvm.clock + rig_raw_ns();
	if (rig_kvm.clock_interrupted && number % 4 != rig_kvm.clock_undisturbed)
		nap(INTERRUPTION_NS);
	while (rig_kvm.clock_blocks) {
		rig_kvm.clock_blocked = true;
		nap(SETTLE_NS);
		if (clock_now_ns() > give_up)
			rig_kvm.clock_blocks = false;
	}
	return 0;
}

static int control_unlocked(int fd, unsigned long request, void *argument)
{
	switch (request) {
	case KVM_ENABLE_CAP:
		return enable_cap(fd, argument);
	case KVM_SET_MSRS:
		return set_msrs(fd, argument);
	case KVM_SET_GSI_ROUTING:
		return set_routing(argument);
	case KVM_IRQFD:
		return set_irqfd(argument);
	case KVM_HYPERV_EVENTFD:
		return set_doorbell(argument);
	default:
		return fail_with(ENOTTY);
	}
}

int rig_control(int fd, unsigned long request, void *argument)
{
	int result;

	/* It may be slow, and holds nobody else up. */
	if (request == KVM_GET_CLOCK)
		return get_clock(argument);
	pthread_mutex_lock(&rig_kvm.lock);
	result = control_unlocked(fd, request, argument);
	pthread_mutex_unlock(&rig_kvm.lock);
	return result;
}

unsigned int rig_doorbells(void)
{
	unsigned int count;

	pthread_mutex_lock(&rig_kvm.lock);
	count = rig_kvm.doorbells;
	pthread_mutex_unlock(&rig_kvm.lock);
	return count;
}

/* How often the VP was interrupted since the last look; 0: not. */
uint64_t rig_interrupts(uint32_t vp)
{
	uint64_t count = 0;

	return read(rig_kvm.line[vp].irq, &count, sizeof(count)) > 0 ? count : 0;
}

void rig_resample(uint32_t vp)
{
	const uint64_t one = 1;

	assert_int_equal(write(rig_kvm.line[vp].resample, &one, sizeof(one)), sizeof(one));
}

/* ---- the guest: every act is an exit ---- */

static struct kvm_guest *the_guest;

void rig_synic(struct kvm_transport *t, uint32_t vp, uint64_t scontrol, uint64_t simp,
	       uint64_t siefp)
{
	struct kvm_run run = {.exit_reason = KVM_EXIT_HYPERV};

	run.hyperv.type = KVM_EXIT_HYPERV_SYNIC;
	run.hyperv.u.synic.msr = 0x40000080;
	run.hyperv.u.synic.control = scontrol;
	run.hyperv.u.synic.msg_page = simp;
	run.hyperv.u.synic.evt_page = siefp;
	assert_true(kvm_transport_exit(t, vp, &run));
}

uint64_t rig_hypercall(struct kvm_transport *t, uint32_t vp, uint64_t input, uint64_t parameter)
{
	struct kvm_run run = {.exit_reason = KVM_EXIT_HYPERV};

	run.hyperv.type = KVM_EXIT_HYPERV_HCALL;
	run.hyperv.u.hcall.input = input;
	run.hyperv.u.hcall.params[0] = parameter;
	run.hyperv.u.hcall.result = 0xdead;
	assert_true(kvm_transport_exit(t, vp, &run));
	return run.hyperv.u.hcall.result;
}

static void guest_lines(void *transport, const struct part_guest_lines *lines)
{
}

static void guest_no_lines(void *transport)
{
}

int rig_pages(void *transport, uint32_t vp, uint64_t simp, uint64_t siefp)
{
	rig_synic(transport, vp, 1, simp ? simp | 1 : 0, siefp ? siefp | 1 : 0);
	return 0;
}

static int guest_unmask(void *transport, uint32_t vp, uint8_t sint, bool unmasked)
{
	return 0;
}

void rig_write_post(uint8_t *at, uint32_t connection, uint32_t type, const void *payload,
		    uint32_t size)
{
	memset(at, 0, 256);
	vmbus_put32(at, connection);
	vmbus_put32(at + 8, type);
	vmbus_put32(at + 12, size);
	memcpy(at + 16, payload, size < 240 ? size : 240);
}

static uint16_t guest_post(void *transport, const struct hv_message *m)
{
	rig_write_post(the_guest->input, m->connection_id, m->type, m->payload, m->size);
	return (uint16_t)rig_hypercall(transport, the_guest->posting_vp, 0x5c,
				       the_guest->input_gpa);
}

uint16_t rig_signal(void *transport, uint32_t connection_id, uint16_t flag)
{
	return (uint16_t)rig_hypercall(transport, 0, 0x1005d, connection_id | (uint64_t)flag << 32);
}

static void guest_end_of_message(void *transport, uint32_t vp)
{
	rig_resample(vp);
}

static const struct part_guest_ops guest_ops = {
	.start = guest_lines,
	.stop = guest_no_lines,
	.enable_synic = rig_pages,
	.unmask_sint = guest_unmask,
	.post_message = guest_post,
	.signal_event = rig_signal,
	.end_of_message = guest_end_of_message,
};

/* As both ends see it: one view where the thread sanitizer wants that. */
static void share_memory(struct part *part)
{
	int fd = part_guest_memory(part);

	assert_true(fd >= 0);
	assert_int_equal(part_memory_add(&part->server.memory, fcntl(fd, F_DUPFD_CLOEXEC, 0), 0,
					 TEST_MEMORY, 0, &part->client.memory),
			 0);
}

void rig_attach(struct kvm_guest *g)
{
	int vm = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(kvm_transport_attach(g->t, vm), 0);
	assert_int_equal(kvm_transport_attach(g->t, vm), -EBUSY);
	close(vm);
	for (int i = 0; i < (int)RAW_VPS; i++)
		assert_int_equal(kvm_transport_vcpu(g->t, (uint32_t)i, VCPU_FD + i), 0);
	assert_int_equal(kvm_transport_connect(g->t, NULL, 0), 0);
}

void rig_start_with(struct kvm_guest *g, struct kvm_transport_options *o)
{
	struct part_options options = {
		.memory = TEST_MEMORY, .server_dispatchers = 2, .vps = RAW_VPS};
	struct raw_guest *raw = &g->raw;

	memset(g, 0, sizeof(*g));
	memset(&rig_kvm, 0, offsetof(struct fake_kvm, lock));
	the_guest = g;
	assert_int_equal(part_new(&options, &raw->part), 0);
	share_memory(raw->part);
	o->partition = part_id(raw->part);
	o->vps = RAW_VPS;
	o->control = rig_control;
	assert_int_equal(kvm_transport_create(o, &raw->part->server.memory, &g->t), 0);
	assert_int_equal(
		part_start_host(raw->part,
				&(struct part_transport){.transport = g->t,
							 .host = kvm_transport_ops(g->t),
							 .destroy = kvm_transport_destroy}),
		0);
	raw->host = part_server(raw->part);
	raw->ops = &guest_ops;
	rig_attach(g);
	assert_int_equal(part_pages_alloc(&raw->part->client, 2, &g->input_gpa), 0);
	g->input = part_memory_at(&raw->part->client, g->input_gpa, 8192);
	for (uint32_t i = 0; i < RAW_VPS; i++) {
		assert_int_equal(part_pages_alloc(&raw->part->client, 2, &raw->gpa[i]), 0);
		raw->simp[i] = part_memory_at(&raw->part->client, raw->gpa[i], 4096);
		raw->siefp[i] = raw->simp[i] + 4096;
		rig_pages(g->t, i, raw->gpa[i], raw->gpa[i] + 4096);
	}
}

void rig_start(struct kvm_guest *g)
{
	struct kvm_transport_options o = {0};

	rig_start_with(g, &o);
}

void rig_stop(struct kvm_guest *g)
{
	part_destroy(g->raw.part);
}

struct kvm_transport_counts rig_counts(const struct kvm_guest *g)
{
	struct kvm_transport_counts c;

	kvm_transport_count(g->t, &c);
	return c;
}

void rig_expect(struct kvm_guest *g, uint32_t vp, uint32_t sint, uint32_t type)
{
	struct raw_message m;

	wait_until(raw_take(&g->raw, vp, sint, &m));
	assert_int_equal(vmbus_get32(m.bytes), type);
}

void rig_contact(struct kvm_guest *g, uint32_t connection, uint32_t version, uint32_t vp,
		 uint8_t sint)
{
	uint8_t m[40] = {14};

	vmbus_put32(m + 8, version);
	vmbus_put32(m + 12, vp);
	m[16] = sint;
	g->raw.message_vp = vp;
	assert_int_equal(raw_post_to(&g->raw, connection, m, sizeof(m)), 0);
}
