/* SPDX-License-Identifier: MIT */
/* A host that serves a socket, and guests that come, work, leave, die and come again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kmcl/user.h>

#include "echo_host.h"

#define GUESTS 4

static char folder[64], path[96];

static int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/kmcl-serve-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/bus", folder);
	return 0;
}

/* Fails if the server left anything in the folder. */
static int tear_down(void **state)
{
	return rmdir(folder);
}

static void nap(void)
{
	struct timespec pause = {.tv_nsec = 1000000};

	nanosleep(&pause, NULL);
}

static void wait_for_guests(kmcl_server *server, unsigned int count)
{
	for (int i = 0; kmcl_server_guests(server) != count; i++, nap())
		assert_true(i < 20000);
}

static kmcl_server *serve(void)
{
	kmcl_server *server;
	char *error;

	assert_int_equal(kmcl_server_create(path, NULL, &server, &error), 0);
	assert_int_equal(kmcl_server_load(server, ECHO_VSP, &error), 0);
	assert_int_equal(kmcl_server_start(server, &error), 0);
	return server;
}

struct guest {
	kmcl_partition *partition;
	kmcl_driver *driver;
};

/* Some kilobytes come back as they went. */
static bool echo_works(kmcl_driver *driver, uint32_t kilobytes)
{
	struct echo_host host = {.client = driver};
	struct echo_run run = {.op = ECHO_OP_ECHO,
			       .size = 1024,
			       .window = 4,
			       .total = kilobytes * 1024u,
			       .tag = 1};
	uint8_t *data = malloc(run.total);
	struct run_answer answer;
	bool good;

	fill_bytes(data, run.total, 7);
	echo_wait_running(&host, 0, true);
	echo_run_on(&host, 0, &run, data, run.total, &answer);
	good = !answer.status && answer.data_size == run.total &&
	       !memcmp(answer.data, data, run.total);
	free(answer.data);
	free(data);
	return good;
}

static void attach(struct guest *g, uint32_t reconnect)
{
	struct kmcl_guest_options options = {
		.size = sizeof(options), .wait_ms = 5000, .reconnect = reconnect};
	char *error;

	assert_int_equal(kmcl_partition_create_user(path, &options, &g->partition, &error), 0);
	assert_int_equal(kmcl_driver_load(g->partition, KMCL_CLIENT, ECHO_VSC, &g->driver, &error),
			 0);
	assert_int_equal(kmcl_driver_wait_devices(g->driver, 1, 20000), 0);
}

static void detach(struct guest *g)
{
	assert_int_equal(kmcl_driver_unload(g->driver), 0);
	kmcl_partition_destroy(g->partition);
}

static void guests_have_their_own_devices(void **state)
{
	kmcl_server *server = serve();
	struct guest guests[GUESTS];

	for (int i = 0; i < GUESTS; i++)
		attach(&guests[i], 0);
	wait_for_guests(server, GUESTS);
	for (int i = 0; i < GUESTS; i++)
		assert_true(echo_works(guests[i].driver, 16));
	detach(&guests[1]);
	wait_for_guests(server, GUESTS - 1);
	for (int i = 0; i < GUESTS; i++)
		assert_true(i == 1 || echo_works(guests[i].driver, 16));
	for (int i = 0; i < GUESTS; i++)
		if (i != 1)
			detach(&guests[i]);
	kmcl_server_destroy(server);
}

static void a_host_that_restarts_is_found_again(void **state)
{
	kmcl_server *server = serve();
	struct guest g;

	attach(&g, 1);
	assert_true(echo_works(g.driver, 16));
	for (int round = 0; round < 3; round++) {
		kmcl_server_destroy(server);
		for (int i = 0; kmcl_driver_devices(g.driver); i++, nap())
			assert_true(i < 20000);
		server = serve();
		assert_int_equal(kmcl_driver_wait_devices(g.driver, 1, 20000), 0);
		assert_true(echo_works(g.driver, 16));
	}
	detach(&g);
	kmcl_server_destroy(server);
}

