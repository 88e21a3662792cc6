/* SPDX-License-Identifier: MIT */
#include "ring/limits.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ring/ring.h"

/* ---- copies ---- */

struct limit_copy {
	struct ring_memory memory;
	struct ring_load load;
	uint32_t at;
};

struct limit_copy *limit_copy_create(uint32_t size, uint32_t ring_size)
{
	struct limit_copy *c = calloc(1, sizeof(*c));

	if (!c || !ring_memory_create(&c->memory, ring_size) ||
	    !ring_load_create(&c->load, size, 1, ring_size)) {
		fprintf(stderr, "not enough memory\n");
		exit(1);
	}
	return c;
}

void limit_copy_destroy(struct limit_copy *c)
{
	ring_memory_destroy(&c->memory);
	ring_load_destroy(&c->load);
	free(c);
}

void limit_copy_run(struct limit_copy *c, uint64_t count)
{
	struct ring_load *l = &c->load;

	for (uint64_t i = 0; i < count; i++) {
		uint8_t *middle = c->memory.data + c->at;

		if (l->filled) {
			l->source[0] = i;
			l->source[1] = l->tag;
		}
		memcpy(middle, l->source, l->size);
		memcpy(l->sink, middle, l->size);
		/* Nobody reads the sink: the compiler must not find that out. */
		__asm__ __volatile__("" : : "r"(l->sink) : "memory");
		c->at = (c->at + l->size) & (c->memory.size - 1);
	}
}

double limit_copy_slice(void *limit_copy, uint64_t count)
{
	double start = bench_thread_seconds();

	limit_copy_run(limit_copy, count);
	return bench_thread_seconds() - start;
}

/* ---- lines ---- */

struct lines {
	_Alignas(128) atomic_ullong there;
	_Alignas(128) atomic_ullong back;
};

static inline void line_wait(atomic_ullong *line, unsigned long long value)
{
	while (atomic_load_explicit(line, memory_order_acquire) != value)
		;
}

static bool one_line_first(void *arg, uint64_t count)
{
	struct lines *l = arg;

	for (uint64_t i = 0; i < count; i++) {
		line_wait(&l->there, 2 * i + 1);
		atomic_store_explicit(&l->there, 2 * i + 2, memory_order_release);
	}
	return true;
}

static double one_line_second(void *arg, uint64_t count)
{
	struct lines *l = arg;
	double start = bench_seconds();

	for (uint64_t i = 0; i < count; i++) {
		atomic_store_explicit(&l->there, 2 * i + 1, memory_order_release);
		line_wait(&l->there, 2 * i + 2);
	}
	return bench_seconds() - start;
}

static bool two_lines_first(void *arg, uint64_t count)
{
	struct lines *l = arg;

	for (uint64_t i = 1; i <= count; i++) {
		line_wait(&l->there, i);
		atomic_store_explicit(&l->back, i, memory_order_release);
	}
	return true;
}

static double two_lines_second(void *arg, uint64_t count)
{
	struct lines *l = arg;
	double start = bench_seconds();

	for (uint64_t i = 1; i <= count; i++) {
		atomic_store_explicit(&l->there, i, memory_order_release);
		line_wait(&l->back, i);
	}
	return bench_seconds() - start;
}

double limit_one_line(void *arg, uint64_t count)
{
	struct lines lines = {0};
	struct bench_pair pair = {one_line_first, one_line_second, &lines, count};

	return bench_pair_run(&pair);
}

double limit_two_lines(void *arg, uint64_t count)
{
	struct lines lines = {0};
	struct bench_pair pair = {two_lines_first, two_lines_second, &lines, count};

	return bench_pair_run(&pair);
}

/* ---- eventfds ---- */

static bool event_put(int fd)
{
	uint64_t one = 1;

	return write(fd, &one, sizeof(one)) == (ssize_t)sizeof(one);
}

static bool event_take(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n);
}

static bool eventfd_first(void *arg, uint64_t count)
{
	const int *events = arg;

	for (uint64_t i = 0; i < count; i++) {
		if (!event_take(events[0]) || !event_put(events[1]))
			return false;
	}
	return true;
}

static double eventfd_second(void *arg, uint64_t count)
{
	const int *events = arg;
	double start = bench_seconds();

	for (uint64_t i = 0; i < count; i++) {
		if (!event_put(events[0]) || !event_take(events[1]))
			return -1;
	}
	return bench_seconds() - start;
}

double limit_eventfd(void *arg, uint64_t count)
{
	int events[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
	struct bench_pair pair = {eventfd_first, eventfd_second, events, count};
	double seconds = -1;

	if (events[0] >= 0 && events[1] >= 0)
		seconds = bench_pair_run(&pair);
	close(events[0]);
	close(events[1]);
	return seconds;
}
