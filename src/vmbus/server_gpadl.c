/* SPDX-License-Identifier: MIT */
/* GPADLs at the server: received in parts, validated when complete, then the device's. */
#include "vmbus/gparange.h"
#include "vmbus/server_internal.h"

static bool held_by_device(enum vmbus_gpadl_state state)
{
	return state == VMBUS_GPADL_TEARING || state == VMBUS_GPADL_OFFERED_TEARING;
}

void gpadl_set_state(struct vmbus_server *s, struct vmbus_gpadl *g, enum vmbus_gpadl_state state)
{
	s->tearing -= held_by_device(g->state);
	s->tearing += held_by_device(state);
	g->state = state;
}

void gpadl_forget(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g)
{
	s->tearing -= held_by_device(g->state);
	vmbus_gpadl_remove(&s->gpadls, &s->config.allocator, &ch->gpadls, g);
}

static void post_created(struct vmbus_server *s, uint32_t relid, uint32_t id, uint32_t status)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_CREATED};

	if (status)
		server_count(&s->stats.gpadls_refused);
	m.gpadl_created.channel_id = relid;
	m.gpadl_created.gpadl = id;
	m.gpadl_created.status = status;
	server_post(s, &m, 20);
}

static void post_torndown(struct vmbus_server *s, uint32_t id)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_TORNDOWN};

	m.gpadl_torndown.gpadl = id;
	server_post(s, &m, 12);
}

static void tell_device(struct vmbus_server *s, const struct channel *ch,
			const struct vmbus_gpadl *g, enum vmbus_server_action_type type)
{
	struct vmbus_server_action a = {0};

	a.gpadl.id = g->id;
	server_push_device(s, ch, type, &a, sizeof(a.gpadl));
}

static bool revoked(const struct channel *ch)
{
	return ch->state == CHANNEL_REVOKED || ch->state == CHANNEL_REOFFERED;
}

/* No device has anything of the channel's. */
static bool nobody_holds(const struct channel *ch)
{
	return revoked(ch) || ch->restore == RESTORE_UNCLAIMED;
}

/* Drops the record and says so, after everything of it that the answer needs has been read. */
static void refuse_gpadl(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g)
{
	uint32_t id = g->id;

	gpadl_forget(s, ch, g);
	post_created(s, ch->relid, id, VMBUS_STATUS_FAILURE);
}

static bool ranges_valid(struct vmbus_gpadl *g)
{
	uint32_t pages = 0;

	if (vmbus_gparange_validate(g->words, g->word_count, g->range_count, g->word_count, &pages))
		return false;
	/* Words after the last range are legal and mean nothing. */
	g->page_count = pages;
	g->word_count = pages + g->range_count;
	g->received = g->word_count;
	return true;
}

static void gpadl_complete(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g)
{
	if (!ranges_valid(g) || channel_survives(ch)) {
		refuse_gpadl(s, ch, g);
	} else if (nobody_holds(ch)) {
		gpadl_set_state(s, g, VMBUS_GPADL_ACCEPTED);
		post_created(s, ch->relid, g->id, VMBUS_STATUS_OK);
	} else {
		gpadl_set_state(s, g, VMBUS_GPADL_OFFERED);
		tell_device(s, ch, g, VMBUS_SERVER_GPADL);
	}
}

static void gpadl_append(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g,
			 const struct incoming *in, size_t offset)
{
	vmbus_gpadl_append(g, in->bytes + offset, in->size - offset);
	if (g->received == g->word_count)
		gpadl_complete(s, ch, g);
}

static struct vmbus_gpadl *start_gpadl(struct vmbus_server *s, struct channel *ch,
				       const struct incoming *in)
{
	uint32_t id = in->m->gpadl_header.gpadl;
	uint32_t words = in->m->gpadl_header.length / sizeof(uint64_t);
	struct vmbus_gpadl *g;

	if (!words || !in->m->gpadl_header.range_count || channel_survives(ch) ||
	    vmbus_gpadl_find(&s->gpadls, ch, id))
		return NULL;
	/* A BODY names no channel, so it must be able to name its GPADL without one. */
	if (vmbus_gpadl_find_incomplete(&s->gpadls, id) && words * 8 > in->size - 20)
		return NULL;
	if (server_reserve(s, s->channel_count, s->gpadls.count + 1) ||
	    vmbus_gpadl_add(&s->gpadls, &s->config.allocator, &ch->gpadls, ch, id, words, &g))
		return NULL;
	g->state = VMBUS_GPADL_INCOMPLETE;
	g->range_count = in->m->gpadl_header.range_count;
	return g;
}

