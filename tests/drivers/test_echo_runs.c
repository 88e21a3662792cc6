/* SPDX-License-Identifier: MIT */
/* Many requests, many channels, and channels that close in the middle of it all. */
#include "echo_host.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct echo_host host;

static void forget(struct run_answer *answer)
{
	free(answer->data);
	answer->data = NULL;
}

static void assert_whole(const struct run_answer *answer, uint64_t requests)
{
	if (answer->status < 0)
		fail_msg("device control: %s", kmcl_status_name(answer->status));
	if (answer->result.status)
		fail_msg("run: %s", kmcl_status_name((kmcl_status)answer->result.status));
	assert_int_equal(answer->result.mismatches, 0);
	assert_int_equal(answer->result.requests, requests);
	assert_int_equal(answer->result.completed, requests);
}

static uint64_t round_trips(const struct run_answer *answer)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < ECHO_HISTOGRAM_BUCKETS; i++)
		sum += answer->result.histogram[i];
	return sum;
}

/* ---- volume ---- */

/* 100,000 round trips by default, a million in the long run. */
static void a_hundred_thousand_round_trips(void **state)
{
	const unsigned int count = scaled(100000), size = 16;
	struct run_answer answer;
	uint8_t *data = malloc((size_t)count * size);

	fill_bytes(data, (size_t)count * size, 42);
	echo_host_start(&host, 1, NULL, NULL);
	for (unsigned int done = 0; done < count;) {
		unsigned int n = count - done < 100000 ? count - done : 100000;
		struct echo_run run = {.op = ECHO_OP_ECHO,
				       .size = size,
				       .window = 64,
				       .total = (uint64_t)n * size,
				       .tag = done};

		echo_run_on(&host, 0, &run, data + (size_t)done * size, run.total, &answer);
		assert_whole(&answer, n);
		assert_int_equal(answer.data_size, run.total);
		assert_memory_equal(answer.data, data + (size_t)done * size, run.total);
		assert_int_equal(round_trips(&answer), n);
		forget(&answer);
		done += n;
	}
	echo_host_stop(&host);
	free(data);
}

static void one_at_a_time(void **state)
{
	struct echo_run run = {.op = ECHO_OP_ECHO, .size = 8, .window = 1, .tag = 9};
	struct run_answer answer;
	uint8_t data[8000];

	run.total = sizeof(data);
	fill_bytes(data, sizeof(data), 5);
	echo_host_start(&host, 1, NULL, NULL);
	echo_run_on(&host, 0, &run, data, sizeof(data), &answer);
	assert_whole(&answer, 1000);
	assert_memory_equal(answer.data, data, sizeof(data));
	forget(&answer);
	echo_host_stop(&host);
}

/* Rings so small that requests wait for room all the time. */
static void small_rings(void **state)
{
	const size_t size = 1 << 20;
	struct echo_run run = {
		.op = ECHO_OP_ECHO, .size = 8192, .window = 64, .total = size, .tag = 9};
	struct run_answer answer;
	uint8_t *data = malloc(size);

	fill_bytes(data, size, 6);
	echo_host_start(&host, 1, "quota=3", "ring=2");
	echo_run_on(&host, 0, &run, data, size, &answer);
	assert_whole(&answer, 128);
	assert_memory_equal(answer.data, data, size);
	forget(&answer);
	echo_host_stop(&host);
	free(data);
}

