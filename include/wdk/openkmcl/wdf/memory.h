/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Memory, lookaside lists, strings and collections as objects. <= DISPATCH_LEVEL.
 */
#ifndef OPENKMCL_WDF_MEMORY_H
#define OPENKMCL_WDF_MEMORY_H

#include "object.h"

EXTERN_C_START

typedef struct _WDFMEMORY_OFFSET {
	size_t BufferOffset;
	size_t BufferLength; /* 0: to the end */
} WDFMEMORY_OFFSET, *PWDFMEMORY_OFFSET;

typedef enum _WDF_MEMORY_DESCRIPTOR_TYPE {
	WdfMemoryDescriptorTypeInvalid = 0,
	WdfMemoryDescriptorTypeBuffer,
	WdfMemoryDescriptorTypeMdl,
	WdfMemoryDescriptorTypeHandle,
} WDF_MEMORY_DESCRIPTOR_TYPE;

typedef struct _WDF_MEMORY_DESCRIPTOR {
	WDF_MEMORY_DESCRIPTOR_TYPE Type;
	union {
		struct {
			PVOID Buffer;
			ULONG Length;
		} BufferType;
		struct {
			PMDL Mdl;
			ULONG BufferLength;
		} MdlType;
		struct {
			WDFMEMORY Memory;
			PWDFMEMORY_OFFSET Offsets;
		} HandleType;
	} u;
} WDF_MEMORY_DESCRIPTOR, *PWDF_MEMORY_DESCRIPTOR;

FORCEINLINE VOID WDF_MEMORY_DESCRIPTOR_INIT_BUFFER(PWDF_MEMORY_DESCRIPTOR Descriptor, PVOID Buffer,
						   ULONG BufferLength)
{
	RtlZeroMemory(Descriptor, sizeof(*Descriptor));
	Descriptor->Type = WdfMemoryDescriptorTypeBuffer;
	Descriptor->u.BufferType.Buffer = Buffer;
	Descriptor->u.BufferType.Length = BufferLength;
}

FORCEINLINE VOID WDF_MEMORY_DESCRIPTOR_INIT_MDL(PWDF_MEMORY_DESCRIPTOR Descriptor, PMDL Mdl,
						ULONG BufferLength)
{
	RtlZeroMemory(Descriptor, sizeof(*Descriptor));
	Descriptor->Type = WdfMemoryDescriptorTypeMdl;
	Descriptor->u.MdlType.Mdl = Mdl;
	Descriptor->u.MdlType.BufferLength = BufferLength;
}

FORCEINLINE VOID WDF_MEMORY_DESCRIPTOR_INIT_HANDLE(PWDF_MEMORY_DESCRIPTOR Descriptor,
						   WDFMEMORY Memory, PWDFMEMORY_OFFSET Offsets)
{
	RtlZeroMemory(Descriptor, sizeof(*Descriptor));
	Descriptor->Type = WdfMemoryDescriptorTypeHandle;
	Descriptor->u.HandleType.Memory = Memory;
	Descriptor->u.HandleType.Offsets = Offsets;
}

/** A buffer from the driver's pool, contents undefined. PoolTag 0: the driver's tag. BufferSize 0:
 * STATUS_INVALID_PARAMETER. */
NTSTATUS WdfMemoryCreate(_In_opt_ PWDF_OBJECT_ATTRIBUTES Attributes, _In_ POOL_TYPE PoolType,
			 _In_ ULONG PoolTag, _In_ size_t BufferSize, _Out_ WDFMEMORY *Memory,
			 _Outptr_opt_ PVOID *Buffer);
/** Around a buffer that stays the driver's. */
NTSTATUS WdfMemoryCreatePreallocated(_In_opt_ PWDF_OBJECT_ATTRIBUTES Attributes, _In_ PVOID Buffer,
				     _In_ size_t BufferSize, _Out_ WDFMEMORY *Memory);
/** Another buffer for an object of WdfMemoryCreatePreallocated. */
NTSTATUS WdfMemoryAssignBuffer(_In_ WDFMEMORY Memory, _In_ PVOID Buffer, _In_ size_t BufferSize);
PVOID WdfMemoryGetBuffer(_In_ WDFMEMORY Memory, _Out_opt_ size_t *BufferSize);
/** STATUS_BUFFER_TOO_SMALL: the memory object ends before; STATUS_INVALID_BUFFER_SIZE: no bytes. */
NTSTATUS WdfMemoryCopyToBuffer(_In_ WDFMEMORY SourceMemory, _In_ size_t SourceOffset,
			       _Out_ PVOID Buffer, _In_ size_t NumBytesToCopyTo);
NTSTATUS WdfMemoryCopyFromBuffer(_In_ WDFMEMORY DestinationMemory, _In_ size_t DestinationOffset,
				 _In_ PVOID Buffer, _In_ size_t NumBytesToCopyFrom);

/** MemoryAttributes are those of the memory objects that are taken from it. */
NTSTATUS WdfLookasideListCreate(_In_opt_ PWDF_OBJECT_ATTRIBUTES LookasideAttributes,
				_In_ size_t BufferSize, _In_ POOL_TYPE PoolType,
				_In_opt_ PWDF_OBJECT_ATTRIBUTES MemoryAttributes,
				_In_opt_ ULONG PoolTag, _Out_ WDFLOOKASIDE *Lookaside);
NTSTATUS WdfMemoryCreateFromLookaside(_In_ WDFLOOKASIDE Lookaside, _Out_ WDFMEMORY *Memory);

/** A copy of UnicodeString (NULL: empty). PASSIVE_LEVEL. */
NTSTATUS WdfStringCreate(_In_opt_ PCUNICODE_STRING UnicodeString,
			 _In_opt_ PWDF_OBJECT_ATTRIBUTES StringAttributes, _Out_ WDFSTRING *String);
/** Valid until the object goes or gets another value. */
VOID WdfStringGetUnicodeString(_In_ WDFSTRING String, _Out_ PUNICODE_STRING UnicodeString);

/** Objects in the order in which they were added; each is referenced. */
NTSTATUS WdfCollectionCreate(_In_opt_ PWDF_OBJECT_ATTRIBUTES CollectionAttributes,
			     _Out_ WDFCOLLECTION *Collection);
ULONG WdfCollectionGetCount(_In_ WDFCOLLECTION Collection);
NTSTATUS WdfCollectionAdd(_In_ WDFCOLLECTION Collection, _In_ WDFOBJECT Object);
/** First occurrence. One that is not in it is a contract violation. */
VOID WdfCollectionRemove(_In_ WDFCOLLECTION Collection, _In_ WDFOBJECT Item);
VOID WdfCollectionRemoveItem(_In_ WDFCOLLECTION Collection, _In_ ULONG Index);
/** NULL: there are not so many. */
WDFOBJECT WdfCollectionGetItem(_In_ WDFCOLLECTION Collection, _In_ ULONG Index);
WDFOBJECT WdfCollectionGetFirstItem(_In_ WDFCOLLECTION Collection);
WDFOBJECT WdfCollectionGetLastItem(_In_ WDFCOLLECTION Collection);

EXTERN_C_END

#endif
