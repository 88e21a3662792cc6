/* SPDX-License-Identifier: MIT */
/* Offers, channel ids, rescind and release at the server. */
#include <stdlib.h>

#include "control.h"

#define GOOD 0x00050003u

static struct raw released(uint32_t channel)
{
	return raw_one(13, 12, channel);
}

static void ctl_038_no_offer_before_it_is_asked_for(void **state)
{
	struct bench *t = *state;

	offer(t, 0);
	expect_none(t);
	negotiate(t, GOOD, 0);
	offer(t, 1);
	expect_none(t);
	request_offers(t, 2);
}

static void ctl_039_one_offer_each_then_the_end(void **state)
{
	struct bench *t = *state;

	for (int i = 3; i >= 0; i--)
		offer(t, i);
	negotiate(t, GOOD, 0);
	request_offers(t, 4);
	/* A channel that is open as reserved is not offered again. */
	open_reserved(t, 1);
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	negotiate(t, GOOD, 0);
	post(t, raw(3, 8));
	expect_post(t, raw_offer(0, 1));
	expect_post(t, raw_offer(2, 3));
	expect_post(t, raw_offer(3, 4));
	expect_post(t, raw(4, 8));
	expect_none(t);
}

static void ctl_040_a_second_request_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	assert_dropped(t, raw(3, 8), dropped_state);
}

static void ctl_041_a_hot_added_device_is_offered_alone(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	offer(t, 1);
	expect_post(t, raw_offer(1, 2));
	expect_none(t);
	assert_int_equal(vmbus_server_channel_id(t->s, t->offer[1]), 2);
}

/* The ids that a batch gives to each of four devices, whatever order they were offered in. */
static void ctl_042_channel_ids_are_stable(void **state)
{
	struct bench *t = *state;
	static const int orders[3][4] = {{0, 1, 2, 3}, {3, 1, 0, 2}, {2, 3, 1, 0}};

	for (int round = 0; round < 3; round++) {
		bench_restart(t);
		for (int i = 0; i < 4; i++)
			offer(t, orders[round][i]);
		negotiate(t, GOOD, 0);
		request_offers(t, 4);
		/* A hole from an early release is filled again. */
		post(t, released(2));
		post(t, raw_contact(GOOD));
		expect(t, VMBUS_SERVER_DISCONNECTED);
		expect(t, VMBUS_SERVER_CONNECT);
		vmbus_server_connect_done(t->s, true);
		expect_post(t, raw_version_ok(1));
		request_offers(t, 4);
	}
}

static void offer_order_comes_before_ids(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer first = an_offer(3);

	first.order = 1;
	for (int i = 0; i < 3; i++) {
		struct vmbus_offer o = an_offer(i);

		o.order = 2;
		assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &t->offer[i]), 0);
	}
	assert_int_equal(vmbus_server_offer(t->s, &first, NULL, &t->offer[3]), 0);
	negotiate(t, GOOD, 0);
	post(t, raw(3, 8));
	expect_post(t, raw_offer(3, 1));
	expect_post(t, raw_offer(0, 2));
	expect_post(t, raw_offer(1, 3));
	expect_post(t, raw_offer(2, 4));
	expect_post(t, raw(4, 8));
	expect_none(t);
}

static struct vmbus_offer numbered(uint32_t n)
{
	struct vmbus_offer o = {0};

	memcpy(o.instance_id.b, &n, sizeof(n));
	return o;
}

static void ctl_043_ids_stay_in_range_and_run_out(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o;
	vmbus_offer_id *ids = calloc(2049, sizeof(*ids));
	uint8_t seen[2048] = {0};

	negotiate(t, GOOD, 0);
	post(t, raw(3, 8));
	expect_post(t, raw(4, 8));
	for (uint32_t n = 1; n <= 2047; n++) {
		uint32_t id;

		o = numbered(n);
		assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &ids[n]), VMBUS_OK);
		assert_true(vmbus_server_next_action(t->s, &t->a));
		id = get32(t->a.message.data, 184);
		assert_true(id >= 1 && id <= 2047 && !seen[id]);
		seen[id] = 1;
	}
	o = numbered(2048);
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &ids[2048]), VMBUS_E_LIMIT);
	expect_none(t);
	/* A rescinded channel keeps its id until it is released. */
	assert_int_equal(vmbus_server_revoke(t->s, ids[700]), VMBUS_OK);
	expect(t, VMBUS_SERVER_POST);
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &ids[2048]), VMBUS_E_LIMIT);
	post(t, released(vmbus_server_channel_id(t->s, ids[699]) + 1));
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &ids[2048]), VMBUS_OK);
	expect(t, VMBUS_SERVER_POST);
	expect_none(t);
	free(ids);
}

