/* SPDX-License-Identifier: MIT */
/* Guest memory as the NT layer's operation table wants it. */
#include <errno.h>
#include <stdlib.h>

#include "nt/nt.h"
#include "partition/internal.h"

static void *nt_alloc(void *ctx, size_t bytes, size_t align)
{
	struct part_endpoint *ep = ctx;

	return block_pool_alloc(ep->blocks, bytes, align);
}

static void nt_free(void *ctx, void *p)
{
	struct part_endpoint *ep = ctx;

	if (p && !block_pool_free(ep->blocks, p))
		kmcl_log(KMCL_LOG_ERROR, PART_SUBSYSTEM, ep->id, 0,
			 "%p was freed to guest memory and is no block of it", p);
}

static bool nt_pfn_of(void *ctx, const void *va, uint64_t *pfn)
{
	uint64_t gpa;

	if (!part_memory_gpa(ctx, va, &gpa))
		return false;
	*pfn = gpa >> PART_PAGE_SHIFT;
	return true;
}

/* The cookie is the number of stitches: there is nothing to allocate and nothing to leak. */
static void *nt_map(void *ctx, const uint64_t *pfns, size_t count, void **cookie)
{
	struct part_mapping mapping;

	if (part_pages_map(ctx, pfns, count, &mapping))
		return NULL;
	*cookie = (void *)(uintptr_t)(mapping.stitched ? mapping.stitches : 0);
	return mapping.va;
}

static void nt_unmap(void *ctx, void *va, size_t count, void *cookie)
{
	struct part_mapping mapping = {
		.va = va,
		.bytes = count * PART_PAGE_SIZE,
		.stitched = cookie,
		.stitches = (uint32_t)(uintptr_t)cookie,
	};

	part_pages_unmap(ctx, &mapping);
}

const struct nt_memory *part_nt_memory(struct part_endpoint *ep)
{
	return ep->nt_memory;
}

int ntmemory_init(struct part_endpoint *ep)
{
	struct nt_memory *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	*m = (struct nt_memory){
		.ctx = ep,
		.alloc = ep->blocks ? nt_alloc : NULL,
		.free = ep->blocks ? nt_free : NULL,
		.pfn_of = nt_pfn_of,
		.map = nt_map,
		.unmap = nt_unmap,
	};
	ep->nt_memory = m;
	return 0;
}
