/* SPDX-License-Identifier: MIT */
/* Channels: offered, opened, closed, revoked, released. The table below is the whole machine. */
#include "vmbus/server_internal.h"

enum channel_event {
	EVENT_OPEN,
	EVENT_OPEN_RESERVED,
	EVENT_OPENED,
	EVENT_REFUSED,
	EVENT_CLOSE,
	EVENT_CLOSE_RESERVED,
	EVENT_CLOSED,
	EVENT_RELEASE,
	EVENT_REVOKE,
	EVENT_DISCONNECT,
	EVENT_RESET,
	EVENTS,
};

/* What happens in one cell. Steps that change the state say to which. */
enum channel_step {
	DROP,           /* a client message that does not fit: counted */
	QUIET,          /* one that is legal and has no effect any more */
	LATE,           /* a device's answer that nobody waits for */
	NONE,           /* nothing to do */
	START,          /* check the request and ask the device -> OPENING */
	REMEMBER,       /* keep the request -> CLOSING_REOPEN */
	OPENED,         /* result 0 -> OPEN */
	REFUSED,        /* result failure -> CLOSED */
	UNDO,           /* the open came too late: close -> CLOSING_RELEASED */
	CLOSE,          /* tell the device -> CLOSING */
	CLOSED,         /* -> CLOSED */
	REOPEN,         /* the request that was kept -> OPENING */
	FORGET,         /* nothing is pending -> RELEASED */
	FORGET_CLOSE,   /* the device is told to close -> CLOSING_RELEASED */
	FORGET_CLOSING, /* it has been told -> CLOSING_RELEASED */
	FORGET_OPENING, /* it has been asked -> OPENING_RELEASED */
	ABANDON,        /* it has been asked, but nobody waits -> RELEASED */
	RESCIND,        /* answer what is owed, RESCIND -> REVOKED */
	UNOFFER,        /* -> REVOKED, the client does not see it */
	REOFFER,        /* the client has the id back: OFFER -> CLOSED */
	DELETE,         /* the record goes */
};

/* Columns: R, L, P, O, G, GR, V, F, GX, PX of the protocol notes; order of enum channel_state. */
static const uint8_t steps[EVENTS][CHANNEL_STATES] = {
	/* clang-format off */
	[EVENT_OPEN] =		 {DROP, START, DROP, DROP, REMEMBER, DROP, QUIET, QUIET, DROP, DROP},
	[EVENT_OPEN_RESERVED] =	 {DROP, START, DROP, DROP, DROP, DROP, QUIET, QUIET, DROP, DROP},
	[EVENT_OPENED] =	 {LATE, LATE, OPENED, LATE, LATE, LATE, LATE, LATE, LATE, UNDO},
	[EVENT_REFUSED] =	 {LATE, LATE, REFUSED, LATE, LATE, LATE, LATE, LATE, LATE, FORGET},
	[EVENT_CLOSE] =		 {DROP, DROP, DROP, CLOSE, DROP, DROP, QUIET, QUIET, DROP, DROP},
	[EVENT_CLOSE_RESERVED] = {DROP, DROP, DROP, CLOSE, DROP, DROP, QUIET, QUIET, DROP, DROP},
	[EVENT_CLOSED] =	 {LATE, LATE, LATE, LATE, CLOSED, REOPEN, LATE, LATE, FORGET, LATE},
	[EVENT_RELEASE] =	 {DROP, FORGET, DROP, DROP, FORGET_CLOSING, DROP, DELETE, REOFFER,
				  DROP, DROP},
	[EVENT_REVOKE] =	 {DELETE, RESCIND, RESCIND, RESCIND, RESCIND, RESCIND, NONE, UNOFFER,
				  DELETE, DELETE},
	[EVENT_DISCONNECT] =	 {FORGET, FORGET, FORGET_OPENING, FORGET_CLOSE, FORGET_CLOSING,
				  FORGET_CLOSING, DELETE, FORGET, NONE, NONE},
	[EVENT_RESET] =		 {FORGET, FORGET, ABANDON, FORGET_CLOSE, FORGET_CLOSING,
				  FORGET_CLOSING, DELETE, FORGET, NONE, ABANDON},
	/* clang-format on */
};

