/* SPDX-License-Identifier: MIT */
/* DPCs and timers. */
#include "nt_test.h"

struct dpc_test {
	KDPC dpc;
	KEVENT ran, gate;
	atomic_int calls, wrong_irql;
	_Atomic(PVOID) argument1, argument2;
	struct nt_driver *_Atomic driver;
	bool gated;
};

static VOID note_call(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2)
{
	struct dpc_test *t = context;

	if (KeGetCurrentIrql() != DISPATCH_LEVEL)
		atomic_fetch_add(&t->wrong_irql, 1);
	atomic_store(&t->argument1, argument1);
	atomic_store(&t->argument2, argument2);
	atomic_store(&t->driver, nt_driver_current());
	/* at DISPATCH_LEVEL a routine may only poll */
	for (uint64_t end = clock_now_ns() + TEST_DEADLINE_NS;
	     t->gated && !KeReadStateEvent(&t->gate) && clock_now_ns() < end;)
		pause_us(50);
	atomic_fetch_add(&t->calls, 1);
	KeSetEvent(&t->ran, IO_NO_INCREMENT, FALSE);
}

static void init(struct dpc_test *t)
{
	memset(t, 0, sizeof(*t));
	KeInitializeEvent(&t->ran, SynchronizationEvent, FALSE);
	KeInitializeEvent(&t->gate, NotificationEvent, FALSE);
	KeInitializeDpc(&t->dpc, note_call, t);
}

static void ddi_003_dpc_runs_at_dispatch_level_with_its_arguments(void **state)
{
	struct dpc_test t;

	init(&t);
	assert_true(KeInsertQueueDpc(&t.dpc, &t, &t.ran));
	assert_int_equal(wait_for(&t.ran), STATUS_SUCCESS);
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&t.calls), 1);
	assert_int_equal(atomic_load(&t.wrong_irql), 0);
	assert_ptr_equal(atomic_load(&t.argument1), &t);
	assert_ptr_equal(atomic_load(&t.argument2), &t.ran);
	assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
}

static void dpc_runs_as_the_driver_that_initialised_it(void **state)
{
	struct nt_driver *driver = load_empty("dpc-owner", NULL), *previous;
	struct dpc_test t;

	previous = nt_driver_enter(driver);
	init(&t);
	nt_driver_leave(previous);
	KeInsertQueueDpc(&t.dpc, NULL, NULL);
	KeFlushQueuedDpcs();
	assert_ptr_equal(atomic_load(&t.driver), driver);
	assert_int_equal(nt_driver_unload(driver), 0);
}

static void dpc_is_queued_once(void **state)
{
	struct dpc_test blocker, t;

	init(&blocker);
	blocker.gated = true;
	init(&t);
	assert_true(KeInsertQueueDpc(&blocker.dpc, NULL, NULL));
	assert_true(KeInsertQueueDpc(&t.dpc, &t, NULL));
	assert_false(KeInsertQueueDpc(&t.dpc, &blocker, NULL));
	KeSetEvent(&blocker.gate, IO_NO_INCREMENT, FALSE);
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&t.calls), 1);
	assert_ptr_equal(atomic_load(&t.argument1), &t);
	assert_true(KeInsertQueueDpc(&t.dpc, NULL, NULL));
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&t.calls), 2);
}

static VOID queue_again(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2)
{
	atomic_int *calls = context;

	if (atomic_fetch_add(calls, 1) < 9)
		KeInsertQueueDpc(dpc, NULL, NULL);
}

static void dpc_can_queue_itself(void **state)
{
	atomic_int calls = 0;
	KDPC dpc;

	KeInitializeDpc(&dpc, queue_again, &calls);
	KeInsertQueueDpc(&dpc, NULL, NULL);
	WAIT_UNTIL(atomic_load(&calls) == 10);
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&calls), 10);
}

static void removed_dpc_does_not_run(void **state)
{
	struct dpc_test blocker, t, last;

	init(&blocker);
	blocker.gated = true;
	init(&t);
	init(&last);
	KeInsertQueueDpc(&blocker.dpc, NULL, NULL);
	KeInsertQueueDpc(&t.dpc, NULL, NULL);
	assert_true(KeRemoveQueueDpc(&t.dpc));
	assert_false(KeRemoveQueueDpc(&t.dpc));
	KeInsertQueueDpc(&last.dpc, NULL, NULL);
	KeSetEvent(&blocker.gate, IO_NO_INCREMENT, FALSE);
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&t.calls), 0);
	assert_int_equal(atomic_load(&last.calls), 1);
}

static void *flush(void *arg)
{
	KeFlushQueuedDpcs();
	atomic_store((atomic_int *)arg, 1);
	return NULL;
}

/* Removing a DPC that was queued later does not make up for one that still runs. */
static void flush_waits_for_a_running_dpc_whatever_is_removed(void **state)
{
	struct dpc_test blocker, t;
	atomic_int flushed = 0;
	pthread_t thread;

	init(&blocker);
	blocker.gated = true;
	init(&t);
	KeInsertQueueDpc(&blocker.dpc, NULL, NULL);
	start_thread(&thread, flush, &flushed);
	pause_us(20000);
	KeInsertQueueDpc(&t.dpc, NULL, NULL);
	KeRemoveQueueDpc(&t.dpc);
	pause_us(20000);
	assert_int_equal(atomic_load(&flushed), 0);
	KeSetEvent(&blocker.gate, IO_NO_INCREMENT, FALSE);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&blocker.calls), 1);
}

