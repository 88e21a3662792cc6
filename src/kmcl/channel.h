/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The channel object, seen by every file of src/kmcl.
 *
 * Who touches what:
 *  - configuration (`config`): InitSet functions in Disabled, read-only from Enable to Disabled;
 *  - life cycle: jobs of `strand`, one after another on PASSIVE pool threads; API calls post a
 *    request there and wait, so calls take effect in the order in which they arrive;
 *  - outgoing (`out`): any thread, under out.lock; the ring's writer belongs to that lock;
 *  - incoming (`in`): the ring's reader belongs to the port's dispatcher; the parse queue, the free
 *    objects and the counts are under in.lock.
 *
 * in.lock and out.lock are never held together, and neither is held across a driver callback.
 */
#ifndef KMCL_CHANNEL_H
#define KMCL_CHANNEL_H

#include <ntddk.h>
#include <vmbuskernelmodeclientlibapi.h>

#include "base/log.h"
#include "base/spin.h"
#include "kmcl/bus.h"
#include "kmcl/handle.h"
#include "nt/nt.h"
#include "partition/partition.h"
#include "vmbus/packet.h"
#include "vmbus/pipe.h"
#include "vmbus/txn.h"

#define KMCL_DEFAULT_PACKET_SIZE   4096u
#define KMCL_DEFAULT_EXTERNAL_DATA (1024u * 1024u)
#define KMCL_DEFAULT_CHAIN         32u
#define KMCL_MOST_INCOMING         (KMCL_OBJECTS - 1u) /* delivery objects a session */
#define KMCL_PACKET_LOOKASIDE      256u                /* freed packets a channel keeps */
#define KMCL_MIN_RING_DATA_PAGES   16u
#define KMCL_MAX_GPADL_PAGES       8190u
#define KMCL_READ_BUDGET           64u /* packets read before the dispatcher looks elsewhere */

/** Where a channel is; the names of the DDI's state tables in brackets. */
enum kmcl_link {
	KMCL_LINK_DISABLED,
	KMCL_LINK_ENABLED, /* [Enabled, Started, Stopped]: offered, or waiting for an offer */
	KMCL_LINK_OPEN,    /* [Opened, Paused, Active] */
};

/** What VmbPacketSend does. */
enum kmcl_gate {
	KMCL_GATE_REFUSE, /* STATUS_DEVICE_REMOVED */
	KMCL_GATE_QUEUE,  /* accepted, kept */
	KMCL_GATE_FLOW,   /* into the ring */
};

enum kmcl_packet_state {
	KMCL_PACKET_IDLE = 1,
	KMCL_PACKET_BUSY, /* inside a send, or its routine about to run */
	KMCL_PACKET_QUEUED,
	KMCL_PACKET_PLACED,   /* in the ring, completion awaited */
	KMCL_PACKET_FREED,    /* on the lookaside list */
	KMCL_PACKET_RESTORED, /* VmbPacketRestore has it, EvtVmbChannelRestorePacket has not
			       * returned
			       */
};

struct kmcl_sync;

/** Behind VMBPACKET. Followed by max_packet bytes of payload and the room for an extra header. */
struct kmcl_packet {
	uint32_t magic;
	_Atomic uint32_t state;
	struct kmcl_channel *channel;
	struct kmcl_entry *entry;        /* NULL: in memory of the driver's own */
	uint64_t handle;                 /* what the driver knows it by */
	uint64_t owner;                  /* the channel's handle */
	struct kmcl_packet *next, *prev; /* out.queue */
	PFN_VMB_PACKET_COMPLETION_ROUTINE routine;
	void *pointer;
	bool allocated; /* from VmbPacketAllocate */
	bool wait;      /* completion asked for */
	uint16_t type;
	uint32_t payload_size;
	uint32_t header_size; /* extra header, multiple of 8 */
	uint64_t transaction;
	NTSTATUS status; /* how it ended, while on a list of ended packets */
	struct kmcl_sync
		*sync;  /* a waiting VmbChannelSendSynchronousRequest; NULL once it gave up */
	bool abandoned; /* it gave up: its memory must not be touched any more */
	/* external data from memory that is not the partition's */
	PMDL bounce_mdl;
	uint32_t bounce_offset, bounce_length;
	uint32_t bounce_first, bounce_pages;
	bool bounce_needed, bounce_held;
	bool bounce_waits; /* queued without its space */
	uint64_t data[];   /* payload, then extra header */
};

