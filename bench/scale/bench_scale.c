/* SPDX-License-Identifier: MIT */
/*
 * Many channels on one bus: what each costs to offer, open, use once and close, and what an idle
 * one holds. A cost that grows with the number of channels is a list somewhere.
 */
#include <kmcl/kmcl.h>
#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/bench.h"
#include "scale/account.h"

enum {
	MOST = 2047,
	PAYLOAD = 64,
	ROUNDS = 5,
	SECONDS = 120,
	IDLE_SECONDS = 6, /* threads of the pool that have nothing to do end meanwhile */
};

enum step {
	STEP_OFFER,
	STEP_OPEN,
	STEP_TRIP,
	STEP_CLOSE,
	STEP_REVOKE,
	STEPS,
};

static const char *const step_name[STEPS] = {"offer", "open", "first trip", "close", "revoke"};

struct figures {
	uint32_t channels;
	double us[STEPS]; /* a channel */
	double kib[2]
		  [ACCOUNTS + 1]; /* a channel: opened, used once; the last: all of the process */
	double tables;            /* KiB of page tables a channel, used once */
};

static VMBCHANNEL server[MOST], client[MOST];
static atomic_uint started, closed;

static void check(NTSTATUS status, const char *what, uint32_t i)
{
	if (NT_SUCCESS(status))
		return;
	fprintf(stderr, "channel %u: %s: %s\n", i, what, kmcl_status_name(status));
	exit(1);
}

static void await(atomic_uint *counter, uint32_t value, const char *what)
{
	double end = bench_seconds() + SECONDS;
	struct timespec pause = {.tv_nsec = 200000};

	while (atomic_load(counter) < value) {
		if (bench_seconds() > end) {
			fprintf(stderr, "only %u of %u channels %s\n", atomic_load(counter), value,
				what);
			exit(1);
		}
		nanosleep(&pause, NULL);
	}
}

/* ---- the drivers ---- */

static VOID client_started(VMBCHANNEL channel)
{
	atomic_fetch_add(&started, 1);
}

static VOID server_closed(VMBCHANNEL channel)
{
	atomic_fetch_add(&closed, 1);
}

static GUID instance_of(uint32_t i)
{
	/* not in the order of offers, as instances of devices are not */
	return (GUID){.Data1 = (i + 1) * 2654435761u, .Data2 = (USHORT)i};
}

static const GUID interface_id = {0x5ca1e000, 1, 2, {3, 4, 5, 6, 7, 8, 9, 10}};

static void offer(uint32_t i)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelClosed = server_closed;
	check(VmbChannelAllocate(NULL, TRUE, &server[i]), "VmbChannelAllocate", i);
	VmbChannelInitSetStateChangeCallbacks(server[i], &callbacks);
	check(VmbServerChannelInitSetTargetInterfaceId(server[i], interface_id, instance_of(i)),
	      "VmbServerChannelInitSetTargetInterfaceId", i);
	check(VmbChannelEnable(server[i]), "VmbChannelEnable", i);
	VmbChannelStart(server[i]);
}

static void listen(uint32_t i)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;
	GUID instance = instance_of(i);

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelPostStarted = client_started;
	check(VmbChannelAllocate(NULL, FALSE, &client[i]), "VmbChannelAllocate", i);
	VmbChannelInitSetStateChangeCallbacks(client[i], &callbacks);
	check(VmbClientChannelInitSetTargetPnp(client[i], &interface_id, &instance, NULL),
	      "VmbClientChannelInitSetTargetPnp", i);
	VmbClientChannelInitSetRingBufferPageCount(client[i], 2, 2);
	check(VmbChannelEnable(client[i]), "VmbChannelEnable", i);
}

static void ask(uint32_t i)
{
	uint8_t data[PAYLOAD] = {1}, answer[PAYLOAD];
	UINT32 size = sizeof(answer);

	check(VmbChannelSendSynchronousRequest(client[i], data, sizeof(data), NULL,
					       VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION,
					       answer, &size, NULL),
	      "VmbChannelSendSynchronousRequest", i);
}

/* ---- memory ---- */

static double status_kib(const char *key)
{
	char line[256];
	double value = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, strlen(key)))
			value = strtod(line + strlen(key) + 1, NULL);
	}
	if (f)
		fclose(f);
	return value;
}

/* Beyond the rings, which lie in guest memory. */
static void measure(double kib[ACCOUNTS + 1])
{
	for (int who = 0; who < ACCOUNTS; who++)
		kib[who] = (double)account_held((enum account)who) / 1024;
	kib[ACCOUNTS] = status_kib("RssAnon");
}

static void per_channel(double kib[ACCOUNTS + 1], const double before[ACCOUNTS + 1], uint32_t n)
{
	for (int i = 0; i <= ACCOUNTS; i++)
		kib[i] = (kib[i] - before[i]) / n;
}

/* ---- one size ---- */

static double each(void (*step)(uint32_t), uint32_t n, enum account who)
{
	double start = bench_seconds();

	account_enter(who);
	for (uint32_t i = 0; i < n; i++)
		step(i);
	account_enter(ACCOUNT_COMMON);
	return (bench_seconds() - start) * 1e6 / n;
}

static void disable_client(uint32_t i)
{
	VmbChannelDisable(client[i]);
}

static void disable_server(uint32_t i)
{
	VmbChannelDisable(server[i]);
}

static void clean_up(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		VmbChannelCleanup(client[i]);
		VmbChannelCleanup(server[i]);
	}
}

