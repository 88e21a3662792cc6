/* SPDX-License-Identifier: MIT */
/* The hosting API: captures. */
#include <errno.h>
#include <string.h>

#include "host/internal.h"
#include "partition/capture.h"

#define DEFAULT_PAYLOAD 256u

/* The handle is the partition layer's capture itself. */
struct part_capture *host_part_capture(kmcl_capture *capture)
{
	return (struct part_capture *)(void *)capture;
}

void kmcl_capture_options_init(struct kmcl_capture_options *options)
{
	memset(options, 0, sizeof(*options));
	options->size = sizeof(*options);
	options->payload = DEFAULT_PAYLOAD;
	options->end = KMCL_SERVER;
}

static bool valid(const struct kmcl_capture_options *o)
{
	return o->size == sizeof(*o) && (o->end == KMCL_SERVER || o->end == KMCL_CLIENT);
}

int kmcl_capture_open(const char *path, const struct kmcl_capture_options *options,
		      kmcl_capture **capture, char **error)
{
	struct kmcl_capture_options o;
	struct part_capture_options part;
	struct part_capture *c = NULL;
	int code;

	*capture = NULL;
	if (error)
		*error = NULL;
	kmcl_capture_options_init(&o);
	if (options)
		o = *options;
	part = (struct part_capture_options){
		.payload = o.payload,
		.lane = o.buffer,
		.signals = o.signals,
		.client_end = o.end == KMCL_CLIENT,
	};
	code = valid(&o) ? part_capture_open(path, &part, &c) : -EINVAL;
	if (code && error)
		*error = sentence("cannot capture to %s: %s", path, strerror(-code));
	*capture = (kmcl_capture *)(void *)c;
	return code;
}

int kmcl_capture_start(kmcl_capture *capture, kmcl_partition *partition)
{
	return part_capture_start(partition->part, host_part_capture(capture));
}

int kmcl_capture_close(kmcl_capture *capture, struct kmcl_capture_counts *counts)
{
	struct part_capture_counts c = {0};
	int code = 0;

	if (capture)
		code = part_capture_close(host_part_capture(capture), &c);
	if (counts)
		*counts = (struct kmcl_capture_counts){c.recorded, c.dropped};
	return code;
}
