/* SPDX-License-Identifier: MIT */
/* Drivers, devices, PnP and power of the framework: which callback comes when, and what follows
 * from its failure. */
#include "wdf_test.h"

/* ---- a device that notes every callback, and fails where it is told to ---- */

static struct {
	const char *failing; /* word of the callback that fails */
	bool veto;
	WDF_POWER_DEVICE_STATE from, to;
	ULONG resources;
	KIRQL irql;
} script;

static NTSTATUS happen(const char *word)
{
	note(word);
	script.irql |= KeGetCurrentIrql();
	assert_ptr_equal(nt_driver_current(), rig.driver);
	return script.failing && !strcmp(script.failing, word) ? STATUS_DATA_ERROR : STATUS_SUCCESS;
}

static NTSTATUS prepare(WDFDEVICE device, WDFCMRESLIST raw, WDFCMRESLIST translated)
{
	assert_ptr_equal(device, rig.device);
	script.resources = WdfCmResourceListGetCount(raw) + WdfCmResourceListGetCount(translated);
	return happen("prepare");
}

static NTSTATUS release(WDFDEVICE device, WDFCMRESLIST translated)
{
	assert_int_equal(WdfCmResourceListGetCount(translated), 0);
	return happen("release");
}

static NTSTATUS d0_entry(WDFDEVICE device, WDF_POWER_DEVICE_STATE previous)
{
	script.from = previous;
	return happen("d0entry");
}

static NTSTATUS post_interrupts(WDFDEVICE device, WDF_POWER_DEVICE_STATE previous)
{
	return happen("interrupts");
}

static NTSTATUS d0_exit(WDFDEVICE device, WDF_POWER_DEVICE_STATE target)
{
	script.to = target;
	return happen("d0exit");
}

static NTSTATUS pre_interrupts(WDFDEVICE device, WDF_POWER_DEVICE_STATE target)
{
	return happen("nointerrupts");
}

static NTSTATUS sm_init(WDFDEVICE device)
{
	return happen("init");
}

static NTSTATUS sm_suspend(WDFDEVICE device)
{
	return happen("suspend");
}

static NTSTATUS sm_restart(WDFDEVICE device)
{
	return happen("restart");
}

static void sm_flush(WDFDEVICE device)
{
	happen("flush");
}

static void sm_cleanup(WDFDEVICE device)
{
	happen("cleanup");
}

static void surprise(WDFDEVICE device)
{
	happen("surprise");
}

static NTSTATUS query_remove(WDFDEVICE device)
{
	happen("query");
	return script.veto ? STATUS_DEVICE_BUSY : STATUS_SUCCESS;
}

static void device_cleanup(WDFOBJECT object)
{
	assert_ptr_equal(object, rig.device);
	/* the stack below is whole as yet */
	assert_ptr_equal(WdfDeviceWdmGetPhysicalDevice(rig.device)->AttachedDevice,
			 WdfDeviceWdmGetDeviceObject(rig.device));
	happen("object");
}

static void device_destroy(WDFOBJECT object)
{
	happen("destroy");
}

static NTSTATUS add_scripted(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	WDF_PNPPOWER_EVENT_CALLBACKS callbacks;
	WDF_OBJECT_ATTRIBUTES attributes;
	NTSTATUS status;

	assert_ptr_equal(driver, rig.wdf);
	assert_ptr_equal(WdfFdoInitWdmGetPhysicalDevice(init), rig.pdo);
	WDF_PNPPOWER_EVENT_CALLBACKS_INIT(&callbacks);
	callbacks.EvtDevicePrepareHardware = prepare;
	callbacks.EvtDeviceReleaseHardware = release;
	callbacks.EvtDeviceD0Entry = d0_entry;
	callbacks.EvtDeviceD0EntryPostInterruptsEnabled = post_interrupts;
	callbacks.EvtDeviceD0Exit = d0_exit;
	callbacks.EvtDeviceD0ExitPreInterruptsDisabled = pre_interrupts;
	callbacks.EvtDeviceSelfManagedIoInit = sm_init;
	callbacks.EvtDeviceSelfManagedIoSuspend = sm_suspend;
	callbacks.EvtDeviceSelfManagedIoRestart = sm_restart;
	callbacks.EvtDeviceSelfManagedIoFlush = sm_flush;
	callbacks.EvtDeviceSelfManagedIoCleanup = sm_cleanup;
	callbacks.EvtDeviceSurpriseRemoval = surprise;
	callbacks.EvtDeviceQueryRemove = query_remove;
	WdfDeviceInitSetPnpPowerEventCallbacks(init, &callbacks);
	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.EvtCleanupCallback = device_cleanup;
	attributes.EvtDestroyCallback = device_destroy;
	status = WdfDeviceCreate(&init, &attributes, &rig.device);
	assert_null(init);
	if (NT_SUCCESS(status))
		status = happen("add");
	return status;
}

