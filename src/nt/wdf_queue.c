/* SPDX-License-Identifier: MIT */
/*
 * Queues: creation, and what starts, stops and empties them: the driver, or the device's power. See
 * wdf_present.c for the requests in them.
 */
#include "nt/wdf.h"

#define HANDLE_OF(queue) ((WDFQUEUE)(PVOID)(queue))

static WDF_IO_QUEUE_STATE state_of(const struct wdf_queue *q)
{
	unsigned int state = 0;

	if (q->accepts)
		state |= WdfIoQueueAcceptRequests;
	if (q->dispatches)
		state |= WdfIoQueueDispatchRequests;
	if (!q->queued_count)
		state |= WdfIoQueueNoRequests;
	if (!q->owned_count)
		state |= WdfIoQueueDriverNoRequests;
	if (q->managed && !q->device->working)
		state |= WdfIoQueuePnpHeld;
	return (WDF_IO_QUEUE_STATE)state;
}

static void wait_for(struct wdf_queue *q, bool empty)
{
	wdf_lock(q->object.driver);
	while (q->owned_count || (empty && q->queued_count))
		pthread_cond_wait(&q->object.driver->changed, &q->object.driver->lock);
	wdf_unlock(q->object.driver);
}

/* ---- start, stop, drain, purge ---- */

VOID WdfIoQueueStart(WDFQUEUE Queue)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueStart");

	if (!q)
		return;
	wdf_lock(q->object.driver);
	q->accepts = q->dispatches = true;
	q->purged = false;
	wdf_unlock(q->object.driver);
	wdf_queue_run(q);
}

static void set_stop(struct wdf_queue *q, PFN_WDF_IO_QUEUE_STATE tell, WDFCONTEXT context)
{
	wdf_lock(q->object.driver);
	q->accepts = true;
	q->dispatches = q->purged = false;
	q->stopped = tell;
	q->stopped_context = context;
	wdf_unlock(q->object.driver);
}

VOID WdfIoQueueStop(WDFQUEUE Queue, PFN_WDF_IO_QUEUE_STATE StopComplete, WDFCONTEXT Context)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueStop");

	if (!q)
		return;
	set_stop(q, StopComplete, Context);
	wdf_queue_tell(q);
}

/* A wait for requests in a callback that holds one of them would have no end. */
static bool may_wait(struct wdf_queue *q, const char *function)
{
	if (!q)
		return false;
	if (KeGetCurrentIrql() > PASSIVE_LEVEL || wdf_queue_presents(q)) {
		nt_violation("wdf-wait", "%s at IRQL %u%s", function, KeGetCurrentIrql(),
			     wdf_queue_presents(q) ? ", in a callback of the queue" : "");
		return false;
	}
	return true;
}

VOID WdfIoQueueStopSynchronously(WDFQUEUE Queue)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueStopSynchronously");

	if (!may_wait(q, "WdfIoQueueStopSynchronously"))
		return;
	set_stop(q, NULL, NULL);
	wait_for(q, false);
}

static void set_drain(struct wdf_queue *q, PFN_WDF_IO_QUEUE_STATE tell, WDFCONTEXT context)
{
	wdf_lock(q->object.driver);
	q->accepts = false;
	q->dispatches = true;
	q->emptied = tell;
	q->emptied_context = context;
	wdf_unlock(q->object.driver);
	wdf_queue_run(q);
}

VOID WdfIoQueueDrain(WDFQUEUE Queue, PFN_WDF_IO_QUEUE_STATE DrainComplete, WDFCONTEXT Context)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueDrain");

	if (q)
		set_drain(q, DrainComplete, Context);
}

VOID WdfIoQueueDrainSynchronously(WDFQUEUE Queue)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueDrainSynchronously");

	if (!may_wait(q, "WdfIoQueueDrainSynchronously"))
		return;
	set_drain(q, NULL, NULL);
	wait_for(q, true);
}

/* One cancelable request that the driver owns, referenced, its callback taken. */
static struct wdf_request *next_cancelable(struct wdf_queue *q, PFN_WDF_REQUEST_CANCEL *cancel)
{
	struct wdf_request *found = NULL;

