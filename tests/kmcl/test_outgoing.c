/* SPDX-License-Identifier: MIT */
/* Outgoing packets: their life, the sends, order and queueing, what a completion brings. */
#include "harness.h"

#include <stdlib.h>

enum {
	BATCH = 200
};

static void enable(struct kt_chan *c)
{
	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
}

/* A running pair with the smallest rings, whose server reads nothing until kt_unblock. */
static struct kt_pair unread_pair(struct kt_bus *bus)
{
	struct kt_pair p = kt_pair_new(bus);

	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 2, 2),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 1024), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(p.client->h, 4096, 1),
			 STATUS_SUCCESS);
	kt_pair_open(&p);
	kt_block(p.client, p.server);
	return p;
}

/* More than the smallest ring holds. */
static void overfill(struct kt_pair *p, struct kt_send **sends, unsigned int count, uint32_t flags)
{
	for (unsigned int i = 0; i < count; i++) {
		sends[i] = kt_send_new(p->client);
		assert_int_equal(kt_send_pattern(sends[i], 1024, i, flags), STATUS_SUCCESS);
	}
}

static void free_all(struct kt_send **sends, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		kt_send_free(sends[i]);
}

static void ddi_056_059_082_inv_020_routine_runs_exactly_once(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[BATCH], *back[BATCH];

	kt_pair_open(&p);
	for (unsigned int i = 0; i < BATCH; i++) {
		sends[i] = kt_send_new(p.client);
		back[i] = kt_send_new(p.server);
		assert_int_equal(kt_send_pattern(sends[i], 64, i, i & 1 ? KT_WAITED : 0),
				 STATUS_SUCCESS);
		assert_int_equal(kt_send_pattern(back[i], 64, i, i & 2 ? KT_WAITED : 0),
				 STATUS_SUCCESS);
	}
	for (unsigned int i = 0; i < BATCH; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) && atomic_load(&back[i]->routines));
		assert_int_equal(sends[i]->status, STATUS_SUCCESS);
		assert_int_equal(back[i]->status, STATUS_SUCCESS);
	}
	KT_WAIT(p.server->packet_count == BATCH && p.client->packet_count == BATCH);
	for (unsigned int i = 0; i < BATCH; i++) {
		assert_int_equal(atomic_load(&sends[i]->routines), 1);
		assert_int_equal(atomic_load(&back[i]->routines), 1);
	}
	free_all(sends, BATCH);
	free_all(back, BATCH);
	kt_pair_free(&p);
}

static void ddi_056_inv_020_failed_send_leaves_the_packet_idle(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	struct kt_send *s = kt_send_new(p.client), *t = kt_send_new(p.server);
	PMDL mdl = kt_mdl_alloc(bus, 64, NULL);
	uint64_t data = 0;

	/* disabled */
	assert_int_equal(VmbPacketSend(s->packet, &data, 8, NULL, 0), STATUS_DEVICE_REMOVED);
	assert_int_equal(VmbPacketSend(t->packet, &data, 8, NULL, 0), STATUS_DEVICE_REMOVED);
	kt_pair_open(&p);
	assert_int_equal(VmbPacketSend(s->packet, NULL, 8, NULL, 0), STATUS_INVALID_PARAMETER_2);
	assert_int_equal(kt_send_pattern(s, 4097, 0, 0), STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbPacketSend(s->packet, &data, 8, NULL, 8), STATUS_INVALID_PARAMETER_5);
	assert_int_equal(VmbPacketSend(s->packet, &data, 8, NULL, 0x80000000),
			 STATUS_INVALID_PARAMETER_5);
	assert_int_equal(VmbPacketSend(s->packet, &data, 8, NULL,
				       VMBUS_CHANNEL_FORMAT_FLAG_FORCE_MDL_LENGTH),
			 STATUS_INVALID_PARAMETER_5);
	assert_int_equal(VmbPacketSend(s->packet, &data, 8, mdl, 0), STATUS_INVALID_PARAMETER_5);
	assert_int_equal(VmbPacketSend(t->packet, &data, 8, mdl, KT_WAITED), STATUS_NOT_SUPPORTED);
	KT_STAYS(atomic_load(&s->routines) == 0 && p.server->packet_count == 0);
	assert_int_equal(atomic_load(&t->routines), 0);
	/* and still sends */
	assert_int_equal(VmbPacketSend(s->packet, &data, 8, NULL,
				       KT_WAITED | VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER),
			 STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(s->status, STATUS_SUCCESS);
	kt_send_free(s);
	kt_send_free(t);
	kt_mdl_free(bus, mdl);
	kt_pair_free(&p);
}

static void ddi_056_a_packet_in_flight_cannot_be_sent_or_changed(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(p.server->packet_count == 1);
	assert_int_equal(kt_send_pattern(s, 64, 2, KT_WAITED), STATUS_INVALID_PARAMETER_1);
	KT_VIOLATES(VmbPacketFree(s->packet));
	KT_VIOLATES(VmbPacketSetCompletionRoutine(s->packet, kt_routine));
	VmbPacketSetPointer(s->packet, NULL); /* that may change */
	assert_null(VmbPacketGetPointer(s->packet));
	VmbPacketSetPointer(s->packet, s);
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&s->routines) == 1);
	KT_STAYS(p.server->packet_count == 1);
	kt_send_free(s);
	kt_pair_free(&p);
}

