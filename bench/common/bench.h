/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Measuring on a machine that others use too.
 *
 * All candidates of all tables run in turn, once a round, in an order that rotates from round to
 * round; a ratio is the median of the ratios within each round, so that drift of the machine
 * cancels out. A slice in which the kernel took a processor away from the program is measured
 * again.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	BENCH_COLUMNS = 8,
	BENCH_ROWS = 16,
	BENCH_RATIOS = 4,
	BENCH_ROUNDS = 10000, /* most */
};

enum bench_unit {
	BENCH_NS,   /**< nanoseconds an operation; less is better */
	BENCH_US,   /**< microseconds an operation; less is better */
	BENCH_MOPS, /**< million operations a second; more is better */
	BENCH_GBS,  /**< gigabytes (1e9) a second; more is better */
};

/** Does `count` operations and returns the seconds they took; negative: it failed, the run ends. */
typedef double bench_slice_fn(void *arg, uint64_t count);

struct bench_cell {
	bench_slice_fn *slice; /**< NULL: this candidate cannot do that; shown as "-" */
	void *arg;
	uint64_t count;  /**< operations in a slice, found by calibration */
	double *samples; /**< one a round */
};

struct bench_row {
	char label[40];
	char id[40];
	double bytes; /**< of one operation, for BENCH_GBS */
	struct bench_cell cell[BENCH_COLUMNS];
};

struct bench_table {
	const char *id;
	const char *title;
	enum bench_unit unit;
	unsigned int columns, rows, ratios;
	const char *column[BENCH_COLUMNS];
	struct {
		unsigned int of, over; /**< columns */
	} ratio[BENCH_RATIOS];
	struct bench_row row[BENCH_ROWS];
};

struct bench_options {
	unsigned int rounds;
	double slice_ms;
	const char *json; /**< file to write, NULL: none */
	const char *only; /**< id of the one table to run, NULL: all */
};

/** What a run met besides its figures. */
struct bench_noise {
	uint64_t slices, repeated, disturbed;
};

/** Appends a row and returns it. */
struct bench_row *bench_row_add(struct bench_table *t, const char *id, const char *label,
				double bytes);
void bench_ratio_add(struct bench_table *t, unsigned int of, unsigned int over);
void bench_cell_set(struct bench_row *row, unsigned int column, bench_slice_fn *slice, void *arg);

/** Runs every table, prints them, writes the JSON. Returns the program's exit status. */
int bench_run(const char *program, struct bench_table **tables, unsigned int count,
	      const struct bench_options *options);

/** Takes the options that all programs have out of argv. Exits on --help and on mistakes. */
void bench_options_parse(struct bench_options *options, int *argc, char **argv, const char *usage);

/* ---- threads and clocks ---- */
/** Processors that this process may use, at most `max` of them, into cpus. */
unsigned int bench_cpus(unsigned int *cpus, unsigned int max);
/** Pins the calling thread to the n-th processor of bench_cpus (modulo their number). */
void bench_pin(unsigned int n);
double bench_seconds(void);        /**< wall clock */
double bench_thread_seconds(void); /**< processor time of the calling thread */

/** Runs `first` in a thread of its own on processor 0 and `second` in the calling one, which is
 * pinned to processor 1; both start together. Returns the seconds that `second` reports. If either
 * fails the program ends, for the other might wait for ever. */
struct bench_pair {
	bool (*first)(void *arg, uint64_t count);
	double (*second)(void *arg, uint64_t count);
	void *arg;
	uint64_t count;
};
double bench_pair_run(const struct bench_pair *pair);

/** How often a processor was taken from this program while it measured. */
long bench_preemptions(void);
/** Another process takes part: `fn` says how often a processor was taken from it. */
void bench_preemptions_elsewhere(long (*fn)(void));

#endif
