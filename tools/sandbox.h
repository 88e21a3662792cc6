/* SPDX-License-Identifier: MIT */
#ifndef TOOLS_SANDBOX_H
#define TOOLS_SANDBOX_H

#include <stdbool.h>

/**
 * Gives up what a host that serves does not need: new privileges, capabilities, files other than
 * the sockets' folders, and system calls that are not in the list (docs/sandbox.md). For every
 * thread that is there or comes. A kernel without Landlock is said; one without seccomp is an
 * error.
 *
 * @param socket where the host will listen; NULL: it does not
 * @param control where it answers kmcl stats, or NULL
 * @param pairs it makes pairs of connected sockets, for drivers in other processes
 * @return false: said why
 */
bool sandbox_enter(const char *socket, const char *control, bool pairs);

#endif
