/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Which channels a flag of the guest's stands for: the one of that id, or those for which the guest
 * chose it.
 *
 * Who binds holds the end's lock. Who takes flags takes no lock and waits for nobody: a channel
 * that goes from one list to another may take a reader along, so it is counted between the two, and
 * a reader that sees the count change looks again.
 */
#ifndef PARTITION_USER_FLAGS_H
#define PARTITION_USER_FLAGS_H

#include "partition/machine.h"

struct user_flags {
	atomic_uint moves;
	uint32_t first_word; /* those below are another process's */
	atomic_uint words;   /* of a guest's flags, that any channel ever had */
	_Atomic uint16_t head[HV_EVENT_FLAGS];
	struct {
		_Atomic uint16_t next, dispatcher;
		/* of who binds */
		uint16_t flag;
		bool bound;
		uint32_t connection_id;
	} place[HV_EVENT_FLAGS]; /* by channel id */
};

void user_flags_init(struct user_flags *f);
/** The flag of the channel's own number. `channel` is below HV_EVENT_FLAGS and not bound. */
void user_flags_bind(struct user_flags *f, uint32_t channel, uint32_t dispatcher,
		     uint32_t connection_id);
/** Another flag for a bound channel; several may have one. Anything else changes nothing. */
void user_flags_choose(struct user_flags *f, uint32_t channel, uint32_t flag);
void user_flags_unbind(struct user_flags *f, uint32_t connection_id);
/** Rings the doorbells of the channels that the flag means. */
void user_flags_ring(struct user_flags *f, uint32_t flag, struct hv_machine *m);
/** Takes what a VP of the guest's has set and rings the doorbells of the channels meant. */
void user_flags_take(struct user_flags *f, struct hv_flags *signals, struct hv_machine *m);

#endif
