/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What OpenKMCL adds to the DDI. A driver that includes this builds nowhere else.
 */
#ifndef OPENKMCL_EXT_H
#define OPENKMCL_EXT_H

#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

EXTERN_C_START

/**
 * The largest buffer that VmbPacketSend or VmbChannelPacketComplete can carry on this channel as it
 * is open now: what the outgoing ring can ever hold, which the client chose, but not more than
 * MaximumPacketSize. A server answers a request for more with an error of its protocol.
 *
 * <= DISPATCH_LEVEL.
 * @return bytes; 0: the channel is not open.
 */
UINT32 KmclChannelMaximumOutgoingPacket(VMBCHANNEL Channel);

/**
 * The client context area of an incoming packet: as many bytes as
 * VmbChannelInitSetClientContextSize asked for, 16-byte aligned, zeroes when the packet is first
 * delivered and kept over a deferral. Valid until the packet ends.
 *
 * <= DISPATCH_LEVEL.
 * @return NULL: the size is 0.
 */
PVOID KmclPacketClientContext(VMBPACKETCOMPLETION PacketCompletionContext);

EXTERN_C_END

#endif
