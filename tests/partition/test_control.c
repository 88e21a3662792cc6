/* SPDX-License-Identifier: MIT */
/*
 * The host's control plane and its SynIC against a guest by hand: SINTs, VTLs, reserved channels,
 * signals that the guest chooses.
 */
#include "support.h"

#include <errno.h>

#include "partition/client_end.h"
#include "partition/server_end.h"

static uint64_t guest_pages(struct raw_guest *g, uint32_t pages)
{
	uint64_t gpa;

	assert_int_equal(part_pages_alloc(&g->part->client, pages, &gpa), 0);
	return gpa;
}

static void stop_one(struct raw_guest *g, struct device *d)
{
	device_revoke(d);
	raw_guest_stop(g);
	device_destroy(d);
}

static void post_to_multi_client(struct raw_guest *g, const void *bytes, uint32_t size)
{
	uint16_t status;

	wait_until((status = raw_post_to(g, 4, bytes, size)) != HV_STATUS_INSUFFICIENT_BUFFERS);
	assert_int_equal(status, HV_STATUS_SUCCESS);
}

/* An INITIATE_CONTACT as its 40 bytes. */
static void contact_bytes(uint8_t m[40], uint32_t version, uint32_t vp, uint8_t sint, uint8_t vtl,
			  uint32_t features)
{
	memset(m, 0, 40);
	m[0] = 14;
	vmbus_put32(m + 8, version);
	vmbus_put32(m + 12, vp);
	m[16] = sint;
	m[17] = vtl;
	vmbus_put32(m + 20, features);
}

/* The guest's connection answers still. */
static void expect_alive(struct raw_guest *g)
{
	uint8_t header[28] = {8};
	struct raw_message m;

	vmbus_put32(header + 8, 2000);
	vmbus_put32(header + 12, 99);
	raw_post(g, header, sizeof(header));
	raw_expect(g, 10, &m);
	assert_int_equal(vmbus_get32(m.bytes + 12), 99);
}

static void ctl_001_002_004_005_what_is_no_message_changes_nothing(void **state)
{
	static const uint8_t least[][2] = {{3, 8},   {5, 148}, {7, 12},  {8, 20},  {9, 16},
					   {11, 16}, {13, 12}, {14, 40}, {16, 8},  {18, 28},
					   {19, 20}, {21, 40}, {22, 16}, {25, 24}, {27, 8}};
	static const uint8_t hosts[] = {1, 2, 4, 6, 10, 12, 15, 17, 20, 23, 24, 26, 28};
	struct raw_guest g;
	struct device d;
	uint8_t bytes[240];

	raw_guest_start(&g, NULL);
	device_init(&d);
	device_offer(&d, g.host, 0);
	assert_int_equal(raw_connect(&g, VMBUS_V5_3), 1);
	memset(bytes, 0, sizeof(bytes));
	for (uint32_t size = 0; size < 8; size++) {
		bytes[0] = 16;
		raw_post(&g, bytes, size);
	}
	for (size_t i = 0; i < sizeof(least) / sizeof(least[0]); i++) {
		bytes[0] = least[i][0];
		/* UNLOAD and their like have no byte to spare above the 8 of any message. */
		if (least[i][1] > 8)
			raw_post(&g, bytes, least[i][1] - 1);
	}
	for (size_t i = 0; i < sizeof(hosts); i++) {
		bytes[0] = hosts[i];
		raw_post(&g, bytes, 240);
	}
	for (uint32_t type = 30; type < 300; type += 9) {
		vmbus_put32(bytes, type);
		raw_post(&g, bytes, 240);
	}
	vmbus_put32(bytes, 0);
	raw_post(&g, bytes, 240);
	expect_alive(&g);
	raw_expect_nothing(&g);
	stop_one(&g, &d);
}

