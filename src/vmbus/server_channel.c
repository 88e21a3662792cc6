/* SPDX-License-Identifier: MIT */
/* Channels: opened, closed, revoked, released. The table below is the whole machine. */
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

void channel_set_state(struct vmbus_server *s, struct channel *ch, enum channel_state state)
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
	if (ch->waiting || ch->restore == RESTORE_UNCLAIMED)
		return;
	a.open.restored = ch->restore == RESTORE_ASKED;
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
	a.open.monitor_latency = ch->offer.monitor_latency;
	memcpy(a.open.user_data, r->user_data, sizeof(r->user_data));
	server_push_device(s, ch, VMBUS_SERVER_OPEN, &a, sizeof(a.open));
}

static void start_open(struct vmbus_server *s, struct channel *ch, const struct open_request *r)
{
	if (!request_valid(s, ch, r)) {
		channel_set_state(s, ch, CHANNEL_CLOSED);
		post_open_result(s, ch, r, VMBUS_STATUS_FAILURE);
		return;
	}
	ch->open = *r;
	ch->reserved = r->reserved;
	channel_set_state(s, ch, CHANNEL_OPENING);
	ask_device(s, ch);
}

/* ---- closing ---- */

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

	channel_end_modify(s, ch, false);
	ch->reserved = false;
	ch->waiting = false;
	ch->offer_later = false;
	channel_free_ids(s, ch);
	channel_set_state(s, ch, state);
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
		channel_set_state(s, ch, CHANNEL_CLOSED);
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
		channel_delete(s, ch);
		return;
	}
	channel_end_modify(s, ch, true);
	gpadls_revoke(s, ch);
	m.rescind_channel_offer.channel_id = ch->relid;
	server_post(s, &m, 12);
	channel_free_monitor_id(s, ch);
	ch->reserved = false;
	ch->waiting = false;
	ch->restore = RESTORE_NONE;
	ch->lag = LAG_NONE;
	ch->modify_stale = 0;
	ch->id = 0;
	ch->device = NULL;
	channel_set_state(s, ch, CHANNEL_REVOKED);
}

/* ---- the machine ---- */

static void opening_ended(struct vmbus_server *s, struct channel *ch, uint32_t status)
{
	post_open_result(s, ch, &ch->open, status);
	if (!status)
		channel_set_state(s, ch, CHANNEL_OPEN);
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
	channel_set_state(s, ch, CHANNEL_CLOSED);
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

/* ---- channels that came out of saved state: what differs from the table ---- */

/* Nobody is there to ask or to tell. True: dealt with. */
static bool unclaimed_step(struct vmbus_server *s, struct channel *ch, enum channel_event event,
			   const struct open_request *r)
{
	bool dealt = true;

	switch (event) {
	case EVENT_OPEN:
	case EVENT_OPEN_RESERVED:
		dealt = ch->state == CHANNEL_CLOSED && s->restore_over;
		if (dealt)
			post_open_result(s, ch, r, VMBUS_STATUS_FAILURE);
		return dealt;
	case EVENT_CLOSE:
	case EVENT_CLOSE_RESERVED:
		if (ch->state != CHANNEL_OPEN)
			return false;
		closing_ended(s, ch);
		break;
	case EVENT_RELEASE:
		if (ch->state != CHANNEL_CLOSED)
			return false;
		forget(s, ch, CHANNEL_RELEASED);
		break;
	case EVENT_DISCONNECT:
	case EVENT_RESET:
		forget(s, ch, CHANNEL_RELEASED);
		break;
	case EVENT_OPENED:
	case EVENT_REFUSED:
	case EVENT_CLOSED:
	case EVENT_REVOKE:
	case EVENTS:
		return false;
	}
	if (ch->state == CHANNEL_RELEASED)
		channel_delete(s, ch);
	return dealt;
}

/* The device does not go on with what the client has open. It keeps its offer, of a new channel. */
static void cannot_resume(struct vmbus_server *s, struct channel *ch)
{
	vmbus_offer_id id = ch->id;

	channel_renew(s, ch, &ch->offer, ch->device);
	ch->id = id;
}

static void resume_answered(struct vmbus_server *s, struct channel *ch, uint32_t status)
{
	ch->restore = RESTORE_NONE;
	switch (ch->state) {
	case CHANNEL_OPEN:
		if (status)
			cannot_resume(s, ch);
		break;
	case CHANNEL_CLOSING:
		if (status)
			closing_ended(s, ch);
		else
			push_simple(s, ch, VMBUS_SERVER_CLOSE);
		break;
	case CHANNEL_CLOSING_REOPEN:
		if (status)
			reopen(s, ch);
		else
			push_simple(s, ch, VMBUS_SERVER_CLOSE);
		break;
	default:
		break;
	}
}

/* The device has been asked to go on with an open channel: a close waits for its answer, and a
 * disconnect sees an open that is not answered. True: dealt with. */
static bool resuming_step(struct vmbus_server *s, struct channel *ch, enum channel_event event,
			  uint32_t status)
{
	switch (event) {
	case EVENT_OPENED:
	case EVENT_REFUSED:
		resume_answered(s, ch, status);
		return true;
	case EVENT_CLOSE:
	case EVENT_CLOSE_RESERVED:
		if (ch->state != CHANNEL_OPEN)
			return false;
		channel_end_modify(s, ch, true);
		channel_set_state(s, ch, CHANNEL_CLOSING);
		return true;
	case EVENT_CLOSED:
		server_count(&s->stats.late_answers);
		return true;
	case EVENT_DISCONNECT:
		ch->restore = RESTORE_NONE;
		forget(s, ch, CHANNEL_OPENING_RELEASED);
		return true;
	case EVENT_RELEASE:
		if (ch->state != CHANNEL_CLOSING)
			return false;
		ch->restore = RESTORE_NONE;
		forget(s, ch, CHANNEL_OPENING_RELEASED);
		return true;
	case EVENT_RESET:
		ch->restore = RESTORE_NONE;
		abandon(s, ch);
		return true;
	case EVENT_OPEN:
	case EVENT_OPEN_RESERVED:
	case EVENT_REVOKE:
	case EVENTS:
		break;
	}
	return false;
}

static bool restored_step(struct vmbus_server *s, struct channel *ch, enum channel_event event,
			  const struct open_request *r, uint32_t status)
{
	switch (ch->restore) {
	case RESTORE_NONE:
		break;
	case RESTORE_UNCLAIMED:
		return unclaimed_step(s, ch, event, r);
	case RESTORE_ASKED:
		return resuming_step(s, ch, event, status);
	}
	return false;
}

/* Runs one cell. `r` with EVENT_OPEN*, `status` with EVENT_REFUSED. The channel may be gone after.
 */
static void channel_step(struct vmbus_server *s, struct channel *ch, enum channel_event event,
			 const struct open_request *r, uint32_t status)
{
	if (restored_step(s, ch, event, r, status))
		return;
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
		channel_set_state(s, ch, CHANNEL_CLOSING_REOPEN);
		break;
	case OPENED:
	case REFUSED:
		opening_ended(s, ch, status);
		break;
	case UNDO:
		push_simple(s, ch, VMBUS_SERVER_CLOSE);
		channel_set_state(s, ch, CHANNEL_CLOSING_RELEASED);
		break;
	case CLOSE:
		channel_end_modify(s, ch, true);
		push_simple(s, ch, VMBUS_SERVER_CLOSE);
		channel_set_state(s, ch, CHANNEL_CLOSING);
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
		channel_set_state(s, ch, CHANNEL_REVOKED);
		break;
	case REOFFER:
		gpadls_delete(s, ch);
		channel_offer(s, ch);
		break;
	case DELETE:
		channel_delete(s, ch);
		break;
	}
}

