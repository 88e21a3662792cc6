/* SPDX-License-Identifier: MIT */
/* "x.so,key=value,..." and the .inf beside it, as far as nothing is loaded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/internal.h"

/* 8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01 on the wire */
static const uint8_t echo_guid[16] = {0x6e, 0x2a, 0x7f, 0x8d, 0x0b, 0x4c, 0x2e, 0x4f,
				      0x9a, 0x53, 0x6b, 0x1c, 0x0e, 0x5d, 0x9f, 0x01};
#define ECHO_ID "VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01}"

static void a_spec_in_parts(void **state)
{
	struct host_spec spec;
	char *error = NULL;

	assert_int_equal(
		host_spec_parse("dir/echo.vsp.so,channels=4,offer.subchannel=2,name=a=b,"
				"offer.monitor=0x64,offer.user_data=0aFF,offer.dedicated=1",
				&spec, &error),
		0);
	assert_string_equal(spec.path, "dir/echo.vsp.so");
	assert_string_equal(spec.name, "echo.vsp");
	assert_int_equal(spec.parameter_count, 2);
	assert_string_equal(spec.parameters[0], "channels=4");
	assert_string_equal(spec.parameters[1], "name=a=b");
	assert_null(spec.parameters[2]);
	assert_int_equal(spec.offer.subchannel, 2);
	assert_true(spec.offer.monitored);
	assert_int_equal(spec.offer.monitor_latency, 100);
	assert_int_equal(spec.offer.user_data_size, 2);
	assert_int_equal(spec.offer.user_data[0], 0x0a);
	assert_int_equal(spec.offer.user_data[1], 0xff);
	host_spec_free(&spec);
}

/* dlopen would look for a bare name in the library path. */
static void a_bare_name_is_in_this_folder(void **state)
{
	struct host_spec spec;
	char *error = NULL;

	assert_int_equal(host_spec_parse("x.so", &spec, &error), 0);
	assert_string_equal(spec.path, "./x.so");
	assert_string_equal(spec.name, "x");
	assert_int_equal(spec.parameter_count, 0);
	host_spec_free(&spec);
}

static void words_are_split_like_a_spec(void **state)
{
	static const char *const words[] = {"a=1", "offer.subchannel=7", "b=", NULL};
	static const char *const wrong[] = {"a=1", "offer.x=7", NULL};
	struct host_spec spec;
	char *error = NULL;

	assert_int_equal(host_spec_words(words, &spec, &error), 0);
	assert_int_equal(spec.parameter_count, 2);
	assert_string_equal(spec.parameters[1], "b=");
	assert_int_equal(spec.offer.subchannel, 7);
	host_spec_free(&spec);
	assert_int_equal(host_spec_words(NULL, &spec, &error), 0);
	assert_null(spec.parameters);
	host_spec_free(&spec);
	assert_true(host_spec_words(wrong, &spec, &error) < 0);
	assert_non_null(strstr(error, "offer.x"));
	free(error);
}

static void hardware_ids(void **state)
{
	static const char *const wrong[] = {
		"",
		"VMBUS\\{",
		"VMBUS\\8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01",
		"VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01",
		"VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f0g}",
		"VMBUS\\{8d7f2a6e 4c0b-4f2e-9a53-6b1c0e5d9f01}",
		"VMBUS\\{8d7f2a6e4c0b4f2e9a536b1c0e5d9f01}",
		"USB\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01}",
	};
	struct vmbus_guid guid = {{0}};

	assert_true(host_parse_hardware_id(ECHO_ID, &guid));
	assert_memory_equal(guid.b, echo_guid, 16);
	memset(&guid, 0, sizeof(guid));
	assert_true(host_parse_hardware_id("vmbus\\{8D7F2A6E-4C0B-4F2E-9A53-6B1C0E5D9F01}", &guid));
	assert_memory_equal(guid.b, echo_guid, 16);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(host_parse_hardware_id(wrong[i], &guid));
}

/* Reads the ids of an .inf with that content. */
static unsigned int read_ids(const void *text, size_t size, struct vmbus_guid *ids)
{
	char folder[] = "/tmp/kmcl-spec-XXXXXX", inf[64], driver[64];
	unsigned int count = 99;
	char *error = NULL;
	FILE *f;

	assert_non_null(mkdtemp(folder));
	snprintf(inf, sizeof(inf), "%s/a.inf", folder);
	snprintf(driver, sizeof(driver), "%s/a.so", folder);
	f = fopen(inf, "wb");
	assert_int_equal(fwrite(text, 1, size, f), size);
	fclose(f);
	assert_int_equal(host_read_inf(driver, ids, &count, &error), 0);
	unlink(inf);
	/* none at all is fine, too */
	assert_int_equal(host_read_inf(driver, &ids[count], &(unsigned int){0}, &error), 0);
	rmdir(folder);
	return count;
}

static void inf_in_utf8(void **state)
{
	static const char text[] = "\xef\xbb\xbf[Devices]\r\n"
				   "%A% = Install, " ECHO_ID "\r\n"
				   "%B%=Install,vmbus\\{00000000-0000-0000-0000-000000000001}\n"
				   ";VMBUS\\{00000000-0000-0000-0000-000000000002}\n"
				   "%C%=Install, PCI\\VEN_8086 ; " ECHO_ID "\n"
				   "%D% = Install, VMBUS\\{00000000-0000-0000-0000-000000000003}";
	struct vmbus_guid ids[HOST_MAX_IDS] = {0};

	assert_int_equal(read_ids(text, sizeof(text) - 1, ids), 3);
	assert_memory_equal(ids[0].b, echo_guid, 16);
	assert_int_equal(ids[1].b[15], 1);
	assert_int_equal(ids[2].b[15], 3);
}

static void inf_in_utf16(void **state)
{
	static const char ascii[] = "[Devices]\r\n%A% = Install, " ECHO_ID "\r\n";
	uint8_t text[2 + 2 * sizeof(ascii) + 1] = {0xff, 0xfe};
	struct vmbus_guid ids[HOST_MAX_IDS] = {0};

	for (size_t i = 0; i < sizeof(ascii) - 1; i++)
		text[2 + 2 * i] = (uint8_t)ascii[i];
	assert_int_equal(read_ids(text, 2 + 2 * (sizeof(ascii) - 1), ids), 1);
	assert_memory_equal(ids[0].b, echo_guid, 16);
	/* an odd byte at the end hurts nobody, nor do letters beyond ASCII */
	text[2] = 0xe4;
	text[3] = 0x01;
	memset(ids, 0, sizeof(ids));
	assert_int_equal(read_ids(text, 2 + 2 * (sizeof(ascii) - 1) + 1, ids), 1);
}

static void inf_with_too_many_ids(void **state)
{
	struct vmbus_guid ids[HOST_MAX_IDS + 1] = {0};
	char text[4096] = "";

	for (int i = 0; i < 40; i++)
		strcat(text, ECHO_ID "\n");
	assert_int_equal(read_ids(text, strlen(text), ids), HOST_MAX_IDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_spec_in_parts),
		cmocka_unit_test(a_bare_name_is_in_this_folder),
		cmocka_unit_test(words_are_split_like_a_spec),
		cmocka_unit_test(hardware_ids),
		cmocka_unit_test(inf_in_utf8),
		cmocka_unit_test(inf_in_utf16),
		cmocka_unit_test(inf_with_too_many_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
