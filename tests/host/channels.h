/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Pairs of channels on a bus, without drivers: their callbacks count, and keep what they are given
 * if told so.
 */
#ifndef TESTS_HOST_CHANNELS_H
#define TESTS_HOST_CHANNELS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#include <kmcl/kmcl.h>
#include <stdatomic.h>
#include <stdbool.h>

#define MOST_HELD 16u

struct pair {
	uint32_t number; /**< 1.. */
	VMBCHANNEL server, client;
	atomic_uint started, server_closed;
	/* what the server's driver does with a packet: holds it, else completes it empty */
	atomic_bool hold;
	VMBPACKETCOMPLETION held[MOST_HELD];
	atomic_uint held_count;
	/* of packets with external data, what their mapping came to */
	atomic_uint mapped, not_mapped;
	/* the client's packets that ended with success, and otherwise */
	atomic_uint completed, failed;
	uint32_t max_external, max_chain; /**< 0: default */
};

kmcl_partition *bus_create(const struct kmcl_limits *limits);
/** Waits for an expression, not for ever. */
#define UNTIL(expression)                                                     \
	do {                                                                  \
		for (unsigned int ms_ = 0; !(expression); ms_++) {            \
			if (ms_ == 60000)                                     \
				fail_msg("never came true: %s", #expression); \
			nap_ms(1);                                            \
		}                                                             \
	} while (0)
void nap_ms(unsigned int ms);

/** Makes the server's channel and enables it; its status. It is cleaned up if that fails. */
NTSTATUS pair_offer(struct pair *p, uint32_t number);
void pair_connect(struct pair *p); /**< the client's, without waiting */
void pair_open(struct pair *p, uint32_t number);
void pair_disconnect(struct pair *p);
void pair_revoke(struct pair *p);
void pair_close(struct pair *p);
/** A request and its answer. */
void pair_trip(struct pair *p);
/** A packet that waits for its completion; `external` of its data, NULL: none. */
NTSTATUS pair_send(struct pair *p, PMDL external);
NTSTATUS pair_send_pages(struct pair *p, const uint64_t *pfns, uint32_t count);
/** The server completes the oldest that it holds. */
void pair_complete(struct pair *p);
struct kmcl_channel_stats pair_stats(kmcl_partition *bus, const struct pair *p, bool server);

#endif
