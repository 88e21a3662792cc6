/* SPDX-License-Identifier: MIT */
/*
 * What a guest can say to the host that it should not: each test is one way. Afterwards a channel
 * that had nothing to do with it still echoes, on the same connection or, where the connection was
 * part of it, on a fresh one; and everything ends as it should.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

static struct server server;
static struct guest *const g = &server.g;
static struct channel neighbour;

static int set_up_version(uint32_t version, uint32_t features)
{
	static const struct machine_config config = {.features = 0xff};

	server_start(&server, &config);
	guest_negotiate(g, version, features);
	guest_request_offers(g);
	channel_open(&neighbour, g, ECHO_TWO, 4, 4);
	channel_echo(&neighbour, 100);
	return 0;
}

static int set_up(void **state)
{
	return set_up_version(0x00050003, 0);
}

static int set_up_everything(void **state)
{
	return set_up_version(0x00060000, 0x24);
}

static int set_up_oldest(void **state)
{
	return set_up_version(0x0000000d, 0);
}

/* The neighbour has not noticed; it goes, and the connection with it. */
static int same_goes_on(void **state)
{
	guest_fence(g);
	for (unsigned int i = 0; i < 50; i++)
		channel_echo(&neighbour, i);
	channel_close(&neighbour);
	guest_unload(g);
	server_stop(&server);
	return 0;
}

/* A new connection finds everything as on the first day. */
static int fresh_goes_on(void **state)
{
	struct channel c;

	guest_connect(g, 0x00050003);
	assert_int_equal(g->offer_count, 3);
	for (uint32_t relid = ECHO_ONE; relid <= PLAIN; relid++) {
		channel_open(&c, g, relid, 3, 3);
		channel_echo(&c, 64);
		channel_close(&c);
	}
	guest_unload(g);
	server_stop(&server);
	return 0;
}

static void post_as(struct message m, uint32_t size)
{
	assert_int_equal(guest_post_cut(g, FIRST_PORT, m, size), STATUS_OK);
}

/* ---- lengths, types, directions ---- */

/* A message of that type about the neighbour, that would do something if it were whole. */
static struct message about_neighbour(uint32_t type)
{
	uint64_t words[2] = {PAGE, 5};
	struct message m;

	switch (type) {
	case OPEN_CHANNEL:
		return make_open(ECHO_ONE, 7, neighbour.gpadl, 0, 4);
	case GPADL_HEADER:
		return make_gpadl_header(ECHO_TWO, 0x77, 16, 1, words, 2);
	case GPADL_BODY:
		return make_gpadl_body(0x77, words, 1);
	case GPADL_TEARDOWN:
		return make_teardown(ECHO_TWO, neighbour.gpadl);
	case CONTACT:
		return make_contact(0x00050003, 0, 2, 0, 0);
	case MODIFY_CHANNEL:
		return make_modify(ECHO_TWO, 1);
	default:
		m = make_of_channel(type, ECHO_TWO);
		m.size = message_kinds[type].size;
		return m;
	}
}

static void ctl_001_002_every_message_cut_at_every_length(void **state)
{
	for (uint32_t type = 1; type <= LAST_TYPE; type++) {
		struct message m = about_neighbour(type);

		for (uint32_t size = 0; size < message_kinds[type].size; size++)
			post_as(m, size);
		guest_fence(g);
		channel_echo(&neighbour, type);
	}
}

static void ctl_005_what_only_a_host_may_say(void **state)
{
	for (uint32_t type = 1; type <= LAST_TYPE; type++) {
		struct message m = about_neighbour(type);

		if (message_kinds[type].from_client)
			continue;
		post_as(m, m.size);
		memset(m.b + 8, 0xff, MESSAGE_MAX - 8);
		post_as(m, MESSAGE_MAX);
		guest_fence(g);
	}
}

static void ctl_004_types_that_do_not_exist(void **state)
{
	static const uint32_t types[] = {
		0,       30,         31,         255,        256,        257,
		0x10001, 0x80000001, 0x7fffffff, 0xffffffff, 0x05000000, 0x00000100 + OPEN_CHANNEL};

	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct message m = {0};

		memset(m.b, 0xff, MESSAGE_MAX);
		put32(m.b, types[i]);
		for (uint32_t size = 4; size <= MESSAGE_MAX; size += 59)
			post_as(m, size);
		guest_fence(g);
	}
}

static void ctl_084_what_is_newer_than_the_version(void **state)
{
	static const uint32_t types[] = {MODIFY_CONNECTION, PAUSE, RESUME, OPEN_RESERVED,
					 MODIFY_CHANNEL};

	/* at 0.13 none of these exists */
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct message m = about_neighbour(types[i]);

		post_as(m, m.size);
		post_as(m, MESSAGE_MAX);
	}
	guest_fence(g);
}

static struct message longest(struct message m)
{
	memset(m.b + m.size, 0xff, MESSAGE_MAX - m.size);
	m.size = MESSAGE_MAX;
	return m;
}