static void ctl_003_what_is_longer_is_as_good(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	uint8_t bytes[240];
	uint32_t offers = 0;

	raw_guest_start(&g, NULL);
	device_init(&d);
	device_offer(&d, g.host, 0);
	memset(bytes, 0xab, sizeof(bytes));
	contact_bytes(bytes, VMBUS_V5_3, 0, 0, 0, 0);
	raw_post(&g, bytes, 240);
	raw_expect(&g, 15, &m);
	assert_int_equal(m.bytes[8], 1);
	memset(bytes, 0xab, sizeof(bytes));
	vmbus_put64(bytes, 3);
	raw_post(&g, bytes, 240);
	raw_expect(&g, 1, &m);
	raw_expect(&g, 4, &m);
	vmbus_put64(bytes, 16);
	raw_post(&g, bytes, 240);
	raw_expect(&g, 17, &m);
	assert_int_equal(offers, 0);
	stop_one(&g, &d);
}

/* A masked SINT is as a full slot: what comes waits, in order, until it is unmasked. */
static void ctl_007_a_masked_sint_keeps_messages_waiting(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	uint8_t request[8] = {3};

	raw_guest_start(&g, NULL);
	device_init(&d);
	device_offer(&d, g.host, 0);
	assert_int_equal(g.ops->unmask_sint(g.part->transport, 1, 2, false), 0);
	raw_contact(&g, VMBUS_V5_3, 1);
	raw_expect_nothing(&g);
	assert_int_equal(raw_post_to(&g, 1, request, sizeof(request)), HV_STATUS_SUCCESS);
	raw_expect_nothing(&g);
	assert_int_equal(g.ops->unmask_sint(g.part->transport, 1, 2, true), 0);
	raw_expect(&g, 15, &m);
	raw_expect(&g, 1, &m);
	raw_expect(&g, 4, &m);
	assert_int_equal(g.ops->unmask_sint(g.part->transport, RAW_VPS, 2, true), -EINVAL);
	assert_int_equal(g.ops->unmask_sint(g.part->transport, 0, 16, true), -EINVAL);
	stop_one(&g, &d);
}

static void ctl_113_a_masked_sint_takes_flags_and_interrupts_nobody(void **state)
{
	struct raw_guest g;
	struct device d;

	raw_guest_start(&g, NULL);
	device_init(&d);
	device_offer(&d, g.host, 0);
	assert_int_equal(raw_connect(&g, VMBUS_V5_3), 1);
	raw_gpadl(&g, 1, 7, guest_pages(&g, 2 * RING_PAGES), 2 * RING_PAGES);
	raw_post_open(&g, 1, 7, RING_PAGES, 2);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	g.ops->unmask_sint(g.part->transport, 2, 2, false);
	part_event_take(&g.flag_lines[2]);
	part_port_signal(&d.port);
	assert_true(raw_flag(&g, 2, 1));
	assert_false(part_event_take(&g.flag_lines[2]));
	g.ops->unmask_sint(g.part->transport, 2, 2, true);
	raw_clear_flag(&g, 2, 1);
	part_port_signal(&d.port);
	assert_true(part_event_take(&g.flag_lines[2]));
	stop_one(&g, &d);
}

static void ctl_022_the_old_port_knows_no_sint(void **state)
{
	static const uint8_t sints[] = {0, 3};
	struct raw_guest g;
	struct raw_message m;
	uint8_t contact[40];

	raw_guest_start(&g, NULL);
	g.ops->unmask_sint(g.part->transport, 0, 3, true);
	for (size_t i = 0; i < sizeof(sints); i++) {
		contact_bytes(contact, VMBUS_V6_0, 0, sints[i], 2, 0);
		raw_post(&g, contact, sizeof(contact));
		raw_expect(&g, 15, &m);
		assert_int_equal(m.bytes[8], 1);
		raw_expect_nothing(&g);
	}
	raw_guest_stop(&g);
}

