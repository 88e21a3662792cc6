/* SPDX-License-Identifier: MIT */
/*
 * IRPs that drivers make themselves, and cancellation.
 */
#include "nt/internal.h"

#include <stdlib.h>

#define IO_TYPE_IRP 6

PIRP IoAllocateIrp(CCHAR StackSize, BOOLEAN ChargeQuota)
{
	PIRP irp;

	if (StackSize < 1 || nt_alloc_fails("IoAllocateIrp"))
		return NULL;
	irp = calloc(1, sizeof(*irp) + sizeof(IO_STACK_LOCATION) * (size_t)(StackSize + 1));
	if (!irp)
		return NULL;
	irp->Type = IO_TYPE_IRP;
	irp->Size = sizeof(*irp);
	irp->StackCount = StackSize;
	irp->CurrentLocation = StackSize + 1;
	irp->Tail.Overlay.CurrentStackLocation = (PIO_STACK_LOCATION)(PVOID)(irp + 1) + StackSize;
	return irp;
}

VOID IoFreeIrp(PIRP Irp)
{
	free(Irp);
}

PIRP IoBuildSynchronousFsdRequest(ULONG MajorFunction, PDEVICE_OBJECT DeviceObject, PVOID Buffer,
				  ULONG Length, PLARGE_INTEGER StartingOffset, PKEVENT Event,
				  PIO_STATUS_BLOCK IoStatusBlock)
{
	PIRP irp;

	/* without an I/O manager's file system there is nothing to read or write */
	if (Buffer || Length || MajorFunction > IRP_MJ_MAXIMUM_FUNCTION || !IoStatusBlock)
		return NULL;
	irp = IoAllocateIrp(DeviceObject->StackSize, FALSE);
	if (!irp)
		return NULL;
	irp->UserIosb = IoStatusBlock;
	irp->UserEvent = Event;
	IoGetNextIrpStackLocation(irp)->MajorFunction = (UCHAR)MajorFunction;
	return irp;
}

void nt_irp_finish(PIRP irp)
{
	PKEVENT event = irp->UserEvent;

	*irp->UserIosb = irp->IoStatus;
	IoFreeIrp(irp);
	if (event)
		KeSetEvent(event, IO_NO_INCREMENT, FALSE);
}

/* ---- cancellation ---- */

static KSPIN_LOCK cancel_lock;

VOID IoAcquireCancelSpinLock(PKIRQL Irql)
{
	KeAcquireSpinLock(&cancel_lock, Irql);
}

VOID IoReleaseCancelSpinLock(KIRQL Irql)
{
	KeReleaseSpinLock(&cancel_lock, Irql);
}

BOOLEAN IoCancelIrp(PIRP Irp)
{
	struct nt_driver *previous;
	PIO_STACK_LOCATION location;
	PDRIVER_CANCEL routine;
	KIRQL irql;

	IoAcquireCancelSpinLock(&irql);
	Irp->Cancel = TRUE;
	routine = IoSetCancelRoutine(Irp, NULL);
	if (!routine) {
		IoReleaseCancelSpinLock(irql);
		return FALSE;
	}
	Irp->CancelIrql = irql;
	location = IoGetCurrentIrpStackLocation(Irp);
	previous = nt_driver_enter(nt_driver_of_device(location->DeviceObject));
	routine(location->DeviceObject, Irp);
	nt_driver_leave(previous);
	return TRUE;
}
