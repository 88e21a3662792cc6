/* SPDX-License-Identifier: MIT */
/*
 * The sections of saved state. Each kind is described once, by a function that names its fields in
 * order; the same function writes, measures and reads them.
 */
#include "vmbus/server_save_stream.h"

#include "base/crc.h"

const uint8_t saved_magic[8] = {'O', 'K', 'M', 'C', 'L', 'B', 'U', 'S'};

/* ---- fields ---- */

void saved_wrong(struct saved_stream *io, const char *field, uint64_t offset, const char *why)
{
	if (io->why)
		return;
	io->field = field;
	io->offset = offset;
	io->why = why;
}

void saved_refuse_if(struct saved_stream *io, bool condition, const char *field, const char *why)
{
	uint64_t offset = io->section;

	if (!condition)
		return;
	for (uint32_t i = 0; i < io->seen_count; i++) {
		if (strcmp(io->seen[i].name, field) == 0) {
			offset = io->seen[i].offset;
			break;
		}
	}
	saved_wrong(io, field, offset, why);
}

static void note(struct saved_stream *io, const char *field)
{
	if (io->seen_count == SAVED_FIELDS)
		return;
	io->seen[io->seen_count].name = field;
	io->seen[io->seen_count++].offset = io->at;
}

bool saved_take(struct saved_stream *io, const char *field, size_t size)
{
	if (!io->loading)
		return !io->why;
	note(io, field);
	if (!io->why && size > io->end - io->at)
		saved_wrong(io, field, io->at, "the section ends before it");
	return !io->why;
}

static uint64_t get_number(const uint8_t *p, unsigned int width)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < width; i++)
		value |= (uint64_t)p[i] << 8 * i;
	return value;
}

