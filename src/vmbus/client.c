/* SPDX-License-Identifier: MIT */
/* The client's life and connection, and what it does with a message before its handler. */
#include "vmbus/client_internal.h"

#define QUEUE_BASE    4096u
#define QUEUE_CHANNEL 768u
#define QUEUE_GPADL   128u
/* A single message can at most offer a channel, or end a channel with all its GPADLs. */
#define MESSAGE_BASE  1024u
#define MESSAGE_GPADL 64u

enum vmbus_status client_reserve(struct vmbus_client *c, size_t extra)
{
	return vmbus_queue_reserve(&c->actions, &c->config.allocator,
				   QUEUE_BASE + (size_t)(c->channel_count + 1) * QUEUE_CHANNEL +
					   (size_t)(c->gpadls.count + 1) * QUEUE_GPADL + extra);
}

static bool room_for_message(const struct vmbus_client *c)
{
	return vmbus_queue_room(&c->actions) >=
	       MESSAGE_BASE + (size_t)c->gpadls.count * MESSAGE_GPADL;
}

void client_push(struct vmbus_client *c, const struct vmbus_client_action *a, size_t detail)
{
	if (!vmbus_queue_push(&c->actions, a,
			      offsetof(struct vmbus_client_action, message) + detail))
		c->stats.ignored_busy++;
}

void client_push_result(struct vmbus_client *c, const struct client_channel *ch,
			enum vmbus_client_action_type type, uint32_t gpadl, uint32_t status)
{
	struct vmbus_client_action a = {.type = type, .gpadl = gpadl, .status = status};

	if (ch) {
		a.channel = ch->id;
		a.owner = ch->owner;
	}
	client_push(c, &a, 0);
}

void client_post_bytes(struct vmbus_client *c, uint32_t connection_id, const void *bytes,
		       size_t size)
{
	struct vmbus_client_action a = {.type = VMBUS_CLIENT_POST};

	a.message.connection_id = connection_id;
	a.message.size = (uint8_t)size;
	memcpy(a.message.data, bytes, size);
	c->stats.posted++;
	client_push(c, &a, sizeof(a.message) - sizeof(a.message.data) + size);
}

void client_post(struct vmbus_client *c, const struct vmbus_message *m, size_t size)
{
	uint8_t bytes[VMBUS_MAX_MESSAGE];

	vmbus_message_encode(m, bytes, size);
	client_post_bytes(c, c->post_to, bytes, size);
}

bool client_connected(const struct vmbus_client *c)
{
	return c->state == VMBUS_CLIENT_STATE_REQUESTING_OFFERS ||
	       c->state == VMBUS_CLIENT_STATE_CONNECTED;
}

static void limit_default(uint32_t *limit, uint32_t value)
{
	if (!*limit)
		*limit = value;
}

struct vmbus_client *vmbus_client_create(const struct vmbus_client_config *config)
{
	const struct vmbus_allocator *a = &config->allocator;
	struct vmbus_client *c = a->alloc(a->ctx, sizeof(*c));

	if (!c)
		return NULL;
	c->config = *config;
	limit_default(&c->config.limits.channels, VMBUS_MAX_CHANNEL);
	if (c->config.limits.channels > VMBUS_MAX_CHANNEL)
		c->config.limits.channels = VMBUS_MAX_CHANNEL;
	limit_default(&c->config.limits.gpadls, 8192);
	limit_default(&c->config.max_version, VMBUS_V6_0);
	limit_default(&c->config.min_version, VMBUS_V0_13);
	limit_default(&c->config.first_gpadl_id, 0xe1e10);
	c->config.features &= VMBUS_FEATURES_KNOWN & ~VMBUS_FEATURE_CLIENT_ID;
	c->gpadl_ids = c->config.first_gpadl_id;
	c->slot_count = c->config.limits.channels * 2;
	c->slots = a->alloc(a->ctx, c->slot_count * sizeof(c->slots[0]));
	if (!c->slots || client_reserve(c, 0) ||
	    vmbus_gpadl_table_init(&c->gpadls, a, c->config.limits.gpadls, 0)) {
		vmbus_client_destroy(c);
		return NULL;
	}
	return c;
}

