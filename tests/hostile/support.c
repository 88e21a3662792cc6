/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void nap_us(unsigned int us)
{
	struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

	nanosleep(&t, NULL);
}

uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static unsigned int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Guest memory's alone: an allocator keeps mappings of its own. */
static unsigned int count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned int n = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "openkmcl-guest-memory"))
			n++;
	fclose(maps);
	return n;
}

struct held count_held(void)
{
	return (struct held){.threads = count_entries("/proc/self/task"),
			     .descriptors = count_entries("/proc/self/fd"),
			     .mappings = count_mappings()};
}

void assert_nothing_more_held(struct held before)
{
	uint64_t until = now_ns() + PATIENCE_NS;
	struct held now = count_held();

	/* threads of the elastic pool stay for a while, in case they are needed again */
	while (now.threads > before.threads + 64 && now_ns() < until) {
		nap_us(10000);
		now = count_held();
	}
	assert_true(now.descriptors <= before.descriptors);
	assert_true(now.mappings <= before.mappings);
	assert_true(now.threads <= before.threads + 64);
}

unsigned int scaled(unsigned int plain)
{
	if (getenv("KMCL_SOAK"))
		return plain * 10;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	return plain / 10;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
	return plain / 10;
#endif
#endif
	return plain;
}
