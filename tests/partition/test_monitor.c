/* SPDX-License-Identifier: MIT */
/* Monitor pages: the host's watch, against a guest by hand. */
#include "support.h"

#include <errno.h>

#include "monitor_page.h"
#include "partition/server_end.h"

#define LATENCY    2000u /* 200 us */
#define LATENCY_NS 200000u

/* ---- the host's watch ---- */

static uint64_t guest_pages(struct raw_guest *g, uint32_t pages)
{
	uint64_t gpa;

	assert_int_equal(part_pages_alloc(&g->part->client, pages, &gpa), 0);
	return gpa;
}

static uint8_t *at(struct raw_guest *g, uint64_t gpa)
{
	return part_memory_at(&g->part->client, gpa, 4096);
}

/* A contact with monitor pages and features, REQUEST_OFFERS; the offers are taken. */
static void connect_with(struct raw_guest *g, uint32_t version, uint32_t features, uint64_t p2c,
			 uint64_t c2p, struct raw_message *response)
{
	uint8_t contact[40] = {14}, request[8] = {3};
	struct raw_message m;

	vmbus_put32(contact + 8, version);
	vmbus_put32(contact + 20, features);
	vmbus_put64(contact + 24, p2c);
	vmbus_put64(contact + 32, c2p);
	raw_post(g, contact, sizeof(contact));
	raw_expect(g, 15, response);
	assert_int_equal(response->bytes[8], 1);
	assert_int_equal(response->bytes[9], 0);
	raw_post(g, request, sizeof(request));
	do {
		wait_until(raw_take(g, 0, 2, &m));
	} while (vmbus_get32(m.bytes) != 4);
}

/* One monitored device on channel 1, its rings announced as GPADL 7; the page toward the host. */
static uint8_t *start_monitored(struct raw_guest *g, struct device *d,
				const struct part_options *options, uint32_t version,
				uint32_t features)
{
	struct raw_message m;
	uint64_t pages;

	raw_guest_start(g, options);
	device_init(d);
	d->monitored = true;
	d->latency = LATENCY;
	device_offer(d, g->host, 0);
	pages = guest_pages(g, 2);
	connect_with(g, version, features, pages, pages + 4096, &m);
	raw_gpadl(g, 1, 7, guest_pages(g, 2 * RING_PAGES), 2 * RING_PAGES);
	return at(g, pages + 4096);
}

static void open_one(struct raw_guest *g, struct device *d, uint32_t vp)
{
	raw_post_open(g, 1, 7, RING_PAGES, vp);
	assert_int_equal(raw_expect_open_result(g, 1), 0);
	sem_wait(&d->opened);
}

static void stop_one(struct raw_guest *g, struct device *d)
{
	device_revoke(d);
	raw_guest_stop(g);
	device_destroy(d);
}

static uint64_t looks(struct raw_guest *g)
{
	return atomic_load(&g->host->srv->monitor.looks);
}

static uint64_t taken(struct device *d)
{
	return __atomic_load_n(&d->port.signals_taken, __ATOMIC_RELAXED);
}

/* What was there before may still be on its way. */
static void expect_signal(struct device *d, uint8_t *page, uint32_t id)
{
	uint64_t before = taken(d);

	set_bit(page, id);
	wait_until(!bit_is_set(page, id));
	wait_until(taken(d) > before);
}

static void ctl_117_bits_of_nobody_are_cleared_and_wake_nobody(void **state)
{
	struct raw_guest g;
	struct device d;
	uint8_t *page = start_monitored(&g, &d, NULL, VMBUS_V5_3, 0);
	uint64_t before;

	open_one(&g, &d, 0);
	wait_until(atomic_load(&d.polls));
	expect_signal(&d, page, 0);
	before = taken(&d);
	for (uint32_t id = 1; id < 128; id++)
		set_bit(page, id);
	for (uint32_t id = 1; id < 128; id++)
		wait_until(!bit_is_set(page, id));
	nap(SETTLE_NS);
	assert_int_equal(taken(&d), before);
	pthread_mutex_lock(&g.host->srv->monitor.lock);
	assert_int_equal(g.host->srv->monitor.ids.strays, 127);
	pthread_mutex_unlock(&g.host->srv->monitor.lock);
	expect_signal(&d, page, 0);
	stop_one(&g, &d);
}

