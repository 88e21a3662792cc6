/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The VMBus Kernel Mode Client Library: channels between a server (the virtualization service
 * provider on the host) and a client (the service consumer in a guest).
 *
 * How to read the comments
 *
 * - "Client", "server" and "both" say at which end of a channel a function may be called. A NULL or
 *   foreign handle, or a channel of the other end, gives STATUS_INVALID_PARAMETER_1 where a status
 * is returned and is a contract violation where none is.
 * - A contract violation stands for what would be a bug check: it is reported with the rule's name
 *   and, unless the host decided otherwise, ends the process.
 * - IRQL is simulated per thread (KeGetCurrentIrql). "<= DISPATCH_LEVEL" is the highest level
 * allowed.
 * - Lengths are in bytes, pages are 4096 bytes, times are in units of 100 ns unless said otherwise.
 * - NULL for a required pointer gives STATUS_INVALID_PARAMETER_n with n its position, unknown bits
 * in flags STATUS_INVALID_PARAMETER_n with n the position of the flags, no memory
 *   STATUS_INSUFFICIENT_RESOURCES. Results are stored on success only, unless said otherwise.
 * - The InitSet functions configure a disabled channel, at PASSIVE_LEVEL; the last call counts, and
 *   what they set outlives disabling. On a channel that is not disabled they return
 *   STATUS_INVALID_PARAMETER_1 and change nothing.
 */
#ifndef VMBUSKERNELMODECLIENTLIBAPI_H
#define VMBUSKERNELMODECLIENTLIBAPI_H

#include <ntddk.h>

