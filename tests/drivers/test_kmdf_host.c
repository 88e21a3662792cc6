/* SPDX-License-Identifier: MIT */
/* A client of the framework as a host runs one: a device for every offer that it declared, surprise
 * removal when an offer is withdrawn, and what fails to load. */
#include "echo_host.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vmbuskernelmodeclientlibapi.h>
#include <wdf.h>

#define ECHO_ID "VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01}"

/* ---- the driver: it notes what happens to each of its devices ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int count, gone;
static char traces[4][256];
static NTSTATUS prepare_status;
static VMBCHANNEL channels[4];

typedef struct _NOTED {
	unsigned int Number;
} NOTED;
WDF_DECLARE_CONTEXT_TYPE(NOTED)

static void note(WDFOBJECT device, const char *word)
{
	unsigned int n = WdfObjectGet_NOTED(device)->Number;

	pthread_mutex_lock(&lock);
	strcat(traces[n], word);
	strcat(traces[n], " ");
	pthread_mutex_unlock(&lock);
}

static NTSTATUS prepare(WDFDEVICE device, WDFCMRESLIST raw, WDFCMRESLIST translated)
{
	VMBCHANNEL channel;
	NTSTATUS status;

	(void)raw;
	(void)translated;
	note(device, "prepare");
	if (!NT_SUCCESS(prepare_status))
		return prepare_status;
	/* the device leads to its offer */
	status = VmbChannelAllocate(WdfDeviceWdmGetDeviceObject(device), FALSE, &channel);
	if (NT_SUCCESS(status))
		channels[WdfObjectGet_NOTED(device)->Number] = channel;
	return status;
}

static NTSTATUS release(WDFDEVICE device, WDFCMRESLIST translated)
{
	unsigned int n = WdfObjectGet_NOTED(device)->Number;

	(void)translated;
	note(device, "release");
	if (channels[n])
		VmbChannelCleanup(channels[n]);
	channels[n] = NULL;
	return STATUS_SUCCESS;
}

static NTSTATUS d0_entry(WDFDEVICE device, WDF_POWER_DEVICE_STATE previous)
{
	(void)previous;
	note(device, "d0entry");
	return STATUS_SUCCESS;
}

static NTSTATUS d0_exit(WDFDEVICE device, WDF_POWER_DEVICE_STATE target)
{
	(void)target;
	note(device, "d0exit");
	return STATUS_SUCCESS;
}

static NTSTATUS sm_init(WDFDEVICE device)
{
	note(device, "init");
	return VmbChannelEnable(channels[WdfObjectGet_NOTED(device)->Number]);
}

static NTSTATUS sm_suspend(WDFDEVICE device)
{
	note(device, "suspend");
	VmbChannelDisable(channels[WdfObjectGet_NOTED(device)->Number]);
	return STATUS_SUCCESS;
}

static void sm_cleanup(WDFDEVICE device)
{
	note(device, "cleanup");
}

static void surprise(WDFDEVICE device)
{
	note(device, "surprise");
}

static NTSTATUS query_remove(WDFDEVICE device)
{
	note(device, "query");
	return STATUS_SUCCESS;
}

static void object_cleanup(WDFOBJECT device)
{
	note(device, "object");
	pthread_mutex_lock(&lock);
	gone++;
	pthread_mutex_unlock(&lock);
}

static NTSTATUS device_add(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	WDF_PNPPOWER_EVENT_CALLBACKS callbacks;
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFDEVICE device;
	NTSTATUS status;

	(void)driver;
	WDF_PNPPOWER_EVENT_CALLBACKS_INIT(&callbacks);
	callbacks.EvtDevicePrepareHardware = prepare;
	callbacks.EvtDeviceReleaseHardware = release;
	callbacks.EvtDeviceD0Entry = d0_entry;
	callbacks.EvtDeviceD0Exit = d0_exit;
	callbacks.EvtDeviceSelfManagedIoInit = sm_init;
	callbacks.EvtDeviceSelfManagedIoSuspend = sm_suspend;
	callbacks.EvtDeviceSelfManagedIoCleanup = sm_cleanup;
	callbacks.EvtDeviceSurpriseRemoval = surprise;
	callbacks.EvtDeviceQueryRemove = query_remove;
	WdfDeviceInitSetPnpPowerEventCallbacks(init, &callbacks);
	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, NOTED);
	attributes.EvtCleanupCallback = object_cleanup;
	status = WdfDeviceCreate(&init, &attributes, &device);
	if (NT_SUCCESS(status)) {
		pthread_mutex_lock(&lock);
		WdfObjectGet_NOTED(device)->Number = count++;
		pthread_mutex_unlock(&lock);
	}
	return status;
}

static NTSTATUS entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	WDF_DRIVER_CONFIG config;

	WDF_DRIVER_CONFIG_INIT(&config, device_add);
	return WdfDriverCreate(object, path, WDF_NO_OBJECT_ATTRIBUTES, &config, WDF_NO_HANDLE);
}

/* ---- the host ---- */

static kmcl_partition *partition;
static kmcl_driver *server, *client;

static void violated(void *ctx, const char *rule, const char *driver, const char *text)
{
	(void)ctx;
	fprintf(stderr, "contract violation %s by %s: %s\n", rule, driver, text);
	abort();
}

