/* SPDX-License-Identifier: MIT */
/*
 * The verifier: whether it is on, and what is said about a driver's mistake. Each mistake is found
 * where it is made; this file tells the world.
 */
#include "kmcl/verifier.h"

#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/symbols.h"
#include "kmcl/channel.h"
#include "kmcl/verify.h"

#define FRAMES             32
#define DEFAULT_SUSPEND_MS 30000u
#define LEAST_SUSPEND_MS   1u
#define SUBJECT_MAX        96

#ifndef KMCL_VERIFIER_DEFAULT
#define KMCL_VERIFIER_DEFAULT 0
#endif

static _Atomic uint32_t mode, suspend_ms = DEFAULT_SUSPEND_MS;

static struct {
	struct spin_lock lock;
	kmcl_report_callback *fn;
	void *ctx;
} reports;

/* The channel that the thread reports about, if it said one. */
static _Thread_local struct kmcl_channel *subject __attribute__((tls_model("initial-exec")));

/* ---- what is said ---- */

/* Of the channel that was named, else of the callback that the thread is in. */
static void name_channel(char *text, size_t size)
{
	struct kmcl_channel *ch = subject ? subject : kmcl_callback_channel();

	text[0] = 0;
	if (!ch)
		return;
	if (ch->config.name[0])
		snprintf(text, size, "%s", ch->config.name);
	else
		snprintf(text, size, "%u (%s)", ch->relid, ch->server ? "server" : "client");
}

/* The verifier's own frames at the top are of no use to anybody. */
static int first_frame(char *const *lines, int count)
{
	static const char *const own[] = {"name_frames", "kmcl_violation", "kmcl_report",
					  "nt_violation"};
	int first = 0;

	for (int i = 0; i < count && i < 10; i++) {
		for (size_t n = 0; n < ARRAYSIZE(own); n++) {
			if (!strncmp(lines[i], own[n], strlen(own[n])))
				first = i + 1;
		}
	}
	return first < count ? first : 0;
}

/* Calls `each` for a line of every frame, innermost first. */
static void name_frames(void (*each)(void *ctx, const char *line), void *ctx)
{
	void *frames[FRAMES];
	char text[FRAMES][160];
	char *lines[FRAMES];
	int count = backtrace(frames, FRAMES);

	for (int i = 0; i < count; i++) {
		/* what is on the stack is where to return to, behind the call */
		symbols_describe((char *)frames[i] - (i > 0), text[i], sizeof(text[i]));
		lines[i] = text[i];
	}
	for (int i = first_frame(lines, count); i < count; i++)
		each(ctx, lines[i]);
}

struct lines {
	enum kmcl_log_level level;
	int frame;
	char *at;
	size_t left;
};

static void log_frame(void *ctx, const char *line)
{
	struct lines *l = ctx;

	kmcl_log(l->level, "verifier", 0, 0, "  #%d %s", l->frame++, line);
}

static void append_frame(void *ctx, const char *line)
{
	struct lines *l = ctx;
	int n = snprintf(l->at, l->left, "%s\n", line);

	if (n < 0 || (size_t)n >= l->left) {
		*l->at = 0;
		l->left = 0;
		return;
	}
	l->at += n;
	l->left -= (size_t)n;
}

static void log_mistake(enum kmcl_log_level level, const char *rule, const char *driver,
			const char *text)
{
	const struct kmcl_rule *r = kmcl_rule_find(rule);
	struct lines lines = {.level = level};
	char channel[SUBJECT_MAX];

	name_channel(channel, sizeof(channel));
	kmcl_log(level, "verifier", 0, 0, "%s: driver %s%s%s: %s", rule, driver,
		 channel[0] ? ", channel " : "", channel, text);
	if (r)
		kmcl_log(level, "verifier", 0, 0, "  %s %s", r->summary, r->advice);
	name_frames(log_frame, &lines);
}

static void on_violation(void *ctx, const char *rule, const char *driver, const char *text)
{
	log_mistake(KMCL_LOG_ERROR, rule, driver, text);
	if (atomic_load(&mode) != KMCL_VERIFIER_REPORT_ONLY)
		abort();
}

void(kmcl_violation)(struct kmcl_channel *ch, const char *rule, const char *format, ...)
{
	struct nt_driver *current = nt_driver_current();
	struct kmcl_channel *outer = subject;
	va_list args;

	subject = ch;
	if (!current && ch)
		nt_driver_enter(ch->driver);
	va_start(args, format);
	nt_violation_v(rule, format, args);
	va_end(args);
	nt_driver_leave(current);
	subject = outer;
}

