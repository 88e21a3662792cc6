/* SPDX-License-Identifier: MIT */
/*
 * The echo client (VSC) as a driver of the framework: the same channel as the plain driver's
 * (echo_vsc_channel.c and what it uses), and the same device control. It links to no function of
 * KMCL: it has them from the bus, by an interface query. Options: ring= pages of each ring (65),
 * external= KiB of external data that one request may carry (1024).
 */
#include "echo_vsc.h"

#include <wdf.h>

DRIVER_INITIALIZE DriverEntry;

KMCL_CLIENT_INTERFACE_V1 EchoKmcl;

static ECHO_OPTIONS EchoOptions;

typedef struct _ECHO_DEVICE {
	ECHO_CLIENT Client;
	WDFWAITLOCK Lock; /* Enable and Disable against removal */
	KMCL_CLIENT_INTERFACE_V1 Kmcl;
	BOOLEAN HasKmcl;
} ECHO_DEVICE, *PECHO_DEVICE;
WDF_DECLARE_CONTEXT_TYPE_WITH_NAME(ECHO_DEVICE, EchoGetDevice)

/* ---- PnP and power ---- */

static EVT_WDF_DEVICE_PREPARE_HARDWARE EchoPrepareHardware;
static NTSTATUS EchoPrepareHardware(WDFDEVICE Device, WDFCMRESLIST Raw, WDFCMRESLIST Translated)
{
	UNREFERENCED_PARAMETER(Raw);
	UNREFERENCED_PARAMETER(Translated);
	return EchoCreateChannel(&EchoGetDevice(Device)->Client,
				 WdfDeviceWdmGetPhysicalDevice(Device), &EchoOptions);
}

static EVT_WDF_DEVICE_RELEASE_HARDWARE EchoReleaseHardware;
static NTSTATUS EchoReleaseHardware(WDFDEVICE Device, WDFCMRESLIST Translated)
{
	UNREFERENCED_PARAMETER(Translated);
	EchoDeleteChannel(&EchoGetDevice(Device)->Client);
	return STATUS_SUCCESS;
}

static NTSTATUS SetChannel(WDFDEVICE Device, BOOLEAN Enabled)
{
	PECHO_DEVICE device = EchoGetDevice(Device);
	NTSTATUS status = STATUS_SUCCESS;

	WdfWaitLockAcquire(device->Lock, NULL);
	device->Client.Removed = !Enabled;
	if (Enabled)
		status = VmbChannelEnable(device->Client.Channel);
	else
		VmbChannelDisable(device->Client.Channel);
	WdfWaitLockRelease(device->Lock);
	return status;
}

/* Also for a restart. */
static EVT_WDF_DEVICE_SELF_MANAGED_IO_INIT EchoIoStart;
static NTSTATUS EchoIoStart(WDFDEVICE Device)
{
	return SetChannel(Device, TRUE);
}

/* What device control is doing with the channel ends with it: the queue can then stop. */
static EVT_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND EchoIoSuspend;
static NTSTATUS EchoIoSuspend(WDFDEVICE Device)
{
	return SetChannel(Device, FALSE);
}

static EVT_WDF_OBJECT_CONTEXT_CLEANUP EchoDeviceCleanup;
static VOID EchoDeviceCleanup(WDFOBJECT Object)
{
	PECHO_DEVICE device = EchoGetDevice(Object);

	if (device->HasKmcl)
		device->Kmcl.InterfaceDereference(device->Kmcl.Context);
}

/* ---- device control ---- */

/* Both buffers of METHOD_BUFFERED are one. */
static PVOID BufferOf(WDFREQUEST Request)
{
	PVOID buffer;

	if (NT_SUCCESS(WdfRequestRetrieveInputBuffer(Request, 0, &buffer, NULL)) ||
	    NT_SUCCESS(WdfRequestRetrieveOutputBuffer(Request, 0, &buffer, NULL)))
		return buffer;
	return NULL;
}

static NTSTATUS Query(PECHO_DEVICE Device, WDFREQUEST Request, PULONG_PTR Returned)
{
	struct echo_info *info;
	NTSTATUS status;

	status = WdfRequestRetrieveOutputBuffer(Request, sizeof(*info), (PVOID *)&info, NULL);
	if (!NT_SUCCESS(status))
		return status;
	EchoQuery(&Device->Client, info);
	*Returned = sizeof(*info);
	return STATUS_SUCCESS;
}

static EVT_WDF_IO_QUEUE_IO_DEVICE_CONTROL EchoDeviceControl;
static VOID EchoDeviceControl(WDFQUEUE Queue, WDFREQUEST Request, size_t OutputBufferLength,
			      size_t InputBufferLength, ULONG IoControlCode)
{
	PECHO_DEVICE device = EchoGetDevice(WdfIoQueueGetDevice(Queue));
	ULONG_PTR returned = 0;
	NTSTATUS status;

	switch (IoControlCode) {
	case ECHO_IOCTL_RUN:
	case ECHO_IOCTL_RAW:
		status = EchoTransfer(&device->Client, IoControlCode, BufferOf(Request),
				      (ULONG)InputBufferLength, (ULONG)OutputBufferLength,
				      &returned);
		break;
	case ECHO_IOCTL_QUERY:
		status = Query(device, Request, &returned);
		break;
	default:
		WdfWaitLockAcquire(device->Lock, NULL);
		status = EchoControlChannel(&device->Client, IoControlCode);
		WdfWaitLockRelease(device->Lock);
		break;
	}
	WdfRequestCompleteWithInformation(Request, status, returned);
}

