/* SPDX-License-Identifier: MIT */
/* The server's state, written. */
#include "base/crc.h"
#include "vmbus/server_save_stream.h"

/* 0: not written. A channel that the client does not see is offered anew by its device. */
static uint8_t saved_channel_state(const struct channel *ch)
{
	switch (ch->state) {
	case CHANNEL_CLOSED:
		return SAVED_CLOSED;
	case CHANNEL_OPENING:
		return SAVED_OPENING;
	case CHANNEL_OPEN:
		return SAVED_OPEN;
	case CHANNEL_CLOSING:
		return SAVED_CLOSING;
	case CHANNEL_CLOSING_REOPEN:
		return SAVED_CLOSING_REOPEN;
	case CHANNEL_REVOKED:
	case CHANNEL_REOFFERED:
		return SAVED_REVOKED;
	case CHANNEL_RELEASED:
	case CHANNEL_CLOSING_RELEASED:
	case CHANNEL_OPENING_RELEASED:
	case CHANNEL_STATES:
		break;
	}
	return 0;
}

/* 0: not written. Of those whose connection is over only a device knows, and it is no more. */
static uint8_t saved_gpadl_state(const struct vmbus_gpadl *g)
{
	if (g->silent)
		return 0;
	switch (g->state) {
	case VMBUS_GPADL_INCOMPLETE:
		return SAVED_INCOMPLETE;
	case VMBUS_GPADL_OFFERED:
		return SAVED_OFFERED;
	case VMBUS_GPADL_ACCEPTED:
		return SAVED_ACCEPTED;
	case VMBUS_GPADL_TEARING:
		return SAVED_TEARING;
	default:
		return 0;
	}
}

static void save_gpadl(struct saved_stream *io, const struct vmbus_gpadl *g)
{
	struct vmbus_gpadl copy = *g;
	uint8_t state = saved_gpadl_state(g);

	if (!state)
		return;
	saved_section_begin(io, SECTION_GPADL);
	saved_gpadl_fields(io, &copy, &state);
	for (uint32_t i = 0; i < g->received; i++)
		saved_number(io, "gpadl.word", 8, g->words[i], UINT64_MAX);
	saved_section_end(io);
}

static void save_channel(struct saved_stream *io, const struct channel *ch)
{
	uint8_t state = saved_channel_state(ch);
	struct channel copy = *ch;
	uint32_t gpadls = 0;

	if (state == SAVED_CLOSED || state == SAVED_REVOKED)
		memset(&copy.open, 0, sizeof(copy.open));
	/* It may be the wish of a device that came back, for after the release. */
	if (state == SAVED_REVOKED)
		copy.offer.fixed_channel_id = 0;
	if (state != SAVED_CLOSING_REOPEN)
		memset(&copy.next, 0, sizeof(copy.next));
	for (const struct vmbus_gpadl *g = ch->gpadls.first; g; g = g->next)
		gpadls += saved_gpadl_state(g) != 0;
	saved_section_begin(io, SECTION_CHANNEL);
	saved_channel_fields(io, &copy, &state, &gpadls);
	saved_section_end(io);
	for (const struct vmbus_gpadl *g = ch->gpadls.first; g; g = g->next)
		save_gpadl(io, g);
}

static void save_message(struct saved_stream *io, enum saved_section kind,
			 struct vmbus_server_action *a)
{
	saved_section_begin(io, kind);
	saved_message_fields(io, a);
	saved_section_end(io);
}

/* Popping from a copy of the queue leaves the queue as it is. Other actions than messages follow
 * from the states that are saved. */
static uint32_t save_queue(struct saved_stream *io, struct vmbus_queue queue,
			   enum saved_section kind)
{
	struct vmbus_server_action a;
	uint32_t count = 0;

	for (;;) {
		memset(&a, 0, sizeof(a));
		if (!vmbus_queue_pop(&queue, &a, sizeof(a)))
			return count;
		if (a.type != VMBUS_SERVER_POST)
			continue;
		if (io)
			save_message(io, kind, &a);
		count++;
	}
}

static void save_deferred(struct saved_stream *io, struct vmbus_queue queue)
{
	struct deferred_message m;

	for (;;) {
		memset(&m, 0, sizeof(m));
		if (!vmbus_queue_pop(&queue, &m, sizeof(m)))
			return;
		saved_section_begin(io, SECTION_DEFERRED);
		saved_deferred_fields(io, &m);
		saved_section_end(io);
	}
}

