/* SPDX-License-Identifier: MIT */
/*
 * A server made of saved state. What is read is checked field by field, each against what it could
 * be in a server that runs with this configuration, and as a whole by the sweep of the invariants.
 */
#include "base/crc.h"
#include "vmbus/gparange.h"
#include "vmbus/server_save_stream.h"

/* ---- what a value must be besides fitting its field ---- */

static bool aligned(uint64_t gpa)
{
	return gpa % VMBUS_PAGE_SIZE == 0;
}

static void check_features(struct saved_stream *io, const struct vmbus_server *s, uint32_t version,
			   uint32_t features, const char *field)
{
	saved_refuse_if(io, features && version < VMBUS_V6_0, field,
			"bits that the version cannot have");
	saved_refuse_if(io, features & ~VMBUS_FEATURES_KNOWN, field, "bits that no version has");
	saved_refuse_if(io, features & ~s->config.features, field,
			"bits that this server does not grant");
}

static void check_version(struct saved_stream *io, const struct vmbus_server *s, uint32_t version,
			  const char *field)
{
	saved_refuse_if(io, !vmbus_version_known(version), field, "no version of the protocol");
	saved_refuse_if(io, version > s->config.max_version, field,
			"newer than what this server speaks");
}

/* A client has both or neither; a server that gives its own pages needs only the one that it reads.
 */
static void check_pages(struct saved_stream *io, uint32_t features, uint64_t parent_to_child,
			uint64_t child_to_parent, const char *field)
{
	bool alone = features & VMBUS_FEATURE_SERVER_MONITOR && !parent_to_child;

	saved_refuse_if(io,
			(!parent_to_child != !child_to_parent && !alone) ||
				!aligned(parent_to_child) || !aligned(child_to_parent),
			field, "no pair of pages");
}

static void check_contact(struct saved_stream *io, const struct vmbus_server *s)
{
	const struct contact *c = &s->contact;

	if (c->version || s->state != VMBUS_SERVER_STATE_DISCONNECTED)
		check_version(io, s, c->version, "connection.contact.version");
	check_features(io, s, c->version, c->features, "connection.contact.features");
	saved_refuse_if(io, c->vp >= s->config.vp_count, "connection.contact.vp",
			"no such processor");
	saved_refuse_if(io, !aligned(c->interrupt_page), "connection.contact.interrupt_page",
			"not a page");
	check_pages(io, c->features, c->parent_to_child, c->child_to_parent,
		    "connection.contact.monitor_child_to_parent");
	saved_refuse_if(io,
			c->features & VMBUS_FEATURE_SERVER_MONITOR &&
				(c->parent_to_child != s->config.monitor_parent_to_child ||
				 c->child_to_parent != s->config.monitor_child_to_parent),
			"connection.contact.monitor_child_to_parent",
			"not the pages that this server provides");
}

static void check_live(struct saved_stream *io, const struct vmbus_server *s)
{
	check_version(io, s, s->version, "connection.version");
	saved_refuse_if(io, s->version != s->contact.version, "connection.version",
			"not the contact's");
	check_features(io, s, s->version, s->features, "connection.features");
	saved_refuse_if(io, s->features != s->contact.features, "connection.features",
			"not the contact's");
	check_pages(io, s->features, s->monitor_parent_to_child, s->monitor_child_to_parent,
		    "connection.monitor_child_to_parent");
}

static void check_idle(struct saved_stream *io, const struct vmbus_server *s)
{
	saved_refuse_if(io, s->version, "connection.version", "there is no connection");
	saved_refuse_if(io, s->features, "connection.features", "there is no connection");
	saved_refuse_if(io, s->monitor_parent_to_child || s->monitor_child_to_parent,
			"connection.monitor_child_to_parent", "there is no connection");
	saved_refuse_if(io, s->paused, "connection.paused", "there is no connection");
	saved_refuse_if(io, s->monitor_modifying, "connection.monitor_modifying",
			"there is no connection");
}

