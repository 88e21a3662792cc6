/* SPDX-License-Identifier: MIT */
#include "partition/user_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmbus/wire.h"

/* More than any op takes: what comes in excess is seen, and closed. */
#define FDS_TAKEN 16u

void user_packet_init(struct user_packet *p, enum user_op op, uint32_t size)
{
	p->size = size;
	p->fd_count = 0;
	memset(p->data, 0, size);
	p->data[0] = (uint8_t)op;
	p->data[1] = (uint8_t)(op >> 8);
	vmbus_put32(p->data + 4, size);
}

void user_close_fds(struct user_packet *p)
{
	for (uint32_t i = 0; i < p->fd_count; i++)
		close(p->fds[i]);
	p->fd_count = 0;
}

/* Keeps the first descriptors; false, and all are closed: more came than any packet has. */
static bool take_fds(struct msghdr *m, struct user_packet *p)
{
	bool good = !(m->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (p->fd_count < USER_FDS_MAX) {
				p->fds[p->fd_count++] = fd;
			} else {
				close(fd);
				good = false;
			}
		}
	}
	if (!good)
		user_close_fds(p);
	return good;
}

static const char *header_fault(const struct user_packet *p)
{
	if (p->size < USER_HEADER)
		return "a packet shorter than its header";
	if (p->data[2] || p->data[3])
		return "flags that are not zero";
	if (vmbus_get32(p->data + 4) != p->size)
		return "a size that is not the packet's";
	return NULL;
}

enum user_receive user_receive(int fd, struct user_packet *p, const char **why)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_TAKEN * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = p->data, .iov_len = sizeof(p->data)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t got;
	bool fds_good;

	p->fd_count = 0;
	p->size = 0;
	do
		got = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? USER_NOTHING : USER_HUNG_UP;
	fds_good = take_fds(&m, p);
	if (!got) {
		user_close_fds(p);
		return USER_HUNG_UP;
	}
	p->size = (uint32_t)got;
	*why = !fds_good                 ? "more descriptors than any packet has"
	       : m.msg_flags & MSG_TRUNC ? "a packet of more than 4096 bytes"
					 : header_fault(p);
	if (!*why)
		return USER_RECEIVED;
	user_close_fds(p);
	return USER_BAD;
}

int user_send(int fd, const struct user_packet *p)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(USER_FDS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)p->data, .iov_len = p->size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;

	if (p->fd_count) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(p->fd_count * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(p->fd_count * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), p->fds, p->fd_count * sizeof(int));
	}
	do
		sent = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	/* ENOBUFS and ENOMEM pass, as a full socket does. */
	return errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM ? -EAGAIN : -EPIPE;
}
