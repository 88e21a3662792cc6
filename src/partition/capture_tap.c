/* SPDX-License-Identifier: MIT */
/* Where captures meet an end: who records, and what becomes a record. docs/capture.md tells every
 * byte. */
#include <errno.h>
#include <sched.h>

#include "partition/capture_internal.h"
#include "partition/client_end.h"
#include "partition/server_end.h"
#include "vmbus/message.h"
#include "vmbus/wire.h"

atomic_uint part_captures;

/* ---- the tap ---- */

static uint32_t lane_of_thread(void)
{
	static atomic_uint threads;
	static _Thread_local uint32_t mine; /* from 1 on */

	if (!mine)
		mine = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) %
			       CAPTURE_LANES +
		       1;
	return mine - 1;
}

/* NULL: nothing to record. Else leave() is owed. */
static struct part_capture *enter(struct part_endpoint *ep, uint32_t lane)
{
	struct capture_tap *tap = &ep->tap;
	struct part_capture *c;

	if (!atomic_load_explicit(&tap->on, memory_order_relaxed))
		return NULL;
	/* a Dekker pair with shut(): one of the two sees the other */
	atomic_fetch_add(&tap->gate[lane].inside, 1);
	c = atomic_load(&tap->on);
	if (!c)
		atomic_fetch_sub(&tap->gate[lane].inside, 1);
	return c;
}

static void leave(struct part_endpoint *ep, uint32_t lane)
{
	atomic_fetch_sub(&ep->tap.gate[lane].inside, 1);
}

static void shut(struct part_endpoint *ep)
{
	atomic_store(&ep->tap.on, NULL);
	for (uint32_t i = 0; i < CAPTURE_LANES; i++)
		while (atomic_load(&ep->tap.gate[i].inside))
			sched_yield();
	atomic_fetch_sub(&part_captures, 1);
}

/* ---- records ---- */

struct pseudo_header {
	enum capture_kind kind;
	enum part_capture_direction direction;
	uint16_t flags;
	uint8_t sint;
	uint32_t channel, connection_id, vp;
	uint16_t event_flag;
};

static void put_header(const struct part_endpoint *ep, uint8_t *to, const struct pseudo_header *h)
{
	static const uint8_t magic[4] = {'V', 'M', 'B', '1'};

	memcpy(to, magic, sizeof(magic));
	to[4] = CAPTURE_HEADER;
	to[5] = (uint8_t)h->kind;
	to[6] = (uint8_t)h->direction;
	to[7] = !ep->server;
	vmbus_put16(to + 8, h->flags);
	to[10] = h->sint;
	to[11] = 0;
	vmbus_put32(to + 12, h->channel);
	vmbus_put32(to + 16, h->connection_id);
	vmbus_put32(to + 20, h->vp);
	vmbus_put16(to + 24, h->event_flag);
	vmbus_put16(to + 26, 0);
	vmbus_put32(to + 28, 0);
}

static struct capture_record *begin(struct part_endpoint *ep, struct part_capture *c, uint32_t lane,
				    const struct pseudo_header *h, uint32_t kept, uint32_t original)
{
	struct capture_record *r = capture_reserve(c, lane, CAPTURE_HEADER + kept);

	if (!r)
		return NULL;
	r->original = CAPTURE_HEADER + original;
	r->time = clock_now_ns();
	put_header(ep, r->data, h);
	return r;
}

/* ---- messages ---- */

void part_capture_record_message(struct part_endpoint *ep, const struct part_capture_message *m)
{
	const struct pseudo_header h = {
		.kind = CAPTURE_MESSAGE,
		.direction = m->direction,
		.flags = m->flags,
		.sint = m->sint,
		.connection_id = m->connection_id,
		.vp = m->vp,
	};
	uint32_t lane = lane_of_thread();
	struct part_capture *c = enter(ep, lane);
	struct capture_record *r;

	if (!c)
		return;
	r = begin(ep, c, lane, &h, m->size, m->size);
	if (r) {
		r->time = m->time;
		memcpy(r->data + CAPTURE_HEADER, m->data, m->size);
		capture_complete(c, r);
	}
	leave(ep, lane);
}

/* ---- packets ---- */

static enum part_capture_direction direction_of(const struct part_port *port, bool sent)
{
	return port->ep->server == sent ? PART_CAPTURE_TO_CLIENT : PART_CAPTURE_TO_SERVER;
}

