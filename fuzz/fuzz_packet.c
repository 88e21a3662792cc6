/* SPDX-License-Identifier: MIT */
/* The extra headers of packets whose private copy is the input: descriptor fields, then the header.
 */
#include <stdlib.h>
#include <string.h>

#include "vmbus/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static void transfer(const struct vmbus_packet_in *p, uint32_t buffer_size)
{
	struct vmbus_transfer t;

	if (vmbus_packet_transfer(p, buffer_size, &t) != VMBUS_RING_OK)
		return;
	demand(t.count <= (p->header_size - 24) / 8);
	for (uint32_t i = 0; i < t.count; i++) {
		struct vmbus_transfer_range r = vmbus_transfer_range_at(&t, i);

		demand((uint64_t)r.byte_count + r.byte_offset <= buffer_size);
	}
}

static void direct(const struct vmbus_packet_in *p, uint32_t max_pages)
{
	struct vmbus_gpa_range_iter it;
	struct vmbus_gpa_range r;
	uint32_t pages = 0;

	if (vmbus_packet_gpa_direct(p, max_pages, &it) != VMBUS_RING_OK)
		return;
	while (vmbus_gpa_range_next(&it, &r)) {
		uint64_t sum = 0;

		demand(r.byte_count && r.byte_offset < 4096);
		demand(r.page_count == ((uint64_t)r.byte_count + r.byte_offset + 4095) / 4096);
		for (uint32_t i = 0; i < r.page_count; i++)
			sum += r.pfns[i];
		demand(sum + 1 != 0 || r.page_count);
		pages += r.page_count;
	}
	demand(pages && pages <= max_pages && !it.left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmbus_packet_in p = {0};
	uint32_t limit;
	uint8_t *copy;

	if (size < 4)
		return 0;
	memcpy(&limit, data, sizeof(limit));
	data += 4;
	size = (size - 4) & ~(size_t)7;
	copy = aligned_alloc(8, 16 + size); /* to the byte, for the sanitizer */
	demand(copy);
	memset(copy, 0, 16);
	memcpy(copy + 16, data, size);
	p.header = copy + 16;
	p.header_size = 16 + (uint32_t)size;
	p.total_size = p.header_size;
	p.payload = copy + p.header_size;
	p.type = VMBUS_PKT_TRANSFER_PAGES;
	transfer(&p, limit);
	p.type = VMBUS_PKT_GPA_DIRECT;
	direct(&p, limit);
	free(copy);
	return 0;
}
