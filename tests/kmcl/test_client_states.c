/* SPDX-License-Identifier: MIT */
/* The client's state table, a case for every row, and what a client sees of its server's end. */
#include "harness.h"

static void enable(struct kt_chan *c)
{
	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
}

static void offer(struct kt_pair *p)
{
	enable(p->server);
	VmbChannelStart(p->server->h);
}

static void to_active(struct kt_pair *p)
{
	kt_pair_open(p);
	kt_forget(p->client);
}

static void to_paused(struct kt_pair *p)
{
	VmbChannelPause(p->client->h);
	offer(p);
	enable(p->client);
	KT_EXPECT(p->client, "O");
	KT_EXPECT(p->server, "OSP");
	kt_forget(p->client);
}

static void end(struct kt_pair *p)
{
	VmbChannelDisable(p->client->h);
	VmbChannelDisable(p->server->h);
	kt_forget(p->client);
	kt_forget(p->server);
	kt_pair_free(p);
}

static void ddi_088_disabled_enable_succeeds(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.client);
	assert_false(kt_is_disabled(p.client));
	KT_STAYS(p.client->begun_count == 0);
	end(&p);
}

static void ddi_088_disabled_enable_fails(void **state)
{
	struct kt_bus *bus = *state;
	struct nt_driver *previous = kt_enter(bus, false);
	VMBCHANNEL c;

	assert_int_equal(VmbChannelAllocate(bus->client_pdo, FALSE, &c), STATUS_SUCCESS);
	kt_leave(previous);
	assert_int_equal(VmbChannelEnable(c), STATUS_NO_SUCH_DEVICE);
	assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	VmbChannelCleanup(c);
}

static void ddi_088_041_inv_011_disabled_pause_holds_for_one_enable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	VmbChannelPause(p.client->h);
	assert_true(kt_is_disabled(p.client));
	offer(&p);
	enable(p.client);
	KT_EXPECT(p.client, "O");
	KT_STAYS(p.client->begun_count == 1);
	VmbChannelDisable(p.client->h);
	enable(p.client);
	KT_EXPECT(p.client, "OCOSP");
	end(&p);
}

static void ddi_088_disabled_start_takes_pause_back(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	VmbChannelPause(p.client->h);
	VmbChannelStart(p.client->h);
	VmbChannelDisable(p.client->h);
	assert_true(kt_is_disabled(p.client));
	assert_int_equal(p.client->begun_count, 0);
	offer(&p);
	enable(p.client);
	KT_EXPECT(p.client, "OSP");
	end(&p);
}

static void ddi_088_inv_011_enabled_open_running(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.client); /* waits for the offer */
	KT_STAYS(p.client->begun_count == 0);
	offer(&p);
	KT_EXPECT(p.client, "OSP");
	end(&p);
}

static void ddi_088_enabled_open_paused(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p);
	KT_STAYS(p.client->begun_count == 0);
	end(&p);
}

static void ddi_075_088_inv_008_enabled_opened_fails(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	p.client->opened_status = STATUS_UNSUCCESSFUL;
	enable(p.server);
	enable(p.client);
	KT_EXPECT(p.client, "o");
	KT_EXPECT(p.server, "OC"); /* closed on the wire */
	KT_WAIT(kt_is_disabled(p.client));
	KT_STAYS(p.client->begun_count == 1);
	p.client->opened_status = STATUS_SUCCESS;
	enable(p.client);
	KT_EXPECT(p.client, "oOSP");
	end(&p);
}

static void ddi_088_085_enabled_open_refused(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	p.server->opened_status = STATUS_UNSUCCESSFUL;
	enable(p.server);
	enable(p.client);
	KT_EXPECT(p.client, "F");
	assert_int_equal(p.client->pnp_status, STATUS_UNSUCCESSFUL);
	KT_WAIT(kt_is_disabled(p.client));
	KT_STAYS(p.client->begun_count == 1 && p.server->begun_count == 1);
	end(&p);
}

/* Offers as the guest sees them come and go. */
struct seen {
	struct part_client_listener listener;
	atomic_uint offered, withdrawn;
};

static void seen_offered(struct part_client_listener *l, struct part_client_channel *ch)
{
	(void)ch;
	atomic_fetch_add(&((struct seen *)l)->offered, 1);
}

static void seen_withdrawn(struct part_client_listener *l, struct part_client_channel *ch)
{
	(void)ch;
	atomic_fetch_add(&((struct seen *)l)->withdrawn, 1);
}

/* Whether the open got through before the rescind is a race; both ends of it are legal, and the one
 * that the row is about must turn up. */
static void ddi_088_enabled_offer_rescinded_before_the_open(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	static struct seen seen;
	bool hit = false;

	memset(&seen, 0, sizeof(seen));
	seen.listener.offered = seen_offered;
	seen.listener.withdrawn = seen_withdrawn;
	assert_int_equal(part_client_listen(part_client(bus->part), &seen.listener), 0);
	for (unsigned int i = 0; i < 300 && !hit; i++) {
		unsigned int before = atomic_load(&seen.offered);

		if (kt_is_disabled(p.client))
			enable(p.client);
		enable(p.server);
		VmbChannelDisable(p.server->h);
		kt_nap(KT_QUIET_MS);
		KT_WAIT(atomic_load(&seen.withdrawn) == atomic_load(&seen.offered));
		KT_WAIT(p.client->begun_count == p.client->done_count);
		hit = atomic_load(&seen.offered) != before && p.client->begun_count == 0 &&
		      !kt_is_disabled(p.client);
		kt_forget(p.client);
		kt_forget(p.server);
	}
	part_client_unlisten(part_client(bus->part), &seen.listener);
	assert_true(hit);
	offer(&p); /* still waiting for it */
	KT_EXPECT(p.client, "OSP");
	end(&p);
}

