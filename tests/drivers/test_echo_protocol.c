/* SPDX-License-Identifier: MIT */
/* The echo protocol, rule by rule, byte for byte, on the drivers as they are loaded. */
#include "echo_host.h"

#include <stdlib.h>
#include <string.h>

static struct echo_host host;
static struct raw_answer answer;

static int start(void **state)
{
	echo_host_start(&host, 2, NULL, "external=4096");
	return 0;
}

static int stop(void **state)
{
	echo_host_stop(&host);
	return 0;
}

static int forget(void **state)
{
	free(answer.external);
	answer.external = NULL;
	return 0;
}

static void transact(const struct raw_request *r)
{
	forget(NULL);
	echo_raw(&host, r, &answer);
}

static void simple(uint32_t op, uint32_t length, uint64_t tag)
{
	forget(NULL);
	echo_simple(&host, op, length, tag, &answer);
}

/* A request with data behind it; `size` bytes are sent whatever `length` says. */
static void send_data(uint32_t op, uint32_t length, uint64_t tag, const void *data, uint32_t size,
		      uint32_t flags)
{
	uint8_t *request = malloc(16 + size);
	struct echo_request head = {.op = op, .length = length, .tag = tag};
	struct raw_request r = {.request = request, .request_size = 16 + size, .flags = flags};

	memcpy(request, &head, sizeof(head));
	if (size)
		memcpy(request + 16, data, size);
	transact(&r);
	free(request);
}

static void send_external(uint32_t op, uint32_t length, uint64_t tag, const void *external,
			  uint32_t size)
{
	struct echo_request head = {.op = op, .length = length, .tag = tag};
	struct raw_request r = {
		.request = &head,
		.request_size = sizeof(head),
		.external = external,
		.external_size = size,
		.flags = ECHO_RAW_WAIT | (size ? ECHO_RAW_EXTERNAL : 0),
	};

	transact(&r);
}

static void send_pfns(uint32_t op, uint32_t length, const uint64_t *pfns, uint32_t count)
{
	struct echo_request head = {.op = op, .length = length, .tag = 77};
	struct raw_request r = {
		.request = &head,
		.request_size = sizeof(head),
		.external = pfns,
		.external_size = count * 8,
		.flags = ECHO_RAW_WAIT | ECHO_RAW_PFNS,
	};

	transact(&r);
}

static void send_gpadl(uint32_t length, uint32_t offset, uint64_t tag, const void *memory,
		       uint32_t size, uint32_t more_flags)
{
	struct echo_gpadl_request request = {
		.header = {.op = ECHO_OP_GPADL_SUM, .length = length, .tag = tag},
		.offset = offset,
	};
	struct raw_request r = {
		.request = &request,
		.request_size = sizeof(request),
		.external = memory,
		.external_size = size,
		.flags = ECHO_RAW_WAIT | ECHO_RAW_GPADL | more_flags,
	};

	transact(&r);
}

/* ---- ECHO ---- */

static void echo_returns_the_bytes_of_every_length(void **state)
{
	static const uint32_t lengths[] = {0,   1,    7,    8,    9,    15,   16,   17,  100,
					   255, 4079, 4080, 4081, 4096, 8000, 8191, 8192};
	uint8_t data[8192];

	fill_bytes(data, sizeof(data), 1);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		send_data(ECHO_OP_ECHO, lengths[i], 0x8877665544332211 + i, data, lengths[i],
			  ECHO_RAW_WAIT);
		assert_answered(&answer, ECHO_OP_ECHO, 0x8877665544332211 + i, lengths[i]);
		assert_memory_equal(answer.data, data, lengths[i]);
	}
}

static void echo_takes_no_more_than_length_says(void **state)
{
	uint8_t data[64];

	fill_bytes(data, sizeof(data), 2);
	send_data(ECHO_OP_ECHO, 10, 5, data, 64, ECHO_RAW_WAIT);
	assert_answered(&answer, ECHO_OP_ECHO, 5, 10);
	assert_memory_equal(answer.data, data, 10);
}

