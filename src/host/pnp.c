/* SPDX-License-Identifier: MIT */
/*
 * Plug and play: which driver gets which physical device. A client driver with hardware ids gets
 * one for each offer that matches, now and later; offers come and go on the bus's message thread,
 * so the driver's part of it happens on a strand.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/internal.h"

static NTSTATUS add_device(kmcl_driver *driver, struct host_device *device)
{
	NTSTATUS status = nt_pdo_create(&kmcl_bus_ops, &device->bus, &device->pdo);

	if (!NT_SUCCESS(status))
		return status;
	status = nt_device_add(driver->nt, device->pdo);
	device->added = NT_SUCCESS(status);
	if (!device->added) {
		nt_pdo_delete(device->pdo);
		device->pdo = NULL;
	}
	return status;
}

static void remove_device(struct host_device *device, bool surprise)
{
	if (!device->added)
		return;
	nt_device_remove(device->pdo, surprise);
	nt_pdo_delete(device->pdo);
	device->added = false;
	device->pdo = NULL;
}

/* ---- offers ---- */

/* False: some driver has it, or no memory. */
static bool take_offer(kmcl_partition *partition, vmbus_channel_id offer)
{
	struct host_taken *taken = calloc(1, sizeof(*taken)), *t;

	if (!taken)
		return false;
	taken->offer = offer;
	pthread_mutex_lock(&partition->lock);
	for (t = partition->taken; t && t->offer != offer; t = t->next)
		;
	if (!t) {
		taken->next = partition->taken;
		partition->taken = taken;
	}
	pthread_mutex_unlock(&partition->lock);
	if (t)
		free(taken);
	return !t;
}

static void give_offer_back(kmcl_partition *partition, vmbus_channel_id offer)
{
	struct host_taken *found = NULL;

	pthread_mutex_lock(&partition->lock);
	for (struct host_taken **p = &partition->taken; *p && !found; p = &(*p)->next) {
		if ((*p)->offer == offer) {
			found = *p;
			*p = found->next;
			break;
		}
	}
	pthread_mutex_unlock(&partition->lock);
	free(found);
}

struct offer_event {
	struct nt_job job;
	kmcl_driver *driver;
	vmbus_channel_id channel;
};

/* Makes a device for an offer, unless another driver has it. */
static void try_offer(kmcl_driver *driver, struct host_device *device)
{
	NTSTATUS status;

	if (!take_offer(driver->partition, device->bus.offer))
		return;
	status = add_device(driver, device);
	if (NT_SUCCESS(status))
		return;
	give_offer_back(driver->partition, device->bus.offer);
	device->failed = true;
	kmcl_log(KMCL_LOG_ERROR, "host", part_id(driver->partition->part), 0,
		 "%s: AddDevice or start failed with %s", nt_driver_name(driver->nt),
		 kmcl_status_name(status));
}

static void offer_came(struct nt_job *job)
{
	struct offer_event *event = CONTAINING_RECORD(job, struct offer_event, job);
	kmcl_driver *driver = event->driver;
	struct host_device *device = calloc(1, sizeof(*device));

	if (device) {
		device->bus.ep = part_client(driver->partition->part);
		device->bus.offer = event->channel;
		device->next = driver->devices;
		driver->devices = device;
		try_offer(driver, device);
	} else {
		kmcl_log(KMCL_LOG_ERROR, "host", part_id(driver->partition->part), 0,
			 "no memory for an offer's device");
	}
	free(event);
}

static void forget_device(kmcl_driver *driver, struct host_device *device, bool surprise)
{
	if (device->added) {
		remove_device(device, surprise);
		give_offer_back(driver->partition, device->bus.offer);
	}
	free(device);
}

static void offer_went(struct nt_job *job)
{
	struct offer_event *event = CONTAINING_RECORD(job, struct offer_event, job);
	struct host_device **p = &event->driver->devices, *device;

	while (*p && (*p)->bus.offer != event->channel)
		p = &(*p)->next;
	device = *p;
	if (device) {
		*p = device->next;
		forget_device(event->driver, device, true);
	}
	free(event);
}

