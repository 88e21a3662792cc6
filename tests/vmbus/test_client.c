/* SPDX-License-Identifier: MIT */
/* The client's state machines against a host made of bytes, friendly or not. */
#include <stdlib.h>

#include "control.h"

#define GOOD 0x00050003u
#define GONE VMBUS_STATUS_GONE

struct guest {
	struct heap heap;
	struct vmbus_client_config config;
	struct vmbus_client *c;
	struct vmbus_client_action a;
	char owner;
};

static void restart(struct guest *g)
{
	vmbus_client_destroy(g->c);
	assert_int_equal(g->heap.live, 0);
	g->c = vmbus_client_create(&g->config);
	assert_non_null(g->c);
}

static int setup(void **state)
{
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->heap.allowed = SIZE_MAX;
	g->config.allocator = heap_allocator(&g->heap);
	restart(g);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct guest *g = *state;

	vmbus_client_destroy(g->c);
	if (g->heap.live || g->heap.bytes)
		return -1;
	free(g);
	return 0;
}

static void sound(struct guest *g, int line)
{
	const char *wrong = vmbus_client_check(g->c);

	if (wrong)
		fail_msg("line %d: %s", line, wrong);
}

static void host(struct guest *g, struct raw r)
{
	uint8_t *copy = malloc(r.n ? r.n : 1);

	assert_non_null(copy);
	memcpy(copy, r.b, r.n);
	vmbus_client_receive(g->c, copy, r.n);
	free(copy);
	sound(g, __LINE__);
}

static void none_at(struct guest *g, int line)
{
	sound(g, line);
	if (vmbus_client_next_action(g->c, &g->a))
		fail_msg("line %d: unexpected action %d, message %u", line, g->a.type,
			 get32(g->a.message.data, 0));
}

static struct vmbus_client_action *take_at(struct guest *g, enum vmbus_client_action_type type,
					   int line)
{
	sound(g, line);
	if (!vmbus_client_next_action(g->c, &g->a))
		fail_msg("line %d: no action, %d expected", line, type);
	if (g->a.type != type)
		fail_msg("line %d: action %d, %d expected", line, g->a.type, type);
	return &g->a;
}

static void posted_at(struct guest *g, uint32_t port, struct raw r, int line)
{
	take_at(g, VMBUS_CLIENT_POST, line);
	if (g->a.message.connection_id != port || g->a.message.size != r.n)
		fail_msg("line %d: message %u of %u bytes to %u, not %zu to %u", line,
			 get32(g->a.message.data, 0), g->a.message.size, g->a.message.connection_id,
			 r.n, port);
	for (size_t i = 0; i < r.n; i++) {
		if (g->a.message.data[i] != r.b[i])
			fail_msg("line %d: byte %zu is %02x, not %02x", line, i,
				 g->a.message.data[i], r.b[i]);
	}
}

#define none(g)            none_at(g, __LINE__)
#define take(g, type)      take_at(g, type, __LINE__)
#define posted(g, port, r) posted_at(g, port, r, __LINE__)

static uint64_t ignored_so_far(const struct guest *g)
{
	const struct vmbus_client_stats *n = vmbus_client_statistics(g->c);

	return n->ignored_short + n->ignored_type + n->ignored_state + n->ignored_unknown +
	       n->ignored_offers + n->ignored_busy;
}

/* Without effect, and counted. */
static void ignored(struct guest *g, struct raw r)
{
	enum vmbus_client_state before = vmbus_client_state(g->c);
	uint64_t received = vmbus_client_statistics(g->c)->received;
	uint64_t count = ignored_so_far(g);

	host(g, r);
	none(g);
	assert_int_equal(vmbus_client_state(g->c), before);
	assert_int_equal(ignored_so_far(g), count + 1);
	assert_int_equal(vmbus_client_statistics(g->c)->received, received + 1);
}

static struct raw contact_of(uint32_t version, uint32_t features)
{
	struct raw r = raw_contact(version);

	if (version >= 0x50000)
		put8(&r, 16, 2);
	if (version >= 0x60000)
		put32(&r, 20, features);
	return r;
}

