/* SPDX-License-Identifier: MIT */
/* Captures: lanes under many threads, what is counted when there is no room, taps that open and
 * close while traffic runs, files that cannot be written. The files are read by kmcl/trace.h. */
#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kmcl/kmcl.h"
#include "kmcl/trace.h"
#include "partition/capture.h"

#define THREADS 4u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static char path[] = "/tmp/kmcl-capture-XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 || close(fd) ? -1 : 0;
}

static int remove_file(void **state)
{
	return unlink(path);
}

/* ---- allocations ---- */

#if !SANITIZED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);

static _Thread_local volatile unsigned int allocations;

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocations++;
	return __libc_calloc(count, size);
}
#else
static unsigned int allocations;
#endif

/* ---- a bus without channels, and threads that record ---- */

static struct part *make_part(struct part_capture *capture)
{
	const struct part_options options = {
		.memory = TEST_MEMORY, .vps = 1, .server_dispatchers = 1, .capture = capture};
	struct part *part;

	assert_int_equal(part_loopback_create(&options, &part), 0);
	return part;
}

static struct part_capture *open_capture(uint32_t lane)
{
	const struct part_capture_options options = {.payload = 64, .lane = lane};
	struct part_capture *capture;

	assert_int_equal(part_capture_open(path, &options, &capture), 0);
	return capture;
}

/* A message that tells whose it is, and which. */
static void record_at(struct part *part, uint32_t thread, uint32_t number, uint64_t time)
{
	uint8_t bytes[MESSAGE_BYTES] = {0};
	const struct part_capture_message m = {
		.direction = PART_CAPTURE_TO_CLIENT,
		.time = time,
		.data = bytes,
		.size = 16 + number % (sizeof(bytes) - 15),
	};

	vmbus_put32(bytes, 0x4b4d434c);
	vmbus_put32(bytes + 4, thread);
	vmbus_put32(bytes + 8, number);
	memset(bytes + 12, (int)(thread + number), m.size - 12);
	part_capture_message(part_server(part), &m);
}

static void record_one(struct part *part, uint32_t thread, uint32_t number)
{
	record_at(part, thread, number, clock_now_ns());
}

struct writer {
	struct part *part;
	uint32_t thread, count;
	uint64_t pause_ns;
	atomic_bool *stop; /* NULL: `count` and no more */
	unsigned int allocations;
	pthread_t id;
};

static void *write_many(void *arg)
{
	struct writer *w = arg;
	unsigned int before = allocations;

	for (uint32_t i = 0; w->stop ? !atomic_load(w->stop) : i < w->count; i++) {
		record_one(w->part, w->thread, i);
		if (w->pause_ns && i % 64 == 63)
			nap(w->pause_ns);
	}
	w->allocations = allocations - before;
	return NULL;
}

static void start_writers(struct writer *w, struct part *part, uint32_t count, atomic_bool *stop)
{
	for (uint32_t i = 0; i < THREADS; i++) {
		w[i] = (struct writer){.part = part, .thread = i, .count = count, .stop = stop};
		assert_int_equal(pthread_create(&w[i].id, NULL, write_many, &w[i]), 0);
	}
}

static void join_writers(struct writer *w)
{
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(w[i].id, NULL);
}

/* ---- reading ---- */

struct seen {
	uint64_t records, ours, lost, dropped;
	uint32_t next[THREADS];
	bool in_order; /* by time */
};

static void look_at(struct seen *seen, const struct kmcl_trace_record *r)
{
	uint32_t thread, number;

	assert_int_equal(r->original, r->size);
	if (r->size < 16 || vmbus_get32(r->data) != 0x4b4d434c)
		return;
	thread = vmbus_get32(r->data + 4);
	number = vmbus_get32(r->data + 8);
	assert_true(thread < THREADS);
	assert_true(number >= seen->next[thread]);
	assert_int_equal(r->size, 16 + number % (MESSAGE_BYTES - 15));
	for (size_t i = 12; i < r->size; i++)
		assert_int_equal(r->data[i], (uint8_t)(thread + number));
	seen->next[thread] = number + 1;
	seen->ours++;
}

