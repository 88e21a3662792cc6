/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Memory, lists, strings, GUIDs, debug output. Any IRQL unless said otherwise.
 */
#ifndef OPENKMCL_RTL_H
#define OPENKMCL_RTL_H

#include <string.h>

#include "ke.h"

EXTERN_C_START

#define RtlCopyMemory(d, s, n)  memcpy((d), (s), (n))
#define RtlMoveMemory(d, s, n)  memmove((d), (s), (n))
#define RtlZeroMemory(d, n)     memset((d), 0, (n))
#define RtlFillMemory(d, n, v)  memset((d), (v), (n))
#define RtlEqualMemory(a, b, n) (memcmp((a), (b), (n)) == 0)
/** Bytes that are equal before the first difference. */
SIZE_T RtlCompareMemory(const VOID *Source1, const VOID *Source2, SIZE_T Length);
/** Zeroes memory in a way that is not optimised away. */
PVOID RtlSecureZeroMemory(PVOID Ptr, SIZE_T Count);

#define NT_ASSERT(e)    ((e) ? (void)0 : RtlAssertFailed(#e, __FILE__, __LINE__))
#define ASSERT(e)       NT_ASSERT(e)
#define ASSERTMSG(m, e) NT_ASSERT(e)
#define NT_VERIFY(e)    NT_ASSERT(e)
/** A failed NT_ASSERT: a contract violation of the current driver. */
VOID RtlAssertFailed(const char *Expression, const char *File, ULONG Line);

/* ---- doubly linked lists; the caller locks ---- */
static inline VOID InitializeListHead(PLIST_ENTRY Head)
{
	Head->Flink = Head->Blink = Head;
}

static inline BOOLEAN IsListEmpty(const LIST_ENTRY *Head)
{
	return (BOOLEAN)(Head->Flink == Head);
}

static inline BOOLEAN RemoveEntryList(PLIST_ENTRY Entry)
{
	PLIST_ENTRY next = Entry->Flink, previous = Entry->Blink;

	previous->Flink = next;
	next->Blink = previous;
	return (BOOLEAN)(next == previous);
}

static inline PLIST_ENTRY RemoveHeadList(PLIST_ENTRY Head)
{
	PLIST_ENTRY entry = Head->Flink;

	RemoveEntryList(entry);
	return entry;
}

static inline PLIST_ENTRY RemoveTailList(PLIST_ENTRY Head)
{
	PLIST_ENTRY entry = Head->Blink;

	RemoveEntryList(entry);
	return entry;
}

static inline VOID InsertTailList(PLIST_ENTRY Head, PLIST_ENTRY Entry)
{
	Entry->Flink = Head;
	Entry->Blink = Head->Blink;
	Head->Blink->Flink = Entry;
	Head->Blink = Entry;
}

static inline VOID InsertHeadList(PLIST_ENTRY Head, PLIST_ENTRY Entry)
{
	Entry->Blink = Head;
	Entry->Flink = Head->Flink;
	Head->Flink->Blink = Entry;
	Head->Flink = Entry;
}

static inline VOID PushEntryList(PSINGLE_LIST_ENTRY Head, PSINGLE_LIST_ENTRY Entry)
{
	Entry->Next = Head->Next;
	Head->Next = Entry;
}

static inline PSINGLE_LIST_ENTRY PopEntryList(PSINGLE_LIST_ENTRY Head)
{
	PSINGLE_LIST_ENTRY entry = Head->Next;

	if (entry)
		Head->Next = entry->Next;
	return entry;
}

/* ---- strings ---- */
/** Points to @p Source, which must outlive the string; NULL: empty. */
VOID RtlInitUnicodeString(PUNICODE_STRING Destination, PCWSTR Source);
VOID RtlInitAnsiString(PANSI_STRING Destination, PCSZ Source);
VOID RtlCopyUnicodeString(PUNICODE_STRING Destination, PCUNICODE_STRING Source);
BOOLEAN RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
			      BOOLEAN CaseInSensitive);
LONG RtlCompareUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
			     BOOLEAN CaseInSensitive);
/** STATUS_BUFFER_TOO_SMALL: nothing was appended. */
NTSTATUS RtlAppendUnicodeToString(PUNICODE_STRING Destination, PCWSTR Source);
NTSTATUS RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source);
/** Base 0: a prefix 0x, 0o or 0b decides, else 10. */
NTSTATUS RtlUnicodeStringToInteger(PCUNICODE_STRING String, ULONG Base, PULONG Value);
NTSTATUS RtlIntegerToUnicodeString(ULONG Value, ULONG Base, PUNICODE_STRING String);
/** With @p Allocate the buffer is from the pool: RtlFreeUnicodeString. PASSIVE_LEVEL. */
NTSTATUS RtlAnsiStringToUnicodeString(PUNICODE_STRING Destination, PCANSI_STRING Source,
				      BOOLEAN Allocate);
VOID RtlFreeUnicodeString(PUNICODE_STRING String);
/** "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}". Free with RtlFreeUnicodeString. */
NTSTATUS RtlStringFromGUID(REFGUID Guid, PUNICODE_STRING GuidString);
NTSTATUS RtlGUIDFromString(PCUNICODE_STRING GuidString, GUID *Guid);

/* ---- debug output: one line of the library's log ---- */
#define DPFLTR_IHVDRIVER_ID  77
#define DPFLTR_DEFAULT_ID    101
#define DPFLTR_ERROR_LEVEL   0
#define DPFLTR_WARNING_LEVEL 1
#define DPFLTR_TRACE_LEVEL   2
#define DPFLTR_INFO_LEVEL    3
/** The kernel's formats, not libc's: %l has 32 bits; %ll, %I64, %I and %z have 64; %wZ and %Z take
 * counted strings, %ws and %S wide ones. */
ULONG DbgPrint(PCSTR Format, ...);
ULONG DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...);
#define KdPrint(args)   DbgPrint args
#define KdPrintEx(args) DbgPrintEx args

EXTERN_C_END

#endif