/** Why a delivery did not end the packet. */
enum kmcl_again {
	KMCL_AGAIN_NONE,
	KMCL_AGAIN_PASSIVE, /* VmbChannelPacketDeferToPassive */
	KMCL_AGAIN_PENDING, /* its external data is not there yet */
};

/** Behind VMBPACKETCOMPLETION: one incoming packet. Buffers sit behind it in the session's block.
 */
struct kmcl_incoming {
	struct kmcl_channel *channel;
	struct kmcl_incoming *next;
	struct vmbus_packet_in packet;
	uint32_t index;    /* in the block */
	uint32_t delivery; /* 0: not delivered yet; kept when it comes back */
	bool passive;      /* deferred: deliver at PASSIVE_LEVEL */
	bool external;     /* carries external data */
	bool pended;       /* its external data was waited for */
	PMDL mdl;          /* chain built by VmbChannelPacketGetExternalData */
	uint32_t mdl_flags;
	uint32_t answer_size; /* of a completion that waits */
	uint8_t *buffer;      /* descriptor, extra header, payload; later the answer */
	uint8_t *mdl_room;
	uint8_t *context; /* the client context area, zeroes for each new packet */
};

/** One GPADL that the driver made (client) or mapped (server). */
struct kmcl_gpadl {
	struct kmcl_gpadl *next;
	uint32_t id;
	uint32_t mdl_count;
	PMDL mdl; /* server: first of mdl_count in `mdls` */
	uint8_t *mdls;
};

struct kmcl_config {
	uint32_t max_packet;
	uint32_t max_external;
	uint32_t max_chain;
	uint32_t context_size;
	uint32_t flags;
	char name[64]; /* UTF-8, for people */
	PFN_VMB_CHANNEL_PROCESS_PACKET process;
	PFN_VMB_CHANNEL_PROCESSING_COMPLETE processing_complete;
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS state;
	/* server */
	uint32_t server_flags;
	GUID type, instance;
	uint16_t mmio, mmio_optional;
	uint8_t vtl;
	PFN_VMB_CHANNEL_SAVE_PACKET save_packet;
	PFN_VMB_CHANNEL_RESTORE_PACKET restore_packet;
	struct part_endpoint *bus; /* VmbServerChannelInitSetVmbusHandle, or the parent's */
	struct kmcl_bus_handle *bus_handle;
	/* client */
	uint32_t in_pages, out_pages; /* 0: automatic */
	bool targeted, any_instance;
	PFN_VMB_CHANNEL_PNP_FAILURE pnp_failure;
};

struct kmcl_counters {
	_Atomic uint64_t packets_sent, bytes_sent, packets_received, bytes_received;
	_Atomic uint64_t signals_saved, no_room, dropped_completions, bounced;
};

/** Something that happened and that the strand is to look at. Posting one that is still queued
 * changes nothing: its handler looks at what is true when it runs. */
struct kmcl_event {
	struct nt_job job;
	_Atomic bool queued;
};

/** Behind VMBCHANNEL. */
struct kmcl_channel {
	uint64_t handle;
	struct kmcl_slot *slot;
	bool server;
	struct kmcl_channel *registry_next, *registry_prev;
	struct nt_driver *driver;
	struct part_endpoint *ep;      /* bus named by the parent device */
	vmbus_channel_id parent_offer; /* client: the offer that the parent stands for */
	const struct kmcl_offer_options *offer_options;
	_Atomic(void *) pointer;
	struct kmcl_config config;