static void echo_refuses_more_than_8192(void **state)
{
	uint8_t data[9000];

	fill_bytes(data, sizeof(data), 3);
	send_data(ECHO_OP_ECHO, 8193, 6, data, 8193, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_ECHO, 6);
	send_data(ECHO_OP_ECHO, 9000, 7, data, 9000, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_ECHO, 7);
	assert_alive(&host);
}

static void echo_refuses_length_beyond_the_payload(void **state)
{
	uint8_t data[64] = {0};

	send_data(ECHO_OP_ECHO, 65, 8, data, 64, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_ECHO, 8);
	send_data(ECHO_OP_ECHO, 1, 9, NULL, 0, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_ECHO, 9);
	send_data(ECHO_OP_ECHO, 0xffffffff, 10, data, 64, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_ECHO, 10);
	send_data(ECHO_OP_ECHO, 0xfffffff0, 11, data, 64, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_ECHO, 11);
	assert_alive(&host);
}

static void a_packet_of_64_kib_is_refused_and_nothing_else(void **state)
{
	uint8_t *data = calloc(1, 65536);

	send_data(ECHO_OP_ECHO, 65536, 12, data, 65536, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_ECHO, 12);
	assert_alive(&host);
	free(data);
}

/* ---- SUM ---- */

static void sum_is_sha256_of_the_first_bytes(void **state)
{
	static const uint32_t sizes[] = {
		1, 55, 56, 63, 64, 65, 4095, 4096, 4097, 8192, 100000, 1 << 20, (4 << 20) - 4096};
	uint8_t *data = malloc(4 << 20), want[32];

	fill_bytes(data, 4 << 20, 4);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		send_external(ECHO_OP_SUM, sizes[i], i, data, sizes[i]);
		assert_answered(&answer, ECHO_OP_SUM, i, 32);
		sha256_of(data, sizes[i], want);
		assert_memory_equal(answer.data, want, 32);
		assert_memory_equal(answer.external, data, sizes[i]);
	}
	/* less than all of it */
	send_external(ECHO_OP_SUM, 5000, 99, data, 9000);
	assert_answered(&answer, ECHO_OP_SUM, 99, 32);
	sha256_of(data, 5000, want);
	assert_memory_equal(answer.data, want, 32);
	free(data);
}

static void sum_of_nothing_needs_no_external_data(void **state)
{
	uint8_t want[32], byte = 1;

	sha256_of("", 0, want);
	simple(ECHO_OP_SUM, 0, 13);
	assert_answered(&answer, ECHO_OP_SUM, 13, 32);
	assert_memory_equal(answer.data, want, 32);
	send_external(ECHO_OP_SUM, 0, 14, &byte, 1);
	assert_answered(&answer, ECHO_OP_SUM, 14, 32);
	assert_memory_equal(answer.data, want, 32);
}

static void sum_refuses_length_beyond_the_external_data(void **state)
{
	uint8_t data[4096] = {0};

	send_external(ECHO_OP_SUM, 4097, 15, data, 4096);
	assert_refused(&answer, ECHO_OP_SUM, 15);
	send_external(ECHO_OP_SUM, 0xffffffff, 16, data, 4096);
	assert_refused(&answer, ECHO_OP_SUM, 16);
	/* none at all; bytes in the payload do not count */
	send_data(ECHO_OP_SUM, 16, 17, data, 64, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_SUM, 17);
	assert_alive(&host);
}

static void sum_refuses_a_page_outside_guest_memory(void **state)
{
	const uint64_t pfns[] = {1, 0xfffffffffull};

	send_pfns(ECHO_OP_SUM, 8192, pfns, 2);
	assert_refused(&answer, ECHO_OP_SUM, 77);
	assert_alive(&host);
}

/* ---- SINK and STATS ---- */

static void read_stats(uint64_t *packets, uint64_t *bytes)
{
	simple(ECHO_OP_STATS, 0, 18);
	assert_answered(&answer, ECHO_OP_STATS, 18, 16);
	memcpy(packets, answer.data, 8);
	memcpy(bytes, answer.data + 8, 8);
}

