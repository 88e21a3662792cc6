/* SPDX-License-Identifier: MIT */
/* Locks, work items, timers and DPCs of the framework. */
#include "wdf_test.h"

static WDF_OBJECT_ATTRIBUTES device_attributes;
static struct nt_driver *outside;

static NTSTATUS add_device(WDFDRIVER driver, PWDFDEVICE_INIT init)
{
	return WdfDeviceCreate(&init, &device_attributes, &rig.device);
}

/* Tests run as the driver, which has a device. */
static int with_device(void **state, WDF_EXECUTION_LEVEL level)
{
	if (rig_setup(state))
		return -1;
	WDF_OBJECT_ATTRIBUTES_INIT(&device_attributes);
	if (level != WdfExecutionLevelInvalid) {
		device_attributes.ExecutionLevel = level;
		device_attributes.SynchronizationScope = WdfSynchronizationScopeDevice;
	}
	if (rig_plug(add_device))
		return -1;
	outside = nt_driver_enter(rig.driver);
	return 0;
}

static int unsynchronised(void **state)
{
	return with_device(state, WdfExecutionLevelInvalid);
}

static int at_dispatch(void **state)
{
	return with_device(state, WdfExecutionLevelDispatch);
}

static int at_passive(void **state)
{
	return with_device(state, WdfExecutionLevelPassive);
}

static int leave(void **state)
{
	nt_driver_leave(outside);
	return rig_teardown(state);
}

#define PLAIN(f)    cmocka_unit_test_setup_teardown(f, unsynchronised, leave)
#define DISPATCH(f) cmocka_unit_test_setup_teardown(f, at_dispatch, leave)
#define PASSIVE(f)  cmocka_unit_test_setup_teardown(f, at_passive, leave)

static atomic_int calls, wrong;
static atomic_bool hold;
static KIRQL expected_irql;

static void called(void)
{
	if (KeGetCurrentIrql() != expected_irql || nt_driver_current() != rig.driver)
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&calls, 1);
	while (atomic_load(&hold))
		pause_us(100);
}

static void begin(KIRQL irql)
{
	atomic_store(&calls, 0);
	atomic_store(&wrong, 0);
	atomic_store(&hold, false);
	expected_irql = irql;
}

static WDF_OBJECT_ATTRIBUTES below(WDFOBJECT parent)
{
	WDF_OBJECT_ATTRIBUTES attributes;

	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.ParentObject = parent;
	return attributes;
}

/* ---- locks ---- */

static atomic_int counter;
static WDFSPINLOCK spin;
static WDFWAITLOCK waiting;
static int unguarded;

static void *count_spinning(void *arg)
{
	nt_driver_enter(rig.driver);
	for (int i = 0; i < 2000; i++) {
		WdfSpinLockAcquire(spin);
		unguarded++;
		WdfSpinLockRelease(spin);
	}
	return NULL;
}

