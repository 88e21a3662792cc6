/* SPDX-License-Identifier: MIT */
/*
 * Entering and leaving driver code: the current driver, the IRQL, and which callback of which
 * channel the thread is in, so that calls that would deadlock are named instead.
 */
#include "kmcl/channel.h"
#include "kmcl/verifier.h"

/* The library is loaded with the program, so the word needs no function call. */
static _Thread_local struct kmcl_frame *top_frame __attribute__((tls_model("initial-exec")));

void kmcl_callback_enter(struct kmcl_frame *frame, struct kmcl_channel *ch, enum kmcl_callback cb)
{
	frame->channel = ch;
	frame->callback = cb;
	frame->outer = top_frame;
	frame->driver = nt_driver_enter(ch->driver);
	frame->irql = KeGetCurrentIrql();
	frame->spin_locks = nt_spin_locks_held();
	top_frame = frame;
}

struct kmcl_channel *kmcl_callback_channel(void)
{
	return top_frame ? top_frame->channel : NULL;
}

static const char *callback_name(enum kmcl_callback cb)
{
	static const char *const names[] = {
		[KMCL_CB_NONE] = "a callback",
		[KMCL_CB_OPENED] = "EvtVmbChannelOpened",
		[KMCL_CB_CLOSED] = "EvtVmbChannelClosed",
		[KMCL_CB_SUSPEND] = "EvtVmbChannelSuspend",
		[KMCL_CB_STARTED] = "EvtVmbChannelStarted",
		[KMCL_CB_POST_STARTED] = "EvtVmbChannelPostStarted",
		[KMCL_CB_PNP_FAILURE] = "EvtVmbChannelPnpFailure",
		[KMCL_CB_PROCESS] = "EvtVmbChannelProcessPacket",
		[KMCL_CB_PROCESSING_COMPLETE] = "EvtVmbChannelProcessingComplete",
		[KMCL_CB_ROUTINE] = "a completion routine",
		[KMCL_CB_SAVE_PACKET] = "EvtVmbChannelSavePacket",
		[KMCL_CB_RESTORE_PACKET] = "EvtVmbChannelRestorePacket",
	};

	return names[cb];
}

/* Either way: a callback may have lowered what it did not raise. */
static void restore_irql(KIRQL irql)
{
	KIRQL ignored;

	if (KeGetCurrentIrql() > irql)
		KeLowerIrql(irql);
	else
		KeRaiseIrql(irql, &ignored);
}

void kmcl_callback_leave(struct kmcl_frame *frame)
{
	if (nt_spin_locks_held() > frame->spin_locks)
		kmcl_violation(frame->channel, "spin-lock-at-return",
			       "%s returned with %u spin locks that it acquired",
			       callback_name(frame->callback),
			       nt_spin_locks_held() - frame->spin_locks);
	if (KeGetCurrentIrql() != frame->irql) {
		kmcl_violation(frame->channel, "callback-irql", "%s returned at IRQL %u, not %u",
			       callback_name(frame->callback), KeGetCurrentIrql(), frame->irql);
		restore_irql(frame->irql);
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
		kmcl_violation(ch, "call-in-callback",
			       "%s was called in %s of the same channel, from which it may not be "
			       "called",
			       function, callback_name(cb));
		return true;
	}
	return kmcl_above_passive(function);
}