	/* life cycle: strand only, `link` readable anywhere */
	struct nt_strand strand;
	_Atomic uint32_t link;
	_Atomic bool run; /* the DDI's run flag; Start and Pause set it when they are called */
	bool run_next;    /* for the next Enable: auto-start or not auto-pause */
	bool started;     /* Started was called, Suspend not yet */
	_Atomic uint32_t close_causes; /* closes known of and not yet carried out */
	_Atomic uint32_t enabling;     /* Enable requests posted and not done: InitSet is refused */
	struct kmcl_event ev_open, ev_close, ev_connect;
	struct kmcl_event ev_fault; /* injected */
	struct nt_job fault_reset;
	_Atomic bool resetting;
	_Atomic uint32_t relid;

	struct part_port port;
	struct part_server_channel *offer;
	_Atomic bool resumed;                 /* server: the open asked for is of saved state */
	bool opened_once;                     /* server: since Enable */
	struct kmcl_save *save;               /* from SaveBegin to SaveEnd */
	_Atomic bool saved;                   /* all of it: the rings are left alone until Start */
	bool detached;                        /* by SaveBegin */
	struct kmcl_restored *restored;       /* from RestoreFromBuffer to the next open */
	_Atomic bool open_asked, close_asked; /* server: upcalls that the strand has not answered */
	struct spin_lock claim_lock;          /* claimed, armed, session */
	struct part_client_channel *claimed;
	struct part_client_listener listener;
	bool listening, armed;
	uint32_t session, rescinded_session;
	GUID matched_instance;
	bool matched;
	_Atomic uint64_t mmio_gpa; /* client: this session's MMIO space */
	_Atomic uint32_t mmio_megabytes;

	struct {
		struct spin_lock lock;
		uint32_t gate;
		bool live; /* the ring may be written */
		struct kmcl_packet *head, *tail;
		_Atomic uint32_t queued;
		struct kmcl_incoming *answers, *answers_tail;
		_Atomic uint32_t waiting; /* queue or answers wait for room: dispatcher looks */
		uint32_t largest;         /* payload that fits the ring, in-band */
		struct vmbus_txn_table txns;
		struct vmbus_txn_slot *slots;
		uint32_t slot_count;
		uint32_t in_flight;
		struct kmcl_packet *restored; /* in flight when saved; no table yet */
		_Atomic uint32_t finishing;   /* senders between the ring and the routine */
		struct kmcl_sync *syncs;      /* callers that wait */
		uint64_t backoff_ns;
		/* bounce space */
		uint64_t bounce_gpa;
		uint8_t *bounce_va;
		uint8_t *bounce_map; /* one byte a page: in use */
		uint32_t bounce_pages;
		uint32_t bounce_waiters; /* queued packets that wait for some */
	} out;

	struct {
		struct spin_lock lock;
		bool run;             /* delivery allowed */
		bool busy;            /* somebody delivers */
		bool held;            /* the head waits for its external data */
		_Atomic bool failed;  /* no delivery until the next open */
		bool quota_blocked;   /* until a packet ends */
		_Atomic bool full;    /* reading stopped: no more may be delivered */
		_Atomic bool starved; /* reading stopped for want of an object */
		bool job_posted;
		_Atomic bool passive;
		_Atomic bool stop_reading;
		_Atomic uint32_t quota;
		uint32_t outstanding;
		struct kmcl_incoming *head, *tail; /* parse queue */
		uint32_t waiting;                  /* in it */
		_Atomic bool parsed;               /* it is not empty */
		struct kmcl_incoming *free;
		uint32_t most;  /* packets that the driver may have */
		uint32_t fresh; /* objects of the block never used yet start here */
		uint32_t count;
		uint32_t room; /* for a packet, in an object */
		size_t stride;
		uint8_t *block; /* in `session` */
		uint8_t *session;
		size_t session_size;
		struct kmcl_incoming *spare; /* dispatcher's */
		bool masked;                 /* dispatcher's */
		bool drain_wait;
		KEVENT drained;
		struct nt_strand strand; /* passive delivery */
		struct nt_job job;
		struct nt_job pending;         /* waits for external data */
		uint32_t pending_us;           /* so long */
		KEVENT pending_end;            /* the channel closes */
		struct kmcl_incoming *current; /* being delivered */
		enum kmcl_again again;         /* of the ProcessPacket that runs */
	} in;