void vmbus_client_destroy(struct vmbus_client *c)
{
	struct vmbus_allocator a;

	if (!c)
		return;
	a = c->config.allocator;
	for (uint32_t i = 0; c->slots && i < c->slot_count; i++) {
		if (c->slots[i])
			client_channel_free(c, c->slots[i]);
	}
	vmbus_gpadl_table_free(&c->gpadls, &a);
	vmbus_queue_free(&c->actions, &a);
	if (c->slots)
		a.free(a.ctx, c->slots, c->slot_count * sizeof(c->slots[0]));
	a.free(a.ctx, c, sizeof(*c));
}

/* ---- connecting ---- */

static uint32_t contact_port(const struct vmbus_client *c)
{
	if (c->config.contact_connection_id)
		return c->config.contact_connection_id;
	return c->version >= VMBUS_V5_0 ? VMBUS_PORT_MULTI_CLIENT : VMBUS_PORT_MESSAGE;
}

static uint64_t page_or_target(const struct vmbus_client *c)
{
	if (c->version < VMBUS_V5_0)
		return c->config.interrupt_page;
	return vmbus_contact_target(VMBUS_SINT, c->version >= VMBUS_V5_1 ? c->config.vtl : 0,
				    c->version >= VMBUS_V6_0 ? c->config.features : 0);
}

static void post_contact(struct vmbus_client *c)
{
	struct vmbus_message m = {.type = VMBUS_MSG_INITIATE_CONTACT};

	c->post_to = contact_port(c);
	m.initiate_contact.version = c->version;
	m.initiate_contact.target_vp = c->config.target_vp;
	m.initiate_contact.page_or_target = page_or_target(c);
	m.initiate_contact.monitor_parent_to_child = c->config.monitor_parent_to_child;
	m.initiate_contact.monitor_child_to_parent = c->config.monitor_child_to_parent;
	client_post(c, &m, 40);
}

static void connect_failed(struct vmbus_client *c, uint32_t status)
{
	c->state = VMBUS_CLIENT_STATE_DISCONNECTED;
	c->version = 0;
	client_push_result(c, NULL, VMBUS_CLIENT_CONNECT_FAILED, 0, status);
}

static void try_version(struct vmbus_client *c, uint32_t version)
{
	if (!version || version < c->config.min_version) {
		connect_failed(c, VMBUS_STATUS_FAILURE);
		return;
	}
	c->version = version;
	post_contact(c);
}

enum vmbus_status vmbus_client_connect(struct vmbus_client *c)
{
	uint32_t first = c->config.max_version;

	if (c->state != VMBUS_CLIENT_STATE_DISCONNECTED)
		return VMBUS_E_STATE;
	if (!vmbus_version_known(first))
		first = vmbus_version_below(first);
	if (!first || first < c->config.min_version)
		return VMBUS_E_INVALID;
	c->state = VMBUS_CLIENT_STATE_CONNECTING;
	c->features = 0;
	try_version(c, first);
	return VMBUS_OK;
}

void vmbus_client_post_failed(struct vmbus_client *c, uint16_t hv_status)
{
	if (c->state == VMBUS_CLIENT_STATE_CONNECTING &&
	    hv_status == VMBUS_HV_INVALID_CONNECTION_ID)
		try_version(c, vmbus_version_below(c->version));
}

/* Where the host gives monitor pages they replace ours; without their send page it gave none. */
static void agree_features(struct vmbus_client *c, const struct vmbus_message *m)
{
	c->features = 0;
	if (c->version < VMBUS_V6_0)
		return;
	c->features = m->version_response.features & c->config.features;
	if (!m->version_response.monitor_child_to_parent)
		c->features &= ~VMBUS_FEATURE_SERVER_MONITOR;
}

static void push_connected(struct vmbus_client *c, const struct vmbus_message *m)
{
	struct vmbus_client_action a = {.type = VMBUS_CLIENT_CONNECTED};

	a.connected.version = c->version;
	a.connected.features = c->features;
	a.connected.monitor_parent_to_child = c->config.monitor_parent_to_child;
	a.connected.monitor_child_to_parent = c->config.monitor_child_to_parent;
	if (c->features & VMBUS_FEATURE_SERVER_MONITOR) {
		a.connected.monitor_parent_to_child = m->version_response.monitor_parent_to_child;
		a.connected.monitor_child_to_parent = m->version_response.monitor_child_to_parent;
	}
	client_push(c, &a, sizeof(a.connected));
}

