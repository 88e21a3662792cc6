/* SPDX-License-Identifier: MIT */
/*
 * I/O targets: interface queries, control codes, requests that are sent on.
 */
#include "nt/wdf.h"

/* ---- life ---- */

static void wait_for_sent(struct wdf_target *t)
{
	wdf_lock(t->object.driver);
	while (t->sent)
		pthread_cond_wait(&t->object.driver->changed, &t->object.driver->lock);
	wdf_unlock(t->object.driver);
}

static void dispose_target(struct wdf_object *object)
{
	wait_for_sent((struct wdf_target *)(PVOID)object);
}

NTSTATUS wdf_target_create(struct wdf_device *device, const WDF_OBJECT_ATTRIBUTES *attributes,
			   bool local, struct wdf_target **target)
{
	struct wdf_target *t;
	NTSTATUS status = wdf_create(
		device->object.driver, WDF_TARGET, sizeof(*t), attributes, &device->object,
		WDF_PASSIVE | WDF_MAY_NAME_PARENT | (local ? WDF_KEPT : 0), &t);

	if (!NT_SUCCESS(status))
		return status;
	t->device = device;
	t->local = local;
	t->to = local ? device->lower : NULL;
	t->object.dispose = dispose_target;
	return wdf_finish(t, target);
}

NTSTATUS WdfIoTargetCreate(WDFDEVICE Device, PWDF_OBJECT_ATTRIBUTES IoTargetAttributes,
			   WDFIOTARGET *IoTarget)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfIoTargetCreate");

	if (!device || !IoTarget)
		return STATUS_INVALID_PARAMETER;
	*IoTarget = NULL;
	return wdf_target_create(device, IoTargetAttributes, false,
				 (struct wdf_target **)(PVOID)IoTarget);
}

NTSTATUS WdfIoTargetOpen(WDFIOTARGET IoTarget, PWDF_IO_TARGET_OPEN_PARAMS OpenParams)
{
	struct wdf_target *t = wdf_of(IoTarget, WDF_TARGET, "WdfIoTargetOpen");
	NTSTATUS status = STATUS_SUCCESS;

	if (!t || !OpenParams)
		return STATUS_INVALID_PARAMETER;
	if (!wdf_size_is(OpenParams->Size, sizeof(*OpenParams)))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (OpenParams->Type != WdfIoTargetOpenUseExistingDevice)
		return STATUS_NOT_SUPPORTED;
	if (!OpenParams->TargetDeviceObject)
		return STATUS_INVALID_PARAMETER;
	wdf_lock(t->object.driver);
	if (t->to)
		status = STATUS_INVALID_DEVICE_STATE;
	else
		t->to = OpenParams->TargetDeviceObject;
	wdf_unlock(t->object.driver);
	return status;
}

VOID WdfIoTargetClose(WDFIOTARGET IoTarget)
{
	struct wdf_target *t = wdf_of(IoTarget, WDF_TARGET, "WdfIoTargetClose");

	if (!t)
		return;
	if (t->local) {
		nt_violation("wdf-target", "WdfIoTargetClose of a device's own target");
		return;
	}
	wdf_lock(t->object.driver);
	t->to = NULL;
	wdf_unlock(t->object.driver);
	wait_for_sent(t);
}

WDF_IO_TARGET_STATE WdfIoTargetGetState(WDFIOTARGET IoTarget)
{
	struct wdf_target *t = wdf_of(IoTarget, WDF_TARGET, "WdfIoTargetGetState");
	bool open;

	if (!t)
		return WdfIoTargetStateUndefined;
	wdf_lock(t->object.driver);
	open = t->to != NULL;
	wdf_unlock(t->object.driver);
	return open ? WdfIoTargetStarted : WdfIoTargetClosed;
}

WDFDEVICE WdfIoTargetGetDevice(WDFIOTARGET IoTarget)
{
	struct wdf_target *t = wdf_of(IoTarget, WDF_TARGET, "WdfIoTargetGetDevice");

	return t ? (WDFDEVICE)(PVOID)t->device : NULL;
}

PDEVICE_OBJECT WdfIoTargetWdmGetTargetDeviceObject(WDFIOTARGET IoTarget)
{
	struct wdf_target *t = wdf_of(IoTarget, WDF_TARGET, "WdfIoTargetWdmGetTargetDeviceObject");

	return t ? t->to : NULL;
}

PDEVICE_OBJECT WdfIoTargetWdmGetTargetPhysicalDevice(WDFIOTARGET IoTarget)
{
	struct wdf_target *t =
		wdf_of(IoTarget, WDF_TARGET, "WdfIoTargetWdmGetTargetPhysicalDevice");
	PDEVICE_OBJECT device = t ? t->to : NULL;

	while (device && device->AttachedTo)
		device = device->AttachedTo;
	return device;
}

