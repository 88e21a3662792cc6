/* SPDX-License-Identifier: MIT */
/* A driver that keeps handles too long, invents some, or mixes them up: each call has its
 * documented answer, and nothing behind the handle is touched. */
#include "harness.h"

#include <openkmcl_ext.h>

#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static VMBPACKETCOMPLETION completion_of(uint64_t value)
{
	return (VMBPACKETCOMPLETION)(uintptr_t)value;
}

/* ---- what every function says of a handle that is none ---- */

static VOID no_process(VMBCHANNEL c, VMBPACKETCOMPLETION p, PVOID b, UINT32 n, UINT32 f)
{
	(void)c;
	(void)b;
	(void)n;
	(void)f;
	VmbChannelPacketComplete(p, NULL, 0);
}

static NTSTATUS no_save(VMBCHANNEL c, VMBPACKET p, PVOID b, UINT32 n, PUINT32 needed)
{
	(void)c;
	(void)p;
	(void)b;
	(void)n;
	(void)needed;
	return STATUS_SUCCESS;
}

static NTSTATUS no_restore(VMBCHANNEL c, PVOID l, UINT32 ln, PVOID s, UINT32 sn)
{
	(void)c;
	(void)l;
	(void)ln;
	(void)s;
	(void)sn;
	return STATUS_SUCCESS;
}

#define REFUSES(call) assert_int_equal(call, STATUS_INVALID_PARAMETER_1)

static void refuse_settings(VMBCHANNEL c)
{
	static WCHAR text[] = {'x'};
	UNICODE_STRING name = {2, 2, text};
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	REFUSES(VmbChannelInitSetClientContextSize(c, 1));
	REFUSES(VmbChannelInitSetFlags(c, 0));
	REFUSES(VmbChannelInitSetFriendlyName(c, &name));
	REFUSES(VmbChannelInitSetMaximumExternalData(c, 1, 1));
	REFUSES(VmbChannelInitSetMaximumPacketSize(c, 1));
	REFUSES(VmbChannelInitSetProcessPacketCallbacks(c, no_process, NULL));
	REFUSES(VmbChannelInitSetStateChangeCallbacks(c, &callbacks));
	REFUSES(VmbClientChannelInitSetRingBufferPageCount(c, 2, 2));
	REFUSES(VmbClientChannelInitSetTargetPnp(c, &kt_type, NULL, NULL));
	REFUSES(VmbServerChannelInitSetFlags(c, 0));
	REFUSES(VmbServerChannelInitSetMmioMegabytes(c, 1, 1));
	REFUSES(VmbServerChannelInitSetSaveRestorePacketCallbacks(c, no_save, no_restore));
	REFUSES(VmbServerChannelInitSetTargetInterfaceId(c, kt_type, kt_type));
	REFUSES(VmbServerChannelInitSetTargetVtl(c, 0));
	REFUSES(VmbServerChannelInitSetVmbusHandle(c, NULL));
}