/* Up to the answer to REQUEST_OFFERS; posts go to connection 9 from 5.0 on. */
static void connect_at(struct guest *g, uint32_t version)
{
	g->config.max_version = version;
	restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, version >= 0x50000 ? 4 : 1, contact_of(version, 0));
	none(g);
	host(g, raw_version_ok(version >= 0x50000 ? 9 : version));
	posted(g, version >= 0x50000 ? 9 : 1, raw(3, 8));
	assert_int_equal(take(g, VMBUS_CLIENT_CONNECTED)->connected.version, version);
	none(g);
}

static vmbus_channel_id offered(struct guest *g, int device, uint32_t relid)
{
	host(g, raw_offer(device, relid));
	assert_int_equal(take(g, VMBUS_CLIENT_OFFER)->offer.relid, relid);
	assert_true(g->a.channel != 0 && g->a.offer.channel == g->a.channel);
	vmbus_client_set_owner(g->c, g->a.channel, &g->owner);
	return g->a.channel;
}

static vmbus_channel_id one_channel(struct guest *g)
{
	connect_at(g, GOOD);
	return offered(g, 0, 1);
}

static const uint64_t words[] = {8 * 4096, 0x100, 0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107};

static struct raw header_of(uint32_t relid, uint32_t id)
{
	return raw_header(relid, id, 8, 0x100);
}

static uint32_t announced(struct guest *g, vmbus_channel_id ch, uint32_t relid)
{
	uint32_t id = 0;

	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, words, 9, 1, 0, &id), VMBUS_OK);
	posted(g, 9, header_of(relid, id));
	none(g);
	return id;
}

static void result_at(struct guest *g, enum vmbus_client_action_type type, vmbus_channel_id ch,
		      uint32_t gpadl, uint32_t status, int line)
{
	take_at(g, type, line);
	if (g->a.channel != ch || g->a.owner != &g->owner || g->a.gpadl != gpadl ||
	    g->a.status != status)
		fail_msg("line %d: channel %llx gpadl %x status %x", line,
			 (unsigned long long)g->a.channel, g->a.gpadl, g->a.status);
}
#define result(g, type, ch, gpadl, status) result_at(g, type, ch, gpadl, status, __LINE__)

static uint32_t created(struct guest *g, vmbus_channel_id ch, uint32_t relid)
{
	uint32_t id = announced(g, ch, relid);

	host(g, raw_created(relid, id, 0));
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, id, 0);
	none(g);
	return id;
}

/* OPEN is sent; its open id. */
static uint32_t opening(struct guest *g, vmbus_channel_id ch, uint32_t relid, uint32_t gpadl)
{
	struct vmbus_client_open o = {.ring_gpadl = gpadl, .downstream_page = 4, .target_vp = 3};
	struct raw want;
	uint32_t open_id;

	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	open_id = get32(g->a.message.data, 12);
	want = raw_open(relid, open_id, gpadl, 3, 4);
	assert_int_equal(g->a.message.size, 148);
	assert_memory_equal(g->a.message.data, want.b, 148);
	none(g);
	return open_id;
}

static void opened(struct guest *g, vmbus_channel_id ch, uint32_t relid)
{
	uint32_t open_id = opening(g, ch, relid, created(g, ch, relid));

	host(g, raw_open_result(relid, open_id, 0));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, 0);
	none(g);
}

static struct raw rescind(uint32_t relid)
{
	return raw_one(2, 12, relid);
}

static struct raw released(uint32_t relid)
{
	return raw_one(13, 12, relid);
}

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
	restart(g);
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
	restart(g);
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
	restart(g);
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
		restart(g);
		assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
		take(g, VMBUS_CLIENT_POST);
		host(g, raw_version_failed(1));
		take(g, VMBUS_CLIENT_CONNECT_FAILED);
		none(g);
		assert_int_equal(vmbus_client_state(g->c), VMBUS_CLIENT_STATE_DISCONNECTED);
	}
	/* Older hosts leave garbage there. */
	g->config.max_version = 0x10001;
	restart(g);
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

static struct raw response6(size_t size, uint32_t features, uint64_t p2c, uint64_t c2p)
{
	struct raw r = raw_version_ok(9);

	r.n = size;
	if (size >= 20)
		put32(&r, 16, features);
	if (size >= 40) {
		put64(&r, 24, p2c);
		put64(&r, 32, c2p);
	}
	return r;
}

