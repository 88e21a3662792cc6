/* SPDX-License-Identifier: MIT */
/*
 * Rings that lie: what a guest can write into its ring's pages. Each attack is made on a channel of
 * the echo driver and on one without KMCL. Either the ring goes on or it is dead, as the rules say;
 * a neighbour notices nothing, the channel closes, and opened again it works.
 */
#include <string.h>

#include "server.h"

static struct server server;
static struct guest *const g = &server.g;
static struct channel neighbour, beside;

static int set_up(void **state)
{
	server_start(&server, NULL);
	guest_connect(g, 0x00050003);
	channel_open(&neighbour, g, ECHO_TWO, 4, 4);
	return 0;
}

static int tear_down(void **state)
{
	channel_echo(&neighbour, 99);
	channel_close(&neighbour);
	guest_unload(g);
	server_stop(&server);
	return 0;
}

#define PAGES 4u
#define DSIZE ((PAGES - 1) * PAGE)

enum outcome {
	GOES_ON,  /* the next request is answered */
	DEAD,     /* nothing more is read or written */
	STOPPED,  /* read perhaps, but never answered */
	ANYTHING, /* as long as nobody else suffers */
};

struct attack {
	const char *name;
	enum outcome echo, plain;
	const char *packet; /* bytes put into the ring, then zeros up to `length` */
	uint32_t length;    /* published */
	uint32_t index;     /* what is stored, where there is no packet */
	uint32_t field;     /* AT_... in the guest's ring; plus TO_GUEST in the host's */
	uint32_t before;    /* round trips made first */
};

#define TO_GUEST 0x1000u
#define ID       "0100000000000000"
/* A request that the echo driver takes, 40 bytes with its trailer. */
#define SINK     "03000000 00000000 0000000000000000"

