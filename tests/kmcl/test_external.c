/* SPDX-License-Identifier: MIT */
/* External data: what the client describes is what the server maps, in both directions. */
#include "harness.h"

#include <stdlib.h>

/* What the server found in the last packet's external data. Written in its callback, read once the
 * packet is completed. */
static struct {
	UINT32 get_flags;
	NTSTATUS status, again, bad_flags, null_mdl;
	bool same;
	uint32_t total, chain;
	uint8_t data[256 * 1024];
	uint8_t write; /* not 0: overwrite the data with it */
	bool irql_ok;
} found;

static void look(PMDL mdl)
{
	found.total = found.chain = 0;
	for (; mdl; mdl = mdl->Next) {
		uint32_t count = MmGetMdlByteCount(mdl);
		uint8_t *va = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority);

		if (!va) {
			kt_problem("external data cannot be mapped");
			return;
		}
		if (found.total + count > sizeof(found.data)) {
			kt_problem("more external data than was sent");
			return;
		}
		memcpy(found.data + found.total, va, count);
		if (found.write)
			memset(va, found.write, count);
		found.total += count;
		found.chain++;
	}
}

static bool get_external(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
			 UINT32 flags)
{
	PMDL mdl = NULL, again = NULL, no = NULL;

	(void)c;
	(void)buffer;
	(void)length;
	(void)flags;
	found.bad_flags = VmbChannelPacketGetExternalData(packet, 2, &no);
	found.null_mdl = VmbChannelPacketGetExternalData(packet, 0, NULL);
	found.status = VmbChannelPacketGetExternalData(packet, found.get_flags, &mdl);
	found.same = true;
	if (found.status != STATUS_SUCCESS)
		return false;
	found.again = VmbChannelPacketGetExternalData(packet, found.get_flags, &again);
	found.same = again == mdl && no == NULL;
	look(mdl);
	return false;
}

static struct kt_pair open_pair(struct kt_bus *bus)
{
	struct kt_pair p = kt_pair_new(bus);

	memset(&found, 0, sizeof(found));
	p.server->on_packet = get_external;
	kt_pair_open(&p);
	return p;
}

static void done(struct kt_send *s, unsigned int count)
{
	KT_WAIT(atomic_load(&s->routines) == count);
	assert_int_equal(s->status, STATUS_SUCCESS);
}

static void ddi_057_inv_047_server_sees_the_senders_memory(void **state)
{
	static const uint32_t sizes[] = {1, 7, 4095, 4096, 4097, 65536, 100001};
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client);

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *va, inline_data[24];
		PMDL mdl = kt_mdl_alloc(bus, sizes[i], &va);

		kt_fill(va, sizes[i], i);
		kt_fill(inline_data, sizeof(inline_data), i + 50);
		found.get_flags = i & 1 ? VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAG_READ_ONLY : 0;
		assert_int_equal(
			VmbPacketSend(s->packet, inline_data, sizeof(inline_data), mdl, KT_WAITED),
			STATUS_SUCCESS);
		done(s, i + 1);
		assert_int_equal(p.server->packets[i].flags,
				 VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA);
		assert_int_equal(p.server->packets[i].length, sizeof(inline_data));
		assert_true(kt_filled(p.server->packets[i].prefix, sizeof(inline_data), i + 50));
		assert_int_equal(found.status, STATUS_SUCCESS);
		assert_int_equal(found.again, STATUS_SUCCESS);
		assert_true(found.same);
		assert_int_equal(found.bad_flags, STATUS_INVALID_PARAMETER_2);
		assert_int_equal(found.null_mdl, STATUS_INVALID_PARAMETER_3);
		assert_int_equal(found.total, sizes[i]);
		assert_true(kt_filled(found.data, sizes[i], i));
		kt_mdl_free(bus, mdl);
	}
	kt_send_free(s);
	kt_pair_free(&p);
}

static void inv_047_no_external_data(void **state)
{
	struct kt_pair p = open_pair(*state);
	struct kt_send *s = kt_send_new(p.client);

	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	done(s, 1);
	assert_int_equal(p.server->packets[0].flags, 0);
	assert_int_equal(found.status, STATUS_NOT_FOUND);
	kt_send_free(s);
	kt_pair_free(&p);
}

