/* SPDX-License-Identifier: MIT */
/*
 * Locks, work items, timers and DPCs as objects.
 *
 * A work item, a timer or a DPC counts its callbacks that are queued or running; cleaning it up
 * stops it and waits for the count to fall to zero, except in its own callback.
 */
#include "nt/wdf.h"

/* ---- locks ---- */

struct wdf_spinlock {
	struct wdf_object object;
	KSPIN_LOCK lock;
	KIRQL irql;
};

struct wdf_waitlock {
	struct wdf_object object;
	KEVENT free;
	_Atomic(void *) owner;
};

NTSTATUS WdfSpinLockCreate(PWDF_OBJECT_ATTRIBUTES SpinLockAttributes, WDFSPINLOCK *SpinLock)
{
	struct wdf_driver *driver = wdf_current("WdfSpinLockCreate");
	struct wdf_spinlock *lock;
	NTSTATUS status;

	if (!driver || !SpinLock)
		return STATUS_INVALID_PARAMETER;
	*SpinLock = NULL;
	status = wdf_create(driver, WDF_SPINLOCK, sizeof(*lock), SpinLockAttributes,
			    &driver->object, WDF_MAY_NAME_PARENT, &lock);
	if (!NT_SUCCESS(status))
		return status;
	KeInitializeSpinLock(&lock->lock);
	return wdf_finish(lock, SpinLock);
}

VOID WdfSpinLockAcquire(WDFSPINLOCK SpinLock)
{
	struct wdf_spinlock *lock = wdf_of(SpinLock, WDF_SPINLOCK, "WdfSpinLockAcquire");
	KIRQL irql;

	if (!lock)
		return;
	KeAcquireSpinLock(&lock->lock, &irql);
	lock->irql = irql;
}

VOID WdfSpinLockRelease(WDFSPINLOCK SpinLock)
{
	struct wdf_spinlock *lock = wdf_of(SpinLock, WDF_SPINLOCK, "WdfSpinLockRelease");

	if (lock)
		KeReleaseSpinLock(&lock->lock, lock->irql);
}

NTSTATUS WdfWaitLockCreate(PWDF_OBJECT_ATTRIBUTES LockAttributes, WDFWAITLOCK *Lock)
{
	struct wdf_driver *driver = wdf_current("WdfWaitLockCreate");
	struct wdf_waitlock *lock;
	NTSTATUS status;

	if (!driver || !Lock)
		return STATUS_INVALID_PARAMETER;
	*Lock = NULL;
	status = wdf_create(driver, WDF_WAITLOCK, sizeof(*lock), LockAttributes, &driver->object,
			    WDF_MAY_NAME_PARENT, &lock);
	if (!NT_SUCCESS(status))
		return status;
	KeInitializeEvent(&lock->free, SynchronizationEvent, TRUE);
	return wdf_finish(lock, Lock);
}

NTSTATUS WdfWaitLockAcquire(WDFWAITLOCK Lock, PLONGLONG Timeout)
{
	struct wdf_waitlock *lock = wdf_of(Lock, WDF_WAITLOCK, "WdfWaitLockAcquire");
	LARGE_INTEGER timeout;
	NTSTATUS status;

	if (!lock)
		return STATUS_INVALID_PARAMETER;
	if (atomic_load(&lock->owner) == (void *)KeGetCurrentThread()) {
		nt_violation("wdf-lock", "WdfWaitLockAcquire by the thread that holds the lock");
		return STATUS_INVALID_DEVICE_STATE;
	}
	timeout.QuadPart = Timeout ? *Timeout : 0;
	status = KeWaitForSingleObject(&lock->free, Executive, KernelMode, FALSE,
				       Timeout ? &timeout : NULL);
	if (status == STATUS_SUCCESS)
		atomic_store(&lock->owner, (void *)KeGetCurrentThread());
	return status;
}

VOID WdfWaitLockRelease(WDFWAITLOCK Lock)
{
	struct wdf_waitlock *lock = wdf_of(Lock, WDF_WAITLOCK, "WdfWaitLockRelease");

	if (!lock)
		return;
	if (atomic_load(&lock->owner) != (void *)KeGetCurrentThread()) {
		nt_violation("wdf-lock", "WdfWaitLockRelease by a thread that does not hold it");
		return;
	}
	atomic_store(&lock->owner, NULL);
	KeSetEvent(&lock->free, IO_NO_INCREMENT, FALSE);
}

/* ---- callbacks under way ---- */

struct wdf_activity {
	struct wdf_object object;
	struct wdf_presentation *serialized; /* NULL: not */
	struct wdf_object *under;            /* parent, for the functions that ask */
	unsigned int pending;                /* queued or running; driver's lock */
	_Atomic(void *) runner;              /* a thread in the callback */
};

