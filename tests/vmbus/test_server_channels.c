/* SPDX-License-Identifier: MIT */
/* Open, close, modify and reserved channels at the server. */
#include "control.h"

#define GOOD   0x00050003u
#define FAILED 0x8000ffffu

static void ctl_069_open_is_answered_with_its_open_id(void **state)
{
	struct bench *t = *state;
	struct raw r = raw_open(1, 0xcafe0001, 100, 3, 4);

	connect_with(t, GOOD, 0, 1);
	make_gpadl(t, 0, 100, 8);
	for (size_t i = 0; i < 120; i++)
		put8(&r, 28 + i, (uint8_t)(200 - i));
	post(t, r);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_int_equal(t->a.open.channel_id, 1);
	assert_int_equal(t->a.open.ring_gpadl, 100);
	assert_int_equal(t->a.open.downstream_page, 4);
	assert_int_equal(t->a.open.target_vp, 3);
	assert_int_equal(t->a.open.connection_id, 0x2001);
	assert_int_equal(t->a.open.event_flag, 1);
	assert_int_equal(t->a.open.sint, 2);
	assert_memory_equal(t->a.open.user_data, r.b + 28, 120);
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_post(t, raw_open_result(1, 0xcafe0001, 0));
	expect_none(t);
}

static void ctl_070_open_of_an_unknown_channel_is_dropped(void **state)
{
	struct bench *t = *state;
	static const uint32_t ids[] = {0, 2, 2047, 2048, 0x10001, 0xffffffff};

	connect_with(t, GOOD, 0, 1);
	make_gpadl(t, 0, 100, 8);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		assert_dropped(t, raw_open(ids[i], 0, 100, 0, 4), dropped_unknown);
	post(t, raw_one(13, 12, 1));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	assert_dropped(t, raw_open(1, 0, 100, 0, 4), dropped_unknown);
}

static void refused(struct bench *t, uint32_t gpadl, uint32_t vp, uint32_t d)
{
	post(t, raw_open(1, 0x51, gpadl, vp, d));
	expect_post(t, raw_open_result(1, 0x51, FAILED));
	expect_none(t);
}

static void ctl_071_bad_rings_are_refused(void **state)
{
	struct bench *t = *state;
	static const uint32_t bad[] = {0, 1, 7, 8, 9, 0x7fffffff, 0xffffffff};
	struct raw two = raw_header(1, 5, 8, 0x5000), offset = raw_header(1, 6, 8, 0x5000);
	struct raw part = raw_header(1, 7, 8, 0x5000);

	connect_with(t, GOOD, 0, 2);
	make_gpadl(t, 0, 100, 8);
	make_gpadl(t, 1, 200, 8);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(t, 100, 0, bad[i]);
	refused(t, 99, 0, 4);
	refused(t, 200, 0, 4); /* another channel's */
	refused(t, 100, 8, 4); /* no such VP */
	/* Two ranges; a range that starts, or ends, inside a page. */
	put16(&two, 18, 2);
	put32(&two, 20, 6 * 4096);
	put64(&two, 20 + 7 * 8, 4096);
	put16(&two, 16, 9 * 8);
	put32(&offset, 20, 7 * 4096);
	put32(&offset, 24, 8);
	put32(&part, 20, 8 * 4096 - 8);
	for (int i = 0; i < 3; i++) {
		post(t, i == 0 ? two : i == 1 ? offset : part);
		expect_device(t, VMBUS_SERVER_GPADL, 0);
		vmbus_server_gpadl_done(t->s, t->offer[0], 5 + (uint32_t)i, true);
		expect_post(t, raw_created(1, 5 + (uint32_t)i, 0));
		refused(t, 5 + (uint32_t)i, 0, 4);
	}
	/* Not accepted yet. */
	post(t, raw_header(1, 8, 8, 0));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	refused(t, 8, 0, 4);
	/* The smallest rings that can be: a control page and a data page each. */
	make_gpadl(t, 0, 9, 4);
	refused(t, 9, 0, 3);
	post(t, raw_open(1, 1, 9, 0, 2));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_post(t, raw_open_result(1, 1, 0));
}

static void ctl_072_a_second_open_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	ask_open(t, 0);
	assert_dropped(t, raw_open(1, 2, 100, 0, 4), dropped_state);
	finish_open(t, 0);
	assert_dropped(t, raw_open(1, 2, 100, 0, 4), dropped_state);
}

