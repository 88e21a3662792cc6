/* SPDX-License-Identifier: MIT */
#include "scale/account.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kmcl/channel.h"

#define MAPPINGS   16384u
#define PAGE       4096u
#define CHUNK_HEAD sizeof(size_t) /* malloc's, beside each block */
/* Stands in front of each block: who asked for it. */
#define TAG        16u

static _Atomic size_t heap[ACCOUNTS];
static _Thread_local int current = -1;

static struct mapping {
	void *va;
	size_t bytes;
	enum account who;
} mappings[MAPPINGS];
static size_t mapping_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static enum account by_name(void)
{
	char name[16] = "";

	pthread_getname_np(pthread_self(), name, sizeof(name));
	if (!strncmp(name, "kmcl-host", 9))
		return ACCOUNT_SERVER;
	if (!strncmp(name, "kmcl-guest", 10))
		return ACCOUNT_CLIENT;
	return ACCOUNT_COMMON;
}

static enum account whose(void)
{
	/* a thread gets its name soon after its start */
	return current >= 0 ? (enum account)current : by_name();
}

enum account account_enter(enum account who)
{
	enum account before = current >= 0 ? (enum account)current : ACCOUNT_COMMON;

	current = (int)who;
	return before;
}

/* ---- the heap ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *p);

/*
 * Only what the library itself allocates comes by here. What libc gives away (strdup, asprintf) has
 * no tag and is known by that.
 */
struct tag {
	uint64_t magic;
	enum account who;
};
#define MAGIC 0x6b6d636c74616721ull

static void *book(struct tag *tag)
{
	if (!tag)
		return NULL;
	tag->magic = MAGIC;
	tag->who = whose();
	atomic_fetch_add(&heap[tag->who], malloc_usable_size(tag) + CHUNK_HEAD - TAG);
	return (uint8_t *)tag + TAG;
}

void *__wrap_malloc(size_t size)
{
	return book(__real_malloc(size + TAG));
}

void *__wrap_calloc(size_t count, size_t size)
{
	return size && count > (SIZE_MAX - TAG) / size ? NULL
						       : book(__real_calloc(1, count * size + TAG));
}

void __wrap_free(void *p)
{
	struct tag *tag = p ? (struct tag *)(void *)((uint8_t *)p - TAG) : NULL;

	if (!tag || tag->magic != MAGIC) {
		__real_free(p);
		return;
	}
	atomic_fetch_sub(&heap[tag->who], malloc_usable_size(tag) + CHUNK_HEAD - TAG);
	tag->magic = 0;
	__real_free(tag);
}

/* ---- private mappings; with 64-bit file offsets mmap is called mmap64 ---- */

void *__real_mmap64(void *va, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *va, size_t bytes);
void *__wrap_mmap64(void *va, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *va, size_t bytes);

static void forget(const uint8_t *va)
{
	for (size_t i = 0; i < mapping_count; i++) {
		if ((const uint8_t *)mappings[i].va == va) {
			mappings[i] = mappings[--mapping_count];
			return;
		}
	}
}

/* A reservation that shared memory is laid over is not private any more. */
void *__wrap_mmap64(void *va, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	void *p = __real_mmap64(va, bytes, protection, flags, fd, offset);

	if (p == MAP_FAILED)
		return p;
	pthread_mutex_lock(&lock);
	if (flags & MAP_SHARED)
		forget(p);
	else if (mapping_count < MAPPINGS)
		mappings[mapping_count++] = (struct mapping){p, bytes, whose()};
	pthread_mutex_unlock(&lock);
	return p;
}

int __wrap_munmap(void *va, size_t bytes)
{
	pthread_mutex_lock(&lock);
	forget(va);
	pthread_mutex_unlock(&lock);
	return __real_munmap(va, bytes);
}

static size_t touched(const struct mapping *m)
{
	size_t pages = (m->bytes + PAGE - 1) / PAGE, count = 0;
	unsigned char *resident = __real_malloc(pages);

	if (resident && !mincore(m->va, m->bytes, resident)) {
		for (size_t i = 0; i < pages; i++)
			count += resident[i] & 1;
	}
	__real_free(resident);
	return count * PAGE;
}

size_t account_held(enum account who)
{
	size_t bytes = atomic_load(&heap[who]);

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < mapping_count; i++) {
		if (mappings[i].who == who)
			bytes += touched(&mappings[i]);
	}
	pthread_mutex_unlock(&lock);
	return bytes;
}

/* ---- what other threads do for an end ---- */

/* What a channel's strand does on a thread of the pool. */
bool __real_kmcl_session_prepare(struct kmcl_channel *ch);
bool __wrap_kmcl_session_prepare(struct kmcl_channel *ch);
bool __wrap_kmcl_session_prepare(struct kmcl_channel *ch)
{
	enum account before = account_enter(ch->server ? ACCOUNT_SERVER : ACCOUNT_CLIENT);
	bool ok = __real_kmcl_session_prepare(ch);

	account_enter(before);
	return ok;
}

int __real_part_client_open(struct part_client_channel *ch, struct part_port *port, uint32_t out,
			    uint32_t in, uint32_t vp, uint32_t *status);
int __wrap_part_client_open(struct part_client_channel *ch, struct part_port *port, uint32_t out,
			    uint32_t in, uint32_t vp, uint32_t *status);
int __wrap_part_client_open(struct part_client_channel *ch, struct part_port *port, uint32_t out,
			    uint32_t in, uint32_t vp, uint32_t *status)
{
	enum account before = account_enter(ACCOUNT_CLIENT);
	int error = __real_part_client_open(ch, port, out, in, vp, status);

	account_enter(before);
	return error;
}

void __real_part_server_open_done(struct part_server_channel *ch, uint32_t status);
void __wrap_part_server_open_done(struct part_server_channel *ch, uint32_t status);
void __wrap_part_server_open_done(struct part_server_channel *ch, uint32_t status)
{
	enum account before = account_enter(ACCOUNT_SERVER);

	__real_part_server_open_done(ch, status);
	account_enter(before);
}

int __real_part_server_offer(struct part_endpoint *ep, const struct vmbus_offer *offer,
			     const struct part_server_channel_ops *ops, void *device,
			     struct part_port *port, struct part_server_channel **ch);
int __wrap_part_server_offer(struct part_endpoint *ep, const struct vmbus_offer *offer,
			     const struct part_server_channel_ops *ops, void *device,
			     struct part_port *port, struct part_server_channel **ch);
int __wrap_part_server_offer(struct part_endpoint *ep, const struct vmbus_offer *offer,
			     const struct part_server_channel_ops *ops, void *device,
			     struct part_port *port, struct part_server_channel **ch)
{
	enum account before = account_enter(ACCOUNT_SERVER);
	int error = __real_part_server_offer(ep, offer, ops, device, port, ch);

	account_enter(before);
	return error;
}