	struct {
		struct spin_lock lock;
		struct kmcl_gpadl *list;
	} gpadls;

	struct {
		struct spin_lock lock;
		struct kmcl_packet *free;
		uint32_t spare;
		_Atomic uint32_t live; /* from VmbPacketAllocate, not freed */
		size_t size;           /* of one */
	} packets;

	struct kmcl_counters counters;
	_Atomic bool bounce_told; /* that external data is bounced */
};

/* ---- handles (handle.h) ---- */
#define KMCL_PACKET_MAGIC 0x746b6350u /* "Pckt" */

static inline VMBCHANNEL kmcl_handle(const struct kmcl_channel *ch)
{
	return (VMBCHANNEL)(uintptr_t)ch->handle;
}
static inline VMBPACKET kmcl_packet_handle(const struct kmcl_packet *p)
{
	return (VMBPACKET)(uintptr_t)p->handle;
}
static inline struct kmcl_incoming *kmcl_incoming_at(struct kmcl_channel *ch, uint32_t index)
{
	return (struct kmcl_incoming *)(void *)(ch->in.block + ch->in.stride * index);
}
static inline uint32_t kmcl_link(const struct kmcl_channel *ch)
{
	return atomic_load_explicit(&((struct kmcl_channel *)(uintptr_t)ch)->link,
				    memory_order_acquire);
}
/** Whether each packet carries a pipe header: either flag makes a pipe of a server. */
static inline bool kmcl_is_pipe(const struct kmcl_channel *ch)
{
	return (ch->config.flags & VMBUS_CHANNEL_INIT_FLAG_IS_PIPE) ||
	       (ch->config.server_flags & VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE);
}
/** Bytes of it. */
static inline uint32_t kmcl_pipe_header(const struct kmcl_channel *ch)
{
	return kmcl_is_pipe(ch) ? VMBUS_PIPE_HEADER : 0;
}
/** Largest buffer of a send: a pipe's messages have a limit of their own. */
static inline uint32_t kmcl_max_payload(const struct kmcl_channel *ch)
{
	uint32_t most = ch->config.max_packet;

	return kmcl_is_pipe(ch) && most > VMBUS_PIPE_MAX_MESSAGE ? VMBUS_PIPE_MAX_MESSAGE : most;
}
static inline bool kmcl_closing(struct kmcl_channel *ch)
{
	return atomic_load_explicit(&ch->close_causes, memory_order_acquire) != 0;
}

