/* SPDX-License-Identifier: MIT */
/*
 * One channel of the echo server: its settings, its life, and the protocol.
 */
#include <openkmcl_ext.h>

#include "echo_vsp.h"

/* ---- answers ---- */

VOID EchoComplete(VMBPACKETCOMPLETION Packet, const struct echo_request *Request, NTSTATUS Status)
{
	struct echo_completion answer = {
		.op = Request->op,
		.status = (UINT32)Status,
		.tag = Request->tag,
	};

	VmbChannelPacketComplete(Packet, &answer, sizeof(answer));
}

/* The guest chose how large its ring is; an answer that it can never hold would wait for ever. */
static BOOLEAN Fits(PECHO_CHANNEL Echo, UINT32 Size)
{
	return Size <= KmclChannelMaximumOutgoingPacket(Echo->Channel);
}

/* ---- the operations; each ends the packet, or leaves it with somebody who will ---- */

typedef struct _ECHO_PACKET {
	VMBPACKETCOMPLETION Packet;
	struct echo_request *Request; /* KMCL's private copy of the payload */
	UINT32 DataBytes;             /* behind it */
	BOOLEAN External;
} ECHO_PACKET, *PECHO_PACKET;

/* A completion is laid out like its request, so the request's copy becomes the answer. */
static VOID OpEcho(PECHO_CHANNEL Echo, PECHO_PACKET In)
{
	UINT32 size = sizeof(*In->Request) + In->Request->length;

	if (In->Request->length > In->DataBytes || In->Request->length > ECHO_MAXIMUM_ECHO ||
	    !Fits(Echo, size)) {
		EchoComplete(In->Packet, In->Request, STATUS_INVALID_PARAMETER);
		return;
	}
	((struct echo_completion *)In->Request)->status = ECHO_STATUS_SUCCESS;
	VmbChannelPacketComplete(In->Packet, In->Request, size);
}

/* External data of at least `length` bytes, mapped. STATUS_PENDING: the packet comes again. */
static NTSTATUS GetExternal(PECHO_PACKET In, UINT32 Flags, PMDL *Mdl)
{
	NTSTATUS status;

	if (!In->External)
		return STATUS_INVALID_PARAMETER;
	status = VmbChannelPacketGetExternalData(In->Packet, Flags, Mdl);
	if (status == STATUS_PENDING || status == STATUS_INSUFFICIENT_RESOURCES)
		return status;
	if (status != STATUS_SUCCESS || In->Request->length > EchoChainBytes(*Mdl))
		return STATUS_INVALID_PARAMETER;
	return EchoChainMap(*Mdl, In->Request->length) ? STATUS_SUCCESS
						       : STATUS_INSUFFICIENT_RESOURCES;
}

static VOID OpSum(PECHO_CHANNEL Echo, PECHO_PACKET In)
{
	struct echo_digest answer;
	NTSTATUS status = STATUS_SUCCESS;
	PMDL mdl = NULL;

	if (!Fits(Echo, sizeof(answer)))
		status = STATUS_INVALID_PARAMETER;
	else if (In->Request->length)
		status = GetExternal(In, VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAG_READ_ONLY, &mdl);
	if (status == STATUS_PENDING)
		return;
	if (!NT_SUCCESS(status)) {
		EchoComplete(In->Packet, In->Request, status);
		return;
	}
	answer.header.op = In->Request->op;
	answer.header.status = ECHO_STATUS_SUCCESS;
	answer.header.tag = In->Request->tag;
	EchoChainSum(mdl, 0, In->Request->length, answer.digest);
	VmbChannelPacketComplete(In->Packet, &answer, sizeof(answer));
}

static VOID OpFill(PECHO_CHANNEL Echo, PECHO_PACKET In)
{
	NTSTATUS status = STATUS_SUCCESS;
	PMDL mdl = NULL;

	UNREFERENCED_PARAMETER(Echo);
	if (In->Request->length)
		status = GetExternal(In, 0, &mdl);
	if (status == STATUS_PENDING)
		return;
	if (NT_SUCCESS(status))
		EchoChainFill(mdl, In->Request->length, In->Request->tag);
	EchoComplete(In->Packet, In->Request, status);
}

