/* SPDX-License-Identifier: MIT */
/**
 * @file
 * I/O targets: the next device of the stack, or another device.
 */
#ifndef OPENKMCL_WDF_TARGET_H
#define OPENKMCL_WDF_TARGET_H

#include "memory.h"

EXTERN_C_START

typedef enum _WDF_IO_TARGET_STATE {
	WdfIoTargetStateUndefined = 0,
	WdfIoTargetStarted,
	WdfIoTargetStopped,
	WdfIoTargetClosedForQueryRemove,
	WdfIoTargetClosed,
	WdfIoTargetDeleted,
	WdfIoTargetPurged,
} WDF_IO_TARGET_STATE, *PWDF_IO_TARGET_STATE;

typedef enum _WDF_IO_TARGET_OPEN_TYPE {
	WdfIoTargetOpenUndefined = 0,
	WdfIoTargetOpenUseExistingDevice = 1,
	WdfIoTargetOpenByName = 2,
	WdfIoTargetOpenReopen = 3,
	WdfIoTargetOpenLocalTargetByFile = 4,
} WDF_IO_TARGET_OPEN_TYPE;

typedef NTSTATUS EVT_WDF_IO_TARGET_QUERY_REMOVE(_In_ WDFIOTARGET IoTarget);
typedef EVT_WDF_IO_TARGET_QUERY_REMOVE *PFN_WDF_IO_TARGET_QUERY_REMOVE;
typedef VOID EVT_WDF_IO_TARGET_REMOVE_CANCELED(_In_ WDFIOTARGET IoTarget);
typedef EVT_WDF_IO_TARGET_REMOVE_CANCELED *PFN_WDF_IO_TARGET_REMOVE_CANCELED;
typedef VOID EVT_WDF_IO_TARGET_REMOVE_COMPLETE(_In_ WDFIOTARGET IoTarget);
typedef EVT_WDF_IO_TARGET_REMOVE_COMPLETE *PFN_WDF_IO_TARGET_REMOVE_COMPLETE;

typedef struct _WDF_IO_TARGET_OPEN_PARAMS {
	ULONG Size;
	WDF_IO_TARGET_OPEN_TYPE Type;
	PFN_WDF_IO_TARGET_QUERY_REMOVE EvtIoTargetQueryRemove; /* callbacks: never called here */
	PFN_WDF_IO_TARGET_REMOVE_CANCELED EvtIoTargetRemoveCanceled;
	PFN_WDF_IO_TARGET_REMOVE_COMPLETE EvtIoTargetRemoveComplete;
	PDEVICE_OBJECT TargetDeviceObject;
	PVOID TargetFileObject;
	UNICODE_STRING TargetDeviceName;
	ACCESS_MASK DesiredAccess;
	ULONG ShareAccess;
	ULONG FileAttributes;
	ULONG CreateDisposition;
	ULONG CreateOptions;
	PVOID EaBuffer;
	ULONG EaBufferLength;
	PLONGLONG AllocationSize;
	ULONG FileInformation;
	UNICODE_STRING FileName;
} WDF_IO_TARGET_OPEN_PARAMS, *PWDF_IO_TARGET_OPEN_PARAMS;

FORCEINLINE VOID WDF_IO_TARGET_OPEN_PARAMS_INIT_EXISTING_DEVICE(PWDF_IO_TARGET_OPEN_PARAMS Params,
								PDEVICE_OBJECT DeviceObject)
{
	RtlZeroMemory(Params, sizeof(*Params));
	Params->Size = WDF_STRUCTURE_SIZE(WDF_IO_TARGET_OPEN_PARAMS);
	Params->Type = WdfIoTargetOpenUseExistingDevice;
	Params->TargetDeviceObject = DeviceObject;
}

/** Closed; WdfIoTargetOpen names its device. A child of Device. */
NTSTATUS WdfIoTargetCreate(_In_ WDFDEVICE Device,
			   _In_opt_ PWDF_OBJECT_ATTRIBUTES IoTargetAttributes,
			   _Out_ WDFIOTARGET *IoTarget);
/** An existing device alone: STATUS_NOT_SUPPORTED for the other types. PASSIVE_LEVEL. */
NTSTATUS WdfIoTargetOpen(_In_ WDFIOTARGET IoTarget, _In_ PWDF_IO_TARGET_OPEN_PARAMS OpenParams);
/** Waits for what was sent. PASSIVE_LEVEL. */
VOID WdfIoTargetClose(_In_ WDFIOTARGET IoTarget);
WDF_IO_TARGET_STATE WdfIoTargetGetState(_In_ WDFIOTARGET IoTarget);
WDFDEVICE WdfIoTargetGetDevice(_In_ WDFIOTARGET IoTarget);
/** NULL: closed. */
PDEVICE_OBJECT WdfIoTargetWdmGetTargetDeviceObject(_In_ WDFIOTARGET IoTarget);
PDEVICE_OBJECT WdfIoTargetWdmGetTargetPhysicalDevice(_In_ WDFIOTARGET IoTarget);
/** As WdfFdoQueryForInterface, of the target's stack. */
NTSTATUS WdfIoTargetQueryForInterface(_In_ WDFIOTARGET IoTarget, _In_ LPCGUID InterfaceType,
				      _Out_ PINTERFACE Interface, _In_ USHORT Size,
				      _In_ USHORT Version, _In_opt_ PVOID InterfaceSpecificData);

EXTERN_C_END

#endif
