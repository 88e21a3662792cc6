/* SPDX-License-Identifier: MIT */
/*
 * The incoming side on the dispatcher: read the ring into private objects, complete our own
 * requests, deliver the peer's packets.
 *
 * Reading and delivering are separate: while a channel is paused completions are still read and
 * data packets wait in the parse queue. One party delivers at a time (in.busy): the dispatcher at
 * DISPATCH_LEVEL, or a job of in.strand at PASSIVE_LEVEL. Reading stops when the quota is used up
 * or no object is free; the packets then wait in the ring, where the peer can see it. Once the
 * driver failed a packet, or the peer sent one that is malformed, no space is given back any more:
 * completions are still taken out of what the ring holds, but the peer's packets end there.
 */
#include <stdlib.h>
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/inject.h"
#include "kmcl/verifier.h"
#include "partition/capture.h"

#define MAX_BACKOFF_NS (64 * 1000 * 1000ull)
#define MIN_BACKOFF_NS (1000 * 1000ull)
static void deliver_job(struct nt_job *job);
static void pending_job(struct nt_job *job);

/* Under in.lock, or while nobody else is there: lets the dispatcher see without it that nothing
 * waits. */
static void note_queue(struct kmcl_channel *ch)
{
	atomic_store_explicit(&ch->in.parsed, ch->in.head != NULL, memory_order_relaxed);
}

/* Delivery objects are reserved for so many; with more the driver would starve the reader. */
static uint32_t quota_now(struct kmcl_channel *ch)
{
	uint32_t quota = atomic_load_explicit(&ch->in.quota, memory_order_relaxed);

	return quota < ch->in.most ? quota : ch->in.most;
}

/* Under in.lock, after anything that it looks at: no packet is read that could not be delivered
 * once those before it are. During a pause the next start is not far, and completions matter. */
static void note_room(struct kmcl_channel *ch)
{
	bool full = ch->in.quota_blocked ||
		    (ch->in.run && ch->in.outstanding + ch->in.waiting >= quota_now(ch));

	if (full == atomic_load_explicit(&ch->in.full, memory_order_relaxed))
		return;
	atomic_store_explicit(&ch->in.full, full, memory_order_relaxed);
	if (!full)
		part_port_kick(&ch->port);
}

/* Under in.lock. */
static void push_head(struct kmcl_channel *ch, struct kmcl_incoming *in)
{
	in->next = ch->in.head;
	ch->in.head = in;
	if (!ch->in.tail)
		ch->in.tail = in;
	ch->in.waiting++;
	note_queue(ch);
}

static void push_tail(struct kmcl_channel *ch, struct kmcl_incoming *in)
{
	in->next = NULL;
	if (ch->in.tail)
		ch->in.tail->next = in;
	else
		ch->in.head = in;
	ch->in.tail = in;
	ch->in.waiting++;
	note_queue(ch);
}

static struct kmcl_incoming *pop_head(struct kmcl_channel *ch)
{
	struct kmcl_incoming *in = ch->in.head;

	ch->in.head = in->next;
	if (!ch->in.head)
		ch->in.tail = NULL;
	ch->in.waiting--;
	note_queue(ch);
	return in;
}

void kmcl_in_init(struct kmcl_channel *ch)
{
	atomic_store(&ch->in.quota, UINT32_MAX);
	ch->in.most = KMCL_MOST_INCOMING;
	KeInitializeEvent(&ch->in.drained, SynchronizationEvent, FALSE);
	nt_strand_init(&ch->in.strand);
	KeInitializeEvent(&ch->in.pending_end, NotificationEvent, FALSE);
	ch->in.job.run = deliver_job;
	ch->in.pending.run = pending_job;
}

bool kmcl_in_prepare(struct kmcl_channel *ch)
{
	const struct part_options *o = part_options_of(ch->server ? ch->config.bus : ch->ep);

	ch->out.slot_count = o->outgoing_packets;
	ch->in.most =
		o->incoming_packets < KMCL_MOST_INCOMING ? o->incoming_packets : KMCL_MOST_INCOMING;
	/* one more than can be delivered: the dispatcher reads into it */
	ch->in.count = ch->in.most + 1;
	if (!kmcl_session_map(ch))
		return false;
	ch->in.fresh = 0;
	ch->in.free = ch->in.spare = ch->in.head = ch->in.tail = NULL;
	ch->in.waiting = 0;
	note_queue(ch);
	ch->in.run = ch->in.held = ch->in.quota_blocked = false;
	atomic_store(&ch->in.failed, false);
	atomic_store(&ch->in.full, false);
	KeClearEvent(&ch->in.pending_end);
	atomic_store(&ch->in.starved, false);
	ch->in.masked = false;
	spin_lock(&ch->in.lock);
	ch->in.outstanding = 0;
	spin_unlock(&ch->in.lock);
	atomic_store(&ch->in.stop_reading, false);
	return true;
}

