/* SPDX-License-Identifier: MIT */
/* What both ends stand on: the table of GPADLs and the queue of actions. */
#include "control.h"

#include "vmbus/gpadl.h"
#include "vmbus/queue.h"

struct store {
	struct heap heap;
	struct vmbus_allocator a;
	struct vmbus_gpadl_table table;
	struct vmbus_gpadl_list list[2];
	char channel[2];
	struct vmbus_queue queue;
};

static void prepare(struct store *s, uint32_t count, uint32_t words)
{
	memset(s, 0, sizeof(*s));
	s->heap.allowed = SIZE_MAX;
	s->a = heap_allocator(&s->heap);
	assert_int_equal(vmbus_gpadl_table_init(&s->table, &s->a, count, words), VMBUS_OK);
}

static enum vmbus_status add(struct store *s, int channel, uint32_t id, uint32_t words,
			     struct vmbus_gpadl **g)
{
	return vmbus_gpadl_add(&s->table, &s->a, &s->list[channel], &s->channel[channel], id, words,
			       g);
}

static void sound(const struct store *s)
{
	for (int i = 0; i < 2; i++)
		assert_null(vmbus_gpadl_list_check(&s->table, &s->list[i], &s->channel[i]));
}

static void finish(struct store *s)
{
	for (int i = 0; i < 2; i++) {
		while (s->list[i].first)
			vmbus_gpadl_remove(&s->table, &s->a, &s->list[i], s->list[i].first);
	}
	assert_int_equal(s->table.count, 0);
	assert_int_equal(s->table.words, 0);
	vmbus_gpadl_table_free(&s->table, &s->a);
	vmbus_queue_free(&s->queue, &s->a);
	assert_int_equal(s->heap.live, 0);
}

static void gpadls_are_found_by_channel_and_id(void **state)
{
	struct store s;
	struct vmbus_gpadl *g[2], *half;

	prepare(&s, 100, 1000);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(add(&s, i, 7, 4, &g[i]), VMBUS_OK);
		g[i]->state = VMBUS_GPADL_ACCEPTED;
	}
	assert_ptr_equal(vmbus_gpadl_find(&s.table, &s.channel[0], 7), g[0]);
	assert_ptr_equal(vmbus_gpadl_find(&s.table, &s.channel[1], 7), g[1]);
	assert_null(vmbus_gpadl_find(&s.table, &s.channel[0], 8));
	assert_non_null(vmbus_gpadl_find(&s.table, NULL, 7));
	assert_null(vmbus_gpadl_find_incomplete(&s.table, 7));
	assert_int_equal(add(&s, 0, 9, 2, &half), VMBUS_OK);
	assert_int_equal(half->state, VMBUS_GPADL_INCOMPLETE);
	assert_ptr_equal(vmbus_gpadl_find_incomplete(&s.table, 9), half);
	sound(&s);
	vmbus_gpadl_remove(&s.table, &s.a, &s.list[0], g[0]);
	assert_null(vmbus_gpadl_find(&s.table, &s.channel[0], 7));
	assert_ptr_equal(vmbus_gpadl_find(&s.table, &s.channel[1], 7), g[1]);
	sound(&s);
	finish(&s);
}

static void the_table_has_bounds(void **state)
{
	struct store s;
	struct vmbus_gpadl *g;

	prepare(&s, 3, 10);
	assert_int_equal(add(&s, 0, 1, 11, &g), VMBUS_E_LIMIT);
	assert_int_equal(add(&s, 0, 1, 10, &g), VMBUS_OK);
	assert_int_equal(add(&s, 0, 2, 1, &g), VMBUS_E_LIMIT);
	assert_int_equal(add(&s, 0, 2, 0xffffffff, &g), VMBUS_E_LIMIT);
	assert_int_equal(add(&s, 0, 2, 0, &g), VMBUS_OK);
	g->state = VMBUS_GPADL_CREATED;
	assert_int_equal(add(&s, 1, 3, 0, &g), VMBUS_OK);
	g->state = VMBUS_GPADL_CREATED;
	assert_int_equal(add(&s, 1, 4, 0, &g), VMBUS_E_LIMIT);
	for (size_t allowed = 0; allowed < 2; allowed++) {
		vmbus_gpadl_remove(&s.table, &s.a, &s.list[0], s.list[0].first);
		s.heap.allowed = allowed;
		assert_int_equal(add(&s, 0, 5, 5, &g), VMBUS_E_NO_MEMORY);
		s.heap.allowed = SIZE_MAX;
	}
	sound(&s);
	finish(&s);
}

