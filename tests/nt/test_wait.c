/* SPDX-License-Identifier: MIT */
/* Waiting for several objects, who may free an object when, and what signalling may wait for. */
#include "nt_test.h"

static NTSTATUS wait_many(ULONG count, PVOID *objects, WAIT_TYPE type, LONGLONG quad)
{
	LARGE_INTEGER timeout = {.QuadPart = quad};
	KWAIT_BLOCK blocks[MAXIMUM_WAIT_OBJECTS];

	return KeWaitForMultipleObjects(count, objects, type, Executive, KernelMode, FALSE,
					&timeout, blocks);
}

static void *set_later(void *arg)
{
	pause_us(20000);
	KeSetEvent(arg, IO_NO_INCREMENT, FALSE);
	return NULL;
}

static void any_of_several_names_the_one(void **state)
{
	pthread_t thread;
	KEVENT e[5];
	PVOID p[5];

	for (int i = 0; i < 5; i++) {
		KeInitializeEvent(&e[i], SynchronizationEvent, i == 3 || i == 4);
		p[i] = &e[i];
	}
	assert_int_equal(wait_many(5, p, WaitAny, 0), STATUS_WAIT_0 + 3);
	assert_int_equal(wait_many(5, p, WaitAny, -MS(60000)), STATUS_WAIT_0 + 4);
	assert_int_equal(wait_many(5, p, WaitAny, -MS(10)), STATUS_TIMEOUT);
	start_thread(&thread, set_later, &e[2]);
	assert_int_equal(wait_many(5, p, WaitAny, -MS(60000)), STATUS_WAIT_0 + 2);
	pthread_join(thread, NULL);
	for (int i = 0; i < 5; i++)
		assert_int_equal(KeReadStateEvent(&e[i]), 0);
}

/* What a wait for any leaves: its place in the lines of the others. */
static void ended_wait_stands_in_no_line(void **state)
{
	KEVENT a, b;
	PVOID p[] = {&a, &b};
	pthread_t thread;

	KeInitializeEvent(&a, SynchronizationEvent, FALSE);
	KeInitializeEvent(&b, SynchronizationEvent, FALSE);
	start_thread(&thread, set_later, &b);
	assert_int_equal(wait_many(2, p, WaitAny, -MS(60000)), STATUS_WAIT_0 + 1);
	pthread_join(thread, NULL);
	assert_int_equal(wait_many(2, p, WaitAny, -MS(1)), STATUS_TIMEOUT);
	KeSetEvent(&a, IO_NO_INCREMENT, FALSE);
	assert_int_equal(KeReadStateEvent(&a), 1); /* nobody took it */
	assert_int_equal(wait_many(2, p, WaitAny, 0), STATUS_WAIT_0);
}

static void all_of_several_takes_all_or_none(void **state)
{
	pthread_t thread;
	KEVENT a, b;
	PVOID p[] = {&b, &a};

	KeInitializeEvent(&a, SynchronizationEvent, TRUE);
	KeInitializeEvent(&b, SynchronizationEvent, FALSE);
	assert_int_equal(wait_many(2, p, WaitAll, 0), STATUS_TIMEOUT);
	assert_int_equal(wait_many(2, p, WaitAll, -MS(10)), STATUS_TIMEOUT);
	assert_int_equal(KeReadStateEvent(&a), 1); /* not taken alone */
	start_thread(&thread, set_later, &b);
	assert_int_equal(wait_many(2, p, WaitAll, -MS(60000)), STATUS_SUCCESS);
	pthread_join(thread, NULL);
	assert_int_equal(KeReadStateEvent(&a), 0);
	assert_int_equal(KeReadStateEvent(&b), 0);
}