static void read_capture(struct seen *seen)
{
	struct kmcl_trace_record r;
	kmcl_trace *trace;
	uint64_t time = 0;
	int code;

	*seen = (struct seen){.in_order = true};
	assert_int_equal(kmcl_trace_open(path, &trace, NULL), 0);
	while ((code = kmcl_trace_next(trace, &r, NULL)) == 1) {
		seen->records++;
		seen->lost += r.lost;
		seen->in_order = seen->in_order && r.time >= time;
		time = r.time;
		look_at(seen, &r);
	}
	assert_int_equal(code, 0);
	seen->dropped = kmcl_trace_dropped(trace);
	kmcl_trace_close(trace);
}

/* ---- tests ---- */

static void keeps_every_record_in_order_of_time(void **state)
{
	const uint32_t count = 5000; /* of one thread: less than a lane */
	struct part_capture *capture = open_capture(0);
	struct part *part = make_part(capture);
	struct part_capture_counts counts;
	struct writer w[THREADS];
	struct seen seen;

	start_writers(w, part, count, NULL);
	join_writers(w);
	part_destroy(part);
	assert_int_equal(part_capture_close(capture, &counts), 0);
	read_capture(&seen);
	assert_int_equal(counts.dropped, 0);
	assert_int_equal(seen.dropped, 0);
	assert_int_equal(seen.records, counts.recorded);
	assert_int_equal(seen.ours, THREADS * count);
	for (uint32_t i = 0; i < THREADS; i++) {
		assert_int_equal(seen.next[i], count);
		assert_int_equal(w[i].allocations, 0);
	}
	assert_true(seen.records > seen.ours); /* the bus's own */
}

static void counts_what_finds_no_room(void **state)
{
	const uint32_t count = 20000;
	struct part_capture *capture = open_capture(4096);
	struct part *part = make_part(capture);
	struct part_capture_counts counts;
	struct writer w[THREADS];
	struct seen seen;

	start_writers(w, part, count, NULL);
	join_writers(w);
	record_one(part, 0, count); /* so that the last drops of a lane have a record behind them */
	part_destroy(part);
	assert_int_equal(part_capture_close(capture, &counts), 0);
	read_capture(&seen);
	assert_true(counts.dropped > 0);
	assert_true(seen.ours > 0);
	assert_int_equal(seen.dropped, counts.dropped);
	assert_int_equal(seen.records, counts.recorded);
	assert_true(seen.lost <= seen.dropped);
	assert_true(seen.lost > 0);
	/* none is both, none is neither; the bus's own messages may be among the drops */
	assert_true(seen.ours + counts.dropped >= THREADS * count);
	assert_true(counts.recorded + counts.dropped >= THREADS * count + 1);
	assert_true(counts.recorded + counts.dropped <= THREADS * count + 1 + 100);
}

/* Two threads take turns: whoever comes later in time must come later in the file. */
struct turns {
	struct part *part;
	atomic_uint turn;
	uint32_t count;
};

static void *take_turns(void *arg)
{
	struct turns *t = arg;

	for (uint32_t i = 1; i < t->count; i += 2) {
		while (atomic_load(&t->turn) != i)
			sched_yield();
		record_one(t->part, 1, i);
		atomic_store(&t->turn, i + 1);
	}
	return NULL;
}

static void keeps_cause_before_effect(void **state)
{
	struct part_capture *capture = open_capture(0);
	struct turns t = {.part = make_part(capture), .count = 2000};
	struct kmcl_trace_record r;
	kmcl_trace *trace;
	pthread_t other;
	uint32_t expected = 0;

	assert_int_equal(pthread_create(&other, NULL, take_turns, &t), 0);
	for (uint32_t i = 0; i < t.count; i += 2) {
		while (atomic_load(&t.turn) != i)
			sched_yield();
		record_one(t.part, 0, i);
		atomic_store(&t.turn, i + 1);
	}
	pthread_join(other, NULL);
	part_destroy(t.part);
	assert_int_equal(part_capture_close(capture, NULL), 0);
	assert_int_equal(kmcl_trace_open(path, &trace, NULL), 0);
	while (kmcl_trace_next(trace, &r, NULL) == 1) {
		if (r.size < 16 || vmbus_get32(r.data) != 0x4b4d434c)
			continue;
		assert_int_equal(vmbus_get32(r.data + 8), expected);
		expected++;
	}
	kmcl_trace_close(trace);
	assert_int_equal(expected, t.count);
}

