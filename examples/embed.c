/* SPDX-License-Identifier: MIT */
/*
 * Embeds a bus whose transport is this file: a host's end and a guest's end that know nothing of
 * each other, and a machine between them that carries memory, messages and signals. Here both are
 * in one process and the machine is function calls; yours may be a hypervisor, a socket, a wire.
 *
 *   embed SERVER.so CLIENT.so IOCTL TEXT
 *
 * loads a server driver into the host and a client driver into the guest, sends TEXT to the client
 * as that device control, and prints what came back.
 */
#include <kmcl/vmm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROCESSORS 2

struct machine {
	kmcl_partition *host, *guest;
};

/* ---- host to guest ---- */

static void interrupt(void *ctx, uint32_t vp, uint32_t sint)
{
	struct machine *m = (struct machine *)ctx;

	(void)sint;
	kmcl_guest_interrupt(m->guest, vp);
}

/* ---- guest to host ---- */

static int synic(void *ctx, uint32_t vp, uint64_t message_page, uint64_t event_flag_page)
{
	return kmcl_host_synic(((struct machine *)ctx)->host, vp, message_page, event_flag_page);
}

static int mask(void *ctx, uint32_t vp, uint32_t sint, int masked)
{
	return kmcl_host_mask(((struct machine *)ctx)->host, vp, sint, masked);
}

static uint16_t post_message(void *ctx, uint32_t connection_id, uint32_t type, const void *payload,
			     size_t size)
{
	return kmcl_host_post_message(((struct machine *)ctx)->host, connection_id, type, payload,
				      size);
}

static uint16_t signal_event(void *ctx, uint32_t connection_id, uint16_t flag)
{
	return kmcl_host_signal_event(((struct machine *)ctx)->host, connection_id, flag);
}

static void end_of_message(void *ctx, uint32_t vp)
{
	(void)vp;
	kmcl_host_end_of_message(((struct machine *)ctx)->host);
}

static void reset(void *ctx)
{
	kmcl_host_reset(((struct machine *)ctx)->host);
}

/* ---- */

static kmcl_driver *load(kmcl_partition *partition, enum kmcl_end end, const char *spec)
{
	kmcl_driver *driver = NULL;
	char *error = NULL;

	if (kmcl_driver_load(partition, end, spec, &driver, &error) != 0) {
		fprintf(stderr, "%s\n", error ? error : "out of memory");
		kmcl_free(error);
	}
	return driver;
}

static int join(struct machine *m)
{
	uint64_t bytes;
	int fd = kmcl_guest_memory(m->guest, &bytes);
	int error = kmcl_host_add_memory(m->host, fd, 0, bytes, 0);

	return error ? error : kmcl_guest_connect(m->guest);
}

static int ask(kmcl_partition *guest, const char *spec, uint32_t code, const char *text)
{
	kmcl_driver *client = load(guest, KMCL_CLIENT, spec);
	char answer[4096];
	size_t size = 0;
	kmcl_status status;

	if (!client || kmcl_driver_wait_devices(client, 1, 10000) != 0)
		return 1;
	status = kmcl_device_control(client, 0, code, text, strlen(text), answer, sizeof(answer),
				     &size);
	if (status != 0) {
		fprintf(stderr, "%s\n", kmcl_status_name(status));
		return 1;
	}
	printf("%.*s\n", (int)size, answer);
	return 0;
}

int main(int argc, char **argv)
{
	struct machine m = {NULL, NULL};
	struct kmcl_host_machine for_host = {sizeof(for_host), PROCESSORS, interrupt};
	struct kmcl_guest_machine for_guest = {
		sizeof(for_guest), PROCESSORS,   synic,          mask,
		post_message,      signal_event, end_of_message, reset};
	int failed = 1;

	if (argc != 5) {
		fprintf(stderr, "usage: embed SERVER.so CLIENT.so IOCTL TEXT\n");
		return 2;
	}
	if (kmcl_partition_create_host(NULL, &for_host, &m, &m.host) == 0 &&
	    load(m.host, KMCL_SERVER, argv[1]) &&
	    kmcl_partition_create_guest(NULL, &for_guest, &m, &m.guest) == 0 && join(&m) == 0)
		failed = ask(m.guest, argv[2], (uint32_t)strtoul(argv[3], NULL, 0), argv[4]);
	kmcl_partition_destroy(m.guest);
	kmcl_partition_destroy(m.host);
	return failed;
}