static void ddi_088_enabled_pause_and_start(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.client);
	VmbChannelPause(p.client->h);
	KT_STAYS(p.client->begun_count == 0);
	offer(&p);
	KT_EXPECT(p.client, "O");
	KT_STAYS(p.client->begun_count == 1);
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	kt_forget(p.client);
	kt_forget(p.server);
	enable(p.client);
	VmbChannelPause(p.client->h);
	VmbChannelStart(p.client->h);
	offer(&p);
	KT_EXPECT(p.client, "OSP");
	end(&p);
}

static void ddi_088_enabled_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);

	enable(p.client);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_STAYS(atomic_load(&s->routines) == 0);
	VmbChannelDisable(p.client->h);
	assert_int_equal(atomic_load(&s->routines), 1);
	assert_int_equal(s->status, STATUS_DEVICE_REMOVED);
	assert_true(kt_is_disabled(p.client));
	offer(&p);
	KT_STAYS(p.client->begun_count == 0 && p.server->begun_count == 0);
	kt_send_free(s);
	end(&p);
}

static void ddi_088_active_start(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_active(&p);
	VmbChannelStart(p.client->h);
	KT_STAYS(p.client->begun_count == 0);
	end(&p);
}

static void ddi_088_active_pause(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_active(&p);
	VmbChannelPause(p.client->h);
	assert_string_equal(p.client->done, "U");
	KT_STAYS(p.client->begun_count == 1);
	end(&p);
}

static void ddi_088_paused_start(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p);
	VmbChannelStart(p.client->h);
	KT_EXPECT(p.client, "SP");
	end(&p);
}

static void ddi_088_active_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_active(&p);
	VmbChannelDisable(p.client->h);
	assert_string_equal(p.client->done, "UC");
	assert_true(kt_is_disabled(p.client));
	end(&p);
}

static void ddi_088_inv_012_active_host_rescinds(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_active(&p);
	VmbChannelDisable(p.server->h);
	KT_EXPECT(p.client, "UC");
	KT_WAIT(kt_is_disabled(p.client));
	assert_int_equal(VmbChannelInitSetClientContextSize(p.client->h, 16), STATUS_SUCCESS);
	kt_forget(p.client);
	kt_forget(p.server);
	kt_pair_open(&p); /* a new session */
	KT_EXPECT(p.client, "OSP");
	end(&p);
}

static void ddi_088_paused_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p);
	VmbChannelDisable(p.client->h);
	assert_string_equal(p.client->done, "C");
	assert_true(kt_is_disabled(p.client));
	end(&p);
}

static void ddi_088_paused_host_rescinds(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p);
	VmbChannelDisable(p.server->h);
	KT_EXPECT(p.client, "C");
	KT_WAIT(kt_is_disabled(p.client));
	end(&p);
}

static void wait_in_closed(struct kt_chan *c)
{
	kt_gate_pass(c->arg);
}

static void ddi_088_closed_enable_waits_for_disabled(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	static struct kt_gate gate;
	struct kt_call call;

	memset(&gate, 0, sizeof(gate));
	p.client->arg = &gate;
	p.client->on_closed = wait_in_closed;
	to_active(&p);
	VmbChannelDisable(p.server->h);
	KT_AT_GATE(&gate);
	kt_call_start(&call, p.client, kt_do_enable, p.client->h);
	KT_STAYS(!atomic_load(&call.done));
	kt_gate_open(&gate);
	kt_call_join(&call);
	assert_string_equal(p.client->done, "UC");
	assert_false(kt_is_disabled(p.client));
	offer(&p);
	KT_EXPECT(p.client, "UCOSP");
	end(&p);
}

static void ddi_088_disabled_after_close_enable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	to_paused(&p); /* the pause was for that session */
	VmbChannelDisable(p.client->h);
	enable(p.client);
	KT_EXPECT(p.client, "COSP");
	end(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_088_disabled_enable_succeeds),
		KT_TEST(ddi_088_disabled_enable_fails),
		KT_TEST(ddi_088_041_inv_011_disabled_pause_holds_for_one_enable),
		KT_TEST(ddi_088_disabled_start_takes_pause_back),
		KT_TEST(ddi_088_inv_011_enabled_open_running),
		KT_TEST(ddi_088_enabled_open_paused),
		KT_TEST(ddi_075_088_inv_008_enabled_opened_fails),
		KT_TEST(ddi_088_085_enabled_open_refused),
		KT_TEST(ddi_088_enabled_offer_rescinded_before_the_open),
		KT_TEST(ddi_088_enabled_pause_and_start),
		KT_TEST(ddi_088_enabled_disable),
		KT_TEST(ddi_088_active_start),
		KT_TEST(ddi_088_active_pause),
		KT_TEST(ddi_088_paused_start),
		KT_TEST(ddi_088_active_disable),
		KT_TEST(ddi_088_inv_012_active_host_rescinds),
		KT_TEST(ddi_088_paused_disable),
		KT_TEST(ddi_088_paused_host_rescinds),
		KT_TEST(ddi_088_closed_enable_waits_for_disabled),
		KT_TEST(ddi_088_disabled_after_close_enable),
	};

	return KT_MAIN("kmcl-client-states", tests);
}
