/* SPDX-License-Identifier: MIT */
/* Who may call what. Every forbidden call of every callback is refused (a failing status) or
 * reported (a contract violation), and changes nothing; every allowed one works. */
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
	VmbChannelDeleteGpadl(p.client->h, the.other);
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

/* ---- what is allowed ---- */

static atomic_uint worked; /* allowed calls that did what they should */

static void want(const char *where, const char *call, bool right)
{
	if (right)
		atomic_fetch_add(&worked, 1);
	else
		kt_problem("%s in %s does not work", call, where);
}
#define WORKS(where, right) want(where, #right, right)

static void nothing(struct kt_send *s)
{
	(void)s;
}

/* Packets of the library and of our own, their pointers and routines; in every callback. */
static void packet_calls(struct kt_chan *c, const char *where)
{
	static uint64_t memory[8192];
	VMBPACKET own = (VMBPACKET)(void *)memory;
	VMBPACKET packet = VmbPacketAllocate(c->h);

	WORKS(where, packet != NULL);
	VmbPacketSetPointer(packet, memory);
	WORKS(where, VmbPacketGetPointer(packet) == memory);
	WORKS(where, VmbPacketGetChannel(packet) == c->h);
	VmbPacketSetCompletionRoutine(packet, kt_routine);
	VmbPacketFree(packet);
	WORKS(where, VmbChannelSizeofPacket(c->h) <= sizeof(memory));
	if (c->server == (strcmp(where, "Opened") == 0)) /* one thread at a time has the memory */
		WORKS(where, VmbPacketInitialize(c->h, own, sizeof(memory)) == STATUS_SUCCESS);
}

static void channel_calls(struct kt_chan *c, const char *where)
{
	GUID instance;

	VmbChannelSetPointer(c->h, c);
	WORKS(where, VmbChannelGetPointer(c->h) == c);
	VmbChannelGetInterfaceInstance(c->h, &instance);
	WORKS(where, memcmp(&instance, &c->instance, sizeof(instance)) == 0);
	VmbChannelSetTransactionQuota(c->h, UINT32_MAX);
	VmbChannelSetIncomingProcessingAtPassive(c->h, FALSE);
}

static NTSTATUS send_one(struct kt_chan *c)
{
	VMBPACKET packet = VmbPacketAllocate(c->h);
	uint64_t data = 0;
	NTSTATUS status = VmbPacketSend(packet, &data, sizeof(data), NULL, 0);

	if (!NT_SUCCESS(status))
		VmbPacketFree(packet);
	return status;
}

static NTSTATUS place_one(struct kt_chan *c)
{
	LARGE_INTEGER now = {.QuadPart = 0};
	uint64_t data = 0;

	return VmbChannelSendSynchronousRequest(c->h, &data, 8, NULL, 0, NULL, NULL, &now);
}

static NTSTATUS ask_and_wait(struct kt_chan *c)
{
	uint64_t data = 0;

	return VmbChannelSendSynchronousRequest(c->h, &data, 8, NULL, KT_WAITED, NULL, NULL, NULL);
}

/* A list of the client's that lasts for its session; the server maps it and lets it go. */
static void gpadl_calls(struct kt_chan *c, const char *where)
{
	UINT32 gpadl;
	PMDL mdl;

	if (c->server) {
		UINT32 id = (UINT32)(uintptr_t)c->arg;

		if (!id)
			return; /* the client has not got so far */
		WORKS(where, VmbChannelMapGpadl(c->h, 0, id, &mdl) == STATUS_SUCCESS);
		VmbChannelUnmapGpadl(c->h, id);
		return;
	}
	WORKS(where,
	      VmbChannelCreateGpadlFromBuffer(c->h, 0, the.memory, 64, &gpadl) == STATUS_SUCCESS);
	VmbChannelDeleteGpadl(c->h, gpadl);
}

static void in_every_callback(struct kt_chan *c, const char *where)
{
	packet_calls(c, where);
	channel_calls(c, where);
}

static NTSTATUS may_opened(struct kt_chan *c)
{
	in_every_callback(c, "Opened");
	gpadl_calls(c, "Opened");
	WORKS("Opened", send_one(c) == STATUS_SUCCESS); /* queued */
	WORKS("Opened", place_one(c) == STATUS_BUFFER_OVERFLOW);
	return STATUS_SUCCESS;
}

static void may_started(struct kt_chan *c)
{
	in_every_callback(c, "Started");
	gpadl_calls(c, "Started");
	WORKS("Started", send_one(c) == STATUS_SUCCESS);
	WORKS("Started", place_one(c) == STATUS_BUFFER_OVERFLOW);
}

static void may_post_started(struct kt_chan *c)
{
	in_every_callback(c, "PostStarted");
	gpadl_calls(c, "PostStarted");
	WORKS("PostStarted", send_one(c) == STATUS_SUCCESS);
	if (!c->server)
		WORKS("PostStarted", ask_and_wait(c) == STATUS_SUCCESS);
	WORKS("PostStarted", place_one(c) == STATUS_SUCCESS);
}

