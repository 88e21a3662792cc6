/* SPDX-License-Identifier: MIT */
/* What a server's settings put into its offer and what a client gets from it: flags, MMIO space,
 * the VTL. */
#include "harness.h"

#include <openkmcl_ext.h>
#include "raw.h"

#include <errno.h>

#define MIB (1024u * 1024u)

static struct kt_chan *offer(struct kt_bus *bus, uint32_t flags)
{
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());

	assert_int_equal(VmbServerChannelInitSetFlags(server->h, flags), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	return server;
}

static void ddi_007_each_server_flag_in_the_offer(void **state)
{
	static const struct {
		uint32_t flags;
		uint16_t wire;
	} cases[] = {
		{0, 0},
		{VMBUS_SERVER_CHANNEL_INIT_FLAG_ENUMERATE_DEVICE_INTERFACE, 0x0001},
		{VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE, 0x0010},
		{VMBUS_SERVER_CHANNEL_INIT_FLAG_LOOPBACK_OFFER, 0x0100},
		{VMBUS_SERVER_CHANNEL_INIT_FLAG_TLNPI_PROVIDER_OFFER, 0x2000},
		{VMBUS_SERVER_CHANNEL_INIT_FLAG_FORCE_NEW_CHANNEL, 0}, /* nothing for the guest */
		{VMBUS_SERVER_CHANNEL_INIT_FLAGS, 0x2111},
	};
	struct kt_bus *bus = *state;

	assert_int_equal(VMBUS_CHANNEL_INIT_FLAG_IS_PIPE, 0x1);
	assert_int_equal(VMBUS_SERVER_CHANNEL_INIT_FLAGS, 0x1f);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kt_chan *server = offer(bus, cases[i].flags);

		raw_open(bus, server);
		assert_int_equal(part_client_offer(raw.ch)->flags, cases[i].wire);
		raw_close(bus);
		kt_chan_free(server);
	}
}

/* ---- MMIO space ---- */

static struct kt_pair mmio_pair(struct kt_bus *bus, UINT16 megabytes, UINT16 optional)
{
	struct kt_pair p = kt_pair_new(bus);

	if (megabytes || optional)
		assert_int_equal(
			VmbServerChannelInitSetMmioMegabytes(p.server->h, megabytes, optional),
			STATUS_SUCCESS);
	return p;
}

static UINT64 mmio_of(struct kt_chan *c, UINT64 *size)
{
	UINT64 address = 1;

	*size = 1;
	VmbChannelGetMmioSpace(c->h, &address, size);
	return address;
}

static atomic_ullong seen_address, seen_size;

static NTSTATUS look_in_opened(struct kt_chan *c)
{
	UINT64 size, address = mmio_of(c, &size);

	atomic_store(&seen_address, address);
	atomic_store(&seen_size, size);
	return STATUS_SUCCESS;
}

static void ddi_028_070_mmio_space_of_a_client(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = mmio_pair(bus, 8, 0);
	UINT64 size, address;

	KT_VIOLATES(VmbChannelGetMmioSpace(p.client->h, &address, &size)); /* not open */
	p.client->on_opened = look_in_opened;
	kt_pair_open(&p);
	address = mmio_of(p.client, &size);
	assert_int_equal(size, 8 * MIB);
	assert_true(address >= 0xf8000000 && address + size <= 0x100000000);
	assert_int_equal(address % MIB, 0);
	assert_null(part_memory_at(part_client(bus->part), address, 1)); /* outside memory */
	assert_int_equal(atomic_load(&seen_address), address);
	assert_int_equal(atomic_load(&seen_size), size);
	assert_int_equal(mmio_of(p.server, &size), 0); /* a server has none */
	assert_int_equal(size, 0);
	KT_VIOLATES(VmbChannelGetMmioSpace(p.client->h, NULL, &size));
	KT_VIOLATES(VmbChannelGetMmioSpace(p.client->h, &address, NULL));
	VmbChannelDisable(p.client->h);
	KT_VIOLATES(VmbChannelGetMmioSpace(p.client->h, &address, &size));
	kt_pair_free(&p);
}

static void ddi_028_nothing_reserved_is_zero(void **state)
{
	struct kt_pair p = mmio_pair(*state, 0, 0);
	UINT64 size;

	kt_pair_open(&p);
	assert_int_equal(mmio_of(p.client, &size), 0);
	assert_int_equal(size, 0);
	kt_pair_free(&p);
}

