/* SPDX-License-Identifier: MIT */
/*
 * Traffic between real ends on memory that somebody scribbles over: rings, control pages, SynIC
 * pages, pages that packets carry. A round chooses what and how by its seed, lets everything run
 * for a while, stops, opens the channels again and sees that traffic is right. Now and then the
 * whole partition goes down in the middle of it, and nothing may be left.
 *
 *   KMCL_MUTATOR_SECONDS=n  how long (asan: 45, else 4; with KMCL_SOAK 3600 and 600)
 *   KMCL_MUTATOR_SEED=n     the first round's seed; each round tells its own when something fails
 *   KMCL_MUTATOR_ROUNDS=n   no more than so many rounds
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/internal.h"
#include "partition/internal.h"

#include "echo_ioctl.h"
#include "echo_protocol.h"
#include "sha256.h"

#include "mutator.h"
#include "support.h"
#include "wire.h"

#define CHANNELS      4u
#define DATA_PAGES    16u
#define STUCK_NS      60000000000ull
#define TRAFFIC_BYTES 16384u

int echo_vsp_entry(void *driver, void *path);
int echo_vsc_entry(void *driver, void *path);

static struct {
	kmcl_partition *partition;
	kmcl_driver *server, *client;
	uint64_t data; /* GPA of DATA_PAGES that packets carry */
	pthread_t worker[CHANNELS];
	atomic_bool stop;
	struct mutator *mutators[2];
	atomic_bool mutating;
	uint64_t strokes, requests;
} world;

/* ---- what is under way, for whoever finds out that nothing is any more ---- */

#define LOG_LINES 64u

static struct {
	pthread_t thread;
	atomic_bool stop;
	_Atomic uint64_t since; /* 0: nothing that could hang */
	_Atomic(const char *) phase;
	uint64_t seed;
	uint32_t round;
	const char *way;
	struct mutation mutation;
	pthread_mutex_t lock;
	char line[LOG_LINES][160];
	uint32_t lines;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void keep_log(void *ctx, enum kmcl_log_severity severity, const char *subsystem,
		     uint32_t partition, uint32_t channel, const char *text)
{
	pthread_mutex_lock(&watch.lock);
	snprintf(watch.line[watch.lines++ % LOG_LINES], sizeof(watch.line[0]), "%u/%u %s: %s",
		 partition, channel, subsystem, text);
	pthread_mutex_unlock(&watch.lock);
}

static void print_file(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "    %s%s", line, strchr(line, '\n') ? "" : "\n");
	if (f)
		fclose(f);
}

static void print_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	char path[300];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		fprintf(stderr, "  thread %s\n", entry->d_name);
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		print_file(path);
		snprintf(path, sizeof(path), "/proc/self/task/%s/wchan", entry->d_name);
		print_file(path);
	}
	if (dir)
		closedir(dir);
}

static void print_round(const char *what)
{
	fprintf(stderr,
		"%s: round %u, phase \"%s\"; again with KMCL_MUTATOR_SEED=%llu "
		"(where %#x, how %#x, burst %u, pause %u us; %s)\n",
		what, watch.round, atomic_load(&watch.phase), (unsigned long long)watch.seed,
		watch.mutation.where, watch.mutation.how, watch.mutation.burst,
		watch.mutation.pause_us, watch.way ? watch.way : "");
	pthread_mutex_lock(&watch.lock);
	for (uint32_t i = watch.lines > 24 ? watch.lines - 24 : 0; i < watch.lines; i++)
		fprintf(stderr, "  log: %s\n", watch.line[i % LOG_LINES]);
	pthread_mutex_unlock(&watch.lock);
}

static void print_channels(void)
{
	struct kmcl_channel_stats stats[4 * CHANNELS];
	size_t n = kmcl_partition_stats(world.partition, stats, 4 * CHANNELS);

	for (size_t i = 0; i < n && i < 4 * CHANNELS; i++)
		fprintf(stderr, "  %s channel %u: state %u, in %u, out %u, queued %u\n",
			stats[i].server ? "server" : "client", stats[i].channel_id, stats[i].state,
			stats[i].outstanding_in, stats[i].outstanding_out, stats[i].queued);
}

