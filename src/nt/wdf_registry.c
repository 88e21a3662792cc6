/* SPDX-License-Identifier: MIT */
/*
 * Registry keys as objects, over ZwOpenKey and ZwQueryValueKey.
 */
#include "nt/wdf.h"

struct wdf_key {
	struct wdf_object object;
	HANDLE handle;
};

static void destroy_key(struct wdf_object *object)
{
	ZwClose(((struct wdf_key *)(PVOID)object)->handle);
}

static NTSTATUS open_key(struct wdf_driver *driver, HANDLE root, PCUNICODE_STRING name,
			 PWDF_OBJECT_ATTRIBUTES attributes, WDFKEY *result)
{
	UNICODE_STRING copy = *name;
	OBJECT_ATTRIBUTES what;
	struct wdf_key *key;
	NTSTATUS status;

	*result = NULL;
	status = wdf_create(driver, WDF_KEY, sizeof(*key), attributes, &driver->object,
			    WDF_MAY_NAME_PARENT | WDF_PASSIVE, &key);
	if (!NT_SUCCESS(status))
		return status;
	InitializeObjectAttributes(&what, &copy, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, root,
				   NULL);
	status = ZwOpenKey(&key->handle, KEY_READ, &what);
	if (!NT_SUCCESS(status)) {
		wdf_discard(key);
		return status;
	}
	key->object.destroy = destroy_key;
	return wdf_finish(key, result);
}

NTSTATUS WdfDriverOpenParametersRegistryKey(WDFDRIVER Driver, ACCESS_MASK DesiredAccess,
					    PWDF_OBJECT_ATTRIBUTES KeyAttributes, WDFKEY *Key)
{
	static WCHAR name[] = {'P', 'a', 'r', 'a', 'm', 'e', 't', 'e', 'r', 's', 0};
	struct wdf_driver *driver =
		wdf_of(Driver, WDF_DRIVER, "WdfDriverOpenParametersRegistryKey");
	UNICODE_STRING parameters;
	OBJECT_ATTRIBUTES what;
	NTSTATUS status;
	HANDLE own;

	if (!driver || !Key)
		return STATUS_INVALID_PARAMETER;
	RtlInitUnicodeString(&parameters, name);
	InitializeObjectAttributes(&what, &driver->nt->object.DriverName, OBJ_KERNEL_HANDLE, NULL,
				   NULL);
	status = ZwOpenKey(&own, KEY_READ, &what);
	if (!NT_SUCCESS(status))
		return status;
	status = open_key(driver, own, &parameters, KeyAttributes, Key);
	ZwClose(own);
	return status;
}

NTSTATUS WdfRegistryOpenKey(WDFKEY ParentKey, PCUNICODE_STRING KeyName, ACCESS_MASK DesiredAccess,
			    PWDF_OBJECT_ATTRIBUTES KeyAttributes, WDFKEY *Key)
{
	struct wdf_driver *driver = wdf_current("WdfRegistryOpenKey");
	struct wdf_key *parent = NULL;

	if (!driver || !KeyName || !Key)
		return STATUS_INVALID_PARAMETER;
	if (ParentKey) {
		parent = wdf_of(ParentKey, WDF_KEY, "WdfRegistryOpenKey");
		if (!parent)
			return STATUS_INVALID_PARAMETER;
	}
	return open_key(driver, parent ? parent->handle : NULL, KeyName, KeyAttributes, Key);
}

VOID WdfRegistryClose(WDFKEY Key)
{
	if (wdf_of(Key, WDF_KEY, "WdfRegistryClose"))
		WdfObjectDelete(Key);
}

HANDLE WdfRegistryWdmGetHandle(WDFKEY Key)
{
	struct wdf_key *key = wdf_of(Key, WDF_KEY, "WdfRegistryWdmGetHandle");

	return key ? key->handle : NULL;
}

/* ---- values ---- */

/* The whole value, from the pool. */
static NTSTATUS query(WDFKEY handle, PCUNICODE_STRING name, const char *function,
		      PKEY_VALUE_PARTIAL_INFORMATION *info)
{
	struct wdf_key *key = wdf_of(handle, WDF_KEY, function);
	UNICODE_STRING copy;
	ULONG needed = 0;
	NTSTATUS status;

	*info = NULL;
	if (!key || !name)
		return STATUS_INVALID_PARAMETER;
	copy = *name;
	status = ZwQueryValueKey(key->handle, &copy, KeyValuePartialInformation, NULL, 0, &needed);
	if (status != STATUS_BUFFER_TOO_SMALL && status != STATUS_BUFFER_OVERFLOW)
		return status;
	*info = nt_pool_alloc_private(needed, key->object.driver->tag);
	if (!*info)
		return STATUS_INSUFFICIENT_RESOURCES;
	status = ZwQueryValueKey(key->handle, &copy, KeyValuePartialInformation, *info, needed,
				 &needed);
	if (!NT_SUCCESS(status)) {
		ExFreePool(*info);
		*info = NULL;
	}
	return status;
}

