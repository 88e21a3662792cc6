/* SPDX-License-Identifier: MIT */
/*
 * DPCs and timers: one thread each, started when first needed. DPC routines run at DISPATCH_LEVEL
 * as the driver that initialised the DPC.
 */
#include "nt/internal.h"

#include <errno.h>
#include <time.h>

/* ---- DPCs ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	pthread_t thread;
	bool running, stop;
	KDPC *head, **tail;
} dpcs = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.idle = PTHREAD_COND_INITIALIZER,
};

VOID KeInitializeDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE DeferredRoutine, PVOID DeferredContext)
{
	memset(Dpc, 0, sizeof(*Dpc));
	Dpc->DeferredRoutine = DeferredRoutine;
	Dpc->DeferredContext = DeferredContext;
	Dpc->Driver = nt_driver_current();
}

static void run_dpc(const KDPC *dpc, KDPC *object)
{
	struct nt_driver *previous = nt_driver_enter(dpc->Driver);
	KIRQL old;

	KeRaiseIrql(DISPATCH_LEVEL, &old);
	dpc->DeferredRoutine(object, dpc->DeferredContext, dpc->SystemArgument1,
			     dpc->SystemArgument2);
	KeLowerIrql(old);
	nt_driver_leave(previous);
}

static void *dpc_thread(void *arg)
{
	pthread_mutex_lock(&dpcs.lock);
	for (;;) {
		while (!dpcs.head && !dpcs.stop)
			pthread_cond_wait(&dpcs.work, &dpcs.lock);
		if (!dpcs.head)
			break;
		/* the routine may free the object: run a copy */
		KDPC *object = dpcs.head, copy = *object;

		dpcs.head = object->Next;
		if (!dpcs.head)
			dpcs.tail = &dpcs.head;
		object->Queued = 0;
		pthread_mutex_unlock(&dpcs.lock);
		run_dpc(&copy, object);
		pthread_mutex_lock(&dpcs.lock);
	}
	pthread_mutex_unlock(&dpcs.lock);
	return NULL;
}

/* Under dpcs.lock. */
static bool start_dpc_thread(void)
{
	if (dpcs.running)
		return true;
	dpcs.stop = false;
	if (!dpcs.head)
		dpcs.tail = &dpcs.head;
	dpcs.running = pthread_create(&dpcs.thread, NULL, dpc_thread, NULL) == 0;
	if (!dpcs.running)
		nt_violation("no-thread", "the DPC thread cannot be created");
	return dpcs.running;
}

/* Under dpcs.lock. */
static BOOLEAN queue_dpc(KDPC *dpc, PVOID argument1, PVOID argument2)
{
	if (dpc->Queued || !start_dpc_thread())
		return FALSE;
	dpc->Queued = 1;
	dpc->SystemArgument1 = argument1;
	dpc->SystemArgument2 = argument2;
	dpc->Next = NULL;
	*dpcs.tail = dpc;
	dpcs.tail = &dpc->Next;
	pthread_cond_signal(&dpcs.work);
	return TRUE;
}

BOOLEAN KeInsertQueueDpc(PRKDPC Dpc, PVOID SystemArgument1, PVOID SystemArgument2)
{
	BOOLEAN inserted;

	pthread_mutex_lock(&dpcs.lock);
	inserted = queue_dpc(Dpc, SystemArgument1, SystemArgument2);
	pthread_mutex_unlock(&dpcs.lock);
	return inserted;
}

BOOLEAN KeRemoveQueueDpc(PRKDPC Dpc)
{
	BOOLEAN removed = FALSE;

	pthread_mutex_lock(&dpcs.lock);
	for (KDPC **p = &dpcs.head; *p && Dpc->Queued; p = &(*p)->Next) {
		if (*p == Dpc) {
			*p = Dpc->Next;
			if (!*p)
				dpcs.tail = p;
			Dpc->Queued = 0;
			removed = TRUE;
			break;
		}
	}
	pthread_mutex_unlock(&dpcs.lock);
	return removed;
}