	wdf_lock(q->object.driver);
	for (PLIST_ENTRY e = q->owned.Flink; e != &q->owned && !found; e = e->Flink) {
		struct wdf_request *r = CONTAINING_RECORD(e, struct wdf_request, link);

		if (!r->cancel || !IoSetCancelRoutine(r->irp, NULL))
			continue;
		r->irp->Cancel = TRUE;
		*cancel = r->cancel;
		r->cancel = NULL;
		r->cancelled = true;
		wdf_reference(r);
		found = r;
	}
	wdf_unlock(q->object.driver);
	return found;
}

static struct wdf_request *next_queued(struct wdf_queue *q)
{
	struct wdf_request *found = NULL;

	wdf_lock(q->object.driver);
	for (PLIST_ENTRY e = q->queued.Flink; e != &q->queued && !found; e = e->Flink) {
		struct wdf_request *r = CONTAINING_RECORD(e, struct wdf_request, link);

		if (IoSetCancelRoutine(r->irp, NULL)) {
			wdf_queue_remove(r);
			found = r;
		}
	}
	wdf_unlock(q->object.driver);
	return found;
}

static void purge(struct wdf_queue *q)
{
	PFN_WDF_REQUEST_CANCEL cancel;
	struct wdf_request *r;

	while ((r = next_queued(q)))
		wdf_queue_cancelled(q, r);
	while ((r = next_cancelable(q, &cancel))) {
		cancel((WDFREQUEST)(PVOID)r);
		wdf_release(r);
	}
}

static void set_purge(struct wdf_queue *q, PFN_WDF_IO_QUEUE_STATE tell, WDFCONTEXT context)
{
	wdf_lock(q->object.driver);
	q->accepts = false;
	q->dispatches = q->purged = true;
	q->emptied = tell;
	q->emptied_context = context;
	wdf_unlock(q->object.driver);
	purge(q);
	wdf_queue_tell(q);
}

VOID WdfIoQueuePurge(WDFQUEUE Queue, PFN_WDF_IO_QUEUE_STATE PurgeComplete, WDFCONTEXT Context)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueuePurge");

	if (q)
		set_purge(q, PurgeComplete, Context);
}

VOID WdfIoQueuePurgeSynchronously(WDFQUEUE Queue)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueuePurgeSynchronously");

	if (!may_wait(q, "WdfIoQueuePurgeSynchronously"))
		return;
	set_purge(q, NULL, NULL);
	wait_for(q, true);
}

/* ---- power ---- */

/* The n-th queue of the device, referenced. */
static struct wdf_queue *queue_at(struct wdf_device *device, unsigned int n)
{
	struct wdf_object *o;

	wdf_lock(device->object.driver);
	for (o = device->object.first; o; o = o->next) {
		if (o->type == WDF_QUEUE && !n--)
			break;
	}
	if (o)
		wdf_reference(o);
	wdf_unlock(device->object.driver);
	return (struct wdf_queue *)(PVOID)o;
}

static struct wdf_request *next_to_resume(struct wdf_queue *q)
{
	struct wdf_request *found = NULL;

	wdf_lock(q->object.driver);
	for (PLIST_ENTRY e = q->owned.Flink; e != &q->owned && !found; e = e->Flink) {
		struct wdf_request *r = CONTAINING_RECORD(e, struct wdf_request, link);

		if (r->acknowledged) {
			r->acknowledged = false;
			wdf_reference(r);
			found = r;
		}
	}
	wdf_unlock(q->object.driver);
	return found;
}

void wdf_queues_power_up(struct wdf_device *device)
{
	struct wdf_request *r;
	struct wdf_queue *q;

	wdf_lock(device->object.driver);
	device->working = true;
	wdf_unlock(device->object.driver);
	for (unsigned int i = 0; (q = queue_at(device, i)); i++) {
		while (q->managed && (r = next_to_resume(q))) {
			if (q->config.EvtIoResume)
				q->config.EvtIoResume(HANDLE_OF(q), (WDFREQUEST)(PVOID)r);
			wdf_release(r);
		}
		if (q->managed)
			wdf_queue_run(q);
		wdf_release(q);
	}
}

static struct wdf_request *next_to_stop(struct wdf_queue *q, ULONG *flags)
{
	struct wdf_request *found = NULL;

