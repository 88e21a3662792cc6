/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The DDI: GPADLs, save and restore. Drivers include
 * <vmbuskernelmodeclientlibapi.h>, which says how to read the comments.
 */
#ifndef OPENKMCL_VMB_GPADL_H
#define OPENKMCL_VMB_GPADL_H

#include <openkmcl/vmb_types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- GPADLs: guest memory that the server may use for longer than a packet lasts ---- */

typedef NTSTATUS FN_VMB_CHANNEL_CREATE_GPADL_FROM_BUFFER(_In_ VMBCHANNEL Channel, _In_ UINT32 Flags,
							 _In_reads_bytes_(ByteCount) PVOID Buffer,
							 _In_ UINT32 ByteCount,
							 _Out_ PUINT32 GpadlHandle);
typedef FN_VMB_CHANNEL_CREATE_GPADL_FROM_BUFFER *PFN_VMB_CHANNEL_CREATE_GPADL_FROM_BUFFER;
/**
 * Describes a buffer to the server. Client, from EvtVmbChannelOpened to EvtVmbChannelClosed,
 * PASSIVE_LEVEL; blocks until the server's side has confirmed: it can map at once. Undone by
 * VmbChannelDeleteGpadl.
 *
 * @param Flags        VMBUS_CHANNEL_GPADL_FLAGS; without READ_ONLY the server may write
 * @param Buffer       guest memory (the driver's pool), at any alignment; the caller keeps it until
 * the delete
 * @param ByteCount    bytes
 * @param GpadlHandle  not 0, unique among those alive; for the driver to tell its server
 * @return STATUS_SUCCESS; STATUS_INVALID_DEVICE_STATE: not open; STATUS_INVALID_PARAMETER_4: 0
 * bytes; STATUS_INVALID_ADDRESS: not guest memory; STATUS_UNSUCCESSFUL: the host refused;
 *         STATUS_DEVICE_REMOVED: the channel went away; STATUS_INVALID_PARAMETER_n
 */
FN_VMB_CHANNEL_CREATE_GPADL_FROM_BUFFER VmbChannelCreateGpadlFromBuffer;

typedef NTSTATUS FN_VMB_CHANNEL_CREATE_GPADL_FROM_MDL(_In_ VMBCHANNEL Channel, _In_ UINT32 Flags,
						      _In_ PMDL Mdl,
						      _In_ UINT32 StartOffsetWithinMdl,
						      _In_ UINT32 DataLengthWithinMdl,
						      _Out_ PUINT32 GpadlHandle);
typedef FN_VMB_CHANNEL_CREATE_GPADL_FROM_MDL *PFN_VMB_CHANNEL_CREATE_GPADL_FROM_MDL;
/**
 * VmbChannelCreateGpadlFromBuffer for a part of an MDL chain, one range per MDL. The caller keeps
 * the chain and its memory until the delete.
 *
 * @param StartOffsetWithinMdl  bytes into the chain
 * @param DataLengthWithinMdl   bytes; 0: to the end of the chain
 * @return as there, but STATUS_INVALID_PARAMETER_3: no MDL; STATUS_INVALID_PARAMETER_4: offset at
 * or past the end; STATUS_INVALID_PARAMETER_5: length past the end
 */
FN_VMB_CHANNEL_CREATE_GPADL_FROM_MDL VmbChannelCreateGpadlFromMdl;

typedef VOID FN_VMB_CHANNEL_DELETE_GPADL(_In_ VMBCHANNEL Channel, _In_ UINT32 GpadlHandle);
typedef FN_VMB_CHANNEL_DELETE_GPADL *PFN_VMB_CHANNEL_DELETE_GPADL;
/**
 * Takes the memory back. Client, while the GPADL exists and at the latest in EvtVmbChannelClosed,
 * PASSIVE_LEVEL; blocks until the server has unmapped it, unless the host is gone. An unknown
 * handle is a contract violation.
 */
FN_VMB_CHANNEL_DELETE_GPADL VmbChannelDeleteGpadl;

typedef NTSTATUS FN_VMB_CHANNEL_MAP_GPADL(_In_ VMBCHANNEL Channel, _In_ UINT32 Flags,
					  _In_ UINT32 GpadlHandle, _Out_ PMDL *Mdl);
typedef FN_VMB_CHANNEL_MAP_GPADL *PFN_VMB_CHANNEL_MAP_GPADL;
/**
 * Pins a GPADL of the client and describes it. Server, from EvtVmbChannelOpened to
 * EvtVmbChannelClosed, PASSIVE_LEVEL, may block. One mapping per GPADL at a time, undone by
 * VmbChannelUnmapGpadl.
 *
 * @param Flags  0: for writing; VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY: for reading
 * @param Mdl    the library's, without an address until the driver maps it; ends with the unmap
 * @return STATUS_SUCCESS; STATUS_INVALID_DEVICE_STATE: not open; STATUS_INVALID_PARAMETER_3: no
 * such GPADL; STATUS_ACCESS_DENIED: for writing, but created read-only; STATUS_SHARING_VIOLATION:
 * mapped already; STATUS_INVALID_PARAMETER_n
 */
FN_VMB_CHANNEL_MAP_GPADL VmbChannelMapGpadl;

