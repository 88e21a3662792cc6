/* SPDX-License-Identifier: MIT */
/*
 * Devices of the framework: what EvtDriverDeviceAdd sets up, the device object, its interfaces.
 */
#include "nt/wdf.h"

/* An empty list: a device of this bus has no hardware resources. */
struct wdf_resources {
	struct wdf_object object;
};

ULONG WdfCmResourceListGetCount(WDFCMRESLIST List)
{
	wdf_of(List, WDF_RESOURCES, "WdfCmResourceListGetCount");
	return 0;
}

/* ---- before the device is created ---- */

void wdf_device_init_clear(struct WDFDEVICE_INIT *init)
{
	if (init->name.Buffer)
		ExFreePool(init->name.Buffer);
	init->name.Buffer = NULL;
}

VOID WdfDeviceInitFree(PWDFDEVICE_INIT DeviceInit)
{
	nt_violation("wdf-device-init", "WdfDeviceInitFree of what EvtDriverDeviceAdd was given");
}

VOID WdfDeviceInitSetPnpPowerEventCallbacks(PWDFDEVICE_INIT DeviceInit,
					    PWDF_PNPPOWER_EVENT_CALLBACKS PnpPowerEventCallbacks)
{
	if (!wdf_size_is(PnpPowerEventCallbacks->Size, sizeof(*PnpPowerEventCallbacks)))
		nt_violation("wdf-size", "WdfDeviceInitSetPnpPowerEventCallbacks: Size is %u",
			     PnpPowerEventCallbacks->Size);
	else
		DeviceInit->callbacks = *PnpPowerEventCallbacks;
}

VOID WdfDeviceInitSetPowerPolicyOwnership(PWDFDEVICE_INIT DeviceInit, BOOLEAN IsPowerPolicyOwner)
{
	DeviceInit->power_policy_owner = IsPowerPolicyOwner ? WdfTrue : WdfFalse;
}

VOID WdfDeviceInitSetRequestAttributes(PWDFDEVICE_INIT DeviceInit,
				       PWDF_OBJECT_ATTRIBUTES RequestAttributes)
{
	if (!wdf_size_is(RequestAttributes->Size, sizeof(*RequestAttributes)) ||
	    RequestAttributes->ParentObject)
		nt_violation("wdf-size", "WdfDeviceInitSetRequestAttributes: wrong attributes");
	else
		DeviceInit->request_attributes = *RequestAttributes;
}

VOID WdfDeviceInitSetIoType(PWDFDEVICE_INIT DeviceInit, WDF_DEVICE_IO_TYPE IoType)
{
	if (IoType <= WdfDeviceIoUndefined || IoType >= WdfDeviceIoMaximum)
		nt_violation("wdf-io-type", "WdfDeviceInitSetIoType: %d", IoType);
	else
		DeviceInit->io_type = IoType;
}

VOID WdfDeviceInitSetDeviceType(PWDFDEVICE_INIT DeviceInit, DEVICE_TYPE DeviceType)
{
	DeviceInit->type = DeviceType;
}

VOID WdfDeviceInitSetCharacteristics(PWDFDEVICE_INIT DeviceInit, ULONG DeviceCharacteristics,
				     BOOLEAN OrInValues)
{
	DeviceInit->characteristics =
		DeviceCharacteristics | (OrInValues ? DeviceInit->characteristics : 0);
}

VOID WdfDeviceInitSetExclusive(PWDFDEVICE_INIT DeviceInit, BOOLEAN IsExclusive)
{
	DeviceInit->exclusive = IsExclusive != FALSE;
}

VOID WdfDeviceInitSetPowerPageable(PWDFDEVICE_INIT DeviceInit)
{
	DeviceInit->power_pageable = true;
}

VOID WdfDeviceInitSetPowerNotPageable(PWDFDEVICE_INIT DeviceInit)
{
	DeviceInit->power_pageable = false;
}