static void run(struct figures *f, uint32_t n, bool memory)
{
	kmcl_partition *partition;
	double before[ACCOUNTS + 1], start, tables;
	int code;

	malloc_trim(
		0); /* or what the last run left would be used again, and seem to cost nothing */
	tables = status_kib("VmPTE");
	code = kmcl_partition_create_loopback(NULL, &partition);
	if (code) {
		fprintf(stderr, "no partition: %s\n", strerror(-code));
		exit(1);
	}
	f->channels = n;
	atomic_store(&started, 0);
	atomic_store(&closed, 0);
	measure(before);
	f->us[STEP_OFFER] = each(offer, n, ACCOUNT_SERVER);
	start = bench_seconds();
	each(listen, n, ACCOUNT_CLIENT);
	await(&started, n, "opened");
	f->us[STEP_OPEN] = (bench_seconds() - start) * 1e6 / n;
	if (memory) {
		sleep(IDLE_SECONDS);
		measure(f->kib[0]);
		per_channel(f->kib[0], before, n);
	}
	f->us[STEP_TRIP] = each(ask, n, ACCOUNT_CLIENT);
	if (memory) {
		sleep(IDLE_SECONDS);
		measure(f->kib[1]);
		per_channel(f->kib[1], before, n);
		f->tables = (status_kib("VmPTE") - tables) / n;
	}
	f->us[STEP_CLOSE] = each(disable_client, n, ACCOUNT_CLIENT);
	await(&closed, n, "closed");
	f->us[STEP_REVOKE] = each(disable_server, n, ACCOUNT_SERVER);
	clean_up(n);
	kmcl_partition_destroy(partition);
}

static void keep_least(struct figures *f, const struct figures *again)
{
	for (int step = 0; step < STEPS; step++) {
		if (again->us[step] < f->us[step])
			f->us[step] = again->us[step];
	}
}

/* ---- results ---- */

static void print_costs(const struct figures *f, size_t count)
{
	printf("\nMany channels: microseconds a channel\n%12s", "channels");
	for (size_t i = 0; i < count; i++)
		printf(" %10" PRIu32, f[i].channels);
	printf(" %10s\n", "last/128");
	for (int step = 0; step < STEPS; step++) {
		printf("%12s", step_name[step]);
		for (size_t i = 0; i < count; i++)
			printf(" %10.1f", f[i].us[step]);
		printf(" %10.2f\n", f[count - 1].us[step] / f[1].us[step]);
	}
}

static double together(const double *kib)
{
	return kib[ACCOUNT_SERVER] + kib[ACCOUNT_CLIENT] + kib[ACCOUNT_COMMON];
}

static void print_memory(const struct figures *f)
{
	printf("\nAn idle open channel beyond its rings, of %" PRIu32 ": KiB\n%12s %10s %10s %10s "
	       "%10s %10s\n",
	       f->channels, "", "server", "client", "common", "together", "resident");
	for (int i = 0; i < 2; i++) {
		const double *kib = f->kib[i];

		printf("%12s %10.1f %10.1f %10.1f %10.1f %10.1f\n", i ? "used once" : "opened",
		       kib[ACCOUNT_SERVER], kib[ACCOUNT_CLIENT], kib[ACCOUNT_COMMON], together(kib),
		       kib[ACCOUNTS]);
	}
	printf("%12s %10.1f\n", "page tables", f->tables);
}

static bool write_json(const char *path, const struct figures *f, size_t count)
{
	FILE *out = fopen(path, "w");

	if (!out) {
		perror(path);
		return false;
	}
	fprintf(out, "{\"results\": [\n");
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "  {\"channels\": %" PRIu32, f[i].channels);
		for (int step = 0; step < STEPS; step++)
			fprintf(out, ", \"%s\": %.3f", step_name[step], f[i].us[step]);
		fprintf(out, "},\n");
	}
	f += count - 1;
	fprintf(out,
		"  {\"memory\": %" PRIu32 ", \"server\": %.2f, \"client\": %.2f, \"opened\": %.2f, "
		"\"used\": %.2f}\n]}\n",
		f->channels, f->kib[0][ACCOUNT_SERVER], f->kib[0][ACCOUNT_CLIENT],
		together(f->kib[0]), together(f->kib[1]));
	return fclose(out) == 0;
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = {16, 128, 512, MOST};
	const size_t count = sizeof(sizes) / sizeof(sizes[0]);
	struct figures figures[sizeof(sizes) / sizeof(sizes[0])] = {0};
	const char *json = NULL;
	size_t run_count = count;
	int rounds = ROUNDS;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick")) {
			run_count = 2;
			rounds = 1;
		} else if (!strcmp(argv[i], "--json") && i + 1 < argc) {
			json = argv[++i];
		} else {
			fprintf(stderr, "usage: %s [--quick] [--json FILE]\n", argv[0]);
			return 2;
		}
	}
	run(&figures[0], sizes[0], false); /* warms up */
	for (size_t i = 0; i < run_count; i++)
		run(&figures[i], sizes[i], i == run_count - 1);
	/* What else runs on the machine only ever adds: the least of several rounds counts. */
	for (int round = 1; round < rounds; round++) {
		for (size_t i = 0; i < run_count; i++) {
			struct figures again = {0};

			run(&again, sizes[i], false);
			keep_least(&figures[i], &again);
		}
	}
	print_costs(figures, run_count);
	print_memory(&figures[run_count - 1]);
	return json && !write_json(json, figures, run_count);
}
