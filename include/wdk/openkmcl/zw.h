/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Handles, and the registry as far as a driver's own Parameters key: the values given to the driver
 * when it was loaded ("key=value": REG_DWORD when the value is a number, else REG_SZ).
 */
#ifndef OPENKMCL_ZW_H
#define OPENKMCL_ZW_H

#include "io.h"

EXTERN_C_START

NTSTATUS ZwClose(HANDLE Handle);

#define REG_NONE   0
#define REG_SZ     1
#define REG_BINARY 3
#define REG_DWORD  4
#define KEY_READ   0x20019

typedef enum _KEY_VALUE_INFORMATION_CLASS {
	KeyValueBasicInformation,
	KeyValueFullInformation,
	KeyValuePartialInformation,
} KEY_VALUE_INFORMATION_CLASS;

typedef struct _KEY_VALUE_PARTIAL_INFORMATION {
	ULONG TitleIndex;
	ULONG Type;
	ULONG DataLength;
	UCHAR Data[1];
} KEY_VALUE_PARTIAL_INFORMATION, *PKEY_VALUE_PARTIAL_INFORMATION;

/** RegistryPath or RegistryPath\\Parameters of the current driver. STATUS_OBJECT_NAME_NOT_FOUND
 * else. */
NTSTATUS ZwOpenKey(PHANDLE KeyHandle, ACCESS_MASK DesiredAccess,
		   POBJECT_ATTRIBUTES ObjectAttributes);
/** KeyValuePartialInformation only (else STATUS_INVALID_PARAMETER). STATUS_BUFFER_TOO_SMALL and
 *  STATUS_BUFFER_OVERFLOW tell the size needed in *ResultLength. */
NTSTATUS ZwQueryValueKey(HANDLE KeyHandle, PUNICODE_STRING ValueName,
			 KEY_VALUE_INFORMATION_CLASS KeyValueInformationClass,
			 PVOID KeyValueInformation, ULONG Length, PULONG ResultLength);

#define RTL_REGISTRY_ABSOLUTE 0
#define RTL_REGISTRY_OPTIONAL 0x80000000

typedef NTSTATUS RTL_QUERY_REGISTRY_ROUTINE(PWSTR ValueName, ULONG ValueType, PVOID ValueData,
					    ULONG ValueLength, PVOID Context, PVOID EntryContext);
typedef RTL_QUERY_REGISTRY_ROUTINE *PRTL_QUERY_REGISTRY_ROUTINE;

#define RTL_QUERY_REGISTRY_SUBKEY          0x00000001
#define RTL_QUERY_REGISTRY_REQUIRED        0x00000004
#define RTL_QUERY_REGISTRY_DIRECT          0x00000020
#define RTL_QUERY_REGISTRY_TYPECHECK       0x00000100
#define RTL_QUERY_REGISTRY_TYPECHECK_SHIFT 24
#define RTL_QUERY_REGISTRY_TYPECHECK_MASK  (0xffu << RTL_QUERY_REGISTRY_TYPECHECK_SHIFT)

typedef struct _RTL_QUERY_REGISTRY_TABLE {
	PRTL_QUERY_REGISTRY_ROUTINE QueryRoutine;
	ULONG Flags;
	PWSTR Name;
	PVOID EntryContext;
	ULONG DefaultType;
	PVOID DefaultData;
	ULONG DefaultLength;
} RTL_QUERY_REGISTRY_TABLE, *PRTL_QUERY_REGISTRY_TABLE;

/**
 * Entries with a subkey flag select RegistryPath\\Name; others are values, with QueryRoutine or
 * RTL_QUERY_REGISTRY_DIRECT (REG_DWORD into a ULONG, REG_SZ into a UNICODE_STRING, whose buffer is
 * allocated if NULL). With RTL_QUERY_REGISTRY_TYPECHECK the value's type must be the one in the top
 * byte of DefaultType. A table ends with an entry without QueryRoutine, Name and Flags.
 */
NTSTATUS RtlQueryRegistryValues(ULONG RelativeTo, PCWSTR Path, PRTL_QUERY_REGISTRY_TABLE QueryTable,
				PVOID Context, PVOID Environment);

EXTERN_C_END

#endif
