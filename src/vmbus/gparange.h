/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Lists of page ranges, as GPADLs and GPA-direct packets carry them: 64-bit words, for each range
 * {byte count | byte offset << 32} and then a page number for each page that it touches.
 */
#ifndef VMBUS_GPARANGE_H
#define VMBUS_GPARANGE_H

#include "vmbus/base.h"

struct vmbus_gpa_range {
	uint32_t byte_count;
	uint32_t byte_offset; /**< into the first page */
	uint32_t page_count;
	const uint64_t *pfns;
};

struct vmbus_gpa_range_iter {
	const uint64_t *at, *end;
	uint32_t left; /* ranges */
};

/**
 * Whether @p words hold @p range_count sound ranges with at most @p max_pages pages in all. Words
 * behind the last range are ignored. @p pages (may be NULL) gets the number of pages.
 */
enum vmbus_status vmbus_gparange_validate(const uint64_t *words, size_t word_count,
					  uint32_t range_count, uint32_t max_pages,
					  uint32_t *pages);

/** Walks private words; safe on any content, but only validated lists yield what was meant. */
void vmbus_gpa_range_begin(struct vmbus_gpa_range_iter *iter, const uint64_t *words,
			   size_t word_count, uint32_t range_count);
/** False: no more, or the next range is not sound. */
bool vmbus_gpa_range_next(struct vmbus_gpa_range_iter *iter, struct vmbus_gpa_range *range);

#endif
