/* SPDX-License-Identifier: MIT */
/* The server's life, its queues, and what it does with a message before the message's handler. */
#include "vmbus/server_internal.h"

/* Bytes of action queue set aside per object, so that no action can fail for want of memory. */
#define QUEUE_BASE      2048u
#define QUEUE_CHANNEL   1024u
#define QUEUE_GPADL     160u
#define HELD_BASE       1024u
#define HELD_CHANNEL    512u
#define HELD_GPADL      96u
/* What a single message can cause at most: everything offered, or everything torn down. */
#define MESSAGE_BASE    1024u
#define MESSAGE_CHANNEL 256u
#define MESSAGE_GPADL   64u

void server_count(uint64_t *counter)
{
	(*counter)++;
}

enum vmbus_status server_reserve(struct vmbus_server *s, uint32_t channels, uint32_t gpadls)
{
	const struct vmbus_allocator *a = &s->config.allocator;
	enum vmbus_status status;

	status = vmbus_queue_reserve(&s->actions, a,
				     QUEUE_BASE + (size_t)channels * QUEUE_CHANNEL +
					     (size_t)gpadls * QUEUE_GPADL);
	if (status || !(s->config.features & VMBUS_FEATURE_PAUSE))
		return status;
	return vmbus_queue_reserve(&s->held, a,
				   HELD_BASE + (size_t)channels * HELD_CHANNEL +
					   (size_t)gpadls * HELD_GPADL);
}

static bool room_for_message(const struct vmbus_server *s)
{
	return vmbus_queue_room(&s->actions) >=
	       MESSAGE_BASE + (size_t)s->channel_count * MESSAGE_CHANNEL +
		       (size_t)s->gpadls.count * MESSAGE_GPADL + s->held.used;
}

void server_push(struct vmbus_server *s, const struct vmbus_server_action *a, size_t size)
{
	/* Room is set aside with every object; running out is an owner that never takes actions. */
	if (!vmbus_queue_push(&s->actions, a, size))
		server_count(&s->stats.dropped_busy);
}

void server_push_device(struct vmbus_server *s, const struct channel *ch,
			enum vmbus_server_action_type type, struct vmbus_server_action *a,
			size_t detail)
{
	a->type = type;
	a->offer = ch->id;
	a->device = ch->device;
	server_push(s, a, offsetof(struct vmbus_server_action, message) + detail);
}

static void post(struct vmbus_server *s, struct vmbus_server_action *a,
		 const struct vmbus_message *m, size_t size)
{
	size_t record = offsetof(struct vmbus_server_action, message.data) + size;

	a->type = VMBUS_SERVER_POST;
	a->message.size = (uint8_t)size;
	vmbus_message_encode(m, a->message.data, size);
	server_count(&s->stats.posted);
	if (!s->paused || a->message.unqueued)
		server_push(s, a, record);
	else if (!vmbus_queue_push(&s->held, a, record))
		server_count(&s->stats.dropped_busy);
}

void server_post_vp(struct vmbus_server *s, uint32_t vp, const struct vmbus_message *m, size_t size)
{
	struct vmbus_server_action a = {0};

	a.message.vp = vp;
	a.message.sint = VMBUS_SINT;
	post(s, &a, m, size);
}

void server_post(struct vmbus_server *s, const struct vmbus_message *m, size_t size)
{
	server_post_vp(s, s->contact.vp, m, size);
}

void server_post_unqueued(struct vmbus_server *s, uint32_t vp, uint8_t sint,
			  const struct vmbus_message *m, size_t size)
{
	struct vmbus_server_action a = {0};

	a.message.vp = vp;
	a.message.sint = sint;
	a.message.unqueued = true;
	post(s, &a, m, size);
}

struct channel *server_channel(const struct vmbus_server *s, vmbus_offer_id id)
{
	uint32_t slot = (uint32_t)(id & 0xffff);
	struct channel *ch;

	if (!id || !slot || slot > s->config.limits.channels)
		return NULL;
	ch = s->slots[slot - 1];
	return ch && ch->id == id ? ch : NULL;
}

static void limit_default(uint32_t *limit, uint32_t value)
{
	if (!*limit)
		*limit = value;
}

