/* SPDX-License-Identifier: MIT */
/* Channels that are pipes: every packet is a message with its own header, of exactly the length
 * that was sent; no transactions, no external data. */
#include "harness.h"
#include "raw.h"

#include <openkmcl_ext.h>

#include "vmbus/pipe.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct kt_pair pipe_new(struct kt_bus *bus)
{
	struct kt_pair p = kt_pair_new(bus);

	assert_int_equal(VmbServerChannelInitSetFlags(p.server->h,
						      VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetFlags(p.client->h, VMBUS_CHANNEL_INIT_FLAG_IS_PIPE),
			 STATUS_SUCCESS);
	return p;
}

/* Messages of every length, around the padding above all, one way. */
static void exact_lengths(struct kt_chan *from, struct kt_chan *to)
{
	static const uint32_t lengths[] = {0,  1,  2,   7,   8,    9,    15,
					   16, 17, 100, 127, 1000, 4095, 4096};
	struct kt_send *s = kt_send_new(from);

	for (unsigned int i = 0; i < COUNT(lengths); i++) {
		uint32_t seen = lengths[i] < KT_PREFIX ? lengths[i] : KT_PREFIX;

		assert_int_equal(kt_send_pattern(s, lengths[i], i, 0), STATUS_SUCCESS);
		KT_WAIT(atomic_load(&s->routines) == i + 1 && to->packet_count == i + 1);
		assert_int_equal(s->status, STATUS_SUCCESS);
		assert_int_equal(to->packets[i].length, lengths[i]);
		assert_int_equal(to->packets[i].flags, 0);
		assert_true(kt_filled(to->packets[i].prefix, seen, i));
	}
	kt_send_free(s);
}

static void ddi_006_007_messages_keep_their_length_both_ways(void **state)
{
	struct kt_pair p = pipe_new(*state);

	kt_pair_open(&p);
	exact_lengths(p.client, p.server);
	exact_lengths(p.server, p.client);
	kt_pair_free(&p);
}

/* IS_PIPE makes a pipe of a server too, though its offer does not say so. */
static void ddi_006_031_the_servers_own_flag(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_chan *ends[] = {p.server, p.client};

	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(
			VmbChannelInitSetFlags(ends[i]->h, VMBUS_CHANNEL_INIT_FLAG_IS_PIPE),
			STATUS_SUCCESS);
	kt_pair_open(&p);
	exact_lengths(p.client, p.server);
	kt_pair_free(&p);
}

/* The flag replaces what was set before: without it lengths come padded. */
static void ddi_031_flags_replace_each_other(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct kt_chan *ends[] = {p.server, p.client};
	struct kt_send *s;

	for (unsigned int i = 0; i < 2; i++) {
		VMBCHANNEL c = ends[i]->h;

		assert_int_equal(VmbChannelInitSetFlags(c, VMBUS_CHANNEL_INIT_FLAG_IS_PIPE),
				 STATUS_SUCCESS);
		for (unsigned int bit = 1; bit < 32; bit++)
			assert_int_equal(VmbChannelInitSetFlags(c, 1u << bit),
					 STATUS_INVALID_PARAMETER_2);
		assert_int_equal(VmbChannelInitSetFlags(c, 0), STATUS_SUCCESS);
	}
	assert_int_equal(VmbChannelInitSetFlags(NULL, 0), STATUS_INVALID_PARAMETER_1);
	kt_pair_open(&p);
	assert_int_equal(VmbChannelInitSetFlags(p.client->h, 0), STATUS_INVALID_PARAMETER_1);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 9, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	assert_int_equal(p.server->packets[0].length, 16);
	kt_send_free(s);
	kt_pair_free(&p);
}

/* The bytes on the wire: type 1, the exact length, the message, zeroes to a multiple of 8. */
static void ddi_006_pipe_header_on_the_wire(void **state)
{
	static const uint8_t expected[] = {1, 0, 0, 0, 5, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'};
	struct kt_bus *bus = *state;
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());
	static uint64_t buffer[64];
	struct vmbus_packet_in packet;
	struct vmbus_packet_out message = {.type = VMBUS_PKT_INBAND,
					   .payload = expected,
					   .payload_size = 8,
					   .tail = expected + 8,
					   .tail_size = 5};
	struct kt_send *s;

	assert_int_equal(VmbServerChannelInitSetFlags(server->h,
						      VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	raw_open(bus, server);
	s = kt_send_new(server);
	assert_int_equal(VmbPacketSend(s->packet, "hello", 5, NULL, 0), STATUS_SUCCESS);
	raw_read(buffer, sizeof(buffer), &packet);
	assert_int_equal(packet.type, VMBUS_PKT_INBAND);
	assert_false(packet.completion_requested);
	assert_int_equal(packet.transaction_id, 0);
	assert_int_equal(packet.payload_size, 16);
	assert_memory_equal(packet.payload, expected, sizeof(expected));
	raw_write(&message);
	KT_WAIT(server->packet_count == 1);
	assert_int_equal(server->packets[0].length, 5);
	assert_memory_equal(server->packets[0].prefix, "hello", 5);
	/* completed with data, and nothing was sent for it */
	KT_WAIT(server->batch_sum == 1);
	assert_int_equal(vmbus_ring_read(&raw.port.in, buffer, sizeof(buffer), &packet),
			 VMBUS_RING_EMPTY);
	raw_close(bus);
	KT_EXPECT(server, "OSPUC");
	kt_send_free(s);
	kt_chan_free(server);
}

/* What is in the offer: the flag, and message mode in the first word of the user data. */
static void ddi_007_offer_says_message_mode(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());
	static const uint8_t rest[116];
	const struct vmbus_client_offer *offer;

	assert_int_equal(VmbServerChannelInitSetFlags(server->h,
						      VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	raw_open(bus, server);
	offer = part_client_offer(raw.ch);
	assert_int_equal(offer->flags, 0x10);
	assert_memory_equal(offer->user_data, "\4\0\0\0", 4);
	assert_memory_equal(offer->user_data + 4, rest, sizeof(rest));
	raw_close(bus);
	kt_chan_free(server);
}

static void ddi_006_no_transactions_and_no_external_data(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = pipe_new(bus);
	struct kt_chan *ends[] = {p.client, p.server};
	PMDL mdl = kt_mdl_alloc(bus, 64, NULL);
	LARGE_INTEGER now = {.QuadPart = 0};
	PFN_NUMBER pfn = 1;
	uint64_t data = 0;

	kt_pair_open(&p);
	for (unsigned int i = 0; i < 2; i++) {
		struct kt_send *s = kt_send_new(ends[i]);
		VMBPACKET packet = s->packet;

		assert_int_equal(VmbPacketSend(packet, &data, 8, NULL, KT_WAITED),
				 STATUS_NOT_SUPPORTED);
		assert_int_equal(VmbPacketSend(packet, &data, 8, mdl, KT_WAITED),
				 STATUS_NOT_SUPPORTED);
		assert_int_equal(
			VmbPacketSendWithExternalMdl(packet, &data, 8, mdl, 0, 0, KT_WAITED),
			STATUS_NOT_SUPPORTED);
		assert_int_equal(
			VmbPacketSendWithExternalPfns(packet, &data, 8, &pfn, 1, KT_WAITED),
			STATUS_NOT_SUPPORTED);
		assert_int_equal(kt_send_pattern(s, 5, 1, 0), STATUS_SUCCESS);
		KT_WAIT(ends[1 - i]->packet_count == 1); /* the first that arrived */
		kt_send_free(s);
	}
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, &data, 8, NULL, KT_WAITED,
							  NULL, NULL, NULL),
			 STATUS_NOT_SUPPORTED);
	/* both forms without a transaction are fine */
	assert_int_equal(
		VmbChannelSendSynchronousRequest(p.client->h, &data, 3, NULL, 0, NULL, NULL, NULL),
		STATUS_SUCCESS);
	assert_int_equal(
		VmbChannelSendSynchronousRequest(p.client->h, &data, 2, NULL, 0, NULL, NULL, &now),
		STATUS_SUCCESS);
	KT_WAIT(p.server->packet_count == 3);
	assert_int_equal(p.server->packets[1].length, 3);
	assert_int_equal(p.server->packets[2].length, 2);
	kt_pair_free(&p);
	kt_mdl_free(bus, mdl);
}

/* A message has at most 16,384 bytes, whatever the maximum packet size is. */
static void pipe_messages_have_a_limit_of_their_own(void **state)
{
	struct kt_pair p = pipe_new(*state);
	static uint8_t data[16385];
	struct kt_send *s;

	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 32768), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.server->h, 32768), STATUS_SUCCESS);
	kt_pair_open(&p);
	s = kt_send_new(p.client);
	kt_fill(data, sizeof(data), 7);
	assert_int_equal(KmclChannelMaximumOutgoingPacket(p.client->h), 16384);
	assert_int_equal(VmbPacketSend(s->packet, data, 16385, NULL, 0),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(VmbPacketSend(s->packet, data, 16384, NULL, 0), STATUS_SUCCESS);
	KT_WAIT(p.server->packet_count == 1);
	assert_int_equal(p.server->packets[0].length, 16384);
	assert_true(kt_filled(p.server->packets[0].prefix, KT_PREFIX, 7));
	kt_send_free(s);
	kt_pair_free(&p);
}