static void sink_counts_and_stats_resets(void **state)
{
	uint64_t packets, bytes;
	uint8_t data[64] = {0};

	read_stats(&packets, &bytes);
	send_data(ECHO_OP_SINK, 64, 1, data, 64, 0);
	assert_int_equal(answer.size, 0);
	send_data(ECHO_OP_SINK, 5, 1, data, 64, 0);
	send_data(ECHO_OP_SINK, 0, 1, NULL, 0, 0);
	read_stats(&packets, &bytes);
	assert_int_equal(packets, 3);
	assert_int_equal(bytes, 69);
	read_stats(&packets, &bytes);
	assert_int_equal(packets, 0);
	assert_int_equal(bytes, 0);
}

static void sink_asked_for_a_completion_gives_status(void **state)
{
	uint64_t packets, bytes;
	uint8_t data[8] = {0};

	read_stats(&packets, &bytes);
	send_data(ECHO_OP_SINK, 8, 19, data, 8, ECHO_RAW_WAIT);
	assert_answered(&answer, ECHO_OP_SINK, 19, 0);
	read_stats(&packets, &bytes);
	assert_int_equal(packets, 1);
	assert_int_equal(bytes, 8);
}

static void a_refused_sink_is_not_counted(void **state)
{
	uint64_t packets, bytes;
	uint8_t data[8] = {0};

	read_stats(&packets, &bytes);
	send_data(ECHO_OP_SINK, 9, 20, data, 8, ECHO_RAW_WAIT);
	assert_refused(&answer, ECHO_OP_SINK, 20);
	send_data(ECHO_OP_SINK, 0xffffffff, 20, data, 8, 0);
	read_stats(&packets, &bytes);
	assert_int_equal(packets, 0);
	assert_int_equal(bytes, 0);
}

static void counters_belong_to_a_channel(void **state)
{
	struct echo_request head = {.op = ECHO_OP_STATS, .tag = 21};
	struct raw_request r = {
		.request = &head, .request_size = sizeof(head), .flags = ECHO_RAW_WAIT};
	uint64_t packets, bytes;

	read_stats(&packets, &bytes);
	send_data(ECHO_OP_SINK, 0, 1, NULL, 0, ECHO_RAW_WAIT);
	assert_int_equal(echo_raw_on(&host, 1, &r, &answer), 0);
	memcpy(&packets, answer.data, 8);
	assert_int_equal(packets, 0);
	read_stats(&packets, &bytes);
	assert_int_equal(packets, 1);
}

static void counters_start_at_0_at_each_open(void **state)
{
	uint64_t packets, bytes;

	send_data(ECHO_OP_SINK, 0, 1, NULL, 0, ECHO_RAW_WAIT);
	assert_int_equal(echo_control(host.client, 0, 0, ECHO_IOCTL_DISABLE), 0);
	assert_int_equal(echo_control(host.client, 0, 0, ECHO_IOCTL_ENABLE), 0);
	echo_wait_running(&host, 0, true);
	read_stats(&packets, &bytes);
	assert_int_equal(packets, 0);
	assert_int_equal(bytes, 0);
}

/* ---- FILL ---- */

static void fill_writes_the_pattern_and_no_more(void **state)
{
	static const uint32_t sizes[] = {1, 255, 256, 257, 4095, 4096, 4097, 70000, 1 << 20};
	uint8_t *data = malloc((1 << 20) + 100);

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		uint64_t tag = 0xfedcba98765432f7 + s;

		memset(data, 0x5a, sizes[s] + 100);
		send_external(ECHO_OP_FILL, sizes[s], tag, data, sizes[s] + 100);
		assert_answered(&answer, ECHO_OP_FILL, tag, 0);
		for (uint32_t i = 0; i < sizes[s]; i++)
			assert_int_equal(answer.external[i], (tag + i) & 0xff);
		for (uint32_t i = sizes[s]; i < sizes[s] + 100; i++)
			assert_int_equal(answer.external[i], 0x5a);
	}
	free(data);
}

static void fill_beyond_the_external_data_writes_nothing(void **state)
{
	uint8_t data[5000];

	memset(data, 0x5a, sizeof(data));
	send_external(ECHO_OP_FILL, 5001, 22, data, 5000);
	assert_refused(&answer, ECHO_OP_FILL, 22);
	assert_memory_equal(answer.external, data, sizeof(data));
	simple(ECHO_OP_FILL, 1, 23);
	assert_refused(&answer, ECHO_OP_FILL, 23);
	assert_alive(&host);
}