static void ctl_023_another_sint_is_refused_there_and_nowhere_else(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	uint8_t contact[40];

	raw_guest_start(&g, NULL);
	device_init(&d);
	device_offer(&d, g.host, 0);
	assert_int_equal(raw_connect(&g, VMBUS_V5_3), 1);
	g.ops->unmask_sint(g.part->transport, 3, 3, true);
	contact_bytes(contact, VMBUS_V5_3, 3, 3, 0, 0);
	post_to_multi_client(&g, contact, sizeof(contact));
	wait_until(raw_take(&g, 3, 3, &m));
	assert_int_equal(m.size, 16);
	assert_int_equal(vmbus_get32(m.bytes), 15);
	assert_int_equal(vmbus_get64(m.bytes + 8), 0);
	/* Where the SINT is masked the answer is lost, and holds up nobody. */
	contact_bytes(contact, VMBUS_V5_3, 1, 3, 0, 0);
	post_to_multi_client(&g, contact, sizeof(contact));
	contact_bytes(contact, VMBUS_V5_3, 3, 3, 0, 0);
	post_to_multi_client(&g, contact, sizeof(contact));
	wait_until(raw_take(&g, 3, 3, &m));
	expect_alive(&g);
	/* Below 5.0 the byte is part of a page's address. */
	contact_bytes(contact, VMBUS_V4_1, 0, 3, 0, 0);
	post_to_multi_client(&g, contact, sizeof(contact));
	raw_expect(&g, 15, &m);
	assert_int_equal(m.bytes[8], 1);
	raw_expect_nothing(&g);
	stop_one(&g, &d);
}

static void ctl_025_a_contact_for_no_vp_is_answered_on_the_first(void **state)
{
	struct raw_guest g;
	struct raw_message m;

	raw_guest_start(&g, NULL);
	raw_contact(&g, VMBUS_V3_0, RAW_VPS);
	g.message_vp = 0;
	raw_expect(&g, 15, &m);
	assert_int_equal(m.bytes[8], 1);
	assert_int_equal(m.bytes[9], 2);
	/* Below 3.0 the field is not read, above it is where answers go. */
	raw_contact(&g, VMBUS_V2_4, RAW_VPS);
	g.message_vp = 0;
	raw_expect(&g, 15, &m);
	assert_int_equal(m.bytes[9], 0);
	raw_contact(&g, VMBUS_V3_0, RAW_VPS - 1);
	raw_expect(&g, 15, &m);
	assert_int_equal(m.bytes[9], 0);
	raw_expect_nothing(&g);
	raw_guest_stop(&g);
}

static void ctl_024_a_vtl_that_nobody_serves_hears_nothing(void **state)
{
	static const struct part_options vtl2 = {
		.memory = TEST_MEMORY, .server_dispatchers = 2, .vtl = 2};
	struct raw_guest g;
	struct device d, other;
	struct raw_message m;
	uint8_t contact[40], request[8] = {3};

	raw_guest_start(&g, NULL);
	assert_int_equal(raw_connect(&g, VMBUS_V5_3), 0);
	contact_bytes(contact, VMBUS_V5_3, 0, 2, 2, 0);
	post_to_multi_client(&g, contact, sizeof(contact));
	raw_expect_nothing(&g);
	expect_alive(&g);
	raw_guest_stop(&g);

	/* A bus of VTL 2 shows the channels of VTL 2 to a connection of VTL 2. */
	raw_guest_start(&g, &vtl2);
	device_init(&d);
	device_init(&other);
	d.vtl = 2;
	device_offer(&other, g.host, 0);
	device_offer(&d, g.host, 1);
	raw_post(&g, contact, sizeof(contact)); /* the old port: VTL 0 */
	contact_bytes(contact, VMBUS_V5_3, 0, 2, 0, 0);
	post_to_multi_client(&g, contact, sizeof(contact));
	contact_bytes(contact, VMBUS_V5_0, 0, 2, 2, 0); /* told from 5.1 on */
	post_to_multi_client(&g, contact, sizeof(contact));
	raw_expect_nothing(&g);
	contact_bytes(contact, VMBUS_V5_3, 0, 2, 2, 0);
	post_to_multi_client(&g, contact, sizeof(contact));
	raw_expect(&g, 15, &m);
	assert_int_equal(m.bytes[8], 1);
	assert_int_equal(vmbus_get32(m.bytes + 12), 0x800024);
	assert_int_equal(raw_post_to(&g, 0x800024, request, 8), HV_STATUS_SUCCESS);
	raw_expect(&g, 1, &m);
	assert_int_equal(vmbus_get32(m.bytes + 24), 2);
	assert_int_equal(vmbus_get32(m.bytes + 192), 0x22001);
	raw_expect(&g, 4, &m);
	device_revoke(&other);
	device_destroy(&other);
	stop_one(&g, &d);
}

