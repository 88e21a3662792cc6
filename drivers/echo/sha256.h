/* SPDX-License-Identifier: MIT */
/** @file SHA-256 (FIPS 180-4), for drivers that have no library to ask. */
#ifndef ECHO_SHA256_H
#define ECHO_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE  32u
#define SHA256_BLOCK 64u

struct sha256 {
	uint32_t state[8];
	uint64_t bytes;
	uint8_t block[SHA256_BLOCK];
};

void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const void *data, size_t size);
void sha256_final(struct sha256 *sha, uint8_t digest[SHA256_SIZE]);

#endif
