/* SPDX-License-Identifier: MIT */
/*
 * Dispatcher objects and waiting.
 *
 * An object has a lock and a list of those who wait, in one word of its header: the list's head
 * with the lock in bit 0. Whoever signals an object decides under that lock who is released, and
 * touches the object no more once the lock is free; only then are the threads told. So a waiter may
 * free the object as soon as its wait has returned, and no lock is shared between objects.
 *
 * A wait for any of several objects is won by the first that claims it. A wait for all of them is
 * woken to look again, with every object locked in the order of addresses.
 */
#include "nt/futex.h"
#include "nt/internal.h"

#define LOCKED    ((uintptr_t)1)
#define NOT_YET   0xffffffffu
#define TIMED_OUT 0xfffffffeu

struct waiter {
	_Atomic uint32_t claim; /* index of the object that ended the wait, NOT_YET or TIMED_OUT */
	_Atomic uint32_t woken; /* futex */
	const void *thread;
	bool all;
};

struct block {
	struct block *next;
	DISPATCHER_HEADER *object;
	struct waiter *waiter;
	uint32_t key;
	bool linked;
};

static NT_TLS char thread_mark; /* its address names the thread, as a mutex's owner */

/* ---- the header's word ---- */

static void lock_object(DISPATCHER_HEADER *object)
{
	uintptr_t *word = (uintptr_t *)(void *)&object->WaitListHead;

	for (unsigned int n = 0; __atomic_fetch_or(word, LOCKED, __ATOMIC_ACQUIRE) & LOCKED; n++) {
		if (n < 64)
			cpu_relax();
		else
			sched_yield();
	}
}

/* Under the lock. */
static struct block *first_block(DISPATCHER_HEADER *object)
{
	uintptr_t word =
		__atomic_load_n((uintptr_t *)(void *)&object->WaitListHead, __ATOMIC_RELAXED);

	return (struct block *)(word & ~LOCKED);
}

static void set_first(DISPATCHER_HEADER *object, struct block *block)
{
	__atomic_store_n((uintptr_t *)(void *)&object->WaitListHead, (uintptr_t)block | LOCKED,
			 __ATOMIC_RELAXED);
}

static void unlock_object(DISPATCHER_HEADER *object)
{
	__atomic_store_n((uintptr_t *)(void *)&object->WaitListHead, (uintptr_t)first_block(object),
			 __ATOMIC_RELEASE);
}

/* First come, first served: at the end. */
static void link_block(struct block *block)
{
	struct block *b = first_block(block->object);

	block->next = NULL;
	block->linked = true;
	if (!b) {
		set_first(block->object, block);
		return;
	}
	while (b->next)
		b = b->next;
	b->next = block;
}

static void unlink_block(struct block *block)
{
	struct block *b = first_block(block->object);

	if (!block->linked)
		return;
	block->linked = false;
	if (b == block) {
		set_first(block->object, block->next);
		return;
	}
	while (b && b->next != block)
		b = b->next;
	if (b)
		b->next = block->next;
}

/* ---- states of objects; under the lock ---- */

static bool available(const DISPATCHER_HEADER *object, const void *thread)
{
	if (object->Type == OPENKMCL_OBJECT_MUTEX)
		return object->SignalState > 0 ||
		       CONTAINING_RECORD(object, KMUTANT, Header)->OwnerThread == thread;
	return object->SignalState > 0;
}

static void take(DISPATCHER_HEADER *object, const void *thread)
{
	KMUTANT *mutant;

	switch (object->Type) {
	case OPENKMCL_OBJECT_MUTEX:
		mutant = CONTAINING_RECORD(object, KMUTANT, Header);
		mutant->OwnerThread = (PVOID)(uintptr_t)thread;
		mutant->Count++;
		object->SignalState = 0;
		break;
	case OPENKMCL_OBJECT_EVENT_SYNCHRONIZATION:
	case OPENKMCL_OBJECT_TIMER_SYNCHRONIZATION:
		object->SignalState = 0;
		break;
	case OPENKMCL_OBJECT_SEMAPHORE:
		object->SignalState--;
		break;
	default:
		break;
	}
}

