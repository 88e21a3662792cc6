/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Driver and device objects, IRPs for PnP and device control, work items of a device.
 */
#ifndef OPENKMCL_IO_H
#define OPENKMCL_IO_H

#include "mm.h"
#include "ps.h"

EXTERN_C_START

struct _DEVICE_OBJECT;
struct _DRIVER_OBJECT;
struct _IRP;

/* ---- interfaces ---- */
typedef VOID INTERFACE_REFERENCE(PVOID Context);
typedef VOID INTERFACE_DEREFERENCE(PVOID Context);
typedef INTERFACE_REFERENCE *PINTERFACE_REFERENCE;
typedef INTERFACE_DEREFERENCE *PINTERFACE_DEREFERENCE;

typedef struct _INTERFACE {
	USHORT Size;
	USHORT Version;
	PVOID Context;
	PINTERFACE_REFERENCE InterfaceReference;
	PINTERFACE_DEREFERENCE InterfaceDereference;
} INTERFACE, *PINTERFACE;

/* ---- drivers ---- */
typedef NTSTATUS DRIVER_INITIALIZE(struct _DRIVER_OBJECT *DriverObject,
				   PUNICODE_STRING RegistryPath);
typedef DRIVER_INITIALIZE *PDRIVER_INITIALIZE;
typedef VOID DRIVER_UNLOAD(struct _DRIVER_OBJECT *DriverObject);
typedef DRIVER_UNLOAD *PDRIVER_UNLOAD;
typedef NTSTATUS DRIVER_ADD_DEVICE(struct _DRIVER_OBJECT *DriverObject,
				   struct _DEVICE_OBJECT *PhysicalDeviceObject);
typedef DRIVER_ADD_DEVICE *PDRIVER_ADD_DEVICE;
typedef NTSTATUS DRIVER_DISPATCH(struct _DEVICE_OBJECT *DeviceObject, struct _IRP *Irp);
typedef DRIVER_DISPATCH *PDRIVER_DISPATCH;
typedef VOID DRIVER_CANCEL(struct _DEVICE_OBJECT *DeviceObject, struct _IRP *Irp);
typedef DRIVER_CANCEL *PDRIVER_CANCEL;

#define IRP_MJ_CREATE                  0x00
#define IRP_MJ_CLOSE                   0x02
#define IRP_MJ_READ                    0x03
#define IRP_MJ_WRITE                   0x04
#define IRP_MJ_DEVICE_CONTROL          0x0e
#define IRP_MJ_INTERNAL_DEVICE_CONTROL 0x0f
#define IRP_MJ_CLEANUP                 0x12
#define IRP_MJ_POWER                   0x16
#define IRP_MJ_SYSTEM_CONTROL          0x17
#define IRP_MJ_PNP                     0x1b
#define IRP_MJ_MAXIMUM_FUNCTION        0x1b

#define IRP_MN_START_DEVICE           0x00
#define IRP_MN_QUERY_REMOVE_DEVICE    0x01
#define IRP_MN_REMOVE_DEVICE          0x02
#define IRP_MN_CANCEL_REMOVE_DEVICE   0x03
#define IRP_MN_STOP_DEVICE            0x04
#define IRP_MN_QUERY_STOP_DEVICE      0x05
#define IRP_MN_CANCEL_STOP_DEVICE     0x06
#define IRP_MN_QUERY_DEVICE_RELATIONS 0x07
#define IRP_MN_QUERY_INTERFACE        0x08
#define IRP_MN_QUERY_CAPABILITIES     0x09
#define IRP_MN_QUERY_ID               0x13
#define IRP_MN_SURPRISE_REMOVAL       0x17

typedef struct _DRIVER_EXTENSION {
	struct _DRIVER_OBJECT *DriverObject;
	PDRIVER_ADD_DEVICE AddDevice;
	ULONG Count;
	UNICODE_STRING ServiceKeyName;
} DRIVER_EXTENSION, *PDRIVER_EXTENSION;

