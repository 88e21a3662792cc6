/* SPDX-License-Identifier: MIT */
/*
 * RAW: one packet with bytes as the caller gives them, to see what the server makes of them.
 */
#include "echo_vsc.h"

typedef struct _ECHO_TRANSACTION {
	struct echo_raw Ask;
	PUCHAR Request;
	PUCHAR External; /* NULL: none */
	PMDL Mdl;
	UINT32 Gpadl;
	VMBPACKET Packet;
	KEVENT Done;
	NTSTATUS Status;
	UINT32 AnswerBytes;
	UCHAR Answer[ECHO_RAW_MAXIMUM_REQUEST];
} ECHO_TRANSACTION, *PECHO_TRANSACTION;

static EVT_VMB_PACKET_COMPLETION_ROUTINE TransactionDone;
static VOID TransactionDone(VMBPACKET Packet, NTSTATUS Status, PVOID Buffer, UINT32 BufferLength)
{
	PECHO_TRANSACTION t = VmbPacketGetPointer(Packet);

	t->Status = Status;
	if (NT_SUCCESS(Status) && BufferLength > sizeof(t->Answer)) {
		t->Status = STATUS_BUFFER_OVERFLOW;
	} else if (NT_SUCCESS(Status) && BufferLength) {
		RtlCopyMemory(t->Answer, Buffer, BufferLength);
		t->AnswerBytes = BufferLength;
	}
	KeSetEvent(&t->Done, IO_NO_INCREMENT, FALSE);
}

static NTSTATUS Prepare(PECHO_CLIENT Client, PECHO_TRANSACTION T, PUCHAR Input)
{
	UINT32 bytes = T->Ask.external_size;
	NTSTATUS status = STATUS_SUCCESS;

	T->Request = Input;
	if (bytes) {
		T->External = ExAllocatePool2(POOL_FLAG_NON_PAGED, bytes, ECHO_POOL_TAG);
		if (!T->External)
			return STATUS_INSUFFICIENT_RESOURCES;
		RtlCopyMemory(T->External, Input + T->Ask.request_size, bytes);
	}
	if (T->Ask.flags & ECHO_RAW_EXTERNAL) {
		T->Mdl = IoAllocateMdl(T->External, bytes, FALSE, FALSE, NULL);
		if (!T->Mdl)
			return STATUS_INSUFFICIENT_RESOURCES;
		MmBuildMdlForNonPagedPool(T->Mdl);
	}
	if (T->Ask.flags & ECHO_RAW_GPADL) {
		status = VmbChannelCreateGpadlFromBuffer(
			Client->Channel,
			T->Ask.flags & ECHO_RAW_READ_ONLY ? VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY : 0,
			T->External, bytes, &T->Gpadl);
		if (NT_SUCCESS(status))
			RtlCopyMemory(T->Request + FIELD_OFFSET(struct echo_gpadl_request, gpadl),
				      &T->Gpadl, sizeof(T->Gpadl));
	}
	return status;
}

static NTSTATUS Send(PECHO_TRANSACTION T)
{
	UINT32 flags =
		T->Ask.flags & ECHO_RAW_WAIT ? VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION : 0;

	if (T->Ask.flags & ECHO_RAW_PFNS)
		return VmbPacketSendWithExternalPfns(
			T->Packet, T->Request, T->Ask.request_size, (PPFN_NUMBER)(PVOID)T->External,
			T->Ask.external_size / sizeof(PFN_NUMBER), flags);
	return VmbPacketSend(T->Packet, T->Request, T->Ask.request_size, T->Mdl, flags);
}

static VOID Transact(PECHO_CLIENT Client, PECHO_TRANSACTION T)
{
	NTSTATUS status;

	T->Packet = VmbPacketAllocate(Client->Channel);
	if (!T->Packet) {
		T->Status = STATUS_INSUFFICIENT_RESOURCES;
		return;
	}
	VmbPacketSetPointer(T->Packet, T);
	VmbPacketSetCompletionRoutine(T->Packet, TransactionDone);
	status = Send(T);
	if (NT_SUCCESS(status))
		KeWaitForSingleObject(&T->Done, Executive, KernelMode, FALSE, NULL);
	else
		T->Status = status; /* else the routine sets it */
	VmbPacketFree(T->Packet);
}

