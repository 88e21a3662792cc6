/* SPDX-License-Identifier: MIT */
/*
 * The server's end against a guest that is written here by hand, at the bytes of message slots and
 * event flags.
 */
#include "support.h"

#include "partition/server_end.h"

static void expect_size(struct raw_guest *g, uint32_t type, uint32_t size, struct raw_message *m)
{
	raw_expect(g, type, m);
	assert_int_equal(m->size, size);
}

static uint64_t ring_memory(struct raw_guest *g, uint32_t pages)
{
	uint64_t gpa;

	assert_int_equal(part_pages_alloc(&g->part->client, pages, &gpa), 0);
	return gpa;
}

/* One device on channel 1, connected at 5.3, its rings announced as GPADL 7. */
static uint64_t start_one(struct raw_guest *g, struct device *d)
{
	uint64_t gpa;

	raw_guest_start(g, NULL);
	device_init(d);
	device_offer(d, g->host, 0);
	assert_int_equal(raw_connect(g, VMBUS_V5_3), 1);
	gpa = ring_memory(g, 2 * RING_PAGES);
	raw_gpadl(g, 1, 7, gpa, 2 * RING_PAGES);
	return gpa;
}

static void stop_one(struct raw_guest *g, struct device *d)
{
	device_revoke(d);
	raw_guest_stop(g);
	device_destroy(d);
}

static void ctl_006_payload_sizes_are_exact(void **state)
{
	static const struct {
		uint32_t version, size;
	} answers[] = {{VMBUS_V4_0, 16}, {VMBUS_V5_3, 16}, {0x00050004, 16}, {VMBUS_V6_0, 20}};
	struct raw_guest g;
	struct raw_message m;
	struct device d;
	uint8_t request[8] = {3}, unload[8] = {16};
	uint64_t gpa;

	raw_guest_start(&g, NULL);
	device_init(&d);
	device_offer(&d, g.host, 0);
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		raw_contact(&g, answers[i].version, 0);
		expect_size(&g, 15, answers[i].size, &m);
	}
	raw_post(&g, request, sizeof(request));
	expect_size(&g, 1, 196, &m);
	expect_size(&g, 4, 8, &m);
	gpa = ring_memory(&g, 8);
	raw_gpadl(&g, 1, 7, gpa, 8);
	raw_post_open(&g, 1, 7, 4, 0);
	expect_size(&g, 6, 20, &m);
	raw_post_channel(&g, 7, 1);
	raw_teardown(&g, 1, 7);
	expect_size(&g, 12, 12, &m);
	device_revoke(&d);
	expect_size(&g, 2, 12, &m);
	raw_post(&g, unload, sizeof(unload));
	expect_size(&g, 17, 8, &m);
	raw_guest_stop(&g);
	device_destroy(&d);
}

static void ctl_007_messages_wait_in_order_behind_a_full_slot(void **state)
{
	enum {
		OFFERS = 12
	};
	struct raw_guest g;
	struct device d[OFFERS];
	struct raw_message m;
	uint8_t request[8] = {3};

	raw_guest_start(&g, NULL);
	for (uint32_t i = 0; i < OFFERS; i++) {
		device_init(&d[i]);
		device_offer(&d[i], g.host, i);
	}
	raw_contact(&g, VMBUS_V5_3, 0);
	raw_expect(&g, 15, &m);
	raw_post(&g, request, sizeof(request));
	wait_until(raw_slot_full(&g, 0, 2));
	/* Later ones, which must come behind. */
	wait_until(__atomic_load_n(g.simp[0] + 0x205, __ATOMIC_SEQ_CST) & 1);
	/* One that comes when the slot has just been emptied has to queue all the same. */
	g.keeps_quiet = true;
	assert_true(raw_take(&g, 0, 2, &m));
	assert_int_equal(vmbus_get32(m.bytes + 184), 1);
	g.keeps_quiet = false;
	device_revoke(&d[0]);
	for (uint32_t i = 1; i < OFFERS; i++) {
		/* More wait behind it, which the host says as soon as it has tried the next. */
		wait_until(raw_slot_full(&g, 0, 2));
		wait_until(__atomic_load_n(g.simp[0] + 0x205, __ATOMIC_SEQ_CST) & 1);
		raw_expect(&g, 1, &m);
		assert_int_equal(vmbus_get32(m.bytes + 184), i + 1);
	}
	raw_expect(&g, 4, &m);
	raw_expect(&g, 2, &m);
	assert_int_equal(vmbus_get32(m.bytes + 8), 1);
	raw_expect_nothing(&g);
	for (uint32_t i = 1; i < OFFERS; i++)
		device_revoke(&d[i]);
	raw_guest_stop(&g);
	for (uint32_t i = 0; i < OFFERS; i++)
		device_destroy(&d[i]);
}

