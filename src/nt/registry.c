/* SPDX-License-Identifier: MIT */
/*
 * The registry as far as a driver's own key: RegistryPath and RegistryPath\Parameters, whose values
 * are the parameters that the driver was loaded with.
 */
#include "nt/internal.h"

#include <stdlib.h>

struct key {
	atomic_int references;
	struct nt_driver *driver;
	bool parameters; /* the subkey, which has the values */
};

static void key_reference(void *object)
{
	atomic_fetch_add(&((struct key *)object)->references, 1);
}

static void key_dereference(void *object)
{
	if (atomic_fetch_sub(&((struct key *)object)->references, 1) == 1)
		free(object);
}

static const struct nt_handle_type key_type = {
	.name = "key",
	.reference = key_reference,
	.dereference = key_dereference,
};

/* ---- names ---- */

static bool equals_ascii(const WCHAR *s, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++) {
		WCHAR c = s[i];

		if (!text[i])
			return false;
		if (c >= 'A' && c <= 'Z')
			c += 32;
		if (c != (WCHAR)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]))
			return false;
	}
	return text[n] == 0;
}

/* What `path` is relative to the driver's key: 0 the key, 1 Parameters, -1 neither. */
static int classify(const struct nt_driver *driver, const WCHAR *path, size_t n)
{
	const UNICODE_STRING *own = &driver->object.DriverName;
	size_t m = own->Length / 2;
	UNICODE_STRING head = {.Length = own->Length, .Buffer = (PWCH)(uintptr_t)path};

	if (n < m || !RtlEqualUnicodeString(&head, own, TRUE))
		return -1;
	path += m;
	n -= m;
	if (!n)
		return 0;
	return path[0] == '\\' && equals_ascii(path + 1, n - 1, "Parameters") ? 1 : -1;
}

NTSTATUS ZwOpenKey(PHANDLE KeyHandle, ACCESS_MASK DesiredAccess,
		   POBJECT_ATTRIBUTES ObjectAttributes)
{
	struct nt_driver *driver = nt_driver_current();
	PUNICODE_STRING name = ObjectAttributes->ObjectName;
	struct key *key, *root;
	NTSTATUS status;
	int kind;

	if (!driver)
		return STATUS_OBJECT_NAME_NOT_FOUND;
	if (ObjectAttributes->RootDirectory) {
		root = nt_handle_reference(ObjectAttributes->RootDirectory, &key_type);
		if (!root)
			return STATUS_INVALID_HANDLE;
		kind = !root->parameters &&
				       equals_ascii(name->Buffer, name->Length / 2, "Parameters")
			       ? 1
			       : -1;
		key_dereference(root);
	} else {
		kind = classify(driver, name->Buffer, name->Length / 2);
	}
	if (kind < 0)
		return STATUS_OBJECT_NAME_NOT_FOUND;
	key = calloc(1, sizeof(*key));
	if (!key)
		return STATUS_INSUFFICIENT_RESOURCES;
	atomic_init(&key->references, 1);
	key->driver = driver;
	key->parameters = kind == 1;
	status = nt_handle_create(&key_type, key, KeyHandle);
	key_dereference(key);
	return status;
}

/* ---- values ---- */

struct value {
	ULONG type;
	ULONG bytes;
	ULONG dword;
	const char *text;
};

static bool find_value(const struct nt_driver *driver, const WCHAR *name, size_t n,
		       struct value *value)
{
	char key[64], *end;
	unsigned long number;
	bool hex;

	if (n >= sizeof(key))
		return false;
	for (size_t i = 0; i < n; i++)
		key[i] = name[i] < 128 ? (char)name[i] : '?';
	key[n] = 0;
	value->text = nt_driver_parameter(driver, key);
	if (!value->text)
		return false;
	/* a leading 0 makes no octal number */
	hex = value->text[0] == '0' && (value->text[1] == 'x' || value->text[1] == 'X');
	number = strtoul(value->text, &end, hex ? 16 : 10);
	if (*value->text >= '0' && *value->text <= '9' && !*end && number <= MAXULONG) {
		value->type = REG_DWORD;
		value->dword = (ULONG)number;
		value->bytes = sizeof(ULONG);
	} else {
		value->type = REG_SZ;
		value->bytes = (ULONG)(strlen(value->text) + 1) * 2;
	}
	return true;
}

static void put_value(const struct value *value, void *to)
{
	if (value->type == REG_DWORD) {
		memcpy(to, &value->dword, sizeof(ULONG));
		return;
	}
	for (ULONG i = 0; i < value->bytes / 2; i++) {
		WCHAR c = (WCHAR)(UCHAR)value->text[i];

		memcpy((PCHAR)to + 2 * (SIZE_T)i, &c, 2);
	}
}

