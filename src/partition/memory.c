/* SPDX-License-Identifier: MIT */
#include "partition/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#define SEALS_AGAINST_WRITING (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

int part_memory_file(uint64_t size)
{
	int fd = memfd_create("openkmcl-guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, (off_t)size) && !fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL))
		return fd;
	error = -errno;
	close(fd);
	return error;
}

/*
 * Memory that its maker could shrink would kill whoever touches it. A file of huge pages can fault
 * although it is sealed, and one that is sealed against writing cannot be mapped for it.
 */
static bool file_is_safe(int fd, uint64_t size)
{
	int seals = fcntl(fd, F_GET_SEALS), access = fcntl(fd, F_GETFL) & O_ACCMODE;
	struct statfs fs;
	struct stat st;

	return access == O_RDWR && seals >= 0 && (seals & F_SEAL_SHRINK) &&
	       !(seals & SEALS_AGAINST_WRITING) && !fstatfs(fd, &fs) && fs.f_type == TMPFS_MAGIC &&
	       !fstat(fd, &st) && (uint64_t)st.st_size >= size;
}

/* An aligned guest address is then an aligned address in every view. */
static uint8_t *map_aligned(int fd, uint64_t offset, uint64_t size)
{
	uint64_t room = size + PART_MEMORY_ALIGN;
	uint8_t *all =
		mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *base;
	uint64_t before;

	if (all == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)all & (PART_MEMORY_ALIGN - 1);
	base = mmap(all + before, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, (off_t)offset);
	if (base == MAP_FAILED) {
		munmap(all, room);
		return NULL;
	}
	if (before)
		munmap(all, before);
	munmap(base + size, room - before - size);
	return base;
}

int part_memory_check(const struct part_memory *m, uint64_t gpa, uint64_t size, uint64_t offset)
{
	unsigned int count = atomic_load(&m->ranges);

	if (!size || (gpa | size | offset) % PART_PAGE_SIZE || gpa + size <= gpa ||
	    offset + size <= offset)
		return -EINVAL;
	for (unsigned int i = 0; i < count; i++)
		if (gpa < m->range[i].gpa + m->range[i].size && m->range[i].gpa < gpa + size)
			return -EEXIST;
	return count == PART_MEMORY_RANGES ? -E2BIG : 0;
}

void part_memory_init(struct part_memory *m, uint32_t stitch_limit)
{
	*m = (struct part_memory){.stitch_limit = stitch_limit};
}

int part_memory_add(struct part_memory *m, int fd, uint64_t gpa, uint64_t size, uint64_t offset,
		    const struct part_memory *same)
{
	struct part_memory_range r = {.gpa = gpa, .size = size, .offset = offset, .fd = fd};
	unsigned int count = atomic_load(&m->ranges);
	int error = part_memory_check(m, gpa, size, offset);

	if (!error && (gpa + size > PART_GPA_MAX || !file_is_safe(fd, offset + size)))
		error = -EPERM;
	if (!error && PART_ONE_VIEW && same) {
		m->borrowed = true;
		r.base = memory_at(same, gpa, size);
	} else if (!error) {
		r.base = map_aligned(fd, offset, size);
	}
	if (!error && !r.base)
		error = -ENOMEM;
	if (error) {
		close(fd);
		return error;
	}
	m->range[count] = r;
	atomic_store_explicit(&m->ranges, count + 1, memory_order_release);
	return 0;
}

void part_memory_close(struct part_memory *m)
{
	unsigned int count = atomic_exchange(&m->ranges, 0);

	for (unsigned int i = 0; i < count; i++) {
		if (!m->borrowed)
			munmap(m->range[i].base, m->range[i].size);
		close(m->range[i].fd);
	}
}

bool memory_gpa(const struct part_memory *m, const void *va, uint64_t *gpa)
{
	unsigned int count = atomic_load_explicit(&m->ranges, memory_order_acquire);

	for (unsigned int i = 0; i < count; i++) {
		uintptr_t offset = (uintptr_t)va - (uintptr_t)m->range[i].base;

		if (offset < m->range[i].size) {
			*gpa = m->range[i].gpa + offset;
			return true;
		}
	}
	return false;
}

bool memory_has_pages(const struct part_memory *m, const uint64_t *pfns, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (pfns[i] > PART_GPA_MAX >> PART_PAGE_SHIFT ||
		    !memory_range(m, pfns[i] << PART_PAGE_SHIFT, PART_PAGE_SIZE))
			return false;
	return true;
}

/* All pages are in memory. */
static const struct part_memory_range *range_of(const struct part_memory *m, uint64_t pfn)
{
	return memory_range(m, pfn << PART_PAGE_SHIFT, PART_PAGE_SIZE);
}

static size_t run_length(const struct part_memory *m, const uint64_t *pfns, size_t count)
{
	const struct part_memory_range *r = range_of(m, pfns[0]);
	uint64_t end = (r->gpa + r->size) >> PART_PAGE_SHIFT;
	size_t n = 1;

	while (n < count && pfns[n] == pfns[n - 1] + 1 && pfns[n] < end)
		n++;
	return n;
}

size_t memory_runs(const struct part_memory *m, const uint64_t *pfns, size_t count)
{
	size_t runs = 0;

	for (size_t i = 0; i < count; i += run_length(m, pfns + i, count - i))
		runs++;
	return runs;
}

static bool take_stitches(struct part_memory *m, size_t n)
{
	unsigned int held = atomic_load(&m->stitches);

	do {
		if (n > m->stitch_limit || held > m->stitch_limit - n)
			return false;
	} while (!atomic_compare_exchange_weak(&m->stitches, &held, held + (unsigned int)n));
	return true;
}

static bool map_runs(struct part_memory *m, uint8_t *va, const uint64_t *pfns, size_t count)
{
	for (size_t i = 0, n; i < count; i += n) {
		const struct part_memory_range *r = range_of(m, pfns[i]);
		uint64_t at = r->offset + ((pfns[i] << PART_PAGE_SHIFT) - r->gpa);

		n = run_length(m, pfns + i, count - i);
		if (mmap(va + i * PART_PAGE_SIZE, n * PART_PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, r->fd, (off_t)at) == MAP_FAILED)
			return false;
	}
	return true;
}

void *memory_stitch(struct part_memory *m, const uint64_t *pfns, size_t count, unsigned int copies)
{
	size_t bytes = count * PART_PAGE_SIZE;
	size_t stitches = memory_runs(m, pfns, count) * copies;
	uint8_t *va;

	if (!take_stitches(m, stitches))
		return NULL;
	va = mmap(NULL, bytes * copies, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		  0);
	if (va == MAP_FAILED) {
		atomic_fetch_sub(&m->stitches, (unsigned int)stitches);
		return NULL;
	}
	for (unsigned int i = 0; i < copies; i++) {
		if (!map_runs(m, va + i * bytes, pfns, count)) {
			memory_unstitch(m, va, bytes * copies, stitches);
			return NULL;
		}
	}
	return va;
}

void memory_unstitch(struct part_memory *m, void *va, size_t bytes, size_t stitches)
{
	munmap(va, bytes);
	atomic_fetch_sub(&m->stitches, (unsigned int)stitches);
}

/* ---- pages ---- */

int page_pool_init(struct page_pool *p, uint64_t pages)
{
	uint64_t words = (pages + 63) / 64;

	*p = (struct page_pool){.pages = pages, .free = pages - 1, .next = 1};
	p->used = calloc(words, sizeof(*p->used));
	if (!p->used)
		return -ENOMEM;
	/* Page 0 is nobody's: a GPA of 0 means "none" on the wire. Bits behind the end are taken.
	 */
	p->used[0] |= 1;
	if (pages % 64)
		p->used[words - 1] |= ~0ull << (pages % 64);
	pthread_mutex_init(&p->lock, NULL);
	return 0;
}

void page_pool_destroy(struct page_pool *p)
{
	if (!p->used)
		return;
	free(p->used);
	p->used = NULL;
	pthread_mutex_destroy(&p->lock);
}

/* First page in [from, end) that is in use, or that is free; `end`: none. */
static uint64_t find_bit(const struct page_pool *p, uint64_t from, uint64_t end, bool used)
{
	uint64_t flip = used ? 0 : ~0ull;

	while (from < end) {
		uint64_t word = (p->used[from / 64] ^ flip) >> (from % 64);

		if (word) {
			from += (uint64_t)__builtin_ctzll(word);
			return from < end ? from : end;
		}
		from = (from | 63) + 1;
	}
	return end;
}

static uint64_t find_run(const struct page_pool *p, uint64_t from, uint64_t end, uint64_t pages,
			 uint64_t align)
{
	while (from < end) {
		uint64_t taken;

		from = (find_bit(p, from, end, false) + align - 1) & ~(align - 1);
		if (from >= end || pages > end - from)
			return 0;
		taken = find_bit(p, from, from + pages, true);
		if (taken == from + pages)
			return from;
		from = taken + 1;
	}
	return 0;
}

static void mark(struct page_pool *p, uint64_t page, uint64_t pages, bool used)
{
	for (uint64_t i = page; i < page + pages; i++) {
		if (used)
			p->used[i / 64] |= 1ull << (i % 64);
		else
			p->used[i / 64] &= ~(1ull << (i % 64));
	}
}

uint64_t page_pool_alloc(struct page_pool *p, uint64_t pages, uint64_t align)
{
	uint64_t page = 0;

	pthread_mutex_lock(&p->lock);
	if (pages && pages <= p->free) {
		page = find_run(p, p->next, p->pages, pages, align);
		if (!page)
			page = find_run(p, 1, p->pages, pages, align);
	}
	if (page) {
		mark(p, page, pages, true);
		p->free -= pages;
		p->next = page + pages < p->pages ? page + pages : 1;
	}
	pthread_mutex_unlock(&p->lock);
	return page;
}

bool page_pool_free(struct page_pool *p, uint64_t page, uint64_t pages)
{
	bool ok = page && page < p->pages && pages <= p->pages - page;

	if (!ok)
		return false;
	pthread_mutex_lock(&p->lock);
	ok = find_bit(p, page, page + pages, false) == page + pages;
	if (ok) {
		mark(p, page, pages, false);
		p->free += pages;
		/* Low pages first: what is in use stays together and long runs stay whole. */
		if (page < p->next)
			p->next = page;
	}
	pthread_mutex_unlock(&p->lock);
	return ok;
}
