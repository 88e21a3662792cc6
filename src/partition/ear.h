/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Where a thread sleeps that other processes wake too: an epoll of the eventfds that they ring
 * (bells), and one eventfd of our own.
 *
 * Everything in it is edge-triggered and nothing is ever read, so a ring is heard once, whatever
 * others do to the counters. A ring while nobody listens is kept until somebody does.
 */
#ifndef PARTITION_EAR_H
#define PARTITION_EAR_H

#include <stdbool.h>
#include <stdint.h>

struct part_ear {
	int epoll, wake;
};

/** What an ear is before part_ear_open; part_ear_close does nothing to it. */
#define PART_EAR_CLOSED ((struct part_ear){.epoll = -1, .wake = -1})

/** 0 or negative errno; then it is closed. */
int part_ear_open(struct part_ear *ear);
void part_ear_close(struct part_ear *ear);
/** While somebody listens or not. 0 or negative errno. */
int part_ear_add(const struct part_ear *ear, int bell);
void part_ear_remove(const struct part_ear *ear, int bell);
/** Ends the wait of who listens, now or next; it tells no bell. Any thread. */
void part_ear_wake(const struct part_ear *ear);
/** One thread. Until a bell rang since the last time, which is true, or part_ear_wake was called or
 *  the time is over. UINT64_MAX: no limit. */
bool part_ear_listen(const struct part_ear *ear, uint64_t timeout_ns);

#endif
