/* SPDX-License-Identifier: MIT */
/* Guest memory: the file, both views, pages, blocks, stitched mappings, rings of scattered pages.
 */
#include "support.h"

#include "nt/nt.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static struct part *start(uint64_t memory, uint32_t stitches)
{
	struct part_options o = {.memory = memory, .stitches = stitches};
	struct part *p;

	assert_int_equal(part_loopback_assemble(&o, &p), 0);
	return p;
}

static void the_file_cannot_be_shrunk(void **state)
{
	struct part *p = start(TEST_MEMORY, 0);
	int plain = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct part_memory m;

	assert_int_equal(ftruncate(p->client.memory.range[0].fd, 4096), -1);
	assert_int_equal(ftruncate(p->client.memory.range[0].fd, TEST_MEMORY * 2), -1);
	/* A file that could be shrunk, or is too small, is not mapped. */
	assert_int_equal(ftruncate(plain, TEST_MEMORY), 0);
	part_memory_init(&m, 1);
	assert_int_equal(
		part_memory_add(&m, fcntl(plain, F_DUPFD_CLOEXEC, 0), 0, TEST_MEMORY, 0, NULL),
		-EPERM);
	assert_int_equal(fcntl(plain, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(part_memory_add(&m, fcntl(plain, F_DUPFD_CLOEXEC, 0), 0,
					 TEST_MEMORY + 4096, 0, NULL),
			 -EPERM);
	assert_int_equal(
		part_memory_add(&m, fcntl(plain, F_DUPFD_CLOEXEC, 0), 0, TEST_MEMORY, 4096, NULL),
		-EPERM);
	assert_int_equal(part_memory_add(&m, plain, 0, TEST_MEMORY, 0, NULL), 0);
	part_memory_close(&m);
	part_destroy(p);
}

static void both_ends_see_one_memory(void **state)
{
	struct part *p = start(TEST_MEMORY, 0);
	uint8_t *guest = part_memory_at(&p->client, 0x5000, 16);
	uint8_t *host = part_memory_at(&p->server, 0x5000, 16);
	uint64_t gpa;

	memcpy(guest, "written by guest", 16);
	assert_memory_equal(host, "written by guest", 16);
	if (!PART_ONE_VIEW)
		assert_ptr_not_equal(guest, host);
	assert_true(part_memory_gpa(&p->client, guest + 3, &gpa));
	assert_int_equal(gpa, 0x5003);
	assert_false(part_memory_gpa(&p->client, &gpa, &gpa));
	assert_null(part_memory_at(&p->client, TEST_MEMORY, 1));
	assert_null(part_memory_at(&p->client, TEST_MEMORY - 1, 2));
	assert_null(part_memory_at(&p->client, UINT64_MAX - 1, 4));
	assert_null(part_memory_at(&p->client, 4096, UINT64_MAX));
	assert_non_null(part_memory_at(&p->client, TEST_MEMORY - 1, 1));
	part_destroy(p);
}

static void sizes_out_of_bounds_are_refused(void **state)
{
	struct part_options small = {.memory = 4096}, large = {.memory = 1ull << 40};
	struct part *p;

	assert_int_equal(part_loopback_create(&small, &p), -EINVAL);
	assert_int_equal(part_loopback_create(&large, &p), -EINVAL);
}

static void pages_run_out_and_come_back(void **state)
{
	struct part *p = start(1u << 20, 0);
	uint64_t gpa[256], again;
	uint32_t n = 0;

	while (!part_pages_alloc(&p->client, 1, &gpa[n])) {
		uint8_t *page = part_memory_at(&p->client, gpa[n], 4096);

		assert_int_not_equal(gpa[n], 0);
		assert_int_equal(gpa[n] % 4096, 0);
		for (uint32_t i = 0; i < 4096; i += 512)
			assert_int_equal(page[i], 0);
		memset(page, 0xa5, 4096);
		n++;
		assert_true(n < 256);
	}
	assert_int_equal(n, 255);
	assert_int_equal(part_pages_alloc(&p->client, 1, &again), -ENOMEM);
	/* No page was given twice. */
	for (uint32_t i = 1; i < n; i++)
		for (uint32_t k = 0; k < i; k++)
			assert_int_not_equal(gpa[i], gpa[k]);
	for (uint32_t i = 0; i < n; i++)
		part_pages_free(&p->client, gpa[i], 1);
	assert_int_equal(part_pages_alloc(&p->client, 255, &again), 0);
	/* What was used before comes zeroed. */
	for (uint32_t i = 0; i < 255 * 4096; i += 256)
		assert_int_equal(((uint8_t *)part_memory_at(&p->client, again, 1))[i], 0);
	part_pages_free(&p->client, again, 255);
	assert_int_equal(part_pages_alloc(&p->client, 256, &again), -ENOMEM);
	assert_int_equal(part_pages_alloc(&p->server, 1, &again), -EINVAL);
	part_destroy(p);
}

static atomic_uint complaints;

static void count_complaints(void *ctx, enum kmcl_log_level level, const char *subsystem,
			     uint32_t partition, uint32_t channel, const char *text)
{
	atomic_fetch_add(&complaints, 1);
}

static void a_second_free_changes_nothing(void **state)
{
	struct part *p = start(1u << 20, 0);
	uint64_t gpa, other;

	kmcl_log_set(count_complaints, NULL);
	assert_int_equal(part_pages_alloc(&p->client, 4, &gpa), 0);
	assert_int_equal(part_pages_alloc(&p->client, 1, &other), 0);
	part_pages_free(&p->client, gpa, 4);
	part_pages_free(&p->client, gpa, 4);
	part_pages_free(&p->client, 0, 1);
	part_pages_free(&p->client, gpa, 100000);
	part_pages_free(&p->client, (1u << 20) + 4096, 1);
	assert_int_equal(atomic_load(&complaints), 4);
	assert_int_equal(p->client.pages.free, 254);
	kmcl_log_set(NULL, NULL);
	part_destroy(p);
}

static void fragments_serve_what_fits_them(void **state)
{
	struct part *p = start(1u << 20, 0);
	uint64_t gpa[255], run;

	for (uint32_t i = 0; i < 255; i++)
		assert_int_equal(part_pages_alloc(&p->client, 1, &gpa[i]), 0);
	for (uint32_t i = 0; i < 255; i += 2)
		part_pages_free(&p->client, gpa[i], 1);
	assert_int_equal(part_pages_alloc(&p->client, 2, &run), -ENOMEM);
	part_pages_free(&p->client, gpa[101], 1);
	assert_int_equal(part_pages_alloc(&p->client, 3, &run), 0);
	assert_int_equal(run, gpa[100]);
	part_destroy(p);
}

struct block {
	uint8_t *p;
	size_t bytes;
	uint8_t fill;
};

static void check_block(const struct block *b)
{
	for (size_t i = 0; i < b->bytes; i++)
		assert_int_equal(b->p[i], b->fill);
}

static void blocks_are_aligned_and_do_not_overlap(void **state)
{
	enum {
		BLOCKS = 400,
		TURNS = 40000
	};
	struct part *p = start(8u << 20, 0);
	struct block *blocks = calloc(BLOCKS, sizeof(*blocks));
	uint64_t seed = 88172645463325252ull, free_before = p->client.pages.free;

	for (uint32_t turn = 0; turn < TURNS; turn++) {
		struct block *b = &blocks[random_next(&seed) % BLOCKS];
		size_t align = 1u << random_next(&seed) % 14;

		if (b->p) {
			check_block(b);
			assert_true(block_pool_free(p->client.blocks, b->p));
		}
		b->bytes = 1 + random_next(&seed) % (turn % 16 ? 600 : 20000);
		b->fill = (uint8_t)turn;
		b->p = block_pool_alloc(p->client.blocks, b->bytes, align);
		assert_non_null(b->p);
		assert_int_equal((uintptr_t)b->p % align, 0);
		if (b->bytes >= 4096)
			assert_int_equal((uintptr_t)b->p % 4096, 0);
		memset(b->p, b->fill, b->bytes);
	}
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if (!blocks[i].p)
			continue;
		check_block(&blocks[i]);
		assert_true(block_pool_free(p->client.blocks, blocks[i].p));
	}
	/* At most one page a size class is kept. */
	assert_true(free_before - p->client.pages.free <= 14);
	free(blocks);
	part_destroy(p);
}

static void blocks_that_are_none_are_refused(void **state)
{
	struct part *p = start(1u << 20, 0);
	struct block_pool *b = p->client.blocks;
	uint8_t *small = block_pool_alloc(b, 40, 16);
	uint8_t *large = block_pool_alloc(b, 3 * 4096, 4096);
	uint8_t on_stack;

	assert_false(block_pool_free(b, &on_stack));
	assert_false(block_pool_free(b, small + 8));
	assert_false(block_pool_free(b, small + 48));
	assert_false(block_pool_free(b, large + 4096));
	assert_false(block_pool_free(b, large + 1));
	assert_true(block_pool_free(b, large));
	assert_false(block_pool_free(b, large));
	assert_true(block_pool_free(b, small));
	assert_false(block_pool_free(b, small));
	assert_null(block_pool_alloc(b, 2u << 20, 16));
	assert_null(block_pool_alloc(b, SIZE_MAX, 16));
	assert_null(block_pool_alloc(b, 16, 3));
	part_destroy(p);
}

static void *churn(void *arg)
{
	struct part *p = arg;
	uint64_t seed = (uintptr_t)&p | 1;
	uint32_t *held[64] = {0};

	for (uint32_t i = 0; i < 20000; i++) {
		uint32_t at = random_next(&seed) % 64;

		if (held[at]) {
			assert_int_equal(held[at][0], at);
			assert_true(block_pool_free(p->client.blocks, held[at]));
		}
		held[at] = block_pool_alloc(p->client.blocks, 8 + random_next(&seed) % 5000, 8);
		assert_non_null(held[at]);
		held[at][0] = at;
	}
	for (uint32_t i = 0; i < 64; i++)
		if (held[i])
			assert_true(block_pool_free(p->client.blocks, held[i]));
	return NULL;
}

static void threads_share_the_blocks(void **state)
{
	struct part *p = start(8u << 20, 0);
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, p), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	part_destroy(p);
}

