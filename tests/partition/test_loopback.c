/* SPDX-License-Identifier: MIT */
/* Both ends of a partition, with owners of channels that exchange packets of their own. */
#include "support.h"

#include "base/log.h"
#include "partition/client_end.h"

static struct part *start_part(const struct part_options *options)
{
	struct part_options o = {.memory = 64u << 20, .vps = 3, .server_dispatchers = 2};
	struct part *p;

	assert_int_equal(part_loopback_create(options ? options : &o, &p), 0);
	return p;
}

/* Sends `size` bytes and waits for them to come back. */
static void exchange(struct driver_channel *c, uint32_t size, uint64_t id)
{
	uint8_t bytes[2048];
	uint32_t before = atomic_load(&c->received);

	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i + id);
	assert_int_equal(driver_send(c, bytes, size, id), VMBUS_RING_OK);
	wait_until(atomic_load(&c->received) == before + 1);
	assert_int_equal(c->buffer[1], id);
	assert_memory_equal((uint8_t *)c->buffer + 16, bytes, size);
}

static void offer_open_exchange_close(void **state)
{
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct driver_channel *c;
	uint32_t status;

	driver_start(d, part_client(p));
	device_init(&dev);
	device_offer(&dev, part_server(p), 0);
	c = driver_claim(d, 0);
	assert_int_equal(driver_open(c, PART_VP_ANY, &status), 0);
	assert_int_equal(status, 0);
	for (uint32_t size = 1; size < 2000; size += 37)
		exchange(c, size, size);
	driver_close(c);
	wait_until(atomic_load(&dev.closes) == 1);
	/* The same channel again. */
	assert_int_equal(driver_open(c, 2, &status), 0);
	assert_int_equal(c->port.dispatcher, 2);
	exchange(c, 100, 7);
	driver_close(c);
	driver_put(c);
	device_revoke(&dev);
	wait_until(atomic_load(&c->withdrawals) == 1);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

static void refused_by_the_device(void **state)
{
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct driver_channel *c;
	uint32_t status;

	driver_start(d, part_client(p));
	device_init(&dev);
	dev.status = 0xc00000bb;
	device_offer(&dev, part_server(p), 0);
	c = driver_claim(d, 0);
	assert_int_equal(driver_open(c, 0, &status), -ECONNREFUSED);
	assert_int_equal(status, 0xc00000bb);
	dev.status = 0;
	assert_int_equal(driver_open(c, 0, &status), 0);
	exchange(c, 64, 1);
	driver_close(c);
	driver_put(c);
	device_revoke(&dev);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

static void keys_are_exclusive(void **state)
{
	struct part *p = start_part(NULL);
	struct device first, second;

	device_init(&first);
	device_init(&second);
	device_offer(&first, part_server(p), 0);
	assert_int_equal(device_try_offer(&second, part_server(p), 0), -EEXIST);
	device_revoke(&first);
	device_offer(&second, part_server(p), 0);
	device_revoke(&second);
	part_destroy(p);
	device_destroy(&first);
	device_destroy(&second);
}

static void field_025_rings_larger_than_memory_fail_at_once(void **state)
{
	struct part_options o = {.memory = 1u << 20, .vps = 1, .server_dispatchers = 1};
	struct part *p = start_part(&o);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct driver_channel *c;
	uint32_t status;
	uint64_t free_before;

	driver_start(d, part_client(p));
	device_init(&dev);
	device_offer(&dev, part_server(p), 0);
	c = driver_claim(d, 0);
	free_before = p->client.pages.free;
	assert_int_equal(part_client_open(c->ch, &c->port, 200, 200, 0, &status), -ENOMEM);
	assert_int_equal(part_client_open(c->ch, &c->port, 1, 4, 0, &status), -EINVAL);
	assert_int_equal(part_client_open(c->ch, &c->port, 4, 8187, 0, &status), -EINVAL);
	assert_int_equal(p->client.pages.free, free_before);
	assert_int_equal(driver_open(c, 0, &status), 0);
	exchange(c, 16, 1);
	driver_close(c);
	driver_put(c);
	device_revoke(&dev);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

static void rescinded_while_open_and_offered_again(void **state)
{
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct driver_channel *c = NULL;
	uint32_t status;
	uint64_t free_before = 0;

	driver_start(d, part_client(p));
	d->put_on_rescind = true;
	device_init(&dev);
	for (uint32_t i = 0; i < 20; i++) {
		device_offer(&dev, part_server(p), 0);
		c = driver_claim(d, 0);
		if (!i)
			free_before = p->client.pages.free;
		assert_int_equal(driver_open(c, PART_VP_ANY, &status), 0);
		exchange(c, 40, i + 1);
		device_revoke(&dev);
		wait_until(atomic_load(&c->withdrawals) == i + 1);
		assert_int_equal(atomic_load(&c->rescinds), i + 1);
	}
	assert_int_equal(p->client.pages.free, free_before);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
	assert_int_equal(atomic_load(&p->client.memory.stitches), 0);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

static void sixty_four_channels_at_once(void **state)
{
	enum {
		COUNT = DRIVER_CHANNELS
	};
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device *dev = calloc(COUNT, sizeof(*dev));
	uint64_t word = 0;
	uint32_t status;

	driver_start(d, part_client(p));
	for (uint32_t i = 0; i < COUNT; i++) {
		device_init(&dev[i]);
		device_offer(&dev[i], part_server(p), i);
	}
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(driver_open(driver_claim(d, i), PART_VP_ANY, &status), 0);
	for (uint32_t turn = 1; turn <= 50; turn++) {
		for (uint32_t i = 0; i < COUNT; i++) {
			word = (uint64_t)turn << 32 | i;
			assert_int_equal(driver_send(&d->channels[i], &word, 8, word),
					 VMBUS_RING_OK);
		}
		for (uint32_t i = 0; i < COUNT; i++) {
			wait_until(atomic_load(&d->channels[i].received) == turn);
			assert_int_equal(d->channels[i].buffer[2], (uint64_t)turn << 32 | i);
		}
	}
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

static void a_thousand_opens_leak_nothing(void **state)
{
	enum {
		TIMES = 1000
	};
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct driver_channel *c;
	unsigned int fds = 0, threads = 0;
	uint64_t pages = 0;
	uint32_t status;

	driver_start(d, part_client(p));
	device_init(&dev);
	device_offer(&dev, part_server(p), 0);
	c = driver_claim(d, 0);
	for (uint32_t i = 0; i < TIMES; i++) {
		if (i == 1) {
			fds = count_fds();
			threads = count_threads();
			pages = p->client.pages.free;
		}
		assert_int_equal(driver_open(c, i % 3, &status), 0);
		exchange(c, 8 + i % 512, i + 1);
		driver_close(c);
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_threads(), threads);
	assert_int_equal(p->client.pages.free, pages);
	assert_int_equal(atomic_load(&dev.opens), TIMES);
	wait_until(atomic_load(&dev.closes) == TIMES);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
	assert_int_equal(atomic_load(&p->client.memory.stitches), 0);
	driver_put(c);
	device_revoke(&dev);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

static void partitions_come_and_go_without_a_trace(void **state)
{
	unsigned int fds = count_fds(), threads = count_threads();

	for (uint32_t i = 0; i < 30; i++) {
		struct part *p = start_part(NULL), *q = start_part(NULL);

		assert_int_not_equal(part_id(p), part_id(q));
		assert_ptr_equal(part_of(part_server(p)), p);
		assert_int_equal(part_dispatchers(part_client(p)), 3);
		assert_int_equal(part_dispatchers(part_server(p)), 2);
		part_destroy(p);
		part_destroy(q);
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_threads(), threads);
}

/* The offer goes at whatever moment of an open: the open ends, well or with an error. */
struct opener {
	struct driver_channel *c;
	int error;
	uint32_t status;
};

static void *open_once(void *arg)
{
	struct opener *o = arg;

	o->error = driver_open(o->c, PART_VP_ANY, &o->status);
	return NULL;
}

static void field_011_revoked_at_any_moment_of_an_open(void **state)
{
	enum {
		TIMES = 300
	};
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct driver_channel *c;
	uint64_t seed = 88172645463325252ull, pages = 0, pause;
	uint32_t failed = 0;

	driver_start(d, part_client(p));
	device_init(&dev);
	for (uint32_t i = 0; i < TIMES; i++) {
		struct opener o;
		pthread_t thread;

		device_offer(&dev, part_server(p), 0);
		o.c = c = driver_claim(d, 0);
		if (!i)
			pages = p->client.pages.free;
		assert_int_equal(pthread_create(&thread, NULL, open_once, &o), 0);
		pause = clock_now_ns() + random_next(&seed) % 1000000;
		while (clock_now_ns() < pause)
			cpu_relax();
		device_revoke(&dev);
		pthread_join(thread, NULL);
		if (o.error) {
			assert_int_equal(o.error, -ENODEV);
			failed++;
		}
		wait_until(atomic_load(&c->rescinds) == i + 1);
		if (c->attached)
			part_port_detach(&c->port);
		c->attached = false;
		part_client_free_rings(c->ch, &c->port);
		assert_null(c->port.ring_private);
		driver_put(c);
		wait_until(atomic_load(&c->withdrawals) == i + 1);
	}
	print_message("%u of %u opens were cut short\n", failed, TIMES);
	assert_int_equal(p->client.pages.free, pages);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

struct resetter {
	struct part *part;
	pthread_t thread;
	atomic_bool done;
	int error;
};

static void *reset_once(void *arg)
{
	struct resetter *r = arg;

	r->error = part_reset(r->part);
	atomic_store(&r->done, true);
	return NULL;
}

static void begin_reset(struct resetter *r, struct part *p)
{
	r->part = p;
	atomic_store(&r->done, false);
	assert_int_equal(pthread_create(&r->thread, NULL, reset_once, r), 0);
}

static void end_reset(struct resetter *r)
{
	wait_until(atomic_load(&r->done));
	pthread_join(r->thread, NULL);
	assert_int_equal(r->error, 0);
}

/* The device that is asked to open answers when it pleases: before, or after, or after the guest
 * has asked anew. */
static void field_005_ctl_105_reset_does_not_wait_for_an_open(void **state)
{
	enum {
		TURNS = 8
	};
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct opener o;
	struct resetter r;
	pthread_t thread;

	driver_start(d, part_client(p));
	d->put_on_rescind = true;
	device_init(&dev);
	dev.manual_open = true;
	device_offer(&dev, part_server(p), 0);
	for (uint32_t i = 0; i < TURNS; i++) {
		bool late_success = i & 1, asked_anew = i & 2;

		o.c = driver_claim(d, 0);
		assert_int_equal(pthread_create(&thread, NULL, open_once, &o), 0);
		sem_wait(&dev.opened);
		begin_reset(&r, p);
		end_reset(&r);
		pthread_join(thread, NULL);
		assert_int_equal(o.error, -ENODEV);
		/* The guest's memory is the guest's. */
		assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
		wait_until(atomic_load(&d->channels[0].offers) == i + 2);
		o.c = driver_claim(d, 0);
		if (asked_anew)
			assert_int_equal(pthread_create(&thread, NULL, open_once, &o), 0);
		dev.manual_close = true;
		part_server_open_done(dev.ch, late_success ? 0 : 0xc0000001);
		if (late_success) {
			/* What it does with its port, it does to nobody. */
			assert_int_equal(vmbus_ring_write_inband(&dev.port.out, VMBUS_PKT_INBAND, 0,
								 0, "late", 4),
					 VMBUS_RING_OK);
			vmbus_ring_publish(&dev.port.out);
			part_port_signal(&dev.port);
			sem_wait(&dev.closed);
			part_server_close_done(dev.ch);
		}
		dev.manual_close = false;
		if (!asked_anew)
			assert_int_equal(pthread_create(&thread, NULL, open_once, &o), 0);
		sem_wait(&dev.opened);
		part_server_open_done(dev.ch, 0);
		part_port_attach(&dev.port);
		pthread_mutex_lock(&dev.lock);
		dev.attached = true;
		pthread_mutex_unlock(&dev.lock);
		pthread_join(thread, NULL);
		assert_int_equal(o.error, 0);
		exchange(o.c, 10, i + 1);
		driver_close(o.c);
		sem_wait(&dev.closed);
		driver_put(o.c);
	}
	device_revoke(&dev);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

static void reset_waits_until_an_open_device_let_go(void **state)
{
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct resetter r;
	struct driver_channel *c;
	struct part_gpadl pin;
	uint64_t words[2] = {4096, 300};
	uint32_t status, gpadl;

	driver_start(d, part_client(p));
	d->put_on_rescind = true;
	device_init(&dev);
	dev.manual_close = true;
	device_offer(&dev, part_server(p), 0);
	for (uint32_t i = 0; i < 4; i++) {
		c = driver_claim(d, 0);
		assert_int_equal(driver_open(c, 0, &status), 0);
		exchange(c, 10, i + 1);
		assert_int_equal(part_client_gpadl_create(c->ch, words, 2, 1, false, &gpadl), 0);
		assert_int_equal(part_server_gpadl_pin(dev.ch, gpadl, &pin), 0);
		free(pin.words);
		begin_reset(&r, p);
		sem_wait(&dev.closed);
		nap(SETTLE_NS);
		assert_false(atomic_load(&r.done));
		assert_int_equal(atomic_load(&c->rescinds), i);
		device_stop(&dev);
		part_server_close_done(dev.ch);
		nap(SETTLE_NS);
		assert_false(atomic_load(&r.done));
		part_server_gpadl_unpin(dev.ch, gpadl);
		end_reset(&r);
		assert_int_equal(atomic_load(&c->rescinds), i + 1);
		wait_until(atomic_load(&c->offers) == i + 2);
	}
	device_revoke(&dev);
	driver_stop(d);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

static void a_partition_ends_with_offers_that_nobody_claimed(void **state)
{
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;

	driver_start(d, part_client(p));
	device_init(&dev);
	device_offer(&dev, part_server(p), 3);
	wait_until(atomic_load(&d->channels[3].offers) == 1);
	driver_stop(d);
	device_revoke(&dev);
	part_destroy(p);
	device_destroy(&dev);
	free(d);
}

/* Every version that both ends speak carries a channel. */
static void each_version_carries_packets(void **state)
{
	static const uint32_t versions[] = {VMBUS_V0_13, VMBUS_V1_1, VMBUS_V2_4, VMBUS_V3_0,
					    VMBUS_V4_0,  VMBUS_V4_1, VMBUS_V5_0, VMBUS_V5_1,
					    VMBUS_V5_2,  VMBUS_V5_3, VMBUS_V6_0};

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct part_options o = {
			.memory = 16u << 20,
			.vps = 2,
			.server_dispatchers = 1,
			.max_version = versions[i],
		};
		struct part *p = start_part(&o);
		struct driver *d = calloc(1, sizeof(*d));
		struct device dev;
		struct driver_channel *c;
		uint32_t status;

		driver_start(d, part_client(p));
		device_init(&dev);
		device_offer(&dev, part_server(p), 0);
		c = driver_claim(d, 0);
		assert_int_equal(driver_open(c, 1, &status), 0);
		exchange(c, 100, 5);
		driver_close(c);
		driver_put(c);
		device_revoke(&dev);
		driver_stop(d);
		part_destroy(p);
		device_destroy(&dev);
		free(d);
	}
}

/* A peer that writes more than the rings hold, and one that answers as fast as it can: both block
 * on full rings and both go on. */
static void full_rings_drain(void **state)
{
	enum {
		PACKETS = 20000
	};
	struct part *p = start_part(NULL);
	struct driver *d = calloc(1, sizeof(*d));
	struct device dev;
	struct driver_channel *c;
	uint8_t bytes[1000] = {0};
	uint32_t status;

	driver_start(d, part_client(p));
	device_init(&dev);
	device_offer(&dev, part_server(p), 0);
	c = driver_claim(d, 0);
	assert_int_equal(driver_open(c, 0, &status), 0);
	for (uint32_t i = 0; i < PACKETS; i++) {
		enum vmbus_ring_result result;

		wait_until((result = driver_send(c, bytes, 8 + i % 900, i + 1)) != VMBUS_RING_FULL);
		assert_int_equal(result, VMBUS_RING_OK);
	}
	wait_until(atomic_load(&c->received) == PACKETS);
	driver_close(c);
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
		cmocka_unit_test(offer_open_exchange_close),
		cmocka_unit_test(refused_by_the_device),
		cmocka_unit_test(keys_are_exclusive),
		cmocka_unit_test(field_025_rings_larger_than_memory_fail_at_once),
		cmocka_unit_test(rescinded_while_open_and_offered_again),
		cmocka_unit_test(sixty_four_channels_at_once),
		cmocka_unit_test(a_thousand_opens_leak_nothing),
		cmocka_unit_test(partitions_come_and_go_without_a_trace),
		cmocka_unit_test(field_011_revoked_at_any_moment_of_an_open),
		cmocka_unit_test(field_005_ctl_105_reset_does_not_wait_for_an_open),
		cmocka_unit_test(reset_waits_until_an_open_device_let_go),
		cmocka_unit_test(a_partition_ends_with_offers_that_nobody_claimed),
		cmocka_unit_test(each_version_carries_packets),
		cmocka_unit_test(full_rings_drain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