static VOID free_context(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2)
{
	atomic_fetch_add((atomic_int *)argument1, 1);
	free(context);
}

static void dpc_routine_may_free_the_dpc(void **state)
{
	atomic_int calls = 0;

	for (int i = 0; i < 500; i++) {
		KDPC *dpc = malloc(sizeof(*dpc));

		KeInitializeDpc(dpc, free_context, dpc);
		KeInsertQueueDpc(dpc, &calls, NULL);
	}
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&calls), 500);
}

/* ---- timers ---- */

static void timer_fires_once_and_stays_signalled(void **state)
{
	uint64_t start = clock_now_ns();
	KTIMER timer;

	KeInitializeTimer(&timer);
	assert_false(KeReadStateTimer(&timer));
	assert_false(KeSetTimer(&timer, relative_ms(30), NULL));
	assert_false(KeReadStateTimer(&timer));
	assert_int_equal(wait_for(&timer), STATUS_SUCCESS);
	assert_true(clock_now_ns() - start >= 29000000u);
	assert_true(KeReadStateTimer(&timer));
	assert_int_equal(wait_for(&timer), STATUS_SUCCESS);
	assert_false(KeCancelTimer(&timer));
	/* setting it anew resets it */
	assert_false(KeSetTimer(&timer, relative_ms(60000), NULL));
	assert_false(KeReadStateTimer(&timer));
	assert_true(KeSetTimer(&timer, relative_ms(60000), NULL));
	assert_true(KeCancelTimer(&timer));
	assert_false(KeCancelTimer(&timer));
}

static void synchronization_timer_resets_when_waited_for(void **state)
{
	LARGE_INTEGER zero = {.QuadPart = 0};
	KTIMER timer;

	KeInitializeTimerEx(&timer, SynchronizationTimer);
	KeSetTimer(&timer, relative_ms(1), NULL);
	assert_int_equal(wait_for(&timer), STATUS_SUCCESS);
	assert_int_equal(KeWaitForSingleObject(&timer, Executive, KernelMode, FALSE, &zero),
			 STATUS_TIMEOUT);
}

static void absolute_timer(void **state)
{
	LARGE_INTEGER due;
	uint64_t start;
	KTIMER timer;

	KeInitializeTimer(&timer);
	KeQuerySystemTime(&due);
	start = clock_now_ns();
	due.QuadPart += MS(40);
	KeSetTimer(&timer, due, NULL);
	assert_int_equal(wait_for(&timer), STATUS_SUCCESS);
	assert_in_range(clock_now_ns() - start, 30000000u, 20000000000u);
	due.QuadPart -= MS(1000000); /* has passed */
	KeSetTimer(&timer, due, NULL);
	assert_int_equal(wait_for(&timer), STATUS_SUCCESS);
}

static void timer_runs_its_dpc(void **state)
{
	struct dpc_test t;
	KTIMER timer;

	init(&t);
	KeInitializeTimer(&timer);
	KeSetTimer(&timer, relative_ms(5), &t.dpc);
	assert_int_equal(wait_for(&timer), STATUS_SUCCESS);
	/* the DPC was queued when the timer was signalled, so a flush is enough */
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&t.calls), 1);
	assert_int_equal(atomic_load(&t.wrong_irql), 0);
}

static void cancelled_timer_does_not_fire(void **state)
{
	struct dpc_test t;
	KTIMER timer;

	init(&t);
	KeInitializeTimer(&timer);
	KeSetTimer(&timer, relative_ms(20), &t.dpc);
	assert_true(KeCancelTimer(&timer));
	pause_us(40000);
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&t.calls), 0);
	assert_false(KeReadStateTimer(&timer));
}

static void periodic_timer_fires_until_it_is_cancelled(void **state)
{
	uint64_t start = clock_now_ns();
	struct dpc_test t;
	KTIMER timer;
	int calls;

	init(&t);
	KeInitializeTimerEx(&timer, SynchronizationTimer);
	KeSetTimerEx(&timer, relative_ms(2), 5, &t.dpc);
	WAIT_UNTIL(atomic_load(&t.calls) >= 4);
	assert_true(clock_now_ns() - start >= 16000000u); /* 2 + 3 * 5 ms */
	assert_true(KeCancelTimer(&timer));
	KeFlushQueuedDpcs();
	calls = atomic_load(&t.calls);
	pause_us(20000);
	KeFlushQueuedDpcs();
	assert_int_equal(atomic_load(&t.calls), calls);
}

static void negative_period_is_a_violation(void **state)
{
	KTIMER timer;

	KeInitializeTimer(&timer);
	KeSetTimerEx(&timer, relative_ms(1), -5, NULL);
	EXPECT_VIOLATION("timer-period", "-5");
	assert_int_equal(wait_for(&timer), STATUS_SUCCESS);
	assert_false(KeCancelTimer(&timer));
}

