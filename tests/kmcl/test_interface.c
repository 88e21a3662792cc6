/* SPDX-License-Identifier: MIT */
/* Interface queries: IRP_MN_QUERY_INTERFACE to the bus's devices, and the framework's two calls. */
#include <wdf.h>

#include "harness.h"

#include <stdlib.h>

#define CLIENT_SIZE ((USHORT)sizeof(KMCL_CLIENT_INTERFACE_V1))
#define SERVER_SIZE ((USHORT)sizeof(KMCL_SERVER_INTERFACE_V1))

/* A table of either version, with room behind it that must stay as it is. */
union table {
	INTERFACE header;
	KMCL_CLIENT_INTERFACE_V1 client;
	KMCL_SERVER_INTERFACE_V1 server;
	uint8_t bytes[600];
};

static void pattern(union table *t)
{
	memset(t, 0xa5, sizeof(*t));
}

static void assert_untouched(const union table *t, size_t from)
{
	for (size_t i = from; i < sizeof(t->bytes); i++)
		assert_int_equal(t->bytes[i], 0xa5);
}

/* As a WDM driver asks. */
static NTSTATUS ask(PDEVICE_OBJECT pdo, const GUID *type, USHORT size, USHORT version,
		    union table *table)
{
	IO_STATUS_BLOCK iosb;
	PIO_STACK_LOCATION next;
	KEVENT event;
	PIRP irp;

	KeInitializeEvent(&event, NotificationEvent, FALSE);
	irp = IoBuildSynchronousFsdRequest(IRP_MJ_PNP, pdo, NULL, 0, NULL, &event, &iosb);
	assert_non_null(irp);
	irp->IoStatus.Status = STATUS_NOT_SUPPORTED;
	next = IoGetNextIrpStackLocation(irp);
	next->MinorFunction = IRP_MN_QUERY_INTERFACE;
	next->Parameters.QueryInterface.InterfaceType = type;
	next->Parameters.QueryInterface.Size = size;
	next->Parameters.QueryInterface.Version = version;
	next->Parameters.QueryInterface.Interface = table ? &table->header : NULL;
	if (IoCallDriver(pdo, irp) == STATUS_PENDING)
		KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
	return iosb.Status;
}

/* ---- what the tables hold ---- */

struct member {
	size_t offset;
	const char *name;
	void (*function)(void);
};

static const struct member members[] = {
#define DDI_FUNCTION(offset, name, stem, result, parameters) {offset, #name, (void (*)(void))name},
#define DDI_CALLBACK(stem, result, parameters)
#include "ddi_list.h"
#undef DDI_FUNCTION
#undef DDI_CALLBACK
};

/* Each entry is what a driver that links to the function calls: the address of the export. A
 * function that this build does not export has no entry. */
static void check_members(const union table *t, size_t size)
{
	unsigned int count = 0;

	for (size_t i = 0; i < ARRAYSIZE(members); i++) {
		void (*entry)(void);

		if (members[i].offset >= size)
			continue;
		memcpy(&entry, t->bytes + members[i].offset, sizeof(entry));
		if (entry != members[i].function)
			fail_msg("%s is not the function", members[i].name);
		count++;
	}
	assert_int_equal(count, (size - sizeof(INTERFACE)) / sizeof(PVOID));
}

static void release(union table *t)
{
	t->header.InterfaceDereference(t->header.Context);
}

static void ddi_018_inv_080_client_table_is_filled(void **state)
{
	struct kt_bus *bus = *state;
	union table t;

	pattern(&t);
	assert_int_equal(ask(bus->client_pdo, &KMCL_CLIENT_INTERFACE_TYPE, CLIENT_SIZE,
			     KMCL_CLIENT_INTERFACE_VERSION_V1, &t),
			 STATUS_SUCCESS);
	assert_int_equal(t.client.Size, CLIENT_SIZE);
	assert_int_equal(t.client.Version, KMCL_CLIENT_INTERFACE_VERSION_LATEST);
	assert_non_null(t.client.Context);
	check_members(&t, CLIENT_SIZE);
	assert_true(t.client.VmbChannelAllocate == VmbChannelAllocate);
	assert_true(t.client.VmbPacketSetPointer == VmbPacketSetPointer);
	assert_untouched(&t, CLIENT_SIZE);
	release(&t);
}

