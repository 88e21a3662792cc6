/* SPDX-License-Identifier: MIT */
/* IRQL, spin locks, time. */
#include "nt/internal.h"

#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* 100 ns units between 1601-01-01 and 1970-01-01 */
#define EPOCH_1601 116444736000000000ull

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

/* ---- spin locks ---- */

/* Which of them the thread holds, for the verifier. Beyond the room they are counted alone. */
#define HELD_LOCKS 16u
static NT_TLS struct {
	unsigned int count;
	PKSPIN_LOCK lock[HELD_LOCKS];
} held;

unsigned int nt_spin_locks_held(void)
{
	return held.count;
}

static unsigned int place_of(PKSPIN_LOCK lock)
{
	unsigned int i = held.count < HELD_LOCKS ? held.count : HELD_LOCKS;

	while (i > 0 && held.lock[i - 1] != lock)
		i--;
	return i; /* 0: not held, or beyond the room */
}

static void note_acquire(PKSPIN_LOCK lock)
{
	if (!nt_verify())
		return;
	if (held.count < HELD_LOCKS)
		held.lock[held.count] = lock;
	held.count++;
}

static void note_release(PKSPIN_LOCK lock)
{
	unsigned int place;

	if (!held.count)
		return;
	place = place_of(lock);
	if (!place && held.count <= HELD_LOCKS)
		return; /* acquired before anything was verified */
	held.count--;
	if (place && held.count < HELD_LOCKS)
		held.lock[place - 1] = held.lock[held.count];
}

/* It would wait for itself for ever. */
static void check_acquire(PKSPIN_LOCK lock)
{
	if (held.count && place_of(lock))
		nt_violation("spin-lock-twice",
			     "a spin lock is acquired by the thread that holds it");
}

VOID KeInitializeSpinLock(PKSPIN_LOCK SpinLock)
{
	__atomic_store_n(SpinLock, 0, __ATOMIC_RELAXED);
}

BOOLEAN KeTryToAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
{
	bool acquired = __atomic_exchange_n(SpinLock, 1, __ATOMIC_ACQUIRE) == 0;

	if (acquired)
		note_acquire(SpinLock);
	return acquired;
}

VOID KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
{
	check_acquire(SpinLock);
	for (unsigned int n = 0; __atomic_exchange_n(SpinLock, 1, __ATOMIC_ACQUIRE); n++) {
		while (__atomic_load_n(SpinLock, __ATOMIC_RELAXED)) {
			if (n++ < 64)
				cpu_relax();
			else
				sched_yield();
		}
	}
	note_acquire(SpinLock);
}

VOID KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock)
{
	note_release(SpinLock);
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
