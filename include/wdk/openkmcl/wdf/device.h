/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Devices: what EvtDriverDeviceAdd sets up, PnP and power callbacks, interfaces, FDO functions.
 *
 * A device starts with PrepareHardware, D0Entry, D0EntryPostInterruptsEnabled, then its
 * power-managed queues run, then SelfManagedIoInit (Restart if it was stopped in between). It goes
 * with QueryRemove (SurpriseRemoval when it is gone already), SelfManagedIoSuspend, EvtIoStop for
 * the requests that the driver owns, D0ExitPreInterruptsDisabled, D0Exit, ReleaseHardware,
 * SelfManagedIoFlush, SelfManagedIoCleanup, and the deletion of the device object.
 *
 * When one of the callbacks of the start fails, the start fails with its status and what has been
 * done is undone: PrepareHardware by ReleaseHardware (which is called even if it was
 * PrepareHardware that failed), a D0Entry that succeeded by D0Exit, and a failed SelfManagedIoInit
 * is followed by Flush and Cleanup but not by Suspend. A D0Entry that failed is not followed by
 * D0Exit. A failure of a callback on the way down is logged and changes nothing.
 */
#ifndef OPENKMCL_WDF_DEVICE_H
#define OPENKMCL_WDF_DEVICE_H

#include "memory.h"

EXTERN_C_START

/* ---- PnP and power callbacks; PASSIVE_LEVEL ---- */
typedef enum _WDF_POWER_DEVICE_STATE {
	WdfPowerDeviceInvalid = 0,
	WdfPowerDeviceD0,
	WdfPowerDeviceD1,
	WdfPowerDeviceD2,
	WdfPowerDeviceD3,
	WdfPowerDeviceD3Final,
	WdfPowerDevicePrepareForHibernation,
	WdfPowerDeviceMaximum,
} WDF_POWER_DEVICE_STATE, *PWDF_POWER_DEVICE_STATE;

typedef enum _WDF_SPECIAL_FILE_TYPE {
	WdfSpecialFileUndefined = 0,
	WdfSpecialFilePaging = 1,
	WdfSpecialFileHibernation,
	WdfSpecialFileDump,
	WdfSpecialFileBoot,
	WdfSpecialFilePostDisplay,
	WdfSpecialFileGuestAssigned,
	WdfSpecialFileMax,
} WDF_SPECIAL_FILE_TYPE, *PWDF_SPECIAL_FILE_TYPE;

typedef enum _DEVICE_RELATION_TYPE {
	BusRelations,
	EjectionRelations,
	PowerRelations,
	RemovalRelations,
	TargetDeviceRelation,
	SingleBusRelations,
	TransportRelations,
} DEVICE_RELATION_TYPE;

typedef NTSTATUS EVT_WDF_DEVICE_D0_ENTRY(_In_ WDFDEVICE Device,
					 _In_ WDF_POWER_DEVICE_STATE PreviousState);
typedef EVT_WDF_DEVICE_D0_ENTRY *PFN_WDF_DEVICE_D0_ENTRY;
typedef NTSTATUS
EVT_WDF_DEVICE_D0_ENTRY_POST_INTERRUPTS_ENABLED(_In_ WDFDEVICE Device,
						_In_ WDF_POWER_DEVICE_STATE PreviousState);
typedef EVT_WDF_DEVICE_D0_ENTRY_POST_INTERRUPTS_ENABLED
	*PFN_WDF_DEVICE_D0_ENTRY_POST_INTERRUPTS_ENABLED;
typedef NTSTATUS EVT_WDF_DEVICE_D0_EXIT(_In_ WDFDEVICE Device,
					_In_ WDF_POWER_DEVICE_STATE TargetState);
typedef EVT_WDF_DEVICE_D0_EXIT *PFN_WDF_DEVICE_D0_EXIT;
typedef NTSTATUS
EVT_WDF_DEVICE_D0_EXIT_PRE_INTERRUPTS_DISABLED(_In_ WDFDEVICE Device,
					       _In_ WDF_POWER_DEVICE_STATE TargetState);
typedef EVT_WDF_DEVICE_D0_EXIT_PRE_INTERRUPTS_DISABLED
	*PFN_WDF_DEVICE_D0_EXIT_PRE_INTERRUPTS_DISABLED;
