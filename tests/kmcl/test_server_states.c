/* SPDX-License-Identifier: MIT */
/* The server's state table, a case for every row: what happens to the state, which callbacks, in
 * which order. The states are told apart by what the channel does next. */
#include "harness.h"

static void enable(struct kt_chan *c)
{
	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
}

static void to_paused(struct kt_pair *p)
{
	enable(p->server);
	enable(p->client);
	KT_EXPECT(p->server, "O");
	KT_EXPECT(p->client, "OSP");
	kt_forget(p->server);
}

static void to_active(struct kt_pair *p)
{
	kt_pair_open(p);
	KT_EXPECT(p->server, "OSP");
	kt_forget(p->server);
}

static void guest_closes(struct kt_pair *p)
{
	VmbChannelDisable(p->client->h);
	kt_forget(p->client);
}

static void to_stopped(struct kt_pair *p, bool running)
{
	if (running)
		to_active(p);
	else
		to_paused(p);
	guest_closes(p);
	KT_EXPECT(p->server, running ? "UC" : "C");
	kt_forget(p->server);
}

/* kt_forget cuts the record of a session short: close it before the checks at the end. */
static void end(struct kt_pair *p)
{
	VmbChannelDisable(p->client->h);
	VmbChannelDisable(p->server->h);
	kt_forget(p->client);
	kt_forget(p->server);
	kt_pair_free(p);
}

static void ddi_087_inv_004_disabled_enable_succeeds(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	assert_false(kt_is_disabled(p.server));
	KT_STAYS(p.server->begun_count == 0);
	enable(p.client); /* nor does the client wait for anybody */
	end(&p);
}

static void ddi_087_disabled_enable_fails(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_chan *twin = kt_chan_new(*state, true, kt_type, p.server->instance);

	enable(twin);
	assert_int_equal(VmbChannelEnable(p.server->h), STATUS_OBJECT_NAME_COLLISION);
	assert_true(kt_is_disabled(p.server));
	KT_STAYS(p.server->begun_count == 0);
	kt_chan_free(twin);
	end(&p);
}

static void ddi_087_disabled_start_arms_the_next_enable_only(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	VmbChannelStart(p.server->h);
	assert_true(kt_is_disabled(p.server));
	enable(p.server);
	enable(p.client);
	KT_EXPECT(p.server, "OSP");
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	KT_EXPECT(p.server, "OSPUC");
	kt_forget(p.server);
	enable(p.server); /* back to the default: paused */
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

static void ddi_087_disabled_pause_takes_start_back(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	VmbChannelStart(p.server->h);
	VmbChannelPause(p.server->h);
	VmbChannelDisable(p.server->h);
	assert_true(kt_is_disabled(p.server));
	enable(p.server);
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

static void ddi_087_025_disabled_disable_does_nothing(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	VmbChannelDisable(p.server->h);
	VmbChannelDisable(p.server->h);
	assert_true(kt_is_disabled(p.server));
	assert_int_equal(p.server->begun_count, 0);
	end(&p);
}

static void ddi_087_048_inv_009_enabled_start_then_open(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	VmbChannelStart(p.server->h);
	KT_STAYS(p.server->begun_count == 0);
	enable(p.client);
	KT_EXPECT(p.server, "OSP");
	end(&p);
}

static void ddi_087_inv_009_enabled_guest_opens(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

static void ddi_087_enabled_pause(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	VmbChannelPause(p.server->h);
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

static void ddi_087_started_pause(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	VmbChannelStart(p.server->h);
	VmbChannelPause(p.server->h);
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

/* An open that the server's Opened refuses: the client hears its status, the server is as before.
 */
static void refuse_once(struct kt_pair *p)
{
	p->server->opened_status = STATUS_INSUFFICIENT_RESOURCES;
	enable(p->client);
	KT_EXPECT(p->client, "F");
	KT_EXPECT(p->server, "o");
	assert_int_equal(p->client->pnp_status, STATUS_INSUFFICIENT_RESOURCES);
	KT_WAIT(kt_is_disabled(p->client));
	KT_STAYS(p->server->begun_count == 1);
	p->server->opened_status = STATUS_SUCCESS;
	kt_forget(p->server);
	kt_forget(p->client);
	enable(p->client);
}

static void ddi_087_085_inv_008_enabled_open_fails(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	refuse_once(&p);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

static void ddi_087_inv_008_started_open_fails(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	VmbChannelStart(p.server->h);
	refuse_once(&p);
	KT_EXPECT(p.server, "OSP");
	end(&p);
}

static void ddi_087_stopped_open_fails(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_stopped(&p, true);
	refuse_once(&p);
	KT_EXPECT(p.server, "OSP");
	end(&p);
}

/* Disable without a session: no callback, and queued sends end. */
static void disable_silently(struct kt_pair *p)
{
	struct kt_send *s = kt_send_new(p->server);

	assert_int_equal(kt_send_pattern(s, 64, 1, 0), STATUS_SUCCESS);
	KT_STAYS(atomic_load(&s->routines) == 0);
	VmbChannelDisable(p->server->h);
	assert_int_equal(atomic_load(&s->routines), 1);
	assert_int_equal(s->status, STATUS_DEVICE_REMOVED);
	assert_true(s->data_null);
	assert_int_equal(s->length, 0);
	assert_true(kt_is_disabled(p->server));
	KT_STAYS(p->server->begun_count == 0);
	kt_send_free(s);
}

static void ddi_087_enabled_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	disable_silently(&p);
	end(&p);
}

static void ddi_087_started_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	VmbChannelStart(p.server->h);
	disable_silently(&p);
	end(&p);
}

static void ddi_087_stopped_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_stopped(&p, true);
	disable_silently(&p);
	end(&p);
}

static void ddi_087_paused_start(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p);
	VmbChannelStart(p.server->h);
	KT_EXPECT(p.server, "SP");
	end(&p);
}

static void ddi_087_paused_pause(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p);
	VmbChannelPause(p.server->h);
	KT_STAYS(p.server->begun_count == 0);
	end(&p);
}

static void ddi_087_paused_guest_closes(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p);
	guest_closes(&p);
	KT_EXPECT(p.server, "C");
	assert_false(kt_is_disabled(p.server));
	enable(p.client); /* the offer stands */
	KT_EXPECT(p.server, "CO");
	end(&p);
}

