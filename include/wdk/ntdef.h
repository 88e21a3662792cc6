/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Base types and macros of the NT world, with their Windows widths whatever the platform.
 */
#ifndef _NTDEF_
#define _NTDEF_

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "sal.h"
#include "basetsd.h"
#include "guiddef.h"

/* Sources made for Microsoft's compiler carry its pragmas and write pool tags as 'abcd'. */
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#pragma GCC diagnostic ignored "-Wmultichar"

/* ---- language and calling conventions ---- */
#ifdef __cplusplus
#define EXTERN_C       extern "C"
#define EXTERN_C_START extern "C" {
#define EXTERN_C_END   }
#else
#define EXTERN_C extern
#define EXTERN_C_START
#define EXTERN_C_END
#endif

#ifndef IN
#define IN
#endif
#ifndef OUT
#define OUT
#endif
#ifndef OPTIONAL
#define OPTIONAL
#endif
#ifndef CONST
#define CONST const
#endif
#ifndef VOID
#define VOID void
#endif

#define NTAPI
#define FASTCALL
#define CALLBACK
#define APIENTRY
#define NTKERNELAPI
#define NTHALAPI
#define NTSYSAPI
#define NTSYSCALLAPI
#define DDKAPI
#define DECLSPEC_IMPORT
#define DECLSPEC_EXPORT     __attribute__((visibility("default")))
#define DECLSPEC_NORETURN   __attribute__((noreturn))
#define DECLSPEC_ALIGN(n)   __attribute__((aligned(n)))
#define DECLSPEC_CACHEALIGN DECLSPEC_ALIGN(64)
#define DECLSPEC_NOINLINE   __attribute__((noinline))
#define DECLSPEC_SELECTANY  __attribute__((weak))
#define DECLSPEC_DEPRECATED
#define POINTER_ALIGNMENT DECLSPEC_ALIGN(8)
#define RESTRICTED_POINTER
#define UNALIGNED
#define UNALIGNED64

#ifndef __cdecl
#define __cdecl
#endif
#ifndef __stdcall
#define __stdcall
#endif
#ifndef __fastcall
#define __fastcall
#endif
#ifndef __int64
#define __int64 long long
#endif
#ifndef __forceinline
#define __forceinline static inline
#endif
#ifndef FORCEINLINE
#define FORCEINLINE static inline
#endif
#ifndef CFORCEINLINE
#define CFORCEINLINE FORCEINLINE
#endif

#ifdef __cplusplus
#define C_ASSERT(e)       static_assert(e, #e)
#define TYPE_ALIGNMENT(t) alignof(t)
#else
#define C_ASSERT(e)       _Static_assert(e, #e)
#define TYPE_ALIGNMENT(t) _Alignof(t)
#endif

/* ---- integers ---- */
typedef char CHAR, *PCHAR, CCHAR, *PCCHAR;
typedef signed char SCHAR, *PSCHAR;
typedef unsigned char UCHAR, *PUCHAR;
typedef int16_t SHORT, *PSHORT, CSHORT, *PCSHORT;
typedef uint16_t USHORT, *PUSHORT;
typedef int32_t LONG, *PLONG, INT, *PINT;
typedef uint32_t ULONG, *PULONG, UINT, *PUINT, CLONG, *PCLONG, LOGICAL, *PLOGICAL;
typedef int64_t LONGLONG, *PLONGLONG;
typedef uint64_t ULONGLONG, *PULONGLONG, DWORDLONG, *PDWORDLONG;
typedef UCHAR BOOLEAN, *PBOOLEAN;
typedef UCHAR BYTE, *PBYTE;
typedef USHORT WORD, *PWORD;
typedef ULONG DWORD, *PDWORD;
typedef double DOUBLE;
typedef void *PVOID, *PVOID64;
typedef const void *PCVOID, *LPCVOID;
typedef void *HANDLE, **PHANDLE;
typedef int32_t NTSTATUS, *PNTSTATUS;
typedef UCHAR KIRQL, *PKIRQL;
typedef LONG KPRIORITY;
typedef ULONG ACCESS_MASK, *PACCESS_MASK;
typedef ULONG EXECUTION_STATE;
typedef ULONG LCID;
typedef USHORT LANGID;

/* ---- characters: 16 bits ---- */
#if defined(__SIZEOF_WCHAR_T__) && __SIZEOF_WCHAR_T__ == 2
typedef wchar_t WCHAR;
#elif defined(__cplusplus)
typedef char16_t WCHAR;
#else
typedef uint16_t WCHAR; /* the type of u"" literals */
#endif
typedef WCHAR *PWCHAR, *LPWCH, *PWCH, *PWSTR, *LPWSTR, *NWPSTR;
typedef const WCHAR *LPCWCH, *PCWCH, *PCWSTR, *LPCWSTR;
typedef PWSTR *PZPWSTR;
typedef PCWSTR *PZPCWSTR;
typedef PWSTR PZZWSTR;
typedef PCWSTR PCZZWSTR;
typedef CHAR *PCH, *LPCH, *PSTR, *LPSTR;
typedef const CHAR *LPCCH, *PCCH, *PCSTR, *LPCSTR;
typedef PCSTR PCSZ;

