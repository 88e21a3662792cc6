/* SPDX-License-Identifier: MIT */
#include "common/bench.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	RETRIES = 8
};

struct bench_row *bench_row_add(struct bench_table *t, const char *id, const char *label,
				double bytes)
{
	struct bench_row *row;

	if (t->rows == BENCH_ROWS)
		abort();
	row = &t->row[t->rows++];
	snprintf(row->id, sizeof(row->id), "%s", id);
	snprintf(row->label, sizeof(row->label), "%s", label);
	row->bytes = bytes;
	return row;
}

void bench_ratio_add(struct bench_table *t, unsigned int of, unsigned int over)
{
	if (t->ratios == BENCH_RATIOS)
		abort();
	t->ratio[t->ratios].of = of;
	t->ratio[t->ratios].over = over;
	t->ratios++;
}

void bench_cell_set(struct bench_row *row, unsigned int column, bench_slice_fn *slice, void *arg)
{
	row->cell[column].slice = slice;
	row->cell[column].arg = arg;
}

/* ---- figures ---- */

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts `v`. q in 0..1. */
static double quantile(double *v, unsigned int n, double q)
{
	double at = q * (n - 1);
	unsigned int below = (unsigned int)at;

	qsort(v, n, sizeof(*v), compare_doubles);
	if (below + 1 >= n)
		return v[n - 1];
	return v[below] + (at - below) * (v[below + 1] - v[below]);
}

static double cell_quantile(const struct bench_cell *cell, unsigned int rounds, double q)
{
	static double v[BENCH_ROUNDS];

	memcpy(v, cell->samples, rounds * sizeof(*v));
	return quantile(v, rounds, q);
}

static double cell_ratio(const struct bench_cell *of, const struct bench_cell *over,
			 unsigned int rounds)
{
	static double v[BENCH_ROUNDS];

	for (unsigned int i = 0; i < rounds; i++)
		v[i] = of->samples[i] / over->samples[i];
	return quantile(v, rounds, 0.5);
}

/* Half the distance between the quartiles, relative to the median. */
static double cell_spread(const struct bench_cell *cell, unsigned int rounds)
{
	return (cell_quantile(cell, rounds, 0.75) - cell_quantile(cell, rounds, 0.25)) / 2 /
	       cell_quantile(cell, rounds, 0.5);
}

static double figure(const struct bench_table *t, const struct bench_row *row, uint64_t count,
		     double seconds)
{
	switch (t->unit) {
	case BENCH_NS:
		return seconds * 1e9 / (double)count;
	case BENCH_US:
		return seconds * 1e6 / (double)count;
	case BENCH_MOPS:
		return (double)count / seconds / 1e6;
	case BENCH_GBS:
		return (double)count * row->bytes / seconds / 1e9;
	}
	abort();
}

static const char *unit_name(enum bench_unit unit)
{
	static const char *const names[] = {
		[BENCH_NS] = "ns", [BENCH_US] = "us", [BENCH_MOPS] = "M/s", [BENCH_GBS] = "GB/s"};

	return names[unit];
}

/* ---- running ---- */

/* No slice takes this long; a program that hangs, perhaps with real-time priority, must not stay.
 */
enum {
	SLICE_SECONDS_MOST = 60,
};

