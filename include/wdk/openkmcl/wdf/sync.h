/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Locks, work items, timers and DPCs as objects. Work items, timers and DPCs need a parent that is
 * a device or below one; their callbacks have ended, and come no more, when the object has been
 * cleaned up.
 */
#ifndef OPENKMCL_WDF_SYNC_H
#define OPENKMCL_WDF_SYNC_H

#include "object.h"

EXTERN_C_START

NTSTATUS WdfSpinLockCreate(_In_opt_ PWDF_OBJECT_ATTRIBUTES SpinLockAttributes,
			   _Out_ WDFSPINLOCK *SpinLock);
/** Raises to DISPATCH_LEVEL. Not recursive. */
VOID WdfSpinLockAcquire(_In_ WDFSPINLOCK SpinLock);
VOID WdfSpinLockRelease(_In_ WDFSPINLOCK SpinLock);

NTSTATUS WdfWaitLockCreate(_In_opt_ PWDF_OBJECT_ATTRIBUTES LockAttributes, _Out_ WDFWAITLOCK *Lock);
/** PASSIVE_LEVEL, or with a Timeout of 0 <= DISPATCH_LEVEL. Not recursive.
 * @return STATUS_SUCCESS or STATUS_TIMEOUT, which passes NT_SUCCESS */
NTSTATUS WdfWaitLockAcquire(_In_ WDFWAITLOCK Lock, _In_opt_ PLONGLONG Timeout);
VOID WdfWaitLockRelease(_In_ WDFWAITLOCK Lock);

/* ---- work items ---- */
typedef VOID EVT_WDF_WORKITEM(_In_ WDFWORKITEM WorkItem);
typedef EVT_WDF_WORKITEM *PFN_WDF_WORKITEM;

typedef struct _WDF_WORKITEM_CONFIG {
	ULONG Size;
	PFN_WDF_WORKITEM EvtWorkItemFunc;
	BOOLEAN AutomaticSerialization;
} WDF_WORKITEM_CONFIG, *PWDF_WORKITEM_CONFIG;

FORCEINLINE VOID WDF_WORKITEM_CONFIG_INIT(PWDF_WORKITEM_CONFIG Config,
					  PFN_WDF_WORKITEM EvtWorkItemFunc)
{
	RtlZeroMemory(Config, sizeof(*Config));
	Config->Size = WDF_STRUCTURE_SIZE(WDF_WORKITEM_CONFIG);
	Config->EvtWorkItemFunc = EvtWorkItemFunc;
	Config->AutomaticSerialization = TRUE;
}

/** @return STATUS_WDF_PARENT_NOT_SPECIFIED; STATUS_INVALID_DEVICE_REQUEST: the parent is not below
 * a device; STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL: serialised with callbacks at DISPATCH_LEVEL */
NTSTATUS WdfWorkItemCreate(_In_ PWDF_WORKITEM_CONFIG Config, _In_ PWDF_OBJECT_ATTRIBUTES Attributes,
			   _Out_ WDFWORKITEM *WorkItem);
/** Nothing happens if it is queued and has not begun. <= DISPATCH_LEVEL. */
VOID WdfWorkItemEnqueue(_In_ WDFWORKITEM WorkItem);
WDFOBJECT WdfWorkItemGetParentObject(_In_ WDFWORKITEM WorkItem);
/** Returns when it is neither queued nor running. PASSIVE_LEVEL. Not from its own callback. */
VOID WdfWorkItemFlush(_In_ WDFWORKITEM WorkItem);

/* ---- timers ---- */
typedef VOID EVT_WDF_TIMER(_In_ WDFTIMER Timer);
typedef EVT_WDF_TIMER *PFN_WDF_TIMER;

