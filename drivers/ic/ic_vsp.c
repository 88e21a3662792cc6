/* SPDX-License-Identifier: MIT */
/*
 * The integration components (VSP): DriverEntry, PnP and device control. One device for each bus,
 * with a channel for each component. Options: heartbeat=, shutdown=, timesync=, kvp= (0: not
 * offered), period= of heartbeats and sample= of time samples in milliseconds, misses= heartbeats
 * that end a life.
 */
#include "ic_vsp.h"

#define LEAST_PERIOD 10u
#define MOST_PERIOD  86400000u

DRIVER_INITIALIZE DriverEntry;

static const IC_KIND *const Kinds[IC_COMPONENTS] = {&IcHeartbeat, &IcShutdown, &IcTimesync, &IcKvp};

static struct {
	ULONG Offered[IC_COMPONENTS];
	ULONG Period, Sample, Misses;
} Options;

/* ---- options ---- */

static NTSTATUS CheckOptions(VOID)
{
	BOOLEAN good = Options.Misses > 0 && Options.Period >= LEAST_PERIOD &&
		       Options.Period <= MOST_PERIOD && Options.Sample >= LEAST_PERIOD &&
		       Options.Sample <= MOST_PERIOD;

	for (ULONG i = 0; i < IC_COMPONENTS; i++)
		good = good && Options.Offered[i] <= 1;
	if (good)
		return STATUS_SUCCESS;
	DbgPrintEx(
		DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL,
		"heartbeat=, shutdown=, timesync= and kvp= are 0 or 1, period= and sample= %u to "
		"%u milliseconds, misses= at least 1\n",
		LEAST_PERIOD, MOST_PERIOD);
	return STATUS_INVALID_PARAMETER;
}

static NTSTATUS ReadOptions(PUNICODE_STRING RegistryPath)
{
	const struct {
		PCWSTR Name;
		PULONG Value;
		ULONG Default;
	} known[] = {
		{L"heartbeat", &Options.Offered[IC_COMPONENT_HEARTBEAT], 1},
		{L"shutdown", &Options.Offered[IC_COMPONENT_SHUTDOWN], 1},
		{L"timesync", &Options.Offered[IC_COMPONENT_TIMESYNC], 1},
		{L"kvp", &Options.Offered[IC_COMPONENT_KVP], 1},
		{L"period", &Options.Period, IC_DEFAULT_PERIOD},
		{L"sample", &Options.Sample, IC_DEFAULT_SAMPLE},
		{L"misses", &Options.Misses, IC_DEFAULT_MISSES},
	};
	RTL_QUERY_REGISTRY_TABLE table[RTL_NUMBER_OF(known) + 2] = {
		{.Flags = RTL_QUERY_REGISTRY_SUBKEY, .Name = (PWSTR)L"Parameters"},
	};
	NTSTATUS status;

	for (ULONG i = 0; i < RTL_NUMBER_OF(known); i++) {
		*known[i].Value = known[i].Default;
		table[i + 1].Flags = RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_TYPECHECK;
		table[i + 1].Name = (PWSTR)known[i].Name;
		table[i + 1].EntryContext = known[i].Value;
		table[i + 1].DefaultType = REG_DWORD << RTL_QUERY_REGISTRY_TYPECHECK_SHIFT;
	}
	status = RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, RegistryPath->Buffer, table, NULL,
					NULL);
	if (!NT_SUCCESS(status)) {
		DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "options are numbers\n");
		return status;
	}
	return CheckOptions();
}

/* ---- PnP ---- */

static NTSTATUS EnableChannel(PIC Ic)
{
	NTSTATUS status = VmbChannelEnable(Ic->Channel);

	if (NT_SUCCESS(status))
		VmbChannelStart(Ic->Channel);
	return status;
}

static NTSTATUS StartDevice(PIC_DEVICE Device)
{
	NTSTATUS status = STATUS_SUCCESS;

	for (ULONG i = 0; i < IC_COMPONENTS && NT_SUCCESS(status); i++)
		if (Device->Ics[i].Channel)
			status = EnableChannel(&Device->Ics[i]);
	return status;
}

