/* SPDX-License-Identifier: MIT */
/* A host that serves a socket, and guests that come, work, leave, die and come again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

/* How often guest memory is mapped. */
static unsigned int mappings(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned int count = 0;
	char line[600];

	while (fgets(line, sizeof(line), file))
		count += strstr(line, "memfd:") != NULL;
	fclose(file);
	return count;
}

struct held {
	unsigned int fds, tasks, mappings;
};

static struct held held_now(void)
{
	return (struct held){
		.fds = entries("/proc/self/fd"),
		.tasks = entries("/proc/self/task"),
		.mappings = mappings(),
	};
}

/* Threads of the pool go when they have waited long enough. */
static void wait_for_no_more_than(const struct held *before)
{
	for (int i = 0;; i++, nap()) {
		struct held now = held_now();

		if (now.fds <= before->fds && now.tasks <= before->tasks &&
		    now.mappings <= before->mappings)
			return;
		assert_true(i < 20000);
	}
}

/* A process that does what a guest does until it is killed; with `serve`, what a host does. */
static pid_t doomed(const char *driver, const char *serve)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	execl(SERVE_GUEST, SERVE_GUEST, path, driver, serve, (char *)NULL);
	_exit(127);
}

static void live(long most_ns)
{
	struct timespec life = {.tv_nsec = rand() % most_ns};

	nanosleep(&life, NULL);
}

static void kill_it(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void killed_guests_leave_nothing_behind(void **state)
{
	int rounds = getenv("KMCL_SOAK") ? 250 : 10;
	kmcl_server *server = serve();
	struct held before;
	struct guest g;

	attach(&g, 0);
	wait_for_guests(server, 1);
	assert_true(echo_works(g.driver, 4));
	before = held_now();
	srand(4711);
	for (int round = 0; round < rounds; round++) {
		pid_t pid = doomed(ECHO_VSC, NULL);

		assert_true(pid > 0);
		live(60000000);
		kill_it(pid);
		assert_true(echo_works(g.driver, 4));
	}
	wait_for_guests(server, 1);
	wait_for_no_more_than(&before);
	detach(&g);
	kmcl_server_destroy(server);
}

/* ---- the host is killed ---- */

struct traffic {
	kmcl_driver *driver;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint runs, cut_short, wrong;
	uint8_t in[sizeof(struct echo_run) + 16384];
	uint8_t out[sizeof(struct echo_run_result) + 16384];
};

/* Each run returns when all of its requests have ended: a request that never does hangs here, and
 * one that does twice is a violation, which fails the test. */
static void note_run(struct traffic *t, size_t size)
{
	const struct echo_run_result *r = (const void *)t->out;

	if (size < sizeof(*r))
		return;
	atomic_fetch_add(&t->runs, 1);
	if (r->mismatches || r->completed > r->requests || r->bytes != r->completed * 1024)
		atomic_fetch_add(&t->wrong, 1);
	if (r->status)
		atomic_fetch_add(&t->cut_short, 1);
	else if (r->completed != 16 ||
		 memcmp(t->out + sizeof(*r), t->in + sizeof(struct echo_run), 16384) != 0)
		atomic_fetch_add(&t->wrong, 1);
}

static void *make_traffic(void *arg)
{
	struct traffic *t = arg;
	const struct echo_run run = {
		.op = ECHO_OP_ECHO, .size = 1024, .window = 8, .total = 16384, .tag = 1};

	memcpy(t->in, &run, sizeof(run));
	fill_bytes(t->in + sizeof(run), 16384, 11);
	while (!atomic_load(&t->stop)) {
		size_t size = 0;

		if (!kmcl_device_control(t->driver, 0, ECHO_IOCTL_RUN, t->in, sizeof(t->in), t->out,
					 sizeof(t->out), &size))
			note_run(t, size);
		else
			nap();
	}
	return NULL;
}

static struct traffic *start_traffic(kmcl_driver *driver)
{
	struct traffic *t = calloc(1, sizeof(*t));

	t->driver = driver;
	assert_int_equal(pthread_create(&t->thread, NULL, make_traffic, t), 0);
	return t;
}

static void end_traffic(struct traffic *t)
{
	atomic_store(&t->stop, true);
	pthread_join(t->thread, NULL);
	assert_int_equal(atomic_load(&t->wrong), 0);
	assert_true(atomic_load(&t->runs) > 0);
	free(t);
}

static void wait_for_run(struct traffic *t)
{
	unsigned int runs = atomic_load(&t->runs);

	for (int i = 0; atomic_load(&t->runs) == runs; i++, nap())
		assert_true(i < 20000);
}

/* A host that was killed before it listened leaves its socket under another name. */
static void remove_half_made(void)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char name[400];

	while ((entry = readdir(dir))) {
		snprintf(name, sizeof(name), "%s/%s", folder, entry->d_name);
		if (entry->d_name[0] != '.')
			assert_int_equal(unlink(name), 0);
	}
	closedir(dir);
}

static void a_killed_host_leaves_nothing_behind(void **state)
{
	int rounds = getenv("KMCL_SOAK") ? 250 : 10;
	pid_t pid = doomed(ECHO_VSP, "serve");
	struct traffic *traffic;
	struct held before;
	struct guest g;

	assert_true(pid > 0);
	attach(&g, 1);
	traffic = start_traffic(g.driver);
	wait_for_run(traffic);
	before = held_now();
	srand(4712);
	for (int round = 0; round < rounds; round++) {
		/* Every third at some moment of its beginning, before anybody is there. */
		if (round % 3) {
			assert_int_equal(kmcl_driver_wait_devices(g.driver, 1, 20000), 0);
			wait_for_run(traffic);
		}
		live(30000000);
		kill_it(pid);
		for (int i = 0; kmcl_driver_devices(g.driver); i++, nap())
			assert_true(i < 20000);
		pid = doomed(ECHO_VSP, "serve");
		assert_true(pid > 0);
	}
	assert_int_equal(kmcl_driver_wait_devices(g.driver, 1, 20000), 0);
	wait_for_run(traffic);
	wait_for_no_more_than(&before);
	end_traffic(traffic);
	assert_true(echo_works(g.driver, 16));
	detach(&g);
	kill_it(pid);
	assert_int_equal(unlink(path), 0);
	remove_half_made();
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

static uint64_t processor_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void a_host_out_of_descriptors_waits_for_some(void **state)
{
	const struct timespec a_while = {.tv_sec = 1};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct rlimit limit, none;
	kmcl_server *server = serve();
	struct guest g;
	uint64_t used;
	int fd, lowest;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	lowest = dup(fd);
	close(lowest);
	none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	used = processor_ns();
	nanosleep(&a_while, NULL);
	used = processor_ns() - used;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(used < 40000000);
	attach(&g, 0);
	assert_true(echo_works(g.driver, 4));
	detach(&g);
	close(fd);
	kmcl_server_destroy(server);
}

/* Nobody's file is taken for a socket that was left behind. */
static void only_a_socket_is_replaced(void **state)
{
	FILE *file = fopen(path, "w");
	kmcl_server *server;
	struct stat st;
	char *error;

	assert_non_null(file);
	fclose(file);
	assert_int_equal(kmcl_server_create(path, NULL, &server, &error), -EEXIST);
	assert_non_null(strstr(error, path));
	kmcl_free(error);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(unlink(path), 0);
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
		cmocka_unit_test_setup_teardown(a_killed_host_leaves_nothing_behind, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(only_so_many_guests, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_host_out_of_descriptors_waits_for_some, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(only_a_socket_is_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_wrong_is_said, set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_guest_can_be_looked_at, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