static NTSTATUS send_in_opened(struct kt_chan *c)
{
	struct kt_send **sends = c->arg;

	for (unsigned int i = 10; i < 20; i++)
		if (kt_send_pattern(sends[i], 64, i, 0) != STATUS_SUCCESS)
			kt_problem("send refused in Opened");
	return STATUS_SUCCESS;
}

static void send_in_started(struct kt_chan *c)
{
	struct kt_send **sends = c->arg;

	for (unsigned int i = 20; i < 30; i++)
		if (kt_send_pattern(sends[i], 64, i, 0) != STATUS_SUCCESS)
			kt_problem("send refused in Started");
}

static void ordered(struct kt_bus *bus, bool from_server)
{
	struct kt_pair p = kt_pair_new(bus);
	struct kt_chan *from = from_server ? p.server : p.client;
	struct kt_chan *to = from_server ? p.client : p.server;
	struct kt_send *sends[60];

	for (unsigned int i = 0; i < 60; i++)
		sends[i] = kt_send_new(from);
	from->arg = sends;
	from->on_opened = send_in_opened;
	from->on_started = send_in_started;
	enable(from);
	if (from_server)
		VmbChannelStart(from->h);
	for (unsigned int i = 0; i < 10; i++) /* before Opened */
		assert_int_equal(kt_send_pattern(sends[i], 64, i, 0), STATUS_SUCCESS);
	KT_STAYS(atomic_load(&sends[0]->routines) == 0);
	enable(to);
	if (!from_server)
		VmbChannelStart(to->h);
	KT_EXPECT(from, "OSP");
	for (unsigned int i = 30; i < 60; i++)
		assert_int_equal(kt_send_pattern(sends[i], 64, i, 0), STATUS_SUCCESS);
	KT_WAIT(to->packet_count == 60);
	for (unsigned int i = 0; i < 60; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_true(kt_filled(to->packets[i].prefix, 64, i));
	}
	free_all(sends, 60);
	kt_pair_free(&p);
}

static void ddi_078_inv_022_order_from_a_client(void **state)
{
	ordered(*state, false);
}

static void ddi_078_inv_022_order_from_a_server(void **state)
{
	ordered(*state, true);
}

static void inv_022_order_over_a_full_ring(void **state)
{
	struct kt_pair p = unread_pair(*state);
	struct kt_send *sends[40];

	overfill(&p, sends, 40, KT_WAITED);
	kt_unblock(p.server, KT_ECHO);
	KT_WAIT(p.server->packet_count == 40);
	for (unsigned int i = 0; i < 40; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_true(kt_filled(p.server->packets[i].prefix, KT_PREFIX, i));
		assert_true(kt_filled(sends[i]->data, KT_DATA, i));
	}
	free_all(sends, 40);
	kt_pair_free(&p);
}

