/* SPDX-License-Identifier: MIT */
/*
 * The client: each slot has one request under way and sends its next one from the completion
 * routine of the last. Slots share nothing until a run ends.
 */
#include "bench_packet.h"

#define TAG 'hcnB'

struct _VSC_RUN;

typedef struct _VSC_SLOT {
	DECLSPEC_ALIGN(64) struct _VSC_RUN *Run;
	VMBPACKET Packet;
	PMDL Mdl;
	PVOID Data;
	ULONG64 Done, Timed, Last; /* requests ended; when the clock starts; how many there are */
	ULONG64 Failed;
	LONG Turns; /* one way: packets to send now */
	BENCH_MESSAGE Message;
} VSC_SLOT, *PVSC_SLOT;

typedef struct _VSC_RUN {
	PVSC_SLOT Slots;
	ULONG SlotCount;
	ULONG External;
	BOOLEAN OneWay;
	void (*Place)(unsigned int end);
	LONG Going;
	KEVENT Ended;
	LARGE_INTEGER Start, End;
} VSC_RUN, *PVSC_RUN;

typedef struct _VSC_DEVICE {
	PDEVICE_OBJECT Lower;
	ULONG Count;
	LONG Running;
	VMBCHANNEL Channels[BENCH_CHANNELS];
	struct bench_driver_config Config;
} VSC_DEVICE, *PVSC_DEVICE;

/* ---- a run ---- */

static VOID AskForEnd(PVSC_SLOT Slot);

static VOID EndSlot(PVSC_SLOT Slot)
{
	PVSC_RUN run = Slot->Run;

	if (InterlockedDecrement(&run->Going))
		return;
	if (run->OneWay) {
		run->OneWay = FALSE;
		run->Going = 1;
		AskForEnd(Slot);
		return;
	}
	run->End = KeQueryPerformanceCounter(NULL);
	KeSetEvent(&run->Ended, IO_NO_INCREMENT, FALSE);
}

static VOID SendNext(PVSC_SLOT Slot)
{
	NTSTATUS status;

	if (Slot->Done == Slot->Timed && Slot->Run->SlotCount == 1)
		Slot->Run->Start = KeQueryPerformanceCounter(NULL);
	if (Slot->Done == Slot->Last) {
		EndSlot(Slot);
		return;
	}
	Slot->Message.Number = Slot->Done;
	status = VmbPacketSend(Slot->Packet, &Slot->Message, sizeof(Slot->Message), Slot->Mdl,
			       VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION);
	if (!NT_SUCCESS(status)) {
		Slot->Failed++;
		EndSlot(Slot);
	}
}

static VOID PlaceThread(PVSC_RUN Run)
{
	static _Thread_local BOOLEAN placed;

	if (placed || !Run->Place)
		return;
	Run->Place(1);
	placed = TRUE;
}

static EVT_VMB_PACKET_COMPLETION_ROUTINE RequestEnded;
static VOID RequestEnded(VMBPACKET Packet, NTSTATUS Status, PVOID Buffer, UINT32 BufferLength)
{
	PVSC_SLOT slot = (PVSC_SLOT)VmbPacketGetPointer(Packet);
	PBENCH_MESSAGE answer = (PBENCH_MESSAGE)Buffer;

	PlaceThread(slot->Run);
	if (!NT_SUCCESS(Status) || BufferLength < sizeof(*answer)) {
		slot->Failed++;
		EndSlot(slot);
		return;
	}
	if (answer->Number != slot->Done || answer->Wrong)
		slot->Failed++;
	slot->Done++;
	SendNext(slot);
}

/* ---- one way ---- */

/*
 * A packet that nobody answers has its routine when it is in the ring: at once, inside the send, or
 * when the peer has made room. A turn is a packet that may be sent; who adds the first one sends
 * until none is left.
 */
static VOID SendOneWay(PVSC_SLOT Slot)
{
	NTSTATUS status;

	if (InterlockedIncrement(&Slot->Turns) != 1)
		return;
	do {
		if (Slot->Done == Slot->Last) {
			EndSlot(Slot);
			return;
		}
		Slot->Done++;
		status = VmbPacketSend(Slot->Packet, Slot->Data, BENCH_ONE_WAY, NULL, 0);
		if (!NT_SUCCESS(status)) {
			Slot->Failed++;
			EndSlot(Slot);
			return;
		}
	} while (InterlockedDecrement(&Slot->Turns));
}

