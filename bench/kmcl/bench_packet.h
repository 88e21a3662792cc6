/* SPDX-License-Identifier: MIT */
/** @file What the two drivers say to each other. */
#ifndef BENCH_PACKET_H
#define BENCH_PACKET_H

#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#include "bench_driver.h"

/** A request and its answer: the answer is the request with `external` as the server counted it. */
typedef struct _BENCH_MESSAGE {
	ULONG64 Number;
	ULONG External;
	ULONG Wrong;
	UCHAR Body[BENCH_PACKET - 16];
} BENCH_MESSAGE, *PBENCH_MESSAGE;
C_ASSERT(sizeof(BENCH_MESSAGE) == BENCH_PACKET);

/** What `External` says in the request behind packets that nobody answers: have there been
 *  `Number` of them, all whole? */
#define BENCH_ONE_WAY_END 0xffffffffu

/** First and last word of external data; last one of a packet one way. */
#define BENCH_MARK 0x6b636d6c62656e63ull

/* 3f0f8f5e-5d0e-4a53-9d1f-6f0a64b2c7d1 */
static const GUID BenchInterface = {
	0x3f0f8f5e, 0x5d0e, 0x4a53, {0x9d, 0x1f, 0x6f, 0x0a, 0x64, 0xb2, 0xc7, 0xd1}};

static inline GUID BenchInstance(ULONG Index)
{
	GUID instance = {0, 0, 0, {0, 0, 0, 0, 0, 0, 0xbe, 0}};

	instance.Data1 = 1;
	instance.Data4[7] = (UCHAR)Index;
	return instance;
}

#endif
