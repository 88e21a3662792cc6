/* SPDX-License-Identifier: MIT */
/* The pool: owners, tags, guards, leaks, guest memory, lookaside lists. */
#include "nt_test.h"

#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

#if UNDER_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* 'tseT' in a driver's source: "Test" in memory */
#define TAG_TEST 0x74736554u
#define TAG_ELSE 0x65736c45u

static bool all_bytes(const void *p, size_t n, unsigned char value)
{
	for (size_t i = 0; i < n; i++) {
		if (((const unsigned char *)p)[i] != value)
			return false;
	}
	return true;
}

static void usage(struct nt_driver *driver, size_t blocks, size_t bytes)
{
	size_t b, n;

	nt_pool_usage(driver, &b, &n);
	assert_int_equal(b, blocks);
	assert_int_equal(n, bytes);
}

static void blocks_are_counted_for_their_driver(void **state)
{
	struct nt_driver *a = load_empty("a", NULL), *b = load_empty("b", NULL), *previous;
	void *p, *q;

	previous = nt_driver_enter(a);
	p = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG_TEST);
	nt_driver_enter(b);
	q = ExAllocatePool2(POOL_FLAG_NON_PAGED, 50, TAG_TEST);
	assert_non_null(p);
	assert_non_null(q);
	usage(a, 1, 100);
	usage(b, 1, 50);
	ExFreePoolWithTag(p, TAG_TEST); /* counted for its owner, whoever frees it */
	usage(a, 0, 0);
	usage(b, 1, 50);
	ExFreePool(q);
	usage(b, 0, 0);
	nt_driver_leave(previous);
	assert_int_equal(nt_driver_unload(a), 0);
	assert_int_equal(nt_driver_unload(b), 0);
}

static void zeroed_when_asked(void **state)
{
	for (int i = 0; i < 50; i++) {
		void *p = ExAllocatePoolWithTag(NonPagedPoolNx, 200, TAG_TEST);

		memset(p, 0x5a, 200);
		ExFreePool(p);
		p = i % 2 ? ExAllocatePoolZero(NonPagedPoolNx, 200, TAG_TEST)
			  : ExAllocatePool2(POOL_FLAG_NON_PAGED, 200, TAG_TEST);
		assert_true(all_bytes(p, 200, 0));
		ExFreePool(p);
	}
}

static void alignment(void **state)
{
	static const size_t sizes[] = {1, 15, 16, 17, 100, 4095, 4096, 4097, 65536};

	for (size_t i = 0; i < ARRAYSIZE(sizes); i++) {
		void *p = ExAllocatePoolWithTag(NonPagedPoolNx, sizes[i], TAG_TEST);

		assert_int_equal((uintptr_t)p % (sizes[i] >= PAGE_SIZE ? PAGE_SIZE : 16), 0);
		memset(p, 1, sizes[i]);
		ExFreePoolWithTag(p, TAG_TEST);
	}
}

static void impossible_sizes_fail(void **state)
{
	assert_null(ExAllocatePoolWithTag(NonPagedPoolNx, SIZE_MAX, TAG_TEST));
	assert_null(ExAllocatePoolWithTag(NonPagedPoolNx, SIZE_MAX - PAGE_SIZE + 1, TAG_TEST));
	usage(NULL, 0, 0);
}

static void no_bytes_is_a_block_too(void **state)
{
	void *p = ExAllocatePoolWithTag(NonPagedPoolNx, 0, TAG_TEST);

	assert_non_null(p);
	ExFreePoolWithTag(p, TAG_TEST);
}

static void wrong_tag_is_a_violation(void **state)
{
	void *p = ExAllocatePoolWithTag(NonPagedPoolNx, 10, TAG_TEST);

	ExFreePoolWithTag(p, TAG_ELSE);
	EXPECT_VIOLATION("pool-tag", "'Else' of a block with tag 'Test'");
	usage(NULL, 0, 0);
	p = ExAllocatePoolWithTag(NonPagedPoolNx, 10, TAG_TEST);
	ExFreePoolWithTag(p, 0);
}

static void double_free_is_a_violation(void **state)
{
	void *p = ExAllocatePoolWithTag(NonPagedPoolNx, 10, TAG_TEST);

	ExFreePool(p);
	ExFreePool(p);
	EXPECT_VIOLATION("pool-free", "not a live pool block");
	ExFreePoolWithTag(NULL, TAG_TEST);
	EXPECT_VIOLATION("pool-free", "not a live pool block");
	usage(NULL, 0, 0);
}

static void foreign_pointer_is_a_violation(void **state)
{
	char *p = ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG_TEST);
	int local;

	ExFreePool(&local);
	EXPECT_VIOLATION("pool-free", "not a live pool block");
	ExFreePool(p + 16);
	EXPECT_VIOLATION("pool-free", "not a live pool block");
	ExFreePool(p);
}

