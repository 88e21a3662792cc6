/* SPDX-License-Identifier: MIT */
/*
 * The inputs that lead on. One that reaches an edge of the driver, or one more often than any
 * before it, joins them; so does one that comes to a place at far less cost. The next ones are made
 * of the cheapest that come to the rarest places: there is what a driver does only after something
 * else.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define RARER_OF   3u    /* places that are drawn to find a rare one */
#define NEWEST     8u    /* entries that are chosen more often for being new */
#define WAIT_COSTS 4096u /* bytes: so much time is lost with a driver that does not answer */

void fuzz_corpus_init(struct fuzz_corpus *c, const struct fuzz_shared *shared,
		      struct fuzz_random *random)
{
	c->shared = shared;
	c->random = random;
	memset(c->best, 0xff, sizeof(c->best));
}

static void free_entry(struct fuzz_entry *e)
{
	free(e->bytes);
	free(e->compare);
}

void fuzz_corpus_clear(struct fuzz_corpus *c)
{
	for (uint32_t i = 0; i < c->count; i++)
		free_entry(&c->entry[i]);
	c->count = 0;
}

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

static void see(struct fuzz_corpus *c, uint32_t n, struct fuzz_fresh *fresh)
{
	uint8_t bits = bucket(c->shared->map[n]);

	if (!bits)
		return;
	if (!c->seen[n]) {
		c->place[c->reached++] = n;
		fresh->places++;
	}
	if (bits & ~c->seen[n] && fresh->count < FUZZ_FRESH) {
		fresh->at[fresh->count].place = n;
		fresh->at[fresh->count++].bits = bits;
	}
	c->seen[n] |= bits;
	c->hits[n] += c->hits[n] < UINT32_MAX;
}

static size_t cost_of(const struct fuzz_corpus *c, size_t size)
{
	return size + (size_t)c->shared->waits * WAIT_COSTS;
}

/* It comes to a place at far less cost than any before it. */
static bool is_cheap(const struct fuzz_corpus *c, size_t cost)
{
	for (uint32_t i = 0; i < c->reached; i++) {
		uint32_t n = c->place[i];

		if (c->shared->map[n] && c->best[n] != FUZZ_NOBODY &&
		    cost < c->entry[c->best[n]].cost / 2)
			return true;
	}
	return false;
}

bool fuzz_corpus_judge(struct fuzz_corpus *c, size_t size, struct fuzz_fresh *fresh)
{
	const uint8_t *map = c->shared->map;

	fresh->count = fresh->places = 0;
	for (uint32_t i = 0; i < FUZZ_MAP; i += 8) {
		uint64_t word;

		memcpy(&word, map + i, 8);
		for (uint32_t n = i; word && n < i + 8; n++)
			see(c, n, fresh);
	}
	return fresh->count || is_cheap(c, cost_of(c, size));
}

bool fuzz_corpus_covers(const struct fuzz_corpus *c, const struct fuzz_fresh *fresh)
{
	for (uint32_t i = 0; i < fresh->count; i++)
		if (bucket(c->shared->map[fresh->at[i].place]) != fresh->at[i].bits)
			return false;
	return true;
}

/* ---- comparisons ---- */

static bool is_novel(struct fuzz_corpus *c, const struct fuzz_compare *compare)
{
	uint64_t h = compare->site + 1;
	uint32_t n;

	h = (h ^ compare->a) * 0x9e3779b97f4a7c15u;
	if (!compare->constant)
		h = (h ^ h >> 32 ^ compare->b) * 0x9e3779b97f4a7c15u;
	n = (uint32_t)(h >> 40) % FUZZ_KNOWN;
	if (c->known[n / 8] >> n % 8 & 1)
		return false;
	c->known[n / 8] |= (uint8_t)(1u << n % 8);
	return true;
}

static void take_compares(struct fuzz_corpus *c, struct fuzz_entry *e)
{
	void *fitting;

	for (uint32_t i = 0; i < FUZZ_COMPARES; i++) {
		struct fuzz_compare one = c->shared->compare[i];

		if (!one.size || one.size > 8)
			continue;
		e->compare[e->compares] = one;
		if (is_novel(c, &one)) {
			e->compare[e->compares] = e->compare[e->novel];
			e->compare[e->novel++] = one;
		}
		e->compares++;
	}
	fitting = realloc(e->compare, (e->compares + 1) * sizeof(e->compare[0]));
	if (fitting)
		e->compare = fitting;
}

/* ---- entries ---- */

bool fuzz_corpus_keep(struct fuzz_corpus *c, const uint8_t *bytes, size_t size, bool leads)
{
	uint32_t n = c->count < FUZZ_CORPUS ? c->count : fuzz_below(c->random, FUZZ_CORPUS);
	struct fuzz_entry e = {.bytes = malloc(size ? size : 1),
			       .size = size,
			       .cost = cost_of(c, size),
			       .leads = leads,
			       .compare = malloc(sizeof(c->shared->compare))};

	if (!e.bytes || !e.compare) {
		free_entry(&e);
		return false;
	}
	memcpy(e.bytes, bytes, size);
	take_compares(c, &e);
	if (n < c->count)
		free_entry(&c->entry[n]);
	else
		c->count++;
	c->entry[n] = e;
	if (leads && c->leads < FUZZ_LEADS)
		c->lead[c->leads++] = n;
	for (uint32_t i = 0; i < c->reached; i++) {
		uint16_t *best = &c->best[c->place[i]];

		if (*best == n && !c->shared->map[c->place[i]])
			*best = FUZZ_NOBODY; /* it was the one that made room */
		else if (c->shared->map[c->place[i]] &&
			 (*best == FUZZ_NOBODY || *best == n || e.cost < c->entry[*best].cost))
			*best = (uint16_t)n;
	}
	return true;
}

static uint32_t rare_place(struct fuzz_corpus *c)
{
	uint32_t rare = c->place[fuzz_below(c->random, c->reached)];

	for (uint32_t i = 1; i < RARER_OF; i++) {
		uint32_t n = c->place[fuzz_below(c->random, c->reached)];

		if (c->hits[n] < c->hits[rare])
			rare = n;
	}
	return rare;
}

static uint32_t choose(struct fuzz_corpus *c)
{
	uint32_t how = fuzz_below(c->random, 8), best = FUZZ_NOBODY;

	if (how < 5 && c->reached)
		best = c->best[rare_place(c)];
	else if (how == 5 && c->count > NEWEST)
		best = c->count - 1 - fuzz_below(c->random, NEWEST);
	return best == FUZZ_NOBODY ? fuzz_below(c->random, c->count) : best;
}

const struct fuzz_entry *fuzz_corpus_choose(struct fuzz_corpus *c, struct fuzz_input *in)
{
	const struct fuzz_entry *e = &c->entry[choose(c)];

	fuzz_decode(in, e->bytes, e->size);
	return e;
}
