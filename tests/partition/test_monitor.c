/* SPDX-License-Identifier: MIT */
/*
 * Monitor pages: the host's watch against a guest by hand, the guest's bits against a host by hand,
 * and both together.
 */
#include "support.h"

#include <errno.h>

#include "partition/client_end.h"
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

static uint32_t *pending(uint8_t *page, uint32_t group)
{
	return (uint32_t *)(void *)(page + 8 + 8 * group);
}

static void set_bit(uint8_t *page, uint32_t id)
{
	__atomic_fetch_or(pending(page, id / 32), 1u << id % 32, __ATOMIC_SEQ_CST);
}

static bool bit_is_set(uint8_t *page, uint32_t id)
{
	return __atomic_load_n(pending(page, id / 32), __ATOMIC_SEQ_CST) >> id % 32 & 1;
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

/* ---- the guest's bits ---- */

/* Answers the contact at 6.0 with 40 bytes or 20, then offers channel 1 with monitor 37. */
static void host_connect(struct raw_host *h, uint32_t features, uint64_t c2p, bool monitored,
			 struct hv_message *contact)
{
	uint8_t response[40] = {15}, delivered[8] = {4}, offer[196] = {1};
	struct hv_message m;

	raw_host_expect(h, 14, contact);
	response[8] = 1;
	vmbus_put32(response + 12, 1);
	vmbus_put32(response + 16, features);
	vmbus_put64(response + 32, c2p);
	raw_host_send(h, response, features & VMBUS_FEATURE_SERVER_MONITOR ? 40 : 20);
	raw_host_expect(h, 3, &m);
	offer[8] = 0x6e;
	vmbus_put32(offer + 24, 1);
	vmbus_put32(offer + 184, 1);
	offer[188] = monitored ? 37 : 0xff;
	offer[189] = monitored;
	offer[190] = 1;
	vmbus_put32(offer + 192, 0x2001);
	raw_host_send(h, offer, sizeof(offer));
	raw_host_send(h, delivered, sizeof(delivered));
}

struct opening {
	struct driver_channel *c;
	uint32_t vp, status;
	int error;
};

static void *run_open(void *arg)
{
	struct opening *o = arg;

	o->error = driver_open(o->c, o->vp, &o->status);
	return NULL;
}

static void host_open(struct raw_host *h, struct driver_channel *c, uint32_t vp)
{
	struct opening o = {.c = c, .vp = vp};
	uint8_t result[20] = {6};
	struct hv_message m;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run_open, &o), 0);
	raw_host_accept_gpadl(h, 1, 0, NULL, 0, NULL);
	raw_host_expect(h, 5, &m);
	memcpy(result + 8, m.payload + 8, 8);
	raw_host_send(h, result, sizeof(result));
	pthread_join(thread, NULL);
	assert_int_equal(o.error, 0);
	assert_int_equal(h->ops->bind_port(h->part->transport, 0x2001, 0, 1), 0);
}

static void rescind_and_put(struct raw_host *h, struct driver_channel *c)
{
	raw_host_send_channel(h, 2, 1);
	wait_until(atomic_load(&c->rescinds) == 1);
	if (c->attached)
		part_port_detach(&c->port);
	c->attached = false;
	part_client_free_rings(atomic_load(&c->ch), &c->port);
	driver_put(c);
	h->ops->unbind_port(h->part->transport, 0x2001);
}

static uint8_t *host_at(struct raw_host *h, uint64_t gpa)
{
	return part_memory_at(part_server(h->part), gpa, 4096);
}

static bool hypercalled(struct raw_host *h)
{
	return hv_flags_take(&h->doorbell, 0) != 0;
}

static const uint32_t both_ports[] = {1, 4, 0};

