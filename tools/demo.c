/* SPDX-License-Identifier: MIT */
/* kmcl demo: both echo drivers on a loopback bus, and a real file through every path. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "demo.h"

#define OPEN_TIMEOUT_MS 10000

struct settings {
	const char *input, *drivers, *client;
	bool json;
	unsigned long megabytes; /* generated */
	struct capture_request capture;
	struct kmcl_limits limits;
};

struct moved {
	char name[256];
	uint64_t size;
	uint8_t sent[DEMO_DIGEST], came[DEMO_DIGEST];
};

/* ---- the bus and its drivers ---- */

static bool load(kmcl_partition *partition, enum kmcl_end end, const char *folder, const char *file,
		 kmcl_driver **driver)
{
	char spec[4200], *error = NULL;

	snprintf(spec, sizeof(spec), "%s/%s", folder, file);
	if (!kmcl_driver_load(partition, end, spec, driver, &error))
		return true;
	complain("%s", error ? error : spec);
	kmcl_free(error);
	return false;
}

static bool wait_open(kmcl_driver *client)
{
	struct timespec pause = {.tv_nsec = 1000000};
	struct echo_info info = {0};
	size_t returned;

	if (kmcl_driver_wait_devices(client, 1, OPEN_TIMEOUT_MS)) {
		complain("the client driver got no device within %d s", OPEN_TIMEOUT_MS / 1000);
		return false;
	}
	for (int i = 0; i < OPEN_TIMEOUT_MS && !info.running; i++) {
		if (kmcl_device_control(client, 0, ECHO_IOCTL_QUERY, NULL, 0, &info, sizeof(info),
					&returned) < 0)
			info.running = 0;
		if (!info.running)
			nanosleep(&pause, NULL);
	}
	if (!info.running)
		complain("the channel did not open within %d s", OPEN_TIMEOUT_MS / 1000);
	return info.running;
}

/* ---- showing ---- */

static void hex(const uint8_t digest[DEMO_DIGEST], char text[2 * DEMO_DIGEST + 1])
{
	for (unsigned int i = 0; i < DEMO_DIGEST; i++)
		snprintf(text + 2 * (size_t)i, 3, "%02x", digest[i]);
}

static double rate(uint64_t n, uint64_t ns)
{
	return ns ? (double)n * 1e9 / (double)ns : 0;
}

static void print_table(const struct moved *moved, size_t count)
{
	char text[2 * DEMO_DIGEST + 1];

	for (size_t i = 0; i < count; i++) {
		hex(moved[i].came, text);
		printf("%s: %" PRIu64 " bytes, sha256 %s, equal after the echo\n", moved[i].name,
		       moved[i].size, text);
	}
	printf("\n%-24s %12s %9s %9s %11s %9s %9s\n", "path", "bytes", "packets", "MB/s",
	       "packets/s", "p50 us", "p99 us");
	for (size_t i = 0; i < demo_path_count; i++) {
		const struct path *p = &demo_paths[i];

		printf("%-24s %12" PRIu64 " %9" PRIu64 " %9.0f %11.0f", p->name, p->bytes,
		       p->packets, rate(p->bytes, p->elapsed_ns) / 1e6,
		       rate(p->packets, p->elapsed_ns));
		if (path_percentile(p, 0.5))
			printf(" %9.1f %9.1f\n", (double)path_percentile(p, 0.5) / 1e3,
			       (double)path_percentile(p, 0.99) / 1e3);
		else
			printf(" %9s %9s\n", "-", "-");
	}
}

static json_t *path_json(const struct path *p)
{
	uint64_t p50 = path_percentile(p, 0.5), p99 = path_percentile(p, 0.99);

	return json_pack("{s:s, s:I, s:I, s:f, s:f, s:o, s:o}", "path", p->name, "bytes",
			 (json_int_t)p->bytes, "packets", (json_int_t)p->packets,
			 "megabytes_per_second", rate(p->bytes, p->elapsed_ns) / 1e6,
			 "packets_per_second", rate(p->packets, p->elapsed_ns), "round_trip_p50_ns",
			 p50 ? json_integer((json_int_t)p50) : json_null(), "round_trip_p99_ns",
			 p99 ? json_integer((json_int_t)p99) : json_null());
}

static void print_json(const struct moved *moved, size_t count, bool good)
{
	json_t *sources = json_array(), *paths = json_array(), *all;
	char sent[2 * DEMO_DIGEST + 1], came[2 * DEMO_DIGEST + 1];

	for (size_t i = 0; i < count; i++) {
		hex(moved[i].sent, sent);
		hex(moved[i].came, came);
		json_array_append_new(
			sources, json_pack("{s:s, s:I, s:s, s:s, s:b}", "source", moved[i].name,
					   "bytes", (json_int_t)moved[i].size, "sha256", sent,
					   "echoed_sha256", came, "equal", !strcmp(sent, came)));
	}
	for (size_t i = 0; good && i < demo_path_count; i++)
		json_array_append_new(paths, path_json(&demo_paths[i]));
	all = json_pack("{s:b, s:o, s:o}", "ok", good, "sources", sources, "paths", paths);
	json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
}

/* ---- moving ---- */

static bool move_source(struct demo *demo, struct source *source, struct moved *moved)
{
	uint8_t digest[DEMO_DIGEST];

	memcpy(moved->name, source->name, sizeof(moved->name));
	moved->size = source->size;
	progress("%s: digest", source->name);
	if (!source_digest(source, demo->data, moved->sent))
		return false;
	for (size_t i = 0; i < demo_path_count; i++) {
		if (!path_move(demo, &demo_paths[i], source, digest))
			return false;
		if (demo_paths[i].op == ECHO_OP_ECHO)
			memcpy(moved->came, digest, sizeof(digest));
	}
	if (!memcmp(moved->sent, moved->came, DEMO_DIGEST))
		return true;
	complain("%s: the digest of what was echoed differs", source->name);
	return false;
}

