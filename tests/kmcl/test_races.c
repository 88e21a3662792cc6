/* SPDX-License-Identifier: MIT */
/* Life cycle under pressure: closes, pauses and failures that hit a transition under way, what
 * Pause and Disable promise when they return, many threads at once. */
#include "harness.h"

#include <stdlib.h>

static void enable(struct kt_chan *c)
{
	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
}

static void offer(struct kt_pair *p)
{
	enable(p->server);
	VmbChannelStart(p->server->h);
}

static struct kt_gate *new_gate(struct kt_chan *c)
{
	struct kt_gate *gate = calloc(1, sizeof(*gate));

	assert_non_null(gate);
	c->arg = gate;
	return gate;
}

static void pass(struct kt_chan *c)
{
	kt_gate_pass(c->arg);
}

static NTSTATUS pass_opened(struct kt_chan *c)
{
	kt_gate_pass(c->arg);
	return c->opened_status;
}

/* ---- failed Opened ---- */

static struct kt_send *queued;

static NTSTATUS queue_and_fail_once(struct kt_chan *c)
{
	if (!queued) {
		queued = kt_send_new(c);
		if (kt_send_pattern(queued, 64, 9, 0) != STATUS_SUCCESS)
			kt_problem("a send in Opened was refused");
		return STATUS_UNSUCCESSFUL;
	}
	return STATUS_SUCCESS;
}

static void ddi_089_failed_opened_server_keeps_queued_packets(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	queued = NULL;
	p.server->on_opened = queue_and_fail_once;
	offer(&p);
	enable(p.client);
	KT_EXPECT(p.client, "F");
	KT_EXPECT(p.server, "o");
	KT_STAYS(atomic_load(&queued->routines) == 0);
	KT_WAIT(kt_is_disabled(p.client));
	enable(p.client); /* the later open */
	KT_EXPECT(p.server, "oOSP");
	KT_WAIT(atomic_load(&queued->routines) == 1);
	assert_int_equal(queued->status, STATUS_SUCCESS);
	KT_WAIT(p.client->packet_count == 1);
	assert_true(kt_filled(p.client->packets[0].prefix, 64, 9));
	kt_send_free(queued);
	kt_pair_free(&p);
}

static uint8_t *gpadl_memory;
static UINT32 gpadl;

static NTSTATUS describe_and_fail(struct kt_chan *c)
{
	if (VmbChannelCreateGpadlFromBuffer(c->h, 0, gpadl_memory, 8192, &gpadl) != STATUS_SUCCESS)
		kt_problem("no GPADL in Opened");
	queued = kt_send_new(c);
	if (kt_send_pattern(queued, 64, 9, KT_WAITED) != STATUS_SUCCESS)
		kt_problem("a send in Opened was refused");
	return STATUS_UNSUCCESSFUL;
}

static void ddi_089_failed_opened_client_ends_queued_packets(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	PMDL mdl;

	gpadl_memory = kt_guest_alloc(bus, 8192);
	p.client->on_opened = describe_and_fail;
	offer(&p);
	enable(p.client);
	KT_EXPECT(p.client, "o");
	KT_WAIT(kt_is_disabled(p.client));
	KT_WAIT(atomic_load(&queued->routines) == 1);
	assert_int_equal(queued->status, STATUS_DEVICE_REMOVED);
	KT_WAIT(p.server->done_count && p.server->done[p.server->done_count - 1] == 'C');
	assert_int_equal(p.server->packet_count, 0);
	kt_send_free(queued);
	/* the library deleted the GPADL: nothing is left to map in the next session */
	p.client->on_opened = NULL;
	kt_forget(p.server);
	enable(p.client);
	KT_EXPECT(p.server, "OSP");
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, gpadl, &mdl),
			 STATUS_INVALID_PARAMETER_3);
	kt_pair_free(&p);
	kt_guest_free(bus, gpadl_memory);
}

/* ---- closes that hit a callback ---- */

