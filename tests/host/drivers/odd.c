/* SPDX-License-Identifier: MIT */
/*
 * Drivers that go wrong, each in a way of its own, and one that does nothing. What this one is, is
 * said by the macro that it is compiled with.
 */
#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#if defined(ODD_NO_ENTRY)
int not_an_entry(void);
int not_an_entry(void)
{
	return 0;
}
#else

DRIVER_INITIALIZE DriverEntry;

#if defined(ODD_MISSING_IMPORT)
NTSTATUS ZwNothingThatThereIs(VOID);
#endif

static DRIVER_DISPATCH OddPnp;
static DRIVER_DISPATCH OddControl;
static DRIVER_ADD_DEVICE OddAddDevice;

typedef struct _ODD {
	PDEVICE_OBJECT Lower;
} ODD, *PODD;

static NTSTATUS OddPnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PODD odd = DeviceObject->DeviceExtension;
	PDEVICE_OBJECT lower = odd->Lower;
	UCHAR minor = IoGetCurrentIrpStackLocation(Irp)->MinorFunction;
	NTSTATUS status;

#if defined(ODD_FAILS_START)
	if (minor == IRP_MN_START_DEVICE) {
		Irp->IoStatus.Status = STATUS_DEVICE_NOT_CONNECTED;
		IoCompleteRequest(Irp, IO_NO_INCREMENT);
		return STATUS_DEVICE_NOT_CONNECTED;
	}
#endif
	Irp->IoStatus.Status = STATUS_SUCCESS;
	IoSkipCurrentIrpStackLocation(Irp);
	status = IoCallDriver(lower, Irp);
	if (minor == IRP_MN_REMOVE_DEVICE) {
		IoDetachDevice(lower);
		IoDeleteDevice(DeviceObject);
	}
	return status;
}

static NTSTATUS OddControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	UNREFERENCED_PARAMETER(DeviceObject);
	Irp->IoStatus.Status = STATUS_SUCCESS;
	Irp->IoStatus.Information = 0;
	IoCompleteRequest(Irp, IO_NO_INCREMENT);
	return STATUS_SUCCESS;
}

static NTSTATUS OddAddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject)
{
	PDEVICE_OBJECT object;
	PODD odd;
	NTSTATUS status;

#if defined(ODD_FAILS_ADD)
	return STATUS_INSUFFICIENT_RESOURCES;
#endif
	status = IoCreateDevice(DriverObject, sizeof(*odd), NULL, FILE_DEVICE_UNKNOWN, 0, FALSE,
				&object);
	if (!NT_SUCCESS(status))
		return status;
	odd = object->DeviceExtension;
	odd->Lower = IoAttachDeviceToDeviceStack(object, PhysicalDeviceObject);
	object->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return STATUS_SUCCESS;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	UNREFERENCED_PARAMETER(RegistryPath);
#if defined(ODD_FAILS_ENTRY)
	return STATUS_REVISION_MISMATCH;
#endif
#if defined(ODD_MISSING_IMPORT)
	if (ZwNothingThatThereIs())
		return STATUS_UNSUCCESSFUL;
#endif
#if defined(ODD_LEAKS)
	for (int i = 0; i < 3; i++)
		ExAllocatePool2(POOL_FLAG_NON_PAGED, 100, 0x6b61654cu);
#endif
	DriverObject->DriverExtension->AddDevice = OddAddDevice;
	DriverObject->MajorFunction[IRP_MJ_PNP] = OddPnp;
	DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = OddControl;
	return STATUS_SUCCESS;
}
#endif
