/* SPDX-License-Identifier: MIT */
/*
 * A guest for a server driver, by hand: SynIC pages, hypercalls, control messages, GPADLs. One
 * connection lasts for many runs; one run is one life of the channels: the first is opened, the
 * steps, everything is closed and taken back. What it waits for at the end has no time limit of its
 * own: a driver that lets go of nothing is a hang, which the parent sees.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <kmcl/vmm.h>

#include "fuzz_wire.h"

#define MEMORY      (16ull << 20)
#define SIMP        0x1000u
#define SIEFP       0x2000u
#define RINGS_GPA   0x10000u /* 2 MiB each channel */
#define RINGS_ROOM  0x100000u
#define DATA_GPA    0xc00000u
#define GPADL_GPA   0xd00000u
#define SINT        2u
#define CHANNELS    8u
#define GPADLS      16u
#define GPADL_PAGES 64u
#define RING_PAGES  17u
#define FIRST_GPADL 0x100u

struct guest_channel {
	struct fuzz_channel c;
	uint32_t relid, connection, ring_gpadl, number;
	bool offered, rescinded, opening;
	uint32_t open_status;
};

struct guest {
	struct fuzz_peer peer;
	struct guest_channel channel[CHANNELS];
	uint32_t channels;
	struct {
		uint32_t id, relid;
	} gpadl[GPADLS]; /* id 0: none */
	uint32_t next_gpadl, port;
	bool up, agreed, all_offers, unloaded;
	uint32_t created, created_status; /* the GPADL that was answered last */
	uint32_t torn_down;
	bool ever_opened;
};

/* ---- messages ---- */

static void interrupt(void *ctx, uint32_t vp, uint32_t sint)
{
	struct guest *g = ctx;

	bell_ring(&g->peer.side.bell);
}

static void pump(void *peer);

static void post(struct guest *g, const uint8_t *bytes, uint32_t size)
{
	while (kmcl_host_post_message(g->peer.partition, g->port, 1, bytes, size) ==
	       KMCL_HV_INSUFFICIENT_BUFFERS) {
		pump(g);
		bell_wait(&g->peer.side.bell, 1);
	}
}

static void post_words(struct guest *g, uint32_t type, uint32_t a, uint32_t b, uint32_t size)
{
	uint8_t m[16] = {0};

	wire_put32(m, type);
	wire_put32(m + 8, a);
	wire_put32(m + 12, b);
	post(g, m, size);
}

static struct guest_channel *by_relid(struct guest *g, uint32_t relid)
{
	for (uint32_t i = 0; i < g->channels; i++)
		if (g->channel[i].relid == relid)
			return &g->channel[i];
	return NULL;
}

static void take_offer(struct guest *g, const uint8_t *m)
{
	struct guest_channel *c = &g->channel[g->channels];

	if (g->channels == CHANNELS) /* more are not looked at */
		return;
	memset(&c->c, 0, offsetof(struct fuzz_channel, manner));
	c->number = g->channels++;
	c->rescinded = c->opening = false;
	c->relid = wire_get32(m + 184);
	c->connection = wire_get32(m + 192);
	c->c.pipe = wire_get16(m + 56) & 0x10;
	c->offered = true;
}

static void take_rescind(struct guest *g, uint32_t relid)
{
	struct guest_channel *c = by_relid(g, relid);

	if (c) {
		c->rescinded = true;
		c->c.open = c->offered = false;
	}
	post_words(g, MSG_RELID_RELEASED, relid, 0, 12);
}

static void take(struct guest *g, const uint8_t *m)
{
	struct guest_channel *c;

	switch (wire_get32(m)) {
	case MSG_VERSION_RESPONSE:
		g->agreed = m[8];
		g->port = wire_get32(m + 12);
		break;
	case MSG_OFFER_CHANNEL:
		take_offer(g, m);
		break;
	case MSG_ALL_OFFERS:
		g->all_offers = true;
		break;
	case MSG_RESCIND_OFFER:
		take_rescind(g, wire_get32(m + 8));
		break;
	case MSG_OPEN_RESULT:
		c = by_relid(g, wire_get32(m + 8));
		if (c) {
			c->opening = false;
			c->open_status = wire_get32(m + 16);
		}
		break;
	case MSG_GPADL_CREATED:
		g->created = wire_get32(m + 12);
		g->created_status = wire_get32(m + 16);
		break;
	case MSG_GPADL_TORNDOWN:
		g->torn_down = wire_get32(m + 8);
		break;
	case MSG_UNLOAD_COMPLETE:
		g->unloaded = true;
		break;
	}
}