static void contiguous_pages_need_no_stitch(void **state)
{
	struct part *p = start(TEST_MEMORY, 0);
	uint64_t pfns[] = {10, 11, 12, 13};
	struct part_mapping m;

	assert_int_equal(part_pages_map(&p->server, pfns, 4, &m), 0);
	assert_ptr_equal(m.va, part_memory_at(&p->server, 10 * 4096, 4 * 4096));
	assert_false(m.stitched);
	part_pages_unmap(&p->server, &m);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
	part_destroy(p);
}

static void scattered_pages_are_stitched_by_runs(void **state)
{
	struct part *p = start(TEST_MEMORY, 0);
	uint64_t pfns[] = {20, 21, 30, 5, 6, 7, 21};
	uint64_t outside[] = {1, TEST_MEMORY / 4096};
	struct part_mapping m;

	for (uint32_t i = 0; i < 6; i++)
		memset(part_memory_at(&p->client, pfns[i] * 4096, 4096), (int)pfns[i], 4096);
	assert_int_equal(part_pages_map(&p->server, pfns, 7, &m), 0);
	assert_true(m.stitched);
	assert_int_equal(m.bytes, 7 * 4096);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 4);
	for (uint32_t i = 0; i < 7; i++) {
		assert_int_equal(((uint8_t *)m.va)[i * 4096], pfns[i]);
		assert_int_equal(((uint8_t *)m.va)[i * 4096 + 4095], pfns[i]);
	}
	/* The same page twice, and the linear view: all one memory. */
	((uint8_t *)m.va)[4096] = 0x77;
	assert_int_equal(((uint8_t *)m.va)[6 * 4096], 0x77);
	assert_int_equal(*(uint8_t *)part_memory_at(&p->client, 21 * 4096, 1), 0x77);
	part_pages_unmap(&p->server, &m);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
	assert_int_equal(part_pages_map(&p->server, outside, 2, &m), -EFAULT);
	part_destroy(p);
}