static void apply_defaults(struct vmbus_server_config *c)
{
	limit_default(&c->first_channel_id, 1);
	if (c->first_channel_id > VMBUS_MAX_CHANNEL)
		c->first_channel_id = VMBUS_MAX_CHANNEL;
	limit_default(&c->limits.channels, VMBUS_MAX_CHANNEL);
	if (c->limits.channels > VMBUS_MAX_CHANNEL - c->first_channel_id + 1)
		c->limits.channels = VMBUS_MAX_CHANNEL - c->first_channel_id + 1;
	limit_default(&c->limits.gpadls, 8192);
	limit_default(&c->limits.gpadl_pages, 4u << 20);
	limit_default(&c->limits.hvsock, 16);
	limit_default(&c->max_version, VMBUS_V6_0);
	limit_default(&c->message_connection_id, VMBUS_PORT_MESSAGE);
	limit_default(&c->vp_count, 1);
	if (!c->redirect_sint)
		c->redirect_sint = VMBUS_SINT;
	c->features &= VMBUS_FEATURES_KNOWN;
	if (!c->trusted)
		c->features &= ~VMBUS_FEATURE_CONFIDENTIAL;
	if (!c->monitor_child_to_parent)
		c->features &= ~VMBUS_FEATURE_SERVER_MONITOR;
}

struct vmbus_server *vmbus_server_create(const struct vmbus_server_config *config)
{
	const struct vmbus_allocator *a = &config->allocator;
	struct vmbus_server *s = a->alloc(a->ctx, sizeof(*s));

	if (!s)
		return NULL;
	s->config = *config;
	apply_defaults(&s->config);
	s->slots = a->alloc(a->ctx, s->config.limits.channels * sizeof(s->slots[0]));
	s->sorted = a->alloc(a->ctx, s->config.limits.channels * sizeof(s->sorted[0]));
	s->hvsock = a->alloc(a->ctx, s->config.limits.hvsock * sizeof(s->hvsock[0]));
	if (!s->slots || !s->sorted || !s->hvsock || server_reserve(s, 0, 0) ||
	    vmbus_gpadl_table_init(&s->gpadls, a, s->config.limits.gpadls,
				   s->config.limits.gpadl_pages)) {
		vmbus_server_destroy(s);
		return NULL;
	}
	return s;
}

static void free_array(const struct vmbus_allocator *a, void *p, size_t size)
{
	if (p)
		a->free(a->ctx, p, size);
}

void vmbus_server_destroy(struct vmbus_server *s)
{
	struct vmbus_allocator a;

	if (!s)
		return;
	a = s->config.allocator;
	for (uint32_t i = 0; i < s->channel_count; i++) {
		gpadls_delete(s, s->sorted[i]);
		a.free(a.ctx, s->sorted[i], sizeof(struct channel));
	}
	vmbus_gpadl_table_free(&s->gpadls, &a);
	vmbus_queue_free(&s->actions, &a);
	vmbus_queue_free(&s->held, &a);
	vmbus_queue_free(&s->deferred, &a);
	free_array(&a, s->slots, s->config.limits.channels * sizeof(s->slots[0]));
	free_array(&a, s->sorted, s->config.limits.channels * sizeof(s->sorted[0]));
	free_array(&a, s->hvsock, s->config.limits.hvsock * sizeof(s->hvsock[0]));
	a.free(a.ctx, s, sizeof(*s));
}

typedef void handler_fn(struct vmbus_server *s, const struct incoming *in);

/* One handler for each client message of the table, by its name: on_open_channel and so on. */
#define HANDLER_C(NAME, name) [VMBUS_MSG_##NAME] = on_##name,
#define HANDLER_S(NAME, name)
#define HANDLER_ROW(number, NAME, name, direction, ...) HANDLER_##direction(NAME, name)
static handler_fn *const handlers[VMBUS_MSG_COUNT] = {VMBUS_MESSAGES(HANDLER_ROW)};

static bool connected(const struct vmbus_server *s)
{
	switch (s->state) {
	case VMBUS_SERVER_STATE_DISCONNECTED:
	case VMBUS_SERVER_STATE_CONNECTING:
	case VMBUS_SERVER_STATE_DISCONNECTING:
		return false;
	case VMBUS_SERVER_STATE_NEGOTIATED:
	case VMBUS_SERVER_STATE_CONNECTED:
		return true;
	}
	return false;
}

