/* SPDX-License-Identifier: MIT */
/* Prints every CPUID leaf where hypervisors tell of themselves: LEAF EAX EBX ECX EDX. */
#include <cpuid.h>
#include <stdio.h>

#define FIRST 0x40000000u
#define LAST  0x40010000u
#define STEP  0x100u

static unsigned int show(unsigned int leaf)
{
	unsigned int eax, ebx, ecx, edx;

	__cpuid_count(leaf, 0, eax, ebx, ecx, edx);
	printf("leaf %08x %08x %08x %08x %08x\n", leaf, eax, ebx, ecx, edx);
	return eax;
}

int main(void)
{
	for (unsigned int base = FIRST; base <= LAST; base += STEP) {
		unsigned int eax, ebx, ecx, edx, last;

		__cpuid_count(base, 0, eax, ebx, ecx, edx);
		/* Elsewhere a processor answers as for its highest basic leaf. */
		if (base != FIRST && (eax & ~0xffffu) != FIRST)
			continue;
		last = show(base);
		for (unsigned int leaf = base + 1; leaf <= last && leaf < base + STEP; leaf++)
			show(leaf);
	}
	return 0;
}