static void inv_047_writes_reach_the_sender(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client);
	uint8_t *va;
	PMDL mdl = kt_mdl_alloc(bus, 10000, &va);

	memset(va, 1, 10000);
	found.write = 0xa5;
	/* a part: what is beside it stays */
	assert_int_equal(
		VmbPacketSendWithExternalMdl(s->packet, NULL, 0, mdl, 100, 9000, KT_WAITED),
		STATUS_SUCCESS);
	done(s, 1);
	for (unsigned int i = 0; i < 10000; i++)
		assert_int_equal(va[i], i >= 100 && i < 9100 ? 0xa5 : 1);
	kt_mdl_free(bus, mdl);
	kt_send_free(s);
	kt_pair_free(&p);
}

/* A buffer that the other side cannot reach is carried both ways all the same. */
static void memory_of_any_kind_can_be_external_data(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client);
	uint8_t *heap = malloc(9000);
	struct nt_driver *previous = kt_enter(bus, false);
	PMDL mdl = IoAllocateMdl(heap, 9000, FALSE, FALSE, NULL);

	MmBuildMdlForNonPagedPool(mdl);
	kt_leave(previous);
	kt_fill(heap, 9000, 3);
	found.write = 0x5a;
	assert_int_equal(VmbPacketSend(s->packet, NULL, 0, mdl, KT_WAITED), STATUS_SUCCESS);
	done(s, 1);
	assert_int_equal(found.total, 9000);
	assert_true(kt_filled(found.data, 9000, 3));
	for (unsigned int i = 0; i < 9000; i++)
		assert_int_equal(heap[i], 0x5a);
	previous = kt_enter(bus, false);
	IoFreeMdl(mdl);
	kt_leave(previous);
	free(heap);
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_057_offset_and_length(void **state)
{
	static const struct {
		uint32_t offset, length, expected;
	} parts[] = {
		{0, 0, 20000},        {0, 1, 1},     {1, 0, 19999}, {4096, 4096, 4096},
		{5000, 12000, 12000}, {19999, 0, 1}, {19999, 1, 1}, {4095, 2, 2},
		{0, 20000, 20000},
	};
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client);
	uint8_t *va;
	PMDL mdl = kt_mdl_alloc(bus, 20000, &va);

	kt_fill(va, 20000, 9);
	for (unsigned int i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, NULL, 0, mdl,
							      parts[i].offset, parts[i].length,
							      KT_WAITED),
				 STATUS_SUCCESS);
		done(s, i + 1);
		assert_int_equal(found.total, parts[i].expected);
		assert_memory_equal(found.data, va + parts[i].offset, parts[i].expected);
	}
	kt_mdl_free(bus, mdl);
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_057_chains(void **state)
{
	static const uint32_t sizes[] = {100, 4096, 1, 6000};
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client);
	uint8_t *va[4], whole[10197];
	uint32_t total = 0;
	PMDL mdl[4];

	for (unsigned int i = 0; i < 4; i++) {
		mdl[i] = kt_mdl_alloc(bus, sizes[i], &va[i]);
		kt_fill(va[i], sizes[i], i);
		memcpy(whole + total, va[i], sizes[i]);
		total += sizes[i];
	}
	for (unsigned int i = 0; i < 3; i++)
		mdl[i]->Next = mdl[i + 1];
	assert_int_equal(VmbPacketSend(s->packet, NULL, 0, mdl[0], KT_WAITED), STATUS_SUCCESS);
	done(s, 1);
	assert_int_equal(found.total, total);
	assert_memory_equal(found.data, whole, total);
	/* from the second MDL into the last */
	assert_int_equal(
		VmbPacketSendWithExternalMdl(s->packet, NULL, 0, mdl[0], 150, 5000, KT_WAITED),
		STATUS_SUCCESS);
	done(s, 2);
	assert_int_equal(found.total, 5000);
	assert_memory_equal(found.data, whole + 150, 5000);
	assert_int_equal(
		VmbPacketSendWithExternalMdl(s->packet, NULL, 0, mdl[0], 4197, 0, KT_WAITED),
		STATUS_SUCCESS);
	done(s, 3);
	assert_int_equal(found.total, total - 4197);
	assert_memory_equal(found.data, whole + 4197, total - 4197);
	for (unsigned int i = 0; i < 4; i++)
		kt_mdl_free(bus, mdl[i]);
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_057_force_mdl_length(void **state)
{
	const uint32_t forced = KT_WAITED | VMBUS_CHANNEL_FORMAT_FLAG_FORCE_MDL_LENGTH;
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client);
	uint8_t *va = kt_guest_alloc(bus, 8192), *page;
	struct nt_driver *previous;
	PMDL mdl;

	page = (uint8_t *)(((uintptr_t)va + 4095) & ~(uintptr_t)4095);
	kt_fill(page, 4096, 4);
	previous = kt_enter(bus, false);
	mdl = IoAllocateMdl(page, 1000, FALSE, FALSE, NULL);
	MmBuildMdlForNonPagedPool(mdl);
	kt_leave(previous);
	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, NULL, 0, mdl, 0, 3000, KT_WAITED),
			 STATUS_INVALID_PARAMETER_6);
	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, NULL, 0, mdl, 0, 4097, forced),
			 STATUS_INVALID_PARAMETER_6); /* past the last page */
	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, NULL, 0, mdl, 0, 3000, forced),
			 STATUS_SUCCESS);
	done(s, 1);
	assert_int_equal(found.total, 3000);
	assert_true(kt_filled(found.data, 3000, 4));
	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, NULL, 0, mdl, 96, 4000, forced),
			 STATUS_SUCCESS); /* up to its very end */
	done(s, 2);
	assert_int_equal(found.total, 4000);
	assert_memory_equal(found.data, page + 96, 4000);
	previous = kt_enter(bus, false);
	IoFreeMdl(mdl);
	kt_leave(previous);
	kt_guest_free(bus, va);
	kt_send_free(s);
	kt_pair_free(&p);
}

