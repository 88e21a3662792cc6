/* SPDX-License-Identifier: MIT */
/* From Opened to Closed the library allocates nothing to send, deliver and complete: the allocators
 * of the whole program are counted here, and then made to fail. Driver code and VmbPacketAllocate
 * are exempt. Not in sanitizer builds, whose runtime owns malloc. */
#include "harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);
int __real_part_pages_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa);
int __wrap_part_pages_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa);

static atomic_bool counting, failing;
static atomic_uint calls;
/* A thread of the test's, outside the library. Volatile: the compiler takes malloc for a function
 * that looks at nothing. */
static _Thread_local volatile bool own;

/* True: this call must fail. */
static bool seen(void)
{
	if (own || !atomic_load(&counting))
		return false;
	atomic_fetch_add(&calls, 1);
	return atomic_load(&failing);
}

void *malloc(size_t size)
{
	return seen() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return seen() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
	return seen() ? NULL : __libc_realloc(p, size);
}

void *memalign(size_t align, size_t size);
void *memalign(size_t align, size_t size)
{
	return seen() ? NULL : __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	return seen() ? NULL : __libc_memalign(align, size);
}

int posix_memalign(void **p, size_t align, size_t size)
{
	*p = seen() ? NULL : __libc_memalign(align, size);
	return *p ? 0 : ENOMEM;
}

void free(void *p)
{
	if (p)
		(void)seen();
	__libc_free(p);
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (seen())
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
}

int munmap(void *at, size_t bytes)
{
	(void)seen();
	return (int)syscall(SYS_munmap, at, bytes);
}

int __wrap_part_pages_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa)
{
	return seen() ? -ENOMEM : __real_part_pages_alloc(ep, pages, gpa);
}

/* The library is entered from the test's thread: from here on its allocations count. */
#define IN_LIBRARY(call)     \
	do {                 \
		own = false; \
		call;        \
		own = true;  \
	} while (0)

enum {
	SLOTS = 32,
	ROUNDS = 200
};

static struct slot {
	VMBPACKET packet;
	atomic_uint left;
	PMDL mdl;
	uint32_t flags, bytes;
} slots[SLOTS];
static atomic_uint finished, refused;
static uint8_t payload[1024];

static void slot_send(struct slot *s)
{
	if (VmbPacketSend(s->packet, payload, s->bytes, s->mdl, s->flags) != STATUS_SUCCESS)
		atomic_fetch_add(&refused, 1);
}

static VOID slot_routine(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 length)
{
	struct slot *s = VmbPacketGetPointer(packet);

	(void)buffer;
	(void)length;
	if (status != STATUS_SUCCESS)
		atomic_fetch_add(&refused, 1);
	if (atomic_fetch_sub(&s->left, 1) == 1) {
		atomic_fetch_add(&finished, 1);
		return;
	}
	slot_send(s);
}

/* Maps what external data there is; defers each eighth packet once. */
static bool use_packet(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		       UINT32 flags)
{
	static _Thread_local unsigned int count;
	PMDL mdl;

	(void)buffer;
	(void)length;
	if (flags & VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA) {
		if (VmbChannelPacketGetExternalData(packet, 0, &mdl) != STATUS_SUCCESS ||
		    !MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority))
			atomic_fetch_add(&refused, 1);
	}
	if (KeGetCurrentIrql() == DISPATCH_LEVEL && ++count % 8 == 0) {
		kt_defer(c, packet);
		return true;
	}
	return false;
}

static void run(struct kt_pair *p)
{
	atomic_store(&finished, 0);
	for (int i = 0; i < SLOTS; i++)
		atomic_store(&slots[i].left, ROUNDS);
	for (int i = 0; i < SLOTS; i++)
		IN_LIBRARY(slot_send(&slots[i]));
	KT_WAIT(atomic_load(&finished) == SLOTS || atomic_load(&refused));
}

