/* SPDX-License-Identifier: MIT */
/* Captures as a program makes and reads them: the hosting API alone. */
#include "../drivers/echo_host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kmcl/trace.h>

#define OFFER_CHANNEL 1u
#define COMPLETION    11u

static char path[] = "/tmp/kmcl-capture-XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 || close(fd) ? -1 : 0;
}

static int remove_file(void **state)
{
	return unlink(path);
}

static kmcl_capture *open_capture(uint32_t end)
{
	struct kmcl_capture_options options;
	kmcl_capture *capture;

	kmcl_capture_options_init(&options);
	options.end = end;
	assert_int_equal(kmcl_capture_open(path, &options, &capture, NULL), 0);
	return capture;
}

struct seen {
	unsigned int records, repeated, offers, packets, completions, by_client;
};

static void look_at(struct seen *seen, const struct kmcl_trace_record *r)
{
	struct kmcl_packet packet;

	seen->records++;
	seen->by_client += r->by_client;
	if (r->kind == KMCL_TRACE_MESSAGE && r->data[0] == OFFER_CHANNEL) {
		assert_int_equal(r->size, 196);
		assert_string_equal(kmcl_interface_name(r->data + 8), "echo");
		seen->offers++;
		seen->repeated += r->flags & KMCL_TRACE_REPEATED;
		assert_true(!(r->flags & KMCL_TRACE_REPEATED) || !seen->packets);
	}
	if (r->kind == KMCL_TRACE_PACKET) {
		assert_int_equal(kmcl_packet_decode(r, &packet), 0);
		seen->packets++;
		seen->completions += packet.type == COMPLETION;
	}
}

static struct seen read_capture(void)
{
	struct kmcl_trace_record r;
	struct seen seen = {0};
	kmcl_trace *trace;
	char *error;
	int code;

	assert_int_equal(kmcl_trace_open(path, &trace, &error), 0);
	while ((code = kmcl_trace_next(trace, &r, &error)) == 1)
		look_at(&seen, &r);
	assert_int_equal(code, 0);
	assert_int_equal(kmcl_trace_dropped(trace), 0);
	kmcl_trace_close(trace);
	return seen;
}

static void begins_late_with_the_offers_that_stand(void **state)
{
	for (uint32_t end = KMCL_SERVER; end <= KMCL_CLIENT; end++) {
		kmcl_capture *capture = open_capture(end);
		struct kmcl_capture_counts counts;
		struct echo_host host;
		struct seen seen;

		echo_host_start(&host, 3, "channels=3", NULL);
		assert_alive(&host);
		assert_int_equal(kmcl_capture_start(capture, host.partition), 0);
		assert_alive(&host);
		assert_int_equal(kmcl_capture_close(capture, &counts), 0);
		assert_alive(&host);
		echo_host_stop(&host);
		seen = read_capture();
		assert_int_equal(seen.repeated, 3);
		assert_int_equal(seen.offers, 3);
		assert_int_equal(seen.packets, 2);
		assert_int_equal(seen.completions, 1);
		assert_int_equal(seen.records, counts.recorded);
		assert_int_equal(seen.by_client, end == KMCL_CLIENT ? seen.records : 0);
	}
}

static void may_outlive_its_partition(void **state)
{
	kmcl_capture *capture = open_capture(KMCL_SERVER);
	struct kmcl_partition_options options;
	kmcl_partition *partition, *other;
	struct seen seen;

	kmcl_partition_options_init(&options);
	options.capture = capture;
	assert_int_equal(kmcl_partition_create_loopback(&options, &partition), 0);
	assert_int_equal(kmcl_partition_create_loopback(NULL, &other), 0);
	assert_int_equal(kmcl_capture_start(capture, other), -EBUSY);
	kmcl_partition_destroy(partition);
	assert_int_equal(kmcl_capture_start(capture, other), -EBUSY);
	assert_int_equal(kmcl_capture_close(capture, NULL), 0);
	kmcl_partition_destroy(other);
	seen = read_capture();
	assert_true(seen.records >= 2); /* the contact and its answer at least */
	assert_int_equal(seen.offers, 0);
}

static void says_what_is_wrong(void **state)
{
	struct kmcl_capture_options options;
	kmcl_capture *capture;
	kmcl_trace *trace;
	char *error;

	assert_int_equal(kmcl_capture_open("/nowhere/at/all", NULL, &capture, &error), -ENOENT);
	assert_null(capture);
	assert_non_null(strstr(error, "/nowhere/at/all: No such file"));
	kmcl_free(error);
	kmcl_capture_options_init(&options);
	options.size--;
	assert_int_equal(kmcl_capture_open(path, &options, &capture, NULL), -EINVAL);
	kmcl_capture_options_init(&options);
	options.end = 2;
	assert_int_equal(kmcl_capture_open(path, &options, &capture, &error), -EINVAL);
	kmcl_free(error);
	assert_int_equal(kmcl_capture_close(NULL, NULL), 0);
	assert_int_equal(kmcl_trace_open("/nowhere/at/all", &trace, &error), -ENOENT);
	assert_null(trace);
	kmcl_free(error);
	kmcl_trace_close(NULL);
}

static void cuts_texts_that_are_too_long(void **state)
{
	const uint8_t message[8 + 4] = {2, 0, 0, 0, 0, 0, 0, 0, 0xd2, 4, 0, 0};
	struct kmcl_field fields[KMCL_MESSAGE_FIELDS];
	char text[8];

	assert_int_equal(kmcl_message_fields(message, sizeof(message), fields), 1);
	assert_string_equal(fields[0].name, "channel_id");
	assert_string_equal(kmcl_field_text(&fields[0], text, sizeof(text)), "1234");
	assert_string_equal(kmcl_field_text(&fields[0], text, 3), "12");
	assert_int_equal(kmcl_message_fields(message, 11, fields), 0);
	assert_int_equal(kmcl_message_fields(message, 7, fields), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_late_with_the_offers_that_stand),
		cmocka_unit_test(may_outlive_its_partition),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(cuts_texts_that_are_too_long),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
