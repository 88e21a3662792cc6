/* SPDX-License-Identifier: MIT */
#include "partition/loopback.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/spin.h"
#include "partition/synic.h"

#define CONNECTION_ID_MASK 0xffffffu
#define MESSAGE_BUFFERS    32u /* of all message ports */
#define MESSAGE_PORTS      8u
#define SIGNAL_PORTS       4096u
#define SIGNAL_PROBES      64u
#define RESET_LOG_NS       5000000000u

struct loopback {
	const struct part_memory *host_view;
	uint32_t vps, partition;
	struct part_host_lines host;
	struct part_guest_lines guest;
	atomic_bool host_started, guest_started;

	/* Message ports and their buffers. */
	struct spin_lock lock;
	uint32_t ports[MESSAGE_PORTS], port_count;
	struct hv_message messages[MESSAGE_BUFFERS];
	uint32_t first, count;

	/*
	 * Event ports: connection id << 32 | dispatcher << 16 | channel, 0 for none, in one word,
	 * so that a signal takes no lock and sees a binding whole or not at all. An id lies within
	 * SIGNAL_PROBES of its hash; the bus's own ids do not collide, ids that a guest chose may.
	 */
	_Atomic uint64_t signals[SIGNAL_PORTS];

	struct synic_vp vp[SYNIC_MAX_VPS];

	pthread_mutex_t reset_lock;
	pthread_cond_t reset_changed;
	bool reset_wanted, reset_taken;
};

/* ---- the host's side ---- */

static void host_start(void *transport, const struct part_host_lines *lines)
{
	struct loopback *l = transport;

	l->host = *lines;
	atomic_store(&l->host_started, true);
}

static void host_stop(void *transport)
{
	struct loopback *l = transport;

	atomic_store(&l->host_started, false);
}

static int bind_messages(void *transport, uint32_t connection_id)
{
	struct loopback *l = transport;
	int error = -ENOSPC;

	spin_lock(&l->lock);
	if (l->port_count < MESSAGE_PORTS) {
		l->ports[l->port_count++] = connection_id & CONNECTION_ID_MASK;
		error = 0;
	}
	spin_unlock(&l->lock);
	return error;
}

static bool take_message(void *transport, struct hv_message *message)
{
	struct loopback *l = transport;
	bool taken;

	spin_lock(&l->lock);
	taken = l->count;
	if (taken) {
		*message = l->messages[l->first];
		l->first = (l->first + 1) % MESSAGE_BUFFERS;
		l->count--;
	}
	spin_unlock(&l->lock);
	return taken;
}

static int deliver(void *transport, uint32_t vp, uint8_t sint, const void *payload, size_t size)
{
	struct loopback *l = transport;
	int error;

	if (vp >= l->vps)
		return -ENODEV;
	error = synic_deliver(&l->vp[vp], sint, HV_MESSAGE_TYPE_VMBUS, 0, payload, size);
	if (!error && atomic_load(&l->guest_started))
		part_event_raise(l->guest.messages);
	return error;
}

static int set_flag(void *transport, uint32_t vp, uint8_t sint, uint16_t flag)
{
	struct loopback *l = transport;
	int raised;

	if (vp >= l->vps)
		return -ENODEV;
	raised = synic_set_flag(&l->vp[vp], sint, flag);
	if (raised > 0 && atomic_load(&l->guest_started))
		part_event_raise(l->guest.flags[vp]);
	return raised < 0 ? raised : 0;
}

static _Atomic uint64_t *signal_slot(struct loopback *l, uint32_t connection_id)
{
	uint32_t hash = connection_id % SIGNAL_PORTS;

	for (uint32_t i = 0; i < SIGNAL_PROBES; i++) {
		_Atomic uint64_t *slot = &l->signals[(hash + i) % SIGNAL_PORTS];
		uint64_t port = atomic_load(slot);

		if (port && port >> 32 == connection_id)
			return slot;
	}
	return NULL;
}

