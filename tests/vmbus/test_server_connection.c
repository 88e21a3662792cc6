/* SPDX-License-Identifier: MIT */
/* Framing, negotiation, unload, reset, pause, monitor pages and socket requests at the server. */
#include "control.h"

#define GOOD 0x00050003u

static const uint32_t versions[] = {0x0000d, 0x10001, 0x20004, 0x30000, 0x40000, 0x40001,
				    0x50000, 0x50001, 0x50002, 0x50003, 0x60000};
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* Every message of a client, long enough, in type order. */
static const uint8_t client_types[] = {3, 5, 7, 8, 9, 11, 13, 14, 16, 18, 19, 21, 22, 25, 27, 29};
static const uint8_t client_sizes[] = {8, 148, 12, 20, 16, 16, 12, 40, 8, 28, 20, 40, 16, 24, 8, 8};
static const uint8_t host_types[] = {1, 2, 4, 6, 10, 12, 15, 17, 20, 23, 24, 26, 28};

/* ---- framing ---- */

static void ctl_001_under_eight_bytes_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	for (size_t n = 0; n < 8; n++) {
		struct raw r = raw(16, n);

		assert_dropped(t, r, dropped_short);
	}
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_CONNECTED);
}

static void ctl_002_under_its_least_size_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, 0x60000, 0xff & ~0x40u & ~0x10u, 1);
	for (size_t i = 0; i < sizeof(client_types); i++) {
		struct raw r = raw(client_types[i], client_sizes[i] - 1u);

		assert_dropped(t, r, dropped_short);
	}
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_CONNECTED);
}

static void ctl_003_excess_is_ignored(void **state)
{
	struct bench *t = *state;
	struct raw contact = raw_contact(GOOD), request = raw(3, 8), unload = raw(16, 8);

	offer(t, 0);
	memset(contact.b + 40, 0xee, 200);
	memset(request.b + 8, 0xee, 232);
	memset(unload.b + 8, 0xee, 232);
	contact.n = request.n = unload.n = 240;
	post(t, contact);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	post(t, request);
	expect_post(t, raw_offer(0, 1));
	expect_post(t, raw(4, 8));
	unload.n = 241;
	assert_dropped(t, unload, dropped_short);
	unload.n = 240;
	post(t, unload);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	expect_none(t);
}

static void ctl_004_unknown_type_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	assert_dropped(t, raw(0, 240), dropped_type);
	assert_dropped(t, raw(30, 240), dropped_type);
	assert_dropped(t, raw(0xffffffff, 240), dropped_type);
	assert_dropped(t, raw(0x01000003, 240), dropped_type);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_CONNECTED);
	make_gpadl(t, 0, 5, 3);
}

static void ctl_005_field_001_a_hosts_own_message_is_dropped(void **state)
{
	struct bench *t = *state;

	for (size_t i = 0; i < sizeof(host_types); i++)
		assert_dropped(t, raw(host_types[i], 240), dropped_direction);
	connect_with(t, 0x60000, 0xff & ~0x40u & ~0x10u, 1);
	for (size_t i = 0; i < sizeof(host_types); i++)
		assert_dropped(t, raw(host_types[i], 240), dropped_direction);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_CONNECTED);
	make_gpadl(t, 0, 5, 3);
}

/* The sizes themselves are compared in every test; here each host message is seen once. */
static void ctl_006_messages_have_their_exact_size(void **state)
{
	struct bench *t = *state;
	struct raw r;

	connect_with(t, 0x60000, 0x24, 2);
	open_channel(t, 0);
	post(t, raw_modify(1, 2));
	expect(t, VMBUS_SERVER_MODIFY);
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	expect_post(t, raw_modify_response(1, 0));
	make_gpadl(t, 1, 7, 3);
	post(t, raw_gpadl_teardown(2, 7));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 1);
	vmbus_server_gpadl_released(t->s, t->offer[1], 7);
	expect_post(t, raw_torndown(7));
	r = raw(25, 24);
	post(t, r);
	expect(t, VMBUS_SERVER_MONITOR);
	vmbus_server_monitor_done(t->s, true);
	expect_post(t, raw(26, 9));
	post(t, raw(27, 8));
	expect_post(t, raw(28, 8));
	post(t, raw(29, 8));
	vmbus_server_revoke(t->s, t->offer[1]);
	expect_post(t, raw_one(2, 12, 2));
	post(t, raw(16, 8));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect(t, VMBUS_SERVER_GPADL_TEARDOWN);
	vmbus_server_close_done(t->s, t->offer[0]);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	expect_none(t);
}