static void ddi_018_inv_080_server_table_is_filled(void **state)
{
	struct kt_bus *bus = *state;
	union table t;

	pattern(&t);
	assert_int_equal(ask(bus->server_pdo, &KMCL_SERVER_INTERFACE_TYPE, SERVER_SIZE,
			     KMCL_SERVER_INTERFACE_VERSION_V1, &t),
			 STATUS_SUCCESS);
	assert_int_equal(t.server.Size, SERVER_SIZE);
	assert_int_equal(t.server.Version, KMCL_SERVER_INTERFACE_VERSION_V1);
	check_members(&t, SERVER_SIZE);
	assert_true(t.server.VmbChannelMapGpadl == VmbChannelMapGpadl);
	assert_true(t.server.VmbServerChannelInitSetVmbusHandle ==
		    VmbServerChannelInitSetVmbusHandle);
	assert_untouched(&t, SERVER_SIZE);
	release(&t);
}

/* ---- checks ---- */

static void expect_refused(struct kt_bus *bus, const GUID *type, USHORT size, USHORT version,
			   NTSTATUS status)
{
	LONG before = bus->client_pdo->ReferenceCount;
	union table t;

	pattern(&t);
	assert_int_equal(ask(bus->client_pdo, type, size, version, &t), status);
	assert_untouched(&t, 0);
	assert_int_equal(bus->client_pdo->ReferenceCount, before);
}

static void ddi_018_wrong_queries_write_nothing(void **state)
{
	static const GUID other = {1, 2, 3, {4}};
	struct kt_bus *bus = *state;

	expect_refused(bus, &other, CLIENT_SIZE, 1, STATUS_NOT_SUPPORTED);
	expect_refused(bus, &KMCL_CLIENT_INTERFACE_TYPE, CLIENT_SIZE, 0, STATUS_NOT_SUPPORTED);
	expect_refused(bus, &KMCL_CLIENT_INTERFACE_TYPE, CLIENT_SIZE, 2, STATUS_NOT_SUPPORTED);
	expect_refused(bus, &KMCL_SERVER_INTERFACE_TYPE, SERVER_SIZE, 2, STATUS_NOT_SUPPORTED);
	for (unsigned int size = 0; size < CLIENT_SIZE; size++)
		expect_refused(bus, &KMCL_CLIENT_INTERFACE_TYPE, (USHORT)size, 1,
			       STATUS_INVALID_PARAMETER);
	expect_refused(bus, &KMCL_SERVER_INTERFACE_TYPE, SERVER_SIZE - 1, 1,
		       STATUS_INVALID_PARAMETER);
	expect_refused(bus, NULL, CLIENT_SIZE, 1, STATUS_INVALID_PARAMETER);
	assert_int_equal(ask(bus->client_pdo, &KMCL_CLIENT_INTERFACE_TYPE, CLIENT_SIZE, 1, NULL),
			 STATUS_INVALID_PARAMETER);
}

/* A caller with a longer structure gets what there is; what lies behind it is the caller's. */
static void ddi_018_larger_structures_are_filled_as_far_as_known(void **state)
{
	struct kt_bus *bus = *state;
	union table t;

	pattern(&t);
	assert_int_equal(ask(bus->client_pdo, &KMCL_CLIENT_INTERFACE_TYPE, sizeof(t), 1, &t),
			 STATUS_SUCCESS);
	assert_int_equal(t.client.Size, CLIENT_SIZE);
	check_members(&t, CLIENT_SIZE);
	assert_untouched(&t, CLIENT_SIZE);
	release(&t);
}

/* ---- references ---- */

static void ddi_018_references_are_counted(void **state)
{
	struct kt_bus *bus = *state;
	LONG before = bus->client_pdo->ReferenceCount;
	union table t, other;

	assert_int_equal(ask(bus->client_pdo, &KMCL_CLIENT_INTERFACE_TYPE, CLIENT_SIZE, 1, &t), 0);
	assert_int_equal(bus->client_pdo->ReferenceCount, before + 1);
	assert_int_equal(ask(bus->client_pdo, &KMCL_SERVER_INTERFACE_TYPE, SERVER_SIZE, 1, &other),
			 0);
	t.header.InterfaceReference(t.header.Context);
	assert_int_equal(bus->client_pdo->ReferenceCount, before + 3);
	release(&other);
	release(&t);
	release(&t);
	assert_int_equal(bus->client_pdo->ReferenceCount, before);
	/* one too many is the driver's mistake, and takes nothing from the device */
	kt_violations_expected(1);
	release(&t);
	assert_int_equal(bus->client_pdo->ReferenceCount, before);
}