/* Violations: one for each function without a status. */
static void refuse_channel(VMBCHANNEL c)
{
	static uint64_t memory[8192];
	UINT64 address = 7, size = 7;
	UINT16 latency = 7;
	UINT32 gpadl = 7;
	GUID guid = kt_type;
	PMDL mdl = NULL;
	MDL one;

	memset(&one, 0, sizeof(one));
	refuse_settings(c);
	REFUSES(VmbChannelEnable(c));
	REFUSES(VmbChannelCreateGpadlFromBuffer(c, 0, memory, 8, &gpadl));
	REFUSES(VmbChannelCreateGpadlFromMdl(c, 0, &one, 0, 0, &gpadl));
	REFUSES(VmbChannelMapGpadl(c, 0, 1, &mdl));
	REFUSES(VmbChannelSendSynchronousRequest(c, memory, 8, NULL, 0, NULL, NULL, NULL));
	REFUSES(VmbChannelSetInterruptLatency(c, 1, &latency));
	REFUSES(VmbPacketInitialize(c, (VMBPACKET)(void *)memory, sizeof(memory)));
	assert_null(VmbPacketAllocate(c));
	assert_int_equal(KmclChannelMaximumOutgoingPacket(c), 0);
	REFUSES(KmclChannelQueryReferenceTime(c, &address, &size));
	KT_VIOLATES(VmbChannelCleanup(c));
	KT_VIOLATES(VmbChannelDeleteGpadl(c, 1));
	KT_VIOLATES(VmbChannelUnmapGpadl(c, 1));
	KT_VIOLATES(VmbChannelDisable(c));
	KT_VIOLATES(VmbChannelStart(c));
	KT_VIOLATES(VmbChannelPause(c));
	KT_VIOLATES(VmbChannelGetInterfaceInstance(c, &guid));
	KT_VIOLATES(VmbChannelGetMmioSpace(c, &address, &size));
	KT_VIOLATES(assert_null(VmbChannelGetPointer(c)));
	KT_VIOLATES(VmbChannelSetPointer(c, memory));
	KT_VIOLATES(VmbChannelSetIncomingProcessingAtPassive(c, TRUE));
	KT_VIOLATES(VmbChannelSetTransactionQuota(c, 1));
	KT_VIOLATES(assert_int_equal(VmbChannelSizeofPacket(c), 0));
	/* nothing was stored */
	assert_true(address == 7 && size == 7 && latency == 7 && gpadl == 7 && !mdl);
	assert_memory_equal(&guid, &kt_type, sizeof(guid));
}

static void refuse_packet(VMBPACKET p)
{
	static uint64_t data[8];
	PFN_NUMBER pfn = 1;
	MDL one;

	memset(&one, 0, sizeof(one));
	REFUSES(VmbPacketSend(p, data, 8, NULL, 0));
	REFUSES(VmbPacketSendWithExternalMdl(p, data, 8, &one, 0, 0, KT_WAITED));
	REFUSES(VmbPacketSendWithExternalPfns(p, data, 8, &pfn, 1, KT_WAITED));
	KT_VIOLATES(VmbPacketFree(p));
	KT_VIOLATES(assert_null(VmbPacketGetChannel(p)));
	KT_VIOLATES(assert_null(VmbPacketGetPointer(p)));
	KT_VIOLATES(VmbPacketSetPointer(p, data));
	KT_VIOLATES(VmbPacketSetCompletionRoutine(p, kt_routine));
}

static void refuse_completion(VMBPACKETCOMPLETION p)
{
	PMDL mdl = NULL;

	REFUSES(VmbChannelPacketGetExternalData(p, 0, &mdl));
	assert_null(mdl);
	KT_VIOLATES(VmbChannelPacketComplete(p, NULL, 0));
	KT_VIOLATES(VmbChannelPacketFail(p));
	KT_VIOLATES(VmbChannelPacketDeferToPassive(p));
	KT_VIOLATES(assert_null(KmclPacketClientContext(p)));
}

/* ---- tests ---- */

static void ddi_086_handles_that_never_were(void **state)
{
	static const uint64_t values[] = {
		0,
		1,
		3,
		5,
		7,
		2,
		(uintptr_t)-1,
		(uintptr_t)-3,
		(uintptr_t)-5,
		0x00007ffffffff001,
		0x00007ffffffff003,
		0x00007ffffffff005,
		0x8000000000000001,
		0x8000000000000005,
	};
	struct kt_pair p = kt_pair_new(*state);

	kt_pair_open(&p);
	for (size_t i = 0; i < COUNT(values); i++) {
		refuse_channel((VMBCHANNEL)(uintptr_t)values[i]);
		refuse_packet((VMBPACKET)(uintptr_t)values[i]);
		refuse_completion(completion_of(values[i]));
	}
	assert_true(kt_runs(p.client) && kt_runs(p.server));
	kt_pair_free(&p);
}

