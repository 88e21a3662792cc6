/* SPDX-License-Identifier: MIT */
/*
 * The two requests that outlive ProcessPacket. GPADL_SUM needs PASSIVE_LEVEL, so a work item serves
 * a channel's requests one after another. PUSH is driven by the completion routines of the packets
 * that it sends.
 *
 * Both end at Suspend: KMCL then waits for every request to be completed, and sends nothing more,
 * so a PUSH that waited for its packets to leave would wait for ever.
 */
#include "echo_vsp.h"

/* ---- queues, under the channel's lock ---- */

static BOOLEAN QueuePut(PECHO_QUEUE Queue, VMBPACKETCOMPLETION Packet,
			const struct echo_gpadl_request *Request)
{
	PECHO_WORK slot;

	if (Queue->Count == Queue->Size)
		return FALSE;
	slot = &Queue->Slots[(Queue->First + Queue->Count) % Queue->Size];
	slot->Packet = Packet;
	slot->Request = *Request;
	Queue->Count++;
	return TRUE;
}

static BOOLEAN QueueTake(PECHO_QUEUE Queue, PECHO_WORK Work)
{
	if (!Queue->Count)
		return FALSE;
	*Work = Queue->Slots[Queue->First];
	Queue->First = (Queue->First + 1) % Queue->Size;
	Queue->Count--;
	return TRUE;
}

/* Ends all that a queue holds; called without the lock. */
static VOID QueueCancel(PECHO_CHANNEL Echo, PECHO_QUEUE Queue)
{
	ECHO_WORK work;
	BOOLEAN taken;
	KIRQL irql;

	do {
		KeAcquireSpinLock(&Echo->Lock, &irql);
		taken = QueueTake(Queue, &work);
		KeReleaseSpinLock(&Echo->Lock, irql);
		if (taken)
			EchoComplete(work.Packet, &work.Request.header, STATUS_CANCELLED);
	} while (taken);
}

/* ---- GPADL_SUM ---- */

static NTSTATUS SumGpadl(PECHO_CHANNEL Echo, const struct echo_gpadl_request *Request,
			 struct echo_digest *Answer)
{
	UINT64 end = (UINT64)Request->offset + Request->header.length;
	NTSTATUS status;
	PMDL mdl;

	status = VmbChannelMapGpadl(Echo->Channel, VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY,
				    Request->gpadl, &mdl);
	if (!NT_SUCCESS(status))
		return status == STATUS_INSUFFICIENT_RESOURCES ? status : STATUS_INVALID_PARAMETER;
	if (end > EchoChainBytes(mdl))
		status = STATUS_INVALID_PARAMETER;
	else if (!EchoChainMap(mdl, (UINT32)end))
		status = STATUS_INSUFFICIENT_RESOURCES;
	else
		EchoChainSum(mdl, Request->offset, Request->header.length, Answer->digest);
	VmbChannelUnmapGpadl(Echo->Channel, Request->gpadl);
	return status;
}

static VOID ServeGpadlSum(PECHO_CHANNEL Echo, const ECHO_WORK *Work)
{
	struct echo_digest answer;
	NTSTATUS status = SumGpadl(Echo, &Work->Request, &answer);

	if (!NT_SUCCESS(status)) {
		EchoComplete(Work->Packet, &Work->Request.header, status);
		return;
	}
	answer.header.op = Work->Request.header.op;
	answer.header.status = ECHO_STATUS_SUCCESS;
	answer.header.tag = Work->Request.header.tag;
	VmbChannelPacketComplete(Work->Packet, &answer, sizeof(answer));
}

static IO_WORKITEM_ROUTINE GpadlWorker;
static VOID GpadlWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
	PECHO_CHANNEL echo = Context;
	ECHO_WORK work;
	BOOLEAN taken;
	KIRQL irql;

	UNREFERENCED_PARAMETER(DeviceObject);
	for (;;) {
		KeAcquireSpinLock(&echo->Lock, &irql);
		taken = QueueTake(&echo->Gpadls, &work);
		echo->GpadlBusy = taken;
		KeReleaseSpinLock(&echo->Lock, irql);
		if (!taken)
			break;
		ServeGpadlSum(echo, &work);
	}
	ExReleaseRundownProtection(&echo->GpadlWorkers);
}

