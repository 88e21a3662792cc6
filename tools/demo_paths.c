/* SPDX-License-Identifier: MIT */
/* Every way in which data moves on a channel, driven by device control and checked here. */
#include <inttypes.h>
#include <string.h>

#include <openssl/evp.h>

#include "demo.h"

#define PUSHES_A_CHUNK 20000u
#define FIRST_TAG      0x1122334455667700u

struct path demo_paths[] = {
	{.name = "echo, in-band", .op = ECHO_OP_ECHO, .size = 8192, .window = 32},
	{.name = "sum, external data", .op = ECHO_OP_SUM, .size = 1u << 20, .window = 4},
	{.name = "sink, one way", .op = ECHO_OP_SINK, .size = 8192, .window = 64},
	{.name = "fill, external data", .op = ECHO_OP_FILL, .size = 1u << 20, .window = 4},
	{.name = "sum, GPADL", .op = ECHO_OP_GPADL_SUM, .size = 1u << 20, .window = 4},
	{.name = "push, server to client", .op = ECHO_OP_PUSH, .size = 1000, .window = 1},
};
const size_t demo_path_count = sizeof(demo_paths) / sizeof(demo_paths[0]);

/* ---- digests ---- */

static bool digest_of(const void *data, size_t size, uint8_t digest[DEMO_DIGEST])
{
	return EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) == 1;
}

bool source_digest(struct source *source, uint8_t *chunk, uint8_t digest[DEMO_DIGEST])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	for (uint64_t at = 0; good && at < source->size; at += DEMO_CHUNK) {
		uint64_t left = source->size - at;
		size_t n = left < DEMO_CHUNK ? (size_t)left : DEMO_CHUNK;

		good = source_read(source, at, chunk, n) && EVP_DigestUpdate(ctx, chunk, n);
	}
	good = good && EVP_DigestFinal_ex(ctx, digest, NULL);
	EVP_MD_CTX_free(ctx);
	return good;
}

/* ---- one run ---- */

static const struct echo_run_result *run(struct demo *demo, const struct path *path, uint64_t total,
					 uint64_t tag, size_t in_data)
{
	struct echo_run arguments = {
		.op = path->op,
		.size = path->size,
		.window = path->window,
		.total = total,
		.tag = tag,
	};
	const struct echo_run_result *result = (const void *)demo->out;
	size_t returned;
	kmcl_status status;

	memcpy(demo->in, &arguments, sizeof(arguments));
	status = kmcl_device_control(demo->client, 0, ECHO_IOCTL_RUN, demo->in,
				     sizeof(arguments) + in_data, demo->out,
				     sizeof(*result) + DEMO_CHUNK + ECHO_DIGEST_SIZE, &returned);
	if (status < 0 || returned < sizeof(*result)) {
		complain("%s: device control failed with %s", path->name, kmcl_status_name(status));
		return NULL;
	}
	if (result->status || result->mismatches || result->completed != result->requests) {
		complain("%s: %" PRIu64 " of %" PRIu64 " requests completed, %u mismatches, first "
			 "failure %s",
			 path->name, result->completed, result->requests, result->mismatches,
			 kmcl_status_name((kmcl_status)result->status));
		return NULL;
	}
	return result;
}

static void account(struct path *path, const struct echo_run_result *result, uint64_t bytes,
		    uint64_t packets)
{
	path->bytes += bytes;
	path->packets += packets;
	path->elapsed_ns += result->elapsed_ns;
	for (uint32_t i = 0; i < ECHO_HISTOGRAM_BUCKETS; i++)
		path->histogram[i] += result->histogram[i];
}

/* ---- what must have come back ---- */

static bool differs(const struct path *path, uint64_t at, const char *what)
{
	complain("%s: %s at byte %" PRIu64, path->name, what, at);
	return false;
}

static bool check_same(const struct path *path, const uint8_t *sent, const uint8_t *came,
		       size_t size, uint64_t at)
{
	for (size_t i = 0; i < size; i++) {
		if (sent[i] != came[i])
			return differs(path, at + i, "what came back differs");
	}
	return true;
}

static bool check_digests(const struct path *path, const uint8_t *data, size_t size,
			  const uint8_t *digests, uint64_t at)
{
	uint8_t want[DEMO_DIGEST];
	size_t done = 0;

	do {
		size_t n = size - done < path->size ? size - done : path->size;

		if (!digest_of(data + done, n, want) || memcmp(want, digests, DEMO_DIGEST))
			return differs(path, at + done, "the digest differs");
		digests += DEMO_DIGEST;
		done += n;
	} while (done < size);
	return true;
}

