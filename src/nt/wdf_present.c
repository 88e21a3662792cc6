/* SPDX-License-Identifier: MIT */
/*
 * How requests come into queues, reach the driver and move on. A request is in one of its queue's
 * two lists: queued, or owned by the driver. Lists, counts and states are under the driver's lock;
 * callbacks run without it, under the queue's presentation lock if it has one.
 */
#include "nt/wdf.h"

#define HANDLE_OF(queue) ((WDFQUEUE)(PVOID)(queue))

/* Queues whose callbacks the thread is in: a request that such a callback completes does not
 * present the next one from within it. */
struct presenting {
	struct presenting *outer;
	const struct wdf_queue *queue;
};

static NT_TLS struct presenting *presenting;

bool wdf_queue_presents(const struct wdf_queue *queue)
{
	for (const struct presenting *p = presenting; p; p = p->outer) {
		if (p->queue == queue)
			return true;
	}
	return false;
}

/* ---- states ---- */

static bool may_present(const struct wdf_queue *q)
{
	if (!q->dispatches || (q->managed && !q->device->working))
		return false;
	switch (q->config.DispatchType) {
	case WdfIoQueueDispatchSequential:
		return q->owned_count == 0;
	case WdfIoQueueDispatchParallel:
		return q->owned_count < q->config.Settings.Parallel.NumberOfPresentedRequests;
	default:
		return false;
	}
}

struct notice {
	PFN_WDF_IO_QUEUE_STATE tell;
	WDFCONTEXT context;
};

/* What a callback waits for has come about: the callback, once. */
static struct notice take_notice(struct wdf_queue *q)
{
	struct notice n = {NULL, NULL};

	wdf_lock(q->object.driver);
	if (q->stopped && !q->owned_count) {
		n = (struct notice){q->stopped, q->stopped_context};
		q->stopped = NULL;
	} else if (q->emptied && !q->owned_count && !q->queued_count) {
		n = (struct notice){q->emptied, q->emptied_context};
		q->emptied = NULL;
	}
	wdf_unlock(q->object.driver);
	return n;
}

void wdf_queue_tell(struct wdf_queue *q)
{
	struct notice n;

	while ((n = take_notice(q)).tell)
		n.tell(HANDLE_OF(q), n.context);
}

/* ---- lists ---- */

static void set_state(struct wdf_request *r, enum wdf_request_state state)
{
	struct wdf_queue *q = r->queue;

	r->state = state;
	if (state == WDF_REQUEST_QUEUED)
		q->queued_count++;
	else
		q->owned_count++;
}

void wdf_queue_remove(struct wdf_request *r)
{
	struct wdf_queue *q = r->queue;

	if (r->state == WDF_REQUEST_QUEUED)
		q->queued_count--;
	else
		q->owned_count--;
	RemoveEntryList(&r->link);
	InitializeListHead(&r->link);
	r->stopping = r->acknowledged = false;
	pthread_cond_broadcast(&q->object.driver->changed);
}

void wdf_queue_cancelled(struct wdf_queue *q, struct wdf_request *r)
{
	bool ask = r->presented && q->config.EvtIoCanceledOnQueue;

	if (!ask) {
		wdf_request_finish(r, STATUS_CANCELLED);
		return;
	}
	wdf_lock(q->object.driver);
	r->queue = q;
	set_state(r, WDF_REQUEST_OWNED);
	InsertTailList(&q->owned, &r->link);
	wdf_unlock(q->object.driver);
	q->config.EvtIoCanceledOnQueue(HANDLE_OF(q), (WDFREQUEST)(PVOID)r);
}

/* Whoever takes the cancel routine out of the IRP has the request: this routine, or who presents.
 */
static DRIVER_CANCEL cancel_queued;
static VOID cancel_queued(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	struct wdf_request *r = Irp->Tail.Overlay.DriverContext[0];
	struct wdf_queue *q = r->queue;

	IoReleaseCancelSpinLock(Irp->CancelIrql);
	wdf_reference(q);
	wdf_lock(q->object.driver);
	wdf_queue_remove(r);
	wdf_unlock(q->object.driver);
	wdf_queue_cancelled(q, r);
	wdf_queue_tell(q);
	wdf_release(q);
}

