/* SPDX-License-Identifier: MIT */
/* What the KVM transport asks of KVM, and what it makes of a processor's exits. */
#include "kvm_rig.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SINT      2u
#define BIG_BURST 1000u
#define QUEUE     32u /* messages that wait for the host */

/* ---- attaching ---- */

static void host_036_037_the_table_is_whole_and_set_after_the_synic(void **state)
{
	struct kvm_guest g;

	rig_start(&g);
	assert_true(rig_kvm.routed_after_synic);
	assert_int_equal(rig_kvm.routes, 16 + 24 + RAW_VPS);
	for (uint32_t i = 0; i < 40; i++) {
		uint32_t pin = i < 16 ? i : i - 16;

		assert_int_equal(rig_kvm.route[i].gsi, pin);
		assert_int_equal(rig_kvm.route[i].type, KVM_IRQ_ROUTING_IRQCHIP);
		assert_int_equal(rig_kvm.route[i].u.irqchip.irqchip, i < 16 ? pin / 8 : 2);
		assert_int_equal(rig_kvm.route[i].u.irqchip.pin, i < 16 ? pin % 8 : pin);
	}
	for (uint32_t i = 0; i < RAW_VPS; i++) {
		assert_int_equal(rig_kvm.route[40 + i].gsi, 24 + i);
		assert_int_equal(rig_kvm.route[40 + i].type, KVM_IRQ_ROUTING_HV_SINT);
		assert_int_equal(rig_kvm.route[40 + i].u.hv_sint.vcpu, i);
		assert_int_equal(rig_kvm.route[40 + i].u.hv_sint.sint, SINT);
		assert_int_equal(rig_kvm.line[i].flags, KVM_IRQFD_FLAG_RESAMPLE);
		assert_int_equal(rig_kvm.vp_index[i], i);
	}
	rig_stop(&g);
}

static void host_036_one_end_of_message_is_one_resample(void **state)
{
	struct kvm_guest g;

	rig_start(&g);
	rig_resample(1);
	wait_until(rig_counts(&g).resamples == 1);
	nap(SETTLE_NS);
	assert_int_equal(rig_counts(&g).resamples, 1);
	rig_stop(&g);
}

static void routes_of_the_machine_are_kept_and_must_not_overlap(void **state)
{
	struct kvm_irq_routing_entry msi = {.gsi = 5, .type = KVM_IRQ_ROUTING_MSI};
	struct kvm_guest g;

	rig_start(&g);
	assert_int_equal(kvm_transport_connect(g.t, &msi, 1), 0);
	assert_int_equal(rig_kvm.routes, 1 + RAW_VPS);
	assert_int_equal(rig_kvm.route[0].type, KVM_IRQ_ROUTING_MSI);
	msi.gsi = KVM_FIRST_SINT_GSI;
	assert_int_equal(kvm_transport_connect(g.t, &msi, 1), -EINVAL);
	assert_int_equal(kvm_transport_vcpu(g.t, RAW_VPS, VCPU_FD), -EINVAL);
	rig_stop(&g);
}

/* ---- SynIC ---- */

static void host_015_pages_follow_and_impossible_ones_are_counted(void **state)
{
	struct synic_vp *vp;
	struct kvm_guest g;

	rig_start(&g);
	vp = &((struct hv_machine *)(void *)g.t)->vp[1];
	assert_ptr_equal(vp->simp, memory_at(&g.raw.part->server.memory, g.raw.gpa[1], 4096));
	rig_synic(g.t, 1, 1, g.raw.gpa[2] | 1, g.raw.gpa[3] | 1);
	assert_ptr_equal(vp->simp, memory_at(&g.raw.part->server.memory, g.raw.gpa[2], 4096));
	assert_ptr_equal(vp->siefp, memory_at(&g.raw.part->server.memory, g.raw.gpa[3], 4096));
	rig_synic(g.t, 1, 1, g.raw.gpa[2], g.raw.gpa[3] | 1); /* SIMP off */
	assert_null(vp->simp);
	assert_non_null(vp->siefp);
	rig_synic(g.t, 1, 0, g.raw.gpa[2] | 1, g.raw.gpa[3] | 1); /* all of it off */
	assert_null(vp->simp);
	assert_null(vp->siefp);
	assert_int_equal(rig_counts(&g).bad_pages, 0);
	rig_synic(g.t, 1, 1, TEST_MEMORY | 1, g.raw.gpa[3] | 1);
	assert_null(vp->simp);
	assert_non_null(vp->siefp);
	assert_int_equal(rig_counts(&g).bad_pages, 1);
	rig_synic(g.t, 1, 1, 0xfffffffffffff001, 0xe0000000001);
	assert_null(vp->siefp);
	assert_int_equal(rig_counts(&g).bad_pages, 3);
	rig_stop(&g);
}

