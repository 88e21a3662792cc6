/* SPDX-License-Identifier: MIT */
/* Several servers behind one: what the guest's server asks of a device is asked of the part that
 * offered it, and what comes back is the device's answer. */
#include "vmbus/bridge.h"

#include <string.h>

#include "vmbus/client.h"
#include "vmbus/wire.h"

enum part_state {
	PART_DOWN,
	PART_IDLE,      /* there, and knows of no connection */
	PART_WAITED,    /* connecting, or offering what it has */
	PART_JOINED,    /* has offered what it had */
	PART_REFUSED,   /* did not accept the contact */
	PART_RESETTING, /* was told to let go of everything */
};

enum proxy_state {
	PROXY_UNSHOWN,  /* the server cannot have it yet */
	PROXY_SHOWN,    /* a channel of the server's */
	PROXY_WITHDRAWN /* the guest may still have its id */
};

struct part {
	enum part_state state;
	struct vmbus_bridge_range range;
	struct vmbus_client *client; /* in WAITED, JOINED and REFUSED */
	bool reset_owed;             /* an output */
	bool post_held;              /* `post` is the next output */
	struct vmbus_client_action post;
};

/* A channel of a part's. */
struct proxy {
	enum proxy_state state;
	struct part *part;
	vmbus_channel_id channel; /* at the part's client */
	vmbus_offer_id offer_id;  /* at the server, if SHOWN */
	bool told;                /* that it could not be shown at once */
	struct vmbus_offer offer;
};

struct vmbus_bridge {
	struct vmbus_bridge_config config;
	struct vmbus_bridge_stats stats;
	struct vmbus_server *server;
	struct part part[VMBUS_BRIDGE_PARTS];
	struct proxy *proxy[VMBUS_MAX_CHANNEL + 1];
	uint32_t proxies[PROXY_WITHDRAWN + 1]; /* in each state */
	bool contact;                          /* `connect` is in force, or about to be */
	struct vmbus_server_action connect;
	uint32_t connects_owed; /* CONNECT actions not answered */
};

struct vmbus_bridge_range vmbus_bridge_range(uint32_t part, uint32_t parts)
{
	struct vmbus_bridge_range r;
	uint32_t stride = VMBUS_MAX_CHANNEL + 1;

	for (uint32_t n = 1; n < parts; n *= 2)
		stride /= 2;
	r.first = part ? part * stride : 1;
	r.count = part ? stride : stride - 1;
	return r;
}

/* ---- channels of parts ---- */

static void set_state(struct vmbus_bridge *b, struct proxy *x, enum proxy_state state)
{
	b->proxies[x->state]--;
	b->proxies[state]++;
	x->state = state;
}

static struct proxy *add_proxy(struct vmbus_bridge *b, struct part *p,
			       const struct vmbus_client_offer *o)
{
	const struct vmbus_allocator *a = &b->config.allocator;
	struct proxy *x = a->alloc(a->ctx, sizeof(*x));

	if (!x)
		return NULL;
	x->part = p;
	x->channel = o->channel;
	x->offer.interface_id = o->interface_id;
	x->offer.instance_id = o->instance_id;
	x->offer.subchannel = o->subchannel;
	x->offer.flags = o->flags;
	x->offer.mmio_megabytes = o->mmio_megabytes;
	x->offer.mmio_megabytes_optional = o->mmio_megabytes_optional;
	memcpy(x->offer.user_data, o->user_data, sizeof(x->offer.user_data));
	x->offer.fixed_channel_id = o->relid;
	b->proxy[o->relid] = x;
	b->proxies[x->state]++;
	return x;
}

static void free_proxy(struct vmbus_bridge *b, struct proxy *x)
{
	const struct vmbus_allocator *a = &b->config.allocator;

	b->proxy[x->offer.fixed_channel_id] = NULL;
	b->proxies[x->state]--;
	a->free(a->ctx, x, sizeof(*x));
}