/** Both resource lists are empty. */
typedef NTSTATUS EVT_WDF_DEVICE_PREPARE_HARDWARE(_In_ WDFDEVICE Device,
						 _In_ WDFCMRESLIST ResourcesRaw,
						 _In_ WDFCMRESLIST ResourcesTranslated);
typedef EVT_WDF_DEVICE_PREPARE_HARDWARE *PFN_WDF_DEVICE_PREPARE_HARDWARE;
typedef NTSTATUS EVT_WDF_DEVICE_RELEASE_HARDWARE(_In_ WDFDEVICE Device,
						 _In_ WDFCMRESLIST ResourcesTranslated);
typedef EVT_WDF_DEVICE_RELEASE_HARDWARE *PFN_WDF_DEVICE_RELEASE_HARDWARE;
typedef VOID EVT_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP(_In_ WDFDEVICE Device);
typedef EVT_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP *PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP;
typedef VOID EVT_WDF_DEVICE_SELF_MANAGED_IO_FLUSH(_In_ WDFDEVICE Device);
typedef EVT_WDF_DEVICE_SELF_MANAGED_IO_FLUSH *PFN_WDF_DEVICE_SELF_MANAGED_IO_FLUSH;
typedef NTSTATUS EVT_WDF_DEVICE_SELF_MANAGED_IO_INIT(_In_ WDFDEVICE Device);
typedef EVT_WDF_DEVICE_SELF_MANAGED_IO_INIT *PFN_WDF_DEVICE_SELF_MANAGED_IO_INIT;
typedef NTSTATUS EVT_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND(_In_ WDFDEVICE Device);
typedef EVT_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND *PFN_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND;
typedef NTSTATUS EVT_WDF_DEVICE_SELF_MANAGED_IO_RESTART(_In_ WDFDEVICE Device);
typedef EVT_WDF_DEVICE_SELF_MANAGED_IO_RESTART *PFN_WDF_DEVICE_SELF_MANAGED_IO_RESTART;
typedef NTSTATUS EVT_WDF_DEVICE_QUERY_STOP(_In_ WDFDEVICE Device);
typedef EVT_WDF_DEVICE_QUERY_STOP *PFN_WDF_DEVICE_QUERY_STOP;
typedef NTSTATUS EVT_WDF_DEVICE_QUERY_REMOVE(_In_ WDFDEVICE Device);
typedef EVT_WDF_DEVICE_QUERY_REMOVE *PFN_WDF_DEVICE_QUERY_REMOVE;
typedef VOID EVT_WDF_DEVICE_SURPRISE_REMOVAL(_In_ WDFDEVICE Device);
typedef EVT_WDF_DEVICE_SURPRISE_REMOVAL *PFN_WDF_DEVICE_SURPRISE_REMOVAL;
/* never called here */
typedef VOID EVT_WDF_DEVICE_USAGE_NOTIFICATION(_In_ WDFDEVICE Device,
					       _In_ WDF_SPECIAL_FILE_TYPE NotificationType,
					       _In_ BOOLEAN IsInNotificationPath);
typedef EVT_WDF_DEVICE_USAGE_NOTIFICATION *PFN_WDF_DEVICE_USAGE_NOTIFICATION;
typedef NTSTATUS EVT_WDF_DEVICE_USAGE_NOTIFICATION_EX(_In_ WDFDEVICE Device,
						      _In_ WDF_SPECIAL_FILE_TYPE NotificationType,
						      _In_ BOOLEAN IsInNotificationPath);
typedef EVT_WDF_DEVICE_USAGE_NOTIFICATION_EX *PFN_WDF_DEVICE_USAGE_NOTIFICATION_EX;
typedef VOID EVT_WDF_DEVICE_RELATIONS_QUERY(_In_ WDFDEVICE Device,
					    _In_ DEVICE_RELATION_TYPE RelationType);
typedef EVT_WDF_DEVICE_RELATIONS_QUERY *PFN_WDF_DEVICE_RELATIONS_QUERY;

