/* SPDX-License-Identifier: MIT */
/*
 * The bounds that a host sets, as drivers meet them: the status beyond each, that everything else
 * goes on, and that what is given back can be had again.
 */
#include "channels.h"

#include <stdlib.h>
#include <string.h>

static void one_offer_too_many_is_refused(void **state)
{
	const struct kmcl_limits limits = {.channels = 3};
	kmcl_partition *bus = bus_create(&limits);
	struct pair p[4] = {0};

	for (uint32_t i = 0; i < 3; i++)
		pair_open(&p[i], i + 1);
	for (uint32_t round = 0; round < 3; round++) {
		assert_int_equal(pair_offer(&p[3], 4), STATUS_INSUFFICIENT_RESOURCES);
		for (uint32_t i = 0; i < 3; i++)
			pair_trip(&p[i]);
		/* an offer is over when the guest has let go of its id */
		pair_close(&p[1]);
		UNTIL(NT_SUCCESS(pair_offer(&p[1], 2)));
		pair_connect(&p[1]);
		UNTIL(atomic_load(&p[1].started) == 1);
	}
	for (uint32_t i = 0; i < 3; i++)
		pair_close(&p[i]);
	kmcl_partition_destroy(bus);
}

/* GPADLs need guest memory, which only drivers' pools have. */
struct gpadl_test {
	struct pair pair;
	const struct kmcl_limits *limits;
	NTSTATUS (*run)(struct gpadl_test *t);
	NTSTATUS seen;
};
static struct gpadl_test *current;

static NTSTATUS create(struct gpadl_test *t, void *buffer, uint32_t pages, UINT32 *id)
{
	return VmbChannelCreateGpadlFromBuffer(t->pair.client, 0, buffer, pages * PAGE_SIZE, id);
}

static VOID unload(PDRIVER_OBJECT driver)
{
}

static NTSTATUS gpadl_entry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	driver->DriverUnload = unload;
	pair_open(&current->pair, 1);
	current->seen = current->run(current);
	pair_trip(&current->pair);
	pair_disconnect(&current->pair);
	return STATUS_SUCCESS;
}

static void with_guest_memory(struct gpadl_test *t)
{
	kmcl_partition *bus = bus_create(t->limits);
	kmcl_driver *driver;
	char *error = NULL;

	current = t;
	/* a client driver, so that its pool lies in guest memory; it stays without a device */
	(void)kmcl_driver_load_entry(bus, KMCL_CLIENT, "limits", (void *)(uintptr_t)gpadl_entry,
				     NULL, NULL, &driver, &error);
	kmcl_free(error);
	pair_revoke(&t->pair);
	kmcl_partition_destroy(bus);
}

#define POOL_PAGES 64u

static NTSTATUS run_gpadls(struct gpadl_test *t)
{
	void *buffer = ExAllocatePool2(POOL_FLAG_NON_PAGED, POOL_PAGES * PAGE_SIZE, 'timL');
	UINT32 id[3], none;
	NTSTATUS refused = STATUS_SUCCESS;

	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 3; i++)
			assert_int_equal(create(t, buffer, 1, &id[i]), STATUS_SUCCESS);
		refused = create(t, buffer, 1, &none);
		VmbChannelDeleteGpadl(t->pair.client, id[1]);
		assert_int_equal(create(t, buffer, 1, &id[1]), STATUS_SUCCESS);
		assert_int_equal(create(t, buffer, 1, &none), refused);
		for (uint32_t i = 0; i < 3; i++)
			VmbChannelDeleteGpadl(t->pair.client, id[i]);
	}
	ExFreePoolWithTag(buffer, 'timL');
	return refused;
}

static void one_gpadl_too_many_is_refused(void **state)
{
	const struct kmcl_limits limits = {.gpadls = 4}; /* the ring's is one */
	struct gpadl_test t = {.limits = &limits, .run = run_gpadls};

	with_guest_memory(&t);
	assert_int_equal(t.seen, STATUS_INSUFFICIENT_RESOURCES);
}

