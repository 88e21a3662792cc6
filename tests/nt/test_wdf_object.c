/* SPDX-License-Identifier: MIT */
/* Objects of the framework: contexts, parents, references, deletion; memory, strings, collections,
 * registry keys. */
#include "wdf_test.h"

typedef struct _FIRST {
	ULONG Number;
	UCHAR Bytes[100];
} FIRST;
WDF_DECLARE_CONTEXT_TYPE_WITH_NAME(FIRST, GetFirst)

typedef struct _SECOND {
	const char *Name;
} SECOND;
WDF_DECLARE_CONTEXT_TYPE(SECOND)

/* All tests run as the driver. */
static struct nt_driver *outside;

static int enter(void **state)
{
	if (rig_setup(state))
		return -1;
	outside = nt_driver_enter(rig.driver);
	return 0;
}

static int leave(void **state)
{
	nt_driver_leave(outside);
	return rig_teardown(state);
}

#define AS_THE_DRIVER(f) cmocka_unit_test_setup_teardown(f, enter, leave)

/* ---- contexts ---- */

static void contexts_are_found_by_type(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFOBJECT object;
	SECOND *second, *again = NULL;
	FIRST *first;

	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, FIRST);
	assert_int_equal(WdfObjectCreate(&attributes, &object), STATUS_SUCCESS);
	first = GetFirst(object);
	assert_non_null(first);
	assert_int_equal((uintptr_t)first % 16, 0);
	for (size_t i = 0; i < sizeof(*first); i++)
		assert_int_equal(((UCHAR *)first)[i], 0);
	assert_null(WdfObjectGet_SECOND(object));
	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, SECOND);
	assert_int_equal(WdfObjectAllocateContext(object, &attributes, (PVOID *)&second),
			 STATUS_SUCCESS);
	assert_ptr_equal(WdfObjectGet_SECOND(object), second);
	assert_ptr_equal(WdfObjectGetTypedContext(object, FIRST), first);
	assert_ptr_equal(WdfObjectContextGetObject(first), object);
	assert_ptr_equal(WdfObjectContextGetObject(second), object);
	assert_int_equal(WdfObjectAllocateContext(object, &attributes, (PVOID *)&again),
			 STATUS_OBJECT_NAME_EXISTS);
	assert_ptr_equal(again, second);
	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	assert_int_equal(WdfObjectAllocateContext(object, &attributes, NULL),
			 STATUS_OBJECT_NAME_INVALID);
	WdfObjectDelete(object);
}

static void attributes_are_checked(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFOBJECT object;

	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, FIRST);
	attributes.Size -= 8;
	assert_int_equal(WdfObjectCreate(&attributes, &object), STATUS_INFO_LENGTH_MISMATCH);
	attributes.Size += 8;
	attributes.ContextSizeOverride = sizeof(FIRST) - 1;
	assert_int_equal(WdfObjectCreate(&attributes, &object),
			 STATUS_WDF_OBJECT_ATTRIBUTES_INVALID);
	attributes.ContextSizeOverride = 100000;
	assert_int_equal(WdfObjectCreate(&attributes, &object), STATUS_SUCCESS);
	((UCHAR *)GetFirst(object))[99999] = 1;
	WdfObjectDelete(object);
	attributes.ContextSizeOverride = 0;
	attributes.ExecutionLevel = WdfExecutionLevelInvalid;
	assert_int_equal(WdfObjectCreate(&attributes, &object), STATUS_WDF_EXECUTION_LEVEL_INVALID);
	attributes.ExecutionLevel = WdfExecutionLevelDispatch;
	attributes.SynchronizationScope = (WDF_SYNCHRONIZATION_SCOPE)9;
	assert_int_equal(WdfObjectCreate(&attributes, &object),
			 STATUS_WDF_SYNCHRONIZATION_SCOPE_INVALID);
	assert_int_equal(WdfObjectCreate(NULL, NULL), STATUS_INVALID_PARAMETER);
}

/* ---- deletion ---- */

static const char *name_of(WDFOBJECT object)
{
	return WdfObjectGet_SECOND(object)->Name;
}

static void cleaned(WDFOBJECT object)
{
	char word[32];

	snprintf(word, sizeof(word), "-%s", name_of(object));
	note(word);
	assert_ptr_equal(nt_driver_current(), rig.driver);
}

static void destroyed(WDFOBJECT object)
{
	char word[32];

	snprintf(word, sizeof(word), "~%s", name_of(object));
	note(word);
}

