/* SPDX-License-Identifier: MIT */
/*
 * A host that keeps to the rules, in raw bytes, against the real client: every message that the
 * client posts, at every version, and every byte of its packets.
 */
#include <stdio.h>
#include <string.h>

#include "client.h"

static struct client client;
static struct host *const h = &client.h;
static uint64_t interrupt_page;

static int set_up(void **state)
{
	client_start(&client, NULL);
	return 0;
}

static int tear_down(void **state)
{
	client_stop(&client);
	return 0;
}

/* The next contact the client must try: all of it, but where its pages lie is its own affair. */
static void expect_contact(uint32_t version, uint64_t pages[3])
{
	struct message m, want;
	uint32_t port;

	wait_for(host_take(h, &port, &m));
	pages[0] = version < 0x00050000 ? get64(m.b + 16) : 2;
	pages[1] = get64(m.b + 24);
	pages[2] = get64(m.b + 32);
	want = make_contact(version, 0, pages[0], pages[1], pages[2]);
	assert_int_equal(m.size, want.size);
	assert_memory_equal(m.b, want.b, m.size);
	assert_int_equal(port, version >= 0x00050000 ? SECOND_PORT : FIRST_PORT);
	assert_int_equal(!pages[1], !pages[2]);
	for (unsigned int i = version < 0x00050000 ? 0 : 1; i < 3; i++) {
		assert_int_equal(pages[i] % PAGE, 0);
		assert_true(pages[i] < MACHINE_MEMORY);
	}
}

/* Refuses all that is above, then accepts. */
static void negotiate(uint32_t version)
{
	struct message want = make_header_only(REQUEST_OFFERS);
	uint64_t pages[3];

	for (unsigned int i = version_count; i-- > 0;) {
		expect_contact(all_versions[i], pages);
		if (all_versions[i] == version)
			break;
		host_send(h, make_version_response(all_versions[i], false, 0));
	}
	h->agreed = version;
	interrupt_page = version < 0x00050000 ? pages[0] : PAGE;
	/* 5.0 and above are told where to post from now on */
	host_send(h, make_version_response(version, true, SECOND_PORT));
	host_expect_bytes(h, version >= 0x00050000 ? SECOND_PORT : FIRST_PORT, &want);
	for (uint32_t relid = 1; relid <= HOST_CHANNELS; relid++)
		host_offer(h, relid);
	host_send(h, make_header_only(ALL_OFFERS));
}

static void take_to(uint32_t port, struct message *m)
{
	uint32_t came_to;

	wait_for(host_take(h, &came_to, m));
	assert_int_equal(came_to, port);
	assert_int_equal(get32(m->b + 4), 0);
}

/* Both channels announce their rings and open, in whatever order. */
static void expect_opens(void)
{
	uint32_t port = h->agreed >= 0x00050000 ? SECOND_PORT : FIRST_PORT, opened = 0;

	while (opened < HOST_CHANNELS) {
		struct message m, want;
		struct gpadl *p;

		take_to(port, &m);
		switch (get32(m.b)) {
		case GPADL_HEADER:
		case GPADL_BODY:
			p = host_collect(h, &m);
			assert_true(!p || p->id);
			if (p)
				host_send(h, make_gpadl_created(p->relid, p->id, 0));
			break;
		case OPEN_CHANNEL:
			assert_true(host_map(h, &m));
			/* whole, for a processor that exists; nothing in the user data */
			want = make_open(get32(m.b + 8), get32(m.b + 12), get32(m.b + 16),
					 get32(m.b + 20), get32(m.b + 24));
			assert_int_equal(m.size, 148);
			assert_memory_equal(m.b, want.b, 148);
			assert_true(get32(m.b + 20) < MACHINE_VPS);
			assert_true(machine_bind_signal(client.m, 0x2000 + get32(m.b + 8),
							get32(m.b + 8)));
			h->channel[get32(m.b + 8)].open = true;
			h->channel[get32(m.b + 8)].connection = 0x2000 + get32(m.b + 8);
			host_send(h, make_open_result(get32(m.b + 8), get32(m.b + 12), 0));
			opened++;
			break;
		default:
			fail_msg("message %u", get32(m.b));
		}
	}
}

/* An empty ring becomes non-empty, and nobody has masked that: the oldest sets a bit of the page
 * that all channels share, on the host's half of it. */
static void expect_ring(uint32_t relid)
{
	uint8_t *byte = host_at(h, interrupt_page) + 2048 + relid / 8;

	if (h->agreed == 0x0000000d)
		wait_for(__atomic_fetch_and(byte, ~(1u << relid % 8), __ATOMIC_SEQ_CST) &
			 1u << relid % 8);
	else
		wait_for(machine_rung(client.m, relid));
}

/* An ECHO of 5 bytes, whole: descriptor, payload, pad, trailer. */
static void expect_echo(uint32_t relid)
{
	struct client_echo e = {.relid = relid, .size = 5};
	struct served_channel *c = &h->channel[relid];
	struct client_task *t = client_begin(&client, client_echo_work, &e);
	uint8_t got[40], want[64], payload[21];
	uint32_t at = c->in.mine, size;
	uint8_t trailer[8];

	expect_ring(relid);
	wait_for((size = host_request(h, relid, got, sizeof(got))) != 0);
	assert_int_equal(size, 40);
	put32(payload, 1);
	put32(payload + 4, 5);
	put64(payload + 8, 0xabcdef0123456789u ^ 5);
	parse_hex("01 04 07 0a 0d", payload + 16, 5);
	assert_int_not_equal(get64(got + 8), 0);
	make_packet(want, 6, 1, get64(got + 8), NULL, 0, payload, sizeof(payload), at);
	assert_memory_equal(got, want, 40);
	shared_read(c->in.data + (at + 40) % c->in.size, trailer, 8);
	assert_memory_equal(trailer, want + 40, 8);
	host_answer(h, relid, got, size);
	client_end(&client, t);
	assert_int_equal(e.status, 0);
	assert_true(e.right);
}

