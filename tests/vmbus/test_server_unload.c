/* SPDX-License-Identifier: MIT */
/* Unload, reset, pause, monitor pages and socket requests at the server. */
#include "control.h"

#define GOOD 0x00050003u

/* Every message of a client. */
static const uint8_t client_types[] = {3, 5, 7, 8, 9, 11, 13, 14, 16, 18, 19, 21, 22, 25, 27, 29};

static void ctl_099_unload_with_everything_closed(void **state)
{
	struct bench *t = *state;
	struct raw contact = raw_contact(GOOD);

	offer(t, 0);
	put32(&contact, 12, 5);
	post(t, contact);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post_vp(t, 5, raw_version_ok(1));
	post(t, raw(3, 8));
	expect_post_vp(t, 5, raw_offer(0, 1));
	expect_post_vp(t, 5, raw(4, 8));
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post_vp(t, 5, raw(17, 8));
	expect_none(t);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_DISCONNECTED);
	assert_dropped(t, raw(16, 8), dropped_state);
}

static void ctl_100_unload_waits_for_devices_and_gpadls(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 3);
	open_channel(t, 0);
	open_channel(t, 1);
	make_gpadl(t, 2, 9, 40);
	post(t, raw(16, 8));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 2);
	expect_device(t, VMBUS_SERVER_CLOSE, 1);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 1);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	vmbus_server_gpadl_released(t->s, t->offer[2], 9);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[1], 101);
	expect_none(t); /* the ring's, but its channel is not closed */
	vmbus_server_close_done(t->s, t->offer[1]);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	expect_none(t);
}

static void ctl_101_unload_during_an_open(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	ask_open(t, 0);
	ask_open(t, 1);
	post(t, raw(16, 8));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 1);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_open_done(t->s, t->offer[1], 0xc0000001);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[1], 101);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	expect_none(t);
}

static void ctl_102_field_003_unload_forgets_half_a_gpadl(void **state)
{
	struct bench *t = *state;
	size_t live;

	connect_with(t, GOOD, 0, 1);
	live = t->heap.live;
	post(t, raw_header(1, 0x42, 30, 0x1000));
	assert_true(t->heap.live > live);
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	expect_none(t);
	assert_int_equal(t->heap.live, live);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	assert_dropped(t, raw_body(0x42, 30, 0x1000, 26), dropped_unknown);
	make_gpadl(t, 0, 0x42, 30);
}

static void ctl_103_a_second_unload_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw(16, 8));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	assert_dropped(t, raw(16, 8), dropped_state);
	vmbus_server_close_done(t->s, t->offer[0]);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	expect_none(t);
}

static void ctl_104_a_contact_replaces_an_unload(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw(16, 8));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	post(t, raw_contact(0x40001));
	post(t, raw_contact(0x30000)); /* the last one counts */
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.version, 0x30000);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(0x30000));
	expect_none(t);
}

static void ctl_105_field_005_reset_does_not_wait_for_an_open(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	ask_open(t, 0);
	vmbus_server_revoke(t->s, t->offer[1]); /* a message that nobody will take */
	vmbus_server_reset(t->s);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_none(t);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_DISCONNECTED);

	/* The device still owes its answer: the next open waits for it, and is not mistaken. */
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	make_gpadl(t, 0, 100, 8);
	post(t, raw_open(1, 0x99, 100, 1, 4));
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_post(t, raw_open_result(1, 0x99, 0));
	expect_none(t);
}

static void field_005_reset_again_while_the_device_lags(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	ask_open(t, 0);
	for (int round = 0; round < 3; round++) {
		vmbus_server_reset(t->s);
		expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
		vmbus_server_gpadl_released(t->s, t->offer[0], 100);
		expect(t, VMBUS_SERVER_DISCONNECTED);
		expect_none(t);
		negotiate(t, GOOD, 0);
		request_offers(t, 1);
		make_gpadl(t, 0, 100, 8);
		post(t, raw_open(1, (uint32_t)round, 100, 1, 4));
		expect_none(t);
	}
	/* An orderly end does not wait for it either: this open was never put to the device. */
	post(t, raw(16, 8));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000001);
	expect_none(t);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	open_channel(t, 0);
}

