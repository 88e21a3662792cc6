/* SPDX-License-Identifier: MIT */
/*
 * Configuration: every Init function validates, stores and says what was wrong. The settings are
 * read-only from Enable until the channel is disabled again.
 */
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/verifier.h"

/* The channel if it may be configured now, else NULL: the caller says STATUS_INVALID_PARAMETER_1.
 */
static struct kmcl_channel *configurable_for(VMBCHANNEL handle, const char *function)
{
	struct kmcl_channel *ch = kmcl_channel_of(handle);

	if (!ch || kmcl_above_passive(function))
		return NULL;
	if (kmcl_link(ch) == KMCL_LINK_DISABLED && !atomic_load(&ch->enabling))
		return ch;
	kmcl_report(ch, "init-after-enable", "%s of a channel that is enabled", function);
	return NULL;
}
#define configurable(handle) configurable_for(handle, __func__)

static struct kmcl_channel *configurable_end_for(VMBCHANNEL handle, bool server,
						 const char *function)
{
	struct kmcl_channel *ch = configurable_for(handle, function);

	return ch && ch->server == server ? ch : NULL;
}
#define configurable_end(handle, server) configurable_end_for(handle, server, __func__)

/* Packet objects are sized by these settings: none may exist. */
static struct kmcl_channel *resizable_for(VMBCHANNEL handle, const char *function)
{
	struct kmcl_channel *ch = configurable_for(handle, function);

	return ch && !atomic_load(&ch->packets.live) ? ch : NULL;
}
#define resizable(handle) resizable_for(handle, __func__)

static bool guid_is_zero(const GUID *guid)
{
	static const GUID zero;

	return memcmp(guid, &zero, sizeof(zero)) == 0;
}

NTSTATUS VmbChannelInitSetClientContextSize(VMBCHANNEL Channel, UINT32 ContextSize)
{
	struct kmcl_channel *ch = resizable(Channel);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	ch->config.context_size = ContextSize;
	return STATUS_SUCCESS;
}

NTSTATUS VmbChannelInitSetFlags(VMBCHANNEL Channel, UINT32 Flags)
{
	struct kmcl_channel *ch = configurable(Channel);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (Flags & ~(UINT32)VMBUS_CHANNEL_INIT_FLAGS)
		return STATUS_INVALID_PARAMETER_2;
	ch->config.flags = Flags;
	return STATUS_SUCCESS;
}

/* UTF-16 to UTF-8, cut where `room` ends, a lone surrogate replaced. */
static void to_utf8(char *out, size_t room, const uint16_t *in, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		uint32_t c = in[i];

		if (c >= 0xd800 && c < 0xdc00 && i + 1 < count && in[i + 1] >= 0xdc00 &&
		    in[i + 1] < 0xe000)
			c = 0x10000 + ((c - 0xd800) << 10) + (in[++i] - 0xdc00u);
		else if (c >= 0xd800 && c < 0xe000)
			c = 0xfffd;
		if (n + 4 >= room)
			break;
		if (c < 0x80) {
			out[n++] = (char)c;
		} else if (c < 0x800) {
			out[n++] = (char)(0xc0 | c >> 6);
			out[n++] = (char)(0x80 | (c & 0x3f));
		} else if (c < 0x10000) {
			out[n++] = (char)(0xe0 | c >> 12);
			out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
			out[n++] = (char)(0x80 | (c & 0x3f));
		} else {
			out[n++] = (char)(0xf0 | c >> 18);
			out[n++] = (char)(0x80 | (c >> 12 & 0x3f));
			out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
			out[n++] = (char)(0x80 | (c & 0x3f));
		}
	}
	out[n] = 0;
}

