/* SPDX-License-Identifier: MIT */
/* Offers: what devices offer, the ids that offers get, and what the client is shown of them. */
#include "vmbus/server_internal.h"

/* ---- channel ids and monitor ids ---- */

static bool fixed_for_someone(const struct vmbus_server *s, uint32_t relid)
{
	return s->fixed_ids[relid / 64] >> relid % 64 & 1;
}

static void set_fixed(struct vmbus_server *s, uint32_t relid, bool set)
{
	uint64_t bit = UINT64_C(1) << relid % 64;

	if (!relid)
		return;
	if (set)
		s->fixed_ids[relid / 64] |= bit;
	else
		s->fixed_ids[relid / 64] &= ~bit;
}

/* There is always one: offers and ids are equally many. Those below the first are nobody's. */
static uint32_t lowest_free_relid(const struct vmbus_server *s)
{
	uint32_t first = s->config.first_channel_id;

	for (uint32_t i = first / 64; i < sizeof(s->taken_ids) / sizeof(s->taken_ids[0]); i++) {
		uint64_t below = i == first / 64 ? (UINT64_C(1) << first % 64) - 1 : 0;
		uint64_t free = ~(s->taken_ids[i] | s->fixed_ids[i] | below);

		if (free)
			return i * 64 + (uint32_t)__builtin_ctzll(free);
	}
	return 0;
}

void channel_take_relid(struct vmbus_server *s, struct channel *ch, uint32_t relid)
{
	ch->relid = relid;
	s->by_relid[relid] = ch;
	s->taken_ids[relid / 64] |= UINT64_C(1) << relid % 64;
}

static uint8_t take_monitor_id(struct vmbus_server *s)
{
	for (uint32_t id = 0; id < VMBUS_MONITOR_IDS; id++) {
		if (!(s->monitor_ids[id / 32] >> id % 32 & 1)) {
			s->monitor_ids[id / 32] |= 1u << id % 32;
			return (uint8_t)id;
		}
	}
	return VMBUS_MONITOR_NONE;
}

void channel_free_monitor_id(struct vmbus_server *s, struct channel *ch)
{
	if (ch->monitor_id != VMBUS_MONITOR_NONE)
		s->monitor_ids[ch->monitor_id / 32] &= ~(1u << ch->monitor_id % 32);
	ch->monitor_id = VMBUS_MONITOR_NONE;
}

void channel_free_ids(struct vmbus_server *s, struct channel *ch)
{
	if (ch->relid) {
		s->by_relid[ch->relid] = NULL;
		s->taken_ids[ch->relid / 64] &= ~(UINT64_C(1) << ch->relid % 64);
	}
	ch->relid = 0;
	channel_free_monitor_id(s, ch);
}

/* ---- offers ---- */

uint32_t channel_connection_id(const struct vmbus_server *s, const struct channel *ch)
{
	return ch->relid | VMBUS_SINT << 12 | (uint32_t)s->config.vtl << 16;
}

/* What the client did not negotiate it does not get to see. */
static uint16_t offered_flags(const struct vmbus_server *s, const struct channel *ch)
{
	uint16_t flags = ch->offer.flags;

	if (!(s->features & VMBUS_FEATURE_CONFIDENTIAL))
		flags &= (uint16_t) ~(VMBUS_OFFER_ENCRYPTED_RING | VMBUS_OFFER_ENCRYPTED_MEMORY);
	if (!(s->features & VMBUS_FEATURE_PINNING))
		flags &= (uint16_t)~VMBUS_OFFER_PINNED;
	if (s->version < VMBUS_V4_0)
		flags &= (uint16_t)~VMBUS_OFFER_HVSOCK;
	return flags;
}

