/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Bounded strings. Sizes count the terminator: Cch in characters, Cb in bytes. What does not fit is
 * cut, terminated and reported as STATUS_BUFFER_OVERFLOW, which is no success; a size of 0 or over
 * NTSTRSAFE_MAX_CCH, and a string without terminator, are STATUS_INVALID_PARAMETER. Formats are the
 * kernel's, as for DbgPrint; in the W functions %s takes a wide string. PASSIVE_LEVEL on Windows
 * for the formatting ones; here any.
 */
#ifndef _NTSTRSAFE_H_INCLUDED_
#define _NTSTRSAFE_H_INCLUDED_

#include <stdarg.h>
#include <stddef.h>

#include "ntdef.h"
#include "ntstatus.h"

EXTERN_C_START

#define NTSTRSAFE_MAX_CCH                2147483647
#define NTSTRSAFE_MAX_LENGTH             (NTSTRSAFE_MAX_CCH - 1)
#define NTSTRSAFE_UNICODE_STRING_MAX_CCH (0xffff / sizeof(WCHAR))

typedef PSTR NTSTRSAFE_PSTR;
typedef PCSTR NTSTRSAFE_PCSTR;
typedef PWSTR NTSTRSAFE_PWSTR;
typedef PCWSTR NTSTRSAFE_PCWSTR;

NTSTATUS RtlStringCchPrintfA(PSTR Dest, size_t Size, PCSTR Format, ...);
NTSTATUS RtlStringCchPrintfW(PWSTR Dest, size_t Size, PCWSTR Format, ...);
NTSTATUS RtlStringCchVPrintfA(PSTR Dest, size_t Size, PCSTR Format, va_list Args);
NTSTATUS RtlStringCchVPrintfW(PWSTR Dest, size_t Size, PCWSTR Format, va_list Args);
NTSTATUS RtlStringCchCopyA(PSTR Dest, size_t Size, PCSTR Source);
NTSTATUS RtlStringCchCopyW(PWSTR Dest, size_t Size, PCWSTR Source);
NTSTATUS RtlStringCchCatA(PSTR Dest, size_t Size, PCSTR Source);
NTSTATUS RtlStringCchCatW(PWSTR Dest, size_t Size, PCWSTR Source);
/** At most `Most` characters of the source, which then need not be terminated. */
NTSTATUS RtlStringCchCopyNA(PSTR Dest, size_t Size, PCSTR Source, size_t Most);
NTSTATUS RtlStringCchCopyNW(PWSTR Dest, size_t Size, PCWSTR Source, size_t Most);
NTSTATUS RtlStringCchCatNA(PSTR Dest, size_t Size, PCSTR Source, size_t Most);
NTSTATUS RtlStringCchCatNW(PWSTR Dest, size_t Size, PCWSTR Source, size_t Most);
/** `Length`, which may be NULL, is without the terminator; 0 on failure. */
NTSTATUS RtlStringCchLengthA(PCSTR String, size_t Size, size_t *Length);
NTSTATUS RtlStringCchLengthW(PCWSTR String, size_t Size, size_t *Length);
/** Replaces the text of a counted string; no terminator. */
NTSTATUS RtlUnicodeStringPrintf(PUNICODE_STRING Dest, PCWSTR Format, ...);
NTSTATUS RtlUnicodeStringVPrintf(PUNICODE_STRING Dest, PCWSTR Format, va_list Args);

/* ---- the same in bytes ---- */

static inline NTSTATUS RtlStringCbVPrintfA(PSTR Dest, size_t Bytes, PCSTR Format, va_list Args)
{
	return RtlStringCchVPrintfA(Dest, Bytes, Format, Args);
}

static inline NTSTATUS RtlStringCbPrintfA(PSTR Dest, size_t Bytes, PCSTR Format, ...)
{
	NTSTATUS status;
	va_list args;

	va_start(args, Format);
	status = RtlStringCchVPrintfA(Dest, Bytes, Format, args);
	va_end(args);
	return status;
}

static inline NTSTATUS RtlStringCbCopyA(PSTR Dest, size_t Bytes, PCSTR Source)
{
	return RtlStringCchCopyA(Dest, Bytes, Source);
}

static inline NTSTATUS RtlStringCbCatA(PSTR Dest, size_t Bytes, PCSTR Source)
{
	return RtlStringCchCatA(Dest, Bytes, Source);
}

static inline NTSTATUS RtlStringCbCopyNA(PSTR Dest, size_t Bytes, PCSTR Source, size_t Most)
{
	return RtlStringCchCopyNA(Dest, Bytes, Source, Most);
}

static inline NTSTATUS RtlStringCbCatNA(PSTR Dest, size_t Bytes, PCSTR Source, size_t Most)
{
	return RtlStringCchCatNA(Dest, Bytes, Source, Most);
}

static inline NTSTATUS RtlStringCbLengthA(PCSTR String, size_t Bytes, size_t *Length)
{
	return RtlStringCchLengthA(String, Bytes, Length);
}

static inline NTSTATUS RtlStringCbVPrintfW(PWSTR Dest, size_t Bytes, PCWSTR Format, va_list Args)
{
	return RtlStringCchVPrintfW(Dest, Bytes / sizeof(WCHAR), Format, Args);
}

static inline NTSTATUS RtlStringCbPrintfW(PWSTR Dest, size_t Bytes, PCWSTR Format, ...)
{
	NTSTATUS status;
	va_list args;

	va_start(args, Format);
	status = RtlStringCchVPrintfW(Dest, Bytes / sizeof(WCHAR), Format, args);
	va_end(args);
	return status;
}

static inline NTSTATUS RtlStringCbCopyW(PWSTR Dest, size_t Bytes, PCWSTR Source)
{
	return RtlStringCchCopyW(Dest, Bytes / sizeof(WCHAR), Source);
}

static inline NTSTATUS RtlStringCbCatW(PWSTR Dest, size_t Bytes, PCWSTR Source)
{
	return RtlStringCchCatW(Dest, Bytes / sizeof(WCHAR), Source);
}

static inline NTSTATUS RtlStringCbCopyNW(PWSTR Dest, size_t Bytes, PCWSTR Source, size_t Most)
{
	return RtlStringCchCopyNW(Dest, Bytes / sizeof(WCHAR), Source, Most / sizeof(WCHAR));
}

static inline NTSTATUS RtlStringCbCatNW(PWSTR Dest, size_t Bytes, PCWSTR Source, size_t Most)
{
	return RtlStringCchCatNW(Dest, Bytes / sizeof(WCHAR), Source, Most / sizeof(WCHAR));
}

static inline NTSTATUS RtlStringCbLengthW(PCWSTR String, size_t Bytes, size_t *Length)
{
	NTSTATUS status = RtlStringCchLengthW(String, Bytes / sizeof(WCHAR), Length);

	if (Length)
		*Length *= sizeof(WCHAR);
	return status;
}

EXTERN_C_END

#endif
