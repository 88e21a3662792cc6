/* SPDX-License-Identifier: MIT */
/* IRQL, waits and dispatcher objects, spin locks. */
#include "nt_test.h"

#define WAITERS 16

static int64_t elapsed_ms(uint64_t since)
{
	return (int64_t)((clock_now_ns() - since) / 1000000);
}

static NTSTATUS wait_ms(void *object, LONGLONG quad)
{
	LARGE_INTEGER t = {.QuadPart = quad};

	return KeWaitForSingleObject(object, Executive, KernelMode, FALSE, &t);
}

static void zero_timeout_polls(void **state)
{
	KEVENT e;

	KeInitializeEvent(&e, NotificationEvent, FALSE);
	assert_int_equal(wait_ms(&e, 0), STATUS_TIMEOUT);
	assert_true(NT_SUCCESS(STATUS_TIMEOUT));
	KeSetEvent(&e, IO_NO_INCREMENT, FALSE);
	assert_int_equal(wait_ms(&e, 0), STATUS_SUCCESS);
}

static void negative_timeout_is_relative(void **state)
{
	uint64_t start = clock_now_ns();
	KEVENT e;

	KeInitializeEvent(&e, NotificationEvent, FALSE);
	assert_int_equal(wait_ms(&e, -MS(30)), STATUS_TIMEOUT);
	assert_true(clock_now_ns() - start >= 29000000u);
	assert_true(elapsed_ms(start) < 20000);
}

static void positive_timeout_is_absolute(void **state)
{
	LARGE_INTEGER now;
	uint64_t start;
	KEVENT e;

	KeInitializeEvent(&e, NotificationEvent, FALSE);
	KeQuerySystemTime(&now);
	start = clock_now_ns();
	assert_int_equal(wait_ms(&e, now.QuadPart + MS(40)), STATUS_TIMEOUT);
	assert_true(clock_now_ns() - start >= 30000000u);
	assert_true(elapsed_ms(start) < 20000);
	/* a time that has passed does not wait */
	start = clock_now_ns();
	assert_int_equal(wait_ms(&e, now.QuadPart - MS(100000)), STATUS_TIMEOUT);
	assert_int_equal(wait_ms(&e, 1), STATUS_TIMEOUT);
	assert_true(elapsed_ms(start) < 20000);
}

static void system_time_counts_from_1601(void **state)
{
	LARGE_INTEGER now;
	time_t unix_now = time(NULL);

	KeQuerySystemTime(&now);
	assert_in_range(now.QuadPart / 10000000 - 11644473600ll, unix_now - 2, unix_now + 2);
}

struct setter {
	KEVENT *event;
	long after_us;
};

static void *set_later(void *arg)
{
	struct setter *s = arg;

	pause_us(s->after_us);
	KeSetEvent(s->event, IO_NO_INCREMENT, FALSE);
	return NULL;
}

static void null_timeout_waits_until_signalled(void **state)
{
	KEVENT e;
	struct setter s = {&e, 20000};
	uint64_t start = clock_now_ns();
	pthread_t t;

	KeInitializeEvent(&e, SynchronizationEvent, FALSE);
	start_thread(&t, set_later, &s);
	assert_int_equal(KeWaitForSingleObject(&e, Executive, KernelMode, FALSE, NULL),
			 STATUS_SUCCESS);
	assert_true(clock_now_ns() - start >= 19000000u);
	pthread_join(t, NULL);
}

static void delay_sleeps(void **state)
{
	LARGE_INTEGER t = relative_ms(20);
	uint64_t start = clock_now_ns();

	assert_int_equal(KeDelayExecutionThread(KernelMode, FALSE, &t), STATUS_SUCCESS);
	assert_true(clock_now_ns() - start >= 19000000u);
	t.QuadPart = 0;
	assert_int_equal(KeDelayExecutionThread(KernelMode, FALSE, &t), STATUS_SUCCESS);
}

static void event_functions_return_the_previous_state(void **state)
{
	KEVENT e;

	KeInitializeEvent(&e, NotificationEvent, TRUE);
	assert_int_equal(KeReadStateEvent(&e), 1);
	assert_int_equal(KeResetEvent(&e), 1);
	assert_int_equal(KeResetEvent(&e), 0);
	assert_int_equal(KeSetEvent(&e, IO_NO_INCREMENT, FALSE), 0);
	assert_int_equal(KeSetEvent(&e, IO_NO_INCREMENT, FALSE), 1);
	KeClearEvent(&e);
	assert_int_equal(KeReadStateEvent(&e), 0);
}