static NTSTATUS plug_failing(const char *word)
{
	memset(&script, 0, sizeof(script));
	script.failing = word;
	return rig_plug(add_scripted);
}

#define UP   "add prepare d0entry interrupts init "
#define DOWN "suspend nointerrupts d0exit release flush cleanup object destroy "

static void callbacks_come_in_their_order(void **state)
{
	assert_int_equal(plug_failing(NULL), STATUS_SUCCESS);
	expect_trace(UP);
	assert_int_equal(script.from, WdfPowerDeviceD3Final);
	assert_int_equal(script.resources, 0);
	rig_unplug(false);
	expect_trace("query " DOWN);
	assert_int_equal(script.to, WdfPowerDeviceD3Final);
	assert_int_equal(script.irql, PASSIVE_LEVEL);
}

static void surprise_comes_first(void **state)
{
	assert_int_equal(plug_failing(NULL), STATUS_SUCCESS);
	expect_trace(UP);
	rig_unplug(true);
	expect_trace("surprise suspend nointerrupts d0exit release flush cleanup object destroy ");
}

/* Who says no is removed all the same, for the bus has no other choice, but as a surprise. */
static void veto_makes_it_a_surprise(void **state)
{
	assert_int_equal(plug_failing(NULL), STATUS_SUCCESS);
	expect_trace(UP);
	script.veto = true;
	rig_unplug(false);
	expect_trace("query surprise " DOWN);
}

/* What was done is undone, and the start fails with the callback's status; the device goes. */
static void failures_on_the_way_up(void **state)
{
	static const struct {
		const char *failing, *trace;
	} cases[] = {
		{"add", "add object destroy "},
		{"prepare", "add prepare release object destroy "},
		{"d0entry", "add prepare d0entry release object destroy "},
		{"interrupts", "add prepare d0entry interrupts d0exit release object destroy "},
		{"init", UP "nointerrupts d0exit release flush cleanup object destroy "},
	};

	for (size_t i = 0; i < ARRAYSIZE(cases); i++) {
		assert_int_equal(plug_failing(cases[i].failing), STATUS_DATA_ERROR);
		expect_trace(cases[i].trace);
		assert_int_equal(nt_driver_devices(rig.driver), 0);
		nt_pdo_delete(rig.pdo);
		rig.pdo = NULL;
	}
}

static void failures_on_the_way_down_change_nothing(void **state)
{
	static const char *const failing[] = {"suspend", "nointerrupts", "d0exit", "release"};

	for (size_t i = 0; i < ARRAYSIZE(failing); i++) {
		assert_int_equal(plug_failing(failing[i]), STATUS_SUCCESS);
		rig_unplug(false);
		expect_trace(UP "query " DOWN);
	}
}

/* ---- stop and restart, as a bus with other plans for the resources would do it ---- */

static NTSTATUS pnp(UCHAR minor)
{
	IO_STATUS_BLOCK iosb;
	KEVENT event;
	PIRP irp;

	KeInitializeEvent(&event, NotificationEvent, FALSE);
	irp = IoBuildSynchronousFsdRequest(IRP_MJ_PNP, rig.pdo->AttachedDevice, NULL, 0, NULL,
					   &event, &iosb);
	assert_non_null(irp);
	irp->IoStatus.Status = STATUS_NOT_SUPPORTED;
	IoGetNextIrpStackLocation(irp)->MinorFunction = minor;
	IoCallDriver(rig.pdo->AttachedDevice, irp);
	assert_int_equal(wait_for(&event), STATUS_SUCCESS);
	return iosb.Status;
}

static void stopped_device_restarts(void **state)
{
	assert_int_equal(plug_failing(NULL), STATUS_SUCCESS);
	assert_int_equal(pnp(IRP_MN_QUERY_STOP_DEVICE), STATUS_SUCCESS);
	expect_trace(UP);
	assert_int_equal(pnp(IRP_MN_STOP_DEVICE), STATUS_SUCCESS);
	expect_trace("suspend nointerrupts d0exit release ");
	assert_int_equal(pnp(IRP_MN_START_DEVICE), STATUS_SUCCESS);
	expect_trace("prepare d0entry interrupts restart ");
	assert_int_equal(pnp(IRP_MN_START_DEVICE), STATUS_INVALID_DEVICE_STATE);
	WdfDeviceSetStaticStopRemove(rig.device, FALSE);
	assert_int_equal(pnp(IRP_MN_QUERY_STOP_DEVICE), STATUS_INVALID_DEVICE_STATE);
	WdfDeviceSetStaticStopRemove(rig.device, TRUE);
	rig_unplug(false);
	expect_trace("query " DOWN);
}

