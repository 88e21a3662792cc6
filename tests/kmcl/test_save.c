/* SPDX-License-Identifier: MIT */
/* Save and restore of a server channel through the DDI, rule by rule. */
#include "save_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "kmcl/channel.h"

static uint32_t answer_to(uint32_t n)
{
	return n ^ 0xabcd1234;
}

/* `placed` packets that the client holds, `queued` behind a pause. */
static struct rig *busy(struct kt_bus *bus, unsigned int placed, unsigned int queued)
{
	struct rig *r = rig_new(bus);

	atomic_store(&r->pair.client->mode, KT_HOLD);
	rig_send(r, placed, true);
	KT_WAIT(r->pair.client->packet_count == placed);
	VmbChannelPause(r->pair.server->h);
	rig_send(r, queued, true);
	return r;
}

static uint64_t number_of(const struct kt_chan *c, uint32_t i)
{
	uint64_t n;

	memcpy(&n, c->packets[i].prefix, sizeof(n));
	return n;
}

static void answer_all(struct rig *r)
{
	KT_WAIT(r->pair.client->packet_count == r->sent);
	for (uint32_t i = 0; i < r->sent; i++) {
		uint32_t n = (uint32_t)number_of(r->pair.client, i);
		uint32_t answer = answer_to(n);

		assert_int_equal(n, i);
		if (!r->pair.client->packets[i].ended)
			kt_complete(r->pair.client, i, &answer, sizeof(answer));
	}
}

static void await(bool (*true_of)(struct kt_chan *c), struct kt_chan *c)
{
	uint64_t deadline = kt_now_ms() + KT_LIMIT_MS;

	while (!true_of(c)) {
		assert_true(kt_now_ms() < deadline);
		kt_nap(1);
	}
}

/* Each has been answered once, with what was meant for it. */
static void all_answered(struct rig *r)
{
	for (uint32_t n = 0; n < r->sent; n++) {
		KT_WAIT(r->packets[n].routines == 1);
		assert_int_equal(r->packets[n].status, STATUS_SUCCESS);
		assert_int_equal(r->packets[n].answer, answer_to(n));
	}
	kt_nap(KT_QUIET_MS);
	for (uint32_t n = 0; n < r->sent; n++)
		assert_int_equal(r->packets[n].routines, 1);
}

static void finish(struct rig *r)
{
	answer_all(r);
	all_answered(r);
	rig_free(r);
}

/* ---- states and arguments ---- */

