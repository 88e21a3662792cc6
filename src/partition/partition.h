/* SPDX-License-Identifier: MIT */
/**
 * @file
 * A partition joins one VMBus to the world: guest memory, SynIC pages, signals, threads. Each end
 * (server, client) is an endpoint with its own view of guest memory, its own state machine, one
 * message thread and one dispatcher thread a processor. The two ends share guest memory, messages
 * and signals and nothing else.
 *
 * Threads. Upcalls (the *_ops tables) are made on the endpoint's message thread with no lock held,
 * one at a time; they must not block and may call anything here that does not say "blocks".
 * Port callbacks run on the dispatcher that the port is attached to.
 *
 * Errors are negative errno.
 */
#ifndef PARTITION_PARTITION_H
#define PARTITION_PARTITION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmbus/client.h"
#include "vmbus/ring.h"
#include "vmbus/server.h"

struct part;
struct part_endpoint;
struct part_capture;
struct nt_memory;

/** 0 in a field means the default named there. */
struct part_options {
	uint64_t memory; /**< bytes of guest memory, default 256 MiB */
	uint32_t vps;    /**< guest processors = client dispatchers; default: processors */
	uint32_t server_dispatchers; /**< default: processors */
	int64_t poll_ns;       /**< longest poll before blocking; 0: default, -1: never poll */
	uint32_t max_version;  /**< of both ends; 0: 6.0 */
	uint32_t features;     /**< feature flags that both ends want at 6.0 */
	bool server_monitor;   /**< the host gives the monitor pages (feature 0x40), if asked at 6.0
				*/
	uint8_t vtl;           /**< the VTL whose guest the bus serves; others are not heard */
	uint8_t redirect_sint; /**< where interrupts go that an open redirects (feature 0x02); 0: 2
				*/
	uint64_t mmio_base; /**< the guest's MMIO window, in whole megabytes and above its memory;
			       default 0xf8000000 */
	uint64_t mmio_size; /**< bytes of it, default 128 MiB, most 64 GiB */
	uint32_t stitches;  /**< stitched runs an endpoint may hold, default 16384 */
	uint32_t bounce_pages;     /**< guest pages set aside for bouncing, default 16384 */
	uint32_t queued_messages;  /**< the host's, not taken by the guest, default 1024 */
	uint32_t posted_messages;  /**< the guest's, not taken by the host, default 32, most 256 */
	uint32_t outgoing_packets; /**< of a channel, uncompleted, default 1024, most 65536 */
	uint32_t incoming_packets; /**< of a channel, uncompleted, default and most 256 */
	/** A host that serves with others, each in a process of its own: its channel ids, in whole
	 *  words of flags but for id 0. Flags outside are others' and stay. 0: all are its own. */
	uint32_t first_channel, channel_range;
	struct vmbus_server_limits limits;
	struct part_capture *capture; /**< records from the first message on (partition/capture.h);
					 NULL: nothing */
};

/* ---- life ---- */
/** Both ends in this process. The client's contact is made at once, in the background. */
int part_loopback_create(const struct part_options *options, struct part **part);

/** Where one end alone stands; see partition/transport.h. */
struct part_host_ops;
struct part_guest_ops;
struct part_transport {
	void *transport;
	const struct part_host_ops *host;   /**< of a host's */
	const struct part_guest_ops *guest; /**< of a guest's */
	void (*destroy)(void *transport);   /**< the partition's end calls it */
};
/** A partition with neither end; its options are complete and its id is known. */
int part_new(const struct part_options *options, struct part **part);
/** Memory that a host's end will find at `gpa`. Takes the descriptor over. Errors as of
 * part_memory_add (partition/memory.h). Also while the end runs; one caller at a time. */
int part_host_memory(struct part *part, int fd, uint64_t gpa, uint64_t size, uint64_t offset);
/** Makes a guest's memory, as large as the options say, to be given to the host. The descriptor,
 * which stays the partition's, or negative errno. */
