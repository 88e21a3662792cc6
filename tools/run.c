/* SPDX-License-Identifier: MIT */
/* kmcl run: any pair of drivers on a bus of their own, until interrupted. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kmcl.h"

#define MOST_DRIVERS  16
#define MOST_CHANNELS 4096

struct run {
	const char *servers[MOST_DRIVERS], *clients[MOST_DRIVERS];
	unsigned int server_count, client_count;
	uint64_t timeout; /* seconds; 0: none */
	struct kmcl_partition_options options;
	struct capture_request capture;
	kmcl_partition *partition;
	kmcl_driver *drivers[2 * MOST_DRIVERS];
	const char *specs[2 * MOST_DRIVERS];
	unsigned int devices[2 * MOST_DRIVERS];
	unsigned int driver_count;
	size_t channels;
};

enum {
	OPT_SERVER = 256,
	OPT_CLIENT,
	OPT_TIMEOUT,
	OPT_MEMORY,
	OPT_PROCESSORS,
	OPT_CAPTURE,
	OPT_LIMIT,
};

static const struct option options[] = {
	{"server", required_argument, NULL, OPT_SERVER},
	{"client", required_argument, NULL, OPT_CLIENT},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"processors", required_argument, NULL, OPT_PROCESSORS},
	{"capture", required_argument, NULL, OPT_CAPTURE},
	{"limit", required_argument, NULL, OPT_LIMIT},
	{0},
};

static int add_spec(const char **specs, unsigned int *count)
{
	if (*count == MOST_DRIVERS)
		return usage_error(&command_run, "at most %d drivers an end", MOST_DRIVERS);
	specs[(*count)++] = optarg;
	return TOOL_OK;
}

static int take_count(const char *option, uint64_t least, uint64_t most, uint64_t *value)
{
	if (parse_count(optarg, least, most, value))
		return TOOL_OK;
	return usage_error(&command_run, "%s %s: not a number from %llu to %llu", option, optarg,
			   (unsigned long long)least, (unsigned long long)most);
}

static int take_option(struct run *run, int option, char **argv)
{
	uint64_t value = 0;
	int code;

	switch (option) {
	case OPT_SERVER:
		return add_spec(run->servers, &run->server_count);
	case OPT_CLIENT:
		return add_spec(run->clients, &run->client_count);
	case OPT_TIMEOUT:
		return take_count("--timeout", 1, 1000000, &run->timeout);
	case OPT_MEMORY:
		code = take_count("--memory", 16, 1u << 20, &value);
		run->options.memory = value << 20;
		return code;
	case OPT_PROCESSORS:
		code = take_count("--processors", 1, 64, &value);
		run->options.processors = (uint32_t)value;
		return code;
	case OPT_CAPTURE:
		return capture_take(&command_run, optarg, &run->capture);
	case OPT_LIMIT:
		return limit_take(&command_run, optarg, &run->options.limits);
	default:
		return usage_error(&command_run, "%s: no such option, or its value is missing",
				   argv[optind - 1]);
	}
}

static int parse_options(struct run *run, int argc, char **argv)
{
	int option, code = TOOL_OK;

	opterr = 0;
	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		code = take_option(run, option, argv);
	if (!code && optind < argc)
		code = usage_error(&command_run, "%s: not expected", argv[optind]);
	if (!code && !run->server_count && !run->client_count)
		code = usage_error(&command_run, "needs --server, --client, or both");
	return code;
}

static bool load(struct run *run, enum kmcl_end end, const char *spec)
{
	char *error = NULL;

	if (kmcl_driver_load(run->partition, end, spec, &run->drivers[run->driver_count], &error)) {
		complain("%s", error ? error : "out of memory");
		kmcl_free(error);
		return false;
	}
	printf("%s driver %s loaded\n", end == KMCL_SERVER ? "server" : "client", spec);
	run->specs[run->driver_count++] = spec;
	return true;
}

static bool load_all(struct run *run)
{
	bool good = true;

	for (unsigned int i = 0; good && i < run->server_count; i++)
		good = load(run, KMCL_SERVER, run->servers[i]);
	for (unsigned int i = 0; good && i < run->client_count; i++)
		good = load(run, KMCL_CLIENT, run->clients[i]);
	return good;
}

