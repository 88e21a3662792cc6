/* SPDX-License-Identifier: MIT */
/* Incoming packets: delivery, its level and order, completion, quota, defer, fail. */
#include "harness.h"
#include "raw.h"

#include <openkmcl_ext.h>

#include <stdlib.h>

static void enable(struct kt_chan *c)
{
	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
}

static void send_numbered(struct kt_chan *c, struct kt_send **sends, unsigned int count,
			  uint32_t flags)
{
	for (unsigned int i = 0; i < count; i++) {
		sends[i] = kt_send_new(c);
		assert_int_equal(kt_send_pattern(sends[i], 64, i, flags), STATUS_SUCCESS);
	}
}

static void free_all(struct kt_send **sends, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines));
		assert_int_equal(atomic_load(&sends[i]->routines), 1);
		kt_send_free(sends[i]);
	}
}

static void ddi_080_packet_as_sent(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);
	static const uint32_t lengths[] = {0, 1, 8, 9, 64, 128};

	kt_pair_open(&p);
	for (unsigned int i = 0; i < 6; i++) {
		assert_int_equal(kt_send_pattern(s, lengths[i], i, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(atomic_load(&s->routines) == i + 1);
		/* the wire counts in units of 8 bytes */
		assert_int_equal(p.server->packets[i].length, (lengths[i] + 7) & ~7u);
		assert_true(kt_filled(p.server->packets[i].prefix, lengths[i], i));
		assert_int_equal(p.server->packets[i].flags, 0);
		assert_int_equal(p.server->packets[i].irql, DISPATCH_LEVEL);
	}
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_037_inv_040_a_second_end_is_a_violation(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[2];
	static uint8_t data[4097];

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	send_numbered(p.client, sends, 2, KT_WAITED);
	KT_WAIT(atomic_load(&p.server->outstanding) == 2);
	/* bad arguments end nothing */
	KT_VIOLATES(VmbChannelPacketComplete(p.server->packets[0].handle, NULL, 8));
	KT_VIOLATES(VmbChannelPacketComplete(p.server->packets[0].handle, data, sizeof(data)));
	KT_STAYS(atomic_load(&sends[0]->routines) == 0);
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&sends[0]->routines) == 1);
	KT_VIOLATES(VmbChannelPacketComplete(p.server->packets[0].handle, NULL, 0));
	KT_VIOLATES(VmbChannelPacketFail(p.server->packets[0].handle));
	KT_STAYS(atomic_load(&sends[0]->routines) == 1 && atomic_load(&sends[1]->routines) == 0);
	kt_complete(p.server, 1, NULL, 0);
	free_all(sends, 2);
	kt_pair_free(&p);
}

static void complete_all(void *arg)
{
	struct kt_chan *c = arg;

	for (unsigned int i = 0; i < 50; i++) {
		uint64_t data = i;

		kt_complete(c, i, &data, 8);
	}
}

static void ddi_037_completion_from_any_thread_in_any_order(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[100];
	struct kt_call call;

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	send_numbered(p.client, sends, 100, KT_WAITED);
	KT_WAIT(atomic_load(&p.server->outstanding) == 100);
	kt_call_start(&call, p.server, complete_all, p.server);
	for (unsigned int i = 100; i-- > 50;) {
		KIRQL irql;
		uint64_t data = i;

		KeRaiseIrql(DISPATCH_LEVEL, &irql);
		kt_complete(p.server, i, &data, 8);
		KeLowerIrql(irql);
	}
	kt_call_join(&call);
	for (uint64_t i = 0; i < 100; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_memory_equal(sends[i]->data, &i, 8); /* each got its own */
	}
	free_all(sends, 100);
	kt_pair_free(&p);
}

