/* SPDX-License-Identifier: MIT */
/*
 * The server's state as bytes and back. A server is brought into a state, saved, destroyed and
 * restored; then it must go on as the first would have. The golden file is state that this version
 * of the format once wrote; later versions prove here that they still read it.
 */
#include "saving.h"

#include <stdlib.h>

#include "base/crc.h"

#define GOOD   0x00050003u
#define V6     0x00060000u
#define FAILED 0x8000ffffu

static const char *golden_path;

/* The device is asked to go on, and does; the client hears nothing. */
static void resume_open(struct bench *t, int device)
{
	claim(t, device, true);
	expect_device(t, VMBUS_SERVER_OPEN, device);
	assert_true(t->a.open.restored);
	assert_int_equal(t->a.open.channel_id, device + 1);
	assert_int_equal(t->a.open.ring_gpadl, 100 + device);
	vmbus_server_open_done(t->s, t->offer[device], 0);
	expect_none(t);
}

static enum vmbus_status refused_by(struct bench *t, const uint8_t *b, size_t n,
				    struct vmbus_saved_error *error)
{
	struct vmbus_server *made = NULL;
	size_t live = t->heap.live;
	enum vmbus_status status = vmbus_server_restore(&t->config, b, n, &made, error);

	if (!status)
		vmbus_server_destroy(made);
	else
		assert_true(error->field && error->why && error->field[0]);
	assert_int_equal(t->heap.live, live);
	return status;
}

static void expect_refused(struct bench *t, const struct saved *s, const char *field)
{
	struct vmbus_saved_error error;

	if (refused_by(t, s->b, s->n, &error) != VMBUS_E_INVALID)
		fail_msg("accepted, and %s is wrong", field);
	assert_string_equal(error.field, field);
}

/* ---- finding and changing fields; checksums are made right again ---- */

static uint8_t *section(const struct saved *s, uint32_t kind, unsigned int which)
{
	for (size_t at = 32; at < s->n; at += 16 + get32(s->b, at + 8))
		if (get32(s->b, at) == kind && !which--)
			return s->b + at;
	fail_msg("no section %u", kind);
	return NULL;
}

static void mend(struct saved *s)
{
	for (size_t at = 32; at + 16 <= s->n; at += 16 + get32(s->b, at + 8)) {
		uint32_t crc = crc32c(0, s->b + at, 12);

		crc = crc32c(crc, s->b + at + 16, get32(s->b, at + 8));
		memcpy(s->b + at + 12, &crc, 4);
	}
	memcpy(s->b + 28, &(uint32_t){crc32c(0, s->b, 28)}, 4);
}

static void set(struct saved *s, uint8_t *field, unsigned int width, uint64_t value,
		const char *name, struct bench *t)
{
	uint64_t was = 0;

	memcpy(&was, field, width);
	memcpy(field, &value, width);
	mend(s);
	expect_refused(t, s, name);
	memcpy(field, &was, width);
	mend(s);
}

/* ---- tests ---- */

static void checksum_is_crc32c(void **state)
{
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void field_006_offers_wait_to_be_asked_for_after_a_restore(void **state)
{
	struct bench *t = *state;

	/* no connection, and between contact and REQUEST_OFFERS */
	offer(t, 0);
	live_on(t);
	expect_none(t);
	claim(t, 0, true);
	expect_none(t);
	negotiate(t, GOOD, 0);
	live_on(t);
	expect_none(t);
	claim(t, 0, true);
	claim(t, 1, false);
	expect_none(t);
	request_offers(t, 2);
	/* and once asked for, they are not sent again */
	live_on(t);
	claim(t, 0, true);
	claim(t, 1, true);
	expect_none(t);
	assert_dropped(t, raw(3, 8), dropped_state);
	open_channel(t, 1);
}

static void field_006_a_contact_that_is_not_answered_is_answered_after(void **state)
{
	struct bench *t = *state;

	post(t, raw_contact(GOOD));
	live_on(t);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.version, GOOD);
	expect_none(t);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, raw_version_ok(1));
	request_offers(t, 0);
}

