/* SPDX-License-Identifier: MIT */
/* Memory descriptor lists and page-sized memory. */
#include "nt_test.h"

#define TAG_TEST 0x74736554u

struct mm_test {
	struct fake_memory memory;
	struct nt_driver *driver, *previous;
};

/* Runs as a driver whose pool is memory with page numbers. */
static void enter(struct mm_test *t)
{
	fake_memory_init(&t->memory);
	t->driver = load_empty("guest", &t->memory.ops);
	t->previous = nt_driver_enter(t->driver);
}

static void leave(struct mm_test *t)
{
	nt_driver_leave(t->previous);
	assert_int_equal(nt_driver_unload(t->driver), 0);
	assert_int_equal(t->memory.mapped, t->memory.unmapped);
	fake_memory_end(&t->memory);
}

static void ddi_003_macros_split_addresses_into_pages(void **state)
{
	char *page = (char *)(uintptr_t)0x10000;

	assert_int_equal(BYTE_OFFSET(page + 5), 5);
	assert_ptr_equal(PAGE_ALIGN(page + 4095), page);
	assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES(page, 0), 0);
	assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES(page, 1), 1);
	assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES(page, 4096), 1);
	assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES(page + 1, 4096), 2);
	assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES(page + 4095, 2), 2);
	assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES(page + 4095, 4098), 3);
	assert_int_equal(BYTES_TO_PAGES(4097), 2);
	assert_int_equal(ROUND_TO_PAGES(4097), 8192);
	assert_int_equal(MmSizeOfMdl(page + 1, 4096), sizeof(MDL) + 2 * sizeof(PFN_NUMBER));
}

static void ddi_003_mdl_round_trip(void **state)
{
	char *buffer = ExAllocatePoolWithTag(NonPagedPoolNx, 10000, TAG_TEST);
	PMDL mdl = IoAllocateMdl(buffer + 100, 9000, FALSE, FALSE, NULL);
	char *mapped;

	assert_non_null(mdl);
	assert_null(mdl->Next);
	assert_int_equal(MmGetMdlByteCount(mdl), 9000);
	assert_int_equal(MmGetMdlByteOffset(mdl), 100);
	assert_ptr_equal(MmGetMdlVirtualAddress(mdl), buffer + 100);
	assert_ptr_equal(MmGetMdlBaseVa(mdl), buffer);
	MmBuildMdlForNonPagedPool(mdl);
	mapped = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority | MdlMappingNoExecute);
	assert_ptr_equal(mapped, buffer + 100);
	assert_ptr_equal(MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority), mapped);
	/* the heap has no page numbers */
	for (int i = 0; i < 3; i++)
		assert_int_equal(MmGetMdlPfnArray(mdl)[i], NT_PFN_NONE);
	IoFreeMdl(mdl);
	ExFreePool(buffer);
}

static void ddi_003_locked_pages_are_mapped_and_unmapped(void **state)
{
	char buffer[300];
	PMDL mdl = IoAllocateMdl(buffer, sizeof(buffer), FALSE, FALSE, NULL);
	void *mapped;

	MmProbeAndLockPages(mdl, KernelMode, IoModifyAccess);
	assert_true(mdl->MdlFlags & MDL_PAGES_LOCKED);
	mapped = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE,
					      NormalPagePriority);
	assert_ptr_equal(mapped, buffer);
	assert_true(mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA);
	MmUnmapLockedPages(mapped, mdl);
	assert_false(mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA);
	MmUnlockPages(mdl);
	assert_false(mdl->MdlFlags & MDL_PAGES_LOCKED);
	IoFreeMdl(mdl);
}

