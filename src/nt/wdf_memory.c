/* SPDX-License-Identifier: MIT */
/*
 * Memory, lookaside lists, strings and collections as objects.
 */
#include "nt/wdf.h"

/* ---- memory ---- */

static void destroy_memory(struct wdf_object *object);

struct wdf_lookaside {
	struct wdf_object object;
	NPAGED_LOOKASIDE_LIST list;
	size_t size;
	WDF_OBJECT_ATTRIBUTES memory_attributes;
};

static void destroy_memory(struct wdf_object *object)
{
	struct wdf_memory *memory = (struct wdf_memory *)(PVOID)object;

	if (!memory->buffer || !memory->owned)
		return;
	if (memory->lookaside) {
		ExFreeToNPagedLookasideList(&memory->lookaside->list, memory->buffer);
		wdf_release(memory->lookaside);
	} else {
		ExFreePool(memory->buffer);
	}
}

static NTSTATUS new_memory(struct wdf_driver *driver, const WDF_OBJECT_ATTRIBUTES *attributes,
			   struct wdf_object *parent, struct wdf_memory **memory)
{
	NTSTATUS status = wdf_create(driver, WDF_MEMORY, sizeof(**memory), attributes, parent,
				     WDF_MAY_NAME_PARENT, memory);

	if (NT_SUCCESS(status))
		(*memory)->object.destroy = destroy_memory;
	return status;
}

NTSTATUS wdf_memory_around(struct wdf_object *parent, PVOID buffer, size_t size,
			   struct wdf_memory **memory)
{
	struct wdf_memory *m;
	NTSTATUS status = new_memory(parent->driver, NULL, parent, &m);

	if (!NT_SUCCESS(status))
		return status;
	m->object.kept = true;
	m->buffer = buffer;
	m->size = size;
	return wdf_finish(m, memory);
}

NTSTATUS WdfMemoryCreate(PWDF_OBJECT_ATTRIBUTES Attributes, POOL_TYPE PoolType, ULONG PoolTag,
			 size_t BufferSize, WDFMEMORY *Memory, PVOID *Buffer)
{
	struct wdf_driver *driver = wdf_current("WdfMemoryCreate");
	struct wdf_memory *memory;
	NTSTATUS status;

	if (Buffer)
		*Buffer = NULL;
	if (Memory)
		*Memory = NULL;
	if (!driver || !Memory || !BufferSize)
		return STATUS_INVALID_PARAMETER;
	status = new_memory(driver, Attributes, &driver->object, &memory);
	if (!NT_SUCCESS(status))
		return status;
	memory->owned = true;
	memory->size = BufferSize;
	memory->buffer =
		ExAllocatePoolWithTag(PoolType, BufferSize, PoolTag ? PoolTag : driver->tag);
	if (!memory->buffer) {
		wdf_discard(memory);
		return STATUS_INSUFFICIENT_RESOURCES;
	}
	status = wdf_finish(memory, Memory);
	if (NT_SUCCESS(status) && Buffer)
		*Buffer = memory->buffer;
	return status;
}

NTSTATUS WdfMemoryCreatePreallocated(PWDF_OBJECT_ATTRIBUTES Attributes, PVOID Buffer,
				     size_t BufferSize, WDFMEMORY *Memory)
{
	struct wdf_driver *driver = wdf_current("WdfMemoryCreatePreallocated");
	struct wdf_memory *memory;
	NTSTATUS status;

	if (!driver || !Buffer || !BufferSize || !Memory)
		return STATUS_INVALID_PARAMETER;
	*Memory = NULL;
	status = new_memory(driver, Attributes, &driver->object, &memory);
	if (!NT_SUCCESS(status))
		return status;
	memory->preallocated = true;
	memory->buffer = Buffer;
	memory->size = BufferSize;
	return wdf_finish(memory, Memory);
}

NTSTATUS WdfMemoryAssignBuffer(WDFMEMORY Memory, PVOID Buffer, size_t BufferSize)
{
	struct wdf_memory *memory = wdf_of(Memory, WDF_MEMORY, "WdfMemoryAssignBuffer");

	if (!memory || !Buffer || !BufferSize)
		return STATUS_INVALID_PARAMETER;
	if (!memory->preallocated)
		return STATUS_INVALID_DEVICE_REQUEST;
	memory->buffer = Buffer;
	memory->size = BufferSize;
	return STATUS_SUCCESS;
}