static bool take_message(struct guest *g)
{
	uint8_t *slot = g->peer.side.memory + SIMP + SINT * 256u;
	uint8_t m[FUZZ_MESSAGE] = {0};
	uint8_t size;

	if (!__atomic_load_n((uint32_t *)(void *)slot, __ATOMIC_ACQUIRE))
		return false;
	size = __atomic_load_n(slot + 4, __ATOMIC_RELAXED);
	memcpy(m, slot + 16, size < FUZZ_MESSAGE ? size : FUZZ_MESSAGE);
	__atomic_store_n((uint32_t *)(void *)slot, 0, __ATOMIC_SEQ_CST);
	full_fence();
	if (__atomic_load_n(slot + 5, __ATOMIC_SEQ_CST) & 1)
		kmcl_host_end_of_message(g->peer.partition);
	take(g, m);
	return true;
}

static void pump(void *peer)
{
	struct guest *g = peer;

	while (take_message(g))
		;
}

/* Waits for what the host has to say, whatever the driver does meanwhile. */
#define WAIT_FOR(g, condition)                                       \
	do {                                                         \
		for (int look_ = 0;; look_++) {                      \
			pump(g);                                     \
			if (condition)                               \
				break;                               \
			pump_channels(g);                            \
			if (look_ < LOOKS)                           \
				relax();                             \
			else                                         \
				bell_wait(&(g)->peer.side.bell, 50); \
		}                                                    \
	} while (0)

static void pump_channels(struct guest *g)
{
	for (uint32_t i = 0; i < g->channels; i++)
		channel_pump(&g->peer.side, &g->channel[i].c);
}

static void signal_host(void *peer, struct fuzz_channel *c)
{
	struct guest *g = peer;
	struct guest_channel *channel = (struct guest_channel *)(void *)c;

	kmcl_host_signal_event(g->peer.partition, channel->connection, 0);
}

/* ---- memory ---- */

static void post_gpadl(struct guest *g, uint32_t relid, uint32_t id, uint64_t gpa, uint32_t pages)
{
	uint8_t m[FUZZ_MESSAGE] = {0};
	uint32_t at = 28, sent = 0;

	wire_put32(m, MSG_GPADL_HEADER);
	wire_put32(m + 8, relid);
	wire_put32(m + 12, id);
	wire_put16(m + 16, 8 + 8 * pages);
	wire_put16(m + 18, 1);
	wire_put32(m + 20, pages * FUZZ_PAGE);
	for (; sent < pages && at + 8 <= 236; sent++, at += 8)
		wire_put64(m + at, gpa / FUZZ_PAGE + sent);
	post(g, m, at);
	while (sent < pages) {
		memset(m, 0, sizeof(m));
		wire_put32(m, MSG_GPADL_BODY);
		wire_put32(m + 12, id);
		for (at = 16; sent < pages && at + 8 <= FUZZ_MESSAGE; sent++, at += 8)
			wire_put64(m + at, gpa / FUZZ_PAGE + sent);
		post(g, m, at);
	}
}

/* False: refused. */
static bool announce(struct guest *g, uint32_t relid, uint32_t id, uint64_t gpa, uint32_t pages)
{
	g->created = 0;
	post_gpadl(g, relid, id, gpa, pages);
	WAIT_FOR(g, g->created == id);
	return !g->created_status;
}

static void tear_down(struct guest *g, uint32_t relid, uint32_t id)
{
	struct guest_channel *c = by_relid(g, relid);

	g->torn_down = 0;
	post_words(g, MSG_GPADL_TEARDOWN, relid, id, 16);
	WAIT_FOR(g, g->torn_down == id || !c || c->rescinded);
}

static void add_gpadl(struct guest *g, struct guest_channel *c, const struct fuzz_step *step)
{
	uint32_t n = g->next_gpadl % GPADLS, id = FIRST_GPADL + GPADLS + g->next_gpadl;
	uint32_t pages = 1 + step->a % GPADL_PAGES;
	uint8_t *memory = g->peer.side.memory + GPADL_GPA;

	if (!c->offered || g->gpadl[n].id)
		return;
	for (uint32_t i = 0; i < step->size; i++)
		memory[i] = step->data[i];
	if (!announce(g, c->relid, id, GPADL_GPA, pages))
		return;
	g->next_gpadl++;
	g->gpadl[n].id = g->peer.side.gpadl = id;
	g->gpadl[n].relid = c->relid;
}

