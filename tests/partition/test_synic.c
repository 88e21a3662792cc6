/* SPDX-License-Identifier: MIT */
/* The model of message slots and event flags, one side at a time, the other by hand. */
#include "support.h"

#include "partition/synic.h"

struct pages {
	_Alignas(4096) uint8_t simp[4096];
	_Alignas(4096) uint8_t siefp[4096];
	struct synic_vp vp;
};

static struct pages *make_pages(void)
{
	struct pages *p = aligned_alloc(4096, sizeof(*p));

	memset(p, 0, sizeof(*p));
	atomic_store(&p->vp.simp, p->simp);
	atomic_store(&p->vp.siefp, p->siefp);
	atomic_store(&p->vp.unmasked, 1u << 2);
	return p;
}

static void ctl_006_a_slot_is_filled_exactly(void **state)
{
	static const uint8_t expected[] = {1,    0,    0,    0,    12,   0,    0, 0, 0x88, 0x77,
					   0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 2, 0, 0,    0,
					   0,    0,    0,    0,    5,    0,    0, 0};
	struct pages *p = make_pages();
	uint8_t rescind[12] = {2, 0, 0, 0, 0, 0, 0, 0, 5};

	p->simp[0x205] = 1; /* left over from the last message */
	assert_int_equal(synic_deliver(&p->vp, 2, 1, 0x1122334455667788, rescind, 12), 0);
	assert_memory_equal(p->simp + 0x200, expected, sizeof(expected));
	for (uint32_t i = 0; i < 4096; i++)
		if (i < 0x200 || i >= 0x200 + 32)
			assert_int_equal(p->simp[i], 0);
	free(p);
}

static void ctl_007_a_full_slot_is_marked_and_left(void **state)
{
	struct pages *p = make_pages();
	uint8_t copy[256];

	assert_int_equal(synic_deliver(&p->vp, 2, 1, 0, "first message", 13), 0);
	memcpy(copy, p->simp + 0x200, 256);
	assert_int_equal(synic_deliver(&p->vp, 2, 1, 0, "second", 6), -EAGAIN);
	copy[5] |= 1;
	assert_memory_equal(p->simp + 0x200, copy, 256);
	memset(p->simp + 0x200, 0, 4);
	assert_int_equal(synic_deliver(&p->vp, 2, 1, 0, "second", 6), 0);
	assert_int_equal(p->simp[0x205] & 1, 0);
	free(p);
}

static void no_delivery_without_page_or_to_a_masked_sint(void **state)
{
	struct pages *p = make_pages();
	static struct synic_vp none;

	assert_int_equal(synic_deliver(&none, 2, 1, 0, "x", 1), -ENODEV);
	assert_int_equal(synic_set_flag(&none, 2, 1), -ENODEV);
	assert_int_equal(synic_deliver(&p->vp, 3, 1, 0, "x", 1), -EAGAIN);
	assert_int_equal(synic_deliver(&p->vp, 16, 1, 0, "x", 1), -ENODEV);
	assert_int_equal(synic_deliver(&p->vp, 2, 1, 0, p->siefp, 241), -ENODEV);
	assert_int_equal(synic_set_flag(&p->vp, 2, 2048), -ENODEV);
	for (uint32_t i = 0; i < 4096; i++)
		assert_int_equal(p->simp[i] | p->siefp[i], 0);
	free(p);
}

static void put_slot(struct pages *p, uint32_t type, uint8_t size, uint8_t flags, const void *bytes,
		     size_t n)
{
	uint8_t *s = p->simp + 0x200;

	memset(s, 0, 256);
	vmbus_put32(s, type);
	s[4] = size;
	s[5] = flags;
	memcpy(s + 16, bytes, n);
}

static void ctl_010_bad_slots_are_emptied(void **state)
{
	static const struct {
		uint32_t type;
		uint8_t size;
		enum synic_take expected;
	} rows[] = {
		{0, 12, SYNIC_EMPTY},        {1, 12, SYNIC_MESSAGE}, {1, 240, SYNIC_MESSAGE},
		{1, 241, SYNIC_BAD},         {1, 255, SYNIC_BAD},    {2, 12, SYNIC_BAD},
		{0x80000010, 24, SYNIC_BAD}, {1, 0, SYNIC_MESSAGE},
	};
	struct pages *p = make_pages();
	struct hv_message m;
	bool eom;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put_slot(p, rows[i].type, rows[i].size, 0, "hello", 5);
		assert_int_equal(synic_take(p->simp, 2, &m, &eom), rows[i].expected);
		assert_false(eom);
		assert_int_equal(vmbus_get32(p->simp + 0x200), 0);
		if (rows[i].expected == SYNIC_MESSAGE) {
			assert_int_equal(m.size, rows[i].size);
			assert_memory_equal(m.payload, "hello", 5);
		}
	}
	free(p);
}

static void ctl_011_pending_asks_for_the_end_of_message(void **state)
{
	struct pages *p = make_pages();
	struct hv_message m;
	bool eom;

	put_slot(p, 1, 8, 1, "", 0);
	assert_int_equal(synic_take(p->simp, 2, &m, &eom), SYNIC_MESSAGE);
	assert_true(eom);
	put_slot(p, 1, 250, 1, "", 0);
	assert_int_equal(synic_take(p->simp, 2, &m, &eom), SYNIC_BAD);
	assert_true(eom);
	put_slot(p, 1, 8, 0xfe, "", 0);
	assert_int_equal(synic_take(p->simp, 2, &m, &eom), SYNIC_MESSAGE);
	assert_false(eom);
	free(p);
}

