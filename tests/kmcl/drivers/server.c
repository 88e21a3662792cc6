/* SPDX-License-Identifier: MIT */
/*
 * A server driver's source as it is written for Windows: Microsoft's header names alone, and every
 * function that only a server may call, beside those that it shares with a client. Compiled like
 * client.c.
 */
#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#define TAG 'rvsK'

DRIVER_INITIALIZE DriverEntry;
EVT_VMB_CHANNEL_OPENED ServerOpened;
EVT_VMB_CHANNEL_CLOSED ServerClosed;
EVT_VMB_CHANNEL_PROCESS_PACKET ServerProcessPacket;
EVT_VMB_CHANNEL_SAVE_PACKET ServerSavePacket;
EVT_VMB_CHANNEL_RESTORE_PACKET ServerRestorePacket;
EVT_VMB_PACKET_COMPLETION_ROUTINE ServerPacketDone;

typedef struct _SERVER {
	VMBCHANNEL Channel;
	HANDLE Bus;
	PMDL Shared;
	UINT32 SharedGpadl;
	PVOID Saved;
	ULONG SavedBytes, SavedRoom;
} SERVER, *PSERVER;

static SERVER Server;
static const GUID ServerType = {
	0x6f7a1c34, 0x27d1, 0x4b1e, {0x90, 0x11, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x70}};
static const GUID ServerInstance = {
	0x00000001, 0x27d1, 0x4b1e, {0x90, 0x11, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x70}};

_Use_decl_annotations_ NTSTATUS ServerOpened(VMBCHANNEL Channel)
{
	VmbChannelSetTransactionQuota(Channel, 32);
	return STATUS_SUCCESS;
}

_Use_decl_annotations_ VOID ServerClosed(VMBCHANNEL Channel)
{
	PSERVER server = (PSERVER)VmbChannelGetPointer(Channel);

	if (server->Shared != NULL)
		VmbChannelUnmapGpadl(Channel, server->SharedGpadl);
	server->Shared = NULL;
}

_Use_decl_annotations_ VOID ServerPacketDone(VMBPACKET Packet, NTSTATUS Status, PVOID Buffer,
					     UINT32 BufferLength)
{
	UNREFERENCED_PARAMETER(Status);
	UNREFERENCED_PARAMETER(Buffer);
	UNREFERENCED_PARAMETER(BufferLength);
	VmbPacketFree(Packet);
}

_Use_decl_annotations_ VOID ServerProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet,
						PVOID Buffer, UINT32 BufferLength, UINT32 Flags)
{
	PSERVER server = (PSERVER)VmbChannelGetPointer(Channel);
	UINT64 answer = 0;
	PMDL mdl = NULL;

	if (BufferLength < sizeof(UINT32)) {
		VmbChannelPacketFail(Packet);
		return;
	}
	if (KeGetCurrentIrql() > PASSIVE_LEVEL) {
		VmbChannelPacketDeferToPassive(Packet);
		return;
	}
	if (Flags & VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA) {
		NTSTATUS status = VmbChannelPacketGetExternalData(Packet, 0, &mdl);

		if (status == STATUS_PENDING)
			return;
		if (status == STATUS_SUCCESS)
			answer = MmGetMdlByteCount(mdl);
	} else if (server->Shared == NULL) {
		server->SharedGpadl = *(UINT32 *)Buffer;
		if (!NT_SUCCESS(VmbChannelMapGpadl(Channel, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY,
						   server->SharedGpadl, &server->Shared)))
			server->Shared = NULL;
	}
	VmbChannelPacketComplete(Packet, &answer, sizeof(answer));
}

_Use_decl_annotations_ NTSTATUS ServerSavePacket(VMBCHANNEL Channel, VMBPACKET Packet,
						 PVOID SaveBuf, UINT32 SaveBufSize,
						 PUINT32 BytesNeeded)
{
	UNREFERENCED_PARAMETER(Channel);
	*BytesNeeded = sizeof(UINT64);
	if (SaveBufSize < sizeof(UINT64))
		return STATUS_BUFFER_TOO_SMALL;
	*(UINT64 *)SaveBuf = (UINT64)(ULONG_PTR)VmbPacketGetPointer(Packet);
	return STATUS_SUCCESS;
}

