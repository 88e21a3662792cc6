/* SPDX-License-Identifier: MIT */
/** @file The parts of `kmcl trace`: what is shown (trace.c), to whom (trace_text.c, trace_json.c).
 */
#ifndef TOOLS_TRACE_H
#define TOOLS_TRACE_H

#include <kmcl/trace.h>

#include "kmcl.h"

#define TRACE_CHANNELS 2048u

struct trace_totals {
	uint64_t records, shown, dropped;
	const char *error; /* why the file could not be read to its end; NULL: it could */
};

/** What an offer told of a channel. */
struct trace_channel {
	bool known;
	uint8_t interface_id[16];
};

struct trace_view {
	bool hex;
	bool begun;     /* a record was shown */
	uint64_t first; /* time of the first record of the file */
	struct trace_channel channels[TRACE_CHANNELS];
};

/** What goes on at a channel, for people ("echo"); NULL: nothing is known. */
const char *trace_channel_name(const struct trace_view *view, uint32_t channel);

void text_record(struct trace_view *view, const struct kmcl_trace_record *r);
void text_end(const struct trace_totals *totals);
void json_record(struct trace_view *view, const struct kmcl_trace_record *r);
void json_end(const struct trace_totals *totals);

#endif
