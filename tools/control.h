/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The control socket of a command that runs: a request is a line of JSON, an object with a member
 * "command"; the answer is one line, an object with "error" where something was wrong.
 */
#ifndef TOOLS_CONTROL_H
#define TOOLS_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

struct control;

/** Answers a request; runs on the socket's thread. Returns a new object. */
typedef json_t *control_answer(void *ctx, const char *command, const json_t *request);

/** Listens at `path` (mode 0600; a socket that was there is replaced). Nothing is answered yet.
 *  NULL: said why. */
struct control *control_open(const char *path, control_answer *answer, void *ctx);
/** Answers from now on, by a thread. False: said why. */
bool control_run(struct control *control);
/** Both. */
struct control *control_start(const char *path, control_answer *answer, void *ctx);
/** NULL: nothing. */
void control_stop(struct control *control);

/** An answer that says what was wrong. */
json_t *control_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** The channels of a partition, as every command tells of them. */
struct kmcl_partition;
json_t *control_channels(struct kmcl_partition *partition);

/** The other end: sends one request, which it consumes, and returns the answer. NULL: said why. */
json_t *control_ask(const char *path, json_t *request);

#endif