static void ddi_056_inv_023_024_full_ring_queues(void **state)
{
	struct kt_pair p = unread_pair(*state);
	struct kt_send *sends[10];
	unsigned int placed = 0;

	overfill(&p, sends, 10, 0);
	KT_WAIT(atomic_load(&sends[2]->routines) == 1); /* in the ring, though nobody reads it */
	kt_nap(KT_QUIET_MS);
	for (unsigned int i = 0; i < 10; i++) {
		placed += atomic_load(&sends[i]->routines);
		if (atomic_load(&sends[i]->routines))
			assert_int_equal(placed, i + 1);
	}
	/* 1048 bytes each in 4096, which may not be filled up; the reader may have taken one out to
	 * look at */
	assert_in_range(placed, 3, 4);
	kt_unblock(p.server, KT_ECHO);
	for (unsigned int i = 0; i < 10; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_int_equal(sends[i]->status, STATUS_SUCCESS);
		assert_int_equal(sends[i]->length, 0);
		assert_true(sends[i]->data_null);
	}
	free_all(sends, 10);
	kt_pair_free(&p);
}

static void ddi_082_inv_024_with_wait_never_before_the_peer_completes(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client), *back = kt_send_new(p.server);

	atomic_store(&p.server->mode, KT_HOLD);
	atomic_store(&p.client->mode, KT_HOLD);
	kt_pair_open(&p);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	assert_int_equal(kt_send_pattern(back, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(p.server->packet_count == 1 && p.client->packet_count == 1);
	KT_STAYS(!atomic_load(&s->routines) && !atomic_load(&back->routines));
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&s->routines) == 1);
	KT_STAYS(!atomic_load(&back->routines));
	kt_complete(p.client, 0, NULL, 0);
	KT_WAIT(atomic_load(&back->routines) == 1);
	kt_send_free(s);
	kt_send_free(back);
	kt_pair_free(&p);
}

static void ddi_037_082_inv_025_completion_data_byte_for_byte(void **state)
{
	static const uint32_t lengths[] = {0, 8, 16, 64, 1000, 1024, 1, 7, 9, 1023};
	struct kt_pair p = kt_pair_new(*state);
	uint8_t answer[1024];

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct kt_send *s = kt_send_new(p.client);
		uint32_t padded = (lengths[i] + 7) & ~7u; /* what the wire says */

		assert_int_equal(kt_send_pattern(s, 64, i, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(p.server->packet_count == i + 1);
		kt_fill(answer, sizeof(answer), i + 100);
		kt_complete(p.server, i, lengths[i] ? answer : NULL, lengths[i]);
		memset(answer, 0xcc, sizeof(answer)); /* it was copied */
		KT_WAIT(atomic_load(&s->routines) == 1);
		assert_int_equal(s->length, padded);
		assert_true(kt_filled(s->data, lengths[i], i + 100));
		kt_send_free(s);
	}
	kt_pair_free(&p);
}

static void ddi_051_inv_026_default_routine_frees(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	p.server->quiet = true;
	kt_pair_open(&p);
	for (unsigned int i = 0; i < 1000; i++) {
		uint64_t data = i;
		VMBPACKET packet = VmbPacketAllocate(p.client->h);

		assert_non_null(packet);
		assert_int_equal(VmbPacketSend(packet, &data, 8, NULL, i & 1 ? KT_WAITED : 0),
				 STATUS_SUCCESS);
	}
	KT_WAIT(atomic_load(&p.server->delivered) == 1000);
	kt_pair_free(&p); /* Cleanup would report packets that are left */
}

static void ddi_056_inv_027_buffer_is_free_after_the_send(void **state)
{
	struct kt_pair p = unread_pair(*state);
	struct kt_send *sends[10];
	static uint8_t data[1024];

	for (unsigned int i = 0; i < 10; i++) { /* some placed, some queued */
		sends[i] = kt_send_new(p.client);
		kt_fill(data, sizeof(data), i);
		assert_int_equal(
			VmbPacketSend(sends[i]->packet, data, sizeof(data), NULL, KT_WAITED),
			STATUS_SUCCESS);
		memset(data, 0xee, sizeof(data));
	}
	kt_unblock(p.server, KT_ECHO);
	for (unsigned int i = 0; i < 10; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_true(kt_filled(sends[i]->data, KT_DATA, i));
	}
	free_all(sends, 10);
	kt_pair_free(&p);
}

static atomic_uint resends;

static void send_again(struct kt_send *s)
{
	uint64_t data = 0;

	if (atomic_fetch_sub(&resends, 1) > 1) {
		if (VmbPacketSend(s->packet, &data, 8, NULL, KT_WAITED) != STATUS_SUCCESS)
			kt_problem("cannot send in the routine");
		return;
	}
	VmbPacketFree(s->packet);
	s->packet = NULL;
	kt_changed();
}

static void ddi_052_082_inv_028_sent_again_and_freed_in_its_routine(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);
	uint64_t data = 0;

	kt_pair_open(&p);
	atomic_store(&resends, 50);
	s->hook = send_again;
	assert_int_equal(VmbPacketSend(s->packet, &data, 8, NULL, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->hooks) == 50);
	assert_int_equal(p.server->packet_count, 50);
	assert_null(s->packet);
	free(s);
	kt_pair_free(&p);
}