static void every_op_in_volume(void **state)
{
	const size_t size = 4000001;
	struct echo_run run = {.total = size, .size = 65537, .window = 8, .tag = 0xf0};
	uint64_t requests = (size + run.size - 1) / run.size;
	uint8_t *data = malloc(size), digest[32];
	struct run_answer answer;

	fill_bytes(data, size, 7);
	echo_host_start(&host, 1, NULL, NULL);
	for (run.op = ECHO_OP_SUM; run.op <= ECHO_OP_GPADL_SUM;
	     run.op += ECHO_OP_GPADL_SUM - ECHO_OP_SUM) {
		echo_run_on(&host, 0, &run, data, requests * 32, &answer);
		assert_whole(&answer, requests);
		for (uint64_t i = 0; i < requests; i++) {
			size_t n = size - i * run.size < run.size ? size - i * run.size : run.size;

			sha256_of(data + i * run.size, n, digest);
			assert_memory_equal(answer.data + 32 * i, digest, 32);
		}
		forget(&answer);
	}
	run.op = ECHO_OP_FILL;
	echo_run_on(&host, 0, &run, NULL, size, &answer);
	assert_whole(&answer, requests);
	for (size_t i = 0; i < size; i++) {
		if (answer.data[i] != ((run.tag + i / run.size + i % run.size) & 0xff))
			fail_msg("byte %zu", i);
	}
	forget(&answer);
	echo_host_stop(&host);
	free(data);
}

/* ---- many channels ---- */

struct worker {
	pthread_t thread;
	unsigned int device;
	bool good;
};

static void *echo_worker(void *arg)
{
	struct worker *w = arg;
	struct echo_run run = {
		.op = ECHO_OP_ECHO, .size = 100, .window = 8, .total = 20000, .tag = w->device};
	struct run_answer answer;
	uint8_t data[20000];

	fill_bytes(data, sizeof(data), w->device);
	echo_run_on(&host, w->device, &run, data, sizeof(data), &answer);
	w->good = answer.status == 0 && answer.result.status == 0 &&
		  answer.result.completed == 200 && !memcmp(answer.data, data, sizeof(data));
	forget(&answer);
	return NULL;
}

static void sixty_four_channels_at_once(void **state)
{
	struct worker workers[64];

	echo_host_start(&host, 64, NULL, NULL);
	for (unsigned int i = 0; i < 64; i++) {
		workers[i].device = i;
		assert_int_equal(pthread_create(&workers[i].thread, NULL, echo_worker, &workers[i]),
				 0);
	}
	for (unsigned int i = 0; i < 64; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_true(workers[i].good);
	}
	echo_host_stop(&host);
}

/* ---- closing ---- */

static void open_and_close_many_times(void **state)
{
	const unsigned int count = scaled(200);
	struct echo_info info;

	echo_host_start(&host, 1, NULL, NULL);
	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(echo_control(host.client, 0, 0, ECHO_IOCTL_DISABLE), 0);
		assert_int_equal(echo_control(host.client, 0, 0, ECHO_IOCTL_ENABLE), 0);
		echo_wait_running(&host, 0, true);
	}
	assert_alive(&host);
	echo_query_client(&host, 0, &info);
	assert_int_equal(info.opens, count + 1);
	echo_host_stop(&host);
}

static void offer_and_withdraw_many_times(void **state)
{
	const unsigned int count = scaled(100);

	echo_host_start(&host, 1, NULL, NULL);
	for (unsigned int i = 0; i < count; i++) {
		uint64_t end = now_ms() + PATIENCE_MS;

		assert_int_equal(echo_control(host.server, 0, 0, ECHO_IOCTL_DISABLE), 0);
		while (kmcl_driver_devices(host.client) && now_ms() < end)
			nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
		assert_int_equal(kmcl_driver_devices(host.client), 0);
		assert_int_equal(echo_control(host.server, 0, 0, ECHO_IOCTL_ENABLE), 0);
		assert_int_equal(kmcl_driver_wait_devices(host.client, 1, PATIENCE_MS), 0);
		echo_wait_running(&host, 0, true);
	}
	assert_alive(&host);
	echo_host_stop(&host);
}

static void a_closed_channel_refuses_at_once(void **state)
{
	struct echo_run run = {.op = ECHO_OP_STATS, .window = 1};
	struct run_answer answer;

	echo_host_start(&host, 1, NULL, NULL);
	assert_int_equal(echo_control(host.client, 0, 0, ECHO_IOCTL_DISABLE), 0);
	echo_run_on(&host, 0, &run, NULL, 16, &answer);
	assert_int_equal(answer.status, STATUS_DEVICE_NOT_CONNECTED_);
	echo_host_stop(&host);
}