struct punctuality {
	uint32_t tries, seen, prompt; /* prompt: this thread, which sleeps as the host's does */
};

/* Sleeps meanwhile: a loop here could take the processor that the host's thread waits for. */
static void try_in_time(struct device *d, uint8_t *page, uint64_t latency_ns, struct punctuality *p)
{
	uint64_t start, before = taken(d);

	start = clock_now_ns();
	set_bit(page, 0);
	nap(2 * latency_ns);
	p->tries++;
	p->seen += !bit_is_set(page, 0);
	p->prompt += clock_now_ns() - start <= 3 * latency_ns;
	wait_until(taken(d) == before + 1);
}

/*
 * What is measured is the host, and not who else uses the machine: a good while is enough. Where
 * there is none, and this thread is woken late as well, there is nothing to be learnt here.
 */
static void host_030_a_bit_is_seen_within_twice_the_latency(void **state)
{
	enum {
		WHILES = 100,
		TRIES = 20,
		ENOUGH = TRIES * 9 / 10
	};
	static const uint16_t latencies[] = {LATENCY, 20000};
	struct raw_guest g;
	struct device d;
	uint8_t *page = start_monitored(&g, &d, NULL, VMBUS_V5_3, 0);
	bool measured = true;

	open_one(&g, &d, 0);
	wait_until(atomic_load(&d.polls));
	for (size_t l = 0; l < sizeof(latencies) / sizeof(latencies[0]); l++) {
		uint64_t latency_ns = latencies[l] * 100ull;
		struct punctuality one, all = {0};

		__atomic_store_n((uint16_t *)(void *)(page + 0x240), latencies[l],
				 __ATOMIC_SEQ_CST);
		for (uint32_t i = 0; i < WHILES; i++) {
			memset(&one, 0, sizeof(one));
			for (uint32_t n = 0; n < TRIES; n++) {
				try_in_time(&d, page, latency_ns, &one);
				nap(latency_ns / TRIES * n);
			}
			all.tries += one.tries;
			all.prompt += one.prompt;
			if (one.seen >= ENOUGH)
				break;
		}
		print_message("# %u us: %u of %u in time, this thread %u of %u\n",
			      latencies[l] / 10, one.seen, one.tries, all.prompt, all.tries);
		assert_true(one.seen >= ENOUGH || all.prompt < all.tries * 9 / 10);
		measured &= one.seen >= ENOUGH;
	}
	stop_one(&g, &d);
	if (!measured)
		skip();
}

static void ctl_106_host_030_nobody_looks_when_nothing_is_open(void **state)
{
	struct raw_guest g;
	struct device d;
	unsigned int threads;
	uint8_t *page, unload[8] = {16};
	struct raw_message m;
	uint64_t before, signals;

	page = start_monitored(&g, &d, NULL, VMBUS_V5_3, 0);
	threads = count_threads();
	/* Offered is not open: nobody looks, nobody is there to look. */
	set_bit(page, 0);
	nap(SETTLE_NS);
	assert_true(bit_is_set(page, 0));
	assert_int_equal(looks(&g), 0);
	open_one(&g, &d, 0);
	assert_int_equal(count_threads(), threads + 1);
	wait_until(looks(&g) > 5);
	expect_signal(&d, page, 0);
	for (int i = 0; i < 3; i++) {
		raw_post_channel(&g, 7, 1);
		wait_until(atomic_load(&d.closes) == (unsigned int)i + 1);
		nap(SETTLE_NS);
		before = looks(&g);
		signals = taken(&d);
		set_bit(page, 0);
		nap(SETTLE_NS);
		assert_int_equal(looks(&g), before);
		assert_int_equal(taken(&d), signals);
		assert_true(bit_is_set(page, 0));
		open_one(&g, &d, 0);
		wait_until(!bit_is_set(page, 0));
		wait_until(looks(&g) > before + 5);
		expect_signal(&d, page, 0);
	}
	assert_int_equal(count_threads(), threads + 1);
	/* The page is the guest's again with the answer. */
	raw_post(&g, unload, sizeof(unload));
	raw_expect(&g, 17, &m);
	before = looks(&g);
	signals = taken(&d);
	memset(page, 0xff, 4096);
	nap(SETTLE_NS);
	for (uint32_t i = 0; i < 4096; i++)
		assert_int_equal(page[i], 0xff);
	assert_int_equal(looks(&g), before);
	assert_int_equal(taken(&d), signals);
	stop_one(&g, &d);
}

