/* SPDX-License-Identifier: MIT */
/*
 * The client library from request to completion, both drivers' callbacks included, beside what the
 * machine and the bare ring need for the same way.
 */
#include <stdlib.h>
#include <string.h>

#include "common/bench.h"
#include "kmcl/bench_driver.h"
#include "kmcl/place.h"
#include "ring/cells.h"
#include "ring/limits.h"

enum {
	RING_BYTES = (BENCH_RING_PAGES - 1) * 4096,
};

/* ---- cells ---- */

static void ring_set(struct bench_row *row, unsigned int column, bench_slice_fn *slice)
{
	bench_cell_set(
		row, column, slice,
		ring_cell_create(&ring_ours, RING_MIRRORED, BENCH_PACKET, 1, RING_BYTES, true));
}

/* What a server does with external data, without the way there: one copy from one of `window`
 * buffers. */
struct copies {
	uint8_t *from, *to;
	size_t bytes, window;
};

static double copies_slice(void *arg, uint64_t count)
{
	struct copies *c = arg;
	double start = bench_thread_seconds();

	for (uint64_t i = 0; i < count; i++) {
		memcpy(c->to, c->from + i % c->window * c->bytes, c->bytes);
		__asm__ __volatile__("" : : "r"(c->to) : "memory");
	}
	return bench_thread_seconds() - start;
}

static void copies_set(struct bench_row *row, unsigned int column, size_t bytes, size_t window)
{
	struct copies *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->bytes = bytes;
	c->window = window;
	c->from = malloc(bytes * window);
	c->to = malloc(bytes);
	if (!c->from || !c->to)
		abort();
	memset(c->from, 1, bytes * window);
	bench_cell_set(row, column, copies_slice, c);
}

/* ---- tables ---- */

enum {
	TRIP_LINES,
	TRIP_RING,
	TRIP_KMCL,
	TRIP_DEFAULT,
	TRIP_COLUMNS
};
static struct bench_table trips = {
	.id = "kmcl-trip",
	.title = "Request to completion, 64 bytes each way, spinning",
	.unit = BENCH_NS,
	.columns = TRIP_COLUMNS,
	.column = {"two lines", "ring", "kmcl", "default"},
	.ratios = 3,
	.ratio = {{TRIP_RING, TRIP_LINES}, {TRIP_KMCL, TRIP_LINES}, {TRIP_KMCL, TRIP_RING}},
};

enum {
	WAKE_EVENTFD,
	WAKE_RING,
	WAKE_KMCL,
	WAKE_COLUMNS
};
static struct bench_table wakes = {
	.id = "kmcl-wake",
	.title = "Request to completion, 64 bytes each way, blocking",
	.unit = BENCH_US,
	.columns = WAKE_COLUMNS,
	.column = {"eventfd", "ring", "kmcl"},
	.ratios = 2,
	.ratio = {{WAKE_RING, WAKE_EVENTFD}, {WAKE_KMCL, WAKE_EVENTFD}},
};

enum {
	RATE_SPIN,
	RATE_DEFAULT,
	RATE_COLUMNS
};
static struct bench_table rates = {
	.id = "kmcl-rate",
	.title = "Requests completed, 64 bytes each way",
	.unit = BENCH_MOPS,
	.columns = RATE_COLUMNS,
	.column = {"spinning", "default"},
};

enum {
	DATA_COPY,
	DATA_KMCL,
	DATA_COLUMNS
};
static struct bench_table data = {
	.id = "kmcl-data",
	.title = "External data, copied by the server",
	.unit = BENCH_GBS,
	.columns = DATA_COLUMNS,
	.column = {"memcpy", "kmcl"},
	.ratios = 1,
	.ratio = {{DATA_KMCL, DATA_COPY}},
};

static struct place spinning, blocking, usual;

