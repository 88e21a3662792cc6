/* SPDX-License-Identifier: MIT */
#include "mutator.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "partition/internal.h"

#include "support.h"
#include "wire.h"

/* ---- the arena: wrapped around the partition's own page allocator by the linker ---- */

#define ARENA_PAGES 2048u
#define MAX_RANGES  128u

enum kind {
	KIND_RING,
	KIND_SYNIC,
	KIND_DATA,
	KINDS
};

struct range {
	uint32_t first, pages; /* of the arena; pages 0: free */
	uint32_t downstream;   /* of rings: page of the second control page */
	enum kind kind;
};

static struct {
	pthread_mutex_t lock;
	struct part_endpoint *ep;
	uint64_t gpa; /* 0: none yet */
	uint8_t *base;
	uint32_t next, grants;
	uint8_t used[ARENA_PAGES];
	struct range range[MAX_RANGES];
} arena = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local uint32_t downstream_next;
static _Thread_local bool data_next;

int __real_part_pages_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa);
void __real_part_pages_free(struct part_endpoint *ep, uint64_t gpa, uint32_t pages);
int __real_part_client_open(struct part_client_channel *ch, struct part_port *port,
			    uint32_t out_pages, uint32_t in_pages, uint32_t target_vp,
			    uint32_t *status);
int __wrap_part_pages_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa);
void __wrap_part_pages_free(struct part_endpoint *ep, uint64_t gpa, uint32_t pages);
int __wrap_part_client_open(struct part_client_channel *ch, struct part_port *port,
			    uint32_t out_pages, uint32_t in_pages, uint32_t target_vp,
			    uint32_t *status);

void arena_open(void)
{
	pthread_mutex_lock(&arena.lock);
	arena.ep = NULL;
	arena.gpa = 0;
	arena.next = arena.grants = 0;
	memset(arena.used, 0, sizeof(arena.used));
	memset(arena.range, 0, sizeof(arena.range));
	pthread_mutex_unlock(&arena.lock);
}

void arena_close(void)
{
	arena_open();
}

static bool make_arena(struct part_endpoint *ep)
{
	if (arena.gpa)
		return arena.ep == ep;
	if (__real_part_pages_alloc(ep, ARENA_PAGES, &arena.gpa))
		return false;
	arena.ep = ep;
	arena.base = part_memory_at(ep, arena.gpa, ARENA_PAGES * (uint64_t)PAGE);
	return true;
}

static bool fits(uint32_t first, uint32_t pages)
{
	if (first + pages > ARENA_PAGES)
		return false;
	for (uint32_t i = 0; i < pages; i++)
		if (arena.used[first + i])
			return false;
	return true;
}

/* Next fit: pages that were given back rest a while, so that a late stroke or a late reader of the
 * other end's is seen. */
static bool find_pages(uint32_t pages, uint32_t *first)
{
	for (uint32_t n = 0; n < ARENA_PAGES; n++) {
		*first = (arena.next + n) % ARENA_PAGES;
		if (fits(*first, pages))
			return true;
	}
	return false;
}

static struct range *free_range(void)
{
	for (uint32_t i = 0; i < MAX_RANGES; i++)
		if (!arena.range[i].pages)
			return &arena.range[i];
	return NULL;
}

static int grant(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa)
{
	struct range *r = free_range();
	uint32_t first;

	if (!r || !make_arena(ep) || !find_pages(pages, &first))
		return -ENOMEM;
	memset(arena.used + first, 1, pages);
	arena.next = (first + pages) % ARENA_PAGES;
	*r = (struct range){.first = first, .pages = pages, .downstream = downstream_next};
	/* the client's end asks first of all for its SynIC, then for its monitors */
	r->kind = data_next ? KIND_DATA : arena.grants < 2 ? KIND_SYNIC : KIND_RING;
	arena.grants++;
	for (uint32_t i = 0; i < pages * PAGE / 8; i++)
		__atomic_store_n((uint64_t *)(void *)(arena.base + first * PAGE) + i, 0,
				 __ATOMIC_RELAXED);
	*gpa = arena.gpa + first * (uint64_t)PAGE;
	return 0;
}