static void begin(struct wdf_activity *a)
{
	wdf_reference(a);
	atomic_fetch_add(&a->object.driver->nt->work_items, 1);
	wdf_lock(a->object.driver);
	a->pending++;
	wdf_unlock(a->object.driver);
}

static void end(struct wdf_activity *a)
{
	struct wdf_driver *driver = a->object.driver;
	struct nt_driver *nt = driver->nt;

	wdf_lock(driver);
	a->pending--;
	pthread_cond_broadcast(&driver->changed);
	wdf_unlock(driver);
	wdf_release(a);
	atomic_fetch_sub(&nt->work_items, 1);
}

static void wait_idle(struct wdf_activity *a)
{
	if (atomic_load(&a->runner) == (void *)KeGetCurrentThread())
		return;
	wdf_lock(a->object.driver);
	while (a->pending)
		pthread_cond_wait(&a->object.driver->changed, &a->object.driver->lock);
	wdf_unlock(a->object.driver);
}

static void enter_callback(struct wdf_activity *a)
{
	wdf_present_begin(a->serialized);
	atomic_store(&a->runner, (void *)KeGetCurrentThread());
}

static void leave_callback(struct wdf_activity *a)
{
	atomic_store(&a->runner, NULL);
	wdf_present_end(a->serialized);
}

/* `passive`: the callback runs at PASSIVE_LEVEL. */
static NTSTATUS new_activity(enum wdf_type type, size_t size, PWDF_OBJECT_ATTRIBUTES attributes,
			     bool serialize, bool passive, struct wdf_activity **activity)
{
	struct wdf_object *parent;
	struct wdf_presentation *lock;
	NTSTATUS status;

	if (!attributes || !attributes->ParentObject)
		return STATUS_WDF_PARENT_NOT_SPECIFIED;
	parent = wdf_any(attributes->ParentObject, "ParentObject");
	if (!parent)
		return STATUS_INVALID_PARAMETER;
	if (!wdf_ancestor(parent, WDF_DEVICE))
		return STATUS_INVALID_DEVICE_REQUEST;
	lock = serialize ? wdf_serialization(parent) : NULL;
	if (lock && lock->passive != passive)
		return STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL;
	status = wdf_create(parent->driver, type, size, attributes, NULL,
			    WDF_MAY_NAME_PARENT | WDF_PASSIVE, activity);
	if (!NT_SUCCESS(status))
		return status;
	(*activity)->serialized = lock;
	(*activity)->under = parent;
	return status;
}

/* ---- work items ---- */

struct wdf_workitem {
	struct wdf_activity activity;
	PFN_WDF_WORKITEM function;
	struct nt_job job;
	bool queued; /* driver's lock */
};

static void run_workitem(struct nt_job *job)
{
	struct wdf_workitem *item = CONTAINING_RECORD(job, struct wdf_workitem, job);
	struct wdf_driver *driver = item->activity.object.driver;
	struct nt_driver *previous = nt_driver_enter(driver->nt);

	wdf_lock(driver);
	item->queued = false;
	wdf_unlock(driver);
	enter_callback(&item->activity);
	item->function((WDFWORKITEM)(PVOID)item);
	leave_callback(&item->activity);
	end(&item->activity);
	nt_driver_leave(previous);
}

static void dispose_workitem(struct wdf_object *object)
{
	wait_idle((struct wdf_activity *)(PVOID)object);
}

NTSTATUS WdfWorkItemCreate(PWDF_WORKITEM_CONFIG Config, PWDF_OBJECT_ATTRIBUTES Attributes,
			   WDFWORKITEM *WorkItem)
{
	struct wdf_workitem *item;
	NTSTATUS status;

	if (!Config || !WorkItem)
		return STATUS_INVALID_PARAMETER;
	*WorkItem = NULL;
	if (!wdf_size_is(Config->Size, sizeof(*Config)))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (!Config->EvtWorkItemFunc)
		return STATUS_INVALID_PARAMETER;
	status = new_activity(WDF_WORKITEM, sizeof(*item), Attributes,
			      Config->AutomaticSerialization, true,
			      (struct wdf_activity **)(PVOID)&item);
	if (!NT_SUCCESS(status))
		return status;
	item->function = Config->EvtWorkItemFunc;
	item->job.run = run_workitem;
	item->activity.object.dispose = dispose_workitem;
	return wdf_finish(item, WorkItem);
}

VOID WdfWorkItemEnqueue(WDFWORKITEM WorkItem)
{
	struct wdf_workitem *item = wdf_of(WorkItem, WDF_WORKITEM, "WdfWorkItemEnqueue");
	bool was;

	if (!item)
		return;
	wdf_lock(item->activity.object.driver);
	was = item->queued;
	item->queued = true;
	wdf_unlock(item->activity.object.driver);
	if (was)
		return;
	begin(&item->activity);
	nt_pool_submit(&item->job);
}

