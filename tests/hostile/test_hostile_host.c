/* SPDX-License-Identifier: MIT */
/*
 * What a host can say to the client that it should not: each test is one way. Afterwards a channel
 * that had nothing to do with it still echoes, the one that had is opened again and echoes too, and
 * the client's end goes down as it should.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define NOBODYS 2000u /* a channel id whose class no driver knows */

static struct client client;
static struct host *const h = &client.h;

static int set_up(void **state)
{
	client_start(&client, NULL);
	client_connect(&client, 0x00050003);
	client_echo(&client, 1);
	return 0;
}

static int set_up_silent(void **state)
{
	client_start(&client, NULL);
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned int i = 0; i < 5; i++)
		client_echo(&client, 2);
	if (!client_runs(&client, 1))
		client_enable(&client, 1);
	client_echo(&client, 1);
	client_disable(&client, 1);
	client_enable(&client, 1);
	client_echo(&client, 1);
	client_stop(&client);
	assert_int_equal(h->unloads, 1);
	return 0;
}

static int tear_down_only(void **state)
{
	client_stop(&client);
	return 0;
}

static struct message nobodys_offer(uint32_t relid)
{
	struct message m = make_echo_offer(relid, 0);

	memset(m.b + 8, 0x5a, 16);
	return m;
}

/* All that was sent before has been looked at: a channel comes and goes. */
static void fence(void)
{
	uint32_t before = h->released[NOBODYS];

	host_send(h, nobodys_offer(NOBODYS));
	host_send(h, make_of_channel(RESCIND_OFFER, NOBODYS));
	serve_until(&client, h->released[NOBODYS] == before + 1);
}

static void both_echo(void)
{
	fence();
	client_echo(&client, 1);
	client_echo(&client, 2);
}

/* ---- slots and messages ---- */

static void ctl_010_slots_that_hold_no_message(void **state)
{
	static const struct {
		uint32_t type;
		uint8_t size;
	} slots[] = {{0x80000010, 24}, {2, 8},   {0xffffffff, 255},
		     {0x01000000, 12}, {1, 241}, {1, 255},
		     {1, 0},           {1, 7}};

	for (unsigned int i = 0; i < 2 * sizeof(slots) / sizeof(slots[0]); i++) {
		uint32_t vp = i % MACHINE_VPS;
		uint8_t *slot = machine_slot(client.m, vp, 2);
		struct message m = make_of_channel(RESCIND_OFFER, 1);

		wait_for(!load32(slot));
		shared_write(slot + 16, m.b, MESSAGE_MAX);
		__atomic_store_n(slot + 4, slots[i / 2].size, __ATOMIC_RELAXED);
		__atomic_store_n(slot + 5, 0, __ATOMIC_RELAXED);
		store32(slot, slots[i / 2].type);
		machine_kick_messages(client.m);
		wait_for(!load32(slot));
		both_echo();
	}
}

static struct message about_first(uint32_t type)
{
	struct served_channel *c = &h->channel[1];
	struct message m;

	switch (type) {
	case OFFER_CHANNEL:
		return make_echo_offer(3, 2);
	case OPEN_RESULT:
		return make_open_result(1, c->open_id, REFUSED);
	case GPADL_CREATED:
		return make_gpadl_created(1, c->ring_gpadl, REFUSED);
	case GPADL_TORNDOWN:
		return make_torndown(c->ring_gpadl);
	default:
		m = make_of_channel(type, 1);
		m.size = message_kinds[type].size;
		return m;
	}
}

static void ctl_010_every_message_cut_at_every_length(void **state)
{
	for (uint32_t type = 1; type <= LAST_TYPE; type++) {
		struct message m = about_first(type);

		for (uint32_t size = 0; size < message_kinds[type].size; size++)
			host_send_cut(h, m, size);
		both_echo();
	}
}

