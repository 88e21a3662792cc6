/* SPDX-License-Identifier: MIT */
/*
 * What all components have in common: a channel in message mode, the negotiation of versions after
 * each open and resume, and one message at a time that the guest answers in kind.
 *
 * Messages are sent under the component's lock: a packet's completion is the library's own (it
 * frees the packet), so nothing calls back into here.
 */
#include <openkmcl_ext.h>

#include "ic_vsp.h"

C_ASSERT(sizeof(struct ic_header) == 20);
C_ASSERT(sizeof(struct ic_heartbeat) == 40);
C_ASSERT(sizeof(struct ic_shutdown) == 2060);
C_ASSERT(sizeof(struct ic_time_v3) == 28);
C_ASSERT(sizeof(struct ic_time_v4) == 24);
C_ASSERT(sizeof(struct ic_kvp) == 2580);
C_ASSERT(sizeof(struct ic_kvp_ip) == 7428);
C_ASSERT(sizeof(struct ic_header) + sizeof(struct ic_shutdown) + IC_PACKET_OVERHEAD <=
	 IC_GUEST_BUFFER);
C_ASSERT(IC_LARGEST + IC_PACKET_OVERHEAD <= IC_GUEST_BUFFER_KVP);

#define TICKS_PER_MS      10000ll
#define LOG_INTERVAL      (1000 * TICKS_PER_MS)
#define OFFERED_WITH_TIME 4 /* major of the first time messages with a reference time */

static const struct ic_version FrameworkVersions[] = {{1, 0}, {3, 0}};

/* ---- lock ---- */

VOID IcLock(PIC Ic, PKIRQL Irql)
{
	KeAcquireSpinLock(&Ic->Lock, Irql);
}

VOID IcUnlock(PIC Ic, KIRQL Irql)
{
	PIRP done = Ic->Done;

	Ic->Done = NULL;
	KeReleaseSpinLock(&Ic->Lock, Irql);
	if (!done)
		return;
	IoCompleteRequest(done, IO_NO_INCREMENT);
	ExReleaseRundownProtection(&Ic->Device->Requests);
}

/* ---- logging what a guest can provoke ---- */

static VOID Tell(PIC Ic, PCSTR Why)
{
	UINT64 now = KeQueryInterruptTime();

	if (Ic->Told && now - Ic->Told < LOG_INTERVAL)
		return;
	Ic->Told = now;
	DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_WARNING_LEVEL,
		   "%ws: %s (malformed %llu, unsolicited %llu, rejected %llu)\n", Ic->Kind->Name,
		   Why, (unsigned long long)Ic->Counts.malformed,
		   (unsigned long long)Ic->Counts.unsolicited,
		   (unsigned long long)Ic->Counts.rejected);
}

static VOID Drop(PIC Ic, UINT64 *Count, PCSTR Why)
{
	++*Count;
	Tell(Ic, Why);
}

VOID IcReject(PIC Ic, PCSTR Why)
{
	Drop(Ic, &Ic->Counts.rejected, Why);
}

/* ---- sending ---- */

PVOID IcBody(PIC Ic, UINT32 Size)
{
	RtlZeroMemory(Ic->Out.Bytes, sizeof(Ic->Out.Header) + Size);
	return Ic->Out.Bytes + sizeof(Ic->Out.Header);
}

static NTSTATUS Transmit(PIC Ic, UINT32 Size)
{
	VMBPACKET packet;
	NTSTATUS status;

	if (Size > KmclChannelMaximumOutgoingPacket(Ic->Channel))
		return STATUS_BUFFER_OVERFLOW;
	packet = VmbPacketAllocate(Ic->Channel);
	if (!packet)
		return STATUS_INSUFFICIENT_RESOURCES;
	status = VmbPacketSend(packet, Ic->Out.Bytes, Size, NULL, 0);
	if (!NT_SUCCESS(status))
		VmbPacketFree(packet);
	return status;
}