static void field_008_restore_steps_run_once_and_only_after_a_restore(void **state)
{
	struct bench *t = *state;
	struct saved first, second;

	connect_with(t, GOOD, 0, 2);
	open_channel(t, 0);
	make_gpadl(t, 0, 7, 3);
	make_gpadl(t, 1, 8, 3);
	/* told to let go, and has not yet; the same at a channel that is closed */
	post(t, raw_gpadl_teardown(1, 7));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 0);
	post(t, raw_gpadl_teardown(2, 8));
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 1);
	live_on(t);
	/* whoever held them is gone: torn down, once */
	expect_post(t, raw_torndown(8));
	expect_post(t, raw_torndown(7));
	expect_none(t);
	resume_open(t, 0);
	claim(t, 1, true);
	expect_none(t);
	vmbus_server_gpadl_released(t->s, t->offer[0], 7);
	expect_none(t);
	/* a second restore has nothing to do, and a server that is made has nothing either */
	first = save(t);
	restore(t, &first);
	expect(t, VMBUS_SERVER_RESTORED);
	expect_none(t);
	second = save(t);
	assert_int_equal(first.n, second.n);
	assert_memory_equal(first.b, second.b, first.n);
	drop(t, &first);
	drop(t, &second);
	bench_restart(t);
	offer(t, 0);
	expect_none(t);
}

static void field_009_closed_channels_are_neither_rescinded_nor_offered_again(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 3);
	open_channel(t, 2);
	live_on(t);
	assert_int_equal(vmbus_server_unclaimed(t->s), 3);
	/* the client opens one that nobody has claimed: it waits */
	post(t, raw_header(1, 100, 8, 0x1000));
	expect_post(t, raw_created(1, 100, 0));
	post(t, raw_open(1, 0x78, 100, 1, 4));
	expect_none(t);
	claim(t, 0, false);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_false(t->a.open.restored);
	finish_open(t, 0);
	/* the one that was closed stays; the one that was open is gone for the client too */
	vmbus_server_restore_done(t->s);
	expect_post(t, raw_one(2, 12, 3));
	expect_none(t);
	/* without its device an open is refused, and its device may still come */
	post(t, raw_header(2, 101, 8, 0x1000));
	expect_post(t, raw_created(2, 101, 0));
	post(t, raw_open(2, 0x79, 101, 1, 4));
	expect_post(t, raw_open_result(2, 0x79, FAILED));
	claim(t, 1, false);
	expect_none(t);
	ask_open(t, 1);
	finish_open(t, 1);
	assert_int_equal(vmbus_server_unclaimed(t->s), 0);
}

static void field_009_an_open_that_nobody_will_answer_is_refused(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 1);
	ask_open(t, 0);
	live_on(t);
	expect_none(t);
	vmbus_server_restore_done(t->s);
	expect_post(t, raw_open_result(1, 0x78, FAILED));
	expect_none(t);
	claim(t, 0, false);
	ask_open(t, 0);
	finish_open(t, 0);
}

static void open_channels_go_on_or_are_offered_anew(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(1);

	connect_with(t, GOOD, 0, 4);
	for (int i = 0; i < 4; i++)
		open_channel(t, i);
	live_on(t);
	resume_open(t, 0);
	/* a device without its state; one that wants a new channel */
	claim(t, 1, false);
	expect_post(t, raw_one(2, 12, 2));
	post(t, raw_one(13, 12, 2));
	expect_post(t, raw_offer(1, 2));
	o = an_offer(2);
	o.resume = o.force_new = true;
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[2], &t->offer[2]), 0);
	expect_post(t, raw_one(2, 12, 3));
	post(t, raw_one(13, 12, 3));
	expect_post(t, raw_offer(2, 3));
	/* one that is not what the client was shown cannot go on; one that does not want to */
	o = an_offer(3);
	o.resume = true;
	o.flags ^= 1;
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[3], &t->offer[3]),
			 VMBUS_E_INVALID);
	claim(t, 3, true);
	expect_device(t, VMBUS_SERVER_OPEN, 3);
	vmbus_server_open_done(t->s, t->offer[3], 0xc0000001);
	expect_post(t, raw_one(2, 12, 4));
	expect_none(t);
	post(t, raw_one(13, 12, 4));
	expect_post(t, raw_offer(3, 4));
	/* closing what went on is as ever */
	post(t, raw_one(7, 12, 1));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_none(t);
}

