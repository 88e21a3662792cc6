/* SPDX-License-Identifier: MIT */
/* Offers that come and go, drivers that come and go, partitions that come and go. */
#include "../drivers/echo_host.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static kmcl_driver *load(kmcl_partition *partition, enum kmcl_end end, const char *spec)
{
	kmcl_driver *driver;
	char *error = NULL;

	if (kmcl_driver_load(partition, end, spec, &driver, &error))
		fail_msg("%s", error);
	return driver;
}

static void wait_devices(kmcl_driver *driver, unsigned int count)
{
	uint64_t end = now_ms() + PATIENCE_MS;

	while (kmcl_driver_devices(driver) != count) {
		if (now_ms() > end)
			fail_msg("%u devices, not %u", kmcl_driver_devices(driver), count);
		nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
	}
}

static unsigned int entries(const char *path)
{
	unsigned int count = 0;
	DIR *d = opendir(path);

	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

static void offers_after_the_client(void **state)
{
	kmcl_partition *partition;
	kmcl_driver *client, *server;

	assert_int_equal(kmcl_partition_create_loopback(NULL, &partition), 0);
	client = load(partition, KMCL_CLIENT, ECHO_VSC);
	assert_int_equal(kmcl_driver_devices(client), 0);
	assert_int_equal(kmcl_driver_wait_devices(client, 1, 20), -ETIMEDOUT);
	for (unsigned int channels = 1; channels < 6; channels += 2) {
		char spec[1024];

		snprintf(spec, sizeof(spec), "%s,channels=%u", ECHO_VSP, channels);
		server = load(partition, KMCL_SERVER, spec);
		assert_int_equal(kmcl_driver_wait_devices(client, channels, PATIENCE_MS), 0);
		assert_int_equal(kmcl_driver_devices(client), channels);
		/* withdrawn: surprise removal, removal */
		assert_int_equal(kmcl_driver_unload(server), 0);
		wait_devices(client, 0);
	}
	assert_int_equal(kmcl_driver_unload(client), 0);
	kmcl_partition_destroy(partition);
}

static void one_offer_comes_and_goes_beside_others(void **state)
{
	struct echo_host host;
	struct echo_info info;
	bool seen[3] = {false};

	echo_host_start(&host, 3, NULL, NULL);
	assert_int_equal(echo_control(host.server, 0, 1, ECHO_IOCTL_DISABLE), 0);
	wait_devices(host.client, 2);
	for (unsigned int i = 0; i < 2; i++) {
		echo_query_client(&host, i, &info);
		seen[info.instance[15] - 0xe0] = true;
	}
	assert_true(seen[0] && !seen[1] && seen[2]);
	assert_alive(&host);
	assert_int_equal(echo_control(host.server, 0, 1, ECHO_IOCTL_ENABLE), 0);
	assert_int_equal(kmcl_driver_wait_devices(host.client, 3, PATIENCE_MS), 0);
	echo_wait_running(&host, 2, true);
	echo_query_client(&host, 2, &info);
	assert_int_equal(info.instance[15], 0xe1);
	echo_host_stop(&host);
}

/* An offer is one driver's; when that driver goes, another one that matches gets it. */
static void an_offer_has_one_driver(void **state)
{
	kmcl_partition *partition;
	kmcl_driver *first, *second, *server;
	char other[1024], command[4096];
	uint64_t end;

	/* the same driver, in a file of its own */
	snprintf(other, sizeof(other), "%s/pnp-second.so", ODD_DRIVERS);
	snprintf(command, sizeof(command), "cp '%s' '%s' && cp '%.*s.inf' '%s/pnp-second.inf'",
		 ECHO_VSC, other, (int)strlen(ECHO_VSC) - 3, ECHO_VSC, ODD_DRIVERS);
	assert_int_equal(system(command), 0);
	assert_int_equal(kmcl_partition_create_loopback(NULL, &partition), 0);
	first = load(partition, KMCL_CLIENT, ECHO_VSC);
	second = load(partition, KMCL_CLIENT, other);
	server = load(partition, KMCL_SERVER, ECHO_VSP ",channels=2");
	end = now_ms() + PATIENCE_MS;
	while (kmcl_driver_devices(first) + kmcl_driver_devices(second) < 2 && now_ms() < end)
		nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
	nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(kmcl_driver_devices(first) + kmcl_driver_devices(second), 2);
	assert_int_equal(kmcl_driver_unload(first), 0);
	assert_int_equal(kmcl_driver_wait_devices(second, 2, PATIENCE_MS), 0);
	assert_int_equal(kmcl_driver_devices(second), 2);
	assert_int_equal(kmcl_driver_unload(server), 0);
	assert_int_equal(kmcl_driver_unload(second), 0);
	kmcl_partition_destroy(partition);
	snprintf(command, sizeof(command), "rm '%s' '%s/pnp-second.inf'", other, ODD_DRIVERS);
	assert_int_equal(system(command), 0);
}

/* A subchannel belongs to its primary's device. */
static void a_subchannel_gets_no_device(void **state)
{
	kmcl_partition *partition;
	kmcl_driver *client, *server, *primary;

	assert_int_equal(kmcl_partition_create_loopback(NULL, &partition), 0);
	client = load(partition, KMCL_CLIENT, ECHO_VSC);
	server = load(partition, KMCL_SERVER, ECHO_VSP ",offer.subchannel=1");
	primary = load(partition, KMCL_SERVER, ECHO_VSP);
	assert_int_equal(kmcl_driver_wait_devices(client, 1, PATIENCE_MS), 0);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	assert_int_equal(kmcl_driver_devices(client), 1);
	assert_int_equal(kmcl_driver_unload(server), 0);
	assert_int_equal(kmcl_driver_devices(client), 1);
	assert_int_equal(kmcl_driver_unload(primary), 0);
	wait_devices(client, 0);
	kmcl_partition_destroy(partition);
}

/* ---- unloading ---- */

static void any_order_of_unloading(void **state)
{
	for (int server_first = 0; server_first < 2; server_first++) {
		for (unsigned int again = 0; again < 5; again++) {
			struct echo_host host;
			kmcl_driver *first, *second;

			echo_host_start(&host, 4, NULL, NULL);
			first = server_first ? host.server : host.client;
			second = server_first ? host.client : host.server;
			assert_int_equal(kmcl_driver_unload(first), 0);
			assert_int_equal(kmcl_driver_unload(second), 0);
			kmcl_partition_destroy(host.partition);
		}
	}
}

static void destroyed_with_everything_open(void **state)
{
	for (unsigned int again = 0; again < 5; again++) {
		struct echo_host host;

		echo_host_start(&host, 4, NULL, NULL);
		kmcl_partition_destroy(host.partition);
	}
}

/* Unloaded at once, while its devices are being made. */
static void unloaded_while_it_starts(void **state)
{
	for (unsigned int again = 0; again < scaled(30); again++) {
		kmcl_partition *partition;
		kmcl_driver *client, *server;

		assert_int_equal(kmcl_partition_create_loopback(NULL, &partition), 0);
		server = load(partition, KMCL_SERVER, ECHO_VSP ",channels=4");
		client = load(partition, KMCL_CLIENT, ECHO_VSC);
		if (again % 2)
			assert_int_equal(kmcl_driver_unload(server), 0);
		assert_int_equal(kmcl_driver_unload(client), 0);
		kmcl_partition_destroy(partition);
	}
}

struct control_thread {
	struct echo_host *host;
	pthread_t thread;
	volatile bool stop;
	unsigned int calls;
};

static void *query_thread(void *arg)
{
	struct control_thread *t = arg;
	struct echo_info info;
	size_t returned;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		kmcl_device_control(t->host->client, 0, ECHO_IOCTL_QUERY, NULL, 0, &info,
				    sizeof(info), &returned);
		t->calls++;
	}
	return NULL;
}

