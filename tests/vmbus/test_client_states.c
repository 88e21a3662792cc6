/* SPDX-License-Identifier: MIT */
/*
 * Every cell of the client's two state tables. The letters of what came out: K contact, Q
 * REQUEST_OFFERS, P OPEN, C CLOSE, L RELID_RELEASED, U UNLOAD; for the owner c connected, f connect
 * failed, o offer, d offers delivered, s rescind, r open result 0, x open result failure, u
 * unloaded.
 */
#include "control.h"

#include "vmbus/client_internal.h"

#define GOOD 0x00050003u

struct guest {
	struct heap heap;
	struct vmbus_client *c;
	vmbus_channel_id ch;
	uint32_t ring, open_id;
	enum vmbus_status status; /* of the latest call */
};

static char letter(struct guest *g, const struct vmbus_client_action *a)
{
	switch (a->type) {
	case VMBUS_CLIENT_POST:
		switch (get32(a->message.data, 0)) {
		case 3:
			return 'Q';
		case 5:
			g->open_id = get32(a->message.data, 12);
			return 'P';
		case 7:
			return 'C';
		case 8:
			g->ring = get32(a->message.data, 12);
			return 'G';
		case 13:
			return 'L';
		case 14:
			return 'K';
		case 16:
			return 'U';
		}
		return '?';
	case VMBUS_CLIENT_CONNECTED:
		return 'c';
	case VMBUS_CLIENT_CONNECT_FAILED:
		return 'f';
	case VMBUS_CLIENT_OFFER:
		g->ch = a->channel;
		return 'o';
	case VMBUS_CLIENT_OFFERS_DELIVERED:
		return 'd';
	case VMBUS_CLIENT_RESCIND:
		return 's';
	case VMBUS_CLIENT_OPEN_RESULT:
		return a->status ? 'x' : 'r';
	case VMBUS_CLIENT_GPADL_CREATED:
		return 'g';
	case VMBUS_CLIENT_GPADL_TORNDOWN:
		return 't';
	case VMBUS_CLIENT_MODIFY_RESULT:
		return 'm';
	case VMBUS_CLIENT_CONNECTION_MODIFIED:
		return 'p';
	case VMBUS_CLIENT_UNLOADED:
		return 'u';
	}
	return '?';
}

static const char *outcome(struct guest *g)
{
	static char text[32];
	struct vmbus_client_action a;
	size_t n = 0;

	assert_null(vmbus_client_check(g->c));
	while (n + 1 < sizeof(text) && vmbus_client_next_action(g->c, &a))
		text[n++] = letter(g, &a);
	text[n] = 0;
	assert_null(vmbus_client_check(g->c));
	return text;
}

static void host(struct guest *g, struct raw r)
{
	vmbus_client_receive(g->c, r.b, r.n);
}

static void begin(struct guest *g, uint32_t min_version)
{
	struct vmbus_client_config config = {.max_version = GOOD, .min_version = min_version};

	vmbus_client_destroy(g->c);
	assert_int_equal(g->heap.live, 0);
	g->heap.allowed = SIZE_MAX;
	config.allocator = heap_allocator(&g->heap);
	g->c = vmbus_client_create(&config);
	assert_non_null(g->c);
}

static void end(struct guest *g)
{
	vmbus_client_destroy(g->c);
	assert_int_equal(g->heap.live, 0);
}

static void compare(const char *where, const char *event, const char *cell, const char *letters,
		    const char *now)
{
	char got[64];

	snprintf(got, sizeof(got), "%s:%s", letters, now);
	if (strcmp(got, cell) != 0)
		fail_msg("%s in %s gives %s, not %s", event, where, got, cell);
}

/* ---- the connection: D disconnected, C connecting, R requesting offers, K connected, X leaving
 * ---- */

enum conn_event {
	CONNECT,
	VERSION_OK,
	VERSION_NO,
	VERSION_FAILED,
	NO_SUCH_PORT,
	OFFER,
	ALL_OFFERS,
	RESCIND_NOTHING,
	UNLOAD,
	UNLOAD_COMPLETE,
	LOST,
	CONN_EVENTS,
};

static const char *const conn_event_names[CONN_EVENTS] = {"connect",
							  "VERSION_RESPONSE ok",
							  "VERSION_RESPONSE unsupported",
							  "VERSION_RESPONSE failed",
							  "invalid connection id",
							  "OFFER",
							  "ALL_OFFERS_DELIVERED",
							  "RESCIND",
							  "unload",
							  "UNLOAD_COMPLETE",
							  "loss"};

