/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "guest.h"

void guest_restart(struct guest *g)
{
	vmbus_client_destroy(g->c);
	assert_int_equal(g->heap.live, 0);
	g->c = vmbus_client_create(&g->config);
	assert_non_null(g->c);
}

int guest_setup(void **state)
{
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->heap.allowed = SIZE_MAX;
	g->config.allocator = heap_allocator(&g->heap);
	guest_restart(g);
	*state = g;
	return 0;
}

int guest_teardown(void **state)
{
	struct guest *g = *state;

	vmbus_client_destroy(g->c);
	if (g->heap.live || g->heap.bytes)
		return -1;
	free(g);
	return 0;
}

void sound(struct guest *g, int line)
{
	const char *wrong = vmbus_client_check(g->c);

	if (wrong)
		fail_msg("line %d: %s", line, wrong);
}

void host(struct guest *g, struct raw r)
{
	uint8_t *copy = malloc(r.n ? r.n : 1);

	assert_non_null(copy);
	memcpy(copy, r.b, r.n);
	vmbus_client_receive(g->c, copy, r.n);
	free(copy);
	sound(g, __LINE__);
}

void none_at(struct guest *g, int line)
{
	sound(g, line);
	if (vmbus_client_next_action(g->c, &g->a))
		fail_msg("line %d: unexpected action %d, message %u", line, g->a.type,
			 get32(g->a.message.data, 0));
}

struct vmbus_client_action *take_at(struct guest *g, enum vmbus_client_action_type type, int line)
{
	sound(g, line);
	if (!vmbus_client_next_action(g->c, &g->a))
		fail_msg("line %d: no action, %d expected", line, type);
	if (g->a.type != type)
		fail_msg("line %d: action %d, %d expected", line, g->a.type, type);
	return &g->a;
}

void posted_at(struct guest *g, uint32_t port, struct raw r, int line)
{
	take_at(g, VMBUS_CLIENT_POST, line);
	if (g->a.message.connection_id != port || g->a.message.size != r.n)
		fail_msg("line %d: message %u of %u bytes to %u, not %zu to %u", line,
			 get32(g->a.message.data, 0), g->a.message.size, g->a.message.connection_id,
			 r.n, port);
	for (size_t i = 0; i < r.n; i++) {
		if (g->a.message.data[i] != r.b[i])
			fail_msg("line %d: byte %zu is %02x, not %02x", line, i,
				 g->a.message.data[i], r.b[i]);
	}
}

static uint64_t ignored_so_far(const struct guest *g)
{
	const struct vmbus_client_stats *n = vmbus_client_statistics(g->c);

	return n->ignored_short + n->ignored_type + n->ignored_state + n->ignored_unknown +
	       n->ignored_offers + n->ignored_busy;
}

/* Without effect, and counted. */
void ignored(struct guest *g, struct raw r)
{
	enum vmbus_client_state before = vmbus_client_state(g->c);
	uint64_t received = vmbus_client_statistics(g->c)->received;
	uint64_t count = ignored_so_far(g);

	host(g, r);
	none(g);
	assert_int_equal(vmbus_client_state(g->c), before);
	assert_int_equal(ignored_so_far(g), count + 1);
	assert_int_equal(vmbus_client_statistics(g->c)->received, received + 1);
}

struct raw contact_of(uint32_t version, uint32_t features)
{
	struct raw r = raw_contact(version);

	if (version >= 0x50000)
		put8(&r, 16, 2);
	if (version >= 0x60000)
		put32(&r, 20, features);
	return r;
}

/* Up to the answer to REQUEST_OFFERS; posts go to connection 9 from 5.0 on. */
void connect_at(struct guest *g, uint32_t version)
{
	g->config.max_version = version;
	guest_restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, version >= 0x50000 ? 4 : 1, contact_of(version, 0));
	none(g);
	host(g, raw_version_ok(version >= 0x50000 ? 9 : version));
	posted(g, version >= 0x50000 ? 9 : 1, raw(3, 8));
	assert_int_equal(take(g, VMBUS_CLIENT_CONNECTED)->connected.version, version);
	none(g);
}

