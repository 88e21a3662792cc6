/* SPDX-License-Identifier: MIT */
/*
 * What a client does to a channel that came out of saved state before its device is back, or has
 * been asked to go on and has not answered: each event of the channel's table in each of the two.
 */
#include "saving.h"

#define GOOD 0x00050003u

#define CLOSE    7
#define RELEASED 13
#define UNLOAD   16

/* A device's channel as the client has it open, and the device is not back. */
static void unclaimed(struct bench *t, int devices)
{
	connect_with(t, GOOD, 0, devices);
	for (int i = 0; i < devices; i++)
		open_channel(t, i);
	live_on(t);
}

/* And here it is back, has been asked, and thinks. */
static void asked(struct bench *t)
{
	unclaimed(t, 1);
	claim(t, 0, true);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_true(t->a.open.restored);
	expect_none(t);
}

static void expect_rings_let_go(struct bench *t)
{
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	assert_int_equal(t->a.gpadl.id, 100);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
}

static void expect_gone(struct bench *t)
{
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	expect_none(t);
	check_at(t, __LINE__);
}

/* ---- what was under way ---- */

/* A device that is no more holds nothing: what it was asked about a GPADL is answered for it. */
static void gpadls_that_a_device_was_asked_about(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	make_gpadl(t, 0, 200, 2);
	post(t, raw_header(1, 201, 2, 0x1000));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	post(t, raw_gpadl_teardown(1, 200));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	live_on(t);
	expect_post(t, raw_torndown(200));
	expect_post(t, raw_created(1, 201, 0));
	expect_none(t);
	claim(t, 0, true);
	post(t, raw_gpadl_teardown(1, 201));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 201);
	expect_post(t, raw_torndown(201));
}

static void a_rings_teardown_waits_for_the_close(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw_one(CLOSE, 12, 1));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	post(t, raw_gpadl_teardown(1, 100));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	live_on(t);
	expect_post(t, raw_torndown(100));
	expect_none(t);
	claim(t, 0, true);
	open_channel(t, 0);
}

/* Sockets and monitor pages are the owner's, which is asked again. */
static void what_the_owner_was_asked_it_is_asked_again(void **state)
{
	struct bench *t = *state;
	struct raw socket = raw(21, 56), modify = raw(25, 24), answer = raw_version_ok(1);

	memset(socket.b + 8, 0x11, 16);
	memset(socket.b + 24, 0x22, 16);
	memset(socket.b + 40, 0x33, 16);
	put64(&modify, 8, 0x4000);
	put64(&modify, 16, 0x5000);
	answer.n = 20;
	put32(&answer, 16, 4);
	post(t, raw_contact6(4));
	expect(t, VMBUS_SERVER_CONNECT);
	live_on(t);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, answer);
	request_offers(t, 0);
	post(t, socket);
	expect(t, VMBUS_SERVER_HVSOCK);
	post(t, modify);
	expect(t, VMBUS_SERVER_MONITOR);
	expect_none(t);
	live_on(t);
	expect(t, VMBUS_SERVER_MONITOR);
	assert_int_equal(t->a.connect.monitor_parent_to_child, 0x4000);
	assert_int_equal(t->a.connect.monitor_child_to_parent, 0x5000);
	expect(t, VMBUS_SERVER_HVSOCK);
	assert_memory_equal(t->a.hvsock.endpoint.b, socket.b + 8, 16);
	assert_memory_equal(t->a.hvsock.service.b, socket.b + 24, 16);
	assert_memory_equal(t->a.hvsock.silo.b, socket.b + 40, 16);
	expect_none(t);
	vmbus_server_monitor_done(t->s, true);
	expect_post(t, raw(26, 9));
	vmbus_server_hvsock_done(t->s, &t->a.hvsock.endpoint, &t->a.hvsock.service, false);
}

