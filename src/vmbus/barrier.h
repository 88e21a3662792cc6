/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Words that two endpoints share, and the only memory orderings that the rings use.
 *
 * A shared word is little-endian, naturally aligned, and accessed whole, once, into a local. The
 * other endpoint may change it at any time, so each function here is one load or one store.
 *
 * The pairs, each named again at its use:
 *
 *   release of `in` (publish)          acquire of `in` (refill, unmask)     packet bytes are
 * visible release of `out` (release)         acquire of `out` (reserve, block)    freed bytes are
 * free full fence after `in` (publish)    full fence after mask = 0 (unmask)   no lost "not empty"
 *   full fence after `out` (release)   full fence after pending (block)     no lost "room"
 *
 * verify/ proves that the two fence pairs are needed and that they suffice.
 */
#ifndef VMBUS_BARRIER_H
#define VMBUS_BARRIER_H

#include <stdatomic.h>
#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define VMBUS_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__)
#define VMBUS_ASAN 1
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VMBUS_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define VMBUS_ASAN 1
#endif
#endif
#ifndef VMBUS_TSAN
#define VMBUS_TSAN 0
#endif
#ifndef VMBUS_ASAN
#define VMBUS_ASAN 0
#endif

#if VMBUS_TSAN
#define VMBUS_NO_TSAN __attribute__((no_sanitize("thread")))
#else
#define VMBUS_NO_TSAN
#endif

#define vmbus_likely(x)   __builtin_expect(!!(x), 1)
#define vmbus_unlikely(x) __builtin_expect(!!(x), 0)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define VMBUS_LE32(x) ((uint32_t)(x))
#define VMBUS_LE64(x) ((uint64_t)(x))
#else
#define VMBUS_LE32(x) __builtin_bswap32((uint32_t)(x))
#define VMBUS_LE64(x) __builtin_bswap64((uint64_t)(x))
#endif

/** Orders every access before it against every access after it, stores before loads included. */
static inline void vmbus_fence_full(void)
{
#if VMBUS_TSAN
	/*
	 * ThreadSanitizer has no model of a fence, and gcc refuses to compile one. A sequentially
	 * consistent read-modify-write orders the machine as well. It is on a local on purpose: on
	 * a shared object it would make every pair of fences a happens-before edge and hide races.
	 */
	atomic_int local = 0;

	(void)atomic_fetch_add_explicit(&local, 1, memory_order_seq_cst);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline uint32_t vmbus_load32_relaxed(const uint32_t *word)
{
	return VMBUS_LE32(__atomic_load_n(word, __ATOMIC_RELAXED));
}

static inline uint32_t vmbus_load32_acquire(const uint32_t *word)
{
	return VMBUS_LE32(__atomic_load_n(word, __ATOMIC_ACQUIRE));
}

static inline void vmbus_store32_relaxed(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, VMBUS_LE32(value), __ATOMIC_RELAXED);
}

static inline void vmbus_store32_release(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, VMBUS_LE32(value), __ATOMIC_RELEASE);
}

static inline uint64_t vmbus_load64_relaxed(const void *word)
{
	return VMBUS_LE64(__atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED));
}

static inline void vmbus_store64_relaxed(void *word, uint64_t value)
{
	__atomic_store_n((uint64_t *)word, VMBUS_LE64(value), __ATOMIC_RELAXED);
}

#endif
