/* SPDX-License-Identifier: MIT */
#include "guest.h"

#include <stdio.h>
#include <string.h>

#define SINT        2u
#define MOST_ECHOED 2048u

void guest_start(struct guest *g, struct machine *m)
{
	memset(g, 0, sizeof(*g));
	g->m = m;
	g->memory = machine_memory(m);
	g->next_page = 1;
	g->next_gpadl = 0xe1e10;
	g->post_to = FIRST_PORT;
	machine_be_guest(m);
	for (uint32_t vp = 0; vp < MACHINE_VPS; vp++) {
		uint64_t pages = guest_pages(g, 2);

		assert_int_equal(pages, (1 + 2 * vp) * PAGE);
		assert_true(machine_enable_synic(m, vp, pages, pages + PAGE));
	}
	g->interrupt_page = guest_pages(g, 1);
}

uint64_t guest_pages(struct guest *g, uint32_t count)
{
	uint64_t gpa = g->next_page * PAGE;

	g->next_page += count;
	assert_true(g->next_page * PAGE <= machine_memory_size(g->m));
	return gpa;
}

uint8_t *guest_at(struct guest *g, uint64_t gpa)
{
	return g->memory + gpa;
}

/* ---- messages ---- */

uint16_t guest_post_cut(struct guest *g, uint32_t port, struct message m, uint32_t size)
{
	uint16_t status;

	wait_for((status = machine_post(g->m, port, m.b, size)) != STATUS_BUSY);
	return status;
}

void guest_post(struct guest *g, struct message m)
{
	assert_int_equal(guest_post_cut(g, g->post_to, m, m.size), STATUS_OK);
}

static uint8_t *slot_of(struct guest *g, uint32_t vp, uint32_t sint)
{
	return guest_at(g, (1 + 2 * vp) * PAGE) + sint * 256;
}

bool guest_slot_full(struct guest *g, uint32_t vp, uint32_t sint)
{
	return load32(slot_of(g, vp, sint)) != 0;
}

bool guest_take(struct guest *g, uint32_t vp, uint32_t sint, struct message *m)
{
	uint8_t *slot = slot_of(g, vp, sint);
	uint8_t header[16];

	if (!guest_slot_full(g, vp, sint))
		return false;
	shared_read(slot, header, sizeof(header));
	shared_read(slot + 16, m->b, MESSAGE_MAX);
	m->size = header[4];
	/* type 1, a size, no flag but "more wait", nothing in what is reserved */
	assert_int_equal(get32(header), 1);
	assert_true(m->size <= MESSAGE_MAX);
	assert_int_equal(header[5] & ~1u, 0);
	assert_int_equal(get16(header + 6), 0);
	__atomic_store_n((uint32_t *)(void *)slot, 0, __ATOMIC_SEQ_CST);
	full_fence();
	if (__atomic_load_n(slot + 5, __ATOMIC_SEQ_CST) & 1)
		machine_end_of_message(g->m, vp);
	return true;
}

static void print_bytes(const char *what, const uint8_t *b, uint32_t n)
{
	print_error("%s (%u bytes):", what, n);
	for (uint32_t i = 0; i < n; i++)
		print_error("%s%02x", i % 16 ? " " : "\n  ", b[i]);
	print_error("\n");
}

void guest_expect(struct guest *g, uint32_t type, struct message *m)
{
	wait_for(guest_take(g, g->message_vp, SINT, m));
	if (get32(m->b) == type)
		return;
	print_bytes("came", m->b, m->size);
	fail_msg("message %u where %u was expected", get32(m->b), type);
}

void guest_expect_bytes(struct guest *g, const struct message *want)
{
	struct message m;

	wait_for(guest_take(g, g->message_vp, SINT, &m));
	if (m.size == want->size && !memcmp(m.b, want->b, m.size))
		return;
	print_bytes("came", m.b, m.size);
	print_bytes("expected", want->b, want->size);
	fail_msg("a message that differs");
}

void guest_expect_hex(struct guest *g, const char *hex)
{
	struct message want = {0};

	want.size = parse_hex(hex, want.b, MESSAGE_MAX);
	guest_expect_bytes(g, &want);
}

void guest_fence(struct guest *g)
{
	static uint32_t number = 0xfe000000;
	uint64_t words[2] = {PAGE, 1};
	struct message answer;

	number++;
	guest_post(g, make_gpadl_header(MAX_RELID, number, 16, 1, words, 2));
	answer = make_gpadl_created(MAX_RELID, number, REFUSED);
	guest_expect_bytes(g, &answer);
}

