/* SPDX-License-Identifier: MIT */
/* Traffic that is cut off at any moment: every packet ends exactly once, nothing hangs, nothing is
 * left. KMCL_SOAK=1 runs the whole of what is done in tenths otherwise. */
#include "harness.h"

#include <kmcl/kmcl.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
	SLOTS = 32
};

/* A packet that is sent again whenever it comes back, until somebody says stop. */
struct slot {
	struct flow *flow;
	VMBPACKET packet;
	uint64_t tag;
	atomic_ullong sent, ended, answered;
};

struct flow {
	struct kt_chan *c;
	struct slot slots[SLOTS];
	atomic_bool stop;
	atomic_ullong left; /* sends still to make */
	uint32_t flags;
};

static atomic_ullong next_tag = 1;

static bool take(struct flow *f)
{
	unsigned long long left = atomic_load(&f->left);

	while (left && !atomic_compare_exchange_weak(&f->left, &left, left - 1))
		;
	return left != 0;
}

/* Counts before the send: the routine may run before it returns. */
static bool slot_send(struct slot *s)
{
	uint64_t data[8] = {0};
	NTSTATUS status;

	if (atomic_load(&s->flow->stop))
		return false;
	if (!take(s->flow))
		return false;
	s->tag = data[0] = data[7] = atomic_fetch_add(&next_tag, 1);
	atomic_fetch_add(&s->sent, 1);
	status = VmbPacketSend(s->packet, data, sizeof(data), NULL, s->flow->flags);
	if (status == STATUS_SUCCESS)
		return true;
	atomic_fetch_sub(&s->sent, 1);
	if (status != STATUS_DEVICE_REMOVED)
		kt_problem("send: %08x", (unsigned int)status);
	return false;
}

static VOID slot_routine(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 length)
{
	struct slot *s = VmbPacketGetPointer(packet);

	if (status == STATUS_SUCCESS && s->flow->flags & KT_WAITED) {
		const uint64_t *data = buffer;

		if (length != 64 || data[0] != s->tag || data[7] != s->tag)
			kt_problem("another packet's answer");
		atomic_fetch_add(&s->answered, 1);
	} else if (status != STATUS_SUCCESS && status != STATUS_DEVICE_REMOVED) {
		kt_problem("routine: %08x", (unsigned int)status);
	}
	if (status == STATUS_SUCCESS)
		slot_send(s);
	/* the last that is seen of the slot: once all are counted its owner frees it */
	atomic_fetch_add(&s->ended, 1);
}

static struct flow *flow_new(struct kt_chan *c, uint32_t flags, uint64_t count)
{
	struct flow *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->c = c;
	f->flags = flags;
	atomic_store(&f->left, count);
	for (int i = 0; i < SLOTS; i++) {
		f->slots[i].flow = f;
		f->slots[i].packet = VmbPacketAllocate(c->h);
		assert_non_null(f->slots[i].packet);
		VmbPacketSetPointer(f->slots[i].packet, &f->slots[i]);
		VmbPacketSetCompletionRoutine(f->slots[i].packet, slot_routine);
	}
	return f;
}

static void flow_start(struct flow *f)
{
	for (int i = 0; i < SLOTS; i++)
		slot_send(&f->slots[i]);
}

static uint64_t flow_sent(struct flow *f)
{
	uint64_t sum = 0;

	for (int i = 0; i < SLOTS; i++)
		sum += atomic_load(&f->slots[i].sent);
	return sum;
}

static uint64_t flow_ended(struct flow *f)
{
	uint64_t sum = 0;

	for (int i = 0; i < SLOTS; i++)
		sum += atomic_load(&f->slots[i].ended);
	return sum;
}

/* Everything that was sent came back, once. */
static uint64_t flow_free(struct flow *f)
{
	uint64_t answered = 0;

	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &f->slots[i];

		assert_int_equal(atomic_load(&s->sent), atomic_load(&s->ended));
		answered += atomic_load(&s->answered);
		VmbPacketFree(s->packet);
	}
	free(f);
	return answered;
}

/* Each packet reaches the other side at most once: the tags of a slot only grow, and all differ. */
static bool count_tag(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		      UINT32 flags)
{
	const uint64_t *data = buffer;

	(void)packet;
	(void)flags;
	if (length != 64 || data[0] != data[7])
		kt_problem("torn packet of %u bytes", length);
	if (c->arg && data[0] < 1u << 24 &&
	    atomic_fetch_add(&((atomic_uchar *)c->arg)[data[0]], 1) != 0)
		kt_problem("packet %llu came twice", (unsigned long long)data[0]);
	return false;
}

static void send_from_a_thread(void *arg)
{
	flow_start(arg);
}

