/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the server share: server.c (life, receive), server_connection.c (contact to
 * unload), server_offer.c (offers), server_channel.c (open to release), server_gpadl.c.
 */
#ifndef VMBUS_SERVER_INTERNAL_H
#define VMBUS_SERVER_INTERNAL_H

#include "vmbus/gpadl.h"
#include "vmbus/message.h"
#include "vmbus/queue.h"
#include "vmbus/server.h"

/* Named for what is true now; the comment says who has been told. */
enum channel_state {
	CHANNEL_RELEASED,         /* the client does not know it; it has no channel id */
	CHANNEL_CLOSED,           /* offered */
	CHANNEL_OPENING,          /* the device has been asked */
	CHANNEL_OPEN,             /* both know */
	CHANNEL_CLOSING,          /* the client closed, the device has been told */
	CHANNEL_CLOSING_REOPEN,   /* and the client has asked to open again */
	CHANNEL_REVOKED,          /* no device; the client has the rescind and keeps the id */
	CHANNEL_REOFFERED,        /* the same with a device that waits for the id */
	CHANNEL_CLOSING_RELEASED, /* the client let go, the device has been told to close */
	CHANNEL_OPENING_RELEASED, /* the client let go, the device has yet to answer the open */
	CHANNEL_STATES,
};

struct open_request {
	uint32_t open_id;
	uint32_t ring_gpadl;
	uint32_t downstream_page;
	uint32_t target_vp;
	uint32_t connection_id; /* bound while open */
	uint16_t event_flag;
	bool own_signal; /* connection id and flag are the client's choice */
	uint8_t sint;
	uint8_t user_data[120];
	bool reserved;
	uint32_t reserved_vp; /* where a reserved channel's answers go */
	uint8_t reserved_sint;
};

/* What a device still owes from an open that a reset abandoned. */
enum channel_lag {
	LAG_NONE,
	LAG_OPEN,  /* the answer to an open that nobody waits for */
	LAG_CLOSE, /* it came, and was success: the close that followed */
};

/* Of a channel that came out of saved state. */
enum channel_restore {
	RESTORE_NONE,
	RESTORE_UNCLAIMED, /* no device yet: it has an offer id, and nobody to ask */
	RESTORE_ASKED,     /* OPEN or later to the client; its device has yet to say that it goes on
			    */
};

struct channel {
	struct channel *hash_next; /* by key */
	enum channel_state state;
	enum channel_restore restore;
	enum channel_lag lag;
	bool waiting; /* OPENING, but the device is asked only once it lags no more */
	uint16_t slot;
	vmbus_offer_id id; /* 0: no device (revoked) */
	void *device;
	struct vmbus_offer offer;
	uint32_t relid;           /* 0: none */
	uint8_t monitor_id;       /* VMBUS_MONITOR_NONE: none */
	bool offer_later;         /* RELEASED: part of the batch once its old GPADLs are gone */
	bool reserved;            /* a property of OPENING, OPEN and CLOSING: opened as reserved */
	struct open_request open; /* valid in OPENING to CLOSING_REOPEN and the *_RELEASED states */
	struct open_request next; /* CLOSING_REOPEN */
	bool modifying;           /* the device retargets interrupts */
	uint32_t modifying_vp;    /* to this VP */
	bool modify_again;        /* below 5.3: once more, to modify_vp */
	uint32_t modify_vp;
	uint32_t modify_stale; /* answers still to come that nobody waits for */
	struct vmbus_gpadl_list gpadls;
};

struct contact {
	uint32_t version;
	uint32_t vp;
	uint32_t features;
	uint64_t interrupt_page;
	uint64_t parent_to_child;
	uint64_t child_to_parent;
};

/* What follows when everything of the old connection is gone. */
enum after_disconnect {
	AFTER_UNLOAD,
	AFTER_CONTACT,
	AFTER_RESET,
};

struct hvsock_request {
	bool used;
	bool stale; /* its connection is over */
	struct vmbus_guid endpoint, service, silo;
};

