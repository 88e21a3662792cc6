/* SPDX-License-Identifier: MIT */
/*
 * Entering and leaving driver code: the current driver, the IRQL, and which callback of which
 * channel the thread is in, so that calls that would deadlock are named instead.
 */
#include "kmcl/channel.h"

/* The library is loaded with the program, so the word needs no function call. */
static _Thread_local struct kmcl_frame *top_frame __attribute__((tls_model("initial-exec")));

void kmcl_callback_enter(struct kmcl_frame *frame, struct kmcl_channel *ch, enum kmcl_callback cb)
{
	frame->channel = ch;
	frame->callback = cb;
	frame->outer = top_frame;
	frame->driver = nt_driver_enter(ch->driver);
	frame->irql = KeGetCurrentIrql();
	top_frame = frame;
}

void kmcl_callback_leave(struct kmcl_frame *frame)
{
	if (KeGetCurrentIrql() != frame->irql) {
		nt_violation("callback-irql", "channel %s: a callback returned at IRQL %u, not %u",
			     frame->channel->config.name, KeGetCurrentIrql(), frame->irql);
		KeLowerIrql(frame->irql);
	}
	top_frame = frame->outer;
	nt_driver_leave(frame->driver);
}

enum kmcl_callback kmcl_callback_of(const struct kmcl_channel *ch)
{
	for (struct kmcl_frame *f = top_frame; f; f = f->outer) {
		if (f->channel == ch)
			return f->callback;
	}
	return KMCL_CB_NONE;
}

bool kmcl_above_passive(const char *function)
{
	if (KeGetCurrentIrql() <= PASSIVE_LEVEL)
		return false;
	nt_violation("irql", "%s was called at IRQL %u, which needs PASSIVE_LEVEL", function,
		     KeGetCurrentIrql());
	return true;
}

bool kmcl_forbidden_here(struct kmcl_channel *ch, const char *function)
{
	return kmcl_forbidden_except(ch, function, 0);
}

bool kmcl_forbidden_except(struct kmcl_channel *ch, const char *function, unsigned int allowed)
{
	enum kmcl_callback cb = kmcl_callback_of(ch);

	if (cb != KMCL_CB_NONE && !(allowed & 1u << cb)) {
		nt_violation("call-in-callback",
			     "%s was called in a callback of the same channel (%s) from which it "
			     "may not be called",
			     function, ch->config.name);
		return true;
	}
	return kmcl_above_passive(function);
}
