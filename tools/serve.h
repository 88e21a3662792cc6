/* SPDX-License-Identifier: MIT */
/** @file What `kmcl serve` was told, for its ways to serve: in one process, or one a driver. */
#ifndef TOOLS_SERVE_H
#define TOOLS_SERVE_H

#include <signal.h>
#include <stdbool.h>

#include <kmcl/user.h>

#include "control.h"
#include "kmcl.h"

#define MOST_DRIVERS 16u

struct serve {
	const char *socket, *control_path, *specs[MOST_DRIVERS];
	unsigned int count;
	uint64_t timeout; /* seconds; 0: none */
	bool sandbox;
	bool apart; /* a process per driver */
	int feed;   /* we are the process of one: where guests come from; else -1 */
	uint64_t driver, drivers;
	struct kmcl_server_options options;
	struct kmcl_partition_options bus;
	struct capture_request capture;
	kmcl_server *server;
	struct control *control;
};

/** Says why and frees it; false. */
bool serve_failed(char *error);

/** A process per driver, and one for the socket, kept by this one until a signal of `ends` or the
 *  timeout. False: said why. */
bool serve_apart(struct serve *s, const sigset_t *ends);
/** One driver, for the guests that come on the feed, until that hangs up. */
bool serve_feed(struct serve *s);

#endif