static void ddi_063_save_begins_where_nothing_runs(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	ULONG filled, required;
	uint8_t b[4096];

	assert_int_equal(VmbChannelSaveBegin(NULL), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelSaveBegin(p.client->h), STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelSaveBegin(p.server->h), STATUS_INVALID_DEVICE_STATE);
	assert_int_equal(VmbChannelEnable(p.server->h), STATUS_SUCCESS);
	/* Enabled */
	assert_int_equal(VmbChannelSaveBegin(p.server->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelSaveBegin(p.server->h), STATUS_INVALID_DEVICE_STATE);
	VmbChannelSaveEnd(p.server->h);
	/* Started */
	VmbChannelStart(p.server->h);
	assert_int_equal(VmbChannelSaveBegin(p.server->h), STATUS_INVALID_DEVICE_STATE);
	/* Active */
	assert_int_equal(VmbChannelEnable(p.client->h), STATUS_SUCCESS);
	KT_EXPECT(p.server, "OSP");
	assert_int_equal(VmbChannelSaveBegin(p.server->h), STATUS_INVALID_DEVICE_STATE);
	/* Paused */
	VmbChannelPause(p.server->h);
	assert_int_equal(VmbChannelSaveBegin(p.server->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelSaveContinue(p.server->h, b, sizeof(b), &filled, &required),
			 STATUS_SUCCESS);
	VmbChannelSaveEnd(p.server->h);
	/* Stopped, meant to run */
	VmbChannelStart(p.server->h);
	KT_EXPECT(p.server, "OSPUSP");
	VmbChannelDisable(p.client->h);
	KT_EXPECT(p.server, "OSPUSPUC");
	assert_int_equal(VmbChannelSaveBegin(p.server->h), STATUS_SUCCESS);
	VmbChannelSaveEnd(p.server->h);
	kt_pair_free(&p);
}

static void ddi_064_065_arguments_of_a_save(void **state)
{
	struct rig *r = busy(*state, 1, 1);
	VMBCHANNEL s = r->pair.server->h;
	ULONG filled = 7, required = 7;
	uint8_t b[64];

	assert_int_equal(VmbChannelSaveContinue(s, b, sizeof(b), &filled, &required),
			 STATUS_INVALID_DEVICE_STATE);
	VmbChannelSaveEnd(s); /* nothing to end: nothing happens */
	assert_int_equal(VmbChannelSaveBegin(s), STATUS_SUCCESS);
	assert_int_equal(VmbChannelSaveContinue(NULL, b, sizeof(b), &filled, &required),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(
		VmbChannelSaveContinue(r->pair.client->h, b, sizeof(b), &filled, &required),
		STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelSaveContinue(s, NULL, 1, &filled, &required),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelSaveContinue(s, b, sizeof(b), NULL, &required),
			 STATUS_INVALID_PARAMETER_4);
	assert_int_equal(VmbChannelSaveContinue(s, b, sizeof(b), &filled, NULL),
			 STATUS_INVALID_PARAMETER_5);
	assert_int_equal(filled, 7);
	assert_int_equal(required, 7);
	VmbChannelSaveEnd(s);
	VmbChannelSaveEnd(s);
	KT_VIOLATES(VmbChannelSaveEnd(NULL));
	KT_VIOLATES(VmbChannelSaveEnd(r->pair.client->h));
	VmbChannelStart(s);
	finish(r);
}

static void ddi_071_inv_013_both_callbacks_while_disabled(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	PFN_VMB_CHANNEL_SAVE_PACKET save = (PFN_VMB_CHANNEL_SAVE_PACKET)(uintptr_t)1;
	PFN_VMB_CHANNEL_RESTORE_PACKET restore = (PFN_VMB_CHANNEL_RESTORE_PACKET)(uintptr_t)1;

	assert_int_equal(VmbServerChannelInitSetSaveRestorePacketCallbacks(NULL, save, restore),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(
		VmbServerChannelInitSetSaveRestorePacketCallbacks(p.client->h, save, restore),
		STATUS_INVALID_PARAMETER_1);
	assert_int_equal(
		VmbServerChannelInitSetSaveRestorePacketCallbacks(p.server->h, NULL, restore),
		STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbServerChannelInitSetSaveRestorePacketCallbacks(p.server->h, save, NULL),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbChannelEnable(p.server->h), STATUS_SUCCESS);
	assert_int_equal(
		VmbServerChannelInitSetSaveRestorePacketCallbacks(p.server->h, save, restore),
		STATUS_INVALID_PARAMETER_1);
	kt_pair_free(&p);
}

/* ---- saving ---- */

static void inv_070_ddi_064_too_small_a_buffer_says_how_much(void **state)
{
	struct rig *r = busy(*state, 3, 3);
	ULONG filled = 1, required = 0, before;
	uint8_t *b = malloc(4096);

	assert_int_equal(VmbChannelSaveBegin(r->pair.server->h), STATUS_SUCCESS);
	for (unsigned int calls = 0; calls < 64; calls++) {
		NTSTATUS status =
			VmbChannelSaveContinue(r->pair.server->h, NULL, 0, &filled, &required);

		if (status == STATUS_SUCCESS)
			break;
		assert_int_equal(status, STATUS_BUFFER_TOO_SMALL);
		assert_int_equal(filled, 0);
		assert_true(required > 0 && required <= 4096);
		before = required;
		assert_int_equal(VmbChannelSaveContinue(r->pair.server->h, b, required - 1, &filled,
							&required),
				 STATUS_BUFFER_TOO_SMALL);
		assert_int_equal(filled, 0);
		assert_int_equal(required, before);
		status = VmbChannelSaveContinue(r->pair.server->h, b, before, &filled, &required);
		assert_int_equal(filled, before);
		if (status == STATUS_SUCCESS)
			break;
		assert_int_equal(status, STATUS_BUFFER_OVERFLOW);
		assert_true(required > 0);
	}
	assert_int_equal(required, 0);
	/* all is saved: asked again, there is nothing more */
	assert_int_equal(VmbChannelSaveContinue(r->pair.server->h, NULL, 0, &filled, &required),
			 STATUS_SUCCESS);
	assert_int_equal(filled, 0);
	VmbChannelSaveEnd(r->pair.server->h);
	free(b);
	VmbChannelStart(r->pair.server->h);
	finish(r);
}

static void inv_071_any_schedule_of_buffers_gives_one_stream(void **state)
{
	struct rig *r = busy(*state, 5, 7);
	uint8_t *first = malloc(RIG_STREAM);
	uint32_t size;

	rig_save(r, 0);
	size = r->size;
	assert_int_equal(r->chunks, 1);
	memcpy(first, r->stream, size);
	for (uint32_t room = 1; room < size + 64; room += room < 64 ? 1 : 61) {
		rig_save(r, room);
		assert_int_equal(r->size, size);
		assert_memory_equal(r->stream, first, size);
	}
	free(first);
	VmbChannelStart(r->pair.server->h);
	finish(r);
}

static void inv_072_ddi_083_the_save_callback_runs_once_or_twice(void **state)
{
	struct rig *r = busy(*state, 6, 6);

	rig_save(r, 1);
	for (uint32_t n = 0; n < r->sent; n++) {
		assert_int_equal(r->packets[n].saves[0], 1);
		assert_int_equal(r->packets[n].saves[1], n % 3 != 0);
	}
	VmbChannelStart(r->pair.server->h);
	finish(r);
}

static void ddi_083_a_failing_save_callback_ends_the_save(void **state)
{
	struct rig *r = busy(*state, 2, 0);
	ULONG filled, required;

	for (unsigned int way = 0; way < 2; way++) {
		r->save_nothing = way == 0; /* fails when asked for the size, or for the bytes */
		r->save_status = STATUS_DATA_ERROR;
		r->size = 0;
		assert_int_equal(VmbChannelSaveBegin(r->pair.server->h), STATUS_SUCCESS);
		assert_int_equal(VmbChannelSaveContinue(r->pair.server->h, r->stream, RIG_STREAM,
							&filled, &required),
				 STATUS_DATA_ERROR);
		assert_int_equal(VmbChannelSaveContinue(r->pair.server->h, r->stream, RIG_STREAM,
							&filled, &required),
				 STATUS_INVALID_DEVICE_STATE);
		VmbChannelSaveEnd(r->pair.server->h);
	}
	r->save_status = 0;
	r->save_nothing = false;
	rig_save(r, 0);
	VmbChannelStart(r->pair.server->h);
	finish(r);
}

static void inv_076_ddi_065_a_save_consumes_nothing(void **state)
{
	struct rig *r = busy(*state, 4, 4);
	uint32_t answer = answer_to(1);

	rig_save(r, 0);
	/* the rings are left alone until the channel is started again */
	kt_complete(r->pair.client, 1, &answer, sizeof(answer));
	KT_STAYS(r->packets[1].routines == 0);
	VmbChannelStart(r->pair.server->h);
	KT_WAIT(r->packets[1].routines == 1);
	finish(r);
}

static void ddi_065_a_save_given_up_leaves_no_trace(void **state)
{
	struct rig *r = busy(*state, 2, 1);
	uint32_t answer = answer_to(0);
	ULONG filled, required;

	assert_int_equal(VmbChannelSaveBegin(r->pair.server->h), STATUS_SUCCESS);
	kt_complete(r->pair.client, 0, &answer, sizeof(answer));
	KT_STAYS(r->packets[0].routines == 0);
	assert_int_equal(VmbChannelSaveContinue(r->pair.server->h, NULL, 0, &filled, &required),
			 STATUS_BUFFER_TOO_SMALL);
	VmbChannelSaveEnd(r->pair.server->h);
	/* paused, but reading completions again */
	KT_WAIT(r->packets[0].routines == 1);
	/* a save under way ends where the channel starts */
	assert_int_equal(VmbChannelSaveBegin(r->pair.server->h), STATUS_SUCCESS);
	VmbChannelStart(r->pair.server->h);
	await(kt_runs, r->pair.server);
	assert_int_equal(VmbChannelSaveContinue(r->pair.server->h, r->stream, RIG_STREAM, &filled,
						&required),
			 STATUS_INVALID_DEVICE_STATE);
	VmbChannelSaveEnd(r->pair.server->h);
	finish(r);
}

static void ddi_063_a_close_ends_a_save(void **state)
{
	struct rig *r = busy(*state, 2, 2);
	ULONG filled, required;

	assert_int_equal(VmbChannelSaveBegin(r->pair.server->h), STATUS_SUCCESS);
	for (unsigned int i = 0; i < 2; i++)
		kt_complete(r->pair.client, i, NULL, 0);
	VmbChannelDisable(r->pair.client->h);
	KT_WAIT(r->packets[0].removed == 1 && r->packets[3].removed == 1);
	KT_WAIT(strchr(r->pair.server->done, 'C'));
	assert_int_equal(VmbChannelSaveContinue(r->pair.server->h, r->stream, RIG_STREAM, &filled,
						&required),
			 STATUS_INVALID_DEVICE_STATE);
	VmbChannelSaveEnd(r->pair.server->h);
	rig_free(r);
}

/* ---- restoring ---- */

static void inv_073_ddi_062_068_084_packets_come_back_in_order(void **state)
{
	struct rig *r = busy(*state, 9, 9);

	rig_live_on(r);
	assert_int_equal(r->ordered, 18);
	for (uint32_t n = 0; n < r->ordered; n++) {
		assert_int_equal(r->order[n], n);
		assert_int_equal(r->packets[n].restores, 1);
		assert_int_equal(r->packets[n].removed, 1); /* the first life's routine */
	}
	finish(r);
}

static void inv_074_ddi_062_restoring_asks_for_more_until_the_end(void **state)
{
	struct rig *r = busy(*state, 4, 4);
	size_t bus_size;
	uint32_t at = 0;
	void *bus;

	rig_save(r, 1); /* a chunk a call */
	assert_int_equal(r->chunks, 1 + 8 + 1);
	rig_destroy_server(r, &bus, &bus_size);
	rig_new_server(r, bus, bus_size, 0);
	assert_int_equal(VmbChannelRestoreFromBuffer(NULL, r->stream, r->size),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelRestoreFromBuffer(r->pair.client->h, r->stream, r->size),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelRestoreFromBuffer(r->pair.server->h, NULL, 8),
			 STATUS_INVALID_PARAMETER_2);
	for (uint32_t i = 0; i < r->chunks; i++) {
		assert_int_equal(VmbChannelRestoreFromBuffer(r->pair.server->h, r->stream + at,
							     r->chunk_at[i] - at),
				 i + 1 < r->chunks ? STATUS_MORE_PROCESSING_REQUIRED
						   : STATUS_SUCCESS);
		if (i + 1 < r->chunks)
			assert_int_equal(VmbChannelEnable(r->pair.server->h),
					 STATUS_INVALID_DEVICE_STATE);
		at = r->chunk_at[i];
	}
	assert_int_equal(VmbChannelRestoreFromBuffer(r->pair.server->h, r->stream, r->size),
			 STATUS_INVALID_DEVICE_STATE);
	rig_run(r);
	assert_int_equal(VmbChannelRestoreFromBuffer(r->pair.server->h, r->stream, r->size),
			 STATUS_INVALID_DEVICE_STATE);
	finish(r);
}

static void inv_075_every_packet_ends_as_if_nothing_had_happened(void **state)
{
	struct rig *r = busy(*state, 20, 30);
	uint32_t answer = answer_to(3);

	rig_live_on(r);
	rig_send(r, 10, true); /* behind those that were queued */
	KT_EXPECT(r->pair.server, "OSP");
	/* the client has noticed nothing */
	KT_EXPECT(r->pair.client, "OSP");
	kt_complete(r->pair.client, 3, &answer, sizeof(answer));
	KT_WAIT(r->packets[3].routines == 1);
	rig_live_on(r); /* and once more */
	finish(r);
}

static void inv_075_answers_that_had_no_room_arrive(void **state)
{
	struct rig *r = rig_new(*state);
	struct kt_send *sends[64];
	unsigned int count = 0;

	/* the server holds requests; its ring toward the client fills with packets that the client
	 * does not read; then answers find no room */
	atomic_store(&r->pair.server->mode, KT_HOLD);
	for (; count < 64; count++) {
		sends[count] = kt_send_new(r->pair.client);
		assert_int_equal(kt_send_pattern(sends[count], 64, count, KT_WAITED),
				 STATUS_SUCCESS);
	}
	KT_WAIT(r->pair.server->packet_count == count);
	r->save_nothing = true;
	kt_block(r->pair.server, r->pair.client);
	for (unsigned int i = 0; i < 40; i++) {
		rig_send(r, 1, false);
	}
	for (unsigned int i = 0; i < count; i++) {
		uint8_t data[1024];

		kt_fill(data, sizeof(data), 1000 + i);
		kt_complete(r->pair.server, i, data, sizeof(data));
	}
	rig_live_on(r);
	kt_unblock(r->pair.client, KT_EMPTY);
	for (unsigned int i = 0; i < count; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_int_equal(sends[i]->status, STATUS_SUCCESS);
		assert_int_equal(sends[i]->length, 1024);
		assert_true(kt_filled(sends[i]->data, 1024, 1000 + i));
		kt_send_free(sends[i]);
	}
	rig_free(r);
}

static void inv_075_requests_read_and_not_delivered_are_delivered(void **state)
{
	struct rig *r = rig_new(*state);
	struct kt_send *sends[48];

	VmbChannelPause(r->pair.server->h);
	for (unsigned int i = 0; i < 48; i++) {
		sends[i] = kt_send_new(r->pair.client);
		assert_int_equal(kt_send_pattern(sends[i], 100 + i, i, KT_WAITED), STATUS_SUCCESS);
	}
	kt_nap(KT_QUIET_MS); /* the paused server reads them */
	rig_live_on(r);
	for (unsigned int i = 0; i < 48; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_int_equal(sends[i]->status, STATUS_SUCCESS);
		assert_true(kt_filled(sends[i]->data, 100 + i, i));
		kt_send_free(sends[i]);
	}
	assert_int_equal(r->pair.server->packet_count, 48);
	rig_free(r);
}

static void ddi_084_a_packet_that_is_not_restored_is_dropped(void **state)
{
	struct rig *r = busy(*state, 3, 0);
	uint32_t answer = 1;

	r->forget = true;
	rig_live_on(r);
	assert_int_equal(r->ordered, 3);
	for (unsigned int i = 0; i < 3; i++)
		kt_complete(r->pair.client, i, &answer, sizeof(answer));
	KT_STAYS(!r->packets[0].routines && !r->packets[1].routines && !r->packets[2].routines);
	assert_true(kt_runs(r->pair.server));
	rig_free(r);
}

static void ddi_084_062_a_failing_restore_callback_is_the_answer(void **state)
{
	struct rig *r = busy(*state, 2, 2);
	size_t bus_size;
	void *bus;

	rig_save(r, 0);
	rig_destroy_server(r, &bus, &bus_size);
	rig_new_server(r, bus, bus_size, 0);
	r->restore_status = STATUS_CANCELLED;
	assert_int_equal(rig_restore(r), STATUS_CANCELLED);
	assert_int_equal(VmbChannelEnable(r->pair.server->h), STATUS_INVALID_DEVICE_STATE);
	for (unsigned int i = 0; i < 2; i++)
		kt_complete(r->pair.client, i, NULL, 0);
	rig_free(r);
}

static NTSTATUS no_save(VMBCHANNEL channel, VMBPACKET packet, PVOID buffer, UINT32 size,
			PUINT32 needed)
{
	return STATUS_SUCCESS;
}

static struct {
	NTSTATUS foreign, null, twice, wrong, in_flight, right;
	VMBPACKET outside;
} tried;

/* Everything that VmbPacketRestore refuses, then what it takes. */
static NTSTATUS try_restore(VMBCHANNEL channel, PVOID library, UINT32 size, PVOID own,
			    UINT32 own_size)
{
	VMBPACKET packet = VmbPacketAllocate(channel), other = VmbPacketAllocate(channel);
	uint8_t *changed = malloc(size);

	memcpy(changed, library, size);
	changed[size - 1] ^= 1;
	tried.foreign = VmbPacketRestore(NULL, library, size);
	tried.null = VmbPacketRestore(packet, NULL, size);
	tried.wrong = VmbPacketRestore(packet, changed, size);
	if (VmbPacketRestore(packet, library, size - 1) != STATUS_DATA_ERROR)
		tried.wrong = STATUS_UNSUCCESSFUL;
	tried.right = VmbPacketRestore(packet, library, size);
	tried.in_flight = VmbPacketRestore(packet, library, size);
	tried.twice = VmbPacketRestore(other, library, size);
	VmbPacketFree(other);
	free(changed);
	return STATUS_SUCCESS;
}

static void ddi_068_what_a_packet_is_restored_from(void **state)
{
	struct rig *r = busy(*state, 1, 0);
	size_t bus_size;
	VMBPACKET packet;
	void *bus;

	r->save_nothing = true;
	rig_save(r, 0);
	rig_destroy_server(r, &bus, &bus_size);
	rig_new_server(r, bus, bus_size, 0);
	packet = VmbPacketAllocate(r->pair.server->h);
	assert_int_equal(VmbPacketRestore(packet, r->stream, 64), STATUS_INVALID_DEVICE_STATE);
	VmbPacketFree(packet);
	assert_int_equal(VmbServerChannelInitSetSaveRestorePacketCallbacks(r->pair.server->h,
									   no_save, try_restore),
			 STATUS_SUCCESS);
	assert_int_equal(rig_restore(r), STATUS_SUCCESS);
	assert_int_equal(tried.foreign, STATUS_INVALID_PARAMETER_1);
	assert_int_equal(tried.null, STATUS_INVALID_PARAMETER_2);
	assert_int_equal(tried.wrong, STATUS_DATA_ERROR);
	assert_int_equal(tried.right, STATUS_SUCCESS);
	assert_int_equal(tried.in_flight, STATUS_INVALID_DEVICE_STATE);
	assert_int_equal(tried.twice, STATUS_INVALID_DEVICE_STATE);
	rig_run(r);
	kt_complete(r->pair.client, 0, NULL, 0); /* the default routine frees it */
	rig_free(r);
}

static void ddi_062_packets_without_callbacks_are_not_supported(void **state)
{
	struct rig *r = busy(*state, 1, 0);
	struct kt_chan *fresh;
	size_t bus_size;
	void *bus;

	r->save_nothing = true;
	rig_save(r, 0);
	rig_destroy_server(r, &bus, &bus_size);
	rig_new_server(r, bus, bus_size, 0);
	fresh = kt_chan_new(*state, true, r->pair.client->type, r->pair.client->instance);
	assert_int_equal(VmbChannelRestoreFromBuffer(fresh->h, r->stream, r->size),
			 STATUS_NOT_SUPPORTED);
	kt_chan_free(fresh);
	kt_complete(r->pair.client, 0, NULL, 0);
	rig_free(r);
}

/* ---- damage ---- */

static NTSTATUS try_stream(struct rig *r, const uint8_t *stream, uint32_t size)
{
	struct kt_chan *c = kt_chan_new(r->pair.client->bus, true, r->pair.client->type,
					r->pair.client->instance);
	struct kt_chan *was = r->pair.server;
	NTSTATUS status;

	r->pair.server = c;
	for (uint32_t n = 0; n < r->sent; n++)
		r->packets[n].life = 0;
	r->forget = true;
	assert_int_equal(
		VmbServerChannelInitSetSaveRestorePacketCallbacks(c->h, no_save, try_restore),
		STATUS_SUCCESS);
	status = VmbChannelRestoreFromBuffer(c->h, (void *)(uintptr_t)stream, size);
	r->pair.server = was;
	r->forget = false;
	kt_chan_free(c); /* Cleanup succeeds, whatever it was */
	return status;
}

static void inv_077_damaged_chunks_are_refused(void **state)
{
	struct rig *r = busy(*state, 2, 1);
	uint8_t *copy;

	r->save_nothing = true;
	rig_save(r, 0);
	copy = malloc(r->size + 8);
	assert_int_equal(try_stream(r, r->stream, r->size), STATUS_SUCCESS);
	for (uint32_t size = 0; size < r->size; size++) {
		NTSTATUS status = try_stream(r, r->stream, size);
		bool whole = false;

		for (uint32_t at = 0; at < size;) {
			at += *(uint32_t *)(r->stream + at + 8);
			whole = at == size;
		}
		assert_int_equal(status,
				 whole ? STATUS_MORE_PROCESSING_REQUIRED : STATUS_DATA_ERROR);
	}
	for (uint32_t at = 0; at < r->size; at++) {
		NTSTATUS status;

		memcpy(copy, r->stream, r->size);
		copy[at] ^= (uint8_t)(1u << at % 8);
		status = try_stream(r, copy, r->size);
		assert_true(status == STATUS_DATA_ERROR || status == STATUS_REVISION_MISMATCH);
	}
	/* something behind the end, and another version */
	memcpy(copy, r->stream, r->size);
	memset(copy + r->size, 0, 8);
	assert_int_equal(try_stream(r, copy, r->size + 8), STATUS_DATA_ERROR);
	copy[4] = 2;
	assert_int_equal(try_stream(r, copy, r->size), STATUS_REVISION_MISMATCH);
	free(copy);
	VmbChannelStart(r->pair.server->h);
	finish(r);
}

static void inv_077_chunks_out_of_order_are_refused(void **state)
{
	struct rig *r = busy(*state, 2, 1);
	uint8_t *copy;
	uint32_t a, b, c;

	r->save_nothing = true;
	rig_save(r, 1);
	copy = malloc(r->size);
	/* the second and the third change places; one is left out; one comes twice */
	a = r->chunk_at[0], b = r->chunk_at[1], c = r->chunk_at[2];
	memcpy(copy, r->stream, r->size);
	memcpy(copy + a, r->stream + b, c - b);
	memcpy(copy + a + (c - b), r->stream + a, b - a);
	assert_int_equal(try_stream(r, copy, r->size), STATUS_DATA_ERROR);
	memcpy(copy, r->stream, a);
	memcpy(copy + a, r->stream + b, r->size - b);
	assert_int_equal(try_stream(r, copy, r->size - (b - a)), STATUS_DATA_ERROR);
	memcpy(copy, r->stream, b);
	memcpy(copy + b, r->stream + a, b - a);
	assert_int_equal(try_stream(r, copy, b + (b - a)), STATUS_DATA_ERROR);
	free(copy);
	VmbChannelStart(r->pair.server->h);
	finish(r);
}

/* ---- other channels than the one that was saved ---- */

static void ddi_069_force_new_channel_is_offered_anew(void **state)
{
	struct rig *r = busy(*state, 3, 3);
	size_t bus_size;
	void *bus;

	rig_save(r, 0);
	rig_destroy_server(r, &bus, &bus_size);
	rig_new_server(r, bus, bus_size, VMBUS_SERVER_CHANNEL_INIT_FLAG_FORCE_NEW_CHANNEL);
	assert_int_equal(rig_restore(r), STATUS_SUCCESS);
	for (unsigned int i = 0; i < 3; i++)
		kt_complete(r->pair.client, i, NULL, 0);
	rig_run(r);
	for (uint32_t n = 0; n < r->sent; n++)
		assert_int_equal(r->packets[n].removed, 2); /* once in each life */
	/* the client's instance is withdrawn; a new one is there for the next Enable */
	KT_EXPECT(r->pair.client, "OSPUC");
	await(kt_is_disabled, r->pair.client);
	assert_int_equal(VmbChannelEnable(r->pair.client->h), STATUS_SUCCESS);
	KT_EXPECT(r->pair.server, "OSP");
	rig_free(r);
}

static void field_009_a_channel_saved_closed_is_not_withdrawn(void **state)
{
	struct kt_bus *bus = *state;
	struct rig *r = rig_new(bus);
	size_t bus_size;
	void *state_bytes;

	VmbChannelDisable(r->pair.client->h);
	KT_WAIT(strchr(r->pair.server->done, 'C'));
	assert_int_equal(VmbChannelEnable(r->pair.client->h), STATUS_SUCCESS);
	await(kt_runs, r->pair.server);
	VmbChannelDisable(r->pair.client->h);
	KT_EXPECT(r->pair.server, "OSPUCOSPUC");
	rig_save(r, 0);
	rig_destroy_server(r, &state_bytes, &bus_size);
	rig_new_server(r, state_bytes, bus_size, 0);
	/* nobody has claimed it, and the guest opens: it waits, no more */
	assert_int_equal(VmbChannelEnable(r->pair.client->h), STATUS_SUCCESS);
	kt_nap(KT_QUIET_MS);
	assert_int_equal(rig_restore(r), STATUS_SUCCESS);
	rig_run(r);
	await(kt_runs, r->pair.client);
	KT_EXPECT(r->pair.server, "OSP");
	rig_free(r);
}

/* ---- signals that nobody heard ---- */

static void field_007_signals_toward_the_server_are_made_up_for(void **state)
{
	struct rig *r = rig_new(*state);
	struct kt_send *s = kt_send_new(r->pair.client);
	size_t bus_size;
	void *bus;

	rig_save(r, 0);
	kt_nap(KT_QUIET_MS);
	rig_destroy_server(r, &bus, &bus_size);
	/* the guest signals, and there is no host */
	assert_int_equal(kt_send_pattern(s, 64, 7, KT_WAITED), STATUS_SUCCESS);
	kt_nap(KT_QUIET_MS);
	rig_new_server(r, bus, bus_size, 0);
	assert_int_equal(rig_restore(r), STATUS_SUCCESS);
	rig_run(r);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_true(kt_filled(s->data, 64, 7));
	kt_send_free(s);
	rig_free(r);
}

/* A packet whose signal is lost. False: the client was looking all the same, which it may. */
static bool write_unheard(struct rig *r, uint64_t payload, unsigned int packets)
{
	struct part_port *port = &kmcl_channel_of(r->pair.server->h)->port;
	bool owed, unheard;

	assert_int_equal(vmbus_ring_write_inband(&port->out, VMBUS_PKT_INBAND, 0, 0, &payload,
						 sizeof(payload)),
			 VMBUS_RING_OK);
	owed = vmbus_ring_publish(&port->out);
	kt_nap(KT_QUIET_MS);
	kt_lock();
	unheard = r->pair.client->packet_count == packets;
	kt_unlock();
	return owed && unheard;
}

static void field_007_signals_toward_the_guest_are_made_up_for(void **state)
{
	struct rig *r = rig_new(*state);
	uint64_t deadline = kt_now_ms() + KT_LIMIT_MS, payload = 0;
	size_t bus_size;
	void *bus;

	rig_save(r, 0);
	/* the client looks until it has parked, and the host once more soon after an open */
	while (!write_unheard(r, 1234 + payload, (unsigned int)payload)) {
		payload++;
		assert_true(kt_now_ms() < deadline);
		KT_WAIT(r->pair.client->packet_count == payload);
	}
	rig_destroy_server(r, &bus, &bus_size);
	rig_new_server(r, bus, bus_size, 0);
	assert_int_equal(rig_restore(r), STATUS_SUCCESS);
	rig_run(r);
	KT_WAIT(r->pair.client->packet_count == payload + 1);
	for (uint64_t i = 0; i <= payload; i++) {
		uint64_t want = 1234 + i;

		assert_memory_equal(r->pair.client->packets[i].prefix, &want, sizeof(want));
	}
	rig_free(r);
}

static void a_frozen_server_end_goes_on_where_it_was(void **state)
{
	struct rig *r = busy(*state, 3, 3);
	struct part *part = r->pair.server->bus->part;
	struct part_save_error error;
	struct kt_call call;
	size_t size;
	void *bus;

	assert_int_equal(part_server_thaw(part), -EINVAL);
	assert_int_equal(part_server_save(part, &bus, &size, &error), -EBUSY);
	assert_non_null(strstr(error.text, "has not saved it"));
	rig_save(r, 0);
	assert_int_equal(part_server_save(part, &bus, &size, &error), 0);
	assert_int_equal(part_server_restore(part, bus, size, &error), -EBUSY);
	free(bus);
	/* frozen, it hears of nothing */
	kt_complete(r->pair.client, 0, NULL, 0);
	kt_complete(r->pair.client, 1, NULL, 0);
	kt_complete(r->pair.client, 2, NULL, 0);
	kt_call_start(&call, r->pair.client, kt_do_disable, r->pair.client->h);
	KT_STAYS(!strchr(r->pair.server->done, 'C') && !atomic_load(&call.done));
	assert_int_equal(part_server_thaw(part), 0);
	KT_WAIT(strchr(r->pair.server->done, 'C'));
	kt_call_join(&call);
	rig_free(r);
}

/* ---- what earlier versions wrote ---- */

static const GUID golden_instance = {0x60d0, 0x1d, 0x57a7, {0x80, 0, 0, 0, 0, 0, 0, 1}};

static VOID free_it(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 length)
{
	VmbPacketFree(packet);
}

static NTSTATUS save_golden(VMBCHANNEL channel, VMBPACKET packet, PVOID buffer, UINT32 size,
			    PUINT32 needed)
{
	*needed = 5;
	if (size < 5)
		return STATUS_BUFFER_TOO_SMALL;
	memcpy(buffer, "mine!", 5);
	return STATUS_SUCCESS;
}

static atomic_uint golden_packets;

static NTSTATUS restore_golden(VMBCHANNEL channel, PVOID library, UINT32 library_size, PVOID own,
			       UINT32 size)
{
	VMBPACKET packet = VmbPacketAllocate(channel);

	if (size != 5 || memcmp(own, "mine!", 5) != 0)
		kt_problem("the driver's bytes have changed");
	VmbPacketSetCompletionRoutine(packet, free_it);
	atomic_fetch_add(&golden_packets, 1);
	return VmbPacketRestore(packet, library, library_size);
}

static struct kt_chan *golden_channel(struct kt_bus *bus)
{
	struct kt_chan *c = kt_chan_new(bus, true, kt_type, golden_instance);

	assert_int_equal(VmbServerChannelInitSetSaveRestorePacketCallbacks(c->h, save_golden,
									   restore_golden),
			 STATUS_SUCCESS);
	return c;
}

/* Two packets in the queue of a channel that was never opened. */
static uint32_t write_stream(struct kt_bus *bus, uint8_t *stream, uint32_t room)
{
	struct kt_chan *c = golden_channel(bus);
	ULONG filled, required;

	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
	for (uint64_t n = 1; n <= 2; n++) {
		VMBPACKET packet = VmbPacketAllocate(c->h);

		VmbPacketSetCompletionRoutine(packet, free_it);
		assert_int_equal(VmbPacketSend(packet, &n, sizeof(n), NULL, KT_WAITED),
				 STATUS_SUCCESS);
	}
	assert_int_equal(VmbChannelSaveBegin(c->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelSaveContinue(c->h, stream, room, &filled, &required),
			 STATUS_SUCCESS);
	VmbChannelSaveEnd(c->h);
	kt_chan_free(c);
	return filled;
}

static size_t golden_file(const char *mode, void *bytes, size_t size)
{
	FILE *f = fopen(KT_VECTORS "/channel-state-1.bin", mode);

	assert_non_null(f);
	size = *mode == 'w' ? fwrite(bytes, 1, size, f) : fread(bytes, 1, size, f);
	fclose(f);
	return size;
}

static void inv_077_ddi_062_state_that_version_1_wrote_is_still_read(void **state)
{
	struct kt_bus *bus = *state;
	uint8_t golden[4096], now[4096];
	uint32_t now_size = write_stream(bus, now, sizeof(now));
	struct kt_chan *server, *client;
	uint32_t size;

	if (getenv("KMCL_WRITE_GOLDEN"))
		golden_file("wb", now, now_size);
	size = (uint32_t)golden_file("rb", golden, sizeof(golden));
	server = golden_channel(bus);
	client = kt_chan_new(bus, false, kt_type, golden_instance);
	atomic_store(&golden_packets, 0);
	assert_int_equal(VmbChannelRestoreFromBuffer(server->h, golden, size), STATUS_SUCCESS);
	assert_int_equal(atomic_load(&golden_packets), 2);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	assert_int_equal(VmbChannelEnable(client->h), STATUS_SUCCESS);
	KT_WAIT(client->packet_count == 2);
	assert_int_equal(number_of(client, 0), 1);
	assert_int_equal(number_of(client, 1), 2);
	/* this version writes what it reads */
	if (golden[4] == 1) {
		assert_int_equal(now_size, size);
		assert_memory_equal(now, golden, size);
	}
	kt_chan_free(client);
	kt_chan_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KT_TEST(ddi_063_save_begins_where_nothing_runs),
		KT_TEST(ddi_064_065_arguments_of_a_save),
		KT_TEST(ddi_071_inv_013_both_callbacks_while_disabled),
		KT_TEST(inv_070_ddi_064_too_small_a_buffer_says_how_much),
		KT_TEST(inv_071_any_schedule_of_buffers_gives_one_stream),
		KT_TEST(inv_072_ddi_083_the_save_callback_runs_once_or_twice),
		KT_TEST(ddi_083_a_failing_save_callback_ends_the_save),
		KT_TEST(inv_076_ddi_065_a_save_consumes_nothing),
		KT_TEST(ddi_065_a_save_given_up_leaves_no_trace),
		KT_TEST(ddi_063_a_close_ends_a_save),
		KT_TEST(inv_073_ddi_062_068_084_packets_come_back_in_order),
		KT_TEST(inv_074_ddi_062_restoring_asks_for_more_until_the_end),
		KT_TEST(inv_075_every_packet_ends_as_if_nothing_had_happened),
		KT_TEST(inv_075_answers_that_had_no_room_arrive),
		KT_TEST(inv_075_requests_read_and_not_delivered_are_delivered),
		KT_TEST(ddi_084_a_packet_that_is_not_restored_is_dropped),
		KT_TEST(ddi_084_062_a_failing_restore_callback_is_the_answer),
		KT_TEST(ddi_068_what_a_packet_is_restored_from),
		KT_TEST(ddi_062_packets_without_callbacks_are_not_supported),
		KT_TEST(inv_077_damaged_chunks_are_refused),
		KT_TEST(inv_077_chunks_out_of_order_are_refused),
		KT_TEST(ddi_069_force_new_channel_is_offered_anew),
		KT_TEST(field_009_a_channel_saved_closed_is_not_withdrawn),
		KT_TEST(field_007_signals_toward_the_server_are_made_up_for),
		KT_TEST(field_007_signals_toward_the_guest_are_made_up_for),
		KT_TEST(a_frozen_server_end_goes_on_where_it_was),
		KT_TEST(inv_077_ddi_062_state_that_version_1_wrote_is_still_read),
	};

	return KT_MAIN("save", tests);
}
