/* SPDX-License-Identifier: MIT */
/*
 * A host for a client driver, by hand: it takes the guest's hypercalls, fills message slots, sets
 * event flags. The connection stays; one run is one offer: the driver opens it, the steps, the
 * offer is rescinded and the driver lets go of it. For that there is no time limit here: the parent
 * sees a hang.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <kmcl/vmm.h>

#include "fuzz_wire.h"

#define MEMORY       (32ull << 20)
#define SINT         2u
#define GPADLS       64u
#define GPADL_PAGES  1024u
#define POSTS        64u
#define FIRST_RELID  1u
#define LAST_RELID   1000u
#define CONNECTION   0x2000u
#define FIRST_OPEN_S 10u /* in which a driver opens its channel the first time */

struct host_gpadl {
	uint32_t id, relid, words, have; /* id 0: none */
	uint64_t word[GPADL_PAGES + 1];
};

struct host {
	struct fuzz_peer peer;
	struct fuzz_channel c;
	uint32_t relid;
	/* Of processor 0. Nobody is interrupted without them, so the lock is held over both. */
	uint64_t simp, siefp;
	pthread_mutex_t pages;
	bool offered, released, refuse, all_offers, ever_opened;
	struct fuzz_setup setup;
	struct host_gpadl gpadl[GPADLS];

	pthread_mutex_t lock; /* what the guest posts */
	struct {
		uint32_t size;
		uint8_t bytes[FUZZ_MESSAGE];
	} post[POSTS];
	uint32_t first, posts;
};

/* ---- what the guest asks of the machine ---- */

static int set_synic(void *ctx, uint32_t vp, uint64_t message_page, uint64_t event_flag_page)
{
	struct host *h = ctx;

	if (!vp) {
		pthread_mutex_lock(&h->pages);
		h->simp = message_page;
		h->siefp = event_flag_page;
		pthread_mutex_unlock(&h->pages);
	}
	return 0;
}

static int set_mask(void *ctx, uint32_t vp, uint32_t sint, int masked)
{
	return 0;
}

static uint16_t post_message(void *ctx, uint32_t connection_id, uint32_t type, const void *payload,
			     size_t size)
{
	struct host *h = ctx;
	uint16_t status = KMCL_HV_INSUFFICIENT_BUFFERS;

	if (size > FUZZ_MESSAGE)
		return KMCL_HV_INVALID_PARAMETER;
	pthread_mutex_lock(&h->lock);
	if (h->posts < POSTS) {
		uint32_t n = (h->first + h->posts++) % POSTS;

		memset(h->post[n].bytes, 0, FUZZ_MESSAGE);
		memcpy(h->post[n].bytes, payload, size);
		h->post[n].size = (uint32_t)size;
		status = KMCL_HV_SUCCESS;
	}
	pthread_mutex_unlock(&h->lock);
	bell_ring(&h->peer.side.bell);
	return status;
}

static uint16_t signal_event(void *ctx, uint32_t connection_id, uint16_t flag)
{
	struct host *h = ctx;

	bell_ring(&h->peer.side.bell);
	return KMCL_HV_SUCCESS;
}

static void end_of_message(void *ctx, uint32_t vp)
{
	struct host *h = ctx;

	bell_ring(&h->peer.side.bell);
}

static void forget(void *ctx)
{
}

/* ---- messages ---- */