static void ctl_010_what_only_a_client_may_say_and_what_nobody_does(void **state)
{
	static const uint32_t types[] = {0, 30, 255, 256, 0x10001, 0x80000002, 0xffffffff};

	for (uint32_t type = 1; type <= LAST_TYPE; type++) {
		struct message m = about_first(type);

		if (!message_kinds[type].from_client)
			continue;
		host_send(h, m);
		memset(m.b + 8, 0xff, MESSAGE_MAX - 8);
		host_send_cut(h, m, MESSAGE_MAX);
	}
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct message m = {.size = MESSAGE_MAX};

		memset(m.b, 1, MESSAGE_MAX);
		put32(m.b, types[i]);
		host_send(h, m);
	}
	both_echo();
}

static const uint32_t odd_ids[] = {0,      3,          2046,       2047,       2048,
				   0xffff, 0x00010001, 0x80000001, 0xfffffffe, 0xffffffff};
#define ODD_IDS (sizeof(odd_ids) / sizeof(odd_ids[0]))

/* Answers to nothing, about channels and GPADLs that live and that do not. */
static void ctl_067_089_098_112_answers_to_nothing(void **state)
{
	for (unsigned int round = 0; round < 20; round++) {
		for (uint32_t type = 1; type <= LAST_TYPE; type++)
			if (!message_kinds[type].from_client && type != OFFER_CHANNEL &&
			    type != RESCIND_OFFER)
				host_send(h, about_first(type));
		host_send(h, make_open_result(1, ~h->channel[1].open_id, 0));
		host_send(h, make_open_result(2, h->channel[1].open_id, 0));
		host_send(h, make_gpadl_created(2, h->channel[1].ring_gpadl, 0));
		for (unsigned int i = 0; i < ODD_IDS; i++) {
			host_send(h, make_of_channel(RESCIND_OFFER, odd_ids[i]));
			host_send(h, make_open_result(odd_ids[i], odd_ids[i], 0));
			host_send(h, make_gpadl_created(odd_ids[i], odd_ids[i], 0));
			host_send(h, make_torndown(odd_ids[i]));
		}
		both_echo();
	}
}

/* ---- offers ---- */

static void ctl_047_048_offers_that_cannot_be(void **state)
{
	static const uint32_t bad[] = {0, 1, 2, 2048, 2049, 0x10003, 0x7fffffff, 0xffffffff};
	uint32_t devices = kmcl_driver_devices(client.driver);
	struct message m;

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		host_send(h, make_echo_offer(bad[i], i));
		host_send(h, nobodys_offer(bad[i]));
	}
	both_echo();
	assert_int_equal(kmcl_driver_devices(client.driver), devices);
	/* monitored by what is none of the 128 */
	m = nobodys_offer(7);
	m.b[188] = 200;
	m.b[189] = 0xff;
	host_send(h, m);
	host_send(h, make_of_channel(RESCIND_OFFER, 7));
	serve_until(&client, h->released[7] == 1);
	both_echo();
}

/* Every id there is, with nobody to take them; then all go. */
static void offers_of_every_id(void **state)
{
	for (unsigned int round = 0; round < 2; round++) {
		for (uint32_t relid = 3; relid <= MAX_RELID; relid++)
			host_send(h, nobodys_offer(relid));
		client_echo(&client, 1);
		client_echo(&client, 2);
		for (uint32_t relid = 3; relid <= MAX_RELID; relid++) {
			host_send(h, make_of_channel(RESCIND_OFFER, relid));
			host_serve(h);
		}
		serve_until(&client, h->released[MAX_RELID] == round + 1);
	}
	for (uint32_t relid = 3; relid <= MAX_RELID; relid++)
		assert_int_equal(h->released[relid], 2 + (relid == NOBODYS ? 0 : 0));
}

/* The same device under a second id, and again once the first is gone. */
static void the_same_device_twice(void **state)
{
	struct message m = make_echo_offer(3, 0);

	h->manners.opens = false;
	h->channel[3].offered = true;
	host_send(h, m);
	fence();
	h->manners.opens = true;
	client_echo(&client, 2);
	host_rescind(h, 3);
	serve_until(&client, h->released[3] == 1);
	client_echo(&client, 1);
}