/* ---- GPADL_SUM ---- */

static void gpadl_sum_from_any_offset(void **state)
{
	static const struct {
		uint32_t offset, length;
	} parts[] = {{0, 100000},  {0, 0},    {100000, 0}, {1, 99999},
		     {4096, 4096}, {4095, 2}, {99999, 1},  {12345, 54321}};
	uint8_t *data = malloc(100000), want[32];

	fill_bytes(data, 100000, 5);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		send_gpadl(parts[i].length, parts[i].offset, i, data, 100000, ECHO_RAW_READ_ONLY);
		assert_answered(&answer, ECHO_OP_GPADL_SUM, i, 32);
		sha256_of(data + parts[i].offset, parts[i].length, want);
		assert_memory_equal(answer.data, want, 32);
	}
	/* a writable one as well */
	send_gpadl(100000, 0, 9, data, 100000, 0);
	assert_answered(&answer, ECHO_OP_GPADL_SUM, 9, 32);
	free(data);
}

static void gpadl_sum_refuses_what_lies_outside(void **state)
{
	uint8_t data[5000] = {0};

	send_gpadl(5001, 0, 24, data, 5000, 0);
	assert_refused(&answer, ECHO_OP_GPADL_SUM, 24);
	send_gpadl(1, 5000, 25, data, 5000, 0);
	assert_refused(&answer, ECHO_OP_GPADL_SUM, 25);
	send_gpadl(0, 5001, 26, data, 5000, 0);
	assert_refused(&answer, ECHO_OP_GPADL_SUM, 26);
	send_gpadl(0xffffffff, 0xffffffff, 27, data, 5000, 0);
	assert_refused(&answer, ECHO_OP_GPADL_SUM, 27);
	/* wraps in 32 bits */
	send_gpadl(2, 0xffffffff, 28, data, 5000, 0);
	assert_refused(&answer, ECHO_OP_GPADL_SUM, 28);
	assert_alive(&host);
}

static void gpadl_sum_refuses_an_unknown_gpadl(void **state)
{
	struct echo_gpadl_request request = {
		.header = {.op = ECHO_OP_GPADL_SUM, .length = 1, .tag = 29},
		.gpadl = 0x12345678,
	};
	struct raw_request r = {
		.request = &request, .request_size = sizeof(request), .flags = ECHO_RAW_WAIT};

	transact(&r);
	assert_refused(&answer, ECHO_OP_GPADL_SUM, 29);
	request.gpadl = 0;
	transact(&r);
	assert_refused(&answer, ECHO_OP_GPADL_SUM, 29);
	/* without the handle and the offset */
	simple(ECHO_OP_GPADL_SUM, 0, 30);
	assert_refused(&answer, ECHO_OP_GPADL_SUM, 30);
	assert_alive(&host);
}

/* ---- PUSH ---- */

static void push_sends_its_packets_before_its_completion(void **state)
{
	static const uint32_t totals[] = {1, 2, 31, 32, 33, 999, 1000};
	struct run_answer run;

	for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
		struct echo_run ask = {
			.op = ECHO_OP_PUSH,
			.size = 1000,
			.window = 1,
			.total = totals[i],
			.tag = 0x7000000000000000 + i,
		};

		echo_run_on(&host, 0, &ask, NULL, 0, &run);
		assert_int_equal(run.status, 0);
		assert_int_equal(run.result.status, 0);
		assert_int_equal(run.result.mismatches, 0);
		assert_int_equal(run.result.completed, 1);
		/* in order, with the right tag and zeros, all there when the completion came */
		assert_int_equal(run.result.pushes, totals[i]);
	}
}

static void pushes_of_two_requests_do_not_mix(void **state)
{
	struct echo_run ask = {
		.op = ECHO_OP_PUSH, .size = 500, .window = 4, .total = 10000, .tag = 1};
	struct run_answer run;

	echo_run_on(&host, 0, &ask, NULL, 0, &run);
	assert_int_equal(run.result.status, 0);
	assert_int_equal(run.result.mismatches, 0);
	assert_int_equal(run.result.completed, 20);
	assert_int_equal(run.result.pushes, 10000);
}