static void stitches_are_bounded(void **state)
{
	struct part *p = start(TEST_MEMORY, 10);
	uint64_t pfns[] = {20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120};
	struct part_mapping first, second, third;

	assert_int_equal(part_pages_map(&p->server, pfns, 11, &first), -ENOSPC);
	assert_int_equal(part_pages_map(&p->server, pfns, 4, &first), 0);
	assert_int_equal(part_pages_map(&p->server, pfns, 6, &second), 0);
	assert_int_equal(part_pages_map(&p->server, pfns, 2, &third), -ENOSPC);
	/* What needs none is not refused, and the other end has a bound of its own. */
	assert_int_equal(part_pages_map(&p->server, pfns, 1, &third), 0);
	part_pages_unmap(&p->server, &third);
	assert_int_equal(part_pages_map(&p->client, pfns, 2, &third), 0);
	part_pages_unmap(&p->client, &third);
	part_pages_unmap(&p->server, &first);
	assert_int_equal(part_pages_map(&p->server, pfns, 4, &first), 0);
	part_pages_unmap(&p->server, &first);
	part_pages_unmap(&p->server, &second);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
	part_destroy(p);
}

static void map_ring(struct part *p, const uint64_t *pfns, uint32_t count)
{
	struct ring_pages ring = {.pfns = pfns, .count = count};
	struct vmbus_ring_view view;
	struct part_mapping mapping;
	uint8_t **pages;

	assert_int_equal(ring_map(&p->server, &ring, &view, &mapping, &pages), 0);
	assert_int_equal(view.size, (count - 1) * 4096);
	assert_ptr_equal(view.control, part_memory_at(&p->server, pfns[0] * 4096, 4096));
	for (uint32_t i = 1; i < count; i++) {
		uint8_t *page = part_memory_at(&p->client, pfns[i] * 4096, 4096);
		uint8_t *seen = view.data ? view.data + (i - 1) * 4096 : view.pages[i - 1];

		page[17] = (uint8_t)(i + count);
		assert_int_equal(seen[17], i + count);
		if (view.mirrored)
			assert_int_equal(view.data[view.size + (i - 1) * 4096 + 17], i + count);
	}
	part_pages_unmap(&p->server, &mapping);
	free(pages);
}