/* More devices than the guest has memory for rings: those that find none fail, and it is all given
 * back when they go. */
static void more_devices_than_fit(void **state)
{
	const uint32_t last = 400;

	for (uint32_t relid = 10; relid <= last; relid++) {
		struct message m = make_echo_offer(relid, 0);

		put16(m.b + 36, (uint16_t)relid);
		m.b[39] = 0x11;
		host_send(h, m);
		host_serve(h);
	}
	client_echo(&client, 1);
	client_echo(&client, 2);
	for (uint32_t relid = 10; relid <= last; relid++) {
		host_send(h, make_of_channel(RESCIND_OFFER, relid));
		host_serve(h);
	}
	/* A release waits for the answer to what the client said of a GPADL before it knew, so the
	 * host keeps them until then. */
	for (uint32_t relid = 10; relid <= last; relid++)
		serve_until(&client, h->released[relid] == 1);
	for (uint32_t i = 0; i < MAX_GPADLS; i++)
		if (h->gpadl[i].relid >= 10)
			memset(&h->gpadl[i], 0, sizeof(h->gpadl[i]));
	client_echo(&client, 1);
}

/* Offered and withdrawn, over and over, by a host that takes no message: what the client would like
 * to say of it does not pile up. */
static void releases_that_nobody_takes_do_not_pile_up(void **state)
{
	uint32_t before = h->releases;

	for (uint32_t i = 0; i < 10000; i++) {
		host_send(h, nobodys_offer(3));
		host_send(h, make_of_channel(RESCIND_OFFER, 3));
	}
	fence();
	/* those that the ports hold, and one that waits */
	assert_true(h->releases - before < 100);
}

/* ---- withdrawn at the wrong moment ---- */

static kmcl_status enable_status;

static void enable_work(struct client *c, void *arg)
{
	enable_status = client_enable_blocking(c, 1);
}

/* Disabled, then enabled with a host that takes its time with one kind of answer. */
static void begin_open_without(bool *manner)
{
	struct client_task *t;

	client_disable(&client, 1);
	*manner = false;
	t = client_begin(&client, enable_work, NULL);
	client_end(&client, t);
	assert_int_equal(enable_status, 0);
}

static struct gpadl *gpadl_of(uint32_t relid)
{
	for (uint32_t i = 0; i < MAX_GPADLS; i++)
		if (h->gpadl[i].id && h->gpadl[i].relid == relid)
			return &h->gpadl[i];
	return NULL;
}

static bool gpadl_whole(uint32_t relid)
{
	struct gpadl *p = gpadl_of(relid);

	return p && p->have == p->words;
}

static void ctl_097_withdrawn_before_the_gpadl_was_answered(void **state)
{
	uint32_t id;

	begin_open_without(&h->manners.gpadls);
	serve_until(&client, gpadl_whole(1));
	id = gpadl_of(1)->id;
	host_rescind(h, 1);
	h->manners.gpadls = true;
	/* late, as it may be when the two cross */
	host_send(h, make_gpadl_created(1, id, 0));
	host_send(h, make_of_channel(RESCIND_OFFER, 1));
	serve_until(&client, h->released[1] == 1);
	host_send(h, make_gpadl_created(1, id, 0));
	host_offer(h, 1);
	serve_until(&client, client_runs(&client, 1));
}

static void ctl_097_withdrawn_before_the_open_was_answered(void **state)
{
	uint32_t asked = h->channel[1].opens;

	begin_open_without(&h->manners.opens);
	serve_until(&client, h->channel[1].opens == asked + 1);
	host_rescind(h, 1);
	host_send(h, make_open_result(1, h->channel[1].open_id, 0));
	h->manners.opens = true;
	serve_until(&client, h->released[1] == 1);
	host_send(h, make_open_result(1, h->channel[1].open_id, 0));
	host_offer(h, 1);
	serve_until(&client, client_runs(&client, 1));
}

