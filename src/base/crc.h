/* SPDX-License-Identifier: MIT */
/** @file The checksum of saved state: CRC-32C, as iSCSI has it. It finds damage, not forgery. */
#ifndef BASE_CRC_H
#define BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/** Continues `crc` (0 to begin with) over `size` bytes. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);

#endif
