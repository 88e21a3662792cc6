/* SPDX-License-Identifier: MIT */
/*
 * The channel object: handles, allocation, cleanup, what a driver hangs on it, and how a device
 * object leads to a bus.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/inject.h"
#include "kmcl/verifier.h"
#include "kmcl/kmcl.h"

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kmcl_channel *registry;
static struct part_endpoint *default_server, *default_client;

static void bus_reference(void *object)
{
	atomic_fetch_add(&((struct kmcl_bus_handle *)object)->users, 1);
}

static void bus_dereference(void *object)
{
	atomic_fetch_sub(&((struct kmcl_bus_handle *)object)->users, 1);
}

const struct nt_handle_type kmcl_bus_handle_type = {
	.name = "vmbus",
	.reference = bus_reference,
	.dereference = bus_dereference,
};

void kmcl_bus_set_default(struct part_endpoint *server, struct part_endpoint *client)
{
	pthread_mutex_lock(&registry_lock);
	default_server = server;
	default_client = client;
	pthread_mutex_unlock(&registry_lock);
}

static void registry_add(struct kmcl_channel *ch)
{
	pthread_mutex_lock(&registry_lock);
	ch->registry_next = registry;
	if (registry)
		registry->registry_prev = ch;
	registry = ch;
	pthread_mutex_unlock(&registry_lock);
}

static void registry_remove(struct kmcl_channel *ch)
{
	pthread_mutex_lock(&registry_lock);
	if (ch->registry_prev)
		ch->registry_prev->registry_next = ch->registry_next;
	else
		registry = ch->registry_next;
	if (ch->registry_next)
		ch->registry_next->registry_prev = ch->registry_prev;
	pthread_mutex_unlock(&registry_lock);
}

/* A channel can be looked at from the moment it is allocated, while it is still being configured.
 */
void kmcl_channel_set_name(struct kmcl_channel *ch, const char *name)
{
	pthread_mutex_lock(&registry_lock);
	snprintf(ch->config.name, sizeof(ch->config.name), "%s", name);
	pthread_mutex_unlock(&registry_lock);
}

void kmcl_channel_set_bus(struct kmcl_channel *ch, struct part_endpoint *ep)
{
	pthread_mutex_lock(&registry_lock);
	ch->config.bus = ep;
	pthread_mutex_unlock(&registry_lock);
}

static void fill_statistics(struct kmcl_channel *ch, struct kmcl_channel_stats *s)
{
	struct kmcl_counters *c = &ch->counters;

	memset(s, 0, sizeof(*s));
	snprintf(s->name, sizeof(s->name), "%s", ch->config.name);
	s->channel_id = ch->relid;
	s->server = ch->server;
	s->packets_sent = c->packets_sent;
	s->bytes_sent = c->bytes_sent;
	s->packets_received = c->packets_received;
	s->bytes_received = c->bytes_received;
	s->signals_sent = __atomic_load_n(&ch->port.signals_sent, __ATOMIC_RELAXED);
	s->signals_saved = c->signals_saved;
	s->no_room = c->no_room;
	s->dropped_completions = c->dropped_completions;
	s->bounced = c->bounced;
	spin_lock(&ch->in.lock);
	s->outstanding_in = ch->in.outstanding;
	spin_unlock(&ch->in.lock);
	spin_lock(&ch->out.lock);
	s->outstanding_out = ch->out.in_flight;
	s->queued = ch->out.queued;
	spin_unlock(&ch->out.lock);
	s->state = kmcl_link(ch);
}

size_t kmcl_channel_statistics(struct part_endpoint *ep, struct kmcl_channel_stats *stats,
			       size_t max)
{
	size_t count = 0;

	pthread_mutex_lock(&registry_lock);
	for (struct kmcl_channel *ch = registry; ch; ch = ch->registry_next) {
		struct part_endpoint *bus = ch->server ? ch->config.bus : ch->ep;

		if (bus != ep)
			continue;
		if (count < max)
			fill_statistics(ch, &stats[count]);
		count++;
	}
	pthread_mutex_unlock(&registry_lock);
	return count;
}

static struct part_endpoint *bus_of(const struct kmcl_channel *ch)
{
	return ch->server ? ch->config.bus : ch->ep;
}

