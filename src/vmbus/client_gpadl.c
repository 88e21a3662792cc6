/* SPDX-License-Identifier: MIT */
/* GPADLs at the client: announced in as many messages as it takes, torn down, never reused early.
 */
#include "vmbus/client_internal.h"
#include "vmbus/gparange.h"

#define COUNTER_BITS 20u
#define COUNTER_MASK ((1u << COUNTER_BITS) - 1)

/* What may wait in the queue before another GPADL's messages are refused. */
#define QUEUE_LIMIT (1u << 20)

/* Ids are of the connection, not of a channel: TORNDOWN and BODY name no channel. */
static uint32_t next_id(struct vmbus_client *c, uint32_t hint)
{
	uint32_t base = hint ? hint << COUNTER_BITS : c->config.first_gpadl_id & ~COUNTER_MASK;
	uint32_t counter;

	do {
		counter = c->gpadl_ids++ & COUNTER_MASK;
	} while (!counter || vmbus_gpadl_find(&c->gpadls, NULL, base | counter));
	return base | counter;
}

static void forget(struct vmbus_client *c, struct client_channel *ch, struct vmbus_gpadl *g)
{
	vmbus_gpadl_remove(&c->gpadls, &c->config.allocator, &ch->gpadls, g);
}

void client_gpadls_free(struct vmbus_client *c, struct client_channel *ch)
{
	while (ch->gpadls.first)
		forget(c, ch, ch->gpadls.first);
}

static uint32_t messages_for(uint32_t words)
{
	if (words <= VMBUS_GPADL_HEADER_WORDS)
		return 1;
	words -= VMBUS_GPADL_HEADER_WORDS;
	return 1 + (words + VMBUS_GPADL_BODY_WORDS - 1) / VMBUS_GPADL_BODY_WORDS;
}

static enum vmbus_status reserve_messages(struct vmbus_client *c, uint32_t words)
{
	size_t each = vmbus_queue_cost(sizeof(struct vmbus_client_action));

	if (c->actions.used > QUEUE_LIMIT)
		return VMBUS_E_LIMIT;
	return client_reserve(c, c->actions.used + messages_for(words) * each);
}

static void put_words(uint8_t *to, const uint64_t *words, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		vmbus_put64(to + i * sizeof(uint64_t), words[i]);
}

static uint32_t post_header(struct vmbus_client *c, uint32_t relid, uint32_t id,
			    const uint64_t *words, uint32_t count, uint32_t ranges)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_HEADER};
	uint32_t first = count < VMBUS_GPADL_HEADER_WORDS ? count : VMBUS_GPADL_HEADER_WORDS;
	uint8_t bytes[VMBUS_MAX_MESSAGE];

	m.gpadl_header.channel_id = relid;
	m.gpadl_header.gpadl = id;
	m.gpadl_header.length = (uint16_t)(count * sizeof(uint64_t));
	m.gpadl_header.range_count = (uint16_t)ranges;
	vmbus_message_encode(&m, bytes, 20);
	put_words(bytes + 20, words, first);
	client_post_bytes(c, c->post_to, bytes, 20 + first * sizeof(uint64_t));
	return first;
}

static void post_bodies(struct vmbus_client *c, uint32_t id, const uint64_t *words, uint32_t count)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_BODY};
	uint8_t bytes[VMBUS_MAX_MESSAGE];

	m.gpadl_body.gpadl = id;
	vmbus_message_encode(&m, bytes, 16);
	while (count) {
		uint32_t part = count < VMBUS_GPADL_BODY_WORDS ? count : VMBUS_GPADL_BODY_WORDS;

		put_words(bytes + 16, words, part);
		client_post_bytes(c, c->post_to, bytes, 16 + part * sizeof(uint64_t));
		words += part;
		count -= part;
	}
}

static bool ranges_valid(const uint64_t *words, uint32_t word_count, uint32_t range_count,
			 uint32_t hint)
{
	uint32_t pages = 0;

	if (!range_count || range_count > UINT16_MAX || word_count > VMBUS_GPADL_MAX_WORDS ||
	    hint > UINT32_MAX >> COUNTER_BITS)
		return false;
	return vmbus_gparange_validate(words, word_count, range_count, word_count, &pages) ==
		       VMBUS_OK &&
	       pages + range_count == word_count;
}

/* Whether a GPADL can be announced now; there is room for its messages then. */
static enum vmbus_status announceable(struct vmbus_client *c, const struct client_channel *ch,
				      const uint64_t *words, uint32_t word_count,
				      uint32_t range_count, uint32_t hint)
{
	enum vmbus_status status = client_channel_usable(c, ch);

	if (status)
		return status;
	if (!ranges_valid(words, word_count, range_count, hint))
		return VMBUS_E_INVALID;
	return reserve_messages(c, word_count);
}

static enum vmbus_status announce(struct vmbus_client *c, struct client_channel *ch,
				  const uint64_t *words, uint32_t word_count, uint32_t range_count,
				  uint32_t gpadl)
{
	struct vmbus_gpadl *g;
	uint32_t sent;
	enum vmbus_status status =
		vmbus_gpadl_add(&c->gpadls, &c->config.allocator, &ch->gpadls, ch, gpadl, 0, &g);

	if (status)
		return status;
	g->state = VMBUS_GPADL_CREATING;
	sent = post_header(c, ch->offer.relid, g->id, words, word_count, range_count);
	post_bodies(c, g->id, words + sent, word_count - sent);
	return VMBUS_OK;
}