/* ---- synchronous IRPs ---- */

static NTSTATUS send_and_wait(PDEVICE_OBJECT to, PIRP irp, PIO_STATUS_BLOCK iosb)
{
	KEVENT done;

	KeInitializeEvent(&done, NotificationEvent, FALSE);
	irp->UserIosb = iosb;
	irp->UserEvent = &done;
	IoCallDriver(to, irp); /* frees it */
	KeWaitForSingleObject(&done, Executive, KernelMode, FALSE, NULL);
	return iosb->Status;
}

static NTSTATUS query_interface(PDEVICE_OBJECT to, LPCGUID type, PINTERFACE interface, USHORT size,
				USHORT version, PVOID data)
{
	IO_STATUS_BLOCK iosb;
	PIO_STACK_LOCATION next;
	PIRP irp;

	if (!type || !interface)
		return STATUS_INVALID_PARAMETER;
	if (KeGetCurrentIrql() > PASSIVE_LEVEL) {
		nt_violation("irql", "a query for an interface at IRQL %u", KeGetCurrentIrql());
		return STATUS_INVALID_DEVICE_STATE;
	}
	irp = IoAllocateIrp(to->StackSize, FALSE);
	if (!irp)
		return STATUS_INSUFFICIENT_RESOURCES;
	irp->IoStatus.Status = STATUS_NOT_SUPPORTED;
	next = IoGetNextIrpStackLocation(irp);
	next->MajorFunction = IRP_MJ_PNP;
	next->MinorFunction = IRP_MN_QUERY_INTERFACE;
	next->Parameters.QueryInterface.InterfaceType = type;
	next->Parameters.QueryInterface.Size = size;
	next->Parameters.QueryInterface.Version = version;
	next->Parameters.QueryInterface.Interface = interface;
	next->Parameters.QueryInterface.InterfaceSpecificData = data;
	return send_and_wait(to, irp, &iosb);
}

NTSTATUS WdfFdoQueryForInterface(WDFDEVICE Fdo, LPCGUID InterfaceType, PINTERFACE Interface,
				 USHORT Size, USHORT Version, PVOID InterfaceSpecificData)
{
	struct wdf_device *device = wdf_of(Fdo, WDF_DEVICE, "WdfFdoQueryForInterface");
	PDEVICE_OBJECT top;

	if (!device)
		return STATUS_INVALID_PARAMETER;
	for (top = device->self; top->AttachedDevice; top = top->AttachedDevice)
		;
	return query_interface(top, InterfaceType, Interface, Size, Version, InterfaceSpecificData);
}

NTSTATUS WdfIoTargetQueryForInterface(WDFIOTARGET IoTarget, LPCGUID InterfaceType,
				      PINTERFACE Interface, USHORT Size, USHORT Version,
				      PVOID InterfaceSpecificData)
{
	struct wdf_target *t = wdf_of(IoTarget, WDF_TARGET, "WdfIoTargetQueryForInterface");

	if (!t)
		return STATUS_INVALID_PARAMETER;
	if (!t->to)
		return STATUS_INVALID_DEVICE_STATE;
	return query_interface(t->to, InterfaceType, Interface, Size, Version,
			       InterfaceSpecificData);
}

/* ---- control codes ---- */

static NTSTATUS find_bytes(const WDF_MEMORY_DESCRIPTOR *d, PVOID *buffer, size_t *length)
{
	struct wdf_memory *memory;
	size_t offset;

	*buffer = NULL;
	*length = 0;
	if (!d)
		return STATUS_SUCCESS;
	switch (d->Type) {
	case WdfMemoryDescriptorTypeBuffer:
		*buffer = d->u.BufferType.Buffer;
		*length = d->u.BufferType.Length;
		return STATUS_SUCCESS;
	case WdfMemoryDescriptorTypeMdl:
		*buffer = MmGetSystemAddressForMdlSafe(d->u.MdlType.Mdl, NormalPagePriority);
		*length = d->u.MdlType.BufferLength;
		if (*length > MmGetMdlByteCount(d->u.MdlType.Mdl))
			return STATUS_INVALID_BUFFER_SIZE;
		return *buffer ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
	case WdfMemoryDescriptorTypeHandle:
		memory = wdf_of(d->u.HandleType.Memory, WDF_MEMORY, "WDF_MEMORY_DESCRIPTOR");
		if (!memory)
			return STATUS_INVALID_PARAMETER;
		offset = d->u.HandleType.Offsets ? d->u.HandleType.Offsets->BufferOffset : 0;
		if (offset > memory->size)
			return STATUS_INTEGER_OVERFLOW;
		*buffer = (PCHAR)memory->buffer + offset;
		*length = memory->size - offset;
		if (d->u.HandleType.Offsets && d->u.HandleType.Offsets->BufferLength) {
			if (d->u.HandleType.Offsets->BufferLength > *length)
				return STATUS_INTEGER_OVERFLOW;
			*length = d->u.HandleType.Offsets->BufferLength;
		}
		return STATUS_SUCCESS;
	default:
		return STATUS_INVALID_PARAMETER;
	}
}