static WDFOBJECT named_with(const char *name, WDFOBJECT parent, WDF_EXECUTION_LEVEL level)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFOBJECT object;

	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, SECOND);
	attributes.EvtCleanupCallback = cleaned;
	attributes.EvtDestroyCallback = destroyed;
	attributes.ParentObject = parent;
	attributes.ExecutionLevel = level;
	assert_int_equal(WdfObjectCreate(&attributes, &object), STATUS_SUCCESS);
	WdfObjectGet_SECOND(object)->Name = name;
	return object;
}

static WDFOBJECT named(const char *name, WDFOBJECT parent)
{
	return named_with(name, parent, WdfExecutionLevelInheritFromParent);
}

static void children_are_cleaned_before_their_parent(void **state)
{
	WDFOBJECT a = named("a", NULL), b = named("b", a), c = named("c", a);

	named("d", b);
	named("e", c);
	named("f", b);
	WdfObjectDelete(a);
	expect_trace("-d -f -b -e -c -a ~d ~f ~b ~e ~c ~a ");
}

static void child_may_go_first(void **state)
{
	WDFOBJECT a = named("a", NULL), b = named("b", a);

	named("c", b);
	named("d", a);
	WdfObjectDelete(b);
	expect_trace("-c -b ~c ~b ");
	WdfObjectDelete(a);
	expect_trace("-d -a ~d ~a ");
}

static void references_put_off_destruction_alone(void **state)
{
	WDFOBJECT a = named("a", NULL), b = named("b", a);

	WdfObjectReference(b);
	WdfObjectReferenceWithTag(b, (PVOID)(uintptr_t)'gat');
	WdfObjectDelete(a);
	expect_trace("-b -a ~a ");
	assert_string_equal(name_of(b), "b");
	WdfObjectDereference(b);
	expect_trace("");
	WdfObjectDereferenceWithTag(b, (PVOID)(uintptr_t)'gat');
	expect_trace("~b ");
}

static void driver_takes_its_objects_along(void **state)
{
	named("a", NULL);
	named("b", WdfGetDriver());
	nt_driver_leave(outside);
	assert_int_equal(nt_driver_unload(rig.driver), 0);
	rig.driver = NULL;
	outside = nt_driver_enter(NULL);
	expect_trace("unload -a -b ~a ~b ");
}

/* ---- deletion within callbacks and at DISPATCH_LEVEL ---- */

static WDFOBJECT victim;

static void delete_victim(WDFOBJECT object)
{
	note("owner");
	WdfObjectDelete(victim);
}

/* The cleanup of a parent may delete a child that has been cleaned up on the parent's account. */
static void parent_may_delete_its_cleaned_child(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFOBJECT owner;

	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.EvtCleanupCallback = delete_victim;
	assert_int_equal(WdfObjectCreate(&attributes, &owner), STATUS_SUCCESS);
	victim = named("v", owner);
	WdfObjectDelete(owner);
	expect_trace("-v owner ~v ");
}

static NTSTATUS late_status;

static void create_late(WDFOBJECT object)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFOBJECT child;

	WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(&attributes, FIRST);
	assert_int_equal(WdfObjectAllocateContext(object, &attributes, NULL),
			 STATUS_DELETE_PENDING);
	attributes.ParentObject = object;
	late_status = WdfObjectCreate(&attributes, &child);
}

static void nothing_is_born_to_an_object_that_goes(void **state)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFOBJECT owner;

	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.EvtCleanupCallback = create_late;
	assert_int_equal(WdfObjectCreate(&attributes, &owner), STATUS_SUCCESS);
	WdfObjectDelete(owner);
	assert_int_equal(late_status, STATUS_DELETE_PENDING);
}

static atomic_int levels;

static void record_level(WDFOBJECT object)
{
	atomic_fetch_add(&levels, 1 + 16 * KeGetCurrentIrql());
}

static void delete_at_dispatch(WDF_EXECUTION_LEVEL level)
{
	WDF_OBJECT_ATTRIBUTES attributes;
	WDFOBJECT object;
	KIRQL irql;

	WDF_OBJECT_ATTRIBUTES_INIT(&attributes);
	attributes.ExecutionLevel = level;
	attributes.EvtCleanupCallback = record_level;
	attributes.EvtDestroyCallback = record_level;
	assert_int_equal(WdfObjectCreate(&attributes, &object), STATUS_SUCCESS);
	atomic_store(&levels, 0);
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	WdfObjectDelete(object);
	KeLowerIrql(irql);
}