static void ddi_003_mdl_misuse_is_a_violation(void **state)
{
	char buffer[300];
	PMDL mdl = IoAllocateMdl(buffer, sizeof(buffer), FALSE, FALSE, NULL);

	MmUnlockPages(mdl);
	EXPECT_VIOLATION("mdl", "MmUnlockPages");
	MmProbeAndLockPages(mdl, KernelMode, IoReadAccess);
	MmProbeAndLockPages(mdl, KernelMode, IoReadAccess);
	EXPECT_VIOLATION("mdl", "MmProbeAndLockPages");
	MmUnmapLockedPages(buffer, mdl);
	EXPECT_VIOLATION("mdl", "MmUnmapLockedPages");
	MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority);
	MmUnmapLockedPages(buffer + 1, mdl);
	EXPECT_VIOLATION("mdl", "MmUnmapLockedPages");
	MmFreePagesFromMdl(mdl);
	EXPECT_VIOLATION("mdl", "MmFreePagesFromMdl");
	MmUnlockPages(mdl);
	IoFreeMdl(mdl);
}

static void ddi_003_pfn_array_names_the_pages(void **state)
{
	struct mm_test t;
	uint64_t first = 0;
	char *buffer;
	PMDL mdl;

	enter(&t);
	buffer = ExAllocatePoolWithTag(NonPagedPoolNx, 4 * PAGE_SIZE, TAG_TEST);
	assert_true(fake_pfn_of(&t.memory, buffer, &first));
	mdl = IoAllocateMdl(buffer + PAGE_SIZE + 10, 2 * PAGE_SIZE, FALSE, FALSE, NULL);
	MmBuildMdlForNonPagedPool(mdl);
	for (int i = 0; i < 3; i++)
		assert_int_equal(MmGetMdlPfnArray(mdl)[i], first + 1 + (unsigned int)i);
	assert_int_equal(MmGetPhysicalAddress(buffer + PAGE_SIZE + 10).QuadPart,
			 ((first + 1) << PAGE_SHIFT) + 10);
	assert_int_equal(MmGetPhysicalAddress(&t).QuadPart, 0);
	IoFreeMdl(mdl);
	ExFreePool(buffer);
	leave(&t);
}

static void ddi_003_mdls_are_chained_behind_an_irp(void **state)
{
	char buffer[3][64];
	PMDL mdl[3];
	IRP irp = {.MdlAddress = NULL};

	mdl[0] = IoAllocateMdl(buffer[0], 64, FALSE, FALSE, &irp);
	mdl[1] = IoAllocateMdl(buffer[1], 64, TRUE, FALSE, &irp);
	mdl[2] = IoAllocateMdl(buffer[2], 64, TRUE, FALSE, &irp);
	assert_ptr_equal(irp.MdlAddress, mdl[0]);
	assert_ptr_equal(mdl[0]->Next, mdl[1]);
	assert_ptr_equal(mdl[1]->Next, mdl[2]);
	assert_null(mdl[2]->Next);
	for (int i = 0; i < 3; i++)
		IoFreeMdl(mdl[i]);
}

static void ddi_003_partial_mdl_describes_a_part(void **state)
{
	struct mm_test t;
	char *buffer;
	PMDL mdl, part;

	enter(&t);
	buffer = ExAllocatePoolWithTag(NonPagedPoolNx, 4 * PAGE_SIZE, TAG_TEST);
	mdl = IoAllocateMdl(buffer + 16, 3 * PAGE_SIZE, FALSE, FALSE, NULL);
	MmBuildMdlForNonPagedPool(mdl);
	part = IoAllocateMdl(buffer, 4 * PAGE_SIZE, FALSE, FALSE, NULL);
	IoBuildPartialMdl(mdl, part, buffer + PAGE_SIZE + 32, 5000);
	assert_int_equal(MmGetMdlByteCount(part), 5000);
	assert_int_equal(MmGetMdlByteOffset(part), 32);
	assert_ptr_equal(MmGetSystemAddressForMdlSafe(part, NormalPagePriority),
			 buffer + PAGE_SIZE + 32);
	assert_memory_equal(MmGetMdlPfnArray(part), MmGetMdlPfnArray(mdl) + 1,
			    2 * sizeof(PFN_NUMBER));
	/* length 0: to the end */
	MmPrepareMdlForReuse(part);
	IoBuildPartialMdl(mdl, part, buffer + 20, 0);
	assert_int_equal(MmGetMdlByteCount(part), 3 * PAGE_SIZE - 4);
	assert_ptr_equal(MmGetSystemAddressForMdlSafe(part, NormalPagePriority), buffer + 20);
	IoFreeMdl(part);
	IoFreeMdl(mdl);
	ExFreePool(buffer);
	leave(&t);
}

