/* SPDX-License-Identifier: MIT */
/*
 * RUN: many requests of one op. Each of `window` slots has a packet of its own and sends its next
 * request from the completion of the last, at whatever IRQL that comes; the caller waits for all of
 * them at PASSIVE_LEVEL.
 */
#include "echo_vsc.h"

struct _ECHO_RUN;

typedef struct _ECHO_SLOT {
	LIST_ENTRY Link; /* ECHO_CLIENT.Parked */
	struct _ECHO_RUN *Run;
	VMBPACKET Packet;
	LONG Phase;
	UINT64 Index;
	UINT32 Length;
	/* a PUSH under way; these under the client's lock */
	BOOLEAN Pushing;
	BOOLEAN Waiting; /* completed, but packets of it have not been delivered */
	ULONG Suspends;  /* of the client when it began */
	UINT64 Tag;
	UINT64 Pushed;
	LARGE_INTEGER Sent;
	union {
		struct echo_request Header;
		struct echo_gpadl_request Gpadl;
		UCHAR Bytes[sizeof(struct echo_request) + ECHO_MAXIMUM_ECHO];
	} Request;
} ECHO_SLOT, *PECHO_SLOT;

/* ECHO_SLOT.Phase: a completion routine may run inside the send that it belongs to, and would nest.
 */
enum {
	SlotSending = 1,
	SlotEnded, /* inside the send: the sender goes on */
	SlotSent,  /* the routine goes on */
};

typedef struct _ECHO_RUN {
	LIST_ENTRY Link; /* ECHO_CLIENT.Runs */
	PECHO_CLIENT Client;
	struct echo_run Ask;
	UINT64 Requests;
	UINT64 Next; /* client's lock */
	PUCHAR Data; /* what came with the request */
	PUCHAR Out;  /* what goes back */
	UINT64 OutBytes;
	PMDL Mdl; /* over Data or Out: external data */
	UINT32 Gpadl;
	PVOID GpadlMemory; /* of an empty run */
	KSPIN_LOCK Lock;   /* Result */
	LONG Failed;
	struct echo_run_result *Result;
	LONG Busy; /* slots at work */
	KEVENT Done;
	ULONG SlotCount;
	ECHO_SLOT Slots[];
} ECHO_RUN, *PECHO_RUN;

/* ---- results ---- */

static VOID Fail(PECHO_RUN Run, NTSTATUS Status)
{
	KIRQL irql;

	KeAcquireSpinLock(&Run->Lock, &irql);
	if (Run->Result->status == ECHO_STATUS_SUCCESS)
		Run->Result->status = (UINT32)Status;
	KeReleaseSpinLock(&Run->Lock, irql);
	InterlockedExchange(&Run->Failed, 1);
}

static VOID Mismatch(PECHO_RUN Run)
{
	KIRQL irql;

	KeAcquireSpinLock(&Run->Lock, &irql);
	Run->Result->mismatches++;
	KeReleaseSpinLock(&Run->Lock, irql);
	InterlockedExchange(&Run->Failed, 1);
}

static UINT64 Nanoseconds(LARGE_INTEGER From)
{
	LARGE_INTEGER frequency, now = KeQueryPerformanceCounter(&frequency);
	UINT64 ticks = (UINT64)(now.QuadPart - From.QuadPart), rate = (UINT64)frequency.QuadPart;

	return ticks / rate * 1000000000u + ticks % rate * 1000000000u / rate;
}

static VOID Count(PECHO_SLOT Slot, BOOLEAN RoundTrip)
{
	PECHO_RUN run = Slot->Run;
	UINT64 ns = Nanoseconds(Slot->Sent);
	KIRQL irql;

	KeAcquireSpinLock(&run->Lock, &irql);
	run->Result->completed++;
	run->Result->bytes +=
		run->Ask.op == ECHO_OP_PUSH ? (UINT64)Slot->Length * ECHO_PUSH_SIZE : Slot->Length;
	if (RoundTrip)
		run->Result->histogram[echo_histogram_bucket(ns)]++;
	KeReleaseSpinLock(&run->Lock, irql);
}

/* ---- the next request of a slot ---- */

static VOID FillHeader(PECHO_SLOT Slot)
{
	Slot->Request.Header.op = Slot->Run->Ask.op;
	Slot->Request.Header.length = Slot->Length;
	Slot->Request.Header.tag = Slot->Tag;
}

