/* SPDX-License-Identifier: MIT */
/*
 * Objects of the driver framework: the tree, contexts, references, deletion.
 *
 * Deletion has two halves. Cleaning up goes from the leaves to the root, with the tree in place, so
 * that a callback may still use what is above it; destruction takes the tree apart.
 */
#include "nt/wdf.h"

#include <stdlib.h>

static const char *const type_names[WDF_TYPES] = {
	"WDFOBJECT",   "WDFDRIVER",    "WDFDEVICE", "WDFQUEUE",      "WDFREQUEST",   "WDFIOTARGET",
	"WDFMEMORY",   "WDFLOOKASIDE", "WDFSTRING", "WDFCOLLECTION", "WDFKEY",       "WDFSPINLOCK",
	"WDFWAITLOCK", "WDFWORKITEM",  "WDFTIMER",  "WDFDPC",        "WDFCMRESLIST",
};

void wdf_lock(struct wdf_driver *driver)
{
	pthread_mutex_lock(&driver->lock);
}

void wdf_unlock(struct wdf_driver *driver)
{
	pthread_mutex_unlock(&driver->lock);
}

/* ---- handles ---- */

struct wdf_object *wdf_any(const void *handle, const char *function)
{
	struct wdf_object *object = (struct wdf_object *)(uintptr_t)handle;

	if (object && object->magic == WDF_MAGIC)
		return object;
	nt_violation("wdf-handle", "%s: %p is not the handle of an object", function, handle);
	return NULL;
}

void *wdf_of(const void *handle, enum wdf_type type, const char *function)
{
	struct wdf_object *object = wdf_any(handle, function);

	if (!object || object->type == type)
		return object;
	nt_violation("wdf-handle", "%s: %p is a %s and not a %s", function, handle,
		     type_names[object->type], type_names[type]);
	return NULL;
}

struct wdf_driver *wdf_current(const char *function)
{
	struct nt_driver *nt = nt_driver_current();

	if (nt && nt->wdf)
		return nt->wdf;
	nt_violation("wdf-driver", "%s: the driver has no driver object (WdfDriverCreate)",
		     function);
	return NULL;
}

bool wdf_size_is(ULONG size, size_t expected)
{
	return size == expected;
}

void *wdf_ancestor(struct wdf_object *object, enum wdf_type type)
{
	while (object && object->type != type)
		object = object->parent;
	return object;
}

/* ---- contexts ---- */

static NTSTATUS check_attributes(const WDF_OBJECT_ATTRIBUTES *a, unsigned int flags)
{
	if (!a)
		return STATUS_SUCCESS;
	if (!wdf_size_is(a->Size, sizeof(*a)))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (a->ContextTypeInfo && a->ContextTypeInfo->Size != sizeof(*a->ContextTypeInfo))
		return STATUS_INFO_LENGTH_MISMATCH;
	if (a->ContextSizeOverride &&
	    (!a->ContextTypeInfo || a->ContextSizeOverride < a->ContextTypeInfo->ContextSize))
		return STATUS_WDF_OBJECT_ATTRIBUTES_INVALID;
	if (a->ExecutionLevel < WdfExecutionLevelInheritFromParent ||
	    a->ExecutionLevel > WdfExecutionLevelDispatch)
		return STATUS_WDF_EXECUTION_LEVEL_INVALID;
	if (a->SynchronizationScope < WdfSynchronizationScopeInheritFromParent ||
	    a->SynchronizationScope > WdfSynchronizationScopeNone)
		return STATUS_WDF_SYNCHRONIZATION_SCOPE_INVALID;
	if (a->ParentObject && !(flags & WDF_MAY_NAME_PARENT))
		return STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED;
	return STATUS_SUCCESS;
}

static struct wdf_context *new_context(struct wdf_object *object, const WDF_OBJECT_ATTRIBUTES *a)
{
	size_t size = 0;
	struct wdf_context *context;

