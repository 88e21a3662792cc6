/* SPDX-License-Identifier: MIT */
/*
 * The echo server as a client sees it that is not ours: packets put into the ring by hand, and the
 * answers read from the ring, byte for byte.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "host/internal.h"
#include "vmbus/packet.h"
#include "vmbus/ring.h"

#include "echo_protocol.h"

#define DEADLINE_NS 20000000000ull
#define BAD_PFN     0xfffffffffull

DRIVER_INITIALIZE DriverEntry;

static struct {
	kmcl_partition *partition;
	kmcl_driver *driver;
	struct part_endpoint *ep;
	struct part_client_listener listener;
	_Atomic(struct part_client_channel *) channel;
	struct part_port port;
	_Alignas(8) uint8_t packet[65536];
	struct vmbus_packet_in in;
} guest;

static void nap(void)
{
	struct timespec t = {.tv_nsec = 100000};

	nanosleep(&t, NULL);
}

/* ---- a guest that speaks for itself ---- */

static void on_rescind(void *owner)
{
}

static const struct part_client_channel_ops channel_ops = {.rescind = on_rescind};

static void on_offered(struct part_client_listener *l, struct part_client_channel *ch)
{
	if (!part_client_claim(ch, &channel_ops, &guest))
		atomic_store(&guest.channel, ch);
}

static void on_withdrawn(struct part_client_listener *l, struct part_client_channel *ch)
{
}

static void connect_guest(uint32_t out_pages, uint32_t in_pages)
{
	uint64_t end = clock_now_ns() + DEADLINE_NS;
	uint32_t status = 0;
	char *error = NULL;

	memset(&guest, 0, sizeof(guest));
	assert_int_equal(kmcl_partition_create_loopback(NULL, &guest.partition), 0);
	assert_int_equal(kmcl_driver_load_entry(guest.partition, KMCL_SERVER, "echo_vsp",
						(void *)(uintptr_t)DriverEntry, NULL, NULL,
						&guest.driver, &error),
			 0);
	guest.ep = part_client(guest.partition->part);
	guest.listener.offered = on_offered;
	guest.listener.withdrawn = on_withdrawn;
	assert_int_equal(part_client_listen(guest.ep, &guest.listener), 0);
	while (!atomic_load(&guest.channel) && clock_now_ns() < end)
		nap();
	assert_non_null(atomic_load(&guest.channel));
	assert_int_equal(
		part_client_open(guest.channel, &guest.port, out_pages, in_pages, 0, &status), 0);
}

static void disconnect_guest(void)
{
	part_client_close(guest.channel);
	part_client_free_rings(guest.channel, &guest.port);
	part_client_unlisten(guest.ep, &guest.listener);
	part_client_put(guest.channel);
	assert_int_equal(kmcl_driver_unload(guest.driver), 0);
	kmcl_partition_destroy(guest.partition);
}

static void put(const struct vmbus_packet_out *packet)
{
	assert_int_equal(vmbus_ring_write(&guest.port.out, packet), VMBUS_RING_OK);
	if (vmbus_ring_publish(&guest.port.out))
		part_port_signal(&guest.port);
}

static void put_request(const void *bytes, uint32_t size, uint64_t id)
{
	struct vmbus_packet_out packet = {
		.type = VMBUS_PKT_INBAND,
		.flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED,
		.transaction_id = id,
		.payload = bytes,
		.payload_size = size,
	};

	put(&packet);
}

/* The next packet of the server's. */
static void take(void)
{
	uint64_t end = clock_now_ns() + DEADLINE_NS;
	enum vmbus_ring_result result;

	while ((result = vmbus_ring_read(&guest.port.in, guest.packet, sizeof(guest.packet),
					 &guest.in)) == VMBUS_RING_EMPTY) {
		if (clock_now_ns() > end)
			fail_msg("no answer came");
		nap();
	}
	assert_int_equal(result, VMBUS_RING_OK);
	if (vmbus_ring_release(&guest.port.in))
		part_port_signal(&guest.port);
}

static void expect_completion(uint64_t id, const void *payload, uint32_t size)
{
	take();
	assert_int_equal(guest.in.type, VMBUS_PKT_COMPLETION);
	assert_int_equal(guest.in.transaction_id, id);
	assert_int_equal(guest.in.header_size, 16);
	assert_int_equal(guest.in.payload_size, size);
	assert_memory_equal(guest.in.payload, payload, size);
}

