/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Guest memory: ranges of sealed memfds, each mapped once, linearly, by each end; the client's page
 * allocator. A client's own memory is one range at 0.
 */
#ifndef PARTITION_MEMORY_H
#define PARTITION_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/spin.h"

#define PART_PAGE_SIZE    4096u
#define PART_PAGE_SHIFT   12u
/** Where the window for memory-mapped I/O begins; guest memory ends below it. */
#define PART_MEMORY_MAX   0xf8000000u
#define PART_MEMORY_MIN   (1u << 20)
/** No guest physical address is higher: 52 bits are what processors have. */
#define PART_GPA_MAX      (1ull << 52)
/** A view begins at a multiple of this. */
#define PART_MEMORY_ALIGN (2u << 20)

/*
 * ThreadSanitizer knows memory by its address. It sees the two ends synchronise only if both use
 * one view, and rings that are not mapped twice.
 */
#if defined(__SANITIZE_THREAD__)
#define PART_ONE_VIEW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PART_ONE_VIEW 1
#endif
#endif
#ifndef PART_ONE_VIEW
#define PART_ONE_VIEW 0
#endif

/** Ranges that a view may have. */
#define PART_MEMORY_RANGES 64u

/** Pages of a file, seen at `base`. */
struct part_memory_range {
	uint64_t gpa, size, offset;
	uint8_t *base;
	int fd;
};

/** One end's view. Ranges are added, never taken away or changed, while others look them up. */
struct part_memory {
	struct part_memory_range range[PART_MEMORY_RANGES];
	atomic_uint ranges;
	bool borrowed; /**< the mappings are the other end's (PART_ONE_VIEW) */
	atomic_uint stitches;
	uint32_t stitch_limit;
};

/** A sealed memfd of that size; negative errno. */
int part_memory_file(uint64_t size);
void part_memory_init(struct part_memory *m, uint32_t stitch_limit);
/**
 * Whether [gpa, gpa + size), which lies at `offset` of a file, can be added at all. The three
 * numbers are multiples of a page, size is not 0. -EINVAL: they are not, or something wraps;
 * -EEXIST: it overlaps another; -E2BIG: no range left.
 */
int part_memory_check(const struct part_memory *m, uint64_t gpa, uint64_t size, uint64_t offset);
/**
 * Adds such a range. The descriptor is taken over, also on failure. One caller at a time. Errors as
 * above, and -EPERM: not a memfd that can neither shrink, nor fault, nor refuse writing; it is too
 * small; or the range ends above PART_GPA_MAX. `same`: see PART_ONE_VIEW.
 */
int part_memory_add(struct part_memory *m, int fd, uint64_t gpa, uint64_t size, uint64_t offset,
		    const struct part_memory *same);
void part_memory_close(struct part_memory *m);

/** The range that [gpa, gpa + bytes) lies in; NULL: in none, or not in one. */
static inline const struct part_memory_range *memory_range(const struct part_memory *m,
							   uint64_t gpa, uint64_t bytes)
{
	unsigned int count = atomic_load_explicit(&m->ranges, memory_order_acquire);

	for (unsigned int i = 0; i < count; i++) {
		const struct part_memory_range *r = &m->range[i];

		if (gpa - r->gpa < r->size)
			return bytes <= r->size - (gpa - r->gpa) ? r : NULL;
	}
	return NULL;
}

static inline void *memory_at(const struct part_memory *m, uint64_t gpa, uint64_t bytes)
{
	const struct part_memory_range *r = memory_range(m, gpa, bytes);

	return r ? r->base + (gpa - r->gpa) : NULL;
}

/** The inverse. */
bool memory_gpa(const struct part_memory *m, const void *va, uint64_t *gpa);
/** Every page number is inside memory. */
bool memory_has_pages(const struct part_memory *m, const uint64_t *pfns, size_t count);
/** Runs that lie together in the view: 1 means that the pages are seen as one. */
size_t memory_runs(const struct part_memory *m, const uint64_t *pfns, size_t count);
/** Maps the pages `copies` times in a row at addresses of their own. NULL: no stitch left. */
void *memory_stitch(struct part_memory *m, const uint64_t *pfns, size_t count, unsigned int copies);
void memory_unstitch(struct part_memory *m, void *va, size_t bytes, size_t stitches);

/** Page allocator: first fit over a bitmap in private memory, from where the last search ended. */
struct page_pool {
	pthread_mutex_t lock;
	uint64_t *used; /* bit a page */
	uint64_t pages, free, next;
};

int page_pool_init(struct page_pool *p, uint64_t pages);
void page_pool_destroy(struct page_pool *p);
/** First page of a run, 0: none. `align` in pages, a power of two. */
uint64_t page_pool_alloc(struct page_pool *p, uint64_t pages, uint64_t align);
/** False, and nothing happens: the pages are not all in use. */
bool page_pool_free(struct page_pool *p, uint64_t page, uint64_t pages);

/** Blocks smaller than a page, by size classes; all of its bookkeeping is in private memory. */
struct block_pool;
struct block_pool *block_pool_create(struct page_pool *pages, uint8_t *base);
void block_pool_destroy(struct block_pool *b);
void *block_pool_alloc(struct block_pool *b, size_t bytes, size_t align);
/** False: not a block of this pool. */
bool block_pool_free(struct block_pool *b, void *p);

#endif
