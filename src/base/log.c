/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/spin.h"

#define LINES_PER_WINDOW 10
#define WINDOW_NS        1000000000u
#define TEXT_MAX         512

static const char *const level_names[] = {"error", "warning", "info", "debug"};

/* The environment is read once: a line costs no getenv, and setenv cannot race with a log line. */
static struct {
	pthread_once_t once;
	enum kmcl_log_level level;
	char subsystem[32];
} filter = {.once = PTHREAD_ONCE_INIT, .level = KMCL_LOG_WARNING};

static struct {
	pthread_rwlock_t lock;
	kmcl_log_fn *fn;
	void *ctx;
} sink = {.lock = PTHREAD_RWLOCK_INITIALIZER};

static struct spin_lock limit_lock;
static _Thread_local uint32_t suppressed_before;

static void filter_parse(const char *spec)
{
	const char *comma = strchr(spec, ',');
	size_t length = comma ? (size_t)(comma - spec) : strlen(spec);

	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++)
		if (length == strlen(level_names[i]) && !strncasecmp(spec, level_names[i], length))
			filter.level = (enum kmcl_log_level)i;
	if (comma)
		snprintf(filter.subsystem, sizeof(filter.subsystem), "%s", comma + 1);
}

static void filter_init(void)
{
	const char *spec = getenv("KMCL_LOG");

	if (spec)
		filter_parse(spec);
}

static void to_stderr(enum kmcl_log_level level, const char *subsystem, uint32_t partition,
		      uint32_t channel, const char *text)
{
	char where[48] = "";
	int n = 0;

	if (filter.subsystem[0] && strcmp(filter.subsystem, subsystem))
		return;
	if (partition)
		n = snprintf(where, sizeof(where), "partition %u%s", partition,
			     channel ? " " : ": ");
	if (channel)
		snprintf(where + n, sizeof(where) - (size_t)n, "channel %u: ", channel);
	fprintf(stderr, "openkmcl: %s: %s: %s%s\n", level_names[level], subsystem, where, text);
}

void kmcl_log_set(kmcl_log_fn *fn, void *ctx)
{
	pthread_rwlock_wrlock(&sink.lock);
	sink.fn = fn;
	sink.ctx = ctx;
	pthread_rwlock_unlock(&sink.lock);
}

bool kmcl_log_enabled(enum kmcl_log_level level)
{
	bool custom;

	pthread_once(&filter.once, filter_init);
	pthread_rwlock_rdlock(&sink.lock);
	custom = sink.fn;
	pthread_rwlock_unlock(&sink.lock);
	return custom || level <= filter.level;
}

void kmcl_log(enum kmcl_log_level level, const char *subsystem, uint32_t partition,
	      uint32_t channel, const char *format, ...)
{
	uint32_t suppressed = suppressed_before;
	char text[TEXT_MAX];
	va_list args;
	size_t length;

	suppressed_before = 0;
	if (level > KMCL_LOG_DEBUG || !kmcl_log_enabled(level))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	length = strlen(text);
	if (suppressed)
		snprintf(text + length, sizeof(text) - length, " (%u more like this left out)",
			 suppressed);
	pthread_rwlock_rdlock(&sink.lock);
	if (sink.fn)
		sink.fn(sink.ctx, level, subsystem, partition, channel, text);
	else
		to_stderr(level, subsystem, partition, channel, text);
	pthread_rwlock_unlock(&sink.lock);
}

bool kmcl_log_allow(struct kmcl_log_limit *limit)
{
	uint64_t now = clock_now_ns();
	bool allowed;

	spin_lock(&limit_lock);
	if (!limit->window_start_ns || now - limit->window_start_ns >= WINDOW_NS) {
		limit->window_start_ns = now;
		limit->in_window = 0;
	}
	allowed = limit->in_window < LINES_PER_WINDOW;
	if (allowed) {
		limit->in_window++;
		/* The line that follows on this thread tells how many it stands for. */
		suppressed_before = limit->suppressed;
		limit->suppressed = 0;
	} else {
		limit->suppressed++;
	}
	spin_unlock(&limit_lock);
	return allowed;
}
