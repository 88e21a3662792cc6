/* SPDX-License-Identifier: MIT */
/*
 * The client library from request to completion, both drivers' callbacks included, beside what the
 * machine and the bare ring need for the same way.
 */
#include <kmcl/kmcl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/bench.h"
#include "kmcl/bench_driver.h"
#include "ring/cells.h"
#include "ring/limits.h"

enum {
	RING_BYTES = (BENCH_RING_PAGES - 1) * 4096,
	POLL_NS = 1000000,
	OPEN_SECONDS = 30,
};

struct bench_driver_config bench_driver_config;

/* ---- partitions ---- */

struct place {
	const char *name;
	kmcl_partition *partition;
	kmcl_driver *server, *client;
	long settle_ns; /* after a run, until its threads have stopped polling */
};

static void place_load(struct place *p, enum kmcl_end end, kmcl_driver **driver)
{
	char *error = NULL;
	void *entry = end == KMCL_SERVER ? (void *)BenchVspEntry : (void *)BenchVscEntry;
	int code = kmcl_driver_load_entry(p->partition, end,
					  end == KMCL_SERVER ? "bench_vsp" : "bench_vsc", entry,
					  NULL, NULL, driver, &error);

	if (!code)
		return;
	fprintf(stderr, "%s: %s\n", p->name, error ? error : strerror(-code));
	exit(1);
}

static void place_wait_open(struct place *p, uint32_t channels)
{
	double deadline = bench_seconds() + OPEN_SECONDS;
	struct timespec pause = {.tv_nsec = 1000000};
	uint32_t running = 0;

	while (bench_seconds() < deadline) {
		kmcl_device_control(p->client, 0, BENCH_IOCTL_OPEN, NULL, 0, &running,
				    sizeof(running), NULL);
		if (running == channels)
			return;
		nanosleep(&pause, NULL);
	}
	fprintf(stderr, "%s: only %u of %u channels opened\n", p->name, running, channels);
	exit(1);
}

/* processors 0: the library's own choice, threads where the kernel puts them. */
static void place_create(struct place *p, const char *name, uint32_t processors, int64_t poll_ns,
			 uint32_t channels)
{
	struct kmcl_partition_options options;
	int code;

	p->name = name;
	p->settle_ns = poll_ns < 0 ? 0 : 3 * POLL_NS;
	kmcl_partition_options_init(&options);
	options.processors = processors;
	options.poll_ns = poll_ns;
	code = kmcl_partition_create_loopback(&options, &p->partition);
	if (code) {
		fprintf(stderr, "%s: no partition: %s\n", name, strerror(-code));
		exit(1);
	}
	bench_driver_config.channels = channels;
	bench_driver_config.place = processors == 1 ? bench_pin : NULL;
	place_load(p, KMCL_SERVER, &p->server);
	place_load(p, KMCL_CLIENT, &p->client);
	place_wait_open(p, channels);
}

/* ---- cells ---- */

struct run {
	struct place *place;
	struct bench_run_request request;
};

static double run_slice(void *arg, uint64_t count)
{
	struct run *r = arg;
	struct timespec settle = {.tv_nsec = r->place->settle_ns};
	struct bench_run_request request = r->request;
	struct bench_run_result result = {0};
	kmcl_status status;
	size_t returned = 0;

	request.count = count;
	status = kmcl_device_control(r->place->client, 0, BENCH_IOCTL_RUN, &request,
				     sizeof(request), &result, sizeof(result), &returned);
	nanosleep(&settle, NULL);
	if (status || returned != sizeof(result) || result.failed) {
		fprintf(stderr, "%s: %s, %llu requests failed\n", r->place->name,
			kmcl_status_name(status), (unsigned long long)result.failed);
		return -1;
	}
	return (double)result.ns * 1e-9 * (double)count / (double)result.count;
}

static void run_set(struct bench_row *row, unsigned int column, struct place *place,
		    uint32_t channels, uint32_t window, uint32_t external)
{
	struct run *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	r->place = place;
	r->request.channels = channels;
	r->request.window = window;
	r->request.external = external;
	bench_cell_set(row, column, run_slice, r);
}

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
	run_set(row, TRIP_KMCL, &spinning, 1, 1, 0);
	run_set(row, TRIP_DEFAULT, &usual, 1, 1, 0);

	row = bench_row_add(&wakes, "64", "64 B", BENCH_PACKET);
	bench_cell_set(row, WAKE_EVENTFD, limit_eventfd, NULL);
	ring_set(row, WAKE_RING, ring_cell_round_trip_blocking);
	run_set(row, WAKE_KMCL, &blocking, 1, 1, 0);
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
		run_set(row, RATE_SPIN, &spinning, 1, windows[i], 0);
		run_set(row, RATE_DEFAULT, &usual, 1, windows[i], 0);
	}
	for (unsigned int i = 0; i < 3; i++) {
		snprintf(id, sizeof(id), "channels-%u", channels[i]);
		snprintf(label, sizeof(label), "%u channels, window 8", channels[i]);
		row = bench_row_add(&rates, id, label, BENCH_PACKET);
		run_set(row, RATE_SPIN, &spinning, channels[i], 8, 0);
		run_set(row, RATE_DEFAULT, &usual, channels[i], 8, 0);
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
		run_set(row, DATA_KMCL, &spinning, 1, shapes[i].window, shapes[i].bytes);
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
	place_create(&usual, "default", 0, 0, BENCH_CHANNELS);
	place_create(&spinning, "spinning", 1, POLL_NS, BENCH_CHANNELS);
	place_create(&blocking, "blocking", 1, -1, 1);
	fill_trips();
	fill_rates();
	fill_data();
	status = bench_run("bench_kmcl", tables, 4, &options);
	kmcl_partition_destroy(blocking.partition);
	kmcl_partition_destroy(spinning.partition);
	kmcl_partition_destroy(usual.partition);
	return status;
}