static struct pseudo_header packet_header(const struct part_port *port, bool sent, bool pipe)
{
	return (struct pseudo_header){
		.kind = CAPTURE_PACKET,
		.direction = direction_of(port, sent),
		.flags = pipe ? PART_CAPTURE_PIPE : 0,
		.channel = port->relid,
	};
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* What is kept of a packet is always its beginning. */
static uint32_t kept_of(const struct part_capture *c, bool pipe, uint32_t extra, uint32_t total)
{
	uint32_t payload = c->options.payload + (pipe ? CAPTURE_PIPE_HEADER : 0);

	if (extra > CAPTURE_EXTRA)
		return least(total, VMBUS_PKT_DESCRIPTOR + CAPTURE_EXTRA);
	return least(total, VMBUS_PKT_DESCRIPTOR + extra + payload);
}

static void put_descriptor(uint8_t *to, uint64_t descriptor, uint64_t id)
{
	vmbus_put64(to, descriptor);
	vmbus_put64(to + 8, id);
}

struct sink {
	uint8_t *at;
	uint32_t left;
};

static void put_some(struct sink *s, const void *from, uint32_t size)
{
	uint32_t n = least(size, s->left);

	if (!n)
		return;
	memcpy(s->at, from, n);
	s->at += n;
	s->left -= n;
}

/* As it is in the ring, the padding's zeroes included: what is reserved is zero. */
static void put_packet(uint8_t *to, uint32_t kept, const struct vmbus_packet_out *p, uint32_t total)
{
	struct sink s = {to + VMBUS_PKT_DESCRIPTOR, kept - VMBUS_PKT_DESCRIPTOR};

	put_descriptor(to,
		       vmbus_packet_descriptor(p->type, p->header_size, total + VMBUS_PKT_TRAILER,
					       p->flags),
		       p->transaction_id);
	put_some(&s, p->header, p->header_size);
	put_some(&s, p->payload, p->payload_size);
	put_some(&s, p->tail, p->tail_size);
}

void part_capture_record_written(struct part_port *port, bool pipe,
				 const struct vmbus_packet_out *p)
{
	const struct pseudo_header h = packet_header(port, true, pipe);
	uint32_t total = VMBUS_PKT_DESCRIPTOR + p->header_size +
			 vmbus_round8(p->payload_size + p->tail_size);
	uint32_t lane = lane_of_thread();
	struct part_capture *c = enter(port->ep, lane);
	struct capture_record *r;
	uint32_t kept;

	if (!c)
		return;
	kept = kept_of(c, pipe, p->header_size, total);
	r = begin(port->ep, c, lane, &h, kept, total);
	if (r) {
		put_packet(r->data + CAPTURE_HEADER, kept, p, total);
		capture_complete(c, r);
	}
	leave(port->ep, lane);
}

/* Of a packet that was refused there is the descriptor alone, and of that what was understood. */
static void put_refused(uint8_t *to, const struct vmbus_packet_in *p)
{
	put_descriptor(to,
		       p->type | (uint64_t)(p->header_size / 8) << 16 |
			       (uint64_t)(p->total_size / 8) << 32 | (uint64_t)p->flags << 48,
		       p->transaction_id);
}

void part_capture_record_read(struct part_port *port, bool pipe, const void *buffer,
			      const struct vmbus_packet_in *p, bool refused)
{
	struct pseudo_header h = packet_header(port, false, pipe);
	uint32_t lane = lane_of_thread();
	struct part_capture *c = enter(port->ep, lane);
	struct capture_record *r;
	uint32_t kept = VMBUS_PKT_DESCRIPTOR;

	if (!c)
		return;
	if (refused)
		h.flags |= PART_CAPTURE_REFUSED;
	else
		kept = kept_of(c, pipe, p->header_size - VMBUS_PKT_DESCRIPTOR, p->total_size);
	r = begin(port->ep, c, lane, &h, kept, p->total_size);
	if (r) {
		if (refused)
			put_refused(r->data + CAPTURE_HEADER, p);
		else
			memcpy(r->data + CAPTURE_HEADER, buffer, kept);
		capture_complete(c, r);
	}
	leave(port->ep, lane);
}

/* ---- signals ---- */

static struct pseudo_header signal_header(const struct part_port *port, bool sent, uint16_t flags)
{
	struct pseudo_header h = {
		.kind = CAPTURE_SIGNAL,
		.direction = direction_of(port, sent),
		.flags = flags,
		.channel = port->relid,
	};