static EVT_VMB_PACKET_COMPLETION_ROUTINE OneWayWritten;
static VOID OneWayWritten(VMBPACKET Packet, NTSTATUS Status, PVOID Buffer, UINT32 BufferLength)
{
	PVSC_SLOT slot = (PVSC_SLOT)VmbPacketGetPointer(Packet);

	UNREFERENCED_PARAMETER(Buffer);
	UNREFERENCED_PARAMETER(BufferLength);
	/* else within the send, on the thread of who asked for the run */
	if (KeGetCurrentIrql() == DISPATCH_LEVEL)
		PlaceThread(slot->Run);
	if (!NT_SUCCESS(Status))
		slot->Failed++;
	SendOneWay(slot);
}

/* Everything is written: the answer to a request behind it tells that the server has had it. */
static VOID AskForEnd(PVSC_SLOT Slot)
{
	NTSTATUS status;

	Slot->Message.External = BENCH_ONE_WAY_END;
	Slot->Message.Number = Slot->Last * Slot->Run->SlotCount;
	Slot->Done = Slot->Message.Number;
	Slot->Last = Slot->Done + 1;
	Slot->Timed = Slot->Last + 1;
	VmbPacketSetCompletionRoutine(Slot->Packet, RequestEnded);
	status = VmbPacketSend(Slot->Packet, &Slot->Message, sizeof(Slot->Message), NULL,
			       VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION);
	if (!NT_SUCCESS(status)) {
		Slot->Failed++;
		EndSlot(Slot);
	}
}

static BOOLEAN PrepareOneWay(PVSC_SLOT Slot)
{
	const ULONG64 mark = BENCH_MARK;

	Slot->Timed = MAXULONGLONG;
	VmbPacketSetCompletionRoutine(Slot->Packet, OneWayWritten);
	Slot->Data = ExAllocatePool2(POOL_FLAG_NON_PAGED, BENCH_ONE_WAY, TAG);
	if (!Slot->Data)
		return FALSE;
	RtlFillMemory(Slot->Data, BENCH_ONE_WAY, 0x5a);
	RtlCopyMemory((PUCHAR)Slot->Data + BENCH_ONE_WAY - sizeof(mark), &mark, sizeof(mark));
	return TRUE;
}

/* ---- a run, whole ---- */

static BOOLEAN PrepareData(PVSC_SLOT Slot, ULONG Bytes)
{
	const ULONG64 mark = BENCH_MARK;

	Slot->Data = ExAllocatePool2(POOL_FLAG_NON_PAGED, Bytes, TAG);
	if (!Slot->Data)
		return FALSE;
	RtlFillMemory(Slot->Data, Bytes, 0x5a);
	RtlCopyMemory(Slot->Data, &mark, sizeof(mark));
	RtlCopyMemory((PUCHAR)Slot->Data + Bytes - sizeof(mark), &mark, sizeof(mark));
	Slot->Mdl = IoAllocateMdl(Slot->Data, Bytes, FALSE, FALSE, NULL);
	if (!Slot->Mdl)
		return FALSE;
	MmBuildMdlForNonPagedPool(Slot->Mdl);
	return TRUE;
}

static BOOLEAN PrepareSlot(PVSC_RUN Run, PVSC_SLOT Slot, VMBCHANNEL Channel, ULONG64 Each)
{
	Slot->Run = Run;
	Slot->Packet = VmbPacketAllocate(Channel);
	if (!Slot->Packet)
		return FALSE;
	VmbPacketSetPointer(Slot->Packet, Slot);
	VmbPacketSetCompletionRoutine(Slot->Packet, RequestEnded);
	/* Alone, a slot warms up first: whoever sleeps is woken before the clock starts. */
	Slot->Timed = Run->SlotCount == 1 ? Each / 8 + 1 : 0;
	Slot->Last = Slot->Timed + Each;
	if (Run->OneWay) {
		Slot->Last = Each;
		return PrepareOneWay(Slot);
	}
	Slot->Message.External = Run->External;
	return !Run->External || PrepareData(Slot, Run->External);
}