VOID EchoQueueGpadlSum(PECHO_CHANNEL Echo, VMBPACKETCOMPLETION Packet,
		       const struct echo_gpadl_request *Request)
{
	BOOLEAN queued, start = FALSE;
	KIRQL irql;

	KeAcquireSpinLock(&Echo->Lock, &irql);
	queued = !Echo->Stopping && QueuePut(&Echo->Gpadls, Packet, Request);
	if (queued && !Echo->GpadlBusy) {
		Echo->GpadlBusy = TRUE;
		start = TRUE;
	}
	KeReleaseSpinLock(&Echo->Lock, irql);
	if (!queued)
		EchoComplete(Packet, &Request->header, STATUS_CANCELLED);
	if (start && ExAcquireRundownProtection(&Echo->GpadlWorkers))
		IoQueueWorkItem(Echo->GpadlItem, GpadlWorker, DelayedWorkQueue, Echo);
}

/* ---- PUSH ---- */

static VOID PushPump(PECHO_CHANNEL Echo);

static EVT_VMB_PACKET_COMPLETION_ROUTINE PushPlaced;
static VOID PushPlaced(VMBPACKET Packet, NTSTATUS Status, PVOID Buffer, UINT32 BufferLength)
{
	PECHO_CHANNEL echo = VmbPacketGetPointer(Packet);
	KIRQL irql;

	UNREFERENCED_PARAMETER(Buffer);
	UNREFERENCED_PARAMETER(BufferLength);
	VmbPacketFree(Packet);
	KeAcquireSpinLock(&echo->Lock, &irql);
	echo->PushFlying--;
	if (!NT_SUCCESS(Status))
		echo->PushStatus = Status;
	KeReleaseSpinLock(&echo->Lock, irql);
	PushPump(echo);
}

static NTSTATUS PushOne(PECHO_CHANNEL Echo, UINT64 Tag, UINT32 Sequence)
{
	struct echo_push push = {.sequence = Sequence, .tag = Tag};
	VMBPACKET packet = VmbPacketAllocate(Echo->Channel);
	NTSTATUS status;

	if (!packet)
		return STATUS_INSUFFICIENT_RESOURCES;
	VmbPacketSetPointer(packet, Echo);
	VmbPacketSetCompletionRoutine(packet, PushPlaced);
	status = VmbPacketSend(packet, &push, sizeof(push), NULL, 0);
	if (!NT_SUCCESS(status))
		VmbPacketFree(packet);
	return status;
}

/* The first PUSH of the queue begins; under the lock. */
static VOID NextPush(PECHO_CHANNEL Echo)
{
	Echo->PushSerial++;
	Echo->PushNext = 0;
	Echo->PushStatus = STATUS_SUCCESS;
}

/* What to do next, under the lock. */
typedef enum _PUSH_STEP {
	PushNothing,
	PushSend,
	PushFinish,
} PUSH_STEP;

static PUSH_STEP NextPushStep(PECHO_CHANNEL Echo, PECHO_WORK Work)
{
	if (Echo->Stopping || !Echo->Pushes.Count)
		return PushNothing;
	*Work = Echo->Pushes.Slots[Echo->Pushes.First];
	if (NT_SUCCESS(Echo->PushStatus) && Echo->PushNext < Work->Request.header.length) {
		if (Echo->PushFlying == ECHO_PUSH_WINDOW)
			return PushNothing;
		Echo->PushFlying++;
		return PushSend;
	}
	if (Echo->PushFlying)
		return PushNothing;
	return PushFinish;
}

/* Carries one step out, without the lock; FALSE: nothing can be done now. */
static BOOLEAN PushStep(PECHO_CHANNEL Echo)
{
	UINT32 sequence, serial;
	ECHO_WORK work;
	PUSH_STEP step;
	NTSTATUS status;
	KIRQL irql;

	KeAcquireSpinLock(&Echo->Lock, &irql);
	step = NextPushStep(Echo, &work);
	sequence = Echo->PushNext;
	serial = Echo->PushSerial;
	status = Echo->PushStatus;
	if (step == PushSend) {
		Echo->PushNext++;
	} else if (step == PushFinish) {
		QueueTake(&Echo->Pushes, &work);
		NextPush(Echo);
	} else {
		Echo->PushPumping = FALSE;
	}
	KeReleaseSpinLock(&Echo->Lock, irql);

	switch (step) {
	case PushNothing:
		return FALSE;
	case PushFinish:
		EchoComplete(work.Packet, &work.Request.header, status);
		return TRUE;
	case PushSend:
		status = PushOne(Echo, work.Request.header.tag, sequence);
		break;
	}
	if (!NT_SUCCESS(status)) {
		KeAcquireSpinLock(&Echo->Lock, &irql);
		Echo->PushFlying--;
		if (serial == Echo->PushSerial)
			Echo->PushStatus = status;
		KeReleaseSpinLock(&Echo->Lock, irql);
	}
	return TRUE;
}

