/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Requests. The framework makes one for each IRP that reaches a queue; the driver owns it from the
 * time it is presented until it completes it, forwards it or sends it on. Each must be completed
 * once; a second completion is a contract violation. <= DISPATCH_LEVEL.
 */
#ifndef OPENKMCL_WDF_REQUEST_H
#define OPENKMCL_WDF_REQUEST_H

#include "target.h"

EXTERN_C_START

typedef enum _WDF_REQUEST_TYPE {
	WdfRequestTypeCreate = 0x0,
	WdfRequestTypeClose = 0x2,
	WdfRequestTypeRead = 0x3,
	WdfRequestTypeWrite = 0x4,
	WdfRequestTypeDeviceControl = 0xe,
	WdfRequestTypeDeviceControlInternal = 0xf,
	WdfRequestTypeCleanup = 0x12,
	WdfRequestTypePower = 0x16,
	WdfRequestTypeSystemControl = 0x17,
	WdfRequestTypePnp = 0x1B,
	WdfRequestTypeOther = 0x1C,
	WdfRequestTypeUsb = 0x40,
	WdfRequestTypeNoFormat = 0xFF,
	WdfRequestTypeMax,
} WDF_REQUEST_TYPE;

typedef struct _WDF_REQUEST_PARAMETERS {
	USHORT Size;
	UCHAR MinorFunction;
	WDF_REQUEST_TYPE Type;
	union {
		struct {
			PVOID SecurityContext;
			ULONG Options;
			USHORT POINTER_ALIGNMENT FileAttributes;
			USHORT ShareAccess;
			ULONG POINTER_ALIGNMENT EaLength;
		} Create;
		struct {
			size_t Length;
			ULONG POINTER_ALIGNMENT Key;
			LONGLONG DeviceOffset;
		} Read;
		struct {
			size_t Length;
			ULONG POINTER_ALIGNMENT Key;
			LONGLONG DeviceOffset;
		} Write;
		struct {
			size_t OutputBufferLength;
			size_t POINTER_ALIGNMENT InputBufferLength;
			ULONG POINTER_ALIGNMENT IoControlCode;
			PVOID Type3InputBuffer;
		} DeviceIoControl;
		struct {
			PVOID Arg1;
			PVOID Arg2;
			ULONG POINTER_ALIGNMENT IoControlCode;
			PVOID Arg4;
		} Others;
	} Parameters;
} WDF_REQUEST_PARAMETERS, *PWDF_REQUEST_PARAMETERS;

FORCEINLINE VOID WDF_REQUEST_PARAMETERS_INIT(PWDF_REQUEST_PARAMETERS Parameters)
{
	RtlZeroMemory(Parameters, sizeof(*Parameters));
	Parameters->Size = (USHORT)WDF_STRUCTURE_SIZE(WDF_REQUEST_PARAMETERS);
}

VOID WdfRequestGetParameters(_In_ WDFREQUEST Request, _Inout_ PWDF_REQUEST_PARAMETERS Parameters);
/** The queue that it came from; NULL: none. */
WDFQUEUE WdfRequestGetIoQueue(_In_ WDFREQUEST Request);
PIRP WdfRequestWdmGetIrp(_In_ WDFREQUEST Request);
KPROCESSOR_MODE WdfRequestGetRequestorMode(_In_ WDFREQUEST Request);

/* ---- buffers ---- */
/** Buffered and direct requests; a direct one's output is mapped. *Length is the whole buffer's.
 * @return STATUS_BUFFER_TOO_SMALL: it is empty or shorter than the minimum;
 * STATUS_INVALID_DEVICE_REQUEST: METHOD_NEITHER, or not such a request;
 * STATUS_INSUFFICIENT_RESOURCES */
NTSTATUS WdfRequestRetrieveInputBuffer(_In_ WDFREQUEST Request, _In_ size_t MinimumRequiredLength,
				       _Outptr_ PVOID *Buffer, _Out_opt_ size_t *Length);
NTSTATUS WdfRequestRetrieveOutputBuffer(_In_ WDFREQUEST Request, _In_ size_t MinimumRequiredSize,
					_Outptr_ PVOID *Buffer, _Out_opt_ size_t *Length);
