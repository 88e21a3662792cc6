/* SPDX-License-Identifier: MIT */
/*
 * What to try next. A new input of the corpus is first made smaller; then what the driver compared
 * in it is put where it was seen, and the steps of others are put behind it, so that a protocol is
 * followed from message to message. The rest is chance.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "kmcl.h"

#define CHILD_RUNS 500u /* then the driver is unloaded, and looked at for leaks */
#define TOLD_MOST  64u
#define PLAIN_SIZE 64u /* bytes that a message has, if it does as well */
#define KNOWN_MOST 64u
#define ENDINGS    4u /* that are put behind an input which came nowhere new */

enum outcome {
	ENOUGH, /* a finding that ends the search, or it cannot go on */
	DIED,   /* of a finding, after which it goes on */
	OLD,
	NEW, /* it came where none has come before */
};

struct loop {
	const struct fuzz_options *options;
	struct fuzz_child child;
	struct fuzz_mutator mutator;
	struct fuzz_history history; /* of the child that lives */
	struct fuzz_corpus corpus;
	struct fuzz_fresh fresh;
	uint32_t from_files, known; /* the oldest entry whose known comparisons are not done */
	uint64_t runs, start, told_at;
	uint32_t findings;
	bool loading; /* the corpus, which is not saved again */
	bool unable;  /* said why */
	char name[TOLD_MOST][128];
	struct fuzz_input input, other;
	uint8_t bytes[FUZZ_ENCODED];
};

/* ---- findings ---- */

/* Each is told once. */
static bool known(const struct loop *l, const char *name)
{
	for (uint32_t i = 0; i < l->findings; i++)
		if (!strcmp(l->name[i], name))
			return true;
	return false;
}

static bool cannot(struct loop *l, const char *why)
{
	if (why)
		complain("%s", why);
	l->unable = true;
	return false;
}

static enum outcome take_finding(struct loop *l, const struct fuzz_finding *f)
{
	enum outcome outcome = DIED;

	if (f->kind == FUZZ_UNABLE) {
		cannot(l, f->text);
		return ENOUGH;
	}
	if (!known(l, f->name)) {
		snprintf(l->name[l->findings++], sizeof(l->name[0]), "%s", f->name);
		progress_end();
		printf("after %llu runs: ", (unsigned long long)l->runs);
		fuzz_found(l->options, &l->history, f);
		fflush(stdout);
		if (!l->options->keep_going || l->findings == TOLD_MOST)
			outcome = ENOUGH;
	}
	fuzz_history_clear(&l->history);
	return outcome;
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
		       (unsigned long long)l->child.shared->answers, l->corpus.count,
		       l->corpus.reached, l->findings, l->findings == 1 ? "" : "s");
	else
		progress("%llu runs, %llu a second, corpus %u, reached %u, packets %llu, "
			 "findings %u",
			 (unsigned long long)l->runs,
			 (unsigned long long)(ms ? l->runs * 1000 / ms : 0), l->corpus.count,
			 l->corpus.reached, (unsigned long long)l->child.shared->packets,
			 l->findings);
}

static enum outcome finish_child(struct loop *l)
{
	struct fuzz_finding f;

	if (!fuzz_child_finish(&l->child, &f))
		return take_finding(l, &f);
	fuzz_history_clear(&l->history);
	return OLD;
}

/* Before anything else is run: what the run came to lies in the child's memory. */
static enum outcome run(struct loop *l, const uint8_t *bytes, size_t size)
{
	struct fuzz_finding f;

	if (l->history.count >= CHILD_RUNS) {
		enum outcome outcome = finish_child(l);

		if (outcome == ENOUGH)
			return ENOUGH;
	}
	if (!fuzz_history_add(&l->history, bytes, size)) {
		cannot(l, "out of memory");
		return ENOUGH;
	}
	l->runs++;
	tell(l, false);
	if (!fuzz_child_run(&l->child, bytes, size, &f))
		return take_finding(l, &f);
	return fuzz_corpus_judge(&l->corpus, size, &l->fresh) ? NEW : OLD;
}

static enum outcome run_input(struct loop *l, const struct fuzz_input *in)
{
	return run(l, l->bytes, fuzz_encode(in, l->bytes));
}

static bool in_time(const struct loop *l)
{
	const struct fuzz_options *o = l->options;

	return (!o->runs || l->runs < o->runs) &&
	       (!o->seconds || fuzz_now_ms() - l->start < o->seconds * 1000);
}

/* ---- keeping ---- */

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