static void ddi_089_close_while_opened_runs_client(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_gate *gate = new_gate(p.client);

	p.client->on_opened = pass_opened;
	offer(&p);
	enable(p.client);
	KT_AT_GATE(gate);
	KT_EXPECT(p.server, "OSP");
	VmbChannelDisable(p.server->h); /* rescinds */
	KT_STAYS(p.client->begun_count == 1);
	kt_gate_open(gate);
	KT_EXPECT(p.client, "OC");
	KT_WAIT(kt_is_disabled(p.client));
	kt_pair_free(&p);
	free(gate);
}

static void ddi_089_close_while_opened_runs_local(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_gate *gate = new_gate(p.server);
	struct kt_call call;

	p.server->on_opened = pass_opened;
	offer(&p);
	enable(p.client);
	KT_AT_GATE(gate);
	kt_call_start(&call, p.server, kt_do_disable, p.server->h);
	KT_STAYS(!atomic_load(&call.done));
	kt_gate_open(gate);
	kt_call_join(&call);
	assert_string_equal(p.server->done, "OC");
	assert_true(kt_is_disabled(p.server));
	kt_pair_free(&p);
	free(gate);
}

static void ddi_089_close_while_started_runs(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_gate *gate = new_gate(p.client);
	struct kt_call call;

	p.client->on_started = pass;
	offer(&p);
	enable(p.client);
	KT_AT_GATE(gate);
	kt_call_start(&call, p.client, kt_do_disable, p.client->h);
	KT_STAYS(!atomic_load(&call.done) && p.client->begun_count == 2);
	kt_gate_open(gate);
	kt_call_join(&call);
	assert_string_equal(p.client->done, "OSUC"); /* no PostStarted */
	KT_EXPECT(p.server, "OSPUC");
	kt_pair_free(&p);
	free(gate);
}

static atomic_int sync_status;

static void wait_for_an_answer(struct kt_chan *c)
{
	uint64_t answer[8];
	UINT32 size = sizeof(answer);

	atomic_store(&sync_status, VmbChannelSendSynchronousRequest(
					   c->h, answer, 8, NULL, KT_WAITED, answer, &size, NULL));
}

/* Ends the packet without an answer. */
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

static void ddi_089_079_inv_014_peer_closes_while_poststarted_waits(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	atomic_store(&sync_status, 1);
	p.server->on_packet = fail_packet;
	p.client->on_post_started = wait_for_an_answer;
	offer(&p);
	enable(p.client);
	KT_WAIT(p.server->packet_count == 1);
	KT_STAYS(p.client->begun_count == 3 && p.client->done_count == 2);
	VmbChannelDisable(p.server->h);
	KT_EXPECT(p.client, "OSPUC");
	assert_int_equal(atomic_load(&sync_status), STATUS_DEVICE_REMOVED);
	KT_WAIT(kt_is_disabled(p.client));
	kt_pair_free(&p);
}

static void ddi_089_inv_014_local_close_releases_it_too(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_call call;

	atomic_store(&sync_status, 1);
	p.server->mode = KT_HOLD;
	p.client->on_post_started = wait_for_an_answer;
	offer(&p);
	enable(p.client);
	KT_WAIT(p.server->packet_count == 1);
	kt_call_start(&call, p.client, kt_do_disable, p.client->h);
	KT_EXPECT(p.client, "OSPUC");
	assert_int_equal(atomic_load(&sync_status), STATUS_DEVICE_REMOVED);
	KT_WAIT(strchr(p.server->done, 'U'));
	kt_complete(p.server, 0, "12345678", 8); /* too late, and harmless */
	kt_call_join(&call);                     /* the rings were the server's until then */
	KT_EXPECT(p.server, "OSPUC");
	kt_pair_free(&p);
}

/* ---- pauses that hit a callback ---- */

