/* SPDX-License-Identifier: MIT */
/*
 * A client driver's source as it is written for Windows: Microsoft's header names alone, and every
 * function that a client may call. It is compiled as C and C++, here and by a cross compiler with
 * another WDK's headers, and never run.
 */
#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#define TAG 'tlcK'

DRIVER_INITIALIZE DriverEntry;
EVT_VMB_CHANNEL_OPENED ClientOpened;
EVT_VMB_CHANNEL_CLOSED ClientClosed;
EVT_VMB_CHANNEL_SUSPEND ClientSuspend;
EVT_VMB_CHANNEL_STARTED ClientStarted;
EVT_VMB_CHANNEL_POST_STARTED ClientPostStarted;
EVT_VMB_CHANNEL_PROCESS_PACKET ClientProcessPacket;
EVT_VMB_CHANNEL_PROCESSING_COMPLETE ClientProcessingComplete;
EVT_VMB_CHANNEL_PNP_FAILURE ClientPnpFailure;
EVT_VMB_PACKET_COMPLETION_ROUTINE ClientPacketDone;

typedef struct _CLIENT {
	VMBCHANNEL Channel;
	PVOID Shared;
	UINT32 SharedGpadl, PartGpadl;
	PMDL Mdl;
	UINT64 MmioAddress, MmioSize;
	GUID Instance;
	UINT16 Latency;
	VMBPACKET Own;
	UINT32 Packets;
} CLIENT, *PCLIENT;

static CLIENT Client;
static const GUID ClientType = {
	0x6f7a1c34, 0x27d1, 0x4b1e, {0x90, 0x11, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x70}};

_Use_decl_annotations_ NTSTATUS ClientOpened(VMBCHANNEL Channel)
{
	PCLIENT client = (PCLIENT)VmbChannelGetPointer(Channel);
	NTSTATUS status;

	VmbChannelGetInterfaceInstance(Channel, &client->Instance);
	VmbChannelGetMmioSpace(Channel, &client->MmioAddress, &client->MmioSize);
	status = VmbChannelCreateGpadlFromBuffer(Channel, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY,
						 client->Shared, 4 * PAGE_SIZE,
						 &client->SharedGpadl);
	if (!NT_SUCCESS(status))
		return status;
	status = VmbChannelCreateGpadlFromMdl(Channel, 0, client->Mdl, 0, PAGE_SIZE,
					      &client->PartGpadl);
	if (NT_SUCCESS(status))
		(VOID) VmbChannelSetInterruptLatency(Channel, 1000, &client->Latency);
	return status;
}

_Use_decl_annotations_ VOID ClientClosed(VMBCHANNEL Channel)
{
	PCLIENT client = (PCLIENT)VmbChannelGetPointer(Channel);

	VmbChannelDeleteGpadl(Channel, client->PartGpadl);
	VmbChannelDeleteGpadl(Channel, client->SharedGpadl);
}

_Use_decl_annotations_ VOID ClientSuspend(VMBCHANNEL Channel)
{
	UNREFERENCED_PARAMETER(Channel);
}

_Use_decl_annotations_ VOID ClientPacketDone(VMBPACKET Packet, NTSTATUS Status, PVOID Buffer,
					     UINT32 BufferLength)
{
	PCLIENT client = (PCLIENT)VmbPacketGetPointer(Packet);

	UNREFERENCED_PARAMETER(Buffer);
	if (NT_SUCCESS(Status) && BufferLength >= sizeof(UINT64))
		client->Packets++;
	if (VmbPacketGetChannel(Packet) == client->Channel && Packet != client->Own)
		VmbPacketFree(Packet);
}

static VMBPACKET ClientNewPacket(PCLIENT client)
{
	VMBPACKET packet = VmbPacketAllocate(client->Channel);

	if (packet != NULL) {
		VmbPacketSetPointer(packet, client);
		VmbPacketSetCompletionRoutine(packet, ClientPacketDone);
	}
	return packet;
}

_Use_decl_annotations_ VOID ClientStarted(VMBCHANNEL Channel)
{
	PCLIENT client = (PCLIENT)VmbChannelGetPointer(Channel);
	VMBPACKET packet = ClientNewPacket(client);
	UINT64 request = 1;
	PFN_NUMBER pfn = 1;

	if (packet != NULL &&
	    !NT_SUCCESS(VmbPacketSend(packet, &request, sizeof(request), NULL,
				      VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION)))
		VmbPacketFree(packet);
	packet = ClientNewPacket(client);
	if (packet != NULL && !NT_SUCCESS(VmbPacketSendWithExternalMdl(
				      packet, &request, sizeof(request), client->Mdl, 0, 512,
				      VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION |
					      VMBUS_CHANNEL_FORMAT_FLAG_FORCE_MDL_LENGTH)))
		VmbPacketFree(packet);
	packet = ClientNewPacket(client);
	if (packet != NULL && !NT_SUCCESS(VmbPacketSendWithExternalPfns(
				      packet, &request, sizeof(request), &pfn, 1,
				      VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION)))
		VmbPacketFree(packet);
}

