/* SPDX-License-Identifier: MIT */
#include "fuzz_wire.h"

#include <string.h>
#include <time.h>

/* Offsets in a ring's control page. */
#define AT_IN       0u
#define AT_OUT      4u
#define AT_MASK     8u
#define AT_PENDING  12u
#define AT_FEATURES 64u

#define IN_BAND          6u
#define GPA_DIRECT       9u
#define COMPLETION       11u
#define WANTS_COMPLETION 1u

#define PIPE_HEADER  8u
#define MOST_AT_ONCE 16u

void wire_put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)v;
	at[1] = (uint8_t)(v >> 8);
}

void wire_put32(uint8_t *at, uint32_t v)
{
	wire_put16(at, v);
	wire_put16(at + 2, v >> 16);
}

void wire_put64(uint8_t *at, uint64_t v)
{
	wire_put32(at, (uint32_t)v);
	wire_put32(at + 4, (uint32_t)(v >> 32));
}

uint16_t wire_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t wire_get32(const uint8_t *at)
{
	return wire_get16(at) | (uint32_t)wire_get16(at + 2) << 16;
}

uint64_t wire_get64(const uint8_t *at)
{
	return wire_get32(at) | (uint64_t)wire_get32(at + 4) << 32;
}

/* An exchange orders the machine as a fence does; gcc has no fence under its thread sanitizer. */
void full_fence(void)
{
	uint32_t local = 0;

	(void)__atomic_exchange_n(&local, 1, __ATOMIC_SEQ_CST);
}

/* ---- rings ---- */

