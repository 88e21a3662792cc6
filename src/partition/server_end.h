/* SPDX-License-Identifier: MIT */
/** @file What the server's end keeps. All of it under the endpoint's lock. */
#ifndef PARTITION_SERVER_END_H
#define PARTITION_SERVER_END_H

#include "partition/internal.h"
#include "partition/monitor.h"

/* A GPADL that somebody has mapped; its teardown waits. */
struct gpadl_use {
	struct gpadl_use *next;
	uint32_t gpadl;
	bool ring;     /* the open's own, else pinned by the device */
	bool teardown; /* the guest wants it back */
};

enum server_channel_state {
	CHANNEL_IS_CLOSED,
	CHANNEL_IS_OPENING, /* rings mapped; the owner was asked, or will be */
	CHANNEL_IS_OPEN,
	CHANNEL_IS_CLOSING, /* the owner was told, or will be */
};

enum server_upcall {
	UPCALL_NONE,
	UPCALL_OPEN,
	UPCALL_CLOSE
};

struct part_server_channel {
	struct part_endpoint *ep;
	struct part_server_channel *next, *prev;
	vmbus_offer_id id;
	const struct part_server_channel_ops *ops;
	void *device;
	struct part_port *port;

	enum server_channel_state state;
	enum server_upcall upcall; /* queued */
	struct part_server_channel *next_upcall;
	bool in_upcall;

	/* of the present open */
	struct part_server_open open;
	uint32_t ring_gpadl, connection_id;
	uint8_t monitor_id;  /* VMBUS_MONITOR_NONE: signals come by the doorbell alone */
	uint64_t recheck_at; /* 0: no; else in `rechecks` */
	struct part_server_channel *next_recheck, *prev_recheck;
	struct gpadl_use *uses;
};

struct server_end {
	struct vmbus_server *s;
	struct part_server_channel *channels;
	struct part_server_channel *upcalls, **upcalls_tail;
	struct outgoing_queue outgoing;
	struct vmbus_server_action action;
	bool action_held; /* `action` could not be carried out yet */
	bool resetting;
	bool frozen; /* saved: nothing is taken from the guest, told it, or asked of devices */
	struct part_server_channel *rechecks, *last_recheck; /* soonest first */
	struct part_server_channel *opened[PART_CHANNELS];   /* by channel id: rings mapped */
	struct part_monitor monitor;

	struct hv_flags *doorbells[PART_MAX_DISPATCHERS];
	struct part_event *events[PART_MAX_DISPATCHERS];
	struct hv_flags doorbell_memory[PART_MAX_DISPATCHERS];
};

/* ---- server_end.c ---- */
void server_carry_out_actions(struct part_endpoint *ep);
/* The pages that a contact names lie in the guest's memory. */
bool server_pages_usable(struct part_endpoint *ep, const struct vmbus_server_action *a);
void server_end_config(const struct part *part, struct vmbus_server_config *config);
/* With a server that was restored; takes it over. */
int server_end_start_with(struct part_endpoint *ep, struct vmbus_server *s);

/* ---- server_gpadl.c ---- */
/* -EBUSY: in use already. */
int server_use_gpadl(struct part_server_channel *ch, uint32_t gpadl, bool ring);
/* The last access is over: a teardown that waited for that goes on. */
void server_end_use(struct part_server_channel *ch, uint32_t gpadl);
/* The guest wants it back. */
void server_gpadl_teardown(struct part_server_channel *ch, uint32_t gpadl);

#endif
