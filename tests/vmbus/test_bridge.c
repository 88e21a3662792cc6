/* SPDX-License-Identifier: MIT */
/*
 * The bridge, between a guest made of raw messages and parts made of raw messages; and, at random,
 * parts that are servers.
 */
#include <stdlib.h>

#include "control.h"
#include "vmbus/bridge.h"
#include "vmbus/wire.h"

#define PARTS  2
#define FIRST  1    /* channel id of part 0 */
#define SECOND 1024 /* of part 1 */
#define TOLD   4096

struct rig {
	struct bench *t;
	struct heap heap;
	struct vmbus_bridge *b;
	struct vmbus_server_action held;
	bool is_held;
	struct raw told[TOLD]; /* to the guest */
	size_t told_head, told_tail;
};

/* ---- the rig ---- */

static bool carry_out(struct rig *r, const struct vmbus_server_action *a)
{
	struct raw *m;

	if (a->type != VMBUS_SERVER_POST)
		return vmbus_bridge_action(r->b, a);
	m = &r->told[r->told_tail++ % TOLD];
	assert_true(r->told_tail - r->told_head <= TOLD);
	memcpy(m->b, a->message.data, a->message.size);
	m->n = a->message.size;
	return true;
}

static void settle(struct rig *r)
{
	do {
		while (r->is_held || vmbus_server_next_action(r->t->s, &r->held)) {
			r->is_held = !carry_out(r, &r->held);
			if (r->is_held)
				break;
		}
	} while (vmbus_bridge_turn(r->b));
	check_at(r->t, __LINE__);
	assert_null(vmbus_bridge_check(r->b));
}

static int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct vmbus_bridge_config config = {.parts = PARTS};
	void *bench;

	assert_non_null(r);
	bench_setup(&bench);
	r->t = bench;
	r->heap.allowed = SIZE_MAX;
	config.server = r->t->s;
	config.allocator = heap_allocator(&r->heap);
	r->b = vmbus_bridge_create(&config);
	assert_non_null(r->b);
	*state = r;
	return 0;
}

static int rig_teardown(void **state)
{
	struct rig *r = *state;
	void *bench = r->t;
	int failed;

	vmbus_bridge_destroy(r->b);
	failed = r->heap.live || r->heap.bytes;
	free(r);
	return bench_teardown(&bench) || failed ? -1 : 0;
}

static void guest_says(struct rig *r, struct raw m)
{
	post(r->t, m);
	settle(r);
}

static void part_says(struct rig *r, uint32_t part, struct raw m)
{
	uint8_t *copy = malloc(m.n ? m.n : 1);

	assert_non_null(copy);
	memcpy(copy, m.b, m.n);
	vmbus_bridge_receive(r->b, part, copy, m.n);
	free(copy);
	settle(r);
}

static void up(struct rig *r, uint32_t part)
{
	vmbus_bridge_up(r->b, part);
	settle(r);
}

static void down(struct rig *r, uint32_t part)
{
	vmbus_bridge_down(r->b, part);
	settle(r);
}

static void rested(struct rig *r, uint32_t part)
{
	vmbus_bridge_reset_done(r->b, part);
	settle(r);
}

static void told_at(struct rig *r, struct raw m, int line)
{
	const struct raw *got = &r->told[r->told_head++ % TOLD];

	if (r->told_head > r->told_tail)
		fail_msg("line %d: the guest is told nothing", line);
	if (got->n != m.n || memcmp(got->b, m.b, m.n) != 0)
		fail_msg("line %d: message %u of %zu bytes, not %u of %zu", line, get32(got->b, 0),
			 got->n, get32(m.b, 0), m.n);
}

static void quiet_at(struct rig *r, int line)
{
	if (r->told_head != r->told_tail)
		fail_msg("line %d: the guest is told %u", line,
			 get32(r->told[r->told_head % TOLD].b, 0));
}