void guest_contact_fence(struct guest *g)
{
	guest_post_cut(g, FIRST_PORT, make_contact(0x00050004, 0, 0, 0, 0), 40);
	guest_expect_hex(g, "0f000000 00000000 00 00 0000 00000000");
}

/* ---- connection ---- */

void guest_negotiate(struct guest *g, uint32_t version, uint32_t features)
{
	uint64_t page = g->interrupt_page;
	struct message answer;

	g->version = version;
	g->post_to = version >= 0x00050000 ? SECOND_PORT : FIRST_PORT;
	if (version >= 0x00050000)
		page = 2 | (uint64_t)features << 32;
	guest_post(g, make_contact(version, g->message_vp, page, 0, 0));
	guest_expect(g, VERSION_RESPONSE, &answer);
	assert_int_equal(answer.b[8], 1);
	assert_int_equal(answer.b[9], 0);
	if (version >= 0x00050000)
		g->post_to = get32(answer.b + 12);
}

void guest_request_offers(struct guest *g)
{
	g->offer_count = 0;
	guest_post(g, make_header_only(REQUEST_OFFERS));
	for (;;) {
		struct message m;

		wait_for(guest_take(g, g->message_vp, SINT, &m));
		if (get32(m.b) == ALL_OFFERS)
			break;
		assert_int_equal(get32(m.b), OFFER_CHANNEL);
		assert_int_equal(m.size, 196);
		assert_true(g->offer_count < MAX_OFFERS);
		g->offers[g->offer_count++] = m;
	}
}

void guest_connect(struct guest *g, uint32_t version)
{
	guest_negotiate(g, version, 0);
	guest_request_offers(g);
}

void guest_unload(struct guest *g)
{
	guest_post(g, make_header_only(UNLOAD));
	guest_expect_hex(g, "11000000 00000000");
}

const struct message *guest_offer(struct guest *g, uint32_t relid)
{
	for (uint32_t i = 0; i < g->offer_count; i++)
		if (get32(g->offers[i].b + 184) == relid)
			return &g->offers[i];
	fail_msg("channel %u was not offered", relid);
	return NULL;
}

/* ---- channels ---- */

void guest_post_gpadl(struct guest *g, uint32_t relid, uint32_t gpadl, uint64_t gpa, uint32_t pages)
{
	uint64_t words[28] = {pages * (uint64_t)PAGE};
	uint32_t n = 1, sent = 0;

	for (; sent < pages && n < 27; sent++)
		words[n++] = gpa / PAGE + sent;
	guest_post(g, make_gpadl_header(relid, gpadl, (uint16_t)(8 + 8 * pages), 1, words, n));
	while (sent < pages) {
		for (n = 0; sent < pages && n < 28; sent++)
			words[n++] = gpa / PAGE + sent;
		guest_post(g, make_gpadl_body(gpadl, words, n));
	}
}

uint32_t guest_gpadl(struct guest *g, uint32_t relid, uint64_t gpa, uint32_t pages)
{
	uint32_t gpadl = g->next_gpadl++;
	struct message created = make_gpadl_created(relid, gpadl, 0);

	guest_post_gpadl(g, relid, gpadl, gpa, pages);
	guest_expect_bytes(g, &created);
	return gpadl;
}

void channel_prepare(struct channel *c, struct guest *g, uint32_t relid, uint32_t out_pages,
		     uint32_t in_pages)
{
	uint32_t pages = out_pages + in_pages;

	memset(c, 0, sizeof(*c));
	c->g = g;
	c->relid = relid;
	c->connection = get32(guest_offer(g, relid)->b + 192);
	c->open_id = 0x5ca1ab1e;
	c->out_pages = out_pages;
	c->in_pages = in_pages;
	c->next_id = 1;
	c->gpa = guest_pages(g, pages);
	c->out.control = guest_at(g, c->gpa);
	c->out.data = c->out.control + PAGE;
	c->out.size = (out_pages - 1) * PAGE;
	c->in.control = guest_at(g, c->gpa + out_pages * PAGE);
	c->in.data = c->in.control + PAGE;
	c->in.size = (in_pages - 1) * PAGE;
	store32(c->out.control + AT_FEATURES, 1);
	c->gpadl = guest_gpadl(g, relid, c->gpa, pages);
}

void channel_post_open(struct channel *c)
{
	guest_post(c->g, make_open(c->relid, c->open_id, c->gpadl, 0, c->out_pages));
}