static void check_connection(struct saved_stream *io, const struct vmbus_server *s,
			     const struct saved_counts *n)
{
	bool live = false, ending = false;

	check_contact(io, s);
	switch (s->state) {
	case VMBUS_SERVER_STATE_DISCONNECTED:
	case VMBUS_SERVER_STATE_CONNECTING:
		check_idle(io, s);
		break;
	case VMBUS_SERVER_STATE_DISCONNECTING:
		ending = true;
		if (s->version)
			check_live(io, s);
		saved_refuse_if(io, s->has_next != (s->after == AFTER_CONTACT), "connection.after",
				"does not agree with connection.has_next");
		break;
	case VMBUS_SERVER_STATE_NEGOTIATED:
	case VMBUS_SERVER_STATE_CONNECTED:
		live = true;
		check_live(io, s);
		break;
	}
	saved_refuse_if(io, s->has_next && !ending && s->state != VMBUS_SERVER_STATE_CONNECTING,
			"connection.has_next", "no contact can wait in this state");
	saved_refuse_if(io, s->paused && (!live || !(s->features & VMBUS_FEATURE_PAUSE)),
			"connection.paused", "not possible in this state");
	saved_refuse_if(io, s->monitor_modifying && !live, "connection.monitor_modifying",
			"not possible in this state");
	check_pages(io, 0, s->monitor_next.parent_to_child, s->monitor_next.child_to_parent,
		    "connection.monitor_next.child_to_parent");
	saved_refuse_if(io, n->sockets > s->config.limits.hvsock, "connection.sockets",
			"more than this server may hold");
	saved_refuse_if(io, n->channels > s->config.limits.channels, "connection.channels",
			"more than this server may hold");
	saved_refuse_if(io, n->held && !s->paused, "connection.held",
			"the connection is not paused");
}

static bool has_ring(const struct vmbus_server *s, const struct channel *ch,
		     const struct open_request *r)
{
	const struct vmbus_gpadl *g = vmbus_gpadl_find(&s->gpadls, ch, r->ring_gpadl);

	if (!g || g->state == VMBUS_GPADL_INCOMPLETE || g->state == VMBUS_GPADL_OFFERED ||
	    g->range_count != 1 || g->words[0] >> 32 || (uint32_t)g->words[0] % VMBUS_PAGE_SIZE)
		return false;
	return r->downstream_page >= 2 && r->downstream_page < g->page_count &&
	       g->page_count - r->downstream_page >= 2;
}

/* Only a client that may choose where it is signalled can have chosen. */
static void check_signal(struct saved_stream *io, const struct vmbus_server *s,
			 const struct channel *ch, const struct open_request *r)
{
	saved_refuse_if(io, !r->own_signal && r->event_flag != ch->relid, "channel.open.event_flag",
			"not the channel's");
	saved_refuse_if(io, !r->own_signal && r->connection_id != channel_connection_id(s, ch),
			"channel.open.connection_id", "not the channel's");
}

static void check_open(struct saved_stream *io, const struct vmbus_server *s,
		       const struct open_request *r)
{
	saved_refuse_if(io, r->target_vp != VMBUS_VP_NONE && r->target_vp >= s->config.vp_count,
			"channel.open.target_vp", "no such processor");
	saved_refuse_if(io, r->reserved_vp && r->reserved_vp >= s->config.vp_count,
			"channel.open.reserved_vp", "no such processor");
	saved_refuse_if(io, !r->event_flag || r->event_flag > VMBUS_MAX_CHANNEL,
			"channel.open.event_flag", "no flag");
	saved_refuse_if(io, (r->connection_id & VMBUS_PORT_MASK) < 8, "channel.open.connection_id",
			"one of the bus's own");
}

/* Two open channels that the client signals by one id could not both be resumed. */
static void check_connection_id(struct saved_stream *io, const struct vmbus_server *s,
				const struct channel *self)
{
	for (uint32_t i = 0; i < s->channel_count; i++) {
		const struct channel *ch = s->sorted[i];

		saved_refuse_if(io,
				ch != self && ch->state != CHANNEL_CLOSED &&
					ch->state != CHANNEL_REVOKED &&
					!((ch->open.connection_id ^ self->open.connection_id) &
					  VMBUS_PORT_MASK),
				"channel.open.connection_id", "another channel's");
	}
}

