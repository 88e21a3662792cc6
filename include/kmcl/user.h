/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A bus across processes: vmbus-user, version 1 (docs/vmbus-user.md). A host serves a socket; each
 * guest that connects is a partition of its own, and no guest can hurt another or the host.
 */
#ifndef KMCL_USER_H
#define KMCL_USER_H

#include <kmcl/kmcl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the host ---- */

typedef struct kmcl_server kmcl_server;

struct kmcl_server_options {
	uint32_t size;     /**< sizeof(struct kmcl_server_options) */
	uint32_t guests;   /**< connections at once; 0: 64. More are hung up on, and logged. */
	uint32_t any_user; /**< 0: only our own user and root may connect */
	uint32_t reserved;
	uint64_t guest_memory; /**< bytes that a guest may show us; 0: 64 GiB */
	const struct kmcl_partition_options *partition; /**< of each guest's partition, or NULL;
							     processors: of the host's side */
};

/**
 * Creates the socket and listens. It appears at `path` (mode 0600, a socket that was there is
 * replaced) with kmcl_server_start().
 *
 * @return 0; -EINVAL: wrong options, -ENAMETOOLONG, -EEXIST: something else than a socket is there,
 * or what the system said of the path. Then *error (if wanted) is a sentence, to be freed with
 * kmcl_free().
 */
int kmcl_server_create(const char *path, const struct kmcl_server_options *options,
		       kmcl_server **server, char **error);
/** Loads a server driver once for all guests: its AddDevice runs for each partition. `spec` and
 *  errors as of kmcl_driver_load(). Before kmcl_server_start(). */
int kmcl_server_load(kmcl_server *server, const char *spec, char **error);
/** From here on guests may connect. */
int kmcl_server_start(kmcl_server *server, char **error);
/** Withdraws every offer, hangs up on every guest, unloads the drivers and removes the socket.
 *  Blocks until all that is done. NULL: nothing. */
void kmcl_server_destroy(kmcl_server *server);

/*
 * Drivers in processes of their own, one each. The process that serves the socket loads none; it
 * calls kmcl_server_expect() before kmcl_server_start(), and kmcl_server_attach() whenever the
 * process of a driver has come. A driver's process serves a feed: one end of a socket pair
 * (AF_UNIX, SOCK_SEQPACKET), whose other end is given to kmcl_server_attach(). A guest sees one bus
 * with the offers of all. If the process of a driver ends, its channels are withdrawn, the others
 * go on, and another process can take its place.
 */
/** `drivers` (up to 16) are in processes of their own. -EBUSY: one was loaded, or the server runs;
 *  -EINVAL. */
int kmcl_server_expect(kmcl_server *server, uint32_t drivers);
/** The process of that driver (from 0) is there, in place of one before. Takes `feed` over, also on
 *  failure. -EINVAL: not expected. */
int kmcl_server_attach(kmcl_server *server, uint32_t driver, int feed);
/** The server of a driver's process: the one of that number out of `drivers`, which decides on its
 *  channel ids. kmcl_server_start() sends one packet on the feed, to be taken before the other end
 *  is attached. The feed is over when it hangs up. Takes `feed` over, also on failure. Errors as of
 *  kmcl_server_create(). */
int kmcl_server_create_fed(int feed, uint32_t driver, uint32_t drivers,
			   const struct kmcl_server_options *options, kmcl_server **server,
			   char **error);

/** Guests that are connected now. */
unsigned int kmcl_server_guests(kmcl_server *server);
/** Calls `each` for every guest's partition, which exists until it returns. `guest` counts
 *  connections from 1. Stops when `each` returns nonzero, and returns that. */
int kmcl_server_each(kmcl_server *server,
		     int (*each)(void *ctx, unsigned int guest, kmcl_partition *partition),
		     void *ctx);

/* ---- a guest ---- */

struct kmcl_guest_options {
	uint32_t size;      /**< sizeof(struct kmcl_guest_options) */
	uint32_t wait_ms;   /**< while nobody listens at the path, try again for so long */
	uint32_t reconnect; /**< when the host goes away, connect to the next one */
	uint32_t reserved;
	const struct kmcl_partition_options *partition; /**< or NULL; processors: of the guest */
};

/**
 * A partition with a guest's end, connected to the host at `path`.
 *
 * @return 0; -ENOENT, -ECONNREFUSED: nobody listens; -EPROTO: it is no host of this protocol;
 *         -EINVAL, -ENAMETOOLONG, -ETIMEDOUT, -ENOMEM. Then *error (if wanted) is a sentence, to be
 *         freed with kmcl_free().
 */
int kmcl_partition_create_user(const char *path, const struct kmcl_guest_options *options,
			       kmcl_partition **partition, char **error);

/* ---- what a host offers ---- */

struct kmcl_offer {
	uint8_t interface_id[16]; /**< GUIDs as on the wire; kmcl/trace.h writes and names them */
	uint8_t instance_id[16];
	uint32_t channel_id;
	uint16_t subchannel, flags;
	uint16_t mmio_megabytes, mmio_megabytes_optional;
	uint32_t monitor_id; /**< UINT32_MAX: not monitored */
	uint8_t user_data[120];
};

/**
 * The offers that a partition with a guest's end sees now, in the order of their channel ids.
 * Waits until the host has made those that it had when the guest connected.
 *
 * @return 0; -ETIMEDOUT: it has not; -ENODEV: no guest's end; -ENOMEM. `*count` is how many there
 *         are, of which up to `max` are filled in.
 */
int kmcl_partition_offers(kmcl_partition *partition, unsigned int timeout_ms,
			  struct kmcl_offer *offers, size_t max, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