/* Sleeps until the word is set. False: the deadline came first. */
static bool wait_woken(_Atomic uint32_t *word, const uint64_t *deadline)
{
	while (!atomic_load_explicit(word, memory_order_acquire)) {
		if (!futex_wait(word, 0, deadline))
			return atomic_load_explicit(word, memory_order_acquire) != 0;
	}
	return true;
}

/* ---- signalling ---- */

/* Under the lock: gives the object to those who wait, in order. Returns those to be woken. */
static struct block *release_waiters(DISPATCHER_HEADER *object)
{
	struct block *wake = NULL, **tail = &wake, *next;

	for (struct block *b = first_block(object); b; b = next) {
		uint32_t none = NOT_YET;

		next = b->next;
		if (!available(object, b->waiter->thread))
			break;
		if (b->waiter->all) {
			/* looks for itself; it cannot go away while we hold this lock */
			atomic_store_explicit(&b->waiter->woken, 1, memory_order_release);
			futex_wake(&b->waiter->woken, 1);
			continue;
		}
		unlink_block(b);
		if (!atomic_compare_exchange_strong(&b->waiter->claim, &none, b->key))
			continue; /* another object or its deadline was first */
		take(object, b->waiter->thread);
		b->next = NULL;
		*tail = b;
		tail = &b->next;
	}
	return wake;
}

/* No lock held. Once woken a waiter may be gone: its word's address is only handed to the kernel.
 */
static void wake_blocks(struct block *b)
{
	while (b) {
		struct block *next = b->next;
		_Atomic uint32_t *word = &b->waiter->woken;

		atomic_store_explicit(word, 1, memory_order_release);
		futex_wake(word, 1);
		b = next;
	}
}

void nt_dispatcher_init(DISPATCHER_HEADER *header, LONG type, LONG state)
{
	header->Type = type;
	header->SignalState = state;
	header->WaitListHead = NULL;
}

LONG nt_dispatcher_signal(DISPATCHER_HEADER *header, LONG count, LONG limit)
{
	struct block *wake;
	LONG old;

	lock_object(header);
	old = header->SignalState;
	if (limit && (count < 0 || old > limit - count)) {
		unlock_object(header);
		return -1;
	}
	header->SignalState = limit ? old + count : count;
	wake = release_waiters(header);
	unlock_object(header);
	wake_blocks(wake);
	return old;
}

static LONG read_state(DISPATCHER_HEADER *header)
{
	LONG state;

	lock_object(header);
	state = header->SignalState;
	unlock_object(header);
	return state;
}

/* ---- waiting for one, or for any ---- */

/* The object that ended the wait has let go of us and may be gone already. */
static void unlink_others(struct block *blocks, uint32_t count, uint32_t winner)
{
	for (uint32_t i = 0; i < count; i++) {
		if (i == winner)
			continue;
		lock_object(blocks[i].object);
		unlink_block(&blocks[i]);
		unlock_object(blocks[i].object);
	}
}

/* Takes the object, or stands in its line. True: the wait is over. */
static bool take_or_link(struct block *b)
{
	uint32_t none = NOT_YET;
	bool over = true;

	lock_object(b->object);
	if (!available(b->object, b->waiter->thread)) {
		link_block(b);
		over = false;
	} else if (atomic_compare_exchange_strong(&b->waiter->claim, &none, b->key)) {
		take(b->object, b->waiter->thread);
		atomic_store_explicit(&b->waiter->woken, 1, memory_order_relaxed);
	} /* else an object before this one has been signalled since: it wakes us */
	unlock_object(b->object);
	return over;
}

static NTSTATUS wait_any(struct block *blocks, uint32_t count, struct waiter *w,
			 const uint64_t *deadline)
{
	uint32_t linked = 0, none = NOT_YET;

	while (linked < count && !take_or_link(&blocks[linked]))
		linked++;
	/* whoever claims the wait wakes it; a deadline is one more that may claim it */
	if (!wait_woken(&w->woken, deadline) &&
	    !atomic_compare_exchange_strong(&w->claim, &none, TIMED_OUT))
		wait_woken(&w->woken, NULL);
	none = atomic_load(&w->claim);
	unlink_others(blocks, linked, none);
	return none == TIMED_OUT ? STATUS_TIMEOUT : STATUS_WAIT_0 + (NTSTATUS)none;
}