/* From here on nothing is offered, whatever device control asks for. */
static VOID StopDevice(PIC_DEVICE Device)
{
	KeWaitForSingleObject(&Device->Mutex, Executive, KernelMode, FALSE, NULL);
	InterlockedExchange(&Device->Removed, TRUE);
	KeReleaseMutex(&Device->Mutex, FALSE);
	for (ULONG i = 0; i < IC_COMPONENTS; i++)
		if (Device->Ics[i].Channel)
			VmbChannelDisable(Device->Ics[i].Channel);
}

static VOID DestroyDevice(PIC_DEVICE Device)
{
	for (ULONG i = 0; i < IC_COMPONENTS; i++)
		IcDestroy(&Device->Ics[i]);
	if (Device->Lower)
		IoDetachDevice(Device->Lower);
	IoDeleteDevice(Device->Self);
}

static DRIVER_ADD_DEVICE IcAddDevice;
static NTSTATUS IcAddDevice(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject)
{
	PDEVICE_OBJECT object;
	PIC_DEVICE device;
	NTSTATUS status;

	status = IoCreateDevice(DriverObject, sizeof(IC_DEVICE), NULL, FILE_DEVICE_UNKNOWN, 0,
				FALSE, &object);
	if (!NT_SUCCESS(status))
		return status;
	device = object->DeviceExtension;
	device->Self = object;
	device->Physical = PhysicalDeviceObject;
	device->Misses = Options.Misses;
	KeInitializeMutex(&device->Mutex, 0);
	ExInitializeRundownProtection(&device->Requests);
	for (ULONG i = 0; i < IC_COMPONENTS && NT_SUCCESS(status); i++)
		if (Options.Offered[i])
			status = IcCreate(device, &device->Ics[i], Kinds[i],
					  i == IC_COMPONENT_HEARTBEAT ? Options.Period
								      : Options.Sample);
	if (NT_SUCCESS(status)) {
		device->Lower = IoAttachDeviceToDeviceStack(object, PhysicalDeviceObject);
		if (!device->Lower)
			status = STATUS_NO_SUCH_DEVICE;
	}
	if (!NT_SUCCESS(status)) {
		DestroyDevice(device);
		return status;
	}
	object->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return STATUS_SUCCESS;
}

static NTSTATUS CompleteIrp(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
	Irp->IoStatus.Status = Status;
	Irp->IoStatus.Information = Information;
	IoCompleteRequest(Irp, IO_NO_INCREMENT);
	return Status;
}

static NTSTATUS PassDown(PIC_DEVICE Device, PIRP Irp)
{
	IoSkipCurrentIrpStackLocation(Irp);
	return IoCallDriver(Device->Lower, Irp);
}

static DRIVER_DISPATCH IcPnp;
static NTSTATUS IcPnp(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PIC_DEVICE device = DeviceObject->DeviceExtension;
	NTSTATUS status;

	switch (IoGetCurrentIrpStackLocation(Irp)->MinorFunction) {
	case IRP_MN_START_DEVICE:
		/* The bus has nothing to prepare, so its answer need not be waited for. */
		status = StartDevice(device);
		if (!NT_SUCCESS(status))
			return CompleteIrp(Irp, status, 0);
		break;
	case IRP_MN_SURPRISE_REMOVAL:
		StopDevice(device);
		break;
	case IRP_MN_REMOVE_DEVICE:
		StopDevice(device);
		ExWaitForRundownProtectionRelease(&device->Requests);
		Irp->IoStatus.Status = STATUS_SUCCESS;
		status = PassDown(device, Irp);
		DestroyDevice(device);
		return status;
	default:
		return PassDown(device, Irp);
	}
	Irp->IoStatus.Status = STATUS_SUCCESS;
	return PassDown(device, Irp);
}

/* ---- what there is to be known ---- */

