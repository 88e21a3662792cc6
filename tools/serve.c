/* SPDX-License-Identifier: MIT */
/* kmcl serve: server drivers for every guest that connects to a socket. */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "sandbox.h"
#include "serve.h"

static const struct option options[] = {
	{"socket", required_argument, NULL, 's'},
	{"driver", required_argument, NULL, 'd'},
	{"control", required_argument, NULL, 'c'},
	{"guests", required_argument, NULL, 'g'},
	{"guest-memory", required_argument, NULL, 'm'},
	{"dispatchers", required_argument, NULL, 'p'},
	{"timeout", required_argument, NULL, 't'},
	{"any-user", no_argument, NULL, 'a'},
	{"no-sandbox", no_argument, NULL, 'n'},
	{"process-per-driver", no_argument, NULL, 'x'},
	/* of a driver's process, by serve_apart.c alone */
	{"feed", required_argument, NULL, 'f'},
	{"place", required_argument, NULL, 'l'},
	{"capture", required_argument, NULL, 'r'},
	{0},
};

static int take_number(const char *option, uint64_t least, uint64_t most, uint64_t *value)
{
	if (parse_count(optarg, least, most, value))
		return TOOL_OK;
	return usage_error(&command_serve, "%s %s: not a number from %llu to %llu", option, optarg,
			   (unsigned long long)least, (unsigned long long)most);
}

static int take_limit(struct serve *s, int option)
{
	uint64_t value = 0;
	int code;

	switch (option) {
	case 'g':
		code = take_number("--guests", 1, 4096, &value);
		s->options.guests = (uint32_t)value;
		return code;
	case 'm':
		code = take_number("--guest-memory", 1, 1u << 20, &value);
		s->options.guest_memory = value << 20;
		return code;
	case 'p':
		code = take_number("--dispatchers", 1, 64, &value);
		s->bus.processors = (uint32_t)value;
		return code;
	default:
		return take_number("--timeout", 1, 1000000, &s->timeout);
	}
}

static int take_place(struct serve *s, int option)
{
	uint64_t feed;

	if (option == 'l')
		return sscanf(optarg, "%" SCNu64 "/%" SCNu64, &s->driver, &s->drivers) == 2
			       ? TOOL_OK
			       : usage_error(&command_serve, "--place %s: not N/N", optarg);
	if (take_number("--feed", 3, INT32_MAX, &feed))
		return TOOL_USAGE;
	s->feed = (int)feed;
	return TOOL_OK;
}

static int take_option(struct serve *s, int option, char **argv)
{
	switch (option) {
	case 's':
		s->socket = optarg;
		return TOOL_OK;
	case 'd':
		if (s->count == MOST_DRIVERS)
			return usage_error(&command_serve, "at most %u drivers", MOST_DRIVERS);
		s->specs[s->count++] = optarg;
		return TOOL_OK;
	case 'c':
		s->control_path = optarg;
		return TOOL_OK;
	case 'a':
		s->options.any_user = 1;
		return TOOL_OK;
	case 'n':
		s->sandbox = false;
		return TOOL_OK;
	case 'x':
		s->apart = true;
		return TOOL_OK;
	case 'f':
	case 'l':
		return take_place(s, option);
	case 'r':
		return capture_take(&command_serve, optarg, &s->capture);
	case 'g':
	case 'm':
	case 'p':
	case 't':
		return take_limit(s, option);
	default:
		return usage_error(&command_serve, "%s: no such option, or its value is missing",
				   argv[optind - 1]);
	}
}

static int parse(struct serve *s, int argc, char **argv)
{
	int option, code = TOOL_OK;

	opterr = 0;
	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		code = take_option(s, option, argv);
	if (!code && optind < argc)
		code = usage_error(&command_serve, "%s: not expected", argv[optind]);
	if (!code && ((!s->socket && s->feed < 0) || !s->count))
		code = usage_error(&command_serve, "needs --socket and --driver");
	if (!code && s->apart && (s->control_path || s->capture.path[0]))
		code = usage_error(&command_serve,
				   "--process-per-driver: not with --control or --capture");
	return code;
}

/* ---- control ---- */

static int add_guest(void *ctx, unsigned int guest, kmcl_partition *partition)
{
	return json_array_append_new(ctx, json_pack("{s:i,s:o}", "guest", (int)guest, "channels",
						    control_channels(partition)));
}

static json_t *answer(void *ctx, const char *command, const json_t *request)
{
	struct serve *s = ctx;
	json_t *guests;

	if (strcmp(command, "stats"))
		return control_error("there is no command '%s'; there is stats", command);
	guests = json_array();
	kmcl_server_each(s->server, add_guest, guests);
	return json_pack("{s:o}", "guests", guests);
}

