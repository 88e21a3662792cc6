/* SPDX-License-Identifier: MIT */
/*
 * Walking the MDL chains of external data and GPADLs.
 */
#include "echo_vsp.h"
#include "sha256.h"

UINT64 EchoChainBytes(PMDL Mdl)
{
	UINT64 bytes = 0;

	for (; Mdl; Mdl = Mdl->Next)
		bytes += MmGetMdlByteCount(Mdl);
	return bytes;
}

/* All of it before the first byte is touched: a request that fails half way has done nothing. */
BOOLEAN EchoChainMap(PMDL Mdl, UINT32 Length)
{
	while (Length) {
		UINT32 count = MmGetMdlByteCount(Mdl);

		if (count && !MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority))
			return FALSE;
		Length -= count < Length ? count : Length;
		Mdl = Mdl->Next;
	}
	return TRUE;
}

VOID EchoChainSum(PMDL Mdl, UINT32 Offset, UINT32 Length, UINT8 Digest[ECHO_DIGEST_SIZE])
{
	struct sha256 sha;

	sha256_init(&sha);
	for (; Length; Mdl = Mdl->Next) {
		UINT32 count = MmGetMdlByteCount(Mdl);
		UINT32 part;

		if (Offset >= count) {
			Offset -= count;
			continue;
		}
		part = count - Offset < Length ? count - Offset : Length;
		sha256_update(&sha,
			      (PUCHAR)MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority) +
				      Offset,
			      part);
		Length -= part;
		Offset = 0;
	}
	sha256_final(&sha, Digest);
}

VOID EchoChainFill(PMDL Mdl, UINT32 Length, UINT64 First)
{
	UINT8 value = (UINT8)First;

	for (; Length; Mdl = Mdl->Next) {
		PUCHAR to = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority);
		UINT32 count = MmGetMdlByteCount(Mdl);

		if (count > Length)
			count = Length;
		for (UINT32 i = 0; i < count; i++)
			to[i] = value++;
		Length -= count;
	}
}