int __wrap_part_pages_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa)
{
	int error;

	pthread_mutex_lock(&arena.lock);
	error = grant(ep, pages, gpa);
	pthread_mutex_unlock(&arena.lock);
	return error;
}

void __wrap_part_pages_free(struct part_endpoint *ep, uint64_t gpa, uint32_t pages)
{
	uint32_t first = (uint32_t)((gpa - arena.gpa) / PAGE);
	bool found = false;

	pthread_mutex_lock(&arena.lock);
	for (uint32_t i = 0; i < MAX_RANGES && !found; i++) {
		struct range *r = &arena.range[i];

		found = r->pages == pages && r->first == first;
		if (found)
			r->pages = 0;
	}
	if (found)
		memset(arena.used + first, 0, pages);
	pthread_mutex_unlock(&arena.lock);
	if (!found)
		abort(); /* freed twice, or what was never handed out */
}

int __wrap_part_client_open(struct part_client_channel *ch, struct part_port *port,
			    uint32_t out_pages, uint32_t in_pages, uint32_t target_vp,
			    uint32_t *status)
{
	int error;

	downstream_next = out_pages;
	error = __real_part_client_open(ch, port, out_pages, in_pages, target_vp, status);
	downstream_next = 0;
	return error;
}

bool arena_data(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa)
{
	int error;

	data_next = true;
	error = __wrap_part_pages_alloc(ep, pages, gpa);
	data_next = false;
	return !error;
}

/* ---- scribbling ---- */

#define SAVED 16u

struct mutator {
	struct mutation what;
	pthread_t thread;
	atomic_bool stop;
	uint64_t random, strokes;
	struct {               /* pages as they were */
		uint32_t page; /* of the arena */
		uint64_t word[PAGE / 8];
	} saved[SAVED];
	uint32_t saved_count;
};

static uint32_t any(struct mutator *m, uint32_t below)
{
	return (uint32_t)((next_random(&m->random) >> 16) % below);
}

static bool one_in(struct mutator *m, uint32_t n)
{
	return !any(m, n);
}

static enum kind choose_kind(struct mutator *m)
{
	static const uint32_t masks[KINDS] = {[KIND_RING] = ON_RINGS | ON_CONTROL,
					      [KIND_SYNIC] = ON_SYNIC,
					      [KIND_DATA] = ON_DATA};
	uint32_t kind;

	do
		kind = any(m, KINDS);
	while (!(m->what.where & masks[kind]));
	return kind;
}

/* A page that is shared now; the arena's number of it, and whether it is a ring's control page. */
static bool choose_page(struct mutator *m, uint32_t *page, bool *control, struct range *in)
{
	enum kind kind = choose_kind(m);
	uint32_t at = any(m, MAX_RANGES);
	bool found = false;

	pthread_mutex_lock(&arena.lock);
	for (uint32_t n = 0; n < MAX_RANGES && !found; n++) {
		struct range *r = &arena.range[(at + n) % MAX_RANGES];

		found = r->pages && r->kind == kind;
		if (found)
			*in = *r;
	}
	pthread_mutex_unlock(&arena.lock);
	if (!found)
		return false;
	*page = in->first + any(m, in->pages);
	*control = false;
	if (kind == KIND_RING && (!(m->what.where & ON_RINGS) || one_in(m, 3))) {
		*page = in->first + (one_in(m, 2) ? 0 : in->downstream);
		*control = true;
	}
	return true;
}

static uint32_t *word_at(uint32_t page, uint32_t offset)
{
	return (uint32_t *)(void *)(arena.base + page * PAGE + offset);
}

static uint32_t get(uint32_t page, uint32_t offset)
{
	return __atomic_load_n(word_at(page, offset), __ATOMIC_RELAXED);
}

static void put(struct mutator *m, uint32_t page, uint32_t offset, uint32_t value)
{
	__atomic_store_n(word_at(page, offset), value, __ATOMIC_RELAXED);
	m->strokes++;
}