	wdf_lock(q->object.driver);
	for (PLIST_ENTRY e = q->owned.Flink; e != &q->owned && !found; e = e->Flink) {
		struct wdf_request *r = CONTAINING_RECORD(e, struct wdf_request, link);

		if (r->stopping || r->acknowledged)
			continue;
		r->stopping = true;
		if (r->cancel)
			*flags |= WdfRequestStopRequestCancelable;
		wdf_reference(r);
		found = r;
	}
	wdf_unlock(q->object.driver);
	return found;
}

/* Every request that the driver owns: completed, given back, or kept by its word. */
static void wait_stopped(struct wdf_queue *q)
{
	bool open;

	wdf_lock(q->object.driver);
	for (;;) {
		open = false;
		for (PLIST_ENTRY e = q->owned.Flink; e != &q->owned; e = e->Flink)
			open |= !CONTAINING_RECORD(e, struct wdf_request, link)->acknowledged;
		if (!open)
			break;
		pthread_cond_wait(&q->object.driver->changed, &q->object.driver->lock);
	}
	wdf_unlock(q->object.driver);
}

static void ask_to_stop(struct wdf_queue *q, ULONG action)
{
	struct wdf_request *r;
	ULONG flags = action;

	while (q->config.EvtIoStop && (r = next_to_stop(q, &flags))) {
		q->config.EvtIoStop(HANDLE_OF(q), (WDFREQUEST)(PVOID)r, flags);
		wdf_release(r);
		flags = action;
	}
}

void wdf_queues_power_down(struct wdf_device *device)
{
	struct wdf_queue *q;

	wdf_lock(device->object.driver);
	device->working = false;
	wdf_unlock(device->object.driver);
	for (unsigned int i = 0; (q = queue_at(device, i)); i++) {
		if (q->managed) {
			ask_to_stop(q, WdfRequestStopActionSuspend);
			wait_stopped(q);
		}
		wdf_release(q);
	}
}

/* What the driver kept over the stop it is asked for again. */
static void forget_acknowledgements(struct wdf_queue *q)
{
	wdf_lock(q->object.driver);
	for (PLIST_ENTRY e = q->owned.Flink; e != &q->owned; e = e->Flink)
		CONTAINING_RECORD(e, struct wdf_request, link)->acknowledged = false;
	wdf_unlock(q->object.driver);
}

void wdf_queues_purge(struct wdf_device *device, bool managed)
{
	struct wdf_queue *q;

	for (unsigned int i = 0; (q = queue_at(device, i)); i++) {
		if (q->managed == managed) {
			set_purge(q, NULL, NULL);
			forget_acknowledgements(q);
			ask_to_stop(q, WdfRequestStopActionPurge);
			wait_for(q, true);
			wdf_queue_tell(q);
		}
		wdf_release(q);
	}
}

/* ---- creation ---- */

static NTSTATUS check_config(const WDF_IO_QUEUE_CONFIG *c)
{
	bool handler = c->EvtIoDefault || c->EvtIoRead || c->EvtIoWrite || c->EvtIoDeviceControl ||
		       c->EvtIoInternalDeviceControl;

	if (!wdf_size_is(c->Size, sizeof(*c)))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (c->DispatchType <= WdfIoQueueDispatchInvalid ||
	    c->DispatchType >= WdfIoQueueDispatchMax)
		return STATUS_INVALID_PARAMETER;
	if (c->PowerManaged != WdfFalse && c->PowerManaged != WdfTrue &&
	    c->PowerManaged != WdfUseDefault)
		return STATUS_INVALID_PARAMETER;
	if (c->DispatchType == WdfIoQueueDispatchParallel &&
	    !c->Settings.Parallel.NumberOfPresentedRequests)
		return STATUS_INVALID_PARAMETER;
	if (c->DispatchType != WdfIoQueueDispatchManual && !handler)
		return STATUS_WDF_NO_CALLBACK;
	return STATUS_SUCCESS;
}

static void dispose_queue(struct wdf_object *object)
{
	struct wdf_queue *q = (struct wdf_queue *)(PVOID)object;
	struct wdf_device *device = q->device;

	set_purge(q, NULL, NULL);
	wait_for(q, true);
	wdf_lock(object->driver);
	for (int i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++) {
		if (device->by_type[i] == q)
			device->by_type[i] = NULL;
	}
	if (device->default_queue == q)
		device->default_queue = NULL;
	wdf_unlock(object->driver);
}

/* Who completes the last request that the device waits for looks at the queue once more, and at
 * what its device is doing. */
