/* SPDX-License-Identifier: MIT */
/*
 * A client driver with mistakes, each behind what a host has to say first; bug= arms one.
 *
 * It asks HELLO. An answer with the magic number and the version begins a session; then it asks
 * QUERY, and again while the answers say that there is more. The host's own packets count events of
 * a session.
 *
 *     1  the length that an answer to QUERY names is believed
 *     2  the session is freed in Suspend, though a request may still end
 *     3  the number of the counter that a host's packet names is believed
 */
#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#define MAGIC    0x4c434142u
#define VERSION  0x0203u
#define EVENT    0x0e57u
#define TAG      0x6c436b42u
#define MOST     4096u
#define ROOM     64u
#define COUNTERS 4u
#define QUERIES  8u /* in a row */

enum bug {
	NONE,
	LENGTH,
	FREED,
	INDEX
};

struct request {
	UINT32 magic;
	UINT32 operation; /* 1: HELLO, 2: QUERY */
};

struct answer {
	UINT32 magic;
	UINT16 version;
	UINT16 more;
	UINT32 length;
	UCHAR data[];
};

struct event {
	UINT32 magic;
	UINT16 kind;
	UINT16 reserved;
	UINT32 counter;
};

typedef struct _SESSION {
	UINT64 *Answered; /* into Counted */
	UINT64 Counted;
	UINT64 Counter[COUNTERS];
	UCHAR Room[ROOM];
} SESSION, *PSESSION;

typedef struct _BROKEN_DEVICE {
	PDEVICE_OBJECT Self, Lower;
	VMBCHANNEL Channel;
	VMBPACKET Packet;
	struct request Request;
	PSESSION Session; /* NULL: not yet greeted */
	ULONG Queries;
} BROKEN_DEVICE, *PBROKEN_DEVICE;

DRIVER_INITIALIZE DriverEntry;

static ULONG Armed;

static NTSTATUS ReadOptions(PUNICODE_STRING RegistryPath)
{
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{.Flags = RTL_QUERY_REGISTRY_SUBKEY, .Name = (PWSTR)L"Parameters"},
		{.Flags = RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_TYPECHECK,
		 .Name = (PWSTR)L"bug",
		 .EntryContext = &Armed,
		 .DefaultType = REG_DWORD << RTL_QUERY_REGISTRY_TYPECHECK_SHIFT},
		{0},
	};

	Armed = NONE;
	return RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, RegistryPath->Buffer, table, NULL,
				      NULL);
}

/* ---- requests ---- */

static VOID Ask(PBROKEN_DEVICE Device, UINT32 Operation)
{
	Device->Request.magic = MAGIC;
	Device->Request.operation = Operation;
	/* One that cannot be sent any more is not asked again either. */
	(VOID) VmbPacketSend(Device->Packet, &Device->Request, sizeof(Device->Request), NULL,
			     VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION);
}

static VOID Greeted(PBROKEN_DEVICE Device, const struct answer *Answer)
{
	if (Answer->version != VERSION)
		return;
	Device->Session = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(SESSION), TAG);
	if (!Device->Session)
		return;
	Device->Session->Answered = &Device->Session->Counted;
	Device->Queries = 1;
	Ask(Device, 2);
}

static VOID Queried(PBROKEN_DEVICE Device, const struct answer *Answer, UINT32 Bytes)
{
	UINT32 length = Answer->length;

	if (Armed != LENGTH && length > Bytes)
		length = Bytes;
	if (Armed != LENGTH && length > ROOM)
		length = ROOM;
	RtlCopyMemory(Device->Session->Room, Answer->data, length);
	if (Answer->more && Device->Queries < QUERIES) {
		Device->Queries++;
		Ask(Device, 2);
	}
}

static EVT_VMB_PACKET_COMPLETION_ROUTINE Done;
static VOID Done(VMBPACKET Packet, NTSTATUS Status, PVOID Buffer, UINT32 BufferLength)
{
	PBROKEN_DEVICE device = VmbPacketGetPointer(Packet);
	const struct answer *answer = Buffer;

	if (device->Session)
		++*device->Session->Answered;
	if (!NT_SUCCESS(Status) || BufferLength < sizeof(*answer) || answer->magic != MAGIC)
		return;
	if (device->Session)
		Queried(device, answer, BufferLength - (UINT32)sizeof(*answer));
	else
		Greeted(device, answer);
}

static EVT_VMB_CHANNEL_PROCESS_PACKET ProcessPacket;
static VOID ProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
			  UINT32 BufferLength, UINT32 Flags)
{
	PBROKEN_DEVICE device = VmbChannelGetPointer(Channel);
	const struct event *event = Buffer;

	UNREFERENCED_PARAMETER(Flags);
	if (device->Session && BufferLength >= sizeof(*event) && event->magic == MAGIC &&
	    event->kind == EVENT && (Armed == INDEX || event->counter < COUNTERS))
		device->Session->Counter[event->counter]++;
	VmbChannelPacketComplete(Packet, NULL, 0);
}

