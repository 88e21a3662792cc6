/* SPDX-License-Identifier: MIT */
/* Loading drivers, PnP, device control, work items of a device. Arguments: the driver modules. */
#include "nt_test.h"

#include <initguid.h>
#include "base/log.h"
#include "io_driver.h"

static const char *good_path, *missing_import_path, *no_entry_path, *failing_entry_path;

static NTSTATUS load(const char *path, struct nt_driver **driver, char **error)
{
	const struct nt_driver_config config = {.name = "iodriver", .path = path};

	return nt_driver_load(&config, driver, error);
}

static struct nt_driver *load_good(void)
{
	struct nt_driver *driver;
	char *error = NULL;

	if (load(good_path, &driver, &error) != STATUS_SUCCESS)
		fail_msg("%s", error);
	assert_null(error);
	return driver;
}

/* What the verifier says besides the log. */
static void expect_leaks(int count, const char *last)
{
	if (!nt_verify())
		return;
	assert_int_equal(atomic_exchange(&violations.count, 0), count);
	assert_string_equal(violations.rule, last);
}

/* ---- loading ---- */

static void good_driver_is_loaded(void **state)
{
	struct nt_driver *driver = load_good();

	assert_string_equal(nt_driver_name(driver), "iodriver");
	assert_int_equal(nt_driver_devices(driver), 1);
	assert_null(nt_driver_device(driver, 1));
	assert_int_equal(nt_driver_unload(driver), 0);
}

/* Every refusal says what is wrong; the words are what a developer looks for. */
static void expect_refusal(const char *path, NTSTATUS status, const char *word)
{
	struct nt_driver *driver = (struct nt_driver *)(uintptr_t)1;
	char *error = NULL;

	assert_int_equal(load(path, &driver, &error), status);
	assert_null(driver);
	assert_non_null(error);
	assert_non_null(strstr(error, word));
	free(error);
}

static void missing_import_is_named(void **state)
{
	expect_refusal(missing_import_path, STATUS_ENTRYPOINT_NOT_FOUND, "ExNotInThisLibrary");
}

static void missing_driver_entry_is_named(void **state)
{
	expect_refusal(no_entry_path, STATUS_DRIVER_ENTRYPOINT_NOT_FOUND, "DriverEntry");
}

static void missing_file_is_named(void **state)
{
	expect_refusal("/nowhere/driver.so", STATUS_DRIVER_UNABLE_TO_LOAD, "/nowhere/driver.so");
	expect_refusal(NULL, STATUS_INVALID_PARAMETER, "DriverEntry");
}

struct lines {
	atomic_int leaks, devices;
};

static void count_line(void *ctx, enum kmcl_log_level level, const char *subsystem,
		       uint32_t partition, uint32_t channel, const char *text)
{
	struct lines *lines = ctx;

	atomic_fetch_add(&lines->leaks, strstr(text, "iodriver: leaked") != NULL);
	atomic_fetch_add(&lines->devices, strstr(text, "left a device object") != NULL);
}

static void failed_driver_entry_is_cleaned_up_after(void **state)
{
	struct lines lines = {.leaks = 0};

	kmcl_log_set(count_line, &lines);
	expect_refusal(failing_entry_path, STATUS_DEVICE_NOT_CONNECTED,
		       "STATUS_DEVICE_NOT_CONNECTED");
	kmcl_log_set(NULL, NULL);
	assert_int_equal(atomic_load(&lines.leaks), 1);
	expect_leaks(2, "pool-leak"); /* and the device */
	assert_int_equal(atomic_load(&lines.devices), 1);
}

/* ---- PnP ---- */

static NTSTATUS query_trace(PDEVICE_OBJECT pdo, const GUID *type, USHORT size, USHORT version,
			    PVOID data, INTERFACE *interface);

static const struct nt_bus_ops trace_bus = {.query_interface = query_trace, .name = "trace"};
static const struct nt_bus_ops other_bus = {.name = "other"};