int part_guest_memory(struct part *part);
/** Takes the transport over, also on failure; then the partition is to be destroyed. */
int part_start_host(struct part *part, const struct part_transport *transport);
/** After part_guest_memory. The contact is made at once, in the background. */
int part_start_guest(struct part *part, const struct part_transport *transport);

/** Channels must be closed and offers revoked; ends the threads and frees everything. Blocks. */
void part_destroy(struct part *part);
struct part_endpoint *part_server(struct part *part);
struct part_endpoint *part_client(struct part *part);
/** Whether the end was started: a partition may have one alone. */
bool part_endpoint_exists(const struct part_endpoint *ep);
uint32_t part_id(const struct part *part); /**< small number for logs, 1.. */
struct part *part_of(struct part_endpoint *ep);
/** With every default filled in. */
const struct part_options *part_options_of(const struct part_endpoint *ep);
uint32_t part_dispatchers(const struct part_endpoint *ep);
/** The VTL whose guest the bus serves. */
uint8_t part_vtl(const struct part_endpoint *ep);
/** Server: the partition's reference counter (100 ns units) and this machine's clock (since 1970)
 *  at one instant. -ENOTSUP: the transport cannot tell. */
int part_server_clocks(struct part_endpoint *ep, uint64_t *reference, uint64_t *real_ns);
/** A partition reset: the host lets go of everything, the client's channels are rescinded locally,
 * and the client connects afresh. Blocks until it is connected, and so until every claimed channel
 * was put. Not from an upcall. */
int part_reset(struct part *part);

/* ---- guest memory (memory.c) ---- */
/** Whether [gpa, gpa+bytes) is guest memory; its address in this end's linear view, else NULL. */
void *part_memory_at(struct part_endpoint *ep, uint64_t gpa, uint64_t bytes);
/** The inverse, for addresses in the linear view. */
bool part_memory_gpa(struct part_endpoint *ep, const void *va, uint64_t *gpa);
/** Contiguous zeroed guest pages for the client's use; gpa 0 is never returned. */
int part_pages_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa);
void part_pages_free(struct part_endpoint *ep, uint64_t gpa, uint32_t pages);
/** The same out of what channels may set aside for bouncing, with whatever the pages held last.
 * -ENOSPC: over the bound. */
int part_bounce_alloc(struct part_endpoint *ep, uint32_t pages, uint64_t *gpa);
void part_bounce_free(struct part_endpoint *ep, uint64_t gpa, uint32_t pages);
/** Client: megabytes in a row of the MMIO window, nobody else's until they are released. -ENOSPC.
 */
int part_mmio_reserve(struct part_endpoint *ep, uint32_t megabytes, uint64_t *gpa);
void part_mmio_release(struct part_endpoint *ep, uint64_t gpa, uint32_t megabytes);
/** Pages seen as one run: the linear view where they are contiguous, else stitched by runs.
 *  -EFAULT: a page is outside memory; -ENOSPC: no stitch left. `mapping` is passed to unmap. */
struct part_mapping {
	void *va;
	size_t bytes;
	bool stitched;
	uint32_t stitches; /**< what it takes of the bound */
};
int part_pages_map(struct part_endpoint *ep, const uint64_t *pfns, size_t count,
		   struct part_mapping *mapping);
void part_pages_unmap(struct part_endpoint *ep, struct part_mapping *mapping);
/** This end's memory as the NT layer wants it (nt/nt.h); the client's also allocates. */
const struct nt_memory *part_nt_memory(struct part_endpoint *ep);

/* ---- ports: an open channel's place on a dispatcher (dispatch.c) ---- */
enum part_poll {
	PART_POLL_IDLE,    /**< nothing to do: keep polling a while, then park */
	PART_POLL_WORKED,  /**< did something: poll again */
	PART_POLL_BLOCKED, /**< do not poll until kicked, signalled or `retry_ns` has passed */
};

struct part_port;
struct part_port_ops {
	/** Does a bounded amount of work. */
	enum part_poll (*poll)(struct part_port *port);
	/** About to park: unmask and look once more. False: there is work, poll again. */
	bool (*park)(struct part_port *port);
};

