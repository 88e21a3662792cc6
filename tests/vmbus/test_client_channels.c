/* SPDX-License-Identifier: MIT */
/* The client's GPADLs and channels, up to their rescind, against a host made of bytes. */
#include <stdlib.h>

#include "guest.h"

/* ---- GPADLs ---- */

static void ctl_066_gpadl_ids_are_unique_and_never_zero(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id a, b;
	uint32_t kept, id, last = 0;

	g->config.first_gpadl_id = 0xffffe;
	connect_at(g, GOOD);
	a = offered(g, 0, 1);
	b = offered(g, 1, 2);
	kept = announced(g, a, 1);
	assert_int_equal(kept, 0xffffe);
	assert_int_equal(announced(g, b, 2), 0xfffff);
	assert_int_equal(announced(g, a, 1), 1); /* not 0x100000, not 0 */
	assert_int_equal(vmbus_client_gpadl_create(g->c, a, guest_words, 9, 1, 0x52f, &id),
			 VMBUS_OK);
	assert_int_equal(id, 0x52f00002);
	posted(g, 9, header_of(1, id));
	/* A whole turn of the counter does not come upon an id that is still live. */
	for (uint32_t i = 0; i < 1u << 20; i++) {
		assert_int_equal(vmbus_client_gpadl_create(g->c, b, guest_words, 9, 1, 0, &id),
				 VMBUS_OK);
		assert_true(id != 0 && id != kept && id <= 0xfffff && id != last);
		last = id;
		assert_true(vmbus_client_next_action(g->c, &g->a));
		vmbus_client_receive(g->c, raw_created(2, id, 1).b, 20);
		assert_true(vmbus_client_next_action(g->c, &g->a));
	}
	none(g);
}

static void ctl_067_answers_nobody_waits_for_are_ignored(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), other = offered(g, 1, 2);
	uint32_t id = announced(g, ch, 1);

	(void)other;
	ignored(g, raw_created(1, id + 1, 0));
	ignored(g, raw_created(2, id, 0)); /* the wrong channel */
	ignored(g, raw_created(0, id, 0));
	ignored(g, raw_created(2048, id, 0));
	ignored(g, raw_torndown(id));
	host(g, raw_created(1, id, 0));
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, id, 0);
	ignored(g, raw_created(1, id, 0));
	ignored(g, raw_created(1, id, 0x8000ffff));
	ignored(g, raw_torndown(id));
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, id), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, id));
	ignored(g, raw_created(1, id, 0));
	ignored(g, raw_torndown(0));
	host(g, raw_torndown(id));
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, id, 0);
	ignored(g, raw_torndown(id));
	none(g);
}

static void ctl_068_memory_comes_back_three_ways(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t a = created(g, ch, 1), b = created(g, ch, 1);

	/* TORNDOWN, and nothing before it. */
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, a), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, a));
	none(g);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, a), VMBUS_E_STATE);
	host(g, raw_torndown(a));
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, a, 0);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, a), VMBUS_E_NOT_FOUND);
	/* A rescind, while the teardown is out. */
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, b), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, b));
	none(g);
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, b, 0);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	none(g);
	/* The end of the connection, when the host has said so and not before. */
	ch = one_channel(g);
	a = created(g, ch, 1);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, a), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, a));
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	posted(g, 9, raw(16, 8));
	none(g);
	host(g, raw(17, 8));
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, a, 0);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	take(g, VMBUS_CLIENT_UNLOADED);
	none(g);
}

static void a_long_gpadl_is_cut_into_messages(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint64_t *list = calloc(8191, sizeof(*list));
	uint32_t id;

	assert_non_null(list);
	for (uint32_t pages = 25; pages <= 8190; pages = pages < 84 ? pages + 1 : pages + 2702) {
		list[0] = pages * 4096;
		for (uint32_t i = 0; i < pages; i++)
			list[1 + i] = 0x7000 + i;
		assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, pages + 1, 1, 0, &id),
				 VMBUS_OK);
		posted(g, 9, raw_header(1, id, pages, 0x7000));
		for (uint32_t sent = 26; sent < pages; sent += 28)
			posted(g, 9, raw_body(id, pages, 0x7000, sent));
		none(g);
	}
	/* What cannot be said is not said. */
	list[0] = 8191 * 4096;
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 8192, 1, 0, &id),
			 VMBUS_E_INVALID);
	list[0] = 0;
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 2, 1, 0, &id), VMBUS_E_INVALID);
	list[0] = 4096;
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 3, 1, 0, &id), VMBUS_E_INVALID);
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 2, 0, 0, &id), VMBUS_E_INVALID);
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, list, 2, 1, 0x1000, &id),
			 VMBUS_E_INVALID);
	none(g);
	free(list);
}

