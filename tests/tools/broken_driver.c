/* SPDX-License-Identifier: MIT */
/*
 * A server driver with mistakes, each behind what a guest has to say first; bug= arms one.
 *
 * A request begins with its magic number, an operation and a length. LOGIN needs the key, SETUP a
 * session, the rest a session that is set up.
 *
 *     1  CHECKSUM believes the length that the request names
 *     2  three operations in this order and no other, then a fourth
 *     3  a request is completed twice
 *     4  a request is never done with
 *     5  memory of the pool is left behind by the driver
 */
#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#define MAGIC      0x4b434142u
#define LOGIN_KEY  0x5ec2e71du
#define TAG        0x6b6f7242u
#define MOST       4096u
#define MOST_SLOTS 16u

enum operation {
	LOGIN = 1,
	SETUP = 2,
	CHECKSUM = 3,
	FIRST = 0x1101,
	SECOND = 0x2202,
	THIRD = 0x3303,
	LAST = 0x4404,
	TWICE = 0x5505,
	NEVER = 0x6606,
	LEAVE = 0x7707,
};

enum bug {
	NONE,
	LENGTH,
	SEQUENCE,
	COMPLETED_TWICE,
	HANGS,
	LEAKS
};

struct request {
	UINT32 magic;
	UINT16 operation;
	UINT16 slots;
	UINT32 key;
	UINT32 length;
	UCHAR data[];
};

typedef struct _BROKEN_DEVICE {
	PDEVICE_OBJECT Self, Lower;
	VMBCHANNEL Channel;
	ULONG State; /* 0: nobody logged in, 1: somebody, 2: set up, and in order from 3 on */
} BROKEN_DEVICE, *PBROKEN_DEVICE;

DRIVER_INITIALIZE DriverEntry;

static ULONG Armed;
static volatile UINT32 Forever = 1;

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

static UINT32 Checksum(const struct request *Request, UINT32 Room)
{
	UINT32 sum = 0, length = Request->length;

	if (Armed != LENGTH && length > Room)
		length = Room;
	for (UINT32 i = 0; i < length; i++)
		sum += ((const volatile UCHAR *)Request->data)[i];
	return sum;
}

static VOID InOrder(PBROKEN_DEVICE Device, UINT32 Operation)
{
	static volatile UINT32 *volatile nothing;

	if (Device->State == 2 && Operation == FIRST)
		Device->State = 3;
	else if (Device->State == 3 && Operation == SECOND)
		Device->State = 4;
	else if (Device->State == 4 && Operation == THIRD)
		Device->State = 5;
	else if (Device->State == 5 && Operation == LAST && Armed == SEQUENCE)
		*nothing = Operation;
	else
		Device->State = 2;
}

static NTSTATUS LogIn(PBROKEN_DEVICE Device, const struct request *Request)
{
	if (Request->key != LOGIN_KEY)
		return STATUS_ACCESS_DENIED;
	Device->State = 1;
	return STATUS_SUCCESS;
}

static NTSTATUS SetUp(PBROKEN_DEVICE Device, const struct request *Request)
{
	if (Request->slots > MOST_SLOTS)
		return STATUS_INVALID_PARAMETER;
	Device->State = 2;
	return STATUS_SUCCESS;
}

static NTSTATUS Serve(PBROKEN_DEVICE Device, VMBPACKETCOMPLETION Packet, struct request *Request,
		      UINT32 Room)
{
	switch (Request->operation) {
	case CHECKSUM:
		Request->key = Checksum(Request, Room);
		return STATUS_SUCCESS;
	case FIRST:
	case SECOND:
	case THIRD:
	case LAST:
		InOrder(Device, Request->operation);
		return STATUS_SUCCESS;
	case TWICE:
		if (Armed == COMPLETED_TWICE)
			VmbChannelPacketComplete(Packet, NULL, 0);
		return STATUS_SUCCESS;
	case NEVER:
		while (Armed == HANGS && Forever)
			;
		return STATUS_SUCCESS;
	case LEAVE:
		if (Armed == LEAKS && !ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG))
			return STATUS_INSUFFICIENT_RESOURCES;
		return STATUS_SUCCESS;
	default:
		return STATUS_NOT_SUPPORTED;
	}
}

static NTSTATUS Handle(PBROKEN_DEVICE Device, VMBPACKETCOMPLETION Packet, struct request *Request,
		       UINT32 Length)
{
	if (Length < sizeof(*Request) || Request->magic != MAGIC)
		return STATUS_INVALID_PARAMETER;
	if (Request->operation == LOGIN)
		return LogIn(Device, Request);
	if (Device->State == 0)
		return STATUS_ACCESS_DENIED;
	if (Request->operation == SETUP)
		return SetUp(Device, Request);
	if (Device->State == 1)
		return STATUS_DEVICE_NOT_READY;
	return Serve(Device, Packet, Request, Length - (UINT32)sizeof(*Request));
}

static EVT_VMB_CHANNEL_PROCESS_PACKET ProcessPacket;
static VOID ProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
			  UINT32 BufferLength, UINT32 Flags)
{
	NTSTATUS status = Handle(VmbChannelGetPointer(Channel), Packet, Buffer, BufferLength);

	UNREFERENCED_PARAMETER(Flags);
	VmbChannelPacketComplete(Packet, &status, sizeof(status));
}

/* ---- life ---- */

static EVT_VMB_CHANNEL_OPENED Opened;
static NTSTATUS Opened(VMBCHANNEL Channel)
{
	((PBROKEN_DEVICE)VmbChannelGetPointer(Channel))->State = 0;
	return STATUS_SUCCESS;
}

static NTSTATUS CreateChannel(PBROKEN_DEVICE Device, PDEVICE_OBJECT Physical)
{
	static const GUID type = {0x6b1a5cd0, 0x3b1f, 0x4bb2, {0x8f, 1, 2, 3, 4, 5, 6, 7}};
	static const GUID instance = {1, 0, 0, {0}};
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	NTSTATUS status = VmbChannelAllocate(Physical, TRUE, &Device->Channel);

	if (!NT_SUCCESS(status))
		return status;
	VmbChannelSetPointer(Device->Channel, Device);
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = Opened;
	status = VmbChannelInitSetStateChangeCallbacks(Device->Channel, &callbacks);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(Device->Channel, ProcessPacket,
								 NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(Device->Channel, MOST);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetTargetInterfaceId(Device->Channel, type, instance);
	return status;
}

static VOID Destroy(PBROKEN_DEVICE Device)
{
	if (Device->Channel) {
		VmbChannelDisable(Device->Channel);
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

static NTSTATUS StartDevice(PBROKEN_DEVICE Device)
{
	NTSTATUS status = VmbChannelEnable(Device->Channel);

	if (NT_SUCCESS(status))
		VmbChannelStart(Device->Channel);
	return status;
}

static DRIVER_DISPATCH Pnp;
static NTSTATUS Pnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PBROKEN_DEVICE device = DeviceObject->DeviceExtension;
	PDEVICE_OBJECT lower = device->Lower;

	switch (IoGetCurrentIrpStackLocation(Irp)->MinorFunction) {
	case IRP_MN_START_DEVICE:
		Irp->IoStatus.Status = StartDevice(device);
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
