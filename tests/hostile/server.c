/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"
#include "partition/internal.h"

#include "echo_ioctl.h"

int echo_vsp_entry(void *driver, void *path);

/* ---- a device without KMCL: it sends back what it gets ---- */

struct plain_device {
	struct part_endpoint *ep;
	struct part_server_channel *ch;
	struct part_port port;
	pthread_mutex_t lock;
	bool hold, asked, attached, revoking; /* lock */
	_Alignas(8) uint8_t buffer[8192];
	const uint8_t *held_at;
	uint32_t held; /* bytes to send back that found no room */
	uint64_t held_id;
};

static void plain_attach(struct plain_device *d, uint32_t status)
{
	d->asked = false;
	part_server_open_done(d->ch, status);
	if (status)
		return;
	d->held = 0;
	d->attached = true;
	part_port_attach(&d->port);
}

static void plain_open(void *device, const struct part_server_open *open)
{
	struct plain_device *d = device;

	pthread_mutex_lock(&d->lock);
	if (d->hold)
		d->asked = true;
	else if (!d->revoking)
		plain_attach(d, 0);
	pthread_mutex_unlock(&d->lock);
}

static void plain_detach(struct plain_device *d)
{
	pthread_mutex_lock(&d->lock);
	if (d->attached)
		part_port_detach(&d->port);
	d->attached = false;
	pthread_mutex_unlock(&d->lock);
}

static void plain_close(void *device)
{
	struct plain_device *d = device;

	plain_detach(d);
	part_server_close_done(d->ch);
}

static const struct part_server_channel_ops plain_ops = {.open = plain_open, .close = plain_close};

static bool plain_answer(struct plain_device *d)
{
	enum vmbus_ring_result r;

	while (d->held) {
		r = vmbus_ring_write_inband(&d->port.out, VMBUS_PKT_COMPLETION, 0, d->held_id,
					    d->held_at, d->held);
		if (vmbus_ring_publish(&d->port.out))
			part_port_signal(&d->port);
		if (r == VMBUS_RING_FULL &&
		    vmbus_ring_writer_block(&d->port.out, vmbus_ring_packet_size(0, d->held)))
			return false;
		if (r != VMBUS_RING_FULL)
			d->held = 0;
	}
	return true;
}

static enum part_poll plain_poll(struct part_port *port)
{
	struct plain_device *d =
		(struct plain_device *)(void *)((char *)port - offsetof(struct plain_device, port));
	enum vmbus_ring_result r;
	struct vmbus_packet_in p;

	port->retry_ns = 0;
	if (!plain_answer(d))
		return PART_POLL_BLOCKED;
	vmbus_ring_mask(&port->in);
	r = vmbus_ring_read(&port->in, d->buffer, sizeof(d->buffer), &p);
	if (r == VMBUS_RING_EMPTY)
		return PART_POLL_IDLE;
	if (r == VMBUS_RING_CORRUPT)
		return PART_POLL_BLOCKED;
	if (r == VMBUS_RING_OK && p.completion_requested && p.type == VMBUS_PKT_INBAND) {
		d->held = p.payload_size;
		d->held_at = p.payload;
		d->held_id = p.transaction_id;
		if (p.payload_size >= 16)
			memset((uint8_t *)(uintptr_t)p.payload + 4, 0, 4);
	}
	if (vmbus_ring_release(&port->in))
		part_port_signal(port);
	return plain_answer(d) ? PART_POLL_WORKED : PART_POLL_BLOCKED;
}

static bool plain_park(struct part_port *port)
{
	return !vmbus_ring_unmask(&port->in);
}

static const struct part_port_ops plain_port_ops = {.poll = plain_poll, .park = plain_park};

void server_offer_plain(struct server *s)
{
	struct vmbus_offer offer = {
		.interface_id = {{0x70, 0x6c}}, .instance_id = {{1}}, .order = 1000};

	s->plain->revoking = false;
	assert_int_equal(part_server_offer(s->plain->ep, &offer, &plain_ops, s->plain,
					   &s->plain->port, &s->plain->ch),
			 0);
}