WDFOBJECT WdfWorkItemGetParentObject(WDFWORKITEM WorkItem)
{
	struct wdf_workitem *item = wdf_of(WorkItem, WDF_WORKITEM, "WdfWorkItemGetParentObject");

	return item ? item->activity.under : NULL;
}

VOID WdfWorkItemFlush(WDFWORKITEM WorkItem)
{
	struct wdf_workitem *item = wdf_of(WorkItem, WDF_WORKITEM, "WdfWorkItemFlush");

	if (!item)
		return;
	if (atomic_load(&item->activity.runner) == (void *)KeGetCurrentThread())
		nt_violation("wdf-flush", "WdfWorkItemFlush in the work item's own callback");
	else
		wait_idle(&item->activity);
}

/* ---- DPCs ---- */

struct wdf_dpc {
	struct wdf_activity activity;
	PFN_WDF_DPC function;
	KDPC dpc;
};

static VOID run_dpc(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
	struct wdf_dpc *dpc = Context;

	enter_callback(&dpc->activity);
	dpc->function((WDFDPC)(PVOID)dpc);
	leave_callback(&dpc->activity);
	end(&dpc->activity);
}

static bool cancel_dpc(struct wdf_dpc *dpc)
{
	if (!KeRemoveQueueDpc(&dpc->dpc))
		return false;
	end(&dpc->activity);
	return true;
}

static void dispose_dpc(struct wdf_object *object)
{
	struct wdf_dpc *dpc = (struct wdf_dpc *)(PVOID)object;

	cancel_dpc(dpc);
	wait_idle(&dpc->activity);
}

NTSTATUS WdfDpcCreate(PWDF_DPC_CONFIG Config, PWDF_OBJECT_ATTRIBUTES Attributes, WDFDPC *Dpc)
{
	struct wdf_dpc *dpc;
	NTSTATUS status;

	if (!Config || !Dpc)
		return STATUS_INVALID_PARAMETER;
	*Dpc = NULL;
	if (!wdf_size_is(Config->Size, sizeof(*Config)))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (!Config->EvtDpcFunc)
		return STATUS_INVALID_PARAMETER;
	status = new_activity(WDF_DPC, sizeof(*dpc), Attributes, Config->AutomaticSerialization,
			      false, (struct wdf_activity **)(PVOID)&dpc);
	if (!NT_SUCCESS(status))
		return status;
	dpc->function = Config->EvtDpcFunc;
	KeInitializeDpc(&dpc->dpc, run_dpc, dpc);
	dpc->activity.object.dispose = dispose_dpc;
	return wdf_finish(dpc, Dpc);
}

BOOLEAN WdfDpcEnqueue(WDFDPC Dpc)
{
	struct wdf_dpc *dpc = wdf_of(Dpc, WDF_DPC, "WdfDpcEnqueue");

	if (!dpc)
		return FALSE;
	begin(&dpc->activity);
	if (KeInsertQueueDpc(&dpc->dpc, NULL, NULL))
		return TRUE;
	end(&dpc->activity);
	return FALSE;
}

BOOLEAN WdfDpcCancel(WDFDPC Dpc, BOOLEAN Wait)
{
	struct wdf_dpc *dpc = wdf_of(Dpc, WDF_DPC, "WdfDpcCancel");
	BOOLEAN was;

	if (!dpc)
		return FALSE;
	was = cancel_dpc(dpc);
	if (Wait)
		wait_idle(&dpc->activity);
	return was;
}

WDFOBJECT WdfDpcGetParentObject(WDFDPC Dpc)
{
	struct wdf_dpc *dpc = wdf_of(Dpc, WDF_DPC, "WdfDpcGetParentObject");

	return dpc ? dpc->activity.under : NULL;
}

PKDPC WdfDpcWdmGetDpc(WDFDPC Dpc)
{
	struct wdf_dpc *dpc = wdf_of(Dpc, WDF_DPC, "WdfDpcWdmGetDpc");

	return dpc ? &dpc->dpc : NULL;
}

/* ---- timers ---- */

struct wdf_timer {
	struct wdf_activity activity;
	PFN_WDF_TIMER function;
	ULONG period;
	bool passive;
	KTIMER timer;
	KDPC dpc;
	struct nt_job job;
	bool job_queued; /* driver's lock */
	bool stopped;    /* driver's lock: no more callbacks, the object goes */
};

static void call_timer(struct wdf_timer *timer)
{
	enter_callback(&timer->activity);
	timer->function((WDFTIMER)(PVOID)timer);
	leave_callback(&timer->activity);
}