static void violation_names_the_driver(void **state)
{
	struct nt_driver *driver = load_empty("culprit", NULL);
	struct nt_driver *previous = nt_driver_enter(driver);

	ExFreePool(&driver);
	nt_driver_leave(previous);
	EXPECT_VIOLATION("pool-free", "ExFreePool");
	assert_string_equal(violations.driver, "culprit");
	nt_driver_unload(driver);
}

/* Under AddressSanitizer the write itself is reported: there the heap's blocks have no guard, and
 * the guard of guest memory must be unpoisoned to be spoilt. */
static void overrun(char *p, size_t at)
{
#if UNDER_ASAN
	assert_true(__asan_address_is_poisoned(p + at));
	ASAN_UNPOISON_MEMORY_REGION(p + at, 1);
#endif
	*(volatile char *)(p + at) = 'x';
}

static void heap_overrun_is_found_when_freed(void **state)
{
	if (UNDER_ASAN)
		skip();
	for (size_t past = 0; past < 16; past += 5) {
		char *p = ExAllocatePoolWithTag(NonPagedPoolNx, 33, TAG_TEST);

		overrun(p, 33 + past);
		ExFreePool(p);
		EXPECT_VIOLATION("pool-overrun", "33 bytes with tag 'Test'");
	}
}

static void guest_overrun_is_found_when_freed(void **state)
{
	struct fake_memory memory;
	struct nt_driver *driver, *previous;
	char *p;

	fake_memory_init(&memory);
	driver = load_empty("guest", &memory.ops);
	previous = nt_driver_enter(driver);
	p = ExAllocatePoolWithTag(NonPagedPoolNx, 40, TAG_TEST);
	overrun(p, 42);
	ExFreePool(p);
	nt_driver_leave(previous);
	EXPECT_VIOLATION("pool-overrun", "3 bytes past");
	nt_driver_unload(driver);
	fake_memory_end(&memory);
}

static void guest_driver_allocates_from_its_memory(void **state)
{
	struct fake_memory memory;
	struct nt_driver *driver, *previous;
	uint64_t pfn;
	char *p, *q;

	fake_memory_init(&memory);
	driver = load_empty("guest", &memory.ops);
	previous = nt_driver_enter(driver);
	p = ExAllocatePoolZero(NonPagedPoolNx, 100, TAG_TEST);
	q = ExAllocatePoolZero(NonPagedPoolNx, 8192, TAG_TEST);
	assert_true(fake_pfn_of(&memory, p, &pfn));
	assert_true(fake_pfn_of(&memory, q, &pfn));
	assert_int_equal((uintptr_t)q % PAGE_SIZE, 0);
	assert_true(all_bytes(q, 8192, 0));
	assert_int_equal(memory.allocated, 2);
	/* a memory that is full gives NULL, and nothing is counted */
	assert_null(ExAllocatePoolWithTag(NonPagedPoolNx, FAKE_PAGES * PAGE_SIZE, TAG_TEST));
	usage(driver, 2, 8292);
	ExFreePool(p);
	ExFreePool(q);
	nt_driver_leave(previous);
	nt_driver_unload(driver);
	assert_int_equal(memory.freed, 2);
	fake_memory_end(&memory);
}

static void memory_that_only_maps_leaves_the_heap(void **state)
{
	struct fake_memory memory;
	struct nt_driver *driver, *previous;
	uint64_t pfn;
	void *p;

	fake_memory_init(&memory);
	memory.ops.alloc = NULL;
	memory.ops.free = NULL;
	driver = load_empty("server", &memory.ops);
	previous = nt_driver_enter(driver);
	p = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG_TEST);
	assert_non_null(p);
	assert_false(fake_pfn_of(&memory, p, &pfn));
	ExFreePool(p);
	nt_driver_leave(previous);
	nt_driver_unload(driver);
	fake_memory_end(&memory);
}

static void freed_guest_blocks_are_kept_back_and_spoilt(void **state)
{
	struct fake_memory memory, other;
	struct nt_driver *driver, *previous;
	char *p;

	fake_memory_init(&memory);
	fake_memory_init(&other);
	driver = load_empty("guest", &memory.ops);
	previous = nt_driver_enter(driver);
	p = ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG_TEST);
	memset(p, 0x11, 64);
	ExFreePool(p);
	assert_int_equal(memory.freed, 0);
#if UNDER_ASAN
	assert_true(__asan_address_is_poisoned(p));
	ASAN_UNPOISON_MEMORY_REGION(p, 64);