static void notification_event_stays_set(void **state)
{
	KEVENT e;

	KeInitializeEvent(&e, NotificationEvent, TRUE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wait_ms(&e, 0), STATUS_SUCCESS);
	assert_int_equal(KeReadStateEvent(&e), 1);
}

static void synchronization_event_releases_one_and_resets(void **state)
{
	KEVENT e;

	KeInitializeEvent(&e, SynchronizationEvent, FALSE);
	KeSetEvent(&e, IO_NO_INCREMENT, FALSE);
	KeSetEvent(&e, IO_NO_INCREMENT, FALSE); /* does not count */
	assert_int_equal(wait_ms(&e, 0), STATUS_SUCCESS);
	assert_int_equal(wait_ms(&e, 0), STATUS_TIMEOUT);
}

struct waiters {
	void *object;
	atomic_int released, failed;
};

static void *wait_once(void *arg)
{
	struct waiters *w = arg;

	if (wait_for(w->object) == STATUS_SUCCESS)
		atomic_fetch_add(&w->released, 1);
	else
		atomic_fetch_add(&w->failed, 1);
	return NULL;
}

static void start_waiters(struct waiters *w, void *object, pthread_t t[WAITERS])
{
	w->object = object;
	atomic_init(&w->released, 0);
	atomic_init(&w->failed, 0);
	for (int i = 0; i < WAITERS; i++)
		start_thread(&t[i], wait_once, w);
}

static void join_waiters(pthread_t t[WAITERS])
{
	for (int i = 0; i < WAITERS; i++)
		pthread_join(t[i], NULL);
}

static void notification_event_releases_all_waiters(void **state)
{
	pthread_t t[WAITERS];
	struct waiters w;
	KEVENT e;

	KeInitializeEvent(&e, NotificationEvent, FALSE);
	start_waiters(&w, &e, t);
	pause_us(20000);
	assert_int_equal(atomic_load(&w.released), 0);
	KeSetEvent(&e, IO_NO_INCREMENT, FALSE);
	join_waiters(t);
	assert_int_equal(atomic_load(&w.released), WAITERS);
}

static void synchronization_event_releases_waiters_one_by_one(void **state)
{
	pthread_t t[WAITERS];
	struct waiters w;
	KEVENT e;

	KeInitializeEvent(&e, SynchronizationEvent, FALSE);
	start_waiters(&w, &e, t);
	for (int i = 1; i <= WAITERS; i++) {
		KeSetEvent(&e, IO_NO_INCREMENT, FALSE);
		WAIT_UNTIL(atomic_load(&w.released) == i);
		pause_us(1000);
		assert_int_equal(atomic_load(&w.released), i);
	}
	join_waiters(t);
	assert_int_equal(atomic_load(&w.failed), 0);
	assert_int_equal(KeReadStateEvent(&e), 0);
}

static void semaphore_counts(void **state)
{
	pthread_t t[WAITERS];
	struct waiters w;
	KSEMAPHORE s;

	KeInitializeSemaphore(&s, 2, WAITERS + 2);
	assert_int_equal(KeReadStateSemaphore(&s), 2);
	assert_int_equal(wait_ms(&s, 0), STATUS_SUCCESS);
	assert_int_equal(wait_ms(&s, 0), STATUS_SUCCESS);
	assert_int_equal(wait_ms(&s, 0), STATUS_TIMEOUT);
	start_waiters(&w, &s, t);
	assert_int_equal(KeReleaseSemaphore(&s, IO_NO_INCREMENT, 5, FALSE), 0);
	WAIT_UNTIL(atomic_load(&w.released) == 5);
	pause_us(5000);
	assert_int_equal(atomic_load(&w.released), 5);
	KeReleaseSemaphore(&s, IO_NO_INCREMENT, WAITERS - 5, FALSE);
	join_waiters(t);
	assert_int_equal(atomic_load(&w.released), WAITERS);
	assert_int_equal(KeReadStateSemaphore(&s), 0);
	assert_int_equal(KeReleaseSemaphore(&s, IO_NO_INCREMENT, 3, FALSE), 0);
	assert_int_equal(KeReleaseSemaphore(&s, IO_NO_INCREMENT, 1, FALSE), 3);
}