static void ctl_119_the_clients_signal_is_a_bit_and_no_hypercall(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct hv_message contact;
	uint8_t *page, expected[64] = {0};
	uint64_t p2c, c2p;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	host_connect(&h, 0, 0, true, &contact);
	p2c = vmbus_get64(contact.payload + 24);
	c2p = vmbus_get64(contact.payload + 32);
	assert_true(p2c && c2p && p2c != c2p && !((p2c | c2p) % 4096));
	page = host_at(&h, c2p);
	c = driver_claim(&d, 0);
	host_open(&h, c, 0);
	set_bit(page, 38); /* a neighbour's, which stays */
	part_port_signal(&c->port);
	vmbus_put32(expected + 0x10, 0x60);
	assert_memory_equal(page, expected, sizeof(expected));
	assert_false(hypercalled(&h));
	__atomic_store_n(pending(page, 1), 0, __ATOMIC_SEQ_CST);
	/* A packet makes one signal, as ever. */
	assert_int_equal(driver_send(c, "hello", 5, 0), VMBUS_RING_OK);
	assert_true(bit_is_set(page, 37));
	assert_false(hypercalled(&h));
	assert_int_equal(c->port.signals_sent, 2);
	/* The other direction is not the guest's to write. */
	for (uint32_t i = 0; i < 4096; i++)
		assert_int_equal(host_at(&h, p2c)[i], 0);
	/* CTL-106's like at this end: a rescinded channel sets none. */
	rescind_and_put(&h, c);
	__atomic_store_n(pending(page, 1), 0, __ATOMIC_SEQ_CST);
	part_port_signal(&c->port);
	assert_false(bit_is_set(page, 37));
	driver_stop(&d);
	raw_host_stop(&h);
}

static void without_a_monitor_it_is_a_hypercall(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct raw_host h;
		struct driver d;
		struct driver_channel *c;
		struct hv_message contact;
		uint16_t before = 1;

		raw_host_start(&h, both_ports, NULL);
		driver_start(&d, h.guest);
		host_connect(&h, 0, 0, i == 0, &contact);
		c = driver_claim(&d, 0);
		/* Without interrupts nobody watches; without a monitor there is nothing to. */
		host_open(&h, c, i == 0 ? VMBUS_VP_NONE : 0);
		part_port_signal(&c->port);
		assert_true(hypercalled(&h));
		assert_false(bit_is_set(host_at(&h, vmbus_get64(contact.payload + 32)), 37));
		assert_int_equal(part_client_set_latency(c->ch, 5, &before), -ENOTSUP);
		rescind_and_put(&h, c);
		driver_stop(&d);
		raw_host_stop(&h);
	}
}

static void ctl_120_the_hosts_page_is_used_and_one_is_enough(void **state)
{
	const struct part_options o = {.memory = TEST_MEMORY,
				       .features = VMBUS_FEATURE_SERVER_MONITOR};
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct hv_message contact;
	uint64_t his;
	uint8_t *mine;

	raw_host_start(&h, both_ports, &o);
	driver_start(&d, h.guest);
	assert_int_equal(part_pages_alloc(&h.part->client, 1, &his), 0);
	host_connect(&h, VMBUS_FEATURE_SERVER_MONITOR, his, true, &contact);
	mine = host_at(&h, vmbus_get64(contact.payload + 32));
	c = driver_claim(&d, 0);
	host_open(&h, c, 0);
	part_port_signal(&c->port);
	assert_true(bit_is_set(host_at(&h, his), 37));
	assert_false(bit_is_set(mine, 37));
	assert_false(hypercalled(&h));
	assert_int_equal(part_client_move_monitor(h.guest, true), -ENOTSUP);
	rescind_and_put(&h, c);
	driver_stop(&d);
	raw_host_stop(&h);
}

/* A page that is no page of the guest's: nothing is written anywhere. */
static void ctl_120_an_impossible_page_means_hypercalls(void **state)
{
	static const uint64_t impossible[] = {TEST_MEMORY, 0x1234, 0xfffffffffffff000u};

	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
		const struct part_options o = {.memory = TEST_MEMORY,
					       .features = VMBUS_FEATURE_SERVER_MONITOR};
		struct raw_host h;
		struct driver d;
		struct driver_channel *c;
		struct hv_message contact;

		raw_host_start(&h, both_ports, &o);
		driver_start(&d, h.guest);
		host_connect(&h, VMBUS_FEATURE_SERVER_MONITOR, impossible[i], true, &contact);
		c = driver_claim(&d, 0);
		host_open(&h, c, 0);
		part_port_signal(&c->port);
		assert_true(hypercalled(&h));
		rescind_and_put(&h, c);
		driver_stop(&d);
		raw_host_stop(&h);
	}
}