static void on_version_response(struct vmbus_client *c, const struct vmbus_message *m)
{
	struct vmbus_message request = {.type = VMBUS_MSG_REQUEST_OFFERS};

	if (!m->version_response.supported) {
		try_version(c, vmbus_version_below(c->version));
		return;
	}
	/* Older hosts leave anything in the state byte. */
	if (c->version >= VMBUS_V2_4 && m->version_response.state != VMBUS_CONNECTION_OK) {
		connect_failed(c, m->version_response.state);
		return;
	}
	if (c->version >= VMBUS_V5_0)
		c->post_to = m->version_response.selected;
	agree_features(c, m);
	c->state = VMBUS_CLIENT_STATE_REQUESTING_OFFERS;
	client_post(c, &request, 8);
	push_connected(c, m);
}

static void on_all_offers_delivered(struct vmbus_client *c, const struct vmbus_message *m)
{
	if (c->state != VMBUS_CLIENT_STATE_REQUESTING_OFFERS) {
		c->stats.ignored_state++;
		return;
	}
	c->state = VMBUS_CLIENT_STATE_CONNECTED;
	client_push_result(c, NULL, VMBUS_CLIENT_OFFERS_DELIVERED, 0, 0);
}

/* ---- monitor pages ---- */

static bool pages_valid(uint64_t parent_to_child, uint64_t child_to_parent)
{
	return !parent_to_child == !child_to_parent &&
	       !((parent_to_child | child_to_parent) % VMBUS_PAGE_SIZE);
}

enum vmbus_status vmbus_client_modify_connection(struct vmbus_client *c, uint64_t parent_to_child,
						 uint64_t child_to_parent)
{
	struct vmbus_message m = {.type = VMBUS_MSG_MODIFY_CONNECTION};

	if (!pages_valid(parent_to_child, child_to_parent))
		return VMBUS_E_INVALID;
	if (!client_connected(c) || c->pages_modifying ||
	    c->features & VMBUS_FEATURE_SERVER_MONITOR ||
	    !vmbus_message_allowed(m.type, c->version, c->features))
		return VMBUS_E_STATE;
	m.modify_connection.monitor_parent_to_child = parent_to_child;
	m.modify_connection.monitor_child_to_parent = child_to_parent;
	client_post(c, &m, 24);
	c->pages_modifying = true;
	c->next_parent_to_child = parent_to_child;
	c->next_child_to_parent = child_to_parent;
	return VMBUS_OK;
}

static void on_modify_connection_response(struct vmbus_client *c, const struct vmbus_message *m)
{
	uint8_t state = m->modify_connection_response.state;

	if (!c->pages_modifying) {
		c->stats.ignored_state++;
		return;
	}
	c->pages_modifying = false;
	if (state == VMBUS_CONNECTION_OK) {
		c->config.monitor_parent_to_child = c->next_parent_to_child;
		c->config.monitor_child_to_parent = c->next_child_to_parent;
	}
	client_push_result(c, NULL, VMBUS_CLIENT_CONNECTION_MODIFIED, 0,
			   state == VMBUS_CONNECTION_OK ? 0 : VMBUS_STATUS_FAILURE);
}

/* ---- disconnecting ---- */

/* Everything of the connection ends: requests first, then their channels. */
static void end_connection(struct vmbus_client *c)
{
	c->state = VMBUS_CLIENT_STATE_DISCONNECTED;
	c->version = 0;
	c->features = 0;
	if (c->pages_modifying)
		client_push_result(c, NULL, VMBUS_CLIENT_CONNECTION_MODIFIED, 0, VMBUS_STATUS_GONE);
	c->pages_modifying = false;
	for (uint32_t i = 0; i < c->slot_count; i++) {
		if (c->slots[i] && !c->slots[i]->orphan)
			client_channel_lost(c, c->slots[i]);
	}
}

static void on_unload_complete(struct vmbus_client *c, const struct vmbus_message *m)
{
	end_connection(c);
	client_push_result(c, NULL, VMBUS_CLIENT_UNLOADED, 0, 0);
}

enum vmbus_status vmbus_client_unload(struct vmbus_client *c)
{
	struct vmbus_message m = {.type = VMBUS_MSG_UNLOAD};

	switch (c->state) {
	case VMBUS_CLIENT_STATE_DISCONNECTED:
		client_push_result(c, NULL, VMBUS_CLIENT_UNLOADED, 0, 0);
		return VMBUS_OK;
	case VMBUS_CLIENT_STATE_CONNECTING:
		return VMBUS_E_STATE;
	case VMBUS_CLIENT_STATE_REQUESTING_OFFERS:
	case VMBUS_CLIENT_STATE_CONNECTED:
		client_post(c, &m, 8);
		c->state = VMBUS_CLIENT_STATE_DISCONNECTING;
		return VMBUS_OK;
	case VMBUS_CLIENT_STATE_DISCONNECTING:
		return VMBUS_OK;
	}
	return VMBUS_E_STATE;
}

