/* SPDX-License-Identifier: MIT */
/*
 * ExAllocatePool and its kin. A block comes from the current driver's memory (a client's: guest
 * memory) or from the heap. The records are kept on the private heap, out of a peer's reach, and
 * say who holds what, so that leaks are reported by tag and a bad free is named.
 *
 * Every block has a guard behind it, which is checked when it is freed. Under AddressSanitizer the
 * heap's blocks are malloc's own, and the guards of guest memory are poisoned; freed guest blocks
 * stay poisoned in a quarantine for a while.
 */
#include "nt/internal.h"

#include <execinfo.h>
#include <stdlib.h>

#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif
#ifndef POOL_ASAN
#define POOL_ASAN 0
#endif

#if POOL_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define SHARDS           256u
#define GUARD            16u
#define GUARD_BYTE       0xfd
#define FREED_BYTE       0xdd
#define FRAMES           8
#define QUARANTINE       64u    /* freed guest blocks kept back */
#define QUARANTINE_BYTES 65536u /* larger ones are not kept */

struct block {
	struct block *next;
	void *address;
	SIZE_T size;
	struct nt_driver *driver;
	const struct nt_memory *memory; /* NULL: heap */
	ULONG tag;
	int frames;
	void *trace[FRAMES];
};

static struct {
	struct spin_lock lock;
	struct block *head;
} shards[SHARDS];

static struct {
	struct spin_lock lock;
	struct {
		const struct nt_memory *memory;
		void *address;
		SIZE_T size;
	} slot[QUARANTINE];
	unsigned int next;
} quarantine;

static _Atomic size_t nobody_blocks, nobody_bytes;

static unsigned int shard_of(const void *address)
{
	uintptr_t a = (uintptr_t)address;

	return (unsigned int)((a >> 4 ^ a >> 12 ^ a >> 20) % SHARDS);
}

static void account(struct nt_driver *driver, SIZE_T size, bool add)
{
	_Atomic size_t *blocks = driver ? &driver->blocks : &nobody_blocks;
	_Atomic size_t *bytes = driver ? &driver->bytes : &nobody_bytes;

	if (add) {
		atomic_fetch_add(blocks, 1);
		atomic_fetch_add(bytes, size);
	} else {
		atomic_fetch_sub(blocks, 1);
		atomic_fetch_sub(bytes, size);
	}
}

void nt_pool_usage(struct nt_driver *driver, size_t *blocks, size_t *bytes)
{
	*blocks = atomic_load(driver ? &driver->blocks : &nobody_blocks);
	*bytes = atomic_load(driver ? &driver->bytes : &nobody_bytes);
}

static bool guarded(const struct block *b)
{
	return b->memory || !POOL_ASAN;
}

/* Room for the guard behind the block. */
static SIZE_T gross_size(const struct block *b)
{
	return b->size + (guarded(b) ? GUARD : 0);
}

static void *get_memory(const struct block *b, bool pages)
{
	size_t align = pages ? PAGE_SIZE : 16;
	void *p = NULL;

	if (b->memory)
		return b->memory->alloc(b->memory->ctx, gross_size(b), align);
	return posix_memalign(&p, align, gross_size(b)) ? NULL : p;
}

static void release_memory(const struct nt_memory *memory, void *p)
{
	if (memory)
		memory->free(memory->ctx, p);
	else
		free(p);
}

static void *allocate(SIZE_T bytes, ULONG tag, bool zero, bool pages, bool private)
{
	struct nt_driver *driver = nt_driver_current();
	struct block *b = nt_alloc_fails("pool") ? NULL : calloc(1, sizeof(*b));
	unsigned int shard;

	if (!b)
		return NULL;
	if (!private && driver && driver->memory && driver->memory->alloc)
		b->memory = driver->memory;
	b->driver = driver;
	b->size = bytes ? bytes : 1;
	b->tag = tag;
	b->address = bytes > SIZE_MAX - PAGE_SIZE ? NULL : get_memory(b, pages);
	if (!b->address) {
		free(b);
		return NULL;
	}
	UNPOISON(b->address, gross_size(b));
	if (zero)
		memset(b->address, 0, b->size);
	if (guarded(b)) {
		memset((char *)b->address + b->size, GUARD_BYTE, GUARD);
		POISON((char *)b->address + b->size, GUARD);
	}
	b->frames = backtrace(b->trace, FRAMES);
	account(driver, b->size, true);
	shard = shard_of(b->address);
	spin_lock(&shards[shard].lock);
	b->next = shards[shard].head;
	shards[shard].head = b;
	spin_unlock(&shards[shard].lock);
	return b->address;
}

