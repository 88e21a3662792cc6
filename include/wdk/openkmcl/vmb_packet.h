/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The DDI: incoming and outgoing packets. Drivers include
 * <vmbuskernelmodeclientlibapi.h>, which says how to read the comments.
 */
#ifndef OPENKMCL_VMB_PACKET_H
#define OPENKMCL_VMB_PACKET_H

#include <openkmcl/vmb_types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- incoming packets ---- */

typedef VOID FN_VMB_CHANNEL_PACKET_COMPLETE(_In_ VMBPACKETCOMPLETION PacketCompletionContext,
					    _In_reads_bytes_opt_(BufSize)
						    PVOID PacketCompletionBuffer,
					    _In_ UINT32 BufSize);
typedef FN_VMB_CHANNEL_PACKET_COMPLETE *PFN_VMB_CHANNEL_PACKET_COMPLETE;
/**
 * Ends an incoming packet: its buffer, external data and handle are gone. If the sender asked for
 * it, the data travels back as a completion packet, later if the ring is full just now; it cannot
 * fail. Both ends, any thread, <= DISPATCH_LEVEL, does not block. Once the peer has closed, the
 * data is dropped. A second end of a packet is a contract violation.
 *
 * @param PacketCompletionBuffer  copied; NULL only with BufSize 0
 * @param BufSize                 bytes, at most the maximum packet size
 */
FN_VMB_CHANNEL_PACKET_COMPLETE VmbChannelPacketComplete;

typedef VOID FASTCALL
FN_VMB_CHANNEL_PACKET_DEFER_TO_PASSIVE(_In_ VMBPACKETCOMPLETION PacketCompletionContext);
typedef FN_VMB_CHANNEL_PACKET_DEFER_TO_PASSIVE *PFN_VMB_CHANNEL_PACKET_DEFER_TO_PASSIVE;
/**
 * Puts the packet back at the head of the queue, to be delivered again at PASSIVE_LEVEL under the
 * same handle. Both ends, only inside EvtVmbChannelProcessPacket, which then returns without
 * completing it;
 * <= DISPATCH_LEVEL. Elsewhere a contract violation.
 */
FN_VMB_CHANNEL_PACKET_DEFER_TO_PASSIVE VmbChannelPacketDeferToPassive;

typedef VOID FASTCALL FN_VMB_CHANNEL_PACKET_FAIL(_In_ VMBPACKETCOMPLETION PacketCompletionContext);
typedef FN_VMB_CHANNEL_PACKET_FAIL *PFN_VMB_CHANNEL_PACKET_FAIL;
/**
 * The packet makes no sense and neither does the peer: ends it without a completion and delivers
 * nothing more until the channel is opened again. The channel stays open and can send. The peer
 * sees no answer, and a ring that is not emptied any more. Both ends, <= DISPATCH_LEVEL.
 */
FN_VMB_CHANNEL_PACKET_FAIL VmbChannelPacketFail;

typedef NTSTATUS
FN_VMB_CHANNEL_PACKET_GET_EXTERNAL_DATA(_In_ VMBPACKETCOMPLETION PacketCompletionContext,
					_In_ UINT32 Flags, _Out_ PMDL *Mdl);
typedef FN_VMB_CHANNEL_PACKET_GET_EXTERNAL_DATA *PFN_VMB_CHANNEL_PACKET_GET_EXTERNAL_DATA;
/**
 * The external data of a packet, as an MDL chain: locked, without an address until the driver maps
 * it (MmGetSystemAddressForMdlSafe). Both ends, <= DISPATCH_LEVEL. The chain is the library's, the
 * same for every call, and ends with the packet.
 *
 * @param Flags  VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAGS
 * @param Mdl    valid for STATUS_SUCCESS only
 * @return STATUS_SUCCESS; STATUS_PENDING: return without ending the packet, it comes again when the
 * data is there; STATUS_NOT_FOUND: it has none; STATUS_INVALID_ADDRESS: a page is not guest memory;
 *         STATUS_INSUFFICIENT_RESOURCES: cannot be mapped; STATUS_INVALID_PARAMETER_n
 */
