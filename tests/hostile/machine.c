/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "partition/client_end.h"
#include "partition/server_end.h"

struct machine {
	struct part *part;
	struct part_event messages, lines[MACHINE_VPS];
	struct part_event *line[MACHINE_VPS];
	struct hv_flags doorbell;
	struct hv_flags *doorbells[1];
	pthread_rwlock_t lock; /* a raw host's looks share it, the end of it all does not */
	bool gone;
	void (*destroy)(void *transport);
	struct part_guest_ops flooding;
	uint8_t flood[HV_MESSAGE_MAX];
	atomic_uint flood_size;             /* 0: none */
	const struct part_guest_ops *guest; /* the transport's own */
};

/* The partition goes in one thread while a raw host serves it in another. One machine at a time. */
static struct machine *present;

static void destroy_transport(void *transport)
{
	pthread_rwlock_wrlock(&present->lock);
	present->gone = true;
	pthread_rwlock_unlock(&present->lock);
	present->destroy(transport);
}

static void fill_slot(void)
{
	uint8_t *slot = machine_slot(present, 1, 2);
	uint32_t size = atomic_load(&present->flood_size);

	for (uint32_t i = 0; i < size; i++)
		__atomic_store_n(slot + 16 + i, present->flood[i], __ATOMIC_RELAXED);
	__atomic_store_n(slot + 4, (uint8_t)size, __ATOMIC_RELAXED);
	__atomic_store_n(slot + 5, 1, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(void *)slot, 1, __ATOMIC_SEQ_CST);
}

/* As if the host had waited for nothing else. */
static void fill_again(void *transport, uint32_t vp)
{
	if (vp == 1 && atomic_load(&present->flood_size))
		fill_slot();
	else
		present->guest->end_of_message(transport, vp);
}

struct machine *machine_create(const struct machine_config *config)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct part_options o = {
		.memory = MACHINE_MEMORY,
		.vps = MACHINE_VPS,
		.server_dispatchers = 2,
		.max_version = config->max_version,
		.features = config->features,
		.posted_messages = config->posted_messages,
		.queued_messages = config->queued_messages,
		.limits = {.channels = config->channels,
			   .gpadls = config->gpadls,
			   .gpadl_pages = config->gpadl_pages},
	};
	pthread_rwlockattr_t attr;

	if (!m || part_loopback_assemble(&o, &m->part))
		abort();
	for (uint32_t i = 0; i < MACHINE_VPS; i++)
		m->line[i] = &m->lines[i];
	m->doorbells[0] = &m->doorbell;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&m->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	m->guest = m->part->client.guest;
	m->flooding = *m->guest;
	m->flooding.end_of_message = fill_again;
	m->part->client.guest = &m->flooding;
	m->destroy = m->part->transport_destroy;
	m->part->transport_destroy = destroy_transport;
	present = m;
	return m;
}

/* The partition itself goes with whoever runs the real end. */
void machine_destroy(struct machine *m)
{
	pthread_rwlock_destroy(&m->lock);
	free(m);
}

uint32_t machine_queued(struct machine *m)
{
	struct part_endpoint *ep = part_server(m->part);
	uint32_t count;

	pthread_mutex_lock(&ep->lock);
	count = ep->srv->outgoing.count;
	pthread_mutex_unlock(&ep->lock);
	return count;
}

uint8_t *machine_memory(struct machine *m)
{
	return part_memory_at(part_client(m->part), 0, MACHINE_MEMORY);
}

uint64_t machine_memory_size(struct machine *m)
{
	return MACHINE_MEMORY;
}

void *machine_part(struct machine *m)
{
	return m->part;
}

/* ---- guest ---- */

void machine_be_guest(struct machine *m)
{
	struct part_guest_lines lines = {
		.messages = &m->messages, .vps = MACHINE_VPS, .flags = m->line};

	m->part->client.guest->start(m->part->transport, &lines);
}

bool machine_enable_synic(struct machine *m, uint32_t vp, uint64_t simp, uint64_t siefp)
{
	return !m->part->client.guest->enable_synic(m->part->transport, vp, simp, siefp);
}

uint16_t machine_post(struct machine *m, uint32_t connection, const void *bytes, uint32_t size)
{
	struct hv_message message = {.connection_id = connection, .type = 1, .size = size};

	memcpy(message.payload, bytes,
	       size < sizeof(message.payload) ? size : sizeof(message.payload));
	return m->part->client.guest->post_message(m->part->transport, &message);
}

uint16_t machine_signal(struct machine *m, uint32_t connection, uint16_t flag)
{
	return m->part->client.guest->signal_event(m->part->transport, connection, flag);
}

void machine_end_of_message(struct machine *m, uint32_t vp)
{
	m->part->client.guest->end_of_message(m->part->transport, vp);
}

void machine_reset(struct machine *m)
{
	m->part->client.guest->reset(m->part->transport);
}

/* ---- host ---- */

bool machine_enter(struct machine *m)
{
	pthread_rwlock_rdlock(&m->lock);
	if (!m->gone)
		return true;
	pthread_rwlock_unlock(&m->lock);
	return false;
}

void machine_leave(struct machine *m)
{
	pthread_rwlock_unlock(&m->lock);
}

void machine_be_host(struct machine *m)
{
	struct part_host_lines lines = {.messages = &m->messages,
					.dispatchers = 1,
					.doorbells = m->doorbells,
					.events = m->line};

	m->part->server.host->start(m->part->transport, &lines);
}

void machine_open_port(struct machine *m, uint32_t connection)
{
	if (m->part->server.host->bind_messages(m->part->transport, connection))
		abort();
}

bool machine_take(struct machine *m, uint32_t *connection, uint8_t *bytes, uint32_t *size)
{
	struct hv_message message;

	if (!m->part->server.host->take_message(m->part->transport, &message))
		return false;
	*connection = message.connection_id;
	*size = message.size;
	memcpy(bytes, message.payload, sizeof(message.payload));
	return true;
}

bool machine_deliver(struct machine *m, uint32_t vp, uint8_t sint, const void *bytes, uint32_t size)
{
	return !m->part->server.host->deliver(m->part->transport, vp, sint, bytes, size);
}

uint8_t *machine_slot(struct machine *m, uint32_t vp, uint8_t sint)
{
	uint64_t simp = m->part->client.cli->synic_gpa + vp * 2 * PART_PAGE_SIZE;

	return machine_memory(m) + simp + sint * 256;
}

void machine_flood(struct machine *m, const void *bytes, uint32_t size)
{
	memcpy(m->flood, bytes, size);
	atomic_store(&m->flood_size, size);
	fill_slot();
	machine_kick_messages(m);
}

void machine_kick_messages(struct machine *m)
{
	part_event_raise(&m->part->client.messages);
}

void machine_set_flag(struct machine *m, uint32_t vp, uint16_t flag)
{
	m->part->server.host->set_flag(m->part->transport, vp, 2, flag);
}

bool machine_bind_signal(struct machine *m, uint32_t connection, uint32_t channel)
{
	return !m->part->server.host->bind_port(m->part->transport, connection, 0, channel);
}

void machine_unbind_signal(struct machine *m, uint32_t connection)
{
	m->part->server.host->unbind_port(m->part->transport, connection);
}

bool machine_rung(struct machine *m, uint32_t channel)
{
	uint64_t bit = 1ull << channel % 64;

	return atomic_fetch_and(&m->doorbell.word[channel / 64], ~bit) & bit;
}
