/* SPDX-License-Identifier: MIT */
/*
 * Every cell of the server's three state tables (connection, channel, GPADL): the machine is
 * brought into the state through messages and calls, the event happens, and what came out and where
 * it stands now are compared with the table. Only that last look is taken from the inside.
 */
#include "control.h"

#include "vmbus/server_internal.h"

#define GOOD 0x00050003u

/* ---- channels: one under test, device 0, channel 1 ---- */

enum state {
	R,  /* released by RELID_RELEASED */
	L,  /* closed */
	P,  /* opening */
	O,  /* open */
	G,  /* closing */
	GR, /* closing, to reopen */
	V,  /* revoked */
	F,  /* re-offered */
	GX, /* released while closing */
	PX, /* disconnected while opening */
	RP, /* reserved: opening */
	RO, /* open */
	RG, /* closing */
	STATES,
};

enum event {
	OPEN,
	OPEN_RESERVED,
	OPENED,
	REFUSED,
	CLOSE,
	CLOSE_RESERVED,
	CLOSED,
	MODIFY,
	RELEASE,
	REVOKE,
	OFFER_AGAIN,
	DISCONNECT,
	RESET,
	EVENTS,
};

static const char *const event_names[EVENTS] = {
	"OPEN",           "OPEN_RESERVED",  "device opened",       "device refused",
	"CLOSE",          "CLOSE_RESERVED", "device closed",       "MODIFY",
	"RELID_RELEASED", "revoke",         "device offers again", "disconnect",
	"VM reset"};

static void take_all(struct bench *t)
{
	while (vmbus_server_next_action(t->s, &t->a))
		;
}

static void enter(struct bench *t, enum state state)
{
	bench_restart(t);
	connect_with(t, GOOD, 0, 1);
	switch (state) {
	case L:
		make_gpadl(t, 0, 100, 8);
		return;
	case R:
		post(t, raw_one(13, 12, 1));
		return;
	case P:
		ask_open(t, 0);
		return;
	case RP:
		ask_reserved(t, 0, 3, 7);
		return;
	case RO:
		open_reserved(t, 0);
		return;
	case RG:
		open_reserved(t, 0);
		post(t, raw_close_reserved(1, 4, 9));
		break;
	case PX:
		ask_open(t, 0);
		post(t, raw(16, 8));
		break;
	case O:
		open_channel(t, 0);
		return;
	case V:
	case F:
		open_channel(t, 0);
		vmbus_server_revoke(t->s, t->offer[0]);
		if (state == F)
			offer(t, 0);
		break;
	case G:
	case GR:
	case GX:
		open_channel(t, 0);
		post(t, raw_one(7, 12, 1));
		if (state == GR)
			post(t, raw_open(1, 0x99, 100, 0, 4));
		if (state == GX)
			post(t, raw_one(13, 12, 1));
		break;
	case STATES:
		break;
	}
	take_all(t);
}

static void happen(struct bench *t, enum event event)
{
	struct vmbus_offer o = an_offer(0);
	vmbus_offer_id id;

	switch (event) {
	case OPEN:
		post(t, raw_open(1, 0x99, 100, 0, 4));
		break;
	case OPEN_RESERVED:
		post(t, raw_open_reserved(1, 3, 7, 100, 4));
		break;
	case OPENED:
		vmbus_server_open_done(t->s, t->offer[0], 0);
		break;
	case REFUSED:
		vmbus_server_open_done(t->s, t->offer[0], 0xc0000001);
		break;
	case CLOSE:
		post(t, raw_one(7, 12, 1));
		break;
	case CLOSE_RESERVED:
		post(t, raw_close_reserved(1, 4, 9));
		break;
	case CLOSED:
		vmbus_server_close_done(t->s, t->offer[0]);
		break;
	case MODIFY:
		post(t, raw_modify(1, 5));
		break;
	case RELEASE:
		post(t, raw_one(13, 12, 1));
		break;
	case REVOKE:
		vmbus_server_revoke(t->s, t->offer[0]);
		break;
	case OFFER_AGAIN:
		if (vmbus_server_offer(t->s, &o, &t->device[0], &id) == VMBUS_OK)
			t->offer[0] = id;
		break;
	case DISCONNECT:
		post(t, raw_contact(GOOD));
		break;
	case RESET:
		vmbus_server_reset(t->s);
		break;
	case EVENTS:
		break;
	}
	check_at(t, __LINE__);
}