static void ddi_028_channels_never_overlap_and_give_back(void **state)
{
	enum {
		CHANNELS = 15,
		EACH = 8
	};
	struct kt_bus *bus = *state;
	struct kt_pair pairs[CHANNELS], again, late;
	UINT64 address[CHANNELS], size;

	for (unsigned int i = 0; i < CHANNELS; i++) {
		pairs[i] = mmio_pair(bus, EACH, 0);
		kt_pair_open(&pairs[i]);
		address[i] = mmio_of(pairs[i].client, &size);
		assert_int_equal(size, EACH * MIB);
		assert_true(address[i] + size <= 0x100000000);
		for (unsigned int j = 0; j < i; j++)
			assert_true(address[i] >= address[j] + size ||
				    address[j] >= address[i] + size);
	}
	/* 8 of 128 MiB are left: the optional 4 do not fit beside the 6, then nothing fits */
	again = mmio_pair(bus, 6, 4);
	kt_pair_open(&again);
	mmio_of(again.client, &size);
	assert_int_equal(size, 6 * MIB);
	late = mmio_pair(bus, 8, 0);
	kt_pair_open(&late);
	assert_int_equal(mmio_of(late.client, &size), 0);
	assert_int_equal(size, 0);
	/* what a close gives back is there for the next, optional ones included */
	VmbChannelDisable(pairs[3].client->h);
	VmbChannelDisable(again.client->h);
	VmbChannelDisable(again.server->h);
	kt_forget(again.client);
	kt_forget(again.server);
	assert_int_equal(VmbServerChannelInitSetMmioMegabytes(again.server->h, 6, 2),
			 STATUS_SUCCESS);
	kt_pair_open(&again);
	assert_int_equal(mmio_of(again.client, &size), address[3]);
	assert_int_equal(size, 8 * MIB);
	kt_pair_free(&late);
	kt_pair_free(&again);
	for (unsigned int i = 0; i < CHANNELS; i++)
		kt_pair_free(&pairs[i]);
}

static void ddi_070_megabytes_are_in_the_offer(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());

	assert_int_equal(VmbServerChannelInitSetMmioMegabytes(server->h, 0, 0),
			 STATUS_INVALID_PARAMETER);
	assert_int_equal(VmbServerChannelInitSetMmioMegabytes(server->h, 0x1234, 0xfedc),
			 STATUS_SUCCESS);
	assert_int_equal(VmbServerChannelInitSetMmioMegabytes(server->h, 0, 0),
			 STATUS_INVALID_PARAMETER); /* changes nothing */
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	raw_open(bus, server);
	assert_int_equal(part_client_offer(raw.ch)->mmio_megabytes, 0x1234);
	assert_int_equal(part_client_offer(raw.ch)->mmio_megabytes_optional, 0xfedc);
	raw_close(bus);
	kt_chan_free(server);
}

static int create(const struct part_options *options)
{
	struct part *part;
	int error = part_loopback_create(options, &part);

	if (!error)
		part_destroy(part);
	return error;
}

static void mmio_window_is_an_option(void **state)
{
	struct part_options o = {.memory = 48u << 20, .vps = 1, .server_dispatchers = 1};
	struct kt_bus bus;
	struct kt_pair p;
	UINT64 size;

	(void)state;
	o.mmio_base = 32u << 20; /* inside memory */
	assert_int_equal(create(&o), -EINVAL);
	o.mmio_base = (64u << 20) + 4096;
	assert_int_equal(create(&o), -EINVAL);
	o.mmio_base = 0x100000000;
	o.mmio_size = 4096;
	assert_int_equal(create(&o), -EINVAL);
	o.mmio_size = 2 * MIB;
	kt_bus_create(&bus, &o);
	p = mmio_pair(&bus, 1, 7);
	kt_pair_open(&p);
	assert_int_equal(mmio_of(p.client, &size), 0x100000000);
	assert_int_equal(size, 1 * MIB);
	kt_pair_free(&p);
	kt_bus_destroy(&bus);
}

/* ---- target VTL ---- */

