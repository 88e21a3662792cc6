/* SPDX-License-Identifier: MIT */
/*
 * A guest process for tests that kill it: attaches, and keeps its channel busy for at most half a
 * minute.
 *   serve_guest SOCKET CLIENT.so
 */
#include <stdlib.h>
#include <time.h>

#include <kmcl/user.h>

#include "echo_ioctl.h"
#include "echo_protocol.h"

#define BYTES (64u << 10)

int main(int argc, char **argv)
{
	static uint8_t in[sizeof(struct echo_run) + BYTES],
		out[sizeof(struct echo_run_result) + BYTES];
	struct echo_run *run = (struct echo_run *)(void *)in;
	time_t end = time(NULL) + 30;
	kmcl_partition *partition;
	kmcl_driver *driver;
	size_t size;

	if (argc != 3 || kmcl_partition_create_user(argv[1], NULL, &partition, NULL) ||
	    kmcl_driver_load(partition, KMCL_CLIENT, argv[2], &driver, NULL))
		return 1;
	*run = (struct echo_run){
		.op = ECHO_OP_ECHO, .size = 1024, .window = 16, .total = BYTES, .tag = 1};
	while (time(NULL) < end)
		kmcl_device_control(driver, 0, ECHO_IOCTL_RUN, in, sizeof(in), out, sizeof(out),
				    &size);
	return 0;
}
