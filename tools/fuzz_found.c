/* SPDX-License-Identifier: MIT */
/*
 * A finding: saved as it came, seen again in a process of its own, and made smaller as long as the
 * same comes of it. Everything is judged by a new child, so that what is kept needs no other past
 * than what is in its file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "kmcl.h"

#define TRIES    5       /* of what may depend on how threads run */
#define AGAIN_MS 120000u /* in which it is seen again, or is not */

struct shrink {
	const struct fuzz_options *options;
	struct fuzz_child child;
	struct fuzz_history best; /* known to do it */
	const char *name;         /* of the finding */
	uint64_t until;           /* no longer; fuzz_now_ms() */
	struct fuzz_input input, trial;
	uint8_t bytes[FUZZ_ENCODED];
};

static bool time_is_left(const struct shrink *s)
{
	return fuzz_now_ms() < s->until;
}

/* ---- seeing it again ---- */

/* A hang is one wherever it is; of the rest each has its name. */
static bool does_it(struct shrink *s, const struct fuzz_history *h)
{
	struct fuzz_finding f;

	return !fuzz_child_replay(&s->child, h, s->until, &f) && !strcmp(f.name, s->name);
}

static bool does_it_again(struct shrink *s, const struct fuzz_history *h)
{
	for (int i = 0; i < TRIES && time_is_left(s); i++)
		if (does_it(s, h))
			return true;
	return false;
}

static bool copy_runs(struct fuzz_history *to, const struct fuzz_history *from, uint32_t first,
		      uint32_t count)
{
	*to = (struct fuzz_history){.end = from->end};
	for (uint32_t i = first; i < first + count; i++)
		if (!fuzz_history_add(to, from->run[i].bytes, from->run[i].size))
			return false;
	return true;
}

/* `h` is taken over. */
static bool adopt_if(struct shrink *s, struct fuzz_history *h, bool good)
{
	struct fuzz_history old = good ? s->best : *h;

	if (good)
		s->best = *h;
	fuzz_history_clear(&old);
	return good;
}

/* The last run alone, or as many before it as it takes. */
static bool see_again(struct shrink *s, const struct fuzz_history *h)
{
	s->until = fuzz_now_ms() + AGAIN_MS;
	for (uint32_t count = 1; time_is_left(s); count *= 4) {
		uint32_t n = count < h->count ? count : h->count;
		struct fuzz_history last;

		if (!copy_runs(&last, h, h->count - n, n)) {
			fuzz_history_clear(&last);
			return false;
		}
		if (adopt_if(s, &last, does_it_again(s, &last)))
			return true;
		if (n == h->count)
			break;
	}
	return false;
}

/* ---- smaller ---- */

static void drop_runs(struct shrink *s)
{
	for (uint32_t i = 0; i < s->best.count && s->best.count > 1 && time_is_left(s);) {
		struct fuzz_history fewer;
		bool good = copy_runs(&fewer, &s->best, 0, i);

		for (uint32_t n = i + 1; good && n < s->best.count; n++)
			good = fuzz_history_add(&fewer, s->best.run[n].bytes, s->best.run[n].size);
		if (!adopt_if(s, &fewer, good && does_it(s, &fewer)))
			i++;
	}
}

/* Puts `trial` in the place of run `n`; kept if it still does it. */
static bool try_input(struct shrink *s, uint32_t n)
{
	struct fuzz_history h;
	size_t size = fuzz_encode(&s->trial, s->bytes);
	bool good = copy_runs(&h, &s->best, 0, n) && fuzz_history_add(&h, s->bytes, size);

	for (uint32_t i = n + 1; good && i < s->best.count; i++)
		good = fuzz_history_add(&h, s->best.run[i].bytes, s->best.run[i].size);
	good = adopt_if(s, &h, good && does_it(s, &h));
	if (good)
		fuzz_input_copy(&s->input, &s->trial);
	return good;
}

static void drop_steps(struct shrink *s, uint32_t n)
{
	for (uint32_t chunk = s->input.count; chunk; chunk /= 2) {
		for (uint32_t at = 0; at < s->input.count && time_is_left(s);) {
			uint32_t rest = at + chunk < s->input.count ? at + chunk : s->input.count;

			fuzz_input_copy(&s->trial, &s->input);
			s->trial.count = at;
			for (uint32_t i = rest; i < s->input.count; i++)
				fuzz_step_copy(&s->trial.step[s->trial.count++], &s->input.step[i]);
			if (!try_input(s, n))
				at += chunk;
		}
	}
}

static void shorten_data(struct shrink *s, uint32_t n, uint32_t step)
{
	uint32_t less = s->input.step[step].size;

	while (less && time_is_left(s)) {
		fuzz_input_copy(&s->trial, &s->input);
		if (s->trial.step[step].size < less)
			less = s->trial.step[step].size;
		if (!less)
			break;
		s->trial.step[step].size -= (uint16_t)less;
		if (!try_input(s, n))
			less /= 2;
	}
}