static VOID Discard(PECHO_CLIENT Client, PECHO_TRANSACTION T)
{
	if (T->Gpadl)
		VmbChannelDeleteGpadl(Client->Channel, T->Gpadl);
	if (T->Mdl)
		IoFreeMdl(T->Mdl);
	if (T->External)
		ExFreePoolWithTag(T->External, ECHO_POOL_TAG);
	ExFreePoolWithTag(T, ECHO_POOL_TAG);
}

static NTSTATUS CheckAsk(const struct echo_raw *Ask, ULONG InputLength)
{
	const UINT32 known = ECHO_RAW_WAIT | ECHO_RAW_EXTERNAL | ECHO_RAW_PFNS | ECHO_RAW_GPADL |
			     ECHO_RAW_READ_ONLY;
	const UINT32 external = ECHO_RAW_EXTERNAL | ECHO_RAW_PFNS | ECHO_RAW_GPADL;

	if ((Ask->flags & ~known) || Ask->reserved ||
	    Ask->request_size > ECHO_RAW_MAXIMUM_REQUEST ||
	    Ask->external_size > ECHO_RAW_MAXIMUM_EXTERNAL ||
	    sizeof(*Ask) + Ask->request_size + (UINT64)Ask->external_size > InputLength)
		return STATUS_INVALID_PARAMETER;
	if (((Ask->flags & external) != 0) != (Ask->external_size != 0))
		return STATUS_INVALID_PARAMETER;
	if ((Ask->flags & ECHO_RAW_GPADL) && Ask->request_size < sizeof(struct echo_gpadl_request))
		return STATUS_INVALID_PARAMETER;
	return STATUS_SUCCESS;
}

/* The answer, and the external memory unless it held page numbers. */
static NTSTATUS ReturnAnswer(PECHO_TRANSACTION T, PUCHAR Buffer, ULONG OutputLength,
			     PULONG_PTR Returned)
{
	struct echo_raw_result result = {
		.status = (UINT32)T->Status,
		.completion_size = T->AnswerBytes,
		.external_size = T->Ask.flags & ECHO_RAW_PFNS ? 0 : T->Ask.external_size,
	};
	ULONG_PTR needed = sizeof(result) + result.completion_size + result.external_size;

	if (OutputLength < needed)
		return STATUS_BUFFER_TOO_SMALL;
	RtlCopyMemory(Buffer, &result, sizeof(result));
	RtlCopyMemory(Buffer + sizeof(result), T->Answer, result.completion_size);
	if (result.external_size)
		RtlCopyMemory(Buffer + sizeof(result) + result.completion_size, T->External,
			      result.external_size);
	*Returned = needed;
	return STATUS_SUCCESS;
}

NTSTATUS EchoRaw(PECHO_CLIENT Client, PVOID Buffer, ULONG InputLength, ULONG OutputLength,
		 PULONG_PTR Returned)
{
	PECHO_TRANSACTION t;
	NTSTATUS status;

	if (InputLength < sizeof(t->Ask))
		return STATUS_INVALID_PARAMETER;
	t = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*t), ECHO_POOL_TAG);
	if (!t)
		return STATUS_INSUFFICIENT_RESOURCES;
	RtlCopyMemory(&t->Ask, Buffer, sizeof(t->Ask));
	KeInitializeEvent(&t->Done, NotificationEvent, FALSE);
	status = CheckAsk(&t->Ask, InputLength);
	if (NT_SUCCESS(status)) {
		t->Status = Prepare(Client, t, (PUCHAR)Buffer + sizeof(t->Ask));
		if (NT_SUCCESS(t->Status))
			Transact(Client, t);
		status = ReturnAnswer(t, Buffer, OutputLength, Returned);
	}
	Discard(Client, t);
	return status;
}