static void destroy_queue(struct wdf_object *object)
{
	wdf_release(((struct wdf_queue *)object)->device);
}

static void set_presentation(struct wdf_queue *q)
{
	switch (q->object.scope) {
	case WdfSynchronizationScopeDevice:
		q->presentation = &q->device->presentation;
		break;
	case WdfSynchronizationScopeQueue:
		wdf_presentation_init(&q->own, q->object.level == WdfExecutionLevelPassive);
		q->presentation = &q->own;
		break;
	default:
		break;
	}
}

static NTSTATUS become_default(struct wdf_queue *q)
{
	NTSTATUS status = STATUS_SUCCESS;

	if (!q->config.DefaultQueue)
		return status;
	wdf_lock(q->object.driver);
	if (q->device->default_queue)
		status = STATUS_UNSUCCESSFUL;
	else
		q->device->default_queue = q;
	wdf_unlock(q->object.driver);
	return status;
}

NTSTATUS WdfIoQueueCreate(WDFDEVICE Device, PWDF_IO_QUEUE_CONFIG Config,
			  PWDF_OBJECT_ATTRIBUTES QueueAttributes, WDFQUEUE *Queue)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfIoQueueCreate");
	struct wdf_queue *q;
	NTSTATUS status;
	WDFQUEUE handle;

	if (!device || !Config)
		return STATUS_INVALID_PARAMETER;
	if (Queue)
		*Queue = NULL;
	status = check_config(Config);
	if (NT_SUCCESS(status))
		status = wdf_create(device->object.driver, WDF_QUEUE, sizeof(*q), QueueAttributes,
				    &device->object,
				    WDF_PASSIVE | (Config->DefaultQueue ? WDF_KEPT : 0), &q);
	if (!NT_SUCCESS(status))
		return status;
	q->device = device;
	q->config = *Config;
	q->managed = Config->PowerManaged == WdfUseDefault ? !device->init.filter
							   : Config->PowerManaged == WdfTrue;
	q->accepts = q->dispatches = true;
	InitializeListHead(&q->queued);
	InitializeListHead(&q->owned);
	set_presentation(q);
	status = become_default(q);
	if (!NT_SUCCESS(status)) {
		wdf_discard(q);
		return status;
	}
	wdf_reference(device);
	q->object.dispose = dispose_queue;
	q->object.destroy = destroy_queue;
	status = wdf_finish(q, &handle);
	if (!NT_SUCCESS(status))
		device->default_queue = NULL; /* the device goes away */
	else if (Queue)
		*Queue = handle;
	return status;
}

NTSTATUS WdfDeviceConfigureRequestDispatching(WDFDEVICE Device, WDFQUEUE Queue,
					      WDF_REQUEST_TYPE RequestType)
{
	static const char function[] = "WdfDeviceConfigureRequestDispatching";
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, function);
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, function);
	NTSTATUS status = STATUS_SUCCESS;

	if (!device || !q || q->device != device)
		return STATUS_INVALID_PARAMETER;
	switch (RequestType) {
	case WdfRequestTypeRead:
	case WdfRequestTypeWrite:
	case WdfRequestTypeDeviceControl:
	case WdfRequestTypeDeviceControlInternal:
		break;
	default:
		return STATUS_INVALID_PARAMETER;
	}
	wdf_lock(device->object.driver);
	if (device->by_type[RequestType])
		status = STATUS_WDF_BUSY;
	else
		device->by_type[RequestType] = q;
	wdf_unlock(device->object.driver);
	return status;
}

WDFDEVICE WdfIoQueueGetDevice(WDFQUEUE Queue)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueGetDevice");

	return q ? (WDFDEVICE)(PVOID)q->device : NULL;
}

WDF_IO_QUEUE_STATE WdfIoQueueGetState(WDFQUEUE Queue, PULONG QueueRequests, PULONG DriverRequests)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueGetState");
	WDF_IO_QUEUE_STATE state;

	if (!q)
		return (WDF_IO_QUEUE_STATE)0;
	wdf_lock(q->object.driver);
	state = state_of(q);
	if (QueueRequests)
		*QueueRequests = q->queued_count;
	if (DriverRequests)
		*DriverRequests = q->owned_count;
	wdf_unlock(q->object.driver);
	return state;
}
