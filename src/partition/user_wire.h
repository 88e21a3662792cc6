/* SPDX-License-Identifier: MIT */
/**
 * @file
 * vmbus-user, version 1: packets on a SOCK_SEQPACKET socket between a host and one guest. Each
 * begins with op u16, flags u16 (0) and size u32; integers are little-endian.
 */
#ifndef PARTITION_USER_WIRE_H
#define PARTITION_USER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USER_VERSION    1u
#define USER_PACKET_MAX 4096u
#define USER_HEADER     8u
#define USER_FDS_MAX    2u
#define USER_VPS_MAX    64u

enum user_op {
	/* guest to host */
	USER_HELLO = 0x0001,  /* version u32 @8, vp_count u32 @12, features u64 @16 */
	USER_MEMORY = 0x0002, /* gpa u64 @8, size u64 @16, offset u64 @24; the file */
	USER_SYNIC = 0x0003,  /* vp u32 @8, 0 u32 @12, event flags GPA u64 @16, signal GPA u64 @24;
				 to_host, to_guest */
	USER_POST = 0x0004,   /* connection id u32 @8, message type u32 @12, payload @16 */
	USER_RESET = 0x0005,
	/* host to guest */
	USER_HELLO_ACK = 0x0081,  /* version u32 @8, status u32 @12, channels u32 @16, 0 u32 @20 */
	USER_MEMORY_ACK = 0x0082, /* status u32 @8, 0 u32 @12, gpa u64 @16 */
	USER_SYNIC_ACK = 0x0083,  /* status u32 @8, vp u32 @12 */
	USER_MESSAGE = 0x0084,    /* vp u32 @8, sint u16 @12, 0 u16 @14, type u32 @16, size u32 @20,
				     payload @24 */
	USER_RESET_DONE = 0x0085,
	USER_ERROR = 0x008f, /* status u32 @8, op u32 @12, text @16 */
	/* between processes of one host */
	USER_FEED_READY = 0x0101, /* the driver takes guests */
	USER_FEED_GUEST = 0x0102, /* the socket of one */
};

enum {
	USER_HELLO_SIZE = 24,
	USER_MEMORY_SIZE = 32,
	USER_SYNIC_SIZE = 32,
	USER_POST_SIZE = 16, /* and the payload */
	USER_RESET_SIZE = 8,
	USER_HELLO_ACK_SIZE = 24,
	USER_MEMORY_ACK_SIZE = 24,
	USER_SYNIC_ACK_SIZE = 16,
	USER_MESSAGE_SIZE = 24, /* and the payload */
	USER_RESET_DONE_SIZE = 8,
	USER_ERROR_SIZE = 16, /* and the text */
	USER_FEED_SIZE = 8,
};

/* Statuses that the document names. */
#define USER_STATUS_INVALID_PARAMETER      0xc000000du
#define USER_STATUS_INSUFFICIENT_RESOURCES 0xc000009au
#define USER_STATUS_NOT_SUPPORTED          0xc00000bbu

struct user_packet {
	uint32_t size;
	uint32_t fd_count;
	int fds[USER_FDS_MAX];
	uint8_t data[USER_PACKET_MAX];
};

static inline uint32_t user_op(const struct user_packet *p)
{
	return p->data[0] | (uint32_t)p->data[1] << 8;
}

/** A packet of that size, zero but for its header; room for descriptors is none. */
void user_packet_init(struct user_packet *p, enum user_op op, uint32_t size);

enum user_receive {
	USER_RECEIVED, /* header, size and number of descriptors agree with themselves */
	USER_NOTHING,  /* none there */
	USER_BAD,      /* one that is no packet of this protocol; its descriptors are closed */
	USER_HUNG_UP,
};
/** Receives without waiting. `*why` is set for USER_BAD. The descriptors are the caller's. */
enum user_receive user_receive(int fd, struct user_packet *p, const char **why);
/** 0; -EAGAIN: no room now; -EPIPE: the other end is gone. Does not wait. Descriptors stay the
 *  caller's. */
int user_send(int fd, const struct user_packet *p);
void user_close_fds(struct user_packet *p);

#endif