NTSTATUS IcSend(PIC Ic, UINT16 Type, UINT32 Size)
{
	struct ic_header *header = &Ic->Out.Header;
	NTSTATUS status;

	header->type = Type;
	header->size = (UINT16)Size;
	header->transaction = ++Ic->Transaction;
	header->flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST;
	if (Type != IC_NEGOTIATE) {
		header->framework = Ic->Framework;
		header->message = Ic->Message;
	}
	status = Transmit(Ic, sizeof(*header) + Size);
	if (!NT_SUCCESS(status)) {
		DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_WARNING_LEVEL,
			   "%ws: cannot send %u bytes: 0x%08x\n", Ic->Kind->Name,
			   (unsigned int)(sizeof(*header) + Size), (unsigned int)status);
		return status;
	}
	Ic->Counts.sent++;
	Ic->Waiting = TRUE;
	Ic->Awaited = Type;
	return STATUS_SUCCESS;
}

/* ---- versions ---- */

static BOOLEAN Same(struct ic_version A, struct ic_version B)
{
	return A.major == B.major && A.minor == B.minor;
}

BOOLEAN IcVersionAtLeast(PIC Ic, UINT16 Major, UINT16 Minor)
{
	return Ic->Message.major > Major ||
	       (Ic->Message.major == Major && Ic->Message.minor >= Minor);
}

/* Without a reference time there is nothing to put into the messages that tell it. */
static ULONG OfferedVersions(PIC Ic)
{
	ULONG count = Ic->Kind->VersionCount;

	if (Ic->Kind->Component == IC_COMPONENT_TIMESYNC && !Ic->HasReference)
		while (count && Ic->Kind->Versions[count - 1].major >= OFFERED_WITH_TIME)
			count--;
	return count;
}

static VOID Negotiate(PIC Ic)
{
	ULONG frameworks = RTL_NUMBER_OF(FrameworkVersions), messages = OfferedVersions(Ic);
	UINT32 size = (UINT32)(sizeof(struct ic_negotiate) +
			       (frameworks + messages) * sizeof(struct ic_version));
	struct ic_negotiate *body = IcBody(Ic, size);
	struct ic_version *versions = (struct ic_version *)(body + 1);

	body->framework_count = (UINT16)frameworks;
	body->message_count = (UINT16)messages;
	RtlCopyMemory(versions, FrameworkVersions, sizeof(FrameworkVersions));
	RtlCopyMemory(versions + frameworks, Ic->Kind->Versions,
		      messages * sizeof(struct ic_version));
	Ic->Session = NT_SUCCESS(IcSend(Ic, IC_NEGOTIATE, size)) ? IcNegotiating : IcUnmatched;
}

static BOOLEAN IsAmong(struct ic_version Version, const struct ic_version *List, ULONG Count)
{
	for (ULONG i = 0; i < Count; i++)
		if (Same(Version, List[i]))
			return TRUE;
	return FALSE;
}

/* What the guest has chosen. NULL: it will do, else why not. */
static PCSTR Choice(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size)
{
	struct {
		struct ic_negotiate counts;
		struct ic_version chosen[2];
	} answer;

	if (Size < sizeof(answer.counts))
		return "its answer to our versions is short";
	RtlCopyMemory(&answer, Body, Size < sizeof(answer) ? Size : sizeof(answer));
	if (!answer.counts.framework_count && !answer.counts.message_count)
		return "the guest knows none of our versions";
	if (answer.counts.framework_count != 1 || answer.counts.message_count != 1)
		return "its answer names more versions than two";
	if (Size < sizeof(answer) || Header->size != sizeof(answer))
		return "its answer to our versions has a wrong size";
	if (!IsAmong(answer.chosen[0], FrameworkVersions, RTL_NUMBER_OF(FrameworkVersions)) ||
	    !IsAmong(answer.chosen[1], Ic->Kind->Versions, OfferedVersions(Ic)))
		return "it has chosen a version that it was not offered";
	Ic->Framework = answer.chosen[0];
	Ic->Message = answer.chosen[1];
	return NULL;
}

