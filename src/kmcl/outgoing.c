/* SPDX-License-Identifier: MIT */
/*
 * The outgoing side: from a send to the ring, or to the queue when there is no room, and from a
 * completion back to the routine. Everything here happens under out.lock except the routines.
 *
 * Answers to the peer's packets (completions) go before queued packets and pass a closed gate.
 */
#include <stdlib.h>
#include <string.h>

#include "kmcl/channel.h"
#include "kmcl/inject.h"
#include "partition/capture.h"
#include "vmbus/wire.h"

enum place {
	PLACE_DONE,
	PLACE_RING_FULL,
	PLACE_WAIT,  /* transaction slot or bounce space: a completion frees some */
	PLACE_NEVER, /* packet->status says why */
};

/* What a pass over the queue leaves to do once the lock is released. */
struct after {
	struct kmcl_packet *ended; /* their routines are owed */
	struct kmcl_packet **ended_tail;
	struct kmcl_incoming *answered;
	bool signal;
	bool kick;
};

void kmcl_out_init(struct kmcl_channel *ch)
{
	ch->out.gate = KMCL_GATE_REFUSE;
}

bool kmcl_out_prepare(struct kmcl_channel *ch)
{
	vmbus_txn_init(&ch->out.txns, ch->out.slots, ch->out.slot_count);
	kmcl_bounce_init(ch);
	return true;
}

void kmcl_out_release(struct kmcl_channel *ch)
{
	kmcl_bounce_destroy(ch);
	ch->out.slots = NULL;
}

static void after_init(struct after *a)
{
	a->ended = NULL;
	a->ended_tail = &a->ended;
	a->answered = NULL;
	a->signal = a->kick = false;
}

/* The packet's transaction is over: the caller may free or send it again inside the routine. */
static void run_routine(struct kmcl_packet *p, NTSTATUS status, void *data, uint32_t size)
{
	PFN_VMB_PACKET_COMPLETION_ROUTINE routine = p->routine;
	struct kmcl_channel *ch = p->channel;
	VMBPACKET handle = kmcl_packet_handle(p);
	struct kmcl_frame frame;

	atomic_store_explicit(&p->state, KMCL_PACKET_IDLE, memory_order_release);
	kmcl_callback_enter(&frame, ch, KMCL_CB_ROUTINE);
	routine(handle, status, data, size);
	kmcl_callback_leave(&frame);
}

static void end_bounce(struct kmcl_packet *p, bool copy_back)
{
	struct kmcl_channel *ch = p->channel;

	if (!p->bounce_held)
		return;
	if (copy_back && !p->abandoned)
		kmcl_bounce_copy(p, false);
	spin_lock(&ch->out.lock);
	kmcl_bounce_give(p);
	spin_unlock(&ch->out.lock);
}

static void after_run(struct kmcl_channel *ch, struct after *a)
{
	if (a->signal)
		part_port_signal(&ch->port);
	if (a->kick)
		part_port_kick(&ch->port);
	while (a->answered) {
		struct kmcl_incoming *in = a->answered;

		a->answered = in->next;
		kmcl_in_free(in, false);
	}
	while (a->ended) {
		struct kmcl_packet *p = a->ended;

		a->ended = p->next;
		end_bounce(p, false);
		run_routine(p, p->status, NULL, 0);
		atomic_fetch_sub_explicit(&ch->out.finishing, 1, memory_order_release);
	}
}

static void add_ended(struct kmcl_channel *ch, struct after *a, struct kmcl_packet *p,
		      NTSTATUS status)
{
	atomic_fetch_add_explicit(&ch->out.finishing, 1, memory_order_relaxed);
	atomic_store_explicit(&p->state, KMCL_PACKET_BUSY, memory_order_relaxed);
	p->status = status;
	p->next = NULL;
	*a->ended_tail = p;
	a->ended_tail = &p->next;
}

static void publish(struct kmcl_channel *ch, struct after *a)
{
	if (vmbus_ring_publish(&ch->port.out))
		a->signal = true;
	else
		kmcl_count(&ch->counters.signals_saved, 1);
}

static enum place never(struct kmcl_packet *p, NTSTATUS status)
{
	p->status = status;
	return PLACE_NEVER;
}

