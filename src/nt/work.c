/* SPDX-License-Identifier: MIT */
/*
 * PASSIVE work: one elastic pool of threads, strands on it, and the work items of the DDI. A job
 * that blocks holds its thread, never the pool: a keeper thread adds one when jobs wait and nobody
 * is idle. Submitting allocates nothing, so dispatchers may do it.
 */
#include "nt/internal.h"

#include <errno.h>
#include <time.h>

#include "base/log.h"

#define MOST_THREADS 4096u
#define IDLE_SECONDS 5

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;   /* workers */
	pthread_cond_t wanted; /* keeper */
	pthread_cond_t ended;  /* shutdown */
	struct nt_job *head, **tail;
	uint32_t jobs, idle, threads;
	uint32_t starting; /* threads that have not yet looked for a job */
	bool keeper, stop; /* stop: who is idle ends */
	bool stop_keeper;
	pthread_t keeper_thread;
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wanted = PTHREAD_COND_INITIALIZER,
	.ended = PTHREAD_COND_INITIALIZER,
};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void pool_init(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool.work, &attr);
	pthread_condattr_destroy(&attr);
	pool.tail = &pool.head;
}

/* Under pool.lock. False: nothing came for a while, or the pool ends. */
static bool wait_for_job(void)
{
	struct timespec until;
	int error = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	pool.idle++;
	while (!pool.head && !pool.stop && error != ETIMEDOUT)
		error = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
	pool.idle--;
	return pool.head != NULL;
}

static void *worker(void *arg)
{
	pthread_mutex_lock(&pool.lock);
	pool.starting--;
	while (pool.head || wait_for_job()) {
		struct nt_job *job = pool.head;

		pool.head = job->next;
		if (!pool.head)
			pool.tail = &pool.head;
		pool.jobs--;
		pthread_mutex_unlock(&pool.lock);
		job->run(job); /* may be gone afterwards */
		pthread_mutex_lock(&pool.lock);
	}
	pool.threads--;
	pthread_cond_broadcast(&pool.ended);
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

static void add_worker(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pool.threads++;
	pool.starting++;
	pthread_mutex_unlock(&pool.lock);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, worker, NULL)) {
		struct timespec pause = {.tv_nsec = 10000000};

		KMCL_LOG_PEER(KMCL_LOG_ERROR, "nt", 0, 0, "no thread for waiting work");
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&pool.lock);
		pool.threads--;
		pool.starting--;
	} else {
		pthread_mutex_lock(&pool.lock);
	}
	pthread_attr_destroy(&attr);
}

static bool short_of_workers(void)
{
	return pool.jobs > pool.idle + pool.starting && pool.threads < MOST_THREADS;
}