NTSTATUS WdfDeviceInitAssignName(PWDFDEVICE_INIT DeviceInit, PCUNICODE_STRING DeviceName)
{
	if (!DeviceName) {
		wdf_device_init_clear(DeviceInit);
		return STATUS_SUCCESS;
	}
	if (DeviceName->Length < sizeof(WCHAR) || DeviceName->Buffer[0] != '\\')
		return STATUS_INVALID_PARAMETER;
	return wdf_copy_string(&DeviceInit->name, DeviceName) ? STATUS_SUCCESS
							      : STATUS_INSUFFICIENT_RESOURCES;
}

PDEVICE_OBJECT WdfFdoInitWdmGetPhysicalDevice(PWDFDEVICE_INIT DeviceInit)
{
	return DeviceInit->pdo;
}

VOID WdfFdoInitSetFilter(PWDFDEVICE_INIT DeviceInit)
{
	DeviceInit->filter = true;
}

NTSTATUS WdfDeviceInitAssignWdmIrpPreprocessCallback(
	PWDFDEVICE_INIT DeviceInit, PFN_WDFDEVICE_WDM_IRP_PREPROCESS EvtDeviceWdmIrpPreprocess,
	UCHAR MajorFunction, PUCHAR MinorFunctions, ULONG NumMinorFunctions)
{
	uint64_t minors = 0;

	if (!EvtDeviceWdmIrpPreprocess || MajorFunction > IRP_MJ_MAXIMUM_FUNCTION ||
	    (MinorFunctions && !NumMinorFunctions) || DeviceInit->preprocess[MajorFunction])
		return STATUS_INVALID_PARAMETER;
	for (ULONG i = 0; MinorFunctions && i < NumMinorFunctions; i++) {
		if (MinorFunctions[i] > 63)
			return STATUS_INVALID_PARAMETER;
		minors |= UINT64_C(1) << MinorFunctions[i];
	}
	DeviceInit->preprocess[MajorFunction] = EvtDeviceWdmIrpPreprocess;
	DeviceInit->preprocess_minors[MajorFunction] = MinorFunctions ? minors : UINT64_MAX;
	return STATUS_SUCCESS;
}

/* ---- creation ---- */

static void free_interfaces(struct wdf_device *device)
{
	struct wdf_interface *i;

	while ((i = device->interfaces)) {
		device->interfaces = i->next;
		ExFreePool(i->reference.Buffer);
		ExFreePool(i);
	}
}

static void destroy_device(struct wdf_object *object)
{
	struct wdf_device *device = (struct wdf_device *)(PVOID)object;

	free_interfaces(device);
	wdf_device_init_clear(&device->init);
}

/* The device object of the I/O manager goes last: what is below may not be touched afterwards. */
static void leave_stack(struct wdf_device *device)
{
	PDEVICE_OBJECT self = device->self;

	if (!self)
		return;
	wdf_lock(device->object.driver);
	((struct wdf_extension *)self->DeviceExtension)->device = NULL;
	wdf_unlock(device->object.driver);
	if (device->lower)
		IoDetachDevice(device->lower);
	device->self = NULL;
	IoDeleteDevice(self);
}

void wdf_device_delete(struct wdf_device *device)
{
	wdf_reference(device);
	wdf_delete(device);
	leave_stack(device);
	wdf_release(device);
}

static NTSTATUS join_stack(struct wdf_device *device)
{
	struct WDFDEVICE_INIT *init = &device->init;
	NTSTATUS status = IoCreateDevice(&device->object.driver->nt->object,
					 sizeof(struct wdf_extension), NULL, init->type,
					 init->characteristics, init->exclusive, &device->self);

	if (!NT_SUCCESS(status))
		return status;
	((struct wdf_extension *)device->self->DeviceExtension)->device = device;
	device->lower = IoAttachDeviceToDeviceStack(device->self, device->pdo);
	if (!device->lower)
		return STATUS_NO_SUCH_DEVICE;
	if (init->io_type == WdfDeviceIoBuffered)
		device->self->Flags |= DO_BUFFERED_IO;
	if (init->io_type == WdfDeviceIoDirect)
		device->self->Flags |= DO_DIRECT_IO;
	if (init->power_pageable)
		device->self->Flags |= DO_POWER_PAGABLE;
	return STATUS_SUCCESS;
}