/*
 * What came out, a letter each. Messages: o OFFER, n its end, r result 0, x result failure, m
 * modify answer, s RESCIND, e CLOSE_RESERVED_RESPONSE, v VERSION_RESPONSE, t TORNDOWN. Devices: O
 * open, C close, M modify, T GPADL teardown. The connection: D over, K contact.
 */
static char letter(const struct vmbus_server_action *a)
{
	switch (a->type) {
	case VMBUS_SERVER_POST:
		switch (get32(a->message.data, 0)) {
		case 1:
			return 'o';
		case 2:
			return 's';
		case 4:
			return 'n';
		case 6:
			return get32(a->message.data, 16) ? 'x' : 'r';
		case 10:
			return get32(a->message.data, 16) ? 'f' : 'c';
		case 12:
			return 't';
		case 15:
			return 'v';
		case 17:
			return 'u';
		case 20:
			return 'e';
		case 24:
			return get32(a->message.data, 12) ? 'm' : 'M';
		}
		return '?';
	case VMBUS_SERVER_CONNECT:
		return 'K';
	case VMBUS_SERVER_DISCONNECTED:
		return 'D';
	case VMBUS_SERVER_OPEN:
		return 'O';
	case VMBUS_SERVER_CLOSE:
		return 'C';
	case VMBUS_SERVER_GPADL:
		return 'G';
	case VMBUS_SERVER_GPADL_TEARDOWN:
		return 'T';
	case VMBUS_SERVER_MODIFY:
		return 'Y';
	case VMBUS_SERVER_MONITOR:
	case VMBUS_SERVER_HVSOCK:
	case VMBUS_SERVER_RESTORED:
		break;
	}
	return '?';
}

static void outcome(struct bench *t, char *text, size_t size)
{
	size_t n = 0;

	while (vmbus_server_next_action(t->s, &t->a) && n + 1 < size)
		text[n++] = letter(&t->a);
	text[n] = 0;
}

/* "letters:state", or NULL for: nothing comes out, nothing changes. */
static void compare(const char *where, const char *event, const char *now, const char *cell,
		    const char *letters, const char *before)
{
	char got[64], want[64];

	snprintf(got, sizeof(got), "%s:%s", letters, now);
	snprintf(want, sizeof(want), "%s%s", cell ? cell : ":", cell ? "" : before);
	if (strcmp(got, want) != 0)
		fail_msg("%s in %s gives %s, not %s", event, where, got, want);
}

static const char *const state_names[STATES] = {"R", "L",  "P",  "O",  "G",  "GR", "V",
						"F", "GX", "PX", "P*", "O*", "G*"};

static const char *channel_now(const struct bench *t)
{
	static const char *const names[CHANNEL_STATES] = {"R",  "L", "P", "O",  "G",
							  "GR", "V", "F", "GX", "PX"};
	static const char *const reserved[] = {"?", "?", "P*", "O*", "G*"};
	const struct channel *ch = t->s->slots[0];

	if (!ch)
		return "none";
	return ch->reserved ? reserved[ch->state] : names[ch->state];
}

