/* SPDX-License-Identifier: MIT */
/* One input out of others. All that is chosen is chosen by the random numbers of the seed. */
#include <string.h>

#include "fuzz.h"

#define COMPARES_TRIED 64u
#define EXTREME_BYTES  64u /* of a step, in which great numbers are put */

uint64_t fuzz_random(struct fuzz_random *r)
{
	uint64_t x = r->state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint32_t fuzz_below(struct fuzz_random *r, uint32_t n)
{
	return n ? (uint32_t)(fuzz_random(r) >> 32) % n : 0;
}

static bool one_in(struct fuzz_mutator *m, uint32_t n)
{
	return !fuzz_below(&m->random, n);
}

/* ---- numbers ---- */

static uint64_t interesting(struct fuzz_mutator *m)
{
	static const uint64_t values[] = {
		0,
		1,
		2,
		3,
		4,
		7,
		8,
		15,
		16,
		31,
		32,
		63,
		64,
		100,
		127,
		128,
		255,
		256,
		511,
		512,
		1000,
		1023,
		1024,
		4095,
		4096,
		4097,
		8191,
		8192,
		16384,
		32767,
		32768,
		65535,
		65536,
		0x7fffffff,
		0x80000000,
		0xfffffff0,
		0xffffffff,
		0x7fffffffffffffff,
		0x8000000000000000,
		0xffffffffffffffff,
	};

	if (one_in(m, 8))
		return fuzz_random(&m->random);
	return values[fuzz_below(&m->random, sizeof(values) / sizeof(values[0]))];
}

static void put(uint8_t *at, uint64_t value, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *at, uint32_t size)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < size; i++)
		value |= (uint64_t)at[i] << 8 * i;
	return value;
}

/* A place for a number of `size` bytes, mostly where such numbers lie. */
static uint32_t place(struct fuzz_mutator *m, const struct fuzz_step *s, uint32_t size)
{
	uint32_t at = fuzz_below(&m->random, s->size - size + 1u);

	return one_in(m, 8) ? at : at / size * size;
}

/* ---- data ---- */

static void resize(struct fuzz_mutator *m, struct fuzz_step *s)
{
	uint32_t size = one_in(m, 4) ? fuzz_below(&m->random, FUZZ_DATA + 1)
				     : (fuzz_below(&m->random, 17) * 8);

	if (size > s->size)
		memset(s->data + s->size, 0, size - s->size);
	s->size = (uint16_t)size;
}

static void change_number(struct fuzz_mutator *m, struct fuzz_step *s)
{
	uint32_t size = 1u << fuzz_below(&m->random, 4), at;

	if (s->size < size)
		return;
	at = place(m, s, size);
	if (one_in(m, 3))
		put(s->data + at, get(s->data + at, size) + fuzz_below(&m->random, 33) - 16, size);
	else
		put(s->data + at, interesting(m), size);
}

