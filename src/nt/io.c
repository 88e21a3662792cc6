/* SPDX-License-Identifier: MIT */
/*
 * Device objects, IRPs, PnP, device control, and work items that keep their device.
 */
#include "nt/internal.h"

#include <stdlib.h>

#include "base/log.h"

#define IO_TYPE_DEVICE 3

/* ---- device objects ---- */

void nt_device_reference(PDEVICE_OBJECT device)
{
	InterlockedIncrement(&device->ReferenceCount);
}

void nt_device_dereference(PDEVICE_OBJECT device)
{
	struct nt_driver *driver;

	if (InterlockedDecrement(&device->ReferenceCount))
		return;
	driver = nt_driver_of_device(device);
	free(device);
	if (driver)
		atomic_fetch_sub(&driver->devices, 1); /* it may go now */
}

/*
 * A device's Published: 1 once programs may find it; 0 before; negative while the AddDevice that
 * made it runs, one number for each call, for its flags are that thread's until then.
 */
static _Thread_local LONG adding;

static LONG begin_adding(void)
{
	static atomic_uint calls;

	return -1 - (LONG)(atomic_fetch_add(&calls, 1) % INT32_MAX);
}

static PDEVICE_OBJECT new_device(size_t extension)
{
	PDEVICE_OBJECT device;

	if (nt_alloc_fails("IoCreateDevice"))
		return NULL;
	device = calloc(1, ((sizeof(*device) + 15) & ~(size_t)15) + extension);
	if (!device)
		return NULL;
	device->Type = IO_TYPE_DEVICE;
	device->Size = sizeof(*device);
	device->ReferenceCount = 1;
	device->StackSize = 1;
	device->Published = adding;
	device->DeviceExtension = (PCHAR)device + ((sizeof(*device) + 15) & ~(size_t)15);
	return device;
}

NTSTATUS IoCreateDevice(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize,
			PUNICODE_STRING DeviceName, DEVICE_TYPE DeviceType,
			ULONG DeviceCharacteristics, BOOLEAN Exclusive,
			PDEVICE_OBJECT *DeviceObject)
{
	struct nt_driver *driver = nt_driver_of_object(DriverObject);
	PDEVICE_OBJECT device = new_device(DeviceExtensionSize);

	*DeviceObject = NULL;
	if (!device)
		return STATUS_INSUFFICIENT_RESOURCES;
	device->DriverObject = DriverObject;
	device->DeviceType = DeviceType;
	device->Characteristics = DeviceCharacteristics;
	device->Flags = DO_DEVICE_INITIALIZING;
	pthread_mutex_lock(&driver->lock);
	atomic_fetch_add(&driver->devices, 1);
	device->NextDevice = DriverObject->DeviceObject;
	DriverObject->DeviceObject = device;
	pthread_mutex_unlock(&driver->lock);
	*DeviceObject = device;
	return STATUS_SUCCESS;
}

VOID IoDeleteDevice(PDEVICE_OBJECT DeviceObject)
{
	struct nt_driver *driver = nt_driver_of_device(DeviceObject);

	pthread_mutex_lock(&driver->lock);
	for (PDEVICE_OBJECT *p = &driver->object.DeviceObject; *p; p = &(*p)->NextDevice) {
		if (*p == DeviceObject) {
			*p = DeviceObject->NextDevice;
			break;
		}
	}
	pthread_mutex_unlock(&driver->lock);
	nt_device_dereference(DeviceObject);
}

static pthread_mutex_t stack_lock = PTHREAD_MUTEX_INITIALIZER;

static PDEVICE_OBJECT top_of(PDEVICE_OBJECT device)
{
	while (device->AttachedDevice)
		device = device->AttachedDevice;
	return device;
}

PDEVICE_OBJECT IoAttachDeviceToDeviceStack(PDEVICE_OBJECT SourceDevice, PDEVICE_OBJECT TargetDevice)
{
	PDEVICE_OBJECT top;

	pthread_mutex_lock(&stack_lock);
	top = top_of(TargetDevice);
	top->AttachedDevice = SourceDevice;
	SourceDevice->AttachedTo = top;
	SourceDevice->StackSize = top->StackSize + 1;
	pthread_mutex_unlock(&stack_lock);
	return top;
}