static const char *const channel_table[EVENTS][STATES] = {
	/* clang-format off */
	[OPEN] =	   {[L] = "O:P", [G] = ":GR"},
	[OPEN_RESERVED] =  {[L] = "O:P*"},
	[OPENED] =	   {[P] = "r:O", [PX] = "C:GX", [RP] = "r:O*"},
	[REFUSED] =	   {[P] = "x:L", [PX] = ":R", [RP] = "x:L"},
	[CLOSE] =	   {[O] = "C:G"},
	[CLOSE_RESERVED] = {[RO] = "C:G*"},
	[CLOSED] =	   {[G] = ":L", [GR] = "O:P", [GX] = ":R", [RG] = "e:L"},
	/* PX is met only while disconnecting, when no such message is heard. */
	[MODIFY] =	   {[R] = "m:R", [L] = "m:L", [P] = "m:P", [O] = "Y:O", [G] = "m:G",
			    [GR] = "m:GR", [V] = "m:V", [F] = "m:F", [GX] = "m:GX", [RP] = "m:P*",
			    [RO] = "m:O*", [RG] = "m:G*"},
	[RELEASE] =	   {[L] = "T:R", [G] = "T:GX", [V] = ":none", [F] = "o:L"},
	[REVOKE] =	   {[R] = ":none", [L] = "s:V", [P] = "s:V", [O] = "s:V", [G] = "s:V",
			    [GR] = "s:V", [F] = ":V", [GX] = ":none", [PX] = "Du:none",
			    [RP] = "s:V", [RO] = "s:V", [RG] = "s:V"},
	[OFFER_AGAIN] =	   {[V] = ":F"},
	[DISCONNECT] =	   {[R] = "DK:R", [L] = "T:R", [P] = "T:PX", [O] = "CT:GX", [G] = "T:GX",
			    [GR] = "T:GX", [V] = "DK:none", [F] = "DK:R", [RP] = "DK:P*",
			    [RO] = "DK:O*", [RG] = "DK:G*"},
	[RESET] =	   {[R] = "D:R", [L] = "T:R", [P] = "T:R", [O] = "CT:GX", [G] = "T:GX",
			    [GR] = "T:GX", [V] = "D:none", [F] = "D:R", [PX] = ":R", [RP] = "T:R",
			    [RO] = "CT:GX", [RG] = "T:GX"},
	/* clang-format on */
};

static uint64_t refusals(const struct bench *t)
{
	const struct vmbus_server_stats *n = vmbus_server_statistics(t->s);

	return n->dropped_short + n->dropped_type + n->dropped_direction + n->dropped_version +
	       n->dropped_state + n->dropped_vtl + n->dropped_unknown + n->dropped_paused +
	       n->dropped_busy + n->late_answers;
}

/* What has no effect is counted, but for messages that crossed a rescind: those are in order. */
static bool is_counted(enum event event, enum state from)
{
	if (event > CLOSED && event != RELEASE)
		return false;
	return channel_table[event][from] == NULL &&
	       !((from == V || from == F) && (event == OPEN || event == OPEN_RESERVED ||
					      event == CLOSE || event == CLOSE_RESERVED));
}

static void every_cell_of_the_channel_table(void **state)
{
	struct bench *t = *state;
	char letters[32];

	for (int event = 0; event < EVENTS; event++) {
		for (int from = 0; from < STATES; from++) {
			uint64_t before;

			enter(t, (enum state)from);
			assert_string_equal(channel_now(t), state_names[from]);
			before = refusals(t);
			happen(t, (enum event)event);
			if (is_counted((enum event)event, (enum state)from))
				assert_int_equal(refusals(t), before + 1);
			else if (event != MODIFY && event != OFFER_AGAIN)
				assert_int_equal(refusals(t), before);
			outcome(t, letters, sizeof(letters));
			compare(state_names[from], event_names[event], channel_now(t),
				channel_table[event][from], letters, state_names[from]);
		}
	}
}

/* ---- the connection ---- */

enum conn_event {
	OTHER_VTL,
	OTHER_SINT,
	CONTACT_SHORT,
	CONTACT_VERSION,
	CONTACT_PAGES,
	CONTACT_GOOD,
	BACKEND_OK,
	BACKEND_FAILS,
	REQUEST_OFFERS,
	UNLOAD,
	CLOSE_NOTHING,
	GPADL,
	MODIFY_NOTHING,
	HOST_MESSAGE,
	NO_MESSAGE,
	SHORT_MESSAGE,
	DRAINED,
	VM_RESET,
	CONN_EVENTS,
};

static const char *const conn_event_names[CONN_EVENTS] = {
	"contact of another VTL", "contact for another SINT",
	"short contact",          "contact with a bad version",
	"contact with bad pages", "contact",
	"connect_done(true)",     "connect_done(false)",
	"REQUEST_OFFERS",         "UNLOAD",
	"CLOSE_RESERVED",         "GPADL_HEADER",
	"MODIFY_CHANNEL",         "a host's message",
	"an unknown message",     "a short message",
	"the last device let go", "VM reset"};

static const char conn_states[] = "DCNKX";