	if (a->ContextTypeInfo)
		size = a->ContextSizeOverride ? a->ContextSizeOverride
					      : a->ContextTypeInfo->ContextSize;
	if (size > SIZE_MAX / 2)
		return NULL;
	context = nt_pool_alloc_private(sizeof(*context) + size, object->driver->tag);
	if (!context)
		return NULL;
	context->object = object;
	context->type = a->ContextTypeInfo;
	context->cleanup = a->EvtCleanupCallback;
	context->destroy = a->EvtDestroyCallback;
	return context;
}

static struct wdf_context *find_context(const struct wdf_object *object,
					PCWDF_OBJECT_CONTEXT_TYPE_INFO type)
{
	struct wdf_context *c = __atomic_load_n(&object->contexts, __ATOMIC_ACQUIRE);

	while (c && c->type != type)
		c = __atomic_load_n(&c->next, __ATOMIC_ACQUIRE);
	return c;
}

/* Contexts are only ever added, and readers take no lock: any IRQL. */
static void add_context(struct wdf_object *object, struct wdf_context *context)
{
	struct wdf_context **p = &object->contexts;

	while (*p)
		p = &(*p)->next;
	__atomic_store_n(p, context, __ATOMIC_RELEASE);
}

PVOID WdfObjectGetTypedContextWorker(WDFOBJECT Handle, PCWDF_OBJECT_CONTEXT_TYPE_INFO TypeInfo)
{
	struct wdf_object *object = wdf_any(Handle, "WdfObjectGetTypedContext");
	struct wdf_context *context = object ? find_context(object, TypeInfo) : NULL;

	return context ? context->data : NULL;
}

WDFOBJECT WdfObjectContextGetObject(PVOID ContextPointer)
{
	return CONTAINING_RECORD(ContextPointer, struct wdf_context, data)->object;
}

NTSTATUS WdfObjectAllocateContext(WDFOBJECT Handle, PWDF_OBJECT_ATTRIBUTES ContextAttributes,
				  PVOID *Context)
{
	struct wdf_object *object = wdf_any(Handle, "WdfObjectAllocateContext");
	struct wdf_context *context, *old = NULL;
	NTSTATUS status;

	if (!object || !ContextAttributes)
		return STATUS_INVALID_PARAMETER;
	status = check_attributes(ContextAttributes, 0);
	if (!NT_SUCCESS(status))
		return status;
	if (!ContextAttributes->ContextTypeInfo)
		return STATUS_OBJECT_NAME_INVALID;
	context = new_context(object, ContextAttributes);
	if (!context)
		return STATUS_INSUFFICIENT_RESOURCES;
	wdf_lock(object->driver);
	if (object->life != WDF_LIVE)
		status = STATUS_DELETE_PENDING;
	else if ((old = find_context(object, context->type)))
		status = STATUS_OBJECT_NAME_EXISTS;
	else
		add_context(object, context);
	wdf_unlock(object->driver);
	if (status != STATUS_SUCCESS) {
		ExFreePool(context);
		context = old;
	}
	if (Context && context)
		*Context = context->data;
	return status;
}

/* ---- creation ---- */

static void inherit(struct wdf_object *object, const WDF_OBJECT_ATTRIBUTES *a,
		    const struct wdf_object *parent)
{
	object->level = a ? a->ExecutionLevel : WdfExecutionLevelInheritFromParent;
	object->scope = a ? a->SynchronizationScope : WdfSynchronizationScopeInheritFromParent;
	if (object->level == WdfExecutionLevelInheritFromParent)
		object->level = parent ? parent->level : WdfExecutionLevelDispatch;
	if (object->scope == WdfSynchronizationScopeInheritFromParent)
		object->scope = parent ? parent->scope : WdfSynchronizationScopeNone;
}