static void ctl_008_a_guest_that_does_not_read_is_not_listened_to(void **state)
{
	enum {
		ASKED = 200
	};
	struct raw_guest g;
	struct raw_message m;
	uint8_t header[28] = {8};
	uint32_t posted = 0, answered = 0, refused = 0;
	uint64_t before;

	raw_guest_start(&g, NULL);
	raw_connect(&g, VMBUS_V5_3);
	/* Each is answered, with a failure: there is no channel 9. */
	vmbus_put32(header + 8, 9);
	vmbus_put16(header + 16, 8);
	vmbus_put16(header + 18, 1);
	while (refused < 3 && posted < ASKED) {
		vmbus_put32(header + 12, 100 + posted);
		if (raw_post_to(&g, 1, header, sizeof(header)) == HV_STATUS_SUCCESS) {
			posted++;
		} else {
			refused++;
			nap(SETTLE_NS); /* however long it waits */
		}
	}
	assert_int_equal(refused, 3);
	/* One answer in the slot, one waiting, and the buffers of the machine between. */
	assert_true(posted < 50);
	before = posted;
	while (answered < posted) {
		raw_expect(&g, 10, &m);
		assert_int_equal(vmbus_get32(m.bytes + 12), 100 + answered);
		answered++;
	}
	/* It listens again, and has lost nothing. */
	vmbus_put32(header + 12, 5000);
	raw_post(&g, header, sizeof(header));
	raw_expect(&g, 10, &m);
	assert_int_equal(vmbus_get32(m.bytes + 12), 5000);
	assert_int_equal(before, answered);
	raw_expect_nothing(&g);
	raw_guest_stop(&g);
}

static void ctl_113_a_signal_sets_the_flag_and_interrupts_once(void **state)
{
	struct raw_guest g;
	struct device d;

	start_one(&g, &d);
	raw_post_open(&g, 1, 7, RING_PAGES, 3);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	part_event_take(&g.flag_lines[3]);
	assert_false(raw_flag(&g, 3, 1));
	part_port_signal(&d.port);
	assert_true(raw_flag(&g, 3, 1));
	assert_true(part_event_take(&g.flag_lines[3]));
	part_port_signal(&d.port);
	assert_false(part_event_take(&g.flag_lines[3]));
	raw_clear_flag(&g, 3, 1);
	part_port_signal(&d.port);
	assert_true(raw_flag(&g, 3, 1));
	assert_true(part_event_take(&g.flag_lines[3]));
	for (uint32_t vp = 0; vp < 3; vp++) {
		assert_false(raw_flag(&g, vp, 1));
		assert_false(part_event_take(&g.flag_lines[vp]));
	}
	assert_int_equal(d.port.signals_sent, 3);
	stop_one(&g, &d);
}

static void ctl_077_without_a_target_nobody_is_interrupted(void **state)
{
	struct raw_guest g;
	struct device d;

	start_one(&g, &d);
	raw_post_open(&g, 1, 7, RING_PAGES, 0xffffffff);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	part_port_signal(&d.port);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		assert_false(raw_flag(&g, vp, 1));
	stop_one(&g, &d);
}

static uint16_t ring_doorbell(struct raw_guest *g, uint32_t connection)
{
	return g->ops->signal_event(g->part->transport, connection, 0);
}