static void check_in_use(struct saved_stream *io, const struct vmbus_server *s,
			 const struct channel *ch)
{
	if (ch->state == CHANNEL_CLOSED || ch->state == CHANNEL_REVOKED) {
		saved_refuse_if(io, ch->reserved, "channel.reserved", "it is not in use");
		return;
	}
	check_open(io, s, &ch->open);
	check_signal(io, s, ch, &ch->open);
	if (ch->state == CHANNEL_CLOSING_REOPEN)
		check_signal(io, s, ch, &ch->next);
	saved_refuse_if(io, !has_ring(s, ch, &ch->open), "channel.open.ring_gpadl",
			"no GPADL that holds two rings");
	saved_refuse_if(io, ch->reserved != ch->open.reserved, "channel.reserved",
			"does not agree with channel.open.reserved");
	/* the rest of a request that waits is looked at when its turn comes */
	saved_refuse_if(io,
			ch->state == CHANNEL_CLOSING_REOPEN &&
				(ch->reserved || ch->next.reserved || ch->next.reserved_vp),
			"channel.reserved", "a reserved channel cannot be opened again so soon");
	check_connection_id(io, s, ch);
	saved_refuse_if(io,
			(ch->modifying || ch->modify_again) &&
				(ch->state != CHANNEL_OPEN || ch->reserved ||
				 ch->modifying_vp >= s->config.vp_count ||
				 (ch->modify_again && ch->modify_vp >= s->config.vp_count)),
			"channel.modifying", "not possible in this state");
}

static void check_channel(struct saved_stream *io, const struct vmbus_server *s,
			  const struct channel *ch)
{
	saved_refuse_if(io, !ch->relid, "channel.id", "no channel id");
	saved_refuse_if(io, ch->relid && s->by_relid[ch->relid], "channel.id", "another channel's");
	saved_refuse_if(io, ch->offer.fixed_channel_id && ch->offer.fixed_channel_id != ch->relid,
			"channel.fixed_channel_id", "not the id that it has");
	saved_refuse_if(io,
			ch->monitor_id != VMBUS_MONITOR_NONE && ch->monitor_id >= VMBUS_MONITOR_IDS,
			"channel.monitor_id", "no monitor id");
	saved_refuse_if(io,
			ch->monitor_id < VMBUS_MONITOR_IDS &&
				s->monitor_ids[ch->monitor_id / 32] >> ch->monitor_id % 32 & 1,
			"channel.monitor_id", "another channel's");
	/* A client that took its pages back keeps the ids that it was offered. */
	saved_refuse_if(io,
			ch->monitor_id != VMBUS_MONITOR_NONE && !connection_has_monitor_pages(s) &&
				!(s->features & VMBUS_FEATURE_MODIFY_CONNECTION),
			"channel.monitor_id", "the connection has no monitor pages");
	saved_refuse_if(io, s->state != VMBUS_SERVER_STATE_CONNECTED && !ch->reserved,
			"channel.state", "the client cannot see it");
	for (uint32_t i = 0; i < s->channel_count; i++) {
		const struct vmbus_offer *o = &s->sorted[i]->offer;

		saved_refuse_if(io,
				vmbus_guid_equal(&o->interface_id, &ch->offer.interface_id) &&
					vmbus_guid_equal(&o->instance_id, &ch->offer.instance_id) &&
					o->subchannel == ch->offer.subchannel,
				"channel.instance_id", "another channel's");
	}
}

/* ---- reading ---- */

