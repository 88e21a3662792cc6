/* SPDX-License-Identifier: MIT */
/* GPADLs at the server. */
#include "control.h"

#define GOOD   0x00050003u
#define FAILED 0x8000ffffu

static void ctl_049_twenty_six_pages_fit_the_header(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 1);
	post(t, raw_header(1, 1, 26, 0x5000));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	expect_none(t);
	vmbus_server_gpadl_done(t->s, t->offer[0], 1, true);
	expect_post(t, raw_created(1, 1, 0));
	post(t, raw_header(1, 2, 27, 0x5000));
	expect_none(t);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 2, &view), VMBUS_E_NOT_FOUND);
	post(t, raw_body(2, 27, 0x5000, 26));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	expect_none(t);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 2, &view), VMBUS_OK);
	assert_int_equal(view.id, 2);
	assert_int_equal(view.range_count, 1);
	assert_int_equal(view.page_count, 27);
	assert_int_equal(view.word_count, 28);
	assert_int_equal(view.words[0], 27 * 4096);
	for (uint32_t i = 0; i < 27; i++)
		assert_int_equal(view.words[1 + i], 0x5000 + i);
}

static void a_gpadl_of_the_greatest_length(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;
	uint32_t bodies = 0;

	connect_with(t, GOOD, 0, 1);
	post(t, raw_header(1, 1, 8190, 0x10000));
	for (uint32_t sent = 26; sent < 8190; sent += 28) {
		expect_none(t);
		post(t, raw_body(1, 8190, 0x10000, sent));
		bodies++;
	}
	assert_int_equal(bodies, 292);
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 1, &view), VMBUS_OK);
	assert_int_equal(view.page_count, 8190);
	assert_int_equal(view.words[8190], 0x10000 + 8189);
}

static void ctl_050_padding_is_not_interpreted(void **state)
{
	struct bench *t = *state;
	struct raw header = raw_header(1, 1, 3, 0x5000), body;
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 1);
	memset(header.b + header.n, 0xee, 240 - header.n);
	header.n = 240;
	post(t, header);
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 1, &view), VMBUS_OK);
	assert_int_equal(view.page_count, 3);
	/* A full header has 27 words and four bytes to spare. */
	header = raw_header(1, 2, 30, 0x5000);
	memset(header.b + 236, 0xee, 4);
	header.n = 240;
	post(t, header);
	body = raw_body(2, 30, 0x5000, 26);
	memset(body.b + body.n, 0xee, 240 - body.n);
	body.n = 240;
	put32(&body, 8, 0x12345678); /* a message number, which nobody uses */
	post(t, body);
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 2, &view), VMBUS_OK);
	assert_int_equal(view.page_count, 30);
	assert_int_equal(view.words[26], 0x5000 + 25);
	assert_int_equal(view.words[27], 0x5000 + 26);
	assert_int_equal(view.words[30], 0x5000 + 29);
}

static void ctl_051_an_unknown_channel_is_answered_with_its_id(void **state)
{
	struct bench *t = *state;
	static const uint32_t ids[] = {0, 2, 2047, 2048, 0xffffffff};

	connect_with(t, GOOD, 0, 1);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		post(t, raw_header(ids[i], 0xabc, 2, 0));
		expect_post(t, raw_created(ids[i], 0xabc, FAILED));
		post(t, raw_header(ids[i], 0xabc, 30, 0));
		expect_post(t, raw_created(ids[i], 0xabc, FAILED));
		expect_none(t);
	}
	/* Between contact and offers no channel is known. */
	post(t, raw_contact(GOOD));
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	post(t, raw_header(1, 1, 2, 0));
	expect_post(t, raw_created(1, 1, FAILED));
	expect_none(t);
}

static void ctl_052_field_004_a_duplicate_leaves_the_first_alone(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 1);
	/* While it is incomplete, offered, accepted and being torn down. */
	post(t, raw_header(1, 7, 30, 0x5000));
	post(t, raw_header(1, 7, 2, 0x9000));
	expect_post(t, raw_created(1, 7, FAILED));
	post(t, raw_body(7, 30, 0x5000, 26));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	post(t, raw_header(1, 7, 2, 0x9000));
	expect_post(t, raw_created(1, 7, FAILED));
	vmbus_server_gpadl_done(t->s, t->offer[0], 7, true);
	expect_post(t, raw_created(1, 7, 0));
	post(t, raw_header(1, 7, 30, 0x9000));
	expect_post(t, raw_created(1, 7, FAILED));
	expect_none(t);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_OK);
	assert_int_equal(view.page_count, 30);
	assert_int_equal(view.words[1], 0x5000);
	assert_int_equal(view.words[30], 0x5000 + 29);
	post(t, raw_gpadl_teardown(1, 7));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	post(t, raw_header(1, 7, 2, 0x9000));
	expect_post(t, raw_created(1, 7, FAILED));
	vmbus_server_gpadl_released(t->s, t->offer[0], 7);
	expect_post(t, raw_torndown(7));
	make_gpadl(t, 0, 7, 2);
}

