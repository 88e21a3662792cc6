/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The integration components as they are on the wire: messages of a pipe, each a header and a body.
 * Little-endian, without padding. The host asks and the guest answers, in the bytes of the request.
 */
#ifndef IC_PROTOCOL_H
#define IC_PROTOCOL_H

#include <stdint.h>

enum ic_message_type {
	IC_NEGOTIATE = 0,
	IC_HEARTBEAT = 1,
	IC_KVP = 2,
	IC_SHUTDOWN = 3,
	IC_TIMESYNC = 4,
};

enum ic_flags {
	IC_FLAG_TRANSACTION = 1,
	IC_FLAG_REQUEST = 2,
	IC_FLAG_RESPONSE = 4,
};

/* Statuses that guests answer with. */
#define IC_STATUS_OK          0u
#define IC_STATUS_FAIL        0x80004005u
#define IC_STATUS_NO_MORE     0x80070103u /* KVP: no such key, or no such index */
#define IC_STATUS_NO_ADAPTER  0x80041002u /* KVP: no such adapter */
#define IC_STATUS_INVALID     0x80070057u
#define IC_STATUS_UNSUPPORTED 0x80070032u

/* Largest messages, pipe header and packet descriptor included, that Linux has buffers for: what is
 * longer is cut there, and its reader loses its place in the ring. */
#define IC_GUEST_BUFFER     4096u
#define IC_GUEST_BUFFER_KVP 16384u
#define IC_PACKET_OVERHEAD  24u

#pragma pack(push, 1)

struct ic_version {
	uint16_t major, minor;
};

struct ic_header {
	struct ic_version framework; /* 0.0 while versions are negotiated */
	uint16_t type;
	struct ic_version message; /* the same */
	uint16_t size;             /* of the body */
	uint32_t status;
	uint8_t transaction;
	uint8_t flags;
	uint16_t reserved;
};

/* The request lists versions of the framework, then versions of the messages; an answer that names
 * one each names what the guest has chosen, one that names none has found none. */
struct ic_negotiate {
	uint16_t framework_count, message_count;
	uint32_t reserved;
	/* versions */
};

struct ic_heartbeat {
	uint64_t sequence; /* answered with the next number */
	uint32_t state;    /* enum ic_application_state, from message version 3.0 on */
	uint32_t reserved[7];
};

enum ic_application_state {
	IC_APPLICATION_UNKNOWN = 0,
	IC_APPLICATION_HEALTHY = 1,
	IC_APPLICATION_CRITICAL = 2,
	IC_APPLICATION_STOPPED = 3,
};

#define IC_SHUTDOWN_TEXT 1024u

struct ic_shutdown {
	uint32_t reason;
	uint32_t timeout; /* seconds */
	uint32_t flags;   /* enum ic_shutdown_flags */
	uint16_t text[IC_SHUTDOWN_TEXT];
};

enum ic_shutdown_flags {
	IC_SHUTDOWN_FORCE = 1,
	IC_SHUTDOWN_RESTART = 2,   /* from message version 3.1 on */
	IC_SHUTDOWN_HIBERNATE = 4, /* from 3.2 on */
};

enum ic_time_flags {
	IC_TIME_PROBE = 0,
	IC_TIME_SYNC = 1,   /* set the clock */
	IC_TIME_SAMPLE = 2, /* take notice */
};

/* Times in units of 100 ns since 1601. */
struct ic_time_v3 {
	uint64_t host;
	uint64_t child;
	uint64_t round_trip;
	uint8_t flags;
	uint8_t reserved[3];
};

struct ic_time_v4 {
	uint64_t host;
	uint64_t reference; /* of the partition, when the host's time was read */
	uint8_t flags;
	uint8_t leap;
	uint8_t stratum;
	uint8_t reserved[5];
};

enum ic_kvp_operation {
	IC_KVP_GET = 0,
	IC_KVP_SET = 1,
	IC_KVP_DELETE = 2,
	IC_KVP_ENUMERATE = 3,
	IC_KVP_GET_IP = 4,
	IC_KVP_SET_IP = 5,
};

