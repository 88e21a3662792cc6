/* SPDX-License-Identifier: MIT */
/*
 * The echo client (VSC): DriverEntry, PnP, the channel's life and device control. One device, with
 * one channel, for each echo channel that is offered. Options: ring= pages of each ring (65),
 * external= KiB of external data that one request may carry (1024).
 */
#include "echo_vsc.h"

DRIVER_INITIALIZE DriverEntry;

static ULONG RingOption = ECHO_DEFAULT_RING;
static ULONG ExternalOption = ECHO_DEFAULT_EXTERNAL;

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
	if (ring < 2 || ring > ECHO_MAXIMUM_RING || !external ||
	    external > ECHO_RAW_MAXIMUM_EXTERNAL / 1024) {
		DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL,
			   "ring= is 2 to %u pages, external= is 1 to %u KiB\n", ECHO_MAXIMUM_RING,
			   ECHO_RAW_MAXIMUM_EXTERNAL / 1024);
		return STATUS_INVALID_PARAMETER;
	}
	RingOption = ring;
	ExternalOption = external * 1024;
	return STATUS_SUCCESS;
}

/* ---- the channel ---- */

static EVT_VMB_CHANNEL_PROCESS_PACKET EchoProcessPacket;
static VOID EchoProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
			      UINT32 BufferLength, UINT32 Flags)
{
	PECHO_CLIENT client = VmbChannelGetPointer(Channel);
	KIRQL irql;

	UNREFERENCED_PARAMETER(Flags);
	KeAcquireSpinLock(&client->Lock, &irql);
	client->Packets++;
	if (BufferLength != sizeof(struct echo_push))
		client->StrayPushes++;
	KeReleaseSpinLock(&client->Lock, irql);
	if (BufferLength == sizeof(struct echo_push))
		EchoRunPush(client, Buffer);
	VmbChannelPacketComplete(Packet, NULL, 0);
}

static EVT_VMB_CHANNEL_OPENED EchoOpened;
static NTSTATUS EchoOpened(VMBCHANNEL Channel)
{
	PECHO_CLIENT client = VmbChannelGetPointer(Channel);
	KIRQL irql;

	ExReInitializeRundownProtection(&client->Session);
	KeAcquireSpinLock(&client->Lock, &irql);
	client->Open = TRUE;
	client->Opens++;
	KeReleaseSpinLock(&client->Lock, irql);
	return STATUS_SUCCESS;
}

static VOID SetRunning(PECHO_CLIENT Client, BOOLEAN Running)
{
	KIRQL irql;

	KeAcquireSpinLock(&Client->Lock, &irql);
	Client->Running = Running;
	Client->Suspends += !Running;
	KeReleaseSpinLock(&Client->Lock, irql);
}

static EVT_VMB_CHANNEL_STARTED EchoStarted;
static VOID EchoStarted(VMBCHANNEL Channel)
{
	PECHO_CLIENT client = VmbChannelGetPointer(Channel);

	SetRunning(client, TRUE);
	EchoRunResume(client);
}

static EVT_VMB_CHANNEL_SUSPEND EchoSuspend;
static VOID EchoSuspend(VMBCHANNEL Channel)
{
	SetRunning(VmbChannelGetPointer(Channel), FALSE);
}

/* Everything sent has ended by now. What waits to be sent is told that the channel is gone; then
 * the runs let go of their GPADLs. */
static EVT_VMB_CHANNEL_CLOSED EchoClosed;
static VOID EchoClosed(VMBCHANNEL Channel)
{
	PECHO_CLIENT client = VmbChannelGetPointer(Channel);
	KIRQL irql;

	KeAcquireSpinLock(&client->Lock, &irql);
	client->Open = FALSE;
	KeReleaseSpinLock(&client->Lock, irql);
	EchoRunClosed(client);
	ExWaitForRundownProtectionRelease(&client->Session);
}