static void ddi_089_pause_while_opened_runs(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_gate *gate = new_gate(p.client);
	struct kt_call call;

	p.client->on_opened = pass_opened;
	offer(&p);
	enable(p.client);
	KT_AT_GATE(gate);
	kt_call_start(&call, p.client, kt_do_pause, p.client->h);
	kt_nap(KT_QUIET_MS);
	kt_gate_open(gate);
	kt_call_join(&call);
	KT_EXPECT(p.client, "O");
	KT_STAYS(p.client->begun_count == 1);
	VmbChannelStart(p.client->h);
	KT_EXPECT(p.client, "OSP");
	kt_pair_free(&p);
	free(gate);
}

static void ddi_089_pause_while_started_runs(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_gate *gate = new_gate(p.client);
	struct kt_call call;

	p.client->on_started = pass;
	offer(&p);
	enable(p.client);
	KT_AT_GATE(gate);
	kt_call_start(&call, p.client, kt_do_pause, p.client->h);
	KT_STAYS(!atomic_load(&call.done));
	kt_gate_open(gate);
	kt_call_join(&call);
	assert_string_equal(p.client->done, "OSPU");
	kt_pair_free(&p);
	free(gate);
}

static void ddi_089_041_inv_017_pause_lets_a_request_of_poststarted_finish(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_call call;

	atomic_store(&sync_status, 1);
	p.server->mode = KT_HOLD;
	p.client->on_post_started = wait_for_an_answer;
	offer(&p);
	enable(p.client);
	KT_WAIT(p.server->packet_count == 1);
	kt_call_start(&call, p.client, kt_do_pause, p.client->h);
	KT_STAYS(!atomic_load(&call.done) && p.client->begun_count == 3);
	kt_complete(p.server, 0, "12345678", 8);
	kt_call_join(&call);
	assert_int_equal(atomic_load(&sync_status), STATUS_SUCCESS);
	assert_string_equal(p.client->done, "OSPU");
	kt_pair_free(&p);
}

static void ddi_089_start_then_pause_before_the_open(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.server);
	VmbChannelStart(p.server->h);
	VmbChannelPause(p.server->h);
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	kt_pair_free(&p);
}

static void ddi_089_start_then_pause_before_the_enable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	VmbChannelStart(p.server->h);
	VmbChannelPause(p.server->h);
	enable(p.server);
	enable(p.client);
	KT_EXPECT(p.server, "O");
	KT_STAYS(p.server->begun_count == 1);
	kt_pair_free(&p);
}

static void ddi_089_pause_then_start_at_once(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	kt_pair_open(&p);
	VmbChannelPause(p.server->h);
	VmbChannelStart(p.server->h);
	KT_EXPECT(p.server, "OSPUSP");
	VmbChannelPause(p.client->h);
	VmbChannelStart(p.client->h);
	KT_EXPECT(p.client, "OSPUSP");
	kt_pair_free(&p);
}

static void ddi_089_second_close_cause_during_a_close(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_gate *gate = new_gate(p.server);
	struct kt_call call, closing;

	p.server->on_closed = pass;
	kt_pair_open(&p);
	kt_call_start(&closing, p.client, kt_do_disable, p.client->h);
	KT_AT_GATE(gate);
	kt_call_start(&call, p.server, kt_do_disable, p.server->h);
	KT_STAYS(!atomic_load(&call.done));
	kt_gate_open(gate);
	kt_call_join(&call);
	kt_call_join(&closing);
	assert_string_equal(p.server->done, "OSPUC");
	assert_true(kt_is_disabled(p.server));
	kt_pair_free(&p);
	free(gate);
}

static void ddi_089_after_a_rescind_a_new_offer_needs_a_new_enable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	kt_pair_open(&p);
	VmbChannelDisable(p.server->h);
	KT_EXPECT(p.client, "OSPUC");
	KT_WAIT(kt_is_disabled(p.client));
	offer(&p);
	KT_STAYS(p.client->begun_count == 5 && kt_is_disabled(p.client));
	enable(p.client);
	KT_EXPECT(p.client, "OSPUCOSP");
	kt_pair_free(&p);
}

