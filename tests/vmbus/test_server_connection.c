/* SPDX-License-Identifier: MIT */
/* Framing and negotiation at the server. */
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
		T(an_owner_that_takes_no_actions_is_not_buried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
