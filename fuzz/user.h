/* SPDX-License-Identifier: MIT */
/*
 * Packets of vmbus-user out of an input, with descriptors or without, and the socket that carries
 * them. An input is a byte of options, then records:
 *
 *     u8 op, u8 how, u16 length, bytes
 */
#ifndef FUZZ_USER_H
#define FUZZ_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "partition/user_wire.h"

enum user_how {
	USER_HOW_FDS = 3,      /* so many descriptors */
	USER_HOW_KIND = 0x0c,  /* of that kind: see user_descriptor */
	USER_HOW_RAW = 0x10,   /* the bytes are the packet, header and all */
	USER_HOW_SIZE = 0x20,  /* its header says another size */
	USER_HOW_FLAGS = 0x40, /* its header has flags */
	USER_HOW_WAIT = 0x80,  /* for an answer, a moment */
};

struct user_input {
	const uint8_t *at;
	size_t left;
};

/* The next record, as a packet; its descriptors are the caller's, up to three. False: no more. */
struct user_out {
	uint8_t how;
	uint32_t size, fd_count;
	int fds[3];
	uint8_t data[1024];
};
bool user_next(struct user_input *in, struct user_out *out);
void user_out_init(struct user_out *out, enum user_op op, uint32_t size);
/* Memory as it should be, of so many bytes; eventfds; what is neither. */
int user_memory(uint64_t bytes);
/* False: the other end is gone. Closes the descriptors. */
bool user_put(int fd, struct user_out *out);
/* Reads what has come, and checks that it is a packet of the end that it is from. False: no more
 * will come. */
bool user_take(int fd, int ms, uint32_t first_op, uint32_t last_op);

#endif