static VOID DescribeOne(PIC Ic, struct ic_component_info *Info)
{
	static const UINT32 states[] = {
		[IcClosed] = IC_STATE_CLOSED,        [IcNegotiating] = IC_STATE_NEGOTIATING,
		[IcDraining] = IC_STATE_NEGOTIATING, [IcReady] = IC_STATE_READY,
		[IcUnmatched] = IC_STATE_UNMATCHED,
	};

	*Info = Ic->Counts;
	Info->state = states[Ic->Session];
	if (Ic->Session == IcReady) {
		Info->framework = Ic->Framework;
		Info->message = Ic->Message;
	}
}

static VOID DescribeHeartbeat(PIC Ic, struct ic_info *Info)
{
	Info->beats = Ic->Heartbeat.Beats;
	Info->wrong_beats = Ic->Heartbeat.Wrong;
	Info->missed = Ic->Heartbeat.Missed;
	Info->alive = Ic->Heartbeat.Beating && Ic->Heartbeat.Missed < Ic->Device->Misses;
	Info->application_state = Ic->Heartbeat.State;
	Info->period = Ic->Period;
	Info->silent =
		Ic->Heartbeat.Beats ? (KeQueryInterruptTime() - Ic->Heartbeat.Last) / 10000 : ~0ull;
}

static VOID Query(PIC_DEVICE Device, struct ic_info *Info)
{
	RtlZeroMemory(Info, sizeof(*Info));
	for (ULONG i = 0; i < IC_COMPONENTS; i++) {
		PIC ic = &Device->Ics[i];
		KIRQL irql;

		if (!ic->Channel)
			continue;
		IcLock(ic, &irql);
		DescribeOne(ic, &Info->component[i]);
		if (i == IC_COMPONENT_HEARTBEAT) {
			DescribeHeartbeat(ic, Info);
		} else if (i == IC_COMPONENT_TIMESYNC) {
			Info->syncs = ic->Time.Syncs;
			Info->samples = ic->Time.Samples;
			Info->clock_offset = ic->Time.Offset;
		}
		IcUnlock(ic, irql);
	}
}

/* ---- requests ---- */

static NTSTATUS Ask(PIC_DEVICE Device, PIRP Irp, ULONG Code)
{
	const void *in = Irp->AssociatedIrp.SystemBuffer;
	PIC ic = &Device->Ics[Code == IC_IOCTL_SHUTDOWN ? IC_COMPONENT_SHUTDOWN
			      : Code == IC_IOCTL_CLOCK  ? IC_COMPONENT_TIMESYNC
							: IC_COMPONENT_KVP];
	NTSTATUS status;
	KIRQL irql;

	if (!ic->Channel)
		return STATUS_NO_SUCH_DEVICE;
	/* Every request begins so. */
	if (*(const UINT32 *)in > IC_MOST_WAIT)
		return STATUS_INVALID_PARAMETER;
	IcLock(ic, &irql);
	switch (Code) {
	case IC_IOCTL_SHUTDOWN:
		status = IcShutdownAsk(ic, Irp, in);
		break;
	case IC_IOCTL_CLOCK:
		status = IcTimesyncAsk(ic, Irp, in);
		break;
	case IC_IOCTL_KVP:
		status = IcKvpAsk(ic, Irp, in);
		break;
	default:
		status = IcIpAsk(ic, Irp, in);
		break;
	}
	IcUnlock(ic, irql);
	return status;
}

/* Under the mutex, so that a device that goes away does not offer again. */
static NTSTATUS Control(PIC_DEVICE Device, PIRP Irp, ULONG Code)
{
	const struct ic_select *select = Irp->AssociatedIrp.SystemBuffer;
	NTSTATUS status = STATUS_SUCCESS;
	PIC ic;

	if (select->component >= IC_COMPONENTS || !Device->Ics[select->component].Channel)
		return STATUS_NO_SUCH_DEVICE;
	ic = &Device->Ics[select->component];
	KeWaitForSingleObject(&Device->Mutex, Executive, KernelMode, FALSE, NULL);
	switch (Code) {
	case IC_IOCTL_ENABLE:
		status = InterlockedOr(&Device->Removed, 0) ? STATUS_DEVICE_REMOVED
							    : EnableChannel(ic);
		break;
	case IC_IOCTL_DISABLE:
		VmbChannelDisable(ic->Channel);
		break;
	case IC_IOCTL_PAUSE:
		VmbChannelPause(ic->Channel);
		break;
	default:
		VmbChannelStart(ic->Channel);
		break;
	}
	KeReleaseMutex(&Device->Mutex, FALSE);
	return status;
}