static void two_moves_were_under_way(void **state)
{
	struct bench *t = *state;

	connect_with(t, 0x00050002, 0, 1); /* which answers none */
	open_channel(t, 0);
	post(t, raw_modify(1, 5));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	post(t, raw_modify(1, 6));
	expect_none(t);
	live_on(t);
	expect_none(t);
	claim(t, 0, true);
	assert_int_equal(expect(t, VMBUS_SERVER_OPEN)->open.target_vp, 6);
}

/* ---- nobody is there ---- */

static void moved_while_nobody_is_there(void **state)
{
	struct bench *t = *state;

	unclaimed(t, 1);
	post(t, raw_modify(1, 5));
	expect_post(t, raw_modify_response(1, 0));
	expect_none(t);
	claim(t, 0, true);
	assert_int_equal(expect(t, VMBUS_SERVER_OPEN)->open.target_vp, 5);
}

static void a_client_may_give_a_closed_channel_back_that_nobody_claimed(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	live_on(t);
	post(t, raw_one(RELEASED, 12, 2));
	expect_none(t);
	/* it is no more: its device offers a new one */
	claim(t, 1, false);
	expect_post(t, raw_offer(1, 2));
	/* what a channel in use cannot be told makes no difference */
	claim(t, 0, true);
	expect_none(t);
	open_channel(t, 0);
}

static void what_is_out_of_turn_is_dropped_with_nobody_there(void **state)
{
	struct bench *t = *state;

	unclaimed(t, 1);
	assert_dropped(t, raw_one(RELEASED, 12, 1), dropped_state);
	assert_dropped(t, raw_open(1, 9, 100, 1, 4), dropped_state);
	assert_dropped(t, raw_close_reserved(1, 0, 2), dropped_state);
	post(t, raw_one(CLOSE, 12, 1));
	assert_dropped(t, raw_one(CLOSE, 12, 1), dropped_state);
	expect_none(t);
	claim(t, 0, true);
	open_channel(t, 0);
}

static void a_client_may_leave_while_nobody_is_there(void **state)
{
	struct bench *t = *state;

	unclaimed(t, 2);
	post(t, raw(UNLOAD, 8));
	expect_gone(t);
	claim(t, 0, true);
	claim(t, 1, false);
	expect_none(t);
	negotiate(t, GOOD, 0);
	request_offers(t, 2);
	open_channel(t, 0);
}

static void a_reset_finds_nobody_there(void **state)
{
	struct bench *t = *state;

	unclaimed(t, 1);
	vmbus_server_reset(t->s);
	check_at(t, __LINE__);
	while (vmbus_server_next_action(t->s, &t->a))
		assert_int_not_equal(t->a.type, VMBUS_SERVER_POST);
	claim(t, 0, true);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	open_channel(t, 0);
}

/* The device of a reserved channel begins afresh: the next client sees a channel like any other. */
static void a_reserved_channel_begins_afresh_between_two_clients(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_reserved(t, 0);
	post(t, raw(UNLOAD, 8));
	while (vmbus_server_next_action(t->s, &t->a))
		if (t->a.type == VMBUS_SERVER_GPADL_TEARDOWN)
			vmbus_server_gpadl_released(t->s, t->a.offer, t->a.gpadl.id);
	live_on(t);
	claim(t, 0, false);
	expect_none(t);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	open_channel(t, 0);
}

/* ---- the device thinks ---- */

static void closed_while_the_device_thinks(void **state)
{
	struct bench *t = *state;
	uint64_t late;

	asked(t);
	post(t, raw_one(CLOSE, 12, 1));
	/* a device that was not told to close cannot have closed */
	late = vmbus_server_statistics(t->s)->late_answers;
	vmbus_server_close_done(t->s, t->offer[0]);
	assert_int_equal(vmbus_server_statistics(t->s)->late_answers, late + 1);
	assert_dropped(t, raw_one(CLOSE, 12, 1), dropped_state);
	expect_none(t);
	/* it could not go on: then it is closed already */
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000001);
	expect_none(t);
	open_channel(t, 0);
}

static void a_device_that_goes_on_with_what_was_closed_is_told(void **state)
{
	struct bench *t = *state;

	asked(t);
	post(t, raw_one(CLOSE, 12, 1));
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_none(t);
	open_channel(t, 0);
}

