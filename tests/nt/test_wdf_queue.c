/* SPDX-License-Identifier: MIT */
/* Queues and requests of the framework: presenting, completing, cancelling, moving; buffers of each
 * method; power; sending on. */
#include "wdf_test.h"

#define CODE(n, method) CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + (n), method, FILE_ANY_ACCESS)

/* ---- a device whose queues keep what they are given ---- */

typedef struct _REQUEST {
	ULONG Code;
} REQUEST;
WDF_DECLARE_CONTEXT_TYPE(REQUEST)

static struct {
	WDF_IO_QUEUE_CONFIG config;
	WDF_OBJECT_ATTRIBUTES queue_attributes, device_attributes;
	WDFQUEUE queue, second;
	WDFREQUEST held[8];
	atomic_int presented, destroyed;
	NTSTATUS create;
	void (*handler)(WDFREQUEST request, ULONG code);
} q;

static void request_destroyed(WDFOBJECT object)
{
	atomic_fetch_add(&q.destroyed, 1);
}

static void hold(WDFREQUEST request, ULONG code)
{
	int n = atomic_load(&q.presented);

	assert_in_range(n, 0, 7);
	q.held[n] = request;
}

static void control(WDFQUEUE queue, WDFREQUEST request, size_t out, size_t in, ULONG code)
{
	WDF_REQUEST_PARAMETERS seen;

	assert_ptr_equal(WdfRequestGetIoQueue(request), queue);
	assert_int_equal(WdfObjectGet_REQUEST(request)->Code, 0);
	WdfObjectGet_REQUEST(request)->Code = code;
	WDF_REQUEST_PARAMETERS_INIT(&seen);
	WdfRequestGetParameters(request, &seen);
	assert_int_equal(seen.Parameters.DeviceIoControl.OutputBufferLength, out);
	assert_int_equal(seen.Parameters.DeviceIoControl.InputBufferLength, in);
	assert_int_equal(seen.Parameters.DeviceIoControl.IoControlCode, code);
	assert_int_equal(seen.Type, WdfRequestTypeDeviceControl);
	q.handler(request, code);
	atomic_fetch_add(&q.presented, 1);
}

static NTSTATUS add_queue(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	NTSTATUS status;

	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, REQUEST);
	attributes.EvtDestroyCallback = request_destroyed;
	WdfDeviceInitSetRequestAttributes(init, &attributes);
	status = WdfDeviceCreate(&init, &q.device_attributes, &rig.device);
	if (NT_SUCCESS(status))
		q.create = WdfIoQueueCreate(rig.device, &q.config, &q.queue_attributes, &q.queue);
	return status;
}

static int queue_setup(void **state)
{
	memset(&q, 0, sizeof(q));
	q.handler = hold;
	WDF_OBJECT_ATTRIBUTES_INIT(&q.queue_attributes);
	WDF_OBJECT_ATTRIBUTES_INIT(&q.device_attributes);
	return rig_setup(state);
}

#define QUEUED(f) cmocka_unit_test_setup_teardown(f, queue_setup, rig_teardown)

static void plug_queue(WDF_IO_QUEUE_DISPATCH_TYPE type)
{
	WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(&q.config, type);
	q.config.EvtIoDeviceControl = type == WdfIoQueueDispatchManual ? NULL : control;
	assert_int_equal(rig_plug(add_queue), STATUS_SUCCESS);
	assert_int_equal(q.create, STATUS_SUCCESS);
	assert_ptr_equal(WdfDeviceGetDefaultQueue(rig.device), q.queue);
	assert_ptr_equal(WdfIoQueueGetDevice(q.queue), rig.device);
}

/* ---- requests from outside: IRPs whose completion is seen ---- */

struct sent {
	PIRP irp;
	atomic_bool done;
	NTSTATUS status;
	ULONG_PTR information;
	UCHAR buffer[64];
};

static NTSTATUS sent_done(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
	struct sent *s = context;

	s->status = irp->IoStatus.Status;
	s->information = irp->IoStatus.Information;
	atomic_store(&s->done, true);
	return STATUS_MORE_PROCESSING_REQUIRED;
}

static void send_to(PDEVICE_OBJECT device, struct sent *s, ULONG code)
{
	PIO_STACK_LOCATION next;

	memset(s, 0, sizeof(*s));
	s->irp = IoAllocateIrp((CCHAR)(device->StackSize + 1), FALSE);
	assert_non_null(s->irp);
	/* a location of the sender's own, for the completion routine to be called in */
	s->irp->CurrentLocation--;
	s->irp->Tail.Overlay.CurrentStackLocation--;
	next = IoGetNextIrpStackLocation(s->irp);
	next->MajorFunction = IRP_MJ_DEVICE_CONTROL;
	next->Parameters.DeviceIoControl.IoControlCode = code;
	next->Parameters.DeviceIoControl.InputBufferLength = 8;
	next->Parameters.DeviceIoControl.OutputBufferLength = 16;
	s->irp->AssociatedIrp.SystemBuffer = s->buffer;
	IoSetCompletionRoutine(s->irp, sent_done, s, TRUE, TRUE, TRUE);
	IoCallDriver(device, s->irp);
}

