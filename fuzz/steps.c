/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "steps.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *two,
				 size_t two_size, uint8_t *out, size_t max_size, unsigned int seed);

/* ---- reading ---- */

/* What a step at `at` takes; its own bytes may be cut off by the end. */
static size_t step_length(const uint8_t *at, const uint8_t *end)
{
	size_t left = (size_t)(end - at), length = STEP_SIZE;

	if (at[0] == STEP_BYTES && left > 1)
		length += (at[1] + STEP_SIZE - 1) / STEP_SIZE * STEP_SIZE;
	return length < left ? length : left;
}

void steps_begin(struct steps *in, const uint8_t *data, size_t size)
{
	size_t config = size < STEPS_CONFIG ? size : STEPS_CONFIG;

	memset(in, 0, sizeof(*in));
	if (config)
		memcpy(in->config, data, config);
	in->at = data + config;
	in->end = data + size;
	in->left = STEPS_MOST;
}

bool steps_next(struct steps *in, struct step *step)
{
	size_t length;

	memset(step, 0, sizeof(*step));
	if (in->left-- <= 0 || (size_t)(in->end - in->at) < STEP_SIZE)
		return false;
	length = step_length(in->at, in->end);
	step->op = in->at[0];
	step->a = in->at[1];
	step->b = in->at[2];
	step->c = in->at[3];
	step->d = in->at[4] | in->at[5] << 8 | in->at[6] << 16 | (uint32_t)in->at[7] << 24;
	step->bytes = in->at + STEP_SIZE;
	if (step->op == STEP_BYTES && step->a > length - STEP_SIZE)
		step->a = (uint8_t)(length - STEP_SIZE);
	in->at += length;
	return true;
}

/* ---- mutating ---- */

struct mutation {
	uint8_t *data;
	size_t size, max_size;
	uint64_t seed;
};

static uint32_t chance(struct mutation *m, uint32_t of)
{
	m->seed = m->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(m->seed >> 33) % of;
}

static size_t count_steps(const uint8_t *data, size_t size)
{
	size_t n = 0;

	for (size_t at = STEPS_CONFIG; at < size; n++)
		at += step_length(data + at, data + size);
	return n;
}

/* Where step n begins; the end, if there are no more than n. */
static size_t offset_of(const uint8_t *data, size_t size, size_t n)
{
	size_t at = STEPS_CONFIG;

	while (n-- > 0 && at < size)
		at += step_length(data + at, data + size);
	return at < size ? at : size;
}

static size_t any_offset(struct mutation *m)
{
	size_t n = count_steps(m->data, m->size);

	return offset_of(m->data, m->size, chance(m, (uint32_t)n + 1));
}

static bool insert(struct mutation *m, size_t at, const uint8_t *bytes, size_t size)
{
	if (m->max_size - m->size < size)
		return false;
	memmove(m->data + at + size, m->data + at, m->size - at);
	memcpy(m->data + at, bytes, size);
	m->size += size;
	return true;
}

static void cut(struct mutation *m, size_t at, size_t size)
{
	memmove(m->data + at, m->data + at + size, m->size - at - size);
	m->size -= size;
}

static uint8_t small_byte(struct mutation *m)
{
	return (uint8_t)(chance(m, 4) ? chance(m, 12) : chance(m, 256));
}

static uint32_t interesting_word(struct mutation *m)
{
	static const uint32_t words[] = {0,      1,       2,       3,      4,          7,
					 8,      26,      27,      28,     0x10,       0x7f,
					 0x80,   0xff,    0x7ff,   0x800,  0xfff,      0x1000,
					 0xffff, 0x60000, 0x50003, 0x2000, 0x7fffffff, 0xffffffff};

	switch (chance(m, 3)) {
	case 0:
		return words[chance(m, sizeof(words) / sizeof(words[0]))];
	case 1:
		return chance(m, 64);
	default:
		return chance(m, UINT32_MAX) ^ chance(m, 2) << 31;
	}
}

static void put_word(uint8_t *to, uint32_t word)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(word >> 8 * i);
}

static void new_step(struct mutation *m, uint8_t *step)
{
	step[0] = (uint8_t)chance(m, STEP_BYTES);
	/* Mostly an owner that does its work at once. */
	if (chance(m, 4))
		step[0] &= 0x7f;
	for (int i = 1; i < 4; i++)
		step[i] = small_byte(m);
	put_word(step + 4, chance(m, 2) ? 0 : interesting_word(m));
}

static bool insert_step(struct mutation *m)
{
	uint8_t step[STEP_SIZE];

	new_step(m, step);
	return insert(m, any_offset(m), step, sizeof(step));
}

/* A message as bytes: its type, and the rest to be mutated later. */
static bool insert_bytes(struct mutation *m)
{
	uint8_t step[STEP_SIZE + 240] = {STEP_BYTES};

	step[1] = (uint8_t)(chance(m, 31) * 8);
	step[STEP_SIZE] = (uint8_t)chance(m, 31);
	return insert(m, any_offset(m), step, STEP_SIZE + step[1]);
}