static void the_limit_on_offers_is_an_option(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(2);
	vmbus_offer_id id;

	t->config.limits.channels = 2;
	bench_restart(t);
	offer(t, 0);
	offer(t, 1);
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_E_LIMIT);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_OK);
}

static void an_offer_without_memory_leaves_nothing(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o;
	vmbus_offer_id id;
	bool refused = false;

	for (uint32_t n = 1; n < 40; n++) {
		size_t live = t->heap.live;

		o = numbered(n);
		t->heap.allowed = n % 3;
		if (vmbus_server_offer(t->s, &o, NULL, &id) == VMBUS_E_NO_MEMORY) {
			refused = true;
			assert_int_equal(t->heap.live, live);
		}
		check_at(t, __LINE__);
	}
	assert_true(refused);
	t->heap.allowed = SIZE_MAX;
}

static void ctl_044_field_017_no_pages_no_monitor_id(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(0);
	struct raw want = raw_offer(0, 1), contact = raw_contact(GOOD);

	o.monitored = true;
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), 0);
	negotiate(t, GOOD, 0);
	post(t, raw(3, 8));
	expect_post(t, want);
	expect_post(t, raw(4, 8));
	ask_open(t, 0); /* and the device is told of none */
	/* With pages the same device has one; the open says so. */
	put64(&contact, 24, 0x4000);
	put64(&contact, 32, 0x5000);
	bench_restart(t);
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), 0);
	offer(t, 1);
	post(t, contact);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	post(t, raw(3, 8));
	put8(&want, 188, 0);
	put8(&want, 189, 1);
	expect_post(t, want);
	expect_post(t, raw_offer(1, 2)); /* did not ask for one */
	expect_post(t, raw(4, 8));
	make_gpadl(t, 0, 9, 8);
	post(t, raw_open(1, 0, 9, 0, 4));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_true(t->a.open.monitored);
	assert_int_equal(t->a.open.monitor_id, 0);
	/* Watching stands in for interrupts; a channel without them is not watched. */
	vmbus_server_open_done(t->s, t->offer[0], 1);
	expect_post(t, raw_open_result(1, 0, 1));
	post(t, raw_open(1, 0, 9, 0xffffffff, 4));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_false(t->a.open.monitored);
}

static void monitor_ids_run_out_and_come_back(void **state)
{
	struct bench *t = *state;
	struct raw contact = raw_contact(GOOD);
	vmbus_offer_id ids[130];

	put64(&contact, 24, 0x4000);
	put64(&contact, 32, 0x5000);
	post(t, contact);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	post(t, raw(3, 8));
	expect_post(t, raw(4, 8));
	for (uint32_t n = 0; n < 129; n++) {
		struct vmbus_offer o = numbered(n);

		o.monitored = true;
		assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &ids[n]), VMBUS_OK);
		expect(t, VMBUS_SERVER_POST);
		assert_int_equal(t->a.message.data[188], n < 128 ? n : 0xff);
		assert_int_equal(t->a.message.data[189], n < 128);
	}
	assert_int_equal(vmbus_server_revoke(t->s, ids[77]), VMBUS_OK);
	expect(t, VMBUS_SERVER_POST);
	for (uint32_t n = 129; n < 130; n++) {
		struct vmbus_offer o = numbered(n);

		o.monitored = true;
		assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &ids[n]), VMBUS_OK);
		expect(t, VMBUS_SERVER_POST);
		assert_int_equal(t->a.message.data[188], 77);
	}
}

static void ctl_045_flags_nobody_negotiated_are_cleared(void **state)
{
	struct bench *t = *state;
	static const struct {
		uint32_t version, features;
		uint16_t flags;
	} cases[] = {
		{0x0000d, 0, 0x0711}, {0x30000, 0, 0x0711},    {0x40000, 0, 0x2711},
		{0x50003, 0, 0x2711}, {0x60000, 0x10, 0x2717}, {0x60000, 0x80, 0x2719},
		{0x60000, 0, 0x2711}, {0x60000, 0x90, 0x271f},
	};

	t->config.trusted = true;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vmbus_offer o = an_offer(0);
		struct raw want = raw_offer(0, 1);

		o.flags = 0x271f;
		put16(&want, 56, cases[i].flags);
		bench_restart(t);
		assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &t->offer[0]), 0);
		negotiate(t, cases[i].version, cases[i].features);
		post(t, raw(3, 8));
		expect_post(t, want);
		expect_post(t, raw(4, 8));
		expect_none(t);
	}
}