bool kmcl_channel_with_peer(struct kmcl_channel *ch, void (*fn)(struct kmcl_channel *peer))
{
	struct part_endpoint *ep = bus_of(ch);
	bool found = false;

	pthread_mutex_lock(&registry_lock);
	for (struct kmcl_channel *peer = registry; ep && peer && !found;
	     peer = peer->registry_next) {
		struct part_endpoint *other = bus_of(peer);

		if (peer->server == ch->server || !other || part_of(other) != part_of(ep) ||
		    !ch->relid || peer->relid != ch->relid)
			continue;
		fn(peer);
		found = true;
	}
	pthread_mutex_unlock(&registry_lock);
	return found;
}

void kmcl_log_channel(struct kmcl_channel *ch, enum kmcl_log_level level, const char *format, ...)
{
	struct part_endpoint *ep = ch->server ? ch->config.bus : ch->ep;
	char text[256];
	va_list args;

	if (!kmcl_log_enabled(level))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	kmcl_log(level, "kmcl", ep ? part_id(part_of(ep)) : 0, ch->relid, "%s%s%s", ch->config.name,
		 ch->config.name[0] ? ": " : "", text);
}

static VOID default_process(VMBCHANNEL channel, VMBPACKETCOMPLETION packet, PVOID buffer,
			    UINT32 size, UINT32 flags)
{
	VmbChannelPacketComplete(packet, NULL, 0);
}

static void default_config(struct kmcl_config *c)
{
	c->max_packet = KMCL_DEFAULT_PACKET_SIZE;
	c->max_external = KMCL_DEFAULT_EXTERNAL_DATA;
	c->max_chain = KMCL_DEFAULT_CHAIN;
	c->process = default_process;
}

/* Which bus, and for a client which offer, the parent device stands for. */
static void find_bus(struct kmcl_channel *ch, PDEVICE_OBJECT parent)
{
	struct kmcl_bus_device *device = parent ? nt_pdo_context(parent, &kmcl_bus_ops) : NULL;

	if (device && device->server == ch->server) {
		ch->ep = device->ep;
		ch->parent_offer = device->offer;
		ch->offer_options = device->offer_options;
	} else if (!device) {
		pthread_mutex_lock(&registry_lock);
		ch->ep = ch->server ? default_server : default_client;
		pthread_mutex_unlock(&registry_lock);
	}
	ch->config.bus = ch->server ? ch->ep : NULL;
}

NTSTATUS VmbChannelAllocate(PDEVICE_OBJECT ParentDeviceObject, BOOLEAN IsServer,
			    VMBCHANNEL *Channel)
{
	struct kmcl_channel *ch;

	if (!Channel)
		return STATUS_INVALID_PARAMETER_3;
	*Channel = NULL;
	if (kmcl_above_passive("VmbChannelAllocate"))
		return STATUS_INVALID_DEVICE_STATE;
	if (nt_alloc_fails("VmbChannelAllocate"))
		return STATUS_INSUFFICIENT_RESOURCES;
	ch = calloc(1, sizeof(*ch));
	if (!ch)
		return STATUS_INSUFFICIENT_RESOURCES;
	ch->handle = kmcl_slot_take(ch);
	if (!ch->handle) {
		free(ch);
		return STATUS_INSUFFICIENT_RESOURCES;
	}
	ch->server = IsServer != FALSE;
	ch->run_next = !ch->server;
	if (ParentDeviceObject)
		ch->driver = nt_driver_of_device(ParentDeviceObject);
	if (nt_driver_current())
		ch->driver = nt_driver_current();
	default_config(&ch->config);
	find_bus(ch, ParentDeviceObject);
	kmcl_packets_init(ch);
	kmcl_out_init(ch);
	kmcl_in_init(ch);
	kmcl_lifecycle_init(ch);
	kmcl_fault_init(ch);
	registry_add(ch);
	*Channel = kmcl_handle(ch);
	return STATUS_SUCCESS;
}