NTSTATUS ZwQueryValueKey(HANDLE KeyHandle, PUNICODE_STRING ValueName,
			 KEY_VALUE_INFORMATION_CLASS KeyValueInformationClass,
			 PVOID KeyValueInformation, ULONG Length, PULONG ResultLength)
{
	PKEY_VALUE_PARTIAL_INFORMATION info = KeyValueInformation;
	const ULONG fixed = FIELD_OFFSET(KEY_VALUE_PARTIAL_INFORMATION, Data);
	struct key *key = nt_handle_reference(KeyHandle, &key_type);
	struct value value;
	bool found;

	if (!key)
		return STATUS_INVALID_HANDLE;
	found = key->parameters &&
		find_value(key->driver, ValueName->Buffer, ValueName->Length / 2, &value);
	key_dereference(key);
	if (KeyValueInformationClass != KeyValuePartialInformation)
		return STATUS_INVALID_PARAMETER;
	if (!found)
		return STATUS_OBJECT_NAME_NOT_FOUND;
	*ResultLength = fixed + value.bytes;
	if (Length < fixed)
		return STATUS_BUFFER_TOO_SMALL;
	info->TitleIndex = 0;
	info->Type = value.type;
	info->DataLength = value.bytes;
	if (Length < *ResultLength)
		return STATUS_BUFFER_OVERFLOW;
	put_value(&value, info->Data);
	return STATUS_SUCCESS;
}

/* ---- tables ---- */

/* A string that the caller receives: into its buffer, or one from the pool. */
static NTSTATUS store_string(PUNICODE_STRING to, const struct value *value)
{
	if (!to->Buffer) {
		to->Buffer = ExAllocatePoolZero(PagedPool, value->bytes, 0x67655252u);
		if (!to->Buffer)
			return STATUS_INSUFFICIENT_RESOURCES;
		to->MaximumLength = (USHORT)value->bytes;
	} else if (to->MaximumLength < value->bytes) {
		return STATUS_BUFFER_TOO_SMALL;
	}
	put_value(value, to->Buffer);
	to->Length = (USHORT)(value->bytes - 2);
	return STATUS_SUCCESS;
}

static NTSTATUS store_direct(const RTL_QUERY_REGISTRY_TABLE *entry, const struct value *value)
{
	ULONG expected = entry->DefaultType >> RTL_QUERY_REGISTRY_TYPECHECK_SHIFT;

	if ((entry->Flags & RTL_QUERY_REGISTRY_TYPECHECK) && expected != value->type)
		return STATUS_OBJECT_TYPE_MISMATCH;
	if (value->type == REG_DWORD) {
		memcpy(entry->EntryContext, &value->dword, sizeof(ULONG));
		return STATUS_SUCCESS;
	}
	return store_string(entry->EntryContext, value);
}

static NTSTATUS give_value(const RTL_QUERY_REGISTRY_TABLE *entry, const struct value *value,
			   PVOID context)
{
	NTSTATUS status;
	void *data;

	if (entry->Flags & RTL_QUERY_REGISTRY_DIRECT)
		return store_direct(entry, value);
	if (!entry->QueryRoutine)
		return STATUS_INVALID_PARAMETER;
	data = malloc(value->bytes);
	if (!data)
		return STATUS_INSUFFICIENT_RESOURCES;
	put_value(value, data);
	status = entry->QueryRoutine(entry->Name, value->type, data, value->bytes, context,
				     entry->EntryContext);
	free(data);
	return status;
}

static NTSTATUS give_default(const RTL_QUERY_REGISTRY_TABLE *entry)
{
	if (entry->Flags & RTL_QUERY_REGISTRY_REQUIRED)
		return STATUS_OBJECT_NAME_NOT_FOUND;
	if ((entry->Flags & RTL_QUERY_REGISTRY_DIRECT) && entry->DefaultData &&
	    (entry->DefaultType & ~RTL_QUERY_REGISTRY_TYPECHECK_MASK) == REG_DWORD)
		memcpy(entry->EntryContext, entry->DefaultData, sizeof(ULONG));
	return STATUS_SUCCESS;
}

NTSTATUS RtlQueryRegistryValues(ULONG RelativeTo, PCWSTR Path, PRTL_QUERY_REGISTRY_TABLE QueryTable,
				PVOID Context, PVOID Environment)
{
	struct nt_driver *driver = nt_driver_current();
	NTSTATUS status = STATUS_SUCCESS;
	UNICODE_STRING path, name;
	struct value value;
	int kind;

	if (!driver || (RelativeTo & ~RTL_REGISTRY_OPTIONAL) != RTL_REGISTRY_ABSOLUTE)
		return STATUS_INVALID_PARAMETER;
	RtlInitUnicodeString(&path, Path);
	kind = classify(driver, path.Buffer, path.Length / 2);
	if (kind < 0)
		return RelativeTo & RTL_REGISTRY_OPTIONAL ? STATUS_SUCCESS
							  : STATUS_OBJECT_NAME_NOT_FOUND;
	for (PRTL_QUERY_REGISTRY_TABLE e = QueryTable;
	     NT_SUCCESS(status) && (e->QueryRoutine || e->Name || e->Flags); e++) {
		RtlInitUnicodeString(&name, e->Name);
		if (e->Flags & RTL_QUERY_REGISTRY_SUBKEY)
			kind = equals_ascii(name.Buffer, name.Length / 2, "Parameters") ? 1 : -1;
		else if (kind == 1 && find_value(driver, name.Buffer, name.Length / 2, &value))
			status = give_value(e, &value, Context);
		else
			status = give_default(e);
	}
	return status;
}