static void ddi_046_inv_042_quota_bounds_what_is_outstanding(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[20];

	atomic_store(&p.server->mode, KT_HOLD);
	VmbChannelSetTransactionQuota(p.server->h, 5);
	KT_VIOLATES(VmbChannelSetTransactionQuota(p.server->h, 0));
	kt_pair_open(&p);
	send_numbered(p.client, sends, 20, 0); /* packets that ask for nothing count too */
	KT_WAIT(p.server->packet_count == 5);
	KT_STAYS(p.server->packet_count == 5);
	for (unsigned int i = 0; i < 15; i++) {
		kt_complete(p.server, i, NULL, 0);
		KT_WAIT(p.server->packet_count == i + 6);
	}
	KT_STAYS(p.server->packet_count == 20);
	for (unsigned int i = 15; i < 20; i++)
		kt_complete(p.server, i, NULL, 0);
	free_all(sends, 20);
	kt_pair_free(&p);
}

static void ddi_046_inv_043_raising_the_quota_waits_for_a_completion(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[20], *more;
	KIRQL irql;

	atomic_store(&p.server->mode, KT_HOLD);
	VmbChannelSetTransactionQuota(p.server->h, 3);
	kt_pair_open(&p);
	send_numbered(p.client, sends, 20, KT_WAITED);
	KT_WAIT(p.server->packet_count == 3);
	KT_STAYS(p.server->packet_count == 3);
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	VmbChannelSetTransactionQuota(p.server->h, 10);
	KeLowerIrql(irql);
	more = kt_send_new(p.client); /* not even when there is something new to look at */
	assert_int_equal(kt_send_pattern(more, 64, 20, KT_WAITED), STATUS_SUCCESS);
	KT_STAYS(p.server->packet_count == 3);
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(p.server->packet_count == 11);
	KT_STAYS(p.server->packet_count == 11); /* ten outstanding */
	for (unsigned int i = 1; i < 21; i++) {
		KT_WAIT(p.server->packet_count > i);
		kt_complete(p.server, i, NULL, 0);
	}
	free_all(sends, 20);
	free_all(&more, 1);
	kt_pair_free(&p);
}

static void ddi_046_inv_044_lowering_the_quota(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[20];

	atomic_store(&p.server->mode, KT_HOLD);
	VmbChannelSetTransactionQuota(p.server->h, 8);
	kt_pair_open(&p);
	send_numbered(p.client, sends, 20, KT_WAITED);
	KT_WAIT(p.server->packet_count == 8);
	VmbChannelSetTransactionQuota(p.server->h, 3);
	for (unsigned int i = 0; i < 5; i++) /* three are left */
		kt_complete(p.server, i, NULL, 0);
	KT_STAYS(p.server->packet_count == 8);
	kt_complete(p.server, 5, NULL, 0);
	KT_WAIT(p.server->packet_count == 9);
	KT_STAYS(p.server->packet_count == 9);
	for (unsigned int i = 6; i < 20; i++) {
		KT_WAIT(p.server->packet_count > i);
		kt_complete(p.server, i, NULL, 0);
	}
	free_all(sends, 20);
	kt_pair_free(&p);
}

/* Without a quota there are as many delivery objects as the default reserves. */
static void ddi_020_default_reserve_of_incoming_packets(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	static struct kt_send *sends[300];

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	send_numbered(p.client, sends, 300, KT_WAITED);
	KT_WAIT(p.server->packet_count == 256);
	KT_STAYS(p.server->packet_count == 256);
	for (unsigned int i = 0; i < 300; i++) {
		KT_WAIT(p.server->packet_count > i);
		kt_complete(p.server, i, NULL, 0);
	}
	free_all(sends, 300);
	kt_pair_free(&p);
}

static VMBPACKETCOMPLETION first;
static atomic_uint defers;

/* Defers the first packet as often as `defers` says. */
static bool defer_some(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		       UINT32 flags)
{
	(void)length;
	(void)flags;
	if (!kt_filled(buffer, 64, 0) || atomic_load(&defers) == 0)
		return false;
	atomic_fetch_sub(&defers, 1);
	first = packet;
	kt_defer(c, packet);
	return true;
}