static void asked_at(struct rig *r, uint32_t part, struct raw m, int line)
{
	struct vmbus_bridge_output o;

	if (!vmbus_bridge_next(r->b, part, &o))
		fail_msg("line %d: part %u is told nothing", line, part);
	if (o.type != VMBUS_BRIDGE_POST || o.size != m.n || memcmp(o.data, m.b, m.n) != 0)
		fail_msg("line %d: part %u is told %u in %u bytes, not %u in %zu", line, part,
			 o.type == VMBUS_BRIDGE_POST ? get32(o.data, 0) : 0, o.size, get32(m.b, 0),
			 m.n);
	settle(r);
}

static void reset_asked_at(struct rig *r, uint32_t part, int line)
{
	struct vmbus_bridge_output o;

	if (!vmbus_bridge_next(r->b, part, &o) || o.type != VMBUS_BRIDGE_RESET)
		fail_msg("line %d: part %u is not reset", line, part);
}

static void unasked_at(struct rig *r, uint32_t part, int line)
{
	struct vmbus_bridge_output o;

	if (vmbus_bridge_next(r->b, part, &o))
		fail_msg("line %d: part %u is told %u", line, part,
			 o.type == VMBUS_BRIDGE_POST ? get32(o.data, 0) : 0);
}

#define told(r, m)           told_at(r, m, __LINE__)
#define quiet(r)             quiet_at(r, __LINE__)
#define asked(r, part, m)    asked_at(r, part, m, __LINE__)
#define reset_asked(r, part) reset_asked_at(r, part, __LINE__)
#define unasked(r, part)     unasked_at(r, part, __LINE__)

/* ---- steps that most tests begin with ---- */

static struct raw contact_to_part(void)
{
	struct raw m = raw_contact(0x00050003u);

	put8(&m, 16, 2);
	return m;
}

/* A part that has been told of the contact offers device `device` under `id`. */
static void part_joins(struct rig *r, uint32_t part, int device, uint32_t id)
{
	asked(r, part, contact_to_part());
	part_says(r, part, raw_version_ok(1));
	asked(r, part, raw(3, 8));
	part_says(r, part, raw_offer(device, id));
	part_says(r, part, raw(4, 8));
	unasked(r, part);
}

/* Both parts are there, device 0 and 1 are offered. */
static void connected(struct rig *r)
{
	up(r, 0);
	up(r, 1);
	guest_says(r, raw_contact(0x00050003u));
	part_joins(r, 0, 0, FIRST);
	quiet(r);
	part_joins(r, 1, 1, SECOND);
	told(r, raw_version_ok(1));
	guest_says(r, raw(3, 8));
	told(r, raw_offer(0, FIRST));
	told(r, raw_offer(1, SECOND));
	told(r, raw(4, 8));
	quiet(r);
}

static void gpadl_made(struct rig *r, uint32_t part, uint32_t channel, uint32_t id)
{
	struct raw header = raw_header(channel, id, 8, 0x100);

	guest_says(r, header);
	asked(r, part, header);
	part_says(r, part, raw_created(channel, id, 0));
	told(r, raw_created(channel, id, 0));
}

static void opened(struct rig *r, uint32_t part, uint32_t channel, uint32_t gpadl)
{
	struct vmbus_bridge_output o;
	uint32_t open_id;

	gpadl_made(r, part, channel, gpadl);
	guest_says(r, raw_open(channel, 77, gpadl, 0, 4));
	assert_true(vmbus_bridge_next(r->b, part, &o));
	assert_int_equal(get32(o.data, 0), 5);
	assert_int_equal(get32(o.data, 8), channel);
	assert_int_equal(get32(o.data, 16), gpadl);
	assert_int_equal(get32(o.data, 24), 4);
	open_id = get32(o.data, 12);
	part_says(r, part, raw_open_result(channel, open_id, 0));
	told(r, raw_open_result(channel, 77, 0));
	quiet(r);
}

/* ---- tests ---- */

static void parts_have_whole_words_of_flags(void **state)
{
	for (uint32_t parts = 1; parts <= VMBUS_BRIDGE_PARTS; parts++) {
		uint32_t next = 1;

		for (uint32_t i = 0; i < parts; i++) {
			struct vmbus_bridge_range x = vmbus_bridge_range(i, parts);

			assert_int_equal(x.first, next);
			next = x.first + x.count;
			assert_int_equal(next % 64, 0);
			assert_true(x.count >= 127 && next <= VMBUS_MAX_CHANNEL + 1);
		}
	}
}