static void spin_lock_excludes(void **state)
{
	pthread_t thread[3];

	unguarded = 0;
	assert_int_equal(WdfSpinLockCreate(NULL, &spin), STATUS_SUCCESS);
	WdfSpinLockAcquire(spin);
	assert_int_equal(KeGetCurrentIrql(), DISPATCH_LEVEL);
	WdfSpinLockRelease(spin);
	assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
	for (int i = 0; i < 3; i++)
		start_thread(&thread[i], count_spinning, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(unguarded, 6000);
	WdfObjectDelete(spin);
}

static void *try_lock(void *arg)
{
	LONGLONG none = 0, some = WDF_REL_TIMEOUT_IN_MS(20);

	nt_driver_enter(rig.driver);
	assert_int_equal(WdfWaitLockAcquire(waiting, &none), STATUS_TIMEOUT);
	assert_int_equal(WdfWaitLockAcquire(waiting, &some), STATUS_TIMEOUT);
	atomic_store(&counter, 1);
	assert_int_equal(WdfWaitLockAcquire(waiting, NULL), STATUS_SUCCESS);
	WdfWaitLockRelease(waiting);
	return NULL;
}

static void wait_lock_waits(void **state)
{
	LONGLONG none = 0;
	pthread_t thread;

	atomic_store(&counter, 0);
	assert_int_equal(WdfWaitLockCreate(NULL, &waiting), STATUS_SUCCESS);
	assert_int_equal(WdfWaitLockAcquire(waiting, &none), STATUS_SUCCESS);
	assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
	assert_int_not_equal(WdfWaitLockAcquire(waiting, NULL), STATUS_SUCCESS);
	EXPECT_VIOLATION("wdf-lock", "holds the lock");
	start_thread(&thread, try_lock, NULL);
	WAIT_UNTIL(atomic_load(&counter));
	WdfWaitLockRelease(waiting);
	pthread_join(thread, NULL);
	WdfWaitLockRelease(waiting);
	EXPECT_VIOLATION("wdf-lock", "does not hold");
	WdfObjectDelete(waiting);
}

/* ---- work items ---- */

static WDFWORKITEM the_item;

static void work(WDFWORKITEM item)
{
	if (item != the_item || WdfWorkItemGetParentObject(item) != rig.device)
		atomic_fetch_add(&wrong, 1);
	called();
}

static WDFWORKITEM new_item(void)
{
	WDF_OBJECT_ATTRIBUTES attributes = below(rig.device);
	WDF_WORKITEM_CONFIG config;

	WDF_WORKITEM_CONFIG_INIT(&config, work);
	config.AutomaticSerialization = FALSE;
	assert_int_equal(WdfWorkItemCreate(&config, &attributes, &the_item), STATUS_SUCCESS);
	return the_item;
}

static void work_item_runs_once_for_each_time_it_is_queued(void **state)
{
	WDFWORKITEM item = new_item();

	begin(PASSIVE_LEVEL);
	atomic_store(&hold, true);
	WdfWorkItemEnqueue(item);
	WAIT_UNTIL(atomic_load(&calls) == 1);
	WdfWorkItemEnqueue(item); /* it has begun: once more */
	atomic_store(&hold, false);
	WdfWorkItemFlush(item);
	assert_int_equal(atomic_load(&calls), 2);
	assert_int_equal(atomic_load(&wrong), 0);
	WdfObjectDelete(item);
}

static void *release_soon(void *arg)
{
	pause_us(20000);
	atomic_fetch_add(&counter, 1);
	atomic_store(&hold, false);
	return NULL;
}

static void deletion_waits_for_the_callback(void **state)
{
	WDFWORKITEM item = new_item();
	pthread_t thread;

	begin(PASSIVE_LEVEL);
	atomic_store(&counter, 0);
	atomic_store(&hold, true);
	WdfWorkItemEnqueue(item);
	WAIT_UNTIL(atomic_load(&calls) == 1);
	start_thread(&thread, release_soon, NULL);
	WdfObjectDelete(item);
	assert_int_equal(atomic_load(&counter), 1);
	pthread_join(thread, NULL);
}

static void delete_itself(WDFWORKITEM item)
{
	WdfObjectDelete(item);
	atomic_fetch_add(&calls, 1);
}

static void work_item_may_delete_itself(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes = below(rig.device);
	WDF_WORKITEM_CONFIG config;
	WDFWORKITEM item;

	begin(PASSIVE_LEVEL);
	WDF_WORKITEM_CONFIG_INIT(&config, delete_itself);
	assert_int_equal(WdfWorkItemCreate(&config, &attributes, &item), STATUS_SUCCESS);
	WdfWorkItemEnqueue(item);
	WAIT_UNTIL(atomic_load(&calls) == 1);
}

static void parents_and_levels_are_checked(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes = below(NULL);
	WDF_WORKITEM_CONFIG config;
	WDFWORKITEM item;

	WDF_WORKITEM_CONFIG_INIT(&config, work);
	assert_int_equal(WdfWorkItemCreate(&config, NULL, &item), STATUS_WDF_PARENT_NOT_SPECIFIED);
	assert_int_equal(WdfWorkItemCreate(&config, &attributes, &item),
			 STATUS_WDF_PARENT_NOT_SPECIFIED);
	attributes.ParentObject = rig.wdf;
	assert_int_equal(WdfWorkItemCreate(&config, &attributes, &item),
			 STATUS_INVALID_DEVICE_REQUEST);
	config.EvtWorkItemFunc = NULL;
	attributes.ParentObject = rig.device;
	assert_int_equal(WdfWorkItemCreate(&config, &attributes, &item), STATUS_INVALID_PARAMETER);
	assert_null(item);
}

/* ---- DPCs ---- */

static void deferred(WDFDPC dpc)
{
	called();
}

static WDFDPC new_dpc(BOOLEAN serialized, NTSTATUS status)
{
	WDF_OBJECT_ATTRIBUTES attributes = below(rig.device);
	WDF_DPC_CONFIG config;
	WDFDPC dpc;

	WDF_DPC_CONFIG_INIT(&config, deferred);
	config.AutomaticSerialization = serialized;
	assert_int_equal(WdfDpcCreate(&config, &attributes, &dpc), status);
	return dpc;
}

static void dpc_runs_at_dispatch_level(void **state)
{
	WDFDPC dpc = new_dpc(FALSE, STATUS_SUCCESS), other = new_dpc(FALSE, STATUS_SUCCESS);

	begin(DISPATCH_LEVEL);
	assert_ptr_equal(WdfDpcGetParentObject(dpc), rig.device);
	atomic_store(&hold, true);
	assert_true(WdfDpcEnqueue(dpc));
	WAIT_UNTIL(atomic_load(&calls) == 1);
	/* the processor is busy with the first */
	assert_true(WdfDpcEnqueue(other));
	assert_false(WdfDpcEnqueue(other));
	assert_true(WdfDpcCancel(other, FALSE));
	assert_false(WdfDpcCancel(other, FALSE));
	assert_true(WdfDpcEnqueue(other));
	atomic_store(&hold, false);
	assert_false(WdfDpcCancel(dpc, TRUE));
	WAIT_UNTIL(atomic_load(&calls) == 2);
	assert_int_equal(atomic_load(&wrong), 0);
	WdfObjectDelete(dpc);
	WdfObjectDelete(other);
}

/* ---- timers ---- */

static WDFTIMER the_timer;

static void expired(WDFTIMER timer)
{
	if (timer != the_timer || WdfTimerGetParentObject(timer) != rig.device)
		atomic_fetch_add(&wrong, 1);
	called();
}

static WDFTIMER new_timer(LONG period, WDF_EXECUTION_LEVEL level, BOOLEAN serialized,
			  NTSTATUS status)
{
	WDF_OBJECT_ATTRIBUTES attributes = below(rig.device);
	WDF_TIMER_CONFIG config;

	WDF_TIMER_CONFIG_INIT_PERIODIC(&config, expired, period);
	config.AutomaticSerialization = serialized;
	attributes.ExecutionLevel = level;
	assert_int_equal(WdfTimerCreate(&config, &attributes, &the_timer), status);
	return the_timer;
}

static void timer_expires(void **state)
{
	WDFTIMER timer = new_timer(0, WdfExecutionLevelDispatch, FALSE, STATUS_SUCCESS);

	begin(DISPATCH_LEVEL);
	assert_false(WdfTimerStart(timer, WDF_REL_TIMEOUT_IN_SEC(100)));
	assert_true(WdfTimerStart(timer, WDF_REL_TIMEOUT_IN_MS(1)));
	WAIT_UNTIL(atomic_load(&calls) == 1);
	assert_false(WdfTimerStop(timer, TRUE));
	assert_false(WdfTimerStart(timer, WDF_REL_TIMEOUT_IN_SEC(100)));
	assert_true(WdfTimerStop(timer, TRUE));
	assert_int_equal(atomic_load(&calls), 1);
	assert_int_equal(atomic_load(&wrong), 0);
	/* a set timer goes with the device */
	WdfTimerStart(timer, WDF_REL_TIMEOUT_IN_SEC(100));
}

static void periodic_timer_goes_on_until_stopped(void **state)
{
	WDFTIMER timer = new_timer(1, WdfExecutionLevelDispatch, FALSE, STATUS_SUCCESS);
	int seen;

	begin(DISPATCH_LEVEL);
	WdfTimerStart(timer, WDF_REL_TIMEOUT_IN_MS(1));
	WAIT_UNTIL(atomic_load(&calls) >= 5);
	WdfTimerStop(timer, TRUE);
	seen = atomic_load(&calls);
	pause_us(10000);
	assert_int_equal(atomic_load(&calls), seen);
	WdfTimerStart(timer, WDF_REL_TIMEOUT_IN_MS(1));
	WAIT_UNTIL(atomic_load(&calls) >= seen + 3);
	WdfObjectDelete(timer);
	seen = atomic_load(&calls);
	pause_us(10000);
	assert_int_equal(atomic_load(&calls), seen);
	assert_int_equal(atomic_load(&wrong), 0);
}

static void passive_timer_may_wait(void **state)
{
	WDFTIMER timer = new_timer(0, WdfExecutionLevelPassive, FALSE, STATUS_SUCCESS);

	begin(PASSIVE_LEVEL);
	WdfTimerStart(timer, WDF_REL_TIMEOUT_IN_MS(1));
	WAIT_UNTIL(atomic_load(&calls) == 1);
	WdfTimerStop(timer, TRUE);
	assert_int_equal(atomic_load(&wrong), 0);
	new_timer(10, WdfExecutionLevelPassive, FALSE, STATUS_NOT_SUPPORTED);
}

/* ---- serialisation with the device's other callbacks ---- */

static void dispatch_scope_serialises_dpcs_and_timers(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes = below(rig.device);
	WDF_WORKITEM_CONFIG config;
	WDFWORKITEM item;
	WDFDPC dpc = new_dpc(TRUE, STATUS_SUCCESS);

	begin(DISPATCH_LEVEL);
	WdfObjectAcquireLock(rig.device);
	WdfDpcEnqueue(dpc);
	pause_us(5000);
	assert_int_equal(atomic_load(&calls), 0);
	WdfObjectReleaseLock(rig.device);
	WAIT_UNTIL(atomic_load(&calls) == 1);
	new_timer(0, WdfExecutionLevelPassive, TRUE, STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL);
	new_timer(0, WdfExecutionLevelDispatch, TRUE, STATUS_SUCCESS);
	WDF_WORKITEM_CONFIG_INIT(&config, work);
	assert_int_equal(WdfWorkItemCreate(&config, &attributes, &item),
			 STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL);
}

static void passive_scope_serialises_work_items(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes = below(rig.device);
	WDF_WORKITEM_CONFIG config;

	begin(PASSIVE_LEVEL);
	WDF_WORKITEM_CONFIG_INIT(&config, work);
	assert_int_equal(WdfWorkItemCreate(&config, &attributes, &the_item), STATUS_SUCCESS);
	WdfObjectAcquireLock(rig.device);
	assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
	WdfWorkItemEnqueue(the_item);
	pause_us(5000);
	assert_int_equal(atomic_load(&calls), 0);
	WdfObjectReleaseLock(rig.device);
	WAIT_UNTIL(atomic_load(&calls) == 1);
	WdfWorkItemFlush(the_item);
	new_dpc(TRUE, STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL);
	new_timer(0, WdfExecutionLevelDispatch, TRUE, STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL);
	new_timer(0, WdfExecutionLevelPassive, TRUE, STATUS_SUCCESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAIN(spin_lock_excludes),
		PLAIN(wait_lock_waits),
		PLAIN(work_item_runs_once_for_each_time_it_is_queued),
		PLAIN(deletion_waits_for_the_callback),
		PLAIN(work_item_may_delete_itself),
		PLAIN(parents_and_levels_are_checked),
		PLAIN(dpc_runs_at_dispatch_level),
		PLAIN(timer_expires),
		PLAIN(periodic_timer_goes_on_until_stopped),
		PLAIN(passive_timer_may_wait),
		DISPATCH(dispatch_scope_serialises_dpcs_and_timers),
		PASSIVE(passive_scope_serialises_work_items),
	};

	return cmocka_run_group_tests_name("nt-wdf_sync", tests, NULL, end_threads);
}
