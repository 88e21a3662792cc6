/* SPDX-License-Identifier: MIT */
#include "kmcl/place.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	OPEN_SECONDS = 30,
};

struct bench_driver_config bench_driver_config;

void place_configure(const struct place_options *options)
{
	bench_driver_config.channels = options->channels;
	bench_driver_config.one_way = options->one_way;
	bench_driver_config.place = options->processors == 1 ? bench_pin : NULL;
}

void place_partition_options(const struct place_options *options,
			     struct kmcl_partition_options *partition)
{
	kmcl_partition_options_init(partition);
	partition->processors = options->processors;
	partition->poll_ns = options->poll_ns;
}

static void load(struct place *p, enum kmcl_end end, kmcl_driver **driver)
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

static void wait_open(struct place *p, uint32_t channels)
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

void place_begin(struct place *p, const struct place_options *options)
{
	p->name = options->name;
	p->settle_ns = options->poll_ns < 0 ? 0 : 3 * PLACE_POLL_NS;
	load(p, KMCL_CLIENT, &p->client);
	wait_open(p, options->channels);
}

void place_create(struct place *p, const struct place_options *options)
{
	struct kmcl_partition_options partition;
	kmcl_driver *server;
	int code;

	p->name = options->name;
	place_partition_options(options, &partition);
	code = kmcl_partition_create_loopback(&partition, &p->partition);
	if (code) {
		fprintf(stderr, "%s: no partition: %s\n", p->name, strerror(-code));
		exit(1);
	}
	place_configure(options);
	load(p, KMCL_SERVER, &server);
	place_begin(p, options);
}

void place_destroy(struct place *p)
{
	kmcl_partition_destroy(p->partition);
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

void place_cell_set(struct bench_row *row, unsigned int column, struct place *place,
		    struct bench_run_request request)
{
	struct run *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	r->place = place;
	r->request = request;
	bench_cell_set(row, column, run_slice, r);
}