void kmcl_in_release(struct kmcl_channel *ch)
{
	kmcl_session_unmap(ch);
	ch->in.free = ch->in.spare = ch->in.head = ch->in.tail = NULL;
}

/* Dispatcher: an object to read into. NULL: the driver holds them all. */
static struct kmcl_incoming *object_take(struct kmcl_channel *ch)
{
	struct kmcl_incoming *in = ch->in.spare;

	if (in) {
		ch->in.spare = NULL;
		return in;
	}
	spin_lock(&ch->in.lock);
	in = ch->in.free;
	if (in)
		ch->in.free = in->next;
	else if (ch->in.fresh < ch->in.count)
		in = kmcl_session_object(ch);
	else
		atomic_store_explicit(&ch->in.starved, true, memory_order_relaxed);
	spin_unlock(&ch->in.lock);
	return in;
}

/* Under in.lock. */
static void object_put(struct kmcl_channel *ch, struct kmcl_incoming *in)
{
	in->next = ch->in.free;
	ch->in.free = in;
	if (atomic_load_explicit(&ch->in.starved, memory_order_relaxed)) {
		atomic_store_explicit(&ch->in.starved, false, memory_order_relaxed);
		part_port_kick(&ch->port);
	}
}

/* Under in.lock. Everything that follows from one packet less, the waiter's wake-up included: when
 * the lock is released the channel may be gone. */
static void ended(struct kmcl_channel *ch)
{
	ch->in.outstanding--;
	if (ch->in.outstanding < quota_now(ch))
		ch->in.quota_blocked = false;
	note_room(ch);
	if (ch->in.drain_wait && !ch->in.outstanding)
		KeSetEvent(&ch->in.drained, IO_NO_INCREMENT, FALSE);
}

void kmcl_in_ended(struct kmcl_channel *ch)
{
	spin_lock(&ch->in.lock);
	ended(ch);
	spin_unlock(&ch->in.lock);
}

void kmcl_in_free(struct kmcl_incoming *in, bool delivered)
{
	struct kmcl_channel *ch = in->channel;

	spin_lock(&ch->in.lock);
	object_put(ch, in);
	if (delivered)
		ended(ch);
	spin_unlock(&ch->in.lock);
}

/* ---- delivery ---- */

enum next {
	NEXT_NONE,  /* nothing to deliver now */
	NEXT_OTHER, /* the head wants the other level */
	NEXT_DELIVER,
};

static bool deliverable(struct kmcl_channel *ch)
{
	return ch->in.run && !ch->in.failed && ch->in.head && !ch->in.held && !ch->in.quota_blocked;
}

/* Under in.lock. The last packet that the quota allows blocks the queue until one ends, whatever
 * the quota becomes. */
static void count_delivery(struct kmcl_channel *ch)
{
	ch->in.outstanding++;
	ch->in.quota_blocked = ch->in.outstanding >= quota_now(ch);
	note_room(ch);
}

void kmcl_in_set_quota(struct kmcl_channel *ch, uint32_t quota)
{
	spin_lock(&ch->in.lock);
	atomic_store_explicit(&ch->in.quota, quota, memory_order_relaxed);
	ch->in.quota_blocked |= ch->in.outstanding >= quota_now(ch);
	note_room(ch);
	spin_unlock(&ch->in.lock);
}

static bool wants_passive(struct kmcl_channel *ch)
{
	return ch->in.head->passive || atomic_load_explicit(&ch->in.passive, memory_order_relaxed);
}

/* Takes the next packet for the party that holds in.busy. Without one, gives in.busy up if told so.
 */
static enum next next_packet(struct kmcl_channel *ch, bool at_passive, bool give_up,
			     struct kmcl_incoming **in)
{
	enum next next = NEXT_DELIVER;