typedef struct _WDF_PNPPOWER_EVENT_CALLBACKS {
	ULONG Size;
	PFN_WDF_DEVICE_D0_ENTRY EvtDeviceD0Entry;
	PFN_WDF_DEVICE_D0_ENTRY_POST_INTERRUPTS_ENABLED EvtDeviceD0EntryPostInterruptsEnabled;
	PFN_WDF_DEVICE_D0_EXIT EvtDeviceD0Exit;
	PFN_WDF_DEVICE_D0_EXIT_PRE_INTERRUPTS_DISABLED EvtDeviceD0ExitPreInterruptsDisabled;
	PFN_WDF_DEVICE_PREPARE_HARDWARE EvtDevicePrepareHardware;
	PFN_WDF_DEVICE_RELEASE_HARDWARE EvtDeviceReleaseHardware;
	PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP EvtDeviceSelfManagedIoCleanup;
	PFN_WDF_DEVICE_SELF_MANAGED_IO_FLUSH EvtDeviceSelfManagedIoFlush;
	PFN_WDF_DEVICE_SELF_MANAGED_IO_INIT EvtDeviceSelfManagedIoInit;
	PFN_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND EvtDeviceSelfManagedIoSuspend;
	PFN_WDF_DEVICE_SELF_MANAGED_IO_RESTART EvtDeviceSelfManagedIoRestart;
	PFN_WDF_DEVICE_SURPRISE_REMOVAL EvtDeviceSurpriseRemoval;
	PFN_WDF_DEVICE_QUERY_REMOVE EvtDeviceQueryRemove;
	PFN_WDF_DEVICE_QUERY_STOP EvtDeviceQueryStop;
	PFN_WDF_DEVICE_USAGE_NOTIFICATION EvtDeviceUsageNotification;
	PFN_WDF_DEVICE_RELATIONS_QUERY EvtDeviceRelationsQuery;
	PFN_WDF_DEVICE_USAGE_NOTIFICATION_EX EvtDeviceUsageNotificationEx;
} WDF_PNPPOWER_EVENT_CALLBACKS, *PWDF_PNPPOWER_EVENT_CALLBACKS;

FORCEINLINE VOID WDF_PNPPOWER_EVENT_CALLBACKS_INIT(PWDF_PNPPOWER_EVENT_CALLBACKS Callbacks)
{
	RtlZeroMemory(Callbacks, sizeof(*Callbacks));
	Callbacks->Size = WDF_STRUCTURE_SIZE(WDF_PNPPOWER_EVENT_CALLBACKS);
}

/** 0: a VMBus device has no resources. */
ULONG WdfCmResourceListGetCount(_In_ WDFCMRESLIST List);

/* ---- before the device is created; PASSIVE_LEVEL ---- */
typedef enum _WDF_DEVICE_IO_TYPE {
	WdfDeviceIoUndefined = 0,
	WdfDeviceIoNeither,
	WdfDeviceIoBuffered,
	WdfDeviceIoDirect,
	WdfDeviceIoBufferedOrDirect = 4,
	WdfDeviceIoMaximum,
} WDF_DEVICE_IO_TYPE, *PWDF_DEVICE_IO_TYPE;

/** A Size other than the INIT function's is a contract violation and nothing is set. */
VOID WdfDeviceInitSetPnpPowerEventCallbacks(
	_In_ PWDFDEVICE_INIT DeviceInit, _In_ PWDF_PNPPOWER_EVENT_CALLBACKS PnpPowerEventCallbacks);
/** A function driver is by default, a filter is not. Kept; nothing here sleeps. */
VOID WdfDeviceInitSetPowerPolicyOwnership(_In_ PWDFDEVICE_INIT DeviceInit,
					  _In_ BOOLEAN IsPowerPolicyOwner);
/** Context and callbacks of the device's requests. */
VOID WdfDeviceInitSetRequestAttributes(_In_ PWDFDEVICE_INIT DeviceInit,
				       _In_ PWDF_OBJECT_ATTRIBUTES RequestAttributes);
VOID WdfDeviceInitSetIoType(_In_ PWDFDEVICE_INIT DeviceInit, _In_ WDF_DEVICE_IO_TYPE IoType);
VOID WdfDeviceInitSetDeviceType(_In_ PWDFDEVICE_INIT DeviceInit, _In_ DEVICE_TYPE DeviceType);
VOID WdfDeviceInitSetCharacteristics(_In_ PWDFDEVICE_INIT DeviceInit,
				     _In_ ULONG DeviceCharacteristics, _In_ BOOLEAN OrInValues);
