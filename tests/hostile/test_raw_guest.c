/* SPDX-License-Identifier: MIT */
/*
 * A guest that keeps to the rules, in raw bytes, against the real host: every message that the host
 * posts is compared whole, at every version.
 */
#include <string.h>

#include "server.h"

static struct server server;

static int set_up(void **state)
{
	server_start(&server, NULL);
	return 0;
}

static int tear_down(void **state)
{
	server_stop(&server);
	return 0;
}

/* ---- what is on the wire at a version ---- */

static void expect_version(struct guest *g, uint32_t version)
{
	struct message want = make_version_response(version, true, FIRST_PORT);

	g->version = version;
	guest_expect_bytes(g, &want);
}

#define ECHO_CLASS  "6e2a7f8d 0b4c 2e4f 9a53 6b1c0e5d9f01"
#define PLAIN_CLASS "706c0000 0000 0000 0000 000000000000"
#define ZEROS_40                                                                   \
	"00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 " \
	"00000000 00000000 "
#define ZEROS_120 ZEROS_40 ZEROS_40 ZEROS_40
#define ZEROS_16  "00000000 00000000 00000000 00000000"

static const char *const offers[] = {
	"01000000 00000000" ECHO_CLASS "00000000 0000 0000 0000 0000000000e0" ZEROS_16
	"0000 0000" ZEROS_120 "0000 0000 01000000 ff 00 0100 01200000",
	"01000000 00000000" ECHO_CLASS "00000000 0000 0000 0000 0000000000e1" ZEROS_16
	"0000 0000" ZEROS_120 "0000 0000 02000000 ff 00 0100 02200000",
	"01000000 00000000" PLAIN_CLASS "01000000 0000 0000 0000 000000000000" ZEROS_16
	"0000 0000" ZEROS_120 "0000 0000 03000000 ff 00 0100 03200000",
};

static void expect_offers(struct guest *g)
{
	guest_post(g, make_header_only(REQUEST_OFFERS));
	for (unsigned int i = 0; i < 3; i++) {
		guest_expect_hex(g, offers[i]);
		g->offers[i].size = parse_hex(offers[i], g->offers[i].b, MESSAGE_MAX);
	}
	g->offer_count = 3;
	guest_expect_hex(g, "04000000 00000000");
}

static bool take_flag(struct guest *g, uint32_t vp, uint32_t flag)
{
	uint8_t *byte = guest_at(g, (2 + 2 * vp) * PAGE) + 0x200 + flag / 8;

	return __atomic_fetch_and(byte, ~(1u << flag % 8), __ATOMIC_SEQ_CST) & 1u << flag % 8;
}

/* The host's signal: below 2.4 a bit in the page of all channels, and flag 0 on VP 0. */
static void expect_signal(struct guest *g, uint32_t relid, uint32_t vp)
{
	uint8_t *byte = guest_at(g, g->interrupt_page) + relid / 8;

	if (g->version >= 0x00020004) {
		wait_for(take_flag(g, vp, relid));
		return;
	}
	wait_for(take_flag(g, 0, 0));
	assert_true(__atomic_fetch_and(byte, ~(1u << relid % 8), __ATOMIC_SEQ_CST) &
		    1u << relid % 8);
}

/* The signal first: a host that finds its packet read already when it looks whether to signal, does
 * not. */
static void echo_with_signal(struct channel *c, uint32_t n, uint32_t vp)
{
	channel_ask_echo(c, n);
	expect_signal(c->g, c->relid, vp);
	channel_expect_echo(c, n);
}

static void converse(struct guest *g, uint32_t relid)
{
	struct message modified = {.size = 16};
	struct channel c;

	channel_open(&c, g, relid, 4, 4);
	for (uint32_t n = 0; n < 64; n++)
		echo_with_signal(&c, n * 5, 0);
	if (g->version >= 0x00040001) {
		guest_post(g, make_modify(relid, 1));
		put32(modified.b, MODIFY_RESPONSE);
		put32(modified.b + 8, relid);
		if (g->version >= 0x00050003)
			guest_expect_bytes(g, &modified);
		else
			guest_fence(g);
		echo_with_signal(&c, 8, 1);
	}
	channel_close(&c);
	guest_fence(g);
}