static void mutex_among_several_gets_its_owner(void **state)
{
	KMUTEX m;
	KEVENT e;
	PVOID p[] = {&e, &m};

	KeInitializeMutex(&m, 0);
	KeInitializeEvent(&e, NotificationEvent, FALSE);
	assert_int_equal(KeReadStateMutex(&m), 1);
	assert_int_equal(wait_many(2, p, WaitAny, 0), STATUS_WAIT_0 + 1);
	assert_int_equal(KeReadStateMutex(&m), 0);
	KeSetEvent(&e, IO_NO_INCREMENT, FALSE);
	assert_int_equal(wait_many(2, p, WaitAll, 0), STATUS_SUCCESS);
	assert_int_equal(KeReleaseMutex(&m, FALSE), -1);
	assert_int_equal(KeReleaseMutex(&m, FALSE), 0);
	assert_int_equal(KeReadStateMutex(&m), 1);
}

static void wrong_waits_for_several_are_violations(void **state)
{
	LARGE_INTEGER zero = {.QuadPart = 0};
	PVOID p[MAXIMUM_WAIT_OBJECTS + 1];
	KEVENT e;
	KIRQL old;

	KeInitializeEvent(&e, NotificationEvent, TRUE);
	for (size_t i = 0; i < ARRAYSIZE(p); i++)
		p[i] = &e;
	KeWaitForMultipleObjects(4, p, WaitAny, Executive, KernelMode, FALSE, &zero, NULL);
	EXPECT_VIOLATION("wait-blocks", "4 objects without");
	assert_int_equal(
		KeWaitForMultipleObjects(3, p, WaitAny, Executive, KernelMode, FALSE, &zero, NULL),
		STATUS_WAIT_0);
	wait_many(MAXIMUM_WAIT_OBJECTS + 1, p, WaitAny, 0);
	EXPECT_VIOLATION("wait-blocks", "65 objects");
	assert_int_equal(wait_many(2, p, WaitAll, 0), STATUS_INVALID_PARAMETER);
	EXPECT_VIOLATION("wait-objects", "the same");
	old = KeRaiseIrqlToDpcLevel();
	assert_int_equal(wait_many(2, p, WaitAny, 0), STATUS_WAIT_0);
	wait_many(2, p, WaitAny, -1);
	EXPECT_VIOLATION("wait-at-dispatch", "KeWaitForMultipleObjects");
	KeLowerIrql(old);
}

/* ---- under contention ---- */

#define TOKENS 20000

/* Every token is taken exactly once, whatever mix of waits and deadlines contends for it. */
struct storm {
	KSEMAPHORE s[2];
	KEVENT stop;
	atomic_int taken;
};

static void *take_any(void *arg)
{
	struct storm *storm = arg;
	PVOID p[] = {&storm->stop, &storm->s[0], &storm->s[1]};
	NTSTATUS status;

	do {
		status = wait_many(3, p, WaitAny, -300);
		if (status == STATUS_WAIT_0 + 1 || status == STATUS_WAIT_0 + 2)
			atomic_fetch_add(&storm->taken, 1);
	} while (status != STATUS_WAIT_0);
	return NULL;
}

/* Takes one of each, or none. */
static void *take_pairs(void *arg)
{
	struct storm *storm = arg;
	PVOID p[] = {&storm->s[1], &storm->s[0]};

	while (!KeReadStateEvent(&storm->stop)) {
		if (wait_many(2, p, WaitAll, -300) == STATUS_SUCCESS)
			atomic_fetch_add(&storm->taken, 2);
	}
	return NULL;
}

static void *give(void *arg)
{
	for (int i = 0; i < TOKENS / 2; i++)
		KeReleaseSemaphore(arg, IO_NO_INCREMENT, 1, FALSE);
	return NULL;
}

static void run_storm(unsigned int any, unsigned int pairs)
{
	struct storm storm = {.taken = 0};
	pthread_t t[6];
	unsigned int n = 0;

	KeInitializeSemaphore(&storm.s[0], 0, TOKENS);
	KeInitializeSemaphore(&storm.s[1], 0, TOKENS);
	KeInitializeEvent(&storm.stop, NotificationEvent, FALSE);
	while (n < any + pairs) {
		start_thread(&t[n], n < any ? take_any : take_pairs, &storm);
		n++;
	}
	start_thread(&t[n++], give, &storm.s[0]);
	start_thread(&t[n++], give, &storm.s[1]);
	WAIT_UNTIL(atomic_load(&storm.taken) >= TOKENS);
	KeSetEvent(&storm.stop, IO_NO_INCREMENT, FALSE);
	while (n)
		pthread_join(t[--n], NULL);
	assert_int_equal(atomic_load(&storm.taken), TOKENS);
	assert_int_equal(KeReadStateSemaphore(&storm.s[0]), 0);
	assert_int_equal(KeReadStateSemaphore(&storm.s[1]), 0);
}

