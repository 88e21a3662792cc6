/* SPDX-License-Identifier: MIT */
/*
 * The same two drivers in one process and in two: what the way across a socket costs once the rings
 * are shared. A host in a process of its own serves, this process is its guest.
 */
#include "common/bench.h"
#include "kmcl/place.h"
#include "user/other.h"

enum {
	REQUESTS, /* the first channel; the last one is for packets one way */
	CHANNELS = 2,
};

enum {
	SPINNING,
	BLOCKING,
	USUAL,
	PLACES
};
static const struct place_options places[PLACES] = {
	[SPINNING] = {"spinning", 1, PLACE_POLL_NS, CHANNELS, 1},
	[BLOCKING] = {"blocking", 1, -1, CHANNELS, 1},
	[USUAL] = {"default", 0, 0, CHANNELS, 1},
};
static struct place here[PLACES], across[PLACES];

enum {
	RATE_HERE,
	RATE_ACROSS,
	RATE_USUAL_HERE,
	RATE_USUAL_ACROSS,
	RATE_COLUMNS
};
#define RATE_COLUMN_NAMES                              \
	{                                              \
		"one", "two", "one, def.", "two, def." \
	}
#define RATE_RATIOS                                        \
	{                                                  \
		{RATE_ACROSS, RATE_HERE},                  \
		{                                          \
			RATE_USUAL_ACROSS, RATE_USUAL_HERE \
		}                                          \
	}

static struct bench_table rates = {
	.id = "user-rate",
	.title = "Requests completed, 64 bytes each way, in one process and in two",
	.unit = BENCH_MOPS,
	.columns = RATE_COLUMNS,
	.column = RATE_COLUMN_NAMES,
	.ratios = 2,
	.ratio = RATE_RATIOS,
};

static struct bench_table data = {
	.id = "user-data",
	.title = "Bytes, in one process and in two",
	.unit = BENCH_GBS,
	.columns = RATE_COLUMNS,
	.column = RATE_COLUMN_NAMES,
	.ratios = 2,
	.ratio = RATE_RATIOS,
};

enum {
	WAKE_EVENTFD,
	WAKE_HERE,
	WAKE_ACROSS,
	WAKE_COLUMNS
};
static struct bench_table wakes = {
	.id = "user-wake",
	.title = "Request to completion, 64 bytes each way, blocking",
	.unit = BENCH_US,
	.columns = WAKE_COLUMNS,
	.column = {"eventfd", "one", "two"},
	.ratios = 2,
	.ratio = {{WAKE_ACROSS, WAKE_EVENTFD}, {WAKE_ACROSS, WAKE_HERE}},
};

static void fill_row(struct bench_row *row, struct bench_run_request request)
{
	request.channels = 1;
	place_cell_set(row, RATE_HERE, &here[SPINNING], request);
	place_cell_set(row, RATE_ACROSS, &across[SPINNING], request);
	place_cell_set(row, RATE_USUAL_HERE, &here[USUAL], request);
	place_cell_set(row, RATE_USUAL_ACROSS, &across[USUAL], request);
}

static void fill_tables(void)
{
	static const struct bench_run_request trip = {.channels = 1, .window = 1};
	static const uint32_t windows[] = {1, 32, 256};
	struct bench_row *row;
	char id[40], label[40];

	for (unsigned int i = 0; i < 3; i++) {
		snprintf(id, sizeof(id), "window-%u", windows[i]);
		snprintf(label, sizeof(label), "window %u", windows[i]);
		fill_row(bench_row_add(&rates, id, label, BENCH_PACKET),
			 (struct bench_run_request){.window = windows[i]});
	}
	fill_row(bench_row_add(&data, "one-way", "16 KiB, one way", BENCH_ONE_WAY),
		 (struct bench_run_request){.window = 8, .one_way = 1});
	fill_row(bench_row_add(&data, "external-1", "64 KiB external, window 1", 64 << 10),
		 (struct bench_run_request){.window = 1, .external = 64 << 10});
	fill_row(bench_row_add(&data, "external-8", "64 KiB external, window 8", 64 << 10),
		 (struct bench_run_request){.window = 8, .external = 64 << 10});

	row = bench_row_add(&wakes, "64", "64 B", BENCH_PACKET);
	bench_cell_set(row, WAKE_EVENTFD, other_eventfd, NULL);
	place_cell_set(row, WAKE_HERE, &here[BLOCKING], trip);
	place_cell_set(row, WAKE_ACROSS, &across[BLOCKING], trip);
}

static const char usage[] =
	"bench_user: requests of a client driver completed by a server driver in another process\n";

int main(int argc, char **argv)
{
	struct bench_options options = {.rounds = 25, .slice_ms = 4};
	struct bench_table *tables[] = {&wakes, &rates, &data};
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
	other_start(places, PLACES, BENCH_VSP);
	for (unsigned int i = 0; i < PLACES; i++) {
		place_create(&here[i], &places[i]);
		other_join(&across[i], i);
	}
	fill_tables();
	status = bench_run("bench_user", tables, 3, &options);
	for (unsigned int i = 0; i < PLACES; i++) {
		place_destroy(&across[i]);
		place_destroy(&here[i]);
	}
	other_end();
	return status;
}