void on_gpadl_header(struct vmbus_server *s, const struct incoming *in)
{
	uint32_t relid = in->m->gpadl_header.channel_id;
	struct channel *ch = relid <= VMBUS_MAX_CHANNEL ? s->by_relid[relid] : NULL;
	struct vmbus_gpadl *g = ch ? start_gpadl(s, ch, in) : NULL;

	if (!g)
		post_created(s, relid, in->m->gpadl_header.gpadl, VMBUS_STATUS_FAILURE);
	else
		gpadl_append(s, ch, g, in, 20);
}

void on_gpadl_body(struct vmbus_server *s, const struct incoming *in)
{
	struct vmbus_gpadl *g = vmbus_gpadl_find_incomplete(&s->gpadls, in->m->gpadl_body.gpadl);

	if (!g)
		server_count(&s->stats.dropped_unknown);
	else
		gpadl_append(s, (struct channel *)g->channel, g, in, 16);
}

static void teardown(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g)
{
	uint32_t id = g->id;

	if (nobody_holds(ch) && !channel_uses_ring(ch, id)) {
		gpadl_forget(s, ch, g);
		post_torndown(s, id);
		return;
	}
	gpadl_set_state(s, g, VMBUS_GPADL_TEARING);
	g->released = nobody_holds(ch);
	if (!g->released)
		tell_device(s, ch, g, VMBUS_SERVER_GPADL_TEARDOWN);
}

void on_gpadl_teardown(struct vmbus_server *s, const struct incoming *in)
{
	uint32_t relid = in->m->gpadl_teardown.channel_id;
	struct channel *ch = relid <= VMBUS_MAX_CHANNEL ? s->by_relid[relid] : NULL;
	struct vmbus_gpadl *g =
		ch ? vmbus_gpadl_find(&s->gpadls, ch, in->m->gpadl_teardown.gpadl) : NULL;

	if (!g)
		server_count(&s->stats.dropped_unknown);
	else if (g->state != VMBUS_GPADL_ACCEPTED || channel_survives(ch))
		server_count(&s->stats.dropped_state);
	else
		teardown(s, ch, g);
}

static struct vmbus_gpadl *find_for_device(struct vmbus_server *s, vmbus_offer_id id,
					   uint32_t gpadl, struct channel **ch)
{
	*ch = server_channel(s, id);
	/* What a revoked channel still holds was its old device's. */
	return *ch && !revoked(*ch) ? vmbus_gpadl_find(&s->gpadls, *ch, gpadl) : NULL;
}

static void unwanted_answered(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g,
			      bool ok)
{
	if (ok) {
		gpadl_set_state(s, g, VMBUS_GPADL_TEARING);
		tell_device(s, ch, g, VMBUS_SERVER_GPADL_TEARDOWN);
		return;
	}
	gpadl_forget(s, ch, g);
}

void vmbus_server_gpadl_done(struct vmbus_server *s, vmbus_offer_id id, uint32_t gpadl, bool ok)
{
	struct channel *ch;
	struct vmbus_gpadl *g = find_for_device(s, id, gpadl, &ch);

	if (!g || (g->state != VMBUS_GPADL_OFFERED && g->state != VMBUS_GPADL_OFFERED_TEARING)) {
		server_count(&s->stats.late_answers);
	} else if (g->state == VMBUS_GPADL_OFFERED_TEARING) {
		unwanted_answered(s, ch, g, ok);
	} else if (ok) {
		gpadl_set_state(s, g, VMBUS_GPADL_ACCEPTED);
		post_created(s, ch->relid, gpadl, VMBUS_STATUS_OK);
	} else {
		refuse_gpadl(s, ch, g);
	}
	if (ch)
		channel_let_go(s, ch);
	connection_drained(s);
}

static void torn_down(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g)
{
	bool tell = channel_visible(ch) && !g->silent;
	uint32_t id = g->id;

	gpadl_forget(s, ch, g);
	if (tell)
		post_torndown(s, id);
}

void vmbus_server_gpadl_released(struct vmbus_server *s, vmbus_offer_id id, uint32_t gpadl)
{
	struct channel *ch;
	struct vmbus_gpadl *g = find_for_device(s, id, gpadl, &ch);

	if (!g || g->state != VMBUS_GPADL_TEARING || g->released)
		server_count(&s->stats.late_answers);
	else if (channel_uses_ring(ch, gpadl))
		g->released = true;
	else
		torn_down(s, ch, g);
	if (ch)
		channel_let_go(s, ch);
	connection_drained(s);
}