static void expect_refusal(uint64_t id, uint32_t op, uint64_t tag)
{
	struct echo_completion want = {
		.op = op, .status = ECHO_STATUS_INVALID_PARAMETER, .tag = tag};

	expect_completion(id, &want, sizeof(want));
}

static void expect_alive(void)
{
	static const uint8_t request[] = {1,    0,    0,    0,    3,    0,    0,    0,
					  0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
					  'a',  'b',  'c',  0,    0,    0,    0,    0};
	static const uint8_t answer[] = {1,    0,    0,    0,    0,    0,    0,    0,
					 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
					 'a',  'b',  'c',  0,    0,    0,    0,    0};

	put_request(request, sizeof(request), 0xabcdef);
	expect_completion(0xabcdef, answer, sizeof(answer));
}

/* ---- tests ---- */

static void echo_in_bytes(void **state)
{
	connect_guest(5, 5);
	expect_alive();
	disconnect_guest();
}

/* A ring of 4096 bytes can hold 4088: descriptor 16, payload 4064, trailer 8; the library stays one
 * unit below. */
static void an_answer_the_ring_never_holds_is_refused(void **state)
{
	struct {
		struct echo_request head;
		uint8_t data[8192];
	} request = {{ECHO_OP_ECHO, 4040, 5}, {0}};
	struct echo_completion *answer = (void *)&request.head;

	for (unsigned int i = 0; i < sizeof(request.data); i++)
		request.data[i] = (uint8_t)(i * 3);
	connect_guest(6, 2);
	put_request(&request, sizeof(request), 1);
	answer->status = 0;
	expect_completion(1, &request, 16 + 4040);
	for (uint32_t length = 4049; length <= 8192; length += 829) {
		request.head.length = length;
		put_request(&request, sizeof(request), length);
		expect_refusal(length, ECHO_OP_ECHO, 5);
	}
	expect_alive();
	disconnect_guest();
}

static void short_packets_in_bytes(void **state)
{
	static const uint8_t eight[8] = {0x78, 0x56, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff};

	connect_guest(5, 5);
	put_request(NULL, 0, 7);
	expect_refusal(7, 0, 0);
	put_request(eight, 8, 8);
	expect_refusal(8, 0x12345678, 0);
	expect_alive();
	disconnect_guest();
}

static void a_sink_without_completion_gets_none(void **state)
{
	struct echo_request request = {.op = ECHO_OP_SINK};
	struct vmbus_packet_out packet = {
		.type = VMBUS_PKT_INBAND,
		.payload = &request,
		.payload_size = sizeof(request),
	};
	struct echo_stats want = {.header = {.op = ECHO_OP_STATS, .tag = 4}, .packets = 100};
	struct echo_request stats = {.op = ECHO_OP_STATS, .tag = 4};

	connect_guest(5, 5);
	for (int i = 0; i < 100; i++)
		put(&packet);
	put_request(&stats, sizeof(stats), 9);
	expect_completion(9, &want, sizeof(want));
	disconnect_guest();
}

/* ---- external data ---- */

static void put_external(const struct echo_request *request, const uint64_t *words,
			 uint32_t word_count, uint32_t ranges, uint64_t id)
{
	_Alignas(8) uint8_t header[512];
	struct vmbus_packet_out packet = {
		.type = VMBUS_PKT_GPA_DIRECT,
		.flags = VMBUS_PKT_FLAG_COMPLETION_REQUESTED,
		.transaction_id = id,
		.header = header,
		.header_size = vmbus_packet_gpa_direct_size(word_count),
		.payload = request,
		.payload_size = sizeof(*request),
	};

	assert_true(packet.header_size <= sizeof(header));
	vmbus_packet_put_gpa_direct(header, words, word_count, ranges);
	put(&packet);
}