/* ---- negotiation ---- */

static void ctl_013_015_016_017_every_version_is_granted_as_asked(void **state)
{
	struct bench *t = *state;

	t->config.message_connection_id = 0x1234;
	bench_restart(t);
	for (size_t i = 0; i < VERSIONS; i++) {
		uint32_t v = versions[i];
		struct raw answer = raw_version_ok(v < 0x50000 ? v : 0x1234);

		post(t, raw_contact(v));
		if (i) /* the connection before */
			expect(t, VMBUS_SERVER_DISCONNECTED);
		expect(t, VMBUS_SERVER_CONNECT);
		assert_int_equal(t->a.connect.version, v);
		expect_none(t);
		vmbus_server_connect_done(t->s, true);
		answer.n = v == 0x60000 ? 20 : 16;
		expect_post(t, answer);
		expect_none(t);
		assert_int_equal(vmbus_server_version(t->s), v);
		assert_int_equal(vmbus_server_features(t->s), 0);
	}
}

static void ctl_014_an_unknown_or_disabled_version_is_refused(void **state)
{
	struct bench *t = *state;
	static const uint32_t bad[] = {0,       0x0000c, 0x10000, 0x20005,
				       0x50004, 0x60001, 0x70000, 0x7fffffff};
	struct raw high = raw_contact(0xffffffff);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		post(t, raw_contact(bad[i]));
		expect_post(t, raw(15, 16));
		expect_none(t);
		assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_DISCONNECTED);
	}
	put32(&high, 12, 5);
	post(t, high);
	expect_post_vp(t, 5, raw(15, 16));
	t->config.max_version = 0x40001;
	bench_restart(t);
	for (size_t i = 0; i < VERSIONS; i++) {
		if (versions[i] <= 0x40001)
			continue;
		post(t, raw_contact(versions[i]));
		expect_post(t, raw(15, 16));
		expect_none(t);
	}
	negotiate(t, 0x40001, 0);
}

static void ctl_017_019_021_features_are_what_both_have(void **state)
{
	struct bench *t = *state;
	struct raw answer = raw_version_ok(1);

	answer.n = 20;
	/* All bits asked for; untrusted, no server pages: 0x10 and 0x40 cannot be had. */
	post(t, raw_contact6(0xffffffff));
	expect(t, VMBUS_SERVER_CONNECT);
	assert_int_equal(t->a.connect.features, 0xaf);
	vmbus_server_connect_done(t->s, true);
	put32(&answer, 16, 0xaf);
	expect_post(t, answer);
	assert_int_equal(vmbus_server_features(t->s), 0xaf);

	t->config.features = 0x31;
	t->config.trusted = true;
	bench_restart(t);
	post(t, raw_contact6(0xfffffff5));
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	put32(&answer, 16, 0x31);
	expect_post(t, answer);
	expect_none(t);
}

static void ctl_018_server_monitor_pages_are_told_in_forty_bytes(void **state)
{
	struct bench *t = *state;
	struct raw answer = raw_version_ok(1);

	t->config.monitor_child_to_parent = 0x123456000;
	bench_restart(t);
	post(t, raw_contact6(0x40));
	expect(t, VMBUS_SERVER_CONNECT);
	assert_int_equal(t->a.connect.monitor_child_to_parent, 0x123456000);
	vmbus_server_connect_done(t->s, true);
	answer.n = 40;
	put32(&answer, 16, 0x40);
	put64(&answer, 32, 0x123456000);
	expect_post(t, answer);

	t->config.monitor_parent_to_child = 0x123457000;
	bench_restart(t);
	post(t, raw_contact6(0x40));
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	put64(&answer, 24, 0x123457000);
	expect_post(t, answer);

	/* Not asked for: not told. */
	post(t, raw_contact6(0));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	answer = raw_version_ok(1);
	answer.n = 20;
	expect_post(t, answer);
	expect_none(t);
}

static void ctl_020_client_id_needs_its_bytes(void **state)
{
	struct bench *t = *state;
	struct raw r = raw_contact6(0x08);

	for (r.n = 40; r.n < 56; r.n++)
		assert_dropped(t, r, dropped_short);
	post(t, r);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect(t, VMBUS_SERVER_POST);
	/* Below 6.0 these bytes are no features. */
	r = raw_contact(GOOD);
	put32(&r, 20, 0x08);
	post(t, r);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect(t, VMBUS_SERVER_CONNECT);
	expect_none(t);
}

