/* SPDX-License-Identifier: MIT */
/*
 * Faults that the other end makes. Each is done for real by the end that can do it, so that both
 * drivers and the wire see what they would see of it: a client's close, a host's rescind, a guest's
 * reset. They are jobs of that end's channel, in their turn with all else that happens to it.
 */
#include "kmcl/channel.h"
#include "kmcl/inject.h"

/* The channel is left disabled, as after any close. */
static void close_client(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, ev_fault.job);

	kmcl_event_begin(&ch->ev_fault);
	if (kmcl_link(ch) == KMCL_LINK_OPEN)
		kmcl_client_disable(ch);
	kmcl_close_done(ch);
}

/* The driver's settings stay as they are: `enabling` keeps its InitSet functions out. */
static void rescind_server(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, ev_fault.job);

	kmcl_event_begin(&ch->ev_fault);
	atomic_fetch_add(&ch->enabling, 1);
	if (kmcl_link(ch) != KMCL_LINK_DISABLED) {
		kmcl_save_forget(ch);
		kmcl_server_disable(ch);
		kmcl_close_done(ch);
		if (!NT_SUCCESS(kmcl_server_enable(ch)))
			kmcl_log_channel(ch, KMCL_LOG_ERROR, "the offer cannot be made again");
	} else {
		kmcl_close_done(ch);
	}
	atomic_fetch_sub(&ch->enabling, 1);
}

static void post(struct kmcl_channel *ch)
{
	kmcl_close_cause(ch);
	if (!kmcl_event_post(ch, &ch->ev_fault))
		kmcl_close_done(ch);
}

static void reset_guest(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, fault_reset);
	struct part_endpoint *ep = ch->server ? ch->config.bus : ch->ep;

	if (part_reset(part_of(ep)))
		kmcl_log_channel(ch, KMCL_LOG_WARNING, "no reset: this guest cannot be reset here");
	atomic_store(&ch->resetting, false);
}

void kmcl_fault_init(struct kmcl_channel *ch)
{
	ch->ev_fault.job.run = ch->server ? rescind_server : close_client;
	ch->fault_reset.run = reset_guest;
}

/* It may use the channel until its last store. */
void kmcl_fault_quiesce(struct kmcl_channel *ch)
{
	LARGE_INTEGER millisecond = {.QuadPart = -10000};

	while (atomic_load(&ch->resetting))
		KeDelayExecutionThread(KernelMode, FALSE, &millisecond);
}

bool kmcl_fault_peer(struct kmcl_channel *ch, enum kmcl_fault_kind kind)
{
	bool server = kind == KMCL_FAULT_RESCIND;

	if (kind == KMCL_FAULT_RESET) {
		if (!atomic_exchange(&ch->resetting, true))
			nt_pool_submit(&ch->fault_reset);
		return true;
	}
	if (ch->server == server) {
		post(ch);
		return true;
	}
	return kmcl_channel_with_peer(ch, post);
}
