/* SPDX-License-Identifier: MIT */
#include "common/bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double clock_seconds(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double bench_seconds(void)
{
	return clock_seconds(CLOCK_MONOTONIC);
}

double bench_thread_seconds(void)
{
	return clock_seconds(CLOCK_THREAD_CPUTIME_ID);
}

/* Read once, before any thread is pinned. */
static cpu_set_t allowed;
static pthread_once_t allowed_once = PTHREAD_ONCE_INIT;

static void allowed_read(void)
{
	if (sched_getaffinity(0, sizeof(allowed), &allowed)) {
		CPU_ZERO(&allowed);
		CPU_SET(0, &allowed);
	}
}

unsigned int bench_cpus(unsigned int *cpus, unsigned int max)
{
	unsigned int n = 0;

	pthread_once(&allowed_once, allowed_read);
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE && n < max; cpu++) {
		if (CPU_ISSET(cpu, &allowed))
			cpus[n++] = cpu;
	}
	return n;
}

static cpu_set_t processor(unsigned int n)
{
	unsigned int cpus[2];
	unsigned int count = bench_cpus(cpus, 2);
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpus[n % count], &one);
	return one;
}

void bench_pin(unsigned int n)
{
	cpu_set_t one = processor(n);

	sched_setaffinity(0, sizeof(one), &one);
}

/* ---- two threads ---- */

struct pair_state {
	const struct bench_pair *pair;
	atomic_uint ready;
};

static long switches(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return usage.ru_nivcsw;
}

/* Switches before the clock started. */
static atomic_long excused;

static long (*elsewhere)(void);

void bench_preemptions_elsewhere(long (*fn)(void))
{
	elsewhere = fn;
}

long bench_preemptions(void)
{
	return switches(RUSAGE_SELF) - atomic_load(&excused) + (elsewhere ? elsewhere() : 0);
}

/* Both threads are running before either starts its work. */
static void meet(struct pair_state *s)
{
	long before = switches(RUSAGE_THREAD);

	atomic_fetch_add(&s->ready, 1);
	while (atomic_load(&s->ready) < 2)
		sched_yield();
	atomic_fetch_add(&excused, switches(RUSAGE_THREAD) - before);
}

/* The other side would wait for ever. */
static void give_up(void)
{
	fprintf(stderr, "a measurement with two threads failed its own check\n");
	exit(1);
}

static void *first_main(void *arg)
{
	struct pair_state *s = arg;

	meet(s);
	if (!s->pair->first(s->pair->arg, s->pair->count))
		give_up();
	return NULL;
}

/* Starts where it is to stay: with real-time priority it might never get away from a busy
 * processor. */
static bool start_on(pthread_t *thread, unsigned int n, struct pair_state *s)
{
	cpu_set_t one = processor(n);
	pthread_attr_t attr;
	bool ok;

	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(one), &one);
	ok = !pthread_create(thread, &attr, first_main, s);
	pthread_attr_destroy(&attr);
	return ok;
}

double bench_pair_run(const struct bench_pair *pair)
{
	struct pair_state s = {.pair = pair};
	pthread_t first;
	double seconds;

	bench_pin(1);
	if (!start_on(&first, 0, &s))
		return -1;
	meet(&s);
	seconds = pair->second(pair->arg, pair->count);
	if (seconds < 0)
		give_up();
	pthread_join(first, NULL);
	return seconds;
}

/* ---- options ---- */

static const char *value_of(int argc, char **argv, int i)
{
	if (i + 1 >= argc) {
		fprintf(stderr, "%s: %s needs a value\n", argv[0], argv[i]);
		exit(2);
	}
	return argv[i + 1];
}

static double number_of(int argc, char **argv, int i, double least, double most)
{
	const char *text = value_of(argc, argv, i);
	char *end;
	double v = strtod(text, &end);

	if (*end || end == text || !(v >= least && v <= most)) {
		fprintf(stderr, "%s: %s takes a number from %g to %g, not \"%s\"\n", argv[0],
			argv[i], least, most, text);
		exit(2);
	}
	return v;
}

void bench_options_parse(struct bench_options *o, int *argc, char **argv, const char *usage)
{
	int kept = 1;

	for (int i = 1; i < *argc; i++) {
		if (!strcmp(argv[i], "--help")) {
			printf("%s"
			       "  --rounds N      rounds in which every candidate runs once (%u)\n"
			       "  --slice-ms MS   length of one measurement (%g)\n"
			       "  --only TABLE    one table only\n"
			       "  --json FILE     write the figures for programs\n",
			       usage, o->rounds, o->slice_ms);
			exit(0);
		} else if (!strcmp(argv[i], "--rounds")) {
			o->rounds = (unsigned int)number_of(*argc, argv, i++, 1, BENCH_ROUNDS);
		} else if (!strcmp(argv[i], "--slice-ms")) {
			o->slice_ms = number_of(*argc, argv, i++, 0.01, 10000);
		} else if (!strcmp(argv[i], "--json")) {
			o->json = value_of(*argc, argv, i++);
		} else if (!strcmp(argv[i], "--only")) {
			o->only = value_of(*argc, argv, i++);
		} else {
			argv[kept++] = argv[i];
		}
	}
	argv[kept] = NULL;
	*argc = kept;
}
