/* SPDX-License-Identifier: MIT */
/*
 * Time: the guest's clock is set once after each negotiation and when a program asks for it; in
 * between it gets samples. From message version 4.0 on a message says at which reference time of
 * the partition the host's clock was read, so that it may arrive late.
 */
#include <openkmcl_ext.h>

#include "ic_vsp.h"

/* 1970-01-01 and 10000-01-01, in units of 100 ns since 1601. */
#define FIRST_TIME 116444736000000000ll
#define TIME_END   2650467744000000000ll

static const struct ic_version Versions[] = {{1, 0}, {3, 0}, {4, 0}};

static NTSTATUS Send(PIC Ic, UINT8 Flags)
{
	UINT64 reference = 0, now;
	NTSTATUS status;

	status = KmclChannelQueryReferenceTime(Ic->Channel, &reference, &now);
	if (!NT_SUCCESS(status)) {
		LARGE_INTEGER time;

		if (IcVersionAtLeast(Ic, 4, 0))
			return status;
		KeQuerySystemTimePrecise(&time);
		now = (UINT64)time.QuadPart;
	}
	now += (UINT64)Ic->Time.Offset;
	Ic->Time.Sent = Flags;
	if (IcVersionAtLeast(Ic, 4, 0)) {
		struct ic_time_v4 *body = IcBody(Ic, sizeof(*body));

		body->host = now;
		body->reference = reference;
		body->flags = Flags;
		return IcSend(Ic, IC_TIMESYNC, sizeof(*body));
	} else {
		struct ic_time_v3 *body = IcBody(Ic, sizeof(*body));

		body->host = now;
		body->flags = Flags;
		return IcSend(Ic, IC_TIMESYNC, sizeof(*body));
	}
}

static VOID Synchronise(PIC Ic)
{
	NTSTATUS status = Send(Ic, IC_TIME_SYNC);

	Ic->Time.SyncDue = FALSE;
	Ic->Time.Served = Ic->Pending != NULL;
	if (!NT_SUCCESS(status))
		IcFinish(Ic, status, 0);
}

static VOID Tick(PIC Ic)
{
	if (!Ic->Waiting)
		Send(Ic, IC_TIME_SAMPLE);
}

static VOID Answer(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size)
{
	UNREFERENCED_PARAMETER(Body);
	UNREFERENCED_PARAMETER(Size);
	if (Ic->Time.Sent == IC_TIME_SAMPLE) {
		Ic->Time.Samples++;
	} else {
		Ic->Time.Syncs++;
		if (Ic->Pending && Ic->Time.Served) {
			struct ic_answer *out = Ic->Pending->AssociatedIrp.SystemBuffer;

			out->status = Header->status;
			IcFinish(Ic, STATUS_SUCCESS, sizeof(*out));
		}
	}
	if (Ic->Time.SyncDue)
		Synchronise(Ic);
}

static VOID Closed(PIC Ic)
{
	Ic->Time.SyncDue = FALSE;
}

static BOOLEAN NewOffset(PIC Ic, const struct ic_clock_request *Request, INT64 *Offset)
{
	LARGE_INTEGER now;

	KeQuerySystemTimePrecise(&now);
	switch (Request->operation) {
	case IC_CLOCK_SYNC:
		*Offset = Ic->Time.Offset;
		return !Request->value;
	case IC_CLOCK_OFFSET:
		*Offset = Request->value;
		return Request->value >= FIRST_TIME - now.QuadPart &&
		       Request->value < TIME_END - now.QuadPart;
	case IC_CLOCK_TIME:
		if (Request->value < FIRST_TIME || Request->value >= TIME_END)
			return FALSE;
		*Offset = Request->value - now.QuadPart;
		return TRUE;
	default:
		return FALSE;
	}
}

/* A sample may be unanswered; the synchronisation follows it then. */
NTSTATUS IcTimesyncAsk(PIC Ic, PIRP Irp, const struct ic_clock_request *Request)
{
	NTSTATUS status = IcMayAsk(Ic);
	INT64 offset;

	if (!NewOffset(Ic, Request, &offset))
		return STATUS_INVALID_PARAMETER;
	if (!NT_SUCCESS(status) && (status != STATUS_DEVICE_BUSY || Ic->Pending))
		return status;
	Ic->Time.Offset = offset;
	Ic->Time.Served = FALSE;
	Ic->Time.SyncDue = TRUE;
	status = IcPend(Ic, Irp, Request->wait);
	if (status == STATUS_PENDING && !Ic->Waiting)
		Synchronise(Ic);
	return status;
}

const IC_KIND IcTimesync = {
	.Component = IC_COMPONENT_TIMESYNC,
	.Name = L"time synchronisation",
	.Type = IC_TIMESYNC_TYPE,
	.Instance = IC_TIMESYNC_INSTANCE,
	.Versions = Versions,
	.VersionCount = RTL_NUMBER_OF(Versions),
	.Ready = Synchronise,
	.Tick = Tick,
	.Answer = Answer,
	.Closed = Closed,
};
