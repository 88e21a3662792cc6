/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzers of the two state machines share: memory that runs out on demand, messages that
 * are valid but for one field, and a look at everything that is posted.
 */
#ifndef FUZZ_CONTROL_H
#define FUZZ_CONTROL_H

#include <stdio.h>
#include <stdlib.h>

#include "steps.h"
#include "vmbus/message.h"

/* What must hold does not: libFuzzer keeps the input. */
static inline _Noreturn void broken(const char *what)
{
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static inline void must(bool holds, const char *what)
{
	if (!holds)
		broken(what);
}

/* With FUZZ_TRACE in the environment a run is told line by line: to see what a found input does. */
static inline bool tracing(void)
{
	static int on = -1;

	if (on < 0)
		on = getenv("FUZZ_TRACE") != NULL;
	return on;
}

#define TRACE(...)                                    \
	do {                                          \
		if (tracing())                        \
			fprintf(stderr, __VA_ARGS__); \
	} while (0)

static inline void trace_message(const char *who, const uint8_t *bytes, size_t size)
{
	const struct vmbus_message_info *info =
		size < 4 ? NULL : vmbus_message_info(vmbus_get32(bytes));

	TRACE("%s %s, %zu bytes:", who, info ? info->name : "?", size);
	for (size_t i = 8; i < size && i < 32; i += 4)
		TRACE(" %x", size - i < 4 ? bytes[i] : vmbus_get32(bytes + i));
	TRACE("\n");
}

/* ---- memory ---- */

struct fuzz_heap {
	size_t live;
	unsigned int fail_in; /* the allocation that fails, counted from 1; 0: none does */
	bool failed;
};

static inline void *fuzz_alloc(void *ctx, size_t size)
{
	struct fuzz_heap *h = ctx;
	void *p;

	if (h->fail_in && --h->fail_in == 0) {
		h->failed = true;
		return NULL;
	}
	p = calloc(1, size);
	if (!p)
		abort();
	h->live++;
	return p;
}

static inline void fuzz_free(void *ctx, void *p, size_t size)
{
	struct fuzz_heap *h = ctx;

	h->live--;
	free(p);
}

/* ---- messages ---- */

/* What is done to the next message: one field of it changed, or its length. */
struct fuzz_patch {
	bool armed;
	struct step how;
};

static inline void patch_field(const struct vmbus_message_info *info, const struct step *how,
			       uint8_t *bytes, size_t size)
{
	const struct vmbus_field *f = &info->fields[how->a % (info->field_count + 1u)];
	size_t width = f->size ? f->size : 8, at = f->offset;

	/* The closing row of the table stands for the header. */
	if (!f->name)
		width = VMBUS_MESSAGE_HEADER;
	for (size_t i = 0; i < width && i < 4 && at + i < size; i++) {
		uint8_t byte = (uint8_t)(how->d >> 8 * i);

		switch (how->b % 3) {
		case 0:
			bytes[at + i] = byte;
			break;
		case 1:
			bytes[at + i] ^= byte;
			break;
		case 2:
			bytes[at + i] = (uint8_t)(bytes[at + i] + byte);
			break;
		}
	}
}

/* Applies the patch that is due, if any; the size may change. `bytes` has room for the most. */
static inline size_t patch_message(struct fuzz_patch *p, uint8_t *bytes, size_t size)
{
	const struct vmbus_message_info *info = vmbus_message_info(vmbus_get32(bytes));

	if (!p->armed || !info)
		return size;
	p->armed = false;
	if (p->how.b & 0x80)
		return p->how.d % (VMBUS_MAX_MESSAGE + 1);
	patch_field(info, &p->how, bytes, size);
	return size;
}

/* What a state machine posts has the right direction and one of its exact sizes. */
static inline void check_posted(const uint8_t *bytes, size_t size, enum vmbus_direction direction)
{
	const struct vmbus_message_info *info;

	must(vmbus_message_check(bytes, size, direction) == VMBUS_CHECK_OK, "a message posted");
	info = vmbus_message_info(vmbus_get32(bytes));
	for (unsigned int i = 0; i < VMBUS_MESSAGE_FORMS; i++) {
		if (info->sizes[i] == size)
			return;
	}
	must(info->fields[info->field_count - 1].kind == VMBUS_FIELD_REST && size % 4 == 0,
	     "the size of a message posted");
}

/* Every n-th of what is live, as a step names it. */
static inline size_t pick(size_t which, size_t of)
{
	return of ? which % of : 0;
}

#endif