_Use_decl_annotations_ VOID ClientPostStarted(VMBCHANNEL Channel)
{
	LARGE_INTEGER timeout;
	UINT64 request = 2, answer[4];
	UINT32 size = sizeof(answer);

	timeout.QuadPart = -10 * 1000 * 1000;
	if (NT_SUCCESS(VmbChannelSendSynchronousRequest(
		    Channel, &request, sizeof(request), NULL,
		    VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION, answer, &size, &timeout)))
		VmbChannelSetTransactionQuota(Channel, 64);
}

_Use_decl_annotations_ VOID ClientProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet,
						PVOID Buffer, UINT32 BufferLength, UINT32 Flags)
{
	PMDL mdl = NULL;

	UNREFERENCED_PARAMETER(Channel);
	if (Flags & VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA) {
		NTSTATUS status = VmbChannelPacketGetExternalData(
			Packet, VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAG_READ_ONLY, &mdl);

		if (status == STATUS_PENDING)
			return;
		VmbChannelPacketFail(Packet);
		return;
	}
	if (KeGetCurrentIrql() > PASSIVE_LEVEL && BufferLength > 64) {
		VmbChannelPacketDeferToPassive(Packet);
		return;
	}
	VmbChannelPacketComplete(Packet, Buffer, BufferLength);
}

_Use_decl_annotations_ VOID ClientProcessingComplete(VMBCHANNEL Channel, UINT32 PacketsProcessed)
{
	((PCLIENT)VmbChannelGetPointer(Channel))->Packets += PacketsProcessed;
}

_Use_decl_annotations_ VOID ClientPnpFailure(VMBCHANNEL Channel, NTSTATUS FailureStatus)
{
	UNREFERENCED_PARAMETER(Channel);
	UNREFERENCED_PARAMETER(FailureStatus);
}

static NTSTATUS ClientConfigure(VMBCHANNEL Channel)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	WCHAR text[] = {'c', 'l', 'i', 'e', 'n', 't'};
	UNICODE_STRING name;
	NTSTATUS status;

	name.Length = name.MaximumLength = sizeof(text);
	name.Buffer = text;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = ClientOpened;
	callbacks.EvtChannelClosed = ClientClosed;
	callbacks.EvtChannelSuspend = ClientSuspend;
	callbacks.EvtChannelStarted = ClientStarted;
	callbacks.EvtChannelPostStarted = ClientPostStarted;
	status = VmbChannelInitSetStateChangeCallbacks(Channel, &callbacks);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(Channel, ClientProcessPacket,
								 ClientProcessingComplete);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetFriendlyName(Channel, &name);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetFlags(Channel, 0);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetClientContextSize(Channel, 64);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(Channel, 1024);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumExternalData(Channel, 65536, 16);
	if (NT_SUCCESS(status))
		status = VmbClientChannelInitSetRingBufferPageCount(Channel, 32, 32);
	if (NT_SUCCESS(status))
		status = VmbClientChannelInitSetTargetPnp(Channel, &ClientType, NULL,
							  ClientPnpFailure);
	return status;
}

static NTSTATUS ClientMemory(PCLIENT client)
{
	UINT32 size = VmbChannelSizeofPacket(client->Channel);

	client->Own = (VMBPACKET)ExAllocatePoolWithTag(NonPagedPool, size, TAG);
	client->Shared = ExAllocatePoolWithTag(NonPagedPool, 4 * PAGE_SIZE, TAG);
	if (client->Own == NULL || client->Shared == NULL)
		return STATUS_INSUFFICIENT_RESOURCES;
	client->Mdl = IoAllocateMdl(client->Shared, 4 * PAGE_SIZE, FALSE, FALSE, NULL);
	if (client->Mdl == NULL)
		return STATUS_INSUFFICIENT_RESOURCES;
	MmBuildMdlForNonPagedPool(client->Mdl);
	return VmbPacketInitialize(client->Channel, client->Own, size);
}

static VOID ClientUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
	VmbChannelPause(Client.Channel);
	VmbChannelDisable(Client.Channel);
	VmbChannelCleanup(Client.Channel);
	if (Client.Mdl != NULL)
		IoFreeMdl(Client.Mdl);
	if (Client.Shared != NULL)
		ExFreePoolWithTag(Client.Shared, TAG);
	if (Client.Own != NULL)
		ExFreePoolWithTag(Client.Own, TAG);
}

_Use_decl_annotations_ NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject,
					    PUNICODE_STRING RegistryPath)
{
	NTSTATUS status = VmbChannelAllocate(DriverObject->DeviceObject, FALSE, &Client.Channel);

	UNREFERENCED_PARAMETER(RegistryPath);
	if (!NT_SUCCESS(status))
		return status;
	DriverObject->DriverUnload = ClientUnload;
	VmbChannelSetPointer(Client.Channel, &Client);
	VmbChannelSetIncomingProcessingAtPassive(Client.Channel, FALSE);
	status = ClientConfigure(Client.Channel);
	if (NT_SUCCESS(status))
		status = ClientMemory(&Client);
	if (NT_SUCCESS(status))
		status = VmbChannelEnable(Client.Channel);
	if (NT_SUCCESS(status))
		VmbChannelStart(Client.Channel);
	return status;
}