static VOID flush_mark(KDPC *dpc, PVOID passed, PVOID argument1, PVOID argument2)
{
	pthread_mutex_lock(&dpcs.lock);
	*(bool *)passed = true;
	pthread_cond_broadcast(&dpcs.idle);
	pthread_mutex_unlock(&dpcs.lock);
}

/* A DPC of its own goes to the end of the queue: when it runs, all before it have returned. */
VOID KeFlushQueuedDpcs(VOID)
{
	bool passed = false;
	KDPC mark;

	if (KeGetCurrentIrql() > PASSIVE_LEVEL) {
		nt_violation("irql", "KeFlushQueuedDpcs at IRQL %u", KeGetCurrentIrql());
		return;
	}
	KeInitializeDpc(&mark, flush_mark, &passed);
	pthread_mutex_lock(&dpcs.lock);
	if (dpcs.running && queue_dpc(&mark, NULL, NULL)) {
		while (!passed)
			pthread_cond_wait(&dpcs.idle, &dpcs.lock);
	}
	pthread_mutex_unlock(&dpcs.lock);
}

void nt_dpc_shutdown(void)
{
	pthread_mutex_lock(&dpcs.lock);
	if (!dpcs.running) {
		pthread_mutex_unlock(&dpcs.lock);
		return;
	}
	dpcs.stop = true;
	pthread_cond_signal(&dpcs.work);
	pthread_mutex_unlock(&dpcs.lock);
	pthread_join(dpcs.thread, NULL);
	pthread_mutex_lock(&dpcs.lock);
	dpcs.running = false;
	if (dpcs.head)
		start_dpc_thread(); /* queued when the thread was already ending */
	pthread_mutex_unlock(&dpcs.lock);
}

/* ---- timers ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool running, stop;
	KTIMER *head; /* soonest first */
} timers = {.lock = PTHREAD_MUTEX_INITIALIZER};
static pthread_once_t timers_once = PTHREAD_ONCE_INIT;

static void timers_init(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&timers.changed, &attr);
	pthread_condattr_destroy(&attr);
}

static void insert_timer(KTIMER *timer)
{
	KTIMER **p = &timers.head;

	while (*p && (*p)->Due <= timer->Due)
		p = &(*p)->Next;
	timer->Next = *p;
	*p = timer;
	timer->Inserted = 1;
}

static bool remove_timer(KTIMER *timer)
{
	if (!timer->Inserted)
		return false;
	for (KTIMER **p = &timers.head; *p; p = &(*p)->Next) {
		if (*p == timer) {
			*p = timer->Next;
			break;
		}
	}
	timer->Inserted = 0;
	return true;
}

/*
 * Under timers.lock. Both the DPC's routine and a waiter may free the timer, and the waiter may do
 * so after KeFlushQueuedDpcs: the DPC is queued before the signal, and its thread is held off until
 * after it.
 */
static void expire(KTIMER *timer)
{
	KDPC *dpc = timer->Dpc;

	remove_timer(timer);
	if (timer->Period) {
		timer->Due += (uint64_t)timer->Period * 10000u;
		insert_timer(timer);
	}
	pthread_mutex_lock(&dpcs.lock);
	if (dpc)
		queue_dpc(dpc, NULL, NULL);
	nt_dispatcher_signal(&timer->Header, 1, 0);
	pthread_mutex_unlock(&dpcs.lock);
}

static void *timer_thread(void *arg)
{
	pthread_mutex_lock(&timers.lock);
	while (!timers.stop) {
		struct timespec until;

		if (!timers.head) {
			pthread_cond_wait(&timers.changed, &timers.lock);
			continue;
		}
		if (timers.head->Due <= nt_interrupt_time()) {
			expire(timers.head);
			continue;
		}
		until.tv_sec = (time_t)(timers.head->Due / 10000000u);
		until.tv_nsec = (long)(timers.head->Due % 10000000u) * 100;
		pthread_cond_timedwait(&timers.changed, &timers.lock, &until);
	}
	pthread_mutex_unlock(&timers.lock);
	return NULL;
}

