/* SPDX-License-Identifier: MIT */
/* Bytes of the ring: sizes, offsets, wrapping, indices, as a peer in another language would see
 * them. */
#include "ring_rig.h"

#include <stdlib.h>
#include <string.h>

#define D 4096u

static uint8_t pattern[RIG_MAX_PACKET];

static int make_pattern(void **state)
{
	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 31 + (i >> 8) + 1);
	return 0;
}

static void ring_001_size_of_inband_packets(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t n = 0; n <= 200; n++) {
			uint32_t total = 16 + (n + 7) / 8 * 8 + 8;

			rig_at(g, 0, 0);
			rig_fill(g, 0xee);
			assert_int_equal(vmbus_ring_packet_size(0, n), total);
			assert_int_equal(rig_write(g, pattern, n), VMBUS_RING_OK);
			vmbus_ring_publish(&g->w);
			assert_int_equal(rig_in(g), total);
			assert_int_equal(rig_word(g, 0) >> 32 & 0xffff, (total - 8) / 8);
			assert_int_equal(rig_word(g, 0) >> 16 & 0xffff, 2);
			assert_true(rig_word(g, total) == 0xeeeeeeeeeeeeeeee);
		}
	}
}

static void ring_002_pad_bytes_are_zero(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t n = 1; n <= 300; n++) {
			uint8_t back[304];

			rig_at(g, D - 64, D - 64);
			rig_fill(g, 0xee);
			assert_int_equal(rig_write(g, pattern, n), VMBUS_RING_OK);
			rig_bytes(g, D - 64 + 16, back, sizeof(back));
			assert_memory_equal(back, pattern, n);
			for (uint32_t i = n; i % 8; i++)
				assert_int_equal(back[i], 0);
		}
	}
}

static void ring_003_each_trailer_holds_its_own_offset(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		uint32_t start = D - 200, at = start;

		rig_at(g, start, start);
		rig_fill(g, 0xee);
		for (uint32_t n = 0; n < 20; n++)
			assert_int_equal(rig_write(g, pattern, n * 7), VMBUS_RING_OK);
		assert_true(vmbus_ring_publish(&g->w));
		for (uint32_t n = 0; n < 20; n++) {
			uint32_t total = 24 + (n * 7 + 7) / 8 * 8;

			assert_true(rig_word(g, at + total - 8) == (uint64_t)at << 32);
			at = (at + total) % D;
		}
		assert_int_equal(rig_in(g), at);
	}
}

/* The packet as one piece, made by hand: 16 descriptor, 24 header, 37 payload, 3 pad, 8 trailer. */
#define IMAGE_SIZE 88u
static void image_of(uint8_t *image, const void *header, uint32_t start)
{
	const uint8_t head[16] = {9, 0, 5, 0, 10, 0, 1, 0, 8, 7, 6, 5, 4, 3, 2, 1};

	memset(image, 0, IMAGE_SIZE);
	memcpy(image, head, 16);
	memcpy(image + 16, header, 24);
	memcpy(image + 40, pattern, 37);
	image[84] = (uint8_t)start;
	image[85] = (uint8_t)(start >> 8);
}

static void check_split(struct rig *g, uint32_t start)
{
	const uint8_t header[24] = {0, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0x42};
	const struct vmbus_packet_out out = {
		.type = VMBUS_PKT_GPA_DIRECT,
		.flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED,
		.transaction_id = 0x0102030405060708,
		.header = header,
		.header_size = sizeof(header),
		.payload = pattern,
		.payload_size = 37,
	};
	uint8_t image[IMAGE_SIZE], back[IMAGE_SIZE];

	rig_at(g, start, start);
	rig_fill(g, 0xee);
	image_of(image, header, start);
	assert_int_equal(vmbus_ring_write(&g->w, &out), VMBUS_RING_OK);
	assert_true(vmbus_ring_publish(&g->w));
	rig_bytes(g, start, back, sizeof(back));
	assert_memory_equal(back, image, sizeof(image));
	for (uint32_t i = IMAGE_SIZE; i < g->size; i += 8)
		assert_true(rig_word(g, start + i) == 0xeeeeeeeeeeeeeeee);
	assert_int_equal(rig_in(g), (start + IMAGE_SIZE) % g->size);

	memset(g->buf, 0x55, 128);
	assert_int_equal(rig_read(g), VMBUS_RING_OK);
	assert_memory_equal(g->buf, image, IMAGE_SIZE - 8);
	assert_int_equal(g->buf[IMAGE_SIZE - 8], 0x55);
	assert_int_equal(g->p.payload_size, 40);
	assert_int_equal(g->p.header_size, 40);
	assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
}

