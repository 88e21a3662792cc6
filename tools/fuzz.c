/* SPDX-License-Identifier: MIT */
/* kmcl fuzz: a driver at the wire, with what nobody would send. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <kmcl/verify.h>

#include "fuzz.h"
#include "kmcl.h"

struct command {
	struct fuzz_options o;
	const char *driver, *interface_id, *instance_id, *replay;
	uint64_t timeout_s, processors;
	bool seeded, here;
};

static const struct option options[] = {
	{"driver", required_argument, NULL, 'd'},
	{"client", required_argument, NULL, 'C'},
	{"interface", required_argument, NULL, 'i'},
	{"instance", required_argument, NULL, 'I'},
	{"pipe", no_argument, NULL, 'p'},
	{"seconds", required_argument, NULL, 's'},
	{"runs", required_argument, NULL, 'n'},
	{"seed", required_argument, NULL, 'S'},
	{"corpus", required_argument, NULL, 'c'},
	{"found", required_argument, NULL, 'f'},
	{"timeout", required_argument, NULL, 't'},
	{"minimise", required_argument, NULL, 'm'},
	{"ignore", required_argument, NULL, 'g'},
	{"keep-going", no_argument, NULL, 'k'},
	{"dispatchers", required_argument, NULL, 'P'},
	{"replay", required_argument, NULL, 'r'},
	{"no-fork", no_argument, NULL, 'h'},
	{0},
};

static int take_number(const char *name, uint64_t least, uint64_t most, uint64_t *value)
{
	if (parse_count(optarg, least, most, value))
		return TOOL_OK;
	return usage_error(&command_fuzz, "%s %s: not a number from %llu to %llu", name, optarg,
			   (unsigned long long)least, (unsigned long long)most);
}

static int take_ignored(struct command *c)
{
	struct fuzz_setup *s = &c->o.setup;

	if (s->ignored_count == FUZZ_IGNORED)
		return usage_error(&command_fuzz, "at most %u rules", FUZZ_IGNORED);
	if (!kmcl_rule_find(optarg))
		return usage_error(&command_fuzz, "--ignore %s: no such rule", optarg);
	s->ignored[s->ignored_count++] = optarg;
	return TOOL_OK;
}

static int take_bound(struct command *c, int option)
{
	switch (option) {
	case 's':
		return take_number("--seconds", 1, 10000000, &c->o.seconds);
	case 'n':
		return take_number("--runs", 1, UINT64_MAX, &c->o.runs);
	case 'S':
		c->seeded = true;
		return take_number("--seed", 0, UINT64_MAX, &c->o.seed);
	case 't':
		return take_number("--timeout", 1, 3600, &c->timeout_s);
	case 'm':
		return take_number("--minimise", 0, 3600, &c->o.minimise_s);
	default:
		return take_number("--dispatchers", 1, 64, &c->processors);
	}
}

static int take_option(struct command *c, int option, char **argv)
{
	switch (option) {
	case 'C':
		c->o.setup.end = KMCL_CLIENT;
		c->driver = optarg;
		return TOOL_OK;
	case 'd':
		c->driver = optarg;
		return TOOL_OK;
	case 'i':
		c->interface_id = optarg;
		return TOOL_OK;
	case 'I':
		c->instance_id = optarg;
		return TOOL_OK;
	case 'p':
		c->o.setup.pipe = true;
		return TOOL_OK;
	case 'c':
		c->o.corpus = optarg;
		return TOOL_OK;
	case 'f':
		c->o.found = optarg;
		return TOOL_OK;
	case 'g':
		return take_ignored(c);
	case 'k':
		c->o.keep_going = true;
		return TOOL_OK;
	case 'r':
		c->replay = optarg;
		return TOOL_OK;
	case 'h':
		c->here = true;
		return TOOL_OK;
	case 's':
	case 'n':
	case 'S':
	case 't':
	case 'm':
	case 'P':
		return take_bound(c, option);
	default:
		return usage_error(&command_fuzz, "%s: no such option, or its value is missing",
				   argv[optind - 1]);
	}
}

static int parse(struct command *c, int argc, char **argv)
{
	int option, code = TOOL_OK;

	opterr = 0;
	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		code = take_option(c, option, argv);
	if (!code && optind < argc)
		code = usage_error(&command_fuzz, "%s: not expected", argv[optind]);
	if (!code && !c->driver)
		code = usage_error(&command_fuzz, "needs --driver or --client");
	if (!code && c->here && !c->replay)
		code = usage_error(&command_fuzz, "--no-fork needs --replay");
	return code;
}

/* ---- what a host offers ---- */