NTSTATUS wdf_create(struct wdf_driver *driver, enum wdf_type type, size_t size,
		    const WDF_OBJECT_ATTRIBUTES *attributes, struct wdf_object *parent,
		    unsigned int flags, void *result)
{
	NTSTATUS status = check_attributes(attributes, flags);
	struct wdf_object *object;

	if (!NT_SUCCESS(status))
		return status;
	if (attributes && attributes->ParentObject) {
		parent = wdf_any(attributes->ParentObject, "ParentObject");
		if (!parent)
			return STATUS_INVALID_PARAMETER;
	}
	object = nt_pool_alloc_private(size, driver ? driver->tag : WDF_TAG);
	if (!object)
		return STATUS_INSUFFICIENT_RESOURCES;
	object->magic = WDF_MAGIC;
	object->type = type;
	object->driver = driver ? driver : (struct wdf_driver *)(PVOID)object;
	atomic_init(&object->references, 1);
	object->parent = parent;
	object->passive = (flags & WDF_PASSIVE) != 0;
	object->kept = (flags & WDF_KEPT) != 0;
	inherit(object, attributes, parent);
	if (object->level == WdfExecutionLevelPassive)
		object->passive = true;
	if (attributes && (attributes->ContextTypeInfo || attributes->EvtCleanupCallback ||
			   attributes->EvtDestroyCallback)) {
		if (!driver)
			object->driver->tag = WDF_TAG;
		object->contexts = new_context(object, attributes);
		if (!object->contexts) {
			wdf_discard(object);
			return STATUS_INSUFFICIENT_RESOURCES;
		}
	}
	*(void **)result = object;
	return STATUS_SUCCESS;
}

void wdf_discard(void *object)
{
	struct wdf_object *o = object;
	struct wdf_context *context;

	while ((context = o->contexts)) {
		o->contexts = context->next;
		ExFreePool(context);
	}
	o->magic = 0;
	ExFreePool(o);
}

NTSTATUS wdf_link(void *object)
{
	struct wdf_object *o = object, *parent = o->parent;
	NTSTATUS status = STATUS_SUCCESS;

	if (!parent)
		return STATUS_SUCCESS;
	wdf_lock(o->driver);
	if (parent->life != WDF_LIVE) {
		status = STATUS_DELETE_PENDING;
	} else {
		o->previous = parent->last;
		if (parent->last)
			parent->last->next = o;
		else
			parent->first = o;
		parent->last = o;
	}
	wdf_unlock(o->driver);
	return status;
}

NTSTATUS wdf_finish(void *object, void *handle)
{
	struct wdf_object *o = object;
	NTSTATUS status = wdf_link(o);

	if (NT_SUCCESS(status)) {
		*(void **)handle = o;
		return status;
	}
	if (o->destroy)
		o->destroy(o);
	wdf_discard(o);
	return status;
}

/* ---- references ---- */

void wdf_reference(void *object)
{
	atomic_fetch_add(&((struct wdf_object *)object)->references, 1);
}

void wdf_release(void *object)
{
	struct wdf_object *o = object;

	if (atomic_fetch_sub(&o->references, 1) != 1)
		return;
	for (struct wdf_context *c = o->contexts; c; c = c->next) {
		if (c->destroy)
			c->destroy(o);
	}
	if (o->destroy)
		o->destroy(o);
	wdf_discard(o);
}

VOID WdfObjectReferenceActual(WDFOBJECT Handle, PVOID Tag, LONG Line, PCCH File)
{
	struct wdf_object *object = wdf_any(Handle, "WdfObjectReference");

	if (object)
		wdf_reference(object);
}

VOID WdfObjectDereferenceActual(WDFOBJECT Handle, PVOID Tag, LONG Line, PCCH File)
{
	struct wdf_object *object = wdf_any(Handle, "WdfObjectDereference");

	if (!object)
		return;
	if (atomic_load(&object->references) == 1 && object->life == WDF_LIVE) {
		nt_violation("wdf-reference",
			     "%s:%d: WdfObjectDereference without a reference of a %s", File, Line,
			     type_names[object->type]);
		return;
	}
	wdf_release(object);
}

/* ---- deletion ---- */

/* Under the driver's lock. */
static void unlink_object(struct wdf_object *o)
{
	struct wdf_object *parent = o->parent;

	if (!parent)
		return;
	if (o->previous)
		o->previous->next = o->next;
	else
		parent->first = o->next;
	if (o->next)
		o->next->previous = o->previous;
	else
		parent->last = o->previous;
	o->next = o->previous = NULL;
	o->parent = NULL;
}