/* Tells what has changed since the last look. */
static void report(struct run *run, struct kmcl_channel_stats *stats)
{
	size_t channels = kmcl_partition_stats(run->partition, stats, MOST_CHANNELS);

	for (unsigned int i = 0; i < run->driver_count; i++) {
		unsigned int devices = kmcl_driver_devices(run->drivers[i]);

		if (devices != run->devices[i])
			printf("%s: %u device%s\n", run->specs[i], devices,
			       devices == 1 ? "" : "s");
		run->devices[i] = devices;
	}
	if (channels != run->channels) {
		size_t open = 0;

		for (size_t i = 0; i < channels && i < MOST_CHANNELS; i++)
			open += stats[i].server && stats[i].channel_id;
		printf("%zu channel ends, %zu offers opened so far\n", channels, open);
	}
	run->channels = channels;
	fflush(stdout);
}

static void report_traffic(struct run *run, struct kmcl_channel_stats *stats)
{
	size_t channels = kmcl_partition_stats(run->partition, stats, MOST_CHANNELS);

	for (size_t i = 0; i < channels && i < MOST_CHANNELS; i++)
		printf("%s channel %u '%s': sent %llu packets, %llu bytes; received %llu packets, "
		       "%llu bytes\n",
		       stats[i].server ? "server" : "client", stats[i].channel_id, stats[i].name,
		       (unsigned long long)stats[i].packets_sent,
		       (unsigned long long)stats[i].bytes_sent,
		       (unsigned long long)stats[i].packets_received,
		       (unsigned long long)stats[i].bytes_received);
}

static uint64_t now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

static void wait_for_end(struct run *run, const sigset_t *ends, struct kmcl_channel_stats *stats)
{
	const struct timespec tick = {.tv_nsec = 100000000};
	uint64_t start = now_seconds();
	int signal;

	for (;;) {
		signal = sigtimedwait(ends, NULL, &tick);
		if (signal > 0) {
			printf("%s: ending\n", strsignal(signal));
			return;
		}
		report(run, stats);
		if (run->timeout && now_seconds() - start >= run->timeout)
			return;
	}
}

static bool start_and_wait(struct run *run, const sigset_t *ends)
{
	struct kmcl_channel_stats *stats;
	bool good;
	int code;

	if (!capture_begin(&run->capture, &run->options))
		return false;
	stats = calloc(MOST_CHANNELS, sizeof(*stats));
	code = stats ? kmcl_partition_create_loopback(&run->options, &run->partition) : -ENOMEM;
	if (code) {
		complain("cannot create the bus: %s", strerror(-code));
		free(stats);
		capture_end(&run->capture);
		return false;
	}
	good = load_all(run);
	if (good) {
		wait_for_end(run, ends, stats);
		report_traffic(run, stats);
	}
	kmcl_partition_destroy(run->partition);
	free(stats);
	return capture_end(&run->capture) && good;
}

static int run_command(int argc, char **argv)
{
	struct run run = {0};
	sigset_t ends;
	int code;

	kmcl_partition_options_init(&run.options);
	code = parse_options(&run, argc, argv);
	if (code)
		return code;
	/* before the library starts a thread, so that all of them leave these to us */
	take_ends(&ends);
	return start_and_wait(&run, &ends) ? TOOL_OK : TOOL_FAILED;
}

const struct subcommand command_run = {
	.name = "run",
	.summary = "run server and client drivers on a bus of their own",
	.help = "usage: kmcl run --server FILE.so[,KEY=VALUE...] --client FILE.so[,KEY=VALUE...]\n"
		"\n"
		"Loads drivers into the two ends of a bus of their own, and tells what they offer "
		"and\n"
		"which devices they make, until SIGINT, SIGTERM or SIGHUP. Both options can be "
		"repeated.\n"
		"\n"
		"  --server SPEC       a driver of the host's end\n"
		"  --client SPEC       a driver of the guest's end; FILE.inf beside it names its "
		"devices\n"
		"  --timeout SECONDS   end after so long\n"
		"  --memory MIB        guest memory (256)\n"
		"  --processors N      dispatcher threads of each end (one a "
		"processor)\n" CAPTURE_HELP LIMIT_HELP "\n"
		"KEY=VALUE goes under the driver's RegistryPath\\Parameters. Keys that begin with\n"
		"offer. change what the host offers: subchannel, monitor, dedicated, user_data.\n",
	.run = run_command,
};
