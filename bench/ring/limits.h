/* SPDX-License-Identifier: MIT */
/** @file What the machine allows: yardsticks that are not rings. */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include "common/bench.h"

/** Two copies of a size through memory as large as a ring. */
struct limit_copy;
struct limit_copy *limit_copy_create(uint32_t size, uint32_t ring_size);
void limit_copy_destroy(struct limit_copy *c);
void limit_copy_run(struct limit_copy *c, uint64_t count);
double limit_copy_slice(void *limit_copy, uint64_t count); /**< processor time */

/** Round trips of a cache line between two pinned threads; of two, a line each way. arg: unused. */
double limit_one_line(void *arg, uint64_t count);
double limit_two_lines(void *arg, uint64_t count);

/** Round trips of two threads that block on an eventfd each. arg: unused. */
double limit_eventfd(void *arg, uint64_t count);

#endif
