/* SPDX-License-Identifier: MIT */
/* Pipes over a ring: messages, streams, and what a peer can get wrong. */
#include "ring_rig.h"

#include <stdlib.h>
#include <string.h>

#include "vmbus/pipe.h"

static uint8_t pattern[2 * VMBUS_PIPE_MAX_MESSAGE];
static uint8_t got[2 * VMBUS_PIPE_MAX_MESSAGE];
static _Alignas(16) uint8_t buffer[VMBUS_PIPE_BUFFER];

static int make_pattern(void **state)
{
	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 31 + (i >> 8) + 1);
	return 0;
}

static void check_message(struct rig *g, struct vmbus_pipe_reader *p, uint32_t n)
{
	size_t size = 0;

	assert_int_equal(vmbus_pipe_write_message(&g->w, pattern, n), VMBUS_PIPE_OK);
	vmbus_ring_publish(&g->w);
	memset(got, 0x55, n + 16);
	assert_int_equal(vmbus_pipe_read_message(p, got, sizeof(got), &size), VMBUS_PIPE_OK);
	assert_int_equal(size, n);
	assert_memory_equal(got, pattern, n);
	assert_int_equal(got[n], 0x55);
	vmbus_pipe_release(p);
	assert_int_equal(rig_out(g), rig_in(g));
}

static void ring_059_messages_keep_their_exact_length(void **state)
{
	FOR_EACH_VIEW(g, 32768)
	{
		struct vmbus_pipe_reader p;

		vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_MESSAGES);
		for (uint32_t n = 0; n <= VMBUS_PIPE_MAX_MESSAGE; n += n < 300 ? 1 : 61)
			check_message(g, &p, n);
		check_message(g, &p, VMBUS_PIPE_MAX_MESSAGE - 1);
		check_message(g, &p, VMBUS_PIPE_MAX_MESSAGE);
		assert_int_equal(
			vmbus_pipe_write_message(&g->w, pattern, VMBUS_PIPE_MAX_MESSAGE + 1),
			VMBUS_PIPE_TOO_LARGE);
		assert_int_equal(vmbus_pipe_largest_message(&g->w), VMBUS_PIPE_MAX_MESSAGE);
	}
	FOR_EACH_VIEW(g, 4096)
	{
		uint32_t most = vmbus_pipe_largest_message(&g->w);
		struct vmbus_pipe_reader p;

		vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_MESSAGES);
		assert_int_equal(most, 4096 - 16 - 32);
		check_message(g, &p, most);
		assert_int_equal(vmbus_pipe_write_message(&g->w, pattern, most + 1),
				 VMBUS_PIPE_TOO_LARGE);
	}
}

static void the_worked_sizes_of_the_specification(void **state)
{
	FOR_EACH_VIEW(g, 32768)
	{
		assert_int_equal(vmbus_pipe_write_message(&g->w, pattern, 10), VMBUS_PIPE_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_in(g), 48);
		assert_true(rig_word(g, 0) == 0x0000000500020006);
		assert_true(rig_word(g, 8) == 0);
		assert_true(rig_word(g, 16) == 0x0000000a00000001);
		assert_int_equal(vmbus_pipe_write_message(&g->w, pattern, 16384), VMBUS_PIPE_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_in(g), 48 + 16416);
		assert_int_equal(vmbus_pipe_need(VMBUS_PIPE_MESSAGES, 16384), 16416);
	}
}

/* A packet with this pipe header and `body` bytes after it. */
static void put(struct rig *g, uint16_t type, uint16_t flags, uint32_t pipe_type, uint32_t length,
		uint32_t body)
{
	uint32_t header[2] = {VMBUS_LE32(pipe_type), VMBUS_LE32(length)};
	struct vmbus_packet_out out = {
		.type = type,
		.flags = flags,
		.payload = header,
		.payload_size = 8,
		.tail = pattern,
		.tail_size = body,
	};
	const uint64_t ranges[3] = {1ull << 32, 1, 1};

	if (type == VMBUS_PKT_GPA_DIRECT) {
		out.header = ranges;
		out.header_size = sizeof(ranges);
	}
	assert_int_equal(vmbus_ring_write(&g->w, &out), VMBUS_RING_OK);
	vmbus_ring_publish(&g->w);
}

