/* SPDX-License-Identifier: MIT */
/*
 * Compiled, not run: by each compiler, in C and in C++, with 16-bit and with 32-bit wchar_t, all
 * warnings being errors. HEADER is the header that must stand on its own.
 */
#include HEADER
#include <ntddk.h>
#include <wdm.h>
#include <ntstatus.h>
#include <wdf.h>
#include <initguid.h>

DEFINE_GUID(HEADERS_GUID, 0x12345678, 0x9abc, 0xdef0, 1, 2, 3, 4, 5, 6, 7, 8);

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

static_assert(sizeof(ULONG) == 4 && sizeof(LONG) == 4, "LONG has 32 bits on LP64 too");
static_assert(sizeof(WCHAR) == 2, "WCHAR has 16 bits");
static_assert(sizeof(GUID) == 16, "GUID");
static_assert(STATUS_DEVICE_REMOVED == (NTSTATUS)0xC00002B6, "a status is signed");

EXTERN_C_START
DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD HeadersUnload;
DRIVER_ADD_DEVICE HeadersAddDevice;
KDEFERRED_ROUTINE HeadersDpc;
EXTERN_C_END

#if defined(__SIZEOF_WCHAR_T__) && __SIZEOF_WCHAR_T__ == 2
#define TEXT16(s) L##s
#else
#define TEXT16(s) u##s
#endif

/* a REFGUID is a reference in C++ and a pointer in C */
#ifdef __cplusplus
#define HEADERS_GUID_REF HEADERS_GUID
#else
#define HEADERS_GUID_REF &HEADERS_GUID
#endif

DECLARE_HANDLE(HEADERS_HANDLE);

typedef struct _HEADERS_EXTENSION {
	KEVENT Event;
	KTIMER Timer;
	KDPC Dpc;
	KSPIN_LOCK Lock;
	LIST_ENTRY List;
	EX_RUNDOWN_REF Rundown;
	HEADERS_HANDLE Handle;
} HEADERS_EXTENSION, *PHEADERS_EXTENSION;

_Use_decl_annotations_ VOID HeadersDpc(PKDPC Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
	PHEADERS_EXTENSION extension = (PHEADERS_EXTENSION)Context;
	KIRQL irql;

	UNREFERENCED_PARAMETER(Dpc);
	UNREFERENCED_PARAMETER(Argument1);
	UNREFERENCED_PARAMETER(Argument2);
	KeAcquireSpinLock(&extension->Lock, &irql);
	if (!IsListEmpty(&extension->List))
		RemoveHeadList(&extension->List);
	KeReleaseSpinLock(&extension->Lock, irql);
	KeSetEvent(&extension->Event, IO_NO_INCREMENT, FALSE);
}

VOID HeadersUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
	PAGED_CODE();
}

NTSTATUS HeadersAddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT Pdo)
{
	DECLARE_CONST_UNICODE_STRING(name, TEXT16("\\Device\\Headers"));
	DECLARE_UNICODE_STRING_SIZE(copy, 32);
	PHEADERS_EXTENSION extension;
	PDEVICE_OBJECT device;
	LARGE_INTEGER due;
	NTSTATUS status;

	RtlCopyUnicodeString(&copy, &name);
	status = IoCreateDevice(DriverObject, sizeof(*extension), &copy, FILE_DEVICE_UNKNOWN, 0,
				FALSE, &device);
	if (!NT_SUCCESS(status))
		return status;
	extension = (PHEADERS_EXTENSION)device->DeviceExtension;
	KeInitializeEvent(&extension->Event, NotificationEvent, FALSE);
	KeInitializeDpc(&extension->Dpc, HeadersDpc, extension);
	KeInitializeTimer(&extension->Timer);
	InitializeListHead(&extension->List);
	ExInitializeRundownProtection(&extension->Rundown);
	due.QuadPart = -10000;
	KeSetTimer(&extension->Timer, due, &extension->Dpc);
	IoAttachDeviceToDeviceStack(device, Pdo);
	NT_ASSERT(FlagOn(device->Flags, DO_DEVICE_INITIALIZING));
	ClearFlag(device->Flags, DO_DEVICE_INITIALIZING);
	DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_INFO_LEVEL, "%u devices\n", 1u);
	return STATUS_SUCCESS;
}

/* ---- the framework: declarations as its drivers have them, with and without a semicolon ---- */

typedef struct _HEADERS_CONTEXT {
	WDFQUEUE Queue;
	WDFSPINLOCK Lock;
} HEADERS_CONTEXT, *PHEADERS_CONTEXT;
WDF_DECLARE_CONTEXT_TYPE_WITH_NAME(HEADERS_CONTEXT, HeadersGetContext)

