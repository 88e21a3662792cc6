/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The real host under attack: the library's server end with two channels of the echo driver on it,
 * loaded through the hosting API, and a third that is served by hand on the partition's interface.
 */
#ifndef TESTS_HOSTILE_SERVER_H
#define TESTS_HOSTILE_SERVER_H

#include "guest.h"

#include <kmcl/kmcl.h>

/* Channel ids, in the order of the first batch of offers. */
#define ECHO_ONE 1u
#define ECHO_TWO 2u
#define PLAIN    3u

struct plain_device;

struct server {
	struct machine *m;
	struct guest g;
	kmcl_partition *partition;
	kmcl_driver *driver;
	struct plain_device *plain;
	struct held held;
};

void server_start(struct server *s, const struct machine_config *config);
/** Ends everything, whatever the guest did before, and looks for what was left. */
void server_stop(struct server *s);
/** Withdraws the echo channel (0, 1) as its driver, and offers it again. */
void server_disable_echo(struct server *s, uint32_t channel);
void server_enable_echo(struct server *s, uint32_t channel);
/** Open or closed, as the driver sees it. */
bool server_echo_is_open(struct server *s, uint32_t channel);
/** Withdraws the plain channel; and offers it again. */
void server_revoke_plain(struct server *s);
void server_offer_plain(struct server *s);
/** The plain device answers opens when server_answer_open is called, and not before. */
void server_hold_opens(struct server *s, bool hold);
bool server_open_asked(struct server *s);
void server_answer_open(struct server *s, uint32_t status);
/** A counter of an echo channel at the server's end. */
struct kmcl_channel_stats server_stats(struct server *s, uint32_t relid);

#endif
