/* SPDX-License-Identifier: MIT */
/* Key-value pairs and addresses, against a guest written by hand. */
#include "ic_rig.h"

#include <stdatomic.h>
#include <string.h>

#define KVP  IC_COMPONENT_KVP
#define POOL (AT_BODY + 1)

/* Of a value, from where it begins. */
#define V_TYPE       0u
#define V_KEY_SIZE   4u
#define V_VALUE_SIZE 8u
#define V_KEY        12u
#define V_VALUE      524u

#define GET_VALUE       (AT_BODY + 4)
#define ENUMERATE_VALUE (AT_BODY + 8)

static void put_string(struct ask *a, uint32_t type, const char *text)
{
	a->u.kvp.value.type = type;
	a->u.kvp.value.value_size = put_text(a->u.kvp.value.value, text);
}

static kmcl_status refused(struct ask *a, uint32_t code)
{
	ask_begin(&rig, a, code);
	ask_end(a);
	return a->status;
}

/* ---- no daemon ---- */

/* A guest whose daemon comes late answers nothing until then; nothing is sent to it meanwhile. */
static void ic_022_versions_may_be_answered_late(void **state)
{
	struct channel c, heart;
	struct ic_message m, beat;
	struct ask a;

	rig_open(&rig, &c, KVP);
	rig_open(&rig, &heart, IC_COMPONENT_HEARTBEAT);
	rig_negotiate(&heart, VERSION(3, 0), VERSION(3, 0));
	for (unsigned int n = 0; n < 30; n++) {
		rig_receive(&heart, &beat);
		put64(beat.b + AT_BODY, get64(beat.b + AT_BODY) + 1);
		rig_answer(&heart, &beat);
		kvp_request(&a, IC_KVP_GET, 0, "key");
		assert_int_equal(refused(&a, IC_IOCTL_KVP), NOT_READY_);
	}
	assert_int_equal(rig_state(&rig, KVP), IC_STATE_NEGOTIATING);
	assert_int_equal(rig_counts(&rig, KVP).sent, 1);
	rig_receive(&c, &m);
	assert_false(channel_has_packet(&c));
	rig_choose(&m, VERSION(3, 0), VERSION(4, 0));
	rig_answer(&c, &m);
	wait_for(rig_state(&rig, KVP) == IC_STATE_READY);
	kvp_request(&a, IC_KVP_GET, 0, "key");
	ask_begin(&rig, &a, IC_IOCTL_KVP);
	rig_receive(&c, &m);
	put32(m.b + AT_STATUS, E_NO_MORE);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_int_equal(a.u.kvp.status, E_NO_MORE);
	channel_close(&c);
	channel_close(&heart);
	guest_unload(&rig.g);
}

/* ---- requests ---- */

static void expect_zeroes(const uint8_t *at, const uint8_t *end)
{
	while (at < end)
		assert_int_equal(*at++, 0);
}

/* The request to the byte: the header, then `hex`, then nothing up to its end. */
static void expect_request(struct ic_message *m, const char *hex)
{
	uint8_t want[128];
	uint32_t n = parse_hex(hex, want, sizeof(want));

	assert_int_equal(m->size, 20 + 2580);
	assert_int_equal(get16(m->b + AT_TYPE), 2);
	assert_memory_equal(m->b + AT_BODY, want, n);
	expect_zeroes(m->b + AT_BODY + n, m->b + AT_BODY + 12);
}

static void ask_and_refuse(struct channel *c, struct ask *a, struct ic_message *m)
{
	ask_begin(&rig, a, IC_IOCTL_KVP);
	rig_receive(c, m);
	put32(m->b + AT_STATUS, E_FAIL);
	rig_answer(c, m);
	ask_end(a);
	assert_int_equal(a->status, OK_);
	assert_int_equal(a->u.kvp.status, E_FAIL);
}