static uint32_t features_after(struct guest *g, uint32_t asked, struct raw answer)
{
	g->config.max_version = 0x60000;
	g->config.features = asked;
	restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, 4, contact_of(0x60000, asked));
	host(g, answer);
	posted(g, 9, raw(3, 8));
	take(g, VMBUS_CLIENT_CONNECTED);
	none(g);
	assert_int_equal(g->a.type, 0);
	return vmbus_client_features(g->c);
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
	restart(g);
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
		restart(g);
		assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
		posted(g, 4, want);
		host(g, granted ? response6(40, 0x40, 0, 0x2000) : response6(20, 0, 0, 0));
		posted(g, 9, raw(3, 8));
		take(g, VMBUS_CLIENT_CONNECTED);
		assert_int_equal(g->a.connected.monitor_parent_to_child, granted ? 0 : 0x5000);
		assert_int_equal(g->a.connected.monitor_child_to_parent, granted ? 0x2000 : 0x6000);
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

/* ---- GPADLs ---- */

static void ctl_066_gpadl_ids_are_unique_and_never_zero(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id a, b;
	uint32_t kept, id, last = 0;

	g->config.first_gpadl_id = 0xffffe;
	connect_at(g, GOOD);
	a = offered(g, 0, 1);
	b = offered(g, 1, 2);
	kept = announced(g, a, 1);
	assert_int_equal(kept, 0xffffe);
	assert_int_equal(announced(g, b, 2), 0xfffff);
	assert_int_equal(announced(g, a, 1), 1); /* not 0x100000, not 0 */
	assert_int_equal(vmbus_client_gpadl_create(g->c, a, words, 9, 1, 0x52f, &id), VMBUS_OK);
	assert_int_equal(id, 0x52f00002);
	posted(g, 9, header_of(1, id));
	/* A whole turn of the counter does not come upon an id that is still live. */
	for (uint32_t i = 0; i < 1u << 20; i++) {
		assert_int_equal(vmbus_client_gpadl_create(g->c, b, words, 9, 1, 0, &id), VMBUS_OK);
		assert_true(id != 0 && id != kept && id <= 0xfffff && id != last);
		last = id;
		assert_true(vmbus_client_next_action(g->c, &g->a));
		vmbus_client_receive(g->c, raw_created(2, id, 1).b, 20);
		assert_true(vmbus_client_next_action(g->c, &g->a));
	}
	none(g);
}

static void ctl_067_answers_nobody_waits_for_are_ignored(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), other = offered(g, 1, 2);
	uint32_t id = announced(g, ch, 1);

	(void)other;
	ignored(g, raw_created(1, id + 1, 0));
	ignored(g, raw_created(2, id, 0)); /* the wrong channel */
	ignored(g, raw_created(0, id, 0));
	ignored(g, raw_created(2048, id, 0));
	ignored(g, raw_torndown(id));
	host(g, raw_created(1, id, 0));
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, id, 0);
	ignored(g, raw_created(1, id, 0));
	ignored(g, raw_created(1, id, 0x8000ffff));
	ignored(g, raw_torndown(id));
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, id), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, id));
	ignored(g, raw_created(1, id, 0));
	ignored(g, raw_torndown(0));
	host(g, raw_torndown(id));
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, id, 0);
	ignored(g, raw_torndown(id));
	none(g);
}

static void ctl_068_memory_comes_back_three_ways(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t a = created(g, ch, 1), b = created(g, ch, 1);

	/* TORNDOWN, and nothing before it. */
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, a), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, a));
	none(g);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, a), VMBUS_E_STATE);
	host(g, raw_torndown(a));
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, a, 0);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, a), VMBUS_E_NOT_FOUND);
	/* A rescind, while the teardown is out. */
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, b), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, b));
	none(g);
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, b, 0);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	none(g);
	/* The end of the connection, when the host has said so and not before. */
	ch = one_channel(g);
	a = created(g, ch, 1);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, a), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, a));
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	posted(g, 9, raw(16, 8));
	none(g);
	host(g, raw(17, 8));
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, a, 0);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	take(g, VMBUS_CLIENT_UNLOADED);
	none(g);
}