static void ddi_057_codes(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client), *t = kt_send_new(p.server);
	PMDL mdl = kt_mdl_alloc(bus, 5000, NULL);
	uint64_t data = 0;

	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, &data, 8, mdl, 0, 0, 0),
			 STATUS_INVALID_PARAMETER_7);
	assert_int_equal(
		VmbPacketSendWithExternalMdl(s->packet, &data, 8, mdl, 0, 0, KT_WAITED | 8),
		STATUS_INVALID_PARAMETER_7);
	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, &data, 8, NULL, 0, 0, KT_WAITED),
			 STATUS_INVALID_PARAMETER_4);
	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, &data, 8, mdl, 5001, 0, KT_WAITED),
			 STATUS_INVALID_PARAMETER_5);
	assert_int_equal(
		VmbPacketSendWithExternalMdl(s->packet, &data, 8, mdl, UINT32_MAX, 1, KT_WAITED),
		STATUS_INVALID_PARAMETER_5);
	assert_int_equal(
		VmbPacketSendWithExternalMdl(s->packet, &data, 8, mdl, 4000, 1001, KT_WAITED),
		STATUS_INVALID_PARAMETER_6);
	assert_int_equal(
		VmbPacketSendWithExternalMdl(s->packet, &data, 8, mdl, 1, UINT32_MAX, KT_WAITED),
		STATUS_INVALID_PARAMETER_6);
	assert_int_equal(VmbPacketSendWithExternalMdl(s->packet, &data, 4097, mdl, 0, 0, KT_WAITED),
			 STATUS_INVALID_PARAMETER_3);
	assert_false(NT_SUCCESS(
		VmbPacketSendWithExternalMdl(t->packet, &data, 8, mdl, 0, 0, KT_WAITED)));
	KT_STAYS(p.server->packet_count == 0 && p.client->packet_count == 0);
	assert_int_equal(atomic_load(&s->routines), 0);
	kt_mdl_free(bus, mdl);
	kt_send_free(s);
	kt_send_free(t);
	kt_pair_free(&p);
}

