/* SPDX-License-Identifier: MIT */
#include "ring/ring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096
};

static bool map_at(uint8_t *at, size_t bytes, int fd, off_t offset)
{
	return mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
		    offset) != MAP_FAILED;
}

bool ring_memory_create(struct ring_memory *m, uint32_t size)
{
	int fd = memfd_create("bench-ring", MFD_CLOEXEC);
	uint8_t *base;
	bool ok;

	if (fd < 0)
		return false;
	base = mmap(NULL, PAGE + 2 * (size_t)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ok = base != MAP_FAILED && !ftruncate(fd, PAGE + (off_t)size) &&
	     map_at(base, PAGE + (size_t)size, fd, 0) && map_at(base + PAGE + size, size, fd, PAGE);
	close(fd);
	if (!ok)
		return false;
	m->control = base;
	m->data = base + PAGE;
	m->size = size;
	return true;
}

void ring_memory_destroy(struct ring_memory *m)
{
	if (m->control)
		munmap(m->control, PAGE + 2 * (size_t)m->size);
	m->control = NULL;
}

bool ring_load_create(struct ring_load *l, uint32_t size, uint32_t batch, uint32_t ring_size)
{
	size_t room = (size + 255u) / 64 * 64;

	memset(l, 0, sizeof(*l));
	l->source = aligned_alloc(64, room);
	l->sink = aligned_alloc(64, room);
	l->back = aligned_alloc(64, room);
	if (!l->source || !l->sink || !l->back)
		return false;
	l->size = size;
	l->batch = ring_batch(batch, size + 24, ring_size);
	l->filled = true;
	l->tag = 0x0123456789abcdefu;
	l->last = size / 8 - 1;
	memset(l->source, 0x5a, room);
	memset(l->sink, 0, room);
	memset(l->back, 0, room);
	l->source[1] = l->tag;
	return true;
}

void ring_load_destroy(struct ring_load *l)
{
	free(l->source);
	free(l->sink);
	free(l->back);
}