FN_VMB_CHANNEL_PACKET_GET_EXTERNAL_DATA VmbChannelPacketGetExternalData;

/* ---- outgoing packets ---- */

typedef UINT32 FN_VMB_CHANNEL_SIZEOF_PACKET(_In_ VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_SIZEOF_PACKET *PFN_VMB_CHANNEL_SIZEOF_PACKET;
/** Bytes that VmbPacketInitialize needs, a multiple of 8; changes only with the channel's
 * configuration. Both ends, any state, <= DISPATCH_LEVEL. */
FN_VMB_CHANNEL_SIZEOF_PACKET VmbChannelSizeofPacket;

typedef VMBPACKET FN_VMB_PACKET_ALLOCATE(_In_ VMBCHANNEL Channel);
typedef FN_VMB_PACKET_ALLOCATE *PFN_VMB_PACKET_ALLOCATE;
/**
 * Takes a packet from the channel's lookaside list, with everything that a transaction needs: later
 * sends cannot fail for lack of memory. Its completion routine frees it, its pointer is NULL. Both
 * ends, any state, <= DISPATCH_LEVEL. The caller owns it while it is idle.
 *
 * @return NULL: no memory
 */
_Must_inspect_result_ FN_VMB_PACKET_ALLOCATE VmbPacketAllocate;

typedef VOID FN_VMB_PACKET_FREE(_In_ __drv_freesMem(Mem) VMBPACKET VmbPacket);
typedef FN_VMB_PACKET_FREE *PFN_VMB_PACKET_FREE;
/**
 * Gives an idle packet of VmbPacketAllocate back. Both ends, <= DISPATCH_LEVEL, also inside its
 * completion routine. In flight, freed already, or initialized by VmbPacketInitialize: contract
 * violations.
 */
FN_VMB_PACKET_FREE VmbPacketFree;

typedef NTSTATUS FN_VMB_PACKET_INITIALIZE(_In_ VMBCHANNEL Channel, _In_ VMBPACKET VmbPacket,
					  _In_ UINT32 ByteCount);
typedef FN_VMB_PACKET_INITIALIZE *PFN_VMB_PACKET_INITIALIZE;
/**
 * Makes a packet of the caller's memory, whose address is the handle. It has no completion routine
 * and cannot be sent without one. Both ends, any state, <= DISPATCH_LEVEL. There is no undo: while
 * the packet is idle the memory is the caller's.
 *
 * @param VmbPacket  aligned to 8 bytes
 * @param ByteCount  bytes there, at least VmbChannelSizeofPacket
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2: NULL or
 * misaligned; STATUS_INVALID_PARAMETER_3: too small
 */
FN_VMB_PACKET_INITIALIZE VmbPacketInitialize;

typedef VMBCHANNEL FASTCALL FN_VMB_PACKET_GET_CHANNEL(_In_ VMBPACKET PacketObject);
typedef FN_VMB_PACKET_GET_CHANNEL *PFN_VMB_PACKET_GET_CHANNEL;
/** The channel that the packet belongs to. Both ends, any packet state, any IRQL. */
FN_VMB_PACKET_GET_CHANNEL VmbPacketGetChannel;

typedef VOID FASTCALL FN_VMB_PACKET_SET_POINTER(_In_ VMBPACKET PacketObject,
						_In_opt_ PVOID Pointer);
typedef FN_VMB_PACKET_SET_POINTER *PFN_VMB_PACKET_SET_POINTER;
/** Stores a pointer of the driver's own; kept until VmbPacketFree. Both ends, any packet state, any
 * IRQL. */
FN_VMB_PACKET_SET_POINTER VmbPacketSetPointer;

typedef PVOID FASTCALL FN_VMB_PACKET_GET_POINTER(_In_ VMBPACKET PacketObject);
typedef FN_VMB_PACKET_GET_POINTER *PFN_VMB_PACKET_GET_POINTER;
/** The pointer of VmbPacketSetPointer, NULL at first. Both ends, any packet state, any IRQL. */
FN_VMB_PACKET_GET_POINTER VmbPacketGetPointer;

typedef VOID
FN_VMB_PACKET_SET_COMPLETION_ROUTINE(_In_ VMBPACKET PacketObject,
				     _In_ PFN_VMB_PACKET_COMPLETION_ROUTINE CompletionRoutine);
typedef FN_VMB_PACKET_SET_COMPLETION_ROUTINE *PFN_VMB_PACKET_SET_COMPLETION_ROUTINE;
/**
 * Sets the routine of an idle packet, for all its sends until VmbPacketFree. Freeing an allocated
 * packet is then the caller's duty. Both ends, <= DISPATCH_LEVEL. NULL, or a packet in flight, is a
 * contract violation.
 */
FN_VMB_PACKET_SET_COMPLETION_ROUTINE VmbPacketSetCompletionRoutine;

typedef NTSTATUS FN_VMB_PACKET_SEND(_In_ __drv_aliasesMem VMBPACKET PacketObject,
				    _In_reads_bytes_opt_(BufferLength) PVOID Buffer,
				    _In_ UINT32 BufferLength, _In_opt_ PMDL ExternalDataMdl,
				    _In_ UINT32 Flags);
typedef FN_VMB_PACKET_SEND *PFN_VMB_PACKET_SEND;
/**
 * Sends inline data and, from a client, optionally an MDL chain. Where the packet cannot go to the
 * ring now (no room, others ahead, channel not running) it is queued: also a success. Both ends, <=
 * DISPATCH_LEVEL (PASSIVE_LEVEL for a paged buffer), does not block and does not fail for lack of
 * memory.
 *
 * On success the packet is the library's until its routine is called, perhaps before this returns.
 * On failure the routine is not called and the packet stays idle.
 *
 * @param Buffer           copied before the return; NULL only with BufferLength 0
 * @param BufferLength     bytes, at most the maximum packet size
 * @param ExternalDataMdl  stays valid until the routine is called; only with WAIT_FOR_COMPLETION
 * @param Flags            VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION, _PAGED_BUFFER
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1: packet invalid, in flight or without routine;
 *         STATUS_INVALID_PARAMETER_2, _3: buffer; STATUS_INVALID_PARAMETER_5: flags, or an MDL
 * without WAIT_FOR_COMPLETION; STATUS_NOT_SUPPORTED: an MDL on a server or a pipe;
 *         STATUS_INVALID_BUFFER_SIZE: external data beyond the channel's bounds;
 * STATUS_DEVICE_REMOVED: the channel is disabled or closing
 */
FN_VMB_PACKET_SEND VmbPacketSend;

typedef NTSTATUS FN_VMB_PACKET_SEND_WITH_EXTERNAL_MDL(
	_In_ __drv_aliasesMem VMBPACKET PacketObject,
	_In_reads_bytes_opt_(BufferLength) PVOID Buffer, _In_ UINT32 BufferLength,
	_In_ PMDL ExternalDataMdl, _In_ UINT32 MdlOffset, _In_ UINT32 MdlLength, _In_ UINT32 Flags);
typedef FN_VMB_PACKET_SEND_WITH_EXTERNAL_MDL *PFN_VMB_PACKET_SEND_WITH_EXTERNAL_MDL;
/**
 * VmbPacketSend with a part of an MDL chain. Client. Both the inline and the external data are
 * sent.
 *
 * @param MdlOffset  bytes into the buffer that the chain describes
 * @param MdlLength  bytes; 0: to the end of the chain
 * @param Flags      WAIT_FOR_COMPLETION must be set
 * @return as VmbPacketSend, but STATUS_INVALID_PARAMETER_4: no MDL; STATUS_INVALID_PARAMETER_5:
 * offset past the end; STATUS_INVALID_PARAMETER_6: length past the end (with FORCE_MDL_LENGTH: past
 * the last page of the first MDL); STATUS_INVALID_PARAMETER_7: flags
 */
FN_VMB_PACKET_SEND_WITH_EXTERNAL_MDL VmbPacketSendWithExternalMdl;

typedef NTSTATUS FN_VMB_PACKET_SEND_WITH_EXTERNAL_PFNS(_In_ __drv_aliasesMem VMBPACKET PacketObject,
						       _In_reads_bytes_opt_(BufferLength)
							       PVOID Buffer,
						       _In_ UINT32 BufferLength,
						       _In_reads_(PfnLength)
							       PPFN_NUMBER ExternalDataPfns,
						       _In_ UINT32 PfnLength, _In_ UINT32 Flags);
typedef FN_VMB_PACKET_SEND_WITH_EXTERNAL_PFNS *PFN_VMB_PACKET_SEND_WITH_EXTERNAL_PFNS;
/**
 * VmbPacketSend with whole guest pages. Client.
 *
 * @param ExternalDataPfns  guest physical page numbers, copied before the return
 * @param PfnLength         how many
 * @param Flags             WAIT_FOR_COMPLETION must be set
 * @return as VmbPacketSend, but STATUS_INVALID_PARAMETER_4: no array; STATUS_INVALID_PARAMETER_5:
 * none in it; STATUS_INVALID_PARAMETER_6: flags
 */
FN_VMB_PACKET_SEND_WITH_EXTERNAL_PFNS VmbPacketSendWithExternalPfns;

typedef NTSTATUS FN_VMB_CHANNEL_SEND_SYNCHRONOUS_REQUEST(
	_In_ VMBCHANNEL Channel, _In_reads_bytes_opt_(BufferSize) PVOID Buffer,
	_In_ UINT32 BufferSize, _In_opt_ PMDL ExternalDataMdl, _In_ UINT32 Flags,
	_Out_writes_bytes_opt_(*CompletionBufferSize) PVOID CompletionBuffer,
	_Inout_opt_ PUINT32 CompletionBufferSize, _In_opt_ PLARGE_INTEGER Timeout);
typedef FN_VMB_CHANNEL_SEND_SYNCHRONOUS_REQUEST *PFN_VMB_CHANNEL_SEND_SYNCHRONOUS_REQUEST;
/**
 * Sends a packet and waits: for its completion with WAIT_FOR_COMPLETION, else until it is in the
 * ring. A client may use every form, a server only *Timeout 0 without WAIT_FOR_COMPLETION.
 * PASSIVE_LEVEL and blocking, except for that form: <= DISPATCH_LEVEL and never blocks. Waiting
 * forms work from EvtVmbChannelPostStarted on.
 *
 * @param CompletionBuffer      where the completion data goes; NULL, together with the size: it is
 * dropped
 * @param CompletionBufferSize  in: room there, a multiple of 8; out on success: bytes written
 * @param Timeout               as for KeWaitForSingleObject: NULL: forever; units of 100 ns,
 * negative: from now, positive: absolute since 1601; 0: do not wait for room in the ring (a
 *                              completion is then waited for without limit). When it has passed the
 * packet is cancelled; a late answer is dropped.
 * @return STATUS_SUCCESS; STATUS_BUFFER_OVERFLOW: Timeout 0 and no room now, not sent;
 * STATUS_CANCELLED: timed out; STATUS_DEVICE_REMOVED: disabled or closing; STATUS_BUFFER_TOO_SMALL:
 * the answer is longer than the room, which has been filled; STATUS_INVALID_DEVICE_STATE: would
 * wait where the channel cannot make progress meanwhile (its state callbacks before
 * EvtVmbChannelPostStarted, its delivery); STATUS_INVALID_PARAMETER_3: too long; _5: flags, an MDL
 * without WAIT_FOR_COMPLETION, or WAIT on a server; _6, _7: only one of the completion arguments,
 * or a size that is not a multiple of 8; _8: Timeout on a server
 */
FN_VMB_CHANNEL_SEND_SYNCHRONOUS_REQUEST VmbChannelSendSynchronousRequest;

#ifdef __cplusplus
}
#endif

#endif