static VOID OpSink(PECHO_CHANNEL Echo, PECHO_PACKET In)
{
	NTSTATUS status = STATUS_SUCCESS;

	if (In->Request->length > In->DataBytes) {
		status = STATUS_INVALID_PARAMETER;
	} else {
		Echo->SunkPackets++;
		Echo->SunkBytes += In->Request->length;
	}
	EchoComplete(In->Packet, In->Request, status);
}

static VOID OpStats(PECHO_CHANNEL Echo, PECHO_PACKET In)
{
	struct echo_stats answer = {
		.header = {.op = In->Request->op, .tag = In->Request->tag},
		.packets = Echo->SunkPackets,
		.bytes = Echo->SunkBytes,
	};

	if (!Fits(Echo, sizeof(answer))) {
		EchoComplete(In->Packet, In->Request, STATUS_INVALID_PARAMETER);
		return;
	}
	Echo->SunkPackets = 0;
	Echo->SunkBytes = 0;
	VmbChannelPacketComplete(In->Packet, &answer, sizeof(answer));
}

static VOID OpGpadlSum(PECHO_CHANNEL Echo, PECHO_PACKET In)
{
	const UINT32 fields = sizeof(struct echo_gpadl_request) - sizeof(struct echo_request);

	if (In->DataBytes < fields || !Fits(Echo, sizeof(struct echo_digest)))
		EchoComplete(In->Packet, In->Request, STATUS_INVALID_PARAMETER);
	else
		EchoQueueGpadlSum(Echo, In->Packet, (struct echo_gpadl_request *)In->Request);
}

static VOID OpPush(PECHO_CHANNEL Echo, PECHO_PACKET In)
{
	if (!In->Request->length || In->Request->length > ECHO_MAXIMUM_PUSH ||
	    !Fits(Echo, sizeof(struct echo_push)))
		EchoComplete(In->Packet, In->Request, STATUS_INVALID_PARAMETER);
	else
		EchoQueuePush(Echo, In->Packet, In->Request);
}

/* ---- incoming ---- */

static VOID TooShort(VMBPACKETCOMPLETION Packet, PVOID Buffer, UINT32 BufferLength)
{
	struct echo_request request = {0};

	if (BufferLength >= sizeof(request.op))
		RtlCopyMemory(&request.op, Buffer, sizeof(request.op));
	EchoComplete(Packet, &request, STATUS_INVALID_PARAMETER);
}

static EVT_VMB_CHANNEL_PROCESS_PACKET EchoProcessPacket;
static VOID EchoProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
			      UINT32 BufferLength, UINT32 Flags)
{
	PECHO_CHANNEL echo = VmbChannelGetPointer(Channel);
	ECHO_PACKET in = {
		.Packet = Packet,
		.Request = Buffer,
		.External = (Flags & VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA) != 0,
	};

	InterlockedIncrement64(&echo->Packets);
	if (BufferLength < sizeof(*in.Request)) {
		TooShort(Packet, Buffer, BufferLength);
		return;
	}
	in.DataBytes = BufferLength - sizeof(*in.Request);
	switch (in.Request->op) {
	case ECHO_OP_ECHO:
		OpEcho(echo, &in);
		break;
	case ECHO_OP_SUM:
		OpSum(echo, &in);
		break;
	case ECHO_OP_SINK:
		OpSink(echo, &in);
		break;
	case ECHO_OP_STATS:
		OpStats(echo, &in);
		break;
	case ECHO_OP_FILL:
		OpFill(echo, &in);
		break;
	case ECHO_OP_GPADL_SUM:
		OpGpadlSum(echo, &in);
		break;
	case ECHO_OP_PUSH:
		OpPush(echo, &in);
		break;
	default:
		EchoComplete(Packet, in.Request, STATUS_INVALID_PARAMETER);
		break;
	}
}

/* ---- life ---- */

static EVT_VMB_CHANNEL_OPENED EchoOpened;
static NTSTATUS EchoOpened(VMBCHANNEL Channel)
{
	PECHO_CHANNEL echo = VmbChannelGetPointer(Channel);

	echo->SunkPackets = 0;
	echo->SunkBytes = 0;
	InterlockedIncrement(&echo->Opens);
	InterlockedExchange(&echo->Open, 1);
	return STATUS_SUCCESS;
}