VOID WdfDeviceInitSetExclusive(_In_ PWDFDEVICE_INIT DeviceInit, _In_ BOOLEAN IsExclusive);
VOID WdfDeviceInitSetPowerPageable(_In_ PWDFDEVICE_INIT DeviceInit);
VOID WdfDeviceInitSetPowerNotPageable(_In_ PWDFDEVICE_INIT DeviceInit);
/** The name is kept (WdfDeviceRetrieveDeviceName); devices are found through their driver. NULL: no
 * name. STATUS_INVALID_PARAMETER: it does not begin with a backslash. */
NTSTATUS WdfDeviceInitAssignName(_In_ PWDFDEVICE_INIT DeviceInit,
				 _In_opt_ PCUNICODE_STRING DeviceName);
VOID WdfDeviceInitFree(_In_ PWDFDEVICE_INIT DeviceInit);

PDEVICE_OBJECT WdfFdoInitWdmGetPhysicalDevice(_In_ PWDFDEVICE_INIT DeviceInit);
/** The driver filters: requests without a queue go down the stack, and its queues are not
 * power-managed by default. */
VOID WdfFdoInitSetFilter(_In_ PWDFDEVICE_INIT DeviceInit);

/** First look at an IRP of a major function. It answers it (WdfDeviceWdmDispatchPreprocessedIrp
 * hands it on). */
typedef NTSTATUS EVT_WDFDEVICE_WDM_IRP_PREPROCESS(_In_ WDFDEVICE Device, _Inout_ PIRP Irp);
typedef EVT_WDFDEVICE_WDM_IRP_PREPROCESS *PFN_WDFDEVICE_WDM_IRP_PREPROCESS;
/** MinorFunctions NULL: all. One callback a major function. */
NTSTATUS WdfDeviceInitAssignWdmIrpPreprocessCallback(
	_In_ PWDFDEVICE_INIT DeviceInit,
	_In_ PFN_WDFDEVICE_WDM_IRP_PREPROCESS EvtDeviceWdmIrpPreprocess, _In_ UCHAR MajorFunction,
	_In_opt_ PUCHAR MinorFunctions, _In_ ULONG NumMinorFunctions);
NTSTATUS WdfDeviceWdmDispatchPreprocessedIrp(_In_ WDFDEVICE Device, _In_ PIRP Irp);

/* ---- the device ---- */
/** Creates the device object and puts it on the stack. Takes *DeviceInit over on success, and then
 * sets it to NULL. Attributes may not name a parent (STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED).
 * PASSIVE_LEVEL. */
NTSTATUS WdfDeviceCreate(_Inout_ PWDFDEVICE_INIT *DeviceInit,
			 _In_opt_ PWDF_OBJECT_ATTRIBUTES DeviceAttributes, _Out_ WDFDEVICE *Device);

WDFDRIVER WdfDeviceGetDriver(_In_ WDFDEVICE Device);
/** Where what the driver does not handle goes: the next device of the stack. */
WDFIOTARGET WdfDeviceGetIoTarget(_In_ WDFDEVICE Device);
/** NULL: none. */
WDFQUEUE WdfDeviceGetDefaultQueue(_In_ WDFDEVICE Device);
PDEVICE_OBJECT WdfDeviceWdmGetDeviceObject(_In_ WDFDEVICE Device);
PDEVICE_OBJECT WdfDeviceWdmGetAttachedDevice(_In_ WDFDEVICE Device);
PDEVICE_OBJECT WdfDeviceWdmGetPhysicalDevice(_In_ WDFDEVICE Device);
/** NULL: not a device of the calling driver. */
WDFDEVICE WdfWdmDeviceGetWdfDeviceHandle(_In_ PDEVICE_OBJECT DeviceObject);
/** STATUS_OBJECT_NAME_NOT_FOUND... of a device without a name: STATUS_INVALID_DEVICE_REQUEST. */
NTSTATUS WdfDeviceRetrieveDeviceName(_In_ WDFDEVICE Device, _In_ WDFSTRING String);
ULONG WdfDeviceGetCharacteristics(_In_ WDFDEVICE Device);
VOID WdfDeviceSetCharacteristics(_In_ WDFDEVICE Device, _In_ ULONG DeviceCharacteristics);
ULONG WdfDeviceGetAlignmentRequirement(_In_ WDFDEVICE Device);
VOID WdfDeviceSetAlignmentRequirement(_In_ WDFDEVICE Device, _In_ ULONG AlignmentRequirement);
/** FALSE: a query to stop or remove the device fails. */
VOID WdfDeviceSetStaticStopRemove(_In_ WDFDEVICE Device, _In_ BOOLEAN Stoppable);

