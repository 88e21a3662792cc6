/* SPDX-License-Identifier: MIT */
/* The elastic pool, strands, work items, rundown protection, fast mutexes. */
#include "nt_test.h"

/* ---- pool ---- */

#define BLOCKED 200

struct blocked_job {
	struct nt_job job;
	KEVENT *gate;
	atomic_int *running, *done;
};

static void run_blocked(struct nt_job *job)
{
	struct blocked_job *b = CONTAINING_RECORD(job, struct blocked_job, job);
	atomic_int *done = b->done;

	atomic_fetch_add(b->running, 1);
	if (b->gate)
		wait_for(b->gate);
	atomic_fetch_add(done, 1);
}

static void pool_grows_while_its_jobs_block(void **state)
{
	static struct blocked_job jobs[BLOCKED], one;
	atomic_int running = 0, done = 0, one_running = 0, one_done = 0;
	KEVENT gate;

	KeInitializeEvent(&gate, NotificationEvent, FALSE);
	for (int i = 0; i < BLOCKED; i++) {
		jobs[i] = (struct blocked_job){{.run = run_blocked}, &gate, &running, &done};
		nt_pool_submit(&jobs[i].job);
	}
	WAIT_UNTIL(atomic_load(&running) == BLOCKED);
	one = (struct blocked_job){{.run = run_blocked}, NULL, &one_running, &one_done};
	nt_pool_submit(&one.job);
	WAIT_UNTIL(atomic_load(&one_done) == 1);
	assert_int_equal(atomic_load(&done), 0);
	KeSetEvent(&gate, IO_NO_INCREMENT, FALSE);
	WAIT_UNTIL(atomic_load(&done) == BLOCKED);
	nt_shutdown();
}

static void shutdown_runs_what_was_submitted(void **state)
{
	static struct blocked_job jobs[8];

	for (int round = 0; round < 50; round++) {
		atomic_int running = 0, done = 0;

		for (int i = 0; i < 8; i++) {
			jobs[i] = (struct blocked_job){{.run = run_blocked}, NULL, &running, &done};
			nt_pool_submit(&jobs[i].job);
		}
		nt_shutdown();
		assert_int_equal(atomic_load(&done), 8);
	}
}

/* ---- strands ---- */

#define POSTERS 4
#define POSTS   2000

struct numbered {
	struct nt_job job;
	struct order *order;
	int poster, number;
};

struct order {
	struct nt_strand strand;
	int next[POSTERS]; /* touched by the strand's jobs alone */
	int wrong, total;
	atomic_int inside;
	struct numbered *jobs;
	KEVENT go;
};

static void run_numbered(struct nt_job *job)
{
	struct numbered *n = CONTAINING_RECORD(job, struct numbered, job);
	struct order *o = n->order;

	if (atomic_fetch_add(&o->inside, 1) || !nt_strand_current(&o->strand))
		o->wrong++;
	if (o->next[n->poster]++ != n->number)
		o->wrong++;
	o->total++;
	atomic_fetch_sub(&o->inside, 1);
}

static void *post_all(void *arg)
{
	struct numbered *first = arg;
	struct order *o = first->order;

	wait_for(&o->go);
	for (int i = 0; i < POSTS; i++)
		nt_strand_post(&o->strand, &first[i].job);
	return NULL;
}

static void strand_keeps_the_order_of_each_poster(void **state)
{
	struct order *o = calloc(1, sizeof(*o));
	pthread_t t[POSTERS];

	o->jobs = calloc(POSTERS * POSTS, sizeof(*o->jobs));
	nt_strand_init(&o->strand);
	KeInitializeEvent(&o->go, NotificationEvent, FALSE);
	for (int i = 0; i < POSTERS * POSTS; i++)
		o->jobs[i] = (struct numbered){{.run = run_numbered}, o, i / POSTS, i % POSTS};
	for (int i = 0; i < POSTERS; i++)
		start_thread(&t[i], post_all, &o->jobs[i * POSTS]);
	KeSetEvent(&o->go, IO_NO_INCREMENT, FALSE);
	for (int i = 0; i < POSTERS; i++)
		pthread_join(t[i], NULL);
	nt_strand_wait_idle(&o->strand);
	assert_int_equal(o->total, POSTERS * POSTS);
	assert_int_equal(o->wrong, 0);
	assert_false(nt_strand_current(&o->strand));
	free(o->jobs);
	free(o);
}

