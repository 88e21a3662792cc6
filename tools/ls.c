/* SPDX-License-Identifier: MIT */
/* kmcl ls: what a host offers, as lsvmbus shows it inside a guest. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kmcl/trace.h>
#include <kmcl/user.h>

#include "kmcl.h"

#define MOST_OFFERS 2047u
#define PATIENCE_MS 10000u

static const struct option options[] = {
	{"socket", required_argument, NULL, 's'},
	{"verbose", no_argument, NULL, 'v'},
	{"json", no_argument, NULL, 'j'},
	{"capture", required_argument, NULL, 'c'},
	{0},
};

struct ls {
	const char *socket;
	bool verbose, json;
	struct capture_request capture;
};

static const char *class_of(const struct kmcl_offer *o)
{
	const char *name = kmcl_interface_name(o->interface_id);

	return name ? name : "unknown";
}

static void print_details(const struct kmcl_offer *o)
{
	char text[37];

	printf("\tinterface %s\n", kmcl_guid_text(o->interface_id, text));
	printf("\tinstance  %s\n", kmcl_guid_text(o->instance_id, text));
	printf("\tflags %#06x, MMIO %u MiB and %u more if there is room", o->flags,
	       o->mmio_megabytes, o->mmio_megabytes_optional);
	if (o->monitor_id != UINT32_MAX)
		printf(", monitor %u", o->monitor_id);
	puts("");
}

static void print_table(const struct kmcl_offer *offers, size_t count, bool verbose)
{
	char text[37];

	if (!verbose)
		printf("%-7s %-3s %-36s %s\n", "CHANNEL", "SUB", "INSTANCE", "CLASS");
	for (size_t i = 0; i < count; i++) {
		const struct kmcl_offer *o = &offers[i];

		if (verbose) {
			printf("channel %u, subchannel %u: %s\n", o->channel_id, o->subchannel,
			       class_of(o));
			print_details(o);
		} else {
			printf("%-7u %-3u %-36s %s\n", o->channel_id, o->subchannel,
			       kmcl_guid_text(o->instance_id, text), class_of(o));
		}
	}
}

static json_t *to_json(const struct kmcl_offer *o)
{
	char interface[37], instance[37], data[2 * sizeof(o->user_data) + 1];
	const char *name = kmcl_interface_name(o->interface_id);
	json_t *j = json_pack("{s:i,s:i,s:s,s:s,s:i,s:i,s:i}", "channel", (int)o->channel_id,
			      "subchannel", (int)o->subchannel, "interface",
			      kmcl_guid_text(o->interface_id, interface), "instance",
			      kmcl_guid_text(o->instance_id, instance), "flags", (int)o->flags,
			      "mmio_megabytes", (int)o->mmio_megabytes, "mmio_megabytes_optional",
			      (int)o->mmio_megabytes_optional);

	for (size_t i = 0; i < sizeof(o->user_data); i++)
		snprintf(data + 2 * i, 3, "%02x", o->user_data[i]);
	json_object_set_new(j, "class", name ? json_string(name) : json_null());
	json_object_set_new(j, "monitor",
			    o->monitor_id == UINT32_MAX ? json_null()
							: json_integer(o->monitor_id));
	json_object_set_new(j, "user_data", json_string(data));
	return j;
}

static void print_json(const struct kmcl_offer *offers, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, to_json(&offers[i]));
	json_dumpf(list, stdout, JSON_INDENT(2));
	puts("");
	json_decref(list);
}

static int take_option(struct ls *ls, int option, char **argv)
{
	switch (option) {
	case 's':
		ls->socket = optarg;
		return TOOL_OK;
	case 'v':
		ls->verbose = true;
		return TOOL_OK;
	case 'j':
		ls->json = true;
		return TOOL_OK;
	case 'c':
		return capture_take(&command_ls, optarg, &ls->capture);
	default:
		return usage_error(&command_ls, "%s: no such option, or its value is missing",
				   argv[optind - 1]);
	}
}

static int parse(struct ls *ls, int argc, char **argv)
{
	int option, code;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "v", options, NULL)) != -1) {
		code = take_option(ls, option, argv);
		if (code)
			return code;
	}
	if (optind < argc)
		return usage_error(&command_ls, "%s: not expected", argv[optind]);
	return ls->socket ? TOOL_OK : usage_error(&command_ls, "needs --socket");
}

static int list(const struct ls *ls, kmcl_partition *partition)
{
	struct kmcl_offer *offers = calloc(MOST_OFFERS, sizeof(*offers));
	size_t count = 0;
	int code =
		offers ? kmcl_partition_offers(partition, PATIENCE_MS, offers, MOST_OFFERS, &count)
		       : -ENOMEM;

	if (code)
		complain("%s: the host makes no offers: %s", ls->socket, strerror(-code));
	else if (ls->json)
		print_json(offers, count);
	else
		print_table(offers, count, ls->verbose);
	free(offers);
	return code ? TOOL_FAILED : TOOL_OK;
}

static int connect_and_list(struct ls *ls)
{
	struct kmcl_partition_options bus;
	struct kmcl_guest_options guest = {.size = sizeof(guest), .partition = &bus};
	kmcl_partition *partition;
	int code = TOOL_FAILED;
	char *error;

	kmcl_partition_options_init(&bus);
	bus.memory = 16u << 20;
	bus.processors = 1;
	if (!capture_begin(&ls->capture, &bus))
		return TOOL_FAILED;
	if (kmcl_partition_create_user(ls->socket, &guest, &partition, &error)) {
		complain("%s", error ? error : "out of memory");
		kmcl_free(error);
	} else {
		code = list(ls, partition);
		kmcl_partition_destroy(partition);
	}
	return capture_end(&ls->capture) ? code : TOOL_FAILED;
}

static int run_ls(int argc, char **argv)
{
	struct ls ls = {0};
	int code = parse(&ls, argc, argv);

	return code ? code : connect_and_list(&ls);
}

const struct subcommand command_ls = {
	.name = "ls",
	.summary = "list what a host offers",
	.help = "usage: kmcl ls --socket PATH [-v|--verbose] [--json] [--capture FILE]\n"
		"\n"
		"Connects to a host as a guest and lists its offers: channel, subchannel, "
		"instance\n"
		"and class of each.\n"
		"\n"
		"  --socket PATH   where the host listens\n"
		"  -v, --verbose   both GUIDs, flags, MMIO space and monitor too\n"
		"  --json          for programs: a list of objects\n" CAPTURE_HELP,
	.run = run_ls,
};
