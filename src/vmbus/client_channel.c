/* SPDX-License-Identifier: MIT */
/* Channels at the client: offered, opened, rescinded, released. */
#include "vmbus/client_internal.h"

struct client_channel *client_channel(const struct vmbus_client *c, vmbus_channel_id id)
{
	uint32_t slot = (uint32_t)(id & 0xffff);
	struct client_channel *ch;

	if (!slot || slot > c->slot_count)
		return NULL;
	ch = c->slots[slot - 1];
	return ch && ch->id == id && !ch->let_go ? ch : NULL;
}

static struct client_channel *find_relid(struct vmbus_client *c, uint32_t relid)
{
	struct client_channel *ch = relid <= VMBUS_MAX_CHANNEL ? c->by_relid[relid] : NULL;

	if (!ch)
		c->stats.ignored_unknown++;
	return ch;
}

static void free_relid(struct vmbus_client *c, const struct client_channel *ch)
{
	c->by_relid[ch->offer.relid] = NULL;
	c->live--;
}

void client_channel_free(struct vmbus_client *c, struct client_channel *ch)
{
	client_gpadls_free(c, ch);
	if (!ch->orphan)
		free_relid(c, ch);
	c->slots[ch->slot] = NULL;
	if (ch->slot < c->free_slot)
		c->free_slot = ch->slot;
	c->channel_count--;
	c->config.allocator.free(c->config.allocator.ctx, ch, sizeof(*ch));
}

static void post_released(struct vmbus_client *c, uint32_t relid)
{
	struct vmbus_message m = {.type = VMBUS_MSG_RELID_RELEASED};

	m.relid_released.channel_id = relid;
	client_post(c, &m, 12);
}

/* The host knows no channel beyond its offers, so a slot is missing only if orphans pile up. */
static struct client_channel *add_channel(struct vmbus_client *c)
{
	const struct vmbus_allocator *a = &c->config.allocator;
	struct client_channel *ch;
	uint32_t slot = c->free_slot;

	while (slot < c->slot_count && c->slots[slot])
		slot++;
	if (slot == c->slot_count || client_reserve(c, 0))
		return NULL;
	ch = a->alloc(a->ctx, sizeof(*ch));
	if (!ch)
		return NULL;
	ch->slot = (uint16_t)slot;
	ch->id = ++c->generation << 16 | (slot + 1);
	c->slots[slot] = ch;
	c->free_slot = slot + 1;
	c->channel_count++;
	return ch;
}

static void copy_offer(const struct vmbus_client *c, struct client_channel *ch,
		       const struct vmbus_message *m)
{
	struct vmbus_client_offer *o = &ch->offer;

	o->channel = ch->id;
	o->relid = m->offer_channel.channel_id;
	o->interface_id = m->offer_channel.interface_id;
	o->instance_id = m->offer_channel.instance_id;
	o->flags = m->offer_channel.flags;
	o->mmio_megabytes = m->offer_channel.mmio_megabytes;
	o->mmio_megabytes_optional = m->offer_channel.mmio_megabytes_optional;
	memcpy(o->user_data, m->offer_channel.user_data, sizeof(o->user_data));
	if (c->version >= VMBUS_V2_4)
		o->subchannel = m->offer_channel.subchannel;
	o->monitored = m->offer_channel.monitor_allocated & 1 &&
		       m->offer_channel.monitor_id < VMBUS_MONITOR_IDS;
	o->monitor_id = o->monitored ? m->offer_channel.monitor_id : VMBUS_MONITOR_NONE;
	/* The last two fields are absent from the first version's offer. */
	o->connection_id = VMBUS_PORT_EVENT;
	if (c->version >= VMBUS_V1_1) {
		o->dedicated_interrupt = m->offer_channel.dedicated & 1;
		o->connection_id = m->offer_channel.connection_id;
	}
}

void on_offer_channel(struct vmbus_client *c, const struct vmbus_message *m)
{
	struct vmbus_client_action a = {.type = VMBUS_CLIENT_OFFER};
	uint32_t relid = m->offer_channel.channel_id;
	struct client_channel *ch;

	if (!relid || relid > VMBUS_MAX_CHANNEL || c->by_relid[relid]) {
		c->stats.ignored_offers++;
		return;
	}
	ch = c->live < c->config.limits.channels ? add_channel(c) : NULL;
	if (!ch) {
		/* It cannot be used, so the host may have the id back. */
		c->stats.released_offers++;
		post_released(c, relid);
		return;
	}
	copy_offer(c, ch, m);
	c->by_relid[relid] = ch;
	c->live++;
	a.channel = ch->id;
	a.offer = ch->offer;
	client_push(c, &a, sizeof(a.offer));
}