#ifdef __cplusplus
#include <cstddef>
#define KMCL_STATIC_ASSERT(what) static_assert(what, #what)
extern "C" {
#else
#include <stddef.h>
#define KMCL_STATIC_ASSERT(what) _Static_assert(what, #what)
#endif

/* ---- handles ---- */

/** A channel, from VmbChannelAllocate to VmbChannelCleanup. Never NULL. */
typedef struct VMBCHANNEL__ *VMBCHANNEL;
/** An outgoing packet, from VmbPacketAllocate or over memory of the driver (VmbPacketInitialize).
 */
typedef struct VMBPACKET__ *VMBPACKET;
/** An incoming packet, from its first EvtVmbChannelProcessPacket until it is completed or failed.
 */
typedef struct VMBPACKETCOMPLETION__ *VMBPACKETCOMPLETION;

/* ---- flags and limits ---- */

/** All sends: the transaction lasts until the other end has completed the packet. */
#define VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION 0x1
/** VmbPacketSendWithExternalMdl: the length may reach past the byte count of the first MDL, up to
 * the end of its last page. The MDLs after the first are not looked at. */
#define VMBUS_CHANNEL_FORMAT_FLAG_FORCE_MDL_LENGTH    0x2
/** All sends: the inline buffer is pageable and is read before the IRQL is raised. */
#define VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER        0x4
#define VMBUS_CHANNEL_FORMAT_FLAGS                       \
	(VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION | \
	 VMBUS_CHANNEL_FORMAT_FLAG_FORCE_MDL_LENGTH | VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER)

/** The GPADL is (create), or is mapped (map), for reading only. No protection from a hostile host.
 */
#define VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY 0x1
#define VMBUS_CHANNEL_GPADL_FLAGS          VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY
/** The same flag under the other name that driver sources use. */
#define VMBUS_CHANNEL_GPADL_READ_ONLY      VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY

/** The channel carries pipe framing. */
#define VMBUS_CHANNEL_INIT_FLAG_IS_PIPE 0x1
#define VMBUS_CHANNEL_INIT_FLAGS        VMBUS_CHANNEL_INIT_FLAG_IS_PIPE

/** Clients of the offering side itself see the offer too. */
#define VMBUS_SERVER_CHANNEL_INIT_FLAG_LOOPBACK_OFFER             0x1
/** The guest also publishes a device interface whose GUID is the channel's type. */
#define VMBUS_SERVER_CHANNEL_INIT_FLAG_ENUMERATE_DEVICE_INTERFACE 0x2
/** The channel is offered in pipe mode. */
#define VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE              0x4
/** After a restore the channel is offered anew and the saved instance abandoned. */
#define VMBUS_SERVER_CHANNEL_INIT_FLAG_FORCE_NEW_CHANNEL          0x8
/** The channel provides a socket interface. */
#define VMBUS_SERVER_CHANNEL_INIT_FLAG_TLNPI_PROVIDER_OFFER       0x10
#define VMBUS_SERVER_CHANNEL_INIT_FLAGS                              \
	(VMBUS_SERVER_CHANNEL_INIT_FLAG_LOOPBACK_OFFER |             \
	 VMBUS_SERVER_CHANNEL_INIT_FLAG_ENUMERATE_DEVICE_INTERFACE | \
	 VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE |              \
	 VMBUS_SERVER_CHANNEL_INIT_FLAG_FORCE_NEW_CHANNEL |          \
	 VMBUS_SERVER_CHANNEL_INIT_FLAG_TLNPI_PROVIDER_OFFER)

/** EvtVmbChannelProcessPacket: the packet describes external data. */
#define VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA 0x1
#define VMBUS_CHANNEL_PROCESS_PACKET_FLAGS              VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA

/** VmbChannelPacketGetExternalData: the data will only be read. */
#define VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAG_READ_ONLY 0x1
#define VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAGS          VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAG_READ_ONLY

/** Bytes of user-defined data in an offer. */
#define VMBUS_SERVER_CHANNEL_INIT_MAXIMUM_OFFER_DATA 120

/* ---- callbacks ---- */

/*
 * The callbacks of one channel never overlap its state callbacks; ProcessPacket and
 * ProcessingComplete of one channel never overlap each other. Which thread calls is not specified.
 * VmbChannelEnable, Disable, Start, Pause, Cleanup, the Save functions and RestoreFromBuffer of the
 * same channel must not be called from any callback.
 */

/**
 * A session begins: the rings are shared. Both ends, PASSIVE_LEVEL. The client may create GPADLs,
 * the server may map them. Packets may be sent and are queued until the channel runs.
 *
 * @return Success opens the channel. A failure rolls back: nothing but this callback has been
 * called, the server refuses the guest with this status and keeps its offer, the client closes and
 * is disabled.
 */
typedef NTSTATUS EVT_VMB_CHANNEL_OPENED(_In_ VMBCHANNEL Channel);
typedef EVT_VMB_CHANNEL_OPENED *PFN_VMB_CHANNEL_OPENED;

/**
 * The session ends; the last callback of it. Both ends, PASSIVE_LEVEL. All outgoing packets have
 * had their routines. The client must delete its GPADLs here at the latest, the server unmap its
 * mappings. Then a client is disabled, and a server disabled too if VmbChannelDisable was the
 * cause, else closed with its offer standing (packets it sends from here on wait for the next
 * session).
 */
typedef VOID EVT_VMB_CHANNEL_CLOSED(_In_ VMBCHANNEL Channel);
typedef EVT_VMB_CHANNEL_CLOSED *PFN_VMB_CHANNEL_CLOSED;

/**
 * The channel stops running: pause, disable, or a close by either end. Both ends, PASSIVE_LEVEL.
 * EvtVmbChannelProcessPacket is neither running nor called again until the next start. The driver
 * stops sending and sees to it that every packet it still holds is completed, from any thread: the
 * library waits for that after this callback. Whether the other end completed outgoing packets is
 * left open.
 */
typedef VOID EVT_VMB_CHANNEL_SUSPEND(_In_ VMBCHANNEL Channel);
typedef EVT_VMB_CHANNEL_SUSPEND *PFN_VMB_CHANNEL_SUSPEND;

/**
 * The channel became open and running; no packet has been delivered yet, none will be before this
 * returns. Both ends, PASSIVE_LEVEL. Sends are queued, so waiting here for an answer never ends:
 * use EvtVmbChannelPostStarted for that.
 */
typedef VOID EVT_VMB_CHANNEL_STARTED(_In_ VMBCHANNEL Channel);
typedef EVT_VMB_CHANNEL_STARTED *PFN_VMB_CHANNEL_STARTED;

/**
 * Called after EvtVmbChannelStarted, with packets flowing: EvtVmbChannelProcessPacket may run
 * before, during and after it. Both ends, PASSIVE_LEVEL. Waiting requests are allowed. Not called
 * when the channel is closing already; a close fails its waiting requests with
 * STATUS_DEVICE_REMOVED.
 */
typedef VOID EVT_VMB_CHANNEL_POST_STARTED(_In_ VMBCHANNEL Channel);
typedef EVT_VMB_CHANNEL_POST_STARTED *PFN_VMB_CHANNEL_POST_STARTED;

/**
 * A packet has arrived. Both ends, <= DISPATCH_LEVEL: at PASSIVE_LEVEL if the channel requires it
 * or the packet was deferred. One call at a time per channel, in the order sent.
 *
 * @param Packet        stays valid until VmbChannelPacketComplete or VmbChannelPacketFail, which
 * the driver must call exactly once, here or later, from any thread
 * @param Buffer        the payload, a private copy of the library's, stable until the packet ends
 * @param BufferLength  bytes
 * @param Flags         VMBUS_CHANNEL_PROCESS_PACKET_FLAGS
 */
typedef VOID EVT_VMB_CHANNEL_PROCESS_PACKET(_In_ VMBCHANNEL Channel,
					    _In_ VMBPACKETCOMPLETION Packet,
					    _In_reads_bytes_(BufferLength) PVOID Buffer,
					    _In_ UINT32 BufferLength, _In_ UINT32 Flags);
typedef EVT_VMB_CHANNEL_PROCESS_PACKET *PFN_VMB_CHANNEL_PROCESS_PACKET;

/**
 * A batch of packets has been delivered and delivery stops at least briefly. Both ends, IRQL as
 * EvtVmbChannelProcessPacket. The place to ring doorbells that were saved up.
 *
 * @param PacketsProcessed  packets delivered in the batch, at least 1; deferred ones do not count
 */
typedef VOID EVT_VMB_CHANNEL_PROCESSING_COMPLETE(_In_ VMBCHANNEL Channel,
						 _In_ UINT32 PacketsProcessed);
typedef EVT_VMB_CHANNEL_PROCESSING_COMPLETE *PFN_VMB_CHANNEL_PROCESSING_COMPLETE;

/**
 * A sent packet's transaction ended; called exactly once per successful send. Both ends,
 * <= DISPATCH_LEVEL. The packet is idle: it may be freed or sent again, here too.
 *
 * @param Status        STATUS_SUCCESS: the peer completed the packet or, where no completion was
 * asked for, it is in the ring; what the peer thinks of it is in Buffer. STATUS_DEVICE_REMOVED:
 * ended by a close, disable or rescind. STATUS_CANCELLED: cancelled.
 * @param Buffer        completion data, valid only during the call; NULL without data
 * @param BufferLength  bytes
 */
typedef VOID EVT_VMB_PACKET_COMPLETION_ROUTINE(_In_ VMBPACKET Packet, _In_ NTSTATUS Status,
					       _In_reads_bytes_opt_(BufferLength) PVOID Buffer,
					       _In_ UINT32 BufferLength);
typedef EVT_VMB_PACKET_COMPLETION_ROUTINE *PFN_VMB_PACKET_COMPLETION_ROUTINE;

/**
 * Saves the driver's own state of an outgoing packet that is in use. Server, PASSIVE_LEVEL. Called
 * first with SaveBufSize 0; a failure with *BytesNeeded set asks for a second call with that much
 * room.
 *
 * @return Success: nothing (more) to save. On the first call STATUS_BUFFER_TOO_SMALL with
 * *BytesNeeded; a failure with *BytesNeeded 0, or on the second call, ends the save with that
 * status.
 */
typedef NTSTATUS EVT_VMB_CHANNEL_SAVE_PACKET(_In_ VMBCHANNEL Channel, _In_ VMBPACKET Packet,
					     _Out_writes_bytes_opt_(SaveBufSize) PVOID SaveBuf,
					     _In_ UINT32 SaveBufSize, _Out_ PUINT32 BytesNeeded);
typedef EVT_VMB_CHANNEL_SAVE_PACKET *PFN_VMB_CHANNEL_SAVE_PACKET;

/**
 * Brings a saved packet back: allocates a packet, gives LibBuf to VmbPacketRestore and takes its
 * own state from SaveBuf. Server, PASSIVE_LEVEL, in VmbChannelRestoreFromBuffer, once per saved
 * packet in order. A success without VmbPacketRestore drops the transaction.
 */
typedef NTSTATUS EVT_VMB_CHANNEL_RESTORE_PACKET(_In_ VMBCHANNEL Channel,
						_In_reads_bytes_(LibBufSize) PVOID LibBuf,
						_In_ UINT32 LibBufSize,
						_In_reads_bytes_opt_(SaveBufSize) PVOID SaveBuf,
						_In_ UINT32 SaveBufSize);
typedef EVT_VMB_CHANNEL_RESTORE_PACKET *PFN_VMB_CHANNEL_RESTORE_PACKET;

/**
 * The client's device was found but connecting to it failed. Client, PASSIVE_LEVEL, in place of
 * EvtVmbChannelOpened, at most once per enable; the channel is disabled when it returns. Not called
 * when EvtVmbChannelOpened itself fails.
 */
typedef VOID EVT_VMB_CHANNEL_PNP_FAILURE(_In_ VMBCHANNEL Channel, _In_ NTSTATUS FailureStatus);
typedef EVT_VMB_CHANNEL_PNP_FAILURE *PFN_VMB_CHANNEL_PNP_FAILURE;

/** The state callbacks, for VmbChannelInitSetStateChangeCallbacks. All of them may be NULL; a NULL
 *  EvtChannelOpened is one that succeeds. */
typedef struct _VMB_CHANNEL_STATE_CHANGE_CALLBACKS {
	ULONG Version; /**< 1 */
	ULONG Size;    /**< of this structure */
	PFN_VMB_CHANNEL_OPENED EvtChannelOpened;
	PFN_VMB_CHANNEL_CLOSED EvtChannelClosed;
	PFN_VMB_CHANNEL_SUSPEND EvtChannelSuspend;
	PFN_VMB_CHANNEL_STARTED EvtChannelStarted;
	PFN_VMB_CHANNEL_POST_STARTED EvtChannelPostStarted;
} VMB_CHANNEL_STATE_CHANGE_CALLBACKS, *PVMB_CHANNEL_STATE_CHANGE_CALLBACKS;

/** Empties the structure and sets its version and size. Both ends, any IRQL. */
FORCEINLINE VOID
VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(_Out_ PVMB_CHANNEL_STATE_CHANGE_CALLBACKS Callbacks)
{
	Callbacks->Version = 1;
	Callbacks->Size = (ULONG)sizeof(*Callbacks);
	Callbacks->EvtChannelOpened = NULL;
	Callbacks->EvtChannelClosed = NULL;
	Callbacks->EvtChannelSuspend = NULL;
	Callbacks->EvtChannelStarted = NULL;
	Callbacks->EvtChannelPostStarted = NULL;
}

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
 * The memory-mapped I/O space reserved for the channel. Both ends, only while open (otherwise a
 * contract violation), <= DISPATCH_LEVEL.
 *
 * @param MmioAddress  guest physical address; 0 when there is none, and on a server
 * @param MmioSize     bytes; 0 likewise
 */
FN_VMB_CHANNEL_GET_MMIO_SPACE VmbChannelGetMmioSpace;

/* ---- channel configuration (disabled channels, PASSIVE_LEVEL) ---- */

typedef NTSTATUS FN_VMB_CHANNEL_INIT_SET_CLIENT_CONTEXT_SIZE(_In_ VMBCHANNEL Channel,
							     _In_ UINT32 ContextSize);
typedef FN_VMB_CHANNEL_INIT_SET_CLIENT_CONTEXT_SIZE *PFN_VMB_CHANNEL_INIT_SET_CLIENT_CONTEXT_SIZE;
/**
 * Reserves an area of the driver's own on every incoming packet. Both ends.
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
 * @param MmioMegabytesOptional  megabytes that would help
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
 * nothing more until the channel is opened again. The channel stays open and can send. Both ends,
 * <= DISPATCH_LEVEL.
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

/* ---- interface tables ---- */

/*
 * What a driver queries for in place of linking to the functions above: every member has the name
 * of the function and points to it. The member lists are macros because a structure embedded
 * without a name (If.Size, If.VmbChannelAllocate) is not standard C or C++.
 */
#define KMCL_INTERFACE_MEMBERS                   \
	USHORT Size;                             \
	USHORT Version;                          \
	PVOID Context;                           \
	PINTERFACE_REFERENCE InterfaceReference; \
	PINTERFACE_DEREFERENCE InterfaceDereference;

#define KMCL_CLIENT_MEMBERS_V1                                                                     \
	PFN_VMB_CHANNEL_ALLOCATE VmbChannelAllocate;                                               \
	PFN_VMB_CHANNEL_CLEANUP VmbChannelCleanup;                                                 \
	PFN_VMB_CHANNEL_CREATE_GPADL_FROM_BUFFER VmbChannelCreateGpadlFromBuffer;                  \
	PFN_VMB_CHANNEL_CREATE_GPADL_FROM_MDL VmbChannelCreateGpadlFromMdl;                        \
	PFN_VMB_CHANNEL_DELETE_GPADL VmbChannelDeleteGpadl;                                        \
	PFN_VMB_CHANNEL_DISABLE VmbChannelDisable;                                                 \
	PFN_VMB_CHANNEL_ENABLE VmbChannelEnable;                                                   \
	PFN_VMB_CHANNEL_GET_INTERFACE_INSTANCE VmbChannelGetInterfaceInstance;                     \
	PFN_VMB_CHANNEL_GET_MMIO_SPACE VmbChannelGetMmioSpace;                                     \
	PFN_VMB_CHANNEL_GET_POINTER VmbChannelGetPointer;                                          \
	PFN_VMB_CHANNEL_INIT_SET_CLIENT_CONTEXT_SIZE VmbChannelInitSetClientContextSize;           \
	PFN_VMB_CHANNEL_INIT_SET_FLAGS VmbChannelInitSetFlags;                                     \
	PFN_VMB_CHANNEL_INIT_SET_FRIENDLY_NAME VmbChannelInitSetFriendlyName;                      \
	PFN_VMB_CHANNEL_INIT_SET_MAXIMUM_EXTERNAL_DATA VmbChannelInitSetMaximumExternalData;       \
	PFN_VMB_CHANNEL_INIT_SET_MAXIMUM_PACKET_SIZE VmbChannelInitSetMaximumPacketSize;           \
	PFN_VMB_CHANNEL_INIT_SET_PROCESS_PACKET_CALLBACKS VmbChannelInitSetProcessPacketCallbacks; \
	PFN_VMB_CHANNEL_INIT_SET_STATE_CHANGE_CALLBACKS VmbChannelInitSetStateChangeCallbacks;     \
	PFN_VMB_CHANNEL_PACKET_COMPLETE VmbChannelPacketComplete;                                  \
	PFN_VMB_CHANNEL_PACKET_DEFER_TO_PASSIVE VmbChannelPacketDeferToPassive;                    \
	PFN_VMB_CHANNEL_PACKET_FAIL VmbChannelPacketFail;                                          \
	PFN_VMB_CHANNEL_PACKET_GET_EXTERNAL_DATA VmbChannelPacketGetExternalData;                  \
	PFN_VMB_CHANNEL_PAUSE VmbChannelPause;                                                     \
	PFN_VMB_CHANNEL_SEND_SYNCHRONOUS_REQUEST VmbChannelSendSynchronousRequest;                 \
	PFN_VMB_CHANNEL_SET_INCOMING_PROCESSING_AT_PASSIVE                                         \
	VmbChannelSetIncomingProcessingAtPassive;                                                  \
	PFN_VMB_CHANNEL_SET_INTERRUPT_LATENCY VmbChannelSetInterruptLatency;                       \
	PFN_VMB_CHANNEL_SET_POINTER VmbChannelSetPointer;                                          \
	PFN_VMB_CHANNEL_SET_TRANSACTION_QUOTA VmbChannelSetTransactionQuota;                       \
	PFN_VMB_CHANNEL_SIZEOF_PACKET VmbChannelSizeofPacket;                                      \
	PFN_VMB_CHANNEL_START VmbChannelStart;                                                     \
	PFN_VMB_CLIENT_CHANNEL_INIT_SET_RING_BUFFER_PAGE_COUNT                                     \
	VmbClientChannelInitSetRingBufferPageCount;                                                \
	PFN_VMB_CLIENT_CHANNEL_INIT_SET_TARGET_PNP VmbClientChannelInitSetTargetPnp;               \
	PFN_VMB_PACKET_ALLOCATE VmbPacketAllocate;                                                 \
	PFN_VMB_PACKET_FREE VmbPacketFree;                                                         \
	PFN_VMB_PACKET_GET_CHANNEL VmbPacketGetChannel;                                            \
	PFN_VMB_PACKET_GET_POINTER VmbPacketGetPointer;                                            \
	PFN_VMB_PACKET_INITIALIZE VmbPacketInitialize;                                             \
	PFN_VMB_PACKET_SEND VmbPacketSend;                                                         \
	PFN_VMB_PACKET_SEND_WITH_EXTERNAL_MDL VmbPacketSendWithExternalMdl;                        \
	PFN_VMB_PACKET_SEND_WITH_EXTERNAL_PFNS VmbPacketSendWithExternalPfns;                      \
	PFN_VMB_PACKET_SET_COMPLETION_ROUTINE VmbPacketSetCompletionRoutine;                       \
	PFN_VMB_PACKET_SET_POINTER VmbPacketSetPointer;

#define KMCL_SERVER_ONLY_MEMBERS_V1                                                          \
	PFN_VMB_CHANNEL_MAP_GPADL VmbChannelMapGpadl;                                        \
	PFN_VMB_CHANNEL_RESTORE_FROM_BUFFER VmbChannelRestoreFromBuffer;                     \
	PFN_VMB_CHANNEL_SAVE_BEGIN VmbChannelSaveBegin;                                      \
	PFN_VMB_CHANNEL_SAVE_CONTINUE VmbChannelSaveContinue;                                \
	PFN_VMB_CHANNEL_SAVE_END VmbChannelSaveEnd;                                          \
	PFN_VMB_CHANNEL_UNMAP_GPADL VmbChannelUnmapGpadl;                                    \
	PFN_VMB_CONVERT_VMBUS_HANDLE_TO_KERNEL_HANDLE VmbConvertVmbusHandleToKernelHandle;   \
	PFN_VMB_PACKET_RESTORE VmbPacketRestore;                                             \
	PFN_VMB_SERVER_CHANNEL_INIT_SET_FLAGS VmbServerChannelInitSetFlags;                  \
	PFN_VMB_SERVER_CHANNEL_INIT_SET_MMIO_MEGABYTES VmbServerChannelInitSetMmioMegabytes; \
	PFN_VMB_SERVER_CHANNEL_INIT_SET_SAVE_RESTORE_PACKET_CALLBACKS                        \
	VmbServerChannelInitSetSaveRestorePacketCallbacks;                                   \
	PFN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_INTERFACE_ID                                  \
	VmbServerChannelInitSetTargetInterfaceId;                                            \
	PFN_VMB_SERVER_CHANNEL_INIT_SET_TARGET_VTL VmbServerChannelInitSetTargetVtl;         \
	PFN_VMB_SERVER_CHANNEL_INIT_SET_VMBUS_HANDLE VmbServerChannelInitSetVmbusHandle;

/** The functions that a client endpoint may use, and a server endpoint shares. */
typedef struct _KMCL_CLIENT_INTERFACE_V1 {
	__extension__ struct {
		KMCL_INTERFACE_MEMBERS
	};
	__extension__ struct {
		KMCL_CLIENT_MEMBERS_V1
	};
} KMCL_CLIENT_INTERFACE_V1, *PKMCL_CLIENT_INTERFACE_V1;

/** The functions that only a server endpoint has. */
typedef struct _KMCL_SERVER_ONLY_METHODS {
	KMCL_SERVER_ONLY_MEMBERS_V1
} KMCL_SERVER_ONLY_METHODS;

/** Both. */
typedef struct _KMCL_SERVER_INTERFACE_V1 {
	__extension__ struct {
		KMCL_INTERFACE_MEMBERS
	};
	__extension__ struct {
		KMCL_CLIENT_MEMBERS_V1
	};
	__extension__ struct {
		KMCL_SERVER_ONLY_MEMBERS_V1
	};
} KMCL_SERVER_INTERFACE_V1, *PKMCL_SERVER_INTERFACE_V1;

/*
 * The numbers and GUIDs behind these names are not published by their owner: these are OpenKMCL's
 * own and do not change. Drivers use the names.
 */
#define KMCL_CLIENT_INTERFACE_VERSION_V1     1
#define KMCL_CLIENT_INTERFACE_VERSION_LATEST KMCL_CLIENT_INTERFACE_VERSION_V1
#define KMCL_SERVER_INTERFACE_VERSION_V1     1
#define KMCL_SERVER_INTERFACE_VERSION_LATEST KMCL_SERVER_INTERFACE_VERSION_V1

/* {0f8f864f-1eff-4e19-8c00-126aa036e619} */
DEFINE_GUID(KMCL_CLIENT_INTERFACE_TYPE, 0x0f8f864f, 0x1eff, 0x4e19, 0x8c, 0x00, 0x12, 0x6a, 0xa0,
	    0x36, 0xe6, 0x19);
/* {07173279-73c2-4ea2-b258-6f1ec9bc2349} */
DEFINE_GUID(KMCL_SERVER_INTERFACE_TYPE, 0x07173279, 0x73c2, 0x4ea2, 0xb2, 0x58, 0x6f, 0x1e, 0xc9,
	    0xbc, 0x23, 0x49);

KMCL_STATIC_ASSERT(sizeof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS) == 8 + 5 * sizeof(PVOID));
KMCL_STATIC_ASSERT(offsetof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS, EvtChannelOpened) == 8);
KMCL_STATIC_ASSERT(sizeof(KMCL_CLIENT_INTERFACE_V1) == sizeof(INTERFACE) + 41 * sizeof(PVOID));
KMCL_STATIC_ASSERT(offsetof(KMCL_CLIENT_INTERFACE_V1, InterfaceDereference) ==
		   offsetof(INTERFACE, InterfaceDereference));