#define CHANNEL_BUCKETS 1024u

/* A client message that was taken from where it waited and is to be received later. */
struct deferred_message {
	uint32_t connection_id;
	uint8_t size;
	uint8_t data[VMBUS_MAX_MESSAGE];
};

struct vmbus_server {
	struct vmbus_server_config config;
	struct vmbus_server_stats stats;
	struct vmbus_queue actions;
	struct vmbus_queue held;     /* default-target messages while paused */
	struct vmbus_queue deferred; /* client messages: struct deferred_message, cut to size */

	enum vmbus_server_state state;
	enum after_disconnect after;
	struct contact contact; /* in force from CONNECTING on */
	struct contact next;    /* newest contact, to be processed when the current one has ended */
	bool has_next;
	uint32_t connects_stale; /* connect_done calls still to come that nobody waits for */
	uint32_t monitors_stale;
	uint32_t version, features;
	uint64_t monitor_parent_to_child, monitor_child_to_parent;
	bool monitor_modifying;
	struct contact monitor_next; /* its two page fields */
	bool paused;
	bool restore_over; /* no device is waited for any more */
	struct hvsock_request *hvsock;

	uint64_t generation;
	uint32_t unswept; /* operations since the last sweep */
	uint32_t channel_count;
	struct channel **slots;  /* limits.channels */
	struct channel **sorted; /* the live ones, in the order of a first batch */
	struct channel *by_key[CHANNEL_BUCKETS];
	uint32_t free_slot; /* none below it */
	uint32_t draining;  /* channels in a *_RELEASED state */
	uint32_t tearing;   /* GPADLs that a device has yet to let go */
	struct channel *by_relid[VMBUS_MAX_CHANNEL + 1];
	uint64_t fixed_ids[(VMBUS_MAX_CHANNEL + 64) / 64];
	uint64_t taken_ids[(VMBUS_MAX_CHANNEL + 64) / 64]; /* those in by_relid */
	uint32_t monitor_ids[VMBUS_MONITOR_IDS / 32];
	struct vmbus_gpadl_table gpadls;
};

/* A message that passed the checks, with what its handler may need besides. */
struct incoming {
	const struct vmbus_message *m;
	const uint8_t *bytes;
	size_t size;
	uint32_t connection_id;
};

/* server.c */
void server_push(struct vmbus_server *s, const struct vmbus_server_action *a, size_t size);
void server_push_device(struct vmbus_server *s, const struct channel *ch,
			enum vmbus_server_action_type type, struct vmbus_server_action *a,
			size_t detail);
void server_post(struct vmbus_server *s, const struct vmbus_message *m, size_t size);
void server_post_vp(struct vmbus_server *s, uint32_t vp, const struct vmbus_message *m,
		    size_t size);
void server_post_unqueued(struct vmbus_server *s, uint32_t vp, uint8_t sint,
			  const struct vmbus_message *m, size_t size);
enum vmbus_status server_reserve(struct vmbus_server *s, uint32_t channels, uint32_t gpadls);
struct channel *server_channel(const struct vmbus_server *s, vmbus_offer_id id);
void server_count(uint64_t *counter);

/* server_connection.c */
void on_initiate_contact(struct vmbus_server *s, const struct incoming *in);
void on_unload(struct vmbus_server *s, const struct incoming *in);
void on_tl_connect_request(struct vmbus_server *s, const struct incoming *in);
void on_modify_connection(struct vmbus_server *s, const struct incoming *in);
void on_pause(struct vmbus_server *s, const struct incoming *in);
void on_resume(struct vmbus_server *s, const struct incoming *in);
void connection_unpause(struct vmbus_server *s);
void connection_drained(struct vmbus_server *s);
bool connection_has_monitor_pages(const struct vmbus_server *s);

void connection_resume(struct vmbus_server *s);

/* server_offer.c */
/* The client's instance is of no use to the device: withdrawn, and offered anew once it is let go.
 */
