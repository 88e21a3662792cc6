/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Reading captures: the records of a file, and what the bytes in them mean. docs/capture.md has the
 * format. Files may be truncated, foreign or hostile: nothing in them is trusted.
 *
 * A trace is used by one thread at a time.
 */
#ifndef KMCL_TRACE_H
#define KMCL_TRACE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- records ---- */

enum kmcl_trace_kind {
	KMCL_TRACE_MESSAGE = 1,
	KMCL_TRACE_PACKET = 2,
	KMCL_TRACE_SIGNAL = 3,
};

#define KMCL_TRACE_REPEATED 1u /**< message: an offer that stood when the capture began */
#define KMCL_TRACE_REFUSED \
	2u /**< packet: its reader did not take it; only its descriptor is kept */
#define KMCL_TRACE_PIPE    4u  /**< packet: begins with a pipe header */
#define KMCL_TRACE_MONITOR 8u  /**< signal: a bit in a monitor page */
#define KMCL_TRACE_SHARED  16u /**< signal: a bit in the interrupt page */

struct kmcl_trace_record {
	uint64_t time;          /**< nanoseconds since 1970 */
	uint64_t offset;        /**< of its block in the file */
	uint64_t lost;          /**< how many were dropped between the one before and this one */
	uint32_t kind;          /**< enum kmcl_trace_kind */
	uint32_t to_client;     /**< 1: from the server to the client */
	uint32_t by_client;     /**< 1: the client's end recorded it */
	uint32_t flags;         /**< KMCL_TRACE_* */
	uint32_t channel;       /**< packets and signals */
	uint32_t connection_id; /**< what goes to the server */
	uint32_t vp, sint;      /**< where what goes to the client arrives */
	uint32_t event_flag;    /**< signals to the client */
	const uint8_t *data;    /**< valid until the next call */
	size_t size, original;  /**< bytes kept, and bytes there were */
};

typedef struct kmcl_trace kmcl_trace;

/** Opens a capture; "-": standard input. -ENOMEM, the file's errno, or -EPROTO: no pcapng file.
 * Then *error (if wanted) is a sentence that says so, to be freed with kmcl_free(). */
int kmcl_trace_open(const char *path, kmcl_trace **trace, char **error);
/** The next record. 1; 0: the file is over; else *error (if wanted) is a sentence: -ENODATA: it
 * ends in the middle of a block, -EPROTO: something in it is no capture of ours, -EIO. Final. */
int kmcl_trace_next(kmcl_trace *trace, struct kmcl_trace_record *record, char **error);
/** Records that were dropped, as far as the file was read. */
uint64_t kmcl_trace_dropped(const kmcl_trace *trace);
void kmcl_trace_close(kmcl_trace *trace);

/* ---- fields of control messages ---- */

enum kmcl_field_format {
	KMCL_FIELD_DEC,
	KMCL_FIELD_HEX,
	KMCL_FIELD_GUID,
	KMCL_FIELD_BYTES,
	KMCL_FIELD_RANGES,   /**< page ranges, up to the end of the message */
	KMCL_FIELD_VERSION,  /**< major << 16 | minor */
	KMCL_FIELD_SELECTED, /**< a version or, from 5.0 on, a connection id */
	KMCL_FIELD_STATUS,
	KMCL_FIELD_STATE,
	KMCL_FIELD_VP,
	KMCL_FIELD_FEATURES,
	KMCL_FIELD_OFFER_FLAGS,
	KMCL_FIELD_OPEN_FLAGS,
};

struct kmcl_field {
	const char *name;      /**< "channel_id" */
	const char *unit;      /**< "MiB"; "": none */
	uint32_t format;       /**< enum kmcl_field_format */
	uint32_t offset, size; /**< in the message */
	uint64_t value;        /**< of a number */
	const uint8_t *bytes;  /**< in the message */
};

#define KMCL_MESSAGE_FIELDS 16

/** "OFFER_CHANNEL"; NULL: there is no such message. */
const char *kmcl_message_name(uint32_t type);
/** The fields that the message of `size` bytes has, in order, without those that its version gives
 *  another meaning. Returns how many, at most KMCL_MESSAGE_FIELDS; 0 also for an unknown message.
 */
size_t kmcl_message_fields(const void *message, size_t size,
			   struct kmcl_field fields[KMCL_MESSAGE_FIELDS]);
/** A field's value as people read it, unit included; what does not fit is cut. Returns `text`. */
const char *kmcl_field_text(const struct kmcl_field *field, char *text, size_t size);

/** What an interface type is called ("SCSI"); NULL: unknown. */
const char *kmcl_interface_name(const uint8_t guid[16]);
/** 8-4-4-4-12, lower case. */
const char *kmcl_guid_text(const uint8_t guid[16], char text[37]);

/* ---- packets ---- */

struct kmcl_packet {
	uint32_t type;    /**< 6 in-band, 7 transfer pages, 9 GPA-direct, 11 completion */
	uint32_t flags;   /**< bit 0: asks for a completion */
	const char *name; /**< of the type; NULL: unknown */
	uint64_t transaction_id;
	uint32_t header_size;   /**< descriptor and extra header, as the descriptor says */
	uint32_t total_size;    /**< as the descriptor says */
	const uint8_t *extra;   /**< extra header */
	uint32_t extra_kept;    /**< bytes of it in the record */
	const uint8_t *payload; /**< padded to 8 bytes; of a pipe: its header first */
	uint32_t payload_kept;
	uint32_t pipe_type, pipe_size; /**< of a pipe, if its header is kept; else 0 */
	const char *pipe_name;         /**< NULL: none or unknown */
};

/** "in-band"; NULL: nobody uses such packets. */
const char *kmcl_packet_type_name(uint32_t type);
/** Takes a packet's record apart. -EINVAL: no packet, or less than a descriptor. Sizes that
 * contradict each other are left as they are; what is kept is never more than the record has. */
int kmcl_packet_decode(const struct kmcl_trace_record *record, struct kmcl_packet *packet);

/** A range of memory in a GPA-direct packet or a GPADL. */
struct kmcl_range {
	uint32_t bytes, offset;
	const uint8_t *pfns; /**< little-endian, 8 bytes each */
	size_t pages;        /**< how many of them are kept */
	size_t pages_wanted; /**< how many it has */
};
/** The next range of words that begin at *at and end at `end`, which moves *at. 1; 0: no more. */
int kmcl_range_next(const uint8_t **at, const uint8_t *end, struct kmcl_range *range);

#ifdef __cplusplus
}
#endif

#endif