static void ctl_038_039_a_contact_is_answered_once_when_all_have_offered(void **state)
{
	connected(*state);
}

static void a_part_that_is_silent_is_waited_for_no_longer_than_told(void **state)
{
	struct rig *r = *state;

	up(r, 0);
	up(r, 1);
	guest_says(r, raw_contact(0x00050003u));
	part_joins(r, 0, 0, FIRST);
	quiet(r);
	assert_true(vmbus_bridge_waits(r->b));
	vmbus_bridge_wait_no_more(r->b);
	settle(r);
	assert_false(vmbus_bridge_waits(r->b));
	told(r, raw_version_ok(1));
	guest_says(r, raw(3, 8));
	told(r, raw_offer(0, FIRST));
	told(r, raw(4, 8));
	part_joins(r, 1, 1, SECOND);
	told(r, raw_offer(1, SECOND));
	quiet(r);
}

static void a_part_that_goes_is_not_waited_for(void **state)
{
	struct rig *r = *state;

	up(r, 0);
	up(r, 1);
	guest_says(r, raw_contact(0x00050003u));
	part_joins(r, 0, 0, FIRST);
	quiet(r);
	down(r, 1);
	told(r, raw_version_ok(1));
	quiet(r);
}

static void requests_go_to_the_owner_of_the_channel_with_their_ids(void **state)
{
	struct rig *r = *state;

	connected(r);
	opened(r, 0, FIRST, 0x100);
	unasked(r, 1);
	opened(r, 1, SECOND, 0x101);
	unasked(r, 0);
	guest_says(r, raw_modify(SECOND, 0));
	asked(r, 1, raw_modify(SECOND, 0));
	part_says(r, 1, raw_modify_response(SECOND, 0));
	told(r, raw_modify_response(SECOND, 0));
	guest_says(r, raw_one(7, 12, SECOND));
	asked(r, 1, raw_one(7, 12, SECOND));
	guest_says(r, raw_gpadl_teardown(SECOND, 0x101));
	asked(r, 1, raw_gpadl_teardown(SECOND, 0x101));
	quiet(r);
	part_says(r, 1, raw_torndown(0x101));
	told(r, raw_torndown(0x101));
	unasked(r, 0);
	unasked(r, 1);
	quiet(r);
}

static void a_gpadl_of_many_messages_is_passed_on_whole(void **state)
{
	struct rig *r = *state;
	struct raw header = raw_header(FIRST, 5, 40, 9), body = raw_body(5, 40, 9, 26);

	connected(r);
	guest_says(r, header);
	unasked(r, 0); /* not before it is known to be good */
	guest_says(r, body);
	asked(r, 0, header);
	asked(r, 0, body);
	part_says(r, 0, raw_created(FIRST, 5, 0xc0000001));
	told(r, raw_created(FIRST, 5, VMBUS_STATUS_FAILURE));
	quiet(r);
}

static void ctl_091_093_094_a_part_that_dies_is_withdrawn_and_comes_back(void **state)
{
	struct rig *r = *state;

	connected(r);
	opened(r, 0, FIRST, 0x100);
	opened(r, 1, SECOND, 0x101);
	gpadl_made(r, 0, FIRST, 0x102);
	guest_says(r, raw_gpadl_teardown(FIRST, 0x102));
	guest_says(r, raw_header(FIRST, 0x103, 8, 0x200));
	down(r, 0);
	told(r, raw_created(FIRST, 0x103, VMBUS_STATUS_FAILURE));
	told(r, raw_torndown(0x102));
	told(r, raw_one(2, 12, FIRST));
	quiet(r);
	unasked(r, 1);
	/* another process, while the guest still has the old channel */
	up(r, 0);
	part_joins(r, 0, 0, FIRST);
	quiet(r);
	guest_says(r, raw_one(13, 12, FIRST));
	told(r, raw_offer(0, FIRST));
	quiet(r);
	opened(r, 0, FIRST, 0x100);
	/* and the other part has noticed nothing */
	guest_says(r, raw_modify(SECOND, 0));
	asked(r, 1, raw_modify(SECOND, 0));
}

