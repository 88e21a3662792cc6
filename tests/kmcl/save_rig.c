/* SPDX-License-Identifier: MIT */
#include "save_rig.h"

#include <errno.h>
#include <stdlib.h>

static struct rig *the;

/* ---- the driver ---- */

static uint32_t own_size(uint32_t n)
{
	return the->save_nothing || n % 3 == 0 ? 0 : n % 3 == 1 ? 4 : 40;
}

static VOID routine(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 length)
{
	uint32_t n = (uint32_t)(uintptr_t)VmbPacketGetPointer(packet);
	struct rig_packet *p = &the->packets[n];

	kt_lock();
	if (p->packet != packet || n >= the->sent)
		kt_problem("a routine runs for packet %u that is not in flight", n);
	if (status == STATUS_DEVICE_REMOVED) {
		p->removed++;
	} else {
		p->routines++;
		p->status = status;
		p->answer_length = length;
		p->answer = length >= 4 ? *(uint32_t *)buffer : 0;
	}
	p->packet = NULL;
	kt_broadcast();
	kt_unlock();
	VmbPacketFree(packet);
}

static NTSTATUS save_packet(VMBCHANNEL channel, VMBPACKET packet, PVOID buffer, UINT32 size,
			    PUINT32 needed)
{
	uint32_t n = (uint32_t)(uintptr_t)VmbPacketGetPointer(packet);

	if (KeGetCurrentIrql() != PASSIVE_LEVEL || channel != the->pair.server->h)
		kt_problem("the save callback is called in the wrong place");
	if ((size == 0) != (buffer == NULL) || (size && size < own_size(n)))
		kt_problem("the save callback gets %u bytes", size);
	the->packets[n].saves[size != 0]++;
	if (!size)
		the->saved[the->saved_count++] = n;
	if (the->save_status && (size || !own_size(n)))
		return the->save_status;
	if (size < own_size(n)) {
		*needed = own_size(n);
		return STATUS_BUFFER_TOO_SMALL;
	}
	if (size)
		kt_fill(buffer, size, n);
	return STATUS_SUCCESS;
}

static NTSTATUS restore_packet(VMBCHANNEL channel, PVOID library, UINT32 library_size, PVOID own,
			       UINT32 own_bytes)
{
	VMBPACKET packet;
	uint32_t n;

	if (KeGetCurrentIrql() != PASSIVE_LEVEL || channel != the->pair.server->h)
		kt_problem("the restore callback is called in the wrong place");
	if (the->restore_status)
		return the->restore_status;
	if (the->ordered == the->saved_count) {
		kt_problem("a packet too many is restored");
		return STATUS_UNSUCCESSFUL;
	}
	n = the->saved[the->ordered];
	if (own_bytes != own_size(n) || (own == NULL) != (own_bytes == 0) ||
	    (own && !kt_filled(own, own_bytes, n)))
		kt_problem("packet %u gets other bytes back than it saved", n);
	the->packets[n].life = the->life;
	the->packets[n].restores++;
	the->order[the->ordered++] = n;
	if (the->forget)
		return STATUS_SUCCESS;
	packet = VmbPacketAllocate(channel);
	if (!packet)
		return STATUS_INSUFFICIENT_RESOURCES;
	the->packets[n].packet = packet;
	if (VmbPacketRestore(packet, library, library_size) != STATUS_SUCCESS)
		kt_problem("packet %u is not restored", n);
	VmbPacketSetPointer(packet, (void *)(uintptr_t)n);
	VmbPacketSetCompletionRoutine(packet, routine);
	return STATUS_SUCCESS;
}

/* ---- the rig ---- */

static void configure(struct rig *r)
{
	assert_int_equal(VmbServerChannelInitSetSaveRestorePacketCallbacks(
				 r->pair.server->h, save_packet, restore_packet),
			 STATUS_SUCCESS);
}

struct rig *rig_new(struct kt_bus *bus)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->stream = malloc(RIG_STREAM);
	assert_non_null(r->stream);
	r->life = 1;
	the = r;
	r->pair = kt_pair_new(bus);
	r->pair.client->quiet = r->pair.server->quiet = false;
	configure(r);
	kt_pair_open(&r->pair);
	return r;
}

void rig_free(struct rig *r)
{
	kt_pair_free(&r->pair);
	free(r->stream);
	free(r);
	the = NULL;
}

