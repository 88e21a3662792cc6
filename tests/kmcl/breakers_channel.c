/* SPDX-License-Identifier: MIT */
/* Mistakes with channels, packets and GPADLs. */
#include "breakers.h"

#include <stdlib.h>

static struct kt_bus bus;
static struct kt_pair p;
static uint64_t data[1024];

static void set_name(struct kt_chan *c)
{
	static WCHAR text[] = {'B', 'r', 'e', 'a', 'k', 'e', 'r'};
	UNICODE_STRING name = {sizeof(text), sizeof(text), text};

	assert_int_equal(VmbChannelInitSetFriendlyName(c->h, &name), STATUS_SUCCESS);
}

/* Configured, not enabled. */
static void make(void)
{
	kt_bus_create(&bus, NULL);
	p = kt_pair_new(&bus);
	set_name(p.server);
	set_name(p.client);
}

static void begin(void)
{
	make();
	kt_pair_open(&p);
}

/* The server has a packet that it does not complete. */
static VMBPACKETCOMPLETION hold(void)
{
	struct kt_send *s;

	begin();
	atomic_store(&p.server->mode, KT_HOLD);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(p.server->packet_count == 1 && !atomic_load(&p.server->in_delivery));
	return p.server->packets[0].handle;
}

static void stale_handle(void)
{
	VMBCHANNEL c;

	kt_bus_create(&bus, NULL);
	c = kt_bare(&bus, false);
	kt_drop(c);
	kt_enter(&bus, false);
	VmbChannelSetPointer(c, NULL);
}

static void pause_in_started(struct kt_chan *c)
{
	VmbChannelPause(c->h);
}

static void pause_in_callback(void)
{
	make();
	p.client->on_started = pause_in_started;
	kt_pair_open(&p);
}

static void raise_and_return(struct kt_chan *c)
{
	KIRQL old;

	(void)c;
	KeRaiseIrql(DISPATCH_LEVEL, &old);
}

static void return_raised(void)
{
	make();
	p.client->on_started = raise_and_return;
	kt_pair_open(&p);
}

static bool linger(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		   UINT32 flags)
{
	(void)c;
	(void)buffer;
	(void)length;
	(void)flags;
	kt_nap(3000);
	VmbChannelPacketComplete(packet, NULL, 0);
	return true;
}

static void stay_in_callback(void)
{
	begin();
	p.server->on_packet = linger;
	assert_int_equal(kt_send_pattern(kt_send_new(p.client), 8, 1, 0), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&p.server->delivered) == 1);
	VmbChannelPause(p.server->h);
}

static void unload_with_channel(void)
{
	make();
	nt_driver_unload(bus.client_driver);
}

static void clean_up_enabled(void)
{
	begin();
	VmbChannelCleanup(p.client->h);
}

static void clean_up_with_packet(void)
{
	make();
	assert_non_null(VmbPacketAllocate(p.client->h));
	VmbChannelCleanup(p.client->h);
}

static void keep_at_suspend(void)
{
	hold();
	VmbChannelPause(p.server->h);
}

static void complete_too_much(void)
{
	VmbChannelPacketComplete(hold(), data, 4097);
}

static void set_no_routine(void)
{
	make();
	VmbPacketSetCompletionRoutine(VmbPacketAllocate(p.client->h), NULL);
}

static bool defer_and_complete(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer,
			       UINT32 length, UINT32 flags)
{
	(void)c;
	(void)buffer;
	(void)length;
	(void)flags;
	VmbChannelPacketDeferToPassive(packet);
	VmbChannelPacketComplete(packet, NULL, 0);
	return true;
}

static void complete_deferred(void)
{
	begin();
	p.server->on_packet = defer_and_complete;
	assert_int_equal(kt_send_pattern(kt_send_new(p.client), 8, 1, 0), STATUS_SUCCESS);
	kt_nap(5000);
}

static void defer_later(void)
{
	VmbChannelPacketDeferToPassive(hold());
}