/* A wait that does not block needs no line to stand in. */
static NTSTATUS poll_any(const struct block *blocks, uint32_t count, const struct waiter *w)
{
	for (uint32_t i = 0; i < count; i++) {
		bool taken;

		lock_object(blocks[i].object);
		taken = available(blocks[i].object, w->thread);
		if (taken)
			take(blocks[i].object, w->thread);
		unlock_object(blocks[i].object);
		if (taken)
			return STATUS_WAIT_0 + (NTSTATUS)i;
	}
	return STATUS_TIMEOUT;
}

/* ---- waiting for all ---- */

static void lock_all(DISPATCHER_HEADER *const *sorted, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		lock_object(sorted[i]);
}

static void unlock_all(DISPATCHER_HEADER *const *sorted, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		unlock_object(sorted[i]);
}

/* With every lock held: takes all or none. */
static bool take_all(const struct block *blocks, uint32_t count, const struct waiter *w)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!available(blocks[i].object, w->thread))
			return false;
	}
	for (uint32_t i = 0; i < count; i++)
		take(blocks[i].object, w->thread);
	return true;
}

static NTSTATUS wait_all(struct block *blocks, DISPATCHER_HEADER *const *sorted, uint32_t count,
			 struct waiter *w, const uint64_t *deadline, bool poll)
{
	bool last = poll, done;

	for (;;) {
		lock_all(sorted, count);
		atomic_store_explicit(&w->woken, 0, memory_order_relaxed);
		done = take_all(blocks, count, w);
		for (uint32_t i = 0; i < count; i++) {
			if (done || last)
				unlink_block(&blocks[i]);
			else if (!blocks[i].linked)
				link_block(&blocks[i]);
		}
		unlock_all(sorted, count);
		if (done)
			return STATUS_SUCCESS;
		if (last)
			return STATUS_TIMEOUT;
		last = !wait_woken(&w->woken, deadline);
	}
}

/* False: an object is named twice. */
static bool sort_objects(DISPATCHER_HEADER **sorted, const struct block *blocks, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = i;

		for (; at && sorted[at - 1] >= blocks[i].object; at--) {
			if (sorted[at - 1] == blocks[i].object)
				return false;
			sorted[at] = sorted[at - 1];
		}
		sorted[at] = blocks[i].object;
	}
	return true;
}

/* ---- the calls ---- */

static void init_waiter(struct waiter *w, bool all)
{
	atomic_init(&w->claim, NOT_YET);
	atomic_init(&w->woken, 0);
	w->thread = &thread_mark;
	w->all = all;
}

static bool may_wait(const char *function, bool poll)
{
	KIRQL irql = KeGetCurrentIrql();

	if (irql < DISPATCH_LEVEL || (poll && irql == DISPATCH_LEVEL))
		return true;
	nt_violation("wait-at-dispatch", "%s that may block, at IRQL %u", function, irql);
	return false;
}

NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode,
			       BOOLEAN Alertable, PLARGE_INTEGER Timeout)
{
	bool poll = Timeout && Timeout->QuadPart == 0;
	struct waiter w;
	struct block b = {.object = Object, .waiter = &w};
	uint64_t deadline = 0;

	if (!may_wait("KeWaitForSingleObject", poll))
		return STATUS_INVALID_DEVICE_STATE;
	init_waiter(&w, false);
	if (poll)
		return poll_any(&b, 1, &w);
	if (Timeout)
		deadline = nt_deadline(*Timeout);
	return wait_any(&b, 1, &w, Timeout ? &deadline : NULL);
}

