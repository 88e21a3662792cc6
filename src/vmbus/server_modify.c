/* SPDX-License-Identifier: MIT */
/* MODIFY_CHANNEL: interrupts of an open channel that move to another processor. */
#include "vmbus/server_internal.h"

static void post_modify_response(struct vmbus_server *s, uint32_t relid, uint32_t status)
{
	struct vmbus_message m = {.type = VMBUS_MSG_MODIFY_CHANNEL_RESPONSE};

	if (!vmbus_message_allowed(m.type, s->version, s->features))
		return;
	m.modify_channel_response.channel_id = relid;
	m.modify_channel_response.status = status;
	server_post(s, &m, 16);
}

/* The channel is no longer open: an accepted modify is answered now, or never. */
void channel_end_modify(struct vmbus_server *s, struct channel *ch, bool answer)
{
	if (!ch->modifying)
		return;
	ch->modifying = false;
	ch->modify_again = false;
	ch->modify_stale++;
	if (answer)
		post_modify_response(s, ch->relid, VMBUS_STATUS_FAILURE);
}

static void push_modify(struct vmbus_server *s, struct channel *ch, uint32_t vp)
{
	struct vmbus_server_action a = {0};

	ch->modifying = true;
	ch->modifying_vp = vp;
	ch->modify_again = false;
	a.modify.vp = vp;
	server_push_device(s, ch, VMBUS_SERVER_MODIFY, &a, sizeof(a.modify));
}

static bool modifiable(const struct vmbus_server *s, const struct channel *ch, uint32_t vp)
{
	return ch && ch->state == CHANNEL_OPEN && !ch->reserved &&
	       ch->open.target_vp != VMBUS_VP_NONE && vp < s->config.vp_count;
}

void on_modify_channel(struct vmbus_server *s, const struct incoming *in)
{
	uint32_t relid = in->m->modify_channel.channel_id;
	uint32_t vp = in->m->modify_channel.target_vp;
	struct channel *ch = channel_find(s, relid);

	if (!modifiable(s, ch, vp)) {
		post_modify_response(s, relid, VMBUS_STATUS_FAILURE);
	} else if (ch->restore == RESTORE_UNCLAIMED) {
		ch->open.target_vp = vp;
		post_modify_response(s, relid, VMBUS_STATUS_OK);
	} else if (!ch->modifying) {
		push_modify(s, ch, vp);
	} else if (s->version >= VMBUS_V5_3) {
		server_count(&s->stats.dropped_state);
	} else {
		ch->modify_again = true;
		ch->modify_vp = vp;
	}
}

void vmbus_server_modify_done(struct vmbus_server *s, vmbus_offer_id id, uint32_t status)
{
	struct channel *ch = server_channel(s, id);

	if (!ch || ch->modify_stale || !ch->modifying) {
		server_count(&s->stats.late_answers);
		if (ch && ch->modify_stale)
			ch->modify_stale--;
		return;
	}
	ch->modifying = false;
	if (!status)
		ch->open.target_vp = ch->modifying_vp;
	post_modify_response(s, ch->relid, status);
	if (ch->modify_again)
		push_modify(s, ch, ch->modify_vp);
}

/* Interrupts are nobody's while there is no device: moving them is done. */
void channel_modify_ended(struct vmbus_server *s, struct channel *ch)
{
	if (!ch->modifying)
		return;
	ch->open.target_vp = ch->modifying_vp;
	post_modify_response(s, ch->relid, VMBUS_STATUS_OK);
	if (ch->modify_again) {
		ch->open.target_vp = ch->modify_vp;
		post_modify_response(s, ch->relid, VMBUS_STATUS_OK);
	}
	ch->modifying = false;
	ch->modify_again = false;
}