static void fill_trips(void)
{
	struct bench_row *row = bench_row_add(&trips, "64", "64 B", BENCH_PACKET);

	bench_cell_set(row, TRIP_LINES, limit_two_lines, NULL);
	ring_set(row, TRIP_RING, ring_cell_round_trip);
	place_cell_set(row, TRIP_KMCL, &spinning,
		       (struct bench_run_request){.channels = 1, .window = 1});
	place_cell_set(row, TRIP_DEFAULT, &usual,
		       (struct bench_run_request){.channels = 1, .window = 1});

	row = bench_row_add(&wakes, "64", "64 B", BENCH_PACKET);
	bench_cell_set(row, WAKE_EVENTFD, limit_eventfd, NULL);
	ring_set(row, WAKE_RING, ring_cell_round_trip_blocking);
	place_cell_set(row, WAKE_KMCL, &blocking,
		       (struct bench_run_request){.channels = 1, .window = 1});
}

static void fill_rates(void)
{
	static const uint32_t windows[] = {1, 32, 256};
	static const uint32_t channels[] = {1, 16, 64};
	struct bench_row *row;
	char id[40], label[40];

	for (unsigned int i = 0; i < 3; i++) {
		snprintf(id, sizeof(id), "window-%u", windows[i]);
		snprintf(label, sizeof(label), "window %u", windows[i]);
		row = bench_row_add(&rates, id, label, BENCH_PACKET);
		place_cell_set(row, RATE_SPIN, &spinning,
			       (struct bench_run_request){.channels = 1, .window = windows[i]});
		place_cell_set(row, RATE_DEFAULT, &usual,
			       (struct bench_run_request){.channels = 1, .window = windows[i]});
	}
	for (unsigned int i = 0; i < 3; i++) {
		snprintf(id, sizeof(id), "channels-%u", channels[i]);
		snprintf(label, sizeof(label), "%u channels, window 8", channels[i]);
		row = bench_row_add(&rates, id, label, BENCH_PACKET);
		place_cell_set(row, RATE_SPIN, &spinning,
			       (struct bench_run_request){.channels = channels[i], .window = 8});
		place_cell_set(row, RATE_DEFAULT, &usual,
			       (struct bench_run_request){.channels = channels[i], .window = 8});
	}
}

static void fill_data(void)
{
	static const struct {
		uint32_t bytes, window;
	} shapes[] = {{64 * 1024, 1}, {64 * 1024, 8}, {1024 * 1024, 1}, {1024 * 1024, 8}};

	for (unsigned int i = 0; i < 4; i++) {
		char id[40], label[40];
		struct bench_row *row;

		snprintf(id, sizeof(id), "%uk-%u", shapes[i].bytes / 1024, shapes[i].window);
		snprintf(label, sizeof(label), "%u KiB, window %u", shapes[i].bytes / 1024,
			 shapes[i].window);
		row = bench_row_add(&data, id, label, shapes[i].bytes);
		copies_set(row, DATA_COPY, shapes[i].bytes, shapes[i].window);
		place_cell_set(row, DATA_KMCL, &spinning,
			       (struct bench_run_request){.channels = 1,
							  .window = shapes[i].window,
							  .external = shapes[i].bytes});
	}
}

static const char usage[] =
	"bench_kmcl: requests of a client driver completed by a server driver\n";

int main(int argc, char **argv)
{
	struct bench_options options = {.rounds = 25, .slice_ms = 4};
	struct bench_table *tables[] = {&trips, &wakes, &rates, &data};
	unsigned int cpus[2];
	int status;

	bench_options_parse(&options, &argc, argv, usage);
	if (argc > 1) {
		fprintf(stderr, "%s: unknown option %s (--help lists them)\n", argv[0], argv[1]);
		return 2;
	}
	if (bench_cpus(cpus, 2) < 2) {
		printf("Only one processor: two drivers that answer each other are not "
		       "measured.\n");
		return 0;
	}
	place_create(&usual, &(struct place_options){.name = "default",
						     .processors = 0,
						     .poll_ns = 0,
						     .channels = BENCH_CHANNELS});
	place_create(&spinning, &(struct place_options){.name = "spinning",
							.processors = 1,
							.poll_ns = PLACE_POLL_NS,
							.channels = BENCH_CHANNELS});
	place_create(&blocking,
		     &(struct place_options){
			     .name = "blocking", .processors = 1, .poll_ns = -1, .channels = 1});
	fill_trips();
	fill_rates();
	fill_data();
	status = bench_run("bench_kmcl", tables, 4, &options);
	place_destroy(&blocking);
	place_destroy(&spinning);
	place_destroy(&usual);
	return status;
}