/* The input of the last run. */
static bool keep(struct loop *l, const struct fuzz_input *in, bool leads)
{
	size_t size = fuzz_encode(in, l->bytes);

	if (!fuzz_corpus_keep(&l->corpus, l->bytes, size, leads))
		return cannot(l, "out of memory");
	return l->loading || !l->options->corpus || save_entry(l, l->bytes, size) ||
	       cannot(l, NULL);
}

/* Runs l->other, which takes the place of l->input if it does all that this did. */
static enum outcome adopt_if_good(struct loop *l, const struct fuzz_fresh *wanted, bool *good)
{
	enum outcome outcome = run_input(l, &l->other);

	*good = outcome >= OLD && fuzz_corpus_covers(&l->corpus, wanted);
	if (*good)
		fuzz_input_copy(&l->input, &l->other);
	/* It came elsewhere by the way, which is not asked of those that follow. */
	if (outcome == NEW && !keep(l, &l->other, l->fresh.places))
		return ENOUGH;
	return outcome;
}

/* Steps that are not needed go, the last ones first. */
static enum outcome cut_steps(struct loop *l, const struct fuzz_fresh *wanted, bool *last)
{
	for (uint32_t chunk = l->input.count / 2 + 1; chunk; chunk /= 2) {
		for (uint32_t end = l->input.count; end && l->input.count > 1;) {
			uint32_t from = end > chunk ? end - chunk : 0;

			fuzz_input_copy(&l->other, &l->input);
			fuzz_cut(&l->other, from, end);
			if (adopt_if_good(l, wanted, last) == ENOUGH)
				return ENOUGH;
			end = from;
		}
	}
	return OLD;
}

/* Once instead of many times, with a completion, and waited for. */
static enum outcome make_plain(struct loop *l, const struct fuzz_fresh *wanted, bool *last)
{
	for (uint32_t i = 0; i < l->input.count; i++) {
		struct fuzz_step *s = &l->other.step[i];

		fuzz_input_copy(&l->other, &l->input);
		s->flags &= FUZZ_ASK;
		s->count = s->op == FUZZ_RAW ? s->count : 1;
		if (s->size > PLAIN_SIZE)
			s->size = PLAIN_SIZE;
		if (s->flags == l->input.step[i].flags && s->count == l->input.step[i].count &&
		    s->size == l->input.step[i].size)
			continue;
		if (adopt_if_good(l, wanted, last) == ENOUGH)
			return ENOUGH;
	}
	return OLD;
}

/* l->input came where none came before. What is kept of it is what that takes: others are made of
 * it, which are the faster and the more like it the less there is. */
static enum outcome take_new(struct loop *l)
{
	struct fuzz_fresh wanted = l->fresh;
	enum outcome outcome = OLD;
	bool last = true;

	if (wanted.count) {
		outcome = cut_steps(l, &wanted, &last);
		if (outcome != ENOUGH)
			outcome = make_plain(l, &wanted, &last);
		if (outcome != ENOUGH && !last)
			outcome = run_input(l, &l->input);
	}
	if (outcome < OLD)
		return outcome;
	return keep(l, &l->input, wanted.places) ? OLD : ENOUGH;
}

/* ---- files ---- */