static void withdraw(struct vmbus_bridge *b, struct proxy *x)
{
	if (x->state == PROXY_SHOWN)
		vmbus_server_revoke(b->server, x->offer_id);
	set_state(b, x, PROXY_WITHDRAWN);
}

/* An id or key that the guest has yet to let go of becomes free with a message of the guest's. */
static bool show(struct vmbus_bridge *b, struct proxy *x)
{
	if (vmbus_server_offer(b->server, &x->offer, x, &x->offer_id)) {
		b->stats.waiting_offers += !x->told;
		x->told = true;
		return false;
	}
	set_state(b, x, PROXY_SHOWN);
	return true;
}

/* The part may use the id for something else once the guest has let go of it. */
static bool release(struct vmbus_bridge *b, struct proxy *x)
{
	if (!vmbus_server_channel_id_free(b->server, x->offer.fixed_channel_id))
		return false;
	vmbus_client_release(x->part->client, x->channel);
	free_proxy(b, x);
	return true;
}

/* ---- a part's connection ---- */

static void forget_connection(struct vmbus_bridge *b, struct part *p)
{
	for (uint32_t i = 0; i < p->range.count; i++) {
		struct proxy *x = b->proxy[p->range.first + i];

		if (!x)
			continue;
		withdraw(b, x);
		free_proxy(b, x);
	}
	vmbus_client_destroy(p->client);
	p->client = NULL;
	p->post_held = false;
}

/* Monitor pages stay ours: a part that took bits out of them would take others' too. */
static void start_client(struct vmbus_bridge *b, struct part *p)
{
	struct vmbus_client_config config = {
		.max_version = b->connect.connect.version,
		.min_version = b->connect.connect.version,
		.target_vp = b->connect.connect.target_vp,
		.interrupt_page = b->connect.connect.interrupt_page,
		.limits.channels = p->range.count,
		.allocator = b->config.allocator,
	};

	p->client = vmbus_client_create(&config);
	if (!p->client)
		return; /* stays as it is; the guest does without it */
	p->state = PART_WAITED;
	vmbus_client_connect(p->client);
}

static void reset_part(struct vmbus_bridge *b, struct part *p)
{
	if (!p->client)
		return;
	forget_connection(b, p);
	p->state = PART_RESETTING;
	p->reset_owed = true;
}

static void reset_parts(struct vmbus_bridge *b)
{
	for (uint32_t i = 0; i < b->config.parts; i++)
		reset_part(b, &b->part[i]);
}

static void answer_connects(struct vmbus_bridge *b, bool ok)
{
	for (; b->connects_owed; b->connects_owed--)
		vmbus_server_connect_done(b->server, ok);
}

static void answer_if_ready(struct vmbus_bridge *b)
{
	for (uint32_t i = 0; i < b->config.parts; i++)
		if (b->part[i].state == PART_WAITED || b->part[i].state == PART_RESETTING)
			return;
	answer_connects(b, true);
}

void vmbus_bridge_up(struct vmbus_bridge *b, uint32_t part)
{
	struct part *p = &b->part[part];

	if (part >= b->config.parts || p->state != PART_DOWN)
		return;
	p->state = PART_IDLE;
	if (b->contact)
		start_client(b, p);
}

void vmbus_bridge_down(struct vmbus_bridge *b, uint32_t part)
{
	struct part *p = &b->part[part];

	if (part >= b->config.parts)
		return;
	if (p->client)
		forget_connection(b, p);
	p->state = PART_DOWN;
	p->reset_owed = false;
	answer_if_ready(b);
}

void vmbus_bridge_reset_done(struct vmbus_bridge *b, uint32_t part)
{
	struct part *p = &b->part[part];

	if (part >= b->config.parts || p->state != PART_RESETTING || p->reset_owed)
		return;
	p->state = PART_IDLE;
	if (b->contact)
		start_client(b, p);
	answer_if_ready(b);
}

void vmbus_bridge_reset(struct vmbus_bridge *b)
{
	b->contact = false;
	reset_parts(b);
	answer_connects(b, false);
}