PVOID WdfMemoryGetBuffer(WDFMEMORY Memory, size_t *BufferSize)
{
	struct wdf_memory *memory = wdf_of(Memory, WDF_MEMORY, "WdfMemoryGetBuffer");

	if (BufferSize)
		*BufferSize = memory ? memory->size : 0;
	return memory ? memory->buffer : NULL;
}

static NTSTATUS check_range(const struct wdf_memory *memory, size_t offset, const void *buffer,
			    size_t bytes)
{
	if (!memory || !buffer)
		return STATUS_INVALID_PARAMETER;
	if (!bytes)
		return STATUS_INVALID_BUFFER_SIZE;
	if (offset > memory->size || bytes > memory->size - offset)
		return STATUS_BUFFER_TOO_SMALL;
	return STATUS_SUCCESS;
}

NTSTATUS WdfMemoryCopyToBuffer(WDFMEMORY SourceMemory, size_t SourceOffset, PVOID Buffer,
			       size_t NumBytesToCopyTo)
{
	struct wdf_memory *memory = wdf_of(SourceMemory, WDF_MEMORY, "WdfMemoryCopyToBuffer");
	NTSTATUS status = check_range(memory, SourceOffset, Buffer, NumBytesToCopyTo);

	if (NT_SUCCESS(status))
		RtlCopyMemory(Buffer, (PCHAR)memory->buffer + SourceOffset, NumBytesToCopyTo);
	return status;
}

NTSTATUS WdfMemoryCopyFromBuffer(WDFMEMORY DestinationMemory, size_t DestinationOffset,
				 PVOID Buffer, size_t NumBytesToCopyFrom)
{
	struct wdf_memory *memory =
		wdf_of(DestinationMemory, WDF_MEMORY, "WdfMemoryCopyFromBuffer");
	NTSTATUS status = check_range(memory, DestinationOffset, Buffer, NumBytesToCopyFrom);

	if (NT_SUCCESS(status))
		RtlCopyMemory((PCHAR)memory->buffer + DestinationOffset, Buffer,
			      NumBytesToCopyFrom);
	return status;
}

/* ---- lookaside lists ---- */

static void destroy_lookaside(struct wdf_object *object)
{
	ExDeleteNPagedLookasideList(&((struct wdf_lookaside *)(PVOID)object)->list);
}

NTSTATUS WdfLookasideListCreate(PWDF_OBJECT_ATTRIBUTES LookasideAttributes, size_t BufferSize,
				POOL_TYPE PoolType, PWDF_OBJECT_ATTRIBUTES MemoryAttributes,
				ULONG PoolTag, WDFLOOKASIDE *Lookaside)
{
	struct wdf_driver *driver = wdf_current("WdfLookasideListCreate");
	struct wdf_lookaside *lookaside;
	NTSTATUS status;

	if (!driver || !BufferSize || !Lookaside)
		return STATUS_INVALID_PARAMETER;
	*Lookaside = NULL;
	if (MemoryAttributes && !wdf_size_is(MemoryAttributes->Size, sizeof(*MemoryAttributes)))
		return STATUS_INFO_LENGTH_MISMATCH;
	status = wdf_create(driver, WDF_LOOKASIDE, sizeof(*lookaside), LookasideAttributes,
			    &driver->object, WDF_MAY_NAME_PARENT, &lookaside);
	if (!NT_SUCCESS(status))
		return status;
	lookaside->size = BufferSize;
	if (MemoryAttributes)
		lookaside->memory_attributes = *MemoryAttributes;
	else
		WDF_OBJECT_ATTRIBUTES_INIT(&lookaside->memory_attributes);
	ExInitializeNPagedLookasideList(&lookaside->list, NULL, NULL, 0, BufferSize,
					PoolTag ? PoolTag : driver->tag, 0);
	lookaside->object.destroy = destroy_lookaside;
	return wdf_finish(lookaside, Lookaside);
}

