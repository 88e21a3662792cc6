/* SPDX-License-Identifier: MIT */
/**
 * @file
 * How a device object leads KMCL to its bus: the context that the host gives every physical device
 * object of a VMBus, and the handle type of a bus.
 */
#ifndef KMCL_BUS_H
#define KMCL_BUS_H

#include "nt/nt.h"
#include "partition/partition.h"

/** What a host adds to the offers that a driver makes on one bus device. */
struct kmcl_offer_options {
	uint16_t subchannel;
	bool monitored;           /**< ask for a monitor id */
	uint16_t monitor_latency; /**< 100 ns units */
	uint8_t user_data[120];
	uint32_t user_data_size; /**< bytes of it that replace the driver's; 0: none */
};

/** Context of a physical device object made with kmcl_bus_ops (nt_pdo_create). The host owns it,
 * and what it points to, for the object's life. */
struct kmcl_bus_device {
	struct part_endpoint *ep;
	bool server;            /**< the server end's bus device */
	vmbus_channel_id offer; /**< client: the offer this device stands for; 0: the bus itself */
	const struct kmcl_offer_options *offer_options; /**< server; NULL: none */
};

extern const struct nt_bus_ops kmcl_bus_ops;

/** Object behind a VMBus HANDLE: a server endpoint. reference/dereference count `users`. */
struct kmcl_bus_handle {
	struct part_endpoint *ep;
	atomic_int users;
};
extern const struct nt_handle_type kmcl_bus_handle_type;

/** Buses of VmbChannelAllocate(NULL, ...): the newest partition's. NULL: none. */
void kmcl_bus_set_default(struct part_endpoint *server, struct part_endpoint *client);

/** Channels of an endpoint, for statistics: fn is called with the channel list held. */
struct kmcl_channel_stats;
size_t kmcl_channel_statistics(struct part_endpoint *ep, struct kmcl_channel_stats *stats,
			       size_t max);

/** Fault injection: of the packets whose external data is asked for in EvtVmbChannelProcessPacket,
 * every `every`-th gets STATUS_PENDING once and is delivered again after `delay_us`. 0: none. */
void kmcl_inject_pending(uint32_t every, uint32_t delay_us);

#endif