/* Where it hurts: a control page's first words, a slot of SINT 2, flags of channels that exist. */
static uint32_t choose_offset(struct mutator *m, bool control, const struct range *in,
			      uint32_t page)
{
	if (control && !one_in(m, 8))
		return one_in(m, 6) ? AT_FEATURES : 4 * any(m, 4);
	if (in->kind == KIND_SYNIC && !one_in(m, 4))
		return (one_in(m, 2) ? 0x200 : 0x210) + 4 * any(m, 16);
	return 4 * any(m, PAGE / 4);
}

static void turn_a_bit(struct mutator *m)
{
	struct range in;
	uint32_t page;
	bool control;

	if (!choose_page(m, &page, &control, &in))
		return;
	__atomic_fetch_xor(word_at(page, choose_offset(m, control, &in, page)), 1u << any(m, 32),
			   __ATOMIC_RELAXED);
	m->strokes++;
}

/* No 5: to the echo server it says "fill these pages", and those of a damaged list are anybody's.
 */
static void store_a_word(struct mutator *m)
{
	static const uint32_t words[] = {
		0,          1,          2,          4,          7,          8,          16,
		0x10,       0x18,       0x20,       0xff,       0x100,      0xfff,      0x1000,
		0x1008,     0x2000,     0x3ff8,     0x4000,     0x7fff,     0x8000,     0xffff,
		0x10000,    0x00020006, 0x00020009, 0x00030009, 0x0002000b, 0x00020007, 0x7fffffff,
		0x80000000, 0xfffffff8, 0xfffffffe, 0xffffffff, 0x80000010, 0x00010003, 0xffff0002,
	};
	uint32_t page, value = words[any(m, sizeof(words) / sizeof(words[0]))];
	struct range in;
	bool control;

	if (!choose_page(m, &page, &control, &in))
		return;
	if (control && one_in(m, 2))
		value = (in.downstream - 1) * PAGE - 8 * any(m, 4);
	put(m, page, choose_offset(m, control, &in, page), value);
}