NTSTATUS WdfMemoryCreateFromLookaside(WDFLOOKASIDE Lookaside, WDFMEMORY *Memory)
{
	struct wdf_lookaside *lookaside =
		wdf_of(Lookaside, WDF_LOOKASIDE, "WdfMemoryCreateFromLookaside");
	struct wdf_memory *memory;
	NTSTATUS status;

	if (!lookaside || !Memory)
		return STATUS_INVALID_PARAMETER;
	*Memory = NULL;
	/* a named parent is that of each; else the driver, as for other memory */
	status = new_memory(lookaside->object.driver, &lookaside->memory_attributes,
			    &lookaside->object.driver->object, &memory);
	if (!NT_SUCCESS(status))
		return status;
	memory->size = lookaside->size;
	memory->buffer = ExAllocateFromNPagedLookasideList(&lookaside->list);
	if (!memory->buffer) {
		wdf_discard(memory);
		return STATUS_INSUFFICIENT_RESOURCES;
	}
	memory->owned = true;
	memory->lookaside = lookaside;
	wdf_reference(lookaside);
	return wdf_finish(memory, Memory);
}

/* ---- strings ---- */

bool wdf_copy_string(UNICODE_STRING *to, PCUNICODE_STRING from)
{
	USHORT length = from ? from->Length & ~(USHORT)1 : 0;
	PWCH buffer;

	if (length > UNICODE_STRING_MAX_BYTES - sizeof(WCHAR))
		return false;
	buffer = nt_pool_alloc_private((SIZE_T)length + sizeof(WCHAR), WDF_TAG);
	if (!buffer)
		return false;
	if (length)
		RtlCopyMemory(buffer, from->Buffer, length);
	if (to->Buffer)
		ExFreePool(to->Buffer);
	to->Buffer = buffer;
	to->Length = length;
	to->MaximumLength = (USHORT)(length + sizeof(WCHAR));
	return true;
}

NTSTATUS wdf_string_set(struct wdf_string *string, PCUNICODE_STRING text)
{
	return wdf_copy_string(&string->text, text) ? STATUS_SUCCESS
						    : STATUS_INSUFFICIENT_RESOURCES;
}

static void destroy_string(struct wdf_object *object)
{
	struct wdf_string *string = (struct wdf_string *)(PVOID)object;

	if (string->text.Buffer)
		ExFreePool(string->text.Buffer);
}

NTSTATUS WdfStringCreate(PCUNICODE_STRING UnicodeString, PWDF_OBJECT_ATTRIBUTES StringAttributes,
			 WDFSTRING *String)
{
	struct wdf_driver *driver = wdf_current("WdfStringCreate");
	struct wdf_string *string;
	NTSTATUS status;

	if (!driver || !String)
		return STATUS_INVALID_PARAMETER;
	*String = NULL;
	if (UnicodeString && UnicodeString->Length && !UnicodeString->Buffer)
		return STATUS_INVALID_PARAMETER;
	status = wdf_create(driver, WDF_STRING, sizeof(*string), StringAttributes, &driver->object,
			    WDF_MAY_NAME_PARENT, &string);
	if (!NT_SUCCESS(status))
		return status;
	if (!wdf_copy_string(&string->text, UnicodeString)) {
		wdf_discard(string);
		return STATUS_INSUFFICIENT_RESOURCES;
	}
	string->object.destroy = destroy_string;
	return wdf_finish(string, String);
}

VOID WdfStringGetUnicodeString(WDFSTRING String, PUNICODE_STRING UnicodeString)
{
	struct wdf_string *string = wdf_of(String, WDF_STRING, "WdfStringGetUnicodeString");

	if (string)
		*UnicodeString = string->text;
}

/* ---- collections ---- */

struct wdf_item {
	struct wdf_item *next;
	struct wdf_object *object;
};

struct wdf_collection {
	struct wdf_object object;
	struct wdf_item *items;
	ULONG count;
};

static void destroy_collection(struct wdf_object *object)
{
	struct wdf_collection *collection = (struct wdf_collection *)(PVOID)object;
	struct wdf_item *item;

	while ((item = collection->items)) {
		collection->items = item->next;
		wdf_release(item->object);
		ExFreePool(item);
	}
}