static bool start_timer_thread(void)
{
	if (timers.running)
		return true;
	timers.stop = false;
	timers.running = pthread_create(&timers.thread, NULL, timer_thread, NULL) == 0;
	if (!timers.running)
		nt_violation("no-thread", "the timer thread cannot be created");
	return timers.running;
}

VOID KeInitializeTimerEx(PKTIMER Timer, TIMER_TYPE Type)
{
	memset(Timer, 0, sizeof(*Timer));
	nt_dispatcher_init(&Timer->Header,
			   Type == NotificationTimer ? OPENKMCL_OBJECT_TIMER_NOTIFICATION
						     : OPENKMCL_OBJECT_TIMER_SYNCHRONIZATION,
			   0);
}

VOID KeInitializeTimer(PKTIMER Timer)
{
	KeInitializeTimerEx(Timer, NotificationTimer);
}

BOOLEAN KeSetTimerEx(PKTIMER Timer, LARGE_INTEGER DueTime, LONG Period, PKDPC Dpc)
{
	BOOLEAN was_set;

	if (Period < 0) {
		nt_violation("timer-period", "KeSetTimerEx with a period of %d ms", Period);
		Period = 0;
	}
	pthread_once(&timers_once, timers_init);
	pthread_mutex_lock(&timers.lock);
	was_set = remove_timer(Timer);
	nt_dispatcher_signal(&Timer->Header, 0, 0);
	Timer->Due = nt_deadline(DueTime);
	Timer->Period = Period;
	Timer->Dpc = Dpc;
	Timer->Driver = nt_driver_current();
	if (start_timer_thread())
		insert_timer(Timer);
	pthread_cond_signal(&timers.changed);
	pthread_mutex_unlock(&timers.lock);
	return was_set;
}

BOOLEAN KeSetTimer(PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc)
{
	return KeSetTimerEx(Timer, DueTime, 0, Dpc);
}

BOOLEAN KeCancelTimer(PKTIMER Timer)
{
	BOOLEAN was_set;

	pthread_once(&timers_once, timers_init);
	pthread_mutex_lock(&timers.lock);
	was_set = remove_timer(Timer);
	pthread_mutex_unlock(&timers.lock);
	return was_set;
}

BOOLEAN KeReadStateTimer(PKTIMER Timer)
{
	BOOLEAN state;

	pthread_once(&timers_once, timers_init);
	pthread_mutex_lock(&timers.lock);
	state = KeReadStateEvent((PKEVENT)(PVOID)&Timer->Header) != 0;
	pthread_mutex_unlock(&timers.lock);
	return state;
}

unsigned int nt_timer_forget_driver(const struct nt_driver *driver)
{
	unsigned int count = 0;

	pthread_once(&timers_once, timers_init);
	pthread_mutex_lock(&timers.lock);
	for (KTIMER *t = timers.head, *next; t; t = next) {
		next = t->Next;
		if (t->Driver == driver || (t->Dpc && t->Dpc->Driver == driver)) {
			remove_timer(t);
			count++;
		}
	}
	pthread_mutex_unlock(&timers.lock);
	return count;
}

void nt_timer_shutdown(void)
{
	pthread_once(&timers_once, timers_init);
	pthread_mutex_lock(&timers.lock);
	if (!timers.running) {
		pthread_mutex_unlock(&timers.lock);
		return;
	}
	timers.stop = true;
	pthread_cond_signal(&timers.changed);
	pthread_mutex_unlock(&timers.lock);
	pthread_join(timers.thread, NULL);
	pthread_mutex_lock(&timers.lock);
	timers.running = false;
	pthread_mutex_unlock(&timers.lock);
}
