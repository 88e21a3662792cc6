/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The host side of the control plane: one connection, its channels, its GPADLs. Sans I/O: calls
 * and client messages in, actions out.
 *
 * The owner serialises all calls (one lock or one thread) and, after each call, takes actions with
 * vmbus_server_next_action() until it returns false, carrying them out in that order. Answers that
 * a device owes (connect, open, close, GPADL) come back as vmbus_server_*_done() calls, at once or
 * much later; an answer that arrives too late is ignored.
 *
 * A channel is named by a vmbus_offer_id, which carries a generation: a late call can never hit a
 * successor that has the same channel id on the wire.
 */
#ifndef VMBUS_SERVER_H
#define VMBUS_SERVER_H

#include "vmbus/base.h"

struct vmbus_server;
typedef uint64_t vmbus_offer_id; /* 0 is never an offer */

/**
 * What a server may be made to hold. 0 means the default named here. Memory is taken when an object
 * is made, never to carry an action: about 2.5 KiB an offer (its share of the action queue
 * included) and 400 bytes a GPADL besides its words.
 */
struct vmbus_server_limits {
	uint32_t channels;    /**< offers at once, default and most 2047 */
	uint32_t gpadls;      /**< GPADLs of a connection, default 8192 */
	uint32_t gpadl_pages; /**< 8-byte words (a page or a range's header) in all GPADLs of a
				   connection, default 4 Mi: 16 GiB described in 32 MiB */
	uint32_t hvsock;      /**< socket connect requests under way, default 16 */
};

struct vmbus_server_config {
	uint32_t max_version;           /**< highest version granted; 0: the highest known (6.0) */
	uint32_t features;              /**< feature flags offered at 6.0 */
	uint32_t message_connection_id; /**< told to clients at 5.0 and above; 0: 1 */
	uint32_t vp_count;              /**< VPs that exist: targets at or above it are refused */
	uint8_t vtl;                    /**< the VTL that this server serves */
	bool trusted;              /**< a paravisor's connection: confidential channels possible;
					the owner hands in trusted messages only */
	uint32_t first_channel_id; /**< the lowest that an offer gets; 0: 1. With limits.channels
					a range of this server's own */
	uint8_t redirect_sint;     /**< SINT of redirected channel interrupts; 0: the usual 2 */
	uint64_t monitor_parent_to_child; /**< GPAs of monitor pages that the server provides to who
					   */
	uint64_t monitor_child_to_parent; /**< asks for feature 0x40; the second is 0: none */
	struct vmbus_server_limits limits;
	struct vmbus_allocator allocator;
};

/** What a device offers. Copied. */
struct vmbus_offer {
	struct vmbus_guid interface_id;
	struct vmbus_guid instance_id;
	uint16_t subchannel;
	uint16_t flags; /**< wire offer flags (wire-level 0x1, 0x10, ...) */
	uint16_t mmio_megabytes;
	uint16_t mmio_megabytes_optional;
	uint8_t user_data[120];
	bool monitored;            /**< ask for a monitor id */
	uint16_t monitor_latency;  /**< 100 ns units */
	uint8_t vtl;               /**< offered to a connection of that VTL only */
	uint32_t order;            /**< smaller is offered first in the first batch */
	uint32_t fixed_channel_id; /**< this channel id and no other; 0: the lowest free */
	/* The claim of a restored channel; of no meaning else. */
	bool resume;    /**< the device has its state back: an open channel goes on */
	bool force_new; /**< the client is to let go of the channel and get a new one */
};

/** A GPADL's ranges as announced, validated, private to the server. */
struct vmbus_gpadl_view {
	uint32_t id;
	uint32_t range_count;
	uint32_t page_count;   /**< PFNs in all ranges */
	const uint64_t *words; /**< range list: {count | offset << 32, PFN...} a range */
	uint32_t word_count;
};