typedef struct _DRIVER_OBJECT {
	CSHORT Type;
	CSHORT Size;
	struct _DEVICE_OBJECT *DeviceObject; /* first of its devices, newest first */
	ULONG Flags;
	PVOID DriverStart;
	PDRIVER_EXTENSION DriverExtension;
	UNICODE_STRING DriverName;
	PDRIVER_INITIALIZE DriverInit;
	PDRIVER_UNLOAD DriverUnload;
	PDRIVER_DISPATCH MajorFunction[IRP_MJ_MAXIMUM_FUNCTION + 1];
} DRIVER_OBJECT, *PDRIVER_OBJECT;

/* ---- devices ---- */
typedef ULONG DEVICE_TYPE;
#define FILE_DEVICE_BUS_EXTENDER 0x0000002a
#define FILE_DEVICE_UNKNOWN      0x00000022
#define FILE_DEVICE_NETWORK      0x00000012
#define FILE_DEVICE_DISK         0x00000007
#define FILE_DEVICE_SECURE_OPEN  0x00000100

#define DO_BUFFERED_IO           0x00000004
#define DO_DIRECT_IO             0x00000010
#define DO_DEVICE_INITIALIZING   0x00000080
#define DO_POWER_PAGABLE         0x00002000
#define DO_BUS_ENUMERATED_DEVICE 0x00001000

typedef struct _DEVICE_OBJECT {
	CSHORT Type;
	USHORT Size;
	LONG ReferenceCount;
	PDRIVER_OBJECT DriverObject;
	struct _DEVICE_OBJECT *NextDevice;
	struct _DEVICE_OBJECT *AttachedDevice; /* the one above */
	struct _IRP *CurrentIrp;
	ULONG Flags;
	ULONG Characteristics;
	PVOID DeviceExtension;
	DEVICE_TYPE DeviceType;
	CCHAR StackSize;
	ULONG AlignmentRequirement;
	struct _DEVICE_OBJECT *AttachedTo; /* library: the one below */
	PVOID Bus;                         /* library: of a physical device object */
	PVOID BusContext;
	LONG Published;  /* library: 1: programs may find it */
	LONG Interfaces; /* library: references of interfaces that the bus gave out */
} DEVICE_OBJECT, *PDEVICE_OBJECT;

/** Zeroed extension of that many bytes. DeviceName, if given, is ignored: devices are found through
 *  their driver. PASSIVE_LEVEL. */
NTSTATUS IoCreateDevice(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize,
			PUNICODE_STRING DeviceName, DEVICE_TYPE DeviceType,
			ULONG DeviceCharacteristics, BOOLEAN Exclusive,
			PDEVICE_OBJECT *DeviceObject);
/** The object goes away when the last reference (an IRP or a work item under way) does. */
VOID IoDeleteDevice(PDEVICE_OBJECT DeviceObject);
/** Returns the device that was on top. */
PDEVICE_OBJECT IoAttachDeviceToDeviceStack(PDEVICE_OBJECT SourceDevice,
					   PDEVICE_OBJECT TargetDevice);
VOID IoDetachDevice(PDEVICE_OBJECT TargetDevice);

/* ---- IRPs ---- */
typedef struct _IO_STATUS_BLOCK {
	__extension__ union {
		NTSTATUS Status;
		PVOID Pointer;
	};
	ULONG_PTR Information;
} IO_STATUS_BLOCK, *PIO_STATUS_BLOCK;

typedef NTSTATUS IO_COMPLETION_ROUTINE(PDEVICE_OBJECT DeviceObject, struct _IRP *Irp,
				       PVOID Context);
typedef IO_COMPLETION_ROUTINE *PIO_COMPLETION_ROUTINE;

#define SL_PENDING_RETURNED  0x01
#define SL_INVOKE_ON_CANCEL  0x20
#define SL_INVOKE_ON_SUCCESS 0x40
#define SL_INVOKE_ON_ERROR   0x80