void channel_renew(struct vmbus_server *s, struct channel *ch, const struct vmbus_offer *offer,
		   void *device);
/* A device that came back to a restored channel. */
void channel_set_device(struct vmbus_server *s, struct channel *ch, const struct vmbus_offer *offer,
			void *device);
enum vmbus_status channel_add(struct vmbus_server *s, const struct vmbus_offer *offer, void *device,
			      struct channel **added);
void on_request_offers(struct vmbus_server *s, const struct incoming *in);
/* Shows the channel to the client: RELEASED or REOFFERED -> CLOSED. */
void channel_offer(struct vmbus_server *s, struct channel *ch);
/* A device let go of a GPADL: a channel that had to wait for that is offered. */
void channel_let_go(struct vmbus_server *s, struct channel *ch);
uint32_t channel_connection_id(const struct vmbus_server *s, const struct channel *ch);
void channel_free_monitor_id(struct vmbus_server *s, struct channel *ch);
void channel_take_relid(struct vmbus_server *s, struct channel *ch, uint32_t relid);
void channel_free_ids(struct vmbus_server *s, struct channel *ch);
void channel_delete(struct vmbus_server *s, struct channel *ch);

/* server_channel.c */
void channel_set_state(struct vmbus_server *s, struct channel *ch, enum channel_state state);
void on_open_channel(struct vmbus_server *s, const struct incoming *in);
void on_open_reserved_channel(struct vmbus_server *s, const struct incoming *in);
void on_close_channel(struct vmbus_server *s, const struct incoming *in);
void on_close_reserved_channel(struct vmbus_server *s, const struct incoming *in);
void on_modify_channel(struct vmbus_server *s, const struct incoming *in);
struct channel *channel_find(struct vmbus_server *s, uint32_t relid);
void on_relid_released(struct vmbus_server *s, const struct incoming *in);
/* Takes the channel out of the connection that ends; it may be gone afterwards. */
void channel_disconnect(struct vmbus_server *s, struct channel *ch, bool reset);
bool channel_visible(const struct channel *ch);
bool channel_survives(const struct channel *ch);
bool channel_uses_ring(const struct channel *ch, uint32_t gpadl);

void channel_ask_device(struct vmbus_server *s, struct channel *ch);
void channel_rescind(struct vmbus_server *s, struct channel *ch);
void channel_closing_ended(struct vmbus_server *s, struct channel *ch);
void channel_opening_ended(struct vmbus_server *s, struct channel *ch, uint32_t status);

/* server_modify.c */
void channel_end_modify(struct vmbus_server *s, struct channel *ch, bool answer);
void channel_modify_ended(struct vmbus_server *s, struct channel *ch);

/* server_save_steps.c */
enum vmbus_status channel_claim(struct vmbus_server *s, struct channel *ch,
				const struct vmbus_offer *offer, void *device);
void server_restore_begin(struct vmbus_server *s);
void server_restore_steps(struct vmbus_server *s);

/* server_gpadl.c */
void gpadls_restored(struct vmbus_server *s, struct channel *ch);
void on_gpadl_header(struct vmbus_server *s, const struct incoming *in);
void on_gpadl_body(struct vmbus_server *s, const struct incoming *in);
void on_gpadl_teardown(struct vmbus_server *s, const struct incoming *in);
void gpadl_forget(struct vmbus_server *s, struct channel *ch, struct vmbus_gpadl *g);
void gpadl_set_state(struct vmbus_server *s, struct vmbus_gpadl *g, enum vmbus_gpadl_state state);
void gpadls_revoke(struct vmbus_server *s, struct channel *ch);
void gpadls_release(struct vmbus_server *s, struct channel *ch);
void gpadls_release_reserved(struct vmbus_server *s, struct channel *ch);
void gpadls_delete(struct vmbus_server *s, struct channel *ch);
/* The channel stopped using its ring: a TORNDOWN that waited for this goes out. */
void gpadls_ring_idle(struct vmbus_server *s, struct channel *ch);

#endif