enum vmbus_server_action_type {
	VMBUS_SERVER_POST,           /**< post `message` to (vp, sint) */
	VMBUS_SERVER_CONNECT,        /**< commit the contact's pages; answer with connect_done */
	VMBUS_SERVER_DISCONNECTED,   /**< connection over: forget interrupt and monitor pages */
	VMBUS_SERVER_OPEN,           /**< the device is asked; answer with open_done */
	VMBUS_SERVER_CLOSE,          /**< stop the device; answer with close_done */
	VMBUS_SERVER_GPADL,          /**< a GPADL is complete; answer with gpadl_done */
	VMBUS_SERVER_GPADL_TEARDOWN, /**< stop touching it; answer with gpadl_released */
	VMBUS_SERVER_MODIFY,         /**< retarget interrupts to `vp`; answer with modify_done */
	VMBUS_SERVER_MONITOR,        /**< MODIFY_CONNECTION's pages; answer with monitor_done */
	VMBUS_SERVER_HVSOCK,         /**< connect request; answer with hvsock_done */
	VMBUS_SERVER_RESTORED,       /**< a restored connection: commit its pages, no answer */
};

struct vmbus_server_action {
	enum vmbus_server_action_type type;
	vmbus_offer_id offer; /**< OPEN, CLOSE, GPADL*, MODIFY */
	void *device;         /**< as given to vmbus_server_offer() */
	union {
		struct {
			uint32_t vp;
			uint8_t sint;
			bool unqueued; /**< to a target of its own: dropped if it cannot be posted
					  now */
			uint8_t size;
			uint8_t data[VMBUS_MAX_MESSAGE];
		} message;
		struct {
			uint32_t version;
			uint32_t features;
			uint32_t target_vp;
			uint64_t interrupt_page; /**< GPA, 0: none */
			uint64_t monitor_parent_to_child;
			uint64_t monitor_child_to_parent;
		} connect; /* CONNECT, MONITOR and RESTORED */
		struct {
			uint32_t channel_id; /**< relid */
			uint32_t ring_gpadl;
			uint32_t
				downstream_page; /**< page at which the host-to-guest ring starts */
			uint32_t target_vp;      /**< VMBUS_VP_NONE: never interrupt */
			uint32_t connection_id;  /**< guest-to-host event port to bind */
			uint16_t event_flag;     /**< host-to-guest event flag to set */
			uint8_t sint;
			bool monitored;
			uint8_t monitor_id;
			uint16_t monitor_latency; /**< 100 ns units */
			bool restored; /**< the client has it open already: no result is posted */
			uint8_t user_data[120];
		} open;
		struct {
			uint32_t id;
		} gpadl;
		struct {
			uint32_t vp;
		} modify;
		struct {
			struct vmbus_guid endpoint, service, silo;
		} hvsock;
	};
};

enum vmbus_server_state {
	VMBUS_SERVER_STATE_DISCONNECTED,
	VMBUS_SERVER_STATE_CONNECTING,
	VMBUS_SERVER_STATE_NEGOTIATED, /* contact answered, offers not asked for */
	VMBUS_SERVER_STATE_CONNECTED,
	VMBUS_SERVER_STATE_DISCONNECTING,
};

/** Counters; never reset. */
struct vmbus_server_stats {
	uint64_t received, posted;
	uint64_t dropped_short, dropped_type, dropped_direction, dropped_version, dropped_state;
	uint64_t dropped_vtl;     /**< contacts for a VTL or SINT that is not served here */
	uint64_t dropped_unknown; /**< naming a channel or GPADL that does not exist */
	uint64_t dropped_paused;  /**< while the client had paused the connection */
	uint64_t dropped_busy; /**< the owner had not taken the actions, see vmbus_server_ready() */
	uint64_t gpadls_refused; /**< bad, duplicate or over a limit */
	uint64_t late_answers;   /**< from devices, after the question was withdrawn */
};

struct vmbus_server *vmbus_server_create(const struct vmbus_server_config *config);
void vmbus_server_destroy(struct vmbus_server *s);