static void ring_004_packets_wrap_at_every_split_point(void **state)
{
	FOR_EACH_VIEW(g, 2 * D)
	{
		/* the ring's end, and the boundary between its two pages */
		for (uint32_t start = 2 * D - IMAGE_SIZE; start < 2 * D; start += 8)
			check_split(g, start);
		for (uint32_t start = D - IMAGE_SIZE; start <= D; start += 8)
			check_split(g, start);
		check_split(g, 0);
	}
}

static void ring_004_long_packets_wrap_too(void **state)
{
	FOR_EACH_VIEW(g, 2 * D)
	{
		for (uint32_t start = 0; start < 2 * D; start += 8) {
			const uint32_t n = 5003;

			rig_at(g, start, start);
			assert_int_equal(rig_write(g, pattern, n), VMBUS_RING_OK);
			vmbus_ring_publish(&g->w);
			memset(g->buf, 0x55, n + 64);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(g->p.payload_size, (n + 7) / 8 * 8);
			assert_memory_equal(g->p.payload, pattern, n);
			assert_int_equal(g->p.payload[n], 0);
			assert_int_equal(g->buf[g->p.total_size], 0x55);
		}
	}
}

static void a_payload_in_two_pieces_is_one(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t start = D - 128; start < D; start += 8) {
			const struct vmbus_packet_out out = {
				.type = VMBUS_PKT_INBAND,
				.payload = pattern,
				.payload_size = 16,
				.tail = pattern + 16,
				.tail_size = 75,
			};

			rig_at(g, start, start);
			assert_int_equal(vmbus_ring_write(&g->w, &out), VMBUS_RING_OK);
			vmbus_ring_publish(&g->w);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(g->p.payload_size, 96);
			assert_memory_equal(g->p.payload, pattern, 91);
			assert_int_equal(g->p.payload[91], 0);
		}
	}
}

static void ring_005_largest_packets(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t start = 0; start < D; start += 8) {
			uint8_t before[D], after[D];

			rig_at(g, start, start);
			assert_int_equal(rig_write(g, pattern, D - 24), VMBUS_RING_TOO_LARGE);
			assert_int_equal(rig_write(g, pattern, D - 32), VMBUS_RING_TOO_LARGE);
			assert_int_equal(rig_write(g, pattern, D - 40), VMBUS_RING_OK);

			/* with something unread, nothing of that size is placed */
			rig_at(g, (start + 24) % D, start);
			rig_fill(g, 0xee);
			rig_descriptor(g, start, VMBUS_PKT_INBAND, 2, 2, 0, 0);
			rig_bytes(g, 0, before, D);
			assert_int_equal(rig_write(g, pattern, D - 24), VMBUS_RING_TOO_LARGE);
			assert_int_equal(rig_write(g, pattern, D - 32), VMBUS_RING_TOO_LARGE);
			assert_int_equal(rig_write(g, pattern, D - 40), VMBUS_RING_FULL);
			rig_bytes(g, 0, after, D);
			assert_memory_equal(before, after, D);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
		}
	}
}