static void remove_gpadl(struct guest *g, uint32_t n)
{
	uint32_t id = g->gpadl[n].id;

	if (!id)
		return;
	g->gpadl[n].id = 0;
	tear_down(g, g->gpadl[n].relid, id);
}

static void remove_gpadls(struct guest *g, uint32_t relid)
{
	for (uint32_t n = 0; n < GPADLS; n++)
		if (g->gpadl[n].relid == relid)
			remove_gpadl(g, n);
}

/* ---- channels ---- */

static void map_ring(struct fuzz_ring *r, uint8_t *at, uint32_t pages)
{
	memset(at, 0, FUZZ_PAGE);
	r->control = at;
	r->size = (pages - 1) * FUZZ_PAGE;
	for (uint32_t i = 0; i + 1 < pages; i++)
		r->page[i] = at + (i + 1) * FUZZ_PAGE;
}

static bool post_open(struct guest *g, struct guest_channel *c, uint32_t pages)
{
	uint8_t m[148] = {0};

	wire_put32(m, MSG_OPEN_CHANNEL);
	wire_put32(m + 8, c->relid);
	wire_put32(m + 12, 1 + c->number);
	wire_put32(m + 16, c->ring_gpadl);
	wire_put32(m + 24, pages);
	c->opening = true;
	post(g, m, sizeof(m));
	WAIT_FOR(g, !c->opening || c->rescinded);
	return !c->opening && !c->open_status;
}

static void open_channel(struct guest *g, struct guest_channel *c, uint32_t pages)
{
	uint64_t gpa = RINGS_GPA + c->number * (uint64_t)RINGS_ROOM;
	uint8_t *at = g->peer.side.memory + gpa;

	if (!c->offered || c->c.open)
		return;
	c->ring_gpadl = FIRST_GPADL + c->number;
	map_ring(&c->c.out, at, pages);
	map_ring(&c->c.in, at + pages * FUZZ_PAGE, pages);
	at[64] = 1; /* the reader may be asked for a signal when there is room */
	if (!announce(g, c->relid, c->ring_gpadl, gpa, 2 * pages))
		return;
	channel_begin(&c->c);
	c->c.open = post_open(g, c, pages);
	if (!c->c.open) {
		tear_down(g, c->relid, c->ring_gpadl);
		return;
	}
	g->ever_opened = true;
	g->peer.side.shared->opens++;
}

static void close_channel(struct guest *g, struct guest_channel *c)
{
	if (!c->c.open)
		return;
	c->c.open = false;
	post_words(g, MSG_CLOSE_CHANNEL, c->relid, 0, 12);
	remove_gpadls(g, c->relid);
	tear_down(g, c->relid, c->ring_gpadl);
}

static void modify(struct guest *g, struct guest_channel *c, uint32_t vp)
{
	if (c->c.open)
		post_words(g, MSG_MODIFY_CHANNEL, c->relid, vp % 3, 16);
}

/* ---- connection ---- */

static void come_up(struct guest *g)
{
	uint8_t m[40] = {0};

	kmcl_host_synic(g->peer.partition, 0, SIMP, SIEFP);
	g->channels = 0;
	memset(g->gpadl, 0, sizeof(g->gpadl));
	g->agreed = g->all_offers = g->unloaded = false;
	g->peer.side.gpadl = 0;
	g->port = FUZZ_PORT;
	wire_put32(m, MSG_INITIATE_CONTACT);
	wire_put32(m + 8, FUZZ_VERSION);
	m[16] = SINT;
	post(g, m, sizeof(m));
	WAIT_FOR(g, g->agreed);
	post_words(g, MSG_REQUEST_OFFERS, 0, 0, 8);
	WAIT_FOR(g, g->all_offers);
	g->up = true;
}

static void close_all(struct guest *g)
{
	for (uint32_t i = 0; i < g->channels; i++)
		close_channel(g, &g->channel[i]);
	for (uint32_t n = 0; n < GPADLS; n++)
		remove_gpadl(g, n);
}

static void go_down(struct guest *g)
{
	close_all(g);
	g->up = false;
	post_words(g, MSG_UNLOAD, 0, 0, 8);
	WAIT_FOR(g, g->unloaded);
	g->channels = 0;
}

/* As if the machine's button had been pressed, with everything as it is. */
static void be_reset(struct guest *g)
{
	for (uint32_t i = 0; i < g->channels; i++)
		g->channel[i].c.open = false;
	kmcl_host_reset(g->peer.partition);
	memset(g->peer.side.memory + SIMP, 0, FUZZ_PAGE);
	g->channels = 0;
}

