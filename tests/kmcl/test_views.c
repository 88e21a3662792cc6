/* SPDX-License-Identifier: MIT */
/*
 * Statistics are looked at by whoever likes, whenever: a thread of its own does nothing else while
 * channels are made, named, opened, used, reset and freed under its eyes.
 */
#include "harness.h"

#include <kmcl/kmcl.h>

#include "kmcl/channel.h"

#define ROUNDS  12u
#define ENTRIES 8u

struct viewer {
	struct kt_bus *bus;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint looks, seen[KMCL_LINK_OPEN + 1]; /* channels, by state */
	atomic_uint wrong;
};

/* What a snapshot may say of a channel, in whatever state it is. */
static bool makes_sense(const struct kmcl_channel_stats *s, bool server)
{
	bool named = !s->name[0] || !strcmp(s->name, "viewed");

	return memchr(s->name, 0, sizeof(s->name)) && named && s->server == server &&
	       s->channel_id <= 2047 && s->state <= KMCL_LINK_OPEN;
}

static void look(struct viewer *v, bool server)
{
	struct part_endpoint *ep = server ? part_server(v->bus->part) : part_client(v->bus->part);
	struct kmcl_channel_stats stats[ENTRIES];
	size_t count = kmcl_channel_statistics(ep, stats, ENTRIES);

	for (size_t i = 0; i < count && i < ENTRIES; i++) {
		if (makes_sense(&stats[i], server))
			atomic_fetch_add(&v->seen[stats[i].state], 1);
		else
			atomic_fetch_add(&v->wrong, 1);
	}
	/* A buffer too small, and none. */
	kmcl_channel_statistics(ep, stats, 1);
	kmcl_channel_statistics(ep, NULL, 0);
}

static void *view(void *arg)
{
	struct viewer *v = arg;

	while (!atomic_load(&v->stop)) {
		look(v, true);
		look(v, false);
		atomic_fetch_add(&v->looks, 1);
		kt_changed();
	}
	return NULL;
}

static void begin_viewing(struct viewer *v, struct kt_bus *bus)
{
	memset(v, 0, sizeof(*v));
	v->bus = bus;
	assert_int_equal(pthread_create(&v->thread, NULL, view, v), 0);
}

static void end_viewing(struct viewer *v)
{
	atomic_store(&v->stop, true);
	pthread_join(v->thread, NULL);
	assert_int_equal(atomic_load(&v->wrong), 0);
	for (unsigned int state = 0; state <= KMCL_LINK_OPEN; state++)
		assert_true(atomic_load(&v->seen[state]) > 0);
}

static void some_looks(struct viewer *v)
{
	unsigned int before = atomic_load(&v->looks);

	KT_WAIT(atomic_load(&v->looks) >= before + 3);
}

/* Some channel is in that state now, and stays there. */
static void expect_seen(struct viewer *v, enum kmcl_link state)
{
	unsigned int before = atomic_load(&v->seen[state]);

	KT_WAIT(atomic_load(&v->seen[state]) > before);
}

static void name(struct kt_chan *c)
{
	static WCHAR text[] = {'v', 'i', 'e', 'w', 'e', 'd', 0};
	UNICODE_STRING string = {12, 14, text};

	assert_int_equal(VmbChannelInitSetFriendlyName(c->h, &string), STATUS_SUCCESS);
}

static void some_packets(struct kt_pair *p)
{
	for (unsigned int i = 0; i < 20; i++) {
		struct kt_send *s = kt_send_new(i & 1 ? p->server : p->client);

		assert_int_equal(kt_send_pattern(s, 100 + i, i, KT_WAITED), STATUS_SUCCESS);
		KT_WAIT(atomic_load(&s->routines));
		kt_send_free(s);
	}
}

static void live_once(struct viewer *v, struct kt_bus *bus, bool reset)
{
	struct kt_pair p = kt_pair_new(bus);

	name(p.server);
	name(p.client);
	some_looks(v);
	kt_pair_open(&p);
	some_packets(&p);
	expect_seen(v, KMCL_LINK_OPEN);
	if (reset)
		assert_int_equal(part_reset(bus->part), 0);
	VmbChannelDisable(p.client->h);
	expect_seen(v, KMCL_LINK_ENABLED);
	VmbChannelDisable(p.server->h);
	kt_forget(p.client);
	kt_forget(p.server);
	kt_pair_free(&p);
}

static void field_016_statistics_at_any_moment(void **state)
{
	struct kt_bus *bus = *state;
	struct viewer v;

	begin_viewing(&v, bus);
	for (unsigned int i = 0; i < (kt_soak() ? 10 * ROUNDS : ROUNDS); i++)
		live_once(&v, bus, i & 1);
	end_viewing(&v);
}

/* Opened, then the guest resets time and again while its channel is open. */
static void field_016_statistics_through_resets(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	struct viewer v;

	name(p.server);
	name(p.client);
	begin_viewing(&v, bus);
	expect_seen(&v, KMCL_LINK_DISABLED);
	kt_pair_open(&p);
	expect_seen(&v, KMCL_LINK_OPEN);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		some_packets(&p);
		assert_int_equal(part_reset(bus->part), 0);
		KT_WAIT(kt_is_disabled(p.client));
		kt_forget(p.client);
		assert_int_equal(VmbChannelEnable(p.client->h), STATUS_SUCCESS);
		KT_EXPECT(p.client, "OSP");
	}
	VmbChannelDisable(p.client->h);
	expect_seen(&v, KMCL_LINK_ENABLED);
	VmbChannelDisable(p.server->h);
	some_looks(&v);
	end_viewing(&v);
	kt_forget(p.client);
	kt_forget(p.server);
	kt_pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KT_TEST(field_016_statistics_at_any_moment),
		KT_TEST(field_016_statistics_through_resets),
	};

	return KT_MAIN("views", tests);
}
