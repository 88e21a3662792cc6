/* SPDX-License-Identifier: MIT */
/* Ears: what ends a wait, what it tells, and what is kept while nobody listens. */
#include "support.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "partition/ear.h"

struct bench {
	struct part_ear ear;
	int bell;
};

static void start(struct bench *b)
{
	assert_int_equal(part_ear_open(&b->ear), 0);
	b->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(part_ear_add(&b->ear, b->bell), 0);
}

static void stop(struct bench *b)
{
	part_ear_close(&b->ear);
	part_ear_close(&b->ear);
	close(b->bell);
}

static void ring(struct bench *b, uint64_t times)
{
	assert_int_equal(write(b->bell, &times, sizeof(times)), sizeof(times));
}

static void rings_are_kept_and_told_once(void **state)
{
	struct bench b;

	start(&b);
	assert_false(part_ear_listen(&b.ear, 0));
	for (int i = 0; i < 3; i++) {
		ring(&b, 1);
		ring(&b, 1);
		assert_true(part_ear_listen(&b.ear, UINT64_MAX));
		assert_false(part_ear_listen(&b.ear, 1000000));
	}
	stop(&b);
}

static void a_wake_ends_a_wait_and_is_no_bell(void **state)
{
	struct bench b;

	start(&b);
	for (int i = 0; i < 3; i++) {
		part_ear_wake(&b.ear);
		assert_false(part_ear_listen(&b.ear, UINT64_MAX));
		part_ear_wake(&b.ear);
		ring(&b, 1);
		assert_true(part_ear_listen(&b.ear, UINT64_MAX));
	}
	stop(&b);
}

/* Who shares a bell may fill its counter; the ear neither reads it nor spins. */
static void a_full_counter_is_told_like_any_other(void **state)
{
	struct bench b;

	start(&b);
	ring(&b, 0xfffffffffffffffeull);
	assert_true(part_ear_listen(&b.ear, UINT64_MAX));
	assert_false(part_ear_listen(&b.ear, 1000000));
	stop(&b);
}

static void a_bell_that_was_removed_is_not_heard(void **state)
{
	struct bench b;

	start(&b);
	part_ear_remove(&b.ear, b.bell);
	ring(&b, 1);
	assert_false(part_ear_listen(&b.ear, 1000000));
	/* What rang before it is added counts as rung. */
	assert_int_equal(part_ear_add(&b.ear, b.bell), 0);
	assert_true(part_ear_listen(&b.ear, UINT64_MAX));
	assert_int_equal(part_ear_add(&b.ear, b.bell), -EEXIST);
	assert_int_equal(part_ear_add(&b.ear, -1), -EBADF);
	stop(&b);
}

static void a_wait_takes_its_time(void **state)
{
	uint64_t start_ns;
	struct bench b;

	start(&b);
	start_ns = clock_now_ns();
	assert_false(part_ear_listen(&b.ear, 300000));
	assert_true(clock_now_ns() - start_ns >= 300000);
	stop(&b);
}

/* More bells than one look takes: the rest is told by the next ones. */
static void many_bells_are_all_told(void **state)
{
	enum {
		BELLS = 64
	};
	int bells[BELLS];
	struct bench b;
	uint64_t one = 1;
	int told = 0;

	start(&b);
	for (int i = 0; i < BELLS; i++) {
		bells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_int_equal(part_ear_add(&b.ear, bells[i]), 0);
		assert_int_equal(write(bells[i], &one, sizeof(one)), sizeof(one));
	}
	while (told <= BELLS && part_ear_listen(&b.ear, 0))
		told++;
	assert_in_range(told, 2, BELLS);
	assert_false(part_ear_listen(&b.ear, 0));
	for (int i = 0; i < BELLS; i++)
		close(bells[i]);
	stop(&b);
}

static void an_ear_leaves_no_descriptor(void **state)
{
	unsigned int fds = count_fds();
	struct part_ear closed = PART_EAR_CLOSED;
	struct bench b;

	start(&b);
	stop(&b);
	part_ear_close(&closed);
	assert_int_equal(count_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rings_are_kept_and_told_once),
		cmocka_unit_test(a_wake_ends_a_wait_and_is_no_bell),
		cmocka_unit_test(a_full_counter_is_told_like_any_other),
		cmocka_unit_test(a_bell_that_was_removed_is_not_heard),
		cmocka_unit_test(a_wait_takes_its_time),
		cmocka_unit_test(many_bells_are_all_told),
		cmocka_unit_test(an_ear_leaves_no_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
