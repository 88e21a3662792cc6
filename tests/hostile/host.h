/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A host by hand: it takes hypercalls, fills message slots, serves echo channels in raw bytes. Step
 * by step, or by itself (host_serve) until a test has something of its own to say.
 */
#ifndef TESTS_HOSTILE_HOST_H
#define TESTS_HOSTILE_HOST_H

#include "machine.h"
#include "support.h"
#include "wire.h"

#define HOST_CHANNELS 2u /* echo channels 1 and 2 */
#define MAX_PAGES     256u
#define MAX_GPADLS    512u

struct gpadl {
	uint32_t id, relid; /* id 0: free */
	uint32_t words, have;
	uint64_t word[MAX_PAGES + 1];
};

/** What host_serve does of itself; all true at first. */
struct manners {
	bool contact, offers, gpadls, opens, teardowns, unload, packets;
};

struct served_channel {
	bool offered, open;
	uint32_t open_id, ring_gpadl, vp, connection;
	struct raw_ring in, out; /* in: what the guest writes */
	uint32_t opens;          /* asked for so far */
	uint64_t served;
	uint64_t last_id; /* of the last request */
};

struct host {
	struct machine *m;
	uint8_t *memory;
	struct manners manners;
	uint32_t version; /* the one that is accepted; 0: any */
	uint32_t agreed;
	struct served_channel channel[HOST_CHANNELS + 2]; /* by relid; one more than is offered */
	bool deaf;                                        /* takes nothing any more */
	struct gpadl gpadl[MAX_GPADLS];
	uint32_t contacts, releases, unloads, closes, messages;
	uint32_t released[MAX_RELID + 1]; /* by relid */
};

void host_start(struct host *h, struct machine *m);
uint8_t *host_at(struct host *h, uint64_t gpa);

/** Waits while the slot is full. */
void host_send(struct host *h, struct message m);
void host_send_cut(struct host *h, struct message m, uint32_t size);
bool host_take(struct host *h, uint32_t *port, struct message *m);
/** The next message, which must be of that type. */
void host_expect(struct host *h, uint32_t type, struct message *m);
void host_expect_bytes(struct host *h, uint32_t port, const struct message *want);

/** Handles one message and every packet there is; false: there was nothing. */
bool host_serve(struct host *h);
/** Reads a GPADL message into the table. NULL: not whole yet. */
struct gpadl *host_collect(struct host *h, const struct message *m);
struct gpadl *host_gpadl(struct host *h, uint32_t id);
/** Puts the rings that an OPEN names into the channel; false: nonsense. */
bool host_map(struct host *h, const struct message *open);
void host_offer(struct host *h, uint32_t relid);
void host_rescind(struct host *h, uint32_t relid);
/** A packet into the guest's ring, with a signal if it wants one. */
void host_put(struct host *h, uint32_t relid, uint16_t type, uint16_t flags, uint64_t id,
	      const void *header, uint32_t header_size, const void *payload, uint32_t size);
void host_signal(struct host *h, uint32_t relid);
/** The next request of the channel; 0: none. */
uint32_t host_request(struct host *h, uint32_t relid, uint8_t *to, uint32_t most);
/** Answers a request as an echo server does. */
void host_answer(struct host *h, uint32_t relid, uint8_t *packet, uint32_t size);

#endif