static NTSTATUS SendInline(PECHO_SLOT Slot, UINT32 DataBytes, UINT32 Flags)
{
	PECHO_RUN run = Slot->Run;

	if (DataBytes)
		RtlCopyMemory(Slot->Request.Bytes + sizeof(struct echo_request),
			      run->Data + Slot->Index * run->Ask.size, DataBytes);
	return VmbPacketSend(Slot->Packet, Slot->Request.Bytes,
			     sizeof(struct echo_request) + DataBytes, NULL, Flags);
}

static NTSTATUS SendExternal(PECHO_SLOT Slot)
{
	PECHO_RUN run = Slot->Run;
	UINT32 flags = VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION;

	if (!Slot->Length)
		return SendInline(Slot, 0, flags);
	return VmbPacketSendWithExternalMdl(
		Slot->Packet, Slot->Request.Bytes, sizeof(struct echo_request), run->Mdl,
		(UINT32)(Slot->Index * run->Ask.size), Slot->Length, flags);
}

static NTSTATUS SendGpadl(PECHO_SLOT Slot)
{
	PECHO_RUN run = Slot->Run;

	Slot->Request.Gpadl.gpadl = run->Gpadl;
	Slot->Request.Gpadl.offset = (UINT32)(Slot->Index * run->Ask.size);
	return VmbPacketSend(Slot->Packet, &Slot->Request.Gpadl, sizeof(Slot->Request.Gpadl), NULL,
			     VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION);
}

static NTSTATUS SendRequest(PECHO_SLOT Slot)
{
	UINT32 flags = VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION;

	FillHeader(Slot);
	Slot->Sent = KeQueryPerformanceCounter(NULL);
	switch (Slot->Run->Ask.op) {
	case ECHO_OP_SUM:
	case ECHO_OP_FILL:
		return SendExternal(Slot);
	case ECHO_OP_GPADL_SUM:
		return SendGpadl(Slot);
	case ECHO_OP_ECHO:
		return SendInline(Slot, Slot->Length, flags);
	case ECHO_OP_SINK:
		return SendInline(Slot, Slot->Length, 0);
	default: /* STATS, PUSH */
		return SendInline(Slot, 0, flags);
	}
}

typedef enum _TAKE {
	TakeOne,
	TakeNone,   /* all have been sent, or one failed */
	TakeParked, /* Started goes on with the slot */
	TakeClosed,
} TAKE;

static TAKE TakeRequest(PECHO_SLOT Slot)
{
	PECHO_RUN run = Slot->Run;
	PECHO_CLIENT client = run->Client;
	UINT64 left;
	TAKE take = TakeOne;
	KIRQL irql;

	KeAcquireSpinLock(&client->Lock, &irql);
	if (run->Next == run->Requests || InterlockedOr(&run->Failed, 0)) {
		take = TakeNone;
	} else if (!client->Open) {
		take = TakeClosed;
	} else if (!client->Running) {
		InsertTailList(&client->Parked, &Slot->Link);
		take = TakeParked;
	} else {
		Slot->Index = run->Next++;
		left = run->Ask.total - Slot->Index * run->Ask.size;
		Slot->Length = left < run->Ask.size ? (UINT32)left : run->Ask.size;
		Slot->Tag = run->Ask.tag + Slot->Index;
		Slot->Pushed = 0;
		Slot->Suspends = client->Suspends;
		Slot->Pushing = run->Ask.op == ECHO_OP_PUSH;
	}
	KeReleaseSpinLock(&client->Lock, irql);
	return take;
}

/* The last thing that a slot does: the run may be gone when it returns. */
static VOID SlotEnd(PECHO_RUN Run)
{
	if (!InterlockedDecrement(&Run->Busy))
		KeSetEvent(&Run->Done, IO_NO_INCREMENT, FALSE);
}

static VOID SlotRun(PECHO_SLOT Slot)
{
	PECHO_RUN run = Slot->Run;
	NTSTATUS status;

	do {
		switch (TakeRequest(Slot)) {
		case TakeParked:
			return;
		case TakeClosed:
			Fail(run, STATUS_DEVICE_REMOVED);
			SlotEnd(run);
			return;
		case TakeNone:
			SlotEnd(run);
			return;
		case TakeOne:
			break;
		}
		InterlockedExchange(&Slot->Phase, SlotSending);
		status = SendRequest(Slot);
		if (!NT_SUCCESS(status)) {
			Fail(run, status);
			SlotEnd(run);
			return;
		}
	} while (InterlockedCompareExchange(&Slot->Phase, SlotSent, SlotSending) == SlotEnded);
}

