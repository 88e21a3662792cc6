/* SPDX-License-Identifier: MIT */
#ifndef TOOLS_SANDBOX_H
#define TOOLS_SANDBOX_H

#include <stdbool.h>

/**
 * Gives up what a host that serves does not need: new privileges, capabilities, files other than
 * the socket's folder, and system calls that are not in the list (docs/sandbox.md). For this thread
 * and all that come of it; system calls for those that are there, too. A kernel without Landlock is
 * said; one without seccomp is an error.
 *
 * @param socket where the host will listen
 * @return false: said why
 */
bool sandbox_enter(const char *socket);

#endif
