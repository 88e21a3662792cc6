/* SPDX-License-Identifier: MIT */
/* A channel from its allocation to its cleanup, which bus and which offer it finds, and what Enable
 * refuses. */
#include "harness.h"

#include <kmcl/kmcl.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static GUID target_instance; /* of the channels under test */

static NTSTATUS set_target(VMBCHANNEL c)
{
	return VmbClientChannelInitSetTargetPnp(c, &kt_type, &target_instance, NULL);
}

static NTSTATUS set_id(VMBCHANNEL c)
{
	return VmbServerChannelInitSetTargetInterfaceId(c, kt_type, target_instance);
}

static void ddi_020_allocate_gives_a_disabled_channel_with_defaults(void **state)
{
	struct kt_bus *bus = *state;

	for (int server = 0; server < 2; server++) {
		VMBCHANNEL c = kt_bare(bus, server);
		GUID instance, zeros = {0};

		memset(&instance, 0xff, sizeof(instance));
		assert_null(VmbChannelGetPointer(c));
		VmbChannelGetInterfaceInstance(c, &instance);
		assert_memory_equal(&instance, &zeros, sizeof(zeros));
		assert_true(VmbChannelSizeofPacket(c) > 4096 + sizeof(PVOID));
		assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
		VmbChannelDisable(c);
		kt_drop(c);
		assert_int_equal(VmbChannelAllocate(NULL, (BOOLEAN)server, NULL),
				 STATUS_INVALID_PARAMETER_3);
	}
}

/* Two channels on which nothing was set but the target. */
static void pair_open(VMBCHANNEL server, VMBCHANNEL client)
{
	target_instance = kt_new_instance();
	assert_int_equal(set_id(server), STATUS_SUCCESS);
	assert_int_equal(set_target(client), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server), STATUS_SUCCESS);
	VmbChannelStart(server);
	assert_int_equal(VmbChannelEnable(client), STATUS_SUCCESS);
}

static void pair_drop(VMBCHANNEL server, VMBCHANNEL client)
{
	VmbChannelDisable(client);
	VmbChannelDisable(server);
	kt_drop(client);
	kt_drop(server);
}

/* Sends and waits; nothing is wanted back. */
static NTSTATUS ask(VMBCHANNEL c, void *data, UINT32 size, PMDL mdl)
{
	return VmbChannelSendSynchronousRequest(c, data, size, mdl, KT_WAITED, NULL, NULL, NULL);
}