/* As UEFI pads some: all of them, with ones. */
static void ctl_003_050_messages_as_long_as_can_be(void **state)
{
	uint64_t gpa = guest_pages(g, 8), words[9] = {8 * PAGE};
	struct message want;

	for (uint32_t i = 0; i < 8; i++)
		words[1 + i] = gpa / PAGE + i;
	guest_post(g, longest(make_contact(0x00050003, 0, 2, 0, 0)));
	guest_expect_hex(g, "0f000000 00000000 01 00 0000 01000000");
	guest_post(g, longest(make_header_only(REQUEST_OFFERS)));
	for (uint32_t i = 0; i < 3; i++)
		guest_expect(g, OFFER_CHANNEL, &want);
	guest_expect_hex(g, "04000000 00000000");
	/* three of nine words are sent and the ones behind them are read as the rest: a GPADL of
	 * pages that are not there */
	guest_post(g, longest(make_gpadl_header(ECHO_ONE, 1, 72, 1, words, 3)));
	want = make_gpadl_created(ECHO_ONE, 1, 0);
	guest_expect_bytes(g, &want);
	guest_post(g, longest(make_open(ECHO_ONE, 9, 1, 0, 4)));
	want = make_open_result(ECHO_ONE, 9, REFUSED);
	guest_expect_bytes(g, &want);
	guest_post(g, longest(make_gpadl_header(ECHO_ONE, 3, 72, 1, words, 9)));
	want = make_gpadl_created(ECHO_ONE, 3, 0);
	guest_expect_bytes(g, &want);
	guest_post(g, longest(make_open(ECHO_ONE, 9, 3, 0, 4)));
	want = make_open_result(ECHO_ONE, 9, 0);
	guest_expect_bytes(g, &want);
	guest_post(g, longest(make_of_channel(CLOSE_CHANNEL, ECHO_ONE)));
	guest_post(g, longest(make_teardown(ECHO_ONE, 3)));
	want = make_torndown(3);
	guest_expect_bytes(g, &want);
	guest_post(g, longest(make_of_channel(RELID_RELEASED, ECHO_ONE)));
	guest_post(g, longest(make_header_only(UNLOAD)));
	guest_expect_hex(g, "11000000 00000000");
}

/* More than a hypercall carries never gets so far; another port does not exist. */
static void hypercalls_with_bad_parameters(void **state)
{
	struct message m = make_header_only(UNLOAD);

	assert_int_equal(machine_post(g->m, FIRST_PORT, m.b, 241), STATUS_BAD_PARAMETER);
	assert_int_equal(machine_post(g->m, FIRST_PORT, m.b, 0xffffffff), STATUS_BAD_PARAMETER);
	for (uint32_t port = 0; port < 64; port++)
		if (port != FIRST_PORT && port != SECOND_PORT)
			assert_int_equal(machine_post(g->m, port, m.b, 8), STATUS_NO_PORT);
	assert_int_equal(machine_post(g->m, 0x00800074, m.b, 8), STATUS_NO_PORT);
}

/* ---- ids ---- */

static const uint32_t odd_ids[] = {0,    4,      5,      2046,       2047,       2048,
				   2049, 0x1001, 0xffff, 0x10000002, 0x7fffffff, 0xffffffff};
#define ODD_IDS (sizeof(odd_ids) / sizeof(odd_ids[0]))

static void ctl_070_076_082_channels_that_do_not_exist(void **state)
{
	struct message failed = {.size = 16};

	put32(failed.b, MODIFY_RESPONSE);
	put32(failed.b + 12, REFUSED);
	for (unsigned int i = 0; i < ODD_IDS; i++) {
		guest_post(g, make_open(odd_ids[i], 1, neighbour.gpadl, 0, 4));
		guest_post(g, make_of_channel(CLOSE_CHANNEL, odd_ids[i]));
		guest_post(g, make_of_channel(RELID_RELEASED, odd_ids[i]));
		guest_post(g, make_teardown(odd_ids[i], neighbour.gpadl));
		guest_fence(g);
		guest_post(g, make_modify(odd_ids[i], 0));
		put32(failed.b + 8, odd_ids[i]);
		guest_expect_bytes(g, &failed);
	}
}