static void a_refused_gpadl_is_forgotten(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t id = announced(g, ch, 1);

	host(g, raw_created(1, id, 0x8000ffff));
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, id, 0x8000ffff);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, id), VMBUS_E_NOT_FOUND);
	g->config.limits.gpadls = 1;
	ch = one_channel(g);
	created(g, ch, 1);
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, guest_words, 9, 1, 0, &id),
			 VMBUS_E_LIMIT);
	none(g);
}

/* ---- open, close, modify ---- */

static void ctl_089_open_results_that_do_not_fit_are_ignored(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), other = offered(g, 1, 2);
	uint32_t gpadl = created(g, ch, 1), first, second;

	(void)other;
	ignored(g, raw_open_result(1, 0, 0));
	ignored(g, raw_open_result(7, 0, 0));
	first = opening(g, ch, 1, gpadl);
	ignored(g, raw_open_result(1, first + 1, 0));
	ignored(g, raw_open_result(1, 0, 0));
	ignored(g, raw_open_result(2, first, 0));
	ignored(g, raw_open_result(0xffff, first, 0));
	host(g, raw_open_result(1, first, 0xc0000001));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, 0xc0000001);
	second = opening(g, ch, 1, gpadl);
	assert_true(first != second);
	ignored(g, raw_open_result(1, first, 0)); /* the first open's, late */
	host(g, raw_open_result(1, second, 0));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, 0);
	ignored(g, raw_open_result(1, second, 0));
	ignored(g, raw_open_result(1, second, 1));
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
	posted(g, 9, raw_one(7, 12, 1));
	ignored(g, raw_open_result(1, second, 0));
}

static void requests_in_the_wrong_state_are_refused(void **state)
{
	struct guest *g = *state;
	struct vmbus_client_open o = {.ring_gpadl = 1};
	vmbus_channel_id ch = one_channel(g);
	uint32_t gpadl, open_id;

	assert_int_equal(vmbus_client_open(g->c, ch + 0x10000, &o), VMBUS_E_NOT_FOUND);
	assert_int_equal(vmbus_client_open(g->c, 0, &o), VMBUS_E_NOT_FOUND);
	assert_int_equal(vmbus_client_open(g->c, 0xffff, &o), VMBUS_E_NOT_FOUND);
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_INVALID); /* no such ring */
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
	assert_int_equal(vmbus_client_modify(g->c, ch, 0), VMBUS_E_STATE);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_E_STATE);
	none(g);
	gpadl = announced(g, ch, 1);
	o.ring_gpadl = gpadl;
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_INVALID); /* not created yet */
	host(g, raw_created(1, gpadl, 0));
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, gpadl, 0);
	open_id = opening(g, ch, 1, gpadl);
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_STATE);
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_E_STATE);
	host(g, raw_open_result(1, open_id, 0));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, 0);
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_STATE);
	assert_int_equal(vmbus_client_modify(g->c, ch, 0xffffffff), VMBUS_E_INVALID);
	none(g);
}

static void the_long_open_is_for_who_agreed_on_it(void **state)
{
	struct guest *g = *state;
	static const uint32_t features[] = {0, 1, 2, 3};

	for (size_t i = 0; i < 4; i++) {
		struct vmbus_client_open o = {.downstream_page = 4,
					      .connection_id = 0x9000,
					      .event_flag = 77,
					      .open_flags = 1};
		vmbus_channel_id ch;
		uint32_t f = features[i];

		assert_int_equal(features_after(g, 3, response6(20, f, 0, 0)), f);
		ch = offered(g, 0, 1);
		o.ring_gpadl = created(g, ch, 1);
		assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_OK);
		take(g, VMBUS_CLIENT_POST);
		assert_int_equal(g->a.message.size, f ? 156 : 148);
		assert_int_equal(get32(g->a.message.data, 148), f & 1 ? 0x9000 : 0);
		assert_int_equal(get32(g->a.message.data, 152),
				 (f & 1 ? 77u : 0) | (f & 2 ? 1u << 16 : 0));
	}
}

