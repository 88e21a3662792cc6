/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Guest memory: one sealed memfd, mapped once, linearly, by each end; the client's page allocator.
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

/** One end's view. */
struct part_memory {
	int fd;
	uint8_t *base;
	uint64_t size;
	bool borrowed; /**< the mapping is the other end's (PART_ONE_VIEW) */
	atomic_uint stitches;
	uint32_t stitch_limit;
};

/** A sealed memfd of that size; negative errno. */
int part_memory_file(uint64_t size);
/** Maps `fd`, which it takes over, if it is sealed and large enough. `same`: see PART_ONE_VIEW. */
int part_memory_open(struct part_memory *m, int fd, uint64_t size, uint32_t stitch_limit,
		     const struct part_memory *same);
void part_memory_close(struct part_memory *m);

static inline void *memory_at(const struct part_memory *m, uint64_t gpa, uint64_t bytes)
{
	return gpa < m->size && bytes <= m->size - gpa ? m->base + gpa : NULL;
}

/** Every page number is inside memory. */
bool memory_has_pages(const struct part_memory *m, const uint64_t *pfns, size_t count);
/** Lengths of runs: 1 means contiguous. */
size_t memory_runs(const uint64_t *pfns, size_t count);
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