/* The long OPEN is required, not merely allowed, once a feature needs its fields. */
static bool open_is_short(const struct vmbus_server *s, size_t size)
{
	return s->features & (VMBUS_FEATURE_GUEST_SIGNAL | VMBUS_FEATURE_REDIRECT) &&
	       size < vmbus_message_info(VMBUS_MSG_OPEN_CHANNEL)->sizes[1];
}

/* Whether this connection, in this state, takes the message; if not, where that is counted. */
static uint64_t *refuse_now(struct vmbus_server *s, uint32_t type, size_t size)
{
	if (type == VMBUS_MSG_INITIATE_CONTACT)
		return NULL;
	if (s->paused && type != VMBUS_MSG_RESUME && type != VMBUS_MSG_UNLOAD)
		return &s->stats.dropped_paused;
	if (type == VMBUS_MSG_CLOSE_RESERVED_CHANNEL)
		return NULL;
	if (!connected(s))
		return &s->stats.dropped_state;
	if (!vmbus_message_allowed(type, s->version, s->features))
		return &s->stats.dropped_version;
	if (type == VMBUS_MSG_OPEN_CHANNEL && open_is_short(s, size))
		return &s->stats.dropped_short;
	return NULL;
}

static uint64_t *refuse(struct vmbus_server *s, const uint8_t *bytes, size_t size)
{
	switch (vmbus_message_check(bytes, size, VMBUS_TO_SERVER)) {
	case VMBUS_CHECK_SHORT:
		return &s->stats.dropped_short;
	case VMBUS_CHECK_TYPE:
		return &s->stats.dropped_type;
	case VMBUS_CHECK_DIRECTION:
		return &s->stats.dropped_direction;
	case VMBUS_CHECK_OK:
		break;
	}
	if (!room_for_message(s))
		return &s->stats.dropped_busy;
	return refuse_now(s, vmbus_get32(bytes), size);
}

bool vmbus_server_ready(const struct vmbus_server *s)
{
	return s->actions.records == 0;
}

void vmbus_server_receive(struct vmbus_server *s, uint32_t connection_id, const void *message,
			  size_t size)
{
	uint8_t copy[VMBUS_MAX_MESSAGE] = {0};
	struct vmbus_message m;
	struct incoming in = {&m, copy, size, connection_id};
	uint64_t *refused;

	server_count(&s->stats.received);
	if (size)
		memcpy(copy, message, size < sizeof(copy) ? size : sizeof(copy));
	refused = refuse(s, copy, size);
	if (refused) {
		server_count(refused);
		return;
	}
	vmbus_message_decode(&m, copy, size);
	handlers[m.type](s, &in);
}

/* An action for a device that was revoked after the action was queued has nobody to go to. */
static bool outlived_its_offer(const struct vmbus_server *s, const struct vmbus_server_action *a)
{
	switch (a->type) {
	case VMBUS_SERVER_OPEN:
	case VMBUS_SERVER_CLOSE:
	case VMBUS_SERVER_GPADL:
	case VMBUS_SERVER_GPADL_TEARDOWN:
	case VMBUS_SERVER_MODIFY:
		return !server_channel(s, a->offer);
	case VMBUS_SERVER_POST:
	case VMBUS_SERVER_CONNECT:
	case VMBUS_SERVER_DISCONNECTED:
	case VMBUS_SERVER_MONITOR:
	case VMBUS_SERVER_HVSOCK:
	case VMBUS_SERVER_RESTORED:
		break;
	}
	return false;
}

bool vmbus_server_next_action(struct vmbus_server *s, struct vmbus_server_action *action)
{
	do {
		memset(action, 0, sizeof(*action));
		if (!vmbus_queue_pop(&s->actions, action, sizeof(*action)))
			return false;
	} while (outlived_its_offer(s, action));
	return true;
}

enum vmbus_server_state vmbus_server_state(const struct vmbus_server *s)
{
	return s->state;
}

uint32_t vmbus_server_version(const struct vmbus_server *s)
{
	return s->version;
}

uint32_t vmbus_server_features(const struct vmbus_server *s)
{
	return s->features;
}

uint32_t vmbus_server_channel_id(const struct vmbus_server *s, vmbus_offer_id id)
{
	const struct channel *ch = server_channel(s, id);

	return ch && channel_visible(ch) ? ch->relid : 0;
}

const struct vmbus_server_stats *vmbus_server_statistics(const struct vmbus_server *s)
{
	return &s->stats;
}
