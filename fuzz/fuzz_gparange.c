/* SPDX-License-Identifier: MIT */
/* Page range lists: validating and walking agree, whatever the words are. */
#include <stdlib.h>
#include <string.h>

#include "vmbus/gparange.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmbus_gpa_range_iter it;
	struct vmbus_gpa_range range;
	uint32_t ranges, limit, pages = 0, walked = 0, count = 0;
	enum vmbus_status status;
	uint64_t *words;
	size_t n;

	if (size < 4)
		return 0;
	ranges = data[0] | (uint32_t)data[1] << 8;
	limit = data[2] | (uint32_t)data[3] << 8;
	n = (size - 4) / 8;
	words = malloc(n ? n * 8 : 1);
	demand(words);
	memcpy(words, data + 4, n * 8);
	status = vmbus_gparange_validate(words, n, ranges, limit, &pages);
	vmbus_gpa_range_begin(&it, words, n, ranges);
	while (vmbus_gpa_range_next(&it, &range)) {
		demand(range.pfns > words && range.pfns + range.page_count <= words + n);
		walked += range.page_count;
		count++;
	}
	if (status == VMBUS_OK)
		demand(walked == pages && count == ranges && pages <= limit);
	else
		demand(!ranges || count < ranges || walked > limit);
	free(words);
	return 0;
}