/** Offer a channel; sent at once if the client has asked for offers. E_EXISTS: its key is live.
 * Claims a restored channel with the same key; E_INVALID: it cannot be resumed, as the client was
 * offered something else. */
enum vmbus_status vmbus_server_offer(struct vmbus_server *s, const struct vmbus_offer *offer,
				     void *device, vmbus_offer_id *id);
/** Withdraw. The owner has stopped all access to the channel's memory before it calls. */
enum vmbus_status vmbus_server_revoke(struct vmbus_server *s, vmbus_offer_id id);

/**
 * No action waits: the next client message may be taken. While it is false the owner leaves client
 * messages where they are (HvPostMessage reports insufficient buffers), which bounds what a client
 * can make the server hold.
 */
bool vmbus_server_ready(const struct vmbus_server *s);
/** One client message (bytes after the SynIC header), posted to `connection_id`. Never fails. */
void vmbus_server_receive(struct vmbus_server *s, uint32_t connection_id, const void *message,
			  size_t size);

void vmbus_server_connect_done(struct vmbus_server *s, bool ok);
/** status 0 opens; anything else is sent as it is in OPEN_RESULT and leaves the channel closed. */
void vmbus_server_open_done(struct vmbus_server *s, vmbus_offer_id id, uint32_t status);
void vmbus_server_close_done(struct vmbus_server *s, vmbus_offer_id id);
void vmbus_server_gpadl_done(struct vmbus_server *s, vmbus_offer_id id, uint32_t gpadl, bool ok);
void vmbus_server_gpadl_released(struct vmbus_server *s, vmbus_offer_id id, uint32_t gpadl);
void vmbus_server_modify_done(struct vmbus_server *s, vmbus_offer_id id, uint32_t status);
void vmbus_server_monitor_done(struct vmbus_server *s, bool ok);
void vmbus_server_hvsock_done(struct vmbus_server *s, const struct vmbus_guid *endpoint,
			      const struct vmbus_guid *service, bool ok);

/** VM reset: everything is torn down, reserved channels too, nothing is posted. */
void vmbus_server_reset(struct vmbus_server *s);

/** Next action in order; false: none left. */
bool vmbus_server_next_action(struct vmbus_server *s, struct vmbus_server_action *action);

/**
 * A GPADL of this channel that is accepted, or that the device has been asked about and may still
 * refuse. The view lives until the GPADL is released. E_STATE: being torn down, no new use.
 */
enum vmbus_status vmbus_server_gpadl(struct vmbus_server *s, vmbus_offer_id id, uint32_t gpadl,
				     struct vmbus_gpadl_view *view);

enum vmbus_server_state vmbus_server_state(const struct vmbus_server *s);
uint32_t vmbus_server_version(const struct vmbus_server *s); /**< agreed; 0: no connection */
uint32_t vmbus_server_features(const struct vmbus_server *s);
/** The offer's channel id on the wire, 0 while the client does not see it. */
uint32_t vmbus_server_channel_id(const struct vmbus_server *s, vmbus_offer_id id);
/** No channel has the id: the client never had it, or has let go of it. */
bool vmbus_server_channel_id_free(const struct vmbus_server *s, uint32_t channel_id);
struct vmbus_message;
/** The OFFER that the client was sent for it. False: the client does not see it. */
bool vmbus_server_offer_message(const struct vmbus_server *s, vmbus_offer_id id,
				struct vmbus_message *m);
const struct vmbus_server_stats *vmbus_server_statistics(const struct vmbus_server *s);
/** Sweeps every invariant. NULL: all hold; else which does not. */
const char *vmbus_server_check(const struct vmbus_server *s);
/**
 * The same for an owner that asks after each operation, as debug builds do: with many channels only
 * every so-manieth call sweeps, so that an operation's cost does not grow with their number.
 */
const char *vmbus_server_sweep(struct vmbus_server *s);

#endif