static void passive_objects_are_cleaned_at_passive_level(void **state)
{
	delete_at_dispatch(WdfExecutionLevelDispatch);
	assert_int_equal(atomic_load(&levels), 2 * (1 + 16 * DISPATCH_LEVEL));
	delete_at_dispatch(WdfExecutionLevelPassive);
	WAIT_UNTIL(atomic_load(&levels) == 2);
}

static void bad_handles_are_violations(void **state)
{
	WDFOBJECT object = named("a", NULL);
	char not_an_object[512] = {0};

	assert_null(GetFirst(not_an_object));
	EXPECT_VIOLATION("wdf-handle", "not the handle");
	assert_null(WdfDeviceGetDriver((WDFDEVICE)object));
	EXPECT_VIOLATION("wdf-handle", "WDFOBJECT and not a WDFDEVICE");
	WdfObjectDereference(object);
	EXPECT_VIOLATION("wdf-reference", "without a reference");
	WdfObjectDelete(WdfGetDriver());
	EXPECT_VIOLATION("wdf-delete", "WDFDRIVER");
	WdfObjectDelete(object);
	nt_driver_enter(NULL);
	assert_int_equal(WdfObjectCreate(NULL, &object), STATUS_INVALID_PARAMETER);
	nt_driver_enter(rig.driver);
	EXPECT_VIOLATION("wdf-driver", "WdfObjectCreate");
}

/* ---- memory ---- */

static void memory_is_from_the_pool(void **state)
{
	WDFMEMORY memory;
	size_t blocks, before, bytes, size;
	UCHAR copy[8];
	PVOID buffer;

	nt_pool_usage(rig.driver, &before, &bytes);
	assert_int_equal(WdfMemoryCreate(NULL, NonPagedPoolNx, 'yMeM', 4096, &memory, &buffer),
			 STATUS_SUCCESS);
	assert_int_equal((uintptr_t)buffer % PAGE_SIZE, 0);
	assert_ptr_equal(WdfMemoryGetBuffer(memory, &size), buffer);
	assert_int_equal(size, 4096);
	memset(buffer, 7, size);
	assert_int_equal(WdfMemoryCopyToBuffer(memory, 4088, copy, 8), STATUS_SUCCESS);
	assert_int_equal(copy[7], 7);
	assert_int_equal(WdfMemoryCopyToBuffer(memory, 4089, copy, 8), STATUS_BUFFER_TOO_SMALL);
	assert_int_equal(WdfMemoryCopyToBuffer(memory, SIZE_MAX, copy, 2), STATUS_BUFFER_TOO_SMALL);
	assert_int_equal(WdfMemoryCopyFromBuffer(memory, 0, copy, 0), STATUS_INVALID_BUFFER_SIZE);
	copy[0] = 9;
	assert_int_equal(WdfMemoryCopyFromBuffer(memory, 5, copy, 1), STATUS_SUCCESS);
	assert_int_equal(((UCHAR *)buffer)[5], 9);
	assert_int_equal(WdfMemoryAssignBuffer(memory, copy, 8), STATUS_INVALID_DEVICE_REQUEST);
	WdfObjectDelete(memory);
	nt_pool_usage(rig.driver, &blocks, &bytes);
	assert_int_equal(blocks, before);
	assert_int_equal(WdfMemoryCreate(NULL, NonPagedPoolNx, 0, 0, &memory, NULL),
			 STATUS_INVALID_PARAMETER);
	assert_null(memory);
}

static void preallocated_memory_stays_the_drivers(void **state)
{
	UCHAR one[16], other[32];
	WDFMEMORY memory;
	size_t size;

	assert_int_equal(WdfMemoryCreatePreallocated(NULL, one, sizeof(one), &memory),
			 STATUS_SUCCESS);
	assert_ptr_equal(WdfMemoryGetBuffer(memory, NULL), one);
	assert_int_equal(WdfMemoryAssignBuffer(memory, other, sizeof(other)), STATUS_SUCCESS);
	assert_ptr_equal(WdfMemoryGetBuffer(memory, &size), other);
	assert_int_equal(size, sizeof(other));
	WdfObjectDelete(memory);
}

