/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A guest's way to drivers that are in processes of their own. Control messages go through here;
 * rings and signals do not: each driver's process has the guest's memory, its signal bitmap and its
 * eventfds, and takes of the bitmap the words of its own channels.
 */
#ifndef PARTITION_USER_RELAY_H
#define PARTITION_USER_RELAY_H

#include "partition/user.h"

struct user_relay;

/** Between the partition's server end, which has started, and the drivers' processes. */
int user_relay_create(struct part *part, uint32_t vps, const struct user_relay_options *options,
		      struct user_relay **relay);
/** The partition has more memory. */
void user_relay_memory(struct user_relay *relay);
/** A SYNIC packet that was accepted. The descriptors outlive the relay. */
void user_relay_synic(struct user_relay *relay, const uint8_t *packet, int to_host, int to_guest);
/** A driver's process may have come. */
void user_relay_look(struct user_relay *relay);
/** Hangs up on every driver's process, waits until it has let go of the guest, and withdraws its
 *  channels. Blocks, for a few seconds at most. */
void user_relay_end(struct user_relay *relay);
/** Before its partition. Ends first, if that was not done. */
void user_relay_destroy(struct user_relay *relay);

#endif