/* In both modes: an error at once, for ever, and the packet behind it untouched. */
static void expect_error(struct rig *g, uint16_t type, uint16_t flags, uint32_t pipe_type,
			 uint32_t length, uint32_t body)
{
	for (int mode = VMBUS_PIPE_MESSAGES; mode <= VMBUS_PIPE_BYTES; mode++) {
		struct vmbus_pipe_reader p;
		uint32_t good = 16;
		size_t size;

		rig_at(g, 0, 0);
		put(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, good, good);
		put(g, type, flags, pipe_type, length, body);
		put(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, good, good);
		vmbus_pipe_reader_init(&p, &g->r, buffer, mode);
		memset(got, 0x55, 64);
		for (int i = 0; i < 4; i++) {
			enum vmbus_pipe_result result =
				mode == VMBUS_PIPE_BYTES
					? vmbus_pipe_read_bytes(&p, got, 1000, &size)
					: vmbus_pipe_read_message(&p, got, 1000, &size);

			assert_int_equal(result, i ? VMBUS_PIPE_ERROR : VMBUS_PIPE_OK);
			assert_int_equal(size, i ? 0 : good);
		}
		assert_memory_equal(got, pattern, good);
		assert_int_equal(got[good], 0x55);
		assert_true(vmbus_ring_has_data(&g->r));
	}
}

static void ring_060_lengths_beyond_message_or_payload(void **state)
{
	static const uint32_t lengths[] = {
		9,       15,         16,         24,         16384,      16385,     0xffff,
		0x10000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffff8, 0xffffffff};

	FOR_EACH_VIEW(g, 65536)
	{
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
			expect_error(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, lengths[i], 8);
		expect_error(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, 16385, 16392);
		expect_error(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, 16385, 20000);
		expect_error(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, 1, 0);
	}
}

static void ring_061_packets_that_are_no_pipe_packets(void **state)
{
	FOR_EACH_VIEW(g, 8192)
	{
		struct vmbus_pipe_reader p;
		size_t size;

		expect_error(g, VMBUS_PKT_COMPLETION, 0, VMBUS_PIPE_DATA, 8, 8);
		expect_error(g, VMBUS_PKT_GPA_DIRECT, 0, VMBUS_PIPE_DATA, 8, 8);
		expect_error(g, VMBUS_PKT_GPA_DIRECT, 1, VMBUS_PIPE_DATA, 8, 8);
		expect_error(g, VMBUS_PKT_INBAND, 1, VMBUS_PIPE_DATA, 8, 8);
		expect_error(g, 0x63, 0, VMBUS_PIPE_DATA, 8, 8);
		expect_error(g, VMBUS_PKT_INBAND, 0, 0, 8, 8);
		for (uint32_t type = 6; type; type = type < 20 ? type + 1 : type << 1)
			expect_error(g, VMBUS_PKT_INBAND, 0, type, 8, 8);
		expect_error(g, VMBUS_PKT_INBAND, 0, 0x10001, 8, 8);
		/* no room for a header */
		rig_at(g, 24, 0);
		rig_descriptor(g, 0, VMBUS_PKT_INBAND, 2, 2, 0, 0);
		vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
		assert_int_equal(vmbus_pipe_read_bytes(&p, got, 10, &size), VMBUS_PIPE_ERROR);
	}
}

static void known_packets_of_other_kinds_are_passed_over(void **state)
{
	FOR_EACH_VIEW(g, 8192)
	{
		struct vmbus_pipe_reader p;
		size_t size;

		vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_MESSAGES);
		for (uint32_t type = 3; type <= 5; type++)
			put(g, VMBUS_PKT_INBAND, 0, type, 0xffffffff, 24);
		put(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, 5, 5);
		assert_int_equal(vmbus_pipe_read_message(&p, got, 100, &size), VMBUS_PIPE_OK);
		assert_int_equal(size, 5);
		assert_int_equal(p.other, 3);
	}
}