static void host_016_messages_go_where_the_contact_said(void **state)
{
	struct kvm_transport_options o = {.sints = 1 << 2 | 1 << 5};
	struct kvm_guest g;

	rig_start_with(&g, &o);
	g.posting_vp = 1;
	rig_contact(&g, 1, VMBUS_V5_3, 3, 0);
	rig_expect(&g, 3, 2, 15);
	/* The multi-client port takes the SINT too. */
	rig_contact(&g, 4, VMBUS_V5_3, 2, 5);
	rig_expect(&g, 2, 5, 15);
	assert_int_equal(rig_kvm.routes, 40 + 2 * RAW_VPS);
	assert_int_equal(rig_kvm.route[40 + 2 * 2 + 1].u.hv_sint.vcpu, 2);
	assert_int_equal(rig_kvm.route[40 + 2 * 2 + 1].u.hv_sint.sint, 5);
	assert_true(rig_interrupts(2 * 2 + 1) > 0);
	assert_int_equal(rig_interrupts(2 * 2), 0);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		assert_false(raw_slot_full(&g.raw, vp, 2) || raw_slot_full(&g.raw, vp, 5));
	rig_stop(&g);
}

static void host_017_018_a_burst_of_offers_arrives_whole_and_in_order(void **state)
{
	static struct device devices[BIG_BURST];
	struct kvm_guest g;
	struct raw_message m;
	uint8_t request[8] = {3};

	rig_start(&g);
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
	assert_true(rig_counts(&g).busy > 0);
	for (uint32_t i = 0; i < BIG_BURST; i++) {
		device_revoke(&devices[i]);
		device_destroy(&devices[i]);
	}
	rig_stop(&g);
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
	struct kvm_guest g;
	struct raw_message m;

	rig_start(&g);
	rig_resample(0); /* an empty queue */
	wait_until(rig_counts(&g).resamples == 1);
	raw_contact(&g.raw, VMBUS_V5_3, 0);
	wait_until(raw_slot_full(&g.raw, 0, 2));
	raw_post(&g.raw, request, sizeof(request)); /* its answer has no place */
	wait_until(__atomic_load_n(&g.raw.simp[0][0x205], __ATOMIC_SEQ_CST) & 1);
	copy_page(before, g.raw.simp[0]);
	rig_interrupts(0);
	rig_resample(0); /* the slot is busy */
	wait_until(rig_counts(&g).resamples == 2);
	nap(SETTLE_NS);
	copy_page(after, g.raw.simp[0]);
	assert_memory_equal(after, before, sizeof(before));
	assert_int_equal(rig_interrupts(0), 0);
	raw_expect(&g.raw, 15, &m);
	raw_expect(&g.raw, 4, &m);
	rig_stop(&g);
}

static void host_020_messages_wait_for_a_page(void **state)
{
	struct kvm_guest g;
	struct raw_message m;

	rig_start(&g);
	rig_synic(g.t, 2, 1, 0, g.raw.gpa[2] + 4097);
	rig_contact(&g, 1, VMBUS_V5_3, 2, 0);
	nap(SETTLE_NS);
	assert_false(raw_slot_full(&g.raw, 2, 2));
	/* Enabled, but the whole SynIC is not. */
	rig_synic(g.t, 2, 0, g.raw.gpa[2] | 1, 0);
	nap(SETTLE_NS);
	assert_false(raw_slot_full(&g.raw, 2, 2));
	rig_interrupts(2);
	rig_synic(g.t, 2, 1, g.raw.gpa[2] | 1, 0);
	raw_expect(&g.raw, 15, &m);
	assert_true(rig_interrupts(2) > 0);
	rig_stop(&g);
}

