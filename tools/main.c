/* SPDX-License-Identifier: MIT */
/* kmcl: run VMBus drivers from the command line. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmcl.h"

static const struct subcommand *const commands[] = {
	&command_demo,  &command_run,  &command_serve, &command_attach, &command_ls,
	&command_stats, &command_fuzz, &command_trace, &command_vm,     &command_guest,
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* ---- what a person reads ---- */

static void say(const char *format, va_list args)
{
	progress_end();
	fputs("kmcl: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

int usage_error(const struct subcommand *command, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	fprintf(stderr, "See kmcl %s%s--help.\n", command ? command->name : "", command ? " " : "");
	return TOOL_USAGE;
}

bool parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *value >= least && *value <= most;
}

static bool progress_shown;

void progress(const char *format, ...)
{
	va_list args;

	if (!isatty(STDERR_FILENO))
		return;
	fputs("\r\033[K", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fflush(stderr);
	progress_shown = true;
}

void progress_end(void)
{
	if (!progress_shown)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	progress_shown = false;
}

/* ---- an end from outside ---- */

void take_ends(sigset_t *ends)
{
	struct sigaction hangup;

	sigemptyset(ends);
	sigaddset(ends, SIGINT);
	sigaddset(ends, SIGTERM);
	/* Blocked, it would come although nohup has it ignored. */
	if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN)
		sigaddset(ends, SIGHUP);
	sigprocmask(SIG_BLOCK, ends, NULL);
	/* Nobody who stops reading what we print ends us. */
	signal(SIGPIPE, SIG_IGN);
}

/* ---- files of ours ---- */

/* DIR/NAME, both given; NULL when echo_vsp.so is not in it. */
static char *drivers_in(const char *directory, const char *name)
{
	char *folder = NULL, *driver = NULL;

	if (asprintf(&folder, "%s%s%s", directory, *name ? "/" : "", name) < 0)
		return NULL;
	if (asprintf(&driver, "%s/echo_vsp.so", folder) < 0 || access(driver, R_OK)) {
		free(driver);
		free(folder);
		return NULL;
	}
	free(driver);
	return folder;
}

/* The directory of this program, without a slash at its end. */
static char *own_directory(void)
{
	char *self = realpath("/proc/self/exe", NULL);
	char *slash = self ? strrchr(self, '/') : NULL;

	if (slash)
		*slash = 0;
	return self;
}

char *find_drivers(const char *given)
{
	char *self, *folder = NULL;

	if (given) {
		folder = drivers_in(given, "");
		if (!folder)
			complain("%s/echo_vsp.so: %s", given, strerror(errno));
		return folder;
	}
	self = own_directory();
	if (self)
		folder = drivers_in(self, "../drivers");
	if (self && !folder)
		folder = drivers_in(self, KMCL_DRIVERS_FROM_BIN);
	if (!folder)
		complain("cannot find echo_vsp.so in ../drivers or " KMCL_DRIVERS_FROM_BIN
			 " as seen from %s; say where it is with --drivers",
			 self ? self : "this program");
	free(self);
	return folder;
}

char *find_library(void)
{
	Dl_info info;

	if (!dladdr((void *)(uintptr_t)kmcl_version, &info) || !info.dli_fname)
		return NULL;
	return realpath(info.dli_fname, NULL);
}

/* ---- commands ---- */

static void help(void)
{
	puts("usage: kmcl COMMAND [OPTION...]\n"
	     "\n"
	     "Runs drivers written against the VMBus Kernel Mode Client Library.\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-6s %s\n", commands[i]->name, commands[i]->summary);
	puts("\n"
	     "  kmcl COMMAND --help   the command's options\n"
	     "  kmcl --version        the version\n"
	     "\n"
	     "KMCL_LOG=error|warning|info|debug[,SUBSYSTEM] in the environment says what is "
	     "logged\n"
	     "on stderr (warning).");
}

static bool wants_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-h");
}

static int run_command(const struct subcommand *command, int argc, char **argv)
{
	int code;

	for (int i = 1; i < argc; i++) {
		if (wants_help(argv[i])) {
			fputs(command->help, stdout);
			return TOOL_OK;
		}
	}
	code = command->run(argc, argv);
	if (fflush(stdout) || ferror(stdout)) {
		complain("cannot write the result: %s", strerror(errno));
		return TOOL_FAILED;
	}
	return code;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help();
		return TOOL_USAGE;
	}
	if (wants_help(argv[1]) || !strcmp(argv[1], "help")) {
		help();
		return TOOL_OK;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("kmcl %s\n", kmcl_version());
		return TOOL_OK;
	}
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(argv[1], commands[i]->name))
			return run_command(commands[i], argc - 1, argv + 1);
	}
	return usage_error(NULL, "there is no %s '%s'", argv[1][0] == '-' ? "option" : "command",
			   argv[1]);
}
