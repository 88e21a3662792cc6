/* SPDX-License-Identifier: MIT */
/*
 * The echo server (VSP): DriverEntry, PnP and device control. One device for each bus, with as many
 * channels as the option channels= says (1); quota= bounds the requests of a channel that are
 * served at once (64); first= is how many instances are left to other servers of the bus (0).
 */
#include "echo_vsp.h"

#include "echo_ioctl.h"

DRIVER_INITIALIZE DriverEntry;

static ULONG ChannelOption = 1;
static ULONG QuotaOption = ECHO_DEFAULT_QUOTA;
static ULONG FirstOption;

static NTSTATUS ReadOptions(PUNICODE_STRING RegistryPath)
{
	const ULONG flags = RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_TYPECHECK;
	const ULONG number = REG_DWORD << RTL_QUERY_REGISTRY_TYPECHECK_SHIFT;
	ULONG channels = 1, quota = ECHO_DEFAULT_QUOTA, first = 0;
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{.Flags = RTL_QUERY_REGISTRY_SUBKEY, .Name = (PWSTR)L"Parameters"},
		{.Flags = flags,
		 .Name = (PWSTR)L"channels",
		 .EntryContext = &channels,
		 .DefaultType = number},
		{.Flags = flags,
		 .Name = (PWSTR)L"quota",
		 .EntryContext = &quota,
		 .DefaultType = number},
		{.Flags = flags,
		 .Name = (PWSTR)L"first",
		 .EntryContext = &first,
		 .DefaultType = number},
		{0},
	};
	NTSTATUS status = RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, RegistryPath->Buffer, table,
						 NULL, NULL);

	if (!NT_SUCCESS(status)) {
		DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL,
			   "channels=, quota= and first= are numbers\n");
		return status;
	}
	if (!channels || channels > ECHO_MAXIMUM_CHANNELS || !quota || quota > ECHO_MAXIMUM_QUOTA ||
	    first > ECHO_MAXIMUM_CHANNELS) {
		DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL,
			   "channels= is 1 to %u, quota= is 1 to %u, first= is 0 to %u\n",
			   ECHO_MAXIMUM_CHANNELS, ECHO_MAXIMUM_QUOTA, ECHO_MAXIMUM_CHANNELS);
		return STATUS_INVALID_PARAMETER;
	}
	ChannelOption = channels;
	QuotaOption = quota;
	FirstOption = first;
	return STATUS_SUCCESS;
}

/* ---- PnP ---- */

static NTSTATUS EnableChannel(PECHO_CHANNEL Echo)
{
	NTSTATUS status = VmbChannelEnable(Echo->Channel);

	if (NT_SUCCESS(status))
		VmbChannelStart(Echo->Channel);
	return status;
}

static NTSTATUS StartDevice(PECHO_DEVICE Device)
{
	NTSTATUS status = STATUS_SUCCESS;

	for (ULONG i = 0; i < Device->ChannelCount && NT_SUCCESS(status); i++)
		status = EnableChannel(&Device->Channels[i]);
	return status;
}

/* From here on nothing is offered, whatever device control asks for. */
static VOID StopDevice(PECHO_DEVICE Device)
{
	KeWaitForSingleObject(&Device->Mutex, Executive, KernelMode, FALSE, NULL);
	Device->Removed = TRUE;
	KeReleaseMutex(&Device->Mutex, FALSE);
	for (ULONG i = 0; i < Device->ChannelCount; i++)
		VmbChannelDisable(Device->Channels[i].Channel);
}

static VOID DestroyDevice(PECHO_DEVICE Device)
{
	for (ULONG i = 0; i < Device->ChannelCount; i++)
		EchoChannelDestroy(&Device->Channels[i]);
	if (Device->Lower)
		IoDetachDevice(Device->Lower);
	IoDeleteDevice(Device->Self);
}

static DRIVER_ADD_DEVICE EchoAddDevice;
static NTSTATUS EchoAddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject)
{
	ULONG size = FIELD_OFFSET(ECHO_DEVICE, Channels) + ChannelOption * sizeof(ECHO_CHANNEL);
	PDEVICE_OBJECT object;
	PECHO_DEVICE device;
	NTSTATUS status;

	status = IoCreateDevice(DriverObject, size, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &object);
	if (!NT_SUCCESS(status))
		return status;
	device = object->DeviceExtension;
	device->Self = object;
	device->Physical = PhysicalDeviceObject;
	device->Quota = QuotaOption;
	KeInitializeMutex(&device->Mutex, 0);
	ExInitializeRundownProtection(&device->Requests);
	for (ULONG i = 0; i < ChannelOption && NT_SUCCESS(status); i++) {
		device->ChannelCount++;
		status = EchoChannelCreate(device, &device->Channels[i], FirstOption + i);
	}
	if (NT_SUCCESS(status)) {
		device->Lower = IoAttachDeviceToDeviceStack(object, PhysicalDeviceObject);
		if (!device->Lower)
			status = STATUS_NO_SUCH_DEVICE;
	}
	if (!NT_SUCCESS(status)) {
		DestroyDevice(device);
		return status;
	}
	object->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return STATUS_SUCCESS;
}