/* What a transfer does that a close may hit. */
static const struct {
	uint32_t op, size, window;
	uint64_t total;
	size_t out;
} transfers[] = {
	{ECHO_OP_ECHO, 64, 64, 6400000, 6400000},
	{ECHO_OP_SUM, 4096, 16, 4 << 20, 32 << 10},
	{ECHO_OP_SINK, 1000, 64, 8000000, 0},
	{ECHO_OP_FILL, 4096, 16, 8 << 20, 8 << 20},
	{ECHO_OP_GPADL_SUM, 4096, 16, 4 << 20, 32 << 10},
	{ECHO_OP_PUSH, 1000, 4, 200000, 0},
};
#define TRANSFERS (sizeof(transfers) / sizeof(transfers[0]))

struct transfer {
	unsigned int which;
	struct run_answer answer;
};

static void *transfer_thread(void *arg)
{
	struct transfer *t = arg;
	struct echo_run run = {
		.op = transfers[t->which].op,
		.size = transfers[t->which].size,
		.window = transfers[t->which].window,
		.total = transfers[t->which].total,
		.tag = 1,
	};
	static uint8_t zeros[8 << 20];

	echo_run_on(&host, 0, &run, zeros, transfers[t->which].out, &t->answer);
	return NULL;
}

/* It ended with all its data, or with an error that says the channel went away. */
static void assert_ended(const struct run_answer *answer)
{
	kmcl_status status = (kmcl_status)answer->result.status;

	if (answer->status < 0) {
#ifdef ECHO_KMDF
		/* the framework's own words, for requests that the driver has not had */
		if (answer->status == STATUS_CANCELLED_ ||
		    answer->status == STATUS_INVALID_DEVICE_STATE_)
			return;
#endif
		if (answer->status != STATUS_DEVICE_NOT_CONNECTED_ &&
		    answer->status != STATUS_DEVICE_REMOVED_ &&
		    answer->status != STATUS_NO_SUCH_DEVICE_)
			fail_msg("refused with %s", kmcl_status_name(answer->status));
		return;
	}
	assert_int_equal(answer->result.mismatches, 0);
	if (!status)
		assert_int_equal(answer->result.completed, answer->result.requests);
	else if (status != STATUS_DEVICE_REMOVED_ && status != STATUS_CANCELLED_)
		fail_msg("ended with %s", kmcl_status_name(status));
}

/* True: the close came in the middle. */
static bool close_during(unsigned int which, unsigned int round, kmcl_driver *side)
{
	bool cut;

	struct transfer t = {.which = which};
	struct timespec delay = {.tv_nsec = (long)(round * 37 % 23) * 150000};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, transfer_thread, &t), 0);
	nanosleep(&delay, NULL);
	assert_int_equal(echo_control(side, 0, 0, ECHO_IOCTL_DISABLE), 0);
	pthread_join(thread, NULL);
	assert_ended(&t.answer);
	cut = t.answer.status == 0 && t.answer.result.status != 0;
	forget(&t.answer);
	assert_int_equal(echo_control(side, 0, 0, ECHO_IOCTL_ENABLE), 0);
	assert_int_equal(kmcl_driver_wait_devices(host.client, 1, PATIENCE_MS), 0);
	return cut;
}

/* A busy machine may need more rounds until a close comes in the middle. */
static bool again(unsigned int round, unsigned int cut, uint64_t end)
{
	return round < scaled(60) + 12 || (!cut && now_ms() < end);
}

static void client_disabled_at_any_moment(void **state)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	unsigned int cut = 0;

	echo_host_start(&host, 1, NULL, NULL);
	for (unsigned int round = 0; again(round, cut, end); round++) {
		cut += close_during(round % TRANSFERS, round, host.client);
		echo_wait_running(&host, 0, true);
	}
	assert_true(cut > 0);
	assert_alive(&host);
	echo_host_stop(&host);
}