static VOID StartTicking(PIC Ic)
{
	LARGE_INTEGER due = {.QuadPart = -(INT64)Ic->Period * TICKS_PER_MS};

	if (Ic->Period)
		KeSetTimerEx(&Ic->Timer, due, (LONG)Ic->Period, &Ic->TimerDpc);
}

static VOID Negotiated(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size)
{
	PCSTR why = Choice(Ic, Header, Body, Size);

	if (why) {
		Ic->Session = IcUnmatched;
		IcReject(Ic, why);
		return;
	}
	Ic->Session = IcReady;
	StartTicking(Ic);
	if (Ic->Kind->Ready)
		Ic->Kind->Ready(Ic);
}

/* ---- receiving ---- */

/* TRUE: the answer that is awaited; its header is a copy. */
static BOOLEAN IsAwaited(PIC Ic, const UINT8 *Buffer, UINT32 Length, struct ic_header *Header)
{
	if (Length < sizeof(*Header)) {
		Drop(Ic, &Ic->Counts.malformed, "a message without a whole header");
		return FALSE;
	}
	RtlCopyMemory(Header, Buffer, sizeof(*Header));
	if (Header->size > Length - sizeof(*Header)) {
		Drop(Ic, &Ic->Counts.malformed, "a body that is longer than its message");
		return FALSE;
	}
	if (!(Header->flags & IC_FLAG_RESPONSE) || !Ic->Waiting ||
	    Header->transaction != Ic->Transaction || Header->type != Ic->Awaited) {
		Drop(Ic, &Ic->Counts.unsolicited, "a message that nobody asked for");
		return FALSE;
	}
	return TRUE;
}

static VOID Answered(PIC Ic, const struct ic_header *Header, const UINT8 *Body)
{
	Ic->Waiting = FALSE;
	Ic->Counts.answered++;
	switch (Ic->Session) {
	case IcNegotiating:
		Negotiated(Ic, Header, Body, Header->size);
		break;
	case IcDraining:
		Negotiate(Ic);
		break;
	case IcReady:
		Ic->Kind->Answer(Ic, Header, Body, Header->size);
		break;
	case IcClosed:
	case IcUnmatched:
		break;
	}
}

static EVT_VMB_CHANNEL_PROCESS_PACKET IcProcessPacket;
static VOID IcProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
			    UINT32 BufferLength, UINT32 Flags)
{
	PIC ic = VmbChannelGetPointer(Channel);
	const UINT8 *bytes = Buffer; /* KMCL's private copy */
	struct ic_header header;
	KIRQL irql;

	UNREFERENCED_PARAMETER(Flags);
	IcLock(ic, &irql);
	if (IsAwaited(ic, bytes, BufferLength, &header))
		Answered(ic, &header, bytes + sizeof(header));
	IcUnlock(ic, irql);
	VmbChannelPacketComplete(Packet, NULL, 0);
}

/* ---- time ---- */

static KDEFERRED_ROUTINE IcTick;
static VOID IcTick(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
	PIC ic = DeferredContext;
	KIRQL irql;

	UNREFERENCED_PARAMETER(Dpc);
	UNREFERENCED_PARAMETER(SystemArgument1);
	UNREFERENCED_PARAMETER(SystemArgument2);
	IcLock(ic, &irql);
	if (ic->Session == IcReady)
		ic->Kind->Tick(ic);
	IcUnlock(ic, irql);
}

/* ---- life ---- */

static EVT_VMB_CHANNEL_OPENED IcOpened;
static NTSTATUS IcOpened(VMBCHANNEL Channel)
{
	PIC ic = VmbChannelGetPointer(Channel);
	KIRQL irql;

	IcLock(ic, &irql);
	ic->Counts.opens++;
	ic->Waiting = FALSE;
	IcUnlock(ic, irql);
	return STATUS_SUCCESS;
}