	spin_lock(&ch->in.lock);
	if (!deliverable(ch)) {
		next = NEXT_NONE;
	} else if (at_passive != wants_passive(ch)) {
		next = NEXT_OTHER;
	} else {
		*in = pop_head(ch);
		count_delivery(ch);
	}
	if (next != NEXT_DELIVER && give_up) {
		ch->in.busy = false;
		if (ch->in.drain_wait)
			KeSetEvent(&ch->in.drained, IO_NO_INCREMENT, FALSE);
	}
	spin_unlock(&ch->in.lock);
	return next;
}

/* The data that a packet waits for is there, or the channel closes. */
static void pending_job(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, in.pending);
	LARGE_INTEGER delay = {.QuadPart = -10ll * ch->in.pending_us};

	if (delay.QuadPart)
		KeWaitForSingleObject(&ch->in.pending_end, Executive, KernelMode, FALSE, &delay);
	spin_lock(&ch->in.lock);
	ch->in.held = false;
	spin_unlock(&ch->in.lock);
	part_port_kick(&ch->port);
}

/* The packet goes back to the head of the queue, to be delivered again. */
static void requeue(struct kmcl_channel *ch, struct kmcl_incoming *in, VMBPACKETCOMPLETION handle)
{
	bool pending = ch->in.again == KMCL_AGAIN_PENDING;

	if (!kmcl_delivery_end(handle)) {
		kmcl_violation(ch, "defer-and-complete", "a packet was %s and then completed",
			       pending ? "left pending" : "deferred");
		return;
	}
	spin_lock(&ch->in.lock);
	if (pending)
		ch->in.held = true;
	else
		in->passive = true;
	push_head(ch, in);
	ended(ch);
	spin_unlock(&ch->in.lock);
	if (pending)
		nt_strand_post(&ch->in.strand, &ch->in.pending);
}

/* True: the packet counts as processed. Afterwards the object may be gone. */
static bool deliver_one(struct kmcl_channel *ch, struct kmcl_incoming *in)
{
	UINT32 flags = in->external ? VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA : 0;
	VMBPACKETCOMPLETION handle;
	struct kmcl_frame frame;

	if (atomic_load_explicit(&kmcl_fault_kinds, memory_order_relaxed))
		kmcl_fault_traffic(ch);
	ch->in.current = in;
	ch->in.again = KMCL_AGAIN_NONE;
	handle = kmcl_delivery_begin(in);
	kmcl_callback_enter(&frame, ch, KMCL_CB_PROCESS);
	ch->config.process(kmcl_handle(ch), handle, (PVOID)(uintptr_t)in->packet.payload,
			   in->packet.payload_size, flags);
	kmcl_callback_leave(&frame);
	ch->in.current = NULL;
	if (ch->in.again == KMCL_AGAIN_NONE)
		return true;
	requeue(ch, in, handle);
	return false;
}

static void processing_complete(struct kmcl_channel *ch, uint32_t count)
{
	struct kmcl_frame frame;

	kmcl_callback_enter(&frame, ch, KMCL_CB_PROCESSING_COMPLETE);
	ch->config.processing_complete(kmcl_handle(ch), count);
	kmcl_callback_leave(&frame);
}

static bool take_busy(struct kmcl_channel *ch)
{
	bool mine;

	spin_lock(&ch->in.lock);
	mine = !ch->in.busy && deliverable(ch);
	if (mine)
		ch->in.busy = true;
	spin_unlock(&ch->in.lock);
	return mine;
}

static void post_passive(struct kmcl_channel *ch)
{
	bool post;

	spin_lock(&ch->in.lock);
	post = !ch->in.job_posted;
	ch->in.job_posted = true;
	spin_unlock(&ch->in.lock);
	if (post)
		nt_strand_post(&ch->in.strand, &ch->in.job);
}

/* Delivers what is in the queue. The caller holds in.busy, which is released. A batch's end is
 * reported before that, so that ProcessingComplete is serialised with ProcessPacket. */
static void deliver_batch(struct kmcl_channel *ch, bool at_passive)
{
	struct kmcl_incoming *in = NULL;
	uint32_t count = 0;

	for (;;) {
		bool report = count && ch->config.processing_complete;
		enum next next = next_packet(ch, at_passive, !report, &in);

		if (next == NEXT_DELIVER) {
			count += deliver_one(ch, in);
			continue;
		}
		if (report) {
			processing_complete(ch, count);
			count = 0;
			continue;
		}
		if (next == NEXT_OTHER && !at_passive)
			post_passive(ch);
		return;
	}
}

