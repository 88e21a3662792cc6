/* SPDX-License-Identifier: MIT */
/*
 * Shutdown: one request, which the guest answers before it acts.
 */
#include "ic_vsp.h"

static const struct ic_version Versions[] = {{3, 0}, {3, 1}, {3, 2}};

NTSTATUS IcShutdownAsk(PIC Ic, PIRP Irp, const struct ic_shutdown_request *Request)
{
	UINT32 flags = Request->shutdown.flags;
	NTSTATUS status = IcMayAsk(Ic);

	if (flags > (IC_SHUTDOWN_FORCE | IC_SHUTDOWN_HIBERNATE) || Request->reserved ||
	    IcTextLength((const UINT8 *)Request->shutdown.text, IC_SHUTDOWN_TEXT) ==
		    IC_SHUTDOWN_TEXT)
		return STATUS_INVALID_PARAMETER;
	if (!NT_SUCCESS(status))
		return status;
	if (((flags & IC_SHUTDOWN_RESTART) && !IcVersionAtLeast(Ic, 3, 1)) ||
	    ((flags & IC_SHUTDOWN_HIBERNATE) && !IcVersionAtLeast(Ic, 3, 2)))
		return STATUS_NOT_SUPPORTED;
	RtlCopyMemory(IcBody(Ic, sizeof(Request->shutdown)), &Request->shutdown,
		      sizeof(Request->shutdown));
	status = IcSend(Ic, IC_SHUTDOWN, sizeof(Request->shutdown));
	return NT_SUCCESS(status) ? IcPend(Ic, Irp, Request->wait) : status;
}

static VOID Answer(PIC Ic, const struct ic_header *Header, const UINT8 *Body, UINT32 Size)
{
	struct ic_answer *out;

	UNREFERENCED_PARAMETER(Body);
	UNREFERENCED_PARAMETER(Size);
	if (!Ic->Pending)
		return;
	out = Ic->Pending->AssociatedIrp.SystemBuffer;
	out->status = Header->status;
	IcFinish(Ic, STATUS_SUCCESS, sizeof(*out));
}

const IC_KIND IcShutdown = {
	.Component = IC_COMPONENT_SHUTDOWN,
	.Name = L"shutdown",
	.Type = IC_SHUTDOWN_TYPE,
	.Instance = IC_SHUTDOWN_INSTANCE,
	.Versions = Versions,
	.VersionCount = RTL_NUMBER_OF(Versions),
	.Answer = Answer,
};