static void ctl_046_reserved_bytes_dedicated_and_connection_id(void **state)
{
	struct bench *t = *state;

	/* raw_offer() has 40..55 zero, 190 = 1 and 0x2000 + channel id at 192; ids are unique. */
	connect_with(t, 0x0000d, 0, 4);
	bench_restart(t);
	connect_with(t, 0x60000, 0xaf, 4);
	bench_restart(t);
	t->config.vtl = 2;
	bench_restart(t);
	offer(t, 1); /* for VTL 0: this connection never sees it */
	{
		struct raw r = raw_contact(0x50003), want = raw_offer(0, 1);
		struct vmbus_offer o = an_offer(0);
		vmbus_offer_id id;

		o.vtl = 2;
		assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_OK);

		put8(&r, 16, 2);
		put8(&r, 17, 2);
		post_to(t, 4, &r);
		expect(t, VMBUS_SERVER_CONNECT);
		vmbus_server_connect_done(t->s, true);
		expect_post(t, raw_version_ok(1));
		post(t, raw(3, 8));
		put32(&want, 192, 0x22001);
		expect_post(t, want);
		expect_post(t, raw(4, 8));
		expect_none(t);
	}
}

static void subchannels_carry_their_index_from_2_4(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(0);
	struct raw want = raw_offer(0, 2);
	vmbus_offer_id id;

	offer(t, 0);
	o.subchannel = 3;
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_OK);
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_E_EXISTS);
	negotiate(t, 0x20004, 0);
	put16(&want, 180, 3);
	post(t, raw(3, 8));
	expect_post(t, raw_offer(0, 1));
	expect_post(t, want);
	expect_post(t, raw(4, 8));
	/* An older client could not tell them apart. */
	post(t, raw_contact(0x10001));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(0x10001));
	request_offers(t, 1);
}

static void a_fixed_channel_id_is_kept_for_its_device(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(0);
	vmbus_offer_id id;

	o.fixed_channel_id = 2;
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), VMBUS_OK);
	offer(t, 1);
	offer(t, 2);
	o = an_offer(3);
	o.fixed_channel_id = 2;
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_E_EXISTS);
	o.fixed_channel_id = 2048;
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_E_INVALID);
	negotiate(t, GOOD, 0);
	post(t, raw(3, 8));
	expect_post(t, raw_offer(0, 2));
	expect_post(t, raw_offer(1, 1));
	expect_post(t, raw_offer(2, 3));
	expect_post(t, raw(4, 8));
	expect_none(t);
	o.fixed_channel_id = 3;
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_E_EXISTS);
	o.fixed_channel_id = 40;
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_OK);
	expect_post(t, raw_offer(3, 40));
	assert_int_equal(vmbus_server_revoke(t->s, id), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 40));
}

/* ---- rescind and release ---- */

static void ctl_091_revoke_answers_what_is_owed_before_the_rescind(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	make_gpadl(t, 0, 0x50, 3);
	make_gpadl(t, 0, 0x51, 3);
	post(t, raw_gpadl_teardown(1, 0x50));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	post(t, raw_header(1, 0x52, 2, 0x1000));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	post(t, raw_header(1, 0x53, 30, 0x1000)); /* half of it */
	post(t, raw_modify(1, 2));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	expect_none(t);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	expect_post(t, raw_modify_response(1, 0x8000ffff));
	expect_post(t, raw_created(1, 0x52, 0x8000ffff));
	expect_post(t, raw_torndown(0x50));
	expect_post(t, raw_one(2, 12, 1));
	expect_none(t);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_E_NOT_FOUND);
}

static void ctl_092_after_the_rescind_nothing_is_touched(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;
	vmbus_offer_id old;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	old = t->offer[0];
	assert_int_equal(vmbus_server_gpadl(t->s, old, 100, &view), VMBUS_OK);
	assert_int_equal(vmbus_server_revoke(t->s, old), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 1));
	assert_int_equal(vmbus_server_gpadl(t->s, old, 100, &view), VMBUS_E_NOT_FOUND);
	/* Nor by the device's next offer, which the client does not know yet. */
	offer(t, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 100, &view), VMBUS_E_NOT_FOUND);
	/* No device is told of anything the client does to it. */
	post(t, raw_gpadl_teardown(1, 100));
	expect_post(t, raw_torndown(100));
	expect_none(t);
}

static void actions_of_a_revoked_device_are_not_carried_out(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	make_gpadl(t, 0, 100, 8);
	post(t, raw_open(1, 5, 100, 0, 4)); /* the OPEN has not been taken yet */
	post(t, raw_header(1, 0x60, 2, 0x1000));
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	expect_post(t, raw_created(1, 0x60, 0x8000ffff));
	expect_post(t, raw_one(2, 12, 1));
	expect_none(t);
}

