/* SPDX-License-Identifier: MIT */
/* The invariants of the client: what must hold between any two calls. */
#include "vmbus/check.h"
#include "vmbus/client_internal.h"

static const char *check_gpadls(const struct vmbus_client *c, const struct client_channel *ch,
				uint32_t *total)
{
	const char *wrong = vmbus_gpadl_list_check(&c->gpadls, &ch->gpadls, ch);
	uint32_t owed = 0;

	for (const struct vmbus_gpadl *g = ch->gpadls.first; g && !wrong; g = g->next) {
		bool gone = g->state >= VMBUS_GPADL_CREATING_GONE;

		(*total)++;
		owed += g->state == VMBUS_GPADL_CREATING_GONE ||
			g->state == VMBUS_GPADL_DELETING_GONE;
		if (!g->id)
			wrong = "a GPADL has the id 0";
		else if (g->state < VMBUS_GPADL_CREATING)
			wrong = "a client's GPADL is in a server's state";
		else if (gone != (ch->state == CLIENT_RESCINDED))
			wrong = "a GPADL and its channel disagree on the rescind";
		else if (vmbus_gpadl_find(&c->gpadls, NULL, g->id) != g)
			wrong = "two live GPADLs have one id";
	}
	if (!wrong && owed != ch->gpadls_owed)
		wrong = "the count of GPADL answers that a channel is owed is wrong";
	return wrong;
}

static const char *check_channel(const struct vmbus_client *c, const struct client_channel *ch)
{
	if (ch->orphan) {
		if (ch->state != CLIENT_RESCINDED || ch->gpadls.first || ch->modifying)
			return "a channel of an ended connection still waits for something";
	} else if (!ch->offer.relid || ch->offer.relid > VMBUS_MAX_CHANNEL ||
		   c->by_relid[ch->offer.relid] != ch) {
		return "a channel cannot be found by its channel id";
	}
	if (!ch->orphan && !client_connected(c) && c->state != VMBUS_CLIENT_STATE_DISCONNECTING)
		return "a channel outlived its connection";
	if (ch->let_go && ch->state != CLIENT_RESCINDED)
		return "a channel was released without a rescind";
	if (ch->let_go && !ch->modifying && !ch->gpadls_owed &&
	    c->state != VMBUS_CLIENT_STATE_DISCONNECTING)
		return "a released channel waits for nothing";
	return NULL;
}

const char *vmbus_client_check(const struct vmbus_client *c)
{
	uint32_t relids = vmbus_count_set((void *const *)c->by_relid, VMBUS_MAX_CHANNEL + 1);
	uint32_t channels = 0, with_relid = 0, gpadls = 0;
	const char *wrong = NULL;

	for (uint32_t i = 0; i < c->slot_count && !wrong; i++) {
		const struct client_channel *ch = c->slots[i];

		if (!ch)
			continue;
		channels++;
		with_relid += !ch->orphan;
		if (ch->slot != i || (ch->id & 0xffff) != i + 1)
			return "a channel is not in its slot";
		wrong = check_channel(c, ch);
		if (!wrong)
			wrong = check_gpadls(c, ch, &gpadls);
	}
	if (!wrong && (channels != c->channel_count || relids != with_relid || relids != c->live))
		wrong = "the tables of channels do not agree";
	if (!wrong && gpadls != c->gpadls.count)
		wrong = "the GPADL table counts wrongly";
	return wrong;
}

const char *vmbus_client_sweep(struct vmbus_client *c)
{
	return vmbus_sweep_due(&c->unswept, c->channel_count) ? vmbus_client_check(c) : NULL;
}
