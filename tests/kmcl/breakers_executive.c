/* SPDX-License-Identifier: MIT */
/* Mistakes with what the executive offers. */
#include "breakers.h"

#include <sys/resource.h>

#define TAG  'krBT'
#define TAG2 'krBU'

static PDRIVER_OBJECT object;

static NTSTATUS entry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	(void)path;
	object = driver;
	return STATUS_SUCCESS;
}

static struct nt_driver *breaker;

/* The thread is the driver's from here on. */
static void load(void)
{
	struct nt_driver_config config = {.name = "breaker", .entry = entry};
	char *error;

	assert_int_equal(nt_driver_load(&config, &breaker, &error), STATUS_SUCCESS);
	nt_driver_enter(breaker);
}

static void assertion_fails(void)
{
	load();
	RtlAssertFailed("1 == 2", "driver.c", 12);
}

static void bug_check(void)
{
	load();
	KeBugCheckEx(0xe2, 1, 2, 3, 4);
}

static PDEVICE_OBJECT device(void)
{
	PDEVICE_OBJECT d;

	assert_int_equal(IoCreateDevice(object, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &d),
			 STATUS_SUCCESS);
	return d;
}

static void leave_device(void)
{
	load();
	device();
	nt_driver_leave(NULL);
	nt_driver_unload(breaker);
}

static void drop_interface_twice(void)
{
	static const struct nt_bus_ops ops = {.name = "test"};
	PDEVICE_OBJECT pdo;

	load();
	assert_int_equal(nt_pdo_create(&ops, NULL, &pdo), STATUS_SUCCESS);
	nt_pdo_interface_reference(pdo);
	nt_pdo_interface_dereference(pdo);
	nt_pdo_interface_dereference(pdo);
}

static NTSTATUS keep(PDEVICE_OBJECT d, PIRP irp, PVOID context)
{
	(void)d;
	(void)irp;
	(void)context;
	return STATUS_MORE_PROCESSING_REQUIRED;
}

static void complete_irp_twice(void)
{
	PIRP irp;

	load();
	irp = IoAllocateIrp(1, FALSE);
	IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_DEVICE_CONTROL;
	IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE);
	IoCallDriver(device(), irp);
	IoCompleteRequest(irp, IO_NO_INCREMENT);
}

static NTSTATUS call_again(PDEVICE_OBJECT d, PIRP irp)
{
	return IoCallDriver(d, irp);
}

static void call_without_stack(void)
{
	PIRP irp;

	load();
	object->MajorFunction[IRP_MJ_DEVICE_CONTROL] = call_again;
	irp = IoAllocateIrp(1, FALSE);
	IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_DEVICE_CONTROL;
	IoCallDriver(device(), irp);
}

static PVOID own_allocate(POOL_TYPE type, SIZE_T bytes, ULONG tag)
{
	(void)type;
	(void)bytes;
	(void)tag;
	return NULL;
}

static void own_lookaside(void)
{
	static NPAGED_LOOKASIDE_LIST list;

	load();
	ExInitializeNPagedLookasideList(&list, own_allocate, NULL, 0, 64, TAG, 0);
}

static uint8_t page[4096];

static void unlock_unlocked(void)
{
	load();
	MmUnlockPages(IoAllocateMdl(page, 4096, FALSE, FALSE, NULL));
}

static void leave_mdl(void)
{
	load();
	IoAllocateMdl(page, 4096, FALSE, FALSE, NULL);
	nt_driver_leave(NULL);
	nt_driver_unload(breaker);
}

static void release_foreign_mutex(void)
{
	KMUTEX mutex;

	load();
	KeInitializeMutex(&mutex, 0);
	KeReleaseMutex(&mutex, FALSE);
}

#if !KT_SANITIZED /* whose shadow needs all addresses */
static VOID nothing(PKDPC dpc, PVOID context, PVOID a, PVOID b)
{
	(void)dpc;
	(void)context;
	(void)a;
	(void)b;
}

/* No room for another stack. */
static void no_room_for_a_thread(void)
{
	static KDPC dpc;
	struct rlimit limit = {1 << 20, 1 << 20};

	load();
	KeInitializeDpc(&dpc, nothing, NULL);
	setrlimit(RLIMIT_AS, &limit);
	KeInsertQueueDpc(&dpc, NULL, NULL);
}
#endif

static void end_foreign_thread(void)
{
	load();
	PsTerminateSystemThread(STATUS_SUCCESS);
}

static void free_no_block(void)
{
	load();
	ExFreePool(page);
}

static void leave_block(void)
{
	load();
	ExAllocatePoolWithTag(NonPagedPoolNx, 10, TAG);
	nt_driver_leave(NULL);
	nt_driver_unload(breaker);
}

/* In guest memory, which has its guard under AddressSanitizer too. */
__attribute__((no_sanitize("address"))) static void write_past_end(void)
{
	struct kt_bus bus;
	volatile uint8_t *block;

	kt_bus_create(&bus, NULL);
	kt_enter(&bus, false);
	block = ExAllocatePoolWithTag(NonPagedPoolNx, 10, TAG);
	block[10] = 1;
	ExFreePoolWithTag((PVOID)(uintptr_t)block, TAG);
}