static void semaphore_over_its_limit_is_a_violation(void **state)
{
	KSEMAPHORE s;

	KeInitializeSemaphore(&s, 1, 2);
	KeReleaseSemaphore(&s, IO_NO_INCREMENT, 2, FALSE);
	EXPECT_VIOLATION("semaphore-limit", "2");
	assert_int_equal(KeReadStateSemaphore(&s), 1);
}

struct mutex_test {
	KMUTEX mutex;
	unsigned int counter; /* under the mutex */
};

#define ROUNDS 2000

static void *count_under_mutex(void *arg)
{
	struct mutex_test *m = arg;

	for (int i = 0; i < ROUNDS; i++) {
		if (wait_for(&m->mutex) != STATUS_SUCCESS)
			return arg;
		m->counter++;
		KeReleaseMutex(&m->mutex, FALSE);
	}
	return NULL;
}

static void mutex_excludes(void **state)
{
	struct mutex_test m = {.counter = 0};
	pthread_t t[4];
	void *failed;

	KeInitializeMutex(&m.mutex, 0);
	for (int i = 0; i < 4; i++)
		start_thread(&t[i], count_under_mutex, &m);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(m.counter, 4 * ROUNDS);
}

static void *try_mutex(void *arg)
{
	return (void *)(intptr_t)wait_ms(arg, 0);
}

static NTSTATUS other_thread_tries(KMUTEX *mutex)
{
	void *status;
	pthread_t t;

	start_thread(&t, try_mutex, mutex);
	pthread_join(t, &status);
	return (NTSTATUS)(intptr_t)status;
}

static void mutex_is_recursive(void **state)
{
	KMUTEX m;

	KeInitializeMutex(&m, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wait_for(&m), STATUS_SUCCESS);
	assert_int_equal(other_thread_tries(&m), STATUS_TIMEOUT);
	assert_true(KeReleaseMutex(&m, FALSE) < 0);
	assert_true(KeReleaseMutex(&m, FALSE) < 0);
	assert_int_equal(other_thread_tries(&m), STATUS_TIMEOUT);
	assert_int_equal(KeReleaseMutex(&m, FALSE), 0);
	assert_int_equal(other_thread_tries(&m), STATUS_SUCCESS);
}

static void mutex_is_released_by_its_owner_only(void **state)
{
	KMUTEX m;

	KeInitializeMutex(&m, 0);
	KeReleaseMutex(&m, FALSE);
	EXPECT_VIOLATION("mutex-owner", "does not own");
	assert_int_equal(other_thread_tries(&m), STATUS_SUCCESS);
	KeReleaseMutex(&m, FALSE); /* the other thread's */
	EXPECT_VIOLATION("mutex-owner", "does not own");
}

/* ---- an event on the waiter's stack, which is gone as soon as the wait returns ---- */

struct mailbox {
	KEVENT *_Atomic event;
	atomic_bool stop;
};

static void *set_what_comes(void *arg)
{
	struct mailbox *m = arg;

	while (!atomic_load(&m->stop)) {
		KEVENT *e = atomic_exchange(&m->event, NULL);

		if (e)
			KeSetEvent(e, IO_NO_INCREMENT, FALSE);
		else
			sched_yield();
	}
	return NULL;
}

static void waiter_frees_the_event_at_once(void **state)
{
	struct mailbox m = {NULL, false};
	NTSTATUS status = STATUS_SUCCESS;
	pthread_t t;

	start_thread(&t, set_what_comes, &m);
	for (int i = 0; i < 20000 && NT_SUCCESS(status); i++) {
		KEVENT *e = malloc(sizeof(*e));

		KeInitializeEvent(e, i % 2 ? NotificationEvent : SynchronizationEvent, FALSE);
		atomic_store(&m.event, e);
		status = wait_for(e);
		memset(e, 0xa5, sizeof(*e)); /* a late touch is a race, or a use after free */
		free(e);
	}
	atomic_store(&m.stop, true);
	pthread_join(t, NULL);
	assert_int_equal(status, STATUS_SUCCESS);
}

