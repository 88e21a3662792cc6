/* SPDX-License-Identifier: MIT */
/** @file Measurements of a candidate ring as cells of a table. */
#ifndef BENCH_CELLS_H
#define BENCH_CELLS_H

#include "common/bench.h"
#include "ring/ring.h"

/** A candidate with its rings and its load. Lives until the program ends. */
struct ring_cell {
	const struct ring_candidate *candidate;
	struct ring *there, *back; /* back: round trips only */
	struct ring_load load;
	int events[2];
};

/** Exits if there is no memory. */
struct ring_cell *ring_cell_create(const struct ring_candidate *candidate, enum ring_view view,
				   uint32_t size, uint32_t batch, uint32_t ring_size,
				   bool round_trip);
void ring_cell_destroy(struct ring_cell *c);

double ring_cell_pairs(void *ring_cell, uint64_t count); /**< one thread, processor time */
double ring_cell_two_threads(void *ring_cell, uint64_t count);
double ring_cell_round_trip(void *ring_cell, uint64_t count);
double ring_cell_round_trip_blocking(void *ring_cell, uint64_t count);

#endif