static void ctl_051_056_060_061_gpadls_that_do_not_exist(void **state)
{
	uint64_t words[2] = {PAGE, 5};
	struct message failed;

	for (unsigned int i = 0; i < ODD_IDS; i++) {
		guest_post(g, make_teardown(ECHO_TWO, odd_ids[i]));
		guest_post(g, make_gpadl_body(odd_ids[i], words, 2));
		guest_post(g, make_gpadl_body(neighbour.gpadl, words, 2));
		guest_post(g, make_teardown(ECHO_ONE, neighbour.gpadl));
		guest_fence(g);
		guest_post(g, make_gpadl_header(odd_ids[i], 0x1234, 16, 1, words, 2));
		failed = make_gpadl_created(odd_ids[i], 0x1234, REFUSED);
		guest_expect_bytes(g, &failed);
		guest_post(g, make_open(ECHO_ONE, 3, odd_ids[i], 0, 4));
		failed = make_open_result(ECHO_ONE, 3, REFUSED);
		guest_expect_bytes(g, &failed);
	}
	/* the neighbour's own, in its own channel, while it is open: it is used already */
	guest_post(g, make_gpadl_header(ECHO_TWO, neighbour.gpadl, 16, 1, words, 2));
	failed = make_gpadl_created(ECHO_TWO, neighbour.gpadl, REFUSED);
	guest_expect_bytes(g, &failed);
}

/* ---- once too often, and in the wrong order ---- */

static void ctl_040_072_076_096_everything_twice(void **state)
{
	struct message torndown;
	struct channel c;

	guest_post(g, make_header_only(REQUEST_OFFERS));
	guest_fence(g);
	channel_prepare(&c, g, ECHO_ONE, 4, 4);
	channel_post_open(&c);
	channel_post_open(&c);
	assert_int_equal(channel_open_result(&c), 0);
	channel_post_open(&c);
	guest_post(g, make_of_channel(RELID_RELEASED, ECHO_ONE));
	guest_fence(g);
	channel_echo(&c, 8);
	guest_post(g, make_of_channel(CLOSE_CHANNEL, ECHO_ONE));
	guest_post(g, make_of_channel(CLOSE_CHANNEL, ECHO_ONE));
	guest_post(g, make_teardown(ECHO_ONE, c.gpadl));
	guest_post(g, make_teardown(ECHO_ONE, c.gpadl));
	torndown = make_torndown(c.gpadl);
	guest_expect_bytes(g, &torndown);
	guest_fence(g);
	guest_post(g, make_of_channel(CLOSE_CHANNEL, ECHO_ONE));
	guest_post(g, make_of_channel(RELID_RELEASED, ECHO_ONE));
	guest_post(g, make_of_channel(RELID_RELEASED, ECHO_ONE));
	guest_post(g, make_open(ECHO_ONE, 1, c.gpadl, 0, 4));
	guest_fence(g);
}

static void ctl_075_062_close_while_it_opens_and_teardown_while_it_is_open(void **state)
{
	struct message torndown;
	struct channel c;

	channel_prepare(&c, g, PLAIN, 4, 4);
	server_hold_opens(&server, true);
	channel_post_open(&c);
	wait_for(server_open_asked(&server));
	guest_post(g, make_of_channel(CLOSE_CHANNEL, PLAIN));
	guest_post(g, make_of_channel(RELID_RELEASED, PLAIN));
	guest_post(g, make_teardown(PLAIN, c.gpadl));
	guest_fence(g);
	server_answer_open(&server, 0);
	assert_int_equal(channel_open_result(&c), 0);
	channel_echo(&c, 40); /* and the ring is there as long as it is open */
	guest_fence(g);
	guest_post(g, make_of_channel(CLOSE_CHANNEL, PLAIN));
	torndown = make_torndown(c.gpadl);
	guest_expect_bytes(g, &torndown);
	server_hold_opens(&server, false);
	channel_open(&c, g, PLAIN, 4, 4);
	channel_echo(&c, 40);
}

static void ctl_028_everything_before_contact(void **state)
{
	guest_unload(g);
	for (uint32_t type = 1; type <= LAST_TYPE; type++) {
		struct message m = about_neighbour(type);

		if (type == CONTACT || type == CLOSE_RESERVED)
			continue;
		post_as(m, m.size);
		post_as(longest(m), MESSAGE_MAX);
	}
	guest_contact_fence(g);
}

static void ctl_038_everything_before_the_offers(void **state)
{
	uint64_t words[2] = {PAGE, 5};
	struct message failed = make_gpadl_created(ECHO_ONE, 1, REFUSED);

	guest_negotiate(g, 0x00050003, 0);
	guest_post(g, make_open(ECHO_ONE, 1, 1, 0, 4));
	guest_post(g, make_of_channel(CLOSE_CHANNEL, ECHO_ONE));
	guest_post(g, make_of_channel(RELID_RELEASED, ECHO_ONE));
	guest_post(g, make_teardown(ECHO_ONE, 1));
	guest_post(g, make_gpadl_header(ECHO_ONE, 1, 16, 1, words, 2));
	guest_expect_bytes(g, &failed);
	guest_fence(g);
}