static void ddi_038_inv_045_deferred_packet_returns_first_and_at_passive(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[10];

	p.server->on_packet = defer_some;
	kt_pair_open(&p);
	atomic_store(&defers, 3); /* deferring at PASSIVE_LEVEL is legal */
	send_numbered(p.client, sends, 10, KT_WAITED);
	KT_WAIT(p.server->packet_count == 13);
	for (unsigned int i = 0; i < 13; i++) {
		unsigned int number = i < 3 ? 0 : i - 3;

		assert_true(kt_filled(p.server->packets[i].prefix, 64, number));
		if (number == 0)
			assert_ptr_equal(p.server->packets[i].handle, first);
		if (i >= 1 && i <= 3)
			assert_int_equal(p.server->packets[i].irql, PASSIVE_LEVEL);
	}
	assert_int_equal(p.server->packets[0].irql, DISPATCH_LEVEL);
	free_all(sends, 10);
	KT_WAIT(p.server->batch_sum == 10); /* a deferred invocation counts for nothing */
	kt_pair_free(&p);
}

static void ddi_038_defer_outside_the_callback_is_a_violation(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&p.server->outstanding) == 1);
	KT_WAIT(p.server->batch_sum == 1);
	KT_VIOLATES(VmbChannelPacketDeferToPassive(p.server->packets[0].handle));
	KT_STAYS(p.server->packet_count == 1);
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
	kt_pair_free(&p);
}

static bool fail_third(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		       UINT32 flags)
{
	(void)c;
	(void)length;
	(void)flags;
	if (!kt_filled(buffer, 64, 2))
		return false;
	VmbChannelPacketFail(packet);
	return true;
}

static void ddi_039_inv_049_fail_stops_the_queue_until_the_next_open(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[6], *back;

	p.server->on_packet = fail_third;
	kt_pair_open(&p);
	send_numbered(p.client, sends, 6, KT_WAITED);
	KT_WAIT(p.server->packet_count == 3);
	KT_WAIT(atomic_load(&sends[1]->routines) == 1);
	KT_STAYS(p.server->packet_count == 3);
	for (unsigned int i = 2; i < 6; i++) /* no completion for it, nor for what follows */
		assert_int_equal(atomic_load(&sends[i]->routines), 0);
	VmbChannelPause(p.server->h);
	VmbChannelStart(p.server->h); /* does not revive it */
	KT_EXPECT(p.server, "OSPUSP");
	KT_STAYS(p.server->packet_count == 3);
	back = kt_send_new(p.server); /* sends are unaffected */
	assert_int_equal(kt_send_pattern(back, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&back->routines) == 1);
	assert_int_equal(back->status, STATUS_SUCCESS);
	kt_send_free(back);
	VmbChannelDisable(p.client->h);
	KT_EXPECT(p.server, "OSPUSPUC");
	for (unsigned int i = 2; i < 6; i++)
		assert_int_equal(sends[i]->status, STATUS_DEVICE_REMOVED);
	free_all(sends, 6);
	p.server->on_packet = NULL;
	kt_forget(p.server);
	kt_forget(p.client);
	enable(p.client);
	KT_EXPECT(p.client, "OSP");
	send_numbered(p.client, sends, 6, KT_WAITED);
	KT_WAIT(p.server->packet_count == 6);
	free_all(sends, 6);
	kt_pair_free(&p);
}

static void ddi_081_inv_050_batches_add_up(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[200];

	kt_pair_open(&p);
	send_numbered(p.client, sends, 200, KT_WAITED);
	KT_WAIT(p.server->packet_count == 200);
	KT_WAIT(p.server->batch_sum == 200);
	free_all(sends, 200);
	kt_pair_free(&p); /* every batch was checked against its packets there */
}

