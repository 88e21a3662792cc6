/* SPDX-License-Identifier: MIT */
/* Where the interrupts of an open channel go, through both ends: chosen, redirected, moved. */
#include "support.h"

#include <errno.h>

#include "partition/client_end.h"
#include "partition/server_end.h"

#define CHOOSE (VMBUS_FEATURE_GUEST_SIGNAL | VMBUS_FEATURE_REDIRECT)

static void exchange(struct driver_channel *c, uint64_t id)
{
	uint32_t before = atomic_load(&c->received);

	assert_int_equal(driver_send(c, &id, sizeof(id), id), VMBUS_RING_OK);
	wait_until(atomic_load(&c->received) == before + 1);
	assert_int_equal(c->buffer[2], id);
}

struct both {
	struct part *p;
	struct driver *d;
	struct device *dev;
	uint32_t count;
};

static void both_start(struct both *b, const struct part_options *o, uint32_t count)
{
	b->count = count;
	b->d = calloc(1, sizeof(*b->d));
	b->dev = calloc(count, sizeof(*b->dev));
	assert_int_equal(part_loopback_create(o, &b->p), 0);
	driver_start(b->d, part_client(b->p));
	for (uint32_t i = 0; i < count; i++) {
		device_init(&b->dev[i]);
		b->dev[i].vtl = o->vtl;
		device_offer(&b->dev[i], part_server(b->p), i);
	}
	for (uint32_t i = 0; i < count; i++)
		driver_claim(b->d, i);
}

static void both_stop(struct both *b)
{
	for (uint32_t i = 0; i < b->count; i++) {
		driver_put(&b->d->channels[i]);
		device_revoke(&b->dev[i]);
		device_destroy(&b->dev[i]);
	}
	driver_stop(b->d);
	part_destroy(b->p);
	free(b->dev);
	free(b->d);
}

/* Nothing polls, so every packet needs its signal; flags are not channel ids, VPs are several. */
static void ctl_078_a_driver_chooses_its_signals(void **state)
{
	enum {
		COUNT = 6,
		TURNS = 100
	};
	static const struct part_options options[] = {
		{.memory = 64u << 20,
		 .vps = 3,
		 .server_dispatchers = 2,
		 .poll_ns = -1,
		 .features = CHOOSE,
		 .redirect_sint = 9},
		{.memory = 64u << 20,
		 .vps = 3,
		 .server_dispatchers = 2,
		 .poll_ns = -1,
		 .features = VMBUS_FEATURE_GUEST_SIGNAL},
	};
	struct part_client_signal s;
	struct both b;
	uint32_t status;

	for (size_t o = 0; o < 2; o++) {
		both_start(&b, &options[o], COUNT);
		for (uint32_t i = 0; i < COUNT; i++) {
			struct driver_channel *c = &b.d->channels[i];

			s = (struct part_client_signal){.connection_id = 0x70000 + i,
							.event_flag = (uint16_t)(2047 - 9 * i),
							.redirect = o == 0 && i & 1};
			assert_int_equal(part_client_set_signal(c->ch, &s), 0);
			assert_int_equal(driver_open(c, i % 3, &status), 0);
			assert_int_equal(c->port.event_flag, 2047 - 9 * i);
			assert_int_equal(b.dev[i].port.peer.flag, 2047 - 9 * i);
			assert_int_equal(b.dev[i].port.peer.sint, s.redirect ? 9 : 2);
			assert_int_equal(b.dev[i].port.peer.vp, i % 3);
		}
		for (uint64_t turn = 1; turn <= TURNS; turn++)
			exchange(&b.d->channels[turn % COUNT], turn);
		/* A flag is one channel's, and is chosen before the open. */
		assert_int_equal(part_client_set_signal(b.d->channels[0].ch, &s), -EEXIST);
		s.event_flag = 3000;
		assert_int_equal(part_client_set_signal(b.d->channels[0].ch, &s), -EINVAL);
		s.event_flag = 77;
		assert_int_equal(part_client_set_signal(b.d->channels[0].ch, &s), -EBUSY);
		s.redirect = true;
		if (o == 1)
			assert_int_equal(part_client_set_signal(b.d->channels[0].ch, &s), -ENOTSUP);
		/* It was for one open: the next has what was offered. */
		driver_close(&b.d->channels[0]);
		assert_int_equal(driver_open(&b.d->channels[0], 1, &status), 0);
		assert_int_equal(b.d->channels[0].port.event_flag, 1);
		assert_int_equal(b.dev[0].port.peer.flag, 1);
		assert_int_equal(b.dev[0].port.peer.sint, 2);
		exchange(&b.d->channels[0], 12345);
		for (uint32_t i = 0; i < COUNT; i++)
			driver_close(&b.d->channels[i]);
		both_stop(&b);
	}
}