/** Embedded by its owner, zeroed before use, prepared by the endpoint's open. */
struct part_port {
	struct vmbus_ring_reader in;
	struct vmbus_ring_writer out;
	const struct part_port_ops *ops;
	uint64_t retry_ns; /**< set in poll/park: look again after so long even if nobody signals;
			      0: no */
	/* the dispatcher's own */
	struct part_endpoint *ep;
	uint32_t dispatcher;
	uint32_t event_flag; /**< our incoming event flag, which no other port of this end has */
	uint32_t relid;
	struct { /**< where our signals go */
		uint32_t connection_id;
		uint32_t vp;
		uint16_t flag;
		uint8_t sint;
		bool muted;  /**< target VP 0xffffffff */
		bool shared; /**< the interrupt page tells which channel (below version 2.4) */
	} peer;
	struct { /**< dispatch.c's */
		struct part_port *next_command;
		bool queued, wanted; /**< a command waits; attached is what is wanted */
		bool attached;
		/* of the dispatcher alone, in a word of its own: detached, polled or quiet */
		uint64_t place;
		uint32_t active_index, timed_index;
		uint64_t last_work, deadline;
	} dispatch;
	struct {                      /**< client: the bit that stands for a signal */
		_Atomic(void *) page; /**< toward the host; NULL: signals are hypercalls */
		uint8_t id;
		atomic_bool hurried; /**< no latency is wanted: hypercalls all the same */
	} monitor;
	_Atomic uint32_t gate;       /**< server: whether signals may leave yet */
	_Atomic uint32_t signalling; /**< threads that are setting a flag or a monitor's bit */
	_Atomic bool signal_owed;    /**< server: one was held back */
	uint64_t signals_sent, signals_taken;
	struct part_mapping map_in[2], map_out[2];
	void *ring_private; /**< endpoint's bookkeeping of the rings */
};

/** From here on the port is polled; the first poll follows at once. */
void part_port_attach(struct part_port *port);
/** After it returns no callback of the port runs or will run. Not from the port's own dispatcher.
 * Blocks. */
void part_port_detach(struct part_port *port);
/** Asks the port's dispatcher to poll soon. Any thread, wait-free; nothing if it is not attached.
 */
void part_port_kick(struct part_port *port);
/** Signals the peer: one event flag. Any thread; takes no lock. */
void part_port_signal(struct part_port *port);
/** Whether the calling thread is the port's dispatcher. */
bool part_port_on_dispatcher(const struct part_port *port);

/* ---- server end (server_end.c) ---- */
struct part_server_open {
	uint32_t relid;
	bool restored; /**< the guest has had it open since before the end was saved */
	uint8_t user_data[120];
};
struct part_server_channel_ops {
	/** A guest opens. The endpoint has mapped the rings into `port`. Answer:
	 * part_server_open_done. */
	void (*open)(void *device, const struct part_server_open *open);
	/** The guest closed, reset or went away. Answer once the port is detached:
	 * part_server_close_done. */
	void (*close)(void *device);
	/** Whether the device leaves its open channel's rings alone, its state saved. Under the
	 * endpoint's lock: no call back, no waiting. NULL: never. */
	bool (*at_rest)(void *device);
};

struct part_server_channel; /* one offer */
/** `port` is the owner's and outlives the offer. -EEXIST: key live; -ENOSPC: no id. */
int part_server_offer(struct part_endpoint *ep, const struct vmbus_offer *offer,
		      const struct part_server_channel_ops *ops, void *device,
		      struct part_port *port, struct part_server_channel **ch);
/** The open is answered (NTSTATUS-like u32, 0 = success). On failure the rings are unmapped at
 * once; on success the owner attaches the port. The result is posted before this returns or any
 * signal. */
void part_server_open_done(struct part_server_channel *ch, uint32_t status);
/** The port is detached: unmaps the rings, lets a withheld GPADL teardown go on. */
void part_server_close_done(struct part_server_channel *ch);
/** Withdraws the offer; the port is detached and GPADLs unmapped. After it returns no upcall comes
 * and `ch` is gone. Unmaps the rings. Blocks (only for an upcall under way). Not from an upcall. */
