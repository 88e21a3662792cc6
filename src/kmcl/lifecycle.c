/* SPDX-License-Identifier: MIT */
/*
 * The life of a channel. Calls that change its state become requests on the channel's strand, where
 * they meet what the peer does, in order of arrival; the strand's jobs run at PASSIVE_LEVEL and may
 * block. What must not wait behind a blocked callback, failing synchronous requests of a channel
 * that closes, happens at once in kmcl_close_cause().
 *
 * The sequences OPEN, START, SUSPEND and CLOSE are here; server.c and client.c say when.
 */
#include <stdlib.h>

#include "kmcl/channel.h"
#include "kmcl/inject.h"

enum request_type {
	REQUEST_ENABLE,
	REQUEST_DISABLE,
	REQUEST_START,
	REQUEST_PAUSE,
};

struct request {
	struct nt_job job;
	struct kmcl_channel *channel;
	enum request_type type;
	NTSTATUS status;
	KEVENT done;
};

void kmcl_lifecycle_init(struct kmcl_channel *ch)
{
	nt_strand_init(&ch->strand);
	if (ch->server)
		kmcl_server_init(ch);
	else
		kmcl_client_init(ch);
}

/* No job of the channel is between its last line and the strand's own. */
void kmcl_lifecycle_quiesce(struct kmcl_channel *ch)
{
	nt_strand_wait_idle(&ch->strand);
	nt_strand_wait_idle(&ch->in.strand);
}

void kmcl_close_cause(struct kmcl_channel *ch)
{
	atomic_fetch_add(&ch->close_causes, 1);
	kmcl_sync_fail_all(ch);
}

void kmcl_close_done(struct kmcl_channel *ch)
{
	atomic_fetch_sub(&ch->close_causes, 1);
}

/* ---- sequences ---- */

bool kmcl_session_prepare(struct kmcl_channel *ch)
{
	if (kmcl_fault_alloc(ch, "the opening of a channel") || !kmcl_in_prepare(ch))
		return false;
	if (kmcl_out_prepare(ch))
		return true;
	kmcl_in_release(ch);
	return false;
}

void kmcl_session_release(struct kmcl_channel *ch)
{
	kmcl_out_release(ch);
	kmcl_in_release(ch);
}

NTSTATUS kmcl_session_opened(struct kmcl_channel *ch)
{
	struct kmcl_frame frame;
	NTSTATUS status = STATUS_SUCCESS;

	if (ch->config.state.EvtChannelOpened) {
		kmcl_callback_enter(&frame, ch, KMCL_CB_OPENED);
		status = ch->config.state.EvtChannelOpened(kmcl_handle(ch));
		kmcl_callback_leave(&frame);
	}
	return status;
}

static void state_callback(struct kmcl_channel *ch, VOID (*callback)(VMBCHANNEL),
			   enum kmcl_callback kind)
{
	struct kmcl_frame frame;

	if (!callback)
		return;
	kmcl_callback_enter(&frame, ch, kind);
	callback(kmcl_handle(ch));
	kmcl_callback_leave(&frame);
}

void kmcl_session_start(struct kmcl_channel *ch)
{
	if (!atomic_load(&ch->run) || kmcl_closing(ch))
		return;
	kmcl_save_resume(ch);
	ch->started = true;
	state_callback(ch, ch->config.state.EvtChannelStarted, KMCL_CB_STARTED);
	kmcl_out_set_gate(ch, KMCL_GATE_FLOW);
	kmcl_in_start(ch);
	if (!kmcl_closing(ch))
		state_callback(ch, ch->config.state.EvtChannelPostStarted, KMCL_CB_POST_STARTED);
}

void kmcl_session_suspend(struct kmcl_channel *ch)
{
	if (!ch->started)
		return;
	kmcl_in_stop(ch);
	kmcl_out_set_gate(ch, KMCL_GATE_QUEUE);
	state_callback(ch, ch->config.state.EvtChannelSuspend, KMCL_CB_SUSPEND);
	kmcl_in_wait_outstanding(ch);
	ch->started = false;
}

void kmcl_session_stop(struct kmcl_channel *ch)
{
	kmcl_session_suspend(ch);
	kmcl_save_forget(ch);
	part_port_detach(&ch->port);
	kmcl_out_set_live(ch, false);
	kmcl_out_set_gate(ch, KMCL_GATE_REFUSE);
	kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
	kmcl_in_discard(ch);
}

void kmcl_session_closed(struct kmcl_channel *ch)
{
	state_callback(ch, ch->config.state.EvtChannelClosed, KMCL_CB_CLOSED);
	kmcl_gpadls_check(ch);
	kmcl_gpadls_drop(ch);
}

/* ---- requests ---- */

static NTSTATUS do_enable(struct kmcl_channel *ch)
{
	NTSTATUS status;

	if (kmcl_link(ch) != KMCL_LINK_DISABLED || !kmcl_restore_usable(ch))
		return STATUS_INVALID_DEVICE_STATE;
	ch->opened_once = false;
	atomic_store(&ch->run, ch->run_next);
	status = ch->server ? kmcl_server_enable(ch) : kmcl_client_enable(ch);
	if (NT_SUCCESS(status))
		ch->run_next = !ch->server;
	return status;
}

