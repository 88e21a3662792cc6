/* SPDX-License-Identifier: MIT */
/*
 * Requests: buffers, completion, cancellation by the driver's callback.
 */
#include "nt/wdf.h"

#define HANDLE_OF(request) ((WDFREQUEST)(PVOID)(request))

enum {
	INPUT,
	OUTPUT
};

NTSTATUS wdf_request_create(struct wdf_device *device, struct wdf_queue *queue, PIRP irp,
			    struct wdf_request **request)
{
	const WDF_OBJECT_ATTRIBUTES *attributes =
		device->init.request_attributes.Size ? &device->init.request_attributes : NULL;
	struct wdf_request *r;
	NTSTATUS status;

	status = wdf_create(device->object.driver, WDF_REQUEST, sizeof(*r), attributes, NULL,
			    WDF_KEPT, &r);
	if (!NT_SUCCESS(status))
		return status;
	InitializeListHead(&r->link);
	r->device = device;
	r->queue = queue;
	r->irp = irp;
	WDF_REQUEST_COMPLETION_PARAMS_INIT(&r->params);
	*request = r;
	return STATUS_SUCCESS;
}

/* ---- completion ---- */

static void free_mdls(struct wdf_request *r)
{
	for (int i = INPUT; i <= OUTPUT; i++) {
		if (r->mdl[i] && r->mdl[i] != r->irp->MdlAddress)
			IoFreeMdl(r->mdl[i]);
		r->mdl[i] = NULL;
	}
}

/* The request's children and its cleanup callbacks go before the IRP, whose buffers they use. */
void wdf_request_finish(struct wdf_request *r, NTSTATUS status)
{
	PIRP irp = r->irp;

	r->state = WDF_REQUEST_COMPLETED;
	irp->IoStatus.Status = status;
	r->status = status;
	wdf_clean(r);
	free_mdls(r);
	r->irp = NULL;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	wdf_dispose_of(r);
}

/* Takes the request from its queue; false: it is not the driver's. */
static bool take_owned(struct wdf_request *r)
{
	bool owned, cancelable = false;

	wdf_lock(r->object.driver);
	owned = r->state == WDF_REQUEST_OWNED;
	if (owned) {
		cancelable = r->cancel && IoSetCancelRoutine(r->irp, NULL);
		r->cancel = NULL;
		wdf_reference(r->queue);
		wdf_queue_remove(r);
		r->state = WDF_REQUEST_COMPLETED;
	}
	wdf_unlock(r->object.driver);
	if (cancelable)
		nt_violation("wdf-request-cancelable",
			     "a request is completed while it is cancelable "
			     "(WdfRequestUnmarkCancelable)");
	return owned;
}

static void complete(struct wdf_request *r, NTSTATUS status, const char *function)
{
	struct wdf_queue *q;

	if (!r)
		return;
	if (!take_owned(r)) {
		nt_violation("wdf-request-completed",
			     "%s of a request that the driver does not own", function);
		return;
	}
	q = r->queue;
	wdf_request_finish(r, status);
	wdf_queue_run(q);
	wdf_release(q);
}

VOID WdfRequestComplete(WDFREQUEST Request, NTSTATUS Status)
{
	complete(wdf_of(Request, WDF_REQUEST, "WdfRequestComplete"), Status, "WdfRequestComplete");
}

VOID WdfRequestCompleteWithPriorityBoost(WDFREQUEST Request, NTSTATUS Status, CCHAR PriorityBoost)
{
	static const char function[] = "WdfRequestCompleteWithPriorityBoost";

	complete(wdf_of(Request, WDF_REQUEST, function), Status, function);
}

VOID WdfRequestCompleteWithInformation(WDFREQUEST Request, NTSTATUS Status, ULONG_PTR Information)
{
	static const char function[] = "WdfRequestCompleteWithInformation";
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, function);

	if (r && r->irp)
		r->irp->IoStatus.Information = Information;
	complete(r, Status, function);
}

VOID WdfRequestSetInformation(WDFREQUEST Request, ULONG_PTR Information)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestSetInformation");

	if (r && r->irp)
		r->irp->IoStatus.Information = Information;
}

ULONG_PTR WdfRequestGetInformation(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestGetInformation");

	return r && r->irp ? r->irp->IoStatus.Information : 0;
}