enum cause {
	CLIENT_DISABLES,
	SERVER_DISABLES,
	BOTH_DISABLE,
	PAUSED_THEN_DISABLED,
	CAUSES
};

static void cut(struct kt_pair *p, enum cause cause)
{
	struct kt_call call;

	switch (cause) {
	case CLIENT_DISABLES:
		VmbChannelDisable(p->client->h);
		break;
	case SERVER_DISABLES:
		VmbChannelDisable(p->server->h);
		KT_WAIT(kt_is_disabled(p->client));
		break;
	case BOTH_DISABLE:
		kt_call_start(&call, p->server, kt_do_disable, p->server->h);
		VmbChannelDisable(p->client->h);
		kt_call_join(&call);
		break;
	default:
		VmbChannelPause(p->client->h);
		VmbChannelPause(p->server->h);
		VmbChannelDisable(p->client->h);
		break;
	}
}

/* One session with traffic both ways, cut off after `after_us`. Returns how much was answered. */
static uint64_t session(struct kt_pair *p, enum cause cause, unsigned int after_us)
{
	struct flow *flows[4];
	struct kt_call calls[4];
	uint64_t answered = 0, deadline = kt_now_ms() + KT_LIMIT_MS;

	kt_forget(p->client);
	kt_forget(p->server);
	kt_pair_open(p);
	flows[0] = flow_new(p->client, KT_WAITED, UINT64_MAX >> 8);
	flows[1] = flow_new(p->client, 0, 3000);
	flows[2] = flow_new(p->server, KT_WAITED, UINT64_MAX >> 8);
	flows[3] = flow_new(p->server, 0, 3000);
	for (int i = 0; i < 4; i++)
		kt_call_start(&calls[i], flows[i]->c, send_from_a_thread, flows[i]);
	struct timespec t = {0, (long)after_us * 1000};
	nanosleep(&t, NULL);
	cut(p, cause);
	/* a server that was only closed keeps what its driver goes on to send: that ends with
	 * Disable */
	for (int i = 0; i < 4; i++)
		atomic_store(&flows[i]->stop, true);
	for (int i = 0; i < 4; i++)
		kt_call_join(&calls[i]);
	VmbChannelDisable(p->client->h);
	VmbChannelDisable(p->server->h);
	for (int i = 0; i < 4; i++) {
		while (flow_sent(flows[i]) != flow_ended(flows[i])) {
			if (kt_now_ms() > deadline)
				kt_fail(__FILE__, __LINE__, "a packet never ended");
			kt_nap(1);
		}
		answered += flow_free(flows[i]);
	}
	kt_check(p->client);
	kt_check(p->server);
	return answered;
}

static void inv_020_033_every_packet_ends_once_however_it_is_cut(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	unsigned int rounds = kt_soak() ? 1000 : 100, seed = 4711;
	atomic_uchar *seen[2] = {calloc(1u << 24, 1), calloc(1u << 24, 1)};
	uint64_t answered = 0;

	assert_non_null(seen[0]);
	assert_non_null(seen[1]);
	p.client->quiet = p.server->quiet = true;
	p.client->arg = seen[0];
	p.server->arg = seen[1];
	p.client->on_packet = p.server->on_packet = count_tag;
	for (unsigned int i = 0; i < rounds; i++) {
		alarm(60);
		answered += session(&p, (enum cause)(i % CAUSES), rand_r(&seed) % 3000);
	}
	assert_true(answered > rounds); /* there was traffic to cut */
	kt_pair_free(&p);
	free(seen[0]);
	free(seen[1]);
}

static uint64_t round_trips(struct kt_pair *p, uint64_t count)
{
	struct flow *f = flow_new(p->client, KT_WAITED, count);
	uint64_t deadline = kt_now_ms() + 10 * KT_LIMIT_MS;

	flow_start(f);
	while (flow_ended(f) != count) {
		if (kt_now_ms() > deadline)
			kt_fail(__FILE__, __LINE__, "the traffic came to a stop");
		kt_nap(1);
	}
	return flow_free(f);
}

static void a_million_round_trips(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	uint64_t count = kt_soak() ? 1000000 : 100000;

	alarm(kt_soak() ? 600 : 170);
	p.client->quiet = p.server->quiet = true;
	kt_pair_open(&p);
	assert_int_equal(round_trips(&p, count), count);
	kt_pair_free(&p);
}

/* ---- leaks ---- */