typedef struct _WDF_TIMER_CONFIG {
	ULONG Size;
	PFN_WDF_TIMER EvtTimerFunc;
	ULONG Period; /* milliseconds; 0: once */
	BOOLEAN AutomaticSerialization;
	ULONG TolerableDelay;
	DECLSPEC_ALIGN(8) BOOLEAN UseHighResolutionTimer;
} WDF_TIMER_CONFIG, *PWDF_TIMER_CONFIG;

FORCEINLINE VOID WDF_TIMER_CONFIG_INIT(PWDF_TIMER_CONFIG Config, PFN_WDF_TIMER EvtTimerFunc)
{
	RtlZeroMemory(Config, sizeof(*Config));
	Config->Size = WDF_STRUCTURE_SIZE(WDF_TIMER_CONFIG);
	Config->EvtTimerFunc = EvtTimerFunc;
	Config->AutomaticSerialization = TRUE;
}

FORCEINLINE VOID WDF_TIMER_CONFIG_INIT_PERIODIC(PWDF_TIMER_CONFIG Config,
						PFN_WDF_TIMER EvtTimerFunc, LONG Period)
{
	WDF_TIMER_CONFIG_INIT(Config, EvtTimerFunc);
	Config->Period = (ULONG)Period;
}

/** At DISPATCH_LEVEL, or at PASSIVE_LEVEL with ExecutionLevel WdfExecutionLevelPassive (then not
 * periodic: STATUS_NOT_SUPPORTED). Other statuses as WdfWorkItemCreate. */
NTSTATUS WdfTimerCreate(_In_ PWDF_TIMER_CONFIG Config, _In_ PWDF_OBJECT_ATTRIBUTES Attributes,
			_Out_ WDFTIMER *Timer);
/** TRUE: it was set already, and is set anew. <= DISPATCH_LEVEL. */
BOOLEAN WdfTimerStart(_In_ WDFTIMER Timer, _In_ LONGLONG DueTime);
/** TRUE: it was set. With Wait its callback has ended (PASSIVE_LEVEL; not from the callback). */
BOOLEAN WdfTimerStop(_In_ WDFTIMER Timer, _In_ BOOLEAN Wait);
WDFOBJECT WdfTimerGetParentObject(_In_ WDFTIMER Timer);

/* ---- DPCs ---- */
typedef VOID EVT_WDF_DPC(_In_ WDFDPC Dpc);
typedef EVT_WDF_DPC *PFN_WDF_DPC;

typedef struct _WDF_DPC_CONFIG {
	ULONG Size;
	PFN_WDF_DPC EvtDpcFunc;
	BOOLEAN AutomaticSerialization;
} WDF_DPC_CONFIG, *PWDF_DPC_CONFIG;

FORCEINLINE VOID WDF_DPC_CONFIG_INIT(PWDF_DPC_CONFIG Config, PFN_WDF_DPC EvtDpcFunc)
{
	RtlZeroMemory(Config, sizeof(*Config));
	Config->Size = WDF_STRUCTURE_SIZE(WDF_DPC_CONFIG);
	Config->EvtDpcFunc = EvtDpcFunc;
	Config->AutomaticSerialization = TRUE;
}

/** @return STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL: serialised with callbacks at PASSIVE_LEVEL;
 * else as WdfWorkItemCreate */
NTSTATUS WdfDpcCreate(_In_ PWDF_DPC_CONFIG Config, _In_ PWDF_OBJECT_ATTRIBUTES Attributes,
		      _Out_ WDFDPC *Dpc);
/** FALSE: it was queued already. Any IRQL. */
BOOLEAN WdfDpcEnqueue(_In_ WDFDPC Dpc);
/** TRUE: it was queued. With Wait its callback has ended (PASSIVE_LEVEL). */
BOOLEAN WdfDpcCancel(_In_ WDFDPC Dpc, _In_ BOOLEAN Wait);
WDFOBJECT WdfDpcGetParentObject(_In_ WDFDPC Dpc);
PKDPC WdfDpcWdmGetDpc(_In_ WDFDPC Dpc);

EXTERN_C_END

#endif