static void ddi_086_handles_of_another_kind(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	VMBPACKET packet = VmbPacketAllocate(p.client->h);
	struct kt_send *s = kt_send_new(p.client);

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	assert_int_equal(kt_send_pattern(s, 8, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&p.server->outstanding) == 1);
	refuse_channel((VMBCHANNEL)(void *)packet);
	refuse_channel((VMBCHANNEL)(void *)p.server->packets[0].handle);
	refuse_packet((VMBPACKET)(void *)p.client->h);
	refuse_packet((VMBPACKET)(void *)p.server->packets[0].handle);
	refuse_completion(completion_of((uintptr_t)packet));
	refuse_completion(completion_of((uintptr_t)p.client->h));
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
	VmbPacketFree(packet);
	kt_pair_free(&p);
}

static void ddi_021_086_a_channel_after_cleanup(void **state)
{
	struct kt_bus *bus = *state;

	for (int server = 0; server < 2; server++) {
		VMBCHANNEL c = kt_bare(bus, server), next[64];

		kt_drop(c);
		refuse_channel(c);
		/* whatever comes after it, its handle is nobody's */
		for (size_t i = 0; i < COUNT(next); i++) {
			next[i] = kt_bare(bus, server);
			assert_ptr_not_equal(next[i], c);
			refuse_settings(c);
		}
		refuse_channel(c);
		for (size_t i = 0; i < COUNT(next); i++)
			kt_drop(next[i]);
	}
}

static void ddi_021_cleanup_of_a_channel_in_use(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	VMBPACKET packet = VmbPacketAllocate(p.client->h);

	KT_VIOLATES(VmbChannelCleanup(p.client->h)); /* a packet is left */
	VmbPacketFree(packet);
	assert_int_equal(VmbChannelEnable(p.server->h), STATUS_SUCCESS);
	KT_VIOLATES(VmbChannelCleanup(p.server->h)); /* offered */
	VmbChannelDisable(p.server->h);
	kt_pair_open(&p);
	KT_VIOLATES(VmbChannelCleanup(p.server->h)); /* open */
	KT_VIOLATES(VmbChannelCleanup(p.client->h));
	assert_true(kt_runs(p.client) && kt_runs(p.server));
	kt_pair_free(&p);
}

static void ddi_052_086_a_packet_after_its_end(void **state)
{
	VMBCHANNEL c = kt_bare(*state, false);
	VMBPACKET packet = VmbPacketAllocate(c), again, many[300];

	VmbPacketFree(packet);
	refuse_packet(packet);
	again = VmbPacketAllocate(c); /* the same memory, another packet */
	assert_ptr_not_equal(again, packet);
	refuse_packet(packet);
	assert_ptr_equal(VmbPacketGetChannel(again), c);
	VmbPacketFree(again);
	/* more than the lookaside list keeps */
	for (size_t i = 0; i < COUNT(many); i++)
		many[i] = VmbPacketAllocate(c);
	for (size_t i = 0; i < COUNT(many); i++)
		VmbPacketFree(many[i]);
	for (size_t i = 0; i < COUNT(many); i += 37)
		refuse_packet(many[i]);
	kt_drop(c);
	refuse_packet(packet);
	for (size_t i = 0; i < COUNT(many); i += 37)
		refuse_packet(many[i]);
}

/* In memory of the driver's own: the channel that it names is gone. */
static void ddi_055_086_an_initialized_packet_of_a_freed_channel(void **state)
{
	struct kt_bus *bus = *state;
	VMBCHANNEL c = kt_bare(bus, false), next;
	UINT32 size = VmbChannelSizeofPacket(c);
	VMBPACKET packet = aligned_alloc(16, (size + 15) & ~15u);

	assert_non_null(packet);
	memset((void *)packet, 0, size);
	refuse_packet(packet); /* nothing was initialized yet */
	assert_int_equal(VmbPacketInitialize(c, packet, size), STATUS_SUCCESS);
	VmbPacketSetCompletionRoutine(packet, kt_routine);
	assert_ptr_equal(VmbPacketGetChannel(packet), c);
	KT_VIOLATES(VmbPacketFree(packet));
	kt_drop(c);
	next = kt_bare(bus, false);
	refuse_packet(packet);
	assert_int_equal(VmbPacketInitialize(next, packet, size), STATUS_SUCCESS);
	assert_ptr_equal(VmbPacketGetChannel(packet), next);
	kt_drop(next);
	free((void *)packet);
}

