/* SPDX-License-Identifier: MIT */
/* Extra headers of transfer-page and GPA-direct packets: built, read, and judged. */
#include "ring_rig.h"

#include <stdlib.h>
#include <string.h>

#include "vmbus/packet.h"

#define D 8192u

static uint8_t payload[64];

static enum vmbus_ring_result send(struct rig *g, uint16_t type, const void *header, uint32_t size)
{
	struct vmbus_packet_out out = {
		.type = type,
		.flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED,
		.transaction_id = 1,
		.header = header,
		.header_size = size,
		.payload = payload,
		.payload_size = 12,
	};
	enum vmbus_ring_result result = vmbus_ring_write(&g->w, &out);

	if (result != VMBUS_RING_OK)
		return result;
	vmbus_ring_publish(&g->w);
	return rig_read(g);
}

static void ring_017_transfer_headers_are_three_units_and_one_a_range(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t r = 0; r < 100; r++) {
			struct vmbus_transfer_range ranges[100];
			uint64_t header[101];
			struct vmbus_transfer t;
			uint32_t size = vmbus_packet_transfer_size(r);

			for (uint32_t i = 0; i < r; i++)
				ranges[i] = (struct vmbus_transfer_range){100 + i, 7 * i};
			assert_int_equal(size, 8 + 8 * r);
			vmbus_packet_put_transfer(header, 0xcafe, ranges, r);
			rig_at(g, D - 64, D - 64);
			assert_int_equal(send(g, VMBUS_PKT_TRANSFER_PAGES, header, size),
					 VMBUS_RING_OK);
			assert_int_equal(rig_word(g, D - 64) >> 16 & 0xffff, 3 + r);
			assert_true(rig_word(g, D - 48) == (0xcafe | (uint64_t)r << 32));
			if (r)
				assert_true(rig_word(g, D - 40) == 100);
			assert_int_equal(vmbus_packet_transfer(&g->p, 10000, &t), VMBUS_RING_OK);
			assert_int_equal(t.set, 0xcafe);
			assert_int_equal(t.count, r);
			for (uint32_t i = 0; i < r; i++) {
				struct vmbus_transfer_range got = vmbus_transfer_range_at(&t, i);

				assert_int_equal(got.byte_count, 100 + i);
				assert_int_equal(got.byte_offset, 7 * i);
			}
		}
	}
	assert_int_equal(vmbus_packet_transfer_size(0x10000), 0);
	assert_int_equal(vmbus_packet_transfer_size(UINT32_MAX), 0);
	assert_int_equal(vmbus_packet_transfer_size(0x20000000), 0); /* 8r + 8 would be 8 */
}

static void ring_018_reserved_bytes_may_hold_garbage(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		const uint64_t transfer[2] = {0x0000000177cdcafe, 0x0000000400000010};
		const uint64_t direct[3] = {0x00000001ffffffff, 0x0000000000001000, 0x99};
		struct vmbus_gpa_range_iter it;
		struct vmbus_gpa_range range;
		struct vmbus_transfer t;

		assert_int_equal(send(g, VMBUS_PKT_TRANSFER_PAGES, transfer, 16), VMBUS_RING_OK);
		assert_int_equal(vmbus_packet_transfer(&g->p, 20, &t), VMBUS_RING_OK);
		assert_int_equal(t.set, 0xcafe);
		assert_int_equal(t.count, 1);
		assert_int_equal(send(g, VMBUS_PKT_GPA_DIRECT, direct, 24), VMBUS_RING_OK);
		assert_int_equal(vmbus_packet_gpa_direct(&g->p, 1, &it), VMBUS_RING_OK);
		assert_true(vmbus_gpa_range_next(&it, &range));
		assert_int_equal(range.page_count, 1);
		assert_int_equal(range.pfns[0], 0x99);
	}
}

