/* SPDX-License-Identifier: MIT */
/*
 * Handles and system threads. A handle is a slot and the slot's generation: what is not a live
 * handle of the right type is refused, never followed.
 */
#include "nt/internal.h"

#include <stdlib.h>

#define SLOTS      65536u
#define SLOT_SHIFT 2 /* the two lowest bits of a handle are 0, as on Windows */

struct slot {
	const struct nt_handle_type *type; /* NULL: free */
	void *object;
	uint32_t generation;
	uint32_t next_free; /* slot + 1 */
};

static struct {
	struct spin_lock lock;
	struct slot *slots;
	uint32_t used;
	uint32_t free; /* slot + 1 */
} table;

static HANDLE handle_of(uint32_t slot)
{
	return (HANDLE)((uintptr_t)table.slots[slot].generation << 20 | (uintptr_t)(slot + 1)
										<< SLOT_SHIFT);
}

/* Under table.lock. */
static struct slot *find(HANDLE handle)
{
	uintptr_t value = (uintptr_t)handle;
	uint32_t slot = (uint32_t)((value & 0xfffff) >> SLOT_SHIFT);

	if (!slot || slot > table.used || handle_of(slot - 1) != handle ||
	    !table.slots[slot - 1].type)
		return NULL;
	return &table.slots[slot - 1];
}

/* Under table.lock. NULL: no room. */
static struct slot *take_slot(void)
{
	struct slot *s;

	if (table.free) {
		s = &table.slots[table.free - 1];
		table.free = s->next_free;
		return s;
	}
	if (!table.slots)
		table.slots = calloc(SLOTS, sizeof(*table.slots));
	return table.slots && table.used < SLOTS - 1 ? &table.slots[table.used++] : NULL;
}

NTSTATUS nt_handle_create(const struct nt_handle_type *type, void *object, HANDLE *handle)
{
	struct slot *s;

	spin_lock(&table.lock);
	s = take_slot();
	if (s) {
		s->generation = (s->generation + 1) & 0xfffffff;
		s->type = type;
		s->object = object;
		type->reference(object);
		*handle = handle_of((uint32_t)(s - table.slots));
	}
	spin_unlock(&table.lock);
	return s ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

void *nt_handle_reference(HANDLE handle, const struct nt_handle_type *type)
{
	void *object = NULL;
	struct slot *s;

	spin_lock(&table.lock);
	s = find(handle);
	if (s && s->type == type) {
		object = s->object;
		type->reference(object);
	}
	spin_unlock(&table.lock);
	return object;
}

NTSTATUS ZwClose(HANDLE Handle)
{
	const struct nt_handle_type *type = NULL;
	void *object = NULL;
	struct slot *s;

	spin_lock(&table.lock);
	s = find(Handle);
	if (s) {
		type = s->type;
		object = s->object;
		s->type = NULL;
		s->object = NULL;
		s->next_free = table.free;
		table.free = (uint32_t)(s - table.slots) + 1;
	}
	spin_unlock(&table.lock);
	if (!type)
		return STATUS_INVALID_HANDLE;
	type->dereference(object);
	return STATUS_SUCCESS;
}

/* ---- threads ---- */

struct _KTHREAD {
	DISPATCHER_HEADER header;
	atomic_int references;
	struct nt_driver *driver;
	PKSTART_ROUTINE start;
	PVOID context;
};

static NT_TLS struct _KTHREAD *current_thread;
static NT_TLS char thread_name; /* stands for threads that are not system threads */

static void thread_reference(void *object)
{
	atomic_fetch_add(&((struct _KTHREAD *)object)->references, 1);
}

static void thread_dereference(void *object)
{
	if (atomic_fetch_sub(&((struct _KTHREAD *)object)->references, 1) == 1)
		free(object);
}

static const struct nt_handle_type thread_type = {
	.name = "thread",
	.reference = thread_reference,
	.dereference = thread_dereference,
};

struct _OBJECT_TYPE {
	const struct nt_handle_type *type;
};
static struct _OBJECT_TYPE thread_object_type = {&thread_type};
static POBJECT_TYPE thread_object_type_pointer = &thread_object_type;
POBJECT_TYPE *PsThreadType = &thread_object_type_pointer;

static void thread_ended(void *arg)
{
	struct _KTHREAD *thread = arg;

	current_thread = NULL;
	nt_driver_leave(NULL);
	nt_dispatcher_signal(&thread->header, 1, 0);
	thread_dereference(thread);
}

static void *thread_run(void *arg)
{
	struct _KTHREAD *thread = arg;

	pthread_cleanup_push(thread_ended, thread);
	current_thread = thread;
	nt_driver_enter(thread->driver);
	thread->start(thread->context);
	pthread_cleanup_pop(1);
	return NULL;
}

static bool start_thread(struct _KTHREAD *thread)
{
	pthread_attr_t attr;
	pthread_t id;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&id, &attr, thread_run, thread);
	pthread_attr_destroy(&attr);
	return error == 0;
}

NTSTATUS PsCreateSystemThread(PHANDLE ThreadHandle, ULONG DesiredAccess,
			      POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ProcessHandle,
			      PCLIENT_ID ClientId, PKSTART_ROUTINE StartRoutine, PVOID StartContext)
{
	struct _KTHREAD *thread = calloc(1, sizeof(*thread));
	NTSTATUS status;

	if (!thread)
		return STATUS_INSUFFICIENT_RESOURCES;
	nt_dispatcher_init(&thread->header, OPENKMCL_OBJECT_THREAD, 0);
	atomic_init(&thread->references, 1);
	thread->driver = nt_driver_current();
	thread->start = StartRoutine;
	thread->context = StartContext;
	status = nt_handle_create(&thread_type, thread, ThreadHandle);
	if (!NT_SUCCESS(status)) {
		free(thread);
		return status;
	}
	if (start_thread(thread))
		return STATUS_SUCCESS;
	ZwClose(*ThreadHandle);
	thread_dereference(thread);
	return STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS PsTerminateSystemThread(NTSTATUS ExitStatus)
{
	if (!current_thread) {
		nt_violation(
			"not-a-system-thread",
			"PsTerminateSystemThread in a thread that PsCreateSystemThread did not "
			"make");
		return STATUS_INVALID_PARAMETER;
	}
	pthread_exit(NULL);
}

PKTHREAD KeGetCurrentThread(VOID)
{
	return current_thread ? current_thread : (PKTHREAD)(void *)&thread_name;
}

NTSTATUS ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK DesiredAccess,
				   POBJECT_TYPE ObjectType, KPROCESSOR_MODE AccessMode,
				   PVOID *Object, PVOID HandleInformation)
{
	void *object;

	if (ObjectType && ObjectType != &thread_object_type)
		return STATUS_OBJECT_TYPE_MISMATCH;
	object = nt_handle_reference(Handle, &thread_type);
	if (!object)
		return STATUS_INVALID_HANDLE;
	*Object = object;
	return STATUS_SUCCESS;
}

/* Only threads can be referenced by pointer: no other object leaves here. */
LONG_PTR ObfReferenceObject(PVOID Object)
{
	thread_reference(Object);
	return 1;
}

LONG_PTR ObfDereferenceObject(PVOID Object)
{
	thread_dereference(Object);
	return 0;
}