struct later {
	struct part *part;
	uint64_t time;
	uint32_t number;
};

static void *record_later(void *arg)
{
	struct later *l = arg;

	record_at(l->part, l->number, l->number, l->time);
	return NULL;
}

static void record_in_a_thread(struct later *l)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, record_later, l), 0);
	pthread_join(thread, NULL);
}

/*
 * The times are in the future, so that the writer looks many times before it may write. Threads
 * that begin one after the other have lanes of their own.
 */
static void waits_for_what_may_come_before(void **state)
{
	struct part_capture *capture = open_capture(0);
	struct part *part = make_part(capture);
	uint64_t now = clock_now_ns();
	struct later second = {part, now + 250000000, 1}, first = {part, now + 200000000, 0};
	struct seen seen;

	record_in_a_thread(&second);
	nap(20000000);
	record_in_a_thread(&first);
	nap(300000000);
	part_destroy(part);
	assert_int_equal(part_capture_close(capture, NULL), 0);
	read_capture(&seen);
	assert_int_equal(seen.ours, 2);
	assert_true(seen.in_order);
}

static void opens_and_closes_while_traffic_runs(void **state)
{
	struct part *part = make_part(NULL);
	atomic_bool stop = false;
	struct writer w[THREADS];

	start_writers(w, part, 0, &stop);
	for (int round = 0; round < 30; round++) {
		struct part_capture *capture = open_capture(round % 2 ? 4096 : 0);
		struct part_capture_counts counts;
		struct seen seen;

		assert_int_equal(part_capture_start(part, capture), 0);
		nap(2000000);
		assert_int_equal(part_capture_close(capture, &counts), 0);
		read_capture(&seen);
		assert_int_equal(seen.records, counts.recorded);
		assert_int_equal(seen.dropped, counts.dropped);
	}
	atomic_store(&stop, true);
	join_writers(w);
	assert_int_equal(atomic_load(&part_captures), 0);
	part_destroy(part);
}

static void records_one_partition_once(void **state)
{
	struct part_capture *first = open_capture(4096), *second = open_capture(4096);
	struct part *part = make_part(first), *other = make_part(NULL);

	assert_int_equal(part_capture_start(part, second), -EBUSY);
	assert_int_equal(part_capture_start(other, first), -EBUSY);
	assert_int_equal(part_capture_close(first, NULL), 0);
	assert_int_equal(part_capture_start(part, second), 0);
	part_destroy(part);
	assert_int_equal(part_capture_start(other, second), -EBUSY);
	assert_int_equal(part_capture_close(second, NULL), 0);
	part_destroy(other);
}

static void says_why_there_is_no_file(void **state)
{
	const struct part_capture_options options = {0};
	struct part_capture *capture = NULL;

	assert_int_equal(part_capture_open("/nowhere/at/all", &options, &capture), -ENOENT);
	assert_int_equal(part_capture_open("/tmp", &options, &capture), -EISDIR);
	assert_int_equal(part_capture_open("/dev/full", &options, &capture), -ENOSPC);
	assert_null(capture);
}

static void counts_what_cannot_be_written(void **state)
{
	struct rlimit before, limit;
	struct part_capture *capture;
	struct part_capture_counts counts;
	struct part *part = make_part(NULL); /* the limit is of memory files too */
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = 200000;
	setrlimit(RLIMIT_FSIZE, &limit);
	capture = open_capture(0);
	assert_int_equal(part_capture_start(part, capture), 0);
	for (uint32_t i = 0; i < 5000; i++)
		record_one(part, 0, i);
	part_destroy(part);
	assert_int_equal(part_capture_close(capture, &counts), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &before);
	signal(SIGXFSZ, handler);
	assert_true(counts.dropped > 0);
	assert_true(counts.recorded + counts.dropped >= 5000);
	assert_true(counts.recorded < 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_every_record_in_order_of_time),
		cmocka_unit_test(counts_what_finds_no_room),
		cmocka_unit_test(keeps_cause_before_effect),
		cmocka_unit_test(waits_for_what_may_come_before),
		cmocka_unit_test(opens_and_closes_while_traffic_runs),
		cmocka_unit_test(records_one_partition_once),
		cmocka_unit_test(says_why_there_is_no_file),
		cmocka_unit_test(counts_what_cannot_be_written),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
