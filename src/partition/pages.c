/* SPDX-License-Identifier: MIT */
/* Guest memory as an endpoint's users see it. */
#include <errno.h>
#include <string.h>

#include "partition/internal.h"

void *part_memory_at(struct part_endpoint *ep, uint64_t gpa, uint64_t bytes)
{
	return memory_at(&ep->memory, gpa, bytes);
}

bool part_memory_gpa(struct part_endpoint *ep, const void *va, uint64_t *gpa)
{
	return memory_gpa(&ep->memory, va, gpa);
}

int part_pages_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa)
{
	uint64_t page;

	if (ep->server || !pages)
		return -EINVAL;
	page = page_pool_alloc(&ep->pages, pages, 1);
	if (!page)
		return -ENOMEM;
	*gpa = page << PART_PAGE_SHIFT;
	memset(memory_at(&ep->memory, *gpa, PART_PAGE_SIZE), 0, (size_t)pages * PART_PAGE_SIZE);
	return 0;
}

void part_pages_free(struct part_endpoint *ep, uint64_t gpa, uint32_t pages)
{
	if (ep->server || gpa % PART_PAGE_SIZE ||
	    !page_pool_free(&ep->pages, gpa >> PART_PAGE_SHIFT, pages))
		kmcl_log(KMCL_LOG_ERROR, PART_SUBSYSTEM, ep->id, 0,
			 "%u guest pages at %#llx were freed that are not in use", pages,
			 (unsigned long long)gpa);
}

static bool take_bounce(struct part_endpoint *ep, uint32_t pages)
{
	unsigned int most = ep->part->options.bounce_pages;
	unsigned int held = atomic_load(&ep->bounce_pages);

	do {
		if (pages > most || held > most - pages)
			return false;
	} while (!atomic_compare_exchange_weak(&ep->bounce_pages, &held, held + pages));
	return true;
}

/* Nothing touches the pages before they are used: many channels never bounce. */
int part_bounce_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa)
{
	uint64_t page;

	if (ep->server || !pages)
		return -EINVAL;
	if (!take_bounce(ep, pages))
		return -ENOSPC;
	page = page_pool_alloc(&ep->pages, pages, 1);
	if (!page) {
		atomic_fetch_sub(&ep->bounce_pages, pages);
		return -ENOMEM;
	}
	*gpa = page << PART_PAGE_SHIFT;
	return 0;
}

void part_bounce_free(struct part_endpoint *ep, uint64_t gpa, uint32_t pages)
{
	part_pages_free(ep, gpa, pages);
	atomic_fetch_sub(&ep->bounce_pages, pages);
}

int part_pages_map(struct part_endpoint *ep, const uint64_t *pfns, size_t count,
		   struct part_mapping *mapping)
{
	struct part_memory *m = &ep->memory;
	size_t runs;

	*mapping = (struct part_mapping){0};
	if (!count)
		return -EINVAL;
	if (!memory_has_pages(m, pfns, count))
		return -EFAULT;
	mapping->bytes = count * PART_PAGE_SIZE;
	runs = memory_runs(m, pfns, count);
	if (runs == 1) {
		mapping->va = memory_at(m, pfns[0] << PART_PAGE_SHIFT, mapping->bytes);
		return 0;
	}
	mapping->va = memory_stitch(m, pfns, count, 1);
	if (!mapping->va)
		return -ENOSPC;
	mapping->stitched = true;
	mapping->stitches = (uint32_t)runs;
	return 0;
}

void part_pages_unmap(struct part_endpoint *ep, struct part_mapping *mapping)
{
	if (mapping->stitched)
		memory_unstitch(&ep->memory, mapping->va, mapping->bytes, mapping->stitches);
	*mapping = (struct part_mapping){0};
}