static void send_code(struct sent *s, ULONG n)
{
	send_to(rig.pdo->AttachedDevice, s, CODE(n, METHOD_BUFFERED));
}

static void expect_done(struct sent *s, NTSTATUS status)
{
	WAIT_UNTIL(atomic_load(&s->done));
	assert_int_equal(s->status, status);
	IoFreeIrp(s->irp);
}

static void expect_counts(ULONG queued, ULONG owned)
{
	ULONG in_queue, in_driver;

	WdfIoQueueGetState(q.queue, &in_queue, &in_driver);
	assert_int_equal(in_queue, queued);
	assert_int_equal(in_driver, owned);
}

/* ---- dispatch types ---- */

static void parallel_queue_presents_all(void **state)
{
	struct sent s[3];

	plug_queue(WdfIoQueueDispatchParallel);
	for (ULONG i = 0; i < 3; i++)
		send_code(&s[i], i);
	assert_int_equal(atomic_load(&q.presented), 3);
	expect_counts(0, 3);
	/* in any order */
	WdfRequestComplete(q.held[1], STATUS_SUCCESS);
	WdfRequestCompleteWithInformation(q.held[0], STATUS_DATA_ERROR, 5);
	WdfRequestSetInformation(q.held[2], 9);
	assert_int_equal(WdfRequestGetInformation(q.held[2]), 9);
	WdfRequestCompleteWithPriorityBoost(q.held[2], STATUS_SUCCESS, EVENT_INCREMENT);
	expect_done(&s[0], STATUS_DATA_ERROR);
	assert_int_equal(s[0].information, 5);
	expect_done(&s[1], STATUS_SUCCESS);
	expect_done(&s[2], STATUS_SUCCESS);
	assert_int_equal(s[2].information, 9);
	assert_int_equal(atomic_load(&q.destroyed), 3);
}

static void parallel_queue_may_be_limited(void **state)
{
	struct sent s[3];

	WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(&q.config, WdfIoQueueDispatchParallel);
	q.config.EvtIoDeviceControl = control;
	q.config.Settings.Parallel.NumberOfPresentedRequests = 2;
	assert_int_equal(rig_plug(add_queue), STATUS_SUCCESS);
	for (ULONG i = 0; i < 3; i++)
		send_code(&s[i], i);
	assert_int_equal(atomic_load(&q.presented), 2);
	expect_counts(1, 2);
	WdfRequestComplete(q.held[0], STATUS_SUCCESS);
	assert_int_equal(atomic_load(&q.presented), 3);
	WdfRequestComplete(q.held[1], STATUS_SUCCESS);
	WdfRequestComplete(q.held[2], STATUS_SUCCESS);
	for (ULONG i = 0; i < 3; i++)
		expect_done(&s[i], STATUS_SUCCESS);
}

static void sequential_queue_presents_one_at_a_time(void **state)
{
	struct sent s[3];

	plug_queue(WdfIoQueueDispatchSequential);
	for (ULONG i = 0; i < 3; i++)
		send_code(&s[i], i);
	for (ULONG i = 0; i < 3; i++) {
		assert_int_equal(atomic_load(&q.presented), i + 1);
		assert_int_equal(WdfObjectGet_REQUEST(q.held[i])->Code, CODE(i, METHOD_BUFFERED));
		WdfRequestComplete(q.held[i], STATUS_SUCCESS);
		expect_done(&s[i], STATUS_SUCCESS);
	}
}

static unsigned int depth, deepest;

static void complete_at_once(WDFREQUEST request, ULONG code)
{
	if (++depth > deepest)
		deepest = depth;
	WdfRequestComplete(request, STATUS_SUCCESS);
	depth--;
}

/* Requests that are completed in the callback do not pile callbacks up. */
static void completing_in_the_callback_does_not_nest(void **state)
{
	struct sent s[8];

	depth = deepest = 0;
	q.handler = complete_at_once;
	plug_queue(WdfIoQueueDispatchSequential);
	WdfIoQueueStopSynchronously(q.queue);
	for (ULONG i = 0; i < 8; i++)
		send_code(&s[i], i);
	assert_int_equal(atomic_load(&q.presented), 0);
	WdfIoQueueStart(q.queue);
	for (ULONG i = 0; i < 8; i++)
		expect_done(&s[i], STATUS_SUCCESS);
	assert_int_equal(deepest, 1);
}

static void became_ready(WDFQUEUE queue, WDFCONTEXT context)
{
	assert_ptr_equal(context, &q);
	note("ready");
}