static void ctl_073_open_while_closing_is_answered_later(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	make_gpadl(t, 0, 200, 6);
	post(t, raw_one(7, 12, 1));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	post(t, raw_open(1, 0x52, 200, 2, 3));
	expect_none(t);
	assert_dropped(t, raw_open(1, 0x53, 100, 0, 4), dropped_state);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_int_equal(t->a.open.ring_gpadl, 200);
	assert_int_equal(t->a.open.downstream_page, 3);
	assert_int_equal(t->a.open.target_vp, 2);
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_post(t, raw_open_result(1, 0x52, 0));
	expect_none(t);
}

static void ctl_074_open_of_a_rescinded_channel_has_no_result(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	make_gpadl(t, 0, 100, 8);
	ask_open(t, 1);
	vmbus_server_revoke(t->s, t->offer[0]);
	expect_post(t, raw_one(2, 12, 1));
	post(t, raw_open(1, 1, 100, 0, 4));
	expect_none(t);
	/* And one that is in flight gets none either. */
	vmbus_server_revoke(t->s, t->offer[1]);
	expect_post(t, raw_one(2, 12, 2));
	vmbus_server_open_done(t->s, t->offer[1], 0);
	expect_none(t);
}

static void ctl_075_close_while_opening_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	ask_open(t, 0);
	assert_dropped(t, raw_one(7, 12, 1), dropped_state);
	finish_open(t, 0);
}

static void ctl_076_close_of_what_is_not_open_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	assert_dropped(t, raw_one(7, 12, 1), dropped_state);
	assert_dropped(t, raw_one(7, 12, 2), dropped_unknown);
	assert_dropped(t, raw_one(7, 12, 0), dropped_unknown);
	assert_dropped(t, raw_one(7, 12, 0xffff0001), dropped_unknown);
	open_channel(t, 0);
	post(t, raw_one(7, 12, 1));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	assert_dropped(t, raw_one(7, 12, 1), dropped_state);
	vmbus_server_close_done(t->s, t->offer[0]);
	assert_dropped(t, raw_one(7, 12, 1), dropped_state);
}

/* The state machine's part: the device is told never to interrupt. */
static void ctl_077_open_without_interrupts(void **state)
{
	struct bench *t = *state;
	static const uint32_t versions[] = {0x0000d, 0x20004, 0x60000};

	for (size_t i = 0; i < 3; i++) {
		bench_restart(t);
		connect_with(t, versions[i], 0, 1);
		make_gpadl(t, 0, 100, 8);
		post(t, raw_open(1, 1, 100, 0xffffffff, 4));
		expect_device(t, VMBUS_SERVER_OPEN, 0);
		assert_int_equal(t->a.open.target_vp, 0xffffffff);
		vmbus_server_open_done(t->s, t->offer[0], 0);
		expect_post(t, raw_open_result(1, 1, 0));
	}
	/* Before 2.4 no other value is looked at. */
	bench_restart(t);
	connect_with(t, 0x10001, 0, 1);
	make_gpadl(t, 0, 100, 8);
	post(t, raw_open(1, 1, 100, 77, 4));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_int_equal(t->a.open.target_vp, 0);
}

static struct raw raw_open6(uint32_t channel, uint32_t connection, uint16_t flag, uint16_t flags)
{
	struct raw r = raw_open(channel, 0x61, 99 + channel, 1, 4);

	r.n = 156;
	put32(&r, 148, connection);
	put16(&r, 152, flag);
	put16(&r, 154, flags);
	return r;
}

static void ctl_078_the_clients_own_signals(void **state)
{
	struct bench *t = *state;

	connect_with(t, 0x60000, 0x01, 1);
	make_gpadl(t, 0, 100, 8);
	post(t, raw_open6(1, 0x54321, 2047, 0));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_int_equal(t->a.open.connection_id, 0x54321);
	assert_int_equal(t->a.open.event_flag, 2047);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_post(t, raw_open_result(1, 0x61, 0));
	/* The next open, of a client without the feature, has the offered ones. */
	post(t, raw_contact(GOOD));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	request_offers(t, 1);
	ask_open(t, 0);
	post(t, raw_one(13, 12, 9));
	bench_restart(t);
	connect_with(t, GOOD, 0, 1);
	make_gpadl(t, 0, 100, 8);
	post(t, raw_open6(1, 0x54321, 2047, 1));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_int_equal(t->a.open.connection_id, 0x2001);
	assert_int_equal(t->a.open.event_flag, 1);
	assert_int_equal(t->a.open.sint, 2);
}