NTSTATUS VmbChannelInitSetFriendlyName(VMBCHANNEL Channel, PCUNICODE_STRING Name)
{
	struct kmcl_channel *ch = configurable(Channel);
	uint16_t copy[sizeof(ch->config.name)];
	char name[sizeof(ch->config.name)];
	size_t count;

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!Name || Name->Length % 2 || (Name->Length && !Name->Buffer))
		return STATUS_INVALID_PARAMETER_2;
	count = Name->Length / 2;
	if (count > ARRAYSIZE(copy))
		count = ARRAYSIZE(copy);
	if (count)
		memcpy(copy, Name->Buffer, count * 2);
	to_utf8(name, sizeof(name), copy, count);
	kmcl_channel_set_name(ch, name);
	return STATUS_SUCCESS;
}

NTSTATUS VmbChannelInitSetMaximumExternalData(VMBCHANNEL Channel, UINT32 DataSize,
					      UINT32 ChainLength)
{
	struct kmcl_channel *ch = resizable(Channel);
	uint64_t header;

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!DataSize)
		return STATUS_INVALID_PARAMETER_2;
	if (!ChainLength)
		return STATUS_INVALID_PARAMETER_3;
	/* what must be describable: the data, in that many pieces, each with a partial page at both
	 * ends */
	header = 24 + 24ull * ChainLength + 8 * ((uint64_t)DataSize / PAGE_SIZE + 1);
	if (header > 0xffffull * 8)
		return STATUS_INVALID_PARAMETER_2;
	ch->config.max_external = DataSize;
	ch->config.max_chain = ChainLength;
	return STATUS_SUCCESS;
}

NTSTATUS VmbChannelInitSetMaximumPacketSize(VMBCHANNEL Channel, UINT32 PacketSize)
{
	struct kmcl_channel *ch = resizable(Channel);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!PacketSize || (((uint64_t)PacketSize + 7) & ~7ull) + 16 > 0xffffull * 8)
		return STATUS_INVALID_PARAMETER_2;
	ch->config.max_packet = PacketSize;
	return STATUS_SUCCESS;
}

NTSTATUS
VmbChannelInitSetProcessPacketCallbacks(
	VMBCHANNEL Channel, PFN_VMB_CHANNEL_PROCESS_PACKET ProcessPacketCallback,
	PFN_VMB_CHANNEL_PROCESSING_COMPLETE ProcessingCompleteCallback)
{
	struct kmcl_channel *ch = configurable(Channel);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!ProcessPacketCallback)
		return STATUS_INVALID_PARAMETER_2;
	ch->config.process = ProcessPacketCallback;
	ch->config.processing_complete = ProcessingCompleteCallback;
	return STATUS_SUCCESS;
}

NTSTATUS
VmbChannelInitSetStateChangeCallbacks(VMBCHANNEL Channel,
				      PVMB_CHANNEL_STATE_CHANGE_CALLBACKS StateChangeCallbacks)
{
	struct kmcl_channel *ch = configurable(Channel);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!StateChangeCallbacks || StateChangeCallbacks->Version != 1 ||
	    StateChangeCallbacks->Size != sizeof(*StateChangeCallbacks))
		return STATUS_INVALID_PARAMETER_2;
	ch->config.state = *StateChangeCallbacks;
	return STATUS_SUCCESS;
}

NTSTATUS VmbClientChannelInitSetRingBufferPageCount(VMBCHANNEL Channel, UINT32 IncomingPageCount,
						    UINT32 OutgoingPageCount)
{
	struct kmcl_channel *ch = configurable_end(Channel, false);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (IncomingPageCount < 2 || IncomingPageCount > KMCL_MAX_GPADL_PAGES - 2)
		return STATUS_INVALID_PARAMETER_2;
	if (OutgoingPageCount < 2 || OutgoingPageCount > KMCL_MAX_GPADL_PAGES - IncomingPageCount)
		return STATUS_INVALID_PARAMETER_3;
	ch->config.in_pages = IncomingPageCount;
	ch->config.out_pages = OutgoingPageCount;
	return STATUS_SUCCESS;
}