/* Whether the server's channel is open: its offer has a device, and that is not the one before. */
static bool server_is_open(void)
{
	struct echo_select select = {.channel = 0};
	struct echo_info info;
	size_t returned;

	assert_int_equal(kmcl_device_control(host.server, 0, ECHO_IOCTL_QUERY, &select,
					     sizeof(select), &info, sizeof(info), &returned),
			 0);
	return info.open;
}

static void server_disabled_at_any_moment(void **state)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	unsigned int cut = 0;

	echo_host_start(&host, 1, NULL, NULL);
	for (unsigned int round = 0; again(round, cut, end); round++) {
		uint64_t settled_by;

		cut += close_during(round % TRANSFERS, round, host.server);
		/* the device of the offer before may still be there, or on its way out */
		settled_by = now_ms() + PATIENCE_MS;
		for (int quiet = 0; quiet < 10; quiet++) {
			nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
			if (kmcl_driver_devices(host.client) != 1 || !server_is_open())
				quiet = -1;
			assert_true(now_ms() < settled_by);
		}
		echo_wait_running(&host, 0, true);
	}
	assert_true(cut > 0);
	assert_alive(&host);
	echo_host_stop(&host);
}

/* A pause holds a transfer up and loses nothing. */
static void pause_during(unsigned int which, kmcl_driver *side, bool may_cancel)
{
	struct transfer t = {.which = which};
	struct timespec delay = {.tv_nsec = 500000};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, transfer_thread, &t), 0);
	for (int i = 0; i < 5; i++) {
		nanosleep(&delay, NULL);
		assert_int_equal(echo_control(side, 0, 0, ECHO_IOCTL_PAUSE), 0);
		nanosleep(&delay, NULL);
		assert_int_equal(echo_control(side, 0, 0, ECHO_IOCTL_START), 0);
	}
	pthread_join(thread, NULL);
	assert_int_equal(t.answer.status, 0);
	assert_int_equal(t.answer.result.mismatches, 0);
	/* a server that is paused ends its GPADL_SUM and PUSH requests */
	if (!may_cancel || t.answer.result.status != (uint32_t)STATUS_CANCELLED_)
		assert_whole(&t.answer, t.answer.result.requests);
	forget(&t.answer);
}

static void paused_and_started_during_a_transfer(void **state)
{
	echo_host_start(&host, 1, NULL, NULL);
	for (unsigned int which = 0; which < TRANSFERS; which++) {
		bool held = transfers[which].op == ECHO_OP_GPADL_SUM ||
			    transfers[which].op == ECHO_OP_PUSH;

		pause_during(which, host.client, false);
		pause_during(which, host.server, held);
	}
	assert_alive(&host);
	echo_host_stop(&host);
}

static void wait_for_traffic(void)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	struct echo_info info = {0};
	size_t returned;

	while (!info.packets && now_ms() < end)
		assert_int_equal(kmcl_device_control(host.server, 0, ECHO_IOCTL_QUERY, NULL, 0,
						     &info, sizeof(info), &returned),
				 0);
	assert_true(info.packets > 0);
}

static void unload_during_a_transfer(void **state)
{
	for (unsigned int which = 0; which < TRANSFERS; which++) {
		struct transfer t = {.which = which};
		pthread_t thread;

		echo_host_start(&host, 1, NULL, NULL);
		assert_int_equal(pthread_create(&thread, NULL, transfer_thread, &t), 0);
		wait_for_traffic();
		assert_int_equal(kmcl_driver_unload(host.server), 0);
		pthread_join(thread, NULL);
		assert_int_equal(t.answer.status, 0);
		assert_ended(&t.answer);
		forget(&t.answer);
		assert_int_equal(kmcl_driver_unload(host.client), 0);
		kmcl_partition_destroy(host.partition);
	}
}

/* ---- side by side ---- */

