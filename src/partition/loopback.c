/* SPDX-License-Identifier: MIT */
#include "partition/loopback.h"

#include <stdlib.h>

#include "base/clock.h"
#include "partition/machine.h"

struct loopback {
	struct hv_machine machine;
	struct part_guest_lines guest;
	atomic_bool guest_started;
};

static void interrupt(void *transport, uint32_t vp, uint8_t sint, bool message)
{
	struct loopback *l = transport;

	if (atomic_load(&l->guest_started))
		part_event_raise(message ? l->guest.messages : l->guest.flags[vp]);
}

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
	return hv_machine_enable_synic(transport, vp, simp_gpa, siefp_gpa);
}

static int unmask_sint(void *transport, uint32_t vp, uint8_t sint, bool unmasked)
{
	return hv_machine_unmask(transport, vp, sint, unmasked);
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
	hv_machine_look(transport);
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
	hv_machine_init(&l->machine, partition, host_view, vps, interrupt);
	l->machine.reference_start_ns = clock_now_ns();
	return l;
}

void loopback_destroy(struct loopback *l)
{
	hv_machine_destroy(&l->machine);
	free(l);
}