void part_server_revoke(struct part_server_channel *ch);

/** Pins an accepted GPADL so that its TORNDOWN waits. -ENOENT: unknown; -EBUSY: pinned already. The
 *  ranges are copied into `words` (owner frees with free()). */
struct part_gpadl {
	uint32_t id;
	uint32_t range_count;
	uint32_t page_count;
	uint32_t word_count;
	uint64_t *words; /**< a range: {byte count | byte offset << 32}, then its PFNs */
};
int part_server_gpadl_pin(struct part_server_channel *ch, uint32_t gpadl, struct part_gpadl *out);
void part_server_gpadl_unpin(struct part_server_channel *ch, uint32_t gpadl);

/* ---- saving the server end and restoring it (save.c) ---- */
/** What was wrong, as a sentence. */
struct part_save_error {
	char text[200];
};
/**
 * Writes the server end's state (docs/saved-state.md) into a block of malloc and freezes the end:
 * from here on nothing is taken from the guest, told it or asked of a device, and what devices
 * still call has no effect on the guest. Guest memory belongs to the state.
 * -EBUSY: an open channel is not at rest, is just being opened or closed, or the guest resets.
 */
int part_server_save(struct part *part, void **bytes, size_t *size, struct part_save_error *error);
/** The end goes on as if it had not been saved. -EINVAL: it is not frozen. */
int part_server_thaw(struct part *part);
/**
 * Puts a server end made of saved state in the place of the frozen one, whose offers are revoked by
 * now, or of one that no guest has spoken to. -EINVAL: the state is refused, and the end is as it
 * was; -EBUSY: it is in use. After another error the partition can only be destroyed.
 */
int part_server_restore(struct part *part, const void *bytes, size_t size,
			struct part_save_error *error);
/** As part_start_host, with saved state: another host's end of this guest. */
int part_restore_host(struct part *part, const struct part_transport *transport, const void *bytes,
		      size_t size, struct part_save_error *error);
/** Every device has made its offers: see vmbus_server_restore_done(). */
void part_server_restored(struct part *part);

/* ---- client end (client_end.c) ---- */
struct part_client_channel; /* one offer seen by the client; counted */

struct part_client_channel_ops {
	/** The offer was withdrawn or the bus is gone: stop, then part_client_put. Once. */
	void (*rescind)(void *owner);
};

/** Which offers a listener wants to hear of. */
enum part_listen {
	PART_LISTEN_ALL,
	PART_LISTEN_CHANNEL,  /**< one offer */
	PART_LISTEN_INSTANCE, /**< one device's, subchannels included */
};

/** The partition is about to go: from now on a host that leaves every request unanswered for five
 *  seconds is given up, as if it were gone. Without it requests wait as long as it takes. */
void part_client_leave(struct part_endpoint *ep);

/** Told of offers, those that exist at the time of the call included (on the message thread). What
 * it costs does not depend on the offers that it does not want. */
struct part_client_listener {
	enum part_listen what;
	vmbus_channel_id channel;                    /**< PART_LISTEN_CHANNEL */
	struct vmbus_guid interface_id, instance_id; /**< PART_LISTEN_INSTANCE */
	void (*offered)(struct part_client_listener *l, struct part_client_channel *ch);
	/** After this the pointer must not be used unless claimed. */
	void (*withdrawn)(struct part_client_listener *l, struct part_client_channel *ch);
	void *node; /* endpoint's */
};
int part_client_listen(struct part_endpoint *ep, struct part_client_listener *l);
/** No call to `l` runs or will run when it returns. Blocks. Not from the listener. */
void part_client_unlisten(struct part_endpoint *ep, struct part_client_listener *l);

/** Waits until the host has made the offers that it had at the contact. -ETIMEDOUT; -ECONNREFUSED:
 * it refused the contact, or is gone. Blocks. */
int part_client_wait_offers(struct part_endpoint *ep, unsigned int timeout_ms);
/** Calls `each` for every offer that is not withdrawn, with the endpoint's lock held. */
void part_client_each_offer(struct part_endpoint *ep,
			    void (*each)(void *ctx, const struct vmbus_client_offer *offer),
			    void *ctx);