/* Found by fuzz_server: the ring of an open that waits is not in use and may go; the device was
 * then asked to open on it. */
static void ctl_064_an_open_that_waited_lost_its_ring(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	ask_open(t, 0);
	vmbus_server_reset(t->s);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	make_gpadl(t, 0, 100, 8);
	post(t, raw_open(1, 5, 100, 1, 4)); /* waits for the answer to the first */
	post(t, raw_gpadl_teardown(1, 100));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_post(t, raw_torndown(100));
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000001);
	expect_post(t, raw_open_result(1, 5, 0x8000ffff));
	expect_none(t);
	open_channel(t, 0);
}

/* The same with the event port that the client chose. */
static void ctl_079_an_open_that_waited_lost_its_port(void **state)
{
	struct bench *t = *state;
	struct raw waits = raw_open(1, 5, 100, 1, 4), other = raw_open(2, 6, 101, 1, 4);

	waits.n = other.n = 156;
	put32(&waits, 148, 0x3333);
	put16(&waits, 152, 9);
	put32(&other, 148, 0x3333);
	put16(&other, 152, 10);
	connect_with(t, 0x60000, 1, 2);
	make_gpadl(t, 0, 100, 8);
	post(t, waits);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	vmbus_server_reset(t->s);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	negotiate(t, 0x60000, 1);
	request_offers(t, 2);
	make_gpadl(t, 0, 100, 8);
	make_gpadl(t, 1, 101, 8);
	post(t, waits);
	post(t, other);
	expect_device(t, VMBUS_SERVER_OPEN, 1);
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000001);
	expect_post(t, raw_open_result(1, 5, 0x8000ffff));
	expect_none(t);
}

static void reset_drops_messages_and_keeps_what_devices_must_hear(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	open_channel(t, 0);
	post(t, raw_one(7, 12, 1)); /* CLOSE, not taken by the owner yet */
	vmbus_server_revoke(t->s, t->offer[1]);
	vmbus_server_reset(t->s);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_none(t);
}

static void reset_while_connecting_ignores_the_late_answer(void **state)
{
	struct bench *t = *state;

	post(t, raw_contact(GOOD));
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_reset(t->s);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	post(t, raw_contact(0x40001));
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true); /* the first contact's */
	expect_none(t);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(0x40001));
	expect_none(t);
}

/* ---- pause, monitor pages, sockets ---- */

static void ctl_107_pause_is_silence_and_resume_keeps_the_order(void **state)
{
	struct bench *t = *state;

	connect_with(t, 0x60000, 0x20, 2);
	ask_open(t, 0);
	post(t, raw(29, 8)); /* RESUME when not paused: nothing */
	expect_none(t);
	post(t, raw(27, 8));
	expect_post(t, raw(28, 8));
	vmbus_server_open_done(t->s, t->offer[0], 0);
	vmbus_server_revoke(t->s, t->offer[1]);
	offer(t, 2);
	expect_none(t);
	post(t, raw(29, 8));
	expect_post(t, raw_open_result(1, 0x78, 0));
	expect_post(t, raw_one(2, 12, 2));
	expect_post(t, raw_offer(2, 3));
	expect_none(t);
	assert_int_equal(vmbus_server_statistics(t->s)->dropped_busy, 0);
}

static void ctl_108_while_paused_only_three_messages_count(void **state)
{
	struct bench *t = *state;

	connect_with(t, 0x60000, 0x20, 1);
	make_gpadl(t, 0, 100, 8);
	post(t, raw(27, 8));
	expect_post(t, raw(28, 8));
	for (size_t i = 0; i < sizeof(client_types); i++) {
		uint8_t type = client_types[i];

		if (type != 14 && type != 16 && type != 29)
			assert_dropped(t, raw(type, 240), dropped_paused);
	}
	offer(t, 1);
	expect_none(t);
	post(t, raw(16, 8));
	expect_post(t, raw_offer(1, 2));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	negotiate(t, 0x60000, 0x20);
	request_offers(t, 2);
	post(t, raw(27, 8));
	expect_post(t, raw(28, 8));
	vmbus_server_revoke(t->s, t->offer[1]);
	expect_none(t);
	post(t, raw_contact(GOOD));
	expect_post(t, raw_one(2, 12, 2));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect(t, VMBUS_SERVER_CONNECT);
	expect_none(t);
}