static void modify_is_answered_from_5_3(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);

	opened(g, ch, 1);
	ignored(g, raw_modify_response(1, 0));
	assert_int_equal(vmbus_client_modify(g->c, ch, 6), VMBUS_OK);
	posted(g, 9, raw_modify(1, 6));
	none(g);
	assert_int_equal(vmbus_client_modify(g->c, ch, 7), VMBUS_E_STATE);
	ignored(g, raw_modify_response(2, 0));
	host(g, raw_modify_response(1, 0x8000ffff));
	result(g, VMBUS_CLIENT_MODIFY_RESULT, ch, 0, 0x8000ffff);
	ignored(g, raw_modify_response(1, 0));
	connect_at(g, 0x50002);
	ch = offered(g, 0, 1);
	opened(g, ch, 1);
	assert_int_equal(vmbus_client_modify(g->c, ch, 6), VMBUS_OK);
	posted(g, 9, raw_modify(1, 6));
	result(g, VMBUS_CLIENT_MODIFY_RESULT, ch, 0, 0);
	none(g);
}

/* ---- rescind, release, unload ---- */

static void ctl_097_a_rescind_ends_every_request_and_is_released_once(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t ring = created(g, ch, 1), creating, deleting = created(g, ch, 1);

	opening(g, ch, 1, ring);
	creating = announced(g, ch, 1);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, deleting), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, deleting));
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, GONE);
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, deleting, 0);
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, creating, GONE);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	none(g);
	/* Nothing more can be asked of it. */
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, ring), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
	assert_int_equal(vmbus_client_modify(g->c, ch, 0), VMBUS_E_GONE);
	none(g);
	/* The host answers what crossed its rescind. */
	host(g, raw_torndown(deleting));
	host(g, raw_created(1, creating, 0));
	none(g);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	posted(g, 9, released(1));
	none(g);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_E_NOT_FOUND);
	ignored(g, rescind(1));
}

static void ctl_098_rescinds_of_nothing_are_ignored(void **state)
{
	struct guest *g = *state;
	static const uint32_t ids[] = {0, 2, 2047, 2048, 0x10001, 0xffffffff};
	vmbus_channel_id ch = one_channel(g);

	for (size_t i = 0; i < 6; i++)
		ignored(g, rescind(ids[i]));
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	ignored(g, rescind(1));
	ignored(g, rescind(1));
	none(g);
}

static void field_012_the_id_is_kept_while_answers_are_owed(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint32_t creating, deleting;

	opened(g, ch, 1);
	deleting = created(g, ch, 1);
	creating = announced(g, ch, 1);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, deleting), VMBUS_OK);
	posted(g, 9, raw_gpadl_teardown(1, deleting));
	assert_int_equal(vmbus_client_modify(g->c, ch, 2), VMBUS_OK);
	posted(g, 9, raw_modify(1, 2));
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_MODIFY_RESULT, ch, 0, GONE);
	result(g, VMBUS_CLIENT_GPADL_TORNDOWN, ch, deleting, 0);
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, creating, GONE);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	none(g);
	ignored(g, raw_offer(1, 1));
	host(g, raw_modify_response(1, 0));
	none(g);
	host(g, raw_created(1, creating, 0));
	none(g);
	ignored(g, raw_created(1, creating, 0));
	host(g, raw_torndown(deleting));
	posted(g, 9, released(1));
	none(g);
	offered(g, 1, 1);
}

