/* SPDX-License-Identifier: MIT */
/*
 * UTF-16 as it lies in messages: without alignment, and with whatever a guest has put there.
 */
#include "ic_vsp.h"

#define REPLACEMENT 0xfffdu

static UINT16 At(const UINT8 *Text, ULONG Index)
{
	return (UINT16)(Text[2 * Index] | Text[2 * Index + 1] << 8);
}

static VOID Put(UINT8 *Text, ULONG Index, UINT16 Character)
{
	Text[2 * Index] = (UINT8)Character;
	Text[2 * Index + 1] = (UINT8)(Character >> 8);
}

static BOOLEAN IsHigh(UINT16 Character)
{
	return Character >= 0xd800 && Character <= 0xdbff;
}

static BOOLEAN IsLow(UINT16 Character)
{
	return Character >= 0xdc00 && Character <= 0xdfff;
}

ULONG IcTextLength(const UINT8 *Text, ULONG Count)
{
	ULONG i = 0;

	while (i < Count && At(Text, i))
		i++;
	return i;
}

VOID IcTextCopy(UINT8 *To, const UINT8 *From, ULONG Length)
{
	for (ULONG i = 0; i < Length; i++) {
		UINT16 c = At(From, i);

		if (IsHigh(c) && i + 1 < Length && IsLow(At(From, i + 1))) {
			Put(To, i, c);
			i++;
			Put(To, i, At(From, i));
		} else {
			Put(To, i, IsHigh(c) || IsLow(c) ? REPLACEMENT : c);
		}
	}
	Put(To, Length, 0);
}