#endif
	assert_true(all_bytes(p, 64, 0xdd));
	nt_pool_forget_memory(&other.ops); /* not its */
	assert_int_equal(memory.freed, 0);
	nt_pool_forget_memory(&memory.ops);
	assert_int_equal(memory.freed, 1);
	nt_pool_forget_memory(&memory.ops);
	assert_int_equal(memory.freed, 1);
	nt_driver_leave(previous);
	nt_driver_unload(driver);
	fake_memory_end(&memory);
	fake_memory_end(&other);
}

static void quarantine_is_bounded(void **state)
{
	struct fake_memory memory;
	struct nt_driver *driver, *previous;

	fake_memory_init(&memory);
	driver = load_empty("guest", &memory.ops);
	previous = nt_driver_enter(driver);
	for (int i = 0; i < 1000; i++)
		ExFreePool(ExAllocatePoolWithTag(NonPagedPoolNx, 32, TAG_TEST));
	assert_in_range(1000 - memory.freed, 1, 64);
	/* large blocks go back at once */
	memory.freed = 0;
	ExFreePool(ExAllocatePoolWithTag(NonPagedPoolNx, 100000, TAG_TEST));
	assert_int_equal(memory.freed, 1);
	nt_driver_leave(previous);
	nt_driver_unload(driver);
	assert_int_equal(memory.allocated, 1001);
	fake_memory_end(&memory);
}

/* ---- leaks ---- */

struct lines {
	atomic_int leaks;
	char last[512];
};

static void keep_line(void *ctx, enum kmcl_log_level level, const char *subsystem,
		      uint32_t partition, uint32_t channel, const char *text)
{
	struct lines *lines = ctx;

	if (level != KMCL_LOG_ERROR || !strstr(text, "leaked"))
		return;
	atomic_fetch_add(&lines->leaks, 1);
	snprintf(lines->last, sizeof(lines->last), "%s", text);
}

static void leaks_are_reported_by_driver_and_tag(void **state)
{
	struct nt_driver *a = load_empty("leaky", NULL), *b = load_empty("tidy", NULL);
	struct nt_driver *previous = nt_driver_enter(a);
	struct lines lines = {.leaks = 0};
	void *kept, *freed;

	for (int i = 0; i < 3; i++)
		assert_non_null(ExAllocatePoolWithTag(NonPagedPoolNx, 77, TAG_TEST));
	freed = ExAllocatePoolWithTag(NonPagedPoolNx, 77, TAG_TEST);
	ExFreePool(freed);
	nt_driver_enter(b);
	kept = ExAllocatePoolWithTag(NonPagedPoolNx, 10, TAG_TEST);
	nt_driver_leave(previous);
	kmcl_log_set(keep_line, &lines);
	atomic_store(&nt_verifying, true);
	assert_int_equal(nt_driver_unload(a), 3);
	EXPECT_VIOLATION("pool-leak", "3 pool blocks");
	assert_string_equal(violations.driver, "leaky");
	atomic_store(&nt_verifying, false);
	assert_int_equal(atomic_load(&lines.leaks), 3);
	assert_non_null(strstr(lines.last, "leaky: leaked 77 bytes, tag 'Test'"));
	usage(b, 1, 10);
	ExFreePool(kept);
	assert_int_equal(nt_driver_unload(b), 0);
	assert_int_equal(atomic_load(&lines.leaks), 3);
	kmcl_log_set(NULL, NULL);
}

/* ---- threads ---- */

static void *allocate_and_free(void *arg)
{
	struct nt_driver *previous = nt_driver_enter(arg);
	unsigned char *held[16] = {NULL};
	uintptr_t wrong = 0;

	for (unsigned int i = 0; i < 4000; i++) {
		unsigned int slot = i * 7 % 16;

		if (held[slot]) {
			wrong += held[slot][0] != slot;
			ExFreePoolWithTag(held[slot], TAG_TEST);
		}
		held[slot] = ExAllocatePoolWithTag(NonPagedPoolNx, 1 + i % 300, TAG_TEST);
		held[slot][0] = (unsigned char)slot;
	}
	for (unsigned int i = 0; i < 16; i++) {
		if (held[i])
			ExFreePoolWithTag(held[i], TAG_TEST);
	}
	nt_driver_leave(previous);
	return (void *)wrong;
}

static void many_threads(void **state)
{
	struct nt_driver *driver = load_empty("busy", NULL);
	pthread_t t[4];
	void *wrong;

	for (int i = 0; i < 4; i++)
		start_thread(&t[i], allocate_and_free, driver);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &wrong);
		assert_null(wrong);
	}
	usage(driver, 0, 0);
	assert_int_equal(nt_driver_unload(driver), 0);
}

/* ---- lookaside lists ---- */

