/* SPDX-License-Identifier: MIT */
/*
 * Drivers: the current one of a thread, contract violations, loading and unloading.
 */
#include "nt/internal.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sentence.h"

#define LATE_NS 10000000000ull

/* ---- the current driver ---- */

static NT_TLS struct nt_driver *current;

struct nt_driver *nt_driver_current(void)
{
	return current;
}

struct nt_driver *nt_driver_enter(struct nt_driver *driver)
{
	struct nt_driver *previous = current;

	current = driver;
	return previous;
}

void nt_driver_leave(struct nt_driver *previous)
{
	current = previous;
}

const char *nt_driver_name(const struct nt_driver *driver)
{
	return driver ? driver->name : "library";
}

void nt_driver_set_memory(struct nt_driver *driver, const struct nt_memory *memory)
{
	driver->memory = memory;
}

struct nt_driver *nt_driver_of_object(PDRIVER_OBJECT object)
{
	return object ? CONTAINING_RECORD(object, struct nt_driver, object) : NULL;
}

struct nt_driver *nt_driver_of_device(PDEVICE_OBJECT device)
{
	return device && device->DriverObject ? nt_driver_of_object(device->DriverObject) : NULL;
}

/* ---- contract violations ---- */

static void default_violation(void *ctx, const char *rule, const char *driver, const char *text)
{
	void *trace[32];
	int frames = backtrace(trace, 32);

	kmcl_log(KMCL_LOG_ERROR, "verifier", 0, 0, "%s: %s: %s", driver, rule, text);
	backtrace_symbols_fd(trace, frames, 2);
	abort();
}

static struct {
	pthread_mutex_t lock;
	nt_violation_fn *fn; /* NULL: the fallback */
	void *ctx;
	nt_violation_fn *fallback;
} violations = {.lock = PTHREAD_MUTEX_INITIALIZER, .fallback = default_violation};

void nt_violation_set(nt_violation_fn *fn, void *ctx)
{
	pthread_mutex_lock(&violations.lock);
	violations.fn = fn;
	violations.ctx = ctx;
	pthread_mutex_unlock(&violations.lock);
}

void nt_violation_default(nt_violation_fn *fn)
{
	pthread_mutex_lock(&violations.lock);
	violations.fallback = fn;
	pthread_mutex_unlock(&violations.lock);
}

void nt_violation_v(const char *rule, const char *format, va_list args)
{
	nt_violation_fn *fn;
	char text[512];
	void *ctx;

	vsnprintf(text, sizeof(text), format, args);
	pthread_mutex_lock(&violations.lock);
	fn = violations.fn ? violations.fn : violations.fallback;
	ctx = violations.ctx;
	pthread_mutex_unlock(&violations.lock);
	fn(ctx, rule, nt_driver_name(current), text);
}

void(nt_violation)(const char *rule, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	nt_violation_v(rule, format, args);
	va_end(args);
}

_Atomic bool nt_verifying;
_Atomic(nt_alloc_fault_fn *) nt_alloc_fault;
static bool (*_Atomic unload_check)(struct nt_driver *driver);

void nt_unload_check_set(bool (*still_used)(struct nt_driver *driver))
{
	atomic_store(&unload_check, still_used);
}

/* ---- loading ---- */

static NTSTATUS fail(char **error, NTSTATUS status, char *text)
{
	if (error)
		*error = text;
	else
		free(text);
	return status;
}

static char **copy_parameters(const char *const *from)
{
	size_t n = 0;
	char **to;

	while (from && from[n])
		n++;
	to = calloc(n + 1, sizeof(*to));
	for (size_t i = 0; to && i < n; i++) {
		to[i] = strdup(from[i]);
		if (!to[i])
			break;
	}
	return to;
}

const char *nt_driver_parameter(const struct nt_driver *driver, const char *key)
{
	size_t n = strlen(key);

	for (char **p = driver->parameters; p && *p; p++) {
		if (!strncasecmp(*p, key, n) && (*p)[n] == '=')
			return *p + n + 1;
	}
	return NULL;
}

static void free_driver(struct nt_driver *driver)
{
	for (char **p = driver->parameters; p && *p; p++)
		free(*p);
	free(driver->parameters);
	free(driver->registry_path);
	free(driver->name);
	pthread_mutex_destroy(&driver->lock);
	free(driver);
}

