/* SPDX-License-Identifier: MIT */
/*
 * Who stands between a server and its client and writes down what either says: an answer has a
 * question, an offer names an id that is free, nothing is said without a connection.
 */
#ifndef FUZZ_WITNESS_H
#define FUZZ_WITNESS_H

#include "control.h"

#define WITNESS_ASKED 512u

/* A question that may be answered: the message that answers it and what the answer repeats. */
struct asked {
	uint32_t answer;
	uint32_t channel, id;
};

struct witness {
	struct asked asked[WITNESS_ASKED];
	unsigned int asked_count;
	bool blind; /* more questions than can be remembered */
	bool connected;
	uint32_t version;
	bool offered[VMBUS_MAX_CHANNEL + 1];
	bool rescinded[VMBUS_MAX_CHANNEL + 1];
	bool released[VMBUS_MAX_CHANNEL + 1]; /* the client has said so, in time or not */
};

/* What the client sends reaches the server. */
void witness_client(struct witness *w, const uint8_t *bytes, size_t size);
/* What the server posts. */
void witness_server(struct witness *w, const uint8_t *bytes, size_t size, bool unqueued);
void witness_disconnected(struct witness *w);
void witness_reset(struct witness *w);

#endif