bool channel_visible(const struct channel *ch)
{
	switch (ch->state) {
	case CHANNEL_CLOSED:
	case CHANNEL_OPENING:
	case CHANNEL_OPEN:
	case CHANNEL_CLOSING:
	case CHANNEL_CLOSING_REOPEN:
	case CHANNEL_REVOKED:
	case CHANNEL_REOFFERED:
		return true;
	case CHANNEL_RELEASED:
	case CHANNEL_CLOSING_RELEASED:
	case CHANNEL_OPENING_RELEASED:
	case CHANNEL_STATES:
		break;
	}
	return false;
}

/* Whether the device may be using the rings of ch->open. */
static bool in_use(const struct channel *ch)
{
	switch (ch->state) {
	case CHANNEL_OPENING:
		return !ch->waiting;
	case CHANNEL_OPEN:
	case CHANNEL_CLOSING:
	case CHANNEL_CLOSING_REOPEN:
	case CHANNEL_CLOSING_RELEASED:
	case CHANNEL_OPENING_RELEASED:
		return true;
	case CHANNEL_RELEASED:
	case CHANNEL_CLOSED:
	case CHANNEL_REVOKED:
	case CHANNEL_REOFFERED:
	case CHANNEL_STATES:
		break;
	}
	return false;
}

/* A reserved open outlives its connection. */
bool channel_survives(const struct channel *ch)
{
	return ch->reserved && channel_visible(ch) && in_use(ch);
}

bool channel_uses_ring(const struct channel *ch, uint32_t gpadl)
{
	return in_use(ch) && ch->open.ring_gpadl == gpadl;
}

static bool is_draining(enum channel_state state)
{
	return state == CHANNEL_CLOSING_RELEASED || state == CHANNEL_OPENING_RELEASED;
}

static void set_state(struct vmbus_server *s, struct channel *ch, enum channel_state state)
{
	s->draining -= is_draining(ch->state);
	s->draining += is_draining(state);
	ch->state = state;
}

static void push_simple(struct vmbus_server *s, const struct channel *ch,
			enum vmbus_server_action_type type)
{
	struct vmbus_server_action a = {0};

	server_push_device(s, ch, type, &a, 0);
}

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

