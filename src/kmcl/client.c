/* SPDX-License-Identifier: MIT */
/*
 * A client channel: while enabled it waits for its offer, claims it and opens it; when that session
 * ends, for whatever reason, the channel is disabled.
 */
#include <errno.h>

#include "kmcl/channel.h"
#include "kmcl/guid.h"

static void set_link(struct kmcl_channel *ch, enum kmcl_link link)
{
	atomic_store_explicit(&ch->link, link, memory_order_release);
}

/* ---- upcalls, on the message thread ---- */

static void on_rescind(void *owner)
{
	struct kmcl_channel *ch = owner;

	spin_lock(&ch->claim_lock);
	ch->rescinded_session = ch->session;
	spin_unlock(&ch->claim_lock);
	/* before the post: the job may be done before we are back */
	kmcl_close_cause(ch);
	if (!kmcl_event_post(ch, &ch->ev_close))
		kmcl_close_done(ch);
}

static const struct part_client_channel_ops client_ops = {
	.rescind = on_rescind,
};

/* The target is what the driver named, else the offer that its parent device stands for. */
static bool matches(const struct kmcl_channel *ch, const struct vmbus_client_offer *offer)
{
	const struct kmcl_config *c = &ch->config;

	if (!c->targeted)
		return offer->channel == ch->parent_offer;
	if (offer->subchannel || !kmcl_guid_matches(&c->type, &offer->interface_id))
		return false;
	return c->any_instance || kmcl_guid_matches(&c->instance, &offer->instance_id);
}

/* Under claim_lock. */
static int claim(struct kmcl_channel *ch, struct part_client_channel *pch)
{
	int error;

	ch->session++;
	error = part_client_claim(pch, &client_ops, ch);
	if (error)
		return error;
	ch->claimed = pch;
	ch->armed = false;
	ch->relid = part_client_offer(pch)->relid;
	ch->matched_instance = kmcl_guid_from_wire(&part_client_offer(pch)->instance_id);
	ch->matched = true;
	return 0;
}

static void on_offered(struct part_client_listener *l, struct part_client_channel *pch)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(l, struct kmcl_channel, listener);
	bool claimed;

	if (!matches(ch, part_client_offer(pch)))
		return;
	spin_lock(&ch->claim_lock);
	claimed = ch->armed && !claim(ch, pch);
	spin_unlock(&ch->claim_lock);
	if (claimed)
		kmcl_event_post(ch, &ch->ev_connect);
}

static void on_withdrawn(struct part_client_listener *l, struct part_client_channel *pch)
{
}

/* ---- on the strand ---- */

static void disarm(struct kmcl_channel *ch)
{
	spin_lock(&ch->claim_lock);
	ch->armed = false;
	spin_unlock(&ch->claim_lock);
	if (ch->listening)
		part_client_unlisten(ch->ep, &ch->listener);
	ch->listening = false;
}

/* Which offers may match. */
static void describe_wanted(struct kmcl_channel *ch)
{
	struct part_client_listener *l = &ch->listener;

	l->what = PART_LISTEN_ALL;
	if (!ch->config.targeted) {
		l->what = PART_LISTEN_CHANNEL;
		l->channel = ch->parent_offer;
	} else if (!ch->config.any_instance) {
		l->what = PART_LISTEN_INSTANCE;
		l->interface_id = kmcl_guid_to_wire(&ch->config.type);
		l->instance_id = kmcl_guid_to_wire(&ch->config.instance);
	}
}

/* Waits for an offer, those that exist included. */
static int arm(struct kmcl_channel *ch)
{
	int error;

	describe_wanted(ch);

	spin_lock(&ch->claim_lock);
	ch->armed = true;
	spin_unlock(&ch->claim_lock);
	error = part_client_listen(ch->ep, &ch->listener);
	ch->listening = !error;
	return error;
}

static void let_go(struct kmcl_channel *ch)
{
	struct part_client_channel *pch;

	spin_lock(&ch->claim_lock);
	pch = ch->claimed;
	ch->claimed = NULL;
	ch->matched = false;
	spin_unlock(&ch->claim_lock);
	if (pch)
		part_client_put(pch);
	ch->relid = 0;
}