static void ctl_079_bad_or_bound_signals_are_refused(void **state)
{
	struct bench *t = *state;
	static const uint16_t flags[] = {0, 2048, 0xffff};
	static const uint32_t ports[] = {0, 1, 2, 4, 0x1000001};

	connect_with(t, 0x60000, 0x01, 2);
	make_gpadl(t, 0, 100, 8);
	make_gpadl(t, 1, 101, 8);
	for (size_t i = 0; i < 3; i++) {
		post(t, raw_open6(1, 0x9000, flags[i], 0));
		expect_post(t, raw_open_result(1, 0x61, FAILED));
	}
	for (size_t i = 0; i < 5; i++) {
		post(t, raw_open6(1, ports[i], 5, 0));
		expect_post(t, raw_open_result(1, 0x61, FAILED));
	}
	post(t, raw_open6(1, 0x9000, 5, 0));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	post(t, raw_open6(2, 0x9000, 6, 0));
	expect_post(t, raw_open_result(2, 0x61, FAILED));
	post(t, raw_open6(2, 0x5009000, 6, 0)); /* 24 bits count */
	expect_post(t, raw_open_result(2, 0x61, FAILED));
	post(t, raw_open6(2, 0x9001, 5, 0)); /* a flag may be shared */
	expect_device(t, VMBUS_SERVER_OPEN, 1);
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 1);
	expect_post(t, raw_open_result(1, 0x61, 1));
	post(t, raw_open6(1, 0x9000, 5, 0)); /* it was not bound */
	expect_device(t, VMBUS_SERVER_OPEN, 0);
}

static void ctl_080_the_long_open_is_read_only_by_feature(void **state)
{
	struct bench *t = *state;
	static const uint32_t features[] = {0x01, 0x02, 0x03};

	/* ctl_078 shows that the bytes are ignored below 6.0; at 6.0 without a feature as well. */
	connect_with(t, 0x60000, 0x24, 1);
	make_gpadl(t, 0, 100, 8);
	post(t, raw_open6(1, 0, 0, 0xffff));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_int_equal(t->a.open.connection_id, 0x2001);
	for (size_t i = 0; i < 3; i++) {
		struct raw r = raw_open6(1, 0x9000, 5, 1);

		t->config.redirect_sint = 5;
		bench_restart(t);
		connect_with(t, 0x60000, features[i], 1);
		make_gpadl(t, 0, 100, 8);
		for (r.n = 148; r.n < 156; r.n++)
			assert_dropped(t, r, dropped_short);
		post(t, r);
		expect_device(t, VMBUS_SERVER_OPEN, 0);
		assert_int_equal(t->a.open.sint, features[i] & 2 ? 5 : 2);
		assert_int_equal(t->a.open.event_flag, features[i] & 1 ? 5 : 1);
	}
}

/* The state machine's part of it: one answer, after the device has moved. */
static void ctl_081_modify_is_answered_once_it_is_done(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw_modify(1, 5));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	assert_int_equal(t->a.modify.vp, 5);
	expect_none(t);
	assert_dropped(t, raw_modify(1, 6), dropped_state);
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	expect_post(t, raw_modify_response(1, 0));
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	expect_none(t);
	post(t, raw_modify(1, 6));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	vmbus_server_modify_done(t->s, t->offer[0], 0xc0000001);
	expect_post(t, raw_modify_response(1, 0xc0000001));
	expect_none(t);
}

static void modify_fails(struct bench *t, uint32_t channel, uint32_t vp, bool told)
{
	post(t, raw_modify(channel, vp));
	if (told)
		expect_post(t, raw_modify_response(channel, FAILED));
	expect_none(t);
}