/* Withdrawn with requests outstanding, which end; the rings are the guest's from then on. */
static void ctl_097_withdrawn_with_requests_outstanding(void **state)
{
	for (uint32_t i = 1; i <= 10; i++) {
		struct client_echo e = {.relid = 1, .size = 64};
		struct client_task *t;

		h->manners.packets = false;
		t = client_begin(&client, client_echo_work, &e);
		wait_for(load32(h->channel[1].in.control + AT_IN) != h->channel[1].in.mine);
		host_rescind(h, 1);
		h->manners.packets = true;
		client_end(&client, t);
		assert_true(e.status < 0);
		serve_until(&client, h->released[1] == i);
		host_offer(h, 1);
		serve_until(&client, client_runs(&client, 1));
		client_echo(&client, 2);
	}
}

/* ---- refusals and forgeries of what is asked for ---- */

static void ctl_089_open_results_of_every_kind(void **state)
{
	static const uint32_t statuses[] = {1, REFUSED, 0xc0000001, 0x7fffffff, 0xffffffff};

	for (unsigned int i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		uint32_t asked = h->channel[1].opens, id;

		begin_open_without(&h->manners.opens);
		serve_until(&client, h->channel[1].opens == asked + 1);
		id = h->channel[1].open_id;
		/* foreign ones first */
		host_send(h, make_open_result(1, id + 1, 0));
		host_send(h, make_open_result(2, id, 0));
		host_send(h, make_open_result(0, 0, 0));
		host_send(h, make_open_result(1, id, statuses[i]));
		host_send(h, make_open_result(1, id, 0));
		h->manners.opens = true;
		serve_until(&client, !gpadl_of(1)); /* it has given its rings back */
		client_echo(&client, 2);
		client_enable(&client, 1);
		client_echo(&client, 1);
	}
}

static void gpadls_that_are_refused(void **state)
{
	for (unsigned int i = 0; i < 5; i++) {
		struct gpadl *p;

		begin_open_without(&h->manners.gpadls);
		serve_until(&client, gpadl_whole(1));
		p = gpadl_of(1);
		host_send(h, make_gpadl_created(2, p->id, 0));
		host_send(h, make_gpadl_created(1, p->id + 1, 0));
		host_send(h, make_torndown(p->id));
		host_send(h, make_gpadl_created(1, p->id, 0xc0000001));
		host_send(h, make_gpadl_created(1, p->id, 0));
		memset(p, 0, sizeof(*p));
		h->manners.gpadls = true;
		fence();
		client_echo(&client, 2);
		client_enable(&client, 1);
		client_echo(&client, 1);
	}
}

/* ---- completions ---- */

static void ring_067_068_completions_forged_replayed_and_late(void **state)
{
	uint64_t seed = 4711, dropped = client_stats(&client, 1).dropped_completions, sent = 0;
	uint64_t last = h->channel[1].last_id;

	h->manners.packets = false;
	for (unsigned int i = 0; i < 50; i++) {
		struct client_echo e = {.relid = 1, .size = 40};
		struct client_task *t = client_begin(&client, client_echo_work, &e);
		uint8_t packet[128];
		uint32_t size;
		uint64_t id;

		wait_for((size = host_request(h, 1, packet, sizeof(packet))) != 0);
		id = get64(packet + 8);
		for (unsigned int k = 0; k < 5; k++, sent++)
			host_put(h, 1, 0xb, 0, next_random(&seed), NULL, 0, "forged!", 8);
		for (unsigned int bit = 0; bit < 64; bit++, sent++)
			host_put(h, 1, 0xb, 0, id ^ 1ull << bit, NULL, 0, "forged!", 8);
		host_put(h, 1, 0xb, 0, 0, NULL, 0, NULL, 0);
		host_put(h, 1, 0xb, 0, last, NULL, 0, "replayed", 8);
		sent += 2;
		assert_false(client_done(t));
		host_answer(h, 1, packet, size);
		host_put(h, 1, 0xb, 0, id, NULL, 0, "again!!!", 8);
		sent++;
		client_end(&client, t);
		assert_int_equal(e.status, 0);
		assert_true(e.right);
		last = id;
	}
	h->manners.packets = true;
	client_echo(&client, 1);
	assert_int_equal(client_stats(&client, 1).dropped_completions - dropped, sent);
}