static int bind_port(void *transport, uint32_t connection_id, uint32_t dispatcher, uint32_t channel)
{
	struct loopback *l = transport;
	uint32_t id = connection_id & CONNECTION_ID_MASK;
	uint64_t port = (uint64_t)id << 32 | dispatcher << 16 | channel;

	if (!id || channel >= HV_EVENT_FLAGS)
		return -EINVAL;
	if (signal_slot(l, id))
		return -EEXIST;
	for (uint32_t i = 0; i < SIGNAL_PROBES; i++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&l->signals[(id + i) % SIGNAL_PORTS], &none,
						   port))
			return 0;
	}
	return -ENOSPC;
}

static void unbind_port(void *transport, uint32_t connection_id)
{
	_Atomic uint64_t *slot = signal_slot(transport, connection_id & CONNECTION_ID_MASK);

	if (slot)
		atomic_store(slot, 0);
}

static bool take_reset(void *transport)
{
	struct loopback *l = transport;
	bool taken;

	pthread_mutex_lock(&l->reset_lock);
	taken = l->reset_wanted && !l->reset_taken;
	if (taken)
		l->reset_taken = true;
	pthread_mutex_unlock(&l->reset_lock);
	if (taken) {
		spin_lock(&l->lock);
		l->count = 0;
		spin_unlock(&l->lock);
	}
	return taken;
}

static void reset_done(void *transport)
{
	struct loopback *l = transport;

	pthread_mutex_lock(&l->reset_lock);
	l->reset_wanted = false;
	l->reset_taken = false;
	pthread_cond_broadcast(&l->reset_changed);
	pthread_mutex_unlock(&l->reset_lock);
}

const struct part_host_ops loopback_host_ops = {
	.start = host_start,
	.stop = host_stop,
	.bind_messages = bind_messages,
	.take_message = take_message,
	.deliver = deliver,
	.set_flag = set_flag,
	.bind_port = bind_port,
	.unbind_port = unbind_port,
	.take_reset = take_reset,
	.reset_done = reset_done,
};

/* ---- the guest's side ---- */

static void guest_start(void *transport, const struct part_guest_lines *lines)
{
	struct loopback *l = transport;

	l->guest = *lines;
	atomic_store(&l->guest_started, true);
}

static void guest_stop(void *transport)
{
	struct loopback *l = transport;

	atomic_store(&l->guest_started, false);
}

static int enable_synic(void *transport, uint32_t vp, uint64_t simp_gpa, uint64_t siefp_gpa)
{
	struct loopback *l = transport;
	uint8_t *simp = memory_at(l->host_view, simp_gpa, PART_PAGE_SIZE);
	uint8_t *siefp = memory_at(l->host_view, siefp_gpa, PART_PAGE_SIZE);

	if (vp >= l->vps || !simp || !siefp || (simp_gpa | siefp_gpa) % PART_PAGE_SIZE)
		return -EINVAL;
	atomic_store(&l->vp[vp].simp, simp);
	atomic_store(&l->vp[vp].siefp, siefp);
	/* A guest of VMBus unmasks one SINT and no other. */
	atomic_store(&l->vp[vp].unmasked, 1u << 2);
	return 0;
}

/* Messages that found the SINT masked are tried again. */
static int unmask_sint(void *transport, uint32_t vp, uint8_t sint, bool unmasked)
{
	struct loopback *l = transport;

	if (vp >= l->vps || sint >= SYNIC_SINTS)
		return -EINVAL;
	if (!unmasked) {
		atomic_fetch_and(&l->vp[vp].unmasked, ~(1u << sint));
		return 0;
	}
	atomic_fetch_or(&l->vp[vp].unmasked, 1u << sint);
	if (atomic_load(&l->host_started))
		part_event_raise(l->host.messages);
	return 0;
}

static bool is_message_port(const struct loopback *l, uint32_t connection_id)
{
	for (uint32_t i = 0; i < l->port_count; i++)
		if (l->ports[i] == (connection_id & CONNECTION_ID_MASK))
			return true;
	return false;
}