static void ddi_003_partial_mdl_stays_within_source_and_target(void **state)
{
	char area[300], *buffer = area + 100;
	char *large = ExAllocatePoolWithTag(NonPagedPoolNx, 4 * PAGE_SIZE, TAG_TEST);
	PMDL mdl = IoAllocateMdl(buffer, 100, FALSE, FALSE, NULL);
	PMDL part = IoAllocateMdl(buffer, 100, FALSE, FALSE, NULL);
	PMDL source = IoAllocateMdl(large, 4 * PAGE_SIZE, FALSE, FALSE, NULL);
	PMDL one = IoAllocateMdl(large, 1, FALSE, FALSE, NULL);

	MmBuildMdlForNonPagedPool(mdl);
	IoBuildPartialMdl(mdl, part, buffer + 50, 51);
	EXPECT_VIOLATION("mdl", "50 + 51 of 100");
	IoBuildPartialMdl(mdl, part, buffer + 101, 0);
	EXPECT_VIOLATION("mdl", "beyond its source");
	IoBuildPartialMdl(mdl, part, buffer - 1, 1);
	EXPECT_VIOLATION("mdl", "beyond its source");
	MmBuildMdlForNonPagedPool(source);
	IoBuildPartialMdl(source, one, large + 1, PAGE_SIZE);
	EXPECT_VIOLATION("mdl", "2 pages into a smaller MDL");
	IoFreeMdl(one);
	IoFreeMdl(source);
	IoFreeMdl(part);
	IoFreeMdl(mdl);
	ExFreePool(large);
}

/* ---- foreign pages: what a packet's external data is shown as ---- */

#define FOREIGN_PAGES 3

struct foreign {
	MDL mdl;
	PFN_NUMBER pfns[FOREIGN_PAGES];
};

static void foreign_init(struct foreign *f, struct fake_memory *memory, uint64_t first,
			 uint32_t offset, uint32_t bytes)
{
	uint64_t pfns[FOREIGN_PAGES];

	for (unsigned int i = 0; i < FOREIGN_PAGES; i++)
		pfns[i] = first + i;
	nt_mdl_init_pages(&f->mdl, &memory->ops, pfns, FOREIGN_PAGES, offset, bytes);
}

static void ddi_003_foreign_mdl_is_locked_and_has_no_address_until_mapped(void **state)
{
	struct fake_memory memory;
	struct foreign f;
	char *va;

	fake_memory_init(&memory);
	foreign_init(&f, &memory, FAKE_FIRST_PFN + 5, 7, 2 * PAGE_SIZE);
	assert_true(f.mdl.MdlFlags & MDL_PAGES_LOCKED);
	assert_false(f.mdl.MdlFlags & MDL_MAPPED_TO_SYSTEM_VA);
	assert_int_equal(MmGetMdlByteCount(&f.mdl), 2 * PAGE_SIZE);
	assert_int_equal(MmGetMdlByteOffset(&f.mdl), 7);
	assert_int_equal(memory.mapped, 0);
	va = MmGetSystemAddressForMdlSafe(&f.mdl, NormalPagePriority);
	assert_ptr_equal(va, memory.base + 5 * PAGE_SIZE + 7);
	assert_ptr_equal(MmGetSystemAddressForMdlSafe(&f.mdl, NormalPagePriority), va);
	assert_int_equal(memory.mapped, 1);
	assert_int_equal(memory.unmapped, 0);
	MmUnmapLockedPages(va, &f.mdl);
	assert_int_equal(memory.unmapped, 1);
	assert_ptr_equal(memory.cookie_seen, (void *)(uintptr_t)0x123);
	/* and again */
	assert_ptr_equal(MmGetSystemAddressForMdlSafe(&f.mdl, NormalPagePriority), va);
	nt_mdl_release(&f.mdl);
	nt_mdl_release(&f.mdl);
	assert_int_equal(memory.mapped, 2);
	assert_int_equal(memory.unmapped, 2);
	fake_memory_end(&memory);
}