static void manual_queue_is_asked(void **state)
{
	struct sent s[2];
	WDFREQUEST request;

	plug_queue(WdfIoQueueDispatchManual);
	assert_int_equal(WdfIoQueueReadyNotify(q.queue, became_ready, &q), STATUS_SUCCESS);
	assert_int_equal(WdfIoQueueReadyNotify(q.queue, became_ready, &q),
			 STATUS_INVALID_DEVICE_REQUEST);
	assert_int_equal(WdfIoQueueRetrieveNextRequest(q.queue, &request), STATUS_NO_MORE_ENTRIES);
	assert_null(request);
	send_code(&s[0], 0);
	send_code(&s[1], 1);
	expect_trace("ready ");
	assert_int_equal(WdfIoQueueRetrieveNextRequest(q.queue, &request), STATUS_SUCCESS);
	assert_ptr_equal(WdfRequestWdmGetIrp(request), s[0].irp);
	/* back to the head */
	assert_int_equal(WdfRequestRequeue(request), STATUS_SUCCESS);
	expect_counts(2, 0);
	assert_int_equal(WdfIoQueueRetrieveNextRequest(q.queue, &request), STATUS_SUCCESS);
	assert_ptr_equal(WdfRequestWdmGetIrp(request), s[0].irp);
	WdfRequestComplete(request, STATUS_SUCCESS);
	assert_int_equal(WdfIoQueueRetrieveNextRequest(q.queue, &request), STATUS_SUCCESS);
	WdfRequestComplete(request, STATUS_SUCCESS);
	expect_done(&s[0], STATUS_SUCCESS);
	expect_done(&s[1], STATUS_SUCCESS);
	WdfIoQueueStopSynchronously(q.queue);
	assert_int_equal(WdfIoQueueRetrieveNextRequest(q.queue, &request), STATUS_WDF_PAUSED);
}

static void queue_configuration_is_checked(void **state)
{
	WDF_IO_QUEUE_CONFIG config;
	WDFQUEUE queue;

	plug_queue(WdfIoQueueDispatchParallel);
	WDF_IO_QUEUE_CONFIG_INIT(&config, WdfIoQueueDispatchSequential);
	assert_int_equal(WdfIoQueueCreate(rig.device, &config, NULL, &queue),
			 STATUS_WDF_NO_CALLBACK);
	config.EvtIoDeviceControl = control;
	config.DispatchType = WdfIoQueueDispatchMax;
	assert_int_equal(WdfIoQueueCreate(rig.device, &config, NULL, &queue),
			 STATUS_INVALID_PARAMETER);
	config.DispatchType = WdfIoQueueDispatchParallel; /* of no requests */
	assert_int_equal(WdfIoQueueCreate(rig.device, &config, NULL, &queue),
			 STATUS_INVALID_PARAMETER);
	config.Size = 4;
	assert_int_equal(WdfIoQueueCreate(rig.device, &config, NULL, &queue),
			 STATUS_INFO_LENGTH_MISMATCH);
	assert_null(queue);
	WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(&config, WdfIoQueueDispatchManual);
	assert_int_equal(WdfIoQueueCreate(rig.device, &config, NULL, &queue), STATUS_UNSUCCESSFUL);
	WDF_IO_QUEUE_CONFIG_INIT(&config, WdfIoQueueDispatchManual);
	assert_int_equal(WdfIoQueueCreate(rig.device, &config, NULL, &queue), STATUS_SUCCESS);
	assert_int_equal(WdfDeviceConfigureRequestDispatching(rig.device, queue, WdfRequestTypePnp),
			 STATUS_INVALID_PARAMETER);
	assert_int_equal(WdfDeviceConfigureRequestDispatching(rig.device, queue,
							      WdfRequestTypeDeviceControl),
			 STATUS_SUCCESS);
	assert_int_equal(WdfDeviceConfigureRequestDispatching(rig.device, queue,
							      WdfRequestTypeDeviceControl),
			 STATUS_WDF_BUSY);
	WdfObjectDelete(q.queue);
	EXPECT_VIOLATION("wdf-delete", "WDFQUEUE");
	WdfObjectDelete(queue);
}

/* ---- buffers ---- */

static struct {
	NTSTATUS in, out, minimum, memory;
	size_t in_length, out_length, memory_length;
	UCHAR first;
	bool mdl_same;
} bufs;