/* Device 0 is closed; in X, device 1 has been told to close and has not yet. */
static void enter_connection(struct bench *t, char state)
{
	bench_restart(t);
	offer(t, 0);
	if (state == 'D')
		return;
	if (state == 'C') {
		post(t, raw_contact(GOOD));
		expect(t, VMBUS_SERVER_CONNECT);
		return;
	}
	negotiate(t, GOOD, 0);
	if (state == 'N')
		return;
	request_offers(t, 1);
	if (state == 'K')
		return;
	offer(t, 1);
	take_all(t);
	open_channel(t, 1);
	post(t, raw(16, 8));
	take_all(t);
	vmbus_server_gpadl_released(t->s, t->offer[1], 101);
	expect_none(t);
}

static void happen_to_connection(struct bench *t, enum conn_event event)
{
	struct raw contact = raw_contact(0x50003), bad = raw_contact(0x50003);

	put8(&contact, 16, 2);
	put64(&bad, 32, 0x1000);
	switch (event) {
	case OTHER_VTL:
		put8(&contact, 17, 1);
		post_to(t, 4, &contact);
		break;
	case OTHER_SINT:
		put8(&contact, 16, 5);
		post_to(t, 4, &contact);
		break;
	case CONTACT_SHORT:
		contact.n = 39;
		post(t, contact);
		break;
	case CONTACT_VERSION:
		post(t, raw_contact(0x50004));
		break;
	case CONTACT_PAGES:
		post(t, bad);
		break;
	case CONTACT_GOOD:
		post(t, contact);
		break;
	case BACKEND_OK:
		vmbus_server_connect_done(t->s, true);
		break;
	case BACKEND_FAILS:
		vmbus_server_connect_done(t->s, false);
		break;
	case REQUEST_OFFERS:
		post(t, raw(3, 8));
		break;
	case UNLOAD:
		post(t, raw(16, 8));
		break;
	case CLOSE_NOTHING:
		post(t, raw_close_reserved(1, 0, 2));
		break;
	case GPADL:
		post(t, raw_header(1, 5, 2, 0));
		break;
	case MODIFY_NOTHING:
		post(t, raw_modify(1, 0));
		break;
	case HOST_MESSAGE:
		post(t, raw(17, 8));
		break;
	case NO_MESSAGE:
		post(t, raw(99, 8));
		break;
	case SHORT_MESSAGE:
		post(t, raw(16, 7));
		break;
	case DRAINED:
		vmbus_server_close_done(t->s, t->offer[1]);
		break;
	case VM_RESET:
		vmbus_server_reset(t->s);
		break;
	case CONN_EVENTS:
		break;
	}
	check_at(t, __LINE__);
}

static const char *connection_now(const struct bench *t)
{
	static const char *const names[] = {"D", "C", "N", "K", "X"};

	return names[vmbus_server_state(t->s)];
}

/* Columns D, C, N, K, X. */
static const char *const connection_table[CONN_EVENTS][5] = {
	/* clang-format off */
	[OTHER_VTL] =	    {NULL, NULL, NULL, NULL, NULL},
	[OTHER_SINT] =	    {"v:D", "v:C", "v:N", "v:K", "v:X"},
	[CONTACT_SHORT] =   {NULL, NULL, NULL, NULL, NULL},
	[CONTACT_VERSION] = {"v:D", NULL, "Dv:D", "Dv:D", NULL},
	[CONTACT_PAGES] =   {"v:D", NULL, "Dv:D", "Dv:D", NULL},
	[CONTACT_GOOD] =    {"K:C", NULL, "DK:C", "DK:C", NULL},
	[BACKEND_OK] =	    {NULL, "v:N", NULL, NULL, NULL},
	[BACKEND_FAILS] =   {NULL, "v:D", NULL, NULL, NULL},
	[REQUEST_OFFERS] =  {NULL, NULL, "on:K", NULL, NULL},
	[UNLOAD] =	    {NULL, NULL, "Du:D", "Du:D", NULL},
	[CLOSE_NOTHING] =   {NULL, NULL, NULL, NULL, NULL},
	[GPADL] =	    {NULL, NULL, "f:N", "G:K", NULL},
	[MODIFY_NOTHING] =  {NULL, NULL, "m:N", "m:K", NULL},
	[HOST_MESSAGE] =    {NULL, NULL, NULL, NULL, NULL},
	[NO_MESSAGE] =	    {NULL, NULL, NULL, NULL, NULL},
	[SHORT_MESSAGE] =   {NULL, NULL, NULL, NULL, NULL},
	[DRAINED] =	    {NULL, NULL, NULL, NULL, "Du:D"},
	[VM_RESET] =	    {NULL, "D:D", "D:D", "D:D", NULL},
	/* clang-format on */
};

