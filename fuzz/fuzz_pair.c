/* SPDX-License-Identifier: MIT */
/*
 * The server against the client, with the wire between them and owners at either end who answer
 * late or badly. What the wire allows, and so what the middle does:
 *
 * - The two directions know nothing of each other; each keeps its order. A message posted by the
 *   client may be refused and is tried again; the server leaves messages where they are while it
 *   has actions to take.
 * - A contact may be refused for want of its port; the client then steps down.
 * - A host that repeats itself is understood: the repetition is ignored. Not so its answer to a
 *   contact, which says nothing of what it answers and may pass for the answer to the next. Of the
 *   client's messages those may come twice that ask for what is asked already.
 * - The host may be saved between any two calls and go on as another, with its devices or without.
 * - The machine may be reset: both ends forget what is in flight. Or the guest alone may begin
 *   again (a crash kernel), with the old messages still on their way, or give up an unload.
 * - A host in trouble loses a message. Then the guest has to begin again; nothing else helps.
 *
 * After each call the invariants of both ends hold. In the end everything is delivered and
 * answered: no request waits, both ends mean the same channels and GPADLs in the same states, the
 * client reaches "unloaded", and nothing is left of anything.
 */
#include "device.h"
#include "driver.h"
#include "vmbus/client_internal.h"
#include "vmbus/server_internal.h"
#include "witness.h"

#define PIPE   8192u
#define SETTLE 200000

struct letter {
	uint32_t port;
	uint8_t size;
	uint8_t bytes[VMBUS_MAX_MESSAGE];
};

struct pipe {
	struct letter *letters; /* PIPE of them */
	size_t head, tail;
};