static void run_timer_job(struct nt_job *job)
{
	struct wdf_timer *timer = CONTAINING_RECORD(job, struct wdf_timer, job);
	struct wdf_driver *driver = timer->activity.object.driver;
	struct nt_driver *previous = nt_driver_enter(driver->nt);

	wdf_lock(driver);
	timer->job_queued = false;
	wdf_unlock(driver);
	call_timer(timer);
	end(&timer->activity);
	nt_driver_leave(previous);
}

/* The object is alive: cleaning it up has not got past the flush of the DPCs. */
static VOID run_timer(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
	struct wdf_timer *timer = Context;
	struct wdf_driver *driver = timer->activity.object.driver;
	bool run, post = false;

	wdf_lock(driver);
	run = !timer->stopped;
	if (run && timer->passive) {
		run = false;
		post = !timer->job_queued;
		timer->job_queued = true;
	}
	wdf_unlock(driver);
	if (!run && !post)
		return;
	begin(&timer->activity);
	if (post) {
		nt_pool_submit(&timer->job);
	} else {
		call_timer(timer);
		end(&timer->activity);
	}
}

/* Returns with no callback under way, nor to come. The calling thread is in none of them, or in a
 * passive one. */
static void flush_timer(struct wdf_timer *timer)
{
	if (KeGetCurrentIrql() == PASSIVE_LEVEL)
		KeFlushQueuedDpcs();
	wait_idle(&timer->activity);
}

static void dispose_timer(struct wdf_object *object)
{
	struct wdf_timer *timer = (struct wdf_timer *)(PVOID)object;

	wdf_lock(object->driver);
	timer->stopped = true;
	wdf_unlock(object->driver);
	KeCancelTimer(&timer->timer);
	KeRemoveQueueDpc(&timer->dpc);
	flush_timer(timer);
}

NTSTATUS WdfTimerCreate(PWDF_TIMER_CONFIG Config, PWDF_OBJECT_ATTRIBUTES Attributes,
			WDFTIMER *Timer)
{
	bool passive = Attributes && Attributes->ExecutionLevel == WdfExecutionLevelPassive;
	struct wdf_timer *timer;
	NTSTATUS status;

	if (!Config || !Timer)
		return STATUS_INVALID_PARAMETER;
	*Timer = NULL;
	if (!wdf_size_is(Config->Size, sizeof(*Config)))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (!Config->EvtTimerFunc || Config->Period > MAXLONG)
		return STATUS_INVALID_PARAMETER;
	if (passive && Config->Period)
		return STATUS_NOT_SUPPORTED;
	status = new_activity(WDF_TIMER, sizeof(*timer), Attributes, Config->AutomaticSerialization,
			      passive, (struct wdf_activity **)(PVOID)&timer);
	if (!NT_SUCCESS(status))
		return status;
	timer->function = Config->EvtTimerFunc;
	timer->period = Config->Period;
	timer->passive = passive;
	timer->job.run = run_timer_job;
	KeInitializeTimer(&timer->timer);
	KeInitializeDpc(&timer->dpc, run_timer, timer);
	timer->activity.object.dispose = dispose_timer;
	return wdf_finish(timer, Timer);
}

BOOLEAN WdfTimerStart(WDFTIMER Timer, LONGLONG DueTime)
{
	struct wdf_timer *timer = wdf_of(Timer, WDF_TIMER, "WdfTimerStart");
	struct wdf_driver *driver;
	LARGE_INTEGER due;
	BOOLEAN was = FALSE;

	if (!timer)
		return FALSE;
	driver = timer->activity.object.driver;
	due.QuadPart = DueTime;
	/* under the lock: not after the object's cleanup has cancelled it */
	wdf_lock(driver);
	if (!timer->stopped)
		was = KeSetTimerEx(&timer->timer, due, (LONG)timer->period, &timer->dpc);
	wdf_unlock(driver);
	return was;
}

BOOLEAN WdfTimerStop(WDFTIMER Timer, BOOLEAN Wait)
{
	struct wdf_timer *timer = wdf_of(Timer, WDF_TIMER, "WdfTimerStop");
	BOOLEAN was;

	if (!timer)
		return FALSE;
	was = KeCancelTimer(&timer->timer);
	if (!Wait)
		return was;
	if (atomic_load(&timer->activity.runner) == (void *)KeGetCurrentThread()) {
		nt_violation("wdf-flush", "WdfTimerStop that waits, in the timer's own callback");
		return was;
	}
	/* a DPC that the timer had queued has not begun: it is as if it had not expired */
	if (KeRemoveQueueDpc(&timer->dpc))
		was = TRUE;
	flush_timer(timer);
	return was;
}

WDFOBJECT WdfTimerGetParentObject(WDFTIMER Timer)
{
	struct wdf_timer *timer = wdf_of(Timer, WDF_TIMER, "WdfTimerGetParentObject");

	return timer ? timer->activity.under : NULL;
}
