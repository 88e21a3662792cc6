/* SPDX-License-Identifier: MIT */
/* Channels before they are enabled: allocation, every InitSet function, what Enable refuses. */
#include "harness.h"

#include <kmcl/kmcl.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

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

/* ---- every setting, with good arguments ---- */

static NTSTATUS set_context(VMBCHANNEL c)
{
	return VmbChannelInitSetClientContextSize(c, 64);
}

static NTSTATUS set_flags(VMBCHANNEL c)
{
	return VmbChannelInitSetFlags(c, 0);
}

static NTSTATUS set_name(VMBCHANNEL c)
{
	static WCHAR text[] = {'n', 'a', 'm', 'e'};
	UNICODE_STRING name = {sizeof(text), sizeof(text), text};

	return VmbChannelInitSetFriendlyName(c, &name);
}

static NTSTATUS set_external(VMBCHANNEL c)
{
	return VmbChannelInitSetMaximumExternalData(c, 65536, 8);
}

static NTSTATUS set_size(VMBCHANNEL c)
{
	return VmbChannelInitSetMaximumPacketSize(c, 2048);
}

static NTSTATUS set_process(VMBCHANNEL c)
{
	return VmbChannelInitSetProcessPacketCallbacks(c, no_process, NULL);
}

static NTSTATUS set_state(VMBCHANNEL c)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	return VmbChannelInitSetStateChangeCallbacks(c, &callbacks);
}

static NTSTATUS set_pages(VMBCHANNEL c)
{
	return VmbClientChannelInitSetRingBufferPageCount(c, 16, 16);
}

static GUID target_instance; /* of the channels under test */

static NTSTATUS set_target(VMBCHANNEL c)
{
	return VmbClientChannelInitSetTargetPnp(c, &kt_type, &target_instance, NULL);
}

static NTSTATUS set_server_flags(VMBCHANNEL c)
{
	return VmbServerChannelInitSetFlags(c, 0);
}

static NTSTATUS set_mmio(VMBCHANNEL c)
{
	return VmbServerChannelInitSetMmioMegabytes(c, 1, 0);
}

static NTSTATUS set_save(VMBCHANNEL c)
{
	return VmbServerChannelInitSetSaveRestorePacketCallbacks(c, no_save, no_restore);
}

static NTSTATUS set_id(VMBCHANNEL c)
{
	return VmbServerChannelInitSetTargetInterfaceId(c, kt_type, target_instance);
}

static NTSTATUS set_vtl(VMBCHANNEL c)
{
	return VmbServerChannelInitSetTargetVtl(c, 0);
}

static NTSTATUS set_handle(VMBCHANNEL c)
{
	return VmbServerChannelInitSetVmbusHandle(c, kt_bus_handle);
}

static const struct {
	NTSTATUS (*set)(VMBCHANNEL c);
	bool client, server;
} settings[] = {
	{set_context, true, true},       {set_flags, true, true},  {set_name, true, true},
	{set_external, true, true},      {set_size, true, true},   {set_process, true, true},
	{set_state, true, true},         {set_pages, true, false}, {set_target, true, false},
	{set_server_flags, false, true}, {set_mmio, false, true},  {set_save, false, true},
	{set_id, false, true},           {set_vtl, false, true},   {set_handle, false, true},
};

static bool fits(size_t i, bool server)
{
	return server ? settings[i].server : settings[i].client;
}

/* ---- tests ---- */

