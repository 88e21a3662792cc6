/* SPDX-License-Identifier: MIT */
/* The connection: contact, negotiation, unload, reset, pause, monitor pages, socket requests. */
#include "vmbus/server_internal.h"

static bool page_aligned(uint64_t gpa)
{
	return (gpa & (VMBUS_PAGE_SIZE - 1)) == 0;
}

/* Both or neither, and whole pages. */
static bool monitor_pages_valid(uint64_t parent_to_child, uint64_t child_to_parent)
{
	return !parent_to_child == !child_to_parent && page_aligned(parent_to_child) &&
	       page_aligned(child_to_parent);
}

bool connection_has_monitor_pages(const struct vmbus_server *s)
{
	return s->monitor_child_to_parent != 0;
}

/* The fields as that version defines them; the comparisons hold for unknown versions too. */
static void parse_contact(const struct vmbus_server *s, const struct incoming *in,
			  struct contact *c)
{
	uint64_t overlaid = in->m->initiate_contact.page_or_target;

	memset(c, 0, sizeof(*c));
	c->version = in->m->initiate_contact.version;
	if (c->version >= VMBUS_V3_0)
		c->vp = in->m->initiate_contact.target_vp;
	if (c->version >= VMBUS_V6_0)
		c->features = vmbus_contact_features(overlaid);
	if (c->version < VMBUS_V2_4)
		c->interrupt_page = overlaid;
	c->parent_to_child = in->m->initiate_contact.monitor_parent_to_child;
	c->child_to_parent = in->m->initiate_contact.monitor_child_to_parent;
}

static bool version_supported(const struct vmbus_server *s, uint32_t version)
{
	return vmbus_version_known(version) && version <= s->config.max_version;
}

/* A VP that does not exist cannot be told anything: the answer goes to the first. */
static uint32_t answer_vp(const struct vmbus_server *s, const struct contact *c)
{
	return c->vp < s->config.vp_count ? c->vp : 0;
}

static void fill_version_response(const struct vmbus_server *s, struct vmbus_message *m,
				  uint32_t version)
{
	memset(m, 0, sizeof(*m));
	m->type = VMBUS_MSG_VERSION_RESPONSE;
	m->version_response.supported = 1;
	m->version_response.selected =
		version < VMBUS_V5_0 ? version : s->config.message_connection_id;
}

static void answer_unsupported(struct vmbus_server *s, const struct contact *c)
{
	struct vmbus_message m = {.type = VMBUS_MSG_VERSION_RESPONSE};

	server_post_vp(s, answer_vp(s, c), &m, 16);
}

static void answer_failed(struct vmbus_server *s, const struct contact *c)
{
	struct vmbus_message m;

	fill_version_response(s, &m, c->version);
	m.version_response.supported = c->version >= VMBUS_V2_4;
	m.version_response.state = VMBUS_CONNECTION_FAILED;
	server_post_vp(s, answer_vp(s, c), &m, c->version >= VMBUS_V6_0 ? 20 : 16);
}

static void answer_success(struct vmbus_server *s)
{
	struct vmbus_message m;
	size_t size = 16;

	fill_version_response(s, &m, s->version);
	if (s->version >= VMBUS_V6_0) {
		m.version_response.features = s->features;
		size = 20;
	}
	if (s->features & VMBUS_FEATURE_SERVER_MONITOR) {
		m.version_response.monitor_parent_to_child = s->config.monitor_parent_to_child;
		m.version_response.monitor_child_to_parent = s->config.monitor_child_to_parent;
		size = 40;
	}
	server_post(s, &m, size);
}

static bool contact_valid(const struct vmbus_server *s, const struct contact *c)
{
	return c->vp < s->config.vp_count && page_aligned(c->interrupt_page) &&
	       monitor_pages_valid(c->parent_to_child, c->child_to_parent);
}

static void push_connection(struct vmbus_server *s, enum vmbus_server_action_type type,
			    const struct contact *c)
{
	struct vmbus_server_action a = {.type = type};

	a.connect.version = c->version;
	a.connect.features = c->features;
	a.connect.target_vp = c->vp;
	a.connect.interrupt_page = c->interrupt_page;
	a.connect.monitor_parent_to_child = c->parent_to_child;
	a.connect.monitor_child_to_parent = c->child_to_parent;
	server_push(s, &a, offsetof(struct vmbus_server_action, connect) + sizeof(a.connect));
}

/* Nothing of an older connection is left. */
static void begin_contact(struct vmbus_server *s, const struct contact *c)
{
	s->state = VMBUS_SERVER_STATE_DISCONNECTED;
	if (!version_supported(s, c->version)) {
		answer_unsupported(s, c);
		return;
	}
	if (!contact_valid(s, c)) {
		answer_failed(s, c);
		return;
	}
	s->contact = *c;
	s->contact.features &= s->config.features;
	if (s->contact.features & VMBUS_FEATURE_SERVER_MONITOR) {
		s->contact.parent_to_child = s->config.monitor_parent_to_child;
		s->contact.child_to_parent = s->config.monitor_child_to_parent;
	}
	s->state = VMBUS_SERVER_STATE_CONNECTING;
	push_connection(s, VMBUS_SERVER_CONNECT, &s->contact);
}