static NTSTATUS query_trace(PDEVICE_OBJECT pdo, const GUID *type, USHORT size, USHORT version,
			    PVOID data, INTERFACE *interface)
{
	if (!IsEqualGUID(type, &IO_TRACE_GUID) || size < sizeof(struct io_trace_interface) ||
	    version != 1)
		return STATUS_NOT_SUPPORTED;
	((struct io_trace_interface *)(void *)interface)->trace = nt_pdo_context(pdo, &trace_bus);
	return STATUS_SUCCESS;
}

struct bus_device {
	struct nt_driver *driver;
	struct io_trace trace;
	PDEVICE_OBJECT pdo;
};

static void plug(struct bus_device *b)
{
	memset(b, 0, sizeof(*b));
	b->driver = load_good();
	assert_int_equal(nt_pdo_create(&trace_bus, &b->trace, &b->pdo), STATUS_SUCCESS);
}

static void unplug(struct bus_device *b)
{
	nt_pdo_delete(b->pdo);
	assert_int_equal(nt_driver_unload(b->driver), 0);
}

static void device_is_added_started_and_removed(void **state)
{
	struct bus_device b;

	plug(&b);
	assert_int_equal(nt_device_add(b.driver, b.pdo), STATUS_SUCCESS);
	assert_string_equal(b.trace.text, "add start ");
	assert_int_equal(nt_driver_devices(b.driver), 2);
	assert_ptr_equal(nt_pdo_context(b.pdo->AttachedDevice, &trace_bus), &b.trace);
	assert_null(nt_pdo_context(b.pdo, &other_bus));
	assert_ptr_equal(nt_driver_of_device(b.pdo->AttachedDevice), b.driver);
	assert_null(nt_driver_of_device(b.pdo));
	nt_device_remove(b.pdo, false);
	assert_string_equal(b.trace.text, "add start remove ");
	assert_int_equal(nt_driver_devices(b.driver), 1);
	nt_device_remove(b.pdo, false); /* nothing is on it any more */
	assert_string_equal(b.trace.text, "add start remove ");
	unplug(&b);
}

static struct bus_device first, second;

static void add_second(struct io_trace *trace)
{
	assert_ptr_equal(trace, &first.trace);
	assert_int_equal(nt_device_add(first.driver, second.pdo), STATUS_SUCCESS);
	/* the control device and the second; the first is still its AddDevice's */
	assert_int_equal(nt_driver_devices(first.driver), 2);
}

static void devices_that_are_added_at_once_are_shown_when_each_is_ready(void **state)
{
	plug(&first);
	memset(&second, 0, sizeof(second));
	assert_int_equal(nt_pdo_create(&trace_bus, &second.trace, &second.pdo), STATUS_SUCCESS);
	first.trace.almost_added = add_second;
	assert_int_equal(nt_device_add(first.driver, first.pdo), STATUS_SUCCESS);
	assert_int_equal(nt_driver_devices(first.driver), 3);
	nt_device_remove(second.pdo, false);
	nt_device_remove(first.pdo, false);
	nt_pdo_delete(second.pdo);
	unplug(&first);
}

static void surprise_comes_before_removal(void **state)
{
	struct bus_device b;

	plug(&b);
	assert_int_equal(nt_device_add(b.driver, b.pdo), STATUS_SUCCESS);
	nt_device_remove(b.pdo, true);
	assert_string_equal(b.trace.text, "add start surprise remove ");
	unplug(&b);
}

static void failed_add_device_gets_no_irps(void **state)
{
	struct bus_device b;

	plug(&b);
	b.trace.add_status = STATUS_INSUFFICIENT_RESOURCES;
	assert_int_equal(nt_device_add(b.driver, b.pdo), STATUS_INSUFFICIENT_RESOURCES);
	assert_string_equal(b.trace.text, "add ");
	unplug(&b);
}