static int setup(void **state)
{
	(void)state;
	memset(traces, 0, sizeof(traces));
	memset(channels, 0, sizeof(channels));
	count = gone = 0;
	prepare_status = STATUS_SUCCESS;
	server = client = NULL;
	kmcl_set_violation(violated, NULL);
	return kmcl_partition_create_loopback(NULL, &partition);
}

static int teardown(void **state)
{
	size_t leaked = 0;

	(void)state;
	if (client)
		leaked += kmcl_driver_unload(client);
	if (server)
		leaked += kmcl_driver_unload(server);
	kmcl_partition_destroy(partition);
	kmcl_set_violation(NULL, NULL);
	return leaked ? -1 : 0;
}

static void load_server(const char *spec)
{
	char *error = NULL;

	if (kmcl_driver_load(partition, KMCL_SERVER, spec, &server, &error))
		fail_msg("%s", error);
}

static void load_client(const char *id)
{
	const char *ids[] = {id, NULL};
	char *error = NULL;

	if (kmcl_driver_load_entry(partition, KMCL_CLIENT, "noted", (void *)(uintptr_t)entry, NULL,
				   ids, &client, &error))
		fail_msg("%s", error);
}

static void wait_gone(unsigned int number)
{
	struct timespec pause = {.tv_nsec = 1000000};
	uint64_t end = now_ms() + PATIENCE_MS;
	unsigned int seen;

	do {
		pthread_mutex_lock(&lock);
		seen = gone;
		pthread_mutex_unlock(&lock);
		assert_true(now_ms() < end);
		nanosleep(&pause, NULL);
	} while (seen < number);
}

static void device_for_each_offer_of_its_type(void **state)
{
	(void)state;
	load_server(ECHO_VSP ",channels=3");
	load_client(ECHO_ID);
	assert_int_equal(kmcl_driver_wait_devices(client, 3, PATIENCE_MS), 0);
	assert_int_equal(count, 3);
	assert_int_equal(kmcl_driver_unload(client), 0);
	client = NULL;
	for (int i = 0; i < 3; i++)
		assert_string_equal(traces[i], "prepare d0entry init query suspend d0exit release "
					       "cleanup object ");
}

static void other_types_are_not_offered(void **state)
{
	(void)state;
	load_server(ECHO_VSP);
	load_client("VMBUS\\{00000000-4c0b-4f2e-9a53-6b1c0e5d9f01}");
	assert_int_not_equal(kmcl_driver_wait_devices(client, 1, 100), 0);
	assert_int_equal(count, 0);
}

static void rescinded_offer_is_a_surprise(void **state)
{
	(void)state;
	load_server(ECHO_VSP ",channels=2");
	load_client(ECHO_ID);
	assert_int_equal(kmcl_driver_wait_devices(client, 2, PATIENCE_MS), 0);
	assert_int_equal(kmcl_driver_unload(server), 0);
	server = NULL;
	wait_gone(2);
	for (int i = 0; i < 2; i++)
		assert_string_equal(traces[i], "prepare d0entry init surprise suspend d0exit "
					       "release cleanup object ");
	/* and anew with the next offer */
	load_server(ECHO_VSP);
	assert_int_equal(kmcl_driver_wait_devices(client, 1, PATIENCE_MS), 0);
	assert_string_equal(traces[2], "prepare d0entry init ");
}

static void device_that_fails_to_start_goes(void **state)
{
	(void)state;
	prepare_status = STATUS_INSUFFICIENT_RESOURCES;
	load_server(ECHO_VSP);
	load_client(ECHO_ID);
	wait_gone(1);
	assert_string_equal(traces[0], "prepare release object ");
	assert_int_equal(kmcl_driver_devices(client), 0);
}

static void missing_framework_function_is_named(void **state)
{
	char *error = NULL;

	(void)state;
	assert_int_equal(kmcl_driver_load(partition, KMCL_CLIENT, MISSING_WDF, &client, &error),
			 -ENOEXEC);
	assert_null(client);
	assert_non_null(strstr(error, "WdfUsbTargetDeviceCreate"));
	kmcl_free(error);
}

static void options_are_read_from_the_registry(void **state)
{
	char *error = NULL;

	(void)state;
	assert_int_equal(
		kmcl_driver_load(partition, KMCL_CLIENT, ECHO_VSC ",ring=1", &client, &error),
		-EINVAL);
	assert_non_null(strstr(error, "STATUS_INVALID_PARAMETER"));
	kmcl_free(error);
	assert_int_equal(
		kmcl_driver_load(partition, KMCL_CLIENT, ECHO_VSC ",ring=many", &client, &error),
		-EIO);
	assert_non_null(strstr(error, "STATUS_OBJECT_TYPE_MISMATCH"));
	kmcl_free(error);
}

#define HOSTED(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		HOSTED(device_for_each_offer_of_its_type),
		HOSTED(other_types_are_not_offered),
		HOSTED(rescinded_offer_is_a_surprise),
		HOSTED(device_that_fails_to_start_goes),
		HOSTED(missing_framework_function_is_named),
		HOSTED(options_are_read_from_the_registry),
	};

	return cmocka_run_group_tests_name("drivers-kmdf_host", tests, NULL, NULL);
}