/* ---- reserved channels ---- */

static void post_open_reserved(struct raw_guest *g, uint32_t channel, uint32_t vp, uint32_t sint,
			       uint32_t gpadl)
{
	uint8_t b[28] = {18};

	vmbus_put32(b + 8, channel);
	vmbus_put32(b + 12, vp);
	vmbus_put32(b + 16, sint);
	vmbus_put32(b + 20, gpadl);
	vmbus_put32(b + 24, RING_PAGES);
	raw_post(g, b, sizeof(b));
}

static void post_close_reserved(struct raw_guest *g, uint32_t channel, uint32_t vp, uint32_t sint)
{
	uint8_t b[20] = {19};

	vmbus_put32(b + 8, channel);
	vmbus_put32(b + 12, vp);
	vmbus_put32(b + 16, sint);
	raw_post(g, b, sizeof(b));
}

static void ctl_085_086_087_a_reserved_channel_outlives_its_connection(void **state)
{
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	uint8_t unload[8] = {16};
	uint64_t gpa;
	struct vmbus_ring_writer w;
	struct vmbus_ring_view view = {.size = (RING_PAGES - 1) * 4096};

	raw_guest_start(&g, NULL);
	device_init(&d);
	device_offer(&d, g.host, 0);
	g.ops->unmask_sint(g.part->transport, 2, 5, true);
	g.ops->unmask_sint(g.part->transport, 3, 7, true);
	assert_int_equal(raw_connect(&g, VMBUS_V5_3), 1);
	gpa = guest_pages(&g, 2 * RING_PAGES);
	raw_gpadl(&g, 1, 7, gpa, 2 * RING_PAGES);
	post_open_reserved(&g, 1, 2, 5, 7);
	wait_until(raw_take(&g, 2, 5, &m));
	assert_int_equal(m.size, 20);
	assert_int_equal(vmbus_get32(m.bytes), 6);
	assert_int_equal(vmbus_get32(m.bytes + 8), 1);
	assert_int_equal(vmbus_get32(m.bytes + 12), 0);
	assert_int_equal(vmbus_get32(m.bytes + 16), 0);
	sem_wait(&d.opened);
	raw_post_channel(&g, 7, 1); /* the wrong kind of close */
	raw_post_open(&g, 1, 7, RING_PAGES, 0);
	raw_post(&g, unload, sizeof(unload));
	raw_expect(&g, 17, &m);
	assert_int_equal(atomic_load(&d.closes), 0);
	/* Its ring works, though nobody is connected; it interrupts nobody. */
	view.control = part_memory_at(&g.part->client, gpa, 4096);
	view.data = (uint8_t *)view.control + 4096;
	assert_int_equal(vmbus_ring_writer_attach(&w, &view), VMBUS_RING_OK);
	assert_int_equal(vmbus_ring_write_inband(&w, VMBUS_PKT_INBAND, 0, 0, "dump", 4),
			 VMBUS_RING_OK);
	vmbus_ring_publish(&w);
	assert_int_equal(g.ops->signal_event(g.part->transport, 0x2001, 0), HV_STATUS_SUCCESS);
	wait_until(atomic_load(&d.received) == 1);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		assert_false(raw_flag(&g, vp, 1));
	/* A new connection does not see it, nor can it disturb it. */
	assert_int_equal(raw_connect(&g, VMBUS_V5_3), 0);
	raw_post_channel(&g, 7, 1);
	raw_teardown(&g, 1, 7);
	expect_alive(&g);
	raw_post(&g, unload, sizeof(unload));
	raw_expect(&g, 17, &m);
	assert_int_equal(atomic_load(&d.closes), 0);
	/* Closed without a connection, answered elsewhere; and then it is a channel like any. */
	post_close_reserved(&g, 1, 3, 7);
	wait_until(raw_take(&g, 3, 7, &m));
	assert_int_equal(m.size, 12);
	assert_int_equal(vmbus_get32(m.bytes), 20);
	assert_int_equal(vmbus_get32(m.bytes + 8), 1);
	assert_int_equal(atomic_load(&d.closes), 1);
	assert_int_equal(g.ops->signal_event(g.part->transport, 0x2001, 0),
			 HV_STATUS_INVALID_CONNECTION_ID);
	assert_int_equal(raw_connect(&g, VMBUS_V5_3), 1);
	raw_gpadl(&g, 1, 7, gpa, 2 * RING_PAGES);
	raw_post_open(&g, 1, 7, RING_PAGES, 0);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	post_close_reserved(&g, 1, 3, 7); /* the other wrong kind */
	expect_alive(&g);
	assert_int_equal(atomic_load(&d.closes), 1);
	raw_expect_nothing(&g);
	stop_one(&g, &d);
}