static void ctl_029_030_031_contact_upon_contact(void **state)
{
	static const char yes[] = "0f000000 00000000 01 00 0000 01000000";
	static const char no[] = "0f000000 00000000 00 00 0000 00000000";

	/* the first one waits for the neighbour's device to close; one behind it would replace it
	 */
	guest_post(g, make_contact(0x00050003, 0, 2, 0, 0));
	guest_expect_hex(g, yes);
	for (unsigned int i = 1; i < 20; i++)
		guest_post(g, make_contact(i % 3 == 2 ? 0x00050004 : 0x00050003, 0, 2, 0, 0));
	for (unsigned int i = 1; i < 20; i++)
		guest_expect_hex(g, i % 3 == 2 ? no : yes);
}

static void ctl_026_027_pages_that_are_no_pages(void **state)
{
	static const uint64_t bad[] = {0x123, PAGE + 8, MACHINE_MEMORY, ~0ull << 12, ~0ull};
	static const char failed[] = "0f000000 00000000 01 02 0000 01000000";

	guest_unload(g);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		post_as(make_contact(0x00050003, 0, 2, bad[i], PAGE), 40);
		guest_expect_hex(g, failed);
		post_as(make_contact(0x00050003, 0, 2, PAGE, bad[i]), 40);
		guest_expect_hex(g, failed);
		post_as(make_contact(0x00010001, 0, bad[i], 0, 0), 40);
		guest_expect_hex(g, "0f000000 00000000 00 02 0000 01000100");
	}
	post_as(make_contact(0x00050003, 0, 2, PAGE, 0), 40);
	guest_expect_hex(g, failed);
	guest_contact_fence(g);
}

/* A target that has no processor: the first one is told that it cannot be, and there is no
 * connection. */
static void contacts_from_processors_that_do_not_exist(void **state)
{
	static const uint32_t vps[] = {2, 63, 64, 0x80000000, 0xffffffff};

	for (unsigned int i = 0; i < sizeof(vps) / sizeof(vps[0]); i++) {
		post_as(make_contact(0x00050003, vps[i], 2, 0, 0), 40);
		guest_expect_hex(g, "0f000000 00000000 01 02 0000 01000000");
		post_as(make_header_only(REQUEST_OFFERS), 8);
		post_as(make_header_only(UNLOAD), 8);
		guest_contact_fence(g);
	}
	g->message_vp = 1;
	guest_negotiate(g, 0x00050003, 0);
	guest_request_offers(g);
	guest_unload(g);
	g->message_vp = 0;
}

/* ---- floods ---- */

struct flood {
	pthread_t thread;
	atomic_bool stop;
	atomic_ullong sent;
};

/* What makes no answer, as fast as it goes. */
static void *flood_run(void *arg)
{
	struct flood *f = arg;
	struct message m = make_of_channel(CLOSE_CHANNEL, ECHO_ONE);

	while (!atomic_load(&f->stop))
		f->sent += machine_post(g->m, FIRST_PORT, m.b, m.size) == STATUS_OK;
	return NULL;
}

/* While the guest talks without end, the host's drivers get their turn. */
static void a_flood_of_messages_does_not_starve_the_host(void **state)
{
	struct flood f[3] = {0};
	struct message m;

	for (unsigned int i = 0; i < 3; i++)
		pthread_create(&f[i].thread, NULL, flood_run, &f[i]);
	for (unsigned int i = 0; i < 3; i++)
		wait_for(atomic_load(&f[i].sent) > 0);
	for (unsigned int i = 0; i < 20; i++) {
		server_revoke_plain(&server);
		guest_expect(g, RESCIND_OFFER, &m);
		guest_post(g, make_of_channel(RELID_RELEASED, get32(m.b + 8)));
		server_offer_plain(&server);
		guest_expect(g, OFFER_CHANNEL, &m);
		channel_echo(&neighbour, 500);
	}
	for (unsigned int i = 0; i < 3; i++) {
		atomic_store(&f[i].stop, true);
		pthread_join(f[i].thread, NULL);
	}
}

/* Nobody empties the slot: a bounded number is taken, and then none, until somebody does. */
static void ctl_007_008_a_guest_that_never_listens(void **state)
{
	struct message m = make_gpadl_header(MAX_RELID, 1, 16, 1, (uint64_t[]){PAGE, 1}, 2);
	uint32_t taken = 0, answered = 0, quiet = 0;

	while (quiet < 100) {
		if (machine_post(g->m, FIRST_PORT, m.b, m.size) == STATUS_OK) {
			taken++;
			quiet = 0;
			assert_true(taken < 100);
			put32(m.b + 12, taken + 1);
		} else {
			quiet++;
			nap_us(200);
		}
	}
	for (; answered < taken; answered++) {
		struct message want = make_gpadl_created(MAX_RELID, answered + 1, REFUSED);

		guest_expect_bytes(g, &want);
	}
}