NTSTATUS KeWaitForMultipleObjects(ULONG Count, PVOID Object[], WAIT_TYPE WaitType,
				  KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode,
				  BOOLEAN Alertable, PLARGE_INTEGER Timeout,
				  PKWAIT_BLOCK WaitBlockArray)
{
	bool poll = Timeout && Timeout->QuadPart == 0;
	DISPATCHER_HEADER *sorted[MAXIMUM_WAIT_OBJECTS];
	struct block blocks[MAXIMUM_WAIT_OBJECTS];
	uint64_t deadline = 0;
	struct waiter w;

	if (!Count || Count > MAXIMUM_WAIT_OBJECTS ||
	    (Count > THREAD_WAIT_OBJECTS && !WaitBlockArray)) {
		nt_violation("wait-blocks", "KeWaitForMultipleObjects of %u objects %s wait blocks",
			     Count, WaitBlockArray ? "with" : "without");
		return STATUS_INVALID_PARAMETER;
	}
	if (!may_wait("KeWaitForMultipleObjects", poll))
		return STATUS_INVALID_DEVICE_STATE;
	init_waiter(&w, WaitType == WaitAll);
	for (uint32_t i = 0; i < Count; i++)
		blocks[i] = (struct block){.object = Object[i], .waiter = &w, .key = i};
	if (Timeout && !poll)
		deadline = nt_deadline(*Timeout);
	if (WaitType == WaitAny)
		return poll ? poll_any(blocks, Count, &w)
			    : wait_any(blocks, Count, &w, Timeout ? &deadline : NULL);
	if (!sort_objects(sorted, blocks, Count)) {
		nt_violation("wait-objects", "KeWaitForMultipleObjects for all of several objects, "
					     "two of which are the same");
		return STATUS_INVALID_PARAMETER;
	}
	return wait_all(blocks, sorted, Count, &w, Timeout ? &deadline : NULL, poll);
}

NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
				PLARGE_INTEGER Interval)
{
	KEVENT never;

	if (!may_wait("KeDelayExecutionThread", false))
		return STATUS_INVALID_DEVICE_STATE;
	if (!Interval->QuadPart) {
		sched_yield();
		return STATUS_SUCCESS;
	}
	KeInitializeEvent(&never, NotificationEvent, FALSE);
	KeWaitForSingleObject(&never, DelayExecution, WaitMode, Alertable, Interval);
	return STATUS_SUCCESS;
}

/* ---- events, semaphores, mutexes ---- */

VOID KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State)
{
	nt_dispatcher_init(&Event->Header,
			   Type == NotificationEvent ? OPENKMCL_OBJECT_EVENT_NOTIFICATION
						     : OPENKMCL_OBJECT_EVENT_SYNCHRONIZATION,
			   State != FALSE);
}

LONG KeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait)
{
	return nt_dispatcher_signal(&Event->Header, 1, 0);
}

LONG KeResetEvent(PRKEVENT Event)
{
	return nt_dispatcher_signal(&Event->Header, 0, 0);
}

VOID KeClearEvent(PRKEVENT Event)
{
	KeResetEvent(Event);
}

LONG KeReadStateEvent(PRKEVENT Event)
{
	return read_state(&Event->Header);
}

VOID KeInitializeSemaphore(PRKSEMAPHORE Semaphore, LONG Count, LONG Limit)
{
	nt_dispatcher_init(&Semaphore->Header, OPENKMCL_OBJECT_SEMAPHORE, Count);
	Semaphore->Limit = Limit;
}

LONG KeReleaseSemaphore(PRKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment, BOOLEAN Wait)
{
	LONG limit = Semaphore->Limit;
	LONG old = nt_dispatcher_signal(&Semaphore->Header, Adjustment, limit);

	if (old < 0)
		nt_violation("semaphore-limit", "KeReleaseSemaphore by %d over the limit of %d",
			     Adjustment, limit);
	return old;
}

LONG KeReadStateSemaphore(PRKSEMAPHORE Semaphore)
{
	return read_state(&Semaphore->Header);
}

VOID KeInitializeMutex(PRKMUTEX Mutex, ULONG Level)
{
	nt_dispatcher_init(&Mutex->Header, OPENKMCL_OBJECT_MUTEX, 1);
	Mutex->OwnerThread = NULL;
	Mutex->Count = 0;
}

/* 0: free now; else how often it is still held, as a negative number. */
LONG KeReleaseMutex(PRKMUTEX Mutex, BOOLEAN Wait)
{
	struct block *wake = NULL;
	LONG held = 0;
	bool owner;

	lock_object(&Mutex->Header);
	owner = Mutex->OwnerThread == &thread_mark;
	if (owner) {
		held = --Mutex->Count;
		if (!held) {
			Mutex->OwnerThread = NULL;
			Mutex->Header.SignalState = 1;
			wake = release_waiters(&Mutex->Header);
		}
	}
	unlock_object(&Mutex->Header);
	wake_blocks(wake);
	if (!owner)
		nt_violation("mutex-owner", "KeReleaseMutex by a thread that does not own it");
	return -held;
}

LONG KeReadStateMutex(PRKMUTEX Mutex)
{
	return read_state(&Mutex->Header);
}
