/* SPDX-License-Identifier: MIT */
/* The client's connection and offers against a host made of bytes, friendly or not. */
#include "guest.h"

/* ---- connecting ---- */

static void ctl_032_unsupported_versions_are_stepped_down(void **state)
{
	struct guest *g = *state;
	static const uint32_t versions[] = {0x60000, 0x50003, 0x50002, 0x50001, 0x50000, 0x40001,
					    0x40000, 0x30000, 0x20004, 0x10001, 0x0000d};

	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_E_STATE);
	for (size_t i = 0; i < 11; i++) {
		posted(g, versions[i] >= 0x50000 ? 4 : 1, contact_of(versions[i], 0));
		none(g);
		host(g, raw(15, 16));
	}
	take(g, VMBUS_CLIENT_CONNECT_FAILED);
	none(g);
	assert_int_equal(vmbus_client_state(g->c), VMBUS_CLIENT_STATE_DISCONNECTED);
	/* Within limits, and again after a failure. */
	g->config.max_version = 0x50004;
	g->config.min_version = 0x50003;
	guest_restart(g);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
		posted(g, 4, contact_of(0x50003, 0));
		host(g, raw(15, 16));
		take(g, VMBUS_CLIENT_CONNECT_FAILED);
		none(g);
	}
}

static void ctl_033_an_invalid_port_steps_down_without_retry(void **state)
{
	struct guest *g = *state;

	g->config.max_version = 0x50000;
	guest_restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, 4, contact_of(0x50000, 0));
	vmbus_client_post_failed(g->c, 19); /* insufficient buffers: the owner retries that one */
	none(g);
	vmbus_client_post_failed(g->c, 18);
	posted(g, 1, contact_of(0x40001, 0));
	none(g);
	host(g, raw_version_ok(0x40001));
	posted(g, 1, raw(3, 8));
	take(g, VMBUS_CLIENT_CONNECTED);
	vmbus_client_post_failed(g->c, 18); /* no contact is out */
	none(g);
	assert_int_equal(vmbus_client_version(g->c), 0x40001);
}

static void ctl_034_later_messages_use_the_returned_port(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch;

	connect_at(g, 0x50000); /* 9, checked for REQUEST_OFFERS there */
	ch = offered(g, 0, 1);
	announced(g, ch, 1);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	posted(g, 9, raw(16, 8));
	connect_at(g, 0x40001);
	ch = offered(g, 0, 1);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	posted(g, 1, raw(16, 8));
	/* A port of the owner's choosing is for the contact. */
	g->config.contact_connection_id = 0x800074;
	g->config.max_version = GOOD;
	guest_restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, 0x800074, contact_of(GOOD, 0));
	host(g, raw_version_ok(0x123));
	posted(g, 0x123, raw(3, 8));
}

static void ctl_035_a_failed_contact_is_final(void **state)
{
	struct guest *g = *state;
	static const uint32_t versions[] = {0x60000, 0x50003, 0x40001, 0x20004};

	for (size_t i = 0; i < 4; i++) {
		g->config.max_version = versions[i];
		guest_restart(g);
		assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
		take(g, VMBUS_CLIENT_POST);
		host(g, raw_version_failed(1));
		take(g, VMBUS_CLIENT_CONNECT_FAILED);
		none(g);
		assert_int_equal(vmbus_client_state(g->c), VMBUS_CLIENT_STATE_DISCONNECTED);
	}
	/* Older hosts leave garbage there. */
	g->config.max_version = 0x10001;
	guest_restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	host(g, raw_version_failed(0x10001));
	posted(g, 1, raw(3, 8));
	take(g, VMBUS_CLIENT_CONNECTED);
}

static void ctl_036_stray_messages_are_ignored(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch;

	ignored(g, raw_version_ok(1));
	ignored(g, raw_offer(0, 1));
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	ignored(g, raw_offer(0, 1));
	ignored(g, raw(17, 8));
	ignored(g, raw_torndown(0xe1e10));
	ignored(g, raw(4, 8));
	ignored(g, rescind(1));
	host(g, raw_version_ok(9));
	posted(g, 9, raw(3, 8));
	take(g, VMBUS_CLIENT_CONNECTED);
	ignored(g, raw_version_ok(9));
	ignored(g, raw(15, 16));
	ch = offered(g, 0, 1);
	host(g, raw(4, 8));
	take(g, VMBUS_CLIENT_OFFERS_DELIVERED);
	ignored(g, raw(4, 8));
	ignored(g, raw_version_ok(9));
	ignored(g, raw(15, 16));
	created(g, ch, 1);
}

