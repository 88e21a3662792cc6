/* SPDX-License-Identifier: MIT */
/* Rings side by side: ours, a plain one, the floor of the format, and the limits of the machine. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/bench.h"
#include "ring/cells.h"
#include "ring/limits.h"

enum {
	RING_SMALL = 64 * 1024,
	RING_LARGE = 1024 * 1024,
};

static const uint32_t sizes[] = {16, 64, 256, 1024, 4096, 16384};
enum {
	SIZES = sizeof(sizes) / sizeof(sizes[0])
};

/* ---- one thread ---- */

enum {
	ONE_COPY,
	ONE_PLAIN,
	ONE_FLOOR,
	ONE_OURS,
	ONE_FLAT,
	ONE_PAGES,
	ONE_COLUMNS
};

static struct bench_table one_thread = {
	.id = "one",
	.title = "One thread, write + read, ring of 64 KiB, processor time",
	.unit = BENCH_NS,
	.columns = ONE_COLUMNS,
	.column = {"memcpy", "plain", "floor", "ours", "ours-flat", "ours-pages"},
	.ratios = 3,
	.ratio = {{ONE_FLOOR, ONE_PLAIN}, {ONE_OURS, ONE_PLAIN}, {ONE_OURS, ONE_FLOOR}},
};

static void pairs_set(struct bench_row *row, unsigned int column,
		      const struct ring_candidate *candidate, enum ring_view view, uint32_t size,
		      uint32_t batch)
{
	bench_cell_set(row, column, ring_cell_pairs,
		       ring_cell_create(candidate, view, size, batch, RING_SMALL, false));
}

static void one_thread_add(uint32_t size, uint32_t want)
{
	uint32_t batch = ring_batch(want, size + 24, RING_SMALL);
	char id[40], label[40];
	struct bench_row *row;

	/* Where a batch would be one packet, the row above has said it. */
	if (want > 1 && batch == 1)
		return;
	snprintf(id, sizeof(id), "%u%s", size, want > 1 ? "-batch" : "");
	if (want > 1)
		snprintf(label, sizeof(label), "%u B, batches of %u", size, batch);
	else
		snprintf(label, sizeof(label), "%u B", size);
	row = bench_row_add(&one_thread, id, label, size);
	bench_cell_set(row, ONE_COPY, limit_copy_slice, limit_copy_create(size, RING_SMALL));
	pairs_set(row, ONE_PLAIN, &ring_plain, RING_MIRRORED, size, want);
	pairs_set(row, ONE_FLOOR, &ring_floor, RING_MIRRORED, size, want);
	pairs_set(row, ONE_OURS, &ring_ours, RING_MIRRORED, size, want);
	pairs_set(row, ONE_FLAT, &ring_ours, RING_FLAT, size, want);
	pairs_set(row, ONE_PAGES, &ring_ours, RING_PAGES, size, want);
}

static void one_thread_fill(void)
{
	for (unsigned int i = 0; i < SIZES; i++)
		one_thread_add(sizes[i], 1);
	for (unsigned int i = 0; i < SIZES; i++)
		one_thread_add(sizes[i], RING_BATCH);
}

/* ---- two threads ---- */

enum {
	TWO_LIMIT,
	TWO_PLAIN,
	TWO_FLOOR,
	TWO_OURS,
	TWO_COLUMNS
};

static struct bench_table two_small = {
	.id = "two-64",
	.title = "Two threads, 64-byte packets",
	.unit = BENCH_MOPS,
	.columns = TWO_COLUMNS,
	.column = {"limit", "plain", "floor", "ours"},
	.ratios = 3,
	.ratio = {{TWO_FLOOR, TWO_PLAIN}, {TWO_OURS, TWO_PLAIN}, {TWO_OURS, TWO_FLOOR}},
};

static struct bench_table two_large = {
	.id = "two-16k",
	.title = "Two threads, 16 KiB packets",
	.unit = BENCH_GBS,
	.columns = TWO_COLUMNS,
	.column = {"limit", "plain", "floor", "ours"},
	.ratios = 3,
	.ratio = {{TWO_FLOOR, TWO_LIMIT}, {TWO_OURS, TWO_LIMIT}, {TWO_OURS, TWO_FLOOR}},
};

static void two_threads_add(struct bench_table *t, const char *id, const char *label, uint32_t size,
			    uint32_t batch, uint32_t ring_size)
{
	static const struct ring_candidate *const candidates[] = {&ring_slots, &ring_plain,
								  &ring_floor, &ring_ours};
	struct bench_row *row = bench_row_add(t, id, label, size);

	for (unsigned int c = 0; c < TWO_COLUMNS; c++)
		bench_cell_set(row, c, ring_cell_two_threads,
			       ring_cell_create(candidates[c], RING_MIRRORED, size, batch,
						ring_size, false));
}

static void two_threads_fill(void)
{
	two_threads_add(&two_small, "64k", "64 KiB ring, each", 64, 1, RING_SMALL);
	two_threads_add(&two_small, "1m", "1 MiB ring, each", 64, 1, RING_LARGE);
	two_threads_add(&two_small, "64k-batch", "64 KiB ring, by 32", 64, RING_BATCH, RING_SMALL);
	two_threads_add(&two_small, "1m-batch", "1 MiB ring, by 32", 64, RING_BATCH, RING_LARGE);
	two_threads_add(&two_large, "64k", "64 KiB ring", 16384, 1, RING_SMALL);
	two_threads_add(&two_large, "1m", "1 MiB ring", 16384, 1, RING_LARGE);
}