static int digit(char c)
{
	const char *digits = "0123456789abcdef", *at;

	if (c >= 'A' && c <= 'F')
		c = (char)(c - 'A' + 'a');
	at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) : -1;
}

/* "8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01" as it is on the wire. Where it ends; NULL: it is none. */
static const char *read_guid(const char *text, uint8_t *to)
{
	static const uint8_t place[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	for (int i = 0; i < 16; i++) {
		int high, low;

		text += (i == 4 || i == 6 || i == 8 || i == 10) && *text == '-';
		high = digit(text[0]);
		low = high < 0 ? -1 : digit(text[1]);
		if (low < 0)
			return NULL;
		to[place[i]] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	return text;
}

/* In braces or not, and nothing else. */
static bool parse_guid(const char *text, uint8_t *to)
{
	bool braces = *text == '{';
	const char *end = read_guid(text + braces, to);

	return end && (!braces || *end++ == '}') && !*end;
}

/* The hardware id in the x.inf beside the driver. */
static bool find_interface(const char *driver, uint8_t *to)
{
	size_t length = strcspn(driver, ",");
	char path[4096], text[65536];
	const char *at = text;
	FILE *file;

	if (length > 3 && !strncmp(driver + length - 3, ".so", 3))
		length -= 3;
	snprintf(path, sizeof(path), "%.*s.inf", (int)length, driver);
	file = fopen(path, "re");
	if (!file)
		return false;
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	while ((at = strcasestr(at, "VMBUS\\{")) != NULL) {
		const char *end;

		at += strlen("VMBUS\\{");
		end = read_guid(at, to);
		if (end && *end == '}')
			return true;
	}
	return false;
}

static int take_offer(struct command *c)
{
	struct fuzz_setup *s = &c->o.setup;

	s->instance_id[0] = 1;
	if (c->instance_id && !parse_guid(c->instance_id, s->instance_id))
		return usage_error(&command_fuzz, "--instance %s: not a GUID", c->instance_id);
	if (c->interface_id && !parse_guid(c->interface_id, s->interface_id))
		return usage_error(&command_fuzz, "--interface %s: not a GUID", c->interface_id);
	if (s->end == KMCL_CLIENT && !c->interface_id &&
	    !find_interface(c->driver, s->interface_id))
		return usage_error(&command_fuzz,
				   "%s has no .inf beside it that names what it opens: say it with "
				   "--interface GUID",
				   c->driver);
	return TOOL_OK;
}

/* The loader's own way to find a file is not meant: x.so is the one in this folder. */
static char *whole_spec(const char *driver)
{
	size_t length = strcspn(driver, ",");
	char *file = strndup(driver, length), *path = file ? realpath(file, NULL) : NULL;
	char *spec = NULL;

	if (!path)
		complain("cannot load driver: %s: %s", file ? file : driver, strerror(errno));
	else if (asprintf(&spec, "%s%s", path, driver + length) < 0)
		spec = NULL;
	free(path);
	free(file);
	return spec;
}

/* ---- replay ---- */

static void print_history(const struct fuzz_history *h)
{
	static struct fuzz_input input;

	for (uint32_t i = 0; i < h->count; i++) {
		printf("run %u of %u\n", i + 1, h->count);
		fuzz_decode(&input, h->run[i].bytes, h->run[i].size);
		fuzz_input_print(&input, h->end, stdout);
	}
	fflush(stdout);
}

static int replay_times(struct command *c, const struct fuzz_history *h)
{
	uint64_t times = c->o.runs ? c->o.runs : 1;
	struct fuzz_finding f;
	struct fuzz_child child;

	if (!fuzz_child_init(&child, &c->o.setup))
		return TOOL_FAILED;
	for (uint64_t i = 0; i < times; i++) {
		if (fuzz_child_replay(&child, h, UINT64_MAX, &f))
			continue;
		fuzz_child_destroy(&child);
		if (f.kind == FUZZ_UNABLE)
			complain("%s", f.text);
		else
			fuzz_finding_print(&f, stdout);
		return TOOL_FAILED;
	}
	fuzz_child_destroy(&child);
	puts("nothing was found");
	return TOOL_OK;
}

static int replay(struct command *c)
{
	static struct fuzz_shared shared;
	struct fuzz_history h;
	int code = TOOL_OK;

	if (!fuzz_history_load(&h, c->replay))
		return TOOL_FAILED;
	if (h.end != c->o.setup.end) {
		complain("%s is for a %s driver", c->replay,
			 h.end == KMCL_CLIENT ? "client (--client)" : "server (--driver)");
		fuzz_history_clear(&h);
		return TOOL_FAILED;
	}
	print_history(&h);
	c->o.setup.loud = c->here;
	if (c->here)
		fuzz_run_here(&c->o.setup, &shared, &h);
	else
		code = replay_times(c, &h);
	fuzz_history_clear(&h);
	return code;
}

/* ---- */

static int run_command(int argc, char **argv)
{
	struct command c = {.timeout_s = 10, .o = {.found = "found", .minimise_s = 20}};
	int code = parse(&c, argc, argv);
	char *spec;

	if (!code)
		code = take_offer(&c);
	if (code)
		return code;
	spec = whole_spec(c.driver);
	if (!spec)
		return TOOL_FAILED;
	c.o.setup.spec = spec;
	c.o.setup.timeout_ms = (uint32_t)c.timeout_s * 1000;
	c.o.setup.processors = (uint32_t)c.processors;
	if (!c.seeded)
		c.o.seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	signal(SIGPIPE, SIG_IGN);
	code = c.replay ? replay(&c) : fuzz_loop(&c.o) ? TOOL_FAILED : TOOL_OK;
	free(spec);
	return code;
}

const struct subcommand command_fuzz = {
	.name = "fuzz",
	.summary = "try a driver with what nobody would send it",
	.help = "usage: kmcl fuzz --driver FILE.so[,KEY=VALUE...] [OPTION...]\n"
		"\n"
		"Speaks the wire to a server driver as its guest, or to a client driver as its "
		"host, and\n"
		"sends it packets, external data, completions, closes and resets that vary without "
		"end.\n"
		"Where the driver was built with -fsanitize-coverage, what reaches new code is "
		"built "
		"on.\n"
		"A crash, a hang, a sanitizer's report, a broken rule of the DDI or a leak is made "
		"small\n"
		"and saved. docs/fuzzing.md leads from a driver's source to its first crash.\n"
		"\n"
		"  --driver SPEC       a server driver\n"
		"  --client SPEC       a client driver\n"
		"  --interface GUID    what a client driver is offered (that of FILE.inf)\n"
		"  --instance GUID     of the offer\n"
		"  --pipe              the offer is of a pipe of messages\n"
		"  --seconds N         end after so long\n"
		"  --runs N            end after so many runs; with --replay: try so often (1)\n"
		"  --seed N            choose the same again\n"
		"  --corpus DIR        inputs to begin with; what leads on is added\n"
		"  --found DIR         where findings are saved (found)\n"
		"  --timeout SECONDS   a run that takes longer is a hang (10)\n"
		"  --minimise SECONDS  make a finding smaller for at most so long (20; 0: do not)\n"
		"  --ignore RULE       of the verifier: is no finding. Can be repeated\n"
		"  --keep-going        look for others after the first finding\n"
		"  --dispatchers N     of the host's side (one a processor)\n"
		"  --replay FILE       run a saved input, and say what comes of it\n"
		"  --no-fork           with --replay: in this process, for a debugger\n"
		"\n"
		"Exit status: 0 nothing was found, 1 something was, or it could not be done.\n"
		"KEY=VALUE goes under the driver's RegistryPath\\Parameters.\n",
	.run = run_command,
};