static void free_with_other_tag(void)
{
	load();
	ExFreePoolWithTag(ExAllocatePoolWithTag(NonPagedPoolNx, 10, TAG), TAG2);
}

static void release_too_often(void)
{
	KSEMAPHORE semaphore;

	load();
	KeInitializeSemaphore(&semaphore, 1, 1);
	KeReleaseSemaphore(&semaphore, 0, 1, FALSE);
}

static void acquire_twice(void)
{
	KSPIN_LOCK lock;
	KIRQL irql;

	load();
	KeInitializeSpinLock(&lock);
	KeAcquireSpinLock(&lock, &irql);
	KeAcquireSpinLockAtDpcLevel(&lock);
}

static void leave_timer(void)
{
	static KTIMER timer;
	LARGE_INTEGER hour = {.QuadPart = -36000000000};

	load();
	KeInitializeTimer(&timer);
	KeSetTimer(&timer, hour, NULL);
	nt_driver_leave(NULL);
	nt_driver_unload(breaker);
}

static void negative_period(void)
{
	static KTIMER timer;
	LARGE_INTEGER hour = {.QuadPart = -36000000000};

	load();
	KeInitializeTimer(&timer);
	KeSetTimerEx(&timer, hour, -1, NULL);
}

static void wait_raised(void)
{
	KEVENT event;
	KIRQL irql;

	load();
	KeInitializeEvent(&event, NotificationEvent, FALSE);
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
}

static void wait_for(ULONG count, WAIT_TYPE type)
{
	static KEVENT event;
	PVOID objects[8];

	load();
	KeInitializeEvent(&event, NotificationEvent, TRUE);
	for (ULONG i = 0; i < count; i++)
		objects[i] = &event;
	KeWaitForMultipleObjects(count, objects, type, Executive, KernelMode, FALSE, NULL, NULL);
}

static void wait_without_blocks(void)
{
	wait_for(8, WaitAny);
}

static void wait_for_one_twice(void)
{
	wait_for(2, WaitAll);
}

static VOID empty_routine(PVOID context)
{
	(void)context;
}

/* The second time is soon enough for one of many. */
static void queue_twice(void)
{
	static WORK_QUEUE_ITEM item[20000];

	load();
	for (unsigned int i = 0; i < ARRAYSIZE(item); i++) {
		ExInitializeWorkItem(&item[i], empty_routine, NULL);
		ExQueueWorkItem(&item[i], DelayedWorkQueue);
		ExQueueWorkItem(&item[i], DelayedWorkQueue);
	}
}

static void raise_downwards(void)
{
	KIRQL old;

	load();
	KeRaiseIrql(DISPATCH_LEVEL, &old);
	KeRaiseIrql(PASSIVE_LEVEL, &old);
}

const struct breaker executive_breakers[] = {
	{"irql", raise_downwards, "breaker", false, "KeRaiseIrql+"},
	{"assertion", assertion_fails, "breaker", false, NULL},
	{"bug-check", bug_check, "breaker", false, NULL},
	{"device-leak", leave_device, "breaker", false, "nt_driver_unload+"},
	{"interface-reference", drop_interface_twice, "breaker", false, NULL},
	{"irp-completed-twice", complete_irp_twice, "breaker", false, NULL},
	{"irp-stack", call_without_stack, "breaker", false, NULL},
	{"lookaside", own_lookaside, "breaker", false, "ExInitializeNPagedLookasideList+"},
	{"mdl", unlock_unlocked, "breaker", false, "MmUnlockPages+"},
	{"mdl-leak", leave_mdl, "breaker", false, "nt_driver_unload+"},
	{"mutex-owner", release_foreign_mutex, "breaker", false, "KeReleaseMutex+"},
#if !KT_SANITIZED
	{"no-thread", no_room_for_a_thread, "breaker", false, NULL},
#endif
	{"not-a-system-thread", end_foreign_thread, "breaker", false, NULL},
	{"pool-free", free_no_block, "breaker", false, "ExFreePoolWithTag+"},
	{"pool-leak", leave_block, "breaker", false, "nt_driver_unload+"},
	{"pool-overrun", write_past_end, "client", false, NULL},
	{"pool-tag", free_with_other_tag, "breaker", false, "ExFreePoolWithTag+"},
	{"semaphore-limit", release_too_often, "breaker", false, "KeReleaseSemaphore+"},
	{"spin-lock-twice", acquire_twice, "breaker", false, "KeAcquireSpinLockAtDpcLevel+"},
	{"timer-at-unload", leave_timer, "breaker", false, NULL},
	{"timer-period", negative_period, "breaker", false, "KeSetTimerEx+"},
	{"wait-at-dispatch", wait_raised, "breaker", false, "KeWaitForSingleObject+"},
	{"wait-blocks", wait_without_blocks, "breaker", false, "KeWaitForMultipleObjects+"},
	{"wait-objects", wait_for_one_twice, "breaker", false, "KeWaitForMultipleObjects+"},
	{"work-item-queued", queue_twice, "breaker", false, "ExQueueWorkItem+"},
	{NULL, NULL, NULL, false, NULL},
};
