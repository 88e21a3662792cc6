/* SPDX-License-Identifier: MIT */
/* Captures: whatever a file holds, what is read of it lies within it, and its meaning is made of
 * nothing else. */
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sum;

static void touch(const void *bytes, size_t size)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + p[i]);
}

static void need(bool holds)
{
	if (!holds)
		abort();
}

static void walk_ranges(const uint8_t *at, const uint8_t *end)
{
	struct kmcl_range range;

	while (kmcl_range_next(&at, end, &range)) {
		need(range.pages <= range.pages_wanted && at <= end);
		touch(range.pfns, range.pages * 8);
	}
}

static void take_message(const struct kmcl_trace_record *r)
{
	struct kmcl_field fields[KMCL_MESSAGE_FIELDS];
	size_t count = kmcl_message_fields(r->data, r->size, fields);
	char text[96];

	need(count <= KMCL_MESSAGE_FIELDS);
	for (size_t i = 0; i < count; i++) {
		need((size_t)fields[i].offset + fields[i].size <= r->size);
		need(strlen(kmcl_field_text(&fields[i], text, sizeof(text))) < sizeof(text));
		touch(fields[i].bytes, fields[i].size);
		if (fields[i].format == KMCL_FIELD_RANGES)
			walk_ranges(fields[i].bytes, fields[i].bytes + fields[i].size);
	}
}

static void take_packet(const struct kmcl_trace_record *r)
{
	struct kmcl_packet p;

	if (kmcl_packet_decode(r, &p))
		return;
	need(16ull + p.extra_kept + p.payload_kept == r->size);
	touch(p.extra, p.extra_kept);
	touch(p.payload, p.payload_kept);
	walk_ranges(p.extra, p.extra + p.extra_kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FILE *file = size ? fmemopen((void *)(uintptr_t)data, size, "rb") : NULL;
	struct kmcl_trace_record r;
	kmcl_trace *trace;
	char *error = NULL;
	uint64_t records = 0;
	int code;

	if (!file || host_trace_of(file, "input", &trace, &error)) {
		kmcl_free(error);
		return 0;
	}
	while ((code = kmcl_trace_next(trace, &r, &error)) == 1) {
		need(r.original >= r.size && r.size <= size);
		need(++records <= size / 32);
		touch(r.data, r.size);
		if (r.kind == KMCL_TRACE_MESSAGE)
			take_message(&r);
		else
			take_packet(&r);
	}
	need(code <= 0 && (!code || error));
	kmcl_free(error);
	kmcl_trace_close(trace);
	return 0;
}