static void host_028_pages_given_up_are_not_written(void **state)
{
	static const uint8_t zeros[4096];
	struct kvm_guest g;
	struct raw_message m;
	uint8_t unload[8] = {16};

	rig_start(&g);
	raw_connect(&g.raw, VMBUS_V5_3);
	raw_post(&g.raw, unload, sizeof(unload));
	raw_expect(&g.raw, 17, &m);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		rig_synic(g.t, vp, 0, 0, 0);
	memset(g.raw.simp[0], 0, 4096);
	/* Another kernel, whose page is elsewhere. */
	rig_synic(g.t, 0, 1, g.raw.gpa[3] | 1, (g.raw.gpa[3] + 4096) | 1);
	raw_contact(&g.raw, VMBUS_V5_3, 0);
	wait_until(raw_slot_full(&g.raw, 3, 2));
	assert_int_equal(vmbus_get32(g.raw.simp[3] + 0x210), 15);
	assert_memory_equal(g.raw.simp[0], zeros, 4096);
	rig_stop(&g);
}

/* An interrupt is lost while the SINT is masked; the exits that follow the unmasking bring it. */
static void an_exit_interrupts_again_for_what_waits(void **state)
{
	struct kvm_guest g;

	rig_start(&g);
	raw_contact(&g.raw, VMBUS_V5_3, 0);
	wait_until(raw_slot_full(&g.raw, 0, 2));
	wait_until(rig_interrupts(0) > 0);
	rig_pages(g.t, 0, g.raw.gpa[0], g.raw.gpa[0] + 4096);
	assert_int_equal(rig_interrupts(0), 1);
	rig_pages(g.t, 1, g.raw.gpa[1], g.raw.gpa[1] + 4096);
	assert_int_equal(rig_interrupts(1), 0);
	rig_stop(&g);
}

/* ---- event flags ---- */

static void host_021_a_flag_interrupts_on_its_rise(void **state)
{
	const struct part_host_ops *ops;
	struct kvm_guest g;

	rig_start(&g);
	ops = kvm_transport_ops(g.t);
	rig_interrupts(3);
	assert_int_equal(ops->set_flag(g.t, 3, 2, 77), 0);
	assert_true(raw_flag(&g.raw, 3, 77));
	assert_int_equal(rig_interrupts(3), 1);
	assert_int_equal(ops->set_flag(g.t, 3, 2, 77), 0);
	assert_int_equal(rig_interrupts(3), 0);
	assert_int_equal(ops->set_flag(g.t, 3, 2, 78), 0);
	assert_int_equal(rig_interrupts(3), 1);
	raw_clear_flag(&g.raw, 3, 77);
	assert_int_equal(ops->set_flag(g.t, 3, 2, 77), 0);
	assert_int_equal(rig_interrupts(3), 1);
	rig_stop(&g);
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
	struct kvm_guest g;
	int memory, status;
	pid_t child;

	rig_start(&g);
	rig_interrupts(1);
	memory = g.raw.part->client.memory.range[0].fd;
	assert_int_equal(fcntl(memory, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_WRITE),
			 F_SEAL_SHRINK);
	child = fork();
	if (!child)
		_exit(raise_from_outside(memory, g.raw.gpa[1] + 4096, rig_kvm.line[1].irq));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(raw_flag(&g.raw, 1, 99));
	assert_int_equal(rig_interrupts(1), 1);
	rig_stop(&g);
}

/* ---- posts ---- */