VOID IoDetachDevice(PDEVICE_OBJECT TargetDevice)
{
	pthread_mutex_lock(&stack_lock);
	if (TargetDevice->AttachedDevice) {
		TargetDevice->AttachedDevice->AttachedTo = NULL;
		TargetDevice->AttachedDevice = NULL;
	}
	pthread_mutex_unlock(&stack_lock);
}

/* ---- physical device objects ---- */

NTSTATUS nt_pdo_create(const struct nt_bus_ops *ops, void *context, PDEVICE_OBJECT *pdo)
{
	*pdo = new_device(0);
	if (!*pdo)
		return STATUS_INSUFFICIENT_RESOURCES;
	(*pdo)->Flags = DO_BUS_ENUMERATED_DEVICE;
	(*pdo)->Bus = (PVOID)(uintptr_t)ops;
	(*pdo)->BusContext = context;
	return STATUS_SUCCESS;
}

void nt_pdo_interface_reference(void *context)
{
	PDEVICE_OBJECT pdo = context;

	InterlockedIncrement(&pdo->Interfaces);
	nt_device_reference(pdo);
}

void nt_pdo_interface_dereference(void *context)
{
	PDEVICE_OBJECT pdo = context;

	if (InterlockedDecrement(&pdo->Interfaces) < 0) {
		InterlockedIncrement(&pdo->Interfaces);
		nt_violation("interface-reference",
			     "InterfaceDereference without a reference of the interface");
		return;
	}
	nt_device_dereference(pdo);
}

void nt_pdo_delete(PDEVICE_OBJECT pdo)
{
	LONG held = InterlockedCompareExchange(&pdo->Interfaces, 0, 0);

	if (held)
		kmcl_log(KMCL_LOG_ERROR, "nt", 0, 0,
			 "a device goes away with %d references of its interfaces held", held);
	nt_device_dereference(pdo);
}

void *nt_pdo_context(PDEVICE_OBJECT device, const struct nt_bus_ops *ops)
{
	void *context = NULL;

	pthread_mutex_lock(&stack_lock);
	while (device && device->AttachedTo)
		device = device->AttachedTo;
	if (device && device->Bus == ops)
		context = device->BusContext;
	pthread_mutex_unlock(&stack_lock);
	return context;
}

/* ---- IRPs ---- */

static PIRP new_irp(PDEVICE_OBJECT device)
{
	PIRP irp = IoAllocateIrp(device->StackSize, FALSE);

	if (irp)
		irp->IoStatus.Status = STATUS_NOT_SUPPORTED;
	return irp;
}

/* What reaches a physical device: its bus answers. */
static NTSTATUS bus_dispatch(PDEVICE_OBJECT pdo, PIRP irp)
{
	PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(irp);
	const struct nt_bus_ops *bus = pdo->Bus;
	NTSTATUS status = irp->IoStatus.Status;

	if (location->MajorFunction == IRP_MJ_PNP) {
		switch (location->MinorFunction) {
		case IRP_MN_QUERY_INTERFACE:
			status =
				bus && bus->query_interface
					? bus->query_interface(
						  pdo,
						  location->Parameters.QueryInterface.InterfaceType,
						  location->Parameters.QueryInterface.Size,
						  location->Parameters.QueryInterface.Version,
						  location->Parameters.QueryInterface
							  .InterfaceSpecificData,
						  location->Parameters.QueryInterface.Interface)
					: STATUS_NOT_SUPPORTED;
			break;
		case IRP_MN_START_DEVICE:
		case IRP_MN_QUERY_REMOVE_DEVICE:
		case IRP_MN_REMOVE_DEVICE:
		case IRP_MN_CANCEL_REMOVE_DEVICE:
		case IRP_MN_STOP_DEVICE:
		case IRP_MN_QUERY_STOP_DEVICE:
		case IRP_MN_CANCEL_STOP_DEVICE:
		case IRP_MN_SURPRISE_REMOVAL:
			status = STATUS_SUCCESS;
			break;
		default:
			break;
		}
	} else if (location->MajorFunction == IRP_MJ_POWER) {
		status = STATUS_SUCCESS;
	} else {
		status = STATUS_INVALID_DEVICE_REQUEST;
	}
	irp->IoStatus.Status = status;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

NTSTATUS IofCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
	struct nt_driver *driver = nt_driver_of_device(DeviceObject), *previous;
	PIO_STACK_LOCATION location;
	NTSTATUS status;

	if (Irp->CurrentLocation <= 1) {
		nt_violation("irp-stack", "IoCallDriver of an IRP without a stack location left");
		return STATUS_INVALID_DEVICE_REQUEST;
	}
	Irp->CurrentLocation--;
	location = --Irp->Tail.Overlay.CurrentStackLocation;
	location->DeviceObject = DeviceObject;
	if (!driver)
		return bus_dispatch(DeviceObject, Irp);
	previous = nt_driver_enter(driver);
	status = driver->object.MajorFunction[location->MajorFunction](DeviceObject, Irp);
	nt_driver_leave(previous);
	return status;
}