static void ctl_082_modify_that_cannot_be(void **state)
{
	struct bench *t = *state;
	static const uint32_t versions[] = {0x40001, 0x50000, 0x50002, 0x50003, 0x60000};

	for (size_t i = 0; i < 5; i++) {
		bool told = versions[i] >= 0x50003;

		bench_restart(t);
		connect_with(t, versions[i], 0, 3);
		modify_fails(t, 1, 0, told); /* closed */
		modify_fails(t, 0, 0, told);
		modify_fails(t, 4, 0, told);
		modify_fails(t, 0xffffffff, 0, told);
		ask_open(t, 0);
		modify_fails(t, 1, 0, told); /* opening */
		finish_open(t, 0);
		modify_fails(t, 1, 0xffffffff, told);
		modify_fails(t, 1, 8, told); /* no such VP */
		post(t, raw_one(7, 12, 1));
		expect_device(t, VMBUS_SERVER_CLOSE, 0);
		modify_fails(t, 1, 0, told); /* closing */
		make_gpadl(t, 1, 101, 8);
		post(t, raw_open(2, 0, 101, 0xffffffff, 4));
		expect_device(t, VMBUS_SERVER_OPEN, 1);
		vmbus_server_open_done(t->s, t->offer[1], 0);
		expect_post(t, raw_open_result(2, 0, 0));
		modify_fails(t, 2, 0, told); /* opened without interrupts */
		open_reserved(t, 2);
		modify_fails(t, 3, 0, told); /* reserved */
	}
}

static void ctl_083_below_5_3_the_last_target_wins(void **state)
{
	struct bench *t = *state;

	connect_with(t, 0x50002, 0, 1);
	open_channel(t, 0);
	post(t, raw_modify(1, 2));
	post(t, raw_modify(1, 3));
	post(t, raw_modify(1, 4));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	assert_int_equal(t->a.modify.vp, 2);
	expect_none(t);
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	assert_int_equal(t->a.modify.vp, 4);
	expect_none(t);
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	expect_none(t);
}

static void a_second_target_dies_with_its_open(void **state)
{
	struct bench *t = *state;

	connect_with(t, 0x50002, 0, 1);
	open_channel(t, 0);
	post(t, raw_modify(1, 2));
	post(t, raw_modify(1, 3));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	post(t, raw_one(7, 12, 1));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_none(t);
	open_channel(t, 0);
	post(t, raw_modify(1, 4));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	assert_int_equal(t->a.modify.vp, 4);
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	expect_none(t);
}

static void a_modify_that_a_close_overtakes_is_answered(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw_modify(1, 2));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	post(t, raw_one(7, 12, 1));
	expect_post(t, raw_modify_response(1, FAILED));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	open_channel(t, 0);
	post(t, raw_modify(1, 3));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	vmbus_server_modify_done(t->s, t->offer[0], 0); /* the first one's */
	expect_none(t);
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	expect_post(t, raw_modify_response(1, 0));
	expect_none(t);
}

/* ---- reserved channels ---- */

static void ctl_085_a_reserved_channel_outlives_the_connection(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, 0x40000, 0, 2);
	open_reserved(t, 0); /* its result goes to VP 3, SINT 7 */
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	expect_none(t);
	assert_int_equal(vmbus_server_channel_id(t->s, t->offer[0]), 1);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 100, &view), VMBUS_OK);
	negotiate(t, 0x40000, 0);
	post(t, raw(3, 8));
	expect_post(t, raw_offer(1, 2));
	expect_post(t, raw(4, 8));
	post(t, raw_close_reserved(1, 4, 5));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_unqueued(t, 4, 5, raw_one(20, 12, 1));
	expect_none(t);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 100, &view), VMBUS_OK);
	post(t, raw_open(1, 9, 100, 0, 4));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
}

static void a_reserved_open_that_fails_is_told_where_it_asked(void **state)
{
	struct bench *t = *state;

	connect_with(t, 0x40000, 0, 1);
	post(t, raw_open_reserved(1, 3, 7, 100, 4)); /* no such GPADL */
	expect_unqueued(t, 3, 7, raw_open_result(1, 0, FAILED));
	ask_reserved(t, 0, 2, 9);
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000022);
	expect_unqueued(t, 2, 9, raw_open_result(1, 0, 0xc0000022));
	expect_none(t);
	open_channel(t, 0);
}

static void field_015_a_reserved_target_that_cannot_be(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	make_gpadl(t, 0, 100, 8);
	assert_dropped(t, raw_open_reserved(1, 8, 7, 100, 4), dropped_state);
	assert_dropped(t, raw_open_reserved(1, 0, 16, 100, 4), dropped_state);
	assert_dropped(t, raw_open_reserved(1, 0, 0x102, 100, 4), dropped_state);
	open_channel(t, 0); /* nothing changed */
}