struct burst {
	struct client_echo e[8];
	struct client_task *t[8];
};

/* Eight at once, answered from the last to the first. */
static void completions_in_any_order(void **state)
{
	static uint8_t packets[8][2048];
	uint32_t size[8];
	struct burst b = {0};

	for (unsigned int round = 0; round < 10; round++) {
		h->manners.packets = false;
		for (unsigned int i = 0; i < 8; i++) {
			b.e[i] = (struct client_echo){.relid = 1, .size = 100 * i + round};
			b.t[i] = client_begin(&client, client_echo_work, &b.e[i]);
		}
		for (unsigned int i = 0; i < 8; i++)
			wait_for((size[i] = host_request(h, 1, packets[i], sizeof(packets[i]))));
		for (unsigned int i = 8; i-- > 0;)
			host_answer(h, 1, packets[i], size[i]);
		for (unsigned int i = 0; i < 8; i++) {
			client_end(&client, b.t[i]);
			assert_true(b.e[i].right);
		}
		h->manners.packets = true;
	}
}

/* Right in everything but what they say. */
static void completions_of_every_size(void **state)
{
	static const uint32_t sizes[] = {0, 8, 16, 24, 1000, 4000};

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		static const uint8_t zeros[4096];
		struct client_echo e = {.relid = 1, .size = 500};
		struct client_task *t;
		uint8_t packet[1024];
		uint32_t size;

		h->manners.packets = false;
		t = client_begin(&client, client_echo_work, &e);
		wait_for((size = host_request(h, 1, packet, sizeof(packet))) != 0);
		host_put(h, 1, 0xb, 0xffff, get64(packet + 8), NULL, 0, zeros, sizes[i]);
		h->manners.packets = true;
		client_end(&client, t);
		assert_false(e.right);
		if (!client_runs(&client, 1) || e.status < 0)
			break; /* flags of no completion may end the channel's traffic */
		assert_int_equal(e.answer_size, sizes[i]);
	}
}

/* ---- rings that lie ---- */

struct lie {
	const char *name;
	const char *packet;
	uint32_t length, index, field;
};

#define TO_HOST 0x1000u
#define ID      "0100000000000000"
#define DATA    "ffffffff ffffffff ffffffffffffffff"

static const struct lie lies[] = {
	{.name = "ring_025_in_is_all_ones", .index = ~0u, .field = AT_IN},
	{.name = "ring_025_in_is_unaligned", .index = 4, .field = AT_IN},
	{.name = "ring_025_in_is_the_sign_bit", .index = 0x80000000, .field = AT_IN},
	{.name = "ring_027_in_is_8_ahead", .index = 8, .field = AT_IN},
	{.name = "ring_026_out_is_all_ones", .index = ~0u, .field = TO_HOST | AT_OUT},
	{.name = "ring_026_out_is_unaligned", .index = 12, .field = TO_HOST | AT_OUT},
	{.name = "ring_035_mask_is_all_ones", .index = ~0u, .field = TO_HOST | AT_MASK},
	{.name = "ring_035_pending_is_all_ones", .index = ~0u, .field = AT_PENDING},
	{.name = "ring_035_features_are_all_ones", .index = ~0u, .field = AT_FEATURES},
	{.name = "ring_028_length_is_0", .packet = "0b00 0200 0000 0000" ID, .length = 40},
	{.name = "ring_028_length_is_1", .packet = "0b00 0200 0100 0000" ID, .length = 40},
	{.name = "ring_028_data_offset_is_0", .packet = "0b00 0000 0400 0000" ID, .length = 40},
	{.name = "ring_028_data_offset_is_behind_the_end",
	 .packet = "0b00 0500 0400 0000" ID,
	 .length = 40},
	{.name = "ring_029_length_leaves_no_trailer",
	 .packet = "0b00 0200 0500 0000" ID,
	 .length = 40},
	{.name = "ring_029_length_is_all_ones", .packet = "0b00 0200 ffff 0000" ID, .length = 40},
	{.name = "ring_024_type_0", .packet = "0000 0200 0400 0000" ID, .length = 40},
	{.name = "ring_024_type_8", .packet = "0800 0200 0400 0000" ID, .length = 40},
	{.name = "ring_024_type_0xffff", .packet = "ffff 0200 0400 0000" ID, .length = 40},
	{.name = "gpa_direct_from_a_host",
	 .packet = "0900 0500 0700 0100" ID "00000000 01000000 00100000 00000000 0500000000000000",
	 .length = 64},
	{.name = "ring_019_transfer_pages_that_wrap",
	 .packet = "0700 0400 0600 0100" ID "0100 0000 01000000 10000000 f8ffffff" DATA,
	 .length = 56},
	{.name = "ring_023_transfer_pages_without_header",
	 .packet = "0700 0200 0400 0100" ID DATA,
	 .length = 40},
	{.name = "data_that_asks_for_completion",
	 .packet = "0600 0200 0400 0100" ID DATA,
	 .length = 40},
	{.name = "data_of_no_bytes", .packet = "0600 0200 0200 0000" ID, .length = 24},
};
#define LIES (sizeof(lies) / sizeof(lies[0]))

