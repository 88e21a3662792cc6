/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The DDI: the tables that a driver can query for. Drivers include
 * <vmbuskernelmodeclientlibapi.h>, which says how to read the comments.
 */
#ifndef OPENKMCL_VMB_INTERFACE_H
#define OPENKMCL_VMB_INTERFACE_H

#include <openkmcl/vmb_channel.h>
#include <openkmcl/vmb_gpadl.h>
#include <openkmcl/vmb_packet.h>

#ifdef __cplusplus
#include <cstddef>
#define KMCL_STATIC_ASSERT(what) static_assert(what, #what)
#else
#include <stddef.h>
#define KMCL_STATIC_ASSERT(what) _Static_assert(what, #what)
#endif

#ifdef __cplusplus
extern "C" {
#endif

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
