/* SPDX-License-Identifier: MIT */
/*
 * IRQL, dispatcher objects and waiting, spin locks, time.
 *
 * A wait is kept in one of a number of buckets, chosen by the object's address. Whoever signals an
 * object does it under the bucket's lock and hands it straight to the waiters; when the lock is
 * released the object is not touched any more, so a waiter may free it.
 */
#include "nt/internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define BUCKETS    256u
/* 100 ns units between 1601-01-01 and 1970-01-01 */
#define EPOCH_1601 116444736000000000ull

struct wait {
	struct wait *next;
	DISPATCHER_HEADER *object;
	_Atomic uint32_t woken; /* futex */
};

struct bucket {
	struct spin_lock lock;
	struct wait *waits, **tail;
};

static struct bucket buckets[BUCKETS];
static NT_TLS KIRQL irql;

/* ---- IRQL ---- */

KIRQL KeGetCurrentIrql(VOID)
{
	return irql;
}

VOID KeRaiseIrql(KIRQL NewIrql, PKIRQL OldIrql)
{
	*OldIrql = irql;
	if (NewIrql < irql)
		nt_violation("irql", "KeRaiseIrql from %u down to %u", irql, NewIrql);
	irql = NewIrql;
}

KIRQL KeRaiseIrqlToDpcLevel(VOID)
{
	KIRQL old;

	KeRaiseIrql(DISPATCH_LEVEL, &old);
	return old;
}

VOID KeLowerIrql(KIRQL NewIrql)
{
	if (NewIrql > irql)
		nt_violation("irql", "KeLowerIrql from %u up to %u", irql, NewIrql);
	irql = NewIrql;
}

/* ---- time ---- */

static uint64_t clock_100ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 10000000u + (uint64_t)t.tv_nsec / 100;
}

uint64_t nt_time_now(void)
{
	return clock_100ns(CLOCK_REALTIME) + EPOCH_1601;
}

uint64_t nt_interrupt_time(void)
{
	return clock_100ns(CLOCK_MONOTONIC);
}

uint64_t nt_deadline(LARGE_INTEGER time)
{
	uint64_t now = nt_interrupt_time(), wall;

	if (time.QuadPart <= 0)
		return now + (0 - (uint64_t)time.QuadPart);
	wall = nt_time_now();
	return (uint64_t)time.QuadPart > wall ? now + ((uint64_t)time.QuadPart - wall) : now;
}

VOID KeQuerySystemTime(PLARGE_INTEGER CurrentTime)
{
	CurrentTime->QuadPart = (LONGLONG)nt_time_now();
}

ULONGLONG KeQueryInterruptTime(VOID)
{
	return nt_interrupt_time();
}

LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER PerformanceFrequency)
{
	LARGE_INTEGER now = {.QuadPart = (LONGLONG)clock_now_ns()};

	if (PerformanceFrequency)
		PerformanceFrequency->QuadPart = 1000000000;
	return now;
}

ULONG KeQueryActiveProcessorCount(PKAFFINITY ActiveProcessors)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	if (count < 1)
		count = 1;
	if (ActiveProcessors)
		*ActiveProcessors = count >= 64 ? ~(KAFFINITY)0 : ((KAFFINITY)1 << count) - 1;
	return (ULONG)count;
}

ULONG KeGetCurrentProcessorNumber(VOID)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (ULONG)cpu;
}

VOID KeStallExecutionProcessor(ULONG MicroSeconds)
{
	uint64_t end = clock_now_ns() + MicroSeconds * 1000ull;

	while (clock_now_ns() < end)
		cpu_relax();
}

/* ---- waiting ---- */

static struct bucket *bucket_of(const DISPATCHER_HEADER *object)
{
	uintptr_t a = (uintptr_t)object;

	return &buckets[(a >> 4 ^ a >> 12) % BUCKETS];
}

/* Under the bucket's lock: takes the object for one waiter if it is free to be taken. */
static bool acquire(DISPATCHER_HEADER *object, const void *thread)
{
	KMUTANT *mutant;

	switch (object->Type) {
	case OPENKMCL_OBJECT_MUTEX:
		mutant = CONTAINING_RECORD(object, KMUTANT, Header);
		if (object->SignalState <= 0 && mutant->OwnerThread != thread)
			return false;
		mutant->OwnerThread = (PVOID)(uintptr_t)thread;
		mutant->Count++;
		object->SignalState = 0;
		return true;
	case OPENKMCL_OBJECT_EVENT_SYNCHRONIZATION:
	case OPENKMCL_OBJECT_TIMER_SYNCHRONIZATION:
		if (!object->SignalState)
			return false;
		object->SignalState = 0;
		return true;
	case OPENKMCL_OBJECT_SEMAPHORE:
		if (object->SignalState <= 0)
			return false;
		object->SignalState--;
		return true;
	default:
		return object->SignalState != 0;
	}
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Sleeps until the word is set. False: the deadline came first. */
static bool futex_wait(_Atomic uint32_t *word, const uint64_t *deadline)
{
	struct timespec until, *p = NULL;

	if (deadline) {
		until.tv_sec = (time_t)(*deadline / 10000000u);
		until.tv_nsec = (long)(*deadline % 10000000u) * 100;
		p = &until;
	}
	while (!atomic_load_explicit(word, memory_order_acquire)) {
		if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, 0, p, NULL,
			    FUTEX_BITSET_MATCH_ANY) &&
		    errno == ETIMEDOUT)
			return atomic_load_explicit(word, memory_order_acquire) != 0;
	}
	return true;
}