/* Device control and the device's removal, at the same time. */
static void device_control_against_removal(void **state)
{
	struct echo_host host;
	struct control_thread t[2] = {0};

	echo_host_start(&host, 1, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		t[i].host = &host;
		assert_int_equal(pthread_create(&t[i].thread, NULL, query_thread, &t[i]), 0);
	}
	for (unsigned int again = 0; again < scaled(50); again++) {
		assert_int_equal(echo_control(host.server, 0, 0, ECHO_IOCTL_DISABLE), 0);
		wait_devices(host.client, 0);
		assert_int_equal(echo_control(host.server, 0, 0, ECHO_IOCTL_ENABLE), 0);
		assert_int_equal(kmcl_driver_wait_devices(host.client, 1, PATIENCE_MS), 0);
	}
	for (int i = 0; i < 2; i++) {
		__atomic_store_n(&t[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(t[i].thread, NULL);
		assert_true(t[i].calls > 0);
	}
	echo_host_stop(&host);
}

/* ---- partitions ---- */

static void partitions_leave_nothing_behind(void **state)
{
	unsigned int files = 0;

	for (unsigned int again = 0; again < scaled(50) + 5; again++) {
		struct echo_host host;

		echo_host_start(&host, 1, NULL, NULL);
		echo_host_stop(&host);
		/* the first ones start what stays: the log, the pool of threads */
		if (again == 4)
			files = entries("/proc/self/fd");
	}
	assert_int_equal(entries("/proc/self/fd"), files);
}

static void partitions_side_by_side(void **state)
{
	struct echo_host hosts[4];
	struct kmcl_channel_stats stats[16];

	for (unsigned int i = 0; i < 4; i++)
		echo_host_start(&hosts[i], i + 1, NULL, NULL);
	for (unsigned int i = 0; i < 4; i++) {
		assert_alive(&hosts[i]);
		assert_int_equal(kmcl_partition_stats(hosts[i].partition, stats, 16), 2 * (i + 1));
	}
	for (unsigned int i = 0; i < 4; i++)
		echo_host_stop(&hosts[(i * 3) % 4]);
}

/* ---- statistics ---- */

static void statistics_of_both_ends(void **state)
{
	struct kmcl_channel_stats stats[2], *server, *client;
	struct echo_host host;

	echo_host_start(&host, 1, NULL, NULL);
	for (int i = 0; i < 10; i++)
		assert_alive(&host);
	assert_int_equal(kmcl_partition_stats(host.partition, NULL, 0), 2);
	assert_int_equal(kmcl_partition_stats(host.partition, stats, 1), 2);
	assert_int_equal(kmcl_partition_stats(host.partition, stats, 2), 2);
	server = stats[0].server ? &stats[0] : &stats[1];
	client = stats[0].server ? &stats[1] : &stats[0];
	assert_int_equal(server->server, 1);
	assert_int_equal(client->server, 0);
	assert_string_equal(server->name, "echo E0");
	assert_int_equal(server->channel_id, client->channel_id);
	assert_int_equal(client->packets_sent, 10);
	assert_int_equal(server->packets_received, 10);
	assert_int_equal(client->bytes_sent, server->bytes_received);
	assert_int_equal(client->outstanding_out, 0);
	/* the server's end may still be putting the last packet away */
	for (uint64_t end = now_ms() + PATIENCE_MS; server->outstanding_in && now_ms() < end;)
		kmcl_partition_stats(host.partition, stats, 2);
	assert_int_equal(server->outstanding_in, 0);
	echo_host_stop(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offers_after_the_client),
		cmocka_unit_test(one_offer_comes_and_goes_beside_others),
		cmocka_unit_test(an_offer_has_one_driver),
		cmocka_unit_test(a_subchannel_gets_no_device),
		cmocka_unit_test(any_order_of_unloading),
		cmocka_unit_test(destroyed_with_everything_open),
		cmocka_unit_test(unloaded_while_it_starts),
		cmocka_unit_test(device_control_against_removal),
		cmocka_unit_test(partitions_leave_nothing_behind),
		cmocka_unit_test(partitions_side_by_side),
		cmocka_unit_test(statistics_of_both_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
