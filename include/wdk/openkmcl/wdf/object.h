/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Objects: attributes, typed contexts, references, deletion.
 *
 * An object has a parent (the driver, if nothing else is said) and is deleted with it. Deletion
 * calls cleanup callbacks from the leaves of the tree up, siblings in the order of their creation;
 * an object's destroy callbacks follow when its last reference is gone. Contexts stay valid until
 * then.
 */
#ifndef OPENKMCL_WDF_OBJECT_H
#define OPENKMCL_WDF_OBJECT_H

#include "base.h"

EXTERN_C_START

typedef enum _WDF_EXECUTION_LEVEL {
	WdfExecutionLevelInvalid = 0,
	WdfExecutionLevelInheritFromParent,
	WdfExecutionLevelPassive,
	WdfExecutionLevelDispatch,
} WDF_EXECUTION_LEVEL;

typedef enum _WDF_SYNCHRONIZATION_SCOPE {
	WdfSynchronizationScopeInvalid = 0,
	WdfSynchronizationScopeInheritFromParent,
	WdfSynchronizationScopeDevice,
	WdfSynchronizationScopeQueue,
	WdfSynchronizationScopeNone,
} WDF_SYNCHRONIZATION_SCOPE;

/** The object goes away; it can still be used. At PASSIVE_LEVEL if its type or its execution level
 * asks for that (the deletion is put off then), else at the caller's IRQL. */
typedef VOID EVT_WDF_OBJECT_CONTEXT_CLEANUP(_In_ WDFOBJECT Object);
typedef EVT_WDF_OBJECT_CONTEXT_CLEANUP *PFN_WDF_OBJECT_CONTEXT_CLEANUP;
/** The last reference is gone; only the contexts may be looked at. */
typedef VOID EVT_WDF_OBJECT_CONTEXT_DESTROY(_In_ WDFOBJECT Object);
typedef EVT_WDF_OBJECT_CONTEXT_DESTROY *PFN_WDF_OBJECT_CONTEXT_DESTROY;

typedef const struct _WDF_OBJECT_CONTEXT_TYPE_INFO *PCWDF_OBJECT_CONTEXT_TYPE_INFO;
typedef PCWDF_OBJECT_CONTEXT_TYPE_INFO (*PFN_GET_UNIQUE_CONTEXT_TYPE)(VOID);

typedef struct _WDF_OBJECT_CONTEXT_TYPE_INFO {
	ULONG Size;
	LPCSTR ContextName;
	size_t ContextSize;
	PCWDF_OBJECT_CONTEXT_TYPE_INFO UniqueType; /* identifies the type */
	PFN_GET_UNIQUE_CONTEXT_TYPE EvtDriverGetUniqueContextType;
} WDF_OBJECT_CONTEXT_TYPE_INFO, *PWDF_OBJECT_CONTEXT_TYPE_INFO;

typedef struct _WDF_OBJECT_ATTRIBUTES {
	ULONG Size;
	PFN_WDF_OBJECT_CONTEXT_CLEANUP EvtCleanupCallback;
	PFN_WDF_OBJECT_CONTEXT_DESTROY EvtDestroyCallback;
	WDF_EXECUTION_LEVEL ExecutionLevel;
	WDF_SYNCHRONIZATION_SCOPE SynchronizationScope;
	WDFOBJECT ParentObject;
	size_t ContextSizeOverride; /* at least the type's size, or 0 */
	PCWDF_OBJECT_CONTEXT_TYPE_INFO ContextTypeInfo;
} WDF_OBJECT_ATTRIBUTES, *PWDF_OBJECT_ATTRIBUTES;

FORCEINLINE VOID WDF_OBJECT_ATTRIBUTES_INIT(PWDF_OBJECT_ATTRIBUTES Attributes)
{
	RtlZeroMemory(Attributes, sizeof(*Attributes));
	Attributes->Size = WDF_STRUCTURE_SIZE(WDF_OBJECT_ATTRIBUTES);
	Attributes->ExecutionLevel = WdfExecutionLevelInheritFromParent;
	Attributes->SynchronizationScope = WdfSynchronizationScopeInheritFromParent;
}

#define WDF_TYPE_NAME_TO_TYPE_INFO(type) _WDF_##type##_TYPE_INFO
#define WDF_GET_CONTEXT_TYPE_INFO(type)  (&WDF_TYPE_NAME_TO_TYPE_INFO(type))
#define WDF_TYPE_NAME_POINTER_TYPE(type) WDF_POINTER_TYPE_##type