static void rings_are_seen_whole_however_they_lie(void **state)
{
	uint64_t row[] = {50, 51, 52, 53}, scattered[] = {9, 30, 31, 7, 90};
	struct part *p = start(TEST_MEMORY, 0), *poor = start(TEST_MEMORY, 1);

	map_ring(p, row, 4);
	map_ring(p, scattered, 5);
	/* Without a stitch to spare the linear view serves, or single pages. */
	map_ring(poor, row, 4);
	map_ring(poor, scattered, 5);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
	part_destroy(poor);
	part_destroy(p);
}

/* The table that drivers' pools and MDLs work on. */
static void the_nt_layer_sees_page_numbers(void **state)
{
	struct part *p = start(TEST_MEMORY, 8);
	const struct nt_memory *guest = part_nt_memory(&p->client);
	const struct nt_memory *host = part_nt_memory(&p->server);
	uint8_t *a = guest->alloc(guest->ctx, 100, 16), *b = guest->alloc(guest->ctx, 9000, 4096);
	uint64_t pfns[3] = {0}, on_stack;
	void *cookie;
	uint8_t *seen;

	assert_null(host->alloc);
	assert_non_null(a);
	assert_non_null(b);
	assert_true(guest->pfn_of(guest->ctx, b, &pfns[2]));
	assert_true(guest->pfn_of(guest->ctx, b + 8192, &pfns[1]));
	assert_true(guest->pfn_of(guest->ctx, b + 4096, &pfns[0]));
	assert_int_equal(pfns[1], pfns[2] + 2);
	assert_false(guest->pfn_of(guest->ctx, &on_stack, &on_stack));
	b[0] = 0xb0;
	b[4096] = 0xb1;
	b[8192] = 0xb2;
	seen = host->map(host->ctx, pfns, 3, &cookie);
	assert_non_null(seen);
	assert_int_equal(seen[0], 0xb1);
	assert_int_equal(seen[4096], 0xb2);
	assert_int_equal(seen[8192], 0xb0);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 2);
	host->unmap(host->ctx, seen, 3, cookie);
	assert_int_equal(atomic_load(&p->server.memory.stitches), 0);
	pfns[1] = TEST_MEMORY / 4096;
	assert_null(host->map(host->ctx, pfns, 3, &cookie));
	seen = host->map(host->ctx, &pfns[2], 1, &cookie);
	assert_int_equal(seen[0], 0xb0);
	host->unmap(host->ctx, seen, 1, cookie);
	guest->free(guest->ctx, a);
	guest->free(guest->ctx, b);
	guest->free(guest->ctx, NULL);
	part_destroy(p);
}