typedef struct _IO_STACK_LOCATION {
	UCHAR MajorFunction;
	UCHAR MinorFunction;
	UCHAR Flags;
	UCHAR Control;
	union {
		struct {
			ULONG Length;
			ULONG Key;
			LARGE_INTEGER ByteOffset;
		} Read, Write;
		struct {
			ULONG OutputBufferLength;
			ULONG InputBufferLength;
			ULONG IoControlCode;
			PVOID Type3InputBuffer;
		} DeviceIoControl;
		struct {
			const GUID *InterfaceType;
			USHORT Size;
			USHORT Version;
			PINTERFACE Interface;
			PVOID InterfaceSpecificData;
		} QueryInterface;
		struct {
			PVOID Argument1, Argument2, Argument3, Argument4;
		} Others;
	} Parameters;
	PDEVICE_OBJECT DeviceObject;
	PVOID FileObject;
	PIO_COMPLETION_ROUTINE CompletionRoutine;
	PVOID Context;
} IO_STACK_LOCATION, *PIO_STACK_LOCATION;

typedef struct _IRP {
	CSHORT Type;
	USHORT Size;
	PMDL MdlAddress;
	ULONG Flags;
	union {
		PVOID SystemBuffer;
		struct _IRP *MasterIrp;
	} AssociatedIrp;
	IO_STATUS_BLOCK IoStatus;
	KPROCESSOR_MODE RequestorMode;
	BOOLEAN PendingReturned;
	CHAR StackCount;
	CHAR CurrentLocation;
	BOOLEAN Cancel;
	KIRQL CancelIrql;
	PDRIVER_CANCEL CancelRoutine;
	PVOID UserBuffer;
	union {
		struct {
			PVOID DriverContext[4];
			LIST_ENTRY ListEntry;
			PIO_STACK_LOCATION CurrentStackLocation;
		} Overlay;
	} Tail;
	PIO_STATUS_BLOCK UserIosb; /* of a request built for a caller that waits for UserEvent */
	PKEVENT UserEvent;
	PVOID Done; /* library: who waits for it */
} IRP, *PIRP;

static inline PIO_STACK_LOCATION IoGetCurrentIrpStackLocation(PIRP Irp)
{
	return Irp->Tail.Overlay.CurrentStackLocation;
}

static inline PIO_STACK_LOCATION IoGetNextIrpStackLocation(PIRP Irp)
{
	return Irp->Tail.Overlay.CurrentStackLocation - 1;
}

static inline VOID IoSkipCurrentIrpStackLocation(PIRP Irp)
{
	Irp->CurrentLocation++;
	Irp->Tail.Overlay.CurrentStackLocation++;
}

static inline VOID IoCopyCurrentIrpStackLocationToNext(PIRP Irp)
{
	PIO_STACK_LOCATION from = IoGetCurrentIrpStackLocation(Irp);
	PIO_STACK_LOCATION to = IoGetNextIrpStackLocation(Irp);

	*to = *from;
	to->Control = 0;
	to->CompletionRoutine = NULL;
	to->Context = NULL;
}

static inline VOID IoSetCompletionRoutine(PIRP Irp, PIO_COMPLETION_ROUTINE CompletionRoutine,
					  PVOID Context, BOOLEAN InvokeOnSuccess,
					  BOOLEAN InvokeOnError, BOOLEAN InvokeOnCancel)
{
	PIO_STACK_LOCATION next = IoGetNextIrpStackLocation(Irp);

	next->CompletionRoutine = CompletionRoutine;
	next->Context = Context;
	next->Control = (UCHAR)((InvokeOnSuccess ? SL_INVOKE_ON_SUCCESS : 0) |
				(InvokeOnError ? SL_INVOKE_ON_ERROR : 0) |
				(InvokeOnCancel ? SL_INVOKE_ON_CANCEL : 0));
}