static const char conn_states[] = "DCRKX";

static const char *const connection_table[CONN_EVENTS][5] = {
	/* clang-format off */
	[CONNECT] =	    {"K:C", "!:C", "!:R", "!:K", "!:X"},
	[VERSION_OK] =	    {":D", "Qc:R", ":R", ":K", ":X"},
	[VERSION_NO] =	    {":D", "K:C", ":R", ":K", ":X"},
	[VERSION_FAILED] =  {":D", "f:D", ":R", ":K", ":X"},
	[NO_SUCH_PORT] =    {":D", "K:C", ":R", ":K", ":X"},
	[OFFER] =	    {":D", ":C", "o:R", "o:K", ":X"},
	[ALL_OFFERS] =	    {":D", ":C", "d:K", ":K", ":X"},
	[RESCIND_NOTHING] = {":D", ":C", ":R", ":K", ":X"},
	[UNLOAD] =	    {"u:D", "!:C", "U:X", "U:X", ":X"},
	[UNLOAD_COMPLETE] = {":D", ":C", ":R", ":K", "u:D"},
	[LOST] =	    {":D", "f:D", ":D", ":D", "u:D"},
	/* clang-format on */
};

static void enter_connection(struct guest *g, char state)
{
	begin(g, 0);
	if (state == 'D')
		return;
	vmbus_client_connect(g->c);
	if (state != 'C')
		host(g, raw_version_ok(1));
	if (state == 'K' || state == 'X')
		host(g, raw(4, 8));
	if (state == 'X')
		vmbus_client_unload(g->c);
	outcome(g);
}

static void happen_to_connection(struct guest *g, enum conn_event event)
{
	g->status = VMBUS_OK;
	switch (event) {
	case CONNECT:
		g->status = vmbus_client_connect(g->c);
		break;
	case VERSION_OK:
		host(g, raw_version_ok(1));
		break;
	case VERSION_NO:
		host(g, raw(15, 16));
		break;
	case VERSION_FAILED:
		host(g, raw_version_failed(1));
		break;
	case NO_SUCH_PORT:
		vmbus_client_post_failed(g->c, 18);
		break;
	case OFFER:
		host(g, raw_offer(0, 1));
		break;
	case ALL_OFFERS:
		host(g, raw(4, 8));
		break;
	case RESCIND_NOTHING:
		host(g, raw_one(2, 12, 1));
		break;
	case UNLOAD:
		g->status = vmbus_client_unload(g->c);
		break;
	case UNLOAD_COMPLETE:
		host(g, raw(17, 8));
		break;
	case LOST:
		vmbus_client_lost(g->c);
		break;
	case CONN_EVENTS:
		break;
	}
}

static void every_cell_of_the_connection_table(void **state)
{
	struct guest g = {0};

	for (int event = 0; event < CONN_EVENTS; event++) {
		for (int from = 0; from < 5; from++) {
			char where[2] = {conn_states[from], 0}, now[2] = {0};
			const char *letters;

			enter_connection(&g, conn_states[from]);
			assert_int_equal(conn_states[vmbus_client_state(g.c)], conn_states[from]);
			happen_to_connection(&g, (enum conn_event)event);
			letters = outcome(&g);
			now[0] = conn_states[vmbus_client_state(g.c)];
			compare(where, conn_event_names[event], connection_table[event][from],
				g.status ? "!" : letters, now);
		}
	}
	end(&g);
}

/* After the last version the attempt fails. */
static void the_last_version_is_the_last(void **state)
{
	struct guest g = {0};

	for (int event = VERSION_NO; event <= NO_SUCH_PORT; event++) {
		begin(&g, GOOD);
		vmbus_client_connect(g.c);
		outcome(&g);
		happen_to_connection(&g, (enum conn_event)event);
		assert_string_equal(outcome(&g), "f");
		assert_int_equal(vmbus_client_state(g.c), VMBUS_CLIENT_STATE_DISCONNECTED);
	}
	end(&g);
}

/* ---- channels ---- */

enum event {
	OPEN,
	RESULT_OK,
	RESULT_FAIL,
	RESULT_FOREIGN,
	CLOSE,
	RESCIND,
	RELEASE,
	OFFER_LIVE,
	CONNECTION_LOST,
	EVENTS,
};

