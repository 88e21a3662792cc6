/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Device control of the echo drivers: how a program commands them. All codes are METHOD_BUFFERED.
 *
 * Both drivers take QUERY, ENABLE, DISABLE, PAUSE and START; the client alone takes RUN and RAW.
 */
#ifndef ECHO_IOCTL_H
#define ECHO_IOCTL_H

#include <stdint.h>

/* CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + n, METHOD_BUFFERED, FILE_ANY_ACCESS) */
#define ECHO_IOCTL(n) (0x220000u | (0x800u + (n)) << 2)

#define ECHO_IOCTL_QUERY ECHO_IOCTL(0) /* in: echo_select, out: echo_info */
#define ECHO_IOCTL_RUN   ECHO_IOCTL(1) /* in: echo_run and data, out: echo_run_result and data */
#define ECHO_IOCTL_RAW                                                            \
	ECHO_IOCTL(2) /* in: echo_raw, request, external; out: echo_raw_result... \
		       */
#define ECHO_IOCTL_ENABLE                                                                         \
	ECHO_IOCTL(3)                    /* in: echo_select: VmbChannelEnable (server: and Start) \
					  */
#define ECHO_IOCTL_DISABLE ECHO_IOCTL(4) /* in: echo_select: VmbChannelDisable */
#define ECHO_IOCTL_PAUSE   ECHO_IOCTL(5) /* in: echo_select: VmbChannelPause */
#define ECHO_IOCTL_START   ECHO_IOCTL(6) /* in: echo_select: VmbChannelStart */

/** Which channel of the device; a client has one, 0. No input at all means 0 too. */
struct echo_select {
	uint32_t channel;
};

struct echo_info {
	uint8_t instance[16];  /**< GUID as in memory */
	uint32_t channels;     /**< of this device */
	uint32_t open;         /**< between Opened and Closed */
	uint32_t running;      /**< between Started and Suspend */
	uint32_t opens;        /**< sessions so far */
	uint64_t packets;      /**< received since the driver was loaded */
	uint64_t stray_pushes; /**< client: pushed packets that no run waits for, or out of order */
};

/**
 * A run: requests of one op, back to back, `window` of them outstanding. For ECHO, SUM, SINK and
 * GPADL_SUM, `total` bytes of data follow, cut into requests of `size` bytes, the last one shorter;
 * no data is one empty request. FILL takes no data and has `total` bytes filled. PUSH asks for
 * `total` packets, `size` a request. STATS ignores both and is one request.
 */
struct echo_run {
	uint32_t op;
	uint32_t size;
	uint32_t window;   /**< 1..ECHO_RUN_MAXIMUM_WINDOW */
	uint32_t reserved; /**< 0 */
	uint64_t total;
	uint64_t tag; /**< of the first request; each next one has one more */
};

#define ECHO_RUN_MAXIMUM_DATA     (16u << 20)
#define ECHO_RUN_MAXIMUM_REQUESTS (1u << 20)
#define ECHO_RUN_MAXIMUM_WINDOW   256u
/** Most external data of one request, unless the driver was loaded with external=KiB. */
#define ECHO_DEFAULT_EXTERNAL     (1u << 20)
#define ECHO_RUN_MAXIMUM_PUSHES   (1u << 20)

/*
 * Round trips, log-linear: buckets 0..31 are nanoseconds, above that each power of two has 32
 * buckets, so that a bucket is at most 3 % wide. Histograms of several runs can be added.
 */
#define ECHO_HISTOGRAM_BUCKETS 1184u /* up to 2^41 ns, 36 minutes; longer ones go to the last */

static inline uint32_t echo_histogram_bucket(uint64_t ns)
{
	uint32_t power = 0, bucket;

	if (ns < 32)
		return (uint32_t)ns;
	while (ns >> power >= 64)
		power++;
	bucket = 32 + 32 * power + (uint32_t)(ns >> power) - 32;
	return bucket < ECHO_HISTOGRAM_BUCKETS ? bucket : ECHO_HISTOGRAM_BUCKETS - 1;
}

/** Least value that falls into a bucket. */
static inline uint64_t echo_histogram_value(uint32_t bucket)
{
	if (bucket < 32)
		return bucket;
	return (uint64_t)(32 + (bucket - 32) % 32) << (bucket - 32) / 32;
}

struct echo_run_result {
	uint32_t status;     /**< NTSTATUS of the first request that failed, or of its completion */
	uint32_t mismatches; /**< completions whose op, tag or size was wrong */
	uint64_t requests;   /**< sent */
	uint64_t completed;  /**< ended with success */
	uint64_t bytes;      /**< of data moved by those */
	uint64_t pushes;     /**< PUSH: packets received in order and with the right content */
	uint64_t elapsed_ns; /**< first send to last end */
	uint32_t histogram[ECHO_HISTOGRAM_BUCKETS]; /**< round trips; not for SINK */
	uint32_t reserved[2];
	/* data follows: ECHO, FILL: `total` bytes; SUM, GPADL_SUM: a digest of 32 bytes a request;
	 * STATS: packets u64, bytes u64 */
};

#define ECHO_RAW_WAIT     0x1u /* ask for a completion */
#define ECHO_RAW_EXTERNAL 0x2u /* `external_size` bytes go along as external data */
#define ECHO_RAW_PFNS     0x4u /* the external bytes are page numbers, u64 each: send these pages */
#define ECHO_RAW_GPADL                                                            \
	0x8u /* the external bytes become a GPADL; its handle goes to request @16 \
	      */
#define ECHO_RAW_READ_ONLY 0x10u /* the GPADL is read-only */

/** One packet, bytes as given. The request (`request_size`), then the external bytes follow. */
struct echo_raw {
	uint32_t flags;
	uint32_t request_size;
	uint32_t external_size;
	uint32_t reserved;
};

struct echo_raw_result {
	uint32_t status;          /**< of the send, or of the transaction */
	uint32_t completion_size; /**< these bytes follow */
	uint32_t external_size;   /**< and after them the external data, as the server left it */
	uint32_t reserved;
};

#define ECHO_RAW_MAXIMUM_REQUEST  65552u
#define ECHO_RAW_MAXIMUM_EXTERNAL (16u << 20)

#endif
