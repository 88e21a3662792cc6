/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What the files of the driver framework share. All its state is under the driver's lock; callbacks
 * of a driver run without it.
 */
#ifndef NT_WDF_H
#define NT_WDF_H

#include <wdf.h>

#include "nt/internal.h"

#define WDF_TAG   0x66646657u /* "Wfdf" */
#define WDF_MAGIC 0x4b4d4446u

enum wdf_type {
	WDF_OBJECT,
	WDF_DRIVER,
	WDF_DEVICE,
	WDF_QUEUE,
	WDF_REQUEST,
	WDF_TARGET,
	WDF_MEMORY,
	WDF_LOOKASIDE,
	WDF_STRING,
	WDF_COLLECTION,
	WDF_KEY,
	WDF_SPINLOCK,
	WDF_WAITLOCK,
	WDF_WORKITEM,
	WDF_TIMER,
	WDF_DPC,
	WDF_RESOURCES,
	WDF_TYPES
};

enum wdf_life {
	WDF_LIVE,
	WDF_CLEANING, /* its children and it are being cleaned up */
	WDF_CLEANED,
};

struct wdf_context {
	struct wdf_context *next;
	struct wdf_object *object;
	PCWDF_OBJECT_CONTEXT_TYPE_INFO type; /* NULL: callbacks alone */
	PFN_WDF_OBJECT_CONTEXT_CLEANUP cleanup;
	PFN_WDF_OBJECT_CONTEXT_DESTROY destroy;
	_Alignas(16) unsigned char data[];
};

struct wdf_object {
	uint32_t magic;
	enum wdf_type type;
	atomic_int references; /* the creation's is one */
	struct wdf_driver *driver;
	enum wdf_life life;
	bool passive; /* is cleaned up at PASSIVE_LEVEL */
	bool kept;    /* WdfObjectDelete is not allowed */
	WDF_EXECUTION_LEVEL level;
	WDF_SYNCHRONIZATION_SCOPE scope;
	struct wdf_object *parent, *next, *previous;
	struct wdf_object *first, *last; /* children, oldest first */
	struct wdf_context *contexts;
	void (*dispose)(struct wdf_object *object); /* before the cleanup callbacks */
	void (*destroy)(struct wdf_object *object); /* after the destroy callbacks */
	struct nt_job deletion;
};

/** The lock that callbacks of a device or a queue are presented under. */
struct wdf_presentation {
	bool passive;
	KMUTEX mutex;
	KSPIN_LOCK spin;
	KIRQL irql;
	_Atomic(void *) owner; /* thread */
};