enum ic_kvp_pool {
	IC_KVP_EXTERNAL = 0,      /* the host's, which the guest reads */
	IC_KVP_GUEST = 1,         /* the guest's own */
	IC_KVP_AUTO = 2,          /* facts about the guest */
	IC_KVP_AUTO_EXTERNAL = 3, /* facts about the host */
	IC_KVP_POOLS = 4,
};

enum ic_kvp_type {
	IC_KVP_STRING = 1,
	IC_KVP_EXPAND_STRING = 2,
	IC_KVP_U32 = 4,
	IC_KVP_U64_LINUX = 8, /* what Linux knows as 64 bits; it stores IC_KVP_U64 as nothing */
	IC_KVP_U64 = 11,
};

#define IC_KVP_KEY   256u  /* characters of UTF-16, the final 0 included */
#define IC_KVP_VALUE 2048u /* bytes */

struct ic_kvp_value {
	uint32_t type;
	uint32_t key_size, value_size; /* bytes, the final 0 included */
	uint16_t key[IC_KVP_KEY];
	uint8_t value[IC_KVP_VALUE];
};

/* As large for every operation: the guest answers in it. */
struct ic_kvp {
	uint8_t operation;
	uint8_t pool;
	uint16_t padding;
	union {
		struct ic_kvp_value value; /* GET, SET */
		struct {
			uint32_t key_size;
			uint16_t key[IC_KVP_KEY];
		} remove;
		struct {
			uint32_t index;
			struct ic_kvp_value value;
		} enumerate;
	};
};

enum ic_ip_family {
	IC_IP_NONE = 0,
	IC_IP_V4 = 1,
	IC_IP_V6 = 2,
	IC_IP_BOTH = 3,
};

/* Text is UTF-16 that ends with a 0; lists have semicolons between. */
struct ic_ip {
	uint16_t adapter[128]; /* the instance of the network device, "{...}" */
	uint8_t family;        /* enum ic_ip_family */
	uint8_t dhcp;
	uint16_t addresses[1024];
	uint16_t subnets[1024];
	uint16_t gateways[512];
	uint16_t dns[1024];
};

struct ic_kvp_ip {
	uint8_t operation;
	uint8_t pool;
	struct ic_ip ip;
};

#pragma pack(pop)

#define IC_HEARTBEAT_TYPE                                              \
	{                                                              \
		0x57164f39, 0x9115, 0x4e78,                            \
		{                                                      \
			0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d \
		}                                                      \
	}
#define IC_HEARTBEAT_INSTANCE                                          \
	{                                                              \
		0xfd149e91, 0x82e0, 0x4a7d,                            \
		{                                                      \
			0xaf, 0xa6, 0x2a, 0x41, 0x66, 0xcb, 0xd7, 0xc0 \
		}                                                      \
	}
#define IC_KVP_INTERFACE_TYPE                                          \
	{                                                              \
		0xa9a0f4e7, 0x5a45, 0x4d96,                            \
		{                                                      \
			0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c, 0x03, 0xe6 \
		}                                                      \
	}
#define IC_KVP_INSTANCE                                                \
	{                                                              \
		0x242ff919, 0x07db, 0x4180,                            \
		{                                                      \
			0x9c, 0x2e, 0xb8, 0x6c, 0xb6, 0x8c, 0x8c, 0x55 \
		}                                                      \
	}
#define IC_SHUTDOWN_TYPE                                               \
	{                                                              \
		0x0e0b6031, 0x5213, 0x4934,                            \
		{                                                      \
			0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb \
		}                                                      \
	}
#define IC_SHUTDOWN_INSTANCE                                           \
	{                                                              \
		0xb6650ff7, 0x33bc, 0x4840,                            \
		{                                                      \
			0x80, 0x48, 0xe0, 0x67, 0x67, 0x86, 0xf3, 0x93 \
		}                                                      \
	}
#define IC_TIMESYNC_TYPE                                               \
	{                                                              \
		0x9527e630, 0xd0ae, 0x497b,                            \
		{                                                      \
			0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf \
		}                                                      \
	}
#define IC_TIMESYNC_INSTANCE                                           \
	{                                                              \
		0x2dd1ce17, 0x079e, 0x403c,                            \
		{                                                      \
			0xb3, 0x52, 0xa1, 0x92, 0x1e, 0xe2, 0x07, 0xee \
		}                                                      \
	}

#endif