/* The device may go while its interface is held; the context is good until the last reference. */
static void ddi_018_an_interface_outlives_its_device(void **state)
{
	struct kt_bus *bus = *state;
	struct kmcl_bus_device device = bus->client_device;
	PDEVICE_OBJECT pdo;
	union table t;

	assert_int_equal(nt_pdo_create(&kmcl_bus_ops, &device, &pdo), 0);
	assert_int_equal(ask(pdo, &KMCL_CLIENT_INTERFACE_TYPE, CLIENT_SIZE, 1, &t), 0);
	nt_pdo_delete(pdo);
	t.header.InterfaceReference(t.header.Context);
	release(&t);
	release(&t);
}

/* ---- through the framework ---- */

static struct {
	WDFDEVICE device;
	NTSTATUS fdo, target, small;
	union table by_fdo, by_target;
} asked;

static EVT_WDF_DRIVER_DEVICE_ADD device_add;
static NTSTATUS device_add(WDFDRIVER Driver, PWDFDEVICE_INIT DeviceInit)
{
	WDFDEVICE device;
	NTSTATUS status;

	(void)Driver;
	status = WdfDeviceCreate(&DeviceInit, WDF_NO_OBJECT_ATTRIBUTES, &device);
	if (!NT_SUCCESS(status))
		return status;
	asked.device = device;
	asked.fdo =
		WdfFdoQueryForInterface(device, &KMCL_CLIENT_INTERFACE_TYPE, &asked.by_fdo.header,
					CLIENT_SIZE, KMCL_CLIENT_INTERFACE_VERSION_V1, NULL);
	asked.target = WdfIoTargetQueryForInterface(
		WdfDeviceGetIoTarget(device), &KMCL_SERVER_INTERFACE_TYPE, &asked.by_target.header,
		SERVER_SIZE, KMCL_SERVER_INTERFACE_VERSION_V1, NULL);
	asked.small = WdfFdoQueryForInterface(device, &KMCL_CLIENT_INTERFACE_TYPE,
					      &asked.by_fdo.header, CLIENT_SIZE - 1, 1, NULL);
	return STATUS_SUCCESS;
}

static NTSTATUS framework_entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	WDF_DRIVER_CONFIG config;

	WDF_DRIVER_CONFIG_INIT(&config, device_add);
	return WdfDriverCreate(object, path, WDF_NO_OBJECT_ATTRIBUTES, &config, WDF_NO_HANDLE);
}

/* The table alone is enough to make a channel. */
static void use_table(const KMCL_CLIENT_INTERFACE_V1 *kmcl, PDEVICE_OBJECT device)
{
	VMBCHANNEL channel = NULL;
	int mark;

	assert_int_equal(kmcl->VmbChannelAllocate(device, FALSE, &channel), STATUS_SUCCESS);
	kmcl->VmbChannelSetPointer(channel, &mark);
	assert_ptr_equal(VmbChannelGetPointer(channel), &mark);
	kmcl->VmbChannelCleanup(channel);
}

static void ddi_018_the_framework_asks_the_bus(void **state)
{
	struct nt_driver_config config = {.name = "framework", .entry = framework_entry};
	struct kt_bus *bus = *state;
	LONG before = bus->client_pdo->ReferenceCount;
	struct nt_driver *driver;
	char *error = NULL;

	assert_int_equal(nt_driver_load(&config, &driver, &error), STATUS_SUCCESS);
	assert_int_equal(nt_device_add(driver, bus->client_pdo), STATUS_SUCCESS);
	assert_int_equal(asked.fdo, STATUS_SUCCESS);
	assert_int_equal(asked.target, STATUS_SUCCESS);
	assert_int_equal(asked.small, STATUS_INVALID_PARAMETER);
	check_members(&asked.by_fdo, CLIENT_SIZE);
	check_members(&asked.by_target, SERVER_SIZE);
	assert_int_equal(bus->client_pdo->ReferenceCount, before + 2);
	use_table(&asked.by_fdo.client, WdfDeviceWdmGetDeviceObject(asked.device));
	release(&asked.by_fdo);
	release(&asked.by_target);
	nt_device_remove(bus->client_pdo, false);
	assert_int_equal(bus->client_pdo->ReferenceCount, before);
	assert_int_equal(nt_driver_unload(driver), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_018_inv_080_client_table_is_filled),
		KT_TEST(ddi_018_inv_080_server_table_is_filled),
		KT_TEST(ddi_018_wrong_queries_write_nothing),
		KT_TEST(ddi_018_larger_structures_are_filled_as_far_as_known),
		KT_TEST(ddi_018_references_are_counted),
		KT_TEST(ddi_018_an_interface_outlives_its_device),
		KT_TEST(ddi_018_the_framework_asks_the_bus),
	};

	return KT_MAIN("kmcl-interface", tests);
}
