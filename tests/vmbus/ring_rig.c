/* SPDX-License-Identifier: MIT */
#include "ring_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096
};

static uint8_t *reserve(struct rig *g, size_t size)
{
	g->map_size = size;
	g->map = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g->map != MAP_FAILED);
	return g->map;
}

static void allow(uint8_t *at, size_t size)
{
	assert_int_equal(mprotect(at, size, PROT_READ | PROT_WRITE), 0);
}

static void map_contiguous(struct rig *g)
{
	uint8_t *base = reserve(g, (size_t)g->size + 4 * PAGE);

	allow(base, PAGE);
	allow(base + 2 * PAGE, g->size);
	g->control = (void *)base;
	g->view.data = base + 2 * PAGE;
}

static void map_mirrored(struct rig *g)
{
	size_t file = (size_t)g->size + PAGE;
	uint8_t *base = reserve(g, 2 * (size_t)g->size + 2 * PAGE);
	int fd = memfd_create("ring", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)file), 0);
	assert_true(mmap(base, file, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    base);
	assert_true(mmap(base + file, g->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 PAGE) == base + file);
	close(fd);
	g->control = (void *)base;
	g->view.data = base + PAGE;
	g->view.mirrored = true;
}

static void map_scattered(struct rig *g)
{
	uint32_t count = g->size / PAGE;
	uint8_t *base = reserve(g, (2 * (size_t)count + 2) * PAGE);

	allow(base, PAGE);
	g->control = (void *)base;
	for (uint32_t i = 0; i < count; i++) {
		g->pages[i] = base + 2 * (size_t)(count - i) * PAGE;
		allow(g->pages[i], PAGE);
	}
	g->view.pages = g->pages;
}

struct rig *rig_new(enum rig_view view, uint32_t size)
{
	struct rig *g = aligned_alloc(16, (sizeof(*g) + 15) & ~(size_t)15);

	assert_non_null(g);
	memset(g, 0, offsetof(struct rig, buf));
	g->size = size;
	g->view.size = size;
	switch (view) {
	case RIG_CONTIGUOUS:
		map_contiguous(g);
		break;
	case RIG_MIRRORED:
		map_mirrored(g);
		break;
	default:
		map_scattered(g);
		break;
	}
	g->view.control = g->control;
	vmbus_ring_init_control(g->control);
	rig_attach_writer(g);
	rig_attach_reader(g);
	return g;
}

void rig_free(struct rig *g)
{
	munmap(g->map, g->map_size);
	free(g);
}

void rig_attach_reader(struct rig *g)
{
	assert_int_equal(vmbus_ring_reader_attach(&g->r, &g->view), VMBUS_RING_OK);
}

void rig_attach_writer(struct rig *g)
{
	assert_int_equal(vmbus_ring_writer_attach(&g->w, &g->view), VMBUS_RING_OK);
}

void rig_at(struct rig *g, uint32_t in, uint32_t out)
{
	vmbus_store32_relaxed(&g->control->in, in);
	vmbus_store32_relaxed(&g->control->out, out);
	rig_attach_writer(g);
	rig_attach_reader(g);
}

static uint8_t *at(const struct rig *g, uint32_t offset)
{
	offset %= g->size;
	if (g->view.data)
		return g->view.data + offset;
	return g->pages[offset / PAGE] + offset % PAGE;
}

uint64_t rig_word(const struct rig *g, uint32_t offset)
{
	return vmbus_load64_relaxed(at(g, offset));
}

void rig_set_word(struct rig *g, uint32_t offset, uint64_t value)
{
	vmbus_store64_relaxed(at(g, offset), value);
}

void rig_fill(struct rig *g, uint8_t byte)
{
	for (uint32_t i = 0; i < g->size; i += 8)
		rig_set_word(g, i, byte * 0x0101010101010101ull);
}

void rig_bytes(const struct rig *g, uint32_t offset, void *to, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		((uint8_t *)to)[i] = __atomic_load_n(at(g, offset + i), __ATOMIC_RELAXED);
}

void rig_put_bytes(struct rig *g, uint32_t offset, const void *from, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		__atomic_store_n(at(g, offset + i), ((const uint8_t *)from)[i], __ATOMIC_RELAXED);
}

uint32_t rig_descriptor(struct rig *g, uint32_t offset, uint16_t type, uint16_t offset8,
			uint16_t length8, uint16_t flags, uint64_t id)
{
	rig_set_word(g, offset,
		     type | (uint64_t)offset8 << 16 | (uint64_t)length8 << 32 |
			     (uint64_t)flags << 48);
	rig_set_word(g, offset + 8, id);
	return length8 * 8u + 8;
}
