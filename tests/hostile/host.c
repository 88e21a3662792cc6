/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <string.h>

void host_start(struct host *h, struct machine *m)
{
	memset(h, 0, sizeof(*h));
	h->m = m;
	h->memory = machine_memory(m);
	memset(&h->manners, 1, sizeof(h->manners));
	machine_be_host(m);
	machine_open_port(m, FIRST_PORT);
	machine_open_port(m, SECOND_PORT);
}

uint8_t *host_at(struct host *h, uint64_t gpa)
{
	assert_true(gpa <= machine_memory_size(h->m) - PAGE);
	return h->memory + gpa;
}

/* ---- messages ---- */

void host_send_cut(struct host *h, struct message m, uint32_t size)
{
	wait_for(machine_deliver(h->m, 0, 2, m.b, size));
}

void host_send(struct host *h, struct message m)
{
	host_send_cut(h, m, m.size);
}

bool host_take(struct host *h, uint32_t *port, struct message *m)
{
	memset(m, 0, sizeof(*m));
	if (!machine_take(h->m, port, m->b, &m->size))
		return false;
	h->messages++;
	return true;
}

void host_expect(struct host *h, uint32_t type, struct message *m)
{
	uint32_t port;

	wait_for(host_take(h, &port, m));
	if (get32(m->b) != type)
		fail_msg("message %u where %u was expected", get32(m->b), type);
}

void host_expect_bytes(struct host *h, uint32_t port, const struct message *want)
{
	struct message m;
	uint32_t came_to;

	wait_for(host_take(h, &came_to, &m));
	assert_int_equal(came_to, port);
	assert_int_equal(m.size, want->size);
	assert_memory_equal(m.b, want->b, m.size);
}

/* ---- GPADLs ---- */

struct gpadl *host_gpadl(struct host *h, uint32_t id)
{
	for (uint32_t i = 0; i < MAX_GPADLS; i++)
		if (h->gpadl[i].id == id)
			return &h->gpadl[i];
	return NULL;
}

struct gpadl *host_collect(struct host *h, const struct message *m)
{
	bool header = get32(m->b) == GPADL_HEADER;
	uint32_t at = header ? 20 : 16;
	struct gpadl *p = host_gpadl(h, header ? 0 : get32(m->b + 12));

	assert_non_null(p);
	if (header) {
		memset(p, 0, sizeof(*p));
		p->relid = get32(m->b + 8);
		p->id = get32(m->b + 12);
		p->words = get16(m->b + 16) / 8;
		assert_int_equal(get16(m->b + 16) % 8, 0);
		assert_int_equal(get16(m->b + 18), 1);
		assert_true(p->words >= 2 && p->words <= MAX_PAGES + 1);
	} else {
		assert_int_equal(get32(m->b + 8), 0);
	}
	for (; at + 8 <= m->size && p->have < p->words; at += 8)
		p->word[p->have++] = get64(m->b + at);
	assert_int_equal(at, m->size); /* exactly as long as it has to be */
	assert_true(p->have == p->words || m->size == (header ? 236 : 240));
	return p->have == p->words ? p : NULL;
}

bool host_map(struct host *h, const struct message *open)
{
	struct served_channel *c = &h->channel[get32(open->b + 8)];
	uint32_t pages, downstream = get32(open->b + 24);
	struct gpadl *p = host_gpadl(h, get32(open->b + 16));
	uint64_t gpa;

	if (!p)
		return false;
	pages = p->words - 1;
	gpa = p->word[1] * PAGE;
	assert_int_equal(p->word[0], (uint64_t)pages * PAGE);
	/* this client's rings lie in one piece, which a server may not count on */
	for (uint32_t i = 0; i < pages; i++)
		assert_int_equal(p->word[1 + i], gpa / PAGE + i);
	assert_true(downstream >= 2 && pages >= downstream + 2);
	c->open_id = get32(open->b + 12);
	c->vp = get32(open->b + 20);
	c->ring_gpadl = p->id;
	c->in = (struct raw_ring){.control = host_at(h, gpa),
				  .data = host_at(h, gpa + PAGE),
				  .size = (downstream - 1) * PAGE};
	c->out = (struct raw_ring){.control = host_at(h, gpa + downstream * PAGE),
				   .data = host_at(h, gpa + (downstream + 1) * PAGE),
				   .size = (pages - downstream - 1) * PAGE};
	return true;
}

/* ---- packets ---- */

void host_signal(struct host *h, uint32_t relid)
{
	struct served_channel *c = &h->channel[relid];

	machine_set_flag(h->m, c->vp < MACHINE_VPS ? c->vp : 0, (uint16_t)relid);
}

void host_put(struct host *h, uint32_t relid, uint16_t type, uint16_t flags, uint64_t id,
	      const void *header, uint32_t header_size, const void *payload, uint32_t size)
{
	struct served_channel *c = &h->channel[relid];
	static _Thread_local uint8_t packet[70000];
	uint32_t n = make_packet(packet, type, flags, id, header, header_size, payload, size,
				 c->out.mine);

	wait_for(ring_free(&c->out) >= n);
	ring_write(&c->out, packet, n);
	if (ring_publish(&c->out))
		host_signal(h, relid);
}

uint32_t host_request(struct host *h, uint32_t relid, uint8_t *to, uint32_t most)
{
	bool want;
	uint32_t n = ring_read(&h->channel[relid].in, to, most, &want);

	if (want)
		host_signal(h, relid);
	return n;
}

