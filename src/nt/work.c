/* SPDX-License-Identifier: MIT */
/*
 * PASSIVE work: one elastic pool of threads, strands on it, and the work items of the DDI. A job
 * that blocks holds its thread, never the pool: a keeper thread adds one when jobs wait and nobody
 * is idle. Submitting allocates nothing and takes no lock, so dispatchers may do it.
 *
 * No job is overlooked: who submits publishes the job and then looks for somebody idle, who goes
 * idle says so and then looks for jobs. Threads and jobs are counted likewise: each side makes its
 * change and then compares, so that the last of them sees a shortage and wakes the keeper.
 */
#include "nt/internal.h"

#include <limits.h>
#include <time.h>

#include "base/log.h"
#include "nt/futex.h"

#define MOST_THREADS 4096u
#define IDLE_100NS   50000000u

static struct {
	_Atomic(struct nt_job *) submitted; /* newest first */
	_Atomic uint32_t jobs;              /* that no thread has taken */
	_Atomic uint32_t idle, threads;
	_Atomic uint32_t starting; /* threads that have not yet looked for a job */
	_Atomic uint32_t work;     /* futex: one more for each wake-up of who is idle */
	_Atomic uint32_t wanted;   /* futex: the keeper is to look */
	atomic_bool stop;          /* who is idle ends */
	atomic_bool keeper, stop_keeper;

	/* threads of the pool only, and whoever starts or ends it */
	pthread_mutex_t lock;
	pthread_cond_t ended; /* shutdown */
	struct nt_job *head;  /* taken over from `submitted`, oldest first */
	pthread_t keeper_thread;
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.ended = PTHREAD_COND_INITIALIZER,
};

/* Idle is read before starting: a thread goes from there to here, never back. */
static bool short_of_workers(void)
{
	uint32_t jobs = atomic_load(&pool.jobs);
	uint32_t idle = atomic_load(&pool.idle);

	return jobs > idle + atomic_load(&pool.starting) &&
	       atomic_load(&pool.threads) < MOST_THREADS;
}

static void call_keeper(void)
{
	if (!atomic_exchange(&pool.wanted, 1))
		futex_wake(&pool.wanted, 1);
}

static void wake_idle(int count)
{
	atomic_fetch_add(&pool.work, 1);
	futex_wake(&pool.work, count);
}

/* Under pool.lock: the oldest job, NULL: none. */
static struct nt_job *next_job(void)
{
	struct nt_job *job;

	if (!pool.head) {
		job = atomic_exchange(&pool.submitted, NULL);
		while (job) {
			struct nt_job *older = job->next;

			job->next = pool.head;
			pool.head = job;
			job = older;
		}
	}
	job = pool.head;
	if (job) {
		pool.head = job->next;
		atomic_fetch_sub(&pool.jobs, 1);
	}
	return job;
}

/* Under pool.lock. NULL: nothing came for a while, or the pool ends. */
static struct nt_job *wait_for_job(void)
{
	uint64_t deadline = nt_interrupt_time() + IDLE_100NS;
	struct nt_job *job;
	bool more = true;

	atomic_fetch_add(&pool.idle, 1);
	for (;;) {
		uint32_t seen = atomic_load(&pool.work);

		if (pool.head || atomic_load(&pool.submitted) || atomic_load(&pool.stop) || !more)
			break;
		pthread_mutex_unlock(&pool.lock);
		more = futex_wait(&pool.work, seen, &deadline);
		pthread_mutex_lock(&pool.lock);
	}
	/* First this: a job submitted since counts on us until it sees that we are not idle. */
	atomic_fetch_sub(&pool.idle, 1);
	job = next_job();
	return job;
}

static struct nt_job *take_job(void)
{
	struct nt_job *job = next_job();

	if (!job)
		job = wait_for_job();
	/* One idle thread less, or a job is left that counted on another. */
	if (short_of_workers())
		call_keeper();
	return job;
}

static void *worker(void *arg)
{
	struct nt_job *job;

	pthread_mutex_lock(&pool.lock);
	atomic_fetch_sub(&pool.starting, 1);
	while ((job = take_job())) {
		pthread_mutex_unlock(&pool.lock);
		job->run(job); /* may be gone afterwards */
		pthread_mutex_lock(&pool.lock);
	}
	atomic_fetch_sub(&pool.threads, 1);
	pthread_cond_broadcast(&pool.ended);
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

static void add_worker(void)
{
	struct timespec pause = {.tv_nsec = 10000000};
	pthread_attr_t attr;
	pthread_t thread;

	atomic_fetch_add(&pool.threads, 1);
	atomic_fetch_add(&pool.starting, 1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, worker, NULL)) {
		atomic_fetch_sub(&pool.starting, 1);
		pthread_mutex_lock(&pool.lock);
		atomic_fetch_sub(&pool.threads, 1);
		pthread_cond_broadcast(&pool.ended);
		pthread_mutex_unlock(&pool.lock);
		KMCL_LOG_PEER(KMCL_LOG_ERROR, "nt", 0, 0, "no thread for waiting work");
		nanosleep(&pause, NULL);
	}
	pthread_attr_destroy(&attr);
}

/* Takes the call back before it looks: one that comes later wakes it. */
static void *keeper(void *arg)
{
	for (;;) {
		atomic_store(&pool.wanted, 0);
		if (atomic_load(&pool.stop_keeper))
			return NULL;
		if (short_of_workers())
			add_worker();
		else
			futex_wait(&pool.wanted, 0, NULL);
	}
}

/* Under pool.lock. */
static void start_keeper(void)
{
	bool started;

	atomic_store(&pool.stop_keeper, false);
	atomic_store(&pool.stop, false);
	started = pthread_create(&pool.keeper_thread, NULL, keeper, NULL) == 0;
	atomic_store(&pool.keeper, started);
}

static void start_pool(void)
{
	pthread_mutex_lock(&pool.lock);
	if (!atomic_load(&pool.keeper))
		start_keeper();
	pthread_mutex_unlock(&pool.lock);
}

bool nt_pool_start(void)
{
	if (!atomic_load(&pool.keeper))
		start_pool();
	return atomic_load(&pool.keeper);
}

void nt_pool_submit(struct nt_job *job)
{
	struct nt_job *newest = atomic_load_explicit(&pool.submitted, memory_order_relaxed);

	atomic_fetch_add(&pool.jobs, 1);
	do {
		job->next = newest;
	} while (!atomic_compare_exchange_weak(&pool.submitted, &newest, job));
	/* from here on the job may be gone */
	if (!atomic_load(&pool.keeper))
		start_pool();
	if (atomic_load(&pool.idle))
		wake_idle(1);
	if (short_of_workers())
		call_keeper();
}

/* Under pool.lock. */
static bool work_left(void)
{
	return pool.head || atomic_load(&pool.submitted);
}

void nt_pool_shutdown(void)
{
	pthread_mutex_lock(&pool.lock);
	if (!atomic_load(&pool.keeper)) {
		pthread_mutex_unlock(&pool.lock);
		return;
	}
	atomic_store(&pool.stop, true);
	wake_idle(INT_MAX);
	/* a job that no thread has taken yet still gets one */
	while (atomic_load(&pool.threads) || work_left())
		pthread_cond_wait(&pool.ended, &pool.lock);
	atomic_store(&pool.stop_keeper, true);
	pthread_mutex_unlock(&pool.lock);
	call_keeper();
	pthread_join(pool.keeper_thread, NULL);
	pthread_mutex_lock(&pool.lock);
	atomic_store(&pool.keeper, false);
	if (work_left())
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
