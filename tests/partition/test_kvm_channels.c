/* SPDX-License-Identifier: MIT */
/* Channels of a guest under KVM: doorbells, closing in every way, memory, and what is left. */
#include "kvm_rig.h"

#include <unistd.h>

/* ---- channels ---- */

struct open_channel {
	struct kvm_guest g;
	struct device d;
	uint32_t connection;
};

static void open_one(struct open_channel *c, bool no_doorbells)
{
	struct kvm_transport_options o = {.no_doorbells = no_doorbells};
	uint8_t request[8] = {3};
	struct raw_message m;
	uint64_t gpa;

	rig_start_with(&c->g, &o);
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
	rig_stop(&c->g);
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
	assert_int_equal(rig_doorbells(), 1);
	assert_int_equal(rig_kvm.doorbell[0].id, c.connection);
	nap(SETTLE_NS);
	polls = c.d.polls;
	ring_doorbell(rig_kvm.doorbell[0].fd);
	wait_until(c.d.polls > polls);
	assert_int_equal(rig_counts(&c.g).doorbells, 1);
	assert_int_equal(rig_counts(&c.g).signals, 0);
	/* What KVM does not know comes as an exit all the same. */
	polls = c.d.polls;
	assert_int_equal(rig_signal(c.g.t, c.connection, 0), 0);
	wait_until(c.d.polls > polls);
	assert_int_equal(rig_counts(&c.g).signals, 1);
	close_one(&c);
}

static void host_025_doorbells_come_as_exits(void **state)
{
	struct open_channel c;
	unsigned int polls;

	open_one(&c, true);
	assert_int_equal(rig_doorbells(), 0);
	nap(SETTLE_NS);
	polls = c.d.polls;
	assert_int_equal(rig_signal(c.g.t, c.connection, 0), 0);
	wait_until(c.d.polls > polls);
	nap(SETTLE_NS);
	polls = c.d.polls;
	/* The slow form. */
	vmbus_put64(c.g.input, c.connection);
	assert_int_equal(rig_hypercall(c.g.t, 1, 0x5d, c.g.input_gpa), 0);
	wait_until(c.d.polls > polls);
	assert_int_equal(rig_hypercall(c.g.t, 1, 0x5d, TEST_MEMORY), 4);
	assert_int_equal(rig_signal(c.g.t, c.connection + 1, 0), 18);
	assert_int_equal(rig_signal(c.g.t, c.connection, 1), 5);
	close_one(&c);
}

static void host_025_kvm_without_eventfds_is_good_enough(void **state)
{
	struct open_channel c;
	unsigned int polls;

	open_one(&c, false);
	raw_post_channel(&c.g.raw, 7, 1);
	wait_until(c.d.closes == 1 && !rig_doorbells());
	rig_kvm.refuse_doorbells = ENOTTY;
	raw_post_open(&c.g.raw, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&c.g.raw, 1), 0);
	assert_int_equal(rig_doorbells(), 0);
	nap(SETTLE_NS);
	polls = c.d.polls;
	assert_int_equal(rig_signal(c.g.t, c.connection, 0), 0);
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
	wait_until(!rig_doorbells());
	raw_post_open(&c.g.raw, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&c.g.raw, 1), 0);
	assert_int_equal(rig_doorbells(), 1);
	/* rescinded */
	device_revoke(&c.d);
	assert_int_equal(rig_doorbells(), 0);
	raw_expect(&c.g.raw, 2, &m);
	device_destroy(&c.d);
	rig_stop(&c.g);

	open_one(&c, false);
	raw_post(&c.g.raw, unload, sizeof(unload));
	raw_expect(&c.g.raw, 17, &m);
	assert_int_equal(rig_doorbells(), 0);
	close_one(&c);

	open_one(&c, false);
	kvm_transport_detach(c.g.t);
	assert_int_equal(rig_doorbells(), 0);
	assert_int_equal(rig_kvm.assigns, rig_kvm.deassigns);
	close_one(&c);
}

static void host_027_an_unload_is_answered_once_from_any_processor(void **state)
{
	static struct device devices[20];
	uint8_t request[8] = {3}, unload[8] = {16};
	unsigned int answers = 0;
	struct kvm_guest g;
	struct raw_message m;

	rig_start(&g);
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
	rig_stop(&g);
}

static void host_029_a_guest_that_stops_closes_its_channel_once(void **state)
{
	struct open_channel c;

	open_one(&c, false);
	assert_int_equal(c.d.closes, 0);
	kvm_transport_detach(c.g.t);
	assert_int_equal(c.d.closes, 1);
	/* The next boot, in a VM of its own. */
	rig_attach(&c.g);
	memset(c.g.raw.simp[0], 0, 4096);
	rig_pages(c.g.t, 0, c.g.raw.gpa[0], c.g.raw.gpa[0] + 4096);
	assert_int_equal(raw_connect(&c.g.raw, VMBUS_V5_3), 1);
	nap(SETTLE_NS);
	assert_int_equal(c.d.closes, 1);
	close_one(&c);
	assert_int_equal(c.d.closes, 1);
}

/* Whether a channel opens whose rings begin there. */
static bool opens_at(struct kvm_guest *g, uint32_t gpadl, uint64_t gpa)
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
	struct kvm_guest g;

	rig_start(&g);
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
	rig_synic(g.t, 1, 1, (high + 4096) | 1, (high - 4096) | 1);
	assert_int_equal(rig_counts(&g).bad_pages, 1);
	device_revoke(&d);
	rig_stop(&g);
	device_destroy(&d);
}

static void host_035_a_talkative_guest_is_bounded_and_others_go_on(void **state)
{
	uint8_t request[8] = {3};
	unsigned int put_off = 0;
	struct kvm_guest loud;
	struct raw_guest other;

	rig_start(&loud);
	raw_contact(&loud.raw, VMBUS_V5_3, 0);
	/* It never empties its slot, so that answers pile up; then its posts do. */
	for (uint32_t i = 0; i < 100000 && put_off < 100; i++)
		put_off += raw_post_to(&loud.raw, 1, request, sizeof(request)) ==
			   HV_STATUS_INSUFFICIENT_BUFFERS;
	assert_int_equal(put_off, 100);
	raw_guest_start(&other, NULL);
	assert_int_equal(raw_connect(&other, VMBUS_V5_3), 0);
	raw_guest_stop(&other);
	rig_stop(&loud);
}

static void nothing_leaks_over_many_boots(void **state)
{
	unsigned int fds = count_fds(), threads = count_threads();
	struct open_channel c;

	open_one(&c, false);
	for (uint32_t i = 0; i < 20; i++) {
		kvm_transport_detach(c.g.t);
		rig_attach(&c.g);
	}
	close_one(&c);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_threads(), threads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_025_doorbells_come_by_eventfd),
		cmocka_unit_test(host_025_doorbells_come_as_exits),
		cmocka_unit_test(host_025_kvm_without_eventfds_is_good_enough),
		cmocka_unit_test(host_026_doorbells_go_with_their_channel),
		cmocka_unit_test(host_027_an_unload_is_answered_once_from_any_processor),
		cmocka_unit_test(host_029_a_guest_that_stops_closes_its_channel_once),
		cmocka_unit_test(host_032_pages_in_the_hole_and_beyond_are_refused),
		cmocka_unit_test(host_035_a_talkative_guest_is_bounded_and_others_go_on),
		cmocka_unit_test(nothing_leaks_over_many_boots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
