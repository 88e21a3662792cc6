/* SPDX-License-Identifier: MIT */
/* What the fuzzers of the two state machines share: drawing from the input, memory, messages. */
#ifndef FUZZ_CONTROL_H
#define FUZZ_CONTROL_H

#include <stdlib.h>

#include "vmbus/message.h"

#define FUZZ_STEPS 2000

struct input {
	const uint8_t *at, *end;
};

static inline uint8_t draw(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

/* A message as the input has it: its length, then its bytes, into memory of just that size. */
static inline uint8_t *draw_message(struct input *in, size_t *size)
{
	size_t left = (size_t)(in->end - in->at);
	uint8_t *copy;

	*size = draw(in);
	left = (size_t)(in->end - in->at);
	if (*size > left)
		*size = left;
	copy = malloc(*size ? *size : 1);
	if (!copy)
		abort();
	memcpy(copy, in->at, *size);
	in->at += *size;
	return copy;
}

static inline void *fuzz_alloc(void *ctx, size_t size)
{
	size_t *live = ctx;
	void *p = calloc(1, size);

	if (!p)
		abort();
	++*live;
	return p;
}

static inline void fuzz_free(void *ctx, void *p, size_t size)
{
	size_t *live = ctx;

	--*live;
	free(p);
}

/* What a state machine posts has the right direction and one of its exact sizes. */
static inline void check_posted(const uint8_t *bytes, size_t size, enum vmbus_direction direction)
{
	const struct vmbus_message_info *info;

	if (vmbus_message_check(bytes, size, direction) != VMBUS_CHECK_OK)
		abort();
	info = vmbus_message_info(vmbus_get32(bytes));
	for (unsigned int i = 0; i < VMBUS_MESSAGE_FORMS; i++) {
		if (info->sizes[i] == size)
			return;
	}
	if (info->fields[info->field_count - 1].kind != VMBUS_FIELD_REST || size % 4)
		abort();
}

#endif