static void other_ids_after_a_restart_wait_for_the_guest(void **state)
{
	struct rig *r = *state;

	connected(r);
	part_says(r, 0, raw_offer(2, FIRST + 1));
	told(r, raw_offer(2, FIRST + 1));
	down(r, 0);
	told(r, raw_one(2, 12, FIRST));
	told(r, raw_one(2, 12, FIRST + 1));
	up(r, 0);
	part_joins(r, 0, 2, FIRST);
	part_says(r, 0, raw_offer(0, FIRST + 1));
	quiet(r);
	assert_int_equal(vmbus_bridge_statistics(r->b)->waiting_offers, 2);
	guest_says(r, raw_one(13, 12, FIRST));
	guest_says(r, raw_one(13, 12, FIRST + 1));
	assert_int_equal(r->told_tail - r->told_head, 2);
}

static void a_withdrawn_channel_is_released_when_the_guest_has_let_go(void **state)
{
	struct rig *r = *state;

	connected(r);
	opened(r, 0, FIRST, 0x100);
	part_says(r, 0, raw_one(2, 12, FIRST));
	told(r, raw_one(2, 12, FIRST));
	unasked(r, 0);
	guest_says(r, raw_one(13, 12, FIRST));
	asked(r, 0, raw_one(13, 12, FIRST));
	part_says(r, 0, raw_offer(3, FIRST));
	told(r, raw_offer(3, FIRST));
	quiet(r);
}

static void a_part_speaks_of_its_own_channels_alone(void **state)
{
	struct rig *r = *state;

	connected(r);
	opened(r, 0, FIRST, 0x100);
	part_says(r, 1, raw_one(2, 12, FIRST));
	part_says(r, 1, raw_open_result(FIRST, 1, 0));
	part_says(r, 1, raw_created(FIRST, 0x100, 0));
	part_says(r, 1, raw_torndown(0x100));
	part_says(r, 1, raw_modify_response(FIRST, 0));
	part_says(r, 1, raw_offer(3, FIRST + 1)); /* in the other's range */
	part_says(r, 1, raw_offer(3, 0));
	part_says(r, 1, raw_offer(3, 2048));
	part_says(r, 1, raw(17, 8));
	part_says(r, 1, raw(4, 8));
	part_says(r, 1, raw_version_ok(1));
	for (uint32_t type = 0; type < 32; type++)
		part_says(r, 1, raw(type, type % 3 ? 8 : 3));
	quiet(r);
	assert_int_equal(vmbus_bridge_statistics(r->b)->foreign_ids, 1);
}

static void one_key_is_shown_once(void **state)
{
	struct rig *r = *state;

	connected(r);
	part_says(r, 1, raw_offer(0, SECOND + 1)); /* as part 0 has it */
	quiet(r);
	assert_int_equal(vmbus_bridge_statistics(r->b)->waiting_offers, 1);
	part_says(r, 0, raw_one(2, 12, FIRST));
	told(r, raw_one(2, 12, FIRST));
	guest_says(r, raw_one(13, 12, FIRST));
	told(r, raw_offer(0, SECOND + 1));
	quiet(r);
}

static void ctl_099_100_an_unload_ends_when_every_part_has_let_go(void **state)
{
	struct rig *r = *state;

	connected(r);
	opened(r, 0, FIRST, 0x100);
	guest_says(r, raw(16, 8));
	asked(r, 0, raw_one(7, 12, FIRST));
	asked(r, 0, raw_gpadl_teardown(FIRST, 0x100));
	unasked(r, 0);
	unasked(r, 1);
	quiet(r);
	part_says(r, 0, raw_torndown(0x100));
	reset_asked(r, 0);
	reset_asked(r, 1);
	quiet(r);
	rested(r, 0);
	quiet(r);
	rested(r, 1);
	told(r, raw(17, 8));
	quiet(r);
	/* and again */
	guest_says(r, raw_contact(0x00050003u));
	part_joins(r, 0, 0, FIRST);
	part_joins(r, 1, 1, SECOND);
	told(r, raw_version_ok(1));
	quiet(r);
}