static NTSTATUS run_gpadl_pages(struct gpadl_test *t)
{
	void *buffer = ExAllocatePool2(POOL_FLAG_NON_PAGED, POOL_PAGES * PAGE_SIZE, 'timL');
	UINT32 id, none;
	NTSTATUS refused = STATUS_SUCCESS;

	for (uint32_t round = 0; round < 3; round++) {
		refused = create(t, buffer, POOL_PAGES, &none);
		assert_int_equal(create(t, buffer, POOL_PAGES / 2, &id), STATUS_SUCCESS);
		assert_int_equal(create(t, buffer, POOL_PAGES / 2, &none), refused);
		VmbChannelDeleteGpadl(t->pair.client, id);
	}
	ExFreePoolWithTag(buffer, 'timL');
	return refused;
}

static void too_many_pages_of_gpadls_are_refused_by_the_host(void **state)
{
	const struct kmcl_limits limits = {.gpadl_pages = POOL_PAGES};
	struct gpadl_test t = {.limits = &limits, .run = run_gpadl_pages};

	with_guest_memory(&t);
	assert_int_equal(t.seen, STATUS_UNSUCCESSFUL); /* its GPADL_CREATED says no */
}

static void packets_beyond_those_outgoing_are_queued(void **state)
{
	const struct kmcl_limits limits = {.outgoing_packets = 2};
	kmcl_partition *bus = bus_create(&limits);
	struct pair p = {.hold = true};
	struct kmcl_channel_stats stats;

	pair_open(&p, 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(pair_send(&p, NULL), STATUS_SUCCESS);
	for (unsigned int done = 0; done < 5; done++) {
		unsigned int left = 5 - done;

		UNTIL(atomic_load(&p.held_count) == (left < 2 ? left : 2));
		nap_ms(5);
		assert_int_equal(atomic_load(&p.held_count), left < 2 ? left : 2);
		stats = pair_stats(bus, &p, false);
		assert_int_equal(stats.outstanding_out, left < 2 ? left : 2);
		assert_int_equal(stats.queued, left < 2 ? 0 : left - 2);
		pair_complete(&p);
		UNTIL(atomic_load(&p.completed) == done + 1);
	}
	assert_int_equal(atomic_load(&p.failed), 0);
	pair_close(&p);
	kmcl_partition_destroy(bus);
}

static void packets_beyond_those_incoming_stay_in_the_ring(void **state)
{
	const struct kmcl_limits limits = {.incoming_packets = 2};
	kmcl_partition *bus = bus_create(&limits);
	struct pair p = {.hold = true};
	struct kmcl_channel_stats stats;

	pair_open(&p, 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(pair_send(&p, NULL), STATUS_SUCCESS);
	for (unsigned int done = 0; done < 5; done++) {
		unsigned int left = 5 - done;

		UNTIL(atomic_load(&p.held_count) == (left < 2 ? left : 2));
		nap_ms(5);
		stats = pair_stats(bus, &p, true);
		assert_int_equal(stats.outstanding_in, left < 2 ? left : 2);
		stats = pair_stats(bus, &p, false);
		assert_int_equal(stats.outstanding_out, left);
		assert_int_equal(stats.queued, 0);
		pair_complete(&p);
		UNTIL(atomic_load(&p.completed) == done + 1);
	}
	pair_close(&p);
	kmcl_partition_destroy(bus);
}

/* Memory of the program's own has no page numbers, so it is bounced. */
static NTSTATUS send_bounced(struct pair *p, uint32_t bytes)
{
	void *data = calloc(1, bytes);
	PMDL mdl = IoAllocateMdl(data, bytes, FALSE, FALSE, NULL);
	unsigned int before = atomic_load(&p->completed);
	NTSTATUS status;

	MmBuildMdlForNonPagedPool(mdl);
	status = pair_send(p, mdl);
	if (NT_SUCCESS(status))
		UNTIL(atomic_load(&p->completed) == before + 1);
	IoFreeMdl(mdl);
	free(data);
	return status;
}

static void channels_beyond_the_bounce_space_have_none(void **state)
{
	const struct kmcl_limits limits = {.bounce_pages = 10};
	kmcl_partition *bus = bus_create(&limits);
	struct pair p[3] = {
		{.max_external = 4 * PAGE_SIZE, .max_chain = 1}, /* takes five pages */
		{.max_external = 4 * PAGE_SIZE, .max_chain = 1},
		{.max_external = 4 * PAGE_SIZE, .max_chain = 1},
	};

	for (uint32_t i = 0; i < 3; i++)
		pair_open(&p[i], i + 1);
	for (uint32_t round = 0; round < 3; round++) {
		assert_int_equal(send_bounced(&p[0], 4 * PAGE_SIZE), STATUS_SUCCESS);
		assert_int_equal(send_bounced(&p[1], 4 * PAGE_SIZE), STATUS_SUCCESS);
		assert_int_equal(send_bounced(&p[2], 16), STATUS_INSUFFICIENT_RESOURCES);
		pair_trip(&p[2]);
	}
	/* who opens after somebody closed has what that one had */
	pair_disconnect(&p[2]);
	pair_disconnect(&p[0]);
	pair_connect(&p[2]);
	UNTIL(atomic_load(&p[2].started) == 1);
	assert_int_equal(send_bounced(&p[2], 4 * PAGE_SIZE), STATUS_SUCCESS);
	pair_disconnect(&p[2]);
	pair_disconnect(&p[1]);
	for (uint32_t i = 0; i < 3; i++)
		pair_revoke(&p[i]);
	kmcl_partition_destroy(bus);
}

#ifdef __SANITIZE_THREAD__
#define ONE_VIEW 1 /* rings are not mapped twice then */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ONE_VIEW 1
#endif
#endif
#ifndef ONE_VIEW
#define ONE_VIEW 0
#endif

/* Pages that do not follow each other are mapped in runs, if a driver wants one address for them.
 */
static void mappings_beyond_the_stitches_fail(void **state)
{
	/* the rings of one channel take four, twice two runs; twice three are left */
	const struct kmcl_limits limits = {.stitches = ONE_VIEW ? 6 : 10};
	static const uint64_t apart[3] = {1000, 1002, 1004}, together[3] = {1000, 1001, 1002};
	kmcl_partition *bus = bus_create(&limits);
	struct pair p = {.hold = true};

	pair_open(&p, 1);
	for (unsigned int round = 1; round <= 3; round++) {
		for (int i = 0; i < 4; i++)
			assert_int_equal(pair_send_pages(&p, i < 3 ? apart : together, 3),
					 STATUS_SUCCESS);
		UNTIL(atomic_load(&p.held_count) == 4);
		/* two fit, the third does not, and what needs no stitch does */
		assert_int_equal(atomic_load(&p.mapped), 3 * round);
		assert_int_equal(atomic_load(&p.not_mapped), round);
		for (int i = 0; i < 4; i++)
			pair_complete(&p);
		UNTIL(atomic_load(&p.completed) == 4 * round);
	}
	pair_close(&p);
	kmcl_partition_destroy(bus);
}

/* Without a stitch for them rings are used as they lie. */
static void rings_need_no_stitch(void **state)
{
	const struct kmcl_limits limits = {.stitches = 1};
	kmcl_partition *bus = bus_create(&limits);
	struct pair p = {0};

	pair_open(&p, 1);
	for (int i = 0; i < 1000; i++) /* round the rings many times */
		pair_trip(&p);
	pair_close(&p);
	kmcl_partition_destroy(bus);
}

static void options_of_another_size_are_refused(void **state)
{
	struct kmcl_partition_options options;
	kmcl_partition *bus;

	kmcl_partition_options_init(&options);
	options.size -= sizeof(options.limits);
	assert_int_not_equal(kmcl_partition_create_loopback(&options, &bus), 0);
	assert_null(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_offer_too_many_is_refused),
		cmocka_unit_test(one_gpadl_too_many_is_refused),
		cmocka_unit_test(too_many_pages_of_gpadls_are_refused_by_the_host),
		cmocka_unit_test(packets_beyond_those_outgoing_are_queued),
		cmocka_unit_test(packets_beyond_those_incoming_stay_in_the_ring),
		cmocka_unit_test(channels_beyond_the_bounce_space_have_none),
		cmocka_unit_test(mappings_beyond_the_stitches_fail),
		cmocka_unit_test(rings_need_no_stitch),
		cmocka_unit_test(options_of_another_size_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