static void use_buffers(WDFREQUEST request, ULONG code)
{
	PVOID in = NULL, out = NULL;
	WDFMEMORY memory;
	PMDL mdl;

	memset(&bufs, 0, sizeof(bufs));
	bufs.in = WdfRequestRetrieveInputBuffer(request, 4, &in, &bufs.in_length);
	bufs.minimum = WdfRequestRetrieveInputBuffer(request, 1000, &in, NULL);
	assert_null(in);
	if (NT_SUCCESS(bufs.in)) {
		WdfRequestRetrieveInputBuffer(request, 0, &in, NULL);
		bufs.first = *(UCHAR *)in;
	}
	bufs.out = WdfRequestRetrieveOutputBuffer(request, 1, &out, &bufs.out_length);
	bufs.memory = WdfRequestRetrieveOutputMemory(request, &memory);
	if (NT_SUCCESS(bufs.out)) {
		assert_ptr_equal(WdfMemoryGetBuffer(memory, &bufs.memory_length), out);
		assert_int_equal(WdfRequestRetrieveOutputWdmMdl(request, &mdl), STATUS_SUCCESS);
		bufs.mdl_same = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority) == out;
		memset(out, bufs.first + 1, bufs.out_length);
	}
	WdfRequestCompleteWithInformation(request, STATUS_SUCCESS, bufs.out_length);
}

static void control_with(ULONG method, size_t in_size, size_t out_size, size_t *returned)
{
	UCHAR in[16], out[32];

	memset(in, 0x41, sizeof(in));
	memset(out, 0, sizeof(out));
	assert_int_equal(nt_device_control(rig.pdo->AttachedDevice, CODE(1, method), in, in_size,
					   out, out_size, returned),
			 STATUS_SUCCESS);
	for (size_t i = 0; i < *returned; i++)
		assert_int_equal(out[i], 0x42);
}

static void buffers_of_each_method(void **state)
{
	static const ULONG methods[] = {METHOD_BUFFERED, METHOD_IN_DIRECT, METHOD_OUT_DIRECT};
	size_t returned;

	q.handler = use_buffers;
	plug_queue(WdfIoQueueDispatchParallel);
	for (size_t i = 0; i < ARRAYSIZE(methods); i++) {
		control_with(methods[i], 16, 32, &returned);
		assert_int_equal(bufs.in, STATUS_SUCCESS);
		assert_int_equal(bufs.in_length, 16);
		assert_int_equal(bufs.minimum, STATUS_BUFFER_TOO_SMALL);
		assert_int_equal(bufs.out, STATUS_SUCCESS);
		assert_int_equal(bufs.out_length, 32);
		assert_int_equal(bufs.memory_length, 32);
		assert_true(bufs.mdl_same);
		assert_int_equal(returned, 32);
	}
	/* empty buffers are too small for anything */
	control_with(METHOD_BUFFERED, 0, 0, &returned);
	assert_int_equal(bufs.in, STATUS_BUFFER_TOO_SMALL);
	assert_int_equal(bufs.out, STATUS_BUFFER_TOO_SMALL);
	assert_int_equal(bufs.memory, STATUS_BUFFER_TOO_SMALL);
	control_with(METHOD_NEITHER, 16, 32, &returned);
	assert_int_equal(bufs.in, STATUS_INVALID_DEVICE_REQUEST);
	assert_int_equal(bufs.out, STATUS_INVALID_DEVICE_REQUEST);
}

/* ---- completing wrongly ---- */

static void second_completion_is_a_violation(void **state)
{
	struct sent s;

	plug_queue(WdfIoQueueDispatchParallel);
	send_code(&s, 0);
	WdfObjectReference(q.held[0]);
	WdfRequestComplete(q.held[0], STATUS_SUCCESS);
	expect_done(&s, STATUS_SUCCESS);
	WdfRequestComplete(q.held[0], STATUS_SUCCESS);
	EXPECT_VIOLATION("wdf-request-completed", "WdfRequestComplete");
	WdfObjectDereference(q.held[0]);
}

/* ---- cancellation ---- */

static void cancelled(WDFREQUEST request)
{
	note("cancel");
	WdfRequestComplete(request, STATUS_CANCELLED);
}

static void queued_request_is_cancelled_by_the_framework(void **state)
{
	struct sent s[2];

	plug_queue(WdfIoQueueDispatchSequential);
	send_code(&s[0], 0);
	send_code(&s[1], 1);
	assert_true(IoCancelIrp(s[1].irp));
	expect_done(&s[1], STATUS_CANCELLED);
	assert_false(IoCancelIrp(s[0].irp)); /* the driver's, and not cancelable */
	assert_true(WdfRequestIsCanceled(q.held[0]));
	assert_int_equal(WdfRequestMarkCancelableEx(q.held[0], cancelled), STATUS_CANCELLED);
	expect_trace("");
	WdfRequestMarkCancelable(q.held[0], cancelled);
	expect_trace("cancel ");
	expect_done(&s[0], STATUS_CANCELLED);
}