static void ddi_003_foreign_mdl_that_cannot_be_mapped(void **state)
{
	struct fake_memory memory;
	struct foreign f;

	fake_memory_init(&memory);
	foreign_init(&f, &memory, FAKE_FIRST_PFN + FAKE_PAGES - 1, 0, 3 * PAGE_SIZE);
	assert_null(MmGetSystemAddressForMdlSafe(&f.mdl, NormalPagePriority));
	assert_false(f.mdl.MdlFlags & MDL_MAPPED_TO_SYSTEM_VA);
	nt_mdl_release(&f.mdl);
	assert_int_equal(memory.unmapped, 0);
	foreign_init(&f, &memory, FAKE_FIRST_PFN, 0, 3 * PAGE_SIZE);
	memory.ops.map = NULL;
	assert_null(MmGetSystemAddressForMdlSafe(&f.mdl, NormalPagePriority));
	fake_memory_end(&memory);
}

/* The address to build from is asked for before or after the mapping, as a driver pleases. */
static void ddi_003_partial_of_a_foreign_mdl(void **state)
{
	struct fake_memory memory;
	struct foreign f, p;
	ULONG_PTR before; /* not an address that arithmetic on pointers may use */
	char *va;

	fake_memory_init(&memory);
	foreign_init(&f, &memory, FAKE_FIRST_PFN + 8, 100, 2 * PAGE_SIZE);
	before = (ULONG_PTR)MmGetMdlVirtualAddress(&f.mdl);
	MmInitializeMdl(&p.mdl, (PVOID)before, 2 * PAGE_SIZE);
	/* unmapped: it maps its own part */
	IoBuildPartialMdl(&f.mdl, &p.mdl, (PVOID)(before + PAGE_SIZE), 500);
	assert_int_equal(MmGetMdlByteOffset(&p.mdl), 100);
	assert_int_equal(MmGetMdlPfnArray(&p.mdl)[0], FAKE_FIRST_PFN + 9);
	va = MmGetSystemAddressForMdlSafe(&p.mdl, NormalPagePriority);
	assert_ptr_equal(va, memory.base + 9 * PAGE_SIZE + 100);
	MmPrepareMdlForReuse(&p.mdl);
	assert_int_equal(memory.unmapped, 1);
	/* mapped: it is within the source's mapping */
	va = MmGetSystemAddressForMdlSafe(&f.mdl, NormalPagePriority);
	assert_ptr_equal(MmGetMdlVirtualAddress(&f.mdl), (PVOID)before);
	IoBuildPartialMdl(&f.mdl, &p.mdl, (PVOID)(before + 4090), 500);
	assert_int_equal(MmGetMdlByteOffset(&p.mdl), (100 + 4090) % PAGE_SIZE);
	assert_ptr_equal(MmGetSystemAddressForMdlSafe(&p.mdl, NormalPagePriority), va + 4090);
	assert_int_equal(memory.mapped, 2);
	MmPrepareMdlForReuse(&p.mdl);
	assert_int_equal(memory.unmapped, 1);
	nt_mdl_release(&f.mdl);
	assert_int_equal(memory.unmapped, 2);
	fake_memory_end(&memory);
}

/* ---- pages ---- */

static void ddi_003_pages_for_an_mdl_are_zeroed_and_have_numbers(void **state)
{
	PHYSICAL_ADDRESS low = {.QuadPart = 0}, high = {.QuadPart = -1}, skip = {.QuadPart = 0};
	struct mm_test t;
	uint64_t first = 0;
	char *va, *small;
	PMDL mdl;

	enter(&t);
	small = ExAllocatePoolWithTag(NonPagedPoolNx, 100,
				      TAG_TEST); /* what follows is off a page */
	mdl = MmAllocatePagesForMdlEx(low, high, skip, 2 * PAGE_SIZE + 1, MmCached,
				      MM_ALLOCATE_FULLY_REQUIRED);
	assert_non_null(mdl);
	assert_int_equal(MmGetMdlByteCount(mdl), 3 * PAGE_SIZE);
	assert_int_equal(MmGetMdlByteOffset(mdl), 0);
	va = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority);
	assert_int_equal((uintptr_t)va % PAGE_SIZE, 0);
	for (size_t i = 0; i < 3 * PAGE_SIZE; i++)
		assert_int_equal(va[i], 0);
	assert_true(fake_pfn_of(&t.memory, va, &first));
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(MmGetMdlPfnArray(mdl)[i], first + i);
	MmFreePagesFromMdl(mdl);
	ExFreePool(mdl);
	ExFreePool(small);
	assert_null(MmAllocatePagesForMdlEx(low, high, skip, (FAKE_PAGES + 1) * PAGE_SIZE, MmCached,
					    0));
	leave(&t); /* nothing leaked */
}