/* ---- entry into the driver (callback.c) ---- */
enum kmcl_callback {
	KMCL_CB_NONE,
	KMCL_CB_OPENED,
	KMCL_CB_CLOSED,
	KMCL_CB_SUSPEND,
	KMCL_CB_STARTED,
	KMCL_CB_POST_STARTED,
	KMCL_CB_PNP_FAILURE,
	KMCL_CB_PROCESS,
	KMCL_CB_PROCESSING_COMPLETE,
	KMCL_CB_ROUTINE,
	KMCL_CB_SAVE_PACKET,
	KMCL_CB_RESTORE_PACKET,
};
/** Which callback of which channel this thread is in; restored by leave. */
struct kmcl_frame {
	struct kmcl_channel *channel;
	enum kmcl_callback callback;
	struct kmcl_frame *outer;
	struct nt_driver *driver;
	unsigned int spin_locks;
	KIRQL irql;
};
void kmcl_callback_enter(struct kmcl_frame *frame, struct kmcl_channel *ch, enum kmcl_callback cb);
void kmcl_callback_leave(struct kmcl_frame *frame);
/** The channel of the innermost callback that this thread is in; NULL: none. */
struct kmcl_channel *kmcl_callback_channel(void);
/** The innermost callback of `ch` that this thread is in; KMCL_CB_NONE: none. */
enum kmcl_callback kmcl_callback_of(const struct kmcl_channel *ch);
/** Reports a violation when the call is made inside a callback of `ch`, or above PASSIVE_LEVEL. */
bool kmcl_forbidden_here(struct kmcl_channel *ch, const char *function);
/** The same, but a set of callbacks (1 << enum kmcl_callback) is allowed. */
bool kmcl_forbidden_except(struct kmcl_channel *ch, const char *function, unsigned int allowed);
#define KMCL_CB_BIT(name) (1u << KMCL_CB_##name)
bool kmcl_above_passive(const char *function);

/* ---- outgoing (outgoing.c) ---- */
void kmcl_out_init(struct kmcl_channel *ch);
/** Memory of a session; false: not enough, nothing held. */
bool kmcl_out_prepare(struct kmcl_channel *ch);
void kmcl_out_release(struct kmcl_channel *ch);
void kmcl_out_set_gate(struct kmcl_channel *ch, enum kmcl_gate gate);
/** The ring is attached and may be written (completions pass whatever the gate says). */
void kmcl_out_set_live(struct kmcl_channel *ch, bool live);
/** Places what can be placed; on any thread. */
void kmcl_out_drain(struct kmcl_channel *ch);
/** On the dispatcher: same, and tells whether something still waits for room. */
bool kmcl_out_waiting(struct kmcl_channel *ch);
/** Ends every queued and every in-flight packet with `status`, each routine once. */
void kmcl_out_end_all(struct kmcl_channel *ch, NTSTATUS status);
/** Those in flight alone; answers that wait are dropped. */
void kmcl_out_end_placed(struct kmcl_channel *ch, NTSTATUS status);
/** A completion packet arrived. */
void kmcl_out_completed(struct kmcl_channel *ch, const struct vmbus_packet_in *packet);
/** Sends a completion for `in`, now or when there is room; then the object is free. */
void kmcl_out_answer(struct kmcl_channel *ch, struct kmcl_incoming *in, const void *data,
		     uint32_t size);
NTSTATUS kmcl_out_send(struct kmcl_packet *p, const void *payload, uint32_t size);
/** In the ring at once or not at all, no packet object: STATUS_BUFFER_OVERFLOW. */
NTSTATUS kmcl_out_send_now(struct kmcl_channel *ch, const void *payload, uint32_t size);
/** As kmcl_out_send, but a packet that cannot be placed at once is refused: STATUS_BUFFER_OVERFLOW.
 */
NTSTATUS kmcl_out_place_now(struct kmcl_packet *p, const void *payload, uint32_t size);
/** Under out.lock: as a send that finds no room, the payload being in the packet. */
void kmcl_out_enqueue(struct kmcl_channel *ch, struct kmcl_packet *p);
/** Under out.lock: takes a packet out of the queue. */
void kmcl_out_unqueue(struct kmcl_channel *ch, struct kmcl_packet *p);
/** Wakes every synchronous caller with STATUS_DEVICE_REMOVED: the channel is closing. */
void kmcl_sync_fail_all(struct kmcl_channel *ch);

/* ---- packet objects (packet.c) ---- */
void kmcl_packets_init(struct kmcl_channel *ch);
void kmcl_packets_destroy(struct kmcl_channel *ch);
size_t kmcl_packet_size(const struct kmcl_channel *ch);
uint32_t kmcl_packet_header_room(const struct kmcl_channel *ch);
struct kmcl_packet *kmcl_packet_alloc(struct kmcl_channel *ch, bool counted);
void kmcl_packet_free(struct kmcl_packet *p);
static inline uint8_t *kmcl_packet_payload(struct kmcl_packet *p)
{
	return (uint8_t *)p->data;
}
static inline uint8_t *kmcl_packet_header(struct kmcl_packet *p)
{
	return (uint8_t *)p->data + ((p->channel->config.max_packet + 7u) & ~7u);
}

