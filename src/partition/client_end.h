/* SPDX-License-Identifier: MIT */
/** @file What the client's end keeps. All of it under the endpoint's lock. */
#ifndef PARTITION_CLIENT_END_H
#define PARTITION_CLIENT_END_H

#include "partition/internal.h"

enum client_request_kind {
	REQUEST_OPEN,
	REQUEST_GPADL_CREATE,
	REQUEST_GPADL_TEARDOWN,
	REQUEST_MODIFY,
	REQUEST_MODIFY_CONNECTION
};

/* A caller that waits for the host's answer; on its stack. It is woken alone. */
struct client_request {
	struct client_request *next;
	pthread_cond_t answered;
	struct part_client_channel *owner; /* NULL: the connection's */
	enum client_request_kind kind;
	vmbus_channel_id channel;
	uint32_t gpadl;
	uint32_t status;
	bool done;
};

struct part_client_channel {
	struct part_endpoint *ep;
	struct part_client_channel *next, *prev; /* by `sequence`, rising */
	struct part_client_channel *next_by_id, *next_by_instance;
	struct part_client_channel *next_rescinded;
	struct client_request *requests;
	struct vmbus_client_offer offer;
	uint64_t sequence;
	uint32_t holds; /* calls under way that name it */
	bool rescinded;
	bool withdrawn; /* owner and listeners were told */
	bool claimed;
	bool in_rescind; /* the owner is being told */
	const struct part_client_channel_ops *ops;
	void *owner;

	struct part_client_signal signal; /* of the next open */
	/* of the present open */
	struct part_port *port; /* NULL: not open, or no longer */
	bool interrupts;        /* the open named a VP */
	void *monitor_page;     /* until its rings go; NULL: no monitor stands for its signals */
	bool latency_set;
	uint16_t latency_before;
};

struct client_listener {
	struct client_listener *next, **link; /* in `listeners`, or in a bucket */
	struct client_listener *next_to_tell, *next_gone;
	struct part_client_listener *l; /* NULL: gone, freed by the message thread */
	enum part_listen what;
	uint64_t told;                      /* offers up to this sequence */
	struct part_client_channel *cursor; /* of `listeners`: the last one told of */
	bool to_tell;                       /* of a bucket: there may be something */
	bool in_call;
	bool waited_for; /* part_client_unlisten still looks at it */
};

enum client_link {
	LINK_DOWN,
	LINK_CONNECTING,
	LINK_UP,
	LINK_FAILED,
	LINK_UNLOADED,
	LINK_LOST, /* the host went away */
};

/* Offers and those who want some of them, by what they are wanted for. */
#define CLIENT_BUCKETS 1024u
struct client_index {
	struct part_client_channel *by_id[CLIENT_BUCKETS], *by_instance[CLIENT_BUCKETS];
	struct client_listener *listeners[CLIENT_BUCKETS];
};

struct client_end {
	struct vmbus_client *c;
	enum client_link link;
	struct part_client_channel *channels, *last_channel;
	uint64_t sequence;
	struct part_client_channel *rescinded, **rescinded_tail; /* and not told */
	struct client_listener *listeners, **listeners_tail;     /* of all offers */
	struct client_listener *to_tell, **to_tell_tail;         /* of some */
	struct client_listener *gone;
	struct client_request *requests;
	struct client_index index;

	struct outgoing_queue outgoing;
	struct vmbus_client_action action;
	bool action_held;
	uint32_t tries;
	uint64_t retry_at;                   /* of the head of `outgoing` */
	uint32_t pending;                    /* requests that wait for the host */
	uint64_t progress_at, leaving_since; /* when the last was asked or answered; 0: stays */
	struct part_event *messages;
	bool resetting;
	bool chose_flags; /* a channel was given an event flag that is not its id */

	uint64_t synic_gpa;    /* two pages a VP: messages, event flags; the interrupt page */
	uint64_t monitor_gpa;  /* our two monitor pages, toward us first; 0: none */
	uint8_t *monitor_page; /* toward the host, ours or the host's own; NULL: none */
	uint32_t vps;
	uint64_t bad_messages;
	struct hv_flags *flags[PART_MAX_DISPATCHERS];
	struct part_event *events[PART_MAX_DISPATCHERS];
};

/* ---- client_end.c ---- */
void client_carry_out_actions(struct part_endpoint *ep);
/* Called with the lock held; lets go of it while it waits. */
void client_await(struct part_endpoint *ep, struct client_request *r, uint32_t relid,
		  const char *what);
void client_request_begin(struct client_end *ce, struct client_request *r);

/* ---- client_signal.c ---- */
/* Whether another channel, open or not, answers to that event flag. */
bool client_flag_taken(const struct part_client_channel *ch, uint32_t flag);

/* ---- client_monitor.c ---- */
#define MONITOR_PAGES 2u
/* The page that a new connection signals with; 0: none. */
void client_monitor_use(struct part_endpoint *ep, uint64_t gpa);
/* The connection ends, or is about to: no bit is set from here on. */
void client_monitor_stop(struct part_endpoint *ep);
/* An open's signals go by its monitor, if it has one. */
void client_monitor_begin(struct part_client_channel *ch, struct part_port *port, uint32_t vp);
void client_monitor_end(struct part_client_channel *ch);
/* The open's rings go: its latency is the host's again. */
void client_monitor_forget(struct part_client_channel *ch);

/* ---- client_offers.c: listeners, claims, upcalls ---- */
void client_offers_init(struct client_end *ce);
void client_offered(struct part_endpoint *ep, const struct vmbus_client_offer *offer);
void client_rescinded(struct part_endpoint *ep, const struct vmbus_client_action *a);
/* One round of calls to listeners and owners; false: nothing to tell. */
bool client_run_upcalls(struct part_endpoint *ep);
void client_forget_all(struct part_endpoint *ep);
/* Around a call that waits: the owner may put the channel meanwhile. */
void client_hold(struct part_client_channel *ch);
void client_unhold(struct part_client_channel *ch);

#endif
