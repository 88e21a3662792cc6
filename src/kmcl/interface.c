/* SPDX-License-Identifier: MIT */
/*
 * Interface queries: what the bus answers to IRP_MN_QUERY_INTERFACE. The tables are filled from the
 * member lists of the public header, so that their order is the documented one and each entry the
 * exported function itself.
 */
#include <initguid.h>

#include "kmcl/channel.h"

#define CLIENT_FUNCTIONS                                                                          \
	.VmbChannelAllocate = VmbChannelAllocate, .VmbChannelCleanup = VmbChannelCleanup,         \
	.VmbChannelCreateGpadlFromBuffer = VmbChannelCreateGpadlFromBuffer,                       \
	.VmbChannelCreateGpadlFromMdl = VmbChannelCreateGpadlFromMdl,                             \
	.VmbChannelDeleteGpadl = VmbChannelDeleteGpadl, .VmbChannelDisable = VmbChannelDisable,   \
	.VmbChannelEnable = VmbChannelEnable,                                                     \
	.VmbChannelGetInterfaceInstance = VmbChannelGetInterfaceInstance,                         \
	.VmbChannelGetMmioSpace = VmbChannelGetMmioSpace,                                         \
	.VmbChannelGetPointer = VmbChannelGetPointer,                                             \
	.VmbChannelInitSetClientContextSize = VmbChannelInitSetClientContextSize,                 \
	.VmbChannelInitSetFlags = VmbChannelInitSetFlags,                                         \
	.VmbChannelInitSetFriendlyName = VmbChannelInitSetFriendlyName,                           \
	.VmbChannelInitSetMaximumExternalData = VmbChannelInitSetMaximumExternalData,             \
	.VmbChannelInitSetMaximumPacketSize = VmbChannelInitSetMaximumPacketSize,                 \
	.VmbChannelInitSetProcessPacketCallbacks = VmbChannelInitSetProcessPacketCallbacks,       \
	.VmbChannelInitSetStateChangeCallbacks = VmbChannelInitSetStateChangeCallbacks,           \
	.VmbChannelPacketComplete = VmbChannelPacketComplete,                                     \
	.VmbChannelPacketDeferToPassive = VmbChannelPacketDeferToPassive,                         \
	.VmbChannelPacketFail = VmbChannelPacketFail,                                             \
	.VmbChannelPacketGetExternalData = VmbChannelPacketGetExternalData,                       \
	.VmbChannelPause = VmbChannelPause,                                                       \
	.VmbChannelSendSynchronousRequest = VmbChannelSendSynchronousRequest,                     \
	.VmbChannelSetIncomingProcessingAtPassive = VmbChannelSetIncomingProcessingAtPassive,     \
	.VmbChannelSetInterruptLatency = VmbChannelSetInterruptLatency,                           \
	.VmbChannelSetPointer = VmbChannelSetPointer,                                             \
	.VmbChannelSetTransactionQuota = VmbChannelSetTransactionQuota,                           \
	.VmbChannelSizeofPacket = VmbChannelSizeofPacket, .VmbChannelStart = VmbChannelStart,     \
	.VmbClientChannelInitSetRingBufferPageCount = VmbClientChannelInitSetRingBufferPageCount, \
	.VmbClientChannelInitSetTargetPnp = VmbClientChannelInitSetTargetPnp,                     \
	.VmbPacketAllocate = VmbPacketAllocate, .VmbPacketFree = VmbPacketFree,                   \
	.VmbPacketGetChannel = VmbPacketGetChannel, .VmbPacketGetPointer = VmbPacketGetPointer,   \
	.VmbPacketInitialize = VmbPacketInitialize, .VmbPacketSend = VmbPacketSend,               \
	.VmbPacketSendWithExternalMdl = VmbPacketSendWithExternalMdl,                             \
	.VmbPacketSendWithExternalPfns = VmbPacketSendWithExternalPfns,                           \
	.VmbPacketSetCompletionRoutine = VmbPacketSetCompletionRoutine,                           \
	.VmbPacketSetPointer = VmbPacketSetPointer

static const KMCL_CLIENT_INTERFACE_V1 client_table = {
	.Size = sizeof(client_table),
	.Version = KMCL_CLIENT_INTERFACE_VERSION_V1,
	.InterfaceReference = nt_pdo_interface_reference,
	.InterfaceDereference = nt_pdo_interface_dereference,
	CLIENT_FUNCTIONS,
};

static const KMCL_SERVER_INTERFACE_V1 server_table = {
	.Size = sizeof(server_table),
	.Version = KMCL_SERVER_INTERFACE_VERSION_V1,
	.InterfaceReference = nt_pdo_interface_reference,
	.InterfaceDereference = nt_pdo_interface_dereference,
	CLIENT_FUNCTIONS,
	.VmbChannelMapGpadl = VmbChannelMapGpadl,
	.VmbChannelRestoreFromBuffer = VmbChannelRestoreFromBuffer,
	.VmbChannelSaveBegin = VmbChannelSaveBegin,
	.VmbChannelSaveContinue = VmbChannelSaveContinue,
	.VmbChannelSaveEnd = VmbChannelSaveEnd,
	.VmbChannelUnmapGpadl = VmbChannelUnmapGpadl,
	.VmbConvertVmbusHandleToKernelHandle = VmbConvertVmbusHandleToKernelHandle,
	.VmbPacketRestore = VmbPacketRestore,
	.VmbServerChannelInitSetFlags = VmbServerChannelInitSetFlags,
	.VmbServerChannelInitSetMmioMegabytes = VmbServerChannelInitSetMmioMegabytes,
	.VmbServerChannelInitSetSaveRestorePacketCallbacks =
		VmbServerChannelInitSetSaveRestorePacketCallbacks,
	.VmbServerChannelInitSetTargetInterfaceId = VmbServerChannelInitSetTargetInterfaceId,
	.VmbServerChannelInitSetTargetVtl = VmbServerChannelInitSetTargetVtl,
	.VmbServerChannelInitSetVmbusHandle = VmbServerChannelInitSetVmbusHandle,
};

static const struct {
	const GUID *type;
	USHORT version;
	USHORT size;
	const void *table;
} interfaces[] = {
	{&KMCL_CLIENT_INTERFACE_TYPE, KMCL_CLIENT_INTERFACE_VERSION_V1, sizeof(client_table),
	 &client_table},
	{&KMCL_SERVER_INTERFACE_TYPE, KMCL_SERVER_INTERFACE_VERSION_V1, sizeof(server_table),
	 &server_table},
};

/* A caller that was built against a later, longer table gets what this version has of it. */
static NTSTATUS query_interface(PDEVICE_OBJECT pdo, const GUID *type, USHORT size, USHORT version,
				PVOID data, INTERFACE *interface)
{
	if (!type || !interface)
		return STATUS_INVALID_PARAMETER;
	for (size_t i = 0; i < ARRAYSIZE(interfaces); i++) {
		if (memcmp(interfaces[i].type, type, sizeof(*type)) ||
		    interfaces[i].version != version)
			continue;
		if (size < interfaces[i].size)
			return STATUS_INVALID_PARAMETER;
		memcpy(interface, interfaces[i].table, interfaces[i].size);
		interface->Context = pdo;
		interface->InterfaceReference(pdo);
		return STATUS_SUCCESS;
	}
	return STATUS_NOT_SUPPORTED;
}

const struct nt_bus_ops kmcl_bus_ops = {
	.query_interface = query_interface,
	.name = "vmbus",
};
