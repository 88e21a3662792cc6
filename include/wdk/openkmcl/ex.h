/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Pool, lookaside lists, work items, rundown protection.
 *
 * The pool is that of the current driver: guest memory for a client's driver, the heap for a
 * server's. Blocks of a page and more begin on a page. <= DISPATCH_LEVEL unless said otherwise.
 */
#ifndef OPENKMCL_EX_H
#define OPENKMCL_EX_H

#include "ke.h"

EXTERN_C_START

typedef enum _POOL_TYPE {
	NonPagedPool,
	NonPagedPoolExecute = NonPagedPool,
	PagedPool,
	NonPagedPoolMustSucceed = NonPagedPool + 2,
	DontUseThisType,
	NonPagedPoolCacheAligned = NonPagedPool + 4,
	PagedPoolCacheAligned,
	NonPagedPoolNx = 512,
	NonPagedPoolNxCacheAligned = NonPagedPoolNx + 4,
} POOL_TYPE;

typedef ULONG64 POOL_FLAGS;
#define POOL_FLAG_REQUIRED_START    0x0000000000000001ull
#define POOL_FLAG_USE_QUOTA         0x0000000000000001ull
#define POOL_FLAG_UNINITIALIZED     0x0000000000000002ull
#define POOL_FLAG_SESSION           0x0000000000000004ull
#define POOL_FLAG_CACHE_ALIGNED     0x0000000000000008ull
#define POOL_FLAG_NON_PAGED         0x0000000000000040ull
#define POOL_FLAG_NON_PAGED_EXECUTE 0x0000000000000080ull
#define POOL_FLAG_PAGED             0x0000000000000100ull

/** NULL when there is no memory. Contents are undefined. */
PVOID ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
PVOID ExAllocatePoolZero(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
/** Zeroed unless POOL_FLAG_UNINITIALIZED. */
PVOID ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);
#define ExAllocatePool(type, bytes)                   ExAllocatePoolWithTag((type), (bytes), 'enoN')
#define ExAllocatePoolUninitialized(type, bytes, tag) ExAllocatePoolWithTag((type), (bytes), (tag))
/** An overrun, a double free or a pointer that is not from the pool is a contract violation. */
VOID ExFreePool(PVOID P);
/** The tag, unless 0, must be the block's. */
VOID ExFreePoolWithTag(PVOID P, ULONG Tag);

/* ---- lookaside lists: freed blocks are kept for the next allocation ---- */
#define OPENKMCL_LOOKASIDE_DEPTH 32

typedef struct _GENERAL_LOOKASIDE {
	KSPIN_LOCK Lock;
	PVOID Kept[OPENKMCL_LOOKASIDE_DEPTH];
	ULONG Depth;
	ULONG Count;
	SIZE_T Size;
	ULONG Tag;
	POOL_TYPE Type;
} NPAGED_LOOKASIDE_LIST, *PNPAGED_LOOKASIDE_LIST, PAGED_LOOKASIDE_LIST, *PPAGED_LOOKASIDE_LIST,
	LOOKASIDE_LIST_EX, *PLOOKASIDE_LIST_EX;

typedef PVOID ALLOCATE_FUNCTION(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
typedef VOID FREE_FUNCTION(PVOID Buffer);
typedef ALLOCATE_FUNCTION *PALLOCATE_FUNCTION;
typedef FREE_FUNCTION *PFREE_FUNCTION;

/** Allocate and Free must be NULL (the pool); Depth 0 is a default. */
VOID ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate,
				     PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
				     USHORT Depth);
VOID ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside);
PVOID ExAllocateFromNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside);
VOID ExFreeToNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry);
#define ExInitializePagedLookasideList   ExInitializeNPagedLookasideList
#define ExDeletePagedLookasideList       ExDeleteNPagedLookasideList
#define ExAllocateFromPagedLookasideList ExAllocateFromNPagedLookasideList
#define ExFreeToPagedLookasideList       ExFreeToNPagedLookasideList

/* ---- work items (see also IoAllocateWorkItem) ---- */
typedef enum _WORK_QUEUE_TYPE {
	CriticalWorkQueue,
	DelayedWorkQueue,
	HyperCriticalWorkQueue,
} WORK_QUEUE_TYPE;

typedef VOID WORKER_THREAD_ROUTINE(PVOID Parameter);
typedef WORKER_THREAD_ROUTINE *PWORKER_THREAD_ROUTINE;

typedef struct _WORK_QUEUE_ITEM {
	LIST_ENTRY List;
	PWORKER_THREAD_ROUTINE WorkerRoutine;
	PVOID Parameter;
	PVOID Reserved[3];
} WORK_QUEUE_ITEM, *PWORK_QUEUE_ITEM;

#define ExInitializeWorkItem(Item, Routine, Context) \
	do {                                         \
		(Item)->WorkerRoutine = (Routine);   \
		(Item)->Parameter = (Context);       \
		(Item)->List.Flink = NULL;           \
	} while (0)
/** Runs the routine once at PASSIVE_LEVEL as the current driver; the item is the routine's then. */
VOID ExQueueWorkItem(PWORK_QUEUE_ITEM WorkItem, WORK_QUEUE_TYPE QueueType);

/* ---- rundown protection ---- */
typedef struct _EX_RUNDOWN_REF {
	LONG Count; /* twice the references, plus one while running down */
	KEVENT Drained;
} EX_RUNDOWN_REF, *PEX_RUNDOWN_REF;

VOID ExInitializeRundownProtection(PEX_RUNDOWN_REF RunRef);
VOID ExReInitializeRundownProtection(PEX_RUNDOWN_REF RunRef);
BOOLEAN ExAcquireRundownProtection(PEX_RUNDOWN_REF RunRef);
VOID ExReleaseRundownProtection(PEX_RUNDOWN_REF RunRef);
/** Returns when every reference is gone; none is given after the call. PASSIVE_LEVEL. */
VOID ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF RunRef);

/* ---- fast mutexes ---- */
typedef struct _FAST_MUTEX {
	KEVENT Event;
	KIRQL OldIrql;
} FAST_MUTEX, *PFAST_MUTEX;
VOID ExInitializeFastMutex(PFAST_MUTEX Mutex);
/** Waits at PASSIVE_LEVEL, holds at APC_LEVEL. */
VOID ExAcquireFastMutex(PFAST_MUTEX Mutex);
BOOLEAN ExTryToAcquireFastMutex(PFAST_MUTEX Mutex);
VOID ExReleaseFastMutex(PFAST_MUTEX Mutex);

EXTERN_C_END

#endif
