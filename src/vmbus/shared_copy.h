/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The only way that payload crosses between private memory and memory which the other endpoint can
 * write at the same moment.
 *
 * Each piece of shared memory is accessed exactly once and as volatile (relaxed atomic under
 * ThreadSanitizer, in functions that it does not instrument), so a hostile concurrent writer causes
 * torn content and nothing else. memcpy will not do: the language lets it read twice, and
 * ThreadSanitizer intercepts it wherever it is called.
 */
#ifndef VMBUS_SHARED_COPY_H
#define VMBUS_SHARED_COPY_H

#include <stddef.h>
#include <stdint.h>

#include "vmbus/barrier.h"

/** Below this a copy is made in line, in steps of 16 bytes; from here on a call costs little. */
#define VMBUS_COPY_INLINE_MAX 128u

#if VMBUS_TSAN
#define VMBUS_COPY_FN static VMBUS_NO_TSAN __attribute__((noinline, unused))
#else
#define VMBUS_COPY_FN static inline __attribute__((always_inline))
#endif

/* Private memory can have any alignment and any type. */
typedef uint64_t vmbus_u64_any __attribute__((aligned(1), may_alias));
typedef uint64_t vmbus_u64_shared __attribute__((aligned(8), may_alias));
#if !VMBUS_TSAN
typedef uint64_t vmbus_u128_any __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t vmbus_u128_shared __attribute__((vector_size(16), aligned(8), may_alias));
#endif

/** Any size, any alignment, either side shared: external data of a packet, GPADL memory. */
void vmbus_shared_copy(void *dst, const void *src, size_t size);

/* The long forms of the two below. */
void vmbus_shared_put_long(void *shared, const void *from, size_t size);
void vmbus_shared_get_long(void *to, const void *shared, size_t size);

VMBUS_COPY_FN void vmbus_copy_put8(void *shared, const void *from)
{
#if VMBUS_TSAN
	__atomic_store_n((vmbus_u64_shared *)shared, *(const vmbus_u64_any *)from,
			 __ATOMIC_RELAXED);
#else
	*(volatile vmbus_u64_shared *)shared = *(const vmbus_u64_any *)from;
#endif
}

VMBUS_COPY_FN void vmbus_copy_get8(void *to, const void *shared)
{
#if VMBUS_TSAN
	*(vmbus_u64_any *)to = __atomic_load_n((const vmbus_u64_shared *)shared, __ATOMIC_RELAXED);
#else
	*(vmbus_u64_any *)to = *(const volatile vmbus_u64_shared *)shared;
#endif
}

VMBUS_COPY_FN void vmbus_copy_put16(uint8_t *shared, const uint8_t *from)
{
#if VMBUS_TSAN
	vmbus_copy_put8(shared, from);
	vmbus_copy_put8(shared + 8, from + 8);
#else
	*(volatile vmbus_u128_shared *)shared = *(const vmbus_u128_any *)from;
#endif
}

VMBUS_COPY_FN void vmbus_copy_get16(uint8_t *to, const uint8_t *shared)
{
#if VMBUS_TSAN
	vmbus_copy_get8(to, shared);
	vmbus_copy_get8(to + 8, shared + 8);
#else
	*(vmbus_u128_any *)to = *(const volatile vmbus_u128_shared *)shared;
#endif
}

/* The last 1..7 bytes of a payload and zeroes up to the next multiple of 8. */
VMBUS_COPY_FN void vmbus_copy_put_tail(uint8_t *shared, const uint8_t *from, size_t size)
{
	uint64_t last = 0;

	for (size_t i = 0; i < size; i++)
		last |= (uint64_t)from[i] << (8 * i);
	vmbus_store64_relaxed(shared, last);
}

/**
 * Private to shared. @p shared is 8-aligned, @p from any; writes @p size bytes rounded up to a
 * multiple of 8, the pad being zero.
 */
VMBUS_COPY_FN void vmbus_shared_put(void *shared, const void *from, size_t size)
{
	uint8_t *to = shared;
	const uint8_t *p = from;
	size_t i = 0;

	if (vmbus_unlikely(size >= VMBUS_COPY_INLINE_MAX)) {
		vmbus_shared_put_long(to, p, size);
		return;
	}
	if (size & 64) {
		vmbus_copy_put16(to, p);
		vmbus_copy_put16(to + 16, p + 16);
		vmbus_copy_put16(to + 32, p + 32);
		vmbus_copy_put16(to + 48, p + 48);
		to += 64;
		p += 64;
	}
	if (!(size & 63)) /* whole lines, the commonest: one branch instead of four */
		return;
	if (size & 32) {
		vmbus_copy_put16(to, p);
		vmbus_copy_put16(to + 16, p + 16);
		to += 32;
		p += 32;
	}
	if (size & 16) {
		vmbus_copy_put16(to + i, p + i);
		i += 16;
	}
	if (size & 8) {
		vmbus_copy_put8(to + i, p + i);
		i += 8;
	}
	if (vmbus_unlikely(size & 7))
		vmbus_copy_put_tail(to + i, p + i, size & 7);
}

/** Shared to private. @p shared is 8-aligned and @p size a multiple of 8. */
VMBUS_COPY_FN void vmbus_shared_get(void *to, const void *shared, size_t size)
{
	const uint8_t *from = shared;
	uint8_t *p = to;
	size_t i = 0;

	if (vmbus_unlikely(size >= VMBUS_COPY_INLINE_MAX)) {
		vmbus_shared_get_long(p, from, size);
		return;
	}
	if (size & 64) {
		vmbus_copy_get16(p, from);
		vmbus_copy_get16(p + 16, from + 16);
		vmbus_copy_get16(p + 32, from + 32);
		vmbus_copy_get16(p + 48, from + 48);
		p += 64;
		from += 64;
	}
	if (!(size & 63)) /* whole lines, the commonest: one branch instead of four */
		return;
	if (size & 32) {
		vmbus_copy_get16(p, from);
		vmbus_copy_get16(p + 16, from + 16);
		p += 32;
		from += 32;
	}
	if (size & 16) {
		vmbus_copy_get16(p + i, from + i);
		i += 16;
	}
	if (size & 8)
		vmbus_copy_get8(p + i, from + i);
}

#endif