static void ctl_053_field_004_two_halves_cannot_share_an_id(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 2);
	post(t, raw_header(1, 7, 30, 0x5000));
	post(t, raw_header(2, 7, 40, 0x9000));
	expect_post(t, raw_created(2, 7, FAILED));
	/* One that is complete at once is no danger to the other, and legal. */
	post(t, raw_header(2, 7, 2, 0x9000));
	expect_device(t, VMBUS_SERVER_GPADL, 1);
	post(t, raw_body(7, 30, 0x5000, 26));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	expect_none(t);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_OK);
	assert_int_equal(view.words[30], 0x5000 + 29);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[1], 7, &view), VMBUS_OK);
	assert_int_equal(view.words[2], 0x9001);
}

static void bodies_of_several_gpadls_interleave(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 2);
	post(t, raw_header(1, 7, 60, 0x5000));
	post(t, raw_header(2, 8, 60, 0x9000));
	post(t, raw_body(7, 60, 0x5000, 26));
	post(t, raw_body(8, 60, 0x9000, 26));
	post(t, raw_body(8, 60, 0x9000, 54));
	expect_device(t, VMBUS_SERVER_GPADL, 1);
	post(t, raw_body(7, 60, 0x5000, 54));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 7, &view), VMBUS_OK);
	for (uint32_t i = 0; i < 60; i++)
		assert_int_equal(view.words[1 + i], 0x5000 + i);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[1], 8, &view), VMBUS_OK);
	for (uint32_t i = 0; i < 60; i++)
		assert_int_equal(view.words[1 + i], 0x9000 + i);
}

struct bad_range {
	uint32_t count, offset;
	uint16_t length, ranges;
};

static const struct bad_range bad_ranges[] = {
	{0, 0, 24, 1},              /* nothing */
	{4096, 0x1000, 24, 1},      /* offset of a page */
	{3 * 4096, 0, 24, 1},       /* three pages, two numbers */
	{4096, 1, 16, 1},           /* spills into a second page, one number */
	{0xffffffff, 0xfff, 24, 1}, /* overflow of the sum */
	{0xfffff001, 0, 24, 1},     /* overflow of the rounding */
	{4096, 0xffffffff, 24, 1},
	{4096, 0, 16, 2}, /* the second range is missing */
	{4096, 0, 16, 0xffff},
};

static struct raw raw_bad(const struct bad_range *bad, uint32_t id)
{
	struct raw r = raw_header(1, id, 2, 0x5000);

	put16(&r, 16, bad->length);
	put16(&r, 18, bad->ranges);
	put32(&r, 20, bad->count);
	put32(&r, 24, bad->offset);
	return r;
}

static void ctl_054_055_bad_ranges_fail_and_leave_the_id_free(void **state)
{
	struct bench *t = *state;
	size_t live;

	connect_with(t, GOOD, 0, 1);
	live = t->heap.live;
	for (size_t i = 0; i < sizeof(bad_ranges) / sizeof(bad_ranges[0]); i++) {
		post(t, raw_bad(&bad_ranges[i], 9));
		expect_post(t, raw_created(1, 9, FAILED));
		expect_none(t);
		assert_int_equal(t->heap.live, live);
	}
	/* The same found out by the last body, not before. */
	for (int i = 0; i < 2; i++) {
		struct raw r = raw_header(1, 9, 30, 0x5000);

		put32(&r, 20, i ? 31 * 4096 : 0);
		post(t, r);
		expect_none(t);
		post(t, raw_body(9, 30, 0x5000, 26));
		expect_post(t, raw_created(1, 9, FAILED));
		expect_none(t);
		assert_int_equal(t->heap.live, live);
	}
	make_gpadl(t, 0, 9, 30);
}

static void words_after_the_last_range_are_discarded(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;
	struct raw r = raw_header(1, 9, 4, 0x5000);

	connect_with(t, GOOD, 0, 1);
	put32(&r, 20, 2 * 4096);
	put16(&r, 16, 8 + 8 * 4 + 7); /* and a part of a word is none */
	post(t, r);
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 9, &view), VMBUS_OK);
	assert_int_equal(view.page_count, 2);
	assert_int_equal(view.word_count, 3);
	vmbus_server_gpadl_done(t->s, t->offer[0], 9, true);
	expect_post(t, raw_created(1, 9, 0));
}

