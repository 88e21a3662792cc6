/* SPDX-License-Identifier: MIT */
/* What the parts of the client share: client.c (connection, receive), client_channel.c. */
#ifndef VMBUS_CLIENT_INTERNAL_H
#define VMBUS_CLIENT_INTERNAL_H

#include "vmbus/client.h"
#include "vmbus/gpadl.h"
#include "vmbus/message.h"
#include "vmbus/queue.h"

enum client_channel_state {
	CLIENT_OFFERED,
	CLIENT_OPENING,   /* OPEN was sent */
	CLIENT_OPEN,      /* the host said yes */
	CLIENT_RESCINDED, /* the owner knows; the id stays taken until it is released */
};

struct client_channel {
	enum client_channel_state state;
	uint16_t slot;
	vmbus_channel_id id;
	void *owner;
	struct vmbus_client_offer offer;
	bool orphan; /* its connection is over: nothing is owed, nothing is sent */
	bool let_go; /* the owner released it; answers are still owed */
	uint32_t open_id;
	bool modifying;       /* MODIFY_CHANNEL_RESPONSE is owed */
	bool modify_awaited;  /* by the owner too */
	uint32_t gpadls_owed; /* CREATED and TORNDOWN still to come */
	struct vmbus_gpadl_list gpadls;
};

struct vmbus_client {
	struct vmbus_client_config config;
	struct vmbus_client_stats stats;
	struct vmbus_queue actions;
	enum vmbus_client_state state;
	uint32_t version;  /* asked for while CONNECTING, agreed after */
	uint32_t features; /* agreed */
	uint32_t post_to;  /* connection id of messages after the contact */
	uint32_t open_ids;
	uint32_t gpadl_ids;
	bool pages_modifying; /* MODIFY_CONNECTION_RESPONSE is owed */
	uint64_t next_parent_to_child, next_child_to_parent;
	uint64_t generation;
	uint32_t unswept; /* operations since the last sweep */
	uint32_t slot_count;
	uint32_t channel_count;
	uint32_t live;                 /* of them with an id: no orphans */
	uint32_t free_slot;            /* none below it */
	struct client_channel **slots; /* twice the limit: ended connections leave orphans */
	struct client_channel *by_relid[VMBUS_MAX_CHANNEL + 1];
	struct vmbus_gpadl_table gpadls;
};

/* client.c */
enum vmbus_status client_reserve(struct vmbus_client *c, size_t extra);
void client_push(struct vmbus_client *c, const struct vmbus_client_action *a, size_t detail);
void client_push_result(struct vmbus_client *c, const struct client_channel *ch,
			enum vmbus_client_action_type type, uint32_t gpadl, uint32_t status);
void client_post(struct vmbus_client *c, const struct vmbus_message *m, size_t size);
void client_post_bytes(struct vmbus_client *c, uint32_t connection_id, const void *bytes,
		       size_t size);
bool client_connected(const struct vmbus_client *c);

/* client_channel.c */
void on_offer_channel(struct vmbus_client *c, const struct vmbus_message *m);
void on_rescind_channel_offer(struct vmbus_client *c, const struct vmbus_message *m);
void on_open_channel_result(struct vmbus_client *c, const struct vmbus_message *m);
void on_modify_channel_response(struct vmbus_client *c, const struct vmbus_message *m);
void client_channel_lost(struct vmbus_client *c, struct client_channel *ch);
void client_channel_free(struct vmbus_client *c, struct client_channel *ch);
struct client_channel *client_channel(const struct vmbus_client *c, vmbus_channel_id id);
/* An answer came: a released channel that waited for it may go. */
void client_channel_settle(struct vmbus_client *c, struct client_channel *ch);
/* Why a request on the channel cannot be made now. */
enum vmbus_status client_channel_usable(const struct vmbus_client *c,
					const struct client_channel *ch);

/* client_gpadl.c */
void on_gpadl_created(struct vmbus_client *c, const struct vmbus_message *m);
void on_gpadl_torndown(struct vmbus_client *c, const struct vmbus_message *m);
/* The caller is told that its requests ended; `owed`: the host will still answer them. */
void client_gpadls_end(struct vmbus_client *c, struct client_channel *ch, bool owed);
void client_gpadls_free(struct vmbus_client *c, struct client_channel *ch);

#endif