static unsigned int entries(const char *name)
{
	DIR *dir = opendir(name);
	unsigned int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* A process that does what a guest does until it is killed, at a moment of its own choice. */
static pid_t doomed(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	execl(SERVE_GUEST, SERVE_GUEST, path, ECHO_VSC, (char *)NULL);
	_exit(127);
}

static void killed_guests_leave_nothing_behind(void **state)
{
	int rounds = getenv("KMCL_SOAK") ? 250 : 10;
	kmcl_server *server = serve();
	unsigned int fds, tasks;
	struct guest g;

	attach(&g, 0);
	wait_for_guests(server, 1);
	fds = entries("/proc/self/fd");
	tasks = entries("/proc/self/task");
	srand(4711);
	for (int round = 0; round < rounds; round++) {
		struct timespec life = {.tv_nsec = rand() % 60000000};
		pid_t pid = doomed();
		int status;

		assert_true(pid > 0);
		nanosleep(&life, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_true(echo_works(g.driver, 4));
	}
	wait_for_guests(server, 1);
	for (int i = 0; entries("/proc/self/fd") != fds || entries("/proc/self/task") != tasks;
	     i++, nap())
		assert_true(i < 20000);
	detach(&g);
	kmcl_server_destroy(server);
}

static void only_so_many_guests(void **state)
{
	struct kmcl_server_options options = {.size = sizeof(options), .guests = 1};
	kmcl_partition *partition;
	kmcl_server *server;
	struct guest g;
	char *error;

	assert_int_equal(kmcl_server_create(path, &options, &server, &error), 0);
	assert_int_equal(kmcl_server_load(server, ECHO_VSP, &error), 0);
	assert_int_equal(kmcl_server_start(server, &error), 0);
	attach(&g, 0);
	assert_true(kmcl_partition_create_user(path, NULL, &partition, &error) < 0);
	assert_non_null(strstr(error, path));
	kmcl_free(error);
	assert_true(echo_works(g.driver, 4));
	detach(&g);
	/* Its place is free again. */
	for (int i = 0; i < 1000; i++) {
		if (!kmcl_partition_create_user(path, NULL, &partition, NULL))
			break;
		partition = NULL;
		nap();
	}
	assert_non_null(partition);
	kmcl_partition_destroy(partition);
	kmcl_server_destroy(server);
}

static void what_is_wrong_is_said(void **state)
{
	char *error = NULL, longest[200];
	kmcl_partition *partition;
	kmcl_server *server;
	struct stat st;

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(kmcl_server_create(longest, NULL, &server, &error), -ENAMETOOLONG);
	assert_non_null(error);
	kmcl_free(error);
	assert_int_equal(kmcl_server_create("/no/such/folder/bus", NULL, &server, &error), -ENOENT);
	assert_non_null(strstr(error, "/no/such/folder/bus"));
	kmcl_free(error);
	assert_null(server);
	assert_int_equal(kmcl_partition_create_user(path, NULL, &partition, &error), -ENOENT);
	assert_non_null(strstr(error, path));
	kmcl_free(error);
	assert_int_equal(kmcl_server_create(path, NULL, &server, &error), 0);
	assert_int_equal(kmcl_server_load(server, "/no/such/driver.so", &error), -ENOEXEC);
	assert_non_null(strstr(error, "/no/such/driver.so"));
	kmcl_free(error);
	/* Nobody finds it before it is started, and then it is ours alone. */
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(kmcl_server_start(server, &error), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(kmcl_server_load(server, ECHO_VSP, &error), -EBUSY);
	kmcl_free(error);
	kmcl_server_destroy(server);
	assert_int_equal(stat(path, &st), -1);
}

static int count_offers(void *ctx, unsigned int guest, kmcl_partition *partition)
{
	unsigned int *seen = ctx;
	struct kmcl_channel_stats stats;

	assert_true(guest >= 1);
	if (kmcl_partition_stats(partition, &stats, 1) == 1)
		(*seen)++;
	return 0;
}

static void each_guest_can_be_looked_at(void **state)
{
	kmcl_server *server = serve();
	struct guest guests[2];
	unsigned int seen = 0;

	attach(&guests[0], 0);
	attach(&guests[1], 0);
	wait_for_guests(server, 2);
	assert_int_equal(kmcl_server_each(server, count_offers, &seen), 0);
	assert_int_equal(seen, 2);
	detach(&guests[0]);
	detach(&guests[1]);
	kmcl_server_destroy(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(guests_have_their_own_devices, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_host_that_restarts_is_found_again, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(killed_guests_leave_nothing_behind, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(only_so_many_guests, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_wrong_is_said, set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_guest_can_be_looked_at, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