static void deliver_job(struct nt_job *job)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(job, struct kmcl_channel, in.job);

	spin_lock(&ch->in.lock);
	ch->in.job_posted = false;
	spin_unlock(&ch->in.lock);
	if (take_busy(ch)) {
		deliver_batch(ch, true);
		part_port_kick(&ch->port); /* the dispatcher goes on with the rest */
	}
}

/* ---- reading ---- */

/* Nothing reaches the driver until the next open. What waits is of no use any more; the MDLs of a
 * packet that was deferred are given up without the lock. */
void kmcl_in_fail(struct kmcl_channel *ch)
{
	struct kmcl_incoming *list;

	spin_lock(&ch->in.lock);
	atomic_store_explicit(&ch->in.failed, true, memory_order_relaxed);
	list = ch->in.head;
	ch->in.head = ch->in.tail = NULL;
	ch->in.waiting = 0;
	note_queue(ch);
	note_room(ch);
	spin_unlock(&ch->in.lock);
	while (list) {
		struct kmcl_incoming *in = list;

		list = in->next;
		kmcl_release_mdls(in);
		kmcl_in_free(in, false);
	}
}

/* The peer broke the rules. */
static void fail_queue(struct kmcl_channel *ch, const char *why)
{
	if (atomic_load_explicit(&ch->in.failed, memory_order_relaxed))
		return;
	KMCL_LOG_PEER(KMCL_LOG_WARNING, "kmcl", 0, ch->relid, "incoming queue stopped: %s", why);
	kmcl_in_fail(ch);
}

/* True: in.busy is the caller's, who delivers. */
static bool enqueue(struct kmcl_channel *ch, struct kmcl_incoming *in)
{
	bool mine = false;

	in->delivery = 0;
	in->passive = in->pended = false;
	in->mdl = NULL;
	in->external = in->packet.type == VMBUS_PKT_GPA_DIRECT;
	if (ch->config.context_size)
		memset(in->context, 0, ch->config.context_size);
	kmcl_count(&ch->counters.packets_received, 1);
	kmcl_count(&ch->counters.bytes_received, in->packet.payload_size);
	spin_lock(&ch->in.lock);
	if (ch->in.failed) {
		object_put(ch, in);
	} else {
		push_tail(ch, in);
		mine = !ch->in.busy && deliverable(ch);
		if (mine)
			ch->in.busy = true;
		note_room(ch);
	}
	spin_unlock(&ch->in.lock);
	return mine;
}

/* Everything that the ranges say is checked before the driver hears of the packet; whether the
 * pages exist is seen when it asks for them. */
static const char *unacceptable_ranges(struct kmcl_channel *ch,
				       const struct vmbus_packet_in *packet)
{
	struct vmbus_gpa_range_iter iter;
	struct vmbus_gpa_range range;
	uint64_t bytes = 0;
	uint32_t count = 0;

	if (!ch->server)
		return "external data from the host";
	if (vmbus_packet_gpa_direct(packet, kmcl_max_external_pages(ch), &iter) != VMBUS_RING_OK)
		return "a page list that is not sound";
	while (vmbus_gpa_range_next(&iter, &range)) {
		bytes += range.byte_count;
		count++;
	}
	if (bytes > ch->config.max_external || count > ch->config.max_chain)
		return "external data over the channel's limits";
	return NULL;
}

/* What may come from the other end: a server gets external data, nobody gets transfer pages here.
 */
static const char *unacceptable(struct kmcl_channel *ch, const struct vmbus_packet_in *packet)
{
	if (packet->payload_size > ((ch->config.max_packet + 7u) & ~7u))
		return "a packet over the maximum size";
	switch (packet->type) {
	case VMBUS_PKT_INBAND:
		return NULL;
	case VMBUS_PKT_GPA_DIRECT:
		return unacceptable_ranges(ch, packet);
	default:
		return "a packet of a type that no driver takes";
	}
}

/*
 * Takes a pipe's header off: from here on the packet is its message, with its exact length. Packets
 * that set up what no pipe of ours uses are passed over.
 */