static const struct attack attacks[] = {
	/* indices */
	{"ring_025_036_in_is_the_size", DEAD, DEAD, .index = DSIZE, .field = AT_IN},
	{"ring_025_036_in_is_all_ones", DEAD, DEAD, .index = ~0u, .field = AT_IN},
	{"ring_025_036_in_is_unaligned", DEAD, DEAD, .index = 4, .field = AT_IN},
	{"ring_025_036_in_is_the_sign_bit", DEAD, DEAD, .index = 0x80000000, .field = AT_IN},
	{"ring_025_036_in_is_far_and_aligned", DEAD, DEAD, .index = 0xfffffff8, .field = AT_IN},
	{"ring_027_036_in_is_8_ahead", DEAD, DEAD, .index = 8, .field = AT_IN},
	{"ring_027_036_in_is_16_ahead", DEAD, DEAD, .index = 16, .field = AT_IN},
	{"ring_034_in_goes_back", ANYTHING, ANYTHING, .index = 0, .field = AT_IN, .before = 20},
	{"ring_034_in_goes_back_by_one_unit", ANYTHING, ANYTHING, .index = 48 * 20 - 8,
	 .field = AT_IN, .before = 20},
	{"ring_035_mask_is_all_ones", GOES_ON, GOES_ON, .index = ~0u, .field = TO_GUEST | AT_MASK},
	{"ring_035_the_hosts_mask_is_all_ones", GOES_ON, GOES_ON, .index = ~0u, .field = AT_MASK},
	{"ring_035_pending_is_all_ones", GOES_ON, GOES_ON, .index = ~0u, .field = AT_PENDING},
	{"ring_035_pending_is_one", GOES_ON, GOES_ON, .index = 1, .field = AT_PENDING},
	{"ring_035_pending_is_the_size_less_one", GOES_ON, GOES_ON, .index = DSIZE - 1,
	 .field = AT_PENDING},
	{"ring_035_the_hosts_pending_is_all_ones", GOES_ON, GOES_ON, .index = ~0u,
	 .field = TO_GUEST | AT_PENDING},
	{"ring_035_features_are_all_ones", GOES_ON, GOES_ON, .index = ~0u, .field = AT_FEATURES},
	{"ring_035_features_are_taken_back", GOES_ON, GOES_ON, .index = 0, .field = AT_FEATURES},
	/* descriptors */
	{"ring_028_length_is_0", DEAD, DEAD, .packet = "0600 0200 0000 0100" ID, .length = 40},
	{"ring_028_length_is_1", DEAD, DEAD, .packet = "0600 0200 0100 0100" ID, .length = 40},
	{"ring_028_data_offset_is_0", DEAD, DEAD, .packet = "0600 0000 0400 0100" ID, .length = 40},
	{"ring_028_data_offset_is_1", DEAD, DEAD, .packet = "0600 0100 0400 0100" ID, .length = 40},
	{"ring_028_data_offset_is_behind_the_end", DEAD, DEAD, .packet = "0600 0500 0400 0100" ID,
	 .length = 40},
	{"ring_028_data_offset_is_all_ones", DEAD, DEAD, .packet = "0600 ffff 0400 0100" ID,
	 .length = 40},
	{"ring_029_length_leaves_no_trailer", DEAD, DEAD, .packet = "0600 0200 0500 0100" ID SINK,
	 .length = 40},
	{"ring_029_length_is_one_unit_too_much", DEAD, DEAD,
	 .packet = "0600 0200 0600 0100" ID SINK, .length = 40},
	{"ring_029_length_is_the_ring", DEAD, DEAD, .packet = "0600 0200 0006 0100" ID SINK,
	 .length = 40},
	{"ring_029_length_is_all_ones", DEAD, DEAD, .packet = "0600 0200 ffff 0100" ID SINK,
	 .length = 40},
	{"ring_023_transfer_pages_without_header", DEAD, DEAD,
	 .packet = "0700 0200 0400 0100" ID SINK, .length = 40},
	{"ring_023_gpa_direct_without_header", DEAD, DEAD, .packet = "0900 0200 0400 0100" ID SINK,
	 .length = 40},
	{"everything_is_all_ones", DEAD, DEAD, .packet = "ffff ffff ffff ffff ffffffffffffffff",
	 .length = 40},
	/* types */
	{"ring_024_type_0", STOPPED, ANYTHING, .packet = "0000 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_1", STOPPED, ANYTHING, .packet = "0100 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_2", STOPPED, ANYTHING, .packet = "0200 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_4", STOPPED, ANYTHING, .packet = "0400 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_5", STOPPED, ANYTHING, .packet = "0500 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_8", STOPPED, ANYTHING, .packet = "0800 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_10", STOPPED, ANYTHING, .packet = "0a00 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_12", STOPPED, ANYTHING, .packet = "0c00 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_13", STOPPED, ANYTHING, .packet = "0d00 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_024_type_0xffff", STOPPED, ANYTHING, .packet = "ffff 0200 0400 0100" ID SINK,
	 .length = 40},
	{"ring_037_flags_that_nobody_knows", ANYTHING, ANYTHING,
	 .packet = "0600 0200 0400 feff" ID SINK, .length = 40},
	/* page sets */
	{"transfer_pages_to_a_host", STOPPED, GOES_ON,
	 .packet = "0700 0400 0600 0100" ID "0100 0000 01000000 10000000 00000000" SINK,
	 .length = 56},
	{"ring_019_transfer_pages_that_wrap", STOPPED, GOES_ON,
	 .packet = "0700 0400 0600 0100" ID "0100 0000 01000000 10000000 f8ffffff" SINK,
	 .length = 56},
	{"transfer_pages_more_than_the_header", STOPPED, ANYTHING,
	 .packet = "0700 0400 0600 0100" ID "0100 0000 ffffffff 10000000 00000000" SINK,
	 .length = 56},
	/* page lists */
	{"ring_020_no_range_at_all", DEAD, DEAD,
	 .packet = "0900 0300 0500 0100" ID "00000000 00000000" SINK, .length = 48},
	{"ring_021_range_count_is_all_ones", STOPPED, ANYTHING,
	 .packet = "0900 0500 0700 0100" ID
		   "00000000 ffffffff 00100000 00000000 0500000000000000" SINK,
	 .length = 64},
	{"ring_021_range_of_no_bytes", STOPPED, ANYTHING,
	 .packet = "0900 0500 0700 0100" ID
		   "00000000 01000000 00000000 00000000 0500000000000000" SINK,
	 .length = 64},
	{"ring_021_range_from_behind_its_page", STOPPED, ANYTHING,
	 .packet = "0900 0500 0700 0100" ID
		   "00000000 01000000 00100000 00100000 0500000000000000" SINK,
	 .length = 64},
	{"ring_021_range_that_wraps", STOPPED, ANYTHING,
	 .packet = "0900 0500 0700 0100" ID
		   "00000000 01000000 ffffffff ff0f0000 0500000000000000" SINK,
	 .length = 64},
	{"ring_021_range_of_too_few_pages", STOPPED, ANYTHING,
	 .packet = "0900 0500 0700 0100" ID
		   "00000000 01000000 01100000 00000000 0500000000000000" SINK,
	 .length = 64},
	{"ring_021_range_of_4_gigabytes", STOPPED, ANYTHING,
	 .packet = "0900 0500 0700 0100" ID
		   "00000000 01000000 00f0ffff 00000000 0500000000000000" SINK,
	 .length = 64},
	{"ring_022_words_after_the_last_range", GOES_ON, GOES_ON,
	 .packet = "0900 0600 0800 0100" ID
		   "00000000 01000000 00100000 00000000 0500000000000000 ffffffffffffffff" SINK,
	 .length = 72},
	/* completions of nothing */
	{"ring_067_completion_of_0", GOES_ON, GOES_ON,
	 .packet = "0b00 0200 0400 0000 0000000000000000" SINK, .length = 40},
	{"ring_067_completion_of_1", GOES_ON, GOES_ON, .packet = "0b00 0200 0400 0000" ID SINK,
	 .length = 40},
	{"ring_067_completion_of_all_ones", GOES_ON, GOES_ON,
	 .packet = "0b00 0200 0200 0000 ffffffffffffffff", .length = 24},
	{"ring_067_completion_of_a_pointer", GOES_ON, GOES_ON,
	 .packet = "0b00 0200 0200 0000 00f0de4f41410000", .length = 24},
};
#define ATTACKS (sizeof(attacks) / sizeof(attacks[0]))

