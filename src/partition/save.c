/* SPDX-License-Identifier: MIT */
/*
 * The server's end saved, and another one in its place. What the state machine keeps is written by
 * src/vmbus; of this end's own there is nothing to save but messages that wait, in either
 * direction: rings, ports and monitors follow from the opens, which are asked for again.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "partition/server_end.h"
#include "vmbus/server_save.h"

static int refuse(struct part_save_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct part_save_error *error, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return code;
}

/* ---- saving ---- */

/* Why the channel cannot be saved now; NULL: it can. A device that has not heard of an open or a
 * close yet hears of it in its next life. */
static const char *not_at_rest(const struct part_server_channel *ch)
{
	if (ch->in_upcall)
		return "is being opened or closed";
	switch (ch->state) {
	case CHANNEL_IS_CLOSED:
		return NULL;
	case CHANNEL_IS_OPENING:
		return ch->upcall == UPCALL_OPEN ? NULL : "is being opened";
	case CHANNEL_IS_CLOSING:
		if (ch->upcall != UPCALL_CLOSE)
			return "is being closed";
		break;
	case CHANNEL_IS_OPEN:
		break;
	}
	if (!ch->ops->at_rest || !ch->ops->at_rest(ch->device))
		return "is open, and its driver has not saved it";
	return NULL;
}

static int all_at_rest(const struct server_end *se, struct part_save_error *error)
{
	for (const struct part_server_channel *ch = se->channels; ch; ch = ch->next) {
		const char *why = not_at_rest(ch);

		if (why)
			return refuse(error, -EBUSY, "channel %u %s", ch->open.relid, why);
	}
	return 0;
}

static void add_unposted(struct vmbus_unposted *to, uint32_t vp, uint8_t sint, uint8_t size,
			 const uint8_t *data)
{
	to->vp = vp;
	to->sint = sint;
	to->size = size;
	memcpy(to->data, data, size);
}

/* What the guest has posted goes with the state: where it is restored the transport is another. */
static int take_messages(struct part_endpoint *ep)
{
	struct hv_message m;
	int code = 0;

	while (!code && ep->host->take_message(ep->transport, &m))
		code = endpoint_errno(
			vmbus_server_defer(ep->srv->s, m.connection_id, m.payload, m.size));
	return code;
}

static int save_state(const struct server_end *se, uint8_t **bytes, size_t *size)
{
	struct vmbus_unposted *unposted = calloc(se->outgoing.count + 1u, sizeof(*unposted));
	enum vmbus_status status;
	uint32_t count = 0;

	if (!unposted)
		return -ENOMEM;
	for (const struct outgoing *m = se->outgoing.head; m; m = m->next)
		add_unposted(&unposted[count++], m->vp, m->sint, m->size, m->data);
	if (se->action_held && se->action.type == VMBUS_SERVER_POST)
		add_unposted(&unposted[count++], se->action.message.vp, se->action.message.sint,
			     se->action.message.size, se->action.message.data);
	status = vmbus_server_save(se->s, unposted, count, bytes, size);
	free(unposted);
	return endpoint_errno(status);
}

int part_server_save(struct part *part, void **bytes, size_t *size, struct part_save_error *error)
{
	struct part_endpoint *ep = &part->server;
	struct server_end *se = ep->srv;
	uint8_t *state;
	int code;

	error->text[0] = 0;
	if (!se)
		return refuse(error, -EINVAL, "the partition has no server end");
	pthread_mutex_lock(&ep->lock);
	code = se->resetting ? refuse(error, -EBUSY, "the guest resets") : all_at_rest(se, error);
	if (!code) {
		code = take_messages(ep);
		if (!code)
			code = save_state(se, &state, size);
		if (code)
			refuse(error, code, "%s", strerror(-code));
	}
	if (!code) {
		se->frozen = true;
		*bytes = state;
	}
	part_event_raise(&ep->messages); /* what was deferred may have to be received after all */
	pthread_mutex_unlock(&ep->lock);
	return code;
}