static void ic_023_requests_to_the_byte(void **state)
{
	uint8_t key[16], text[16];
	struct ic_message m;
	struct channel c;
	struct ask a;
	uint32_t n;

	n = put_text(key, "Key");
	rig_ready(&rig, &c, KVP);
	for (uint32_t pool = 0; pool < 4; pool++) {
		kvp_request(&a, IC_KVP_GET, pool, "Key");
		ask_and_refuse(&c, &a, &m);
		assert_int_equal(m.b[POOL], pool);
		m.b[POOL] = 0;
		expect_request(&m, "00 00 0000 00000000 08000000 00000000");
		assert_memory_equal(m.b + GET_VALUE + V_KEY, key, n);
		expect_zeroes(m.b + GET_VALUE + V_KEY + n, m.b + m.size);

		kvp_request(&a, IC_KVP_SET, pool, "Key");
		put_string(&a, IC_KVP_STRING, "value");
		ask_and_refuse(&c, &a, &m);
		assert_int_equal(m.b[POOL], pool);
		m.b[POOL] = 0;
		expect_request(&m, "01 00 0000 01000000 08000000 0c000000");
		assert_memory_equal(m.b + GET_VALUE + V_KEY, key, n);
		put_text(text, "value");
		assert_memory_equal(m.b + GET_VALUE + V_VALUE, text, 12);

		kvp_request(&a, IC_KVP_DELETE, pool, "Key");
		ask_and_refuse(&c, &a, &m);
		assert_int_equal(m.b[POOL], pool);
		m.b[POOL] = 0;
		expect_request(&m, "02 00 0000 08000000 4b00 6500 7900 0000");
		expect_zeroes(m.b + AT_BODY + 16, m.b + m.size);

		kvp_request(&a, IC_KVP_ENUMERATE, pool, NULL);
		a.u.kvp.index = 5 + pool;
		ask_and_refuse(&c, &a, &m);
		assert_int_equal(m.b[POOL], pool);
		m.b[POOL] = 0;
		assert_int_equal(m.b[AT_BODY + 4], 5 + pool);
		m.b[AT_BODY + 4] = 0;
		expect_request(&m, "03 00 0000 00000000");
		expect_zeroes(m.b + AT_BODY + 8, m.b + m.size);
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

/* All types of values, on their way to the guest and back. */
static void ic_023_every_type_both_ways(void **state)
{
	static const struct {
		uint32_t type, size;
		const char *bytes;
	} values[] = {
		{IC_KVP_STRING, 8, "5800 e900 acf0 0000"},
		{IC_KVP_STRING, 2, "0000"},
		{IC_KVP_STRING, 6, "3dd8 00de 0000"},
		{IC_KVP_EXPAND_STRING, 6, "2500 5800 0000"},
		{IC_KVP_U32, 4, "78563412"},
		{IC_KVP_U64, 8, "efcdab8967452301"},
		{IC_KVP_U64_LINUX, 8, "0102030405060708"},
	};
	struct ic_message m;
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	for (unsigned int i = 0; i < COUNT(values); i++) {
		uint8_t bytes[16];

		assert_int_equal(parse_hex(values[i].bytes, bytes, 16), values[i].size);
		kvp_request(&a, IC_KVP_SET, 0, "k");
		a.u.kvp.value.type = values[i].type;
		a.u.kvp.value.value_size = values[i].size;
		memcpy(a.u.kvp.value.value, bytes, values[i].size);
		ask_begin(&rig, &a, IC_IOCTL_KVP);
		rig_receive(&c, &m);
		assert_int_equal(get32(m.b + GET_VALUE + V_TYPE), values[i].type);
		assert_int_equal(get32(m.b + GET_VALUE + V_VALUE_SIZE), values[i].size);
		assert_memory_equal(m.b + GET_VALUE + V_VALUE, bytes, values[i].size);
		rig_answer(&c, &m);
		ask_end(&a);
		assert_int_equal(a.status, OK_);
		assert_int_equal(a.u.kvp.status, 0);

		kvp_request(&a, IC_KVP_GET, 0, "k");
		ask_begin(&rig, &a, IC_IOCTL_KVP);
		rig_receive(&c, &m);
		put32(m.b + GET_VALUE + V_TYPE, values[i].type);
		put32(m.b + GET_VALUE + V_VALUE_SIZE, values[i].size);
		memcpy(m.b + GET_VALUE + V_VALUE, bytes, values[i].size);
		rig_answer(&c, &m);
		ask_end(&a);
		assert_int_equal(a.status, OK_);
		assert_int_equal(a.u.kvp.value.type, values[i].type);
		assert_int_equal(a.u.kvp.value.value_size, values[i].size);
		assert_memory_equal(a.u.kvp.value.value, bytes, values[i].size);
		assert_int_equal(a.u.kvp.value.key_size, 4);
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

static void ic_023_requests_that_no_guest_could_take(void **state)
{
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	kvp_request(&a, IC_KVP_GET, 4, "k");
	assert_int_equal(refused(&a, IC_IOCTL_KVP), BAD_);
	for (uint32_t op = 4; op < 7; op++) {
		kvp_request(&a, op, 0, "k");
		assert_int_equal(refused(&a, IC_IOCTL_KVP), BAD_);
	}
	for (uint32_t op = IC_KVP_GET; op <= IC_KVP_DELETE; op++) {
		static const uint32_t sizes[] = {0, 1, 2, 3, 5, 514, 0x10004, ~0u};

		for (unsigned int i = 0; i < COUNT(sizes); i++) {
			kvp_request(&a, op, 0, "k");
			put_string(&a, IC_KVP_STRING, "v");
			a.u.kvp.value.key_size = sizes[i];
			assert_int_equal(refused(&a, IC_IOCTL_KVP), BAD_);
		}
		kvp_request(&a, op, 0, "long");
		a.u.kvp.value.key_size = 8; /* no 0 in it */
		assert_int_equal(refused(&a, IC_IOCTL_KVP), BAD_);
	}
	for (unsigned int i = 0; i < 6; i++) {
		static const uint32_t types[] = {0, 3, 7, 99, IC_KVP_U32, IC_KVP_U64};

		kvp_request(&a, IC_KVP_SET, 0, "k");
		put_string(&a, types[i], "v1v");
		a.u.kvp.value.value_size = 6;
		assert_int_equal(refused(&a, IC_IOCTL_KVP), BAD_);
	}
	for (unsigned int i = 0; i < 6; i++) {
		static const uint32_t sizes[] = {0, 1, 3, 2, 2050, ~0u};

		kvp_request(&a, IC_KVP_SET, 0, "k");
		put_string(&a, IC_KVP_STRING, "v");
		a.u.kvp.value.value_size = sizes[i];
		assert_int_equal(refused(&a, IC_IOCTL_KVP), BAD_);
	}
	assert_int_equal(rig_counts(&rig, KVP).sent, 1);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* ---- answers ---- */

struct bad {
	const char *what;
	uint32_t type, key_size, value_size;
	const char *key, *value; /* in hexadecimal, what comes after is 0xee */
};

/* An answer to a GET or an ENUMERATE whose value is that; what the program gets. */
static kmcl_status answer_with(struct channel *c, uint32_t operation, const struct bad *b,
			       struct ask *a)
{
	uint32_t at = operation == IC_KVP_GET ? GET_VALUE : ENUMERATE_VALUE;
	struct ic_message m;

	kvp_request(a, operation, 1, operation == IC_KVP_GET ? "k" : NULL);
	ask_begin(&rig, a, IC_IOCTL_KVP);
	rig_receive(c, &m);
	memset(m.b + at + V_KEY, 0xee, m.size - at - V_KEY);
	put32(m.b + at + V_TYPE, b->type);
	put32(m.b + at + V_KEY_SIZE, b->key_size);
	put32(m.b + at + V_VALUE_SIZE, b->value_size);
	parse_hex(b->key, m.b + at + V_KEY, 512);
	parse_hex(b->value, m.b + at + V_VALUE, 2048);
	rig_answer(c, &m);
	ask_end(a);
	return a->status;
}

static void ic_024_impossible_sizes_are_rejected(void **state)
{
	static const struct bad all[] = {
		{"no key", 1, 0, 4, "", "7600 0000"},
		{"half a character", 1, 1, 4, "6b00 0000", "7600 0000"},
		{"an odd key", 1, 5, 4, "6b00 0000", "7600 0000"},
		{"a key without an end", 1, 512, 4, "6b00", "7600 0000"},
		{"a key with its end behind it", 1, 4, 4, "6b00 6b00 0000", "7600 0000"},
		{"a key beyond its field", 1, 514, 4, "6b00 0000", "7600 0000"},
		{"a key of 64 KiB and more", 1, 0x10004, 4, "6b00 0000", "7600 0000"},
		{"a key of all ones", 1, 0xffffffff, 4, "6b00 0000", "7600 0000"},
		{"a key that wraps", 1, 0xfffffffe, 4, "6b00 0000", "7600 0000"},
		{"no value", 1, 4, 0, "6b00 0000", "7600 0000"},
		{"an odd value", 1, 4, 3, "6b00 0000", "7600 0000"},
		{"a value without an end", 1, 4, 2048, "6b00 0000", "7600"},
		{"a value beyond its field", 1, 4, 2050, "6b00 0000", "7600 0000"},
		{"a value of all ones", 2, 4, 0xffffffff, "6b00 0000", "7600 0000"},
		{"a short number", 4, 4, 3, "6b00 0000", "01020304"},
		{"a short long number", 11, 4, 4, "6b00 0000", "0102030405060708"},
		{"a short long number of Linux", 8, 4, 7, "6b00 0000", "0102030405060708"},
		{"a number beyond its field", 4, 4, 2049, "6b00 0000", "01020304"},
		{"type 0", 0, 4, 4, "6b00 0000", "7600 0000"},
		{"type 3", 3, 4, 4, "6b00 0000", "7600 0000"},
		{"a type of all ones", 0xffffffff, 4, 4, "6b00 0000", "7600 0000"},
	};
	static const struct bad good = {"good", 1, 4, 4, "6b00 0000", "7600 0000"};
	uint64_t rejected = 0;
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	for (unsigned int i = 0; i < COUNT(all); i++) {
		for (uint32_t op = IC_KVP_GET; op <= IC_KVP_ENUMERATE; op += 3) {
			kmcl_status status = answer_with(&c, op, &all[i], &a);

			if (status != DATA_)
				fail_msg("%s: 0x%08x", all[i].what, (unsigned int)status);
			assert_int_equal(rig_counts(&rig, KVP).rejected, ++rejected);
			/* and the next is read as ever */
			assert_int_equal(answer_with(&c, op, &good, &a), OK_);
			assert_int_equal(a.u.kvp.value.value_size, 4);
		}
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

static void ic_024_text_is_cut_and_mended(void **state)
{
	static const struct {
		struct bad is;
		uint32_t key_size, value_size;
		const char *key, *value;
	} all[] = {
		{{"ends early", 1, 8, 12, "6b00 0000 6b00 0000", "7600 7700 0000 7800 7900 0000"},
		 4,
		 6,
		 "6b00 0000",
		 "7600 7700 0000"},
		{{"a high half alone", 1, 4, 6, "3dd8 0000", "3dd8 7600 0000"},
		 4,
		 6,
		 "fdff 0000",
		 "fdff 7600 0000"},
		{{"a low half alone", 1, 4, 6, "00de 0000", "00de 7600 0000"},
		 4,
		 6,
		 "fdff 0000",
		 "fdff 7600 0000"},
		{{"halves in disorder", 2, 6, 6, "00de 3dd8 0000", "00de 3dd8 0000"},
		 6,
		 6,
		 "fdff fdff 0000",
		 "fdff fdff 0000"},
		{{"two high halves", 2, 8, 4, "3dd8 3dd8 00de 0000", "7600 0000"},
		 8,
		 4,
		 "fdff 3dd8 00de 0000",
		 "7600 0000"},
		{{"a number with more", 4, 4, 2048, "6b00 0000", "01020304"},
		 4,
		 4,
		 "6b00 0000",
		 "01020304"},
	};
	uint8_t want[16], zeroes[2048] = {0};
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	for (unsigned int i = 0; i < COUNT(all); i++) {
		struct ic_kvp_value *v = &a.u.kvp.value;

		assert_int_equal(answer_with(&c, IC_KVP_ENUMERATE, &all[i].is, &a), OK_);
		assert_int_equal(v->key_size, all[i].key_size);
		assert_int_equal(v->value_size, all[i].value_size);
		parse_hex(all[i].key, want, sizeof(want));
		assert_memory_equal((uint8_t *)v + V_KEY, want, v->key_size);
		/* nothing else of the guest's comes along */
		assert_memory_equal((uint8_t *)v + V_KEY + v->key_size, zeroes, 512 - v->key_size);
		parse_hex(all[i].value, want, sizeof(want));
		assert_memory_equal(v->value, want, v->value_size);
		assert_memory_equal(v->value + v->value_size, zeroes, 2048 - v->value_size);
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

static void ic_010_024_short_answers_are_rejected(void **state)
{
	static const struct {
		uint32_t operation, least;
	} all[] = {{IC_KVP_GET, 2576}, {IC_KVP_ENUMERATE, 2580}, {IC_KVP_GET_IP, 7428}};
	struct ic_message m;
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	for (unsigned int i = 0; i < COUNT(all); i++) {
		bool ip = all[i].operation == IC_KVP_GET_IP;
		const uint32_t sizes[] = {0, 1, 3, 4, 8, 524, all[i].least - 1};

		for (unsigned int k = 0; k < COUNT(sizes); k++) {
			kvp_request(&a, all[i].operation, 0, "k");
			if (ip) {
				memset(&a.u, 0, sizeof(a.u));
				a.u.ip.operation = IC_KVP_GET_IP;
			}
			ask_begin(&rig, &a, ip ? IC_IOCTL_IP : IC_IOCTL_KVP);
			rig_receive(&c, &m);
			put16(m.b + AT_SIZE, (uint16_t)sizes[k]);
			m.size = 20 + sizes[k];
			rig_answer(&c, &m);
			ask_end(&a);
			assert_int_equal(a.status, DATA_);
		}
	}
	/* what has no value is whole without one */
	kvp_request(&a, IC_KVP_DELETE, 0, "k");
	ask_begin(&rig, &a, IC_IOCTL_KVP);
	rig_receive(&c, &m);
	put16(m.b + AT_SIZE, 0);
	m.size = 20;
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* A guest may change what it was asked in its answer: ours counts. */
static void ic_024_an_answer_cannot_change_the_question(void **state)
{
	struct ic_message m;
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	for (uint32_t op = 0; op < 8; op++) {
		kvp_request(&a, IC_KVP_GET, 0, "k");
		ask_begin(&rig, &a, IC_IOCTL_KVP);
		rig_receive(&c, &m);
		m.b[AT_BODY] = (uint8_t)op;
		m.b[POOL] = 0xff;
		put32(m.b + GET_VALUE + V_TYPE, IC_KVP_U32);
		put32(m.b + GET_VALUE + V_VALUE_SIZE, 4);
		put32(m.b + GET_VALUE + V_VALUE, op);
		rig_answer(&c, &m);
		ask_end(&a);
		assert_int_equal(a.status, OK_);
		assert_int_equal(a.u.kvp.operation, IC_KVP_GET);
		assert_int_equal(a.u.kvp.pool, 0);
		assert_int_equal(get32(a.u.kvp.value.value), op);
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

/* ---- enumeration ---- */

struct endless {
	struct channel *c;
	uint32_t items; /* before it ends */
	atomic_bool stop;
	pthread_t thread;
};

/* A guest that has an item at every index. */
static void *answer_endlessly(void *arg)
{
	struct endless *e = arg;
	static struct ic_message m;

	while (!atomic_load(&e->stop)) {
		uint8_t *v = m.b + ENUMERATE_VALUE;

		if (!channel_has_packet(e->c)) {
			nap_us(20);
			continue;
		}
		rig_receive(e->c, &m);
		put32(v + V_TYPE, IC_KVP_STRING);
		put32(v + V_KEY_SIZE, put_text(v + V_KEY, "key"));
		put32(v + V_VALUE_SIZE, put_text(v + V_VALUE, "value"));
		if (get32(m.b + AT_BODY + 4) >= e->items)
			put32(m.b + AT_STATUS, E_NO_MORE);
		rig_answer(e->c, &m);
	}
	return NULL;
}

/* Items until the end; *status: why it ended. */
static uint32_t enumerate(struct ic_kvp_request *k, kmcl_status *status)
{
	uint32_t index = 0;

	for (;; index++) {
		memset(k, 0, sizeof(*k));
		k->operation = IC_KVP_ENUMERATE;
		k->index = index;
		*status = rig_do(&rig, IC_IOCTL_KVP, k, sizeof(*k), k, sizeof(*k));
		if (*status || k->status)
			return index;
		assert_true(index < 5000);
	}
}

static void ic_025_an_enumeration_ends(void **state)
{
	static struct ic_kvp_request k;
	struct endless e = {.items = 17};
	kmcl_status status;
	struct channel c;

	rig_ready(&rig, &c, KVP);
	e.c = &c;
	assert_int_equal(pthread_create(&e.thread, NULL, answer_endlessly, &e), 0);
	assert_int_equal(enumerate(&k, &status), 17);
	assert_int_equal(status, OK_);
	assert_int_equal(k.status, E_NO_MORE);
	/* and one that has no end of its own at ours */
	e.items = ~0u;
	assert_int_equal(enumerate(&k, &status), IC_KVP_MOST_INDEX);
	assert_int_equal(status, NO_ENTRY_);
	assert_int_equal(rig_counts(&rig, KVP).sent, 1 + 18 + IC_KVP_MOST_INDEX);
	atomic_store(&e.stop, true);
	pthread_join(e.thread, NULL);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* ---- addresses ---- */

static const uint32_t ip_at[] = {2, 260, 2308, 4356, 5380};
static const uint32_t ip_size[] = {256, 2048, 2048, 1024, 2048};
static const char *const ip_text[] = {"{f8615163-0000-1000-2000-00155d000001}",
				      "192.0.2.7;2001:db8::7", "255.255.255.0;64", "192.0.2.1",
				      "192.0.2.53;2001:db8::53"};

static void ic_026_addresses_are_set_by_adapter(void **state)
{
	struct ic_message m;
	struct channel c;
	uint8_t text[256];
	struct ask a;

	rig_ready(&rig, &c, KVP);
	memset(&a.u, 0, sizeof(a.u));
	a.u.ip.operation = IC_KVP_SET_IP;
	a.u.ip.ip.family = IC_IP_BOTH;
	a.u.ip.ip.dhcp = 1;
	for (unsigned int i = 0; i < COUNT(ip_at); i++)
		put_text((uint8_t *)&a.u.ip.ip + ip_at[i] - 2, ip_text[i]);
	ask_begin(&rig, &a, IC_IOCTL_IP);
	rig_receive(&c, &m);
	assert_int_equal(m.size, 20 + 7428);
	assert_int_equal(m.b[AT_BODY], 5);
	assert_int_equal(m.b[POOL], 0);
	assert_int_equal(m.b[AT_BODY + 258], 3);
	assert_int_equal(m.b[AT_BODY + 259], 1);
	for (unsigned int i = 0; i < COUNT(ip_at); i++) {
		uint32_t n = put_text(text, ip_text[i]);
		const uint8_t *at = m.b + AT_BODY + ip_at[i];

		assert_memory_equal(at, text, n);
		expect_zeroes(at + n, at + ip_size[i]);
	}
	put32(m.b + AT_STATUS, E_NO_GUID);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_int_equal(a.u.ip.status, E_NO_GUID);
	channel_close(&c);
	guest_unload(&rig.g);
}

static void get_ip(struct channel *c, struct ask *a, struct ic_message *m)
{
	memset(&a->u, 0, sizeof(a->u));
	a->u.ip.operation = IC_KVP_GET_IP;
	put_text((uint8_t *)&a->u.ip.ip, ip_text[0]);
	ask_begin(&rig, a, IC_IOCTL_IP);
	rig_receive(c, m);
	assert_int_equal(m->b[AT_BODY], 4);
}

static void ic_024_026_addresses_are_read_by_adapter(void **state)
{
	struct ic_message m;
	struct channel c;
	uint8_t text[256];
	struct ask a;

	rig_ready(&rig, &c, KVP);
	get_ip(&c, &a, &m);
	m.b[AT_BODY + 258] = 1;
	m.b[AT_BODY + 259] = 0xff;
	for (unsigned int i = 1; i < COUNT(ip_at); i++) {
		memset(m.b + AT_BODY + ip_at[i], 0xee, ip_size[i]);
		put_text(m.b + AT_BODY + ip_at[i], ip_text[i]);
	}
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_int_equal(a.u.ip.status, 0);
	assert_int_equal(a.u.ip.ip.family, 1);
	assert_int_equal(a.u.ip.ip.dhcp, 1);
	for (unsigned int i = 0; i < COUNT(ip_at); i++) {
		const uint8_t *at = (uint8_t *)&a.u.ip.ip + ip_at[i] - 2;
		uint32_t n = put_text(text, ip_text[i]);

		assert_memory_equal(at, text, n);
		expect_zeroes(at + n, at + ip_size[i]);
	}
	/* each of the texts without an end */
	for (unsigned int i = 0; i < COUNT(ip_at); i++) {
		get_ip(&c, &a, &m);
		memset(m.b + AT_BODY + ip_at[i], 0x41, ip_size[i]);
		rig_answer(&c, &m);
		ask_end(&a);
		assert_int_equal(a.status, DATA_);
	}
	get_ip(&c, &a, &m);
	put32(m.b + AT_STATUS, E_NO_GUID);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_int_equal(a.u.ip.status, E_NO_GUID);
	channel_close(&c);
	guest_unload(&rig.g);
}

static void addresses_that_make_no_sense(void **state)
{
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	for (unsigned int i = 0; i < COUNT(ip_at); i++) {
		memset(&a.u, 0, sizeof(a.u));
		a.u.ip.operation = IC_KVP_SET_IP;
		memset((uint8_t *)&a.u.ip.ip + ip_at[i] - 2, 0x41, ip_size[i]);
		assert_int_equal(refused(&a, IC_IOCTL_IP), BAD_);
	}
	for (unsigned int i = 0; i < 3; i++) {
		memset(&a.u, 0, sizeof(a.u));
		a.u.ip.operation = i ? IC_KVP_GET_IP : IC_KVP_SET;
		a.u.ip.ip.family = i == 1 ? 4 : 0;
		a.u.ip.ip.dhcp = i == 2 ? 2 : 0;
		assert_int_equal(refused(&a, IC_IOCTL_IP), BAD_);
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

/* ---- sessions ---- */

static void ic_027_a_close_ends_the_request_and_a_late_answer_goes_nowhere(void **state)
{
	struct ic_message old, m;
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	kvp_request(&a, IC_KVP_GET, 0, "old");
	ask_begin(&rig, &a, IC_IOCTL_KVP);
	rig_receive(&c, &old);
	channel_close(&c);
	ask_end(&a);
	assert_int_equal(a.status, CLOSED_);

	rig_ready(&rig, &c, KVP);
	kvp_request(&a, IC_KVP_GET, 0, "new");
	ask_begin(&rig, &a, IC_IOCTL_KVP);
	rig_receive(&c, &m);
	put32(old.b + GET_VALUE + V_TYPE, IC_KVP_STRING);
	put32(old.b + GET_VALUE + V_VALUE_SIZE, put_text(old.b + GET_VALUE + V_VALUE, "old"));
	rig_answer(&c, &old);
	wait_for(rig_counts(&rig, KVP).unsolicited == 1);
	put32(m.b + GET_VALUE + V_TYPE, IC_KVP_STRING);
	put32(m.b + GET_VALUE + V_VALUE_SIZE, put_text(m.b + GET_VALUE + V_VALUE, "new"));
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_memory_equal(a.u.kvp.value.value, "n\0e\0w\0\0", 8);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* The same without a close: what came too late for one program is not the next one's. */
static void ic_027_an_answer_after_the_time_limit_goes_nowhere(void **state)
{
	struct ic_message m;
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, KVP);
	kvp_request(&a, IC_KVP_GET, 0, "old");
	a.u.kvp.wait = 20;
	ask_begin(&rig, &a, IC_IOCTL_KVP);
	rig_receive(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, LATE_);
	kvp_request(&a, IC_KVP_GET, 0, "new");
	assert_int_equal(refused(&a, IC_IOCTL_KVP), BUSY_);
	rig_answer(&c, &m);
	wait_for(rig_counts(&rig, KVP).answered == 2);
	kvp_request(&a, IC_KVP_GET, 0, "new");
	ask_begin(&rig, &a, IC_IOCTL_KVP);
	rig_receive(&c, &m);
	put32(m.b + AT_STATUS, E_NO_MORE);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_int_equal(a.u.kvp.status, E_NO_MORE);
	channel_close(&c);
	guest_unload(&rig.g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_QUICK(ic_022_versions_may_be_answered_late),
		RIG_QUICK(ic_023_requests_to_the_byte),
		RIG_QUICK(ic_023_every_type_both_ways),
		RIG_QUICK(ic_023_requests_that_no_guest_could_take),
		RIG_QUICK(ic_024_impossible_sizes_are_rejected),
		RIG_QUICK(ic_024_text_is_cut_and_mended),
		RIG_QUICK(ic_010_024_short_answers_are_rejected),
		RIG_QUICK(ic_024_an_answer_cannot_change_the_question),
		RIG_QUICK(ic_025_an_enumeration_ends),
		RIG_QUICK(ic_026_addresses_are_set_by_adapter),
		RIG_QUICK(ic_024_026_addresses_are_read_by_adapter),
		RIG_QUICK(addresses_that_make_no_sense),
		RIG_QUICK(ic_027_a_close_ends_the_request_and_a_late_answer_goes_nowhere),
		RIG_QUICK(ic_027_an_answer_after_the_time_limit_goes_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