NTSTATUS WdfIoTargetSendIoctlSynchronously(WDFIOTARGET IoTarget, WDFREQUEST Request,
					   ULONG IoctlCode, PWDF_MEMORY_DESCRIPTOR InputBuffer,
					   PWDF_MEMORY_DESCRIPTOR OutputBuffer,
					   PWDF_REQUEST_SEND_OPTIONS RequestOptions,
					   PULONG_PTR BytesReturned)
{
	struct wdf_target *t = wdf_of(IoTarget, WDF_TARGET, "WdfIoTargetSendIoctlSynchronously");
	size_t in_size, out_size, returned = 0;
	PVOID in, out;
	NTSTATUS status;

	if (BytesReturned)
		*BytesReturned = 0;
	if (!t || Request)
		return STATUS_INVALID_PARAMETER;
	if (RequestOptions && !wdf_size_is(RequestOptions->Size, sizeof(*RequestOptions)))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (RequestOptions && (RequestOptions->Flags & WDF_REQUEST_SEND_OPTION_TIMEOUT))
		return STATUS_NOT_SUPPORTED;
	if (!t->to)
		return STATUS_INVALID_DEVICE_STATE;
	status = find_bytes(InputBuffer, &in, &in_size);
	if (NT_SUCCESS(status))
		status = find_bytes(OutputBuffer, &out, &out_size);
	if (!NT_SUCCESS(status))
		return status;
	status = nt_device_control_below(t->to, IoctlCode, in, in_size, out, out_size, &returned);
	if (BytesReturned)
		*BytesReturned = returned;
	return status;
}

/* ---- requests sent on ---- */

VOID WdfRequestFormatRequestUsingCurrentType(WDFREQUEST Request)
{
	struct wdf_request *r =
		wdf_of(Request, WDF_REQUEST, "WdfRequestFormatRequestUsingCurrentType");

	if (!r || !r->irp)
		return;
	IoCopyCurrentIrpStackLocationToNext(r->irp);
	r->formatted = true;
}

VOID WdfRequestSetCompletionRoutine(WDFREQUEST Request,
				    PFN_WDF_REQUEST_COMPLETION_ROUTINE CompletionRoutine,
				    WDFCONTEXT CompletionContext)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestSetCompletionRoutine");

	if (!r)
		return;
	r->routine = CompletionRoutine;
	r->routine_context = CompletionContext;
}

VOID WdfRequestGetCompletionParams(WDFREQUEST Request, PWDF_REQUEST_COMPLETION_PARAMS Params)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestGetCompletionParams");

	if (r)
		*Params = r->params;
}

BOOLEAN WdfRequestCancelSentRequest(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestCancelSentRequest");
	BOOLEAN told = FALSE;

	if (!r)
		return FALSE;
	wdf_reference(r);
	if (r->state == WDF_REQUEST_SENT && r->irp)
		told = IoCancelIrp(r->irp);
	wdf_release(r);
	return told;
}

/* Referenced target, or NULL: the request cannot be sent, and r->status says why. */
static struct wdf_target *begin_send(struct wdf_request *r, struct wdf_target *t)
{
	NTSTATUS status = STATUS_SUCCESS;

	wdf_lock(r->object.driver);
	if (r->state != WDF_REQUEST_OWNED || r->cancel || !r->formatted)
		status = STATUS_INVALID_DEVICE_REQUEST;
	else if (!t->to)
		status = STATUS_INVALID_DEVICE_STATE;
	else if (r->irp->CurrentLocation <= 1)
		status = STATUS_REQUEST_NOT_ACCEPTED;
	r->status = status;
	if (NT_SUCCESS(status)) {
		r->target = t;
		t->sent++;
		wdf_reference(t);
	}
	wdf_unlock(r->object.driver);
	return NT_SUCCESS(status) ? t : NULL;
}

static void end_send(struct wdf_target *t)
{
	wdf_lock(t->object.driver);
	t->sent--;
	pthread_cond_broadcast(&t->object.driver->changed);
	wdf_unlock(t->object.driver);
	wdf_release(t);
}