static void hung(int signal)
{
	static const char text[] = "\na measurement did not come to an end\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

static double slice_run(const struct bench_cell *cell, uint64_t count)
{
	double seconds;

	alarm(SLICE_SECONDS_MOST);
	seconds = cell->slice(cell->arg, count);
	alarm(0);
	return seconds;
}

static double slice_clean(struct bench_cell *cell, struct bench_noise *noise)
{
	double best = -1;

	for (unsigned int try = 0; try < RETRIES; try++) {
		long before = bench_preemptions();
		double seconds = slice_run(cell, cell->count);

		noise->slices++;
		if (seconds < 0)
			return seconds;
		if (bench_preemptions() == before)
			return seconds;
		noise->repeated++;
		if (best < 0 || seconds < best)
			best = seconds;
	}
	noise->disturbed++;
	return best;
}

static double shortest(struct bench_cell *cell, uint64_t count, unsigned int runs)
{
	double best = -1;

	for (unsigned int i = 0; i < runs; i++) {
		double seconds = slice_run(cell, count);

		if (seconds < 0)
			return seconds;
		if (best < 0 || seconds < best)
			best = seconds;
	}
	return best;
}

/* Growing trial runs, the first of which fault everything in; a disturbed one must not decide. */
static bool calibrate(struct bench_cell *cell, double slice_ms)
{
	double seconds = 0;

	for (uint64_t count = 16; count < 1ull << 40; count *= 2) {
		seconds = shortest(cell, count, 3);
		if (seconds < 0)
			return false;
		cell->count = count;
		if (seconds * 1e3 >= slice_ms / 4)
			break;
	}
	cell->count = (uint64_t)((double)cell->count * slice_ms / 1e3 / seconds) + 1;
	return true;
}

static bool round_run(struct bench_table *t, unsigned int round, struct bench_noise *noise)
{
	for (unsigned int r = 0; r < t->rows; r++) {
		struct bench_row *row = &t->row[r];

		for (unsigned int k = 0; k < t->columns; k++) {
			struct bench_cell *cell = &row->cell[(k + round) % t->columns];
			double seconds;

			if (!cell->slice)
				continue;
			seconds = slice_clean(cell, noise);
			if (seconds <= 0) {
				fprintf(stderr, "%s, %s: the candidate failed its own check\n",
					t->title, row->label);
				return false;
			}
			cell->samples[round] = figure(t, row, cell->count, seconds);
		}
	}
	return true;
}

static bool table_prepare(struct bench_table *t, const struct bench_options *o)
{
	for (unsigned int r = 0; r < t->rows; r++) {
		for (unsigned int c = 0; c < t->columns; c++) {
			struct bench_cell *cell = &t->row[r].cell[c];

			if (!cell->slice)
				continue;
			cell->samples = calloc(o->rounds, sizeof(*cell->samples));
			if (!cell->samples || !calibrate(cell, o->slice_ms)) {
				fprintf(stderr, "%s, %s, %s: cannot run\n", t->title,
					t->row[r].label, t->column[c]);
				return false;
			}
		}
	}
	return true;
}

static void table_free(struct bench_table *t)
{
	for (unsigned int r = 0; r < t->rows; r++) {
		for (unsigned int c = 0; c < t->columns; c++)
			free(t->row[r].cell[c].samples);
	}
}

/* ---- what people read ---- */

static void row_print(const struct bench_table *t, const struct bench_row *row, unsigned int rounds)
{
	double spread = 0;

	printf("  %-24s", row->label);
	for (unsigned int c = 0; c < t->columns; c++) {
		const struct bench_cell *cell = &row->cell[c];

		if (!cell->slice) {
			printf(" %10s", "-");
			continue;
		}
		printf(" %10.*f", t->unit == BENCH_NS ? 1 : 2, cell_quantile(cell, rounds, 0.5));
		if (cell_spread(cell, rounds) > spread)
			spread = cell_spread(cell, rounds);
	}
	for (unsigned int i = 0; i < t->ratios; i++) {
		const struct bench_cell *of = &row->cell[t->ratio[i].of];
		const struct bench_cell *over = &row->cell[t->ratio[i].over];

		if (of->slice && over->slice)
			printf("  %12.2f", cell_ratio(of, over, rounds));
		else
			printf("  %12s", "-");
	}
	printf("  %5.0f%%\n", spread * 100);
}

static void table_print(const struct bench_table *t, unsigned int rounds)
{
	bool less = t->unit == BENCH_NS || t->unit == BENCH_US;

	printf("\n%s (%s; %s is better)\n  %-24s", t->title, unit_name(t->unit),
	       less ? "less" : "more", "");
	for (unsigned int c = 0; c < t->columns; c++)
		printf(" %10s", t->column[c]);
	for (unsigned int i = 0; i < t->ratios; i++) {
		char head[32];

		snprintf(head, sizeof(head), "%s/%s", t->column[t->ratio[i].of],
			 t->column[t->ratio[i].over]);
		printf("  %12s", head);
	}
	printf("  spread\n");
	for (unsigned int r = 0; r < t->rows; r++)
		row_print(t, &t->row[r], rounds);
}

/* ---- what programs read ---- */

static void cell_json(FILE *f, const struct bench_table *t, const struct bench_row *row,
		      unsigned int column, unsigned int rounds)
{
	const struct bench_cell *cell = &row->cell[column];
	const char *comma = "";

	fprintf(f,
		"{\"table\": \"%s\", \"row\": \"%s\", \"candidate\": \"%s\", \"unit\": \"%s\", "
		"\"median\": %.4g, \"p25\": %.4g, \"p75\": %.4g, \"ratio\": {",
		t->id, row->id, t->column[column], unit_name(t->unit),
		cell_quantile(cell, rounds, 0.5), cell_quantile(cell, rounds, 0.25),
		cell_quantile(cell, rounds, 0.75));
	for (unsigned int c = 0; c < t->columns; c++) {
		if (c == column || !row->cell[c].slice)
			continue;
		fprintf(f, "%s\"%s\": %.4g", comma, t->column[c],
			cell_ratio(cell, &row->cell[c], rounds));
		comma = ", ";
	}
	fprintf(f, "}}");
}

static int json_write(const char *program, struct bench_table **tables, unsigned int count,
		      const struct bench_options *o, const struct bench_noise *noise)
{
	FILE *f = fopen(o->json, "w");
	const char *comma = "";

	if (!f) {
		perror(o->json);
		return 1;
	}
	fprintf(f,
		"{\"program\": \"%s\", \"rounds\": %u, \"slice_ms\": %g, \"slices\": %llu, "
		"\"repeated\": %llu, \"disturbed\": %llu, \"results\": [\n",
		program, o->rounds, o->slice_ms, (unsigned long long)noise->slices,
		(unsigned long long)noise->repeated, (unsigned long long)noise->disturbed);
	for (unsigned int i = 0; i < count; i++) {
		const struct bench_table *t = tables[i];

		for (unsigned int r = 0; r < t->rows; r++) {
			for (unsigned int c = 0; c < t->columns; c++) {
				if (!t->row[r].cell[c].slice)
					continue;
				fputs(comma, f);
				cell_json(f, t, &t->row[r], c, o->rounds);
				comma = ",\n";
			}
		}
	}
	fprintf(f, "\n]}\n");
	if (fclose(f)) {
		perror(o->json);
		return 1;
	}
	return 0;
}

int bench_run(const char *program, struct bench_table **tables, unsigned int count,
	      const struct bench_options *options)
{
	struct bench_noise noise = {0};
	unsigned int kept = 0;
	bool progress = isatty(STDERR_FILENO);
	int status = 0;

	signal(SIGALRM, hung);
	for (unsigned int i = 0; i < count; i++) {
		if (!options->only || !strcmp(options->only, tables[i]->id))
			tables[kept++] = tables[i];
	}
	if (!kept)
		fprintf(stderr, "%s: nothing to measure\n", program);
	for (unsigned int i = 0; i < kept && !status; i++)
		status = !table_prepare(tables[i], options);
	for (unsigned int round = 0; round < options->rounds && !status; round++) {
		if (progress)
			fprintf(stderr, "\r%s: round %u of %u ", program, round + 1,
				options->rounds);
		for (unsigned int i = 0; i < kept && !status; i++)
			status = !round_run(tables[i], round, &noise);
	}
	if (progress)
		fprintf(stderr, "\r%40s\r", "");
	for (unsigned int i = 0; i < kept && !status; i++)
		table_print(tables[i], options->rounds);
	if (!status) {
		printf("\n%u rounds of %g ms slices; %llu slices repeated because the processor "
		       "was "
		       "taken away,\n%llu kept although disturbed.\n",
		       options->rounds, options->slice_ms, (unsigned long long)noise.repeated,
		       (unsigned long long)noise.disturbed);
	}
	if (!status && options->json)
		status = json_write(program, tables, kept, options, &noise);
	for (unsigned int i = 0; i < kept; i++)
		table_free(tables[i]);
	return status || !kept;
}
