/* SPDX-License-Identifier: MIT */
/* When a signal is owed, step by step on one thread. verify/ proves the orders that this cannot. */
#include "ring_rig.h"

#include <stdlib.h>
#include <string.h>

#define D 4096u

static uint8_t pattern[D];

static uint32_t pending(const struct rig *g)
{
	return vmbus_load32_relaxed(&g->control->pending);
}

static uint32_t mask(const struct rig *g)
{
	return vmbus_load32_relaxed(&g->control->mask);
}

static void fill_up(struct rig *g, uint32_t payload)
{
	enum vmbus_ring_result result;

	while ((result = rig_write(g, pattern, payload)) == VMBUS_RING_OK)
		;
	assert_int_equal(result, VMBUS_RING_FULL);
}

/* Reads and gives back everything. Returns the room signals that were owed. */
static uint32_t drain(struct rig *g)
{
	uint32_t signals = 0;

	while (rig_read(g) == VMBUS_RING_OK)
		signals += vmbus_ring_release(&g->r);
	return signals;
}

/* ---- writer to reader ---- */

static void ring_039_one_signal_a_batch_into_an_empty_ring(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t start = 0; start < D; start += 8)
			for (uint32_t k = 1; k < 5; k++) {
				rig_at(g, start, start);
				for (uint32_t i = 0; i < k; i++)
					assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
				assert_true(vmbus_ring_publish(&g->w));
				for (int i = 0; i < 3; i++)
					assert_false(vmbus_ring_publish(&g->w));
			}
	}
}

static void ring_040_no_signal_while_masked(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t i = 0; i < 32; i++) {
			rig_at(g, 0, 0);
			vmbus_store32_relaxed(&g->control->mask, 1u << i);
			assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
			assert_false(vmbus_ring_publish(&g->w));
			assert_int_equal(mask(g), 1u << i); /* it is the reader's word */
		}
		rig_at(g, 0, 0);
		vmbus_ring_mask(&g->r);
		assert_int_equal(mask(g), 1);
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		assert_false(vmbus_ring_publish(&g->w));
	}
}

static void ring_041_no_signal_into_a_ring_with_packets(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		assert_true(vmbus_ring_publish(&g->w));
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		assert_false(vmbus_ring_publish(&g->w));
		/* one of two read: still not empty */
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		vmbus_ring_release(&g->r);
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		assert_false(vmbus_ring_publish(&g->w));
		/* read but not released: the reader has yet to look again */
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		assert_false(vmbus_ring_publish(&g->w));
		drain(g);
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		assert_true(vmbus_ring_publish(&g->w));
	}
}

static void ring_042_a_batch_appears_at_once(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t k = 1; k < 30; k++) {
			rig_at(g, D - 8 * k, D - 8 * k);
			for (uint32_t i = 0; i < k; i++) {
				assert_int_equal(rig_write(g, pattern, 40), VMBUS_RING_OK);
				assert_int_equal(rig_in(g), D - 8 * k);
				assert_false(vmbus_ring_has_data(&g->r));
				assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
			}
			assert_int_equal(vmbus_ring_writer_unpublished(&g->w), 64 * k);
			vmbus_ring_publish(&g->w);
			assert_int_equal(vmbus_ring_writer_unpublished(&g->w), 0);
			for (uint32_t i = 0; i < k; i++)
				assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
		}
	}
}

static void ring_043_unmasking_looks_again(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		vmbus_ring_mask(&g->r);
		assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
		assert_false(vmbus_ring_unmask(&g->r));
		assert_int_equal(mask(g), 0);
		/* masked, and something came: do not sleep */
		vmbus_ring_mask(&g->r);
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_true(vmbus_ring_unmask(&g->r));
		assert_int_equal(mask(g), 0);
		/* a batch not read to its end is data as well */
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_true(vmbus_ring_unmask(&g->r));
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_false(vmbus_ring_unmask(&g->r));
	}
}

