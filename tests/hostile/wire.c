/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <stdatomic.h>
#include <string.h>

const struct message_kind message_kinds[LAST_TYPE + 1] = {
	[OFFER_CHANNEL] = {196, false, 0x0000000d, 0},
	[RESCIND_OFFER] = {12, false, 0x0000000d, 0},
	[REQUEST_OFFERS] = {8, true, 0x0000000d, 0},
	[ALL_OFFERS] = {8, false, 0x0000000d, 0},
	[OPEN_CHANNEL] = {148, true, 0x0000000d, 0},
	[OPEN_RESULT] = {20, false, 0x0000000d, 0},
	[CLOSE_CHANNEL] = {12, true, 0x0000000d, 0},
	[GPADL_HEADER] = {20, true, 0x0000000d, 0},
	[GPADL_BODY] = {16, true, 0x0000000d, 0},
	[GPADL_CREATED] = {20, false, 0x0000000d, 0},
	[GPADL_TEARDOWN] = {16, true, 0x0000000d, 0},
	[GPADL_TORNDOWN] = {12, false, 0x0000000d, 0},
	[RELID_RELEASED] = {12, true, 0x0000000d, 0},
	[CONTACT] = {40, true, 0x0000000d, 0},
	[VERSION_RESPONSE] = {16, false, 0x0000000d, 0},
	[UNLOAD] = {8, true, 0x0000000d, 0},
	[UNLOAD_COMPLETE] = {8, false, 0x0000000d, 0},
	[OPEN_RESERVED] = {28, true, 0x00040000, 0},
	[CLOSE_RESERVED] = {20, true, 0x0000000d, 0},
	[CLOSE_RESERVED_RESPONSE] = {12, false, 0x00040000, 0},
	[TL_CONNECT] = {40, true, 0x00040000, 0},
	[MODIFY_CHANNEL] = {16, true, 0x00040001, 0},
	[TL_CONNECT_RESULT] = {44, false, 0x00040001, 0},
	[MODIFY_RESPONSE] = {16, false, 0x00050003, 0},
	[MODIFY_CONNECTION] = {24, true, 0x00060000, 0x04},
	[MODIFY_CONNECTION_RESPONSE] = {9, false, 0x00060000, 0x04},
	[PAUSE] = {8, true, 0x00060000, 0x20},
	[PAUSE_RESPONSE] = {8, false, 0x00060000, 0x20},
	[RESUME] = {8, true, 0x00060000, 0x20},
};

const uint32_t all_versions[] = {
	0x0000000d, 0x00010001, 0x00020004, 0x00030000, 0x00040000, 0x00040001,
	0x00050000, 0x00050001, 0x00050002, 0x00050003, 0x00060000,
};
const unsigned int version_count = sizeof(all_versions) / sizeof(all_versions[0]);

/* ---- numbers ---- */

void put16(uint8_t *at, uint16_t v)
{
	at[0] = (uint8_t)v;
	at[1] = (uint8_t)(v >> 8);
}

void put32(uint8_t *at, uint32_t v)
{
	put16(at, (uint16_t)v);
	put16(at + 2, (uint16_t)(v >> 16));
}

void put64(uint8_t *at, uint64_t v)
{
	put32(at, (uint32_t)v);
	put32(at + 4, (uint32_t)(v >> 32));
}

uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t get32(const uint8_t *at)
{
	return get16(at) | (uint32_t)get16(at + 2) << 16;
}

uint64_t get64(const uint8_t *at)
{
	return get32(at) | (uint64_t)get32(at + 4) << 32;
}

/* ---- messages ---- */

static struct message sized(uint32_t type, uint32_t size)
{
	struct message m = {.size = size};

	put32(m.b, type);
	return m;
}

struct message make_header_only(uint32_t type)
{
	return sized(type, 8);
}

struct message make_of_channel(uint32_t type, uint32_t relid)
{
	struct message m = sized(type, 12);

	put32(m.b + 8, relid);
	return m;
}

