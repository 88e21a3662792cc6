/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The functions of KMCL through the interface that the driver has from the bus, instead of linked
 * ones: files that include this need no change to be compiled either way.
 */
#ifndef ECHO_KMCL_H
#define ECHO_KMCL_H

#include <vmbuskernelmodeclientlibapi.h>

/** Filled before the first channel is made; the same for every device of the bus. */
extern KMCL_CLIENT_INTERFACE_V1 EchoKmcl;

#define VmbChannelAllocate                      (EchoKmcl.VmbChannelAllocate)
#define VmbChannelCleanup                       (EchoKmcl.VmbChannelCleanup)
#define VmbChannelCreateGpadlFromBuffer         (EchoKmcl.VmbChannelCreateGpadlFromBuffer)
#define VmbChannelDeleteGpadl                   (EchoKmcl.VmbChannelDeleteGpadl)
#define VmbChannelDisable                       (EchoKmcl.VmbChannelDisable)
#define VmbChannelEnable                        (EchoKmcl.VmbChannelEnable)
#define VmbChannelGetInterfaceInstance          (EchoKmcl.VmbChannelGetInterfaceInstance)
#define VmbChannelGetPointer                    (EchoKmcl.VmbChannelGetPointer)
#define VmbChannelInitSetFriendlyName           (EchoKmcl.VmbChannelInitSetFriendlyName)
#define VmbChannelInitSetMaximumExternalData    (EchoKmcl.VmbChannelInitSetMaximumExternalData)
#define VmbChannelInitSetMaximumPacketSize      (EchoKmcl.VmbChannelInitSetMaximumPacketSize)
#define VmbChannelInitSetProcessPacketCallbacks (EchoKmcl.VmbChannelInitSetProcessPacketCallbacks)
#define VmbChannelInitSetStateChangeCallbacks   (EchoKmcl.VmbChannelInitSetStateChangeCallbacks)
#define VmbChannelPacketComplete                (EchoKmcl.VmbChannelPacketComplete)
#define VmbChannelPause                         (EchoKmcl.VmbChannelPause)
#define VmbChannelSetPointer                    (EchoKmcl.VmbChannelSetPointer)
#define VmbChannelSetTransactionQuota           (EchoKmcl.VmbChannelSetTransactionQuota)
#define VmbChannelStart                         (EchoKmcl.VmbChannelStart)
#define VmbClientChannelInitSetRingBufferPageCount \
	(EchoKmcl.VmbClientChannelInitSetRingBufferPageCount)
#define VmbPacketAllocate             (EchoKmcl.VmbPacketAllocate)
#define VmbPacketFree                 (EchoKmcl.VmbPacketFree)
#define VmbPacketGetPointer           (EchoKmcl.VmbPacketGetPointer)
#define VmbPacketSend                 (EchoKmcl.VmbPacketSend)
#define VmbPacketSendWithExternalMdl  (EchoKmcl.VmbPacketSendWithExternalMdl)
#define VmbPacketSendWithExternalPfns (EchoKmcl.VmbPacketSendWithExternalPfns)
#define VmbPacketSetCompletionRoutine (EchoKmcl.VmbPacketSetCompletionRoutine)
#define VmbPacketSetPointer           (EchoKmcl.VmbPacketSetPointer)

#endif
