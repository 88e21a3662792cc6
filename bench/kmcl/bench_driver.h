/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Two drivers that only answer and ask: what the measurements of the client library run on. Like
 * any driver they see the DDI's headers and nothing of the library; the program commands the client
 * by device control.
 */
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

#include <stdint.h>

#define BENCH_PACKET     64u
#define BENCH_CHANNELS   64u
#define BENCH_WINDOW     256u
#define BENCH_EXTERNAL   (1u << 20)
#define BENCH_RING_PAGES 17u         /* of each ring, the control page included */
#define BENCH_ONE_WAY    (16u << 10) /* bytes of a packet that nobody answers */

/* CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS) */
#define BENCH_IOCTL_RUN  0x222000u
#define BENCH_IOCTL_OPEN 0x222004u /* out: uint32_t, channels that are running */

/** Requests on the first `channels` channels, `window` at once on each; or packets one way. */
struct bench_run_request {
	uint32_t channels, window;
	uint32_t external; /**< bytes of external data with each, 0: none */
	uint32_t one_way;  /**< 1: packets of BENCH_ONE_WAY bytes on the last channel, `window` at
			      most of them waiting for room; timed until the server has had all */
	uint64_t count;    /**< of the whole run; rounded up to a multiple of channels * window */
};

struct bench_run_result {
	uint64_t count; /**< requests that were timed */
	uint64_t ns;
	uint64_t failed; /**< ended with an error or with an answer that was wrong */
};

/** Set before a driver is loaded; each takes a copy. */
struct bench_driver_config {
	uint32_t channels;
	uint32_t one_way; /**< 1: the last channel takes packets of BENCH_ONE_WAY bytes too */
	/** Called by the driver on each thread that delivers to it; NULL: threads stay where they
	 * are. */
	void (*place)(unsigned int end);
};
extern struct bench_driver_config bench_driver_config;

struct _DRIVER_OBJECT;
struct _UNICODE_STRING;
int32_t BenchVspEntry(struct _DRIVER_OBJECT *driver, struct _UNICODE_STRING *registry_path);
int32_t BenchVscEntry(struct _DRIVER_OBJECT *driver, struct _UNICODE_STRING *registry_path);

/** The largest packet of a channel. */
static inline uint32_t bench_packet_most(const struct bench_driver_config *config, uint32_t channel)
{
	return config->one_way && channel == config->channels - 1 ? BENCH_ONE_WAY : BENCH_PACKET;
}

#endif