/* False: the slot is full. Where there is none nobody listens any more. */
static bool deliver(struct host *h, const uint8_t *bytes, uint32_t size)
{
	uint8_t *slot = h->peer.side.memory + h->simp + SINT * 256u;

	if (!h->simp)
		return true;
	if (__atomic_load_n((uint32_t *)(void *)slot, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(slot + 5, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n((uint32_t *)(void *)slot, __ATOMIC_SEQ_CST))
			return false;
	}
	memset(slot + 4, 0, 12);
	slot[4] = (uint8_t)size;
	memcpy(slot + 16, bytes, size);
	__atomic_store_n((uint32_t *)(void *)slot, 1, __ATOMIC_SEQ_CST);
	kmcl_guest_interrupt(h->peer.partition, 0);
	return true;
}

/* The slot is free within a moment: the guest's own thread takes what is in it. */
static void say(struct host *h, const uint8_t *bytes, uint32_t size)
{
	bool said;

	do {
		pthread_mutex_lock(&h->pages);
		said = deliver(h, bytes, size);
		pthread_mutex_unlock(&h->pages);
		if (!said)
			bell_wait(&h->peer.side.bell, 1);
	} while (!said);
}

static void say_words(struct host *h, uint32_t type, uint32_t size, const uint32_t *words)
{
	uint8_t m[40] = {0};

	wire_put32(m, type);
	for (uint32_t i = 0; 8 + 4 * i < size; i++)
		wire_put32(m + 8 + 4 * i, words[i]);
	say(h, m, size);
}

static void signal_guest(void *peer, struct fuzz_channel *c)
{
	struct host *h = peer;

	pthread_mutex_lock(&h->pages);
	if (h->siefp) {
		uint8_t *flags = h->peer.side.memory + h->siefp + SINT * 256u;

		__atomic_fetch_or(flags + h->relid / 8, 1u << h->relid % 8, __ATOMIC_SEQ_CST);
		kmcl_guest_interrupt(h->peer.partition, 0);
	}
	pthread_mutex_unlock(&h->pages);
}

static void offer(struct host *h)
{
	uint8_t m[196] = {0};

	h->relid = h->relid >= LAST_RELID ? FIRST_RELID : h->relid + 1;
	h->c.pipe = h->setup.pipe;
	h->offered = true;
	h->released = false;
	wire_put32(m, MSG_OFFER_CHANNEL);
	memcpy(m + 8, h->setup.interface_id, 16);
	memcpy(m + 24, h->setup.instance_id, 16);
	wire_put16(m + 56, h->setup.pipe ? 0x10 : 0);
	m[60] = h->setup.pipe ? 4 : 0; /* of messages */
	wire_put32(m + 184, h->relid);
	m[188] = 0xff;
	wire_put16(m + 190, 1);
	wire_put32(m + 192, CONNECTION + h->relid);
	say(h, m, sizeof(m));
}

/* ---- memory ---- */

static struct host_gpadl *find_gpadl(struct host *h, uint32_t id)
{
	for (uint32_t i = 0; i < GPADLS; i++)
		if (h->gpadl[i].id == id)
			return &h->gpadl[i];
	return NULL;
}

static void take_gpadl(struct host *h, const uint8_t *m, uint32_t size)
{
	bool header = wire_get32(m) == MSG_GPADL_HEADER;
	struct host_gpadl *g = find_gpadl(h, header ? 0 : wire_get32(m + 12));
	uint32_t relid = wire_get32(m + 8), id = wire_get32(m + 12);

	if (header &&
	    (!g || wire_get16(m + 18) != 1 || wire_get16(m + 16) / 8u > GPADL_PAGES + 1)) {
		say_words(h, MSG_GPADL_CREATED, 20, (uint32_t[]){relid, id, 0xc000009au});
		return;
	}
	if (!g)
		return;
	if (header)
		*g = (struct host_gpadl){
			.id = id, .relid = relid, .words = wire_get16(m + 16) / 8u};
	for (uint32_t at = header ? 20 : 16; at + 8 <= size && g->have < g->words; at += 8)
		g->word[g->have++] = wire_get64(m + at);
	if (g->have == g->words)
		say_words(h, MSG_GPADL_CREATED, 20, (uint32_t[]){g->relid, g->id, 0});
}

static void take_teardown(struct host *h, const uint8_t *m)
{
	struct host_gpadl *g = find_gpadl(h, wire_get32(m + 12));

	if (g)
		g->id = 0;
	say_words(h, MSG_GPADL_TORNDOWN, 12, (uint32_t[]){wire_get32(m + 12)});
}

/* ---- opening ---- */

static bool map_ring(struct host *h, struct fuzz_ring *r, const struct host_gpadl *g, uint32_t from,
		     uint32_t pages)
{
	if (pages < 2 || pages > FUZZ_RING_PAGES)
		return false;
	for (uint32_t i = 0; i < pages; i++) {
		uint64_t page = g->word[1 + from + i];
		uint8_t *at = h->peer.side.memory + page * FUZZ_PAGE;

		if (page >= MEMORY / FUZZ_PAGE)
			return false;
		if (i)
			r->page[i - 1] = at;
		else
			r->control = at;
	}
	r->size = (pages - 1) * FUZZ_PAGE;
	return true;
}

static bool map_rings(struct host *h, const uint8_t *m)
{
	const struct host_gpadl *g = find_gpadl(h, wire_get32(m + 16));
	uint32_t split = wire_get32(m + 24);

	return g && g->id && g->have == g->words && split < g->words &&
	       map_ring(h, &h->c.in, g, 0, split) &&
	       map_ring(h, &h->c.out, g, split, g->words - 1 - split);
}

static void take_open(struct host *h, const uint8_t *m)
{
	uint32_t relid = wire_get32(m + 8);
	bool yes = h->offered && relid == h->relid && !h->refuse && map_rings(h, m);

	if (!h->offered || relid != h->relid)
		return; /* crossed a rescind */
	h->refuse = false;
	if (yes) {
		channel_begin(&h->c);
		h->c.out.control[64] = 1;
		h->c.open = h->ever_opened = true;
		h->peer.side.shared->opens++;
	}
	say_words(h, MSG_OPEN_RESULT, 20,
		  (uint32_t[]){relid, wire_get32(m + 12), yes ? 0 : 0xc0000001u});
}

static void take_contact(struct host *h, const uint8_t *m)
{
	uint8_t answer[16] = {0};
	bool yes = wire_get32(m + 8) == FUZZ_VERSION;

	wire_put32(answer, MSG_VERSION_RESPONSE);
	answer[8] = yes;
	wire_put32(answer + 12, yes ? FUZZ_PORT : 0);
	say(h, answer, sizeof(answer));
}

static void take(struct host *h, const uint8_t *m, uint32_t size)
{
	switch (wire_get32(m)) {
	case MSG_INITIATE_CONTACT:
		take_contact(h, m);
		break;
	case MSG_REQUEST_OFFERS:
		say_words(h, MSG_ALL_OFFERS, 8, NULL);
		h->all_offers = true;
		break;
	case MSG_GPADL_HEADER:
	case MSG_GPADL_BODY:
		take_gpadl(h, m, size);
		break;
	case MSG_GPADL_TEARDOWN:
		take_teardown(h, m);
		break;
	case MSG_OPEN_CHANNEL:
		take_open(h, m);
		break;
	case MSG_CLOSE_CHANNEL:
		if (wire_get32(m + 8) == h->relid)
			h->c.open = false;
		break;
	case MSG_RELID_RELEASED:
		h->released = h->released || wire_get32(m + 8) == h->relid;
		break;
	case MSG_MODIFY_CHANNEL:
		say_words(h, MSG_MODIFY_RESPONSE, 16, (uint32_t[]){wire_get32(m + 8), 0});
		break;
	case MSG_UNLOAD:
		say_words(h, MSG_UNLOAD_COMPLETE, 8, NULL);
		break;
	}
}

static void pump(void *peer)
{
	struct host *h = peer;
	uint8_t m[FUZZ_MESSAGE];
	uint32_t size;

	for (;;) {
		pthread_mutex_lock(&h->lock);
		size = 0;
		if (h->posts) {
			size = h->post[h->first].size;
			memcpy(m, h->post[h->first].bytes, sizeof(m));
			h->first = (h->first + 1) % POSTS;
			h->posts--;
		}
		pthread_mutex_unlock(&h->lock);
		if (!size)
			return;
		take(h, m, size);
	}
}

static void rest(struct host *h, int look)
{
	channel_pump(&h->peer.side, &h->c);
	if (look < LOOKS)
		relax();
	else
		bell_wait(&h->peer.side.bell, 1);
}

#define WAIT_FOR(h, condition)                  \
	do {                                    \
		for (int look_ = 0;; look_++) { \
			pump(h);                \
			if (condition)          \
				break;          \
			rest(h, look_);         \
		}                               \
	} while (0)

/* ---- a run ---- */

/* The driver opens what it is offered, or does not: after what it went through it may. */
static bool opens_not(const struct host *h, int look, struct fuzz_patience *p)
{
	if (!h->ever_opened)
		return fuzz_now_ms() - p->began >= FIRST_OPEN_S * 1000u;
	return look >= LOOKS && patience_ends(p);
}

static void offer_and_wait(struct host *h)
{
	struct fuzz_patience patience;

	if (h->offered)
		return;
	offer(h);
	patience_begin(&patience, h->peer.side.shared);
	WAIT_FOR(h, h->c.open || opens_not(h, look_, &patience));
}

static void rescind(struct host *h)
{
	if (!h->offered)
		return;
	h->offered = h->c.open = false;
	say_words(h, MSG_RESCIND_OFFER, 12, (uint32_t[]){h->relid});
	WAIT_FOR(h, h->released);
	memset(h->gpadl, 0, sizeof(h->gpadl));
}

/* A client asks on its own account: what it has to say now is heard, and answered, before the next
 * step, so that an input does the same on a busy machine. */
static void hear_out(struct host *h)
{
	const struct fuzz_shared *shared = h->peer.side.shared;
	struct fuzz_patience patience;

	patience_begin(&patience, shared);
	for (int look = 0; look < LOOKS || !patience_ends(&patience); look++) {
		uint64_t before = shared->answers + shared->packets;
		bool asleep = others_sleep();

		pump(h);
		channel_pump(&h->peer.side, &h->c);
		if (asleep && before == shared->answers + shared->packets)
			break;
		relax();
	}
}

static void run_step(struct host *h, const struct fuzz_step *step)
{
	struct fuzz_patience patience;

	switch ((enum fuzz_op)step->op) {
	case FUZZ_CLOSE:
	case FUZZ_RESET:
		rescind(h);
		break;
	case FUZZ_OPEN:
		offer_and_wait(h);
		break;
	case FUZZ_REFUSE:
		rescind(h);
		h->refuse = true;
		offer(h);
		patience_begin(&patience, h->peer.side.shared);
		WAIT_FOR(h, !h->refuse || opens_not(h, look_, &patience));
		h->refuse = false;
		break;
	default:
		if (h->c.open && h->c.ended) { /* further steps would go nowhere */
			rescind(h);
			offer_and_wait(h);
		}
		channel_step(&h->peer.side, &h->c, step);
		break;
	}
}

static void run(struct fuzz_peer *p, const struct fuzz_input *in)
{
	struct host *h = (struct host *)p;

	offer_and_wait(h);
	if (!h->ever_opened)
		fuzz_die(p->side.shared, FUZZ_UNABLE,
			 "the driver has not opened the channel that it was offered within %u s",
			 FIRST_OPEN_S);
	if (!in->count)
		hear_out(h);
	for (uint32_t i = 0; i < in->count; i++) {
		p->side.shared->step = i;
		run_step(h, &in->step[i]);
		if (in->step[i].flags & FUZZ_HURRY)
			pump(h);
		else
			hear_out(h);
	}
	h->refuse = false;
	rescind(h);
}

/* ---- life ---- */

static void *serve_end(void *arg)
{
	struct host *h = arg;

	for (;;) {
		pump(h);
		bell_wait(&h->peer.side.bell, 20);
	}
	return NULL;
}

/* While the driver and its end go, somebody still answers. */
static void finish(struct fuzz_peer *p)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, serve_end, p))
		pthread_detach(thread);
}