static void ctl_037_features_are_those_asked_for_and_granted(void **state)
{
	struct guest *g = *state;

	assert_int_equal(features_after(g, 0x27, response6(16, 0, 0, 0)), 0);
	assert_int_equal(features_after(g, 0x27, response6(20, 0xffffffff, 0, 0)), 0x27);
	assert_int_equal(features_after(g, 0x27, response6(20, 0x21, 0, 0)), 0x21);
	assert_int_equal(features_after(g, 0x47, response6(40, 0x40, 0x1000, 0x2000)), 0x40);
	/* Monitor pages promised and not given. */
	assert_int_equal(features_after(g, 0x47, response6(20, 0x41, 0, 0)), 0x01);
	assert_int_equal(features_after(g, 0x47, response6(40, 0x41, 0x1000, 0)), 0x01);
	/* Below 6.0 the bytes mean nothing. */
	g->config.max_version = GOOD;
	g->config.features = 0xff;
	guest_restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, 4, contact_of(GOOD, 0));
	host(g, response6(40, 0xff, 0x1000, 0x2000));
	posted(g, 9, raw(3, 8));
	assert_int_equal(take(g, VMBUS_CLIENT_CONNECTED)->connected.features, 0);
}

static void the_hosts_monitor_pages_replace_our_own(void **state)
{
	struct guest *g = *state;

	g->config.monitor_parent_to_child = 0x5000;
	g->config.monitor_child_to_parent = 0x6000;
	for (int granted = 0; granted < 2; granted++) {
		struct raw want = contact_of(0x60000, 0x40);

		put64(&want, 24, 0x5000);
		put64(&want, 32, 0x6000);
		g->config.features = 0x40;
		guest_restart(g);
		assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
		posted(g, 4, want);
		host(g, granted ? response6(40, 0x40, 0, 0x2000) : response6(20, 0, 0, 0));
		posted(g, 9, raw(3, 8));
		take(g, VMBUS_CLIENT_CONNECTED);
		assert_int_equal(g->a.connected.monitor_parent_to_child, granted ? 0 : 0x5000);
		assert_int_equal(g->a.connected.monitor_child_to_parent, granted ? 0x2000 : 0x6000);
	}
}

static struct raw pages(uint64_t p2c, uint64_t c2p)
{
	struct raw r = raw(25, 24);

	put64(&r, 8, p2c);
	put64(&r, 16, c2p);
	return r;
}

static struct raw pages_answer(uint8_t state)
{
	struct raw r = raw(26, 9);

	put8(&r, 8, state);
	return r;
}

static void connected_with(struct guest *g, uint32_t features)
{
	g->config.features = features;
	guest_restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	host(g,
	     features & 0x40 ? response6(40, features, 0, 0x2000) : response6(20, features, 0, 0));
	posted(g, 9, raw(3, 8));
	take(g, VMBUS_CLIENT_CONNECTED);
}

static void ctl_109_the_client_replaces_its_monitor_pages(void **state)
{
	struct guest *g = *state;
	struct raw want = contact_of(0x60000, 0x04);

	connected_with(g, 0x04);
	assert_int_equal(vmbus_client_modify_connection(g->c, 0x1000, 0), VMBUS_E_INVALID);
	assert_int_equal(vmbus_client_modify_connection(g->c, 0x1000, 0x2800), VMBUS_E_INVALID);
	ignored(g, pages_answer(0)); /* nobody asked */
	assert_int_equal(vmbus_client_modify_connection(g->c, 0x1000, 0x2000), VMBUS_OK);
	posted(g, 9, pages(0x1000, 0x2000));
	assert_int_equal(vmbus_client_modify_connection(g->c, 0x3000, 0x4000), VMBUS_E_STATE);
	host(g, pages_answer(2));
	assert_int_equal(take(g, VMBUS_CLIENT_CONNECTION_MODIFIED)->status, 0x8000ffff);
	ignored(g, pages_answer(0)); /* one answer each */
	assert_int_equal(vmbus_client_modify_connection(g->c, 0x5000, 0x6000), VMBUS_OK);
	posted(g, 9, pages(0x5000, 0x6000));
	host(g, pages_answer(0));
	assert_int_equal(take(g, VMBUS_CLIENT_CONNECTION_MODIFIED)->status, 0);
	assert_int_equal(vmbus_client_modify_connection(g->c, 0x7000, 0x8000), VMBUS_OK);
	posted(g, 9, pages(0x7000, 0x8000));
	/* The connection's end is an answer too. The next one announces what the host last took. */
	vmbus_client_lost(g->c);
	assert_int_equal(take(g, VMBUS_CLIENT_CONNECTION_MODIFIED)->status, GONE);
	none(g);
	assert_int_equal(vmbus_client_modify_connection(g->c, 0, 0), VMBUS_E_STATE);
	put64(&want, 24, 0x5000);
	put64(&want, 32, 0x6000);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, 4, want);
}