static struct wdf_object *next_live_child(struct wdf_object *o)
{
	struct wdf_object *child;

	wdf_lock(o->driver);
	for (child = o->first; child && child->life != WDF_LIVE; child = child->next)
		;
	if (child) {
		child->life = WDF_CLEANING;
		wdf_reference(child);
	}
	wdf_unlock(o->driver);
	return child;
}

/* The object is WDF_CLEANING, by the caller. */
static void clean_tree(struct wdf_object *o)
{
	struct wdf_object *child;

	while ((child = next_live_child(o))) {
		clean_tree(child);
		wdf_release(child);
	}
	if (o->dispose)
		o->dispose(o);
	for (struct wdf_context *c = o->contexts; c; c = c->next) {
		if (c->cleanup)
			c->cleanup(o);
	}
	wdf_lock(o->driver);
	o->life = WDF_CLEANED;
	pthread_cond_broadcast(&o->driver->changed);
	wdf_unlock(o->driver);
}

bool wdf_clean(void *object)
{
	struct wdf_object *o = object;
	bool mine;

	wdf_lock(o->driver);
	mine = o->life == WDF_LIVE;
	if (mine)
		o->life = WDF_CLEANING;
	wdf_unlock(o->driver);
	if (mine)
		clean_tree(o);
	return mine;
}

static struct wdf_object *pop_child(struct wdf_object *o)
{
	struct wdf_object *child;

	wdf_lock(o->driver);
	child = o->first;
	if (child)
		unlink_object(child);
	wdf_unlock(o->driver);
	return child;
}

void wdf_dispose_of(void *object)
{
	struct wdf_object *o = object, *child;
	struct wdf_driver *driver = o->driver;

	wdf_lock(driver);
	unlink_object(o);
	wdf_unlock(driver);
	while ((child = pop_child(o)))
		wdf_dispose_of(child);
	wdf_release(o);
}

void wdf_delete(void *object)
{
	if (wdf_clean(object))
		wdf_dispose_of(object);
}

/* Under the driver's lock. */
static bool needs_passive(const struct wdf_object *o)
{
	if (o->passive)
		return true;
	for (const struct wdf_object *child = o->first; child; child = child->next) {
		if (child->life == WDF_LIVE && needs_passive(child))
			return true;
	}
	return false;
}

static void delete_later(struct nt_job *job)
{
	struct wdf_object *o = CONTAINING_RECORD(job, struct wdf_object, deletion);
	struct nt_driver *nt = o->driver->nt;
	struct nt_driver *previous = nt_driver_enter(nt);

	clean_tree(o);
	wdf_dispose_of(o);
	nt_driver_leave(previous);
	atomic_fetch_sub(&nt->work_items, 1);
}

/* An object that its parent's deletion has cleaned up, and that its owner deletes now. */
static bool take_cleaned(struct wdf_object *o)
{
	bool child;

	wdf_lock(o->driver);
	child = o->life == WDF_CLEANED && o->parent;
	if (child)
		unlink_object(o);
	wdf_unlock(o->driver);
	return child;
}

VOID WdfObjectDelete(WDFOBJECT Object)
{
	struct wdf_object *o = wdf_any(Object, "WdfObjectDelete");
	bool mine, later, twice;

	if (!o)
		return;
	if (o->kept) {
		nt_violation("wdf-delete", "WdfObjectDelete of a %s that the framework deletes",
			     type_names[o->type]);
		return;
	}
	wdf_lock(o->driver);
	mine = o->life == WDF_LIVE;
	later = mine && KeGetCurrentIrql() > PASSIVE_LEVEL && needs_passive(o);
	/* one that is being cleaned up as some parent's child goes with that */
	twice = o->life == WDF_CLEANED && !o->parent;
	if (mine)
		o->life = WDF_CLEANING;
	wdf_unlock(o->driver);
	if (!mine) {
		if (take_cleaned(o))
			wdf_dispose_of(o);
		else if (twice)
			nt_violation("wdf-delete", "WdfObjectDelete of a %s that is being deleted",
				     type_names[o->type]);
		return;
	}
	if (later) {
		o->deletion.run = delete_later;
		atomic_fetch_add(&o->driver->nt->work_items, 1);
		nt_pool_submit(&o->deletion);
		return;
	}
	clean_tree(o);
	wdf_dispose_of(o);
}