static void reset(struct guest *g, const struct fuzz_step *step)
{
	if (step->a & 1)
		be_reset(g);
	else
		go_down(g);
	come_up(g);
	if (g->channels)
		open_channel(g, &g->channel[0], RING_PAGES);
}

/* ---- a run ---- */

static void run_step(struct guest *g, const struct fuzz_step *step)
{
	struct guest_channel *c = &g->channel[g->channels ? step->channel % g->channels : 0];

	if (step->op == FUZZ_RESET) {
		reset(g, step);
		return;
	}
	if (!g->channels)
		return;
	switch ((enum fuzz_op)step->op) {
	case FUZZ_CLOSE:
		close_channel(g, c);
		break;
	case FUZZ_OPEN:
		open_channel(g, c, 2 + step->a % (RING_PAGES + 15));
		break;
	case FUZZ_GPADL:
		add_gpadl(g, c, step);
		break;
	case FUZZ_TEARDOWN:
		remove_gpadl(g, step->a % GPADLS);
		break;
	case FUZZ_MODIFY:
		modify(g, c, step->a);
		break;
	default:
		if (c->c.open && c->c.ended) { /* further steps would go nowhere */
			close_channel(g, c);
			open_channel(g, c, RING_PAGES);
		}
		channel_step(&g->peer.side, &c->c, step);
		break;
	}
}

/* One that is still offered: the driver may have withdrawn others, and offered them anew. */
static struct guest_channel *first_channel(struct guest *g)
{
	for (uint32_t i = 0; i < g->channels; i++)
		if (g->channel[i].offered)
			return &g->channel[i];
	return &g->channel[0];
}

static void run(struct fuzz_peer *p, const struct fuzz_input *in)
{
	struct guest *g = (struct guest *)p;

	if (!g->up)
		come_up(g);
	if (!g->channels)
		fuzz_die(p->side.shared, FUZZ_UNABLE, "the driver offers no channel");
	open_channel(g, first_channel(g), RING_PAGES);
	if (!g->ever_opened)
		fuzz_die(p->side.shared, FUZZ_UNABLE,
			 "the driver refuses to open its first channel: %s",
			 kmcl_status_name((kmcl_status)g->channel[0].open_status));
	for (uint32_t i = 0; i < in->count; i++) {
		p->side.shared->step = i;
		run_step(g, &in->step[i]);
		pump(g);
	}
	close_all(g);
	/* What was withdrawn is forgotten by a new connection. */
	if (!first_channel(g)->offered)
		go_down(g);
}

static void finish(struct fuzz_peer *p)
{
	struct guest *g = (struct guest *)p;

	if (g->up)
		go_down(g);
}

/* ---- life ---- */

static uint8_t *make_memory(kmcl_partition *partition)
{
	int fd = memfd_create("kmcl-fuzz-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *memory = MAP_FAILED;

	if (fd < 0)
		return NULL;
	if (!ftruncate(fd, (off_t)MEMORY) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) &&
	    !kmcl_host_add_memory(partition, fd, 0, MEMORY, 0))
		memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return memory == MAP_FAILED ? NULL : memory;
}

struct fuzz_peer *fuzz_guest_create(const struct fuzz_setup *setup, struct fuzz_shared *shared,
				    kmcl_driver **driver, char **error)
{
	struct kmcl_host_machine machine = {
		.size = sizeof(machine), .processors = 1, .interrupt = interrupt};
	struct kmcl_partition_options options;
	struct guest *g = calloc(1, sizeof(*g));

	kmcl_partition_options_init(&options);
	options.processors = setup->processors;
	if (!g || !bell_init(&g->peer.side.bell) ||
	    kmcl_partition_create_host(&options, &machine, g, &g->peer.partition))
		return NULL;
	g->peer.run = run;
	g->peer.finish = finish;
	g->peer.side.shared = shared;
	g->peer.side.memory = make_memory(g->peer.partition);
	g->peer.side.memory_size = MEMORY;
	g->peer.side.data_gpa = DATA_GPA;
	g->peer.side.signal = signal_host;
	g->peer.side.pump = pump;
	g->peer.side.peer = g;
	if (!g->peer.side.memory ||
	    kmcl_driver_load(g->peer.partition, KMCL_SERVER, setup->spec, driver, error))
		return NULL;
	return &g->peer;
}