static void the_latency_is_the_drivers_until_the_rings_go(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct hv_message contact;
	uint8_t *page;
	uint16_t before;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	host_connect(&h, 0, 0, true, &contact);
	page = host_at(&h, vmbus_get64(contact.payload + 32));
	vmbus_put16(page + 0x240 + 2 * 37, 1000);
	c = driver_claim(&d, 0);
	assert_int_equal(part_client_set_latency(c->ch, 77, &before), -ENOTSUP);
	host_open(&h, c, 0);
	assert_int_equal(part_client_set_latency(c->ch, 77, &before), 0);
	assert_int_equal(before, 1000);
	assert_int_equal(vmbus_get16(page + 0x240 + 2 * 37), 77);
	assert_int_equal(part_client_set_latency(c->ch, 0, &before), 0);
	assert_int_equal(before, 77);
	/* Not to wait at all is a hypercall. */
	part_port_signal(&c->port);
	assert_true(hypercalled(&h));
	assert_false(bit_is_set(page, 37));
	assert_int_equal(part_client_set_latency(c->ch, 5, &before), 0);
	assert_int_equal(before, 0);
	part_port_signal(&c->port);
	assert_false(hypercalled(&h));
	assert_true(bit_is_set(page, 37));
	rescind_and_put(&h, c);
	assert_int_equal(vmbus_get16(page + 0x240 + 2 * 37), 1000);
	driver_stop(&d);
	raw_host_stop(&h);
}

/* ---- both ---- */

static void exchange(struct driver_channel *c, uint64_t id)
{
	uint32_t before = atomic_load(&c->received);

	assert_int_equal(driver_send(c, &id, sizeof(id), id), VMBUS_RING_OK);
	wait_until(atomic_load(&c->received) == before + 1);
	assert_int_equal(c->buffer[2], id);
}

/* Nothing polls, so that every packet needs its signal; half of the channels have a monitor. */
static void both_ends_exchange_by_monitor(void **state)
{
	enum {
		COUNT = 8,
		TURNS = 200
	};
	static const struct part_options options[] = {
		{.memory = 64u << 20, .vps = 3, .server_dispatchers = 2, .poll_ns = -1},
		{.memory = 64u << 20,
		 .vps = 3,
		 .server_dispatchers = 2,
		 .poll_ns = -1,
		 .server_monitor = true},
		{.memory = 64u << 20,
		 .vps = 2,
		 .server_dispatchers = 1,
		 .poll_ns = -1,
		 .max_version = VMBUS_V1_1},
	};

	for (size_t o = 0; o < sizeof(options) / sizeof(options[0]); o++) {
		struct driver *d = calloc(1, sizeof(*d));
		struct device *dev = calloc(COUNT, sizeof(*dev));
		struct part *p;
		uint32_t status;
		uint64_t before;

		assert_int_equal(part_loopback_create(&options[o], &p), 0);
		driver_start(d, part_client(p));
		for (uint32_t i = 0; i < COUNT; i++) {
			device_init(&dev[i]);
			dev[i].monitored = i & 1;
			dev[i].latency = (uint16_t)(500 * i);
			device_offer(&dev[i], part_server(p), i);
		}
		for (uint32_t i = 0; i < COUNT; i++) {
			struct driver_channel *c = driver_claim(d, i);

			assert_int_equal(part_client_offer(c->ch)->monitored, i & 1);
			assert_int_equal(driver_open(c, PART_VP_ANY, &status), 0);
		}
		before = atomic_load(&p->server.srv->monitor.looks);
		for (uint64_t turn = 1; turn <= TURNS; turn++)
			exchange(&d->channels[turn % COUNT], turn);
		assert_true(atomic_load(&p->server.srv->monitor.looks) > before);
		for (uint32_t i = 0; i < COUNT; i++) {
			driver_close(&d->channels[i]);
			driver_put(&d->channels[i]);
			device_revoke(&dev[i]);
			device_destroy(&dev[i]);
		}
		driver_stop(d);
		part_destroy(p);
		free(dev);
		free(d);
	}
}