/* Under the lock: the head of the queue, unless it is being cancelled, becomes the driver's. */
static struct wdf_request *take_next(struct wdf_queue *q)
{
	for (PLIST_ENTRY e = q->queued.Flink; e != &q->queued; e = e->Flink) {
		struct wdf_request *r = CONTAINING_RECORD(e, struct wdf_request, link);

		if (!IoSetCancelRoutine(r->irp, NULL))
			continue;
		wdf_queue_remove(r);
		set_state(r, WDF_REQUEST_OWNED);
		InsertTailList(&q->owned, &r->link);
		r->presented = true;
		return r;
	}
	return NULL;
}

/* ---- presenting ---- */

static bool call_handler(struct wdf_queue *q, struct wdf_request *r)
{
	const WDF_IO_QUEUE_CONFIG *c = &q->config;
	PIO_STACK_LOCATION l = IoGetCurrentIrpStackLocation(r->irp);
	WDFREQUEST request = (WDFREQUEST)(PVOID)r;

	switch (l->MajorFunction) {
	case IRP_MJ_READ:
		if (!c->EvtIoRead)
			break;
		c->EvtIoRead(HANDLE_OF(q), request, l->Parameters.Read.Length);
		return true;
	case IRP_MJ_WRITE:
		if (!c->EvtIoWrite)
			break;
		c->EvtIoWrite(HANDLE_OF(q), request, l->Parameters.Write.Length);
		return true;
	case IRP_MJ_DEVICE_CONTROL:
		if (!c->EvtIoDeviceControl)
			break;
		c->EvtIoDeviceControl(HANDLE_OF(q), request,
				      l->Parameters.DeviceIoControl.OutputBufferLength,
				      l->Parameters.DeviceIoControl.InputBufferLength,
				      l->Parameters.DeviceIoControl.IoControlCode);
		return true;
	case IRP_MJ_INTERNAL_DEVICE_CONTROL:
		if (!c->EvtIoInternalDeviceControl)
			break;
		c->EvtIoInternalDeviceControl(HANDLE_OF(q), request,
					      l->Parameters.DeviceIoControl.OutputBufferLength,
					      l->Parameters.DeviceIoControl.InputBufferLength,
					      l->Parameters.DeviceIoControl.IoControlCode);
		return true;
	default:
		break;
	}
	if (c->EvtIoDefault)
		c->EvtIoDefault(HANDLE_OF(q), request);
	return c->EvtIoDefault != NULL;
}

static bool has_no_bytes(const struct wdf_queue *q, const struct wdf_request *r)
{
	const IO_STACK_LOCATION *l = IoGetCurrentIrpStackLocation(r->irp);

	return (l->MajorFunction == IRP_MJ_READ || l->MajorFunction == IRP_MJ_WRITE) &&
	       !l->Parameters.Read.Length && !q->config.AllowZeroLengthRequests;
}

static void present(struct wdf_queue *q, struct wdf_request *r)
{
	struct presenting frame = {presenting, q};
	bool handled;

	if (has_no_bytes(q, r)) {
		WdfRequestComplete((WDFREQUEST)(PVOID)r, STATUS_SUCCESS);
		return;
	}
	presenting = &frame;
	wdf_present_begin(q->presentation);
	handled = call_handler(q, r);
	wdf_present_end(q->presentation);
	presenting = frame.outer;
	if (!handled)
		WdfRequestComplete((WDFREQUEST)(PVOID)r, STATUS_INVALID_DEVICE_REQUEST);
}

static void run_later(struct nt_job *job)
{
	struct wdf_queue *q = CONTAINING_RECORD(job, struct wdf_queue, job);
	struct wdf_driver *driver = q->object.driver;
	struct nt_driver *nt = driver->nt, *previous = nt_driver_enter(nt);

	wdf_lock(driver);
	q->job_posted = false;
	wdf_unlock(driver);
	wdf_queue_run(q);
	wdf_release(q);
	nt_driver_leave(previous);
	atomic_fetch_sub(&nt->work_items, 1);
}

/* On a thread that may not present: at a wrong IRQL, or holding the lock that callbacks need. */
static void post(struct wdf_queue *q)
{
	bool was;

	wdf_lock(q->object.driver);
	was = q->job_posted;
	q->job_posted = true;
	wdf_unlock(q->object.driver);
	if (was)
		return;
	wdf_reference(q);
	atomic_fetch_add(&q->object.driver->nt->work_items, 1);
	q->job.run = run_later;
	nt_pool_submit(&q->job);
}