static void contended_waits_lose_and_invent_nothing(void **state)
{
	run_storm(4, 0);
	run_storm(0, 4); /* no pair waits for ever with both halves there */
	run_storm(2, 2);
}

/* Several are released by one signal: the first to return frees, and nobody looks back. */
struct shared {
	KEVENT *event;
	atomic_int entered, left;
};

static void *wait_shared(void *arg)
{
	struct shared *s = arg;
	KEVENT *e = s->event;

	atomic_fetch_add(&s->entered, 1);
	if (wait_for(e) == STATUS_SUCCESS && atomic_fetch_add(&s->left, 1) == 0) {
		memset(e, 0xa5, sizeof(*e));
		free(e);
	}
	return NULL;
}

static void released_waiters_do_not_look_back(void **state)
{
	for (int i = 0; i < 100; i++) {
		struct shared s = {.event = malloc(sizeof(KEVENT))};
		pthread_t t[2];

		KeInitializeEvent(s.event, NotificationEvent, FALSE);
		start_thread(&t[0], wait_shared, &s);
		start_thread(&t[1], wait_shared, &s);
		WAIT_UNTIL(atomic_load(&s.entered) == 2);
		/* until both stand in its line: until then the event is theirs and ours */
		pause_us(20000);
		KeSetEvent(s.event, IO_NO_INCREMENT, FALSE);
		pthread_join(t[0], NULL);
		pthread_join(t[1], NULL);
		assert_int_equal(atomic_load(&s.left), 2);
	}
}

/* ---- what signalling and submitting may wait for ---- */

static _Thread_local unsigned int mutexes;

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	mutexes++;
	return __real_pthread_mutex_lock(mutex);
}

#define OTHERS 4096

/* One object's lock is held, by a thread that was preempted, say; all others can be signalled. */
static void *signal_others(void *arg)
{
	KEVENT *e = arg;

	for (int i = 0; i < OTHERS; i++)
		KeSetEvent(&e[i], IO_NO_INCREMENT, FALSE);
	return NULL;
}

static void objects_share_no_lock(void **state)
{
	KEVENT *e = calloc(OTHERS, sizeof(*e));
	_Atomic uintptr_t *word;
	pthread_t thread;
	KEVENT held;

	for (int i = 0; i < OTHERS; i++)
		KeInitializeEvent(&e[i], NotificationEvent, FALSE);
	KeInitializeEvent(&held, NotificationEvent, FALSE);
	word = (_Atomic uintptr_t *)(void *)&held.Header.WaitListHead;
	atomic_fetch_or(word, 1);
	start_thread(&thread, signal_others, e);
	pthread_join(thread, NULL);
	atomic_fetch_and(word, ~(uintptr_t)1);
	for (int i = 0; i < OTHERS; i++)
		assert_int_equal(KeReadStateEvent(&e[i]), 1);
	free(e);
}

struct counted_job {
	struct nt_job job;
	atomic_int *done;
};

static void count_job(struct nt_job *job)
{
	atomic_fetch_add(CONTAINING_RECORD(job, struct counted_job, job)->done, 1);
}

