/* SPDX-License-Identifier: MIT */
/* Where lines go, which are let through, and how many a peer can cause. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* What a process with that KMCL_LOG writes to stderr; the filter is read once a process. */
static void lines_of_child(const char *filter, char *text, size_t size)
{
	int fds[2];
	size_t n = 0;
	ssize_t got;
	pid_t pid;
	int status;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fds[1], 2);
		if (filter)
			setenv("KMCL_LOG", filter, 1);
		else
			unsetenv("KMCL_LOG");
		kmcl_log(KMCL_LOG_ERROR, "ring", 3, 5, "an error, %d", 42);
		kmcl_log(KMCL_LOG_WARNING, "ring", 3, 0, "a warning");
		kmcl_log(KMCL_LOG_INFO, "kmcl", 0, 0, "news");
		kmcl_log(KMCL_LOG_DEBUG, "kmcl", 0, 7, "detail");
		_exit(kmcl_log_enabled(KMCL_LOG_INFO));
	}
	close(fds[1]);
	while ((got = read(fds[0], text + n, size - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status),
			 strstr(text, "news") || (filter && strstr(filter, "debug,")));
}

static void lines_name_level_subsystem_partition_and_channel(void **state)
{
	char text[4096];

	lines_of_child(NULL, text, sizeof(text));
	assert_string_equal(text, "openkmcl: error: ring: partition 3 channel 5: an error, 42\n"
				  "openkmcl: warning: ring: partition 3: a warning\n");
}

static void the_environment_chooses_level_and_subsystem(void **state)
{
	char text[4096];

	lines_of_child("error", text, sizeof(text));
	assert_string_equal(text, "openkmcl: error: ring: partition 3 channel 5: an error, 42\n");
	lines_of_child("debug", text, sizeof(text));
	assert_non_null(strstr(text, "openkmcl: info: kmcl: news\n"));
	assert_non_null(strstr(text, "openkmcl: debug: kmcl: channel 7: detail\n"));
	lines_of_child("debug,ring", text, sizeof(text));
	assert_string_equal(text, "openkmcl: error: ring: partition 3 channel 5: an error, 42\n"
				  "openkmcl: warning: ring: partition 3: a warning\n");
	lines_of_child("nonsense", text, sizeof(text));
	assert_null(strstr(text, "news"));
	assert_non_null(strstr(text, "a warning"));
}

struct seen {
	pthread_mutex_t lock;
	uint32_t lines;
	char last[600];
};

static void remember(void *ctx, enum kmcl_log_level level, const char *subsystem,
		     uint32_t partition, uint32_t channel, const char *text)
{
	struct seen *s = ctx;

	pthread_mutex_lock(&s->lock);
	s->lines++;
	strncpy(s->last, text, sizeof(s->last) - 1);
	pthread_mutex_unlock(&s->lock);
}

static void peer_line(uint32_t n)
{
	KMCL_LOG_PEER(KMCL_LOG_WARNING, "test", 1, 2, "line %u", n);
}

static void what_a_peer_causes_is_limited_and_counted(void **state)
{
	struct seen s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct timespec second = {.tv_sec = 1, .tv_nsec = 50000000};

	kmcl_log_set(remember, &s);
	/* until it does not straddle the edge of a second */
	for (int tries = 0; tries < 20; tries++) {
		s.lines = 0;
		for (uint32_t i = 0; i < 1000; i++)
			peer_line(i);
		if (s.lines == 10)
			break;
		nanosleep(&second, NULL);
	}
	assert_int_equal(s.lines, 10);
	s.lines = 0;
	nanosleep(&second, NULL);
	peer_line(1000);
	assert_int_equal(s.lines, 1);
	assert_int_equal(strncmp(s.last, "line 1000 (9", 12), 0);
	/* Another place has a limit of its own. */
	KMCL_LOG_PEER(KMCL_LOG_WARNING, "test", 1, 2, "elsewhere");
	assert_int_equal(s.lines, 2);
	assert_string_equal(s.last, "elsewhere");
	kmcl_log_set(NULL, NULL);
}

static void long_lines_are_cut(void **state)
{
	struct seen s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	kmcl_log_set(remember, &s);
	kmcl_log(KMCL_LOG_ERROR, "test", 0, 0, "%s", text);
	assert_int_equal(s.lines, 1);
	assert_in_range(strlen(s.last), 100, 599);
	kmcl_log_set(NULL, NULL);
}

static void *log_much(void *arg)
{
	for (uint32_t i = 0; i < 2000; i++) {
		peer_line(i);
		kmcl_log(KMCL_LOG_ERROR, "test", 0, 0, "thread");
	}
	return NULL;
}

static void threads_log_at_once(void **state)
{
	struct seen s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t threads[4];

	kmcl_log_set(remember, &s);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_much, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(s.lines >= 8000 && s.lines < 8200);
	kmcl_log_set(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_name_level_subsystem_partition_and_channel),
		cmocka_unit_test(the_environment_chooses_level_and_subsystem),
		cmocka_unit_test(what_a_peer_causes_is_limited_and_counted),
		cmocka_unit_test(long_lines_are_cut),
		cmocka_unit_test(threads_log_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