static void every_cell_of_the_connection_table(void **state)
{
	struct bench *t = *state;
	char letters[32];

	for (int event = 0; event < CONN_EVENTS; event++) {
		for (int from = 0; from < 5; from++) {
			char name[2] = {conn_states[from], 0};

			enter_connection(t, conn_states[from]);
			assert_string_equal(connection_now(t), name);
			happen_to_connection(t, (enum conn_event)event);
			outcome(t, letters, sizeof(letters));
			compare(name, conn_event_names[event], connection_now(t),
				connection_table[event][from], letters, name);
		}
	}
}

/* What was remembered while connecting, or replaced what a disconnect was for. */
static void what_follows_is_the_last_thing_asked_for(void **state)
{
	struct bench *t = *state;
	static const struct {
		char from;
		enum conn_event first, then;
		const char *cell;
	} cases[] = {
		{'C', CONTACT_GOOD, BACKEND_OK, "vDK:C"},
		{'C', CONTACT_VERSION, BACKEND_OK, "vDv:D"},
		{'C', CONTACT_PAGES, BACKEND_OK, "vDv:D"},
		{'C', CONTACT_GOOD, BACKEND_FAILS, "vK:C"},
		{'C', CONTACT_VERSION, BACKEND_FAILS, "vv:D"},
		{'C', CONTACT_PAGES, BACKEND_FAILS, "vv:D"},
		{'C', CONTACT_GOOD, VM_RESET, "D:D"},
		{'X', CONTACT_GOOD, DRAINED, "DK:C"},
		{'X', CONTACT_VERSION, DRAINED, "Dv:D"},
		{'X', CONTACT_PAGES, DRAINED, "Dv:D"},
		{'X', VM_RESET, DRAINED, "D:D"},
		{'X', UNLOAD, DRAINED, "Du:D"},
		{'X', OTHER_VTL, DRAINED, "Du:D"},
	};
	char letters[32];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enter_connection(t, cases[i].from);
		happen_to_connection(t, cases[i].first);
		expect_none(t);
		happen_to_connection(t, cases[i].then);
		outcome(t, letters, sizeof(letters));
		compare(conn_event_names[cases[i].first], conn_event_names[cases[i].then],
			connection_now(t), cases[i].cell, letters, "");
	}
}

/* ---- GPADLs: id 7 on channel 1, of 30 pages, 26 of them in the header ---- */

enum gstate {
	NONE,
	I,   /* incomplete */
	BAD, /* incomplete, and its range will not do */
	OF,  /* offered */
	A,   /* accepted */
	T,   /* tearing */
	FT,  /* offered and unwanted */
	VI,  /* on a revoked channel: incomplete */
	VA,  /* accepted */
	VN,  /* none */
	GSTATES,
};

static const char *const gstate_names[GSTATES] = {"none", "I",  "bad I", "F",   "A",
						  "T",    "FT", "V I",   "V A", "V none"};

enum gevent {
	HEADER_ALL,
	HEADER_PART,
	BODY_LAST,
	ACCEPTS,
	REFUSES,
	TEARDOWN,
	DONE,
	REVOKE_CHANNEL,
	RELEASE_CHANNEL,
	GEVENTS,
};

static const char *const gevent_names[GEVENTS] = {"HEADER with all", "HEADER",         "last BODY",
						  "device accepts",  "device refuses", "TEARDOWN",
						  "device done",     "revoke",         "release"};