static void monitor_pages_are_replaced_where_that_is_possible(void **state)
{
	static const uint32_t features[] = {0, 0x40, 0x44, 0xb3};
	struct guest *g = *state;

	for (size_t i = 0; i < 4; i++) {
		connected_with(g, features[i]);
		assert_int_equal(vmbus_client_modify_connection(g->c, 0x1000, 0x2000),
				 VMBUS_E_STATE);
		none(g);
	}
	connected_with(g, 0x04);
	assert_int_equal(vmbus_client_modify_connection(g->c, 0, 0), VMBUS_OK);
	posted(g, 9, pages(0, 0));
}

static void a_vtl_is_told_from_5_1(void **state)
{
	static const uint32_t versions[] = {0x50000, 0x50001, 0x50003, 0x60000};
	struct guest *g = *state;

	for (size_t i = 0; i < 4; i++) {
		struct raw want = contact_of(versions[i], 0);

		g->config.vtl = 2;
		g->config.max_version = versions[i];
		guest_restart(g);
		put8(&want, 17, i ? 2 : 0);
		assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
		posted(g, 4, want);
	}
}

static void ctl_010_foreign_unknown_and_misshapen_messages(void **state)
{
	struct guest *g = *state;
	static const uint8_t ours[] = {3, 5, 7, 8, 9, 11, 13, 14, 16, 18, 19, 21, 22, 25, 27, 29};
	static const uint8_t sizes[][2] = {{1, 196}, {2, 12},  {4, 8},   {6, 20},
					   {10, 20}, {12, 12}, {24, 16}, {20, 12}};
	vmbus_channel_id ch = one_channel(g);

	for (size_t i = 0; i < sizeof(ours); i++)
		ignored(g, raw(ours[i], 240));
	ignored(g, raw(0, 240));
	ignored(g, raw(30, 240));
	ignored(g, raw(0xffffffff, 240));
	for (size_t i = 0; i < 8; i++) {
		struct raw r = raw_one(sizes[i][0], sizes[i][1], 1);

		for (size_t n = 0; n < sizes[i][1]; n += 3) {
			r.n = n;
			ignored(g, r);
		}
		r.n = sizes[i][1] - 1u;
		ignored(g, r);
		r.n = 241;
		ignored(g, r);
	}
	/* Answers to what is never asked, at any length. */
	ignored(g, raw(20, 240));
	ignored(g, raw(23, 240));
	ignored(g, raw(26, 240));
	ignored(g, raw(28, 240));
	created(g, ch, 1);
}

/* ---- offers ---- */

static void ctl_047_field_024_bad_offers_are_ignored(void **state)
{
	struct guest *g = *state;
	static const uint32_t bad[] = {0, 2048, 4096, 0x10001, 0xffffffff};
	vmbus_channel_id ch = one_channel(g);

	for (size_t i = 0; i < 5; i++)
		ignored(g, raw_offer(1, bad[i]));
	ignored(g, raw_offer(1, 1)); /* live */
	assert_int_equal(vmbus_client_statistics(g->c)->ignored_offers, 6);
	opened(g, ch, 1);
	ignored(g, raw_offer(1, 1));
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	ignored(g, raw_offer(1, 1)); /* rescinded, and not released */
	offered(g, 1, 2047);
}