static void lookaside_lists_give_memory(void **state)
{
	WDFLOOKASIDE lookaside;
	WDFMEMORY memory;
	PVOID buffer;
	size_t size;

	assert_int_equal(
		WdfLookasideListCreate(NULL, 100, NonPagedPoolNx, NULL, 'kooL', &lookaside),
		STATUS_SUCCESS);
	assert_int_equal(WdfMemoryCreateFromLookaside(lookaside, &memory), STATUS_SUCCESS);
	buffer = WdfMemoryGetBuffer(memory, &size);
	assert_int_equal(size, 100);
	memset(buffer, 1, size);
	WdfObjectDelete(memory);
	assert_int_equal(WdfMemoryCreateFromLookaside(lookaside, &memory), STATUS_SUCCESS);
	assert_ptr_equal(WdfMemoryGetBuffer(memory, NULL), buffer); /* kept for the next */
	/* the list goes with the last of its memory */
	WdfObjectDelete(lookaside);
	memset(WdfMemoryGetBuffer(memory, NULL), 2, 100);
	WdfObjectDelete(memory);
}

static void strings_are_copies(void **state)
{
	WCHAR text[] = u"abc";
	UNICODE_STRING source = {6, 8, text}, seen;
	WDFSTRING string;

	assert_int_equal(WdfStringCreate(&source, NULL, &string), STATUS_SUCCESS);
	text[0] = 'x';
	WdfStringGetUnicodeString(string, &seen);
	assert_int_equal(seen.Length, 6);
	assert_int_equal(seen.Buffer[0], 'a');
	assert_int_equal(seen.Buffer[3], 0);
	WdfObjectDelete(string);
	assert_int_equal(WdfStringCreate(NULL, NULL, &string), STATUS_SUCCESS);
	WdfStringGetUnicodeString(string, &seen);
	assert_int_equal(seen.Length, 0);
	WdfObjectDelete(string);
}

static void collections_hold_references(void **state)
{
	WDFOBJECT a = named("a", NULL), b = named("b", NULL);
	WDFCOLLECTION collection;

	assert_int_equal(WdfCollectionCreate(NULL, &collection), STATUS_SUCCESS);
	assert_null(WdfCollectionGetLastItem(collection));
	assert_int_equal(WdfCollectionAdd(collection, a), STATUS_SUCCESS);
	assert_int_equal(WdfCollectionAdd(collection, b), STATUS_SUCCESS);
	assert_int_equal(WdfCollectionAdd(collection, a), STATUS_SUCCESS);
	assert_int_equal(WdfCollectionGetCount(collection), 3);
	assert_ptr_equal(WdfCollectionGetFirstItem(collection), a);
	assert_ptr_equal(WdfCollectionGetItem(collection, 1), b);
	assert_null(WdfCollectionGetItem(collection, 3));
	WdfCollectionRemove(collection, a);
	assert_ptr_equal(WdfCollectionGetFirstItem(collection), b);
	assert_ptr_equal(WdfCollectionGetLastItem(collection), a);
	WdfObjectDelete(b);
	expect_trace("-b ");
	WdfCollectionRemoveItem(collection, 0);
	expect_trace("~b ");
	WdfCollectionRemoveItem(collection, 1);
	EXPECT_VIOLATION("wdf-collection", "item 1");
	WdfObjectDelete(a);
	WdfObjectDelete(collection);
	expect_trace("-a ~a ");
}

/* ---- registry ---- */

static int enter_with_parameters(void **state)
{
	static const char *const parameters[] = {"count=12", "mask=0xff", "label=a name", NULL};

	rig = (struct rig){0};
	trace.text[0] = 0;
	record_violations(state);
	if (rig_load(parameters))
		return -1;
	outside = nt_driver_enter(rig.driver);
	return 0;
}