static void *watch_run(void *arg)
{
	while (!atomic_load(&watch.stop)) {
		uint64_t since = atomic_load(&watch.since);

		nap_us(100000);
		if (!since || since != atomic_load(&watch.since) || now_ns() - since < STUCK_NS)
			continue;
		print_round("stuck");
		print_threads();
		fprintf(stderr, "channels:\n");
		print_channels();
		abort();
	}
	return NULL;
}

static void phase(const char *name)
{
	atomic_store(&watch.phase, name);
	atomic_store(&watch.since, now_ns());
}

static void violated(void *ctx, const char *rule, const char *driver, const char *text)
{
	fprintf(stderr, "contract violation %s by %s: %s\n", rule, driver, text);
	print_round("violation");
	abort();
}

#define MUST(expression)                                      \
	do {                                                  \
		if (!(expression)) {                          \
			fprintf(stderr, "%s\n", #expression); \
			print_round("wrong");                 \
			print_channels();                     \
			abort();                              \
		}                                             \
	} while (0)

/* ---- a partition ---- */

static void load(enum kmcl_end end, kmcl_driver **driver)
{
	static const char *const options[] = {"channels=4", NULL};
	static const char *const ids[] = {"VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01}", NULL};
	void *entry = end == KMCL_SERVER ? (void *)(uintptr_t)echo_vsp_entry
					 : (void *)(uintptr_t)echo_vsc_entry;
	char *error = NULL;

	MUST(!kmcl_driver_load_entry(world.partition, end,
				     end == KMCL_SERVER ? "echo_vsp" : "echo_vsc", entry,
				     end == KMCL_SERVER ? options : NULL,
				     end == KMCL_CLIENT ? ids : NULL, driver, &error));
}

static struct part *part(void)
{
	return world.partition->part;
}

static void stop_mutators(void)
{
	if (!atomic_exchange(&world.mutating, false))
		return;
	for (unsigned int i = 0; i < 2; i++)
		if (world.mutators[i])
			world.strokes += mutator_stop(world.mutators[i]);
	world.mutators[0] = world.mutators[1] = NULL;
}

/* Both ends are down, and the memory goes next: scribbling is over. */
static void (*destroy_transport)(void *transport);

static void end_of_transport(void *transport)
{
	stop_mutators();
	destroy_transport(transport);
}

static void start_world(void)
{
	struct kmcl_partition_options options;

	phase("start");
	arena_open();
	kmcl_partition_options_init(&options);
	options.processors = 2;
	options.memory = 64u << 20;
	MUST(!kmcl_partition_create_loopback(&options, &world.partition));
	destroy_transport = part()->transport_destroy;
	part()->transport_destroy = end_of_transport;
	MUST(arena_data(part_client(part()), DATA_PAGES, &world.data));
	load(KMCL_SERVER, &world.server);
	load(KMCL_CLIENT, &world.client);
}

/* ---- devices: the client's come and go, the channel is known by its instance ---- */

static bool query(uint32_t index, struct echo_info *info)
{
	size_t returned;

	return kmcl_device_control(world.client, index, ECHO_IOCTL_QUERY, NULL, 0, info,
				   sizeof(*info), &returned) >= 0;
}

static uint32_t find_device(uint32_t channel, struct echo_info *info)
{
	for (uint32_t i = kmcl_driver_devices(world.client); i-- > 0;)
		if (query(i, info) && info->instance[15] == 0xe0 + channel)
			return i;
	return ~0u;
}

static kmcl_status control(kmcl_driver *driver, uint32_t device, uint32_t channel, uint32_t code)
{
	struct echo_select select = {.channel = channel};
	size_t returned;

	return kmcl_device_control(driver, device, code, &select, sizeof(select), NULL, 0,
				   &returned);
}

/* ---- traffic ---- */

struct outcome {
	kmcl_status status;
	struct echo_run_result result;
	uint8_t data[TRAFFIC_BYTES];
	size_t bytes;
};

/* Bytes that no packet header is made of, should one be read where a payload is. */
static void fill(uint8_t *to, uint32_t n, uint64_t seed)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = (uint8_t)(0xa0 | (next_random(&seed) & 0xf));
}