/** The same as a memory object, deleted with the request. */
NTSTATUS WdfRequestRetrieveInputMemory(_In_ WDFREQUEST Request, _Out_ WDFMEMORY *Memory);
NTSTATUS WdfRequestRetrieveOutputMemory(_In_ WDFREQUEST Request, _Out_ WDFMEMORY *Memory);
/** The same as an MDL, freed with the request. */
NTSTATUS WdfRequestRetrieveInputWdmMdl(_In_ WDFREQUEST Request, _Outptr_ PMDL *Mdl);
NTSTATUS WdfRequestRetrieveOutputWdmMdl(_In_ WDFREQUEST Request, _Outptr_ PMDL *Mdl);

/* ---- completion ---- */
VOID WdfRequestComplete(_In_ WDFREQUEST Request, _In_ NTSTATUS Status);
/** Information: bytes of output, as a rule. */
VOID WdfRequestCompleteWithInformation(_In_ WDFREQUEST Request, _In_ NTSTATUS Status,
				       _In_ ULONG_PTR Information);
VOID WdfRequestCompleteWithPriorityBoost(_In_ WDFREQUEST Request, _In_ NTSTATUS Status,
					 _In_ CCHAR PriorityBoost);
VOID WdfRequestSetInformation(_In_ WDFREQUEST Request, _In_ ULONG_PTR Information);
ULONG_PTR WdfRequestGetInformation(_In_ WDFREQUEST Request);
NTSTATUS WdfRequestGetStatus(_In_ WDFREQUEST Request);

/* ---- cancellation ---- */
/** The request has been cancelled; the driver completes it, with STATUS_CANCELLED as a rule. */
typedef VOID EVT_WDF_REQUEST_CANCEL(_In_ WDFREQUEST Request);
typedef EVT_WDF_REQUEST_CANCEL *PFN_WDF_REQUEST_CANCEL;
/** If it is cancelled already the callback is called at once. */
VOID WdfRequestMarkCancelable(_In_ WDFREQUEST Request,
			      _In_ PFN_WDF_REQUEST_CANCEL EvtRequestCancel);
/** STATUS_CANCELLED: it is already; the callback is not called, the caller completes it. */
NTSTATUS WdfRequestMarkCancelableEx(_In_ WDFREQUEST Request,
				    _In_ PFN_WDF_REQUEST_CANCEL EvtRequestCancel);
/** Before completing a cancelable request. STATUS_CANCELLED: the callback is being or has been
 * called, and completes it; STATUS_INVALID_PARAMETER: it is not cancelable. */
NTSTATUS WdfRequestUnmarkCancelable(_In_ WDFREQUEST Request);
BOOLEAN WdfRequestIsCanceled(_In_ WDFREQUEST Request);

/* ---- queues ---- */
/** To the end of another queue of the device. STATUS_WDF_BUSY: it does not accept requests;
 * STATUS_INVALID_DEVICE_REQUEST: not the driver's, cancelable, or the queue it came from. On
 * failure the driver still owns it. */
NTSTATUS WdfRequestForwardToIoQueue(_In_ WDFREQUEST Request, _In_ WDFQUEUE DestinationQueue);
/** Back to the head of the manual queue that it came from. */
NTSTATUS WdfRequestRequeue(_In_ WDFREQUEST Request);
/** Answer to EvtIoStop: the driver keeps the request over the stop, or gives it back to the queue.
 */
VOID WdfRequestStopAcknowledge(_In_ WDFREQUEST Request, _In_ BOOLEAN Requeue);

/* ---- sending on ---- */
typedef struct _WDF_REQUEST_COMPLETION_PARAMS {
	ULONG Size;
	WDF_REQUEST_TYPE Type;
	IO_STATUS_BLOCK IoStatus;
	union {
		struct {
			WDFMEMORY Buffer;
			size_t Length;
			size_t Offset;
		} Write;
		struct {
			WDFMEMORY Buffer;
			size_t Length;
			size_t Offset;
		} Read;
		struct {
			ULONG IoControlCode;
			struct {
				WDFMEMORY Buffer;
				size_t Offset;
			} Input;
			struct {
				WDFMEMORY Buffer;
				size_t Offset;
				size_t Length;
			} Output;
		} Ioctl;
		struct {
			union {
				PVOID Ptr;
				ULONG_PTR Value;
			} Argument1, Argument2, Argument3, Argument4;
		} Others;
		struct {
			PVOID Completion;
		} Usb;
	} Parameters;
} WDF_REQUEST_COMPLETION_PARAMS, *PWDF_REQUEST_COMPLETION_PARAMS, *PWDFPARAMS;

FORCEINLINE VOID WDF_REQUEST_COMPLETION_PARAMS_INIT(PWDF_REQUEST_COMPLETION_PARAMS Params)
{
	RtlZeroMemory(Params, sizeof(*Params));
	Params->Size = WDF_STRUCTURE_SIZE(WDF_REQUEST_COMPLETION_PARAMS);
	Params->Type = WdfRequestTypeNoFormat;
}

