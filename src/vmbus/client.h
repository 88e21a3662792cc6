/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The guest side of the control plane: finds offers, opens channels, creates GPADLs. Sans I/O, with
 * the owner's duties as in server.h: serialise calls, then take the actions in order.
 *
 * A hostile host can send anything: what does not fit is counted and ignored.
 */
#ifndef VMBUS_CLIENT_H
#define VMBUS_CLIENT_H

#include "vmbus/base.h"

struct vmbus_client;
typedef uint64_t vmbus_channel_id; /* relid and generation; 0 is never a channel */

struct vmbus_client_limits {
	uint32_t channels; /**< default and most 2047 */
	uint32_t gpadls;   /**< default 8192 */
};

struct vmbus_client_config {
	uint32_t max_version;             /**< first version asked for; 0: 6.0 */
	uint32_t min_version;             /**< last one tried; 0: 0.13 */
	uint32_t features;                /**< asked for at 6.0 */
	uint32_t target_vp;               /**< VP that gets the messages */
	uint8_t vtl;                      /**< VTL of this client, told at 5.1 and above */
	uint64_t interrupt_page;          /**< GPA, 0: none (needed below 2.4) */
	uint64_t monitor_parent_to_child; /**< GPAs, both or none */
	uint64_t monitor_child_to_parent;
	uint32_t contact_connection_id; /**< 0: 4 at 5.0 and above, else 1 */
	uint32_t first_gpadl_id;        /**< 0: 0xE1E10 */
	struct vmbus_client_limits limits;
	struct vmbus_allocator allocator;
};

/** An offer as the host made it, copied and checked. */
struct vmbus_client_offer {
	vmbus_channel_id channel;
	uint32_t relid;
	struct vmbus_guid interface_id, instance_id;
	uint16_t subchannel;
	uint16_t flags;
	uint16_t mmio_megabytes, mmio_megabytes_optional;
	uint8_t user_data[120];
	bool monitored;
	uint8_t monitor_id;
	bool dedicated_interrupt;
	uint32_t connection_id; /**< for HvSignalEvent */
};

struct vmbus_client_open {
	uint32_t ring_gpadl;
	uint32_t downstream_page;
	uint32_t target_vp;
	uint8_t user_data[120];
	/* guest-specified signals, used only when feature 0x01 was granted */
	uint32_t connection_id;
	uint16_t event_flag;
	uint16_t open_flags;
};

enum vmbus_client_action_type {
	VMBUS_CLIENT_POST,           /**< HvPostMessage; report its failure with post_failed */
	VMBUS_CLIENT_CONNECTED,      /**< version and features agreed; offers have been asked for */
	VMBUS_CLIENT_CONNECT_FAILED, /**< no version in common, or the host failed the contact */
	VMBUS_CLIENT_OFFER,          /**< a channel was offered */
	VMBUS_CLIENT_OFFERS_DELIVERED,
	VMBUS_CLIENT_RESCIND, /**< stop using rings and GPADLs now; then release */
	VMBUS_CLIENT_OPEN_RESULT,
	VMBUS_CLIENT_GPADL_CREATED,  /**< status 0, the host's, or VMBUS_STATUS_GONE by rescind */
	VMBUS_CLIENT_GPADL_TORNDOWN, /**< the memory is the caller's again */
	VMBUS_CLIENT_MODIFY_RESULT,
	VMBUS_CLIENT_CONNECTION_MODIFIED, /**< the monitor pages were replaced (status 0) or not */
	VMBUS_CLIENT_UNLOADED,            /**< all channels and GPADLs are gone */
};

/** Status in OPEN_RESULT, GPADL_CREATED and MODIFY_RESULT when a rescind ended the request. */
#define VMBUS_STATUS_GONE 0xc00002b6u

struct vmbus_client_action {
	enum vmbus_client_action_type type;
	vmbus_channel_id channel;
	void *owner; /**< as set by vmbus_client_set_owner, NULL before */
	uint32_t gpadl;
	uint32_t status; /**< 0: success */
	union {
		struct {
			uint32_t connection_id;
			uint8_t size;
			uint8_t data[VMBUS_MAX_MESSAGE];
		} message;
		struct {
			uint32_t version, features;
			uint64_t monitor_parent_to_child, monitor_child_to_parent;
		} connected;
		struct vmbus_client_offer offer;
	};
};

enum vmbus_client_state {
	VMBUS_CLIENT_STATE_DISCONNECTED,
	VMBUS_CLIENT_STATE_CONNECTING,
	VMBUS_CLIENT_STATE_REQUESTING_OFFERS,
	VMBUS_CLIENT_STATE_CONNECTED,
	VMBUS_CLIENT_STATE_DISCONNECTING,
};

