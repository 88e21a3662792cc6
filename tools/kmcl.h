/* SPDX-License-Identifier: MIT */
/** @file What the subcommands of the kmcl command share. */
#ifndef TOOLS_KMCL_H
#define TOOLS_KMCL_H

#include <stdbool.h>
#include <stdint.h>

#include <kmcl/kmcl.h>

/* Exit codes. */
enum {
	TOOL_OK = 0,
	TOOL_FAILED = 1, /* it ran, and something was wrong; said what */
	TOOL_USAGE = 2,  /* the command line was wrong */
};

struct subcommand {
	const char *name;
	const char *summary;
	const char *help;
	int (*run)(int argc, char **argv);
};
extern const struct subcommand command_demo, command_run;

/** "kmcl: ..." on stderr. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** complain(), and where help is. Returns TOOL_USAGE. */
int usage_error(const struct subcommand *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/** A whole number from `least` to `most`. */
bool parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *value);

/** Progress of something that takes long: a line on the terminal, gone at the end. Nothing when
 *  stderr is no terminal. */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void progress_end(void);

/** The folder with our drivers: the one given, else that of the build or of the installation that
 *  the command is part of. NULL: said why. Freed with free(). */
char *find_drivers(const char *given);
/** The libkmcl.so that runs. NULL: unknown. Freed with free(). */
char *find_library(void);

#endif
