/* SPDX-License-Identifier: MIT */
#include "partition/machine.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

#define CONNECTION_ID_MASK 0xffffffu
#define SIGNAL_PROBES      64u
#define RESET_LOG_NS       5000000000u
#define DEFAULT_POSTED     32u

/* ---- life ---- */

void hv_machine_init(struct hv_machine *m, uint32_t partition, const struct part_memory *memory,
		     uint32_t vps, hv_interrupt *interrupt)
{
	pthread_condattr_t attr;

	m->partition = partition;
	m->memory = memory;
	m->vps = vps < SYNIC_MAX_VPS ? vps : SYNIC_MAX_VPS;
	m->most_messages = DEFAULT_POSTED;
	m->interrupt = interrupt;
	pthread_mutex_init(&m->reset_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->reset_changed, &attr);
	pthread_condattr_destroy(&attr);
}

void hv_machine_limit_posted(struct hv_machine *m, uint32_t most)
{
	m->most_messages = most < HV_MACHINE_MESSAGES ? most : HV_MACHINE_MESSAGES;
}

void hv_machine_destroy(struct hv_machine *m)
{
	pthread_cond_destroy(&m->reset_changed);
	pthread_mutex_destroy(&m->reset_lock);
}

static void start(void *transport, const struct part_host_lines *lines)
{
	struct hv_machine *m = transport;

	m->host = *lines;
	atomic_store(&m->host_started, true);
}

static void stop(void *transport)
{
	struct hv_machine *m = transport;

	atomic_store(&m->host_started, false);
	/* A Dekker pair with host_enter: who counts itself after this finds no host. */
	while (atomic_load(&m->raising))
		sched_yield();
}

/* False: no host. The lines stay until host_leave. */
static bool host_enter(struct hv_machine *m)
{
	atomic_fetch_add(&m->raising, 1);
	if (atomic_load(&m->host_started))
		return true;
	atomic_fetch_sub(&m->raising, 1);
	return false;
}

static void host_leave(struct hv_machine *m)
{
	atomic_fetch_sub(&m->raising, 1);
}

/* ---- messages ---- */

static bool is_message_port(const struct hv_machine *m, uint32_t connection_id)
{
	for (uint32_t i = 0; i < m->port_count; i++)
		if (m->ports[i] == (connection_id & CONNECTION_ID_MASK))
			return true;
	return false;
}

static int bind_messages(void *transport, uint32_t connection_id)
{
	struct hv_machine *m = transport;
	int error = -ENOSPC;

	spin_lock(&m->lock);
	if (is_message_port(m, connection_id)) {
		error = 0; /* of the host end before this one */
	} else if (m->port_count < HV_MACHINE_MESSAGE_PORTS) {
		m->ports[m->port_count++] = connection_id & CONNECTION_ID_MASK;
		error = 0;
	}
	spin_unlock(&m->lock);
	return error;
}

static bool take_message(void *transport, struct hv_message *message)
{
	struct hv_machine *m = transport;
	bool taken;

	spin_lock(&m->lock);
	taken = m->count;
	if (taken) {
		*message = m->messages[m->first];
		m->first = (m->first + 1) % HV_MACHINE_MESSAGES;
		m->count--;
	}
	spin_unlock(&m->lock);
	return taken;
}

static uint16_t queue_message(struct hv_machine *m, const struct hv_message *message)
{
	if (!is_message_port(m, message->connection_id))
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (message->type != HV_MESSAGE_TYPE_VMBUS)
		return HV_STATUS_INVALID_PARAMETER;
	if (m->count == m->most_messages)
		return HV_STATUS_INSUFFICIENT_BUFFERS;
	m->messages[(m->first + m->count++) % HV_MACHINE_MESSAGES] = *message;
	return HV_STATUS_SUCCESS;
}

uint16_t hv_machine_post(struct hv_machine *m, const struct hv_message *message)
{
	uint16_t status;

	if (message->size > HV_MESSAGE_MAX)
		return HV_STATUS_INVALID_PARAMETER;
	spin_lock(&m->lock);
	status = queue_message(m, message);
	spin_unlock(&m->lock);
	if (status == HV_STATUS_SUCCESS)
		hv_machine_look(m);
	return status;
}

void hv_machine_look(struct hv_machine *m)
{
	if (!host_enter(m))
		return;
	part_event_raise(m->host.messages);
	host_leave(m);
}

/* ---- SynIC pages ---- */