static void a_close_meets_a_device_that_has_not_answered(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 3);
	for (int i = 0; i < 3; i++)
		open_channel(t, i);
	live_on(t);
	/* closed with nobody there */
	post(t, raw_one(7, 12, 3));
	expect_none(t);
	/* closed while the device thinks: it is told when it has answered */
	claim(t, 0, true);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	post(t, raw_one(7, 12, 1));
	expect_none(t);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	vmbus_server_close_done(t->s, t->offer[0]);
	expect_none(t);
	/* the connection ends while it thinks */
	claim(t, 1, true);
	expect_device(t, VMBUS_SERVER_OPEN, 1);
	post(t, raw(16, 8));
	check_at(t, __LINE__);
	expect_device(t, VMBUS_SERVER_GPADL_TEARDOWN, 1);
	vmbus_server_gpadl_released(t->s, t->offer[1], 101);
	while (vmbus_server_next_action(t->s, &t->a))
		if (t->a.type == VMBUS_SERVER_GPADL_TEARDOWN)
			vmbus_server_gpadl_released(t->s, t->a.offer, t->a.gpadl.id);
	vmbus_server_open_done(t->s, t->offer[1], 0);
	expect_device(t, VMBUS_SERVER_CLOSE, 1);
	vmbus_server_close_done(t->s, t->offer[1]);
	expect(t, VMBUS_SERVER_DISCONNECTED);
	expect_post(t, raw(17, 8));
	check_at(t, __LINE__);
}

static void half_received_gpadls_and_messages_survive(void **state)
{
	struct bench *t = *state;
	struct raw body = raw_body(5, 40, 0x1000, 26);
	struct vmbus_unposted unposted = {.vp = 3, .sint = 2, .size = 12};
	struct saved s;

	connect_with(t, GOOD, 0, 1);
	post(t, raw_header(1, 5, 40, 0x1000));
	/* one message of the owner's, one that nobody has taken */
	memcpy(unposted.data, raw_torndown(99).b, 12);
	post(t, raw_header(1, 6, 0, 0));
	/* and one of the client's that nobody has taken */
	assert_int_equal(vmbus_server_defer(t->s, 1, body.b, body.n), 0);
	assert_int_equal(vmbus_server_save(t->s, &unposted, 1, &s.b, &s.n), 0);
	restore(t, &s);
	drop(t, &s);
	expect(t, VMBUS_SERVER_RESTORED);
	expect_post_vp(t, 3, raw_torndown(99));
	expect_post(t, raw_created(1, 6, FAILED));
	expect_none(t);
	claim(t, 0, true);
	assert_true(vmbus_server_receive_deferred(t->s));
	assert_false(vmbus_server_receive_deferred(t->s));
	expect_device(t, VMBUS_SERVER_GPADL, 0);
	vmbus_server_gpadl_done(t->s, t->offer[0], 5, true);
	expect_post(t, raw_created(1, 5, 0));
}

static void a_moved_channel_goes_on_where_it_was_moved_to(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	open_channel(t, 0);
	open_channel(t, 1);
	post(t, raw_modify(1, 5));
	expect_device(t, VMBUS_SERVER_MODIFY, 0);
	vmbus_server_modify_done(t->s, t->offer[0], 0);
	expect_post(t, raw_modify_response(1, 0));
	post(t, raw_modify(2, 6));
	expect_device(t, VMBUS_SERVER_MODIFY, 1); /* not answered when saved */
	live_on(t);
	expect_post(t, raw_modify_response(2, 0));
	claim(t, 0, true);
	assert_int_equal(expect(t, VMBUS_SERVER_OPEN)->open.target_vp, 5);
	claim(t, 1, true);
	assert_int_equal(expect(t, VMBUS_SERVER_OPEN)->open.target_vp, 6);
}