/* Each kind of answer, as the last one owed. */
static void field_012_whichever_answer_comes_last(void **state)
{
	struct guest *g = *state;

	for (int last = 0; last < 3; last++) {
		vmbus_channel_id ch = one_channel(g);
		uint32_t id = 0;

		opened(g, ch, 1);
		if (last == 0) {
			assert_int_equal(vmbus_client_modify(g->c, ch, 2), VMBUS_OK);
		} else if (last == 1) {
			assert_int_equal(
				vmbus_client_gpadl_create(g->c, ch, guest_words, 9, 1, 0, &id),
				VMBUS_OK);
		} else {
			id = created(g, ch, 1);
			assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, id), VMBUS_OK);
		}
		take(g, VMBUS_CLIENT_POST);
		host(g, rescind(1));
		assert_true(vmbus_client_next_action(g->c, &g->a));
		result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
		assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
		none(g);
		host(g, last == 0   ? raw_modify_response(1, 0)
			: last == 1 ? raw_created(1, id, 0)
				    : raw_torndown(id));
		posted(g, 9, released(1));
		none(g);
	}
}

static void the_highest_channel_id_is_one_like_others(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch;

	connect_at(g, GOOD);
	ch = offered(g, 0, 2047);
	opened(g, ch, 2047);
	host(g, rescind(2047));
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	posted(g, 9, released(2047));
}

static void an_owner_that_takes_no_actions_is_not_buried(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g);
	uint64_t words_of_300[301] = {300 * 4096};
	size_t peak;
	int rounds = 0;
	uint32_t id;

	/* Its own requests stop at a bound, */
	while (vmbus_client_gpadl_create(g->c, ch, words_of_300, 301, 1, 0, &id) == VMBUS_OK)
		assert_true(++rounds < 1000);
	assert_true(rounds > 100);
	peak = g->heap.peak;
	/* and the host's messages as well. */
	for (uint32_t n = 0; n < 100000; n++)
		vmbus_client_receive(g->c, raw_created(1, 0xe1e10 + n % 1000, 1).b, 20);
	for (uint32_t n = 2; n < 2048; n++)
		vmbus_client_receive(g->c, raw_offer(0, n).b, 196);
	sound(g, __LINE__);
	assert_true(g->heap.peak < peak + (8u << 20));
}

static void field_013_the_id_is_kept_while_the_driver_holds_it(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), next;

	opened(g, ch, 1);
	host(g, rescind(1));
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	none(g); /* nothing is owed, yet nothing is released */
	ignored(g, raw_offer(1, 1));
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	posted(g, 9, released(1));
	next = offered(g, 1, 1);
	/* Late calls of the old driver miss the new channel. */
	assert_true(next != ch);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_E_NOT_FOUND);
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_E_NOT_FOUND);
	opened(g, next, 1);
}

static void field_013_also_from_one_connection_to_the_next(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), next;

	opened(g, ch, 1);
	vmbus_client_lost(g->c);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	none(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, 4, contact_of(GOOD, 0));
	host(g, raw_version_ok(9));
	posted(g, 9, raw(3, 8));
	take(g, VMBUS_CLIENT_CONNECTED);
	/* The new connection's channel 1 has nothing to do with the old one's. */
	next = offered(g, 0, 1);
	assert_true(next != ch);
	opened(g, next, 1);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, 1), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	none(g); /* no RELID_RELEASED for it */
	assert_int_equal(vmbus_client_close(g->c, next), VMBUS_OK);
	posted(g, 9, raw_one(7, 12, 1));
}

static void losing_the_transport_ends_everything(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id ch = one_channel(g), other = offered(g, 1, 2), let_go = offered(g, 2, 3);
	uint32_t ring = created(g, ch, 1), creating;

	opening(g, ch, 1, ring);
	creating = announced(g, let_go, 3);
	host(g, rescind(3));
	result(g, VMBUS_CLIENT_GPADL_CREATED, let_go, creating, GONE);
	result(g, VMBUS_CLIENT_RESCIND, let_go, 0, 0);
	assert_int_equal(vmbus_client_release(g->c, let_go), VMBUS_OK);
	none(g); /* its CREATED is owed */
	vmbus_client_lost(g->c);
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, GONE);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	result(g, VMBUS_CLIENT_RESCIND, other, 0, 0);
	none(g);
	assert_int_equal(vmbus_client_state(g->c), VMBUS_CLIENT_STATE_DISCONNECTED);
	assert_int_equal(vmbus_client_version(g->c), 0);
	vmbus_client_lost(g->c);
	none(g);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	assert_int_equal(vmbus_client_release(g->c, other), VMBUS_OK);
	none(g);
	/* While a contact is out. */
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	vmbus_client_lost(g->c);
	take(g, VMBUS_CLIENT_CONNECT_FAILED);
	none(g);
}