static void ddi_051_052_054_059_060_inv_029_recycled_packets_are_fresh(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);
	VMBPACKET packets[8];
	int value;

	kt_pair_open(&p);
	for (unsigned int i = 0; i < 3; i++) { /* kept over reuse */
		assert_int_equal(kt_send_pattern(s, 64, i, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(atomic_load(&s->routines) == i + 1);
		assert_ptr_equal(VmbPacketGetPointer(s->packet), s);
	}
	kt_send_free(s);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 8; i++) {
			packets[i] = VmbPacketAllocate(p.client->h);
			assert_null(VmbPacketGetPointer(packets[i]));
			VmbPacketSetPointer(packets[i], &value);
			VmbPacketSetCompletionRoutine(packets[i], kt_routine);
		}
		for (unsigned int i = 0; i < 8; i++)
			VmbPacketFree(packets[i]);
	}
	/* the default routine: had kt_routine been left, it would look for a struct kt_send at
	 * NULL, and Cleanup would find the packets */
	for (unsigned int i = 0; i < 8; i++) {
		packets[i] = VmbPacketAllocate(p.client->h);
		assert_null(VmbPacketGetPointer(packets[i]));
		assert_int_equal(VmbPacketSend(packets[i], &value, sizeof(value), NULL, KT_WAITED),
				 STATUS_SUCCESS);
	}
	KT_WAIT(p.server->packet_count == 11);
	kt_pair_free(&p);
}

