/* SPDX-License-Identifier: MIT */
/* kmcl_partition_stats() while drivers come and go, from a thread that does nothing else. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <kmcl/kmcl.h>

#define ROUNDS   6
#define CHANNELS 4
#define LIMIT_MS 20000

struct viewer {
	kmcl_partition *partition;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint looks, most, wrong;
};

static void look(struct viewer *v)
{
	struct kmcl_channel_stats stats[4 * CHANNELS];
	size_t count = kmcl_partition_stats(v->partition, stats, 4 * CHANNELS);
	size_t without = kmcl_partition_stats(v->partition, NULL, 0);

	for (size_t i = 0; i < count && i < 4 * CHANNELS; i++) {
		bool sense = memchr(stats[i].name, 0, sizeof(stats[i].name)) &&
			     stats[i].channel_id <= 2047 && stats[i].server <= 1;

		atomic_fetch_add(&v->wrong, !sense);
	}
	/* Both ends of each channel, and never more. */
	atomic_fetch_add(&v->wrong, count > 2 * CHANNELS || without > 2 * CHANNELS);
	if (count > atomic_load(&v->most))
		atomic_store(&v->most, (unsigned int)count);
	atomic_fetch_add(&v->looks, 1);
}

static void *view(void *arg)
{
	struct viewer *v = arg;

	while (!atomic_load(&v->stop))
		look(v);
	return NULL;
}

static void wait_for(atomic_uint *what, unsigned int value)
{
	struct timespec ms = {.tv_nsec = 1000000};

	for (int i = 0; i < LIMIT_MS && atomic_load(what) < value; i++)
		nanosleep(&ms, NULL);
	assert_true(atomic_load(what) >= value);
}

/* From the first moment of the partition to its last, with channels that open and close. */
static void field_016_statistics_while_drivers_come_and_go(void **state)
{
	char server_spec[512], client_spec[512];

	snprintf(server_spec, sizeof(server_spec), "%s,channels=%d", ECHO_VSP, CHANNELS);
	snprintf(client_spec, sizeof(client_spec), "%s", ECHO_VSC);
	for (int i = 0; i < ROUNDS; i++) {
		struct viewer v = {0};
		kmcl_driver *server, *client;

		assert_int_equal(kmcl_partition_create_loopback(NULL, &v.partition), 0);
		assert_int_equal(pthread_create(&v.thread, NULL, view, &v), 0);
		assert_int_equal(
			kmcl_driver_load(v.partition, KMCL_SERVER, server_spec, &server, NULL), 0);
		assert_int_equal(
			kmcl_driver_load(v.partition, KMCL_CLIENT, client_spec, &client, NULL), 0);
		if (i & 1)
			wait_for(&v.most, 2 * CHANNELS);
		kmcl_driver_unload(i & 2 ? client : server);
		kmcl_driver_unload(i & 2 ? server : client);
		wait_for(&v.looks, atomic_load(&v.looks) + 2);
		atomic_store(&v.stop, true);
		pthread_join(v.thread, NULL);
		assert_int_equal(atomic_load(&v.wrong), 0);
		assert_int_equal(kmcl_partition_stats(v.partition, NULL, 0), 0);
		kmcl_partition_destroy(v.partition);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(field_016_statistics_while_drivers_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