void *nt_pool_alloc(SIZE_T bytes, ULONG tag, bool zero, bool pages)
{
	return allocate(bytes, tag, zero, pages, false);
}

void *nt_pool_alloc_private(SIZE_T bytes, ULONG tag)
{
	return allocate(bytes, tag, true, false, true);
}

static struct block *take_record(void *address)
{
	unsigned int shard = shard_of(address);
	struct block *b = NULL;

	spin_lock(&shards[shard].lock);
	for (struct block **p = &shards[shard].head; *p; p = &(*p)->next) {
		if ((*p)->address == address) {
			b = *p;
			*p = b->next;
			break;
		}
	}
	spin_unlock(&shards[shard].lock);
	return b;
}

static void tag_text(ULONG tag, char text[5])
{
	for (int i = 0; i < 4; i++) {
		char c = (char)(tag >> (8 * i));

		text[i] = c >= ' ' && c <= '~' ? c : '.';
	}
	text[4] = 0;
}

/* Drivers write 'abcd', which a little-endian tag shows backwards: as pool tools do, show it as
 * stored. */
static void check_guard(const struct block *b)
{
	const unsigned char *guard = (unsigned char *)b->address + b->size;
	char tag[5];

	if (!guarded(b))
		return;
	UNPOISON(guard, GUARD);
	for (unsigned int i = 0; i < GUARD; i++) {
		if (guard[i] == GUARD_BYTE)
			continue;
		tag_text(b->tag, tag);
		nt_violation(
			"pool-overrun",
			"a pool block of %zu bytes with tag '%s' was written %u bytes past its "
			"end",
			(size_t)b->size, tag, i + 1);
		return;
	}
}

/* Swaps the block for the oldest of the quarantine. */
static void quarantine_block(const struct nt_memory **memory, void **address, SIZE_T *size)
{
	const struct nt_memory *old_memory;
	void *old_address;
	SIZE_T old_size;
	unsigned int i;

	memset(*address, FREED_BYTE, *size);
	POISON(*address, *size);
	spin_lock(&quarantine.lock);
	i = quarantine.next++ % QUARANTINE;
	old_memory = quarantine.slot[i].memory;
	old_address = quarantine.slot[i].address;
	old_size = quarantine.slot[i].size;
	quarantine.slot[i].memory = *memory;
	quarantine.slot[i].address = *address;
	quarantine.slot[i].size = *size;
	spin_unlock(&quarantine.lock);
	*memory = old_memory;
	*address = old_address;
	*size = old_size;
}

static void free_block(struct block *b)
{
	const struct nt_memory *memory = b->memory;
	void *address = b->address;
	SIZE_T size = gross_size(b);

	check_guard(b);
	account(b->driver, b->size, false);
	free(b);
	if (memory && size <= QUARANTINE_BYTES) {
		quarantine_block(&memory, &address, &size);
		if (!address)
			return;
	}
	UNPOISON(address, size);
	release_memory(memory, address);
}

/* Guest memory that ends must not be in the quarantine any more. */
void nt_pool_forget_memory(const struct nt_memory *memory)
{
	spin_lock(&quarantine.lock);
	for (unsigned int i = 0; i < QUARANTINE; i++) {
		if (quarantine.slot[i].memory != memory || !quarantine.slot[i].address)
			continue;
		UNPOISON(quarantine.slot[i].address, quarantine.slot[i].size);
		release_memory(memory, quarantine.slot[i].address);
		quarantine.slot[i].memory = NULL;
		quarantine.slot[i].address = NULL;
	}
	spin_unlock(&quarantine.lock);
}