static void parameters_key_has_the_values(void **state)
{
	DECLARE_CONST_UNICODE_STRING(count, u"count");
	DECLARE_CONST_UNICODE_STRING(mask, u"MASK");
	DECLARE_CONST_UNICODE_STRING(label, u"label");
	DECLARE_CONST_UNICODE_STRING(none, u"none");
	DECLARE_UNICODE_STRING_SIZE(value, 7);
	UNICODE_STRING seen;
	USHORT length = 0;
	ULONG number = 0, bytes = 0, type = 0;
	WDFSTRING string;
	WDFMEMORY memory;
	size_t size;
	WDFKEY key;

	assert_int_equal(WdfDriverOpenParametersRegistryKey(rig.wdf, KEY_READ, NULL, &key),
			 STATUS_SUCCESS);
	assert_int_equal(WdfRegistryQueryULong(key, &count, &number), STATUS_SUCCESS);
	assert_int_equal(number, 12);
	assert_int_equal(WdfRegistryQueryULong(key, &mask, &number), STATUS_SUCCESS);
	assert_int_equal(number, 0xff);
	assert_int_equal(WdfRegistryQueryULong(key, &label, &number), STATUS_OBJECT_TYPE_MISMATCH);
	assert_int_equal(WdfRegistryQueryULong(key, &none, &number), STATUS_OBJECT_NAME_NOT_FOUND);
	assert_int_equal(WdfRegistryQueryUnicodeString(key, &label, &length, &value),
			 STATUS_SUCCESS);
	assert_int_equal(length, 14);
	assert_int_equal(value.Length, 12);
	assert_int_equal(value.Buffer[6], 0);
	value.MaximumLength = 13;
	assert_int_equal(WdfRegistryQueryUnicodeString(key, &label, &length, &value),
			 STATUS_BUFFER_OVERFLOW);
	assert_int_equal(WdfRegistryQueryUnicodeString(key, &label, &length, NULL),
			 STATUS_BUFFER_OVERFLOW);
	assert_int_equal(WdfStringCreate(NULL, NULL, &string), STATUS_SUCCESS);
	assert_int_equal(WdfRegistryQueryString(key, &label, string), STATUS_SUCCESS);
	WdfStringGetUnicodeString(string, &seen);
	assert_int_equal(seen.Length, 12);
	assert_int_equal(seen.Buffer[2], 'n');
	assert_int_equal(WdfRegistryQueryValue(key, &count, 0, NULL, &bytes, &type),
			 STATUS_BUFFER_OVERFLOW);
	assert_int_equal(bytes, 4);
	assert_int_equal(type, REG_DWORD);
	assert_int_equal(WdfRegistryQueryValue(key, &count, 4, &number, NULL, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(number, 12);
	assert_int_equal(WdfRegistryQueryMemory(key, &label, PagedPool, NULL, &memory, &type),
			 STATUS_SUCCESS);
	WdfMemoryGetBuffer(memory, &size);
	assert_int_equal(size, 14);
	assert_int_equal(type, REG_SZ);
	WdfRegistryClose(key);
}

static void keys_are_opened_by_name(void **state)
{
	DECLARE_CONST_UNICODE_STRING(parameters, u"Parameters");
	DECLARE_CONST_UNICODE_STRING(nowhere, u"\\Registry\\Nowhere");
	UNICODE_STRING own;
	WDFKEY key, sub;

	RtlInitUnicodeString(&own, WdfDriverGetRegistryPath(rig.wdf));
	assert_int_equal(WdfRegistryOpenKey(NULL, &own, KEY_READ, NULL, &key), STATUS_SUCCESS);
	assert_non_null(WdfRegistryWdmGetHandle(key));
	assert_int_equal(WdfRegistryOpenKey(key, &parameters, KEY_READ, NULL, &sub),
			 STATUS_SUCCESS);
	assert_int_equal(WdfRegistryOpenKey(NULL, &nowhere, KEY_READ, NULL, &sub),
			 STATUS_OBJECT_NAME_NOT_FOUND);
	assert_null(sub);
	/* what is open is closed with the driver */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		AS_THE_DRIVER(contexts_are_found_by_type),
		AS_THE_DRIVER(attributes_are_checked),
		AS_THE_DRIVER(children_are_cleaned_before_their_parent),
		AS_THE_DRIVER(child_may_go_first),
		AS_THE_DRIVER(references_put_off_destruction_alone),
		AS_THE_DRIVER(driver_takes_its_objects_along),
		AS_THE_DRIVER(parent_may_delete_its_cleaned_child),
		AS_THE_DRIVER(nothing_is_born_to_an_object_that_goes),
		AS_THE_DRIVER(passive_objects_are_cleaned_at_passive_level),
		AS_THE_DRIVER(bad_handles_are_violations),
		AS_THE_DRIVER(memory_is_from_the_pool),
		AS_THE_DRIVER(preallocated_memory_stays_the_drivers),
		AS_THE_DRIVER(lookaside_lists_give_memory),
		AS_THE_DRIVER(strings_are_copies),
		AS_THE_DRIVER(collections_hold_references),
		cmocka_unit_test_setup_teardown(parameters_key_has_the_values,
						enter_with_parameters, leave),
		AS_THE_DRIVER(keys_are_opened_by_name),
	};

	return cmocka_run_group_tests_name("nt-wdf_object", tests, NULL, end_threads);
}
