/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What src/nt offers the rest of the library beyond the WDK headers: the current driver, memory and
 * bus operation tables, the elastic pool, contract violations, loading drivers.
 */
#ifndef NT_NT_H
#define NT_NT_H

#include <ntddk.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- memory that drivers allocate from and MDLs describe (registered by a partition) ---- */
struct nt_memory {
	void *ctx;
	/** NULL members: this memory cannot be allocated from (a server driver's pool is the heap).
	 */
	void *(*alloc)(void *ctx, size_t bytes, size_t align);
	void (*free)(void *ctx, void *p);
	/** Address to page number; false: not this memory. */
	bool (*pfn_of)(void *ctx, const void *va, uint64_t *pfn);
	/** Pages as one run of addresses (linear or stitched). NULL: impossible. */
	void *(*map)(void *ctx, const uint64_t *pfns, size_t count, void **cookie);
	void (*unmap)(void *ctx, void *va, size_t count, void *cookie);
};

/** Value in an MDL's page array for memory that has no page number (heap, stack). */
#define NT_PFN_NONE ((PFN_NUMBER)-1)

/** Prepares an MDL over foreign pages: locked, no address until MmGetSystemAddressForMdlSafe maps
 * it. `mdl` has room for `count` PFNs behind it (MmSizeOfMdl). No allocation. */
void nt_mdl_init_pages(PMDL mdl, const struct nt_memory *memory, const uint64_t *pfns, size_t count,
		       uint32_t byte_offset, uint32_t byte_count);
/** Ends it: unmaps what MmGetSystemAddressForMdlSafe mapped. */
void nt_mdl_release(PMDL mdl);

/* ---- the current driver ---- */
struct nt_driver; /* behind DRIVER_OBJECT */
struct nt_driver *nt_driver_current(void);
/** Sets the thread's driver (NULL: nobody's); returns the previous one for nt_driver_leave. */
struct nt_driver *nt_driver_enter(struct nt_driver *driver);
void nt_driver_leave(struct nt_driver *previous);
const char *nt_driver_name(const struct nt_driver *driver);
/** Memory of the driver's pool; NULL: the heap. Before its first allocation. */
void nt_driver_set_memory(struct nt_driver *driver, const struct nt_memory *memory);
/** The driver that owns a device object (or its DRIVER_OBJECT's); NULL for a bare pointer. */
struct nt_driver *nt_driver_of_device(PDEVICE_OBJECT device);

/* ---- loading (io.c) ---- */
struct nt_driver_config {
	const char *name; /**< for logs and pool reports */
	const char *path; /**< shared object, or NULL with `entry` */
	PDRIVER_INITIALIZE entry;
	const char *const *parameters;  /**< "key=value" strings, NULL-terminated, or NULL */
	const struct nt_memory *memory; /**< pool; NULL: heap */
};
/** Loads, gives it a DRIVER_OBJECT and a RegistryPath, runs DriverEntry. On failure *error is a
 * malloc'ed sentence that names what was wrong (missing import, no DriverEntry, status). */
NTSTATUS nt_driver_load(const struct nt_driver_config *config, struct nt_driver **driver,
			char **error);
/** Removes what devices remain (surprise removal, removal), runs DriverUnload, reports pool leaks,
 * unloads. Returns the pool blocks leaked. */
size_t nt_driver_unload(struct nt_driver *driver);
/** The DRIVER_OBJECT's own. */
struct nt_driver *nt_driver_of_object(PDRIVER_OBJECT object);
/** Value of a parameter; NULL: not given. */
const char *nt_driver_parameter(const struct nt_driver *driver, const char *key);

/* ---- PnP (io.c) ---- */
/** What a bus knows about one of its devices. Registered with the physical device object. */
struct nt_bus_ops {
	/** IRP_MN_QUERY_INTERFACE that reached the physical device. */
	NTSTATUS(*query_interface)
	(PDEVICE_OBJECT pdo, const GUID *type, USHORT size, USHORT version, PVOID data,
	 INTERFACE *interface);
	const char *name;
};
/** A physical device object of a bus. `context` is the bus's own (nt_pdo_context). */
NTSTATUS nt_pdo_create(const struct nt_bus_ops *ops, void *context, PDEVICE_OBJECT *pdo);
/** References of its interfaces that are still held are reported; the object lives on for them. */
void nt_pdo_delete(PDEVICE_OBJECT pdo);
/** InterfaceReference and InterfaceDereference of an interface that a bus hands out, with the
 * physical device as the context: the device object outlives what refers to it. */
void nt_pdo_interface_reference(void *pdo);
void nt_pdo_interface_dereference(void *pdo);
/** NULL when `device` is not a PDO of these ops, nor stacked on one. */
void *nt_pdo_context(PDEVICE_OBJECT device, const struct nt_bus_ops *ops);
/** AddDevice, then IRP_MN_START_DEVICE. The status of whichever failed. PASSIVE_LEVEL, blocks. */
NTSTATUS nt_device_add(struct nt_driver *driver, PDEVICE_OBJECT pdo);
/** IRP_MN_QUERY_REMOVE_DEVICE, or IRP_MN_SURPRISE_REMOVAL if `surprise` or a driver objects; then
 * IRP_MN_REMOVE_DEVICE to the stack on `pdo`.
 * Blocks. */