struct pair {
	struct fuzz_heap server_heap, client_heap;
	struct vmbus_server_config config;
	struct devices d;
	struct drivers g;
	struct witness w;
	struct pipe to_server, to_client;
	bool begun_again; /* what belongs to the old guest may meet the new one */
	bool lost;        /* a message: nobody knows what waits for it */
	bool repeated;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the middle ---- */

static void put(struct pipe *p, uint32_t port, const uint8_t *bytes, uint8_t size)
{
	struct letter *l = &p->letters[p->tail++ % PIPE];

	must(p->tail - p->head <= PIPE, "more messages than anything can cause");
	l->port = port;
	l->size = size;
	memcpy(l->bytes, bytes, size);
}

static bool waiting(const struct pipe *p)
{
	return p->head != p->tail;
}

static struct letter *head(struct pipe *p)
{
	return waiting(p) ? &p->letters[p->head % PIPE] : NULL;
}

static void clear(struct pipe *p)
{
	p->head = p->tail;
}

static void server_posted(void *ctx, const struct vmbus_server_action *a)
{
	struct pair *p = ctx;

	must(!a->message.unqueued, "a message to a target that no client named");
	if (!p->d.lawless)
		witness_server(&p->w, a->message.data, a->message.size, false);
	put(&p->to_client, 0, a->message.data, a->message.size);
}

static void server_disconnected(void *ctx)
{
	struct pair *p = ctx;

	witness_disconnected(&p->w);
}

static void client_posted(void *ctx, const struct vmbus_client_action *a)
{
	struct pair *p = ctx;

	put(&p->to_server, a->message.connection_id, a->message.data, a->message.size);
}

static void take_all(struct pair *p)
{
	devices_take(&p->d, UINT32_MAX);
	drivers_take(&p->g, UINT32_MAX);
}

/* False: nothing is there, or the server does not take it now. */
static bool to_server(struct pair *p)
{
	const struct letter *l = head(&p->to_server);

	if (!l || !vmbus_server_ready(p->d.s))
		return false;
	p->to_server.head++;
	trace_message("server gets", l->bytes, l->size);
	witness_client(&p->w, l->bytes, l->size);
	vmbus_server_receive(p->d.s, l->port, l->bytes, l->size);
	devices_check(&p->d);
	return true;
}

static bool to_client(struct pair *p)
{
	const struct letter *l = head(&p->to_client);

	if (!l)
		return false;
	p->to_client.head++;
	trace_message("client gets", l->bytes, l->size);
	vmbus_client_receive(p->g.c, l->bytes, l->size);
	drivers_check(&p->g);
	return true;
}

/* The next message comes a second time. Contacts, GPADLs and releases would mean something new. */
static void repeat_to_server(struct pair *p)
{
	const struct letter *l = head(&p->to_server);

	if (!l || !vmbus_server_ready(p->d.s))
		return;
	switch ((enum vmbus_message_type)vmbus_get32(l->bytes)) {
	case VMBUS_MSG_REQUEST_OFFERS:
	case VMBUS_MSG_OPEN_CHANNEL:
	case VMBUS_MSG_CLOSE_CHANNEL:
	case VMBUS_MSG_GPADL_TEARDOWN:
	case VMBUS_MSG_UNLOAD:
		p->repeated = true;
		to_server(p);
		witness_client(&p->w, l->bytes, l->size);
		vmbus_server_receive(p->d.s, l->port, l->bytes, l->size);
		devices_check(&p->d);
		break;
	default:
		break;
	}
}

static void repeat_to_client(struct pair *p)
{
	const struct letter *l = head(&p->to_client);

	if (!l || vmbus_get32(l->bytes) == VMBUS_MSG_VERSION_RESPONSE)
		return;
	p->repeated = true;
	to_client(p);
	/* What was handed back for want of memory would be offered anew. */
	if (vmbus_get32(l->bytes) == VMBUS_MSG_OFFER_CHANNEL &&
	    vmbus_client_statistics(p->g.c)->released_offers)
		return;
	vmbus_client_receive(p->g.c, l->bytes, l->size);
	drivers_check(&p->g);
}

static void lose(struct pair *p, struct pipe *pipe)
{
	if (!waiting(pipe))
		return;
	pipe->head++;
	p->lost = true;
}

/* A host without that port: the client is told and goes one version down. */
static void refuse_contact(struct pair *p)
{
	const struct letter *l = head(&p->to_server);

	if (!l || vmbus_get32(l->bytes) != VMBUS_MSG_INITIATE_CONTACT)
		return;
	p->to_server.head++;
	vmbus_client_post_failed(p->g.c, VMBUS_HV_INVALID_CONNECTION_ID);
	drivers_check(&p->g);
}

/* The machine: nothing in flight survives, and the guest begins anew. */
static void reset_machine(struct pair *p)
{
	devices_reset(&p->d);
	witness_reset(&p->w);
	clear(&p->to_server);
	clear(&p->to_client);
	drivers_lost(&p->g);
	/* What either end had yet to say is of the old guest, too. */
	drivers_take(&p->g, UINT32_MAX);
	clear(&p->to_server);
}

/* The guest alone, as when one kernel starts another. */
static void begin_again(struct pair *p)
{
	drivers_lost(&p->g);
	drivers_take(&p->g, UINT32_MAX);
	p->begun_again = true;
	drivers_connect(&p->g);
}

static void give_up_unload(struct pair *p)
{
	if (vmbus_client_state(p->g.c) != VMBUS_CLIENT_STATE_DISCONNECTING)
		return;
	drivers_lost(&p->g);
	p->begun_again = true;
}

/* ---- rest ---- */

static void settle(struct pair *p)
{
	for (int i = 0; i < SETTLE; i++) {
		bool moved;

		take_all(p);
		moved = to_server(p);
		take_all(p);
		moved |= to_client(p);
		if (moved)
			continue;
		if (!p->d.owed_count)
			return;
		devices_answer(&p->d, 0, true, 0);
	}
	broken("it does not come to rest");
}

static enum client_channel_state at_client(enum channel_state at_server)
{
	switch (at_server) {
	case CHANNEL_CLOSED:
		return CLIENT_OFFERED;
	case CHANNEL_OPEN:
		return CLIENT_OPEN;
	case CHANNEL_REVOKED:
	case CHANNEL_REOFFERED:
		return CLIENT_RESCINDED;
	default:
		broken("a channel that is visible is on its way somewhere");
	}
}

/* Each GPADL of one end is the other's, and usable at both or gone at both. */
static void same_gpadls(const struct channel *s, const struct client_channel *c)
{
	const struct vmbus_gpadl *b = c->gpadls.first;

	for (const struct vmbus_gpadl *a = s->gpadls.first; a; a = a->next) {
		must(b && a->id == b->id, "a GPADL that only one end knows");
		must(a->state == VMBUS_GPADL_ACCEPTED, "a GPADL is on its way somewhere");
		must(b->state == (c->state == CLIENT_RESCINDED ? VMBUS_GPADL_GONE
							       : VMBUS_GPADL_CREATED),
		     "the ends disagree about a GPADL");
		b = b->next;
	}
	/* A host forgets at once what it had yet to answer when it rescinds. */
	must(!b || c->state == CLIENT_RESCINDED, "a GPADL that only one end knows");
}

static void same_channels(const struct pair *p)
{
	const struct vmbus_server *s = p->d.s;
	const struct vmbus_client *c = p->g.c;

	for (uint32_t relid = 0; relid <= VMBUS_MAX_CHANNEL; relid++) {
		const struct channel *a = s->by_relid[relid];
		const struct client_channel *b = c->by_relid[relid];

		must(!a == !b, "a channel that only one end knows");
		if (!a)
			continue;
		must(b->state == at_client(a->state), "the ends disagree about a channel");
		must(!b->modifying && !b->gpadls_owed && !a->modifying, "an answer is owed");
		if (b->state != CLIENT_RESCINDED)
			same_gpadls(a, b);
	}
}

static void agree(const struct pair *p)
{
	must(vmbus_client_state(p->g.c) == VMBUS_CLIENT_STATE_CONNECTED &&
		     vmbus_server_state(p->d.s) == VMBUS_SERVER_STATE_CONNECTED,
	     "the ends do not find each other");
	must(vmbus_client_version(p->g.c) == vmbus_server_version(p->d.s) &&
		     vmbus_client_features(p->g.c) == vmbus_server_features(p->d.s),
	     "the ends disagree about the connection");
	drivers_rest(&p->g);
	same_channels(p);
}

/*
 * With nothing lost and nothing old about, neither end says anything that the other cannot use. An
 * old answer to a contact is another matter: it does not tell what it answers.
 */
static void no_nonsense(const struct pair *p)
{
	const struct vmbus_server_stats *s = vmbus_server_statistics(p->d.s);
	const struct vmbus_client_stats *c = vmbus_client_statistics(p->g.c);

	must(!(s->dropped_type | s->dropped_direction | s->dropped_busy | s->dropped_paused |
	       c->ignored_short | c->ignored_type | c->ignored_busy),
	     "one end says what nobody can use");
	if (p->begun_again || p->lost)
		return;
	must(!(s->dropped_short | s->dropped_version | s->dropped_vtl | c->ignored_offers) ||
		     p->repeated,
	     "one end says what the other cannot use");
	/* An offer that the client hands back may cross its rescind. */
	must(!c->ignored_unknown || c->released_offers || p->repeated,
	     "an answer comes when its channel is gone");
}

/* What the wire cannot repair a new connection does; the rest is in order without one. */
static void connect(struct pair *p)
{
	if (p->lost || p->begun_again)
		drivers_lost(&p->g);
	settle(p);
	drivers_release_all(&p->g);
	settle(p);
	if (vmbus_client_state(p->g.c) == VMBUS_CLIENT_STATE_DISCONNECTED) {
		drivers_connect(&p->g);
		settle(p);
	}
}

static void part(struct pair *p)
{
	drivers_unload(&p->g);
	settle(p);
	must(vmbus_client_state(p->g.c) == VMBUS_CLIENT_STATE_DISCONNECTED &&
		     vmbus_server_state(p->d.s) == VMBUS_SERVER_STATE_DISCONNECTED,
	     "the unload does not end");
	drivers_rest(&p->g);
	drivers_release_all(&p->g);
	must(!p->d.s->gpadls.count && !p->g.c->gpadls.count && !p->g.c->channel_count,
	     "something outlives the unload");
	for (unsigned int n = 0; n < DEVICES; n++)
		devices_revoke(&p->d, n);
	must(!p->d.s->channel_count, "a channel outlives its device");
}

/* ---- steps ---- */

enum operation {
	TO_SERVER,
	TO_CLIENT,
	REPEAT_TO_SERVER,
	REPEAT_TO_CLIENT,
	LOSE,
	REFUSE_CONTACT,
	RESET,
	BEGIN_AGAIN,
	GIVE_UP_UNLOAD,
	DELIVER_ALL,
	OFFER,
	REVOKE,
	ANSWER,
	ANSWER_WELL,
	PROMPT,
	CONNECT,
	CREATE,
	TEARDOWN,
	OPEN,
	CLOSE,
	MODIFY,
	RELEASE,
	MOVE_PAGES,
	UNLOAD,
	BRING_UP,
	NO_MEMORY,
	QUERY,
	SAVE,
	OPERATIONS,
};

static void bring_up(struct pair *p, const struct step *step)
{
	drivers_connect(&p->g);
	settle(p);
	drivers_create(&p->g, &(struct step){.a = step->a, .c = 4 + step->c % 64});
	settle(p);
	drivers_open(&p->g, &(struct step){.a = step->a, .b = 1, .d = step->d});
	if (!(step->b & 0x80))
		settle(p);
}

/* False: it is a driver's. */
static bool middle_step(struct pair *p, enum operation op, const struct step *step)
{
	switch (op) {
	case TO_SERVER:
		for (unsigned int n = 0; n <= (step->a & 7u) && to_server(p); n++)
			devices_take(&p->d, step->b & 1 ? 0 : UINT32_MAX);
		return true;
	case TO_CLIENT:
		for (unsigned int n = 0; n <= (step->a & 7u) && to_client(p); n++)
			drivers_take(&p->g, step->b & 1 ? 0 : UINT32_MAX);
		return true;
	case REPEAT_TO_SERVER:
		repeat_to_server(p);
		return true;
	case REPEAT_TO_CLIENT:
		repeat_to_client(p);
		return true;
	case LOSE:
		lose(p, step->a & 1 ? &p->to_server : &p->to_client);
		return true;
	case REFUSE_CONTACT:
		refuse_contact(p);
		return true;
	case RESET:
		reset_machine(p);
		return true;
	case BEGIN_AGAIN:
		begin_again(p);
		return true;
	case GIVE_UP_UNLOAD:
		give_up_unload(p);
		return true;
	case DELIVER_ALL:
		settle(p);
		return true;
	case BRING_UP:
		bring_up(p, step);
		return true;
	case SAVE:
		p->server_heap.fail_in = 0;
		devices_restore(&p->d, &p->config, step);
		return true;
	case NO_MEMORY:
		(step->b & 1 ? &p->server_heap : &p->client_heap)->fail_in = step->a & 3;
		return true;
	default:
		return false;
	}
}

static void owner_step(struct pair *p, enum operation op, const struct step *step)
{
	switch (op) {
	case OFFER:
		devices_offer(&p->d, step);
		break;
	case REVOKE:
		devices_revoke(&p->d, step->a);
		break;
	case ANSWER:
		devices_answer(&p->d, step->a, step->b & 1, step->d);
		break;
	case ANSWER_WELL:
		devices_answer(&p->d, step->a, true, 0);
		break;
	case PROMPT:
		p->d.prompt = step->a & 1;
		p->g.letting_go = step->a & 2;
		break;
	case CONNECT:
		drivers_connect(&p->g);
		break;
	case CREATE:
		drivers_create(&p->g, step);
		break;
	case TEARDOWN:
		drivers_teardown(&p->g, step->a);
		break;
	case OPEN:
		drivers_open(&p->g, step);
		break;
	case CLOSE:
		drivers_close(&p->g, step->a);
		break;
	case MODIFY:
		drivers_modify(&p->g, step->a, step->b & 7);
		break;
	case RELEASE:
		drivers_release(&p->g, step->a);
		break;
	case MOVE_PAGES:
		drivers_move_pages(&p->g, step->a & 1);
		break;
	case UNLOAD:
		drivers_unload(&p->g);
		break;
	case QUERY:
		devices_query(&p->d);
		drivers_query(&p->g);
		break;
	default:
		break;
	}
}

static void run_step(struct pair *p, const struct step *step)
{
	enum operation op = (enum operation)((step->op & 0x7f) % OPERATIONS);

	if (!middle_step(p, op, step))
		owner_step(p, op, step);
	devices_check(&p->d);
	drivers_check(&p->g);
	if (!(step->op & 0x80)) /* now and then the owners are late */
		take_all(p);
}

/* ---- a run ---- */

static struct vmbus_server *a_server(struct pair *p, const uint8_t *how)
{
	struct vmbus_server_config config = {
		.max_version = how[0] ? vmbus_versions[how[0] % vmbus_version_count] : 0,
		.features = how[1] ^ 0xff,
		.vp_count = 1 + (how[2] & 7u) % 5,
		.trusted = how[3] & 1,
		.redirect_sint = how[3] & 2 ? 5 : 0,
		.monitor_child_to_parent = how[3] & 4 ? 0x3000 : 0,
		.limits = {.channels = how[4] & 1 ? 3 : 12,
			   .gpadls = how[4] & 2 ? 3 : 24,
			   .gpadl_pages = how[4] & 4 ? 100 : 9000,
			   .hvsock = 1},
		.allocator = {fuzz_alloc, fuzz_free, &p->server_heap}};

