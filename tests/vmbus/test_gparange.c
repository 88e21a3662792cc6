/* SPDX-License-Identifier: MIT */
/* Page range lists: what is sound, and that walking anything stays inside the words. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "vmbus/gparange.h"

static uint64_t head(uint32_t count, uint32_t offset)
{
	return count | (uint64_t)offset << 32;
}

/* In memory of exactly that size, so that a sanitizer sees a step too far. */
static enum vmbus_status validate(const uint64_t *words, size_t n, uint32_t ranges, uint32_t max,
				  uint32_t *pages)
{
	uint64_t *copy = malloc(n ? n * sizeof(*copy) : 1);
	enum vmbus_status status;

	assert_non_null(copy);
	memcpy(copy, words, n * sizeof(*copy));
	status = vmbus_gparange_validate(copy, n, ranges, max, pages);
	free(copy);
	return status;
}

static void ring_021_ranges_that_are_not_sound(void **state)
{
	static const struct {
		uint32_t count, offset, pages; /* page numbers that follow */
		bool good;
	} cases[] = {
		{1, 0, 1, true},
		{1, 0xfff, 1, true},
		{2, 0xfff, 2, true},
		{4096, 0, 1, true},
		{4097, 0, 2, true},
		{4096, 1, 2, true},
		{0, 0, 1, false},
		{0, 5, 1, false},
		{1, 0x1000, 2, false},
		{1, 0x1001, 2, false},
		{1, 0xffffffff, 2, false},
		{0xffffffff, 0xffffffff, 3, false},
		{0xffffffff, 0xfff, 3, false},
		{0xffffffff, 0, 3, false},
		{0xfffff001, 0xfff, 3, false},
		{4097, 0, 1, false},
		{4096, 1, 1, false},
		{2, 0xfff, 1, false},
		{1, 0, 0, false},
		{4096 * 6, 0, 5, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t words[16] = {head(cases[i].count, cases[i].offset)};
		uint32_t pages = 77;

		assert_int_equal(validate(words, 1 + cases[i].pages, 1, 1000, &pages),
				 cases[i].good ? VMBUS_OK : VMBUS_E_INVALID);
		assert_int_equal(pages, cases[i].good ? cases[i].pages : 77);
		/* behind a good one it is as bad */
		memmove(words + 2, words, 8 * sizeof(*words));
		words[0] = head(8, 8);
		assert_int_equal(validate(words, 3 + cases[i].pages, 2, 1000, &pages),
				 cases[i].good ? VMBUS_OK : VMBUS_E_INVALID);
	}
}

static void ring_021_every_size_and_offset_counts_its_pages(void **state)
{
	for (uint32_t offset = 0; offset < 4096; offset += 15)
		for (uint32_t count = 1; count < 20000; count += 333) {
			uint32_t want = (offset + count + 4095) / 4096, pages;
			uint64_t words[8] = {head(count, offset)};

			assert_int_equal(validate(words, 1 + want, 1, want, &pages), VMBUS_OK);
			assert_int_equal(pages, want);
			assert_int_equal(validate(words, want, 1, want, &pages), VMBUS_E_INVALID);
		}
}

static void limits_hold_over_all_ranges(void **state)
{
	const uint64_t words[] = {head(8192, 0), 1, 2, head(4096, 0), 3, head(1, 0), 4};
	uint32_t pages;

	assert_int_equal(validate(words, 7, 3, 4, &pages), VMBUS_OK);
	assert_int_equal(pages, 4);
	assert_int_equal(validate(words, 7, 3, 3, &pages), VMBUS_E_LIMIT);
	assert_int_equal(validate(words, 7, 1, 1, &pages), VMBUS_E_LIMIT);
	assert_int_equal(validate(words, 7, 0, 9, &pages), VMBUS_E_INVALID);
	assert_int_equal(validate(words, 7, 4, 9, &pages), VMBUS_E_INVALID);
	assert_int_equal(validate(words, 7, UINT32_MAX, 9, &pages), VMBUS_E_INVALID);
	assert_int_equal(validate(words, 0, 1, 9, &pages), VMBUS_E_INVALID);
}

static void ring_022_slack_behind_the_last_range(void **state)
{
	uint64_t words[40] = {head(4096, 0), 0x11, head(100, 4000), 0x22};
	struct vmbus_gpa_range_iter it;
	struct vmbus_gpa_range range;
	uint32_t pages;

	for (int garbage = 0; garbage < 2; garbage++)
		for (size_t slack = 0; slack < 35; slack++) {
			if (garbage)
				memset(words + 5, 0xff, sizeof(words) - 40);
			words[4] = 0x33;
			assert_int_equal(validate(words, 5 + slack, 2, 3, &pages), VMBUS_OK);
			assert_int_equal(pages, 3);
			vmbus_gpa_range_begin(&it, words, 5 + slack, 2);
			assert_true(vmbus_gpa_range_next(&it, &range));
			assert_true(vmbus_gpa_range_next(&it, &range));
			assert_int_equal(range.page_count, 2);
			assert_int_equal(range.pfns[1], 0x33);
			assert_false(vmbus_gpa_range_next(&it, &range));
		}
}

static void random_words_never_lead_outside(void **state)
{
	uint32_t seed = 5, good = 0;

	for (int i = 0; i < 100000; i++) {
		uint64_t words[12];
		uint32_t n, pages = 0;

		for (n = 0; n < 12; n++) {
			seed = seed * 1103515245 + 12345;
			words[n] = head((seed >> 8) % 20000, seed % 7 ? 0 : seed >> 18);
		}
		n = (seed >> 20) % 13;
		if (validate(words, n, 1 + (seed >> 24) % 4, 50, &pages) == VMBUS_OK) {
			good++;
			assert_true(pages < n);
		}
	}
	assert_true(good > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_021_ranges_that_are_not_sound),
		cmocka_unit_test(ring_021_every_size_and_offset_counts_its_pages),
		cmocka_unit_test(limits_hold_over_all_ranges),
		cmocka_unit_test(ring_022_slack_behind_the_last_range),
		cmocka_unit_test(random_words_never_lead_outside),
	};

	return cmocka_run_group_tests_name("gparange", tests, NULL, NULL);
}
