/* SPDX-License-Identifier: MIT */
/* Bounded strings: nothing is written behind the end, everything is terminated. */
#include <ntstrsafe.h>
#include <string.h>

#include "nt/internal.h"

static bool usable(const void *dest, size_t units)
{
	return dest && units && units <= NTSTRSAFE_MAX_CCH;
}

static NTSTATUS done(bool whole)
{
	return whole ? STATUS_SUCCESS : STATUS_BUFFER_OVERFLOW;
}

/* ---- formatting ---- */

NTSTATUS RtlStringCchVPrintfA(PSTR Dest, size_t Size, PCSTR Format, va_list Args)
{
	if (!usable(Dest, Size))
		return STATUS_INVALID_PARAMETER;
	return done(nt_format(Dest, Size, Format, Args));
}

NTSTATUS RtlStringCchVPrintfW(PWSTR Dest, size_t Size, PCWSTR Format, va_list Args)
{
	if (!usable(Dest, Size))
		return STATUS_INVALID_PARAMETER;
	return done(nt_format_wide(Dest, Size, Format, Args));
}

NTSTATUS RtlStringCchPrintfA(PSTR Dest, size_t Size, PCSTR Format, ...)
{
	NTSTATUS status;
	va_list args;

	va_start(args, Format);
	status = RtlStringCchVPrintfA(Dest, Size, Format, args);
	va_end(args);
	return status;
}

NTSTATUS RtlStringCchPrintfW(PWSTR Dest, size_t Size, PCWSTR Format, ...)
{
	NTSTATUS status;
	va_list args;

	va_start(args, Format);
	status = RtlStringCchVPrintfW(Dest, Size, Format, args);
	va_end(args);
	return status;
}

NTSTATUS RtlUnicodeStringVPrintf(PUNICODE_STRING Dest, PCWSTR Format, va_list Args)
{
	size_t units;
	bool whole;

	if (!Dest || Dest->Length % 2 || Dest->MaximumLength % 2 ||
	    Dest->Length > Dest->MaximumLength || (!Dest->Buffer && Dest->MaximumLength))
		return STATUS_INVALID_PARAMETER;
	units = Dest->MaximumLength / sizeof(WCHAR);
	whole = nt_format_counted(Dest->Buffer, &units, Format, Args);
	Dest->Length = (USHORT)(units * sizeof(WCHAR));
	return done(whole);
}

NTSTATUS RtlUnicodeStringPrintf(PUNICODE_STRING Dest, PCWSTR Format, ...)
{
	NTSTATUS status;
	va_list args;

	va_start(args, Format);
	status = RtlUnicodeStringVPrintf(Dest, Format, args);
	va_end(args);
	return status;
}

/* ---- lengths ---- */

static size_t length_a(PCSTR s, size_t most)
{
	return strnlen(s, most);
}

static size_t length_w(PCWSTR s, size_t most)
{
	size_t n = 0;

	while (n < most && s[n])
		n++;
	return n;
}

static NTSTATUS give_length(size_t n, size_t size, size_t *length)
{
	bool ends = n < size;

	if (length)
		*length = ends ? n : 0;
	return ends ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

NTSTATUS RtlStringCchLengthA(PCSTR String, size_t Size, size_t *Length)
{
	size_t n = usable(String, Size) ? length_a(String, Size) : Size;

	return give_length(n, Size, Length);
}

NTSTATUS RtlStringCchLengthW(PCWSTR String, size_t Size, size_t *Length)
{
	size_t n = usable(String, Size) ? length_w(String, Size) : Size;

	return give_length(n, Size, Length);
}

/* ---- copying; `at` is where in `dest`, `most` what to take of `source` ---- */

static NTSTATUS put_a(PSTR dest, size_t at, size_t size, PCSTR source, size_t most)
{
	size_t room = size - at - 1;
	size_t n = length_a(source, most <= room ? most : room + 1);
	size_t take = n < room ? n : room;

	memmove(dest + at, source, take);
	dest[at + take] = 0;
	return done(take == n);
}

static NTSTATUS put_w(PWSTR dest, size_t at, size_t size, PCWSTR source, size_t most)
{
	size_t room = size - at - 1;
	size_t n = length_w(source, most <= room ? most : room + 1);
	size_t take = n < room ? n : room;

	memmove(dest + at, source, take * sizeof(*dest));
	dest[at + take] = 0;
	return done(take == n);
}

NTSTATUS RtlStringCchCopyNA(PSTR Dest, size_t Size, PCSTR Source, size_t Most)
{
	if (!usable(Dest, Size))
		return STATUS_INVALID_PARAMETER;
	if (Most > NTSTRSAFE_MAX_CCH) {
		*Dest = 0;
		return STATUS_INVALID_PARAMETER;
	}
	return put_a(Dest, 0, Size, Source, Most);
}

NTSTATUS RtlStringCchCopyNW(PWSTR Dest, size_t Size, PCWSTR Source, size_t Most)
{
	if (!usable(Dest, Size))
		return STATUS_INVALID_PARAMETER;
	if (Most > NTSTRSAFE_MAX_CCH) {
		*Dest = 0;
		return STATUS_INVALID_PARAMETER;
	}
	return put_w(Dest, 0, Size, Source, Most);
}

NTSTATUS RtlStringCchCopyA(PSTR Dest, size_t Size, PCSTR Source)
{
	return RtlStringCchCopyNA(Dest, Size, Source, NTSTRSAFE_MAX_CCH);
}

NTSTATUS RtlStringCchCopyW(PWSTR Dest, size_t Size, PCWSTR Source)
{
	return RtlStringCchCopyNW(Dest, Size, Source, NTSTRSAFE_MAX_CCH);
}

NTSTATUS RtlStringCchCatNA(PSTR Dest, size_t Size, PCSTR Source, size_t Most)
{
	size_t at;
	NTSTATUS status = RtlStringCchLengthA(Dest, Size, &at);

	if (!NT_SUCCESS(status) || Most > NTSTRSAFE_MAX_CCH)
		return STATUS_INVALID_PARAMETER;
	return put_a(Dest, at, Size, Source, Most);
}

NTSTATUS RtlStringCchCatNW(PWSTR Dest, size_t Size, PCWSTR Source, size_t Most)
{
	size_t at;
	NTSTATUS status = RtlStringCchLengthW(Dest, Size, &at);

	if (!NT_SUCCESS(status) || Most > NTSTRSAFE_MAX_CCH)
		return STATUS_INVALID_PARAMETER;
	return put_w(Dest, at, Size, Source, Most);
}

NTSTATUS RtlStringCchCatA(PSTR Dest, size_t Size, PCSTR Source)
{
	return RtlStringCchCatNA(Dest, Size, Source, NTSTRSAFE_MAX_CCH);
}

NTSTATUS RtlStringCchCatW(PWSTR Dest, size_t Size, PCWSTR Source)
{
	return RtlStringCchCatNW(Dest, Size, Source, NTSTRSAFE_MAX_CCH);
}