static void fill_with_a_bad_page_writes_nothing(void **state)
{
	struct echo_request request = {.op = ECHO_OP_FILL, .length = 12288, .tag = 1};
	uint64_t gpa, words[4] = {12288};
	uint8_t *page;

	connect_guest(5, 5);
	assert_int_equal(part_pages_alloc(guest.ep, 2, &gpa), 0);
	page = part_memory_at(guest.ep, gpa, 8192);
	for (unsigned int bad = 0; bad < 3; bad++) {
		memset(page, 0x5a, 8192);
		words[1] = gpa >> 12;
		words[2] = (gpa >> 12) + 1;
		words[3] = gpa >> 12;
		words[1 + bad] = BAD_PFN;
		put_external(&request, words, 4, 1, 10 + bad);
		expect_refusal(10 + bad, ECHO_OP_FILL, 1);
		for (unsigned int i = 0; i < 8192; i++)
			assert_int_equal(page[i], 0x5a);
	}
	expect_alive();
	part_pages_free(guest.ep, gpa, 2);
	disconnect_guest();
}

/* SHA-256 of "abc", the letters in three ranges at odd offsets of three pages in reverse order. */
static const uint8_t abc[32] = {
	0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
	0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
	0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
};

static void scatter_abc(uint64_t gpa, uint64_t words[6])
{
	uint8_t *pages = part_memory_at(guest.ep, gpa, 3 * 4096);

	for (unsigned int i = 0; i < 3; i++) {
		uint64_t offset = 4095 - i;

		words[2 * i] = 1 | offset << 32;
		words[2 * i + 1] = (gpa >> 12) + 2 - i;
		pages[(2 - i) * 4096 + offset] = (uint8_t)('a' + i);
	}
}

static void sum_over_several_ranges(void **state)
{
	struct echo_request request = {.op = ECHO_OP_SUM, .length = 3, .tag = 6};
	struct echo_digest want = {.header = {.op = ECHO_OP_SUM, .tag = 6}};
	uint64_t gpa, words[6];

	connect_guest(5, 5);
	assert_int_equal(part_pages_alloc(guest.ep, 3, &gpa), 0);
	scatter_abc(gpa, words);
	memcpy(want.digest, abc, sizeof(abc));
	put_external(&request, words, 6, 3, 1);
	expect_completion(1, &want, sizeof(want));
	request.length = 4;
	put_external(&request, words, 6, 3, 2);
	expect_refusal(2, ECHO_OP_SUM, 6);
	part_pages_free(guest.ep, gpa, 3);
	disconnect_guest();
}

/* The pattern goes on from range to range. */
static void fill_over_several_ranges(void **state)
{
	struct echo_request request = {.op = ECHO_OP_FILL, .length = 5000, .tag = 0xfe};
	struct echo_completion want = {.op = ECHO_OP_FILL, .tag = 0xfe};
	uint64_t gpa, words[6];
	uint8_t *page;

	connect_guest(5, 5);
	assert_int_equal(part_pages_alloc(guest.ep, 3, &gpa), 0);
	page = part_memory_at(guest.ep, gpa, 3 * 4096);
	memset(page, 0x5a, 3 * 4096);
	words[0] = 904 | 100ull << 32;
	words[1] = (gpa >> 12) + 2;
	words[2] = 1 | 4095ull << 32;
	words[3] = (gpa >> 12) + 1;
	words[4] = 4096;
	words[5] = gpa >> 12;
	put_external(&request, words, 6, 3, 1);
	expect_completion(1, &want, sizeof(want));
	for (unsigned int i = 0; i < 5000; i++) {
		uint8_t byte = i < 904   ? page[8192 + 100 + i]
			       : i < 905 ? page[8191]
					 : page[i - 905];

		assert_int_equal(byte, (0xfe + i) & 0xff);
	}
	/* what lies before, between and after is as it was */
	assert_int_equal(page[8192 + 99], 0x5a);
	assert_int_equal(page[8192 + 1004], 0x5a);
	assert_int_equal(page[8190], 0x5a);
	assert_int_equal(page[4095], 0x5a);
	part_pages_free(guest.ep, gpa, 3);
	disconnect_guest();
}