static void ctl_022_on_the_old_port_the_sint_byte_means_nothing(void **state)
{
	struct bench *t = *state;

	for (uint8_t sint = 0; sint < 4; sint += 3) {
		struct raw r = raw_contact(0x50000);

		put8(&r, 16, sint);
		put8(&r, 17, 2); /* nor does the VTL */
		post_to(t, 1, &r);
		if (sint)
			expect(t, VMBUS_SERVER_DISCONNECTED);
		expect(t, VMBUS_SERVER_CONNECT);
		vmbus_server_connect_done(t->s, true);
		expect_post(t, raw_version_ok(1));
	}
	expect_none(t);
}

static void ctl_023_a_foreign_sint_is_answered_there_and_changes_nothing(void **state)
{
	struct bench *t = *state;
	struct raw r = raw_contact(0x50000);

	put32(&r, 12, 6);
	put8(&r, 16, 3);
	post_to(t, 4, &r);
	expect_unqueued(t, 6, 3, raw(15, 16));
	expect_none(t);
	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post_to(t, 4, &r);
	expect_unqueued(t, 6, 3, raw(15, 16));
	expect_none(t);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_CONNECTED);
	assert_int_equal(vmbus_server_version(t->s), GOOD);
	make_gpadl(t, 0, 9, 3);
	/* A target that does not exist is not answered; below 5.0 there is no SINT byte. */
	put8(&r, 16, 16);
	assert_dropped_at(t, 4, &r, offsetof(struct vmbus_server_stats, dropped_vtl), __LINE__);
	put8(&r, 16, 3);
	put32(&r, 12, 8);
	assert_dropped_at(t, 4, &r, offsetof(struct vmbus_server_stats, dropped_vtl), __LINE__);
	bench_restart(t);
	r = raw_contact(0x40001);
	put8(&r, 16, 3);
	post_to(t, 4, &r);
	expect(t, VMBUS_SERVER_CONNECT);
	expect_none(t);
}

static void ctl_024_a_vtl_nobody_serves_is_dropped(void **state)
{
	struct bench *t = *state;
	struct raw r = raw_contact(0x50001);

	put8(&r, 16, 2);
	put8(&r, 17, 2);
	assert_dropped_at(t, 4, &r, offsetof(struct vmbus_server_stats, dropped_vtl), __LINE__);
	connect_with(t, GOOD, 0, 1);
	assert_dropped_at(t, 4, &r, offsetof(struct vmbus_server_stats, dropped_vtl), __LINE__);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_CONNECTED);
	put8(&r, 17, 0);
	post_to(t, 4, &r);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect(t, VMBUS_SERVER_CONNECT);
	expect_none(t);
}

static void ctl_025_target_vp_counts_from_3_0(void **state)
{
	struct bench *t = *state;
	struct raw r = raw_contact(0x20004);

	put32(&r, 12, 5);
	post(t, r);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.target_vp, 0);
	vmbus_server_connect_done(t->s, true);
	expect_post_vp(t, 0, raw_version_ok(0x20004));
	post(t, raw(3, 8));
	expect_post_vp(t, 0, raw(4, 8));
	put32(&r, 8, 0x30000);
	post(t, r);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.target_vp, 5);
	vmbus_server_connect_done(t->s, true);
	expect_post_vp(t, 5, raw_version_ok(0x30000));
	post(t, raw(3, 8));
	expect_post_vp(t, 5, raw(4, 8));
	/* A VP that does not exist cannot be told; VP 0 is. */
	put32(&r, 12, 8);
	post(t, r);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post_vp(t, 0, raw_version_failed(0x30000));
	expect_none(t);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_DISCONNECTED);
}

static struct raw with_pages(uint32_t version, uint64_t page16, uint64_t p2c, uint64_t c2p)
{
	struct raw r = raw_contact(version);

	put64(&r, 16, page16);
	put64(&r, 24, p2c);
	put64(&r, 32, c2p);
	return r;
}

static void expect_refused(struct bench *t, struct raw r)
{
	uint32_t v = get32(r.b, 8);
	struct raw answer = raw_version_failed(v < 0x50000 ? v : 1);

	if (v < 0x20004)
		put8(&answer, 8, 0);
	if (v >= 0x60000)
		answer.n = 20;
	post(t, r);
	expect_post(t, answer);
	expect_none(t);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_DISCONNECTED);
}