static void ring_019_transfer_ranges_outside_the_buffer(void **state)
{
	static const struct {
		uint32_t count, offset, size;
		bool good;
	} cases[] = {
		{10, 0, 10, true},
		{0, 10, 10, true},
		{1, 9, 10, true},
		{11, 0, 10, false},
		{1, 10, 10, false},
		{0, 11, 10, false},
		{0xffffffff, 1, 10, false},
		{0xffffffff, 0xffffffff, 10, false},
		{2, 0xffffffff, 10, false},
		{0xfffffff8, 0x10, 0x1000, false},
		{0xffffffff, 0, 0xffffffff, true},
		{0xffffffff, 1, 0xffffffff, false},
		{1, 0, 0, false},
	};

	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			/* a good range first, the one in question last */
			const struct vmbus_transfer_range ranges[2] = {
				{0, 0}, {cases[i].count, cases[i].offset}};
			uint64_t header[3];
			struct vmbus_transfer t;

			rig_at(g, 0, 0);
			vmbus_packet_put_transfer(header, 1, ranges, 2);
			assert_int_equal(send(g, VMBUS_PKT_TRANSFER_PAGES, header, 24),
					 VMBUS_RING_OK);
			assert_int_equal(vmbus_packet_transfer(&g->p, cases[i].size, &t),
					 cases[i].good ? VMBUS_RING_OK : VMBUS_RING_BAD_PACKET);
		}
	}
}

/* The packet in memory of just its size, so that a sanitizer sees a range too far. */
static void check_alone(const struct vmbus_packet_in *p, struct vmbus_transfer *t)
{
	struct vmbus_packet_in alone = *p;
	uint8_t *copy = malloc(p->total_size);

	assert_non_null(copy);
	memcpy(copy, p->header - 16, p->total_size);
	alone.header = copy + 16;
	alone.payload = copy + p->header_size;
	assert_int_equal(vmbus_packet_transfer(&alone, UINT32_MAX, t), VMBUS_RING_BAD_PACKET);
	free(copy);
}

static void field_002_counts_that_the_header_does_not_hold(void **state)
{
	static const uint32_t counts[] = {2, 3, 0x1fffffff, 0x20000000, 0x20000001, 0xffffffff};

	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
			const uint64_t header[2] = {(uint64_t)counts[i] << 32, 0};
			struct vmbus_gpa_range_iter it;
			struct vmbus_transfer t;

			rig_at(g, 0, 0);
			assert_int_equal(send(g, VMBUS_PKT_TRANSFER_PAGES, header, 16),
					 VMBUS_RING_OK);
			check_alone(&g->p, &t);
			assert_int_equal(send(g, VMBUS_PKT_GPA_DIRECT, header, 16), VMBUS_RING_OK);
			assert_int_equal(vmbus_packet_gpa_direct(&g->p, UINT32_MAX, &it),
					 VMBUS_RING_BAD_PACKET);
		}
		/* Packets that are something else have no ranges at all, though their payload lies
		 * where ranges would and looks like some: one range of 4 bytes, one page. */
		static const uint64_t like_ranges[3] = {1ull << 32, 4, 0x77};
		struct vmbus_gpa_range_iter it;
		struct vmbus_transfer t;

		rig_at(g, 0, 0);
		assert_int_equal(rig_write(g, like_ranges, sizeof(like_ranges)), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_int_equal(vmbus_packet_transfer(&g->p, 10, &t), VMBUS_RING_BAD_PACKET);
		assert_int_equal(vmbus_packet_gpa_direct(&g->p, 10, &it), VMBUS_RING_BAD_PACKET);
	}
}