static void ctl_059_gpadls_without_end(void **state)
{
	uint64_t words[2] = {PAGE, 5};
	uint32_t accepted = 0, id;
	struct message m;

	for (id = 1; id < 20000; id++) {
		guest_post(g, make_gpadl_header(ECHO_ONE, id, 16, 1, words, 2));
		guest_expect(g, GPADL_CREATED, &m);
		assert_int_equal(get32(m.b + 12), id);
		if (get32(m.b + 16))
			break;
		accepted++;
	}
	/* the neighbour's ring is the one that is missing in the default of 8192 */
	assert_int_equal(accepted, 8191);
	channel_echo(&neighbour, 11);
	for (id = 1; id <= accepted; id++) {
		struct message torndown = make_torndown(id);

		guest_post(g, make_teardown(ECHO_ONE, id));
		guest_expect_bytes(g, &torndown);
	}
}

/* Headers whose bodies never come hold their words, up to the limit, and go with the connection. */
static void ctl_059_102_gpadls_that_are_never_finished(void **state)
{
	uint64_t words[2] = {8190ull * PAGE, 5};
	uint32_t failed = 0, sent = 2000;
	struct message m;

	for (uint32_t id = 1; id <= sent; id++) {
		guest_post(g, make_gpadl_header(ECHO_ONE, id, 65528, 1, words, 2));
		while (guest_take(g, 0, 2, &m)) {
			assert_int_equal(get32(m.b), GPADL_CREATED);
			assert_int_equal(get32(m.b + 16), REFUSED);
			failed++;
		}
	}
	/* 4 Mi words at the most, 8191 each: 512 of them beside the neighbour's ring */
	for (; failed < sent - 512; failed++) {
		guest_expect(g, GPADL_CREATED, &m);
		assert_int_equal(get32(m.b + 16), REFUSED);
	}
	guest_fence(g);
	guest_post(g, make_of_channel(CLOSE_CHANNEL, ECHO_TWO));
	guest_unload(g);
}

/* ---- signals ---- */

static void *signal_run(void *arg)
{
	struct flood *f = arg;
	uint64_t seed = 12345;

	while (!atomic_load(&f->stop)) {
		machine_signal(g->m, neighbour.connection, 0);
		machine_signal(g->m, (uint32_t)next_random(&seed) % 0x4000, 0);
		f->sent += 2;
	}
	return NULL;
}

static void ctl_116_signals_to_every_port_and_without_end(void **state)
{
	struct flood f = {0};
	uint32_t bound = 0;

	for (uint32_t id = 0; id < 0x30000; id++)
		bound += machine_signal(g->m, id, 0) == STATUS_OK;
	assert_int_equal(bound, 1); /* the neighbour's */
	for (uint32_t flag = 1; flag < 0x10000; flag += 111)
		assert_int_equal(machine_signal(g->m, neighbour.connection, (uint16_t)flag),
				 STATUS_BAD_PARAMETER);
	assert_int_equal(machine_signal(g->m, 0xffffffff, 0), STATUS_NO_PORT);
	pthread_create(&f.thread, NULL, signal_run, &f);
	for (unsigned int i = 0; i < scaled(5000); i++)
		channel_echo(&neighbour, i % 1000);
	atomic_store(&f.stop, true);
	pthread_join(f.thread, NULL);
}

/* Every bit of the page that old guests share, of channels that exist and that do not. */
static void ctl_115_every_bit_of_the_interrupt_page(void **state)
{
	uint8_t *page = guest_at(g, g->interrupt_page);
	uint8_t ones[2048];

	memset(ones, 0xff, sizeof(ones));
	for (unsigned int i = 0; i < 200; i++) {
		shared_write(page + 2048, ones, sizeof(ones));
		assert_int_equal(machine_signal(g->m, 2, 0), STATUS_OK);
		channel_echo(&neighbour, i);
	}
}

/* ---- leaving ---- */

static void ctl_103_everything_after_unload(void **state)
{
	uint64_t words[2] = {PAGE, 5};
	uint8_t request[16];
	struct channel c;

	channel_open(&c, g, ECHO_ONE, 2, 2);
	echo_request(request, 7, 1000, 1, NULL, 0);
	channel_send(&c, 6, 1, 1, NULL, 0, request, 16); /* it waits for room: nobody reads */
	guest_post(g, make_header_only(UNLOAD));
	for (unsigned int i = 0; i < 20; i++) {
		/* they may come when it is over, but never to effect */
		guest_post(g, make_header_only(UNLOAD));
		guest_post(g, make_open(PLAIN, 1, c.gpadl, 0, 2));
		guest_post(g, make_of_channel(CLOSE_CHANNEL, ECHO_ONE));
		guest_post(g, make_of_channel(RELID_RELEASED, ECHO_TWO));
		guest_post(g, make_gpadl_header(ECHO_ONE, 1, 16, 1, words, 2));
		guest_post(g, make_teardown(ECHO_ONE, c.gpadl));
		guest_post(g, make_header_only(REQUEST_OFFERS));
		guest_post(g, make_modify(ECHO_TWO, 1));
	}
	guest_expect_hex(g, "11000000 00000000");
	guest_contact_fence(g);
}