static void words_are_appended_up_to_what_was_announced(void **state)
{
	uint8_t bytes[64];
	struct store s;
	struct vmbus_gpadl *g;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	prepare(&s, 3, 10);
	assert_int_equal(add(&s, 0, 1, 3, &g), VMBUS_OK);
	vmbus_gpadl_append(g, bytes, 7);
	assert_int_equal(g->received, 0);
	vmbus_gpadl_append(g, bytes, 15);
	assert_int_equal(g->received, 1);
	assert_true(g->words[0] == UINT64_C(0x0706050403020100));
	vmbus_gpadl_append(g, bytes + 8, 56);
	assert_int_equal(g->received, 3);
	assert_true(g->words[2] == UINT64_C(0x1716151413121110));
	finish(&s);
}

static void many_gpadls_come_and_go(void **state)
{
	struct store s;
	struct vmbus_gpadl *g;
	uint32_t seed = 1, live = 0;

	prepare(&s, 500, 100000);
	for (int step = 0; step < 20000; step++) {
		uint32_t id, channel;

		seed = seed * 1664525 + 1013904223;
		id = seed >> 8 & 511;
		channel = seed >> 20 & 1;
		g = vmbus_gpadl_find(&s.table, &s.channel[channel], id << 12);
		if (g) {
			vmbus_gpadl_remove(&s.table, &s.a, &s.list[channel], g);
			live--;
		} else if (add(&s, (int)channel, id << 12, id & 7, &g) == VMBUS_OK) {
			g->state = VMBUS_GPADL_ACCEPTED;
			live++;
		} else {
			assert_int_equal(live, 500);
		}
		assert_int_equal(s.table.count, live);
		if (step % 500 == 0)
			sound(&s);
	}
	sound(&s);
	finish(&s);
}

static void the_queue_keeps_order_and_content(void **state)
{
	struct store s;
	uint32_t in = 0, out = 0, seed = 7;
	uint8_t record[300], got[300];

	prepare(&s, 1, 1);
	assert_int_equal(vmbus_queue_pop(&s.queue, got, sizeof(got)), 0);
	assert_false(vmbus_queue_push(&s.queue, got, 1));
	assert_int_equal(vmbus_queue_reserve(&s.queue, &s.a, 1), VMBUS_OK);
	for (int step = 0; step < 50000; step++) {
		seed = seed * 1664525 + 1013904223;
		if (seed >> 30 < 2) {
			size_t size = 4 + in % 290;
			bool room = vmbus_queue_room(&s.queue) >= vmbus_queue_cost(size);

			memset(record, (int)in, sizeof(record));
			memcpy(record, &in, sizeof(in));
			assert_int_equal(vmbus_queue_push(&s.queue, record, size), room);
			in += room;
		} else if (in != out) {
			uint32_t number;

			assert_int_equal(vmbus_queue_pop(&s.queue, got, sizeof(got)),
					 4 + out % 290);
			memcpy(&number, got, sizeof(number));
			assert_int_equal(number, out);
			memset(record, (int)out, sizeof(record));
			assert_memory_equal(got + 4, record + 4, out % 290);
			out++;
		}
		assert_int_equal(s.queue.records, in - out);
		if (step % 5000 == 4999) /* grows with what it holds */
			assert_int_equal(vmbus_queue_reserve(&s.queue, &s.a, s.queue.capacity + 1),
					 VMBUS_OK);
	}
	s.heap.allowed = 0;
	assert_int_equal(vmbus_queue_reserve(&s.queue, &s.a, s.queue.capacity + 1),
			 VMBUS_E_NO_MEMORY);
	assert_int_equal(s.queue.records, in - out);
	vmbus_queue_clear(&s.queue);
	assert_int_equal(vmbus_queue_pop(&s.queue, got, sizeof(got)), 0);
	finish(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gpadls_are_found_by_channel_and_id),
		cmocka_unit_test(the_table_has_bounds),
		cmocka_unit_test(words_are_appended_up_to_what_was_announced),
		cmocka_unit_test(many_gpadls_come_and_go),
		cmocka_unit_test(the_queue_keeps_order_and_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