static void chosen_signals_need_the_feature(void **state)
{
	const struct part_options o = {.memory = TEST_MEMORY, .vps = 1, .server_dispatchers = 1};
	struct part_client_signal s = {.event_flag = 5};
	struct both b;

	both_start(&b, &o, 1);
	assert_int_equal(part_client_set_signal(b.d->channels[0].ch, &s), -ENOTSUP);
	both_stop(&b);
}

/* ---- moves ---- */

struct mover {
	struct both *b;
	pthread_t thread;
	uint32_t index;
	atomic_bool stop;
	bool failed;
};

static void *run_traffic(void *arg)
{
	struct mover *m = arg;
	struct driver_channel *c = &m->b->d->channels[m->index];

	for (uint64_t id = 1; !atomic_load(&m->stop) && !m->failed; id++) {
		uint32_t before = atomic_load(&c->received);
		uint64_t until = clock_now_ns() + DEADLINE_NS;

		m->failed = driver_send(c, &id, sizeof(id), id) != VMBUS_RING_OK;
		while (!m->failed && atomic_load(&c->received) == before) {
			m->failed = clock_now_ns() > until;
			nap(20000);
		}
	}
	return NULL;
}

/* Nothing polls: an interrupt that a move loses is a packet that never comes. */
static void ctl_081_a_channel_moves_while_it_works(void **state)
{
	static const uint32_t versions[] = {VMBUS_V6_0, VMBUS_V5_3, VMBUS_V4_1};
	enum {
		VPS = 4,
		MOVES = 60
	};

	for (size_t v = 0; v < sizeof(versions) / sizeof(versions[0]); v++) {
		const struct part_options o = {.memory = 64u << 20,
					       .vps = VPS,
					       .server_dispatchers = 2,
					       .poll_ns = -1,
					       .max_version = versions[v]};
		struct both b;
		struct mover m[2] = {{.b = &b}, {.b = &b, .index = 1}};
		uint32_t status;

		both_start(&b, &o, 2);
		for (uint32_t i = 0; i < 2; i++) {
			assert_int_equal(driver_open(&b.d->channels[i], 0, &status), 0);
			pthread_create(&m[i].thread, NULL, run_traffic, &m[i]);
		}
		for (uint32_t i = 1; i <= MOVES; i++) {
			struct driver_channel *c = &b.d->channels[i & 1];

			assert_int_equal(part_client_move(c->ch, i % VPS), 0);
			assert_int_equal(c->port.dispatcher, i % VPS);
			if (versions[v] >= VMBUS_V5_3)
				assert_int_equal(__atomic_load_n(&b.dev[i & 1].port.peer.vp,
								 __ATOMIC_SEQ_CST),
						 i % VPS);
			nap(1000000);
		}
		for (uint32_t i = 0; i < 2; i++) {
			atomic_store(&m[i].stop, true);
			pthread_join(m[i].thread, NULL);
			assert_false(m[i].failed);
		}
		assert_int_equal(part_client_move(b.d->channels[0].ch, VPS), -EINVAL);
		for (uint32_t i = 0; i < 2; i++)
			driver_close(&b.d->channels[i]);
		assert_int_equal(part_client_move(b.d->channels[0].ch, 1), -ENODEV);
		/* One that takes no interrupts has none to move. */
		assert_int_equal(driver_open(&b.d->channels[0], VMBUS_VP_NONE, &status), 0);
		assert_int_equal(part_client_move(b.d->channels[0].ch, 1), -EINVAL);
		driver_close(&b.d->channels[0]);
		both_stop(&b);
	}
}

static const uint32_t both_ports[] = {1, 4, 0};

struct moving {
	struct driver_channel *c;
	pthread_t thread;
	uint32_t vp, status;
	int error;
	atomic_bool done;
};

static void *run_open(void *arg)
{
	struct moving *m = arg;

	m->error = driver_open(m->c, 0, &m->status);
	return NULL;
}

static void *run_move(void *arg)
{
	struct moving *m = arg;

	m->error = part_client_move(atomic_load(&m->c->ch), m->vp);
	atomic_store(&m->done, true);
	return NULL;
}

static void begin_move(struct moving *m, uint32_t vp)
{
	m->vp = vp;
	atomic_store(&m->done, false);
	assert_int_equal(pthread_create(&m->thread, NULL, run_move, m), 0);
}

static void host_connect_and_open(struct raw_host *h, struct driver *d, struct moving *m,
				  uint32_t version)
{
	uint8_t result[20] = {6};
	struct hv_message open;

	raw_host_start(h, both_ports, NULL);
	driver_start(d, h->guest);
	raw_host_connect(h, version, 1);
	m->c = driver_claim(d, 0);
	assert_int_equal(pthread_create(&m->thread, NULL, run_open, m), 0);
	raw_host_accept_gpadl(h, 1, 0, NULL, 0, NULL);
	raw_host_expect(h, 5, &open);
	memcpy(result + 8, open.payload + 8, 8);
	raw_host_send(h, result, sizeof(result));
	pthread_join(m->thread, NULL);
	assert_int_equal(m->error, 0);
}