NTSTATUS VmbClientChannelInitSetTargetPnp(VMBCHANNEL Channel, LPCGUID InterfaceType,
					  LPCGUID InterfaceInstance,
					  PFN_VMB_CHANNEL_PNP_FAILURE PnpFailureCallback)
{
	struct kmcl_channel *ch = configurable_end(Channel, false);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!InterfaceType)
		return STATUS_INVALID_PARAMETER_2;
	ch->config.type = *InterfaceType;
	ch->config.any_instance = InterfaceInstance == NULL;
	if (InterfaceInstance)
		ch->config.instance = *InterfaceInstance;
	else
		memset(&ch->config.instance, 0, sizeof(ch->config.instance));
	ch->config.pnp_failure = PnpFailureCallback;
	ch->config.targeted = true;
	return STATUS_SUCCESS;
}

NTSTATUS VmbServerChannelInitSetFlags(VMBCHANNEL Channel, UINT32 Flags)
{
	struct kmcl_channel *ch = configurable_end(Channel, true);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (Flags & ~(UINT32)VMBUS_SERVER_CHANNEL_INIT_FLAGS)
		return STATUS_INVALID_PARAMETER_2;
	ch->config.server_flags = Flags;
	return STATUS_SUCCESS;
}

NTSTATUS VmbServerChannelInitSetMmioMegabytes(VMBCHANNEL Channel, UINT16 MmioMegabytes,
					      UINT16 MmioMegabytesOptional)
{
	struct kmcl_channel *ch = configurable_end(Channel, true);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!MmioMegabytes && !MmioMegabytesOptional)
		return STATUS_INVALID_PARAMETER;
	ch->config.mmio = MmioMegabytes;
	ch->config.mmio_optional = MmioMegabytesOptional;
	return STATUS_SUCCESS;
}

NTSTATUS
VmbServerChannelInitSetSaveRestorePacketCallbacks(
	VMBCHANNEL Channel, PFN_VMB_CHANNEL_SAVE_PACKET SavePacketCallback,
	PFN_VMB_CHANNEL_RESTORE_PACKET RestorePacketCallback)
{
	struct kmcl_channel *ch = configurable_end(Channel, true);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (!SavePacketCallback)
		return STATUS_INVALID_PARAMETER_2;
	if (!RestorePacketCallback)
		return STATUS_INVALID_PARAMETER_3;
	ch->config.save_packet = SavePacketCallback;
	ch->config.restore_packet = RestorePacketCallback;
	return STATUS_SUCCESS;
}

NTSTATUS VmbServerChannelInitSetTargetInterfaceId(VMBCHANNEL Channel, GUID InterfaceType,
						  GUID InterfaceInstance)
{
	struct kmcl_channel *ch = configurable_end(Channel, true);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (guid_is_zero(&InterfaceType))
		return STATUS_INVALID_PARAMETER_2;
	if (guid_is_zero(&InterfaceInstance))
		return STATUS_INVALID_PARAMETER_3;
	ch->config.type = InterfaceType;
	ch->config.instance = InterfaceInstance;
	ch->config.targeted = true;
	return STATUS_SUCCESS;
}

NTSTATUS VmbServerChannelInitSetTargetVtl(VMBCHANNEL Channel, UINT8 TargetVtl)
{
	struct kmcl_channel *ch = configurable_end(Channel, true);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (TargetVtl > 2)
		return STATUS_INVALID_PARAMETER_2;
	ch->config.vtl = TargetVtl;
	return STATUS_SUCCESS;
}

NTSTATUS VmbServerChannelInitSetVmbusHandle(VMBCHANNEL Channel, HANDLE VmbusHandle)
{
	struct kmcl_channel *ch = configurable_end(Channel, true);
	struct kmcl_bus_handle *bus;

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	bus = nt_handle_reference(VmbusHandle, &kmcl_bus_handle_type);
	if (!bus)
		return STATUS_INVALID_HANDLE;
	if (ch->config.bus_handle)
		kmcl_bus_handle_type.dereference(ch->config.bus_handle);
	ch->config.bus_handle = bus;
	kmcl_channel_set_bus(ch, bus->ep);
	return STATUS_SUCCESS;
}