/* What a driver leaves unset is answered with STATUS_INVALID_DEVICE_REQUEST. */
NTSTATUS nt_invalid_request(PDEVICE_OBJECT device, PIRP irp)
{
	irp->IoStatus.Status = STATUS_INVALID_DEVICE_REQUEST;
	irp->IoStatus.Information = 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return STATUS_INVALID_DEVICE_REQUEST;
}

static bool set_registry_path(struct nt_driver *driver, UNICODE_STRING *path)
{
	static const char prefix[] = "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\";
	size_t n = strlen(prefix), m = strlen(driver->name);

	driver->registry_path = calloc(n + m + 1, sizeof(WCHAR));
	if (!driver->registry_path)
		return false;
	for (size_t i = 0; i < n + m; i++)
		driver->registry_path[i] = (WCHAR)(i < n ? prefix[i] : driver->name[i - n]);
	RtlInitUnicodeString(path, driver->registry_path);
	driver->extension.ServiceKeyName = *path;
	return true;
}

static struct nt_driver *new_driver(const struct nt_driver_config *config)
{
	struct nt_driver *driver = calloc(1, sizeof(*driver));

	if (!driver)
		return NULL;
	pthread_mutex_init(&driver->lock, NULL);
	driver->name = strdup(config->name ? config->name : "driver");
	driver->parameters = copy_parameters(config->parameters);
	driver->memory = config->memory;
	driver->object.DriverExtension = &driver->extension;
	driver->extension.DriverObject = &driver->object;
	for (int i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
		driver->object.MajorFunction[i] = nt_invalid_request;
	if (driver->name && driver->parameters &&
	    set_registry_path(driver, &driver->object.DriverName))
		return driver;
	free_driver(driver);
	return NULL;
}

static NTSTATUS open_library(struct nt_driver *driver, const struct nt_driver_config *config,
			     char **error)
{
	driver->object.DriverInit = config->entry;
	if (!config->path)
		return config->entry ? STATUS_SUCCESS
				     : fail(error, STATUS_INVALID_PARAMETER,
					    sentence("%s: no DriverEntry given", driver->name));
	driver->library = dlopen(config->path, RTLD_NOW | RTLD_LOCAL);
	if (!driver->library) {
		/* dlerror names the file and, for a missing import, the symbol */
		const char *why = dlerror();

		return fail(error,
			    why && strstr(why, "undefined symbol") ? STATUS_ENTRYPOINT_NOT_FOUND
								   : STATUS_DRIVER_UNABLE_TO_LOAD,
			    sentence("cannot load driver: %s", why ? why : config->path));
	}
	driver->object.DriverInit =
		(PDRIVER_INITIALIZE)(uintptr_t)dlsym(driver->library, "DriverEntry");
	if (!driver->object.DriverInit)
		return fail(
			error, STATUS_DRIVER_ENTRYPOINT_NOT_FOUND,
			sentence("cannot load driver: %s exports no DriverEntry", config->path));
	return STATUS_SUCCESS;
}

static NTSTATUS run_entry(struct nt_driver *driver, char **error)
{
	struct nt_driver *previous = nt_driver_enter(driver);
	NTSTATUS status = driver->object.DriverInit(&driver->object, &driver->object.DriverName);

	nt_driver_leave(previous);
	if (NT_SUCCESS(status)) {
		/* as the I/O manager does for devices made in DriverEntry */
		for (PDEVICE_OBJECT d = driver->object.DeviceObject; d; d = d->NextDevice)
			d->Flags &= ~DO_DEVICE_INITIALIZING;
		nt_driver_publish_devices(driver);
		return status;
	}
	return fail(error, status,
		    sentence("%s: DriverEntry failed with %s (0x%08x)", driver->name,
			     nt_status_name(status) ? nt_status_name(status) : "a status",
			     (unsigned int)status));
}

/* Whoever is inside a request of a device that was deleted comes out before the driver goes. */
static bool requests_under_way(struct nt_driver *driver)
{
	unsigned int there = 0;

	pthread_mutex_lock(&driver->lock);
	for (PDEVICE_OBJECT d = driver->object.DeviceObject; d; d = d->NextDevice)
		there++;
	pthread_mutex_unlock(&driver->lock);
	return atomic_load(&driver->devices) > there;
}

static void wait_for_requests(struct nt_driver *driver)
{
	const struct timespec pause = {.tv_nsec = 200000};
	uint64_t late = clock_now_ns() + LATE_NS;

	while (requests_under_way(driver)) {
		if (late && clock_now_ns() > late) {
			kmcl_log(KMCL_LOG_ERROR, "nt", 0, 0,
				 "%s: unloading waits for a request that does not return",
				 driver->name);
			late = 0;
		}
		nanosleep(&pause, NULL);
	}
}

/* Neither the routine of a work item nor that of a DPC may outlive its code. */
static void wait_for_work(struct nt_driver *driver)
{
	const struct timespec pause = {.tv_nsec = 200000};
	uint64_t late = clock_now_ns() + LATE_NS;

	while (atomic_load(&driver->work_items)) {
		if (late && clock_now_ns() > late) {
			kmcl_log(KMCL_LOG_ERROR, "nt", 0, 0,
				 "%s: unloading waits for a work item that does not return",
				 driver->name);
			late = 0;
		}
		nanosleep(&pause, NULL);
	}
	if (nt_timer_forget_driver(driver)) {
		struct nt_driver *previous = nt_driver_enter(driver);

		nt_violation("timer-at-unload", "%s is unloaded with a timer set", driver->name);
		nt_driver_leave(previous);
	}
	KeFlushQueuedDpcs();
}

static void report_leaks(size_t devices, size_t blocks, size_t mdls)
{
	if (!nt_verify())
		return;
	if (devices)
		nt_violation("device-leak", "the driver is unloaded with %zu device objects",
			     devices);
	if (mdls)
		nt_violation("mdl-leak", "the driver is unloaded with %zu MDLs", mdls);
	if (blocks > mdls)
		nt_violation("pool-leak", "the driver is unloaded with %zu pool blocks",
			     blocks - mdls);
}

/* Takes back what the driver left behind; returns the number of pool blocks. */
static size_t clean_up(struct nt_driver *driver)
{
	struct nt_driver *previous;
	size_t leaked, mdls = 0, devices = 0;

	nt_wdf_unload(driver);
	for (; driver->object.DeviceObject; devices++) {
		kmcl_log(KMCL_LOG_ERROR, "nt", 0, 0, "%s: left a device object behind",
			 driver->name);
		IoDeleteDevice(driver->object.DeviceObject);
	}
	wait_for_work(driver);
	wait_for_requests(driver);
	leaked = nt_pool_report(driver, &mdls);
	if (driver->memory)
		nt_pool_forget_memory(driver->memory);
	previous = nt_driver_enter(driver);
	report_leaks(devices, leaked, mdls);
	nt_driver_leave(previous);
	return leaked;
}

/* What still leads into the code was reported: better to keep all of it than to crash later. */
static bool still_used(struct nt_driver *driver)
{
	bool (*check)(struct nt_driver *) = atomic_load(&unload_check);
	struct nt_driver *previous;
	bool used;

	if (!check)
		return false;
	previous = nt_driver_enter(driver);
	used = check(driver);
	nt_driver_leave(previous);
	return used;
}

static void close_driver(struct nt_driver *driver)
{
	if (driver->library)
		dlclose(driver->library);
	free_driver(driver);
}

NTSTATUS nt_driver_load(const struct nt_driver_config *config, struct nt_driver **driver,
			char **error)
{
	struct nt_driver *d = new_driver(config);
	NTSTATUS status;

	*driver = NULL;
	if (error)
		*error = NULL;
	if (!d)
		return fail(error, STATUS_INSUFFICIENT_RESOURCES, sentence("out of memory"));
	if (!nt_pool_start()) {
		free_driver(d);
		return fail(error, STATUS_INSUFFICIENT_RESOURCES, sentence("no thread"));
	}
	status = open_library(d, config, error);
	if (NT_SUCCESS(status))
		status = run_entry(d, error);
	if (!NT_SUCCESS(status)) {
		bool used = still_used(d);

		clean_up(d);
		if (!used)
			close_driver(d);
		return status;
	}
	*driver = d;
	return STATUS_SUCCESS;
}

size_t nt_driver_unload(struct nt_driver *driver)
{
	struct nt_driver *previous;
	size_t leaked;
	bool used;

	nt_driver_remove_devices(driver);
	wait_for_requests(driver);
	if (driver->object.DriverUnload) {
		previous = nt_driver_enter(driver);
		driver->object.DriverUnload(&driver->object);
		nt_driver_leave(previous);
	}
	used = still_used(driver);
	leaked = clean_up(driver);
	if (!used)
		close_driver(driver);
	return leaked;
}

void nt_shutdown(void)
{
	nt_timer_shutdown();
	nt_dpc_shutdown();
	nt_pool_shutdown();
}
