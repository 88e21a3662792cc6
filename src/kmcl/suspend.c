/* SPDX-License-Identifier: MIT */
/*
 * A suspend waits for the driver: for its callback to return, and for the packets that it has. One
 * that keeps it waiting is named.
 */
#include <stdio.h>

#include "kmcl/channel.h"
#include "kmcl/verifier.h"

#define TELL_MS 5000u

/* A wait for the driver: told of every few seconds, and reported once when it has taken too long.
 */
struct patience {
	uint64_t began_ms;
	uint64_t told_ms; /* after the beginning */
	bool reported;
};

static uint64_t now_ms(void)
{
	return KeQueryInterruptTime() / 10000;
}

static struct patience patience_begin(void)
{
	return (struct patience){.began_ms = now_ms()};
}

static uint64_t patience_left(const struct patience *p, uint64_t waited_ms)
{
	uint64_t next = p->told_ms + TELL_MS;
	uint32_t most = kmcl_verifier_suspend_ms();

	if (kmcl_verify() && !p->reported && most < next)
		next = most;
	return next > waited_ms ? next - waited_ms : 0;
}

static void report(struct kmcl_channel *ch, struct patience *p, const char *rule, const char *what,
		   uint64_t waited_ms)
{
	if (waited_ms >= p->told_ms + TELL_MS) {
		p->told_ms = waited_ms;
		kmcl_log_channel(ch, KMCL_LOG_WARNING, "waiting since %llu ms for %s",
				 (unsigned long long)waited_ms, what);
	}
	if (kmcl_verify() && !p->reported && waited_ms >= kmcl_verifier_suspend_ms()) {
		p->reported = true;
		kmcl_violation(ch, rule, "a suspend waits since %llu ms for %s",
			       (unsigned long long)waited_ms, what);
	}
}

/* Waits for in.drained as long as nothing is to be told, then tells it. */
static void wait_patiently(struct kmcl_channel *ch, struct patience *p, const char *rule,
			   const char *what)
{
	uint64_t left = patience_left(p, now_ms() - p->began_ms);
	LARGE_INTEGER slice = {.QuadPart = -10000ll * (int64_t)left};

	if (left)
		KeWaitForSingleObject(&ch->in.drained, Executive, KernelMode, FALSE, &slice);
	else
		report(ch, p, rule, what, now_ms() - p->began_ms);
}

void kmcl_in_stop(struct kmcl_channel *ch)
{
	struct patience patience = patience_begin();

	while (kmcl_in_halt(ch))
		wait_patiently(ch, &patience, "callback-at-suspend",
			       "EvtVmbChannelProcessPacket to return");
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
		wait_patiently(ch, &patience, "completion-at-suspend", text);
	}
}
