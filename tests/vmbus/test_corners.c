/* SPDX-License-Identifier: MIT */
/* What no conversation reaches: numbers that wrap, limits above the most, owners who stand still.
 */
#include "guest.h"

#include "vmbus/client_internal.h"
#include "vmbus/message.h"
#include "vmbus/server_internal.h"
#include "vmbus/shared_copy.h"

static void limits_above_the_most_are_cut(void **state)
{
	struct heap heap = {.allowed = SIZE_MAX};
	struct vmbus_server_config sc = {.limits.channels = 5000};
	struct vmbus_client_config cc = {.limits.channels = 5000};
	struct vmbus_server *s;
	struct vmbus_client *c;

	sc.allocator = cc.allocator = heap_allocator(&heap);
	s = vmbus_server_create(&sc);
	c = vmbus_client_create(&cc);
	assert_int_equal(s->config.limits.channels, VMBUS_MAX_CHANNEL);
	assert_int_equal(c->config.limits.channels, VMBUS_MAX_CHANNEL);
	vmbus_server_destroy(s);
	vmbus_client_destroy(c);
	assert_int_equal(heap.live, 0);
}

static void an_unknown_type_is_neither_read_nor_written(void **state)
{
	uint8_t bytes[40];
	struct vmbus_message m;

	memset(bytes, 0xff, sizeof(bytes));
	vmbus_message_decode(&m, bytes, sizeof(bytes));
	assert_int_equal(m.type, 0xffffffff);
	assert_int_equal(m.open_channel.channel_id, 0);
	vmbus_message_encode(&m, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0);
}

static void a_guid_of_zeros_is_told_from_others(void **state)
{
	struct vmbus_guid g = {{0}};

	assert_true(vmbus_guid_is_zero(&g));
	for (size_t i = 0; i < sizeof(g.b); i++) {
		g.b[i] = 1;
		assert_false(vmbus_guid_is_zero(&g));
		g.b[i] = 0;
	}
}

/* 0 would pass for "no open id", as some guests send it. */
static void open_ids_pass_over_zero(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t relid = client_channel(g->c, ch)->offer.relid;
	uint32_t ring = created(g, ch, relid);

	g->c->open_ids = UINT32_MAX;
	assert_int_equal(opening(g, ch, relid, ring), 1);
}

/* Calls whose actions nobody takes: what they can make the client hold is bounded, and counted. */
static void an_owner_that_takes_no_actions_costs_no_memory(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch;
	size_t bytes;

	g->config.max_version = 0x50002;
	guest_restart(g);
	connect_at(g, 0x50002);
	ch = offered(g, 0, 1);
	opened(g, ch, 1);
	bytes = g->heap.bytes;
	for (int i = 0; i < 10000; i++)
		assert_int_equal(vmbus_client_modify(g->c, ch, 1), VMBUS_OK);
	assert_int_equal(g->heap.bytes, bytes);
	assert_true(vmbus_client_statistics(g->c)->ignored_busy > 9000);
	/* Nor does the host get anything in. */
	host(g, rescind(1));
	assert_null(vmbus_client_check(g->c));
	while (vmbus_client_next_action(g->c, &g->a))
		assert_int_not_equal(g->a.type, VMBUS_CLIENT_RESCIND);
	host(g, rescind(1));
	take(g, VMBUS_CLIENT_RESCIND);
	none(g);
}

static void shared_memory_is_copied_whole_at_any_size(void **state)
{
	uint8_t from[300], to[300];

	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + 1);
	for (size_t size = 0; size <= 200; size++) {
		for (size_t at = 0; at < 8; at++) {
			memset(to, 0, sizeof(to));
			vmbus_shared_copy(to + at, from + at, size);
			assert_memory_equal(to + at, from + at, size);
			assert_int_equal(to[at + size], 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_above_the_most_are_cut),
		cmocka_unit_test(an_unknown_type_is_neither_read_nor_written),
		cmocka_unit_test(a_guid_of_zeros_is_told_from_others),
		cmocka_unit_test_setup_teardown(open_ids_pass_over_zero, guest_setup,
						guest_teardown),
		cmocka_unit_test_setup_teardown(an_owner_that_takes_no_actions_costs_no_memory,
						guest_setup, guest_teardown),
		cmocka_unit_test(shared_memory_is_copied_whole_at_any_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
