/* SPDX-License-Identifier: MIT */
/** @file A partition and its two ends, as the files of this folder see them. */
#ifndef PARTITION_INTERNAL_H
#define PARTITION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "partition/dispatch.h"
#include "partition/event.h"
#include "partition/memory.h"
#include "partition/partition.h"
#include "partition/transport.h"

#define PART_SUBSYSTEM         "partition"
/* Where the guest's half of the interrupt page begins. */
#define PART_INTERRUPT_TO_HOST 2048u
/* The top 12 bits of a read-only GPADL's id: the host cannot be told in any other way. */
#define PART_GPADL_READ_ONLY   0x52fu
/* A wait that lasts tells so every so often. */
#define PART_WAIT_LOG_NS       5000000000u

/* ---- messages that could not be posted yet; in order, each once ---- */
struct outgoing {
	struct outgoing *next;
	uint32_t connection_id; /* client */
	uint32_t vp;            /* server */
	uint8_t sint;
	uint8_t size;
	uint8_t data[VMBUS_MAX_MESSAGE];
};

struct outgoing_queue {
	struct outgoing *head, **tail;
	uint32_t count;
};

void outgoing_init(struct outgoing_queue *q);
/* False: no memory; nothing was queued. */
bool outgoing_push(struct outgoing_queue *q, const struct outgoing *message);
void outgoing_pop(struct outgoing_queue *q);
void outgoing_clear(struct outgoing_queue *q);

/* ---- mmio.c ---- */
struct part_mmio {
	uint64_t base;
	uint32_t megabytes;
	uint8_t *used; /* a byte each */
};
int mmio_complete_options(struct part_options *o);
int mmio_init(struct part_mmio *m, const struct part_options *o);
void mmio_destroy(struct part_mmio *m);

/* ---- capture_tap.c ---- */
#define CAPTURE_LANES 16u /* and gates; a thread has one of each */

struct part_capture;

/* Where an end's traffic is tapped. Who records counts itself in and looks whether the tap is on;
 * who closes the tap then waits for the count. */
struct capture_tap {
	_Atomic(struct part_capture *) on;
	struct {
		atomic_uint inside;
		uint8_t apart[60];
	} gate[CAPTURE_LANES];
};

/* An end begins: its partition's capture, if the end is the one that records. */
void capture_tap_begin(struct part_endpoint *ep);
void capture_tap_end(struct part_endpoint *ep);

struct server_end;
struct client_end;

/* Who has the channels where they are in other processes: asked in place of devices (user_relay.c).
 * All of it under the endpoint's lock. */
struct part_relay_ops {
	/* As vmbus_bridge_action(). */
	bool (*action)(void *relay, const struct vmbus_server_action *a);
	/* After the server's actions. True: there may be more of them. */
	bool (*turn)(void *relay);
	void (*reset)(void *relay);
	bool (*at_rest)(void *relay);
	/* Guests' messages are left where they are. */
	bool (*congested)(void *relay);
};

struct part_endpoint {
	struct part *part;
	bool server;
	uint32_t id; /* the partition's */
	void *transport;
	const struct part_host_ops *host;
	const struct part_guest_ops *guest;

	struct part_memory memory;
	struct page_pool pages;    /* client */
	struct block_pool *blocks; /* client */
	atomic_uint bounce_pages;  /* client */
	struct part_mmio mmio;     /* client */
	void *nt_memory;

	struct part_dispatcher *dispatchers;
	uint32_t dispatcher_count;
	struct part_port_map ports;
	/* Below version 2.4 flags go through a page of the guest's: host to guest in its first
	 * half. */
	_Atomic(uint8_t *) interrupt_page;

	/* Serialises the state machine and all that hangs on it. Upcalls are made without it. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* an upcall ended, a request was answered */
	struct part_event messages;
	pthread_t thread; /* the message thread */
	bool running;
	atomic_bool stop;
	struct server_end *srv;
	struct client_end *cli;
	const struct part_relay_ops *relay_ops;
	void *relay; /* NULL: none */
	struct capture_tap tap;
};

struct part {
	uint32_t id;
	struct part_options options;
	struct part_endpoint server, client;
	uint64_t monitor_gpa; /* of the host's own two monitor pages, toward the guest first; 0:
				 none */
	void *transport;
	void (*transport_destroy)(void *transport);
};