void vmbus_client_lost(struct vmbus_client *c)
{
	bool unloading = c->state == VMBUS_CLIENT_STATE_DISCONNECTING;

	if (c->state == VMBUS_CLIENT_STATE_CONNECTING)
		connect_failed(c, VMBUS_STATUS_GONE);
	end_connection(c);
	if (unloading)
		client_push_result(c, NULL, VMBUS_CLIENT_UNLOADED, 0, 0);
}

/* ---- receiving ---- */

typedef void handler_fn(struct vmbus_client *c, const struct vmbus_message *m);

/* Answers to what this client never asks for. */
static void on_unasked(struct vmbus_client *c, const struct vmbus_message *m)
{
	c->stats.ignored_state++;
}

#define on_close_reserved_response   on_unasked
#define on_tl_connect_request_result on_unasked
#define on_pause_response            on_unasked

/* One handler for each host message of the table, by its name: on_offer_channel and so on. */
#define HANDLER_C(NAME, name)
#define HANDLER_S(NAME, name)                           [VMBUS_MSG_##NAME] = on_##name,
#define HANDLER_ROW(number, NAME, name, direction, ...) HANDLER_##direction(NAME, name)
static handler_fn *const handlers[VMBUS_MSG_COUNT] = {VMBUS_MESSAGES(HANDLER_ROW)};

static bool awaited_now(const struct vmbus_client *c, uint32_t type)
{
	switch (c->state) {
	case VMBUS_CLIENT_STATE_DISCONNECTED:
		return false;
	case VMBUS_CLIENT_STATE_CONNECTING:
		return type == VMBUS_MSG_VERSION_RESPONSE;
	case VMBUS_CLIENT_STATE_REQUESTING_OFFERS:
	case VMBUS_CLIENT_STATE_CONNECTED:
		return type != VMBUS_MSG_VERSION_RESPONSE && type != VMBUS_MSG_UNLOAD_COMPLETE &&
		       vmbus_message_allowed(type, c->version, c->features);
	case VMBUS_CLIENT_STATE_DISCONNECTING:
		return type == VMBUS_MSG_UNLOAD_COMPLETE;
	}
	return false;
}

static uint64_t *ignore(struct vmbus_client *c, const uint8_t *bytes, size_t size)
{
	switch (vmbus_message_check(bytes, size, VMBUS_TO_CLIENT)) {
	case VMBUS_CHECK_SHORT:
		return &c->stats.ignored_short;
	case VMBUS_CHECK_TYPE:
	case VMBUS_CHECK_DIRECTION:
		return &c->stats.ignored_type;
	case VMBUS_CHECK_OK:
		break;
	}
	if (!room_for_message(c))
		return &c->stats.ignored_busy;
	return awaited_now(c, vmbus_get32(bytes)) ? NULL : &c->stats.ignored_state;
}

void vmbus_client_receive(struct vmbus_client *c, const void *message, size_t size)
{
	uint8_t copy[VMBUS_MAX_MESSAGE] = {0};
	struct vmbus_message m;
	uint64_t *ignored;

	c->stats.received++;
	if (size)
		memcpy(copy, message, size < sizeof(copy) ? size : sizeof(copy));
	ignored = ignore(c, copy, size);
	if (ignored) {
		(*ignored)++;
		return;
	}
	vmbus_message_decode(&m, copy, size);
	handlers[m.type](c, &m);
}

bool vmbus_client_next_action(struct vmbus_client *c, struct vmbus_client_action *action)
{
	memset(action, 0, sizeof(*action));
	return vmbus_queue_pop(&c->actions, action, sizeof(*action)) != 0;
}

enum vmbus_client_state vmbus_client_state(const struct vmbus_client *c)
{
	return c->state;
}

uint32_t vmbus_client_version(const struct vmbus_client *c)
{
	return client_connected(c) ? c->version : 0;
}

uint32_t vmbus_client_features(const struct vmbus_client *c)
{
	return c->features;
}

const struct vmbus_client_stats *vmbus_client_statistics(const struct vmbus_client *c)
{
	return &c->stats;
}
