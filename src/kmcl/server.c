/* SPDX-License-Identifier: MIT */
/*
 * A server channel: offered while enabled, open while a guest has it open.
 */
#include <errno.h>
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/guid.h"

#define WIRE_OFFER_ENUMERATE_INTERFACE 0x0001u
#define WIRE_OFFER_PIPE                0x0010u
#define WIRE_OFFER_LOOPBACK            0x0100u
#define WIRE_OFFER_TLNPI               0x2000u
#define PIPE_TYPE_MESSAGE              4u

/* ---- upcalls, on the message thread ---- */

static void on_open(void *device, const struct part_server_open *open)
{
	struct kmcl_channel *ch = device;

	ch->relid = open->relid;
	atomic_store(&ch->resumed, open->restored);
	atomic_store(&ch->open_asked, true);
	kmcl_event_post(ch, &ch->ev_open);
}

static void on_close(void *device)
{
	struct kmcl_channel *ch = device;

	atomic_store(&ch->close_asked, true);
	/* before the post: the job may be done before we are back */
	kmcl_close_cause(ch);
	if (!kmcl_event_post(ch, &ch->ev_close))
		kmcl_close_done(ch);
}

static bool at_rest(void *device)
{
	return atomic_load(&((struct kmcl_channel *)device)->saved);
}

static const struct part_server_channel_ops server_ops = {
	.open = on_open,
	.close = on_close,
	.at_rest = at_rest,
};

/* ---- on the strand ---- */

static void set_link(struct kmcl_channel *ch, enum kmcl_link link)
{
	atomic_store_explicit(&ch->link, link, memory_order_release);
}

static void guest_opens(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, ev_open.job);
	NTSTATUS status = STATUS_DEVICE_REMOVED;

	kmcl_event_begin(&ch->ev_open);
	if (!atomic_exchange(&ch->open_asked, false))
		return;
	if (kmcl_closing(ch)) {
		part_server_open_done(ch->offer, (uint32_t)status);
		return;
	}
	if (!kmcl_session_prepare(ch)) {
		part_server_open_done(ch->offer, (uint32_t)STATUS_INSUFFICIENT_RESOURCES);
		return;
	}
	if (!kmcl_restore_session(ch, atomic_load(&ch->resumed))) {
		kmcl_session_release(ch);
		part_server_open_done(ch->offer, (uint32_t)STATUS_DATA_ERROR);
		return;
	}
	set_link(ch, KMCL_LINK_OPEN);
	status = kmcl_session_opened(ch);
	if (!NT_SUCCESS(status)) {
		kmcl_out_end_placed(ch,
				    STATUS_DEVICE_REMOVED); /* of a restore, there are no others */
		kmcl_gpadls_drop(ch);
		set_link(ch, KMCL_LINK_ENABLED);
		kmcl_session_release(ch);
		part_server_open_done(ch->offer, (uint32_t)status);
		return;
	}
	ch->opened_once = true;
	if (kmcl_save_stands(ch)) {
		/* opened, but what is in the rings belongs to who restores the channel */
		ch->detached = true;
		part_server_open_done(ch->offer, 0);
	} else {
		kmcl_out_set_live(ch, true);
		part_server_open_done(ch->offer, 0);
		part_port_attach(&ch->port);
	}
	kmcl_session_start(ch);
}

/* Stopped follows: from the call of Closed on sends are queued for the next open, unless a Disable
 * is on its way. */
static void guest_closes(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, ev_close.job);

	kmcl_event_begin(&ch->ev_close);
	if (!atomic_exchange(&ch->close_asked, false)) {
		kmcl_close_done(ch);
		return;
	}
	if (kmcl_link(ch) != KMCL_LINK_OPEN) {
		kmcl_close_done(ch);
		part_server_close_done(ch->offer);
		return;
	}
	kmcl_session_stop(ch);
	kmcl_close_done(ch);
	kmcl_out_set_gate(ch, KMCL_GATE_QUEUE);
	kmcl_session_closed(ch);
	set_link(ch, KMCL_LINK_ENABLED);
	kmcl_session_release(ch);
	part_server_close_done(ch->offer);
}

void kmcl_server_init(struct kmcl_channel *ch)
{
	ch->ev_open.job.run = guest_opens;
	ch->ev_close.job.run = guest_closes;
	ch->port.ops = &kmcl_port_ops;
}