struct message make_contact(uint32_t version, uint32_t vp, uint64_t page, uint64_t monitor_down,
			    uint64_t monitor_up)
{
	struct message m = sized(CONTACT, 40);

	put32(m.b + 8, version);
	put32(m.b + 12, vp);
	put64(m.b + 16, page);
	put64(m.b + 24, monitor_down);
	put64(m.b + 32, monitor_up);
	return m;
}

struct message make_gpadl_header(uint32_t relid, uint32_t gpadl, uint16_t bytes, uint16_t ranges,
				 const uint64_t *words, uint32_t count)
{
	struct message m = sized(GPADL_HEADER, 20 + 8 * count);

	put32(m.b + 8, relid);
	put32(m.b + 12, gpadl);
	put16(m.b + 16, bytes);
	put16(m.b + 18, ranges);
	for (uint32_t i = 0; i < count; i++)
		put64(m.b + 20 + 8 * i, words[i]);
	return m;
}

struct message make_gpadl_body(uint32_t gpadl, const uint64_t *words, uint32_t count)
{
	struct message m = sized(GPADL_BODY, 16 + 8 * count);

	put32(m.b + 12, gpadl);
	for (uint32_t i = 0; i < count; i++)
		put64(m.b + 16 + 8 * i, words[i]);
	return m;
}

struct message make_gpadl_created(uint32_t relid, uint32_t gpadl, uint32_t status)
{
	struct message m = sized(GPADL_CREATED, 20);

	put32(m.b + 8, relid);
	put32(m.b + 12, gpadl);
	put32(m.b + 16, status);
	return m;
}

struct message make_teardown(uint32_t relid, uint32_t gpadl)
{
	struct message m = sized(GPADL_TEARDOWN, 16);

	put32(m.b + 8, relid);
	put32(m.b + 12, gpadl);
	return m;
}

struct message make_torndown(uint32_t gpadl)
{
	struct message m = sized(GPADL_TORNDOWN, 12);

	put32(m.b + 8, gpadl);
	return m;
}

struct message make_open(uint32_t relid, uint32_t open_id, uint32_t gpadl, uint32_t vp,
			 uint32_t downstream)
{
	struct message m = sized(OPEN_CHANNEL, 148);

	put32(m.b + 8, relid);
	put32(m.b + 12, open_id);
	put32(m.b + 16, gpadl);
	put32(m.b + 20, vp);
	put32(m.b + 24, downstream);
	return m;
}

struct message make_open_result(uint32_t relid, uint32_t open_id, uint32_t status)
{
	struct message m = sized(OPEN_RESULT, 20);

	put32(m.b + 8, relid);
	put32(m.b + 12, open_id);
	put32(m.b + 16, status);
	return m;
}

struct message make_modify(uint32_t relid, uint32_t vp)
{
	struct message m = sized(MODIFY_CHANNEL, 16);

	put32(m.b + 8, relid);
	put32(m.b + 12, vp);
	return m;
}

struct message make_echo_offer(uint32_t relid, uint32_t n)
{
	struct message m = sized(OFFER_CHANNEL, 196);

	parse_hex("6e2a7f8d 0b4c 2e4f 9a53 6b1c0e5d9f01", m.b + 8, 16);
	m.b[39] = (uint8_t)(0xe0 + n);
	put32(m.b + 184, relid);
	m.b[188] = 0xff;
	m.b[190] = 1;
	put32(m.b + 192, 0x2000 + relid);
	return m;
}

struct message make_version_response(uint32_t version, bool supported, uint32_t port)
{
	struct message m = sized(VERSION_RESPONSE, supported && version >= 0x00060000 ? 20 : 16);