static void become_disabled(struct kmcl_channel *ch)
{
	kmcl_out_set_gate(ch, KMCL_GATE_REFUSE);
	disarm(ch);
	let_go(ch);
	set_link(ch, KMCL_LINK_DISABLED);
}

/* Ring bytes of the largest packet, its trailer included. */
static uint64_t packet_bytes(const struct kmcl_channel *ch, uint32_t extra)
{
	return 24 + (uint64_t)extra + kmcl_pipe_header(ch) + ((kmcl_max_payload(ch) + 7u) & ~7u);
}

/* A ring must hold several of the largest packets that the settings allow. */
static uint32_t automatic_pages(const struct kmcl_channel *ch, uint32_t extra)
{
	uint64_t packet = packet_bytes(ch, extra);
	uint64_t pages = (4 * packet + PAGE_SIZE - 1) / PAGE_SIZE;

	if (pages < KMCL_MIN_RING_DATA_PAGES)
		pages = KMCL_MIN_RING_DATA_PAGES;
	return (uint32_t)pages + 1;
}

/* Asked-for sizes are raised to what one packet of the largest size needs. */
static uint32_t ring_pages(const struct kmcl_channel *ch, uint32_t asked, uint32_t extra)
{
	uint64_t packet = packet_bytes(ch, extra);
	uint32_t least = (uint32_t)((packet + 16 + PAGE_SIZE - 1) / PAGE_SIZE) + 1;

	if (!asked)
		return automatic_pages(ch, extra);
	return asked > least ? asked : least;
}

static int open_rings(struct kmcl_channel *ch, uint32_t *status)
{
	uint32_t out = ring_pages(ch, ch->config.out_pages, kmcl_packet_header_room(ch));
	uint32_t in = ring_pages(ch, ch->config.in_pages, 0);

	return part_client_open(ch->claimed, &ch->port, out, in,
				ch->relid % part_dispatchers(ch->ep), status);
}

/* The device was found and refused us. */
static void connect_failed(struct kmcl_channel *ch, NTSTATUS status)
{
	struct kmcl_frame frame;

	kmcl_log_channel(ch, KMCL_LOG_WARNING, "the host refused to open the channel: 0x%08x",
			 (uint32_t)status);
	kmcl_out_set_gate(ch, KMCL_GATE_REFUSE);
	kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
	if (ch->config.pnp_failure) {
		kmcl_callback_enter(&frame, ch, KMCL_CB_PNP_FAILURE);
		ch->config.pnp_failure(kmcl_handle(ch), status);
		kmcl_callback_leave(&frame);
	}
	become_disabled(ch);
}

/* What the offer asks for, more if there is more; a device that gets nothing may yet do without. */
static void reserve_mmio(struct kmcl_channel *ch)
{
	const struct vmbus_client_offer *offer = part_client_offer(ch->claimed);
	uint32_t most = (uint32_t)offer->mmio_megabytes + offer->mmio_megabytes_optional;
	uint32_t got = most;
	uint64_t gpa = 0;

	if (!most)
		return;
	if (part_mmio_reserve(ch->ep, most, &gpa)) {
		got = offer->mmio_megabytes;
		if (!got || part_mmio_reserve(ch->ep, got, &gpa))
			got = 0;
	}
	if (!got && offer->mmio_megabytes)
		kmcl_log_channel(ch, KMCL_LOG_WARNING,
				 "the offer's %u MiB of MMIO space do not fit the window",
				 offer->mmio_megabytes);
	atomic_store(&ch->mmio_gpa, got ? gpa : 0);
	atomic_store(&ch->mmio_megabytes, got);
}

static void release_mmio(struct kmcl_channel *ch)
{
	uint32_t megabytes = atomic_exchange(&ch->mmio_megabytes, 0);

	if (megabytes)
		part_mmio_release(ch->ep, atomic_exchange(&ch->mmio_gpa, 0), megabytes);
}

static void end_session(struct kmcl_channel *ch)
{
	release_mmio(ch);
	kmcl_gpadls_drop(ch);
	part_client_free_rings(ch->claimed, &ch->port);
	kmcl_session_release(ch);
	become_disabled(ch);
}