NTSTATUS WdfRequestGetStatus(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestGetStatus");

	return r ? r->status : STATUS_INVALID_PARAMETER;
}

/* ---- what it is ---- */

WDFQUEUE WdfRequestGetIoQueue(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestGetIoQueue");

	return r ? (WDFQUEUE)(PVOID)r->queue : NULL;
}

PIRP WdfRequestWdmGetIrp(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestWdmGetIrp");

	return r ? r->irp : NULL;
}

KPROCESSOR_MODE WdfRequestGetRequestorMode(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestGetRequestorMode");

	return r && r->irp ? r->irp->RequestorMode : KernelMode;
}

VOID WdfRequestGetParameters(WDFREQUEST Request, PWDF_REQUEST_PARAMETERS Parameters)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestGetParameters");
	const IO_STACK_LOCATION *l;

	if (!r || !r->irp)
		return;
	if (Parameters->Size != sizeof(*Parameters)) {
		nt_violation("wdf-size", "WdfRequestGetParameters: Size is %u", Parameters->Size);
		return;
	}
	l = IoGetCurrentIrpStackLocation(r->irp);
	Parameters->Type = (WDF_REQUEST_TYPE)l->MajorFunction;
	Parameters->MinorFunction = l->MinorFunction;
	switch (l->MajorFunction) {
	case IRP_MJ_READ:
	case IRP_MJ_WRITE:
		Parameters->Parameters.Read.Length = l->Parameters.Read.Length;
		Parameters->Parameters.Read.Key = l->Parameters.Read.Key;
		Parameters->Parameters.Read.DeviceOffset = l->Parameters.Read.ByteOffset.QuadPart;
		break;
	default:
		Parameters->Parameters.DeviceIoControl.OutputBufferLength =
			l->Parameters.DeviceIoControl.OutputBufferLength;
		Parameters->Parameters.DeviceIoControl.InputBufferLength =
			l->Parameters.DeviceIoControl.InputBufferLength;
		Parameters->Parameters.DeviceIoControl.IoControlCode =
			l->Parameters.DeviceIoControl.IoControlCode;
		Parameters->Parameters.DeviceIoControl.Type3InputBuffer =
			l->Parameters.DeviceIoControl.Type3InputBuffer;
		break;
	}
}

/* ---- buffers ---- */

struct extent {
	PVOID buffer;
	size_t length;
	PMDL mdl; /* the IRP's own, if that describes it */
};

static NTSTATUS control_extent(const IRP *irp, const IO_STACK_LOCATION *l, int which,
			       struct extent *e)
{
	ULONG method = METHOD_FROM_CTL_CODE(l->Parameters.DeviceIoControl.IoControlCode);

	if (method == METHOD_NEITHER)
		return STATUS_INVALID_DEVICE_REQUEST;
	e->length = which == INPUT ? l->Parameters.DeviceIoControl.InputBufferLength
				   : l->Parameters.DeviceIoControl.OutputBufferLength;
	if (which == INPUT || method == METHOD_BUFFERED)
		e->buffer = irp->AssociatedIrp.SystemBuffer;
	else
		e->mdl = irp->MdlAddress;
	return STATUS_SUCCESS;
}

/* A read's buffer is output, a write's input. */
static NTSTATUS transfer_extent(const struct wdf_request *r, const IO_STACK_LOCATION *l, int which,
				struct extent *e)
{
	if ((l->MajorFunction == IRP_MJ_READ) != (which == OUTPUT))
		return STATUS_INVALID_DEVICE_REQUEST;
	e->length = l->Parameters.Read.Length;
	switch (r->device->init.io_type) {
	case WdfDeviceIoBuffered:
		e->buffer = r->irp->AssociatedIrp.SystemBuffer;
		return STATUS_SUCCESS;
	case WdfDeviceIoDirect:
		e->mdl = r->irp->MdlAddress;
		return STATUS_SUCCESS;
	default:
		return STATUS_INVALID_DEVICE_REQUEST;
	}
}

static NTSTATUS find_extent(const struct wdf_request *r, int which, struct extent *e)
{
	const IO_STACK_LOCATION *l;

	*e = (struct extent){0};
	if (!r || !r->irp)
		return STATUS_INVALID_PARAMETER;
	l = IoGetCurrentIrpStackLocation(r->irp);
	switch (l->MajorFunction) {
	case IRP_MJ_DEVICE_CONTROL:
	case IRP_MJ_INTERNAL_DEVICE_CONTROL:
		return control_extent(r->irp, l, which, e);
	case IRP_MJ_READ:
	case IRP_MJ_WRITE:
		return transfer_extent(r, l, which, e);
	default:
		return STATUS_INVALID_DEVICE_REQUEST;
	}
}

