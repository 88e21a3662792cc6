/* SPDX-License-Identifier: MIT */
/*
 * The sweeps of the invariants see what they are for. Each field is made wrong by hand, one at a
 * time, and the sweep has to say so in its own words.
 */
#include "guest.h"

#include "vmbus/client_internal.h"
#include "vmbus/server_internal.h"

#define BREAKS(checked, field, value, text)                                                 \
	do {                                                                                \
		__typeof__(field) kept_ = (field);                                          \
		const char *said_;                                                          \
		(field) = (value);                                                          \
		said_ = (checked);                                                          \
		(field) = kept_;                                                            \
		if (!said_ || strcmp(said_, text) != 0)                                     \
			fail_msg("%s = %s: %s", #field, #value, said_ ? said_ : "nothing"); \
		assert_null(checked);                                                       \
	} while (0)

#define SERVER(field, value, text) BREAKS(vmbus_server_check(t->s), field, value, text)
#define CLIENT(field, value, text) BREAKS(vmbus_client_check(g->c), field, value, text)

/* ---- the server ---- */

/* Two channels, the first open on its ring, the second with a GPADL besides. */
static struct channel *two_channels(struct bench *t)
{
	connect_with(t, 0x50003, 0, 2);
	open_channel(t, 0);
	make_gpadl(t, 1, 7, 3);
	return t->s->by_relid[1];
}

static void sweep_sees_a_servers_connection(void **state)
{
	struct bench *t = *state;

	SERVER(t->s->version, 1, "something of a connection outlived it");
	SERVER(t->s->features, 1, "something of a connection outlived it");
	SERVER(t->s->monitor_child_to_parent, 1, "something of a connection outlived it");
	SERVER(t->s->has_next, true, "something of a connection outlived it");
	SERVER(t->s->draining, 1, "disconnected, but a device uses the rings of the connection");
	SERVER(t->s->held.records, 1, "messages are held back and the connection is not paused");
	post(t, raw_contact(0x50003));
	SERVER(t->s->draining, 1, "connecting, but a device uses the rings of the old connection");
	bench_restart(t);
	two_channels(t);
	SERVER(t->s->version, 0, "connected without a version, or with a contact forgotten");
	SERVER(t->s->has_next, true, "connected without a version, or with a contact forgotten");
	post(t, raw(16, 8));
	SERVER(t->s->has_next, true, "disconnecting for a contact that is not there");
	t->s->draining = t->s->tearing = 0;
	assert_string_equal(vmbus_server_check(t->s), "disconnecting, and waiting for nothing");
	t->s->draining = 1;
	t->s->tearing = 2;
	assert_null(vmbus_server_check(t->s));
}

static void sweep_sees_a_servers_channels(void **state)
{
	struct bench *t = *state;
	struct channel *ch = two_channels(t);

	SERVER(t->s->state, VMBUS_SERVER_STATE_NEGOTIATED,
	       "a channel is visible without a connection");
	SERVER(ch->id, 0, "a channel has no device and is not revoked, or the other way round");
	SERVER(ch->id, ch->id + 1, "an offer cannot be found by its id");
	SERVER(t->s->by_relid[2]->reserved, true,
	       "a channel is reserved in a state that cannot be");
	SERVER(ch->waiting, true, "an open waits for nothing");
	SERVER(ch->offer_later, true, "an offer is put off for nothing");
	SERVER(t->s->by_relid[2]->modifying, true, "a channel that is not open is being modified");
	SERVER(ch->slot, 1, "a channel is not in its slot");
	SERVER(ch->slot, 0xffff, "a channel is not in its slot");
	SERVER(ch->relid, 0, "a channel has an id and is not visible, or the other way round");
	SERVER(ch->relid, 2, "a channel cannot be found by its channel id");
	SERVER(ch->relid, 2048, "a channel cannot be found by its channel id");
	SERVER(ch->monitor_id, 128, "a channel has a monitor id that it cannot have");
	SERVER(ch->monitor_id, 5, "a monitor id is lost");
	t->s->by_relid[2]->monitor_id = 5;
	t->s->monitor_ids[0] |= 1u << 5;
	SERVER(ch->monitor_id, 5, "two channels have one monitor id");
	t->s->by_relid[2]->monitor_id = VMBUS_MONITOR_NONE;
	t->s->monitor_ids[0] = 0;
}

static void sweep_sees_a_servers_counts(void **state)
{
	struct bench *t = *state;
	struct channel *ch = two_channels(t);

	SERVER(t->s->by_relid[9], ch, "the tables of channels do not agree");
	SERVER(t->s->slots[9], ch, "the tables of channels do not agree");
	SERVER(t->s->draining, 1, "the count of what a disconnect waits for is wrong");
	SERVER(t->s->tearing, 1, "the count of what a disconnect waits for is wrong");
	SERVER(t->s->gpadls.count, 3, "the GPADL table counts wrongly");
	SERVER(t->s->gpadls.words, 1, "the GPADL table counts wrongly");
	SERVER(t->s->gpadls.max_count, 1, "more GPADLs than the limit");
	SERVER(t->s->gpadls.max_words, 1, "more GPADLs than the limit");
}

static void sweep_sees_a_servers_gpadls(void **state)
{
	struct bench *t = *state;
	struct channel *ch = two_channels(t);
	struct vmbus_gpadl *g = ch->gpadls.first;

	SERVER(g->state, VMBUS_GPADL_CREATING, "a server's GPADL is in a client's state");
	SERVER(g->state, VMBUS_GPADL_GONE, "a server's GPADL is in a client's state");
	SERVER(g->state, VMBUS_GPADL_TEARING, "the count of what a disconnect waits for is wrong");
	/* Revoked: the record of the accepted one stays, but nobody is to be asked about it. */
	vmbus_server_revoke(t->s, t->offer[0]);
	SERVER(g->state, VMBUS_GPADL_OFFERED, "a GPADL waits for a device that is not there");
	SERVER(g->state, VMBUS_GPADL_TEARING,
	       "a GPADL's teardown waits for a device that is not there");
	/* Released: nothing but what a device has yet to let go. */
	post(t, raw_one(13, 12, 2));
	ch = t->s->sorted[1];
	g = ch->gpadls.first;
	assert_int_equal(ch->state, CHANNEL_RELEASED);
	SERVER(g->state, VMBUS_GPADL_ACCEPTED, "a released channel has an accepted GPADL");
	SERVER(g->state, VMBUS_GPADL_OFFERED, "a GPADL waits for a device that is not there");
	g->received--;
	SERVER(g->state, VMBUS_GPADL_INCOMPLETE, "a released channel has a half-received GPADL");
	g->received++;
}

static void sweep_sees_lists_of_gpadls(void **state)
{
	struct bench *t = *state;
	struct channel *ch = two_channels(t), *other = t->s->by_relid[2];
	struct vmbus_gpadl *g, *half;

	make_gpadl(t, 0, 9, 3);
	g = ch->gpadls.first;
	SERVER(g->next->prev, NULL, "a channel's GPADL list is broken");
	SERVER(ch->gpadls.last, g, "a channel's GPADL list is broken at its end");
	SERVER(g->channel, other, "a GPADL is in the list of another channel");
	SERVER(g->id, 9, "a GPADL cannot be found, or its id is live twice on one channel");
	SERVER(g->id, 4444, "a GPADL cannot be found, or its id is live twice on one channel");
	SERVER(g->received, g->word_count + 1, "a GPADL holds more words than it announced");
	SERVER(g->word_count, g->allocated + 1, "a GPADL holds more words than it announced");
	SERVER(g->state, VMBUS_GPADL_INCOMPLETE, "a complete GPADL is still taken for incomplete");
	post(t, raw_header(1, 20, 40, 0x1000));
	half = ch->gpadls.last;
	assert_int_equal(half->state, VMBUS_GPADL_INCOMPLETE);
	/* Its double on the other channel, first in their bucket. */
	post(t, raw_header(2, 20, 5, 0x1000));
	g = other->gpadls.last;
	g->state = VMBUS_GPADL_INCOMPLETE;
	g->received--;
	assert_string_equal(vmbus_server_check(t->s), "two incomplete GPADLs share an id");
	g->received++;
	g->state = VMBUS_GPADL_OFFERED;
	assert_null(vmbus_server_check(t->s));
}

/* ---- the client ---- */

static void sweep_sees_a_clients_channels(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id id = one_channel(g);
	struct client_channel *ch = client_channel(g->c, id);
	uint32_t relid = ch->offer.relid;

	CLIENT(ch->slot, 9, "a channel is not in its slot");
	CLIENT(ch->id, ch->id + 1, "a channel is not in its slot");
	CLIENT(ch->offer.relid, 0, "a channel cannot be found by its channel id");
	CLIENT(ch->offer.relid, 2048, "a channel cannot be found by its channel id");
	CLIENT(ch->offer.relid, relid + 1, "a channel cannot be found by its channel id");
	CLIENT(ch->let_go, true, "a channel was released without a rescind");
	CLIENT(g->c->state, VMBUS_CLIENT_STATE_CONNECTING, "a channel outlived its connection");
	CLIENT(ch->orphan, true, "a channel of an ended connection still waits for something");
	CLIENT(g->c->channel_count, 5, "the tables of channels do not agree");
	CLIENT(g->c->by_relid[relid + 3], ch, "the tables of channels do not agree");
	CLIENT(g->c->gpadls.count, 5, "the GPADL table counts wrongly");
	host(g, rescind(relid));
	CLIENT(ch->let_go, true, "a released channel waits for nothing");
}

/* Into the bucket of another, or of the id 0. */
static void rehash(struct vmbus_gpadl_table *t, struct vmbus_gpadl *g, const struct vmbus_gpadl *to)
{
	struct vmbus_gpadl **link, **bucket = t->buckets;

	for (uint32_t i = 0; i <= t->mask; i++) {
		for (link = &t->buckets[i]; *link; link = &(*link)->hash_next) {
			if (*link == to)
				bucket = &t->buckets[i];
			if (*link == g)
				break;
		}
		if (*link)
			*link = g->hash_next;
	}
	g->hash_next = *bucket;
	*bucket = g;
}

static void sweep_sees_a_clients_gpadls(void **state)
{
	struct guest *g = *state;
	vmbus_channel_id id = one_channel(g), other = offered(g, 1, 2);
	struct client_channel *ch = client_channel(g->c, id);
	struct vmbus_gpadl *a, *b;
	uint32_t kept;

	created(g, id, ch->offer.relid);
	announced(g, other, 2);
	a = ch->gpadls.first;
	b = client_channel(g->c, other)->gpadls.first;
	CLIENT(a->state, VMBUS_GPADL_ACCEPTED, "a client's GPADL is in a server's state");
	CLIENT(a->state, VMBUS_GPADL_GONE, "a GPADL and its channel disagree on the rescind");
	CLIENT(ch->gpadls_owed, 1, "the count of GPADL answers that a channel is owed is wrong");
	kept = b->id;
	b->id = a->id;
	rehash(&g->c->gpadls, b, a);
	assert_string_equal(vmbus_client_check(g->c), "two live GPADLs have one id");
	b->id = 0;
	rehash(&g->c->gpadls, b, NULL);
	assert_string_equal(vmbus_client_check(g->c), "a GPADL has the id 0");
	b->id = kept;
}

/* ---- how often ---- */

/* Always while they are few; of many so seldom that an operation's share stays the same. */
static void sweeps_cost_the_same_for_any_number_of_channels(void **state)
{
	struct bench *t = *state;
	struct vmbus_offer o = {.user_data = {0}};
	vmbus_offer_id id;
	unsigned int said = 0;

	t->s->tearing = 1;
	assert_non_null(vmbus_server_sweep(t->s));
	assert_non_null(vmbus_server_sweep(t->s));
	t->s->tearing = 0;
	for (int i = 0; i < 640; i++) {
		o.instance_id.b[0] = (uint8_t)i;
		o.instance_id.b[1] = (uint8_t)(i >> 8);
		assert_int_equal(vmbus_server_offer(t->s, &o, NULL, &id), 0);
	}
	t->s->tearing = 1;
	for (int i = 0; i < 100; i++)
		said += vmbus_server_sweep(t->s) != NULL;
	t->s->tearing = 0;
	assert_int_equal(said, 10);
}

static void a_client_is_swept_too(void **state)
{
	struct guest *g = *state;

	assert_null(vmbus_client_sweep(g->c));
	g->c->gpadls.count++;
	assert_string_equal(vmbus_client_sweep(g->c), "the GPADL table counts wrongly");
	g->c->gpadls.count--;
	assert_null(vmbus_client_sweep(g->c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sweep_sees_a_servers_connection, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(sweep_sees_a_servers_channels, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(sweep_sees_a_servers_counts, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(sweep_sees_a_servers_gpadls, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(sweep_sees_lists_of_gpadls, bench_setup,
						bench_teardown),
		cmocka_unit_test_setup_teardown(sweep_sees_a_clients_channels, guest_setup,
						guest_teardown),
		cmocka_unit_test_setup_teardown(sweep_sees_a_clients_gpadls, guest_setup,
						guest_teardown),
		cmocka_unit_test_setup_teardown(sweeps_cost_the_same_for_any_number_of_channels,
						bench_setup, bench_teardown),
		cmocka_unit_test_setup_teardown(a_client_is_swept_too, guest_setup, guest_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