/* A run of whole steps; false: there is none. */
static bool any_run(struct mutation *m, size_t *at, size_t *size)
{
	size_t n = count_steps(m->data, m->size), first, count;

	if (!n)
		return false;
	first = chance(m, (uint32_t)n);
	count = 1 + chance(m, chance(m, 3) ? 2 : 12);
	*at = offset_of(m->data, m->size, first);
	*size = offset_of(m->data, m->size, first + count) - *at;
	return true;
}

static bool repeat_run(struct mutation *m)
{
	uint8_t copy[1024];
	size_t at, size, to;

	if (!any_run(m, &at, &size) || size > sizeof(copy))
		return false;
	memcpy(copy, m->data + at, size);
	to = chance(m, 2) ? at : any_offset(m);
	for (uint32_t times = chance(m, 4) ? 1 : 1 + chance(m, 15); times > 0; times--) {
		if (!insert(m, to, copy, size))
			return false;
	}
	return true;
}

static bool remove_run(struct mutation *m)
{
	size_t at, size;

	if (!any_run(m, &at, &size))
		return false;
	cut(m, at, size);
	return true;
}

static bool move_run(struct mutation *m)
{
	uint8_t copy[1024];
	size_t at, size;

	if (!any_run(m, &at, &size) || size > sizeof(copy))
		return false;
	memcpy(copy, m->data + at, size);
	cut(m, at, size);
	return insert(m, any_offset(m), copy, size);
}

static bool alter_bytes(struct mutation *m, uint8_t *step)
{
	size_t size = step_length(step, m->data + m->size);

	if (size <= STEP_SIZE)
		return false;
	LLVMFuzzerMutate(step + STEP_SIZE, size - STEP_SIZE, size - STEP_SIZE);
	return true;
}

static bool alter_step(struct mutation *m)
{
	size_t at = any_offset(m);
	uint8_t *step = m->data + at;

	if (m->size - at < STEP_SIZE)
		return false;
	if (step[0] == STEP_BYTES && chance(m, 8))
		return alter_bytes(m, step);
	switch (chance(m, 8)) {
	case 0:
		step[0] = (uint8_t)chance(m, STEP_BYTES);
		break;
	case 1:
		step[0] ^= 0x80;
		break;
	case 2:
	case 3:
	case 4:
		step[1 + chance(m, 3)] = small_byte(m);
		break;
	case 5:
		step[1 + chance(m, 3)] ^= (uint8_t)(1u << chance(m, 8));
		break;
	case 6:
		put_word(step + 4, interesting_word(m));
		break;
	default:
		step[4 + chance(m, 4)] ^= (uint8_t)(1u << chance(m, 8));
		break;
	}
	return true;
}

static bool alter_config(struct mutation *m)
{
	m->data[chance(m, STEPS_CONFIG)] = (uint8_t)chance(m, 256);
	return true;
}

static bool alter_anything(struct mutation *m)
{
	m->size = LLVMFuzzerMutate(m->data, m->size, m->max_size);
	return true;
}

static bool mutate_once(struct mutation *m)
{
	static bool (*const ways[])(struct mutation * m) = {
		insert_step, insert_step, insert_step, insert_bytes, repeat_run,   repeat_run,
		remove_run,  move_run,    alter_step,  alter_step,   alter_config, alter_anything,
	};

	return ways[chance(m, sizeof(ways) / sizeof(ways[0]))](m);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	struct mutation m = {data, size, max_size, seed};
	bool done = false;

	if (max_size < STEPS_CONFIG + STEP_SIZE)
		return LLVMFuzzerMutate(data, size, max_size);
	if (m.size < STEPS_CONFIG) {
		memset(data + size, 0, STEPS_CONFIG - size);
		m.size = STEPS_CONFIG;
	}
	for (int i = 0; i < 20 && (!done || chance(&m, 3)); i++) {
		if (m.size < STEPS_CONFIG)
			break;
		done |= mutate_once(&m);
	}
	return m.size;
}

/* The beginning of one and the end of the other, each of whole steps. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *two,
				 size_t two_size, uint8_t *out, size_t max_size, unsigned int seed)
{
	struct mutation m = {.seed = seed};
	size_t head, tail;

	if (one_size < STEPS_CONFIG || two_size < STEPS_CONFIG)
		return 0;
	head = offset_of(one, one_size, chance(&m, (uint32_t)count_steps(one, one_size) + 1));
	tail = offset_of(two, two_size, chance(&m, (uint32_t)count_steps(two, two_size) + 1));
	if (head > max_size)
		return 0;
	memcpy(out, one, head);
	two_size -= tail;
	if (two_size > max_size - head)
		two_size = (max_size - head) / STEP_SIZE * STEP_SIZE;
	memcpy(out + head, two + tail, two_size);
	return head + two_size;
}