static bool load_file(struct loop *l, const char *path)
{
	struct fuzz_history h;
	bool good = true;

	if (!fuzz_history_load(&h, path))
		return true; /* said why; the others are of use all the same */
	for (uint32_t i = 0; good && i < h.count && h.end == l->options->setup.end; i++) {
		enum outcome outcome;

		fuzz_decode(&l->input, h.run[i].bytes, h.run[i].size);
		outcome = run_input(l, &l->input);
		good = outcome != ENOUGH && (outcome != NEW || keep(l, &l->input, l->fresh.places));
		l->from_files += outcome == NEW;
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
	int count = -1;
	bool good = true;

	if (!l->options->corpus)
		return true;
	if (!mkdir(l->options->corpus, 0777) || errno == EEXIST)
		count = scandir(l->options->corpus, &names, is_file, alphasort);
	if (count < 0) {
		complain("%s: %s", l->options->corpus, strerror(errno));
		return cannot(l, NULL);
	}
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

/* ---- stages of an entry ---- */

/* False: all of them up to `end` are done. */
static bool substitute(struct loop *l, struct fuzz_entry *e, uint32_t end)
{
	for (; e->done.compare < end; e->done.compare++, e->done.variant = 0) {
		while (e->done.variant < FUZZ_VARIANTS) {
			fuzz_decode(&l->input, e->bytes, e->size);
			if (fuzz_substitute(&l->input, &e->compare[e->done.compare],
					    e->done.variant++))
				return true;
		}
	}
	return false;
}

/* What others ended with: where one message changes what the driver makes of the next, that is seen
 * by the next one alone. The n-th. False: there are no more. */
static bool choose_ending(struct loop *l, const struct fuzz_entry *e, uint32_t n)
{
	const struct fuzz_entry *other;

	if (!n) {
		fuzz_decode(&l->other, e->bytes, e->size); /* its own, once more */
		return true;
	}
	if (n > (e->leads ? l->corpus.leads : ENDINGS))
		return false;
	if (!e->leads) {
		fuzz_corpus_choose(&l->corpus, &l->other);
		return true;
	}
	other = &l->corpus.entry[l->corpus.lead[n - 1]];
	fuzz_decode(&l->other, other->bytes, other->size);
	return true;
}

static bool append(struct loop *l, struct fuzz_entry *e)
{
	while (choose_ending(l, e, e->done.appended)) {
		e->done.appended++;
		fuzz_decode(&l->input, e->bytes, e->size);
		if (l->other.count && fuzz_append(&l->input, &l->other.step[l->other.count - 1]))
			return true;
	}
	return false;
}

static bool exaggerate(struct loop *l, struct fuzz_entry *e)
{
	if (!e->leads || e->done.extreme == UINT32_MAX)
		return false;
	fuzz_decode(&l->input, e->bytes, e->size);
	if (fuzz_extreme(&l->input, e->done.extreme++))
		return true;
	e->done.extreme = UINT32_MAX;
	return false;
}

/* The newest first: it is the furthest. */
static bool follow(struct loop *l)
{
	for (uint32_t i = l->corpus.count; i--;) {
		struct fuzz_entry *e = &l->corpus.entry[i];

		if (substitute(l, e, e->novel) || exaggerate(l, e) || append(l, e))
			return true;
	}
	return false;
}

/* What it compared elsewhere too, and may do something else here. */
static bool follow_known(struct loop *l)
{
	for (; l->known < l->corpus.count; l->known++) {
		struct fuzz_entry *e = &l->corpus.entry[l->known];
		uint32_t most = e->novel + KNOWN_MOST;

		if (substitute(l, e, e->compares < most ? e->compares : most))
			return true;
	}
	return false;
}

static void make_next(struct loop *l)
{
	uint32_t how = fuzz_below(&l->mutator.random, 20);
	const struct fuzz_entry *e;

	if (!l->corpus.count || !how) {
		fuzz_invent(&l->mutator, &l->input);
		return;
	}
	if ((how < 13 && follow(l)) || (how < 16 && follow_known(l)))
		return;
	fuzz_corpus_choose(&l->corpus, &l->other);
	e = fuzz_corpus_choose(&l->corpus, &l->input);
	l->mutator.compare = e->compare;
	l->mutator.compares = e->compares;
	fuzz_mutate(&l->mutator, &l->input, &l->other);
}

/* ---- the search ---- */

static bool try_next(struct loop *l)
{
	enum outcome outcome;

	make_next(l);
	outcome = run_input(l, &l->input);
	if (outcome == NEW)
		outcome = take_new(l);
	return outcome != ENOUGH;
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
	l->start = fuzz_now_ms();
	printf("seed %llu\n", (unsigned long long)l->options->seed);
	l->input.count = 0; /* nothing but the handshake */
	l->loading = true;
	if (run_input(l, &l->input) != ENOUGH && load_corpus(l)) {
		l->loading = false;
		describe(l);
		while (in_time(l) && try_next(l))
			;
	}
	if (l->child.pid && !l->unable)
		finish_child(l);
	progress_end();
	if (l->unable)
		return -1;
	tell(l, true);
	return (int)l->findings;
}

int fuzz_loop(const struct fuzz_options *options)
{
	struct loop *l = calloc(1, sizeof(*l));
	int code = -1;

	if (!l) {
		complain("out of memory");
		return -1;
	}
	if (fuzz_child_init(&l->child, &options->setup)) {
		l->options = options;
		l->history.end = options->setup.end;
		l->mutator.random.state = options->seed;
		l->mutator.end = options->setup.end;
		l->mutator.shared = l->child.shared;
		fuzz_corpus_init(&l->corpus, l->child.shared, &l->mutator.random);
		code = search(l);
		fuzz_child_destroy(&l->child);
		fuzz_history_clear(&l->history);
		fuzz_corpus_clear(&l->corpus);
	}
	free(l);
	return code;
}