/* The object of a packet that has ended carries the next one: the old handle does not end that. */
static void ddi_086_inv_040_a_stale_completion_ends_nothing(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(kt_send_pattern(s, 8, i, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(p.server->packet_count == i + 1);
		for (unsigned int j = 0; j < i; j++)
			refuse_completion(p.server->packets[j].handle);
		assert_int_equal(atomic_load(&s->routines), i);
		kt_complete(p.server, i, NULL, 0);
		KT_WAIT(atomic_load(&s->routines) == i + 1);
	}
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_086_a_completion_after_close_and_cleanup(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);
	VMBPACKETCOMPLETION old;

	kt_pair_open(&p);
	assert_int_equal(kt_send_pattern(s, 8, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	old = p.server->packets[0].handle;
	VmbChannelDisable(p.client->h);
	KT_EXPECT(p.server, "OSPUC");
	refuse_completion(old); /* closed */
	VmbChannelDisable(p.server->h);
	refuse_completion(old); /* disabled */
	kt_forget(p.client);
	kt_forget(p.server);
	kt_pair_open(&p);
	atomic_store(&p.server->mode, KT_HOLD);
	assert_int_equal(kt_send_pattern(s, 8, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&p.server->outstanding) == 1);
	refuse_completion(old); /* another session, the first object again */
	assert_int_equal(atomic_load(&s->routines), 1);
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&s->routines) == 2);
	kt_send_free(s);
	old = p.server->packets[0].handle;
	kt_pair_free(&p);
	refuse_completion(old); /* freed */
}

/* A completion handle that two threads use at once ends the packet once. */
static struct {
	VMBPACKETCOMPLETION handle;
	atomic_uint ready;
} race;

static void complete_racing(void *arg)
{
	(void)arg;
	atomic_fetch_add(&race.ready, 1);
	while (atomic_load(&race.ready) < 2)
		;
	VmbChannelPacketComplete(race.handle, NULL, 0);
}

static void ddi_037_inv_040_two_threads_complete_one_packet(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	for (unsigned int i = 0; i < 50; i++) {
		struct kt_call calls[2];
		unsigned int before = kt_violations();

		assert_int_equal(kt_send_pattern(s, 8, i, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(p.server->packet_count == i + 1);
		race.handle = p.server->packets[i].handle;
		atomic_store(&race.ready, 0);
		atomic_fetch_sub(&p.server->outstanding, 1);
		for (unsigned int j = 0; j < 2; j++)
			kt_call_start(&calls[j], p.server, complete_racing, NULL);
		for (unsigned int j = 0; j < 2; j++)
			kt_call_join(&calls[j]);
		assert_int_equal(kt_violations() - before, 1);
		kt_violations_expected(1);
		KT_WAIT(atomic_load(&s->routines) == i + 1);
	}
	kt_send_free(s);
	kt_pair_free(&p);
}

/* Places are used again, so handles do not run out. */
static void thousands_of_channels_one_after_another(void **state)
{
	VMBCHANNEL first = kt_bare(*state, true), c = NULL;

	kt_drop(first);
	for (unsigned int i = 0; i < 5000; i++) {
		c = kt_bare(*state, i & 1);
		assert_ptr_not_equal(c, first);
		kt_drop(c);
	}
	refuse_settings(first);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_086_handles_that_never_were),
		KT_TEST(ddi_086_handles_of_another_kind),
		KT_TEST(ddi_021_086_a_channel_after_cleanup),
		KT_TEST(ddi_021_cleanup_of_a_channel_in_use),
		KT_TEST(ddi_052_086_a_packet_after_its_end),
		KT_TEST(ddi_055_086_an_initialized_packet_of_a_freed_channel),
		KT_TEST(ddi_086_inv_040_a_stale_completion_ends_nothing),
		KT_TEST(ddi_086_a_completion_after_close_and_cleanup),
		KT_TEST(ddi_037_inv_040_two_threads_complete_one_packet),
		KT_TEST(thousands_of_channels_one_after_another),
	};

	return KT_MAIN("kmcl-handles", tests);
}
