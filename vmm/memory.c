/* SPDX-License-Identifier: MIT */
/* Guest memory: one sealed memfd, below and above the hole. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

int memory_make(struct memory *m, uint64_t size)
{
	m->size = size;
	m->low = size < LOW_MEMORY_MAX ? size : LOW_MEMORY_MAX;
	m->base = MAP_FAILED;
	m->fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->fd < 0 || ftruncate(m->fd, (off_t)size) ||
	    fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	m->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, 0);
	return m->base == MAP_FAILED ? -errno : 0;
}

void memory_free(struct memory *m)
{
	if (m->base && m->base != MAP_FAILED)
		munmap(m->base, m->size);
	if (m->fd >= 0)
		close(m->fd);
}

int memory_clear(struct memory *m)
{
	return fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)m->size)
		       ? -errno
		       : 0;
}

static int map_slot(int vm_fd, uint32_t slot, uint64_t gpa, uint64_t size, uint8_t *at)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)at,
	};

	return ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

int memory_map(const struct memory *m, int vm_fd)
{
	int error = map_slot(vm_fd, 0, 0, m->low, m->base);

	if (!error && m->size > m->low)
		error = map_slot(vm_fd, 1, HIGH_MEMORY, m->size - m->low, m->base + m->low);
	return error;
}

int memory_show(const struct memory *m, kmcl_partition *partition)
{
	int error = kmcl_host_add_memory(partition, m->fd, 0, m->low, 0);

	if (!error && m->size > m->low)
		error = kmcl_host_add_memory(partition, m->fd, HIGH_MEMORY, m->size - m->low,
					     m->low);
	return error;
}

void *memory_low(const struct memory *m, uint64_t gpa, uint64_t bytes)
{
	return bytes <= m->low && gpa <= m->low - bytes ? m->base + gpa : NULL;
}
