/* SPDX-License-Identifier: MIT */
/* The monitor page by its bytes: what a sender sets, what a watcher takes, and when. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "vmbus/monitor.h"

#define US 1000ull

static _Alignas(4096) uint8_t page[4096];
static struct vmbus_monitor m;
static uint32_t hits[VMBUS_MONITOR_GROUPS];

static int fresh(void **state)
{
	memset(page, 0, sizeof(page));
	memset(&m, 0, sizeof(m));
	memset(hits, 0xee, sizeof(hits));
	return 0;
}

static void watch(uint32_t id, uint16_t latency, uint64_t now)
{
	const struct vmbus_monitor_entry e = {.connection_id = 0x2000 + id, .latency = latency};

	vmbus_monitor_watch(&m, page, id, &e, now);
}

static uint64_t look(uint64_t now)
{
	return vmbus_monitor_look(&m, page, now, hits);
}

static void assert_hits(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	assert_int_equal(hits[0], a);
	assert_int_equal(hits[1], b);
	assert_int_equal(hits[2], c);
	assert_int_equal(hits[3], d);
}

static void put_pending(uint32_t group, uint32_t bits)
{
	vmbus_put32(page + 8 + 8 * group, bits);
}

static uint32_t pending(uint32_t group)
{
	return vmbus_get32(page + 8 + 8 * group);
}

static void ctl_119_a_signal_is_one_bit_of_its_group(void **state)
{
	for (uint32_t id = 0; id < 128; id++) {
		memset(page, 0, sizeof(page));
		assert_true(vmbus_monitor_signal(page, id));
		for (size_t i = 0; i < sizeof(page); i++)
			assert_int_equal(page[i],
					 i == 8 + 8 * (id / 32) + id % 32 / 8 ? 1 << id % 8 : 0);
		assert_false(vmbus_monitor_signal(page, id));
	}
	/* The one that a real guest was seen to set. */
	memset(page, 0, sizeof(page));
	vmbus_monitor_signal(page, 37);
	assert_int_equal(vmbus_get32(page + 0x10), 0x20);
}

/* Senders of one word and its watcher at once: each bit that went up is taken once. */
struct sender {
	uint32_t id;
	uint32_t sets;
};

enum {
	SENDERS = 4,
	LOOKS = 1000000
};

static atomic_bool senders_stop;

static void *send_signals(void *arg)
{
	struct sender *s = arg;

	while (!atomic_load_explicit(&senders_stop, memory_order_relaxed))
		s->sets += vmbus_monitor_signal(page, s->id);
	return NULL;
}

static void ctl_119_117_no_bit_is_lost_between_senders_and_watcher(void **state)
{
	struct sender s[SENDERS] = {{.id = 32}, {.id = 33}, {.id = 40}, {.id = 63}};
	pthread_t thread[SENDERS];
	uint32_t taken[SENDERS] = {0};

	atomic_store(&senders_stop, false);
	/* The last one's bit stands for nobody. */
	for (uint32_t i = 0; i < SENDERS - 1; i++)
		watch(s[i].id, 0, 0);
	for (uint32_t i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, send_signals, &s[i]), 0);
	for (uint32_t n = 1; n <= LOOKS + 1; n++) {
		/* The last look is at what they leave. */
		if (n > LOOKS) {
			atomic_store(&senders_stop, true);
			for (uint32_t i = 0; i < SENDERS; i++)
				pthread_join(thread[i], NULL);
		}
		look(n * 1000 * US);
		for (uint32_t i = 0; i < SENDERS; i++)
			taken[i] += hits[1] >> s[i].id % 32 & 1;
		assert_int_equal(hits[0] | hits[2] | hits[3], 0);
	}
	for (uint32_t i = 0; i < SENDERS - 1; i++)
		assert_int_equal(taken[i], s[i].sets);
	assert_int_equal(taken[SENDERS - 1], 0);
	assert_int_equal(m.strays, s[SENDERS - 1].sets);
	assert_int_equal(pending(1), 0);
}

static void ctl_117_bits_of_nobody_are_cleared_and_ignored(void **state)
{
	watch(5, 1000, 0);
	watch(100, 1000, 0);
	for (uint32_t g = 0; g < 4; g++)
		put_pending(g, 0xffffffff);
	look(0);
	assert_hits(1u << 5, 0, 0, 1u << 4);
	for (uint32_t g = 0; g < 4; g++)
		assert_int_equal(pending(g), 0);
	assert_int_equal(m.strays, 126);
	/* Between two checks the watched bits wait, and those of nobody do not. */
	for (uint32_t g = 0; g < 4; g++)
		put_pending(g, 0xffffffff);
	look(50 * US);
	assert_hits(0, 0, 0, 0);
	assert_int_equal(pending(0), 1u << 5);
	assert_int_equal(pending(1), 0);
	assert_int_equal(pending(2), 0);
	assert_int_equal(pending(3), 1u << 4);
	/* An id that is not watched any more is nobody's. */
	vmbus_monitor_unwatch(&m, page, 5);
	look(100 * US);
	assert_hits(0, 0, 0, 1u << 4);
	assert_int_equal(pending(0), 0);
}

