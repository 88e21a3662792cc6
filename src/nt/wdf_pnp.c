/* SPDX-License-Identifier: MIT */
/*
 * PnP and power of a device of the framework, and the dispatch routine of its driver.
 *
 * PnP IRPs of one device come one after another, so the device's state needs no lock of its own;
 * what others look at is written under the driver's.
 */
#include "nt/wdf.h"

#include "base/log.h"

#define HANDLE_OF(device) ((WDFDEVICE)(PVOID)(device))

static struct wdf_device *device_of(PDEVICE_OBJECT object)
{
	struct wdf_driver *driver = nt_driver_of_device(object)->wdf;
	struct wdf_device *device;

	wdf_lock(driver);
	device = ((struct wdf_extension *)object->DeviceExtension)->device;
	if (device)
		wdf_reference(device);
	wdf_unlock(driver);
	return device;
}

static NTSTATUS complete(PIRP irp, NTSTATUS status)
{
	irp->IoStatus.Status = status;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

/* ---- down the stack ---- */

NTSTATUS wdf_pass_down(struct wdf_device *device, PIRP irp)
{
	IoSkipCurrentIrpStackLocation(irp);
	return IoCallDriver(device->lower, irp);
}

static IO_COMPLETION_ROUTINE came_back;
static NTSTATUS came_back(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Context)
{
	KeSetEvent(Context, IO_NO_INCREMENT, FALSE);
	return STATUS_MORE_PROCESSING_REQUIRED;
}

static NTSTATUS pass_down_and_wait(struct wdf_device *device, PIRP irp)
{
	KEVENT back;

	KeInitializeEvent(&back, NotificationEvent, FALSE);
	IoCopyCurrentIrpStackLocationToNext(irp);
	IoSetCompletionRoutine(irp, came_back, &back, TRUE, TRUE, TRUE);
	IoCallDriver(device->lower, irp);
	KeWaitForSingleObject(&back, Executive, KernelMode, FALSE, NULL);
	return irp->IoStatus.Status;
}

/* ---- self-managed I/O ---- */

static NTSTATUS self_managed_start(struct wdf_device *device)
{
	const WDF_PNPPOWER_EVENT_CALLBACKS *c = &device->init.callbacks;
	bool first = device->self_managed == WDF_SM_CREATED;
	NTSTATUS status = STATUS_SUCCESS;

	if (first && c->EvtDeviceSelfManagedIoInit)
		status = c->EvtDeviceSelfManagedIoInit(HANDLE_OF(device));
	else if (!first && c->EvtDeviceSelfManagedIoRestart)
		status = c->EvtDeviceSelfManagedIoRestart(HANDLE_OF(device));
	if (NT_SUCCESS(status))
		device->self_managed = WDF_SM_STARTED;
	else
		device->self_managed = first ? WDF_SM_INIT_FAILED : WDF_SM_FAILED;
	return status;
}

/* What goes wrong on the way down is said, and changes nothing. */
static void note(struct wdf_device *device, const char *callback, NTSTATUS status)
{
	const char *name = nt_status_name(status);

	if (!NT_SUCCESS(status))
		kmcl_log(KMCL_LOG_ERROR, "wdf", 0, 0, "%s: %s failed with %s (0x%08x)",
			 device->object.driver->nt->name, callback, name ? name : "a status",
			 (unsigned int)status);
}

static void self_managed_suspend(struct wdf_device *device)
{
	const WDF_PNPPOWER_EVENT_CALLBACKS *c = &device->init.callbacks;
	NTSTATUS status = STATUS_SUCCESS;

	if (device->self_managed != WDF_SM_STARTED)
		return;
	if (c->EvtDeviceSelfManagedIoSuspend)
		status = c->EvtDeviceSelfManagedIoSuspend(HANDLE_OF(device));
	note(device, "EvtDeviceSelfManagedIoSuspend", status);
	device->self_managed = NT_SUCCESS(status) ? WDF_SM_STOPPED : WDF_SM_FAILED;
}

static void self_managed_flush(struct wdf_device *device)
{
	PFN_WDF_DEVICE_SELF_MANAGED_IO_FLUSH flush =
		device->init.callbacks.EvtDeviceSelfManagedIoFlush;

	switch (device->self_managed) {
	case WDF_SM_INIT_FAILED:
	case WDF_SM_STOPPED:
	case WDF_SM_FAILED:
		if (flush)
			flush(HANDLE_OF(device));
		device->self_managed = WDF_SM_FLUSHED;
		break;
	case WDF_SM_CREATED:
	case WDF_SM_STARTED:
	case WDF_SM_FLUSHED:
	case WDF_SM_FINAL:
		break;
	}
}

static void self_managed_cleanup(struct wdf_device *device)
{
	PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP cleanup =
		device->init.callbacks.EvtDeviceSelfManagedIoCleanup;

	if (device->self_managed == WDF_SM_FLUSHED && cleanup)
		cleanup(HANDLE_OF(device));
	device->self_managed = WDF_SM_FINAL;
}

/* ---- up and down ---- */

static void set_pnp(struct wdf_device *device, enum wdf_pnp state)
{
	wdf_lock(device->object.driver);
	device->pnp = state;
	wdf_unlock(device->object.driver);
}

static void release_hardware(struct wdf_device *device)
{
	PFN_WDF_DEVICE_RELEASE_HARDWARE release = device->init.callbacks.EvtDeviceReleaseHardware;

	if (release)
		note(device, "EvtDeviceReleaseHardware",
		     release(HANDLE_OF(device), (WDFCMRESLIST)(PVOID)device->resources));
}

static void d0_exit(struct wdf_device *device)
{
	const WDF_PNPPOWER_EVENT_CALLBACKS *c = &device->init.callbacks;

	if (c->EvtDeviceD0Exit)
		note(device, "EvtDeviceD0Exit",
		     c->EvtDeviceD0Exit(HANDLE_OF(device), WdfPowerDeviceD3Final));
}

/* From the working state, self-managed I/O being suspended, to the point before D0Entry. */
static void power_down(struct wdf_device *device)
{
	const WDF_PNPPOWER_EVENT_CALLBACKS *c = &device->init.callbacks;

	wdf_queues_power_down(device);
	if (c->EvtDeviceD0ExitPreInterruptsDisabled)
		note(device, "EvtDeviceD0ExitPreInterruptsDisabled",
		     c->EvtDeviceD0ExitPreInterruptsDisabled(HANDLE_OF(device),
							     WdfPowerDeviceD3Final));
	d0_exit(device);
}

static NTSTATUS power_up(struct wdf_device *device)
{
	const WDF_PNPPOWER_EVENT_CALLBACKS *c = &device->init.callbacks;
	NTSTATUS status = STATUS_SUCCESS;

	if (c->EvtDeviceD0Entry)
		status = c->EvtDeviceD0Entry(HANDLE_OF(device), WdfPowerDeviceD3Final);
	if (!NT_SUCCESS(status))
		return status;
	if (c->EvtDeviceD0EntryPostInterruptsEnabled)
		status = c->EvtDeviceD0EntryPostInterruptsEnabled(HANDLE_OF(device),
								  WdfPowerDeviceD3Final);
	if (!NT_SUCCESS(status)) {
		d0_exit(device);
		return status;
	}
	wdf_queues_power_up(device);
	status = self_managed_start(device);
	if (!NT_SUCCESS(status))
		power_down(device);
	return status;
}

/* After the hardware has been released, for good. */
static void clean_up_for_remove(struct wdf_device *device)
{
	wdf_interfaces_enable(device, false);
	wdf_queues_purge(device, true);
	self_managed_flush(device);
}

static NTSTATUS start(struct wdf_device *device)
{
	const WDF_PNPPOWER_EVENT_CALLBACKS *c = &device->init.callbacks;
	WDFCMRESLIST none = (WDFCMRESLIST)(PVOID)device->resources;
	NTSTATUS status = STATUS_SUCCESS;

	if (device->pnp != WDF_PNP_CREATED && device->pnp != WDF_PNP_STOPPED)
		return STATUS_INVALID_DEVICE_STATE;
	if (c->EvtDevicePrepareHardware)
		status = c->EvtDevicePrepareHardware(HANDLE_OF(device), none, none);
	if (NT_SUCCESS(status))
		status = power_up(device);
	if (NT_SUCCESS(status)) {
		wdf_interfaces_enable(device, true);
		set_pnp(device, WDF_PNP_STARTED);
		return STATUS_SUCCESS;
	}
	release_hardware(device);
	clean_up_for_remove(device);
	set_pnp(device, WDF_PNP_FAILED);
	return status;
}

static void stop(struct wdf_device *device)
{
	if (device->pnp != WDF_PNP_STARTED)
		return;
	self_managed_suspend(device);
	power_down(device);
	release_hardware(device);
	set_pnp(device, WDF_PNP_STOPPED);
}

static void surprise(struct wdf_device *device)
{
	PFN_WDF_DEVICE_SURPRISE_REMOVAL removal = device->init.callbacks.EvtDeviceSurpriseRemoval;

	if (removal)
		removal(HANDLE_OF(device));
	stop(device);
	clean_up_for_remove(device);
	set_pnp(device, WDF_PNP_FAILED);
}

/* The device object's cleanup callbacks run while the stack below is whole. */
static NTSTATUS remove_device(struct wdf_device *device, PIRP irp)
{
	PDEVICE_OBJECT self = device->self, lower = device->lower;
	NTSTATUS status;

	stop(device);
	if (device->pnp != WDF_PNP_FAILED)
		clean_up_for_remove(device);
	wdf_queues_purge(device, false);
	self_managed_cleanup(device);
	set_pnp(device, WDF_PNP_FAILED);
	wdf_lock(device->object.driver);
	((struct wdf_extension *)self->DeviceExtension)->device = NULL;
	wdf_unlock(device->object.driver);
	wdf_delete(device);
	irp->IoStatus.Status = STATUS_SUCCESS;
	IoSkipCurrentIrpStackLocation(irp);
	status = IoCallDriver(lower, irp);
	IoDetachDevice(lower);
	IoDeleteDevice(self);
	return status;
}

static NTSTATUS query(struct wdf_device *device, NTSTATUS (*ask)(WDFDEVICE device))
{
	bool fixed;

	wdf_lock(device->object.driver);
	fixed = device->not_stoppable;
	wdf_unlock(device->object.driver);
	if (device->pnp != WDF_PNP_STARTED)
		return STATUS_SUCCESS;
	if (fixed)
		return STATUS_INVALID_DEVICE_STATE;
	return ask ? ask(HANDLE_OF(device)) : STATUS_SUCCESS;
}

NTSTATUS wdf_pnp_dispatch(struct wdf_device *device, PIRP irp)
{
	const WDF_PNPPOWER_EVENT_CALLBACKS *c = &device->init.callbacks;
	NTSTATUS status = STATUS_SUCCESS;

	switch (IoGetCurrentIrpStackLocation(irp)->MinorFunction) {
	case IRP_MN_START_DEVICE:
		status = pass_down_and_wait(device, irp);
		if (NT_SUCCESS(status))
			status = start(device);
		return complete(irp, status);
	case IRP_MN_QUERY_STOP_DEVICE:
		status = query(device, c->EvtDeviceQueryStop);
		break;
	case IRP_MN_QUERY_REMOVE_DEVICE:
		status = query(device, c->EvtDeviceQueryRemove);
		break;
	case IRP_MN_STOP_DEVICE:
		stop(device);
		break;
	case IRP_MN_SURPRISE_REMOVAL:
		surprise(device);
		break;
	case IRP_MN_REMOVE_DEVICE:
		return remove_device(device, irp);
	case IRP_MN_CANCEL_STOP_DEVICE:
	case IRP_MN_CANCEL_REMOVE_DEVICE:
		break;
	default:
		return wdf_pass_down(device, irp);
	}
	if (!NT_SUCCESS(status))
		return complete(irp, status);
	irp->IoStatus.Status = STATUS_SUCCESS;
	return wdf_pass_down(device, irp);
}

/* ---- dispatch ---- */

static NTSTATUS dispatch(struct wdf_device *device, PIRP irp)
{
	switch (IoGetCurrentIrpStackLocation(irp)->MajorFunction) {
	case IRP_MJ_PNP:
		return wdf_pnp_dispatch(device, irp);
	case IRP_MJ_POWER:
	case IRP_MJ_SYSTEM_CONTROL:
		return wdf_pass_down(device, irp);
	case IRP_MJ_READ:
	case IRP_MJ_WRITE:
	case IRP_MJ_DEVICE_CONTROL:
	case IRP_MJ_INTERNAL_DEVICE_CONTROL:
		return wdf_queue_insert(device, irp);
	case IRP_MJ_CREATE:
	case IRP_MJ_CLEANUP:
	case IRP_MJ_CLOSE:
		return device->init.filter ? wdf_pass_down(device, irp)
					   : complete(irp, STATUS_SUCCESS);
	default:
		return device->init.filter ? wdf_pass_down(device, irp)
					   : complete(irp, STATUS_INVALID_DEVICE_REQUEST);
	}
}

NTSTATUS wdf_dispatch(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(Irp);
	struct wdf_device *device = device_of(DeviceObject);
	PFN_WDFDEVICE_WDM_IRP_PREPROCESS preprocess;
	NTSTATUS status;

	if (!device)
		return complete(Irp, STATUS_NO_SUCH_DEVICE);
	preprocess = device->init.preprocess[location->MajorFunction];
	if (preprocess && location->MinorFunction < 64 &&
	    device->init.preprocess_minors[location->MajorFunction] >> location->MinorFunction & 1)
		status = preprocess(HANDLE_OF(device), Irp);
	else
		status = dispatch(device, Irp);
	wdf_release(device);
	return status;
}

/* The preprocess callback has set the next location up (IoSkip or IoCopy), as for a lower driver.
 */
NTSTATUS WdfDeviceWdmDispatchPreprocessedIrp(WDFDEVICE Device, PIRP Irp)
{
	struct wdf_device *device =
		wdf_of(Device, WDF_DEVICE, "WdfDeviceWdmDispatchPreprocessedIrp");

	if (!device)
		return complete(Irp, STATUS_INVALID_PARAMETER);
	Irp->CurrentLocation--;
	Irp->Tail.Overlay.CurrentStackLocation--;
	IoGetCurrentIrpStackLocation(Irp)->DeviceObject = device->self;
	return dispatch(device, Irp);
}
