/* SPDX-License-Identifier: MIT */
/* kmcl trace for people: a record a line, and more below it. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "trace.h"

#define INDENT      "                   "
#define HEX_COLUMNS 16u
#define SHOWN_PFNS  4u
#define GPADL_BODY  9u
#define GPA_DIRECT  9u

static void print_bytes(const uint8_t *bytes, size_t size)
{
	for (size_t at = 0; at < size; at += HEX_COLUMNS) {
		printf(INDENT "%04zx ", at);
		for (size_t i = at; i < at + HEX_COLUMNS; i++) {
			if (i < size)
				printf(" %02x", bytes[i]);
			else
				printf("   ");
		}
		printf("  ");
		for (size_t i = at; i < at + HEX_COLUMNS && i < size; i++)
			putchar(bytes[i] >= 0x20 && bytes[i] < 0x7f ? bytes[i] : '.');
		putchar('\n');
	}
}

/* ---- messages ---- */

static uint64_t get64(const uint8_t *p)
{
	uint64_t value = 0;

	for (unsigned int i = 8; i-- > 0;)
		value = value << 8 | p[i];
	return value;
}

static void print_pfns(const uint8_t *pfns, size_t pages, size_t wanted)
{
	for (size_t i = 0; i < pages && i < SHOWN_PFNS; i++)
		printf(" %#" PRIx64, get64(pfns + 8 * i));
	puts(wanted > SHOWN_PFNS ? " ..." : "");
}

static void print_ranges(const uint8_t *at, const uint8_t *end)
{
	struct kmcl_range range;

	while (kmcl_range_next(&at, end, &range)) {
		printf(INDENT "range: %" PRIu32 " bytes at %#" PRIx32 " of %zu pages:", range.bytes,
		       range.offset, range.pages_wanted);
		print_pfns(range.pfns, range.pages, range.pages_wanted);
	}
}

/* A list begins with a range; what a GPADL_BODY carries continues one. */
static void print_list(const struct kmcl_field *f, uint32_t type)
{
	size_t pages = f->size / 8;

	if (f->format != KMCL_FIELD_RANGES)
		return;
	if (type == GPADL_BODY) {
		printf(INDENT "%zu pages more:", pages);
		print_pfns(f->bytes, pages, pages);
	} else {
		print_ranges(f->bytes, f->bytes + f->size);
	}
}

/* What has bytes and says nothing is left out, lists have lines of their own. */
static bool silent(const struct kmcl_field *f)
{
	if (f->format == KMCL_FIELD_RANGES)
		return true;
	if (f->format != KMCL_FIELD_BYTES)
		return false;
	for (uint32_t i = 0; i < f->size; i++)
		if (f->bytes[i])
			return false;
	return true;
}

static void print_message(const struct kmcl_trace_record *r)
{
	struct kmcl_field fields[KMCL_MESSAGE_FIELDS];
	size_t count = kmcl_message_fields(r->data, r->size, fields);
	const uint8_t *d = r->data;
	uint32_t type =
		r->size < 4 ? 0 : (uint32_t)(d[0] | d[1] << 8 | d[2] << 16) | (uint32_t)d[3] << 24;
	const char *name = kmcl_message_name(type);
	char text[1024];

	if (name)
		printf("%s", name);
	else
		printf("message of unknown type %u, %zu bytes", type, r->size);
	if (r->flags & KMCL_TRACE_REPEATED)
		printf(" (made before the capture)");
	for (size_t i = 0; i < count; i++)
		if (!silent(&fields[i]))
			printf("  %s=%s", fields[i].name,
			       kmcl_field_text(&fields[i], text, sizeof(text)));
	putchar('\n');
	for (size_t i = 0; i < count; i++)
		print_list(&fields[i], type);
}

/* ---- packets ---- */

