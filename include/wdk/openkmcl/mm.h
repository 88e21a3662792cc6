/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Memory descriptor lists and page-sized memory.
 *
 * Page numbers are those of the current driver's memory. Memory that has none (a server driver's
 * heap, a stack) is described all the same; it can be mapped and copied, but not shown to a peer.
 */
#ifndef OPENKMCL_MM_H
#define OPENKMCL_MM_H

#include "ex.h"

EXTERN_C_START

#define PAGE_ALIGN(va)    ((PVOID)((ULONG_PTR)(va) & ~(ULONG_PTR)(PAGE_SIZE - 1)))
#define BYTE_OFFSET(va)   ((ULONG)((ULONG_PTR)(va) & (PAGE_SIZE - 1)))
#define BYTES_TO_PAGES(n) (((SIZE_T)(n) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define ROUND_TO_PAGES(n) (((ULONG_PTR)(n) + PAGE_SIZE - 1) & ~(ULONG_PTR)(PAGE_SIZE - 1))
#define ADDRESS_AND_SIZE_TO_SPAN_PAGES(va, n) \
	((ULONG)((BYTE_OFFSET(va) + (SIZE_T)(n) + PAGE_SIZE - 1) >> PAGE_SHIFT))

typedef ULONG_PTR PFN_NUMBER, *PPFN_NUMBER;
typedef ULONG PFN_COUNT;

/** Followed by one PFN_NUMBER for each page that the buffer touches. */
typedef struct _MDL {
	struct _MDL *Next;
	CSHORT Size;
	CSHORT MdlFlags;
	PVOID Process; /* library: the memory that the pages are of */
	PVOID MappedSystemVa;
	PVOID StartVa;
	ULONG ByteCount;
	ULONG ByteOffset;
	PVOID Mapping; /* library: what the memory needs to unmap it */
} MDL, *PMDL, *PMDLX;

#define MDL_MAPPED_TO_SYSTEM_VA     0x0001
#define MDL_PAGES_LOCKED            0x0002
#define MDL_SOURCE_IS_NONPAGED_POOL 0x0004
#define MDL_ALLOCATED_FIXED_SIZE    0x0008
#define MDL_PARTIAL                 0x0010
#define MDL_IO_PAGE_READ            0x0040

typedef enum _LOCK_OPERATION {
	IoReadAccess,
	IoWriteAccess,
	IoModifyAccess
} LOCK_OPERATION;

typedef enum _MEMORY_CACHING_TYPE {
	MmNonCached,
	MmCached,
	MmWriteCombined
} MEMORY_CACHING_TYPE;

typedef enum _MM_PAGE_PRIORITY {
	LowPagePriority,
	NormalPagePriority = 16,
	HighPagePriority = 32
} MM_PAGE_PRIORITY;
#define MdlMappingNoWrite   0x80000000
#define MdlMappingNoExecute 0x40000000

#define MmGetMdlByteCount(Mdl)      ((Mdl)->ByteCount)
#define MmGetMdlByteOffset(Mdl)     ((Mdl)->ByteOffset)
#define MmGetMdlVirtualAddress(Mdl) ((PVOID)((ULONG_PTR)(Mdl)->StartVa + (Mdl)->ByteOffset))
#define MmGetMdlPfnArray(Mdl)       ((PPFN_NUMBER)((Mdl) + 1))
#define MmGetMdlBaseVa(Mdl)         ((Mdl)->StartVa)

/** Bytes of an MDL for that buffer. */
SIZE_T MmSizeOfMdl(PVOID Base, SIZE_T Length);
VOID MmInitializeMdl(PMDL Mdl, PVOID BaseVa, SIZE_T Length);
/** Describes the buffer; pages are filled in by MmBuildMdlForNonPagedPool or MmProbeAndLockPages.
 * Irp is NULL, or gets the MDL (as its first, or the last of its chain). NULL: no memory. */
struct _IRP;
PMDL IoAllocateMdl(PVOID VirtualAddress, ULONG Length, BOOLEAN SecondaryBuffer, BOOLEAN ChargeQuota,
		   struct _IRP *Irp);
/** Frees one MDL, not its chain; unmaps what is mapped. */
VOID IoFreeMdl(PMDL Mdl);
VOID MmBuildMdlForNonPagedPool(PMDL Mdl);
VOID MmProbeAndLockPages(PMDL Mdl, KPROCESSOR_MODE AccessMode, LOCK_OPERATION Operation);
VOID MmUnlockPages(PMDL Mdl);
/** Part of a built MDL. Length 0: to its end. */
VOID IoBuildPartialMdl(PMDL SourceMdl, PMDL TargetMdl, PVOID VirtualAddress, ULONG Length);
VOID MmPrepareMdlForReuse(PMDL Mdl);

/** Address of the described bytes, mapped on first use. NULL: it cannot be mapped. */
PVOID MmGetSystemAddressForMdlSafe(PMDL Mdl, ULONG Priority);
PVOID MmMapLockedPagesSpecifyCache(PMDL Mdl, KPROCESSOR_MODE AccessMode,
				   MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress,
				   ULONG BugCheckOnFailure, ULONG Priority);
#define MmMapLockedPages(Mdl, Mode) \
	MmMapLockedPagesSpecifyCache((Mdl), (Mode), MmCached, NULL, 1, 16)
VOID MmUnmapLockedPages(PVOID BaseAddress, PMDL Mdl);

#define MM_ALLOCATE_FULLY_REQUIRED 0x4
/** Zeroed pages of the current driver's memory. */
PMDL MmAllocatePagesForMdlEx(PHYSICAL_ADDRESS Low, PHYSICAL_ADDRESS High, PHYSICAL_ADDRESS Skip,
			     SIZE_T TotalBytes, MEMORY_CACHING_TYPE CacheType, ULONG Flags);
#define MmAllocatePagesForMdl(l, h, s, n) MmAllocatePagesForMdlEx((l), (h), (s), (n), MmCached, 0)
/** Frees the pages; the MDL itself is freed with ExFreePool. */
VOID MmFreePagesFromMdl(PMDL Mdl);
PVOID MmAllocateContiguousMemory(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS Highest);
PVOID MmAllocateContiguousMemorySpecifyCache(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS Lowest,
					     PHYSICAL_ADDRESS Highest, PHYSICAL_ADDRESS Boundary,
					     MEMORY_CACHING_TYPE CacheType);
VOID MmFreeContiguousMemory(PVOID BaseAddress);
/** Page number and offset of an address of the current driver's memory; 0: it has none. */
PHYSICAL_ADDRESS MmGetPhysicalAddress(PVOID BaseAddress);

EXTERN_C_END

#endif
