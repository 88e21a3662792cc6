/* SPDX-License-Identifier: MIT */
#include "ring/cells.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct ring_cell *ring_cell_create(const struct ring_candidate *candidate, enum ring_view view,
				   uint32_t size, uint32_t batch, uint32_t ring_size,
				   bool round_trip)
{
	struct ring_cell *c = calloc(1, sizeof(*c));

	if (!c)
		goto fail;
	c->candidate = candidate;
	c->there = candidate->create(ring_size, view);
	if (round_trip)
		c->back = candidate->create(ring_size, view);
	if (!c->there || (round_trip && !c->back) ||
	    !ring_load_create(&c->load, size, batch, ring_size))
		goto fail;
	for (int i = 0; i < 2; i++) {
		c->events[i] = round_trip ? eventfd(0, EFD_CLOEXEC) : -1;
		if (round_trip && c->events[i] < 0)
			goto fail;
	}
	return c;
fail:
	fprintf(stderr, "%s: no memory for a ring of %u bytes\n", candidate->name, ring_size);
	exit(1);
}

void ring_cell_destroy(struct ring_cell *c)
{
	c->candidate->destroy(c->there);
	if (c->back) {
		c->candidate->destroy(c->back);
		close(c->events[0]);
		close(c->events[1]);
	}
	ring_load_destroy(&c->load);
	free(c);
}

double ring_cell_pairs(void *ring_cell, uint64_t count)
{
	struct ring_cell *c = ring_cell;
	uint64_t whole = (count + c->load.batch - 1) / c->load.batch * c->load.batch;
	double start = bench_thread_seconds();

	if (!c->candidate->pairs(c->there, &c->load, whole))
		return -1;
	return (bench_thread_seconds() - start) * (double)count / (double)whole;
}

/* An eighth more than is measured, so that both threads are in full swing when the clock starts. */
static uint64_t warm_up(const struct ring_cell *c, uint64_t count)
{
	return (count / 8 / c->load.batch + 1) * c->load.batch;
}

static bool produce(void *arg, uint64_t count)
{
	struct ring_cell *c = arg;

	return c->candidate->produce(c->there, &c->load, warm_up(c, count)) &&
	       c->candidate->produce(c->there, &c->load, count);
}

static double consume(void *arg, uint64_t count)
{
	struct ring_cell *c = arg;
	double start;

	if (!c->candidate->consume(c->there, &c->load, warm_up(c, count)))
		return -1;
	start = bench_seconds();
	if (!c->candidate->consume(c->there, &c->load, count))
		return -1;
	return bench_seconds() - start;
}

double ring_cell_two_threads(void *ring_cell, uint64_t count)
{
	struct bench_pair pair = {produce, consume, ring_cell, count};

	return bench_pair_run(&pair);
}

static bool pong(void *arg, uint64_t count)
{
	struct ring_cell *c = arg;

	return c->candidate->pong(c->there, c->back, &c->load, count);
}

static double ping(void *arg, uint64_t count)
{
	struct ring_cell *c = arg;
	double start = bench_seconds();

	if (!c->candidate->ping(c->there, c->back, &c->load, count))
		return -1;
	return bench_seconds() - start;
}

double ring_cell_round_trip(void *ring_cell, uint64_t count)
{
	struct bench_pair pair = {pong, ping, ring_cell, count};

	return bench_pair_run(&pair);
}

static bool pong_blocking(void *arg, uint64_t count)
{
	struct ring_cell *c = arg;

	return c->candidate->pong_blocking(c->there, c->back, &c->load, count, c->events);
}

static double ping_blocking(void *arg, uint64_t count)
{
	struct ring_cell *c = arg;
	double start = bench_seconds();

	if (!c->candidate->ping_blocking(c->there, c->back, &c->load, count, c->events))
		return -1;
	return bench_seconds() - start;
}

double ring_cell_round_trip_blocking(void *ring_cell, uint64_t count)
{
	struct bench_pair pair = {pong_blocking, ping_blocking, ring_cell, count};

	return bench_pair_run(&pair);
}