/* The target's completion is the request's: the object goes now, the IRP on its way. */
static BOOLEAN forget(struct wdf_request *r, struct wdf_target *t)
{
	struct wdf_queue *q = r->queue;
	PIRP irp = r->irp;

	wdf_lock(r->object.driver);
	wdf_reference(q);
	wdf_queue_remove(r);
	r->state = WDF_REQUEST_COMPLETED;
	wdf_unlock(r->object.driver);
	wdf_clean(r);
	r->irp = NULL;
	wdf_dispose_of(r);
	IoSkipCurrentIrpStackLocation(irp);
	IoCallDriver(t->to, irp);
	end_send(t);
	wdf_queue_run(q);
	wdf_release(q);
	return TRUE;
}

static IO_COMPLETION_ROUTINE sent_came_back;
static NTSTATUS sent_came_back(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Context)
{
	struct wdf_request *r = Context;
	struct wdf_target *t = r->target;
	PKEVENT back = r->back;
	WDF_REQUEST_COMPLETION_PARAMS params;
	PFN_WDF_REQUEST_COMPLETION_ROUTINE routine;

	wdf_lock(r->object.driver);
	r->params.Type = (WDF_REQUEST_TYPE)IoGetCurrentIrpStackLocation(Irp)->MajorFunction;
	r->params.IoStatus = Irp->IoStatus;
	r->params.Parameters.Ioctl.IoControlCode =
		IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.IoControlCode;
	r->status = Irp->IoStatus.Status;
	r->state = WDF_REQUEST_OWNED;
	r->formatted = false;
	r->back = NULL;
	params = r->params;
	routine = r->routine;
	r->routine = NULL;
	wdf_unlock(r->object.driver);
	if (back)
		KeSetEvent(back, IO_NO_INCREMENT, FALSE);
	else if (routine)
		routine((WDFREQUEST)(PVOID)r, (WDFIOTARGET)(PVOID)t, &params, r->routine_context);
	end_send(t);
	return STATUS_MORE_PROCESSING_REQUIRED;
}

static void send(struct wdf_request *r, struct wdf_target *t, PKEVENT back)
{
	PIRP irp = r->irp;

	wdf_lock(r->object.driver);
	r->state = WDF_REQUEST_SENT;
	r->back = back;
	wdf_unlock(r->object.driver);
	IoSetCompletionRoutine(irp, sent_came_back, r, TRUE, TRUE, TRUE);
	IoCallDriver(t->to, irp);
}

static BOOLEAN send_synchronously(struct wdf_request *r, struct wdf_target *t,
				  const WDF_REQUEST_SEND_OPTIONS *options)
{
	LARGE_INTEGER timeout = {.QuadPart = options->Timeout};
	bool limited = (options->Flags & WDF_REQUEST_SEND_OPTION_TIMEOUT) && options->Timeout;
	NTSTATUS status;
	KEVENT back;

	KeInitializeEvent(&back, NotificationEvent, FALSE);
	wdf_reference(r);
	send(r, t, &back);
	status = KeWaitForSingleObject(&back, Executive, KernelMode, FALSE,
				       limited ? &timeout : NULL);
	if (status == STATUS_TIMEOUT) {
		IoCancelIrp(r->irp);
		KeWaitForSingleObject(&back, Executive, KernelMode, FALSE, NULL);
		if (r->status == STATUS_CANCELLED)
			r->status = STATUS_IO_TIMEOUT;
	}
	status = r->status;
	wdf_release(r);
	return NT_SUCCESS(status);
}

BOOLEAN WdfRequestSend(WDFREQUEST Request, WDFIOTARGET Target, PWDF_REQUEST_SEND_OPTIONS Options)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestSend");
	struct wdf_target *t = wdf_of(Target, WDF_TARGET, "WdfRequestSend");
	ULONG flags = Options ? Options->Flags : 0;

	if (!r || !t)
		return FALSE;
	if (Options && !wdf_size_is(Options->Size, sizeof(*Options))) {
		r->status = STATUS_INFO_LENGTH_MISMATCH;
		return FALSE;
	}
	if ((flags & WDF_REQUEST_SEND_OPTION_TIMEOUT) &&
	    !(flags & WDF_REQUEST_SEND_OPTION_SYNCHRONOUS)) {
		r->status = STATUS_NOT_SUPPORTED;
		return FALSE;
	}
	if (flags & WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET)
		r->formatted = true;
	t = begin_send(r, t);
	if (!t)
		return FALSE;
	if (flags & WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET)
		return forget(r, t);
	if (flags & WDF_REQUEST_SEND_OPTION_SYNCHRONOUS)
		return send_synchronously(r, t, Options);
	send(r, t, NULL);
	return TRUE;
}