static void lookaside_keeps_as_many_as_its_depth(void **state)
{
	struct nt_driver *driver = load_empty("lookaside", NULL);
	struct nt_driver *previous = nt_driver_enter(driver);
	NPAGED_LOOKASIDE_LIST list;
	void *p[4], *again;

	ExInitializeNPagedLookasideList(&list, NULL, NULL, 0, 48, TAG_TEST, 2);
	for (int i = 0; i < 4; i++) {
		p[i] = ExAllocateFromNPagedLookasideList(&list);
		assert_non_null(p[i]);
		memset(p[i], i, 48);
	}
	usage(driver, 4, 4 * 48);
	for (int i = 0; i < 4; i++)
		ExFreeToNPagedLookasideList(&list, p[i]);
	usage(driver, 2, 2 * 48);
	again = ExAllocateFromNPagedLookasideList(&list);
	assert_ptr_equal(again, p[1]); /* the last that was kept */
	usage(driver, 2, 2 * 48);
	ExFreeToNPagedLookasideList(&list, again);
	ExDeleteNPagedLookasideList(&list);
	usage(driver, 0, 0);
	nt_driver_leave(previous);
	assert_int_equal(nt_driver_unload(driver), 0);
}

static PVOID own_allocate(POOL_TYPE type, SIZE_T bytes, ULONG tag)
{
	return NULL;
}

static void lookaside_with_own_functions_is_a_violation(void **state)
{
	NPAGED_LOOKASIDE_LIST list;

	ExInitializeNPagedLookasideList(&list, own_allocate, NULL, 0, 48, TAG_TEST, 2);
	EXPECT_VIOLATION("lookaside", "not supported");
	ExDeleteNPagedLookasideList(&list);
}

/* What is kept lies in memory that a peer can write: nothing in it may be believed. */
static void lookaside_believes_nothing_in_its_blocks(void **state)
{
	struct fake_memory memory;
	struct nt_driver *driver, *previous;
	NPAGED_LOOKASIDE_LIST list;
	unsigned char *a, *b;

	fake_memory_init(&memory);
	driver = load_empty("lookaside", &memory.ops);
	previous = nt_driver_enter(driver);
	ExInitializeNPagedLookasideList(&list, NULL, NULL, 0, 32, TAG_TEST, 0);
	a = ExAllocateFromNPagedLookasideList(&list);
	b = ExAllocateFromNPagedLookasideList(&list);
	ExFreeToNPagedLookasideList(&list, a);
	ExFreeToNPagedLookasideList(&list, b);
	assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
	memset(b, 0x41, 32); /* the peer */
	assert_ptr_equal(ExAllocateFromNPagedLookasideList(&list), b);
	assert_ptr_equal(ExAllocateFromNPagedLookasideList(&list), a);
	ExFreeToNPagedLookasideList(&list, a);
	ExFreeToNPagedLookasideList(&list, b);
	ExDeleteNPagedLookasideList(&list);
	usage(driver, 0, 0);
	nt_driver_leave(previous);
	assert_int_equal(nt_driver_unload(driver), 0);
	fake_memory_end(&memory);
}

static void lookaside_block_may_be_smaller_than_a_pointer(void **state)
{
	NPAGED_LOOKASIDE_LIST list;
	PVOID p;

	ExInitializeNPagedLookasideList(&list, NULL, NULL, 0, 3, TAG_TEST, 0);
	p = ExAllocateFromNPagedLookasideList(&list);
	usage(NULL, 1, 3);
	ExFreeToNPagedLookasideList(&list, p);
	ExDeleteNPagedLookasideList(&list);
	usage(NULL, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORDED(blocks_are_counted_for_their_driver),
		RECORDED(zeroed_when_asked),
		RECORDED(alignment),
		RECORDED(impossible_sizes_fail),
		RECORDED(no_bytes_is_a_block_too),
		RECORDED(wrong_tag_is_a_violation),
		RECORDED(double_free_is_a_violation),
		RECORDED(foreign_pointer_is_a_violation),
		RECORDED(violation_names_the_driver),
		RECORDED(heap_overrun_is_found_when_freed),
		RECORDED(guest_overrun_is_found_when_freed),
		RECORDED(guest_driver_allocates_from_its_memory),
		RECORDED(memory_that_only_maps_leaves_the_heap),
		RECORDED(freed_guest_blocks_are_kept_back_and_spoilt),
		RECORDED(quarantine_is_bounded),
		RECORDED(leaks_are_reported_by_driver_and_tag),
		RECORDED(many_threads),
		RECORDED(lookaside_keeps_as_many_as_its_depth),
		RECORDED(lookaside_with_own_functions_is_a_violation),
		RECORDED(lookaside_believes_nothing_in_its_blocks),
		RECORDED(lookaside_block_may_be_smaller_than_a_pointer),
	};

	return cmocka_run_group_tests_name("nt-pool", tests, NULL, end_threads);
}