void(kmcl_report)(struct kmcl_channel *ch, const char *rule, const char *format, ...)
{
	const char *driver = nt_driver_name(nt_driver_current() ? nt_driver_current() : ch->driver);
	struct kmcl_channel *outer = subject;
	kmcl_report_callback *fn;
	char text[512];
	va_list args;
	void *ctx;

	if (!kmcl_verify())
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	spin_lock(&reports.lock);
	fn = reports.fn;
	ctx = reports.ctx;
	spin_unlock(&reports.lock);
	subject = ch;
	if (fn)
		fn(ctx, rule, driver, text);
	else
		log_mistake(KMCL_LOG_WARNING, rule, driver, text);
	subject = outer;
}

void kmcl_set_report(kmcl_report_callback *callback, void *ctx)
{
	spin_lock(&reports.lock);
	reports.fn = callback;
	reports.ctx = ctx;
	spin_unlock(&reports.lock);
}

int kmcl_violation_describe(struct kmcl_violation_details *details)
{
	struct lines lines;

	if (details->size != sizeof(*details))
		return -EINVAL;
	name_channel(details->channel, sizeof(details->channel));
	details->backtrace[0] = 0;
	lines = (struct lines){.at = details->backtrace, .left = sizeof(details->backtrace)};
	name_frames(append_frame, &lines);
	return 0;
}

/* ---- whether it is on ---- */

uint32_t kmcl_verifier_suspend_ms(void)
{
	return atomic_load_explicit(&suspend_ms, memory_order_relaxed);
}

void kmcl_verifier_get(struct kmcl_verifier_options *options)
{
	memset(options, 0, sizeof(*options));
	options->size = sizeof(*options);
	options->mode = atomic_load(&mode);
	options->suspend_ms = kmcl_verifier_suspend_ms();
}

int kmcl_verifier_set(const struct kmcl_verifier_options *options)
{
	if (options->size != sizeof(*options) || options->mode > KMCL_VERIFIER_REPORT_ONLY ||
	    options->suspend_ms < LEAST_SUSPEND_MS)
		return -EINVAL;
	atomic_store(&suspend_ms, options->suspend_ms);
	atomic_store(&mode, options->mode);
	atomic_store(&nt_verifying, options->mode != KMCL_VERIFIER_OFF);
	return 0;
}

/* "1", "0" or "report", then perhaps ",suspend=MS". False: neither. */
static bool parse(const char *text, struct kmcl_verifier_options *options)
{
	const char *comma = strchrnul(text, ',');
	size_t length = (size_t)(comma - text);
	char *end;

	if (length == 1 && (*text == '0' || *text == '1'))
		options->mode = *text == '1' ? KMCL_VERIFIER_ABORT : KMCL_VERIFIER_OFF;
	else if (length == 6 && !strncmp(text, "report", 6))
		options->mode = KMCL_VERIFIER_REPORT_ONLY;
	else
		return false;
	if (!*comma)
		return true;
	if (strncmp(comma, ",suspend=", 9) || comma[9] < '0' || comma[9] > '9')
		return false;
	options->suspend_ms = (uint32_t)strtoul(comma + 9, &end, 10);
	return !*end && options->suspend_ms >= LEAST_SUSPEND_MS;
}

/* Before main: no thread can have reported anything yet. */
__attribute__((constructor)) static void begin(void)
{
	const char *text = getenv("KMCL_VERIFIER");
	struct kmcl_verifier_options options;
	void *frame;

	backtrace(&frame, 1); /* loads what it needs while that is possible */
	nt_violation_default(on_violation);
	kmcl_verifier_get(&options);
	options.mode = KMCL_VERIFIER_DEFAULT ? KMCL_VERIFIER_ABORT : KMCL_VERIFIER_OFF;
	if (text && *text && !parse(text, &options)) {
		kmcl_log(KMCL_LOG_ERROR, "verifier", 0, 0,
			 "KMCL_VERIFIER=%s is not understood: it is 0, 1 or report, and then "
			 "perhaps ,suspend=MILLISECONDS. The verifier is on",
			 text);
		options.mode = KMCL_VERIFIER_ABORT;
		options.suspend_ms = DEFAULT_SUSPEND_MS;
	}
	kmcl_verifier_set(&options);
}
