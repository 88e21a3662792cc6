/* SPDX-License-Identifier: MIT */
/* Each rule of the verifier is broken by a driver in a process of its own, which ends as the rule
 * says, with a report that names rule, driver and channel; and docs/verifier.md says what the table
 * of rules says. `--rules` prints its part of that page. */
#include "breakers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmcl/kmcl.h"
#include "kmcl/verify.h"

#define SAID_MAX (256u * 1024u)

static char said[SAID_MAX];

static void verify(enum kmcl_verifier_mode mode)
{
	struct kmcl_verifier_options options;

	kmcl_verifier_get(&options);
	options.mode = mode;
	options.suspend_ms = 500;
	assert_int_equal(kmcl_verifier_set(&options), 0);
}

static _Noreturn void run_child(const struct breaker *b, enum kmcl_verifier_mode mode, int out)
{
	const struct rlimit no_core = {0, 0};

	setrlimit(RLIMIT_CORE, &no_core);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	alarm(60);
	nt_violation_set(NULL, NULL);
	kmcl_set_report(NULL, NULL);
	verify(mode);
	b->run();
	fflush(NULL);
	_exit(0);
}

/* How the child ended; what it wrote is in `said`. */
static int run(const struct breaker *b, enum kmcl_verifier_mode mode)
{
	int fds[2], status;
	size_t length = 0;
	ssize_t n;
	pid_t child;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		run_child(b, mode, fds[1]);
	close(fds[1]);
	while ((n = read(fds[0], said + length, SAID_MAX - 1 - length)) > 0 ||
	       (n < 0 && errno == EINTR))
		length += n > 0 ? (size_t)n : 0;
	said[length] = 0;
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void expect_said(const struct breaker *b, const char *text)
{
	if (!strstr(said, text))
		fail_msg("%s: nothing says \"%s\":\n%s", b->rule, text, said);
}

static void expect_report(const struct breaker *b)
{
	const struct kmcl_rule *rule = kmcl_rule_find(b->rule);
	char text[256];

	snprintf(text, sizeof(text), "verifier: %s: driver %s%s: ", b->rule, b->driver,
		 b->channel ? ", channel Breaker" : "");
	if (!b->channel && !strstr(said, text))
		snprintf(text, sizeof(text), "verifier: %s: driver %s, channel Breaker: ", b->rule,
			 b->driver);
	expect_said(b, text);
	expect_said(b, rule->summary);
	expect_said(b, rule->advice);
	expect_said(b, "  #0 ");
	if (b->frame)
		expect_said(b, b->frame);
}

static const struct breaker *const groups[] = {channel_breakers, executive_breakers,
					       framework_breakers};

static void break_each(const struct breaker *group)
{
	for (const struct breaker *b = group; b->rule; b++) {
		const struct kmcl_rule *rule = kmcl_rule_find(b->rule);
		int status;

		if (!rule)
			fail_msg("no rule %s", b->rule);
		status = run(b, KMCL_VERIFIER_ABORT);
		expect_report(b);
		if (rule->severity == KMCL_RULE_VIOLATION &&
		    !(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
			fail_msg("%s: ended with 0x%x:\n%s", b->rule, status, said);
		if (rule->severity == KMCL_RULE_REPORT && status)
			fail_msg("%s: ended with 0x%x:\n%s", b->rule, status, said);
	}
}

static void mistakes_with_channels_are_named(void **state)
{
	(void)state;
	break_each(channel_breakers);
}

static void mistakes_with_the_executive_are_named(void **state)
{
	(void)state;
	break_each(executive_breakers);
}

static void mistakes_with_the_framework_are_named(void **state)
{
	(void)state;
	break_each(framework_breakers);
}

static const struct breaker *breaker_of(const char *rule)
{
	for (size_t i = 0; i < ARRAYSIZE(groups); i++) {
		for (const struct breaker *b = groups[i]; b->rule; b++)
			if (!strcmp(b->rule, rule))
				return b;
	}
	return NULL;
}

static void every_rule_is_broken_by_a_driver(void **state)
{
	const struct kmcl_rule *rule;

	(void)state;
	for (size_t i = 0; (rule = kmcl_rule_at(i)); i++) {
		assert_ptr_equal(kmcl_rule_find(rule->name), rule);
		if (!breaker_of(rule->name) && !(KT_SANITIZED && !strcmp(rule->name, "no-thread")))
			fail_msg("nobody breaks %s", rule->name);
	}
}

/* ---- what a violation does ---- */

static void report_only_goes_on(void **state)
{
	const struct breaker *b = breaker_of("unknown-gpadl");

	(void)state;
	assert_int_equal(run(b, KMCL_VERIFIER_REPORT_ONLY), 0);
	expect_report(b);
}

/* What would be a bug check is one, whether anything is verified or not. */
static void off_still_aborts(void **state)
{
	const struct breaker *b = breaker_of("double-completion");
	int status = run(b, KMCL_VERIFIER_OFF);

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	expect_report(b);
}

static void off_looks_for_nothing_more(void **state)
{
	static const char *const quiet[] = {"gpadl-at-close", "pool-leak", "spin-lock-at-return",
					    "init-after-enable"};

	(void)state;
	for (size_t i = 0; i < ARRAYSIZE(quiet); i++) {
		run(breaker_of(quiet[i]), KMCL_VERIFIER_OFF);
		if (strstr(said, quiet[i]))
			fail_msg("%s was reported:\n%s", quiet[i], said);
	}
}

static struct {
	atomic_uint count;
	char rule[64], driver[64];
	struct kmcl_violation_details details;
} seen;

static void on_violation(void *ctx, const char *rule, const char *driver, const char *text)
{
	(void)text;
	assert_ptr_equal(ctx, &seen);
	atomic_fetch_add(&seen.count, 1);
	snprintf(seen.rule, sizeof(seen.rule), "%s", rule);
	snprintf(seen.driver, sizeof(seen.driver), "%s", driver);
	seen.details.size = sizeof(seen.details);
	assert_int_equal(kmcl_violation_describe(&seen.details), 0);
	seen.details.size--;
	assert_int_equal(kmcl_violation_describe(&seen.details), -EINVAL);
}

static void a_host_may_decide(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);

	kmcl_set_violation(on_violation, &seen);
	VmbChannelSetTransactionQuota(p.server->h, 0);
	assert_int_equal(atomic_load(&seen.count), 1);
	assert_string_equal(seen.rule, "quota");
	assert_string_equal(seen.driver, "server");
	assert_string_equal(seen.details.channel, "0 (server)");
	assert_non_null(strstr(seen.details.backtrace, "a_host_may_decide+"));
	assert_null(strstr(seen.details.backtrace, "nt_violation"));
	kmcl_set_report(on_violation, &seen);
	verify(KMCL_VERIFIER_ABORT);
	kt_pair_open(&p);
	VmbChannelInitSetFlags(p.server->h, 0);
	assert_int_equal(atomic_load(&seen.count), 2);
	assert_string_equal(seen.rule, "init-after-enable");
	kt_pair_free(&p);
}

static void options_are_checked(void **state)
{
	struct kmcl_verifier_options options;

	(void)state;
	kmcl_verifier_get(&options);
	assert_int_equal(options.size, sizeof(options));
	options.mode = 3;
	assert_int_equal(kmcl_verifier_set(&options), -EINVAL);
	options.mode = 1;
	options.suspend_ms = 0;
	assert_int_equal(kmcl_verifier_set(&options), -EINVAL);
	options.suspend_ms = 1;
	options.size--;
	assert_int_equal(kmcl_verifier_set(&options), -EINVAL);
}

/* ---- the documentation ---- */

static char *append(char *at, const char *end, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static char *append(char *at, const char *end, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(at, (size_t)(end - at), format, args);
	va_end(args);
	assert_true(n >= 0 && n < end - at);
	return at + n;
}

static void rules_of(char *text, size_t size)
{
	static const char *const names[][2] = {
		{"channel", "Channels, packets and GPADLs"},
		{"executive", "The executive"},
		{"framework", "The driver framework"},
	};
	const char *end = text + size;
	const struct kmcl_rule *rule;

	for (size_t g = 0; g < ARRAYSIZE(names); g++) {
		text = append(text, end,
			      "\n### %s\n\n| rule | what the driver did | what to do |\n"
			      "|---|---|---|\n",
			      names[g][1]);
		for (size_t i = 0; (rule = kmcl_rule_at(i)); i++) {
			if (strcmp(rule->group, names[g][0]))
				continue;
			text = append(text, end, "| `%s`%s | %s | %s |\n", rule->name,
				      rule->severity == KMCL_RULE_REPORT ? " (report)"
				      : rule->verifier                   ? " (verifier)"
									 : "",
				      rule->summary, rule->advice);
		}
	}
}

#define MARK "<!-- rules -->\n"

static void docs_say_what_the_table_says(void **state)
{
	static char page[64 * 1024], rules[64 * 1024];
	FILE *f = fopen(KT_DOCS "/verifier.md", "r");
	const char *mark;
	size_t n;

	(void)state;
	assert_non_null(f);
	n = fread(page, 1, sizeof(page) - 1, f);
	fclose(f);
	page[n] = 0;
	mark = strstr(page, MARK);
	assert_non_null(mark);
	rules_of(rules, sizeof(rules));
	/* scripts/verifier-doc writes it */
	assert_string_equal(mark + strlen(MARK), rules);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_rule_is_broken_by_a_driver),
		cmocka_unit_test(mistakes_with_channels_are_named),
		cmocka_unit_test(mistakes_with_the_executive_are_named),
		cmocka_unit_test(mistakes_with_the_framework_are_named),
		cmocka_unit_test(report_only_goes_on),
		cmocka_unit_test(off_still_aborts),
		cmocka_unit_test(off_looks_for_nothing_more),
		KT_TEST(a_host_may_decide),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(docs_say_what_the_table_says),
	};

	if (argc > 1 && !strcmp(argv[1], "--rules")) {
		static char rules[64 * 1024];

		rules_of(rules, sizeof(rules));
		fputs(rules, stdout);
		return 0;
	}
	return KT_MAIN("kmcl-verifier", tests);
}