static void ctl_093_an_id_is_not_reused_before_its_release(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 1));
	offer(t, 1);
	expect_post(t, raw_offer(1, 2));
	post(t, released(1));
	expect_none(t);
	offer(t, 2);
	expect_post(t, raw_offer(2, 1));
	/* A disconnect frees it, too. */
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[2]), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 1));
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	negotiate(t, GOOD, 0);
	post(t, raw(3, 8));
	expect_post(t, raw_offer(1, 1));
	expect_post(t, raw(4, 8));
	expect_none(t);
}

static void ctl_094_field_023_a_device_that_came_back_waits_for_its_id(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 3);
	open_channel(t, 1);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[1]), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 2));
	offer(t, 1);
	expect_none(t);
	post(t, released(2));
	expect_post(t, raw_offer(1, 2));
	expect_none(t);
	open_channel(t, 1); /* with the same GPADL id as before */
	post(t, released(2));
	expect_none(t);
}

static void ctl_095_messages_that_crossed_the_rescind(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	make_gpadl(t, 0, 0x61, 3);
	post(t, raw_header(1, 0x62, 30, 0x1000));
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 1));
	post(t, raw_one(7, 12, 1));
	expect_none(t);
	post(t, raw_gpadl_teardown(1, 0x61));
	expect_post(t, raw_torndown(0x61));
	post(t, raw_body(0x62, 30, 0x1000, 26));
	expect_post(t, raw_created(1, 0x62, 0));
	post(t, raw_header(1, 0x63, 2, 0x1000));
	expect_post(t, raw_created(1, 0x63, 0));
	post(t, raw_modify(1, 0));
	expect_post(t, raw_modify_response(1, 0x8000ffff));
	post(t, raw_open(1, 1, 0x63, 0, 4));
	expect_none(t);
	post(t, released(1));
	expect_none(t);
	post(t, raw_header(1, 0x63, 2, 0x1000));
	expect_post(t, raw_created(1, 0x63, 0x8000ffff));
	expect_none(t);
}

static void ctl_096_release_of_an_open_or_released_channel(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	ask_open(t, 0);
	assert_dropped(t, released(1), dropped_state);
	finish_open(t, 0);
	assert_dropped(t, released(1), dropped_state);
	make_gpadl(t, 1, 0x70, 3);
	post(t, released(2)); /* the client cannot use this one */
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 1);
	expect_none(t);
	assert_dropped(t, released(2), dropped_unknown);
	vmbus_server_gpadl_released(t->s, t->offer[1], 0x70);
	expect_none(t); /* there is nobody to hear TORNDOWN */
	assert_dropped(t, raw_open(2, 0, 0x70, 0, 4), dropped_unknown);
	/* Not offered again on this connection; the id is free for others. */
	offer(t, 2);
	expect_post(t, raw_offer(2, 2));
	assert_dropped(t, released(0), dropped_unknown);
	assert_dropped(t, released(2048), dropped_unknown);
	assert_dropped(t, released(0xffffffff), dropped_unknown);
}

static void field_011_a_late_call_cannot_hit_a_successor(void **state)
{
	struct bench *t = *state;
	vmbus_offer_id old;

	connect_with(t, GOOD, 0, 1);
	old = t->offer[0];
	assert_int_equal(vmbus_server_revoke(t->s, old), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 1));
	post(t, released(1));
	offer(t, 0);
	expect_post(t, raw_offer(0, 1)); /* same device, same channel id */
	assert_true(t->offer[0] != old);
	ask_open(t, 0);
	assert_int_equal(vmbus_server_revoke(t->s, old), VMBUS_E_NOT_FOUND);
	vmbus_server_open_done(t->s, old, 1);
	vmbus_server_close_done(t->s, old);
	vmbus_server_gpadl_done(t->s, old, 100, false);
	vmbus_server_gpadl_released(t->s, old, 100);
	vmbus_server_modify_done(t->s, old, 0);
	expect_none(t);
	finish_open(t, 0);
}

