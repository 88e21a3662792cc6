/* SPDX-License-Identifier: MIT */
/*
 * What follows from a restore, each step once: questions that the saved server's devices had not
 * answered, devices that claim their channels, and what becomes of channels that none claims.
 */
#include "vmbus/server_internal.h"
#include "vmbus/server_save.h"

/* The pages of a connection that is in force, before anything that is posted or signalled. */
void server_restore_begin(struct vmbus_server *s)
{
	struct vmbus_server_action a = {.type = VMBUS_SERVER_RESTORED};

	if (!s->version)
		return;
	a.connect.version = s->version;
	a.connect.features = s->features;
	a.connect.target_vp = s->contact.vp;
	a.connect.interrupt_page = s->contact.interrupt_page;
	a.connect.monitor_parent_to_child = s->monitor_parent_to_child;
	a.connect.monitor_child_to_parent = s->monitor_child_to_parent;
	server_push(s, &a, offsetof(struct vmbus_server_action, connect) + sizeof(a.connect));
}

/* The saved server's device was told to let go of what the channel had, or to close it, and has
 * ceased to be: it holds nothing. */
static void settle(struct vmbus_server *s, struct channel *ch)
{
	gpadls_restored(s, ch);
	channel_modify_ended(s, ch);
	if (ch->state == CHANNEL_CLOSING || ch->state == CHANNEL_CLOSING_REOPEN)
		channel_closing_ended(s, ch);
	if (ch->state == CHANNEL_RELEASED)
		channel_delete(s, ch);
}

void server_restore_steps(struct vmbus_server *s)
{
	for (uint32_t i = s->channel_count; i-- > 0;) {
		if (s->sorted[i]->restore == RESTORE_UNCLAIMED)
			settle(s, s->sorted[i]);
	}
	connection_resume(s);
}

/* ---- claims ---- */

/* What the client has been told of the channel is what this offer says. */
static bool same_offer(const struct channel *ch, const struct vmbus_offer *offer)
{
	const struct vmbus_offer *shown = &ch->offer;

	return shown->flags == offer->flags && shown->mmio_megabytes == offer->mmio_megabytes &&
	       shown->mmio_megabytes_optional == offer->mmio_megabytes_optional &&
	       shown->monitored == offer->monitored && shown->vtl == offer->vtl &&
	       memcmp(shown->user_data, offer->user_data, sizeof(offer->user_data)) == 0 &&
	       (!offer->fixed_channel_id || offer->fixed_channel_id == ch->relid);
}

static void ask_to_resume(struct vmbus_server *s, struct channel *ch)
{
	switch (ch->state) {
	case CHANNEL_OPENING:
		ch->restore = RESTORE_NONE;
		channel_ask_device(s, ch);
		break;
	case CHANNEL_OPEN:
		ch->restore = RESTORE_ASKED;
		channel_ask_device(s, ch);
		break;
	default:
		ch->restore = RESTORE_NONE;
		break;
	}
}

/*
 * A channel that is closed, or being opened, goes to its device without a word to the client. One
 * that is open does only if the device has its state back; else both begin afresh.
 */
enum vmbus_status channel_claim(struct vmbus_server *s, struct channel *ch,
				const struct vmbus_offer *offer, void *device)
{
	bool same = same_offer(ch, offer);

	if (offer->resume && !offer->force_new && !same)
		return VMBUS_E_INVALID;
	if (!same || offer->force_new || (ch->state == CHANNEL_OPEN && !offer->resume)) {
		channel_renew(s, ch, offer, device);
		return VMBUS_OK;
	}
	channel_set_device(s, ch, offer, device);
	ask_to_resume(s, ch);
	return VMBUS_OK;
}

/* ---- no device ---- */

static void give_up(struct vmbus_server *s, struct channel *ch)
{
	switch (ch->state) {
	case CHANNEL_OPEN:
		channel_rescind(s, ch);
		break;
	case CHANNEL_OPENING:
		channel_opening_ended(s, ch, VMBUS_STATUS_FAILURE);
		if (ch->state == CHANNEL_RELEASED)
			channel_delete(s, ch);
		break;
	default:
		break;
	}
}

void vmbus_server_restore_done(struct vmbus_server *s)
{
	s->restore_over = true;
	for (uint32_t i = s->channel_count; i-- > 0;) {
		if (s->sorted[i]->restore == RESTORE_UNCLAIMED)
			give_up(s, s->sorted[i]);
	}
}

uint32_t vmbus_server_unclaimed(const struct vmbus_server *s)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < s->channel_count; i++)
		count += s->sorted[i]->restore == RESTORE_UNCLAIMED;
	return count;
}

void vmbus_server_connection_pages(const struct vmbus_server *s, struct vmbus_server_pages *pages)
{
	memset(pages, 0, sizeof(*pages));
	if (!s->version)
		return;
	pages->interrupt_page = s->contact.interrupt_page;
	pages->monitor_parent_to_child = s->monitor_parent_to_child;
	pages->monitor_child_to_parent = s->monitor_child_to_parent;
}

/* ---- client messages that waited ---- */

enum vmbus_status vmbus_server_defer(struct vmbus_server *s, uint32_t connection_id,
				     const void *message, size_t size)
{
	size_t record = offsetof(struct deferred_message, data) + size;
	struct deferred_message m = {.connection_id = connection_id, .size = (uint8_t)size};
	enum vmbus_status status;

	if (size > sizeof(m.data))
		return VMBUS_E_INVALID;
	status = vmbus_queue_reserve(&s->deferred, &s->config.allocator,
				     s->deferred.used + vmbus_queue_cost(record));
	if (status)
		return status;
	memcpy(m.data, message, size);
	vmbus_queue_push(&s->deferred, &m, record);
	return VMBUS_OK;
}

bool vmbus_server_receive_deferred(struct vmbus_server *s)
{
	struct deferred_message m;

	if (!vmbus_queue_pop(&s->deferred, &m, sizeof(m)))
		return false;
	vmbus_server_receive(s, m.connection_id, m.data, m.size);
	return true;
}