/* ---- completions ---- */

/* The answer's data goes to its place in the output. FALSE: it has the wrong size. */
static BOOLEAN TakeData(PECHO_SLOT Slot, const UCHAR *Data, UINT32 Bytes)
{
	PECHO_RUN run = Slot->Run;

	switch (run->Ask.op) {
	case ECHO_OP_ECHO:
		/* the wire pads to 8 */
		if (Bytes != ((Slot->Length + 7u) & ~7u))
			return FALSE;
		if (Slot->Length)
			RtlCopyMemory(run->Out + Slot->Index * run->Ask.size, Data, Slot->Length);
		return TRUE;
	case ECHO_OP_SUM:
	case ECHO_OP_GPADL_SUM:
		if (Bytes != ECHO_DIGEST_SIZE)
			return FALSE;
		RtlCopyMemory(run->Out + Slot->Index * ECHO_DIGEST_SIZE, Data, ECHO_DIGEST_SIZE);
		return TRUE;
	case ECHO_OP_STATS:
		if (Bytes != 16)
			return FALSE;
		RtlCopyMemory(run->Out, Data, 16);
		return TRUE;
	default:
		return Bytes == 0;
	}
}

/* The packets of a PUSH come before its completion. But when this end stops, KMCL goes on with
 * completions and keeps packets back: then their Started, or Closed, is waited for. */
static BOOLEAN MustWaitForPushes(PECHO_SLOT Slot, const struct echo_completion *Answer)
{
	PECHO_CLIENT client = Slot->Run->Client;
	KIRQL irql;
	BOOLEAN wait;

	KeAcquireSpinLock(&client->Lock, &irql);
	wait = Slot->Pushing && Answer->status == ECHO_STATUS_SUCCESS &&
	       Slot->Pushed < Slot->Length;
	Slot->Waiting = wait;
	if (!wait)
		Slot->Pushing = FALSE;
	KeReleaseSpinLock(&client->Lock, irql);
	return wait;
}

/* FALSE: the slot is not done with its request yet. */
static BOOLEAN CheckAnswer(PECHO_SLOT Slot, const struct echo_completion *Answer, UINT32 Bytes)
{
	PECHO_RUN run = Slot->Run;

	if (Bytes < sizeof(*Answer) || Answer->op != run->Ask.op || Answer->tag != Slot->Tag)
		Mismatch(run);
	else if (Answer->status != ECHO_STATUS_SUCCESS)
		Fail(run, (NTSTATUS)Answer->status);
	else if (!TakeData(Slot, (const UCHAR *)(Answer + 1), Bytes - (UINT32)sizeof(*Answer)))
		Mismatch(run);
	else if (MustWaitForPushes(Slot, Answer))
		return FALSE;
	else
		Count(Slot, TRUE);
	return TRUE;
}

static VOID SlotContinue(PECHO_SLOT Slot)
{
	if (InterlockedCompareExchange(&Slot->Phase, SlotEnded, SlotSending) == SlotSent)
		SlotRun(Slot);
}

static EVT_VMB_PACKET_COMPLETION_ROUTINE RequestDone;
static VOID RequestDone(VMBPACKET Packet, NTSTATUS Status, PVOID Buffer, UINT32 BufferLength)
{
	PECHO_SLOT slot = VmbPacketGetPointer(Packet);

	if (!NT_SUCCESS(Status))
		Fail(slot->Run, Status);
	else if (slot->Run->Ask.op == ECHO_OP_SINK)
		Count(slot, FALSE);
	else if (!CheckAnswer(slot, Buffer, BufferLength))
		return;
	SlotContinue(slot);
}

/* ---- packets of the server's own ---- */

/* Under the client's lock. */
static PECHO_SLOT FindPush(PECHO_CLIENT Client, UINT64 Tag)
{
	for (PLIST_ENTRY e = Client->Runs.Flink; e != &Client->Runs; e = e->Flink) {
		PECHO_RUN run = CONTAINING_RECORD(e, ECHO_RUN, Link);

		for (ULONG i = 0; run->Ask.op == ECHO_OP_PUSH && i < run->SlotCount; i++) {
			if (run->Slots[i].Pushing && run->Slots[i].Tag == Tag)
				return &run->Slots[i];
		}
	}
	return NULL;
}