/* ---- life ---- */

static VOID EndSession(PBROKEN_DEVICE Device)
{
	if (Device->Session)
		ExFreePoolWithTag(Device->Session, TAG);
}

static EVT_VMB_CHANNEL_STARTED Started;
static VOID Started(VMBCHANNEL Channel)
{
	Ask(VmbChannelGetPointer(Channel), 1);
}

static EVT_VMB_CHANNEL_SUSPEND Suspend;
static VOID Suspend(VMBCHANNEL Channel)
{
	if (Armed == FREED)
		EndSession(VmbChannelGetPointer(Channel));
}

/* Every request has ended. */
static EVT_VMB_CHANNEL_CLOSED Closed;
static VOID Closed(VMBCHANNEL Channel)
{
	PBROKEN_DEVICE device = VmbChannelGetPointer(Channel);

	if (Armed != FREED)
		EndSession(device);
	device->Session = NULL;
}

static NTSTATUS CreateChannel(PBROKEN_DEVICE Device, PDEVICE_OBJECT Physical)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	NTSTATUS status = VmbChannelAllocate(Physical, FALSE, &Device->Channel);

	if (!NT_SUCCESS(status))
		return status;
	VmbChannelSetPointer(Device->Channel, Device);
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelStarted = Started;
	callbacks.EvtChannelSuspend = Suspend;
	callbacks.EvtChannelClosed = Closed;
	status = VmbChannelInitSetStateChangeCallbacks(Device->Channel, &callbacks);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(Device->Channel, ProcessPacket,
								 NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(Device->Channel, MOST);
	if (!NT_SUCCESS(status))
		return status;
	Device->Packet = VmbPacketAllocate(Device->Channel);
	if (!Device->Packet)
		return STATUS_INSUFFICIENT_RESOURCES;
	VmbPacketSetPointer(Device->Packet, Device);
	VmbPacketSetCompletionRoutine(Device->Packet, Done);
	return STATUS_SUCCESS;
}

static VOID Destroy(PBROKEN_DEVICE Device)
{
	if (Device->Channel) {
		VmbChannelDisable(Device->Channel);
		if (Device->Packet)
			VmbPacketFree(Device->Packet);
		VmbChannelCleanup(Device->Channel);
	}
	if (Device->Lower)
		IoDetachDevice(Device->Lower);
	IoDeleteDevice(Device->Self);
}

static DRIVER_ADD_DEVICE AddDevice;
static NTSTATUS AddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject)
{
	PDEVICE_OBJECT object;
	PBROKEN_DEVICE device;
	NTSTATUS status = IoCreateDevice(DriverObject, sizeof(*device), NULL, FILE_DEVICE_UNKNOWN,
					 0, FALSE, &object);

	if (!NT_SUCCESS(status))
		return status;
	device = object->DeviceExtension;
	device->Self = object;
	status = CreateChannel(device, PhysicalDeviceObject);
	if (NT_SUCCESS(status)) {
		device->Lower = IoAttachDeviceToDeviceStack(object, PhysicalDeviceObject);
		if (!device->Lower)
			status = STATUS_NO_SUCH_DEVICE;
	}
	if (!NT_SUCCESS(status)) {
		Destroy(device);
		return status;
	}
	object->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return STATUS_SUCCESS;
}

static DRIVER_DISPATCH Pnp;
static NTSTATUS Pnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PBROKEN_DEVICE device = DeviceObject->DeviceExtension;
	PDEVICE_OBJECT lower = device->Lower;

	switch (IoGetCurrentIrpStackLocation(Irp)->MinorFunction) {
	case IRP_MN_START_DEVICE:
		Irp->IoStatus.Status = VmbChannelEnable(device->Channel);
		if (!NT_SUCCESS(Irp->IoStatus.Status)) {
			NTSTATUS status = Irp->IoStatus.Status;

			IoCompleteRequest(Irp, IO_NO_INCREMENT);
			return status;
		}
		break;
	case IRP_MN_REMOVE_DEVICE: {
		NTSTATUS status;

		Irp->IoStatus.Status = STATUS_SUCCESS;
		IoSkipCurrentIrpStackLocation(Irp);
		status = IoCallDriver(lower, Irp);
		Destroy(device);
		return status;
	}
	case IRP_MN_SURPRISE_REMOVAL:
		VmbChannelDisable(device->Channel);
		Irp->IoStatus.Status = STATUS_SUCCESS;
		break;
	default:
		break;
	}
	IoSkipCurrentIrpStackLocation(Irp);
	return IoCallDriver(lower, Irp);
}

static DRIVER_UNLOAD Unload;
static VOID Unload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	DriverObject->DriverUnload = Unload;
	DriverObject->DriverExtension->AddDevice = AddDevice;
	DriverObject->MajorFunction[IRP_MJ_PNP] = Pnp;
	return ReadOptions(RegistryPath);
}
