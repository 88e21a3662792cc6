/* SPDX-License-Identifier: MIT */
/** @file What the tests of the NT layer share: recorded contract violations, bounded waits, fake
 * memory. */
#ifndef NT_TEST_H
#define NT_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "nt/nt.h"

/** Longer than anything may take, sanitizers and a busy machine included. */
#define TEST_DEADLINE_NS 60000000000ull

#define MS(n) ((LONGLONG)(n)*10000)

static inline LARGE_INTEGER relative_ms(LONGLONG ms)
{
	LARGE_INTEGER t = {.QuadPart = -MS(ms)};

	return t;
}

static inline void pause_us(long us)
{
	struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	nanosleep(&t, NULL);
}

/** Waits until the expression holds; fails the test if it does not in time. */
#define WAIT_UNTIL(condition)                                      \
	do {                                                       \
		uint64_t end_ = clock_now_ns() + TEST_DEADLINE_NS; \
		while (!(condition)) {                             \
			assert_true(clock_now_ns() < end_);        \
			pause_us(100);                             \
		}                                                  \
	} while (0)

/** Waits for a dispatcher object, but not for ever. */
static inline NTSTATUS wait_for(void *object)
{
	LARGE_INTEGER limit = relative_ms(60000);

	return KeWaitForSingleObject(object, Executive, KernelMode, FALSE, &limit);
}

static inline void start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	assert_int_equal(pthread_create(thread, NULL, run, arg), 0);
}

/* ---- contract violations: counted, with the last rule and text ---- */
struct violations {
	atomic_int count;
	char rule[64], driver[64], text[512];
};
static struct violations violations __attribute__((unused));

static inline void record_violation(void *ctx, const char *rule, const char *driver,
				    const char *text)
{
	struct violations *v = ctx;

	snprintf(v->rule, sizeof(v->rule), "%s", rule);
	snprintf(v->driver, sizeof(v->driver), "%s", driver);
	snprintf(v->text, sizeof(v->text), "%s", text);
	atomic_fetch_add(&v->count, 1);
}

static inline int record_violations(void **state)
{
	memset(&violations, 0, sizeof(violations));
	nt_violation_set(record_violation, &violations);
	return 0;
}

/** Nothing may remain that a test did not expect. */
static inline int no_violations_left(void **state)
{
	nt_violation_set(NULL, NULL);
	if (!atomic_load(&violations.count))
		return 0;
	print_error("unexpected violation %s: %s\n", violations.rule, violations.text);
	return -1;
}

/** The one violation since the last call; its text names `word`. */
#define EXPECT_VIOLATION(name, word)                                        \
	do {                                                                \
		assert_int_equal(atomic_exchange(&violations.count, 0), 1); \
		assert_string_equal(violations.rule, name);                 \
		assert_non_null(strstr(violations.text, word));             \
	} while (0)

static inline int end_threads(void **state)
{
	nt_shutdown();
	return 0;
}

#define RECORDED(f) cmocka_unit_test_setup_teardown(f, record_violations, no_violations_left)

/* ---- memory with page numbers, as a partition has it ---- */
#define FAKE_PAGES     256u
#define FAKE_FIRST_PFN 0x1000u

struct fake_memory {
	struct nt_memory ops;
	unsigned char *base;
	size_t used; /* a bump allocator: what was freed is not used again */
	unsigned int allocated, freed, mapped, unmapped;
	void *cookie_seen;
};

static inline void *fake_alloc(void *ctx, size_t bytes, size_t align)
{
	struct fake_memory *m = ctx;
	size_t at = (m->used + align - 1) & ~(align - 1);

	if (at + bytes > FAKE_PAGES * PAGE_SIZE)
		return NULL;
	m->used = at + bytes;
	m->allocated++;
	return m->base + at;
}

static inline void fake_free(void *ctx, void *p)
{
	((struct fake_memory *)ctx)->freed++;
}

static inline bool fake_pfn_of(void *ctx, const void *va, uint64_t *pfn)
{
	struct fake_memory *m = ctx;
	size_t at = (size_t)((const unsigned char *)va - m->base);

	if ((const unsigned char *)va < m->base || at >= FAKE_PAGES * PAGE_SIZE)
		return false;
	*pfn = FAKE_FIRST_PFN + at / PAGE_SIZE;
	return true;
}

/* Runs of consecutive pages only; the cookie, odd on purpose, must come back. */
static inline void *fake_map(void *ctx, const uint64_t *pfns, size_t count, void **cookie)
{
	struct fake_memory *m = ctx;

	for (size_t i = 0; i < count; i++) {
		if (pfns[i] != pfns[0] + i || pfns[i] < FAKE_FIRST_PFN ||
		    pfns[i] >= FAKE_FIRST_PFN + FAKE_PAGES)
			return NULL;
	}
	m->mapped++;
	*cookie = (void *)(uintptr_t)0x123;
	return m->base + (pfns[0] - FAKE_FIRST_PFN) * PAGE_SIZE;
}

static inline void fake_unmap(void *ctx, void *va, size_t count, void *cookie)
{
	struct fake_memory *m = ctx;

	m->unmapped++;
	m->cookie_seen = cookie;
}

static inline void fake_memory_init(struct fake_memory *m)
{
	*m = (struct fake_memory){
		.ops = {.ctx = m,
			.alloc = fake_alloc,
			.free = fake_free,
			.pfn_of = fake_pfn_of,
			.map = fake_map,
			.unmap = fake_unmap},
	};
	m->base = aligned_alloc(PAGE_SIZE, FAKE_PAGES * PAGE_SIZE);
	assert_non_null(m->base);
}

static inline void fake_memory_end(struct fake_memory *m)
{
	free(m->base);
}

/* ---- a driver without a shared object ---- */
static inline NTSTATUS empty_entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	return STATUS_SUCCESS;
}

static inline struct nt_driver *load_empty(const char *name, const struct nt_memory *memory)
{
	const struct nt_driver_config config = {
		.name = name, .entry = empty_entry, .memory = memory};
	struct nt_driver *driver;
	char *error = NULL;

	assert_int_equal(nt_driver_load(&config, &driver, &error), STATUS_SUCCESS);
	assert_null(error);
	return driver;
}

#endif