static void ids_that_name_no_offer_are_harmless(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;
	static const vmbus_offer_id ids[] = {0, 0x10000, 0x10002, 0xffff, 0x1ffff, UINT64_MAX};

	t->config.limits.channels = 4;
	bench_restart(t);
	connect_with(t, GOOD, 0, 1);
	assert_int_equal(vmbus_server_channel_id(t->s, t->offer[0]), 1);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		assert_int_equal(vmbus_server_channel_id(t->s, ids[i]), 0);
		assert_int_equal(vmbus_server_revoke(t->s, ids[i]), VMBUS_E_NOT_FOUND);
		assert_int_equal(vmbus_server_gpadl(t->s, ids[i], 1, &view), VMBUS_E_NOT_FOUND);
		vmbus_server_open_done(t->s, ids[i], 0);
		vmbus_server_close_done(t->s, ids[i]);
		vmbus_server_gpadl_done(t->s, ids[i], 1, true);
		vmbus_server_gpadl_released(t->s, ids[i], 1);
		vmbus_server_modify_done(t->s, ids[i], 0);
		expect_none(t);
	}
	assert_int_equal(vmbus_server_statistics(t->s)->late_answers, 30);
}

static void a_server_without_memory_is_not_made(void **state)
{
	struct bench *t = *state;
	size_t needed, live = t->heap.live;
	struct vmbus_server *s;

	for (needed = 0; needed < 20; needed++) {
		t->heap.allowed = needed;
		s = vmbus_server_create(&t->config);
		t->heap.allowed = SIZE_MAX;
		if (s)
			break;
		assert_int_equal(t->heap.live, live);
	}
	assert_true(needed > 4 && needed < 20);
	assert_int_equal(t->heap.live, live + needed);
	vmbus_server_destroy(s);
	assert_int_equal(t->heap.live, live);
}

/* A device that comes back may ask for the same fixed id, and for no one else's. */
static void a_fixed_channel_id_outlives_a_rescind(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(0), other = an_offer(1);
	vmbus_offer_id id;

	o.fixed_channel_id = 7;
	connect_with(t, GOOD, 0, 0);
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_OK);
	expect_post(t, raw_offer(0, 7));
	assert_int_equal(vmbus_server_revoke(t->s, id), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 7));
	other.fixed_channel_id = 7;
	assert_int_equal(vmbus_server_offer(t->s, &other, NULL, &id), VMBUS_E_EXISTS);
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_OK);
	post(t, released(7));
	expect_post(t, raw_offer(0, 7));
	assert_int_equal(vmbus_server_revoke(t->s, id), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 7));
	post(t, released(7));
	assert_int_equal(vmbus_server_offer(t->s, &other, NULL, &id), VMBUS_OK);
	expect_post(t, raw_offer(1, 7));
}

/* Found by fuzz_pair: it kept the id that its channel had before. */
static void a_device_that_comes_back_may_want_another_id(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(0), other = an_offer(1);
	vmbus_offer_id id;

	connect_with(t, GOOD, 0, 1);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 1));
	o.fixed_channel_id = 9;
	assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), VMBUS_OK);
	other.fixed_channel_id = 1;
	assert_int_equal(vmbus_server_offer(t->s, &other, NULL, &id), VMBUS_E_EXISTS);
	expect_none(t);
	post(t, released(1));
	expect_post(t, raw_offer(0, 9));
	assert_int_equal(vmbus_server_offer(t->s, &other, NULL, &id), VMBUS_OK);
	expect_post(t, raw_offer(1, 1));
}

#define T(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_038_no_offer_before_it_is_asked_for),
		T(ctl_039_one_offer_each_then_the_end),
		T(ctl_040_a_second_request_is_dropped),
		T(ctl_041_a_hot_added_device_is_offered_alone),
		T(ctl_042_channel_ids_are_stable),
		T(offer_order_comes_before_ids),
		T(ctl_043_ids_stay_in_range_and_run_out),
		T(the_limit_on_offers_is_an_option),
		T(an_offer_without_memory_leaves_nothing),
		T(ctl_044_field_017_no_pages_no_monitor_id),
		T(monitor_ids_run_out_and_come_back),
		T(ctl_045_flags_nobody_negotiated_are_cleared),
		T(ctl_046_reserved_bytes_dedicated_and_connection_id),
		T(subchannels_carry_their_index_from_2_4),
		T(a_fixed_channel_id_is_kept_for_its_device),
		T(ctl_091_revoke_answers_what_is_owed_before_the_rescind),
		T(ctl_092_after_the_rescind_nothing_is_touched),
		T(actions_of_a_revoked_device_are_not_carried_out),
		T(ctl_093_an_id_is_not_reused_before_its_release),
		T(ctl_094_field_023_a_device_that_came_back_waits_for_its_id),
		T(ctl_095_messages_that_crossed_the_rescind),
		T(ctl_096_release_of_an_open_or_released_channel),
		T(field_011_a_late_call_cannot_hit_a_successor),
		T(ids_that_name_no_offer_are_harmless),
		T(a_server_without_memory_is_not_made),
		T(a_fixed_channel_id_outlives_a_rescind),
		T(a_device_that_comes_back_may_want_another_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
