/* SPDX-License-Identifier: MIT */
/**
 * @file
 * IRQL, events, waiting, spin locks, DPCs, timers, time.
 *
 * The IRQL is a number of the calling thread: it masks nothing, it is what a driver's rules are
 * checked against. A dispatcher object may be freed by the waiter that it released as soon as the
 * wait returns: the function that set it does not touch it afterwards.
 */
#ifndef OPENKMCL_KE_H
#define OPENKMCL_KE_H

#include "../ntdef.h"
#include "../ntstatus.h"

EXTERN_C_START

#define PASSIVE_LEVEL  0
#define LOW_LEVEL      0
#define APC_LEVEL      1
#define DISPATCH_LEVEL 2
#define HIGH_LEVEL     15

#define IO_NO_INCREMENT 0
#define EVENT_INCREMENT 1

#ifndef OPENKMCL_PAGE_SIZE
#define OPENKMCL_PAGE_SIZE
#define PAGE_SIZE  0x1000
#define PAGE_SHIFT 12
#endif

KIRQL KeGetCurrentIrql(VOID);
/** Raises the thread's IRQL; lowering by this is a contract violation. */
VOID KeRaiseIrql(KIRQL NewIrql, PKIRQL OldIrql);
VOID KeLowerIrql(KIRQL NewIrql);
KIRQL KeRaiseIrqlToDpcLevel(VOID);

#define PAGED_CODE() NT_ASSERT(KeGetCurrentIrql() <= APC_LEVEL)

/* ---- dispatcher objects ---- */
enum {
	OPENKMCL_OBJECT_EVENT_NOTIFICATION = 1,
	OPENKMCL_OBJECT_EVENT_SYNCHRONIZATION,
	OPENKMCL_OBJECT_SEMAPHORE,
	OPENKMCL_OBJECT_MUTEX,
	OPENKMCL_OBJECT_TIMER_NOTIFICATION,
	OPENKMCL_OBJECT_TIMER_SYNCHRONIZATION,
	OPENKMCL_OBJECT_THREAD,
};

/** Begins every object that can be waited for. */
typedef struct _DISPATCHER_HEADER {
	LONG Type;
	LONG SignalState;
	PVOID WaitListHead; /* and the object's lock */
} DISPATCHER_HEADER;

typedef struct _KEVENT {
	DISPATCHER_HEADER Header;
} KEVENT, *PKEVENT, *PRKEVENT;

typedef struct _KSEMAPHORE {
	DISPATCHER_HEADER Header;
	LONG Limit;
} KSEMAPHORE, *PKSEMAPHORE, *PRKSEMAPHORE;

typedef struct _KMUTANT {
	DISPATCHER_HEADER Header;
	PVOID OwnerThread;
	LONG Count;
} KMUTANT, *PKMUTANT, KMUTEX, *PKMUTEX, *PRKMUTEX;

typedef enum _KWAIT_REASON {
	Executive,
	FreePage,
	PageIn,
	PoolAllocation,
	DelayExecution,
	Suspended,
	UserRequest,
} KWAIT_REASON;

typedef enum _MODE {
	KernelMode,
	UserMode,
	MaximumMode
} MODE;
typedef CCHAR KPROCESSOR_MODE;

VOID KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State);
/** Any thread, <= DISPATCH_LEVEL. Returns the previous state. */
LONG KeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait);
LONG KeResetEvent(PRKEVENT Event);
VOID KeClearEvent(PRKEVENT Event);
LONG KeReadStateEvent(PRKEVENT Event);

VOID KeInitializeSemaphore(PRKSEMAPHORE Semaphore, LONG Count, LONG Limit);
LONG KeReleaseSemaphore(PRKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment, BOOLEAN Wait);
LONG KeReadStateSemaphore(PRKSEMAPHORE Semaphore);
VOID KeInitializeMutex(PRKMUTEX Mutex, ULONG Level);
/** 0: it is free now; negative: the caller, who had taken it more than once, owns it still. */
LONG KeReleaseMutex(PRKMUTEX Mutex, BOOLEAN Wait);
/** 1: free. */
LONG KeReadStateMutex(PRKMUTEX Mutex);

/**
 * Waits for one object. PASSIVE_LEVEL, except with a timeout of zero (<= DISPATCH_LEVEL).
 * @param Timeout 100 ns units: NULL waits for ever, 0 does not wait, negative is relative, positive
 *        is absolute since 1601-01-01 UTC.
 * @return STATUS_SUCCESS, or STATUS_TIMEOUT (which passes NT_SUCCESS).
 */
NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode,
			       BOOLEAN Alertable, PLARGE_INTEGER Timeout);