static void ddi_087_paused_guest_reset(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);

	to_paused(&p);
	assert_int_equal(part_reset(bus->part), 0);
	KT_EXPECT(p.server, "C");
	KT_EXPECT(p.client, "OSPUC");
	assert_false(kt_is_disabled(p.server));
	KT_WAIT(kt_is_disabled(p.client));
	enable(p.client);
	KT_EXPECT(p.server, "CO");
	end(&p);
}

static void ddi_087_paused_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p);
	VmbChannelDisable(p.server->h);
	assert_string_equal(p.server->done, "C");
	assert_true(kt_is_disabled(p.server));
	end(&p);
}

static void ddi_087_active_start(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_active(&p);
	VmbChannelStart(p.server->h);
	KT_STAYS(p.server->begun_count == 0);
	end(&p);
}

static void ddi_087_active_pause(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_active(&p);
	VmbChannelPause(p.server->h);
	assert_string_equal(p.server->done, "U");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

static void ddi_087_active_guest_closes(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_active(&p);
	guest_closes(&p);
	KT_EXPECT(p.server, "UC");
	assert_false(kt_is_disabled(p.server));
	end(&p);
}

static void ddi_087_active_guest_reset(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);

	to_active(&p);
	assert_int_equal(part_reset(bus->part), 0);
	KT_EXPECT(p.server, "UC");
	assert_false(kt_is_disabled(p.server));
	KT_EXPECT(p.client, "OSPUC");
	KT_WAIT(kt_is_disabled(p.client));
	enable(p.client);
	KT_EXPECT(p.server, "UCOSP");
	end(&p);
}

static void ddi_087_active_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_active(&p);
	VmbChannelDisable(p.server->h);
	assert_string_equal(p.server->done, "UC");
	assert_true(kt_is_disabled(p.server));
	end(&p);
}

static bool fail_packet(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
			UINT32 flags)
{
	(void)c;
	(void)buffer;
	(void)length;
	(void)flags;
	VmbChannelPacketFail(packet);
	return true;
}

static void ddi_087_active_packet_fail(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s, *back;

	p.server->on_packet = fail_packet;
	to_active(&p);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 64, 1, 0), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&p.server->delivered) == 1);
	back = kt_send_new(p.server); /* still active: it can send */
	assert_int_equal(kt_send_pattern(back, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&back->routines) == 1);
	assert_int_equal(back->status, STATUS_SUCCESS);
	KT_STAYS(p.server->begun_count == 0);
	kt_send_free(s);
	kt_send_free(back);
	end(&p);
}

static void ddi_087_048_inv_010_stopped_running_guest_reopens(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_stopped(&p, true);
	enable(p.client);
	KT_EXPECT(p.server, "OSP");
	end(&p);
}

static void ddi_087_stopped_paused_guest_reopens(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_stopped(&p, false);
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

static void ddi_087_stopped_start(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_stopped(&p, false);
	VmbChannelStart(p.server->h);
	KT_STAYS(p.server->begun_count == 0);
	enable(p.client);
	KT_EXPECT(p.server, "OSP");
	end(&p);
}

static void ddi_087_stopped_pause(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_stopped(&p, true);
	VmbChannelPause(p.server->h);
	KT_STAYS(p.server->begun_count == 0);
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	end(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_087_inv_004_disabled_enable_succeeds),
		KT_TEST(ddi_087_disabled_enable_fails),
		KT_TEST(ddi_087_disabled_start_arms_the_next_enable_only),
		KT_TEST(ddi_087_disabled_pause_takes_start_back),
		KT_TEST(ddi_087_025_disabled_disable_does_nothing),
		KT_TEST(ddi_087_048_inv_009_enabled_start_then_open),
		KT_TEST(ddi_087_inv_009_enabled_guest_opens),
		KT_TEST(ddi_087_enabled_pause),
		KT_TEST(ddi_087_started_pause),
		KT_TEST(ddi_087_085_inv_008_enabled_open_fails),
		KT_TEST(ddi_087_inv_008_started_open_fails),
		KT_TEST(ddi_087_stopped_open_fails),
		KT_TEST(ddi_087_enabled_disable),
		KT_TEST(ddi_087_started_disable),
		KT_TEST(ddi_087_stopped_disable),
		KT_TEST(ddi_087_paused_start),
		KT_TEST(ddi_087_paused_pause),
		KT_TEST(ddi_087_paused_guest_closes),
		KT_TEST(ddi_087_paused_guest_reset),
		KT_TEST(ddi_087_paused_disable),
		KT_TEST(ddi_087_active_start),
		KT_TEST(ddi_087_active_pause),
		KT_TEST(ddi_087_active_guest_closes),
		KT_TEST(ddi_087_active_guest_reset),
		KT_TEST(ddi_087_active_disable),
		KT_TEST(ddi_087_active_packet_fail),
		KT_TEST(ddi_087_048_inv_010_stopped_running_guest_reopens),
		KT_TEST(ddi_087_stopped_paused_guest_reopens),
		KT_TEST(ddi_087_stopped_start),
		KT_TEST(ddi_087_stopped_pause),
	};

	return KT_MAIN("kmcl-server-states", tests);
}