static void ctl_101_unload_while_it_opens(void **state)
{
	struct channel c;

	channel_prepare(&c, g, PLAIN, 4, 4);
	server_hold_opens(&server, true);
	channel_post_open(&c);
	wait_for(server_open_asked(&server));
	guest_post(g, make_header_only(UNLOAD));
	nap_us(20000);
	assert_false(guest_slot_full(g, 0, 2));
	server_answer_open(&server, 0);
	guest_expect_hex(g, "11000000 00000000");
	server_hold_opens(&server, false);
	guest_contact_fence(g);
}

static void *reset_run(void *arg)
{
	machine_reset(arg);
	return NULL;
}

static void ctl_105_reset_while_it_opens(void **state)
{
	struct channel c;
	pthread_t thread;

	channel_prepare(&c, g, PLAIN, 4, 4);
	server_hold_opens(&server, true);
	channel_post_open(&c);
	wait_for(server_open_asked(&server));
	pthread_create(&thread, NULL, reset_run, g->m);
	pthread_join(thread, NULL); /* it does not wait for the device */
	memset(guest_at(g, c.gpa), 0xff, 8 * PAGE);
	server_answer_open(&server, 0);
	server_hold_opens(&server, false);
	guest_contact_fence(g);
}

static void ctl_096_release_of_what_is_open(void **state)
{
	for (unsigned int i = 0; i < 100; i++)
		guest_post(g, make_of_channel(RELID_RELEASED, ECHO_TWO));
	guest_fence(g);
}

/* Withdrawn in the middle of an open: no result, and everything said of it after that is harmless.
 */
static void ctl_074_095_talking_to_what_was_withdrawn(void **state)
{
	uint64_t words[2] = {PAGE, 5};
	struct message m, created, torndown, failed = {.size = 16};
	struct channel c;

	channel_prepare(&c, g, PLAIN, 4, 4);
	server_hold_opens(&server, true);
	channel_post_open(&c);
	wait_for(server_open_asked(&server));
	server_revoke_plain(&server);
	m = make_of_channel(RESCIND_OFFER, PLAIN);
	guest_expect_bytes(g, &m);
	/* the guest's memory is its own again */
	memset(guest_at(g, c.gpa), 0xff, 8 * PAGE);
	channel_post_open(&c);
	guest_post(g, make_of_channel(CLOSE_CHANNEL, PLAIN));
	guest_post(g, make_gpadl_header(PLAIN, 99, 16, 1, words, 2));
	created = make_gpadl_created(PLAIN, 99, 0);
	guest_expect_bytes(g, &created);
	guest_post(g, make_teardown(PLAIN, 99));
	torndown = make_torndown(99);
	guest_expect_bytes(g, &torndown);
	guest_post(g, make_modify(PLAIN, 0));
	put32(failed.b, MODIFY_RESPONSE);
	put32(failed.b + 8, PLAIN);
	put32(failed.b + 12, REFUSED);
	guest_expect_bytes(g, &failed);
	server_hold_opens(&server, false);
	server_offer_plain(&server);
	guest_post(g, make_of_channel(RELID_RELEASED, PLAIN));
	guest_expect(g, OFFER_CHANNEL, &m);
	g->offers[2] = m;
	channel_open(&c, g, get32(m.b + 184), 4, 4);
	channel_echo(&c, 10);
	channel_close(&c);
}

/* ---- memory that is not there ---- */

static void ctl_065_071_rings_that_cannot_be(void **state)
{
	static const struct {
		uint32_t pages, downstream;
	} shapes[] = {{2, 1}, {3, 2}, {3, 1}, {4, 0}, {4, 1}, {4, 3}, {4, 4}, {4, 5}, {4, ~0u}};
	uint64_t gpa = guest_pages(g, 8), words[6];
	struct message m, refused = make_open_result(ECHO_ONE, 5, REFUSED);
	struct channel c;

	for (unsigned int i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		uint32_t gpadl = guest_gpadl(g, ECHO_ONE, gpa, shapes[i].pages);

		guest_post(g, make_open(ECHO_ONE, 5, gpadl, 0, shapes[i].downstream));
		guest_expect_bytes(g, &refused);
	}
	/* each page in turn lies outside, or everywhere */
	for (uint32_t bad = 0; bad < 8; bad++) {
		words[0] = 4 * PAGE;
		for (uint32_t i = 0; i < 4; i++)
			words[1 + i] = gpa / PAGE + i;
		words[1 + bad % 4] = bad < 4 ? MACHINE_MEMORY / PAGE : ~0ull;
		guest_post(g, make_gpadl_header(ECHO_ONE, 100 + bad, 40, 1, words, 5));
		guest_expect(g, GPADL_CREATED, &m);
		assert_int_equal(get32(m.b + 16), 0);
		guest_post(g, make_open(ECHO_ONE, 5, 100 + bad, 0, 2));
		guest_expect_bytes(g, &refused);
	}
	/* two ranges; a range that does not begin with its page */
	words[0] = words[2] = PAGE;
	words[1] = words[3] = gpa / PAGE;
	guest_post(g, make_gpadl_header(ECHO_ONE, 200, 32, 2, words, 4));
	guest_expect(g, GPADL_CREATED, &m);
	guest_post(g, make_open(ECHO_ONE, 5, 200, 0, 2));
	guest_expect_bytes(g, &refused);
	/* a processor that does not exist */
	guest_post(g, make_open(ECHO_ONE, 5, 100, 77, 2));
	guest_expect_bytes(g, &refused);
	channel_open(&c, g, ECHO_ONE, 2, 2);
	channel_echo(&c, 10);
	channel_close(&c);
}

