/* SPDX-License-Identifier: MIT */
/* What must never reach a driver: packets beyond the channel's bounds, and packets that no client
 * of ours would write, from a guest that talks to the ring by itself. */
#include "harness.h"
#include "raw.h"

#include <kmcl/kmcl.h>

#include <stdlib.h>

static void enable(struct kt_chan *c)
{
	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
}

/* The queue is dead as after VmbChannelPacketFail: nothing more is delivered, the channel is open
 * and can send, its close is an ordinary one. */
static void expect_dead_queue(struct kt_chan *c)
{
	unsigned int delivered = atomic_load(&c->delivered);

	KT_STAYS(atomic_load(&c->delivered) == delivered);
	VmbChannelPause(c->h);
	VmbChannelStart(c->h);
	KT_STAYS(atomic_load(&c->delivered) == delivered);
	KT_EXPECT(c, "OSPUSP");
}

static void ddi_034_inv_048_oversize_packet(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *good = kt_send_new(p.client), *big = kt_send_new(p.client),
		       *after = kt_send_new(p.client), *back;

	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.server->h, 64), STATUS_SUCCESS);
	kt_pair_open(&p);
	assert_int_equal(kt_send_pattern(good, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&good->routines) == 1);
	assert_int_equal(kt_send_pattern(big, 72, 1, KT_WAITED), STATUS_SUCCESS);
	assert_int_equal(kt_send_pattern(after, 8, 1, KT_WAITED), STATUS_SUCCESS);
	expect_dead_queue(p.server);
	assert_int_equal(p.server->packet_count, 1);
	back = kt_send_new(p.server);
	assert_int_equal(kt_send_pattern(back, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&back->routines) == 1);
	assert_int_equal(back->status, STATUS_SUCCESS);
	VmbChannelDisable(p.client->h);
	KT_EXPECT(p.server, "OSPUSPUC");
	assert_int_equal(big->status, STATUS_DEVICE_REMOVED);
	assert_int_equal(after->status, STATUS_DEVICE_REMOVED);
	kt_forget(p.server); /* the next session is unharmed */
	enable(p.client);
	KT_EXPECT(p.server, "OSP");
	assert_int_equal(kt_send_pattern(good, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&good->routines) == 2);
	assert_int_equal(good->status, STATUS_SUCCESS);
	kt_send_free(good);
	kt_send_free(big);
	kt_send_free(after);
	kt_send_free(back);
	kt_pair_free(&p);
}

static void external_beyond(struct kt_bus *bus, uint32_t bytes, uint32_t chain)
{
	struct kt_pair p = kt_pair_new(bus);
	struct kt_send *s = kt_send_new(p.client);
	PMDL mdl = kt_mdl_alloc(bus, 3000, NULL), next = kt_mdl_alloc(bus, 3000, NULL);

	mdl->Next = next;
	assert_int_equal(VmbChannelInitSetMaximumExternalData(p.server->h, bytes, chain),
			 STATUS_SUCCESS);
	kt_pair_open(&p);
	assert_int_equal(VmbPacketSend(s->packet, NULL, 0, mdl, KT_WAITED), STATUS_SUCCESS);
	expect_dead_queue(p.server);
	assert_int_equal(p.server->packet_count, 0);
	VmbChannelDisable(p.client->h);
	KT_EXPECT(p.server, "OSPUSPUC");
	kt_send_free(s);
	kt_pair_free(&p);
	kt_mdl_free(bus, mdl);
	kt_mdl_free(bus, next);
}

static void ddi_033_inv_048_too_much_external_data(void **state)
{
	external_beyond(*state, 5999, 32);
}

static void ddi_033_inv_048_too_long_a_chain(void **state)
{
	external_beyond(*state, 65536, 1);
}

/* ---- a guest of its own ---- */

static void raw_good(uint64_t number)
{
	struct vmbus_packet_out good = {
		.type = VMBUS_PKT_INBAND, .payload = &number, .payload_size = sizeof(number)};

	raw_write(&good);
}

/* A good packet arrives, the bad one and a good one behind it do not. */
static void expect_refused(struct kt_bus *bus, const struct vmbus_packet_out *bad)
{
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());

	enable(server);
	VmbChannelStart(server->h);
	raw_open(bus, server);
	raw_good(1);
	KT_WAIT(server->packet_count == 1);
	raw_write(bad);
	raw_good(2);
	expect_dead_queue(server);
	assert_int_equal(server->packet_count, 1);
	raw_close(bus);
	KT_EXPECT(server, "OSPUSPUC");
	kt_chan_free(server);
}

static void inv_048_unknown_packet_type(void **state)
{
	uint64_t data = 0;
	struct vmbus_packet_out bad = {.type = 0x63, .payload = &data, .payload_size = 8};

	expect_refused(*state, &bad);
}

static void inv_048_page_list_that_runs_out_of_its_header(void **state)
{
	/* one range of two pages, of which only one is there */
	uint32_t header[] = {0, 1, 8192, 0, 16, 0};
	uint64_t data = 0;
	struct vmbus_packet_out bad = {.type = VMBUS_PKT_GPA_DIRECT,
				       .flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED,
				       .transaction_id = 5,
				       .header = header,
				       .header_size = sizeof(header),
				       .payload = &data,
				       .payload_size = 8};

	expect_refused(*state, &bad);
}

