/* SPDX-License-Identifier: MIT */
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmbus/wire.h"

#define PAGE 4096u

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

/* ---- descriptors ---- */

int user_memory(uint64_t bytes)
{
	int fd = memfd_create("fuzz-user", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	must(fd >= 0 && !ftruncate(fd, (off_t)bytes) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK),
	     "no memory for a guest");
	return fd;
}

static int user_descriptor(uint8_t how, uint32_t n)
{
	switch ((how & USER_HOW_KIND) >> 2) {
	case 0:
		return user_memory(16 * PAGE);
	case 1:
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	case 2: /* one that blocks and is full */
		return n ? eventfd(0, EFD_CLOEXEC) : eventfd(UINT32_MAX, EFD_CLOEXEC);
	default:
		return memfd_create("fuzz-unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	}
}

/* ---- records ---- */

void user_out_init(struct user_out *out, enum user_op op, uint32_t size)
{
	memset(out, 0, offsetof(struct user_out, data) + size);
	out->size = size;
	vmbus_put16(out->data, (uint16_t)op);
	vmbus_put32(out->data + 4, size);
}

static void make_packet(struct user_out *out, uint8_t op, const uint8_t *bytes, uint32_t length)
{
	uint32_t at = out->how & USER_HOW_RAW ? 0 : USER_HEADER;

	memset(out->data, 0, USER_HEADER);
	memcpy(out->data + at, bytes, length);
	out->size = at + length;
	if (!at)
		return;
	vmbus_put16(out->data, op);
	vmbus_put16(out->data + 2, out->how & USER_HOW_FLAGS ? op : 0);
	vmbus_put32(out->data + 4, out->size + (out->how & USER_HOW_SIZE ? 8 : 0));
}

bool user_next(struct user_input *in, struct user_out *out)
{
	uint32_t length;
	uint8_t op;

	if (in->left < 4)
		return false;
	op = in->at[0];
	out->how = in->at[1];
	length = vmbus_get16(in->at + 2);
	in->at += 4;
	in->left -= 4;
	if (length > in->left)
		length = (uint32_t)in->left;
	if (length > sizeof(out->data) - USER_HEADER)
		length = sizeof(out->data) - USER_HEADER;
	make_packet(out, op, in->at, length);
	in->at += length;
	in->left -= length;
	out->fd_count = out->how & USER_HOW_FDS;
	for (uint32_t i = 0; i < out->fd_count; i++)
		out->fds[i] = user_descriptor(out->how, i);
	return true;
}

/* ---- the socket ---- */

static ssize_t send_once(int fd, const struct user_out *out)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)out->data, .iov_len = out->size};
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(out->fds))] = {0};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
	size_t bytes = out->fd_count * sizeof(int);

	if (out->fd_count) {
		struct cmsghdr *c;

		m.msg_control = room;
		m.msg_controllen = CMSG_SPACE(bytes);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), out->fds, bytes);
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool user_put(int fd, struct user_out *out)
{
	ssize_t sent = -1;

	/* Who reads nothing more has a reason; the input goes on without this packet. */
	for (int i = 0; i < 100 && (sent = send_once(fd, out)) < 0 && errno == EAGAIN; i++) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};

		poll(&p, 1, 10);
	}
	for (uint32_t i = 0; i < out->fd_count; i++)
		close(out->fds[i]);
	out->fd_count = 0;
	return sent >= 0 || errno == EAGAIN;
}

bool user_take(int fd, int ms, uint32_t first_op, uint32_t last_op)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct user_packet in;
	const char *why = "";

	while (poll(&p, 1, ms) > 0) {
		enum user_receive got = user_receive(fd, &in, &why);

		must(got != USER_BAD, why);
		if (got != USER_RECEIVED)
			return false;
		must(user_op(&in) >= first_op && user_op(&in) <= last_op, "an op of the wrong end");
		/* A guest's memory and eventfds come with its packets; a host sends none. */
		must(first_op < USER_HELLO_ACK || !in.fd_count, "a host's packet has descriptors");
		user_close_fds(&in);
		ms = 0;
	}
	return true;
}
