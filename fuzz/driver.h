/* SPDX-License-Identifier: MIT */
/*
 * The owner of a client under a fuzzer: drivers that make requests as the input says, and hold the
 * client to what it owes them: each request ends once, each channel is rescinded once.
 */
#ifndef FUZZ_DRIVER_H
#define FUZZ_DRIVER_H

#include "control.h"
#include "vmbus/client.h"

#define DRIVER_CHANNELS 64u
#define DRIVER_GPADLS   64u

struct driver_channel {
	vmbus_channel_id id; /* 0: none */
	uint32_t relid;
	bool rescinded, opening, open, modifying;
};

struct driver_gpadl {
	vmbus_channel_id channel; /* 0: none */
	uint32_t id, pages;
	bool creating, deleting;
};

struct drivers {
	struct vmbus_client *c;
	struct driver_channel channel[DRIVER_CHANNELS];
	struct driver_gpadl gpadl[DRIVER_GPADLS];
	bool connecting, unloading, moving_pages;
	bool letting_go; /* a rescinded channel is released at once */
	unsigned int connects, failures, unloads, opens, creates;
	void (*posted)(void *ctx, const struct vmbus_client_action *a);
	void *ctx;
};

void drivers_check(const struct drivers *d);
/* Takes up to `most` actions. */
void drivers_take(struct drivers *d, unsigned int most);

void drivers_connect(struct drivers *d);
void drivers_create(struct drivers *d, const struct step *step);
void drivers_teardown(struct drivers *d, unsigned int which);
void drivers_open(struct drivers *d, const struct step *step);
void drivers_close(struct drivers *d, unsigned int which);
void drivers_modify(struct drivers *d, unsigned int which, uint32_t vp);
void drivers_release(struct drivers *d, unsigned int which);
/* Other monitor pages, or none. */
void drivers_move_pages(struct drivers *d, bool some);
void drivers_unload(struct drivers *d);
/* The transport is gone: everything ends now. */
void drivers_lost(struct drivers *d);
void drivers_query(const struct drivers *d);

/* Closes every channel that is open; lets go of every one that is rescinded. */
void drivers_close_all(struct drivers *d);
void drivers_release_all(struct drivers *d);
/* No request waits for its end. */
void drivers_rest(const struct drivers *d);
/* The channel that a step means, NULL: there is none. */
struct driver_channel *drivers_channel(struct drivers *d, unsigned int which);

#endif