typedef VOID FN_VMB_CHANNEL_UNMAP_GPADL(_In_ VMBCHANNEL Channel, _In_ UINT32 GpadlHandle);
typedef FN_VMB_CHANNEL_UNMAP_GPADL *PFN_VMB_CHANNEL_UNMAP_GPADL;
/**
 * Ends a mapping; the server no longer touches the memory, and a client that waits to delete the
 * GPADL goes on. Server, while mapped, EvtVmbChannelClosed included, PASSIVE_LEVEL, does not block.
 * A GPADL that is not mapped is a contract violation.
 */
FN_VMB_CHANNEL_UNMAP_GPADL VmbChannelUnmapGpadl;

/* ---- save and restore (server) ---- */

typedef NTSTATUS FN_VMB_CHANNEL_SAVE_BEGIN(_In_ VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_SAVE_BEGIN *PFN_VMB_CHANNEL_SAVE_BEGIN;
/**
 * Begins to save a channel that is enabled and does not run. Server, PASSIVE_LEVEL, does not block.
 * Then VmbChannelSaveContinue until everything is saved, then VmbChannelSaveEnd.
 *
 * @return STATUS_SUCCESS; STATUS_INVALID_DEVICE_STATE: running, disabled, or begun already
 */
_Must_inspect_result_ FN_VMB_CHANNEL_SAVE_BEGIN VmbChannelSaveBegin;

typedef NTSTATUS FN_VMB_CHANNEL_SAVE_CONTINUE(_In_ VMBCHANNEL Channel,
					      _Out_writes_bytes_opt_(SaveBufferSize)
						      PVOID SaveBuffer,
					      _In_ ULONG SaveBufferSize, _Out_ PULONG BytesFilled,
					      _Out_ PULONG BytesRequired);
typedef FN_VMB_CHANNEL_SAVE_CONTINUE *PFN_VMB_CHANNEL_SAVE_CONTINUE;
/**
 * Writes the next whole chunks of the channel's state. Server, PASSIVE_LEVEL; calls
 * EvtVmbChannelSavePacket on this thread.
 *
 * @param SaveBuffer      may be NULL with SaveBufferSize 0, to learn what is needed
 * @param SaveBufferSize  bytes
 * @param BytesFilled     bytes written
 * @param BytesRequired   bytes that the next call needs at least; 0 when all is saved
 * @return STATUS_SUCCESS: all is saved; STATUS_BUFFER_OVERFLOW: some was written, more is left;
 *         STATUS_BUFFER_TOO_SMALL: nothing fits; STATUS_INVALID_DEVICE_STATE: not begun; or what
 *         EvtVmbChannelSavePacket failed with
 */
_Must_inspect_result_ FN_VMB_CHANNEL_SAVE_CONTINUE VmbChannelSaveContinue;

typedef VOID FN_VMB_CHANNEL_SAVE_END(_In_ VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_SAVE_END *PFN_VMB_CHANNEL_SAVE_END;
/** Ends a save, complete or not; the channel is as it was before. Server, PASSIVE_LEVEL, does not
 * block. */
FN_VMB_CHANNEL_SAVE_END VmbChannelSaveEnd;

typedef NTSTATUS FN_VMB_CHANNEL_RESTORE_FROM_BUFFER(_In_ VMBCHANNEL Channel,
						    _In_reads_bytes_(BufferSize) PVOID Buffer,
						    _In_ ULONG BufferSize);
typedef FN_VMB_CHANNEL_RESTORE_FROM_BUFFER *PFN_VMB_CHANNEL_RESTORE_FROM_BUFFER;
/**
 * Takes saved state back, one output of VmbChannelSaveContinue after the other, before the channel
 * is enabled. Server, disabled, PASSIVE_LEVEL; calls EvtVmbChannelRestorePacket on this thread.
 * After a failure the channel is good for VmbChannelCleanup only.
 *
 * @return STATUS_SUCCESS: all is restored; STATUS_MORE_PROCESSING_REQUIRED: restored, more was
 * saved; STATUS_DATA_ERROR: damaged; STATUS_REVISION_MISMATCH: from another version;
 * STATUS_NOT_SUPPORTED: a packet, but no callback; STATUS_INVALID_DEVICE_STATE; or what the
 * callback failed with
 */
_Must_inspect_result_ FN_VMB_CHANNEL_RESTORE_FROM_BUFFER VmbChannelRestoreFromBuffer;

typedef NTSTATUS FN_VMB_PACKET_RESTORE(_In_ __drv_aliasesMem VMBPACKET PacketObject,
				       _In_reads_bytes_(BufferSize) PVOID Buffer,
				       _In_ ULONG BufferSize);
typedef FN_VMB_PACKET_RESTORE *PFN_VMB_PACKET_RESTORE;
/**
 * Puts the saved transaction into an idle packet of VmbPacketAllocate; it is then in flight and the
 * library's. Server, inside EvtVmbChannelRestorePacket, PASSIVE_LEVEL.
 *
 * @param Buffer  LibBuf of the callback
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1: packet not idle; STATUS_DATA_ERROR: damaged,
 * the caller frees the packet; STATUS_INVALID_DEVICE_STATE: not in the callback
 */
FN_VMB_PACKET_RESTORE VmbPacketRestore;

#ifdef __cplusplus
}
#endif

#endif