static void enter_gpadl(struct bench *t, enum gstate state)
{
	struct raw r = raw_header(1, 7, 30, 0x5000);

	bench_restart(t);
	connect_with(t, GOOD, 0, 1);
	if (state == BAD)
		put32(&r, 20, 0);
	if (state != NONE && state != VN)
		post(t, r);
	switch (state) {
	case NONE:
	case I:
	case BAD:
		break;
	case VI:
	case VN:
		vmbus_server_revoke(t->s, t->offer[0]);
		break;
	case OF:
	case A:
	case T:
	case FT:
	case VA:
		post(t, raw_body(7, 30, 0x5000, 26));
		if (state == OF)
			break;
		if (state == FT) {
			post(t, raw_one(13, 12, 1));
			break;
		}
		vmbus_server_gpadl_done(t->s, t->offer[0], 7, true);
		if (state == T)
			post(t, raw_gpadl_teardown(1, 7));
		if (state == VA)
			vmbus_server_revoke(t->s, t->offer[0]);
		break;
	case GSTATES:
		break;
	}
	take_all(t);
}

static void happen_to_gpadl(struct bench *t, enum gevent event)
{
	switch (event) {
	case HEADER_ALL:
		post(t, raw_header(1, 7, 2, 0x9000));
		break;
	case HEADER_PART:
		post(t, raw_header(1, 7, 30, 0x9000));
		break;
	case BODY_LAST:
		post(t, raw_body(7, 30, 0x5000, 26));
		break;
	case ACCEPTS:
		vmbus_server_gpadl_done(t->s, t->offer[0], 7, true);
		break;
	case REFUSES:
		vmbus_server_gpadl_done(t->s, t->offer[0], 7, false);
		break;
	case TEARDOWN:
		post(t, raw_gpadl_teardown(1, 7));
		break;
	case DONE:
		vmbus_server_gpadl_released(t->s, t->offer[0], 7);
		break;
	case REVOKE_CHANNEL:
		vmbus_server_revoke(t->s, t->offer[0]);
		break;
	case RELEASE_CHANNEL:
		post(t, raw_one(13, 12, 1));
		break;
	case GEVENTS:
		break;
	}
	check_at(t, __LINE__);
}

static const char *gpadl_now(const struct bench *t)
{
	const struct vmbus_gpadl *g = vmbus_gpadl_find(&t->s->gpadls, NULL, 7);
	static const char *const names[] = {"I", "F", "A", "T", "FT"};

	return g ? names[g->state] : "none";
}

static const char *const gpadl_table[GEVENTS][GSTATES] = {
	/* clang-format off */
	[HEADER_ALL] =	      {"G:F", "f:I", "f:I", "f:F", "f:A", "f:T", "f:FT", "f:I", "f:A",
			       "c:A"},
	[HEADER_PART] =	      {":I", "f:I", "f:I", "f:F", "f:A", "f:T", "f:FT", "f:I", "f:A", ":I"},
	[BODY_LAST] =	      {":none", "G:F", "f:none", ":F", ":A", ":T", ":FT", "c:A", ":A",
			       ":none"},
	[ACCEPTS] =	      {":none", ":I", ":I", "c:A", ":A", ":T", "T:T", ":I", ":A", ":none"},
	[REFUSES] =	      {":none", ":I", ":I", "f:none", ":A", ":T", ":none", ":I", ":A",
			       ":none"},
	[TEARDOWN] =	      {":none", ":I", ":I", ":F", "T:T", ":T", ":FT", ":I", "t:none",
			       ":none"},
	[DONE] =	      {":none", ":I", ":I", ":F", ":A", "t:none", ":FT", ":I", ":A",
			       ":none"},
	[REVOKE_CHANNEL] =   {"s:none", "s:I", "s:I", "fs:none", "s:A", "ts:none", ":none", ":I",
			       ":A", ":none"},
	[RELEASE_CHANNEL] = {":none", ":none", ":none", ":FT", "T:T", ":T", ":FT", ":none",
			       ":none", ":none"},
	/* clang-format on */
};

static void every_cell_of_the_gpadl_table(void **state)
{
	struct bench *t = *state;
	char letters[32];

	for (int event = 0; event < GEVENTS; event++) {
		for (int from = 0; from < GSTATES; from++) {
			enter_gpadl(t, (enum gstate)from);
			happen_to_gpadl(t, (enum gevent)event);
			outcome(t, letters, sizeof(letters));
			compare(gstate_names[from], gevent_names[event], gpadl_now(t),
				gpadl_table[event][from], letters, "");
		}
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_cell_of_the_channel_table),
		TEST(every_cell_of_the_connection_table),
		TEST(what_follows_is_the_last_thing_asked_for),
		TEST(every_cell_of_the_gpadl_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
