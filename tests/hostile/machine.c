/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "partition/client_end.h"

struct machine {
	struct part *part;
	struct part_event messages, lines[MACHINE_VPS];
	struct part_event *line[MACHINE_VPS];
	struct hv_flags doorbell;
	struct hv_flags *doorbells[1];
	pthread_mutex_t lock; /* around a raw host's looks, and the end of it all */
	bool gone;
	void (*destroy)(void *transport);
};

/* The partition goes in one thread while a raw host serves it in another. One machine at a time. */
static struct machine *present;

static void destroy_transport(void *transport)
{
	pthread_mutex_lock(&present->lock);
	present->gone = true;
	pthread_mutex_unlock(&present->lock);
	present->destroy(transport);
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
		.limits = {.channels = config->channels,
			   .gpadls = config->gpadls,
			   .gpadl_pages = config->gpadl_pages},
	};

	pthread_mutexattr_t attr;

	if (!m || part_loopback_assemble(&o, &m->part))
		abort();
	for (uint32_t i = 0; i < MACHINE_VPS; i++)
		m->line[i] = &m->lines[i];
	m->doorbells[0] = &m->doorbell;
	/* a test that fails in between does not unlock */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&m->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	m->destroy = m->part->transport_destroy;
	m->part->transport_destroy = destroy_transport;
	present = m;
	return m;
}

/* The partition itself goes with whoever runs the real end. */
void machine_destroy(struct machine *m)
{
	pthread_mutex_destroy(&m->lock);
	free(m);
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
	pthread_mutex_lock(&m->lock);
	if (!m->gone)
		return true;
	pthread_mutex_unlock(&m->lock);
	return false;
}

void machine_leave(struct machine *m)
{
	pthread_mutex_unlock(&m->lock);
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