static void failed_restart_takes_the_device_down(void **state)
{
	assert_int_equal(plug_failing("restart"), STATUS_SUCCESS);
	assert_int_equal(pnp(IRP_MN_STOP_DEVICE), STATUS_SUCCESS);
	expect_trace(UP "suspend nointerrupts d0exit release ");
	assert_int_equal(pnp(IRP_MN_START_DEVICE), STATUS_DATA_ERROR);
	expect_trace("prepare d0entry interrupts restart nointerrupts d0exit release flush ");
	rig_unplug(true);
	expect_trace("surprise cleanup object destroy ");
}

/* ---- the driver object ---- */

static void driver_is_unloaded_after_its_devices(void **state)
{
	assert_int_equal(plug_failing(NULL), STATUS_SUCCESS);
	expect_trace(UP);
	assert_int_equal(nt_driver_unload(rig.driver), 0);
	rig.driver = NULL;
	expect_trace("surprise " DOWN "unload ");
	nt_pdo_delete(rig.pdo);
	rig.pdo = NULL;
}

static void driver_cleanup(WDFOBJECT object)
{
	note("driver");
}

/* DriverEntry that fails after WdfDriverCreate: no unload, but the object goes. */
static void failed_entry_deletes_the_driver(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes;

	assert_int_equal(nt_driver_unload(rig.driver), 0);
	expect_trace("unload ");
	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.EvtCleanupCallback = driver_cleanup;
	rig.driver_attributes = &attributes;
	rig.entry_status = STATUS_NO_SUCH_DEVICE;
	assert_int_equal(rig_load(NULL), STATUS_NO_SUCH_DEVICE);
	assert_null(rig.driver);
	expect_trace("driver ");
}

static NTSTATUS create_statuses[6];

static NTSTATUS odd_entry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
	WDF_DRIVER_CONFIG config;
	WDFDRIVER driver = (WDFDRIVER)(uintptr_t)1;

	WDF_DRIVER_CONFIG_INIT(&config, rig_add);
	config.Size--;
	create_statuses[0] = WdfDriverCreate(object, path, NULL, &config, &driver);
	assert_null(driver);
	config.Size++;
	config.DriverInitFlags = 0x100;
	create_statuses[1] = WdfDriverCreate(object, path, NULL, &config, &driver);
	config.DriverInitFlags = 0;
	config.EvtDriverDeviceAdd = NULL;
	create_statuses[2] = WdfDriverCreate(object, path, NULL, &config, &driver);
	assert_null(WdfGetDriver());
	config.DriverInitFlags = WdfDriverInitNonPnpDriver;
	create_statuses[3] = WdfDriverCreate(object, path, NULL, &config, &driver);
	create_statuses[4] = WdfDriverCreate(object, path, NULL, &config, NULL);
	assert_ptr_equal(WdfGetDriver(), driver);
	assert_ptr_equal(WdfDriverWdmGetDriverObject(driver), object);
	assert_ptr_equal(WdfWdmDriverGetWdfDriverHandle(object), driver);
	assert_memory_equal(WdfDriverGetRegistryPath(driver), path->Buffer, path->Length + 2);
	return STATUS_SUCCESS;
}

static void driver_create_checks_its_configuration(void **state)
{
	const struct nt_driver_config config = {.name = "odd", .entry = odd_entry};
	WDF_DRIVER_VERSION_AVAILABLE_PARAMS version;
	struct nt_driver *odd;

	assert_int_equal(nt_driver_load(&config, &odd, NULL), STATUS_SUCCESS);
	assert_int_equal(create_statuses[0], STATUS_INFO_LENGTH_MISMATCH);
	assert_int_equal(create_statuses[1], STATUS_INVALID_PARAMETER);
	assert_int_equal(create_statuses[2], STATUS_INVALID_PARAMETER);
	assert_int_equal(create_statuses[3], STATUS_SUCCESS);
	assert_int_equal(create_statuses[4], STATUS_DRIVER_INTERNAL_ERROR);
	assert_int_equal(nt_driver_unload(odd), 0);
	WDF_DRIVER_VERSION_AVAILABLE_PARAMS_INIT(&version, 1, 33);
	assert_true(WdfDriverIsVersionAvailable(rig.wdf, &version));
	version.MinorVersion = 34;
	assert_false(WdfDriverIsVersionAvailable(rig.wdf, &version));
}

