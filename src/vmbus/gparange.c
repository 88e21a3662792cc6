/* SPDX-License-Identifier: MIT */
#include "vmbus/gparange.h"

void vmbus_gpa_range_begin(struct vmbus_gpa_range_iter *iter, const uint64_t *words,
			   size_t word_count, uint32_t range_count)
{
	iter->at = words;
	iter->end = words + word_count;
	iter->left = range_count;
}

bool vmbus_gpa_range_next(struct vmbus_gpa_range_iter *iter, struct vmbus_gpa_range *range)
{
	uint64_t word, span;

	if (!iter->left || iter->at == iter->end)
		return false;
	word = *iter->at;
	range->byte_count = (uint32_t)word;
	range->byte_offset = (uint32_t)(word >> 32);
	span = (uint64_t)range->byte_count + range->byte_offset + VMBUS_PAGE_SIZE - 1;
	if (!range->byte_count || range->byte_offset >= VMBUS_PAGE_SIZE || span > UINT32_MAX)
		return false;
	range->page_count = (uint32_t)(span / VMBUS_PAGE_SIZE);
	range->pfns = iter->at + 1;
	if ((size_t)(iter->end - range->pfns) < range->page_count)
		return false;
	iter->at = range->pfns + range->page_count;
	iter->left--;
	return true;
}

enum vmbus_status vmbus_gparange_validate(const uint64_t *words, size_t word_count,
					  uint32_t range_count, uint32_t max_pages, uint32_t *pages)
{
	struct vmbus_gpa_range_iter iter;
	struct vmbus_gpa_range range;
	uint32_t total = 0;

	if (!range_count)
		return VMBUS_E_INVALID;
	vmbus_gpa_range_begin(&iter, words, word_count, range_count);
	while (vmbus_gpa_range_next(&iter, &range)) {
		if (range.page_count > max_pages - total)
			return VMBUS_E_LIMIT;
		total += range.page_count;
	}
	if (iter.left)
		return VMBUS_E_INVALID;
	if (pages)
		*pages = total;
	return VMBUS_OK;
}
