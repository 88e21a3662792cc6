/* SPDX-License-Identifier: MIT */
/* GPADLs: described by the client, mapped by the server, taken back; and what a close does to them.
 */
#include "harness.h"

#include "kmcl/verifier.h"

#include <stdlib.h>

static void enable(struct kt_chan *c)
{
	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
}

static struct kt_pair open_pair(struct kt_bus *bus)
{
	struct kt_pair p = kt_pair_new(bus);

	kt_pair_open(&p);
	return p;
}

static UINT32 create(struct kt_pair *p, UINT32 flags, void *memory, UINT32 bytes)
{
	UINT32 handle = 0;

	assert_int_equal(
		VmbChannelCreateGpadlFromBuffer(p->client->h, flags, memory, bytes, &handle),
		STATUS_SUCCESS);
	assert_int_not_equal(handle, 0);
	return handle;
}

/* Maps, gives the bytes to `use`, unmaps. */
static void with_mapping(struct kt_pair *p, UINT32 flags, UINT32 handle,
			 void (*use)(uint8_t *va, uint32_t bytes, void *arg), void *arg)
{
	PMDL mdl = NULL, m;

	assert_int_equal(VmbChannelMapGpadl(p->server->h, flags, handle, &mdl), STATUS_SUCCESS);
	assert_non_null(mdl);
	for (m = mdl; m; m = m->Next) {
		uint8_t *va = MmGetSystemAddressForMdlSafe(m, NormalPagePriority);

		assert_non_null(va);
		use(va, MmGetMdlByteCount(m), arg);
	}
	VmbChannelUnmapGpadl(p->server->h, handle);
}

struct gathered {
	uint8_t data[128 * 1024];
	uint32_t bytes, ranges;
};

static void gather(uint8_t *va, uint32_t bytes, void *arg)
{
	struct gathered *g = arg;

	assert_true(g->bytes + bytes <= sizeof(g->data));
	memcpy(g->data + g->bytes, va, bytes);
	g->bytes += bytes;
	g->ranges++;
}

static void overwrite(uint8_t *va, uint32_t bytes, void *arg)
{
	memset(va, *(uint8_t *)arg, bytes);
}

static struct gathered *read_all(struct kt_pair *p, UINT32 handle)
{
	static struct gathered g;

	memset(&g, 0, sizeof(g));
	with_mapping(p, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY, handle, gather, &g);
	return &g;
}

static void ddi_022_061_inv_060_server_sees_the_clients_bytes(void **state)
{
	static const uint32_t sizes[] = {1, 100, 4096, 4097, 65536, 100000};
	static uint8_t expected[128 * 1024];
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *memory = kt_guest_alloc(bus, sizes[i] + 16), byte = 0x42;
		struct gathered *g;
		UINT32 handle;

		kt_fill(memory, sizes[i] + 16, i);
		handle = create(&p, 0, memory + 5, sizes[i]); /* any alignment */
		g = read_all(&p, handle);
		assert_int_equal(g->bytes, sizes[i]);
		assert_memory_equal(g->data, memory + 5, sizes[i]);
		with_mapping(&p, 0, handle, overwrite, &byte);
		kt_fill(expected, sizes[i] + 16, i); /* beside it nothing was touched */
		memset(expected + 5, byte, sizes[i]);
		assert_memory_equal(memory, expected, sizes[i] + 16);
		VmbChannelDeleteGpadl(p.client->h, handle);
		kt_guest_free(bus, memory);
	}
	kt_pair_free(&p);
}