static const char *unwrap(struct kmcl_channel *ch, struct vmbus_packet_in *packet, bool *skip)
{
	struct vmbus_pipe_packet pipe;

	if (vmbus_pipe_decode(packet, &pipe) != VMBUS_PIPE_OK || pipe.type == VMBUS_PIPE_PARTIAL)
		return "a packet that breaks the pipe protocol";
	*skip = pipe.type != VMBUS_PIPE_DATA;
	if (!*skip && pipe.size > ch->config.max_packet)
		return "a message over the maximum size";
	packet->payload = pipe.data;
	packet->payload_size = pipe.size;
	return NULL;
}

/* True: something was read. The object stays the dispatcher's unless it was queued. */
static bool read_one(struct kmcl_channel *ch, struct kmcl_incoming *in)
{
	enum vmbus_ring_result r =
		vmbus_ring_read(&ch->port.in, in->buffer, ch->in.room, &in->packet);
	const char *why = NULL;
	bool skip = false;

	part_capture_read(&ch->port, kmcl_is_pipe(ch), in->buffer, &in->packet, r);
	switch (r) {
	case VMBUS_RING_OK:
		if (in->packet.type == VMBUS_PKT_COMPLETION) {
			kmcl_out_completed(ch, &in->packet);
			break;
		}
		why = kmcl_is_pipe(ch) ? unwrap(ch, &in->packet, &skip)
				       : unacceptable(ch, &in->packet);
		if (!why && !skip) {
			if (enqueue(ch, in))
				deliver_batch(ch, false);
			return true;
		}
		break;
	case VMBUS_RING_TOO_LARGE:
		why = "a packet over the channel's limits";
		break;
	case VMBUS_RING_BAD_PACKET:
		why = "a malformed packet";
		break;
	default:
		if (r == VMBUS_RING_CORRUPT && !atomic_load(&ch->in.stop_reading)) {
			atomic_store(&ch->in.stop_reading, true);
			fail_queue(ch, "the ring is corrupt");
		}
		ch->in.spare = in;
		return false;
	}
	if (why)
		fail_queue(ch, why);
	ch->in.spare = in;
	return true;
}

static bool reading_blocked(struct kmcl_channel *ch)
{
	return atomic_load_explicit(&ch->in.stop_reading, memory_order_relaxed) ||
	       atomic_load_explicit(&ch->in.full, memory_order_relaxed) ||
	       atomic_load_explicit(&ch->in.starved, memory_order_relaxed);
}

static void release_space(struct kmcl_channel *ch)
{
	if (atomic_load_explicit(&ch->in.failed, memory_order_relaxed))
		return;
	if (vmbus_ring_release(&ch->port.in))
		part_port_signal(&ch->port);
}

/* Whether the queue is to be delivered from here, or handed to a PASSIVE job. */
static void deliver_queued(struct kmcl_channel *ch)
{
	if (take_busy(ch))
		deliver_batch(ch, false);
}

static bool read_packets(struct kmcl_channel *ch)
{
	uint32_t quarter = vmbus_ring_reader_size(&ch->port.in) / 4;
	bool worked = false;

	for (uint32_t n = 0; n < KMCL_READ_BUDGET && !reading_blocked(ch); n++) {
		struct kmcl_incoming *in;

		/* no object is touched for a look that finds nothing */
		if (!vmbus_ring_has_data(&ch->port.in))
			break;
		in = object_take(ch);
		if (!in || !read_one(ch, in))
			break;
		worked = true;
		if (vmbus_ring_unreleased(&ch->port.in) >= quarter)
			release_space(ch);
	}
	if (worked)
		release_space(ch);
	return worked;
}

static enum part_poll poll_channel(struct kmcl_channel *ch)
{
	if (!ch->in.masked) {
		vmbus_ring_mask(&ch->port.in);
		ch->in.masked = true;
	}
	if (kmcl_out_waiting(ch))
		kmcl_out_drain(ch);
	if (atomic_load_explicit(&ch->in.parsed, memory_order_relaxed))
		deliver_queued(ch); /* left by a pause, a quota or a job */
	if (read_packets(ch)) {
		ch->out.backoff_ns = 0;
		return PART_POLL_WORKED;
	}
	return reading_blocked(ch) ? PART_POLL_BLOCKED : PART_POLL_IDLE;
}

/* A writer that waits for room looks again by itself: not every peer sends the room signal. Nor
 * does one signal a ring from which, as it must believe, nobody reads. */
