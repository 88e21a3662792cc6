/* SPDX-License-Identifier: MIT */
/* Requests and their completions, over a ring and by themselves. */
#include "ring_rig.h"

#include <stdlib.h>
#include <string.h>

#include "vmbus/txn.h"

#define D     4096u
#define SLOTS 16u

static uint8_t payload[32];
static int owners[4 * SLOTS];

static void ring_065_completions_echo_every_bit(void **state)
{
	static const uint64_t ids[] = {
		0x8000000000000001, ~0ull - 2,  ~0ull - 3,         ~0ull, ~0ull - 1, 0, 1,
		0x0123456789abcdef, 1ull << 63, 0x00000000ffffffff};

	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
			uint32_t at = rig_in(g);
			uint64_t id = 42;

			assert_int_equal(vmbus_ring_write_inband(&g->w, VMBUS_PKT_INBAND, 1, ids[i],
								 payload, 8),
					 VMBUS_RING_OK);
			vmbus_ring_publish(&g->w);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_true(vmbus_txn_completion_id(&g->p, &id));
			at = (at + 32) % D;
			assert_int_equal(vmbus_ring_write_inband(&g->w, VMBUS_PKT_COMPLETION, 0, id,
								 payload, 8),
					 VMBUS_RING_OK);
			vmbus_ring_publish(&g->w);
			assert_true(rig_word(g, at) == 0x000000030002000b);
			assert_true(rig_word(g, at + 8) == ids[i]);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_true(g->p.transaction_id == ids[i]);
			vmbus_ring_release(&g->r);
		}
	}
}

static void ring_066_no_completion_that_nobody_asked_for(void **state)
{
	static const struct {
		uint16_t type, flags;
		bool asked;
	} cases[] = {
		{VMBUS_PKT_INBAND, 0, false},         {VMBUS_PKT_INBAND, 0xfffe, false},
		{VMBUS_PKT_INBAND, 1, true},          {VMBUS_PKT_GPA_DIRECT, 0, false},
		{VMBUS_PKT_GPA_DIRECT, 1, true},      {VMBUS_PKT_TRANSFER_PAGES, 1, true},
		{VMBUS_PKT_COMPLETION, 0, false},     {VMBUS_PKT_COMPLETION, 1, false},
		{VMBUS_PKT_TRANSFER_PAGES, 0, false},
	};

	FOR_EACH_VIEW(g, D)
	{
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			uint64_t id = 42;

			rig_at(g, 48, 0);
			rig_set_word(g, 16, 1ull << 32);
			rig_descriptor(g, 0, cases[i].type, 3, 5, cases[i].flags, 99);
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(vmbus_txn_completion_id(&g->p, &id), cases[i].asked);
			assert_int_equal(id, cases[i].asked ? 99 : 42);
		}
	}
}

static bool reserved(uint64_t id)
{
	return id == 0 || id >= ~0ull - 3;
}

static void ring_067_field_028_forged_completions_are_dropped(void **state)
{
	struct vmbus_txn_slot slots[SLOTS];
	struct vmbus_txn_table t;
	uint64_t ids[SLOTS], dropped = 0;

	vmbus_txn_init(&t, slots, SLOTS);
	for (uint32_t i = 0; i < SLOTS; i++) {
		assert_true(vmbus_txn_begin(&t, &owners[i], &ids[i]));
		assert_false(reserved(ids[i]));
		for (uint32_t k = 0; k < i; k++)
			assert_true(ids[k] != ids[i]);
	}
	/* nothing, all ones, pointers, other slots, other generations, every bit flipped */
	const uint64_t forged[] = {0,
				   ~0ull,
				   ~0ull - 1,
				   ~0ull - 2,
				   SLOTS + 1,
				   0xffffffff,
				   (uintptr_t)&owners[3],
				   (uintptr_t)&slots[2],
				   (uintptr_t)&t,
				   1ull << 32,
				   SLOTS + 1 + (1ull << 32),
				   1ull << 63};

	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++, dropped++)
		assert_null(vmbus_txn_end(&t, forged[i]));
	for (uint32_t bit = 5; bit < 64; bit++, dropped++)
		assert_null(vmbus_txn_end(&t, ids[3] ^ 1ull << bit));
	assert_int_equal(vmbus_txn_dropped(&t), dropped);
	assert_int_equal(vmbus_txn_outstanding(&t), SLOTS);
	/* and all goes on; the second time is once too often */
	for (uint32_t i = SLOTS; i-- > 0;) {
		assert_ptr_equal(vmbus_txn_end(&t, ids[i]), &owners[i]);
		assert_null(vmbus_txn_end(&t, ids[i]));
	}
	assert_int_equal(vmbus_txn_outstanding(&t), 0);
	assert_int_equal(vmbus_txn_dropped(&t), dropped + SLOTS);
}