static void ctl_112_after_unload_only_its_completion_counts(void **state)
{
	struct guest *g = *state;
	struct vmbus_client_open o = {0};
	vmbus_channel_id ch = one_channel(g);
	uint32_t ring = created(g, ch, 1), open_id, id;

	o.ring_gpadl = ring;
	ignored(g, raw(17, 8)); /* while connected it changes nothing */
	open_id = opening(g, ch, 1, ring);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	posted(g, 9, raw(16, 8));
	assert_int_equal(vmbus_client_state(g->c), VMBUS_CLIENT_STATE_DISCONNECTING);
	/* The host's messages. */
	ignored(g, raw_open_result(1, open_id, 0));
	ignored(g, raw_offer(1, 2));
	ignored(g, rescind(1));
	ignored(g, raw_version_ok(9));
	ignored(g, raw(4, 8));
	/* Our own. */
	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, guest_words, 9, 1, 0, &id),
			 VMBUS_E_GONE);
	assert_int_equal(vmbus_client_gpadl_teardown(g->c, ch, ring), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_modify(g->c, ch, 0), VMBUS_E_GONE);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_E_STATE);
	none(g);
	host(g, raw(17, 8));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, GONE);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	take(g, VMBUS_CLIENT_UNLOADED);
	none(g);
	assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
	none(g);
	ignored(g, raw(17, 8));
	/* With a channel open; and a timeout in place of the completion. */
	ch = one_channel(g);
	opened(g, ch, 1);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	posted(g, 9, raw(16, 8));
	assert_int_equal(vmbus_client_close(g->c, ch), VMBUS_OK);
	none(g); /* no CLOSE */
	vmbus_client_lost(g->c);
	result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
	take(g, VMBUS_CLIENT_UNLOADED);
	none(g);
}

static void unload_in_other_states(void **state)
{
	struct guest *g = *state;

	assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_UNLOADED);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	assert_int_equal(vmbus_client_unload(g->c), VMBUS_E_STATE);
	none(g);
	/* A rescinded channel let go while unloading owes nothing. */
	{
		vmbus_channel_id ch = one_channel(g);

		host(g, rescind(1));
		result(g, VMBUS_CLIENT_RESCIND, ch, 0, 0);
		assert_int_equal(vmbus_client_unload(g->c), VMBUS_OK);
		posted(g, 9, raw(16, 8));
		assert_int_equal(vmbus_client_release(g->c, ch), VMBUS_OK);
		none(g);
		host(g, raw(17, 8));
		take(g, VMBUS_CLIENT_UNLOADED);
		none(g);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, guest_setup, guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_066_gpadl_ids_are_unique_and_never_zero),
		T(ctl_067_answers_nobody_waits_for_are_ignored),
		T(ctl_068_memory_comes_back_three_ways),
		T(a_long_gpadl_is_cut_into_messages),
		T(a_refused_gpadl_is_forgotten),
		T(ctl_089_open_results_that_do_not_fit_are_ignored),
		T(requests_in_the_wrong_state_are_refused),
		T(the_long_open_is_for_who_agreed_on_it),
		T(modify_is_answered_from_5_3),
		T(ctl_097_a_rescind_ends_every_request_and_is_released_once),
		T(ctl_098_rescinds_of_nothing_are_ignored),
		T(field_012_the_id_is_kept_while_answers_are_owed),
		T(field_012_whichever_answer_comes_last),
		T(the_highest_channel_id_is_one_like_others),
		T(an_owner_that_takes_no_actions_is_not_buried),
		T(field_013_the_id_is_kept_while_the_driver_holds_it),
		T(field_013_also_from_one_connection_to_the_next),
		T(losing_the_transport_ends_everything),
		T(ctl_112_after_unload_only_its_completion_counts),
		T(unload_in_other_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