struct short_job {
	struct nt_job job;
	int *count;
};

static void add_one(struct nt_job *job)
{
	struct short_job *s = CONTAINING_RECORD(job, struct short_job, job);

	++*s->count;
	free(s);
}

static void idle_strand_may_be_freed(void **state)
{
	int count = 0;

	for (int i = 0; i < 500; i++) {
		struct nt_strand *s = malloc(sizeof(*s));

		nt_strand_init(s);
		for (int j = 0; j < 3; j++) {
			struct short_job *job = malloc(sizeof(*job));

			*job = (struct short_job){{.run = add_one}, &count};
			nt_strand_post(s, &job->job);
		}
		nt_strand_wait_idle(s);
		memset(s, 0xa5, sizeof(*s));
		free(s);
	}
	assert_int_equal(count, 1500);
}

static void idle_wait_waits_for_the_running_job(void **state)
{
	struct blocked_job b;
	atomic_int running = 0, done = 0;
	struct nt_strand s;
	KEVENT gate;
	KTIMER opener;

	KeInitializeEvent(&gate, NotificationEvent, FALSE);
	KeInitializeTimer(&opener);
	nt_strand_init(&s);
	b = (struct blocked_job){{.run = run_blocked}, (KEVENT *)(void *)&opener, &running, &done};
	KeSetTimer(&opener, relative_ms(30), NULL);
	nt_strand_post(&s, &b.job);
	WAIT_UNTIL(atomic_load(&running) == 1);
	nt_strand_wait_idle(&s);
	assert_int_equal(atomic_load(&done), 1);
}

/* ---- work items ---- */

struct work_test {
	WORK_QUEUE_ITEM item;
	atomic_int calls, passive;
	struct nt_driver *_Atomic driver;
	KEVENT ran;
};

static VOID work_routine(PVOID parameter)
{
	struct work_test *w = parameter;

	atomic_fetch_add(&w->passive, KeGetCurrentIrql() == PASSIVE_LEVEL);
	atomic_store(&w->driver, nt_driver_current());
	if (atomic_fetch_add(&w->calls, 1) < 4)
		ExQueueWorkItem(&w->item, DelayedWorkQueue); /* its own again */
	else
		KeSetEvent(&w->ran, IO_NO_INCREMENT, FALSE);
}

static void ddi_003_work_item_runs_at_passive_level_as_its_driver(void **state)
{
	struct nt_driver *driver = load_empty("worker", NULL), *previous;
	struct work_test w = {.calls = 0};

	KeInitializeEvent(&w.ran, NotificationEvent, FALSE);
	ExInitializeWorkItem(&w.item, work_routine, &w);
	previous = nt_driver_enter(driver);
	ExQueueWorkItem(&w.item, DelayedWorkQueue);
	nt_driver_leave(previous);
	assert_int_equal(wait_for(&w.ran), STATUS_SUCCESS);
	assert_int_equal(atomic_load(&w.calls), 5);
	assert_int_equal(atomic_load(&w.passive), 5);
	assert_ptr_equal(atomic_load(&w.driver), driver);
	assert_int_equal(nt_driver_unload(driver), 0);
}

static VOID slow_routine(PVOID parameter)
{
	struct work_test *w = parameter;

	pause_us(30000);
	atomic_fetch_add(&w->calls, 1);
}