/* ---- partition.c ---- */
int part_take_transport(struct part *part, const struct part_transport *transport);
/* Memory and the machine between, but neither end: for one that is written by hand. */
int part_loopback_assemble(const struct part_options *options, struct part **part);

/* ---- endpoint.c ---- */
void endpoint_init(struct part_endpoint *ep, struct part *part, bool server);
/* Words of flags that the host's end takes of what guests set. */
void part_own_flags(const struct part *part, uint32_t *first_word, uint32_t *end_word);
/* After the threads of both ends have ended: each end raises the other's lines. */
void endpoint_destroy(struct part_endpoint *ep);
int endpoint_start_dispatchers(struct part_endpoint *ep, uint32_t count,
			       struct hv_flags *const *flags);
void endpoint_stop_dispatchers(struct part_endpoint *ep);
void endpoint_free_dispatchers(struct part_endpoint *ep);
/* NULL: flags are a channel's own from now on. */
void endpoint_share_interrupts(struct part_endpoint *ep, uint8_t *page);
int endpoint_start_messages(struct part_endpoint *ep, void *(*run)(void *));
void endpoint_stop_messages(struct part_endpoint *ep);
bool endpoint_on_message_thread(const struct part_endpoint *ep);
/* Waits for `changed` with the lock held. False: PART_WAIT_LOG_NS went by, tell somebody. */
bool endpoint_wait(struct part_endpoint *ep);
/* A message thread that has been busy for long: whoever waits for the lock gets it. */
void endpoint_give_way(struct part_endpoint *ep);
/* The client waits on `cond` until `*done`, telling what for; the lock is held. */
void endpoint_wait_for(struct part_endpoint *ep, pthread_cond_t *cond, const bool *done,
		       uint32_t channel, const char *what);
void endpoint_cond_init(pthread_cond_t *cond);
int endpoint_errno(enum vmbus_status status);
const struct vmbus_allocator *endpoint_allocator(void);

/* ---- server_end.c, client_end.c ---- */
int server_end_start(struct part_endpoint *ep);
void server_end_stop(struct part_endpoint *ep);
/* Messages wait that the guest has not taken. */
bool server_end_has_to_say(struct part_endpoint *ep);
int client_end_start(struct part_endpoint *ep);
void client_end_stop(struct part_endpoint *ep);
int client_end_reset(struct part_endpoint *ep);

/* ---- ntmemory.c ---- */
int ntmemory_init(struct part_endpoint *ep);

/* ---- rings.c ---- */
struct ring_pages {
	const uint64_t *pfns;
	uint32_t count;
};
/* Maps one ring, control page first. `mapping` is what ring_unmap wants back. */
int ring_map(struct part_endpoint *ep, const struct ring_pages *ring, struct vmbus_ring_view *view,
	     struct part_mapping *mapping, uint8_t ***pages);

/* The rings behind a port; its ring_private. */
struct port_rings {
	struct vmbus_ring_view in, out;
	struct part_mapping *map_in, *map_out;
	uint8_t **in_pages, **out_pages;
	uint32_t gpadl;
	/* client: what the rings lie in */
	uint64_t gpa;
	uint32_t pages;
	bool announced, opening;
	/* server: rings in nobody's memory, for an open that a reset overtook */
	void *nowhere;
};
/* Maps both rings into the port and attaches reader and writer. */
int port_rings_map(struct part_endpoint *ep, struct part_port *port, const struct ring_pages *in,
		   const struct ring_pages *out, struct port_rings **rings);
void port_rings_unmap(struct part_endpoint *ep, struct port_rings *rings);
/* Puts empty rings of no guest's behind the port, whose own are unmapped. */
void port_rings_move_nowhere(struct part_endpoint *ep, struct part_port *port);
/* Whether the peer should hear of the state of our rings, by what both control pages say now. */
bool port_rings_owe_signal(const struct port_rings *rings);

/* ---- port.c ---- */
enum port_gate {
	PORT_GATE_OPEN,   /* signals leave */
	PORT_GATE_HELD,   /* the open's result is not posted: remember that one is owed */
	PORT_GATE_CLOSED, /* no signal of this channel any more */
};
void port_gate_set(struct part_port *port, enum port_gate gate);

#endif