const struct vmbus_client_offer *part_client_offer(const struct part_client_channel *ch);
/** Takes a channel that nobody holds. -EBUSY: claimed; -ENODEV: withdrawn. From then on the owner
 * gets its rescind, and the relid stays reserved until part_client_put. */
int part_client_claim(struct part_client_channel *ch, const struct part_client_channel_ops *ops,
		      void *owner);
/** Lets go. A rescinded channel's relid is released. No upcall to `owner` runs or will run. Blocks.
 */
void part_client_put(struct part_client_channel *ch);

/** Target VP: one chosen by channel id, so that channels spread over the dispatchers. */
#define PART_VP_ANY 0xfffffffeu

/** Allocates rings of that many pages each (control page included), announces them, opens.
 *  Blocks until the host answered. On 0 `port` is ready to be attached. `status` is the host's.
 *  -ENOMEM; -ECONNREFUSED: host refused (*status); -ENODEV: rescinded or bus gone. */
int part_client_open(struct part_client_channel *ch, struct part_port *port, uint32_t out_pages,
		     uint32_t in_pages, uint32_t target_vp, uint32_t *status);
/** CLOSE is sent; the port is detached by now. Does not free the rings. No effect once rescinded.
 */
void part_client_close(struct part_client_channel *ch);
/** Tears the ring GPADL down, waits for it, frees the rings' pages. After close or rescind. Blocks.
 *  Does nothing to an open under way, which frees its rings itself when it fails. */
void part_client_free_rings(struct part_client_channel *ch, struct part_port *port);

/** How the signals of the next open go, where the host lets the guest choose. */
struct part_client_signal {
	/** Feature 0x01. 0: those of the offer. No other open channel of this end has the flag. */
	uint32_t connection_id; /**< to the host; 8.. */
	uint16_t event_flag;    /**< from the host; 1..2047 */
	bool redirect; /**< feature 0x02: interrupts at the SINT that the host redirects to */
};
/** -ENOTSUP: the feature was not granted; -EINVAL; -EEXIST: the flag is another channel's; -EBUSY:
 * open. */
int part_client_set_signal(struct part_client_channel *ch, const struct part_client_signal *signal);

/** Moves an open channel's interrupts to another VP and its port to that VP's dispatcher. Blocks
 *  until the host answered, below version 5.3 not even that. The port stays attached, and nobody
 *  attaches or detaches it meanwhile. Not from the port's own dispatcher.
 *  -ENODEV: not open, or gone; -EINVAL: no such VP, or opened without interrupts; -ENOTSUP: below
 *  version 4.1; -EBUSY: a move is under way; -ECONNREFUSED. */
int part_client_move(struct part_client_channel *ch, uint32_t vp);

/** How long the host may let a signal of an open channel wait, in units of 100 ns, until its rings
 *  are freed; 0: not at all. -ENOTSUP: no monitor stands for this channel's signals. */
int part_client_set_latency(struct part_client_channel *ch, uint16_t latency, uint16_t *before);
/** Replaces the monitor pages by new ones, or by none. Blocks until the host answered.
 *  -ENOTSUP: not possible on this connection; -ECONNREFUSED: a channel that uses one is open. */
int part_client_move_monitor(struct part_endpoint *ep, bool pages);

/** Ranges as in struct part_gpadl.words. Blocks until created. -ECONNREFUSED, -ENODEV, -ENOSPC,
 * -EINVAL. `read_only` is told to the host where it can be (docs/wire-notes.md). */
int part_client_gpadl_create(struct part_client_channel *ch, const uint64_t *words,
			     uint32_t word_count, uint32_t range_count, bool read_only,
			     uint32_t *gpadl);
/** Blocks until TORNDOWN, rescind or the end of the bus. -ENOENT: unknown. */
int part_client_gpadl_delete(struct part_client_channel *ch, uint32_t gpadl);

/** The id space's own mark of a read-only GPADL (docs/wire-notes.md). */
bool part_gpadl_is_read_only(uint32_t gpadl);

#endif
