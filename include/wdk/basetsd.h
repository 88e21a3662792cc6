/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Integer types of a stated width, and integers as wide as a pointer. `long` never appears: it has
 * 64 bits here and 32 on Windows.
 */
#ifndef _BASETSD_H_
#define _BASETSD_H_

#include <stddef.h>
#include <stdint.h>

typedef int8_t INT8, *PINT8;
typedef int16_t INT16, *PINT16;
typedef int32_t INT32, *PINT32;
typedef int64_t INT64, *PINT64;
typedef uint8_t UINT8, *PUINT8;
typedef uint16_t UINT16, *PUINT16;
typedef uint32_t UINT32, *PUINT32;
typedef uint64_t UINT64, *PUINT64;
typedef int32_t LONG32, *PLONG32;
typedef int64_t LONG64, *PLONG64;
typedef uint32_t ULONG32, *PULONG32;
typedef uint64_t ULONG64, *PULONG64;
typedef uint32_t DWORD32, *PDWORD32;
typedef uint64_t DWORD64, *PDWORD64;

typedef intptr_t INT_PTR, *PINT_PTR;
typedef uintptr_t UINT_PTR, *PUINT_PTR;
typedef intptr_t LONG_PTR, *PLONG_PTR;
typedef uintptr_t ULONG_PTR, *PULONG_PTR;
typedef ULONG_PTR DWORD_PTR, *PDWORD_PTR;
typedef ULONG_PTR SIZE_T, *PSIZE_T;
typedef LONG_PTR SSIZE_T, *PSSIZE_T;
typedef ULONG_PTR KAFFINITY, *PKAFFINITY;

#define POINTER_64
#define POINTER_32

#define MAXUINT8     ((UINT8) ~((UINT8)0))
#define MAXUINT16    ((UINT16) ~((UINT16)0))
#define MAXUINT32    ((UINT32) ~((UINT32)0))
#define MAXUINT64    ((UINT64) ~((UINT64)0))
#define MAXINT32     ((INT32)(MAXUINT32 >> 1))
#define MAXINT64     ((INT64)(MAXUINT64 >> 1))
#define MAXULONG_PTR (~((ULONG_PTR)0))
#define MAXSIZE_T    ((SIZE_T) ~((SIZE_T)0))

#define HandleToULong(h) ((ULONG)(ULONG_PTR)(h))
#define HandleToUlong(h) HandleToULong(h)
#define ULongToHandle(u) ((HANDLE)(ULONG_PTR)(ULONG)(u))
#define UlongToHandle(u) ULongToHandle(u)
#define PtrToUlong(p)    ((ULONG)(ULONG_PTR)(p))
#define PtrToULong(p)    PtrToUlong(p)
#define UlongToPtr(u)    ((PVOID)(ULONG_PTR)(ULONG)(u))
#define ULongToPtr(u)    UlongToPtr(u)

#endif