/* Ends what the owner waits for, in the order in which it will look: requests, then the channel. */
static void end_requests(struct vmbus_client *c, struct client_channel *ch, bool owed)
{
	if (ch->state == CLIENT_OPENING)
		client_push_result(c, ch, VMBUS_CLIENT_OPEN_RESULT, 0, VMBUS_STATUS_GONE);
	if (ch->modify_awaited)
		client_push_result(c, ch, VMBUS_CLIENT_MODIFY_RESULT, 0, VMBUS_STATUS_GONE);
	ch->modify_awaited = false;
	if (!owed)
		ch->modifying = false;
	client_gpadls_end(c, ch, owed);
}

void on_rescind_channel_offer(struct vmbus_client *c, const struct vmbus_message *m)
{
	struct client_channel *ch = find_relid(c, m->rescind_channel_offer.channel_id);

	if (!ch)
		return;
	if (ch->state == CLIENT_RESCINDED) {
		c->stats.ignored_state++;
		return;
	}
	end_requests(c, ch, true);
	ch->state = CLIENT_RESCINDED;
	client_push_result(c, ch, VMBUS_CLIENT_RESCIND, 0, 0);
}

/* The connection is over: no answer will come and no release is due. */
void client_channel_lost(struct vmbus_client *c, struct client_channel *ch)
{
	end_requests(c, ch, false);
	free_relid(c, ch);
	ch->orphan = true;
	if (ch->let_go) {
		client_channel_free(c, ch);
		return;
	}
	if (ch->state != CLIENT_RESCINDED)
		client_push_result(c, ch, VMBUS_CLIENT_RESCIND, 0, 0);
	ch->state = CLIENT_RESCINDED;
}

void client_channel_settle(struct vmbus_client *c, struct client_channel *ch)
{
	uint32_t relid = ch->offer.relid;
	bool tell = !ch->orphan && client_connected(c);

	if (!ch->let_go || ch->modifying || ch->gpadls_owed)
		return;
	client_channel_free(c, ch);
	if (tell)
		post_released(c, relid);
}

enum vmbus_status vmbus_client_release(struct vmbus_client *c, vmbus_channel_id id)
{
	struct client_channel *ch = client_channel(c, id);

	if (!ch)
		return VMBUS_E_NOT_FOUND;
	if (ch->state != CLIENT_RESCINDED)
		return VMBUS_E_STATE;
	ch->let_go = true;
	client_channel_settle(c, ch);
	return VMBUS_OK;
}

void vmbus_client_set_owner(struct vmbus_client *c, vmbus_channel_id id, void *owner)
{
	struct client_channel *ch = client_channel(c, id);

	if (ch)
		ch->owner = owner;
}

/* ---- open, close, modify ---- */

static uint32_t next_open_id(struct vmbus_client *c)
{
	if (!++c->open_ids)
		++c->open_ids;
	return c->open_ids;
}

static void post_open(struct vmbus_client *c, const struct client_channel *ch,
		      const struct vmbus_client_open *open)
{
	const uint32_t long_form = VMBUS_FEATURE_GUEST_SIGNAL | VMBUS_FEATURE_REDIRECT;
	struct vmbus_message m = {.type = VMBUS_MSG_OPEN_CHANNEL};

	m.open_channel.channel_id = ch->offer.relid;
	m.open_channel.open_id = ch->open_id;
	m.open_channel.ring_gpadl = open->ring_gpadl;
	m.open_channel.target_vp = open->target_vp;
	m.open_channel.downstream_page = open->downstream_page;
	memcpy(m.open_channel.user_data, open->user_data, sizeof(open->user_data));
	if (c->features & VMBUS_FEATURE_GUEST_SIGNAL) {
		m.open_channel.connection_id = open->connection_id;
		m.open_channel.event_flag = open->event_flag;
	}
	if (c->features & VMBUS_FEATURE_REDIRECT)
		m.open_channel.open_flags = open->open_flags;
	client_post(c, &m, c->features & long_form ? 156 : 148);
}