static void ctl_086_wrong_kinds_of_close_are_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	open_reserved(t, 0);
	open_channel(t, 1);
	assert_dropped(t, raw_one(7, 12, 1), dropped_state);
	assert_dropped(t, raw_close_reserved(2, 0, 2), dropped_state);
	assert_dropped(t, raw_one(13, 12, 1), dropped_state);
	assert_dropped(t, raw_open(1, 0, 100, 0, 4), dropped_state);
	post(t, raw_close_reserved(1, 0, 2));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	assert_dropped(t, raw_open(1, 0, 100, 0, 4), dropped_state);
	post(t, raw_one(7, 12, 2));
	expect_device(t, VMBUS_SERVER_CLOSE, 1);
	expect_none(t);
}

static void ctl_087_close_reserved_while_disconnected(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 1);
	open_reserved(t, 0);
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	post(t, raw_close_reserved(1, 6, 11));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_unqueued(t, 6, 11, raw_one(20, 12, 1));
	/* Nobody knows the channel any more: its GPADLs go with it. */
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_none(t);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 100, &view), VMBUS_E_NOT_FOUND);
	assert_dropped(t, raw_close_reserved(1, 6, 11), dropped_unknown);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
}

/* The old ring's id is the new client's to choose: the channel is offered when that is safe. */
static void a_channel_waits_for_the_gpadls_of_its_reserved_past(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	open_reserved(t, 0);
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	negotiate(t, GOOD, 0);
	post(t, raw_close_reserved(1, 6, 11));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_unqueued(t, 6, 11, raw_one(20, 12, 1));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	post(t, raw(3, 8));
	expect_post(t, raw_offer(1, 1));
	expect_post(t, raw(4, 8));
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_post(t, raw_offer(0, 2));
	expect_none(t);
}

static void a_reset_ends_that_wait(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_reserved(t, 0);
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	negotiate(t, GOOD, 0);
	post(t, raw_close_reserved(1, 6, 11));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_unqueued(t, 6, 11, raw_one(20, 12, 1));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	post(t, raw(3, 8));
	expect_post(t, raw(4, 8));
	vmbus_server_reset(t->s);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_none(t);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
}

static void ctl_088_gpadls_of_a_reserved_channel_are_fixed(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	post(t, raw_header(1, 0x71, 30, 0)); /* half of one, before */
	open_reserved(t, 0);
	post(t, raw_header(1, 0x70, 2, 0));
	expect_post(t, raw_created(1, 0x70, FAILED));
	post(t, raw_body(0x71, 30, 0, 26));
	expect_post(t, raw_created(1, 0x71, FAILED));
	assert_dropped(t, raw_gpadl_teardown(1, 100), dropped_state);
}

static void a_reserved_channel_ends_with_reset_and_revoke(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	open_reserved(t, 0);
	open_reserved(t, 1);
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	/* Between connections there is nobody to rescind it to. */
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[1]), VMBUS_OK);
	expect_none(t);
	vmbus_server_reset(t->s);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_none(t);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_069_open_is_answered_with_its_open_id),
		T(ctl_070_open_of_an_unknown_channel_is_dropped),
		T(ctl_071_bad_rings_are_refused),
		T(ctl_072_a_second_open_is_dropped),
		T(ctl_073_open_while_closing_is_answered_later),
		T(ctl_074_open_of_a_rescinded_channel_has_no_result),
		T(ctl_075_close_while_opening_is_dropped),
		T(ctl_076_close_of_what_is_not_open_is_dropped),
		T(ctl_077_open_without_interrupts),
		T(ctl_078_the_clients_own_signals),
		T(ctl_079_bad_or_bound_signals_are_refused),
		T(ctl_080_the_long_open_is_read_only_by_feature),
		T(ctl_081_modify_is_answered_once_it_is_done),
		T(ctl_082_modify_that_cannot_be),
		T(ctl_083_below_5_3_the_last_target_wins),
		T(a_second_target_dies_with_its_open),
		T(a_modify_that_a_close_overtakes_is_answered),
		T(ctl_085_a_reserved_channel_outlives_the_connection),
		T(a_reserved_open_that_fails_is_told_where_it_asked),
		T(field_015_a_reserved_target_that_cannot_be),
		T(ctl_086_wrong_kinds_of_close_are_dropped),
		T(ctl_087_close_reserved_while_disconnected),
		T(a_channel_waits_for_the_gpadls_of_its_reserved_past),
		T(a_reset_ends_that_wait),
		T(ctl_088_gpadls_of_a_reserved_channel_are_fixed),
		T(a_reserved_channel_ends_with_reset_and_revoke),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
