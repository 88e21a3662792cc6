/* SPDX-License-Identifier: MIT */
/*
 * What a driver's instrumentation calls. The dynamic linker binds the driver to these functions
 * because the command exports them. Three kinds of counters are understood, so that either compiler
 * does: clang's trace-pc-guard and inline-8bit-counters, gcc's trace-pc; and trace-cmp of both.
 *
 * Counters are those of the objects loaded while fuzz_coverage_accept() is on: in a build of the
 * whole tree with coverage, the library's own are none of the driver's. Counts may be lost between
 * threads, which costs less than an atomic addition at each edge would.
 */
#include <string.h>

#include "fuzz.h"

#if defined(__clang__)
#define UNSEEN __attribute__((no_sanitize("coverage", "address", "thread", "undefined")))
#else
#define UNSEEN __attribute__((no_sanitize("address", "thread", "undefined")))
#endif
#define HOOK  __attribute__((visibility("default"))) UNSEEN
#define AREAS 16u
#define SITE  ((uintptr_t)__builtin_return_address(0))

static struct fuzz_shared *shared; /* NULL: nobody counts */
static bool accepting;
static uint32_t guards;
static struct {
	uint8_t *start, *stop;
} area[AREAS];
static uint32_t areas;

void __sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop);
void __sanitizer_cov_trace_pc_guard(uint32_t *guard);
void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop);
void __sanitizer_cov_pcs_init(const uintptr_t *start, const uintptr_t *stop);
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc_indir(uintptr_t callee);
void __sanitizer_cov_trace_switch(unsigned long value, void *list);
void __sanitizer_cov_trace_cmpf(float a, float b);
void __sanitizer_cov_trace_cmpd(double a, double b);
void __sanitizer_cov_trace_div4(uint32_t value);
void __sanitizer_cov_trace_div8(uint64_t value);
void __sanitizer_cov_trace_gep(uintptr_t index);

/* ---- counters ---- */

UNSEEN static void count(uint32_t edge)
{
	uint8_t *at = &shared->map[edge % FUZZ_EDGES];
	uint8_t value = __atomic_load_n(at, __ATOMIC_RELAXED);

	if (value != UINT8_MAX)
		__atomic_store_n(at, (uint8_t)(value + 1), __ATOMIC_RELAXED);
}

HOOK void __sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop)
{
	if (!accepting || start == stop || *start)
		return;
	for (uint32_t *guard = start; guard < stop; guard++)
		*guard = ++guards;
	shared->edges = guards;
}

HOOK void __sanitizer_cov_trace_pc_guard(uint32_t *guard)
{
	if (*guard && shared)
		count(*guard);
}

HOOK void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop)
{
	if (!accepting || areas == AREAS || start == stop)
		return;
	area[areas].start = start;
	area[areas++].stop = stop;
	shared->edges += (uint64_t)(stop - start);
}

HOOK void __sanitizer_cov_pcs_init(const uintptr_t *start, const uintptr_t *stop)
{
}

HOOK void __sanitizer_cov_trace_pc(void)
{
	uint64_t pc = (uintptr_t)__builtin_return_address(0);

	/* An object of gcc's does not say how many edges it has; that it has some is enough. */
	if (!shared || pc < shared->driver_at || pc >= shared->driver_end)
		return;
	pc -= shared->driver_at;
	count((uint32_t)(pc * 0x9e3779b97f4a7c15u >> 48));
	if (!shared->edges)
		shared->edges = 1;
}

HOOK void __sanitizer_cov_trace_pc_indir(uintptr_t callee)
{
}

void fuzz_coverage_accept(struct fuzz_shared *to, bool accept)
{
	shared = to;
	accepting = accept;
}

void fuzz_coverage_begin(void)
{
	memset(shared->map, 0, sizeof(shared->map));
	memset(shared->compare, 0, sizeof(shared->compare));
	for (uint32_t i = 0; i < areas; i++)
		memset(area[i].start, 0, (size_t)(area[i].stop - area[i].start));
}

void fuzz_coverage_end(void)
{
	uint32_t at = guards + 1;

	for (uint32_t i = 0; i < areas; i++)
		for (uint8_t *c = area[i].start; c < area[i].stop && at < FUZZ_EDGES; c++)
			shared->map[at++] = *c;
}

/* ---- comparisons: what the driver wanted to see is tried in the place of what it saw ---- */

/* Each place in the driver has four entries, so that one in a loop does not take those of others.
 */
UNSEEN static void compared(uint64_t site, uint64_t a, uint64_t b, uint32_t size, bool constant)
{
	struct fuzz_compare *c;
	uint64_t slot = (site * 0x9e3779b97f4a7c15u >> 40) * 4 + ((a ^ b) & 3);

	if (!shared || a == b || site < shared->driver_at || site >= shared->driver_end)
		return;
	c = &shared->compare[slot % FUZZ_COMPARES];
	__atomic_store_n(&c->a, a, __ATOMIC_RELAXED);
	__atomic_store_n(&c->b, b, __ATOMIC_RELAXED);
	__atomic_store_n(&c->size, size, __ATOMIC_RELAXED);
	__atomic_store_n(&c->site, (uint32_t)(site - shared->driver_at), __ATOMIC_RELAXED);
	__atomic_store_n(&c->constant, constant, __ATOMIC_RELAXED);
}

/* Of a constant and something else the constant is a. */
#define COMPARES(size, type)                                            \
	void __sanitizer_cov_trace_cmp##size(type a, type b);           \
	void __sanitizer_cov_trace_const_cmp##size(type a, type b);     \
	HOOK void __sanitizer_cov_trace_cmp##size(type a, type b)       \
	{                                                               \
		compared(SITE, a, b, size, false);                      \
	}                                                               \
	HOOK void __sanitizer_cov_trace_const_cmp##size(type a, type b) \
	{                                                               \
		compared(SITE, a, b, size, true);                       \
	}

COMPARES(1, uint8_t)
COMPARES(2, uint16_t)
COMPARES(4, uint32_t)
COMPARES(8, uint64_t)

HOOK void __sanitizer_cov_trace_switch(unsigned long value, void *list)
{
	const uint64_t *cases = list;

	/* their number, the bits of each, and they themselves */
	for (uint64_t i = 0; i < cases[0] && i < 64; i++)
		compared(SITE, cases[2 + i], value, (uint32_t)cases[1] / 8, true);
}

HOOK void __sanitizer_cov_trace_cmpf(float a, float b)
{
}

HOOK void __sanitizer_cov_trace_cmpd(double a, double b)
{
}

HOOK void __sanitizer_cov_trace_div4(uint32_t value)
{
}

HOOK void __sanitizer_cov_trace_div8(uint64_t value)
{
}

HOOK void __sanitizer_cov_trace_gep(uintptr_t index)
{
}
