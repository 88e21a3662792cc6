/* SPDX-License-Identifier: MIT */
/* Who may not call what: every forbidden call of every callback is refused (a failing status) or
 * reported (a contract violation), and changes nothing. */
#include "harness.h"

#include <stdlib.h>

static atomic_uint cells; /* forbidden calls made */

static void judge(const char *where, const char *call, unsigned int reported, bool refused)
{
	atomic_fetch_add(&cells, 1);
	kt_violations_expected(reported);
	if (reported > 1 || (!reported && !refused))
		kt_problem("%s in %s: reported %u times%s", call, where, reported,
			   refused ? ", refused" : "");
}

#define REPORTED(where, call)                                          \
	do {                                                           \
		unsigned int before_ = kt_violations();                \
		call;                                                  \
		judge(where, #call, kt_violations() - before_, false); \
	} while (0)
#define REFUSED(where, call)                                                          \
	do {                                                                          \
		unsigned int before_ = kt_violations();                               \
		NTSTATUS status_ = (call);                                            \
		judge(where, #call, kt_violations() - before_, !NT_SUCCESS(status_)); \
	} while (0)

/* What no callback may call at all. */
static void life_cycle(struct kt_chan *c, const char *where)
{
	REPORTED(where, VmbChannelStart(c->h));
	REPORTED(where, VmbChannelPause(c->h));
	REPORTED(where, VmbChannelDisable(c->h));
	REPORTED(where, VmbChannelCleanup(c->h));
	REFUSED(where, VmbChannelEnable(c->h));
}

/* Requests that would wait for what this callback holds up. */
static void waiting_request(struct kt_chan *c, const char *where)
{
	LARGE_INTEGER timeout = {.QuadPart = -100000000};
	uint64_t data = 0;

	if (c->server)
		return; /* a server may not wait anywhere */
	REFUSED(where, VmbChannelSendSynchronousRequest(c->h, &data, 8, NULL, KT_WAITED, NULL, NULL,
							NULL));
	REFUSED(where,
		VmbChannelSendSynchronousRequest(c->h, &data, 8, NULL, 0, NULL, NULL, &timeout));
}

static void placing_request(struct kt_chan *c, const char *where)
{
	LARGE_INTEGER now = {.QuadPart = 0};
	uint64_t data = 0;

	REFUSED(where, VmbChannelSendSynchronousRequest(c->h, &data, 8, NULL, 0, NULL, NULL, &now));
}

/* Memory of the channel under test. */
static struct {
	uint8_t *memory;
	UINT32 gpadl, other;
	PMDL mdl;
	VMBPACKETCOMPLETION held;
} the;

static void create(struct kt_chan *c, const char *where)
{
	if (!c->server)
		REFUSED(where,
			VmbChannelCreateGpadlFromBuffer(c->h, 0, the.memory, 64, &the.other));
}

static void delete (struct kt_chan *c, const char *where)
{
	if (!c->server)
		REPORTED(where, VmbChannelDeleteGpadl(c->h, the.gpadl));
}

static void map(struct kt_chan *c, const char *where)
{
	if (c->server)
		REFUSED(where, VmbChannelMapGpadl(c->h, 0, the.other, &the.mdl));
}

static void unmap(struct kt_chan *c, const char *where)
{
	if (c->server)
		REPORTED(where, VmbChannelUnmapGpadl(c->h, the.gpadl));
}

static NTSTATUS in_opened(struct kt_chan *c)
{
	life_cycle(c, "Opened");
	waiting_request(c, "Opened");
	return STATUS_SUCCESS;
}

static void in_started(struct kt_chan *c)
{
	life_cycle(c, "Started");
	waiting_request(c, "Started");
}

static void in_post_started(struct kt_chan *c)
{
	life_cycle(c, "PostStarted");
}

static void in_suspend(struct kt_chan *c)
{
	VMBPACKET packet = VmbPacketAllocate(c->h);

	life_cycle(c, "Suspend");
	waiting_request(c, "Suspend");
	placing_request(c, "Suspend");
	create(c, "Suspend");
	map(c, "Suspend");
	REFUSED("Suspend", VmbPacketSend(packet, NULL, 0, NULL, 0));
	VmbPacketFree(packet);
	if (the.held)
		REPORTED("Suspend", VmbChannelPacketDeferToPassive(the.held));
}

static void in_closed(struct kt_chan *c)
{
	life_cycle(c, "Closed");
	waiting_request(c, "Closed");
	placing_request(c, "Closed");
	create(c, "Closed");
	map(c, "Closed");
}

static bool in_process_packet(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer,
			      UINT32 length, UINT32 flags)
{
	bool passive = KeGetCurrentIrql() == PASSIVE_LEVEL;
	const char *where = passive ? "ProcessPacket at P" : "ProcessPacket at D";

	(void)packet;
	(void)buffer;
	(void)length;
	(void)flags;
	life_cycle(c, where);
	waiting_request(c, where);
	create(c, where);
	delete (c, where);
	if (!passive) {
		map(c, where);
		unmap(c, where);
	}
	return false;
}

static void in_routine(struct kt_send *s)
{
	const char *where = "completion routine";

	life_cycle(s->c, where);
	waiting_request(s->c, where);
	create(s->c, where);
	delete (s->c, where);
	map(s->c, where);
	unmap(s->c, where);
	if (the.held)
		REPORTED(where, VmbChannelPacketDeferToPassive(the.held));
}

static void arm(struct kt_chan *c)
{
	c->on_opened = in_opened;
	c->on_started = in_started;
	c->on_post_started = in_post_started;
	c->on_suspend = in_suspend;
	c->on_closed = in_closed;
	c->on_packet = in_process_packet;
}

/* A packet each way, delivered at the level that is set; the routine at the end under test makes
 * its calls. */
static void exchange(struct kt_chan *under_test, struct kt_chan *peer)
{
	struct kt_send *s = kt_send_new(peer), *own = kt_send_new(under_test);

	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(s->status, STATUS_SUCCESS);
	own->hook = in_routine;
	assert_int_equal(kt_send_pattern(own, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&own->hooks) == 1);
	assert_int_equal(own->status, STATUS_SUCCESS);
	kt_send_free(s);
	kt_send_free(own);
}

static unsigned int run(struct kt_bus *bus, bool server)
{
	struct kt_pair p = kt_pair_new(bus);
	struct kt_chan *c = server ? p.server : p.client;
	struct kt_send *s;

	memset(&the, 0, sizeof(the));
	atomic_store(&cells, 0);
	the.memory = kt_guest_alloc(bus, 4096);
	arm(c);
	kt_pair_open(&p);
	assert_int_equal(
		VmbChannelCreateGpadlFromBuffer(p.client->h, 0, the.memory, 4096, &the.gpadl),
		STATUS_SUCCESS);
	assert_int_equal(
		VmbChannelCreateGpadlFromBuffer(p.client->h, 0, the.memory, 64, &the.other),
		STATUS_SUCCESS);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, the.gpadl, &the.mdl), STATUS_SUCCESS);
	exchange(c, server ? p.client : p.server);
	VmbChannelSetIncomingProcessingAtPassive(c->h, TRUE);
	exchange(c, server ? p.client : p.server);

	/* a packet held over the suspend */
	c->on_packet = NULL;
	atomic_store(&c->mode, KT_HOLD);
	kt_forget(c);
	s = kt_send_new(server ? p.client : p.server);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&c->outstanding) == 1);
	the.held = c->packets[0].handle;
	struct kt_call call;
	kt_call_start(&call, c, kt_do_pause, c->h);
	KT_EXPECT(c, "U");
	kt_complete(c, 0, NULL, 0);
	kt_call_join(&call);
	the.held = NULL;
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);

	/* nothing of all that had an effect: the GPADL is there, mapped, and the channel works */
	VmbChannelUnmapGpadl(p.server->h, the.gpadl);
	VmbChannelDeleteGpadl(p.client->h, the.gpadl);
	VmbChannelDisable(c->h);
	KT_EXPECT(c, "UC");
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	kt_forget(p.client);
	kt_forget(p.server);
	kt_pair_free(&p);
	kt_guest_free(bus, the.memory);
	return atomic_load(&cells);
}

static void ddi_090_forbidden_calls_of_a_client(void **state)
{
	assert_int_equal(run(*state, false), 7 + 7 + 5 + 11 + 9 + 2 * 9 + 2 * 9);
}

static void ddi_090_forbidden_calls_of_a_server(void **state)
{
	assert_int_equal(run(*state, true), 5 + 5 + 5 + 9 + 7 + (7 + 5) + 2 * 7);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_090_forbidden_calls_of_a_client),
		KT_TEST(ddi_090_forbidden_calls_of_a_server),
	};

	return KT_MAIN("kmcl-call-matrix", tests);
}