/* One thread at a time sends, which keeps the sequence and keeps routines that run inside a send
 * from nesting; whoever changes something that the pump waits for calls it again. */
static VOID PushPump(PECHO_CHANNEL Echo)
{
	BOOLEAN busy;
	KIRQL irql;

	KeAcquireSpinLock(&Echo->Lock, &irql);
	busy = Echo->PushPumping;
	Echo->PushPumping = TRUE;
	KeReleaseSpinLock(&Echo->Lock, irql);
	if (busy)
		return;
	while (PushStep(Echo))
		;
}

VOID EchoQueuePush(PECHO_CHANNEL Echo, VMBPACKETCOMPLETION Packet,
		   const struct echo_request *Request)
{
	struct echo_gpadl_request request = {.header = *Request};
	BOOLEAN queued;
	KIRQL irql;

	KeAcquireSpinLock(&Echo->Lock, &irql);
	queued = !Echo->Stopping && QueuePut(&Echo->Pushes, Packet, &request);
	KeReleaseSpinLock(&Echo->Lock, irql);
	if (queued)
		PushPump(Echo);
	else
		EchoComplete(Packet, Request, STATUS_CANCELLED);
}

/* ---- life ---- */

NTSTATUS EchoWorkCreate(PECHO_CHANNEL Echo, ULONG Quota)
{
	KeInitializeSpinLock(&Echo->Lock);
	ExInitializeRundownProtection(&Echo->GpadlWorkers);
	Echo->PushStatus = STATUS_SUCCESS;
	Echo->Gpadls.Size = Echo->Pushes.Size = Quota;
	Echo->Gpadls.Slots =
		ExAllocatePool2(POOL_FLAG_NON_PAGED, Quota * sizeof(ECHO_WORK), ECHO_POOL_TAG);
	Echo->Pushes.Slots =
		ExAllocatePool2(POOL_FLAG_NON_PAGED, Quota * sizeof(ECHO_WORK), ECHO_POOL_TAG);
	Echo->GpadlItem = IoAllocateWorkItem(Echo->Device->Self);
	if (!Echo->Gpadls.Slots || !Echo->Pushes.Slots || !Echo->GpadlItem)
		return STATUS_INSUFFICIENT_RESOURCES;
	return STATUS_SUCCESS;
}

VOID EchoWorkDestroy(PECHO_CHANNEL Echo)
{
	ExWaitForRundownProtectionRelease(&Echo->GpadlWorkers);
	if (Echo->GpadlItem)
		IoFreeWorkItem(Echo->GpadlItem);
	if (Echo->Gpadls.Slots)
		ExFreePoolWithTag(Echo->Gpadls.Slots, ECHO_POOL_TAG);
	if (Echo->Pushes.Slots)
		ExFreePoolWithTag(Echo->Pushes.Slots, ECHO_POOL_TAG);
}

VOID EchoWorkStart(PECHO_CHANNEL Echo)
{
	KIRQL irql;

	KeAcquireSpinLock(&Echo->Lock, &irql);
	Echo->Stopping = FALSE;
	NextPush(Echo);
	KeReleaseSpinLock(&Echo->Lock, irql);
}

VOID EchoWorkStop(PECHO_CHANNEL Echo)
{
	KIRQL irql;

	KeAcquireSpinLock(&Echo->Lock, &irql);
	Echo->Stopping = TRUE;
	KeReleaseSpinLock(&Echo->Lock, irql);
	QueueCancel(Echo, &Echo->Gpadls);
	QueueCancel(Echo, &Echo->Pushes);
}
