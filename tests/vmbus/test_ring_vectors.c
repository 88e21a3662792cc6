/* SPDX-License-Identifier: MIT */
/* What a real Linux guest left in its ring: the first request of its storage driver. */
#include "ring_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define D (31u * 4096)

static const char *folder = "tests/vectors";

struct recorded {
	uint32_t in, feature, size;
	uint8_t bytes[4096];
};

static uint32_t from_hex(const char *text, uint8_t *bytes, uint32_t most)
{
	uint32_t n = 0;
	unsigned int byte;

	for (; n < most && sscanf(text, "%2x", &byte) == 1; text += 2)
		bytes[n++] = (uint8_t)byte;
	return n;
}

/* The ring of channel 40, storage. */
static void load(struct recorded *r)
{
	char path[512], line[8192];
	FILE *f;

	memset(r, 0, sizeof(*r));
	snprintf(path, sizeof(path), "%s/linux-6.1-storage.txt", folder);
	f = fopen(path, "r");
	if (!f)
		fail_msg("cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		unsigned int in, out, mask, pending, feature;

		if (sscanf(line, "= relid 40 pages 32 in %u out %u mask %u pending %u feature %u",
			   &in, &out, &mask, &pending, &feature) == 5) {
			assert_int_equal(out, 0);
			r->in = in;
			r->feature = feature;
		}
		if (strncmp(line, "# relid 40 ", 11) == 0)
			r->size = from_hex(line + 11, r->bytes, sizeof(r->bytes));
	}
	fclose(f);
	assert_int_equal(r->in, 88);
	assert_int_equal(r->size, r->in);
}

static void ring_012_016_a_real_guests_request(void **state)
{
	struct recorded rec;

	load(&rec);
	FOR_EACH_VIEW(g, D)
	{
		/* the guest has written before we attach, at its start and across our ring's end */
		for (uint32_t start = 0; start < D; start += D - 40) {
			rig_put_bytes(g, start, rec.bytes, rec.size);
			rig_at(g, (start + rec.in) % D, start);
			vmbus_store32_relaxed(&g->control->features, rec.feature);
			assert_true(vmbus_ring_peer_has_feature(&g->r));
			assert_int_equal(rig_read(g), VMBUS_RING_OK);
			assert_int_equal(g->p.type, VMBUS_PKT_INBAND);
			assert_true(g->p.completion_requested);
			assert_true(g->p.transaction_id == ~0ull - 2);
			assert_int_equal(g->p.payload_size, 64);
			/* BEGIN_INITIALIZATION, which asks for a completion */
			assert_int_equal(g->p.payload[0], 7);
			assert_int_equal(g->p.payload[4], 1);
			assert_int_equal(rig_read(g), VMBUS_RING_EMPTY);
			vmbus_ring_release(&g->r);
			assert_int_equal(rig_out(g), (start + rec.in) % D);
		}
	}
}

static void ring_001_003_our_writer_makes_the_same_bytes(void **state)
{
	struct recorded rec;

	load(&rec);
	FOR_EACH_VIEW(g, D)
	{
		uint8_t bytes[88];

		assert_int_equal(vmbus_ring_write_inband(&g->w, VMBUS_PKT_INBAND, 1, ~0ull - 2,
							 rec.bytes + 16, 64),
				 VMBUS_RING_OK);
		vmbus_ring_publish(&g->w);
		assert_int_equal(rig_in(g), rec.in);
		rig_bytes(g, 0, bytes, sizeof(bytes));
		assert_memory_equal(bytes, rec.bytes, sizeof(bytes));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_012_016_a_real_guests_request),
		cmocka_unit_test(ring_001_003_our_writer_makes_the_same_bytes),
	};

	if (argc > 1)
		folder = argv[1];
	return cmocka_run_group_tests_name("ring_vectors", tests, NULL, NULL);
}