static void ring_044_published_before_the_unmask_is_found_without_signal(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t i = 0; i < 1000; i++) {
			vmbus_ring_mask(&g->r);
			drain(g);
			assert_int_equal(rig_read(g), VMBUS_RING_EMPTY); /* the last check */
			assert_int_equal(rig_write(g, pattern, 8 * (i % 5)), VMBUS_RING_OK);
			assert_false(vmbus_ring_publish(&g->w)); /* masked: none */
			assert_true(vmbus_ring_unmask(&g->r));
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			vmbus_ring_release(&g->r);
			/* and after the unmask there is one */
			assert_false(vmbus_ring_unmask(&g->r));
			assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
			assert_true(vmbus_ring_publish(&g->w));
		}
	}
}

static void ring_045_a_signal_for_nothing_is_harmless(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		uint8_t before[80], after[80];

		rig_at(g, 1000, 1000);
		memcpy(before, g->control, sizeof(before));
		for (int i = 0; i < 10; i++) { /* what an owner does when signalled */
			vmbus_ring_mask(&g->r);
			assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
			assert_false(vmbus_ring_release(&g->r));
			assert_false(vmbus_ring_publish(&g->w));
			assert_false(vmbus_ring_unmask(&g->r));
		}
		memcpy(after, g->control, sizeof(after));
		assert_memory_equal(before, after, sizeof(before));
		assert_int_equal(rig_write(g, pattern, 8), VMBUS_RING_OK);
		assert_true(vmbus_ring_publish(&g->w));
	}
}

/* ---- reader to writer ---- */

/* Releases from `before` used bytes to `after` with that pending size. */
static bool release_step(struct rig *g, uint32_t out, uint32_t before, uint32_t after, uint32_t p)
{
	uint32_t total = before - after;

	rig_at(g, (out + before) % D, out);
	rig_descriptor(g, out, VMBUS_PKT_INBAND, 2, (uint16_t)(total / 8 - 1), 0, 0);
	vmbus_store32_relaxed(&g->control->pending, p);
	/* too large for the buffer: consumed without being copied */
	assert_int_equal(vmbus_ring_read(&g->r, g->buf, total == 24 ? 16 : 8, &g->p),
			 total == 24 ? VMBUS_RING_OK : VMBUS_RING_TOO_LARGE);
	return vmbus_ring_release(&g->r);
}

static void ring_047_no_room_signal_that_nobody_wants(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t before = 24; before <= D - 8; before += 8) {
			assert_false(release_step(g, before * 3 % D, before, 0, 0));
			if (before >= 48)
				assert_false(release_step(g, 64, before, 24, 0));
		}
	}
}

/* The three formulas in use elsewhere; they agree, and ours with them. */
static bool crosses(uint32_t before, uint32_t after, uint32_t p)
{
	uint32_t masked = p & ~7u;
	bool a, b, c;

	a = D - 1 - before < p && D - 1 - after >= p;
	b = D - before <= p && D - after > p;
	c = masked && D - 8 - before < masked && D - 8 - after >= masked;
	assert_int_equal(a, b);
	assert_int_equal(b, c);
	return a;
}

static void check_crossing(struct rig *g, uint32_t before, uint32_t p)
{
	static const uint32_t steps[] = {24, 32, 64, 1024};

	for (uint32_t i = 0; i < 4; i++)
		if (before >= steps[i])
			assert_int_equal(
				release_step(g, before * 5 % D, before, before - steps[i], p),
				crosses(before, before - steps[i], p));
	if (before >= 24)
		assert_int_equal(release_step(g, before * 5 % D, before, 0, p),
				 crosses(before, 0, p));
}

static void ring_048_a_room_signal_at_the_crossing_and_only_there(void **state)
{
	static const uint32_t sizes[] = {8, 16, 24, 120, 128, 1000, 2048, D - 40, D - 16, D - 8};

	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			for (uint32_t before = 0; before <= D - 8; before += 8)
				check_crossing(g, before, sizes[i]);
	}
}

static void ring_048_once_for_a_blocked_writer(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		/* releasing packet by packet and by threes, from any position */
		for (uint32_t start = 0; start < D; start += 8)
			for (uint32_t step = 1; step < 4; step += 2) {
				uint32_t signals = 0, n = 0;

				rig_at(g, start, start);
				fill_up(g, 100);
				vmbus_ring_publish(&g->w);
				assert_true(vmbus_ring_writer_block(&g->w, 128));
				while (rig_read(g) == VMBUS_RING_OK)
					if (++n % step == 0)
						signals += vmbus_ring_release(&g->r);
				signals += vmbus_ring_release(&g->r);
				assert_int_equal(signals, 1);
			}
	}
}