static bool wants_completion(const IO_STACK_LOCATION *location, const IRP *irp)
{
	if (!location->CompletionRoutine)
		return false;
	if (irp->Cancel && (location->Control & SL_INVOKE_ON_CANCEL))
		return true;
	return location->Control &
	       (NT_SUCCESS(irp->IoStatus.Status) ? SL_INVOKE_ON_SUCCESS : SL_INVOKE_ON_ERROR);
}

VOID IofCompleteRequest(PIRP Irp, CCHAR PriorityBoost)
{
	struct nt_driver *previous;
	NTSTATUS status;

	if (Irp->CurrentLocation > Irp->StackCount) {
		nt_violation("irp-completed-twice", "IoCompleteRequest of an IRP that is complete");
		return;
	}
	while (Irp->CurrentLocation <= Irp->StackCount) {
		PIO_STACK_LOCATION done = Irp->Tail.Overlay.CurrentStackLocation++;
		PDEVICE_OBJECT above;

		Irp->CurrentLocation++;
		Irp->PendingReturned = (done->Control & SL_PENDING_RETURNED) != 0;
		above = Irp->CurrentLocation <= Irp->StackCount
				? Irp->Tail.Overlay.CurrentStackLocation->DeviceObject
				: NULL;
		if (wants_completion(done, Irp)) {
			previous = nt_driver_enter(above ? nt_driver_of_device(above)
							 : nt_driver_current());
			status = done->CompletionRoutine(above, Irp, done->Context);
			nt_driver_leave(previous);
			if (status == STATUS_MORE_PROCESSING_REQUIRED)
				return;
		} else if (Irp->PendingReturned && above) {
			IoMarkIrpPending(Irp);
		}
	}
	if (Irp->Done)
		KeSetEvent(Irp->Done, IO_NO_INCREMENT, FALSE);
	else if (Irp->UserIosb)
		nt_irp_finish(Irp);
}

static PDEVICE_OBJECT reference_top(PDEVICE_OBJECT device)
{
	PDEVICE_OBJECT top;

	pthread_mutex_lock(&stack_lock);
	top = top_of(device);
	nt_device_reference(top);
	pthread_mutex_unlock(&stack_lock);
	return top;
}

/* Sends an IRP to the top of a stack, for which it was made, and waits for it. */
static NTSTATUS send_irp(PDEVICE_OBJECT top, PIRP irp)
{
	KEVENT done;

	KeInitializeEvent(&done, NotificationEvent, FALSE);
	irp->Done = &done;
	IofCallDriver(top, irp);
	KeWaitForSingleObject(&done, Executive, KernelMode, FALSE, NULL);
	return irp->IoStatus.Status;
}

static NTSTATUS send_pnp(PDEVICE_OBJECT pdo, UCHAR minor)
{
	PDEVICE_OBJECT top = reference_top(pdo);
	NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;
	PIRP irp = new_irp(top);

	if (irp) {
		IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_PNP;
		IoGetNextIrpStackLocation(irp)->MinorFunction = minor;
		status = send_irp(top, irp);
		IoFreeIrp(irp);
	}
	nt_device_dereference(top);
	return status;
}

/* ---- PnP ---- */