static void ddi_058_inv_047_page_numbers(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client), *t = kt_send_new(p.server);
	PFN_NUMBER pfns[5], sent[5];
	uint64_t gpa[5], data = 1;
	uint8_t *page[5];

	for (unsigned int i = 0; i < 5; i++) {
		assert_int_equal(part_pages_alloc(part_client(bus->part), 1, &gpa[i]), 0);
		page[i] = part_memory_at(part_client(bus->part), gpa[i], 4096);
		assert_non_null(page[i]);
	}
	for (unsigned int i = 0; i < 5; i++) { /* in an order of their own */
		pfns[i] = sent[i] = gpa[(i * 2) % 5] >> 12;
		kt_fill(page[(i * 2) % 5], 4096, i);
	}
	assert_int_equal(VmbPacketSendWithExternalPfns(s->packet, &data, 8, pfns, 5, 0),
			 STATUS_INVALID_PARAMETER_6);
	assert_int_equal(VmbPacketSendWithExternalPfns(s->packet, &data, 8, pfns, 0, KT_WAITED),
			 STATUS_INVALID_PARAMETER_5);
	assert_int_equal(VmbPacketSendWithExternalPfns(s->packet, &data, 8, NULL, 5, KT_WAITED),
			 STATUS_INVALID_PARAMETER_4);
	assert_int_equal(
		VmbPacketSendWithExternalPfns(s->packet, &data, 8, pfns, 5, KT_WAITED | 0x100),
		STATUS_INVALID_PARAMETER_6);
	assert_int_equal(VmbPacketSendWithExternalPfns(s->packet, &data, 8, pfns, 257, KT_WAITED),
			 STATUS_INVALID_BUFFER_SIZE); /* more than 1 MiB */
	assert_false(
		NT_SUCCESS(VmbPacketSendWithExternalPfns(t->packet, &data, 8, pfns, 5, KT_WAITED)));
	found.write = 0x77;
	assert_int_equal(VmbPacketSendWithExternalPfns(s->packet, &data, 8, sent, 5, KT_WAITED),
			 STATUS_SUCCESS);
	memset(sent, 0xff, sizeof(sent)); /* copied */
	done(s, 1);
	assert_int_equal(found.total, 5 * 4096);
	for (unsigned int i = 0; i < 5; i++)
		assert_true(kt_filled(found.data + (size_t)i * 4096, 4096, i));
	for (unsigned int i = 0; i < 5; i++)
		for (unsigned int n = 0; n < 4096; n++)
			assert_int_equal(page[i][n], 0x77);
	for (unsigned int i = 0; i < 5; i++)
		part_pages_free(part_client(bus->part), gpa[i], 1);
	kt_send_free(s);
	kt_send_free(t);
	kt_pair_free(&p);
}

static void a_page_outside_guest_memory(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	struct kt_send *s = kt_send_new(p.client);
	PFN_NUMBER pfns[2] = {1, 0x7fffffffff};
	uint64_t data = 1, gpa;

	assert_int_equal(part_pages_alloc(part_client(bus->part), 1, &gpa), 0);
	pfns[0] = gpa >> 12;
	assert_int_equal(VmbPacketSendWithExternalPfns(s->packet, &data, 8, pfns, 2, KT_WAITED),
			 STATUS_SUCCESS);
	done(s, 1);
	assert_int_equal(found.status, STATUS_INVALID_ADDRESS);
	part_pages_free(part_client(bus->part), gpa, 1);
	kt_send_free(s);
	kt_pair_free(&p);
}

/* ---- external data that is not there yet ---- */

static struct {
	atomic_uint pended; /* deliveries that were left for later */
	VMBPACKETCOMPLETION waits;
	unsigned int number; /* of the packet that waits */
	bool complete;       /* in spite of STATUS_PENDING */
	atomic_uint wrong;
} later;

/* Leaves a packet whose data pends; when one comes back it must be the next, and then the data is
 * there. */
static bool take_or_leave(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer,
			  UINT32 length, UINT32 flags)
{
	unsigned int number = *(uint8_t *)buffer;
	PMDL mdl = NULL, again = NULL;
	NTSTATUS status = VmbChannelPacketGetExternalData(packet, 0, &mdl);

	(void)flags;
	if (length < 8 || (later.waits && (packet != later.waits || number != later.number)))
		atomic_fetch_add(&later.wrong, 1);
	if (status == STATUS_PENDING) {
		if (later.waits || mdl ||
		    VmbChannelPacketGetExternalData(packet, 0, &again) != STATUS_PENDING || again)
			atomic_fetch_add(&later.wrong, 1);
		kt_comes_again(c);
		if (later.complete)
			VmbChannelPacketComplete(packet, NULL, 0);
		else
			later.waits = packet;
		later.number = number;
		atomic_fetch_add(&later.pended, 1);
		return true;
	}
	later.waits = NULL;
	if (status != STATUS_SUCCESS)
		atomic_fetch_add(&later.wrong, 1);
	else
		look(mdl);
	if (!kt_filled(found.data, found.total, number))
		atomic_fetch_add(&later.wrong, 1);
	return false;
}

struct load {
	struct kt_send *s;
	PMDL mdl;
};

static void load_send(struct kt_bus *bus, struct kt_chan *c, struct load *l, unsigned int number)
{
	uint8_t *va, inline_data[8] = {(uint8_t)number};

	l->s = kt_send_new(c);
	l->mdl = kt_mdl_alloc(bus, 5000, &va);
	kt_fill(va, 5000, number);
	assert_int_equal(VmbPacketSend(l->s->packet, inline_data, 8, l->mdl, KT_WAITED),
			 STATUS_SUCCESS);
}