static void ddi_053_inv_030_get_channel_in_every_state(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s = kt_send_new(p.client);

	assert_ptr_equal(VmbPacketGetChannel(s->packet), p.client->h); /* idle */
	enable(p.client);
	atomic_store(&p.server->mode, KT_HOLD);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	assert_ptr_equal(VmbPacketGetChannel(s->packet), p.client->h); /* queued */
	enable(p.server);
	VmbChannelStart(p.server->h);
	KT_WAIT(p.server->packet_count == 1);
	assert_ptr_equal(VmbPacketGetChannel(s->packet), p.client->h); /* placed */
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&s->routines) == 1);                       /* the routine looked too */
	assert_ptr_equal(VmbPacketGetChannel(s->packet), p.client->h); /* done */
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_047_055_inv_031_032_packets_in_own_memory(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	UINT32 size = VmbChannelSizeofPacket(p.client->h);
	uint64_t *memory = calloc(1, (size_t)size + 16), data = 42;
	VMBPACKET packet = (VMBPACKET)(void *)memory;
	struct kt_send *s = calloc(1, sizeof(*s));

	assert_non_null(memory);
	assert_true(size > 4096 + sizeof(PVOID));
	assert_int_equal(size % 8, 0);
	assert_int_equal(VmbPacketInitialize(p.client->h, packet, 4096 + sizeof(PVOID)),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbPacketInitialize(p.client->h, packet, size - 1),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbPacketInitialize(p.client->h, NULL, size), STATUS_INVALID_PARAMETER_2);
	assert_int_equal(
		VmbPacketInitialize(p.client->h, (VMBPACKET)(void *)((uint8_t *)memory + 4), size),
		STATUS_INVALID_PARAMETER_2);
	memory[size / 8] = 0x1122334455667788; /* behind it */
	assert_int_equal(VmbPacketInitialize(p.client->h, packet, size), STATUS_SUCCESS);
	assert_int_equal(VmbChannelSizeofPacket(p.client->h), size);
	assert_ptr_equal(VmbPacketGetChannel(packet), p.client->h);
	assert_null(VmbPacketGetPointer(packet));
	kt_pair_open(&p);
	assert_int_equal(VmbPacketSend(packet, &data, 8, NULL, KT_WAITED),
			 STATUS_INVALID_PARAMETER_1); /* no routine */
	s->c = p.client;
	s->packet = packet;
	VmbPacketSetPointer(packet, s);
	VmbPacketSetCompletionRoutine(packet, kt_routine);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(kt_send_pattern(s, 4096, i, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(atomic_load(&s->routines) == i + 1);
		assert_int_equal(s->length, 4096);
		assert_true(kt_filled(s->data, KT_DATA, i));
	}
	assert_int_equal(memory[size / 8], 0x1122334455667788);
	KT_VIOLATES(VmbPacketFree(packet));
	free(memory); /* no undo */
	free(s);
	kt_pair_free(&p);
}

static void queued_packets_live_in_their_own_memory(void **state)
{
	struct kt_pair p = unread_pair(*state);
	UINT32 size = VmbChannelSizeofPacket(p.client->h);
	struct kt_send *sends[20];
	void *memory[20];

	for (unsigned int i = 0; i < 20; i++) { /* queued packets too live in their own memory */
		sends[i] = calloc(1, sizeof(*sends[i]));
		memory[i] = malloc(size);
		sends[i]->c = p.client;
		sends[i]->packet = memory[i];
		assert_int_equal(VmbPacketInitialize(p.client->h, memory[i], size), STATUS_SUCCESS);
		VmbPacketSetPointer(memory[i], sends[i]);
		VmbPacketSetCompletionRoutine(memory[i], kt_routine);
		assert_int_equal(kt_send_pattern(sends[i], 1024, i, KT_WAITED), STATUS_SUCCESS);
	}
	kt_unblock(p.server, KT_ECHO);
	for (unsigned int i = 0; i < 20; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_true(kt_filled(sends[i]->data, KT_DATA, i));
		free(memory[i]);
		free(sends[i]);
	}
	kt_pair_free(&p);
}

static struct kt_send *late;

static void send_in_closed(struct kt_chan *c)
{
	NTSTATUS status = kt_send_pattern(late, 64, 77, 0);

	if (c->server ? status != STATUS_SUCCESS : status != STATUS_DEVICE_REMOVED)
		kt_problem("send in Closed: %08x", (unsigned int)status);
}

static void ddi_056_inv_039_server_packets_wait_for_the_reopen(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *stopped = kt_send_new(p.server);

	late = kt_send_new(p.server);
	p.server->on_closed = send_in_closed;
	kt_pair_open(&p);
	VmbChannelDisable(p.client->h);
	KT_EXPECT(p.server, "OSPUC");
	assert_int_equal(kt_send_pattern(stopped, 64, 78, KT_WAITED), STATUS_SUCCESS);
	KT_STAYS(!atomic_load(&late->routines) && !atomic_load(&stopped->routines));
	kt_forget(p.client);
	enable(p.client);
	KT_WAIT(p.client->packet_count == 2);
	assert_true(kt_filled(p.client->packets[0].prefix, 64, 77));
	assert_true(kt_filled(p.client->packets[1].prefix, 64, 78));
	KT_WAIT(atomic_load(&stopped->routines) == 1 && atomic_load(&late->routines) == 1);
	assert_int_equal(stopped->status, STATUS_SUCCESS);
	assert_int_equal(late->status, STATUS_SUCCESS);
	p.server->on_closed = NULL;
	kt_send_free(stopped);
	kt_send_free(late);
	kt_pair_free(&p);
}

static void ddi_056_inv_039_client_packets_are_refused_after_the_close(void **state)
{
	struct kt_pair p = kt_pair_new(*state);

	late = kt_send_new(p.client);
	p.client->on_closed = send_in_closed;
	kt_pair_open(&p);
	VmbChannelDisable(p.client->h);
	assert_int_equal(kt_send_pattern(late, 64, 1, 0), STATUS_DEVICE_REMOVED);
	assert_int_equal(atomic_load(&late->routines), 0);
	kt_send_free(late);
	kt_pair_free(&p);
}

/* A paused client's packets wait, what it has in flight is completed all the same. */
static void paused_packets_wait(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *before = kt_send_new(p.client), *during = kt_send_new(p.client);

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	assert_int_equal(kt_send_pattern(before, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(p.server->packet_count == 1);
	VmbChannelPause(p.client->h); /* does not wait for outgoing transactions */
	assert_int_equal(kt_send_pattern(during, 64, 2, 0), STATUS_SUCCESS);
	kt_complete(p.server, 0, NULL, 0);
	KT_WAIT(atomic_load(&before->routines) == 1);
	assert_int_equal(before->status, STATUS_SUCCESS);
	KT_STAYS(!atomic_load(&during->routines) && p.server->packet_count == 1);
	VmbChannelStart(p.client->h);
	KT_WAIT(p.server->packet_count == 2 && atomic_load(&during->routines) == 1);
	kt_complete(p.server, 1, NULL, 0);
	kt_send_free(before);
	kt_send_free(during);
	kt_pair_free(&p);
}

/* A pause catches packets that wait for room: the room that then appears is not theirs. */
static void paused_packets_wait_though_there_is_room(void **state)
{
	struct kt_pair p = unread_pair(*state);
	struct kt_send *sends[20];
	unsigned int placed;

	overfill(&p, sends, 20, KT_WAITED);
	kt_nap(KT_QUIET_MS);
	VmbChannelPause(p.client->h);
	kt_unblock(p.server, KT_ECHO);
	KT_WAIT(p.server->packet_count >= 3);
	KT_STAYS(p.server->packet_count <= 4); /* what was in the ring */
	placed = p.server->packet_count;
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(atomic_load(&sends[i]->routines), i < placed);
	VmbChannelStart(p.client->h);
	KT_WAIT(p.server->packet_count == 20);
	for (unsigned int i = 0; i < 20; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_true(kt_filled(p.server->packets[i].prefix, KT_PREFIX, i));
	}
	free_all(sends, 20);
	kt_pair_free(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_056_059_082_inv_020_routine_runs_exactly_once),
		KT_TEST(ddi_056_inv_020_failed_send_leaves_the_packet_idle),
		KT_TEST(ddi_056_a_packet_in_flight_cannot_be_sent_or_changed),
		KT_TEST(ddi_078_inv_022_order_from_a_client),
		KT_TEST(ddi_078_inv_022_order_from_a_server),
		KT_TEST(inv_022_order_over_a_full_ring),
		KT_TEST(ddi_056_inv_023_024_full_ring_queues),
		KT_TEST(ddi_082_inv_024_with_wait_never_before_the_peer_completes),
		KT_TEST(ddi_037_082_inv_025_completion_data_byte_for_byte),
		KT_TEST(ddi_051_inv_026_default_routine_frees),
		KT_TEST(ddi_056_inv_027_buffer_is_free_after_the_send),
		KT_TEST(ddi_052_082_inv_028_sent_again_and_freed_in_its_routine),
		KT_TEST(ddi_051_052_054_059_060_inv_029_recycled_packets_are_fresh),
		KT_TEST(ddi_053_inv_030_get_channel_in_every_state),
		KT_TEST(ddi_047_055_inv_031_032_packets_in_own_memory),
		KT_TEST(queued_packets_live_in_their_own_memory),
		KT_TEST(ddi_056_inv_039_server_packets_wait_for_the_reopen),
		KT_TEST(ddi_056_inv_039_client_packets_are_refused_after_the_close),
		KT_TEST(paused_packets_wait),
		KT_TEST(paused_packets_wait_though_there_is_room),
	};

	return KT_MAIN("kmcl-outgoing", tests);
}