static void inv_013_init_set_only_while_disabled(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	struct kt_chan *ends[] = {p.server, p.client};

	kt_bus_handle_open(bus);
	target_instance = p.server->instance;
	for (size_t e = 0; e < COUNT(ends); e++)
		for (size_t i = 0; i < COUNT(settings); i++)
			if (fits(i, ends[e]->server))
				assert_int_equal(settings[i].set(ends[e]->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(p.server->h), STATUS_SUCCESS);
	VmbChannelStart(p.server->h);
	for (size_t i = 0; i < COUNT(settings); i++) /* offered, nobody there */
		if (fits(i, true))
			assert_int_equal(settings[i].set(p.server->h), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelEnable(p.client->h), STATUS_SUCCESS);
	for (size_t e = 0; e < COUNT(ends); e++)
		for (size_t i = 0; i < COUNT(settings); i++)
			if (fits(i, ends[e]->server))
				assert_int_equal(settings[i].set(ends[e]->h),
						 STATUS_INVALID_PARAMETER_1);
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	for (size_t e = 0; e < COUNT(ends); e++)
		for (size_t i = 0; i < COUNT(settings); i++)
			if (fits(i, ends[e]->server))
				assert_int_equal(settings[i].set(ends[e]->h), STATUS_SUCCESS);
	kt_pair_free(&p);
	kt_bus_handle_close();
}

static void inv_013_refused_settings_change_nothing(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s;
	UINT32 size;

	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 512), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.server->h, 512), STATUS_SUCCESS);
	size = VmbChannelSizeofPacket(p.client->h);
	kt_pair_open(&p);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 4096),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(set_process(p.server->h), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(set_state(p.server->h), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelSizeofPacket(p.client->h), size);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 520, 1, KT_WAITED), STATUS_INVALID_PARAMETER_3);
	assert_int_equal(kt_send_pattern(s, 512, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(atomic_load(&p.server->delivered), 1); /* our callback, still */
	kt_send_free(s);
	VmbChannelDisable(p.client->h);
	KT_EXPECT(p.server, "OSPUC");
	kt_pair_free(&p);
}

/* Settings outlive a session and Disable. */
static void settings_outlive_disable(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s;

	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 64), STATUS_SUCCESS);
	kt_pair_open(&p);
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	kt_forget(p.client);
	kt_forget(p.server);
	kt_pair_open(&p);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 65, 1, KT_WAITED), STATUS_INVALID_PARAMETER_3);
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_086_null_foreign_and_wrong_end_handles(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	VMBPACKET packet = VmbPacketAllocate(p.client->h);
	static uint64_t junk[512];
	PMDL mdl = kt_mdl_alloc(bus, 64, NULL);
	PFN_NUMBER pfn = 1;
	GUID guid;
	UINT32 handle;
	UINT64 u64;
	UINT16 u16;

	kt_bus_handle_open(bus);
	target_instance = p.server->instance;
	for (size_t i = 0; i < COUNT(settings); i++) {
		assert_int_equal(settings[i].set(NULL), STATUS_INVALID_PARAMETER_1);
		assert_int_equal(settings[i].set((VMBCHANNEL)(void *)packet),
				 STATUS_INVALID_PARAMETER_1);
		assert_int_equal(settings[i].set((VMBCHANNEL)(void *)junk),
				 STATUS_INVALID_PARAMETER_1);
		if (!settings[i].client)
			assert_int_equal(settings[i].set(p.client->h), STATUS_INVALID_PARAMETER_1);
		if (!settings[i].server)
			assert_int_equal(settings[i].set(p.server->h), STATUS_INVALID_PARAMETER_1);
	}
	assert_int_equal(VmbChannelEnable(NULL), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelEnable((VMBCHANNEL)(void *)junk), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelSendSynchronousRequest(NULL, NULL, 0, NULL, 0, NULL, NULL, NULL),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(NULL, 0, junk, 8, &handle),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.server->h, 0, junk, 8, &handle),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelCreateGpadlFromMdl(NULL, 0, mdl, 0, 0, &handle),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelCreateGpadlFromMdl(p.server->h, 0, mdl, 0, 0, &handle),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelMapGpadl(NULL, 0, 1, &mdl), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelMapGpadl(p.client->h, 0, 1, &mdl), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelSetInterruptLatency(NULL, 1, &u16), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbPacketInitialize(NULL, (VMBPACKET)(void *)junk, sizeof(junk)),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbPacketSend(NULL, junk, 8, NULL, 0), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbPacketSend((VMBPACKET)(void *)p.client->h, junk, 8, NULL, 0),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbPacketSendWithExternalMdl(NULL, junk, 8, mdl, 0, 0, KT_WAITED),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbPacketSendWithExternalPfns(NULL, junk, 8, &pfn, 1, KT_WAITED),
			 STATUS_INVALID_PARAMETER_1);
	KT_VIOLATES(VmbChannelCleanup(NULL));
	KT_VIOLATES(VmbChannelDeleteGpadl(NULL, 1));
	KT_VIOLATES(VmbChannelDeleteGpadl(p.server->h, 1));
	KT_VIOLATES(VmbChannelUnmapGpadl(NULL, 1));
	KT_VIOLATES(VmbChannelUnmapGpadl(p.client->h, 1));
	KT_VIOLATES(VmbChannelDisable(NULL));
	KT_VIOLATES(VmbChannelDisable((VMBCHANNEL)(void *)junk));
	KT_VIOLATES(VmbChannelStart(NULL));
	KT_VIOLATES(VmbChannelPause(NULL));
	KT_VIOLATES(VmbChannelGetInterfaceInstance(NULL, &guid));
	KT_VIOLATES(VmbChannelGetInterfaceInstance(p.client->h, NULL));
	KT_VIOLATES(VmbChannelGetMmioSpace(NULL, &u64, &u64));
	KT_VIOLATES(VmbChannelSetPointer(NULL, junk));
	KT_VIOLATES(VmbChannelSetIncomingProcessingAtPassive(NULL, TRUE));
	KT_VIOLATES(VmbChannelSetTransactionQuota(NULL, 1));
	KT_VIOLATES(VmbChannelPacketComplete(NULL, NULL, 0));
	KT_VIOLATES(VmbChannelPacketDeferToPassive(NULL));
	KT_VIOLATES(VmbChannelPacketFail(NULL));
	KT_VIOLATES(VmbPacketFree(NULL));
	KT_VIOLATES(VmbPacketSetPointer(NULL, junk));
	KT_VIOLATES(VmbPacketSetCompletionRoutine(NULL, kt_routine));
	VmbPacketFree(packet);
	kt_mdl_free(bus, mdl);
	kt_pair_free(&p);
	kt_bus_handle_close();
}