static void ddi_043_inv_051_passive_processing(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[20];
	KIRQL irql;

	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	VmbChannelSetIncomingProcessingAtPassive(p.server->h, TRUE);
	KeLowerIrql(irql);
	kt_pair_open(&p);
	for (unsigned int round = 0; round < 3; round++) {
		/* not required any more: either will do */
		UCHAR level = round == 2 ? DISPATCH_LEVEL : PASSIVE_LEVEL;

		kt_forget(p.server);
		send_numbered(p.client, sends, 20, KT_WAITED);
		KT_WAIT(p.server->batch_sum == 20);
		for (unsigned int i = 0; i < p.server->event_count; i++)
			assert_in_range(p.server->events[i].irql, PASSIVE_LEVEL, level);
		free_all(sends, 20);
		if (round == 0) { /* it outlives a disable */
			VmbChannelDisable(p.client->h);
			VmbChannelDisable(p.server->h);
			kt_forget(p.client);
			kt_forget(p.server);
			kt_pair_open(&p);
		} else if (round == 1) {
			VmbChannelSetIncomingProcessingAtPassive(p.server->h, FALSE);
		}
	}
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	kt_forget(p.server); /* it forgot Opened and Started: nothing to check against */
	kt_pair_free(&p);
}

static void inv_052_buffer_is_a_private_copy(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *held = kt_send_new(p.client), *sends[100];

	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 2, 2),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(p.client->h, 4096, 1),
			 STATUS_INVALID_PARAMETER_1); /* a packet exists */
	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	assert_int_equal(kt_send_pattern(held, 512, 1000, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&p.server->outstanding) == 1);
	atomic_store(&p.server->mode, KT_EMPTY);
	send_numbered(p.client, sends, 100, KT_WAITED); /* go round the ring more than once */
	for (unsigned int i = 0; i < 100; i++)
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
	free_all(sends, 100);
	send_numbered(p.client, sends, 100, KT_WAITED);
	for (unsigned int i = 0; i < 100; i++)
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
	free_all(sends, 100);
	assert_true(kt_filled(p.server->packets[0].buffer, 512, 1000));
	memset(p.server->packets[0].buffer, 0x11, 512); /* and the driver's to write */
	kt_complete(p.server, 0, p.server->packets[0].buffer, 512);
	KT_WAIT(atomic_load(&held->routines) == 1);
	assert_int_equal(held->data[511], 0x11);
	kt_send_free(held);
	kt_pair_free(&p);
}

static void ddi_037_inv_053_completion_with_a_full_ring(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *asked[8], *fill[12];
	uint64_t answer = 0x1234;

	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 2, 2),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 1024), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(p.client->h, 4096, 1),
			 STATUS_SUCCESS);
	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	send_numbered(p.client, asked, 8, KT_WAITED);
	KT_WAIT(atomic_load(&p.server->outstanding) == 8);
	kt_block(p.server, p.client); /* reads nothing from here on */
	for (unsigned int i = 0; i < 12; i++) {
		fill[i] = kt_send_new(p.server);
		assert_int_equal(kt_send_pattern(fill[i], 1000, i, 0), STATUS_SUCCESS);
	}
	KT_STAYS(atomic_load(&fill[11]->routines) == 0); /* queued: the ring is full */
	for (unsigned int i = 0; i < 8; i++)
		kt_complete(p.server, i, &answer, 8); /* returns all the same */
	KT_STAYS(atomic_load(&asked[0]->routines) == 0);
	kt_unblock(p.client, KT_EMPTY);
	for (unsigned int i = 0; i < 8; i++) {
		KT_WAIT(atomic_load(&asked[i]->routines) == 1);
		assert_int_equal(asked[i]->status, STATUS_SUCCESS);
		assert_int_equal(asked[i]->length, 8);
		assert_memory_equal(asked[i]->data, &answer, 8);
	}
	KT_WAIT(p.client->packet_count == 12);
	for (unsigned int i = 0; i < 12; i++)
		assert_true(kt_filled(p.client->packets[i].prefix, KT_PREFIX, i));
	free_all(asked, 8);
	free_all(fill, 12);
	kt_pair_free(&p);
}

