/* SPDX-License-Identifier: MIT */
/*
 * The input of the fuzzers that drive a state machine: a configuration, then steps of eight bytes.
 * A step with the operation STEP_BYTES is followed by `a` bytes of its own, rounded up to whole
 * steps. steps.c holds the mutator that keeps to this: it inserts, repeats, swaps, removes and
 * splices whole steps, and alters one field of one step at a time.
 */
#ifndef FUZZ_STEPS_H
#define FUZZ_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STEPS_CONFIG 16u
#define STEPS_MOST   2000
#define STEP_SIZE    8u
#define STEP_BYTES   0xffu

struct step {
	uint8_t op, a, b, c;
	uint32_t d;
	const uint8_t *bytes; /* STEP_BYTES: `a` of them */
};

struct steps {
	uint8_t config[STEPS_CONFIG]; /* zeros where the input is too short */
	const uint8_t *at, *end;
	int left;
};

void steps_begin(struct steps *in, const uint8_t *data, size_t size);
/* False: the input is used up, or the run is long enough. */
bool steps_next(struct steps *in, struct step *step);

#endif
