/* SPDX-License-Identifier: MIT */
/*
 * The owner of a server under a fuzzer: devices that take the server's actions, answer when and
 * how the input says, and hold the server to what it may ask of them.
 */
#ifndef FUZZ_DEVICE_H
#define FUZZ_DEVICE_H

#include "control.h"
#include "vmbus/server.h"

#define DEVICES       8u
#define DEVICE_GPADLS 64u
#define DEVICE_OWED   64u

enum device_state {
	DEVICE_NONE,
	DEVICE_CLOSED,
	DEVICE_ASKED,
	DEVICE_OPEN,
	DEVICE_CLOSING,
};

enum device_gpadl_state {
	DEVICE_GPADL_NONE,
	DEVICE_GPADL_ASKED,
	DEVICE_GPADL_HELD,
	DEVICE_GPADL_TEARING,
};

struct device {
	enum device_state state;
	vmbus_offer_id offer;
	struct vmbus_offer offered;
	uint32_t port; /* bound from ASKED to CLOSING, 0: none */
	uint32_t ring; /* the GPADL that the rings of that time are in */
	struct {
		enum device_gpadl_state state;
		uint32_t id;
	} gpadl[DEVICE_GPADLS];
};

struct devices {
	struct vmbus_server *s;
	uint32_t vps;
	struct device device[DEVICES];
	struct vmbus_server_action owed[DEVICE_OWED]; /* questions that wait for their answer */
	unsigned int owed_count;
	bool prompt;    /* whatever can be answered at once is */
	bool restoring; /* devices may still claim what was saved */
	bool lawless;   /* answers were given that nobody asked for: they may pass for others */
	void (*posted)(void *ctx, const struct vmbus_server_action *a);
	void (*disconnected)(void *ctx);
	void *ctx;
};

void devices_check(const struct devices *d);
/* Takes up to `most` actions. */
void devices_take(struct devices *d, unsigned int most);
void devices_answer(struct devices *d, unsigned int which, bool ok, uint32_t status);
/* Takes and answers until nothing is left to do, well or badly. */
void devices_settle(struct devices *d, bool ok);
/* An answer to a question that was perhaps never put. */
void devices_answer_unasked(struct devices *d, const struct step *step);

void devices_reset(struct devices *d);
void devices_offer(struct devices *d, const struct step *step);
/*
 * Saves the server and puts another in its place, made of what was saved. Some devices come back,
 * with their state or without. What the old server's devices owed is forgotten, as they are.
 */
void devices_restore(struct devices *d, const struct vmbus_server_config *config,
		     const struct step *step);
/* No more devices come back. */
void devices_restored(struct devices *d);
void devices_revoke(struct devices *d, unsigned int n);
/* Looks at everything that can be looked at. */
void devices_query(const struct devices *d);

#endif