/* Timeouts and signals meet: a wait ends once, and no signal is lost. */
static void signal_races_with_timeout(void **state)
{
	int timeouts = 0, taken = 0, sets = 0;
	KEVENT e;

	KeInitializeEvent(&e, SynchronizationEvent, FALSE);
	for (int i = 0; i < 300; i++) {
		struct setter s = {&e, 200};
		pthread_t t;

		start_thread(&t, set_later, &s);
		sets++;
		if (wait_ms(&e, -2500) == STATUS_SUCCESS)
			taken++;
		else
			timeouts++;
		pthread_join(t, NULL);
		if (wait_ms(&e, 0) == STATUS_SUCCESS)
			taken++;
	}
	assert_int_equal(taken, sets);
	assert_in_range(timeouts, 0, sets);
}

/* ---- IRQL and spin locks ---- */

static void ddi_003_irql_is_raised_and_lowered_per_thread(void **state)
{
	KIRQL old;

	assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
	KeRaiseIrql(APC_LEVEL, &old);
	assert_int_equal(old, PASSIVE_LEVEL);
	assert_int_equal(KeGetCurrentIrql(), APC_LEVEL);
	assert_int_equal(KeRaiseIrqlToDpcLevel(), APC_LEVEL);
	assert_int_equal(KeGetCurrentIrql(), DISPATCH_LEVEL);
	KeLowerIrql(PASSIVE_LEVEL);
	assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
}

static void ddi_003_irql_moved_the_wrong_way_is_a_violation(void **state)
{
	KIRQL old, ignored;

	KeRaiseIrql(DISPATCH_LEVEL, &old);
	KeRaiseIrql(APC_LEVEL, &ignored);
	EXPECT_VIOLATION("irql", "down");
	KeLowerIrql(HIGH_LEVEL);
	EXPECT_VIOLATION("irql", "up");
	KeLowerIrql(PASSIVE_LEVEL);
}

static void ddi_003_waiting_at_dispatch_level_is_a_violation(void **state)
{
	KIRQL old = KeRaiseIrqlToDpcLevel();
	LARGE_INTEGER t = relative_ms(1);
	KEVENT e;

	KeInitializeEvent(&e, NotificationEvent, TRUE);
	assert_int_equal(wait_ms(&e, 0), STATUS_SUCCESS); /* polling is allowed */
	assert_int_equal(atomic_load(&violations.count), 0);
	KeWaitForSingleObject(&e, Executive, KernelMode, FALSE, NULL);
	EXPECT_VIOLATION("wait-at-dispatch", "KeWaitForSingleObject");
	KeWaitForSingleObject(&e, Executive, KernelMode, FALSE, &t);
	EXPECT_VIOLATION("wait-at-dispatch", "KeWaitForSingleObject");
	KeDelayExecutionThread(KernelMode, FALSE, &t);
	EXPECT_VIOLATION("wait-at-dispatch", "KeDelayExecutionThread");
	KeFlushQueuedDpcs();
	EXPECT_VIOLATION("irql", "KeFlushQueuedDpcs");
	KeLowerIrql(old);
}

static void bug_check_is_a_violation(void **state)
{
	KeBugCheckEx(0xe2, 1, 2, 3, 4);
	EXPECT_VIOLATION("bug-check", "0xe2");
	assert_string_equal(violations.driver, "library");
}

struct spin_test {
	KSPIN_LOCK lock;
	unsigned int counter;
	atomic_int wrong;
};

static void *count_under_spin_lock(void *arg)
{
	struct spin_test *s = arg;

	for (int i = 0; i < 5000; i++) {
		KIRQL old;

		KeAcquireSpinLock(&s->lock, &old);
		if (old != PASSIVE_LEVEL || KeGetCurrentIrql() != DISPATCH_LEVEL)
			atomic_fetch_add(&s->wrong, 1);
		s->counter++;
		KeReleaseSpinLock(&s->lock, old);
		if (KeGetCurrentIrql() != PASSIVE_LEVEL)
			atomic_fetch_add(&s->wrong, 1);
	}
	return NULL;
}

static void spin_lock_excludes_and_raises(void **state)
{
	struct spin_test s = {.counter = 0};
	pthread_t t[4];

	KeInitializeSpinLock(&s.lock);
	for (int i = 0; i < 4; i++)
		start_thread(&t[i], count_under_spin_lock, &s);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(s.counter, 4 * 5000);
	assert_int_equal(atomic_load(&s.wrong), 0);
}