/* There is always one: offers and ids are equally many. */
static uint32_t lowest_free_relid(const struct vmbus_server *s)
{
	for (uint32_t relid = 1; relid <= VMBUS_MAX_CHANNEL; relid++) {
		if (!s->by_relid[relid] && !fixed_for_someone(s, relid))
			return relid;
	}
	return 0;
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

static void free_monitor_id(struct vmbus_server *s, struct channel *ch)
{
	if (ch->monitor_id != VMBUS_MONITOR_NONE)
		s->monitor_ids[ch->monitor_id / 32] &= ~(1u << ch->monitor_id % 32);
	ch->monitor_id = VMBUS_MONITOR_NONE;
}

static void free_ids(struct vmbus_server *s, struct channel *ch)
{
	if (ch->relid)
		s->by_relid[ch->relid] = NULL;
	ch->relid = 0;
	free_monitor_id(s, ch);
}

/* ---- offers ---- */

static uint32_t offered_connection_id(const struct vmbus_server *s, const struct channel *ch)
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

static void post_offer(struct vmbus_server *s, const struct channel *ch)
{
	struct vmbus_message m = {.type = VMBUS_MSG_OFFER_CHANNEL};

	m.offer_channel.interface_id = ch->offer.interface_id;
	m.offer_channel.instance_id = ch->offer.instance_id;
	m.offer_channel.flags = offered_flags(s, ch);
	m.offer_channel.mmio_megabytes = ch->offer.mmio_megabytes;
	m.offer_channel.mmio_megabytes_optional = ch->offer.mmio_megabytes_optional;
	memcpy(m.offer_channel.user_data, ch->offer.user_data, sizeof(ch->offer.user_data));
	m.offer_channel.subchannel = ch->offer.subchannel;
	m.offer_channel.channel_id = ch->relid;
	m.offer_channel.monitor_id = ch->monitor_id;
	m.offer_channel.monitor_allocated = ch->monitor_id != VMBUS_MONITOR_NONE;
	m.offer_channel.dedicated = 1;
	m.offer_channel.connection_id = offered_connection_id(s, ch);
	server_post(s, &m, 196);
}

/* RELEASED or REOFFERED -> CLOSED. Before 2.4 an OFFER cannot say that it is a subchannel. */
static void offer_to_client(struct vmbus_server *s, struct channel *ch)
{
	if (ch->offer.subchannel && s->version < VMBUS_V2_4)
		return;
	if (!ch->relid) {
		ch->relid = ch->offer.fixed_channel_id ? ch->offer.fixed_channel_id
						       : lowest_free_relid(s);
		s->by_relid[ch->relid] = ch;
	}
	if (ch->offer.monitored && connection_has_monitor_pages(s))
		ch->monitor_id = take_monitor_id(s);
	set_state(s, ch, CHANNEL_CLOSED);
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
	offer_to_client(s, ch);
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

static void insert_sorted(struct vmbus_server *s, struct channel *ch)
{
	uint32_t at = s->channel_count;

	while (at > 0 && compare_offers(&s->sorted[at - 1]->offer, &ch->offer) > 0) {
		s->sorted[at] = s->sorted[at - 1];
		at--;
	}
	s->sorted[at] = ch;
	s->channel_count++;
}

static void remove_sorted(struct vmbus_server *s, const struct channel *ch)
{
	uint32_t at = 0;

	while (s->sorted[at] != ch)
		at++;
	s->channel_count--;
	memmove(&s->sorted[at], &s->sorted[at + 1], (s->channel_count - at) * sizeof(s->sorted[0]));
}

static void set_device(struct vmbus_server *s, struct channel *ch, const struct vmbus_offer *offer,
		       void *device)
{
	ch->id = ++s->generation << 16 | (ch->slot + 1u);
	ch->device = device;
	ch->offer = *offer;
}

static struct channel *find_key(const struct vmbus_server *s, const struct vmbus_offer *offer)
{
	for (uint32_t i = 0; i < s->channel_count; i++) {
		if (compare_key(&s->sorted[i]->offer, offer) == 0)
			return s->sorted[i];
	}
	return NULL;
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
	set_state(s, ch, CHANNEL_REOFFERED);
}

static enum vmbus_status add_channel(struct vmbus_server *s, const struct vmbus_offer *offer,
				     void *device, struct channel **added)
{
	const struct vmbus_allocator *a = &s->config.allocator;
	uint32_t slot = 0;
	struct channel *ch;

	if (s->channel_count >= s->config.limits.channels)
		return VMBUS_E_LIMIT;
	if (server_reserve(s, s->channel_count + 1, s->gpadls.count))
		return VMBUS_E_NO_MEMORY;
	ch = a->alloc(a->ctx, sizeof(*ch));
	if (!ch)
		return VMBUS_E_NO_MEMORY;
	while (s->slots[slot])
		slot++;
	ch->slot = (uint16_t)slot;
	ch->monitor_id = VMBUS_MONITOR_NONE;
	s->slots[slot] = ch;
	set_device(s, ch, offer, device);
	set_fixed(s, offer->fixed_channel_id, true);
	insert_sorted(s, ch);
	*added = ch;
	return VMBUS_OK;
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

	if (offer->fixed_channel_id > VMBUS_MAX_CHANNEL)
		return VMBUS_E_INVALID;
	if ((ch && ch->state != CHANNEL_REVOKED) || fixed_id_taken(s, ch, offer->fixed_channel_id))
		return VMBUS_E_EXISTS;
	if (ch) {
		reoffer(s, ch, offer, device);
	} else {
		status = add_channel(s, offer, device, &ch);
		if (status)
			return status;
		if (s->state == VMBUS_SERVER_STATE_CONNECTED)
			offer_to_client(s, ch);
	}
	*id = ch->id;
	return VMBUS_OK;
}

static void delete_channel(struct vmbus_server *s, struct channel *ch)
{
	gpadls_delete(s, ch);
	set_state(s, ch, CHANNEL_RELEASED);
	free_ids(s, ch);
	set_fixed(s, ch->offer.fixed_channel_id, false);
	remove_sorted(s, ch);
	s->slots[ch->slot] = NULL;
	s->config.allocator.free(s->config.allocator.ctx, ch, sizeof(*ch));
}

/* ---- opening ---- */

static void post_open_result(struct vmbus_server *s, const struct channel *ch,
			     const struct open_request *r, uint32_t status)
{
	struct vmbus_message m = {.type = VMBUS_MSG_OPEN_CHANNEL_RESULT};

	m.open_channel_result.channel_id = ch->relid;
	m.open_channel_result.open_id = r->open_id;
	m.open_channel_result.status = status;
	if (r->reserved)
		server_post_unqueued(s, r->reserved_vp, r->reserved_sint, &m, 20);
	else
		server_post(s, &m, 20);
}

/* One range of whole pages from a page's start; each ring has a control page and some data. */
static bool ring_valid(const struct vmbus_server *s, const struct channel *ch,
		       const struct open_request *r)
{
	const struct vmbus_gpadl *g = vmbus_gpadl_find(&s->gpadls, ch, r->ring_gpadl);
	uint64_t range;

	if (!g || g->state != VMBUS_GPADL_ACCEPTED || g->range_count != 1)
		return false;
	range = g->words[0];
	if (range >> 32 || (uint32_t)range % VMBUS_PAGE_SIZE)
		return false;
	return r->downstream_page >= 2 && r->downstream_page < g->page_count &&
	       g->page_count - r->downstream_page >= 2;
}

static bool connection_id_bound(const struct vmbus_server *s, const struct channel *self,
				uint32_t connection_id)
{
	for (uint32_t i = 0; i < s->channel_count; i++) {
		const struct channel *ch = s->sorted[i];

		if (ch != self && in_use(ch) &&
		    (ch->open.connection_id & VMBUS_PORT_MASK) == (connection_id & VMBUS_PORT_MASK))
			return true;
	}
	return false;
}

/* Ids below 8 are the bus's own message and event ports. */
static bool signal_valid(const struct vmbus_server *s, const struct channel *ch,
			 const struct open_request *r)
{
	if (r->own_signal && (!r->event_flag || r->event_flag > VMBUS_MAX_CHANNEL ||
			      (r->connection_id & VMBUS_PORT_MASK) < 8))
		return false;
	return !connection_id_bound(s, ch, r->connection_id);
}

static bool request_valid(const struct vmbus_server *s, const struct channel *ch,
			  const struct open_request *r)
{
	return (r->target_vp == VMBUS_VP_NONE || r->target_vp < s->config.vp_count) &&
	       ring_valid(s, ch, r) && signal_valid(s, ch, r);
}

static void ask_device(struct vmbus_server *s, struct channel *ch)
{
	const struct open_request *r = &ch->open;
	struct vmbus_server_action a = {0};

	ch->waiting = ch->lag != LAG_NONE;
	if (ch->waiting)
		return;
	a.open.channel_id = ch->relid;
	a.open.ring_gpadl = r->ring_gpadl;
	a.open.downstream_page = r->downstream_page;
	a.open.target_vp = r->target_vp;
	a.open.connection_id = r->connection_id;
	a.open.event_flag = r->event_flag;
	a.open.sint = r->sint;
	/* A monitor watches on behalf of interrupts, and needs its page. */
	a.open.monitored = ch->monitor_id != VMBUS_MONITOR_NONE &&
			   connection_has_monitor_pages(s) && r->target_vp != VMBUS_VP_NONE;
	a.open.monitor_id = a.open.monitored ? ch->monitor_id : VMBUS_MONITOR_NONE;
	memcpy(a.open.user_data, r->user_data, sizeof(r->user_data));
	server_push_device(s, ch, VMBUS_SERVER_OPEN, &a, sizeof(a.open));
}

static void start_open(struct vmbus_server *s, struct channel *ch, const struct open_request *r)
{
	if (!request_valid(s, ch, r)) {
		set_state(s, ch, CHANNEL_CLOSED);
		post_open_result(s, ch, r, VMBUS_STATUS_FAILURE);
		return;
	}
	ch->open = *r;
	ch->reserved = r->reserved;
	set_state(s, ch, CHANNEL_OPENING);
	ask_device(s, ch);
}

/* ---- closing ---- */

static void post_modify_response(struct vmbus_server *s, uint32_t relid, uint32_t status)
{
	struct vmbus_message m = {.type = VMBUS_MSG_MODIFY_CHANNEL_RESPONSE};

	if (!vmbus_message_allowed(m.type, s->version, s->features))
		return;
	m.modify_channel_response.channel_id = relid;
	m.modify_channel_response.status = status;
	server_post(s, &m, 16);
}

/* The channel is no longer open: an accepted modify is answered now, or never. */
static void end_modify(struct vmbus_server *s, struct channel *ch, bool answer)
{
	if (!ch->modifying)
		return;
	ch->modifying = false;
	ch->modify_again = false;
	ch->modify_stale++;
	if (answer)
		post_modify_response(s, ch->relid, VMBUS_STATUS_FAILURE);
}

static void post_reserved_closed(struct vmbus_server *s, const struct channel *ch)
{
	struct vmbus_message m = {.type = VMBUS_MSG_CLOSE_RESERVED_RESPONSE};

	m.close_reserved_response.channel_id = ch->relid;
	server_post_unqueued(s, ch->open.reserved_vp, ch->open.reserved_sint, &m, 12);
}

/* Out of the client's sight: ids are free, GPADLs are on their way out. */
static void forget(struct vmbus_server *s, struct channel *ch, enum channel_state state)
{
	bool had_no_device = ch->state == CHANNEL_REOFFERED;

	end_modify(s, ch, false);
	ch->reserved = false;
	ch->waiting = false;
	ch->offer_later = false;
	free_ids(s, ch);
	set_state(s, ch, state);
	if (had_no_device)
		gpadls_delete(s, ch);
	else
		gpadls_release(s, ch);
	gpadls_ring_idle(s, ch);
}

/* CLOSED, unless the client that would see it is gone: then the channel goes as well. */
static void become_closed(struct vmbus_server *s, struct channel *ch)
{
	ch->reserved = false;
	if (s->state == VMBUS_SERVER_STATE_CONNECTED) {
		set_state(s, ch, CHANNEL_CLOSED);
		gpadls_ring_idle(s, ch);
	} else {
		forget(s, ch, CHANNEL_RELEASED);
	}
}

static void rescind(struct vmbus_server *s, struct channel *ch)
{
	struct vmbus_message m = {.type = VMBUS_MSG_RESCIND_CHANNEL_OFFER};

	/* A reserved channel between connections has nobody to be rescinded to. */
	if (s->state != VMBUS_SERVER_STATE_CONNECTED) {
		delete_channel(s, ch);
		return;
	}
	end_modify(s, ch, true);
	gpadls_revoke(s, ch);
	m.rescind_channel_offer.channel_id = ch->relid;
	server_post(s, &m, 12);
	free_monitor_id(s, ch);
	ch->reserved = false;
	ch->waiting = false;
	ch->lag = LAG_NONE;
	ch->modify_stale = 0;
	ch->id = 0;
	ch->device = NULL;
	set_state(s, ch, CHANNEL_REVOKED);
}

/* ---- the machine ---- */

static void opening_ended(struct vmbus_server *s, struct channel *ch, uint32_t status)
{
	post_open_result(s, ch, &ch->open, status);
	if (!status)
		set_state(s, ch, CHANNEL_OPEN);
	else
		become_closed(s, ch);
}

static void closing_ended(struct vmbus_server *s, struct channel *ch)
{
	if (ch->reserved)
		post_reserved_closed(s, ch);
	become_closed(s, ch);
}

static void reopen(struct vmbus_server *s, struct channel *ch)
{
	set_state(s, ch, CHANNEL_CLOSED);
	gpadls_ring_idle(s, ch);
	start_open(s, ch, &ch->next);
}

static void abandon(struct vmbus_server *s, struct channel *ch)
{
	/* One that waits behind an older abandoned open was never put to the device. */
	if (!ch->waiting)
		ch->lag = LAG_OPEN;
	forget(s, ch, CHANNEL_RELEASED);
}

static void forget_opening(struct vmbus_server *s, struct channel *ch)
{
	forget(s, ch, ch->waiting ? CHANNEL_RELEASED : CHANNEL_OPENING_RELEASED);
}

/* Runs one cell. `r` with EVENT_OPEN*, `status` with EVENT_REFUSED. The channel may be gone after.
 */
static void channel_step(struct vmbus_server *s, struct channel *ch, enum channel_event event,
			 const struct open_request *r, uint32_t status)
{
	switch ((enum channel_step)steps[event][ch->state]) {
	case DROP:
		server_count(&s->stats.dropped_state);
		break;
	case LATE:
		server_count(&s->stats.late_answers);
		break;
	case QUIET:
	case NONE:
		break;
	case START:
		start_open(s, ch, r);
		break;
	case REMEMBER:
		ch->next = *r;
		set_state(s, ch, CHANNEL_CLOSING_REOPEN);
		break;
	case OPENED:
	case REFUSED:
		opening_ended(s, ch, status);
		break;
	case UNDO:
		push_simple(s, ch, VMBUS_SERVER_CLOSE);
		set_state(s, ch, CHANNEL_CLOSING_RELEASED);
		break;
	case CLOSE:
		end_modify(s, ch, true);
		push_simple(s, ch, VMBUS_SERVER_CLOSE);
		set_state(s, ch, CHANNEL_CLOSING);
		break;
	case CLOSED:
		closing_ended(s, ch);
		break;
	case REOPEN:
		reopen(s, ch);
		break;
	case FORGET:
		forget(s, ch, CHANNEL_RELEASED);
		break;
	case FORGET_CLOSE:
		push_simple(s, ch, VMBUS_SERVER_CLOSE);
		forget(s, ch, CHANNEL_CLOSING_RELEASED);
		break;
	case FORGET_CLOSING:
		forget(s, ch, CHANNEL_CLOSING_RELEASED);
		break;
	case FORGET_OPENING:
		forget_opening(s, ch);
		break;
	case ABANDON:
		abandon(s, ch);
		break;
	case RESCIND:
		rescind(s, ch);
		break;
	case UNOFFER:
		ch->id = 0;
		ch->device = NULL;
		set_state(s, ch, CHANNEL_REVOKED);
		break;
	case REOFFER:
		gpadls_delete(s, ch);
		offer_to_client(s, ch);
		break;
	case DELETE:
		delete_channel(s, ch);
		break;
	}
}

static struct channel *find_relid(struct vmbus_server *s, uint32_t relid)
{
	struct channel *ch = relid <= VMBUS_MAX_CHANNEL ? s->by_relid[relid] : NULL;

	if (!ch)
		server_count(&s->stats.dropped_unknown);
	return ch;
}

/* Below 2.4 the target is read only to tell "none", and interrupts go to VP 0. */
static uint32_t open_target(const struct vmbus_server *s, uint32_t vp)
{
	return s->version >= VMBUS_V2_4 || vp == VMBUS_VP_NONE ? vp : 0;
}

static void parse_open(const struct vmbus_server *s, const struct channel *ch,
		       const struct incoming *in, struct open_request *r)
{
	memset(r, 0, sizeof(*r));
	r->open_id = in->m->open_channel.open_id;
	r->ring_gpadl = in->m->open_channel.ring_gpadl;
	r->downstream_page = in->m->open_channel.downstream_page;
	r->target_vp = open_target(s, in->m->open_channel.target_vp);
	memcpy(r->user_data, in->m->open_channel.user_data, sizeof(r->user_data));
	r->connection_id = offered_connection_id(s, ch);
	r->event_flag = (uint16_t)ch->relid;
	r->sint = VMBUS_SINT;
	if (s->features & VMBUS_FEATURE_GUEST_SIGNAL) {
		r->own_signal = true;
		r->connection_id = in->m->open_channel.connection_id;
		r->event_flag = in->m->open_channel.event_flag;
	}
	if (s->features & VMBUS_FEATURE_REDIRECT && in->m->open_channel.open_flags & 1)
		r->sint = s->config.redirect_sint;
}

void on_open_channel(struct vmbus_server *s, const struct incoming *in)
{
	struct channel *ch = find_relid(s, in->m->open_channel.channel_id);
	struct open_request r;

	if (!ch)
		return;
	/* The end of a reserved channel is answered elsewhere; it cannot be joined to an open. */
	if (ch->reserved) {
		server_count(&s->stats.dropped_state);
		return;
	}
	parse_open(s, ch, in, &r);
	channel_step(s, ch, EVENT_OPEN, &r, 0);
}

/* Answers go to a VP and SINT of the message's choice, which must exist. */
static bool target_exists(const struct vmbus_server *s, uint32_t vp, uint32_t sint)
{
	return vp < s->config.vp_count && sint < VMBUS_SINT_COUNT;
}

void on_open_reserved_channel(struct vmbus_server *s, const struct incoming *in)
{
	struct channel *ch = find_relid(s, in->m->open_reserved_channel.channel_id);
	struct open_request r = {.reserved = true, .target_vp = VMBUS_VP_NONE, .sint = VMBUS_SINT};

	if (!ch)
		return;
	r.ring_gpadl = in->m->open_reserved_channel.ring_gpadl;
	r.downstream_page = in->m->open_reserved_channel.downstream_page;
	r.connection_id = offered_connection_id(s, ch);
	r.event_flag = (uint16_t)ch->relid;
	r.reserved_vp = in->m->open_reserved_channel.target_vp;
	r.reserved_sint = (uint8_t)in->m->open_reserved_channel.target_sint;
	if (!target_exists(s, r.reserved_vp, in->m->open_reserved_channel.target_sint)) {
		server_count(&s->stats.dropped_state);
		return;
	}
	channel_step(s, ch, EVENT_OPEN_RESERVED, &r, 0);
}

void on_close_channel(struct vmbus_server *s, const struct incoming *in)
{
	struct channel *ch = find_relid(s, in->m->close_channel.channel_id);

	if (!ch)
		return;
	if (ch->reserved)
		server_count(&s->stats.dropped_state);
	else
		channel_step(s, ch, EVENT_CLOSE, NULL, 0);
}

void on_close_reserved_channel(struct vmbus_server *s, const struct incoming *in)
{
	struct channel *ch = find_relid(s, in->m->close_reserved_channel.channel_id);
	uint32_t vp = in->m->close_reserved_channel.target_vp;
	uint32_t sint = in->m->close_reserved_channel.target_sint;

	if (!ch)
		return;
	if (ch->state == CHANNEL_OPEN && (!ch->reserved || !target_exists(s, vp, sint))) {
		server_count(&s->stats.dropped_state);
		return;
	}
	if (ch->state == CHANNEL_OPEN) {
		ch->open.reserved_vp = vp;
		ch->open.reserved_sint = (uint8_t)sint;
	}
	channel_step(s, ch, EVENT_CLOSE_RESERVED, NULL, 0);
}

void on_relid_released(struct vmbus_server *s, const struct incoming *in)
{
	struct channel *ch = find_relid(s, in->m->relid_released.channel_id);

	if (!ch)
		return;
	if (ch->reserved)
		server_count(&s->stats.dropped_state);
	else
		channel_step(s, ch, EVENT_RELEASE, NULL, 0);
}

enum vmbus_status vmbus_server_revoke(struct vmbus_server *s, vmbus_offer_id id)
{
	struct channel *ch = server_channel(s, id);

	if (!ch)
		return VMBUS_E_NOT_FOUND;
	channel_step(s, ch, EVENT_REVOKE, NULL, 0);
	connection_drained(s);
	return VMBUS_OK;
}

void channel_disconnect(struct vmbus_server *s, struct channel *ch, bool reset)
{
	if (!reset && channel_survives(ch)) {
		end_modify(s, ch, false);
		free_monitor_id(s, ch);
		gpadls_release_reserved(s, ch);
	} else {
		channel_step(s, ch, reset ? EVENT_RESET : EVENT_DISCONNECT, NULL, 0);
	}
}

/* ---- the device's answers ---- */

/* The device has caught up with a reset; an open that waited for that is put to it now. */
static void lag_ended(struct vmbus_server *s, struct channel *ch)
{
	ch->lag = LAG_NONE;
	if (ch->state == CHANNEL_OPENING && ch->waiting)
		ask_device(s, ch);
}

static void lagging_open_done(struct vmbus_server *s, struct channel *ch, uint32_t status)
{
	server_count(&s->stats.late_answers);
	if (status) {
		lag_ended(s, ch);
		return;
	}
	ch->lag = LAG_CLOSE;
	push_simple(s, ch, VMBUS_SERVER_CLOSE);
}

void vmbus_server_open_done(struct vmbus_server *s, vmbus_offer_id id, uint32_t status)
{
	struct channel *ch = server_channel(s, id);

	if (!ch)
		server_count(&s->stats.late_answers);
	else if (ch->lag == LAG_OPEN)
		lagging_open_done(s, ch, status);
	else if (ch->waiting)
		server_count(&s->stats.late_answers);
	else
		channel_step(s, ch, status ? EVENT_REFUSED : EVENT_OPENED, NULL, status);
	connection_drained(s);
}

void vmbus_server_close_done(struct vmbus_server *s, vmbus_offer_id id)
{
	struct channel *ch = server_channel(s, id);

	if (!ch)
		server_count(&s->stats.late_answers);
	else if (ch->lag == LAG_CLOSE)
		lag_ended(s, ch);
	else
		channel_step(s, ch, EVENT_CLOSED, NULL, 0);
	connection_drained(s);
}

/* ---- moving interrupts ---- */

static void push_modify(struct vmbus_server *s, struct channel *ch, uint32_t vp)
{
	struct vmbus_server_action a = {0};

	ch->modifying = true;
	ch->modify_again = false;
	a.modify.vp = vp;
	server_push_device(s, ch, VMBUS_SERVER_MODIFY, &a, sizeof(a.modify));
}

static bool modifiable(const struct vmbus_server *s, const struct channel *ch, uint32_t vp)
{
	return ch && ch->state == CHANNEL_OPEN && !ch->reserved &&
	       ch->open.target_vp != VMBUS_VP_NONE && vp < s->config.vp_count;
}

void on_modify_channel(struct vmbus_server *s, const struct incoming *in)
{
	uint32_t relid = in->m->modify_channel.channel_id;
	uint32_t vp = in->m->modify_channel.target_vp;
	struct channel *ch = find_relid(s, relid);

	if (!modifiable(s, ch, vp)) {
		post_modify_response(s, relid, VMBUS_STATUS_FAILURE);
	} else if (!ch->modifying) {
		push_modify(s, ch, vp);
	} else if (s->version >= VMBUS_V5_3) {
		server_count(&s->stats.dropped_state);
	} else {
		ch->modify_again = true;
		ch->modify_vp = vp;
	}
}

void vmbus_server_modify_done(struct vmbus_server *s, vmbus_offer_id id, uint32_t status)
{
	struct channel *ch = server_channel(s, id);

	if (!ch || ch->modify_stale || !ch->modifying) {
		server_count(&s->stats.late_answers);
		if (ch && ch->modify_stale)
			ch->modify_stale--;
		return;
	}
	ch->modifying = false;
	post_modify_response(s, ch->relid, status);
	if (ch->modify_again)
		push_modify(s, ch, ch->modify_vp);
}
