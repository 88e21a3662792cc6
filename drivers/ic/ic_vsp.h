/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What the files of the integration components share. Each component is one channel that asks one
 * thing at a time (session.c); what it asks is its own file's.
 */
#ifndef IC_VSP_H
#define IC_VSP_H

#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#include "ic_ioctl.h"
#include "ic_protocol.h"

/* More than any message of a guest's, so that what is too long arrives to be dropped. */
#define IC_MAXIMUM_MESSAGE 13312u
/* Largest that we send. */
#define IC_LARGEST         (sizeof(struct ic_header) + sizeof(struct ic_kvp_ip))
#define IC_QUOTA           8u /* packets served at once */

#define IC_DEFAULT_PERIOD 2000u /* of heartbeats, in milliseconds */
#define IC_DEFAULT_SAMPLE 5000u /* of time samples */
#define IC_DEFAULT_MISSES 5u    /* heartbeats in a row that end a life */

typedef enum _IC_SESSION {
	IcClosed,
	IcNegotiating, /* our versions are sent */
	IcDraining,    /* something from before a pause is unanswered; then versions are sent */
	IcReady,
	IcUnmatched,
} IC_SESSION;

typedef struct _IC IC, *PIC;

/* What makes a component. All are called under its lock. */
typedef struct _IC_KIND {
	enum ic_component Component;
	PCWSTR Name;
	GUID Type, Instance;
	const struct ic_version *Versions; /* of its messages, ascending */
	ULONG VersionCount;
	VOID (*Ready)(PIC Ic);
	VOID (*Tick)(PIC Ic);
	/* What it waited for: so many bytes of body are there. */
	VOID (*Answer)(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size);
	VOID (*Closed)(PIC Ic);
} IC_KIND;

struct _IC {
	const IC_KIND *Kind;
	struct _IC_DEVICE *Device;
	VMBCHANNEL Channel;
	KSPIN_LOCK Lock; /* all below */

	IC_SESSION Session;
	BOOLEAN Waiting; /* for the answer to the last that was sent */
	UINT16 Awaited;  /* its type */
	UINT8 Transaction;
	BOOLEAN HasReference; /* timesync: the partition's reference time can be read */
	struct ic_version Framework, Message;
	struct ic_component_info Counts;
	UINT64 Told; /* when something was last logged that the guest can provoke */

	KTIMER Timer; /* ticks of a ready component */
	KDPC TimerDpc;
	UINT32 Period; /* milliseconds; 0: it has none */

	PIRP Pending; /* a program waits for the answer */
	KTIMER Limit;
	KDPC LimitDpc;
	UINT64 Deadline;
	PIRP Done; /* to be completed when the lock is free */

	union {
		struct {
			UINT64 Sequence, Beats, Wrong, Last;
			UINT32 Missed, State;
			BOOLEAN Beating;
		} Heartbeat;
		struct {
			INT64 Offset;
			UINT64 Syncs, Samples;
			BOOLEAN SyncDue;
			BOOLEAN Served; /* the pending request's synchronisation is on its way */
			UINT8 Sent;     /* flags of the message that is unanswered */
		} Time;
	};

	/* the message under construction, and the pending request's while it is unanswered */
	union {
		struct ic_header Header;
		UINT8 Bytes[IC_LARGEST];
	} Out;
};

typedef struct _IC_DEVICE {
	PDEVICE_OBJECT Self;
	PDEVICE_OBJECT Lower;
	PDEVICE_OBJECT Physical;
	KMUTEX Mutex;            /* Enable and Disable against removal */
	EX_RUNDOWN_REF Requests; /* device control under way */
	LONG Removed;
	UINT32 Misses;
	IC Ics[IC_COMPONENTS]; /* without a Channel: not offered */
} IC_DEVICE, *PIC_DEVICE;

extern const IC_KIND IcHeartbeat, IcShutdown, IcTimesync, IcKvp;

/* ---- session.c ---- */
NTSTATUS IcCreate(PIC_DEVICE Device, PIC Ic, const IC_KIND *Kind, UINT32 Period);
/** Also after a Create that failed half way. */
VOID IcDestroy(PIC Ic);

VOID IcLock(PIC Ic, PKIRQL Irql);
/** Completes the request that was finished meanwhile. */
VOID IcUnlock(PIC Ic, KIRQL Irql);

/** Where the body of the next message is put together; zeroes. Nothing is unanswered. */
PVOID IcBody(PIC Ic, UINT32 Size);
/** Sends what IcBody gave; from here on Waiting. */
NTSTATUS IcSend(PIC Ic, UINT16 Type, UINT32 Size);
BOOLEAN IcVersionAtLeast(PIC Ic, UINT16 Major, UINT16 Minor);
/** The answer made no sense. */
VOID IcReject(PIC Ic, PCSTR Why);

/* ---- request.c: requests of programs that the guest answers ---- */
/** STATUS_SUCCESS: something may be sent now for this request. */
NTSTATUS IcMayAsk(PIC Ic);
/** The request pends until IcFinish. @return STATUS_PENDING, or STATUS_CANCELLED: it was. */
NTSTATUS IcPend(PIC Ic, PIRP Irp, UINT32 Wait);
/** Ends the pending request, if there is one. */
VOID IcFinish(PIC Ic, NTSTATUS Status, ULONG_PTR Information);
KDEFERRED_ROUTINE IcLimitReached;

/* ---- the components' own requests: STATUS_PENDING, or the request is the caller's to complete
 * ---- */
NTSTATUS IcShutdownAsk(PIC Ic, PIRP Irp, const struct ic_shutdown_request *Request);
NTSTATUS IcTimesyncAsk(PIC Ic, PIRP Irp, const struct ic_clock_request *Request);
NTSTATUS IcKvpAsk(PIC Ic, PIRP Irp, const struct ic_kvp_request *Request);
NTSTATUS IcIpAsk(PIC Ic, PIRP Irp, const struct ic_ip_request *Request);

/* ---- text.c: UTF-16 of a guest's or a program's ---- */
/** Characters before the first 0 among `Count` in unaligned memory; Count: there is no 0. */
ULONG IcTextLength(const UINT8 *Text, ULONG Count);
/** Copies text of that length, with halves of surrogate pairs replaced, and ends it. */
VOID IcTextCopy(UINT8 *To, const UINT8 *From, ULONG Length);

#endif