static void a_message_larger_than_the_callers_buffer_stays(void **state)
{
	FOR_EACH_VIEW(g, 8192)
	{
		struct vmbus_pipe_reader p;
		size_t size;

		vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_MESSAGES);
		put(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, 100, 100);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(vmbus_pipe_read_message(&p, got, 99, &size),
					 VMBUS_PIPE_TOO_LARGE);
			assert_int_equal(size, 100);
			vmbus_pipe_release(&p);
			assert_int_equal(rig_out(g), 0);
		}
		assert_int_equal(vmbus_pipe_read_message(&p, got, 100, &size), VMBUS_PIPE_OK);
		assert_memory_equal(got, pattern, 100);
		assert_int_equal(vmbus_pipe_read_message(&p, got, 100, &size), VMBUS_PIPE_EMPTY);
	}
}

/* The stream, read k bytes at a time; how much of it was read. */
static void check_stream(struct rig *g, size_t k, size_t total)
{
	struct vmbus_pipe_reader p;
	size_t sent = 0, read = 0, turns = 0;

	rig_at(g, 0, 0);
	vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
	while (read < total) {
		size_t n;

		assert_true(turns++ < 4 * total);
		if (sent < total &&
		    vmbus_pipe_write_bytes(&g->w, pattern + sent,
					   total - sent < 5000 ? total - sent : 5000,
					   &n) == VMBUS_PIPE_OK)
			sent += n;
		vmbus_ring_publish(&g->w);
		if (vmbus_pipe_read_bytes(&p, got + read, k, &n) == VMBUS_PIPE_OK) {
			assert_true(n > 0 && n <= k);
			read += n;
		}
		vmbus_pipe_release(&p);
		assert_memory_equal(got + (read < k ? 0 : read - k),
				    pattern + (read < k ? 0 : read - k), read < k ? read : k);
	}
	assert_memory_equal(got, pattern, total);
}

static void ring_062_a_stream_read_in_pieces_of_any_size(void **state)
{
	FOR_EACH_VIEW(g, 4096)
	{
		for (size_t k = 1; k < 3000; k += k < 70 ? 1 : 97)
			check_stream(g, k, 9000);
		check_stream(g, 20000, 20000);
	}
}

static void ring_062_the_position_survives_a_restore(void **state)
{
	FOR_EACH_VIEW(g, 8192)
	{
		for (size_t k = 1; k < 2500; k += 131) {
			struct vmbus_pipe_reader p;
			size_t read = 0, n;

			rig_at(g, 4000, 4000);
			assert_int_equal(vmbus_pipe_write_bytes(&g->w, pattern, 5000, &n),
					 VMBUS_PIPE_OK);
			assert_int_equal(n, 5000);
			vmbus_ring_publish(&g->w);
			vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
			while (read < 5000) {
				assert_int_equal(vmbus_pipe_read_bytes(&p, got + read, k, &n),
						 VMBUS_PIPE_OK);
				read += n;
				vmbus_pipe_release(&p);
				/* everything private is gone but one number */
				n = vmbus_pipe_reader_position(&p);
				rig_attach_reader(g);
				vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
				vmbus_pipe_reader_restore(&p, (uint32_t)n);
			}
			assert_memory_equal(got, pattern, 5000);
			assert_int_equal(vmbus_pipe_read_bytes(&p, got, 1, &n), VMBUS_PIPE_EMPTY);
		}
	}
}