static void unlink_wait(struct bucket *b, struct wait *w)
{
	for (struct wait **p = &b->waits; *p; p = &(*p)->next) {
		if (*p == w) {
			*p = w->next;
			if (b->tail == &w->next)
				b->tail = p;
			return;
		}
	}
}

/* Under the bucket's lock: hands the object to those who wait for it, in order. A mutex's waiter
 * takes it itself, because it must become the owner. */
static void release_waiters(struct bucket *b, DISPATCHER_HEADER *object)
{
	struct wait *w = b->waits;

	while (w) {
		struct wait *next = w->next;

		if (w->object == object) {
			if (object->Type != OPENKMCL_OBJECT_MUTEX && !acquire(object, NULL))
				return;
			unlink_wait(b, w);
			atomic_store_explicit(&w->woken, 1, memory_order_release);
			futex_wake(&w->woken);
			if (object->Type == OPENKMCL_OBJECT_MUTEX)
				return;
		}
		w = next;
	}
}

void nt_dispatcher_init(DISPATCHER_HEADER *header, LONG type, LONG state)
{
	header->Type = type;
	header->SignalState = state;
	header->WaitListHead = NULL;
}

LONG nt_dispatcher_signal(DISPATCHER_HEADER *header, LONG count, LONG limit)
{
	struct bucket *b = bucket_of(header);
	LONG old;

	spin_lock(&b->lock);
	old = header->SignalState;
	if (limit && old > limit - count) {
		spin_unlock(&b->lock);
		return -1;
	}
	header->SignalState = limit ? old + count : count;
	release_waiters(b, header);
	spin_unlock(&b->lock);
	return old;
}

static void enqueue_wait(struct bucket *b, struct wait *w)
{
	if (!b->tail)
		b->tail = &b->waits;
	w->next = NULL;
	*b->tail = w;
	b->tail = &w->next;
}

static NTSTATUS wait_one(DISPATCHER_HEADER *object, const uint64_t *deadline, bool poll)
{
	struct bucket *b = bucket_of(object);
	struct wait w = {.object = object};
	const void *self = &irql;
	bool signalled;

	for (;;) {
		spin_lock(&b->lock);
		if (acquire(object, self)) {
			spin_unlock(&b->lock);
			return STATUS_SUCCESS;
		}
		if (poll) {
			spin_unlock(&b->lock);
			return STATUS_TIMEOUT;
		}
		bool mutex = object->Type == OPENKMCL_OBJECT_MUTEX;

		atomic_store_explicit(&w.woken, 0, memory_order_relaxed);
		enqueue_wait(b, &w);
		spin_unlock(&b->lock);
		signalled = futex_wait(&w.woken, deadline);
		/* whoever woke us did it under the lock and may still be inside */
		spin_lock(&b->lock);
		if (!signalled)
			signalled = atomic_load_explicit(&w.woken, memory_order_relaxed) != 0;
		if (!signalled)
			unlink_wait(b, &w);
		spin_unlock(&b->lock);
		if (!signalled)
			return STATUS_TIMEOUT;
		if (!mutex)
			return STATUS_SUCCESS;
	}
}

NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode,
			       BOOLEAN Alertable, PLARGE_INTEGER Timeout)
{
	bool poll = Timeout && Timeout->QuadPart == 0;
	uint64_t deadline = 0;

	if (!poll && irql >= DISPATCH_LEVEL) {
		nt_violation("wait-at-dispatch", "KeWaitForSingleObject that may block, at IRQL %u",
			     irql);
		return STATUS_INVALID_DEVICE_STATE;
	}
	if (Timeout)
		deadline = nt_deadline(*Timeout);
	return wait_one(Object, Timeout ? &deadline : NULL, poll);
}

NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
				PLARGE_INTEGER Interval)
{
	KEVENT never;

	if (irql >= DISPATCH_LEVEL) {
		nt_violation("wait-at-dispatch", "KeDelayExecutionThread at IRQL %u", irql);
		return STATUS_INVALID_DEVICE_STATE;
	}
	if (!Interval->QuadPart) {
		sched_yield();
		return STATUS_SUCCESS;
	}
	KeInitializeEvent(&never, NotificationEvent, FALSE);
	KeWaitForSingleObject(&never, DelayExecution, WaitMode, Alertable, Interval);
	return STATUS_SUCCESS;
}

/* ---- events, semaphores, mutexes ---- */

VOID KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State)
{
	nt_dispatcher_init(&Event->Header,
			   Type == NotificationEvent ? OPENKMCL_OBJECT_EVENT_NOTIFICATION
						     : OPENKMCL_OBJECT_EVENT_SYNCHRONIZATION,
			   State != FALSE);
}

LONG KeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait)
{
	return nt_dispatcher_signal(&Event->Header, 1, 0);
}

LONG KeResetEvent(PRKEVENT Event)
{
	struct bucket *b = bucket_of(&Event->Header);
	LONG old;

	spin_lock(&b->lock);
	old = Event->Header.SignalState;
	Event->Header.SignalState = 0;
	spin_unlock(&b->lock);
	return old;
}

VOID KeClearEvent(PRKEVENT Event)
{
	KeResetEvent(Event);
}

static LONG read_state(DISPATCHER_HEADER *header)
{
	struct bucket *b = bucket_of(header);
	LONG state;

	spin_lock(&b->lock);
	state = header->SignalState;
	spin_unlock(&b->lock);
	return state;
}

LONG KeReadStateEvent(PRKEVENT Event)
{
	return read_state(&Event->Header);
}

VOID KeInitializeSemaphore(PRKSEMAPHORE Semaphore, LONG Count, LONG Limit)
{
	nt_dispatcher_init(&Semaphore->Header, OPENKMCL_OBJECT_SEMAPHORE, Count);
	Semaphore->Limit = Limit;
}

LONG KeReleaseSemaphore(PRKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment, BOOLEAN Wait)
{
	LONG old = nt_dispatcher_signal(&Semaphore->Header, Adjustment, Semaphore->Limit);

	if (old < 0)
		nt_violation("semaphore-limit", "KeReleaseSemaphore over the limit of %d",
			     Semaphore->Limit);
	return old;
}

LONG KeReadStateSemaphore(PRKSEMAPHORE Semaphore)
{
	return read_state(&Semaphore->Header);
}

VOID KeInitializeMutex(PRKMUTEX Mutex, ULONG Level)
{
	nt_dispatcher_init(&Mutex->Header, OPENKMCL_OBJECT_MUTEX, 1);
	Mutex->OwnerThread = NULL;
	Mutex->Count = 0;
}

LONG KeReleaseMutex(PRKMUTEX Mutex, BOOLEAN Wait)
{
	struct bucket *b = bucket_of(&Mutex->Header);
	LONG depth = 1;
	bool owner;

	spin_lock(&b->lock);
	owner = Mutex->OwnerThread == &irql;
	if (owner)
		depth = Mutex->Count;
	if (owner && --Mutex->Count == 0) {
		Mutex->OwnerThread = NULL;
		Mutex->Header.SignalState = 1;
		release_waiters(b, &Mutex->Header);
	}
	spin_unlock(&b->lock);
	if (!owner)
		nt_violation("mutex-owner", "KeReleaseMutex by a thread that does not own it");
	return 1 - depth;
}

/* ---- spin locks ---- */

VOID KeInitializeSpinLock(PKSPIN_LOCK SpinLock)
{
	__atomic_store_n(SpinLock, 0, __ATOMIC_RELAXED);
}

BOOLEAN KeTryToAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
{
	return __atomic_exchange_n(SpinLock, 1, __ATOMIC_ACQUIRE) == 0;
}

VOID KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
{
	for (unsigned int n = 0; __atomic_exchange_n(SpinLock, 1, __ATOMIC_ACQUIRE); n++) {
		while (__atomic_load_n(SpinLock, __ATOMIC_RELAXED)) {
			if (n++ < 64)
				cpu_relax();
			else
				sched_yield();
		}
	}
}

VOID KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock)
{
	__atomic_store_n(SpinLock, 0, __ATOMIC_RELEASE);
}

KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock)
{
	KIRQL old;

	KeRaiseIrql(DISPATCH_LEVEL, &old);
	KeAcquireSpinLockAtDpcLevel(SpinLock);
	return old;
}

VOID KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql)
{
	KeReleaseSpinLockFromDpcLevel(SpinLock);
	KeLowerIrql(NewIrql);
}

VOID KeBugCheckEx(ULONG BugCheckCode, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4)
{
	nt_violation("bug-check", "KeBugCheckEx 0x%x (0x%zx, 0x%zx, 0x%zx, 0x%zx)", BugCheckCode,
		     P1, P2, P3, P4);
}
