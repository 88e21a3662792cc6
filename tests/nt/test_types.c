/* SPDX-License-Identifier: MIT */
/* Widths of the base types and values of statuses, as Windows has them. */
#include "nt_test.h"

#define IS_SIGNED(type)       ((type)-1 < (type)1)
#define WIDTH(type, bytes)    assert_int_equal(sizeof(type), bytes)
#define SIGNED(type, bytes)   (WIDTH(type, bytes), assert_true(IS_SIGNED(type)))
#define UNSIGNED(type, bytes) (WIDTH(type, bytes), assert_false(IS_SIGNED(type)))

static void ddi_002_integers_have_windows_widths(void **state)
{
	UNSIGNED(ULONG, 4);
	SIGNED(LONG, 4);
	UNSIGNED(UINT32, 4);
	SIGNED(INT32, 4);
	UNSIGNED(DWORD, 4);
	SIGNED(NTSTATUS, 4);
	UNSIGNED(BOOLEAN, 1);
	UNSIGNED(UINT8, 1);
	UNSIGNED(UCHAR, 1);
	UNSIGNED(USHORT, 2);
	SIGNED(SHORT, 2);
	UNSIGNED(UINT16, 2);
	UNSIGNED(UINT64, 8);
	UNSIGNED(ULONGLONG, 8);
	UNSIGNED(ULONG64, 8);
	SIGNED(LONGLONG, 8);
	SIGNED(LONG64, 8);
	UNSIGNED(KIRQL, 1);
	WIDTH(WCHAR, 2);
	WIDTH(CHAR, 1);
	WIDTH(*(PULONG)0, 4);
	WIDTH(*(PUINT32)0, 4);
	WIDTH(*(PUINT16)0, 2);
}

static void ddi_002_pointers_and_sizes_are_as_wide_as_a_pointer(void **state)
{
	WIDTH(PVOID, sizeof(void *));
	WIDTH(HANDLE, sizeof(void *));
	WIDTH(*(PHANDLE)0, sizeof(void *));
	UNSIGNED(ULONG_PTR, sizeof(void *));
	SIGNED(LONG_PTR, sizeof(void *));
	UNSIGNED(SIZE_T, sizeof(void *));
	UNSIGNED(PFN_NUMBER, sizeof(void *));
	WIDTH(*(PPFN_NUMBER)0, sizeof(void *));
	assert_int_equal(PAGE_SIZE, 4096);
	assert_int_equal(1 << PAGE_SHIFT, PAGE_SIZE);
}

static void ddi_002_structures_have_windows_layout(void **state)
{
	LARGE_INTEGER n = {.QuadPart = -2};

	WIDTH(LARGE_INTEGER, 8);
	WIDTH(*(PLARGE_INTEGER)0, 8);
	assert_int_equal(n.LowPart, 0xfffffffeu);
	assert_int_equal(n.HighPart, -1);
	assert_int_equal(n.u.LowPart, n.LowPart);
	WIDTH(GUID, 16);
	WIDTH(*(LPGUID)0, 16);
	WIDTH(*(LPCGUID)0, 16);
	assert_int_equal(offsetof(GUID, Data4), 8);
	WIDTH(UNICODE_STRING, 16);
	assert_int_equal(offsetof(UNICODE_STRING, Buffer), 8);
	WIDTH(*((PCUNICODE_STRING)0)->Buffer, 2);
	WIDTH(INTERFACE, 32);
	assert_int_equal(offsetof(INTERFACE, Version), 2);
	assert_int_equal(offsetof(INTERFACE, Context), 8);
	assert_int_equal(offsetof(INTERFACE, InterfaceReference), 16);
	assert_int_equal(offsetof(INTERFACE, InterfaceDereference), 24);
	WIDTH(LIST_ENTRY, 16);
}

/* Declared as published headers do: the annotations must vanish. */
_Must_inspect_result_ static NTSTATUS FASTCALL
annotated(_In_ PVOID In, _In_opt_ PVOID InOptional, _Out_ PULONG Out, _Out_opt_ PULONG OutOptional,
	  _Inout_ PULONG InOut, _In_reads_bytes_(Length) const VOID *Buffer, _In_ ULONG Length,
	  __drv_freesMem(Mem) PVOID Freed, __drv_aliasesMem PVOID Aliased);

static NTSTATUS FASTCALL annotated(PVOID In, PVOID InOptional, PULONG Out, PULONG OutOptional,
				   PULONG InOut, const VOID *Buffer, ULONG Length, PVOID Freed,
				   PVOID Aliased)
{
	UNREFERENCED_PARAMETER(In);
	*Out = Length;
	*InOut += Length;
	return STATUS_SUCCESS;
}

FORCEINLINE ULONG inlined(ULONG n)
{
	return n + 1;
}

