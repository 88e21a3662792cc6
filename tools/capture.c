/* SPDX-License-Identifier: MIT */
/* --capture, of every command that runs a bus. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kmcl.h"

#define MOST_BYTES 0xfffffffeu

static bool take_bytes(const char *text, uint32_t *value)
{
	uint64_t bytes;

	if (!parse_count(text, 0, MOST_BYTES, &bytes))
		return false;
	*value = (uint32_t)bytes;
	return true;
}

static bool take_word(const char *word, struct kmcl_capture_options *o)
{
	if (!strcmp(word, "payload=all"))
		o->payload = KMCL_CAPTURE_ALL;
	else if (!strncmp(word, "payload=", 8))
		return take_bytes(word + 8, &o->payload);
	else if (!strncmp(word, "buffer=", 7))
		return take_bytes(word + 7, &o->buffer);
	else if (!strcmp(word, "signals"))
		o->signals = 1;
	else if (!strcmp(word, "end=server"))
		o->end = KMCL_SERVER;
	else if (!strcmp(word, "end=client"))
		o->end = KMCL_CLIENT;
	else
		return false;
	return true;
}

int capture_take(const struct subcommand *command, const char *text, struct capture_request *r)
{
	char words[sizeof(r->path)], *rest = words, *word;

	*r = (struct capture_request){0};
	kmcl_capture_options_init(&r->options);
	if (snprintf(words, sizeof(words), "%s", text) >= (int)sizeof(words))
		return usage_error(command, "--capture: longer than %zu bytes", sizeof(words) - 1);
	word = strsep(&rest, ",");
	if (!*word)
		return usage_error(command, "--capture: names no file");
	memcpy(r->path, word, strlen(word) + 1);
	while ((word = strsep(&rest, ",")))
		if (!take_word(word, &r->options))
			return usage_error(command,
					   "--capture %s: '%s' is not payload=N, payload=all, "
					   "signals, end=server, end=client or buffer=N",
					   text, word);
	return TOOL_OK;
}

bool capture_begin(struct capture_request *r, struct kmcl_partition_options *options)
{
	char *error;

	if (!*r->path)
		return true;
	if (kmcl_capture_open(r->path, &r->options, &r->capture, &error)) {
		complain("%s", error ? error : "out of memory");
		kmcl_free(error);
		return false;
	}
	options->capture = r->capture;
	return true;
}

bool capture_end(struct capture_request *r)
{
	struct kmcl_capture_counts counts;
	int code = 0;

	if (r->capture) {
		code = kmcl_capture_close(r->capture, &counts);
		progress_end();
		if (code)
			complain("%s: cannot write the capture: %s", r->path, strerror(-code));
		fprintf(stderr, "%s: %" PRIu64 " records, %" PRIu64 " dropped\n", r->path,
			counts.recorded, counts.dropped);
	}
	r->capture = NULL;
	return !code;
}