static void load_free(struct kt_bus *bus, struct load *l)
{
	kt_send_free(l->s);
	kt_mdl_free(bus, l->mdl);
}

static struct kt_pair pending_pair(struct kt_bus *bus, uint32_t every, uint32_t delay_us)
{
	struct kt_pair p = kt_pair_new(bus);

	memset(&found, 0, sizeof(found));
	memset(&later, 0, sizeof(later));
	p.server->on_packet = take_or_leave;
	kt_pair_open(&p);
	kmcl_inject_pending(every, delay_us);
	return p;
}

static void pending_in_order(struct kt_bus *bus, uint32_t every, uint32_t delay_us, bool passive)
{
	enum {
		COUNT = 40
	};
	struct kt_pair p = pending_pair(bus, every, delay_us);
	struct load loads[COUNT];
	unsigned int next = 0;

	VmbChannelSetIncomingProcessingAtPassive(p.server->h, passive);
	for (unsigned int i = 0; i < COUNT; i++)
		load_send(bus, p.client, &loads[i], i);
	for (unsigned int i = 0; i < COUNT; i++) {
		done(loads[i].s, 1);
		if (i)
			assert_true(loads[i].s->order > loads[i - 1].s->order);
	}
	KT_WAIT(p.server->batch_sum == COUNT);
	assert_int_equal(atomic_load(&later.wrong), 0);
	assert_true(atomic_load(&later.pended) >= COUNT / every - 1);
	assert_int_equal(p.server->packet_count, COUNT + atomic_load(&later.pended));
	for (unsigned int i = 0; i < p.server->packet_count; i++) {
		struct kt_packet *seen = &p.server->packets[i];

		assert_true(seen->prefix[0] == next || (next && seen->prefix[0] == next - 1));
		next = seen->prefix[0] + 1u;
	}
	kmcl_inject_pending(0, 0);
	for (unsigned int i = 0; i < COUNT; i++)
		load_free(bus, &loads[i]);
	kt_pair_free(&p);
}

static void ddi_040_inv_046_pending_data_comes_again_in_order(void **state)
{
	pending_in_order(*state, 3, 2000, false);
	pending_in_order(*state, 1, 300, false);
	pending_in_order(*state, 2, 0, false);
}

static void ddi_040_inv_046_pending_at_passive_level(void **state)
{
	pending_in_order(*state, 3, 1000, true);
}

/* Nothing behind the packet is delivered while it waits, and the quota does not count it. */
static void ddi_040_inv_046_what_pends_holds_up_the_queue(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = pending_pair(bus, 1, 100000);
	struct load first, second;

	VmbChannelSetTransactionQuota(p.server->h, 1);
	load_send(bus, p.client, &first, 0);
	KT_WAIT(p.server->packet_count == 1);
	load_send(bus, p.client, &second, 1);
	KT_STAYS(p.server->packet_count == 1);
	done(first.s, 1);
	done(second.s, 1);
	assert_true(second.s->order > first.s->order);
	assert_int_equal(atomic_load(&later.wrong), 0);
	kmcl_inject_pending(0, 0);
	load_free(bus, &first);
	load_free(bus, &second);
	kt_pair_free(&p);
}

static void ddi_089_pending_over_a_pause(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = pending_pair(bus, 1, 20000);
	struct load load;

	load_send(bus, p.client, &load, 0);
	KT_WAIT(p.server->packet_count == 1);
	VmbChannelPause(p.server->h); /* nothing is outstanding: the packet waits in the queue */
	KT_EXPECT(p.server, "OSPU");
	kt_nap(40);
	assert_int_equal(p.server->packet_count, 1);
	VmbChannelStart(p.server->h);
	done(load.s, 1);
	assert_int_equal(p.server->packet_count, 2);
	assert_int_equal(atomic_load(&later.wrong), 0);
	kmcl_inject_pending(0, 0);
	load_free(bus, &load);
	kt_pair_free(&p);
}