static void cancelable_request_has_its_callback_called(void **state)
{
	struct sent s[3];

	plug_queue(WdfIoQueueDispatchParallel);
	for (ULONG i = 0; i < 3; i++)
		send_code(&s[i], i);
	assert_int_equal(WdfRequestUnmarkCancelable(q.held[0]), STATUS_INVALID_PARAMETER);
	assert_int_equal(WdfRequestMarkCancelableEx(q.held[0], cancelled), STATUS_SUCCESS);
	assert_int_equal(WdfRequestMarkCancelableEx(q.held[0], cancelled),
			 STATUS_INVALID_DEVICE_REQUEST);
	assert_true(IoCancelIrp(s[0].irp));
	expect_trace("cancel ");
	expect_done(&s[0], STATUS_CANCELLED);
	/* taken back in time */
	WdfRequestMarkCancelable(q.held[1], cancelled);
	assert_int_equal(WdfRequestUnmarkCancelable(q.held[1]), STATUS_SUCCESS);
	assert_false(IoCancelIrp(s[1].irp));
	WdfRequestComplete(q.held[1], STATUS_SUCCESS);
	expect_done(&s[1], STATUS_SUCCESS);
	/* forgotten to take back */
	WdfRequestMarkCancelable(q.held[2], cancelled);
	WdfRequestComplete(q.held[2], STATUS_SUCCESS);
	EXPECT_VIOLATION("wdf-request-cancelable", "WdfRequestUnmarkCancelable");
	expect_done(&s[2], STATUS_SUCCESS);
	expect_trace("");
}

static NTSTATUS unmarked;

static void complete_unless_cancelled(WDFREQUEST request)
{
	WdfRequestComplete(request, STATUS_CANCELLED);
}

static void *cancel_it(void *irp)
{
	IoCancelIrp(irp);
	return NULL;
}

/* Cancelling races with taking the mark back: one of them has the request, never both or none. */
static void cancelling_races_with_completion(void **state)
{
	struct sent s;
	pthread_t thread;

	plug_queue(WdfIoQueueDispatchSequential);
	for (int i = 0; i < 300; i++) {
		atomic_store(&q.presented, 0);
		send_code(&s, 0);
		WdfRequestMarkCancelable(q.held[0], complete_unless_cancelled);
		WdfObjectReference(q.held[0]);
		start_thread(&thread, cancel_it, s.irp);
		unmarked = WdfRequestUnmarkCancelable(q.held[0]);
		if (unmarked == STATUS_SUCCESS) {
			pthread_join(thread, NULL); /* uses the IRP until then */
			WdfRequestComplete(q.held[0], STATUS_SUCCESS);
		} else {
			assert_int_equal(unmarked, STATUS_CANCELLED);
			pthread_join(thread, NULL);
		}
		WAIT_UNTIL(atomic_load(&s.done));
		expect_done(&s, unmarked == STATUS_SUCCESS ? STATUS_SUCCESS : STATUS_CANCELLED);
		WdfObjectDereference(q.held[0]);
	}
}

/* ---- forwarding ---- */

static void cancelled_on_queue(WDFQUEUE queue, WDFREQUEST request)
{
	note("onqueue");
	WdfRequestComplete(request, STATUS_CANCELLED);
}

static void requests_move_to_another_queue(void **state)
{
	WDF_IO_QUEUE_CONFIG config;
	struct sent s[2];
	WDFREQUEST request;
	WDFQUEUE manual;

	plug_queue(WdfIoQueueDispatchSequential);
	WDF_IO_QUEUE_CONFIG_INIT(&config, WdfIoQueueDispatchManual);
	config.EvtIoCanceledOnQueue = cancelled_on_queue;
	assert_int_equal(WdfIoQueueCreate(rig.device, &config, NULL, &manual), STATUS_SUCCESS);
	send_code(&s[0], 0);
	send_code(&s[1], 1);
	assert_int_equal(WdfRequestForwardToIoQueue(q.held[0], q.queue),
			 STATUS_INVALID_DEVICE_REQUEST);
	assert_int_equal(WdfRequestForwardToIoQueue(q.held[0], manual), STATUS_SUCCESS);
	/* which lets the next one come */
	assert_int_equal(atomic_load(&q.presented), 2);
	assert_int_equal(WdfRequestForwardToIoQueue(q.held[1], manual), STATUS_SUCCESS);
	expect_counts(0, 0);
	assert_int_equal(WdfIoQueueRetrieveNextRequest(manual, &request), STATUS_SUCCESS);
	assert_ptr_equal(request, q.held[0]);
	assert_ptr_equal(WdfRequestGetIoQueue(request), manual);
	assert_int_equal(WdfObjectGet_REQUEST(request)->Code, CODE(0, METHOD_BUFFERED));
	WdfRequestComplete(request, STATUS_SUCCESS);
	expect_done(&s[0], STATUS_SUCCESS);
	/* the driver had it once: it is told */
	assert_true(IoCancelIrp(s[1].irp));
	expect_trace("onqueue ");
	expect_done(&s[1], STATUS_CANCELLED);
	/* a queue that accepts nothing */
	WdfIoQueuePurgeSynchronously(manual);
	atomic_store(&q.presented, 0);
	send_code(&s[0], 0);
	assert_int_equal(WdfRequestForwardToIoQueue(q.held[0], manual), STATUS_WDF_BUSY);
	WdfRequestComplete(q.held[0], STATUS_SUCCESS);
	expect_done(&s[0], STATUS_SUCCESS);
}