_Use_decl_annotations_ NTSTATUS ServerRestorePacket(VMBCHANNEL Channel, PVOID LibBuf,
						    UINT32 LibBufSize, PVOID SaveBuf,
						    UINT32 SaveBufSize)
{
	VMBPACKET packet = VmbPacketAllocate(Channel);
	NTSTATUS status;

	if (packet == NULL)
		return STATUS_INSUFFICIENT_RESOURCES;
	VmbPacketSetCompletionRoutine(packet, ServerPacketDone);
	if (SaveBufSize >= sizeof(UINT64))
		VmbPacketSetPointer(packet, (PVOID)(ULONG_PTR) * (UINT64 *)SaveBuf);
	status = VmbPacketRestore(packet, LibBuf, LibBufSize);
	if (!NT_SUCCESS(status))
		VmbPacketFree(packet);
	return status;
}

/* The channel is paused. */
static NTSTATUS ServerSave(PSERVER server)
{
	NTSTATUS status = VmbChannelSaveBegin(server->Channel);
	ULONG filled = 0, required = 0;

	if (!NT_SUCCESS(status))
		return status;
	do {
		status = VmbChannelSaveContinue(
			server->Channel, (PUCHAR)server->Saved + server->SavedBytes,
			server->SavedRoom - server->SavedBytes, &filled, &required);
		server->SavedBytes += filled;
	} while (status == STATUS_BUFFER_OVERFLOW);
	VmbChannelSaveEnd(server->Channel);
	return status;
}

static NTSTATUS ServerConfigure(PSERVER server)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	VMBCHANNEL channel = server->Channel;
	NTSTATUS status;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = ServerOpened;
	callbacks.EvtChannelClosed = ServerClosed;
	status = VmbChannelInitSetStateChangeCallbacks(channel, &callbacks);
	if (NT_SUCCESS(status))
		status =
			VmbChannelInitSetProcessPacketCallbacks(channel, ServerProcessPacket, NULL);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetVmbusHandle(channel, server->Bus);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetTargetInterfaceId(channel, ServerType,
								  ServerInstance);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetFlags(
			channel, VMBUS_SERVER_CHANNEL_INIT_FLAG_ENUMERATE_DEVICE_INTERFACE);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetMmioMegabytes(channel, 8, 8);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetTargetVtl(channel, 0);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetSaveRestorePacketCallbacks(
			channel, ServerSavePacket, ServerRestorePacket);
	return status;
}

static NTSTATUS ServerRestore(PSERVER server)
{
	NTSTATUS status = STATUS_SUCCESS;

	if (server->SavedBytes != 0)
		status = VmbChannelRestoreFromBuffer(server->Channel, server->Saved,
						     server->SavedBytes);
	return status == STATUS_MORE_PROCESSING_REQUIRED ? STATUS_SUCCESS : status;
}

static VOID ServerUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
	VmbChannelPause(Server.Channel);
	(VOID) ServerSave(&Server);
	VmbChannelDisable(Server.Channel);
	VmbChannelCleanup(Server.Channel);
	ZwClose(Server.Bus);
	if (Server.Saved != NULL)
		ExFreePoolWithTag(Server.Saved, TAG);
}

_Use_decl_annotations_ NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject,
					    PUNICODE_STRING RegistryPath)
{
	NTSTATUS status = VmbConvertVmbusHandleToKernelHandle(NULL, &Server.Bus);

	UNREFERENCED_PARAMETER(RegistryPath);
	if (NT_SUCCESS(status))
		status = VmbChannelAllocate(DriverObject->DeviceObject, TRUE, &Server.Channel);
	if (!NT_SUCCESS(status))
		return status;
	DriverObject->DriverUnload = ServerUnload;
	Server.SavedRoom = 16 * PAGE_SIZE;
	Server.Saved = ExAllocatePoolWithTag(NonPagedPool, Server.SavedRoom, TAG);
	VmbChannelSetPointer(Server.Channel, &Server);
	status = ServerConfigure(&Server);
	if (NT_SUCCESS(status))
		status = ServerRestore(&Server);
	if (NT_SUCCESS(status))
		status = VmbChannelEnable(Server.Channel);
	if (NT_SUCCESS(status))
		VmbChannelStart(Server.Channel);
	return status;
}