/* More messages than the ring holds: queued, and every one arrives with its length. */
static void ddi_006_a_full_pipe_queues(void **state)
{
	struct kt_pair p = pipe_new(*state);
	static struct kt_send *sends[400];

	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 4, 4),
			 STATUS_SUCCESS);
	kt_pair_open(&p);
	kt_block(p.client, p.server);
	for (unsigned int i = 0; i < COUNT(sends); i++) {
		sends[i] = kt_send_new(p.client);
		assert_int_equal(kt_send_pattern(sends[i], 100 + i, i, 0), STATUS_SUCCESS);
	}
	assert_int_equal(atomic_load(&sends[COUNT(sends) - 1]->routines), 0);
	kt_unblock(p.server, KT_EMPTY);
	KT_WAIT(p.server->packet_count == COUNT(sends));
	for (unsigned int i = 0; i < COUNT(sends); i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_int_equal(p.server->packets[i].length, 100 + i);
		assert_true(kt_filled(p.server->packets[i].prefix, 100, i));
		kt_send_free(sends[i]);
	}
	kt_pair_free(&p);
}

/* A peer that breaks the protocol: nothing of the packet, nor of what follows, is delivered. */
static void expect_broken(struct kt_bus *bus, const void *bytes, uint32_t size, uint16_t flags)
{
	struct kt_chan *server = kt_chan_new(bus, true, kt_type, kt_new_instance());
	static const uint8_t good[] = {1, 0, 0, 0, 1, 0, 0, 0, 'x', 0, 0, 0, 0, 0, 0, 0};
	struct vmbus_packet_out packet = {
		.type = VMBUS_PKT_INBAND, .payload = good, .payload_size = sizeof(good)};
	struct vmbus_packet_out bad = {.type = VMBUS_PKT_INBAND,
				       .flags = flags,
				       .transaction_id = flags ? 9 : 0,
				       .payload = bytes,
				       .payload_size = size};

	assert_int_equal(VmbChannelInitSetFlags(server->h, VMBUS_CHANNEL_INIT_FLAG_IS_PIPE),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelEnable(server->h), STATUS_SUCCESS);
	VmbChannelStart(server->h);
	raw_open(bus, server);
	raw_write(&packet);
	KT_WAIT(server->packet_count == 1);
	raw_write(&bad);
	raw_write(&packet);
	KT_STAYS(server->packet_count == 1);
	raw_close(bus);
	KT_EXPECT(server, "OSPUC");
	kt_chan_free(server);
}

