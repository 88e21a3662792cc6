/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The driver object.
 */
#ifndef OPENKMCL_WDF_DRIVER_H
#define OPENKMCL_WDF_DRIVER_H

#include "object.h"

EXTERN_C_START

/** A device of the driver's kind has been found. The driver sets DeviceInit up and creates its
 * device object. A failure deletes the device if it had been created. PASSIVE_LEVEL. */
typedef NTSTATUS EVT_WDF_DRIVER_DEVICE_ADD(_In_ WDFDRIVER Driver,
					   _Inout_ PWDFDEVICE_INIT DeviceInit);
typedef EVT_WDF_DRIVER_DEVICE_ADD *PFN_WDF_DRIVER_DEVICE_ADD;
/** Before the driver object is deleted; its devices are gone. PASSIVE_LEVEL. */
typedef VOID EVT_WDF_DRIVER_UNLOAD(_In_ WDFDRIVER Driver);
typedef EVT_WDF_DRIVER_UNLOAD *PFN_WDF_DRIVER_UNLOAD;

typedef enum _WDF_DRIVER_INIT_FLAGS {
	WdfDriverInitNonPnpDriver = 0x00000001,
	WdfDriverInitNoDispatchOverride = 0x00000002,
	WdfVerifyOn = 0x00000004,
	WdfVerifierOn = 0x00000008,
	WdfDriverInitCompanion = 0x00000010,
} WDF_DRIVER_INIT_FLAGS;

typedef struct _WDF_DRIVER_CONFIG {
	ULONG Size;
	PFN_WDF_DRIVER_DEVICE_ADD EvtDriverDeviceAdd;
	PFN_WDF_DRIVER_UNLOAD EvtDriverUnload;
	ULONG DriverInitFlags; /* WDF_DRIVER_INIT_FLAGS */
	ULONG DriverPoolTag;
} WDF_DRIVER_CONFIG, *PWDF_DRIVER_CONFIG;

FORCEINLINE VOID WDF_DRIVER_CONFIG_INIT(PWDF_DRIVER_CONFIG Config,
					PFN_WDF_DRIVER_DEVICE_ADD EvtDriverDeviceAdd)
{
	RtlZeroMemory(Config, sizeof(*Config));
	Config->Size = WDF_STRUCTURE_SIZE(WDF_DRIVER_CONFIG);
	Config->EvtDriverDeviceAdd = EvtDriverDeviceAdd;
}

/** From DriverEntry, once. If DriverEntry fails afterwards the object is deleted and
 * EvtDriverUnload is not called.
 * @return STATUS_DRIVER_INTERNAL_ERROR: there is one; STATUS_INVALID_PARAMETER: the flags, or a
 * PnP driver without EvtDriverDeviceAdd; STATUS_INFO_LENGTH_MISMATCH */
NTSTATUS WdfDriverCreate(_In_ PDRIVER_OBJECT DriverObject, _In_ PCUNICODE_STRING RegistryPath,
			 _In_opt_ PWDF_OBJECT_ATTRIBUTES DriverAttributes,
			 _In_ PWDF_DRIVER_CONFIG DriverConfig, _Out_opt_ WDFDRIVER *Driver);
/** Driver of the calling thread; NULL: none has been created. */
WDFDRIVER WdfGetDriver(VOID);
PDRIVER_OBJECT WdfDriverWdmGetDriverObject(_In_ WDFDRIVER Driver);
WDFDRIVER WdfWdmDriverGetWdfDriverHandle(_In_ PDRIVER_OBJECT DriverObject);
/** Terminated; valid as long as the driver object. */
PWSTR WdfDriverGetRegistryPath(_In_ WDFDRIVER Driver);

typedef struct _WDF_DRIVER_VERSION_AVAILABLE_PARAMS {
	ULONG Size;
	ULONG MajorVersion;
	ULONG MinorVersion;
} WDF_DRIVER_VERSION_AVAILABLE_PARAMS, *PWDF_DRIVER_VERSION_AVAILABLE_PARAMS;

FORCEINLINE VOID WDF_DRIVER_VERSION_AVAILABLE_PARAMS_INIT(
	PWDF_DRIVER_VERSION_AVAILABLE_PARAMS Params, ULONG MajorVersion, ULONG MinorVersion)
{
	RtlZeroMemory(Params, sizeof(*Params));
	Params->Size = WDF_STRUCTURE_SIZE(WDF_DRIVER_VERSION_AVAILABLE_PARAMS);
	Params->MajorVersion = MajorVersion;
	Params->MinorVersion = MinorVersion;
}

/** Up to 1.33. */
BOOLEAN
WdfDriverIsVersionAvailable(_In_ WDFDRIVER Driver,
			    _In_ PWDF_DRIVER_VERSION_AVAILABLE_PARAMS VersionAvailableParams);

EXTERN_C_END

#endif