/* ---- carrying one out ---- */

static void spoil(struct channel *c, const struct attack *a)
{
	uint8_t bytes[256] = {0};
	uint8_t *control = a->field & TO_GUEST ? c->in.control : c->out.control;

	if (!a->packet) {
		store32(control + (a->field & 0xfff), a->index);
	} else {
		parse_hex(a->packet, bytes, sizeof(bytes));
		ring_write(&c->out, bytes, a->length);
		store32(c->out.control + AT_IN, c->out.mine);
	}
	channel_signal(c);
}

/* Does not wait for what may never come. */
static void send_blindly(struct channel *c, const void *bytes, uint32_t n)
{
	ring_write(&c->out, bytes, n);
	store32(c->out.control + AT_IN, c->out.mine);
	channel_signal(c);
}

static uint32_t echo_packet(uint8_t *to, struct channel *c, uint64_t id)
{
	uint8_t request[24];

	echo_request(request, 1, 8, id, "8 bytes.", 8);
	return make_packet(to, 6, 1, id, NULL, 0, request, 24, c->out.mine);
}

/* What the host says besides is not asked for: an answer to the attack itself may come first. */
static bool answered(struct channel *c, uint64_t id, unsigned int wait_ms)
{
	uint64_t until = now_ns() + wait_ms * 1000000ull;
	uint8_t packet[8192];
	bool want;

	while (now_ns() < until) {
		if (ring_read(&c->in, packet, sizeof(packet), &want) && get16(packet) == 0xb &&
		    get64(packet + 8) == id)
			return true;
		nap_us(20);
	}
	return false;
}

/* The host's channels share two threads by their ids. Once another channel of the same thread has
 * been answered several times, the one under attack was looked at. */
static void see_the_dispatcher_by(void)
{
	for (uint32_t i = 0; i < 6; i++) {
		channel_echo(&beside, i);
		nap_us(200);
	}
}

