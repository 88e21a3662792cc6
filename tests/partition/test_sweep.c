/* SPDX-License-Identifier: MIT */
/*
 * In debug builds a partition looks at the invariants after each operation. One is broken here by
 * hand, in a process of its own, and the next operation has to end that process.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#include "partition/client_end.h"
#include "partition/server_end.h"
#include "vmbus/client_internal.h"
#include "vmbus/server_internal.h"

#ifdef KMCL_DEBUG_SWEEP
#define SWEPT 1
#else
#define SWEPT 0
#endif

/* Keeps the expected death quiet. */
static void begin_child(void)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	signal(SIGABRT, SIG_DFL);
	if (!freopen("/dev/null", "w", stderr))
		_exit(3);
	alarm(20);
}

static void break_server(void)
{
	struct raw_message m;
	struct raw_guest g;

	raw_guest_start(&g, NULL);
	pthread_mutex_lock(&g.host->lock);
	g.host->srv->s->tearing++;
	pthread_mutex_unlock(&g.host->lock);
	raw_contact(&g, VMBUS_V5_3, 0);
	raw_expect(&g, 15, &m);
	g.host->srv->s->tearing--;
	raw_guest_stop(&g);
}

static void break_client(void)
{
	struct part *p;

	if (part_loopback_create(&(struct part_options){.memory = TEST_MEMORY}, &p))
		_exit(3);
	pthread_mutex_lock(&p->client.lock);
	p->client.cli->c->gpadls.count++;
	pthread_mutex_unlock(&p->client.lock);
	part_reset(p);
	part_destroy(p);
}

/* 0: the child came through; else the signal that ended it. A program of its own, as a sanitizer
 * does not like threads after a fork. */
static int ends_by(const char *what)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		execl("/proc/self/exe", "test_partition_sweep", what, NULL);
		_exit(4);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void a_broken_server_ends_a_debug_build(void **state)
{
	assert_int_equal(ends_by("server"), SWEPT ? SIGABRT : 0);
}

static void a_broken_client_ends_a_debug_build(void **state)
{
	assert_int_equal(ends_by("client"), SWEPT ? SIGABRT : 0);
}

static int child(const char *what)
{
	begin_child();
	if (!strcmp(what, "server"))
		break_server();
	else
		break_client();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_broken_server_ends_a_debug_build),
		cmocka_unit_test(a_broken_client_ends_a_debug_build),
	};

	if (argc > 1)
		return child(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
