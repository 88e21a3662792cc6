/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The echo protocol: what the echo server (VSP) and any client (VSC) say to each other over a VMBus
 * channel. It exercises every way in which data moves on a channel.
 *
 * All fields are little-endian; offsets count from the start of the packet's payload. Payloads on
 * the wire are padded to 8 bytes, so what a request carries is told by `length`, not by the packet.
 *
 * The server offers interface type ECHO_INTERFACE_TYPE, with instances
 * 00000000-0000-0000-0000-0000000000e0 and up, one a channel.
 *
 *   request     op u32 @0, length u32 @4, tag u64 @8, data @16
 *   completion  op u32 @0, status u32 @4 (an NTSTATUS), tag u64 @8, data @16
 *
 *   op            request                                     completion's data
 *   1 ECHO        data @16, `length` of them, at most 8192    the same bytes
 *   2 SUM         external data, none when length is 0        SHA-256 of its first `length` bytes
 *   3 SINK        data @16; sent without asking for a         none (asked all the same: status)
 *                 completion
 *   4 STATS       none                                        packets u64 @16, bytes u64 @24 sunk
 * on this channel so far; both become 0 5 FILL        external data, that the server fills: none
 *                 byte i is (tag + i) & 0xff, i < length
 *   6 GPADL_SUM   gpadl handle u32 @16, offset u32 @20        SHA-256 of `length` bytes of the
 * GPADL from `offset` 7 PUSH        none; `length` is 1 to 1000                 none; comes after
 * `length` packets of the server's own, see echo_push
 *
 * SINK counts accepted packets and adds up their `length` fields; the counters start at 0 each
 * time the channel is opened. GPADL_SUM requests of one channel are served one after another, PUSH
 * requests too; neither holds up anything else, so completions may overtake each other.
 *
 * The server answers ECHO_STATUS_INVALID_PARAMETER, without data, and the channel stays up, when:
 * op is unknown; the packet is shorter than its fields; `length` goes beyond the payload, the
 * external data or the GPADL, or beyond its limit; the GPADL is unknown; a page lies outside guest
 * memory (FILL has then written nothing); the answer is larger than the client's ring can ever
 * hold. A packet too short to name them is answered with op from its first four bytes if it has
 * them, else 0, and with tag 0.
 */
#ifndef ECHO_PROTOCOL_H
#define ECHO_PROTOCOL_H

#include <stdint.h>

/** 8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01, as an initialiser of a GUID. */
#define ECHO_INTERFACE_TYPE                                            \
	{                                                              \
		0x8d7f2a6e, 0x4c0b, 0x4f2e,                            \
		{                                                      \
			0x9a, 0x53, 0x6b, 0x1c, 0x0e, 0x5d, 0x9f, 0x01 \
		}                                                      \
	}
/** Last 32 bits of the first instance, as they are written in its text form. */
#define ECHO_FIRST_INSTANCE 0xe0u

enum echo_op {
	ECHO_OP_ECHO = 1,
	ECHO_OP_SUM = 2,
	ECHO_OP_SINK = 3,
	ECHO_OP_STATS = 4,
	ECHO_OP_FILL = 5,
	ECHO_OP_GPADL_SUM = 6,
	ECHO_OP_PUSH = 7,
};

#define ECHO_MAXIMUM_ECHO 8192u /* bytes of one ECHO */
#define ECHO_MAXIMUM_PUSH 1000u /* packets of one PUSH */
#define ECHO_DIGEST_SIZE  32u
#define ECHO_PUSH_SIZE    64u

#define ECHO_STATUS_SUCCESS           0x00000000u
#define ECHO_STATUS_INVALID_PARAMETER 0xc000000du

/** What every request begins with. */
struct echo_request {
	uint32_t op;
	uint32_t length;
	uint64_t tag;
};

/** GPADL_SUM, whole. */
struct echo_gpadl_request {
	struct echo_request header;
	uint32_t gpadl;
	uint32_t offset;
};

/** What every completion begins with. */
struct echo_completion {
	uint32_t op;
	uint32_t status;
	uint64_t tag;
};

/** Completion of SUM and GPADL_SUM. */
struct echo_digest {
	struct echo_completion header;
	uint8_t digest[ECHO_DIGEST_SIZE];
};

/** Completion of STATS. */
struct echo_stats {
	struct echo_completion header;
	uint64_t packets;
	uint64_t bytes;
};

/** A packet that the server sends for PUSH; it asks for no completion. */
struct echo_push {
	uint64_t sequence; /**< from 0 */
	uint64_t tag;      /**< of the PUSH request */
	uint8_t zeros[ECHO_PUSH_SIZE - 16];
};

#endif
