/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The server's state as bytes, and a server made of such bytes. The format is in
 * docs/saved-state.md.
 *
 * A server can be saved between any two calls; nothing of it changes. What devices owe it is not
 * lost: a restored server asks again, except that nobody holds anything any more that was to be
 * let go, which is answered on the spot. All that follows from a restore follows once, from
 * vmbus_server_restore() and from the claim of each channel.
 *
 * A restored channel has no device until one claims it: vmbus_server_offer() with the channel's
 * key. Until then the client is kept waiting where a device would have to be asked.
 */
#ifndef VMBUS_SERVER_SAVE_H
#define VMBUS_SERVER_SAVE_H

#include "vmbus/server.h"

/** Version of the format that is written, and the highest that is read. */
#define VMBUS_SAVED_VERSION 1u

/** A message that the owner took as an action and that is not in the client's slot yet. */
struct vmbus_unposted {
	uint32_t vp;
	uint8_t sint;
	uint8_t size;
	uint8_t data[VMBUS_MAX_MESSAGE];
};

/** What is wrong with saved state. */
struct vmbus_saved_error {
	const char *field; /**< by its name in docs/saved-state.md */
	const char *why;
	uint64_t offset; /**< of the field; of the section where a section does not fit the others
			  */
};

/**
 * Saves. `unposted` are the owner's, oldest first. `*bytes` are of the server's allocator.
 * E_NO_MEMORY.
 */
enum vmbus_status vmbus_server_save(const struct vmbus_server *s,
				    const struct vmbus_unposted *unposted, uint32_t count,
				    uint8_t **bytes, size_t *size);

/**
 * A server that goes on where the saved one was. What `config` sets must allow what was granted.
 * The owner takes actions as after any call; the first of a server that has a connection is
 * VMBUS_SERVER_RESTORED.
 * E_INVALID: *error names the field. E_NO_MEMORY, E_LIMIT.
 */
enum vmbus_status vmbus_server_restore(const struct vmbus_server_config *config,
				       const uint8_t *bytes, size_t size, struct vmbus_server **s,
				       struct vmbus_saved_error *error);

/**
 * Every device has had its chance. A channel that the client has open and that nobody claimed is
 * withdrawn; an open that waits for a device is refused. One that is closed stays: its device may
 * come yet, and the client need not hear of that.
 */
void vmbus_server_restore_done(struct vmbus_server *s);

/**
 * A client message that waited to be taken goes with the saved state: it is received later, by
 * vmbus_server_receive_deferred(), here or where the state is restored. E_NO_MEMORY, E_INVALID: too
 * long.
 */
enum vmbus_status vmbus_server_defer(struct vmbus_server *s, uint32_t connection_id,
				     const void *message, size_t size);
/** Receives the oldest message that was deferred; false: there is none. */
bool vmbus_server_receive_deferred(struct vmbus_server *s);

/** The guest's pages that the connection uses; GPAs, 0: none. */
struct vmbus_server_pages {
	uint64_t interrupt_page;
	uint64_t monitor_parent_to_child;
	uint64_t monitor_child_to_parent;
};
void vmbus_server_connection_pages(const struct vmbus_server *s, struct vmbus_server_pages *pages);

/** Restored channels that no device has claimed. */
uint32_t vmbus_server_unclaimed(const struct vmbus_server *s);

#endif