static void check_fill(struct rig *g, uint32_t out, uint32_t used, uint32_t total)
{
	uint32_t in = (out + used) % D;
	uint32_t unused = D - 8 - used;
	enum vmbus_ring_result want = VMBUS_RING_OK, got;

	if (total > D - 16)
		want = VMBUS_RING_TOO_LARGE;
	else if (total > unused)
		want = VMBUS_RING_FULL;
	rig_at(g, in, out);
	got = rig_write(g, pattern, total - 24);
	assert_int_equal(got, want);
	vmbus_ring_publish(&g->w);
	if (got == VMBUS_RING_OK)
		assert_int_not_equal(rig_in(g), out);
	assert_int_equal(rig_in(g), got == VMBUS_RING_OK ? (in + total) % D : in);
}

static void ring_006_writing_never_makes_a_full_ring_look_empty(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t used = 0; used <= D - 8; used += 8) {
			uint32_t unused = D - 8 - used;

			/* the interesting sizes, and every size in the ring that is cheap to fill
			 */
			for (uint32_t total = 24; total <= D; total += view_ ? 104 : 8)
				check_fill(g, (used * 5) % D, used, total);
			for (uint32_t total = unused > 40 ? unused - 16 : 24; total <= unused + 24;
			     total += 8)
				check_fill(g, (used * 5) % D, used, total);
		}
	}
}

static void ring_006_a_stream_of_packets_keeps_a_gap(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		uint32_t seed = 1, read = 0, written = 0;

		for (int i = 0; i < 20000; i++) {
			seed = seed * 1103515245 + 12345;
			if (seed >> 16 & 3) {
				if (rig_write(g, pattern, seed >> 18 & 0x1ff) == VMBUS_RING_OK)
					written++;
				vmbus_ring_publish(&g->w);
			} else {
				while (rig_read(g) == VMBUS_RING_OK)
					read++;
				vmbus_ring_release(&g->r);
				assert_int_equal(read, written);
			}
		}
		assert_true(written > 1000);
	}
}

static void refuse(struct rig *g, const struct vmbus_packet_out *out)
{
	assert_int_equal(vmbus_ring_write(&g->w, out), VMBUS_RING_TOO_LARGE);
	assert_false(vmbus_ring_publish(&g->w));
	assert_int_equal(rig_in(g), 0);
	assert_true(rig_word(g, 0) == 0xeeeeeeeeeeeeeeee);
}

static void ring_007_lengths_beyond_16_bits_are_refused(void **state)
{
	/* a ring that has room for more than the length field can say */
	FOR_EACH_VIEW(g, 1u << 20)
	{
		const uint32_t most = 0xffff * 8 - 16;
		struct vmbus_packet_out out = {
			.type = VMBUS_PKT_GPA_DIRECT, .payload = pattern, .header = pattern};

		rig_fill(g, 0xee);
		out.payload_size = most + 1;
		refuse(g, &out);
		out.payload_size = UINT32_MAX;
		refuse(g, &out);
		out.tail = pattern;
		out.tail_size = UINT32_MAX;
		refuse(g, &out);
		out.tail_size = 0;
		out.payload_size = 0;
		out.header_size = 0xffff * 8;
		refuse(g, &out);
		out.header_size = UINT32_MAX - 7;
		refuse(g, &out);
		out.header_size = 1u << 19; /* 0x10000 units, which 16 bits would make 0 */
		refuse(g, &out);
		assert_int_equal(rig_write(g, pattern, most), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_in(g), 0xffff * 8 + 8);
		assert_int_equal(rig_word(g, 0) >> 32 & 0xffff, 0xffff);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_int_equal(g->p.payload_size, most);
		assert_memory_equal(g->p.payload, pattern, most);
	}
	assert_int_equal(vmbus_ring_packet_size(0, 0xffff * 8 - 16), 0x80000);
	assert_int_equal(vmbus_ring_packet_size(8, 0xffff * 8 - 16), 0);
}

static void ring_008_reader_accepts_all_but_eight_bytes(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t out = 0; out < D; out += 8) {
			rig_at(g, (out + D - 8) % D, out);
			rig_descriptor(g, out, VMBUS_PKT_INBAND, 2, (D - 16) / 8, 0, 0);
			rig_put_bytes(g, out + 16, pattern, D - 32);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(g->p.payload_size, D - 32);
			assert_memory_equal(g->p.payload, pattern, D - 32);
			assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
		}
	}
}