static NTSTATUS call_add_device(struct nt_driver *driver, PDEVICE_OBJECT pdo, LONG call)
{
	struct nt_driver *previous = nt_driver_enter(driver);
	LONG outer = adding;
	NTSTATUS status;

	adding = call;
	status = driver->extension.AddDevice(&driver->object, pdo);
	adding = outer;
	nt_driver_leave(previous);
	return status;
}

static void end_adding(struct nt_driver *driver, LONG call, bool started)
{
	pthread_mutex_lock(&driver->lock);
	for (PDEVICE_OBJECT d = driver->object.DeviceObject; d; d = d->NextDevice)
		if (d->Published == call)
			d->Published = started && !(d->Flags & DO_DEVICE_INITIALIZING);
	pthread_mutex_unlock(&driver->lock);
}

NTSTATUS nt_device_add(struct nt_driver *driver, PDEVICE_OBJECT pdo)
{
	LONG call = begin_adding();
	bool added;
	NTSTATUS status;

	if (!driver->extension.AddDevice)
		return STATUS_SUCCESS;
	status = call_add_device(driver, pdo, call);
	added = NT_SUCCESS(status);
	/* a driver that puts no device on top gets no IRPs */
	if (added && pdo->AttachedDevice)
		status = send_pnp(pdo, IRP_MN_START_DEVICE);
	end_adding(driver, call, NT_SUCCESS(status));
	if (NT_SUCCESS(status))
		nt_driver_publish_devices(driver);
	else if (added)
		send_pnp(pdo, IRP_MN_REMOVE_DEVICE);
	return status;
}

/* A device is gone whatever its driver says to that: who objects is surprised. */
static bool consents(PDEVICE_OBJECT pdo)
{
	NTSTATUS status = send_pnp(pdo, IRP_MN_QUERY_REMOVE_DEVICE);

	if (NT_SUCCESS(status) || status == STATUS_NOT_SUPPORTED)
		return true;
	kmcl_log(KMCL_LOG_WARNING, "nt", 0, 0,
		 "%s: refuses the removal of a device (0x%08x), which goes nevertheless",
		 nt_driver_name(nt_driver_of_device(pdo->AttachedDevice)), (unsigned int)status);
	return false;
}

void nt_device_remove(PDEVICE_OBJECT pdo, bool surprise)
{
	if (!pdo->AttachedDevice)
		return;
	if (surprise || !consents(pdo))
		send_pnp(pdo, IRP_MN_SURPRISE_REMOVAL);
	send_pnp(pdo, IRP_MN_REMOVE_DEVICE);
}

/* The physical device below one of the driver's devices; NULL: none is on a stack. */
static PDEVICE_OBJECT stacked(struct nt_driver *driver)
{
	PDEVICE_OBJECT bottom = NULL;

	pthread_mutex_lock(&driver->lock);
	pthread_mutex_lock(&stack_lock);
	for (PDEVICE_OBJECT d = driver->object.DeviceObject; d && !bottom; d = d->NextDevice) {
		if (!d->AttachedTo)
			continue;
		for (bottom = d; bottom->AttachedTo; bottom = bottom->AttachedTo)
			;
		nt_device_reference(bottom);
	}
	pthread_mutex_unlock(&stack_lock);
	pthread_mutex_unlock(&driver->lock);
	return bottom;
}

void nt_driver_remove_devices(struct nt_driver *driver)
{
	PDEVICE_OBJECT pdo;

	while ((pdo = stacked(driver))) {
		bool gone;

		nt_device_remove(pdo, true);
		gone = !pdo->AttachedDevice;
		nt_device_dereference(pdo);
		if (!gone) {
			kmcl_log(KMCL_LOG_ERROR, "nt", 0, 0,
				 "%s: did not detach its device when it was removed", driver->name);
			return;
		}
	}
}

/* ---- device control ---- */

static bool takes_control(const struct nt_driver *driver)
{
	return driver->object.MajorFunction[IRP_MJ_DEVICE_CONTROL] != nt_invalid_request;
}