/* ---- stop, drain, purge ---- */

static void told(WDFQUEUE queue, WDFCONTEXT context)
{
	assert_ptr_equal(queue, q.queue);
	note(context);
}

static void stop_drain_and_purge(void **state)
{
	struct sent s[4];

	plug_queue(WdfIoQueueDispatchSequential);
	send_code(&s[0], 0);
	send_code(&s[1], 1);
	WdfIoQueueStop(q.queue, told, "stopped");
	expect_trace("");
	assert_int_equal(WdfIoQueueGetState(q.queue, NULL, NULL), WdfIoQueueAcceptRequests);
	WdfRequestComplete(q.held[0], STATUS_SUCCESS);
	expect_trace("stopped ");
	expect_counts(1, 0);
	WdfIoQueueDrain(q.queue, told, "drained");
	assert_int_equal(atomic_load(&q.presented), 2);
	send_code(&s[2], 2);
	expect_done(&s[2], STATUS_INVALID_DEVICE_STATE);
	WdfRequestComplete(q.held[1], STATUS_SUCCESS);
	expect_trace("drained ");
	WdfIoQueueStart(q.queue);
	send_code(&s[2], 2);
	send_code(&s[3], 3);
	WdfRequestMarkCancelable(q.held[2], cancelled);
	WdfIoQueuePurge(q.queue, told, "purged");
	expect_trace("cancel purged ");
	expect_done(&s[0], STATUS_SUCCESS);
	expect_done(&s[1], STATUS_SUCCESS);
	expect_done(&s[2], STATUS_CANCELLED);
	expect_done(&s[3], STATUS_CANCELLED);
	WdfIoQueueStart(q.queue);
}

/* ---- power ---- */

static void *send_thread(void *arg)
{
	send_code(arg, 7);
	return NULL;
}

static struct sent early_request;

static NTSTATUS d0_entry(WDFDEVICE device, WDF_POWER_DEVICE_STATE previous)
{
	/* the device does not work yet: its queue keeps what comes */
	send_code(&early_request, 7);
	assert_int_equal(atomic_load(&q.presented), 0);
	assert_true(FlagOn(WdfIoQueueGetState(q.queue, NULL, NULL), WdfIoQueuePnpHeld));
	return STATUS_SUCCESS;
}

static void on_stop(WDFQUEUE queue, WDFREQUEST request, ULONG flags)
{
	assert_ptr_equal(queue, q.queue);
	if (flags == WdfRequestStopActionSuspend) {
		note("stop");
		WdfRequestStopAcknowledge(request, FALSE);
	} else if (flags == WdfRequestStopActionPurge) {
		note("purge");
		WdfRequestComplete(request, STATUS_DEVICE_REMOVED);
	} else {
		note("odd");
	}
}

static NTSTATUS d0_exit(WDFDEVICE device, WDF_POWER_DEVICE_STATE target)
{
	note("d0exit");
	return STATUS_SUCCESS;
}

static NTSTATUS add_powered(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	WDF_PNPPOWER_EVENT_CALLBACKS callbacks;

	WDF_PNPPOWER_EVENT_CALLBACKS_INIT(&callbacks);
	callbacks.EvtDeviceD0Entry = d0_entry;
	callbacks.EvtDeviceD0Exit = d0_exit;
	WdfDeviceInitSetPnpPowerEventCallbacks(init, &callbacks);
	WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(&q.config, WdfIoQueueDispatchParallel);
	q.config.EvtIoDeviceControl = control;
	q.config.EvtIoStop = on_stop;
	return add_queue(driver, init);
}

static void managed_queue_works_while_the_device_does(void **state)
{
	struct sent s;

	assert_int_equal(rig_plug(add_powered), STATUS_SUCCESS);
	assert_int_equal(atomic_load(&q.presented), 1);
	send_code(&s, 8);
	WdfRequestComplete(q.held[0], STATUS_SUCCESS);
	expect_done(&early_request, STATUS_SUCCESS);
	/* the driver keeps the other over the stop, and is asked for it again by the removal */
	rig_unplug(false);
	expect_trace("stop d0exit purge ");
	expect_done(&s, STATUS_DEVICE_REMOVED);
}

static void *complete_later(void *arg)
{
	WAIT_UNTIL(atomic_load(&q.presented) == 1);
	pause_us(20000);
	note("late");
	WdfRequestComplete(q.held[0], STATUS_SUCCESS);
	return NULL;
}