static uint32_t load(const uint8_t *at)
{
	return __atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static void store(uint8_t *at, uint32_t v)
{
	__atomic_store_n((uint32_t *)(void *)at, v, __ATOMIC_SEQ_CST);
}

/* What the other end may write meanwhile is moved a word at a time. */
static uint64_t *word_at(const struct fuzz_ring *r, uint32_t offset)
{
	offset %= r->size;
	return (uint64_t *)(void *)(r->page[offset / FUZZ_PAGE] + offset % FUZZ_PAGE);
}

static void ring_write(struct fuzz_ring *r, const uint8_t *bytes, uint32_t size)
{
	for (uint32_t i = 0; i < size; i += 8) {
		uint64_t word;

		memcpy(&word, bytes + i, 8);
		__atomic_store_n(word_at(r, r->mine + i), word, __ATOMIC_RELAXED);
	}
	r->mine = (r->mine + size) % r->size;
}

/* True: the reader wants to be told. */
static bool ring_publish(struct fuzz_ring *r)
{
	uint32_t before = load(r->control + AT_IN);

	store(r->control + AT_IN, r->mine);
	full_fence();
	return !load(r->control + AT_MASK) && load(r->control + AT_OUT) == before;
}

static uint32_t ring_free(const struct fuzz_ring *r)
{
	uint32_t used = (r->mine + r->size - load(r->control + AT_OUT) % r->size) % r->size;

	return r->size - 8 - used;
}

static void copy_out(const struct fuzz_ring *r, uint8_t *to, uint32_t size, uint32_t most)
{
	for (uint32_t i = 0; i < size && i + 8 <= most; i += 8) {
		uint64_t word = __atomic_load_n(word_at(r, r->mine + i), __ATOMIC_RELAXED);

		memcpy(to + i, &word, 8);
	}
}

/* A packet without its trailer, 0: none. `*want`: the writer waits for room. */
static uint32_t ring_read(struct fuzz_ring *r, uint8_t *to, uint32_t most, bool *want)
{
	uint32_t in = load(r->control + AT_IN), size, had, has, pending;

	*want = false;
	if (in == r->mine || in >= r->size)
		return 0;
	had = (r->mine + r->size - in) % r->size;
	copy_out(r, to, 8, most);
	size = wire_get16(to + 4) * 8u;
	if (size < 16)
		size = 16;
	copy_out(r, to, size, most);
	r->mine = (r->mine + size + 8) % r->size;
	store(r->control + AT_OUT, r->mine);
	full_fence();
	pending = load(r->control + AT_PENDING);
	has = (r->mine + r->size - load(r->control + AT_IN) % r->size) % r->size;
	*want = pending && had <= pending && (has > pending || !has);
	return size;
}

/* ---- sending ---- */

struct packet {
	uint16_t type, flags;
	uint64_t id;
	const uint8_t *header, *payload;
	uint32_t header_size, payload_size;
};

static bool wait_for_room(struct fuzz_side *s, struct fuzz_channel *c, uint32_t size)
{
	struct fuzz_patience patience;

	if (size + 8 > c->out.size)
		return false;
	patience_begin(&patience, s->shared);
	while (ring_free(&c->out) < size) {
		if (c->tired || patience_ends(&patience)) {
			s->shared->waits++;
			return false;
		}
		s->pump(s->peer);
		channel_pump(s, c);
		if (!c->open)
			return false;
		bell_wait(&s->bell, 1);
	}
	return true;
}

static void put_packet(struct fuzz_side *s, struct fuzz_channel *c, uint8_t *bytes, uint32_t size)
{
	wire_put32(bytes + size + 4, c->out.mine);
	ring_write(&c->out, bytes, size + 8);
	s->shared->packets++;
	if (ring_publish(&c->out))
		s->signal(s->peer, c);
}

static uint32_t make_packet(uint8_t *to, const struct packet *p)
{
	uint32_t body = 16 + p->header_size + ((p->payload_size + 7) & ~7u);

	memset(to, 0, body + 8);
	wire_put16(to, p->type);
	wire_put16(to + 2, (16 + p->header_size) / 8);
	wire_put16(to + 4, body / 8);
	wire_put16(to + 6, p->flags);
	wire_put64(to + 8, p->id);
	if (p->header_size)
		memcpy(to + 16, p->header, p->header_size);
	if (p->payload_size)
		memcpy(to + 16 + p->header_size, p->payload, p->payload_size);
	return body;
}

static bool send_packet(struct fuzz_side *s, struct fuzz_channel *c, const struct packet *p)
{
	static uint8_t bytes[FUZZ_PACKET + 1024];
	uint32_t size = 16 + p->header_size + ((p->payload_size + 7) & ~7u);

	/* The room first: while it is waited for, other packets may go out from the same bytes. */
	if (size > FUZZ_PACKET || !wait_for_room(s, c, size + 8))
		return false;
	make_packet(bytes, p);
	put_packet(s, c, bytes, size);
	return true;
}

/* The bytes that a step carries, as they go out: repeated, with an id in them, framed. */
static uint32_t payload_of(const struct fuzz_side *s, const struct fuzz_channel *c,
			   const struct fuzz_step *step, uint32_t size, uint8_t *to)
{
	uint32_t frame = c->pipe && !(step->flags & FUZZ_FORGE) ? PIPE_HEADER : 0;
	uint32_t length = step->flags & FUZZ_LONG ? step->a & 0x3fff : size;

	for (uint32_t i = 0; i < length; i++)
		to[frame + i] = size ? step->data[i % size] : 0;
	if (step->flags & FUZZ_PUT && length >= 4)
		wire_put32(to + frame + step->b % (length - 3), s->gpadl);
	if (frame) {
		wire_put32(to, 1);
		wire_put32(to + 4, length);
	}
	return frame + length;
}

static void send_in_band(struct fuzz_side *s, struct fuzz_channel *c, const struct fuzz_step *step)
{
	uint8_t payload[PIPE_HEADER + 0x4000];
	uint32_t times = 1 + (step->count ? (step->count - 1u) % MOST_AT_ONCE : 0);
	struct packet p = {.type = IN_BAND, .payload = payload};

	p.payload_size = payload_of(s, c, step, step->size, payload);
	for (uint32_t i = 0; i < times && c->open; i++) {
		bool ask = step->flags & FUZZ_ASK;

		p.flags = ask ? WANTS_COMPLETION : 0;
		p.id = c->next_id++;
		if (!send_packet(s, c, &p))
			return;
		c->asked += ask;
	}
}

/* ---- external data ---- */

static void touch(struct fuzz_side *s, const uint8_t *data, uint32_t size, uint32_t at)
{
	uint8_t *to = s->memory + s->data_gpa;

	for (uint32_t i = at; size && i < FUZZ_DATA_PAGES * FUZZ_PAGE; i++)
		__atomic_store_n(to + i, data[(i - at) % size], __ATOMIC_RELAXED);
}

/*
 * a: bytes of a range, b: where they begin, and in its upper bits what is wrong with them. One bit
 * each, so that most inputs have few.
 */
enum range_fault {
	RANGE_BEYOND = 1u << 16,   /* a page that there is not */
	RANGE_EMPTY = 1u << 17,    /* of no bytes */
	RANGE_COUNT = 1u << 18,    /* more ranges than there are */
	RANGE_OFFSET = 1u << 19,   /* begins beyond its first page */
	RANGE_BACKWARD = 1u << 20, /* the pages in reverse order */
};

static uint32_t make_range(const struct fuzz_side *s, const struct fuzz_step *step, uint8_t *to)
{
	uint32_t most = FUZZ_DATA_PAGES * FUZZ_PAGE, offset = step->b % FUZZ_PAGE;
	uint32_t bytes = step->flags & FUZZ_LONG ? step->a % most : step->type % most;
	uint32_t pages;

	if (bytes + offset > most)
		bytes = most - offset;
	pages = (offset + bytes + FUZZ_PAGE - 1) / FUZZ_PAGE;
	wire_put32(to, step->b & RANGE_EMPTY ? 0 : bytes);
	wire_put32(to + 4, step->b & RANGE_OFFSET ? step->b : offset);
	for (uint32_t i = 0; i < pages; i++) {
		uint64_t page =
			s->data_gpa / FUZZ_PAGE + (step->b & RANGE_BACKWARD ? pages - 1 - i : i);

		if (step->b & RANGE_BEYOND && i == pages - 1)
			page += s->memory_size / FUZZ_PAGE;
		wire_put64(to + 8 + 8 * i, page);
	}
	return 8 + 8 * pages;
}

static void send_external(struct fuzz_side *s, struct fuzz_channel *c, const struct fuzz_step *step)
{
	uint8_t header[8 + 4 * (8 + 8 * (FUZZ_DATA_PAGES + 1))] = {0};
	uint8_t payload[PIPE_HEADER + 0x4000];
	uint32_t outside = step->type < step->size ? step->type : step->size;
	uint32_t ranges = 1 + step->count % 4, size = 8;
	struct fuzz_step in_band;
	struct packet p = {.type = GPA_DIRECT, .header = header, .payload = payload};

	touch(s, step->data + step->size - outside, outside, 0);
	wire_put32(header + 4, step->b & RANGE_COUNT ? step->b >> 20 : ranges);
	for (uint32_t i = 0; i < ranges; i++)
		size += make_range(s, step, header + size);
	fuzz_step_copy(&in_band, step);
	in_band.flags &= (uint8_t)~FUZZ_LONG; /* which is about the ranges here */
	p.header_size = size;
	p.payload_size = payload_of(s, c, &in_band, step->size - outside, payload);
	p.flags = step->flags & FUZZ_ASK ? WANTS_COMPLETION : 0;
	p.id = c->next_id++;
	if (send_packet(s, c, &p))
		c->asked += step->flags & FUZZ_ASK;
}

/* ---- packets that say what they like ---- */

static void send_raw(struct fuzz_side *s, struct fuzz_channel *c, const struct fuzz_step *step)
{
	static uint8_t bytes[FUZZ_DATA + 64];
	struct packet p = {.type = step->type,
			   .flags = step->count,
			   .id = c->next_id++,
			   .payload = step->data,
			   .payload_size = step->size};
	uint32_t size = 16 + ((step->size + 7u) & ~7u);

	if (!wait_for_room(s, c, size + 8))
		return;
	make_packet(bytes, &p);
	if (step->a)
		wire_put16(bytes + 2, step->a);
	if (step->b)
		wire_put16(bytes + 4, step->b);
	put_packet(s, c, bytes, size);
}

/* ---- the driver's own requests ---- */

static void answer(struct fuzz_side *s, struct fuzz_channel *c, uint64_t id, const uint8_t *data,
		   uint32_t size)
{
	struct packet p = {.type = COMPLETION, .id = id, .payload = data, .payload_size = size};

	send_packet(s, c, &p);
}

static enum fuzz_manners manners_now(const struct fuzz_channel *c)
{
	return c->willing ? c->manners : FUZZ_KEEPS_QUIET;
}

/* Who is to be answered has asked first, soon after the channel was opened or the last answer. */
static void wait_for_request(struct fuzz_side *s, struct fuzz_channel *c)
{
	struct fuzz_patience patience;

	patience_begin(&patience, s->shared);
	while (c->open && !c->requests && !c->mute && manners_now(c) == FUZZ_KEEPS_QUIET) {
		s->pump(s->peer);
		channel_pump(s, c);
		if (c->requests)
			break;
		c->mute = patience_ends(&patience);
		s->shared->waits += c->mute;
		bell_wait(&s->bell, 1);
	}
}

static void answer_one(struct fuzz_side *s, struct fuzz_channel *c, const struct fuzz_step *step)
{
	uint8_t payload[PIPE_HEADER + 0x4000];
	uint32_t size = payload_of(s, c, step, step->size, payload), n;
	uint64_t id;

	if (step->flags & FUZZ_FORGE) {
		answer(s, c, step->b, payload, size);
		return;
	}
	wait_for_request(s, c);
	if (!c->requests)
		return;
	n = step->a % c->requests;
	id = c->request[n];
	if (!(step->b & 1)) { /* else it may be answered again */
		c->requests--;
		memmove(&c->request[n], &c->request[n + 1],
			(c->requests - n) * sizeof(c->request[0]));
	}
	answer(s, c, id, payload, size);
}

static void take_request(struct fuzz_side *s, struct fuzz_channel *c, uint8_t *packet,
			 uint32_t size)
{
	uint32_t offset = wire_get16(packet + 2) * 8u;
	uint64_t id = wire_get64(packet + 8);
	enum fuzz_manners manners = manners_now(c);

	if (offset < 16 || offset > size)
		return;
	c->willing -= c->willing && c->willing != UINT32_MAX;
	switch (manners) {
	case FUZZ_ANSWERS:
		answer(s, c, id, packet + offset, size - offset);
		return;
	case FUZZ_ANSWERS_SO:
		answer(s, c, id, c->manner.data, c->manner.size);
		return;
	case FUZZ_KEEPS_QUIET:
	case FUZZ_MANNERS_COUNT:
		break;
	}
	if (c->requests == FUZZ_OUTSTANDING)
		return;
	c->request[c->requests++] = id;
	c->mute = false;
}

/* What a driver answers tells how far it came, also where it was built without counters. */
static void note_answer(struct fuzz_side *s, const uint8_t *packet, uint32_t size)
{
	uint32_t at = FUZZ_EDGES + (wire_get16(packet) % 16) * 64 + size / 8 % 64;

	if (s->shared->map[at] < UINT8_MAX)
		s->shared->map[at]++;
	s->shared->answers++;
}

void channel_pump(struct fuzz_side *s, struct fuzz_channel *c)
{
	static uint8_t kept[FUZZ_PACKET];
	static bool pumping; /* a request is being answered, and that waits for room */
	uint32_t size, looks = 0;
	bool want;

	if (pumping)
		return;
	pumping = true;
	while (c->open && looks++ < 4096 &&
	       (size = ring_read(&c->in, kept, sizeof(kept), &want)) != 0) {
		if (want)
			s->signal(s->peer, c);
		if (size > sizeof(kept))
			continue;
		note_answer(s, kept, size);
		if (wire_get16(kept) == COMPLETION)
			c->asked -= c->asked > 0;
		else if (wire_get16(kept + 6) & WANTS_COMPLETION)
			take_request(s, c, kept, size);
	}
	pumping = false;
}

/* ---- steps ---- */

void channel_begin(struct fuzz_channel *c)
{
	c->out.mine = c->in.mine = 0;
	c->next_id = 1;
	c->asked = c->requests = 0;
	c->tired = c->ended = c->mute = false;
	c->manners = FUZZ_ANSWERS;
	c->willing = UINT32_MAX;
}

static bool settled(const struct fuzz_channel *c)
{
	return !c->open || (load(c->out.control + AT_OUT) == c->out.mine && !c->asked);
}

void channel_settle(struct fuzz_side *s, struct fuzz_channel *c)
{
	struct fuzz_patience patience;

	for (int look = 0; !settled(c); look++) {
		s->pump(s->peer);
		channel_pump(s, c);
		if (look < LOOKS) {
			relax();
			continue;
		}
		if (look == LOOKS)
			patience_begin(&patience, s->shared);
		c->tired = c->tired || patience_ends(&patience);
		if (c->tired) {
			s->shared->waits++;
			break;
		}
		bell_wait(&s->bell, 1);
	}
	c->asked = 0; /* what did not come in time is not waited for again */
}

static void take_manners(struct fuzz_channel *c, const struct fuzz_step *step)
{
	c->manners = (enum fuzz_manners)(step->a % FUZZ_MANNERS_COUNT);
	c->willing = step->count > 1 ? step->count - 1u : UINT32_MAX;
	fuzz_step_copy(&c->manner, step);
}

static void pause_a_while(const struct fuzz_step *step)
{
	struct timespec t = {.tv_nsec = (step->a & 7) * 100000L};

	nanosleep(&t, NULL);
}

void channel_step(struct fuzz_side *s, struct fuzz_channel *c, const struct fuzz_step *step)
{
	if (step->op == FUZZ_MANNERS)
		take_manners(c, step);
	if (step->op == FUZZ_TOUCH && s->data_gpa)
		touch(s, step->data, step->size, step->a % (FUZZ_DATA_PAGES * FUZZ_PAGE));
	if (step->op == FUZZ_PAUSE)
		pause_a_while(step);
	if (!c->open)
		return;
	switch ((enum fuzz_op)step->op) {
	case FUZZ_SEND:
		send_in_band(s, c, step);
		break;
	case FUZZ_EXTERNAL:
		if (s->data_gpa)
			send_external(s, c, step);
		break;
	case FUZZ_RAW:
		send_raw(s, c, step);
		break;
	case FUZZ_ANSWER:
		answer_one(s, c, step);
		break;
	default:
		break;
	}
	channel_pump(s, c);
	s->shared->tried[step->op]++;
	if (!(step->flags & FUZZ_HURRY))
		channel_settle(s, c);
	c->ended = c->open && c->tired && load(c->out.control + AT_OUT) != c->out.mine;
	s->shared->ended[step->op] += c->ended;
}