static void ctl_026_one_monitor_page_is_refused(void **state)
{
	struct bench *t = *state;

	for (size_t i = 0; i < VERSIONS; i++) {
		expect_refused(t, with_pages(versions[i], 0, 0, 0x5000));
		expect_refused(t, with_pages(versions[i], 0, 0x5000, 0));
	}
	post(t, with_pages(GOOD, 0, 0x4000, 0x5000));
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.monitor_parent_to_child, 0x4000);
	assert_int_equal(t->a.connect.monitor_child_to_parent, 0x5000);
	expect_none(t);
}

static void ctl_027_bad_pages_are_refused(void **state)
{
	struct bench *t = *state;
	struct raw r = with_pages(0x10001, 0x7000, 0, 0);

	expect_refused(t, with_pages(GOOD, 0, 0x4001, 0x5000));
	expect_refused(t, with_pages(GOOD, 0, 0x4000, 0x5800));
	expect_refused(t, with_pages(0x0000d, 0x7008, 0, 0));
	expect_refused(t, with_pages(0x10001, 1, 0, 0));
	/* From 2.4 on the interrupt page is not looked at. */
	post(t, with_pages(0x20004, 0x7008, 0, 0));
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.interrupt_page, 0);
	/* Unmapped: the owner says so. */
	vmbus_server_connect_done(t->s, false);
	expect_post(t, raw_version_failed(0x20004));
	expect_none(t);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_DISCONNECTED);
	post(t, r);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.interrupt_page, 0x7000);
	vmbus_server_connect_done(t->s, false);
	r = raw_version_failed(0x10001);
	put8(&r, 8, 0);
	expect_post(t, r);
	expect_none(t);
}

static void ctl_028_before_contact_nothing_else_is_heard(void **state)
{
	struct bench *t = *state;

	offer(t, 0);
	for (size_t i = 0; i < sizeof(client_types); i++) {
		if (client_types[i] == 14 || client_types[i] == 19)
			continue;
		assert_dropped(t, raw(client_types[i], 240), dropped_state);
	}
	/* Nor while the contact is being answered. */
	post(t, raw_contact(GOOD));
	expect(t, VMBUS_SERVER_CONNECT);
	for (size_t i = 0; i < sizeof(client_types); i++) {
		if (client_types[i] == 14 || client_types[i] == 19)
			continue;
		assert_dropped(t, raw(client_types[i], 240), dropped_state);
	}
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	expect_none(t);
}

static void ctl_029_a_second_contact_tears_down_and_is_answered(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	open_channel(t, 0);
	make_gpadl(t, 1, 55, 3);
	post(t, raw_contact(0x40000));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 1);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_DISCONNECTING);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	vmbus_server_gpadl_released(t->s, t->offer[1], 55);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.version, 0x40000);
	expect_none(t);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(0x40000));
	request_offers(t, 2);
	open_channel(t, 0);
}

static void ctl_030_so_does_one_with_an_unsupported_version(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw_contact(0x50004));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(15, 16));
	expect_none(t);
	assert_int_equal(vmbus_server_state(t->s), VMBUS_SERVER_STATE_DISCONNECTED);
	assert_dropped(t, raw(3, 8), dropped_state);
}

static void ctl_031_two_contacts_in_a_row_get_two_answers(void **state)
{
	struct bench *t = *state;
	struct raw second = raw_contact(0x50002);

	put32(&second, 12, 4);
	post(t, raw_contact(GOOD));
	post(t, raw_contact(0x40001)); /* superseded before its turn */
	post(t, second);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.version, GOOD);
	expect_none(t);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.version, 0x50002);
	expect_none(t);
	vmbus_server_connect_done(t->s, true);
	expect_post_vp(t, 4, raw_version_ok(1));
	expect_none(t);
	assert_int_equal(vmbus_server_version(t->s), 0x50002);
	/* The first one fails: the second is processed all the same. */
	bench_restart(t);
	post(t, raw_contact(GOOD));
	post(t, second);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, false);
	expect_post(t, raw_version_failed(1));
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.version, 0x50002);
	expect_none(t);
}

/* ---- unload and reset ---- */

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