NTSTATUS WdfRegistryQueryULong(WDFKEY Key, PCUNICODE_STRING ValueName, PULONG Value)
{
	PKEY_VALUE_PARTIAL_INFORMATION info;
	NTSTATUS status;

	if (!Value)
		return STATUS_INVALID_PARAMETER;
	status = query(Key, ValueName, "WdfRegistryQueryULong", &info);
	if (!NT_SUCCESS(status))
		return status;
	if (info->Type == REG_DWORD && info->DataLength == sizeof(*Value))
		RtlCopyMemory(Value, info->Data, sizeof(*Value));
	else
		status = STATUS_OBJECT_TYPE_MISMATCH;
	ExFreePool(info);
	return status;
}

/* A REG_SZ without its terminator. */
static NTSTATUS text_of(const KEY_VALUE_PARTIAL_INFORMATION *info, UNICODE_STRING *text)
{
	ULONG length = info->DataLength;

	if (info->Type != REG_SZ)
		return STATUS_OBJECT_TYPE_MISMATCH;
	if (length >= sizeof(WCHAR))
		length -= sizeof(WCHAR);
	if (length > UNICODE_STRING_MAX_BYTES - sizeof(WCHAR))
		return STATUS_INVALID_BUFFER_SIZE;
	text->Buffer = (PWCH)(PVOID)(uintptr_t)info->Data;
	text->Length = (USHORT)length;
	text->MaximumLength = (USHORT)(length + sizeof(WCHAR));
	return STATUS_SUCCESS;
}

NTSTATUS WdfRegistryQueryUnicodeString(WDFKEY Key, PCUNICODE_STRING ValueName,
				       PUSHORT ValueByteLength, PUNICODE_STRING Value)
{
	PKEY_VALUE_PARTIAL_INFORMATION info;
	UNICODE_STRING text;
	NTSTATUS status = query(Key, ValueName, "WdfRegistryQueryUnicodeString", &info);

	if (!NT_SUCCESS(status))
		return status;
	status = text_of(info, &text);
	if (NT_SUCCESS(status)) {
		if (ValueByteLength)
			*ValueByteLength = text.MaximumLength;
		if (!Value || Value->MaximumLength < text.MaximumLength) {
			status = STATUS_BUFFER_OVERFLOW;
		} else {
			RtlCopyMemory(Value->Buffer, text.Buffer, text.Length);
			RtlZeroMemory((PCHAR)Value->Buffer + text.Length, sizeof(WCHAR));
			Value->Length = text.Length;
		}
	}
	ExFreePool(info);
	return status;
}

NTSTATUS WdfRegistryQueryString(WDFKEY Key, PCUNICODE_STRING ValueName, WDFSTRING String)
{
	struct wdf_string *string = wdf_of(String, WDF_STRING, "WdfRegistryQueryString");
	PKEY_VALUE_PARTIAL_INFORMATION info;
	UNICODE_STRING text;
	NTSTATUS status;

	if (!string)
		return STATUS_INVALID_PARAMETER;
	status = query(Key, ValueName, "WdfRegistryQueryString", &info);
	if (!NT_SUCCESS(status))
		return status;
	status = text_of(info, &text);
	if (NT_SUCCESS(status))
		status = wdf_string_set(string, &text);
	ExFreePool(info);
	return status;
}

NTSTATUS WdfRegistryQueryValue(WDFKEY Key, PCUNICODE_STRING ValueName, ULONG ValueLength,
			       PVOID Value, PULONG ValueLengthQueried, PULONG ValueType)
{
	PKEY_VALUE_PARTIAL_INFORMATION info;
	NTSTATUS status;

	if (ValueLength && !Value)
		return STATUS_INVALID_PARAMETER;
	status = query(Key, ValueName, "WdfRegistryQueryValue", &info);
	if (!NT_SUCCESS(status))
		return status;
	if (ValueLengthQueried)
		*ValueLengthQueried = info->DataLength;
	if (ValueType)
		*ValueType = info->Type;
	if (ValueLength < info->DataLength)
		status = STATUS_BUFFER_OVERFLOW;
	else if (info->DataLength)
		RtlCopyMemory(Value, info->Data, info->DataLength);
	ExFreePool(info);
	return status;
}

NTSTATUS WdfRegistryQueryMemory(WDFKEY Key, PCUNICODE_STRING ValueName, POOL_TYPE PoolType,
				PWDF_OBJECT_ATTRIBUTES MemoryAttributes, WDFMEMORY *Memory,
				PULONG ValueType)
{
	PKEY_VALUE_PARTIAL_INFORMATION info;
	NTSTATUS status;
	PVOID buffer;

	if (!Memory)
		return STATUS_INVALID_PARAMETER;
	*Memory = NULL;
	status = query(Key, ValueName, "WdfRegistryQueryMemory", &info);
	if (!NT_SUCCESS(status))
		return status;
	status = WdfMemoryCreate(MemoryAttributes, PoolType, 0, info->DataLength, Memory, &buffer);
	if (NT_SUCCESS(status)) {
		RtlCopyMemory(buffer, info->Data, info->DataLength);
		if (ValueType)
			*ValueType = info->Type;
	}
	ExFreePool(info);
	return status;
}