static void host_end(struct raw_host *h, struct driver *d, struct moving *m)
{
	raw_host_send_channel(h, 2, 1);
	wait_until(atomic_load(&m->c->rescinds) == 1);
	part_port_detach(&m->c->port);
	m->c->attached = false;
	part_client_free_rings(atomic_load(&m->c->ch), &m->c->port);
	driver_put(m->c);
	driver_stop(d);
	raw_host_stop(h);
}

static void a_move_waits_for_its_answer(void **state)
{
	struct raw_host h;
	struct driver d;
	struct moving m = {0};
	struct hv_message modify;
	uint8_t response[16] = {24};

	host_connect_and_open(&h, &d, &m, VMBUS_V5_3);
	for (uint32_t i = 0; i < 2; i++) {
		begin_move(&m, 2);
		raw_host_expect(&h, 22, &modify);
		assert_int_equal(modify.size, 16);
		assert_int_equal(vmbus_get32(modify.payload + 8), 1);
		assert_int_equal(vmbus_get32(modify.payload + 12), 2);
		nap(SETTLE_NS);
		assert_false(atomic_load(&m.done));
		assert_int_equal(part_client_move(m.c->ch, 1), -EBUSY);
		assert_int_equal(m.c->port.dispatcher, 0);
		vmbus_put32(response + 8, 1);
		vmbus_put32(response + 12, i ? 0 : 0x8000ffff);
		raw_host_send(&h, response, sizeof(response));
		pthread_join(m.thread, NULL);
		assert_int_equal(m.error, i ? 0 : -ECONNREFUSED);
		assert_int_equal(m.c->port.dispatcher, i ? 2 : 0);
	}
	/* A rescind is an answer too; the id goes back when the host has given the other. */
	begin_move(&m, 3);
	raw_host_expect(&h, 22, &modify);
	raw_host_send_channel(&h, 2, 1);
	pthread_join(m.thread, NULL);
	assert_int_equal(m.error, -ENODEV);
	wait_until(atomic_load(&m.c->rescinds) == 1);
	part_port_detach(&m.c->port);
	m.c->attached = false;
	part_client_free_rings(atomic_load(&m.c->ch), &m.c->port);
	driver_put(m.c);
	raw_host_expect_nothing(&h);
	raw_host_send(&h, response, sizeof(response));
	raw_host_expect(&h, 13, &modify);
	driver_stop(&d);
	raw_host_stop(&h);
}

static void a_move_below_5_3_is_not_answered(void **state)
{
	struct raw_host h;
	struct driver d;
	struct moving m = {0};
	struct hv_message modify;

	host_connect_and_open(&h, &d, &m, VMBUS_V4_1);
	assert_int_equal(part_client_move(m.c->ch, 3), 0);
	assert_int_equal(m.c->port.dispatcher, 3);
	raw_host_expect(&h, 22, &modify);
	/* Interrupts on either VP are taken. */
	for (uint32_t vp = 0; vp < RAW_VPS; vp += 3) {
		unsigned int polls = atomic_load(&m.c->polls);

		h.ops->set_flag(h.part->transport, vp, 2, 1);
		wait_until(atomic_load(&m.c->polls) > polls);
	}
	host_end(&h, &d, &m);
	memset(&m, 0, sizeof(m));
	host_connect_and_open(&h, &d, &m, VMBUS_V4_0);
	assert_int_equal(part_client_move(m.c->ch, 3), -ENOTSUP);
	raw_host_expect_nothing(&h);
	host_end(&h, &d, &m);
}

static void a_client_of_another_vtl_finds_its_bus(void **state)
{
	const struct part_options o = {
		.memory = TEST_MEMORY, .vps = 2, .server_dispatchers = 1, .vtl = 2};
	struct both b;
	uint32_t status;

	both_start(&b, &o, 1);
	assert_int_equal(part_client_offer(b.d->channels[0].ch)->connection_id, 0x22001);
	assert_int_equal(driver_open(&b.d->channels[0], 1, &status), 0);
	exchange(&b.d->channels[0], 1);
	driver_close(&b.d->channels[0]);
	both_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctl_078_a_driver_chooses_its_signals),
		cmocka_unit_test(chosen_signals_need_the_feature),
		cmocka_unit_test(ctl_081_a_channel_moves_while_it_works),
		cmocka_unit_test(a_move_waits_for_its_answer),
		cmocka_unit_test(a_move_below_5_3_is_not_answered),
		cmocka_unit_test(a_client_of_another_vtl_finds_its_bus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
