/* SPDX-License-Identifier: MIT */
/*
 * What a channel is given beside its rings: MMIO space, a monitor's latency, its partition's clock.
 */
#include <openkmcl_ext.h>

#include "kmcl/channel.h"
#include "kmcl/verifier.h"

/* Only a client has any: nothing is stored on a server's end. */
VOID VmbChannelGetMmioSpace(VMBCHANNEL Channel, UINT64 *MmioAddress, UINT64 *MmioSize)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch || !MmioAddress || !MmioSize) {
		kmcl_violation(ch, "bad-handle", "VmbChannelGetMmioSpace: %s",
			       ch ? "no room for the answer" : "not a channel");
		return;
	}
	if (kmcl_link(ch) != KMCL_LINK_OPEN) {
		kmcl_violation(ch, "mmio-before-open",
			       "VmbChannelGetMmioSpace: the channel is not open");
		return;
	}
	*MmioAddress = atomic_load(&ch->mmio_gpa);
	*MmioSize = (UINT64)atomic_load(&ch->mmio_megabytes) << 20;
}

NTSTATUS VmbChannelSetInterruptLatency(VMBCHANNEL Channel, UINT16 Latency, PUINT16 OriginalLatency)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch || ch->server)
		return STATUS_INVALID_PARAMETER_1;
	if (!OriginalLatency)
		return STATUS_INVALID_PARAMETER_3;
	if (kmcl_link(ch) != KMCL_LINK_OPEN || kmcl_above_passive("VmbChannelSetInterruptLatency"))
		return STATUS_INVALID_DEVICE_STATE;
	if (part_client_set_latency(ch->claimed, Latency, OriginalLatency))
		return STATUS_NOT_SUPPORTED;
	return STATUS_SUCCESS;
}

#define EPOCH_1601 116444736000000000ull /* 1970-01-01, in units of 100 ns since 1601 */

/* The guest reads its counter by itself; the host may be where it cannot be seen. */
NTSTATUS KmclChannelQueryReferenceTime(VMBCHANNEL Channel, PUINT64 ReferenceTime,
				       PUINT64 SystemTime)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);
	struct part_endpoint *ep;
	uint64_t real_ns;

	if (!ch || !ch->server)
		return STATUS_INVALID_PARAMETER_1;
	if (!ReferenceTime)
		return STATUS_INVALID_PARAMETER_2;
	if (!SystemTime)
		return STATUS_INVALID_PARAMETER_3;
	ep = ch->config.bus;
	if (!ep || part_server_clocks(ep, ReferenceTime, &real_ns))
		return STATUS_NOT_SUPPORTED;
	*SystemTime = real_ns / 100 + EPOCH_1601;
	return STATUS_SUCCESS;
}
