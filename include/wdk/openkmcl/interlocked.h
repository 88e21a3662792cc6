/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Interlocked operations and full barriers. Any IRQL; sequentially consistent.
 */
#ifndef OPENKMCL_INTERLOCKED_H
#define OPENKMCL_INTERLOCKED_H

#include "../ntdef.h"

static inline LONG InterlockedIncrement(LONG volatile *addend)
{
	return __atomic_add_fetch(addend, 1, __ATOMIC_SEQ_CST);
}

static inline LONG InterlockedDecrement(LONG volatile *addend)
{
	return __atomic_sub_fetch(addend, 1, __ATOMIC_SEQ_CST);
}

static inline LONG InterlockedExchange(LONG volatile *target, LONG value)
{
	return __atomic_exchange_n(target, value, __ATOMIC_SEQ_CST);
}

/** Returns the value before the addition. */
static inline LONG InterlockedExchangeAdd(LONG volatile *addend, LONG value)
{
	return __atomic_fetch_add(addend, value, __ATOMIC_SEQ_CST);
}

/** Returns the value after the addition. */
static inline LONG InterlockedAdd(LONG volatile *addend, LONG value)
{
	return __atomic_add_fetch(addend, value, __ATOMIC_SEQ_CST);
}

/** Returns the initial value; the exchange happened if that equals @p comparand. */
static inline LONG InterlockedCompareExchange(LONG volatile *target, LONG value, LONG comparand)
{
	__atomic_compare_exchange_n(target, &comparand, value, 0, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return comparand;
}

static inline LONG InterlockedAnd(LONG volatile *target, LONG value)
{
	return __atomic_fetch_and(target, value, __ATOMIC_SEQ_CST);
}

static inline LONG InterlockedOr(LONG volatile *target, LONG value)
{
	return __atomic_fetch_or(target, value, __ATOMIC_SEQ_CST);
}

static inline LONG InterlockedXor(LONG volatile *target, LONG value)
{
	return __atomic_fetch_xor(target, value, __ATOMIC_SEQ_CST);
}

static inline LONG64 InterlockedIncrement64(LONG64 volatile *addend)
{
	return __atomic_add_fetch(addend, 1, __ATOMIC_SEQ_CST);
}

static inline LONG64 InterlockedDecrement64(LONG64 volatile *addend)
{
	return __atomic_sub_fetch(addend, 1, __ATOMIC_SEQ_CST);
}

static inline LONG64 InterlockedExchange64(LONG64 volatile *target, LONG64 value)
{
	return __atomic_exchange_n(target, value, __ATOMIC_SEQ_CST);
}

static inline LONG64 InterlockedExchangeAdd64(LONG64 volatile *addend, LONG64 value)
{
	return __atomic_fetch_add(addend, value, __ATOMIC_SEQ_CST);
}

static inline LONG64 InterlockedAdd64(LONG64 volatile *addend, LONG64 value)
{
	return __atomic_add_fetch(addend, value, __ATOMIC_SEQ_CST);
}

static inline LONG64 InterlockedCompareExchange64(LONG64 volatile *target, LONG64 value,
						  LONG64 comparand)
{
	__atomic_compare_exchange_n(target, &comparand, value, 0, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return comparand;
}

static inline PVOID InterlockedExchangePointer(PVOID volatile *target, PVOID value)
{
	return __atomic_exchange_n(target, value, __ATOMIC_SEQ_CST);
}

static inline PVOID InterlockedCompareExchangePointer(PVOID volatile *target, PVOID value,
						      PVOID comparand)
{
	__atomic_compare_exchange_n(target, &comparand, value, 0, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return comparand;
}

#define KeMemoryBarrier() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define MemoryBarrier()   KeMemoryBarrier()
#define YieldProcessor()  __asm__ __volatile__("" ::: "memory")

#endif