VOID EchoRunPush(PECHO_CLIENT Client, const struct echo_push *Push)
{
	static const UINT8 zeros[sizeof(Push->zeros)];
	BOOLEAN last = FALSE, early = FALSE;
	PECHO_SLOT slot;
	KIRQL irql;

	KeAcquireSpinLock(&Client->Lock, &irql);
	slot = FindPush(Client, Push->tag);
	if (slot && Push->sequence == slot->Pushed &&
	    RtlEqualMemory(Push->zeros, zeros, sizeof(zeros))) {
		slot->Pushed++;
		slot->Run->Result->pushes++;
		last = slot->Waiting && slot->Pushed == slot->Length;
	} else {
		Client->StrayPushes++;
	}
	if (last) {
		early = slot->Suspends == Client->Suspends && Client->Running;
		slot->Waiting = slot->Pushing = FALSE;
	}
	KeReleaseSpinLock(&Client->Lock, irql);
	if (!last)
		return;
	if (early)
		Mismatch(slot->Run);
	else
		Count(slot, TRUE);
	SlotContinue(slot);
}

/* A slot whose pushes have not come, of one run or of any; no more of them will. */
static PECHO_SLOT TakeWaiting(PECHO_CLIENT Client, PECHO_RUN Only)
{
	PECHO_SLOT slot = NULL;
	KIRQL irql;

	KeAcquireSpinLock(&Client->Lock, &irql);
	for (PLIST_ENTRY e = Client->Runs.Flink; e != &Client->Runs && !slot; e = e->Flink) {
		PECHO_RUN run = CONTAINING_RECORD(e, ECHO_RUN, Link);

		for (ULONG i = 0; (!Only || Only == run) && i < run->SlotCount && !slot; i++) {
			if (run->Slots[i].Waiting)
				slot = &run->Slots[i];
		}
	}
	if (slot)
		slot->Waiting = slot->Pushing = FALSE;
	KeReleaseSpinLock(&Client->Lock, irql);
	return slot;
}

static VOID AbandonPushes(PECHO_CLIENT Client)
{
	PECHO_SLOT slot;

	while ((slot = TakeWaiting(Client, NULL))) {
		Fail(slot->Run, STATUS_DEVICE_REMOVED);
		SlotContinue(slot);
	}
}

VOID EchoRunResume(PECHO_CLIENT Client)
{
	LIST_ENTRY parked;
	KIRQL irql;

	InitializeListHead(&parked);
	KeAcquireSpinLock(&Client->Lock, &irql);
	while (!IsListEmpty(&Client->Parked))
		InsertTailList(&parked, RemoveHeadList(&Client->Parked));
	KeReleaseSpinLock(&Client->Lock, irql);
	while (!IsListEmpty(&parked))
		SlotRun(CONTAINING_RECORD(RemoveHeadList(&parked), ECHO_SLOT, Link));
}

VOID EchoRunClosed(PECHO_CLIENT Client)
{
	EchoRunResume(Client);
	AbandonPushes(Client);
}

/* ---- a run ---- */

static BOOLEAN SendsData(UINT32 Op)
{
	return Op == ECHO_OP_ECHO || Op == ECHO_OP_SUM || Op == ECHO_OP_SINK ||
	       Op == ECHO_OP_GPADL_SUM;
}

/* Bytes that the run returns behind its result. */
static UINT64 OutputBytes(const struct echo_run *Ask, UINT64 Requests)
{
	switch (Ask->op) {
	case ECHO_OP_ECHO:
	case ECHO_OP_FILL:
		return Ask->total;
	case ECHO_OP_SUM:
	case ECHO_OP_GPADL_SUM:
		return Requests * ECHO_DIGEST_SIZE;
	case ECHO_OP_STATS:
		return 16;
	default:
		return 0;
	}
}