static void set_retry(struct kmcl_channel *ch)
{
	if (!kmcl_out_waiting(ch) && !atomic_load_explicit(&ch->in.failed, memory_order_relaxed)) {
		ch->out.backoff_ns = 0;
	} else if (!ch->out.backoff_ns) {
		ch->out.backoff_ns = MIN_BACKOFF_NS;
	} else if (ch->out.backoff_ns < MAX_BACKOFF_NS) {
		ch->out.backoff_ns *= 2;
	}
	ch->port.retry_ns = ch->out.backoff_ns;
}

/* The common answer of a poll, by loads alone. */
static bool nothing_new(struct kmcl_channel *ch)
{
	return ch->in.masked && !kmcl_out_waiting(ch) && !vmbus_ring_has_data(&ch->port.in) &&
	       !atomic_load_explicit(&ch->in.parsed, memory_order_relaxed) && !reading_blocked(ch);
}

static enum part_poll port_poll(struct part_port *port)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(port, struct kmcl_channel, port);
	enum part_poll result;
	KIRQL irql;

	if (nothing_new(ch))
		return PART_POLL_IDLE;
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	result = poll_channel(ch);
	KeLowerIrql(irql);
	if (result == PART_POLL_BLOCKED)
		set_retry(ch);
	return result;
}

static bool port_park(struct part_port *port)
{
	struct kmcl_channel *ch = CONTAINING_RECORD(port, struct kmcl_channel, port);

	set_retry(ch);
	ch->in.masked = false;
	return !vmbus_ring_unmask(&port->in);
}

const struct part_port_ops kmcl_port_ops = {
	.poll = port_poll,
	.park = port_park,
};

/* ---- what the life cycle asks for ---- */

void kmcl_in_start(struct kmcl_channel *ch)
{
	spin_lock(&ch->in.lock);
	ch->in.run = true;
	note_room(ch);
	spin_unlock(&ch->in.lock);
	part_port_kick(&ch->port);
}

bool kmcl_in_halt(struct kmcl_channel *ch)
{
	bool busy;

	spin_lock(&ch->in.lock);
	ch->in.run = false;
	note_room(ch);
	busy = ch->in.busy;
	ch->in.drain_wait = busy;
	spin_unlock(&ch->in.lock);
	return busy;
}

void kmcl_in_discard(struct kmcl_channel *ch)
{
	struct kmcl_incoming *in;

	KeSetEvent(&ch->in.pending_end, IO_NO_INCREMENT, FALSE);
	nt_strand_wait_idle(&ch->in.strand);
	spin_lock(&ch->in.lock);
	in = ch->in.head;
	ch->in.head = ch->in.tail = NULL;
	ch->in.waiting = 0;
	note_queue(ch);
	spin_unlock(&ch->in.lock);
	for (; in; in = in->next)
		kmcl_release_mdls(in);
}

/* ---- saved state ---- */

static void rebuild(struct kmcl_incoming *in, const struct vmbus_packet_in *packet)
{
	uint32_t header = packet->header_size - 16;

	in->packet = *packet;
	in->packet.header = in->buffer + 16;
	in->packet.payload = in->buffer + 16 + header;
	memset(in->buffer, 0, 16);
	if (header)
		memcpy(in->buffer + 16, packet->header, header);
	if (packet->payload_size)
		memcpy(in->buffer + 16 + header, packet->payload, packet->payload_size);
}

bool kmcl_in_restore(struct kmcl_channel *ch, const struct vmbus_packet_in *packet, bool passive)
{
	struct kmcl_incoming *in;
	const char *why;

	if ((uint64_t)packet->header_size + packet->payload_size > ch->in.room)
		return false;
	in = object_take(ch);
	if (!in)
		return false;
	rebuild(in, packet);
	if (kmcl_is_pipe(ch))
		why = packet->payload_size > ch->config.max_packet ? "a message too large" : NULL;
	else
		why = unacceptable(ch, &in->packet);
	if (why) {
		ch->in.spare = in;
		return false;
	}
	enqueue(ch, in);
	in->passive = passive;
	return true;
}

struct kmcl_incoming *kmcl_in_restore_answer(struct kmcl_channel *ch, uint64_t id, const void *data,
					     uint32_t size)
{
	struct kmcl_incoming *in = size <= ch->in.room ? object_take(ch) : NULL;

	if (!in)
		return NULL;
	memset(&in->packet, 0, sizeof(in->packet));
	in->packet.transaction_id = id;
	in->answer_size = size;
	in->next = NULL;
	if (size)
		memcpy(in->buffer, data, size);
	return in;
}
