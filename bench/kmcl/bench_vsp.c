/* SPDX-License-Identifier: MIT */
/* The server: completes each request where it is delivered, after copying its external data. */
#include "bench_packet.h"

typedef struct _VSP_DEVICE {
	PDEVICE_OBJECT Lower;
	ULONG Count;
	VMBCHANNEL Channels[BENCH_CHANNELS];
	ULONG64 OneWay; /* whole packets since the last end; the last channel's dispatcher alone */
	struct bench_driver_config Config;
} VSP_DEVICE, *PVSP_DEVICE;

/* Where external data goes: private to the thread that copies, so that channels do not share it. */
static _Thread_local PUCHAR sink;

static BOOLEAN CopyExternal(VMBPACKETCOMPLETION Packet, ULONG Expected)
{
	ULONG64 first, last;
	ULONG copied = 0;
	NTSTATUS status;
	PMDL mdl;

	status = VmbChannelPacketGetExternalData(
		Packet, VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAG_READ_ONLY, &mdl);
	if (status != STATUS_SUCCESS || !sink)
		return FALSE;
	for (; mdl; mdl = mdl->Next) {
		PVOID from = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority);
		ULONG bytes = MmGetMdlByteCount(mdl);

		if (!from || bytes > BENCH_EXTERNAL - copied)
			return FALSE;
		RtlCopyMemory(sink + copied, from, bytes);
		copied += bytes;
	}
	if (copied != Expected || copied < sizeof(first))
		return FALSE;
	RtlCopyMemory(&first, sink, sizeof(first));
	RtlCopyMemory(&last, sink + copied - sizeof(last), sizeof(last));
	return first == BENCH_MARK && last == BENCH_MARK;
}

/* The first packet on a thread: goes where the program wants it, and gets a sink. */
static VOID VspArrive(PVSP_DEVICE Device)
{
	static _Thread_local UCHAR memory[BENCH_EXTERNAL];

	if (Device->Config.place)
		Device->Config.place(0);
	sink = memory;
}

/* A packet that nobody answers. */
static VOID TakeOneWay(PVSP_DEVICE Device, VMBPACKETCOMPLETION Packet, PVOID Buffer)
{
	ULONG64 last;

	RtlCopyMemory(&last, (PUCHAR)Buffer + BENCH_ONE_WAY - sizeof(last), sizeof(last));
	Device->OneWay += last == BENCH_MARK;
	VmbChannelPacketComplete(Packet, NULL, 0);
}

static VOID VspProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
			     UINT32 BufferLength, UINT32 Flags)
{
	PVSP_DEVICE device = (PVSP_DEVICE)VmbChannelGetPointer(Channel);
	PBENCH_MESSAGE message = (PBENCH_MESSAGE)Buffer;

	if (!sink)
		VspArrive(device);
	if (BufferLength < sizeof(*message)) {
		VmbChannelPacketComplete(Packet, NULL, 0);
		return;
	}
	if (BufferLength == BENCH_ONE_WAY) {
		TakeOneWay(device, Packet, Buffer);
		return;
	}
	if (message->External == BENCH_ONE_WAY_END) {
		message->Wrong = device->OneWay != message->Number;
		device->OneWay = 0;
	} else if ((Flags & VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA) || message->External) {
		message->Wrong = !CopyExternal(Packet, message->External);
	}
	VmbChannelPacketComplete(Packet, message, sizeof(*message));
}

static NTSTATUS CreateChannel(PVSP_DEVICE Device, PDEVICE_OBJECT Self, ULONG Index)
{
	VMBCHANNEL *channel = &Device->Channels[Index];
	NTSTATUS status = VmbChannelAllocate(Self, TRUE, channel);

	if (!NT_SUCCESS(status))
		return status;
	Device->Count++;
	VmbChannelSetPointer(*channel, Device);
	status = VmbServerChannelInitSetTargetInterfaceId(*channel, BenchInterface,
							  BenchInstance(Index));
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(*channel, VspProcessPacket, NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(
			*channel, bench_packet_most(&Device->Config, Index));
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumExternalData(*channel, BENCH_EXTERNAL, 1);
	if (NT_SUCCESS(status))
		status = VmbChannelEnable(*channel);
	if (NT_SUCCESS(status))
		VmbChannelStart(*channel);
	return status;
}

static VOID StopDevice(PVSP_DEVICE Device)
{
	for (ULONG i = 0; i < Device->Count; i++) {
		VmbChannelDisable(Device->Channels[i]);
		VmbChannelCleanup(Device->Channels[i]);
	}
	Device->Count = 0;
}

static DRIVER_DISPATCH VspPnp;
static NTSTATUS VspPnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PVSP_DEVICE device = (PVSP_DEVICE)DeviceObject->DeviceExtension;
	PDEVICE_OBJECT lower = device->Lower;
	NTSTATUS status = STATUS_SUCCESS;

	switch (IoGetCurrentIrpStackLocation(Irp)->MinorFunction) {
	case IRP_MN_START_DEVICE:
		for (ULONG i = 0; i < device->Config.channels && NT_SUCCESS(status); i++)
			status = CreateChannel(device, DeviceObject, i);
		Irp->IoStatus.Status = status;
		if (!NT_SUCCESS(status)) {
			StopDevice(device);
			IoCompleteRequest(Irp, IO_NO_INCREMENT);
			return status;
		}
		break;
	case IRP_MN_SURPRISE_REMOVAL:
		StopDevice(device);
		Irp->IoStatus.Status = STATUS_SUCCESS;
		break;
	case IRP_MN_REMOVE_DEVICE:
		StopDevice(device);
		Irp->IoStatus.Status = STATUS_SUCCESS;
		IoSkipCurrentIrpStackLocation(Irp);
		status = IoCallDriver(lower, Irp);
		IoDetachDevice(lower);
		IoDeleteDevice(DeviceObject);
		return status;
	default:
		break;
	}
	IoSkipCurrentIrpStackLocation(Irp);
	return IoCallDriver(lower, Irp);
}

static DRIVER_ADD_DEVICE VspAddDevice;
static NTSTATUS VspAddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT Pdo)
{
	PDEVICE_OBJECT self;
	PVSP_DEVICE device;
	NTSTATUS status = IoCreateDevice(DriverObject, sizeof(*device), NULL, FILE_DEVICE_UNKNOWN,
					 0, FALSE, &self);

	if (!NT_SUCCESS(status))
		return status;
	device = (PVSP_DEVICE)self->DeviceExtension;
	device->Config = bench_driver_config;
	device->Lower = IoAttachDeviceToDeviceStack(self, Pdo);
	self->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return STATUS_SUCCESS;
}

static DRIVER_UNLOAD VspUnload;
static VOID VspUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS BenchVspEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	UNREFERENCED_PARAMETER(RegistryPath);
	DriverObject->DriverUnload = VspUnload;
	DriverObject->DriverExtension->AddDevice = VspAddDevice;
	DriverObject->MajorFunction[IRP_MJ_PNP] = VspPnp;
	return STATUS_SUCCESS;
}