/* Without EvtIoStop the device waits for what the driver owns; what is queued is cancelled. */
static void removal_waits_for_the_drivers_requests(void **state)
{
	struct sent s[2];
	pthread_t completer, sender;

	plug_queue(WdfIoQueueDispatchSequential);
	start_thread(&sender, send_thread, &s[0]);
	pthread_join(sender, NULL);
	send_code(&s[1], 1);
	start_thread(&completer, complete_later, NULL);
	rig_unplug(true);
	expect_trace("late ");
	expect_done(&s[0], STATUS_SUCCESS);
	expect_done(&s[1], STATUS_CANCELLED);
	pthread_join(completer, NULL);
}

/* ---- synchronisation ---- */

static atomic_int inside, together;

static void overlap(WDFREQUEST request, ULONG code)
{
	if (atomic_fetch_add(&inside, 1))
		atomic_fetch_add(&together, 1);
	pause_us(300);
	atomic_fetch_sub(&inside, 1);
	WdfRequestComplete(request, STATUS_SUCCESS);
}

static void *send_many(void *arg)
{
	for (int i = 0; i < 20; i++)
		nt_device_control(rig.pdo->AttachedDevice, CODE(1, METHOD_BUFFERED), NULL, 0, NULL,
				  0, NULL);
	return NULL;
}