void server_revoke_plain(struct server *s)
{
	struct plain_device *d = s->plain;

	pthread_mutex_lock(&d->lock);
	d->revoking = true;
	d->asked = false;
	pthread_mutex_unlock(&d->lock);
	plain_detach(d);
	part_server_revoke(d->ch);
	d->ch = NULL;
}

void server_hold_opens(struct server *s, bool hold)
{
	pthread_mutex_lock(&s->plain->lock);
	s->plain->hold = hold;
	pthread_mutex_unlock(&s->plain->lock);
}

bool server_open_asked(struct server *s)
{
	bool asked;

	pthread_mutex_lock(&s->plain->lock);
	asked = s->plain->asked;
	pthread_mutex_unlock(&s->plain->lock);
	return asked;
}

void server_answer_open(struct server *s, uint32_t status)
{
	pthread_mutex_lock(&s->plain->lock);
	assert_true(s->plain->asked);
	plain_attach(s->plain, status);
	pthread_mutex_unlock(&s->plain->lock);
}

/* ---- the echo driver ---- */

static void control(struct server *s, uint32_t channel, uint32_t code)
{
	struct echo_select select = {.channel = channel};
	size_t returned;

	assert_int_equal(kmcl_device_control(s->driver, 0, code, &select, sizeof(select), NULL, 0,
					     &returned),
			 0);
}

void server_disable_echo(struct server *s, uint32_t channel)
{
	control(s, channel, ECHO_IOCTL_DISABLE);
}

void server_enable_echo(struct server *s, uint32_t channel)
{
	control(s, channel, ECHO_IOCTL_ENABLE);
}

bool server_echo_is_open(struct server *s, uint32_t channel)
{
	struct echo_select select = {.channel = channel};
	struct echo_info info;
	size_t returned;

	assert_int_equal(kmcl_device_control(s->driver, 0, ECHO_IOCTL_QUERY, &select,
					     sizeof(select), &info, sizeof(info), &returned),
			 0);
	return info.open;
}

struct kmcl_channel_stats server_stats(struct server *s, uint32_t relid)
{
	struct kmcl_channel_stats stats[8];
	size_t n = kmcl_partition_stats(s->partition, stats, 8);

	for (size_t i = 0; i < n && i < 8; i++)
		if (stats[i].server && stats[i].channel_id == relid)
			return stats[i];
	fail_msg("channel %u has no counters", relid);
	return stats[0];
}

/* ---- life ---- */

static void violated(void *ctx, const char *rule, const char *driver, const char *text)
{
	print_error("contract violation %s by %s: %s\n", rule, driver, text);
	abort();
}

void server_start(struct server *s, const struct machine_config *config)
{
	static const char *const options[] = {"channels=2", NULL};
	struct machine_config defaults = {0};
	char *error = NULL;
	struct part *part;

	memset(s, 0, sizeof(*s));
	s->held = count_held();
	kmcl_set_violation(violated, NULL);
	s->m = machine_create(config ? config : &defaults);
	part = machine_part(s->m);
	assert_int_equal(server_end_start(part_server(part)), 0);
	s->partition = host_partition_of(part);
	assert_non_null(s->partition);
	if (kmcl_driver_load_entry(s->partition, KMCL_SERVER, "echo_vsp",
				   (void *)(uintptr_t)echo_vsp_entry, options, NULL, &s->driver,
				   &error))
		fail_msg("%s", error);
	s->plain = calloc(1, sizeof(*s->plain));
	pthread_mutex_init(&s->plain->lock, NULL);
	s->plain->ep = part_server(part);
	s->plain->port.ops = &plain_port_ops;
	server_offer_plain(s);
	guest_start(&s->g, s->m);
}

void server_stop(struct server *s)
{
	if (s->plain->ch)
		server_revoke_plain(s);
	assert_int_equal(kmcl_driver_unload(s->driver), 0);
	kmcl_partition_destroy(s->partition);
	machine_destroy(s->m);
	pthread_mutex_destroy(&s->plain->lock);
	free(s->plain);
	kmcl_set_violation(NULL, NULL);
	assert_nothing_more_held(s->held);
}
