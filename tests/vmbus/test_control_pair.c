/* SPDX-License-Identifier: MIT */
/*
 * The server and the client, joined by two queues of bytes and nothing else, driven at random by
 * devices and drivers that know nothing of each other. Messages and answers are delayed at will, so
 * that everything crosses everything. In the end all of it must come to rest: every request was
 * answered, every channel id given back, every byte freed.
 */
#include <stdlib.h>

#include "control.h"

#define DEVICES_MAX 6
#define CHANNELS    64
#define GPADLS      64
#define PIPE        4096
#define OWED        256

struct pipe {
	struct raw *messages;
	size_t head, tail;
};

struct guest_channel {
	vmbus_channel_id id; /* 0: unused */
	bool rescinded, opening, open, modifying;
};

struct guest_gpadl {
	vmbus_channel_id channel;
	uint32_t id; /* 0: unused */
	bool creating, deleting;
};

struct pair {
	struct heap server_heap, client_heap;
	struct vmbus_server *s;
	struct vmbus_client *c;
	struct pipe to_server, to_client;
	vmbus_offer_id offer[DEVICES_MAX];
	struct vmbus_server_action owed[OWED];
	size_t owed_count;
	struct guest_channel channel[CHANNELS];
	struct guest_gpadl gpadl[GPADLS];
	uint64_t seed;
	unsigned int opened, created, rescinded, torn_down;
	bool unloaded;
};

static uint32_t chance(struct pair *p, uint32_t of)
{
	p->seed = p->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(p->seed >> 33) % of;
}

static void put(struct pipe *pipe, const void *bytes, size_t size)
{
	struct raw *r = &pipe->messages[pipe->tail++ % PIPE];

	assert_true(pipe->tail - pipe->head <= PIPE);
	memcpy(r->b, bytes, size);
	r->n = size;
}

/* ---- the host's side ---- */

static void take_server(struct pair *p)
{
	struct vmbus_server_action a;

	while (vmbus_server_next_action(p->s, &a)) {
		if (a.type == VMBUS_SERVER_POST) {
			put(&p->to_client, a.message.data, a.message.size);
		} else if (a.type != VMBUS_SERVER_DISCONNECTED) {
			assert_true(p->owed_count < OWED);
			p->owed[p->owed_count++] = a;
		}
	}
	assert_null(vmbus_server_check(p->s));
}

static void answer(struct pair *p, size_t which)
{
	struct vmbus_server_action a = p->owed[which];
	bool ok = chance(p, 8) != 0;

	memmove(&p->owed[which], &p->owed[which + 1],
		(--p->owed_count - which) * sizeof(p->owed[0]));
	switch (a.type) {
	case VMBUS_SERVER_CONNECT:
		vmbus_server_connect_done(p->s, true);
		break;
	case VMBUS_SERVER_OPEN:
		vmbus_server_open_done(p->s, a.offer, ok ? 0 : 0xc0000001);
		break;
	case VMBUS_SERVER_CLOSE:
		vmbus_server_close_done(p->s, a.offer);
		break;
	case VMBUS_SERVER_GPADL:
		vmbus_server_gpadl_done(p->s, a.offer, a.gpadl.id, ok);
		break;
	case VMBUS_SERVER_GPADL_TEARDOWN:
		vmbus_server_gpadl_released(p->s, a.offer, a.gpadl.id);
		break;
	case VMBUS_SERVER_MODIFY:
		vmbus_server_modify_done(p->s, a.offer, ok ? 0 : 1);
		break;
	case VMBUS_SERVER_POST:
	case VMBUS_SERVER_DISCONNECTED:
	case VMBUS_SERVER_MONITOR:
	case VMBUS_SERVER_HVSOCK:
	case VMBUS_SERVER_RESTORED:
		fail_msg("unexpected action %d", a.type);
	}
	take_server(p);
}

static void device_acts(struct pair *p)
{
	uint32_t n = chance(p, DEVICES_MAX);
	struct vmbus_offer o = an_offer((int)n);

	if (p->offer[n]) {
		vmbus_server_revoke(p->s, p->offer[n]);
		p->offer[n] = 0;
	} else {
		assert_int_equal(vmbus_server_offer(p->s, &o, NULL, &p->offer[n]), VMBUS_OK);
	}
	take_server(p);
}