static bool open_sources(const struct settings *s, struct source *sources, size_t *count)
{
	char *library = s->input ? NULL : find_library();
	const char *file = s->input ? s->input : library;
	bool good;

	*count = 0;
	if (!file) {
		complain("cannot find libkmcl.so; name a file with --input");
		return false;
	}
	good = source_open_file(&sources[*count], file);
	free(library);
	if (!good)
		return false;
	++*count;
	if (!s->input && s->megabytes)
		source_open_generated(&sources[(*count)++], (uint64_t)s->megabytes << 20);
	return true;
}

static bool move_all(struct demo *demo, struct source *sources, size_t count, struct moved *moved)
{
	const size_t in = sizeof(struct echo_run) + DEMO_CHUNK;
	const size_t out = sizeof(struct echo_run_result) + DEMO_CHUNK + ECHO_DIGEST_SIZE;
	bool good;

	demo->in = malloc(in);
	demo->out = malloc(out);
	good = demo->in && demo->out;
	if (good)
		demo->data = demo->in + sizeof(struct echo_run);
	else
		complain("out of memory");
	for (size_t i = 0; good && i < count; i++)
		good = move_source(demo, &sources[i], &moved[i]);
	free(demo->in);
	free(demo->out);
	return good;
}

static bool run_demo(struct settings *s, struct source *sources, size_t count, struct moved *moved)
{
	struct kmcl_partition_options options;
	char *folder = find_drivers(s->drivers);
	kmcl_partition *partition = NULL;
	kmcl_driver *server;
	struct demo demo = {0};
	bool good = false;
	int code;

	kmcl_partition_options_init(&options);
	options.limits = s->limits;
	if (!folder || !capture_begin(&s->capture, &options)) {
		free(folder);
		return false;
	}
	code = kmcl_partition_create_loopback(&options, &partition);
	if (code)
		complain("cannot create a partition: %s", strerror(-code));
	else
		good = load(partition, KMCL_SERVER, folder, "echo_vsp.so", &server) &&
		       load(partition, KMCL_CLIENT, folder, s->client, &demo.client) &&
		       wait_open(demo.client) && move_all(&demo, sources, count, moved);
	kmcl_partition_destroy(partition);
	free(folder);
	return capture_end(&s->capture) && good;
}

static int demo_command(int argc, char **argv)
{
	static const struct option options[] = {
		{"input", required_argument, NULL, 'i'},  {"json", no_argument, NULL, 'j'},
		{"size", required_argument, NULL, 's'},   {"drivers", required_argument, NULL, 'd'},
		{"client", required_argument, NULL, 'k'}, {"capture", required_argument, NULL, 'c'},
		{"limit", required_argument, NULL, 'l'},  {NULL, 0, NULL, 0},
	};
	struct settings s = {.megabytes = 256, .client = "echo_vsc.so"};
	struct source sources[2];
	struct moved moved[2] = {0};
	size_t count;
	bool good;
	char *end;
	int option, code;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'i':
			s.input = optarg;
			break;
		case 'j':
			s.json = true;
			break;
		case 'd':
			s.drivers = optarg;
			break;
		case 'k':
			s.client = optarg;
			break;
		case 'c':
			code = capture_take(&command_demo, optarg, &s.capture);
			if (code)
				return code;
			break;
		case 'l':
			code = limit_take(&command_demo, optarg, &s.limits);
			if (code)
				return code;
			break;
		case 's':
			errno = 0;
			s.megabytes = strtoul(optarg, &end, 10);
			if (!*optarg || *end || errno || s.megabytes > 1048576 || *optarg == '-')
				return usage_error(
					&command_demo,
					"--size %s: not a number of MiB from 0 to 1048576", optarg);
			break;
		default:
			return usage_error(&command_demo,
					   "%s: no such option, or its value is missing",
					   argv[optind - 1]);
		}
	}
	if (optind < argc)
		return usage_error(&command_demo, "%s: not expected", argv[optind]);
	if (!open_sources(&s, sources, &count))
		return TOOL_FAILED;
	good = run_demo(&s, sources, count, moved);
	if (s.json)
		print_json(moved, good ? count : 0, good);
	else if (good)
		print_table(moved, count);
	for (size_t i = 0; i < count; i++)
		source_close(&sources[i]);
	return good ? TOOL_OK : TOOL_FAILED;
}

const struct subcommand command_demo = {
	.name = "demo",
	.summary = "move a file between the echo drivers along every path and check every byte",
	.help = "usage: kmcl demo [--input FILE] [--json] [--size MIB] [--drivers DIR] [--client "
		"NAME]\n"
		"                 [--capture FILE]\n"
		"\n"
		"Starts a partition with both echo drivers, commands the client by device control, "
		"moves a\n"
		"file through every path of a VMBus channel and checks every byte and digest.\n"
		"\n"
		"  --input FILE    the file (default: libkmcl.so itself, and generated data)\n"
		"  --size MIB      how much is generated without --input (default 256)\n"
		"  --json          the result as JSON\n"
		"  --drivers DIR   where echo_vsp.so and echo_vsc.so are\n"
		"  --client NAME   the client driver: echo_vsc.so, or echo_vsc_kmdf.so, which is "
		"one of "
		"KMDF\n" CAPTURE_HELP LIMIT_HELP "\n"
		"The exit status is 0 only if everything arrived as it was sent.\n",
	.run = demo_command,
};
