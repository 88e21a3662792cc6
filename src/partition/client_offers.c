/* SPDX-License-Identifier: MIT */
/*
 * Offers at the client: who is told of them, who has claimed them, when they go. Calls out are made
 * by the message thread without the lock. A channel that a call names is held; a listener that is
 * in a call stays linked.
 */
#include <errno.h>
#include <stdlib.h>

#include "partition/client_end.h"

/* ---- coming and going ---- */

void client_offered(struct part_endpoint *ep, const struct vmbus_client_offer *offer)
{
	struct client_end *ce = ep->cli;
	struct part_client_channel *ch = calloc(1, sizeof(*ch));

	if (!ch) {
		kmcl_log(KMCL_LOG_ERROR, PART_SUBSYSTEM, ep->id, offer->relid,
			 "an offer is left out: no memory");
		return;
	}
	ch->ep = ep;
	ch->offer = *offer;
	ch->sequence = ++ce->sequence;
	*ce->channels_tail = ch;
	ce->channels_tail = &ch->next;
	vmbus_client_set_owner(ce->c, offer->channel, ch);
	part_event_raise(&ep->messages);
}

void client_rescinded(struct part_endpoint *ep, const struct vmbus_client_action *a)
{
	struct part_client_channel *ch = a->owner;

	if (!ch) {
		vmbus_client_release(ep->cli->c, a->channel);
		return;
	}
	client_monitor_end(ch);
	ch->rescinded = true;
	ep->cli->to_withdraw++;
	pthread_cond_broadcast(&ep->changed);
	part_event_raise(&ep->messages);
}

static void unlink_channel(struct client_end *ce, struct part_client_channel *ch)
{
	struct part_client_channel **link = &ce->channels;

	while (*link != ch)
		link = &(*link)->next;
	*link = ch->next;
	if (ce->channels_tail == &ch->next)
		ce->channels_tail = link;
}

/* The last user frees a channel that is withdrawn; its id goes back to the host. */
static void settle(struct part_client_channel *ch)
{
	struct part_endpoint *ep = ch->ep;

	if (!ch->withdrawn || ch->claimed || ch->holds)
		return;
	unlink_channel(ep->cli, ch);
	vmbus_client_release(ep->cli->c, ch->offer.channel);
	free(ch);
	client_carry_out_actions(ep);
	pthread_cond_broadcast(&ep->changed);
}

void client_hold(struct part_client_channel *ch)
{
	ch->holds++;
}

void client_unhold(struct part_client_channel *ch)
{
	ch->holds--;
	settle(ch);
}

void client_forget_all(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;

	while (ce->channels) {
		struct part_client_channel *ch = ce->channels;

		if (ch->claimed)
			kmcl_log(KMCL_LOG_ERROR, PART_SUBSYSTEM, ep->id, ch->offer.relid,
				 "the partition ends with a channel that was not let go");
		ce->channels = ch->next;
		free(ch);
	}
	while (ce->listeners) {
		struct client_listener *l = ce->listeners;

		ce->listeners = l->next;
		free(l);
	}
}

/* ---- calls out ---- */

static void call(struct part_endpoint *ep, struct client_listener *l,
		 struct part_client_channel *ch, bool offered)
{
	struct part_client_listener *listener = l->l;

	l->in_call = true;
	ch->holds++;
	pthread_mutex_unlock(&ep->lock);
	if (offered)
		listener->offered(listener, ch);
	else
		listener->withdrawn(listener, ch);
	pthread_mutex_lock(&ep->lock);
	ch->holds--;
	l->in_call = false;
	pthread_cond_broadcast(&ep->changed);
	settle(ch);
}

/* The next offer that a listener has not heard of. One that is withdrawn already is passed over. */
static struct part_client_channel *next_untold(struct client_end *ce, struct client_listener *l)
{
	struct part_client_channel *ch;

	if (l->told == ce->sequence)
		return NULL;
	for (ch = ce->channels; ch; ch = ch->next)
		if (ch->sequence > l->told && !ch->withdrawn)
			return ch;
	l->told = ce->sequence;
	return NULL;
}

static bool tell_offers(struct part_endpoint *ep)
{
	bool any = false;

	for (struct client_listener *l = ep->cli->listeners; l; l = l->next) {
		struct part_client_channel *ch;

		while (l->l && (ch = next_untold(ep->cli, l))) {
			l->told = ch->sequence;
			call(ep, l, ch, true);
			any = true;
		}
	}
	return any;
}

