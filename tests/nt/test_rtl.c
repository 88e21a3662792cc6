/* SPDX-License-Identifier: MIT */
/* Strings, numbers, GUIDs, lists, interlocked operations, names of statuses. */
#include "nt_test.h"

#define W(s) ((PCWSTR)u##s)

static void expect(PCUNICODE_STRING s, const char *text)
{
	assert_int_equal(s->Length, 2 * strlen(text));
	for (size_t i = 0; text[i]; i++)
		assert_int_equal(s->Buffer[i], text[i]);
}

static void strings_are_initialised(void **state)
{
	UNICODE_STRING u;
	ANSI_STRING a;

	RtlInitUnicodeString(&u, W("abc"));
	assert_int_equal(u.Length, 6);
	assert_int_equal(u.MaximumLength, 8);
	RtlInitUnicodeString(&u, NULL);
	assert_int_equal(u.Length, 0);
	assert_int_equal(u.MaximumLength, 0);
	assert_null(u.Buffer);
	RtlInitAnsiString(&a, "abcd");
	assert_int_equal(a.Length, 4);
	assert_int_equal(a.MaximumLength, 5);
}

static void longest_string_is_cut(void **state)
{
	WCHAR *text = calloc(40001, sizeof(*text));
	UNICODE_STRING u;

	for (int i = 0; i < 40000; i++)
		text[i] = 'x';
	RtlInitUnicodeString(&u, text);
	assert_int_equal(u.Length, 65532);
	assert_int_equal(u.MaximumLength, 65534);
	free(text);
}

static void copy_cuts_and_terminates(void **state)
{
	DECLARE_UNICODE_STRING_SIZE(to, 4);
	UNICODE_STRING from;

	to_buffer[2] = to_buffer[3] = 'z';
	RtlInitUnicodeString(&from, W("ab"));
	RtlCopyUnicodeString(&to, &from);
	expect(&to, "ab");
	assert_int_equal(to_buffer[2], 0);
	assert_int_equal(to_buffer[3], 'z');
	RtlInitUnicodeString(&from, W("abcdef"));
	RtlCopyUnicodeString(&to, &from);
	expect(&to, "abcd");
	RtlCopyUnicodeString(&to, NULL);
	assert_int_equal(to.Length, 0);
}

static void append_needs_room(void **state)
{
	DECLARE_UNICODE_STRING_SIZE(to, 5);
	UNICODE_STRING more;

	assert_int_equal(RtlAppendUnicodeToString(&to, W("ab")), STATUS_SUCCESS);
	RtlInitUnicodeString(&more, W("cd"));
	assert_int_equal(RtlAppendUnicodeStringToString(&to, &more), STATUS_SUCCESS);
	expect(&to, "abcd");
	assert_int_equal(to_buffer[4], 0);
	assert_int_equal(RtlAppendUnicodeStringToString(&to, &more), STATUS_BUFFER_TOO_SMALL);
	expect(&to, "abcd");
	assert_int_equal(RtlAppendUnicodeToString(&to, W("e")), STATUS_SUCCESS);
	expect(&to, "abcde");
	assert_int_equal(RtlAppendUnicodeToString(&to, NULL), STATUS_SUCCESS);
}

static void comparison(void **state)
{
	UNICODE_STRING a, b, c;

	RtlInitUnicodeString(&a, W("Hello"));
	RtlInitUnicodeString(&b, W("hELLO"));
	RtlInitUnicodeString(&c, W("Hello2"));
	assert_true(RtlEqualUnicodeString(&a, &b, TRUE));
	assert_false(RtlEqualUnicodeString(&a, &b, FALSE));
	assert_false(RtlEqualUnicodeString(&a, &c, TRUE));
	assert_true(RtlCompareUnicodeString(&a, &b, FALSE) < 0);
	assert_true(RtlCompareUnicodeString(&c, &a, TRUE) > 0);
	assert_int_equal(RtlCompareUnicodeString(&a, &b, TRUE), 0);
}

static NTSTATUS parse(PCWSTR text, ULONG base, PULONG value)
{
	UNICODE_STRING s;

	RtlInitUnicodeString(&s, text);
	return RtlUnicodeStringToInteger(&s, base, value);
}

static void numbers_are_read(void **state)
{
	static const struct {
		PCWSTR text;
		ULONG base, value;
	} cases[] = {
		{W("0"), 10, 0},         {W("4294967295"), 0, 0xffffffffu},
		{W("0x1F"), 0, 0x1f},    {W("0o17"), 0, 15},
		{W("0b101"), 0, 5},      {W("ff"), 16, 255},
		{W("-5"), 0, (ULONG)-5}, {W("+7"), 0, 7},
		{W("  12abc"), 10, 12},  {W("777"), 8, 511},
		{W(""), 10, 0},
	};
	ULONG value;

	for (size_t i = 0; i < ARRAYSIZE(cases); i++) {
		value = 99;
		assert_int_equal(parse(cases[i].text, cases[i].base, &value), STATUS_SUCCESS);
		assert_int_equal(value, cases[i].value);
	}
	assert_int_equal(parse(W("1"), 7, &value), STATUS_INVALID_PARAMETER);
}