static void ring_068_a_stale_completion_never_ends_a_newer_request(void **state)
{
	struct vmbus_txn_slot slots[2];
	struct vmbus_txn_table t;
	uint64_t old[1000], id;

	vmbus_txn_init(&t, slots, 2);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_true(vmbus_txn_begin(&t, &owners[i % 4], &old[i]));
		for (uint32_t k = 0; k < i; k++)
			assert_null(vmbus_txn_end(&t, old[k]));
		switch (i % 3) {
		case 0:
			assert_ptr_equal(vmbus_txn_end(&t, old[i]), &owners[i % 4]);
			break;
		case 1:
			vmbus_txn_cancel(&t, old[i]);
			break;
		default: /* given up; the late answer frees the slot and reaches nobody */
			assert_ptr_equal(vmbus_txn_abandon(&t, old[i]), &owners[i % 4]);
			assert_null(vmbus_txn_abandon(&t, old[i]));
			assert_int_equal(vmbus_txn_outstanding(&t), 1);
			assert_null(vmbus_txn_end(&t, old[i]));
			break;
		}
		assert_int_equal(vmbus_txn_outstanding(&t), 0);
	}
	/* the generation's end */
	slots[0].generation = slots[1].generation = 0x7fffffff;
	for (uint32_t i = 0; i < 4; i++) {
		assert_true(vmbus_txn_begin(&t, &owners[0], &id));
		assert_false(reserved(id));
		assert_ptr_equal(vmbus_txn_end(&t, id), &owners[0]);
		assert_null(vmbus_txn_end(&t, id));
	}
}

static void an_abandoned_id_is_not_given_out(void **state)
{
	struct vmbus_txn_slot slots[1];
	struct vmbus_txn_table t;
	uint64_t id, other;

	vmbus_txn_init(&t, slots, 1);
	assert_true(vmbus_txn_begin(&t, &owners[0], &id));
	assert_ptr_equal(vmbus_txn_abandon(&t, id), &owners[0]);
	assert_false(vmbus_txn_begin(&t, &owners[1], &other));
	assert_null(vmbus_txn_end(&t, id));
	assert_int_equal(vmbus_txn_dropped(&t), 0);
	assert_true(vmbus_txn_begin(&t, &owners[1], &other));
	assert_true(other != id);
}

/* As a sender does it: an id first, then the packet. */
static bool request(struct rig *g, struct vmbus_txn_table *t, void *owner, uint64_t *id)
{
	if (!vmbus_txn_begin(t, owner, id))
		return false;
	assert_int_equal(vmbus_ring_write_inband(&g->w, VMBUS_PKT_INBAND, 1, *id, payload, 8),
			 VMBUS_RING_OK);
	vmbus_ring_publish(&g->w);
	return true;
}

static void ring_069_a_full_table_says_try_again(void **state)
{
	FOR_EACH_VIEW(g, D)
	{
		struct vmbus_txn_slot slots[SLOTS];
		struct vmbus_txn_table t;
		uint8_t before[D], after[D];
		uint64_t ids[SLOTS], id = 42;
		uint32_t in;

		vmbus_txn_init(&t, slots, SLOTS);
		for (uint32_t i = 0; i < SLOTS; i++)
			assert_true(request(g, &t, &owners[i], &ids[i]));
		in = rig_in(g);
		rig_bytes(g, 0, before, D);
		for (int i = 0; i < 3; i++)
			assert_false(request(g, &t, &owners[0], &id));
		assert_int_equal(id, 42);
		rig_bytes(g, 0, after, D);
		assert_memory_equal(before, after, D);
		assert_int_equal(rig_in(g), in);
		assert_ptr_equal(vmbus_txn_end(&t, ids[5]), &owners[5]);
		assert_true(request(g, &t, &owners[20], &id));
		assert_ptr_equal(vmbus_txn_end(&t, id), &owners[20]);
	}
}

static void ring_070_closing_ends_each_request_once(void **state)
{
	struct vmbus_txn_slot slots[SLOTS];
	struct vmbus_txn_table t;
	uint32_t seed = 9;

	for (uint32_t round = 0; round < 500; round++) {
		uint32_t ended[SLOTS] = {0}, cursor = 0, live = 0, seen = 0;
		uint64_t ids[SLOTS], id;
		int *owner;

		vmbus_txn_init(&t, slots, SLOTS);
		for (uint32_t i = 0; i < SLOTS; i++)
			assert_true(vmbus_txn_begin(&t, &owners[i], &ids[i]));
		for (uint32_t i = 0; i < SLOTS; i++) {
			seed = seed * 1103515245 + 12345;
			switch (seed >> 16 & 3) {
			case 0:
				assert_non_null(vmbus_txn_end(&t, ids[i]));
				ended[i]++;
				break;
			case 1: /* whoever gave up has ended it already */
				assert_non_null(vmbus_txn_abandon(&t, ids[i]));
				ended[i]++;
				break;
			default:
				live++;
			}
		}
		while (vmbus_txn_next(&t, &cursor))
			seen++;
		assert_int_equal(seen, live);
		for (cursor = 0; (owner = vmbus_txn_take(&t, &cursor));)
			ended[owner - owners]++;
		for (uint32_t i = 0; i < SLOTS; i++) {
			assert_int_equal(ended[i], 1);
			assert_null(vmbus_txn_end(&t, ids[i])); /* what still comes is late */
		}
		cursor = 0;
		assert_null(vmbus_txn_take(&t, &cursor));
		assert_int_equal(vmbus_txn_outstanding(&t), 0);
		assert_true(vmbus_txn_begin(&t, &owners[0], &id));
	}
}