struct vmbus_client_stats {
	uint64_t received, posted, ignored_short, ignored_type, ignored_state, ignored_unknown;
	uint64_t ignored_offers;  /**< with a channel id that is impossible or live */
	uint64_t released_offers; /**< handed back at once: a limit, or no memory */
	uint64_t ignored_busy;    /**< the owner had not taken the actions */
};

struct vmbus_client *vmbus_client_create(const struct vmbus_client_config *config);
void vmbus_client_destroy(struct vmbus_client *c);

enum vmbus_status vmbus_client_connect(struct vmbus_client *c);
/** One host message, copied out of its slot. Never fails. */
void vmbus_client_receive(struct vmbus_client *c, const void *message, size_t size);
/** A POST that the hypervisor refused with invalid connection id (18); others are retried by the
 * owner. */
void vmbus_client_post_failed(struct vmbus_client *c, uint16_t hv_status);
/** The transport is gone: every channel is rescinded, every request ended, state disconnected. */
void vmbus_client_lost(struct vmbus_client *c);
/**
 * Ends the connection. Everything but the host's UNLOAD_COMPLETE is ignored from here on; when it
 * comes, pending requests end, every channel is rescinded, and UNLOADED follows. If it does not
 * come in the owner's time, vmbus_client_lost() does the same. E_STATE: while connecting.
 */
enum vmbus_status vmbus_client_unload(struct vmbus_client *c);

/**
 * What the owner gets back in actions of this channel. Also for a channel that is rescinded, until
 * it is released.
 */
void vmbus_client_set_owner(struct vmbus_client *c, vmbus_channel_id id, void *owner);
enum vmbus_status vmbus_client_open(struct vmbus_client *c, vmbus_channel_id id,
				    const struct vmbus_client_open *open);
/** Sends CLOSE; the channel can be opened again at once. No effect on one that is not open.
 * E_STATE: the open has not been answered yet. */
enum vmbus_status vmbus_client_close(struct vmbus_client *c, vmbus_channel_id id);
enum vmbus_status vmbus_client_modify(struct vmbus_client *c, vmbus_channel_id id, uint32_t vp);
/**
 * Replaces the monitor pages (GPAs, both 0: none from now on); CONNECTION_MODIFIED tells whether
 * the host did. E_STATE: no connection with feature 0x04, pages of the host's own, or one is under
 * way.
 */
enum vmbus_status vmbus_client_modify_connection(struct vmbus_client *c, uint64_t parent_to_child,
						 uint64_t child_to_parent);
/**
 * Announces `words` (ranges as on the wire, word_count u64s, range_count ranges) to the host;
 * copied. The id is a counter of 20 bits, unique among live GPADLs and never 0; a `hint` (12 bits,
 * 0: none) takes the bits above it, see docs/wire-notes.md.
 */
enum vmbus_status vmbus_client_gpadl_create(struct vmbus_client *c, vmbus_channel_id id,
					    const uint64_t *words, uint32_t word_count,
					    uint32_t range_count, uint32_t hint, uint32_t *gpadl);
/** The same with an id of the caller's, for one who passes a GPADL on. E_EXISTS: the connection has
 *  one with that id. */
enum vmbus_status vmbus_client_gpadl_announce(struct vmbus_client *c, vmbus_channel_id id,
					      const uint64_t *words, uint32_t word_count,
					      uint32_t range_count, uint32_t gpadl);
enum vmbus_status vmbus_client_gpadl_teardown(struct vmbus_client *c, vmbus_channel_id id,
					      uint32_t gpadl);
/**
 * The driver has let go of a rescinded channel: RELID_RELEASED follows once every request on it has
 * been answered. Owed for every RESCIND action, also for channels nobody claimed; the id is invalid
 * afterwards. E_STATE: not rescinded.
 */
enum vmbus_status vmbus_client_release(struct vmbus_client *c, vmbus_channel_id id);

bool vmbus_client_next_action(struct vmbus_client *c, struct vmbus_client_action *action);

enum vmbus_client_state vmbus_client_state(const struct vmbus_client *c);
uint32_t vmbus_client_version(const struct vmbus_client *c); /**< agreed; 0: none */
uint32_t vmbus_client_features(const struct vmbus_client *c);
const struct vmbus_client_stats *vmbus_client_statistics(const struct vmbus_client *c);
/** Sweeps every invariant. NULL: all hold; else which does not. */
const char *vmbus_client_check(const struct vmbus_client *c);
/** The same, to be asked after each operation; see vmbus_server_sweep(). */
const char *vmbus_client_sweep(struct vmbus_client *c);

#endif