	p->config = config;
	return vmbus_server_create(&config);
}

static struct vmbus_client *a_client(struct pair *p, const uint8_t *how)
{
	struct vmbus_client_config config = {
		.max_version = how[8] ? vmbus_versions[how[8] % vmbus_version_count] : 0,
		.features = how[9] ^ 0xff,
		.interrupt_page = 0x4000,
		.contact_connection_id = how[10] & 8 ? 1 : 0,
		.limits = {.channels = how[10] & 1 ? 3 : 12, .gpadls = how[10] & 2 ? 3 : 24},
		.first_gpadl_id = how[10] & 4 ? 0xfffffffd : 0,
		.allocator = {fuzz_alloc, fuzz_free, &p->client_heap}};

	if (how[11] & 1) {
		config.monitor_parent_to_child = 0x1000;
		config.monitor_child_to_parent = 0x2000;
	}
	return vmbus_client_create(&config);
}

static void begin(struct pair *p, const uint8_t *how)
{
	static struct letter letters[2][PIPE];

	p->to_server.letters = letters[0];
	p->to_client.letters = letters[1];
	p->d.s = a_server(p, how);
	p->g.c = a_client(p, how);
	if (!p->d.s || !p->g.c)
		abort();
	p->d.vps = 1 + (how[2] & 7u) % 5;
	p->d.prompt = how[3] & 8;
	p->d.posted = server_posted;
	p->d.disconnected = server_disconnected;
	p->d.ctx = p;
	p->g.letting_go = how[11] & 2;
	p->g.posted = client_posted;
	p->g.ctx = p;
	for (uint8_t n = 0; n < (how[5] & 7); n++)
		devices_offer(&p->d, &(struct step){.a = n, .b = how[6]});
}

static void end(struct pair *p)
{
	p->server_heap.fail_in = 0;
	p->client_heap.fail_in = 0;
	devices_restored(&p->d);
	settle(p);
	connect(p);
	drivers_close_all(&p->g);
	settle(p);
	agree(p);
	no_nonsense(p);
	part(p);
	vmbus_server_destroy(p->d.s);
	vmbus_client_destroy(p->g.c);
	must(!p->server_heap.live && !p->client_heap.live, "memory outlives its owner");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pair *p = calloc(1, sizeof(*p));
	struct steps in;
	struct step step;

	if (!p)
		abort();
	steps_begin(&in, data, size);
	begin(p, in.config);
	while (steps_next(&in, &step))
		run_step(p, &step);
	end(p);
	free(p);
	return 0;
}