#define MAXIMUM_WAIT_OBJECTS 64
#define THREAD_WAIT_OBJECTS  3

typedef struct _KWAIT_BLOCK {
	PVOID Reserved[6];
} KWAIT_BLOCK, *PKWAIT_BLOCK, *PRKWAIT_BLOCK;

/**
 * Waits for one of several objects, or for all of them at once; IRQL and Timeout as above. A wait
 * for all takes none before it can take all, and names no object twice.
 * @param WaitBlockArray may be NULL for up to THREAD_WAIT_OBJECTS.
 * @return WaitAny: STATUS_WAIT_0 and the index of the object. WaitAll: STATUS_SUCCESS. Or
 *         STATUS_TIMEOUT.
 */
NTSTATUS KeWaitForMultipleObjects(ULONG Count, PVOID Object[], WAIT_TYPE WaitType,
				  KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode,
				  BOOLEAN Alertable, PLARGE_INTEGER Timeout,
				  PKWAIT_BLOCK WaitBlockArray);

NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
				PLARGE_INTEGER Interval);

/* ---- spin locks ---- */
typedef ULONG_PTR KSPIN_LOCK, *PKSPIN_LOCK;

VOID KeInitializeSpinLock(PKSPIN_LOCK SpinLock);
/** Raises to DISPATCH_LEVEL. Not recursive. */
KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock);
#define KeAcquireSpinLock(SpinLock, OldIrql) (*(OldIrql) = KeAcquireSpinLockRaiseToDpc(SpinLock))
VOID KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql);
VOID KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock);
VOID KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock);
BOOLEAN KeTryToAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock);

/* ---- DPCs and timers ---- */
struct _KDPC;
typedef VOID KDEFERRED_ROUTINE(struct _KDPC *Dpc, PVOID DeferredContext, PVOID SystemArgument1,
			       PVOID SystemArgument2);
typedef KDEFERRED_ROUTINE *PKDEFERRED_ROUTINE;

typedef struct _KDPC {
	struct _KDPC *Next;
	PKDEFERRED_ROUTINE DeferredRoutine;
	PVOID DeferredContext;
	PVOID SystemArgument1;
	PVOID SystemArgument2;
	PVOID Driver;
	LONG Queued;
} KDPC, *PKDPC, *PRKDPC;

VOID KeInitializeDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE DeferredRoutine, PVOID DeferredContext);
/** FALSE: it was queued already. The routine runs at DISPATCH_LEVEL as its driver. */
BOOLEAN KeInsertQueueDpc(PRKDPC Dpc, PVOID SystemArgument1, PVOID SystemArgument2);
BOOLEAN KeRemoveQueueDpc(PRKDPC Dpc);
/** Returns when every DPC queued before the call has run. PASSIVE_LEVEL. */
VOID KeFlushQueuedDpcs(VOID);

typedef struct _KTIMER {
	DISPATCHER_HEADER Header;
	struct _KTIMER *Next;
	PKDPC Dpc;
	ULONGLONG Due;
	LONG Period;
	LONG Inserted;
	PVOID Driver;
} KTIMER, *PKTIMER, *PRKTIMER;

VOID KeInitializeTimer(PKTIMER Timer);
VOID KeInitializeTimerEx(PKTIMER Timer, TIMER_TYPE Type);
/** DueTime as in KeWaitForSingleObject. TRUE: it was set already, and is set anew. */
BOOLEAN KeSetTimer(PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc);
/** Period in milliseconds, 0: once. */
BOOLEAN KeSetTimerEx(PKTIMER Timer, LARGE_INTEGER DueTime, LONG Period, PKDPC Dpc);
BOOLEAN KeCancelTimer(PKTIMER Timer);
BOOLEAN KeReadStateTimer(PKTIMER Timer);

/* ---- time and processors ---- */
/** 100 ns units since 1601-01-01 UTC. */
VOID KeQuerySystemTime(PLARGE_INTEGER CurrentTime);
#define KeQuerySystemTimePrecise(t) KeQuerySystemTime(t)
/** 100 ns units since some start. */
ULONGLONG KeQueryInterruptTime(VOID);
LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER PerformanceFrequency);
ULONG KeQueryActiveProcessorCount(PKAFFINITY ActiveProcessors);
ULONG KeGetCurrentProcessorNumber(VOID);
VOID KeStallExecutionProcessor(ULONG MicroSeconds);

/** A bug check: reported as a contract violation, which by default ends the process. */
VOID KeBugCheckEx(ULONG BugCheckCode, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4);

EXTERN_C_END

#endif