static void expect_close_and_reopen(uint32_t relid)
{
	uint32_t gpadl = h->channel[relid].ring_gpadl, closes = h->closes;

	client_disable(&client, relid);
	assert_int_equal(h->closes, closes + 1);
	assert_null(host_gpadl(h, gpadl));
	client_enable(&client, relid);
	/* an id that lives on the connection is never used again while it does */
	assert_int_not_equal(h->channel[relid].ring_gpadl, 0);
	client_echo(&client, relid);
}

static void ctl_032_034_036_066_each_version_byte_for_byte(void **state)
{
	uint32_t version = *(const uint32_t *)*state;

	negotiate(version);
	expect_opens();
	serve_until(&client, client_runs(&client, 1) && client_runs(&client, 2));
	for (unsigned int i = 0; i < 20; i++) {
		expect_echo(1);
		expect_echo(2);
	}
	expect_close_and_reopen(1);
	expect_close_and_reopen(2);
	for (unsigned int i = 0; i < 20; i++)
		client_echo(&client, 1 + i % 2);
}

static void disable_work(struct client *c, void *arg)
{
	client_disable_blocking(c, 1);
}

/* CLOSE goes before TEARDOWN, both whole, and TEARDOWN names both ids. */
static void close_and_teardown_whole(void **state)
{
	struct message close = make_of_channel(CLOSE_CHANNEL, 1), teardown;
	struct client_task *t;

	client_connect(&client, 0x00050003);
	client_echo(&client, 1);
	teardown = make_teardown(1, h->channel[1].ring_gpadl);
	t = client_begin(&client, disable_work, NULL);
	host_expect_bytes(h, FIRST_PORT, &close);
	host_expect_bytes(h, FIRST_PORT, &teardown);
	machine_unbind_signal(client.m, h->channel[1].connection);
	h->channel[1].open = false;
	host_send(h, make_torndown(h->channel[1].ring_gpadl));
	memset(host_gpadl(h, h->channel[1].ring_gpadl), 0, sizeof(struct gpadl));
	client_end(&client, t);
	client_enable(&client, 1);
	client_echo(&client, 1);
}

/* At the end: CLOSE and TEARDOWN of each, then UNLOAD; and then silence, whatever the host says,
 * until it says that it has let go. */
static void ctl_112_unload_comes_last(void **state)
{
	struct message offer = make_echo_offer(7, 1);
	struct client_task *t;

	client_connect(&client, 0x00060000);
	client_echo(&client, 1);
	host_send(h, make_header_only(UNLOAD_COMPLETE));
	client_echo(&client, 1);
	assert_int_equal(h->unloads, 0);
	h->manners.unload = false;
	t = client_stop_begin(&client);
	serve_until(&client, h->unloads == 1);
	assert_int_equal(h->closes, 2);
	for (uint32_t i = 0; i < MAX_GPADLS; i++)
		assert_int_equal(h->gpadl[i].id, 0);
	host_send(h, offer);
	host_send(h, make_of_channel(RESCIND_OFFER, 7));
	host_send(h, make_header_only(ALL_OFFERS));
	host_send(h, make_of_channel(RESCIND_OFFER, 1));
	for (unsigned int i = 0; i < 20; i++) {
		assert_false(host_serve(h));
		nap_us(1000);
	}
	assert_false(client_done(t));
	assert_int_equal(h->releases, 0);
	host_send(h, make_header_only(UNLOAD_COMPLETE));
	client_stop_end(&client, t);
}

static void ctl_097_a_rescind_is_answered_once(void **state)
{
	client_connect(&client, 0x00050003);
	for (uint32_t i = 1; i <= 20; i++) {
		host_rescind(h, 1);
		serve_until(&client, h->released[1] == i);
		client_echo(&client, 2);
		host_offer(h, 1);
		serve_until(&client, client_runs(&client, 1));
		client_echo(&client, 1);
	}
	assert_int_equal(h->releases, 20);
}

int main(void)
{
	static struct CMUnitTest tests[16 + 8];
	static char names[16][80];
	size_t n = 0;

	for (unsigned int i = 0; i < version_count; i++) {
		tests[n] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(
			ctl_032_034_036_066_each_version_byte_for_byte, set_up, tear_down);
		snprintf(names[i], sizeof(names[i]), "%s_%u_%u", tests[n].name,
			 all_versions[i] >> 16, all_versions[i] & 0xffff);
		tests[n].name = names[i];
		tests[n++].initial_state = (void *)(uintptr_t)&all_versions[i];
	}
	tests[n++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(close_and_teardown_whole,
									set_up, tear_down);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(ctl_112_unload_comes_last,
									set_up, NULL);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(
		ctl_097_a_rescind_is_answered_once, set_up, tear_down);
	return _cmocka_run_group_tests("raw host", tests, n, NULL, NULL);
}
