/* SPDX-License-Identifier: MIT */
/* The long forms. See shared_copy.h for why they are not memcpy. */
#include "vmbus/shared_copy.h"

#if VMBUS_TSAN

static VMBUS_NO_TSAN void copy_words(uint8_t *to, const uint8_t *from, size_t size)
{
	if ((((uintptr_t)to | (uintptr_t)from) & 7) == 0)
		for (; size >= 8; size -= 8, to += 8, from += 8) {
			uint64_t word =
				__atomic_load_n((const vmbus_u64_shared *)from, __ATOMIC_RELAXED);

			__atomic_store_n((vmbus_u64_shared *)to, word, __ATOMIC_RELAXED);
		}
	for (; size; size--)
		__atomic_store_n(to++, __atomic_load_n(from++, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

#else

/* 64 bytes a step; the compiler may not merge, repeat or drop a volatile access. */
static inline void copy_block(uint8_t *to, const uint8_t *from)
{
	vmbus_u128_any a = *(const volatile vmbus_u128_any *)from;
	vmbus_u128_any b = *(const volatile vmbus_u128_any *)(from + 16);
	vmbus_u128_any c = *(const volatile vmbus_u128_any *)(from + 32);
	vmbus_u128_any d = *(const volatile vmbus_u128_any *)(from + 48);

	*(volatile vmbus_u128_any *)to = a;
	*(volatile vmbus_u128_any *)(to + 16) = b;
	*(volatile vmbus_u128_any *)(to + 32) = c;
	*(volatile vmbus_u128_any *)(to + 48) = d;
}

/* AddressSanitizer does not see into assembly. */
#if defined(__x86_64__) && !VMBUS_ASAN
/* One string instruction reads and writes each byte once, at the speed of the caches. */
static inline void copy_words(uint8_t *to, const uint8_t *from, size_t size)
{
	if (size >= 1024) {
		__asm__ __volatile__("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
		return;
	}
	for (; size >= 64; size -= 64, to += 64, from += 64)
		copy_block(to, from);
	for (; size >= 8; size -= 8, to += 8, from += 8)
		*(volatile vmbus_u64_any *)to = *(const volatile vmbus_u64_any *)from;
	for (; size; size--)
		*(volatile uint8_t *)to++ = *(const volatile uint8_t *)from++;
}
#else
static inline void copy_words(uint8_t *to, const uint8_t *from, size_t size)
{
	for (; size >= 64; size -= 64, to += 64, from += 64)
		copy_block(to, from);
	for (; size >= 8; size -= 8, to += 8, from += 8)
		*(volatile vmbus_u64_any *)to = *(const volatile vmbus_u64_any *)from;
	for (; size; size--)
		*(volatile uint8_t *)to++ = *(const volatile uint8_t *)from++;
}
#endif

#endif

VMBUS_NO_TSAN void vmbus_shared_copy(void *dst, const void *src, size_t size)
{
	copy_words(dst, src, size);
}

VMBUS_NO_TSAN void vmbus_shared_put_long(void *shared, const void *from, size_t size)
{
	size_t whole = size & ~(size_t)7;

	copy_words(shared, from, whole);
	if (size % 8)
		vmbus_copy_put_tail((uint8_t *)shared + whole, (const uint8_t *)from + whole,
				    size % 8);
}

VMBUS_NO_TSAN void vmbus_shared_get_long(void *to, const void *shared, size_t size)
{
	copy_words(to, shared, size);
}
