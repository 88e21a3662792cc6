/* SPDX-License-Identifier: MIT */
/* Every function once with good arguments and once with each bad one that has a status of its own.
 * Bad handles are test_handles.c's, the Init functions' arguments test_init.c's. */
#include "harness.h"

#include <stdlib.h>

#define MOST 4096 /* default maximum packet size */

static struct {
	struct kt_pair p;
	PMDL mdl; /* of two, 8192 and 100 bytes */
	uint8_t *va;
	uint64_t data[MOST / 8 + 1];
} t;

static void begin(struct kt_bus *bus)
{
	uint8_t *va;

	t.p = kt_pair_new(bus);
	t.mdl = kt_mdl_alloc(bus, 8192, &t.va);
	t.mdl->Next = kt_mdl_alloc(bus, 100, &va);
	kt_pair_open(&t.p);
}

static void end(struct kt_bus *bus)
{
	kt_pair_free(&t.p);
	kt_mdl_free(bus, t.mdl->Next);
	kt_mdl_free(bus, t.mdl);
}

#define IS(status, call) assert_int_equal(call, status)

/* ---- sends ---- */

static void ddi_056_086_arguments_of_a_send(void **state)
{
	struct kt_send *s;
	VMBPACKET p;

	begin(*state);
	s = kt_send_new(t.p.client);
	p = s->packet;
	IS(STATUS_INVALID_PARAMETER_2, VmbPacketSend(p, NULL, 1, NULL, 0));
	IS(STATUS_INVALID_PARAMETER_3, VmbPacketSend(p, t.data, MOST + 1, NULL, 0));
	for (unsigned int bit = 0; bit < 32; bit++) {
		if (bit == 0 || bit == 2)
			continue; /* FORCE_MDL_LENGTH, the second, is another function's */
		IS(STATUS_INVALID_PARAMETER_5, VmbPacketSend(p, t.data, 8, NULL, 1u << bit));
	}
	IS(STATUS_INVALID_PARAMETER_5, VmbPacketSend(p, t.data, 8, t.mdl, 0)); /* no WAIT */
	IS(STATUS_SUCCESS, VmbPacketSend(p, NULL, 0, NULL, 0));
	KT_WAIT(atomic_load(&s->routines) == 1);
	IS(STATUS_SUCCESS, VmbPacketSend(p, t.data, MOST, t.mdl,
					 KT_WAITED | VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER));
	KT_WAIT(atomic_load(&s->routines) == 2);
	kt_send_free(s);
	s = kt_send_new(t.p.server);
	IS(STATUS_NOT_SUPPORTED, VmbPacketSend(s->packet, t.data, 8, t.mdl, KT_WAITED));
	kt_send_free(s);
	end(*state);
}

