/* SPDX-License-Identifier: MIT */
/* What scribbling over shared memory brought to light, each made to happen every time. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "host/internal.h"
#include "partition/internal.h"

#include "echo_ioctl.h"
#include "support.h"

int echo_vsp_entry(void *driver, void *path);

struct unloading {
	kmcl_driver *driver;
	atomic_bool done;
};

static void *unload_run(void *arg)
{
	struct unloading *u = arg;

	kmcl_driver_unload(u->driver);
	atomic_store(&u->done, true);
	return NULL;
}

/* The I/O manager goes on with a request that the driver has completed: it copies the answer and
 * frees buffers of the driver's pool. Until then the driver stays. */
static void a_driver_stays_until_requests_have_left_it(void **state)
{
	struct unloading u = {0};
	kmcl_partition *partition;
	PDEVICE_OBJECT device;
	char *error = NULL;
	pthread_t thread;

	assert_int_equal(kmcl_partition_create_loopback(NULL, &partition), 0);
	assert_int_equal(kmcl_driver_load_entry(partition, KMCL_SERVER, "echo_vsp",
						(void *)(uintptr_t)echo_vsp_entry, NULL, NULL,
						&u.driver, &error),
			 0);
	device = nt_driver_device(u.driver->nt, 0); /* as a request under way holds it */
	assert_non_null(device);
	assert_int_equal(pthread_create(&thread, NULL, unload_run, &u), 0);
	nap_us(50000);
	assert_false(atomic_load(&u.done));
	nt_device_dereference(device);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&u.done));
	kmcl_partition_destroy(partition);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_driver_stays_until_requests_have_left_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
