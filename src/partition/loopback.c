/* SPDX-License-Identifier: MIT */
#include "partition/loopback.h"

#include <errno.h>
#include <stdlib.h>

#include "partition/machine.h"
#include "partition/synic.h"

struct loopback {
	struct hv_machine machine;
	const struct part_memory *host_view;
	uint32_t vps;
	struct part_guest_lines guest;
	atomic_bool guest_started;
	struct synic_vp vp[SYNIC_MAX_VPS];
};

/* ---- toward the guest ---- */

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

const struct part_host_ops loopback_host_ops = {
	.start = hv_machine_start,
	.stop = hv_machine_stop,
	.bind_messages = hv_machine_bind_messages,
	.take_message = hv_machine_take_message,
	.deliver = deliver,
	.set_flag = set_flag,
	.bind_port = hv_machine_bind_port,
	.unbind_port = hv_machine_unbind_port,
	.take_reset = hv_machine_take_reset,
	.reset_done = hv_machine_reset_done,
};

/* ---- what the guest does ---- */

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
	hv_machine_look(&l->machine);
	return 0;
}

static uint16_t post_message(void *transport, const struct hv_message *message)
{
	return hv_machine_post(transport, message);
}

static uint16_t signal_event(void *transport, uint32_t connection_id, uint16_t flag)
{
	return hv_machine_signal(transport, connection_id, flag);
}

static void end_of_message(void *transport, uint32_t vp)
{
	struct loopback *l = transport;

	if (vp < l->vps)
		hv_machine_look(&l->machine);
}

static void reset(void *transport)
{
	hv_machine_reset(transport);
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

	if (!l)
		return NULL;
	l->host_view = host_view;
	l->vps = vps < SYNIC_MAX_VPS ? vps : SYNIC_MAX_VPS;
	hv_machine_init(&l->machine, partition);
	return l;
}

void loopback_destroy(struct loopback *l)
{
	hv_machine_destroy(&l->machine);
	free(l);
}