static const char *const event_names[EVENTS] = {"open",
						"OPEN_RESULT 0",
						"OPEN_RESULT failure",
						"a foreign OPEN_RESULT",
						"close",
						"RESCIND",
						"release",
						"OFFER with a live id",
						"loss"};

static const char *const state_names[] = {"Offered", "Opening", "Open", "Rescinded"};

static const char *const channel_table[EVENTS][4] = {
	/* clang-format off */
	[OPEN] =	    {"P:Opening", "!:Opening", "!:Open", "!:Rescinded"},
	[RESULT_OK] =	    {":Offered", "r:Open", ":Open", ":Rescinded"},
	[RESULT_FAIL] =	    {":Offered", "x:Offered", ":Open", ":Rescinded"},
	[RESULT_FOREIGN] =  {":Offered", ":Opening", ":Open", ":Rescinded"},
	[CLOSE] =	    {":Offered", "!:Opening", "C:Offered", ":Rescinded"},
	[RESCIND] =	    {"s:Rescinded", "xs:Rescinded", "s:Rescinded", ":Rescinded"},
	[RELEASE] =	    {"!:Offered", "!:Opening", "!:Open", "L:none"},
	[OFFER_LIVE] =	    {":Offered", ":Opening", ":Open", ":Rescinded"},
	[CONNECTION_LOST] = {"s:Rescinded", "xs:Rescinded", "s:Rescinded", ":Rescinded"},
	/* clang-format on */
};

static void open_it(struct guest *g)
{
	struct vmbus_client_open o = {.ring_gpadl = g->ring, .downstream_page = 2};

	g->status = vmbus_client_open(g->c, g->ch, &o);
}

static void enter(struct guest *g, enum client_channel_state state)
{
	static const uint64_t words[] = {4 * 4096, 1, 2, 3, 4};
	uint32_t id;

	begin(g, 0);
	vmbus_client_connect(g->c);
	host(g, raw_version_ok(1));
	host(g, raw_offer(0, 1));
	outcome(g);
	vmbus_client_gpadl_create(g->c, g->ch, words, 5, 1, 0, &id);
	outcome(g);
	host(g, raw_created(1, g->ring, 0));
	if (state == CLIENT_OPENING || state == CLIENT_OPEN)
		open_it(g);
	outcome(g);
	if (state == CLIENT_OPEN)
		host(g, raw_open_result(1, g->open_id, 0));
	if (state == CLIENT_RESCINDED)
		host(g, raw_one(2, 12, 1));
	outcome(g);
}

static void happen(struct guest *g, enum event event)
{
	g->status = VMBUS_OK;
	switch (event) {
	case OPEN:
		open_it(g);
		break;
	case RESULT_OK:
		host(g, raw_open_result(1, g->open_id, 0));
		break;
	case RESULT_FAIL:
		host(g, raw_open_result(1, g->open_id, 0x8000ffff));
		break;
	case RESULT_FOREIGN:
		host(g, raw_open_result(1, g->open_id + 1, 0));
		break;
	case CLOSE:
		g->status = vmbus_client_close(g->c, g->ch);
		break;
	case RESCIND:
		host(g, raw_one(2, 12, 1));
		break;
	case RELEASE:
		g->status = vmbus_client_release(g->c, g->ch);
		break;
	case OFFER_LIVE:
		host(g, raw_offer(3, 1));
		break;
	case CONNECTION_LOST:
		vmbus_client_lost(g->c);
		break;
	case EVENTS:
		break;
	}
}

static void every_cell_of_the_channel_table(void **state)
{
	struct guest g = {0};

	for (int event = 0; event < EVENTS; event++) {
		for (int from = 0; from < 4; from++) {
			const struct client_channel *ch;
			const char *letters;

			enter(&g, (enum client_channel_state)from);
			assert_int_equal(client_channel(g.c, g.ch)->state, from);
			happen(&g, (enum event)event);
			letters = outcome(&g);
			ch = client_channel(g.c, g.ch);
			compare(state_names[from], event_names[event], channel_table[event][from],
				g.status ? "!" : letters, ch ? state_names[ch->state] : "none");
		}
	}
	end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell_of_the_connection_table),
		cmocka_unit_test(the_last_version_is_the_last),
		cmocka_unit_test(every_cell_of_the_channel_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
