/* SPDX-License-Identifier: MIT */
/* A peer that writes what it likes, when it likes, over everything that it can reach. */
#include "ring_rig.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

#define D 4096u

static const uint32_t bad_indices[] = {D,     0xffffffff, 4,     12,    1,          D - 4,
				       D + 8, 2 * D,      D - 1, D | 4, 0x80000000, 0xfffffff8};
#define BAD_INDICES (sizeof(bad_indices) / sizeof(bad_indices[0]))

static uint8_t pattern[D];

static int make_pattern(void **state)
{
	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 31 + (i >> 8) + 1);
	return 0;
}

/* Corrupt it is and stays, whatever the peer repairs, and `out` stays where it was. */
static void expect_dead(struct rig *g)
{
	uint32_t out = rig_out(g);

	assert_true(vmbus_ring_reader_corrupt(&g->r));
	for (int i = 0; i < 4; i++) {
		assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
		assert_false(vmbus_ring_release(&g->r));
		assert_false(vmbus_ring_unmask(&g->r));
		assert_int_equal(rig_out(g), out);
		/* now everything looks well again */
		vmbus_store32_relaxed(&g->control->in, (out + 24) % g->size);
		vmbus_store32_relaxed(&g->control->pending, 8);
		rig_descriptor(g, out, VMBUS_PKT_INBAND, 2, 2, 0, 0);
	}
}

static void ring_025_036_bad_write_index_is_corrupt_for_ever(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < BAD_INDICES; i++)
			for (uint32_t out = 0; out < D; out += 1016) {
				rig_at(g, out, out);
				vmbus_store32_relaxed(&g->control->in, bad_indices[i]);
				assert_true(vmbus_ring_has_data(&g->r));
				assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
				expect_dead(g);
			}
	}
}

static void ring_025_bad_write_index_after_packets_that_were_read(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		rig_at(g, 0, 0);
		assert_int_equal(rig_write(g, pattern, 40), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		vmbus_store32_relaxed(&g->control->in, 4);
		assert_true(vmbus_ring_unmask(&g->r)); /* the next read says what it is */
		assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
		expect_dead(g);
	}
}

static void ring_025_bad_indices_are_found_when_attaching(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < BAD_INDICES; i++) {
			vmbus_store32_relaxed(&g->control->in, bad_indices[i]);
			vmbus_store32_relaxed(&g->control->out, 0);
			assert_int_equal(vmbus_ring_reader_attach(&g->r, &g->view),
					 VMBUS_RING_CORRUPT);
			assert_int_equal(vmbus_ring_writer_attach(&g->w, &g->view),
					 VMBUS_RING_CORRUPT);
			assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
			assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_CORRUPT);
			vmbus_store32_relaxed(&g->control->in, 0);
			vmbus_store32_relaxed(&g->control->out, bad_indices[i]);
			assert_int_equal(vmbus_ring_reader_attach(&g->r, &g->view),
					 VMBUS_RING_CORRUPT);
			assert_int_equal(vmbus_ring_writer_attach(&g->w, &g->view),
					 VMBUS_RING_CORRUPT);
		}
	}
}

static void ring_026_036_bad_read_index_stops_the_writer(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < BAD_INDICES; i++) {
			uint8_t before[D], after[D];
			uint32_t in;

			rig_at(g, 0, 0);
			while (rig_write(g, pattern, 100) == VMBUS_RING_OK)
				;
			vmbus_ring_publish(&g->w);
			in = rig_in(g);
			rig_bytes(g, 0, before, D);
			vmbus_store32_relaxed(&g->control->out, bad_indices[i]);
			assert_int_equal(rig_write(g, pattern, 100), VMBUS_RING_CORRUPT);
			assert_true(vmbus_ring_writer_corrupt(&g->w));
			vmbus_store32_relaxed(&g->control->out, in);
			assert_int_equal(rig_write(g, pattern, 100), VMBUS_RING_CORRUPT);
			assert_int_equal(rig_write(g, pattern, 0), VMBUS_RING_CORRUPT);
			assert_false(vmbus_ring_publish(&g->w));
			assert_true(vmbus_ring_writer_block(&g->w, 24));
			assert_int_equal(vmbus_load32_relaxed(&g->control->pending), 0);
			assert_int_equal(rig_in(g), in);
			rig_bytes(g, 0, after, D);
			assert_memory_equal(before, after, D);
		}
	}
}