/* ---- external data of outgoing packets (external.c) ---- */
/** Builds the GPA-direct header in `p`. Offsets count along the chain. */
NTSTATUS kmcl_external_from_mdl(struct kmcl_packet *p, PMDL mdl, uint32_t offset, uint32_t length,
				bool force);
NTSTATUS kmcl_external_from_pfns(struct kmcl_packet *p, PPFN_NUMBER pfns, uint32_t count);
void kmcl_bounce_init(struct kmcl_channel *ch);
void kmcl_bounce_destroy(struct kmcl_channel *ch);
/** Under out.lock: space and header for a packet that needs it. False: no room now. */
bool kmcl_bounce_take(struct kmcl_packet *p);
void kmcl_bounce_give(struct kmcl_packet *p); /* under out.lock */
void kmcl_bounce_copy(struct kmcl_packet *p, bool to_guest);
uint64_t kmcl_chain_length(PMDL mdl, uint32_t *mdls);

/* ---- a session's memory (session.c) ---- */
/** Slots and objects, once their numbers are set. False: no memory. */
bool kmcl_session_map(struct kmcl_channel *ch);
void kmcl_session_unmap(struct kmcl_channel *ch);
/** The next object of the block that was never used; there is one. Under in.lock. */
struct kmcl_incoming *kmcl_session_object(struct kmcl_channel *ch);

/* ---- incoming (incoming.c) ---- */
void kmcl_in_init(struct kmcl_channel *ch);
bool kmcl_in_prepare(struct kmcl_channel *ch);
void kmcl_in_release(struct kmcl_channel *ch);
void kmcl_in_start(struct kmcl_channel *ch);
/** No ProcessPacket begins any more. True: one runs, and in.drained is set when it has returned. */
bool kmcl_in_halt(struct kmcl_channel *ch);
/** No ProcessPacket runs or will run until kmcl_in_start. */
void kmcl_in_stop(struct kmcl_channel *ch);
/** Waits until the driver has ended every packet that it was given. */
void kmcl_in_wait_outstanding(struct kmcl_channel *ch);
void kmcl_in_discard(struct kmcl_channel *ch);
/** The object goes back; called with no lock held. `delivered`: it counted as outstanding until
 * now. */
void kmcl_in_free(struct kmcl_incoming *in, bool delivered);
/** The driver has ended a packet whose object is still needed. */
void kmcl_in_ended(struct kmcl_channel *ch);
extern const struct part_port_ops kmcl_port_ops;
/** Nothing is delivered until the next open. */
void kmcl_in_fail(struct kmcl_channel *ch);
void kmcl_in_set_quota(struct kmcl_channel *ch, uint32_t quota);
/** A packet of saved state, as it was read, before the port is attached. False: no sound one. */
bool kmcl_in_restore(struct kmcl_channel *ch, const struct vmbus_packet_in *packet, bool passive);
/** An object with `size` bytes of a completion for `id`; NULL: no room. */
struct kmcl_incoming *kmcl_in_restore_answer(struct kmcl_channel *ch, uint64_t id, const void *data,
					     uint32_t size);
/** Gives up what VmbChannelPacketGetExternalData built. */
void kmcl_release_mdls(struct kmcl_incoming *in);
/** Room for what VmbChannelPacketGetExternalData builds. */
size_t kmcl_mdl_room(const struct kmcl_channel *ch);
uint32_t kmcl_max_external_pages(const struct kmcl_channel *ch);