static NTSTATUS add_parts(struct wdf_device *device)
{
	struct wdf_resources *resources;
	NTSTATUS status;

	status = wdf_target_create(device, NULL, true, &device->target);
	if (!NT_SUCCESS(status))
		return status;
	status = wdf_create(device->object.driver, WDF_RESOURCES, sizeof(*resources), NULL,
			    &device->object, WDF_KEPT, &resources);
	return NT_SUCCESS(status) ? wdf_finish(resources, &device->resources) : status;
}

NTSTATUS WdfDeviceCreate(PWDFDEVICE_INIT *DeviceInit, PWDF_OBJECT_ATTRIBUTES DeviceAttributes,
			 WDFDEVICE *Device)
{
	struct WDFDEVICE_INIT *init = DeviceInit ? *DeviceInit : NULL;
	struct wdf_device *device;
	NTSTATUS status;

	if (!init || !Device || init->device)
		return STATUS_INVALID_PARAMETER;
	*Device = NULL;
	status = wdf_create(init->driver, WDF_DEVICE, sizeof(*device), DeviceAttributes,
			    &init->driver->object, WDF_PASSIVE | WDF_KEPT, &device);
	if (!NT_SUCCESS(status))
		return status;
	device->pdo = init->pdo;
	device->init = *init;
	device->init.name = (UNICODE_STRING){0};
	device->object.destroy = destroy_device;
	wdf_presentation_init(&device->presentation,
			      device->object.level == WdfExecutionLevelPassive);
	status = wdf_link(device);
	if (!NT_SUCCESS(status)) {
		wdf_discard(device);
		return status;
	}
	status = join_stack(device);
	if (NT_SUCCESS(status))
		status = add_parts(device);
	if (NT_SUCCESS(status) && init->name.Buffer &&
	    !wdf_copy_string(&device->init.name, &init->name))
		status = STATUS_INSUFFICIENT_RESOURCES;
	if (!NT_SUCCESS(status)) {
		wdf_device_delete(device);
		return status;
	}
	wdf_reference(device); /* until EvtDriverDeviceAdd has returned */
	init->device = device;
	*Device = (WDFDEVICE)(PVOID)device;
	*DeviceInit = NULL;
	return STATUS_SUCCESS;
}

/* ---- the device ---- */

WDFDRIVER WdfDeviceGetDriver(WDFDEVICE Device)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceGetDriver");

	return device ? (WDFDRIVER)(PVOID)device->object.driver : NULL;
}

WDFIOTARGET WdfDeviceGetIoTarget(WDFDEVICE Device)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceGetIoTarget");

	return device ? (WDFIOTARGET)(PVOID)device->target : NULL;
}

WDFQUEUE WdfDeviceGetDefaultQueue(WDFDEVICE Device)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceGetDefaultQueue");

	return device ? (WDFQUEUE)(PVOID)device->default_queue : NULL;
}

PDEVICE_OBJECT WdfDeviceWdmGetDeviceObject(WDFDEVICE Device)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceWdmGetDeviceObject");

	return device ? device->self : NULL;
}

PDEVICE_OBJECT WdfDeviceWdmGetAttachedDevice(WDFDEVICE Device)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceWdmGetAttachedDevice");

	return device ? device->lower : NULL;
}

PDEVICE_OBJECT WdfDeviceWdmGetPhysicalDevice(WDFDEVICE Device)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceWdmGetPhysicalDevice");

	return device ? device->pdo : NULL;
}

