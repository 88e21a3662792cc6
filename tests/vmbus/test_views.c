/* SPDX-License-Identifier: MIT */
/*
 * Everything of a server and of a client that can be looked at, looked at in every state that they
 * have and in every state of a channel.
 */
#include "guest.h"

#include "vmbus/server_internal.h"

/* ---- the server ---- */

static bool is_connected(enum vmbus_server_state state)
{
	return state == VMBUS_SERVER_STATE_NEGOTIATED || state == VMBUS_SERVER_STATE_CONNECTED;
}

/* Ids that never were, that are no more, and that are. */
static void view_ids(struct bench *t)
{
	static const vmbus_offer_id strange[] = {0, 1, 0xffff, 0x10000, UINT64_MAX};
	struct vmbus_gpadl_view view;

	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		assert_int_equal(vmbus_server_channel_id(t->s, strange[i]), 0);
		assert_int_equal(vmbus_server_gpadl(t->s, strange[i], 100, &view),
				 VMBUS_E_NOT_FOUND);
	}
	for (int i = 0; i < DEVICES; i++) {
		uint32_t relid = vmbus_server_channel_id(t->s, t->offer[i]);

		assert_true(!relid || t->s->by_relid[relid]->id == t->offer[i]);
		for (uint32_t id = 98; id < 104; id++)
			(void)vmbus_server_gpadl(t->s, t->offer[i], id, &view);
	}
}

static void view_server(struct bench *t, enum vmbus_server_state state)
{
	uint64_t received = vmbus_server_statistics(t->s)->received;

	assert_int_equal(vmbus_server_state(t->s), state);
	if (state == VMBUS_SERVER_STATE_DISCONNECTED || state == VMBUS_SERVER_STATE_CONNECTING)
		assert_int_equal(vmbus_server_version(t->s), 0);
	if (is_connected(state))
		assert_int_not_equal(vmbus_server_version(t->s), 0);
	assert_true(vmbus_server_version(t->s) || !vmbus_server_features(t->s));
	view_ids(t);
	(void)vmbus_server_ready(t->s);
	/* To look changes nothing. */
	assert_int_equal(vmbus_server_statistics(t->s)->received, received);
	assert_null(vmbus_server_check(t->s));
	assert_int_equal(vmbus_server_state(t->s), state);
}

static void field_016_every_state_of_a_server(void **state)
{
	struct bench *t = *state;
	struct raw contact = raw_contact(0x50003);

	view_server(t, VMBUS_SERVER_STATE_DISCONNECTED);
	offer(t, 0);
	view_server(t, VMBUS_SERVER_STATE_DISCONNECTED);
	post(t, contact);
	view_server(t, VMBUS_SERVER_STATE_CONNECTING);
	vmbus_server_reset(t->s);
	view_server(t, VMBUS_SERVER_STATE_DISCONNECTED);
	vmbus_server_connect_done(t->s, true); /* of before the reset */
	while (vmbus_server_next_action(t->s, &t->a))
		;
	negotiate(t, 0x50003, 0);
	view_server(t, VMBUS_SERVER_STATE_NEGOTIATED);
	request_offers(t, 1);
	view_server(t, VMBUS_SERVER_STATE_CONNECTED);
	open_channel(t, 0);
	post(t, raw(16, 8));
	view_server(t, VMBUS_SERVER_STATE_DISCONNECTING);
	post(t, contact); /* another waits behind */
	view_server(t, VMBUS_SERVER_STATE_DISCONNECTING);
	vmbus_server_reset(t->s);
	view_server(t, VMBUS_SERVER_STATE_DISCONNECTING);
	vmbus_server_close_done(t->s, t->offer[0]);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	view_server(t, VMBUS_SERVER_STATE_DISCONNECTED);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	view_server(t, VMBUS_SERVER_STATE_DISCONNECTED);
}

static void see(struct bench *t, enum channel_state channel, enum vmbus_server_state server,
		bool *seen)
{
	assert_int_equal(t->s->sorted[0]->state, channel);
	seen[channel] = true;
	view_server(t, server);
}

