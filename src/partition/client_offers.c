/* SPDX-License-Identifier: MIT */
/*
 * Offers at the client: who is told of them, who has claimed them, when they go. Calls out are made
 * by the message thread without the lock. A channel that a call names is held; a listener that is
 * in a call stays linked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "partition/client_end.h"

/* ---- the index ---- */

void client_offers_init(struct client_end *ce)
{
	ce->rescinded_tail = &ce->rescinded;
	ce->listeners_tail = &ce->listeners;
	ce->to_tell_tail = &ce->to_tell;
}

static uint32_t bucket_of_id(vmbus_channel_id id)
{
	return (uint32_t)(id * 0x9e3779b97f4a7c15ull >> 54) % CLIENT_BUCKETS;
}

static uint32_t bucket_of_instance(const struct vmbus_guid *interface,
				   const struct vmbus_guid *instance)
{
	uint64_t hash = 0;

	for (size_t i = 0; i < sizeof(interface->b); i++)
		hash = (hash ^ interface->b[i] ^ (uint64_t)instance->b[i] << 8) *
		       0x9e3779b97f4a7c15ull;
	return (uint32_t)(hash >> 54) % CLIENT_BUCKETS;
}

static uint32_t bucket_of_offer(const struct part_client_channel *ch)
{
	return bucket_of_instance(&ch->offer.interface_id, &ch->offer.instance_id);
}

static uint32_t bucket_of_listener(const struct part_client_listener *l)
{
	return l->what == PART_LISTEN_CHANNEL
		       ? bucket_of_id(l->channel)
		       : bucket_of_instance(&l->interface_id, &l->instance_id);
}

