/* SPDX-License-Identifier: MIT */
/*
 * Heartbeat: a number each period, one at a time, that a living guest sends back one higher.
 */
#include "ic_vsp.h"

static const struct ic_version Versions[] = {{1, 0}, {3, 0}};

static VOID Beat(PIC Ic)
{
	struct ic_heartbeat *body = IcBody(Ic, sizeof(*body));

	body->sequence = ++Ic->Heartbeat.Sequence;
	IcSend(Ic, IC_HEARTBEAT, sizeof(*body));
}

static VOID Miss(PIC Ic)
{
	if (++Ic->Heartbeat.Missed != Ic->Device->Misses)
		return;
	DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_WARNING_LEVEL,
		   "%ws: the guest has missed %u heartbeats of %u ms\n", Ic->Kind->Name,
		   Ic->Heartbeat.Missed, Ic->Period);
}

static VOID Ready(PIC Ic)
{
	Ic->Heartbeat.Missed = 0;
	Ic->Heartbeat.Beating = FALSE;
	Beat(Ic);
}

static VOID Tick(PIC Ic)
{
	if (Ic->Waiting)
		Miss(Ic);
	else
		Beat(Ic);
}

static VOID Answer(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size)
{
	struct ic_heartbeat beat = {0};

	UNREFERENCED_PARAMETER(Header);
	RtlCopyMemory(&beat, Body, Size < sizeof(beat) ? Size : sizeof(beat));
	if (Size < sizeof(beat.sequence) || beat.sequence != Ic->Heartbeat.Sequence + 1) {
		Ic->Heartbeat.Wrong++;
		IcReject(Ic, "a heartbeat with a wrong number");
		Miss(Ic);
		return;
	}
	Ic->Heartbeat.Beats++;
	Ic->Heartbeat.Missed = 0;
	Ic->Heartbeat.Beating = TRUE;
	Ic->Heartbeat.Last = KeQueryInterruptTime();
	Ic->Heartbeat.State = IcVersionAtLeast(Ic, 3, 0) ? beat.state : IC_APPLICATION_UNKNOWN;
}

static VOID Closed(PIC Ic)
{
	Ic->Heartbeat.Beating = FALSE;
}

const IC_KIND IcHeartbeat = {
	.Component = IC_COMPONENT_HEARTBEAT,
	.Name = L"heartbeat",
	.Type = IC_HEARTBEAT_TYPE,
	.Instance = IC_HEARTBEAT_INSTANCE,
	.Versions = Versions,
	.VersionCount = RTL_NUMBER_OF(Versions),
	.Ready = Ready,
	.Tick = Tick,
	.Answer = Answer,
	.Closed = Closed,
};