static bool must_post(const struct wdf_queue *q)
{
	if (q->presentation && wdf_present_mine(q->presentation))
		return true;
	return q->object.level == WdfExecutionLevelPassive && KeGetCurrentIrql() > PASSIVE_LEVEL;
}

static struct wdf_request *next_to_present(struct wdf_queue *q, bool *later)
{
	struct wdf_request *r = NULL;

	*later = false;
	wdf_lock(q->object.driver);
	if (may_present(q) && q->queued_count) {
		*later = must_post(q);
		if (!*later)
			r = take_next(q);
	}
	wdf_unlock(q->object.driver);
	return r;
}

void wdf_queue_run(struct wdf_queue *q)
{
	struct wdf_request *r;
	bool later = false;

	wdf_reference(q);
	if (!wdf_queue_presents(q)) {
		while ((r = next_to_present(q, &later)))
			present(q, r);
	}
	if (later)
		post(q);
	wdf_queue_tell(q);
	wdf_release(q);
}

/* ---- arriving ---- */

static struct notice make_ready(struct wdf_queue *q)
{
	struct notice n = {NULL, NULL};

	if (q->config.DispatchType == WdfIoQueueDispatchManual && q->ready &&
	    q->queued_count == 1 && q->dispatches && (!q->managed || q->device->working))
		n = (struct notice){q->ready, q->ready_context};
	return n;
}

/* Puts a request that is in no list into the queue. False: the queue does not accept it. */
static bool enqueue(struct wdf_queue *q, struct wdf_request *r, bool head)
{
	struct notice ready = {NULL, NULL};
	bool accepted, cancelled = false;

	r->irp->Tail.Overlay.DriverContext[0] = r;
	wdf_lock(q->object.driver);
	accepted = q->accepts || (head && !q->purged);
	if (accepted) {
		r->queue = q;
		set_state(r, WDF_REQUEST_QUEUED);
		if (head)
			InsertHeadList(&q->queued, &r->link);
		else
			InsertTailList(&q->queued, &r->link);
		IoSetCancelRoutine(r->irp, cancel_queued);
		cancelled = r->irp->Cancel && IoSetCancelRoutine(r->irp, NULL);
		if (cancelled)
			wdf_queue_remove(r);
		else
			ready = make_ready(q);
	}
	wdf_unlock(q->object.driver);
	if (cancelled)
		wdf_queue_cancelled(q, r);
	if (ready.tell)
		ready.tell(HANDLE_OF(q), ready.context);
	return accepted;
}

/* Referenced. */
static struct wdf_queue *queue_for(struct wdf_device *device, UCHAR major)
{
	struct wdf_queue *q;

	wdf_lock(device->object.driver);
	q = device->by_type[major] ? device->by_type[major] : device->default_queue;
	if (q)
		wdf_reference(q);
	wdf_unlock(device->object.driver);
	return q;
}

static NTSTATUS refuse(PIRP irp, NTSTATUS status)
{
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

NTSTATUS wdf_queue_insert(struct wdf_device *device, PIRP irp)
{
	struct wdf_queue *q = queue_for(device, IoGetCurrentIrpStackLocation(irp)->MajorFunction);
	struct wdf_request *r;
	NTSTATUS status;

	if (!q)
		return device->init.filter ? wdf_pass_down(device, irp)
					   : refuse(irp, STATUS_INVALID_DEVICE_REQUEST);
	status = wdf_request_create(device, q, irp, &r);
	if (!NT_SUCCESS(status)) {
		wdf_release(q);
		return refuse(irp, status);
	}
	irp->IoStatus.Information = 0;
	IoMarkIrpPending(irp);
	if (enqueue(q, r, false))
		wdf_queue_run(q);
	else
		wdf_request_finish(r, STATUS_INVALID_DEVICE_STATE);
	wdf_release(q);
	return STATUS_PENDING;
}

/* ---- requests that move ---- */

/* Under the lock; 0: the driver owns it and may give it away. */
static NTSTATUS check_owned(const struct wdf_request *r)
{
	return r->state == WDF_REQUEST_OWNED && r->queue && !r->cancel
		       ? STATUS_SUCCESS
		       : STATUS_INVALID_DEVICE_REQUEST;
}

static NTSTATUS move(struct wdf_request *r, struct wdf_queue *to, bool head)
{
	struct wdf_queue *from = r->queue;
	NTSTATUS status;

	wdf_lock(to->object.driver);
	status = check_owned(r);
	if (NT_SUCCESS(status) && !to->accepts && !head)
		status = STATUS_WDF_BUSY;
	if (NT_SUCCESS(status)) {
		wdf_queue_remove(r);
		wdf_reference(from);
	}
	wdf_unlock(to->object.driver);
	if (!NT_SUCCESS(status))
		return status;
	if (!enqueue(to, r, head)) /* purged in between */
		wdf_request_finish(r, STATUS_CANCELLED);
	wdf_queue_run(to);
	if (from != to)
		wdf_queue_run(from);
	wdf_release(from);
	return STATUS_SUCCESS;
}

NTSTATUS WdfRequestForwardToIoQueue(WDFREQUEST Request, WDFQUEUE DestinationQueue)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestForwardToIoQueue");
	struct wdf_queue *q = wdf_of(DestinationQueue, WDF_QUEUE, "WdfRequestForwardToIoQueue");

	if (!r || !q)
		return STATUS_INVALID_PARAMETER;
	if (q->device != r->device || q == r->queue)
		return STATUS_INVALID_DEVICE_REQUEST;
	return move(r, q, false);
}