void saved_put_number(uint8_t *p, unsigned int width, uint64_t value)
{
	for (unsigned int i = 0; i < width; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

uint64_t saved_number(struct saved_stream *io, const char *field, unsigned int width,
		      uint64_t value, uint64_t most)
{
	if (!saved_take(io, field, width))
		return 0;
	if (io->loading) {
		value = get_number(io->in + io->at, width);
		if (value > most) {
			saved_wrong(io, field, io->at, "not a value that it can have");
			value = 0;
		}
	} else if (io->out) {
		saved_put_number(io->out + io->at, width, value);
	}
	io->at += width;
	return value;
}

static void raw_bytes(struct saved_stream *io, const char *field, void *bytes, size_t size)
{
	if (!saved_take(io, field, size))
		return;
	if (io->loading)
		memcpy(bytes, io->in + io->at, size);
	else if (io->out)
		memcpy(io->out + io->at, bytes, size);
	io->at += size;
}

#define FIELD(io, name, width, lvalue, most) \
	((lvalue) = (__typeof__(lvalue))saved_number(io, name, width, (uint64_t)(lvalue), most))
#define U8(io, name, lvalue)   FIELD(io, name, 1, lvalue, UINT8_MAX)
#define U16(io, name, lvalue)  FIELD(io, name, 2, lvalue, UINT16_MAX)
#define U32(io, name, lvalue)  FIELD(io, name, 4, lvalue, UINT32_MAX)
#define U64(io, name, lvalue)  FIELD(io, name, 8, lvalue, UINT64_MAX)
#define BOOL(io, name, lvalue) FIELD(io, name, 1, lvalue, 1)

static void zeroes(struct saved_stream *io, unsigned int width)
{
	saved_number(io, "reserved", width, 0, 0);
}

/* ---- sections ---- */

static uint32_t section_crc(const uint8_t *section, uint32_t length)
{
	return crc32c(crc32c(0, section, 12), section + SAVED_SECTION, length);
}

void saved_section_begin(struct saved_stream *io, enum saved_section kind)
{
	io->section = io->at;
	if (io->out) {
		saved_put_number(io->out + io->at, 4, kind);
		saved_put_number(io->out + io->at + 4, 4, io->sections);
	}
	io->at += SAVED_SECTION;
	io->sections++;
}

void saved_section_end(struct saved_stream *io)
{
	uint32_t length = (uint32_t)(io->at - io->section - SAVED_SECTION);
	uint8_t *section;

	if (!io->out)
		return;
	section = io->out + io->section;
	saved_put_number(section + 8, 4, length);
	saved_put_number(section + 12, 4, section_crc(section, length));
}

/* ---- what is in each ---- */

static void contact_fields(struct saved_stream *io, struct contact *c)
{
	U32(io, "connection.contact.version", c->version);
	U32(io, "connection.contact.vp", c->vp);
	U32(io, "connection.contact.features", c->features);
	zeroes(io, 4);
	U64(io, "connection.contact.interrupt_page", c->interrupt_page);
	U64(io, "connection.contact.monitor_parent_to_child", c->parent_to_child);
	U64(io, "connection.contact.monitor_child_to_parent", c->child_to_parent);
}

void saved_connection_fields(struct saved_stream *io, struct vmbus_server *s, uint8_t *vtl,
			     struct saved_counts *n)
{
	FIELD(io, "connection.state", 1, s->state, VMBUS_SERVER_STATE_DISCONNECTING);
	FIELD(io, "connection.after", 1, s->after, AFTER_RESET);
	BOOL(io, "connection.has_next", s->has_next);
	BOOL(io, "connection.paused", s->paused);
	BOOL(io, "connection.monitor_modifying", s->monitor_modifying);
	U8(io, "connection.vtl", *vtl);
	zeroes(io, 2);
	U32(io, "connection.version", s->version);
	U32(io, "connection.features", s->features);
	U64(io, "connection.monitor_parent_to_child", s->monitor_parent_to_child);
	U64(io, "connection.monitor_child_to_parent", s->monitor_child_to_parent);
	contact_fields(io, &s->contact);
	contact_fields(io, &s->next);
	U64(io, "connection.monitor_next.parent_to_child", s->monitor_next.parent_to_child);
	U64(io, "connection.monitor_next.child_to_parent", s->monitor_next.child_to_parent);
	U32(io, "connection.sockets", n->sockets);
	U32(io, "connection.channels", n->channels);
	U32(io, "connection.posted", n->posted);
	U32(io, "connection.held", n->held);
	U32(io, "connection.deferred", n->deferred);
	zeroes(io, 4);
}

void saved_socket_fields(struct saved_stream *io, struct hvsock_request *r)
{
	raw_bytes(io, "socket.endpoint", r->endpoint.b, 16);
	raw_bytes(io, "socket.service", r->service.b, 16);
	raw_bytes(io, "socket.silo", r->silo.b, 16);
}

static void offer_fields(struct saved_stream *io, struct vmbus_offer *o)
{
	raw_bytes(io, "channel.interface_id", o->interface_id.b, 16);
	raw_bytes(io, "channel.instance_id", o->instance_id.b, 16);
	U16(io, "channel.subchannel", o->subchannel);
	U16(io, "channel.flags", o->flags);
	U16(io, "channel.mmio_megabytes", o->mmio_megabytes);
	U16(io, "channel.mmio_megabytes_optional", o->mmio_megabytes_optional);
	raw_bytes(io, "channel.user_data", o->user_data, sizeof(o->user_data));
	U32(io, "channel.order", o->order);
	FIELD(io, "channel.fixed_channel_id", 4, o->fixed_channel_id, VMBUS_MAX_CHANNEL);
	U16(io, "channel.monitor_latency", o->monitor_latency);
	BOOL(io, "channel.monitored", o->monitored);
	U8(io, "channel.vtl", o->vtl);
}

static void open_fields(struct saved_stream *io, struct open_request *r)
{
	U32(io, "channel.open.open_id", r->open_id);
	U32(io, "channel.open.ring_gpadl", r->ring_gpadl);
	U32(io, "channel.open.downstream_page", r->downstream_page);
	U32(io, "channel.open.target_vp", r->target_vp);
	U32(io, "channel.open.connection_id", r->connection_id);
	U32(io, "channel.open.reserved_vp", r->reserved_vp);
	U16(io, "channel.open.event_flag", r->event_flag);
	FIELD(io, "channel.open.sint", 1, r->sint, VMBUS_SINT_COUNT - 1);
	FIELD(io, "channel.open.reserved_sint", 1, r->reserved_sint, VMBUS_SINT_COUNT - 1);
	BOOL(io, "channel.open.own_signal", r->own_signal);
	BOOL(io, "channel.open.reserved", r->reserved);
	zeroes(io, 2);
	raw_bytes(io, "channel.open.user_data", r->user_data, sizeof(r->user_data));
}

void saved_channel_fields(struct saved_stream *io, struct channel *ch, uint8_t *state,
			  uint32_t *gpadls)
{
	FIELD(io, "channel.id", 4, ch->relid, VMBUS_MAX_CHANNEL);
	FIELD(io, "channel.state", 1, *state, SAVED_REVOKED);
	U8(io, "channel.monitor_id", ch->monitor_id);
	BOOL(io, "channel.reserved", ch->reserved);
	BOOL(io, "channel.modifying", ch->modifying);
	U32(io, "channel.modifying_vp", ch->modifying_vp);
	U32(io, "channel.modify_vp", ch->modify_vp);
	BOOL(io, "channel.modify_again", ch->modify_again);
	zeroes(io, 3);
	U32(io, "channel.gpadls", *gpadls);
	offer_fields(io, &ch->offer);
	open_fields(io, &ch->open);
	open_fields(io, &ch->next);
}

void saved_gpadl_fields(struct saved_stream *io, struct vmbus_gpadl *g, uint8_t *state)
{
	U32(io, "gpadl.id", g->id);
	FIELD(io, "gpadl.state", 1, *state, SAVED_TEARING);
	zeroes(io, 3);
	U32(io, "gpadl.range_count", g->range_count);
	FIELD(io, "gpadl.words", 4, g->word_count, VMBUS_GPADL_MAX_WORDS);
	FIELD(io, "gpadl.received", 4, g->received, VMBUS_GPADL_MAX_WORDS);
	zeroes(io, 4);
}

void saved_deferred_fields(struct saved_stream *io, struct deferred_message *m)
{
	U32(io, "deferred.connection_id", m->connection_id);
	FIELD(io, "deferred.size", 1, m->size, VMBUS_MAX_MESSAGE);
	zeroes(io, 3);
	raw_bytes(io, "deferred.data", m->data, m->size);
}

void saved_message_fields(struct saved_stream *io, struct vmbus_server_action *a)
{
	U32(io, "message.vp", a->message.vp);
	FIELD(io, "message.sint", 1, a->message.sint, VMBUS_SINT_COUNT - 1);
	BOOL(io, "message.unqueued", a->message.unqueued);
	FIELD(io, "message.size", 1, a->message.size, VMBUS_MAX_MESSAGE);
	zeroes(io, 1);
	raw_bytes(io, "message.data", a->message.data, a->message.size);
}

bool saved_open_section(struct saved_stream *io, enum saved_section kind, uint64_t total)
{
	const uint8_t *p = io->in + io->at;
	uint32_t length;

	io->section = io->at;
	io->seen_count = 0;
	if (io->why)
		return false;
	if (total - io->at < SAVED_SECTION) {
		saved_wrong(io, "section", io->at, "missing");
		return false;
	}
	length = vmbus_get32(p + 8);
	if (length > total - io->at - SAVED_SECTION)
		saved_wrong(io, "section.length", io->at + 8, "more than there is");
	else if (vmbus_get32(p + 12) != section_crc(p, length))
		saved_wrong(io, "section.checksum", io->at + 12, "the section is damaged");
	else if (vmbus_get32(p + 4) != io->sections)
		saved_wrong(io, "section.number", io->at + 4, "out of order");
	else if (vmbus_get32(p) != kind)
		saved_wrong(io, "section.kind", io->at, "not the kind that belongs here");
	io->sections++;
	io->at += SAVED_SECTION;
	io->end = io->at + length;
	return !io->why;
}

void saved_close_section(struct saved_stream *io)
{
	if (io->at != io->end)
		saved_wrong(io, "section.length", io->section + 8, "more than its fields take");
}