enum vmbus_status client_channel_usable(const struct vmbus_client *c,
					const struct client_channel *ch)
{
	if (!ch)
		return VMBUS_E_NOT_FOUND;
	if (ch->state == CLIENT_RESCINDED || !client_connected(c))
		return VMBUS_E_GONE;
	return VMBUS_OK;
}

enum vmbus_status vmbus_client_open(struct vmbus_client *c, vmbus_channel_id id,
				    const struct vmbus_client_open *open)
{
	struct client_channel *ch = client_channel(c, id);
	enum vmbus_status status = client_channel_usable(c, ch);
	const struct vmbus_gpadl *g;

	if (status)
		return status;
	if (ch->state != CLIENT_OFFERED)
		return VMBUS_E_STATE;
	g = vmbus_gpadl_find(&c->gpadls, ch, open->ring_gpadl);
	if (!g || g->state != VMBUS_GPADL_CREATED)
		return VMBUS_E_INVALID;
	ch->open_id = next_open_id(c);
	ch->state = CLIENT_OPENING;
	post_open(c, ch, open);
	return VMBUS_OK;
}

void on_open_channel_result(struct vmbus_client *c, const struct vmbus_message *m)
{
	struct client_channel *ch = find_relid(c, m->open_channel_result.channel_id);

	if (!ch)
		return;
	if (ch->state != CLIENT_OPENING || m->open_channel_result.open_id != ch->open_id) {
		c->stats.ignored_state++;
		return;
	}
	ch->state = m->open_channel_result.status ? CLIENT_OFFERED : CLIENT_OPEN;
	client_push_result(c, ch, VMBUS_CLIENT_OPEN_RESULT, 0, m->open_channel_result.status);
}

enum vmbus_status vmbus_client_close(struct vmbus_client *c, vmbus_channel_id id)
{
	struct client_channel *ch = client_channel(c, id);
	struct vmbus_message m = {.type = VMBUS_MSG_CLOSE_CHANNEL};

	if (!ch)
		return VMBUS_E_NOT_FOUND;
	switch (ch->state) {
	case CLIENT_OFFERED:
	case CLIENT_RESCINDED:
		return VMBUS_OK;
	case CLIENT_OPENING:
		return VMBUS_E_STATE;
	case CLIENT_OPEN:
		break;
	}
	ch->state = CLIENT_OFFERED;
	m.close_channel.channel_id = ch->offer.relid;
	if (client_connected(c))
		client_post(c, &m, 12);
	return VMBUS_OK;
}

enum vmbus_status vmbus_client_modify(struct vmbus_client *c, vmbus_channel_id id, uint32_t vp)
{
	struct client_channel *ch = client_channel(c, id);
	enum vmbus_status status = client_channel_usable(c, ch);
	struct vmbus_message m = {.type = VMBUS_MSG_MODIFY_CHANNEL};

	if (status)
		return status;
	if (vp == VMBUS_VP_NONE)
		return VMBUS_E_INVALID;
	if (ch->state != CLIENT_OPEN || ch->modifying ||
	    !vmbus_message_allowed(m.type, c->version, c->features))
		return VMBUS_E_STATE;
	m.modify_channel.channel_id = ch->offer.relid;
	m.modify_channel.target_vp = vp;
	client_post(c, &m, 16);
	/* Before 5.3 the host does not say when it is done. */
	ch->modifying = ch->modify_awaited = c->version >= VMBUS_V5_3;
	if (!ch->modifying)
		client_push_result(c, ch, VMBUS_CLIENT_MODIFY_RESULT, 0, 0);
	return VMBUS_OK;
}

void on_modify_channel_response(struct vmbus_client *c, const struct vmbus_message *m)
{
	struct client_channel *ch = find_relid(c, m->modify_channel_response.channel_id);

	if (!ch)
		return;
	if (!ch->modifying) {
		c->stats.ignored_state++;
		return;
	}
	ch->modifying = false;
	if (ch->modify_awaited)
		client_push_result(c, ch, VMBUS_CLIENT_MODIFY_RESULT, 0,
				   m->modify_channel_response.status);
	ch->modify_awaited = false;
	client_channel_settle(c, ch);
}
