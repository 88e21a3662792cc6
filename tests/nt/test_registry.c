/* SPDX-License-Identifier: MIT */
/* A driver's own registry key: RtlQueryRegistryValues, ZwOpenKey, ZwQueryValueKey. */
#include "nt_test.h"

#define W(s) ((PWSTR)(uintptr_t)u##s)

static const char *const parameters[] = {"Count=42",       "Hex=0x10", "Name=some text",
					 "Big=4294967296", "Zero=010", NULL};

struct registry_test {
	struct nt_driver *driver, *previous;
	PUNICODE_STRING path;
	WCHAR parameters_path[200];
};

static UNICODE_STRING entry_path;

static NTSTATUS keep_path(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	entry_path = *path;
	return STATUS_SUCCESS;
}

static void enter(struct registry_test *t)
{
	const struct nt_driver_config config = {
		.name = "regtest", .entry = keep_path, .parameters = parameters};
	static const char tail[] = "\\Parameters";
	size_t n;

	assert_int_equal(nt_driver_load(&config, &t->driver, NULL), STATUS_SUCCESS);
	t->path = &entry_path;
	n = entry_path.Length / 2;
	memcpy(t->parameters_path, entry_path.Buffer, entry_path.Length);
	for (size_t i = 0; i < sizeof(tail); i++)
		t->parameters_path[n + i] = (WCHAR)tail[i];
	t->previous = nt_driver_enter(t->driver);
}

static void leave(struct registry_test *t)
{
	nt_driver_leave(t->previous);
	assert_int_equal(nt_driver_unload(t->driver), 0);
}

static bool is_text(const WCHAR *s, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] != (WCHAR)text[i] || !text[i])
			return false;
	}
	return !text[n];
}

static void registry_path_names_the_service(void **state)
{
	struct registry_test t;

	enter(&t);
	assert_true(is_text(t.path->Buffer, t.path->Length / 2,
			    "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\regtest"));
	assert_string_equal(nt_driver_parameter(t.driver, "count"), "42");
	assert_null(nt_driver_parameter(t.driver, "Coun"));
	assert_null(nt_driver_parameter(t.driver, "nothing"));
	leave(&t);
}

static NTSTATUS query(PCWSTR path, PRTL_QUERY_REGISTRY_TABLE table)
{
	return RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, path, table, NULL, NULL);
}

static void direct_values(void **state)
{
	ULONG count = 0, hex = 0, missing = 5, defaulted = 0, seven = 7;
	UNICODE_STRING name = {0, 0, NULL};
	struct registry_test t;
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("count"), &count, REG_NONE, NULL, 0},
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("Hex"), &hex, REG_NONE, NULL, 0},
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("Name"), &name, REG_NONE, NULL, 0},
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("Missing"), &missing, REG_NONE, NULL, 0},
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("Defaulted"), &defaulted, REG_DWORD, &seven,
		 sizeof(seven)},
		{NULL, 0, NULL, NULL, 0, NULL, 0},
	};

	enter(&t);
	assert_int_equal(query(t.parameters_path, table), STATUS_SUCCESS);
	assert_int_equal(count, 42);
	assert_int_equal(hex, 16);
	assert_int_equal(missing, 5);
	assert_int_equal(defaulted, 7);
	assert_true(is_text(name.Buffer, name.Length / 2, "some text"));
	assert_int_equal(name.Buffer[name.Length / 2], 0);
	ExFreePool(name.Buffer); /* it came from the pool */
	leave(&t);
}

static void subkey_entry_selects_parameters(void **state)
{
	ULONG count = 0, below = 0;
	struct registry_test t;
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("Count"), &count, REG_NONE, NULL, 0},
		{NULL, RTL_QUERY_REGISTRY_SUBKEY, W("parameters"), NULL, REG_NONE, NULL, 0},
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("Count"), &below, REG_NONE, NULL, 0},
		{NULL, RTL_QUERY_REGISTRY_SUBKEY, W("Elsewhere"), NULL, REG_NONE, NULL, 0},
		{NULL, RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_REQUIRED, W("Count"), &below,
		 REG_NONE, NULL, 0},
		{NULL, 0, NULL, NULL, 0, NULL, 0},
	};

	enter(&t);
	assert_int_equal(query(t.path->Buffer, table), STATUS_OBJECT_NAME_NOT_FOUND);
	assert_int_equal(count, 0);
	assert_int_equal(below, 42);
	leave(&t);
}