static void see_what_came_of_it(struct channel *c, enum outcome outcome, uint32_t out)
{
	uint8_t packet[64];
	uint32_t n = echo_packet(packet, c, 0xfeed);

	switch (outcome) {
	case GOES_ON:
		send_blindly(c, packet, n);
		assert_true(answered(c, 0xfeed, 20000));
		channel_echo(c, 32);
		return;
	case DEAD:
		see_the_dispatcher_by();
		send_blindly(c, packet, n);
		assert_false(answered(c, 0xfeed, 5));
		assert_int_equal(load32(c->out.control + AT_OUT), out);
		return;
	case STOPPED:
		send_blindly(c, packet, n);
		assert_false(answered(c, 0xfeed, 5));
		return;
	case ANYTHING:
		send_blindly(c, packet, n);
		answered(c, 0xfeed, 2);
		return;
	}
}

static void attack_channel(const struct attack *a, uint32_t relid, enum outcome outcome)
{
	struct channel c;
	uint32_t out;

	channel_open(&beside, g, ECHO_ONE + PLAIN - relid, PAGES, PAGES);
	channel_open(&c, g, relid, PAGES, PAGES);
	for (uint32_t i = 0; i < a->before; i++)
		channel_echo(&c, 8);
	wait_for(load32(c.out.control + AT_OUT) == c.out.mine);
	out = c.out.mine;
	spoil(&c, a);
	see_what_came_of_it(&c, outcome, out);
	for (uint32_t i = 0; i < 10; i++) {
		channel_echo(&neighbour, i * 100);
		channel_echo(&beside, i * 100);
	}
	channel_close(&beside);
	channel_close(&c);
	channel_open(&c, g, relid, PAGES, PAGES);
	for (uint32_t i = 0; i < 10; i++)
		channel_echo(&c, i * 100);
	channel_close(&c);
}

static void carry_out(void **state)
{
	const struct attack *a = *state;

	attack_channel(a, ECHO_ONE, a->echo);
	attack_channel(a, PLAIN, a->plain);
}

/* ---- what takes more than one store ---- */

/* The host's own index says something else than it wrote: it goes on from what it knows. */
static void ring_032_033_the_hosts_own_indices_overwritten(void **state)
{
	struct channel c;

	for (uint32_t relid = ECHO_ONE; relid <= PLAIN; relid += 2) {
		channel_open(&c, g, relid, PAGES, PAGES);
		for (uint32_t i = 0; i < 2000; i++) {
			uint8_t packet[64];
			uint32_t n = echo_packet(packet, &c, i), next = (c.in.mine + 48) % DSIZE;

			store32(c.out.control + AT_OUT, 0xfffffff0 + i);
			store32(c.in.control + AT_IN, c.in.mine);
			__atomic_store_n(c.in.control + 1, 0, __ATOMIC_RELAXED);
			store32(c.in.control + AT_IN, c.in.mine);
			send_blindly(&c, packet, n);
			wait_for(load32(c.in.control + AT_IN) == next);
			assert_true(answered(&c, i, 1000));
		}
		channel_close(&c);
	}
}

/* An index of the guest's that no reader can have: nothing is written over what was not read. */
static void ring_026_the_guests_read_index_lies(void **state)
{
	static const uint32_t lies[] = {DSIZE, 12, ~0u, 0x80000000, DSIZE + 8};
	struct channel c;

	for (unsigned int i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		uint8_t request[16];

		channel_open(&c, g, ECHO_ONE, PAGES, 2);
		store32(c.in.control + AT_OUT, lies[i]);
		echo_request(request, 7, 1000, 1, NULL, 0);
		channel_send(&c, 6, 1, 1, NULL, 0, request, 16);
		nap_us(2000);
		/* 88 bytes a pushed packet: at most 46 of them were there without a look at it */
		assert_true(load32(c.in.control + AT_IN) % 88 == 0);
		assert_true(load32(c.in.control + AT_IN) <= 46 * 88);
		channel_echo(&neighbour, 200);
		channel_close(&c);
	}
	channel_open(&c, g, ECHO_ONE, PAGES, 2);
	channel_echo(&c, 200);
	channel_close(&c);
}