static bool same_guid(const struct vmbus_guid *a, const struct vmbus_guid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static bool wants(const struct client_listener *node, const struct part_client_channel *ch)
{
	const struct part_client_listener *l = node->l;

	if (!l)
		return false;
	switch (l->what) {
	case PART_LISTEN_ALL:
		return true;
	case PART_LISTEN_CHANNEL:
		return l->channel == ch->offer.channel;
	case PART_LISTEN_INSTANCE:
		return same_guid(&l->interface_id, &ch->offer.interface_id) &&
		       same_guid(&l->instance_id, &ch->offer.instance_id);
	}
	return false;
}

static void link_channel(struct client_end *ce, struct part_client_channel *ch)
{
	struct part_client_channel **by_id = &ce->index.by_id[bucket_of_id(ch->offer.channel)];
	struct part_client_channel **by_instance = &ce->index.by_instance[bucket_of_offer(ch)];

	ch->prev = ce->last_channel;
	if (ch->prev)
		ch->prev->next = ch;
	else
		ce->channels = ch;
	ce->last_channel = ch;
	ch->next_by_id = *by_id;
	*by_id = ch;
	ch->next_by_instance = *by_instance;
	*by_instance = ch;
}

static void unlink_channel(struct client_end *ce, struct part_client_channel *ch)
{
	struct part_client_channel **by_id = &ce->index.by_id[bucket_of_id(ch->offer.channel)];
	struct part_client_channel **by_instance = &ce->index.by_instance[bucket_of_offer(ch)];

	for (struct client_listener *l = ce->listeners; l; l = l->next)
		if (l->cursor == ch)
			l->cursor = ch->prev;
	while (*by_id != ch)
		by_id = &(*by_id)->next_by_id;
	*by_id = ch->next_by_id;
	while (*by_instance != ch)
		by_instance = &(*by_instance)->next_by_instance;
	*by_instance = ch->next_by_instance;
	if (ch->prev)
		ch->prev->next = ch->next;
	else
		ce->channels = ch->next;
	if (ch->next)
		ch->next->prev = ch->prev;
	else
		ce->last_channel = ch->prev;
}

static void link_listener(struct client_end *ce, struct client_listener *node)
{
	struct client_listener **link = ce->listeners_tail;

	if (node->what == PART_LISTEN_ALL)
		ce->listeners_tail = &node->next;
	else
		link = &ce->index.listeners[bucket_of_listener(node->l)];
	node->link = link;
	node->next = *link;
	if (node->next)
		node->next->link = &node->next;
	*link = node;
}

static void unlink_listener(struct client_end *ce, struct client_listener *node)
{
	*node->link = node->next;
	if (node->next)
		node->next->link = node->link;
	else if (node->what == PART_LISTEN_ALL)
		ce->listeners_tail = node->link;
}

/* Of a bucket: it is looked for what it wants. */
static void to_tell(struct client_end *ce, struct client_listener *node)
{
	if (node->to_tell || !node->l)
		return;
	node->to_tell = true;
	node->next_to_tell = NULL;
	*ce->to_tell_tail = node;
	ce->to_tell_tail = &node->next_to_tell;
}

static void to_tell_bucket(struct client_end *ce, uint32_t bucket,
			   const struct part_client_channel *ch)
{
	for (struct client_listener *l = ce->index.listeners[bucket]; l; l = l->next)
		if (wants(l, ch))
			to_tell(ce, l);
}

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
	link_channel(ce, ch);
	to_tell_bucket(ce, bucket_of_id(offer->channel), ch);
	to_tell_bucket(ce, bucket_of_offer(ch), ch);
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
	*ep->cli->rescinded_tail = ch;
	ep->cli->rescinded_tail = &ch->next_rescinded;
	pthread_cond_broadcast(&ep->changed);
	part_event_raise(&ep->messages);
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
	/* The next host may have been there for long: it waits for the last of the old channels. */
	if (!ep->cli->channels)
		part_event_raise(&ep->messages);
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

static void free_listener(struct client_end *ce, struct client_listener *node)
{
	unlink_listener(ce, node);
	free(node);
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
	while (ce->listeners)
		free_listener(ce, ce->listeners);
	for (uint32_t i = 0; i < CLIENT_BUCKETS; i++)
		while (ce->index.listeners[i])
			free_listener(ce, ce->index.listeners[i]);
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
	for (ch = l->cursor ? l->cursor->next : ce->channels; ch; ch = ch->next) {
		l->cursor = ch;
		if (!ch->withdrawn)
			return ch;
	}
	l->told = ce->sequence;
	return NULL;
}

/* The same for a listener that wants some. */
static struct part_client_channel *next_wanted(struct client_end *ce, struct client_listener *l)
{
	bool by_id = l->what == PART_LISTEN_CHANNEL;
	uint32_t bucket = bucket_of_listener(l->l);
	struct part_client_channel *ch, *first = NULL;

	ch = by_id ? ce->index.by_id[bucket] : ce->index.by_instance[bucket];
	for (; ch; ch = by_id ? ch->next_by_id : ch->next_by_instance)
		if (ch->sequence > l->told && !ch->withdrawn && wants(l, ch) &&
		    (!first || ch->sequence < first->sequence))
			first = ch;
	return first;
}

static bool tell_wanted(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;
	struct part_client_channel *ch;
	bool any = false;

	while (ce->to_tell) {
		struct client_listener *l = ce->to_tell;

		ce->to_tell = l->next_to_tell;
		if (!ce->to_tell)
			ce->to_tell_tail = &ce->to_tell;
		l->to_tell = false;
		while (l->l && (ch = next_wanted(ce, l))) {
			l->told = ch->sequence;
			call(ep, l, ch, true);
			any = true;
		}
	}
	return any;
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

static void tell_of_end(struct client_listener *l, struct part_client_channel *ch)
{
	for (; l; l = l->next)
		if (wants(l, ch) && l->told >= ch->sequence)
			call(ch->ep, l, ch, false);
}

static void withdraw(struct part_client_channel *ch)
{
	uint32_t by_id = bucket_of_id(ch->offer.channel), by_instance = bucket_of_offer(ch);
	struct part_endpoint *ep = ch->ep;

	ch->withdrawn = true;
	ch->holds++;
	tell_owner(ch);
	tell_of_end(ep->cli->listeners, ch);
	tell_of_end(ep->cli->index.listeners[by_id], ch);
	if (by_instance != by_id)
		tell_of_end(ep->cli->index.listeners[by_instance], ch);
	ch->holds--;
	settle(ch);
}

static bool tell_rescinds(struct part_endpoint *ep)
{
	struct client_end *ce = ep->cli;
	struct part_client_channel *ch = ce->rescinded;

	if (!ch)
		return false;
	ce->rescinded = ch->next_rescinded;
	if (!ce->rescinded)
		ce->rescinded_tail = &ce->rescinded;
	withdraw(ch);
	return true;
}

/* No list of listeners is being walked now. */
static void free_listeners(struct client_end *ce)
{
	for (struct client_listener **link = &ce->gone; *link;) {
		struct client_listener *l = *link;

		if (l->to_tell || l->waited_for) {
			link = &l->next_gone;
			continue;
		}
		*link = l->next_gone;
		free_listener(ce, l);
	}
}

bool client_run_upcalls(struct part_endpoint *ep)
{
	bool any = tell_offers(ep);

	any |= tell_wanted(ep);
	any |= tell_rescinds(ep);
	free_listeners(ep->cli);
	return any;
}

/* ---- what drivers call ---- */

void part_client_each_offer(struct part_endpoint *ep,
			    void (*each)(void *ctx, const struct vmbus_client_offer *offer),
			    void *ctx)
{
	pthread_mutex_lock(&ep->lock);
	for (struct part_client_channel *ch = ep->cli->channels; ch; ch = ch->next)
		if (!ch->rescinded)
			each(ctx, &ch->offer);
	pthread_mutex_unlock(&ep->lock);
}

int part_client_listen(struct part_endpoint *ep, struct part_client_listener *l)
{
	struct client_listener *node = calloc(1, sizeof(*node));

	if (!node || ep->server) {
		free(node);
		return ep->server ? -EINVAL : -ENOMEM;
	}
	node->l = l;
	node->what = l->what;
	l->node = node;
	pthread_mutex_lock(&ep->lock);
	link_listener(ep->cli, node);
	if (node->what != PART_LISTEN_ALL)
		to_tell(ep->cli, node);
	pthread_mutex_unlock(&ep->lock);
	part_event_raise(&ep->messages);
	return 0;
}

void part_client_unlisten(struct part_endpoint *ep, struct part_client_listener *l)
{
	struct client_listener *node = l->node;

	if (!node)
		return;
	l->node = NULL;
	pthread_mutex_lock(&ep->lock);
	/* The message thread frees the node, when it walks the list no more. */
	node->l = NULL;
	node->next_gone = ep->cli->gone;
	ep->cli->gone = node;
	node->waited_for = true;
	while (node->in_call)
		endpoint_wait(ep);
	node->waited_for = false;
	pthread_mutex_unlock(&ep->lock);
	part_event_raise(&ep->messages);
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