static void reserved_opens_outlive_their_connection_and_a_save(void **state)
{
	struct bench *t = *state;

	connect_with(t, GOOD, 0, 2);
	open_reserved(t, 0);
	post(t, raw(16, 8));
	while (vmbus_server_next_action(t->s, &t->a))
		if (t->a.type == VMBUS_SERVER_GPADL_TEARDOWN)
			vmbus_server_gpadl_released(t->s, t->a.offer, t->a.gpadl.id);
	check_at(t, __LINE__);
	live_on(t);
	claim(t, 0, true);
	expect_device(t, VMBUS_SERVER_OPEN, 0);
	assert_true(t->a.open.restored);
	vmbus_server_open_done(t->s, t->offer[0], 0);
	expect_none(t);
	post(t, raw_close_reserved(1, 2, 3));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
}

/* Found by fuzz_pair: a server that provides monitor pages may provide the one it reads alone, and
 * state with it was refused. */
static void a_page_that_the_server_provides_alone(void **state)
{
	struct bench *t = *state;
	struct raw answer = raw_version_ok(1);

	t->config.monitor_child_to_parent = 0x3000;
	bench_restart(t);
	answer.n = 40;
	put32(&answer, 16, 0x40);
	put64(&answer, 32, 0x3000);
	post(t, raw_contact6(0x40));
	live_on(t);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.monitor_child_to_parent, 0x3000);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, answer);
	live_on(t);
	request_offers(t, 0);
}

/* Found by fuzz_pair: the device is back before its channel's release, and wants another id. */
static void a_withdrawn_channel_whose_device_wants_another_id(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(0);

	connect_with(t, GOOD, 0, 1);
	assert_int_equal(vmbus_server_revoke(t->s, t->offer[0]), VMBUS_OK);
	expect_post(t, raw_one(2, 12, 1));
	o.fixed_channel_id = 9;
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), VMBUS_OK);
	live_on(t);
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), VMBUS_OK);
	expect_none(t);
	post(t, raw_one(13, 12, 1));
	assert_int_equal(get32(expect(t, VMBUS_SERVER_POST)->message.data, 0), 1);
	assert_int_equal(get32(t->a.message.data, 184), 9);
	expect_none(t);
	live_on(t);
}

static void an_id_of_a_channel_that_waits_for_its_device_is_taken(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(1);

	connect_with(t, GOOD, 0, 2);
	live_on(t);
	o.fixed_channel_id = 1;
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[1], &t->offer[1]), VMBUS_E_EXISTS);
	claim(t, 0, true);
	claim(t, 1, true);
	expect_none(t);
}

/* Found by fuzz_pair: a client may take its monitor pages back; its channels keep their ids. */
static void a_monitor_id_outlives_the_pages(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = an_offer(0);
	struct raw contact = raw_contact6(4), answer = raw_version_ok(1), modified = raw(26, 9);

	o.monitored = true;
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), VMBUS_OK);
	put64(&contact, 24, 0x1000);
	put64(&contact, 32, 0x2000);
	answer.n = 20;
	put32(&answer, 16, 4);
	post(t, contact);
	expect(t, VMBUS_SERVER_CONNECT);
	vmbus_server_connect_done(t->s, true);
	expect_post(t, answer);
	post(t, raw(3, 8));
	assert_int_equal(expect(t, VMBUS_SERVER_POST)->message.data[188], 0);
	expect_post(t, raw(4, 8));
	post(t, raw(25, 24));
	expect(t, VMBUS_SERVER_MONITOR);
	vmbus_server_monitor_done(t->s, true);
	expect_post(t, modified);
	live_on(t);
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[0], &t->offer[0]), VMBUS_OK);
	expect_none(t);
}