/* Both rings are looked at when the channel is opened: no such open succeeds. */
static void indices_that_are_wrong_from_the_start(void **state)
{
	static const uint32_t lies[] = {DSIZE, 4, ~0u, DSIZE + 8};
	static const uint32_t fields[] = {AT_IN, AT_OUT};
	struct channel c;

	for (unsigned int i = 0; i < 16; i++) {
		uint8_t *control;

		channel_prepare(&c, g, i % 2 ? ECHO_ONE : PLAIN, PAGES, PAGES);
		control = i & 8 ? c.in.control : c.out.control;
		store32(control + fields[i >> 2 & 1], lies[i & 3]);
		channel_post_open(&c);
		if (channel_open_result(&c) == REFUSED) {
			store32(control + fields[i >> 2 & 1], 0);
			channel_post_open(&c);
			assert_int_equal(channel_open_result(&c), 0);
			channel_echo(&c, 8);
		} else {
			/* the host reads neither of its peer's own indices */
			assert_true((i & 8) ? fields[i >> 2 & 1] == AT_IN
					    : fields[i >> 2 & 1] == AT_OUT);
		}
		channel_close(&c);
	}
}

/* Written before the channel was open, and found without a signal. */
static void packets_from_before_the_open(void **state)
{
	struct channel c;

	for (uint32_t relid = ECHO_ONE; relid <= PLAIN; relid += 2) {
		uint8_t packet[64];

		channel_prepare(&c, g, relid, PAGES, PAGES);
		ring_write(&c.out, packet, echo_packet(packet, &c, 0x11));
		ring_publish(&c.out);
		channel_post_open(&c);
		assert_int_equal(channel_open_result(&c), 0);
		assert_true(answered(&c, 0x11, 20000));
		channel_close(&c);
	}
}

/* Dropped each, and counted; meanwhile requests are answered. */
static void ring_067_068_a_thousand_forged_completions(void **state)
{
	uint64_t seed = 42;
	struct channel c;

	channel_open(&c, g, ECHO_ONE, PAGES, PAGES);
	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t id = i < 300 ? i : next_random(&seed);

		channel_send(&c, 0xb, 0, id, NULL, 0, "forged!", 8);
		if (i % 10 == 0)
			channel_echo(&c, 8);
	}
	channel_echo(&c, 8);
	assert_int_equal(server_stats(&server, ECHO_ONE).dropped_completions, 1000);
	channel_close(&c);
}

/* More than a packet of this channel may have, in a ring that could hold it. */
static void ring_038_packets_over_the_limit(void **state)
{
	static uint8_t big[65552 + 8];
	struct channel c;

	channel_open(&c, g, ECHO_ONE, 40, 4);
	channel_send(&c, 6, 1, 1, NULL, 0, big, 65552);
	assert_true(answered(&c, 1, 20000)); /* refused by the driver, who saw it */
	channel_send(&c, 6, 1, 2, NULL, 0, big, 65560);
	channel_send(&c, 6, 1, 3, NULL, 0, big, 24);
	assert_false(answered(&c, 3, 5));
	channel_close(&c);
	channel_open(&c, g, PLAIN, 40, 4);
	channel_send(&c, 6, 1, 2, NULL, 0, big, 65552);
	channel_echo(&c, 100);
	channel_close(&c);
}

static void ring_008_the_largest_packet_that_fits(void **state)
{
	static uint8_t big[DSIZE] = {3};
	struct channel c;

	channel_open(&c, g, ECHO_ONE, PAGES, PAGES);
	for (uint32_t i = 0; i < 20; i++) {
		channel_send(&c, 6, 1, i, NULL, 0, big, DSIZE - 8 - 24);
		assert_true(answered(&c, i, 20000));
		channel_echo(&c, 8 * i);
	}
	channel_close(&c);
}

/* ---- GPADLs that packets name ---- */

static uint32_t sum_status(struct channel *c, uint32_t gpadl, uint32_t offset, uint32_t length)
{
	uint8_t request[24], answer[128];

	echo_request(request, 6, length, 1, NULL, 0);
	put32(request + 16, gpadl);
	put32(request + 20, offset);
	channel_send(c, 6, 1, 77, NULL, 0, request, 24);
	assert_true(channel_receive(c, answer, sizeof(answer)) >= 32);
	assert_int_equal(get16(answer), 0xb);
	return get32(answer + 20);
}

