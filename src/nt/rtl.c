/* SPDX-License-Identifier: MIT */
/* Strings, GUIDs, memory, debug output, names of statuses. */
#include "nt/internal.h"

#include <stdio.h>

#include "base/log.h"

SIZE_T RtlCompareMemory(const VOID *Source1, const VOID *Source2, SIZE_T Length)
{
	const UCHAR *a = Source1, *b = Source2;
	SIZE_T n = 0;

	while (n < Length && a[n] == b[n])
		n++;
	return n;
}

PVOID RtlSecureZeroMemory(PVOID Ptr, SIZE_T Count)
{
	memset(Ptr, 0, Count);
	__asm__ __volatile__("" : : "r"(Ptr) : "memory");
	return Ptr;
}

VOID RtlAssertFailed(const char *Expression, const char *File, ULONG Line)
{
	nt_violation("assertion", "%s:%u: %s", File, Line, Expression);
}

/* ---- counted strings ---- */

static size_t wide_length(PCWSTR s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

VOID RtlInitUnicodeString(PUNICODE_STRING Destination, PCWSTR Source)
{
	size_t bytes = Source ? wide_length(Source) * 2 : 0;

	if (bytes > UNICODE_STRING_MAX_BYTES - 2)
		bytes = UNICODE_STRING_MAX_BYTES - 2;
	Destination->Buffer = (PWCH)(uintptr_t)Source;
	Destination->Length = (USHORT)bytes;
	Destination->MaximumLength = Source ? (USHORT)(bytes + 2) : 0;
}

VOID RtlInitAnsiString(PANSI_STRING Destination, PCSZ Source)
{
	size_t bytes = Source ? strlen(Source) : 0;

	if (bytes > MAXUSHORT - 1)
		bytes = MAXUSHORT - 1;
	Destination->Buffer = (PCHAR)(uintptr_t)Source;
	Destination->Length = (USHORT)bytes;
	Destination->MaximumLength = Source ? (USHORT)(bytes + 1) : 0;
}

VOID RtlCopyUnicodeString(PUNICODE_STRING Destination, PCUNICODE_STRING Source)
{
	USHORT bytes = Source ? Source->Length : 0;

	if (bytes > Destination->MaximumLength)
		bytes = Destination->MaximumLength & ~1;
	if (bytes)
		memmove(Destination->Buffer, Source->Buffer, bytes);
	Destination->Length = bytes;
	if (bytes + 2u <= Destination->MaximumLength)
		Destination->Buffer[bytes / 2] = 0;
}

static LONG upcase(WCHAR c)
{
	return c >= 'a' && c <= 'z' ? c - 32 : c;
}

LONG RtlCompareUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
			     BOOLEAN CaseInSensitive)
{
	USHORT n1 = String1->Length / 2, n2 = String2->Length / 2;

	for (USHORT i = 0; i < n1 && i < n2; i++) {
		LONG a = String1->Buffer[i], b = String2->Buffer[i];

		if (CaseInSensitive) {
			a = upcase((WCHAR)a);
			b = upcase((WCHAR)b);
		}
		if (a != b)
			return a - b;
	}
	return n1 - n2;
}

BOOLEAN RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
			      BOOLEAN CaseInSensitive)
{
	return RtlCompareUnicodeString(String1, String2, CaseInSensitive) == 0;
}

NTSTATUS RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source)
{
	if (Source->Length > Destination->MaximumLength - Destination->Length)
		return STATUS_BUFFER_TOO_SMALL;
	memmove((PCHAR)Destination->Buffer + Destination->Length, Source->Buffer, Source->Length);
	Destination->Length += Source->Length;
	if (Destination->Length + 2u <= Destination->MaximumLength)
		Destination->Buffer[Destination->Length / 2] = 0;
	return STATUS_SUCCESS;
}

NTSTATUS RtlAppendUnicodeToString(PUNICODE_STRING Destination, PCWSTR Source)
{
	UNICODE_STRING s;

	RtlInitUnicodeString(&s, Source);
	return s.Length ? RtlAppendUnicodeStringToString(Destination, &s) : STATUS_SUCCESS;
}