static void ring_063_the_end_comes_once_and_last(void **state)
{
	FOR_EACH_VIEW(g, 4096)
	{
		for (size_t k = 1; k < 3000; k += 77) {
			struct vmbus_pipe_reader p;
			size_t sent, read = 0, n;
			enum vmbus_pipe_result result;

			rig_at(g, 1000, 1000);
			vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
			/* as much as fits: the end still does */
			assert_int_equal(vmbus_pipe_write_bytes(&g->w, pattern, 8000, &sent),
					 VMBUS_PIPE_OK);
			assert_int_equal(vmbus_pipe_write_bytes(&g->w, pattern, 8000, &n),
					 VMBUS_PIPE_FULL);
			assert_int_equal(vmbus_pipe_write_end(&g->w), VMBUS_PIPE_OK);
			vmbus_ring_publish(&g->w);
			while ((result = vmbus_pipe_read_bytes(&p, got + read, k, &n)) ==
			       VMBUS_PIPE_OK)
				read += n;
			assert_int_equal(result, VMBUS_PIPE_END);
			assert_int_equal(n, 0);
			assert_int_equal(read, sent);
			assert_memory_equal(got, pattern, sent);
			vmbus_pipe_release(&p);
			assert_int_equal(rig_out(g), rig_in(g));
			for (int i = 0; i < 3; i++)
				assert_int_equal(vmbus_pipe_read_bytes(&p, got, k, &n),
						 VMBUS_PIPE_EMPTY);
		}
	}
}

