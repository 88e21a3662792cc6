/* SPDX-License-Identifier: MIT */
/* Mistakes with the driver framework. */
#include "breakers.h"

#include <wdf.h>

static struct nt_driver *driver;
static NTSTATUS (*on_add)(PWDFDEVICE_INIT init);
static WDFDRIVER wdf_driver;
static WDFDEVICE device;

static NTSTATUS device_add(WDFDRIVER Driver, PWDFDEVICE_INIT init)
{
	wdf_driver = Driver;
	return on_add(init);
}

static NTSTATUS entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	WDF_DRIVER_CONFIG config;

	WDF_DRIVER_CONFIG_INIT(&config, device_add);
	return WdfDriverCreate(object, path, WDF_NO_OBJECT_ATTRIBUTES, &config, WDF_NO_HANDLE);
}

static void plug(NTSTATUS (*add)(PWDFDEVICE_INIT))
{
	static const struct nt_bus_ops ops = {.name = "test"};
	struct nt_driver_config config = {.name = "framework", .entry = entry};
	PDEVICE_OBJECT pdo;
	char *error;

	on_add = add;
	assert_int_equal(nt_driver_load(&config, &driver, &error), STATUS_SUCCESS);
	assert_int_equal(nt_pdo_create(&ops, NULL, &pdo), STATUS_SUCCESS);
	assert_int_equal(nt_device_add(driver, pdo), STATUS_SUCCESS);
	nt_driver_enter(driver);
}

static NTSTATUS plain(PWDFDEVICE_INIT init)
{
	return WdfDeviceCreate(&init, WDF_NO_OBJECT_ATTRIBUTES, &device);
}

static WDFCOLLECTION collection(void)
{
	WDFCOLLECTION c;

	plug(plain);
	assert_int_equal(WdfCollectionCreate(WDF_NO_OBJECT_ATTRIBUTES, &c), STATUS_SUCCESS);
	return c;
}

static void remove_from_empty(void)
{
	WdfCollectionRemoveItem(collection(), 0);
}

static void delete_device(void)
{
	plug(plain);
	WdfObjectDelete(device);
}

static NTSTATUS free_init(PWDFDEVICE_INIT init)
{
	WdfDeviceInitFree(init);
	return STATUS_UNSUCCESSFUL;
}

static void free_given_init(void)
{
	plug(free_init);
}

static NTSTATUS no_framework(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	(void)object;
	(void)path;
	return STATUS_SUCCESS;
}

static void no_driver_object(void)
{
	struct nt_driver_config config = {.name = "framework", .entry = no_framework};
	WDFCOLLECTION c;
	char *error;

	assert_int_equal(nt_driver_load(&config, &driver, &error), STATUS_SUCCESS);
	nt_driver_enter(driver);
	WdfCollectionCreate(WDF_NO_OBJECT_ATTRIBUTES, &c);
}

static VOID flush_itself(WDFWORKITEM item)
{
	WdfWorkItemFlush(item);
}

static void flush_in_work_item(void)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDF_WORKITEM_CONFIG config;
	WDFWORKITEM item;

	plug(plain);
	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.ParentObject = device;
	WDF_WORKITEM_CONFIG_INIT(&config, flush_itself);
	assert_int_equal(WdfWorkItemCreate(&config, &attributes, &item), STATUS_SUCCESS);
	WdfWorkItemEnqueue(item);
	kt_nap(5000);
}

/* A stale handle is noticed too, but under AddressSanitizer by that. */
static void wrong_object(void)
{
	collection();
	WdfCollectionGetCount((WDFCOLLECTION)(PVOID)device);
}

static void unknown_interface(void)
{
	static const GUID none = {1, 2, 3, {4}};

	plug(plain);
	WdfDeviceSetDeviceInterfaceState(device, &none, NULL, TRUE);
}

static NTSTATUS strange_io(PWDFDEVICE_INIT init)
{
	WdfDeviceInitSetIoType(init, (WDF_DEVICE_IO_TYPE)99);
	return STATUS_UNSUCCESSFUL;
}

static void set_strange_io(void)
{
	plug(strange_io);
}

