/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What the library holds, by end. In one process both ends share the heap; each allocation is
 * booked for the end that makes it: its threads are known by their names, other threads by what
 * they call.
 */
#ifndef SCALE_ACCOUNT_H
#define SCALE_ACCOUNT_H

#include <stddef.h>

enum account {
	ACCOUNT_COMMON,
	ACCOUNT_SERVER,
	ACCOUNT_CLIENT,
	ACCOUNTS,
};

/** Whom the calling thread works for from here on; returns the previous. */
enum account account_enter(enum account who);
/** Bytes now held: of the heap with malloc's own rounding, of private mappings the pages touched.
 */
size_t account_held(enum account who);

#endif