static void type_check_is_by_default_type(void **state)
{
	ULONG count = 0;
	struct registry_test t;
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{NULL, RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_TYPECHECK, W("Count"), &count,
		 (ULONG)REG_DWORD << RTL_QUERY_REGISTRY_TYPECHECK_SHIFT, NULL, 0},
		{NULL, 0, NULL, NULL, 0, NULL, 0},
	};

	enter(&t);
	assert_int_equal(query(t.parameters_path, table), STATUS_SUCCESS);
	assert_int_equal(count, 42);
	/* the value is text: it must not be written over a ULONG */
	table[0].Name = W("Name");
	assert_int_equal(query(t.parameters_path, table), STATUS_OBJECT_TYPE_MISMATCH);
	table[0].Name = W("Big"); /* too large for a REG_DWORD, so text too */
	assert_int_equal(query(t.parameters_path, table), STATUS_OBJECT_TYPE_MISMATCH);
	table[0].Name = W("Count");
	table[0].DefaultType = (ULONG)REG_SZ << RTL_QUERY_REGISTRY_TYPECHECK_SHIFT;
	assert_int_equal(query(t.parameters_path, table), STATUS_OBJECT_TYPE_MISMATCH);
	assert_int_equal(count, 42);
	leave(&t);
}

static void text_needs_room_in_the_callers_buffer(void **state)
{
	DECLARE_UNICODE_STRING_SIZE(name, 10);
	struct registry_test t;
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("Name"), &name, REG_NONE, NULL, 0},
		{NULL, 0, NULL, NULL, 0, NULL, 0},
	};

	enter(&t);
	assert_int_equal(query(t.parameters_path, table), STATUS_SUCCESS);
	assert_true(is_text(name.Buffer, name.Length / 2, "some text"));
	name.MaximumLength = 18;
	assert_int_equal(query(t.parameters_path, table), STATUS_BUFFER_TOO_SMALL);
	leave(&t);
}

struct seen {
	int calls;
	ULONG type, length;
	ULONG number;
	bool text;
	NTSTATUS answer;
};

static NTSTATUS see_value(PWSTR name, ULONG type, PVOID data, ULONG length, PVOID context,
			  PVOID entry_context)
{
	struct seen *seen = context;

	seen->calls++;
	seen->type = type;
	seen->length = length;
	if (type == REG_DWORD)
		seen->number = *(ULONG *)data;
	else
		seen->text = is_text(data, length / 2 - 1, "some text");
	assert_ptr_equal(entry_context, &parameters);
	return seen->answer;
}

static void query_routine_gets_the_value(void **state)
{
	struct seen seen = {.answer = STATUS_SUCCESS};
	struct registry_test t;
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{see_value, 0, W("Count"), (PVOID)(uintptr_t)&parameters, REG_NONE, NULL, 0},
		{see_value, 0, W("Name"), (PVOID)(uintptr_t)&parameters, REG_NONE, NULL, 0},
		{NULL, 0, NULL, NULL, 0, NULL, 0},
	};

	enter(&t);
	assert_int_equal(RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, t.parameters_path, table,
						&seen, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(seen.calls, 2);
	assert_int_equal(seen.number, 42);
	assert_int_equal(seen.type, REG_SZ);
	assert_int_equal(seen.length, 20);
	assert_true(seen.text);
	/* its failure ends the query */
	seen.calls = 0;
	seen.answer = STATUS_DATA_ERROR;
	assert_int_equal(RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, t.parameters_path, table,
						&seen, NULL),
			 STATUS_DATA_ERROR);
	assert_int_equal(seen.calls, 1);
	leave(&t);
}

static void foreign_paths_are_not_found(void **state)
{
	ULONG count = 0;
	struct registry_test t;
	RTL_QUERY_REGISTRY_TABLE table[] = {
		{NULL, RTL_QUERY_REGISTRY_DIRECT, W("Count"), &count, REG_NONE, NULL, 0},
		{NULL, 0, NULL, NULL, 0, NULL, 0},
	};

	enter(&t);
	assert_int_equal(query(W("\\Registry\\Machine\\Else"), table),
			 STATUS_OBJECT_NAME_NOT_FOUND);
	assert_int_equal(query(NULL, table), STATUS_OBJECT_NAME_NOT_FOUND);
	assert_int_equal(RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE | RTL_REGISTRY_OPTIONAL,
						W("\\Registry\\Machine\\Else"), table, NULL, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(RtlQueryRegistryValues(7, t.parameters_path, table, NULL, NULL),
			 STATUS_INVALID_PARAMETER);
	assert_int_equal(count, 0);
	leave(&t);
	assert_int_equal(query(W("\\Registry"), table), STATUS_INVALID_PARAMETER); /* no driver */
}

/* ---- keys ---- */

static NTSTATUS open_key(PCWSTR path, HANDLE root, HANDLE *key)
{
	OBJECT_ATTRIBUTES attributes;
	UNICODE_STRING name;

	RtlInitUnicodeString(&name, path);
	InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE,
				   root, NULL);
	return ZwOpenKey(key, KEY_READ, &attributes);
}

union value {
	KEY_VALUE_PARTIAL_INFORMATION info;
	UCHAR bytes[100];
};

static NTSTATUS query_key(HANDLE key, PCWSTR name, union value *value, ULONG length, ULONG *needed)
{
	UNICODE_STRING s;

	RtlInitUnicodeString(&s, name);
	return ZwQueryValueKey(key, &s, KeyValuePartialInformation, value, length, needed);
}