static void do_disable(struct kmcl_channel *ch)
{
	if (kmcl_link(ch) == KMCL_LINK_DISABLED)
		return;
	kmcl_save_forget(ch);
	if (ch->server)
		kmcl_server_disable(ch);
	else
		kmcl_client_disable(ch);
	kmcl_restore_discard(ch);
}

static void do_start(struct kmcl_channel *ch)
{
	if (kmcl_link(ch) == KMCL_LINK_DISABLED) {
		ch->run_next = true;
		return;
	}
	atomic_store(&ch->run, true);
	if (kmcl_link(ch) == KMCL_LINK_OPEN && !ch->started)
		kmcl_session_start(ch);
}

static void do_pause(struct kmcl_channel *ch)
{
	if (kmcl_link(ch) == KMCL_LINK_DISABLED) {
		ch->run_next = false;
		return;
	}
	atomic_store(&ch->run, false);
	if (kmcl_link(ch) == KMCL_LINK_OPEN)
		kmcl_session_suspend(ch);
}

static void run_request(struct nt_job *job)
{
	struct request *r = CONTAINING_RECORD(job, struct request, job);
	struct kmcl_channel *ch = r->channel;

	switch (r->type) {
	case REQUEST_ENABLE:
		r->status = do_enable(ch);
		atomic_fetch_sub(&ch->enabling, 1);
		break;
	case REQUEST_DISABLE:
		do_disable(ch);
		kmcl_close_done(ch);
		break;
	case REQUEST_START:
		do_start(ch);
		free(r);
		return;
	case REQUEST_PAUSE:
		do_pause(ch);
		break;
	}
	KeSetEvent(&r->done, IO_NO_INCREMENT, FALSE);
}

/* ---- the strand, held ---- */

static void stand_still(struct nt_job *job)
{
	struct kmcl_strand_hold *hold = CONTAINING_RECORD(job, struct kmcl_strand_hold, job);

	KeSetEvent(&hold->held, IO_NO_INCREMENT, FALSE);
	KeWaitForSingleObject(&hold->leave, Executive, KernelMode, FALSE, NULL);
	KeSetEvent(&hold->left, IO_NO_INCREMENT, FALSE);
}

void kmcl_strand_hold(struct kmcl_channel *ch, struct kmcl_strand_hold *hold)
{
	hold->job = (struct nt_job){.run = stand_still};
	KeInitializeEvent(&hold->held, NotificationEvent, FALSE);
	KeInitializeEvent(&hold->leave, NotificationEvent, FALSE);
	KeInitializeEvent(&hold->left, NotificationEvent, FALSE);
	nt_strand_post(&ch->strand, &hold->job);
	KeWaitForSingleObject(&hold->held, Executive, KernelMode, FALSE, NULL);
}

/* The job is on the caller's stack: it is out of it when this returns. */
void kmcl_strand_release(struct kmcl_strand_hold *hold)
{
	KeSetEvent(&hold->leave, IO_NO_INCREMENT, FALSE);
	KeWaitForSingleObject(&hold->left, Executive, KernelMode, FALSE, NULL);
}

static NTSTATUS request_and_wait(struct kmcl_channel *ch, enum request_type type)
{
	struct request r = {.job = {.run = run_request}, .channel = ch, .type = type};

	KeInitializeEvent(&r.done, NotificationEvent, FALSE);
	nt_strand_post(&ch->strand, &r.job);
	KeWaitForSingleObject(&r.done, Executive, KernelMode, FALSE, NULL);
	return r.status;
}

/* What Start and Pause want holds at once for an Opened that is running; the change of state itself
 * follows in its turn. */
static void intend(struct kmcl_channel *ch, bool run)
{
	if (kmcl_link(ch) != KMCL_LINK_DISABLED)
		atomic_store(&ch->run, run);
}

/* The channel for a call that may not be made inside its callbacks; NULL: reported. */
static struct kmcl_channel *controllable(VMBCHANNEL handle, const char *function)
{
	struct kmcl_channel *ch = kmcl_channel_of(handle);

	if (!ch) {
		nt_violation("bad-handle", "%s: not a channel", function);
		return NULL;
	}
	return kmcl_forbidden_here(ch, function) ? NULL : ch;
}

NTSTATUS VmbChannelEnable(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch)
		return STATUS_INVALID_PARAMETER_1;
	if (kmcl_forbidden_here(ch, "VmbChannelEnable"))
		return STATUS_INVALID_DEVICE_STATE;
	atomic_fetch_add(&ch->enabling, 1);
	return request_and_wait(ch, REQUEST_ENABLE);
}

VOID VmbChannelDisable(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = controllable(Channel, "VmbChannelDisable");

	if (!ch)
		return;
	kmcl_close_cause(ch);
	request_and_wait(ch, REQUEST_DISABLE);
}

VOID VmbChannelPause(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = controllable(Channel, "VmbChannelPause");

	if (!ch)
		return;
	intend(ch, false);
	request_and_wait(ch, REQUEST_PAUSE);
}

VOID VmbChannelStart(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = controllable(Channel, "VmbChannelStart");
	struct request *r;

	if (!ch)
		return;
	r = calloc(1, sizeof(*r));
	if (!r) {
		kmcl_log_channel(ch, KMCL_LOG_ERROR, "VmbChannelStart: out of memory");
		return;
	}
	r->job.run = run_request;
	r->channel = ch;
	r->type = REQUEST_START;
	intend(ch, true);
	nt_strand_post(&ch->strand, &r->job);
}