/* After a pause something may be unanswered still, and nothing is sent before it is answered. */
static EVT_VMB_CHANNEL_STARTED IcStarted;
static VOID IcStarted(VMBCHANNEL Channel)
{
	PIC ic = VmbChannelGetPointer(Channel);
	UINT64 reference, time;
	KIRQL irql;

	IcLock(ic, &irql);
	ic->HasReference = NT_SUCCESS(KmclChannelQueryReferenceTime(Channel, &reference, &time));
	if (!ic->Waiting)
		Negotiate(ic);
	else
		ic->Session = ic->Awaited == IC_NEGOTIATE ? IcNegotiating : IcDraining;
	IcUnlock(ic, irql);
}

static EVT_VMB_CHANNEL_SUSPEND IcSuspend;
static VOID IcSuspend(VMBCHANNEL Channel)
{
	PIC ic = VmbChannelGetPointer(Channel);
	KIRQL irql;

	IcLock(ic, &irql);
	ic->Session = IcClosed;
	KeCancelTimer(&ic->Timer);
	if (ic->Kind->Closed)
		ic->Kind->Closed(ic);
	IcFinish(ic,
		 InterlockedOr(&ic->Device->Removed, 0) ? STATUS_DEVICE_REMOVED
							: STATUS_DEVICE_NOT_CONNECTED,
		 0);
	IcUnlock(ic, irql);
}

static EVT_VMB_CHANNEL_CLOSED IcChannelClosed;
static VOID IcChannelClosed(VMBCHANNEL Channel)
{
	PIC ic = VmbChannelGetPointer(Channel);
	KIRQL irql;

	IcLock(ic, &irql);
	ic->Waiting = FALSE;
	IcUnlock(ic, irql);
}

static NTSTATUS SetName(PIC Ic)
{
	UNICODE_STRING name;

	RtlInitUnicodeString(&name, Ic->Kind->Name);
	return VmbChannelInitSetFriendlyName(Ic->Channel, &name);
}

static NTSTATUS Configure(PIC Ic)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	NTSTATUS status;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = IcOpened;
	callbacks.EvtChannelStarted = IcStarted;
	callbacks.EvtChannelSuspend = IcSuspend;
	callbacks.EvtChannelClosed = IcChannelClosed;
	status = VmbChannelInitSetStateChangeCallbacks(Ic->Channel, &callbacks);
	if (NT_SUCCESS(status))
		status =
			VmbChannelInitSetProcessPacketCallbacks(Ic->Channel, IcProcessPacket, NULL);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetFlags(Ic->Channel,
						      VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(Ic->Channel, IC_MAXIMUM_MESSAGE);
	if (NT_SUCCESS(status))
		status = VmbServerChannelInitSetTargetInterfaceId(Ic->Channel, Ic->Kind->Type,
								  Ic->Kind->Instance);
	if (NT_SUCCESS(status))
		status = SetName(Ic);
	return status;
}

NTSTATUS IcCreate(PIC_DEVICE Device, PIC Ic, const IC_KIND *Kind, UINT32 Period)
{
	NTSTATUS status;

	Ic->Kind = Kind;
	Ic->Device = Device;
	Ic->Period = Kind->Tick ? Period : 0;
	KeInitializeSpinLock(&Ic->Lock);
	KeInitializeTimer(&Ic->Timer);
	KeInitializeDpc(&Ic->TimerDpc, IcTick, Ic);
	KeInitializeTimer(&Ic->Limit);
	KeInitializeDpc(&Ic->LimitDpc, IcLimitReached, Ic);
	status = VmbChannelAllocate(Device->Physical, TRUE, &Ic->Channel);
	if (!NT_SUCCESS(status))
		return status;
	VmbChannelSetPointer(Ic->Channel, Ic);
	VmbChannelSetTransactionQuota(Ic->Channel, IC_QUOTA);
	return Configure(Ic);
}

VOID IcDestroy(PIC Ic)
{
	if (!Ic->Channel)
		return;
	VmbChannelDisable(Ic->Channel);
	KeCancelTimer(&Ic->Timer);
	KeCancelTimer(&Ic->Limit);
	KeFlushQueuedDpcs();
	VmbChannelCleanup(Ic->Channel);
	Ic->Channel = NULL;
}