static void ctl_048_impossible_monitor_ids_are_none(void **state)
{
	struct guest *g = *state;
	static const struct {
		uint8_t id, allocated;
		bool monitored;
	} cases[] = {{0, 1, true},  {127, 1, true},  {128, 1, false}, {255, 1, false},
		     {5, 0, false}, {255, 0, false}, {5, 0xfe, false}};

	connect_at(g, GOOD);
	for (uint32_t i = 0; i < 7; i++) {
		struct raw r = raw_offer(0, i + 1);

		put8(&r, 188, cases[i].id);
		put8(&r, 189, cases[i].allocated);
		host(g, r);
		take(g, VMBUS_CLIENT_OFFER);
		assert_int_equal(g->a.offer.monitored, cases[i].monitored);
		assert_int_equal(g->a.offer.monitor_id, cases[i].monitored ? cases[i].id : 0xff);
	}
}

static void an_offer_is_copied_as_its_version_defines_it(void **state)
{
	struct guest *g = *state;
	struct raw r = raw_offer(2, 40);

	put16(&r, 56, 0x2011);
	put16(&r, 180, 3);
	put16(&r, 182, 12);
	connect_at(g, GOOD);
	host(g, r);
	take(g, VMBUS_CLIENT_OFFER);
	assert_int_equal(g->a.offer.interface_id.b[0], 3);
	assert_int_equal(g->a.offer.instance_id.b[15], 3);
	assert_int_equal(g->a.offer.flags, 0x2011);
	assert_int_equal(g->a.offer.mmio_megabytes, 8);
	assert_int_equal(g->a.offer.mmio_megabytes_optional, 12);
	assert_memory_equal(g->a.offer.user_data, r.b + 60, 120);
	assert_int_equal(g->a.offer.subchannel, 3);
	assert_true(g->a.offer.dedicated_interrupt);
	assert_int_equal(g->a.offer.connection_id, 0x2028);
	connect_at(g, 0x10001);
	host(g, r);
	take(g, VMBUS_CLIENT_OFFER);
	assert_int_equal(g->a.offer.subchannel, 0);
	assert_int_equal(g->a.offer.connection_id, 0x2028);
	connect_at(g, 0x0000d);
	host(g, r);
	take(g, VMBUS_CLIENT_OFFER);
	assert_false(g->a.offer.dedicated_interrupt);
	assert_int_equal(g->a.offer.connection_id, 2);
}

static void offers_that_do_not_fit_are_handed_back(void **state)
{
	struct guest *g = *state;

	g->config.limits.channels = 2;
	connect_at(g, GOOD);
	offered(g, 0, 1);
	offered(g, 1, 2);
	host(g, raw_offer(2, 3));
	posted(g, 9, released(3));
	none(g);
	g->config.limits.channels = 0;
	connect_at(g, GOOD);
	g->heap.allowed = 0;
	host(g, raw_offer(2, 3));
	g->heap.allowed = SIZE_MAX;
	posted(g, 9, released(3));
	none(g);
	assert_int_equal(vmbus_client_statistics(g->c)->released_offers, 1);
	offered(g, 2, 3);
}

static void a_client_without_memory_is_not_made(void **state)
{
	struct guest *g = *state;
	size_t needed, live = g->heap.live;
	struct vmbus_client *c;

	for (needed = 0; needed < 20; needed++) {
		g->heap.allowed = needed;
		c = vmbus_client_create(&g->config);
		g->heap.allowed = SIZE_MAX;
		if (c)
			break;
		assert_int_equal(g->heap.live, live);
	}
	assert_true(needed > 2 && needed < 20);
	vmbus_client_destroy(c);
	assert_int_equal(g->heap.live, live);
}

#define T(f) cmocka_unit_test_setup_teardown(f, guest_setup, guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_032_unsupported_versions_are_stepped_down),
		T(ctl_033_an_invalid_port_steps_down_without_retry),
		T(ctl_034_later_messages_use_the_returned_port),
		T(ctl_035_a_failed_contact_is_final),
		T(ctl_036_stray_messages_are_ignored),
		T(ctl_037_features_are_those_asked_for_and_granted),
		T(the_hosts_monitor_pages_replace_our_own),
		T(ctl_109_the_client_replaces_its_monitor_pages),
		T(monitor_pages_are_replaced_where_that_is_possible),
		T(a_vtl_is_told_from_5_1),
		T(ctl_010_foreign_unknown_and_misshapen_messages),
		T(ctl_047_field_024_bad_offers_are_ignored),
		T(ctl_048_impossible_monitor_ids_are_none),
		T(an_offer_is_copied_as_its_version_defines_it),
		T(offers_that_do_not_fit_are_handed_back),
		T(a_client_without_memory_is_not_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
