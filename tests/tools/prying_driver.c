/* SPDX-License-Identifier: MIT */
/*
 * A server driver with a thread of its own from DriverEntry on, which tries to open a file again
 * and again, and writes a line when it can and another when it no longer can.
 */
#include <ntddk.h>

#define O_RDONLY 0
#define STDERR   2
#define TRIES    6000

int open(const char *path, int flags, ...);
int close(int fd);
long write(int fd, const void *data, unsigned long size);

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PryUnload;
static KSTART_ROUTINE Pry;

static volatile LONG stop;
static PVOID thread;
static KEVENT tried;

static void Pry(PVOID Context)
{
	LARGE_INTEGER pause = {.QuadPart = -10 * 10000};
	int was = 0, is;

	UNREFERENCED_PARAMETER(Context);
	for (int i = 0; i < TRIES && !stop; i++) {
		int fd = open("/proc/version", O_RDONLY);

		is = fd >= 0 ? 1 : 2;
		if (fd >= 0)
			close(fd);
		if (is != was && write(STDERR, is == 1 ? "can\n" : "cannot\n", is == 1 ? 4 : 7) < 0)
			break;
		was = is;
		KeSetEvent(&tried, IO_NO_INCREMENT, FALSE);
		KeDelayExecutionThread(KernelMode, FALSE, &pause);
	}
	PsTerminateSystemThread(STATUS_SUCCESS);
}

static void PryUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
	InterlockedExchange(&stop, 1);
	KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL);
	ObDereferenceObject(thread);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	HANDLE handle;
	NTSTATUS status;

	UNREFERENCED_PARAMETER(RegistryPath);
	DriverObject->DriverUnload = PryUnload;
	KeInitializeEvent(&tried, NotificationEvent, FALSE);
	status = PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, Pry, NULL);
	if (!NT_SUCCESS(status))
		return status;
	status = ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, NULL, KernelMode, &thread,
					   NULL);
	ZwClose(handle);
	KeWaitForSingleObject(&tried, Executive, KernelMode, FALSE, NULL);
	return status;
}
