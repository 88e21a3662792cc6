/* SPDX-License-Identifier: MIT */
/* kmcl guest: asks a running guest something, over its host's control socket. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "kmcl.h"

static const struct option options[] = {
	{"control", required_argument, NULL, 'c'},
	{"json", no_argument, NULL, 'j'},
	{0},
};

/* Members whose values are text whatever they look like. */
static bool is_text(const char *name, size_t length)
{
	static const char *const names[] = {"adapter", "key", "text", "value"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == length && !strncmp(name, names[i], length))
			return true;
	return false;
}

/* MEMBER=VALUE, or MEMBER:=JSON. */
static int take_member(json_t *request, const char *word)
{
	const char *equals = strchr(word, '=');
	bool raw = equals && equals > word && equals[-1] == ':';
	size_t length = equals ? (size_t)(equals - word) - raw : 0;
	json_t *value = NULL;

	if (!length)
		return usage_error(&command_guest, "%s: not of the form MEMBER=VALUE", word);
	if (raw || !is_text(word, length))
		value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
	if (!value && raw)
		return usage_error(&command_guest, "%s: no JSON after :=", word);
	if (!value)
		value = json_string(equals + 1);
	if (!value)
		return usage_error(&command_guest, "%s: not UTF-8", word);
	return json_object_setn_new(request, word, length, value) ? TOOL_FAILED : TOOL_OK;
}

/* ---- showing ---- */

static void print_value(const json_t *value)
{
	if (json_is_string(value))
		printf("%s", json_string_value(value));
	else
		json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
}

static void print_members(const char *prefix, json_t *object)
{
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		printf("%s%s: ", prefix, name);
		print_value(value);
		putchar('\n');
	}
}

static void print_item(const json_t *item)
{
	printf("%-32s ", json_string_value(json_object_get(item, "key")));
	print_value(json_object_get(item, "value"));
	putchar('\n');
}

static void print_answer(json_t *answer)
{
	const char *name;
	json_t *value, *item;
	size_t i;

	json_array_foreach(json_object_get(answer, "items"), i, item)
	{
		print_item(item);
	}
	json_object_del(answer, "items");
	json_object_foreach(json_object_get(answer, "components"), name, value)
	{
		printf("%s\n", name);
		print_members("  ", value);
	}
	json_object_del(answer, "components");
	print_members("", answer);
}

static int ask(const char *path, json_t *request, bool json)
{
	json_t *answer = control_ask(path, request);
	const char *error = json_string_value(json_object_get(answer, "error"));
	int code = answer && !error ? TOOL_OK : TOOL_FAILED;

	if (!answer)
		return code;
	if (json) {
		json_dumpf(answer, stdout, JSON_COMPACT);
		puts("");
	} else if (error) {
		complain("%s", error);
	} else {
		print_answer(answer);
	}
	json_decref(answer);
	return code;
}

/* ---- the command line ---- */

static int run_guest(int argc, char **argv)
{
	json_t *request = json_object();
	const char *path = NULL;
	int option, code = TOOL_OK;
	bool json = false;

	opterr = 0;
	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			path = optarg;
		else if (option == 'j')
			json = true;
		else
			code = usage_error(&command_guest,
					   "%s: no such option, or its value is missing",
					   argv[optind - 1]);
	}
	if (!code && !path)
		code = usage_error(&command_guest, "needs --control");
	if (!code && optind == argc)
		code = usage_error(&command_guest,
				   "needs something to ask: heartbeat, shutdown, ...");
	if (!code)
		json_object_set_new(request, "command", json_string(argv[optind++]));
	while (!code && optind < argc)
		code = take_member(request, argv[optind++]);
	if (!code)
		return ask(path, request, json);
	json_decref(request);
	return code;
}

const struct subcommand command_guest = {
	.name = "guest",
	.summary = "ask a running guest: heartbeat, shutdown, clock, key-value pairs",
	.help = "usage: kmcl guest --control PATH [--json] COMMAND [MEMBER=VALUE]...\n"
		"\n"
		"Asks the guest of a kmcl vm that runs with --control PATH and the driver "
		"ic_vsp.so.\n"
		"MEMBER:=JSON takes a value as it is. These are the commands:\n"
		"\n"
		"components: what the guest and its integration components have agreed on.\n"
		"\n"
		"heartbeat: whether the guest is alive.\n"
		"\n"
		"shutdown [action=off|restart|hibernate] [force=true] [reason=N] "
		"[timeout=SECONDS]\n"
		"[text=TEXT]: asks the guest to shut down; says whether it agreed to.\n"
		"\n"
		"clock [time=YYYY-MM-DDThh:mm:ssZ | offset=SECONDS]: sets the guest's clock by "
		"the\n"
		"host's, to a time, or off the host's.\n"
		"\n"
		"kvp [do=list|get|set|delete] [pool=external|guest|auto|auto-external] "
		"[key=KEY]\n"
		"[value=VALUE] [type=string|expand-string|u32|u64|u64-linux]: the guest's "
		"key-value\n"
		"pairs.\n"
		"\n"
		"ip adapter={GUID} [do=get|set] [family=none|ipv4|ipv6|both] [dhcp=true]\n"
		"[addresses=A;B] [subnets=A;B] [gateways=A;B] [dns=A;B]: addresses of a network\n"
		"device in the guest.\n"
		"\n"
		"What the guest has to answer takes wait=SECONDS too (10), a list as a whole.\n"
		"\n"
		"  --control PATH   the host's control socket\n"
		"  --json           the answer as it comes, an object in a line\n"
		"\n"
		"Exit status: 0 the guest did it, 1 it did not, 2 a mistake on the command line.\n",
	.run = run_guest,
};