/* ---- ranges ---- */

#define RANGE (1u << 20)
#define HIGH  (4ull << 30)

static int sealed_file(uint64_t size, unsigned int seals)
{
	int fd = memfd_create("range", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void ranges_lie_where_they_were_put(void **state)
{
	int fd = sealed_file(3 * RANGE, F_SEAL_SHRINK);
	struct part_memory m;
	uint64_t gpa;
	uint8_t *low, *high;

	part_memory_init(&m, 64);
	assert_int_equal(part_memory_add(&m, dup(fd), 0, RANGE, 0, NULL), 0);
	assert_int_equal(part_memory_add(&m, dup(fd), HIGH, RANGE, 2 * RANGE, NULL), 0);
	low = memory_at(&m, 0x1000, 16);
	high = memory_at(&m, HIGH + 0x1000, 16);
	assert_int_equal(pwrite(fd, "low", 4, 0x1000), 4);
	assert_int_equal(pwrite(fd, "high", 5, 2 * RANGE + 0x1000), 5);
	assert_string_equal(low, "low");
	assert_string_equal(high, "high");
	assert_true(memory_gpa(&m, high + 7, &gpa));
	assert_int_equal(gpa, HIGH + 0x1007);
	assert_null(memory_at(&m, RANGE, 1));
	assert_null(memory_at(&m, RANGE - 1, 2));
	assert_null(memory_at(&m, HIGH - 1, 1));
	assert_null(memory_at(&m, HIGH + RANGE - 1, 2));
	assert_null(memory_at(&m, HIGH, UINT64_MAX));
	part_memory_close(&m);
	close(fd);
}

static void ranges_that_meet_are_two_runs(void **state)
{
	int fd = sealed_file(2 * RANGE, F_SEAL_SHRINK);
	uint64_t pfns[4] = {254, 255, 256, 257};
	uint64_t outside[2] = {511, 512};
	struct part_memory m;
	uint8_t *va;

	part_memory_init(&m, 64);
	/* The second comes first in the file: what follows in the guest does not in the view. */
	assert_int_equal(part_memory_add(&m, dup(fd), 0, RANGE, RANGE, NULL), 0);
	assert_int_equal(part_memory_add(&m, dup(fd), RANGE, RANGE, 0, NULL), 0);
	assert_null(memory_at(&m, RANGE - 1, 2));
	assert_true(memory_has_pages(&m, pfns, 4));
	assert_false(memory_has_pages(&m, outside, 2));
	assert_int_equal(memory_runs(&m, pfns, 4), 2);
	for (int i = 0; i < 4; i++)
		memset(memory_at(&m, pfns[i] << 12, 4096), 'a' + i, 4096);
	va = memory_stitch(&m, pfns, 4, 1);
	assert_non_null(va);
	for (int i = 0; i < 4; i++)
		assert_int_equal(va[i * 4096], 'a' + i);
	assert_int_equal(atomic_load(&m.stitches), 2);
	memory_unstitch(&m, va, 4 * 4096, 2);
	part_memory_close(&m);
	close(fd);
}

static void ranges_that_cannot_be_are_refused_by_kind(void **state)
{
	static const struct {
		uint64_t gpa, size, offset;
		int error;
	} bad[] = {
		{0x800, 4096, 0, -EINVAL},
		{0, 0x800, 0, -EINVAL},
		{0, 4096, 0x800, -EINVAL},
		{0, 0, 0, -EINVAL},
		{1ull << 52, 4096, 0, -EPERM},
		{UINT64_MAX - 4095, 4096, 0, -EINVAL},
		{4096, UINT64_MAX - 4095, 0, -EINVAL},
		{0, 4096, UINT64_MAX - 4095, -EINVAL},
		{8 * 4096, 4096, 0, -EEXIST},
		{0, RANGE, 0, -EEXIST},
		{11 * 4096, RANGE, 0, -EEXIST},
		{12 * 4096, RANGE, 4096, -EPERM},
	};
	int fd = sealed_file(RANGE, F_SEAL_SHRINK);
	int frozen = sealed_file(RANGE, F_SEAL_SHRINK | F_SEAL_WRITE);
	struct part_memory m;

	part_memory_init(&m, 64);
	assert_int_equal(part_memory_add(&m, dup(fd), 8 * 4096, 4 * 4096, 0, NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(
			part_memory_add(&m, dup(fd), bad[i].gpa, bad[i].size, bad[i].offset, NULL),
			bad[i].error);
	assert_int_equal(part_memory_add(&m, frozen, 0, 4096, 0, NULL), -EPERM);
	for (uint64_t i = 1; i < PART_MEMORY_RANGES; i++)
		assert_int_equal(part_memory_add(&m, dup(fd), i * RANGE, 4096, 0, NULL), 0);
	assert_int_equal(part_memory_add(&m, dup(fd), HIGH, 4096, 0, NULL), -E2BIG);
	part_memory_close(&m);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_file_cannot_be_shrunk),
		cmocka_unit_test(ranges_lie_where_they_were_put),
		cmocka_unit_test(ranges_that_meet_are_two_runs),
		cmocka_unit_test(ranges_that_cannot_be_are_refused_by_kind),
		cmocka_unit_test(both_ends_see_one_memory),
		cmocka_unit_test(sizes_out_of_bounds_are_refused),
		cmocka_unit_test(pages_run_out_and_come_back),
		cmocka_unit_test(a_second_free_changes_nothing),
		cmocka_unit_test(fragments_serve_what_fits_them),
		cmocka_unit_test(blocks_are_aligned_and_do_not_overlap),
		cmocka_unit_test(blocks_that_are_none_are_refused),
		cmocka_unit_test(threads_share_the_blocks),
		cmocka_unit_test(contiguous_pages_need_no_stitch),
		cmocka_unit_test(scattered_pages_are_stitched_by_runs),
		cmocka_unit_test(stitches_are_bounded),
		cmocka_unit_test(rings_are_seen_whole_however_they_lie),
		cmocka_unit_test(the_nt_layer_sees_page_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