void rig_send(struct rig *r, unsigned int count, bool wait)
{
	for (unsigned int i = 0; i < count; i++) {
		uint32_t n = r->sent, payload[4] = {n, n * 3, n * 5, ~n};
		VMBPACKET packet = VmbPacketAllocate(r->pair.server->h);

		assert_true(n < RIG_PACKETS);
		assert_non_null(packet);
		VmbPacketSetPointer(packet, (void *)(uintptr_t)n);
		VmbPacketSetCompletionRoutine(packet, routine);
		r->packets[n].packet = packet;
		r->packets[n].life = r->life;
		r->sent++;
		assert_int_equal(
			VmbPacketSend(packet, payload, sizeof(payload), NULL, wait ? KT_WAITED : 0),
			STATUS_SUCCESS);
	}
}

NTSTATUS rig_save_continue(struct rig *r, uint32_t room)
{
	ULONG filled = 0x1234, required = 0x1234;
	uint32_t left = RIG_STREAM - r->size;
	NTSTATUS status;

	if (!room || room > left)
		room = left;
	status = VmbChannelSaveContinue(r->pair.server->h, r->stream + r->size, room, &filled,
					&required);
	assert_true(filled <= room);
	if (status == STATUS_SUCCESS)
		assert_int_equal(required, 0);
	if (status == STATUS_BUFFER_TOO_SMALL) {
		assert_int_equal(filled, 0);
		assert_true(required > room);
		return VmbChannelSaveContinue(r->pair.server->h, NULL, 0, &filled, &required) ==
				       STATUS_BUFFER_TOO_SMALL
			       ? rig_save_continue(r, required)
			       : STATUS_UNSUCCESSFUL;
	}
	if (status == STATUS_BUFFER_OVERFLOW)
		assert_true(filled > 0 && required > room - filled);
	if (filled) {
		r->size += filled;
		r->chunk_at[r->chunks++] = r->size;
	}
	return status;
}

void rig_save(struct rig *r, uint32_t room)
{
	NTSTATUS status;

	VmbChannelPause(r->pair.server->h);
	r->size = 0;
	r->chunks = 0;
	r->saved_count = 0;
	for (uint32_t n = 0; n < r->sent; n++)
		r->packets[n].saves[0] = r->packets[n].saves[1] = 0;
	assert_int_equal(VmbChannelSaveBegin(r->pair.server->h), STATUS_SUCCESS);
	do {
		status = rig_save_continue(r, room);
	} while (status == STATUS_BUFFER_OVERFLOW);
	assert_int_equal(status, STATUS_SUCCESS);
	VmbChannelSaveEnd(r->pair.server->h);
}

void rig_destroy_server(struct rig *r, void **bus, size_t *bus_size)
{
	struct part *part = r->pair.server->bus->part;
	struct part_save_error error;
	int code;

	for (unsigned int i = 0; i < 1000; i++) {
		code = part_server_save(part, bus, bus_size, &error);
		if (code != -EBUSY)
			break;
		kt_nap(1); /* just being opened or closed */
	}
	if (code)
		fail_msg("%s", error.text);
	kt_chan_free(r->pair.server);
	r->pair.server = NULL;
}

void rig_new_server(struct rig *r, void *bus, size_t bus_size, uint32_t flags)
{
	struct kt_bus *b = r->pair.client->bus;
	struct part_save_error error;
	int code = part_server_restore(b->part, bus, bus_size, &error);

	if (code)
		fail_msg("%s", error.text);
	free(bus);
	r->life++;
	r->ordered = 0;
	r->pair.server = kt_chan_new(b, true, r->pair.client->type, r->pair.client->instance);
	configure(r);
	if (flags)
		assert_int_equal(VmbServerChannelInitSetFlags(r->pair.server->h, flags),
				 STATUS_SUCCESS);
}

NTSTATUS rig_restore(struct rig *r)
{
	uint32_t at = 0;
	NTSTATUS status = STATUS_UNSUCCESSFUL;

	for (uint32_t i = 0; i < r->chunks; i++) {
		status = VmbChannelRestoreFromBuffer(r->pair.server->h, r->stream + at,
						     r->chunk_at[i] - at);
		at = r->chunk_at[i];
		if (i + 1 < r->chunks && status != STATUS_MORE_PROCESSING_REQUIRED)
			return status;
	}
	return status;
}

void rig_run(struct rig *r)
{
	assert_int_equal(VmbChannelEnable(r->pair.server->h), STATUS_SUCCESS);
	VmbChannelStart(r->pair.server->h);
	part_server_restored(r->pair.server->bus->part);
}

void rig_live_on(struct rig *r)
{
	size_t bus_size;
	void *bus;

	rig_save(r, 0);
	rig_destroy_server(r, &bus, &bus_size);
	rig_new_server(r, bus, bus_size, 0);
	assert_int_equal(rig_restore(r), STATUS_SUCCESS);
	rig_run(r);
}
