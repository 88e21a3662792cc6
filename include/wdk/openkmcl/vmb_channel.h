/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The DDI: channels, their life and configuration. Drivers include
 * <vmbuskernelmodeclientlibapi.h>, which says how to read the comments.
 */
#ifndef OPENKMCL_VMB_CHANNEL_H
#define OPENKMCL_VMB_CHANNEL_H

#include <openkmcl/vmb_types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- channel life ---- */

typedef NTSTATUS FN_VMB_CHANNEL_ALLOCATE(_In_opt_ PDEVICE_OBJECT ParentDeviceObject,
					 _In_ BOOLEAN IsServer, _Out_ VMBCHANNEL *Channel);
typedef FN_VMB_CHANNEL_ALLOCATE *PFN_VMB_CHANNEL_ALLOCATE;
/**
 * Creates a disabled channel with defaults: packets up to 4096 bytes, external data up to 1 MiB in
 * 32 pieces, no callbacks (packets are completed without data), no quota, rings sized
 * automatically, no target. Both ends, PASSIVE_LEVEL, does not block. The caller owns it until
 * VmbChannelCleanup.
 *
 * @param ParentDeviceObject  names the bus, and for a client perhaps the target; NULL: the default
 * bus
 * @param IsServer            TRUE: the end that offers
 * @param Channel             the handle; NULL on failure
 * @return STATUS_SUCCESS, STATUS_INVALID_PARAMETER_3, STATUS_INSUFFICIENT_RESOURCES
 */
FN_VMB_CHANNEL_ALLOCATE VmbChannelAllocate;