static void several_ranges_are_one_gpadl(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;
	struct raw r = raw_one(8, 20 + 5 * 8, 1);

	connect_with(t, GOOD, 0, 1);
	put32(&r, 12, 9);
	put16(&r, 16, 40);
	put16(&r, 18, 2);
	put32(&r, 20, 100);
	put32(&r, 24, 4000); /* crosses into a second page */
	put64(&r, 28, 0x77);
	put64(&r, 36, 0x12);
	put32(&r, 44, 4096);
	put64(&r, 52, UINT64_MAX); /* page numbers are not looked at here */
	post(t, r);
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 9, &view), VMBUS_OK);
	assert_int_equal(view.range_count, 2);
	assert_int_equal(view.page_count, 3);
	assert_int_equal(view.words[0], 100 | UINT64_C(4000) << 32);
	assert_true(view.words[4] == UINT64_MAX);
}

static void ctl_056_a_body_for_nothing_is_dropped(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	assert_dropped(t, raw_body(1, 30, 0, 26), dropped_unknown);
	make_gpadl(t, 0, 1, 30);
	assert_dropped(t, raw_body(1, 30, 0, 26), dropped_unknown);
	post(t, raw_header(1, 2, 3, 0));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_dropped(t, raw_body(2, 30, 0, 26), dropped_unknown);
}

static void ctl_057_surplus_words_are_ignored(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 1);
	post(t, raw_header(1, 1, 27, 0x5000));
	post(t, raw_body(1, 54, 0x5000, 26)); /* 28 words, one is missing */
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 1, &view), VMBUS_OK);
	assert_int_equal(view.page_count, 27);
	assert_int_equal(view.word_count, 28);
	expect_none(t);
}

static void bodies_may_come_in_small_pieces(void **state)
{
	struct bench *t = *state;
	struct raw r = raw_header(1, 1, 4, 0x5000), body = raw_body(1, 4, 0x5000, 3);
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 1);
	r.n = 20; /* not one word with the header */
	post(t, r);
	r = raw_body(1, 5, 0x5000 - 1, 0);
	put64(&r, 16, 4 * 4096);
	r.n = 16 + 4 * 8 + 5; /* half a word does not count */
	post(t, r);
	expect_none(t);
	body.n = 16; /* nothing at all */
	post(t, body);
	expect_none(t);
	body.n = 24;
	post(t, body);
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 1, &view), VMBUS_OK);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(view.words[1 + i], 0x5000 + i);
}

static void ctl_058_an_empty_gpadl_is_refused(void **state)
{
	struct bench *t = *state;
	struct raw r = raw_header(1, 3, 2, 0);

	connect_with(t, GOOD, 0, 1);
	put16(&r, 16, 0);
	post(t, r);
	expect_post(t, raw_created(1, 3, FAILED));
	put16(&r, 16, 7);
	post(t, r);
	expect_post(t, raw_created(1, 3, FAILED));
	put16(&r, 16, 24);
	put16(&r, 18, 0);
	post(t, r);
	expect_post(t, raw_created(1, 3, FAILED));
	expect_none(t);
	make_gpadl(t, 0, 3, 2);
}

static void ctl_059_over_quota_is_refused_and_memory_is_bounded(void **state)
{
	struct bench *t = *state;
	size_t live, bytes;

	t->config.limits.gpadls = 3;
	t->config.limits.gpadl_pages = 100;
	bench_restart(t);
	connect_with(t, GOOD, 0, 1);
	live = t->heap.live;
	for (uint32_t id = 1; id <= 3; id++)
		make_gpadl(t, 0, id, 2);
	post(t, raw_header(1, 4, 2, 0));
	expect_post(t, raw_created(1, 4, FAILED));
	post(t, raw_gpadl_teardown(1, 3));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 3);
	expect_post(t, raw_torndown(3));
	/* 6 words are taken. Announcing is what counts, though nothing has come yet. */
	post(t, raw_header(1, 5, 94, 0));
	expect_post(t, raw_created(1, 5, FAILED));
	post(t, raw_header(1, 5, 93, 0));
	expect_none(t);
	assert_int_equal(vmbus_server_statistics(t->s)->gpadls_refused, 2);
	bytes = t->heap.bytes;
	for (uint32_t id = 6; id < 2000; id++) {
		post(t, raw_header(1, id, 8190, 0));
		expect_post(t, raw_created(1, id, FAILED));
	}
	assert_int_equal(t->heap.bytes, bytes);
	/* No memory is no quota either. */
	post(t, raw(16, 8));
	while (vmbus_server_next_action(t->s, &t->a)) {
		if (t->a.type == VMBUS_SERVER_GPADL_TEARDOWN)
			vmbus_server_gpadl_released(t->s, t->a.offer, t->a.gpadl.id);
	}
	assert_int_equal(t->heap.live, live);
	negotiate(t, GOOD, 0);
	request_offers(t, 1);
	for (size_t allowed = 0; allowed < 2; allowed++) {
		t->heap.allowed = allowed;
		post(t, raw_header(1, 1, 2, 0));
		t->heap.allowed = SIZE_MAX;
		expect_post(t, raw_created(1, 1, FAILED));
		expect_none(t);
		assert_int_equal(t->heap.live, live);
	}
	make_gpadl(t, 0, 1, 2);
}

