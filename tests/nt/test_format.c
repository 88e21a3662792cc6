/* SPDX-License-Identifier: MIT */
/* The kernel's formats, as DbgPrint takes them. */
#include "nt_test.h"

#include "base/log.h"

static char line[600];

static void keep_line(void *ctx, enum kmcl_log_level level, const char *subsystem,
		      uint32_t partition, uint32_t channel, const char *text)
{
	snprintf(line, sizeof(line), "%s", text);
}

#define PRINTS(expected, ...)                                                     \
	do {                                                                      \
		DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, __VA_ARGS__); \
		assert_string_equal(line, "library: " expected);                  \
	} while (0)

static void long_has_32_bits(void **state)
{
	ULONG u = 0xfffffffe;
	LONG l = -2;

	PRINTS("4294967294 -2 fffffffe", "%lu %ld %lx\n", u, l, u);
	PRINTS("c0000225", "%08lx", STATUS_NOT_FOUND);
	PRINTS("-1 255 65535", "%hhd %hhu %hu", -1, -1, -1);
	PRINTS("  42|42  |+42|0042|0x2a", "%4d|%-4d|%+d|%04d|%#x", 42, 42, 42, 42, 42);
	PRINTS("   7|7   |003", "%*d|%-*d|%.*d", 4, 7, 4, 7, 3, 3);
	PRINTS("7  |", "%*d|", -3, 7);
}

static void long_long_has_64_bits(void **state)
{
	LONGLONG big = INT64_C(-1234567890123);
	SIZE_T size = 5000000000u;

	PRINTS("-1234567890123 -1234567890123", "%lld %I64d", big, big);
	PRINTS("5000000000 5000000000 5000000000", "%zu %Iu %I64u", size, size, size);
	PRINTS("7", "%I32u", 7);
	PRINTS("0000000012345678", "%p", (void *)(uintptr_t)0x12345678);
}

static void strings_of_every_kind(void **state)
{
	UNICODE_STRING u = RTL_CONSTANT_STRING(u"counted!");
	ANSI_STRING a = RTL_CONSTANT_STRING("bytes!");

	u.Length -= 2; /* not terminated there */
	a.Length -= 1;
	PRINTS("narrow wide wide wide", "%s %ws %ls %S", "narrow", u"wide", u"wide", u"wide");
	PRINTS("counted bytes", "%wZ %Z", &u, &a);
	PRINTS("(null) (null)", "%s %wZ", NULL, NULL);
	PRINTS("ab   |   ab|a", "%-5s|%5s|%.1s", "ab", "ab", "ab");
	PRINTS("xy%", "%c%wc%%", 'x', u'y');
	PRINTS("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "%ws", u"\u00e4\u20ac\U0001f600");
}

static void lone_surrogates_and_unfinished_directives_are_harmless(void **state)
{
	static const WCHAR lone[] = {0xd800, 'a', 0xdc00, 0xdc01, 0};

	PRINTS("\xef\xbf\xbd"
	       "a\xef\xbf\xbd\xef\xbf\xbd",
	       "%ws", lone);
	PRINTS("end", "end%");
	PRINTS("end", "end%-08.3l");
}

static void long_lines_are_cut(void **state)
{
	char text[2000];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "%s%999999d", text, 1);
	assert_in_range(strlen(line), 100, 520);
	assert_memory_equal(line, "library: xxxx", 13);
}

static int keep(void **state)
{
	kmcl_log_set(keep_line, NULL);
	return record_violations(state);
}

static int forget(void **state)
{
	kmcl_log_set(NULL, NULL);
	return no_violations_left(state);
}

#define KEPT(f) cmocka_unit_test_setup_teardown(f, keep, forget)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KEPT(long_has_32_bits),
		KEPT(long_long_has_64_bits),
		KEPT(strings_of_every_kind),
		KEPT(lone_surrogates_and_unfinished_directives_are_harmless),
		KEPT(long_lines_are_cut),
	};

	return cmocka_run_group_tests_name("nt-format", tests, NULL, end_threads);
}
