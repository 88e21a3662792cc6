/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The other process: serves sockets, a host each, and does its half of what is measured between two
 * processes without the library.
 */
#ifndef BENCH_OTHER_H
#define BENCH_OTHER_H

#include "kmcl/place.h"

/** Forks it, with a host for each of `places`: before this process has a second thread. `driver` is
 *  the server's, a file. What goes wrong ends both, here and below. */
void other_start(const struct place_options *places, unsigned int count, const char *driver);
void other_end(void);

/** A guest of the index-th host, its channels open. */
void other_join(struct place *p, unsigned int index);

/** How often a processor was taken from the other process. */
long other_preemptions(void);

/** Round trips of two processes that block on an eventfd each. arg: unused. */
double other_eventfd(void *arg, uint64_t count);

#endif