static void capture_message(struct kmcl_channel *ch, const void *payload, uint32_t size)
{
	uint8_t header[VMBUS_PIPE_HEADER];
	const struct vmbus_packet_out out = {
		.type = VMBUS_PKT_INBAND,
		.payload = header,
		.payload_size = sizeof(header),
		.tail = payload,
		.tail_size = size,
	};

	vmbus_put32(header, VMBUS_PIPE_DATA);
	vmbus_put32(header + 4, size);
	part_capture_written(&ch->port, true, &out);
}

static void capture_plain(struct kmcl_channel *ch, enum vmbus_packet_type type, uint64_t id,
			  const void *payload, uint32_t size)
{
	const struct vmbus_packet_out out = {
		.type = (uint16_t)type,
		.transaction_id = id,
		.payload = payload,
		.payload_size = size,
	};

	part_capture_written(&ch->port, kmcl_is_pipe(ch), &out);
}

/* A pipe's message: no transaction, no external data, its exact length in front of it. */
static enum vmbus_ring_result write_message(struct kmcl_channel *ch, const void *payload,
					    uint32_t size)
{
	switch (vmbus_pipe_write_message(&ch->port.out, payload, size)) {
	case VMBUS_PIPE_OK:
		if (part_capturing())
			capture_message(ch, payload, size);
		return VMBUS_RING_OK;
	case VMBUS_PIPE_TOO_LARGE:
		return VMBUS_RING_TOO_LARGE;
	default:
		return VMBUS_RING_FULL;
	}
}

static enum vmbus_ring_result write_described(struct kmcl_channel *ch, struct kmcl_packet *p,
					      const void *payload, uint32_t size, uint64_t id)
{
	struct vmbus_packet_out out = {
		.type = p->type,
		.flags = p->wait ? VMBUS_PKT_FLAG_COMPLETION_REQUESTED : 0,
		.transaction_id = id,
		.header = p->header_size ? kmcl_packet_header(p) : NULL,
		.header_size = p->header_size,
		.payload = payload,
		.payload_size = size,
	};
	enum vmbus_ring_result result = vmbus_ring_write(&ch->port.out, &out);

	if (result == VMBUS_RING_OK)
		part_capture_written(&ch->port, false, &out);
	return result;
}

static enum place write_packet(struct kmcl_channel *ch, struct kmcl_packet *p, const void *payload,
			       uint32_t size, uint64_t id)
{
	switch (kmcl_is_pipe(ch) ? write_message(ch, payload, size)
				 : write_described(ch, p, payload, size, id)) {
	case VMBUS_RING_OK:
		return PLACE_DONE;
	case VMBUS_RING_TOO_LARGE:
		return never(p, STATUS_INVALID_BUFFER_SIZE);
	default: /* full; or corrupt or closed, where the close will end the packet */
		return PLACE_RING_FULL;
	}
}

/* Puts one packet into the ring, unpublished. */
static enum place place(struct kmcl_channel *ch, struct kmcl_packet *p, const void *payload,
			uint32_t size)
{
	uint64_t id = 0;
	enum place result;

	if (p->bounce_needed && !p->bounce_held) {
		if ((p->bounce_length + PAGE_SIZE - 1) / PAGE_SIZE > ch->out.bounce_pages)
			return never(p, STATUS_INSUFFICIENT_RESOURCES);
		if (!kmcl_bounce_take(p))
			return PLACE_WAIT;
		kmcl_bounce_copy(p, true);
	}
	if (p->wait && !vmbus_txn_begin(&ch->out.txns, p, &id))
		return PLACE_WAIT;
	result = write_packet(ch, p, payload, size, id);
	if (result != PLACE_DONE) {
		if (p->wait)
			vmbus_txn_cancel(&ch->out.txns, id);
		return result;
	}
	kmcl_count(&ch->counters.packets_sent, 1);
	kmcl_count(&ch->counters.bytes_sent, size);
	if (p->wait) {
		p->transaction = id;
		ch->out.in_flight++;
		atomic_store_explicit(&p->state, KMCL_PACKET_PLACED, memory_order_relaxed);
	}
	return PLACE_DONE;
}

