/* SPDX-License-Identifier: MIT */
/** @file What the subcommands of the kmcl command share. */
#ifndef TOOLS_KMCL_H
#define TOOLS_KMCL_H

#include <signal.h>
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
extern const struct subcommand command_guest;
extern const struct subcommand command_attach, command_demo, command_fuzz, command_ls, command_run,
	command_serve, command_stats, command_trace, command_vm;

/** "kmcl: ..." on stderr. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** complain(), and where help is. Returns TOOL_USAGE. */
int usage_error(const struct subcommand *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/** A whole number from `least` to `most`. */
bool parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *value);

/** For commands that run until they are told to end, before the first thread: blocks the signals
 *  that tell them, and puts them into `ends` for sigtimedwait(). SIGPIPE is ignored. */
void take_ends(sigset_t *ends);

/** --limit NAME=NUMBER, of every command that runs a bus: a field of struct kmcl_limits. TOOL_OK,
 * or usage_error(). */
int limit_take(const struct subcommand *command, const char *text, struct kmcl_limits *to);
#define LIMIT_HELP                                                                       \
	"  --limit NAME=N  bound what a peer can make the bus hold: channels, gpadls,\n" \
	"                  gpadl_pages, queued_messages, posted_messages, ...; see\n"    \
	"                  docs/limits.md. Can be repeated\n"

/** --capture FILE[,payload=N|all][,signals][,end=server|client], of every command that runs a bus.
 */
struct capture_request {
	char path[4096]; /* empty: not asked for */
	struct kmcl_capture_options options;
	kmcl_capture *capture;
};
#define CAPTURE_HELP                                                                          \
	"  --capture FILE[,payload=N|all][,signals][,end=server|client]\n"                    \
	"                  record the bus as pcapng, for kmcl trace and Wireshark: control\n" \
	"                  messages and, with N bytes of their payload (256), packets;\n"     \
	"                  signals too if so said. One end records, the server's if not\n"    \
	"                  said otherwise; what the disk is too slow for is counted\n"
/** TOOL_OK, or usage_error(). */
int capture_take(const struct subcommand *command, const char *text, struct capture_request *r);
/** Creates the file, if one was asked for, and names it in the options of the bus. False: said why.
 */
bool capture_begin(struct capture_request *r, struct kmcl_partition_options *options);
/** After the bus is gone: says what was recorded, on stderr. False: the file is not whole. */
bool capture_end(struct capture_request *r);

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