static bool start(struct host *h)
{
	uint64_t bytes = 0;
	int fd = kmcl_guest_memory(h->peer.partition, &bytes);
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t until = fuzz_now_ms() + FIRST_OPEN_S * 1000u;

	if (memory == MAP_FAILED || bytes < MEMORY)
		return false;
	h->peer.side.memory = memory;
	h->peer.side.memory_size = bytes;
	if (kmcl_guest_connect(h->peer.partition))
		return false;
	WAIT_FOR(h, h->all_offers || fuzz_now_ms() >= until);
	return h->all_offers;
}

struct fuzz_peer *fuzz_host_create(const struct fuzz_setup *setup, struct fuzz_shared *shared,
				   kmcl_driver **driver, char **error)
{
	struct kmcl_guest_machine machine = {.size = sizeof(machine),
					     .processors = 1,
					     .synic = set_synic,
					     .mask = set_mask,
					     .post_message = post_message,
					     .signal_event = signal_event,
					     .end_of_message = end_of_message,
					     .reset = forget};
	struct kmcl_partition_options options;
	struct host *h = calloc(1, sizeof(*h));

	kmcl_partition_options_init(&options);
	options.memory = MEMORY;
	if (!h || !bell_init(&h->peer.side.bell))
		return NULL;
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->pages, NULL);
	if (kmcl_partition_create_guest(&options, &machine, h, &h->peer.partition))
		return NULL;
	h->setup = *setup;
	h->peer.run = run;
	h->peer.finish = finish;
	h->peer.side.shared = shared;
	h->peer.side.signal = signal_guest;
	h->peer.side.pump = pump;
	h->peer.side.peer = h;
	if (!start(h) ||
	    kmcl_driver_load(h->peer.partition, KMCL_CLIENT, setup->spec, driver, error))
		return NULL;
	return &h->peer;
}