static void save_unposted(struct saved_stream *io, const struct vmbus_unposted *m)
{
	struct vmbus_server_action a = {.type = VMBUS_SERVER_POST};

	a.message.vp = m->vp;
	a.message.sint = m->sint;
	a.message.size = m->size;
	memcpy(a.message.data, m->data, m->size);
	save_message(io, SECTION_POSTED, &a);
}

static void count_objects(const struct vmbus_server *s, uint32_t unposted, struct saved_counts *n)
{
	memset(n, 0, sizeof(*n));
	for (uint32_t i = 0; i < s->config.limits.hvsock; i++)
		n->sockets += s->hvsock[i].used && !s->hvsock[i].stale;
	for (uint32_t i = 0; i < s->channel_count; i++)
		n->channels += saved_channel_state(s->sorted[i]) != 0;
	n->posted = unposted + save_queue(NULL, s->actions, SECTION_POSTED);
	n->held = save_queue(NULL, s->held, SECTION_HELD);
	n->deferred = (uint32_t)s->deferred.records;
}

static void save_connection(struct saved_stream *io, const struct vmbus_server *s,
			    struct saved_counts *n)
{
	struct vmbus_server copy = {
		.state = s->state,
		.after = s->after,
		.contact = s->contact,
		.has_next = s->has_next,
		.version = s->version,
		.features = s->features,
		.monitor_parent_to_child = s->monitor_parent_to_child,
		.monitor_child_to_parent = s->monitor_child_to_parent,
		.monitor_modifying = s->monitor_modifying,
		.paused = s->paused,
	};
	uint8_t vtl = s->config.vtl;

	if (s->has_next)
		copy.next = s->next;
	if (s->monitor_modifying)
		copy.monitor_next = s->monitor_next;
	saved_section_begin(io, SECTION_CONNECTION);
	saved_connection_fields(io, &copy, &vtl, n);
	saved_section_end(io);
}

static void save_header(struct saved_stream *io)
{
	memcpy(io->out, saved_magic, sizeof(saved_magic));
	saved_put_number(io->out + 8, 4, VMBUS_SAVED_VERSION);
	saved_put_number(io->out + 12, 4, io->sections);
	saved_put_number(io->out + 16, 8, io->at);
	saved_put_number(io->out + 24, 4, 0);
	saved_put_number(io->out + 28, 4, crc32c(0, io->out, 28));
}

static void save_all(struct saved_stream *io, const struct vmbus_server *s,
		     const struct vmbus_unposted *unposted, uint32_t count)
{
	struct saved_counts n;

	count_objects(s, count, &n);
	io->at = SAVED_HEADER;
	save_connection(io, s, &n);
	for (uint32_t i = 0; i < s->config.limits.hvsock; i++) {
		struct hvsock_request copy = s->hvsock[i];

		if (!copy.used || copy.stale)
			continue;
		saved_section_begin(io, SECTION_SOCKET);
		saved_socket_fields(io, &copy);
		saved_section_end(io);
	}
	for (uint32_t i = 0; i < s->channel_count; i++) {
		if (saved_channel_state(s->sorted[i]))
			save_channel(io, s->sorted[i]);
	}
	for (uint32_t i = 0; i < count; i++)
		save_unposted(io, &unposted[i]);
	save_queue(io, s->actions, SECTION_POSTED);
	save_queue(io, s->held, SECTION_HELD);
	save_deferred(io, s->deferred);
}

enum vmbus_status vmbus_server_save(const struct vmbus_server *s,
				    const struct vmbus_unposted *unposted, uint32_t count,
				    uint8_t **bytes, size_t *size)
{
	const struct vmbus_allocator *a = &s->config.allocator;
	struct saved_stream io = {0};
	uint64_t needed;

	save_all(&io, s, unposted, count);
	needed = io.at;
	io = (struct saved_stream){.out = a->alloc(a->ctx, needed)};
	if (!io.out)
		return VMBUS_E_NO_MEMORY;
	save_all(&io, s, unposted, count);
	save_header(&io);
	*bytes = io.out;
	*size = needed;
	return VMBUS_OK;
}