/* Held packets of a channel that the peer has closed: completing them is harmless. */
static void ddi_037_077_completion_after_a_remote_close(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[4];
	struct kt_call call;

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	send_numbered(p.client, sends, 4, KT_WAITED);
	KT_WAIT(atomic_load(&p.server->outstanding) == 4);
	kt_call_start(&call, p.client, kt_do_disable, p.client->h);
	KT_EXPECT(p.client, "OSPUC");
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(sends[i]->status, STATUS_DEVICE_REMOVED);
	KT_EXPECT(p.server, "OSPU");
	KT_STAYS(p.server->begun_count == 4); /* Closed waits for the packets */
	for (unsigned int i = 0; i < 4; i++)
		kt_complete(p.server, i, "12345678", 8);
	KT_EXPECT(p.server, "OSPUC");
	kt_call_join(&call);
	free_all(sends, 4);
	kt_pair_free(&p);
}

/* ---- what the peer sees of its ring ---- */

static uint32_t space_given_back(void)
{
	return atomic_load((_Atomic uint32_t *)&raw.port.out.control->out);
}

static void write_numbered(unsigned int count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct vmbus_packet_out packet = {
			.type = VMBUS_PKT_INBAND, .payload = &i, .payload_size = sizeof(i)};

		raw_write(&packet);
	}
}

/* A packet over the quota stays in the ring. */
static void ddi_046_inv_042_nothing_is_read_ahead_of_the_quota(void **state)
{
	const uint32_t one = 32; /* bytes of such a packet */
	struct kt_bus *bus = *state;

	for (unsigned int passive = 0; passive < 2; passive++) {
		struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());

		VmbChannelSetTransactionQuota(server->h, 2);
		VmbChannelSetIncomingProcessingAtPassive(server->h, passive != 0);
		atomic_store(&server->mode, KT_HOLD);
		enable(server);
		VmbChannelStart(server->h);
		raw_open(bus, server);
		write_numbered(6);
		for (unsigned int i = 0; i < 6; i++) {
			unsigned int read = i + 2 < 6 ? i + 2 : 6;

			KT_WAIT(server->packet_count == read);
			KT_WAIT(space_given_back() == read * one);
			KT_STAYS(space_given_back() == read * one);
			kt_complete(server, i, NULL, 0);
		}
		raw_close(bus);
		KT_EXPECT(server, "OSPUC");
		kt_chan_free(server);
	}
}

static bool fail_second(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
			UINT32 flags)
{
	(void)c;
	(void)length;
	(void)flags;
	if (*(uint64_t *)buffer != 1)
		return false;
	VmbChannelPacketFail(packet);
	return true;
}

/* The peer's ring fills up and is not emptied any more, but what it completes still counts. */
static void ddi_039_inv_049_the_peer_sees_that_the_queue_stopped(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());
	struct kt_send *back = kt_send_new(server);
	static uint64_t data[8], buffer[64];
	struct vmbus_packet_out packet = {
		.type = VMBUS_PKT_INBAND, .payload = data, .payload_size = sizeof(data)};
	struct vmbus_packet_out answer = {.type = VMBUS_PKT_COMPLETION};
	struct vmbus_packet_in request;
	unsigned int written = 0;

	server->on_packet = fail_second;
	enable(server);
	VmbChannelStart(server->h);
	raw_open(bus, server);
	write_numbered(3);
	KT_WAIT(server->packet_count == 2);
	assert_int_equal(kt_send_pattern(back, 8, 1, KT_WAITED), STATUS_SUCCESS);
	raw_read(buffer, sizeof(buffer), &request);
	answer.transaction_id = request.transaction_id;
	raw_write(&answer);
	KT_WAIT(atomic_load(&back->routines) == 1); /* sends are unaffected */
	assert_int_equal(back->status, STATUS_SUCCESS);
	while (written < 1000 && vmbus_ring_write(&raw.port.out, &packet) == VMBUS_RING_OK)
		written++;
	assert_in_range(written, 100, 140); /* three pages less what was there */
	if (vmbus_ring_publish(&raw.port.out))
		part_port_signal(&raw.port);
	KT_STAYS(vmbus_ring_write(&raw.port.out, &packet) == VMBUS_RING_FULL);
	assert_true(space_given_back() <= 32);
	assert_int_equal(server->packet_count, 2);
	raw_close(bus);
	KT_EXPECT(server, "OSPUC");
	kt_send_free(back);
	kt_chan_free(server);
}

