/* SPDX-License-Identifier: MIT */
/* Loading: what is wrong is named; what is loaded is unloaded without a trace. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kmcl/kmcl.h>
#include <kmcl/verify.h>

static kmcl_partition *partition;

static void quiet(void *ctx, enum kmcl_log_severity severity, const char *subsystem, uint32_t part,
		  uint32_t channel, const char *text)
{
}

static int start(void **state)
{
	kmcl_set_log(quiet, NULL);
	return kmcl_partition_create_loopback(NULL, &partition);
}

static int stop(void **state)
{
	kmcl_partition_destroy(partition);
	kmcl_set_log(NULL, NULL);
	return 0;
}

/* Fails with that code and a sentence that holds both texts. */
static void assert_refused(enum kmcl_end end, const char *spec, int code, const char *text,
			   const char *more)
{
	kmcl_driver *driver = (void *)&driver;
	char *error = NULL;

	assert_int_equal(kmcl_driver_load(partition, end, spec, &driver, &error), code);
	assert_null(driver);
	assert_non_null(error);
	if (!strstr(error, text) || !strstr(error, more))
		fail_msg("the sentence is: %s", error);
	kmcl_free(error);
	/* nobody has to want the sentence */
	assert_int_equal(kmcl_driver_load(partition, end, spec, &driver, NULL), code);
}

static const char *spec_of(const char *name, const char *options)
{
	static char spec[1024];

	snprintf(spec, sizeof(spec), "%s/%s.so%s", ODD_DRIVERS, name, options);
	return spec;
}

static void missing_file(void **state)
{
	assert_refused(KMCL_SERVER, "/no/such/driver.so", -ENOENT, "/no/such/driver.so",
		       "No such file");
	assert_refused(KMCL_SERVER, "", -EINVAL, "no driver file", "");
}

static void not_a_shared_object(void **state)
{
	assert_refused(KMCL_SERVER, __FILE__, -ENOEXEC, "cannot load driver", "");
}

static void missing_import_is_named(void **state)
{
	assert_refused(KMCL_SERVER, spec_of("odd_import", ""), -ENOEXEC, "ZwNothingThatThereIs",
		       "odd_import.so");
}

static void no_driver_entry(void **state)
{
	assert_refused(KMCL_SERVER, spec_of("odd_no_entry", ""), -ENOEXEC, "DriverEntry",
		       "odd_no_entry.so");
}

static void failing_driver_entry(void **state)
{
	assert_refused(KMCL_SERVER, spec_of("odd_entry", ""), -EIO, "DriverEntry failed",
		       "STATUS_REVISION_MISMATCH");
}

static void failing_add_device(void **state)
{
	assert_refused(KMCL_SERVER, spec_of("odd_add", ""), -ENODEV, "AddDevice",
		       "STATUS_INSUFFICIENT_RESOURCES");
}

static void failing_start(void **state)
{
	assert_refused(KMCL_SERVER, spec_of("odd_start", ""), -ENODEV, "start",
		       "STATUS_DEVICE_NOT_CONNECTED");
}

static void options_are_key_value(void **state)
{
	assert_refused(KMCL_SERVER, spec_of("odd_none", ",channels"), -EINVAL, "channels",
		       "key=value");
	assert_refused(KMCL_SERVER, spec_of("odd_none", ",=3"), -EINVAL, "=3", "key=value");
}

static void offer_keys_are_checked(void **state)
{
	assert_refused(KMCL_SERVER, spec_of("odd_none", ",offer.color=red"), -EINVAL, "offer.color",
		       "subchannel");
	assert_refused(KMCL_SERVER, spec_of("odd_none", ",offer.subchannel=x"), -EINVAL,
		       "offer.subchannel=x", "65535");
	assert_refused(KMCL_SERVER, spec_of("odd_none", ",offer.monitor=70000"), -EINVAL,
		       "offer.monitor=70000", "");
	assert_refused(KMCL_SERVER, spec_of("odd_none", ",offer.user_data=abc"), -EINVAL,
		       "offer.user_data", "hex");
	assert_refused(KMCL_SERVER, spec_of("odd_none", ",offer.dedicated=0"), -EINVAL,
		       "offer.dedicated", "");
}

/* ---- .inf ---- */

static void write_inf(const char *text, size_t size)
{
	char path[1024];
	FILE *f;

	snprintf(path, sizeof(path), "%s/odd_inf.inf", ODD_DRIVERS);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, size, f), size);
	fclose(f);
}

static int remove_inf(void **state)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/odd_inf.inf", ODD_DRIVERS);
	unlink(path);
	return 0;
}

static void inf_without_hardware_id(void **state)
{
	static const char text[] =
		"[Version]\r\n; VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01}\r\n";

	write_inf(text, sizeof(text) - 1);
	assert_refused(KMCL_CLIENT, spec_of("odd_inf", ""), -EINVAL, "odd_inf.inf",
		       "VMBUS\\{guid}");
	write_inf("", 0);
	assert_refused(KMCL_CLIENT, spec_of("odd_inf", ""), -EINVAL, "odd_inf.inf",
		       "VMBUS\\{guid}");
	/* a GUID that is cut off is none */
	write_inf("VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f0}", 43);
	assert_refused(KMCL_CLIENT, spec_of("odd_inf", ""), -EINVAL, "odd_inf.inf",
		       "VMBUS\\{guid}");
}

static void inf_too_long(void **state)
{
	char *text = malloc(70000);

	memset(text, '\n', 70000);
	write_inf(text, 70000);
	assert_refused(KMCL_CLIENT, spec_of("odd_inf", ""), -EFBIG, "odd_inf.inf", "too long");
	free(text);
}