static void ring_009_010_lengths_that_the_reader_tells_and_takes(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t offset8 = 2; offset8 < 20; offset8++)
			for (uint32_t length8 = offset8; length8 < 40; length8++) {
				uint32_t out = (offset8 * 512 + length8 * 8) % D;
				uint32_t next = (out + length8 * 8 + 8) % D;

				rig_at(g, (next + 24) % D, out);
				rig_descriptor(g, out, VMBUS_PKT_INBAND, (uint16_t)offset8,
					       (uint16_t)length8, 0, 0);
				rig_descriptor(g, next, VMBUS_PKT_INBAND, 2, 2, 0, 0);
				assert_int_equal(rig_read(g), VMBUS_RING_OK);
				assert_int_equal(g->p.payload_size, (length8 - offset8) * 8);
				assert_int_equal(g->p.header_size, offset8 * 8);
				assert_int_equal(g->p.total_size, length8 * 8);
				assert_ptr_equal(g->p.payload, g->buf + offset8 * 8);
				assert_ptr_equal(g->p.header, g->buf + 16);
				vmbus_ring_release(&g->r);
				assert_int_equal(rig_out(g), next);
				assert_int_equal(rig_read(g), VMBUS_RING_OK);
				assert_int_equal(g->p.payload_size, 0);
			}
	}
}

static void ring_011_equal_indices_are_empty_everywhere(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		rig_fill(g, 0x06); /* whatever a stale descriptor says */
		for (uint32_t at = 0; at < D; at += 8) {
			rig_at(g, at, at);
			assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
			assert_false(vmbus_ring_has_data(&g->r));
			assert_false(vmbus_ring_release(&g->r));
			assert_int_equal(rig_out(g), at);
		}
	}
}

static void ring_012_both_ends_continue_from_nonzero_indices(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t out = 8; out < D; out += 40) {
			/* two packets lie there already */
			rig_at(g, out, out);
			assert_int_equal(rig_write(g, pattern, 100), VMBUS_RING_OK);
			assert_int_equal(rig_write(g, pattern + 1, 200), VMBUS_RING_OK);
			vmbus_ring_publish(&g->w);
			rig_attach_reader(g);
			rig_attach_writer(g);
			assert_true(vmbus_ring_has_data(&g->r));
			assert_int_equal(rig_write(g, pattern + 2, 300), VMBUS_RING_OK);
			assert_false(vmbus_ring_publish(&g->w));
			for (uint32_t i = 0; i < 3; i++) {
				assert_int_equal(rig_read(g), VMBUS_RING_OK);
				assert_memory_equal(g->p.payload, pattern + i, 100 * (i + 1));
			}
			assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
			vmbus_ring_release(&g->r);
			assert_int_equal(rig_out(g), rig_in(g));
		}
	}
}

static void ring_013_attaching_as_writer_touches_two_words(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		uint8_t *page = (uint8_t *)g->control;

		for (uint32_t i = 8; i < 4096; i++)
			page[i] = (uint8_t)(i ^ 0xa5);
		rig_attach_writer(g);
		assert_int_equal(vmbus_load32_relaxed(&g->control->features) & 1, 1);
		assert_int_equal(vmbus_load32_relaxed(&g->control->pending), 0);
		for (uint32_t i = 8; i < 4096; i++)
			if ((i < 12 || i >= 16) && (i < 64 || i >= 68))
				assert_int_equal(page[i], (uint8_t)(i ^ 0xa5));
		rig_attach_reader(g);
		for (uint32_t i = 16; i < 4096; i++)
			if (i < 64 || i >= 68)
				assert_int_equal(page[i], (uint8_t)(i ^ 0xa5));
	}
}

