/* SPDX-License-Identifier: MIT */
/* kmcl trace: what a capture holds. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "trace.h"

#define MOST_WORDS         64u
#define MOST_MESSAGE_TYPES 64u
#define MOST_PACKET_TYPES  64u
#define OFFER_CHANNEL      1u
#define RELID_RELEASED     13u

struct filter {
	const char *types[MOST_WORDS];
	uint32_t type_count;
	uint32_t channels[MOST_WORDS];
	uint32_t channel_count;
};

struct settings {
	const char *path;
	bool json;
	struct filter filter;
	struct trace_view view;
};

static const char *const kind_names[] = {
	[KMCL_TRACE_MESSAGE] = "message",
	[KMCL_TRACE_PACKET] = "packet",
	[KMCL_TRACE_SIGNAL] = "signal",
};

/* ---- what is in a record ---- */

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | get16(p + 2) << 16;
}

static const char *type_name(const struct kmcl_trace_record *r)
{
	struct kmcl_packet packet;

	if (r->kind == KMCL_TRACE_MESSAGE && r->size >= 4)
		return kmcl_message_name(get32(r->data));
	if (!kmcl_packet_decode(r, &packet))
		return packet.name;
	return NULL;
}

/* 0: of none. */
static uint32_t channel_of(const struct kmcl_trace_record *r)
{
	struct kmcl_field fields[KMCL_MESSAGE_FIELDS];
	size_t count;

	if (r->kind != KMCL_TRACE_MESSAGE)
		return r->channel;
	count = kmcl_message_fields(r->data, r->size, fields);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(fields[i].name, "channel_id"))
			return (uint32_t)fields[i].value;
	return 0;
}

/* Names of channels come from what the capture itself says. */
static void learn(struct trace_view *view, const struct kmcl_trace_record *r)
{
	uint32_t type, channel;

	if (r->kind != KMCL_TRACE_MESSAGE || r->size < 12)
		return;
	type = get32(r->data);
	channel = channel_of(r);
	if (channel >= TRACE_CHANNELS)
		return;
	if (type == OFFER_CHANNEL && r->size >= 24) {
		view->channels[channel].known = true;
		memcpy(view->channels[channel].interface_id, r->data + 8, 16);
	} else if (type == RELID_RELEASED) {
		view->channels[channel].known = false;
	}
}

const char *trace_channel_name(const struct trace_view *view, uint32_t channel)
{
	if (channel >= TRACE_CHANNELS || !view->channels[channel].known)
		return NULL;
	return kmcl_interface_name(view->channels[channel].interface_id);
}

/* ---- filters ---- */

static bool wanted_type(const struct filter *f, const struct kmcl_trace_record *r)
{
	const char *type = type_name(r);

	for (uint32_t i = 0; i < f->type_count; i++)
		if (!strcasecmp(f->types[i], kind_names[r->kind]) ||
		    (type && !strcasecmp(f->types[i], type)))
			return true;
	return !f->type_count;
}

static bool wanted_channel(const struct filter *f, const struct kmcl_trace_record *r)
{
	uint32_t channel = f->channel_count ? channel_of(r) : 0;

	for (uint32_t i = 0; i < f->channel_count; i++)
		if (f->channels[i] == channel)
			return true;
	return !f->channel_count;
}

static bool is_type(const char *word)
{
	for (uint32_t i = KMCL_TRACE_MESSAGE; i <= KMCL_TRACE_SIGNAL; i++)
		if (!strcasecmp(word, kind_names[i]))
			return true;
	for (uint32_t i = 0; i < MOST_MESSAGE_TYPES; i++)
		if (kmcl_message_name(i) && !strcasecmp(word, kmcl_message_name(i)))
			return true;
	for (uint32_t i = 0; i < MOST_PACKET_TYPES; i++)
		if (kmcl_packet_type_name(i) && !strcasecmp(word, kmcl_packet_type_name(i)))
			return true;
	return false;
}

static int add_type(struct filter *f, char *word)
{
	if (!is_type(word))
		return usage_error(&command_trace,
				   "--type %s: not message, packet, signal, nor the name of a "
				   "message or of a type of packets",
				   word);
	if (f->type_count == MOST_WORDS)
		return usage_error(&command_trace, "--type: more than %u", MOST_WORDS);
	f->types[f->type_count++] = word;
	return TOOL_OK;
}