static VOID FreeSlots(PVSC_RUN Run)
{
	for (ULONG i = 0; i < Run->SlotCount; i++) {
		if (Run->Slots[i].Mdl)
			IoFreeMdl(Run->Slots[i].Mdl);
		if (Run->Slots[i].Data)
			ExFreePoolWithTag(Run->Slots[i].Data, TAG);
		if (Run->Slots[i].Packet)
			VmbPacketFree(Run->Slots[i].Packet);
	}
	ExFreePoolWithTag(Run->Slots, TAG);
}

static VOID GoAndWait(PVSC_RUN Run)
{
	BOOLEAN oneWay = Run->OneWay;

	Run->Going = (LONG)Run->SlotCount;
	KeInitializeEvent(&Run->Ended, NotificationEvent, FALSE);
	Run->Start = KeQueryPerformanceCounter(NULL);
	for (ULONG i = 0; i < Run->SlotCount; i++) {
		if (oneWay)
			SendOneWay(&Run->Slots[i]);
		else
			SendNext(&Run->Slots[i]);
	}
	KeWaitForSingleObject(&Run->Ended, Executive, KernelMode, FALSE, NULL);
}

static ULONG ChannelOf(PVSC_DEVICE Device, const struct bench_run_request *Request, ULONG Slot)
{
	return Request->one_way ? Device->Count - 1 : Slot % Request->channels;
}

static NTSTATUS Run(PVSC_DEVICE Device, const struct bench_run_request *Request,
		    struct bench_run_result *Result)
{
	VSC_RUN run = {.SlotCount = Request->channels * Request->window,
		       .External = Request->external,
		       .OneWay = Request->one_way != 0,
		       .Place = Device->Config.place};
	ULONG64 each = (Request->count + run.SlotCount - 1) / run.SlotCount;
	LARGE_INTEGER frequency;
	BOOLEAN ready = TRUE;

	run.Slots = (PVSC_SLOT)ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_CACHE_ALIGNED,
					       run.SlotCount * sizeof(VSC_SLOT), TAG);
	if (!run.Slots)
		return STATUS_INSUFFICIENT_RESOURCES;
	for (ULONG i = 0; i < run.SlotCount && ready; i++)
		ready = PrepareSlot(&run, &run.Slots[i],
				    Device->Channels[ChannelOf(Device, Request, i)], each);
	if (ready)
		GoAndWait(&run);
	KeQueryPerformanceCounter(&frequency);
	Result->count = each * run.SlotCount;
	Result->ns = (ULONG64)((double)(run.End.QuadPart - run.Start.QuadPart) * 1e9 /
			       (double)frequency.QuadPart);
	for (ULONG i = 0; i < run.SlotCount; i++)
		Result->failed += run.Slots[i].Failed;
	FreeSlots(&run);
	return ready ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* ---- device control ---- */

static NTSTATUS ControlRun(PVSC_DEVICE Device, PIRP Irp, ULONG In, ULONG Out)
{
	struct bench_run_request request;
	struct bench_run_result result = {0};
	NTSTATUS status;

	if (In < sizeof(request) || Out < sizeof(result))
		return STATUS_BUFFER_TOO_SMALL;
	RtlCopyMemory(&request, Irp->AssociatedIrp.SystemBuffer, sizeof(request));
	if (!request.channels || request.channels > Device->Count || !request.window ||
	    request.window > BENCH_WINDOW || request.external > BENCH_EXTERNAL ||
	    (request.one_way && (!Device->Config.one_way || request.channels != 1)))
		return STATUS_INVALID_PARAMETER;
	status = Run(Device, &request, &result);
	RtlCopyMemory(Irp->AssociatedIrp.SystemBuffer, &result, sizeof(result));
	Irp->IoStatus.Information = sizeof(result);
	return status;
}

static NTSTATUS Control(PVSC_DEVICE Device, PIRP Irp)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
	ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
	ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
	uint32_t running;

	switch (stack->Parameters.DeviceIoControl.IoControlCode) {
	case BENCH_IOCTL_RUN:
		return ControlRun(Device, Irp, in, out);
	case BENCH_IOCTL_OPEN:
		if (out < sizeof(running))
			return STATUS_BUFFER_TOO_SMALL;
		running = (uint32_t)InterlockedOr(&Device->Running, 0);
		RtlCopyMemory(Irp->AssociatedIrp.SystemBuffer, &running, sizeof(running));
		Irp->IoStatus.Information = sizeof(running);
		return STATUS_SUCCESS;
	default:
		return STATUS_INVALID_DEVICE_REQUEST;
	}
}