static void ring_014_rings_without_data_are_refused(void **state)
{
	uint32_t a, b;

	FOR_EACH_VIEW(g, D)
	{
		struct vmbus_ring_view v = g->view;

		v.size = 0;
		assert_int_equal(vmbus_ring_writer_attach(&g->w, &v), VMBUS_RING_CORRUPT);
		assert_int_equal(vmbus_ring_reader_attach(&g->r, &v), VMBUS_RING_CORRUPT);
		v.size = 4096 + 8;
		assert_int_equal(vmbus_ring_writer_attach(&g->w, &v), VMBUS_RING_CORRUPT);
		assert_int_equal(vmbus_ring_reader_attach(&g->r, &v), VMBUS_RING_CORRUPT);
	}
	assert_true(vmbus_ring_geometry(4, 2, &a, &b));
	assert_int_equal(a, 4096);
	assert_int_equal(b, 4096);
	assert_true(vmbus_ring_geometry(8190, 32, &a, &b));
	assert_int_equal(a, 31 * 4096);
	assert_int_equal(b, (8190 - 33) * 4096);
	assert_false(vmbus_ring_geometry(4, 1, &a, &b));
	assert_false(vmbus_ring_geometry(4, 3, &a, &b));
	assert_false(vmbus_ring_geometry(4, 0, &a, &b));
	assert_false(vmbus_ring_geometry(4, 4, &a, &b));
	assert_false(vmbus_ring_geometry(4, 5, &a, &b));
	assert_false(vmbus_ring_geometry(4, UINT32_MAX, &a, &b));
	assert_false(vmbus_ring_geometry(UINT32_MAX, 2, &a, &b));
}

static void check_kind(struct rig *g, uint16_t type, uint16_t flags, uint64_t want)
{
	rig_at(g, 0, 0);
	assert_int_equal(vmbus_ring_write_inband(&g->w, type, flags, 5, pattern, 8), VMBUS_RING_OK);
	assert_true(rig_word(g, 0) == want);
}

static void ring_015_types_and_flags_on_the_wire(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		check_kind(g, VMBUS_PKT_INBAND, 0, 0x0000000300020006);
		check_kind(g, VMBUS_PKT_INBAND, 1, 0x0001000300020006);
		check_kind(g, VMBUS_PKT_COMPLETION, 0, 0x000000030002000b);
		/* what is unknown is never sent, and a completion asks for nothing */
		check_kind(g, VMBUS_PKT_INBAND, 0xffff, 0x0001000300020006);
		check_kind(g, VMBUS_PKT_INBAND, 0xfffe, 0x0000000300020006);
		check_kind(g, VMBUS_PKT_COMPLETION, 1, 0x000000030002000b);
	}
}

static void ring_016_transaction_ids_are_shown_only_with_meaning(void **state)
{
	static const struct {
		uint16_t type, flags;
		bool shown;
	} cases[] = {
		{VMBUS_PKT_INBAND, 0, false},        {VMBUS_PKT_INBAND, 1, true},
		{VMBUS_PKT_INBAND, 0xfffe, false},   {VMBUS_PKT_COMPLETION, 0, true},
		{VMBUS_PKT_COMPLETION, 1, true},     {VMBUS_PKT_TRANSFER_PAGES, 0, false},
		{VMBUS_PKT_TRANSFER_PAGES, 1, true}, {VMBUS_PKT_GPA_DIRECT, 0, false},
		{VMBUS_PKT_GPA_DIRECT, 1, true},
	};

	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			rig_at(g, 48, 0);
			rig_set_word(g, 16, 1ull << 32);
			rig_descriptor(g, 0, cases[i].type, 3, 5, cases[i].flags,
				       0x8000000000000001);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_true(g->p.transaction_id ==
				    (cases[i].shown ? 0x8000000000000001 : 0));
			assert_int_equal(g->p.completion_requested, cases[i].flags & 1);
		}
	}
}

