/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A thread that scribbles over memory that two real ends share, while they use it. What it may
 * touch is what the partition hands out for sharing: rings, SynIC pages, monitor pages, and pages
 * of the test's own that packets carry. A driver's pool is as open to its host, but a driver that
 * keeps pointers there trusts the host, and that is none of the bus's business.
 */
#ifndef TESTS_HOSTILE_MUTATOR_H
#define TESTS_HOSTILE_MUTATOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct part_endpoint;

/** What is scribbled over; a mask. */
enum {
	ON_RINGS = 1,   /**< control pages and data of every channel */
	ON_CONTROL = 2, /**< control pages alone, more often */
	ON_DATA = 4,    /**< pages that packets carry */
	ON_SYNIC = 8,   /**< message slots, event flags, interrupt and monitor pages */
};

/** How; a mask. */
enum {
	BY_BITS = 1,     /**< one bit turned */
	BY_WORDS = 2,    /**< words that mean something */
	BY_REPLAY = 4,   /**< what stood there a while ago, by pages or by pieces */
	BY_INDEX = 8,    /**< indices moved, swapped, crossed */
	BY_FORGERY = 16, /**< whole packets and messages that look right */
};

struct mutation {
	uint32_t where, how;
	uint64_t seed;
	uint32_t pause_us; /**< between bursts; 0: none */
	uint32_t burst;    /**< strokes of a burst */
};

struct mutator;
struct mutator *mutator_start(const struct mutation *mutation);
/** Joins; returns the number of strokes. */
uint64_t mutator_stop(struct mutator *m);

/** Shared pages are handed out from here on: all of this partition's. */
void arena_open(void);
/** The partition is gone, and so are its pages. */
void arena_close(void);
/** Pages of the test's own, for packets to carry; they live as long as the partition. */
bool arena_data(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa);

#endif