bool vmbus_bridge_at_rest(const struct vmbus_bridge *b)
{
	for (uint32_t i = 0; i < b->config.parts; i++)
		if (b->part[i].state == PART_RESETTING)
			return false;
	return true;
}

bool vmbus_bridge_waits(const struct vmbus_bridge *b)
{
	return b->connects_owed != 0;
}

void vmbus_bridge_wait_no_more(struct vmbus_bridge *b)
{
	answer_connects(b, true);
}

/* ---- what the guest's server asks ---- */

static void connect(struct vmbus_bridge *b, const struct vmbus_server_action *a)
{
	b->connects_owed++;
	b->connect = *a;
	b->contact = true;
	for (uint32_t i = 0; i < b->config.parts; i++) {
		reset_part(b, &b->part[i]);
		if (b->part[i].state == PART_IDLE)
			start_client(b, &b->part[i]);
	}
	answer_if_ready(b);
}

static bool disconnected(struct vmbus_bridge *b)
{
	b->contact = false;
	reset_parts(b);
	return vmbus_bridge_at_rest(b);
}

static void open(struct vmbus_bridge *b, const struct proxy *x, const struct vmbus_server_action *a)
{
	struct vmbus_client_open o = {
		.ring_gpadl = a->open.ring_gpadl,
		.downstream_page = a->open.downstream_page,
		.target_vp = a->open.target_vp,
	};

	memcpy(o.user_data, a->open.user_data, sizeof(o.user_data));
	if (vmbus_client_open(x->part->client, x->channel, &o))
		vmbus_server_open_done(b->server, a->offer, VMBUS_STATUS_FAILURE);
}

/* The part has no answer to a close. What of it must be waited for is the rings' GPADL, whose
 * TORNDOWN the part keeps back until the channel is closed, and the reset after the connection. */
static void close(struct vmbus_bridge *b, const struct proxy *x,
		  const struct vmbus_server_action *a)
{
	vmbus_client_close(x->part->client, x->channel);
	vmbus_server_close_done(b->server, a->offer);
}

static void create_gpadl(struct vmbus_bridge *b, const struct proxy *x,
			 const struct vmbus_server_action *a)
{
	struct vmbus_gpadl_view g;

	if (vmbus_server_gpadl(b->server, a->offer, a->gpadl.id, &g) ||
	    vmbus_client_gpadl_announce(x->part->client, x->channel, g.words, g.word_count,
					g.range_count, g.id))
		vmbus_server_gpadl_done(b->server, a->offer, a->gpadl.id, false);
}

static void tear_gpadl(struct vmbus_bridge *b, const struct proxy *x,
		       const struct vmbus_server_action *a)
{
	if (vmbus_client_gpadl_teardown(x->part->client, x->channel, a->gpadl.id))
		vmbus_server_gpadl_released(b->server, a->offer, a->gpadl.id);
}

static void modify(struct vmbus_bridge *b, const struct proxy *x,
		   const struct vmbus_server_action *a)
{
	if (vmbus_client_modify(x->part->client, x->channel, a->modify.vp))
		vmbus_server_modify_done(b->server, a->offer, VMBUS_STATUS_FAILURE);
}

bool vmbus_bridge_action(struct vmbus_bridge *b, const struct vmbus_server_action *a)
{
	switch (a->type) {
	case VMBUS_SERVER_CONNECT:
		connect(b, a);
		break;
	case VMBUS_SERVER_DISCONNECTED:
		return disconnected(b);
	case VMBUS_SERVER_OPEN:
		open(b, a->device, a);
		break;
	case VMBUS_SERVER_CLOSE:
		close(b, a->device, a);
		break;
	case VMBUS_SERVER_GPADL:
		create_gpadl(b, a->device, a);
		break;
	case VMBUS_SERVER_GPADL_TEARDOWN:
		tear_gpadl(b, a->device, a);
		break;
	case VMBUS_SERVER_MODIFY:
		modify(b, a->device, a);
		break;
	case VMBUS_SERVER_MONITOR:
		vmbus_server_monitor_done(b->server, true);
		break;
	case VMBUS_SERVER_POST:
	case VMBUS_SERVER_HVSOCK:
	case VMBUS_SERVER_RESTORED:
		break;
	}
	return true;
}