static void keys_are_opened_by_path_or_below_another(void **state)
{
	struct registry_test t;
	HANDLE service, key;
	union value v;
	ULONG needed;

	enter(&t);
	assert_int_equal(open_key(t.path->Buffer, NULL, &service), STATUS_SUCCESS);
	assert_int_equal(query_key(service, W("Count"), &v, sizeof(v), &needed),
			 STATUS_OBJECT_NAME_NOT_FOUND);
	assert_int_equal(open_key(W("Parameters"), service, &key), STATUS_SUCCESS);
	assert_int_equal(ZwClose(service), STATUS_SUCCESS);
	assert_int_equal(query_key(key, W("Count"), &v, sizeof(v), &needed), STATUS_SUCCESS);
	assert_int_equal(v.info.Type, REG_DWORD);
	assert_int_equal(v.info.DataLength, 4);
	assert_int_equal(*(ULONG *)(void *)v.info.Data, 42);
	assert_int_equal(open_key(W("Parameters"), key, &service), STATUS_OBJECT_NAME_NOT_FOUND);
	assert_int_equal(ZwClose(key), STATUS_SUCCESS);
	assert_int_equal(query_key(key, W("Count"), &v, sizeof(v), &needed), STATUS_INVALID_HANDLE);
	assert_int_equal(open_key(W("Parameters"), key, &service), STATUS_INVALID_HANDLE);
	assert_int_equal(open_key(W("\\Registry\\Machine\\Else"), NULL, &key),
			 STATUS_OBJECT_NAME_NOT_FOUND);
	leave(&t);
}

static void value_that_does_not_fit_tells_its_size(void **state)
{
	const ULONG fixed = FIELD_OFFSET(KEY_VALUE_PARTIAL_INFORMATION, Data);
	struct registry_test t;
	UNICODE_STRING name;
	ULONG needed = 0;
	union value v;
	HANDLE key;

	enter(&t);
	assert_int_equal(open_key(t.parameters_path, NULL, &key), STATUS_SUCCESS);
	memset(&v, 0x55, sizeof(v));
	assert_int_equal(query_key(key, W("Name"), &v, fixed - 1, &needed),
			 STATUS_BUFFER_TOO_SMALL);
	assert_int_equal(needed, fixed + 20);
	assert_int_equal(v.bytes[0], 0x55);
	assert_int_equal(query_key(key, W("Name"), &v, fixed + 19, &needed),
			 STATUS_BUFFER_OVERFLOW);
	assert_int_equal(v.info.Type, REG_SZ);
	assert_int_equal(v.info.DataLength, 20);
	assert_int_equal(query_key(key, W("Name"), &v, needed, &needed), STATUS_SUCCESS);
	assert_true(is_text((const WCHAR *)(const void *)v.info.Data, 9, "some text"));
	assert_int_equal(v.bytes[needed], 0x55);
	assert_int_equal(query_key(key, W("None"), &v, sizeof(v), &needed),
			 STATUS_OBJECT_NAME_NOT_FOUND);
	RtlInitUnicodeString(&name, W("Name"));
	assert_int_equal(
		ZwQueryValueKey(key, &name, KeyValueFullInformation, &v, sizeof(v), &needed),
		STATUS_INVALID_PARAMETER);
	assert_int_equal(ZwClose(key), STATUS_SUCCESS);
	leave(&t);
}

static void key_handle_is_no_thread(void **state)
{
	struct registry_test t;
	PVOID object;
	HANDLE key;

	enter(&t);
	assert_int_equal(open_key(t.parameters_path, NULL, &key), STATUS_SUCCESS);
	assert_int_equal(
		ObReferenceObjectByHandle(key, 0, *PsThreadType, KernelMode, &object, NULL),
		STATUS_INVALID_HANDLE);
	ZwClose(key);
	leave(&t);
}

static void leading_zero_makes_no_octal_number(void **state)
{
	struct registry_test t;
	ULONG value = 0;
	RTL_QUERY_REGISTRY_TABLE table[2] = {
		{.Flags = RTL_QUERY_REGISTRY_DIRECT, .Name = W("Zero"), .EntryContext = &value}};

	enter(&t);
	assert_int_equal(query(t.parameters_path, table), STATUS_SUCCESS);
	assert_int_equal(value, 10);
	leave(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORDED(registry_path_names_the_service),
		RECORDED(direct_values),
		RECORDED(subkey_entry_selects_parameters),
		RECORDED(type_check_is_by_default_type),
		RECORDED(text_needs_room_in_the_callers_buffer),
		RECORDED(query_routine_gets_the_value),
		RECORDED(foreign_paths_are_not_found),
		RECORDED(keys_are_opened_by_path_or_below_another),
		RECORDED(value_that_does_not_fit_tells_its_size),
		RECORDED(key_handle_is_no_thread),
		RECORDED(leading_zero_makes_no_octal_number),
	};

	return cmocka_run_group_tests_name("nt-registry", tests, NULL, end_threads);
}
