/* SPDX-License-Identifier: MIT */
/*
 * The echo client's channel: how it is set up, its callbacks, and what device control asks of it.
 * Whether the driver is a plain one (echo_vsc.c) or one of the framework (echo_vsc_kmdf.c) makes no
 * difference here.
 */
#include "echo_vsc.h"

static EVT_VMB_CHANNEL_PROCESS_PACKET EchoProcessPacket;
static VOID EchoProcessPacket(VMBCHANNEL Channel, VMBPACKETCOMPLETION Packet, PVOID Buffer,
			      UINT32 BufferLength, UINT32 Flags)
{
	PECHO_CLIENT client = VmbChannelGetPointer(Channel);
	KIRQL irql;

	UNREFERENCED_PARAMETER(Flags);
	KeAcquireSpinLock(&client->Lock, &irql);
	client->Packets++;
	if (BufferLength != sizeof(struct echo_push))
		client->StrayPushes++;
	KeReleaseSpinLock(&client->Lock, irql);
	if (BufferLength == sizeof(struct echo_push))
		EchoRunPush(client, Buffer);
	VmbChannelPacketComplete(Packet, NULL, 0);
}

static EVT_VMB_CHANNEL_OPENED EchoOpened;
static NTSTATUS EchoOpened(VMBCHANNEL Channel)
{
	PECHO_CLIENT client = VmbChannelGetPointer(Channel);
	KIRQL irql;

	ExReInitializeRundownProtection(&client->Session);
	KeAcquireSpinLock(&client->Lock, &irql);
	client->Open = TRUE;
	client->Opens++;
	KeReleaseSpinLock(&client->Lock, irql);
	return STATUS_SUCCESS;
}

static VOID SetRunning(PECHO_CLIENT Client, BOOLEAN Running)
{
	KIRQL irql;

	KeAcquireSpinLock(&Client->Lock, &irql);
	Client->Running = Running;
	Client->Suspends += !Running;
	KeReleaseSpinLock(&Client->Lock, irql);
}

static EVT_VMB_CHANNEL_STARTED EchoStarted;
static VOID EchoStarted(VMBCHANNEL Channel)
{
	PECHO_CLIENT client = VmbChannelGetPointer(Channel);

	SetRunning(client, TRUE);
	EchoRunResume(client);
}

static EVT_VMB_CHANNEL_SUSPEND EchoSuspend;
static VOID EchoSuspend(VMBCHANNEL Channel)
{
	SetRunning(VmbChannelGetPointer(Channel), FALSE);
}

/* Everything sent has ended by now. What waits to be sent is told that the channel is gone; then
 * the runs let go of their GPADLs. */
static EVT_VMB_CHANNEL_CLOSED EchoClosed;
static VOID EchoClosed(VMBCHANNEL Channel)
{
	PECHO_CLIENT client = VmbChannelGetPointer(Channel);
	KIRQL irql;

	KeAcquireSpinLock(&client->Lock, &irql);
	client->Open = FALSE;
	KeReleaseSpinLock(&client->Lock, irql);
	EchoRunClosed(client);
	ExWaitForRundownProtectionRelease(&client->Session);
}

static NTSTATUS Configure(PECHO_CLIENT Client, const ECHO_OPTIONS *Options)
{
	static WCHAR name[] = L"echo client";
	UNICODE_STRING friendly;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	NTSTATUS status;

	RtlInitUnicodeString(&friendly, name);
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = EchoOpened;
	callbacks.EvtChannelStarted = EchoStarted;
	callbacks.EvtChannelSuspend = EchoSuspend;
	callbacks.EvtChannelClosed = EchoClosed;
	status = VmbChannelInitSetStateChangeCallbacks(Client->Channel, &callbacks);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetProcessPacketCallbacks(Client->Channel, EchoProcessPacket,
								 NULL);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumPacketSize(Client->Channel,
							    ECHO_RAW_MAXIMUM_REQUEST);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetMaximumExternalData(Client->Channel, Options->External,
							      ECHO_MAXIMUM_CHAIN);
	if (NT_SUCCESS(status))
		status = VmbClientChannelInitSetRingBufferPageCount(Client->Channel, Options->Ring,
								    Options->Ring);
	if (NT_SUCCESS(status))
		status = VmbChannelInitSetFriendlyName(Client->Channel, &friendly);
	return status;
}

