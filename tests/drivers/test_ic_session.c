/* SPDX-License-Identifier: MIT */
/*
 * What the integration components have in common, each against a guest written by hand: versions,
 * framing, one message at a time, and guests that keep to nothing of it.
 */
#include "ic_rig.h"

#include <string.h>

/* ---- offers and versions ---- */

static void expect_offer(unsigned int component, const char *instance)
{
	const struct message *m = guest_offer(&rig.g, rig_relid(&rig, component));
	uint8_t want[16], zero[116] = {0};

	parse_hex(instance, want, sizeof(want));
	assert_memory_equal(m->b + 24, want, sizeof(want));
	assert_int_equal(get16(m->b + 56), 0x10); /* a pipe */
	assert_int_equal(get16(m->b + 58), 0);    /* no MMIO */
	assert_int_equal(get32(m->b + 60), 4);    /* of messages */
	assert_memory_equal(m->b + 64, zero, sizeof(zero));
	assert_int_equal(get16(m->b + 180), 0); /* no subchannel */
	assert_int_equal(m->b[189], 0);         /* no monitor */
}

static void offers_carry_class_instance_and_pipe_mode(void **state)
{
	assert_int_equal(rig.g.offer_count, 4);
	expect_offer(IC_COMPONENT_HEARTBEAT, "919e14fd e082 7d4a afa6 2a4166cbd7c0");
	expect_offer(IC_COMPONENT_SHUTDOWN, "f70f65b6 bc33 4048 8048 e0676786f393");
	expect_offer(IC_COMPONENT_TIMESYNC, "17ced12d 9e07 3c40 b352 a1921ee207ee");
	expect_offer(IC_COMPONENT_KVP, "19f92f24 db07 8041 9c2e b86cb68c8c55");
}

static const char *const negotiations[IC_COMPONENTS] = {
	"0000 0000 0000 0000 0000 1800 00000000 01 03 0000 0200 0200 00000000"
	"0100 0000 0300 0000 0100 0000 0300 0000",
	"0000 0000 0000 0000 0000 1c00 00000000 01 03 0000 0200 0300 00000000"
	"0100 0000 0300 0000 0300 0000 0300 0100 0300 0200",
	"0000 0000 0000 0000 0000 1c00 00000000 01 03 0000 0200 0300 00000000"
	"0100 0000 0300 0000 0100 0000 0300 0000 0400 0000",
	"0000 0000 0000 0000 0000 1800 00000000 01 03 0000 0200 0200 00000000"
	"0100 0000 0300 0000 0300 0000 0400 0000",
};