static void flip(struct fuzz_mutator *m, struct fuzz_step *s)
{
	uint32_t bit = fuzz_below(&m->random, s->size * 8u);

	if (s->size)
		s->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static void copy_within(struct fuzz_mutator *m, struct fuzz_step *s)
{
	uint32_t size = 1 + fuzz_below(&m->random, 16);

	if (s->size < 2 * size)
		return;
	memmove(s->data + place(m, s, size), s->data + place(m, s, size), size);
}

/* C compares a short number as an int: it may be as wide in the data as it has to be, or wider. */
static uint32_t least_width(const struct fuzz_compare *c)
{
	uint32_t least = 1;

	while (least < c->size && (c->a | c->b) >> 8 * least)
		least *= 2;
	return least;
}

static uint32_t width_of(struct fuzz_mutator *m, const struct fuzz_compare *c)
{
	uint32_t width = c->size, least = least_width(c);

	while (width > least && one_in(m, 2))
		width /= 2;
	return width;
}

/* The n-th place at which the steps have the number, and how many there are. */
static uint8_t *find_number(struct fuzz_input *in, uint64_t number, uint32_t width, uint32_t n,
			    uint32_t *count)
{
	uint8_t *found = NULL;

	*count = 0;
	for (uint32_t i = 0; i < in->count; i++) {
		struct fuzz_step *s = &in->step[i];

		for (uint32_t at = 0; at + width <= s->size; at += width)
			if (get(s->data + at, width) == number && (*count)++ == n)
				found = s->data + at;
	}
	return found;
}

static uint64_t swapped(uint64_t value, uint32_t width)
{
	return __builtin_bswap64(value) >> (64 - 8 * width);
}

/*
 * Bits of the variant: a is in the input, and b is wanted; as narrow as it may be; the other order
 * of bytes. Then the place: in turn from the end, where the driver got to last, and the beginning.
 */
bool fuzz_substitute(struct fuzz_input *in, const struct fuzz_compare *c, uint32_t variant)
{
	uint32_t width = variant & 2 ? least_width(c) : c->size, n = variant / 8, count;
	uint64_t mask = width == 8 ? UINT64_MAX : (1ull << 8 * width) - 1;
	uint64_t want = (variant & 1 ? c->b : c->a) & mask,
		 saw = (variant & 1 ? c->a : c->b) & mask;
	uint8_t *at;

	if ((variant & 1 && c->constant) || (variant & 2 && width == c->size) ||
	    (variant & 4 && width == 1))
		return false;
	if (variant & 4) {
		want = swapped(want, width);
		saw = swapped(saw, width);
	}
	find_number(in, saw, width, 0, &count);
	if (n >= count)
		return false;
	at = find_number(in, saw, width, n & 1 ? n / 2 : count - 1 - n / 2, &count);
	put(at, want, width);
	return true;
}

/* Puts what the driver wanted where it saw the other; which place of several is a guess. */
static bool replace_operand(struct fuzz_mutator *m, struct fuzz_step *s, uint64_t want,
			    uint64_t saw, uint32_t width)
{
	uint32_t start = place(m, s, width);

	for (uint32_t n = 0; n + width <= s->size; n++) {
		uint32_t at = (start + n) % (s->size - width + 1u);

		if (get(s->data + at, width) == saw) {
			put(s->data + at, want, width);
			return true;
		}
	}
	return false;
}

static void use_compare(struct fuzz_mutator *m, struct fuzz_step *s)
{
	for (uint32_t i = 0; i < COMPARES_TRIED && m->compares; i++) {
		const struct fuzz_compare *c = &m->compare[fuzz_below(&m->random, m->compares)];
		uint32_t width = width_of(m, c);
		uint64_t mask = width == 8 ? UINT64_MAX : (1ull << 8 * width) - 1;
		uint64_t delta = one_in(m, 8) ? fuzz_below(&m->random, 3) - 1u : 0;
		bool other = one_in(m, 4);
		uint64_t want = ((other ? c->b : c->a) + delta) & mask;

		if (width > s->size)
			continue;
		if (replace_operand(m, s, want, (other ? c->a : c->b) & mask, width))
			return;
		if (one_in(m, 32)) {
			put(s->data + place(m, s, width), want, width);
			return;
		}
	}
}

static void change_data(struct fuzz_mutator *m, struct fuzz_step *s)
{
	switch (fuzz_below(&m->random, 8)) {
	case 0:
		resize(m, s);
		break;
	case 1:
		flip(m, s);
		break;
	case 2:
		copy_within(m, s);
		break;
	case 3:
	case 4:
		change_number(m, s);
		break;
	default:
		use_compare(m, s);
		break;
	}
}

/* ---- steps ---- */

/* How often each is chosen: what tests the driver's own code more than what tests its life. */
static const uint8_t weight[2][FUZZ_OPS] = {
	[KMCL_SERVER] = {[FUZZ_SEND] = 40,
			 [FUZZ_EXTERNAL] = 14,
			 [FUZZ_RAW] = 2,
			 [FUZZ_TOUCH] = 3,
			 [FUZZ_ANSWER] = 6,
			 [FUZZ_MANNERS] = 3,
			 [FUZZ_PAUSE] = 2,
			 [FUZZ_CLOSE] = 3,
			 [FUZZ_OPEN] = 4,
			 [FUZZ_RESET] = 1,
			 [FUZZ_GPADL] = 4,
			 [FUZZ_TEARDOWN] = 2,
			 [FUZZ_MODIFY] = 1},
	[KMCL_CLIENT] = {[FUZZ_SEND] = 40,
			 [FUZZ_RAW] = 2,
			 [FUZZ_ANSWER] = 30,
			 [FUZZ_MANNERS] = 12,
			 [FUZZ_PAUSE] = 4,
			 [FUZZ_CLOSE] = 3,
			 [FUZZ_OPEN] = 4,
			 [FUZZ_REFUSE] = 1},
};

/* What the library refuses for this driver, say external data, ends the channel each time. */
static uint32_t weight_of(const struct fuzz_mutator *m, uint32_t op)
{
	uint32_t tried = m->shared->tried[op], ended = m->shared->ended[op];
	uint32_t usual = weight[m->end][op];

	return usual && tried >= 8 && ended > tried / 2 ? 1 : usual;
}

static uint8_t choose_op(struct fuzz_mutator *m)
{
	uint32_t sum = 0, n;
	uint8_t op = 0;

	for (uint32_t i = 0; i < FUZZ_OPS; i++)
		sum += weight_of(m, i);
	n = fuzz_below(&m->random, sum);
	while (n >= weight_of(m, op))
		n -= weight_of(m, op++);
	return op;
}

static void invent_step(struct fuzz_mutator *m, struct fuzz_step *s)
{
	memset(s, 0, offsetof(struct fuzz_step, data));
	s->op = choose_op(m);
	s->channel = one_in(m, 8) ? (uint8_t)fuzz_random(&m->random) : 0;
	s->count = 1;
	if (!one_in(m, 4))
		s->flags |= FUZZ_ASK;
	if (one_in(m, 6))
		s->flags |= FUZZ_HURRY;
	if (one_in(m, 20))
		s->flags |= FUZZ_LONG;
	if (one_in(m, 8))
		s->flags |= FUZZ_PUT;
	if (one_in(m, 16))
		s->flags |= FUZZ_FORGE;
	s->a = (uint32_t)interesting(m);
	s->b = s->op == FUZZ_EXTERNAL || one_in(m, 2) ? 0 : (uint32_t)interesting(m);
	s->type = s->op == FUZZ_RAW ? (uint16_t)(5 + fuzz_below(&m->random, 8))
				    : (uint16_t)interesting(m);
	if (s->op == FUZZ_RAW)
		s->a = 0;
	resize(m, s);
	/* Bytes that are all different show where the driver looked. */
	if (one_in(m, 2))
		for (uint32_t i = 0; i < s->size; i++)
			s->data[i] = (uint8_t)fuzz_random(&m->random);
	for (uint32_t i = 0; i < 3; i++)
		change_number(m, s);
}

static void change_field(struct fuzz_mutator *m, struct fuzz_step *s)
{
	switch (fuzz_below(&m->random, 8)) {
	case 0:
	case 7:
		s->op = choose_op(m);
		break;
	case 1:
		s->channel = (uint8_t)interesting(m);
		break;
	case 2:
		s->flags ^= (uint8_t)(1u << fuzz_below(&m->random, 5));
		break;
	case 3:
		s->count = one_in(m, 4) ? (uint8_t)fuzz_random(&m->random)
					: (uint8_t)(1 + fuzz_below(&m->random, 2));
		break;
	case 4:
		s->type = (uint16_t)interesting(m);
		break;
	case 5:
		s->a = (uint32_t)interesting(m);
		break;
	default:
		s->b = one_in(m, 2) ? (uint32_t)interesting(m)
				    : s->b ^ 1u << fuzz_below(&m->random, 24);
		break;
	}
}

/* ---- inputs ---- */

static struct fuzz_step *insert(struct fuzz_input *in, uint32_t at)
{
	if (in->count == FUZZ_STEPS)
		return &in->step[at % FUZZ_STEPS];
	for (uint32_t i = in->count++; i > at; i--)
		fuzz_step_copy(&in->step[i], &in->step[i - 1]);
	return &in->step[at];
}

void fuzz_cut(struct fuzz_input *in, uint32_t from, uint32_t to)
{
	uint32_t rest = to < in->count ? in->count - to : 0;

	for (uint32_t i = 0; i < rest; i++)
		fuzz_step_copy(&in->step[from + i], &in->step[to + i]);
	in->count = from + rest;
}

bool fuzz_append(struct fuzz_input *in, const struct fuzz_step *step)
{
	if (in->count == FUZZ_STEPS)
		return false;
	fuzz_step_copy(&in->step[in->count++], step);
	return true;
}

/* Lengths and counts are what drivers believe. */
bool fuzz_extreme(struct fuzz_input *in, uint32_t n)
{
	static const struct {
		uint32_t value, at, size;
	} extreme[] = {
		{UINT32_MAX, 0, 4}, {INT32_MAX, 0, 4}, {UINT16_MAX, 0, 2}, {UINT16_MAX, 2, 2}};
	uint32_t kinds = sizeof(extreme) / sizeof(extreme[0]), word = n / kinds * 4;
	struct fuzz_step *s = in->count ? &in->step[in->count - 1] : NULL;

	if (!s || word + 4 > s->size || word >= EXTREME_BYTES)
		return false;
	put(s->data + word + extreme[n % kinds].at, extreme[n % kinds].value,
	    extreme[n % kinds].size);
	return true;
}

static void drop(struct fuzz_mutator *m, struct fuzz_input *in)
{
	uint32_t at = fuzz_below(&m->random, in->count);

	fuzz_cut(in, at, at + 1 + fuzz_below(&m->random, 3));
}

/* Once more what was done somewhere, and a little else: a protocol's next message often looks like
 * one of those before. */
static void extend(struct fuzz_mutator *m, struct fuzz_input *in, const struct fuzz_input *other)
{
	const struct fuzz_input *from = other->count && one_in(m, 2) ? other : in;
	struct fuzz_step step;

	fuzz_step_copy(&step, &from->step[fuzz_below(&m->random, from->count)]);
	if (one_in(m, 2))
		use_compare(m, &step);
	else
		change_data(m, &step);
	fuzz_append(in, &step);
}

static void take_from(struct fuzz_mutator *m, struct fuzz_input *in, const struct fuzz_input *other)
{
	/* behind all others, mostly: what came before has led somewhere */
	uint32_t at = one_in(m, 3) ? fuzz_below(&m->random, in->count + 1) : in->count;
	uint32_t from = fuzz_below(&m->random, other->count);
	uint32_t n = 1 + fuzz_below(&m->random, other->count - from);

	for (uint32_t i = 0; i < n && in->count < FUZZ_STEPS; i++)
		fuzz_step_copy(insert(in, at + i), &other->step[from + i]);
}

static void duplicate(struct fuzz_mutator *m, struct fuzz_input *in)
{
	struct fuzz_step copy;

	fuzz_step_copy(&copy, &in->step[fuzz_below(&m->random, in->count)]);
	fuzz_step_copy(insert(in, one_in(m, 2) ? fuzz_below(&m->random, in->count + 1) : in->count),
		       &copy);
}

static void swap(struct fuzz_mutator *m, struct fuzz_input *in)
{
	struct fuzz_step *a = &in->step[fuzz_below(&m->random, in->count)];
	struct fuzz_step *b = &in->step[fuzz_below(&m->random, in->count)];
	struct fuzz_step kept;

	if (a == b)
		return;
	fuzz_step_copy(&kept, a);
	fuzz_step_copy(a, b);
	fuzz_step_copy(b, &kept);
}

static void mutate_once(struct fuzz_mutator *m, struct fuzz_input *in,
			const struct fuzz_input *other)
{
	uint32_t what = fuzz_below(&m->random, 21);

	if (!in->count || what < 2) {
		invent_step(m, insert(in, fuzz_below(&m->random, in->count + 1)));
		return;
	}
	if (what == 2)
		drop(m, in);
	else if (what < 5 && other->count)
		take_from(m, in, other);
	else if (what < 7)
		duplicate(m, in);
	else if (what == 7)
		swap(m, in);
	else if (what >= 18)
		extend(m, in, other);
	else if (what < 10)
		change_field(m, &in->step[fuzz_below(&m->random, in->count)]);
	else
		change_data(m, &in->step[fuzz_below(&m->random, in->count)]);
}

void fuzz_invent(struct fuzz_mutator *m, struct fuzz_input *in)
{
	uint32_t steps = 1 + fuzz_below(&m->random, 4);

	for (in->count = 0; in->count < steps; in->count++)
		invent_step(m, &in->step[in->count]);
}

void fuzz_mutate(struct fuzz_mutator *m, struct fuzz_input *in, const struct fuzz_input *other)
{
	uint32_t times = 1u << fuzz_below(&m->random, 3);

	for (uint32_t i = 0; i < times; i++)
		mutate_once(m, in, other);
}