/* ---- signals that the guest chooses ---- */

#define CHOOSE (VMBUS_FEATURE_GUEST_SIGNAL | VMBUS_FEATURE_REDIRECT)

static void connect_6(struct raw_guest *g, uint32_t features)
{
	uint8_t contact[40], request[8] = {3};
	struct raw_message m;

	contact_bytes(contact, VMBUS_V6_0, 0, 2, 0, features);
	raw_post(g, contact, sizeof(contact));
	raw_expect(g, 15, &m);
	assert_int_equal(m.size, 20);
	assert_int_equal(vmbus_get32(m.bytes + 16), features);
	raw_post(g, request, sizeof(request));
	do {
		wait_until(raw_take(g, 0, 2, &m));
	} while (vmbus_get32(m.bytes) != 4);
}

static void post_open_long(struct raw_guest *g, uint32_t vp, uint32_t connection, uint16_t flag,
			   uint16_t open_flags)
{
	uint8_t b[156] = {5};

	vmbus_put32(b + 8, 1);
	vmbus_put32(b + 12, 0x1234);
	vmbus_put32(b + 16, 7);
	vmbus_put32(b + 20, vp);
	vmbus_put32(b + 24, RING_PAGES);
	vmbus_put32(b + 148, connection);
	vmbus_put16(b + 152, flag);
	vmbus_put16(b + 154, open_flags);
	raw_post(g, b, sizeof(b));
}

static bool flag_at(struct raw_guest *g, uint32_t vp, uint32_t sint, uint32_t flag)
{
	return __atomic_load_n(g->siefp[vp] + sint * 256 + flag / 8, __ATOMIC_SEQ_CST) >> flag % 8 &
	       1;
}

static unsigned int flags_anywhere(struct raw_guest *g)
{
	unsigned int n = 0;

	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		for (uint32_t i = 0; i < 4096; i++)
			n += (unsigned int)__builtin_popcount(
				__atomic_load_n(g->siefp[vp] + i, __ATOMIC_SEQ_CST));
	return n;
}