static void host_022_each_bad_post_has_its_status(void **state)
{
	uint8_t contact[240] = {14};
	struct kvm_guest g;
	uint64_t gpa;

	rig_start(&g);
	gpa = g.input_gpa;
	rig_write_post(g.input, 1, 1, contact, 40);
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, gpa + 4), 4);        /* misaligned */
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, TEST_MEMORY), 4);    /* outside */
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, UINT64_MAX - 7), 4); /* it wraps */
	assert_int_equal(rig_hypercall(g.t, 0, 0x1005c, gpa), 3);         /* no such fast form */
	/* 16 + 40 bytes end with the page, or one more begins. */
	rig_write_post(g.input + 4096 - 56, 77, 1, contact, 0);
	vmbus_put32(g.input + 4096 - 56 + 12, 40);
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, gpa + 4096 - 56), 18);
	vmbus_put32(g.input + 4096 - 56 + 12, 41);
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, gpa + 4096 - 56), 4);
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, gpa + 4096 - 8), 4); /* not even a header */
	rig_write_post(g.input, 1, 1, contact, 241);
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, gpa), 5);
	rig_write_post(g.input, 1, 2, contact, 40);
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, gpa), 5);
	rig_write_post(g.input, 99, 1, contact, 40);
	assert_int_equal(rig_hypercall(g.t, 0, 0x5c, gpa), 18);
	assert_int_equal(rig_hypercall(g.t, 0, 0x46, 0), 2); /* another hypercall */
	assert_int_equal(rig_counts(&g).from_guest[14], 0);
	/* The upper bits of an id mean nothing. */
	rig_write_post(g.input, 0xab000001, 1, contact, 40);
	vmbus_put32(g.input + 16 + 8, VMBUS_V5_3);
	assert_int_equal(rig_hypercall(g.t, 2, 0x5c, gpa), 0);
	rig_expect(&g, 0, 2, 15);
	assert_int_equal(rig_counts(&g).from_guest[14], 1);
	assert_true(rig_counts(&g).contact_ns > 0);
	rig_stop(&g);
}

struct rewriter {
	struct kvm_guest *g;
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
	struct kvm_guest g;
	struct rewriter r = {.g = &g};
	pthread_t thread;

	rig_start(&g);
	rig_write_post(g.input, 1, 1, request, sizeof(request));
	assert_int_equal(pthread_create(&thread, NULL, rewrite, &r), 0);
	for (uint32_t i = 0; i < 20000 || ((!taken || !refused) && i < 2000000); i++) {
		uint64_t status = rig_hypercall(g.t, 0, 0x5c, g.input_gpa);

		/* Never one size checked and another one used: that would be a crash or a 4. */
		taken += status == 0 || status == 19;
		refused += status == 5;
		assert_true(status == 0 || status == 19 || status == 5);
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	assert_true(taken && refused);
	rig_stop(&g);
}

/* No end takes what is posted. */
static void host_022_035_a_full_queue_puts_the_guest_off(void **state)
{
	struct kvm_transport_options o = {.vps = 1, .control = rig_control};
	const struct part_host_ops *ops;
	struct part_memory memory;
	struct hv_message m;
	struct kvm_transport *t;
	struct kvm_transport_counts c;
	uint8_t *page;
	int fd = part_memory_file(1 << 21), copy;

	memset(&rig_kvm, 0, offsetof(struct fake_kvm, lock));
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	part_memory_init(&memory, 16);
	assert_int_equal(part_memory_add(&memory, fd, 0, 1 << 21, 0, NULL), 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
	assert_int_equal(kvm_transport_create(&o, &memory, &t), 0);
	ops = kvm_transport_ops(t);
	assert_int_equal(ops->bind_messages(t, 1), 0);
	for (uint32_t i = 0; i < QUEUE; i++) {
		rig_write_post(page, 1, 1, &i, sizeof(i));
		assert_int_equal(rig_hypercall(t, 0, 0x5c, 0), 0);
	}
	rig_write_post(page, 1, 1, "x", 1);
	assert_int_equal(rig_hypercall(t, 0, 0x5c, 0), 19);
	assert_int_equal(rig_hypercall(t, 0, 0x5c, 0), 19);
	kvm_transport_count(t, &c);
	assert_int_equal(c.refused, 2);
	assert_true(ops->take_message(t, &m));
	assert_int_equal(m.payload[0], 0);
	assert_int_equal(rig_hypercall(t, 0, 0x5c, 0), 0);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
