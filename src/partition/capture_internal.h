/* SPDX-License-Identifier: MIT */
/** @file What the files of a capture share: lanes, and the file's blocks. */
#ifndef PARTITION_CAPTURE_INTERNAL_H
#define PARTITION_CAPTURE_INTERNAL_H

#include <pthread.h>

#include "partition/capture.h"
#include "partition/event.h"
#include "partition/internal.h"

#define CAPTURE_HEADER      32u /* of a record's data: the pseudo-header */
/* Bytes of a packet's extra header that are kept: the pages of 4 MiB. */
#define CAPTURE_EXTRA       8192u
/* Most of a packet that is kept besides the payload that was asked for. */
#define CAPTURE_PACKET_MOST (VMBUS_PKT_DESCRIPTOR + CAPTURE_EXTRA + CAPTURE_PIPE_HEADER)
#define CAPTURE_PIPE_HEADER 8u

enum capture_kind {
	CAPTURE_MESSAGE = 1,
	CAPTURE_PACKET = 2,
	CAPTURE_SIGNAL = 3,
};

/* In a lane, at a multiple of 8. All of a lane that holds no record is zero. */
struct capture_record {
	_Atomic uint32_t size;   /* in the lane; 0: not there yet; with CAPTURE_PAD: only room */
	uint32_t kept, original; /* bytes of data, and what they would be uncut */
	uint32_t reserved;
	uint64_t time;
	uint64_t dropped; /* of this lane, before this record */
	uint8_t data[];
};

#define CAPTURE_PAD 1u

/*
 * Many threads put records in, the writer takes them out. Positions only grow; a record does not
 * wrap. Putting reserves by moving `head`, fills, and completes by storing the record's size; the
 * writer zeroes what it took and then moves `tail`, so that nothing old looks complete.
 */
struct capture_lane {
	_Atomic uint64_t head, dropped;
	uint8_t apart[48];
	_Atomic uint64_t tail;
	uint64_t told; /* drops that the file tells of */
	uint8_t *memory;
	uint32_t size; /* a power of two */
};

/* Blocks of the file, buffered. */
struct capture_file {
	int fd;
	int error; /* errno of the first write that failed; from then on nothing is written */
	uint64_t wall_offset; /* from the monotonic clock to time since 1970 */
	uint64_t records;     /* in the file, or in the buffer on their way to it */
	uint64_t flushed;     /* in the file */
	uint64_t lost;        /* could not be written */
	uint32_t used;
	uint8_t *buffer;
};

int capture_file_open(struct capture_file *f, const char *path, uint32_t snap_length);
/* `dropped`: before this one. False: it could not be written, and is counted as lost. */
bool capture_file_record(struct capture_file *f, const struct capture_record *r, uint64_t dropped);
void capture_file_statistics(struct capture_file *f, uint64_t start, uint64_t dropped);
void capture_file_flush(struct capture_file *f);
int capture_file_close(struct capture_file *f);

struct part_capture {
	struct part_capture_options options;
	struct capture_lane lanes[CAPTURE_LANES];
	struct capture_file file;
	uint64_t start;
	uint64_t statistics_at, statistics_dropped;
	struct part_event event;
	pthread_t thread;
	atomic_bool stop;

	pthread_mutex_t lock;
	struct part_endpoint *ep; /* [lock] what it records */
	bool used;                /* [lock] it has, or had one */
};

/* Room for a record with so much data, or NULL: counted. `lane` is the thread's. */
struct capture_record *capture_reserve(struct part_capture *c, uint32_t lane, uint32_t data);
void capture_complete(struct part_capture *c, struct capture_record *r);
/* From here on nobody records. */
void capture_tap_close(struct part_capture *c);

#endif