static int deliver(void *transport, uint32_t vp, uint8_t sint, const void *payload, size_t size)
{
	struct hv_machine *m = transport;
	int error;

	if (vp >= m->vps)
		return -ENODEV;
	atomic_fetch_add(&m->vp[vp].inside, 1);
	error = synic_deliver(&m->vp[vp], sint, HV_MESSAGE_TYPE_VMBUS, 0, payload, size);
	if (!error)
		m->interrupt(m, vp, sint, true);
	atomic_fetch_sub(&m->vp[vp].inside, 1);
	return error;
}

static int set_flag(void *transport, uint32_t vp, uint8_t sint, uint16_t flag)
{
	struct hv_machine *m = transport;
	int raised;

	if (vp >= m->vps)
		return -ENODEV;
	atomic_fetch_add(&m->vp[vp].inside, 1);
	raised = synic_set_flag(&m->vp[vp], sint, flag);
	if (raised > 0)
		m->interrupt(m, vp, sint, false);
	atomic_fetch_sub(&m->vp[vp].inside, 1);
	return raised < 0 ? raised : 0;
}

static bool find_page(const struct hv_machine *m, uint64_t gpa, uint8_t **page)
{
	*page = gpa ? memory_at(m->memory, gpa, PART_PAGE_SIZE) : NULL;
	return !(gpa % PART_PAGE_SIZE) && (*page || !gpa);
}

/* Another Dekker pair: who counts itself after the page was taken away finds none. */
static void set_page(struct synic_vp *v, _Atomic(uint8_t *) *at, uint8_t *page)
{
	uint8_t *old = atomic_exchange(at, page);

	while (old && old != page && atomic_load(&v->inside))
		sched_yield();
}

int hv_machine_enable_synic(struct hv_machine *m, uint32_t vp, uint64_t simp_gpa,
			    uint64_t siefp_gpa)
{
	uint8_t *simp, *siefp;

	if (vp >= m->vps || !find_page(m, simp_gpa, &simp) || !find_page(m, siefp_gpa, &siefp))
		return -EINVAL;
	set_page(&m->vp[vp], &m->vp[vp].simp, simp);
	set_page(&m->vp[vp], &m->vp[vp].siefp, siefp);
	/* A guest of VMBus unmasks one SINT and no other. */
	atomic_store(&m->vp[vp].unmasked, 1u << 2);
	hv_machine_look(m);
	return 0;
}

int hv_machine_unmask(struct hv_machine *m, uint32_t vp, uint8_t sint, bool unmasked)
{
	if (vp >= m->vps || sint >= SYNIC_SINTS)
		return -EINVAL;
	if (!unmasked) {
		atomic_fetch_and(&m->vp[vp].unmasked, ~(1u << sint));
		return 0;
	}
	atomic_fetch_or(&m->vp[vp].unmasked, 1u << sint);
	hv_machine_look(m);
	return 0;
}

/* ---- events ---- */

static _Atomic uint64_t *signal_slot(struct hv_machine *m, uint32_t connection_id)
{
	uint32_t hash = connection_id % HV_MACHINE_EVENT_PORTS;

	for (uint32_t i = 0; i < SIGNAL_PROBES; i++) {
		_Atomic uint64_t *slot = &m->signals[(hash + i) % HV_MACHINE_EVENT_PORTS];
		uint64_t port = atomic_load(slot);

		if (port && port >> 32 == connection_id)
			return slot;
	}
	return NULL;
}

static int bind_port(void *transport, uint32_t connection_id, uint32_t dispatcher, uint32_t channel)
{
	struct hv_machine *m = transport;
	uint32_t id = connection_id & CONNECTION_ID_MASK;
	uint64_t port = (uint64_t)id << 32 | dispatcher << 16 | channel;

	if (!id || channel >= HV_EVENT_FLAGS)
		return -EINVAL;
	if (signal_slot(m, id))
		return -EEXIST;
	for (uint32_t i = 0; i < SIGNAL_PROBES; i++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&m->signals[(id + i) % HV_MACHINE_EVENT_PORTS],
						   &none, port))
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

uint16_t hv_machine_signal(struct hv_machine *m, uint32_t connection_id, uint16_t flag)
{
	_Atomic uint64_t *slot = signal_slot(m, connection_id & CONNECTION_ID_MASK);
	uint64_t port = slot ? atomic_load(slot) : 0;
	uint32_t dispatcher = (uint32_t)(port >> 16 & 0xffff);

	if (port >> 32 != (connection_id & CONNECTION_ID_MASK) || !port)
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (flag)
		return HV_STATUS_INVALID_PARAMETER;
	if (!host_enter(m))
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (dispatcher < m->host.dispatchers) {
		hv_flag_set(m->host.doorbells[dispatcher], (uint32_t)(port & 0xffff));
		part_event_raise(m->host.events[dispatcher]);
	}
	host_leave(m);
	return HV_STATUS_SUCCESS;
}