/* A long GPADL_SUM holds nothing else up. */
static void others_flow_beside_a_gpadl_sum(void **state)
{
	struct echo_run run = {.op = ECHO_OP_ECHO, .size = 8, .window = 1, .total = 800, .tag = 1};
	struct run_answer echo, sum;
	struct transfer t = {.which = 4};
	uint8_t data[800] = {0};
	pthread_t thread;

	echo_host_start(&host, 1, NULL, NULL);
	assert_int_equal(pthread_create(&thread, NULL, transfer_thread, &t), 0);
	echo_run_on(&host, 0, &run, data, sizeof(data), &echo);
	assert_whole(&echo, 100);
	pthread_join(thread, NULL);
	sum = t.answer;
	assert_whole(&sum, 1024);
	forget(&echo);
	forget(&sum);
	echo_host_stop(&host);
}

static void wrong_runs_are_refused(void **state)
{
	static const struct echo_run wrong[] = {
		{.op = 0, .size = 1, .window = 1},
		{.op = 8, .size = 1, .window = 1},
		{.op = ECHO_OP_STATS, .window = 0},
		{.op = ECHO_OP_STATS, .window = ECHO_RUN_MAXIMUM_WINDOW + 1},
		{.op = ECHO_OP_FILL, .window = 1, .size = 0, .total = 1},
		{.op = ECHO_OP_ECHO, .window = 1, .size = 8193, .total = 0},
		{.op = ECHO_OP_FILL, .window = 1, .size = 1, .total = ECHO_RUN_MAXIMUM_DATA + 1ull},
		{.op = ECHO_OP_PUSH,
		 .window = 1,
		 .size = 1,
		 .total = ECHO_RUN_MAXIMUM_PUSHES + 1ull},
		{.op = ECHO_OP_STATS, .window = 1, .reserved = 1},
	};
	struct run_answer answer;

	echo_host_start(&host, 1, NULL, NULL);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		echo_run_on(&host, 0, &wrong[i], NULL, 100, &answer);
		assert_int_equal(answer.status, STATUS_INVALID_PARAMETER_);
	}
	assert_alive(&host);
	echo_host_stop(&host);
}

static bool has_thread(const char *name)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	bool found = false;

	assert_non_null(dir);
	while (!found && (entry = readdir(dir))) {
		char path[300], comm[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		found = fgets(comm, sizeof(comm), f) && !strncmp(comm, name, strlen(name));
		fclose(f);
	}
	closedir(dir);
	return found;
}

/* The host's key reaches the bus: its watch over the monitor page runs, and the signals arrive. */
static void an_offer_can_have_a_monitor(void **state)
{
	struct echo_run run = {.op = ECHO_OP_ECHO, .size = 8, .window = 1, .total = 800};
	struct run_answer answer;
	uint8_t data[800];

	fill_bytes(data, sizeof(data), 3);
	for (int monitored = 0; monitored < 2; monitored++) {
		echo_host_start(&host, 2, monitored ? "offer.monitor=2000" : NULL, NULL);
		assert_int_equal(has_thread("kmcl-host-mon"), monitored);
		for (unsigned int device = 0; device < 2; device++) {
			echo_run_on(&host, device, &run, data, sizeof(data), &answer);
			assert_whole(&answer, 100);
			assert_memory_equal(answer.data, data, sizeof(data));
			forget(&answer);
		}
		echo_host_stop(&host);
		assert_false(has_thread("kmcl-host-mon"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hundred_thousand_round_trips),
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(small_rings),
		cmocka_unit_test(every_op_in_volume),
		cmocka_unit_test(sixty_four_channels_at_once),
		cmocka_unit_test(open_and_close_many_times),
		cmocka_unit_test(offer_and_withdraw_many_times),
		cmocka_unit_test(a_closed_channel_refuses_at_once),
		cmocka_unit_test(client_disabled_at_any_moment),
		cmocka_unit_test(server_disabled_at_any_moment),
		cmocka_unit_test(paused_and_started_during_a_transfer),
		cmocka_unit_test(unload_during_a_transfer),
		cmocka_unit_test(others_flow_beside_a_gpadl_sum),
		cmocka_unit_test(wrong_runs_are_refused),
		cmocka_unit_test(an_offer_can_have_a_monitor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
