/* SPDX-License-Identifier: MIT */
/*
 * A program as a user of the installed library would write it, in C11, C17 and C++17 alike: loads a
 * server and a client driver, asks the client by device control what it received, and ends.
 *   host SERVER.so CLIENT.so
 */
#include <kmcl/kmcl.h>

#include <stdio.h>
#include <string.h>

/* CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS) */
#define IOCTL_ASK 0x00222000u

static int ask(kmcl_partition *partition, const char *client)
{
	static const char question[] = "is anybody there?";
	kmcl_driver *driver;
	char *error = NULL;
	char answer[64];
	size_t returned = 0;
	kmcl_status status;

	if (kmcl_driver_load(partition, KMCL_CLIENT, client, &driver, &error) != 0) {
		fprintf(stderr, "client: %s\n", error ? error : "no reason given");
		kmcl_free(error);
		return 1;
	}
	if (kmcl_driver_wait_devices(driver, 1, 10000) != 0) {
		fprintf(stderr, "client: no device\n");
		return 1;
	}
	status = kmcl_device_control(driver, 0, IOCTL_ASK, question, sizeof(question), answer,
				     sizeof(answer), &returned);
	if (status != 0) {
		fprintf(stderr, "client: %s\n", kmcl_status_name(status));
		return 1;
	}
	/* The answer is padded to 8 bytes on the wire. */
	if (returned < sizeof(question) || memcmp(answer, question, sizeof(question)) != 0) {
		fprintf(stderr, "client: %zu bytes of another answer\n", returned);
		return 1;
	}
	return kmcl_driver_unload(driver) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct kmcl_partition_options options;
	kmcl_partition *partition;
	kmcl_driver *server;
	char *error = NULL;
	int failed;

	if (argc != 3)
		return 2;
	kmcl_partition_options_init(&options);
	options.memory = 16u << 20;
	if (kmcl_partition_create_loopback(&options, &partition) != 0)
		return 1;
	if (kmcl_driver_load(partition, KMCL_SERVER, argv[1], &server, &error) != 0) {
		fprintf(stderr, "server: %s\n", error ? error : "no reason given");
		kmcl_free(error);
		return 1;
	}
	failed = ask(partition, argv[2]);
	kmcl_partition_destroy(partition);
	if (!failed)
		printf("%s\n", kmcl_version());
	return failed;
}