NTSTATUS WdfCollectionCreate(PWDF_OBJECT_ATTRIBUTES CollectionAttributes, WDFCOLLECTION *Collection)
{
	struct wdf_driver *driver = wdf_current("WdfCollectionCreate");
	struct wdf_collection *collection;
	NTSTATUS status;

	if (!driver || !Collection)
		return STATUS_INVALID_PARAMETER;
	*Collection = NULL;
	status = wdf_create(driver, WDF_COLLECTION, sizeof(*collection), CollectionAttributes,
			    &driver->object, WDF_MAY_NAME_PARENT, &collection);
	if (!NT_SUCCESS(status))
		return status;
	/* what it holds is let go when nobody can look at it any more */
	collection->object.destroy = destroy_collection;
	return wdf_finish(collection, Collection);
}

NTSTATUS WdfCollectionAdd(WDFCOLLECTION Collection, WDFOBJECT Object)
{
	struct wdf_collection *collection = wdf_of(Collection, WDF_COLLECTION, "WdfCollectionAdd");
	struct wdf_object *object = wdf_any(Object, "WdfCollectionAdd");
	struct wdf_item *item, **p;

	if (!collection || !object)
		return STATUS_INVALID_PARAMETER;
	item = nt_pool_alloc_private(sizeof(*item), collection->object.driver->tag);
	if (!item)
		return STATUS_INSUFFICIENT_RESOURCES;
	item->object = object;
	wdf_reference(object);
	wdf_lock(collection->object.driver);
	for (p = &collection->items; *p; p = &(*p)->next)
		;
	*p = item;
	collection->count++;
	wdf_unlock(collection->object.driver);
	return STATUS_SUCCESS;
}

/* Takes the item out that has the object (if given) or the index. */
static bool take_item(struct wdf_collection *collection, const struct wdf_object *object,
		      ULONG index)
{
	struct wdf_item **p, *item;

	wdf_lock(collection->object.driver);
	for (p = &collection->items; *p; p = &(*p)->next) {
		if (object ? (*p)->object == object : !index--)
			break;
	}
	item = *p;
	if (item) {
		*p = item->next;
		collection->count--;
	}
	wdf_unlock(collection->object.driver);
	if (!item)
		return false;
	wdf_release(item->object);
	ExFreePool(item);
	return true;
}

VOID WdfCollectionRemove(WDFCOLLECTION Collection, WDFOBJECT Item)
{
	struct wdf_collection *collection =
		wdf_of(Collection, WDF_COLLECTION, "WdfCollectionRemove");
	struct wdf_object *object = wdf_any(Item, "WdfCollectionRemove");

	if (collection && object && !take_item(collection, object, 0))
		nt_violation("wdf-collection", "WdfCollectionRemove of what is not in it");
}

VOID WdfCollectionRemoveItem(WDFCOLLECTION Collection, ULONG Index)
{
	struct wdf_collection *collection =
		wdf_of(Collection, WDF_COLLECTION, "WdfCollectionRemoveItem");

	if (collection && !take_item(collection, NULL, Index))
		nt_violation("wdf-collection", "WdfCollectionRemoveItem of item %u", Index);
}

ULONG WdfCollectionGetCount(WDFCOLLECTION Collection)
{
	struct wdf_collection *collection =
		wdf_of(Collection, WDF_COLLECTION, "WdfCollectionGetCount");
	ULONG count = 0;

	if (!collection)
		return 0;
	wdf_lock(collection->object.driver);
	count = collection->count;
	wdf_unlock(collection->object.driver);
	return count;
}

WDFOBJECT WdfCollectionGetItem(WDFCOLLECTION Collection, ULONG Index)
{
	struct wdf_collection *collection =
		wdf_of(Collection, WDF_COLLECTION, "WdfCollectionGetItem");
	struct wdf_item *item;
	WDFOBJECT object;

	if (!collection)
		return NULL;
	wdf_lock(collection->object.driver);
	for (item = collection->items; item && Index; item = item->next)
		Index--;
	object = item ? item->object : NULL;
	wdf_unlock(collection->object.driver);
	return object;
}

WDFOBJECT WdfCollectionGetFirstItem(WDFCOLLECTION Collection)
{
	return WdfCollectionGetItem(Collection, 0);
}

WDFOBJECT WdfCollectionGetLastItem(WDFCOLLECTION Collection)
{
	ULONG count = WdfCollectionGetCount(Collection);

	return count ? WdfCollectionGetItem(Collection, count - 1) : NULL;
}