static void disable_work(struct client *c, void *arg)
{
	client_disable_blocking(c, 1);
}

/* The channel may be dead of it: then what was asked ends when the driver closes it. */
static void lie_in_a_ring(void **state)
{
	const struct lie *l = *state;
	struct served_channel *c = &h->channel[1];
	struct client_echo e = {.relid = 1, .size = 100};
	uint64_t until = now_ns() + 20000000;
	struct client_task *t, *d;
	uint8_t bytes[256] = {0};

	client_disable(&client, 1);
	client_enable(&client, 1); /* a fresh ring, at 0 */
	if (l->packet) {
		parse_hex(l->packet, bytes, sizeof(bytes));
		ring_write(&c->out, bytes, l->length);
		store32(c->out.control + AT_IN, c->out.mine);
	} else {
		store32((l->field & TO_HOST ? c->in.control : c->out.control) + (l->field & 0xfff),
			l->index);
	}
	host_signal(h, 1);
	/* an index that lies has to be seen before a right one replaces it */
	nap_us(2000);
	t = client_begin(&client, client_echo_work, &e);
	while (now_ns() < until && !client_done(t))
		if (!host_serve(h))
			nap_us(50);
	client_echo(&client, 2);
	d = client_begin(&client, disable_work, NULL);
	client_end(&client, d);
	client_end(&client, t);
}

/* ---- signals ---- */

static void *signal_run(void *arg)
{
	atomic_bool *stop = arg;

	while (!atomic_load(stop))
		for (uint32_t flag = 0; flag < 2048; flag++)
			machine_set_flag(client.m, flag % MACHINE_VPS, (uint16_t)flag);
	return NULL;
}

