/* SPDX-License-Identifier: MIT */
#include "vmbus/packet.h"

#include <string.h>

/* Offsets inside the extra header, which follows the 16 bytes of the descriptor. */
enum {
	TRANSFER_SET = 0,
	TRANSFER_COUNT = 4,
	TRANSFER_RANGES = 8,
	GPA_COUNT = 4,
	GPA_RANGES = 8,
};

/* Most 8-byte units that follow descriptor and count. */
#define UNITS_LEFT (VMBUS_PKT_UNITS_MAX - 3)

static void put32(uint8_t *at, uint32_t v)
{
	v = VMBUS_LE32(v);
	memcpy(at, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return VMBUS_LE32(v);
}

uint32_t vmbus_packet_transfer_size(uint32_t count)
{
	return count <= UNITS_LEFT ? TRANSFER_RANGES + 8 * count : 0;
}

void vmbus_packet_put_transfer(void *header, uint16_t set,
			       const struct vmbus_transfer_range *ranges, uint32_t count)
{
	uint8_t *at = header;

	put32(at + TRANSFER_SET, set); /* the bytes behind the set id are 0 */
	put32(at + TRANSFER_COUNT, count);
	for (uint32_t i = 0; i < count; i++) {
		put32(at + TRANSFER_RANGES + 8 * i, ranges[i].byte_count);
		put32(at + TRANSFER_RANGES + 8 * i + 4, ranges[i].byte_offset);
	}
}

struct vmbus_transfer_range vmbus_transfer_range_at(const struct vmbus_transfer *transfer,
						    uint32_t index)
{
	const uint8_t *at = transfer->ranges + 8 * (size_t)index;
	struct vmbus_transfer_range range = {get32(at), get32(at + 4)};

	return range;
}

enum vmbus_ring_result vmbus_packet_transfer(const struct vmbus_packet_in *p, uint32_t buffer_size,
					     struct vmbus_transfer *transfer)
{
	uint32_t room = p->header_size - VMBUS_PKT_DESCRIPTOR;

	if (p->header_size < VMBUS_PKT_DESCRIPTOR + TRANSFER_RANGES)
		return VMBUS_RING_BAD_PACKET;
	transfer->set = (uint16_t)get32(p->header + TRANSFER_SET);
	transfer->count = get32(p->header + TRANSFER_COUNT);
	transfer->ranges = p->header + TRANSFER_RANGES;
	if (transfer->count > (room - TRANSFER_RANGES) / 8)
		return VMBUS_RING_BAD_PACKET;
	for (uint32_t i = 0; i < transfer->count; i++) {
		struct vmbus_transfer_range r = vmbus_transfer_range_at(transfer, i);

		if (r.byte_offset > buffer_size || r.byte_count > buffer_size - r.byte_offset)
			return VMBUS_RING_BAD_PACKET;
	}
	return VMBUS_RING_OK;
}

uint32_t vmbus_packet_gpa_direct_size(uint32_t words)
{
	return words <= UNITS_LEFT ? GPA_RANGES + 8 * words : 0;
}

void vmbus_packet_put_gpa_direct(void *header, const uint64_t *words, uint32_t word_count,
				 uint32_t count)
{
	uint8_t *at = header;

	put32(at, 0);
	put32(at + GPA_COUNT, count);
	for (uint32_t i = 0; i < word_count; i++) {
		put32(at + GPA_RANGES + 8 * i, (uint32_t)words[i]);
		put32(at + GPA_RANGES + 8 * i + 4, (uint32_t)(words[i] >> 32));
	}
}

/* The private copy is as it was on the wire; the walk wants numbers. Once a packet. */
static void words_to_host(uint64_t *words, uint32_t count)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	for (uint32_t i = 0; i < count; i++)
		words[i] = VMBUS_LE64(words[i]);
#endif
}

enum vmbus_ring_result vmbus_packet_gpa_direct(const struct vmbus_packet_in *p, uint32_t max_pages,
					       struct vmbus_gpa_range_iter *iter)
{
	uint32_t count, word_count;
	uint64_t *words;

	if (p->header_size < VMBUS_PKT_DESCRIPTOR + GPA_RANGES)
		return VMBUS_RING_BAD_PACKET;
	count = get32(p->header + GPA_COUNT);
	/* the reader's buffer is 8-aligned and so are the ranges in it */
	words = (uint64_t *)(uintptr_t)(p->header + GPA_RANGES);
	word_count = (p->header_size - VMBUS_PKT_DESCRIPTOR - GPA_RANGES) / 8;
	words_to_host(words, word_count);
	if (vmbus_gparange_validate(words, word_count, count, max_pages, NULL) != VMBUS_OK)
		return VMBUS_RING_BAD_PACKET;
	vmbus_gpa_range_begin(iter, words, word_count, count);
	return VMBUS_RING_OK;
}