/* The host flips the size, and the first and last byte with it, while slots are taken. */
struct scribble {
	struct pages *p;
	atomic_bool stop;
};

static void *scribble(void *arg)
{
	struct scribble *s = arg;
	uint8_t *slot = s->p->simp + 0x200;

	for (uint32_t i = 0; !atomic_load(&s->stop); i++) {
		__atomic_store_n(slot + 4, i & 1 ? 255 : 240, __ATOMIC_RELAXED);
		__atomic_store_n((uint32_t *)(void *)slot, i & 2 ? 1 : 0x80000010,
				 __ATOMIC_RELAXED);
		__atomic_store_n(slot + 16, (uint8_t)i, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void ctl_012_only_the_private_copy_counts(void **state)
{
	struct scribble s = {.p = make_pages()};
	struct hv_message m;
	pthread_t thread;
	uint32_t messages = 0, bad = 0;
	uint64_t until;
	bool eom;

	put_slot(s.p, 1, 12, 0, "one message.", 12);
	assert_int_equal(synic_take(s.p->simp, 2, &m, &eom), SYNIC_MESSAGE);
	memset(s.p->simp + 0x200, 0xff, 256);
	assert_int_equal(m.size, 12);
	assert_memory_equal(m.payload, "one message.", 12);
	memset(s.p->simp + 0x200, 0, 256);
	assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
	until = clock_now_ns() + DEADLINE_NS;
	for (uint32_t i = 0; i < 200000 || ((!messages || !bad) && clock_now_ns() < until); i++) {
		switch (synic_take(s.p->simp, 2, &m, &eom)) {
		case SYNIC_EMPTY:
			break;
		case SYNIC_MESSAGE:
			/* What was judged is what is handed on. */
			assert_int_equal(m.type, 1);
			assert_true(m.size <= 240);
			messages++;
			break;
		case SYNIC_BAD:
			assert_true(m.type != 1 || m.size > 240);
			bad++;
			break;
		}
	}
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	assert_true(messages && bad);
	free(s.p);
}

static void ctl_113_a_flag_interrupts_on_its_first_setting(void **state)
{
	struct pages *p = make_pages();

	assert_int_equal(synic_set_flag(&p->vp, 2, 2047), 1);
	assert_int_equal(p->siefp[0x2ff], 0x80);
	assert_int_equal(synic_set_flag(&p->vp, 2, 2047), 0);
	assert_int_equal(synic_set_flag(&p->vp, 2, 9), 1);
	assert_int_equal(p->siefp[0x201], 0x02);
	/* Of a masked SINT the flag is set, and nobody interrupted. */
	assert_int_equal(synic_set_flag(&p->vp, 5, 9), 0);
	assert_int_equal(p->siefp[0x501], 0x02);
	atomic_fetch_or(&p->vp.unmasked, 1u << 5);
	assert_int_equal(synic_set_flag(&p->vp, 5, 10), 1);
	assert_int_equal(p->siefp[0x501], 0x06);
	p->siefp[0x2ff] = 0;
	assert_int_equal(synic_set_flag(&p->vp, 2, 2047), 1);
	assert_true(hv_flags_take(synic_flags(p->siefp, 2), 31) == 1ull << 63);
	assert_int_equal(p->siefp[0x2ff], 0);
	assert_int_equal(p->siefp[0x201], 0x02);
	free(p);
}

/* Host and guest at full speed: nothing is lost, nothing doubled, and the host is always told when
 * it waits. */
struct traffic {
	struct pages *p;
	struct part_event end_of_message;
	uint32_t count;
	bool hung;
};

static void *send_traffic(void *arg)
{
	struct traffic *t = arg;

	for (uint32_t i = 0; i < t->count && !t->hung; i++) {
		uint8_t bytes[8] = {0};

		vmbus_put32(bytes, i);
		while (synic_deliver(&t->p->vp, 2, 1, 0, bytes, 8) == -EAGAIN)
			if (!part_event_wait(&t->end_of_message, 5000000000u)) {
				t->hung = true;
				break;
			}
	}
	return NULL;
}

static void ctl_007_011_a_waiting_host_is_always_told(void **state)
{
	struct traffic t = {.p = make_pages(), .count = 200000};
	uint64_t until = clock_now_ns() + 3 * DEADLINE_NS;
	struct hv_message m;
	pthread_t thread;
	uint32_t next = 0;
	bool eom;

	assert_int_equal(pthread_create(&thread, NULL, send_traffic, &t), 0);
	while (next < t.count && clock_now_ns() < until) {
		if (synic_take(t.p->simp, 2, &m, &eom) != SYNIC_MESSAGE)
			continue;
		if (vmbus_get32(m.payload) != next)
			break;
		next++;
		if (eom)
			part_event_raise(&t.end_of_message);
	}
	pthread_join(thread, NULL);
	assert_false(t.hung);
	assert_int_equal(next, t.count);
	free(t.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctl_006_a_slot_is_filled_exactly),
		cmocka_unit_test(ctl_007_a_full_slot_is_marked_and_left),
		cmocka_unit_test(no_delivery_without_page_or_to_a_masked_sint),
		cmocka_unit_test(ctl_010_bad_slots_are_emptied),
		cmocka_unit_test(ctl_011_pending_asks_for_the_end_of_message),
		cmocka_unit_test(ctl_012_only_the_private_copy_counts),
		cmocka_unit_test(ctl_113_a_flag_interrupts_on_its_first_setting),
		cmocka_unit_test(ctl_007_011_a_waiting_host_is_always_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