static void ddi_073_offered_to_its_vtl_only(void **state)
{
	struct part_options o = {.memory = 48u << 20, .vps = 1, .server_dispatchers = 1, .vtl = 2};
	struct kt_bus bus;
	struct kt_pair p;
	struct kt_chan *server;
	GUID instance;

	(void)state;
	kt_bus_create(&bus, &o);
	p = kt_pair_new(&bus);
	server = p.server;
	instance = server->instance;
	assert_int_equal(VmbServerChannelInitSetTargetVtl(server->h, 3),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbServerChannelInitSetTargetVtl(server->h, 1), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_NOT_SUPPORTED);
	/* VTL 0 is the default and could have a client; the one that is here is in VTL 2 */
	assert_int_equal(VmbServerChannelInitSetTargetVtl(server->h, 0), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(p.client->h), STATUS_SUCCESS);
	KT_STAYS(!p.client->begun_count && !server->begun_count);
	VmbChannelDisable(server->h);
	assert_int_equal(VmbServerChannelInitSetTargetVtl(server->h, 2), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	KT_EXPECT(server, "OSP");
	KT_EXPECT(p.client, "OSP");
	assert_memory_equal(&instance, &server->instance, sizeof(instance));
	kt_pair_free(&p);
	kt_bus_destroy(&bus);
}

/* The offer comes back for another VTL before the guest has let go of its channel id. */
static void ddi_073_offered_anew_to_another_vtl(void **state)
{
	struct part_options o = {.memory = 48u << 20, .vps = 1, .server_dispatchers = 1, .vtl = 1};
	struct kt_bus bus;
	struct kt_chan *server;

	(void)state;
	kt_bus_create(&bus, &o);
	server = kt_chan_new(&bus, true, kt_type, kt_new_instance());
	assert_int_equal(VmbServerChannelInitSetTargetVtl(server->h, 1), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	raw_open(&bus, server);
	VmbChannelDisable(server->h);
	KT_WAIT(atomic_load(&raw.rescinded)); /* and not released */
	assert_int_equal(VmbServerChannelInitSetTargetVtl(server->h, 0), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	raw_close(&bus);
	kt_forget(server);
	KT_STAYS(!server->begun_count);
	VmbChannelDisable(server->h);
	assert_int_equal(VmbServerChannelInitSetTargetVtl(server->h, 1), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	raw_open(&bus, server);
	raw_close(&bus);
	kt_chan_free(server);
	kt_bus_destroy(&bus);
}

/* The partition's counter goes on with the clock, and both are told of one instant. */
static void the_reference_time_of_a_partition(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	VMBCHANNEL server = p.server->h, client = p.client->h;
	UINT64 first, second, then, now;
	LARGE_INTEGER before, after;

	KeQuerySystemTimePrecise(&before);
	assert_int_equal(KmclChannelQueryReferenceTime(server, &first, &then), STATUS_SUCCESS);
	kt_pair_open(&p);
	assert_int_equal(KmclChannelQueryReferenceTime(server, &second, &now), STATUS_SUCCESS);
	KeQuerySystemTimePrecise(&after);
	/* a clock that is being set may jump a little, and the bracket is not infinitely narrow */
	assert_in_range(then, before.QuadPart - 10000000, after.QuadPart + 10000000);
	assert_true(second > first);
	assert_in_range(now - then + 10000000, second - first, second - first + 20000000);
	assert_int_equal(KmclChannelQueryReferenceTime(server, NULL, &now),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(KmclChannelQueryReferenceTime(server, &second, NULL),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(KmclChannelQueryReferenceTime(client, &second, &now),
			 STATUS_INVALID_PARAMETER_1);
	kt_pair_free(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_007_each_server_flag_in_the_offer),
		KT_TEST(ddi_028_070_mmio_space_of_a_client),
		KT_TEST(ddi_028_nothing_reserved_is_zero),
		KT_TEST(ddi_028_channels_never_overlap_and_give_back),
		KT_TEST(ddi_070_megabytes_are_in_the_offer),
		KT_TEST(mmio_window_is_an_option),
		KT_TEST(ddi_073_offered_to_its_vtl_only),
		KT_TEST(ddi_073_offered_anew_to_another_vtl),
		KT_TEST(the_reference_time_of_a_partition),
	};

	return KT_MAIN("kmcl-offer", tests);
}
