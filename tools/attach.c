/* SPDX-License-Identifier: MIT */
/* kmcl attach: client drivers in a guest process, on the bus of a host in another. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kmcl/user.h>

#include "kmcl.h"

#define MOST_DRIVERS 16u

struct attach {
	const char *socket, *specs[MOST_DRIVERS];
	unsigned int count;
	uint64_t timeout; /* seconds; 0: none */
	uint64_t wait;    /* seconds */
	bool reconnect;
	struct kmcl_partition_options options;
	struct capture_request capture;
	kmcl_partition *partition;
	kmcl_driver *drivers[MOST_DRIVERS];
	unsigned int devices[MOST_DRIVERS];
};

static const struct option options[] = {
	{"socket", required_argument, NULL, 's'},
	{"driver", required_argument, NULL, 'd'},
	{"reconnect", no_argument, NULL, 'r'},
	{"wait", required_argument, NULL, 'w'},
	{"timeout", required_argument, NULL, 't'},
	{"memory", required_argument, NULL, 'm'},
	{"processors", required_argument, NULL, 'p'},
	{"capture", required_argument, NULL, 'c'},
	{0},
};

static int take_number(const char *option, uint64_t least, uint64_t most, uint64_t *value)
{
	if (parse_count(optarg, least, most, value))
		return TOOL_OK;
	return usage_error(&command_attach, "%s %s: not a number from %llu to %llu", option, optarg,
			   (unsigned long long)least, (unsigned long long)most);
}

static int take_option(struct attach *a, int option, char **argv)
{
	uint64_t value = 0;
	int code = TOOL_OK;

	switch (option) {
	case 's':
		a->socket = optarg;
		return TOOL_OK;
	case 'd':
		if (a->count == MOST_DRIVERS)
			return usage_error(&command_attach, "at most %u drivers", MOST_DRIVERS);
		a->specs[a->count++] = optarg;
		return TOOL_OK;
	case 'r':
		a->reconnect = true;
		return TOOL_OK;
	case 'w':
		return take_number("--wait", 0, 1000000, &a->wait);
	case 't':
		return take_number("--timeout", 1, 1000000, &a->timeout);
	case 'm':
		code = take_number("--memory", 16, 1u << 20, &value);
		a->options.memory = value << 20;
		return code;
	case 'p':
		code = take_number("--processors", 1, 64, &value);
		a->options.processors = (uint32_t)value;
		return code;
	case 'c':
		return capture_take(&command_attach, optarg, &a->capture);
	default:
		return usage_error(&command_attach, "%s: no such option, or its value is missing",
				   argv[optind - 1]);
	}
}

static int parse(struct attach *a, int argc, char **argv)
{
	int option, code = TOOL_OK;

	opterr = 0;
	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		code = take_option(a, option, argv);
	if (!code && optind < argc)
		code = usage_error(&command_attach, "%s: not expected", argv[optind]);
	if (!code && (!a->socket || !a->count))
		code = usage_error(&command_attach, "needs --socket and --driver");
	return code;
}

static bool say_error(char *error)
{
	complain("%s", error ? error : "out of memory");
	kmcl_free(error);
	return false;
}

static bool load(struct attach *a)
{
	for (unsigned int i = 0; i < a->count; i++) {
		char *error;

		if (kmcl_driver_load(a->partition, KMCL_CLIENT, a->specs[i], &a->drivers[i],
				     &error))
			return say_error(error);
		printf("client driver %s loaded\n", a->specs[i]);
	}
	return true;
}

static void report(struct attach *a)
{
	for (unsigned int i = 0; i < a->count; i++) {
		unsigned int devices = kmcl_driver_devices(a->drivers[i]);

		if (devices != a->devices[i])
			printf("%s: %u device%s\n", a->specs[i], devices, devices == 1 ? "" : "s");
		a->devices[i] = devices;
	}
	fflush(stdout);
}

static void wait_for_end(struct attach *a, const sigset_t *ends)
{
	const struct timespec tick = {.tv_nsec = 100000000};
	uint64_t ticks = 0;

	while (!a->timeout || ticks++ < 10 * a->timeout) {
		int signal = sigtimedwait(ends, NULL, &tick);

		if (signal > 0) {
			printf("%s: ending\n", strsignal(signal));
			return;
		}
		report(a);
	}
}

static bool connect_and_wait(struct attach *a, const sigset_t *ends)
{
	struct kmcl_guest_options guest = {.size = sizeof(guest),
					   .wait_ms = (uint32_t)(a->wait * 1000),
					   .reconnect = a->reconnect,
					   .partition = &a->options};
	bool good;
	char *error;

	if (!capture_begin(&a->capture, &a->options))
		return false;
	good = !kmcl_partition_create_user(a->socket, &guest, &a->partition, &error) ||
	       say_error(error);
	if (good) {
		good = load(a);
		if (good)
			wait_for_end(a, ends);
		kmcl_partition_destroy(a->partition);
	}
	return capture_end(&a->capture) && good;
}

static int run_attach(int argc, char **argv)
{
	struct attach a = {0};
	sigset_t ends;
	int code;

	kmcl_partition_options_init(&a.options);
	code = parse(&a, argc, argv);
	if (code)
		return code;
	take_ends(&ends);
	return connect_and_wait(&a, &ends) ? TOOL_OK : TOOL_FAILED;
}

const struct subcommand command_attach = {
	.name = "attach",
	.summary = "run client drivers on the bus of a host in another process",
	.help = "usage: kmcl attach --socket PATH --driver FILE.so[,KEY=VALUE...] [OPTION...]\n"
		"\n"
		"Connects to a host as a guest, loads client drivers, and tells which devices "
		"they\n"
		"make, until SIGINT, SIGTERM or SIGHUP.\n"
		"\n"
		"  --socket PATH       where the host listens\n"
		"  --driver SPEC       a driver; FILE.inf beside it names its devices; repeated\n"
		"  --wait SECONDS      while nobody listens, try again for so long (0)\n"
		"  --reconnect         when the host goes away, connect to the next one there\n"
		"  --timeout SECONDS   end after so long\n"
		"  --memory MIB        guest memory (256)\n"
		"  --processors N      of the guest (one a processor)\n" CAPTURE_HELP "\n"
		"KEY=VALUE goes under the driver's RegistryPath\\Parameters.\n",
	.run = run_attach,
};
