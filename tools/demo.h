/* SPDX-License-Identifier: MIT */
/** @file The parts of `kmcl demo`: what is moved (demo_source.c), how (demo_paths.c), what is shown
 * (demo.c). */
#ifndef KMCL_DEMO_H
#define KMCL_DEMO_H

#include <stdio.h>

#include "echo_ioctl.h"
#include "echo_protocol.h"
#include "kmcl.h"

#define DEMO_DIGEST 32u
#define DEMO_CHUNK  (4u << 20) /* bytes of one device control */

struct source {
	char name[256]; /* for people: a longer one is cut */
	FILE *file;     /* NULL: generated */
	uint64_t size;
};
bool source_open_file(struct source *s, const char *path);
void source_open_generated(struct source *s, uint64_t size);
void source_close(struct source *s);
bool source_read(struct source *s, uint64_t offset, void *to, size_t size);

/** One way in which data moves, and what it did over all sources. */
struct path {
	const char *name;
	uint32_t op;
	uint32_t size; /* bytes of a request */
	uint32_t window;
	uint64_t bytes, packets, elapsed_ns;
	uint32_t histogram[ECHO_HISTOGRAM_BUCKETS];
};
extern struct path demo_paths[];
extern const size_t demo_path_count;

struct demo {
	kmcl_driver *client;
	uint8_t *in, *out; /* buffers of one device control */
	uint8_t *data;     /* the chunk inside `in` */
};

/** Moves the whole source along a path and checks every byte. For ECHO, *digest is that of what
 * came back. False: said what differs. */
bool path_move(struct demo *demo, struct path *path, struct source *source,
	       uint8_t digest[DEMO_DIGEST]);
/** Digest of the source by another implementation than the drivers'. */
bool source_digest(struct source *source, uint8_t *chunk, uint8_t digest[DEMO_DIGEST]);
/** Nanoseconds below which that share of the round trips lies. */
uint64_t path_percentile(const struct path *path, double share);

#endif
