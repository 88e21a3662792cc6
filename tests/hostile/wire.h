/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The wire as a stranger writes it: control messages and ring packets put together byte by byte
 * from what the protocol says, with no line of the library's. Everything here works on plain
 * memory and knows of no transport.
 */
#ifndef TESTS_HOSTILE_WIRE_H
#define TESTS_HOSTILE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE         4096u
#define MESSAGE_MAX  240u
#define MAX_RELID    2047u
#define FIRST_PORT   1u
#define SECOND_PORT  4u
#define NO_INTERRUPT 0xffffffffu
#define REFUSED      0x8000ffffu

enum {
	OFFER_CHANNEL = 1,
	RESCIND_OFFER = 2,
	REQUEST_OFFERS = 3,
	ALL_OFFERS = 4,
	OPEN_CHANNEL = 5,
	OPEN_RESULT = 6,
	CLOSE_CHANNEL = 7,
	GPADL_HEADER = 8,
	GPADL_BODY = 9,
	GPADL_CREATED = 10,
	GPADL_TEARDOWN = 11,
	GPADL_TORNDOWN = 12,
	RELID_RELEASED = 13,
	CONTACT = 14,
	VERSION_RESPONSE = 15,
	UNLOAD = 16,
	UNLOAD_COMPLETE = 17,
	OPEN_RESERVED = 18,
	CLOSE_RESERVED = 19,
	CLOSE_RESERVED_RESPONSE = 20,
	TL_CONNECT = 21,
	MODIFY_CHANNEL = 22,
	TL_CONNECT_RESULT = 23,
	MODIFY_RESPONSE = 24,
	MODIFY_CONNECTION = 25,
	MODIFY_CONNECTION_RESPONSE = 26,
	PAUSE = 27,
	PAUSE_RESPONSE = 28,
	RESUME = 29,
	LAST_TYPE = 29,
};

/** Bytes of a message type, header included, in its shortest form; direction as on the wire. */
struct message_kind {
	uint16_t size;
	bool from_client;
	uint32_t since; /**< version */
	uint32_t feature;
};
extern const struct message_kind message_kinds[LAST_TYPE + 1];

extern const uint32_t all_versions[];
extern const unsigned int version_count;

struct message {
	uint32_t size;
	uint8_t b[MESSAGE_MAX];
};

void put16(uint8_t *at, uint16_t v);
void put32(uint8_t *at, uint32_t v);
void put64(uint8_t *at, uint64_t v);
uint16_t get16(const uint8_t *at);
uint32_t get32(const uint8_t *at);
uint64_t get64(const uint8_t *at);

/* ---- messages; each makes a whole one ---- */
struct message make_header_only(uint32_t type);
/** RESCIND, CLOSE, RELEASED: a channel id and nothing else. */
struct message make_of_channel(uint32_t type, uint32_t relid);
struct message make_contact(uint32_t version, uint32_t vp, uint64_t page, uint64_t monitor_down,
			    uint64_t monitor_up);
/** One range from a page's start; `pfns` of it fit one header (at most 26). */
struct message make_gpadl_header(uint32_t relid, uint32_t gpadl, uint16_t bytes, uint16_t ranges,
				 const uint64_t *words, uint32_t count);
struct message make_gpadl_body(uint32_t gpadl, const uint64_t *words, uint32_t count);
struct message make_gpadl_created(uint32_t relid, uint32_t gpadl, uint32_t status);
struct message make_teardown(uint32_t relid, uint32_t gpadl);
struct message make_torndown(uint32_t gpadl);
struct message make_open(uint32_t relid, uint32_t open_id, uint32_t gpadl, uint32_t vp,
			 uint32_t downstream);
struct message make_open_result(uint32_t relid, uint32_t open_id, uint32_t status);
struct message make_modify(uint32_t relid, uint32_t vp);
/** A device of the echo type, instance 0...e0 + n. */
struct message make_echo_offer(uint32_t relid, uint32_t n);
struct message make_version_response(uint32_t version, bool supported, uint32_t port);

/** Reads "0f 00 00 00 | 01..." into bytes: pairs of digits; anything else is for the eye. */
uint32_t parse_hex(const char *text, uint8_t *to, uint32_t most);

/* ---- shared memory: every access is one relaxed load or store of its size ---- */
void shared_write(uint8_t *at, const uint8_t *from, uint32_t n);
void shared_read(const uint8_t *at, uint8_t *to, uint32_t n);
uint32_t load32(const void *at);
void store32(void *at, uint32_t v);
void full_fence(void);

/* ---- rings ---- */
#define AT_IN       0u
#define AT_OUT      4u
#define AT_MASK     8u
#define AT_PENDING  12u
#define AT_FEATURES 64u

struct raw_ring {
	uint8_t *control;
	uint8_t *data;
	uint32_t size;
	uint32_t mine; /**< our own index: written so far, or read so far */
};

/** The packet's bytes at ring offset `at`, trailer included; its length. */
uint32_t make_packet(uint8_t *to, uint16_t type, uint16_t flags, uint64_t id, const void *header,
		     uint32_t header_size, const void *payload, uint32_t payload_size, uint32_t at);
/** Any bytes, a multiple of 8, where our writing has come to; published by ring_publish. */
void ring_write(struct raw_ring *r, const uint8_t *bytes, uint32_t n);
/** True: the reader wants to be told. */
bool ring_publish(struct raw_ring *r);
uint32_t ring_free(const struct raw_ring *r);
/** A whole packet without its trailer; 0: none is there. `want_signal`: the writer waits for it. */
uint32_t ring_read(struct raw_ring *r, uint8_t *to, uint32_t most, bool *want_signal);
/** Look again after this and sleep only if nothing is there. */
void ring_unmask(struct raw_ring *r);

#endif
