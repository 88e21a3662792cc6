/* SPDX-License-Identifier: MIT */
/*
 * A driver for the tests of loading, PnP and device control: a control device, and a function
 * device for every physical one.
 */
#include <initguid.h>
#include "io_driver.h"

DRIVER_INITIALIZE DriverEntry;

struct function {
	PDEVICE_OBJECT lower;
	struct io_trace *trace; /* NULL: the control device */
};

struct pending {
	PIO_WORKITEM item;
	PIRP irp;
	BOOLEAN late;
};

#define TAG 'tIoT'

static PDEVICE_OBJECT control_device;

static void note(struct io_trace *trace, const char *text)
{
	strncat(trace->text, text, sizeof(trace->text) - strlen(trace->text) - 1);
}

/* ---- PnP ---- */

static NTSTATUS signal_caller(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
	KeSetEvent(context, IO_NO_INCREMENT, FALSE);
	return STATUS_MORE_PROCESSING_REQUIRED;
}

/* Sends the IRP down and has it back. */
static NTSTATUS forward_and_wait(PDEVICE_OBJECT lower, PIRP irp)
{
	KEVENT back;

	KeInitializeEvent(&back, NotificationEvent, FALSE);
	IoCopyCurrentIrpStackLocationToNext(irp);
	IoSetCompletionRoutine(irp, signal_caller, &back, TRUE, TRUE, TRUE);
	if (IoCallDriver(lower, irp) == STATUS_PENDING)
		KeWaitForSingleObject(&back, Executive, KernelMode, FALSE, NULL);
	return irp->IoStatus.Status;
}

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG_PTR information)
{
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = information;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static NTSTATUS remove_device(PDEVICE_OBJECT device, PIRP irp)
{
	struct function *f = device->DeviceExtension;
	PDEVICE_OBJECT lower = f->lower;
	NTSTATUS status;

	note(f->trace, "remove ");
	irp->IoStatus.Status = STATUS_SUCCESS;
	IoSkipCurrentIrpStackLocation(irp);
	status = IoCallDriver(lower, irp);
	IoDetachDevice(lower);
	IoDeleteDevice(device);
	return status;
}

static NTSTATUS dispatch_pnp(PDEVICE_OBJECT device, PIRP irp)
{
	struct function *f = device->DeviceExtension;
	NTSTATUS status;

	switch (IoGetCurrentIrpStackLocation(irp)->MinorFunction) {
	case IRP_MN_START_DEVICE:
		status = forward_and_wait(f->lower, irp);
		note(f->trace, NT_SUCCESS(status) ? "start " : "start-failed-below ");
		if (NT_SUCCESS(status))
			status = f->trace->start_status;
		return complete(irp, status, 0);
	case IRP_MN_SURPRISE_REMOVAL:
		note(f->trace, "surprise ");
		irp->IoStatus.Status = STATUS_SUCCESS;
		break;
	case IRP_MN_REMOVE_DEVICE:
		return remove_device(device, irp);
	default:
		break;
	}
	IoSkipCurrentIrpStackLocation(irp);
	return IoCallDriver(f->lower, irp);
}

/* Asks the bus below for the trace, as a driver asks for any interface. */
static NTSTATUS query_trace(PDEVICE_OBJECT pdo, struct io_trace **trace)
{
	struct io_trace_interface result;
	PIO_STACK_LOCATION next;
	NTSTATUS status;
	/* IoAllocateIrp's work by hand: an IRP of one location */
	struct {
		IRP irp;
		IO_STACK_LOCATION location[2];
	} request;

	memset(&request, 0, sizeof(request));
	memset(&result, 0, sizeof(result));
	request.irp.StackCount = 1;
	request.irp.CurrentLocation = 2;
	request.irp.Tail.Overlay.CurrentStackLocation = &request.location[1];
	request.irp.IoStatus.Status = STATUS_NOT_SUPPORTED;
	next = IoGetNextIrpStackLocation(&request.irp);
	next->MajorFunction = IRP_MJ_PNP;
	next->MinorFunction = IRP_MN_QUERY_INTERFACE;
	next->Parameters.QueryInterface.InterfaceType = &IO_TRACE_GUID;
	next->Parameters.QueryInterface.Size = sizeof(result);
	next->Parameters.QueryInterface.Version = 1;
	next->Parameters.QueryInterface.Interface = &result.interface;
	status = IoCallDriver(pdo, &request.irp);
	*trace = result.trace;
	return status;
}

static NTSTATUS add_device(PDRIVER_OBJECT driver, PDEVICE_OBJECT pdo)
{
	struct io_trace *trace;
	struct function *f;
	PDEVICE_OBJECT device;
	NTSTATUS status = query_trace(pdo, &trace);

	if (!NT_SUCCESS(status))
		return status;
	note(trace, "add ");
	if (!NT_SUCCESS(trace->add_status))
		return trace->add_status;
	status = IoCreateDevice(driver, sizeof(*f), NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
	if (!NT_SUCCESS(status))
		return status;
	f = device->DeviceExtension;
	f->trace = trace;
	f->lower = IoAttachDeviceToDeviceStack(device, pdo);
	device->Flags &= ~DO_DEVICE_INITIALIZING;
	if (trace->almost_added)
		trace->almost_added(trace);
	return STATUS_SUCCESS;
}

/* ---- device control ---- */

static VOID work(PDEVICE_OBJECT device, PVOID context)
{
	LARGE_INTEGER delay = {.QuadPart = -300000}; /* 30 ms */
	struct pending *p = context;

	KeDelayExecutionThread(KernelMode, FALSE, &delay);
	if (p->irp) {
		*(ULONG *)p->irp->AssociatedIrp.SystemBuffer = KeGetCurrentIrql();
		complete(p->irp, STATUS_SUCCESS, sizeof(ULONG));
	} else {
		((struct function *)device->DeviceExtension)->lower =
			NULL; /* it must still be there */
	}
	IoFreeWorkItem(p->item);
	ExFreePoolWithTag(p, TAG);
}

static NTSTATUS queue_work(PDEVICE_OBJECT device, PIRP irp)
{
	struct pending *p = ExAllocatePoolZero(NonPagedPoolNx, sizeof(*p), TAG);

	if (!p)
		return STATUS_INSUFFICIENT_RESOURCES;
	p->irp = irp;
	p->item = IoAllocateWorkItem(device);
	if (!p->item) {
		ExFreePoolWithTag(p, TAG);
		return STATUS_INSUFFICIENT_RESOURCES;
	}
	if (irp)
		IoMarkIrpPending(irp);
	IoQueueWorkItem(p->item, work, DelayedWorkQueue, p);
	return STATUS_PENDING;
}

static ULONG sum(const UCHAR *p, ULONG n)
{
	ULONG total = 0;

	while (n--)
		total += *p++;
	return total;
}

static NTSTATUS direct(PIRP irp, PIO_STACK_LOCATION location, BOOLEAN fill)
{
	ULONG n = location->Parameters.DeviceIoControl.OutputBufferLength;
	PUCHAR input = irp->AssociatedIrp.SystemBuffer, data;

	data = MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority);
	if (!data || MmGetMdlByteCount(irp->MdlAddress) != n)
		return complete(irp, STATUS_INVALID_PARAMETER, 0);
	if (fill)
		RtlFillMemory(data, n, *input);
	else if (sum(data, n) != *(PULONG)(PVOID)input)
		return complete(irp, STATUS_DATA_ERROR, 0);
	return complete(irp, STATUS_SUCCESS, n);
}

static NTSTATUS dispatch_control(PDEVICE_OBJECT device, PIRP irp)
{
	PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(irp);
	ULONG in = location->Parameters.DeviceIoControl.InputBufferLength;
	ULONG out = location->Parameters.DeviceIoControl.OutputBufferLength;
	PUCHAR system = irp->AssociatedIrp.SystemBuffer;

	switch (location->Parameters.DeviceIoControl.IoControlCode) {
	case IOCTL_ECHO_BUFFERED:
		for (ULONG i = 0; i < in; i++)
			system[i] ^= 0xff;
		return complete(irp, STATUS_SUCCESS, min(in, out));
	case IOCTL_SUM_IN_DIRECT:
		return direct(irp, location, FALSE);
	case IOCTL_FILL_OUT_DIRECT:
		return direct(irp, location, TRUE);
	case IOCTL_SWAP_NEITHER:
		RtlCopyMemory(irp->UserBuffer,
			      location->Parameters.DeviceIoControl.Type3InputBuffer, min(in, out));
		return complete(irp, STATUS_SUCCESS, min(in, out));
	case IOCTL_PEND:
		return queue_work(device, irp);
	case IOCTL_OVERFLOW:
		RtlFillMemory(system, out, 'o');
		return complete(irp, STATUS_BUFFER_OVERFLOW, out);
	case IOCTL_FAIL:
		RtlFillMemory(system, out, 'f');
		return complete(irp, STATUS_DEVICE_NOT_CONNECTED, out);
	case IOCTL_LEAK:
		ExAllocatePoolZero(NonPagedPoolNx, 123, TAG);
		return complete(irp, STATUS_SUCCESS, 0);
	case IOCTL_WORK:
		queue_work(device, NULL);
		return complete(irp, STATUS_SUCCESS, 0);
	default:
		return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
	}
}

/* ---- the driver ---- */

static VOID unload(PDRIVER_OBJECT driver)
{
	IoDeleteDevice(control_device);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	NTSTATUS status;

	driver->DriverUnload = unload;
	driver->DriverExtension->AddDevice = add_device;
	driver->MajorFunction[IRP_MJ_PNP] = dispatch_pnp;
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = dispatch_control;
	status = IoCreateDevice(driver, sizeof(struct function), NULL, FILE_DEVICE_UNKNOWN, 0,
				FALSE, &control_device);
	if (NT_SUCCESS(status))
		control_device->Flags &= ~DO_DEVICE_INITIALIZING;
	return status;
}
