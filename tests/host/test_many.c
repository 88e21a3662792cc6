/* SPDX-License-Identifier: MIT */
/* As many channels as a bus can have, on the smallest rings, in the default memory of a guest. */
#include "channels.h"

#include <stdlib.h>
#include <string.h>

#define MOST 2047u

static uint32_t how_many(void)
{
	const char *soak = getenv("KMCL_SOAK");

	return soak && !strcmp(soak, "1") ? MOST : MOST / 10;
}

static unsigned int open_now(const struct pair *p, uint32_t n)
{
	unsigned int open = 0;

	for (uint32_t i = 0; i < n; i++)
		open += atomic_load(&p[i].started);
	return open;
}

static unsigned int closed_now(const struct pair *p, uint32_t n)
{
	unsigned int closed = 0;

	for (uint32_t i = 0; i < n; i++)
		closed += atomic_load(&p[i].server_closed);
	return closed;
}

/* Offers are there before the clients and come after them, by turns. */
static void open_all(struct pair *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		p[i].number = i + 1;
		if (i % 2)
			pair_connect(&p[i]);
	}
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(pair_offer(&p[i], i + 1), STATUS_SUCCESS);
	for (uint32_t i = 0; i < n; i += 2)
		pair_connect(&p[i]);
	UNTIL(open_now(p, n) == n);
}

static void as_many_channels_as_there_can_be(void **state)
{
	uint32_t n = how_many();
	struct pair *p = calloc(n + 1, sizeof(*p));
	kmcl_partition *bus = bus_create(NULL);

	for (unsigned int round = 0; round < 2; round++) {
		open_all(p, n);
		assert_int_equal(kmcl_partition_stats(bus, NULL, 0), 2 * n);
		if (n == MOST)
			assert_int_equal(pair_offer(&p[n], n + 1), STATUS_INSUFFICIENT_RESOURCES);
		for (uint32_t i = 0; i < n; i++)
			pair_trip(&p[i]);
		/* half are closed by their client, half lose their offer */
		for (uint32_t i = 0; i < n; i++) {
			if (i % 2)
				pair_disconnect(&p[i]);
			pair_revoke(&p[i]);
		}
		assert_int_equal(closed_now(p, n), n);
		for (uint32_t i = 0; i < n; i++) {
			if (!(i % 2))
				pair_disconnect(&p[i]);
			atomic_store(&p[i].server_closed, 0);
		}
		assert_int_equal(kmcl_partition_stats(bus, NULL, 0), 0);
	}
	kmcl_partition_destroy(bus);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_many_channels_as_there_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
