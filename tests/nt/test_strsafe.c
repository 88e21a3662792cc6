/* SPDX-License-Identifier: MIT */
/* Bounded strings. */
#include "nt_test.h"

#include <ntstrsafe.h>

#define W(...) ((const WCHAR[]){__VA_ARGS__, 0})

static void assert_wide(const WCHAR *text, const char *expected)
{
	size_t n = strlen(expected);

	for (size_t i = 0; i <= n; i++)
		assert_int_equal(text[i], (unsigned char)expected[i]);
}

static void formats_cut_and_terminate(void **state)
{
	char text[6];
	WCHAR wide[6];

	assert_int_equal(RtlStringCchPrintfA(text, sizeof(text), "%d", 12345), STATUS_SUCCESS);
	assert_string_equal(text, "12345");
	assert_int_equal(RtlStringCbPrintfA(text, sizeof(text), "%d", 123456),
			 STATUS_BUFFER_OVERFLOW);
	assert_string_equal(text, "12345");
	assert_false(NT_SUCCESS(STATUS_BUFFER_OVERFLOW));
	assert_int_equal(RtlStringCchPrintfW(wide, 6, W('%', 's'), W('a', 'b', 'c')),
			 STATUS_SUCCESS);
	assert_wide(wide, "abc");
	assert_int_equal(RtlStringCbPrintfW(wide, sizeof(wide), W('%', 'x'), 0x123456),
			 STATUS_BUFFER_OVERFLOW);
	assert_wide(wide, "12345");
	assert_int_equal(RtlStringCchPrintfA(text, 0, "x"), STATUS_INVALID_PARAMETER);
	assert_int_equal(RtlStringCbPrintfW(wide, 1, W('x')), STATUS_INVALID_PARAMETER);
	assert_int_equal(RtlStringCchPrintfA(text, (size_t)NTSTRSAFE_MAX_CCH + 1, "x"),
			 STATUS_INVALID_PARAMETER);
	assert_string_equal(text, "12345");
}

static void copies_cut_and_terminate(void **state)
{
	char text[4] = "zzz";
	WCHAR wide[4];

	assert_int_equal(RtlStringCchCopyA(text, 4, "abc"), STATUS_SUCCESS);
	assert_string_equal(text, "abc");
	assert_int_equal(RtlStringCbCopyA(text, 4, "defg"), STATUS_BUFFER_OVERFLOW);
	assert_string_equal(text, "def");
	assert_int_equal(RtlStringCbCopyW(wide, sizeof(wide), W('1', '2', '3', '4')),
			 STATUS_BUFFER_OVERFLOW);
	assert_wide(wide, "123");
	assert_int_equal(RtlStringCchCopyNA(text, 4, "abcdef", 3), STATUS_SUCCESS);
	assert_string_equal(text, "abc");
	assert_int_equal(RtlStringCchCopyNA(text, 4, "abcdef", 4), STATUS_BUFFER_OVERFLOW);
	assert_int_equal(RtlStringCbCopyNW(wide, 8, W('5', '6', '7'), 4), STATUS_SUCCESS);
	assert_wide(wide, "56");
	assert_int_equal(RtlStringCchCopyNA(text, 4, "abc", (size_t)NTSTRSAFE_MAX_CCH + 1),
			 STATUS_INVALID_PARAMETER);
	assert_string_equal(text, "");
	assert_int_equal(RtlStringCchCopyW(wide, 0, W('x')), STATUS_INVALID_PARAMETER);
}

/* Of a source that has no end no more is read than fits. */
static void no_more_is_read_than_fits(void **state)
{
	char *source = malloc(4), text[4];

	memcpy(source, "abcd", 4); /* a sanitizer sees a fifth byte being read */
	assert_int_equal(RtlStringCchCopyA(text, 4, source), STATUS_BUFFER_OVERFLOW);
	assert_string_equal(text, "abc");
	free(source);
}

static void appends_behind_what_is_there(void **state)
{
	char text[6] = "ab", full[3] = {'x', 'y', 'z'};
	WCHAR wide[6] = {'a', 'b', 0};

	assert_int_equal(RtlStringCchCatA(text, 6, "cd"), STATUS_SUCCESS);
	assert_string_equal(text, "abcd");
	assert_int_equal(RtlStringCbCatA(text, 6, "ef"), STATUS_BUFFER_OVERFLOW);
	assert_string_equal(text, "abcde");
	assert_int_equal(RtlStringCchCatNW(wide, 6, W('c', 'd', 'e'), 2), STATUS_SUCCESS);
	assert_wide(wide, "abcd");
	assert_int_equal(RtlStringCbCatW(wide, sizeof(wide), W('e', 'f')), STATUS_BUFFER_OVERFLOW);
	assert_wide(wide, "abcde");
	assert_int_equal(RtlStringCchCatA(full, 3, "a"), STATUS_INVALID_PARAMETER);
	assert_memory_equal(full, "xyz", 3);
}

static void lengths_need_an_end(void **state)
{
	const char text[4] = {'a', 'b', 'c', 'd'};
	size_t n = 77;

	assert_int_equal(RtlStringCchLengthA("abc", 4, &n), STATUS_SUCCESS);
	assert_int_equal(n, 3);
	assert_int_equal(RtlStringCbLengthW(W('a', 'b'), 6, &n), STATUS_SUCCESS);
	assert_int_equal(n, 4);
	assert_int_equal(RtlStringCchLengthA(text, 4, &n), STATUS_INVALID_PARAMETER);
	assert_int_equal(n, 0);
	n = 77;
	assert_int_equal(RtlStringCchLengthW(NULL, 4, &n), STATUS_INVALID_PARAMETER);
	assert_int_equal(n, 0);
	assert_int_equal(RtlStringCbLengthA("", 1, NULL), STATUS_SUCCESS);
	assert_int_equal(RtlStringCchLengthA("", 0, NULL), STATUS_INVALID_PARAMETER);
}

static void counted_strings_are_replaced(void **state)
{
	WCHAR room[4] = {'z', 'z', 'z', 'z'};
	UNICODE_STRING s = {.MaximumLength = 6, .Buffer = room};

	assert_int_equal(RtlUnicodeStringPrintf(&s, W('%', 'u'), 123), STATUS_SUCCESS);
	assert_int_equal(s.Length, 6);
	assert_int_equal(room[2], '3');
	assert_int_equal(room[3], 'z'); /* no terminator */
	assert_int_equal(RtlUnicodeStringPrintf(&s, W('%', 'u'), 98765), STATUS_BUFFER_OVERFLOW);
	assert_int_equal(s.Length, 6);
	assert_int_equal(room[2], '7');
	assert_int_equal(room[3], 'z');
	s.Buffer = NULL;
	assert_int_equal(RtlUnicodeStringPrintf(&s, W('x')), STATUS_INVALID_PARAMETER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_cut_and_terminate),
		cmocka_unit_test(copies_cut_and_terminate),
		cmocka_unit_test(no_more_is_read_than_fits),
		cmocka_unit_test(appends_behind_what_is_there),
		cmocka_unit_test(lengths_need_an_end),
		cmocka_unit_test(counted_strings_are_replaced),
	};

	return cmocka_run_group_tests_name("nt-strsafe", tests, NULL, end_threads);
}