static void numbers_are_written(void **state)
{
	DECLARE_UNICODE_STRING_SIZE(s, 10);

	assert_int_equal(RtlIntegerToUnicodeString(0, 10, &s), STATUS_SUCCESS);
	expect(&s, "0");
	assert_int_equal(RtlIntegerToUnicodeString(0xffffffffu, 0, &s), STATUS_SUCCESS);
	expect(&s, "4294967295");
	assert_int_equal(RtlIntegerToUnicodeString(0xBEEF, 16, &s), STATUS_SUCCESS);
	expect(&s, "BEEF");
	assert_int_equal(s_buffer[4], 0);
	assert_int_equal(RtlIntegerToUnicodeString(0x7ff, 2, &s), STATUS_BUFFER_OVERFLOW);
	assert_int_equal(RtlIntegerToUnicodeString(1, 3, &s), STATUS_INVALID_PARAMETER);
}

static void ansi_becomes_unicode(void **state)
{
	DECLARE_UNICODE_STRING_SIZE(small, 5);
	size_t blocks, bytes;
	UNICODE_STRING u;
	ANSI_STRING a;

	RtlInitAnsiString(&a, "text\xe9");
	assert_int_equal(RtlAnsiStringToUnicodeString(&u, &a, TRUE), STATUS_SUCCESS);
	assert_int_equal(u.Length, 10);
	assert_int_equal(u.Buffer[4], 0xe9);
	assert_int_equal(u.Buffer[5], 0);
	nt_pool_usage(NULL, &blocks, &bytes);
	assert_int_equal(blocks, 1);
	RtlFreeUnicodeString(&u);
	assert_null(u.Buffer);
	RtlFreeUnicodeString(&u);
	nt_pool_usage(NULL, &blocks, &bytes);
	assert_int_equal(blocks, 0);
	assert_int_equal(RtlAnsiStringToUnicodeString(&small, &a, FALSE), STATUS_BUFFER_OVERFLOW);
	a.Length = 4;
	assert_int_equal(RtlAnsiStringToUnicodeString(&small, &a, FALSE), STATUS_SUCCESS);
	expect(&small, "text");
}

static const GUID example = {
	0x12345678, 0x9abc, 0xdef0, {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}};

static void guids_go_to_text_and_back(void **state)
{
	UNICODE_STRING s;
	GUID g;

	assert_int_equal(RtlStringFromGUID(&example, &s), STATUS_SUCCESS);
	expect(&s, "{12345678-9abc-def0-0123-456789abcdef}");
	memset(&g, 0, sizeof(g));
	assert_int_equal(RtlGUIDFromString(&s, &g), STATUS_SUCCESS);
	assert_true(IsEqualGUID(&g, &example));
	RtlFreeUnicodeString(&s);
	RtlInitUnicodeString(&s, W("{12345678-9ABC-DEF0-0123-456789ABCDEF}"));
	memset(&g, 0, sizeof(g));
	assert_int_equal(RtlGUIDFromString(&s, &g), STATUS_SUCCESS);
	assert_true(IsEqualGUID(&g, &example));
}

static void what_is_no_guid_is_refused(void **state)
{
	static const PCWSTR wrong[] = {
		W(""),
		W("12345678-9abc-def0-0123-456789abcdef"),
		W("{12345678-9abc-def0-0123-456789abcdef"),
		W("{12345678-9abc-def0-0123-456789abcdeg}"),
		W("{12345678-9abc-def0 0123-456789abcdef}"),
		W("{12345678-9abc-def0-0123-456789abcdef} "),
	};
	UNICODE_STRING s;
	GUID g;

	for (size_t i = 0; i < ARRAYSIZE(wrong); i++) {
		g = example;
		RtlInitUnicodeString(&s, wrong[i]);
		assert_int_equal(RtlGUIDFromString(&s, &g), STATUS_INVALID_PARAMETER);
		assert_true(IsEqualGUID(&g, &example));
	}
}

static void memory_functions(void **state)
{
	char a[16] = "same, then this", b[16] = "same, then that";

	assert_int_equal(RtlCompareMemory(a, b, 16), 13);
	assert_int_equal(RtlCompareMemory(a, a, 16), 16);
	assert_false(RtlEqualMemory(a, b, 16));
	RtlSecureZeroMemory(a, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++)
		assert_int_equal(a[i], 0);
	RtlFillMemory(a, 4, 'x');
	assert_memory_equal(a, "xxxx", 5);
	RtlMoveMemory(a + 1, a, 4);
	assert_memory_equal(a, "xxxxx", 6);
}