VOID VmbChannelCleanup(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);
	uint64_t handle = (uintptr_t)Channel;

	if (!ch) {
		nt_violation("bad-handle", "VmbChannelCleanup: not a channel");
		return;
	}
	if (kmcl_forbidden_here(ch, "VmbChannelCleanup"))
		return;
	if (kmcl_link(ch) != KMCL_LINK_DISABLED || atomic_load(&ch->enabling)) {
		kmcl_violation(ch, "cleanup-enabled",
			       "VmbChannelCleanup: the channel is not disabled");
		return;
	}
	kmcl_restore_discard(ch);
	if (atomic_load(&ch->packets.live)) {
		kmcl_violation(ch, "cleanup-packets",
			       "VmbChannelCleanup: %u packets are still allocated",
			       atomic_load(&ch->packets.live));
		return;
	}
	if (!kmcl_slot_retire(handle)) {
		nt_violation("bad-handle", "VmbChannelCleanup: called twice at once");
		return;
	}
	registry_remove(ch);
	kmcl_fault_quiesce(ch);
	kmcl_lifecycle_quiesce(ch);
	kmcl_packets_destroy(ch);
	if (ch->config.bus_handle)
		bus_dereference(ch->config.bus_handle);
	kmcl_slot_give(handle);
	free(ch);
}

/* A driver is unloaded: does a channel still lead into its code? */
static bool has_channels(struct nt_driver *driver)
{
	char names[256] = "";
	size_t at = 0, count = 0;

	pthread_mutex_lock(&registry_lock);
	for (struct kmcl_channel *ch = registry; ch; ch = ch->registry_next) {
		int n;

		if (ch->driver != driver)
			continue;
		n = snprintf(names + at, sizeof(names) - at, "%s%s", count++ ? ", " : "",
			     ch->config.name[0] ? ch->config.name : "(no name)");
		at = at + (size_t)n < sizeof(names) ? at + (size_t)n : sizeof(names) - 1;
	}
	pthread_mutex_unlock(&registry_lock);
	if (count && kmcl_verify())
		nt_violation("channel-leak", "the driver is unloaded with %zu channels: %s", count,
			     names);
	else if (count)
		kmcl_log(KMCL_LOG_ERROR, "kmcl", 0, 0,
			 "driver %s is unloaded with %zu channels (%s): its code stays in memory",
			 nt_driver_name(driver), count, names);
	return count != 0;
}

__attribute__((constructor)) static void watch_unloading(void)
{
	nt_unload_check_set(has_channels);
}

VOID VmbChannelSetPointer(VMBCHANNEL Channel, PVOID Pointer)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch) {
		nt_violation("bad-handle", "VmbChannelSetPointer: not a channel");
		return;
	}
	atomic_store_explicit(&ch->pointer, Pointer, memory_order_release);
}

PVOID VmbChannelGetPointer(VMBCHANNEL Channel)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch) {
		nt_violation("bad-handle", "VmbChannelGetPointer: not a channel");
		return NULL;
	}
	return atomic_load_explicit(&ch->pointer, memory_order_acquire);
}

VOID VmbChannelGetInterfaceInstance(VMBCHANNEL Channel, LPGUID InterfaceInstance)
{
	struct kmcl_channel *ch = kmcl_channel_of(Channel);

	if (!ch || !InterfaceInstance) {
		kmcl_violation(ch, "bad-handle", "VmbChannelGetInterfaceInstance: %s",
			       ch ? "no room for the instance" : "not a channel");
		return;
	}
	spin_lock(&ch->claim_lock);
	*InterfaceInstance = ch->matched ? ch->matched_instance : ch->config.instance;
	spin_unlock(&ch->claim_lock);
}

NTSTATUS VmbConvertVmbusHandleToKernelHandle(HANDLE VmbusHandle, PHANDLE KernelHandle)
{
	void *bus;
	NTSTATUS status;

	if (!KernelHandle)
		return STATUS_INVALID_PARAMETER_2;
	if (kmcl_above_passive("VmbConvertVmbusHandleToKernelHandle"))
		return STATUS_INVALID_DEVICE_STATE;
	bus = nt_handle_reference(VmbusHandle, &kmcl_bus_handle_type);
	if (!bus)
		return STATUS_INVALID_HANDLE;
	status = nt_handle_create(&kmcl_bus_handle_type, bus, KernelHandle);
	bus_dereference(bus);
	return status;
}