/* ---- serving ---- */

bool serve_failed(char *error)
{
	complain("%s", error ? error : "out of memory");
	kmcl_free(error);
	return false;
}

/* A guest may bring some two hundred descriptors, and the usual limit is for the use of select().
 */
static void allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static bool prepare(struct serve *s)
{
	char *error;

	if (!capture_begin(&s->capture, &s->bus))
		return false;
	if (kmcl_server_create(s->socket, &s->options, &s->server, &error))
		return serve_failed(error);
	for (unsigned int i = 0; i < s->count; i++)
		if (kmcl_server_load(s->server, s->specs[i], &error))
			return serve_failed(error);
	if (s->control_path) {
		s->control = control_open(s->control_path, answer, s);
		if (!s->control)
			return false;
	}
	/* No thread of ours is outside the sandbox. */
	return (!s->sandbox || sandbox_enter(s->socket, s->control_path, false)) &&
	       (!s->control || control_run(s->control));
}

static void wait_for_end(struct serve *s, const sigset_t *ends)
{
	const struct timespec tick = {.tv_nsec = 100000000};
	unsigned int known = 0;
	uint64_t ticks = 0;

	while (!s->timeout || ticks++ < 10 * s->timeout) {
		int signal = sigtimedwait(ends, NULL, &tick);
		unsigned int guests = kmcl_server_guests(s->server);

		if (signal > 0) {
			printf("%s: ending\n", strsignal(signal));
			break;
		}
		if (guests != known)
			printf("%u guest%s\n", guests, guests == 1 ? "" : "s");
		known = guests;
		fflush(stdout);
	}
	fflush(stdout);
}

static bool serve(struct serve *s, const sigset_t *ends)
{
	bool good = prepare(s);
	char *error;

	if (good && kmcl_server_start(s->server, &error))
		good = serve_failed(error);
	if (good) {
		printf("serving %s\n", s->socket);
		fflush(stdout);
		wait_for_end(s, ends);
	}
	control_stop(s->control);
	kmcl_server_destroy(s->server);
	return capture_end(&s->capture) && good;
}

static bool serve_one_way(struct serve *s, const sigset_t *ends)
{
	allow_descriptors();
	if (s->feed >= 0)
		return !fcntl(s->feed, F_SETFD, FD_CLOEXEC) && serve_feed(s);
	return s->apart ? serve_apart(s, ends) : serve(s, ends);
}

static int run_serve(int argc, char **argv)
{
	struct serve s = {.sandbox = true, .feed = -1, .options = {.size = sizeof(s.options)}};
	sigset_t ends;
	int code;

	kmcl_partition_options_init(&s.bus);
	s.options.partition = &s.bus;
	code = parse(&s, argc, argv);
	if (code)
		return code;
	take_ends(&ends);
	return serve_one_way(&s, &ends) ? TOOL_OK : TOOL_FAILED;
}

const struct subcommand command_serve = {
	.name = "serve",
	.summary = "run server drivers for every guest that connects to a socket",
	.help = "usage: kmcl serve --socket PATH --driver FILE.so[,KEY=VALUE...] [OPTION...]\n"
		"\n"
		"Loads server drivers and offers their channels to every guest that connects, "
		"until\n"
		"SIGINT, SIGTERM or SIGHUP; then offers are withdrawn and guests told. Each guest "
		"is a bus\n"
		"of its own; one that misbehaves, hangs or dies is dropped alone.\n"
		"\n"
		"  --socket PATH        where to listen (mode 0600); docs/vmbus-user.md has the "
		"protocol\n"
		"  --driver SPEC        a driver; repeated\n"
		"  --control PATH       answer kmcl stats there\n"
		"  --guests N           at most so many at once (64)\n"
		"  --guest-memory MIB   at most so much of a guest (65536)\n"
		"  --dispatchers N      threads that move a guest's packets (one a processor)\n"
		"  --timeout SECONDS    end after so long\n"
		"  --any-user           let other users than ours and root connect, if they can\n"
		"  --process-per-driver\n"
		"                       each driver in a process of its own, and one for the\n"
		"                       socket: a driver that crashes is started again, and no\n"
		"                       other notices; not with --control or --capture\n"
		"  --no-sandbox         keep files, privileges and system calls, for "
		"debuggers\n" CAPTURE_HELP
		"                  Of several guests the first to connect is recorded.\n"
		"\n"
		"KEY=VALUE goes under the driver's RegistryPath\\Parameters; keys that begin with\n"
		"offer. change what the host offers.\n",
	.run = run_serve,
};