static bool run(uint32_t device, uint32_t op, uint32_t total, uint32_t size, uint64_t seed,
		struct outcome *o)
{
	bool carries = op == ECHO_OP_ECHO || op == ECHO_OP_SUM || op == ECHO_OP_SINK ||
		       op == ECHO_OP_GPADL_SUM;
	struct echo_run ask = {
		.op = op, .size = size, .window = 1 + seed % 24, .total = total, .tag = seed};
	size_t in_size = sizeof(ask) + (carries ? total : 0);
	size_t out_size = sizeof(o->result) + TRAFFIC_BYTES, returned = 0;
	uint8_t *in = calloc(1, in_size), *out = calloc(1, out_size);

	memcpy(in, &ask, sizeof(ask));
	if (carries)
		fill(in + sizeof(ask), total, seed | 1);
	o->status = kmcl_device_control(world.client, device, ECHO_IOCTL_RUN, in, in_size, out,
					out_size, &returned);
	if (o->status >= 0) {
		memcpy(&o->result, out, sizeof(o->result));
		o->bytes = returned - sizeof(o->result);
		memcpy(o->data, out + sizeof(o->result), o->bytes);
	}
	free(in);
	free(out);
	return o->status >= 0 && !o->result.status;
}

/* External data of pages that are scribbled over too. */
static void sum_of_shared_pages(uint32_t device, uint64_t seed)
{
	struct {
		struct echo_raw ask;
		uint8_t request[16];
		uint64_t pfns[DATA_PAGES];
	} in = {.ask = {.flags = ECHO_RAW_WAIT | ECHO_RAW_PFNS, .request_size = 16}};
	uint32_t pages = 1 + seed % DATA_PAGES;
	size_t out_size = sizeof(struct echo_raw_result) + ECHO_RAW_MAXIMUM_REQUEST, returned;
	void *out = malloc(out_size);

	in.ask.external_size = pages * 8;
	put32(in.request, ECHO_OP_SUM);
	put32(in.request + 4, pages * PAGE);
	put64(in.request + 8, seed);
	for (uint32_t i = 0; i < pages; i++)
		in.pfns[i] = world.data / PAGE + (i * 5 + seed) % DATA_PAGES;
	kmcl_device_control(world.client, device, ECHO_IOCTL_RAW, &in,
			    sizeof(in.ask) + 16 + pages * 8, out, out_size, &returned);
	free(out);
}

/* Anything may come of it but a crash; that it comes back at all is what the watchdog sees to. */
static void *worker_run(void *arg)
{
	static const uint32_t ops[] = {ECHO_OP_ECHO,  ECHO_OP_SUM,       ECHO_OP_SINK,
				       ECHO_OP_STATS, ECHO_OP_GPADL_SUM, ECHO_OP_PUSH};
	uint32_t channel = (uint32_t)(uintptr_t)arg;
	uint64_t random = watch.seed ^ (channel + 1) * 0x9e3779b97f4a7c15u;
	struct outcome *o = malloc(sizeof(*o));
	struct echo_info info;

	while (!atomic_load(&world.stop)) {
		uint32_t device = find_device(channel, &info);
		uint32_t op = ops[next_random(&random) % 6];
		uint64_t seed = next_random(&random);

		if (device == ~0u) {
			nap_us(500);
			continue;
		}
		if (op == ECHO_OP_SUM && seed % 2)
			sum_of_shared_pages(device, seed);
		else if (!run(device, op, op == ECHO_OP_PUSH ? 200 : 8192,
			      op == ECHO_OP_PUSH ? 20 : 64 + seed % 2000, seed, o))
			nap_us(500);
		__atomic_fetch_add(&world.requests, 1, __ATOMIC_RELAXED);
	}
	free(o);
	return NULL;
}

static void start_workers(void)
{
	atomic_store(&world.stop, false);
	for (uintptr_t i = 0; i < CHANNELS; i++)
		MUST(!pthread_create(&world.worker[i], NULL, worker_run, (void *)i));
}

static void join_workers(void)
{
	for (uint32_t i = 0; i < CHANNELS; i++)
		pthread_join(world.worker[i], NULL);
}

/* ---- traffic that has to be right ---- */

static void digest_of(const uint8_t *data, uint32_t n, uint8_t *digest)
{
	struct sha256 sum;

	sha256_init(&sum);
	sha256_update(&sum, data, n);
	sha256_final(&sum, digest);
}