static int add_channel(struct filter *f, char *word)
{
	uint64_t value;

	if (!parse_count(word, 0, UINT32_MAX, &value))
		return usage_error(&command_trace, "--channel %s: not a number", word);
	if (f->channel_count == MOST_WORDS)
		return usage_error(&command_trace, "--channel: more than %u", MOST_WORDS);
	f->channels[f->channel_count++] = (uint32_t)value;
	return TOOL_OK;
}

static int add_words(struct filter *f, char *words, int (*add)(struct filter *f, char *word))
{
	char *word;
	int code = TOOL_OK;

	while (!code && (word = strsep(&words, ",")))
		code = add(f, word);
	return code;
}

/* ---- showing ---- */

static void show(struct settings *s, const struct kmcl_trace_record *r)
{
	if (s->json)
		json_record(&s->view, r);
	else
		text_record(&s->view, r);
}

static int show_all(struct settings *s, kmcl_trace *trace)
{
	struct trace_totals totals = {0};
	struct kmcl_trace_record r;
	char *error = NULL;
	int code;

	while ((code = kmcl_trace_next(trace, &r, &error)) == 1) {
		if (!totals.records++)
			s->view.first = r.time;
		learn(&s->view, &r);
		if (!wanted_type(&s->filter, &r) || !wanted_channel(&s->filter, &r))
			continue;
		show(s, &r);
		totals.shown++;
	}
	totals.dropped = kmcl_trace_dropped(trace);
	if (code)
		totals.error = error ? error : strerror(-code);
	if (s->json)
		json_end(&totals);
	else
		text_end(&totals);
	fflush(stdout);
	if (code)
		complain("%s", totals.error);
	kmcl_free(error);
	return code ? TOOL_FAILED : TOOL_OK;
}

static int take_option(struct settings *s, int option, char **argv)
{
	switch (option) {
	case 'x':
		s->view.hex = true;
		return TOOL_OK;
	case 'j':
		s->json = true;
		return TOOL_OK;
	case 't':
		return add_words(&s->filter, optarg, add_type);
	case 'c':
		return add_words(&s->filter, optarg, add_channel);
	default:
		return usage_error(&command_trace, "%s: no such option, or its value is missing",
				   argv[optind - 1]);
	}
}

static int parse_options(struct settings *s, int argc, char **argv)
{
	static const struct option options[] = {
		{"hex", no_argument, NULL, 'x'},
		{"json", no_argument, NULL, 'j'},
		{"type", required_argument, NULL, 't'},
		{"channel", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	int option, code = TOOL_OK;

	opterr = 0;
	while (!code && (option = getopt_long(argc, argv, "x", options, NULL)) != -1)
		code = take_option(s, option, argv);
	if (code)
		return code;
	if (optind == argc)
		return usage_error(&command_trace, "needs the name of a capture");
	s->path = argv[optind++];
	if (optind < argc)
		return usage_error(&command_trace, "%s: not expected", argv[optind]);
	return TOOL_OK;
}

static int trace_command(int argc, char **argv)
{
	struct settings *s = calloc(1, sizeof(*s));
	kmcl_trace *trace;
	char *error;
	int code;

	if (!s) {
		complain("out of memory");
		return TOOL_FAILED;
	}
	code = parse_options(s, argc, argv);
	if (!code && kmcl_trace_open(s->path, &trace, &error)) {
		complain("%s", error ? error : "out of memory");
		kmcl_free(error);
		code = TOOL_FAILED;
	} else if (!code) {
		code = show_all(s, trace);
		kmcl_trace_close(trace);
	}
	free(s);
	return code;
}

const struct subcommand command_trace = {
	.name = "trace",
	.summary = "show what a capture holds",
	.help = "usage: kmcl trace [-x] [--json] [--type T[,T...]] [--channel N[,N...]] FILE\n"
		"\n"
		"Shows the control messages, packets and signals of a capture, as --capture of "
		"kmcl demo\n"
		"and kmcl run makes them; - is standard input.\n"
		"\n"
		"  -x, --hex          the bytes too\n"
		"  --json             a JSON object a line, the last one with the totals\n"
		"  --type T,...       only these: message, packet, signal, a message's name\n"
		"                     (OPEN_CHANNEL) or a packet's type (in-band, completion,\n"
		"                     GPA-direct, transfer-pages)\n"
		"  --channel N,...    only what is about these channel ids\n"
		"\n"
		"Times are seconds since the first record. The exit status is 0 only if the file "
		"could be\n"
		"read to its end; what stands before an error is shown.\n",
	.run = trace_command,
};
