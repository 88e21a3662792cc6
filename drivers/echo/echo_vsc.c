/* SPDX-License-Identifier: MIT */
/*
 * The echo client (VSC): DriverEntry, PnP and device control. One device, with one channel, for
 * each echo channel that is offered. Options: ring= pages of each ring (65), external= KiB of
 * external data that one request may carry (1024).
 */
#include "echo_vsc.h"

DRIVER_INITIALIZE DriverEntry;

static ECHO_OPTIONS EchoOptions;

static NTSTATUS ReadOptions(PUNICODE_STRING RegistryPath)
{
	const ULONG flags = RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_TYPECHECK;
	const ULONG number = REG_DWORD << RTL_QUERY_REGISTRY_TYPECHECK_SHIFT;
	ULONG ring = ECHO_DEFAULT_RING, external = ECHO_DEFAULT_EXTERNAL / 1024;
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{.Flags = RTL_QUERY_REGISTRY_SUBKEY, .Name = (PWSTR)L"Parameters"},
		{.Flags = flags,
		 .Name = (PWSTR)L"ring",
		 .EntryContext = &ring,
		 .DefaultType = number},
		{.Flags = flags,
		 .Name = (PWSTR)L"external",
		 .EntryContext = &external,
		 .DefaultType = number},
		{0},
	};
	NTSTATUS status = RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, RegistryPath->Buffer, table,
						 NULL, NULL);

	if (!NT_SUCCESS(status)) {
		DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL,
			   "ring= and external= are numbers\n");
		return status;
	}
	if (!EchoOptionsAreGood(ring, external))
		return STATUS_INVALID_PARAMETER;
	EchoOptions.Ring = ring;
	EchoOptions.External = external * 1024;
	return STATUS_SUCCESS;
}

/* ---- PnP ---- */

/* From here on the channel stays closed, whatever device control asks for. */
static VOID StopDevice(PECHO_CLIENT Client)
{
	KeWaitForSingleObject(&Client->Mutex, Executive, KernelMode, FALSE, NULL);
	Client->Removed = TRUE;
	KeReleaseMutex(&Client->Mutex, FALSE);
	VmbChannelDisable(Client->Channel);
}

static VOID DestroyDevice(PECHO_CLIENT Client)
{
	EchoDeleteChannel(Client);
	if (Client->Lower)
		IoDetachDevice(Client->Lower);
	IoDeleteDevice(Client->Self);
}

static DRIVER_ADD_DEVICE EchoAddDevice;
static NTSTATUS EchoAddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject)
{
	PDEVICE_OBJECT object;
	PECHO_CLIENT client;
	NTSTATUS status;

	status = IoCreateDevice(DriverObject, sizeof(*client), NULL, FILE_DEVICE_UNKNOWN, 0, FALSE,
				&object);
	if (!NT_SUCCESS(status))
		return status;
	client = object->DeviceExtension;
	client->Self = object;
	KeInitializeMutex(&client->Mutex, 0);
	ExInitializeRundownProtection(&client->Requests);
	status = EchoCreateChannel(client, PhysicalDeviceObject, &EchoOptions);
	if (NT_SUCCESS(status)) {
		client->Lower = IoAttachDeviceToDeviceStack(object, PhysicalDeviceObject);
		if (!client->Lower)
			status = STATUS_NO_SUCH_DEVICE;
	}
	if (!NT_SUCCESS(status)) {
		DestroyDevice(client);
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

static NTSTATUS PassDown(PECHO_CLIENT Client, PIRP Irp)
{
	IoSkipCurrentIrpStackLocation(Irp);
	return IoCallDriver(Client->Lower, Irp);
}

static DRIVER_DISPATCH EchoPnp;
static NTSTATUS EchoPnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PECHO_CLIENT client = DeviceObject->DeviceExtension;
	NTSTATUS status;

	switch (IoGetCurrentIrpStackLocation(Irp)->MinorFunction) {
	case IRP_MN_START_DEVICE:
		/* The bus has nothing to prepare, so its answer need not be waited for. */
		status = VmbChannelEnable(client->Channel);
		if (!NT_SUCCESS(status))
			return CompleteIrp(Irp, status, 0);
		break;
	case IRP_MN_SURPRISE_REMOVAL:
		StopDevice(client);
		break;
	case IRP_MN_REMOVE_DEVICE:
		StopDevice(client);
		ExWaitForRundownProtectionRelease(&client->Requests);
		Irp->IoStatus.Status = STATUS_SUCCESS;
		status = PassDown(client, Irp);
		DestroyDevice(client);
		return status;
	default:
		return PassDown(client, Irp);
	}
	Irp->IoStatus.Status = STATUS_SUCCESS;
	return PassDown(client, Irp);
}

/* ---- device control ---- */

static NTSTATUS HandleControl(PECHO_CLIENT Client, PIRP Irp, PULONG_PTR Returned)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
	ULONG code = stack->Parameters.DeviceIoControl.IoControlCode;
	NTSTATUS status;

	switch (code) {
	case ECHO_IOCTL_RUN:
	case ECHO_IOCTL_RAW:
		return EchoTransfer(Client, code, Irp->AssociatedIrp.SystemBuffer,
				    stack->Parameters.DeviceIoControl.InputBufferLength,
				    stack->Parameters.DeviceIoControl.OutputBufferLength, Returned);
	case ECHO_IOCTL_QUERY:
		if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(struct echo_info))
			return STATUS_BUFFER_TOO_SMALL;
		EchoQuery(Client, Irp->AssociatedIrp.SystemBuffer);
		*Returned = sizeof(struct echo_info);
		return STATUS_SUCCESS;
	default:
		/* so that a device that goes away does not open its channel again */
		KeWaitForSingleObject(&Client->Mutex, Executive, KernelMode, FALSE, NULL);
		status = EchoControlChannel(Client, code);
		KeReleaseMutex(&Client->Mutex, FALSE);
		return status;
	}
}

static DRIVER_DISPATCH EchoDeviceControl;
static NTSTATUS EchoDeviceControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PECHO_CLIENT client = DeviceObject->DeviceExtension;
	ULONG_PTR returned = 0;
	NTSTATUS status;

	if (!ExAcquireRundownProtection(&client->Requests))
		return CompleteIrp(Irp, STATUS_DEVICE_REMOVED, 0);
	status = HandleControl(client, Irp, &returned);
	status = CompleteIrp(Irp, status, returned);
	ExReleaseRundownProtection(&client->Requests);
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