static void session(struct kmcl_channel *ch)
{
	NTSTATUS status;

	reserve_mmio(ch);
	set_link(ch, KMCL_LINK_OPEN);
	status = kmcl_session_opened(ch);
	if (!NT_SUCCESS(status)) {
		kmcl_out_set_gate(ch, KMCL_GATE_REFUSE);
		kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
		part_client_close(ch->claimed);
		end_session(ch);
		return;
	}
	kmcl_out_set_live(ch, true);
	part_port_attach(&ch->port);
	kmcl_session_start(ch);
}

static NTSTATUS open_status(int error, uint32_t status)
{
	switch (error) {
	case -ECONNREFUSED:
		return status && !NT_SUCCESS((NTSTATUS)status) ? (NTSTATUS)status
							       : STATUS_UNSUCCESSFUL;
	case -ENOMEM:
	case -ENOSPC:
		return STATUS_INSUFFICIENT_RESOURCES;
	default:
		return STATUS_UNSUCCESSFUL;
	}
}

static bool has_claimed(struct kmcl_channel *ch)
{
	bool claimed;

	spin_lock(&ch->claim_lock);
	claimed = ch->claimed != NULL;
	spin_unlock(&ch->claim_lock);
	return claimed;
}

static void offer_found(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, ev_connect.job);
	uint32_t status = 0;
	int error;

	kmcl_event_begin(&ch->ev_connect);
	/* a Disable or the rescind is behind us in the strand and cleans up */
	if (!has_claimed(ch) || kmcl_link(ch) != KMCL_LINK_ENABLED || kmcl_closing(ch))
		return;
	error = open_rings(ch, &status);
	if (error == -ENODEV)
		return;
	if (error) {
		connect_failed(ch, open_status(error, status));
		return;
	}
	if (!kmcl_session_prepare(ch)) {
		part_client_close(ch->claimed);
		part_client_free_rings(ch->claimed, &ch->port);
		connect_failed(ch, STATUS_INSUFFICIENT_RESOURCES);
		return;
	}
	session(ch);
}

static void offer_gone(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, ev_close.job);
	bool current;

	kmcl_event_begin(&ch->ev_close);
	spin_lock(&ch->claim_lock);
	current = ch->claimed && ch->rescinded_session == ch->session;
	spin_unlock(&ch->claim_lock);
	if (current && kmcl_link(ch) == KMCL_LINK_OPEN) {
		kmcl_session_stop(ch);
		kmcl_session_closed(ch);
		end_session(ch);
	} else if (current) {
		let_go(ch);
		disarm(ch);
		arm(ch);
	}
	kmcl_close_done(ch);
	/* a new offer may have been claimed while this kept it from being opened */
	if (kmcl_link(ch) == KMCL_LINK_ENABLED && has_claimed(ch))
		kmcl_event_post(ch, &ch->ev_connect);
}

void kmcl_client_init(struct kmcl_channel *ch)
{
	ch->ev_connect.job.run = offer_found;
	ch->ev_close.job.run = offer_gone;
	ch->port.ops = &kmcl_port_ops;
	ch->listener.offered = on_offered;
	ch->listener.withdrawn = on_withdrawn;
}

NTSTATUS kmcl_client_enable(struct kmcl_channel *ch)
{
	if (!ch->config.targeted && !ch->parent_offer)
		return STATUS_NO_SUCH_DEVICE;
	if (!ch->ep)
		return STATUS_DEVICE_NOT_CONNECTED;
	kmcl_out_set_gate(ch, KMCL_GATE_QUEUE);
	set_link(ch, KMCL_LINK_ENABLED);
	if (!arm(ch))
		return STATUS_SUCCESS;
	become_disabled(ch);
	kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
	return STATUS_INSUFFICIENT_RESOURCES;
}

/* CLOSE goes out before Closed is called: the driver's DeleteGpadl waits there for the server,
 * which unmaps when it learns of the close. */
void kmcl_client_disable(struct kmcl_channel *ch)
{
	disarm(ch);
	if (kmcl_link(ch) != KMCL_LINK_OPEN) {
		kmcl_out_set_gate(ch, KMCL_GATE_REFUSE);
		kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
		become_disabled(ch);
		return;
	}
	kmcl_session_stop(ch);
	part_client_close(ch->claimed);
	kmcl_session_closed(ch);
	end_session(ch);
}
