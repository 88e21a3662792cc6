/* SPDX-License-Identifier: MIT */
/*
 * Memory descriptor lists. An MDL remembers in `Process` which memory its page numbers are of, so
 * that mapping needs nothing else. MDLs over foreign pages have no virtual address of their own:
 * StartVa is 0. MDLs hold addresses, so they are kept on the private heap, where no peer can change
 * them.
 */
#include "nt/internal.h"

#define TAG_MDL   NT_TAG_MDL
#define TAG_PAGES 0x6567614du

/* Library-private bits of MdlFlags. */
#define MDL_FOREIGN    0x2000 /* made by nt_mdl_init_pages */
#define MDL_OWNS_MAP   0x1000 /* MappedSystemVa must be given back */
#define MDL_OWNS_PAGES 0x0800 /* MmAllocatePagesForMdl */

static const struct nt_memory *current_memory(void)
{
	struct nt_driver *driver = nt_driver_current();

	return driver ? driver->memory : NULL;
}

static ULONG page_span(const MDL *mdl)
{
	return (ULONG)(((ULONG64)mdl->ByteOffset + mdl->ByteCount + PAGE_SIZE - 1) >> PAGE_SHIFT);
}

SIZE_T MmSizeOfMdl(PVOID Base, SIZE_T Length)
{
	return sizeof(MDL) + ADDRESS_AND_SIZE_TO_SPAN_PAGES(Base, Length) * sizeof(PFN_NUMBER);
}

VOID MmInitializeMdl(PMDL Mdl, PVOID BaseVa, SIZE_T Length)
{
	SIZE_T size = MmSizeOfMdl(BaseVa, Length);

	memset(Mdl, 0, sizeof(*Mdl));
	Mdl->Size = size > INT16_MAX ? INT16_MAX : (CSHORT)size;
	Mdl->StartVa = PAGE_ALIGN(BaseVa);
	Mdl->ByteOffset = BYTE_OFFSET(BaseVa);
	Mdl->ByteCount = (ULONG)Length;
}

PMDL IoAllocateMdl(PVOID VirtualAddress, ULONG Length, BOOLEAN SecondaryBuffer, BOOLEAN ChargeQuota,
		   PIRP Irp)
{
	PMDL mdl = nt_pool_alloc_private(MmSizeOfMdl(VirtualAddress, Length), TAG_MDL), *link;

	if (!mdl)
		return NULL;
	MmInitializeMdl(mdl, VirtualAddress, Length);
	if (Irp) {
		link = &Irp->MdlAddress;
		while (SecondaryBuffer && *link)
			link = &(*link)->Next;
		*link = mdl;
	}
	return mdl;
}

static void drop_mapping(PMDL mdl)
{
	const struct nt_memory *memory = mdl->Process;

	if (!(mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA))
		return;
	if (mdl->MdlFlags & MDL_OWNS_MAP)
		memory->unmap(memory->ctx, (PCHAR)mdl->MappedSystemVa - mdl->ByteOffset,
			      page_span(mdl), mdl->Mapping);
	mdl->Mapping = NULL;
	mdl->MdlFlags &= ~(MDL_MAPPED_TO_SYSTEM_VA | MDL_OWNS_MAP);
	mdl->MappedSystemVa = NULL;
}

VOID IoFreeMdl(PMDL Mdl)
{
	drop_mapping(Mdl);
	ExFreePoolWithTag(Mdl, TAG_MDL);
}

static void fill_pages(PMDL mdl)
{
	const struct nt_memory *memory = current_memory();
	PPFN_NUMBER pfns = MmGetMdlPfnArray(mdl);
	ULONG count = page_span(mdl);

	for (ULONG i = 0; i < count; i++) {
		uint64_t pfn;

		pfns[i] =
			memory && memory->pfn_of(memory->ctx,
						 (PCHAR)mdl->StartVa + (SIZE_T)i * PAGE_SIZE, &pfn)
				? (PFN_NUMBER)pfn
				: NT_PFN_NONE;
	}
	mdl->Process = (PVOID)(uintptr_t)memory;
}

VOID MmBuildMdlForNonPagedPool(PMDL Mdl)
{
	fill_pages(Mdl);
	Mdl->MappedSystemVa = MmGetMdlVirtualAddress(Mdl);
	Mdl->MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
}