#define INVALID 0xc000000du

static void gpadls_that_a_packet_should_not_name(void **state)
{
	uint64_t gpa = guest_pages(g, 4), words[5] = {4 * PAGE};
	uint32_t mine, theirs;
	struct message m;
	struct channel c;

	channel_open(&c, g, ECHO_ONE, PAGES, PAGES);
	mine = guest_gpadl(g, ECHO_ONE, gpa, 4);
	theirs = guest_gpadl(g, ECHO_TWO, gpa, 4);
	for (uint32_t i = 0; i < 4; i++)
		words[1 + i] = i == 2 ? MACHINE_MEMORY / PAGE : gpa / PAGE;
	guest_post(g, make_gpadl_header(ECHO_ONE, 0x500, 40, 1, words, 5));
	guest_expect(g, GPADL_CREATED, &m);
	for (unsigned int i = 0; i < 10; i++) {
		assert_int_equal(sum_status(&c, mine, 0, 4 * PAGE), 0);
		assert_int_equal(sum_status(&c, mine, 1, 4 * PAGE), INVALID);
		assert_int_equal(sum_status(&c, mine, ~0u, 1), INVALID);
		assert_int_equal(sum_status(&c, mine, 1, ~0u), INVALID);
		assert_int_equal(sum_status(&c, theirs, 0, 16), INVALID);
		assert_int_equal(sum_status(&c, c.gpadl, 0, 16), INVALID);
		assert_int_equal(sum_status(&c, neighbour.gpadl, 0, 16), INVALID);
		assert_int_equal(sum_status(&c, 0, 0, 16), INVALID);
		assert_int_equal(sum_status(&c, ~0u, 0, 16), INVALID);
		assert_int_equal(sum_status(&c, 0x500, 0, 3 * PAGE), INVALID);
	}
	channel_close(&c);
}

/* Taken back while the host reads it: TORNDOWN comes when it has finished, and not before. */
static void ctl_063_a_gpadl_torn_down_while_it_is_read(void **state)
{
	uint32_t pages = 1024;
	uint64_t gpa = guest_pages(g, pages);
	struct channel c;

	channel_open(&c, g, ECHO_ONE, PAGES, PAGES);
	for (unsigned int i = 0; i < 8; i++) {
		uint32_t gpadl = guest_gpadl(g, ECHO_ONE, gpa, pages);
		struct message torndown = make_torndown(gpadl);
		uint8_t request[24];

		echo_request(request, 6, pages * PAGE, i, NULL, 0);
		put32(request + 16, gpadl);
		put32(request + 20, 0);
		channel_send(&c, 6, 1, i, NULL, 0, request, 24);
		if (i % 2)
			nap_us(500);
		guest_post(g, make_teardown(ECHO_ONE, gpadl));
		guest_expect_bytes(g, &torndown);
		assert_true(answered(&c, i, 20000));
	}
	channel_close(&c);
}

int main(void)
{
	static struct CMUnitTest tests[ATTACKS + 16];
	size_t n = 0;

#define TEST(function) \
	tests[n++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	for (size_t i = 0; i < ATTACKS; i++) {
		TEST(carry_out);
		tests[n - 1].name = attacks[i].name;
		tests[n - 1].initial_state = (void *)(uintptr_t)&attacks[i];
	}
	TEST(ring_032_033_the_hosts_own_indices_overwritten);
	TEST(ring_026_the_guests_read_index_lies);
	TEST(indices_that_are_wrong_from_the_start);
	TEST(packets_from_before_the_open);
	TEST(ring_067_068_a_thousand_forged_completions);
	TEST(ring_038_packets_over_the_limit);
	TEST(ring_008_the_largest_packet_that_fits);
	TEST(gpadls_that_a_packet_should_not_name);
	TEST(ctl_063_a_gpadl_torn_down_while_it_is_read);
	return _cmocka_run_group_tests("hostile rings", tests, n, NULL, NULL);
}