static enum channel_state read_channel_state(uint8_t state)
{
	static const uint8_t states[] = {
		[SAVED_CLOSED] = CHANNEL_CLOSED,
		[SAVED_OPENING] = CHANNEL_OPENING,
		[SAVED_OPEN] = CHANNEL_OPEN,
		[SAVED_CLOSING] = CHANNEL_CLOSING,
		[SAVED_CLOSING_REOPEN] = CHANNEL_CLOSING_REOPEN,
		[SAVED_REVOKED] = CHANNEL_REVOKED,
	};

	return (enum channel_state)states[state];
}

static enum vmbus_gpadl_state read_gpadl_state(uint8_t state)
{
	static const uint8_t states[] = {
		[SAVED_INCOMPLETE] = VMBUS_GPADL_INCOMPLETE,
		[SAVED_OFFERED] = VMBUS_GPADL_OFFERED,
		[SAVED_ACCEPTED] = VMBUS_GPADL_ACCEPTED,
		[SAVED_TEARING] = VMBUS_GPADL_TEARING,
	};

	return (enum vmbus_gpadl_state)states[state];
}

/* What is complete is sound; what is not has words to come. */
static void finish_gpadl(struct saved_stream *io, struct vmbus_gpadl *g,
			 enum vmbus_gpadl_state state)
{
	if (state == VMBUS_GPADL_INCOMPLETE) {
		saved_refuse_if(io, g->received >= g->word_count, "gpadl.received",
				"nothing is missing");
		return;
	}
	saved_refuse_if(io, g->received != g->word_count, "gpadl.received", "words are missing");
	if (io->why)
		return;
	saved_refuse_if(io,
			vmbus_gparange_validate(g->words, g->word_count, g->range_count,
						g->word_count, &g->page_count) != VMBUS_OK ||
				g->page_count + g->range_count != g->word_count,
			"gpadl.words", "no list of ranges");
}

static void read_words(struct saved_stream *io, struct vmbus_gpadl *g, uint32_t received)
{
	if (!saved_take(io, "gpadl.words", (size_t)received * 8))
		return;
	vmbus_gpadl_append(g, io->in + io->at, (size_t)received * 8);
	io->at += (uint64_t)received * 8;
}

static enum vmbus_status load_gpadl(struct saved_stream *io, struct vmbus_server *s,
				    struct channel *ch, uint64_t total)
{
	struct vmbus_gpadl fields = {0}, *g;
	enum vmbus_status status;
	uint8_t state = 0;

	if (!saved_open_section(io, SECTION_GPADL, total))
		return VMBUS_E_INVALID;
	saved_gpadl_fields(io, &fields, &state);
	saved_refuse_if(io, !state, "gpadl.state", "no state");
	saved_refuse_if(io, !fields.word_count || fields.received > fields.word_count,
			"gpadl.received", "more than announced");
	saved_refuse_if(io, !fields.range_count, "gpadl.range_count", "no range");
	saved_refuse_if(io, vmbus_gpadl_find(&s->gpadls, ch, fields.id), "gpadl.id",
			"twice on a channel");
	if (io->why)
		return VMBUS_E_INVALID;
	status = server_reserve(s, s->channel_count, s->gpadls.count + 1);
	if (!status)
		status = vmbus_gpadl_add(&s->gpadls, &s->config.allocator, &ch->gpadls, ch,
					 fields.id, fields.word_count, &g);
	if (status)
		return status;
	g->range_count = fields.range_count;
	read_words(io, g, fields.received);
	saved_close_section(io);
	finish_gpadl(io, g, read_gpadl_state(state));
	gpadl_set_state(s, g, read_gpadl_state(state));
	return io->why ? VMBUS_E_INVALID : VMBUS_OK;
}

/* What there is no device for any more, and what its absence does not matter to. */
static void place_channel(struct vmbus_server *s, struct channel *ch, const struct channel *fields,
			  enum channel_state state)
{
	channel_take_relid(s, ch, fields->relid);
	ch->monitor_id = fields->monitor_id;
	if (ch->monitor_id != VMBUS_MONITOR_NONE)
		s->monitor_ids[ch->monitor_id / 32] |= 1u << ch->monitor_id % 32;
	ch->reserved = fields->reserved;
	ch->open = fields->open;
	ch->next = fields->next;
	ch->modifying = fields->modifying;
	ch->modify_again = fields->modify_again;
	ch->modifying_vp = fields->modifying_vp;
	ch->modify_vp = fields->modify_vp;
	channel_set_state(s, ch, state);
	if (state == CHANNEL_REVOKED)
		ch->id = 0;
	else
		ch->restore = RESTORE_UNCLAIMED;
}