static uint16_t queue_message(struct loopback *l, const struct hv_message *message)
{
	if (!is_message_port(l, message->connection_id))
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (message->type != HV_MESSAGE_TYPE_VMBUS)
		return HV_STATUS_INVALID_PARAMETER;
	if (l->count == MESSAGE_BUFFERS)
		return HV_STATUS_INSUFFICIENT_BUFFERS;
	l->messages[(l->first + l->count++) % MESSAGE_BUFFERS] = *message;
	return HV_STATUS_SUCCESS;
}

static uint16_t post_message(void *transport, const struct hv_message *message)
{
	struct loopback *l = transport;
	uint16_t status;

	if (message->size > HV_MESSAGE_MAX)
		return HV_STATUS_INVALID_PARAMETER;
	spin_lock(&l->lock);
	status = queue_message(l, message);
	spin_unlock(&l->lock);
	if (status == HV_STATUS_SUCCESS && atomic_load(&l->host_started))
		part_event_raise(l->host.messages);
	return status;
}

static uint16_t signal_event(void *transport, uint32_t connection_id, uint16_t flag)
{
	struct loopback *l = transport;
	_Atomic uint64_t *slot = signal_slot(l, connection_id & CONNECTION_ID_MASK);
	uint64_t port = slot ? atomic_load(slot) : 0;
	uint32_t dispatcher = (uint32_t)(port >> 16 & 0xffff);

	if (port >> 32 != (connection_id & CONNECTION_ID_MASK) || !port)
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (flag)
		return HV_STATUS_INVALID_PARAMETER;
	if (!atomic_load(&l->host_started) || dispatcher >= l->host.dispatchers)
		return HV_STATUS_INVALID_CONNECTION_ID;
	hv_flag_set(l->host.doorbells[dispatcher], (uint32_t)(port & 0xffff));
	part_event_raise(l->host.events[dispatcher]);
	return HV_STATUS_SUCCESS;
}

static void end_of_message(void *transport, uint32_t vp)
{
	struct loopback *l = transport;

	if (vp < l->vps && atomic_load(&l->host_started))
		part_event_raise(l->host.messages);
}

static void reset(void *transport)
{
	struct loopback *l = transport;

	pthread_mutex_lock(&l->reset_lock);
	l->reset_wanted = true;
	part_event_raise(l->host.messages);
	while (l->reset_wanted) {
		uint64_t at = clock_now_ns() + RESET_LOG_NS;
		struct timespec t = {.tv_sec = (time_t)(at / 1000000000u),
				     .tv_nsec = (long)(at % 1000000000u)};

		if (pthread_cond_timedwait(&l->reset_changed, &l->reset_lock, &t) == ETIMEDOUT)
			kmcl_log(KMCL_LOG_WARNING, "partition", l->partition, 0,
				 "a reset waits for the host's devices to close");
	}
	pthread_mutex_unlock(&l->reset_lock);
}

const struct part_guest_ops loopback_guest_ops = {
	.start = guest_start,
	.stop = guest_stop,
	.enable_synic = enable_synic,
	.unmask_sint = unmask_sint,
	.post_message = post_message,
	.signal_event = signal_event,
	.end_of_message = end_of_message,
	.reset = reset,
};

/* ---- life ---- */

struct loopback *loopback_create(const struct part_memory *host_view, uint32_t vps,
				 uint32_t partition)
{
	struct loopback *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l)
		return NULL;
	l->host_view = host_view;
	l->vps = vps < SYNIC_MAX_VPS ? vps : SYNIC_MAX_VPS;
	l->partition = partition;
	pthread_mutex_init(&l->reset_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->reset_changed, &attr);
	pthread_condattr_destroy(&attr);
	return l;
}

void loopback_destroy(struct loopback *l)
{
	pthread_cond_destroy(&l->reset_changed);
	pthread_mutex_destroy(&l->reset_lock);
	free(l);
}