static NTSTATUS map_extent(const struct wdf_request *r, int which, size_t minimum, struct extent *e)
{
	NTSTATUS status = find_extent(r, which, e);

	if (!NT_SUCCESS(status))
		return status;
	if (!e->length || e->length < minimum)
		return STATUS_BUFFER_TOO_SMALL;
	if (e->mdl)
		e->buffer = MmGetSystemAddressForMdlSafe(e->mdl, NormalPagePriority);
	return e->buffer ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

static NTSTATUS retrieve_buffer(struct wdf_request *r, int which, size_t minimum, PVOID *buffer,
				size_t *length)
{
	struct extent e;
	NTSTATUS status;

	if (length)
		*length = 0;
	if (!buffer)
		return STATUS_INVALID_PARAMETER;
	*buffer = NULL;
	status = map_extent(r, which, minimum, &e);
	if (!NT_SUCCESS(status))
		return status;
	*buffer = e.buffer;
	if (length)
		*length = e.length;
	return STATUS_SUCCESS;
}

NTSTATUS WdfRequestRetrieveInputBuffer(WDFREQUEST Request, size_t MinimumRequiredLength,
				       PVOID *Buffer, size_t *Length)
{
	return retrieve_buffer(wdf_of(Request, WDF_REQUEST, "WdfRequestRetrieveInputBuffer"), INPUT,
			       MinimumRequiredLength, Buffer, Length);
}

NTSTATUS WdfRequestRetrieveOutputBuffer(WDFREQUEST Request, size_t MinimumRequiredSize,
					PVOID *Buffer, size_t *Length)
{
	return retrieve_buffer(wdf_of(Request, WDF_REQUEST, "WdfRequestRetrieveOutputBuffer"),
			       OUTPUT, MinimumRequiredSize, Buffer, Length);
}

static NTSTATUS retrieve_memory(struct wdf_request *r, int which, WDFMEMORY *memory)
{
	struct extent e;
	NTSTATUS status;

	if (!memory)
		return STATUS_INVALID_PARAMETER;
	*memory = NULL;
	status = map_extent(r, which, 0, &e);
	if (NT_SUCCESS(status) && !r->memory[which])
		status = wdf_memory_around(&r->object, e.buffer, e.length, &r->memory[which]);
	if (NT_SUCCESS(status))
		*memory = (WDFMEMORY)(PVOID)r->memory[which];
	return status;
}

NTSTATUS WdfRequestRetrieveInputMemory(WDFREQUEST Request, WDFMEMORY *Memory)
{
	return retrieve_memory(wdf_of(Request, WDF_REQUEST, "WdfRequestRetrieveInputMemory"), INPUT,
			       Memory);
}

NTSTATUS WdfRequestRetrieveOutputMemory(WDFREQUEST Request, WDFMEMORY *Memory)
{
	return retrieve_memory(wdf_of(Request, WDF_REQUEST, "WdfRequestRetrieveOutputMemory"),
			       OUTPUT, Memory);
}

static NTSTATUS retrieve_mdl(struct wdf_request *r, int which, PMDL *mdl)
{
	struct extent e;
	NTSTATUS status;

	if (!mdl)
		return STATUS_INVALID_PARAMETER;
	*mdl = NULL;
	status = find_extent(r, which, &e);
	if (!NT_SUCCESS(status))
		return status;
	if (!e.length)
		return STATUS_BUFFER_TOO_SMALL;
	if (!r->mdl[which] && e.mdl) {
		r->mdl[which] = e.mdl;
	} else if (!r->mdl[which]) {
		r->mdl[which] = IoAllocateMdl(e.buffer, (ULONG)e.length, FALSE, FALSE, NULL);
		if (!r->mdl[which])
			return STATUS_INSUFFICIENT_RESOURCES;
		MmBuildMdlForNonPagedPool(r->mdl[which]);
	}
	*mdl = r->mdl[which];
	return STATUS_SUCCESS;
}

NTSTATUS WdfRequestRetrieveInputWdmMdl(WDFREQUEST Request, PMDL *Mdl)
{
	return retrieve_mdl(wdf_of(Request, WDF_REQUEST, "WdfRequestRetrieveInputWdmMdl"), INPUT,
			    Mdl);
}

NTSTATUS WdfRequestRetrieveOutputWdmMdl(WDFREQUEST Request, PMDL *Mdl)
{
	return retrieve_mdl(wdf_of(Request, WDF_REQUEST, "WdfRequestRetrieveOutputWdmMdl"), OUTPUT,
			    Mdl);
}

/* ---- cancellation ---- */

static void call_cancel(struct wdf_request *r, PFN_WDF_REQUEST_CANCEL cancel)
{
	struct wdf_presentation *p = r->queue ? r->queue->presentation : NULL;

	if (p && wdf_present_mine(p))
		p = NULL;
	wdf_present_begin(p);
	cancel(HANDLE_OF(r));
	wdf_present_end(p);
}

/* The driver's callback completes the request, which may then be gone. */
static DRIVER_CANCEL cancel_owned;
static VOID cancel_owned(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	struct wdf_request *r = Irp->Tail.Overlay.DriverContext[0];
	struct wdf_queue *q = r->queue;
	PFN_WDF_REQUEST_CANCEL cancel;

	wdf_reference(r);
	wdf_reference(q);
	IoReleaseCancelSpinLock(Irp->CancelIrql);
	wdf_lock(r->object.driver);
	cancel = r->cancel;
	r->cancel = NULL;
	r->cancelled = true;
	wdf_unlock(r->object.driver);
	if (cancel)
		call_cancel(r, cancel);
	wdf_release(r);
	wdf_release(q);
}

static NTSTATUS mark(struct wdf_request *r, PFN_WDF_REQUEST_CANCEL cancel)
{
	NTSTATUS status = STATUS_SUCCESS;

	wdf_lock(r->object.driver);
	if (r->state != WDF_REQUEST_OWNED || r->cancel) {
		status = STATUS_INVALID_DEVICE_REQUEST;
	} else if (r->irp->Cancel) {
		status = STATUS_CANCELLED;
	} else {
		r->cancel = cancel;
		IoSetCancelRoutine(r->irp, cancel_owned);
		/* cancelled in between: whoever takes the routine out has the request */
		if (r->irp->Cancel && IoSetCancelRoutine(r->irp, NULL)) {
			r->cancel = NULL;
			status = STATUS_CANCELLED;
		}
	}
	wdf_unlock(r->object.driver);
	return status;
}

VOID WdfRequestMarkCancelable(WDFREQUEST Request, PFN_WDF_REQUEST_CANCEL EvtRequestCancel)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestMarkCancelable");
	NTSTATUS status;

	if (!r || !EvtRequestCancel)
		return;
	wdf_reference(r);
	status = mark(r, EvtRequestCancel);
	if (status == STATUS_CANCELLED)
		call_cancel(r, EvtRequestCancel);
	else if (!NT_SUCCESS(status))
		nt_violation("wdf-request-cancelable",
			     "WdfRequestMarkCancelable of a request that is not the driver's, or "
			     "is cancelable");
	wdf_release(r);
}

NTSTATUS WdfRequestMarkCancelableEx(WDFREQUEST Request, PFN_WDF_REQUEST_CANCEL EvtRequestCancel)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestMarkCancelableEx");

	return r && EvtRequestCancel ? mark(r, EvtRequestCancel) : STATUS_INVALID_PARAMETER;
}

NTSTATUS WdfRequestUnmarkCancelable(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestUnmarkCancelable");
	NTSTATUS status;

	if (!r)
		return STATUS_INVALID_PARAMETER;
	wdf_lock(r->object.driver);
	if (r->cancel && IoSetCancelRoutine(r->irp, NULL)) {
		r->cancel = NULL;
		status = STATUS_SUCCESS;
	} else {
		/* a routine that is gone from the IRP is on its way to the callback */
		status = r->cancel || r->cancelled ? STATUS_CANCELLED : STATUS_INVALID_PARAMETER;
	}
	wdf_unlock(r->object.driver);
	return status;
}

BOOLEAN WdfRequestIsCanceled(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestIsCanceled");

	return r && r->irp ? r->irp->Cancel : FALSE;
}