WDFDEVICE WdfWdmDeviceGetWdfDeviceHandle(PDEVICE_OBJECT DeviceObject)
{
	struct nt_driver *nt = nt_driver_of_device(DeviceObject);

	if (!nt || !nt->wdf || nt != nt_driver_current())
		return NULL;
	return (WDFDEVICE)(PVOID)((struct wdf_extension *)DeviceObject->DeviceExtension)->device;
}

NTSTATUS WdfDeviceRetrieveDeviceName(WDFDEVICE Device, WDFSTRING String)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceRetrieveDeviceName");
	struct wdf_string *string = wdf_of(String, WDF_STRING, "WdfDeviceRetrieveDeviceName");

	if (!device || !string)
		return STATUS_INVALID_PARAMETER;
	if (!device->init.name.Buffer)
		return STATUS_INVALID_DEVICE_REQUEST;
	return wdf_string_set(string, &device->init.name);
}

ULONG WdfDeviceGetCharacteristics(WDFDEVICE Device)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceGetCharacteristics");

	return device ? device->self->Characteristics : 0;
}

VOID WdfDeviceSetCharacteristics(WDFDEVICE Device, ULONG DeviceCharacteristics)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceSetCharacteristics");

	if (device)
		device->self->Characteristics = DeviceCharacteristics;
}

ULONG WdfDeviceGetAlignmentRequirement(WDFDEVICE Device)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceGetAlignmentRequirement");

	return device ? device->self->AlignmentRequirement : 0;
}

VOID WdfDeviceSetAlignmentRequirement(WDFDEVICE Device, ULONG AlignmentRequirement)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceSetAlignmentRequirement");

	if (device)
		device->self->AlignmentRequirement = AlignmentRequirement;
}

VOID WdfDeviceSetStaticStopRemove(WDFDEVICE Device, BOOLEAN Stoppable)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceSetStaticStopRemove");

	if (!device)
		return;
	wdf_lock(device->object.driver);
	device->not_stoppable = !Stoppable;
	wdf_unlock(device->object.driver);
}

VOID WdfDeviceSetPnpCapabilities(WDFDEVICE Device, PWDF_DEVICE_PNP_CAPABILITIES PnpCapabilities)
{
	if (wdf_of(Device, WDF_DEVICE, "WdfDeviceSetPnpCapabilities") &&
	    !wdf_size_is(PnpCapabilities->Size, sizeof(*PnpCapabilities)))
		nt_violation("wdf-size", "WdfDeviceSetPnpCapabilities: Size is %u",
			     PnpCapabilities->Size);
}

/* ---- device interfaces ---- */

static bool same_reference(const UNICODE_STRING *a, PCUNICODE_STRING b)
{
	static const UNICODE_STRING none = {0};

	return RtlEqualUnicodeString(a, b ? b : &none, TRUE);
}

static struct wdf_interface *find_interface(struct wdf_device *device, const GUID *class_guid,
					    PCUNICODE_STRING reference)
{
	struct wdf_interface *i = device->interfaces;

	while (i && (memcmp(&i->class_guid, class_guid, sizeof(*class_guid)) ||
		     !same_reference(&i->reference, reference)))
		i = i->next;
	return i;
}

NTSTATUS WdfDeviceCreateDeviceInterface(WDFDEVICE Device, const GUID *InterfaceClassGUID,
					PCUNICODE_STRING ReferenceString)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceCreateDeviceInterface");
	struct wdf_interface *i;

	if (!device || !InterfaceClassGUID)
		return STATUS_INVALID_PARAMETER;
	i = nt_pool_alloc_private(sizeof(*i), device->object.driver->tag);
	if (!i)
		return STATUS_INSUFFICIENT_RESOURCES;
	if (!wdf_copy_string(&i->reference, ReferenceString)) {
		ExFreePool(i);
		return STATUS_INSUFFICIENT_RESOURCES;
	}
	i->class_guid = *InterfaceClassGUID;
	wdf_lock(device->object.driver);
	i->enabled = device->pnp == WDF_PNP_STARTED;
	i->next = device->interfaces;
	device->interfaces = i;
	wdf_unlock(device->object.driver);
	return STATUS_SUCCESS;
}

