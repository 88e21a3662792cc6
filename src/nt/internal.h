/* SPDX-License-Identifier: MIT */
/** @file What the files of src/nt share among themselves. */
#ifndef NT_INTERNAL_H
#define NT_INTERNAL_H

#include "nt/nt.h"

#include <pthread.h>
#include <stdarg.h>

#include "base/spin.h"

/* The library is loaded with the program, so its thread-local words need no function call. */
#define NT_TLS _Thread_local __attribute__((tls_model("initial-exec")))

struct wdf_driver;

struct nt_driver {
	DRIVER_OBJECT object;
	DRIVER_EXTENSION extension;
	char *name;
	void *library;
	const struct nt_memory *memory;
	char **parameters; /* "key=value", NULL-terminated */
	WCHAR *registry_path;
	/* pool accounting */
	_Atomic size_t blocks, bytes;
	/* queued or running; their code must stay loaded */
	atomic_uint work_items;
	/* not freed yet: a request may be under way in one that is deleted */
	atomic_uint devices;
	struct wdf_driver *wdf; /* of a driver of the framework (WdfDriverCreate); NULL */
	/* devices: the list of DRIVER_OBJECT, and the order in which they were made */
	pthread_mutex_t lock;
};

/* ---- ke.c, wait.c ---- */
void nt_dispatcher_init(DISPATCHER_HEADER *header, LONG type, LONG state);
/** Makes the object signalled by `count` and releases who can be released. Returns the old state.
 */
LONG nt_dispatcher_signal(DISPATCHER_HEADER *header, LONG count, LONG limit);
uint64_t nt_time_now(void);       /* 100 ns since 1601 */
uint64_t nt_interrupt_time(void); /* 100 ns, monotonic */
/** When a DueTime or Timeout is over, in nt_interrupt_time(). */
uint64_t nt_deadline(LARGE_INTEGER time);
void nt_dpc_shutdown(void);
void nt_timer_shutdown(void);
/** Takes out the timers that a driver left set; returns how many. */
unsigned int nt_timer_forget_driver(const struct nt_driver *driver);
void nt_pool_shutdown(void);

/* ---- io.c ---- */
void nt_device_reference(PDEVICE_OBJECT device);
/** Surprise removal and removal of every device of the driver that stands on a stack. */
void nt_driver_remove_devices(struct nt_driver *driver);
/** Programs may find the devices that the driver has made so far. While no other AddDevice of it
 * runs. */
void nt_driver_publish_devices(struct nt_driver *driver);
/** The dispatch routine of what a driver leaves unset. */
NTSTATUS nt_invalid_request(PDEVICE_OBJECT device, PIRP irp);

/* ---- wdf_driver.c ---- */
/** Deletes the framework's objects of a driver, if it has any. Its devices are gone. */
void nt_wdf_unload(struct nt_driver *driver);

/* ---- irp.c ---- */
/** A request of IoBuildSynchronousFsdRequest has come back: tells its maker and frees it. */
void nt_irp_finish(PIRP irp);

/* ---- format.c ---- */
/** As the kernel formats. False: it was cut. */
bool nt_format(char *text, size_t size, const char *format, va_list args);
/** The same in 16-bit characters, where %s takes wide text. */
bool nt_format_wide(WCHAR *text, size_t size, const WCHAR *format, va_list args);
/** The same without a terminator; *size: room, then what is used. */
bool nt_format_counted(WCHAR *text, size_t *size, const WCHAR *format, va_list args);

/* ---- ex.c: memory of the library's own that MmAllocate* and MDLs use ---- */
void *nt_pool_alloc(SIZE_T bytes, ULONG tag, bool zero, bool pages);
/** Counted as the driver's, but never in memory that a peer reaches. Zeroed. */
void *nt_pool_alloc_private(SIZE_T bytes, ULONG tag);
/** Reports and frees what the driver still holds; returns the number of blocks, *mdls of which are
 * MDLs. */
size_t nt_pool_report(struct nt_driver *driver, size_t *mdls);
#define NT_TAG_MDL 0x206c644du /* "Mdl " */

#endif