static void ddi_003_contiguous_memory_begins_on_a_page(void **state)
{
	PHYSICAL_ADDRESS highest = {.QuadPart = -1};
	struct mm_test t;
	uint64_t pfn = 0;
	char *p, *small;

	enter(&t);
	small = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG_TEST);
	p = MmAllocateContiguousMemory(100, highest);
	assert_int_equal((uintptr_t)p % PAGE_SIZE, 0);
	assert_true(fake_pfn_of(&t.memory, p, &pfn));
	MmFreeContiguousMemory(p);
	ExFreePool(small);
	leave(&t);
}

/* An MDL holds addresses: it must not lie where a peer can change them. */
static void mdls_are_kept_out_of_shared_memory(void **state)
{
	PHYSICAL_ADDRESS any = {.QuadPart = -1}, zero = {.QuadPart = 0};
	struct mm_test t;
	uint64_t pfn;
	PMDL a, b;

	enter(&t);
	a = IoAllocateMdl(NULL, PAGE_SIZE, FALSE, FALSE, NULL);
	b = MmAllocatePagesForMdl(zero, any, zero, PAGE_SIZE);
	assert_non_null(a);
	assert_non_null(b);
	assert_false(fake_pfn_of(&t.memory, a, &pfn));
	assert_false(fake_pfn_of(&t.memory, b, &pfn));
	assert_true(fake_pfn_of(&t.memory, MmGetMdlVirtualAddress(b), &pfn));
	IoFreeMdl(a);
	MmFreePagesFromMdl(b);
	ExFreePool(b);
	leave(&t);
}

static void mdl_that_is_not_freed_is_a_leak(void **state)
{
	struct nt_driver *driver = load_empty("leaky", NULL);
	struct nt_driver *previous = nt_driver_enter(driver);

	assert_non_null(IoAllocateMdl(NULL, PAGE_SIZE, FALSE, FALSE, NULL));
	nt_driver_leave(previous);
	atomic_store(&nt_verifying, true);
	assert_int_equal(nt_driver_unload(driver), 1);
	EXPECT_VIOLATION("mdl-leak", "1 MDLs");
	atomic_store(&nt_verifying, false);
	driver = load_empty("leaky", NULL);
	previous = nt_driver_enter(driver);
	assert_non_null(IoAllocateMdl(NULL, PAGE_SIZE, FALSE, FALSE, NULL));
	nt_driver_leave(previous);
	assert_int_equal(nt_driver_unload(driver), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORDED(ddi_003_macros_split_addresses_into_pages),
		RECORDED(ddi_003_mdl_round_trip),
		RECORDED(ddi_003_locked_pages_are_mapped_and_unmapped),
		RECORDED(ddi_003_mdl_misuse_is_a_violation),
		RECORDED(ddi_003_pfn_array_names_the_pages),
		RECORDED(ddi_003_mdls_are_chained_behind_an_irp),
		RECORDED(ddi_003_partial_mdl_describes_a_part),
		RECORDED(ddi_003_partial_mdl_stays_within_source_and_target),
		RECORDED(ddi_003_foreign_mdl_is_locked_and_has_no_address_until_mapped),
		RECORDED(ddi_003_foreign_mdl_that_cannot_be_mapped),
		RECORDED(ddi_003_partial_of_a_foreign_mdl),
		RECORDED(ddi_003_pages_for_an_mdl_are_zeroed_and_have_numbers),
		RECORDED(ddi_003_contiguous_memory_begins_on_a_page),
		RECORDED(mdls_are_kept_out_of_shared_memory),
		RECORDED(mdl_that_is_not_freed_is_a_leak),
	};

	return cmocka_run_group_tests_name("nt-mm", tests, NULL, end_threads);
}