static void ddi_023_inv_060_mdl_chains_offsets_and_lengths(void **state)
{
	static const uint32_t sizes[] = {300, 4096, 5000};
	static const struct {
		uint32_t offset, length, expected, ranges;
	} parts[] = {
		{0, 0, 9396, 3},   {0, 9396, 9396, 3},   {0, 300, 300, 1}, {299, 2, 2, 2},
		{300, 0, 9096, 2}, {310, 4000, 4000, 1}, {9395, 0, 1, 1},  {100, 9000, 9000, 3},
	};
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	uint8_t *va[3], whole[9396];
	uint32_t total = 0;
	UINT32 handle = 77;
	PMDL mdl[3];

	for (unsigned int i = 0; i < 3; i++) {
		mdl[i] = kt_mdl_alloc(bus, sizes[i], &va[i]);
		kt_fill(va[i], sizes[i], i);
		memcpy(whole + total, va[i], sizes[i]);
		total += sizes[i];
	}
	mdl[0]->Next = mdl[1];
	mdl[1]->Next = mdl[2];
	for (unsigned int i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct gathered *g;

		assert_int_equal(VmbChannelCreateGpadlFromMdl(p.client->h, 0, mdl[0],
							      parts[i].offset, parts[i].length,
							      &handle),
				 STATUS_SUCCESS);
		g = read_all(&p, handle);
		assert_int_equal(g->bytes, parts[i].expected);
		assert_int_equal(g->ranges, parts[i].ranges); /* one for every MDL */
		assert_memory_equal(g->data, whole + parts[i].offset, parts[i].expected);
		VmbChannelDeleteGpadl(p.client->h, handle);
	}
	handle = 77;
	assert_int_equal(VmbChannelCreateGpadlFromMdl(p.client->h, 0, mdl[0], 9396, 0, &handle),
			 STATUS_INVALID_PARAMETER_4);
	assert_int_equal(
		VmbChannelCreateGpadlFromMdl(p.client->h, 0, mdl[0], UINT32_MAX, 1, &handle),
		STATUS_INVALID_PARAMETER_4);
	assert_int_equal(VmbChannelCreateGpadlFromMdl(p.client->h, 0, mdl[0], 9000, 397, &handle),
			 STATUS_INVALID_PARAMETER_5);
	assert_int_equal(
		VmbChannelCreateGpadlFromMdl(p.client->h, 0, mdl[0], 1, UINT32_MAX, &handle),
		STATUS_INVALID_PARAMETER_5);
	assert_int_equal(VmbChannelCreateGpadlFromMdl(p.client->h, 2, mdl[0], 0, 0, &handle),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelCreateGpadlFromMdl(p.client->h, 0, NULL, 0, 0, &handle),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbChannelCreateGpadlFromMdl(p.client->h, 0, mdl[0], 0, 0, NULL),
			 STATUS_INVALID_PARAMETER_6);
	assert_int_equal(handle, 77);
	for (unsigned int i = 0; i < 3; i++)
		kt_mdl_free(bus, mdl[i]);
	kt_pair_free(&p);
}

static void ddi_022_create_codes(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	uint8_t *memory = kt_guest_alloc(bus, 64), *heap = malloc(64);
	UINT32 handle = 77;

	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, memory, 64, &handle),
			 STATUS_INVALID_DEVICE_STATE);
	enable(p.client);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, memory, 64, &handle),
			 STATUS_INVALID_DEVICE_STATE);
	VmbChannelDisable(p.client->h);
	kt_pair_open(&p);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 2, memory, 64, &handle),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, NULL, 64, &handle),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, memory, 0, &handle),
			 STATUS_INVALID_PARAMETER_4);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, memory, 64, NULL),
			 STATUS_INVALID_PARAMETER_5);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, heap, 64, &handle),
			 STATUS_INVALID_ADDRESS);
	assert_int_equal(handle, 77);
	free(heap);
	kt_guest_free(bus, memory);
	kt_pair_free(&p);
}

static void ddi_061_066_map_and_unmap_codes(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	uint8_t *memory = kt_guest_alloc(bus, 64);
	UINT32 handle;
	PMDL mdl = NULL;

	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, 1, &mdl), STATUS_INVALID_DEVICE_STATE);
	kt_pair_open(&p);
	handle = create(&p, 0, memory, 64);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, handle + 1000, &mdl),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, 0, &mdl), STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 2, handle, &mdl),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, handle, NULL),
			 STATUS_INVALID_PARAMETER_4);
	assert_null(mdl);
	KT_VIOLATES(VmbChannelUnmapGpadl(p.server->h, handle)); /* not mapped */
	KT_VIOLATES(VmbChannelUnmapGpadl(p.server->h, handle + 1000));
	KT_VIOLATES(VmbChannelDeleteGpadl(p.client->h, handle + 1000));
	KT_VIOLATES(VmbChannelDeleteGpadl(p.client->h, 0));
	VmbChannelDeleteGpadl(p.client->h, handle);
	KT_VIOLATES(VmbChannelDeleteGpadl(p.client->h, handle)); /* gone */
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, handle, &mdl),
			 STATUS_INVALID_PARAMETER_3);
	kt_guest_free(bus, memory);
	kt_pair_free(&p);
}