/* Flags belong to the driver until AddDevice has returned; what others may see is said here. */
void nt_driver_publish_devices(struct nt_driver *driver)
{
	pthread_mutex_lock(&driver->lock);
	for (PDEVICE_OBJECT d = driver->object.DeviceObject; d; d = d->NextDevice) {
		if (!d->Published && !(d->Flags & DO_DEVICE_INITIALIZING))
			d->Published = 1;
	}
	pthread_mutex_unlock(&driver->lock);
}

unsigned int nt_driver_devices(struct nt_driver *driver)
{
	unsigned int count = 0;

	if (!takes_control(driver))
		return 0;
	pthread_mutex_lock(&driver->lock);
	for (PDEVICE_OBJECT d = driver->object.DeviceObject; d; d = d->NextDevice)
		count += d->Published > 0;
	pthread_mutex_unlock(&driver->lock);
	return count;
}

PDEVICE_OBJECT nt_driver_device(struct nt_driver *driver, unsigned int index)
{
	PDEVICE_OBJECT found = NULL;
	unsigned int count;

	if (!takes_control(driver))
		return NULL;
	pthread_mutex_lock(&driver->lock);
	count = 0;
	for (PDEVICE_OBJECT d = driver->object.DeviceObject; d; d = d->NextDevice)
		count += d->Published > 0;
	/* the list has the newest first */
	for (PDEVICE_OBJECT d = driver->object.DeviceObject; d && index < count;
	     d = d->NextDevice) {
		if (d->Published <= 0)
			continue;
		if (--count == index) {
			nt_device_reference(d);
			found = d;
			break;
		}
	}
	pthread_mutex_unlock(&driver->lock);
	return found;
}

/* The buffers of one request, by method. */
struct control {
	PIRP irp;
	void *system; /* in the driver's pool */
	void *direct; /* copy of the direct buffer, in the driver's pool */
	PMDL mdl;
};

static void *pool_copy(const void *from, size_t used, size_t size)
{
	void *p = nt_pool_alloc(size, 0x20706f49u, false, size >= PAGE_SIZE);

	if (!p)
		return NULL;
	if (used)
		memcpy(p, from, used);
	memset((PCHAR)p + used, 0, size - used);
	return p;
}

static bool set_buffered(struct control *c, const void *in, size_t in_size, size_t out_size)
{
	size_t size = in_size > out_size ? in_size : out_size;

	if (!size)
		return true;
	c->system = pool_copy(in, in_size, size);
	c->irp->AssociatedIrp.SystemBuffer = c->system;
	return c->system != NULL;
}

/* A program's buffer is described by an MDL; here it is a copy in memory that the driver may show.
 */
static bool set_direct(struct control *c, const void *in, size_t in_size, const void *out,
		       size_t out_size)
{
	if (!set_buffered(c, in, in_size, 0))
		return false;
	if (!out_size)
		return true;
	c->direct = pool_copy(out, out_size, out_size);
	if (!c->direct)
		return false;
	c->mdl = IoAllocateMdl(c->direct, (ULONG)out_size, FALSE, FALSE, c->irp);
	if (!c->mdl)
		return false;
	MmProbeAndLockPages(c->mdl, UserMode, IoModifyAccess);
	return true;
}

static bool set_buffers(struct control *c, ULONG code, const void *in, size_t in_size, void *out,
			size_t out_size)
{
	PIO_STACK_LOCATION location = IoGetNextIrpStackLocation(c->irp);

	location->MajorFunction = IRP_MJ_DEVICE_CONTROL;
	location->Parameters.DeviceIoControl.IoControlCode = code;
	location->Parameters.DeviceIoControl.InputBufferLength = (ULONG)in_size;
	location->Parameters.DeviceIoControl.OutputBufferLength = (ULONG)out_size;
	switch (METHOD_FROM_CTL_CODE(code)) {
	case METHOD_BUFFERED:
		return set_buffered(c, in, in_size, out_size);
	case METHOD_IN_DIRECT:
	case METHOD_OUT_DIRECT:
		return set_direct(c, in, in_size, out, out_size);
	default:
		location->Parameters.DeviceIoControl.Type3InputBuffer = (PVOID)(uintptr_t)in;
		c->irp->UserBuffer = out;
		return true;
	}
}

