/* SPDX-License-Identifier: MIT */
/* The server's driver as a file, for a host that loads it. */
#include <ntddk.h>

#include "kmcl/bench_driver.h"

DRIVER_INITIALIZE DriverEntry;
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	return BenchVspEntry(DriverObject, RegistryPath);
}
