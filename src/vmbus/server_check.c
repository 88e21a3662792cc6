/* SPDX-License-Identifier: MIT */
/* The invariants of the server: what must hold between any two calls. */
#include "vmbus/check.h"
#include "vmbus/server_internal.h"

struct census {
	uint32_t draining, tearing, gpadls, words, with_relid;
	uint32_t monitor_ids[VMBUS_MONITOR_IDS / 32];
};

static const char *check_gpadl(const struct channel *ch, const struct vmbus_gpadl *g)
{
	bool gone = !channel_visible(ch);

	switch (g->state) {
	case VMBUS_GPADL_INCOMPLETE:
		return gone ? "a released channel has a half-received GPADL" : NULL;
	case VMBUS_GPADL_OFFERED:
		return gone || !ch->id ? "a GPADL waits for a device that is not there" : NULL;
	case VMBUS_GPADL_ACCEPTED:
		return gone ? "a released channel has an accepted GPADL" : NULL;
	case VMBUS_GPADL_TEARING:
	case VMBUS_GPADL_OFFERED_TEARING:
		return !ch->id ? "a GPADL's teardown waits for a device that is not there" : NULL;
	case VMBUS_GPADL_CREATING:
	case VMBUS_GPADL_CREATED:
	case VMBUS_GPADL_DELETING:
	case VMBUS_GPADL_CREATING_GONE:
	case VMBUS_GPADL_DELETING_GONE:
	case VMBUS_GPADL_GONE:
		break;
	}
	return "a server's GPADL is in a client's state";
}

static const char *check_gpadls(const struct vmbus_server *s, const struct channel *ch,
				struct census *c)
{
	const char *wrong = vmbus_gpadl_list_check(&s->gpadls, &ch->gpadls, ch);

	for (const struct vmbus_gpadl *g = ch->gpadls.first; g && !wrong; g = g->next) {
		c->gpadls++;
		c->words += g->allocated;
		c->tearing +=
			g->state == VMBUS_GPADL_TEARING || g->state == VMBUS_GPADL_OFFERED_TEARING;
		wrong = check_gpadl(ch, g);
	}
	return wrong;
}

static const char *check_ids(const struct vmbus_server *s, const struct channel *ch,
			     struct census *c)
{
	if (channel_visible(ch) != (ch->relid != 0))
		return "a channel has an id and is not visible, or the other way round";
	if (ch->relid > VMBUS_MAX_CHANNEL ||
	    (ch->relid && (s->by_relid[ch->relid] != ch ||
			   !(s->taken_ids[ch->relid / 64] >> ch->relid % 64 & 1))))
		return "a channel cannot be found by its channel id";
	c->with_relid += ch->relid != 0;
	if (ch->monitor_id == VMBUS_MONITOR_NONE)
		return NULL;
	if (ch->monitor_id >= VMBUS_MONITOR_IDS || !ch->relid)
		return "a channel has a monitor id that it cannot have";
	if (c->monitor_ids[ch->monitor_id / 32] >> ch->monitor_id % 32 & 1)
		return "two channels have one monitor id";
	c->monitor_ids[ch->monitor_id / 32] |= 1u << ch->monitor_id % 32;
	return NULL;
}

static const char *check_state(const struct vmbus_server *s, const struct channel *ch)
{
	if (channel_visible(ch) && !channel_survives(ch) &&
	    s->state != VMBUS_SERVER_STATE_CONNECTED)
		return "a channel is visible without a connection";
	if ((ch->state == CHANNEL_REVOKED) != (ch->id == 0))
		return "a channel has no device and is not revoked, or the other way round";
	if (ch->id && server_channel(s, ch->id) != ch)
		return "an offer cannot be found by its id";
	if (ch->reserved && ch->state != CHANNEL_OPENING && ch->state != CHANNEL_OPEN &&
	    ch->state != CHANNEL_CLOSING)
		return "a channel is reserved in a state that cannot be";
	if (ch->waiting && (ch->state != CHANNEL_OPENING || ch->lag == LAG_NONE))
		return "an open waits for nothing";
	if (ch->offer_later && (ch->state != CHANNEL_RELEASED || !ch->gpadls.first))
		return "an offer is put off for nothing";
	if (ch->modifying && ch->state != CHANNEL_OPEN)
		return "a channel that is not open is being modified";
	return NULL;
}

static const char *check_channel(const struct vmbus_server *s, const struct channel *ch,
				 struct census *c)
{
	const char *wrong = check_state(s, ch);

	if (ch->slot >= s->config.limits.channels || s->slots[ch->slot] != ch)
		return "a channel is not in its slot";
	c->draining +=
		ch->state == CHANNEL_CLOSING_RELEASED || ch->state == CHANNEL_OPENING_RELEASED;
	if (!wrong)
		wrong = check_ids(s, ch, c);
	if (!wrong)
		wrong = check_gpadls(s, ch, c);
	return wrong;
}

static const char *check_census(const struct vmbus_server *s, const struct census *c)
{
	uint32_t slots = vmbus_count_set((void *const *)s->slots, s->config.limits.channels);
	uint32_t relids = vmbus_count_set((void *const *)s->by_relid, VMBUS_MAX_CHANNEL + 1);

	if (slots != s->channel_count || relids != c->with_relid)
		return "the tables of channels do not agree";
	if (c->draining != s->draining || c->tearing != s->tearing)
		return "the count of what a disconnect waits for is wrong";
	if (c->gpadls != s->gpadls.count || c->words != s->gpadls.words)
		return "the GPADL table counts wrongly";
	if (memcmp(c->monitor_ids, s->monitor_ids, sizeof(c->monitor_ids)) != 0)
		return "a monitor id is lost";
	if (s->gpadls.count > s->gpadls.max_count || s->gpadls.words > s->gpadls.max_words)
		return "more GPADLs than the limit";
	return NULL;
}

static const char *check_connection(const struct vmbus_server *s)
{
	switch (s->state) {
	case VMBUS_SERVER_STATE_DISCONNECTED:
		if (s->version || s->features || s->monitor_child_to_parent || s->has_next)
			return "something of a connection outlived it";
		if (s->draining)
			return "disconnected, but a device uses the rings of the connection";
		break;
	case VMBUS_SERVER_STATE_CONNECTING:
		if (s->draining)
			return "connecting, but a device uses the rings of the old connection";
		break;
	case VMBUS_SERVER_STATE_NEGOTIATED:
	case VMBUS_SERVER_STATE_CONNECTED:
		if (!s->version || s->has_next)
			return "connected without a version, or with a contact forgotten";
		break;
	case VMBUS_SERVER_STATE_DISCONNECTING:
		if (!s->draining && !s->tearing)
			return "disconnecting, and waiting for nothing";
		if (s->has_next != (s->after == AFTER_CONTACT))
			return "disconnecting for a contact that is not there";
		break;
	}
	if (s->held.records && !s->paused)
		return "messages are held back and the connection is not paused";
	return NULL;
}

const char *vmbus_server_check(const struct vmbus_server *s)
{
	const char *wrong = check_connection(s);
	struct census c = {0};

	for (uint32_t i = 0; i < s->channel_count && !wrong; i++)
		wrong = check_channel(s, s->sorted[i], &c);
	return wrong ? wrong : check_census(s, &c);
}

const char *vmbus_server_sweep(struct vmbus_server *s)
{
	return vmbus_sweep_due(&s->unswept, s->channel_count) ? vmbus_server_check(s) : NULL;
}