static void deliver_to_server(struct pair *p)
{
	const struct raw *r = &p->to_server.messages[p->to_server.head++ % PIPE];

	vmbus_server_receive(p->s, 4, r->b, r->n);
	take_server(p);
}

/* ---- the guest's side ---- */

static struct guest_channel *channel_of(struct pair *p, vmbus_channel_id id)
{
	for (size_t i = 0; i < CHANNELS; i++) {
		if (p->channel[i].id == id)
			return &p->channel[i];
	}
	fail_msg("an action for a channel that is gone");
	return NULL;
}

static struct guest_gpadl *gpadl_of(struct pair *p, uint32_t id)
{
	for (size_t i = 0; i < GPADLS; i++) {
		if (p->gpadl[i].id == id)
			return &p->gpadl[i];
	}
	fail_msg("an action for a GPADL that is gone");
	return NULL;
}

/* By contract each request ends exactly once, with an answer or with the rescind. */
static void client_action(struct pair *p, const struct vmbus_client_action *a)
{
	struct guest_gpadl *g;

	switch (a->type) {
	case VMBUS_CLIENT_POST:
		put(&p->to_server, a->message.data, a->message.size);
		break;
	case VMBUS_CLIENT_OFFER:
		*channel_of(p, 0) = (struct guest_channel){.id = a->channel};
		break;
	case VMBUS_CLIENT_OPEN_RESULT:
		assert_true(channel_of(p, a->channel)->opening);
		channel_of(p, a->channel)->opening = false;
		channel_of(p, a->channel)->open = a->status == 0;
		p->opened += a->status == 0;
		break;
	case VMBUS_CLIENT_MODIFY_RESULT:
		assert_true(channel_of(p, a->channel)->modifying);
		channel_of(p, a->channel)->modifying = false;
		break;
	case VMBUS_CLIENT_GPADL_CREATED:
		g = gpadl_of(p, a->gpadl);
		assert_true(g->creating);
		g->creating = false;
		if (a->status)
			g->id = 0;
		p->created += a->status == 0;
		break;
	case VMBUS_CLIENT_GPADL_TORNDOWN:
		g = gpadl_of(p, a->gpadl);
		assert_true(g->deleting);
		*g = (struct guest_gpadl){0};
		p->torn_down++;
		break;
	case VMBUS_CLIENT_RESCIND:
		assert_false(channel_of(p, a->channel)->rescinded);
		assert_false(channel_of(p, a->channel)->opening);
		assert_false(channel_of(p, a->channel)->modifying);
		channel_of(p, a->channel)->rescinded = true;
		for (size_t i = 0; i < GPADLS; i++) {
			if (p->gpadl[i].channel != a->channel)
				continue;
			assert_false(p->gpadl[i].creating || p->gpadl[i].deleting);
			p->gpadl[i] = (struct guest_gpadl){0};
		}
		p->rescinded++;
		break;
	case VMBUS_CLIENT_UNLOADED:
		p->unloaded = true;
		break;
	case VMBUS_CLIENT_CONNECTED:
	case VMBUS_CLIENT_OFFERS_DELIVERED:
	case VMBUS_CLIENT_CONNECTION_MODIFIED:
		break;
	case VMBUS_CLIENT_CONNECT_FAILED:
		fail_msg("the contact failed");
	}
}

static void take_client(struct pair *p)
{
	struct vmbus_client_action a;

	while (vmbus_client_next_action(p->c, &a))
		client_action(p, &a);
	assert_null(vmbus_client_check(p->c));
}

static void driver_creates(struct pair *p, struct guest_channel *ch)
{
	uint32_t pages = 1 + chance(p, 70);
	uint64_t words[72] = {pages * 4096};
	struct guest_gpadl *g = NULL;
	uint32_t id;

	for (size_t i = 0; i < GPADLS; i++)
		g = p->gpadl[i].id ? g : &p->gpadl[i];
	if (!g || vmbus_client_gpadl_create(p->c, ch->id, words, pages + 1, 1, 0, &id))
		return;
	*g = (struct guest_gpadl){.channel = ch->id, .id = id, .creating = true};
}

static void driver_deletes(struct pair *p)
{
	struct guest_gpadl *g = &p->gpadl[chance(p, GPADLS)];

	if (g->id && vmbus_client_gpadl_teardown(p->c, g->channel, g->id) == VMBUS_OK)
		g->deleting = true;
}