static void opened_again_while_the_device_thinks(void **state)
{
	struct bench *t = *state;

	asked(t);
	make_gpadl(t, 0, 200, 8);
	post(t, raw_one(CLOSE, 12, 1));
	post(t, raw_open(1, 5, 200, 1, 4));
	expect_none(t);
	/* it went on: it is told to close, and then asked to open */
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_false(t->a.open.restored);
	assert_int_equal(t->a.open.ring_gpadl, 200);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_post(t, raw_open_result(1, 5, 0));
}

static void opened_again_while_a_device_thinks_that_cannot_go_on(void **state)
{
	struct bench *t = *state;

	asked(t);
	make_gpadl(t, 0, 200, 8);
	post(t, raw_one(CLOSE, 12, 1));
	post(t, raw_open(1, 5, 200, 1, 4));
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000001);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_false(t->a.open.restored);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_post(t, raw_open_result(1, 5, 0));
	expect_none(t);
}

static void given_back_while_the_device_thinks(void **state)
{
	struct bench *t = *state;

	asked(t);
	assert_dropped(t, raw_one(RELEASED, 12, 1), dropped_state);
	post(t, raw_one(CLOSE, 12, 1));
	post(t, raw_one(RELEASED, 12, 1));
	expect_rings_let_go(t);
	/* it went on with what is no more */
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_none(t);
	check_at(t, __LINE__);
}

static void a_client_leaves_while_the_device_thinks(void **state)
{
	struct bench *t = *state;

	asked(t);
	post(t, raw(UNLOAD, 8));
	expect_rings_let_go(t);
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000001);
	expect_gone(t);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	open_channel(t, 0);
}

static void a_reset_comes_while_the_device_thinks(void **state)
{
	struct bench *t = *state;

	asked(t);
	vmbus_server_reset(t->s);
	check_at(t, __LINE__);
	while (vmbus_server_next_action(t->s, &t->a)) {
		assert_int_not_equal(t->a.type, VMBUS_SERVER_POST);
		if (t->a.type == VMBUS_SERVER_GPADL_TEARDOWN)
			vmbus_server_gpadl_released(t->s, t->a.offer, t->a.gpadl.id);
	}
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	make_gpadl(t, 0, 100, 8);
	/* the new client's open waits until the old question is settled */
	post(t, raw_open(1, 0x78, 100, 1, 4));
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_false(t->a.open.restored);
	finish_open(t, 0);
}

static void withdrawn_while_the_device_thinks(void **state)
{
	struct bench *t = *state;

	asked(t);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 1));
	vmbus_server_open_done(t->s, t->offer[0], 0); /* nobody knows it any more */
	expect_none(t);
	post(t, raw_one(RELEASED, 12, 1));
	expect_none(t);
	check_at(t, __LINE__);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(gpadls_that_a_device_was_asked_about),
		TEST(a_rings_teardown_waits_for_the_close),
		TEST(what_the_owner_was_asked_it_is_asked_again),
		TEST(two_moves_were_under_way),
		TEST(moved_while_nobody_is_there),
		TEST(a_client_may_give_a_closed_channel_back_that_nobody_claimed),
		TEST(what_is_out_of_turn_is_dropped_with_nobody_there),
		TEST(a_client_may_leave_while_nobody_is_there),
		TEST(a_reset_finds_nobody_there),
		TEST(a_reserved_channel_begins_afresh_between_two_clients),
		TEST(closed_while_the_device_thinks),
		TEST(a_device_that_goes_on_with_what_was_closed_is_told),
		TEST(opened_again_while_the_device_thinks),
		TEST(opened_again_while_a_device_thinks_that_cannot_go_on),
		TEST(given_back_while_the_device_thinks),
		TEST(a_client_leaves_while_the_device_thinks),
		TEST(a_reset_comes_while_the_device_thinks),
		TEST(withdrawn_while_the_device_thinks),
	};

	return cmocka_run_group_tests_name("server_restore", tests, NULL, NULL);
}