static void ctl_078_079_080_the_guest_chooses_flag_connection_and_sint(void **state)
{
	const struct part_options o = {.memory = TEST_MEMORY,
				       .server_dispatchers = 2,
				       .features = CHOOSE,
				       .redirect_sint = 9};
	static const struct {
		uint32_t vp, connection;
		uint16_t flag, open_flags;
		uint8_t sint;
	} rows[] = {
		{3, 0x12345, 2047, 0, 2},  {1, 0xabcdef, 1, 1, 9}, {2, 8, 700, 0xffff, 9},
		{0, 0x2001, 1, 0xfffe, 2}, {2, 0x5001, 64, 1, 9},
	};
	struct raw_guest g;
	struct device d;
	unsigned int flags = 0;

	raw_guest_start(&g, &o);
	device_init(&d);
	device_offer(&d, g.host, 0);
	connect_6(&g, CHOOSE);
	raw_gpadl(&g, 1, 7, guest_pages(&g, 2 * RING_PAGES), 2 * RING_PAGES);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		g.ops->unmask_sint(g.part->transport, vp, 9, true);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		post_open_long(&g, rows[i].vp, rows[i].connection, rows[i].flag,
			       rows[i].open_flags);
		assert_int_equal(raw_expect_open_result(&g, 1), 0);
		sem_wait(&d.opened);
		part_event_take(&g.flag_lines[rows[i].vp]);
		part_port_signal(&d.port);
		assert_true(flag_at(&g, rows[i].vp, rows[i].sint, rows[i].flag));
		assert_int_equal(flags_anywhere(&g), ++flags);
		assert_true(part_event_take(&g.flag_lines[rows[i].vp]));
		wait_until(atomic_load(&d.polls));
		assert_int_equal(
			g.ops->signal_event(g.part->transport, rows[i].connection & 0xffffff, 0),
			HV_STATUS_SUCCESS);
		wait_until(__atomic_load_n(&d.port.signals_taken, __ATOMIC_RELAXED) == 1);
		if (rows[i].connection != 0x2001)
			assert_int_equal(g.ops->signal_event(g.part->transport, 0x2001, 0),
					 HV_STATUS_INVALID_CONNECTION_ID);
		raw_post_channel(&g, 7, 1);
		wait_until(atomic_load(&d.closes) == i + 1);
		atomic_store(&d.polls, 0);
		assert_int_equal(g.ops->signal_event(g.part->transport, rows[i].connection, 0),
				 HV_STATUS_INVALID_CONNECTION_ID);
	}
	/* Ids that are the bus's own, flags that are none; and the short form is no OPEN here. */
	for (uint32_t id = 0; id < 8; id++) {
		post_open_long(&g, 0, id, 5, 0);
		assert_int_not_equal(raw_expect_open_result(&g, 1), 0);
	}
	post_open_long(&g, 0, 0x777, 0, 0);
	assert_int_not_equal(raw_expect_open_result(&g, 1), 0);
	post_open_long(&g, 0, 0x777, 2048, 0);
	assert_int_not_equal(raw_expect_open_result(&g, 1), 0);
	raw_post_open(&g, 1, 7, RING_PAGES, 0);
	raw_expect_nothing(&g);
	assert_int_equal(atomic_load(&d.opens), sizeof(rows) / sizeof(rows[0]));
	/* The next connection has the offered ones again. */
	connect_6(&g, 0);
	raw_gpadl(&g, 1, 7, guest_pages(&g, 2 * RING_PAGES), 2 * RING_PAGES);
	post_open_long(&g, 2, 0x12345, 2047, 1);
	assert_int_equal(raw_expect_open_result(&g, 1), 0);
	sem_wait(&d.opened);
	part_port_signal(&d.port);
	assert_true(flag_at(&g, 2, 2, 1));
	assert_int_equal(flags_anywhere(&g), flags + 1);
	stop_one(&g, &d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctl_001_002_004_005_what_is_no_message_changes_nothing),
		cmocka_unit_test(ctl_003_what_is_longer_is_as_good),
		cmocka_unit_test(ctl_007_a_masked_sint_keeps_messages_waiting),
		cmocka_unit_test(ctl_113_a_masked_sint_takes_flags_and_interrupts_nobody),
		cmocka_unit_test(ctl_022_the_old_port_knows_no_sint),
		cmocka_unit_test(ctl_023_another_sint_is_refused_there_and_nowhere_else),
		cmocka_unit_test(ctl_025_a_contact_for_no_vp_is_answered_on_the_first),
		cmocka_unit_test(ctl_024_a_vtl_that_nobody_serves_hears_nothing),
		cmocka_unit_test(ctl_085_086_087_a_reserved_channel_outlives_its_connection),
		cmocka_unit_test(ctl_078_079_080_the_guest_chooses_flag_connection_and_sint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