static void ic_001_the_first_message_negotiates(void **state)
{
	struct ic_message m;
	struct channel c;
	uint8_t want[64];

	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		uint32_t n = parse_hex(negotiations[i], want, sizeof(want));

		rig_open(&rig, &c, i);
		rig_receive(&c, &m);
		assert_int_equal(m.size, n);
		assert_memory_equal(m.b, want, n);
		assert_int_equal(rig_state(&rig, i), IC_STATE_NEGOTIATING);
		assert_false(channel_has_packet(&c));
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

/* The next message of a ready component; something has to be asked of shutdown and KVP. */
static void next_message(struct channel *c, unsigned int component, struct ask *a,
			 struct ic_message *m)
{
	memset(a, 0, sizeof(*a));
	if (component == IC_COMPONENT_SHUTDOWN) {
		ask_begin(&rig, a, IC_IOCTL_SHUTDOWN);
	} else if (component == IC_COMPONENT_KVP) {
		kvp_request(a, IC_KVP_GET, 0, "key");
		ask_begin(&rig, a, IC_IOCTL_KVP);
	}
	rig_receive(c, m);
}

static void finish(struct channel *c, struct ask *a, struct ic_message *m)
{
	put32(m->b + AT_STATUS, E_FAIL);
	rig_answer(c, m);
	if (!a->r)
		return;
	ask_end(a);
	assert_int_equal(a->status, OK_);
}

static void agree(unsigned int component, uint32_t framework, uint32_t version)
{
	struct ic_component_info info;
	struct ic_message m;
	struct channel c;
	struct ask a;

	rig_open(&rig, &c, component);
	rig_negotiate(&c, framework, version);
	wait_for(rig_state(&rig, component) == IC_STATE_READY);
	info = rig_counts(&rig, component);
	assert_memory_equal(&info.framework, &framework, 4);
	assert_memory_equal(&info.message, &version, 4);
	next_message(&c, component, &a, &m);
	assert_int_equal(get32(m.b + AT_FRAMEWORK), framework);
	assert_int_equal(get32(m.b + AT_VERSION), version);
	assert_int_not_equal(get16(m.b + AT_TYPE), 0);
	finish(&c, &a, &m);
	channel_close(&c);
}

static void ic_002_agreed_versions_are_in_every_header(void **state)
{
	static const struct {
		unsigned int component;
		uint32_t version;
	} all[] = {
		{IC_COMPONENT_HEARTBEAT, VERSION(1, 0)}, {IC_COMPONENT_HEARTBEAT, VERSION(3, 0)},
		{IC_COMPONENT_SHUTDOWN, VERSION(3, 0)},  {IC_COMPONENT_SHUTDOWN, VERSION(3, 1)},
		{IC_COMPONENT_SHUTDOWN, VERSION(3, 2)},  {IC_COMPONENT_TIMESYNC, VERSION(1, 0)},
		{IC_COMPONENT_TIMESYNC, VERSION(3, 0)},  {IC_COMPONENT_TIMESYNC, VERSION(4, 0)},
		{IC_COMPONENT_KVP, VERSION(3, 0)},       {IC_COMPONENT_KVP, VERSION(4, 0)},
	};

	for (unsigned int i = 0; i < COUNT(all); i++) {
		agree(all[i].component, VERSION(1, 0), all[i].version);
		agree(all[i].component, VERSION(3, 0), all[i].version);
	}
	guest_unload(&rig.g);
}

/* ---- answers to our versions that do not do ---- */

struct refusal {
	const char *what;
	uint32_t size, body; /* of the message, as its header says; 0: as they were */
	uint16_t frameworks, messages;
	uint32_t framework, version;
};

static void refuse(unsigned int component, const struct refusal *f)
{
	uint64_t rejected = rig_counts(&rig, component).rejected;
	struct ic_component_info info;
	struct ic_message m;
	struct channel c;

	rig_open(&rig, &c, component);
	rig_receive(&c, &m);
	put16(m.b + AT_SIZE, f->body ? (uint16_t)f->body : 16);
	put16(m.b + AT_BODY, f->frameworks);
	put16(m.b + AT_BODY + 2, f->messages);
	put32(m.b + AT_BODY + 8, f->framework);
	put32(m.b + AT_BODY + 12, f->version);
	m.size = f->size ? f->size : m.size;
	rig_answer(&c, &m);
	wait_for(rig_state(&rig, component) != IC_STATE_NEGOTIATING);
	info = rig_counts(&rig, component);
	if (info.state != IC_STATE_UNMATCHED || info.rejected != rejected + 1)
		fail_msg("component %u, %s: state %u", component, f->what, info.state);
	/* some periods later still nothing */
	nap_us(30000);
	assert_false(channel_has_packet(&c));
	assert_int_equal(rig_counts(&rig, component).sent, info.sent);
	channel_close(&c);
	/* opened again, it negotiates again */
	rig_open(&rig, &c, component);
	rig_receive(&c, &m);
	assert_int_equal(get16(m.b + AT_TYPE), 0);
	channel_close(&c);
}

static void ic_003_no_common_version_idles_until_reopened(void **state)
{
	static const struct refusal none = {.what = "none"};

	for (unsigned int i = 0; i < IC_COMPONENTS; i++)
		refuse(i, &none);
	guest_unload(&rig.g);
}

static void ic_004_a_version_that_was_not_offered_is_no_match(void **state)
{
	static const struct refusal chosen[] = {
		{"framework 2.0", 0, 0, 1, 1, VERSION(2, 0), VERSION(3, 0)},
		{"framework 0.1", 0, 0, 1, 1, VERSION(0, 1), VERSION(3, 0)},
		{"messages 3.9", 0, 0, 1, 1, VERSION(3, 0), VERSION(3, 9)},
		{"messages 0.3", 0, 0, 1, 1, VERSION(3, 0), VERSION(0, 3)},
		{"messages 5.0", 0, 0, 1, 1, VERSION(3, 0), VERSION(5, 0)},
		{"all ones", 0, 0, 1, 1, 0xffffffff, 0xffffffff},
	};

	for (unsigned int i = 0; i < IC_COMPONENTS; i++)
		for (unsigned int k = 0; k < COUNT(chosen); k++)
			refuse(i, &chosen[k]);
	guest_unload(&rig.g);
}

static void ic_005_field_022_malformed_choices_are_rejected(void **state)
{
	static const uint32_t good = VERSION(3, 0);
	const struct refusal choices[] = {
		{"counts 1 and 0", 0, 0, 1, 0, good, good},
		{"counts 0 and 1", 0, 0, 0, 1, good, good},
		{"counts 2 and 1", 0, 0, 2, 1, good, good},
		{"counts 1 and 2", 0, 0, 1, 2, good, good},
		{"counts 100 and 100", 0, 0, 100, 100, good, good},
		{"counts of all ones", 0, 0, 0xffff, 0xffff, good, good},
		{"a body of 8", 0, 8, 1, 1, good, good},
		{"a body of 15", 0, 15, 1, 1, good, good},
		{"a body of 20", 0, 20, 1, 1, good, good},
		{"a body of 4", 0, 4, 1, 1, good, good},
		{"a message of 32", 32, 12, 1, 1, good, good},
	};

	for (unsigned int i = 0; i < IC_COMPONENTS; i++)
		for (unsigned int k = 0; k < COUNT(choices); k++)
			refuse(i, &choices[k]);
	guest_unload(&rig.g);
}

/* ---- one at a time ---- */

static void ic_006_nothing_is_sent_before_the_answer(void **state)
{
	struct ic_message m;
	struct channel c;

	/* not even when many periods have gone by */
	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		rig_open(&rig, &c, i);
		rig_receive(&c, &m);
		nap_us(50000);
		assert_false(channel_has_packet(&c));
		assert_int_equal(rig_counts(&rig, i).sent, 1);
		channel_close(&c);
	}
	rig_open(&rig, &c, IC_COMPONENT_HEARTBEAT);
	rig_negotiate(&c, VERSION(3, 0), VERSION(3, 0));
	rig_receive(&c, &m);
	wait_for(rig_missed(&rig) >= 5);
	assert_false(channel_has_packet(&c));
	channel_close(&c);
	guest_unload(&rig.g);
}