static void a_long_gpadl_is_cut_into_messages(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint64_t *list = calloc(8191, sizeof(*list));
	uint32_t id;

	assert_non_null(list);
	for (uint32_t pages = 25; pages <= 8190; pages = pages < 84 ? pages + 1 : pages + 2702) {
		list[0] = pages * 4096;
		for (uint32_t i = 0; i < pages; i++)
			list[1 + i] = 0x7000 + i;
		assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, pages + 1, 1, 0, &id),
				 VMBUS_OK);
		posted(g, 9, raw_header(1, id, pages, 0x7000));
		for (uint32_t sent = 26; sent < pages; sent += 28)
			posted(g, 9, raw_body(id, pages, 0x7000, sent));
		none(g);
	}
	/* What cannot be said is not said. */
	list[0] = 8191 * 4096;
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 8192, 1, 0, &id),
			 VMBUS_E_INVALID);
	list[0] = 0;
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 2, 1, 0, &id), VMBUS_E_INVALID);
	list[0] = 4096;
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 3, 1, 0, &id), VMBUS_E_INVALID);
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 2, 0, 0, &id), VMBUS_E_INVALID);
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 2, 1, 0x1000, &id),
			 VMBUS_E_INVALID);
	none(g);
	free(list);
}

static void a_refused_gpadl_is_forgotten(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t id = announced(g, ch, 1);

	host(g, raw_created(1, id, 0x8000ffff));
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, id, 0x8000ffff);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, id), VMBUS_E_NOT_FOUND);
	g->config.limits.gpadls = 1;
	ch = one_channel(g);
	created(g, ch, 1);
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, words, 9, 1, 0, &id), VMBUS_E_LIMIT);
	none(g);
}

/* ---- open, close, modify ---- */

static void ctl_089_open_results_that_do_not_fit_are_ignored(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), other = offered(g, 1, 2);
	uint32_t gpadl = created(g, ch, 1), first, second;

	(void)other;
	ignored(g, raw_open_result(1, 0, 0));
	ignored(g, raw_open_result(7, 0, 0));
	first = opening(g, ch, 1, gpadl);
	ignored(g, raw_open_result(1, first + 1, 0));
	ignored(g, raw_open_result(1, 0, 0));
	ignored(g, raw_open_result(2, first, 0));
	ignored(g, raw_open_result(0xffff, first, 0));
	host(g, raw_open_result(1, first, 0xc0000001));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, 0xc0000001);
	second = opening(g, ch, 1, gpadl);
	assert_true(first != second);
	ignored(g, raw_open_result(1, first, 0)); /* the first open's, late */
	host(g, raw_open_result(1, second, 0));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, 0);
	ignored(g, raw_open_result(1, second, 0));
	ignored(g, raw_open_result(1, second, 1));
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
	posted(g, 9, raw_one(7, 12, 1));
	ignored(g, raw_open_result(1, second, 0));
}

static void requests_in_the_wrong_state_are_refused(void **state)
{
	struct guest *g = *state;
	struct vmbus_client_open o = {.ring_gpadl = 1};
	vmbus_channel_id ch = one_channel(g);
	uint32_t gpadl, open_id;

	assert_int_equal(vmbus_client_open(g->c, ch + 0x10000, &o), VMBUS_E_NOT_FOUND);
	assert_int_equal(vmbus_client_open(g->c, 0, &o), VMBUS_E_NOT_FOUND);
	assert_int_equal(vmbus_client_open(g->c, 0xffff, &o), VMBUS_E_NOT_FOUND);
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_INVALID); /* no such ring */
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
	assert_int_equal(vmbus_client_modify(g->c, ch, 0), VMBUS_E_STATE);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_E_STATE);
	none(g);
	gpadl = announced(g, ch, 1);
	o.ring_gpadl = gpadl;
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_INVALID); /* not created yet */
	host(g, raw_created(1, gpadl, 0));
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, gpadl, 0);
	open_id = opening(g, ch, 1, gpadl);
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_STATE);
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_E_STATE);
	host(g, raw_open_result(1, open_id, 0));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, 0);
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_STATE);
	assert_int_equal(vmbus_client_modify(g->c, ch, 0xffffffff), VMBUS_E_INVALID);
	none(g);
}