static void session(struct guest *g, uint32_t version)
{
	uint64_t page = g->interrupt_page;

	g->post_to = version >= 0x00050000 ? SECOND_PORT : FIRST_PORT;
	if (version >= 0x00050000)
		page = 2;
	guest_post(g, make_contact(version, 0, page, 0, 0));
	expect_version(g, version);
	g->post_to = FIRST_PORT;
	expect_offers(g);
	converse(g, ECHO_ONE);
	converse(g, PLAIN);
	converse(g, ECHO_ONE);
	guest_post(g, make_header_only(UNLOAD));
	guest_expect_hex(g, "11000000 00000000");
}

/* Twelve sessions of one guest, each of which opens and closes channels; relids stay what they are.
 */
static void ctl_006_013_015_016_042_each_version_byte_for_byte(void **state)
{
	for (unsigned int i = 0; i < version_count; i++)
		session(&server.g, all_versions[i]);
	session(&server.g, 0x00050003);
}

static void ctl_014_versions_that_nobody_knows(void **state)
{
	static const uint32_t unknown[] = {0,          1,          0x0000000c, 0x0000000e,
					   0x00010000, 0x00020000, 0x00050004, 0x00060001,
					   0x00070000, 0x000d0000, 0x7fffffff, 0xffffffff};
	struct guest *g = &server.g;

	for (unsigned int i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		guest_post(g, make_contact(unknown[i], 0, 0, 0, 0));
		guest_expect_hex(g, "0f000000 00000000 00 00 0000 00000000");
	}
	session(g, 0x00060000);
}

static void ctl_049_gpadls_of_one_to_three_hundred_pages(void **state)
{
	static const uint32_t sizes[] = {1, 2, 25, 26, 27, 53, 54, 55, 82, 83, 300};
	struct guest *g = &server.g;
	uint64_t gpa = guest_pages(g, 300);

	guest_connect(g, 0x00050003);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t gpadl = guest_gpadl(g, ECHO_ONE, gpa, sizes[i]);
		struct message torndown = make_torndown(gpadl);

		guest_post(g, make_teardown(ECHO_ONE, gpadl));
		guest_expect_bytes(g, &torndown);
	}
	guest_unload(g);
}

/* ---- the example of a packet that wraps, and a hex dump of a whole exchange ---- */

static void expect_ring_hex(struct raw_ring *r, uint32_t at, const char *hex)
{
	uint8_t want[256], got[256];
	uint32_t n = parse_hex(hex, want, sizeof(want));

	for (uint32_t i = 0; i < n; i++)
		got[i] = __atomic_load_n(r->data + (at + i) % r->size, __ATOMIC_RELAXED);
	assert_memory_equal(got, want, n);
}

/* ECHO of "hello" with id 0x1122334455667788, from the last 16 bytes of a page-sized ring on. */
static void ring_001_002_003_004_an_exchange_in_hex(void **state)
{
	struct guest *g = &server.g;
	struct channel c;
	uint8_t got[64];
	static const char request[] = "0600 0200 0500 0100 8877665544332211"
				      "01000000 05000000 efcdab8967452301 68656c6c6f 000000"
				      "00000000 f00f0000";
	uint8_t bytes[64];
	uint32_t n = parse_hex(request, bytes, sizeof(bytes));

	guest_connect(g, 0x00050003);
	channel_prepare(&c, g, ECHO_ONE, 2, 2);
	/* both rings go on from where they were left */
	store32(c.out.control + AT_IN, 0xff0);
	store32(c.out.control + AT_OUT, 0xff0);
	store32(c.in.control + AT_IN, 0xff8);
	store32(c.in.control + AT_OUT, 0xff8);
	c.out.mine = 0xff0;
	c.in.mine = 0xff8;
	channel_post_open(&c);
	assert_int_equal(channel_open_result(&c), 0);
	ring_write(&c.out, bytes, n);
	assert_int_equal(c.out.mine, 0x20);
	if (ring_publish(&c.out))
		channel_signal(&c);
	assert_int_equal(channel_receive(&c, got, sizeof(got)), 40);
	assert_int_equal(load32(c.in.control + AT_IN), 0x28);
	wait_for(load32(c.out.control + AT_OUT) == 0x20);
	expect_ring_hex(&c.in, 0xff8,
			"0b00 0200 0500 0000 8877665544332211"
			"01000000 00000000 efcdab8967452301 68656c6c6f 000000"
			"00000000 f80f0000");
	assert_int_equal(load32(c.in.control + AT_FEATURES), 1);
	channel_close(&c);
	guest_unload(g);
}