static void prepare(struct kt_bus *bus, struct kt_pair *p)
{
	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[i];
		struct kt_chan *c = i & 1 ? p->server : p->client;

		memset(s, 0, sizeof(*s));
		s->packet = VmbPacketAllocate(c->h);
		assert_non_null(s->packet);
		VmbPacketSetPointer(s->packet, s);
		VmbPacketSetCompletionRoutine(s->packet, slot_routine);
		s->flags = i & 2 ? KT_WAITED : 0;
		s->bytes = i & 4 ? 1024 : 64;
		if (!(i & 1) && i & 2 && i & 8)
			s->mdl = kt_mdl_alloc(bus, 20000, NULL);
	}
}

static void finish(struct kt_bus *bus)
{
	for (int i = 0; i < SLOTS; i++) {
		VmbPacketFree(slots[i].packet);
		if (slots[i].mdl)
			kt_mdl_free(bus, slots[i].mdl);
	}
}

static void measure(struct kt_bus *bus, bool passive, bool fail)
{
	struct kt_pair p = kt_pair_new(bus);

	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 4, 4),
			 STATUS_SUCCESS); /* small: packets queue too */
	atomic_store(&refused, 0);
	p.client->quiet = p.server->quiet = true;
	p.server->on_packet = use_packet;
	VmbChannelSetIncomingProcessingAtPassive(p.server->h, passive);
	prepare(bus, &p);
	kt_pair_open(&p);
	run(&p); /* the pool of threads has grown as far as it needs to */
	atomic_store(&calls, 0);
	atomic_store(&failing, fail);
	atomic_store(&counting, true);
	run(&p);
	atomic_store(&counting, false);
	atomic_store(&failing, false);
	assert_int_equal(atomic_load(&refused), 0);
	assert_int_equal(atomic_load(&calls), 0);
	VmbChannelDisable(p.client->h);
	VmbChannelDisable(p.server->h);
	finish(bus);
	kt_pair_free(&p);
}

static void nothing_is_allocated_at_dispatch_level(void **state)
{
	measure(*state, false, false);
}

static void nothing_is_allocated_at_passive_level(void **state)
{
	measure(*state, true, false);
}

static void inv_021_sends_succeed_while_every_allocation_fails(void **state)
{
	measure(*state, false, true);
	measure(*state, true, true);
}

/* Completions from a thread of the driver's, of packets that it held. */
static void nothing_is_allocated_to_complete_later(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *sends[32];

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	for (int i = 0; i < 32; i++)
		sends[i] = kt_send_new(p.client);
	atomic_store(&calls, 0);
	atomic_store(&failing, true);
	atomic_store(&counting, true);
	for (unsigned int i = 0; i < 32; i++)
		IN_LIBRARY(assert_int_equal(kt_send_pattern(sends[i], 512, i, KT_WAITED),
					    STATUS_SUCCESS));
	KT_WAIT(p.server->packet_count == 32);
	for (unsigned int i = 0; i < 32; i++)
		IN_LIBRARY(kt_complete(p.server, i, payload, 512));
	for (unsigned int i = 0; i < 32; i++)
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
	atomic_store(&counting, false);
	atomic_store(&failing, false);
	assert_int_equal(atomic_load(&calls), 0);
	for (unsigned int i = 0; i < 32; i++) {
		assert_int_equal(sends[i]->status, STATUS_SUCCESS);
		kt_send_free(sends[i]);
	}
	kt_pair_free(&p);
}

/* The instrument itself: it sees an allocation. */
static void an_allocation_would_be_seen(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	void *volatile block = NULL;

	atomic_store(&calls, 0);
	atomic_store(&counting, true);
	IN_LIBRARY(block = malloc(100));
	atomic_store(&counting, false);
	assert_int_equal(atomic_load(&calls), 1);
	free(block);
	kt_pair_free(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(an_allocation_would_be_seen),
		KT_TEST(nothing_is_allocated_at_dispatch_level),
		KT_TEST(nothing_is_allocated_at_passive_level),
		KT_TEST(inv_021_sends_succeed_while_every_allocation_fails),
		KT_TEST(nothing_is_allocated_to_complete_later),
	};

	own = true;
	return KT_MAIN("kmcl-no-alloc", tests);
}