struct item {
	LIST_ENTRY entry;
	SINGLE_LIST_ENTRY single;
	int number;
};

static int number_of(PLIST_ENTRY entry)
{
	return CONTAINING_RECORD(entry, struct item, entry)->number;
}

static void lists(void **state)
{
	struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
	SINGLE_LIST_ENTRY stack = {NULL};
	LIST_ENTRY head;

	InitializeListHead(&head);
	assert_true(IsListEmpty(&head));
	InsertTailList(&head, &items[1].entry);
	InsertTailList(&head, &items[2].entry);
	InsertHeadList(&head, &items[0].entry);
	assert_int_equal(number_of(head.Flink), 0);
	assert_int_equal(number_of(RemoveTailList(&head)), 2);
	assert_int_equal(number_of(RemoveHeadList(&head)), 0);
	assert_true(RemoveEntryList(&items[1].entry));
	assert_true(IsListEmpty(&head));
	for (int i = 0; i < 3; i++)
		PushEntryList(&stack, &items[i].single);
	for (int i = 2; i >= 0; i--)
		assert_ptr_equal(PopEntryList(&stack), &items[i].single);
	assert_null(PopEntryList(&stack));
}

static void interlocked_operations_return_what_windows_does(void **state)
{
	int a, b;
	PVOID p = &a;
	LONG64 n = 5;
	LONG l = 5;

	assert_int_equal(InterlockedIncrement(&l), 6);
	assert_int_equal(InterlockedDecrement(&l), 5);
	assert_int_equal(InterlockedExchange(&l, 7), 5);
	assert_int_equal(InterlockedExchangeAdd(&l, 3), 7);
	assert_int_equal(InterlockedAdd(&l, 2), 12);
	assert_int_equal(InterlockedCompareExchange(&l, 1, 11), 12);
	assert_int_equal(l, 12);
	assert_int_equal(InterlockedCompareExchange(&l, 1, 12), 12);
	assert_int_equal(InterlockedOr(&l, 6), 1);
	assert_int_equal(InterlockedAnd(&l, 3), 7);
	assert_int_equal(InterlockedXor(&l, 1), 3);
	assert_int_equal(l, 2);
	assert_int_equal(InterlockedIncrement64(&n), 6);
	assert_int_equal(InterlockedDecrement64(&n), 5);
	assert_int_equal(InterlockedExchangeAdd64(&n, 1), 5);
	assert_int_equal(InterlockedAdd64(&n, 1), 7);
	assert_int_equal(InterlockedExchange64(&n, 9), 7);
	assert_int_equal(InterlockedCompareExchange64(&n, 1, 9), 9);
	assert_ptr_equal(InterlockedExchangePointer(&p, &b), &a);
	assert_ptr_equal(InterlockedCompareExchangePointer(&p, &a, &b), &b);
	assert_ptr_equal(p, &a);
}

static void failed_assertion_is_a_violation(void **state)
{
	KIRQL old;

	NT_ASSERT(1 + 1 == 2);
	assert_int_equal(atomic_load(&violations.count), 0);
	NT_ASSERT(1 + 1 == 3);
	EXPECT_VIOLATION("assertion", "1 + 1 == 3");
	PAGED_CODE();
	old = KeRaiseIrqlToDpcLevel();
	PAGED_CODE();
	KeLowerIrql(old);
	EXPECT_VIOLATION("assertion", "KeGetCurrentIrql");
}

static void statuses_have_names(void **state)
{
	assert_string_equal(nt_status_name(STATUS_SUCCESS), "STATUS_SUCCESS");
	assert_string_equal(nt_status_name(STATUS_DEVICE_REMOVED), "STATUS_DEVICE_REMOVED");
	assert_string_equal(nt_status_name(STATUS_PENDING), "STATUS_PENDING");
	assert_null(nt_status_name((NTSTATUS)0xcfffffff));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORDED(strings_are_initialised),
		RECORDED(longest_string_is_cut),
		RECORDED(copy_cuts_and_terminates),
		RECORDED(append_needs_room),
		RECORDED(comparison),
		RECORDED(numbers_are_read),
		RECORDED(numbers_are_written),
		RECORDED(ansi_becomes_unicode),
		RECORDED(guids_go_to_text_and_back),
		RECORDED(what_is_no_guid_is_refused),
		RECORDED(memory_functions),
		RECORDED(lists),
		RECORDED(interlocked_operations_return_what_windows_does),
		RECORDED(failed_assertion_is_a_violation),
		RECORDED(statuses_have_names),
	};

	return cmocka_run_group_tests_name("nt-rtl", tests, NULL, end_threads);
}