static void ring_026_bad_read_index_while_blocked(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		while (rig_write(g, pattern, 100) == VMBUS_RING_OK)
			;
		vmbus_ring_publish(&g->w);
		vmbus_store32_relaxed(&g->control->out, 12);
		assert_true(vmbus_ring_writer_block(&g->w, 128));
		assert_true(vmbus_ring_writer_corrupt(&g->w));
		assert_int_equal(rig_write(g, pattern, 100), VMBUS_RING_CORRUPT);
	}
}

static void ring_027_less_than_a_packet_is_corrupt(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t out = 0; out < D; out += 8)
			for (uint32_t n = 8; n <= 24; n += 8) {
				rig_at(g, out, out);
				rig_descriptor(g, out, VMBUS_PKT_INBAND, 2, 2, 0, 0);
				vmbus_store32_relaxed(&g->control->in, (out + n) % D);
				if (n == 24) {
					assert_int_equal(rig_read(g), VMBUS_RING_OK);
					continue;
				}
				assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
				expect_dead(g);
			}
	}
}

static void ring_027_a_crumb_behind_a_packet_is_corrupt(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t n = 8; n <= 16; n += 8) {
			rig_at(g, 0, 0);
			rig_fill(g, 0);
			rig_descriptor(g, 0, VMBUS_PKT_INBAND, 2, 2, 0, 0);
			rig_descriptor(g, 24, VMBUS_PKT_INBAND, 2, 2, 0, 0);
			vmbus_store32_relaxed(&g->control->in, 24 + n);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
			expect_dead(g);
		}
	}
}

static bool lengths_sound(uint32_t offset8, uint32_t length8, uint32_t available)
{
	return offset8 >= 2 && length8 >= offset8 && length8 * 8 + 8 <= available;
}

static void ring_028_029_every_combination_of_lengths(void **state)
{
	static const uint16_t large[] = {510,    511,    512,    513,   0x1fff,
					 0x2000, 0x7fff, 0x8000, 0xffff};
	const uint32_t available = 48;

	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t i = 0; i < 12 + 9; i++)
			for (uint32_t k = 0; k < 12 + 9; k++) {
				uint16_t offset8 = i < 12 ? (uint16_t)i : large[i - 12];
				uint16_t length8 = k < 12 ? (uint16_t)k : large[k - 12];
				uint32_t out = (i * 512 + k * 24) % D;

				rig_at(g, (out + available) % D, out);
				rig_descriptor(g, out, VMBUS_PKT_INBAND, offset8, length8, 0, 0);
				if (lengths_sound(offset8, length8, available)) {
					assert_int_equal(rig_read(g), VMBUS_RING_OK);
					continue;
				}
				assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
				assert_int_equal(rig_out(g), out);
				expect_dead(g);
			}
	}
}

static void ring_029_eight_bytes_too_long(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t out = 0; out < D; out += 8)
			for (uint32_t length8 = 2; length8 < 20; length8++) {
				uint32_t total = length8 * 8 + 8;

				rig_at(g, (out + total) % D, out);
				rig_descriptor(g, out, VMBUS_PKT_INBAND, 2, (uint16_t)length8, 0,
					       0);
				assert_int_equal(rig_read(g), VMBUS_RING_OK);
				if (total == 24)
					continue;
				/* without room for the trailer */
				rig_at(g, (out + total - 8) % D, out);
				assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
			}
	}
}

/* ---- changes between a load and the next ---- */

/*
 * The descriptor is the last thing on a page and the payload the first on the next, which faults:
 * the handler is a peer that has all the time it wants between the reader's load and its copy.
 */
static struct {
	struct rig *g;
	uint8_t *page;
	uint64_t descriptor;
	volatile sig_atomic_t faults;
} trap;

static void on_fault(int number, siginfo_t *info, void *context)
{
	uint8_t *at = info->si_addr;

	if (at < trap.page || at >= trap.page + 4096 || trap.faults > 8)
		_Exit(3);
	mprotect(trap.page, 4096, PROT_READ | PROT_WRITE);
	vmbus_store64_relaxed(trap.page - 16, trap.descriptor);
	trap.faults++;
}

