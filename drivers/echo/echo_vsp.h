/* SPDX-License-Identifier: MIT */
/** @file What the files of the echo server share. */
#ifndef ECHO_VSP_H
#define ECHO_VSP_H

#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#include "echo_protocol.h"

#define ECHO_POOL_TAG 0x6f686345u /* "Echo" */

/* A packet beyond these limits is malformed and ends the channel's traffic, so they are wide: what
 * the protocol refuses must arrive to be refused. */
#define ECHO_MAXIMUM_PACKET   (65536u + (UINT32)sizeof(struct echo_request))
#define ECHO_MAXIMUM_EXTERNAL (16u << 20)
#define ECHO_MAXIMUM_CHAIN    64u

#define ECHO_DEFAULT_QUOTA    64u /* requests of a channel served at once */
#define ECHO_MAXIMUM_QUOTA    256u
#define ECHO_MAXIMUM_CHANNELS 1024u
#define ECHO_PUSH_WINDOW      32u /* pushed packets on their way to the ring */

/** A request that cannot be served inside ProcessPacket. */
typedef struct _ECHO_WORK {
	VMBPACKETCOMPLETION Packet;
	struct echo_gpadl_request Request;
} ECHO_WORK, *PECHO_WORK;

/** First in, first out; as many as the quota lets in. */
typedef struct _ECHO_QUEUE {
	PECHO_WORK Slots;
	ULONG Size;
	ULONG First;
	ULONG Count;
} ECHO_QUEUE, *PECHO_QUEUE;

typedef struct _ECHO_CHANNEL {
	VMBCHANNEL Channel;
	struct _ECHO_DEVICE *Device;
	GUID Instance;

	/* ProcessPacket alone, and Opened before it */
	UINT64 SunkPackets;
	UINT64 SunkBytes;

	LONG64 Packets;
	LONG Open;
	LONG Running;
	LONG Opens;

	KSPIN_LOCK Lock; /* all below */
	BOOLEAN Stopping;

	ECHO_QUEUE Gpadls;
	BOOLEAN GpadlBusy;
	PIO_WORKITEM GpadlItem;
	EX_RUNDOWN_REF GpadlWorkers; /* work items queued or running */

	ECHO_QUEUE Pushes; /* the first is being served */
	UINT32 PushSerial; /* counts PUSHes begun, so that a late failure finds its own */
	UINT32 PushNext;   /* sequence number of its next packet */
	ULONG PushFlying;
	BOOLEAN PushPumping;
	NTSTATUS PushStatus;
} ECHO_CHANNEL, *PECHO_CHANNEL;

typedef struct _ECHO_DEVICE {
	PDEVICE_OBJECT Self;
	PDEVICE_OBJECT Lower;
	PDEVICE_OBJECT Physical;
	KMUTEX Mutex;            /* Enable and Disable against removal */
	EX_RUNDOWN_REF Requests; /* device control under way */
	BOOLEAN Removed;
	ULONG ChannelCount;
	ULONG Quota;
	ECHO_CHANNEL Channels[];
} ECHO_DEVICE, *PECHO_DEVICE;

/* echo_vsp_channel.c: the protocol */
NTSTATUS EchoChannelCreate(PECHO_DEVICE Device, PECHO_CHANNEL Echo, ULONG Index);
VOID EchoChannelDestroy(PECHO_CHANNEL Echo);
VOID EchoComplete(VMBPACKETCOMPLETION Packet, const struct echo_request *Request, NTSTATUS Status);

/* echo_vsp_work.c: GPADL_SUM and PUSH */
NTSTATUS EchoWorkCreate(PECHO_CHANNEL Echo, ULONG Quota);
VOID EchoWorkDestroy(PECHO_CHANNEL Echo);
VOID EchoWorkStart(PECHO_CHANNEL Echo);
/** Ends what waits; what is being served ends soon by itself. */
VOID EchoWorkStop(PECHO_CHANNEL Echo);
VOID EchoQueueGpadlSum(PECHO_CHANNEL Echo, VMBPACKETCOMPLETION Packet,
		       const struct echo_gpadl_request *Request);
VOID EchoQueuePush(PECHO_CHANNEL Echo, VMBPACKETCOMPLETION Packet,
		   const struct echo_request *Request);

/* echo_mdl.c */
UINT64 EchoChainBytes(PMDL Mdl);
/** Addresses for the first Length bytes of the chain. FALSE: some cannot be had. */
BOOLEAN EchoChainMap(PMDL Mdl, UINT32 Length);
/** SHA-256 of Length bytes from Offset; mapped before. */
VOID EchoChainSum(PMDL Mdl, UINT32 Offset, UINT32 Length, UINT8 Digest[ECHO_DIGEST_SIZE]);
/** Writes (First + i) & 0xff into the first Length bytes; mapped before. */
VOID EchoChainFill(PMDL Mdl, UINT32 Length, UINT64 First);

#endif