static void failed_start_is_followed_by_removal(void **state)
{
	struct bus_device b;

	plug(&b);
	b.trace.start_status = STATUS_DEVICE_NOT_CONNECTED;
	assert_int_equal(nt_device_add(b.driver, b.pdo), STATUS_DEVICE_NOT_CONNECTED);
	assert_string_equal(b.trace.text, "add start remove ");
	assert_null(b.pdo->AttachedDevice);
	unplug(&b);
}

static void device_of_a_bus_without_the_interface_is_refused(void **state)
{
	struct nt_driver *driver = load_good();
	PDEVICE_OBJECT pdo;

	assert_int_equal(nt_pdo_create(&other_bus, NULL, &pdo), STATUS_SUCCESS);
	assert_int_equal(nt_device_add(driver, pdo), STATUS_NOT_SUPPORTED);
	nt_pdo_delete(pdo);
	assert_int_equal(nt_driver_unload(driver), 0);
}

static void unload_removes_the_devices_that_remain(void **state)
{
	struct bus_device b;

	plug(&b);
	assert_int_equal(nt_device_add(b.driver, b.pdo), STATUS_SUCCESS);
	assert_int_equal(nt_driver_unload(b.driver), 0);
	assert_string_equal(b.trace.text, "add start surprise remove ");
	nt_pdo_delete(b.pdo);
}

/* ---- device control ---- */

struct control {
	struct nt_driver *driver;
	PDEVICE_OBJECT device;
};

static void open_control(struct control *c)
{
	c->driver = load_good();
	c->device = nt_driver_device(c->driver, 0);
	assert_non_null(c->device);
}

static void close_control(struct control *c, size_t leaks)
{
	nt_device_dereference(c->device);
	assert_int_equal(nt_driver_unload(c->driver), leaks);
}

static void buffered_control_copies_in_and_out(void **state)
{
	unsigned char in[300], out[300];
	struct control c;
	size_t n;

	open_control(&c);
	for (int i = 0; i < 300; i++)
		in[i] = (unsigned char)i;
	assert_int_equal(nt_device_control(c.device, IOCTL_ECHO_BUFFERED, in, 300, out, 300, &n),
			 STATUS_SUCCESS);
	assert_int_equal(n, 300);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(in[i], (unsigned char)i); /* the driver had a copy */
		assert_int_equal(out[i], (unsigned char)~in[i]);
	}
	memset(out, 0x77, sizeof(out));
	assert_int_equal(nt_device_control(c.device, IOCTL_ECHO_BUFFERED, in, 300, out, 10, &n),
			 STATUS_SUCCESS);
	assert_int_equal(n, 10);
	assert_int_equal(out[10], 0x77);
	assert_int_equal(nt_device_control(c.device, IOCTL_ECHO_BUFFERED, NULL, 0, NULL, 0, NULL),
			 STATUS_SUCCESS);
	close_control(&c, 0);
}

static void direct_control_describes_the_buffer_with_an_mdl(void **state)
{
	unsigned char buffer[5000], value = 0x3c;
	struct control c;
	uint32_t sum = 0;
	size_t n;

	open_control(&c);
	for (size_t i = 0; i < sizeof(buffer); i++)
		sum += buffer[i] = (unsigned char)(i * 7);
	assert_int_equal(nt_device_control(c.device, IOCTL_SUM_IN_DIRECT, &sum, sizeof(sum), buffer,
					   sizeof(buffer), &n),
			 STATUS_SUCCESS);
	sum++;
	assert_int_equal(nt_device_control(c.device, IOCTL_SUM_IN_DIRECT, &sum, sizeof(sum), buffer,
					   sizeof(buffer), &n),
			 STATUS_DATA_ERROR);
	assert_int_equal(nt_device_control(c.device, IOCTL_FILL_OUT_DIRECT, &value, 1, buffer,
					   sizeof(buffer), &n),
			 STATUS_SUCCESS);
	assert_int_equal(n, sizeof(buffer));
	for (size_t i = 0; i < sizeof(buffer); i++)
		assert_int_equal(buffer[i], 0x3c);
	close_control(&c, 0);
}