	if (h.direction == PART_CAPTURE_TO_SERVER) {
		h.connection_id = port->peer.connection_id;
	} else if (sent) {
		h.vp = __atomic_load_n(&port->peer.vp, __ATOMIC_RELAXED);
		h.sint = port->peer.sint;
		h.event_flag = port->peer.flag;
	} else {
		h.vp = __atomic_load_n(&port->dispatcher, __ATOMIC_RELAXED);
		h.sint = VMBUS_SINT;
		h.event_flag = (uint16_t)port->event_flag;
	}
	return h;
}

void part_capture_record_signal(struct part_port *port, bool sent, uint16_t flags)
{
	uint32_t lane = lane_of_thread();
	struct part_capture *c = enter(port->ep, lane);
	struct pseudo_header h;
	struct capture_record *r;

	if (!c)
		return;
	if (c->options.signals) {
		h = signal_header(port, sent, flags);
		r = begin(port->ep, c, lane, &h, 0, 0);
		if (r)
			capture_complete(c, r);
	}
	leave(port->ep, lane);
}

/* ---- beginning and end ---- */

static void repeat(struct part_endpoint *ep, const struct vmbus_message *offer)
{
	uint8_t bytes[196];
	const struct part_capture_message m = {
		.direction = PART_CAPTURE_TO_CLIENT,
		.flags = PART_CAPTURE_REPEATED,
		.time = clock_now_ns(),
		.data = bytes,
		.size = sizeof(bytes),
	};

	vmbus_message_encode(offer, bytes, sizeof(bytes));
	part_capture_record_message(ep, &m);
}

static void repeat_of_server(struct part_endpoint *ep)
{
	struct vmbus_message m;

	for (struct part_server_channel *ch = ep->srv->channels; ch; ch = ch->next)
		if (vmbus_server_offer_message(ep->srv->s, ch->id, &m))
			repeat(ep, &m);
}

static void repeat_of_client(struct part_endpoint *ep)
{
	for (struct part_client_channel *ch = ep->cli->channels; ch; ch = ch->next) {
		const struct vmbus_client_offer *o = &ch->offer;
		struct vmbus_message m = {.type = VMBUS_MSG_OFFER_CHANNEL};

		if (ch->rescinded)
			continue;
		m.offer_channel.interface_id = o->interface_id;
		m.offer_channel.instance_id = o->instance_id;
		m.offer_channel.flags = o->flags;
		m.offer_channel.mmio_megabytes = o->mmio_megabytes;
		m.offer_channel.mmio_megabytes_optional = o->mmio_megabytes_optional;
		memcpy(m.offer_channel.user_data, o->user_data, sizeof(o->user_data));
		m.offer_channel.subchannel = o->subchannel;
		m.offer_channel.channel_id = o->relid;
		m.offer_channel.monitor_id = o->monitor_id;
		m.offer_channel.monitor_allocated = o->monitored;
		m.offer_channel.dedicated = o->dedicated_interrupt;
		m.offer_channel.connection_id = o->connection_id;
		repeat(ep, &m);
	}
}

/* With c->lock. */
static int attach(struct part_endpoint *ep, struct part_capture *c)
{
	struct part_capture *none = NULL;

	if (c->used || atomic_load(&ep->tap.on))
		return -EBUSY;
	/* the count first: a tap that is on is seen by everybody */
	atomic_fetch_add(&part_captures, 1);
	if (!atomic_compare_exchange_strong(&ep->tap.on, &none, c)) {
		atomic_fetch_sub(&part_captures, 1);
		return -EBUSY;
	}
	c->used = true;
	c->ep = ep;
	return 0;
}

static int attach_locked(struct part_endpoint *ep, struct part_capture *c)
{
	int error;

	pthread_mutex_lock(&c->lock);
	error = attach(ep, c);
	pthread_mutex_unlock(&c->lock);
	return error;
}

/* Which end records: one, or each packet would be there twice. */
static bool records(const struct part_endpoint *ep, const struct part_capture *c)
{
	const struct part_endpoint *other = ep->server ? &ep->part->client : &ep->part->server;
	bool alone = !other->host && !other->guest;

	return alone || ep->server != c->options.client_end;
}

/* The options lead to the capture once: it may be closed when an end begins again. */
void capture_tap_begin(struct part_endpoint *ep)
{
	struct part_capture *c = ep->part->options.capture;

	if (!c || !records(ep, c))
		return;
	ep->part->options.capture = NULL;
	if (attach_locked(ep, c))
		kmcl_log(KMCL_LOG_INFO, PART_SUBSYSTEM, ep->id, 0,
			 "not recorded: the capture is of another partition");
}

void capture_tap_end(struct part_endpoint *ep)
{
	struct part_capture *c = atomic_load(&ep->tap.on);

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	if (c->ep) {
		shut(ep);
		c->ep = NULL;
	}
	pthread_mutex_unlock(&c->lock);
}

void capture_tap_close(struct part_capture *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->ep)
		shut(c->ep);
	c->ep = NULL;
	pthread_mutex_unlock(&c->lock);
}

int part_capture_start(struct part *part, struct part_capture *c)
{
	struct part_endpoint *ep =
		records(&part->server, c) && part->server.srv ? &part->server : &part->client;
	int error;

	pthread_mutex_lock(&ep->lock);
	error = attach_locked(ep, c);
	if (!error && ep->server)
		repeat_of_server(ep);
	else if (!error)
		repeat_of_client(ep);
	pthread_mutex_unlock(&ep->lock);
	return error;
}
