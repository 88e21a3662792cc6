/* SPDX-License-Identifier: MIT */
/*
 * A process for tests that kill it, for at most half a minute: a guest that keeps its channel busy,
 * or a host.
 *   serve_guest SOCKET CLIENT.so
 *   serve_guest SOCKET SERVER.so serve
 */
#include <stdlib.h>
#include <time.h>

#include <kmcl/user.h>

#include "echo_ioctl.h"
#include "echo_protocol.h"

#define BYTES (64u << 10)

static int serve(const char *path, const char *driver)
{
	const struct timespec life = {.tv_sec = 30};
	kmcl_server *server;

	if (kmcl_server_create(path, NULL, &server, NULL) ||
	    kmcl_server_load(server, driver, NULL) || kmcl_server_start(server, NULL))
		return 1;
	nanosleep(&life, NULL);
	kmcl_server_destroy(server);
	return 0;
}

int main(int argc, char **argv)
{
	static uint8_t in[sizeof(struct echo_run) + BYTES],
		out[sizeof(struct echo_run_result) + BYTES];
	struct echo_run *run = (struct echo_run *)(void *)in;
	time_t end = time(NULL) + 30;
	kmcl_partition *partition;
	kmcl_driver *driver;
	size_t size;

	if (argc == 4)
		return serve(argv[1], argv[2]);
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