static void ddi_030_client_context_size(void **state)
{
	VMBCHANNEL c = kt_bare(*state, false);

	assert_int_equal(VmbChannelInitSetClientContextSize(c, 0), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetClientContextSize(c, 1), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetClientContextSize(c, 4096), STATUS_SUCCESS);
	kt_drop(c);
}

static void ddi_030_033_034_sizes_are_fixed_while_packets_exist(void **state)
{
	VMBCHANNEL c = kt_bare(*state, false);
	VMBPACKET packet = VmbPacketAllocate(c);

	assert_non_null(packet);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(c, 64), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(c, 64, 1),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelInitSetClientContextSize(c, 8), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS); /* no size */
	VmbPacketFree(packet);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(c, 64), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(c, 64, 1), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetClientContextSize(c, 8), STATUS_SUCCESS);
	kt_drop(c);
}

static void init_flags_takes_only_known_bits(void **state)
{
	VMBCHANNEL c = kt_bare(*state, true);

	assert_int_equal(VmbChannelInitSetFlags(c, VMBUS_CHANNEL_INIT_FLAG_IS_PIPE),
			 STATUS_SUCCESS);
	for (unsigned int bit = 1; bit < 32; bit++)
		assert_int_equal(VmbChannelInitSetFlags(c, 1u << bit), STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	kt_drop(c);
}

/* The friendly name that an end's statistics show for the only channel there. */
static void shown_name(struct part_endpoint *ep, char name[64])
{
	struct kmcl_channel_stats stats;

	memset(&stats, 0, sizeof(stats));
	assert_int_equal(kmcl_channel_statistics(ep, &stats, 1), 1);
	memcpy(name, stats.name, sizeof(stats.name));
}

static void ddi_032_friendly_name(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	WCHAR text[] = {'d', 'i', 's', 'k', 0x00e9, 'x'};
	UNICODE_STRING name = {10, 10, text};
	char shown[64];

	assert_int_equal(VmbChannelInitSetFriendlyName(p.server->h, NULL),
			 STATUS_INVALID_PARAMETER_2);
	name.Length = 9;
	assert_int_equal(VmbChannelInitSetFriendlyName(p.server->h, &name),
			 STATUS_INVALID_PARAMETER_2);
	name.Length = 10;
	assert_int_equal(VmbChannelInitSetFriendlyName(p.server->h, &name), STATUS_SUCCESS);
	memset(text, 'z', sizeof(text)); /* it was copied, and only Length of it */
	kt_pair_open(&p);
	shown_name(part_server(bus->part), shown);
	assert_string_equal(shown, "disk\xc3\xa9");
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	name.Length = 0;
	assert_int_equal(VmbChannelInitSetFriendlyName(p.server->h, &name), STATUS_SUCCESS);
	kt_forget(p.server);
	kt_forget(p.client);
	kt_pair_open(&p);
	shown_name(part_server(bus->part), shown);
	assert_null(strstr(shown, "disk"));
	kt_pair_free(&p);
}

static void ddi_033_maximum_external_data_codes_and_limits(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	VMBCHANNEL c = p.client->h;
	PMDL a = kt_mdl_alloc(bus, 4096, NULL), b = kt_mdl_alloc(bus, 4096, NULL);
	struct kt_send *s;

	assert_int_equal(VmbChannelInitSetMaximumExternalData(c, 0, 1), STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(c, 4096, 0),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(c, UINT32_MAX, 1),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(c, 6000, 1), STATUS_SUCCESS);
	kt_pair_open(&p);
	s = kt_send_new(p.client);
	a->Next = b;
	assert_int_equal(VmbPacketSend(s->packet, NULL, 0, a, KT_WAITED),
			 STATUS_INVALID_BUFFER_SIZE); /* both too long and too many */
	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, NULL, 0, a, 0, 4097, KT_WAITED),
			 STATUS_INVALID_BUFFER_SIZE); /* too many */
	a->Next = NULL;
	assert_int_equal(VmbPacketSend(s->packet, NULL, 0, a, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
	VmbChannelDisable(c);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(c, 4000, 2), STATUS_SUCCESS);
	kt_forget(p.client);
	assert_int_equal(VmbChannelEnable(c), STATUS_SUCCESS);
	KT_EXPECT(p.client, "OSP");
	s = kt_send_new(p.client);
	assert_int_equal(VmbPacketSend(s->packet, NULL, 0, a, KT_WAITED),
			 STATUS_INVALID_BUFFER_SIZE); /* too long */
	kt_send_free(s);
	kt_pair_free(&p);
	kt_mdl_free(bus, a);
	kt_mdl_free(bus, b);
}