static void the_long_open_is_for_who_agreed_on_it(void **state)
{
	struct guest *g = *state;
	static const uint32_t features[] = {0, 1, 2, 3};

	for (size_t i = 0; i < 4; i++) {
		struct vmbus_client_open o = {.downstream_page = 4,
					      .connection_id = 0x9000,
					      .event_flag = 77,
					      .open_flags = 1};
		vmbus_channel_id ch;
		uint32_t f = features[i];

		assert_int_equal(features_after(g, 3, response6(20, f, 0, 0)), f);
		ch = offered(g, 0, 1);
		o.ring_gpadl = created(g, ch, 1);
		assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_OK);
		take(g, VMBUS_CLIENT_POST);
		assert_int_equal(g->a.message.size, f ? 156 : 148);
		assert_int_equal(get32(g->a.message.data, 148), f & 1 ? 0x9000 : 0);
		assert_int_equal(get32(g->a.message.data, 152),
				 (f & 1 ? 77u : 0) | (f & 2 ? 1u << 16 : 0));
	}
}

static void modify_is_answered_from_5_3(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);

	opened(g, ch, 1);
	ignored(g, raw_modify_response(1, 0));
	assert_int_equal(vmbus_client_modify(g->c, ch, 6), VMBUS_OK);
	posted(g, 9, raw_modify(1, 6));
	none(g);
	assert_int_equal(vmbus_client_modify(g->c, ch, 7), VMBUS_E_STATE);
	ignored(g, raw_modify_response(2, 0));
	host(g, raw_modify_response(1, 0x8000ffff));
	result(g, VMBUS_CLIENT_MODIFY_RESULT, ch, 0, 0x8000ffff);
	ignored(g, raw_modify_response(1, 0));
	connect_at(g, 0x50002);
	ch = offered(g, 0, 1);
	opened(g, ch, 1);
	assert_int_equal(vmbus_client_modify(g->c, ch, 6), VMBUS_OK);
	posted(g, 9, raw_modify(1, 6));
	result(g, VMBUS_CLIENT_MODIFY_RESULT, ch, 0, 0);
	none(g);
}

/* ---- rescind, release, unload ---- */

static void ctl_097_a_rescind_ends_every_request_and_is_released_once(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t ring = created(g, ch, 1), creating, deleting = created(g, ch, 1);

	opening(g, ch, 1, ring);
	creating = announced(g, ch, 1);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, deleting), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, deleting));
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, GONE);
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, deleting, 0);
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, creating, GONE);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	none(g);
	/* Nothing more can be asked of it. */
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, ring), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
	assert_int_equal(vmbus_client_modify(g->c, ch, 0), VMBUS_E_GONE);
	none(g);
	/* The host answers what crossed its rescind. */
	host(g, raw_torndown(deleting));
	host(g, raw_created(1, creating, 0));
	none(g);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	posted(g, 9, released(1));
	none(g);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_E_NOT_FOUND);
	ignored(g, rescind(1));
}

static void ctl_098_rescinds_of_nothing_are_ignored(void **state)
{
	struct guest *g = *state;
	static const uint32_t ids[] = {0, 2, 2047, 2048, 0x10001, 0xffffffff};
	vmbus_channel_id ch = one_channel(g);

	for (size_t i = 0; i < 6; i++)
		ignored(g, rescind(ids[i]));
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	ignored(g, rescind(1));
	ignored(g, rescind(1));
	none(g);
}

static void field_012_the_id_is_kept_while_answers_are_owed(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t creating, deleting;

	opened(g, ch, 1);
	deleting = created(g, ch, 1);
	creating = announced(g, ch, 1);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, deleting), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, deleting));
	assert_int_equal(vmbus_client_modify(g->c, ch, 2), VMBUS_OK);
	posted(g, 9, raw_modify(1, 2));
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_MODIFY_RESULT, ch, 0, GONE);
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, deleting, 0);
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, creating, GONE);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	none(g);
	ignored(g, raw_offer(1, 1));
	host(g, raw_modify_response(1, 0));
	none(g);
	host(g, raw_created(1, creating, 0));
	none(g);
	ignored(g, raw_created(1, creating, 0));
	host(g, raw_torndown(deleting));
	posted(g, 9, released(1));
	none(g);
	offered(g, 1, 1);
}