static inline VOID IoMarkIrpPending(PIRP Irp)
{
	IoGetCurrentIrpStackLocation(Irp)->Control |= SL_PENDING_RETURNED;
}

static inline PDRIVER_CANCEL IoSetCancelRoutine(PIRP Irp, PDRIVER_CANCEL CancelRoutine)
{
	return (PDRIVER_CANCEL)(uintptr_t)__atomic_exchange_n(
		(uintptr_t *)(PVOID)&Irp->CancelRoutine, (uintptr_t)CancelRoutine,
		__ATOMIC_SEQ_CST);
}

/** An IRP with that many stack locations (the target's StackSize). NULL: no memory. IoFreeIrp it.
 * <= DISPATCH_LEVEL. */
PIRP IoAllocateIrp(CCHAR StackSize, BOOLEAN ChargeQuota);
VOID IoFreeIrp(PIRP Irp);
/** A request without buffers (IRP_MJ_PNP above all) for a caller that waits for Event: when it is
 * complete, *IoStatusBlock is filled, Event is set and the IRP freed. PASSIVE_LEVEL. */
PIRP IoBuildSynchronousFsdRequest(ULONG MajorFunction, PDEVICE_OBJECT DeviceObject, PVOID Buffer,
				  ULONG Length, PLARGE_INTEGER StartingOffset, PKEVENT Event,
				  PIO_STATUS_BLOCK IoStatusBlock);

/* ---- cancellation ---- */
/** Held when a cancel routine is called, which releases it to Irp->CancelIrql. */
VOID IoAcquireCancelSpinLock(PKIRQL Irql);
VOID IoReleaseCancelSpinLock(KIRQL Irql);
/** Marks the IRP and calls its cancel routine, if it has one now. TRUE: it had. */
BOOLEAN IoCancelIrp(PIRP Irp);

NTSTATUS IofCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp);
#define IoCallDriver(DeviceObject, Irp) IofCallDriver((DeviceObject), (Irp))
#define PoCallDriver(DeviceObject, Irp) IofCallDriver((DeviceObject), (Irp))
VOID IofCompleteRequest(PIRP Irp, CCHAR PriorityBoost);
#define IoCompleteRequest(Irp, Boost) IofCompleteRequest((Irp), (Boost))

/* ---- device control ---- */
#define METHOD_BUFFERED   0
#define METHOD_IN_DIRECT  1
#define METHOD_OUT_DIRECT 2
#define METHOD_NEITHER    3
#define FILE_ANY_ACCESS   0
#define FILE_READ_ACCESS  1
#define FILE_WRITE_ACCESS 2
#ifndef CTL_CODE
#define CTL_CODE(type, function, method, access)                                      \
	(((ULONG)(type) << 16) | ((ULONG)(access) << 14) | ((ULONG)(function) << 2) | \
	 (ULONG)(method))
#endif
#define METHOD_FROM_CTL_CODE(code) ((ULONG)(code)&3)

/* ---- work items that keep their device alive ---- */
typedef struct _IO_WORKITEM *PIO_WORKITEM;
typedef VOID IO_WORKITEM_ROUTINE(PDEVICE_OBJECT DeviceObject, PVOID Context);
typedef IO_WORKITEM_ROUTINE *PIO_WORKITEM_ROUTINE;
/** NULL: no memory. <= DISPATCH_LEVEL. */
PIO_WORKITEM IoAllocateWorkItem(PDEVICE_OBJECT DeviceObject);
/** Once at a time; may be queued again or freed from its routine on. <= DISPATCH_LEVEL. */
VOID IoQueueWorkItem(PIO_WORKITEM WorkItem, PIO_WORKITEM_ROUTINE Routine, WORK_QUEUE_TYPE QueueType,
		     PVOID Context);
VOID IoFreeWorkItem(PIO_WORKITEM WorkItem);

EXTERN_C_END

#endif