static void ddi_057_086_arguments_of_a_send_with_an_mdl(void **state)
{
	const UINT32 force = VMBUS_CHANNEL_FORMAT_FLAG_FORCE_MDL_LENGTH;
	struct kt_send *s;
	VMBPACKET p;

	begin(*state);
	s = kt_send_new(t.p.client);
	p = s->packet;
#define SEND(...) VmbPacketSendWithExternalMdl(p, __VA_ARGS__)
	IS(STATUS_INVALID_PARAMETER_2, SEND(NULL, 1, t.mdl, 0, 0, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_3, SEND(t.data, MOST + 1, t.mdl, 0, 0, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_4, SEND(t.data, 8, NULL, 0, 0, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_5, SEND(t.data, 8, t.mdl, 8292, 0, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_6, SEND(t.data, 8, t.mdl, 0, 8293, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_6, SEND(t.data, 8, t.mdl, 8291, 2, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_6, SEND(t.data, 8, t.mdl->Next, 0, 5000, KT_WAITED | force));
	IS(STATUS_INVALID_PARAMETER_7, SEND(t.data, 8, t.mdl, 0, 0, 0));
	IS(STATUS_INVALID_PARAMETER_7, SEND(t.data, 8, t.mdl, 0, 0, force));
	for (unsigned int bit = 3; bit < 32; bit++)
		IS(STATUS_INVALID_PARAMETER_7, SEND(t.data, 8, t.mdl, 0, 0, KT_WAITED | 1u << bit));
	IS(STATUS_SUCCESS, SEND(t.data, 8, t.mdl, 8291, 1, KT_WAITED));
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
	s = kt_send_new(t.p.server);
	p = s->packet;
	IS(STATUS_NOT_SUPPORTED, SEND(t.data, 8, t.mdl, 0, 0, KT_WAITED));
#undef SEND
	kt_send_free(s);
	end(*state);
}

static void ddi_058_086_arguments_of_a_send_with_page_numbers(void **state)
{
	struct kt_bus *bus = *state;
	PFN_NUMBER pfns[257];
	struct kt_send *s;
	VMBPACKET p;
	uint64_t gpa;

	begin(bus);
	assert_true(part_memory_gpa(part_client(bus->part), t.va, &gpa));
	for (unsigned int i = 0; i < 257; i++)
		pfns[i] = gpa >> PAGE_SHIFT;
	s = kt_send_new(t.p.client);
	p = s->packet;
#define SEND(...) VmbPacketSendWithExternalPfns(p, __VA_ARGS__)
	IS(STATUS_INVALID_PARAMETER_2, SEND(NULL, 1, pfns, 1, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_3, SEND(t.data, MOST + 1, pfns, 1, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_4, SEND(t.data, 8, NULL, 1, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_5, SEND(t.data, 8, pfns, 0, KT_WAITED));
	IS(STATUS_INVALID_PARAMETER_6, SEND(t.data, 8, pfns, 1, 0));
	for (unsigned int bit = 1; bit < 32; bit++)
		if (bit != 2)
			IS(STATUS_INVALID_PARAMETER_6,
			   SEND(t.data, 8, pfns, 1, KT_WAITED | 1u << bit));
	IS(STATUS_INVALID_BUFFER_SIZE, SEND(t.data, 8, pfns, 257, KT_WAITED)); /* over 1 MiB */
	IS(STATUS_SUCCESS, SEND(t.data, 8, pfns, 256, KT_WAITED));
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
	s = kt_send_new(t.p.server);
	p = s->packet;
	IS(STATUS_NOT_SUPPORTED, SEND(t.data, 8, pfns, 1, KT_WAITED));
#undef SEND
	kt_send_free(s);
	end(bus);
}

static void ddi_042_086_arguments_of_a_synchronous_request(void **state)
{
	LARGE_INTEGER now = {.QuadPart = 0}, soon = {.QuadPart = -10000};
	UINT32 size = 8, odd = 12;
	uint64_t answer;

	begin(*state);
#define ASK(end, ...) VmbChannelSendSynchronousRequest(t.p.end->h, __VA_ARGS__)
	IS(STATUS_INVALID_PARAMETER_2, ASK(client, NULL, 1, NULL, KT_WAITED, NULL, NULL, NULL));
	IS(STATUS_INVALID_PARAMETER_3,
	   ASK(client, t.data, MOST + 1, NULL, KT_WAITED, NULL, NULL, NULL));
	IS(STATUS_INVALID_PARAMETER_5, ASK(client, t.data, 8, t.mdl, 0, NULL, NULL, NULL));
	for (unsigned int bit = 0; bit < 32; bit++)
		if (bit != 0 && bit != 2)
			IS(STATUS_INVALID_PARAMETER_5,
			   ASK(client, t.data, 8, NULL, 1u << bit, NULL, NULL, &now));
	IS(STATUS_INVALID_PARAMETER_6, ASK(client, t.data, 8, NULL, KT_WAITED, NULL, &size, NULL));
	IS(STATUS_INVALID_PARAMETER_7,
	   ASK(client, t.data, 8, NULL, KT_WAITED, &answer, NULL, NULL));
	IS(STATUS_INVALID_PARAMETER_7,
	   ASK(client, t.data, 8, NULL, KT_WAITED, &answer, &odd, NULL));
	IS(STATUS_INVALID_PARAMETER_5, ASK(server, t.data, 8, NULL, KT_WAITED, NULL, NULL, &now));
	IS(STATUS_INVALID_PARAMETER_8, ASK(server, t.data, 8, NULL, 0, NULL, NULL, NULL));
	IS(STATUS_INVALID_PARAMETER_8, ASK(server, t.data, 8, NULL, 0, NULL, NULL, &soon));
	assert_true(size == 8 && odd == 12);
	assert_int_equal(atomic_load(&t.p.server->delivered), 0);
	assert_int_equal(atomic_load(&t.p.client->delivered), 0);
	IS(STATUS_SUCCESS, ASK(client, t.data, 8, t.mdl, KT_WAITED, &answer, &size, NULL));
	assert_int_equal(size, 8);
	IS(STATUS_SUCCESS, ASK(server, t.data, 8, NULL, 0, NULL, NULL, &now));
#undef ASK
	end(*state);
}

/* ---- packets ---- */

static void ddi_055_059_086_arguments_of_packets(void **state)
{
	static uint64_t memory[8192];
	struct kt_send *s;
	VMBCHANNEL c;
	UINT32 size;

	begin(*state);
	c = t.p.client->h;
	size = VmbChannelSizeofPacket(c);
	assert_true(size > MOST + sizeof(PVOID) && size % 8 == 0 && size <= sizeof(memory));
	IS(STATUS_INVALID_PARAMETER_2, VmbPacketInitialize(c, NULL, size));
	IS(STATUS_INVALID_PARAMETER_2,
	   VmbPacketInitialize(c, (VMBPACKET)(void *)((char *)memory + 4), size));
	IS(STATUS_INVALID_PARAMETER_3,
	   VmbPacketInitialize(c, (VMBPACKET)(void *)memory, MOST + sizeof(PVOID)));
	IS(STATUS_INVALID_PARAMETER_3, VmbPacketInitialize(c, (VMBPACKET)(void *)memory, size - 1));
	IS(STATUS_SUCCESS, VmbPacketInitialize(c, (VMBPACKET)(void *)memory, size));
	/* it has no routine yet */
	IS(STATUS_INVALID_PARAMETER_1,
	   VmbPacketSend((VMBPACKET)(void *)memory, t.data, 8, NULL, 0));
	KT_VIOLATES(VmbPacketSetCompletionRoutine((VMBPACKET)(void *)memory, NULL));
	KT_VIOLATES(VmbPacketFree((VMBPACKET)(void *)memory));
	/* in flight */
	atomic_store(&t.p.server->mode, KT_HOLD);
	s = kt_send_new(t.p.client);
	IS(STATUS_SUCCESS, VmbPacketSend(s->packet, t.data, 8, NULL, KT_WAITED));
	KT_WAIT(atomic_load(&t.p.server->outstanding) == 1);
	IS(STATUS_INVALID_PARAMETER_1, VmbPacketSend(s->packet, t.data, 8, NULL, 0));
	IS(STATUS_INVALID_PARAMETER_1,
	   VmbPacketSendWithExternalMdl(s->packet, t.data, 8, t.mdl, 0, 0, KT_WAITED));
	KT_VIOLATES(VmbPacketSetCompletionRoutine(s->packet, kt_routine));
	KT_VIOLATES(VmbPacketFree(s->packet));
	VmbPacketSetPointer(s->packet, s); /* in any state */
	assert_ptr_equal(VmbPacketGetPointer(s->packet), s);
	assert_ptr_equal(VmbPacketGetChannel(s->packet), c);
	kt_complete(t.p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
	end(*state);
}

static void ddi_037_040_086_arguments_of_an_incoming_packet(void **state)
{
	VMBPACKETCOMPLETION in;
	struct kt_send *s;
	PMDL mdl = NULL;

	begin(*state);
	atomic_store(&t.p.server->mode, KT_HOLD);
	s = kt_send_new(t.p.client);
	IS(STATUS_SUCCESS, VmbPacketSend(s->packet, t.data, 8, t.mdl, KT_WAITED));
	KT_WAIT(t.p.server->packet_count == 1);
	in = t.p.server->packets[0].handle;
	for (unsigned int bit = 1; bit < 32; bit++)
		IS(STATUS_INVALID_PARAMETER_2,
		   VmbChannelPacketGetExternalData(in, 1u << bit, &mdl));
	IS(STATUS_INVALID_PARAMETER_3, VmbChannelPacketGetExternalData(in, 0, NULL));
	assert_null(mdl);
	IS(STATUS_SUCCESS, VmbChannelPacketGetExternalData(in, 0, &mdl)); /* after its callback */
	assert_int_equal(MmGetMdlByteCount(mdl), 8192);
	KT_VIOLATES(VmbChannelPacketComplete(in, NULL, 1));
	KT_VIOLATES(VmbChannelPacketComplete(in, t.data, MOST + 1));
	assert_int_equal(atomic_load(&s->routines), 0);
	kt_complete(t.p.server, 0, t.data, MOST);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(s->length, MOST);
	kt_send_free(s);
	KT_VIOLATES(VmbChannelSetTransactionQuota(t.p.server->h, 0));
	end(*state);
}

/* ---- GPADLs ---- */

static void ddi_022_023_061_086_arguments_of_gpadls(void **state)
{
	struct kt_bus *bus = *state;
	static uint8_t elsewhere[64];
	UINT32 gpadl = 0, part = 0;
	VMBCHANNEL c;
	PMDL mdl = NULL;

	begin(bus);
	c = t.p.client->h;
	for (unsigned int bit = 1; bit < 32; bit++) {
		const UINT32 flags = 1u << bit;

		IS(STATUS_INVALID_PARAMETER_2,
		   VmbChannelCreateGpadlFromBuffer(c, flags, t.va, 64, &gpadl));
		IS(STATUS_INVALID_PARAMETER_2,
		   VmbChannelCreateGpadlFromMdl(c, flags, t.mdl, 0, 0, &gpadl));
		IS(STATUS_INVALID_PARAMETER_2, VmbChannelMapGpadl(t.p.server->h, flags, 1, &mdl));
	}
	IS(STATUS_INVALID_PARAMETER_3, VmbChannelCreateGpadlFromBuffer(c, 0, NULL, 64, &gpadl));
	IS(STATUS_INVALID_PARAMETER_4, VmbChannelCreateGpadlFromBuffer(c, 0, t.va, 0, &gpadl));
	IS(STATUS_INVALID_PARAMETER_5, VmbChannelCreateGpadlFromBuffer(c, 0, t.va, 64, NULL));
	IS(STATUS_INVALID_ADDRESS, VmbChannelCreateGpadlFromBuffer(c, 0, elsewhere, 64, &gpadl));
	IS(STATUS_INVALID_PARAMETER_3, VmbChannelCreateGpadlFromMdl(c, 0, NULL, 0, 0, &gpadl));
	IS(STATUS_INVALID_PARAMETER_4, VmbChannelCreateGpadlFromMdl(c, 0, t.mdl, 8292, 0, &gpadl));
	IS(STATUS_INVALID_PARAMETER_5, VmbChannelCreateGpadlFromMdl(c, 0, t.mdl, 8291, 2, &gpadl));
	IS(STATUS_INVALID_PARAMETER_6, VmbChannelCreateGpadlFromMdl(c, 0, t.mdl, 0, 0, NULL));
	assert_int_equal(gpadl, 0);
	IS(STATUS_SUCCESS, VmbChannelCreateGpadlFromBuffer(c, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY,
							   t.va, 64, &gpadl));
	IS(STATUS_SUCCESS, VmbChannelCreateGpadlFromMdl(c, 0, t.mdl, 8000, 292, &part));
	assert_true(gpadl && part && gpadl != part);
	c = t.p.server->h;
	IS(STATUS_INVALID_PARAMETER_3, VmbChannelMapGpadl(c, 0, 0, &mdl));
	IS(STATUS_INVALID_PARAMETER_3, VmbChannelMapGpadl(c, 0, part + 77, &mdl));
	IS(STATUS_INVALID_PARAMETER_4, VmbChannelMapGpadl(c, 0, part, NULL));
	IS(STATUS_ACCESS_DENIED, VmbChannelMapGpadl(c, 0, gpadl, &mdl));
	assert_null(mdl);
	IS(STATUS_SUCCESS, VmbChannelMapGpadl(c, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY, gpadl, &mdl));
	IS(STATUS_SHARING_VIOLATION,
	   VmbChannelMapGpadl(c, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY, gpadl, &mdl));
	VmbChannelUnmapGpadl(c, gpadl);
	KT_VIOLATES(VmbChannelUnmapGpadl(c, gpadl));
	KT_VIOLATES(VmbChannelDeleteGpadl(t.p.client->h, part + 77));
	VmbChannelDeleteGpadl(t.p.client->h, gpadl);
	KT_VIOLATES(VmbChannelDeleteGpadl(t.p.client->h, gpadl));
	VmbChannelDeleteGpadl(t.p.client->h, part);
	VmbChannelDisable(t.p.client->h); /* from here on there is nothing to make or to map */
	IS(STATUS_INVALID_DEVICE_STATE,
	   VmbChannelCreateGpadlFromBuffer(t.p.client->h, 0, t.va, 64, &gpadl));
	IS(STATUS_INVALID_DEVICE_STATE,
	   VmbChannelCreateGpadlFromMdl(t.p.client->h, 0, t.mdl, 0, 0, &gpadl));
	KT_EXPECT(t.p.server, "OSPUC");
	KT_WAIT(VmbChannelMapGpadl(t.p.server->h, 0, part, &mdl) == STATUS_INVALID_DEVICE_STATE);
	end(bus);
}

/* ---- levels ---- */

/* Functions that may wait, or that configure, want PASSIVE_LEVEL. */
static void ddi_086_calls_at_dispatch_level(void **state)
{
	struct kt_bus *bus = *state;
	VMBCHANNEL other = NULL;
	UINT32 gpadl = 0;
	struct kt_send *s;
	uint64_t answer;
	UINT32 size = 8;
	PMDL mdl = NULL;
	HANDLE handle;
	UINT16 latency;
	KIRQL irql;

	begin(bus);
	s = kt_send_new(t.p.client);
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	KT_VIOLATES(VmbChannelStart(t.p.client->h));
	KT_VIOLATES(VmbChannelPause(t.p.client->h));
	KT_VIOLATES(VmbChannelDisable(t.p.client->h));
	KT_VIOLATES(VmbChannelCleanup(t.p.client->h));
	KT_VIOLATES(VmbChannelDeleteGpadl(t.p.client->h, 1));
	KT_VIOLATES(VmbChannelUnmapGpadl(t.p.server->h, 1));
	KT_VIOLATES(IS(STATUS_INVALID_DEVICE_STATE, VmbChannelEnable(t.p.client->h)));
	KT_VIOLATES(IS(STATUS_INVALID_DEVICE_STATE,
		       VmbChannelAllocate(bus->client_pdo, FALSE, &other)));
	KT_VIOLATES(IS(STATUS_INVALID_DEVICE_STATE,
		       VmbChannelCreateGpadlFromBuffer(t.p.client->h, 0, t.va, 64, &gpadl)));
	KT_VIOLATES(IS(STATUS_INVALID_DEVICE_STATE,
		       VmbChannelCreateGpadlFromMdl(t.p.client->h, 0, t.mdl, 0, 0, &gpadl)));
	KT_VIOLATES(IS(STATUS_INVALID_DEVICE_STATE, VmbChannelMapGpadl(t.p.server->h, 0, 1, &mdl)));
	KT_VIOLATES(IS(STATUS_INVALID_DEVICE_STATE,
		       VmbChannelSetInterruptLatency(t.p.client->h, 1, &latency)));
	KT_VIOLATES(IS(STATUS_INVALID_DEVICE_STATE,
		       VmbChannelSendSynchronousRequest(t.p.client->h, t.data, 8, NULL, KT_WAITED,
							&answer, &size, NULL)));
	KT_VIOLATES(IS(STATUS_INVALID_DEVICE_STATE,
		       VmbConvertVmbusHandleToKernelHandle(NULL, &handle)));
	KT_VIOLATES(IS(
		STATUS_INVALID_DEVICE_STATE,
		VmbPacketSend(s->packet, t.data, 8, NULL, VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER)));
	/* and these do not mind */
	IS(STATUS_SUCCESS, VmbPacketSend(s->packet, t.data, 8, NULL, 0));
	KeLowerIrql(irql);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_true(!other && !gpadl && !mdl);
	assert_true(kt_runs(t.p.client) && kt_runs(t.p.server));
	kt_send_free(s);
	end(bus);
}

static void ddi_086_init_functions_at_dispatch_level(void **state)
{
	VMBCHANNEL client = kt_bare(*state, false), server = kt_bare(*state, true);
	UNICODE_STRING name = {0, 0, NULL};
	KIRQL irql;

	KeRaiseIrql(DISPATCH_LEVEL, &irql);
#define LATER(call) KT_VIOLATES(IS(STATUS_INVALID_PARAMETER_1, call))
	LATER(VmbChannelInitSetClientContextSize(client, 1));
	LATER(VmbChannelInitSetFlags(client, 0));
	LATER(VmbChannelInitSetFriendlyName(client, &name));
	LATER(VmbChannelInitSetMaximumExternalData(client, 1, 1));
	LATER(VmbChannelInitSetMaximumPacketSize(client, 1));
	LATER(VmbClientChannelInitSetRingBufferPageCount(client, 2, 2));
	LATER(VmbClientChannelInitSetTargetPnp(client, &kt_type, NULL, NULL));
	LATER(VmbServerChannelInitSetFlags(server, 0));
	LATER(VmbServerChannelInitSetMmioMegabytes(server, 1, 1));
	LATER(VmbServerChannelInitSetTargetInterfaceId(server, kt_type, kt_type));
	LATER(VmbServerChannelInitSetTargetVtl(server, 0));
#undef LATER
	KeLowerIrql(irql);
	assert_true(VmbChannelSizeofPacket(client) > MOST); /* nothing was set */
	IS(STATUS_INVALID_PARAMETER, VmbChannelEnable(server));
	kt_drop(client);
	kt_drop(server);
}

static void ddi_067_074_086_arguments_of_bus_handles(void **state)
{
	struct kt_bus *bus = *state;
	VMBCHANNEL c = kt_bare(bus, true);
	HANDLE kernel = NULL;

	kt_bus_handle_open(bus);
	IS(STATUS_INVALID_PARAMETER_2, VmbConvertVmbusHandleToKernelHandle(kt_bus_handle, NULL));
	IS(STATUS_INVALID_HANDLE, VmbConvertVmbusHandleToKernelHandle(NULL, &kernel));
	IS(STATUS_INVALID_HANDLE,
	   VmbConvertVmbusHandleToKernelHandle((HANDLE)(uintptr_t)0x1234, &kernel));
	IS(STATUS_INVALID_HANDLE, VmbServerChannelInitSetVmbusHandle(c, NULL));
	IS(STATUS_INVALID_HANDLE, VmbServerChannelInitSetVmbusHandle(c, (HANDLE)(uintptr_t)c));
	assert_null(kernel);
	IS(STATUS_SUCCESS, VmbConvertVmbusHandleToKernelHandle(kt_bus_handle, &kernel));
	IS(STATUS_SUCCESS, VmbServerChannelInitSetVmbusHandle(c, kernel));
	IS(STATUS_SUCCESS, ZwClose(kernel));
	IS(STATUS_INVALID_HANDLE, VmbServerChannelInitSetVmbusHandle(c, kernel)); /* closed */
	kt_drop(c);
	kt_bus_handle_close();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_056_086_arguments_of_a_send),
		KT_TEST(ddi_057_086_arguments_of_a_send_with_an_mdl),
		KT_TEST(ddi_058_086_arguments_of_a_send_with_page_numbers),
		KT_TEST(ddi_042_086_arguments_of_a_synchronous_request),
		KT_TEST(ddi_055_059_086_arguments_of_packets),
		KT_TEST(ddi_037_040_086_arguments_of_an_incoming_packet),
		KT_TEST(ddi_022_023_061_086_arguments_of_gpadls),
		KT_TEST(ddi_086_calls_at_dispatch_level),
		KT_TEST(ddi_086_init_functions_at_dispatch_level),
		KT_TEST(ddi_067_074_086_arguments_of_bus_handles),
	};

	return KT_MAIN("kmcl-arguments", tests);
}