static int digit_value(WCHAR c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

static ULONG prefix_base(const WCHAR *s, USHORT n, USHORT *at)
{
	if (n - *at < 2 || s[*at] != '0')
		return 10;
	*at += 2;
	switch (s[*at - 1]) {
	case 'x':
		return 16;
	case 'o':
		return 8;
	case 'b':
		return 2;
	default:
		*at -= 2;
		return 10;
	}
}

NTSTATUS RtlUnicodeStringToInteger(PCUNICODE_STRING String, ULONG Base, PULONG Value)
{
	const WCHAR *s = String->Buffer;
	USHORT n = String->Length / 2, at = 0;
	bool minus = false;
	ULONG value = 0;

	while (at < n && s[at] <= ' ')
		at++;
	if (at < n && (s[at] == '-' || s[at] == '+'))
		minus = s[at++] == '-';
	if (!Base)
		Base = prefix_base(s, n, &at);
	if (Base != 2 && Base != 8 && Base != 10 && Base != 16)
		return STATUS_INVALID_PARAMETER;
	for (; at < n && digit_value(s[at]) < (int)Base; at++)
		value = value * Base + (ULONG)digit_value(s[at]);
	*Value = minus ? 0 - value : value;
	return STATUS_SUCCESS;
}

NTSTATUS RtlIntegerToUnicodeString(ULONG Value, ULONG Base, PUNICODE_STRING String)
{
	WCHAR digits[32];
	USHORT n = 0;

	if (!Base)
		Base = 10;
	if (Base != 2 && Base != 8 && Base != 10 && Base != 16)
		return STATUS_INVALID_PARAMETER;
	do {
		digits[n++] = (WCHAR) "0123456789ABCDEF"[Value % Base];
		Value /= Base;
	} while (Value);
	if (n * 2u > String->MaximumLength)
		return STATUS_BUFFER_OVERFLOW;
	String->Length = n * 2;
	for (USHORT i = 0; i < n; i++)
		String->Buffer[i] = digits[n - 1 - i];
	if (n * 2u + 2 <= String->MaximumLength)
		String->Buffer[n] = 0;
	return STATUS_SUCCESS;
}

#define TAG_STRING 0x53727453u

static NTSTATUS allocate_string(PUNICODE_STRING string, USHORT chars)
{
	string->Buffer = ExAllocatePoolZero(PagedPool, ((SIZE_T)chars + 1) * 2, TAG_STRING);
	if (!string->Buffer)
		return STATUS_INSUFFICIENT_RESOURCES;
	string->Length = 0;
	string->MaximumLength = (USHORT)((chars + 1) * 2);
	return STATUS_SUCCESS;
}

NTSTATUS RtlAnsiStringToUnicodeString(PUNICODE_STRING Destination, PCANSI_STRING Source,
				      BOOLEAN Allocate)
{
	if (Source->Length > 32766)
		return STATUS_INVALID_PARAMETER_2;
	if (Allocate) {
		NTSTATUS status = allocate_string(Destination, Source->Length);

		if (!NT_SUCCESS(status))
			return status;
	} else if (Source->Length * 2u + 2 > Destination->MaximumLength) {
		return STATUS_BUFFER_OVERFLOW;
	}
	for (USHORT i = 0; i < Source->Length; i++)
		Destination->Buffer[i] = (WCHAR)(UCHAR)Source->Buffer[i];
	Destination->Length = Source->Length * 2;
	Destination->Buffer[Source->Length] = 0;
	return STATUS_SUCCESS;
}

VOID RtlFreeUnicodeString(PUNICODE_STRING String)
{
	if (String->Buffer)
		ExFreePoolWithTag(String->Buffer, TAG_STRING);
	String->Buffer = NULL;
	String->Length = String->MaximumLength = 0;
}

/* ---- GUIDs ---- */

NTSTATUS RtlStringFromGUID(REFGUID Guid, PUNICODE_STRING GuidString)
{
	char text[40];
	NTSTATUS status = allocate_string(GuidString, 38);

	if (!NT_SUCCESS(status))
		return status;
	snprintf(text, sizeof(text), "{%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x}",
		 Guid->Data1, Guid->Data2, Guid->Data3, Guid->Data4[0], Guid->Data4[1],
		 Guid->Data4[2], Guid->Data4[3], Guid->Data4[4], Guid->Data4[5], Guid->Data4[6],
		 Guid->Data4[7]);
	for (int i = 0; i < 38; i++)
		GuidString->Buffer[i] = (WCHAR)text[i];
	GuidString->Length = 38 * 2;
	return STATUS_SUCCESS;
}

NTSTATUS RtlGUIDFromString(PCUNICODE_STRING GuidString, GUID *Guid)
{
	static const char shape[] = "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
	UCHAR nibbles[32];
	unsigned int n = 0;
	GUID g = {0};

	if (GuidString->Length != 38 * 2)
		return STATUS_INVALID_PARAMETER;
	for (unsigned int i = 0; i < 38; i++) {
		WCHAR c = GuidString->Buffer[i];

		if (shape[i] != 'x') {
			if (c != (WCHAR)shape[i])
				return STATUS_INVALID_PARAMETER;
			continue;
		}
		if (digit_value(c) > 15)
			return STATUS_INVALID_PARAMETER;
		nibbles[n++] = (UCHAR)digit_value(c);
	}
	for (n = 0; n < 8; n++)
		g.Data1 = g.Data1 << 4 | nibbles[n];
	for (n = 8; n < 12; n++)
		g.Data2 = (uint16_t)(g.Data2 << 4 | nibbles[n]);
	for (n = 12; n < 16; n++)
		g.Data3 = (uint16_t)(g.Data3 << 4 | nibbles[n]);
	for (n = 0; n < 8; n++)
		g.Data4[n] = (uint8_t)(nibbles[16 + 2 * n] << 4 | nibbles[17 + 2 * n]);
	*Guid = g;
	return STATUS_SUCCESS;
}

/* ---- debug output ---- */

static void debug_line(enum kmcl_log_level level, PCSTR format, va_list args)
{
	const char *name = nt_driver_name(nt_driver_current());
	char text[512];
	size_t n;

	if (!kmcl_log_enabled(level))
		return;
	nt_format(text, sizeof(text), format, args);
	n = strlen(text);
	while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		text[--n] = 0;
	kmcl_log(level, "driver", 0, 0, "%s: %s", name, text);
}

ULONG DbgPrint(PCSTR Format, ...)
{
	va_list args;

	va_start(args, Format);
	debug_line(KMCL_LOG_INFO, Format, args);
	va_end(args);
	return STATUS_SUCCESS;
}

ULONG DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...)
{
	static const enum kmcl_log_level levels[] = {KMCL_LOG_ERROR, KMCL_LOG_WARNING,
						     KMCL_LOG_DEBUG, KMCL_LOG_INFO};
	va_list args;

	va_start(args, Format);
	debug_line(Level < 4 ? levels[Level] : KMCL_LOG_DEBUG, Format, args);
	va_end(args);
	return STATUS_SUCCESS;
}