struct channel *channel_find(struct vmbus_server *s, uint32_t relid)
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
	r->connection_id = channel_connection_id(s, ch);
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
	struct channel *ch = channel_find(s, in->m->open_channel.channel_id);
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
	struct channel *ch = channel_find(s, in->m->open_reserved_channel.channel_id);
	struct open_request r = {.reserved = true, .target_vp = VMBUS_VP_NONE, .sint = VMBUS_SINT};

	if (!ch)
		return;
	r.ring_gpadl = in->m->open_reserved_channel.ring_gpadl;
	r.downstream_page = in->m->open_reserved_channel.downstream_page;
	r.connection_id = channel_connection_id(s, ch);
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
	struct channel *ch = channel_find(s, in->m->close_channel.channel_id);

	if (!ch)
		return;
	if (ch->reserved)
		server_count(&s->stats.dropped_state);
	else
		channel_step(s, ch, EVENT_CLOSE, NULL, 0);
}

void on_close_reserved_channel(struct vmbus_server *s, const struct incoming *in)
{
	struct channel *ch = channel_find(s, in->m->close_reserved_channel.channel_id);
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
	struct channel *ch = channel_find(s, in->m->relid_released.channel_id);

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
		channel_end_modify(s, ch, false);
		channel_free_monitor_id(s, ch);
		gpadls_release_reserved(s, ch);
	} else {
		channel_step(s, ch, reset ? EVENT_RESET : EVENT_DISCONNECT, NULL, 0);
	}
}

/* ---- the device's answers ---- */

/* The device has caught up with a reset; an open that waited for that is put to it now, unless the
 * client has meanwhile taken its ring back or given its port to another channel. */
static void lag_ended(struct vmbus_server *s, struct channel *ch)
{
	ch->lag = LAG_NONE;
	if (ch->state != CHANNEL_OPENING || !ch->waiting)
		return;
	if (request_valid(s, ch, &ch->open)) {
		ask_device(s, ch);
		return;
	}
	ch->waiting = false;
	opening_ended(s, ch, VMBUS_STATUS_FAILURE);
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

/* ---- for what brings saved state back (server_save_steps.c) ---- */

void channel_ask_device(struct vmbus_server *s, struct channel *ch)
{
	ask_device(s, ch);
}

void channel_rescind(struct vmbus_server *s, struct channel *ch)
{
	rescind(s, ch);
}

void channel_closing_ended(struct vmbus_server *s, struct channel *ch)
{
	if (ch->state == CHANNEL_CLOSING_REOPEN)
		reopen(s, ch);
	else
		closing_ended(s, ch);
}

void channel_opening_ended(struct vmbus_server *s, struct channel *ch, uint32_t status)
{
	opening_ended(s, ch, status);
}