static void ddi_002_annotations_vanish(void **state)
{
	/* without them the two types are the same */
	NTSTATUS(*plain)
	(PVOID, PVOID, PULONG, PULONG, PULONG, const VOID *, ULONG, PVOID, PVOID) = annotated;
	ULONG out = 0, in_out = 3;

	assert_int_equal(plain(NULL, NULL, &out, NULL, &in_out, NULL, 4, NULL, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(out, 4);
	assert_int_equal(in_out, 7);
	assert_int_equal(inlined(1), 2);
}

static void ddi_011_success_is_what_is_not_negative(void **state)
{
	assert_true(NT_SUCCESS(0));
	assert_true(NT_SUCCESS(0x103));
	assert_true(NT_SUCCESS(0x40000000)); /* informational */
	assert_true(NT_SUCCESS(0x7fffffff));
	assert_false(NT_SUCCESS(0x80000000)); /* a warning */
	assert_false(NT_SUCCESS(0x80000005));
	assert_false(NT_SUCCESS(0xc0000001));
	assert_false(NT_SUCCESS(0xffffffff));
	assert_true(NT_INFORMATION(0x40000000));
	assert_true(NT_WARNING(STATUS_BUFFER_OVERFLOW));
	assert_false(NT_ERROR(STATUS_BUFFER_OVERFLOW));
	assert_true(NT_ERROR(STATUS_UNSUCCESSFUL));
	assert_false(NT_WARNING(STATUS_UNSUCCESSFUL));
}

static void ddi_011_status_values(void **state)
{
	static const struct {
		NTSTATUS status;
		uint32_t value;
		bool success;
	} values[] = {
		{STATUS_SUCCESS, 0x00000000, true},
		{STATUS_PENDING, 0x00000103, true},
		{STATUS_BUFFER_OVERFLOW, 0x80000005, false},
		{STATUS_INVALID_PARAMETER, 0xC000000D, false},
		{STATUS_MORE_PROCESSING_REQUIRED, 0xC0000016, false},
		{STATUS_BUFFER_TOO_SMALL, 0xC0000023, false},
		{STATUS_INVALID_PARAMETER_1, 0xC00000EF, false},
		{STATUS_INVALID_PARAMETER_2, 0xC00000F0, false},
		{STATUS_INVALID_PARAMETER_3, 0xC00000F1, false},
		{STATUS_INVALID_PARAMETER_4, 0xC00000F2, false},
		{STATUS_INVALID_PARAMETER_5, 0xC00000F3, false},
		{STATUS_INVALID_PARAMETER_6, 0xC00000F4, false},
		{STATUS_INVALID_PARAMETER_7, 0xC00000F5, false},
		{STATUS_INVALID_PARAMETER_8, 0xC00000F6, false},
		{STATUS_CANCELLED, 0xC0000120, false},
		{STATUS_DEVICE_REMOVED, 0xC00002B6, false},
		{STATUS_NO_SUCH_DEVICE, 0xC000000E, false},
		{STATUS_ACCESS_DENIED, 0xC0000022, false},
		{STATUS_DATA_ERROR, 0xC000003E, false},
		{STATUS_SHARING_VIOLATION, 0xC0000043, false},
		{STATUS_REVISION_MISMATCH, 0xC0000059, false},
		{STATUS_INSUFFICIENT_RESOURCES, 0xC000009A, false},
		{STATUS_NOT_SUPPORTED, 0xC00000BB, false},
		{STATUS_INVALID_DEVICE_STATE, 0xC0000184, false},
		{STATUS_INVALID_BUFFER_SIZE, 0xC0000206, false},
		{STATUS_NOT_FOUND, 0xC0000225, false},
		{STATUS_INVALID_HANDLE, 0xC0000008, false},
		{STATUS_UNSUCCESSFUL, 0xC0000001, false},
		{STATUS_OBJECT_NAME_COLLISION, 0xC0000035, false},
		{STATUS_DEVICE_NOT_CONNECTED, 0xC000009D, false},
		/* what the NT layer itself answers with */
		{STATUS_TIMEOUT, 0x00000102, true},
		{STATUS_OBJECT_NAME_NOT_FOUND, 0xC0000034, false},
		{STATUS_OBJECT_TYPE_MISMATCH, 0xC0000024, false},
		{STATUS_INVALID_DEVICE_REQUEST, 0xC0000010, false},
		{STATUS_DRIVER_ENTRYPOINT_NOT_FOUND, 0xC0000263, false},
		{STATUS_DRIVER_UNABLE_TO_LOAD, 0xC000026C, false},
		{STATUS_ENTRYPOINT_NOT_FOUND, 0xC0000139, false},
	};

	for (size_t i = 0; i < ARRAYSIZE(values); i++) {
		assert_int_equal((uint32_t)values[i].status, values[i].value);
		assert_int_equal(NT_SUCCESS(values[i].status), values[i].success);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ddi_002_integers_have_windows_widths),
		cmocka_unit_test(ddi_002_pointers_and_sizes_are_as_wide_as_a_pointer),
		cmocka_unit_test(ddi_002_structures_have_windows_layout),
		cmocka_unit_test(ddi_002_annotations_vanish),
		cmocka_unit_test(ddi_011_success_is_what_is_not_negative),
		cmocka_unit_test(ddi_011_status_values),
	};

	return cmocka_run_group_tests_name("nt-types", tests, NULL, end_threads);
}