static void neither_control_passes_the_pointers(void **state)
{
	char in[] = "as it is", out[sizeof(in)];
	struct control c;
	size_t n;

	open_control(&c);
	assert_int_equal(nt_device_control(c.device, IOCTL_SWAP_NEITHER, in, sizeof(in), out,
					   sizeof(out), &n),
			 STATUS_SUCCESS);
	assert_int_equal(n, sizeof(in));
	assert_string_equal(out, in);
	close_control(&c, 0);
}

static void warnings_return_data_and_errors_do_not(void **state)
{
	char out[4] = "abc";
	struct control c;
	size_t n;

	open_control(&c);
	assert_int_equal(nt_device_control(c.device, IOCTL_FAIL, NULL, 0, out, 4, &n),
			 STATUS_DEVICE_NOT_CONNECTED);
	assert_int_equal(n, 0);
	assert_string_equal(out, "abc");
	assert_int_equal(nt_device_control(c.device, IOCTL_OVERFLOW, NULL, 0, out, 4, &n),
			 STATUS_BUFFER_OVERFLOW);
	assert_int_equal(n, 4);
	assert_memory_equal(out, "oooo", 4);
	assert_int_equal(nt_device_control(c.device, CTL_CODE(1, 1, METHOD_BUFFERED, 0), NULL, 0,
					   out, 4, &n),
			 STATUS_INVALID_DEVICE_REQUEST);
	close_control(&c, 0);
}

static void pended_request_is_waited_for(void **state)
{
	uint64_t start = clock_now_ns();
	struct control c;
	ULONG level = 77;
	size_t n;

	open_control(&c);
	assert_int_equal(
		nt_device_control(c.device, IOCTL_PEND, NULL, 0, &level, sizeof(level), &n),
		STATUS_SUCCESS);
	assert_true(clock_now_ns() - start >= 29000000u);
	assert_int_equal(n, sizeof(level));
	assert_int_equal(level, PASSIVE_LEVEL);
	close_control(&c, 0);
}

static void driver_without_dispatch_routine_refuses(void **state)
{
	struct nt_driver *driver = load_empty("mute", NULL);

	assert_int_equal(nt_driver_devices(driver), 0);
	assert_null(nt_driver_device(driver, 0));
	assert_int_equal(nt_driver_unload(driver), 0);
}

static void unload_reports_leaks(void **state)
{
	struct lines lines = {.leaks = 0};
	struct control c;

	open_control(&c);
	nt_device_control(c.device, IOCTL_LEAK, NULL, 0, NULL, 0, NULL);
	nt_device_control(c.device, IOCTL_LEAK, NULL, 0, NULL, 0, NULL);
	kmcl_log_set(count_line, &lines);
	close_control(&c, 2);
	kmcl_log_set(NULL, NULL);
	assert_int_equal(atomic_load(&lines.leaks), 2);
	expect_leaks(1, "pool-leak");
	assert_int_equal(atomic_load(&lines.devices), 0);
}

/* The device is deleted and the driver unloaded while the item waits: both must outlive its
 * routine. */
static void work_item_keeps_its_device_and_driver(void **state)
{
	struct control c;

	open_control(&c);
	assert_int_equal(nt_device_control(c.device, IOCTL_WORK, NULL, 0, NULL, 0, NULL),
			 STATUS_SUCCESS);
	close_control(&c, 0);
}

/* ---- the IRP stack ---- */

static void call_without_a_location_left_is_a_violation(void **state)
{
	struct bus_device b;
	IRP irp = {.StackCount = 1, .CurrentLocation = 1};

	plug(&b);
	assert_int_equal(IoCallDriver(b.pdo, &irp), STATUS_INVALID_DEVICE_REQUEST);
	EXPECT_VIOLATION("irp-stack", "IoCallDriver");
	unplug(&b);
}