static void a_worked_example_byte_for_byte(void **state)
{
	static const uint8_t want[32] = {6,   0, 2, 0, 3, 0, 0,   0,   0,    0,
					 0,   0, 0, 0, 0, 0, 'h', 'e', 'l',  'l',
					 'o', 0, 0, 0, 0, 0, 0,   0,   0xf0, 0x0f};
	uint8_t got[32];

	FOR_EACH_VIEW(g, D)
	{
		rig_at(g, 0xff0, 0xff0);
		rig_fill(g, 0xee);
		assert_int_equal(rig_write(g, "hello", 5), VMBUS_RING_OK);
		assert_true(vmbus_ring_publish(&g->w));
		rig_bytes(g, 0xff0, got, sizeof(got));
		assert_memory_equal(got, want, sizeof(want));
		assert_int_equal(rig_in(g), 0x10);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_int_equal(g->p.payload_size, 8);
	}
}

static void a_ring_that_is_closed_is_left_alone(void **state)
{
	struct vmbus_ring_writer w = {0};
	struct vmbus_ring_reader r = {0};
	struct vmbus_packet_in p;
	uint64_t buf[4];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(vmbus_ring_write_inband(&w, 6, 0, 0, pattern, 8),
				 VMBUS_RING_CLOSED);
		assert_int_equal(vmbus_ring_write_inband(&w, 6, 0, 0, pattern, UINT32_MAX),
				 VMBUS_RING_CLOSED);
		assert_false(vmbus_ring_publish(&w));
		assert_true(vmbus_ring_writer_block(&w, 24));
		vmbus_ring_writer_unblock(&w);
		assert_false(vmbus_ring_writer_corrupt(&w));
		assert_int_equal(vmbus_ring_writer_room(&w, 100), 0);
		assert_int_equal(vmbus_ring_read(&r, buf, sizeof(buf), &p), VMBUS_RING_CLOSED);
		assert_false(vmbus_ring_has_data(&r));
		assert_false(vmbus_ring_unmask(&r));
		vmbus_ring_mask(&r);
		assert_false(vmbus_ring_release(&r));
		assert_false(vmbus_ring_peer_has_feature(&r));
		assert_false(vmbus_ring_reader_corrupt(&r));
		/* the same after a life */
		FOR_EACH_VIEW(g, D)
		{
			w = g->w;
			r = g->r;
		}
		vmbus_ring_writer_detach(&w);
		vmbus_ring_reader_detach(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_001_size_of_inband_packets),
		cmocka_unit_test(ring_002_pad_bytes_are_zero),
		cmocka_unit_test(ring_003_each_trailer_holds_its_own_offset),
		cmocka_unit_test(ring_004_packets_wrap_at_every_split_point),
		cmocka_unit_test(ring_004_long_packets_wrap_too),
		cmocka_unit_test(a_payload_in_two_pieces_is_one),
		cmocka_unit_test(ring_005_largest_packets),
		cmocka_unit_test(ring_006_writing_never_makes_a_full_ring_look_empty),
		cmocka_unit_test(ring_006_a_stream_of_packets_keeps_a_gap),
		cmocka_unit_test(ring_007_lengths_beyond_16_bits_are_refused),
		cmocka_unit_test(ring_008_reader_accepts_all_but_eight_bytes),
		cmocka_unit_test(ring_009_010_lengths_that_the_reader_tells_and_takes),
		cmocka_unit_test(ring_011_equal_indices_are_empty_everywhere),
		cmocka_unit_test(ring_012_both_ends_continue_from_nonzero_indices),
		cmocka_unit_test(ring_013_attaching_as_writer_touches_two_words),
		cmocka_unit_test(ring_014_rings_without_data_are_refused),
		cmocka_unit_test(ring_015_types_and_flags_on_the_wire),
		cmocka_unit_test(ring_016_transaction_ids_are_shown_only_with_meaning),
		cmocka_unit_test(a_worked_example_byte_for_byte),
		cmocka_unit_test(a_ring_that_is_closed_is_left_alone),
	};

	return cmocka_run_group_tests_name("ring_layout", tests, make_pattern, NULL);
}