/* What does not matter is zero, so that what does is seen. */
static void clear_data(struct shrink *s, uint32_t n, uint32_t step)
{
	static const uint8_t zeros[8];

	for (uint32_t at = 0; at < s->input.step[step].size && time_is_left(s); at += 8) {
		uint32_t size = s->input.step[step].size - at;

		size = size < 8 ? size : 8;
		if (!memcmp(s->input.step[step].data + at, zeros, size))
			continue;
		fuzz_input_copy(&s->trial, &s->input);
		memset(s->trial.step[step].data + at, 0, size);
		try_input(s, n);
	}
}

static void clear_field(struct shrink *s, uint32_t n, size_t offset, size_t size)
{
	uint8_t *field = (uint8_t *)&s->trial + offset;
	static const uint8_t zeros[4];

	fuzz_input_copy(&s->trial, &s->input);
	if (!memcmp(field, zeros, size) || !time_is_left(s))
		return;
	memset(field, 0, size);
	try_input(s, n);
}

static void simplify_step(struct shrink *s, uint32_t n, uint32_t step)
{
	size_t at = (size_t)((uint8_t *)&s->trial.step[step] - (uint8_t *)&s->trial);

	clear_field(s, n, at + offsetof(struct fuzz_step, flags), 1);
	clear_field(s, n, at + offsetof(struct fuzz_step, channel), 1);
	clear_field(s, n, at + offsetof(struct fuzz_step, count), 1);
	clear_field(s, n, at + offsetof(struct fuzz_step, type), 2);
	clear_field(s, n, at + offsetof(struct fuzz_step, a), 4);
	clear_field(s, n, at + offsetof(struct fuzz_step, b), 4);
	shorten_data(s, n, step);
	clear_data(s, n, step);
}

static void shrink(struct shrink *s)
{
	s->until = fuzz_now_ms() + s->options->minimise_s * 1000;
	drop_runs(s);
	for (uint32_t n = 0; n < s->best.count && time_is_left(s); n++) {
		fuzz_decode(&s->input, s->best.run[n].bytes, s->best.run[n].size);
		drop_steps(s, n);
		for (uint32_t i = 0; i < s->input.count && time_is_left(s); i++)
			simplify_step(s, n, i);
	}
}

/* ---- saving, and telling ---- */

static uint32_t steps_of(const struct fuzz_history *h, struct fuzz_input *room)
{
	uint32_t steps = 0;

	for (uint32_t i = 0; i < h->count; i++) {
		fuzz_decode(room, h->run[i].bytes, h->run[i].size);
		steps += room->count;
	}
	return steps;
}

static char *save(const struct fuzz_options *o, const struct fuzz_history *h, const char *name)
{
	char *path = NULL;

	if (mkdir(o->found, 0777) && errno != EEXIST) {
		complain("%s: %s", o->found, strerror(errno));
		return NULL;
	}
	if (asprintf(&path, "%s/%s", o->found, name) < 0)
		return NULL;
	if (fuzz_history_save(h, path))
		return path;
	free(path);
	return NULL;
}

void fuzz_finding_print(const struct fuzz_finding *f, FILE *to)
{
	fprintf(to, "%s\n", f->text);
	for (const char *line = f->more; *line;) {
		int length = (int)strcspn(line, "\n");

		fprintf(to, "  %.*s\n", length, line);
		line += length + (line[length] == '\n');
	}
}

static void tell_replay(const struct fuzz_options *o, const char *path)
{
	printf("see it again: kmcl fuzz %s %s --replay %s\n",
	       o->setup.end == KMCL_CLIENT ? "--client" : "--driver", o->setup.spec, path);
}

static void tell_small(struct shrink *s, const char *path)
{
	uint32_t steps = steps_of(&s->best, &s->input);

	printf("%s: %u step%s in %u run%s\n", path, steps, steps == 1 ? "" : "s", s->best.count,
	       s->best.count == 1 ? "" : "s");
	for (uint32_t i = 0; i < s->best.count && s->best.count <= 4; i++) {
		fuzz_decode(&s->input, s->best.run[i].bytes, s->best.run[i].size);
		fuzz_input_print(&s->input, s->best.end, stdout);
	}
	tell_replay(s->options, path);
}

void fuzz_found(const struct fuzz_options *options, struct fuzz_history *h,
		const struct fuzz_finding *f)
{
	struct shrink *s = calloc(1, sizeof(*s));
	char *path;

	fuzz_finding_print(f, stdout);
	/* First as it came: making it smaller takes a while. */
	path = save(options, h, f->name);
	fflush(stdout);
	if (path && s && fuzz_child_init(&s->child, &options->setup)) {
		s->options = options;
		s->name = f->name;
		if (!see_again(s, h)) {
			printf("%s: not seen again in %d tries or %u s; it has everything that "
			       "the process ran, %u runs\n",
			       path, TRIES, AGAIN_MS / 1000, h->count);
		} else {
			if (options->minimise_s)
				shrink(s);
			if (fuzz_history_save(&s->best, path))
				tell_small(s, path);
		}
		fuzz_child_destroy(&s->child);
		fuzz_history_clear(&s->best);
	}
	free(path);
	free(s);
}