/* Each kind of answer, as the last one owed. */
static void field_012_whichever_answer_comes_last(void **state)
{
	struct guest *g = *state;

	for (int last = 0; last < 3; last++) {
		vmbus_channel_id ch = one_channel(g);
		uint32_t id = 0;

		opened(g, ch, 1);
		if (last == 0) {
			assert_int_equal(vmbus_client_modify(g->c, ch, 2), VMBUS_OK);
		} else if (last == 1) {
			assert_int_equal(vmbus_client_gpadl_create(g->c, ch, words, 9, 1, 0, &id),
					 VMBUS_OK);
		} else {
			id = created(g, ch, 1);
			assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, id), VMBUS_OK);
		}
		take(g, VMBUS_CLIENT_POST);
		host(g, rescind(1));
		assert_true(vmbus_client_next_action(g->c, &g->a));
		result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
		assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
		none(g);
		host(g, last == 0   ? raw_modify_response(1, 0)
			: last == 1 ? raw_created(1, id, 0)
				    : raw_torndown(id));
		posted(g, 9, released(1));
		none(g);
	}
}

static void the_highest_channel_id_is_one_like_others(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch;

	connect_at(g, GOOD);
	ch = offered(g, 0, 2047);
	opened(g, ch, 2047);
	host(g, rescind(2047));
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	posted(g, 9, released(2047));
}

static void an_owner_that_takes_no_actions_is_not_buried(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint64_t words_of_300[301] = {300 * 4096};
	size_t peak;
	int rounds = 0;
	uint32_t id;

	/* Its own requests stop at a bound, */
	while (vmbus_client_gpadl_create(g->c, ch, words_of_300, 301, 1, 0, &id) == VMBUS_OK)
		assert_true(++rounds < 1000);
	assert_true(rounds > 100);
	peak = g->heap.peak;
	/* and the host's messages as well. */
	for (uint32_t n = 0; n < 100000; n++)
		vmbus_client_receive(g->c, raw_created(1, 0xe1e10 + n % 1000, 1).b, 20);
	for (uint32_t n = 2; n < 2048; n++)
		vmbus_client_receive(g->c, raw_offer(0, n).b, 196);
	sound(g, __LINE__);
	assert_true(g->heap.peak < peak + (8u << 20));
}

static void field_013_the_id_is_kept_while_the_driver_holds_it(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), next;

	opened(g, ch, 1);
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	none(g); /* nothing is owed, yet nothing is released */
	ignored(g, raw_offer(1, 1));
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	posted(g, 9, released(1));
	next = offered(g, 1, 1);
	/* Late calls of the old driver miss the new channel. */
	assert_true(next != ch);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_E_NOT_FOUND);
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_E_NOT_FOUND);
	opened(g, next, 1);
}

static void field_013_also_from_one_connection_to_the_next(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), next;

	opened(g, ch, 1);
	vmbus_client_lost(g->c);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	none(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, 4, contact_of(GOOD, 0));
	host(g, raw_version_ok(9));
	posted(g, 9, raw(3, 8));
	take(g, VMBUS_CLIENT_CONNECTED);
	/* The new connection's channel 1 has nothing to do with the old one's. */
	next = offered(g, 0, 1);
	assert_true(next != ch);
	opened(g, next, 1);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, 1), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	none(g); /* no RELID_RELEASED for it */
	assert_int_equal(vmbus_client_close(g->c, next), VMBUS_OK);
	posted(g, 9, raw_one(7, 12, 1));
}

static void losing_the_transport_ends_everything(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), other = offered(g, 1, 2), let_go = offered(g, 2, 3);
	uint32_t ring = created(g, ch, 1), creating;

	opening(g, ch, 1, ring);
	creating = announced(g, let_go, 3);
	host(g, rescind(3));
	result(g, VMBUS_CLIENT_GPADL_CREATED, let_go, creating, GONE);
	result(g, VMBUS_CLIENT_RESCIND, let_go, 0, 0);
	assert_int_equal(vmbus_client_release(g->c, let_go), VMBUS_OK);
	none(g); /* its CREATED is owed */
	vmbus_client_lost(g->c);
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, GONE);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	result(g, VMBUS_CLIENT_RESCIND, other, 0, 0);
	none(g);
	assert_int_equal(vmbus_client_state(g->c), VMBUS_CLIENT_STATE_DISCONNECTED);
	assert_int_equal(vmbus_client_version(g->c), 0);
	vmbus_client_lost(g->c);
	none(g);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	assert_int_equal(vmbus_client_release(g->c, other), VMBUS_OK);
	none(g);
	/* While a contact is out. */
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	vmbus_client_lost(g->c);
	take(g, VMBUS_CLIENT_CONNECT_FAILED);
	none(g);
}