vmbus_channel_id offered(struct guest *g, int device, uint32_t relid)
{
	host(g, raw_offer(device, relid));
	assert_int_equal(take(g, VMBUS_CLIENT_OFFER)->offer.relid, relid);
	assert_true(g->a.channel != 0 && g->a.offer.channel == g->a.channel);
	vmbus_client_set_owner(g->c, g->a.channel, &g->owner);
	return g->a.channel;
}

vmbus_channel_id one_channel(struct guest *g)
{
	connect_at(g, GOOD);
	return offered(g, 0, 1);
}

const uint64_t guest_words[9] = {8 * 4096, 0x100, 0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107};

struct raw header_of(uint32_t relid, uint32_t id)
{
	return raw_header(relid, id, 8, 0x100);
}

uint32_t announced(struct guest *g, vmbus_channel_id ch, uint32_t relid)
{
	uint32_t id = 0;

	assert_int_equal(vmbus_client_gpadl_create(g->c, ch, guest_words, 9, 1, 0, &id), VMBUS_OK);
	posted(g, 9, header_of(relid, id));
	none(g);
	return id;
}

void result_at(struct guest *g, enum vmbus_client_action_type type, vmbus_channel_id ch,
	       uint32_t gpadl, uint32_t status, int line)
{
	take_at(g, type, line);
	if (g->a.channel != ch || g->a.owner != &g->owner || g->a.gpadl != gpadl ||
	    g->a.status != status)
		fail_msg("line %d: channel %llx gpadl %x status %x", line,
			 (unsigned long long)g->a.channel, g->a.gpadl, g->a.status);
}

uint32_t created(struct guest *g, vmbus_channel_id ch, uint32_t relid)
{
	uint32_t id = announced(g, ch, relid);

	host(g, raw_created(relid, id, 0));
	result(g, VMBUS_CLIENT_GPADL_CREATED, ch, id, 0);
	none(g);
	return id;
}

/* OPEN is sent; its open id. */
uint32_t opening(struct guest *g, vmbus_channel_id ch, uint32_t relid, uint32_t gpadl)
{
	struct vmbus_client_open o = {.ring_gpadl = gpadl, .downstream_page = 4, .target_vp = 3};
	struct raw want;
	uint32_t open_id;

	assert_int_equal(vmbus_client_open(g->c, ch, &o), VMBUS_OK);
	take(g, VMBUS_CLIENT_POST);
	open_id = get32(g->a.message.data, 12);
	want = raw_open(relid, open_id, gpadl, 3, 4);
	assert_int_equal(g->a.message.size, 148);
	assert_memory_equal(g->a.message.data, want.b, 148);
	none(g);
	return open_id;
}

void opened(struct guest *g, vmbus_channel_id ch, uint32_t relid)
{
	uint32_t open_id = opening(g, ch, relid, created(g, ch, relid));

	host(g, raw_open_result(relid, open_id, 0));
	result(g, VMBUS_CLIENT_OPEN_RESULT, ch, 0, 0);
	none(g);
}

struct raw rescind(uint32_t relid)
{
	return raw_one(2, 12, relid);
}

struct raw released(uint32_t relid)
{
	return raw_one(13, 12, relid);
}

struct raw response6(size_t size, uint32_t features, uint64_t p2c, uint64_t c2p)
{
	struct raw r = raw_version_ok(9);

	r.n = size;
	if (size >= 20)
		put32(&r, 16, features);
	if (size >= 40) {
		put64(&r, 24, p2c);
		put64(&r, 32, c2p);
	}
	return r;
}

uint32_t features_after(struct guest *g, uint32_t asked, struct raw answer)
{
	uint32_t granted;

	g->config.max_version = 0x60000;
	g->config.features = asked;
	guest_restart(g);
	assert_int_equal(vmbus_client_connect(g->c), VMBUS_OK);
	posted(g, 4, contact_of(0x60000, asked));
	host(g, answer);
	posted(g, 9, raw(3, 8));
	granted = take(g, VMBUS_CLIENT_CONNECTED)->connected.features;
	none(g);
	assert_int_equal(vmbus_client_features(g->c), granted);
	return granted;
}
