/* SPDX-License-Identifier: MIT */
/* A driver that cannot be loaded; how is chosen when it is compiled. */
#include <ntddk.h>

#if defined(MISSING_IMPORT)
VOID ExNotInThisLibrary(VOID);

DRIVER_INITIALIZE DriverEntry;

NTSTATUS DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	ExNotInThisLibrary();
	return STATUS_SUCCESS;
}
#elif defined(FAILING_ENTRY)
DRIVER_INITIALIZE DriverEntry;

/* leaves behind what a careful driver would have taken back */
NTSTATUS DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	PDEVICE_OBJECT device;

	IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
	ExAllocatePoolZero(NonPagedPoolNx, 10, 'tIoT');
	return STATUS_DEVICE_NOT_CONNECTED;
}
#else
VOID DriverEntrance(VOID);

VOID DriverEntrance(VOID)
{
}
#endif