static void check_swap(struct rig *g, uint64_t swapped)
{
	const uint32_t out = 4096 - 16, total = 16 + 64;

	rig_at(g, 2 * D - 64, out); /* much more is there than the packet */
	rig_fill(g, 0x77);
	rig_descriptor(g, out, VMBUS_PKT_INBAND, 2, total / 8, 0, 9);
	trap.g = g;
	trap.page = g->view.data ? g->view.data + 4096 : g->pages[1];
	trap.descriptor = swapped;
	trap.faults = 0;
	memset(g->buf, 0x55, 3 * D);
	assert_int_equal(mprotect(trap.page, 4096, PROT_NONE), 0);
	assert_int_equal(rig_read(g), VMBUS_RING_OK);
	assert_int_equal(trap.faults, 1);
	assert_true(rig_word(g, out) == swapped);
	assert_int_equal(g->p.total_size, total);
	assert_int_equal(g->p.payload_size, 64);
	assert_int_equal(g->p.type, VMBUS_PKT_INBAND);
	assert_int_equal(g->buf[4] | g->buf[5] << 8, total / 8);
	assert_int_equal(g->buf[2] | g->buf[3] << 8, 2);
	assert_int_equal(g->buf[total - 1], 0x77);
	for (uint32_t i = total; i < 3 * D; i++)
		assert_int_equal(g->buf[i], 0x55);
	vmbus_ring_release(&g->r);
	assert_int_equal(rig_out(g), (out + total + 8) % (2 * D));
}

static void ring_030_field_027_length_changed_between_load_and_copy(void **state)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old, old_bus;

	sigemptyset(&action.sa_mask);
	sigaction(SIGSEGV, &action, &old);
	sigaction(SIGBUS, &action, &old_bus);
	for (int view = 0; view < RIG_VIEWS; view++) {
		struct rig *g;

		if (view == RIG_SCATTERED)
			continue; /* the handler finds the descriptor right before the page */
		g = rig_new(view, 2 * D);
		check_swap(g, 0x0000ffff00020006);
		check_swap(g, 0x0000000000000000);
		check_swap(g, 0x0000000200020006);
		check_swap(g, 0xffffffffffffffff);
		check_swap(g, 0x0001000a00090009);
		rig_free(g);
	}
	sigaction(SIGSEGV, &old, NULL);
	sigaction(SIGBUS, &old_bus, NULL);
}

struct scribbler {
	struct rig *g;
	uint32_t at;
	atomic_bool stop;
	pthread_t thread;
};

static void *scribble(void *arg)
{
	static const uint64_t words[] = {
		0x0000000500020006, 0x0000ffff00020006, 0x0000000600020006, 0x0000000000020006,
		0x0000000800030009, 0x0000000900ff0006, 0x0000000500050007, 0x000000060002000b,
		0x0000000500020063, 0x0001001e00020006, 0x0000001f00020006, 0x0000002000020006,
	};
	struct scribbler *s = arg;

	for (unsigned int i = 0; !atomic_load_explicit(&s->stop, memory_order_relaxed); i++)
		rig_set_word(s->g, s->at, words[i % 12]);
	return NULL;
}

static void start(struct scribbler *s, struct rig *g, uint32_t at)
{
	s->g = g;
	s->at = at;
	atomic_store(&s->stop, false);
	assert_int_equal(pthread_create(&s->thread, NULL, scribble, s), 0);
}

static void stop(struct scribbler *s)
{
	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
}

/* The copy agrees with itself and with what was told, and nothing is behind it. */
static void check_copy(struct rig *g, uint32_t available)
{
	uint32_t length8 = g->buf[4] | (uint32_t)g->buf[5] << 8;
	uint32_t offset8 = g->buf[2] | (uint32_t)g->buf[3] << 8;

	assert_int_equal(g->p.total_size, length8 * 8);
	assert_int_equal(g->p.header_size, offset8 * 8);
	assert_int_equal(g->p.type, g->buf[0] | g->buf[1] << 8);
	assert_true(lengths_sound(offset8, length8, available));
	assert_int_equal(g->p.payload_size, (length8 - offset8) * 8);
	for (uint32_t i = g->p.total_size; i < 512; i++)
		assert_int_equal(g->buf[i], 0x55);
}