/* Each state of a channel in turn, by way of the others. */
static void field_016_every_state_of_a_servers_channel(void **state)
{
	const enum vmbus_server_state up = VMBUS_SERVER_STATE_CONNECTED;
	struct bench *t = *state;
	bool seen[CHANNEL_STATES] = {false};

	offer(t, 0);
	see(t, CHANNEL_RELEASED, VMBUS_SERVER_STATE_DISCONNECTED, seen);
	negotiate(t, 0x50003, 0);
	see(t, CHANNEL_RELEASED, VMBUS_SERVER_STATE_NEGOTIATED, seen);
	request_offers(t, 1);
	see(t, CHANNEL_CLOSED, up, seen);
	ask_open(t, 0);
	see(t, CHANNEL_OPENING, up, seen);
	finish_open(t, 0);
	see(t, CHANNEL_OPEN, up, seen);
	post(t, raw_modify(1, 2));
	see(t, CHANNEL_OPEN, up, seen);
	post(t, raw_one(7, 12, 1));
	see(t, CHANNEL_CLOSING, up, seen);
	post(t, raw_open(1, 9, 100, 1, 4));
	see(t, CHANNEL_CLOSING_REOPEN, up, seen);
	vmbus_server_close_done(t->s, t->offer[0]);
	see(t, CHANNEL_OPENING, up, seen);
	post(t, raw_contact(0x50003));
	see(t, CHANNEL_OPENING_RELEASED, VMBUS_SERVER_STATE_DISCONNECTING, seen);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	see(t, CHANNEL_CLOSING_RELEASED, VMBUS_SERVER_STATE_DISCONNECTING, seen);
	bench_restart(t);
	connect_with(t, 0x50003, 0, 1);
	open_channel(t, 0);
	vmbus_server_revoke(t->s, t->offer[0]);
	see(t, CHANNEL_REVOKED, up, seen);
	offer(t, 0);
	see(t, CHANNEL_REOFFERED, up, seen);
	for (int i = 0; i < CHANNEL_STATES; i++)
		assert_true(seen[i]);
}

/* A view of a GPADL is there while the device may use it, and not a call longer. */
static void field_016_every_state_of_a_gpadl(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, 0x50003, 0, 1);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_E_NOT_FOUND);
	post(t, raw_header(1, 7, 30, 0x1000));
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_E_NOT_FOUND);
	post(t, raw_body(7, 30, 0x1000, 26));
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_OK);
	assert_int_equal(view.page_count, 30);
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	vmbus_server_gpadl_done(t->s, t->offer[0], 7, true);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_OK);
	post(t, raw_gpadl_teardown(1, 7));
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_E_STATE);
	vmbus_server_revoke(t->s, t->offer[0]);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_E_NOT_FOUND);
	/* A device that comes back has nothing of the one before. */
	offer(t, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_E_NOT_FOUND);
}

/* ---- the client ---- */

static void view_client(struct guest *g, enum vmbus_client_state state)
{
	bool up = state == VMBUS_CLIENT_STATE_REQUESTING_OFFERS ||
		  state == VMBUS_CLIENT_STATE_CONNECTED;

	assert_int_equal(vmbus_client_state(g->c), state);
	assert_int_equal(vmbus_client_version(g->c) != 0, up);
	assert_true(up || state == VMBUS_CLIENT_STATE_DISCONNECTING ||
		    !vmbus_client_features(g->c));
	assert_non_null(vmbus_client_statistics(g->c));
	assert_null(vmbus_client_check(g->c));
}

static void field_016_every_state_of_a_client(void **state)
{
	struct guest *g = *state;

	view_client(g, VMBUS_CLIENT_STATE_DISCONNECTED);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	view_client(g, VMBUS_CLIENT_STATE_CONNECTING);
	vmbus_client_lost(g->c);
	view_client(g, VMBUS_CLIENT_STATE_DISCONNECTED);
	while (vmbus_client_next_action(g->c, &g->a))
		;
	connect_at(g, GOOD);
	view_client(g, VMBUS_CLIENT_STATE_REQUESTING_OFFERS);
	host(g, raw_offer(0, 1));
	view_client(g, VMBUS_CLIENT_STATE_REQUESTING_OFFERS);
	host(g, raw(4, 8));
	view_client(g, VMBUS_CLIENT_STATE_CONNECTED);
	host(g, rescind(1));
	view_client(g, VMBUS_CLIENT_STATE_CONNECTED);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	view_client(g, VMBUS_CLIENT_STATE_DISCONNECTING);
	host(g, raw(17, 8));
	view_client(g, VMBUS_CLIENT_STATE_DISCONNECTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(field_016_every_state_of_a_server, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(field_016_every_state_of_a_servers_channel,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(field_016_every_state_of_a_gpadl, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(field_016_every_state_of_a_client, guest_setup,
						guest_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