void gpadls_ring_idle(struct vmbus_server *s, struct channel *ch)
{
	struct vmbus_gpadl *g = vmbus_gpadl_find(&s->gpadls, ch, ch->open.ring_gpadl);

	if (g && g->state == VMBUS_GPADL_TEARING && g->released && !channel_uses_ring(ch, g->id))
		torn_down(s, ch, g);
}

void gpadls_revoke(struct vmbus_server *s, struct channel *ch)
{
	struct vmbus_gpadl *next;

	for (struct vmbus_gpadl *g = ch->gpadls.first; g; g = next) {
		next = g->next;
		if (g->state == VMBUS_GPADL_OFFERED)
			refuse_gpadl(s, ch, g);
	}
	for (struct vmbus_gpadl *g = ch->gpadls.first; g; g = next) {
		bool tell = g->state == VMBUS_GPADL_TEARING && !g->silent;
		uint32_t id = g->id;

		next = g->next;
		if (!held_by_device(g->state))
			continue;
		gpadl_forget(s, ch, g);
		if (tell)
			post_torndown(s, id);
	}
}

static void release_one(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g)
{
	switch (g->state) {
	case VMBUS_GPADL_OFFERED:
		gpadl_set_state(s, g, VMBUS_GPADL_OFFERED_TEARING);
		break;
	case VMBUS_GPADL_ACCEPTED:
		gpadl_set_state(s, g, VMBUS_GPADL_TEARING);
		tell_device(s, ch, g, VMBUS_SERVER_GPADL_TEARDOWN);
		break;
	case VMBUS_GPADL_TEARING:
	case VMBUS_GPADL_OFFERED_TEARING:
		break;
	case VMBUS_GPADL_INCOMPLETE:
	case VMBUS_GPADL_CREATING:
	case VMBUS_GPADL_CREATED:
	case VMBUS_GPADL_DELETING:
	case VMBUS_GPADL_CREATING_GONE:
	case VMBUS_GPADL_DELETING_GONE:
	case VMBUS_GPADL_GONE:
		gpadl_forget(s, ch, g);
		return;
	}
	g->silent = true;
}

void gpadls_release(struct vmbus_server *s, struct channel *ch)
{
	struct vmbus_gpadl *next;

	for (struct vmbus_gpadl *g = ch->gpadls.first; g; g = next) {
		next = g->next;
		release_one(s, ch, g);
	}
}

/* A reserved channel keeps what is accepted; what is under way is of the old connection. */
void gpadls_release_reserved(struct vmbus_server *s, struct channel *ch)
{
	struct vmbus_gpadl *next;

	for (struct vmbus_gpadl *g = ch->gpadls.first; g; g = next) {
		next = g->next;
		if (g->state != VMBUS_GPADL_ACCEPTED)
			release_one(s, ch, g);
	}
}

void gpadls_delete(struct vmbus_server *s, struct channel *ch)
{
	while (ch->gpadls.first)
		gpadl_forget(s, ch, ch->gpadls.first);
}

/* Out of saved state: the device that was asked, or was to let go, is no more. */
void gpadls_restored(struct vmbus_server *s, struct channel *ch)
{
	struct vmbus_gpadl *next;

	for (struct vmbus_gpadl *g = ch->gpadls.first; g; g = next) {
		next = g->next;
		if (g->state == VMBUS_GPADL_OFFERED) {
			gpadl_set_state(s, g, VMBUS_GPADL_ACCEPTED);
			post_created(s, ch->relid, g->id, VMBUS_STATUS_OK);
		} else if (g->state == VMBUS_GPADL_TEARING) {
			if (channel_uses_ring(ch, g->id))
				g->released = true;
			else
				torn_down(s, ch, g);
		}
	}
}

enum vmbus_status vmbus_server_gpadl(struct vmbus_server *s, vmbus_offer_id id, uint32_t gpadl,
				     struct vmbus_gpadl_view *view)
{
	struct channel *ch;
	struct vmbus_gpadl *g = find_for_device(s, id, gpadl, &ch);

	if (!g || g->state == VMBUS_GPADL_INCOMPLETE)
		return VMBUS_E_NOT_FOUND;
	if (g->state != VMBUS_GPADL_OFFERED && g->state != VMBUS_GPADL_ACCEPTED)
		return VMBUS_E_STATE;
	view->id = g->id;
	view->range_count = g->range_count;
	view->page_count = g->page_count;
	view->words = g->words;
	view->word_count = g->word_count;
	return VMBUS_OK;
}
