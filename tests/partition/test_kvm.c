/* SPDX-License-Identifier: MIT */
/*
 * The KVM transport with a KVM that is written here: it notes what it is asked for, and a guest by
 * hand makes the exits that a real one would.
 */
#include "support.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "partition/kvm.h"

#define VCPU_FD   1000 /* + index; no descriptor of ours */
#define MOST_IDS  64
#define SINT      2u
#define BIG_BURST 1000u
#define QUEUE     32u /* messages that wait for the host */

/* ---- KVM ---- */

static struct fake_kvm {
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
	} doorbell[MOST_IDS];
	unsigned int doorbells, assigns, deassigns;
	int refuse_doorbells; /* errno */
	uint64_t clock;       /* nanoseconds; 0: cannot be read */
	unsigned int slow_clocks, clocks;
	pthread_mutex_t lock;
} kvm = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int fail_with(int error)
{
	errno = error;
	return -1;
}

static int set_routing(const struct kvm_irq_routing *table)
{
	assert_true(table->nr <= sizeof(kvm.route) / sizeof(kvm.route[0]));
	memcpy(kvm.route, table->entries, table->nr * sizeof(kvm.route[0]));
	kvm.routes = table->nr;
	kvm.routed_after_synic = true;
	for (uint32_t i = 0; i < RAW_VPS; i++)
		kvm.routed_after_synic &= kvm.synic[i];
	return 0;
}

static int set_irqfd(const struct kvm_irqfd *request)
{
	uint32_t i = request->gsi - KVM_FIRST_SINT_GSI;

	if (i >= RAW_VPS * 16)
		return fail_with(EINVAL);
	kvm.line[i].assigned = !(request->flags & KVM_IRQFD_FLAG_DEASSIGN);
	if (kvm.line[i].assigned) {
		kvm.line[i].irq = (int)request->fd;
		kvm.line[i].resample = (int)request->resamplefd;
		kvm.line[i].flags = request->flags;
	}
	return 0;
}

static int find_doorbell(uint32_t id)
{
	for (unsigned int i = 0; i < kvm.doorbells; i++)
		if (kvm.doorbell[i].id == id)
			return (int)i;
	return -1;
}

static int set_doorbell(const struct kvm_hyperv_eventfd *request)
{
	int at = find_doorbell(request->conn_id);

	if (request->conn_id & ~0xffffffu)
		return fail_with(EINVAL);
	if (kvm.refuse_doorbells)
		return fail_with(kvm.refuse_doorbells);
	if (request->flags & KVM_HYPERV_EVENTFD_DEASSIGN) {
		if (at < 0)
			return fail_with(ENOENT);
		kvm.doorbell[at] = kvm.doorbell[--kvm.doorbells];
		kvm.deassigns++;
		return 0;
	}
	if (at >= 0)
		return fail_with(EEXIST);
	assert_true(kvm.doorbells < MOST_IDS);
	kvm.doorbell[kvm.doorbells].id = request->conn_id;
	kvm.doorbell[kvm.doorbells++].fd = request->fd;
	kvm.assigns++;
	return 0;
}

static int enable_cap(int fd, const struct kvm_enable_cap *cap)
{
	if (cap->cap != KVM_CAP_HYPERV_SYNIC2)
		return fail_with(EINVAL);
	kvm.synic[fd - VCPU_FD] = true;
	return 0;
}

static int set_msrs(int fd, const struct kvm_msrs *msrs)
{
	if (msrs->nmsrs != 1 || msrs->entries[0].index != 0x40000002)
		return 0; /* as one that does not have Hyper-V */
	kvm.vp_index[fd - VCPU_FD] = msrs->entries[0].data;
	return 1;
}

/* The first readings take long, and their values are off. */
static int get_clock(struct kvm_clock_data *data)
{
	if (!kvm.clock)
		return fail_with(EINVAL);
	data->clock = kvm.clock;
	if (kvm.clocks++ < kvm.slow_clocks) {
		data->clock += 1000000000000;
		nap(20000000);
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
	case KVM_GET_CLOCK:
		return get_clock(argument);
	default:
		return fail_with(ENOTTY);
	}
}

static int control(int fd, unsigned long request, void *argument)
{
	int result;

	pthread_mutex_lock(&kvm.lock);
	result = control_unlocked(fd, request, argument);
	pthread_mutex_unlock(&kvm.lock);
	return result;
}

static unsigned int doorbells(void)
{
	unsigned int count;

	pthread_mutex_lock(&kvm.lock);
	count = kvm.doorbells;
	pthread_mutex_unlock(&kvm.lock);
	return count;
}

/* How often the VP was interrupted since the last look; 0: not. */
static uint64_t interrupts(uint32_t vp)
{
	uint64_t count = 0;

	return read(kvm.line[vp].irq, &count, sizeof(count)) > 0 ? count : 0;
}

static void resample(uint32_t vp)
{
	const uint64_t one = 1;

	assert_int_equal(write(kvm.line[vp].resample, &one, sizeof(one)), sizeof(one));
}

/* ---- the guest: every act is an exit ---- */

struct guest {
	struct raw_guest raw; /* first: what support.c drives */
	struct kvm_transport *t;
	uint64_t input_gpa;
	uint8_t *input;
	uint32_t posting_vp; /* whose exits posts are */
};