enum vmbus_status vmbus_client_gpadl_create(struct vmbus_client *c, vmbus_channel_id id,
					    const uint64_t *words, uint32_t word_count,
					    uint32_t range_count, uint32_t hint, uint32_t *gpadl)
{
	struct client_channel *ch = client_channel(c, id);
	enum vmbus_status status = announceable(c, ch, words, word_count, range_count, hint);
	uint32_t next;

	if (status)
		return status;
	next = next_id(c, hint);
	status = announce(c, ch, words, word_count, range_count, next);
	if (!status)
		*gpadl = next;
	return status;
}

enum vmbus_status vmbus_client_gpadl_announce(struct vmbus_client *c, vmbus_channel_id id,
					      const uint64_t *words, uint32_t word_count,
					      uint32_t range_count, uint32_t gpadl)
{
	struct client_channel *ch = client_channel(c, id);
	enum vmbus_status status = announceable(c, ch, words, word_count, range_count, 0);

	if (status)
		return status;
	if (vmbus_gpadl_find(&c->gpadls, NULL, gpadl))
		return VMBUS_E_EXISTS;
	return announce(c, ch, words, word_count, range_count, gpadl);
}

/* The answer to a request that a rescind ended: nobody waits for it but the channel's release. */
static void late_answer(struct vmbus_client *c, struct client_channel *ch, struct vmbus_gpadl *g)
{
	g->state = VMBUS_GPADL_GONE;
	ch->gpadls_owed--;
	client_channel_settle(c, ch);
}

static void created(struct vmbus_client *c, struct client_channel *ch, struct vmbus_gpadl *g,
		    uint32_t status)
{
	client_push_result(c, ch, VMBUS_CLIENT_GPADL_CREATED, g->id, status);
	if (status)
		forget(c, ch, g);
	else
		g->state = VMBUS_GPADL_CREATED;
}

void on_gpadl_created(struct vmbus_client *c, const struct vmbus_message *m)
{
	uint32_t relid = m->gpadl_created.channel_id;
	struct client_channel *ch = relid <= VMBUS_MAX_CHANNEL ? c->by_relid[relid] : NULL;
	struct vmbus_gpadl *g =
		ch ? vmbus_gpadl_find(&c->gpadls, ch, m->gpadl_created.gpadl) : NULL;

	if (!g)
		c->stats.ignored_unknown++;
	else if (g->state == VMBUS_GPADL_CREATING)
		created(c, ch, g, m->gpadl_created.status);
	else if (g->state == VMBUS_GPADL_CREATING_GONE)
		late_answer(c, ch, g);
	else
		c->stats.ignored_state++;
}

enum vmbus_status vmbus_client_gpadl_teardown(struct vmbus_client *c, vmbus_channel_id id,
					      uint32_t gpadl)
{
	struct client_channel *ch = client_channel(c, id);
	enum vmbus_status status = client_channel_usable(c, ch);
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_TEARDOWN};
	struct vmbus_gpadl *g;

	if (status)
		return status;
	g = vmbus_gpadl_find(&c->gpadls, ch, gpadl);
	if (!g)
		return VMBUS_E_NOT_FOUND;
	if (g->state != VMBUS_GPADL_CREATED)
		return VMBUS_E_STATE;
	g->state = VMBUS_GPADL_DELETING;
	m.gpadl_teardown.channel_id = ch->offer.relid;
	m.gpadl_teardown.gpadl = gpadl;
	client_post(c, &m, 16);
	return VMBUS_OK;
}

void on_gpadl_torndown(struct vmbus_client *c, const struct vmbus_message *m)
{
	struct vmbus_gpadl *g = vmbus_gpadl_find(&c->gpadls, NULL, m->gpadl_torndown.gpadl);
	struct client_channel *ch = g ? (struct client_channel *)g->channel : NULL;

	if (!g) {
		c->stats.ignored_unknown++;
	} else if (g->state == VMBUS_GPADL_DELETING) {
		client_push_result(c, ch, VMBUS_CLIENT_GPADL_TORNDOWN, g->id, 0);
		forget(c, ch, g);
	} else if (g->state == VMBUS_GPADL_DELETING_GONE) {
		late_answer(c, ch, g);
	} else {
		c->stats.ignored_state++;
	}
}

/* One GPADL when its channel ends. */
static void end_one(struct vmbus_client *c, struct client_channel *ch, struct vmbus_gpadl *g)
{
	switch (g->state) {
	case VMBUS_GPADL_CREATING:
		client_push_result(c, ch, VMBUS_CLIENT_GPADL_CREATED, g->id, VMBUS_STATUS_GONE);
		g->state = VMBUS_GPADL_CREATING_GONE;
		break;
	case VMBUS_GPADL_DELETING:
		client_push_result(c, ch, VMBUS_CLIENT_GPADL_TORNDOWN, g->id, 0);
		g->state = VMBUS_GPADL_DELETING_GONE;
		break;
	case VMBUS_GPADL_CREATED:
		g->state = VMBUS_GPADL_GONE;
		return;
	case VMBUS_GPADL_CREATING_GONE:
	case VMBUS_GPADL_DELETING_GONE:
	case VMBUS_GPADL_GONE:
	case VMBUS_GPADL_INCOMPLETE:
	case VMBUS_GPADL_OFFERED:
	case VMBUS_GPADL_ACCEPTED:
	case VMBUS_GPADL_TEARING:
	case VMBUS_GPADL_OFFERED_TEARING:
		return;
	}
	ch->gpadls_owed++;
}

void client_gpadls_end(struct vmbus_client *c, struct client_channel *ch, bool owed)
{
	for (struct vmbus_gpadl *g = ch->gpadls.first; g; g = g->next)
		end_one(c, ch, g);
	if (owed)
		return;
	ch->gpadls_owed = 0;
	client_gpadls_free(c, ch);
}