/* ---- messages that are dropped ---- */

static void expect_dropped(unsigned int component, uint64_t malformed, uint64_t unsolicited)
{
	wait_for(rig_counts(&rig, component).malformed + rig_counts(&rig, component).unsolicited ==
		 malformed + unsolicited);
	assert_int_equal(rig_counts(&rig, component).malformed, malformed);
	assert_int_equal(rig_counts(&rig, component).unsolicited, unsolicited);
}

static void ic_007_what_is_no_answer_is_dropped_and_the_wait_goes_on(void **state)
{
	struct ic_message m, bad;
	struct channel c;

	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		rig_open(&rig, &c, i);
		rig_receive(&c, &m);
		rig_choose(&m, VERSION(3, 0), VERSION(3, 0));
		bad = m;
		bad.b[AT_TYPE] = 3;
		rig_answer(&c, &bad);
		bad = m;
		bad.b[AT_TRANSACTION] ^= 0x80;
		rig_answer(&c, &bad);
		bad = m;
		rig_send_message(&c, &bad); /* a request still */
		expect_dropped(i, 0, 3);
		assert_int_equal(rig_state(&rig, i), IC_STATE_NEGOTIATING);
		rig_answer(&c, &m);
		wait_for(rig_state(&rig, i) == IC_STATE_READY);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

static void ic_008_messages_nobody_asked_for_are_dropped(void **state)
{
	struct ic_message m, extra;
	struct channel c;
	struct ask a;

	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		rig_open(&rig, &c, i);
		memset(&extra, 0, sizeof(extra));
		extra.size = 36;
		for (uint16_t type = 0; type < 9; type++) {
			/* before ours was even read, of every kind, and as answer to nothing */
			put16(extra.b + AT_TYPE, type);
			put16(extra.b + AT_SIZE, 16);
			extra.b[AT_TRANSACTION] = 0;
			rig_answer(&c, &extra);
		}
		expect_dropped(i, 0, 9);
		rig_negotiate(&c, VERSION(3, 0),
			      i == IC_COMPONENT_KVP ? VERSION(4, 0) : VERSION(3, 0));
		wait_for(rig_state(&rig, i) == IC_STATE_READY);
		next_message(&c, i, &a, &m);
		finish(&c, &a, &m);
		/* the same answer again */
		rig_answer(&c, &m);
		expect_dropped(i, 0, 10);
		assert_int_equal(rig_state(&rig, i), IC_STATE_READY);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

static void ic_009_field_021_bad_framing_is_dropped(void **state)
{
	struct ic_message m;
	struct channel c;

	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		uint64_t malformed = 0;

		rig_open(&rig, &c, i);
		rig_receive(&c, &m);
		rig_choose(&m, VERSION(3, 0), VERSION(3, 0));
		m.b[AT_MESSAGE_FLAGS] = 5;
		/* less than a header */
		for (uint32_t n = 0; n < 20; n++, malformed++)
			rig_send(&c, 1, n, m.b, 40);
		/* a body that is longer than its message */
		for (uint32_t size = m.size - 19; size < 0x10000;
		     size = size * 2 + 1, malformed++) {
			put16(m.b + AT_SIZE, (uint16_t)size);
			rig_send(&c, 1, m.size, m.b, m.size);
		}
		/* packets of pipes that no component uses */
		for (uint32_t type = 3; type < 5; type++)
			rig_send(&c, type, 0, m.b, 40);
		expect_dropped(i, malformed, 0);
		put16(m.b + AT_SIZE, 16);
		rig_answer(&c, &m);
		wait_for(rig_state(&rig, i) == IC_STATE_READY);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

/* What breaks the pipe itself ends the session's traffic; the next session is like any other. */
static void ic_009_a_broken_pipe_is_final_until_reopened(void **state)
{
	static const struct {
		uint32_t type, length;
	} broken[] = {{1, 33}, {1, 4096}, {1, 0x7fffffff}, {1, 0xffffffff},  {1, 0xfffffff8},
		      {0, 32}, {6, 32},   {2, 32},         {0xffffffff, 32}, {9, 0}};
	struct ic_message m;
	struct channel c;

	for (unsigned int k = 0; k < COUNT(broken); k++) {
		unsigned int i = k % IC_COMPONENTS;
		struct ic_component_info before;

		rig_open(&rig, &c, i);
		rig_receive(&c, &m);
		before = rig_counts(&rig, i);
		rig_choose(&m, VERSION(3, 0), VERSION(3, 0));
		m.b[AT_MESSAGE_FLAGS] = 5;
		rig_send(&c, broken[k].type, broken[k].length, m.b, 32);
		channel_close(&c);
		assert_int_equal(rig_counts(&rig, i).answered, before.answered);
		rig_ready(&rig, &c, i);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

/* ---- sizes, pauses, rings ---- */

/* Every message that there is, as its packet lies in the ring. */
static void field_020_no_packet_is_larger_than_linux_takes(void **state)
{
	static const uint32_t most[IC_COMPONENTS] = {4096, 4096, 4096, 16384};
	struct ic_message m;
	struct channel c;
	struct ask a;

	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		rig_open(&rig, &c, i);
		rig_receive(&c, &m);
		assert_true(m.packet <= most[i]);
		rig_choose(&m, VERSION(3, 0), VERSION(3, 0));
		rig_answer(&c, &m);
		wait_for(rig_state(&rig, i) == IC_STATE_READY);
		next_message(&c, i, &a, &m);
		assert_true(m.packet <= most[i]);
		finish(&c, &a, &m);
		if (i == IC_COMPONENT_KVP) {
			memset(&a, 0, sizeof(a));
			a.u.ip.operation = IC_KVP_GET_IP;
			ask_begin(&rig, &a, IC_IOCTL_IP);
			rig_receive(&c, &m);
			assert_int_equal(m.packet, 24 + 20 + 7428);
			finish(&c, &a, &m);
		}
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

/* A ring that cannot hold an answer of the largest kind: refused, and everything else works. */
static void field_020_a_ring_too_small_for_a_message(void **state)
{
	struct ic_message m;
	struct channel c;
	struct ask a = {0};

	channel_open(&c, &rig.g, rig_relid(&rig, IC_COMPONENT_KVP), 2, 2);
	rig_negotiate(&c, VERSION(3, 0), VERSION(4, 0));
	wait_for(rig_state(&rig, IC_COMPONENT_KVP) == IC_STATE_READY);
	a.u.ip.operation = IC_KVP_GET_IP;
	ask_begin(&rig, &a, IC_IOCTL_IP);
	ask_end(&a);
	assert_int_equal(a.status, OVERFLOW_);
	next_message(&c, IC_COMPONENT_KVP, &a, &m);
	assert_int_equal(m.size, 20 + 2580);
	finish(&c, &a, &m);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* After a pause nothing is sent before what was unanswered is answered; then versions again. */
static void ic_006_013_a_pause_with_something_unanswered(void **state)
{
	struct ic_message m;
	struct channel c;
	struct ask a;

	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		uint64_t sent;

		rig_open(&rig, &c, i);
		rig_negotiate(&c, VERSION(3, 0),
			      i == IC_COMPONENT_KVP ? VERSION(4, 0) : VERSION(3, 0));
		wait_for(rig_state(&rig, i) == IC_STATE_READY);
		next_message(&c, i, &a, &m);
		assert_int_equal(rig_control(&rig, IC_IOCTL_PAUSE, i), OK_);
		assert_int_equal(rig_state(&rig, i), IC_STATE_CLOSED);
		if (a.r) {
			ask_end(&a);
			assert_int_equal(a.status, CLOSED_);
		}
		sent = rig_counts(&rig, i).sent;
		assert_int_equal(rig_control(&rig, IC_IOCTL_START, i), OK_);
		wait_for(rig_state(&rig, i) == IC_STATE_NEGOTIATING);
		assert_int_equal(rig_counts(&rig, i).sent, sent);
		rig_answer(&c, &m);
		rig_negotiate(&c, VERSION(3, 0),
			      i == IC_COMPONENT_KVP ? VERSION(4, 0) : VERSION(3, 0));
		wait_for(rig_state(&rig, i) == IC_STATE_READY);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

/* The versions themselves unanswered: they are not sent twice. */
static void ic_001_006_a_pause_before_versions_are_answered(void **state)
{
	struct ic_message m;
	struct channel c;

	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		rig_open(&rig, &c, i);
		rig_receive(&c, &m);
		assert_int_equal(rig_control(&rig, IC_IOCTL_PAUSE, i), OK_);
		assert_int_equal(rig_control(&rig, IC_IOCTL_START, i), OK_);
		wait_for(rig_state(&rig, i) == IC_STATE_NEGOTIATING);
		assert_int_equal(rig_counts(&rig, i).sent, 1);
		rig_choose(&m, VERSION(3, 0), VERSION(3, 0));
		rig_answer(&c, &m);
		wait_for(rig_state(&rig, i) == IC_STATE_READY);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

/* Offers and rescinds by turns: the channel id is the guest's until it lets go. */
static void field_023_offers_and_rescinds_by_turns(void **state)
{
	uint32_t times = scaled(100);
	struct message offer, want;
	struct channel c;

	for (uint32_t n = 0; n < times; n++) {
		unsigned int i = n % IC_COMPONENTS;
		uint32_t relid = rig_relid(&rig, i);

		if (n % 3)
			rig_ready(&rig, &c, i);
		assert_int_equal(rig_control(&rig, IC_IOCTL_DISABLE, i), OK_);
		want = make_of_channel(RESCIND_OFFER, relid);
		guest_expect_bytes(&rig.g, &want);
		assert_int_equal(rig_control(&rig, IC_IOCTL_ENABLE, i), OK_);
		/* nothing comes for the same device before the release */
		if (n % 3) {
			guest_post(&rig.g, make_of_channel(CLOSE_CHANNEL, relid));
			guest_post(&rig.g, make_teardown(relid, c.gpadl));
			want = make_torndown(c.gpadl);
			guest_expect_bytes(&rig.g, &want);
		}
		guest_post(&rig.g, make_of_channel(RELID_RELEASED, relid));
		guest_expect(&rig.g, OFFER_CHANNEL, &offer);
		for (uint32_t k = 0; k < rig.g.offer_count; k++)
			if (get32(rig.g.offers[k].b + 184) == relid)
				rig.g.offers[k] = offer;
	}
	guest_unload(&rig.g);
}

/* ---- anything at all ---- */

/* Answers with bytes changed at random, of random length; whatever becomes of them, the component
 * can be opened again and works. */
static void scribble(struct channel *c, struct ic_message *m, uint64_t *random)
{
	uint32_t changes = (uint32_t)(next_random(random) % 8);

	for (uint32_t n = 0; n < changes; n++) {
		uint32_t span = next_random(random) % 2 ? 64 : m->size;
		uint8_t byte = (uint8_t)next_random(random);

		m->b[next_random(random) % (span < m->size ? span : m->size)] = byte;
	}
	if (!(next_random(random) % 4))
		m->size = (uint32_t)(next_random(random) % (m->size + 1));
	if (next_random(random) % 8)
		m->b[AT_MESSAGE_FLAGS] = 5;
	rig_send_message(c, m);
}

static void field_022_029_ic_009_010_024_random_answers(void **state)
{
	uint64_t random = 0x1c5eed;
	uint32_t rounds = scaled(400);
	struct ic_message m;
	struct channel c;
	struct ask a;

	for (uint32_t n = 0; n < rounds; n++) {
		unsigned int i = n % IC_COMPONENTS;

		rig_open(&rig, &c, i);
		if (n % 8 < 4) {
			rig_receive(&c, &m);
			scribble(&c, &m, &random);
		} else {
			rig_negotiate(&c, VERSION(3, 0), VERSION(3, 0));
			wait_for(rig_state(&rig, i) == IC_STATE_READY);
			next_message(&c, i, &a, &m);
			scribble(&c, &m, &random);
		}
		channel_close(&c);
		if (n % 8 >= 4 && a.r)
			ask_end(&a);
	}
	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		rig_ready(&rig, &c, i);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(offers_carry_class_instance_and_pipe_mode),
		RIG_TEST(ic_001_the_first_message_negotiates),
		RIG_QUICK(ic_002_agreed_versions_are_in_every_header),
		RIG_QUICK(ic_003_no_common_version_idles_until_reopened),
		RIG_TEST(ic_004_a_version_that_was_not_offered_is_no_match),
		RIG_TEST(ic_005_field_022_malformed_choices_are_rejected),
		RIG_QUICK(ic_006_nothing_is_sent_before_the_answer),
		RIG_TEST(ic_007_what_is_no_answer_is_dropped_and_the_wait_goes_on),
		RIG_TEST(ic_008_messages_nobody_asked_for_are_dropped),
		RIG_TEST(ic_009_field_021_bad_framing_is_dropped),
		RIG_TEST(ic_009_a_broken_pipe_is_final_until_reopened),
		RIG_QUICK(field_020_no_packet_is_larger_than_linux_takes),
		RIG_TEST(field_020_a_ring_too_small_for_a_message),
		RIG_TEST(ic_006_013_a_pause_with_something_unanswered),
		RIG_TEST(ic_001_006_a_pause_before_versions_are_answered),
		RIG_TEST(field_023_offers_and_rescinds_by_turns),
		RIG_QUICK(field_022_029_ic_009_010_024_random_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