typedef struct _WDF_DEVICE_PNP_CAPABILITIES {
	ULONG Size;
	WDF_TRI_STATE LockSupported;
	WDF_TRI_STATE EjectSupported;
	WDF_TRI_STATE Removable;
	WDF_TRI_STATE DockDevice;
	WDF_TRI_STATE UniqueID;
	WDF_TRI_STATE SilentInstall;
	WDF_TRI_STATE SurpriseRemovalOK;
	WDF_TRI_STATE HardwareDisabled;
	WDF_TRI_STATE NoDisplayInUI;
	ULONG Address;
	ULONG UINumber;
} WDF_DEVICE_PNP_CAPABILITIES, *PWDF_DEVICE_PNP_CAPABILITIES;

FORCEINLINE VOID WDF_DEVICE_PNP_CAPABILITIES_INIT(PWDF_DEVICE_PNP_CAPABILITIES Caps)
{
	RtlZeroMemory(Caps, sizeof(*Caps));
	Caps->Size = WDF_STRUCTURE_SIZE(WDF_DEVICE_PNP_CAPABILITIES);
	Caps->LockSupported = WdfUseDefault;
	Caps->EjectSupported = WdfUseDefault;
	Caps->Removable = WdfUseDefault;
	Caps->DockDevice = WdfUseDefault;
	Caps->UniqueID = WdfUseDefault;
	Caps->SilentInstall = WdfUseDefault;
	Caps->SurpriseRemovalOK = WdfUseDefault;
	Caps->HardwareDisabled = WdfUseDefault;
	Caps->NoDisplayInUI = WdfUseDefault;
	Caps->Address = (ULONG)-1;
	Caps->UINumber = (ULONG)-1;
}

/** Checked; nobody here asks for capabilities. */
VOID WdfDeviceSetPnpCapabilities(_In_ WDFDEVICE Device,
				 _In_ PWDF_DEVICE_PNP_CAPABILITIES PnpCapabilities);

/* ---- device interfaces; PASSIVE_LEVEL ---- */
/** Enabled when the device has started, disabled when it goes. */
NTSTATUS WdfDeviceCreateDeviceInterface(_In_ WDFDEVICE Device, _In_ const GUID *InterfaceClassGUID,
					_In_opt_ PCUNICODE_STRING ReferenceString);
/** An interface of the device that was not created is a contract violation. */
VOID WdfDeviceSetDeviceInterfaceState(_In_ WDFDEVICE Device, _In_ const GUID *InterfaceClassGUID,
				      _In_opt_ PCUNICODE_STRING ReferenceString,
				      _In_ BOOLEAN IsInterfaceEnabled);
/** The interface's symbolic link name. STATUS_INVALID_DEVICE_STATE: the device has not started;
 * STATUS_OBJECT_NAME_NOT_FOUND: no such interface. */
NTSTATUS WdfDeviceRetrieveDeviceInterfaceString(_In_ WDFDEVICE Device,
						_In_ const GUID *InterfaceClassGUID,
						_In_opt_ PCUNICODE_STRING ReferenceString,
						_In_ WDFSTRING String);

/* ---- interfaces of other drivers ---- */
/**
 * Asks the driver's own stack, from the top down, for an interface (IRP_MN_QUERY_INTERFACE).
 *
 * The bus answers for KMCL_CLIENT_INTERFACE_TYPE and KMCL_SERVER_INTERFACE_TYPE: the table is
 * filled, with a reference that the caller gives back with
 * Interface->InterfaceDereference(Interface->Context).
 *
 * PASSIVE_LEVEL.
 * @return STATUS_NOT_SUPPORTED: unknown type or version; STATUS_INVALID_PARAMETER: Size is less
 * than that of the version, or a NULL pointer. Nothing is written on failure.
 */
NTSTATUS WdfFdoQueryForInterface(_In_ WDFDEVICE Fdo, _In_ LPCGUID InterfaceType,
				 _Out_ PINTERFACE Interface, _In_ USHORT Size, _In_ USHORT Version,
				 _In_opt_ PVOID InterfaceSpecificData);

EXTERN_C_END

#endif