KMCL_STATIC_ASSERT(offsetof(KMCL_CLIENT_INTERFACE_V1, VmbChannelAllocate) == sizeof(INTERFACE));
KMCL_STATIC_ASSERT(offsetof(KMCL_CLIENT_INTERFACE_V1, VmbPacketSetPointer) ==
		   sizeof(INTERFACE) + 40 * sizeof(PVOID));
KMCL_STATIC_ASSERT(sizeof(KMCL_SERVER_ONLY_METHODS) == 14 * sizeof(PVOID));
KMCL_STATIC_ASSERT(sizeof(KMCL_SERVER_INTERFACE_V1) ==
		   sizeof(KMCL_CLIENT_INTERFACE_V1) + sizeof(KMCL_SERVER_ONLY_METHODS));
KMCL_STATIC_ASSERT(offsetof(KMCL_SERVER_INTERFACE_V1, VmbPacketSetPointer) ==
		   offsetof(KMCL_CLIENT_INTERFACE_V1, VmbPacketSetPointer));
KMCL_STATIC_ASSERT(offsetof(KMCL_SERVER_INTERFACE_V1, VmbChannelMapGpadl) ==
		   sizeof(KMCL_CLIENT_INTERFACE_V1));

#ifdef __cplusplus
}
#endif

#endif
