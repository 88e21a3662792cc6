/* SPDX-License-Identifier: MIT */
/*
 * A program's request that the guest answers: one a component, with a time limit, which does not
 * outlive the session that it was sent in.
 */
#include "ic_vsp.h"

#define TICKS_PER_MS 10000ull
#define SLACK        (5 * TICKS_PER_MS)

NTSTATUS IcMayAsk(PIC Ic)
{
	if (Ic->Session != IcReady)
		return STATUS_DEVICE_NOT_READY;
	return Ic->Pending || Ic->Waiting ? STATUS_DEVICE_BUSY : STATUS_SUCCESS;
}

/* Whoever takes the cancel routine off completes the request. */
static DRIVER_CANCEL IcCancel;
static VOID IcCancel(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PIC ic = Irp->Tail.Overlay.DriverContext[0];
	KIRQL irql;

	UNREFERENCED_PARAMETER(DeviceObject);
	IoReleaseCancelSpinLock(Irp->CancelIrql);
	IcLock(ic, &irql);
	if (ic->Pending == Irp) {
		ic->Pending = NULL;
		KeCancelTimer(&ic->Limit);
	}
	IcUnlock(ic, irql);
	Irp->IoStatus.Status = STATUS_CANCELLED;
	Irp->IoStatus.Information = 0;
	IoCompleteRequest(Irp, IO_NO_INCREMENT);
	ExReleaseRundownProtection(&ic->Device->Requests);
}

NTSTATUS IcPend(PIC Ic, PIRP Irp, UINT32 Wait)
{
	UINT64 ticks = (Wait ? Wait : IC_DEFAULT_WAIT) * TICKS_PER_MS;
	LARGE_INTEGER due = {.QuadPart = -(INT64)ticks};

	Irp->Tail.Overlay.DriverContext[0] = Ic;
	IoSetCancelRoutine(Irp, IcCancel);
	if (Irp->Cancel && IoSetCancelRoutine(Irp, NULL))
		return STATUS_CANCELLED;
	IoMarkIrpPending(Irp);
	Ic->Pending = Irp;
	Ic->Deadline = KeQueryInterruptTime() + ticks;
	KeSetTimer(&Ic->Limit, due, &Ic->LimitDpc);
	return STATUS_PENDING;
}

VOID IcFinish(PIC Ic, NTSTATUS Status, ULONG_PTR Information)
{
	PIRP irp = Ic->Pending;

	if (!irp)
		return;
	Ic->Pending = NULL;
	KeCancelTimer(&Ic->Limit);
	if (!IoSetCancelRoutine(irp, NULL))
		return;
	irp->IoStatus.Status = Status;
	irp->IoStatus.Information = Information;
	Ic->Done = irp;
}

/* The routine may run for a request that has ended meanwhile; the next has a timer of its own. */
VOID IcLimitReached(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
	PIC ic = DeferredContext;
	KIRQL irql;

	UNREFERENCED_PARAMETER(Dpc);
	UNREFERENCED_PARAMETER(SystemArgument1);
	UNREFERENCED_PARAMETER(SystemArgument2);
	IcLock(ic, &irql);
	if (KeQueryInterruptTime() + SLACK >= ic->Deadline)
		IcFinish(ic, STATUS_IO_TIMEOUT, 0);
	IcUnlock(ic, irql);
}