VOID MmProbeAndLockPages(PMDL Mdl, KPROCESSOR_MODE AccessMode, LOCK_OPERATION Operation)
{
	if (Mdl->MdlFlags & MDL_PAGES_LOCKED) {
		nt_violation("mdl", "MmProbeAndLockPages of an MDL whose pages are locked");
		return;
	}
	fill_pages(Mdl);
	Mdl->MdlFlags |= MDL_PAGES_LOCKED;
}

VOID MmUnlockPages(PMDL Mdl)
{
	if (!(Mdl->MdlFlags & MDL_PAGES_LOCKED)) {
		nt_violation("mdl", "MmUnlockPages of an MDL whose pages are not locked");
		return;
	}
	drop_mapping(Mdl);
	Mdl->MdlFlags &= ~MDL_PAGES_LOCKED;
}

VOID IoBuildPartialMdl(PMDL SourceMdl, PMDL TargetMdl, PVOID VirtualAddress, ULONG Length)
{
	SIZE_T offset = (ULONG_PTR)VirtualAddress - (ULONG_PTR)MmGetMdlVirtualAddress(SourceMdl);
	ULONG skip = offset > MAXULONG ? MAXULONG : (ULONG)offset;
	ULONG first = (SourceMdl->ByteOffset + skip) >> PAGE_SHIFT;

	if (skip > SourceMdl->ByteCount || Length > SourceMdl->ByteCount - skip) {
		nt_violation("mdl", "IoBuildPartialMdl beyond its source (%u + %u of %u bytes)",
			     skip, Length, SourceMdl->ByteCount);
		return;
	}
	if (!Length)
		Length = SourceMdl->ByteCount - skip;
	TargetMdl->StartVa = PAGE_ALIGN(VirtualAddress);
	TargetMdl->ByteOffset = BYTE_OFFSET(VirtualAddress);
	TargetMdl->ByteCount = Length;
	if (TargetMdl->Size < INT16_MAX &&
	    sizeof(MDL) + page_span(TargetMdl) * sizeof(PFN_NUMBER) > (SIZE_T)TargetMdl->Size) {
		nt_violation("mdl", "IoBuildPartialMdl of %u pages into a smaller MDL",
			     page_span(TargetMdl));
		return;
	}
	TargetMdl->Process = SourceMdl->Process;
	memcpy(MmGetMdlPfnArray(TargetMdl), MmGetMdlPfnArray(SourceMdl) + first,
	       page_span(TargetMdl) * sizeof(PFN_NUMBER));
	TargetMdl->MdlFlags |= MDL_PARTIAL | (SourceMdl->MdlFlags & MDL_FOREIGN);
	if (SourceMdl->MappedSystemVa) {
		TargetMdl->MappedSystemVa = (PCHAR)SourceMdl->MappedSystemVa + skip;
		TargetMdl->MdlFlags |= SourceMdl->MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL;
		if (!(TargetMdl->MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL))
			TargetMdl->MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
	}
}

VOID MmPrepareMdlForReuse(PMDL Mdl)
{
	drop_mapping(Mdl);
	Mdl->MdlFlags &= ~(MDL_PARTIAL | MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA |
			   MDL_FOREIGN);
	Mdl->MappedSystemVa = NULL;
}

/* Maps by page numbers. */
static PVOID map_foreign(PMDL mdl)
{
	const struct nt_memory *memory = mdl->Process;
	void *cookie = NULL, *va;

	if (nt_alloc_fails("MmGetSystemAddressForMdlSafe"))
		return NULL;
	va = memory && memory->map
		     ? memory->map(memory->ctx, (const uint64_t *)MmGetMdlPfnArray(mdl),
				   page_span(mdl), &cookie)
		     : NULL;
	if (!va)
		return NULL;
	mdl->Mapping = cookie;
	mdl->MappedSystemVa = (PCHAR)va + mdl->ByteOffset;
	mdl->MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA | MDL_OWNS_MAP;
	return mdl->MappedSystemVa;
}

PVOID MmGetSystemAddressForMdlSafe(PMDL Mdl, ULONG Priority)
{
	if (Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL))
		return Mdl->MappedSystemVa;
	return MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, FALSE, Priority);
}

