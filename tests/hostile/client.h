/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The real guest under attack: the library's client end with the echo client driver, loaded through
 * the hosting API. What blocks is done in a thread of its own while the raw host serves.
 */
#ifndef TESTS_HOSTILE_CLIENT_H
#define TESTS_HOSTILE_CLIENT_H

#include "host.h"

#include <stdatomic.h>

#include <kmcl/kmcl.h>

struct client {
	struct machine *m;
	struct host h;
	kmcl_partition *partition;
	kmcl_driver *driver;
	atomic_uint device[HOST_CHANNELS + 1]; /* where each channel's was last */
	struct held held;
};

typedef void client_work(struct client *c, void *arg);

/** The client's end runs and its driver is loaded; the host has done nothing yet. */
void client_start(struct client *c, const struct machine_config *config);
/** The host accepts `version` (0: the highest asked for), offers both channels and opens them. */
void client_connect(struct client *c, uint32_t version);
/** Runs it in a thread while the host serves. Fails when it takes too long. */
void client_do(struct client *c, client_work *work, void *arg);
/** Starts it; and serves until it is done. */
struct client_task;
struct client_task *client_begin(struct client *c, client_work *work, void *arg);
bool client_done(struct client_task *t);
void client_end(struct client *c, struct client_task *t);
/** Serves until it holds. */
#define serve_until(c, expression)                                      \
	do {                                                            \
		uint64_t until_ = now_ns() + PATIENCE_NS;               \
		while (!(expression)) {                                 \
			if (now_ns() > until_)                          \
				fail_msg("timed out: %s", #expression); \
			if (!host_serve(&(c)->h))                       \
				nap_us(50);                             \
		}                                                       \
	} while (0)

/** An ECHO through the driver of channel 1 or 2; its NTSTATUS, of the call or of the request. */
struct client_echo {
	uint32_t relid;
	uint32_t size;
	kmcl_status status;
	uint32_t answer_size;
	bool right; /* the answer is what an echo server says */
};
client_work client_echo_work;
/** Fails unless it comes back right. */
void client_echo(struct client *c, uint32_t relid);
/** VmbChannelDisable, VmbChannelEnable by the driver of that channel. */
void client_disable(struct client *c, uint32_t relid);
void client_enable(struct client *c, uint32_t relid);
/** For a thread of its own: nobody serves. */
kmcl_status client_disable_blocking(struct client *c, uint32_t relid);
kmcl_status client_enable_blocking(struct client *c, uint32_t relid);
/** Whether the driver's device for that channel exists and runs. */
bool client_runs(struct client *c, uint32_t relid);
struct kmcl_channel_stats client_stats(struct client *c, uint32_t relid);
/** The partition goes, drivers and all, while the host serves; and nothing is left. */
void client_stop(struct client *c);
/** The same in steps: begin, do what the host is to do meanwhile, and end. */
struct client_task *client_stop_begin(struct client *c);
void client_stop_end(struct client *c, struct client_task *t);

#endif