static void complete_twice(void)
{
	VMBPACKETCOMPLETION packet = hold();

	VmbChannelPacketComplete(packet, NULL, 0);
	VmbChannelPacketComplete(packet, NULL, 0);
}

static void fail_completed(void)
{
	VMBPACKETCOMPLETION packet = hold();

	VmbChannelPacketComplete(packet, NULL, 0);
	VmbChannelPacketFail(packet);
}

static UINT32 describe(void)
{
	UINT32 gpadl;

	begin();
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, kt_guest_alloc(&bus, 4096),
							 4096, &gpadl),
			 STATUS_SUCCESS);
	return gpadl;
}

static void leave_gpadl(void)
{
	describe();
	VmbChannelDisable(p.client->h);
}

static void leave_mapping(void)
{
	PMDL mdl;

	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, describe(), &mdl), STATUS_SUCCESS);
	VmbChannelDisable(p.server->h);
}

static void enable_at_dispatch(void)
{
	KIRQL old;

	make();
	kt_enter(&bus, false);
	KeRaiseIrql(DISPATCH_LEVEL, &old);
	VmbChannelEnable(p.client->h);
}

static void mmio_too_soon(void)
{
	UINT64 at, size;

	make();
	VmbChannelGetMmioSpace(p.client->h, &at, &size);
}

static void free_twice(void)
{
	VMBPACKET packet;

	make();
	kt_enter(&bus, false);
	packet = VmbPacketAllocate(p.client->h);
	VmbPacketFree(packet);
	VmbPacketFree(packet);
}

/* A packet that the server has, sent by the client. */
static VMBPACKET sent(void)
{
	VMBPACKET packet;

	begin();
	atomic_store(&p.server->mode, KT_HOLD);
	packet = VmbPacketAllocate(p.client->h);
	assert_int_equal(VmbPacketSend(packet, data, 8, NULL, KT_WAITED), STATUS_SUCCESS);
	return packet;
}

static void free_in_flight(void)
{
	VmbPacketFree(sent());
}

static void change_in_flight(void)
{
	VmbPacketSetCompletionRoutine(sent(), kt_routine);
}

static void initialize_in_flight(void)
{
	UINT32 size;
	VMBPACKET packet;

	begin();
	atomic_store(&p.server->mode, KT_HOLD);
	size = VmbChannelSizeofPacket(p.client->h);
	packet = calloc(1, size);
	assert_int_equal(VmbPacketInitialize(p.client->h, packet, size), STATUS_SUCCESS);
	VmbPacketSetCompletionRoutine(packet, kt_routine);
	assert_int_equal(VmbPacketSend(packet, data, 8, NULL, KT_WAITED), STATUS_SUCCESS);
	VmbPacketInitialize(p.client->h, packet, size);
}

static void no_quota(void)
{
	make();
	VmbChannelSetTransactionQuota(p.server->h, 0);
}

static KSPIN_LOCK lock;

static void lock_and_return(struct kt_chan *c)
{
	KIRQL old;

	(void)c;
	KeAcquireSpinLock(&lock, &old);
}

static void return_locked(void)
{
	make();
	KeInitializeSpinLock(&lock);
	p.client->on_started = lock_and_return;
	kt_pair_open(&p);
}

static void delete_unknown(void)
{
	begin();
	VmbChannelDeleteGpadl(p.client->h, 0x12345);
}

static void unmap_unmapped(void)
{
	UINT32 gpadl = describe();

	VmbChannelUnmapGpadl(p.server->h, gpadl);
}

/* ---- reports ---- */

static void send_from_heap(void)
{
	struct kt_send *s;
	uint8_t *buffer = malloc(4096);
	PMDL mdl;

	begin();
	kt_enter(&bus, false);
	mdl = IoAllocateMdl(buffer, 4096, FALSE, FALSE, NULL);
	MmBuildMdlForNonPagedPool(mdl);
	s = kt_send_new(p.client);
	assert_int_equal(VmbPacketSend(s->packet, data, 8, mdl, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
}

static void configure_enabled(void)
{
	begin();
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 64),
			 STATUS_INVALID_PARAMETER_1);
}

