/* SPDX-License-Identifier: MIT */
/*
 * A client driver in the common part of C11, C17 and C++17, for the server driver of README.md:
 * sends what a program gives it by device control and returns the answer.
 */
#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#ifdef __cplusplus
extern "C" {
#endif
DRIVER_INITIALIZE DriverEntry;
#ifdef __cplusplus
}
#endif

static DRIVER_ADD_DEVICE AskingAddDevice;
static DRIVER_UNLOAD AskingUnload;
static DRIVER_DISPATCH AskingControl;
static EVT_VMB_CHANNEL_PROCESS_PACKET AskingProcessPacket;
static EVT_VMB_CHANNEL_POST_STARTED AskingPostStarted;

#define IOCTL_ASK       CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define WAIT_SECONDS(n) (-10000000LL * (n))

static const GUID HelloType = {
	0x2f1c7b4e, 0x9d36, 0x4a58, {0x8e, 0x01, 0x5b, 0x6c, 0x7d, 0x8e, 0x9f, 0xa0}};

static VMBCHANNEL AskingChannel;
static PDEVICE_OBJECT AskingDevice;
static KEVENT AskingRunning;

static VOID AskingProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
				UINT32 BufferLength, UINT32 Flags)
{
	UNREFERENCED_PARAMETER(Channel);
	UNREFERENCED_PARAMETER(Buffer);
	UNREFERENCED_PARAMETER(BufferLength);
	UNREFERENCED_PARAMETER(Flags);
	VmbChannelPacketComplete(Packet, NULL, 0);
}

static VOID AskingPostStarted(VMBCHANNEL Channel)
{
	UNREFERENCED_PARAMETER(Channel);
	KeSetEvent(&AskingRunning, IO_NO_INCREMENT, FALSE);
}

static NTSTATUS AskingControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
	ULONG length = stack->Parameters.DeviceIoControl.InputBufferLength;
	UINT32 room = stack->Parameters.DeviceIoControl.OutputBufferLength & ~7u;
	LARGE_INTEGER timeout;
	NTSTATUS status;

	UNREFERENCED_PARAMETER(DeviceObject);
	timeout.QuadPart = WAIT_SECONDS(10);
	if (stack->Parameters.DeviceIoControl.IoControlCode != IOCTL_ASK)
		status = STATUS_INVALID_DEVICE_REQUEST;
	else
		status = KeWaitForSingleObject(&AskingRunning, Executive, KernelMode, FALSE,
					       &timeout);
	if (status == STATUS_SUCCESS)
		status = VmbChannelSendSynchronousRequest(
			AskingChannel, Irp->AssociatedIrp.SystemBuffer, length, NULL,
			VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION,
			Irp->AssociatedIrp.SystemBuffer, &room, &timeout);
	Irp->IoStatus.Status = status;
	Irp->IoStatus.Information = status == STATUS_SUCCESS ? room : 0;
	IoCompleteRequest(Irp, IO_NO_INCREMENT);
	return status;
}

static NTSTATUS AskingConnect(PDEVICE_OBJECT PhysicalDeviceObject)
{
	/* 16-bit characters: needs the -fshort-wchar that kmcl-driver.pc gives. */
	static WCHAR text[] = L"asking";
	UNICODE_STRING name;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	NTSTATUS status;

	RtlInitUnicodeString(&name, text);
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelPostStarted = AskingPostStarted;
	status = VmbChannelAllocate(PhysicalDeviceObject, FALSE, &AskingChannel);
	if (!NT_SUCCESS(status))
		return status;
	status = VmbChannelInitSetFriendlyName(AskingChannel, &name);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetStateChangeCallbacks(AskingChannel, &callbacks);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(AskingChannel, AskingProcessPacket,
								 NULL);
	if (NT_SUCCESS(status))
		status = VmbClientChannelInitSetTargetPnp(AskingChannel, &HelloType, NULL, NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelEnable(AskingChannel);
	if (!NT_SUCCESS(status))
		VmbChannelCleanup(AskingChannel);
	return status;
}

static NTSTATUS AskingAddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject)
{
	NTSTATUS status =
		IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &AskingDevice);

	if (!NT_SUCCESS(status))
		return status;
	KeInitializeEvent(&AskingRunning, NotificationEvent, FALSE);
	status = AskingConnect(PhysicalDeviceObject);
	if (!NT_SUCCESS(status)) {
		IoDeleteDevice(AskingDevice);
		return status;
	}
	AskingDevice->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return STATUS_SUCCESS;
}

static VOID AskingUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
	VmbChannelDisable(AskingChannel);
	VmbChannelCleanup(AskingChannel);
	IoDeleteDevice(AskingDevice);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	UNREFERENCED_PARAMETER(RegistryPath);
	DriverObject->DriverExtension->AddDevice = AskingAddDevice;
	DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = AskingControl;
	DriverObject->DriverUnload = AskingUnload;
	return STATUS_SUCCESS;
}