static void unload_waits_for_work_items(void **state)
{
	struct nt_driver *driver = load_empty("slow", NULL), *previous;
	struct work_test w = {.calls = 0};

	ExInitializeWorkItem(&w.item, slow_routine, &w);
	previous = nt_driver_enter(driver);
	ExQueueWorkItem(&w.item, DelayedWorkQueue);
	nt_driver_leave(previous);
	assert_int_equal(nt_driver_unload(driver), 0);
	assert_int_equal(atomic_load(&w.calls), 1);
}

/* ---- rundown protection ---- */

struct rundown_test {
	EX_RUNDOWN_REF ref;
	atomic_int waited;
	atomic_bool run_down;
	atomic_int inside, late;
};

static void *wait_for_rundown(void *arg)
{
	struct rundown_test *r = arg;

	ExWaitForRundownProtectionRelease(&r->ref);
	atomic_store(&r->waited, 1);
	return NULL;
}

static void rundown_waits_for_the_references(void **state)
{
	struct rundown_test r = {.waited = 0};
	pthread_t t;

	ExInitializeRundownProtection(&r.ref);
	assert_true(ExAcquireRundownProtection(&r.ref));
	assert_true(ExAcquireRundownProtection(&r.ref));
	ExReleaseRundownProtection(&r.ref);
	start_thread(&t, wait_for_rundown, &r);
	for (uint64_t end = clock_now_ns() + TEST_DEADLINE_NS; clock_now_ns() < end;) {
		if (!ExAcquireRundownProtection(&r.ref))
			break;
		ExReleaseRundownProtection(&r.ref);
		pause_us(100);
	}
	assert_false(ExAcquireRundownProtection(&r.ref));
	pause_us(10000);
	assert_int_equal(atomic_load(&r.waited), 0);
	ExReleaseRundownProtection(&r.ref);
	pthread_join(t, NULL);
	assert_int_equal(atomic_load(&r.waited), 1);
	assert_false(ExAcquireRundownProtection(&r.ref));
	ExWaitForRundownProtectionRelease(&r.ref); /* a second time: at once */
	ExReInitializeRundownProtection(&r.ref);
	assert_true(ExAcquireRundownProtection(&r.ref));
	ExReleaseRundownProtection(&r.ref);
}

static void *use_until_run_down(void *arg)
{
	struct rundown_test *r = arg;

	while (ExAcquireRundownProtection(&r->ref)) {
		atomic_fetch_add(&r->inside, 1);
		if (atomic_load(&r->run_down))
			atomic_fetch_add(&r->late, 1);
		atomic_fetch_sub(&r->inside, 1);
		ExReleaseRundownProtection(&r->ref);
	}
	return NULL;
}