static void ddi_089_never_opened_disable_calls_nothing(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	enable(p.client);
	VmbChannelDisable(p.client->h);
	offer(&p);
	VmbChannelDisable(p.server->h);
	KT_STAYS(p.client->begun_count == 0 && p.server->begun_count == 0);
	kt_pair_free(&p);
}

static atomic_bool deferring;

static bool defer_first(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
			UINT32 flags)
{
	(void)length;
	(void)flags;
	if (!atomic_load(&deferring) || *(uint8_t *)buffer != 1)
		return false;
	kt_nap(1);
	kt_defer(c, packet);
	return true;
}

static void defer_then(struct kt_pair *p, struct kt_send **sends)
{
	uint8_t data[8] = {0};

	p->server->on_packet = defer_first;
	p->server->mode = KT_EMPTY;
	atomic_store(&deferring, true);
	kt_pair_open(p);
	for (uint8_t i = 0; i < 2; i++) {
		sends[i] = kt_send_new(p->client);
		data[0] = (uint8_t)(i + 1);
		assert_int_equal(VmbPacketSend(sends[i]->packet, data, 8, NULL, KT_WAITED),
				 STATUS_SUCCESS);
	}
	KT_WAIT(p->server->packet_count >= 3); /* the first, again and again */
}

static void ddi_089_deferred_packets_are_kept_over_a_pause(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[2];
	unsigned int before;

	defer_then(&p, sends);
	VmbChannelPause(p.server->h); /* a deferred packet is not outstanding */
	KT_EXPECT(p.server, "OSPU");
	before = p.server->packet_count;
	atomic_store(&deferring, false);
	KT_STAYS(p.server->packet_count == before);
	VmbChannelStart(p.server->h);
	KT_WAIT(atomic_load(&sends[0]->routines) && atomic_load(&sends[1]->routines));
	assert_int_equal(p.server->packets[before].prefix[0], 1);
	assert_int_equal(p.server->packets[before + 1].prefix[0], 2);
	assert_int_equal(p.server->packet_count, before + 2);
	for (int i = 0; i < 2; i++)
		kt_send_free(sends[i]);
	kt_pair_free(&p);
}

static void ddi_089_deferred_packets_are_discarded_at_a_close(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[2];

	defer_then(&p, sends);
	VmbChannelDisable(p.client->h);
	KT_EXPECT(p.server, "OSPUC");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(atomic_load(&sends[i]->routines), 1);
		assert_int_equal(sends[i]->status, STATUS_DEVICE_REMOVED);
		kt_send_free(sends[i]);
	}
	atomic_store(&deferring, false);
	kt_forget(p.server);
	enable(p.client);
	KT_EXPECT(p.server, "OSP");
	KT_STAYS(p.server->packet_count == 0);
	kt_pair_free(&p);
}

/* ---- what Pause and Disable promise ---- */

static void ddi_041_077_inv_005_006_pause_waits_for_outstanding_packets(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s;
	struct kt_call call;

	p.server->mode = KT_HOLD;
	kt_pair_open(&p);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(p.server->packet_count == 1);
	kt_call_start(&call, p.server, kt_do_pause, p.server->h);
	KT_EXPECT(p.server, "OSPU");
	KT_STAYS(!atomic_load(&call.done));
	kt_complete(p.server, 0, "12345678", 8); /* releases it, and passes the paused gate */
	kt_call_join(&call);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(s->status, STATUS_SUCCESS);
	assert_int_equal(s->length, 8);
	kt_send_free(s);
	kt_pair_free(&p);
}

static void slow(struct kt_chan *c)
{
	(void)c;
	kt_nap(20);
}