void hv_machine_doorbell(struct hv_machine *m, uint32_t dispatcher, uint32_t channel)
{
	if (!host_enter(m))
		return;
	if (dispatcher < m->host.dispatchers && channel < HV_EVENT_FLAGS) {
		hv_flag_set(m->host.doorbells[dispatcher], channel);
		part_event_raise(m->host.events[dispatcher]);
	}
	host_leave(m);
}

/* ---- resets ---- */

static bool take_reset(void *transport)
{
	struct hv_machine *m = transport;
	bool taken;

	pthread_mutex_lock(&m->reset_lock);
	taken = m->reset_wanted && !m->reset_taken;
	if (taken)
		m->reset_taken = true;
	pthread_mutex_unlock(&m->reset_lock);
	if (taken) {
		spin_lock(&m->lock);
		m->count = 0;
		spin_unlock(&m->lock);
	}
	return taken;
}

static void reset_done(void *transport)
{
	struct hv_machine *m = transport;

	pthread_mutex_lock(&m->reset_lock);
	m->reset_wanted = false;
	m->reset_taken = false;
	pthread_cond_broadcast(&m->reset_changed);
	pthread_mutex_unlock(&m->reset_lock);
}

void hv_machine_ask_reset(struct hv_machine *m)
{
	pthread_mutex_lock(&m->reset_lock);
	m->reset_wanted = true;
	pthread_mutex_unlock(&m->reset_lock);
	hv_machine_look(m);
}

bool hv_machine_resetting(struct hv_machine *m)
{
	bool resetting;

	pthread_mutex_lock(&m->reset_lock);
	resetting = m->reset_wanted;
	pthread_mutex_unlock(&m->reset_lock);
	return resetting;
}

void hv_machine_reset(struct hv_machine *m)
{
	pthread_mutex_lock(&m->reset_lock);
	m->reset_wanted = true;
	hv_machine_look(m);
	while (m->reset_wanted) {
		uint64_t at = clock_now_ns() + RESET_LOG_NS;
		struct timespec t = {.tv_sec = (time_t)(at / 1000000000u),
				     .tv_nsec = (long)(at % 1000000000u)};

		if (pthread_cond_timedwait(&m->reset_changed, &m->reset_lock, &t) == ETIMEDOUT)
			kmcl_log(KMCL_LOG_WARNING, "partition", m->partition, 0,
				 "a reset waits for the host's devices to close");
	}
	pthread_mutex_unlock(&m->reset_lock);
}

/* ---- clocks ---- */

#define BRACKET_NS    20000u /* good enough at once */
#define BRACKET_TRIES 8u

static uint64_t real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int hv_bracket_clocks(int (*read)(void *ctx, uint64_t *reference), void *ctx,
		      struct hv_clocks *clocks)
{
	uint64_t narrowest = UINT64_MAX;

	for (unsigned int i = 0; i < BRACKET_TRIES && narrowest > BRACKET_NS; i++) {
		uint64_t before = real_ns(), start = clock_now_ns(), reference, width;
		int error = read(ctx, &reference);

		width = clock_now_ns() - start;
		if (error)
			return error;
		if (width >= narrowest)
			continue;
		narrowest = width;
		clocks->reference = reference;
		clocks->real_ns = before + width / 2;
	}
	return 0;
}

static int read_reference(void *ctx, uint64_t *reference)
{
	const struct hv_machine *m = ctx;

	*reference = (clock_now_ns() - m->reference_start_ns) / 100;
	return 0;
}

static int read_clocks(void *transport, struct hv_clocks *clocks)
{
	struct hv_machine *m = transport;

	return m->reference_start_ns ? hv_bracket_clocks(read_reference, m, clocks) : -ENOTSUP;
}

const struct part_host_ops hv_machine_ops = {
	.start = start,
	.stop = stop,
	.bind_messages = bind_messages,
	.take_message = take_message,
	.deliver = deliver,
	.set_flag = set_flag,
	.bind_port = bind_port,
	.unbind_port = unbind_port,
	.take_reset = take_reset,
	.reset_done = reset_done,
	.read_clocks = read_clocks,
};