static void nobody_is_inside_after_rundown(void **state)
{
	for (int round = 0; round < 50; round++) {
		struct rundown_test r = {.waited = 0};
		pthread_t t[4];

		ExInitializeRundownProtection(&r.ref);
		for (int i = 0; i < 4; i++)
			start_thread(&t[i], use_until_run_down, &r);
		pause_us(200);
		ExWaitForRundownProtectionRelease(&r.ref);
		assert_int_equal(atomic_load(&r.inside), 0);
		atomic_store(&r.run_down, true);
		for (int i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		assert_int_equal(atomic_load(&r.late), 0);
	}
}

/* ---- fast mutexes ---- */

struct fast_test {
	FAST_MUTEX mutex;
	unsigned int counter;
	atomic_int wrong;
};

static void *count_under_fast_mutex(void *arg)
{
	struct fast_test *f = arg;

	for (int i = 0; i < 2000; i++) {
		ExAcquireFastMutex(&f->mutex);
		if (KeGetCurrentIrql() != APC_LEVEL)
			atomic_fetch_add(&f->wrong, 1);
		f->counter++;
		ExReleaseFastMutex(&f->mutex);
		if (KeGetCurrentIrql() != PASSIVE_LEVEL)
			atomic_fetch_add(&f->wrong, 1);
	}
	return NULL;
}

static void *try_fast_mutex(void *arg)
{
	FAST_MUTEX *m = arg;
	bool taken = ExTryToAcquireFastMutex(m);

	if (taken)
		ExReleaseFastMutex(m);
	return taken ? arg : NULL;
}

static bool other_thread_takes(FAST_MUTEX *m)
{
	pthread_t t;
	void *taken;

	start_thread(&t, try_fast_mutex, m);
	pthread_join(t, &taken);
	return taken != NULL;
}

static void fast_mutex_excludes_and_raises(void **state)
{
	struct fast_test f = {.counter = 0};
	pthread_t t[4];

	ExInitializeFastMutex(&f.mutex);
	for (int i = 0; i < 4; i++)
		start_thread(&t[i], count_under_fast_mutex, &f);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(f.counter, 4 * 2000);
	assert_int_equal(atomic_load(&f.wrong), 0);
	assert_true(ExTryToAcquireFastMutex(&f.mutex));
	assert_int_equal(KeGetCurrentIrql(), APC_LEVEL);
	assert_false(other_thread_takes(&f.mutex));
	ExReleaseFastMutex(&f.mutex);
	assert_true(other_thread_takes(&f.mutex));
}

static void fast_mutex_at_dispatch_level_is_a_violation(void **state)
{
	FAST_MUTEX m;
	KIRQL old;

	ExInitializeFastMutex(&m);
	old = KeRaiseIrqlToDpcLevel();
	ExAcquireFastMutex(&m); /* a wait, and a raise downwards */
	assert_int_equal(atomic_exchange(&violations.count, 0), 2);
	KeRaiseIrql(DISPATCH_LEVEL, &(KIRQL){0});
	KeLowerIrql(old);
}

static void work_goes_on_after_shutdown(void **state)
{
	int count = 0;

	for (int i = 1; i <= 20; i++) {
		struct short_job *job = malloc(sizeof(*job));
		struct nt_strand s;

		nt_strand_init(&s);
		*job = (struct short_job){{.run = add_one}, &count};
		nt_strand_post(&s, &job->job);
		nt_strand_wait_idle(&s);
		assert_int_equal(count, i);
		nt_shutdown();
	}
	nt_shutdown(); /* nothing to end */
}

/* ---- items queued twice: the pool's list would lose what is behind them ---- */

static VOID note_item(PVOID context)
{
	atomic_fetch_add((atomic_int *)context, 1);
}

static void item_queued_twice_is_a_violation(void **state)
{
	atomic_int runs = 0;
	WORK_QUEUE_ITEM item;

	ExInitializeWorkItem(&item, note_item, &runs);
	item.List.Flink = &item.List; /* as while it is queued */
	ExQueueWorkItem(&item, DelayedWorkQueue);
	EXPECT_VIOLATION("work-item-queued", "ExQueueWorkItem");
	ExInitializeWorkItem(&item, note_item, &runs);
	ExQueueWorkItem(&item, DelayedWorkQueue);
	WAIT_UNTIL(atomic_load(&runs) == 1);
	ExQueueWorkItem(&item, DelayedWorkQueue); /* it is the driver's again */
	WAIT_UNTIL(atomic_load(&runs) == 2);
	nt_shutdown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORDED(pool_grows_while_its_jobs_block),
		RECORDED(shutdown_runs_what_was_submitted),
		RECORDED(strand_keeps_the_order_of_each_poster),
		RECORDED(idle_strand_may_be_freed),
		RECORDED(idle_wait_waits_for_the_running_job),
		RECORDED(ddi_003_work_item_runs_at_passive_level_as_its_driver),
		RECORDED(unload_waits_for_work_items),
		RECORDED(rundown_waits_for_the_references),
		RECORDED(nobody_is_inside_after_rundown),
		RECORDED(fast_mutex_excludes_and_raises),
		RECORDED(fast_mutex_at_dispatch_level_is_a_violation),
		RECORDED(work_goes_on_after_shutdown),
		RECORDED(item_queued_twice_is_a_violation),
	};

	return cmocka_run_group_tests_name("nt-work", tests, NULL, end_threads);
}
