/* SPDX-License-Identifier: MIT */
/* What a guest is offered, for those who only look. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"
#include "kmcl/user.h"

struct look {
	struct kmcl_offer *offers;
	size_t count, room;
	bool failed;
};

static void fill(struct kmcl_offer *to, const struct vmbus_client_offer *from)
{
	memcpy(to->interface_id, &from->interface_id, sizeof(to->interface_id));
	memcpy(to->instance_id, &from->instance_id, sizeof(to->instance_id));
	to->channel_id = from->relid;
	to->subchannel = from->subchannel;
	to->flags = from->flags;
	to->mmio_megabytes = from->mmio_megabytes;
	to->mmio_megabytes_optional = from->mmio_megabytes_optional;
	to->monitor_id = from->monitored ? from->monitor_id : UINT32_MAX;
	memcpy(to->user_data, from->user_data, sizeof(to->user_data));
}

static void note(void *ctx, const struct vmbus_client_offer *offer)
{
	struct look *l = ctx;

	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct kmcl_offer *more = realloc(l->offers, room * sizeof(*more));

		l->failed |= !more;
		if (!more)
			return;
		l->offers = more;
		l->room = room;
	}
	fill(&l->offers[l->count++], offer);
}

static int by_channel(const void *a, const void *b)
{
	uint32_t x = ((const struct kmcl_offer *)a)->channel_id;
	uint32_t y = ((const struct kmcl_offer *)b)->channel_id;

	return (x > y) - (x < y);
}

int kmcl_partition_offers(kmcl_partition *partition, unsigned int timeout_ms,
			  struct kmcl_offer *offers, size_t max, size_t *count)
{
	struct part_endpoint *ep = part_client(partition->part);
	struct look l = {0};
	int code = part_endpoint_exists(ep) ? part_client_wait_offers(ep, timeout_ms) : -ENODEV;

	*count = 0;
	if (code)
		return code;
	part_client_each_offer(ep, note, &l);
	if (l.failed) {
		free(l.offers);
		return -ENOMEM;
	}
	if (l.count) {
		qsort(l.offers, l.count, sizeof(*l.offers), by_channel);
		memcpy(offers, l.offers, (l.count < max ? l.count : max) * sizeof(*offers));
		*count = l.count;
	}
	free(l.offers);
	return 0;
}
