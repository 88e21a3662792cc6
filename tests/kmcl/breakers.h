/* SPDX-License-Identifier: MIT */
/** @file Drivers that break the verifier's rules, one each. They run in a process of their own,
 * which most of them end. */
#ifndef TESTS_KMCL_BREAKERS_H
#define TESTS_KMCL_BREAKERS_H

#include "harness.h"

struct breaker {
	const char *rule;
	void (*run)(void);
	const char *driver; /* named in the report */
	bool channel;       /* the channel "Breaker" is named */
	const char *frame;  /* named in the backtrace; NULL: not looked at */
};

extern const struct breaker channel_breakers[], executive_breakers[], framework_breakers[];

#endif