static unsigned int entries(const char *path)
{
	unsigned int count = 0;
	DIR *d = opendir(path);

	assert_non_null(d);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

struct usage {
	size_t server_blocks, client_blocks, bytes;
	unsigned int files, threads;
	uint64_t free_gpa; /* where the next page of guest memory would come from */
};

static struct usage measure(struct kt_bus *bus)
{
	struct usage u = {0};
	size_t bytes;

	nt_pool_usage(bus->server_driver, &u.server_blocks, &bytes);
	nt_pool_usage(bus->client_driver, &u.client_blocks, &u.bytes);
	u.files = entries("/proc/self/fd");
	u.threads = entries("/proc/self/task");
	assert_int_equal(part_pages_alloc(part_client(bus->part), 64, &u.free_gpa), 0);
	part_pages_free(part_client(bus->part), u.free_gpa, 64);
	return u;
}

static void opens_and_closes_leak_nothing(void **state)
{
	struct kt_bus *bus = *state;
	unsigned int rounds = kt_soak() ? 1000 : 100;
	uint8_t *memory = kt_guest_alloc(bus, 4096);
	struct usage before = {0}, after;

	for (unsigned int i = 0; i < 20 + rounds; i++) {
		struct kt_pair p = kt_pair_new(bus);
		UINT32 gpadl;

		if (i == 20)
			before = measure(bus);
		alarm(60);
		p.client->quiet = p.server->quiet = true;
		kt_pair_open(&p);
		assert_int_equal(
			VmbChannelCreateGpadlFromBuffer(p.client->h, 0, memory, 4096, &gpadl),
			STATUS_SUCCESS);
		if (i & 1)
			VmbChannelDeleteGpadl(p.client->h, gpadl);
		assert_int_equal(round_trips(&p, 64), 64);
		VmbChannelDisable(i & 2 ? p.server->h : p.client->h);
		/* One that was left is a mistake of the driver, reported, and no leak of ours. */
		if (!(i & 1))
			kt_violations_expected(1);
		kt_pair_free(&p);
	}
	struct kt_pair p = kt_pair_new(bus);
	after = measure(bus);
	kt_pair_free(&p);
	assert_int_equal(after.files, before.files);
	assert_in_range(after.threads, 1, before.threads + 1); /* the pool may keep one more */
	assert_int_equal(after.server_blocks, before.server_blocks);
	assert_int_equal(after.client_blocks, before.client_blocks);
	assert_int_equal(after.bytes, before.bytes);
	assert_int_equal(after.free_gpa, before.free_gpa);
	assert_int_equal(kmcl_channel_statistics(part_client(bus->part), NULL, 0), 0);
	assert_int_equal(kmcl_channel_statistics(part_server(bus->part), NULL, 0), 0);
	kt_guest_free(bus, memory);
}

static void sixty_four_channels_at_once(void **state)
{
	struct part_options options = {.memory = 256u << 20, .vps = 2, .server_dispatchers = 2};
	static struct kt_bus bus;
	static struct kt_pair p[64];
	static struct flow *flows[64];
	uint64_t each = kt_soak() ? 10000 : 1000;
	uint64_t deadline = kt_now_ms() + 150000;

	(void)state;
	alarm(170);
	kt_bus_create(&bus, &options);
	for (int i = 0; i < 64; i++) {
		p[i] = kt_pair_new(&bus);
		p[i].client->quiet = p[i].server->quiet = true;
		if (i & 1)
			VmbChannelSetIncomingProcessingAtPassive(p[i].server->h, TRUE);
	}
	for (int i = 0; i < 64; i++) {
		assert_int_equal(VmbChannelEnable(p[i].client->h), STATUS_SUCCESS);
		assert_int_equal(VmbChannelEnable(p[i].server->h), STATUS_SUCCESS);
		VmbChannelStart(p[i].server->h);
	}
	for (int i = 0; i < 64; i++) {
		KT_EXPECT(p[i].client, "OSP");
		KT_EXPECT(p[i].server, "OSP");
		flows[i] = flow_new(p[i].client, KT_WAITED, each);
	}
	for (int i = 0; i < 64; i++)
		flow_start(flows[i]);
	for (int i = 0; i < 64; i++) {
		while (flow_ended(flows[i]) != each) {
			if (kt_now_ms() > deadline)
				kt_fail(__FILE__, __LINE__, "a channel came to a stop");
			kt_nap(1);
		}
		assert_int_equal(flow_free(flows[i]), each);
		assert_int_equal(atomic_load(&p[i].server->delivered), each);
	}
	for (int i = 0; i < 64; i++)
		kt_pair_free(&p[i]);
	kt_bus_destroy(&bus);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(inv_020_033_every_packet_ends_once_however_it_is_cut),
		KT_TEST(a_million_round_trips),
		KT_TEST(opens_and_closes_leak_nothing),
		KT_TEST(sixty_four_channels_at_once),
	};

	return KT_MAIN("kmcl-exactly-once", tests);
}