static void the_client_moves_its_pages(void **state)
{
	const struct part_options o = {.memory = 64u << 20,
				       .vps = 2,
				       .server_dispatchers = 1,
				       .poll_ns = -1,
				       .features = VMBUS_FEATURE_MODIFY_CONNECTION};
	struct driver *d = calloc(1, sizeof(*d));
	struct driver_channel *c;
	struct device dev;
	struct part *p;
	uint32_t status;
	uint64_t free_before, first;

	assert_int_equal(part_loopback_create(&o, &p), 0);
	driver_start(d, part_client(p));
	device_init(&dev);
	dev.monitored = true;
	dev.latency = LATENCY;
	device_offer(&dev, part_server(p), 0);
	c = driver_claim(d, 0);
	free_before = p->client.pages.free;
	first = p->client.cli->monitor_gpa;
	for (uint64_t turn = 1; turn < 20; turn++) {
		assert_int_equal(driver_open(c, 0, &status), 0);
		assert_int_equal(atomic_load(&c->port.monitor.page) != NULL, turn % 3 != 0);
		exchange(c, turn);
		/* Where the offer has a monitor, the host keeps the pages of open channels. */
		assert_int_equal(part_client_move_monitor(&p->client, true), -ECONNREFUSED);
		exchange(c, 100 + turn);
		driver_close(c);
		wait_until(atomic_load(&dev.closes) == turn);
		assert_int_equal(part_client_move_monitor(&p->client, turn % 3 != 2), 0);
	}
	assert_int_equal(p->client.pages.free, free_before);
	assert_int_not_equal(p->client.cli->monitor_gpa, first);
	driver_put(c);
	device_revoke(&dev);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

/* Signals fly while the channel is closed, opened and reset: none is left in a page that is gone,
 * and none is missed. */
struct signaller {
	struct driver_channel *c;
	atomic_bool stop;
	atomic_uint rounds;
};

static void *signal_on(void *arg)
{
	struct signaller *s = arg;

	while (!atomic_load(&s->stop)) {
		part_port_signal(&s->c->port);
		atomic_fetch_add(&s->rounds, 1);
	}
	return NULL;
}

static void signals_fly_while_the_channel_closes(void **state)
{
	const struct part_options o = {
		.memory = 64u << 20, .vps = 2, .server_dispatchers = 1, .poll_ns = -1};
	struct driver *d = calloc(1, sizeof(*d));
	struct driver_channel *c;
	struct signaller s;
	struct device dev;
	struct part *p;
	pthread_t thread;
	uint32_t status;

	assert_int_equal(part_loopback_create(&o, &p), 0);
	driver_start(d, part_client(p));
	device_init(&dev);
	dev.monitored = true;
	dev.latency = LATENCY;
	device_offer(&dev, part_server(p), 0);
	c = driver_claim(d, 0);
	for (uint64_t turn = 1; turn <= 50; turn++) {
		assert_int_equal(driver_open(c, 0, &status), 0);
		s = (struct signaller){.c = c};
		assert_int_equal(pthread_create(&thread, NULL, signal_on, &s), 0);
		exchange(c, turn);
		wait_until(atomic_load(&s.rounds) > 10);
		part_port_detach(&c->port);
		c->attached = false;
		part_client_close(c->ch);
		assert_null(atomic_load(&c->port.monitor.page));
		assert_int_equal(atomic_load(&c->port.signalling), 0);
		atomic_store(&s.stop, true);
		pthread_join(thread, NULL);
		part_client_free_rings(c->ch, &c->port);
	}
	driver_put(c);
	device_revoke(&dev);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
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
		cmocka_unit_test(ctl_119_the_clients_signal_is_a_bit_and_no_hypercall),
		cmocka_unit_test(without_a_monitor_it_is_a_hypercall),
		cmocka_unit_test(ctl_120_the_hosts_page_is_used_and_one_is_enough),
		cmocka_unit_test(ctl_120_an_impossible_page_means_hypercalls),
		cmocka_unit_test(the_latency_is_the_drivers_until_the_rings_go),
		cmocka_unit_test(both_ends_exchange_by_monitor),
		cmocka_unit_test(the_client_moves_its_pages),
		cmocka_unit_test(signals_fly_while_the_channel_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