static void see_traffic(uint32_t channel, uint64_t seed)
{
	static uint8_t want[TRAFFIC_BYTES];
	static struct outcome o;
	struct echo_info info;
	uint32_t device = find_device(channel, &info);
	uint8_t digest[32];

	fill(want, TRAFFIC_BYTES, seed | 1);
	MUST(run(device, ECHO_OP_ECHO, 8192, 700, seed, &o) && !o.result.mismatches);
	MUST(o.bytes == 8192 && !memcmp(o.data, want, 8192));
	MUST(run(device, ECHO_OP_SUM, 8192, 8192, seed, &o) && !o.result.mismatches);
	digest_of(want, 8192, digest);
	MUST(o.bytes == 32 && !memcmp(o.data, digest, 32));
	MUST(run(device, ECHO_OP_GPADL_SUM, 8192, 8192, seed, &o) && !o.result.mismatches);
	MUST(o.bytes == 32 && !memcmp(o.data, digest, 32));
	MUST(run(device, ECHO_OP_FILL, 5000, 5000, seed, &o) && !o.result.mismatches);
	for (uint32_t i = 0; i < 5000; i++)
		MUST(o.data[i] == (uint8_t)(seed + i));
	MUST(run(device, ECHO_OP_PUSH, 300, 100, seed, &o) && o.result.pushes == 300);
	MUST(run(device, ECHO_OP_SINK, 4096, 512, seed, &o));
	MUST(run(device, ECHO_OP_STATS, 0, 0, seed, &o) && o.bytes == 16 && get64(o.data) >= 8);
}

static bool server_runs(uint32_t channel)
{
	struct echo_select select = {.channel = channel};
	struct echo_info info;
	size_t returned;

	return !kmcl_device_control(world.server, 0, ECHO_IOCTL_QUERY, &select, sizeof(select),
				    &info, sizeof(info), &returned) &&
	       info.running;
}

/* The server is asked first: when it was made to let go of a channel and has it again, the client's
 * device is not one that is about to go. */
static bool all_run(void)
{
	struct echo_info info;

	for (uint32_t i = 0; i < CHANNELS; i++)
		if (!server_runs(i) || find_device(i, &info) == ~0u || !info.running)
			return false;
	return true;
}

static void see_everything(uint64_t seed)
{
	phase("waiting for the channels to run");
	while (!all_run())
		nap_us(500);
	for (uint32_t i = 0; i < CHANNELS; i++) {
		phase("traffic that has to be right");
		see_traffic(i, seed + i);
	}
}

/* ---- opening again ---- */

/* The client's drivers close and open their channels. */
static void reopen_by_client(void)
{
	watch.way = "by the client";
	for (uint32_t i = 0; i < kmcl_driver_devices(world.client); i++) {
		phase("disable at the client");
		control(world.client, i, 0, ECHO_IOCTL_DISABLE);
	}
	for (uint32_t i = 0; i < kmcl_driver_devices(world.client); i++) {
		phase("enable at the client");
		control(world.client, i, 0, ECHO_IOCTL_ENABLE);
	}
}

/* The server's driver withdraws its offers and makes them again. */
static void reopen_by_server(void)
{
	watch.way = "by the server";
	for (uint32_t i = 0; i < CHANNELS; i++) {
		phase("disable at the server");
		control(world.server, 0, i, ECHO_IOCTL_DISABLE);
	}
	for (uint32_t i = 0; i < CHANNELS; i++) {
		phase("enable at the server");
		control(world.server, 0, i, ECHO_IOCTL_ENABLE);
	}
}

/* A server that withdrew what the scribbling hid from the client starts over as well. */
static void reset_bus(void)
{
	watch.way = "by a reset";
	phase("reset");
	MUST(!part_reset(part()));
}

/* ---- a round ---- */

static struct mutation choose(uint64_t *random)
{
	struct mutation m = {.seed = next_random(random)};

	m.where = 1 + next_random(random) % 15;
	if (next_random(random) % 3)
		m.where &= ~(uint32_t)ON_SYNIC;
	if (!m.where)
		m.where = ON_RINGS;
	m.how = 1 + next_random(random) % 31;
	m.burst = 1u << next_random(random) % 12;
	m.pause_us = next_random(random) % 2 ? 0 : (uint32_t)(next_random(random) % 2000);
	return m;
}