	m.b[8] = supported;
	if (supported)
		put32(m.b + 12, version >= 0x00050000 ? port : version);
	return m;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

uint32_t parse_hex(const char *text, uint8_t *to, uint32_t most)
{
	uint32_t n = 0;

	while (*text && n < most) {
		if (digit(text[0]) < 0 || digit(text[1]) < 0) {
			text++;
			continue;
		}
		to[n++] = (uint8_t)(digit(text[0]) << 4 | digit(text[1]));
		text += 2;
	}
	return n;
}

/* ---- shared memory ---- */

void shared_write(uint8_t *at, const uint8_t *from, uint32_t n)
{
	uint32_t i = 0;

	for (; !((uintptr_t)at % 8) && i + 8 <= n; i += 8) {
		uint64_t word;

		memcpy(&word, from + i, 8);
		__atomic_store_n((uint64_t *)(void *)(at + i), word, __ATOMIC_RELAXED);
	}
	for (; i < n; i++)
		__atomic_store_n(at + i, from[i], __ATOMIC_RELAXED);
}

void shared_read(const uint8_t *at, uint8_t *to, uint32_t n)
{
	uint32_t i = 0;

	for (; !((uintptr_t)at % 8) && i + 8 <= n; i += 8) {
		uint64_t word =
			__atomic_load_n((const uint64_t *)(const void *)(at + i), __ATOMIC_RELAXED);

		memcpy(to + i, &word, 8);
	}
	for (; i < n; i++)
		to[i] = __atomic_load_n(at + i, __ATOMIC_RELAXED);
}

uint32_t load32(const void *at)
{
	return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
}

void store32(void *at, uint32_t v)
{
	__atomic_store_n((uint32_t *)at, v, __ATOMIC_RELEASE);
}

/* An exchange orders the machine as a fence does; gcc has no fence under its thread sanitizer. */
void full_fence(void)
{
	atomic_uint nothing = 0;

	(void)atomic_exchange(&nothing, 1);
}

/* ---- rings ---- */

uint32_t make_packet(uint8_t *to, uint16_t type, uint16_t flags, uint64_t id, const void *header,
		     uint32_t header_size, const void *payload, uint32_t payload_size, uint32_t at)
{
	uint32_t padded = (payload_size + 7) & ~7u;
	uint32_t body = 16 + header_size + padded;

	memset(to, 0, body + 8);
	put16(to, type);
	put16(to + 2, (uint16_t)((16 + header_size) / 8));
	put16(to + 4, (uint16_t)(body / 8));
	put16(to + 6, flags);
	put64(to + 8, id);
	if (header_size)
		memcpy(to + 16, header, header_size);
	if (payload_size)
		memcpy(to + 16 + header_size, payload, payload_size);
	put32(to + body + 4, at);
	return body + 8;
}

void ring_write(struct raw_ring *r, const uint8_t *bytes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 8) {
		shared_write(r->data + r->mine, bytes + i, 8);
		r->mine = (r->mine + 8) % r->size;
	}
}

bool ring_publish(struct raw_ring *r)
{
	uint32_t before = load32(r->control + AT_IN);

	store32(r->control + AT_IN, r->mine);
	full_fence();
	return !load32(r->control + AT_MASK) && load32(r->control + AT_OUT) == before;
}

uint32_t ring_free(const struct raw_ring *r)
{
	uint32_t out = load32(r->control + AT_OUT);

	return r->size - 8 - (r->mine + r->size - out) % r->size;
}

uint32_t ring_read(struct raw_ring *r, uint8_t *to, uint32_t most, bool *want_signal)
{
	uint32_t in = load32(r->control + AT_IN), old = r->mine, had, size, pending;
	uint8_t descriptor[8];

	*want_signal = false;
	if (in == r->mine)
		return 0;
	shared_read(r->data + r->mine, descriptor, 8);
	size = get16(descriptor + 4) * 8u;
	for (uint32_t i = 0; i < size && i < most; i += 8)
		shared_read(r->data + (r->mine + i) % r->size, to + i, 8);
	r->mine = (r->mine + size + 8) % r->size;
	store32(r->control + AT_OUT, r->mine);
	full_fence();
	pending = load32(r->control + AT_PENDING);
	in = load32(r->control + AT_IN);
	had = r->size - (in + r->size - old) % r->size;
	*want_signal =
		pending && had <= pending && r->size - (in + r->size - r->mine) % r->size > pending;
	return size;
}

void ring_unmask(struct raw_ring *r)
{
	store32(r->control + AT_MASK, 0);
	full_fence();
}