static EVT_VMB_CHANNEL_STARTED EchoStarted;
static VOID EchoStarted(VMBCHANNEL Channel)
{
	PECHO_CHANNEL echo = VmbChannelGetPointer(Channel);

	EchoWorkStart(echo);
	InterlockedExchange(&echo->Running, 1);
}

static EVT_VMB_CHANNEL_SUSPEND EchoSuspend;
static VOID EchoSuspend(VMBCHANNEL Channel)
{
	PECHO_CHANNEL echo = VmbChannelGetPointer(Channel);

	InterlockedExchange(&echo->Running, 0);
	EchoWorkStop(echo);
}

static EVT_VMB_CHANNEL_CLOSED EchoClosed;
static VOID EchoClosed(VMBCHANNEL Channel)
{
	PECHO_CHANNEL echo = VmbChannelGetPointer(Channel);

	InterlockedExchange(&echo->Open, 0);
}

/* 00000000-0000-0000-0000-0000000000e0 and up */
static GUID InstanceOf(ULONG Index)
{
	UINT32 last = ECHO_FIRST_INSTANCE + Index;
	GUID guid = {0};

	guid.Data4[4] = (UCHAR)(last >> 24);
	guid.Data4[5] = (UCHAR)(last >> 16);
	guid.Data4[6] = (UCHAR)(last >> 8);
	guid.Data4[7] = (UCHAR)last;
	return guid;
}

static NTSTATUS SetName(VMBCHANNEL Channel, ULONG Index)
{
	WCHAR buffer[24], digits[12];
	UNICODE_STRING name = {0, sizeof(buffer), buffer};
	UNICODE_STRING number = {0, sizeof(digits), digits};
	NTSTATUS status;

	status = RtlAppendUnicodeToString(&name, L"echo ");
	if (NT_SUCCESS(status))
		status = RtlIntegerToUnicodeString(ECHO_FIRST_INSTANCE + Index, 16, &number);
	if (NT_SUCCESS(status))
		status = RtlAppendUnicodeStringToString(&name, &number);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetFriendlyName(Channel, &name);
	return status;
}

static NTSTATUS Configure(PECHO_CHANNEL Echo, ULONG Index)
{
	static const GUID type = ECHO_INTERFACE_TYPE;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	NTSTATUS status;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = EchoOpened;
	callbacks.EvtChannelStarted = EchoStarted;
	callbacks.EvtChannelSuspend = EchoSuspend;
	callbacks.EvtChannelClosed = EchoClosed;
	status = VmbChannelInitSetStateChangeCallbacks(Echo->Channel, &callbacks);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(Echo->Channel, EchoProcessPacket,
								 NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(Echo->Channel, ECHO_MAXIMUM_PACKET);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumExternalData(Echo->Channel, ECHO_MAXIMUM_EXTERNAL,
							      ECHO_MAXIMUM_CHAIN);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetTargetInterfaceId(Echo->Channel, type,
								  Echo->Instance);
	if (NT_SUCCESS(status))
		status = SetName(Echo->Channel, Index);
	return status;
}

NTSTATUS EchoChannelCreate(PECHO_DEVICE Device, PECHO_CHANNEL Echo, ULONG Index)
{
	NTSTATUS status;

	Echo->Device = Device;
	Echo->Instance = InstanceOf(Index);
	status = EchoWorkCreate(Echo, Device->Quota);
	if (!NT_SUCCESS(status))
		return status;
	status = VmbChannelAllocate(Device->Physical, TRUE, &Echo->Channel);
	if (!NT_SUCCESS(status))
		return status;
	VmbChannelSetPointer(Echo->Channel, Echo);
	VmbChannelSetTransactionQuota(Echo->Channel, Device->Quota);
	return Configure(Echo, Index);
}

/* Also after a Create that failed half way. */
VOID EchoChannelDestroy(PECHO_CHANNEL Echo)
{
	if (Echo->Channel) {
		VmbChannelDisable(Echo->Channel);
		VmbChannelCleanup(Echo->Channel);
		Echo->Channel = NULL;
	}
	if (Echo->Device)
		EchoWorkDestroy(Echo);
}
