/* SPDX-License-Identifier: MIT */
/* Monitor pages: the guest's bits, against a host by hand; then both ends together. */
#include "support.h"

#include <errno.h>

#include "monitor_page.h"
#include "partition/client_end.h"
#include "partition/server_end.h"

#define LATENCY 2000u /* 200 us */

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