static NTSTATUS complete_twice(PDEVICE_OBJECT device, PIRP irp)
{
	irp->IoStatus.Status = STATUS_SUCCESS;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return STATUS_SUCCESS;
}

/* Leaves DO_DEVICE_INITIALIZING as it is, which is right for a device made here. */
static NTSTATUS twice_entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	PDEVICE_OBJECT device;

	object->MajorFunction[IRP_MJ_DEVICE_CONTROL] = complete_twice;
	return IoCreateDevice(object, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
}

static struct nt_driver *load_with(const char *name, PDRIVER_INITIALIZE entry)
{
	const struct nt_driver_config config = {.name = name, .entry = entry};
	struct nt_driver *driver;

	assert_int_equal(nt_driver_load(&config, &driver, NULL), STATUS_SUCCESS);
	return driver;
}

static void irp_completed_twice_is_a_violation(void **state)
{
	struct nt_driver *driver = load_with("twice", twice_entry);
	PDEVICE_OBJECT device = nt_driver_device(driver, 0);

	assert_non_null(device);
	nt_device_control(device, CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, 0), NULL, 0,
			  NULL, 0, NULL);
	EXPECT_VIOLATION("irp-completed-twice", "IoCompleteRequest");
	nt_device_dereference(device);
	IoDeleteDevice(device);
	nt_driver_unload(driver);
}

/* A driver above another: requests begin at the top, with a location for each device below. */
static int filtered;

static NTSTATUS pass_down(PDEVICE_OBJECT device, PIRP irp)
{
	filtered += irp->StackCount >= device->StackSize;
	IoSkipCurrentIrpStackLocation(irp);
	return IoCallDriver(device->AttachedTo, irp);
}

static NTSTATUS filter_entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	object->MajorFunction[IRP_MJ_DEVICE_CONTROL] = pass_down;
	return STATUS_SUCCESS;
}

static void request_begins_at_the_top_of_the_stack(void **state)
{
	struct nt_driver *upper = load_with("filter", filter_entry);
	PDRIVER_OBJECT object = (PDRIVER_OBJECT)(PVOID)upper; /* its first member */
	PDEVICE_OBJECT filter;
	struct bus_device b;
	ULONG level = 99;
	size_t n;

	plug(&b);
	assert_int_equal(nt_device_add(b.driver, b.pdo), STATUS_SUCCESS);
	assert_ptr_equal(nt_driver_of_object(object), upper);
	assert_int_equal(IoCreateDevice(object, 0, NULL, 0, 0, FALSE, &filter), STATUS_SUCCESS);
	assert_non_null(IoAttachDeviceToDeviceStack(filter, b.pdo));
	filtered = 0;
	assert_int_equal(nt_device_control(filter->AttachedTo, IOCTL_PEND, NULL, 0, &level,
					   sizeof(level), &n),
			 STATUS_SUCCESS);
	assert_int_equal(filtered, 1);
	IoDetachDevice(filter->AttachedTo);
	IoDeleteDevice(filter);
	nt_device_remove(b.pdo, false);
	unplug(&b);
	assert_int_equal(nt_driver_unload(upper), 0);
}

/* A device may be opened when it has started, not when it exists. */
static unsigned int visible_at_start;

static NTSTATUS count_at_start(PDEVICE_OBJECT device, PIRP irp)
{
	PDEVICE_OBJECT below = device->AttachedTo;
	UCHAR minor = IoGetCurrentIrpStackLocation(irp)->MinorFunction;
	NTSTATUS status;

	if (minor == IRP_MN_START_DEVICE)
		visible_at_start = nt_driver_devices(nt_driver_of_device(device));
	IoSkipCurrentIrpStackLocation(irp);
	status = IoCallDriver(below, irp);
	if (minor == IRP_MN_REMOVE_DEVICE) {
		IoDetachDevice(below);
		IoDeleteDevice(device);
	}
	return status;
}