struct wdf_driver {
	struct wdf_object object;
	struct nt_driver *nt;
	WDF_DRIVER_CONFIG config;
	ULONG tag;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

enum wdf_self_managed {
	WDF_SM_CREATED,
	WDF_SM_INIT_FAILED,
	WDF_SM_STARTED,
	WDF_SM_STOPPED,
	WDF_SM_FAILED,
	WDF_SM_FLUSHED,
	WDF_SM_FINAL,
};

enum wdf_pnp {
	WDF_PNP_CREATED,
	WDF_PNP_STARTED,
	WDF_PNP_STOPPED,
	WDF_PNP_FAILED,
};

struct WDFDEVICE_INIT {
	struct wdf_driver *driver;
	PDEVICE_OBJECT pdo;
	struct wdf_device *device; /* made from it */
	WDF_PNPPOWER_EVENT_CALLBACKS callbacks;
	WDF_OBJECT_ATTRIBUTES request_attributes;
	WDF_DEVICE_IO_TYPE io_type;
	DEVICE_TYPE type;
	ULONG characteristics;
	UNICODE_STRING name; /* of the pool */
	bool exclusive, filter, power_pageable;
	WDF_TRI_STATE power_policy_owner;
	PFN_WDFDEVICE_WDM_IRP_PREPROCESS preprocess[IRP_MJ_MAXIMUM_FUNCTION + 1];
	uint64_t preprocess_minors[IRP_MJ_MAXIMUM_FUNCTION + 1]; /* bit a minor function */
};

struct wdf_interface {
	struct wdf_interface *next;
	GUID class_guid;
	UNICODE_STRING reference;
	bool enabled;
};

struct wdf_device {
	struct wdf_object object;
	struct wdf_presentation presentation;
	PDEVICE_OBJECT self, lower, pdo;
	struct WDFDEVICE_INIT init; /* what it was made from */
	enum wdf_pnp pnp;
	enum wdf_self_managed self_managed;
	bool working; /* power-managed queues run */
	bool not_stoppable;
	struct wdf_target *target;
	struct wdf_resources *resources;
	struct wdf_queue *default_queue;
	struct wdf_queue *by_type[IRP_MJ_MAXIMUM_FUNCTION + 1];
	struct wdf_interface *interfaces;
};

/** What a device object of the framework leads to. */
struct wdf_extension {
	struct wdf_device *device; /* under the driver's lock; NULL: it is gone */
};

enum wdf_request_state {
	WDF_REQUEST_QUEUED,
	WDF_REQUEST_OWNED, /* by the driver */
	WDF_REQUEST_SENT,
	WDF_REQUEST_COMPLETED,
};

struct wdf_request {
	struct wdf_object object;
	enum wdf_request_state state;
	LIST_ENTRY link; /* of the queue, in one of its lists */
	struct wdf_queue *queue;
	struct wdf_device *device;
	PIRP irp;
	bool presented;    /* the driver has seen it */
	bool acknowledged; /* kept over a stop */
	bool stopping;     /* EvtIoStop has been called and not answered */
	PFN_WDF_REQUEST_CANCEL cancel;
	bool cancelled; /* the callback has been taken to be called */
	/* buffers made on demand: 0 input, 1 output */
	struct wdf_memory *memory[2];
	PMDL mdl[2];
	/* sent on */
	struct wdf_target *target;
	bool formatted;
	PFN_WDF_REQUEST_COMPLETION_ROUTINE routine;
	WDFCONTEXT routine_context;
	PKEVENT back;
	NTSTATUS status;
	WDF_REQUEST_COMPLETION_PARAMS params;
};

struct wdf_queue {
	struct wdf_object object;
	struct wdf_device *device;
	WDF_IO_QUEUE_CONFIG config;
	struct wdf_presentation own;
	struct wdf_presentation *presentation; /* NULL: none */
	bool managed, accepts, dispatches;
	bool purged; /* nothing comes back into it either */
	LIST_ENTRY queued, owned;
	ULONG queued_count, owned_count;
	PFN_WDF_IO_QUEUE_STATE stopped, emptied, ready;
	WDFCONTEXT stopped_context, emptied_context, ready_context;
	struct nt_job job;
	bool job_posted;
};

struct wdf_target {
	struct wdf_object object;
	struct wdf_device *device;
	PDEVICE_OBJECT to; /* NULL: closed */
	bool local;
	unsigned int sent;
};

struct wdf_memory {
	struct wdf_object object;
	PVOID buffer;
	size_t size;
	bool owned; /* freed with the object */
	bool preallocated;
	struct wdf_lookaside *lookaside;
};

struct wdf_string {
	struct wdf_object object;
	UNICODE_STRING text; /* of the pool, terminated */
};

/* ---- wdf_object.c ---- */
/** The object behind a handle if it is of that type; else a contract violation and NULL. */
void *wdf_of(const void *handle, enum wdf_type type, const char *function);
struct wdf_object *wdf_any(const void *handle, const char *function);
/** A framework's driver for the calling thread's; a violation and NULL when there is none. */
struct wdf_driver *wdf_current(const char *function);

enum {
	WDF_MAY_NAME_PARENT = 1,
	WDF_PASSIVE = 2, /* cleaned up at PASSIVE_LEVEL */
	WDF_KEPT = 4,
};
/** A zeroed object of `size` bytes with the context that the attributes ask for, a child of
 * `parent` or of the one that they name. Not live for others until wdf_link. */
NTSTATUS wdf_create(struct wdf_driver *driver, enum wdf_type type, size_t size,
		    const WDF_OBJECT_ATTRIBUTES *attributes, struct wdf_object *parent,
		    unsigned int flags, void *object);
/** Joins its parent's children. STATUS_DELETE_PENDING: the parent goes away. */
NTSTATUS wdf_link(void *object);
/** wdf_link; on failure the object is freed without callbacks. */
NTSTATUS wdf_finish(void *object, void *handle);
/** Of an object that was never linked. */
void wdf_discard(void *object);
/** Cleans the object and its children up, destroys the children and gives the creation's reference
 * back. PASSIVE_LEVEL if `passive`. */
void wdf_delete(void *object);
/** The first half alone. False: somebody else does. */
bool wdf_clean(void *object);
/** The second. */
void wdf_dispose_of(void *object);
void wdf_reference(void *object);
void wdf_release(void *object);
void wdf_lock(struct wdf_driver *driver);
void wdf_unlock(struct wdf_driver *driver);
/** The nearest ancestor (or the object itself) of that type; NULL. */
void *wdf_ancestor(struct wdf_object *object, enum wdf_type type);
bool wdf_size_is(ULONG size, size_t expected);

void wdf_presentation_init(struct wdf_presentation *p, bool passive);
void wdf_present_begin(struct wdf_presentation *p);
void wdf_present_end(struct wdf_presentation *p);
bool wdf_present_mine(const struct wdf_presentation *p);
/** Lock that serialises callbacks of an object below a device or queue; NULL: none. */
struct wdf_presentation *wdf_serialization(struct wdf_object *object);
bool wdf_copy_string(UNICODE_STRING *to, PCUNICODE_STRING from);
NTSTATUS wdf_string_set(struct wdf_string *string, PCUNICODE_STRING text);

/* ---- wdf_device.c, wdf_pnp.c ---- */
void wdf_device_init_clear(struct WDFDEVICE_INIT *init);
/** Undoes WdfDeviceCreate, with the cleanup callbacks. */
void wdf_device_delete(struct wdf_device *device);
void wdf_interfaces_enable(struct wdf_device *device, bool enabled);
DRIVER_DISPATCH wdf_dispatch;
NTSTATUS wdf_pnp_dispatch(struct wdf_device *device, PIRP irp);
NTSTATUS wdf_pass_down(struct wdf_device *device, PIRP irp);

/* ---- wdf_present.c ---- */
NTSTATUS wdf_queue_insert(struct wdf_device *device, PIRP irp);
/** Presents what may be presented, then tells whoever waits for a state. */
void wdf_queue_run(struct wdf_queue *queue);
/** Under the driver's lock: the request leaves the queue's lists. */
void wdf_queue_remove(struct wdf_request *request);
/** A request that was in the queue, and is in no list, has been cancelled. */
void wdf_queue_cancelled(struct wdf_queue *queue, struct wdf_request *request);
/** Calls back who waits for a state that the queue has reached. */
void wdf_queue_tell(struct wdf_queue *queue);
/** Whether the thread is in one of the queue's callbacks. */
bool wdf_queue_presents(const struct wdf_queue *queue);

/* ---- wdf_queue.c ---- */
/** Power-managed queues begin to present. */
void wdf_queues_power_up(struct wdf_device *device);
/** They stop; EvtIoStop for each request that the driver owns; waits until all are answered. */
void wdf_queues_power_down(struct wdf_device *device);
/** Accept nothing more, cancel, wait until the driver owns none. */
void wdf_queues_purge(struct wdf_device *device, bool managed);

/* ---- wdf_request.c ---- */
NTSTATUS wdf_request_create(struct wdf_device *device, struct wdf_queue *queue, PIRP irp,
			    struct wdf_request **request);
/** Completes a request that no list has. */
void wdf_request_finish(struct wdf_request *request, NTSTATUS status);

/* ---- wdf_target.c ---- */
NTSTATUS wdf_target_create(struct wdf_device *device, const WDF_OBJECT_ATTRIBUTES *attributes,
			   bool local, struct wdf_target **target);

/* ---- wdf_memory.c ---- */
NTSTATUS wdf_memory_around(struct wdf_object *parent, PVOID buffer, size_t size,
			   struct wdf_memory **memory);

#endif