static struct raw raw_pages(uint64_t p2c, uint64_t c2p)
{
	struct raw r = raw(25, 24);

	put64(&r, 8, p2c);
	put64(&r, 16, c2p);
	return r;
}

static void ctl_109_modify_connection_fails_once_each_time(void **state)
{
	struct bench *t = *state;
	struct raw failed = raw(26, 9);
	struct vmbus_offer o = an_offer(0);

	put8(&failed, 8, 2);
	negotiate(t, 0x60000, 0x04);
	post(t, raw_pages(0x1000, 0));
	expect_post(t, failed);
	post(t, raw_pages(0x1000, 0x2800));
	expect_post(t, failed);
	expect_none(t);
	post(t, raw_pages(0x1000, 0x2000));
	assert_int_equal(expect(t, VMBUS_SERVER_MONITOR)->connect.monitor_parent_to_child, 0x1000);
	post(t, raw_pages(0x3000, 0x4000));
	expect_post(t, failed); /* one is under way */
	expect_none(t);
	vmbus_server_monitor_done(t->s, true);
	expect_post(t, raw(26, 9));
	vmbus_server_monitor_done(t->s, true); /* nobody asked */
	expect_none(t);
	/* A channel that uses a monitor id forbids it. */
	o.monitored = true;
	post(t, raw(3, 8));
	expect_post(t, raw(4, 8));
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), 0);
	expect(t, VMBUS_SERVER_POST);
	assert_int_equal(t->a.message.data[188], 0);
	assert_int_equal(t->a.message.data[189], 1);
	ask_open(t, 0);
	finish_open(t, 0);
	post(t, raw_pages(0, 0));
	expect_post(t, failed);
	expect_none(t);
	/* With pages of the server's own there is nothing to modify. */
	t->config.monitor_child_to_parent = 0x9000;
	bench_restart(t);
	post(t, raw_contact6(0x44));
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect(t, VMBUS_SERVER_POST);
	post(t, raw_pages(0x3000, 0x4000));
	expect_post(t, failed);
	expect_none(t);
}

static void a_modify_connection_dies_with_its_connection(void **state)
{
	struct bench *t = *state;

	negotiate(t, 0x60000, 0x04);
	post(t, raw_pages(0x1000, 0x2000));
	expect(t, VMBUS_SERVER_MONITOR);
	post(t, raw(16, 8));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	negotiate(t, 0x60000, 0x04);
	post(t, raw_pages(0x3000, 0x4000));
	expect(t, VMBUS_SERVER_MONITOR);
	assert_int_equal(t->a.connect.monitor_parent_to_child, 0x3000);
	vmbus_server_monitor_done(t->s, true); /* the first one's */
	expect_none(t);
	vmbus_server_monitor_done(t->s, true);
	expect_post(t, raw(26, 9));
	expect_none(t);
}

static struct raw raw_socket(size_t size)
{
	struct raw r = raw(21, size);

	memset(r.b + 8, 0x11, 16);
	memset(r.b + 24, 0x22, 16);
	if (size >= 56)
		memset(r.b + 40, 0x33, 16);
	return r;
}

static void ctl_110_a_short_socket_request_has_no_silo(void **state)
{
	struct bench *t = *state;
	static const uint8_t zero[16],
		threes[16] = {0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33,
			      0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33};

	negotiate(t, 0x50002, 0);
	post(t, raw_socket(40));
	expect(t, VMBUS_SERVER_HVSOCK);
	assert_int_equal(t->a.hvsock.endpoint.b[15], 0x11);
	assert_int_equal(t->a.hvsock.service.b[0], 0x22);
	assert_memory_equal(t->a.hvsock.silo.b, zero, 16);
	post(t, raw_socket(56));
	expect(t, VMBUS_SERVER_HVSOCK);
	assert_memory_equal(t->a.hvsock.silo.b, threes, 16);
	/* Before 5.2 the field does not exist. */
	bench_restart(t);
	negotiate(t, 0x50001, 0);
	post(t, raw_socket(56));
	expect(t, VMBUS_SERVER_HVSOCK);
	assert_memory_equal(t->a.hvsock.silo.b, zero, 16);
	expect_none(t);
}

