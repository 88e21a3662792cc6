/* SPDX-License-Identifier: MIT */
/*
 * Saved state of a server: whatever is taken makes a sound server, which says the same when it is
 * saved again, and whose channels can be claimed. The checksums are made right first, so that they
 * do not hide the rest; an input whose first byte is odd is taken as it is.
 */
#include <stdlib.h>

#include "base/crc.h"
#include "vmbus/server_internal.h"
#include "vmbus/server_save.h"

#define HEADER  32u
#define SECTION 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t live;

static void *take(void *ctx, size_t size)
{
	live++;
	return calloc(1, size);
}

static void give(void *ctx, void *p, size_t size)
{
	live--;
	free(p);
}

static const struct vmbus_server_config config = {
	.features = 0xff,
	.vp_count = 8,
	.monitor_parent_to_child = 0x7000,
	.monitor_child_to_parent = 0x8000,
	.limits = {.channels = 16, .gpadls = 64, .gpadl_pages = 1 << 16},
	.allocator = {.alloc = take, .free = give},
};

static void mend(uint8_t *b, size_t size)
{
	uint32_t number = 0;

	if (size < HEADER)
		return;
	for (size_t at = HEADER; size - at >= SECTION;) {
		uint32_t length = vmbus_get32(b + at + 8);

		if (length > size - at - SECTION)
			length = (uint32_t)(size - at - SECTION);
		vmbus_put32(b + at + 4, number++);
		vmbus_put32(b + at + 8, length);
		vmbus_put32(b + at + 12, crc32c(crc32c(0, b + at, 12), b + at + SECTION, length));
		at += SECTION + length;
	}
	vmbus_put32(b + 12, number);
	vmbus_put64(b + 16, size);
	vmbus_put32(b + 28, crc32c(0, b, 28));
}

static void sound(const struct vmbus_server *s)
{
	if (vmbus_server_check(s))
		abort();
}

/* The owner does what it is asked, at once. */
static void carry_out(struct vmbus_server *s)
{
	struct vmbus_server_action a;

	while (vmbus_server_next_action(s, &a)) {
		switch (a.type) {
		case VMBUS_SERVER_CONNECT:
			vmbus_server_connect_done(s, true);
			break;
		case VMBUS_SERVER_OPEN:
			vmbus_server_open_done(s, a.offer, a.open.channel_id % 3 == 0);
			break;
		case VMBUS_SERVER_CLOSE:
			vmbus_server_close_done(s, a.offer);
			break;
		case VMBUS_SERVER_GPADL:
			vmbus_server_gpadl_done(s, a.offer, a.gpadl.id, true);
			break;
		case VMBUS_SERVER_GPADL_TEARDOWN:
			vmbus_server_gpadl_released(s, a.offer, a.gpadl.id);
			break;
		case VMBUS_SERVER_MODIFY:
			vmbus_server_modify_done(s, a.offer, 0);
			break;
		case VMBUS_SERVER_MONITOR:
			vmbus_server_monitor_done(s, true);
			break;
		case VMBUS_SERVER_HVSOCK:
			vmbus_server_hvsock_done(s, &a.hvsock.endpoint, &a.hvsock.service, false);
			break;
		default:
			break;
		}
		sound(s);
	}
}

/* Some channels go on, some begin afresh, some nobody wants. */
static void claim(struct vmbus_server *s)
{
	for (uint32_t i = 0; i < s->channel_count; i++) {
		struct vmbus_offer offer = s->sorted[i]->offer;
		vmbus_offer_id id;

		if (s->sorted[i]->restore != RESTORE_UNCLAIMED || i % 4 == 3)
			continue;
		offer.resume = i % 4 < 2;
		vmbus_server_offer(s, &offer, s, &id);
		sound(s);
		i = offer.resume ? i : i + 1;
	}
}

static void live_on(struct vmbus_server *s)
{
	carry_out(s);
	claim(s);
	carry_out(s);
	vmbus_server_restore_done(s);
	sound(s);
	carry_out(s);
	vmbus_server_reset(s);
	sound(s);
	carry_out(s);
}

/* What was saved of a restored server restores to one that saves the same. */
static void turn(struct vmbus_server *s)
{
	struct vmbus_saved_error error;
	struct vmbus_server *second;
	uint8_t *once, *twice;
	size_t once_size, twice_size;

	if (vmbus_server_save(s, NULL, 0, &once, &once_size))
		abort();
	if (vmbus_server_restore(&config, once, once_size, &second, &error))
		abort();
	sound(second);
	if (vmbus_server_save(second, NULL, 0, &twice, &twice_size))
		abort();
	if (once_size != twice_size || memcmp(once, twice, once_size) != 0)
		abort();
	give(NULL, once, once_size);
	give(NULL, twice, twice_size);
	vmbus_server_destroy(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	struct vmbus_saved_error error;
	struct vmbus_server *s;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (size && !(data[0] & 1)) {
		copy[0] |= 1; /* the magic's 'O' */
		mend(copy, size);
	}
	switch (vmbus_server_restore(&config, copy, size, &s, &error)) {
	case VMBUS_OK:
		sound(s);
		turn(s);
		live_on(s);
		vmbus_server_destroy(s);
		break;
	case VMBUS_E_INVALID:
		if (!error.field || !error.why || error.offset > size)
			abort();
		break;
	default:
		break;
	}
	free(copy);
	if (live)
		abort();
	return 0;
}