/* ---- the device ---- */

/* The table is the same whoever asks; each device holds a reference of its own. */
static NTSTATUS GetKmcl(WDFDEVICE Device)
{
	PECHO_DEVICE device = EchoGetDevice(Device);
	NTSTATUS status;

	status = WdfFdoQueryForInterface(Device, &KMCL_CLIENT_INTERFACE_TYPE,
					 (PINTERFACE)&device->Kmcl, sizeof(device->Kmcl),
					 KMCL_CLIENT_INTERFACE_VERSION_V1, NULL);
	if (!NT_SUCCESS(status))
		return status;
	device->HasKmcl = TRUE;
	if (!EchoKmcl.Size)
		EchoKmcl = device->Kmcl;
	return STATUS_SUCCESS;
}

static NTSTATUS CreateParts(WDFDEVICE Device)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDF_IO_QUEUE_CONFIG config;
	NTSTATUS status;

	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.ParentObject = Device;
	status = WdfWaitLockCreate(&attributes, &EchoGetDevice(Device)->Lock);
	if (!NT_SUCCESS(status))
		return status;
	/* RUN and RAW wait for answers */
	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.ExecutionLevel = WdfExecutionLevelPassive;
	WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(&config, WdfIoQueueDispatchParallel);
	config.EvtIoDeviceControl = EchoDeviceControl;
	return WdfIoQueueCreate(Device, &config, &attributes, WDF_NO_HANDLE);
}

static EVT_WDF_DRIVER_DEVICE_ADD EchoDeviceAdd;
static NTSTATUS EchoDeviceAdd(WDFDRIVER Driver, PWDFDEVICE_INIT DeviceInit)
{
	WDF_PNPPOWER_EVENT_CALLBACKS callbacks;
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFDEVICE device;
	NTSTATUS status;

	UNREFERENCED_PARAMETER(Driver);
	WDF_PNPPOWER_EVENT_CALLBACKS_INIT(&callbacks);
	callbacks.EvtDevicePrepareHardware = EchoPrepareHardware;
	callbacks.EvtDeviceReleaseHardware = EchoReleaseHardware;
	callbacks.EvtDeviceSelfManagedIoInit = EchoIoStart;
	callbacks.EvtDeviceSelfManagedIoSuspend = EchoIoSuspend;
	callbacks.EvtDeviceSelfManagedIoRestart = EchoIoStart;
	WdfDeviceInitSetPnpPowerEventCallbacks(DeviceInit, &callbacks);
	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, ECHO_DEVICE);
	attributes.EvtCleanupCallback = EchoDeviceCleanup;
	status = WdfDeviceCreate(&DeviceInit, &attributes, &device);
	if (NT_SUCCESS(status))
		status = GetKmcl(device);
	if (NT_SUCCESS(status))
		status = CreateParts(device);
	return status;
}

/* ---- the driver ---- */

static NTSTATUS ReadNumber(WDFKEY Key, PCUNICODE_STRING Name, PULONG Value)
{
	NTSTATUS status = WdfRegistryQueryULong(Key, Name, Value);

	return status == STATUS_OBJECT_NAME_NOT_FOUND ? STATUS_SUCCESS : status;
}

static NTSTATUS ReadOptions(WDFDRIVER Driver)
{
	DECLARE_CONST_UNICODE_STRING(ringName, L"ring");
	DECLARE_CONST_UNICODE_STRING(externalName, L"external");
	ULONG ring = ECHO_DEFAULT_RING, external = ECHO_DEFAULT_EXTERNAL / 1024;
	NTSTATUS status;
	WDFKEY key;

	status = WdfDriverOpenParametersRegistryKey(Driver, KEY_READ, WDF_NO_OBJECT_ATTRIBUTES,
						    &key);
	if (!NT_SUCCESS(status))
		return status;
	status = ReadNumber(key, &ringName, &ring);
	if (NT_SUCCESS(status))
		status = ReadNumber(key, &externalName, &external);
	WdfRegistryClose(key);
	if (!NT_SUCCESS(status)) {
		DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL,
			   "ring= and external= are numbers\n");
		return status;
	}
	if (!EchoOptionsAreGood(ring, external))
		return STATUS_INVALID_PARAMETER;
	EchoOptions.Ring = ring;
	EchoOptions.External = external * 1024;
	return STATUS_SUCCESS;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	WDF_DRIVER_CONFIG config;
	WDFDRIVER driver;
	NTSTATUS status;

	WDF_DRIVER_CONFIG_INIT(&config, EchoDeviceAdd);
	config.DriverPoolTag = ECHO_POOL_TAG;
	status = WdfDriverCreate(DriverObject, RegistryPath, WDF_NO_OBJECT_ATTRIBUTES, &config,
				 &driver);
	return NT_SUCCESS(status) ? ReadOptions(driver) : status;
}