static void an_open_that_its_part_withdraws_has_no_result(void **state)
{
	struct vmbus_bridge_output o;
	struct rig *r = *state;

	connected(r);
	gpadl_made(r, 0, FIRST, 0x100);
	guest_says(r, raw_open(FIRST, 77, 0x100, 0, 4));
	assert_true(vmbus_bridge_next(r->b, 0, &o));
	assert_int_equal(get32(o.data, 0), 5);
	part_says(r, 0, raw_one(2, 12, FIRST));
	told(r, raw_one(2, 12, FIRST));
	quiet(r);
}

static void an_unload_does_not_wait_for_a_part_that_dies(void **state)
{
	struct rig *r = *state;

	connected(r);
	opened(r, 0, FIRST, 0x100);
	guest_says(r, raw(16, 8));
	down(r, 0);
	reset_asked(r, 1);
	quiet(r);
	down(r, 1);
	told(r, raw(17, 8));
	quiet(r);
}

static void ctl_029_a_second_contact_begins_anew_at_every_part(void **state)
{
	struct rig *r = *state;

	connected(r);
	guest_says(r, raw_contact(0x00050003u));
	reset_asked(r, 0);
	reset_asked(r, 1);
	part_says(r, 0, raw_offer(3, FIRST + 1)); /* was on its way */
	rested(r, 0);
	rested(r, 1);
	part_joins(r, 0, 0, FIRST);
	part_joins(r, 1, 1, SECOND);
	told(r, raw_version_ok(1));
	quiet(r);
}

static void ctl_105_a_reset_resets_every_part(void **state)
{
	struct rig *r = *state;

	connected(r);
	gpadl_made(r, 0, FIRST, 0x100);
	guest_says(r, raw_open(FIRST, 1, 0x100, 0, 4)); /* never answered */
	vmbus_server_reset(r->t->s);
	vmbus_bridge_reset(r->b);
	settle(r);
	assert_false(vmbus_bridge_at_rest(r->b));
	reset_asked(r, 0);
	reset_asked(r, 1);
	rested(r, 1);
	rested(r, 0);
	assert_true(vmbus_bridge_at_rest(r->b));
	quiet(r);
	guest_says(r, raw_contact(0x00050003u));
	part_joins(r, 0, 0, FIRST);
	part_joins(r, 1, 1, SECOND);
	told(r, raw_version_ok(1));
}

/* ---- at random ---- */

struct soak {
	struct rig *r;
	struct heap heap[PARTS];
	struct vmbus_server *part[PARTS]; /* NULL: it is down */
	vmbus_offer_id offer[PARTS][3];
	struct raw to_guest_side[PARTS][64]; /* what a part has said and the bridge not heard */
	size_t head[PARTS], tail[PARTS];
	uint64_t seed;
	unsigned int offers, ends;
};

static uint32_t chance(struct soak *k, uint32_t of)
{
	k->seed = k->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(k->seed >> 33) % of;
}

/* A part's devices agree with everything. */
static void agree(struct vmbus_server *s, const struct vmbus_server_action *a)
{
	switch (a->type) {
	case VMBUS_SERVER_CONNECT:
		vmbus_server_connect_done(s, true);
		break;
	case VMBUS_SERVER_OPEN:
		vmbus_server_open_done(s, a->offer, 0);
		break;
	case VMBUS_SERVER_CLOSE:
		vmbus_server_close_done(s, a->offer);
		break;
	case VMBUS_SERVER_GPADL:
		vmbus_server_gpadl_done(s, a->offer, a->gpadl.id, true);
		break;
	case VMBUS_SERVER_GPADL_TEARDOWN:
		vmbus_server_gpadl_released(s, a->offer, a->gpadl.id);
		break;
	case VMBUS_SERVER_MODIFY:
		vmbus_server_modify_done(s, a->offer, 0);
		break;
	default:
		break;
	}
}

static void part_works(struct soak *k, uint32_t i)
{
	struct vmbus_server_action a;

	while (k->tail[i] - k->head[i] < 64 && vmbus_server_next_action(k->part[i], &a)) {
		if (a.type == VMBUS_SERVER_POST) {
			struct raw *m = &k->to_guest_side[i][k->tail[i]++ % 64];

			memcpy(m->b, a.message.data, a.message.size);
			m->n = a.message.size;
		} else {
			agree(k->part[i], &a);
		}
	}
	assert_null(vmbus_server_check(k->part[i]));
}