static void ring_048_the_table_of_the_specification(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		assert_false(release_step(g, 0, 4000, 3976, 128));
		assert_true(release_step(g, 0, 3976, 3952, 128));
		assert_false(release_step(g, 0, 3952, 3928, 128));
		assert_false(release_step(g, 0, 4000, 3968, 128));
	}
}

static void ring_049_field_019_pending_of_all_but_one_byte(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t before = 24; before <= D - 8; before += 8) {
			assert_true(release_step(g, before * 7 % D, before, 0, D - 1));
			for (uint32_t after = 24; after + 24 <= before; after += 8)
				assert_false(release_step(g, 8, before, after, D - 1));
		}
	}
}

static void ring_050_pending_counts_in_eights(void **state)
{
	static const uint32_t never[] = {1,     2, 3,     4,     5,        6,          7,         D,
					 D + 1, 8, 2 * D, 99999, 1u << 31, 0xfffffff8, 0xffffffff};

	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t k = 1; k < D / 8; k += 17)
			for (uint32_t low = 0; low < 8; low++)
				for (uint32_t before = D - 8 - 8 * k; before <= D - 8; before += 8)
					if (before >= 24 && before < D - 8 * k + 64)
						assert_int_equal(
							release_step(g, 0, before, before - 24,
								     8 * k + low),
							crosses(before, before - 24, 8 * k));
		for (uint32_t before = 24; before <= D - 8; before += 8)
			for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
				if (never[i] != 8)
					assert_false(release_step(g, 0, before, 0, never[i]));
	}
}

static void ring_051_the_mask_is_not_for_room_signals(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		fill_up(g, 100);
		vmbus_ring_publish(&g->w);
		assert_true(vmbus_ring_writer_block(&g->w, 128));
		vmbus_ring_mask(&g->r);
		assert_int_equal(drain(g), 1);
	}
}

/* ---- the blocked writer ---- */

static void ring_052_blocking_publishes_the_need(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t payload = 0; payload < 3000; payload += 37) {
			uint32_t need = vmbus_ring_packet_size(0, payload);

			rig_at(g, 0, 0);
			fill_up(g, payload);
			vmbus_ring_publish(&g->w);
			assert_true(vmbus_ring_writer_block(&g->w, need));
			assert_true(pending(g) >= need);
			assert_true(pending(g) < D);
			/* the moment that the signal says so, it fits */
			while (rig_read(g) == VMBUS_RING_OK && !vmbus_ring_release(&g->r))
				assert_true(pending(g) != 0);
			assert_false(vmbus_ring_writer_block(&g->w, need));
			assert_int_equal(pending(g), 0);
			assert_int_equal(rig_write(g, pattern, payload), VMBUS_RING_OK);
		}
	}
}

static void ring_053_room_made_meanwhile_needs_no_signal(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		fill_up(g, 100);
		vmbus_ring_publish(&g->w);
		/* between the writer's check and its store of pending */
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_false(vmbus_ring_release(&g->r));
		assert_false(vmbus_ring_writer_block(&g->w, 128));
		assert_int_equal(pending(g), 0);
		assert_int_equal(rig_write(g, pattern, 100), VMBUS_RING_OK);
		assert_int_equal(rig_write(g, pattern, 100), VMBUS_RING_FULL);
	}
}

static void ring_054_a_write_that_succeeds_clears_pending(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		for (uint32_t start = 0; start < D; start += 8) {
			rig_at(g, start, start);
			fill_up(g, 100);
			vmbus_ring_publish(&g->w);
			assert_true(vmbus_ring_writer_block(&g->w, 1024));
			assert_int_not_equal(pending(g), 0);
			assert_int_equal(rig_write(g, pattern, 100), VMBUS_RING_FULL);
			assert_int_not_equal(pending(g), 0);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			vmbus_ring_release(&g->r);
			/* a smaller one goes ahead */
			assert_int_equal(rig_write(g, pattern, 100), VMBUS_RING_OK);
			assert_int_equal(pending(g), 0);
			assert_true(vmbus_ring_writer_block(&g->w, 1024));
			vmbus_ring_writer_unblock(&g->w);
			assert_int_equal(pending(g), 0);
		}
	}
}

