/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Reporting what a driver does against the DDI. The rules are in rules.c; nt_violation() is the way
 * of the layer below, which knows no channels.
 */
#ifndef KMCL_KMCL_VERIFIER_H
#define KMCL_KMCL_VERIFIER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "nt/nt.h"

struct kmcl_channel;

/** A violation about a channel. */
void kmcl_violation(struct kmcl_channel *ch, const char *rule, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/** A report, while the verifier is on. Not under a lock. */
void kmcl_report(struct kmcl_channel *ch, const char *rule, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As nt_violation: the backtrace names the caller. */
#define kmcl_violation(...)                          \
	do {                                         \
		kmcl_violation(__VA_ARGS__);         \
		__asm__ volatile("" : : : "memory"); \
	} while (0)
#define kmcl_report(...)                             \
	do {                                         \
		kmcl_report(__VA_ARGS__);            \
		__asm__ volatile("" : : : "memory"); \
	} while (0)

static inline bool kmcl_verify(void)
{
	return nt_verify();
}
/** How long Suspend may wait for the driver. */
uint32_t kmcl_verifier_suspend_ms(void);

#endif