static void ctl_060_teardown_of_what_cannot_be_torn_down(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	assert_dropped(t, raw_gpadl_teardown(1, 1), dropped_unknown);
	post(t, raw_header(1, 1, 30, 0));
	assert_dropped(t, raw_gpadl_teardown(1, 1), dropped_state);
	post(t, raw_body(1, 30, 0, 26));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	assert_dropped(t, raw_gpadl_teardown(1, 1), dropped_state);
	vmbus_server_gpadl_done(t->s, t->offer[0], 1, true);
	expect_post(t, raw_created(1, 1, 0));
	post(t, raw_gpadl_teardown(1, 1));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	assert_dropped(t, raw_gpadl_teardown(1, 1), dropped_state);
	vmbus_server_gpadl_released(t->s, t->offer[0], 1);
	expect_post(t, raw_torndown(1));
	assert_dropped(t, raw_gpadl_teardown(1, 1), dropped_unknown);
}

static void ctl_061_teardown_on_the_wrong_channel(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;
	static const uint32_t wrong[] = {0, 2, 3, 2048, 0xffffffff};

	connect_with(t, GOOD, 0, 2);
	make_gpadl(t, 0, 1, 8);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_dropped(t, raw_gpadl_teardown(wrong[i], 1), dropped_unknown);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 1, &view), VMBUS_OK);
	post(t, raw_open(1, 0, 1, 0, 4));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
}

static void the_highest_channel_id_is_one_like_others(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(0);

	o.fixed_channel_id = 2047;
	connect_with(t, GOOD, 0, 0);
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), VMBUS_OK);
	expect_post(t, raw_offer(0, 2047));
	post(t, raw_header(2047, 5, 8, 0x1000));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	vmbus_server_gpadl_done(t->s, t->offer[0], 5, true);
	expect_post(t, raw_created(2047, 5, 0));
	post(t, raw_open(2047, 3, 5, 0, 4));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_int_equal(t->a.open.connection_id, 0x27ff);
	vmbus_server_open_done(t->s, t->offer[0], 1);
	expect_post(t, raw_open_result(2047, 3, 1));
	post(t, raw_gpadl_teardown(2047, 5));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 5);
	expect_post(t, raw_torndown(5));
	post(t, raw_one(13, 12, 2047));
	assert_int_equal(vmbus_server_channel_id(t->s, t->offer[0]), 0);
}

static void ctl_062_torndown_waits_for_the_ring_to_close(void **state)
{
	struct bench *t = *state;
	struct vmbus_gpadl_view view;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw_gpadl_teardown(1, 100));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	assert_int_equal(vmbus_server_gpadl(t->s, t->offer[0], 100, &view), VMBUS_E_STATE);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_none(t);
	post(t, raw_one(7, 12, 1));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_post(t, raw_torndown(100));
	expect_none(t);
}

static void a_ring_torn_down_while_opening_waits_as_well(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	ask_open(t, 0);
	post(t, raw_gpadl_teardown(1, 100));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000001);
	expect_post(t, raw_open_result(1, 0x78, 0xc0000001));
	expect_post(t, raw_torndown(100));
	expect_none(t);
}

static void ctl_063_close_and_teardown_back_to_back(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw_one(7, 12, 1));
	post(t, raw_gpadl_teardown(1, 100));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_none(t);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_post(t, raw_torndown(100));
	/* The other order of the device's answers. */
	open_channel(t, 0);
	post(t, raw_one(7, 12, 1));
	post(t, raw_gpadl_teardown(1, 100));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_post(t, raw_torndown(100));
	expect_none(t);
}