static void driver_opens(struct pair *p, struct guest_channel *ch)
{
	struct vmbus_client_open o = {.target_vp = 1, .downstream_page = 2 + chance(p, 9)};

	for (size_t i = 0; i < GPADLS; i++) {
		if (p->gpadl[i].channel == ch->id && p->gpadl[i].id)
			o.ring_gpadl = p->gpadl[i].id;
	}
	if (vmbus_client_open(p->c, ch->id, &o) == VMBUS_OK)
		ch->opening = true;
}

static void driver_acts(struct pair *p)
{
	struct guest_channel *ch = &p->channel[chance(p, 7)];

	if (!ch->id)
		return;
	switch (chance(p, 8)) {
	case 0:
	case 1:
		driver_creates(p, ch);
		break;
	case 2:
		driver_deletes(p);
		break;
	case 3:
	case 4:
		driver_opens(p, ch);
		break;
	case 5:
		if (vmbus_client_close(p->c, ch->id) == VMBUS_OK)
			ch->open = false;
		break;
	case 6:
		if (vmbus_client_modify(p->c, ch->id, chance(p, 4)) == VMBUS_OK)
			ch->modifying = true;
		break;
	case 7:
		if (vmbus_client_release(p->c, ch->id) == VMBUS_OK)
			*ch = (struct guest_channel){0};
		break;
	}
	take_client(p);
}

static void deliver_to_client(struct pair *p)
{
	const struct raw *r = &p->to_client.messages[p->to_client.head++ % PIPE];

	vmbus_client_receive(p->c, r->b, r->n);
	take_client(p);
}

/* ---- both ---- */

static bool waiting(const struct pipe *pipe)
{
	return pipe->head != pipe->tail;
}

static void step(struct pair *p)
{
	switch (chance(p, 10)) {
	case 0:
		if (chance(p, 16) == 0)
			device_acts(p);
		break;
	case 1:
	case 2:
	case 3:
		driver_acts(p);
		break;
	case 4:
	case 5:
		if (p->owed_count)
			answer(p, chance(p, (uint32_t)p->owed_count));
		break;
	case 6:
	case 7:
		if (waiting(&p->to_server))
			deliver_to_server(p);
		break;
	default:
		if (waiting(&p->to_client))
			deliver_to_client(p);
		break;
	}
}

static void settle(struct pair *p)
{
	for (int i = 0; i < 100000; i++) {
		if (waiting(&p->to_server))
			deliver_to_server(p);
		else if (waiting(&p->to_client))
			deliver_to_client(p);
		else if (p->owed_count)
			answer(p, chance(p, (uint32_t)p->owed_count));
		else
			return;
	}
	fail_msg("it does not come to rest");
}

/* The teardown of an open channel's ring waits for this. */
static void close_all(struct pair *p)
{
	for (size_t i = 0; i < CHANNELS; i++) {
		if (p->channel[i].open)
			assert_int_equal(vmbus_client_close(p->c, p->channel[i].id), VMBUS_OK);
		p->channel[i].open = false;
	}
	take_client(p);
	settle(p);
}

static void nothing_is_pending(const struct pair *p)
{
	for (size_t i = 0; i < CHANNELS; i++)
		assert_false(p->channel[i].opening || p->channel[i].modifying);
	for (size_t i = 0; i < GPADLS; i++)
		assert_false(p->gpadl[i].creating || p->gpadl[i].deleting);
}

/* All devices go; the drivers let go; the ids are back with the server. */
static void part(struct pair *p)
{
	for (size_t n = 0; n < DEVICES_MAX; n++) {
		if (p->offer[n])
			assert_int_equal(vmbus_server_revoke(p->s, p->offer[n]), VMBUS_OK);
	}
	take_server(p);
	settle(p);
	for (size_t i = 0; i < CHANNELS; i++) {
		if (!p->channel[i].id)
			continue;
		assert_true(p->channel[i].rescinded);
		assert_int_equal(vmbus_client_release(p->c, p->channel[i].id), VMBUS_OK);
		p->channel[i].id = 0;
	}
	take_client(p);
	settle(p);
}

static void no_nonsense_was_said(const struct pair *p)
{
	const struct vmbus_server_stats *s = vmbus_server_statistics(p->s);
	const struct vmbus_client_stats *c = vmbus_client_statistics(p->c);

	assert_int_equal(s->dropped_short + s->dropped_type + s->dropped_direction +
				 s->dropped_version + s->dropped_vtl + s->dropped_busy,
			 0);
	assert_int_equal(c->ignored_short + c->ignored_type + c->ignored_offers + c->ignored_busy +
				 c->released_offers,
			 0);
}