#define WDF_OBJECT_ATTRIBUTES_SET_CONTEXT_TYPE(attributes, type) \
	((attributes)->ContextTypeInfo = WDF_GET_CONTEXT_TYPE_INFO(type)->UniqueType)
#define WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE(attributes, type)         \
	do {                                                              \
		WDF_OBJECT_ATTRIBUTES_INIT(attributes);                   \
		WDF_OBJECT_ATTRIBUTES_SET_CONTEXT_TYPE(attributes, type); \
	} while (0)

/** Context of that type, or NULL: the object has none. Any IRQL. */
PVOID WdfObjectGetTypedContextWorker(_In_ WDFOBJECT Handle,
				     _In_ PCWDF_OBJECT_CONTEXT_TYPE_INFO TypeInfo);
#define WdfObjectGetTypedContext(handle, type)                       \
	((type *)WdfObjectGetTypedContextWorker((WDFOBJECT)(handle), \
						WDF_GET_CONTEXT_TYPE_INFO(type)->UniqueType))

/** Declares the context type `type` and `name`, which returns an object's context of it. May be in
 * a header: several definitions of the same type are one. */
#define WDF_DECLARE_CONTEXT_TYPE_WITH_NAME(type, name)                                   \
	typedef type *WDF_TYPE_NAME_POINTER_TYPE(type);                                  \
	EXTERN_C const WDF_OBJECT_CONTEXT_TYPE_INFO WDF_TYPE_NAME_TO_TYPE_INFO(type)     \
		__attribute__((weak));                                                   \
	const WDF_OBJECT_CONTEXT_TYPE_INFO WDF_TYPE_NAME_TO_TYPE_INFO(type) = {          \
		sizeof(WDF_OBJECT_CONTEXT_TYPE_INFO), #type, sizeof(type),               \
		WDF_GET_CONTEXT_TYPE_INFO(type), NULL};                                  \
	__attribute__((unused)) static inline WDF_TYPE_NAME_POINTER_TYPE(type)           \
		name(WDFOBJECT Handle)                                                   \
	{                                                                                \
		return (WDF_TYPE_NAME_POINTER_TYPE(type))WdfObjectGetTypedContextWorker( \
			Handle, WDF_GET_CONTEXT_TYPE_INFO(type)->UniqueType);            \
	}
#define WDF_DECLARE_CONTEXT_TYPE(type) WDF_DECLARE_CONTEXT_TYPE_WITH_NAME(type, WdfObjectGet_##type)

/** A general object. Parent: attributes, else the driver. <= DISPATCH_LEVEL. */
NTSTATUS WdfObjectCreate(_In_opt_ PWDF_OBJECT_ATTRIBUTES Attributes, _Out_ WDFOBJECT *Object);
/** Another context; its callbacks are called beside those that the object has.
 * @return STATUS_OBJECT_NAME_EXISTS with *Context: it has one of this type;
 * STATUS_OBJECT_NAME_INVALID: no type; STATUS_DELETE_PENDING */
NTSTATUS WdfObjectAllocateContext(_In_ WDFOBJECT Handle,
				  _In_ PWDF_OBJECT_ATTRIBUTES ContextAttributes,
				  _Outptr_opt_ PVOID *Context);
/** The object of a context. */
WDFOBJECT WdfObjectContextGetObject(_In_ PVOID ContextPointer);
/** Deletes the object and its children. Not for devices of the PnP manager, default queues,
 * requests of the framework and the driver. */
VOID WdfObjectDelete(_In_ WDFOBJECT Object);

VOID WdfObjectReferenceActual(_In_ WDFOBJECT Handle, _In_opt_ PVOID Tag, _In_ LONG Line,
			      _In_ PCCH File);
VOID WdfObjectDereferenceActual(_In_ WDFOBJECT Handle, _In_opt_ PVOID Tag, _In_ LONG Line,
				_In_ PCCH File);
#define WdfObjectReference(h)             WdfObjectReferenceActual((h), NULL, __LINE__, __FILE__)
#define WdfObjectDereference(h)           WdfObjectDereferenceActual((h), NULL, __LINE__, __FILE__)
#define WdfObjectReferenceWithTag(h, tag) WdfObjectReferenceActual((h), (tag), __LINE__, __FILE__)
#define WdfObjectDereferenceWithTag(h, tag) \
	WdfObjectDereferenceActual((h), (tag), __LINE__, __FILE__)

/** The presentation lock of a device or queue: its callbacks do not run while it is held. */
VOID WdfObjectAcquireLock(_In_ WDFOBJECT Object);
VOID WdfObjectReleaseLock(_In_ WDFOBJECT Object);

EXTERN_C_END

#endif