static void ring_055_what_is_unpublished_counts(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		assert_int_equal(rig_write(g, pattern, 1000), VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_write(g, pattern, 1000), VMBUS_RING_OK); /* not published */
		assert_true(vmbus_ring_writer_block(&g->w, 2504));
		assert_int_equal(pending(g), 2504 + 1024);
		/* so a signal for the published packet is not taken for room that there is not */
		assert_int_equal(rig_read(g), VMBUS_RING_OK);
		assert_true(vmbus_ring_release(&g->r));
		assert_false(vmbus_ring_writer_block(&g->w, 2504));
		/* never more than can be answered */
		rig_at(g, 0, 0);
		assert_int_equal(rig_write(g, pattern, 2000), VMBUS_RING_OK);
		assert_true(vmbus_ring_writer_block(&g->w, 4000));
		assert_int_equal(pending(g), D - 1);
		/* exactly the ring, which would never be answered */
		rig_at(g, 0, 0);
		assert_int_equal(rig_write(g, pattern, 2024), VMBUS_RING_OK);
		assert_true(vmbus_ring_writer_block(&g->w, 2056));
		assert_int_equal(pending(g), D - 1);
	}
}

/* ---- two endpoints that only signals wake ---- */

struct end {
	struct rig *out, *in;
	uint32_t to_write, written, read, payload;
	bool signalled, batch, blocked;
};

static uint32_t random_state;

static uint32_t rnd(uint32_t n)
{
	random_state = random_state * 1103515245 + 12345;
	return (random_state >> 8) % n;
}

/* Fills the outgoing ring; what is owed is sent before it waits. */
static void write_all(struct end *e, struct end *peer)
{
	for (;;) {
		enum vmbus_ring_result result = VMBUS_RING_OK;

		while (e->to_write &&
		       (result = rig_write(e->out, pattern, e->payload)) == VMBUS_RING_OK) {
			e->to_write--;
			e->written++;
			e->payload = rnd(e->batch ? 600 : 3000);
			if (!e->batch)
				break;
		}
		if (vmbus_ring_publish(&e->out->w))
			peer->signalled = true;
		if (!e->to_write)
			return;
		if (result == VMBUS_RING_OK)
			continue;
		e->blocked =
			vmbus_ring_writer_block(&e->out->w, vmbus_ring_packet_size(0, e->payload));
		if (e->blocked)
			return;
	}
}

static void read_all(struct end *e, struct end *peer)
{
	do {
		vmbus_ring_mask(&e->in->r);
		while (rig_read(e->in) == VMBUS_RING_OK) {
			e->read++;
			if (rnd(3) == 0 && vmbus_ring_release(&e->in->r))
				peer->signalled = true;
		}
		if (vmbus_ring_release(&e->in->r))
			peer->signalled = true;
	} while (vmbus_ring_unmask(&e->in->r));
}

static void run_ends(struct end ends[2])
{
	uint32_t turns = 0;

	while (ends[0].to_write || ends[1].to_write || ends[0].signalled || ends[1].signalled) {
		struct end *e = &ends[rnd(2)], *peer = e == ends ? &ends[1] : ends;

		if (!e->signalled) {
			/* both asleep with work to do: a wake-up was lost */
			assert_true(peer->signalled);
			continue;
		}
		assert_true(turns++ < 100000);
		e->signalled = false;
		write_all(e, peer); /* both rings full before either is read */
		read_all(e, peer);
	}
}

static void two_ends(bool batch, uint32_t count)
{
	for (uint32_t seed = 1; seed <= 20; seed++)
		for (int view = 0; view < RIG_VIEWS; view++) {
			struct rig *a = rig_new(view, D), *b = rig_new(view, D);
			struct end ends[2] = {
				{.out = a,
				 .in = b,
				 .to_write = count,
				 .signalled = true,
				 .batch = batch},
				{.out = b,
				 .in = a,
				 .to_write = count,
				 .signalled = true,
				 .batch = batch},
			};

			random_state = seed;
			run_ends(ends);
			assert_int_equal(ends[0].written, count);
			assert_int_equal(ends[1].written, count);
			assert_int_equal(ends[0].read, count);
			assert_int_equal(ends[1].read, count);
			assert_int_equal(pending(a), 0);
			assert_int_equal(pending(b), 0);
			rig_free(a);
			rig_free(b);
		}
}