/* ---- round trips ---- */

enum {
	TRIP_ONE_LINE,
	TRIP_TWO_LINES,
	TRIP_PLAIN,
	TRIP_FLOOR,
	TRIP_OURS,
	TRIP_COLUMNS
};

static struct bench_table trips = {
	.id = "trip",
	.title = "Round trip of 64 bytes over a pair of rings, both ends spinning",
	.unit = BENCH_NS,
	.columns = TRIP_COLUMNS,
	.column = {"one line", "two lines", "plain", "floor", "ours"},
	.ratios = 3,
	.ratio = {{TRIP_FLOOR, TRIP_TWO_LINES},
		  {TRIP_OURS, TRIP_TWO_LINES},
		  {TRIP_OURS, TRIP_FLOOR}},
};

enum {
	WAKE_EVENTFD,
	WAKE_FLOOR,
	WAKE_OURS,
	WAKE_COLUMNS
};

static struct bench_table wakes = {
	.id = "wake",
	.title = "Round trip of 64 bytes, both ends blocking on an eventfd",
	.unit = BENCH_US,
	.columns = WAKE_COLUMNS,
	.column = {"eventfd", "floor", "ours"},
	.ratios = 2,
	.ratio = {{WAKE_FLOOR, WAKE_EVENTFD}, {WAKE_OURS, WAKE_EVENTFD}},
};

static void trip_set(struct bench_row *row, unsigned int column, bench_slice_fn *slice,
		     const struct ring_candidate *candidate)
{
	bench_cell_set(row, column, slice,
		       ring_cell_create(candidate, RING_MIRRORED, 64, 1, RING_SMALL, true));
}

static void trips_fill(void)
{
	struct bench_row *row = bench_row_add(&trips, "64", "64 B", 64);

	bench_cell_set(row, TRIP_ONE_LINE, limit_one_line, NULL);
	bench_cell_set(row, TRIP_TWO_LINES, limit_two_lines, NULL);
	trip_set(row, TRIP_PLAIN, ring_cell_round_trip, &ring_plain);
	trip_set(row, TRIP_FLOOR, ring_cell_round_trip, &ring_floor);
	trip_set(row, TRIP_OURS, ring_cell_round_trip, &ring_ours);

	row = bench_row_add(&wakes, "64", "64 B", 64);
	bench_cell_set(row, WAKE_EVENTFD, limit_eventfd, NULL);
	trip_set(row, WAKE_FLOOR, ring_cell_round_trip_blocking, &ring_floor);
	trip_set(row, WAKE_OURS, ring_cell_round_trip_blocking, &ring_ours);
}

/* ---- programs that count instructions ---- */

static int pairs_only(const char *name, uint64_t count, uint32_t batch)
{
	static const struct ring_candidate *const candidates[] = {&ring_slots, &ring_plain,
								  &ring_floor, &ring_ours};
	enum {
		SIZE = 64
	};

	if (!strcmp(name, "memcpy")) {
		struct limit_copy *c = limit_copy_create(SIZE, RING_SMALL);

		limit_copy_run(c, count);
		limit_copy_destroy(c);
		return 0;
	}
	for (unsigned int i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
		struct ring_cell *c;
		bool ok;

		if (strcmp(name, candidates[i]->name) != 0)
			continue;
		c = ring_cell_create(candidates[i], RING_MIRRORED, SIZE, batch, RING_SMALL, false);
		ok = candidates[i]->pairs(c->there, &c->load, count);
		ring_cell_destroy(c);
		return !ok;
	}
	fprintf(stderr, "there is no candidate \"%s\": memcpy, slots, plain, floor, ours\n", name);
	return 2;
}

static const char usage[] =
	"bench_ring: rings, and what the machine allows, measured side by side\n"
	"  --callgrind CANDIDATE COUNT [BATCH]\n"
	"                  only writes and reads COUNT packets of 64 bytes on one thread\n";

int main(int argc, char **argv)
{
	struct bench_options options = {.rounds = 25, .slice_ms = 2};
	struct bench_table *tables[] = {&one_thread, &two_small, &two_large, &trips, &wakes};
	unsigned int cpus[2], count = 5;

	if (argc >= 4 && !strcmp(argv[1], "--callgrind"))
		return pairs_only(argv[2], strtoull(argv[3], NULL, 0),
				  argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 0) : 1);
	bench_options_parse(&options, &argc, argv, usage);
	if (argc > 1) {
		fprintf(stderr, "%s: unknown option %s (--help lists them)\n", argv[0], argv[1]);
		return 2;
	}
	one_thread_fill();
	if (bench_cpus(cpus, 2) < 2) {
		printf("Only one processor: everything that needs two threads is left out.\n");
		count = 1;
	} else {
		two_threads_fill();
		trips_fill();
	}
	bench_pin(1);
	return bench_run("bench_ring", tables, count, &options);
}