static void begin_next(struct vmbus_server *s)
{
	struct contact next = s->next;

	s->has_next = false;
	begin_contact(s, &next);
}

static void finish_disconnect(struct vmbus_server *s)
{
	struct vmbus_server_action a = {.type = VMBUS_SERVER_DISCONNECTED};
	struct vmbus_message m = {.type = VMBUS_MSG_UNLOAD_COMPLETE};

	s->state = VMBUS_SERVER_STATE_DISCONNECTED;
	s->version = 0;
	s->features = 0;
	s->monitor_parent_to_child = 0;
	s->monitor_child_to_parent = 0;
	server_push(s, &a, offsetof(struct vmbus_server_action, message));
	switch (s->after) {
	case AFTER_UNLOAD:
		server_post(s, &m, 8);
		break;
	case AFTER_CONTACT:
		begin_next(s);
		break;
	case AFTER_RESET:
		break;
	}
}

/* Called whenever a device let go of something; the last one ends the disconnect. */
void connection_drained(struct vmbus_server *s)
{
	if (s->state == VMBUS_SERVER_STATE_DISCONNECTING && !s->draining && !s->tearing)
		finish_disconnect(s);
}

static void forget_requests(struct vmbus_server *s)
{
	if (s->monitor_modifying)
		s->monitors_stale++;
	s->monitor_modifying = false;
	for (uint32_t i = 0; i < s->config.limits.hvsock; i++)
		s->hvsock[i].stale = s->hvsock[i].used;
}

static void disconnect(struct vmbus_server *s, enum after_disconnect after)
{
	s->after = after;
	s->state = VMBUS_SERVER_STATE_DISCONNECTING;
	forget_requests(s);
	/* Backwards, as channels may go; so subchannels close before what they belong to. */
	for (uint32_t i = s->channel_count; i-- > 0;)
		channel_disconnect(s, s->sorted[i], after == AFTER_RESET);
	connection_drained(s);
}

void connection_unpause(struct vmbus_server *s)
{
	struct vmbus_server_action a;
	size_t size;

	s->paused = false;
	while ((size = vmbus_queue_pop(&s->held, &a, sizeof(a))))
		server_push(s, &a, size);
}

/* A contact that cannot become ours is answered on the spot, and nothing else happens. */
static void answer_foreign_sint(struct vmbus_server *s, const struct contact *c, uint8_t sint)
{
	struct vmbus_message m = {.type = VMBUS_MSG_VERSION_RESPONSE};

	server_count(&s->stats.dropped_vtl);
	if (c->vp < s->config.vp_count && sint < VMBUS_SINT_COUNT)
		server_post_unqueued(s, c->vp, sint, &m, 16);
}

static uint8_t contact_vtl(const struct vmbus_server *s, const struct incoming *in)
{
	switch (in->connection_id) {
	case VMBUS_PORT_MESSAGE:
		return 0;
	case VMBUS_PORT_MULTI_CLIENT:
		if (in->m->initiate_contact.version < VMBUS_V5_1)
			return 0;
		return vmbus_contact_vtl(in->m->initiate_contact.page_or_target);
	default:
		return s->config.vtl; /* a port that only this server has */
	}
}

static uint8_t contact_sint(const struct incoming *in)
{
	if (in->connection_id != VMBUS_PORT_MULTI_CLIENT ||
	    in->m->initiate_contact.version < VMBUS_V5_0)
		return VMBUS_SINT;
	return vmbus_contact_sint(in->m->initiate_contact.page_or_target);
}

void on_initiate_contact(struct vmbus_server *s, const struct incoming *in)
{
	struct contact c;

	parse_contact(s, in, &c);
	if (c.features & VMBUS_FEATURE_CLIENT_ID && in->size < 56) {
		server_count(&s->stats.dropped_short);
		return;
	}
	if (contact_vtl(s, in) != s->config.vtl) {
		server_count(&s->stats.dropped_vtl);
		return;
	}
	if (contact_sint(in) != VMBUS_SINT) {
		answer_foreign_sint(s, &c, contact_sint(in));
		return;
	}
	connection_unpause(s);
	s->next = c;
	s->has_next = true;
	switch (s->state) {
	case VMBUS_SERVER_STATE_DISCONNECTED:
		begin_next(s);
		break;
	case VMBUS_SERVER_STATE_CONNECTING:
		break; /* its turn comes when the contact under way has been answered */
	case VMBUS_SERVER_STATE_NEGOTIATED:
	case VMBUS_SERVER_STATE_CONNECTED:
		disconnect(s, AFTER_CONTACT);
		break;
	case VMBUS_SERVER_STATE_DISCONNECTING:
		s->after = AFTER_CONTACT;
		break;
	}
}