/* Saved state: what was under way ends in another table, once, and no id is given out again. */
static void field_028_ids_go_on_in_another_table(void **state)
{
	struct vmbus_txn_slot before[SLOTS], after[SLOTS];
	struct vmbus_txn_table old, new;
	uint64_t ids[4 * SLOTS], live[2], id;
	unsigned int given = 0;

	vmbus_txn_init(&old, before, SLOTS);
	for (unsigned int i = 0; i < 2 * SLOTS; i++) {
		assert_true(vmbus_txn_begin(&old, &owners[0], &ids[given++]));
		assert_non_null(vmbus_txn_end(&old, ids[given - 1]));
	}
	for (unsigned int i = 0; i < 2; i++)
		assert_true(vmbus_txn_begin(&old, &owners[i], &live[i]));
	ids[given++] = live[0];
	ids[given++] = live[1];
	vmbus_txn_init(&new, after, SLOTS);
	vmbus_txn_resume(&new, vmbus_txn_generation(&old));
	for (unsigned int i = 0; i < 2; i++)
		assert_true(vmbus_txn_restore(&new, live[i], &owners[i]));
	assert_int_equal(vmbus_txn_outstanding(&new), 2);
	/* Twice, of no slot, of no generation. */
	assert_false(vmbus_txn_restore(&new, live[0], &owners[0]));
	assert_false(vmbus_txn_restore(&new, 1ull << 32, &owners[0]));
	assert_false(vmbus_txn_restore(&new, 1ull << 32 | (SLOTS + 1), &owners[0]));
	assert_false(vmbus_txn_restore(&new, 1, &owners[0]));
	assert_false(vmbus_txn_restore(&new, UINT64_MAX, &owners[0]));
	assert_ptr_equal(vmbus_txn_end(&new, live[1]), &owners[1]);
	assert_null(vmbus_txn_end(&new, live[1]));
	for (unsigned int i = 0; i < SLOTS - 1; i++) {
		assert_true(vmbus_txn_begin(&new, &owners[2], &id));
		for (unsigned int k = 0; k < given; k++)
			assert_true(ids[k] != id);
	}
	assert_ptr_equal(vmbus_txn_end(&new, live[0]), &owners[0]);
}

/* A generation that no table has had: the first one. */
static void a_generation_out_of_range_begins_anew(void **state)
{
	struct vmbus_txn_slot slots[2][SLOTS];
	struct vmbus_txn_table t, fresh;
	uint64_t id, first;

	vmbus_txn_init(&fresh, slots[0], SLOTS);
	assert_true(vmbus_txn_begin(&fresh, &owners[0], &first));
	vmbus_txn_init(&t, slots[1], SLOTS);
	vmbus_txn_resume(&t, 0);
	assert_true(vmbus_txn_begin(&t, &owners[0], &id));
	assert_true(id == first);
	assert_non_null(vmbus_txn_end(&t, id));
	vmbus_txn_resume(&t, UINT32_MAX);
	assert_true(vmbus_txn_begin(&t, &owners[0], &id));
	assert_true(id == first);
}

static void a_table_without_slots_is_full(void **state)
{
	struct vmbus_txn_table t;
	uint32_t cursor = 0;
	uint64_t id;

	vmbus_txn_init(&t, NULL, 0);
	assert_false(vmbus_txn_begin(&t, &owners[0], &id));
	assert_null(vmbus_txn_end(&t, 1));
	assert_null(vmbus_txn_next(&t, &cursor));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_065_completions_echo_every_bit),
		cmocka_unit_test(ring_066_no_completion_that_nobody_asked_for),
		cmocka_unit_test(ring_067_field_028_forged_completions_are_dropped),
		cmocka_unit_test(ring_068_a_stale_completion_never_ends_a_newer_request),
		cmocka_unit_test(an_abandoned_id_is_not_given_out),
		cmocka_unit_test(ring_069_a_full_table_says_try_again),
		cmocka_unit_test(ring_070_closing_ends_each_request_once),
		cmocka_unit_test(field_028_ids_go_on_in_another_table),
		cmocka_unit_test(a_generation_out_of_range_begins_anew),
		cmocka_unit_test(a_table_without_slots_is_full),
	};

	return cmocka_run_group_tests_name("txn", tests, NULL, NULL);
}