static const struct {
	ULONG Code;
	ULONG In, Out;
	NTSTATUS (*Handle)(PIC_DEVICE Device, PIRP Irp, ULONG Code);
} Codes[] = {
	{IC_IOCTL_QUERY, 0, sizeof(struct ic_info), NULL},
	{IC_IOCTL_SHUTDOWN, sizeof(struct ic_shutdown_request), sizeof(struct ic_answer), Ask},
	{IC_IOCTL_CLOCK, sizeof(struct ic_clock_request), sizeof(struct ic_answer), Ask},
	{IC_IOCTL_KVP, sizeof(struct ic_kvp_request), sizeof(struct ic_kvp_request), Ask},
	{IC_IOCTL_IP, sizeof(struct ic_ip_request), sizeof(struct ic_ip_request), Ask},
	{IC_IOCTL_ENABLE, sizeof(struct ic_select), 0, Control},
	{IC_IOCTL_DISABLE, sizeof(struct ic_select), 0, Control},
	{IC_IOCTL_PAUSE, sizeof(struct ic_select), 0, Control},
	{IC_IOCTL_START, sizeof(struct ic_select), 0, Control},
};

static NTSTATUS HandleControl(PIC_DEVICE Device, PIRP Irp)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
	ULONG code = stack->Parameters.DeviceIoControl.IoControlCode;
	NTSTATUS status;
	ULONG i = 0;

	while (i < RTL_NUMBER_OF(Codes) && Codes[i].Code != code)
		i++;
	if (i == RTL_NUMBER_OF(Codes))
		return CompleteIrp(Irp, STATUS_INVALID_DEVICE_REQUEST, 0);
	if (stack->Parameters.DeviceIoControl.InputBufferLength < Codes[i].In)
		return CompleteIrp(Irp, STATUS_INVALID_PARAMETER, 0);
	if (stack->Parameters.DeviceIoControl.OutputBufferLength < Codes[i].Out)
		return CompleteIrp(Irp, STATUS_BUFFER_TOO_SMALL, 0);
	if (!Codes[i].Handle) {
		Query(Device, Irp->AssociatedIrp.SystemBuffer);
		return CompleteIrp(Irp, STATUS_SUCCESS, sizeof(struct ic_info));
	}
	status = Codes[i].Handle(Device, Irp, code);
	return status == STATUS_PENDING ? status : CompleteIrp(Irp, status, 0);
}

/* A request that pends keeps the device until it is completed. */
static DRIVER_DISPATCH IcDeviceControl;
static NTSTATUS IcDeviceControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	PIC_DEVICE device = DeviceObject->DeviceExtension;
	NTSTATUS status;

	if (!ExAcquireRundownProtection(&device->Requests))
		return CompleteIrp(Irp, STATUS_DEVICE_REMOVED, 0);
	status = HandleControl(device, Irp);
	if (status != STATUS_PENDING)
		ExReleaseRundownProtection(&device->Requests);
	return status;
}

/* ---- the driver ---- */

static DRIVER_UNLOAD IcUnload;
static VOID IcUnload(PDRIVER_OBJECT DriverObject)
{
	UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
	NTSTATUS status = ReadOptions(RegistryPath);

	if (!NT_SUCCESS(status))
		return status;
	DriverObject->DriverUnload = IcUnload;
	DriverObject->DriverExtension->AddDevice = IcAddDevice;
	DriverObject->MajorFunction[IRP_MJ_PNP] = IcPnp;
	DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = IcDeviceControl;
	return STATUS_SUCCESS;
}