static NTSTATUS CheckAsk(struct echo_run *Ask, ULONG InputLength, PUINT64 Requests)
{
	UINT64 most = Ask->op == ECHO_OP_PUSH ? ECHO_RUN_MAXIMUM_PUSHES : ECHO_RUN_MAXIMUM_DATA;

	if (Ask->op < ECHO_OP_ECHO || Ask->op > ECHO_OP_PUSH || Ask->reserved || !Ask->window ||
	    Ask->window > ECHO_RUN_MAXIMUM_WINDOW)
		return STATUS_INVALID_PARAMETER;
	if (Ask->op == ECHO_OP_STATS) {
		Ask->total = 0;
		Ask->size = 0;
	}
	if (Ask->total > most || (Ask->total && !Ask->size))
		return STATUS_INVALID_PARAMETER;
	if ((Ask->op == ECHO_OP_ECHO || Ask->op == ECHO_OP_SINK) && Ask->size > ECHO_MAXIMUM_ECHO)
		return STATUS_INVALID_PARAMETER;
	if (SendsData(Ask->op) && Ask->total > InputLength - sizeof(*Ask))
		return STATUS_INVALID_PARAMETER;
	*Requests = Ask->total ? (Ask->total + Ask->size - 1) / Ask->size : 1;
	return *Requests <= ECHO_RUN_MAXIMUM_REQUESTS ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

static NTSTATUS PrepareMemory(PECHO_RUN Run)
{
	PVOID external;

	Run->Result = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Run->Result), ECHO_POOL_TAG);
	if (!Run->Result)
		return STATUS_INSUFFICIENT_RESOURCES;
	Run->OutBytes = OutputBytes(&Run->Ask, Run->Requests);
	if (Run->OutBytes) {
		Run->Out = ExAllocatePool2(POOL_FLAG_NON_PAGED, Run->OutBytes, ECHO_POOL_TAG);
		if (!Run->Out)
			return STATUS_INSUFFICIENT_RESOURCES;
	}
	if ((Run->Ask.op != ECHO_OP_SUM && Run->Ask.op != ECHO_OP_FILL) || !Run->Ask.total)
		return STATUS_SUCCESS;
	external = Run->Ask.op == ECHO_OP_FILL ? Run->Out : Run->Data;
	Run->Mdl = IoAllocateMdl(external, (ULONG)Run->Ask.total, FALSE, FALSE, NULL);
	if (!Run->Mdl)
		return STATUS_INSUFFICIENT_RESOURCES;
	MmBuildMdlForNonPagedPool(Run->Mdl);
	return STATUS_SUCCESS;
}

/* An empty run sums nothing of a GPADL that cannot be empty. */
static NTSTATUS PrepareGpadl(PECHO_RUN Run)
{
	PVOID memory = Run->Data;
	UINT32 bytes = (UINT32)Run->Ask.total;

	if (Run->Ask.op != ECHO_OP_GPADL_SUM)
		return STATUS_SUCCESS;
	if (!bytes) {
		bytes = PAGE_SIZE;
		memory = Run->GpadlMemory =
			ExAllocatePool2(POOL_FLAG_NON_PAGED, bytes, ECHO_POOL_TAG);
		if (!memory)
			return STATUS_INSUFFICIENT_RESOURCES;
	}
	return VmbChannelCreateGpadlFromBuffer(Run->Client->Channel,
					       VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY, memory, bytes,
					       &Run->Gpadl);
}

static NTSTATUS PrepareSlots(PECHO_RUN Run)
{
	for (ULONG i = 0; i < Run->SlotCount; i++) {
		PECHO_SLOT slot = &Run->Slots[i];

		slot->Run = Run;
		slot->Packet = VmbPacketAllocate(Run->Client->Channel);
		if (!slot->Packet)
			return STATUS_INSUFFICIENT_RESOURCES;
		VmbPacketSetPointer(slot->Packet, slot);
		VmbPacketSetCompletionRoutine(slot->Packet, RequestDone);
	}
	return STATUS_SUCCESS;
}

static VOID Enlist(PECHO_RUN Run, BOOLEAN In)
{
	KIRQL irql;

	KeAcquireSpinLock(&Run->Client->Lock, &irql);
	if (In)
		InsertTailList(&Run->Client->Runs, &Run->Link);
	else
		RemoveEntryList(&Run->Link);
	KeReleaseSpinLock(&Run->Client->Lock, irql);
}

/* A server that completes a PUSH and keeps packets of it is not waited for without end. */
static VOID WaitForSlots(PECHO_RUN Run)
{
	LARGE_INTEGER patience = {.QuadPart = -10000000ll * 5};
	BOOLEAN held, running;
	PECHO_SLOT slot;
	KIRQL irql;

	for (ULONG suspects = 0;;) {
		if (KeWaitForSingleObject(&Run->Done, Executive, KernelMode, FALSE, &patience) !=
		    STATUS_TIMEOUT)
			return;
		KeAcquireSpinLock(&Run->Client->Lock, &irql);
		running = Run->Client->Running;
		held = FALSE;
		for (ULONG i = 0; i < Run->SlotCount; i++)
			held |= Run->Slots[i].Waiting;
		KeReleaseSpinLock(&Run->Client->Lock, irql);
		suspects = held && running ? suspects + 1 : 0;
		while (suspects > 1 && (slot = TakeWaiting(Run->Client, Run))) {
			Mismatch(Run);
			SlotContinue(slot);
		}
	}
}

