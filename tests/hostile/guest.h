/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A guest by hand: hypercalls, SynIC pages, GPADLs, rings, all in raw bytes. It keeps to the rules
 * unless it is told otherwise; what breaks them is in the tests.
 */
#ifndef TESTS_HOSTILE_GUEST_H
#define TESTS_HOSTILE_GUEST_H

#include "machine.h"
#include "support.h"
#include "wire.h"

#define MAX_OFFERS 8u

struct guest {
	struct machine *m;
	uint8_t *memory;
	uint64_t next_page;
	uint32_t next_gpadl;
	uint32_t version, message_vp, post_to;
	uint64_t interrupt_page; /**< its GPA, 0: none */
	struct message offers[MAX_OFFERS];
	uint32_t offer_count;
};

void guest_start(struct guest *g, struct machine *m);
/** Contiguous, never given back: a test is short. */
uint64_t guest_pages(struct guest *g, uint32_t count);
uint8_t *guest_at(struct guest *g, uint64_t gpa);

/* ---- messages ---- */
/** Retried while the host is busy. */
void guest_post(struct guest *g, struct message m);
/** As much of it as `size` says, to the port that is named; the hypercall's status. */
uint16_t guest_post_cut(struct guest *g, uint32_t port, struct message m, uint32_t size);
bool guest_slot_full(struct guest *g, uint32_t vp, uint32_t sint);
bool guest_take(struct guest *g, uint32_t vp, uint32_t sint, struct message *m);
void guest_expect(struct guest *g, uint32_t type, struct message *m);
/** The next message is exactly these bytes, and the slot's header is right. */
void guest_expect_bytes(struct guest *g, const struct message *want);
void guest_expect_hex(struct guest *g, const char *hex);
/** Nothing came of what was posted before: an unknown channel's GPADL is answered first. */
void guest_fence(struct guest *g);
/** Without a connection: an unknown version is. */
void guest_contact_fence(struct guest *g);

/** Contact and its answer. */
void guest_negotiate(struct guest *g, uint32_t version, uint32_t features);
/** And all offers. */
void guest_connect(struct guest *g, uint32_t version);
/** Takes offers up to ALL_OFFERS_DELIVERED. */
void guest_request_offers(struct guest *g);
/** UNLOAD and its answer. */
void guest_unload(struct guest *g);
/** The offer of that channel id; fails without. */
const struct message *guest_offer(struct guest *g, uint32_t relid);

/* ---- channels ---- */
struct channel {
	struct guest *g;
	uint32_t relid, connection, gpadl, open_id;
	uint64_t gpa;
	uint32_t out_pages, in_pages;
	struct raw_ring out, in;
	uint64_t next_id;
};

/** Announces whole pages in a row, with as many bodies as it takes; expects success. */
uint32_t guest_gpadl(struct guest *g, uint32_t relid, uint64_t gpa, uint32_t pages);
void guest_post_gpadl(struct guest *g, uint32_t relid, uint32_t gpadl, uint64_t gpa,
		      uint32_t pages);
/** Rings made and announced, not opened. */
void channel_prepare(struct channel *c, struct guest *g, uint32_t relid, uint32_t out_pages,
		     uint32_t in_pages);
void channel_post_open(struct channel *c);
uint32_t channel_open_result(struct channel *c);
void channel_open(struct channel *c, struct guest *g, uint32_t relid, uint32_t out_pages,
		  uint32_t in_pages);
/** CLOSE and TEARDOWN at once, as Linux does; waits for TORNDOWN. */
void channel_close(struct channel *c);
void channel_signal(struct channel *c);
/** Puts a packet into the ring and signals if the host wants that. */
void channel_send(struct channel *c, uint16_t type, uint16_t flags, uint64_t id, const void *header,
		  uint32_t header_size, const void *payload, uint32_t payload_size);
/** The next packet, without trailer. */
uint32_t channel_receive(struct channel *c, uint8_t *to, uint32_t most);
bool channel_has_packet(struct channel *c);
/** An ECHO of `n` bytes comes back as it should, to the last byte. */
void channel_echo(struct channel *c, uint32_t n);
/** The two halves of it, for who looks at what is between them. */
void channel_ask_echo(struct channel *c, uint32_t n);
void channel_expect_echo(struct channel *c, uint32_t n);
/** An echo request's bytes; its size. */
uint32_t echo_request(uint8_t *to, uint32_t op, uint32_t length, uint64_t tag, const void *data,
		      uint32_t n);

#endif