/* One page for all four of the rings' pages: the guest shoots its own foot and nobody else's. */
static void a_ring_made_of_one_page(void **state)
{
	uint64_t gpa = guest_pages(g, 1), words[5] = {4 * PAGE};
	struct message m, torndown = make_torndown(300);

	for (uint32_t i = 0; i < 4; i++)
		words[1 + i] = gpa / PAGE;
	guest_post(g, make_gpadl_header(ECHO_ONE, 300, 40, 1, words, 5));
	guest_expect(g, GPADL_CREATED, &m);
	guest_post(g, make_open(ECHO_ONE, 5, 300, 0, 2));
	guest_expect(g, OPEN_RESULT, &m);
	for (uint32_t i = 0; i < 1000; i++) {
		store32(guest_at(g, gpa) + i % 16 * 4, i * 8);
		machine_signal(g->m, 0x2000 + ECHO_ONE, 0);
	}
	channel_echo(&neighbour, 10);
	guest_post(g, make_of_channel(CLOSE_CHANNEL, ECHO_ONE));
	guest_post(g, make_teardown(ECHO_ONE, 300));
	guest_expect_bytes(g, &torndown);
}

/* The neighbour's ring as one's own, and the SynIC's pages as a ring. */
static void rings_in_memory_of_others(void **state)
{
	uint64_t words[9] = {8 * PAGE};
	struct message m, torndown = make_torndown(301);

	for (uint32_t i = 0; i < 8; i++)
		words[1 + i] = i < 4 ? 1 + i : neighbour.gpa / PAGE + i;
	guest_post(g, make_gpadl_header(ECHO_ONE, 301, 72, 1, words, 9));
	guest_expect(g, GPADL_CREATED, &m);
	guest_post(g, make_open(ECHO_ONE, 5, 301, 0, 4));
	/* whether it opens depends on what the pages hold; here the ring's indices are fine */
	guest_expect(g, OPEN_RESULT, &m);
	machine_signal(g->m, 0x2000 + ECHO_ONE, 0);
	if (!get32(m.b + 16))
		guest_post(g, make_of_channel(CLOSE_CHANNEL, ECHO_ONE));
	guest_post(g, make_teardown(ECHO_ONE, 301));
	guest_expect_bytes(g, &torndown);
	/* what it did to the neighbour's ring is the guest's own doing: a fresh one works */
	channel_close(&neighbour);
	channel_open(&neighbour, g, ECHO_TWO, 4, 4);
}

static void ctl_054_055_058_range_lists_that_lie(void **state)
{
	static const struct {
		uint16_t bytes, ranges;
		uint64_t words[4];
		uint32_t count;
	} lists[] = {
		{0, 0, {0}, 0},
		{0, 1, {0}, 0},
		{16, 0, {PAGE, 5}, 2},
		{8, 1, {PAGE}, 1},
		{16, 1, {0, 5}, 2},
		{16, 1, {PAGE | 0x1000ull << 32, 5}, 2},
		{16, 1, {PAGE | 0xffffffffull << 32, 5}, 2},
		{16, 1, {0xffffffffull, 5}, 2},
		{16, 1, {0xffffffff | 0xfffull << 32, 5}, 2},
		{16, 1, {PAGE + 1, 5}, 2},
		{16, 2, {PAGE, 5}, 2},
		{16, 0xffff, {PAGE, 5}, 2},
		{24, 2, {PAGE, 5, PAGE}, 3},
		{32, 2, {PAGE, 5, 0, 5}, 4},
	};
	struct message m;

	for (unsigned int i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		guest_post(g, make_gpadl_header(ECHO_ONE, 400, lists[i].bytes, lists[i].ranges,
						lists[i].words, lists[i].count));
		guest_expect(g, GPADL_CREATED, &m);
		assert_int_equal(get32(m.b + 8), ECHO_ONE);
		assert_int_equal(get32(m.b + 12), 400);
		assert_int_equal(get32(m.b + 16), REFUSED);
	}
	guest_gpadl(g, ECHO_ONE, 5 * PAGE, 1);
}

/* ---- what only the newest version has ---- */