static VOID Execute(PECHO_RUN Run)
{
	LARGE_INTEGER start = KeQueryPerformanceCounter(NULL);

	Enlist(Run, TRUE);
	Run->Busy = (LONG)Run->SlotCount;
	for (ULONG i = 0; i < Run->SlotCount; i++)
		SlotRun(&Run->Slots[i]);
	WaitForSlots(Run);
	Run->Result->elapsed_ns = Nanoseconds(start);
	Run->Result->requests = Run->Next;
	Enlist(Run, FALSE);
}

static VOID Discard(PECHO_RUN Run)
{
	for (ULONG i = 0; i < Run->SlotCount; i++) {
		if (Run->Slots[i].Packet)
			VmbPacketFree(Run->Slots[i].Packet);
	}
	if (Run->Gpadl)
		VmbChannelDeleteGpadl(Run->Client->Channel, Run->Gpadl);
	if (Run->GpadlMemory)
		ExFreePoolWithTag(Run->GpadlMemory, ECHO_POOL_TAG);
	if (Run->Mdl)
		IoFreeMdl(Run->Mdl);
	if (Run->Out)
		ExFreePoolWithTag(Run->Out, ECHO_POOL_TAG);
	if (Run->Result)
		ExFreePoolWithTag(Run->Result, ECHO_POOL_TAG);
	ExFreePoolWithTag(Run, ECHO_POOL_TAG);
}

static PECHO_RUN NewRun(PECHO_CLIENT Client, const struct echo_run *Ask, UINT64 Requests)
{
	ULONG slots = Requests < Ask->window ? (ULONG)Requests : Ask->window;
	PECHO_RUN run = ExAllocatePool2(POOL_FLAG_NON_PAGED,
					FIELD_OFFSET(ECHO_RUN, Slots) + slots * sizeof(ECHO_SLOT),
					ECHO_POOL_TAG);

	if (!run)
		return NULL;
	run->Client = Client;
	run->Ask = *Ask;
	run->Requests = Requests;
	run->SlotCount = slots;
	KeInitializeSpinLock(&run->Lock);
	KeInitializeEvent(&run->Done, NotificationEvent, FALSE);
	return run;
}

static VOID ReturnResult(PECHO_RUN Run, PUCHAR Buffer, PULONG_PTR Returned)
{
	RtlCopyMemory(Buffer, Run->Result, sizeof(*Run->Result));
	if (Run->OutBytes)
		RtlCopyMemory(Buffer + sizeof(*Run->Result), Run->Out, Run->OutBytes);
	*Returned = sizeof(*Run->Result) + Run->OutBytes;
}

NTSTATUS EchoRun(PECHO_CLIENT Client, PVOID Buffer, ULONG InputLength, ULONG OutputLength,
		 PULONG_PTR Returned)
{
	struct echo_run ask;
	UINT64 requests;
	NTSTATUS status;
	PECHO_RUN run;

	if (InputLength < sizeof(ask))
		return STATUS_INVALID_PARAMETER;
	RtlCopyMemory(&ask, Buffer, sizeof(ask));
	status = CheckAsk(&ask, InputLength, &requests);
	if (!NT_SUCCESS(status))
		return status;
	if (OutputLength < sizeof(struct echo_run_result) + OutputBytes(&ask, requests))
		return STATUS_BUFFER_TOO_SMALL;
	run = NewRun(Client, &ask, requests);
	if (!run)
		return STATUS_INSUFFICIENT_RESOURCES;
	run->Data = (PUCHAR)Buffer + sizeof(ask);
	status = PrepareMemory(run);
	if (NT_SUCCESS(status))
		status = PrepareSlots(run);
	if (NT_SUCCESS(status))
		status = PrepareGpadl(run);
	if (NT_SUCCESS(status)) {
		Execute(run);
		ReturnResult(run, Buffer, Returned);
	}
	Discard(run);
	return status;
}