void nt_device_remove(PDEVICE_OBJECT pdo, bool surprise);

/** Devices of a driver that takes IRP_MJ_DEVICE_CONTROL. */
unsigned int nt_driver_devices(struct nt_driver *driver);
/** n-th device object of such a driver, referenced (0: the first created); NULL: none. */
PDEVICE_OBJECT nt_driver_device(struct nt_driver *driver, unsigned int index);
void nt_device_dereference(PDEVICE_OBJECT device);
/** A DeviceIoControl as a program would do it: METHOD_* handled, waits for a pending IRP. The
 * caller holds a reference of the device. */
NTSTATUS nt_device_control(PDEVICE_OBJECT device, ULONG code, const void *in, size_t in_size,
			   void *out, size_t out_size, size_t *returned);
/** The same, to that device and not to the top of its stack. */
NTSTATUS nt_device_control_below(PDEVICE_OBJECT device, ULONG code, const void *in, size_t in_size,
				 void *out, size_t out_size, size_t *returned);

/* ---- handles (ob.c) ---- */
/** What a HANDLE can stand for. ZwClose drops the handle's reference. */
struct nt_handle_type {
	const char *name;
	void (*reference)(void *object);
	void (*dereference)(void *object);
};
/** Takes a reference of its own. Handles are checked: a stale or foreign one is never dereferenced.
 */
NTSTATUS nt_handle_create(const struct nt_handle_type *type, void *object, HANDLE *handle);
/** The object with a new reference; NULL: not a live handle of this type. */
void *nt_handle_reference(HANDLE handle, const struct nt_handle_type *type);

/* ---- elastic pool and strands (ex.c) ---- */
/** A piece of PASSIVE work. Embedded; must not be queued twice at once. */
struct nt_job {
	void (*run)(struct nt_job *job);
	struct nt_job *next;
};
/** Makes the pool's first thread, without which no job would run. False: it cannot be made. */
bool nt_pool_start(void);
/** Runs on a pool thread; the pool grows while its threads block. Does not allocate per job. */
void nt_pool_submit(struct nt_job *job);

/** Jobs of a strand run one after another, in order, on pool threads. */
struct nt_strand {
	atomic_int lock;
	struct nt_job *head, *tail;
	bool active;
	struct nt_job pump;
	void *current_thread;
};
void nt_strand_init(struct nt_strand *strand);
/** Any thread, any IRQL, no allocation. */
void nt_strand_post(struct nt_strand *strand, struct nt_job *job);
/** Returns when no job of the strand is queued or running, and nothing touches the strand any more.
 * Blocks. */
void nt_strand_wait_idle(struct nt_strand *strand);
/** Whether the calling thread is running a job of the strand. */
bool nt_strand_current(const struct nt_strand *strand);

/* ---- contract violations (verifier hook) ---- */
/** A driver broke a rule. Default: log with the rule's name, then abort. */
typedef void nt_violation_fn(void *ctx, const char *rule, const char *driver, const char *text);
/** NULL: the default. */
void nt_violation_set(nt_violation_fn *fn, void *ctx);
/** What the default is instead of this layer's own. Before any thread calls nt_violation. */
void nt_violation_default(nt_violation_fn *fn);
void nt_violation(const char *rule, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* No tail call: the function that was called wrongly is what a backtrace must name. */
#define nt_violation(...)                            \
	do {                                         \
		nt_violation(__VA_ARGS__);           \
		__asm__ volatile("" : : : "memory"); \
	} while (0)
void nt_violation_v(const char *rule, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

/** Whether mistakes are looked for that a kernel would not notice: locks held, leaks at unload. */
extern _Atomic bool nt_verifying;
static inline bool nt_verify(void)
{
	return atomic_load_explicit(&nt_verifying, memory_order_relaxed);
}
/** Spin locks of the DDI that this thread holds; 0 while nothing is verified. */
unsigned int nt_spin_locks_held(void);

/** Asked after DriverUnload: true if something still leads into the driver's code, which then stays
 * loaded. NULL: nothing does. */
void nt_unload_check_set(bool (*still_used)(struct nt_driver *driver));

/* ---- fault injection ---- */
/** Asked before memory is allocated for the current driver; true: there is none. NULL: there is. */
typedef bool nt_alloc_fault_fn(const char *function);
extern _Atomic(nt_alloc_fault_fn *) nt_alloc_fault;
static inline bool nt_alloc_fails(const char *function)
{
	nt_alloc_fault_fn *fn = atomic_load_explicit(&nt_alloc_fault, memory_order_acquire);

	return fn && nt_driver_current() && fn(function);
}

/** Guest memory is about to go: freed blocks that are still kept back are given back to it. */
void nt_pool_forget_memory(const struct nt_memory *memory);

/** Bytes and blocks now held in a driver's pool (0, 0 when it leaked nothing). NULL: nobody's. */
void nt_pool_usage(struct nt_driver *driver, size_t *blocks, size_t *bytes);

/** "STATUS_SUCCESS"; NULL: a value without a name here. */
const char *nt_status_name(NTSTATUS status);

/** Ends the layer's own threads (pool, DPC, timer) once they are idle; they start again when
 * needed. */
void nt_shutdown(void);

#endif