/* A server's hardware ids are nobody's concern. */
static void inf_of_a_server_is_not_read(void **state)
{
	kmcl_driver *driver;
	char *error;

	write_inf("nothing", 7);
	assert_int_equal(
		kmcl_driver_load(partition, KMCL_SERVER, spec_of("odd_inf", ""), &driver, &error),
		0);
	assert_int_equal(kmcl_driver_unload(driver), 0);
}

/* ---- what works ---- */

static void a_client_without_inf_gets_one_device(void **state)
{
	kmcl_driver *driver;
	size_t returned = 5;
	char *error;

	assert_int_equal(
		kmcl_driver_load(partition, KMCL_CLIENT, spec_of("odd_none", ""), &driver, &error),
		0);
	assert_int_equal(kmcl_driver_devices(driver), 1);
	assert_int_equal(kmcl_driver_wait_devices(driver, 1, 0), 0);
	assert_int_equal(kmcl_driver_wait_devices(driver, 2, 20), -ETIMEDOUT);
	assert_int_equal(kmcl_device_control(driver, 0, 0x220000, NULL, 0, NULL, 0, &returned), 0);
	assert_int_equal(returned, 0);
	/* there is no second device */
	assert_int_equal(kmcl_device_control(driver, 1, 0x220000, NULL, 0, NULL, 0, NULL),
			 (kmcl_status)0xc000000e);
	assert_int_equal(kmcl_driver_unload(driver), 0);
}

static unsigned int leaks;

static void count_leaks(void *ctx, const char *rule, const char *driver, const char *text)
{
	assert_string_equal(rule, "pool-leak");
	leaks++;
}

static void leaks_are_counted(void **state)
{
	struct kmcl_verifier_options options;
	kmcl_driver *driver;
	char *error;

	for (int end = KMCL_SERVER; end <= KMCL_CLIENT; end++) {
		assert_int_equal(kmcl_driver_load(partition, (enum kmcl_end)end,
						  spec_of("odd_leak", ""), &driver, &error),
				 0);
		leaks = 0;
		kmcl_set_violation(count_leaks, NULL);
		assert_int_equal(kmcl_driver_unload(driver), 3);
		kmcl_set_violation(NULL, NULL);
		kmcl_verifier_get(&options);
		assert_int_equal(leaks, options.mode != KMCL_VERIFIER_OFF);
	}
}

static void loaded_again_and_again(void **state)
{
	kmcl_driver *driver;
	char *error;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(kmcl_driver_load(partition, KMCL_SERVER, spec_of("odd_none", ""),
						  &driver, &error),
				 0);
		assert_int_equal(kmcl_driver_devices(driver), 1);
		assert_int_equal(kmcl_driver_unload(driver), 0);
	}
}

static void destroy_unloads_what_is_left(void **state)
{
	kmcl_partition *other;
	kmcl_driver *driver;
	char *error;

	assert_int_equal(kmcl_partition_create_loopback(NULL, &other), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(kmcl_driver_load(other, i % 2 ? KMCL_CLIENT : KMCL_SERVER,
						  spec_of("odd_none", ""), &driver, &error),
				 0);
	kmcl_partition_destroy(other);
	kmcl_partition_destroy(NULL);
}

/* ---- linked in ---- */

static void hardware_ids_are_checked(void **state)
{
	static const char *const wrong[] = {"VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01}",
					    "PCI\\VEN_8086", NULL};
	kmcl_driver *driver;
	char *error = NULL;

	assert_int_equal(kmcl_driver_load_entry(partition, KMCL_CLIENT, "x", (void *)&driver, NULL,
						wrong, &driver, &error),
			 -EINVAL);
	assert_non_null(strstr(error, "PCI\\VEN_8086"));
	kmcl_free(error);
}

static void options_and_names(void **state)
{
	struct kmcl_partition_options options;
	kmcl_partition *other = NULL;

	kmcl_partition_options_init(&options);
	assert_int_equal(options.size, sizeof(options));
	options.size = 3;
	assert_int_equal(kmcl_partition_create_loopback(&options, &other), -EINVAL);
	assert_null(other);
	assert_string_equal(kmcl_status_name(0), "STATUS_SUCCESS");
	assert_string_equal(kmcl_status_name((kmcl_status)0xc000000d), "STATUS_INVALID_PARAMETER");
	assert_string_equal(kmcl_status_name((kmcl_status)0xefffffff), "0xefffffff");
	assert_non_null(kmcl_partition_vmbus_handle(partition));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(missing_file),
		cmocka_unit_test(not_a_shared_object),
		cmocka_unit_test(missing_import_is_named),
		cmocka_unit_test(no_driver_entry),
		cmocka_unit_test(failing_driver_entry),
		cmocka_unit_test(failing_add_device),
		cmocka_unit_test(failing_start),
		cmocka_unit_test(options_are_key_value),
		cmocka_unit_test(offer_keys_are_checked),
		cmocka_unit_test_teardown(inf_without_hardware_id, remove_inf),
		cmocka_unit_test_teardown(inf_too_long, remove_inf),
		cmocka_unit_test_teardown(inf_of_a_server_is_not_read, remove_inf),
		cmocka_unit_test(a_client_without_inf_gets_one_device),
		cmocka_unit_test(leaks_are_counted),
		cmocka_unit_test(loaded_again_and_again),
		cmocka_unit_test(destroy_unloads_what_is_left),
		cmocka_unit_test(hardware_ids_are_checked),
		cmocka_unit_test(options_and_names),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