static void ctl_116_the_doorbell_of_a_closed_channel_fails(void **state)
{
	struct raw_guest g;
	struct device d;
	unsigned int polls;

	start_one(&g, &d);
	assert_int_equal(ring_doorbell(&g, 0x2001), HV_STATUS_INVALID_CONNECTION_ID);
	raw_post_open(&g, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	wait_until(atomic_load(&d.polls)); /* or the bell may ring before the port is there */
	assert_int_equal(ring_doorbell(&g, 0x2001), HV_STATUS_SUCCESS);
	wait_until(__atomic_load_n(&d.port.signals_taken, __ATOMIC_RELAXED) == 1);
	assert_int_equal(g.ops->signal_event(g.part->transport, 0x2001, 1),
			 HV_STATUS_INVALID_PARAMETER);
	d.manual_close = true;
	raw_post_channel(&g, 7, 1);
	sem_wait(&d.closed);
	/* The port is attached still; the device has not even let go. */
	polls = atomic_load(&d.polls);
	nap(SETTLE_NS);
	polls = atomic_load(&d.polls);
	for (int i = 0; i < 100; i++)
		assert_int_equal(ring_doorbell(&g, 0x2001), HV_STATUS_INVALID_CONNECTION_ID);
	nap(SETTLE_NS);
	assert_int_equal(atomic_load(&d.polls), polls);
	assert_int_equal(__atomic_load_n(&d.port.signals_taken, __ATOMIC_RELAXED), 1);
	device_stop(&d);
	part_server_close_done(d.ch);
	assert_int_equal(ring_doorbell(&g, 0x2001), HV_STATUS_INVALID_CONNECTION_ID);
	stop_one(&g, &d);
}

static void ctl_071_ring_014_bad_ring_geometry_fails_on_the_wire(void **state)
{
	static const uint32_t downstream[] = {0, 1, 2 * RING_PAGES - 1, 2 * RING_PAGES, 0xffffffff};
	struct raw_guest g;
	struct device d;

	start_one(&g, &d);
	for (size_t i = 0; i < sizeof(downstream) / sizeof(downstream[0]); i++) {
		raw_post_open(&g, 1, 7, downstream[i], 0);
		assert_int_not_equal(raw_expect_open_result(&g, 1), 0);
	}
	/* Nobody was bothered, and the channel can be opened all the same. */
	assert_int_equal(atomic_load(&d.opens), 0);
	raw_post_open(&g, 1, 7, 2, 0);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	stop_one(&g, &d);
}

static void ctl_065_a_page_outside_memory_fails_the_open(void **state)
{
	struct raw_guest g;
	struct device d;

	start_one(&g, &d);
	/* Accepted at creation; its last page is the first behind memory. */
	raw_gpadl(&g, 1, 8, TEST_MEMORY - 7 * 4096, 8);
	raw_post_open(&g, 1, 8, 4, 0);
	assert_int_not_equal(raw_expect_open_result(&g, 1), 0);
	assert_int_equal(atomic_load(&d.opens), 0);
	assert_int_equal(ring_doorbell(&g, 0x2001), HV_STATUS_INVALID_CONNECTION_ID);
	raw_post_open(&g, 1, 7, 4, 0);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	stop_one(&g, &d);
}

static void open_with_bad_indices_fails(void **state)
{
	static const uint32_t bad[] = {4, 3 * 4096, 0xffffffff};
	struct raw_guest g;
	struct device d;
	uint64_t gpa = start_one(&g, &d);
	uint32_t *in = part_memory_at(&g.part->client, gpa, 4096);
	uint32_t *out = part_memory_at(&g.part->client, gpa + RING_PAGES * 4096, 4096);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		in[0] = bad[i];
		raw_post_open(&g, 1, 7, RING_PAGES, 0);
		assert_int_not_equal(raw_expect_open_result(&g, 1), 0);
		in[0] = 0;
		out[1] = bad[i];
		raw_post_open(&g, 1, 7, RING_PAGES, 0);
		assert_int_not_equal(raw_expect_open_result(&g, 1), 0);
		out[1] = 0;
	}
	assert_int_equal(atomic_load(&d.opens), 0);
	stop_one(&g, &d);
}