NTSTATUS WdfObjectCreate(PWDF_OBJECT_ATTRIBUTES Attributes, WDFOBJECT *Object)
{
	struct wdf_driver *driver = wdf_current("WdfObjectCreate");
	struct wdf_object *object;
	NTSTATUS status;

	if (!driver || !Object)
		return STATUS_INVALID_PARAMETER;
	status = wdf_create(driver, WDF_OBJECT, sizeof(*object), Attributes, &driver->object,
			    WDF_MAY_NAME_PARENT, &object);
	return NT_SUCCESS(status) ? wdf_finish(object, Object) : status;
}

/* ---- presentation locks ---- */

void wdf_presentation_init(struct wdf_presentation *p, bool passive)
{
	p->passive = passive;
	KeInitializeMutex(&p->mutex, 0);
	KeInitializeSpinLock(&p->spin);
}

bool wdf_present_mine(const struct wdf_presentation *p)
{
	return atomic_load(&p->owner) == (void *)KeGetCurrentThread();
}

void wdf_present_begin(struct wdf_presentation *p)
{
	KIRQL irql;

	if (!p)
		return;
	if (p->passive) {
		KeWaitForSingleObject(&p->mutex, Executive, KernelMode, FALSE, NULL);
	} else {
		KeAcquireSpinLock(&p->spin, &irql);
		p->irql = irql;
	}
	atomic_store(&p->owner, (void *)KeGetCurrentThread());
}

void wdf_present_end(struct wdf_presentation *p)
{
	if (!p)
		return;
	atomic_store(&p->owner, NULL);
	if (p->passive)
		KeReleaseMutex(&p->mutex, FALSE);
	else
		KeReleaseSpinLock(&p->spin, p->irql);
}

static struct wdf_presentation *presentation_of(struct wdf_object *object)
{
	if (object->type == WDF_QUEUE)
		return ((struct wdf_queue *)(PVOID)object)->presentation;
	return object->scope == WdfSynchronizationScopeDevice
		       ? &((struct wdf_device *)(PVOID)object)->presentation
		       : NULL;
}

struct wdf_presentation *wdf_serialization(struct wdf_object *object)
{
	while (object && object->type != WDF_QUEUE && object->type != WDF_DEVICE)
		object = object->parent;
	return object ? presentation_of(object) : NULL;
}

/* A device that is not synchronised has a lock all the same. */
static struct wdf_presentation *lock_of(WDFOBJECT handle, const char *function)
{
	struct wdf_object *object = wdf_any(handle, function);
	struct wdf_presentation *p;

	if (!object)
		return NULL;
	if (object->type == WDF_DEVICE)
		return &((struct wdf_device *)(PVOID)object)->presentation;
	p = object->type == WDF_QUEUE ? presentation_of(object) : NULL;
	if (!p)
		nt_violation("wdf-lock", "%s: a %s without synchronisation", function,
			     type_names[object->type]);
	return p;
}

VOID WdfObjectAcquireLock(WDFOBJECT Object)
{
	struct wdf_presentation *p = lock_of(Object, "WdfObjectAcquireLock");

	if (p && wdf_present_mine(p))
		nt_violation("wdf-lock", "WdfObjectAcquireLock by the thread that holds the lock");
	else
		wdf_present_begin(p);
}

VOID WdfObjectReleaseLock(WDFOBJECT Object)
{
	struct wdf_presentation *p = lock_of(Object, "WdfObjectReleaseLock");

	if (p && !wdf_present_mine(p))
		nt_violation("wdf-lock", "WdfObjectReleaseLock by a thread that does not hold it");
	else
		wdf_present_end(p);
}
