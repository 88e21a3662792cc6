/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The DDI's handles, flags and callbacks. Drivers include
 * <vmbuskernelmodeclientlibapi.h>, which says how to read the comments.
 */
#ifndef OPENKMCL_VMB_TYPES_H
#define OPENKMCL_VMB_TYPES_H

#include <ntddk.h>

#ifdef __cplusplus
extern "C" {
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

/** The channel is a pipe: each packet is a message of up to 16,384 bytes that arrives with exactly
 * the length that was sent. No transactions, no external data, and completing a message sends
 * nothing. */
#define VMBUS_CHANNEL_INIT_FLAG_IS_PIPE 0x1
#define VMBUS_CHANNEL_INIT_FLAGS        VMBUS_CHANNEL_INIT_FLAG_IS_PIPE

/** Marks the offer as one for clients of the offering side itself; with a bus in this process they
 * are whoever is on it. */
#define VMBUS_SERVER_CHANNEL_INIT_FLAG_LOOPBACK_OFFER             0x1
/** Asks the guest to publish a device interface whose GUID is the channel's type. */
#define VMBUS_SERVER_CHANNEL_INIT_FLAG_ENUMERATE_DEVICE_INTERFACE 0x2
/** The channel is offered in pipe mode (messages), and is a pipe (VMBUS_CHANNEL_INIT_FLAG_IS_PIPE).
 */
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

#ifdef __cplusplus
}
#endif

#endif