static void connect_failed(struct vmbus_server *s)
{
	s->state = VMBUS_SERVER_STATE_DISCONNECTED;
	answer_failed(s, &s->contact);
	if (s->has_next)
		begin_next(s);
}

static void connect_succeeded(struct vmbus_server *s)
{
	s->state = VMBUS_SERVER_STATE_NEGOTIATED;
	s->version = s->contact.version;
	s->features = s->contact.features;
	s->monitor_parent_to_child = s->contact.parent_to_child;
	s->monitor_child_to_parent = s->contact.child_to_parent;
	answer_success(s);
	if (s->has_next)
		disconnect(s, AFTER_CONTACT);
}

void vmbus_server_connect_done(struct vmbus_server *s, bool ok)
{
	if (s->connects_stale) {
		s->connects_stale--;
		server_count(&s->stats.late_answers);
	} else if (s->state != VMBUS_SERVER_STATE_CONNECTING) {
		server_count(&s->stats.late_answers);
	} else if (ok) {
		connect_succeeded(s);
	} else {
		connect_failed(s);
	}
}

void on_unload(struct vmbus_server *s, const struct incoming *in)
{
	connection_unpause(s);
	disconnect(s, AFTER_UNLOAD);
}

/* Messages that have not been taken yet are for a client that no longer exists. */
static void drop_messages(struct vmbus_server *s)
{
	struct vmbus_server_action a;

	for (size_t n = s->actions.records; n > 0; n--) {
		size_t size = vmbus_queue_pop(&s->actions, &a, sizeof(a));

		if (a.type != VMBUS_SERVER_POST)
			server_push(s, &a, size);
	}
	vmbus_queue_clear(&s->held);
	vmbus_queue_clear(&s->deferred);
	s->paused = false;
}

static bool any_reserved(const struct vmbus_server *s)
{
	for (uint32_t i = 0; i < s->channel_count; i++) {
		if (channel_survives(s->sorted[i]))
			return true;
	}
	return false;
}

void vmbus_server_reset(struct vmbus_server *s)
{
	drop_messages(s);
	s->has_next = false;
	switch (s->state) {
	case VMBUS_SERVER_STATE_DISCONNECTED:
		if (any_reserved(s))
			disconnect(s, AFTER_RESET);
		break;
	case VMBUS_SERVER_STATE_CONNECTING:
		s->connects_stale++;
		disconnect(s, AFTER_RESET);
		break;
	case VMBUS_SERVER_STATE_NEGOTIATED:
	case VMBUS_SERVER_STATE_CONNECTED:
	case VMBUS_SERVER_STATE_DISCONNECTING:
		disconnect(s, AFTER_RESET);
		break;
	}
}

void on_pause(struct vmbus_server *s, const struct incoming *in)
{
	struct vmbus_message m = {.type = VMBUS_MSG_PAUSE_RESPONSE};

	server_post(s, &m, 8);
	s->paused = true;
}

void on_resume(struct vmbus_server *s, const struct incoming *in)
{
	connection_unpause(s);
}

static void answer_modify_connection(struct vmbus_server *s, bool ok)
{
	struct vmbus_message m = {.type = VMBUS_MSG_MODIFY_CONNECTION_RESPONSE};

	m.modify_connection_response.state = ok ? VMBUS_CONNECTION_OK : VMBUS_CONNECTION_FAILED;
	server_post(s, &m, 9);
}

static bool monitor_id_in_use(const struct vmbus_server *s)
{
	for (uint32_t i = 0; i < s->channel_count; i++) {
		const struct channel *ch = s->sorted[i];

		if (ch->monitor_id == VMBUS_MONITOR_NONE)
			continue;
		switch (ch->state) {
		case CHANNEL_OPENING:
		case CHANNEL_OPEN:
		case CHANNEL_CLOSING:
		case CHANNEL_CLOSING_REOPEN:
			return true;
		case CHANNEL_RELEASED:
		case CHANNEL_CLOSED:
		case CHANNEL_REVOKED:
		case CHANNEL_REOFFERED:
		case CHANNEL_CLOSING_RELEASED:
		case CHANNEL_OPENING_RELEASED:
		case CHANNEL_STATES:
			break;
		}
	}
	return false;
}

