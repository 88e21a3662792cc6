/* SPDX-License-Identifier: MIT */
#include "channels.h"

#include <string.h>
#include <time.h>

void nap_ms(unsigned int ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	nanosleep(&t, NULL);
}

kmcl_partition *bus_create(const struct kmcl_limits *limits)
{
	struct kmcl_partition_options options;
	kmcl_partition *bus;

	kmcl_partition_options_init(&options);
	if (limits)
		options.limits = *limits;
	options.processors = 2;
	assert_int_equal(kmcl_partition_create_loopback(&options, &bus), 0);
	return bus;
}

/* ---- the drivers ---- */

static const GUID interface_id = {0x11a1e500, 1, 2, {3, 4, 5, 6, 7, 8, 9, 10}};

/* Not in the order of their numbers. */
static GUID instance_of(const struct pair *p)
{
	return (GUID){.Data1 = p->number * 2654435761u, .Data2 = (USHORT)p->number};
}

static VOID client_started(VMBCHANNEL channel)
{
	struct pair *p = VmbChannelGetPointer(channel);

	atomic_fetch_add(&p->started, 1);
}

static VOID server_closed(VMBCHANNEL channel)
{
	struct pair *p = VmbChannelGetPointer(channel);

	atomic_fetch_add(&p->server_closed, 1);
}

static void look_at_data(struct pair *p, VMBPACKETCOMPLETION packet)
{
	PMDL mdl;

	if (VmbChannelPacketGetExternalData(packet, 0, &mdl) == STATUS_SUCCESS &&
	    MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority))
		atomic_fetch_add(&p->mapped, 1);
	else
		atomic_fetch_add(&p->not_mapped, 1);
}

static VOID server_packet(VMBCHANNEL channel, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 size,
			  UINT32 flags)
{
	struct pair *p = VmbChannelGetPointer(channel);
	unsigned int n;

	if (flags & VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA)
		look_at_data(p, packet);
	n = atomic_load(&p->held_count);
	if (!atomic_load(&p->hold) || n == MOST_HELD) {
		VmbChannelPacketComplete(packet, NULL, 0);
		return;
	}
	p->held[n] = packet;
	atomic_store(&p->held_count, n + 1);
}

void pair_complete(struct pair *p)
{
	VMBPACKETCOMPLETION oldest = p->held[0];
	unsigned int left = atomic_load(&p->held_count) - 1;

	/* the next packet may come as soon as this one is complete */
	memmove(p->held, p->held + 1, left * sizeof(p->held[0]));
	atomic_store(&p->held_count, left);
	VmbChannelPacketComplete(oldest, NULL, 0);
}

static VOID sent(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 size)
{
	struct pair *p = VmbPacketGetPointer(packet);

	atomic_fetch_add(NT_SUCCESS(status) ? &p->completed : &p->failed, 1);
	VmbPacketFree(packet);
}

/* ---- opening and closing ---- */

NTSTATUS pair_offer(struct pair *p, uint32_t number)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	NTSTATUS status;

	p->number = number;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelClosed = server_closed;
	assert_int_equal(VmbChannelAllocate(NULL, TRUE, &p->server), STATUS_SUCCESS);
	VmbChannelSetPointer(p->server, p);
	VmbChannelInitSetStateChangeCallbacks(p->server, &callbacks);
	VmbChannelInitSetProcessPacketCallbacks(p->server, server_packet, NULL);
	assert_int_equal(
		VmbServerChannelInitSetTargetInterfaceId(p->server, interface_id, instance_of(p)),
		STATUS_SUCCESS);
	status = VmbChannelEnable(p->server);
	if (NT_SUCCESS(status)) {
		VmbChannelStart(p->server);
		return status;
	}
	VmbChannelCleanup(p->server);
	p->server = NULL;
	return status;
}

void pair_connect(struct pair *p)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	GUID instance = instance_of(p);

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelPostStarted = client_started;
	assert_int_equal(VmbChannelAllocate(NULL, FALSE, &p->client), STATUS_SUCCESS);
	VmbChannelSetPointer(p->client, p);
	VmbChannelInitSetStateChangeCallbacks(p->client, &callbacks);
	assert_int_equal(
		VmbClientChannelInitSetTargetPnp(p->client, &interface_id, &instance, NULL),
		STATUS_SUCCESS);
	VmbClientChannelInitSetRingBufferPageCount(p->client, 2, 2);
	if (p->max_external)
		VmbChannelInitSetMaximumExternalData(p->client, p->max_external, p->max_chain);
	assert_int_equal(VmbChannelEnable(p->client), STATUS_SUCCESS);
}

void pair_open(struct pair *p, uint32_t number)
{
	assert_int_equal(pair_offer(p, number), STATUS_SUCCESS);
	pair_connect(p);
	UNTIL(atomic_load(&p->started) == 1);
}

void pair_disconnect(struct pair *p)
{
	VmbChannelDisable(p->client);
	VmbChannelCleanup(p->client);
	p->client = NULL;
	atomic_store(&p->started, 0);
}

void pair_revoke(struct pair *p)
{
	VmbChannelDisable(p->server);
	VmbChannelCleanup(p->server);
	p->server = NULL;
}

void pair_close(struct pair *p)
{
	pair_disconnect(p);
	pair_revoke(p);
}

/* ---- traffic ---- */

void pair_trip(struct pair *p)
{
	uint64_t request = p->number;
	LARGE_INTEGER timeout = {.QuadPart = -600000000};

	assert_int_equal(
		VmbChannelSendSynchronousRequest(p->client, &request, sizeof(request), NULL,
						 VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION,
						 NULL, NULL, &timeout),
		STATUS_SUCCESS);
}

static VMBPACKET new_packet(struct pair *p)
{
	VMBPACKET packet = VmbPacketAllocate(p->client);

	assert_non_null(packet);
	VmbPacketSetPointer(packet, p);
	VmbPacketSetCompletionRoutine(packet, sent);
	return packet;
}

static NTSTATUS freed_unless(NTSTATUS status, VMBPACKET packet)
{
	if (!NT_SUCCESS(status))
		VmbPacketFree(packet);
	return status;
}

NTSTATUS pair_send(struct pair *p, PMDL external)
{
	uint64_t request = p->number;
	VMBPACKET packet = new_packet(p);

	return freed_unless(VmbPacketSend(packet, &request, sizeof(request), external,
					  VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION),
			    packet);
}

NTSTATUS pair_send_pages(struct pair *p, const uint64_t *pfns, uint32_t count)
{
	uint64_t request = p->number;
	VMBPACKET packet = new_packet(p);
	PFN_NUMBER copy[16];

	for (uint32_t i = 0; i < count; i++)
		copy[i] = (PFN_NUMBER)pfns[i];
	return freed_unless(
		VmbPacketSendWithExternalPfns(packet, &request, sizeof(request), copy, count,
					      VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION),
		packet);
}

struct kmcl_channel_stats pair_stats(kmcl_partition *bus, const struct pair *p, bool server)
{
	static struct kmcl_channel_stats stats[64], none;
	size_t count = kmcl_partition_stats(bus, stats, 64);

	for (size_t i = 0; i < count && i < 64; i++) {
		if (stats[i].server == server && stats[i].channel_id == p->number)
			return stats[i];
	}
	return none;
}