void host_answer(struct host *h, uint32_t relid, uint8_t *packet, uint32_t size)
{
	struct served_channel *c = &h->channel[relid];
	uint32_t offset = get16(packet + 2) * 8u;

	c->served++;
	c->last_id = get64(packet + 8);
	if (!(get16(packet + 6) & 1))
		return;
	if (size >= offset + 16)
		put32(packet + offset + 4, 0);
	host_put(h, relid, 0xb, 0, c->last_id, NULL, 0, packet + offset, size - offset);
}

static bool serve_packets(struct host *h)
{
	static _Thread_local uint8_t packet[70000];
	bool any = false;

	for (uint32_t relid = 1; relid <= HOST_CHANNELS; relid++) {
		uint32_t n;

		if (!h->channel[relid].open)
			continue;
		while ((n = host_request(h, relid, packet, sizeof(packet)))) {
			any = true;
			host_answer(h, relid, packet, n);
		}
	}
	return any;
}

/* ---- by itself ---- */

void host_offer(struct host *h, uint32_t relid)
{
	host_send(h, make_echo_offer(relid, relid - 1));
	h->channel[relid].offered = true;
}

void host_rescind(struct host *h, uint32_t relid)
{
	struct served_channel *c = &h->channel[relid];

	if (c->open)
		machine_unbind_signal(h->m, c->connection);
	/* its GPADLs stay until the id comes back: one that is on its way is still answered */
	c->open = c->offered = false;
	host_send(h, make_of_channel(RESCIND_OFFER, relid));
}

static void on_contact(struct host *h, const struct message *m)
{
	uint32_t version = get32(m->b + 8);
	bool yes = !h->version || version == h->version;

	h->contacts++;
	if (!h->manners.contact)
		return;
	h->agreed = yes ? version : 0;
	host_send(h, make_version_response(version, yes, FIRST_PORT));
}

static void on_open(struct host *h, const struct message *m)
{
	uint32_t relid = get32(m->b + 8);
	struct served_channel *c;

	if (relid > HOST_CHANNELS + 1 || !h->channel[relid].offered)
		return; /* it crossed a rescind, or nobody means to open it */
	c = &h->channel[relid];
	assert_true(host_map(h, m));
	c->opens++;
	if (!h->manners.opens)
		return;
	c->connection = 0x2000 + relid;
	assert_true(machine_bind_signal(h->m, c->connection, relid));
	c->open = true;
	host_send(h, make_open_result(relid, c->open_id, 0));
}

static void on_close(struct host *h, const struct message *m)
{
	uint32_t relid = get32(m->b + 8);
	struct served_channel *c = &h->channel[relid <= HOST_CHANNELS ? relid : 0];

	h->closes++;
	if (c->open)
		machine_unbind_signal(h->m, c->connection);
	c->open = false;
}

static void on_gpadl(struct host *h, const struct message *m)
{
	struct gpadl *p;

	if (get32(m->b) == GPADL_BODY && !host_gpadl(h, get32(m->b + 12)))
		return; /* it crossed a rescind */
	p = host_collect(h, m);
	if (p && h->manners.gpadls)
		host_send(h, make_gpadl_created(p->relid, p->id, 0));
}

static void on_teardown(struct host *h, const struct message *m)
{
	struct gpadl *p = host_gpadl(h, get32(m->b + 12));

	if (!p && (get32(m->b + 8) > HOST_CHANNELS || !h->channel[get32(m->b + 8)].offered))
		return; /* it crossed a rescind */
	assert_non_null(p);
	assert_int_equal(p->relid, get32(m->b + 8));
	if (!h->manners.teardowns)
		return;
	host_send(h, make_torndown(p->id));
	memset(p, 0, sizeof(*p));
}

static void on_released(struct host *h, const struct message *m)
{
	uint32_t relid = get32(m->b + 8);

	h->releases++;
	assert_true(relid <= MAX_RELID);
	h->released[relid]++;
	for (uint32_t i = 0; i < MAX_GPADLS; i++)
		if (h->gpadl[i].relid == relid)
			memset(&h->gpadl[i], 0, sizeof(h->gpadl[i]));
}

static void on_request_offers(struct host *h)
{
	if (!h->manners.offers)
		return;
	for (uint32_t relid = 1; relid <= HOST_CHANNELS; relid++)
		host_offer(h, relid);
	host_send(h, make_header_only(ALL_OFFERS));
}

static void on_unload(struct host *h)
{
	h->unloads++;
	if (!h->manners.unload)
		return;
	for (uint32_t relid = 1; relid <= HOST_CHANNELS; relid++)
		h->channel[relid].offered = h->channel[relid].open = false;
	memset(h->gpadl, 0, sizeof(h->gpadl));
	host_send(h, make_header_only(UNLOAD_COMPLETE));
}

static bool serve(struct host *h)
{
	bool any = h->manners.packets && serve_packets(h);
	struct message m;
	uint32_t port;

	if (!host_take(h, &port, &m))
		return any;
	switch (get32(m.b)) {
	case CONTACT:
		on_contact(h, &m);
		break;
	case REQUEST_OFFERS:
		on_request_offers(h);
		break;
	case GPADL_HEADER:
	case GPADL_BODY:
		on_gpadl(h, &m);
		break;
	case OPEN_CHANNEL:
		on_open(h, &m);
		break;
	case CLOSE_CHANNEL:
		on_close(h, &m);
		break;
	case GPADL_TEARDOWN:
		on_teardown(h, &m);
		break;
	case RELID_RELEASED:
		on_released(h, &m);
		break;
	case UNLOAD:
		on_unload(h);
		break;
	default:
		fail_msg("a client says message %u", get32(m.b));
	}
	return true;
}

bool host_serve(struct host *h)
{
	bool any;

	if (h->deaf || !machine_enter(h->m))
		return false;
	any = serve(h);
	machine_leave(h->m);
	return any;
}