static void lock_twice(void)
{
	WDFWAITLOCK lock;

	plug(plain);
	assert_int_equal(WdfWaitLockCreate(WDF_NO_OBJECT_ATTRIBUTES, &lock), STATUS_SUCCESS);
	WdfWaitLockAcquire(lock, NULL);
	WdfWaitLockAcquire(lock, NULL);
}

static void drop_too_often(void)
{
	WdfObjectDereference(collection());
}

static NTSTATUS wrong_size(PWDFDEVICE_INIT init)
{
	WDF_PNPPOWER_EVENT_CALLBACKS callbacks;

	WDF_PNPPOWER_EVENT_CALLBACKS_INIT(&callbacks);
	callbacks.Size--;
	WdfDeviceInitSetPnpPowerEventCallbacks(init, &callbacks);
	return STATUS_UNSUCCESSFUL;
}

static void set_wrong_size(void)
{
	plug(wrong_size);
}

static void close_own_target(void)
{
	plug(plain);
	WdfIoTargetClose(WdfDeviceGetIoTarget(device));
}

/* ---- requests ---- */

static VOID cancelled(WDFREQUEST request)
{
	WdfRequestComplete(request, STATUS_CANCELLED);
}

static VOID complete_twice(WDFQUEUE queue, WDFREQUEST request, size_t out, size_t in, ULONG code)
{
	(void)queue;
	(void)out;
	(void)in;
	switch (code) {
	case CTL_CODE(FILE_DEVICE_UNKNOWN, 1, METHOD_BUFFERED, FILE_ANY_ACCESS):
		WdfObjectReference(request);
		WdfRequestComplete(request, STATUS_SUCCESS);
		WdfRequestComplete(request, STATUS_SUCCESS);
		break;
	case CTL_CODE(FILE_DEVICE_UNKNOWN, 2, METHOD_BUFFERED, FILE_ANY_ACCESS):
		WdfRequestMarkCancelable(request, cancelled);
		WdfRequestComplete(request, STATUS_SUCCESS);
		break;
	default:
		WdfRequestStopAcknowledge(request, FALSE);
		break;
	}
}

static WDFQUEUE queue;

static NTSTATUS with_queue(PWDFDEVICE_INIT init)
{
	WDF_IO_QUEUE_CONFIG config;
	NTSTATUS status = plain(init);

	WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(&config, WdfIoQueueDispatchParallel);
	config.EvtIoDeviceControl = complete_twice;
	return NT_SUCCESS(status)
		       ? WdfIoQueueCreate(device, &config, WDF_NO_OBJECT_ATTRIBUTES, &queue)
		       : status;
}

static void control(ULONG function)
{
	plug(with_queue);
	nt_device_control(WdfDeviceWdmGetDeviceObject(device),
			  CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS),
			  NULL, 0, NULL, 0, NULL);
}

static void complete_request_twice(void)
{
	control(1);
}

static void complete_cancelable(void)
{
	control(2);
}

static void acknowledge_unasked(void)
{
	control(3);
}

static void stop_at_dispatch(void)
{
	KIRQL old;

	plug(with_queue);
	KeRaiseIrql(DISPATCH_LEVEL, &old);
	WdfIoQueueStopSynchronously(queue);
}

#define BREAKER(rule, run)                          \
	{                                           \
		rule, run, "framework", false, NULL \
	}

const struct breaker framework_breakers[] = {
	BREAKER("wdf-collection", remove_from_empty),
	BREAKER("wdf-delete", delete_device),
	BREAKER("wdf-device-init", free_given_init),
	BREAKER("wdf-driver", no_driver_object),
	BREAKER("wdf-flush", flush_in_work_item),
	BREAKER("wdf-handle", wrong_object),
	BREAKER("wdf-interface", unknown_interface),
	BREAKER("wdf-io-type", set_strange_io),
	BREAKER("wdf-lock", lock_twice),
	BREAKER("wdf-reference", drop_too_often),
	BREAKER("wdf-request-cancelable", complete_cancelable),
	BREAKER("wdf-request-completed", complete_request_twice),
	BREAKER("wdf-size", set_wrong_size),
	BREAKER("wdf-stop", acknowledge_unasked),
	BREAKER("wdf-target", close_own_target),
	BREAKER("wdf-wait", stop_at_dispatch),
	{NULL, NULL, NULL, false, NULL},
};