/* Who asked for no interrupts is not watched; the doorbell works. */
static void no_interrupts_no_watch(void **state)
{
	struct raw_guest g;
	struct device d;
	uint8_t *page = start_monitored(&g, &d, NULL, VMBUS_V5_3, 0);

	open_one(&g, &d, 0xffffffff);
	set_bit(page, 0);
	nap(SETTLE_NS);
	assert_true(bit_is_set(page, 0));
	assert_int_equal(looks(&g), 0);
	wait_until(atomic_load(&d.polls));
	assert_int_equal(g.ops->signal_event(g.part->transport, 0x2001, 0), HV_STATUS_SUCCESS);
	wait_until(taken(&d) == 1);
	stop_one(&g, &d);
}

static void both_ways_of_signalling_are_served(void **state)
{
	struct raw_guest g;
	struct device d;
	uint8_t *page = start_monitored(&g, &d, NULL, VMBUS_V5_3, 0);

	open_one(&g, &d, 0);
	wait_until(atomic_load(&d.polls));
	expect_signal(&d, page, 0);
	assert_int_equal(g.ops->signal_event(g.part->transport, 0x2001, 0), HV_STATUS_SUCCESS);
	wait_until(taken(&d) == 2);
	stop_one(&g, &d);
}

/* Looks in a while, and how long that was. */
static uint64_t looks_in_a_while(struct raw_guest *g, uint64_t *ns)
{
	uint64_t before, start;

	nap(10000000);
	start = clock_now_ns();
	before = looks(g);
	nap(120000000);
	before = looks(g) - before;
	*ns = clock_now_ns() - start;
	return before;
}

/* What a guest reads there, and changes. */
static void the_guest_may_change_the_latency(void **state)
{
	struct raw_guest g;
	struct device d;
	uint8_t *page = start_monitored(&g, &d, NULL, VMBUS_V5_3, 0);
	uint16_t *latency = (uint16_t *)(void *)(page + 0x240);
	uint64_t fast, ns;

	open_one(&g, &d, 0);
	assert_int_equal(vmbus_get32(page), 1);
	assert_int_equal(__atomic_load_n(latency, __ATOMIC_SEQ_CST), LATENCY);
	assert_int_equal(vmbus_get32(page + 0x440), 0x2001);
	__atomic_store_n(latency, 60000, __ATOMIC_SEQ_CST); /* 6 ms */
	assert_true(looks_in_a_while(&g, &ns) <= ns / 6000000 + 2);
	__atomic_store_n(latency, LATENCY, __ATOMIC_SEQ_CST);
	/* more often: as soon as who else uses the machine lets it */
	wait_until((fast = looks_in_a_while(&g, &ns)) > ns / 6000000 + 2 ||
		   fast > ns / LATENCY_NS + 2);
	assert_true(fast <= ns / LATENCY_NS + 2);
	/* Nor does a guest get the host to look without pause. */
	__atomic_store_n(latency, 0, __ATOMIC_SEQ_CST);
	assert_true(looks_in_a_while(&g, &ns) <= ns / VMBUS_MONITOR_FLOOR_NS + 2);
	/* The next open has the offer's again. */
	raw_post_channel(&g, 7, 1);
	wait_until(atomic_load(&d.closes) == 1);
	open_one(&g, &d, 0);
	assert_int_equal(__atomic_load_n(latency, __ATOMIC_SEQ_CST), LATENCY);
	stop_one(&g, &d);
}

static void post_pages(struct raw_guest *g, uint64_t p2c, uint64_t c2p, uint8_t expected)
{
	uint8_t modify[24] = {25};
	struct raw_message m;

	vmbus_put64(modify + 8, p2c);
	vmbus_put64(modify + 16, c2p);
	raw_post(g, modify, sizeof(modify));
	raw_expect(g, 26, &m);
	assert_int_equal(m.size, 9);
	assert_int_equal(m.bytes[8], expected);
}