PVOID MmMapLockedPagesSpecifyCache(PMDL Mdl, KPROCESSOR_MODE AccessMode,
				   MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress,
				   ULONG BugCheckOnFailure, ULONG Priority)
{
	if (Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA)
		return Mdl->MappedSystemVa;
	if (Mdl->MdlFlags & MDL_FOREIGN)
		return map_foreign(Mdl);
	/* the driver's own buffer: it is at its address */
	Mdl->MappedSystemVa = MmGetMdlVirtualAddress(Mdl);
	Mdl->MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
	return Mdl->MappedSystemVa;
}

VOID MmUnmapLockedPages(PVOID BaseAddress, PMDL Mdl)
{
	if (!(Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) || BaseAddress != Mdl->MappedSystemVa) {
		nt_violation("mdl", "MmUnmapLockedPages of %p, which is not the MDL's mapping",
			     BaseAddress);
		return;
	}
	drop_mapping(Mdl);
}

void nt_mdl_init_pages(PMDL mdl, const struct nt_memory *memory, const uint64_t *pfns, size_t count,
		       uint32_t byte_offset, uint32_t byte_count)
{
	PPFN_NUMBER to = MmGetMdlPfnArray(mdl);
	size_t size = sizeof(*mdl) + count * sizeof(*to);

	memset(mdl, 0, sizeof(*mdl));
	mdl->Size = size > INT16_MAX ? INT16_MAX : (CSHORT)size;
	mdl->MdlFlags = MDL_PAGES_LOCKED | MDL_FOREIGN;
	mdl->Process = (PVOID)(uintptr_t)memory;
	mdl->ByteOffset = byte_offset;
	mdl->ByteCount = byte_count;
	for (size_t i = 0; i < count; i++)
		to[i] = (PFN_NUMBER)pfns[i];
}

void nt_mdl_release(PMDL mdl)
{
	drop_mapping(mdl);
}

/* ---- pages ---- */

PMDL MmAllocatePagesForMdlEx(PHYSICAL_ADDRESS Low, PHYSICAL_ADDRESS High, PHYSICAL_ADDRESS Skip,
			     SIZE_T TotalBytes, MEMORY_CACHING_TYPE CacheType, ULONG Flags)
{
	SIZE_T bytes = ROUND_TO_PAGES(TotalBytes);
	PVOID pages = nt_pool_alloc(bytes, TAG_PAGES, true, true);
	PMDL mdl = pages ? nt_pool_alloc_private(MmSizeOfMdl(NULL, bytes), TAG_MDL) : NULL;

	if (!mdl) {
		if (pages)
			ExFreePool(pages);
		return NULL;
	}
	MmInitializeMdl(mdl, pages, bytes);
	fill_pages(mdl);
	mdl->MdlFlags |= MDL_PAGES_LOCKED | MDL_OWNS_PAGES;
	return mdl;
}

VOID MmFreePagesFromMdl(PMDL Mdl)
{
	if (!(Mdl->MdlFlags & MDL_OWNS_PAGES)) {
		nt_violation("mdl", "MmFreePagesFromMdl of an MDL that is not from "
				    "MmAllocatePagesForMdl");
		return;
	}
	drop_mapping(Mdl);
	ExFreePool(Mdl->StartVa);
	Mdl->StartVa = NULL;
	Mdl->MdlFlags &= ~(MDL_OWNS_PAGES | MDL_PAGES_LOCKED);
}

PVOID MmAllocateContiguousMemory(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS Highest)
{
	return nt_pool_alloc(NumberOfBytes, TAG_PAGES, false, true);
}

PVOID MmAllocateContiguousMemorySpecifyCache(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS Lowest,
					     PHYSICAL_ADDRESS Highest, PHYSICAL_ADDRESS Boundary,
					     MEMORY_CACHING_TYPE CacheType)
{
	return nt_pool_alloc(NumberOfBytes, TAG_PAGES, false, true);
}

VOID MmFreeContiguousMemory(PVOID BaseAddress)
{
	ExFreePoolWithTag(BaseAddress, TAG_PAGES);
}

PHYSICAL_ADDRESS MmGetPhysicalAddress(PVOID BaseAddress)
{
	const struct nt_memory *memory = current_memory();
	PHYSICAL_ADDRESS address = {.QuadPart = 0};
	uint64_t pfn;

	if (memory && memory->pfn_of(memory->ctx, BaseAddress, &pfn))
		address.QuadPart = (LONGLONG)(pfn << PAGE_SHIFT | BYTE_OFFSET(BaseAddress));
	return address;
}