/* SHA-256 of "abc", of external data at the end of one page and the start of another. */
static void external_data_in_hex(void **state)
{
	struct guest *g = &server.g;
	uint64_t gpa;
	struct channel c;
	uint8_t request[16], header[32], got[128];

	guest_connect(g, 0x00060000);
	channel_open(&c, g, ECHO_TWO, 3, 3);
	gpa = guest_pages(g, 2);
	shared_write(guest_at(g, gpa + 0xfff), (const uint8_t *)"abc", 3);
	put32(header, 0xdeadbeef); /* reserved: anything */
	put32(header + 4, 1);
	put32(header + 8, 3);
	put32(header + 12, 0xfff);
	put64(header + 16, gpa / PAGE);
	put64(header + 24, gpa / PAGE + 1);
	echo_request(request, 2, 3, 0x77, NULL, 0);
	channel_send(&c, 9, 1, ~0ull - 2, header, 32, request, 16);
	assert_int_equal(channel_receive(&c, got, sizeof(got)), 64);
	expect_ring_hex(&c.in, 0,
			"0b00 0200 0800 0000 fdffffffffffffff"
			"02000000 00000000 7700000000000000"
			"ba7816bf 8f01cfea 414140de 5dae2223 b00361a3 96177a9c b410ff61 f20015ad"
			"00000000 00000000");
	channel_close(&c);
	guest_unload(g);
}

/* Thousands of packets through a ring of one page: wrapping, room signals and all. */
static void traffic_through_small_rings(void **state)
{
	struct guest *g = &server.g;
	uint32_t rounds = scaled(20000);
	struct channel c, d;

	guest_connect(g, 0x00050003);
	channel_open(&c, g, ECHO_ONE, 2, 2);
	channel_open(&d, g, PLAIN, 2, 2);
	for (uint32_t i = 0; i < rounds; i++) {
		channel_echo(&c, i * 13 % 1500);
		channel_echo(&d, i * 17 % 1500);
	}
	channel_close(&c);
	channel_close(&d);
	guest_unload(g);
}

/* 1000 packets pushed into a ring that holds 40: the host waits for room and is told of it. */
static void ring_048_pushes_wait_for_the_guest(void **state)
{
	struct guest *g = &server.g;
	struct channel c;
	uint8_t request[16], got[128];

	guest_connect(g, 0x00050003);
	channel_open(&c, g, ECHO_ONE, 2, 2);
	echo_request(request, 7, 1000, 0x55, NULL, 0);
	channel_send(&c, 6, 1, 9, NULL, 0, request, 16);
	for (uint32_t i = 0; i < 1000; i++) {
		if (i % 50 == 49)
			nap_us(100);
		assert_int_equal(channel_receive(&c, got, sizeof(got)), 80);
		assert_int_equal(get32(got), 0x00020006);
		assert_int_equal(get32(got + 4), 10);
		assert_int_equal(get64(got + 16), i);
		assert_int_equal(get64(got + 24), 0x55);
	}
	assert_int_equal(channel_receive(&c, got, sizeof(got)), 32);
	assert_int_equal(get32(got), 0x0002000b);
	assert_int_equal(get64(got + 8), 9);
	channel_close(&c);
	guest_unload(g);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(ctl_006_013_015_016_042_each_version_byte_for_byte),
		TEST(ctl_014_versions_that_nobody_knows),
		TEST(ctl_049_gpadls_of_one_to_three_hundred_pages),
		TEST(ring_001_002_003_004_an_exchange_in_hex),
		TEST(external_data_in_hex),
		TEST(traffic_through_small_rings),
		TEST(ring_048_pushes_wait_for_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