/* ---- the device object ---- */

static NTSTATUS add_twice(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	PWDFDEVICE_INIT same = init;
	WDF_OBJECT_ATTRIBUTES attributes;
	WDF_PNPPOWER_EVENT_CALLBACKS callbacks;
	WDFDEVICE second;
	NTSTATUS status;

	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.ParentObject = driver;
	assert_int_equal(WdfDeviceCreate(&init, &attributes, &rig.device),
			 STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED);
	assert_ptr_equal(init, same);
	WDF_PNPPOWER_EVENT_CALLBACKS_INIT(&callbacks);
	callbacks.Size = 8;
	WdfDeviceInitSetPnpPowerEventCallbacks(init, &callbacks);
	EXPECT_VIOLATION("wdf-size", "WdfDeviceInitSetPnpPowerEventCallbacks");
	WdfDeviceInitSetDeviceType(init, FILE_DEVICE_NETWORK);
	WdfDeviceInitSetCharacteristics(init, 0x10, FALSE);
	WdfDeviceInitSetCharacteristics(init, FILE_DEVICE_SECURE_OPEN, TRUE);
	WdfDeviceInitSetIoType(init, WdfDeviceIoDirect);
	status = WdfDeviceCreate(&init, WDF_NO_OBJECT_ATTRIBUTES, &rig.device);
	assert_null(init);
	assert_int_equal(WdfDeviceCreate(&same, WDF_NO_OBJECT_ATTRIBUTES, &second),
			 STATUS_INVALID_PARAMETER);
	return status;
}

static void device_object_stands_on_the_stack(void **state)
{
	PDEVICE_OBJECT self;

	assert_int_equal(rig_plug(add_twice), STATUS_SUCCESS);
	self = WdfDeviceWdmGetDeviceObject(rig.device);
	assert_ptr_equal(rig.pdo->AttachedDevice, self);
	assert_ptr_equal(WdfDeviceWdmGetPhysicalDevice(rig.device), rig.pdo);
	assert_ptr_equal(WdfDeviceWdmGetAttachedDevice(rig.device), rig.pdo);
	assert_ptr_equal(WdfIoTargetWdmGetTargetDeviceObject(WdfDeviceGetIoTarget(rig.device)),
			 rig.pdo);
	assert_ptr_equal(WdfDeviceGetDriver(rig.device), rig.wdf);
	assert_int_equal(self->DeviceType, FILE_DEVICE_NETWORK);
	assert_int_equal(WdfDeviceGetCharacteristics(rig.device), 0x10 | FILE_DEVICE_SECURE_OPEN);
	assert_true(FlagOn(self->Flags, DO_DIRECT_IO));
	assert_false(FlagOn(self->Flags, DO_DEVICE_INITIALIZING));
	assert_null(WdfDeviceGetDefaultQueue(rig.device));
	AS_DRIVER(assert_ptr_equal(WdfWdmDeviceGetWdfDeviceHandle(self), rig.device));
	assert_null(WdfWdmDeviceGetWdfDeviceHandle(self)); /* not a driver's thread */
	WdfObjectDelete(rig.device);
	EXPECT_VIOLATION("wdf-delete", "WDFDEVICE");
	/* without a queue every control code is invalid */
	assert_int_equal(nt_device_control(self, CTL_CODE(34, 1, METHOD_BUFFERED, 0), NULL, 0, NULL,
					   0, NULL),
			 STATUS_INVALID_DEVICE_REQUEST);
}

static NTSTATUS add_nothing(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	return STATUS_SUCCESS;
}

static void driver_may_pass_a_device_over(void **state)
{
	assert_int_equal(rig_plug(add_nothing), STATUS_SUCCESS);
	assert_null(rig.pdo->AttachedDevice);
}

/* ---- device interfaces ---- */

static const GUID class_guid = {0x11223344, 0x5566, 0x7788, {1, 2, 3, 4, 5, 6, 7, 8}};

static NTSTATUS retrieve(PCUNICODE_STRING reference, UNICODE_STRING *text, WDFSTRING string)
{
	NTSTATUS status =
		WdfDeviceRetrieveDeviceInterfaceString(rig.device, &class_guid, reference, string);

	WdfStringGetUnicodeString(string, text);
	return status;
}

static NTSTATUS early;