static void ring_056_058_a_held_back_signal_goes_out_before_the_wait(void **state)
{
	two_ends(true, 2000);
}

static void ring_058_both_rings_full_and_only_signals(void **state)
{
	two_ends(false, 1000);
}

static void ring_056_the_debt_of_a_full_ring(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		/* a batch that fills the ring is published, and its signal owed, before the wait */
		fill_up(g, 100);
		assert_true(vmbus_ring_writer_unpublished(&g->w) > 0);
		assert_true(vmbus_ring_publish(&g->w));
		assert_true(vmbus_ring_writer_block(&g->w, 128));
		assert_int_equal(vmbus_ring_writer_unpublished(&g->w), 0);
		assert_true(drain(g) == 1);
	}
}

static void ring_057_field_018_a_writer_whose_peer_never_signals(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		struct rig *other = rig_new(view_, D); /* the ring that the peer writes */
		uint32_t sent = 0, polls = 0;

		assert_true(vmbus_ring_peer_has_feature(&other->r));
		vmbus_store32_relaxed(&other->control->features, 0);
		assert_false(vmbus_ring_peer_has_feature(&other->r));
		vmbus_store32_relaxed(&other->control->features, 0xfffffffe);
		assert_false(vmbus_ring_peer_has_feature(&other->r));
		/* a peer that reads, and does not know what pending is */
		while (sent < 5000 && polls < 1000000) {
			if (rig_write(g, pattern, sent % 900) == VMBUS_RING_OK) {
				sent++;
				vmbus_ring_publish(&g->w);
				continue;
			}
			polls++;
			if (vmbus_ring_writer_block(&g->w, vmbus_ring_packet_size(0, sent % 900)) &&
			    polls % 3 == 0)
				vmbus_store32_release(&g->control->out, rig_in(g));
		}
		assert_int_equal(sent, 5000);
		assert_true(polls > 100);
		rig_free(other);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_039_one_signal_a_batch_into_an_empty_ring),
		cmocka_unit_test(ring_040_no_signal_while_masked),
		cmocka_unit_test(ring_041_no_signal_into_a_ring_with_packets),
		cmocka_unit_test(ring_042_a_batch_appears_at_once),
		cmocka_unit_test(ring_043_unmasking_looks_again),
		cmocka_unit_test(ring_044_published_before_the_unmask_is_found_without_signal),
		cmocka_unit_test(ring_045_a_signal_for_nothing_is_harmless),
		cmocka_unit_test(ring_047_no_room_signal_that_nobody_wants),
		cmocka_unit_test(ring_048_a_room_signal_at_the_crossing_and_only_there),
		cmocka_unit_test(ring_048_once_for_a_blocked_writer),
		cmocka_unit_test(ring_048_the_table_of_the_specification),
		cmocka_unit_test(ring_049_field_019_pending_of_all_but_one_byte),
		cmocka_unit_test(ring_050_pending_counts_in_eights),
		cmocka_unit_test(ring_051_the_mask_is_not_for_room_signals),
		cmocka_unit_test(ring_052_blocking_publishes_the_need),
		cmocka_unit_test(ring_053_room_made_meanwhile_needs_no_signal),
		cmocka_unit_test(ring_054_a_write_that_succeeds_clears_pending),
		cmocka_unit_test(ring_055_what_is_unpublished_counts),
		cmocka_unit_test(ring_056_058_a_held_back_signal_goes_out_before_the_wait),
		cmocka_unit_test(ring_056_the_debt_of_a_full_ring),
		cmocka_unit_test(ring_057_field_018_a_writer_whose_peer_never_signals),
		cmocka_unit_test(ring_058_both_rings_full_and_only_signals),
	};

	return cmocka_run_group_tests_name("ring_signal", tests, NULL, NULL);
}