VOID WdfDeviceSetDeviceInterfaceState(WDFDEVICE Device, const GUID *InterfaceClassGUID,
				      PCUNICODE_STRING ReferenceString, BOOLEAN IsInterfaceEnabled)
{
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, "WdfDeviceSetDeviceInterfaceState");
	struct wdf_interface *i;

	if (!device)
		return;
	wdf_lock(device->object.driver);
	i = find_interface(device, InterfaceClassGUID, ReferenceString);
	if (i)
		i->enabled = IsInterfaceEnabled != FALSE;
	wdf_unlock(device->object.driver);
	if (!i)
		nt_violation("wdf-interface",
			     "WdfDeviceSetDeviceInterfaceState: no such interface");
}

void wdf_interfaces_enable(struct wdf_device *device, bool enabled)
{
	wdf_lock(device->object.driver);
	for (struct wdf_interface *i = device->interfaces; i; i = i->next)
		i->enabled = enabled;
	wdf_unlock(device->object.driver);
}

/* \??\VMBUS#{address}#{class}[\reference], as a program would open it */
static NTSTATUS name_interface(const struct wdf_device *device, const struct wdf_interface *i,
			       struct wdf_string *string)
{
	static const char digits[] = "0123456789abcdef", prefix[] = "\\??\\VMBUS#";
	WCHAR buffer[96 + 256], *p = buffer;
	uintptr_t id = (uintptr_t)device->pdo;
	UNICODE_STRING text, guid = {0};
	NTSTATUS status;

	if (i->reference.Length > 256 * sizeof(WCHAR))
		return STATUS_BUFFER_TOO_SMALL;
	status = RtlStringFromGUID(&i->class_guid, &guid);
	if (!NT_SUCCESS(status))
		return status;
	for (const char *c = prefix; *c; c++)
		*p++ = (WCHAR)*c;
	for (int shift = 60; shift >= 0; shift -= 4)
		*p++ = (WCHAR)digits[id >> shift & 15];
	*p++ = '#';
	RtlCopyMemory(p, guid.Buffer, guid.Length);
	p += guid.Length / sizeof(WCHAR);
	RtlFreeUnicodeString(&guid);
	if (i->reference.Length) {
		*p++ = '\\';
		RtlCopyMemory(p, i->reference.Buffer, i->reference.Length);
		p += i->reference.Length / sizeof(WCHAR);
	}
	text.Buffer = buffer;
	text.Length = text.MaximumLength = (USHORT)((PCHAR)p - (PCHAR)buffer);
	return wdf_string_set(string, &text);
}

NTSTATUS WdfDeviceRetrieveDeviceInterfaceString(WDFDEVICE Device, const GUID *InterfaceClassGUID,
						PCUNICODE_STRING ReferenceString, WDFSTRING String)
{
	static const char function[] = "WdfDeviceRetrieveDeviceInterfaceString";
	struct wdf_device *device = wdf_of(Device, WDF_DEVICE, function);
	struct wdf_string *string = wdf_of(String, WDF_STRING, function);
	struct wdf_interface *i;
	bool started;

	if (!device || !string || !InterfaceClassGUID)
		return STATUS_INVALID_PARAMETER;
	wdf_lock(device->object.driver);
	started = device->pnp == WDF_PNP_STARTED;
	i = find_interface(device, InterfaceClassGUID, ReferenceString);
	wdf_unlock(device->object.driver);
	if (!i)
		return STATUS_OBJECT_NAME_NOT_FOUND;
	/* interfaces live as long as the device: the pointer stays good */
	return started ? name_interface(device, i, string) : STATUS_INVALID_DEVICE_STATE;
}