static void ddi_006_inv_048_broken_pipe_packets(void **state)
{
	static const uint8_t longer[] = {1, 0, 0, 0, 9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
	static const uint8_t no_type[16] = {0, 0, 0, 0, 1};
	static const uint8_t unknown[16] = {6, 0, 0, 0, 1};
	static const uint8_t partial[16] = {2, 0, 0, 0, 8, 0, 1, 0};
	static const uint8_t over[4096 + 24] = {1, 0, 0, 0, 1, 0x10};
	static const uint8_t fine[16] = {1, 0, 0, 0, 8};

	expect_broken(*state, longer, sizeof(longer), 0);
	expect_broken(*state, no_type, sizeof(no_type), 0);
	expect_broken(*state, unknown, sizeof(unknown), 0);
	expect_broken(*state, partial, sizeof(partial), 0);
	expect_broken(*state, over, sizeof(over), 0); /* one byte over the maximum packet size */
	expect_broken(*state, NULL, 0, 0);            /* no room for a header */
	expect_broken(*state, fine, sizeof(fine), VMBUS_PKT_FLAG_COMPLETION_REQUESTED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_006_007_messages_keep_their_length_both_ways),
		KT_TEST(ddi_006_031_the_servers_own_flag),
		KT_TEST(ddi_031_flags_replace_each_other),
		KT_TEST(ddi_006_pipe_header_on_the_wire),
		KT_TEST(ddi_007_offer_says_message_mode),
		KT_TEST(ddi_006_no_transactions_and_no_external_data),
		KT_TEST(pipe_messages_have_a_limit_of_their_own),
		KT_TEST(ddi_006_a_full_pipe_queues),
		KT_TEST(ddi_006_inv_048_broken_pipe_packets),
	};

	return KT_MAIN("kmcl-pipe", tests);
}