/* ---- what parts say ---- */

static void on_offer(struct vmbus_bridge *b, struct part *p, const struct vmbus_client_offer *o)
{
	struct proxy *x;

	if (o->relid - p->range.first >= p->range.count || b->proxy[o->relid]) {
		b->stats.foreign_ids++;
		return;
	}
	x = add_proxy(b, p, o);
	if (!x)
		return;
	vmbus_client_set_owner(p->client, o->channel, x);
	show(b, x);
}

static void on_rescind(struct vmbus_bridge *b, struct part *p, const struct vmbus_client_action *a)
{
	struct proxy *x = a->owner;

	if (x)
		withdraw(b, x);
	else
		vmbus_client_release(p->client, a->channel);
}

/* What a rescind ended, the withdrawal that follows answers. */
static void on_answer(struct vmbus_bridge *b, const struct vmbus_client_action *a)
{
	const struct proxy *x = a->owner;

	if (!x || x->state != PROXY_SHOWN || a->status == VMBUS_STATUS_GONE)
		return;
	switch (a->type) {
	case VMBUS_CLIENT_OPEN_RESULT:
		vmbus_server_open_done(b->server, x->offer_id, a->status);
		break;
	case VMBUS_CLIENT_GPADL_CREATED:
		vmbus_server_gpadl_done(b->server, x->offer_id, a->gpadl, !a->status);
		break;
	case VMBUS_CLIENT_GPADL_TORNDOWN:
		vmbus_server_gpadl_released(b->server, x->offer_id, a->gpadl);
		break;
	case VMBUS_CLIENT_MODIFY_RESULT:
		vmbus_server_modify_done(b->server, x->offer_id, a->status);
		break;
	default:
		break;
	}
}

static void on_action(struct vmbus_bridge *b, struct part *p, const struct vmbus_client_action *a)
{
	switch (a->type) {
	case VMBUS_CLIENT_CONNECT_FAILED:
		b->stats.refused++;
		p->state = PART_REFUSED;
		answer_if_ready(b);
		break;
	case VMBUS_CLIENT_OFFERS_DELIVERED:
		p->state = PART_JOINED;
		answer_if_ready(b);
		break;
	case VMBUS_CLIENT_OFFER:
		on_offer(b, p, &a->offer);
		break;
	case VMBUS_CLIENT_RESCIND:
		on_rescind(b, p, a);
		break;
	default:
		on_answer(b, a);
		break;
	}
}

void vmbus_bridge_receive(struct vmbus_bridge *b, uint32_t part, const void *message, size_t size)
{
	if (part < b->config.parts && b->part[part].client)
		vmbus_client_receive(b->part[part].client, message, size);
}

/* True: something other than a message for the part itself was taken. */
static bool take_action(struct vmbus_bridge *b, struct part *p)
{
	struct vmbus_client_action a;

	if (!p->client || p->post_held || !vmbus_client_next_action(p->client, &a))
		return false;
	if (a.type == VMBUS_CLIENT_POST) {
		p->post = a;
		p->post_held = true;
		return false;
	}
	on_action(b, p, &a);
	return true;
}

static bool try_again(struct vmbus_bridge *b)
{
	if (!b->proxies[PROXY_UNSHOWN] && !b->proxies[PROXY_WITHDRAWN])
		return false;
	for (uint32_t i = 0; i <= VMBUS_MAX_CHANNEL; i++) {
		struct proxy *x = b->proxy[i];

		if (x && ((x->state == PROXY_UNSHOWN && show(b, x)) ||
			  (x->state == PROXY_WITHDRAWN && release(b, x))))
			return true;
	}
	return false;
}

