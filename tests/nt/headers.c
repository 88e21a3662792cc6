/* SPDX-License-Identifier: MIT */
/*
 * Compiled, not run: by each compiler, in C and in C++, with 16-bit and with 32-bit wchar_t, all
 * warnings being errors. HEADER is the header that must stand on its own.
 */
#include HEADER
#include <ntddk.h>
#include <wdm.h>
#include <ntstatus.h>
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

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	PVOID block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 'rdaH');

	UNREFERENCED_PARAMETER(RegistryPath);
	if (!block)
		return STATUS_INSUFFICIENT_RESOURCES;
	RtlZeroMemory(block, 64);
	ExFreePoolWithTag(block, 'rdaH');
	DriverObject->DriverUnload = HeadersUnload;
	DriverObject->DriverExtension->AddDevice = HeadersAddDevice;
	return IsEqualGUID(HEADERS_GUID_REF, HEADERS_GUID_REF) ? STATUS_SUCCESS
							       : STATUS_UNSUCCESSFUL;
}