static void take_output(struct control *c, ULONG code, void *out, size_t out_size, size_t *returned)
{
	size_t bytes = c->irp->IoStatus.Information;

	if (bytes > out_size)
		bytes = out_size;
	if (METHOD_FROM_CTL_CODE(code) == METHOD_BUFFERED && bytes)
		memcpy(out, c->system, bytes);
	*returned = bytes;
}

static void free_buffers(struct control *c)
{
	if (c->mdl) {
		MmUnlockPages(c->mdl);
		IoFreeMdl(c->mdl);
	}
	if (c->direct)
		ExFreePool(c->direct);
	if (c->system)
		ExFreePool(c->system);
	IoFreeIrp(c->irp);
}

NTSTATUS nt_device_control_below(PDEVICE_OBJECT device, ULONG code, const void *in, size_t in_size,
				 void *out, size_t out_size, size_t *returned)
{
	struct nt_driver *previous = nt_driver_enter(nt_driver_of_device(device));
	struct control c = {.irp = new_irp(device)};
	size_t ignored;
	NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

	if (!returned)
		returned = &ignored;
	*returned = 0;
	if (in_size > MAXULONG || out_size > MAXULONG)
		status = STATUS_INVALID_PARAMETER;
	else if (c.irp && set_buffers(&c, code, in, in_size, out, out_size))
		status = send_irp(device, c.irp);
	if (c.irp) {
		if (!NT_ERROR(status))
			take_output(&c, code, out, out_size, returned);
		/* what a driver wrote through the MDL is in the program's buffer whatever came of
		 * it */
		if (c.mdl)
			memcpy(out, c.direct, out_size);
		free_buffers(&c);
	}
	nt_driver_leave(previous);
	return status;
}

NTSTATUS nt_device_control(PDEVICE_OBJECT device, ULONG code, const void *in, size_t in_size,
			   void *out, size_t out_size, size_t *returned)
{
	PDEVICE_OBJECT top = reference_top(device);
	NTSTATUS status = nt_device_control_below(top, code, in, in_size, out, out_size, returned);

	nt_device_dereference(top);
	return status;
}

/* ---- work items ---- */

struct _IO_WORKITEM {
	struct nt_job job;
	PDEVICE_OBJECT device;
	struct nt_driver *driver;
	PIO_WORKITEM_ROUTINE routine;
	PVOID context;
	LONG queued;
};

PIO_WORKITEM IoAllocateWorkItem(PDEVICE_OBJECT DeviceObject)
{
	PIO_WORKITEM item = nt_alloc_fails("IoAllocateWorkItem") ? NULL : calloc(1, sizeof(*item));

	if (!item)
		return NULL;
	item->device = DeviceObject;
	item->driver = nt_driver_of_device(DeviceObject);
	return item;
}

VOID IoFreeWorkItem(PIO_WORKITEM WorkItem)
{
	free(WorkItem);
}

static void run_item(struct nt_job *job)
{
	PIO_WORKITEM item = CONTAINING_RECORD(job, struct _IO_WORKITEM, job);
	PDEVICE_OBJECT device = item->device;
	struct nt_driver *driver = item->driver;
	struct nt_driver *previous = nt_driver_enter(driver);
	PIO_WORKITEM_ROUTINE routine = item->routine;
	PVOID context = item->context;

	InterlockedExchange(&item->queued, 0);
	routine(device, context); /* may free or queue the item */
	nt_driver_leave(previous);
	nt_device_dereference(device);
	if (driver)
		atomic_fetch_sub(&driver->work_items, 1);
}

VOID IoQueueWorkItem(PIO_WORKITEM WorkItem, PIO_WORKITEM_ROUTINE Routine, WORK_QUEUE_TYPE QueueType,
		     PVOID Context)
{
	if (InterlockedExchange(&WorkItem->queued, 1)) {
		nt_violation("work-item-queued", "IoQueueWorkItem of an item that is queued");
		return;
	}
	WorkItem->routine = Routine;
	WorkItem->context = Context;
	WorkItem->job.run = run_item;
	nt_device_reference(WorkItem->device);
	if (WorkItem->driver)
		atomic_fetch_add(&WorkItem->driver->work_items, 1);
	nt_pool_submit(&WorkItem->job);
}