NTSTATUS EchoCreateChannel(PECHO_CLIENT Client, PDEVICE_OBJECT Device, const ECHO_OPTIONS *Options)
{
	NTSTATUS status;

	KeInitializeSpinLock(&Client->Lock);
	InitializeListHead(&Client->Runs);
	InitializeListHead(&Client->Parked);
	ExInitializeRundownProtection(&Client->Session);
	ExWaitForRundownProtectionRelease(&Client->Session); /* until Opened */
	status = VmbChannelAllocate(Device, FALSE, &Client->Channel);
	if (!NT_SUCCESS(status))
		return status;
	VmbChannelSetPointer(Client->Channel, Client);
	VmbChannelSetTransactionQuota(Client->Channel, ECHO_CLIENT_QUOTA);
	return Configure(Client, Options);
}

VOID EchoDeleteChannel(PECHO_CLIENT Client)
{
	if (Client->Channel)
		VmbChannelCleanup(Client->Channel);
	Client->Channel = NULL;
}

/* ---- device control ---- */

VOID EchoQuery(PECHO_CLIENT Client, struct echo_info *Info)
{
	GUID instance;
	KIRQL irql;

	VmbChannelGetInterfaceInstance(Client->Channel, &instance);
	RtlZeroMemory(Info, sizeof(*Info));
	RtlCopyMemory(Info->instance, &instance, sizeof(Info->instance));
	Info->channels = 1;
	KeAcquireSpinLock(&Client->Lock, &irql);
	Info->open = Client->Open;
	Info->running = Client->Running;
	Info->opens = Client->Opens;
	Info->packets = Client->Packets;
	Info->stray_pushes = Client->StrayPushes;
	KeReleaseSpinLock(&Client->Lock, irql);
}

NTSTATUS EchoTransfer(PECHO_CLIENT Client, ULONG Code, PVOID Buffer, ULONG InputLength,
		      ULONG OutputLength, PULONG_PTR Returned)
{
	NTSTATUS status;

	if (!ExAcquireRundownProtection(&Client->Session))
		return STATUS_DEVICE_NOT_CONNECTED;
	if (Code == ECHO_IOCTL_RUN)
		status = EchoRun(Client, Buffer, InputLength, OutputLength, Returned);
	else
		status = EchoRaw(Client, Buffer, InputLength, OutputLength, Returned);
	ExReleaseRundownProtection(&Client->Session);
	return status;
}

NTSTATUS EchoControlChannel(PECHO_CLIENT Client, ULONG Code)
{
	switch (Code) {
	case ECHO_IOCTL_ENABLE:
		return Client->Removed ? STATUS_DEVICE_REMOVED : VmbChannelEnable(Client->Channel);
	case ECHO_IOCTL_DISABLE:
		VmbChannelDisable(Client->Channel);
		return STATUS_SUCCESS;
	case ECHO_IOCTL_PAUSE:
		VmbChannelPause(Client->Channel);
		return STATUS_SUCCESS;
	case ECHO_IOCTL_START:
		VmbChannelStart(Client->Channel);
		return STATUS_SUCCESS;
	default:
		return STATUS_INVALID_DEVICE_REQUEST;
	}
}

BOOLEAN EchoOptionsAreGood(ULONG Ring, ULONG ExternalKib)
{
	if (Ring >= 2 && Ring <= ECHO_MAXIMUM_RING && ExternalKib &&
	    ExternalKib <= ECHO_RAW_MAXIMUM_EXTERNAL / 1024)
		return TRUE;
	DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL,
		   "ring= is 2 to %u pages, external= is 1 to %u KiB\n", ECHO_MAXIMUM_RING,
		   ECHO_RAW_MAXIMUM_EXTERNAL / 1024);
	return FALSE;
}