static void ddi_034_maximum_packet_size_codes(void **state)
{
	VMBCHANNEL c = kt_bare(*state, true);
	const UINT32 most = 0xffff * 8 - 16; /* behind the descriptor of an in-band packet */

	assert_int_equal(VmbChannelInitSetMaximumPacketSize(c, 0), STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(c, most + 1),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(c, UINT32_MAX),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(c, 1), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(c, 65536), STATUS_SUCCESS);
	assert_true(VmbChannelSizeofPacket(c) > 65536 + sizeof(PVOID));
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(c, most), STATUS_SUCCESS);
	assert_true(VmbChannelSizeofPacket(c) > most + sizeof(PVOID));
	kt_drop(c);
}

static void ddi_035_process_packet_callbacks(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s;

	assert_int_equal(VmbChannelInitSetProcessPacketCallbacks(p.server->h, NULL, NULL),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelInitSetProcessPacketCallbacks(p.server->h, no_process, NULL),
			 STATUS_SUCCESS);
	kt_pair_open(&p);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(s->status, STATUS_SUCCESS);
	assert_int_equal(s->length, 0); /* the last callback set, not the echo */
	assert_int_equal(atomic_load(&p.server->delivered), 0);
	kt_send_free(s);
	kt_pair_free(&p);
}

static NTSTATUS never(VMBCHANNEL c)
{
	(void)c;
	kt_problem("a callback that was not set");
	return STATUS_UNSUCCESSFUL;
}