static struct guest *the_guest;

static void synic(struct kvm_transport *t, uint32_t vp, uint64_t scontrol, uint64_t simp,
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

static uint64_t hypercall(struct kvm_transport *t, uint32_t vp, uint64_t input, uint64_t parameter)
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

static int guest_synic(void *transport, uint32_t vp, uint64_t simp, uint64_t siefp)
{
	synic(transport, vp, 1, simp ? simp | 1 : 0, siefp ? siefp | 1 : 0);
	return 0;
}

static int guest_unmask(void *transport, uint32_t vp, uint8_t sint, bool unmasked)
{
	return 0;
}

static void write_post(uint8_t *at, uint32_t connection, uint32_t type, const void *payload,
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
	write_post(the_guest->input, m->connection_id, m->type, m->payload, m->size);
	return (uint16_t)hypercall(transport, the_guest->posting_vp, 0x5c, the_guest->input_gpa);
}

static uint16_t guest_signal(void *transport, uint32_t connection_id, uint16_t flag)
{
	return (uint16_t)hypercall(transport, 0, 0x1005d, connection_id | (uint64_t)flag << 32);
}

static void guest_end_of_message(void *transport, uint32_t vp)
{
	resample(vp);
}

static const struct part_guest_ops guest_ops = {
	.start = guest_lines,
	.stop = guest_no_lines,
	.enable_synic = guest_synic,
	.unmask_sint = guest_unmask,
	.post_message = guest_post,
	.signal_event = guest_signal,
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

static void attach(struct guest *g)
{
	int vm = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(kvm_transport_attach(g->t, vm), 0);
	assert_int_equal(kvm_transport_attach(g->t, vm), -EBUSY);
	close(vm);
	for (int i = 0; i < (int)RAW_VPS; i++)
		assert_int_equal(kvm_transport_vcpu(g->t, (uint32_t)i, VCPU_FD + i), 0);
	assert_int_equal(kvm_transport_connect(g->t, NULL, 0), 0);
}

static void start_with(struct guest *g, struct kvm_transport_options *o)
{
	struct part_options options = {
		.memory = TEST_MEMORY, .server_dispatchers = 2, .vps = RAW_VPS};
	struct raw_guest *raw = &g->raw;

	memset(g, 0, sizeof(*g));
	memset(&kvm, 0, offsetof(struct fake_kvm, lock));
	the_guest = g;
	assert_int_equal(part_new(&options, &raw->part), 0);
	share_memory(raw->part);
	o->partition = part_id(raw->part);
	o->vps = RAW_VPS;
	o->control = control;
	assert_int_equal(kvm_transport_create(o, &raw->part->server.memory, &g->t), 0);
	assert_int_equal(
		part_start_host(raw->part,
				&(struct part_transport){.transport = g->t,
							 .host = kvm_transport_ops(g->t),
							 .destroy = kvm_transport_destroy}),
		0);
	raw->host = part_server(raw->part);
	raw->ops = &guest_ops;
	attach(g);
	assert_int_equal(part_pages_alloc(&raw->part->client, 2, &g->input_gpa), 0);
	g->input = part_memory_at(&raw->part->client, g->input_gpa, 8192);
	for (uint32_t i = 0; i < RAW_VPS; i++) {
		assert_int_equal(part_pages_alloc(&raw->part->client, 2, &raw->gpa[i]), 0);
		raw->simp[i] = part_memory_at(&raw->part->client, raw->gpa[i], 4096);
		raw->siefp[i] = raw->simp[i] + 4096;
		guest_synic(g->t, i, raw->gpa[i], raw->gpa[i] + 4096);
	}
}

static void start(struct guest *g)
{
	struct kvm_transport_options o = {0};

	start_with(g, &o);
}

static void stop(struct guest *g)
{
	part_destroy(g->raw.part);
}

static struct kvm_transport_counts counts(const struct guest *g)
{
	struct kvm_transport_counts c;

	kvm_transport_count(g->t, &c);
	return c;
}

static void expect_message(struct guest *g, uint32_t vp, uint32_t sint, uint32_t type)
{
	struct raw_message m;

	wait_until(raw_take(&g->raw, vp, sint, &m));
	assert_int_equal(vmbus_get32(m.bytes), type);
}

static void contact_from(struct guest *g, uint32_t connection, uint32_t version, uint32_t vp,
			 uint8_t sint)
{
	uint8_t m[40] = {14};

	vmbus_put32(m + 8, version);
	vmbus_put32(m + 12, vp);
	m[16] = sint;
	g->raw.message_vp = vp;
	assert_int_equal(raw_post_to(&g->raw, connection, m, sizeof(m)), 0);
}

/* ---- attaching ---- */

static void host_036_037_the_table_is_whole_and_set_after_the_synic(void **state)
{
	struct guest g;

	start(&g);
	assert_true(kvm.routed_after_synic);
	assert_int_equal(kvm.routes, 16 + 24 + RAW_VPS);
	for (uint32_t i = 0; i < 40; i++) {
		uint32_t pin = i < 16 ? i : i - 16;

		assert_int_equal(kvm.route[i].gsi, pin);
		assert_int_equal(kvm.route[i].type, KVM_IRQ_ROUTING_IRQCHIP);
		assert_int_equal(kvm.route[i].u.irqchip.irqchip, i < 16 ? pin / 8 : 2);
		assert_int_equal(kvm.route[i].u.irqchip.pin, i < 16 ? pin % 8 : pin);
	}
	for (uint32_t i = 0; i < RAW_VPS; i++) {
		assert_int_equal(kvm.route[40 + i].gsi, 24 + i);
		assert_int_equal(kvm.route[40 + i].type, KVM_IRQ_ROUTING_HV_SINT);
		assert_int_equal(kvm.route[40 + i].u.hv_sint.vcpu, i);
		assert_int_equal(kvm.route[40 + i].u.hv_sint.sint, SINT);
		assert_int_equal(kvm.line[i].flags, KVM_IRQFD_FLAG_RESAMPLE);
		assert_int_equal(kvm.vp_index[i], i);
	}
	stop(&g);
}

static void host_036_one_end_of_message_is_one_resample(void **state)
{
	struct guest g;

	start(&g);
	resample(1);
	wait_until(counts(&g).resamples == 1);
	nap(SETTLE_NS);
	assert_int_equal(counts(&g).resamples, 1);
	stop(&g);
}

static void routes_of_the_machine_are_kept_and_must_not_overlap(void **state)
{
	struct kvm_irq_routing_entry msi = {.gsi = 5, .type = KVM_IRQ_ROUTING_MSI};
	struct guest g;

	start(&g);
	assert_int_equal(kvm_transport_connect(g.t, &msi, 1), 0);
	assert_int_equal(kvm.routes, 1 + RAW_VPS);
	assert_int_equal(kvm.route[0].type, KVM_IRQ_ROUTING_MSI);
	msi.gsi = KVM_FIRST_SINT_GSI;
	assert_int_equal(kvm_transport_connect(g.t, &msi, 1), -EINVAL);
	assert_int_equal(kvm_transport_vcpu(g.t, RAW_VPS, VCPU_FD), -EINVAL);
	stop(&g);
}

/* ---- SynIC ---- */

static void host_015_pages_follow_and_impossible_ones_are_counted(void **state)
{
	struct synic_vp *vp;
	struct guest g;

	start(&g);
	vp = &((struct hv_machine *)(void *)g.t)->vp[1];
	assert_ptr_equal(vp->simp, memory_at(&g.raw.part->server.memory, g.raw.gpa[1], 4096));
	synic(g.t, 1, 1, g.raw.gpa[2] | 1, g.raw.gpa[3] | 1);
	assert_ptr_equal(vp->simp, memory_at(&g.raw.part->server.memory, g.raw.gpa[2], 4096));
	assert_ptr_equal(vp->siefp, memory_at(&g.raw.part->server.memory, g.raw.gpa[3], 4096));
	synic(g.t, 1, 1, g.raw.gpa[2], g.raw.gpa[3] | 1); /* SIMP off */
	assert_null(vp->simp);
	assert_non_null(vp->siefp);
	synic(g.t, 1, 0, g.raw.gpa[2] | 1, g.raw.gpa[3] | 1); /* all of it off */
	assert_null(vp->simp);
	assert_null(vp->siefp);
	assert_int_equal(counts(&g).bad_pages, 0);
	synic(g.t, 1, 1, TEST_MEMORY | 1, g.raw.gpa[3] | 1);
	assert_null(vp->simp);
	assert_non_null(vp->siefp);
	assert_int_equal(counts(&g).bad_pages, 1);
	synic(g.t, 1, 1, 0xfffffffffffff001, 0xe0000000001);
	assert_null(vp->siefp);
	assert_int_equal(counts(&g).bad_pages, 3);
	stop(&g);
}

static void host_016_messages_go_where_the_contact_said(void **state)
{
	struct kvm_transport_options o = {.sints = 1 << 2 | 1 << 5};
	struct guest g;

	start_with(&g, &o);
	g.posting_vp = 1;
	contact_from(&g, 1, VMBUS_V5_3, 3, 0);
	expect_message(&g, 3, 2, 15);
	/* The multi-client port takes the SINT too. */
	contact_from(&g, 4, VMBUS_V5_3, 2, 5);
	expect_message(&g, 2, 5, 15);
	assert_int_equal(kvm.routes, 40 + 2 * RAW_VPS);
	assert_int_equal(kvm.route[40 + 2 * 2 + 1].u.hv_sint.vcpu, 2);
	assert_int_equal(kvm.route[40 + 2 * 2 + 1].u.hv_sint.sint, 5);
	assert_true(interrupts(2 * 2 + 1) > 0);
	assert_int_equal(interrupts(2 * 2), 0);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		assert_false(raw_slot_full(&g.raw, vp, 2) || raw_slot_full(&g.raw, vp, 5));
	stop(&g);
}

static void host_017_018_a_burst_of_offers_arrives_whole_and_in_order(void **state)
{
	static struct device devices[BIG_BURST];
	struct guest g;
	struct raw_message m;
	uint8_t request[8] = {3};

	start(&g);
	for (uint32_t i = 0; i < BIG_BURST; i++) {
		device_init(&devices[i]);
		device_offer(&devices[i], g.raw.host, i);
	}
	raw_contact(&g.raw, VMBUS_V5_3, 0);
	raw_expect(&g.raw, 15, &m);
	raw_post(&g.raw, request, sizeof(request));
	for (uint32_t i = 0; i < BIG_BURST; i++) {
		raw_expect(&g.raw, 1, &m);
		assert_int_equal(m.size, 196);
		assert_int_equal(vmbus_get32(m.bytes + 184), i + 1);
	}
	raw_expect(&g.raw, 4, &m);
	assert_true(counts(&g).busy > 0);
	for (uint32_t i = 0; i < BIG_BURST; i++) {
		device_revoke(&devices[i]);
		device_destroy(&devices[i]);
	}
	stop(&g);
}

/* While the host may set a pending flag once more. */
static void copy_page(uint8_t *to, const uint8_t *page)
{
	for (uint32_t i = 0; i < 4096; i++)
		to[i] = __atomic_load_n(page + i, __ATOMIC_RELAXED);
}

static void host_019_an_end_of_message_with_nothing_to_do_changes_nothing(void **state)
{
	uint8_t before[4096], after[4096], request[8] = {3};
	struct guest g;
	struct raw_message m;

	start(&g);
	resample(0); /* an empty queue */
	wait_until(counts(&g).resamples == 1);
	raw_contact(&g.raw, VMBUS_V5_3, 0);
	wait_until(raw_slot_full(&g.raw, 0, 2));
	raw_post(&g.raw, request, sizeof(request)); /* its answer has no place */
	wait_until(__atomic_load_n(&g.raw.simp[0][0x205], __ATOMIC_SEQ_CST) & 1);
	copy_page(before, g.raw.simp[0]);
	interrupts(0);
	resample(0); /* the slot is busy */
	wait_until(counts(&g).resamples == 2);
	nap(SETTLE_NS);
	copy_page(after, g.raw.simp[0]);
	assert_memory_equal(after, before, sizeof(before));
	assert_int_equal(interrupts(0), 0);
	raw_expect(&g.raw, 15, &m);
	raw_expect(&g.raw, 4, &m);
	stop(&g);
}

static void host_020_messages_wait_for_a_page(void **state)
{
	struct guest g;
	struct raw_message m;

	start(&g);
	synic(g.t, 2, 1, 0, g.raw.gpa[2] + 4097);
	contact_from(&g, 1, VMBUS_V5_3, 2, 0);
	nap(SETTLE_NS);
	assert_false(raw_slot_full(&g.raw, 2, 2));
	/* Enabled, but the whole SynIC is not. */
	synic(g.t, 2, 0, g.raw.gpa[2] | 1, 0);
	nap(SETTLE_NS);
	assert_false(raw_slot_full(&g.raw, 2, 2));
	interrupts(2);
	synic(g.t, 2, 1, g.raw.gpa[2] | 1, 0);
	raw_expect(&g.raw, 15, &m);
	assert_true(interrupts(2) > 0);
	stop(&g);
}

static void host_028_pages_given_up_are_not_written(void **state)
{
	static const uint8_t zeros[4096];
	struct guest g;
	struct raw_message m;
	uint8_t unload[8] = {16};

	start(&g);
	raw_connect(&g.raw, VMBUS_V5_3);
	raw_post(&g.raw, unload, sizeof(unload));
	raw_expect(&g.raw, 17, &m);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		synic(g.t, vp, 0, 0, 0);
	memset(g.raw.simp[0], 0, 4096);
	/* Another kernel, whose page is elsewhere. */
	synic(g.t, 0, 1, g.raw.gpa[3] | 1, (g.raw.gpa[3] + 4096) | 1);
	raw_contact(&g.raw, VMBUS_V5_3, 0);
	wait_until(raw_slot_full(&g.raw, 3, 2));
	assert_int_equal(vmbus_get32(g.raw.simp[3] + 0x210), 15);
	assert_memory_equal(g.raw.simp[0], zeros, 4096);
	stop(&g);
}

/* An interrupt is lost while the SINT is masked; the exits that follow the unmasking bring it. */
static void an_exit_interrupts_again_for_what_waits(void **state)
{
	struct guest g;

	start(&g);
	raw_contact(&g.raw, VMBUS_V5_3, 0);
	wait_until(raw_slot_full(&g.raw, 0, 2));
	wait_until(interrupts(0) > 0);
	guest_synic(g.t, 0, g.raw.gpa[0], g.raw.gpa[0] + 4096);
	assert_int_equal(interrupts(0), 1);
	guest_synic(g.t, 1, g.raw.gpa[1], g.raw.gpa[1] + 4096);
	assert_int_equal(interrupts(1), 0);
	stop(&g);
}

/* ---- event flags ---- */

static void host_021_a_flag_interrupts_on_its_rise(void **state)
{
	const struct part_host_ops *ops;
	struct guest g;

	start(&g);
	ops = kvm_transport_ops(g.t);
	interrupts(3);
	assert_int_equal(ops->set_flag(g.t, 3, 2, 77), 0);
	assert_true(raw_flag(&g.raw, 3, 77));
	assert_int_equal(interrupts(3), 1);
	assert_int_equal(ops->set_flag(g.t, 3, 2, 77), 0);
	assert_int_equal(interrupts(3), 0);
	assert_int_equal(ops->set_flag(g.t, 3, 2, 78), 0);
	assert_int_equal(interrupts(3), 1);
	raw_clear_flag(&g.raw, 3, 77);
	assert_int_equal(ops->set_flag(g.t, 3, 2, 77), 0);
	assert_int_equal(interrupts(3), 1);
	stop(&g);
}

/* All that a host process of its own would have: the file and the eventfd. */
static int raise_from_outside(int memory, uint64_t siefp, int irq)
{
	uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, (off_t)siefp);
	const uint64_t one = 1;
	struct synic_vp vp = {.siefp = page, .unmasked = 1 << 2};

	if (page == MAP_FAILED || synic_set_flag(&vp, 2, 99) != 1 || synic_set_flag(&vp, 2, 99))
		return 1;
	return write(irq, &one, sizeof(one)) != sizeof(one);
}

static void host_021_033_another_process_sets_a_flag(void **state)
{
	struct guest g;
	int memory, status;
	pid_t child;

	start(&g);
	interrupts(1);
	memory = g.raw.part->client.memory.range[0].fd;
	assert_int_equal(fcntl(memory, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_WRITE),
			 F_SEAL_SHRINK);
	child = fork();
	if (!child)
		_exit(raise_from_outside(memory, g.raw.gpa[1] + 4096, kvm.line[1].irq));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(raw_flag(&g.raw, 1, 99));
	assert_int_equal(interrupts(1), 1);
	stop(&g);
}

/* ---- posts ---- */

static void host_022_each_bad_post_has_its_status(void **state)
{
	uint8_t contact[240] = {14};
	struct guest g;
	uint64_t gpa;

	start(&g);
	gpa = g.input_gpa;
	write_post(g.input, 1, 1, contact, 40);
	assert_int_equal(hypercall(g.t, 0, 0x5c, gpa + 4), 4);        /* misaligned */
	assert_int_equal(hypercall(g.t, 0, 0x5c, TEST_MEMORY), 4);    /* outside */
	assert_int_equal(hypercall(g.t, 0, 0x5c, UINT64_MAX - 7), 4); /* it wraps */
	assert_int_equal(hypercall(g.t, 0, 0x1005c, gpa), 3);         /* no such fast form */
	/* 16 + 40 bytes end with the page, or one more begins. */
	write_post(g.input + 4096 - 56, 77, 1, contact, 0);
	vmbus_put32(g.input + 4096 - 56 + 12, 40);
	assert_int_equal(hypercall(g.t, 0, 0x5c, gpa + 4096 - 56), 18);
	vmbus_put32(g.input + 4096 - 56 + 12, 41);
	assert_int_equal(hypercall(g.t, 0, 0x5c, gpa + 4096 - 56), 4);
	assert_int_equal(hypercall(g.t, 0, 0x5c, gpa + 4096 - 8), 4); /* not even a header */
	write_post(g.input, 1, 1, contact, 241);
	assert_int_equal(hypercall(g.t, 0, 0x5c, gpa), 5);
	write_post(g.input, 1, 2, contact, 40);
	assert_int_equal(hypercall(g.t, 0, 0x5c, gpa), 5);
	write_post(g.input, 99, 1, contact, 40);
	assert_int_equal(hypercall(g.t, 0, 0x5c, gpa), 18);
	assert_int_equal(hypercall(g.t, 0, 0x46, 0), 2); /* another hypercall */
	assert_int_equal(counts(&g).from_guest[14], 0);
	/* The upper bits of an id mean nothing. */
	write_post(g.input, 0xab000001, 1, contact, 40);
	vmbus_put32(g.input + 16 + 8, VMBUS_V5_3);
	assert_int_equal(hypercall(g.t, 2, 0x5c, gpa), 0);
	expect_message(&g, 0, 2, 15);
	assert_int_equal(counts(&g).from_guest[14], 1);
	assert_true(counts(&g).contact_ns > 0);
	stop(&g);
}

struct rewriter {
	struct guest *g;
	atomic_bool stop;
};

/* Sizes that are right and wrong by turns, while posts are read. */
static void *rewrite(void *context)
{
	struct rewriter *r = context;

	for (uint32_t i = 0; !atomic_load(&r->stop); i++)
		__atomic_store_n((uint32_t *)(void *)(r->g->input + 12), i & 1 ? 8 : 0xffff,
				 __ATOMIC_RELAXED);
	return NULL;
}

static void host_022_nothing_of_a_post_is_read_twice(void **state)
{
	uint8_t request[8] = {3};
	unsigned int taken = 0, refused = 0;
	struct guest g;
	struct rewriter r = {.g = &g};
	pthread_t thread;

	start(&g);
	write_post(g.input, 1, 1, request, sizeof(request));
	assert_int_equal(pthread_create(&thread, NULL, rewrite, &r), 0);
	for (uint32_t i = 0; i < 20000 || ((!taken || !refused) && i < 2000000); i++) {
		uint64_t status = hypercall(g.t, 0, 0x5c, g.input_gpa);

		/* Never one size checked and another one used: that would be a crash or a 4. */
		taken += status == 0 || status == 19;
		refused += status == 5;
		assert_true(status == 0 || status == 19 || status == 5);
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	assert_true(taken && refused);
	stop(&g);
}

/* No end takes what is posted. */
static void host_022_035_a_full_queue_puts_the_guest_off(void **state)
{
	struct kvm_transport_options o = {.vps = 1, .control = control};
	const struct part_host_ops *ops;
	struct part_memory memory;
	struct hv_message m;
	struct kvm_transport *t;
	struct kvm_transport_counts c;
	uint8_t *page;
	int fd = part_memory_file(1 << 21), copy;

	memset(&kvm, 0, offsetof(struct fake_kvm, lock));
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	part_memory_init(&memory, 16);
	assert_int_equal(part_memory_add(&memory, fd, 0, 1 << 21, 0, NULL), 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
	assert_int_equal(kvm_transport_create(&o, &memory, &t), 0);
	ops = kvm_transport_ops(t);
	assert_int_equal(ops->bind_messages(t, 1), 0);
	for (uint32_t i = 0; i < QUEUE; i++) {
		write_post(page, 1, 1, &i, sizeof(i));
		assert_int_equal(hypercall(t, 0, 0x5c, 0), 0);
	}
	write_post(page, 1, 1, "x", 1);
	assert_int_equal(hypercall(t, 0, 0x5c, 0), 19);
	assert_int_equal(hypercall(t, 0, 0x5c, 0), 19);
	kvm_transport_count(t, &c);
	assert_int_equal(c.refused, 2);
	assert_true(ops->take_message(t, &m));
	assert_int_equal(m.payload[0], 0);
	assert_int_equal(hypercall(t, 0, 0x5c, 0), 0);
	for (uint32_t i = 1; i < QUEUE; i++) {
		assert_true(ops->take_message(t, &m));
		assert_int_equal(vmbus_get32(m.payload), i);
	}
	assert_true(ops->take_message(t, &m));
	assert_int_equal(m.payload[0], 'x');
	assert_false(ops->take_message(t, &m));
	kvm_transport_destroy(t);
	part_memory_close(&memory);
	munmap(page, 4096);
	close(copy);
}

/* ---- channels ---- */

struct open_channel {
	struct guest g;
	struct device d;
	uint32_t connection;
};

static void open_one(struct open_channel *c, bool no_doorbells)
{
	struct kvm_transport_options o = {.no_doorbells = no_doorbells};
	uint8_t request[8] = {3};
	struct raw_message m;
	uint64_t gpa;

	start_with(&c->g, &o);
	device_init(&c->d);
	device_offer(&c->d, c->g.raw.host, 0);
	raw_contact(&c->g.raw, VMBUS_V5_3, 0);
	raw_expect(&c->g.raw, 15, &m);
	raw_post(&c->g.raw, request, sizeof(request));
	raw_expect(&c->g.raw, 1, &m);
	c->connection = vmbus_get32(m.bytes + 192);
	raw_expect(&c->g.raw, 4, &m);
	assert_int_equal(part_pages_alloc(&c->g.raw.part->client, 2 * RING_PAGES, &gpa), 0);
	raw_gpadl(&c->g.raw, 1, 7, gpa, 2 * RING_PAGES);
	raw_post_open(&c->g.raw, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&c->g.raw, 1), 0);
}

static void close_one(struct open_channel *c)
{
	device_revoke(&c->d);
	stop(&c->g);
	device_destroy(&c->d);
}

static void ring_doorbell(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void host_025_doorbells_come_by_eventfd(void **state)
{
	struct open_channel c;
	unsigned int polls;

	open_one(&c, false);
	assert_int_equal(doorbells(), 1);
	assert_int_equal(kvm.doorbell[0].id, c.connection);
	nap(SETTLE_NS);
	polls = c.d.polls;
	ring_doorbell(kvm.doorbell[0].fd);
	wait_until(c.d.polls > polls);
	assert_int_equal(counts(&c.g).doorbells, 1);
	assert_int_equal(counts(&c.g).signals, 0);
	/* What KVM does not know comes as an exit all the same. */
	polls = c.d.polls;
	assert_int_equal(guest_signal(c.g.t, c.connection, 0), 0);
	wait_until(c.d.polls > polls);
	assert_int_equal(counts(&c.g).signals, 1);
	close_one(&c);
}

static void host_025_doorbells_come_as_exits(void **state)
{
	struct open_channel c;
	unsigned int polls;

	open_one(&c, true);
	assert_int_equal(doorbells(), 0);
	nap(SETTLE_NS);
	polls = c.d.polls;
	assert_int_equal(guest_signal(c.g.t, c.connection, 0), 0);
	wait_until(c.d.polls > polls);
	nap(SETTLE_NS);
	polls = c.d.polls;
	/* The slow form. */
	vmbus_put64(c.g.input, c.connection);
	assert_int_equal(hypercall(c.g.t, 1, 0x5d, c.g.input_gpa), 0);
	wait_until(c.d.polls > polls);
	assert_int_equal(hypercall(c.g.t, 1, 0x5d, TEST_MEMORY), 4);
	assert_int_equal(guest_signal(c.g.t, c.connection + 1, 0), 18);
	assert_int_equal(guest_signal(c.g.t, c.connection, 1), 5);
	close_one(&c);
}

static void host_025_kvm_without_eventfds_is_good_enough(void **state)
{
	struct open_channel c;
	unsigned int polls;

	open_one(&c, false);
	raw_post_channel(&c.g.raw, 7, 1);
	wait_until(c.d.closes == 1 && !doorbells());
	kvm.refuse_doorbells = ENOTTY;
	raw_post_open(&c.g.raw, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&c.g.raw, 1), 0);
	assert_int_equal(doorbells(), 0);
	nap(SETTLE_NS);
	polls = c.d.polls;
	assert_int_equal(guest_signal(c.g.t, c.connection, 0), 0);
	wait_until(c.d.polls > polls);
	close_one(&c);
}

static void host_026_doorbells_go_with_their_channel(void **state)
{
	struct open_channel c;
	uint8_t unload[8] = {16};
	struct raw_message m;

	open_one(&c, false);
	/* closed by the guest, and open again */
	raw_post_channel(&c.g.raw, 7, 1);
	wait_until(!doorbells());
	raw_post_open(&c.g.raw, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&c.g.raw, 1), 0);
	assert_int_equal(doorbells(), 1);
	/* rescinded */
	device_revoke(&c.d);
	assert_int_equal(doorbells(), 0);
	raw_expect(&c.g.raw, 2, &m);
	device_destroy(&c.d);
	stop(&c.g);

	open_one(&c, false);
	raw_post(&c.g.raw, unload, sizeof(unload));
	raw_expect(&c.g.raw, 17, &m);
	assert_int_equal(doorbells(), 0);
	close_one(&c);

	open_one(&c, false);
	kvm_transport_detach(c.g.t);
	assert_int_equal(doorbells(), 0);
	assert_int_equal(kvm.assigns, kvm.deassigns);
	close_one(&c);
}

static void host_027_an_unload_is_answered_once_from_any_processor(void **state)
{
	static struct device devices[20];
	uint8_t request[8] = {3}, unload[8] = {16};
	unsigned int answers = 0;
	struct guest g;
	struct raw_message m;

	start(&g);
	for (uint32_t i = 0; i < 20; i++) {
		device_init(&devices[i]);
		device_offer(&devices[i], g.raw.host, i);
	}
	raw_contact(&g.raw, VMBUS_V5_3, 0);
	raw_expect(&g.raw, 15, &m);
	raw_post(&g.raw, request, sizeof(request));
	wait_until(raw_slot_full(&g.raw, 0, 2)); /* nineteen offers wait behind the first */
	g.posting_vp = 3;
	raw_post(&g.raw, unload, sizeof(unload));
	for (uint64_t end = clock_now_ns() + 10 * SETTLE_NS; clock_now_ns() < end;) {
		if (!raw_take(&g.raw, 0, 2, &m))
			continue;
		answers += vmbus_get32(m.bytes) == 17;
		assert_true(vmbus_get32(m.bytes) == 17 || (!answers && vmbus_get32(m.bytes) == 1) ||
			    (!answers && vmbus_get32(m.bytes) == 4));
	}
	assert_int_equal(answers, 1);
	assert_int_equal(raw_connect(&g.raw, VMBUS_V5_3), 20);
	for (uint32_t i = 0; i < 20; i++) {
		device_revoke(&devices[i]);
		device_destroy(&devices[i]);
	}
	stop(&g);
}

static void host_029_a_guest_that_stops_closes_its_channel_once(void **state)
{
	struct open_channel c;

	open_one(&c, false);
	assert_int_equal(c.d.closes, 0);
	kvm_transport_detach(c.g.t);
	assert_int_equal(c.d.closes, 1);
	/* The next boot, in a VM of its own. */
	attach(&c.g);
	memset(c.g.raw.simp[0], 0, 4096);
	guest_synic(c.g.t, 0, c.g.raw.gpa[0], c.g.raw.gpa[0] + 4096);
	assert_int_equal(raw_connect(&c.g.raw, VMBUS_V5_3), 1);
	nap(SETTLE_NS);
	assert_int_equal(c.d.closes, 1);
	close_one(&c);
	assert_int_equal(c.d.closes, 1);
}

/* Whether a channel opens whose rings begin there. */
static bool opens_at(struct guest *g, uint32_t gpadl, uint64_t gpa)
{
	struct raw_message m;
	bool good;

	raw_gpadl(&g->raw, 1, gpadl, gpa, 2 * RING_PAGES);
	raw_post_open(&g->raw, 1, gpadl, RING_PAGES, 0);
	good = !raw_expect_open_result(&g->raw, 1);
	if (good)
		raw_post_channel(&g->raw, 7, 1);
	raw_teardown(&g->raw, 1, gpadl);
	raw_expect(&g->raw, 12, &m);
	return good;
}

static void host_032_pages_in_the_hole_and_beyond_are_refused(void **state)
{
	const uint64_t high = 1ull << 32, size = 2u << 20, rings = 2 * RING_PAGES * PART_PAGE_SIZE;
	struct device d;
	struct guest g;

	start(&g);
	assert_int_equal(part_host_memory(g.raw.part, part_memory_file(size), high, size, 0), 0);
	device_init(&d);
	device_offer(&d, g.raw.host, 0);
	assert_int_equal(raw_connect(&g.raw, VMBUS_V5_3), 1);
	assert_true(opens_at(&g, 1, TEST_MEMORY - rings));
	assert_false(opens_at(&g, 2, TEST_MEMORY - rings + PART_PAGE_SIZE));
	assert_false(opens_at(&g, 3, TEST_MEMORY));
	assert_false(opens_at(&g, 4, 0xf8000000));
	assert_false(opens_at(&g, 5, high - PART_PAGE_SIZE));
	assert_true(opens_at(&g, 6, high));
	assert_true(opens_at(&g, 7, high + size - rings));
	assert_false(opens_at(&g, 8, high + size - rings + PART_PAGE_SIZE));
	assert_false(opens_at(&g, 9, ~0ull << PART_PAGE_SHIFT));
	/* SynIC pages may lie above the hole, and not in it. */
	synic(g.t, 1, 1, (high + 4096) | 1, (high - 4096) | 1);
	assert_int_equal(counts(&g).bad_pages, 1);
	device_revoke(&d);
	stop(&g);
	device_destroy(&d);
}

static void host_035_a_talkative_guest_is_bounded_and_others_go_on(void **state)
{
	uint8_t request[8] = {3};
	unsigned int put_off = 0;
	struct guest loud;
	struct raw_guest other;

	start(&loud);
	raw_contact(&loud.raw, VMBUS_V5_3, 0);
	/* It never empties its slot, so that answers pile up; then its posts do. */
	for (uint32_t i = 0; i < 100000 && put_off < 100; i++)
		put_off += raw_post_to(&loud.raw, 1, request, sizeof(request)) ==
			   HV_STATUS_INSUFFICIENT_BUFFERS;
	assert_int_equal(put_off, 100);
	raw_guest_start(&other, NULL);
	assert_int_equal(raw_connect(&other, VMBUS_V5_3), 0);
	raw_guest_stop(&other);
	stop(&loud);
}

/* The VM's clock in units of 100 ns, and a reading that was interrupted does not count. */
static void ic_020_the_reference_counter_is_the_vms(void **state)
{
	struct part_endpoint *server;
	uint64_t reference, real_ns;
	struct timespec now;
	struct guest g;

	start(&g);
	server = part_server(g.raw.part);
	kvm.clock = 0;
	assert_int_equal(part_server_clocks(server, &reference, &real_ns), -ENOTSUP);
	kvm.clock = 123456789012345;
	kvm.clocks = 0;
	kvm.slow_clocks = 2;
	assert_int_equal(part_server_clocks(server, &reference, &real_ns), 0);
	clock_gettime(CLOCK_REALTIME, &now);
	assert_int_equal(reference, 1234567890123);
	assert_true(kvm.clocks >= 3);
	/* a wall clock of today, whatever the machine was doing meanwhile */
	assert_true(real_ns / 1000000000 + 60 > (uint64_t)now.tv_sec &&
		    real_ns / 1000000000 <= (uint64_t)now.tv_sec + 60);
	kvm_transport_detach(g.t);
	assert_int_equal(part_server_clocks(server, &reference, &real_ns), -ENOTSUP);
	kvm.clock = 0;
	stop(&g);
}

static void nothing_leaks_over_many_boots(void **state)
{
	unsigned int fds = count_fds(), threads = count_threads();
	struct open_channel c;

	open_one(&c, false);
	for (uint32_t i = 0; i < 20; i++) {
		kvm_transport_detach(c.g.t);
		attach(&c.g);
	}
	close_one(&c);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_threads(), threads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_036_037_the_table_is_whole_and_set_after_the_synic),
		cmocka_unit_test(host_036_one_end_of_message_is_one_resample),
		cmocka_unit_test(routes_of_the_machine_are_kept_and_must_not_overlap),
		cmocka_unit_test(host_015_pages_follow_and_impossible_ones_are_counted),
		cmocka_unit_test(host_016_messages_go_where_the_contact_said),
		cmocka_unit_test(host_017_018_a_burst_of_offers_arrives_whole_and_in_order),
		cmocka_unit_test(host_019_an_end_of_message_with_nothing_to_do_changes_nothing),
		cmocka_unit_test(host_020_messages_wait_for_a_page),
		cmocka_unit_test(host_028_pages_given_up_are_not_written),
		cmocka_unit_test(an_exit_interrupts_again_for_what_waits),
		cmocka_unit_test(host_021_a_flag_interrupts_on_its_rise),
		cmocka_unit_test(host_021_033_another_process_sets_a_flag),
		cmocka_unit_test(host_022_each_bad_post_has_its_status),
		cmocka_unit_test(host_022_nothing_of_a_post_is_read_twice),
		cmocka_unit_test(host_022_035_a_full_queue_puts_the_guest_off),
		cmocka_unit_test(host_025_doorbells_come_by_eventfd),
		cmocka_unit_test(host_025_doorbells_come_as_exits),
		cmocka_unit_test(host_025_kvm_without_eventfds_is_good_enough),
		cmocka_unit_test(host_026_doorbells_go_with_their_channel),
		cmocka_unit_test(host_027_an_unload_is_answered_once_from_any_processor),
		cmocka_unit_test(host_029_a_guest_that_stops_closes_its_channel_once),
		cmocka_unit_test(host_032_pages_in_the_hole_and_beyond_are_refused),
		cmocka_unit_test(host_035_a_talkative_guest_is_bounded_and_others_go_on),
		cmocka_unit_test(ic_020_the_reference_counter_is_the_vms),
		cmocka_unit_test(nothing_leaks_over_many_boots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