static void enqueue(struct kmcl_channel *ch, struct kmcl_packet *p, const void *payload,
		    uint32_t size)
{
	if (size)
		memmove(kmcl_packet_payload(p), payload, size);
	p->payload_size = size;
	kmcl_out_enqueue(ch, p);
}

void kmcl_out_enqueue(struct kmcl_channel *ch, struct kmcl_packet *p)
{
	p->next = NULL;
	p->prev = ch->out.tail;
	if (ch->out.tail)
		ch->out.tail->next = p;
	else
		ch->out.head = p;
	ch->out.tail = p;
	p->bounce_waits = p->bounce_needed && !p->bounce_held;
	ch->out.bounce_waiters += p->bounce_waits;
	atomic_store_explicit(&p->state, KMCL_PACKET_QUEUED, memory_order_relaxed);
	atomic_store_explicit(&ch->out.queued, ch->out.queued + 1, memory_order_relaxed);
}

void kmcl_out_unqueue(struct kmcl_channel *ch, struct kmcl_packet *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		ch->out.head = p->next;
	if (p->next)
		p->next->prev = p->prev;
	else
		ch->out.tail = p->prev;
	p->next = p->prev = NULL;
	ch->out.bounce_waiters -= p->bounce_waits;
	p->bounce_waits = false;
	atomic_store_explicit(&ch->out.queued, ch->out.queued - 1, memory_order_relaxed);
}

static enum place place_answer(struct kmcl_channel *ch, struct kmcl_incoming *in, const void *data,
			       uint32_t size)
{
	switch (vmbus_ring_write_inband(&ch->port.out, VMBUS_PKT_COMPLETION, 0,
					in->packet.transaction_id, data, size)) {
	case VMBUS_RING_OK:
		if (part_capturing())
			capture_plain(ch, VMBUS_PKT_COMPLETION, in->packet.transaction_id, data,
				      size);
		kmcl_count(&ch->counters.packets_sent, 1);
		kmcl_count(&ch->counters.bytes_sent, size);
		return PLACE_DONE;
	case VMBUS_RING_TOO_LARGE:
		return PLACE_NEVER;
	default:
		return PLACE_RING_FULL;
	}
}

/* The ring is full for a packet of this size: ask for a signal. False: there is room now. */
static bool wait_for_room(struct kmcl_channel *ch, struct after *a, uint32_t header, uint32_t size)
{
	publish(ch, a); /* the peer computes room from what it can see */
	if (!vmbus_ring_writer_block(&ch->port.out, vmbus_ring_packet_size(header, size)))
		return false;
	kmcl_count(&ch->counters.no_room, 1);
	a->kick = true; /* the dispatcher looks again by itself as well */
	return true;
}

/* True: go on with the next one. */
static bool drain_answer(struct kmcl_channel *ch, struct after *a)
{
	struct kmcl_incoming *in = ch->out.answers;

	switch (place_answer(ch, in, in->buffer, in->answer_size)) {
	case PLACE_DONE:
	case PLACE_NEVER: /* was checked when it was queued */
		ch->out.answers = in->next;
		in->next = a->answered;
		a->answered = in;
		return true;
	default:
		return !wait_for_room(ch, a, 0, in->answer_size);
	}
}

static bool drain_packet(struct kmcl_channel *ch, struct after *a)
{
	struct kmcl_packet *p = ch->out.head;

	switch (place(ch, p, kmcl_packet_payload(p), p->payload_size)) {
	case PLACE_DONE:
		kmcl_out_unqueue(ch, p);
		if (!p->wait)
			add_ended(ch, a, p, STATUS_SUCCESS);
		return true;
	case PLACE_NEVER:
		kmcl_out_unqueue(ch, p);
		add_ended(ch, a, p, p->status);
		return true;
	case PLACE_RING_FULL:
		return !wait_for_room(ch, a, p->header_size,
				      kmcl_pipe_header(ch) + p->payload_size);
	case PLACE_WAIT:
		return false;
	}
	return false;
}

static bool flowing(const struct kmcl_channel *ch)
{
	return ch->out.live && ch->out.gate == KMCL_GATE_FLOW;
}