VOID ExFreePoolWithTag(PVOID P, ULONG Tag)
{
	struct block *b = take_record(P);
	char held[5], given[5];

	if (!b) {
		nt_violation("pool-free", "ExFreePool of %p, which is not a live pool block", P);
		return;
	}
	if (Tag && b->tag != Tag) {
		tag_text(b->tag, held);
		tag_text(Tag, given);
		nt_violation("pool-tag", "ExFreePoolWithTag with tag '%s' of a block with tag '%s'",
			     given, held);
	}
	free_block(b);
}

VOID ExFreePool(PVOID P)
{
	ExFreePoolWithTag(P, 0);
}

PVOID ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
	return nt_pool_alloc(NumberOfBytes, Tag, false, NumberOfBytes >= PAGE_SIZE);
}

PVOID ExAllocatePoolZero(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
	return nt_pool_alloc(NumberOfBytes, Tag, true, NumberOfBytes >= PAGE_SIZE);
}

PVOID ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag)
{
	return nt_pool_alloc(NumberOfBytes, Tag, !(Flags & POOL_FLAG_UNINITIALIZED),
			     NumberOfBytes >= PAGE_SIZE);
}

static void report_leak(const struct block *b)
{
	char tag[5];
	char **names = backtrace_symbols(b->trace, b->frames);

	tag_text(b->tag, tag);
	kmcl_log(KMCL_LOG_ERROR, "nt", 0, 0, "%s: leaked %zu bytes, tag '%s', allocated at %s",
		 b->driver ? nt_driver_name(b->driver) : "nobody", (size_t)b->size, tag,
		 names && b->frames > 2 ? names[2] : "?");
	free(names);
}

/* Reports and frees what a driver that is being unloaded still holds. */
size_t nt_pool_report(struct nt_driver *driver, size_t *mdls)
{
	size_t leaked = 0;

	for (unsigned int i = 0; i < SHARDS; i++) {
		struct block *found;

		do {
			found = NULL;
			spin_lock(&shards[i].lock);
			for (struct block **p = &shards[i].head; *p; p = &(*p)->next) {
				if ((*p)->driver == driver) {
					found = *p;
					*p = found->next;
					break;
				}
			}
			spin_unlock(&shards[i].lock);
			if (found) {
				leaked++;
				*mdls += found->tag == NT_TAG_MDL;
				report_leak(found);
				free_block(found);
			}
		} while (found);
	}
	return leaked;
}

/* ---- lookaside lists ---- */

VOID ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate,
				     PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
				     USHORT Depth)
{
	if (Allocate || Free)
		nt_violation("lookaside", "lookaside lists with functions of their own are not "
					  "supported: the pool is used");
	memset(Lookaside, 0, sizeof(*Lookaside));
	KeInitializeSpinLock(&Lookaside->Lock);
	Lookaside->Size = Size;
	Lookaside->Tag = Tag;
	Lookaside->Depth =
		Depth && Depth < OPENKMCL_LOOKASIDE_DEPTH ? Depth : OPENKMCL_LOOKASIDE_DEPTH;
}

/* The blocks that are kept are named here and not in themselves: a peer can write to guest memory.
 */
PVOID ExAllocateFromNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside)
{
	KIRQL irql = KeAcquireSpinLockRaiseToDpc(&Lookaside->Lock);
	PVOID entry = Lookaside->Count ? Lookaside->Kept[--Lookaside->Count] : NULL;

	KeReleaseSpinLock(&Lookaside->Lock, irql);
	return entry ? entry
		     : ExAllocatePoolWithTag(NonPagedPoolNx, Lookaside->Size, Lookaside->Tag);
}

VOID ExFreeToNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry)
{
	KIRQL irql = KeAcquireSpinLockRaiseToDpc(&Lookaside->Lock);
	bool keep = Lookaside->Count < Lookaside->Depth;

	if (keep)
		Lookaside->Kept[Lookaside->Count++] = Entry;
	KeReleaseSpinLock(&Lookaside->Lock, irql);
	if (!keep)
		ExFreePoolWithTag(Entry, Lookaside->Tag);
}

VOID ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside)
{
	while (Lookaside->Count)
		ExFreePoolWithTag(Lookaside->Kept[--Lookaside->Count], Lookaside->Tag);
}