int part_server_thaw(struct part *part)
{
	struct part_endpoint *ep = &part->server;
	int code = -EINVAL;

	pthread_mutex_lock(&ep->lock);
	if (ep->srv && ep->srv->frozen) {
		ep->srv->frozen = false;
		part_event_raise(&ep->messages);
		code = 0;
	}
	pthread_mutex_unlock(&ep->lock);
	return code;
}

/* ---- restoring ---- */

static bool page_there(struct part_endpoint *ep, uint64_t gpa)
{
	return !gpa || part_memory_at(ep, gpa, PART_PAGE_SIZE);
}

/* The pages of the connection are looked at before anything is given up for it. */
static int pages_there(struct part_endpoint *ep, const struct vmbus_server *s,
		       struct part_save_error *error)
{
	struct vmbus_server_pages p;

	vmbus_server_connection_pages(s, &p);
	if (page_there(ep, p.interrupt_page) && page_there(ep, p.monitor_parent_to_child) &&
	    page_there(ep, p.monitor_child_to_parent))
		return 0;
	return refuse(error, -EINVAL,
		      "the connection's interrupt or monitor pages are not in guest memory");
}

static int make_server(struct part *part, const void *bytes, size_t size, struct vmbus_server **s,
		       struct part_save_error *error)
{
	struct vmbus_server_config config;
	struct vmbus_saved_error wrong;
	enum vmbus_status status;
	int code;

	error->text[0] = 0;
	server_end_config(part, &config);
	status = vmbus_server_restore(&config, bytes, size, s, &wrong);
	if (status == VMBUS_E_INVALID)
		return refuse(error, -EINVAL, "saved state refused: %s (offset %llu): %s",
			      wrong.field, (unsigned long long)wrong.offset, wrong.why);
	if (status) {
		code = endpoint_errno(status);
		return refuse(error, code, "saved state: %s", strerror(-code));
	}
	code = pages_there(&part->server, *s, error);
	if (code)
		vmbus_server_destroy(*s);
	return code;
}

/* Nobody has spoken to it yet. */
static bool unused(const struct server_end *se)
{
	return vmbus_server_state(se->s) == VMBUS_SERVER_STATE_DISCONNECTED && !se->action_held &&
	       !se->outgoing.head && !vmbus_server_statistics(se->s)->received;
}

static bool replaceable(struct part_endpoint *ep)
{
	bool yes;

	pthread_mutex_lock(&ep->lock);
	yes = ep->srv && !ep->srv->channels && (ep->srv->frozen || unused(ep->srv));
	pthread_mutex_unlock(&ep->lock);
	return yes;
}

int part_server_restore(struct part *part, const void *bytes, size_t size,
			struct part_save_error *error)
{
	struct part_endpoint *ep = &part->server;
	struct vmbus_server *s;
	int code;

	if (!replaceable(ep))
		return refuse(error, -EBUSY,
			      "the host's side is in use: it was not saved, or has offers");
	code = make_server(part, bytes, size, &s, error);
	if (code)
		return code;
	server_end_stop(ep);
	endpoint_free_dispatchers(ep);
	atomic_store(&ep->stop, false);
	code = server_end_start_with(ep, s);
	return code ? refuse(error, code, "the new server end: %s", strerror(-code)) : 0;
}

int part_restore_host(struct part *part, const struct part_transport *transport, const void *bytes,
		      size_t size, struct part_save_error *error)
{
	struct vmbus_server *s;
	int code = part_take_transport(part, transport);

	if (code)
		return refuse(error, code, "%s", strerror(-code));
	code = make_server(part, bytes, size, &s, error);
	if (code)
		return code;
	code = server_end_start_with(&part->server, s);
	return code ? refuse(error, code, "the server end: %s", strerror(-code)) : 0;
}

void part_server_restored(struct part *part)
{
	struct part_endpoint *ep = &part->server;

	pthread_mutex_lock(&ep->lock);
	if (ep->srv) {
		vmbus_server_restore_done(ep->srv->s);
		server_carry_out_actions(ep);
		part_event_raise(&ep->messages);
	}
	pthread_mutex_unlock(&ep->lock);
}