static void ring_030_field_027_a_second_thread_rewrites_the_length(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		const uint32_t out = D - 16, available = 31 * 8 + 8;
		uint64_t end = clock_now_ns() + 20000000000u;
		uint32_t good = 0, corrupt = 0, others = 0;
		struct scribbler s;

		rig_at(g, (out + available) % D, out);
		rig_fill(g, 0x01); /* a type-9 packet has ranges, then */
		start(&s, g, out);
		/* on a busy machine the other thread may need a while to get a turn */
		for (uint32_t i = 0;
		     clock_now_ns() < end && (i < 20000 || !good || !corrupt || !others); i++) {
			rig_attach_reader(g);
			memset(g->buf, 0x55, 512);
			switch (rig_read(g)) {
			case VMBUS_RING_OK:
				good++;
				check_copy(g, available);
				break;
			case VMBUS_RING_CORRUPT:
				corrupt++;
				assert_int_equal(rig_out(g), out);
				break;
			case VMBUS_RING_BAD_PACKET:
				others++;
				break;
			default:
				fail();
			}
		}
		stop(&s);
		assert_true(good && corrupt && others);
	}
}

/* ---- indices that belong to us ---- */

static void ring_032_the_shared_read_index_is_ours(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		uint32_t at = 0;

		rig_at(g, 0, 0);
		for (uint32_t i = 0; i < 8; i++)
			assert_int_equal(rig_write(g, pattern + i, 64), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		for (uint32_t i = 0; i < 8; i++) {
			vmbus_store32_relaxed(&g->control->out, i % 2 ? 0xffffffff : 16 + 8 * i);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_memory_equal(g->p.payload, pattern + i, 64);
			at += 88;
			vmbus_store32_relaxed(&g->control->out, 4);
			vmbus_ring_release(&g->r);
			assert_int_equal(rig_out(g), at);
		}
		assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
	}
}

static void ring_033_the_shared_write_index_is_ours(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		uint32_t at = 0;

		rig_at(g, 0, 0);
		for (uint32_t i = 0; i < 200; i++) {
			vmbus_store32_relaxed(&g->control->in, i % 3 ? 0xfffffffc : (i * 64) % D);
			assert_int_equal(rig_write(g, pattern, 64), VMBUS_RING_OK);
			vmbus_store32_relaxed(&g->control->in, 4);
			vmbus_ring_publish(&g->w);
			assert_true(rig_word(g, at) == 0x0000000a00020006);
			at = (at + 88) % D;
			assert_int_equal(rig_in(g), at);
			vmbus_store32_relaxed(&g->control->out, at);
		}
	}
}

static void ring_034_a_write_index_that_jumps_back_is_a_wrap(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		rig_at(g, 512, 512);
		rig_fill(g, 0);
		assert_int_equal(rig_write(g, pattern, 64), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_read(g), VMBUS_RING_OK); /* now at 600 */
		rig_descriptor(g, 600, VMBUS_PKT_INBAND, 2, 440, 0, 0);
		for (uint32_t i = 616; i < 600 + 3520; i += 8)
			rig_set_word(g, i, 0x1111111111111111);
		rig_descriptor(g, 600 + 3528, VMBUS_PKT_INBAND, 2, 2, 0, 0);
		vmbus_store32_relaxed(&g->control->in, (600 + 3528 + 24) % D);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_int_equal(g->p.payload_size, 3504);
		assert_int_equal(g->p.payload[0], 0x11);
		assert_int_equal(g->p.payload[3503], 0x11);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
		/* back behind what was read: a lap, and garbage in it */
		vmbus_store32_relaxed(&g->control->in, 24);
		assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
	}
}

static void ring_034_random_indices_and_descriptors_stay_inside(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		uint32_t seed = 77, ok = 0;

		for (uint32_t i = 0; i < 100000; i++) {
			uint32_t out, n = 0;

			seed = seed * 1103515245 + 12345;
			out = (seed >> 8) % (D / 8) * 8;
			seed = seed * 1103515245 + 12345;
			rig_at(g, (seed >> 8) % (D / 8) * 8, out);
			seed = seed * 1103515245 + 12345;
			rig_descriptor(g, out, seed & 64 ? VMBUS_PKT_INBAND : VMBUS_PKT_GPA_DIRECT,
				       (uint16_t)(2 + (seed >> 8 & 3)),
				       (uint16_t)(seed >> 16 & 511), 0, 0);
			while (n++ < 10 && rig_read(g) == VMBUS_RING_OK)
				ok++;
			vmbus_ring_release(&g->r);
		}
		assert_true(ok > 1000);
	}
}

