/* SPDX-License-Identifier: MIT */
/**
 * @file
 * System threads.
 */
#ifndef OPENKMCL_PS_H
#define OPENKMCL_PS_H

#include "ke.h"

EXTERN_C_START

typedef VOID KSTART_ROUTINE(PVOID StartContext);
typedef KSTART_ROUTINE *PKSTART_ROUTINE;
typedef struct _KTHREAD *PKTHREAD, *PRKTHREAD, *PETHREAD;
typedef struct _EPROCESS *PEPROCESS;

typedef struct _CLIENT_ID {
	HANDLE UniqueProcess;
	HANDLE UniqueThread;
} CLIENT_ID, *PCLIENT_ID;

#define THREAD_ALL_ACCESS 0x1fffff
#define SYNCHRONIZE       0x100000

/** A thread of the current driver, at PASSIVE_LEVEL. ZwClose the handle; the thread can be waited
 * for through ObReferenceObjectByHandle. */
NTSTATUS PsCreateSystemThread(PHANDLE ThreadHandle, ULONG DesiredAccess,
			      POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ProcessHandle,
			      PCLIENT_ID ClientId, PKSTART_ROUTINE StartRoutine,
			      PVOID StartContext);
/** Ends the calling system thread. Does not return. */
NTSTATUS PsTerminateSystemThread(NTSTATUS ExitStatus);
PKTHREAD KeGetCurrentThread(VOID);
#define PsGetCurrentThread() KeGetCurrentThread()

typedef struct _OBJECT_TYPE *POBJECT_TYPE;
extern POBJECT_TYPE *PsThreadType;
/** The object behind a thread handle, referenced. Other types: STATUS_OBJECT_TYPE_MISMATCH. */
NTSTATUS ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK DesiredAccess,
				   POBJECT_TYPE ObjectType, KPROCESSOR_MODE AccessMode,
				   PVOID *Object, PVOID HandleInformation);
LONG_PTR ObfDereferenceObject(PVOID Object);
LONG_PTR ObfReferenceObject(PVOID Object);
#define ObDereferenceObject(Object) ObfDereferenceObject(Object)
#define ObReferenceObject(Object)   ObfReferenceObject(Object)

EXTERN_C_END

#endif