typedef VOID FN_VMB_CHANNEL_CLEANUP(_In_ __drv_freesMem(Mem) VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_CLEANUP *PFN_VMB_CHANNEL_CLEANUP;
/**
 * Frees a disabled channel; the handle is dead afterwards. Both ends, PASSIVE_LEVEL, does not
 * block. A channel that is not disabled, or packets not freed yet, are contract violations.
 */
FN_VMB_CHANNEL_CLEANUP VmbChannelCleanup;

typedef NTSTATUS FN_VMB_CHANNEL_ENABLE(_In_ VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_ENABLE *PFN_VMB_CHANNEL_ENABLE;
/**
 * Server: offers the channel. Client: takes the matching offer, now or when it comes, and runs by
 * itself unless VmbChannelPause was called before. Both ends, PASSIVE_LEVEL; does not wait for the
 * other end, but for a remote close of this one that is under way. Callbacks may run before it
 * returns. Undone by VmbChannelDisable.
 *
 * @return STATUS_SUCCESS, or the channel stays disabled: STATUS_INVALID_DEVICE_STATE: it was not
 * disabled; STATUS_INVALID_PARAMETER: server without interface ids; STATUS_INVALID_HANDLE: server
 * without a bus; STATUS_OBJECT_NAME_COLLISION: type and instance are offered already;
 *         STATUS_NO_SUCH_DEVICE: client without a target; STATUS_DEVICE_NOT_CONNECTED: no bus;
 *         STATUS_NOT_SUPPORTED: a target VTL that the bus cannot reach
 */
_Must_inspect_result_ FN_VMB_CHANNEL_ENABLE VmbChannelEnable;

typedef VOID FN_VMB_CHANNEL_DISABLE(_In_ VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_DISABLE *PFN_VMB_CHANNEL_DISABLE;
/**
 * Pauses, closes and tears down; a server also revokes its offer. Both ends, PASSIVE_LEVEL; blocks
 * until all of that is done: packets the driver holds are completed, every routine of a sent packet
 * has run, no callback will follow. A client waits until the server has let go of its memory, hence
 * for the server's driver to complete what it holds; a server does not wait for its guest. On a
 * disabled channel it does nothing.
 */
FN_VMB_CHANNEL_DISABLE VmbChannelDisable;

typedef VOID FN_VMB_CHANNEL_START(_In_ VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_START *PFN_VMB_CHANNEL_START;
/**
 * Lets the channel run: at once if it is open, else when it opens. A server must call it, a client
 * only after VmbChannelPause. Both ends, PASSIVE_LEVEL, does not wait for the callbacks. On a
 * disabled channel it applies to the next enable; on a running one it does nothing.
 */
FN_VMB_CHANNEL_START VmbChannelStart;

typedef VOID FN_VMB_CHANNEL_PAUSE(_In_ VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_PAUSE *PFN_VMB_CHANNEL_PAUSE;
/**
 * Stops delivery and sending. Both ends, PASSIVE_LEVEL; blocks until EvtVmbChannelSuspend has
 * returned and no incoming packet is outstanding. Outgoing transactions stay as they are. If the
 * channel is not open the intent is recorded; on a disabled channel it applies to the next enable.
 * Undone by VmbChannelStart.
 */
FN_VMB_CHANNEL_PAUSE VmbChannelPause;

typedef VOID FASTCALL FN_VMB_CHANNEL_SET_POINTER(_In_ VMBCHANNEL Channel,
						 _In_opt_ __drv_aliasesMem PVOID Pointer);
typedef FN_VMB_CHANNEL_SET_POINTER *PFN_VMB_CHANNEL_SET_POINTER;
/** Stores a pointer of the driver's own; never looked at or freed. Both ends, any state, any IRQL.
 */
FN_VMB_CHANNEL_SET_POINTER VmbChannelSetPointer;

typedef PVOID FASTCALL FN_VMB_CHANNEL_GET_POINTER(_In_ VMBCHANNEL Channel);
typedef FN_VMB_CHANNEL_GET_POINTER *PFN_VMB_CHANNEL_GET_POINTER;
/** The pointer of VmbChannelSetPointer, NULL at first. Both ends, any state, any IRQL. */
FN_VMB_CHANNEL_GET_POINTER VmbChannelGetPointer;

typedef VOID FN_VMB_CHANNEL_GET_INTERFACE_INSTANCE(_In_ VMBCHANNEL Channel,
						   _Out_ LPGUID InterfaceInstance);
typedef FN_VMB_CHANNEL_GET_INTERFACE_INSTANCE *PFN_VMB_CHANNEL_GET_INTERFACE_INSTANCE;
/**
 * The instance of the channel: a server's as configured; a client's that of the offer it matched
 * (known just before EvtVmbChannelOpened), before that the one it asked for, else zeros. Both ends,
 * any state,
 * <= DISPATCH_LEVEL.
 */
FN_VMB_CHANNEL_GET_INTERFACE_INSTANCE VmbChannelGetInterfaceInstance;

typedef VOID FN_VMB_CHANNEL_GET_MMIO_SPACE(_In_ VMBCHANNEL Channel, _Out_ UINT64 *MmioAddress,
					   _Out_ UINT64 *MmioSize);
typedef FN_VMB_CHANNEL_GET_MMIO_SPACE *PFN_VMB_CHANNEL_GET_MMIO_SPACE;
/**
 * The memory-mapped I/O space reserved for the channel, from EvtVmbChannelOpened to
 * EvtVmbChannelClosed. Both ends, only while open (otherwise a contract violation),
 * <= DISPATCH_LEVEL.
 *
 * @param MmioAddress  guest physical address, outside memory; 0 when there is none, and on a server
 * @param MmioSize     bytes; 0 likewise
 */
FN_VMB_CHANNEL_GET_MMIO_SPACE VmbChannelGetMmioSpace;

/* ---- channel configuration (disabled channels, PASSIVE_LEVEL) ---- */

typedef NTSTATUS FN_VMB_CHANNEL_INIT_SET_CLIENT_CONTEXT_SIZE(_In_ VMBCHANNEL Channel,
							     _In_ UINT32 ContextSize);
typedef FN_VMB_CHANNEL_INIT_SET_CLIENT_CONTEXT_SIZE *PFN_VMB_CHANNEL_INIT_SET_CLIENT_CONTEXT_SIZE;
/**
 * Reserves an area of the driver's own on every incoming packet (KmclPacketClientContext tells
 * where; version 1 of the DDI has no function for it). Both ends.
 *
 * @param ContextSize  bytes, 0 allowed
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1, also while allocated packets exist
 */
FN_VMB_CHANNEL_INIT_SET_CLIENT_CONTEXT_SIZE VmbChannelInitSetClientContextSize;

typedef NTSTATUS FN_VMB_CHANNEL_INIT_SET_FLAGS(_In_ VMBCHANNEL Channel, _In_ UINT32 Flags);
typedef FN_VMB_CHANNEL_INIT_SET_FLAGS *PFN_VMB_CHANNEL_INIT_SET_FLAGS;
/**
 * Replaces the channel's flags, a subset of VMBUS_CHANNEL_INIT_FLAGS. Both ends.
 *
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2: unknown bits
 */
FN_VMB_CHANNEL_INIT_SET_FLAGS VmbChannelInitSetFlags;

typedef NTSTATUS FN_VMB_CHANNEL_INIT_SET_FRIENDLY_NAME(_In_ VMBCHANNEL Channel,
						       _In_ PCUNICODE_STRING Name);
typedef FN_VMB_CHANNEL_INIT_SET_FRIENDLY_NAME *PFN_VMB_CHANNEL_INIT_SET_FRIENDLY_NAME;
/**
 * Names the channel in logs and counters. Both ends.
 *
 * @param Name  copied; an empty one clears
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2: NULL, or a length
 * that is not whole characters
 */
FN_VMB_CHANNEL_INIT_SET_FRIENDLY_NAME VmbChannelInitSetFriendlyName;

typedef NTSTATUS FN_VMB_CHANNEL_INIT_SET_MAXIMUM_EXTERNAL_DATA(_In_ VMBCHANNEL Channel,
							       _In_ UINT32 DataSize,
							       _In_ UINT32 ChainLength);
typedef FN_VMB_CHANNEL_INIT_SET_MAXIMUM_EXTERNAL_DATA
	*PFN_VMB_CHANNEL_INIT_SET_MAXIMUM_EXTERNAL_DATA;
/**
 * Bounds the external data of one packet, sent or received; rings are sized for it. A send beyond a
 * bound fails with STATUS_INVALID_BUFFER_SIZE. Both ends.
 *
 * @param DataSize     bytes, at most what one packet can describe
 * @param ChainLength  MDLs in a chain
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1, also while allocated packets exist;
 *         STATUS_INVALID_PARAMETER_2, _3: the value is 0 or, for _2, too large
 */
FN_VMB_CHANNEL_INIT_SET_MAXIMUM_EXTERNAL_DATA VmbChannelInitSetMaximumExternalData;

typedef NTSTATUS FN_VMB_CHANNEL_INIT_SET_MAXIMUM_PACKET_SIZE(_In_ VMBCHANNEL Channel,
							     _In_ UINT32 PacketSize);
typedef FN_VMB_CHANNEL_INIT_SET_MAXIMUM_PACKET_SIZE *PFN_VMB_CHANNEL_INIT_SET_MAXIMUM_PACKET_SIZE;
/**
 * Bounds the inline data of one packet, in both directions. Both ends.
 *
 * @param PacketSize  bytes
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1, also while allocated packets exist;
 *         STATUS_INVALID_PARAMETER_2: 0, or more than the wire's length field can say
 */
FN_VMB_CHANNEL_INIT_SET_MAXIMUM_PACKET_SIZE VmbChannelInitSetMaximumPacketSize;

typedef NTSTATUS FN_VMB_CHANNEL_INIT_SET_PROCESS_PACKET_CALLBACKS(
	_In_ VMBCHANNEL Channel, _In_ PFN_VMB_CHANNEL_PROCESS_PACKET ProcessPacketCallback,
	_In_opt_ PFN_VMB_CHANNEL_PROCESSING_COMPLETE ProcessingCompleteCallback);
typedef FN_VMB_CHANNEL_INIT_SET_PROCESS_PACKET_CALLBACKS
	*PFN_VMB_CHANNEL_INIT_SET_PROCESS_PACKET_CALLBACKS;
/**
 * Sets who receives packets, and optionally who hears of the end of a batch. Both ends.
 *
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2: no packet
 * callback
 */
FN_VMB_CHANNEL_INIT_SET_PROCESS_PACKET_CALLBACKS VmbChannelInitSetProcessPacketCallbacks;

typedef NTSTATUS FN_VMB_CHANNEL_INIT_SET_STATE_CHANGE_CALLBACKS(
	_In_ VMBCHANNEL Channel, _In_ PVMB_CHANNEL_STATE_CHANGE_CALLBACKS StateChangeCallbacks);
typedef FN_VMB_CHANNEL_INIT_SET_STATE_CHANGE_CALLBACKS
	*PFN_VMB_CHANNEL_INIT_SET_STATE_CHANGE_CALLBACKS;
/**
 * Sets the state callbacks. Both ends.
 *
 * @param StateChangeCallbacks  copied; prepared with VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2: NULL, wrong
 * version or size
 */
FN_VMB_CHANNEL_INIT_SET_STATE_CHANGE_CALLBACKS VmbChannelInitSetStateChangeCallbacks;

typedef NTSTATUS FN_VMB_CLIENT_CHANNEL_INIT_SET_RING_BUFFER_PAGE_COUNT(
	_In_ VMBCHANNEL Channel, _In_ UINT32 IncomingPageCount, _In_ UINT32 OutgoingPageCount);
typedef FN_VMB_CLIENT_CHANNEL_INIT_SET_RING_BUFFER_PAGE_COUNT
	*PFN_VMB_CLIENT_CHANNEL_INIT_SET_RING_BUFFER_PAGE_COUNT;
/**
 * Sizes the rings. Client (it donates the memory of both). A size that cannot hold one maximum
 * packet is raised when the channel is enabled.
 *
 * @param IncomingPageCount  pages, with the ring's control page, at least 2
 * @param OutgoingPageCount  the same for the client's own packets
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2, _3: below 2
 */
FN_VMB_CLIENT_CHANNEL_INIT_SET_RING_BUFFER_PAGE_COUNT VmbClientChannelInitSetRingBufferPageCount;

typedef NTSTATUS
FN_VMB_CLIENT_CHANNEL_INIT_SET_TARGET_PNP(_In_ VMBCHANNEL Channel, _In_ LPCGUID InterfaceType,
					  _In_opt_ LPCGUID InterfaceInstance,
					  _In_opt_ PFN_VMB_CHANNEL_PNP_FAILURE PnpFailureCallback);
typedef FN_VMB_CLIENT_CHANNEL_INIT_SET_TARGET_PNP *PFN_VMB_CLIENT_CHANNEL_INIT_SET_TARGET_PNP;
/**
 * Names the offer to connect to; without it the parent device names it. Client.
 *
 * @param InterfaceType       copied
 * @param InterfaceInstance   copied; NULL: the first offer of the type that nobody has opened
 * @param PnpFailureCallback  told when the offer is there but cannot be opened; may be NULL
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2: no type
 */
FN_VMB_CLIENT_CHANNEL_INIT_SET_TARGET_PNP VmbClientChannelInitSetTargetPnp;

typedef NTSTATUS FN_VMB_SERVER_CHANNEL_INIT_SET_FLAGS(_In_ VMBCHANNEL Channel, _In_ UINT32 Flags);
typedef FN_VMB_SERVER_CHANNEL_INIT_SET_FLAGS *PFN_VMB_SERVER_CHANNEL_INIT_SET_FLAGS;
/**
 * Replaces the flags of the offer, a subset of VMBUS_SERVER_CHANNEL_INIT_FLAGS. Server.
 *
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2: unknown bits
 */
FN_VMB_SERVER_CHANNEL_INIT_SET_FLAGS VmbServerChannelInitSetFlags;

typedef NTSTATUS FN_VMB_SERVER_CHANNEL_INIT_SET_MMIO_MEGABYTES(_In_ VMBCHANNEL Channel,
							       _In_ UINT16 MmioMegabytes,
							       _In_ UINT16 MmioMegabytesOptional);
typedef FN_VMB_SERVER_CHANNEL_INIT_SET_MMIO_MEGABYTES
	*PFN_VMB_SERVER_CHANNEL_INIT_SET_MMIO_MEGABYTES;
/**
 * Asks the guest's bus driver to reserve memory-mapped I/O space for the channel. Server.
 *
 * @param MmioMegabytes          megabytes that are needed
 * @param MmioMegabytesOptional  megabytes more that would help: given, all of them, where they fit
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER: both 0
 */
FN_VMB_SERVER_CHANNEL_INIT_SET_MMIO_MEGABYTES VmbServerChannelInitSetMmioMegabytes;

typedef NTSTATUS FN_VMB_SERVER_CHANNEL_INIT_SET_SAVE_RESTORE_PACKET_CALLBACKS(
	_In_ VMBCHANNEL Channel, _In_ PFN_VMB_CHANNEL_SAVE_PACKET SavePacketCallback,
	_In_ PFN_VMB_CHANNEL_RESTORE_PACKET RestorePacketCallback);
typedef FN_VMB_SERVER_CHANNEL_INIT_SET_SAVE_RESTORE_PACKET_CALLBACKS
	*PFN_VMB_SERVER_CHANNEL_INIT_SET_SAVE_RESTORE_PACKET_CALLBACKS;
/**
 * Sets who saves and restores the driver's state of outgoing packets. Server.
 *
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2, _3: NULL
 */
FN_VMB_SERVER_CHANNEL_INIT_SET_SAVE_RESTORE_PACKET_CALLBACKS
VmbServerChannelInitSetSaveRestorePacketCallbacks;

typedef NTSTATUS FN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_INTERFACE_ID(_In_ VMBCHANNEL Channel,
								    _In_ GUID InterfaceType,
								    _In_ GUID InterfaceInstance);
typedef FN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_INTERFACE_ID
	*PFN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_INTERFACE_ID;
/**
 * Says what is offered: the protocol, and which of its instances. Server. By value.
 *
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2, _3: zeros
 */
FN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_INTERFACE_ID VmbServerChannelInitSetTargetInterfaceId;

typedef NTSTATUS FN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_VTL(_In_ VMBCHANNEL Channel,
							   _In_ UINT8 TargetVtl);
typedef FN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_VTL *PFN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_VTL;
/**
 * Offers only to clients in that virtual trust level. Server. A level that the bus cannot reach is
 * refused by VmbChannelEnable.
 *
 * @param TargetVtl  0 to 2
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_PARAMETER_2: out of range
 */
FN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_VTL VmbServerChannelInitSetTargetVtl;

typedef NTSTATUS FN_VMB_SERVER_CHANNEL_INIT_SET_VMBUS_HANDLE(_In_ VMBCHANNEL Channel,
							     _In_ HANDLE VmbusHandle);
typedef FN_VMB_SERVER_CHANNEL_INIT_SET_VMBUS_HANDLE *PFN_VMB_SERVER_CHANNEL_INIT_SET_VMBUS_HANDLE;
/**
 * Chooses the bus, hence the virtual machine, to offer to; overrides the parent device. Server.
 *
 * @param VmbusHandle  from VmbConvertVmbusHandleToKernelHandle; the channel takes a reference of
 * its own, the caller may close the handle at once
 * @return STATUS_SUCCESS; STATUS_INVALID_PARAMETER_1; STATUS_INVALID_HANDLE: not a bus
 */
FN_VMB_SERVER_CHANNEL_INIT_SET_VMBUS_HANDLE VmbServerChannelInitSetVmbusHandle;

typedef NTSTATUS FN_VMB_CONVERT_VMBUS_HANDLE_TO_KERNEL_HANDLE(_In_ HANDLE VmbusHandle,
							      _Out_ PHANDLE KernelHandle);
typedef FN_VMB_CONVERT_VMBUS_HANDLE_TO_KERNEL_HANDLE *PFN_VMB_CONVERT_VMBUS_HANDLE_TO_KERNEL_HANDLE;
/**
 * Turns the VMBus handle that a VM's worker process holds into one of the driver's. Server,
 * PASSIVE_LEVEL, does not block.
 *
 * @param KernelHandle  a new handle; the caller closes it (ZwClose)
 * @return STATUS_SUCCESS; STATUS_INVALID_HANDLE: not a bus
 */
FN_VMB_CONVERT_VMBUS_HANDLE_TO_KERNEL_HANDLE VmbConvertVmbusHandleToKernelHandle;

/* ---- running channels ---- */

typedef VOID FN_VMB_CHANNEL_SET_INCOMING_PROCESSING_AT_PASSIVE(_In_ VMBCHANNEL Channel,
							       _In_ BOOLEAN RequirePassive);
typedef FN_VMB_CHANNEL_SET_INCOMING_PROCESSING_AT_PASSIVE
	*PFN_VMB_CHANNEL_SET_INCOMING_PROCESSING_AT_PASSIVE;
/**
 * TRUE: packets are delivered at PASSIVE_LEVEL; FALSE: at DISPATCH_LEVEL or below. Both ends, any
 * state,
 * <= DISPATCH_LEVEL. Takes effect with the next batch and outlives disabling.
 */
FN_VMB_CHANNEL_SET_INCOMING_PROCESSING_AT_PASSIVE VmbChannelSetIncomingProcessingAtPassive;

typedef NTSTATUS FN_VMB_CHANNEL_SET_INTERRUPT_LATENCY(_In_ VMBCHANNEL Channel, _In_ UINT16 Latency,
						      _Out_ PUINT16 OriginalLatency);
typedef FN_VMB_CHANNEL_SET_INTERRUPT_LATENCY *PFN_VMB_CHANNEL_SET_INTERRUPT_LATENCY;
/**
 * Sets how long a signal to the host may be held back, until the channel closes. Client, from
 * EvtVmbChannelOpened to EvtVmbChannelClosed, PASSIVE_LEVEL, does not block.
 *
 * @param Latency          units of 100 ns
 * @param OriginalLatency  the value before
 * @return STATUS_SUCCESS; STATUS_INVALID_DEVICE_STATE: not open; STATUS_NOT_SUPPORTED: the channel
 * has no monitor slot
 */
_Must_inspect_result_ FN_VMB_CHANNEL_SET_INTERRUPT_LATENCY VmbChannelSetInterruptLatency;

typedef VOID FN_VMB_CHANNEL_SET_TRANSACTION_QUOTA(_In_ VMBCHANNEL Channel, _In_ UINT32 Quota);
typedef FN_VMB_CHANNEL_SET_TRANSACTION_QUOTA *PFN_VMB_CHANNEL_SET_TRANSACTION_QUOTA;
/**
 * Bounds the incoming packets that the driver holds at a time. Both ends, any state, <=
 * DISPATCH_LEVEL. Lowering it below what is held stops delivery until enough are completed; raising
 * it does not by itself restart delivery that the old quota stopped, the next completion does.
 *
 * @param Quota  packets, at least 1; 0 is a contract violation and changes nothing
 */
FN_VMB_CHANNEL_SET_TRANSACTION_QUOTA VmbChannelSetTransactionQuota;

#ifdef __cplusplus
}
#endif

#endif