static void ctl_109_modify_connection_moves_the_watch(void **state)
{
	const struct part_options o = {.memory = TEST_MEMORY,
				       .server_dispatchers = 2,
				       .features = VMBUS_FEATURE_MODIFY_CONNECTION};
	struct raw_guest g;
	struct device d;
	uint8_t *old = start_monitored(&g, &d, &o, VMBUS_V6_0, VMBUS_FEATURE_MODIFY_CONNECTION);
	uint64_t pages = guest_pages(&g, 2);
	uint8_t *page = at(&g, pages + 4096);

	open_one(&g, &d, 0);
	expect_signal(&d, old, 0);
	post_pages(&g, pages, pages + 4096, 2); /* a channel that uses it is open */
	raw_post_channel(&g, 7, 1);
	wait_until(atomic_load(&d.closes) == 1);
	post_pages(&g, pages, 0, 2);
	post_pages(&g, pages, TEST_MEMORY, 2);
	post_pages(&g, pages, pages + 4096, 0);
	open_one(&g, &d, 0);
	expect_signal(&d, page, 0);
	set_bit(old, 0);
	nap(SETTLE_NS);
	assert_true(bit_is_set(old, 0));
	raw_post_channel(&g, 7, 1);
	wait_until(atomic_load(&d.closes) == 2);
	post_pages(&g, 0, 0, 0);
	open_one(&g, &d, 0);
	set_bit(page, 0);
	nap(SETTLE_NS);
	assert_true(bit_is_set(page, 0));
	stop_one(&g, &d);
}

static void ctl_018_the_hosts_own_pages_are_watched(void **state)
{
	const struct part_options o = {
		.memory = TEST_MEMORY, .server_dispatchers = 2, .server_monitor = true};
	struct raw_guest g;
	struct device d;
	struct raw_message m;
	uint64_t mine, his;

	raw_guest_start(&g, &o);
	device_init(&d);
	d.monitored = true;
	d.latency = LATENCY;
	device_offer(&d, g.host, 0);
	mine = guest_pages(&g, 2);
	connect_with(&g, VMBUS_V6_0, VMBUS_FEATURE_SERVER_MONITOR, mine, mine + 4096, &m);
	assert_int_equal(m.size, 40);
	assert_int_equal(vmbus_get32(m.bytes + 16), VMBUS_FEATURE_SERVER_MONITOR);
	his = vmbus_get64(m.bytes + 32);
	assert_int_not_equal(his, mine + 4096);
	raw_gpadl(&g, 1, 7, guest_pages(&g, 2 * RING_PAGES), 2 * RING_PAGES);
	open_one(&g, &d, 0);
	expect_signal(&d, at(&g, his), 0);
	set_bit(at(&g, mine + 4096), 0);
	nap(SETTLE_NS);
	assert_true(bit_is_set(at(&g, mine + 4096), 0));
	/* A guest that does not ask keeps its own. */
	connect_with(&g, VMBUS_V6_0, 0, mine, mine + 4096, &m);
	assert_int_equal(m.size, 20);
	raw_gpadl(&g, 1, 7, guest_pages(&g, 2 * RING_PAGES), 2 * RING_PAGES);
	open_one(&g, &d, 0);
	wait_until(!bit_is_set(at(&g, mine + 4096), 0));
	stop_one(&g, &d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctl_117_bits_of_nobody_are_cleared_and_wake_nobody),
		cmocka_unit_test(host_030_a_bit_is_seen_within_twice_the_latency),
		cmocka_unit_test(ctl_106_host_030_nobody_looks_when_nothing_is_open),
		cmocka_unit_test(no_interrupts_no_watch),
		cmocka_unit_test(both_ways_of_signalling_are_served),
		cmocka_unit_test(the_guest_may_change_the_latency),
		cmocka_unit_test(ctl_109_modify_connection_moves_the_watch),
		cmocka_unit_test(ctl_018_the_hosts_own_pages_are_watched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
