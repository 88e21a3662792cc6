/* SPDX-License-Identifier: MIT */
/* Prints the wall clock and what the host's clock, /dev/ptp0, says at the same moment: seconds
 * since 1970, and how far the first is ahead of the second. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define TRIES 20

static double now(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		return -1;
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The narrowest of some brackets. */
int main(void)
{
	int fd = open("/dev/ptp0", O_RDONLY);
	clockid_t ptp = ~(clockid_t)fd << 3 | 3;
	double width = 1e9, best = 0, host = -1;

	for (int i = 0; fd >= 0 && i < TRIES; i++) {
		double before = now(CLOCK_REALTIME), there = now(ptp), after = now(CLOCK_REALTIME);

		if (there < 0 || after - before >= width)
			continue;
		width = after - before;
		host = there;
		best = (before + after) / 2 - there;
	}
	printf("clock %.3f host %.3f ahead %.4f\n", now(CLOCK_REALTIME), host, best);
	return host < 0;
}