static enum vmbus_status load_channel(struct saved_stream *io, struct vmbus_server *s,
				      uint64_t total)
{
	struct channel fields = {0}, *ch;
	enum vmbus_status status;
	uint32_t gpadls = 0;
	uint8_t state = 0;

	if (!saved_open_section(io, SECTION_CHANNEL, total))
		return VMBUS_E_INVALID;
	saved_channel_fields(io, &fields, &state, &gpadls);
	saved_close_section(io);
	saved_refuse_if(io, !state, "channel.state", "no state");
	check_channel(io, s, &fields);
	if (io->why)
		return VMBUS_E_INVALID;
	status = channel_add(s, &fields.offer, NULL, &ch);
	if (status)
		return status;
	place_channel(s, ch, &fields, read_channel_state(state));
	for (uint32_t i = 0; i < gpadls && !status; i++)
		status = load_gpadl(io, s, ch, total);
	if (!status)
		check_in_use(io, s, ch);
	return io->why ? VMBUS_E_INVALID : status;
}

static enum vmbus_status load_sockets(struct saved_stream *io, struct vmbus_server *s,
				      uint32_t count, uint64_t total)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!saved_open_section(io, SECTION_SOCKET, total))
			return VMBUS_E_INVALID;
		saved_socket_fields(io, &s->hvsock[i]);
		saved_close_section(io);
		s->hvsock[i].used = true;
	}
	return io->why ? VMBUS_E_INVALID : VMBUS_OK;
}

static enum vmbus_status load_message(struct saved_stream *io, struct vmbus_server *s,
				      enum saved_section kind, uint64_t total)
{
	struct vmbus_queue *q = kind == SECTION_HELD ? &s->held : &s->actions;
	struct vmbus_server_action a = {.type = VMBUS_SERVER_POST};
	enum vmbus_status status;
	size_t size;

	if (!saved_open_section(io, kind, total))
		return VMBUS_E_INVALID;
	saved_message_fields(io, &a);
	saved_close_section(io);
	saved_refuse_if(io, a.message.size < 8, "message.size", "no message is so short");
	saved_refuse_if(io, a.message.vp >= s->config.vp_count, "message.vp", "no such processor");
	if (io->why)
		return VMBUS_E_INVALID;
	size = offsetof(struct vmbus_server_action, message.data) + a.message.size;
	io->extra += vmbus_queue_cost(size);
	status = vmbus_queue_reserve(q, &s->config.allocator, io->room + io->extra);
	if (!status)
		vmbus_queue_push(q, &a, size);
	return status;
}

static enum vmbus_status load_messages(struct saved_stream *io, struct vmbus_server *s,
				       enum saved_section kind, uint32_t count, uint64_t total)
{
	enum vmbus_status status = VMBUS_OK;

	io->room = kind == SECTION_HELD ? s->held.capacity : s->actions.capacity;
	io->extra = 0;
	for (uint32_t i = 0; i < count && !status; i++)
		status = load_message(io, s, kind, total);
	return status;
}

static enum vmbus_status load_deferred(struct saved_stream *io, struct vmbus_server *s,
				       uint64_t total)
{
	struct deferred_message m = {0};

	if (!saved_open_section(io, SECTION_DEFERRED, total))
		return VMBUS_E_INVALID;
	saved_deferred_fields(io, &m);
	saved_close_section(io);
	return io->why ? VMBUS_E_INVALID : vmbus_server_defer(s, m.connection_id, m.data, m.size);
}

