/* SPDX-License-Identifier: MIT */
/*
 * The guest's end of vmbus-user, against a host whose packets are the input (user.h). Options: 1
 * the input begins with the first answer; otherwise the handshake is done for it. However it ends,
 * the partition can be taken down, and no descriptor is left behind.
 */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "partition/user.h"
#include "user.h"
#include "vmbus/wire.h"

#define VPS 2u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct host {
	int listener;
	const uint8_t *data;
	size_t size;
	char path[64];
};

/* ---- the host ---- */

static bool answer(int fd, enum user_op op, uint32_t size, uint32_t at, uint32_t value)
{
	struct user_out out;

	if (!user_take(fd, 10000, USER_HELLO, USER_RESET))
		return false;
	user_out_init(&out, op, size);
	if (at)
		vmbus_put32(out.data + at, value);
	return user_put(fd, &out);
}

static bool shake_hands(int fd)
{
	bool up = answer(fd, USER_HELLO_ACK, USER_HELLO_ACK_SIZE, 8, USER_VERSION) &&
		  answer(fd, USER_MEMORY_ACK, USER_MEMORY_ACK_SIZE, 0, 0);

	for (uint32_t vp = 0; up && vp < VPS; vp++)
		up = answer(fd, USER_SYNIC_ACK, USER_SYNIC_ACK_SIZE, 12, vp);
	return up;
}

static void *be_host(void *arg)
{
	struct host *h = arg;
	int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct user_input in = {h->data + 1, h->size - 1};
	struct user_out out;
	bool up = fd >= 0 && (h->data[0] & 1 || shake_hands(fd));

	while (up && user_next(&in, &out)) {
		up = user_put(fd, &out);
		up = user_take(fd, out.how & USER_HOW_WAIT ? 5 : 0, USER_HELLO, USER_RESET) && up;
	}
	/* It hears the end behind what was said, and never waits for an answer in vain. */
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void listen_at(struct host *h)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(h->path, sizeof(h->path), "/tmp/fuzz-user-guest.%d", (int)getpid());
	memcpy(address.sun_path, h->path, strlen(h->path) + 1);
	unlink(h->path);
	h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (h->listener < 0 || bind(h->listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(h->listener, 1))
		abort();
}

/* ---- the guest ---- */

static unsigned int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int count = 0;

	while (d && readdir(d))
		count++;
	if (d)
		closedir(d);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct user_guest_options options = {.part = {.memory = 16u << 20, .vps = VPS}};
	struct host h = {.data = data, .size = size};
	unsigned int before = descriptors();
	struct part *part = NULL;
	const char *why;
	pthread_t thread;
	int error;

	if (!size)
		return 0;
	listen_at(&h);
	if (pthread_create(&thread, NULL, be_host, &h))
		abort();
	error = user_guest_create(h.path, &options, &part, &why);
	pthread_join(thread, NULL);
	if (!error)
		part_destroy(part);
	close(h.listener);
	unlink(h.path);
	if (descriptors() != before)
		abort();
	return 0;
}