static void inv_048_more_ranges_than_the_header_holds(void **state)
{
	uint32_t header[] = {0, 0xffffffff, 4096, 0, 16, 0};
	uint64_t data = 0;
	struct vmbus_packet_out bad = {.type = VMBUS_PKT_GPA_DIRECT,
				       .flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED,
				       .transaction_id = 5,
				       .header = header,
				       .header_size = sizeof(header),
				       .payload = &data,
				       .payload_size = 8};

	expect_refused(*state, &bad);
}

static void ddi_037_inv_041_completion_packet_only_if_asked_for(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());
	uint64_t data = 0x11, buffer[128];
	struct vmbus_packet_out packet = {
		.type = VMBUS_PKT_INBAND, .transaction_id = 7, .payload = &data, .payload_size = 8};
	struct vmbus_packet_in answer;

	enable(server); /* it echoes */
	VmbChannelStart(server->h);
	raw_open(bus, server);
	raw_write(&packet); /* does not ask */
	packet.flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED;
	packet.transaction_id = 0x123456789abcdef0;
	data = 0x22;
	raw_write(&packet);
	raw_read(buffer, sizeof(buffer), &answer);
	assert_int_equal(answer.type, VMBUS_PKT_COMPLETION);
	assert_int_equal(answer.transaction_id, 0x123456789abcdef0);
	assert_int_equal(answer.payload_size, 8);
	assert_memory_equal(answer.payload, &data, 8);
	KT_WAIT(server->batch_sum == 2);
	assert_int_equal(vmbus_ring_read(&raw.port.in, buffer, sizeof(buffer), &answer),
			 VMBUS_RING_EMPTY);
	raw_close(bus);
	KT_EXPECT(server, "OSPUC");
	kt_chan_free(server);
}

/* Completions that answer nothing are counted and dropped; the channel goes on. */
static void forged_completions_do_no_harm(void **state)
{
	static const uint64_t forged[] = {0, 1, 2, 0xffffffffffffffff, 0x100000001, 0xdeadbeef};
	struct kt_bus *bus = *state;
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());
	struct kt_send *s = kt_send_new(server);
	struct kmcl_channel_stats stats;

	enable(server);
	VmbChannelStart(server->h);
	raw_open(bus, server);
	assert_int_equal(kt_send_pattern(s, 64, 1, 0), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	for (unsigned int i = 0; i < 6; i++) {
		uint64_t data = 0x4141414141414141;
		struct vmbus_packet_out bad = {.type = VMBUS_PKT_COMPLETION,
					       .transaction_id = forged[i],
					       .payload = &data,
					       .payload_size = 8};

		raw_write(&bad);
	}
	raw_good(1);
	KT_WAIT(server->packet_count == 1);
	assert_int_equal(atomic_load(&s->routines), 1);
	assert_int_equal(kmcl_channel_statistics(part_server(bus->part), &stats, 1), 1);
	assert_int_equal(stats.dropped_completions, 6);
	raw_close(bus);
	KT_EXPECT(server, "OSPUC");
	kt_send_free(s);
	kt_chan_free(server);
}

/* The answer to a real request, twice. */
static void replayed_completions_do_no_harm(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());
	struct kt_send *s = kt_send_new(server);
	static uint64_t answer[64], buffer[1024];
	struct vmbus_packet_in request;
	struct vmbus_packet_out reply = {
		.type = VMBUS_PKT_COMPLETION, .payload = answer, .payload_size = 8};

	enable(server);
	VmbChannelStart(server->h);
	raw_open(bus, server);
	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	raw_read(buffer, sizeof(buffer), &request);
	assert_true(request.completion_requested);
	assert_true(kt_filled(request.payload, 64, 1));
	reply.transaction_id = request.transaction_id;
	raw_write(&reply);
	raw_write(&reply);
	raw_good(1);
	KT_WAIT(server->packet_count == 1);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(s->status, STATUS_SUCCESS);
	assert_int_equal(s->length, 8);
	raw_close(bus);
	KT_EXPECT(server, "OSPUC");
	assert_int_equal(atomic_load(&s->routines), 1);
	kt_send_free(s);
	kt_chan_free(server);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_034_inv_048_oversize_packet),
		KT_TEST(ddi_033_inv_048_too_much_external_data),
		KT_TEST(ddi_033_inv_048_too_long_a_chain),
		KT_TEST(inv_048_unknown_packet_type),
		KT_TEST(inv_048_page_list_that_runs_out_of_its_header),
		KT_TEST(inv_048_more_ranges_than_the_header_holds),
		KT_TEST(ddi_037_inv_041_completion_packet_only_if_asked_for),
		KT_TEST(forged_completions_do_no_harm),
		KT_TEST(replayed_completions_do_no_harm),
	};

	return KT_MAIN("kmcl-malformed", tests);
}
