/* SPDX-License-Identifier: MIT */
/**
 * @file
 * GUID and DEFINE_GUID. DEFINE_GUID declares; in the one file that includes <initguid.h> first it
 * defines (weakly, so that two such files may be linked together).
 */
#ifndef _OPENKMCL_GUIDDEF_H_
#define _OPENKMCL_GUIDDEF_H_

#include <stdint.h>
#include <string.h>

/** 16 bytes; the first three members are little-endian on the wire. */
typedef struct _GUID {
	uint32_t Data1;
	uint16_t Data2;
	uint16_t Data3;
	uint8_t Data4[8];
} GUID;

typedef GUID *LPGUID, *PGUID;
typedef const GUID *LPCGUID, *PCGUID;
typedef GUID IID, CLSID, FMTID;

#ifdef __cplusplus
typedef const GUID &REFGUID;
typedef const IID &REFIID;
typedef const CLSID &REFCLSID;
#else
typedef const GUID *REFGUID;
typedef const IID *REFIID;
typedef const CLSID *REFCLSID;
#endif

#ifdef __cplusplus
static inline int InlineIsEqualGUID(REFGUID a, REFGUID b)
{
	return memcmp(&a, &b, sizeof(GUID)) == 0;
}

static inline int IsEqualGUID(REFGUID a, REFGUID b)
{
	return memcmp(&a, &b, sizeof(GUID)) == 0;
}

inline bool operator==(REFGUID a, REFGUID b)
{
	return IsEqualGUID(a, b) != 0;
}

inline bool operator!=(REFGUID a, REFGUID b)
{
	return !(a == b);
}
#else
#define InlineIsEqualGUID(a, b) (memcmp((a), (b), sizeof(GUID)) == 0)
#define IsEqualGUID(a, b)       (memcmp((a), (b), sizeof(GUID)) == 0)
#endif
#define IsEqualIID(a, b)   IsEqualGUID(a, b)
#define IsEqualCLSID(a, b) IsEqualGUID(a, b)

#ifdef __cplusplus
#define OPENKMCL_GUID_LINKAGE extern "C"
#else
#define OPENKMCL_GUID_LINKAGE extern
#endif

#endif

/* Outside the guard: <initguid.h> may come after a first inclusion. */
#undef DEFINE_GUID
#ifdef INITGUID
#define DEFINE_GUID(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8) \
	OPENKMCL_GUID_LINKAGE const GUID name __attribute__((weak)); \
	const GUID name = {l, w1, w2, {b1, b2, b3, b4, b5, b6, b7, b8}}
#else
#define DEFINE_GUID(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8) \
	OPENKMCL_GUID_LINKAGE const GUID name
#endif