static void ddi_041_077_inv_003_005_no_callback_runs_when_pause_returns(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[16];

	p.server->on_suspend = slow;
	kt_pair_open(&p);
	for (int i = 0; i < 16; i++)
		sends[i] = kt_send_new(p.client);
	for (unsigned int round = 0; round < 20; round++) {
		for (int i = 0; i < 16; i++)
			if (atomic_load(&sends[i]->routines) == round)
				assert_int_equal(kt_send_pattern(sends[i], 64, 1, KT_WAITED),
						 STATUS_SUCCESS);
		VmbChannelPause(p.server->h);
		assert_int_equal(atomic_load(&p.server->in_state), 0);
		assert_int_equal(atomic_load(&p.server->in_delivery), 0);
		assert_int_equal(atomic_load(&p.server->outstanding), 0);
		assert_int_equal(p.server->done[p.server->done_count - 1], 'U');
		VmbChannelStart(p.server->h);
		for (int i = 0; i < 16; i++)
			KT_WAIT(atomic_load(&sends[i]->routines) == round + 1);
	}
	for (int i = 0; i < 16; i++)
		kt_send_free(sends[i]);
	kt_pair_free(&p);
}

static void ddi_025_inv_007_033_disable_ends_everything(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[64];
	unsigned int delivered;

	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 2, 2),
			 STATUS_SUCCESS);
	p.server->quiet = true;
	enable(p.server); /* paused: it reads nothing, so some are in the ring, some queued */
	enable(p.client);
	KT_EXPECT(p.client, "OSP");
	for (int i = 0; i < 64; i++) {
		sends[i] = kt_send_new(p.client);
		assert_int_equal(kt_send_pattern(sends[i], 1024, 1, KT_WAITED), STATUS_SUCCESS);
	}
	KT_STAYS(atomic_load(&sends[0]->routines) == 0);
	VmbChannelDisable(p.client->h);
	assert_true(kt_is_disabled(p.client));
	delivered = p.client->event_count;
	for (int i = 0; i < 64; i++) {
		assert_int_equal(atomic_load(&sends[i]->routines), 1);
		assert_int_equal(sends[i]->status, STATUS_DEVICE_REMOVED);
		assert_int_equal(sends[i]->length, 0);
	}
	for (unsigned int i = 0; i < p.client->event_count; i++) /* before Closed was called */
		if (p.client->events[i].what == KT_CLOSED && !p.client->events[i].end)
			for (int n = 0; n < 64; n++)
				assert_true(sends[n]->order < p.client->events[i].order);
	KT_STAYS(p.client->event_count == delivered);
	for (int i = 0; i < 64; i++)
		kt_send_free(sends[i]);
	kt_pair_free(&p);
}

/* ---- many threads ---- */

struct hammer {
	VMBCHANNEL h;
	unsigned int seed;
	bool disables;
};

static void hammer(void *arg)
{
	struct hammer *h = arg;

	for (int i = 0; i < 60; i++) {
		switch (rand_r(&h->seed) % (h->disables ? 5 : 2)) {
		case 0:
			VmbChannelStart(h->h);
			break;
		case 1:
			VmbChannelPause(h->h);
			break;
		case 2:
			VmbChannelDisable(h->h);
			break;
		default:
			(void)!VmbChannelEnable(h->h); /* another thread may have been faster */
			break;
		}
	}
}

/* Start was the last word: the channel must run. Either end may be closing still, because of the
 * other. */
static void settle(struct kt_pair *p, struct kt_chan *c)
{
	uint64_t deadline = kt_now_ms() + KT_LIMIT_MS;

	VmbChannelStart(c->h);
	while (!kt_runs(c)) {
		if (kt_is_disabled(p->server))
			offer(p);
		if (kt_is_disabled(p->client))
			enable(p->client);
		if (kt_now_ms() > deadline)
			kt_fail(__FILE__, __LINE__, "does not run after Start");
		kt_nap(2);
	}
}