static void ctl_084_newer_and_ungranted_messages_are_dropped(void **state)
{
	struct bench *t = *state;
	static const struct {
		uint32_t type, version, features;
	} gates[] = {{18, 0x40000, 0}, {21, 0x40000, 0},    {22, 0x40001, 0},
		     {25, 0x60000, 4}, {27, 0x60000, 0x20}, {29, 0x60000, 0x20}};

	for (size_t i = 0; i < sizeof(gates) / sizeof(gates[0]); i++) {
		for (size_t v = 0; v < VERSIONS; v++) {
			uint32_t others = 0x27 & ~gates[i].features;

			if (versions[v] >= gates[i].version && !gates[i].features)
				continue;
			bench_restart(t);
			connect_with(t, versions[v], versions[v] == 0x60000 ? others : 0, 1);
			assert_dropped(t, raw(gates[i].type, 240), dropped_version);
		}
	}
}

static void an_owner_that_takes_no_actions_is_not_buried(void **state)
{
	struct bench *t = *state;
	size_t before;
	int answers = 0;

	connect_with(t, GOOD, 0, 1);
	assert_true(vmbus_server_ready(t->s));
	before = t->heap.peak;
	for (int i = 0; i < 1000; i++)
		post(t, raw_gpadl_teardown(1, 1)); /* dropped: costs nothing */
	assert_true(vmbus_server_ready(t->s));
	for (int i = 0; i < 1000; i++)
		post(t, raw_header(9, 1, 2, 0)); /* each is answered with a failure */
	assert_false(vmbus_server_ready(t->s));
	assert_int_equal(t->heap.peak, before);
	while (vmbus_server_next_action(t->s, &t->a)) {
		assert_int_equal(t->a.type, VMBUS_SERVER_POST);
		answers++;
	}
	assert_true(answers > 10 && answers < 1000);
	assert_int_equal(vmbus_server_statistics(t->s)->dropped_busy, 1000 - answers);
	assert_true(vmbus_server_ready(t->s));
	make_gpadl(t, 0, 1, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_001_under_eight_bytes_is_dropped),
		T(ctl_002_under_its_least_size_is_dropped),
		T(ctl_003_excess_is_ignored),
		T(ctl_004_unknown_type_is_dropped),
		T(ctl_005_field_001_a_hosts_own_message_is_dropped),
		T(ctl_006_messages_have_their_exact_size),
		T(ctl_013_015_016_017_every_version_is_granted_as_asked),
		T(ctl_014_an_unknown_or_disabled_version_is_refused),
		T(ctl_017_019_021_features_are_what_both_have),
		T(ctl_018_server_monitor_pages_are_told_in_forty_bytes),
		T(ctl_020_client_id_needs_its_bytes),
		T(ctl_022_on_the_old_port_the_sint_byte_means_nothing),
		T(ctl_023_a_foreign_sint_is_answered_there_and_changes_nothing),
		T(ctl_024_a_vtl_nobody_serves_is_dropped),
		T(ctl_025_target_vp_counts_from_3_0),
		T(ctl_026_one_monitor_page_is_refused),
		T(ctl_027_bad_pages_are_refused),
		T(ctl_028_before_contact_nothing_else_is_heard),
		T(ctl_029_a_second_contact_tears_down_and_is_answered),
		T(ctl_030_so_does_one_with_an_unsupported_version),
		T(ctl_031_two_contacts_in_a_row_get_two_answers),
		T(ctl_084_newer_and_ungranted_messages_are_dropped),
		T(ctl_099_unload_with_everything_closed),
		T(ctl_100_unload_waits_for_devices_and_gpadls),
		T(ctl_101_unload_during_an_open),
		T(ctl_102_field_003_unload_forgets_half_a_gpadl),
		T(ctl_103_a_second_unload_is_dropped),
		T(ctl_104_a_contact_replaces_an_unload),
		T(ctl_105_field_005_reset_does_not_wait_for_an_open),
		T(field_005_reset_again_while_the_device_lags),
		T(reset_drops_messages_and_keeps_what_devices_must_hear),
		T(reset_while_connecting_ignores_the_late_answer),
		T(ctl_107_pause_is_silence_and_resume_keeps_the_order),
		T(ctl_108_while_paused_only_three_messages_count),
		T(ctl_109_modify_connection_fails_once_each_time),
		T(a_modify_connection_dies_with_its_connection),
		T(ctl_110_a_short_socket_request_has_no_silo),
		T(ctl_111_a_refused_socket_is_told_from_4_1),
		T(socket_requests_are_bounded_and_die_with_their_connection),
		T(an_owner_that_takes_no_actions_is_not_buried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
