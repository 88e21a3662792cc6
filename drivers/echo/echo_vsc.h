/* SPDX-License-Identifier: MIT */
/** @file What the files of the echo client share. */
#ifndef ECHO_VSC_H
#define ECHO_VSC_H

#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#include "echo_ioctl.h"
#include "echo_protocol.h"
#ifdef ECHO_KMCL_BY_TABLE
#include "echo_kmcl.h"
#endif

#define ECHO_POOL_TAG 0x6f686345u /* "Echo" */

#define ECHO_DEFAULT_RING  65u /* pages of each ring, the control page among them */
#define ECHO_MAXIMUM_RING  4096u
#define ECHO_CLIENT_QUOTA  64u
#define ECHO_MAXIMUM_CHAIN 64u

typedef struct _ECHO_OPTIONS {
	ULONG Ring;     /* pages */
	ULONG External; /* bytes that one request may carry */
} ECHO_OPTIONS;

typedef struct _ECHO_CLIENT {
	/* the plain driver's */
	PDEVICE_OBJECT Self;
	PDEVICE_OBJECT Lower;
	KMUTEX Mutex;            /* Enable and Disable against removal */
	EX_RUNDOWN_REF Requests; /* device control under way: removal waits for it */

	VMBCHANNEL Channel;
	BOOLEAN Removed;        /* the channel stays closed */
	EX_RUNDOWN_REF Session; /* requests that use the open channel: Closed waits for them */

	KSPIN_LOCK Lock; /* all below */
	BOOLEAN Open;
	BOOLEAN Running;
	ULONG Opens;
	ULONG Suspends;
	UINT64 Packets;
	UINT64 StrayPushes;
	LIST_ENTRY Runs;   /* ECHO_RUN.Link */
	LIST_ENTRY Parked; /* ECHO_SLOT.Link: wait for Started */
} ECHO_CLIENT, *PECHO_CLIENT;

/* echo_vsc_channel.c */
/** The values of ring= and external=; says what is wrong with them. */
BOOLEAN EchoOptionsAreGood(ULONG Ring, ULONG ExternalKib);
/** Initialises *Client but for the plain driver's part. On failure EchoDeleteChannel is still due.
 */
NTSTATUS EchoCreateChannel(PECHO_CLIENT Client, PDEVICE_OBJECT Device, const ECHO_OPTIONS *Options);
VOID EchoDeleteChannel(PECHO_CLIENT Client);
VOID EchoQuery(PECHO_CLIENT Client, struct echo_info *Info);
/** RUN and RAW. */
NTSTATUS EchoTransfer(PECHO_CLIENT Client, ULONG Code, PVOID Buffer, ULONG InputLength,
		      ULONG OutputLength, PULONG_PTR Returned);
/** ENABLE, DISABLE, PAUSE and START. The caller excludes removal. */
NTSTATUS EchoControlChannel(PECHO_CLIENT Client, ULONG Code);

/* echo_vsc_run.c: RUN */
NTSTATUS EchoRun(PECHO_CLIENT Client, PVOID Buffer, ULONG InputLength, ULONG OutputLength,
		 PULONG_PTR Returned);
/** Started: sends what waited. */
VOID EchoRunResume(PECHO_CLIENT Client);
/** Closed: ends what waits. */
VOID EchoRunClosed(PECHO_CLIENT Client);
/** A packet of the server's own. */
VOID EchoRunPush(PECHO_CLIENT Client, const struct echo_push *Push);

/* echo_vsc_raw.c: RAW */
NTSTATUS EchoRaw(PECHO_CLIENT Client, PVOID Buffer, ULONG InputLength, ULONG OutputLength,
		 PULONG_PTR Returned);

#endif