static enum vmbus_status load_connection(struct saved_stream *io, struct vmbus_server *s,
					 struct saved_counts *n, uint64_t total)
{
	uint8_t vtl = 0;

	if (!saved_open_section(io, SECTION_CONNECTION, total))
		return VMBUS_E_INVALID;
	saved_connection_fields(io, s, &vtl, n);
	saved_close_section(io);
	saved_refuse_if(io, vtl != s->config.vtl, "connection.vtl", "not this server's");
	check_connection(io, s, n);
	return io->why ? VMBUS_E_INVALID : VMBUS_OK;
}

/* A connected, but disconnecting server has nothing to wait for: its devices are gone. */
static enum vmbus_status load_all(struct saved_stream *io, struct vmbus_server *s, uint64_t total)
{
	struct saved_counts n = {0};
	enum vmbus_status status = load_connection(io, s, &n, total);
	const char *broken;

	if (!status)
		status = load_sockets(io, s, n.sockets, total);
	for (uint32_t i = 0; i < n.channels && !status; i++)
		status = load_channel(io, s, total);
	server_restore_begin(s);
	if (!status)
		status = load_messages(io, s, SECTION_POSTED, n.posted, total);
	if (!status)
		status = load_messages(io, s, SECTION_HELD, n.held, total);
	for (uint32_t i = 0; i < n.deferred && !status; i++)
		status = load_deferred(io, s, total);
	if (status)
		return status;
	if (io->at != total)
		saved_wrong(io, "header.size", 16, "more than its sections take");
	if (s->state != VMBUS_SERVER_STATE_DISCONNECTING) {
		broken = vmbus_server_check(s);
		if (broken)
			saved_wrong(io, "state", SAVED_HEADER, broken);
	}
	return io->why ? VMBUS_E_INVALID : VMBUS_OK;
}

static bool header_valid(struct saved_stream *io, uint64_t size)
{
	const uint8_t *p = io->in;
	uint64_t total = size;

	if (size < SAVED_HEADER) {
		saved_wrong(io, "header", 0, "missing");
		return false;
	}
	total = vmbus_get64(p + 16);
	if (memcmp(p, saved_magic, sizeof(saved_magic)) != 0)
		saved_wrong(io, "header.magic", 0, "not saved state of a bus");
	else if (vmbus_get32(p + 8) != VMBUS_SAVED_VERSION)
		saved_wrong(io, "header.version", 8,
			    vmbus_get32(p + 8) > VMBUS_SAVED_VERSION
				    ? "newer than what is known here"
				    : "no version");
	else if (vmbus_get32(p + 28) != crc32c(0, p, 28))
		saved_wrong(io, "header.checksum", 28, "the header is damaged");
	else if (total != size)
		saved_wrong(io, "header.size", 16,
			    total > size ? "the end is missing" : "something follows the end");
	else if (vmbus_get32(p + 24))
		saved_wrong(io, "reserved", 24, "not a value that it can have");
	return !io->why;
}

enum vmbus_status vmbus_server_restore(const struct vmbus_server_config *config,
				       const uint8_t *bytes, size_t size, struct vmbus_server **s,
				       struct vmbus_saved_error *error)
{
	struct saved_stream io = {.loading = true, .in = bytes, .at = SAVED_HEADER};
	enum vmbus_status status = VMBUS_E_INVALID;
	struct vmbus_server *made = NULL;

	memset(error, 0, sizeof(*error));
	if (header_valid(&io, size)) {
		made = vmbus_server_create(config);
		status = made ? load_all(&io, made, size) : VMBUS_E_NO_MEMORY;
		if (!status && io.sections != vmbus_get32(bytes + 12)) {
			saved_wrong(&io, "header.sections", 12, "not as many as there are");
			status = VMBUS_E_INVALID;
		}
	}
	if (status) {
		error->field = io.field;
		error->why = io.why;
		error->offset = io.offset;
		vmbus_server_destroy(made);
		return status;
	}
	server_restore_steps(made);
	*s = made;
	return VMBUS_OK;
}
