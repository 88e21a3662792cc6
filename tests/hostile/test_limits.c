/* SPDX-License-Identifier: MIT */
/*
 * The bounds on what a guest can make the host hold, with small ones set: what the guest is told
 * beyond each, byte for byte, and that what it gives back it can have again.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "server.h"

#define GPADLS 4u
#define PAGES  40u
#define POSTED 3u
#define QUEUED 1u

static struct server server;
static struct guest *const g = &server.g;
static struct channel neighbour;

static int set_up(void **state)
{
	static const struct machine_config config = {
		.gpadls = GPADLS,
		.gpadl_pages = PAGES,
		.posted_messages = POSTED,
		.queued_messages = QUEUED,
	};

	server_start(&server, &config);
	guest_negotiate(g, 0x00050003, 0);
	guest_request_offers(g);
	/* one GPADL of eight pages and a range */
	channel_open(&neighbour, g, ECHO_TWO, 4, 4);
	channel_echo(&neighbour, 100);
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned int i = 0; i < 20; i++)
		channel_echo(&neighbour, i);
	channel_close(&neighbour);
	guest_unload(g);
	server_stop(&server);
	return 0;
}

static void create(uint32_t id, uint32_t pages, uint32_t status)
{
	uint64_t words[PAGES + 2] = {(uint64_t)pages * PAGE};
	struct message want = make_gpadl_created(ECHO_ONE, id, status);
	uint32_t first = pages + 1 < 26 ? pages + 1 : 26;

	for (uint32_t i = 0; i < pages; i++)
		words[i + 1] = 5;
	guest_post(g,
		   make_gpadl_header(ECHO_ONE, id, (uint16_t)(8 * (pages + 1)), 1, words, first));
	if (first < pages + 1 && !status)
		guest_post(g, make_gpadl_body(id, words + first, pages + 1 - first));
	guest_expect_bytes(g, &want);
}

static void tear(uint32_t id)
{
	struct message want = make_torndown(id);

	guest_post(g, make_teardown(ECHO_ONE, id));
	guest_expect_bytes(g, &want);
}

static void ctl_059_one_gpadl_too_many_is_refused(void **state)
{
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t id = 1; id < GPADLS; id++)
			create(id, 1, 0);
		create(GPADLS, 1, REFUSED);
		create(GPADLS, 1, REFUSED); /* a refusal holds nothing */
		tear(2);
		create(GPADLS, 1, 0);
		create(2, 1, REFUSED);
		tear(1);
		tear(3);
		tear(GPADLS);
	}
}

static void ctl_059_one_page_too_many_is_refused(void **state)
{
	const uint32_t left = PAGES - 9; /* beside the neighbour's */

	for (uint32_t round = 0; round < 3; round++) {
		create(1, left, REFUSED); /* the range counts too */
		create(1, left - 1, 0);
		create(2, 1, REFUSED);
		tear(1);
		create(1, left - 4, 0);
		create(2, 1, 0);
		create(3, 1, REFUSED);
		tear(1);
		tear(2);
	}
}

/* A page count beyond the bound is refused by its header: no body is waited for, none is kept. */
static void ctl_059_what_was_refused_has_no_bodies(void **state)
{
	uint64_t words[28] = {8190ull * PAGE, 5};
	struct message want = make_gpadl_created(ECHO_ONE, 7, REFUSED);

	guest_post(g, make_gpadl_header(ECHO_ONE, 7, 65528, 1, words, 26));
	guest_expect_bytes(g, &want);
	guest_post(g, make_gpadl_body(7, words, 28));
	guest_fence(g); /* the body came to nothing */
	create(7, 1, 0);
	tear(7);
}

/* Posts what is answered with a refusal until the host takes no more; returns how many it took. */
static uint32_t post_until_busy(uint32_t most)
{
	struct message m = make_gpadl_header(MAX_RELID, 1, 16, 1, (uint64_t[]){PAGE, 1}, 2);
	uint32_t taken = 0, quiet = 0;

	while (quiet < 200) {
		if (machine_post(g->m, g->post_to, m.b, m.size) == STATUS_OK) {
			taken++;
			quiet = 0;
			assert_true(taken <= most);
			put32(m.b + 12, taken + 1);
		} else {
			quiet++;
			nap_us(200);
		}
	}
	assert_int_equal(machine_post(g->m, g->post_to, m.b, m.size), STATUS_BUSY);
	return taken;
}

/*
 * A guest that does not take its messages gets one into its slot, and makes the host keep one more;
 * from then on the host takes nothing, and so many posts wait. None is lost.
 */
static void ctl_007_008_a_guest_that_does_not_listen_is_not_heard(void **state)
{
	for (uint32_t round = 0; round < 3; round++) {
		uint32_t taken = post_until_busy(2 + POSTED);

		assert_int_equal(taken, 2 + POSTED);
		for (uint32_t i = 0; i < taken; i++) {
			struct message want = make_gpadl_created(MAX_RELID, i + 1, REFUSED);

			guest_expect_bytes(g, &want);
		}
		guest_fence(g);
	}
}

/* More messages at once than the host queues: the others stay where they are made, in their order.
 */
static void ctl_007_offers_beyond_the_queue_come_in_order(void **state)
{
	struct message m;

	channel_close(&neighbour);
	guest_unload(g);
	guest_negotiate(g, 0x00050003, 0);
	guest_post(g, make_header_only(REQUEST_OFFERS));
	nap_us(20000); /* slot and queue are full */
	assert_int_equal(machine_queued(g->m), QUEUED);
	for (uint32_t relid = ECHO_ONE; relid <= PLAIN; relid++) {
		guest_expect(g, OFFER_CHANNEL, &m);
		assert_int_equal(get32(m.b + 184), relid);
	}
	guest_expect(g, ALL_OFFERS, &m);
	guest_fence(g);
	assert_int_equal(machine_queued(g->m), 0);
	channel_open(&neighbour, g, ECHO_TWO, 4, 4);
}

#define LIMIT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMIT_TEST(ctl_059_one_gpadl_too_many_is_refused),
		LIMIT_TEST(ctl_059_one_page_too_many_is_refused),
		LIMIT_TEST(ctl_059_what_was_refused_has_no_bodies),
		LIMIT_TEST(ctl_007_008_a_guest_that_does_not_listen_is_not_heard),
		LIMIT_TEST(ctl_007_offers_beyond_the_queue_come_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