static void *keeper(void *arg)
{
	pthread_mutex_lock(&pool.lock);
	while (!pool.stop_keeper) {
		if (short_of_workers())
			add_worker();
		else
			pthread_cond_wait(&pool.wanted, &pool.lock);
	}
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

/* Under pool.lock. */
static void start_keeper(void)
{
	pool.stop = pool.stop_keeper = false;
	pool.keeper = pthread_create(&pool.keeper_thread, NULL, keeper, NULL) == 0;
}

void nt_pool_submit(struct nt_job *job)
{
	pthread_once(&once, pool_init);
	pthread_mutex_lock(&pool.lock);
	if (!pool.keeper)
		start_keeper();
	job->next = NULL;
	*pool.tail = job;
	pool.tail = &job->next;
	pool.jobs++;
	pthread_cond_signal(&pool.work);
	if (short_of_workers())
		pthread_cond_signal(&pool.wanted);
	pthread_mutex_unlock(&pool.lock);
}

void nt_pool_shutdown(void)
{
	pthread_once(&once, pool_init);
	pthread_mutex_lock(&pool.lock);
	if (!pool.keeper) {
		pthread_mutex_unlock(&pool.lock);
		return;
	}
	pool.stop = true;
	pthread_cond_broadcast(&pool.work);
	/* a job that no thread has taken yet still gets one */
	while (pool.threads || pool.head)
		pthread_cond_wait(&pool.ended, &pool.lock);
	pool.stop_keeper = true;
	pthread_cond_signal(&pool.wanted);
	pthread_mutex_unlock(&pool.lock);
	pthread_join(pool.keeper_thread, NULL);
	pthread_mutex_lock(&pool.lock);
	pool.keeper = false;
	if (pool.head)
		start_keeper(); /* submitted while the keeper was ending */
	pthread_mutex_unlock(&pool.lock);
}

/* ---- strands ---- */

static NT_TLS char thread_mark; /* its address names the thread */

static void strand_lock(struct nt_strand *s)
{
	for (unsigned int n = 0; atomic_exchange_explicit(&s->lock, 1, memory_order_acquire); n++) {
		if (n < 64)
			cpu_relax();
		else
			sched_yield();
	}
}

static void strand_unlock(struct nt_strand *s)
{
	atomic_store_explicit(&s->lock, 0, memory_order_release);
}

/* Runs what is queued. The last unlock is the last touch of the strand. */
static void strand_pump(struct nt_job *job)
{
	struct nt_strand *s = CONTAINING_RECORD(job, struct nt_strand, pump);

	strand_lock(s);
	while ((job = s->head)) {
		s->head = job->next;
		if (!s->head)
			s->tail = NULL;
		__atomic_store_n(&s->current_thread, &thread_mark, __ATOMIC_RELAXED);
		strand_unlock(s);
		job->run(job); /* may be gone afterwards */
		strand_lock(s);
		__atomic_store_n(&s->current_thread, NULL, __ATOMIC_RELAXED);
	}
	s->active = false;
	strand_unlock(s);
}

void nt_strand_init(struct nt_strand *strand)
{
	atomic_init(&strand->lock, 0);
	strand->head = strand->tail = NULL;
	strand->active = false;
	strand->pump.run = strand_pump;
	strand->current_thread = NULL;
}

void nt_strand_post(struct nt_strand *strand, struct nt_job *job)
{
	bool start;

	strand_lock(strand);
	job->next = NULL;
	if (strand->tail)
		strand->tail->next = job;
	else
		strand->head = job;
	strand->tail = job;
	start = !strand->active;
	strand->active = true;
	strand_unlock(strand);
	if (start)
		nt_pool_submit(&strand->pump);
}

void nt_strand_wait_idle(struct nt_strand *strand)
{
	struct timespec pause = {.tv_nsec = 20000};
	bool active;

	for (;;) {
		strand_lock(strand);
		active = strand->active;
		strand_unlock(strand);
		if (!active)
			return;
		nanosleep(&pause, NULL);
	}
}

bool nt_strand_current(const struct nt_strand *strand)
{
	return __atomic_load_n(&strand->current_thread, __ATOMIC_RELAXED) == &thread_mark;
}

/* ---- work items ---- */

struct raw_item {
	struct nt_job job;
	struct nt_driver *driver;
};
_Static_assert(sizeof(struct raw_item) <= sizeof(((WORK_QUEUE_ITEM *)0)->Reserved),
	       "a job fits a work item");

static void run_raw_item(struct nt_job *job)
{
	struct raw_item *raw = CONTAINING_RECORD(job, struct raw_item, job);
	PWORK_QUEUE_ITEM item = CONTAINING_RECORD(raw, WORK_QUEUE_ITEM, Reserved);
	PWORKER_THREAD_ROUTINE routine = item->WorkerRoutine;
	PVOID parameter = item->Parameter;
	struct nt_driver *driver = raw->driver;
	struct nt_driver *previous = nt_driver_enter(driver);

	__atomic_store_n(&item->List.Flink, NULL, __ATOMIC_RELEASE);
	routine(parameter); /* the item is the routine's */
	nt_driver_leave(previous);
	if (driver)
		atomic_fetch_sub(&driver->work_items, 1);
}

VOID ExQueueWorkItem(PWORK_QUEUE_ITEM WorkItem, WORK_QUEUE_TYPE QueueType)
{
	struct raw_item *raw = (struct raw_item *)(void *)WorkItem->Reserved;

	if (__atomic_exchange_n(&WorkItem->List.Flink, &WorkItem->List, __ATOMIC_ACQ_REL)) {
		nt_violation("work-item-queued", "ExQueueWorkItem of an item that is queued");
		return;
	}
	raw->job.run = run_raw_item;
	raw->driver = nt_driver_current();
	if (raw->driver)
		atomic_fetch_add(&raw->driver->work_items, 1);
	nt_pool_submit(&raw->job);
}

/* ---- rundown protection ---- */

/* Count holds twice the references, plus one once the rundown has begun. */
#define RUNDOWN_ACTIVE 1
#define RUNDOWN_REF    2

VOID ExInitializeRundownProtection(PEX_RUNDOWN_REF RunRef)
{
	__atomic_store_n(&RunRef->Count, 0, __ATOMIC_SEQ_CST);
	KeInitializeEvent(&RunRef->Drained, NotificationEvent, FALSE);
}

VOID ExReInitializeRundownProtection(PEX_RUNDOWN_REF RunRef)
{
	ExInitializeRundownProtection(RunRef);
}

BOOLEAN ExAcquireRundownProtection(PEX_RUNDOWN_REF RunRef)
{
	LONG count = __atomic_load_n(&RunRef->Count, __ATOMIC_SEQ_CST);

	do {
		if (count & RUNDOWN_ACTIVE)
			return FALSE;
	} while (!__atomic_compare_exchange_n(&RunRef->Count, &count, count + RUNDOWN_REF, false,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return TRUE;
}

VOID ExReleaseRundownProtection(PEX_RUNDOWN_REF RunRef)
{
	if (__atomic_sub_fetch(&RunRef->Count, RUNDOWN_REF, __ATOMIC_SEQ_CST) == RUNDOWN_ACTIVE)
		KeSetEvent(&RunRef->Drained, IO_NO_INCREMENT, FALSE);
}

VOID ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF RunRef)
{
	if (__atomic_fetch_or(&RunRef->Count, RUNDOWN_ACTIVE, __ATOMIC_SEQ_CST) >= RUNDOWN_REF)
		KeWaitForSingleObject(&RunRef->Drained, Executive, KernelMode, FALSE, NULL);
}

/* ---- fast mutexes ---- */

VOID ExInitializeFastMutex(PFAST_MUTEX Mutex)
{
	KeInitializeEvent(&Mutex->Event, SynchronizationEvent, TRUE);
	Mutex->OldIrql = PASSIVE_LEVEL;
}

VOID ExAcquireFastMutex(PFAST_MUTEX Mutex)
{
	KIRQL old;

	KeWaitForSingleObject(&Mutex->Event, Executive, KernelMode, FALSE, NULL);
	KeRaiseIrql(APC_LEVEL, &old);
	Mutex->OldIrql = old;
}

BOOLEAN ExTryToAcquireFastMutex(PFAST_MUTEX Mutex)
{
	LARGE_INTEGER zero = {.QuadPart = 0};
	KIRQL old;

	if (KeWaitForSingleObject(&Mutex->Event, Executive, KernelMode, FALSE, &zero) !=
	    STATUS_SUCCESS)
		return FALSE;
	KeRaiseIrql(APC_LEVEL, &old);
	Mutex->OldIrql = old;
	return TRUE;
}

VOID ExReleaseFastMutex(PFAST_MUTEX Mutex)
{
	KIRQL old = Mutex->OldIrql;

	KeSetEvent(&Mutex->Event, IO_NO_INCREMENT, FALSE);
	KeLowerIrql(old);
}