static void start_mutators(uint64_t *random)
{
	watch.mutation = choose(random);
	world.mutators[0] = mutator_start(&watch.mutation);
	if (next_random(random) % 2) {
		struct mutation second = watch.mutation;

		second.seed = next_random(random);
		world.mutators[1] = mutator_start(&second);
	}
	atomic_store(&world.mutating, true);
}

/* Channels come and go in the middle of it, as the host's driver wants. */
static bool churn(uint64_t *random)
{
	uint32_t n = (uint32_t)(next_random(random) % 4);

	if (next_random(random) % 3)
		n = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t channel = (uint32_t)(next_random(random) % CHANNELS);

		phase("churn");
		control(world.server, 0, channel, ECHO_IOCTL_DISABLE);
		nap_us((unsigned int)(next_random(random) % 3000));
		control(world.server, 0, channel, ECHO_IOCTL_ENABLE);
		nap_us((unsigned int)(next_random(random) % 3000));
	}
	return n;
}

/* What the SynIC lost is lost, and only a reset makes both ends forget that they wait for it. A
 * device that comes back from a churn is one that the client's side cannot name yet. */
static void recover(uint64_t *random, bool churned)
{
	uint64_t way = next_random(random) % 3;

	if (watch.mutation.where & ON_SYNIC || !way)
		reset_bus();
	else if (way == 1 || churned)
		reopen_by_server();
	else
		reopen_by_client();
}

static void do_round(uint64_t seed)
{
	uint64_t random = seed;
	bool churned;

	watch.seed = seed;
	start_workers();
	start_mutators(&random);
	phase("scribbling");
	nap_us(2000 + (unsigned int)(next_random(&random) % 60000));
	churned = churn(&random);
	stop_mutators();
	atomic_store(&world.stop, true);
	recover(&random, churned);
	phase("waiting for requests to end");
	join_workers();
	see_everything(seed);
}

/* ---- the end of a partition, in the middle of it or not ---- */

static void end_world(uint64_t *random, struct held held)
{
	bool scribbled = next_random(random) % 2;

	start_workers();
	if (scribbled)
		start_mutators(random);
	nap_us(1000 + (unsigned int)(next_random(random) % 20000));
	atomic_store(&world.stop, true);
	phase("the partition goes");
	/* workers that are inside a request stay there until its device goes; the others are gone
	 */
	nap_us(100000);
	kmcl_partition_destroy(world.partition);
	stop_mutators();
	join_workers();
	arena_close();
	assert_nothing_more_held(held);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/* It is the sanitizers that see a read outside a ring: most of the time is theirs. */
static uint64_t default_seconds(void)
{
	bool soak = getenv("KMCL_SOAK");

#if defined(__SANITIZE_ADDRESS__)
	return soak ? 3600 : 45;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
	return soak ? 3600 : 45;
#endif
#endif
	return soak ? 600 : 4;
}

static void scribbling_over_shared_memory(void **state)
{
	uint64_t seed = number("KMCL_MUTATOR_SEED", now_ns());
	uint64_t end = now_ns() + number("KMCL_MUTATOR_SECONDS", default_seconds()) * 1000000000u;
	uint64_t rounds = number("KMCL_MUTATOR_ROUNDS", UINT64_MAX), random = seed | 1;
	struct held held = count_held();

	printf("# KMCL_MUTATOR_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	while (now_ns() < end && watch.round < rounds) {
		uint32_t lives = 1 + (uint32_t)(next_random(&random) % 40);

		start_world();
		see_everything(seed);
		while (lives-- && now_ns() < end && watch.round < rounds) {
			watch.round++;
			do_round(seed);
			seed = next_random(&random);
		}
		end_world(&random, held);
	}
	printf("# %u rounds, %llu strokes, %llu runs\n", watch.round,
	       (unsigned long long)world.strokes, (unsigned long long)world.requests);
	assert_true(world.strokes > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scribbling_over_shared_memory),
	};
	int failed;

	kmcl_set_log(keep_log, NULL);
	kmcl_set_violation(violated, NULL);
	if (pthread_create(&watch.thread, NULL, watch_run, NULL))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	atomic_store(&watch.stop, true);
	pthread_join(watch.thread, NULL);
	return failed;
}
