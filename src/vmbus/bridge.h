/* SPDX-License-Identifier: MIT */
/**
 * @file
 * One bus out of several: a server toward a guest, whose devices are the channels that other
 * servers ("parts", each in a process of its own) offer. Toward each part the bridge is a client.
 * Sans I/O, with the owner's duties as in server.h.
 *
 * Nothing is passed on unread. What a guest says goes through the server's state machine, what a
 * part says through a client's; the bridge joins the two, so that a part sees a guest that keeps to
 * the rules, and the guest a host that does, whatever the other one is. Each part has a range of
 * channel ids, which mean the same on both sides, as do GPADL ids: packets may name them.
 *
 * A part that goes away takes its channels with it: they are withdrawn, as a device would withdraw
 * them. One that comes is told of the connection that there is, and its channels are offered.
 */
#ifndef VMBUS_BRIDGE_H
#define VMBUS_BRIDGE_H

#include "vmbus/server.h"

#define VMBUS_BRIDGE_PARTS 16u

struct vmbus_bridge;

struct vmbus_bridge_config {
	struct vmbus_server *server; /**< toward the guest; the owner's, and outlives the bridge */
	uint32_t parts;
	struct vmbus_allocator allocator;
};

/** The channel ids of one of so many parts: whole words of 64 event flags, so that each part takes
 *  its own out of a bitmap that all share. */
struct vmbus_bridge_range {
	uint32_t first, count;
};
struct vmbus_bridge_range vmbus_bridge_range(uint32_t part, uint32_t parts);

enum vmbus_bridge_output_type {
	VMBUS_BRIDGE_POST,  /**< HvPostMessage toward the part */
	VMBUS_BRIDGE_RESET, /**< a partition reset; answer with vmbus_bridge_reset_done() */
};

struct vmbus_bridge_output {
	enum vmbus_bridge_output_type type;
	uint32_t connection_id;
	uint8_t size;
	uint8_t data[VMBUS_MAX_MESSAGE];
};

/** Counters; never reset. */
struct vmbus_bridge_stats {
	uint64_t foreign_ids;    /**< offers of a part for an id that is not its own */
	uint64_t waiting_offers; /**< offers that could not be shown at once: key or id in use */
	uint64_t refused;        /**< contacts that a part did not accept */
};

struct vmbus_bridge *vmbus_bridge_create(const struct vmbus_bridge_config *config);
void vmbus_bridge_destroy(struct vmbus_bridge *b);

/** The part serves this guest from here on, and knows its memory. No effect if it does already. */
void vmbus_bridge_up(struct vmbus_bridge *b, uint32_t part);
/** The part is gone; it touches nothing any more. */
void vmbus_bridge_down(struct vmbus_bridge *b, uint32_t part);
/** A message that the part posted. Never fails. */
void vmbus_bridge_receive(struct vmbus_bridge *b, uint32_t part, const void *message, size_t size);
/** The part has let go of everything, as the latest RESET asked. */
void vmbus_bridge_reset_done(struct vmbus_bridge *b, uint32_t part);

/**
 * Carries out an action of the server's other than POST and HVSOCK.
 *
 * @return false: not now; to be tried again after the next call for a part, with nothing after it
 *         carried out meanwhile
 */
bool vmbus_bridge_action(struct vmbus_bridge *b, const struct vmbus_server_action *a);
/** The server was reset: parts are, too. Before its actions are taken. */
void vmbus_bridge_reset(struct vmbus_bridge *b);
/** No part has yet to let go of what it had before a reset or an unload. */
bool vmbus_bridge_at_rest(const struct vmbus_bridge *b);
/** A contact waits for parts to make their offers. */
bool vmbus_bridge_waits(const struct vmbus_bridge *b);
/** They have had their time: the guest is answered, and sees their offers when they come. */
void vmbus_bridge_wait_no_more(struct vmbus_bridge *b);

/**
 * One step of what parts have said, if the server has no action. To be called after each of the
 * server's and of the bridge's calls, as long as it returns true, the server's actions carried out
 * before each.
 */
bool vmbus_bridge_turn(struct vmbus_bridge *b);
/** The next output toward a part, in order; false: none now. The server may have actions after it.
 */
bool vmbus_bridge_next(struct vmbus_bridge *b, uint32_t part, struct vmbus_bridge_output *output);

const struct vmbus_bridge_stats *vmbus_bridge_statistics(const struct vmbus_bridge *b);
/** Sweeps every invariant. NULL: all hold; else which does not. */
const char *vmbus_bridge_check(const struct vmbus_bridge *b);

#endif