static DRIVER_DISPATCH VscDeviceControl;
static NTSTATUS VscDeviceControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	NTSTATUS status;

	Irp->IoStatus.Information = 0;
	status = Control((PVSC_DEVICE)DeviceObject->DeviceExtension, Irp);
	Irp->IoStatus.Status = status;
	IoCompleteRequest(Irp, IO_NO_INCREMENT);
	return status;
}

/* ---- channels ---- */

static VOID VscStarted(VMBCHANNEL Channel)
{
	PVSC_DEVICE device = (PVSC_DEVICE)VmbChannelGetPointer(Channel);

	InterlockedIncrement(&device->Running);
}

static VOID VscSuspend(VMBCHANNEL Channel)
{
	PVSC_DEVICE device = (PVSC_DEVICE)VmbChannelGetPointer(Channel);

	InterlockedDecrement(&device->Running);
}

/* The server sends nothing of its own. */
static VOID VscProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
			     UINT32 BufferLength, UINT32 Flags)
{
	UNREFERENCED_PARAMETER(Channel);
	UNREFERENCED_PARAMETER(Buffer);
	UNREFERENCED_PARAMETER(BufferLength);
	UNREFERENCED_PARAMETER(Flags);
	VmbChannelPacketComplete(Packet, NULL, 0);
}

static NTSTATUS CreateChannel(PVSC_DEVICE Device, PDEVICE_OBJECT Self, ULONG Index)
{
	VMBCHANNEL *channel = &Device->Channels[Index];
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	GUID instance = BenchInstance(Index);
	NTSTATUS status = VmbChannelAllocate(Self, FALSE, channel);

	if (!NT_SUCCESS(status))
		return status;
	Device->Count++;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelStarted = VscStarted;
	callbacks.EvtChannelSuspend = VscSuspend;
	VmbChannelSetPointer(*channel, Device);
	status = VmbChannelInitSetStateChangeCallbacks(*channel, &callbacks);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(*channel, VscProcessPacket, NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(
			*channel, bench_packet_most(&Device->Config, Index));
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumExternalData(*channel, BENCH_EXTERNAL, 1);
	if (NT_SUCCESS(status))
		status = VmbClientChannelInitSetRingBufferPageCount(*channel, BENCH_RING_PAGES,
								    BENCH_RING_PAGES);
	if (NT_SUCCESS(status))
		status = VmbClientChannelInitSetTargetPnp(*channel, &BenchInterface, &instance,
							  NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelEnable(*channel);
	return status;
}

static VOID StopDevice(PVSC_DEVICE Device)
{
	for (ULONG i = 0; i < Device->Count; i++) {
		VmbChannelDisable(Device->Channels[i]);
		VmbChannelCleanup(Device->Channels[i]);
	}
	Device->Count = 0;
}

static DRIVER_DISPATCH VscPnp;
static NTSTATUS VscPnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PVSC_DEVICE device = (PVSC_DEVICE)DeviceObject->DeviceExtension;
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

static DRIVER_ADD_DEVICE VscAddDevice;
static NTSTATUS VscAddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT Pdo)
{
	PDEVICE_OBJECT self;
	PVSC_DEVICE device;
	NTSTATUS status = IoCreateDevice(DriverObject, sizeof(*device), NULL, FILE_DEVICE_UNKNOWN,
					 0, FALSE, &self);

	if (!NT_SUCCESS(status))
		return status;
	device = (PVSC_DEVICE)self->DeviceExtension;
	device->Config = bench_driver_config;
	device->Lower = IoAttachDeviceToDeviceStack(self, Pdo);
	self->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return STATUS_SUCCESS;
}

static DRIVER_UNLOAD VscUnload;
static VOID VscUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS BenchVscEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	UNREFERENCED_PARAMETER(RegistryPath);
	DriverObject->DriverUnload = VscUnload;
	DriverObject->DriverExtension->AddDevice = VscAddDevice;
	DriverObject->MajorFunction[IRP_MJ_PNP] = VscPnp;
	DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = VscDeviceControl;
	return STATUS_SUCCESS;
}