static void gpa_direct_headers_go_there_and_back(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		/* {0x1800 at 0x800} is two pages; then a page of its own */
		const uint64_t words[] = {0x0000080000001800, 0x1111, 0x2222, 0x0000000000001000,
					  0x123456789abcdef0};
		uint64_t header[6];
		struct vmbus_gpa_range_iter it;
		struct vmbus_gpa_range range;

		assert_int_equal(vmbus_packet_gpa_direct_size(5), sizeof(header));
		vmbus_packet_put_gpa_direct(header, words, 5, 2);
		rig_at(g, D - 40, D - 40);
		assert_int_equal(send(g, VMBUS_PKT_GPA_DIRECT, header, sizeof(header)),
				 VMBUS_RING_OK);
		assert_int_equal(g->p.header_size, 64);
		assert_int_equal(g->p.payload_size, 16);
		assert_true(rig_word(g, D - 24) == 0x0000000200000000);
		assert_true(rig_word(g, D - 16) == 0x0000080000001800);
		assert_int_equal(vmbus_packet_gpa_direct(&g->p, 3, &it), VMBUS_RING_OK);
		assert_true(vmbus_gpa_range_next(&it, &range));
		assert_int_equal(range.byte_count, 0x1800);
		assert_int_equal(range.byte_offset, 0x800);
		assert_int_equal(range.page_count, 2);
		assert_int_equal(range.pfns[1], 0x2222);
		assert_true(vmbus_gpa_range_next(&it, &range));
		assert_true(range.pfns[0] == 0x123456789abcdef0);
		assert_false(vmbus_gpa_range_next(&it, &range));
		/* one page fewer than that is over the limit */
		assert_int_equal(vmbus_packet_gpa_direct(&g->p, 2, &it), VMBUS_RING_BAD_PACKET);
	}
	assert_int_equal(vmbus_packet_gpa_direct_size(0xffff), 0);
	assert_int_equal(vmbus_packet_gpa_direct_size(UINT32_MAX), 0);
	/* the worked sizes of the specification */
	assert_int_equal(vmbus_ring_packet_size(vmbus_packet_transfer_size(2), 0), 48);
	assert_int_equal(vmbus_ring_packet_size(vmbus_packet_gpa_direct_size(3), 12), 72);
	assert_int_equal(vmbus_ring_packet_size(vmbus_packet_gpa_direct_size(64), 40), 584);
}

static void ring_031_ranges_rewritten_after_the_read(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		const uint64_t direct[] = {2ull << 32, 0x1000, 0x10, 0x1000, 0x20};
		const uint64_t transfer[] = {2ull << 32, 16ull, 16ull | 32ull << 32};
		struct vmbus_gpa_range_iter it;
		struct vmbus_gpa_range range;
		struct vmbus_transfer t;
		uint64_t expected;

		/* before the check, and between check and use */
		rig_at(g, 0, 0);
		assert_int_equal(send(g, VMBUS_PKT_GPA_DIRECT, direct, 40), VMBUS_RING_OK);
		rig_fill(g, 0xff);
		assert_int_equal(vmbus_packet_gpa_direct(&g->p, 2, &it), VMBUS_RING_OK);
		rig_fill(g, 0x01);
		for (expected = 0x10; vmbus_gpa_range_next(&it, &range); expected += 0x10) {
			assert_int_equal(range.byte_count, 0x1000);
			assert_int_equal(range.byte_offset, 0);
			assert_int_equal(range.page_count, 1);
			assert_true(range.pfns[0] == expected);
			rig_fill(g, (uint8_t)expected);
		}
		assert_true(expected == 0x30);

		rig_at(g, 0, 0);
		assert_int_equal(send(g, VMBUS_PKT_TRANSFER_PAGES, transfer, 24), VMBUS_RING_OK);
		rig_fill(g, 0xff);
		assert_int_equal(vmbus_packet_transfer(&g->p, 48, &t), VMBUS_RING_OK);
		rig_fill(g, 0x7f);
		assert_int_equal(t.count, 2);
		assert_int_equal(vmbus_transfer_range_at(&t, 1).byte_count, 16);
		assert_int_equal(vmbus_transfer_range_at(&t, 1).byte_offset, 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_017_transfer_headers_are_three_units_and_one_a_range),
		cmocka_unit_test(ring_018_reserved_bytes_may_hold_garbage),
		cmocka_unit_test(ring_019_transfer_ranges_outside_the_buffer),
		cmocka_unit_test(field_002_counts_that_the_header_does_not_hold),
		cmocka_unit_test(gpa_direct_headers_go_there_and_back),
		cmocka_unit_test(ring_031_ranges_rewritten_after_the_read),
	};

	return cmocka_run_group_tests_name("packet", tests, NULL, NULL);
}