static void fill_offer(const struct vmbus_server *s, const struct channel *ch,
		       struct vmbus_message *m)
{
	*m = (struct vmbus_message){.type = VMBUS_MSG_OFFER_CHANNEL};
	m->offer_channel.interface_id = ch->offer.interface_id;
	m->offer_channel.instance_id = ch->offer.instance_id;
	m->offer_channel.flags = offered_flags(s, ch);
	m->offer_channel.mmio_megabytes = ch->offer.mmio_megabytes;
	m->offer_channel.mmio_megabytes_optional = ch->offer.mmio_megabytes_optional;
	memcpy(m->offer_channel.user_data, ch->offer.user_data, sizeof(ch->offer.user_data));
	m->offer_channel.subchannel = ch->offer.subchannel;
	m->offer_channel.channel_id = ch->relid;
	m->offer_channel.monitor_id = ch->monitor_id;
	m->offer_channel.monitor_allocated = ch->monitor_id != VMBUS_MONITOR_NONE;
	m->offer_channel.dedicated = 1;
	m->offer_channel.connection_id = channel_connection_id(s, ch);
}

static void post_offer(struct vmbus_server *s, const struct channel *ch)
{
	struct vmbus_message m;

	fill_offer(s, ch, &m);
	server_post(s, &m, 196);
}

bool vmbus_server_channel_id_free(const struct vmbus_server *s, uint32_t channel_id)
{
	return channel_id > VMBUS_MAX_CHANNEL || !s->by_relid[channel_id];
}

bool vmbus_server_offer_message(const struct vmbus_server *s, vmbus_offer_id id,
				struct vmbus_message *m)
{
	const struct channel *ch = server_channel(s, id);

	if (!ch || !channel_visible(ch))
		return false;
	fill_offer(s, ch, m);
	return true;
}

/* An offer for another VTL waits for a connection that this server never has; the id that its
 * predecessor left is free. */
static void keep_back(struct vmbus_server *s, struct channel *ch)
{
	channel_free_ids(s, ch);
	if (ch->state == CHANNEL_REOFFERED)
		channel_set_state(s, ch, CHANNEL_RELEASED);
}

/* RELEASED or REOFFERED -> CLOSED. Before 2.4 an OFFER cannot say that it is a subchannel. */
void channel_offer(struct vmbus_server *s, struct channel *ch)
{
	if (ch->offer.vtl != s->config.vtl) {
		keep_back(s, ch);
		return;
	}
	if (ch->offer.subchannel && s->version < VMBUS_V2_4)
		return;
	if (ch->offer.fixed_channel_id && ch->offer.fixed_channel_id != ch->relid)
		channel_free_ids(s, ch);
	if (!ch->relid)
		channel_take_relid(s, ch,
				   ch->offer.fixed_channel_id ? ch->offer.fixed_channel_id
							      : lowest_free_relid(s));
	if (ch->offer.monitored && connection_has_monitor_pages(s))
		ch->monitor_id = take_monitor_id(s);
	channel_set_state(s, ch, CHANNEL_CLOSED);
	post_offer(s, ch);
}

/*
 * A reserved open that ended after its connection leaves GPADLs that its device may yet hold. Their
 * ids mean nothing to the new client, which may choose the same ones.
 */
void channel_let_go(struct vmbus_server *s, struct channel *ch)
{
	if (!ch->offer_later || ch->gpadls.first)
		return;
	ch->offer_later = false;
	channel_offer(s, ch);
}

void on_request_offers(struct vmbus_server *s, const struct incoming *in)
{
	struct vmbus_message m = {.type = VMBUS_MSG_ALL_OFFERS_DELIVERED};

	if (s->state != VMBUS_SERVER_STATE_NEGOTIATED) {
		server_count(&s->stats.dropped_state);
		return;
	}
	s->state = VMBUS_SERVER_STATE_CONNECTED;
	for (uint32_t i = 0; i < s->channel_count; i++) {
		if (s->sorted[i]->state == CHANNEL_RELEASED) {
			s->sorted[i]->offer_later = true;
			channel_let_go(s, s->sorted[i]);
		}
	}
	server_post(s, &m, 8);
}