static void may_suspend(struct kt_chan *c)
{
	in_every_callback(c, "Suspend");
	if (the.held && c->arg == the.held) { /* its own work is retired here */
		c->arg = NULL;
		kt_complete(c, c->packet_count - 1, NULL, 0);
	}
}

static void may_closed(struct kt_chan *c)
{
	in_every_callback(c, "Closed");
}

static bool may_process(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
			UINT32 flags)
{
	bool passive = KeGetCurrentIrql() == PASSIVE_LEVEL;
	const char *where = passive ? "ProcessPacket at P" : "ProcessPacket at D";
	PMDL mdl;

	(void)buffer;
	(void)flags;
	if (length != 64)
		return false; /* of the callbacks before */
	packet_calls(c, where);
	WORKS(where, VmbChannelGetPointer(c->h) == c);
	WORKS(where, send_one(c) == STATUS_SUCCESS);
	WORKS(where, NT_SUCCESS(place_one(c)));
	WORKS(where, VmbChannelPacketGetExternalData(packet, 0, &mdl) == STATUS_NOT_FOUND);
	if (passive && c->server)
		gpadl_calls(c, where);
	return false; /* completed there */
}

static void may_routine(struct kt_send *s)
{
	const char *where = "completion routine";

	packet_calls(s->c, where);
	WORKS(where, VmbChannelGetPointer(s->c->h) == s->c);
	WORKS(where, send_one(s->c) == STATUS_SUCCESS);
	WORKS(where, NT_SUCCESS(place_one(s->c)));
	if (the.held) { /* ends another packet from here */
		the.held = NULL;
		kt_complete(s->c, s->c->packet_count - 1, NULL, 0);
	}
}

static void permit(struct kt_chan *c)
{
	c->on_opened = may_opened;
	c->on_started = may_started;
	c->on_post_started = may_post_started;
	c->on_suspend = may_suspend;
	c->on_closed = may_closed;
	c->on_packet = may_process;
}

/* What was sent has arrived, and its batch is over. */
static void settle(struct kt_chan *c)
{
	unsigned int before;

	do {
		before = atomic_load(&c->delivered);
		kt_nap(KT_QUIET_MS);
	} while (before != atomic_load(&c->delivered) || atomic_load(&c->in_delivery));
}

/* A packet of `from` that `to` keeps. */
static struct kt_send *keep_one(struct kt_chan *from, struct kt_chan *to)
{
	struct kt_send *s = kt_send_new(from);

	settle(to);
	to->on_packet = NULL;
	atomic_store(&to->mode, KT_HOLD);
	kt_forget(to);
	assert_int_equal(kt_send_pattern(s, 32, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&to->outstanding) == 1);
	KT_WAIT(to->batch_sum == 1);
	the.held = to->packets[0].handle;
	return s;
}

static void allowed(struct kt_bus *bus, bool server)
{
	struct kt_pair p = kt_pair_new(bus);
	struct kt_chan *c = server ? p.server : p.client, *peer = server ? p.client : p.server;
	struct kt_send *s, *own;
	UINT32 gpadl;

	memset(&the, 0, sizeof(the));
	atomic_store(&worked, 0);
	the.memory = kt_guest_alloc(bus, 4096);
	permit(c);
	kt_pair_open(&p);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, the.memory, 64, &gpadl),
			 STATUS_SUCCESS);
	if (server)
		c->arg = (void *)(uintptr_t)gpadl;
	s = kt_send_new(peer);
	own = kt_send_new(c);
	for (unsigned int passive = 0; passive < 2; passive++) {
		VmbChannelSetIncomingProcessingAtPassive(c->h, passive != 0);
		assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(atomic_load(&s->routines) == passive + 1);
		own->hook = may_routine;
		assert_int_equal(kt_send_pattern(own, 32, 1, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(atomic_load(&own->hooks) == passive + 1);
	}
	kt_send_free(s);

	/* one packet is completed from another's routine, one from Suspend */
	s = keep_one(peer, c);
	assert_int_equal(kt_send_pattern(own, 32, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	KT_WAIT(atomic_load(&own->hooks) == 3);
	kt_send_free(s);
	own->hook = nothing;
	s = keep_one(peer, c);
	c->arg = the.held;
	VmbChannelPause(c->h);
	KT_EXPECT(c, "U");
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
	kt_send_free(own);
	assert_true(atomic_load(&worked) > 40);
	VmbChannelDeleteGpadl(p.client->h, gpadl);
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	kt_forget(p.client);
	kt_forget(p.server);
	kt_pair_free(&p);
	kt_guest_free(bus, the.memory);
}

static void ddi_090_allowed_calls_of_a_client(void **state)
{
	allowed(*state, false);
}

static void ddi_090_allowed_calls_of_a_server(void **state)
{
	allowed(*state, true);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_090_forbidden_calls_of_a_client),
		KT_TEST(ddi_090_forbidden_calls_of_a_server),
		KT_TEST(ddi_090_allowed_calls_of_a_client),
		KT_TEST(ddi_090_allowed_calls_of_a_server),
	};

	return KT_MAIN("kmcl-call-matrix", tests);
}