bool vmbus_bridge_turn(struct vmbus_bridge *b)
{
	if (!vmbus_server_ready(b->server))
		return false;
	for (uint32_t i = 0; i < b->config.parts; i++)
		if (take_action(b, &b->part[i]))
			return true;
	return try_again(b);
}

bool vmbus_bridge_next(struct vmbus_bridge *b, uint32_t part, struct vmbus_bridge_output *output)
{
	struct part *p = &b->part[part];

	if (part >= b->config.parts)
		return false;
	if (p->reset_owed) {
		p->reset_owed = false;
		output->type = VMBUS_BRIDGE_RESET;
		return true;
	}
	while (!p->post_held && vmbus_server_ready(b->server) && take_action(b, p))
		;
	if (!p->post_held)
		return false;
	p->post_held = false;
	output->type = VMBUS_BRIDGE_POST;
	output->connection_id = p->post.message.connection_id;
	output->size = p->post.message.size;
	memcpy(output->data, p->post.message.data, output->size);
	return true;
}

/* ---- life ---- */

struct vmbus_bridge *vmbus_bridge_create(const struct vmbus_bridge_config *config)
{
	const struct vmbus_allocator *a = &config->allocator;
	struct vmbus_bridge *b;

	if (!config->parts || config->parts > VMBUS_BRIDGE_PARTS)
		return NULL;
	b = a->alloc(a->ctx, sizeof(*b));
	if (!b)
		return NULL;
	b->config = *config;
	b->server = config->server;
	for (uint32_t i = 0; i < config->parts; i++)
		b->part[i].range = vmbus_bridge_range(i, config->parts);
	return b;
}

void vmbus_bridge_destroy(struct vmbus_bridge *b)
{
	struct vmbus_allocator a;

	if (!b)
		return;
	a = b->config.allocator;
	for (uint32_t i = 0; i < b->config.parts; i++)
		vmbus_bridge_down(b, i);
	a.free(a.ctx, b, sizeof(*b));
}

const struct vmbus_bridge_stats *vmbus_bridge_statistics(const struct vmbus_bridge *b)
{
	return &b->stats;
}

static const char *check_proxy(const struct vmbus_bridge *b, const struct proxy *x, uint32_t id)
{
	const struct part *p = x->part;

	if (x->offer.fixed_channel_id != id || id - p->range.first >= p->range.count)
		return "a channel is not where its id says, or not in its part's range";
	if (!p->client)
		return "a channel of a part that has no connection";
	/* A key that the guest has not let go of keeps its old id until then. */
	if (x->state == PROXY_SHOWN && vmbus_server_channel_id(b->server, x->offer_id) == id &&
	    vmbus_server_channel_id_free(b->server, id))
		return "a channel that is shown has an id that is free";
	return NULL;
}

static const char *check_part(const struct part *p)
{
	bool connection =
		p->state == PART_WAITED || p->state == PART_JOINED || p->state == PART_REFUSED;

	if (connection != (p->client != NULL))
		return "a part's state and its connection disagree";
	if (p->reset_owed && p->state != PART_RESETTING)
		return "a reset is owed by a part that does not reset";
	if (p->post_held && !p->client)
		return "a message of no connection";
	return p->client ? vmbus_client_check(p->client) : NULL;
}

const char *vmbus_bridge_check(const struct vmbus_bridge *b)
{
	uint32_t count[PROXY_WITHDRAWN + 1] = {0};
	const char *wrong = NULL;

	for (uint32_t i = 0; !wrong && i < b->config.parts; i++)
		wrong = check_part(&b->part[i]);
	for (uint32_t i = 0; !wrong && i <= VMBUS_MAX_CHANNEL; i++) {
		if (!b->proxy[i])
			continue;
		count[b->proxy[i]->state]++;
		wrong = check_proxy(b, b->proxy[i], i);
	}
	if (!wrong && memcmp(count, b->proxies, sizeof(count)) != 0)
		wrong = "the channels are counted wrong";
	return wrong;
}
