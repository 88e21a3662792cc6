/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Extra headers: transfer pages and GPA-direct. Built in the sender's memory; decoded from the
 * receiver's private copy.
 */
#ifndef VMBUS_PACKET_H
#define VMBUS_PACKET_H

#include "vmbus/gparange.h"
#include "vmbus/ring.h"

/** A piece of the buffer that both ends share by an earlier GPADL. */
struct vmbus_transfer_range {
	uint32_t byte_count;
	uint32_t byte_offset;
};

/** Bytes of the extra header for @p count ranges; 0: more than a packet can carry. */
uint32_t vmbus_packet_transfer_size(uint32_t count);
/** Builds it at @p header, which has vmbus_packet_transfer_size() bytes. */
void vmbus_packet_put_transfer(void *header, uint16_t set,
			       const struct vmbus_transfer_range *ranges, uint32_t count);

/** Decoded transfer-page header; ranges are fetched one by one from the private copy. */
struct vmbus_transfer {
	uint16_t set;
	uint32_t count;
	const uint8_t *ranges;
};
/**
 * @param buffer_size bytes of the shared buffer: every range lies inside it.
 * @return OK, or BAD_PACKET: the count does not fit the header, or a range is outside the buffer.
 */
enum vmbus_ring_result vmbus_packet_transfer(const struct vmbus_packet_in *p, uint32_t buffer_size,
					     struct vmbus_transfer *transfer);
struct vmbus_transfer_range vmbus_transfer_range_at(const struct vmbus_transfer *transfer,
						    uint32_t index);

/** Bytes of a GPA-direct extra header whose ranges take @p words words; 0: too many. */
uint32_t vmbus_packet_gpa_direct_size(uint32_t words);
/** Builds the header of @p count ranges from their words (see gparange.h). */
void vmbus_packet_put_gpa_direct(void *header, const uint64_t *words, uint32_t word_count,
				 uint32_t count);
/**
 * Checks all ranges of a GPA-direct packet and begins a walk over them.
 * @return OK; BAD_PACKET: no range, a range that is not sound, or more than @p max_pages pages.
 */
enum vmbus_ring_result vmbus_packet_gpa_direct(const struct vmbus_packet_in *p, uint32_t max_pages,
					       struct vmbus_gpa_range_iter *iter);

#endif