static void ctl_062_an_open_ring_is_not_torn_down(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;

	start_one(&g, &d);
	raw_post_open(&g, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	raw_teardown(&g, 1, 7);
	raw_expect_nothing(&g);
	raw_post_channel(&g, 7, 1);
	raw_expect(&g, 12, &m);
	assert_int_equal(vmbus_get32(m.bytes + 8), 7);
	assert_int_equal(atomic_load(&d.closes), 1);
	stop_one(&g, &d);
}

static void ctl_063_torn_down_only_after_the_device_let_go(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;

	start_one(&g, &d);
	d.manual_close = true;
	raw_post_open(&g, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	raw_post_channel(&g, 7, 1);
	raw_teardown(&g, 1, 7);
	sem_wait(&d.closed);
	raw_expect_nothing(&g);
	assert_non_null(d.port.ring_private);
	device_stop(&d);
	part_server_close_done(d.ch);
	assert_null(d.port.ring_private);
	raw_expect(&g, 12, &m);
	assert_int_equal(vmbus_get32(m.bytes + 8), 7);
	stop_one(&g, &d);
}

static void pinned_gpadl_is_torn_down_when_unpinned(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	struct part_gpadl pin, again;
	uint64_t gpa;

	start_one(&g, &d);
	gpa = ring_memory(&g, 3);
	raw_gpadl(&g, 1, 20, gpa, 3);
	assert_int_equal(part_server_gpadl_pin(d.ch, 21, &pin), -ENOENT);
	assert_int_equal(part_server_gpadl_pin(d.ch, 20, &pin), 0);
	assert_int_equal(part_server_gpadl_pin(d.ch, 20, &again), -EBUSY);
	assert_int_equal(pin.id, 20);
	assert_int_equal(pin.range_count, 1);
	assert_int_equal(pin.page_count, 3);
	assert_int_equal(pin.word_count, 4);
	assert_int_equal(pin.words[0], 3 * 4096);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(pin.words[1 + i], gpa / 4096 + i);
	free(pin.words);
	raw_teardown(&g, 1, 20);
	raw_expect_nothing(&g);
	part_server_gpadl_unpin(d.ch, 20);
	raw_expect(&g, 12, &m);
	assert_int_equal(vmbus_get32(m.bytes + 8), 20);
	assert_int_equal(part_server_gpadl_pin(d.ch, 20, &pin), -ENOENT);
	stop_one(&g, &d);
}

/* The result cannot be posted, since the slot is full; a signal must not overtake it. */
static void field_014_no_signal_before_the_result_is_posted(void **state)
{
	struct raw_guest g;
	struct device d, other;
	struct raw_message m;

	start_one(&g, &d);
	d.manual_open = true;
	raw_post_open(&g, 1, 7, RING_PAGES, 1);
	sem_wait(&d.opened);
	device_init(&other);
	device_offer(&other, g.host, 1);
	wait_until(raw_slot_full(&g, 0, 2));
	part_server_open_done(d.ch, 0);
	part_port_signal(&d.port);
	part_port_signal(&d.port);
	nap(SETTLE_NS);
	assert_false(raw_flag(&g, 1, 1));
	raw_expect(&g, 1, &m);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	wait_until(raw_flag(&g, 1, 1));
	device_revoke(&other);
	device_destroy(&other);
	raw_expect(&g, 2, &m);
	stop_one(&g, &d);
}

/* Opens until the host has yet to look again, which it does not while the lock is held. */
static void lock_with_a_recheck_ahead(struct raw_guest *g, struct device *d)
{
	for (unsigned int i = 0; i < 100; i++) {
		raw_post_open(g, 1, 7, RING_PAGES, 1);
		sem_wait(&d->opened);
		part_server_open_done(d->ch, 0);
		assert_int_equal(raw_expect_open_result(g, 1), 0);
		pthread_mutex_lock(&g->host->lock);
		if (d->ch->recheck_at)
			return;
		pthread_mutex_unlock(&g->host->lock);
		raw_post_channel(g, 7, 1);
		sem_wait(&d->closed);
	}
	fail_msg("the host never looks again");
}

/* A guest threw its first interrupt away: within a short time it gets another, and only one. */
static void field_014_a_signal_that_is_owed_is_repeated_once(void **state)
{
	struct raw_guest g;
	struct device d;

	start_one(&g, &d);
	d.manual_open = true;
	lock_with_a_recheck_ahead(&g, &d);
	assert_int_equal(vmbus_ring_write_inband(&d.port.out, VMBUS_PKT_INBAND, 0, 0, "hello", 5),
			 VMBUS_RING_OK);
	assert_true(vmbus_ring_publish(&d.port.out));
	part_port_signal(&d.port);
	assert_true(raw_flag(&g, 1, 1));
	raw_clear_flag(&g, 1, 1);
	pthread_mutex_unlock(&g.host->lock);
	wait_until(raw_flag(&g, 1, 1));
	raw_clear_flag(&g, 1, 1);
	nap(300000000);
	assert_false(raw_flag(&g, 1, 1));
	stop_one(&g, &d);
}

static void ctl_081_after_a_modify_the_old_vp_is_left_alone(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	uint8_t modify[16] = {22};

	start_one(&g, &d);
	raw_post_open(&g, 1, 7, RING_PAGES, 1);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	vmbus_put32(modify + 8, 1);
	vmbus_put32(modify + 12, 2);
	raw_post(&g, modify, sizeof(modify));
	raw_expect(&g, 24, &m);
	assert_int_equal(m.size, 16);
	assert_int_equal(vmbus_get32(m.bytes + 12), 0);
	raw_clear_flag(&g, 1, 1);
	part_port_signal(&d.port);
	assert_true(raw_flag(&g, 2, 1));
	assert_false(raw_flag(&g, 1, 1));
	stop_one(&g, &d);
}

static void ctl_106_after_unload_no_flag_is_set(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	uint8_t unload[8] = {16};

	start_one(&g, &d);
	raw_post_open(&g, 1, 7, RING_PAGES, 1);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	raw_post(&g, unload, sizeof(unload));
	raw_expect(&g, 17, &m);
	assert_int_equal(atomic_load(&d.closes), 1);
	raw_clear_flag(&g, 1, 1);
	part_port_signal(&d.port);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		assert_false(raw_flag(&g, vp, 1));
	stop_one(&g, &d);
}

static void ctl_100_unload_waits_for_the_devices(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	uint8_t unload[8] = {16};

	start_one(&g, &d);
	d.manual_close = true;
	raw_post_open(&g, 1, 7, RING_PAGES, 1);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	raw_post(&g, unload, sizeof(unload));
	sem_wait(&d.closed);
	raw_expect_nothing(&g);
	device_stop(&d);
	part_server_close_done(d.ch);
	raw_expect(&g, 17, &m);
	stop_one(&g, &d);
}

/* A guest of the first version, or the second: an interrupt page for both directions. */
static uint64_t start_old(struct raw_guest *g, struct device *d, uint32_t version)
{
	uint8_t contact[40] = {14}, request[8] = {3};
	struct raw_message m;
	uint64_t page, gpa;

	raw_guest_start(g, NULL);
	device_init(d);
	device_offer(d, g->host, 0);
	page = ring_memory(g, 1);
	vmbus_put32(contact + 8, version);
	vmbus_put64(contact + 16, page);
	raw_post(g, contact, sizeof(contact));
	raw_expect(g, 15, &m);
	assert_int_equal(m.bytes[8], 1);
	raw_post(g, request, sizeof(request));
	raw_expect(g, 1, &m);
	raw_expect(g, 4, &m);
	gpa = ring_memory(g, 2 * RING_PAGES);
	raw_gpadl(g, 1, 7, gpa, 2 * RING_PAGES);
	raw_post_open(g, 1, 7, RING_PAGES, 3);
	assert_int_equal(raw_expect_open_result(g, 1), 0);
	sem_wait(&d->opened);
	wait_until(atomic_load(&d->polls));
	return page;
}

static void ctl_114_old_guests_are_told_by_the_interrupt_page(void **state)
{
	struct raw_guest g;
	struct device d;
	uint64_t page = start_old(&g, &d, VMBUS_V1_1);
	uint8_t *bits = part_memory_at(&g.part->client, page, 4096);
	uint8_t unload[8] = {16};
	struct raw_message m;

	part_port_signal(&d.port);
	assert_int_equal(__atomic_load_n(&bits[0], __ATOMIC_SEQ_CST), 2);
	assert_true(raw_flag(&g, 0, 0));
	assert_true(part_event_take(&g.flag_lines[0]));
	assert_false(raw_flag(&g, 3, 1));
	assert_false(raw_flag(&g, 0, 1));
	/* The next connection has no such page. */
	raw_post(&g, unload, sizeof(unload));
	raw_expect(&g, 17, &m);
	__atomic_store_n(&bits[0], 0, __ATOMIC_SEQ_CST);
	assert_int_equal(raw_connect(&g, VMBUS_V5_3), 1);
	raw_gpadl(&g, 1, 8, ring_memory(&g, 2 * RING_PAGES), 2 * RING_PAGES);
	raw_post_open(&g, 1, 8, RING_PAGES, 3);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	part_port_signal(&d.port);
	assert_true(raw_flag(&g, 3, 1));
	assert_int_equal(__atomic_load_n(&bits[0], __ATOMIC_SEQ_CST), 0);
	stop_one(&g, &d);
}

static void ctl_115_the_shared_event_port_reads_the_interrupt_page(void **state)
{
	struct raw_guest g;
	struct device d;
	uint64_t page = start_old(&g, &d, VMBUS_V0_13);
	uint64_t *bits = part_memory_at(&g.part->client, page + 2048, 2048);
	uint64_t taken = 0;

	/* Bit 2047, of nobody, and channel 1. */
	for (uint32_t i = 0; i < 10; i++) {
		__atomic_fetch_or(&bits[31], 1ull << 63, __ATOMIC_SEQ_CST);
		__atomic_fetch_or(&bits[0], 1ull << 1 | 1, __ATOMIC_SEQ_CST);
		assert_int_equal(ring_doorbell(&g, 2), HV_STATUS_SUCCESS);
		taken++;
		wait_until(__atomic_load_n(&d.port.signals_taken, __ATOMIC_RELAXED) == taken);
		wait_until(!__atomic_load_n(&bits[31], __ATOMIC_SEQ_CST));
		assert_int_equal(__atomic_load_n(&bits[0], __ATOMIC_SEQ_CST), 0);
	}
	/* Without a bit nobody is woken. */
	assert_int_equal(ring_doorbell(&g, 2), HV_STATUS_SUCCESS);
	nap(SETTLE_NS);
	assert_int_equal(__atomic_load_n(&d.port.signals_taken, __ATOMIC_RELAXED), taken);
	stop_one(&g, &d);
}

static void revoke_while_the_open_is_unanswered(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;

	start_one(&g, &d);
	d.manual_open = true;
	raw_post_open(&g, 1, 7, RING_PAGES, 1);
	sem_wait(&d.opened);
	device_revoke(&d);
	raw_expect(&g, 2, &m);
	assert_int_equal(ring_doorbell(&g, 0x2001), HV_STATUS_INVALID_CONNECTION_ID);
	raw_teardown(&g, 1, 7);
	raw_expect(&g, 12, &m);
	raw_post_channel(&g, 13, 1);
	raw_expect_nothing(&g);
	assert_int_equal(atomic_load(&g.host->memory.stitches), 0);
	raw_guest_stop(&g);
	device_destroy(&d);
}

static void posts_are_judged_by_port_and_size(void **state)
{
	struct raw_guest g;
	uint8_t contact[241] = {14};
	struct raw_message m;

	raw_guest_start(&g, NULL);
	vmbus_put32(contact + 8, VMBUS_V5_3);
	assert_int_equal(raw_post_to(&g, 1, contact, 1), HV_STATUS_SUCCESS);
	assert_int_equal(raw_post_to(&g, 9, contact, 40), HV_STATUS_INVALID_CONNECTION_ID);
	assert_int_equal(raw_post_to(&g, 1, contact, 241), HV_STATUS_INVALID_PARAMETER);
	raw_expect_nothing(&g);
	assert_int_equal(raw_post_to(&g, 1, contact, 240), HV_STATUS_SUCCESS);
	raw_expect(&g, 15, &m);
	raw_guest_stop(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctl_006_payload_sizes_are_exact),
		cmocka_unit_test(ctl_007_messages_wait_in_order_behind_a_full_slot),
		cmocka_unit_test(ctl_008_a_guest_that_does_not_read_is_not_listened_to),
		cmocka_unit_test(ctl_113_a_signal_sets_the_flag_and_interrupts_once),
		cmocka_unit_test(ctl_077_without_a_target_nobody_is_interrupted),
		cmocka_unit_test(ctl_116_the_doorbell_of_a_closed_channel_fails),
		cmocka_unit_test(ctl_071_ring_014_bad_ring_geometry_fails_on_the_wire),
		cmocka_unit_test(ctl_065_a_page_outside_memory_fails_the_open),
		cmocka_unit_test(open_with_bad_indices_fails),
		cmocka_unit_test(ctl_062_an_open_ring_is_not_torn_down),
		cmocka_unit_test(ctl_063_torn_down_only_after_the_device_let_go),
		cmocka_unit_test(pinned_gpadl_is_torn_down_when_unpinned),
		cmocka_unit_test(field_014_no_signal_before_the_result_is_posted),
		cmocka_unit_test(field_014_a_signal_that_is_owed_is_repeated_once),
		cmocka_unit_test(ctl_081_after_a_modify_the_old_vp_is_left_alone),
		cmocka_unit_test(ctl_106_after_unload_no_flag_is_set),
		cmocka_unit_test(ctl_100_unload_waits_for_the_devices),
		cmocka_unit_test(ctl_114_old_guests_are_told_by_the_interrupt_page),
		cmocka_unit_test(ctl_115_the_shared_event_port_reads_the_interrupt_page),
		cmocka_unit_test(revoke_while_the_open_is_unanswered),
		cmocka_unit_test(posts_are_judged_by_port_and_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
