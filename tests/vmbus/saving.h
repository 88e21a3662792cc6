/* SPDX-License-Identifier: MIT */
/* The bench's server as bytes and back. */
#ifndef TESTS_VMBUS_SAVING_H
#define TESTS_VMBUS_SAVING_H

#include "control.h"
#include "vmbus/server_save.h"

struct saved {
	uint8_t *b;
	size_t n;
};

struct saved save(struct bench *t);
void drop(struct bench *t, struct saved *s);
/* In the place of the bench's server. */
void restore(struct bench *t, const struct saved *s);
/* Saved, destroyed, restored. What is saved then is the same again, unless steps were due. */
void live_on(struct bench *t);
void claim(struct bench *t, int device, bool resume);

#endif