/* ---- refusals ---- */

/* Something of everything. */
static void fill_server(struct bench *t)
{
	connect_with(t, V6, 0x20, 3);
	open_channel(t, 0);
	post(t, raw_header(2, 5, 40, 0x1000));
	make_gpadl(t, 2, 9, 3);
	ask_open(t, 2);
	post(t, raw(27, 8)); /* PAUSE */
	expect_post(t, raw(28, 8));
	vmbus_server_open_done(t->s, t->offer[2], 0); /* its result is held */
	expect_none(t);
	assert_int_equal(vmbus_server_defer(t->s, 1, raw(29, 8).b, 8), 0); /* RESUME */
}

static void field_010_what_a_version_cannot_have_is_refused_by_name(void **state)
{
	struct bench *t = *state;
	struct saved s;
	uint8_t *c;

	fill_server(t);
	s = save(t);
	c = section(&s, 1, 0) + 16;
	set(&s, s.b + 8, 4, 2, "header.version", t);
	set(&s, s.b + 8, 4, 0xffffffff, "header.version", t);
	set(&s, s.b, 1, 'X', "header.magic", t);
	set(&s, s.b + 16, 8, s.n + 1, "header.size", t);
	set(&s, s.b + 12, 4, 99, "header.sections", t);
	set(&s, c, 1, 5, "connection.state", t);
	set(&s, c + 8, 4, 0x00060001, "connection.version", t);
	set(&s, c + 8, 4, 0x00030001, "connection.version", t);
	set(&s, c + 12, 4, 0x10000, "connection.features", t);
	set(&s, c + 32, 4, 0x00050003, "connection.contact.features", t);
	set(&s, c + 36, 4, 8, "connection.contact.vp", t);
	set(&s, c + 5, 1, 1, "connection.vtl", t);
	/* a server that grants less than was granted */
	t->config.max_version = GOOD;
	expect_refused(t, &s, "connection.contact.version");
	t->config.max_version = 0;
	t->config.features = 0;
	expect_refused(t, &s, "connection.contact.features");
	t->config.features = 0xff;
	t->config.vp_count = 1;
	expect_refused(t, &s, "channel.open.target_vp");
	t->config.vp_count = 8;
	t->config.limits.channels = 2;
	expect_refused(t, &s, "connection.channels");
	t->config.limits.channels = 0;
	drop(t, &s);
}

static void field_010_what_a_channel_cannot_be_is_refused_by_name(void **state)
{
	struct bench *t = *state;
	struct saved s;
	uint8_t *c;

	fill_server(t);
	s = save(t);
	c = section(&s, 3, 0) + 16;
	set(&s, c, 4, 0, "channel.id", t);
	set(&s, c, 4, 2048, "channel.id", t);
	set(&s, c + 4, 1, 0, "channel.state", t);
	set(&s, c + 4, 1, 7, "channel.state", t);
	set(&s, c + 5, 1, 3, "channel.monitor_id", t);
	set(&s, c + 6, 1, 1, "channel.reserved", t);
	set(&s, c + 20, 4, 99, "section.kind", t);
	c = section(&s, 3, 1) + 16;
	set(&s, c, 4, 1, "channel.id", t);
	c = section(&s, 4, 0) + 16;
	set(&s, c, 4, 1, "channel.open.ring_gpadl", t);
	set(&s, c + 4, 1, 0, "gpadl.state", t);
	set(&s, c + 4, 1, 1, "gpadl.received", t);
	set(&s, c + 8, 4, 0, "gpadl.range_count", t);
	set(&s, c + 16, 4, 1, "section.length", t);
	set(&s, c + 24, 8, UINT64_MAX, "gpadl.words", t);
	drop(t, &s);
}