static NTSTATUS Configure(PECHO_CLIENT Client)
{
	static WCHAR name[] = L"echo client";
	UNICODE_STRING friendly;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	NTSTATUS status;

	RtlInitUnicodeString(&friendly, name);
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = EchoOpened;
	callbacks.EvtChannelStarted = EchoStarted;
	callbacks.EvtChannelSuspend = EchoSuspend;
	callbacks.EvtChannelClosed = EchoClosed;
	status = VmbChannelInitSetStateChangeCallbacks(Client->Channel, &callbacks);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(Client->Channel, EchoProcessPacket,
								 NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(Client->Channel,
							    ECHO_RAW_MAXIMUM_REQUEST);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumExternalData(Client->Channel, ExternalOption,
							      ECHO_MAXIMUM_CHAIN);
	if (NT_SUCCESS(status))
		status = VmbClientChannelInitSetRingBufferPageCount(Client->Channel, RingOption,
								    RingOption);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetFriendlyName(Client->Channel, &friendly);
	return status;
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
	if (Client->Channel)
		VmbChannelCleanup(Client->Channel);
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
	KeInitializeSpinLock(&client->Lock);
	InitializeListHead(&client->Runs);
	InitializeListHead(&client->Parked);
	ExInitializeRundownProtection(&client->Requests);
	ExInitializeRundownProtection(&client->Session);
	ExWaitForRundownProtectionRelease(&client->Session); /* until Opened */
	status = VmbChannelAllocate(PhysicalDeviceObject, FALSE, &client->Channel);
	if (NT_SUCCESS(status)) {
		VmbChannelSetPointer(client->Channel, client);
		VmbChannelSetTransactionQuota(client->Channel, ECHO_CLIENT_QUOTA);
		status = Configure(client);
	}
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

static VOID Query(PECHO_CLIENT Client, struct echo_info *Info)
{
	GUID instance;
	KIRQL irql;

	VmbChannelGetInterfaceInstance(Client->Channel, &instance);
	RtlZeroMemory(Info, sizeof(*Info));
	RtlCopyMemory(Info->instance, &instance, sizeof(Info->instance));
	Info->channels = 1;
	KeAcquireSpinLock(&Client->Lock, &irql);
	Info->open = Client->Open;
	Info->running = Client->Running;
	Info->opens = Client->Opens;
	Info->packets = Client->Packets;
	Info->stray_pushes = Client->StrayPushes;
	KeReleaseSpinLock(&Client->Lock, irql);
}

/* Under the mutex, so that a device that goes away does not open its channel again. */
static NTSTATUS ControlChannel(PECHO_CLIENT Client, ULONG Code)
{
	switch (Code) {
	case ECHO_IOCTL_ENABLE:
		return Client->Removed ? STATUS_DEVICE_REMOVED : VmbChannelEnable(Client->Channel);
	case ECHO_IOCTL_DISABLE:
		VmbChannelDisable(Client->Channel);
		return STATUS_SUCCESS;
	case ECHO_IOCTL_PAUSE:
		VmbChannelPause(Client->Channel);
		return STATUS_SUCCESS;
	case ECHO_IOCTL_START:
		VmbChannelStart(Client->Channel);
		return STATUS_SUCCESS;
	default:
		return STATUS_INVALID_DEVICE_REQUEST;
	}
}

static NTSTATUS Transfer(PECHO_CLIENT Client, PIRP Irp, ULONG Code, PULONG_PTR Returned)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
	ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
	ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
	PVOID buffer = Irp->AssociatedIrp.SystemBuffer;
	NTSTATUS status;

	if (!ExAcquireRundownProtection(&Client->Session))
		return STATUS_DEVICE_NOT_CONNECTED;
	if (Code == ECHO_IOCTL_RUN)
		status = EchoRun(Client, buffer, in, out, Returned);
	else
		status = EchoRaw(Client, buffer, in, out, Returned);
	ExReleaseRundownProtection(&Client->Session);
	return status;
}

static NTSTATUS HandleControl(PECHO_CLIENT Client, PIRP Irp, PULONG_PTR Returned)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
	ULONG code = stack->Parameters.DeviceIoControl.IoControlCode;
	NTSTATUS status;

	switch (code) {
	case ECHO_IOCTL_RUN:
	case ECHO_IOCTL_RAW:
		return Transfer(Client, Irp, code, Returned);
	case ECHO_IOCTL_QUERY:
		if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(struct echo_info))
			return STATUS_BUFFER_TOO_SMALL;
		Query(Client, Irp->AssociatedIrp.SystemBuffer);
		*Returned = sizeof(struct echo_info);
		return STATUS_SUCCESS;
	default:
		KeWaitForSingleObject(&Client->Mutex, Executive, KernelMode, FALSE, NULL);
		status = ControlChannel(Client, code);
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