static void ddi_020_default_packet_size_and_default_callback(void **state)
{
	VMBCHANNEL server = kt_bare(*state, true), client = kt_bare(*state, false);
	static uint8_t data[4097];
	uint64_t answer = 0;
	UINT32 size = 8;

	pair_open(server, client);
	assert_int_equal(ask(client, data, 4097, NULL), STATUS_INVALID_PARAMETER_3);
	assert_int_equal(ask(client, data, 4096, NULL), STATUS_SUCCESS);
	/* nobody set a packet callback: completed without data */
	assert_int_equal(VmbChannelSendSynchronousRequest(client, data, 64, NULL, KT_WAITED,
							  &answer, &size, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(size, 0);
	pair_drop(server, client);
}

static void ddi_020_default_external_data_bounds(void **state)
{
	struct kt_bus *bus = *state;
	VMBCHANNEL server = kt_bare(bus, true), client = kt_bare(bus, false);
	PMDL chain[33], big = kt_mdl_alloc(bus, (1u << 20) + 1, NULL);
	PMDL most = kt_mdl_alloc(bus, 1u << 20, NULL);

	for (size_t i = 0; i < COUNT(chain); i++)
		chain[i] = kt_mdl_alloc(bus, 512, NULL);
	for (size_t i = 0; i + 1 < COUNT(chain); i++)
		chain[i]->Next = chain[i + 1];
	pair_open(server, client);
	assert_int_equal(ask(client, NULL, 0, big), STATUS_INVALID_BUFFER_SIZE);
	assert_int_equal(ask(client, NULL, 0, chain[0]), STATUS_INVALID_BUFFER_SIZE);
	assert_int_equal(ask(client, NULL, 0, most), STATUS_SUCCESS);
	assert_int_equal(ask(client, NULL, 0, chain[1]), STATUS_SUCCESS);
	pair_drop(server, client);
	for (size_t i = 0; i < COUNT(chain); i++)
		kt_mdl_free(bus, chain[i]);
	kt_mdl_free(bus, big);
	kt_mdl_free(bus, most);
}

static void ddi_026_enable_failures_leave_the_channel_disabled(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	struct kt_chan *twin = kt_chan_new(bus, true, kt_type, p.server->instance);
	VMBCHANNEL c = kt_bare(bus, true);

	assert_int_equal(VmbChannelEnable(c), STATUS_INVALID_PARAMETER);
	assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	kt_drop(c);
	c = kt_bare(bus, false);
	assert_int_equal(VmbChannelEnable(c), STATUS_NO_SUCH_DEVICE);
	assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	kt_drop(c);

	assert_int_equal(VmbChannelEnable(p.server->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(p.server->h), STATUS_INVALID_DEVICE_STATE);
	assert_int_equal(VmbChannelEnable(twin->h), STATUS_OBJECT_NAME_COLLISION);
	assert_true(kt_is_disabled(twin));
	assert_int_equal(VmbChannelEnable(p.client->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(p.client->h), STATUS_INVALID_DEVICE_STATE);
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	assert_int_equal(VmbChannelEnable(twin->h), STATUS_SUCCESS); /* the key is free again */
	kt_chan_free(twin);
	kt_pair_free(&p);
}

static void ddi_026_enable_without_a_bus(void **state)
{
	VMBCHANNEL c;

	kmcl_bus_set_default(NULL, NULL);
	target_instance = kt_new_instance();
	c = kt_allocate(*state, NULL, false);
	assert_int_equal(set_target(c), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(c), STATUS_DEVICE_NOT_CONNECTED);
	assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	kt_drop(c);
	c = kt_allocate(*state, NULL, true);
	assert_int_equal(set_id(c), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(c), STATUS_INVALID_HANDLE);
	assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	kt_drop(c);
}

static void null_parent_is_the_default_bus(void **state)
{
	struct kt_bus *bus = *state;
	VMBCHANNEL server, client;

	kmcl_bus_set_default(part_server(bus->part), part_client(bus->part));
	server = kt_allocate(bus, NULL, true);
	client = kt_allocate(bus, NULL, false);
	pair_open(server, client);
	assert_int_equal(ask(client, NULL, 0, NULL), STATUS_SUCCESS);
	pair_drop(server, client);
	kmcl_bus_set_default(NULL, NULL);
}

static void ddi_050_target_by_type_and_instance(void **state)
{
	struct kt_bus *bus = *state;
	GUID type = kt_new_instance(), wanted = kt_new_instance(), instance;
	struct kt_chan *other = kt_chan_new(bus, true, type, kt_new_instance());
	struct kt_chan *server = kt_chan_new(bus, true, type, wanted);
	struct kt_chan *client = kt_chan_new(bus, false, type, wanted);
	GUID type_copy = type, wanted_copy = wanted;

	assert_int_equal(VmbClientChannelInitSetTargetPnp(client->h, NULL, &wanted, NULL),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbClientChannelInitSetTargetPnp(server->h, &type, &wanted, NULL),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbClientChannelInitSetTargetPnp(client->h, &type, &wanted, NULL),
			 STATUS_SUCCESS);
	memset(&type, 0xff, sizeof(type)); /* copied */
	memset(&wanted, 0xff, sizeof(wanted));
	assert_int_equal(VmbChannelEnable(other->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(client->h), STATUS_SUCCESS);
	KT_EXPECT(client, "OSP");
	KT_EXPECT(server, "O");
	KT_STAYS(other->begun_count == 0);
	VmbChannelGetInterfaceInstance(client->h, &instance);
	assert_memory_equal(&instance, &wanted_copy, sizeof(instance));
	assert_int_equal(memcmp(&type_copy, &server->type, sizeof(GUID)), 0);
	kt_chan_free(client);
	kt_chan_free(server);
	kt_chan_free(other);
}

static void ddi_050_target_by_type_alone(void **state)
{
	struct kt_bus *bus = *state;
	GUID type = kt_new_instance(), got[2];
	struct kt_chan *servers[2], *clients[2];

	for (int i = 0; i < 2; i++)
		servers[i] = kt_chan_new(bus, true, type, kt_new_instance());
	for (int i = 0; i < 2; i++) {
		clients[i] = kt_chan_new(bus, false, type, kt_new_instance());
		assert_int_equal(VmbClientChannelInitSetTargetPnp(clients[i]->h, &type, NULL, NULL),
				 STATUS_SUCCESS);
		assert_int_equal(VmbChannelEnable(clients[i]->h), STATUS_SUCCESS);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(VmbChannelEnable(servers[i]->h), STATUS_SUCCESS);
	for (int i = 0; i < 2; i++) { /* each gets one that the other has not */
		KT_EXPECT(clients[i], "OSP");
		KT_EXPECT(servers[i], "O");
		VmbChannelGetInterfaceInstance(clients[i]->h, &got[i]);
	}
	assert_memory_not_equal(&got[0], &got[1], sizeof(GUID));
	for (int i = 0; i < 2; i++)
		kt_chan_free(clients[i]);
	for (int i = 0; i < 2; i++)
		kt_chan_free(servers[i]);
}

/* The offers that a guest sees. */
struct seen {
	struct part_client_listener listener;
	atomic_uint count;
	struct vmbus_client_offer last;
};

static void seen_offered(struct part_client_listener *l, struct part_client_channel *ch)
{
	struct seen *s = (struct seen *)l;

	kt_lock();
	s->last = *part_client_offer(ch);
	atomic_fetch_add(&s->count, 1);
	kt_unlock();
}

static void seen_withdrawn(struct part_client_listener *l, struct part_client_channel *ch)
{
	(void)l;
	(void)ch;
}

static void ddi_072_offer_carries_type_and_instance(void **state)
{
	struct kt_bus *bus = *state;
	static struct seen seen;
	const GUID zeros = {0};
	const GUID type = {0x11223344, 0x5566, 0x7788, {1, 2, 3, 4, 5, 6, 7, 8}};
	const GUID instance = {0xaabbccdd, 0xeeff, 0x0102, {9, 8, 7, 6, 5, 4, 3, 2}};
	/* the wire's order: the first three fields little-endian */
	static const uint8_t wire_type[16] = {0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77,
					      1,    2,    3,    4,    5,    6,    7,    8};
	static const uint8_t wire_instance[16] = {0xdd, 0xcc, 0xbb, 0xaa, 0xff, 0xee, 0x02, 0x01,
						  9,    8,    7,    6,    5,    4,    3,    2};
	VMBCHANNEL c = kt_bare(bus, true);
	GUID got;

	memset(&seen, 0, sizeof(seen));
	seen.listener.offered = seen_offered;
	seen.listener.withdrawn = seen_withdrawn;
	assert_int_equal(part_client_listen(part_client(bus->part), &seen.listener), 0);
	assert_int_equal(VmbServerChannelInitSetTargetInterfaceId(c, zeros, instance),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbServerChannelInitSetTargetInterfaceId(c, type, zeros),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbServerChannelInitSetTargetInterfaceId(c, type, instance),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(c), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&seen.count) == 1);
	assert_memory_equal(seen.last.interface_id.b, wire_type, 16);
	assert_memory_equal(seen.last.instance_id.b, wire_instance, 16);
	VmbChannelGetInterfaceInstance(c, &got);
	assert_memory_equal(&got, &instance, sizeof(got));
	part_client_unlisten(part_client(bus->part), &seen.listener);
	VmbChannelDisable(c);
	kt_drop(c);
}

static void ddi_073_target_vtl(void **state)
{
	VMBCHANNEL c = kt_bare(*state, true);

	target_instance = kt_new_instance();
	assert_int_equal(set_id(c), STATUS_SUCCESS);
	for (unsigned int vtl = 3; vtl < 256; vtl++)
		assert_int_equal(VmbServerChannelInitSetTargetVtl(c, (UINT8)vtl),
				 STATUS_INVALID_PARAMETER_2);
	for (unsigned int vtl = 1; vtl < 3; vtl++) {
		assert_int_equal(VmbServerChannelInitSetTargetVtl(c, (UINT8)vtl), STATUS_SUCCESS);
		assert_int_equal(VmbChannelEnable(c), STATUS_NOT_SUPPORTED);
		assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	}
	assert_int_equal(VmbServerChannelInitSetTargetVtl(c, 0), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(c), STATUS_SUCCESS);
	VmbChannelDisable(c);
	kt_drop(c);
}

static void ddi_067_convert_vmbus_handle(void **state)
{
	struct kt_bus *bus = *state;
	struct nt_driver *previous = kt_enter(bus, true);
	HANDLE kernel = NULL, untouched = &bus;

	kt_bus_handle_open(bus);
	assert_int_equal(VmbConvertVmbusHandleToKernelHandle(kt_bus_handle, &kernel),
			 STATUS_SUCCESS);
	assert_non_null(kernel);
	assert_int_equal(atomic_load(&kt_bus_object.users), 3);
	assert_int_equal(VmbConvertVmbusHandleToKernelHandle(NULL, &untouched),
			 STATUS_INVALID_HANDLE);
	assert_int_equal(VmbConvertVmbusHandleToKernelHandle(&untouched, &untouched),
			 STATUS_INVALID_HANDLE);
	assert_ptr_equal(untouched, &bus);
	assert_int_equal(VmbConvertVmbusHandleToKernelHandle(kt_bus_handle, NULL),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(ZwClose(kernel), STATUS_SUCCESS);
	assert_int_equal(atomic_load(&kt_bus_object.users), 2);
	assert_int_equal(VmbConvertVmbusHandleToKernelHandle(kernel, &untouched),
			 STATUS_INVALID_HANDLE); /* closed */
	kt_bus_handle_close();
	kt_leave(previous);
}

static void ddi_074_vmbus_handle_chooses_the_bus(void **state)
{
	struct kt_bus *bus = *state;
	static struct kt_bus second;
	struct kt_chan *server, *here, *there;
	GUID instance = kt_new_instance();
	HANDLE kernel;

	kt_bus_create(&second, NULL);
	server = kt_chan_new(bus, true, kt_type, instance); /* its parent names this bus */
	here = kt_chan_new(bus, false, kt_type, instance);
	there = kt_chan_new(&second, false, kt_type, instance);
	assert_int_equal(VmbServerChannelInitSetVmbusHandle(server->h, NULL),
			 STATUS_INVALID_HANDLE);
	assert_int_equal(VmbServerChannelInitSetVmbusHandle(server->h, &instance),
			 STATUS_INVALID_HANDLE);
	kt_bus_handle_open(&second);
	assert_int_equal(VmbConvertVmbusHandleToKernelHandle(kt_bus_handle, &kernel),
			 STATUS_SUCCESS);
	assert_int_equal(VmbServerChannelInitSetVmbusHandle(server->h, kernel), STATUS_SUCCESS);
	assert_int_equal(ZwClose(kernel), STATUS_SUCCESS); /* the channel has its own reference */
	assert_int_equal(VmbChannelEnable(here->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(there->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	KT_EXPECT(there, "OSP");
	KT_STAYS(here->begun_count == 0);
	kt_chan_free(here);
	kt_chan_free(there);
	kt_chan_free(server);
	kt_bus_handle_close();
	kt_bus_destroy(&second);
}

static void ddi_027_interface_instance_of_a_client(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	GUID got, zeros = {0}, other = kt_new_instance();
	VMBCHANNEL c = kt_bare(*state, false);

	VmbChannelGetInterfaceInstance(p.client->h, &got); /* asked for */
	assert_memory_equal(&got, &p.client->instance, sizeof(got));
	VmbChannelGetInterfaceInstance(p.server->h, &got);
	assert_memory_equal(&got, &p.server->instance, sizeof(got));
	assert_int_equal(VmbClientChannelInitSetTargetPnp(c, &other, NULL, NULL), STATUS_SUCCESS);
	VmbChannelGetInterfaceInstance(c, &got);
	assert_memory_equal(&got, &zeros, sizeof(got));
	assert_int_equal(VmbClientChannelInitSetTargetPnp(c, &kt_type, NULL, NULL), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(p.server->h), STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(c), STATUS_SUCCESS);
	KT_EXPECT(p.server, "O");
	VmbChannelGetInterfaceInstance(c, &got); /* matched */
	assert_memory_equal(&got, &p.server->instance, sizeof(got));
	VmbChannelDisable(c);
	kt_drop(c);
	kt_pair_free(&p);
}

static void ddi_029_045_inv_038_pointers_are_independent(void **state)
{
	struct kt_bus *bus = *state;
	VMBCHANNEL a = kt_bare(bus, false), b = kt_bare(bus, true);
	VMBPACKET packet = VmbPacketAllocate(a);
	KIRQL irql;
	int one, two, three;

	assert_null(VmbChannelGetPointer(a));
	assert_null(VmbPacketGetPointer(packet));
	VmbChannelSetPointer(a, &one);
	VmbChannelSetPointer(b, &two);
	VmbPacketSetPointer(packet, &three);
	assert_ptr_equal(VmbChannelGetPointer(a), &one);
	assert_ptr_equal(VmbChannelGetPointer(b), &two);
	assert_ptr_equal(VmbPacketGetPointer(packet), &three);
	KeRaiseIrql(HIGH_LEVEL, &irql); /* any IRQL */
	VmbChannelSetPointer(a, NULL);
	VmbPacketSetPointer(packet, NULL);
	assert_null(VmbChannelGetPointer(a));
	assert_null(VmbPacketGetPointer(packet));
	assert_ptr_equal(VmbPacketGetChannel(packet), a);
	KeLowerIrql(irql);
	assert_ptr_equal(VmbChannelGetPointer(b), &two);
	VmbPacketFree(packet);
	kt_drop(a);
	kt_drop(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_020_allocate_gives_a_disabled_channel_with_defaults),
		KT_TEST(ddi_020_default_packet_size_and_default_callback),
		KT_TEST(ddi_020_default_external_data_bounds),
		KT_TEST(ddi_026_enable_failures_leave_the_channel_disabled),
		KT_TEST(ddi_026_enable_without_a_bus),
		KT_TEST(null_parent_is_the_default_bus),
		KT_TEST(ddi_050_target_by_type_and_instance),
		KT_TEST(ddi_050_target_by_type_alone),
		KT_TEST(ddi_072_offer_carries_type_and_instance),
		KT_TEST(ddi_073_target_vtl),
		KT_TEST(ddi_067_convert_vmbus_handle),
		KT_TEST(ddi_074_vmbus_handle_chooses_the_bus),
		KT_TEST(ddi_027_interface_instance_of_a_client),
		KT_TEST(ddi_029_045_inv_038_pointers_are_independent),
	};

	return KT_MAIN("kmcl-channel", tests);
}