static void apply_options(const struct kmcl_offer_options *o, struct vmbus_offer *offer)
{
	if (!o)
		return;
	offer->subchannel = o->subchannel;
	offer->monitored = o->monitored;
	offer->monitor_latency = o->monitor_latency;
	if (o->user_data_size)
		memcpy(offer->user_data, o->user_data,
		       o->user_data_size < sizeof(offer->user_data) ? o->user_data_size
								    : sizeof(offer->user_data));
}

static void describe_offer(const struct kmcl_config *c, struct vmbus_offer *offer)
{
	memset(offer, 0, sizeof(*offer));
	offer->interface_id = kmcl_guid_to_wire(&c->type);
	offer->instance_id = kmcl_guid_to_wire(&c->instance);
	offer->vtl = c->vtl;
	offer->mmio_megabytes = c->mmio;
	offer->mmio_megabytes_optional = c->mmio_optional;
	if (c->server_flags & VMBUS_SERVER_CHANNEL_INIT_FLAG_ENUMERATE_DEVICE_INTERFACE)
		offer->flags |= WIRE_OFFER_ENUMERATE_INTERFACE;
	if (c->server_flags & VMBUS_SERVER_CHANNEL_INIT_FLAG_LOOPBACK_OFFER)
		offer->flags |= WIRE_OFFER_LOOPBACK;
	if (c->server_flags & VMBUS_SERVER_CHANNEL_INIT_FLAG_TLNPI_PROVIDER_OFFER)
		offer->flags |= WIRE_OFFER_TLNPI;
	if (c->server_flags & VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE) {
		offer->flags |= WIRE_OFFER_PIPE;
		offer->user_data[0] = PIPE_TYPE_MESSAGE;
	}
}

NTSTATUS kmcl_server_enable(struct kmcl_channel *ch)
{
	struct vmbus_offer offer;
	int error;

	if (!ch->config.targeted)
		return STATUS_INVALID_PARAMETER;
	if (!ch->config.bus)
		return STATUS_INVALID_HANDLE;
	if (ch->config.vtl && ch->config.vtl != part_vtl(ch->config.bus))
		return STATUS_NOT_SUPPORTED; /* its connection cannot exist on this bus */
	describe_offer(&ch->config, &offer);
	apply_options(ch->offer_options, &offer);
	offer.force_new =
		ch->config.server_flags & VMBUS_SERVER_CHANNEL_INIT_FLAG_FORCE_NEW_CHANNEL;
	offer.resume = ch->restored && !offer.force_new;
	if (offer.force_new)
		kmcl_restore_discard(ch);
	/* the guest may open before the call below returns */
	kmcl_out_set_gate(ch, KMCL_GATE_QUEUE);
	set_link(ch, KMCL_LINK_ENABLED);
	error = part_server_offer(ch->config.bus, &offer, &server_ops, ch, &ch->port, &ch->offer);
	if (!error)
		return STATUS_SUCCESS;
	ch->offer = NULL;
	set_link(ch, KMCL_LINK_DISABLED);
	kmcl_out_set_gate(ch, KMCL_GATE_REFUSE);
	kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
	return error == -EEXIST ? STATUS_OBJECT_NAME_COLLISION : STATUS_INSUFFICIENT_RESOURCES;
}

/* Closed comes before the revoke: once the guest has seen RESCIND it may use the memory of rings
 * and GPADLs again, so the driver must have let go of them by then. */
void kmcl_server_disable(struct kmcl_channel *ch)
{
	bool open = kmcl_link(ch) == KMCL_LINK_OPEN;

	kmcl_out_set_gate(ch, KMCL_GATE_REFUSE);
	if (open) {
		kmcl_session_stop(ch);
		kmcl_session_closed(ch);
	} else {
		kmcl_out_end_all(ch, STATUS_DEVICE_REMOVED);
	}
	part_server_revoke(ch->offer);
	ch->offer = NULL;
	ch->relid = 0;
	/* no upcall comes any more; what is still queued has nobody to answer */
	atomic_store(&ch->open_asked, false);
	atomic_store(&ch->close_asked, false);
	if (open)
		kmcl_session_release(ch);
	set_link(ch, KMCL_LINK_DISABLED);
}
