/* SPDX-License-Identifier: MIT */
/*
 * Saved state as a stream of sections (docs/saved-state.md), for who writes them (server_save.c)
 * and who reads them (server_save_load.c).
 */
#ifndef VMBUS_SERVER_SAVE_STREAM_H
#define VMBUS_SERVER_SAVE_STREAM_H

#include "vmbus/server_internal.h"
#include "vmbus/server_save.h"

#define SAVED_HEADER  32u
#define SAVED_SECTION 16u
#define SAVED_FIELDS  64u

enum saved_section {
	SECTION_CONNECTION = 1,
	SECTION_SOCKET,
	SECTION_CHANNEL,
	SECTION_GPADL, /* of the channel before it */
	SECTION_POSTED,
	SECTION_HELD,
	SECTION_DEFERRED,
};

/* States as they are written; what has no number here is not written at all. */
enum saved_channel_state {
	SAVED_CLOSED = 1,
	SAVED_OPENING,
	SAVED_OPEN,
	SAVED_CLOSING,
	SAVED_CLOSING_REOPEN,
	SAVED_REVOKED,
};

enum saved_gpadl_state {
	SAVED_INCOMPLETE = 1,
	SAVED_OFFERED,
	SAVED_ACCEPTED,
	SAVED_TEARING,
};

struct saved_stream {
	bool loading;
	uint8_t *out; /* NULL: only measured */
	const uint8_t *in;
	uint64_t at, end; /* end: of the section that is read */
	uint64_t section; /* where the present one begins */
	uint32_t sections;
	size_t room, extra; /* of a queue: for what objects cause, for what is read into it */
	uint64_t offset;    /* of the field that is wrong */
	const char *field, *why;
	/* reading: where the present section's fields are */
	struct {
		const char *name;
		uint64_t offset;
	} seen[SAVED_FIELDS];
	uint32_t seen_count;
};

/* How many sections of each kind follow the connection's. */
struct saved_counts {
	uint32_t sockets, channels, posted, held, deferred;
};

extern const uint8_t saved_magic[8];

/* Only the first thing that is wrong is kept. */
void saved_wrong(struct saved_stream *io, const char *field, uint64_t offset, const char *why);
/* The same, of a field of the section that was read last. */
void saved_refuse_if(struct saved_stream *io, bool condition, const char *field, const char *why);
/* Whether the field can be read, or written. */
bool saved_take(struct saved_stream *io, const char *field, size_t size);
uint64_t saved_number(struct saved_stream *io, const char *field, unsigned int width,
		      uint64_t value, uint64_t most);
void saved_put_number(uint8_t *p, unsigned int width, uint64_t value);

void saved_section_begin(struct saved_stream *io, enum saved_section kind);
void saved_section_end(struct saved_stream *io);
/* Enters the next section, which is of `kind`. False: io says what is wrong. */
bool saved_open_section(struct saved_stream *io, enum saved_section kind, uint64_t total);
void saved_close_section(struct saved_stream *io);

/* What is in each kind, in order: writes, measures or reads it. */
void saved_connection_fields(struct saved_stream *io, struct vmbus_server *s, uint8_t *vtl,
			     struct saved_counts *n);
void saved_socket_fields(struct saved_stream *io, struct hvsock_request *r);
void saved_channel_fields(struct saved_stream *io, struct channel *ch, uint8_t *state,
			  uint32_t *gpadls);
void saved_gpadl_fields(struct saved_stream *io, struct vmbus_gpadl *g, uint8_t *state);
void saved_message_fields(struct saved_stream *io, struct vmbus_server_action *a);
void saved_deferred_fields(struct saved_stream *io, struct deferred_message *m);

#endif