#define ANSI_NULL                ((CHAR)0)
#define UNICODE_NULL             ((WCHAR)0)
#define UNICODE_STRING_MAX_BYTES ((USHORT)65534)
#define UNICODE_STRING_MAX_CHARS (32767)

#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif

#define MINCHAR      0x80
#define MAXCHAR      0x7f
#define MINSHORT     0x8000
#define MAXSHORT     0x7fff
#define MINLONG      0x80000000
#define MAXLONG      0x7fffffff
#define MAXUCHAR     0xff
#define MAXUSHORT    0xffff
#define MAXULONG     0xffffffff
#define MAXDWORD     0xffffffff
#define MAXLONGLONG  INT64_C(0x7fffffffffffffff)
#define MAXULONGLONG UINT64_C(0xffffffffffffffff)

/* ---- NTSTATUS: two bits of severity on top ---- */
#define NT_SUCCESS(s)     (((NTSTATUS)(s)) >= 0)
#define NT_INFORMATION(s) ((((ULONG)(s)) >> 30) == 1)
#define NT_WARNING(s)     ((((ULONG)(s)) >> 30) == 2)
#define NT_ERROR(s)       ((((ULONG)(s)) >> 30) == 3)

/* ---- structures ---- */
typedef union _LARGE_INTEGER {
	__extension__ struct {
		ULONG LowPart;
		LONG HighPart;
	};
	struct {
		ULONG LowPart;
		LONG HighPart;
	} u;
	LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;

typedef union _ULARGE_INTEGER {
	__extension__ struct {
		ULONG LowPart;
		ULONG HighPart;
	};
	struct {
		ULONG LowPart;
		ULONG HighPart;
	} u;
	ULONGLONG QuadPart;
} ULARGE_INTEGER, *PULARGE_INTEGER;

typedef LARGE_INTEGER PHYSICAL_ADDRESS, *PPHYSICAL_ADDRESS;

typedef struct _LUID {
	ULONG LowPart;
	LONG HighPart;
} LUID, *PLUID;

/** Counted 16-bit string. Lengths in bytes; not necessarily terminated. */
typedef struct _UNICODE_STRING {
	USHORT Length;
	USHORT MaximumLength;
	PWCH Buffer;
} UNICODE_STRING, *PUNICODE_STRING;
typedef const UNICODE_STRING *PCUNICODE_STRING;

/** Counted 8-bit string. */
typedef struct _STRING {
	USHORT Length;
	USHORT MaximumLength;
	PCHAR Buffer;
} STRING, *PSTRING, ANSI_STRING, *PANSI_STRING, OEM_STRING, *POEM_STRING, UTF8_STRING,
	*PUTF8_STRING;
typedef const STRING *PCSTRING;
typedef const ANSI_STRING *PCANSI_STRING;
typedef const UTF8_STRING *PCUTF8_STRING;

#ifdef __cplusplus
#define RTL_CONSTANT_STRING(s)                                                    \
	{                                                                         \
		sizeof(s) - sizeof((s)[0]), sizeof(s),                            \
			const_cast<openkmcl_char_of<decltype((s)[0])>::type *>(s) \
	}
template <typename T> struct openkmcl_char_of;
template <typename T> struct openkmcl_char_of<const T &> {
	typedef T type;
};
template <typename T> struct openkmcl_char_of<T &> {
	typedef T type;
};
#else
#define RTL_CONSTANT_STRING(s)                                     \
	{                                                          \
		sizeof(s) - sizeof((s)[0]), sizeof(s), (void *)(s) \
	}
#endif

/** A static UNICODE_STRING named `name`. */
#define DECLARE_CONST_UNICODE_STRING(name, text)                                     \
	const WCHAR name##_buffer[] = text;                                          \
	const UNICODE_STRING name = {sizeof(text) - sizeof((text)[0]), sizeof(text), \
				     (PWCH)name##_buffer}
/** An empty UNICODE_STRING named `name` with room for `chars` characters. */
#define DECLARE_UNICODE_STRING_SIZE(name, chars) \
	WCHAR name##_buffer[chars];              \
	UNICODE_STRING name = {0, (USHORT)((chars) * sizeof(WCHAR)), name##_buffer}

/** Doubly linked, circular, with the head as one of its members. */
typedef struct _LIST_ENTRY {
	struct _LIST_ENTRY *Flink;
	struct _LIST_ENTRY *Blink;
} LIST_ENTRY, *PLIST_ENTRY, *RESTRICTED_POINTER PRLIST_ENTRY;

typedef struct _SINGLE_LIST_ENTRY {
	struct _SINGLE_LIST_ENTRY *Next;
} SINGLE_LIST_ENTRY, *PSINGLE_LIST_ENTRY;

typedef struct _OBJECT_ATTRIBUTES {
	ULONG Length;
	HANDLE RootDirectory;
	PUNICODE_STRING ObjectName;
	ULONG Attributes;
	PVOID SecurityDescriptor;
	PVOID SecurityQualityOfService;
} OBJECT_ATTRIBUTES, *POBJECT_ATTRIBUTES;
typedef const OBJECT_ATTRIBUTES *PCOBJECT_ATTRIBUTES;

#define OBJ_INHERIT          0x00000002L
#define OBJ_PERMANENT        0x00000010L
#define OBJ_EXCLUSIVE        0x00000020L
#define OBJ_CASE_INSENSITIVE 0x00000040L
#define OBJ_OPENIF           0x00000080L
#define OBJ_KERNEL_HANDLE    0x00000200L

#define InitializeObjectAttributes(p, n, a, r, s)        \
	do {                                             \
		(p)->Length = sizeof(OBJECT_ATTRIBUTES); \
		(p)->RootDirectory = (r);                \
		(p)->Attributes = (a);                   \
		(p)->ObjectName = (n);                   \
		(p)->SecurityDescriptor = (s);           \
		(p)->SecurityQualityOfService = NULL;    \
	} while (0)

typedef enum _EVENT_TYPE {
	NotificationEvent,
	SynchronizationEvent
} EVENT_TYPE;

typedef enum _TIMER_TYPE {
	NotificationTimer,
	SynchronizationTimer
} TIMER_TYPE;

typedef enum _WAIT_TYPE {
	WaitAll,
	WaitAny
} WAIT_TYPE;

/* ---- small macros ---- */
/** A handle type of its own: an incomplete structure, so that two kinds cannot be mixed. */
#ifndef DECLARE_HANDLE
#define DECLARE_HANDLE(name) \
	struct name##__;     \
	typedef struct name##__ *name
#endif

#define UNREFERENCED_PARAMETER(p)          ((void)(p))
#define UNREFERENCED_LOCAL_VARIABLE(v)     ((void)(v))
#define DBG_UNREFERENCED_PARAMETER(p)      ((void)(p))
#define DBG_UNREFERENCED_LOCAL_VARIABLE(v) ((void)(v))

#undef FIELD_OFFSET
#define FIELD_OFFSET(type, field)             ((LONG)offsetof(type, field))
#define FIELD_SIZE(type, field)               (sizeof(((type *)0)->field))
#define RTL_FIELD_SIZE(type, field)           FIELD_SIZE(type, field)
#define RTL_SIZEOF_THROUGH_FIELD(type, field) (offsetof(type, field) + FIELD_SIZE(type, field))
#undef CONTAINING_RECORD
#define CONTAINING_RECORD(address, type, field) \
	((type *)((PCHAR)(address) - (ULONG_PTR)offsetof(type, field)))
#undef ARRAYSIZE
#define ARRAYSIZE(a)     (sizeof(a) / sizeof((a)[0]))
#define RTL_NUMBER_OF(a) ARRAYSIZE(a)
#define RTL_BITS_OF(x)   (sizeof(x) * 8)

#define FlagOn(flags, single)        ((flags) & (single))
#define BooleanFlagOn(flags, single) ((BOOLEAN)(((flags) & (single)) != 0))
#define SetFlag(flags, single)       ((flags) |= (single))
#define ClearFlag(flags, single)     ((flags) &= ~(single))

#define ALIGN_DOWN_BY(length, alignment) ((ULONG_PTR)(length) & ~((ULONG_PTR)(alignment)-1))
#define ALIGN_UP_BY(length, alignment) \
	(ALIGN_DOWN_BY(((ULONG_PTR)(length) + (alignment)-1), alignment))
#define ALIGN_DOWN(length, type)            ALIGN_DOWN_BY(length, sizeof(type))
#define ALIGN_UP(length, type)              ALIGN_UP_BY(length, sizeof(type))
#define ALIGN_DOWN_POINTER_BY(p, alignment) ((PVOID)ALIGN_DOWN_BY(p, alignment))
#define ALIGN_UP_POINTER_BY(p, alignment)   ((PVOID)ALIGN_UP_BY(p, alignment))

#if !defined(__cplusplus) && !defined(NOMINMAX)
#ifndef min
#define min(a, b) (((a) < (b)) ? (a) : (b))
#endif
#ifndef max
#define max(a, b) (((a) > (b)) ? (a) : (b))
#endif
#endif

#endif