static void send_from_threads(void)
{
	pthread_t thread[4];

	atomic_store(&together, 0);
	for (int i = 0; i < 4; i++)
		start_thread(&thread[i], send_many, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(atomic_load(&q.presented), 80);
}

static void scope_keeps_callbacks_apart(void **state)
{
	q.handler = overlap;
	q.device_attributes.SynchronizationScope = WdfSynchronizationScopeDevice;
	plug_queue(WdfIoQueueDispatchParallel);
	send_from_threads();
	assert_int_equal(atomic_load(&together), 0);
	WdfObjectAcquireLock(rig.device);
	assert_int_equal(KeGetCurrentIrql(), DISPATCH_LEVEL);
	WdfObjectAcquireLock(rig.device);
	EXPECT_VIOLATION("wdf-lock", "holds the lock");
	WdfObjectReleaseLock(rig.device);
	assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
	WdfObjectReleaseLock(rig.device);
	EXPECT_VIOLATION("wdf-lock", "does not hold");
}

/* The first stays until there is another. */
static void meet(WDFREQUEST request, ULONG code)
{
	if (atomic_fetch_add(&inside, 1))
		atomic_fetch_add(&together, 1);
	else
		WAIT_UNTIL(atomic_load(&together));
	atomic_fetch_sub(&inside, 1);
	WdfRequestComplete(request, STATUS_SUCCESS);
}

static void without_scope_callbacks_overlap(void **state)
{
	q.handler = meet;
	plug_queue(WdfIoQueueDispatchParallel);
	send_from_threads();
	assert_int_not_equal(atomic_load(&together), 0);
}

/* ---- sending on ---- */

static void completed(WDFREQUEST request, WDFIOTARGET target, PWDF_REQUEST_COMPLETION_PARAMS params,
		      WDFCONTEXT context)
{
	assert_ptr_equal(context, &q);
	assert_ptr_equal(target, WdfDeviceGetIoTarget(rig.device));
	assert_int_equal(params->IoStatus.Status, STATUS_INVALID_DEVICE_REQUEST);
	assert_int_equal(params->Type, WdfRequestTypeDeviceControl);
	note("came back");
	WdfRequestComplete(request, STATUS_NOT_SUPPORTED);
}

/* The bus below knows no control code. */
static void send_on(WDFREQUEST request, ULONG code)
{
	WDFIOTARGET target = WdfDeviceGetIoTarget(rig.device);
	WDF_REQUEST_SEND_OPTIONS options;

	WDF_REQUEST_SEND_OPTIONS_INIT(&options, WDF_REQUEST_SEND_OPTION_SYNCHRONOUS);
	switch (code) {
	case CODE(0, METHOD_BUFFERED):
		assert_false(WdfRequestSend(request, target, NULL));
		assert_int_equal(WdfRequestGetStatus(request), STATUS_INVALID_DEVICE_REQUEST);
		WdfRequestFormatRequestUsingCurrentType(request);
		assert_false(WdfRequestSend(request, target, &options));
		assert_int_equal(WdfRequestGetStatus(request), STATUS_INVALID_DEVICE_REQUEST);
		WdfRequestComplete(request, STATUS_ACCESS_DENIED);
		break;
	case CODE(1, METHOD_BUFFERED):
		WdfRequestFormatRequestUsingCurrentType(request);
		WdfRequestSetCompletionRoutine(request, completed, &q);
		assert_true(WdfRequestSend(request, target, NULL));
		break;
	default:
		options.Flags = WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET;
		assert_true(WdfRequestSend(request, target, &options));
		break;
	}
}

static void requests_are_sent_down_the_stack(void **state)
{
	struct sent s;

	q.handler = send_on;
	plug_queue(WdfIoQueueDispatchParallel);
	send_code(&s, 0);
	expect_done(&s, STATUS_ACCESS_DENIED);
	send_code(&s, 1);
	expect_done(&s, STATUS_NOT_SUPPORTED);
	expect_trace("came back ");
	send_code(&s, 2);
	expect_done(&s, STATUS_INVALID_DEVICE_REQUEST);
	expect_counts(0, 0);
	assert_int_equal(atomic_load(&q.destroyed), 3);
}

static void answer(WDFREQUEST request, ULONG code)
{
	use_buffers(request, code);
}

/* A target that is another device: here the driver's own. */
static void control_codes_are_sent_to_a_target(void **state)
{
	WDF_IO_TARGET_OPEN_PARAMS params;
	WDF_MEMORY_DESCRIPTOR in, out;
	WDFMEMORY_OFFSET offsets = {4, 8};
	UCHAR input[16], output[32];
	ULONG_PTR returned;
	WDFMEMORY memory;
	WDFIOTARGET target;

	q.handler = answer;
	plug_queue(WdfIoQueueDispatchParallel);
	memset(input, 0x41, sizeof(input));
	WDF_MEMORY_DESCRIPTOR_INIT_BUFFER(&in, input, sizeof(input));
	WDF_MEMORY_DESCRIPTOR_INIT_BUFFER(&out, output, sizeof(output));
	assert_int_equal(WdfIoTargetCreate(rig.device, NULL, &target), STATUS_SUCCESS);
	assert_int_equal(WdfIoTargetGetState(target), WdfIoTargetClosed);
	assert_int_equal(WdfIoTargetSendIoctlSynchronously(target, NULL, CODE(1, METHOD_BUFFERED),
							   &in, &out, NULL, &returned),
			 STATUS_INVALID_DEVICE_STATE);
	WDF_IO_TARGET_OPEN_PARAMS_INIT_EXISTING_DEVICE(&params, rig.pdo->AttachedDevice);
	assert_int_equal(WdfIoTargetOpen(target, &params), STATUS_SUCCESS);
	assert_int_equal(WdfIoTargetOpen(target, &params), STATUS_INVALID_DEVICE_STATE);
	assert_ptr_equal(WdfIoTargetWdmGetTargetPhysicalDevice(target), rig.pdo);
	assert_ptr_equal(WdfIoTargetGetDevice(target), rig.device);
	assert_int_equal(WdfIoTargetSendIoctlSynchronously(target, NULL, CODE(1, METHOD_BUFFERED),
							   &in, &out, NULL, &returned),
			 STATUS_SUCCESS);
	assert_int_equal(returned, 32);
	assert_int_equal(output[31], 0x42);
	/* a part of a memory object */
	AS_DRIVER(assert_int_equal(WdfMemoryCreatePreallocated(NULL, output, 32, &memory), 0));
	memset(output, 0, sizeof(output));
	WDF_MEMORY_DESCRIPTOR_INIT_HANDLE(&out, memory, &offsets);
	assert_int_equal(WdfIoTargetSendIoctlSynchronously(target, NULL, CODE(1, METHOD_OUT_DIRECT),
							   &in, &out, NULL, &returned),
			 STATUS_SUCCESS);
	assert_int_equal(returned, 8);
	assert_int_equal(output[3], 0);
	assert_int_equal(output[4], 0x42);
	assert_int_equal(output[12], 0);
	offsets.BufferOffset = 33;
	assert_int_equal(WdfIoTargetSendIoctlSynchronously(target, NULL, CODE(1, METHOD_OUT_DIRECT),
							   &in, &out, NULL, &returned),
			 STATUS_INTEGER_OVERFLOW);
	WdfIoTargetClose(target);
	assert_int_equal(WdfIoTargetGetState(target), WdfIoTargetClosed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		QUEUED(parallel_queue_presents_all),
		QUEUED(parallel_queue_may_be_limited),
		QUEUED(sequential_queue_presents_one_at_a_time),
		QUEUED(completing_in_the_callback_does_not_nest),
		QUEUED(manual_queue_is_asked),
		QUEUED(queue_configuration_is_checked),
		QUEUED(buffers_of_each_method),
		QUEUED(second_completion_is_a_violation),
		QUEUED(queued_request_is_cancelled_by_the_framework),
		QUEUED(cancelable_request_has_its_callback_called),
		QUEUED(cancelling_races_with_completion),
		QUEUED(requests_move_to_another_queue),
		QUEUED(stop_drain_and_purge),
		QUEUED(managed_queue_works_while_the_device_does),
		QUEUED(removal_waits_for_the_drivers_requests),
		QUEUED(scope_keeps_callbacks_apart),
		QUEUED(without_scope_callbacks_overlap),
		QUEUED(requests_are_sent_down_the_stack),
		QUEUED(control_codes_are_sent_to_a_target),
	};

	return cmocka_run_group_tests_name("nt-wdf_queue", tests, NULL, end_threads);
}