uint32_t channel_open_result(struct channel *c)
{
	struct message m;

	guest_expect(c->g, OPEN_RESULT, &m);
	assert_int_equal(m.size, 20);
	assert_int_equal(get32(m.b + 4), 0);
	assert_int_equal(get32(m.b + 8), c->relid);
	assert_int_equal(get32(m.b + 12), c->open_id);
	return get32(m.b + 16);
}

void channel_open(struct channel *c, struct guest *g, uint32_t relid, uint32_t out_pages,
		  uint32_t in_pages)
{
	channel_prepare(c, g, relid, out_pages, in_pages);
	channel_post_open(c);
	assert_int_equal(channel_open_result(c), 0);
}

void channel_close(struct channel *c)
{
	struct message torndown = make_torndown(c->gpadl);

	guest_post(c->g, make_of_channel(CLOSE_CHANNEL, c->relid));
	guest_post(c->g, make_teardown(c->relid, c->gpadl));
	guest_expect_bytes(c->g, &torndown);
}

void channel_signal(struct channel *c)
{
	struct guest *g = c->g;

	if (g->version == 0x0000000d) {
		uint8_t *byte = guest_at(g, g->interrupt_page) + 2048 + c->relid / 8;

		__atomic_fetch_or(byte, 1u << c->relid % 8, __ATOMIC_SEQ_CST);
		machine_signal(g->m, 2, 0);
		return;
	}
	machine_signal(g->m, c->connection, 0);
}

void channel_send(struct channel *c, uint16_t type, uint16_t flags, uint64_t id, const void *header,
		  uint32_t header_size, const void *payload, uint32_t payload_size)
{
	static _Thread_local uint8_t packet[70000];
	uint32_t n = make_packet(packet, type, flags, id, header, header_size, payload,
				 payload_size, c->out.mine);

	wait_for(ring_free(&c->out) >= n);
	ring_write(&c->out, packet, n);
	if (ring_publish(&c->out))
		channel_signal(c);
}

bool channel_has_packet(struct channel *c)
{
	return load32(c->in.control + AT_IN) != c->in.mine;
}

uint32_t channel_receive(struct channel *c, uint8_t *to, uint32_t most)
{
	uint32_t at = c->in.mine, n;
	uint8_t trailer[8];
	bool want;

	wait_for((n = ring_read(&c->in, to, most, &want)) != 0);
	shared_read(c->in.data + (at + n) % c->in.size, trailer, 8);
	if (want)
		channel_signal(c);
	assert_int_equal(get32(trailer), 0);
	assert_int_equal(get32(trailer + 4), at);
	return n;
}

uint32_t echo_request(uint8_t *to, uint32_t op, uint32_t length, uint64_t tag, const void *data,
		      uint32_t n)
{
	put32(to, op);
	put32(to + 4, length);
	put64(to + 8, tag);
	if (n)
		memcpy(to + 16, data, n);
	return 16 + n;
}

/* The same bytes each time for one id. */
static void make_echo(uint8_t *request, uint64_t id, uint32_t n)
{
	assert_true(n <= MOST_ECHOED);
	for (uint32_t i = 0; i < n; i++)
		request[16 + i] = (uint8_t)(i * 7 + id);
	echo_request(request, 1, n, id * 0x9e3779b97f4a7c15u, NULL, 0);
}

static uint64_t echo_id(const struct channel *c)
{
	return 0x8000000000000000u | c->next_id;
}

void channel_ask_echo(struct channel *c, uint32_t n)
{
	uint8_t request[16 + MOST_ECHOED];

	make_echo(request, echo_id(c), n);
	channel_send(c, 6, 1, echo_id(c), NULL, 0, request, 16 + n);
}

void channel_expect_echo(struct channel *c, uint32_t n)
{
	uint8_t request[16 + MOST_ECHOED], answer[16 + sizeof(request) + 8], want[sizeof(answer)];
	uint32_t size;

	make_echo(request, echo_id(c), n);
	put32(request + 4, 0);
	size = make_packet(want, 0xb, 0, echo_id(c), NULL, 0, request, 16 + n, 0) - 8;
	c->next_id++;
	assert_int_equal(channel_receive(c, answer, sizeof(answer)), size);
	assert_memory_equal(answer, want, size);
}

void channel_echo(struct channel *c, uint32_t n)
{
	channel_ask_echo(c, n);
	channel_expect_echo(c, n);
}