static void print_packet(const struct kmcl_trace_record *r)
{
	struct kmcl_packet p;

	if (kmcl_packet_decode(r, &p)) {
		printf("packet of %zu bytes, less than a descriptor\n", r->size);
		return;
	}
	if (p.name)
		printf("%s", p.name);
	else
		printf("packet of unknown type %#" PRIx32, p.type);
	printf("  id=%#" PRIx64 "  bytes=%" PRIu32, p.transaction_id,
	       p.total_size > p.header_size ? p.total_size - p.header_size : 0);
	if (p.flags & 1)
		printf("  wants completion");
	if (p.flags & ~1u)
		printf("  flags=%#" PRIx32, p.flags);
	if (p.pipe_type)
		printf("  pipe %s %" PRIu32, p.pipe_name ? p.pipe_name : "of unknown type",
		       p.pipe_size);
	if (r->flags & KMCL_TRACE_REFUSED)
		printf("  REFUSED by its reader");
	putchar('\n');
	if (p.type == GPA_DIRECT && p.extra_kept > 8)
		print_ranges(p.extra + 8, p.extra + p.extra_kept);
}

/* ---- signals ---- */

static void print_signal(const struct kmcl_trace_record *r)
{
	bool sent = r->to_client != r->by_client;

	printf("signal %s", sent ? "sent" : "taken");
	if (r->to_client)
		printf("  vp=%" PRIu32 "  flag=%" PRIu32, r->vp, r->event_flag);
	else
		printf("  connection_id=%#" PRIx32, r->connection_id);
	if (r->flags & KMCL_TRACE_MONITOR)
		printf("  in a monitor page");
	if (r->flags & KMCL_TRACE_SHARED)
		printf("  in the interrupt page");
	putchar('\n');
}

/* ---- records ---- */

static void print_start(struct trace_view *view)
{
	time_t seconds = (time_t)(view->first / 1000000000u);
	struct tm t;

	if (view->begun || !gmtime_r(&seconds, &t))
		return;
	view->begun = true;
	printf("capture begins %04d-%02d-%02d %02d:%02d:%02d.%09u UTC\n", t.tm_year + 1900,
	       t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec,
	       (unsigned int)(view->first % 1000000000u));
}

static void print_place(const struct trace_view *view, const struct kmcl_trace_record *r)
{
	char place[40];
	const char *name = trace_channel_name(view, r->channel);

	if (r->kind != KMCL_TRACE_MESSAGE)
		snprintf(place, sizeof(place), "channel %" PRIu32 "%s%s", r->channel,
			 name ? " " : "", name ? name : "");
	else if (r->to_client)
		snprintf(place, sizeof(place), "VP %" PRIu32 " SINT %" PRIu32, r->vp, r->sint);
	else
		snprintf(place, sizeof(place), "connection %" PRIu32, r->connection_id);
	printf("%-18s ", place);
}

void text_record(struct trace_view *view, const struct kmcl_trace_record *r)
{
	uint64_t since = r->time - view->first;
	bool before = r->time < view->first;

	print_start(view);
	if (before)
		since = view->first - r->time;
	if (r->lost)
		printf("--- %" PRIu64 " records were dropped here ---\n", r->lost);
	printf("%c%5" PRIu64 ".%09" PRIu64 " %s ", before ? '-' : ' ', since / 1000000000u,
	       since % 1000000000u, r->to_client ? "< to client" : "> to server");
	print_place(view, r);
	switch (r->kind) {
	case KMCL_TRACE_MESSAGE:
		print_message(r);
		break;
	case KMCL_TRACE_PACKET:
		print_packet(r);
		break;
	default:
		print_signal(r);
	}
	if (view->hex)
		print_bytes(r->data, r->size);
	if (view->hex && r->original > r->size)
		printf(INDENT "(%zu more bytes were not kept)\n", r->original - r->size);
}

void text_end(const struct trace_totals *totals)
{
	printf("%" PRIu64 " records", totals->records);
	if (totals->shown != totals->records)
		printf(", %" PRIu64 " shown", totals->shown);
	printf(", %" PRIu64 " dropped%s\n", totals->dropped,
	       totals->error ? "; the rest cannot be read" : "");
}