static void push_refuses_none_and_too_many(void **state)
{
	struct echo_info before, after;

	echo_query_client(&host, 0, &before);
	simple(ECHO_OP_PUSH, 0, 31);
	assert_refused(&answer, ECHO_OP_PUSH, 31);
	simple(ECHO_OP_PUSH, 1001, 32);
	assert_refused(&answer, ECHO_OP_PUSH, 32);
	simple(ECHO_OP_PUSH, 0xffffffff, 33);
	assert_refused(&answer, ECHO_OP_PUSH, 33);
	echo_query_client(&host, 0, &after);
	assert_int_equal(before.packets, after.packets);
	assert_alive(&host);
}

/* ---- what no op is ---- */

static void unknown_ops_are_refused(void **state)
{
	static const uint32_t ops[] = {0, 8, 9, 0x80000000, 0xffffffff};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		simple(ops[i], 0, 34 + i);
		assert_refused(&answer, ops[i], 34 + i);
	}
	assert_alive(&host);
}

/* On the wire a payload is a multiple of 8 bytes: the short ones are 0 and 8 long. */
static void short_packets_are_answered_with_what_they_have(void **state)
{
	static const uint8_t bytes[16] = {1, 0, 0, 0, 4, 3, 2, 1, 9, 9, 9, 9, 9, 9, 9, 9};
	struct raw_request r = {.request = bytes, .flags = ECHO_RAW_WAIT};

	transact(&r);
	assert_refused(&answer, 0, 0);
	for (r.request_size = 1; r.request_size <= 8; r.request_size++) {
		transact(&r);
		/* the sender's padding is zero */
		assert_refused(&answer, 1, 0);
	}
	assert_alive(&host);
}

static void short_packets_without_completion_are_survived(void **state)
{
	static const uint8_t bytes[8] = {7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
	struct raw_request r = {.request = bytes};

	for (r.request_size = 0; r.request_size <= 8; r.request_size += 8)
		transact(&r);
	assert_alive(&host);
}

static void instances_count_up_from_e0(void **state)
{
	struct echo_info info;
	uint8_t want[16] = {0};

	for (unsigned int i = 0; i < 2; i++) {
		echo_query_client(&host, i, &info);
		want[15] = (uint8_t)(0xe0 + i);
		assert_memory_equal(info.instance, want, 16);
	}
}

#define RULE(f) cmocka_unit_test_teardown(f, forget)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RULE(echo_returns_the_bytes_of_every_length),
		RULE(echo_takes_no_more_than_length_says),
		RULE(echo_refuses_more_than_8192),
		RULE(echo_refuses_length_beyond_the_payload),
		RULE(a_packet_of_64_kib_is_refused_and_nothing_else),
		RULE(sum_is_sha256_of_the_first_bytes),
		RULE(sum_of_nothing_needs_no_external_data),
		RULE(sum_refuses_length_beyond_the_external_data),
		RULE(sum_refuses_a_page_outside_guest_memory),
		RULE(sink_counts_and_stats_resets),
		RULE(sink_asked_for_a_completion_gives_status),
		RULE(a_refused_sink_is_not_counted),
		RULE(counters_belong_to_a_channel),
		RULE(counters_start_at_0_at_each_open),
		RULE(fill_writes_the_pattern_and_no_more),
		RULE(fill_beyond_the_external_data_writes_nothing),
		RULE(gpadl_sum_from_any_offset),
		RULE(gpadl_sum_refuses_what_lies_outside),
		RULE(gpadl_sum_refuses_an_unknown_gpadl),
		RULE(push_sends_its_packets_before_its_completion),
		RULE(pushes_of_two_requests_do_not_mix),
		RULE(push_refuses_none_and_too_many),
		RULE(unknown_ops_are_refused),
		RULE(short_packets_are_answered_with_what_they_have),
		RULE(short_packets_without_completion_are_survived),
		RULE(instances_count_up_from_e0),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
