/* SPDX-License-Identifier: MIT */
/**
 * @file
 * One side of a channel, in raw bytes: rings in the guest's pages, packets, and the steps that a
 * guest and a host have in common. The rings are written here rather than by the library, because
 * the library writes no wrong packets.
 */
#ifndef TOOLS_FUZZ_WIRE_H
#define TOOLS_FUZZ_WIRE_H

#include "fuzz.h"

#define FUZZ_PAGE        4096u
#define FUZZ_MESSAGE     240u
#define FUZZ_RING_PAGES  512u
#define FUZZ_OUTSTANDING 64u
#define FUZZ_DATA_PAGES  16u
#define FUZZ_PACKET      32768u
#define LOOKS            100 /* before it waits */

enum fuzz_message {
	MSG_OFFER_CHANNEL = 1,
	MSG_RESCIND_OFFER = 2,
	MSG_REQUEST_OFFERS = 3,
	MSG_ALL_OFFERS = 4,
	MSG_OPEN_CHANNEL = 5,
	MSG_OPEN_RESULT = 6,
	MSG_CLOSE_CHANNEL = 7,
	MSG_GPADL_HEADER = 8,
	MSG_GPADL_BODY = 9,
	MSG_GPADL_CREATED = 10,
	MSG_GPADL_TEARDOWN = 11,
	MSG_GPADL_TORNDOWN = 12,
	MSG_RELID_RELEASED = 13,
	MSG_INITIATE_CONTACT = 14,
	MSG_VERSION_RESPONSE = 15,
	MSG_UNLOAD = 16,
	MSG_UNLOAD_COMPLETE = 17,
	MSG_MODIFY_CHANNEL = 22,
	MSG_MODIFY_RESPONSE = 24,
};

#define FUZZ_VERSION 0x00050003u
#define FUZZ_PORT    4u

void wire_put16(uint8_t *at, uint32_t v);
void wire_put32(uint8_t *at, uint32_t v);
void wire_put64(uint8_t *at, uint64_t v);
uint16_t wire_get16(const uint8_t *at);
uint32_t wire_get32(const uint8_t *at);
uint64_t wire_get64(const uint8_t *at);
/** Orders every access before it against every access after it. */
void full_fence(void);

/** Something the other end may have changed; wakes who waits in bell_wait(). */
struct fuzz_bell {
	int fd;
};
bool bell_init(struct fuzz_bell *b);
void bell_ring(struct fuzz_bell *b);
/** Until it rings, or so long. */
void bell_wait(struct fuzz_bell *b, int ms);

struct fuzz_ring {
	uint8_t *control;
	uint8_t *page[FUZZ_RING_PAGES]; /* of data; they need not lie in a row */
	uint32_t size, mine;
};

struct fuzz_channel {
	bool open, pipe;
	struct fuzz_ring out, in;
	uint64_t next_id;
	uint32_t asked; /* completions that are still to come */
	bool tired;     /* the driver answers no more, or not in time: it is not waited for */
	bool ended;     /* what was sent is not read any more */
	bool mute;      /* it asks nothing more, so far */
	uint64_t request[FUZZ_OUTSTANDING]; /* ids of the driver's, that wait for FUZZ_ANSWER */
	uint32_t requests;
	enum fuzz_manners manners;
	uint32_t willing; /* requests that it answers so; then it keeps quiet. UINT32_MAX: all */
	struct fuzz_step manner; /* whose data FUZZ_ANSWERS_SO takes */
};

/** What the steps need of a guest or a host. */
struct fuzz_side {
	struct fuzz_shared *shared;
	struct fuzz_bell bell;
	uint8_t *memory; /* the guest's */
	uint64_t memory_size;
	uint64_t data_gpa; /* pages for external data; 0: there are none, as all are the driver's */
	uint32_t gpadl;    /* the newest; 0: none */
	void (*signal)(void *peer, struct fuzz_channel *c);
	/** Takes control messages that have come. */
	void (*pump)(void *peer);
	void *peer;
};

/** With a driver that keeps what it was sent, or has nothing to say. */
struct fuzz_patience {
	uint64_t began, quiet_since;
	bool replay;
};
void patience_begin(struct fuzz_patience *p, const struct fuzz_shared *shared);
/** Nothing more will come: nobody in the process has had anything to do for a while, or it has
 *  lasted too long. */
bool patience_ends(struct fuzz_patience *p);

/** No other thread of the process has anything to do. */
bool others_sleep(void);

/** A moment: those for whom is waited have something to do. */
void relax(void);

void channel_begin(struct fuzz_channel *c);
/** Packets of the driver's are read, and answered where that is the manner. */
void channel_pump(struct fuzz_side *s, struct fuzz_channel *c);
/** Until the driver has read what was sent and answered what was asked; not for long. */
void channel_settle(struct fuzz_side *s, struct fuzz_channel *c);
/** The steps on an open channel. */
void channel_step(struct fuzz_side *s, struct fuzz_channel *c, const struct fuzz_step *step);

/** A guest or a host, to fuzz_run.c. */
struct fuzz_peer {
	void (*run)(struct fuzz_peer *p, const struct fuzz_input *in);
	/** Lets go of everything, so that the driver can be unloaded. */
	void (*finish)(struct fuzz_peer *p);
	kmcl_partition *partition;
	struct fuzz_side side;
};

/** A finding, or why it cannot be done: ends the child. */
void fuzz_die(struct fuzz_shared *shared, enum fuzz_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));

#endif
