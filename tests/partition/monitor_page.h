/* SPDX-License-Identifier: MIT */
/** @file A monitor page as tests write and read it. */
#ifndef MONITOR_PAGE_H
#define MONITOR_PAGE_H

#include <stdbool.h>
#include <stdint.h>

static inline uint32_t *pending(uint8_t *page, uint32_t group)
{
	return (uint32_t *)(void *)(page + 8 + 8 * group);
}

static inline void set_bit(uint8_t *page, uint32_t id)
{
	__atomic_fetch_or(pending(page, id / 32), 1u << id % 32, __ATOMIC_SEQ_CST);
}

static inline bool bit_is_set(uint8_t *page, uint32_t id)
{
	return __atomic_load_n(pending(page, id / 32), __ATOMIC_SEQ_CST) >> id % 32 & 1;
}

#endif