static void ctl_064_a_ring_in_teardown_cannot_be_opened(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	make_gpadl(t, 0, 100, 8);
	post(t, raw_gpadl_teardown(1, 100));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	post(t, raw_open(1, 0x31, 100, 0, 4));
	expect_post(t, raw_open_result(1, 0x31, FAILED));
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	expect_post(t, raw_torndown(100));
	open_channel(t, 0);
	/* The same for an open that had to wait for the close before it. */
	post(t, raw_one(7, 12, 1));
	post(t, raw_open(1, 0x32, 100, 0, 4));
	post(t, raw_gpadl_teardown(1, 100));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_released(t->s, t->offer[0], 100);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_post(t, raw_torndown(100));
	expect_post(t, raw_open_result(1, 0x32, FAILED));
	expect_none(t);
	open_channel(t, 0);
}

static void ctl_065_page_numbers_are_looked_at_when_used(void **state)
{
	struct bench *t = *state;
	struct raw r = raw_header(1, 1, 8, 0x000fffffffffffff);

	connect_with(t, GOOD, 0, 1);
	post(t, r);
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	vmbus_server_gpadl_done(t->s, t->offer[0], 1, true);
	expect_post(t, raw_created(1, 1, 0));
	post(t, raw_open(1, 0x41, 1, 0, 4));
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	/* The owner cannot map them. */
	vmbus_server_open_done(t->s, t->offer[0], 0xc0000141);
	expect_post(t, raw_open_result(1, 0x41, 0xc0000141));
	expect_none(t);
	open_channel(t, 0);
}

static void a_device_may_refuse_a_gpadl(void **state)
{
	struct bench *t = *state;
	size_t live;

	connect_with(t, GOOD, 0, 1);
	live = t->heap.live;
	post(t, raw_header(1, 1, 8, 0x5000));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	vmbus_server_gpadl_done(t->s, t->offer[0], 1, false);
	expect_post(t, raw_created(1, 1, FAILED));
	expect_none(t);
	assert_int_equal(t->heap.live, live);
	vmbus_server_gpadl_done(t->s, t->offer[0], 1, true);
	expect_none(t);
}

/* A release takes a GPADL from under a device that has not answered. */
static void field_003_a_release_forgets_what_was_under_way(void **state)
{
	struct bench *t = *state;
	size_t live;

	connect_with(t, GOOD, 0, 2);
	live = t->heap.live;
	post(t, raw_header(1, 1, 30, 0x5000));
	post(t, raw_header(1, 2, 8, 0x5000));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	post(t, raw_header(1, 3, 8, 0x5000));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	post(t, raw_one(13, 12, 1));
	expect_none(t);
	/* The half-received one is forgotten at once: its id is free on the other channel. */
	make_gpadl(t, 1, 1, 30);
	vmbus_server_gpadl_done(t->s, t->offer[0], 2, true);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	vmbus_server_gpadl_done(t->s, t->offer[0], 3, false);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 2);
	expect_none(t);
	assert_int_equal(t->heap.live, live + 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ctl_049_twenty_six_pages_fit_the_header),
		T(a_gpadl_of_the_greatest_length),
		T(ctl_050_padding_is_not_interpreted),
		T(ctl_051_an_unknown_channel_is_answered_with_its_id),
		T(ctl_052_field_004_a_duplicate_leaves_the_first_alone),
		T(ctl_053_field_004_two_halves_cannot_share_an_id),
		T(bodies_of_several_gpadls_interleave),
		T(ctl_054_055_bad_ranges_fail_and_leave_the_id_free),
		T(words_after_the_last_range_are_discarded),
		T(several_ranges_are_one_gpadl),
		T(ctl_056_a_body_for_nothing_is_dropped),
		T(ctl_057_surplus_words_are_ignored),
		T(bodies_may_come_in_small_pieces),
		T(ctl_058_an_empty_gpadl_is_refused),
		T(ctl_059_over_quota_is_refused_and_memory_is_bounded),
		T(ctl_060_teardown_of_what_cannot_be_torn_down),
		T(ctl_061_teardown_on_the_wrong_channel),
		T(the_highest_channel_id_is_one_like_others),
		T(ctl_062_torndown_waits_for_the_ring_to_close),
		T(a_ring_torn_down_while_opening_waits_as_well),
		T(ctl_063_close_and_teardown_back_to_back),
		T(ctl_064_a_ring_in_teardown_cannot_be_opened),
		T(ctl_065_page_numbers_are_looked_at_when_used),
		T(a_device_may_refuse_a_gpadl),
		T(field_003_a_release_forgets_what_was_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