static void timers_fire_in_the_order_of_their_times(void **state)
{
	static const int ms[] = {40, 10, 30, 20};
	KTIMER timer[4];

	for (int i = 0; i < 4; i++) {
		KeInitializeTimer(&timer[i]);
		KeSetTimer(&timer[i], relative_ms(ms[i]), NULL);
	}
	assert_int_equal(wait_for(&timer[0]), STATUS_SUCCESS); /* the last */
	for (int i = 0; i < 4; i++)
		assert_true(KeReadStateTimer(&timer[i]));
}

struct owned_timer {
	KTIMER timer;
	KDPC dpc;
	atomic_int *calls;
};

static VOID free_owner(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2)
{
	struct owned_timer *o = context;
	atomic_int *calls = o->calls;

	memset(o, 0xa5, sizeof(*o));
	free(o);
	atomic_fetch_add(calls, 1);
}

/* The usual end of a one-shot: the DPC frees what the timer and the DPC are in. */
static void dpc_routine_may_free_the_timer(void **state)
{
	atomic_int calls = 0;

	for (int i = 0; i < 300; i++) {
		struct owned_timer *o = malloc(sizeof(*o));

		o->calls = &calls;
		KeInitializeTimer(&o->timer);
		KeInitializeDpc(&o->dpc, free_owner, o);
		KeSetTimer(&o->timer, relative_ms(i % 3), &o->dpc);
	}
	WAIT_UNTIL(atomic_load(&calls) == 300);
	KeFlushQueuedDpcs();
}

static void waiter_may_free_the_timer(void **state)
{
	for (int i = 0; i < 100; i++) {
		struct dpc_test *t = malloc(sizeof(*t));
		KTIMER *timer = malloc(sizeof(*timer));

		init(t);
		KeInitializeTimer(timer);
		KeSetTimer(timer, relative_ms(i % 2), &t->dpc);
		assert_int_equal(wait_for(timer), STATUS_SUCCESS);
		free(timer);
		KeFlushQueuedDpcs();
		assert_int_equal(atomic_load(&t->calls), 1);
		free(t);
	}
}

static void threads_start_again_after_shutdown(void **state)
{
	struct dpc_test t;
	KTIMER timer;

	init(&t);
	KeInitializeTimer(&timer);
	for (int i = 1; i <= 20; i++) {
		KeSetTimer(&timer, relative_ms(0), &t.dpc);
		assert_int_equal(wait_for(&timer), STATUS_SUCCESS);
		KeFlushQueuedDpcs();
		assert_int_equal(atomic_load(&t.calls), i);
		nt_shutdown();
	}
	KeFlushQueuedDpcs(); /* without a thread there is nothing to flush */
}

static void shutdown_runs_what_is_queued(void **state)
{
	struct dpc_test t[8];

	for (int i = 0; i < 8; i++) {
		init(&t[i]);
		KeInsertQueueDpc(&t[i].dpc, NULL, NULL);
	}
	nt_shutdown();
	for (int i = 0; i < 8; i++)
		assert_int_equal(atomic_load(&t[i].calls), 1);
}

static void timer_left_set_at_unload_is_a_violation(void **state)
{
	struct nt_driver *driver = load_empty("forgetful", NULL);
	struct nt_driver *previous = nt_driver_enter(driver);
	KTIMER timer;

	KeInitializeTimer(&timer);
	KeSetTimer(&timer, relative_ms(60000), NULL);
	nt_driver_leave(previous);
	nt_driver_unload(driver);
	EXPECT_VIOLATION("timer-at-unload", "forgetful");
	assert_false(KeCancelTimer(&timer)); /* it was taken out */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORDED(ddi_003_dpc_runs_at_dispatch_level_with_its_arguments),
		RECORDED(dpc_runs_as_the_driver_that_initialised_it),
		RECORDED(dpc_is_queued_once),
		RECORDED(dpc_can_queue_itself),
		RECORDED(removed_dpc_does_not_run),
		RECORDED(flush_waits_for_a_running_dpc_whatever_is_removed),
		RECORDED(dpc_routine_may_free_the_dpc),
		RECORDED(timer_fires_once_and_stays_signalled),
		RECORDED(synchronization_timer_resets_when_waited_for),
		RECORDED(absolute_timer),
		RECORDED(timer_runs_its_dpc),
		RECORDED(cancelled_timer_does_not_fire),
		RECORDED(periodic_timer_fires_until_it_is_cancelled),
		RECORDED(negative_period_is_a_violation),
		RECORDED(timers_fire_in_the_order_of_their_times),
		RECORDED(dpc_routine_may_free_the_timer),
		RECORDED(waiter_may_free_the_timer),
		RECORDED(threads_start_again_after_shutdown),
		RECORDED(shutdown_runs_what_is_queued),
		RECORDED(timer_left_set_at_unload_is_a_violation),
	};

	return cmocka_run_group_tests_name("nt-dpc", tests, NULL, end_threads);
}