static void begin(struct pair *p, uint64_t seed, uint32_t version)
{
	struct vmbus_server_config sc = {.vp_count = 4, .max_version = version};
	struct vmbus_client_config cc = {0};

	memset(p, 0, sizeof(*p));
	p->seed = seed;
	p->server_heap.allowed = p->client_heap.allowed = SIZE_MAX;
	sc.allocator = heap_allocator(&p->server_heap);
	cc.allocator = heap_allocator(&p->client_heap);
	p->to_server.messages = calloc(PIPE, sizeof(struct raw));
	p->to_client.messages = calloc(PIPE, sizeof(struct raw));
	p->s = vmbus_server_create(&sc);
	p->c = vmbus_client_create(&cc);
	assert_true(p->s && p->c && p->to_server.messages && p->to_client.messages);
	assert_int_equal(vmbus_client_connect(p->c), VMBUS_OK);
	take_client(p);
	settle(p);
	assert_int_equal(vmbus_client_state(p->c), VMBUS_CLIENT_STATE_CONNECTED);
	assert_int_equal(vmbus_client_version(p->c), version);
}

static void end(struct pair *p)
{
	vmbus_server_destroy(p->s);
	vmbus_client_destroy(p->c);
	assert_int_equal(p->server_heap.live, 0);
	assert_int_equal(p->client_heap.live, 0);
	free(p->to_server.messages);
	free(p->to_client.messages);
}

/* Fewer than it takes for every crossing would prove little; these counts see all of them often. */
static void field_012_everything_comes_to_rest(void **state)
{
	static const uint32_t versions[] = {0x60000, 0x50003, 0x50002, 0x40001, 0x20004};
	unsigned int opened = 0, created = 0, rescinded = 0, torn_down = 0;
	struct pair *p = malloc(sizeof(*p));

	assert_non_null(p);
	for (uint64_t seed = 1; seed <= 30; seed++) {
		size_t baseline;

		begin(p, seed, versions[seed % 5]);
		baseline = p->server_heap.live;
		for (int i = 0; i < 4000; i++)
			step(p);
		settle(p);
		close_all(p);
		nothing_is_pending(p);
		part(p);
		assert_int_equal(p->server_heap.live, baseline);
		no_nonsense_was_said(p);
		/* No answer came for a channel that the client had given back. */
		assert_int_equal(vmbus_client_statistics(p->c)->ignored_unknown, 0);
		assert_int_equal(vmbus_client_statistics(p->c)->ignored_state, 0);
		opened += p->opened;
		created += p->created;
		rescinded += p->rescinded;
		torn_down += p->torn_down;
		assert_int_equal(vmbus_client_unload(p->c), VMBUS_OK);
		take_client(p);
		settle(p);
		assert_true(p->unloaded);
		assert_int_equal(vmbus_server_state(p->s), VMBUS_SERVER_STATE_DISCONNECTED);
		end(p);
	}
	free(p);
	assert_true(opened > 100 && created > 500 && rescinded > 100 && torn_down > 100);
}

/* The same, but the client leaves in the middle of everything. */
static void an_unload_at_any_moment_comes_to_rest(void **state)
{
	struct pair *p = malloc(sizeof(*p));

	assert_non_null(p);
	for (uint64_t seed = 100; seed <= 130; seed++) {
		begin(p, seed, 0x50003);
		for (int i = 0; i < 400 + (int)chance(p, 400); i++)
			step(p);
		assert_int_equal(vmbus_client_unload(p->c), VMBUS_OK);
		take_client(p);
		settle(p);
		assert_true(p->unloaded);
		nothing_is_pending(p);
		assert_int_equal(vmbus_server_state(p->s), VMBUS_SERVER_STATE_DISCONNECTED);
		no_nonsense_was_said(p);
		/* And comes back. */
		assert_int_equal(vmbus_client_connect(p->c), VMBUS_OK);
		take_client(p);
		settle(p);
		assert_int_equal(vmbus_client_state(p->c), VMBUS_CLIENT_STATE_CONNECTED);
		end(p);
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(field_012_everything_comes_to_rest),
		cmocka_unit_test(an_unload_at_any_moment_comes_to_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
