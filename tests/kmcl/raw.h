/* SPDX-License-Identifier: MIT */
/** @file A guest that talks to a server's ring by itself. One at a time. */
#ifndef TESTS_KMCL_RAW_H
#define TESTS_KMCL_RAW_H

#include "harness.h"

struct raw {
	struct part_client_listener listener;
	struct part_client_channel_ops ops;
	struct part_client_channel *ch;
	struct part_port port;
	uint8_t instance[16];
	atomic_bool claimed, rescinded;
};
extern struct raw raw;

/** Finds the server's offer and opens it with rings of four pages. */
void raw_open(struct kt_bus *bus, struct kt_chan *server);
void raw_close(struct kt_bus *bus);
void raw_write(const struct vmbus_packet_out *packet);
/** What the server wrote next. */
void raw_read(uint64_t *buffer, uint32_t size, struct vmbus_packet_in *packet);

#endif