/* A close does not wait for data that is far away, and the packet is not delivered again. */
static void ddi_089_pending_at_a_close(void **state)
{
	struct kt_bus *bus = *state;

	for (unsigned int remote = 0; remote < 2; remote++) {
		struct kt_pair p = pending_pair(bus, 1, 30000000);
		uint64_t begun = kt_now_ms();
		struct load load;

		load_send(bus, p.client, &load, 0);
		KT_WAIT(p.server->packet_count == 1);
		VmbChannelDisable(remote ? p.client->h : p.server->h);
		KT_EXPECT(p.server, "OSPUC");
		KT_WAIT(atomic_load(&load.s->routines) == 1);
		assert_int_equal(load.s->status, STATUS_DEVICE_REMOVED);
		assert_int_equal(p.server->packet_count, 1);
		assert_true(kt_now_ms() - begun < 15000);
		kmcl_inject_pending(0, 0);
		KT_EXPECT(p.client, "OSPUC");
		load_free(bus, &load);
		kt_pair_free(&p);
	}
}

static void ddi_086_completing_what_pends_is_a_violation(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = pending_pair(bus, 1, 1000);
	unsigned int before = kt_violations();
	struct load load;

	later.complete = true;
	load_send(bus, p.client, &load, 0);
	done(load.s, 1);
	KT_WAIT(kt_violations() == before + 1);
	kt_violations_expected(1);
	KT_STAYS(p.server->packet_count == 1); /* it ended, once */
	kmcl_inject_pending(0, 0);
	load_free(bus, &load);
	kt_pair_free(&p);
}

/* A packet that was deferred with its data mapped gives the mapping up when it is discarded. */
static bool map_and_defer(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer,
			  UINT32 length, UINT32 flags)
{
	PMDL mdl = NULL;

	(void)buffer;
	(void)length;
	(void)flags;
	if (VmbChannelPacketGetExternalData(packet, 0, &mdl) != STATUS_SUCCESS ||
	    !MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority))
		atomic_fetch_add(&later.wrong, 1);
	kt_defer(c, packet);
	return true;
}

static void mappings_of_discarded_packets_are_given_up(void **state)
{
	struct part_options o = {
		.memory = 48u << 20, .vps = 1, .server_dispatchers = 1, .stitches = 24};
	struct kt_bus bus;

	(void)state;
	memset(&later, 0, sizeof(later));
	kt_bus_create(&bus, &o);
	for (unsigned int i = 0; i < 30; i++) {
		struct kt_pair p = kt_pair_new(&bus);
		uint8_t *memory = kt_guest_alloc(&bus, 16384);
		PFN_NUMBER pfns[2];
		struct kt_send *s;
		uint64_t gpa;

		assert_true(part_memory_gpa(part_client(bus.part), memory + 8192, &gpa));
		pfns[0] = gpa >> PAGE_SHIFT; /* in no order: they must be stitched */
		pfns[1] = pfns[0] - 1;
		p.server->on_packet = map_and_defer;
		p.server->quiet = true;
		kt_pair_open(&p);
		s = kt_send_new(p.client);
		assert_int_equal(
			VmbPacketSendWithExternalPfns(s->packet, NULL, 0, pfns, 2, KT_WAITED),
			STATUS_SUCCESS);
		KT_WAIT(atomic_load(&p.server->delivered) >= 2);
		VmbChannelDisable(p.client->h);
		KT_EXPECT(p.server, "OSPUC");
		assert_int_equal(atomic_load(&later.wrong), 0);
		kt_send_free(s);
		kt_pair_free(&p);
		kt_guest_free(&bus, memory);
	}
	kt_bus_destroy(&bus);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_057_inv_047_server_sees_the_senders_memory),
		KT_TEST(inv_047_no_external_data),
		KT_TEST(inv_047_writes_reach_the_sender),
		KT_TEST(memory_of_any_kind_can_be_external_data),
		KT_TEST(ddi_057_offset_and_length),
		KT_TEST(ddi_057_chains),
		KT_TEST(ddi_057_force_mdl_length),
		KT_TEST(ddi_057_codes),
		KT_TEST(ddi_058_inv_047_page_numbers),
		KT_TEST(a_page_outside_guest_memory),
		KT_TEST(ddi_040_inv_046_pending_data_comes_again_in_order),
		KT_TEST(ddi_040_inv_046_pending_at_passive_level),
		KT_TEST(ddi_040_inv_046_what_pends_holds_up_the_queue),
		KT_TEST(ddi_089_pending_over_a_pause),
		KT_TEST(ddi_089_pending_at_a_close),
		KT_TEST(ddi_086_completing_what_pends_is_a_violation),
		KT_TEST(mappings_of_discarded_packets_are_given_up),
	};

	return KT_MAIN("kmcl-external", tests);
}
