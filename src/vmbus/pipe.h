/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Pipes: messages or a byte stream in in-band packets, each of which begins with a type and a
 * length.
 *
 * A reader copies one packet into its own buffer and hands out of that. The space of a packet goes
 * back to the peer only when all its bytes are consumed, so that a saved state of ring and position
 * loses nothing. A protocol error is final for the pipe.
 */
#ifndef VMBUS_PIPE_H
#define VMBUS_PIPE_H

#include "vmbus/ring.h"

#define VMBUS_PIPE_HEADER      8u
#define VMBUS_PIPE_MAX_MESSAGE 16384u
/** Ring bytes of an empty packet; a byte-mode writer keeps them free for the end of the stream. */
#define VMBUS_PIPE_END_SIZE    (VMBUS_PKT_SMALLEST + VMBUS_PIPE_HEADER)
/** Most data in one packet of a stream: small, so that space returns early. */
#define VMBUS_PIPE_CHUNK       2048u
/** Size of a reader's buffer, 8-aligned: the largest packet that a pipe can carry. */
#define VMBUS_PIPE_BUFFER      (VMBUS_PKT_DESCRIPTOR + VMBUS_PIPE_HEADER + VMBUS_PIPE_MAX_MESSAGE)

enum vmbus_pipe_type {
	VMBUS_PIPE_DATA = 1,
	VMBUS_PIPE_PARTIAL = 2,
	VMBUS_PIPE_SETUP_GPA_DIRECT = 3,
	VMBUS_PIPE_TEARDOWN_GPA_DIRECT = 4,
	VMBUS_PIPE_INDICATION_COMPLETE = 5,
};

enum vmbus_pipe_result {
	VMBUS_PIPE_OK,
	VMBUS_PIPE_EMPTY,     /**< reader: nothing yet */
	VMBUS_PIPE_FULL,      /**< writer: no room now */
	VMBUS_PIPE_TOO_LARGE, /**< writer: never fits. Reader: your buffer is smaller; nothing
				 consumed */
	VMBUS_PIPE_END,       /**< reader, byte mode: the stream ended; once */
	VMBUS_PIPE_ERROR,     /**< the peer broke the protocol; final */
	VMBUS_PIPE_CLOSED,    /**< the ring is closed */
	VMBUS_PIPE_CORRUPT,   /**< the ring is corrupt; final */
};

enum vmbus_pipe_mode {
	VMBUS_PIPE_MESSAGES,
	VMBUS_PIPE_BYTES,
};

/* ---- codec ---- */

/** The header and what follows it in a packet's private copy, checked. */
struct vmbus_pipe_packet {
	enum vmbus_pipe_type type;
	uint32_t size; /**< DATA and PARTIAL: all bytes of the message. Else: of the body, padded */
	uint32_t consumed; /**< PARTIAL: how many of them were read before; else 0 */
	const uint8_t *data;
};

/** @return OK or ERROR. Does not say whether a type is welcome now. */
enum vmbus_pipe_result vmbus_pipe_decode(const struct vmbus_packet_in *packet,
					 struct vmbus_pipe_packet *pipe);

/* ---- writing ---- */

/** Largest message that this ring carries. */
uint32_t vmbus_pipe_largest_message(const struct vmbus_ring_writer *w);

/** Ring bytes to wait for with vmbus_ring_writer_block() when writing @p size bytes said FULL. */
uint32_t vmbus_pipe_need(enum vmbus_pipe_mode mode, uint32_t size);

/** One message, 0 bytes allowed; not published. */
enum vmbus_pipe_result vmbus_pipe_write_message(struct vmbus_ring_writer *w, const void *data,
						uint32_t size);
/** As much of @p data as there is room for, in @p written; FULL only if that is nothing. */
enum vmbus_pipe_result vmbus_pipe_write_bytes(struct vmbus_ring_writer *w, const void *data,
					      size_t size, size_t *written);
/** Ends the stream. There is room: writing bytes never takes it. */
enum vmbus_pipe_result vmbus_pipe_write_end(struct vmbus_ring_writer *w);

/* ---- reading ---- */

struct vmbus_pipe_reader {
	struct vmbus_ring_reader *ring;
	uint8_t *buffer;
	const uint8_t *data; /* of the packet in buffer */
	uint32_t size;
	uint32_t position;
	uint32_t start; /* where it begins in the ring */
	enum vmbus_pipe_mode mode;
	enum vmbus_pipe_result failed; /* OK: not */
	bool holding;                  /* a packet is in buffer, not all consumed */
	bool restored;                 /* the next packet may be one that was partly read */
	uint32_t restored_position;
	uint64_t other; /* packets of types 3 to 5 */
};

/**
 * @param buffer VMBUS_PIPE_BUFFER bytes, 8-aligned, alive as long as the reader.
 */
void vmbus_pipe_reader_init(struct vmbus_pipe_reader *p, struct vmbus_ring_reader *ring,
			    void *buffer, enum vmbus_pipe_mode mode);

/**
 * After a restore: the first packet was consumed up to @p position, or says so itself by a partial
 * marker. A marker is an error at any other time.
 */
void vmbus_pipe_reader_restore(struct vmbus_pipe_reader *p, uint32_t position);

/** For the saved state, after vmbus_pipe_release(): bytes consumed of the packet at the read index.
 */
uint32_t vmbus_pipe_reader_position(const struct vmbus_pipe_reader *p);

/** Gives back the space of all packets that are consumed. @return a room signal is owed. */
bool vmbus_pipe_release(struct vmbus_pipe_reader *p);

/**
 * Byte mode: up to @p size bytes, across packets, into @p data. @p got is 0 unless OK. END comes
 * once, when everything before it was read, and not together with bytes.
 */
enum vmbus_pipe_result vmbus_pipe_read_bytes(struct vmbus_pipe_reader *p, void *data, size_t size,
					     size_t *got);

/** Message mode: one whole message. TOO_LARGE: @p got says what it needs, and it stays. */
enum vmbus_pipe_result vmbus_pipe_read_message(struct vmbus_pipe_reader *p, void *data, size_t size,
					       size_t *got);

#endif