static void save_a_page(struct mutator *m)
{
	uint32_t slot = m->saved_count < SAVED ? m->saved_count++ : any(m, SAVED);
	uint64_t *from;
	struct range in;
	bool control;

	if (!choose_page(m, &m->saved[slot].page, &control, &in)) {
		m->saved_count = 0;
		return;
	}
	from = (uint64_t *)(void *)(arena.base + m->saved[slot].page * PAGE);
	for (uint32_t i = 0; i < PAGE / 8; i++)
		m->saved[slot].word[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
}

/* Whole, in pieces, or somewhere else. */
static void replay(struct mutator *m)
{
	uint32_t slot, page, start = 0, count = PAGE / 8;
	uint64_t *to;
	struct range in;
	bool control;

	if (m->saved_count < SAVED || one_in(m, 4)) {
		save_a_page(m);
		return;
	}
	slot = any(m, m->saved_count);
	page = m->saved[slot].page;
	if (one_in(m, 4) && !choose_page(m, &page, &control, &in))
		return;
	if (!one_in(m, 3)) {
		start = any(m, PAGE / 8);
		count = 1 + any(m, PAGE / 8 - start);
	}
	to = (uint64_t *)(void *)(arena.base + page * PAGE);
	for (uint32_t i = start; i < start + count; i++)
		__atomic_store_n(to + i, m->saved[slot].word[i], __ATOMIC_RELAXED);
	m->strokes++;
}

static void play_with_indices(struct mutator *m)
{
	uint32_t page, field = one_in(m, 2) ? AT_IN : AT_OUT, other, value;
	struct range in;
	bool control;

	if (!choose_page(m, &page, &control, &in) || in.kind != KIND_RING || !in.downstream)
		return;
	page = in.first + (one_in(m, 2) ? 0 : in.downstream);
	other = page == in.first ? in.first + in.downstream : in.first;
	value = get(page, field);
	switch (any(m, 6)) {
	case 0:
		value += 8;
		break;
	case 1:
		value -= 8;
		break;
	case 2:
		value = get(page, field ^ 4); /* as if empty */
		break;
	case 3:
		value = get(other, field);
		break;
	case 4:
		value = 8 * any(m, (in.downstream - 1) * PAGE / 8);
		break;
	case 5:
		put(m, page, AT_MASK, any(m, 3));
		put(m, page, AT_PENDING, 8 * any(m, in.downstream * PAGE / 8));
		return;
	}
	put(m, page, field, value);
}

static void forge_packet(struct mutator *m, const struct range *in)
{
	static const uint16_t types[] = {6, 7, 9, 0xb, 0xb, 0xb, 0, 8};
	uint32_t control = in->first + (one_in(m, 2) ? 0 : in->downstream);
	uint32_t pages = control == in->first ? in->downstream : in->pages - in->downstream;
	uint32_t size, at;
	uint8_t packet[96], header[24] = {0};

	if (pages < 2)
		return;
	size = (pages - 1) * PAGE;
	at = get(control, AT_IN) % size & ~7u;
	if (one_in(m, 3))
		at = 8 * any(m, size / 8);
	put32(header + 4, any(m, 3));
	put32(header + 8, any(m, 2) * any(m, 0x10000));
	put64(header + 16, next_random(&m->random) >> any(m, 64));
	make_packet(packet, types[any(m, 8)], (uint16_t)any(m, 3), any(m, 300) * 0x100000001ull,
		    header, one_in(m, 2) ? 24 : 0, header, 16, at);
	for (uint32_t i = 0; i < 64; i += 4, at = (at + 4) % size)
		put(m, control + 1 + at / PAGE, at % PAGE, get32(packet + i));
	if (one_in(m, 2))
		put(m, control, AT_IN, at);
}

static void forge_message(struct mutator *m, const struct range *in)
{
	uint32_t simp = in->first + 2 * any(m, in->pages / 2), relid = any(m, 6);
	uint32_t gpadl = 0xe1e10 + any(m, 64);
	struct message msg;

	switch (any(m, 8)) {
	case 0:
		msg = make_of_channel(RESCIND_OFFER, relid);
		break;
	case 1:
		msg = make_open_result(relid, any(m, 40), any(m, 2) * REFUSED);
		break;
	case 2:
		msg = make_gpadl_created(relid, gpadl, any(m, 2) * REFUSED);
		break;
	case 3:
		msg = make_torndown(gpadl);
		break;
	case 4:
		msg = make_echo_offer(any(m, 2100), any(m, 6));
		break;
	case 5:
		msg = make_header_only(UNLOAD_COMPLETE);
		break;
	case 6:
		msg = make_version_response(0x00060000, one_in(m, 2), any(m, 5));
		break;
	default:
		msg = make_of_channel(any(m, 32), relid);
		break;
	}
	for (uint32_t i = 0; i < MESSAGE_MAX; i += 4)
		put(m, simp, 0x210 + i, get32(msg.b + i));
	put(m, simp, 0x204, one_in(m, 10) ? any(m, 256) : msg.size);
	put(m, simp, 0x200, 1);
}

static void forge(struct mutator *m)
{
	struct range in;
	uint32_t page;
	bool control;

	if (!choose_page(m, &page, &control, &in))
		return;
	if (in.kind == KIND_RING && in.downstream)
		forge_packet(m, &in);
	else if (in.kind == KIND_SYNIC)
		forge_message(m, &in);
}

static void stroke(struct mutator *m)
{
	static void (*const how[])(struct mutator *) = {turn_a_bit, store_a_word, replay,
							play_with_indices, forge};
	uint32_t which;

	do
		which = any(m, 5);
	while (!(m->what.how >> which & 1));
	how[which](m);
}

static void *mutator_run(void *arg)
{
	struct mutator *m = arg;

	while (!atomic_load(&m->stop)) {
		for (uint32_t i = 0; i < m->what.burst && !atomic_load(&m->stop); i++)
			stroke(m);
		if (m->what.pause_us)
			nap_us(m->what.pause_us);
		else
			sched_yield();
	}
	return NULL;
}

struct mutator *mutator_start(const struct mutation *mutation)
{
	struct mutator *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->what = *mutation;
	m->random = mutation->seed | 1;
	if (pthread_create(&m->thread, NULL, mutator_run, m))
		abort();
	return m;
}

uint64_t mutator_stop(struct mutator *m)
{
	uint64_t strokes;

	atomic_store(&m->stop, true);
	pthread_join(m->thread, NULL);
	strokes = m->strokes;
	free(m);
	return strokes;
}
