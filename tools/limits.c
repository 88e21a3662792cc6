/* SPDX-License-Identifier: MIT */
/* --limit NAME=NUMBER: the bounds of a partition by their names. */
#include <stddef.h>
#include <string.h>

#include "kmcl.h"

#define LIMITS(X)           \
	X(channels)         \
	X(gpadls)           \
	X(gpadl_pages)      \
	X(queued_messages)  \
	X(posted_messages)  \
	X(connect_requests) \
	X(outgoing_packets) \
	X(incoming_packets) \
	X(stitches)         \
	X(bounce_pages)

/* The field called that; NULL: none. */
static uint32_t *find(struct kmcl_limits *limits, const char *name, size_t length)
{
#define FIND(field)                                                     \
	if (length == strlen(#field) && !strncmp(name, #field, length)) \
		return &limits->field;
	LIMITS(FIND)
	return NULL;
}

int limit_take(const struct subcommand *command, const char *text, struct kmcl_limits *to)
{
#define NAME(field) " " #field
	const char *value = strchr(text, '=');
	uint32_t *limit = value ? find(to, text, (size_t)(value - text)) : NULL;
	uint64_t number = 0;

	if (!limit)
		return usage_error(command,
				   "--limit %s: not NAME=NUMBER with one of the names" LIMITS(NAME),
				   text);
	if (!parse_count(value + 1, 1, UINT32_MAX, &number))
		return usage_error(command, "--limit %s: not a number from 1 to %u", text,
				   UINT32_MAX);
	*limit = (uint32_t)number;
	return TOOL_OK;
}