static NTSTATUS add_one(PDRIVER_OBJECT object, PDEVICE_OBJECT pdo)
{
	PDEVICE_OBJECT device;
	NTSTATUS status = IoCreateDevice(object, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);

	if (!NT_SUCCESS(status))
		return status;
	IoAttachDeviceToDeviceStack(device, pdo);
	device->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return STATUS_SUCCESS;
}

static NTSTATUS late_entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	object->DriverExtension->AddDevice = add_one;
	object->MajorFunction[IRP_MJ_PNP] = count_at_start;
	object->MajorFunction[IRP_MJ_DEVICE_CONTROL] = complete_twice;
	return STATUS_SUCCESS;
}

struct watch {
	struct nt_driver *driver;
	atomic_bool stop;
};

static void *watch_devices(void *arg)
{
	struct watch *w = arg;

	while (!atomic_load(&w->stop)) {
		PDEVICE_OBJECT device = nt_driver_device(w->driver, 0);

		if (device)
			nt_device_dereference(device);
		nt_driver_devices(w->driver);
	}
	return NULL;
}

static void device_may_be_opened_once_it_has_started(void **state)
{
	struct watch w = {.driver = load_with("late", late_entry)};
	PDEVICE_OBJECT pdo;
	pthread_t thread;

	/* somebody looks all the time, while the driver changes its flags without a lock */
	start_thread(&thread, watch_devices, &w);
	for (int i = 0; i < 50; i++) {
		visible_at_start = 99;
		assert_int_equal(nt_pdo_create(&other_bus, NULL, &pdo), STATUS_SUCCESS);
		assert_int_equal(nt_device_add(w.driver, pdo), STATUS_SUCCESS);
		assert_int_equal(visible_at_start, 0);
		assert_int_equal(nt_driver_devices(w.driver), 1);
		nt_device_remove(pdo, false);
		assert_int_equal(nt_driver_devices(w.driver), 0);
		nt_pdo_delete(pdo);
	}
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(nt_driver_unload(w.driver), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		RECORDED(good_driver_is_loaded),
		RECORDED(missing_import_is_named),
		RECORDED(missing_driver_entry_is_named),
		RECORDED(missing_file_is_named),
		RECORDED(failed_driver_entry_is_cleaned_up_after),
		RECORDED(device_is_added_started_and_removed),
		RECORDED(surprise_comes_before_removal),
		RECORDED(failed_add_device_gets_no_irps),
		RECORDED(failed_start_is_followed_by_removal),
		RECORDED(device_of_a_bus_without_the_interface_is_refused),
		RECORDED(devices_that_are_added_at_once_are_shown_when_each_is_ready),
		RECORDED(unload_removes_the_devices_that_remain),
		RECORDED(buffered_control_copies_in_and_out),
		RECORDED(direct_control_describes_the_buffer_with_an_mdl),
		RECORDED(neither_control_passes_the_pointers),
		RECORDED(warnings_return_data_and_errors_do_not),
		RECORDED(pended_request_is_waited_for),
		RECORDED(driver_without_dispatch_routine_refuses),
		RECORDED(unload_reports_leaks),
		RECORDED(work_item_keeps_its_device_and_driver),
		RECORDED(call_without_a_location_left_is_a_violation),
		RECORDED(irp_completed_twice_is_a_violation),
		RECORDED(request_begins_at_the_top_of_the_stack),
		RECORDED(device_may_be_opened_once_it_has_started),
	};

	if (argc != 5) {
		fprintf(stderr, "usage: %s good missing-import no-entry failing-entry\n", argv[0]);
		return 2;
	}
	good_path = argv[1];
	missing_import_path = argv[2];
	no_entry_path = argv[3];
	failing_entry_path = argv[4];
	return cmocka_run_group_tests_name("nt-io", tests, NULL, end_threads);
}