static void ring_035_any_mask_and_pending_size(void **state)
{
	static const uint32_t values[] = {0, 1,     2,     7,        8,          D - 8,     D - 1,
					  D, D + 1, 99999, 1u << 31, 0xfffffff8, 0xffffffff};

	FOR_EACH_VIEW(g, D)
	{
		rig_at(g, 0, 0);
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
			for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
				vmbus_store32_relaxed(&g->control->mask, values[i]);
				vmbus_store32_relaxed(&g->control->pending, values[k]);
				vmbus_store32_relaxed(&g->control->features, values[k]);
				assert_int_equal(rig_write(g, pattern, 200), VMBUS_RING_OK);
				assert_int_equal(vmbus_ring_publish(&g->w), values[i] == 0);
				assert_int_equal(rig_read(g), VMBUS_RING_OK);
				vmbus_ring_release(&g->r);
				assert_int_equal(vmbus_ring_peer_has_feature(&g->r), values[k] & 1);
				assert_int_equal(rig_out(g), rig_in(g));
			}
		assert_false(vmbus_ring_reader_corrupt(&g->r));
		assert_false(vmbus_ring_writer_corrupt(&g->w));
	}
}

static void ring_036_a_bad_index_found_while_releasing(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		rig_at(g, 0, 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(rig_write(g, pattern, 40), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		vmbus_store32_relaxed(&g->control->pending, D - 140);
		vmbus_store32_relaxed(&g->control->in, 0xffffffff);
		assert_false(vmbus_ring_release(&g->r)); /* no signal */
		assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
		expect_dead(g);
	}
}

static void ring_037_unknown_flags_change_nothing(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t bit = 0; bit < 17; bit++) {
			uint16_t flags = bit == 16 ? 0xffff : (uint16_t)(1u << bit);

			rig_at(g, 88, 0);
			rig_descriptor(g, 0, VMBUS_PKT_INBAND, 2, 5, flags, 7);
			rig_descriptor(g, 48, VMBUS_PKT_INBAND, 2, 4, 0, 0);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(g->p.flags, flags & 1);
			assert_int_equal(g->p.completion_requested, flags & 1);
			assert_int_equal(g->p.transaction_id, flags & 1 ? 7 : 0);
			assert_int_equal(g->p.payload_size, 24);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
		}
	}
}

static void ring_038_packets_over_the_limit_are_told_and_skipped(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t start_at = 0; start_at < D; start_at += 8) {
			rig_at(g, start_at, start_at);
			assert_int_equal(rig_write(g, pattern, 32), VMBUS_RING_OK);
			assert_int_equal(vmbus_ring_write_inband(&g->w, VMBUS_PKT_INBAND, 1, 77,
								 pattern, 1000),
					 VMBUS_RING_OK);
			assert_int_equal(rig_write(g, pattern + 5, 32), VMBUS_RING_OK);
			vmbus_ring_publish(&g->w);
			memset(g->buf, 0x55, 2000);
			assert_int_equal(vmbus_ring_read(&g->r, g->buf, 48, &g->p), VMBUS_RING_OK);
			assert_int_equal(vmbus_ring_read(&g->r, g->buf, 48, &g->p),
					 VMBUS_RING_TOO_LARGE);
			assert_int_equal(g->p.total_size, 1016);
			assert_int_equal(g->p.transaction_id, 77); /* so that it can be refused */
			assert_true(g->p.completion_requested);
			assert_int_equal(vmbus_ring_read(&g->r, g->buf, 48, &g->p), VMBUS_RING_OK);
			assert_memory_equal(g->p.payload, pattern + 5, 32);
			for (uint32_t i = 48; i < 2000; i++)
				assert_int_equal(g->buf[i], 0x55);
			assert_int_equal(vmbus_ring_read(&g->r, g->buf, 48, &g->p),
					 VMBUS_RING_EMPTY);
			vmbus_ring_release(&g->r);
			assert_int_equal(rig_out(g), rig_in(g));
		}
	}
}