static void ddi_061_066_inv_061_one_mapping_at_a_time(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	uint8_t *memory = kt_guest_alloc(bus, 8192);
	UINT32 handle = create(&p, 0, memory, 8192);
	PMDL mdl, second = NULL;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, handle, &mdl), STATUS_SUCCESS);
		assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, handle, &second),
				 STATUS_SHARING_VIOLATION);
		assert_int_equal(VmbChannelMapGpadl(p.server->h, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY,
						    handle, &second),
				 STATUS_SHARING_VIOLATION);
		assert_null(second);
		VmbChannelUnmapGpadl(p.server->h, handle);
		KT_VIOLATES(VmbChannelUnmapGpadl(p.server->h, handle));
	}
	VmbChannelDeleteGpadl(p.client->h, handle);
	kt_guest_free(bus, memory);
	kt_pair_free(&p);
}

static void ddi_022_061_inv_062_read_only(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	uint8_t *memory = kt_guest_alloc(bus, 4096);
	UINT32 handle = create(&p, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY, memory, 4096);
	PMDL mdl = NULL;

	kt_fill(memory, 4096, 8);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, handle, &mdl), STATUS_ACCESS_DENIED);
	assert_null(mdl);
	assert_true(kt_filled(read_all(&p, handle)->data, 4096, 8));
	VmbChannelDeleteGpadl(p.client->h, handle);
	kt_guest_free(bus, memory);
	kt_pair_free(&p);
}

static UINT32 doomed;

static void delete_doomed(void *channel)
{
	VmbChannelDeleteGpadl(channel, doomed);
}

static void ddi_024_066_inv_063_delete_waits_for_the_unmap(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	uint8_t *memory = kt_guest_alloc(bus, 4096);
	struct kt_call call;
	PMDL mdl;

	doomed = create(&p, 0, memory, 4096);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, doomed, &mdl), STATUS_SUCCESS);
	kt_call_start(&call, p.client, delete_doomed, p.client->h);
	KT_STAYS(!atomic_load(&call.done));
	VmbChannelUnmapGpadl(p.server->h, doomed);
	kt_call_join(&call);
	kt_guest_free(bus, memory);
	kt_pair_free(&p);
}

static void inv_063_delete_does_not_wait_for_a_host_that_is_gone(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = open_pair(bus);
	uint8_t *memory = kt_guest_alloc(bus, 4096);
	struct kt_call call;
	PMDL mdl;

	doomed = create(&p, 0, memory, 4096);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, doomed, &mdl), STATUS_SUCCESS);
	kt_call_start(&call, p.client, delete_doomed, p.client->h);
	KT_STAYS(!atomic_load(&call.done));
	VmbChannelDisable(p.server->h); /* its mapping, which the driver left, goes with it */
	kt_call_join(&call);
	KT_EXPECT(p.client, "OSPUC");
	kt_violations_expected(kmcl_verify());
	kt_guest_free(bus, memory);
	kt_pair_free(&p);
}

