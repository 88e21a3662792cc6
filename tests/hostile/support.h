/* SPDX-License-Identifier: MIT */
/** @file Waiting with a deadline, and counting what a process holds. */
#ifndef TESTS_HOSTILE_SUPPORT_H
#define TESTS_HOSTILE_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#define PATIENCE_NS 20000000000ull

uint64_t now_ns(void);
void nap_us(unsigned int us);
uint64_t next_random(uint64_t *state);

/** Sleeps in small steps until it holds; fails the test when that takes too long. */
#define wait_for(expression)                                            \
	do {                                                            \
		uint64_t until_ = now_ns() + PATIENCE_NS;               \
		while (!(expression)) {                                 \
			if (now_ns() > until_)                          \
				fail_msg("timed out: %s", #expression); \
			nap_us(50);                                     \
		}                                                       \
	} while (0)

struct held {
	unsigned int threads, descriptors, mappings;
};
struct held count_held(void);
/** Waits a little for threads that are on their way out. */
void assert_nothing_more_held(struct held before);

/** `plain`, a tenth of it under a sanitizer, ten times as many with KMCL_SOAK. */
unsigned int scaled(unsigned int plain);

#endif
