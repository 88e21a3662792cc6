/* SPDX-License-Identifier: MIT */
/*
 * Blocks of guest memory. Small ones share a page with others of their size class; a page and more
 * is whole pages. What is free is known only to private memory: the peer can write to the pages.
 */
#include "partition/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/log.h"

#define CLASSES ((int)(sizeof(class_size) / sizeof(class_size[0])))
#define NO_PAGE 0u

static const uint16_t class_size[] = {16,  32,  48,  64,  96,   128,  192,
				      256, 384, 512, 768, 1024, 1360, 2048};

enum {
	PAGE_NONE,
	PAGE_SMALL,
	PAGE_RUN
};

/* One a page of guest memory; lies in private memory that is only touched where it is used. */
struct page_info {
	uint64_t used[4];    /* blocks of the page in use */
	uint32_t next, prev; /* partly used pages of the class */
	uint32_t run;        /* PAGE_RUN: pages from here */
	uint16_t blocks;     /* in use */
	uint8_t kind, class;
};

struct block_class {
	struct spin_lock lock;
	uint32_t partial; /* first page with a free block */
};

struct block_pool {
	struct page_pool *pages;
	uint8_t *base;
	struct page_info *info;
	struct block_class classes[CLASSES];
};

struct block_pool *block_pool_create(struct page_pool *pages, uint8_t *base)
{
	struct block_pool *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->pages = pages;
	b->base = base;
	b->info = mmap(NULL, pages->pages * sizeof(*b->info), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->info == MAP_FAILED) {
		free(b);
		return NULL;
	}
	return b;
}

void block_pool_destroy(struct block_pool *b)
{
	if (!b)
		return;
	munmap(b->info, b->pages->pages * sizeof(*b->info));
	free(b);
}

static unsigned int blocks_per_page(int class)
{
	return PART_PAGE_SIZE / class_size[class];
}

/* The smallest class whose blocks are all aligned so; CLASSES: whole pages. */
static int class_of(size_t bytes, size_t align)
{
	int class = 0;

	while (class < CLASSES && (class_size[class] < bytes || class_size[class] % align))
		class ++;
	return class;
}

static void partial_push(struct block_pool *b, struct block_class *c, uint32_t page)
{
	b->info[page].prev = NO_PAGE;
	b->info[page].next = c->partial;
	if (c->partial)
		b->info[c->partial].prev = page;
	c->partial = page;
}

static void partial_remove(struct block_pool *b, struct block_class *c, uint32_t page)
{
	struct page_info *i = &b->info[page];

	if (i->prev)
		b->info[i->prev].next = i->next;
	else
		c->partial = i->next;
	if (i->next)
		b->info[i->next].prev = i->prev;
}

/* Called with the class locked. */
static uint32_t page_for_class(struct block_pool *b, int class)
{
	uint32_t page = (uint32_t)page_pool_alloc(b->pages, 1, 1);

	if (page) {
		b->info[page] = (struct page_info){.kind = PAGE_SMALL, .class = (uint8_t) class};
		partial_push(b, &b->classes[class], page);
	}
	return page;
}

static unsigned int take_block(struct page_info *i)
{
	unsigned int word = 0;
	unsigned int bit;

	while (i->used[word] == ~0ull)
		word++;
	bit = (unsigned int)__builtin_ctzll(~i->used[word]);
	i->used[word] |= 1ull << bit;
	i->blocks++;
	return word * 64 + bit;
}

static void *alloc_small(struct block_pool *b, int class)
{
	struct block_class *c = &b->classes[class];
	uint32_t page;
	void *p = NULL;

	spin_lock(&c->lock);
	page = c->partial ? c->partial : page_for_class(b, class);
	if (page) {
		struct page_info *i = &b->info[page];

		p = b->base + (uint64_t)page * PART_PAGE_SIZE +
		    (size_t)take_block(i) * class_size[class];
		if (i->blocks == blocks_per_page(class))
			partial_remove(b, c, page);
	}
	spin_unlock(&c->lock);
	return p;
}

static void *alloc_run(struct block_pool *b, size_t bytes, size_t align)
{
	uint64_t pages = bytes / PART_PAGE_SIZE + (bytes % PART_PAGE_SIZE != 0);
	uint64_t page = page_pool_alloc(b->pages, pages,
					align > PART_PAGE_SIZE ? align / PART_PAGE_SIZE : 1);

	if (!page)
		return NULL;
	b->info[page] = (struct page_info){.kind = PAGE_RUN, .run = (uint32_t)pages};
	return b->base + page * PART_PAGE_SIZE;
}

void *block_pool_alloc(struct block_pool *b, size_t bytes, size_t align)
{
	int class;

	if (!bytes)
		bytes = 1;
	if (!align)
		align = 16;
	if ((align & (align - 1)) || align > PART_MEMORY_ALIGN)
		return NULL;
	class = class_of(bytes, align);
	return class < CLASSES ? alloc_small(b, class) : alloc_run(b, bytes, align);
}

/* A page without blocks goes back unless it is the class's last: one that comes and goes with every
 * block would cost a search each time. */
static bool give_up_page(struct block_pool *b, struct block_class *c, uint32_t page)
{
	struct page_info *i = &b->info[page];

	if (i->blocks || (!i->next && !i->prev))
		return false;
	partial_remove(b, c, page);
	i->kind = PAGE_NONE;
	return true;
}

static bool free_small(struct block_pool *b, uint32_t page, size_t offset)
{
	struct page_info *i = &b->info[page];
	int class = i->class;
	struct block_class *c = &b->classes[class];
	unsigned int n = (unsigned int)(offset / class_size[class]);
	bool empty = false;
	bool ok;

	spin_lock(&c->lock);
	ok = i->kind == PAGE_SMALL && i->class == class && offset % class_size[class] == 0 &&
	     (i->used[n / 64] >> (n % 64) & 1);
	if (ok) {
		i->used[n / 64] &= ~(1ull << (n % 64));
		if (i->blocks-- == blocks_per_page(class))
			partial_push(b, c, page);
		empty = give_up_page(b, c, page);
	}
	spin_unlock(&c->lock);
	if (empty)
		page_pool_free(b->pages, page, 1);
	return ok;
}

bool block_pool_free(struct block_pool *b, void *p)
{
	uint64_t offset = (uint64_t)((uint8_t *)p - b->base);
	uint32_t page = (uint32_t)(offset / PART_PAGE_SIZE);
	uint32_t run;

	if ((uint8_t *)p < b->base || offset / PART_PAGE_SIZE >= b->pages->pages)
		return false;
	if (b->info[page].kind == PAGE_SMALL)
		return free_small(b, page, offset % PART_PAGE_SIZE);
	if (b->info[page].kind != PAGE_RUN || offset % PART_PAGE_SIZE)
		return false;
	run = b->info[page].run;
	b->info[page].kind = PAGE_NONE;
	return page_pool_free(b->pages, page, run);
}
