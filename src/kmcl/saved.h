/* SPDX-License-Identifier: MIT */
/*
 * A channel's saved state as a stream of chunks (docs/saved-state.md): written by save.c, read by
 * restore.c. All numbers are little-endian.
 */
#ifndef KMCL_SAVED_H
#define KMCL_SAVED_H

#include "base/crc.h"
#include "kmcl/channel.h"
#include "vmbus/wire.h"

#define SAVED_MAGIC    0x53434d4bu /* "KMCS" */
#define SAVED_VERSION  1u
#define CHUNK_HEADER   24u
#define CHUNK_MAX      (64u << 20)
#define CHANNEL_BODY   64u /* of the channel's chunk */
#define ANSWER_BODY    16u /* in front of the bytes */
#define INCOMING_BODY  32u
#define PACKET_BODY    8u
#define LIBRARY_MAGIC  0x4b50544bu /* "KTPK" */
#define LIBRARY_HEADER 32u

enum chunk_kind {
	CHUNK_CHANNEL = 1,
	CHUNK_ANSWER,
	CHUNK_INCOMING,
	CHUNK_PACKET,
	CHUNK_END,
};

enum {
	CHANNEL_IS_PIPE = 1,
	CHANNEL_IS_FAILED = 2, /* nothing is delivered until the next open */
};

enum {
	INCOMING_WANTS_COMPLETION = 1,
	INCOMING_IS_DEFERRED = 2,
};

enum library_phase {
	PHASE_QUEUED = 1,
	PHASE_PLACED,
};

#define LIBRARY_WAITS 1u

/* Checksum of a chunk, as if its own place for it were zero. */
static inline uint32_t chunk_crc(const uint8_t *chunk, uint32_t size)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, chunk, 16);

	return crc32c(crc32c(crc, zero, sizeof(zero)), chunk + 20, size - 20);
}

/* A chunk that waits for the session. */
struct kept {
	struct kept *next;
	uint32_t size;
	uint64_t body[];
};

struct kmcl_restored {
	bool complete, failed;
	uint32_t next; /* number of the chunk that is expected */
	uint32_t flags, generation;
	uint32_t answer_count, incoming_count, packet_count;
	struct kept *answers, **answers_tail;
	struct kept *incoming, **incoming_tail;
	/* the packet chunk whose callback runs */
	const uint8_t *library;
	uint32_t library_size;
	struct kmcl_packet *packet; /* VmbPacketRestore has it */
};

#endif