static void part_hears(struct soak *k, uint32_t i)
{
	struct vmbus_bridge_output o;

	if (!vmbus_server_ready(k->part[i]) || !vmbus_bridge_next(k->r->b, i, &o))
		return;
	if (o.type == VMBUS_BRIDGE_POST) {
		vmbus_server_receive(k->part[i], o.connection_id, o.data, o.size);
	} else {
		vmbus_server_reset(k->part[i]);
		part_works(k, i);
		k->head[i] = k->tail[i];
		vmbus_bridge_reset_done(k->r->b, i);
	}
	part_works(k, i);
	settle(k->r);
}

static void part_is_heard(struct soak *k, uint32_t i)
{
	if (k->head[i] != k->tail[i])
		part_says(k->r, i, k->to_guest_side[i][k->head[i]++ % 64]);
	part_works(k, i);
}

static void part_offers(struct soak *k, uint32_t i, uint32_t n)
{
	struct vmbus_offer o = an_offer((int)(i * 3 + n));

	if (k->offer[i][n]) {
		vmbus_server_revoke(k->part[i], k->offer[i][n]);
		k->offer[i][n] = 0;
	} else if (!vmbus_server_offer(k->part[i], &o, NULL, &k->offer[i][n])) {
		k->offers++;
	}
	part_works(k, i);
}

static void part_dies(struct soak *k, uint32_t i)
{
	vmbus_server_destroy(k->part[i]);
	assert_int_equal(k->heap[i].live, 0);
	k->part[i] = NULL;
	memset(k->offer[i], 0, sizeof(k->offer[i]));
	k->head[i] = k->tail[i];
	down(k->r, i);
}

static void part_comes(struct soak *k, uint32_t i)
{
	struct vmbus_bridge_range range = vmbus_bridge_range(i, PARTS);
	struct vmbus_server_config config = {.first_channel_id = range.first,
					     .limits.channels = range.count,
					     .allocator = heap_allocator(&k->heap[i])};

	k->heap[i].allowed = SIZE_MAX;
	k->part[i] = vmbus_server_create(&config);
	assert_non_null(k->part[i]);
	for (uint32_t n = 0; n < 3; n++)
		if (chance(k, 3))
			part_offers(k, i, n);
	up(k->r, i);
}

static void guest_acts(struct soak *k)
{
	const uint32_t channel = (chance(k, 2) ? FIRST : SECOND) + chance(k, 4) % 3,
		       gpadl = 1 + chance(k, 6);
	const struct raw acts[] = {
		raw_header(channel, gpadl, 8, 16),
		raw_header(channel, gpadl, 8, 16),
		raw_open(channel, 3, gpadl, 0, 4),
		raw_open(channel, 3, gpadl, 0, 4),
		raw_one(7, 12, channel),
		raw_gpadl_teardown(channel, gpadl),
		raw_one(13, 12, channel),
		raw_one(13, 12, channel),
		raw_modify(channel, 0),
		raw_header(channel, gpadl, 40, 16),
		raw_body(gpadl, 40, 16, 26),
		raw(3, 8),
	};

	if (k->r->is_held || !vmbus_server_ready(k->r->t->s))
		return;
	if (!chance(k, 60)) {
		guest_says(k->r, chance(k, 2) ? raw(16, 8) : raw_contact(0x00050003u));
		k->ends++;
	} else {
		guest_says(k->r, acts[chance(k, sizeof(acts) / sizeof(acts[0]))]);
	}
}

