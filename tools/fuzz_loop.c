/* SPDX-License-Identifier: MIT */
/*
 * What to try next. An input that reaches an edge of the driver, or one more often than any before
 * it, joins the corpus; the next ones are made from the corpus.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "kmcl.h"

#define CHILD_RUNS    500u /* then the driver is unloaded, and looked at for leaks */
#define CORPUS_MOST   4096u
#define TOLD_MOST     64u
#define NOBODY        UINT16_MAX
#define COMPARES_USED 64u

struct entry {
	uint8_t *bytes;
	size_t size;
	struct fuzz_compare *compare; /* that the driver made in it */
	uint32_t compares;
};

struct loop {
	const struct fuzz_options *options;
	struct fuzz_child child;
	struct fuzz_mutator mutator;
	struct fuzz_history history; /* of the child that lives */
	struct entry corpus[CORPUS_MOST];
	uint32_t count, from_files;
	uint8_t seen[FUZZ_MAP];
	uint32_t place[FUZZ_MAP], reached; /* that any input came to, in order */
	uint16_t best[FUZZ_MAP];           /* the smallest of the corpus that comes there */
	struct {
		uint32_t entry, compare, variant;
	} next; /* of the substitutions, which each entry gets once */
	uint64_t runs, start, told_at;
	uint32_t findings;
	char name[TOLD_MOST][128];
	struct fuzz_input input, other;
	uint8_t bytes[FUZZ_ENCODED];
};

/* ---- coverage ---- */

/* Once, twice, some times, often: one bit each. */
static uint8_t bucket(uint8_t count)
{
	static const uint8_t from[] = {1, 2, 3, 4, 8, 16, 32, 128};
	uint8_t bit = 0;

	for (unsigned int i = 0; i < sizeof(from); i++)
		if (count >= from[i])
			bit = (uint8_t)(1u << i);
	return bit;
}

static bool is_new(struct loop *l)
{
	const uint8_t *map = l->child.shared->map;
	bool new = false;

	for (uint32_t i = 0; i < FUZZ_MAP; i += 8) {
		uint64_t word;

		memcpy(&word, map + i, 8);
		for (uint32_t n = i; word && n < i + 8; n++) {
			uint8_t bits = bucket(map[n]);

			if (bits && !l->seen[n])
				l->place[l->reached++] = n;
			new = new || bits & ~l->seen[n];
			l->seen[n] |= bits;
		}
	}
	return new;
}

/* It comes to a place in far less than any before it. */
static bool is_small(const struct loop *l, size_t size)
{
	for (uint32_t i = 0; i < l->reached; i++) {
		uint32_t n = l->place[i];

		if (l->child.shared->map[n] && l->best[n] != NOBODY &&
		    size < l->corpus[l->best[n]].size / 2)
			return true;
	}
	return false;
}

/* ---- corpus ---- */

static uint64_t hash(const uint8_t *bytes, size_t size)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < size; i++)
		h = (h ^ bytes[i]) * 0x100000001b3u;
	return h;
}

static bool save_entry(const struct loop *l, const uint8_t *bytes, size_t size)
{
	struct fuzz_history h = {.end = l->options->setup.end};
	char *path = NULL;
	bool good;

	if (asprintf(&path, "%s/%016llx", l->options->corpus,
		     (unsigned long long)hash(bytes, size)) < 0)
		return false;
	good = fuzz_history_add(&h, bytes, size) && fuzz_history_save(&h, path);
	fuzz_history_clear(&h);
	free(path);
	return good;
}

static void free_entry(struct entry *e)
{
	free(e->bytes);
	free(e->compare);
}

static bool keep(struct loop *l, const uint8_t *bytes, size_t size)
{
	const struct fuzz_compare *compare = l->child.shared->compare;
	uint32_t n =
		l->count < CORPUS_MOST ? l->count : fuzz_below(&l->mutator.random, CORPUS_MOST);
	struct entry e = {.bytes = malloc(size ? size : 1),
			  .size = size,
			  .compare = malloc(sizeof(l->child.shared->compare))};

	if (!e.bytes || !e.compare) {
		free_entry(&e);
		return false;
	}
	memcpy(e.bytes, bytes, size);
	for (uint32_t i = 0; i < FUZZ_COMPARES; i++)
		if (compare[i].size && compare[i].size <= 8)
			e.compare[e.compares++] = compare[i];
	if (n < l->count)
		free_entry(&l->corpus[n]);
	else
		l->count++;
	l->corpus[n] = e;
	for (uint32_t i = 0; i < l->reached; i++) {
		uint16_t *best = &l->best[l->place[i]];

		if (l->child.shared->map[l->place[i]] &&
		    (*best == NOBODY || *best == n || size < l->corpus[*best].size))
			*best = (uint16_t)n;
	}
	return true;
}

