/* SPDX-License-Identifier: MIT */
/*
 * The host's end of vmbus-user, against a guest whose packets and descriptors are the input
 * (user.h). Options: 1 the handshake is done for it, 2 memory and SynIC too. However it ends, the
 * host lets go of the connection, and no descriptor is left behind.
 */
#include <dirent.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "partition/user.h"
#include "user.h"
#include "vmbus/wire.h"

#define MEMORY (64u * 4096u)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool joined(void *owner, struct part *part)
{
	return true;
}

static void left(void *owner, struct part *part)
{
}

static void gone(void *owner)
{
	atomic_store((atomic_bool *)owner, true);
}

static void hello(int fd)
{
	struct user_out out;

	user_out_init(&out, USER_HELLO, USER_HELLO_SIZE);
	vmbus_put32(out.data + 8, USER_VERSION);
	vmbus_put32(out.data + 12, 2);
	user_put(fd, &out);
}

static void show(int fd)
{
	struct user_out out;

	user_out_init(&out, USER_MEMORY, USER_MEMORY_SIZE);
	vmbus_put64(out.data + 16, MEMORY);
	out.fds[out.fd_count++] = user_memory(MEMORY);
	user_put(fd, &out);
	user_out_init(&out, USER_SYNIC, USER_SYNIC_SIZE);
	vmbus_put64(out.data + 16, 0x1000);
	vmbus_put64(out.data + 24, 0x2000);
	out.fds[out.fd_count++] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	out.fds[out.fd_count++] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	user_put(fd, &out);
}

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

static void talk(int fd, const uint8_t *data, size_t size)
{
	struct user_input in = {data + 1, size - 1};
	struct user_out out;
	bool up = true;

	if (data[0] & 3)
		hello(fd);
	if (data[0] & 2)
		show(fd);
	while (up && user_next(&in, &out)) {
		up = user_put(fd, &out);
		up = user_take(fd, out.how & USER_HOW_WAIT ? 5 : 0, USER_HELLO_ACK, USER_ERROR) &&
		     up;
	}
	/* What was sent is read before the end is. */
	shutdown(fd, SHUT_WR);
	while (user_take(fd, 20000, USER_HELLO_ACK, USER_ERROR))
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	atomic_bool over = false;
	struct user_host_options options = {
		.part = {.server_dispatchers = 1},
		.memory_limit = 1u << 20,
		.joined = joined,
		.left = left,
		.gone = gone,
		.owner = &over,
	};
	unsigned int before = descriptors();
	struct user_host *host;
	int pair[2];

	if (!size)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) ||
	    user_host_serve(pair[0], &options, &host))
		abort();
	talk(pair[1], data, size);
	close(pair[1]);
	user_host_join(host);
	if (!atomic_load(&over) || descriptors() != before)
		abort();
	return 0;
}