static void ctl_107_108_everything_while_paused(void **state)
{
	static const char resumed[] = "1c000000 00000000";
	struct channel c;

	channel_prepare(&c, g, ECHO_ONE, 4, 4);
	for (unsigned int i = 0; i < 10; i++) {
		guest_post(g, make_header_only(PAUSE));
		guest_expect_hex(g, resumed);
		guest_post(g, make_header_only(PAUSE));
		for (uint32_t type = 1; type <= LAST_TYPE; type++) {
			if (type == RESUME || type == UNLOAD || type == CONTACT ||
			    type == CLOSE_RESERVED)
				continue;
			guest_post(g, about_neighbour(type));
		}
		nap_us(1000);
		assert_false(guest_slot_full(g, 0, 2));
		channel_echo(&neighbour, i); /* the rings know nothing of it */
		guest_post(g, make_header_only(RESUME));
		guest_post(g, make_header_only(RESUME));
		guest_fence(g);
	}
	channel_post_open(&c);
	assert_int_equal(channel_open_result(&c), 0);
	channel_close(&c);
}

static void ctl_109_monitor_pages_that_are_none(void **state)
{
	static const uint64_t bad[][2] = {
		{PAGE, 0}, {0, PAGE}, {PAGE, 7}, {9, PAGE}, {PAGE, MACHINE_MEMORY}, {~0ull, ~0ull},
	};
	struct message m = make_header_only(MODIFY_CONNECTION);

	m.size = 24;
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put64(m.b + 8, bad[i][0]);
		put64(m.b + 16, bad[i][1]);
		guest_post(g, m);
		guest_expect_hex(g, "1a000000 00000000 02");
	}
	guest_fence(g);
}

/* Requests for host services that nobody has, far more than may be under way. */
static void ctl_111_connect_requests_without_end(void **state)
{
	struct message m = make_header_only(TL_CONNECT), want = make_header_only(TL_CONNECT_RESULT);

	m.size = 40;
	want.size = 44;
	put32(want.b + 40, 0xc0000236);
	for (uint32_t i = 0; i < 500; i++) {
		put32(m.b + 8, i);
		put32(m.b + 24, ~i);
		memcpy(want.b + 8, m.b + 8, 32);
		guest_post(g, m);
		guest_expect_bytes(g, &want);
	}
}

int main(void)
{
#define SAME(name)   cmocka_unit_test_setup_teardown(name, set_up, same_goes_on)
#define FRESH(name)  cmocka_unit_test_setup_teardown(name, set_up, fresh_goes_on)
#define NEWEST(name) cmocka_unit_test_setup_teardown(name, set_up_everything, same_goes_on)
#define OLDEST(name) cmocka_unit_test_setup_teardown(name, set_up_oldest, same_goes_on)
	const struct CMUnitTest tests[] = {
		SAME(ctl_001_002_every_message_cut_at_every_length),
		SAME(ctl_005_what_only_a_host_may_say),
		SAME(ctl_004_types_that_do_not_exist),
		OLDEST(ctl_084_what_is_newer_than_the_version),
		FRESH(ctl_003_050_messages_as_long_as_can_be),
		SAME(hypercalls_with_bad_parameters),
		SAME(ctl_070_076_082_channels_that_do_not_exist),
		SAME(ctl_051_056_060_061_gpadls_that_do_not_exist),
		SAME(ctl_040_072_076_096_everything_twice),
		SAME(ctl_075_062_close_while_it_opens_and_teardown_while_it_is_open),
		FRESH(ctl_028_everything_before_contact),
		FRESH(ctl_038_everything_before_the_offers),
		FRESH(ctl_029_030_031_contact_upon_contact),
		FRESH(ctl_026_027_pages_that_are_no_pages),
		FRESH(contacts_from_processors_that_do_not_exist),
		SAME(a_flood_of_messages_does_not_starve_the_host),
		SAME(ctl_007_008_a_guest_that_never_listens),
		SAME(ctl_059_gpadls_without_end),
		FRESH(ctl_059_102_gpadls_that_are_never_finished),
		SAME(ctl_116_signals_to_every_port_and_without_end),
		OLDEST(ctl_115_every_bit_of_the_interrupt_page),
		FRESH(ctl_103_everything_after_unload),
		FRESH(ctl_101_unload_while_it_opens),
		FRESH(ctl_105_reset_while_it_opens),
		SAME(ctl_096_release_of_what_is_open),
		SAME(ctl_074_095_talking_to_what_was_withdrawn),
		SAME(ctl_065_071_rings_that_cannot_be),
		SAME(a_ring_made_of_one_page),
		SAME(rings_in_memory_of_others),
		SAME(ctl_054_055_058_range_lists_that_lie),
		NEWEST(ctl_107_108_everything_while_paused),
		NEWEST(ctl_109_monitor_pages_that_are_none),
		NEWEST(ctl_111_connect_requests_without_end),
	};

	if (getenv("KMCL_ONLY"))
		cmocka_set_test_filter(getenv("KMCL_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