/* Mostly the smallest that comes to some place: each place has the same chance, however many inputs
 * come to it. */
static const struct entry *choose(struct loop *l, struct fuzz_input *in)
{
	uint32_t n = fuzz_below(&l->mutator.random, l->count);

	if (l->reached && fuzz_below(&l->mutator.random, 4)) {
		uint32_t best = l->best[l->place[fuzz_below(&l->mutator.random, l->reached)]];

		n = best == NOBODY ? n : best;
	}
	fuzz_decode(in, l->corpus[n].bytes, l->corpus[n].size);
	return &l->corpus[n];
}

/* ---- runs ---- */

static void tell(struct loop *l, bool last)
{
	uint64_t now = fuzz_now_ms(), ms = now - l->start;

	if (!last && now - l->told_at < 500)
		return;
	l->told_at = now;
	if (last)
		printf("%llu runs in %llu.%llu s, %llu packets, %llu answers; %u inputs in the "
		       "corpus, %u places reached, %u finding%s\n",
		       (unsigned long long)l->runs, (unsigned long long)ms / 1000,
		       (unsigned long long)ms / 100 % 10,
		       (unsigned long long)l->child.shared->packets,
		       (unsigned long long)l->child.shared->answers, l->count, l->reached,
		       l->findings, l->findings == 1 ? "" : "s");
	else
		progress("%llu runs, %llu a second, corpus %u, reached %u, packets %llu, "
			 "findings %u",
			 (unsigned long long)l->runs,
			 (unsigned long long)(ms ? l->runs * 1000 / ms : 0), l->count, l->reached,
			 (unsigned long long)l->child.shared->packets, l->findings);
}

/* Each once. */
static bool known(struct loop *l, const char *name)
{
	for (uint32_t i = 0; i < l->findings && i < TOLD_MOST; i++)
		if (!strcmp(l->name[i], name))
			return true;
	if (l->findings < TOLD_MOST)
		snprintf(l->name[l->findings], sizeof(l->name[0]), "%s", name);
	return false;
}

/* False: it goes on no further. */
static bool take_finding(struct loop *l, const struct fuzz_finding *f)
{
	bool more = true;

	if (f->kind == FUZZ_UNABLE) {
		complain("%s", f->text);
		l->findings = UINT32_MAX;
		return false;
	}
	if (!known(l, f->name)) {
		l->findings++;
		progress_end();
		printf("after %llu runs: ", (unsigned long long)l->runs);
		fuzz_found(l->options, &l->history, f);
		fflush(stdout);
		more = l->options->keep_going;
	}
	fuzz_history_clear(&l->history);
	return more;
}

static bool finish_child(struct loop *l)
{
	struct fuzz_finding f;

	if (!fuzz_child_finish(&l->child, &f))
		return take_finding(l, &f);
	fuzz_history_clear(&l->history);
	return true;
}

static bool run(struct loop *l, const uint8_t *bytes, size_t size, bool *new)
{
	struct fuzz_finding f;

	*new = false;
	if (!fuzz_history_add(&l->history, bytes, size)) {
		complain("out of memory");
		return false;
	}
	l->runs++;
	if (!fuzz_child_run(&l->child, bytes, size, &f))
		return take_finding(l, &f);
	*new = is_new(l) || is_small(l, size);
	tell(l, false);
	return l->history.count < CHILD_RUNS || finish_child(l);
}

static bool in_time(const struct loop *l)
{
	const struct fuzz_options *o = l->options;

	return (!o->runs || l->runs < o->runs) &&
	       (!o->seconds || fuzz_now_ms() - l->start < o->seconds * 1000);
}

static bool load_file(struct loop *l, const char *path)
{
	struct fuzz_history h;
	bool good = true, new;

	if (!fuzz_history_load(&h, path))
		return true; /* said why; the others are of use all the same */
	for (uint32_t i = 0; good && i < h.count && h.end == l->options->setup.end; i++) {
		fuzz_decode(&l->input, h.run[i].bytes, h.run[i].size);
		size_t size = fuzz_encode(&l->input, l->bytes);

		good = run(l, l->bytes, size, &new);
		if (new &&keep(l, l->bytes, size))
			l->from_files++;
	}
	fuzz_history_clear(&h);
	return good;
}