static int compare_key(const struct vmbus_offer *a, const struct vmbus_offer *b)
{
	int c = vmbus_guid_compare(&a->interface_id, &b->interface_id);

	if (!c)
		c = vmbus_guid_compare(&a->instance_id, &b->instance_id);
	if (!c)
		c = (a->subchannel > b->subchannel) - (a->subchannel < b->subchannel);
	return c;
}

static int compare_offers(const struct vmbus_offer *a, const struct vmbus_offer *b)
{
	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	return compare_key(a, b);
}

/* The first place whose offer is not before this one. */
static uint32_t place_sorted(const struct vmbus_server *s, const struct vmbus_offer *offer)
{
	uint32_t low = 0, high = s->channel_count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (compare_offers(&s->sorted[middle]->offer, offer) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct channel **bucket_of(struct vmbus_server *s, const struct vmbus_offer *offer)
{
	uint64_t hash = offer->subchannel;

	for (size_t i = 0; i < sizeof(offer->instance_id.b); i++)
		hash = (hash ^ offer->instance_id.b[i] ^ (uint64_t)offer->interface_id.b[i] << 8) *
		       UINT64_C(0x9e3779b97f4a7c15);
	return &s->by_key[(hash >> 32) % CHANNEL_BUCKETS];
}

static void insert_sorted(struct vmbus_server *s, struct channel *ch)
{
	uint32_t at = place_sorted(s, &ch->offer);
	struct channel **bucket = bucket_of(s, &ch->offer);

	memmove(&s->sorted[at + 1], &s->sorted[at], (s->channel_count - at) * sizeof(s->sorted[0]));
	s->sorted[at] = ch;
	s->channel_count++;
	ch->hash_next = *bucket;
	*bucket = ch;
}

/* Keys differ, so the place is the channel's own. */
static void remove_sorted(struct vmbus_server *s, const struct channel *ch)
{
	uint32_t at = place_sorted(s, &ch->offer);
	struct channel **link = bucket_of(s, &ch->offer);

	s->channel_count--;
	memmove(&s->sorted[at], &s->sorted[at + 1], (s->channel_count - at) * sizeof(s->sorted[0]));
	while (*link != ch)
		link = &(*link)->hash_next;
	*link = ch->hash_next;
}

static void set_device(struct vmbus_server *s, struct channel *ch, const struct vmbus_offer *offer,
		       void *device)
{
	ch->id = ++s->generation << 16 | (ch->slot + 1u);
	ch->device = device;
	ch->offer = *offer;
}

static struct channel *find_key(struct vmbus_server *s, const struct vmbus_offer *offer)
{
	struct channel *ch = *bucket_of(s, offer);

	while (ch && compare_key(&ch->offer, offer))
		ch = ch->hash_next;
	return ch;
}

/* The device of a revoked channel is back before the client let go: it gets the same id later. */
static void reoffer(struct vmbus_server *s, struct channel *ch, const struct vmbus_offer *offer,
		    void *device)
{
	set_fixed(s, ch->offer.fixed_channel_id, false);
	remove_sorted(s, ch);
	set_device(s, ch, offer, device);
	set_fixed(s, ch->offer.fixed_channel_id, true);
	insert_sorted(s, ch);
	channel_set_state(s, ch, CHANNEL_REOFFERED);
}

static enum vmbus_status add_channel(struct vmbus_server *s, const struct vmbus_offer *offer,
				     void *device, struct channel **added)
{
	const struct vmbus_allocator *a = &s->config.allocator;
	struct channel *ch;
	uint32_t slot;

	if (s->channel_count >= s->config.limits.channels)
		return VMBUS_E_LIMIT;
	if (server_reserve(s, s->channel_count + 1, s->gpadls.count))
		return VMBUS_E_NO_MEMORY;
	ch = a->alloc(a->ctx, sizeof(*ch));
	if (!ch)
		return VMBUS_E_NO_MEMORY;
	slot = s->free_slot;
	while (s->slots[slot])
		slot++;
	s->free_slot = slot + 1;
	ch->slot = (uint16_t)slot;
	ch->monitor_id = VMBUS_MONITOR_NONE;
	s->slots[slot] = ch;
	set_device(s, ch, offer, device);
	set_fixed(s, offer->fixed_channel_id, true);
	insert_sorted(s, ch);
	*added = ch;
	return VMBUS_OK;
}

/* Ids are of the server's own range, as far as it has offers to give. */
static bool in_range(const struct vmbus_server *s, uint32_t relid)
{
	uint32_t first = s->config.first_channel_id;

	if (first == 1)
		return relid <= VMBUS_MAX_CHANNEL;
	return relid >= first && relid - first < s->config.limits.channels;
}

/* A fixed id that another channel has or is to have. */
static bool fixed_id_taken(const struct vmbus_server *s, const struct channel *self, uint32_t relid)
{
	const struct channel *holder = s->by_relid[relid];

	if (!relid)
		return false;
	if (holder)
		return holder != self;
	return fixed_for_someone(s, relid) && (!self || self->offer.fixed_channel_id != relid);
}

enum vmbus_status vmbus_server_offer(struct vmbus_server *s, const struct vmbus_offer *offer,
				     void *device, vmbus_offer_id *id)
{
	struct channel *ch = find_key(s, offer);
	enum vmbus_status status;

	if (offer->fixed_channel_id && !in_range(s, offer->fixed_channel_id))
		return VMBUS_E_INVALID;
	if (fixed_id_taken(s, ch, offer->fixed_channel_id))
		return VMBUS_E_EXISTS;
	if (ch && ch->restore == RESTORE_UNCLAIMED) {
		status = channel_claim(s, ch, offer, device);
		if (!status)
			*id = ch->id;
		return status;
	}
	if (ch && ch->state != CHANNEL_REVOKED)
		return VMBUS_E_EXISTS;
	if (ch) {
		reoffer(s, ch, offer, device);
	} else {
		status = add_channel(s, offer, device, &ch);
		if (status)
			return status;
		if (s->state == VMBUS_SERVER_STATE_CONNECTED)
			channel_offer(s, ch);
	}
	*id = ch->id;
	return VMBUS_OK;
}

void channel_delete(struct vmbus_server *s, struct channel *ch)
{
	gpadls_delete(s, ch);
	channel_set_state(s, ch, CHANNEL_RELEASED);
	channel_free_ids(s, ch);
	set_fixed(s, ch->offer.fixed_channel_id, false);
	remove_sorted(s, ch);
	s->slots[ch->slot] = NULL;
	if (ch->slot < s->free_slot)
		s->free_slot = ch->slot;
	s->config.allocator.free(s->config.allocator.ctx, ch, sizeof(*ch));
}

/* ---- saved state ---- */

void channel_set_device(struct vmbus_server *s, struct channel *ch, const struct vmbus_offer *offer,
			void *device)
{
	set_fixed(s, ch->offer.fixed_channel_id, false);
	remove_sorted(s, ch);
	set_device(s, ch, offer, device);
	set_fixed(s, ch->offer.fixed_channel_id, true);
	insert_sorted(s, ch);
}

void channel_renew(struct vmbus_server *s, struct channel *ch, const struct vmbus_offer *offer,
		   void *device)
{
	struct vmbus_offer copy = *offer;

	if (s->state == VMBUS_SERVER_STATE_CONNECTED) {
		channel_rescind(s, ch);
		reoffer(s, ch, &copy, device);
		return;
	}
	/* a reserved channel between connections: the client that will see the new one is to come
	 */
	gpadls_delete(s, ch);
	ch->reserved = false;
	ch->restore = RESTORE_NONE;
	channel_free_ids(s, ch);
	channel_set_state(s, ch, CHANNEL_RELEASED);
	channel_set_device(s, ch, &copy, device);
}

enum vmbus_status channel_add(struct vmbus_server *s, const struct vmbus_offer *offer, void *device,
			      struct channel **added)
{
	return add_channel(s, offer, device, added);
}