static void ring_063_the_end_is_consumed_only_when_it_is_told(void **state)
{
	FOR_EACH_VIEW(g, 4096)
	{
		struct vmbus_pipe_reader p;
		size_t n;

		vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
		put(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, 8, 8);
		assert_int_equal(vmbus_pipe_write_end(&g->w), VMBUS_PIPE_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(vmbus_pipe_read_bytes(&p, got, 100, &n), VMBUS_PIPE_OK);
		assert_int_equal(n, 8);
		vmbus_pipe_release(&p);
		assert_int_equal(rig_out(g), 40);
		assert_int_equal(vmbus_pipe_read_bytes(&p, got, 100, &n), VMBUS_PIPE_END);
		vmbus_pipe_release(&p);
		assert_int_equal(rig_out(g), 72);
	}
}

static void ring_063_no_message_is_an_empty_message(void **state)
{
	FOR_EACH_VIEW(g, 4096)
	{
		struct vmbus_pipe_reader p;
		size_t n = 7;

		vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_MESSAGES);
		assert_int_equal(vmbus_pipe_write_message(&g->w, NULL, 0), VMBUS_PIPE_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(vmbus_pipe_read_message(&p, got, 10, &n), VMBUS_PIPE_OK);
		assert_int_equal(n, 0);
		assert_int_equal(vmbus_pipe_read_message(&p, got, 10, &n), VMBUS_PIPE_EMPTY);
	}
}

static void ring_064_markers_from_a_peer_are_errors(void **state)
{
	FOR_EACH_VIEW(g, 8192)
	{
		for (uint32_t length = 0; length <= 24; length += 4)
			for (uint32_t consumed = 0; consumed <= 28; consumed += 4)
				expect_error(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_PARTIAL,
					     length | consumed << 16, 24);
	}
}

static void ring_064_markers_of_a_restored_ring(void **state)
{
	FOR_EACH_VIEW(g, 8192)
	{
		for (uint32_t length = 0; length <= 40; length += 4)
			for (uint32_t consumed = 0; consumed <= 28; consumed += 4) {
				bool good = length <= 24 && consumed < length;
				struct vmbus_pipe_reader p;
				size_t n;

				rig_at(g, 0, 0);
				put(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_PARTIAL,
				    length | consumed << 16, 24);
				put(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_DATA, 10, 10);
				put(g, VMBUS_PKT_INBAND, 0, VMBUS_PIPE_PARTIAL, 24 | 4 << 16, 24);
				vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
				vmbus_pipe_reader_restore(&p, 0);
				if (!good) {
					assert_int_equal(vmbus_pipe_read_bytes(&p, got, 99, &n),
							 VMBUS_PIPE_ERROR);
					continue;
				}
				assert_int_equal(
					vmbus_pipe_read_bytes(&p, got, length - consumed, &n),
					VMBUS_PIPE_OK);
				assert_int_equal(n, length - consumed);
				assert_memory_equal(got, pattern + consumed, n);
				assert_int_equal(vmbus_pipe_read_bytes(&p, got, 10, &n),
						 VMBUS_PIPE_OK);
				assert_memory_equal(got, pattern, 10);
				/* only the first one can be */
				assert_int_equal(vmbus_pipe_read_bytes(&p, got, 10, &n),
						 VMBUS_PIPE_ERROR);
			}
	}
}

static void a_pipe_over_a_broken_or_closed_ring(void **state)
{
	FOR_EACH_VIEW(g, 4096)
	{
		struct vmbus_pipe_reader p;
		size_t n;

		vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
		vmbus_store32_relaxed(&g->control->in, 4);
		for (int i = 0; i < 2; i++)
			assert_int_equal(vmbus_pipe_read_bytes(&p, got, 10, &n),
					 VMBUS_PIPE_CORRUPT);
		vmbus_store32_relaxed(&g->control->out, 4);
		n = 0;
		while (vmbus_pipe_write_bytes(&g->w, pattern, 1000, &n) == VMBUS_PIPE_OK)
			;
		assert_int_equal(vmbus_pipe_write_bytes(&g->w, pattern, 1000, &n),
				 VMBUS_PIPE_CORRUPT);
		vmbus_ring_writer_detach(&g->w);
		assert_int_equal(vmbus_pipe_write_bytes(&g->w, pattern, 1000, &n),
				 VMBUS_PIPE_CLOSED);
		assert_int_equal(vmbus_pipe_write_end(&g->w), VMBUS_PIPE_CLOSED);
	}
}

static void what_a_stream_waits_for_lets_it_go_on(void **state)
{
	FOR_EACH_VIEW(g, 4096)
	{
		for (uint32_t size = 1; size < 3000; size += 41) {
			struct vmbus_pipe_reader p;
			size_t n;

			rig_at(g, 0, 0);
			vmbus_pipe_reader_init(&p, &g->r, buffer, VMBUS_PIPE_BYTES);
			while (vmbus_pipe_write_bytes(&g->w, pattern, size, &n) == VMBUS_PIPE_OK)
				;
			vmbus_ring_publish(&g->w);
			assert_true(vmbus_ring_writer_block(
				&g->w, vmbus_pipe_need(VMBUS_PIPE_BYTES, size)));
			while (vmbus_pipe_read_bytes(&p, got, 64, &n) == VMBUS_PIPE_OK)
				if (vmbus_pipe_release(&p))
					break;
			assert_false(vmbus_ring_writer_block(
				&g->w, vmbus_pipe_need(VMBUS_PIPE_BYTES, size)));
			assert_int_equal(vmbus_pipe_write_bytes(&g->w, pattern, size, &n),
					 VMBUS_PIPE_OK);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_059_messages_keep_their_exact_length),
		cmocka_unit_test(the_worked_sizes_of_the_specification),
		cmocka_unit_test(ring_060_lengths_beyond_message_or_payload),
		cmocka_unit_test(ring_061_packets_that_are_no_pipe_packets),
		cmocka_unit_test(known_packets_of_other_kinds_are_passed_over),
		cmocka_unit_test(a_message_larger_than_the_callers_buffer_stays),
		cmocka_unit_test(ring_062_a_stream_read_in_pieces_of_any_size),
		cmocka_unit_test(ring_062_the_position_survives_a_restore),
		cmocka_unit_test(ring_063_the_end_comes_once_and_last),
		cmocka_unit_test(ring_063_the_end_is_consumed_only_when_it_is_told),
		cmocka_unit_test(ring_063_no_message_is_an_empty_message),
		cmocka_unit_test(ring_064_markers_from_a_peer_are_errors),
		cmocka_unit_test(ring_064_markers_of_a_restored_ring),
		cmocka_unit_test(a_pipe_over_a_broken_or_closed_ring),
		cmocka_unit_test(what_a_stream_waits_for_lets_it_go_on),
	};

	return cmocka_run_group_tests_name("pipe", tests, make_pattern, NULL);
}