/* Found by fuzz_saved_state: an open that waits for the end of a close was made with no flag. */
static void field_010_a_request_that_waits_is_signalled_as_its_channel_is(void **state)
{
	struct bench *t = *state;
	struct saved s;
	uint8_t *c;

	connect_with(t, GOOD, 0, 1);
	open_channel(t, 0);
	post(t, raw_one(7, 12, 1));
	expect_device(t, VMBUS_SERVER_CLOSE, 0);
	post(t, raw_open(1, 8, 100, 1, 4));
	expect_none(t);
	s = save(t);
	c = section(&s, 3, 0) + 16;
	set(&s, c + 212, 4, 0x2002, "channel.open.connection_id", t);
	set(&s, c + 220, 2, 2, "channel.open.event_flag", t);
	set(&s, c + 364, 4, 0x2002, "channel.open.connection_id", t);
	set(&s, c + 372, 2, 0, "channel.open.event_flag", t);
	drop(t, &s);
}

/* Found by fuzz_saved_state: between connections it was there, closed, for nobody to see. */
static void field_010_a_closed_channel_is_not_reserved(void **state)
{
	struct bench *t = *state;
	struct saved s;

	connect_with(t, GOOD, 0, 1);
	s = save(t);
	set(&s, section(&s, 3, 0) + 16 + 6, 1, 1, "channel.reserved", t);
	drop(t, &s);
}

static void field_010_truncated_state_is_refused_at_any_length(void **state)
{
	struct bench *t = *state;
	struct vmbus_saved_error error;
	struct saved s;

	fill_server(t);
	s = save(t);
	for (size_t n = 0; n < s.n; n++) {
		uint8_t *cut = malloc(n ? n : 1);

		memcpy(cut, s.b, n);
		assert_int_equal(refused_by(t, cut, n, &error), VMBUS_E_INVALID);
		/* and with a header that says that this is all */
		if (n >= 32) {
			struct saved c = {cut, n};

			memcpy(cut + 16, &(uint64_t){n}, 8);
			memcpy(cut + 28, &(uint32_t){crc32c(0, cut, 28)}, 4);
			assert_int_equal(refused_by(t, c.b, c.n, &error), VMBUS_E_INVALID);
		}
		free(cut);
	}
	drop(t, &s);
}