static void signalling_and_submitting_take_no_mutex(void **state)
{
	static struct counted_job jobs[1001];
	atomic_int done = 0;
	unsigned int before;
	KEVENT e;

	for (size_t i = 0; i < ARRAYSIZE(jobs); i++)
		jobs[i] = (struct counted_job){{.run = count_job}, &done};
	nt_pool_submit(&jobs[0].job); /* starts the pool */
	WAIT_UNTIL(atomic_load(&done) == 1);
	KeInitializeEvent(&e, SynchronizationEvent, FALSE);
	before = mutexes;
	for (size_t i = 1; i < ARRAYSIZE(jobs); i++) {
		KeSetEvent(&e, IO_NO_INCREMENT, FALSE);
		nt_pool_submit(&jobs[i].job);
	}
	assert_int_equal(mutexes, before);
	assert_true(mutexes > 0); /* they are counted at all */
	WAIT_UNTIL(atomic_load(&done) == 1001);
}

/* Not when an idle thread would have ended, or looked again by itself. */
static void idle_thread_takes_a_job_at_once(void **state)
{
	uint64_t least = UINT64_MAX;
	struct counted_job job;
	atomic_int done = 0;

	job = (struct counted_job){{.run = count_job}, &done};
	for (int i = 0; i < 5; i++) {
		uint64_t start, took;

		pause_us(20000); /* until the thread of the last one is idle */
		start = clock_now_ns();
		nt_pool_submit(&job.job);
		WAIT_UNTIL(atomic_load(&done) == i + 1);
		took = clock_now_ns() - start;
		if (i && took < least)
			least = took;
	}
	assert_in_range(least, 0, 1000000000);
}

/* ---- the pool under many submitters ---- */

#define SUBMITTERS 4
#define SUBMITS    20000

static void *submit_all(void *arg)
{
	struct counted_job *jobs = arg;

	for (int i = 0; i < SUBMITS; i++) {
		nt_pool_submit(&jobs[i].job);
		if (i % 64 == 0)
			pause_us(50); /* the pool runs dry now and then */
	}
	return NULL;
}

static void pool_runs_each_job_once(void **state)
{
	struct counted_job *jobs = calloc(SUBMITTERS * SUBMITS, sizeof(*jobs));
	pthread_t t[SUBMITTERS];
	atomic_int done = 0;

	for (int i = 0; i < SUBMITTERS * SUBMITS; i++)
		jobs[i] = (struct counted_job){{.run = count_job}, &done};
	for (int i = 0; i < SUBMITTERS; i++)
		start_thread(&t[i], submit_all, &jobs[i * SUBMITS]);
	for (int i = 0; i < SUBMITTERS; i++)
		pthread_join(t[i], NULL);
	WAIT_UNTIL(atomic_load(&done) >= SUBMITTERS * SUBMITS);
	nt_shutdown();
	assert_int_equal(atomic_load(&done), SUBMITTERS * SUBMITS);
	free(jobs);
}

/* A shutdown meets submitters: nothing stays behind. */
static void pool_shut_down_under_submitters_loses_nothing(void **state)
{
	struct counted_job *jobs = calloc(SUBMITS, sizeof(*jobs));
	atomic_int done = 0;
	pthread_t t;

	for (int i = 0; i < SUBMITS; i++)
		jobs[i] = (struct counted_job){{.run = count_job}, &done};
	start_thread(&t, submit_all, jobs);
	while (atomic_load(&done) < SUBMITS / 2)
		nt_shutdown();
	pthread_join(t, NULL);
	WAIT_UNTIL(atomic_load(&done) == SUBMITS);
	nt_shutdown();
	free(jobs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORDED(any_of_several_names_the_one),
		RECORDED(ended_wait_stands_in_no_line),
		RECORDED(all_of_several_takes_all_or_none),
		RECORDED(mutex_among_several_gets_its_owner),
		RECORDED(wrong_waits_for_several_are_violations),
		RECORDED(contended_waits_lose_and_invent_nothing),
		RECORDED(released_waiters_do_not_look_back),
		RECORDED(objects_share_no_lock),
		RECORDED(signalling_and_submitting_take_no_mutex),
		RECORDED(idle_thread_takes_a_job_at_once),
		RECORDED(pool_runs_each_job_once),
		RECORDED(pool_shut_down_under_submitters_loses_nothing),
	};

	return cmocka_run_group_tests_name("nt-wait", tests, NULL, end_threads);
}