typedef struct _HEADERS_REQUEST {
	ULONG Number;
} HEADERS_REQUEST;
WDF_DECLARE_CONTEXT_TYPE(HEADERS_REQUEST);

EXTERN_C_START
EVT_WDF_DRIVER_DEVICE_ADD HeadersDeviceAdd;
EVT_WDF_IO_QUEUE_IO_DEVICE_CONTROL HeadersControl;
EVT_WDF_DEVICE_D0_ENTRY HeadersD0Entry;
EVT_WDF_OBJECT_CONTEXT_CLEANUP HeadersCleanup;
EXTERN_C_END

VOID HeadersControl(WDFQUEUE Queue, WDFREQUEST Request, size_t Out, size_t In, ULONG Code)
{
	PHEADERS_CONTEXT context = HeadersGetContext(WdfIoQueueGetDevice(Queue));
	size_t length;
	PVOID buffer;
	NTSTATUS status = WdfRequestRetrieveInputBuffer(Request, 4, &buffer, &length);

	UNREFERENCED_PARAMETER(Out);
	UNREFERENCED_PARAMETER(In);
	WdfSpinLockAcquire(context->Lock);
	WdfObjectGet_HEADERS_REQUEST(Request)->Number = Code;
	WdfObjectGetTypedContext(Request, HEADERS_REQUEST)->Number++;
	WdfSpinLockRelease(context->Lock);
	WdfRequestCompleteWithInformation(Request, status, 0);
}

NTSTATUS HeadersD0Entry(WDFDEVICE Device, WDF_POWER_DEVICE_STATE PreviousState)
{
	return HeadersGetContext(Device)->Queue && PreviousState == WdfPowerDeviceD3Final
		       ? STATUS_SUCCESS
		       : STATUS_UNSUCCESSFUL;
}

VOID HeadersCleanup(WDFOBJECT Object)
{
	UNREFERENCED_PARAMETER(Object);
}

NTSTATUS HeadersDeviceAdd(WDFDRIVER Driver, PWDFDEVICE_INIT DeviceInit)
{
	WDF_PNPPOWER_EVENT_CALLBACKS callbacks;
	WDF_OBJECT_ATTRIBUTES attributes;
	WDF_IO_QUEUE_CONFIG config;
	LONGLONG timeout = WDF_REL_TIMEOUT_IN_MS(5);
	WDFWAITLOCK lock;
	WDFDEVICE device;
	NTSTATUS status;

	UNREFERENCED_PARAMETER(Driver);
	WDF_PNPPOWER_EVENT_CALLBACKS_INIT(&callbacks);
	callbacks.EvtDeviceD0Entry = HeadersD0Entry;
	WdfDeviceInitSetPnpPowerEventCallbacks(DeviceInit, &callbacks);
	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, HEADERS_REQUEST);
	WdfDeviceInitSetRequestAttributes(DeviceInit, &attributes);
	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	WDF_OBJECT_ATTRIBUTES_SET_CONTEXT_TYPE(&attributes, HEADERS_CONTEXT);
	attributes.EvtCleanupCallback = HeadersCleanup;
	status = WdfDeviceCreate(&DeviceInit, &attributes, &device);
	if (!NT_SUCCESS(status))
		return status;
	WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(&config, WdfIoQueueDispatchParallel);
	config.EvtIoDeviceControl = HeadersControl;
	status = WdfIoQueueCreate(device, &config, WDF_NO_OBJECT_ATTRIBUTES,
				  &HeadersGetContext(device)->Queue);
	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.ParentObject = device;
	if (NT_SUCCESS(status))
		status = WdfWaitLockCreate(&attributes, &lock);
	if (NT_SUCCESS(status) && WdfWaitLockAcquire(lock, &timeout) == STATUS_SUCCESS)
		WdfWaitLockRelease(lock);
	return status;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	PVOID block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 'rdaH');

	WDF_DRIVER_CONFIG config;

	WDF_DRIVER_CONFIG_INIT(&config, HeadersDeviceAdd);
	if (!NT_SUCCESS(WdfDriverCreate(DriverObject, RegistryPath, WDF_NO_OBJECT_ATTRIBUTES,
					&config, WDF_NO_HANDLE)))
		return STATUS_UNSUCCESSFUL;
	if (!block)
		return STATUS_INSUFFICIENT_RESOURCES;
	RtlZeroMemory(block, 64);
	ExFreePoolWithTag(block, 'rdaH');
	DriverObject->DriverUnload = HeadersUnload;
	DriverObject->DriverExtension->AddDevice = HeadersAddDevice;
	return IsEqualGUID(HEADERS_GUID_REF, HEADERS_GUID_REF) ? STATUS_SUCCESS
							       : STATUS_UNSUCCESSFUL;
}
