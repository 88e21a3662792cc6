/* SPDX-License-Identifier: MIT */
/*
 * The framework's driver object, and what the loader does for a driver that has one.
 */
#include "nt/wdf.h"

#define INIT_FLAGS                                                                   \
	(WdfDriverInitNonPnpDriver | WdfDriverInitNoDispatchOverride | WdfVerifyOn | \
	 WdfVerifierOn | WdfDriverInitCompanion)

static DRIVER_ADD_DEVICE add_device;
static NTSTATUS add_device(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject)
{
	struct wdf_driver *driver = nt_driver_of_object(DriverObject)->wdf;
	struct WDFDEVICE_INIT *init = nt_pool_alloc_private(sizeof(*init), driver->tag);
	struct wdf_device *device;
	NTSTATUS status;

	if (!init)
		return STATUS_INSUFFICIENT_RESOURCES;
	init->driver = driver;
	init->pdo = PhysicalDeviceObject;
	init->type = FILE_DEVICE_UNKNOWN;
	init->io_type = WdfDeviceIoBuffered;
	status = driver->config.EvtDriverDeviceAdd((WDFDRIVER)(PVOID)driver, init);
	device = init->device;
	wdf_device_init_clear(init);
	ExFreePool(init);
	if (!device)
		return status;
	if (NT_SUCCESS(status))
		device->self->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	else
		wdf_device_delete(device);
	wdf_release(device);
	return status;
}

void nt_wdf_unload(struct nt_driver *nt)
{
	struct wdf_driver *driver = nt->wdf;
	struct nt_driver *previous;

	if (!driver)
		return;
	previous = nt_driver_enter(nt);
	wdf_delete(driver);
	nt_driver_leave(previous);
	nt->wdf = NULL;
}

static DRIVER_UNLOAD unload;
static VOID unload(PDRIVER_OBJECT DriverObject)
{
	struct wdf_driver *driver = nt_driver_of_object(DriverObject)->wdf;

	if (driver->config.EvtDriverUnload)
		driver->config.EvtDriverUnload((WDFDRIVER)(PVOID)driver);
}

static void destroy_driver(struct wdf_object *object)
{
	struct wdf_driver *driver = (struct wdf_driver *)(PVOID)object;

	pthread_cond_destroy(&driver->changed);
	pthread_mutex_destroy(&driver->lock);
}

static void take_over(struct wdf_driver *driver, PDRIVER_OBJECT object)
{
	for (int i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
		object->MajorFunction[i] = wdf_dispatch;
	if (!(driver->config.DriverInitFlags & WdfDriverInitNonPnpDriver))
		object->DriverExtension->AddDevice = add_device;
	if (driver->config.EvtDriverUnload ||
	    !(driver->config.DriverInitFlags & WdfDriverInitNonPnpDriver))
		object->DriverUnload = unload;
}

static NTSTATUS check_config(const WDF_DRIVER_CONFIG *config)
{
	bool pnp = !(config->DriverInitFlags & WdfDriverInitNonPnpDriver);

	if (!wdf_size_is(config->Size, sizeof(*config)))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (config->DriverInitFlags & ~(ULONG)INIT_FLAGS)
		return STATUS_INVALID_PARAMETER;
	if (pnp != (config->EvtDriverDeviceAdd != NULL))
		return STATUS_INVALID_PARAMETER;
	return STATUS_SUCCESS;
}

NTSTATUS WdfDriverCreate(PDRIVER_OBJECT DriverObject, PCUNICODE_STRING RegistryPath,
			 PWDF_OBJECT_ATTRIBUTES DriverAttributes, PWDF_DRIVER_CONFIG DriverConfig,
			 WDFDRIVER *Driver)
{
	struct nt_driver *nt = nt_driver_of_object(DriverObject);
	struct wdf_driver *driver;
	NTSTATUS status;

	if (Driver)
		*Driver = NULL;
	if (!nt || !RegistryPath || !DriverConfig)
		return STATUS_INVALID_PARAMETER;
	if (nt->wdf)
		return STATUS_DRIVER_INTERNAL_ERROR;
	status = check_config(DriverConfig);
	if (NT_SUCCESS(status))
		status = wdf_create(NULL, WDF_DRIVER, sizeof(*driver), DriverAttributes, NULL,
				    WDF_PASSIVE | WDF_KEPT, &driver);
	if (!NT_SUCCESS(status))
		return status;
	driver->nt = nt;
	driver->config = *DriverConfig;
	driver->tag = DriverConfig->DriverPoolTag ? DriverConfig->DriverPoolTag : WDF_TAG;
	pthread_mutex_init(&driver->lock, NULL);
	pthread_cond_init(&driver->changed, NULL);
	driver->object.destroy = destroy_driver;
	nt->wdf = driver;
	take_over(driver, DriverObject);
	if (Driver)
		*Driver = (WDFDRIVER)(PVOID)driver;
	return STATUS_SUCCESS;
}

WDFDRIVER WdfGetDriver(VOID)
{
	struct nt_driver *nt = nt_driver_current();

	return nt ? (WDFDRIVER)(PVOID)nt->wdf : NULL;
}

PDRIVER_OBJECT WdfDriverWdmGetDriverObject(WDFDRIVER Driver)
{
	struct wdf_driver *driver = wdf_of(Driver, WDF_DRIVER, "WdfDriverWdmGetDriverObject");

	return driver ? &driver->nt->object : NULL;
}

WDFDRIVER WdfWdmDriverGetWdfDriverHandle(PDRIVER_OBJECT DriverObject)
{
	struct nt_driver *nt = nt_driver_of_object(DriverObject);

	return nt ? (WDFDRIVER)(PVOID)nt->wdf : NULL;
}

PWSTR WdfDriverGetRegistryPath(WDFDRIVER Driver)
{
	struct wdf_driver *driver = wdf_of(Driver, WDF_DRIVER, "WdfDriverGetRegistryPath");

	return driver ? driver->nt->registry_path : NULL;
}

BOOLEAN WdfDriverIsVersionAvailable(WDFDRIVER Driver,
				    PWDF_DRIVER_VERSION_AVAILABLE_PARAMS VersionAvailableParams)
{
	if (!wdf_of(Driver, WDF_DRIVER, "WdfDriverIsVersionAvailable") || !VersionAvailableParams ||
	    !wdf_size_is(VersionAvailableParams->Size, sizeof(*VersionAvailableParams)))
		return FALSE;
	return VersionAvailableParams->MajorVersion == 1 &&
	       VersionAvailableParams->MinorVersion <= 33;
}