void on_modify_connection(struct vmbus_server *s, const struct incoming *in)
{
	struct contact c = s->contact;

	c.parent_to_child = in->m->modify_connection.monitor_parent_to_child;
	c.child_to_parent = in->m->modify_connection.monitor_child_to_parent;
	if (!monitor_pages_valid(c.parent_to_child, c.child_to_parent) || s->monitor_modifying ||
	    s->features & VMBUS_FEATURE_SERVER_MONITOR || monitor_id_in_use(s)) {
		answer_modify_connection(s, false);
		return;
	}
	s->monitor_modifying = true;
	s->monitor_next = c;
	push_connection(s, VMBUS_SERVER_MONITOR, &c);
}

void vmbus_server_monitor_done(struct vmbus_server *s, bool ok)
{
	if (s->monitors_stale) {
		s->monitors_stale--;
		server_count(&s->stats.late_answers);
		return;
	}
	if (!s->monitor_modifying) {
		server_count(&s->stats.late_answers);
		return;
	}
	s->monitor_modifying = false;
	if (ok) {
		s->monitor_parent_to_child = s->monitor_next.parent_to_child;
		s->monitor_child_to_parent = s->monitor_next.child_to_parent;
	}
	answer_modify_connection(s, ok);
}

static void refuse_socket(struct vmbus_server *s, const struct vmbus_guid *endpoint,
			  const struct vmbus_guid *service)
{
	struct vmbus_message m = {.type = VMBUS_MSG_TL_CONNECT_REQUEST_RESULT};

	if (!vmbus_message_allowed(m.type, s->version, s->features))
		return;
	m.tl_connect_request_result.endpoint_id = *endpoint;
	m.tl_connect_request_result.service_id = *service;
	m.tl_connect_request_result.status = VMBUS_STATUS_HVSOCK;
	server_post(s, &m, 44);
}

static struct hvsock_request *free_socket(struct vmbus_server *s)
{
	for (uint32_t i = 0; i < s->config.limits.hvsock; i++) {
		if (!s->hvsock[i].used)
			return &s->hvsock[i];
	}
	return NULL;
}

void on_tl_connect_request(struct vmbus_server *s, const struct incoming *in)
{
	struct vmbus_server_action a = {.type = VMBUS_SERVER_HVSOCK};
	struct hvsock_request *r = free_socket(s);

	a.hvsock.endpoint = in->m->tl_connect_request.endpoint_id;
	a.hvsock.service = in->m->tl_connect_request.service_id;
	if (s->version >= VMBUS_V5_2)
		a.hvsock.silo = in->m->tl_connect_request.silo_id;
	if (!r) {
		refuse_socket(s, &a.hvsock.endpoint, &a.hvsock.service);
		return;
	}
	r->used = true;
	r->stale = false;
	r->endpoint = a.hvsock.endpoint;
	r->service = a.hvsock.service;
	r->silo = a.hvsock.silo;
	server_push(s, &a, offsetof(struct vmbus_server_action, hvsock) + sizeof(a.hvsock));
}

/* Answers come in any order; one that an ended connection is owed is taken first. */
static struct hvsock_request *find_socket(struct vmbus_server *s, const struct vmbus_guid *endpoint,
					  const struct vmbus_guid *service)
{
	struct hvsock_request *found = NULL;

	for (uint32_t i = 0; i < s->config.limits.hvsock; i++) {
		struct hvsock_request *r = &s->hvsock[i];

		if (r->used && vmbus_guid_equal(&r->endpoint, endpoint) &&
		    vmbus_guid_equal(&r->service, service) && (!found || r->stale))
			found = r;
	}
	return found;
}

void vmbus_server_hvsock_done(struct vmbus_server *s, const struct vmbus_guid *endpoint,
			      const struct vmbus_guid *service, bool ok)
{
	struct hvsock_request *r = find_socket(s, endpoint, service);

	if (!r || r->stale)
		server_count(&s->stats.late_answers);
	else if (!ok)
		refuse_socket(s, endpoint, service);
	if (r)
		r->used = false;
}

/* ---- saved state ---- */

static void resume_socket(struct vmbus_server *s, const struct hvsock_request *r)
{
	struct vmbus_server_action a = {.type = VMBUS_SERVER_HVSOCK};

	a.hvsock.endpoint = r->endpoint;
	a.hvsock.service = r->service;
	a.hvsock.silo = r->silo;
	server_push(s, &a, offsetof(struct vmbus_server_action, hvsock) + sizeof(a.hvsock));
}

/* What the owner was asked when the server was saved it is asked again. */
void connection_resume(struct vmbus_server *s)
{
	if (s->state == VMBUS_SERVER_STATE_CONNECTING)
		push_connection(s, VMBUS_SERVER_CONNECT, &s->contact);
	if (s->monitor_modifying)
		push_connection(s, VMBUS_SERVER_MONITOR, &s->monitor_next);
	for (uint32_t i = 0; i < s->config.limits.hvsock; i++) {
		if (s->hvsock[i].used)
			resume_socket(s, &s->hvsock[i]);
	}
	connection_drained(s);
}
