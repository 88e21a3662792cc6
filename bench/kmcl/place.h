/* SPDX-License-Identifier: MIT */
/** @file A partition with the two drivers in it, and what they do as a cell of a table. */
#ifndef BENCH_PLACE_H
#define BENCH_PLACE_H

#include <kmcl/kmcl.h>

#include "common/bench.h"
#include "kmcl/bench_driver.h"

#define PLACE_POLL_NS 1000000 /* of one that spins */

struct place_options {
	const char *name;
	uint32_t processors; /**< 0: the library's own choice, threads where the kernel puts them */
	int64_t poll_ns;     /**< as in struct kmcl_partition_options */
	uint32_t channels;
	uint32_t one_way; /**< as in struct bench_driver_config */
};

struct place {
	const char *name;
	kmcl_partition *partition;
	kmcl_driver *client;
	long settle_ns; /* after a run, until its threads have stopped polling */
};

/** What drivers that are loaded from here on are to do, and where. */
void place_configure(const struct place_options *options);
/** The partition's options. */
void place_partition_options(const struct place_options *options,
			     struct kmcl_partition_options *partition);

/** Both ends in this process. What goes wrong ends the program, here and below. */
void place_create(struct place *p, const struct place_options *options);
/** The client's end of a partition that is there: loads its driver and waits for its channels. */
void place_begin(struct place *p, const struct place_options *options);
void place_destroy(struct place *p);

/** The client's driver runs `request`, with the count of each slice. */
void place_cell_set(struct bench_row *row, unsigned int column, struct place *place,
		    struct bench_run_request request);

#endif