static void drain_locked(struct kmcl_channel *ch, struct after *a)
{
	uint32_t budget = vmbus_ring_writer_size(&ch->port.out) / 4;
	bool more = true, wrote = false;

	while (more && ch->out.live) {
		if (ch->out.answers)
			more = drain_answer(ch, a);
		else if (ch->out.head && flowing(ch))
			more = drain_packet(ch, a);
		else
			break;
		wrote = true;
		/* a batch shares a fence, but the reader should not wait for a whole ring */
		if (vmbus_ring_writer_unpublished(&ch->port.out) >= budget)
			publish(ch, a);
	}
	if (wrote)
		publish(ch, a);
	atomic_store_explicit(&ch->out.waiting, ch->out.answers || (ch->out.head && flowing(ch)),
			      memory_order_relaxed);
}

void kmcl_out_drain(struct kmcl_channel *ch)
{
	struct after a;

	after_init(&a);
	spin_lock(&ch->out.lock);
	if (ch->out.live)
		drain_locked(ch, &a);
	spin_unlock(&ch->out.lock);
	a.kick = false; /* only the dispatcher and those who kick it come here */
	after_run(ch, &a);
}

bool kmcl_out_waiting(struct kmcl_channel *ch)
{
	return atomic_load_explicit(&ch->out.waiting, memory_order_relaxed) != 0;
}

void kmcl_out_set_gate(struct kmcl_channel *ch, enum kmcl_gate gate)
{
	struct after a;

	after_init(&a);
	spin_lock(&ch->out.lock);
	ch->out.gate = gate;
	if (ch->out.live)
		drain_locked(ch, &a);
	spin_unlock(&ch->out.lock);
	after_run(ch, &a);
}

void kmcl_out_set_live(struct kmcl_channel *ch, bool live)
{
	spin_lock(&ch->out.lock);
	ch->out.live = live;
	ch->out.backoff_ns = 0;
	if (live)
		ch->out.largest = vmbus_ring_writer_largest_payload(&ch->port.out);
	spin_unlock(&ch->out.lock);
}

static bool refused(struct kmcl_channel *ch)
{
	return ch->out.gate == KMCL_GATE_REFUSE || kmcl_closing(ch);
}

/* Nothing is ahead and the way is open. */
static bool direct(const struct kmcl_channel *ch)
{
	return flowing(ch) && !ch->out.head && !ch->out.answers;
}

/*
 * Data that must be bounced is copied before the lock is taken for the send: other senders need not
 * wait for a megabyte. Space goes to packets in their order, so with one in the queue that waits
 * for some nobody behind it takes any. True: the close waits for us (finishing).
 */
static bool bounce_ahead(struct kmcl_channel *ch, struct kmcl_packet *p)
{
	bool held;

	if (!p->bounce_needed)
		return false;
	spin_lock(&ch->out.lock);
	held = ch->out.live && !ch->out.bounce_waiters && kmcl_bounce_take(p);
	if (held)
		atomic_fetch_add_explicit(&ch->out.finishing, 1, memory_order_relaxed);
	spin_unlock(&ch->out.lock);
	if (held)
		kmcl_bounce_copy(p, true);
	return held;
}

/* Under out.lock, before the packet is placed or queued. */
static void keep_order(struct kmcl_channel *ch, struct kmcl_packet *p)
{
	if (ch->out.bounce_waiters)
		kmcl_bounce_give(p);
}

static void bounced_ahead(struct kmcl_channel *ch, bool held)
{
	if (held)
		atomic_fetch_sub_explicit(&ch->out.finishing, 1, memory_order_release);
}

/* Before the lock is taken, since a fault is told in the log. True: the ring is to seem full. */
static bool seems_full(struct kmcl_channel *ch, const char *function)
{
	if (!atomic_load_explicit(&kmcl_fault_kinds, memory_order_relaxed))
		return false;
	kmcl_fault_traffic(ch);
	return kmcl_fault_hits(KMCL_FAULT_ROOM, ch->driver, function, NULL);
}

/* The dispatcher looks whether there is room, as it would if the ring had been full. */
static void look_later(struct kmcl_channel *ch, struct after *a)
{
	kmcl_count(&ch->counters.no_room, 1);
	atomic_store_explicit(&ch->out.waiting, 1, memory_order_relaxed);
	a->kick = true;
}

