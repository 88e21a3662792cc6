/* SPDX-License-Identifier: MIT */
/*
 * The guest's MMIO window: addresses outside its memory that a bus driver hands to devices, by the
 * megabyte, as their offers ask. No memory stands behind them here; they are a channel's own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "partition/internal.h"

#define MEGABYTE     (1ull << 20)
#define DEFAULT_BASE 0xf8000000ull
#define DEFAULT_SIZE (128 * MEGABYTE)
#define MOST_SIZE    (64ull << 30)
#define MOST_BASE    (1ull << 46)

int mmio_complete_options(struct part_options *o)
{
	if (!o->mmio_base)
		o->mmio_base = DEFAULT_BASE;
	if (!o->mmio_size)
		o->mmio_size = DEFAULT_SIZE;
	if (o->mmio_base % MEGABYTE || o->mmio_size % MEGABYTE || o->mmio_size > MOST_SIZE ||
	    o->mmio_base > MOST_BASE || o->mmio_base < o->memory)
		return -EINVAL;
	return 0;
}

int mmio_init(struct part_mmio *m, const struct part_options *o)
{
	m->base = o->mmio_base;
	m->megabytes = (uint32_t)(o->mmio_size / MEGABYTE);
	m->used = calloc(1, m->megabytes);
	return m->used ? 0 : -ENOMEM;
}

void mmio_destroy(struct part_mmio *m)
{
	free(m->used);
	m->used = NULL;
}

static bool find_run(const struct part_mmio *m, uint32_t megabytes, uint32_t *first)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < m->megabytes; i++) {
		run = m->used[i] ? 0 : run + 1;
		if (run == megabytes) {
			*first = i + 1 - megabytes;
			return true;
		}
	}
	return false;
}

int part_mmio_reserve(struct part_endpoint *ep, uint32_t megabytes, uint64_t *gpa)
{
	struct part_mmio *m = &ep->mmio;
	uint32_t first = 0;
	int error = -ENOSPC;

	if (!megabytes)
		return -EINVAL;
	pthread_mutex_lock(&ep->lock);
	if (m->used && find_run(m, megabytes, &first)) {
		memset(m->used + first, 1, megabytes);
		*gpa = m->base + first * MEGABYTE;
		error = 0;
	}
	pthread_mutex_unlock(&ep->lock);
	return error;
}

void part_mmio_release(struct part_endpoint *ep, uint64_t gpa, uint32_t megabytes)
{
	struct part_mmio *m = &ep->mmio;

	pthread_mutex_lock(&ep->lock);
	memset(m->used + (gpa - m->base) / MEGABYTE, 0, megabytes);
	pthread_mutex_unlock(&ep->lock);
}