NTSTATUS WdfRequestRequeue(WDFREQUEST Request)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestRequeue");

	if (!r)
		return STATUS_INVALID_PARAMETER;
	if (!r->queue || r->queue->config.DispatchType != WdfIoQueueDispatchManual)
		return STATUS_INVALID_DEVICE_REQUEST;
	return move(r, r->queue, true);
}

VOID WdfRequestStopAcknowledge(WDFREQUEST Request, BOOLEAN Requeue)
{
	struct wdf_request *r = wdf_of(Request, WDF_REQUEST, "WdfRequestStopAcknowledge");
	bool asked;

	if (!r)
		return;
	wdf_lock(r->object.driver);
	asked = r->stopping;
	r->stopping = false;
	r->acknowledged = asked && !Requeue;
	pthread_cond_broadcast(&r->object.driver->changed);
	wdf_unlock(r->object.driver);
	if (!asked)
		nt_violation("wdf-stop", "WdfRequestStopAcknowledge without EvtIoStop");
	else if (Requeue)
		move(r, r->queue, true);
}

NTSTATUS WdfIoQueueRetrieveNextRequest(WDFQUEUE Queue, WDFREQUEST *OutRequest)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueRetrieveNextRequest");
	struct wdf_request *r = NULL;
	NTSTATUS status = STATUS_SUCCESS;

	if (!q || !OutRequest)
		return STATUS_INVALID_PARAMETER;
	*OutRequest = NULL;
	if (q->config.DispatchType == WdfIoQueueDispatchParallel)
		return STATUS_INVALID_DEVICE_REQUEST;
	wdf_lock(q->object.driver);
	if (q->object.life != WDF_LIVE)
		status = STATUS_INVALID_DEVICE_STATE;
	else if (!q->dispatches || (q->managed && !q->device->working))
		status = STATUS_WDF_PAUSED;
	else if (!(r = take_next(q)))
		status = STATUS_NO_MORE_ENTRIES;
	wdf_unlock(q->object.driver);
	*OutRequest = (WDFREQUEST)(PVOID)r;
	return status;
}

NTSTATUS WdfIoQueueReadyNotify(WDFQUEUE Queue, PFN_WDF_IO_QUEUE_STATE QueueReady,
			       WDFCONTEXT Context)
{
	struct wdf_queue *q = wdf_of(Queue, WDF_QUEUE, "WdfIoQueueReadyNotify");
	NTSTATUS status = STATUS_SUCCESS;

	if (!q)
		return STATUS_INVALID_PARAMETER;
	if (q->config.DispatchType != WdfIoQueueDispatchManual)
		return STATUS_INVALID_PARAMETER;
	wdf_lock(q->object.driver);
	if (QueueReady && q->ready)
		status = STATUS_INVALID_DEVICE_REQUEST;
	if (NT_SUCCESS(status)) {
		q->ready = QueueReady;
		q->ready_context = Context;
	}
	wdf_unlock(q->object.driver);
	return status;
}