static NTSTATUS CompleteIrp(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
	Irp->IoStatus.Status = Status;
	Irp->IoStatus.Information = Information;
	IoCompleteRequest(Irp, IO_NO_INCREMENT);
	return Status;
}

static NTSTATUS PassDown(PECHO_DEVICE Device, PIRP Irp)
{
	IoSkipCurrentIrpStackLocation(Irp);
	return IoCallDriver(Device->Lower, Irp);
}

static DRIVER_DISPATCH EchoPnp;
static NTSTATUS EchoPnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PECHO_DEVICE device = DeviceObject->DeviceExtension;
	NTSTATUS status;

	switch (IoGetCurrentIrpStackLocation(Irp)->MinorFunction) {
	case IRP_MN_START_DEVICE:
		/* The bus has nothing to prepare, so its answer need not be waited for. */
		status = StartDevice(device);
		if (!NT_SUCCESS(status))
			return CompleteIrp(Irp, status, 0);
		break;
	case IRP_MN_SURPRISE_REMOVAL:
		StopDevice(device);
		break;
	case IRP_MN_REMOVE_DEVICE:
		StopDevice(device);
		ExWaitForRundownProtectionRelease(&device->Requests);
		Irp->IoStatus.Status = STATUS_SUCCESS;
		status = PassDown(device, Irp);
		DestroyDevice(device);
		return status;
	default:
		return PassDown(device, Irp);
	}
	Irp->IoStatus.Status = STATUS_SUCCESS;
	return PassDown(device, Irp);
}

/* ---- device control ---- */

static VOID Query(PECHO_DEVICE Device, PECHO_CHANNEL Echo, struct echo_info *Info)
{
	RtlZeroMemory(Info, sizeof(*Info));
	RtlCopyMemory(Info->instance, &Echo->Instance, sizeof(Info->instance));
	Info->channels = Device->ChannelCount;
	Info->open = (UINT32)InterlockedOr(&Echo->Open, 0);
	Info->running = (UINT32)InterlockedOr(&Echo->Running, 0);
	Info->opens = (UINT32)InterlockedOr(&Echo->Opens, 0);
	Info->packets = (UINT64)InterlockedAdd64(&Echo->Packets, 0);
}

/* Under the mutex, so that a device that goes away does not offer again. */
static NTSTATUS Control(PECHO_DEVICE Device, PECHO_CHANNEL Echo, ULONG Code)
{
	NTSTATUS status = STATUS_SUCCESS;

	switch (Code) {
	case ECHO_IOCTL_ENABLE:
		status = Device->Removed ? STATUS_DEVICE_REMOVED : EnableChannel(Echo);
		break;
	case ECHO_IOCTL_DISABLE:
		VmbChannelDisable(Echo->Channel);
		break;
	case ECHO_IOCTL_PAUSE:
		VmbChannelPause(Echo->Channel);
		break;
	case ECHO_IOCTL_START:
		VmbChannelStart(Echo->Channel);
		break;
	default:
		status = STATUS_INVALID_DEVICE_REQUEST;
		break;
	}
	return status;
}

static NTSTATUS HandleControl(PECHO_DEVICE Device, PIRP Irp)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
	ULONG code = stack->Parameters.DeviceIoControl.IoControlCode;
	struct echo_select select = {0};
	NTSTATUS status;

	if (stack->Parameters.DeviceIoControl.InputBufferLength >= sizeof(select))
		RtlCopyMemory(&select, Irp->AssociatedIrp.SystemBuffer, sizeof(select));
	if (select.channel >= Device->ChannelCount)
		return CompleteIrp(Irp, STATUS_INVALID_PARAMETER, 0);
	if (code == ECHO_IOCTL_QUERY) {
		if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(struct echo_info))
			return CompleteIrp(Irp, STATUS_BUFFER_TOO_SMALL, 0);
		Query(Device, &Device->Channels[select.channel], Irp->AssociatedIrp.SystemBuffer);
		return CompleteIrp(Irp, STATUS_SUCCESS, sizeof(struct echo_info));
	}
	KeWaitForSingleObject(&Device->Mutex, Executive, KernelMode, FALSE, NULL);
	status = Control(Device, &Device->Channels[select.channel], code);
	KeReleaseMutex(&Device->Mutex, FALSE);
	return CompleteIrp(Irp, status, 0);
}

static DRIVER_DISPATCH EchoDeviceControl;
static NTSTATUS EchoDeviceControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PECHO_DEVICE device = DeviceObject->DeviceExtension;
	NTSTATUS status;

	if (!ExAcquireRundownProtection(&device->Requests))
		return CompleteIrp(Irp, STATUS_DEVICE_REMOVED, 0);
	status = HandleControl(device, Irp);
	ExReleaseRundownProtection(&device->Requests);
	return status;
}

/* ---- the driver ---- */

static DRIVER_UNLOAD EchoUnload;
static VOID EchoUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	NTSTATUS status = ReadOptions(RegistryPath);

	if (!NT_SUCCESS(status))
		return status;
	DriverObject->DriverUnload = EchoUnload;
	DriverObject->DriverExtension->AddDevice = EchoAddDevice;
	DriverObject->MajorFunction[IRP_MJ_PNP] = EchoPnp;
	DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = EchoDeviceControl;
	return STATUS_SUCCESS;
}