static struct raw raw_socket_refused(void)
{
	struct raw r = raw_socket(40);

	put32(&r, 0, 23);
	put32(&r, 40, 0xc0000236);
	r.n = 44;
	return r;
}

static void ctl_111_a_refused_socket_is_told_from_4_1(void **state)
{
	struct bench *t = *state;
	struct vmbus_guid endpoint, service;

	memset(endpoint.b, 0x11, 16);
	memset(service.b, 0x22, 16);
	negotiate(t, 0x40001, 0);
	post(t, raw_socket(40));
	expect(t, VMBUS_SERVER_HVSOCK);
	vmbus_server_hvsock_done(t->s, &endpoint, &service, false);
	expect_post(t, raw_socket_refused());
	vmbus_server_hvsock_done(t->s, &endpoint, &service, false); /* answered already */
	expect_none(t);
	post(t, raw_socket(40));
	expect(t, VMBUS_SERVER_HVSOCK);
	vmbus_server_hvsock_done(t->s, &endpoint, &service, true);
	expect_none(t);
	bench_restart(t);
	negotiate(t, 0x40000, 0);
	post(t, raw_socket(40));
	expect(t, VMBUS_SERVER_HVSOCK);
	vmbus_server_hvsock_done(t->s, &endpoint, &service, false);
	expect_none(t);
}

static void socket_requests_are_bounded_and_die_with_their_connection(void **state)
{
	struct bench *t = *state;
	struct vmbus_guid endpoint, service;

	memset(endpoint.b, 0x11, 16);
	memset(service.b, 0x22, 16);
	t->config.limits.hvsock = 2;
	bench_restart(t);
	negotiate(t, GOOD, 0);
	for (int i = 0; i < 2; i++) {
		post(t, raw_socket(40));
		expect(t, VMBUS_SERVER_HVSOCK);
	}
	post(t, raw_socket(40));
	expect_post(t, raw_socket_refused());
	post(t, raw_contact(GOOD));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	vmbus_server_hvsock_done(t->s, &endpoint, &service, false);
	expect_none(t);
	post(t, raw_socket(40));
	expect(t, VMBUS_SERVER_HVSOCK);
	vmbus_server_hvsock_done(t->s, &endpoint, &service, false); /* the old one's, again */
	expect_none(t);
	vmbus_server_hvsock_done(t->s, &endpoint, &service, false);
	expect_post(t, raw_socket_refused());
	expect_none(t);
}

#define T(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_099_unload_with_everything_closed),
		T(ctl_100_unload_waits_for_devices_and_gpadls),
		T(ctl_101_unload_during_an_open),
		T(ctl_102_field_003_unload_forgets_half_a_gpadl),
		T(ctl_103_a_second_unload_is_dropped),
		T(ctl_104_a_contact_replaces_an_unload),
		T(ctl_105_field_005_reset_does_not_wait_for_an_open),
		T(field_005_reset_again_while_the_device_lags),
		T(ctl_064_an_open_that_waited_lost_its_ring),
		T(ctl_079_an_open_that_waited_lost_its_port),
		T(reset_drops_messages_and_keeps_what_devices_must_hear),
		T(reset_while_connecting_ignores_the_late_answer),
		T(ctl_107_pause_is_silence_and_resume_keeps_the_order),
		T(ctl_108_while_paused_only_three_messages_count),
		T(ctl_109_modify_connection_fails_once_each_time),
		T(a_modify_connection_dies_with_its_connection),
		T(ctl_110_a_short_socket_request_has_no_silo),
		T(ctl_111_a_refused_socket_is_told_from_4_1),
		T(socket_requests_are_bounded_and_die_with_their_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