static void send_again(void)
{
	assert_int_equal(VmbPacketSend(sent(), data, 8, NULL, KT_WAITED),
			 STATUS_INVALID_PARAMETER_1);
}

static void send_it(struct kt_chan *c)
{
	VMBPACKET packet = VmbPacketAllocate(c->h);

	if (VmbPacketSend(packet, data, 8, NULL, 0) != STATUS_INVALID_DEVICE_STATE)
		kt_problem("a send in Suspend was accepted");
	VmbPacketFree(packet);
}

static void send_suspended(void)
{
	begin();
	p.client->on_suspend = send_it;
	VmbChannelPause(p.client->h);
}

static void ask(struct kt_chan *c)
{
	if (VmbChannelSendSynchronousRequest(c->h, data, 8, NULL, KT_WAITED, NULL, NULL, NULL) !=
	    STATUS_INVALID_DEVICE_STATE)
		kt_problem("a request in Started was accepted");
}

static void wait_in_started(void)
{
	make();
	p.client->on_started = ask;
	kt_pair_open(&p);
}

const struct breaker channel_breakers[] = {
	{"bad-handle", stale_handle, "client", false, "VmbChannelSetPointer+"},
	{"call-in-callback", pause_in_callback, "client", true, "pause_in_started+"},
	{"callback-irql", return_raised, "client", true, NULL},
	{"callback-at-suspend", stay_in_callback, "server", true, NULL},
	{"channel-leak", unload_with_channel, "client", false, "unload_with_channel+"},
	{"cleanup-enabled", clean_up_enabled, "client", true, "VmbChannelCleanup+"},
	{"cleanup-packets", clean_up_with_packet, "client", true, "VmbChannelCleanup+"},
	{"completion-at-suspend", keep_at_suspend, "server", true, NULL},
	{"completion-buffer", complete_too_much, "server", true, "VmbChannelPacketComplete+"},
	{"completion-routine", set_no_routine, "client", true, "VmbPacketSetCompletionRoutine+"},
	{"defer-and-complete", complete_deferred, "server", true, NULL},
	{"defer-outside-process", defer_later, "server", true, "VmbChannelPacketDeferToPassive+"},
	{"double-completion", complete_twice, "server", true, "VmbChannelPacketComplete+"},
	{"double-completion", fail_completed, "server", true, "VmbChannelPacketFail+"},
	{"gpadl-at-close", leave_gpadl, "client", true, NULL},
	{"gpadl-at-close", leave_mapping, "server", true, NULL},
	{"irql", enable_at_dispatch, "client", false, "VmbChannelEnable+"},
	{"mmio-before-open", mmio_too_soon, "client", true, "VmbChannelGetMmioSpace+"},
	{"packet-free", free_twice, "client", false, "VmbPacketFree+"},
	{"packet-in-flight", free_in_flight, "client", true, "VmbPacketFree+"},
	{"packet-in-flight", change_in_flight, "client", true, "VmbPacketSetCompletionRoutine+"},
	{"packet-in-flight", initialize_in_flight, "client", true, "VmbPacketInitialize+"},
	{"quota", no_quota, "server", true, "VmbChannelSetTransactionQuota+"},
	{"spin-lock-at-return", return_locked, "client", true, NULL},
	{"unknown-gpadl", delete_unknown, "client", true, "VmbChannelDeleteGpadl+"},
	{"unmapped-gpadl", unmap_unmapped, "server", true, "VmbChannelUnmapGpadl+"},
	{"buffer-bounced", send_from_heap, "client", true, "VmbPacketSend+"},
	{"init-after-enable", configure_enabled, "client", true,
	 "VmbChannelInitSetMaximumPacketSize+"},
	{"send-in-flight", send_again, "client", true, "VmbPacketSend+"},
	{"send-in-suspend", send_suspended, "client", true, "send_it+"},
	{"wait-in-callback", wait_in_started, "client", true, "ask+"},
	{NULL, NULL, NULL, false, NULL},
};