static void inv_064_live_handles_are_unique(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p[2] = {open_pair(bus), open_pair(bus)};
	uint8_t *memory = kt_guest_alloc(bus, 4096);
	UINT32 handles[200];

	for (unsigned int i = 0; i < 200; i++)
		handles[i] = create(&p[i & 1], 0, memory, 4096);
	for (unsigned int i = 0; i < 200; i++)
		for (unsigned int n = 0; n < i; n++)
			assert_int_not_equal(handles[i], handles[n]);
	for (unsigned int i = 0; i < 200; i += 2)
		VmbChannelDeleteGpadl(p[0].client->h, handles[i]);
	for (unsigned int i = 0; i < 200; i += 2)
		handles[i] = create(&p[0], 0, memory, 4096);
	for (unsigned int i = 0; i < 200; i++)
		for (unsigned int n = 0; n < i; n++)
			assert_int_not_equal(handles[i], handles[n]);
	for (unsigned int i = 0; i < 200; i++)
		VmbChannelDeleteGpadl(p[i & 1].client->h, handles[i]);
	kt_pair_free(&p[0]);
	kt_pair_free(&p[1]);
	kt_guest_free(bus, memory);
}

/* A driver that leaves its GPADLs and mappings at the close: with room for few, a leak would soon
 * show. */
static void ddi_076_inv_065_leftovers_are_torn_down(void **state)
{
	struct part_options options = {.memory = 48u << 20, .vps = 2, .server_dispatchers = 2};
	static struct kt_bus bus;
	struct kt_pair p;
	uint8_t *memory;
	PMDL mdl;

	(void)state;
	options.limits.gpadls = 16;
	kt_bus_create(&bus, &options);
	memory = kt_guest_alloc(&bus, 4096);
	p = kt_pair_new(&bus);
	for (int i = 0; i < 30; i++) {
		UINT32 handles[10];

		kt_pair_open(&p);
		for (int n = 0; n < 10; n++)
			handles[n] = create(&p, 0, memory, 4096);
		assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, handles[3], &mdl),
				 STATUS_SUCCESS);
		if (i % 3 == 0) {
			VmbChannelDisable(p.server->h);
			KT_EXPECT(p.client, "OSPUC");
			KT_WAIT(kt_is_disabled(p.client));
		} else {
			VmbChannelDisable(p.client->h);
			KT_EXPECT(p.server, "OSPUC");
			VmbChannelDisable(p.server->h);
		}
		kt_violations_expected(kmcl_verify() ? 2 : 0); /* each end's driver */
		kt_forget(p.client);
		kt_forget(p.server);
	}
	kt_pair_free(&p);
	kt_guest_free(&bus, memory);
	kt_bus_destroy(&bus);
}

static NTSTATUS create_in_opened(struct kt_chan *c)
{
	return VmbChannelCreateGpadlFromBuffer(c->h, 0, c->arg, 4096, &doomed);
}

/* Long-term memory is announced in Opened and deleted while the channel runs. */
static void ddi_022_created_in_opened(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	uint8_t *memory = kt_guest_alloc(bus, 4096);

	kt_fill(memory, 4096, 12);
	p.client->arg = memory;
	p.client->on_opened = create_in_opened;
	kt_pair_open(&p);
	assert_true(kt_filled(read_all(&p, doomed)->data, 4096, 12));
	VmbChannelPause(p.client->h); /* a paused channel is open */
	VmbChannelDeleteGpadl(p.client->h, doomed);
	doomed = create(&p, 0, memory, 4096);
	VmbChannelDeleteGpadl(p.client->h, doomed);
	kt_pair_free(&p);
	kt_guest_free(bus, memory);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_022_061_inv_060_server_sees_the_clients_bytes),
		KT_TEST(ddi_023_inv_060_mdl_chains_offsets_and_lengths),
		KT_TEST(ddi_022_create_codes),
		KT_TEST(ddi_061_066_map_and_unmap_codes),
		KT_TEST(ddi_061_066_inv_061_one_mapping_at_a_time),
		KT_TEST(ddi_022_061_inv_062_read_only),
		KT_TEST(ddi_024_066_inv_063_delete_waits_for_the_unmap),
		KT_TEST(inv_063_delete_does_not_wait_for_a_host_that_is_gone),
		KT_TEST(inv_064_live_handles_are_unique),
		KT_TEST(ddi_076_inv_065_leftovers_are_torn_down),
		KT_TEST(ddi_022_created_in_opened),
	};

	return KT_MAIN("kmcl-gpadl", tests);
}