/** The target has completed the request, which is the driver's again. */
typedef VOID EVT_WDF_REQUEST_COMPLETION_ROUTINE(_In_ WDFREQUEST Request, _In_ WDFIOTARGET Target,
						_In_ PWDF_REQUEST_COMPLETION_PARAMS Params,
						_In_ WDFCONTEXT Context);
typedef EVT_WDF_REQUEST_COMPLETION_ROUTINE *PFN_WDF_REQUEST_COMPLETION_ROUTINE;

typedef enum _WDF_REQUEST_SEND_OPTIONS_FLAGS {
	WDF_REQUEST_SEND_OPTION_TIMEOUT = 0x00000001,
	WDF_REQUEST_SEND_OPTION_SYNCHRONOUS = 0x00000002,
	WDF_REQUEST_SEND_OPTION_IGNORE_TARGET_STATE = 0x00000004,
	WDF_REQUEST_SEND_OPTION_SEND_AND_FORGET = 0x00000008,
} WDF_REQUEST_SEND_OPTIONS_FLAGS;

typedef struct _WDF_REQUEST_SEND_OPTIONS {
	ULONG Size;
	ULONG Flags; /* WDF_REQUEST_SEND_OPTIONS_FLAGS */
	LONGLONG Timeout;
} WDF_REQUEST_SEND_OPTIONS, *PWDF_REQUEST_SEND_OPTIONS;

FORCEINLINE VOID WDF_REQUEST_SEND_OPTIONS_INIT(PWDF_REQUEST_SEND_OPTIONS Options, ULONG Flags)
{
	RtlZeroMemory(Options, sizeof(*Options));
	Options->Size = WDF_STRUCTURE_SIZE(WDF_REQUEST_SEND_OPTIONS);
	Options->Flags = Flags;
}

FORCEINLINE VOID WDF_REQUEST_SEND_OPTIONS_SET_TIMEOUT(PWDF_REQUEST_SEND_OPTIONS Options,
						      LONGLONG Timeout)
{
	Options->Flags |= WDF_REQUEST_SEND_OPTION_TIMEOUT;
	Options->Timeout = Timeout;
}

VOID WdfRequestFormatRequestUsingCurrentType(_In_ WDFREQUEST Request);
VOID WdfRequestSetCompletionRoutine(_In_ WDFREQUEST Request,
				    _In_opt_ PFN_WDF_REQUEST_COMPLETION_ROUTINE CompletionRoutine,
				    _In_opt_ WDFCONTEXT CompletionContext);
/**
 * Sends a formatted request of the framework to a target. With SEND_AND_FORGET the target's
 * completion is the request's; with SYNCHRONOUS (PASSIVE_LEVEL) it has returned; else the
 * completion routine tells. A timeout, which only SYNCHRONOUS may have, cancels the request.
 * @return FALSE: not sent, WdfRequestGetStatus says why, the driver still owns it. With SYNCHRONOUS
 * the target's status decides (FALSE also if it failed).
 */
BOOLEAN WdfRequestSend(_In_ WDFREQUEST Request, _In_ WDFIOTARGET Target,
		       _In_opt_ PWDF_REQUEST_SEND_OPTIONS Options);
/** TRUE: the target had made it cancelable, and has been told. */
BOOLEAN WdfRequestCancelSentRequest(_In_ WDFREQUEST Request);
VOID WdfRequestGetCompletionParams(_In_ WDFREQUEST Request,
				   _Out_ PWDF_REQUEST_COMPLETION_PARAMS Params);

/** Sends a control code and waits for its answer. A Request is not taken (NULL). Buffers: a
 * pointer, an MDL or a memory object; NULL: none. No timeout (STATUS_NOT_SUPPORTED). PASSIVE_LEVEL.
 */
NTSTATUS WdfIoTargetSendIoctlSynchronously(_In_ WDFIOTARGET IoTarget, _In_opt_ WDFREQUEST Request,
					   _In_ ULONG IoctlCode,
					   _In_opt_ PWDF_MEMORY_DESCRIPTOR InputBuffer,
					   _In_opt_ PWDF_MEMORY_DESCRIPTOR OutputBuffer,
					   _In_opt_ PWDF_REQUEST_SEND_OPTIONS RequestOptions,
					   _Out_opt_ PULONG_PTR BytesReturned);

EXTERN_C_END

#endif