static void offers_are_free(struct nt_job *job)
{
	struct offer_event *event = CONTAINING_RECORD(job, struct offer_event, job);

	for (struct host_device *d = event->driver->devices; d; d = d->next) {
		if (!d->added && !d->failed)
			try_offer(event->driver, d);
	}
	free(event);
}

/* A subchannel is a part of its primary's device. */
static bool drives(const kmcl_driver *driver, const struct vmbus_client_offer *offer)
{
	if (offer->subchannel)
		return false;
	for (unsigned int i = 0; i < driver->id_count; i++) {
		if (!memcmp(&driver->ids[i], &offer->interface_id, sizeof(driver->ids[i])))
			return true;
	}
	return false;
}

static void post(kmcl_driver *driver, vmbus_channel_id channel, void (*run)(struct nt_job *job))
{
	struct offer_event *event = calloc(1, sizeof(*event));

	if (!event) {
		kmcl_log(KMCL_LOG_ERROR, "host", part_id(driver->partition->part), 0,
			 "no memory to tell %s of an offer", nt_driver_name(driver->nt));
		return;
	}
	event->job.run = run;
	event->driver = driver;
	event->channel = channel;
	nt_strand_post(&driver->strand, &event->job);
}

static void tell(struct part_client_listener *l, struct part_client_channel *ch,
		 void (*run)(struct nt_job *job))
{
	kmcl_driver *driver = CONTAINING_RECORD(l, struct kmcl_driver, listener);
	const struct vmbus_client_offer *offer = part_client_offer(ch);

	if (drives(driver, offer))
		post(driver, offer->channel, run);
}

static void on_offered(struct part_client_listener *l, struct part_client_channel *ch)
{
	tell(l, ch, offer_came);
}

static void on_withdrawn(struct part_client_listener *l, struct part_client_channel *ch)
{
	tell(l, ch, offer_went);
}

/* ---- start and stop ---- */

static int start_listening(kmcl_driver *driver, char **error)
{
	int code;

	driver->listener.offered = on_offered;
	driver->listener.withdrawn = on_withdrawn;
	nt_strand_init(&driver->strand);
	code = part_client_listen(part_client(driver->partition->part), &driver->listener);
	driver->listening = !code;
	if (code)
		*error = sentence("%s: cannot watch the bus: %s", nt_driver_name(driver->nt),
				  strerror(-code));
	return code;
}

int host_pnp_start(kmcl_driver *driver, char **error)
{
	struct part *part = driver->partition->part;
	struct host_device *device = &driver->bus_device;
	NTSTATUS status;

	if (driver->end == KMCL_CLIENT && driver->id_count)
		return start_listening(driver, error);
	device->bus.server = driver->end == KMCL_SERVER;
	device->bus.ep = device->bus.server ? part_server(part) : part_client(part);
	device->bus.offer_options = &driver->offer_options;
	status = add_device(driver, device);
	if (NT_SUCCESS(status))
		return 0;
	*error = sentence("%s: AddDevice or start failed with %s", nt_driver_name(driver->nt),
			  kmcl_status_name(status));
	return -ENODEV;
}

void host_pnp_stop(kmcl_driver *driver)
{
	struct host_device *device;

	if (driver->listening) {
		part_client_unlisten(part_client(driver->partition->part), &driver->listener);
		nt_strand_wait_idle(&driver->strand);
		driver->listening = false;
	}
	while ((device = driver->devices)) {
		driver->devices = device->next;
		forget_device(driver, device, driver->partition->ending);
	}
	remove_device(&driver->bus_device, driver->partition->ending);
}

void host_pnp_rescan(kmcl_driver *driver)
{
	if (driver->listening)
		post(driver, 0, offers_are_free);
}