static void gpadl_sum_over_several_ranges(void **state)
{
	struct echo_gpadl_request request = {.header = {ECHO_OP_GPADL_SUM, 3, 8}};
	struct echo_digest want = {.header = {.op = ECHO_OP_GPADL_SUM, .tag = 8}};
	uint64_t gpa, words[6];

	connect_guest(5, 5);
	assert_int_equal(part_pages_alloc(guest.ep, 3, &gpa), 0);
	scatter_abc(gpa, words);
	assert_int_equal(
		part_client_gpadl_create(guest.channel, words, 6, 3, false, &request.gpadl), 0);
	memcpy(want.digest, abc, sizeof(abc));
	put_request(&request, sizeof(request), 1);
	expect_completion(1, &want, sizeof(want));
	request.offset = 1;
	put_request(&request, sizeof(request), 2);
	expect_refusal(2, ECHO_OP_GPADL_SUM, 8);
	assert_int_equal(part_client_gpadl_delete(guest.channel, request.gpadl), 0);
	/* gone now */
	request.offset = 0;
	put_request(&request, sizeof(request), 3);
	expect_refusal(3, ECHO_OP_GPADL_SUM, 8);
	part_pages_free(guest.ep, gpa, 3);
	disconnect_guest();
}

/* ---- pushes ---- */

/* A thousand packets do not fit a ring of 4096 bytes: the server waits for room, then completes. */
static void pushes_in_bytes(void **state)
{
	struct echo_request request = {.op = ECHO_OP_PUSH, .length = 1000, .tag = 0x55};
	struct echo_completion want = {.op = ECHO_OP_PUSH, .tag = 0x55};
	struct echo_push push = {.tag = 0x55};

	connect_guest(2, 2);
	put_request(&request, sizeof(request), 77);
	for (push.sequence = 0; push.sequence < 1000; push.sequence++) {
		take();
		assert_int_equal(guest.in.type, VMBUS_PKT_INBAND);
		assert_false(guest.in.completion_requested);
		assert_int_equal(guest.in.payload_size, 64);
		assert_memory_equal(guest.in.payload, &push, 64);
	}
	expect_completion(77, &want, sizeof(want));
	disconnect_guest();
}

/* The guest goes away while pushes wait for room and a GPADL_SUM waits in line. */
static void the_guest_leaves_in_the_middle(void **state)
{
	struct echo_request request = {.op = ECHO_OP_PUSH, .length = 1000, .tag = 1};
	struct echo_gpadl_request sum = {.header = {ECHO_OP_GPADL_SUM, 4 << 20, 8}};
	uint64_t gpa, *words = calloc(1025, sizeof(*words));

	connect_guest(5, 2);
	assert_int_equal(part_pages_alloc(guest.ep, 1024, &gpa), 0);
	words[0] = 4 << 20;
	for (unsigned int i = 0; i < 1024; i++)
		words[1 + i] = (gpa >> 12) + i;
	assert_int_equal(part_client_gpadl_create(guest.channel, words, 1025, 1, true, &sum.gpadl),
			 0);
	for (unsigned int i = 0; i < 8; i++)
		put_request(&request, sizeof(request), i + 1);
	/* the first PUSH is under way, and stops when the ring is full */
	take();
	assert_int_equal(guest.in.type, VMBUS_PKT_INBAND);
	for (unsigned int i = 0; i < 8; i++)
		put_request(&sum, sizeof(sum), i + 9);
	nap();
	part_client_close(guest.channel);
	assert_int_equal(part_client_gpadl_delete(guest.channel, sum.gpadl), 0);
	part_client_free_rings(guest.channel, &guest.port);
	part_pages_free(guest.ep, gpa, 1024);
	free(words);
	part_client_unlisten(guest.ep, &guest.listener);
	part_client_put(guest.channel);
	assert_int_equal(kmcl_driver_unload(guest.driver), 0);
	kmcl_partition_destroy(guest.partition);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(echo_in_bytes),
		cmocka_unit_test(an_answer_the_ring_never_holds_is_refused),
		cmocka_unit_test(short_packets_in_bytes),
		cmocka_unit_test(a_sink_without_completion_gets_none),
		cmocka_unit_test(fill_with_a_bad_page_writes_nothing),
		cmocka_unit_test(sum_over_several_ranges),
		cmocka_unit_test(fill_over_several_ranges),
		cmocka_unit_test(gpadl_sum_over_several_ranges),
		cmocka_unit_test(pushes_in_bytes),
		cmocka_unit_test(the_guest_leaves_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