static void inv_001_002_016_hammered_from_many_threads(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct hammer h[4];
	struct kt_call calls[4];

	for (unsigned int round = 0; round < (kt_soak() ? 100u : 10u); round++) {
		bool client = round & 1;
		struct kt_chan *c = client ? p.client : p.server;

		kt_pair_open(&p);
		for (unsigned int i = 0; i < 4; i++) {
			h[i] = (struct hammer){c->h, round * 4 + i + 1, round & 2};
			kt_call_start(&calls[i], c, hammer, &h[i]);
		}
		for (int i = 0; i < 4; i++)
			kt_call_join(&calls[i]);
		settle(&p, c);
		VmbChannelPause(c->h);
		assert_int_equal(c->done[c->done_count - 1], 'U');
		VmbChannelDisable(c->h);
		assert_true(kt_is_disabled(c));
		VmbChannelDisable(p.client->h);
		VmbChannelDisable(p.server->h);
		kt_check(p.client);
		kt_check(p.server);
		kt_forget(p.client);
		kt_forget(p.server);
	}
	kt_pair_free(&p);
}

/* ---- GPADLs at a close ---- */

static PMDL mapped;

static void delete_in_closed(struct kt_chan *c)
{
	VmbChannelDeleteGpadl(c->h, gpadl);
}

static void unmap_in_closed(struct kt_chan *c)
{
	VmbChannelUnmapGpadl(c->h, gpadl);
}

static void ddi_024_076_inv_015_gpadl_deleted_and_unmapped_in_closed(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);

	gpadl_memory = kt_guest_alloc(bus, 65536);
	p.client->on_closed = delete_in_closed;
	p.server->on_closed = unmap_in_closed;
	for (int i = 0; i < 10; i++) {
		kt_pair_open(&p);
		assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, gpadl_memory,
								 65536, &gpadl),
				 STATUS_SUCCESS);
		assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, gpadl, &mapped),
				 STATUS_SUCCESS);
		VmbChannelDisable(i & 1 ? p.server->h : p.client->h);
		KT_EXPECT(p.client, "OSPUC");
		KT_EXPECT(p.server, "OSPUC");
		VmbChannelDisable(p.client->h);
		VmbChannelDisable(p.server->h);
		kt_check(p.client);
		kt_check(p.server);
		kt_forget(p.client);
		kt_forget(p.server);
	}
	kt_pair_free(&p);
	kt_guest_free(bus, gpadl_memory);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_089_failed_opened_server_keeps_queued_packets),
		KT_TEST(ddi_089_failed_opened_client_ends_queued_packets),
		KT_TEST(ddi_089_close_while_opened_runs_client),
		KT_TEST(ddi_089_close_while_opened_runs_local),
		KT_TEST(ddi_089_close_while_started_runs),
		KT_TEST(ddi_089_079_inv_014_peer_closes_while_poststarted_waits),
		KT_TEST(ddi_089_inv_014_local_close_releases_it_too),
		KT_TEST(ddi_089_pause_while_opened_runs),
		KT_TEST(ddi_089_pause_while_started_runs),
		KT_TEST(ddi_089_041_inv_017_pause_lets_a_request_of_poststarted_finish),
		KT_TEST(ddi_089_start_then_pause_before_the_open),
		KT_TEST(ddi_089_start_then_pause_before_the_enable),
		KT_TEST(ddi_089_pause_then_start_at_once),
		KT_TEST(ddi_089_second_close_cause_during_a_close),
		KT_TEST(ddi_089_after_a_rescind_a_new_offer_needs_a_new_enable),
		KT_TEST(ddi_089_never_opened_disable_calls_nothing),
		KT_TEST(ddi_089_deferred_packets_are_kept_over_a_pause),
		KT_TEST(ddi_089_deferred_packets_are_discarded_at_a_close),
		KT_TEST(ddi_041_077_inv_005_006_pause_waits_for_outstanding_packets),
		KT_TEST(ddi_041_077_inv_003_005_no_callback_runs_when_pause_returns),
		KT_TEST(ddi_025_inv_007_033_disable_ends_everything),
		KT_TEST(inv_001_002_016_hammered_from_many_threads),
		KT_TEST(ddi_024_076_inv_015_gpadl_deleted_and_unmapped_in_closed),
	};

	return KT_MAIN("kmcl-races", tests);
}
