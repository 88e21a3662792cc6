/* SPDX-License-Identifier: MIT */
/* Where an open channel's interrupts go: the guest's choice of flag and SINT, and moves. */
#include <errno.h>

#include "partition/client_end.h"
#include "vmbus/wire.h"

/* ---- the next open's ---- */

bool client_flag_taken(const struct part_client_channel *self, uint32_t flag)
{
	/* Ids differ; only who chooses can collide. */
	if (!self->ep->cli->chose_flags && flag == self->offer.relid)
		return false;
	for (const struct part_client_channel *ch = self->ep->cli->channels; ch; ch = ch->next)
		if (ch != self && (ch->port ? ch->port->event_flag : ch->offer.relid) == flag)
			return true;
	return false;
}

static int check_signal(const struct part_client_channel *ch, const struct part_client_signal *s)
{
	uint32_t features = vmbus_client_features(ch->ep->cli->c);
	bool own = s->connection_id || s->event_flag;

	if ((own && !(features & VMBUS_FEATURE_GUEST_SIGNAL)) ||
	    (s->redirect && !(features & VMBUS_FEATURE_REDIRECT)))
		return -ENOTSUP;
	if (s->event_flag > VMBUS_MAX_CHANNEL)
		return -EINVAL;
	if (s->event_flag && client_flag_taken(ch, s->event_flag))
		return -EEXIST;
	return ch->port ? -EBUSY : 0;
}

int part_client_set_signal(struct part_client_channel *ch, const struct part_client_signal *signal)
{
	struct part_endpoint *ep = ch->ep;
	int error;

	pthread_mutex_lock(&ep->lock);
	error = check_signal(ch, signal);
	if (!error) {
		ch->signal = *signal;
		ep->cli->chose_flags |= signal->event_flag != 0;
	}
	pthread_mutex_unlock(&ep->lock);
	return error;
}

/* ---- moves ---- */

static int ask_for_move(struct part_client_channel *ch, uint32_t vp)
{
	struct part_endpoint *ep = ch->ep;
	struct client_request r = {
		.owner = ch, .kind = REQUEST_MODIFY, .channel = ch->offer.channel};
	enum vmbus_status status;

	if (!ch->port || ch->rescinded)
		return -ENODEV;
	if (vp >= ep->cli->vps || !ch->interrupts)
		return -EINVAL;
	if (vmbus_client_version(ep->cli->c) < VMBUS_V4_1)
		return -ENOTSUP;
	status = vmbus_client_modify(ep->cli->c, ch->offer.channel, vp);
	if (status)
		return endpoint_errno(status);
	client_request_begin(ep->cli, &r);
	client_carry_out_actions(ep);
	client_await(ep, &r, ch->offer.relid, "the host to move a channel's interrupts");
	if (r.status == VMBUS_STATUS_GONE)
		return -ENODEV;
	return r.status ? -ECONNREFUSED : 0;
}

/*
 * The old VP is interrupted no more, and what its dispatcher has taken is over when the port has
 * left it. Flags and kicks that come between the two are made up for by the poll that every port
 * begins with.
 */
static void change_dispatcher(struct part_port *port, uint32_t vp)
{
	uint32_t dispatcher = vp % port->ep->dispatcher_count;

	if (dispatcher == port->dispatcher)
		return;
	part_port_detach(port);
	__atomic_store_n(&port->dispatcher, dispatcher, __ATOMIC_RELAXED);
	part_port_attach(port);
}

int part_client_move(struct part_client_channel *ch, uint32_t vp)
{
	struct part_endpoint *ep = ch->ep;
	struct part_port *port;
	int error;

	pthread_mutex_lock(&ep->lock);
	client_hold(ch);
	port = ch->port;
	error = ask_for_move(ch, vp);
	client_unhold(ch);
	pthread_mutex_unlock(&ep->lock);
	if (!error)
		change_dispatcher(port, vp);
	return error;
}
