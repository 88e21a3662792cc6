/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Names for addresses of code. A driver exports DriverEntry alone, so dladdr knows none of its
 * functions; the symbol table of its file does, unless it was stripped.
 */
#ifndef KMCL_BASE_SYMBOLS_H
#define KMCL_BASE_SYMBOLS_H

#include <stddef.h>

/** "function+0x12 (file.so)", or "file.so+0x1234" without a name. Allocates; not for hot paths. */
void symbols_describe(const void *pc, char *text, size_t size);

#endif
