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

/**
 * The reference time of the partition that the server channel's bus serves, as its guest reads it
 * (TIME_REF_COUNT, or the reference TSC page), and this machine's system time, both at one instant:
 * what a time synchronisation message is made of. Takes no lock and waits for nothing; under KVM it
 * keeps a reference, which is taken anew each second.
 *
 * Server channels, any state, <= DISPATCH_LEVEL.
 * @param ReferenceTime  units of 100 ns since the guest began
 * @param SystemTime     as of KeQuerySystemTimePrecise
 * @return STATUS_SUCCESS; STATUS_NOT_SUPPORTED: the guest's counter is out of this process's reach,
 *         or no guest is there; STATUS_INVALID_PARAMETER_1: not a server channel;
 *         STATUS_INVALID_PARAMETER_2, _3: NULL
 */
NTSTATUS KmclChannelQueryReferenceTime(VMBCHANNEL Channel, PUINT64 ReferenceTime,
				       PUINT64 SystemTime);

EXTERN_C_END

#endif