static void everybody_acts(struct soak *k)
{
	uint32_t i = chance(k, PARTS);

	switch (chance(k, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		guest_acts(k);
		break;
	case 4:
		if (k->part[i])
			part_offers(k, i, chance(k, 3));
		break;
	case 5:
		if (chance(k, 20))
			break;
		if (k->part[i])
			part_dies(k, i);
		else
			part_comes(k, i);
		break;
	default:
		if (k->part[i] && chance(k, 2))
			part_hears(k, i);
		else if (k->part[i])
			part_is_heard(k, i);
		break;
	}
	k->r->told_head = k->r->told_tail;
}

static void everything_is_said(struct soak *k)
{
	for (int n = 0; n < 20000; n++)
		for (uint32_t i = 0; i < PARTS; i++) {
			if (!k->part[i])
				part_comes(k, i);
			part_hears(k, i);
			part_is_heard(k, i);
		}
}

static unsigned int told_of(struct rig *r, uint32_t type)
{
	unsigned int count = 0;

	for (; r->told_head < r->told_tail; r->told_head++)
		count += get32(r->told[r->told_head % TOLD].b, 0) == type;
	return count;
}

static unsigned int live_offers(const struct soak *k)
{
	unsigned int count = 0;

	for (uint32_t i = 0; i < PARTS; i++)
		for (uint32_t n = 0; n < 3; n++)
			count += k->offer[i][n] != 0;
	return count;
}

/* Whatever it was like, a contact brings every offer, once, and an unload ends. */
static void all_is_well(struct soak *k)
{
	size_t mark;

	everything_is_said(k);
	guest_says(k->r, raw_contact(0x00050003u));
	everything_is_said(k);
	assert_int_equal(told_of(k->r, 15), 1);
	mark = k->r->told_head;
	guest_says(k->r, raw(3, 8));
	assert_int_equal(told_of(k->r, 1), live_offers(k));
	k->r->told_head = mark;
	assert_int_equal(told_of(k->r, 4), 1);
	guest_says(k->r, raw(16, 8));
	everything_is_said(k);
	assert_int_equal(told_of(k->r, 17), 1);
}

static void parts_come_and_go_at_random(void **state)
{
	const int steps = getenv("KMCL_SOAK") ? 400000 : 8000;
	struct soak k = {.r = *state, .seed = 1};

	for (int round = 0; round < 4; round++) {
		for (int n = 0; n < steps; n++)
			everybody_acts(&k);
		all_is_well(&k);
	}
	assert_true(k.offers > 50 && k.ends > 50);
	for (uint32_t i = 0; i < PARTS; i++)
		part_dies(&k, i);
}

static void without_memory_nothing_is_lost_but_the_channel(void **state)
{
	struct rig *r = *state;

	for (size_t allowed = 0; allowed < 12; allowed++) {
		up(r, 0);
		guest_says(r, raw_contact(0x00050003u));
		r->heap.allowed = allowed;
		part_says(r, 0, raw_version_ok(1));
		part_says(r, 0, raw_offer(0, FIRST));
		part_says(r, 0, raw(4, 8));
		vmbus_bridge_wait_no_more(r->b);
		settle(r);
		guest_says(r, raw(3, 8));
		guest_says(r, raw_header(FIRST, 1, 8, 1));
		r->heap.allowed = SIZE_MAX;
		down(r, 0);
		guest_says(r, raw(16, 8));
		r->told_head = r->told_tail;
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(parts_have_whole_words_of_flags),
		TEST(ctl_038_039_a_contact_is_answered_once_when_all_have_offered),
		TEST(a_part_that_is_silent_is_waited_for_no_longer_than_told),
		TEST(a_part_that_goes_is_not_waited_for),
		TEST(requests_go_to_the_owner_of_the_channel_with_their_ids),
		TEST(a_gpadl_of_many_messages_is_passed_on_whole),
		TEST(ctl_091_093_094_a_part_that_dies_is_withdrawn_and_comes_back),
		TEST(other_ids_after_a_restart_wait_for_the_guest),
		TEST(a_withdrawn_channel_is_released_when_the_guest_has_let_go),
		TEST(a_part_speaks_of_its_own_channels_alone),
		TEST(one_key_is_shown_once),
		TEST(ctl_099_100_an_unload_ends_when_every_part_has_let_go),
		TEST(an_open_that_its_part_withdraws_has_no_result),
		TEST(an_unload_does_not_wait_for_a_part_that_dies),
		TEST(ctl_029_a_second_contact_begins_anew_at_every_part),
		TEST(ctl_105_a_reset_resets_every_part),
		TEST(parts_come_and_go_at_random),
		TEST(without_memory_nothing_is_lost_but_the_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
