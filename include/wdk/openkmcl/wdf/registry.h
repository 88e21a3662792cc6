/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Keys as objects: the driver's own key and its Parameters (see zw.h). PASSIVE_LEVEL.
 */
#ifndef OPENKMCL_WDF_REGISTRY_H
#define OPENKMCL_WDF_REGISTRY_H

#include "../zw.h"
#include "memory.h"

EXTERN_C_START

/** Its values are those that the driver was loaded with. */
NTSTATUS WdfDriverOpenParametersRegistryKey(_In_ WDFDRIVER Driver, _In_ ACCESS_MASK DesiredAccess,
					    _In_opt_ PWDF_OBJECT_ATTRIBUTES KeyAttributes,
					    _Out_ WDFKEY *Key);
/** ParentKey NULL: KeyName is a whole path. STATUS_OBJECT_NAME_NOT_FOUND. */
NTSTATUS WdfRegistryOpenKey(_In_opt_ WDFKEY ParentKey, _In_ PCUNICODE_STRING KeyName,
			    _In_ ACCESS_MASK DesiredAccess,
			    _In_opt_ PWDF_OBJECT_ATTRIBUTES KeyAttributes, _Out_ WDFKEY *Key);
/** Deletes the key object. */
VOID WdfRegistryClose(_In_ WDFKEY Key);
HANDLE WdfRegistryWdmGetHandle(_In_ WDFKEY Key);

/** STATUS_OBJECT_TYPE_MISMATCH: the value is not a REG_DWORD. */
NTSTATUS WdfRegistryQueryULong(_In_ WDFKEY Key, _In_ PCUNICODE_STRING ValueName,
			       _Out_ PULONG Value);
/** A REG_SZ, terminated. Value NULL, or too small (STATUS_BUFFER_OVERFLOW): only *ValueByteLength.
 */
NTSTATUS WdfRegistryQueryUnicodeString(_In_ WDFKEY Key, _In_ PCUNICODE_STRING ValueName,
				       _Out_opt_ PUSHORT ValueByteLength,
				       _Inout_opt_ PUNICODE_STRING Value);
NTSTATUS WdfRegistryQueryString(_In_ WDFKEY Key, _In_ PCUNICODE_STRING ValueName,
				_In_ WDFSTRING String);
/** Value may be NULL with ValueLength 0: STATUS_BUFFER_OVERFLOW and the length. */
NTSTATUS WdfRegistryQueryValue(_In_ WDFKEY Key, _In_ PCUNICODE_STRING ValueName,
			       _In_ ULONG ValueLength, _Out_opt_ PVOID Value,
			       _Out_opt_ PULONG ValueLengthQueried, _Out_opt_ PULONG ValueType);
NTSTATUS WdfRegistryQueryMemory(_In_ WDFKEY Key, _In_ PCUNICODE_STRING ValueName,
				_In_ POOL_TYPE PoolType,
				_In_opt_ PWDF_OBJECT_ATTRIBUTES MemoryAttributes,
				_Out_ WDFMEMORY *Memory, _Out_opt_ PULONG ValueType);

EXTERN_C_END

#endif