/* ---- GPADLs (gpadl.c) ---- */
/** Closed has returned: reports what the driver left. */
void kmcl_gpadls_check(struct kmcl_channel *ch);
/** Removes what the driver left: client tears down, server unmaps. */
void kmcl_gpadls_drop(struct kmcl_channel *ch);

/* ---- save and restore (save.c, restore.c) ---- */
/** On the strand: the channel starts or closes. What a save has not written it will not write, and
 * the rings are the channel's again. */
void kmcl_save_forget(struct kmcl_channel *ch);
/** Whether a save was begun or made and still says what is true: the rings are left alone. */
bool kmcl_save_stands(const struct kmcl_channel *ch);
/** The same, and reading goes on. */
void kmcl_save_resume(struct kmcl_channel *ch);
/** Whether saved state is complete; an unfinished or damaged one keeps the channel from Enable. */
bool kmcl_restore_usable(const struct kmcl_channel *ch);
/** In a session that was prepared: puts what was saved in its place. False: it cannot be. */
bool kmcl_restore_session(struct kmcl_channel *ch, bool resumed);
/** Drops it; packets end with STATUS_DEVICE_REMOVED. */
void kmcl_restore_discard(struct kmcl_channel *ch);

/* ---- life cycle (lifecycle.c, server.c, client.c) ---- */
void kmcl_lifecycle_init(struct kmcl_channel *ch);
/** Calls `fn` with the other end's channel while it cannot go. False: not in this process. */
bool kmcl_channel_with_peer(struct kmcl_channel *ch, void (*fn)(struct kmcl_channel *peer));
void kmcl_lifecycle_quiesce(struct kmcl_channel *ch);
/** True: it was not queued, and is now. */
static inline bool kmcl_event_post(struct kmcl_channel *ch, struct kmcl_event *event)
{
	if (atomic_exchange(&event->queued, true))
		return false;
	nt_strand_post(&ch->strand, &event->job);
	return true;
}
/** First thing in its handler. */
static inline void kmcl_event_begin(struct kmcl_event *event)
{
	atomic_store(&event->queued, false);
}
/** Adds a reason to close: waiting requests fail at once. Ended by kmcl_close_done. */
void kmcl_close_cause(struct kmcl_channel *ch);
void kmcl_close_done(struct kmcl_channel *ch);
/** Memory of a session. */
bool kmcl_session_prepare(struct kmcl_channel *ch);
void kmcl_session_release(struct kmcl_channel *ch);
/** Runs what follows on this thread while the strand stands still, until kmcl_strand_release. */
struct kmcl_strand_hold {
	struct nt_job job;
	KEVENT held, leave, left;
};
void kmcl_strand_hold(struct kmcl_channel *ch, struct kmcl_strand_hold *hold);
void kmcl_strand_release(struct kmcl_strand_hold *hold);
NTSTATUS kmcl_session_opened(struct kmcl_channel *ch);
void kmcl_session_start(struct kmcl_channel *ch);
void kmcl_session_suspend(struct kmcl_channel *ch);
/** CLOSE steps 0 to 2: no traffic any more, every outgoing packet ended, port detached. */
void kmcl_session_stop(struct kmcl_channel *ch);
void kmcl_session_closed(struct kmcl_channel *ch);

NTSTATUS kmcl_server_enable(struct kmcl_channel *ch);
void kmcl_server_disable(struct kmcl_channel *ch);
void kmcl_server_init(struct kmcl_channel *ch);
NTSTATUS kmcl_client_enable(struct kmcl_channel *ch);
void kmcl_client_disable(struct kmcl_channel *ch);
void kmcl_client_init(struct kmcl_channel *ch);

/** A counter whose writers hold one lock: no locked instruction. */
static inline void kmcl_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/** What statistics show of a channel's configuration. */
void kmcl_channel_set_name(struct kmcl_channel *ch, const char *name);
void kmcl_channel_set_bus(struct kmcl_channel *ch, struct part_endpoint *ep);
void kmcl_log_channel(struct kmcl_channel *ch, enum kmcl_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