static void ctl_112_after_unload_only_its_completion_counts(void **state)
{
	struct guest *g = *state;
	struct vmbus_client_open o = {0};
	vmbus_channel_id ch = one_channel(g);
	uint32_t ring = created(g, ch, 1), open_id, id;

	o.ring_gpadl = ring;
	ignored(g, raw(17, 8)); /* while connected it changes nothing */
	open_id = opening(g, ch, 1, ring);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	posted(g, 9, raw(16, 8));
	assert_int_equal(vmbus_client_state(g->c), VMBUS_CLIENT_STATE_DISCONNECTING);
	/* The host's messages. */
	ignored(g, raw_open_result(1, open_id, 0));
	ignored(g, raw_offer(1, 2));
	ignored(g, rescind(1));
	ignored(g, raw_version_ok(9));
	ignored(g, raw(4, 8));
	/* Our own. */
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, words, 9, 1, 0, &id), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, ring), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_modify(g->c, ch, 0), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_E_STATE);
	none(g);
	host(g, raw(17, 8));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, GONE);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	take(g, VMBUS_CLIENT_UNLOADED);
	none(g);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	none(g);
	ignored(g, raw(17, 8));
	/* With a channel open; and a timeout in place of the completion. */
	ch = one_channel(g);
	opened(g, ch, 1);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	posted(g, 9, raw(16, 8));
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
	none(g); /* no CLOSE */
	vmbus_client_lost(g->c);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	take(g, VMBUS_CLIENT_UNLOADED);
	none(g);
}

static void unload_in_other_states(void **state)
{
	struct guest *g = *state;

	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_UNLOADED);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_E_STATE);
	none(g);
	/* A rescinded channel let go while unloading owes nothing. */
	{
		vmbus_channel_id ch = one_channel(g);

		host(g, rescind(1));
		result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
		assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
		posted(g, 9, raw(16, 8));
		assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
		none(g);
		host(g, raw(17, 8));
		take(g, VMBUS_CLIENT_UNLOADED);
		none(g);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_010_foreign_unknown_and_misshapen_messages),
		T(ctl_032_unsupported_versions_are_stepped_down),
		T(ctl_033_an_invalid_port_steps_down_without_retry),
		T(ctl_034_later_messages_use_the_returned_port),
		T(ctl_035_a_failed_contact_is_final),
		T(ctl_036_stray_messages_are_ignored),
		T(ctl_037_features_are_those_asked_for_and_granted),
		T(the_hosts_monitor_pages_replace_our_own),
		T(ctl_047_field_024_bad_offers_are_ignored),
		T(ctl_048_impossible_monitor_ids_are_none),
		T(an_offer_is_copied_as_its_version_defines_it),
		T(offers_that_do_not_fit_are_handed_back),
		T(a_client_without_memory_is_not_made),
		T(ctl_066_gpadl_ids_are_unique_and_never_zero),
		T(ctl_067_answers_nobody_waits_for_are_ignored),
		T(ctl_068_memory_comes_back_three_ways),
		T(a_long_gpadl_is_cut_into_messages),
		T(a_refused_gpadl_is_forgotten),
		T(ctl_089_open_results_that_do_not_fit_are_ignored),
		T(requests_in_the_wrong_state_are_refused),
		T(the_long_open_is_for_who_agreed_on_it),
		T(modify_is_answered_from_5_3),
		T(ctl_097_a_rescind_ends_every_request_and_is_released_once),
		T(ctl_098_rescinds_of_nothing_are_ignored),
		T(field_012_the_id_is_kept_while_answers_are_owed),
		T(field_012_whichever_answer_comes_last),
		T(the_highest_channel_id_is_one_like_others),
		T(an_owner_that_takes_no_actions_is_not_buried),
		T(field_013_the_id_is_kept_while_the_driver_holds_it),
		T(field_013_also_from_one_connection_to_the_next),
		T(losing_the_transport_ends_everything),
		T(ctl_112_after_unload_only_its_completion_counts),
		T(unload_in_other_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
