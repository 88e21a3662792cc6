/* SPDX-License-Identifier: MIT */
/*
 * A suspend waits for the driver: for its callback to return, and for the packets that it has. One
 * that keeps it waiting is named.
 */
#include <stdio.h>

#include "kmcl/channel.h"
#include "kmcl/verifier.h"

/* A wait for the driver, reported once when it has taken too long. */
struct patience {
	uint64_t began_ms;
	bool told;
};

static struct patience patience_begin(void)
{
	return (struct patience){.began_ms = KeQueryInterruptTime() / 10000};
}

/* Waits for in.drained until there is something to tell. True: it is time to. */
static bool patience_ends(struct kmcl_channel *ch, struct patience *p, uint64_t *waited_ms)
{
	uint32_t most = kmcl_verifier_suspend_ms();
	LARGE_INTEGER slice;

	*waited_ms = KeQueryInterruptTime() / 10000 - p->began_ms;
	if (!p->told && *waited_ms >= most) {
		p->told = true;
		return true;
	}
	slice.QuadPart =
		-10000ll * (p->told || most - *waited_ms > 5000 ? 5000 : most - *waited_ms);
	KeWaitForSingleObject(&ch->in.drained, Executive, KernelMode, FALSE, &slice);
	return false;
}

static void report_waiting(struct kmcl_channel *ch, const char *rule, const char *what,
			   uint64_t waited_ms)
{
	if (kmcl_verify())
		kmcl_violation(ch, rule, "a suspend waits since %llu ms for %s",
			       (unsigned long long)waited_ms, what);
	else
		kmcl_log_channel(ch, KMCL_LOG_WARNING, "waiting since %llu ms for %s",
				 (unsigned long long)waited_ms, what);
}

void kmcl_in_stop(struct kmcl_channel *ch)
{
	struct patience patience = patience_begin();
	uint64_t waited_ms;

	while (kmcl_in_halt(ch)) {
		if (patience_ends(ch, &patience, &waited_ms))
			report_waiting(ch, "callback-at-suspend",
				       "EvtVmbChannelProcessPacket to return", waited_ms);
	}
}

/* The packets that the driver has, by their handles. Under in.lock. */
static void name_outstanding(struct kmcl_channel *ch, char *text, size_t size)
{
	size_t at = (size_t)snprintf(text, size, "%u packets to be completed:", ch->in.outstanding);

	for (uint32_t i = 0; i < ch->in.fresh && at < size; i++) {
		uint64_t handle = kmcl_delivery_handle(ch->slot, i);

		if (handle)
			at += (size_t)snprintf(text + at, size - at, " 0x%llx (%u bytes)",
					       (unsigned long long)handle,
					       kmcl_incoming_at(ch, i)->packet.payload_size);
	}
}

void kmcl_in_wait_outstanding(struct kmcl_channel *ch)
{
	struct patience patience = patience_begin();
	uint64_t waited_ms;
	char text[256];
	uint32_t left;

	for (;;) {
		spin_lock(&ch->in.lock);
		left = ch->in.outstanding;
		ch->in.drain_wait = left != 0;
		if (left)
			name_outstanding(ch, text, sizeof(text));
		spin_unlock(&ch->in.lock);
		if (!left)
			return;
		if (patience_ends(ch, &patience, &waited_ms))
			report_waiting(ch, "completion-at-suspend", text, waited_ms);
	}
}
