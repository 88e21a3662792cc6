/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The transport across processes: vmbus-user, version 1 (docs/vmbus-user.md). A host serves each
 * connection as a partition of its own.
 *
 * At either end a connection has a thread for its socket; signals wake the dispatchers themselves.
 * A host whose dispatchers do not divide the guest's VPs has one more thread, which hears them.
 * None waits for anything that another partition can hold.
 */
#ifndef PARTITION_USER_H
#define PARTITION_USER_H

#include "partition/partition.h"

/* ---- the host's end ---- */

struct user_host;

/** Where the drivers are, if they are in processes of their own: each is a host of vmbus-user with
 * a range of channel ids (vmbus_bridge_range()), to which this one is a guest for each guest. */
struct user_relay_options {
	uint32_t parts; /**< 0: the drivers are here */
	/** A connection to that driver's process for a guest, SOCK_SEQPACKET and non-blocking;
	 *  -EAGAIN: it takes none now,
	 *  another: it is not there until user_host_drivers_changed(). Any thread of the
	 * connection's. */
	int (*connect)(void *owner, uint32_t part);
	void *owner;
};

struct user_host_options {
	struct part_options part;  /**< of each partition; processors come from the guest */
	uint64_t memory_limit;     /**< bytes that a guest may show us; 0: 64 GiB */
	uint32_t hello_timeout_ms; /**< for the first packet; 0: 10 s */
	/** The guest said HELLO: its partition is there and its drivers may be started. Called on
	 *  the connection's thread; nothing of the guest is read until it returns. False: hang up.
	 */
	bool (*joined)(void *owner, struct part *part);
	/** The connection is over; called once, on its thread, after everything was reset, and only
	 *  if `joined` was. Drivers let go of the partition here. */
	void (*left)(void *owner, struct part *part);
	/** The last call for this connection, whatever became of it: `owner` is free. */
	void (*gone)(void *owner);
	void *owner;
	struct user_relay_options relay;
};

/** Serves a connected socket, which it takes over, also on failure. */
int user_host_serve(int fd, const struct user_host_options *options, struct user_host **host);
/** Ends the connection in order: offers are withdrawn by `left`, then the socket is closed. Returns
 *  at once; `gone` follows. */
void user_host_end(struct user_host *host);
/** The process of a driver has come: it is connected to. Any thread, until user_host_join(). */
void user_host_drivers_changed(struct user_host *host);
/** After `gone`. Waits for the thread. */
void user_host_join(struct user_host *host);

/* ---- the guest's end ---- */

struct user_guest_options {
	struct part_options part;
	/** Tries again while nobody listens at the path, for so long. 0: no. */
	uint32_t wait_ms;
	bool reconnect; /**< when the host goes away: connect to the next one that listens there */
};

/** Connects to the socket at `path`; the partition's client end begins to connect. -ENOENT,
 *  -ECONNREFUSED: nobody listens; -EPROTO: who listens speaks something else; -ETIMEDOUT;
 *  *why is a sentence in a static place. */
int user_guest_create(const char *path, const struct user_guest_options *options,
		      struct part **part, const char **why);

#endif