static void tell_owner(struct part_client_channel *ch)
{
	struct part_endpoint *ep = ch->ep;
	const struct part_client_channel_ops *ops = ch->ops;
	void *owner = ch->owner;

	if (!ch->claimed)
		return;
	ch->in_rescind = true;
	pthread_mutex_unlock(&ep->lock);
	ops->rescind(owner);
	pthread_mutex_lock(&ep->lock);
	ch->in_rescind = false;
	pthread_cond_broadcast(&ep->changed);
}

static void withdraw(struct part_client_channel *ch)
{
	struct part_endpoint *ep = ch->ep;

	ep->cli->to_withdraw--;
	ch->withdrawn = true;
	ch->holds++;
	tell_owner(ch);
	for (struct client_listener *l = ep->cli->listeners; l; l = l->next)
		if (l->l && l->told >= ch->sequence)
			call(ep, l, ch, false);
	ch->holds--;
	settle(ch);
}

static bool tell_rescinds(struct part_endpoint *ep)
{
	struct part_client_channel *ch;

	if (!ep->cli->to_withdraw)
		return false;
	for (ch = ep->cli->channels; ch; ch = ch->next) {
		if (ch->rescinded && !ch->withdrawn) {
			withdraw(ch);
			return true;
		}
	}
	return false;
}

static void free_listeners(struct client_end *ce)
{
	for (struct client_listener **link = &ce->listeners; *link;) {
		struct client_listener *l = *link;

		if (l->l || l->waited_for) {
			link = &l->next;
			continue;
		}
		*link = l->next;
		free(l);
	}
}

bool client_run_upcalls(struct part_endpoint *ep)
{
	bool any = tell_offers(ep);

	any |= tell_rescinds(ep);
	free_listeners(ep->cli);
	return any;
}

/* ---- what drivers call ---- */

int part_client_listen(struct part_endpoint *ep, struct part_client_listener *l)
{
	struct client_listener *node = calloc(1, sizeof(*node));
	struct client_listener **link;

	if (!node || ep->server) {
		free(node);
		return ep->server ? -EINVAL : -ENOMEM;
	}
	node->l = l;
	pthread_mutex_lock(&ep->lock);
	link = &ep->cli->listeners;
	while (*link)
		link = &(*link)->next;
	*link = node;
	pthread_mutex_unlock(&ep->lock);
	part_event_raise(&ep->messages);
	return 0;
}

void part_client_unlisten(struct part_endpoint *ep, struct part_client_listener *l)
{
	struct client_listener *node;

	pthread_mutex_lock(&ep->lock);
	node = ep->cli->listeners;
	while (node && node->l != l)
		node = node->next;
	if (node) {
		/* The message thread frees the node, when it walks the list no more. */
		node->l = NULL;
		node->waited_for = true;
		while (node->in_call)
			endpoint_wait(ep);
		node->waited_for = false;
		part_event_raise(&ep->messages);
	}
	pthread_mutex_unlock(&ep->lock);
}

const struct vmbus_client_offer *part_client_offer(const struct part_client_channel *ch)
{
	return &ch->offer;
}

int part_client_claim(struct part_client_channel *ch, const struct part_client_channel_ops *ops,
		      void *owner)
{
	struct part_endpoint *ep = ch->ep;
	int error = 0;

	pthread_mutex_lock(&ep->lock);
	if (ch->rescinded) {
		error = -ENODEV;
	} else if (ch->claimed) {
		error = -EBUSY;
	} else {
		ch->claimed = true;
		ch->ops = ops;
		ch->owner = owner;
	}
	pthread_mutex_unlock(&ep->lock);
	return error;
}

void part_client_put(struct part_client_channel *ch)
{
	struct part_endpoint *ep = ch->ep;

	pthread_mutex_lock(&ep->lock);
	ch->holds++;
	/* From its own rescind the owner need not wait for that to end. */
	while (ch->in_rescind && !endpoint_on_message_thread(ep))
		if (!endpoint_wait(ep))
			kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, ch->offer.relid,
				 "waits for the driver's rescind callback to return");
	ch->holds--;
	ch->claimed = false;
	ch->ops = NULL;
	ch->owner = NULL;
	settle(ch);
	pthread_mutex_unlock(&ep->lock);
}