static NTSTATUS add_interfaces(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	DECLARE_CONST_UNICODE_STRING(reference, u"second");
	DECLARE_CONST_UNICODE_STRING(name, u"\\Device\\Wdf");
	DECLARE_CONST_UNICODE_STRING(bad, u"Device");
	UNICODE_STRING text;
	WDFSTRING string;
	NTSTATUS status;

	assert_int_equal(WdfDeviceInitAssignName(init, &bad), STATUS_INVALID_PARAMETER);
	assert_int_equal(WdfDeviceInitAssignName(init, &name), STATUS_SUCCESS);
	status = add_plain(driver, init);
	assert_int_equal(WdfDeviceCreateDeviceInterface(rig.device, &class_guid, NULL), 0);
	assert_int_equal(WdfDeviceCreateDeviceInterface(rig.device, &class_guid, &reference), 0);
	assert_int_equal(WdfStringCreate(NULL, WDF_NO_OBJECT_ATTRIBUTES, &string), 0);
	early = retrieve(NULL, &text, string);
	WdfObjectDelete(string);
	return status;
}

static void device_interfaces_have_names_once_started(void **state)
{
	DECLARE_CONST_UNICODE_STRING(reference, u"second");
	DECLARE_CONST_UNICODE_STRING(name, u"\\Device\\Wdf");
	DECLARE_CONST_UNICODE_STRING(other, u"third");
	UNICODE_STRING text;
	WDFSTRING string;

	assert_int_equal(rig_plug(add_interfaces), STATUS_SUCCESS);
	assert_int_equal(early, STATUS_INVALID_DEVICE_STATE);
	AS_DRIVER(assert_int_equal(WdfStringCreate(NULL, NULL, &string), STATUS_SUCCESS));
	assert_int_equal(retrieve(NULL, &text, string), STATUS_SUCCESS);
	assert_int_equal(text.Length, (10 + 16 + 1 + 38) * 2);
	assert_int_equal(retrieve(&reference, &text, string), STATUS_SUCCESS);
	assert_int_equal(text.Length, (10 + 16 + 1 + 38 + 7) * 2);
	assert_memory_equal(text.Buffer + 10 + 16 + 1 + 38 + 1, reference.Buffer, reference.Length);
	assert_int_equal(retrieve(&other, &text, string), STATUS_OBJECT_NAME_NOT_FOUND);
	WdfDeviceSetDeviceInterfaceState(rig.device, &class_guid, &other, FALSE);
	EXPECT_VIOLATION("wdf-interface", "no such");
	assert_int_equal(WdfDeviceRetrieveDeviceName(rig.device, string), STATUS_SUCCESS);
	WdfStringGetUnicodeString(string, &text);
	assert_true(RtlEqualUnicodeString(&text, &name, FALSE));
	WdfObjectDelete(string);
}

/* ---- preprocessed IRPs ---- */

static NTSTATUS preprocess(WDFDEVICE device, PIRP irp)
{
	note("pre");
	IoSkipCurrentIrpStackLocation(irp);
	return WdfDeviceWdmDispatchPreprocessedIrp(device, irp);
}

static NTSTATUS add_preprocessing(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	UCHAR minors[] = {IRP_MN_START_DEVICE, IRP_MN_SURPRISE_REMOVAL};

	assert_int_equal(WdfDeviceInitAssignWdmIrpPreprocessCallback(init, preprocess, IRP_MJ_PNP,
								     minors, 2),
			 STATUS_SUCCESS);
	assert_int_equal(
		WdfDeviceInitAssignWdmIrpPreprocessCallback(init, preprocess, IRP_MJ_PNP, NULL, 0),
		STATUS_INVALID_PARAMETER);
	return add_scripted(driver, init);
}

static void preprocess_callback_sees_its_irps(void **state)
{
	memset(&script, 0, sizeof(script));
	assert_int_equal(rig_plug(add_preprocessing), STATUS_SUCCESS);
	expect_trace("add pre prepare d0entry interrupts init ");
	rig_unplug(true);
	expect_trace("pre surprise " DOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIGGED(callbacks_come_in_their_order),
		RIGGED(surprise_comes_first),
		RIGGED(veto_makes_it_a_surprise),
		RIGGED(failures_on_the_way_up),
		RIGGED(failures_on_the_way_down_change_nothing),
		RIGGED(stopped_device_restarts),
		RIGGED(failed_restart_takes_the_device_down),
		RIGGED(driver_is_unloaded_after_its_devices),
		RIGGED(failed_entry_deletes_the_driver),
		RIGGED(driver_create_checks_its_configuration),
		RIGGED(device_object_stands_on_the_stack),
		RIGGED(driver_may_pass_a_device_over),
		RIGGED(device_interfaces_have_names_once_started),
		RIGGED(preprocess_callback_sees_its_irps),
	};

	return cmocka_run_group_tests_name("nt-wdf_pnp", tests, NULL, end_threads);
}