static int is_file(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static bool load_corpus(struct loop *l)
{
	struct dirent **names = NULL;
	int count;
	bool good = true;

	if (!l->options->corpus)
		return true;
	if (mkdir(l->options->corpus, 0777) && errno != EEXIST) {
		complain("%s: %s", l->options->corpus, strerror(errno));
		return false;
	}
	count = scandir(l->options->corpus, &names, is_file, alphasort);
	for (int i = 0; i < count; i++) {
		char *path = NULL;

		if (good && asprintf(&path, "%s/%s", l->options->corpus, names[i]->d_name) >= 0) {
			good = load_file(l, path);
			free(path);
		}
		free(names[i]);
	}
	free(names);
	return good;
}

/* What the driver compared in a new entry is put where it was seen: that passes most gates at once.
 */
static bool substitute(struct loop *l)
{
	for (; l->next.entry < l->count; l->next.entry++, l->next.compare = 0) {
		const struct entry *e = &l->corpus[l->next.entry];

		for (; l->next.compare < e->compares && l->next.compare < COMPARES_USED;
		     l->next.compare++, l->next.variant = 0) {
			while (l->next.variant < FUZZ_VARIANTS) {
				fuzz_decode(&l->input, e->bytes, e->size);
				if (fuzz_substitute(&l->input, &e->compare[l->next.compare],
						    l->next.variant++))
					return true;
			}
		}
	}
	return false;
}

static void make_next(struct loop *l)
{
	const struct entry *e;

	if (!l->count || !fuzz_below(&l->mutator.random, 20)) {
		fuzz_invent(&l->mutator, &l->input);
		return;
	}
	if (fuzz_below(&l->mutator.random, 2) && substitute(l))
		return;
	e = choose(l, &l->input);
	l->mutator.compare = e->compare;
	l->mutator.compares = e->compares;
	choose(l, &l->other);
	fuzz_mutate(&l->mutator, &l->input, &l->other);
}

static bool try_next(struct loop *l)
{
	bool new, good;
	size_t size;

	make_next(l);
	size = fuzz_encode(&l->input, l->bytes);
	good = run(l, l->bytes, size, &new);
	if (new &&
	    (!keep(l, l->bytes, size) || (l->options->corpus && !save_entry(l, l->bytes, size))))
		return false;
	return good;
}

static void describe(const struct loop *l)
{
	uint64_t edges = l->child.shared->edges;

	if (edges > 1)
		printf("%llu edges of the driver are counted\n", (unsigned long long)edges);
	else if (edges)
		puts("the driver's edges are counted");
	else
		puts("the driver counts no edges: built without -fsanitize-coverage, it is tried "
		     "blindly");
	if (l->from_files)
		printf("%u inputs of %s are of use\n", l->from_files, l->options->corpus);
	fflush(stdout);
}

static int search(struct loop *l)
{
	bool new, good;

	l->start = fuzz_now_ms();
	printf("seed %llu\n", (unsigned long long)l->options->seed);
	good = run(l, l->bytes, 0, &new); /* nothing but the handshake */
	if (good && load_corpus(l)) {
		describe(l);
		while (in_time(l) && try_next(l))
			;
	}
	if (l->child.pid && l->findings != UINT32_MAX)
		finish_child(l);
	progress_end();
	if (l->findings == UINT32_MAX)
		return -1;
	tell(l, true);
	return (int)l->findings;
}

int fuzz_loop(const struct fuzz_options *options)
{
	struct loop *l = calloc(1, sizeof(*l));
	int code = -1;

	if (l && fuzz_child_init(&l->child, &options->setup)) {
		l->options = options;
		memset(l->best, 0xff, sizeof(l->best));
		l->history.end = options->setup.end;
		l->mutator.random.state = options->seed;
		l->mutator.end = options->setup.end;
		l->mutator.shared = l->child.shared;
		code = search(l);
		fuzz_child_destroy(&l->child);
		fuzz_history_clear(&l->history);
		for (uint32_t i = 0; i < l->count; i++)
			free_entry(&l->corpus[i]);
	}
	free(l);
	return code;
}