static void field_010_damaged_state_is_refused_at_any_bit(void **state)
{
	struct bench *t = *state;
	struct vmbus_saved_error error;
	struct saved s;

	fill_server(t);
	s = save(t);
	for (size_t i = 0; i < s.n * 8; i++) {
		s.b[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(refused_by(t, s.b, s.n, &error), VMBUS_E_INVALID);
		s.b[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(refused_by(t, s.b, s.n, &error), VMBUS_OK);
	drop(t, &s);
}

static void field_010_sections_out_of_order_are_refused(void **state)
{
	struct bench *t = *state;
	struct vmbus_saved_error error;
	uint8_t *a, *b, *copy;
	struct saved s;
	size_t na, nb;

	fill_server(t);
	s = save(t);
	a = section(&s, 3, 0);
	na = 16 + get32(a, 8);
	b = a + na;
	nb = 16 + get32(b, 8);
	copy = malloc(na);
	memcpy(copy, a, na);
	memmove(a, b, nb);
	memcpy(a + nb, copy, na);
	assert_int_equal(refused_by(t, s.b, s.n, &error), VMBUS_E_INVALID);
	assert_string_equal(error.field, "section.number");
	free(copy);
	drop(t, &s);
}

static void no_memory_is_survived(void **state)
{
	struct bench *t = *state;
	struct vmbus_saved_error error;
	enum vmbus_status status = VMBUS_E_NO_MEMORY;
	struct vmbus_server *made;
	struct saved s;

	fill_server(t);
	t->heap.allowed = 0;
	assert_int_equal(vmbus_server_save(t->s, NULL, 0, &s.b, &s.n), VMBUS_E_NO_MEMORY);
	t->heap.allowed = SIZE_MAX;
	s = save(t);
	for (size_t n = 0; status == VMBUS_E_NO_MEMORY; n++) {
		size_t live = t->heap.live;

		assert_true(n < 200);
		t->heap.allowed = n;
		status = vmbus_server_restore(&t->config, s.b, s.n, &made, &error);
		t->heap.allowed = SIZE_MAX;
		if (status)
			assert_int_equal(t->heap.live, live);
	}
	assert_int_equal(status, VMBUS_OK);
	vmbus_server_destroy(made);
	drop(t, &s);
}

/* ---- what earlier versions wrote ---- */

static struct saved read_golden(struct bench *t)
{
	struct saved s = {0};
	FILE *f = fopen(golden_path, "rb");

	assert_non_null(f);
	s.b = t->config.allocator.alloc(t->config.allocator.ctx, 1 << 16);
	s.n = fread(s.b, 1, 1 << 16, f);
	fclose(f);
	return s;
}

static void field_010_state_that_version_1_wrote_is_still_read(void **state)
{
	struct bench *t = *state;
	struct saved golden, now;

	fill_server(t);
	now = save(t);
	if (getenv("KMCL_WRITE_GOLDEN")) {
		FILE *f = fopen(golden_path, "wb");

		assert_non_null(f);
		assert_int_equal(fwrite(now.b, 1, now.n, f), now.n);
		fclose(f);
	}
	golden = read_golden(t);
	restore(t, &golden);
	expect(t, VMBUS_SERVER_RESTORED);
	expect_none(t);
	resume_open(t, 0);
	claim(t, 1, true);
	resume_open(t, 2);
	assert_true(vmbus_server_receive_deferred(t->s)); /* what was held back comes */
	expect_post(t, raw_open_result(3, 0x7a, 0));
	post(t, raw_body(5, 40, 0x1000, 26));
	expect_device(t, VMBUS_SERVER_GPADL, 1);
	/* this version writes what it reads */
	if (get32(golden.b, 8) == VMBUS_SAVED_VERSION) {
		assert_int_equal(now.n, golden.n);
		assert_memory_equal(now.b, golden.b, now.n);
	}
	t->config.allocator.free(t->config.allocator.ctx, golden.b, 1 << 16);
	drop(t, &now);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum_is_crc32c),
		TEST(field_006_offers_wait_to_be_asked_for_after_a_restore),
		TEST(field_006_a_contact_that_is_not_answered_is_answered_after),
		TEST(field_008_restore_steps_run_once_and_only_after_a_restore),
		TEST(field_009_closed_channels_are_neither_rescinded_nor_offered_again),
		TEST(field_009_an_open_that_nobody_will_answer_is_refused),
		TEST(open_channels_go_on_or_are_offered_anew),
		TEST(a_close_meets_a_device_that_has_not_answered),
		TEST(half_received_gpadls_and_messages_survive),
		TEST(a_moved_channel_goes_on_where_it_was_moved_to),
		TEST(reserved_opens_outlive_their_connection_and_a_save),
		TEST(a_page_that_the_server_provides_alone),
		TEST(a_monitor_id_outlives_the_pages),
		TEST(an_id_of_a_channel_that_waits_for_its_device_is_taken),
		TEST(a_withdrawn_channel_whose_device_wants_another_id),
		TEST(field_010_what_a_version_cannot_have_is_refused_by_name),
		TEST(field_010_what_a_channel_cannot_be_is_refused_by_name),
		TEST(field_010_a_request_that_waits_is_signalled_as_its_channel_is),
		TEST(field_010_a_closed_channel_is_not_reserved),
		TEST(field_010_truncated_state_is_refused_at_any_length),
		TEST(field_010_damaged_state_is_refused_at_any_bit),
		TEST(field_010_sections_out_of_order_are_refused),
		TEST(no_memory_is_survived),
		TEST(field_010_state_that_version_1_wrote_is_still_read),
	};

	if (argc < 2)
		return 2;
	golden_path = argv[1];
	return cmocka_run_group_tests_name("server_save", tests, NULL, NULL);
}
