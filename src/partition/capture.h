/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Captures: what one end of a partition says and hears, written to a pcapng file while it happens.
 * docs/capture.md has every byte of a record.
 *
 * The bus never waits for the file. Whoever sends or receives copies a record into a lane, a buffer
 * that its thread shares with few others, by one compare-and-swap; without room it counts a drop
 * and goes on. One thread takes the records out of all lanes, in order of time, and writes them.
 *
 * While nothing is captured in the process each hook is one load and one branch.
 */
#ifndef PARTITION_CAPTURE_H
#define PARTITION_CAPTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "partition/partition.h"
#include "vmbus/ring.h"

/** 0 in a field means the default named there. */
struct part_capture_options {
	uint32_t payload; /**< bytes of a packet's payload that are kept; 0: none, no default */
	uint32_t lane;    /**< bytes of each buffer, rounded up to a power of two; default 4 MiB */
	bool signals;     /**< event flags and doorbells too */
	bool client_end;  /**< where both ends are in this process the client's records */
};

struct part_capture_counts {
	uint64_t recorded, dropped;
};

struct part_capture;

/** Creates the file and writes its head. -ENOMEM, or the file's errno. */
int part_capture_open(const char *path, const struct part_capture_options *options,
		      struct part_capture **capture);
/** Records from now on, beginning with the offers that stand. -EBUSY: one of the two has another
 * already, or the capture had one. */
int part_capture_start(struct part *part, struct part_capture *capture);
/** Stops, writes what waits, and ends the file. `counts` may be NULL.
 * @return 0, or the errno with which writing failed; the file ends there. */
int part_capture_close(struct part_capture *capture, struct part_capture_counts *counts);

/* ---- hooks ---- */

/** How many partitions of this process are captured now. */
extern __attribute__((visibility("hidden"))) atomic_uint part_captures;

static inline bool part_capturing(void)
{
	return __builtin_expect(atomic_load_explicit(&part_captures, memory_order_relaxed) != 0, 0);
}

enum part_capture_direction {
	PART_CAPTURE_TO_SERVER,
	PART_CAPTURE_TO_CLIENT,
};

enum {
	PART_CAPTURE_REPEATED = 1, /**< message: an offer that stood when the capture began */
	PART_CAPTURE_REFUSED = 2,  /**< packet: its reader did not take it; only the descriptor */
	PART_CAPTURE_PIPE = 4,     /**< packet: begins with a pipe header */
	PART_CAPTURE_MONITOR = 8,  /**< signal: a bit in a monitor page */
	PART_CAPTURE_SHARED = 16,  /**< signal: a bit in the interrupt page (below version 2.4) */
};

/** A control message with the SynIC's part of it; 0 in what its direction does not have. */
struct part_capture_message {
	enum part_capture_direction direction;
	uint32_t connection_id; /**< to the server */
	uint32_t vp;            /**< to the client */
	uint8_t sint;           /**< to the client */
	uint16_t flags;
	uint64_t time; /**< part_capture_clock() before it left or after it came */
	const void *data;
	uint32_t size;
};

void part_capture_record_message(struct part_endpoint *ep, const struct part_capture_message *m);
void part_capture_record_written(struct part_port *port, bool pipe,
				 const struct vmbus_packet_out *packet);
void part_capture_record_read(struct part_port *port, bool pipe, const void *buffer,
			      const struct vmbus_packet_in *packet, bool refused);
void part_capture_record_signal(struct part_port *port, bool sent, uint16_t flags);

/** 0: nothing is captured. */
static inline uint64_t part_capture_clock(void)
{
	return part_capturing() ? clock_now_ns() : 0;
}

static inline void part_capture_message(struct part_endpoint *ep,
					const struct part_capture_message *m)
{
	if (__builtin_expect(m->time != 0, 0))
		part_capture_record_message(ep, m);
}

/** A packet is in the ring and not published yet. */
static inline void part_capture_written(struct part_port *port, bool pipe,
					const struct vmbus_packet_out *packet)
{
	if (part_capturing())
		part_capture_record_written(port, pipe, packet);
}

/** What vmbus_ring_read() gave for `buffer`. */
static inline void part_capture_read(struct part_port *port, bool pipe, const void *buffer,
				     const struct vmbus_packet_in *packet,
				     enum vmbus_ring_result result)
{
	if (!part_capturing())
		return;
	if (result == VMBUS_RING_OK)
		part_capture_record_read(port, pipe, buffer, packet, false);
	else if (result == VMBUS_RING_TOO_LARGE || result == VMBUS_RING_BAD_PACKET)
		part_capture_record_read(port, pipe, buffer, packet, true);
}

static inline void part_capture_signal(struct part_port *port, bool sent, uint16_t flags)
{
	if (part_capturing())
		part_capture_record_signal(port, sent, flags);
}

#endif