static void ddi_036_state_change_callbacks(void **state)
{
	struct kt_bus *bus = *state;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	VMBCHANNEL server = kt_bare(bus, true), client = kt_bare(bus, false);

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	assert_int_equal(VmbChannelInitSetStateChangeCallbacks(client, NULL),
			 STATUS_INVALID_PARAMETER_2);
	callbacks.Version = 2;
	assert_int_equal(VmbChannelInitSetStateChangeCallbacks(client, &callbacks),
			 STATUS_INVALID_PARAMETER_2);
	callbacks.Version = 0;
	assert_int_equal(VmbChannelInitSetStateChangeCallbacks(client, &callbacks),
			 STATUS_INVALID_PARAMETER_2);
	callbacks.Version = 1;
	callbacks.Size = sizeof(callbacks) - 8;
	assert_int_equal(VmbChannelInitSetStateChangeCallbacks(client, &callbacks),
			 STATUS_INVALID_PARAMETER_2);
	callbacks.Size = sizeof(callbacks) + 8;
	assert_int_equal(VmbChannelInitSetStateChangeCallbacks(client, &callbacks),
			 STATUS_INVALID_PARAMETER_2);
	callbacks.Size = sizeof(callbacks);
	/* copied, and all members may be NULL: NULL Opened succeeds */
	assert_int_equal(VmbChannelInitSetStateChangeCallbacks(client, &callbacks), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetStateChangeCallbacks(server, &callbacks), STATUS_SUCCESS);
	callbacks.EvtChannelOpened = never;
	target_instance = kt_new_instance();
	assert_int_equal(set_id(server), STATUS_SUCCESS);
	assert_int_equal(set_target(client), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server), STATUS_SUCCESS);
	VmbChannelStart(server);
	assert_int_equal(VmbChannelEnable(client), STATUS_SUCCESS);
	assert_int_equal(VmbChannelSendSynchronousRequest(client, NULL, 0, NULL, KT_WAITED, NULL,
							  NULL, NULL),
			 STATUS_SUCCESS);
	VmbChannelDisable(client);
	VmbChannelDisable(server);
	kt_drop(client);
	kt_drop(server);
}

static void ddi_049_ring_page_counts(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s;

	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.server->h, 4, 4),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 1, 4),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 0, 4),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 4, 1),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 2, 2),
			 STATUS_SUCCESS);
	/* too small for such a packet: raised, both ways */
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 8192), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.server->h, 8192), STATUS_SUCCESS);
	kt_pair_open(&p);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 8192, 3, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(s->status, STATUS_SUCCESS);
	assert_int_equal(s->length, 8192);
	assert_true(kt_filled(s->data, KT_DATA, 3));
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_069_server_flags_codes(void **state)
{
	VMBCHANNEL c = kt_bare(*state, true);

	for (unsigned int bit = 0; bit < 32; bit++)
		assert_int_equal(VmbServerChannelInitSetFlags(c, 1u << bit),
				 bit < 5 ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbServerChannelInitSetFlags(c, VMBUS_SERVER_CHANNEL_INIT_FLAGS),
			 STATUS_SUCCESS);
	assert_int_equal(VmbServerChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	kt_drop(c);
}

static void ddi_070_mmio_megabytes(void **state)
{
	VMBCHANNEL c = kt_bare(*state, true);

	assert_int_equal(VmbServerChannelInitSetMmioMegabytes(c, 0, 0), STATUS_INVALID_PARAMETER);
	assert_int_equal(VmbServerChannelInitSetMmioMegabytes(c, 1, 0), STATUS_SUCCESS);
	assert_int_equal(VmbServerChannelInitSetMmioMegabytes(c, 0, 1), STATUS_SUCCESS);
	assert_int_equal(VmbServerChannelInitSetMmioMegabytes(c, 0xffff, 0xffff), STATUS_SUCCESS);
	kt_drop(c);
}

static void save_restore_callbacks_are_required(void **state)
{
	VMBCHANNEL c = kt_bare(*state, true);

	assert_int_equal(VmbServerChannelInitSetSaveRestorePacketCallbacks(c, NULL, no_restore),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbServerChannelInitSetSaveRestorePacketCallbacks(c, no_save, NULL),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(set_save(c), STATUS_SUCCESS);
	kt_drop(c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(inv_013_init_set_only_while_disabled),
		KT_TEST(inv_013_refused_settings_change_nothing),
		KT_TEST(settings_outlive_disable),
		KT_TEST(ddi_086_null_foreign_and_wrong_end_handles),
		KT_TEST(ddi_030_client_context_size),
		KT_TEST(ddi_030_033_034_sizes_are_fixed_while_packets_exist),
		KT_TEST(init_flags_takes_only_known_bits),
		KT_TEST(ddi_032_friendly_name),
		KT_TEST(ddi_033_maximum_external_data_codes_and_limits),
		KT_TEST(ddi_034_maximum_packet_size_codes),
		KT_TEST(ddi_035_process_packet_callbacks),
		KT_TEST(ddi_036_state_change_callbacks),
		KT_TEST(ddi_049_ring_page_counts),
		KT_TEST(ddi_069_server_flags_codes),
		KT_TEST(ddi_070_mmio_megabytes),
		KT_TEST(save_restore_callbacks_are_required),
	};

	return KT_MAIN("kmcl-init", tests);
}