static void the_page_says_for_whom_and_how_long(void **state)
{
	watch(37, 0x1234, 0);
	assert_int_equal(vmbus_get32(page), 1u << 1);
	assert_int_equal(vmbus_get16(page + 0x240 + 2 * 37), 0x1234);
	assert_int_equal(vmbus_get64(page + 0x440 + 8 * 37), 0x2000 + 37);
	for (size_t i = 4; i < sizeof(page); i++)
		if (i / 2 != (0x240 + 2 * 37) / 2 && i / 8 != (0x440 + 8 * 37) / 8)
			assert_int_equal(page[i], 0);
	/* A group is served while one of it is watched. */
	watch(38, 1, 0);
	watch(0, 1, 0);
	vmbus_monitor_unwatch(&m, page, 37);
	assert_int_equal(vmbus_get32(page), 1u << 1 | 1);
	vmbus_monitor_unwatch(&m, page, 38);
	assert_int_equal(vmbus_get32(page), 1);
	assert_true(vmbus_monitor_watches(&m));
	vmbus_monitor_unwatch(&m, NULL, 0); /* the page went first */
	assert_false(vmbus_monitor_watches(&m));
	assert_int_equal(look(0), VMBUS_MONITOR_NEVER);
	assert_int_equal(vmbus_monitor_set_latency(page, 37, 7), 0x1234);
	assert_int_equal(vmbus_monitor_latency(page, 37), 7);
	/* Who goes on watching after a restore leaves what the guest chose. */
	vmbus_monitor_watch(&m, page, 37,
			    &(struct vmbus_monitor_entry){
				    .connection_id = 9, .latency = 0x1234, .resumed = true},
			    0);
	assert_int_equal(vmbus_monitor_latency(page, 37), 7);
	assert_int_equal(vmbus_get32(page), 1u << 1 | 1); /* group 0 went without its page */
}

static void each_id_is_looked_at_in_its_own_time(void **state)
{
	uint64_t next;

	watch(1, 2000, 0);  /* 200 us */
	watch(64, 5000, 0); /* 500 us */
	next = look(0);
	assert_int_equal(next, 200 * US);
	for (uint64_t now = 1; now < 100000 * US; now = next) {
		uint32_t wants = (now % (200 * US) ? 0 : 1) | (now % (500 * US) ? 0 : 2);

		put_pending(0, 2);
		put_pending(2, 1);
		next = look(now);
		assert_true(next > now && next <= now + 200 * US);
		if (now > 1)
			assert_true(wants);
		assert_hits(wants & 1 ? 2 : 0, 0, wants & 2 ? 1 : 0, 0);
	}
}

static void ids_of_one_latency_are_looked_at_together(void **state)
{
	uint32_t looks = 0;

	/* Opened one after the other, as channels are. */
	for (uint32_t id = 0; id < 128; id++)
		watch(id, 1000, 7 * US * id);
	for (uint64_t now = 7 * US * 128; now < 100000 * US; looks++)
		now = look(now);
	assert_true(looks < 100000 / 100 + 2);
	/* And 128 different ones do not make it look without pause. */
	for (uint32_t id = 0; id < 128; id++)
		vmbus_monitor_set_latency(page, id, (uint16_t)(1000 + 7 * id));
	looks = 0;
	for (uint64_t now = 100000 * US; now < 200000 * US; looks++)
		now = look(now);
	assert_true(looks <= 100000 * US / VMBUS_MONITOR_FLOOR_NS);
}

/* The other end may write anything into the table at any time. */
static void a_latency_that_changes_counts_from_the_next_look(void **state)
{
	watch(3, 10000, 0); /* 1 ms */
	assert_int_equal(look(0), 1000 * US);
	vmbus_monitor_set_latency(page, 3, 1000);
	assert_int_equal(look(200 * US), 300 * US);
	vmbus_monitor_set_latency(page, 3, 0);
	assert_int_equal(look(300 * US), 300 * US + VMBUS_MONITOR_FLOOR_NS);
	vmbus_monitor_set_latency(page, 3, 0xffff);
	put_pending(0, 8);
	assert_int_equal(look(400 * US) / US, 6553);
	assert_hits(8, 0, 0, 0);
	/* No time of day is a special one. */
	assert_true(look(UINT64_MAX / 2) > UINT64_MAX / 2);
}

#define T(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_119_a_signal_is_one_bit_of_its_group),
		T(ctl_119_117_no_bit_is_lost_between_senders_and_watcher),
		T(ctl_117_bits_of_nobody_are_cleared_and_ignored),
		T(the_page_says_for_whom_and_how_long),
		T(each_id_is_looked_at_in_its_own_time),
		T(ids_of_one_latency_are_looked_at_together),
		T(a_latency_that_changes_counts_from_the_next_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