static bool check_filled(const struct path *path, const uint8_t *data, size_t size, uint64_t tag,
			 uint64_t at)
{
	for (size_t i = 0; i < size; i++) {
		uint64_t request = i / path->size, byte = i % path->size;

		if (data[i] != (uint8_t)(tag + request + byte))
			return differs(path, at + i, "the filled byte differs");
	}
	return true;
}

/* The server counted what was sunk; asking resets its counters. */
static bool check_sunk(struct demo *demo, const struct path *path, uint64_t packets, uint64_t bytes)
{
	const struct path stats = {.name = "stats", .op = ECHO_OP_STATS, .size = 1, .window = 1};
	const struct echo_run_result *result = run(demo, &stats, 0, FIRST_TAG, 0);
	uint64_t counted[2];

	if (!result)
		return false;
	memcpy(counted, result + 1, sizeof(counted));
	if (counted[0] == packets && counted[1] == bytes)
		return true;
	complain("%s: the server counted %" PRIu64 " packets and %" PRIu64 " bytes, not %" PRIu64
		 " and %" PRIu64,
		 path->name, counted[0], counted[1], packets, bytes);
	return false;
}

static bool check(struct demo *demo, const struct path *path, const struct echo_run_result *result,
		  size_t size, uint64_t tag, uint64_t at)
{
	const uint8_t *came = (const uint8_t *)(result + 1);

	switch (path->op) {
	case ECHO_OP_ECHO:
		return check_same(path, demo->data, came, size, at);
	case ECHO_OP_SUM:
	case ECHO_OP_GPADL_SUM:
		return check_digests(path, demo->data, size, came, at);
	case ECHO_OP_FILL:
		return check_filled(path, came, size, tag, at);
	case ECHO_OP_SINK:
		return check_sunk(demo, path, result->requests, size);
	default:
		return true;
	}
}

/* ---- a source along a path ---- */

static bool move_chunk(struct demo *demo, struct path *path, struct source *source, uint64_t at,
		       size_t size, EVP_MD_CTX *ctx)
{
	bool sends = path->op != ECHO_OP_FILL;
	uint64_t tag = FIRST_TAG + at;
	const struct echo_run_result *result;

	if (sends && !source_read(source, at, demo->data, size))
		return false;
	result = run(demo, path, size, tag, sends ? size : 0);
	if (!result)
		return false;
	account(path, result, size, result->requests);
	if (path->op == ECHO_OP_ECHO && !EVP_DigestUpdate(ctx, result + 1, size))
		return false;
	return check(demo, path, result, size, tag, at);
}

static bool push(struct demo *demo, struct path *path)
{
	const struct echo_run_result *result = run(demo, path, PUSHES_A_CHUNK, FIRST_TAG, 0);

	if (!result)
		return false;
	if (result->pushes != PUSHES_A_CHUNK) {
		complain("%s: %" PRIu64 " of %u packets came in order and whole", path->name,
			 result->pushes, PUSHES_A_CHUNK);
		return false;
	}
	account(path, result, (uint64_t)PUSHES_A_CHUNK * ECHO_PUSH_SIZE, PUSHES_A_CHUNK);
	return true;
}

bool path_move(struct demo *demo, struct path *path, struct source *source,
	       uint8_t digest[DEMO_DIGEST])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	uint64_t at = 0;

	do {
		uint64_t left = source->size - at;
		size_t n = left < DEMO_CHUNK ? (size_t)left : DEMO_CHUNK;

		progress("%s: %s, %3.0f %%", source->name, path->name,
			 source->size ? 100.0 * (double)at / (double)source->size : 0.0);
		good = good &&
		       (path->op == ECHO_OP_PUSH ? at || push(demo, path)
						 : move_chunk(demo, path, source, at, n, ctx));
		at += n;
	} while (good && at < source->size);
	good = good && EVP_DigestFinal_ex(ctx, digest, NULL);
	EVP_MD_CTX_free(ctx);
	progress_end();
	return good;
}

uint64_t path_percentile(const struct path *path, double share)
{
	uint64_t all = 0, seen = 0;

	for (uint32_t i = 0; i < ECHO_HISTOGRAM_BUCKETS; i++)
		all += path->histogram[i];
	for (uint32_t i = 0; i < ECHO_HISTOGRAM_BUCKETS; i++) {
		seen += path->histogram[i];
		if (all && (double)seen >= share * (double)all)
			return echo_histogram_value(i);
	}
	return 0;
}