/* ---- the client context area ---- */

enum {
	CONTEXT = 100
};
static atomic_uint contexts_wrong, contexts_seen;

/* Each packet is deferred once: its context is new, then as it was left. */
static bool use_context(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
			UINT32 flags)
{
	static const uint8_t zeroes[CONTEXT];
	uint8_t *context = KmclPacketClientContext(packet);
	unsigned int seed = *(uint8_t *)buffer;

	(void)length;
	(void)flags;
	if (!context || (uintptr_t)context % 16) {
		atomic_fetch_add(&contexts_wrong, 1);
		return false;
	}
	if (KeGetCurrentIrql() == PASSIVE_LEVEL) {
		if (!kt_filled(context, CONTEXT, seed))
			atomic_fetch_add(&contexts_wrong, 1);
		atomic_fetch_add(&contexts_seen, 1);
		memset(context, 0xff, CONTEXT);
		return false;
	}
	if (memcmp(context, zeroes, CONTEXT) != 0)
		atomic_fetch_add(&contexts_wrong, 1);
	kt_fill(context, CONTEXT, seed);
	kt_defer(c, packet);
	return true;
}

static bool no_context(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		       UINT32 flags)
{
	(void)c;
	(void)buffer;
	(void)length;
	(void)flags;
	if (KmclPacketClientContext(packet))
		atomic_fetch_add(&contexts_wrong, 1);
	return false;
}

static void ddi_030_client_context_of_incoming_packets(void **state)
{
	for (unsigned int with = 0; with < 2; with++) {
		struct kt_pair p = kt_pair_new(*state);
		struct kt_send *sends[50];

		atomic_store(&contexts_wrong, 0);
		atomic_store(&contexts_seen, 0);
		p.server->on_packet = with ? use_context : no_context;
		assert_int_equal(
			VmbChannelInitSetClientContextSize(p.server->h, with ? CONTEXT : 0),
			STATUS_SUCCESS);
		kt_pair_open(&p);
		send_numbered(p.client, sends, 50, KT_WAITED);
		for (unsigned int i = 0; i < 50; i++)
			KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_int_equal(atomic_load(&contexts_wrong), 0);
		assert_int_equal(atomic_load(&contexts_seen), with ? 50 : 0);
		free_all(sends, 50);
		kt_pair_free(&p);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_080_packet_as_sent),
		KT_TEST(ddi_037_inv_040_a_second_end_is_a_violation),
		KT_TEST(ddi_037_completion_from_any_thread_in_any_order),
		KT_TEST(ddi_046_inv_042_quota_bounds_what_is_outstanding),
		KT_TEST(ddi_046_inv_043_raising_the_quota_waits_for_a_completion),
		KT_TEST(ddi_046_inv_044_lowering_the_quota),
		KT_TEST(ddi_020_default_reserve_of_incoming_packets),
		KT_TEST(ddi_038_inv_045_deferred_packet_returns_first_and_at_passive),
		KT_TEST(ddi_038_defer_outside_the_callback_is_a_violation),
		KT_TEST(ddi_039_inv_049_fail_stops_the_queue_until_the_next_open),
		KT_TEST(ddi_081_inv_050_batches_add_up),
		KT_TEST(ddi_043_inv_051_passive_processing),
		KT_TEST(inv_052_buffer_is_a_private_copy),
		KT_TEST(ddi_037_inv_053_completion_with_a_full_ring),
		KT_TEST(ddi_037_077_completion_after_a_remote_close),
		KT_TEST(ddi_046_inv_042_nothing_is_read_ahead_of_the_quota),
		KT_TEST(ddi_039_inv_049_the_peer_sees_that_the_queue_stopped),
		KT_TEST(ddi_030_client_context_of_incoming_packets),
	};

	return KT_MAIN("kmcl-incoming", tests);
}