NTSTATUS kmcl_out_send(struct kmcl_packet *p, const void *payload, uint32_t size)
{
	struct kmcl_channel *ch = p->channel;
	bool full = seems_full(ch, "VmbPacketSend*");
	bool held = bounce_ahead(ch, p);
	enum place placed = PLACE_WAIT;
	struct after a;
	NTSTATUS status = STATUS_SUCCESS;

	after_init(&a);
	spin_lock(&ch->out.lock);
	keep_order(ch, p);
	if (refused(ch)) {
		status = STATUS_DEVICE_REMOVED;
	} else {
		if (direct(ch))
			placed = full ? PLACE_RING_FULL : place(ch, p, payload, size);
		switch (placed) {
		case PLACE_DONE:
			publish(ch, &a);
			if (!p->wait)
				add_ended(ch, &a, p, STATUS_SUCCESS);
			break;
		case PLACE_NEVER:
			status = p->status;
			break;
		case PLACE_RING_FULL:
		case PLACE_WAIT:
			enqueue(ch, p, payload, size);
			if (full)
				look_later(ch, &a);
			else if (flowing(ch))
				drain_locked(ch, &a);
			break;
		}
	}
	if (!NT_SUCCESS(status)) {
		kmcl_bounce_give(p);
		atomic_store_explicit(&p->state, KMCL_PACKET_IDLE, memory_order_release);
	}
	spin_unlock(&ch->out.lock);
	bounced_ahead(ch, held);
	after_run(ch, &a);
	return status;
}

NTSTATUS kmcl_out_place_now(struct kmcl_packet *p, const void *payload, uint32_t size)
{
	struct kmcl_channel *ch = p->channel;
	bool full = seems_full(ch, "VmbChannelSendSynchronousRequest");
	NTSTATUS status = STATUS_BUFFER_OVERFLOW;
	bool held = bounce_ahead(ch, p);
	struct after a;

	after_init(&a);
	spin_lock(&ch->out.lock);
	keep_order(ch, p);
	if (refused(ch)) {
		status = STATUS_DEVICE_REMOVED;
	} else if (direct(ch) && !full) {
		switch (place(ch, p, payload, size)) {
		case PLACE_DONE:
			publish(ch, &a);
			if (!p->wait)
				add_ended(ch, &a, p, STATUS_SUCCESS);
			status = STATUS_SUCCESS;
			break;
		case PLACE_NEVER:
			status = p->status;
			break;
		case PLACE_RING_FULL:
		case PLACE_WAIT:
			break;
		}
	}
	if (!NT_SUCCESS(status))
		kmcl_bounce_give(p);
	spin_unlock(&ch->out.lock);
	bounced_ahead(ch, held);
	after_run(ch, &a);
	return status;
}

static enum vmbus_ring_result write_now(struct kmcl_channel *ch, const void *payload, uint32_t size)
{
	enum vmbus_ring_result result;

	if (kmcl_is_pipe(ch))
		return write_message(ch, payload, size);
	result = vmbus_ring_write_inband(&ch->port.out, VMBUS_PKT_INBAND, 0, 0, payload, size);
	if (result == VMBUS_RING_OK && part_capturing())
		capture_plain(ch, VMBUS_PKT_INBAND, 0, payload, size);
	return result;
}

NTSTATUS kmcl_out_send_now(struct kmcl_channel *ch, const void *payload, uint32_t size)
{
	bool full = seems_full(ch, "VmbChannelSendSynchronousRequest");
	NTSTATUS status = STATUS_BUFFER_OVERFLOW;
	struct after a;

	after_init(&a);
	spin_lock(&ch->out.lock);
	if (refused(ch)) {
		status = STATUS_DEVICE_REMOVED;
	} else if (direct(ch) && !full && write_now(ch, payload, size) == VMBUS_RING_OK) {
		kmcl_count(&ch->counters.packets_sent, 1);
		kmcl_count(&ch->counters.bytes_sent, size);
		publish(ch, &a);
		status = STATUS_SUCCESS;
	}
	spin_unlock(&ch->out.lock);
	after_run(ch, &a);
	return status;
}