static void ctl_118_every_flag_of_every_processor(void **state)
{
	atomic_bool stop = false;
	pthread_t thread;

	pthread_create(&thread, NULL, signal_run, &stop);
	for (unsigned int i = 0; i < 300; i++)
		client_echo(&client, 1 + i % 2);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

/* ---- without end ---- */

/* A host that fills the slot as soon as it is empty keeps nobody from working, nor the client's end
 * from ending. */
static void a_flood_of_messages_does_not_starve_the_client(void **state)
{
	struct message m = make_torndown(0x12345678);

	machine_flood(client.m, m.b, m.size);
	for (unsigned int i = 0; i < 20; i++) {
		client_disable(&client, 1);
		client_enable(&client, 1);
		client_echo(&client, 1);
	}
	client_stop(&client);
}

/* ---- hosts that do not answer ---- */

static void a_host_that_is_not_there(void **state)
{
	h->deaf = true;
}

static void a_host_that_does_not_answer_the_contact(void **state)
{
	h->manners.contact = false;
	serve_until(&client, h->contacts == 1);
}

static void a_host_that_refuses_every_version(void **state)
{
	h->version = 0xffffffff;
	serve_until(&client, h->contacts == version_count);
}

static void a_host_that_never_ends_its_offers(void **state)
{
	h->manners.offers = false;
	serve_until(&client, h->contacts == 1);
	for (unsigned int i = 0; i < 20; i++)
		if (!host_serve(h))
			nap_us(500);
}

static void a_host_that_does_not_accept_gpadls(void **state)
{
	h->manners.gpadls = false;
	serve_until(&client, gpadl_whole(1) && gpadl_whole(2));
}

static void a_host_that_does_not_open(void **state)
{
	h->manners.opens = false;
	serve_until(&client, h->channel[1].opens && h->channel[2].opens);
}

static void a_host_that_keeps_the_rings(void **state)
{
	client_connect(&client, 0x00050003);
	client_echo(&client, 1);
	h->manners.teardowns = false;
}

static void a_host_that_does_not_let_go(void **state)
{
	client_connect(&client, 0x00050003);
	client_echo(&client, 1);
	h->manners.unload = false;
}

static void a_host_that_takes_no_message(void **state)
{
	client_connect(&client, 0x00050003);
	client_echo(&client, 1);
	h->deaf = true;
}

int main(void)
{
	static struct CMUnitTest tests[LIES + 40];
	size_t n = 0;

#define TEST(f, up, down) \
	tests[n++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(f, up, down)
#define SURVIVES(f) TEST(f, set_up, tear_down)
#define ENDS(f)     TEST(f, set_up_silent, tear_down_only)
	SURVIVES(ctl_010_slots_that_hold_no_message);
	SURVIVES(ctl_010_every_message_cut_at_every_length);
	SURVIVES(ctl_010_what_only_a_client_may_say_and_what_nobody_does);
	SURVIVES(ctl_067_089_098_112_answers_to_nothing);
	SURVIVES(ctl_047_048_offers_that_cannot_be);
	SURVIVES(offers_of_every_id);
	SURVIVES(the_same_device_twice);
	SURVIVES(more_devices_than_fit);
	SURVIVES(releases_that_nobody_takes_do_not_pile_up);
	SURVIVES(ctl_097_withdrawn_before_the_gpadl_was_answered);
	SURVIVES(ctl_097_withdrawn_before_the_open_was_answered);
	SURVIVES(ctl_097_withdrawn_with_requests_outstanding);
	SURVIVES(ctl_089_open_results_of_every_kind);
	SURVIVES(gpadls_that_are_refused);
	SURVIVES(ring_067_068_completions_forged_replayed_and_late);
	SURVIVES(completions_in_any_order);
	SURVIVES(completions_of_every_size);
	for (size_t i = 0; i < LIES; i++) {
		SURVIVES(lie_in_a_ring);
		tests[n - 1].name = lies[i].name;
		tests[n - 1].initial_state = (void *)(uintptr_t)&lies[i];
	}
	SURVIVES(ctl_118_every_flag_of_every_processor);
	TEST(a_flood_of_messages_does_not_starve_the_client, set_up, NULL);
	ENDS(a_host_that_is_not_there);
	ENDS(a_host_that_does_not_answer_the_contact);
	ENDS(a_host_that_refuses_every_version);
	ENDS(a_host_that_never_ends_its_offers);
	ENDS(a_host_that_does_not_accept_gpadls);
	ENDS(a_host_that_does_not_open);
	ENDS(a_host_that_keeps_the_rings);
	ENDS(a_host_that_does_not_let_go);
	ENDS(a_host_that_takes_no_message);
	if (getenv("KMCL_ONLY"))
		cmocka_set_test_filter(getenv("KMCL_ONLY"));
	return _cmocka_run_group_tests("hostile host", tests, n, NULL, NULL);
}
