/* SPDX-License-Identifier: MIT */
/*
 * What a channel is given beside its rings: MMIO space and a monitor's latency.
 */
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
