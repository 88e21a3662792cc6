/* SPDX-License-Identifier: MIT */
/** @file A driver of the framework inside the test program, on a bus of one device. Each test says
 * what its EvtDriverDeviceAdd does; what happens is noted as words in `trace`. */
#ifndef WDF_TEST_H
#define WDF_TEST_H

#include <wdf.h>

#include "nt_test.h"

/* ---- what happened, in words ---- */
static struct {
	pthread_mutex_t lock;
	char text[2048];
} trace __attribute__((unused)) = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void note(const char *word)
{
	pthread_mutex_lock(&trace.lock);
	strncat(trace.text, word, sizeof(trace.text) - strlen(trace.text) - 1);
	strncat(trace.text, " ", sizeof(trace.text) - strlen(trace.text) - 1);
	pthread_mutex_unlock(&trace.lock);
}

/** Compares, and begins anew. */
static inline void expect_trace(const char *text)
{
	char seen[sizeof(trace.text)];

	pthread_mutex_lock(&trace.lock);
	strcpy(seen, trace.text);
	trace.text[0] = 0;
	pthread_mutex_unlock(&trace.lock);
	assert_string_equal(seen, text);
}

/* ---- the driver ---- */
struct rig {
	struct nt_driver *driver;
	PDEVICE_OBJECT pdo;
	WDFDRIVER wdf;
	WDFDEVICE device;
	NTSTATUS (*add)(WDFDRIVER driver, PWDFDEVICE_INIT init); /* EvtDriverDeviceAdd */
	WDF_OBJECT_ATTRIBUTES *driver_attributes;
	NTSTATUS entry_status; /* of DriverEntry, after WdfDriverCreate */
	bool unloaded;
};
static struct rig rig __attribute__((unused));

static const struct nt_bus_ops test_bus __attribute__((unused)) = {.name = "test"};

static inline NTSTATUS rig_add(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	return rig.add(driver, init);
}

static inline void rig_unload(WDFDRIVER driver)
{
	assert_ptr_equal(driver, rig.wdf);
	note("unload");
	rig.unloaded = true;
}

static inline NTSTATUS rig_entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	WDF_DRIVER_CONFIG config;
	NTSTATUS status;

	WDF_DRIVER_CONFIG_INIT(&config, rig_add);
	config.EvtDriverUnload = rig_unload;
	status = WdfDriverCreate(object, path, rig.driver_attributes, &config, &rig.wdf);
	return NT_SUCCESS(status) ? rig.entry_status : status;
}

static inline NTSTATUS rig_load(const char *const *parameters)
{
	struct nt_driver_config config = {
		.name = "wdftest", .entry = rig_entry, .parameters = parameters};
	char *error = NULL;
	NTSTATUS status = nt_driver_load(&config, &rig.driver, &error);

	free(error);
	return status;
}

/** The device is plugged; what AddDevice or start said. */
static inline NTSTATUS rig_plug(NTSTATUS (*add)(WDFDRIVER driver, PWDFDEVICE_INIT init))
{
	rig.add = add;
	assert_int_equal(nt_pdo_create(&test_bus, &rig, &rig.pdo), STATUS_SUCCESS);
	return nt_device_add(rig.driver, rig.pdo);
}

static inline void rig_unplug(bool surprise)
{
	nt_device_remove(rig.pdo, surprise);
	assert_null(rig.pdo->AttachedDevice);
	assert_int_equal(rig.pdo->ReferenceCount, 1);
	nt_pdo_delete(rig.pdo);
	rig.pdo = NULL;
}

static inline int rig_setup(void **state)
{
	rig = (struct rig){0};
	trace.text[0] = 0;
	record_violations(state);
	return rig_load(NULL);
}

/** Nothing leaks, nothing was violated. */
static inline int rig_teardown(void **state)
{
	if (rig.pdo)
		rig_unplug(false);
	if (rig.driver && nt_driver_unload(rig.driver))
		return -1;
	rig.driver = NULL;
	return no_violations_left(state);
}

#define RIGGED(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

/** Library code that is called as the driver. */
#define AS_DRIVER(statement)                                               \
	do {                                                               \
		struct nt_driver *previous_ = nt_driver_enter(rig.driver); \
		statement;                                                 \
		nt_driver_leave(previous_);                                \
	} while (0)

/** The simplest device. */
static inline NTSTATUS add_plain(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	(void)driver;
	return WdfDeviceCreate(&init, WDF_NO_OBJECT_ATTRIBUTES, &rig.device);
}

#endif