void kmcl_out_completed(struct kmcl_channel *ch, const struct vmbus_packet_in *packet)
{
	struct kmcl_packet *p;

	spin_lock(&ch->out.lock);
	p = vmbus_txn_end(&ch->out.txns, packet->transaction_id);
	if (p) {
		ch->out.in_flight--;
		atomic_store_explicit(&p->state, KMCL_PACKET_BUSY, memory_order_relaxed);
	} else {
		kmcl_count(&ch->counters.dropped_completions, 1);
	}
	spin_unlock(&ch->out.lock);
	if (!p) {
		KMCL_LOG_PEER(KMCL_LOG_WARNING, "kmcl", 0, ch->relid,
			      "completion for a request that is not outstanding dropped");
		return;
	}
	end_bounce(p, true);
	run_routine(p, STATUS_SUCCESS,
		    packet->payload_size ? (void *)(uintptr_t)packet->payload : NULL,
		    packet->payload_size);
	if (kmcl_out_waiting(ch))
		kmcl_out_drain(ch);
}

/* An answer that the peer's ring can never hold is the peer's doing: it gets an empty one. */
static uint32_t fitting(struct kmcl_channel *ch, uint32_t size)
{
	if (size <= ch->out.largest)
		return size;
	KMCL_LOG_PEER(KMCL_LOG_WARNING, "kmcl", 0, ch->relid,
		      "completion of %u bytes cannot fit the peer's ring (%u): sent without data",
		      size, ch->out.largest);
	return 0;
}

void kmcl_out_answer(struct kmcl_channel *ch, struct kmcl_incoming *in, const void *data,
		     uint32_t size)
{
	bool full = kmcl_faults(KMCL_FAULT_ROOM) &&
		    kmcl_fault_hits(KMCL_FAULT_ROOM, ch->driver, "VmbChannelPacketComplete", NULL);
	bool written = true;
	struct after a;

	after_init(&a);
	spin_lock(&ch->out.lock);
	if (ch->out.live) {
		size = fitting(ch, size);
		written = !full && !ch->out.answers &&
			  place_answer(ch, in, data, size) != PLACE_RING_FULL;
		if (written) {
			publish(ch, &a);
		} else {
			if (size)
				memmove(in->buffer, data, size);
			in->answer_size = size;
			in->next = NULL;
			if (ch->out.answers)
				ch->out.answers_tail->next = in;
			else
				ch->out.answers = in;
			ch->out.answers_tail = in;
			if (full)
				look_later(ch, &a);
			else
				drain_locked(ch, &a);
		}
	}
	spin_unlock(&ch->out.lock);
	after_run(ch, &a);
	if (written)
		kmcl_in_free(in, true);
	else
		kmcl_in_ended(ch);
}

static void take_placed(struct kmcl_channel *ch, struct after *a, NTSTATUS status)
{
	uint32_t cursor = 0;
	struct kmcl_packet *p;

	while (ch->out.slots && (p = vmbus_txn_take(&ch->out.txns, &cursor)))
		add_ended(ch, a, p, status);
	ch->out.in_flight = 0;
	while ((p = ch->out.restored)) {
		ch->out.restored = p->next;
		add_ended(ch, a, p, status);
	}
	a->answered = ch->out.answers;
	ch->out.answers = NULL;
	atomic_store_explicit(&ch->out.waiting, 0, memory_order_relaxed);
}

static void take_everything(struct kmcl_channel *ch, struct after *a, NTSTATUS status)
{
	struct kmcl_packet *p;

	take_placed(ch, a, status);
	while ((p = ch->out.head)) {
		kmcl_out_unqueue(ch, p);
		add_ended(ch, a, p, status);
	}
}

void kmcl_out_end_placed(struct kmcl_channel *ch, NTSTATUS status)
{
	struct after a;

	after_init(&a);
	spin_lock(&ch->out.lock);
	take_placed(ch, &a, status);
	spin_unlock(&ch->out.lock);
	after_run(ch, &a);
}

void kmcl_out_end_all(struct kmcl_channel *ch, NTSTATUS status)
{
	struct after a;

	after_init(&a);
	spin_lock(&ch->out.lock);
	take_everything(ch, &a, status);
	spin_unlock(&ch->out.lock);
	after_run(ch, &a);
	/* a sender elsewhere may be between the ring and the routine */
	while (atomic_load_explicit(&ch->out.finishing, memory_order_acquire))
		sched_yield();
}