static void ring_024_unknown_types_are_bad_and_nothing_more(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t type = 0; type < 0x10000; type += type < 32 ? 1 : 0x0fe3) {
			bool known = type == 6 || type == 7 || type == 9 || type == 0xb;

			rig_at(g, D - 8, D - 56);
			rig_descriptor(g, D - 56, (uint16_t)type, 3, 5, 1, 7);
			rig_set_word(g, D - 40, 1ull << 32);
			assert_int_equal(rig_read(g),
					 known ? VMBUS_RING_OK : VMBUS_RING_BAD_PACKET);
			/* the next one is as good as ever, the ring too */
			assert_int_equal(rig_write(g, pattern, 64), VMBUS_RING_OK);
			vmbus_ring_publish(&g->w);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_memory_equal(g->p.payload, pattern, 64);
			assert_false(vmbus_ring_reader_corrupt(&g->r));
		}
	}
}

static void ring_023_field_002_headers_without_their_extra_are_corrupt(void **state)
{
	static const uint16_t types[] = {VMBUS_PKT_TRANSFER_PAGES, VMBUS_PKT_GPA_DIRECT};

	FOR_EACH_VIEW(g, D)
	{
		for (int i = 0; i < 2; i++)
			for (uint16_t offset8 = 0; offset8 < 3; offset8++) {
				rig_at(g, 200, 100 / 8 * 8);
				rig_fill(g, 0xff); /* so that a count read from there is huge */
				rig_descriptor(g, 96, types[i], offset8, 6, 1, 7);
				assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
				expect_dead(g);
			}
	}
}

static void ring_020_no_range_is_corrupt(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t out = D - 64; out < D; out += 8) {
			rig_at(g, (out + 64) % D, out);
			rig_fill(g, 0xff);
			rig_descriptor(g, out, VMBUS_PKT_GPA_DIRECT, 5, 7, 1, 7);
			rig_set_word(g, out + 16,
				     0x00000000ffffffff); /* the low half is reserved */
			assert_int_equal(rig_read(g), VMBUS_RING_CORRUPT);
			expect_dead(g);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_020_no_range_is_corrupt),
		cmocka_unit_test(ring_023_field_002_headers_without_their_extra_are_corrupt),
		cmocka_unit_test(ring_024_unknown_types_are_bad_and_nothing_more),
		cmocka_unit_test(ring_025_036_bad_write_index_is_corrupt_for_ever),
		cmocka_unit_test(ring_025_bad_write_index_after_packets_that_were_read),
		cmocka_unit_test(ring_025_bad_indices_are_found_when_attaching),
		cmocka_unit_test(ring_026_036_bad_read_index_stops_the_writer),
		cmocka_unit_test(ring_026_bad_read_index_while_blocked),
		cmocka_unit_test(ring_027_less_than_a_packet_is_corrupt),
		cmocka_unit_test(ring_027_a_crumb_behind_a_packet_is_corrupt),
		cmocka_unit_test(ring_028_029_every_combination_of_lengths),
		cmocka_unit_test(ring_029_eight_bytes_too_long),
		cmocka_unit_test(ring_030_field_027_length_changed_between_load_and_copy),
		cmocka_unit_test(ring_030_field_027_a_second_thread_rewrites_the_length),
		cmocka_unit_test(ring_032_the_shared_read_index_is_ours),
		cmocka_unit_test(ring_033_the_shared_write_index_is_ours),
		cmocka_unit_test(ring_034_a_write_index_that_jumps_back_is_a_wrap),
		cmocka_unit_test(ring_034_random_indices_and_descriptors_stay_inside),
		cmocka_unit_test(ring_035_any_mask_and_pending_size),
		cmocka_unit_test(ring_036_a_bad_index_found_while_releasing),
		cmocka_unit_test(ring_037_unknown_flags_change_nothing),
		cmocka_unit_test(ring_038_packets_over_the_limit_are_told_and_skipped),
	};

	return cmocka_run_group_tests_name("ring_hostile", tests, make_pattern, NULL);
}