static void spin_lock_at_dpc_level_leaves_the_irql(void **state)
{
	KIRQL old = KeRaiseIrqlToDpcLevel();
	KSPIN_LOCK lock;

	KeInitializeSpinLock(&lock);
	KeAcquireSpinLockAtDpcLevel(&lock);
	assert_false(KeTryToAcquireSpinLockAtDpcLevel(&lock));
	KeReleaseSpinLockFromDpcLevel(&lock);
	assert_true(KeTryToAcquireSpinLockAtDpcLevel(&lock));
	KeReleaseSpinLockFromDpcLevel(&lock);
	assert_int_equal(KeGetCurrentIrql(), DISPATCH_LEVEL);
	KeLowerIrql(old);
}

/* ---- system threads ---- */

struct thread_test {
	KEVENT go;
	atomic_int ran;
	PKTHREAD self;
};

static VOID system_thread(PVOID context)
{
	struct thread_test *t = context;

	t->self = KeGetCurrentThread();
	wait_for(&t->go);
	atomic_store(&t->ran, KeGetCurrentIrql() == PASSIVE_LEVEL ? 1 : 2);
	PsTerminateSystemThread(STATUS_SUCCESS);
	atomic_store(&t->ran, 3);
}

static void system_thread_can_be_waited_for(void **state)
{
	struct thread_test t = {.self = NULL};
	HANDLE handle;
	PVOID thread;

	KeInitializeEvent(&t.go, NotificationEvent, FALSE);
	assert_int_equal(PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL,
					      system_thread, &t),
			 STATUS_SUCCESS);
	assert_int_equal(ObReferenceObjectByHandle(handle, SYNCHRONIZE, *PsThreadType, KernelMode,
						   &thread, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(ZwClose(handle), STATUS_SUCCESS);
	assert_int_equal(ZwClose(handle), STATUS_INVALID_HANDLE);
	assert_int_equal(wait_ms(thread, 0), STATUS_TIMEOUT);
	KeSetEvent(&t.go, IO_NO_INCREMENT, FALSE);
	assert_int_equal(wait_for(thread), STATUS_SUCCESS);
	assert_int_equal(atomic_load(&t.ran), 1);
	assert_ptr_equal(t.self, thread);
	assert_ptr_not_equal(KeGetCurrentThread(), thread);
	ObDereferenceObject(thread);
}

static void stale_handles_are_refused(void **state)
{
	PVOID object;

	assert_int_equal(ZwClose(NULL), STATUS_INVALID_HANDLE);
	assert_int_equal(ZwClose((HANDLE)(uintptr_t)0xdeadbeef), STATUS_INVALID_HANDLE);
	assert_int_equal(ObReferenceObjectByHandle((HANDLE)(uintptr_t)4, 0, *PsThreadType,
						   KernelMode, &object, NULL),
			 STATUS_INVALID_HANDLE);
	PsTerminateSystemThread(STATUS_SUCCESS);
	EXPECT_VIOLATION("not-a-system-thread", "PsTerminateSystemThread");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORDED(zero_timeout_polls),
		RECORDED(negative_timeout_is_relative),
		RECORDED(positive_timeout_is_absolute),
		RECORDED(system_time_counts_from_1601),
		RECORDED(null_timeout_waits_until_signalled),
		RECORDED(delay_sleeps),
		RECORDED(event_functions_return_the_previous_state),
		RECORDED(notification_event_stays_set),
		RECORDED(synchronization_event_releases_one_and_resets),
		RECORDED(notification_event_releases_all_waiters),
		RECORDED(synchronization_event_releases_waiters_one_by_one),
		RECORDED(semaphore_counts),
		RECORDED(semaphore_over_its_limit_is_a_violation),
		RECORDED(mutex_excludes),
		RECORDED(mutex_is_recursive),
		RECORDED(mutex_is_released_by_its_owner_only),
		RECORDED(waiter_frees_the_event_at_once),
		RECORDED(signal_races_with_timeout),
		RECORDED(ddi_003_irql_is_raised_and_lowered_per_thread),
		RECORDED(ddi_003_irql_moved_the_wrong_way_is_a_violation),
		RECORDED(ddi_003_waiting_at_dispatch_level_is_a_violation),
		RECORDED(bug_check_is_a_violation),
		RECORDED(spin_lock_excludes_and_raises),
		RECORDED(spin_lock_at_dpc_level_leaves_the_irql),
		RECORDED(system_thread_can_be_waited_for),
		RECORDED(stale_handles_are_refused),
	};

	return cmocka_run_group_tests_name("nt-ke", tests, NULL, end_threads);
}
