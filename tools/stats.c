/* SPDX-License-Identifier: MIT */
/* kmcl stats: the channels of a running host, asked over its control socket. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "control.h"
#include "kmcl.h"

struct stats {
	const char *path;
	bool json;
	uint64_t every; /* seconds; 0: once */
	uint64_t times; /* 0: until ended */
};

static const struct option options[] = {
	{"control", required_argument, NULL, 'c'},
	{"json", no_argument, NULL, 'j'},
	{"every", required_argument, NULL, 'e'},
	{"times", required_argument, NULL, 't'},
	{0},
};

static int take_number(const char *option, uint64_t most, uint64_t *value)
{
	if (parse_count(optarg, 1, most, value))
		return TOOL_OK;
	return usage_error(&command_stats, "%s %s: not a number from 1 to %llu", option, optarg,
			   (unsigned long long)most);
}

static int parse(struct stats *s, int argc, char **argv)
{
	int option, code = TOOL_OK;

	opterr = 0;
	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			s->path = optarg;
		else if (option == 'j')
			s->json = true;
		else if (option == 'e')
			code = take_number("--every", 86400, &s->every);
		else if (option == 't')
			code = take_number("--times", 1000000, &s->times);
		else
			code = usage_error(&command_stats,
					   "%s: no such option, or its value is missing",
					   argv[optind - 1]);
	}
	if (!code && optind < argc)
		code = usage_error(&command_stats, "%s: not expected", argv[optind]);
	if (!code && !s->path)
		code = usage_error(&command_stats, "needs --control");
	return code;
}

static long long number(const json_t *channel, const char *name)
{
	return json_integer_value(json_object_get(channel, name));
}

static void print_channel(long long guest, const json_t *c)
{
	printf("%-5lld %-7lld %-24.24s %10lld %12lld %10lld %12lld %8lld %8lld %7lld %6lld %6lld "
	       "%6lld\n",
	       guest, number(c, "channel"), json_string_value(json_object_get(c, "name")),
	       number(c, "packets_sent"), number(c, "bytes_sent"), number(c, "packets_received"),
	       number(c, "bytes_received"), number(c, "signals_sent"), number(c, "signals_saved"),
	       number(c, "no_room"), number(c, "outstanding_in"), number(c, "outstanding_out"),
	       number(c, "queued"));
}

static void print_table(const json_t *answer)
{
	size_t i, j;
	json_t *guest, *channel;

	printf("%-5s %-7s %-24s %10s %12s %10s %12s %8s %8s %7s %6s %6s %6s\n", "GUEST", "CHANNEL",
	       "NAME", "SENT", "BYTES", "RECEIVED", "BYTES", "SIGNALS", "SAVED", "NO ROOM", "IN",
	       "OUT", "QUEUED");
	json_array_foreach(json_object_get(answer, "guests"), i, guest)
	{
		json_array_foreach(json_object_get(guest, "channels"), j, channel)
		{
			print_channel(number(guest, "guest"), channel);
		}
	}
}

static bool show(const struct stats *s)
{
	json_t *answer = control_ask(s->path, json_pack("{s:s}", "command", "stats"));
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (!answer)
		return false;
	if (error)
		complain("%s: %s", s->path, error);
	else if (s->json)
		json_dumpf(answer, stdout, JSON_COMPACT);
	else
		print_table(answer);
	if (s->json && !error)
		puts("");
	fflush(stdout);
	json_decref(answer);
	return !error;
}

static int run_stats(int argc, char **argv)
{
	struct stats s = {0};
	int code = parse(&s, argc, argv);
	uint64_t shown = 0;

	if (code)
		return code;
	while (show(&s)) {
		struct timespec pause = {.tv_sec = (time_t)s.every};

		shown++;
		if (!s.every || shown == s.times)
			return TOOL_OK;
		nanosleep(&pause, NULL);
	}
	return TOOL_FAILED;
}

const struct subcommand command_stats = {
	.name = "stats",
	.summary = "show what goes over the channels of a running host",
	.help = "usage: kmcl stats --control PATH [--every SECONDS [--times N]] [--json]\n"
		"\n"
		"Asks a host that runs with --control PATH for its channels: packets and bytes "
		"each\n"
		"way, signals sent and saved, how often there was no room, and how many packets "
		"are\n"
		"outstanding or queued.\n"
		"\n"
		"  --control PATH    the host's control socket\n"
		"  --every SECONDS   again and again\n"
		"  --times N         so many times, with --every\n"
		"  --json            for programs: an object a line\n",
	.run = run_stats,
};
