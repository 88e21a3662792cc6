/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What an end asks of the machine that it runs on: the hypervisor's side of SynIC. One file a
 * transport implements these tables (loopback.c here).
 *
 * A transport calls nothing of an end's. It stores flags and raises lines that the end gave it, and
 * the end's own threads look.
 */
#ifndef PARTITION_TRANSPORT_H
#define PARTITION_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "partition/event.h"

/** Status of a hypercall. */
enum hv_status {
	HV_STATUS_SUCCESS = 0,
	HV_STATUS_INVALID_PARAMETER = 5,
	HV_STATUS_OPERATION_DENIED = 8,
	HV_STATUS_INSUFFICIENT_MEMORY = 11,
	HV_STATUS_INVALID_CONNECTION_ID = 18,
	HV_STATUS_INSUFFICIENT_BUFFERS = 19,
};

#define HV_MESSAGE_MAX        240u
#define HV_MESSAGE_TYPE_VMBUS 1u
#define HV_EVENT_FLAGS        2048u
#define HV_FLAG_WORDS         (HV_EVENT_FLAGS / 64)

/** A message as posted. */
struct hv_message {
	uint32_t connection_id;
	uint32_t type;
	uint32_t size;
	uint8_t payload[HV_MESSAGE_MAX];
};

/** Where one doorbell rings: a flag, then a line. */
struct hv_flags {
	_Atomic uint64_t word[HV_FLAG_WORDS];
};

/** Flag n is bit n % 8 of byte n / 8, whatever the machine's byte order. */
static inline uint64_t hv_flag_order(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap64(word);
#else
	return word;
#endif
}

/** True: the flag was clear. */
static inline bool hv_flag_set(struct hv_flags *flags, uint32_t flag)
{
	uint64_t bit = hv_flag_order(1ull << (flag % 64));

	return !(atomic_fetch_or(&flags->word[flag / 64 % HV_FLAG_WORDS], bit) & bit);
}

/** Takes 64 flags, those from 64 * `word`; bit i stands for flag 64 * word + i. */
static inline uint64_t hv_flags_take(struct hv_flags *flags, uint32_t word)
{
	if (!atomic_load(&flags->word[word]))
		return 0;
	return hv_flag_order(atomic_exchange(&flags->word[word], 0));
}

/** Two clocks at one instant. */
struct hv_clocks {
	uint64_t reference; /**< of the partition, as its guest reads it: 100 ns units */
	uint64_t real_ns;   /**< since 1970 */
};

/** The host end's lines. They live as long as the transport. */
struct part_host_lines {
	struct part_event *messages; /**< a message came, a slot was emptied, a reset is due */
	uint32_t dispatchers;
	struct hv_flags *const *doorbells; /**< one a dispatcher, indexed by channel id */
	struct part_event *const *events;  /**< one a dispatcher */
};

struct part_host_ops {
	void (*start)(void *transport, const struct part_host_lines *lines);
	/** After it returns no line is raised. Another host end may start. */
	void (*stop)(void *transport);
	/** Messages posted to this connection id are taken, as they were by the end before. */
	int (*bind_messages)(void *transport, uint32_t connection_id);
	bool (*take_message)(void *transport, struct hv_message *message);
	/** 0; -EAGAIN: the slot is full, `messages` is raised when it is not; -ENODEV: no such VP.
	 */
	int (*deliver)(void *transport, uint32_t vp, uint8_t sint, const void *payload,
		       size_t size);
	/** Sets an event flag of a VP and interrupts it where the flag was clear. */
	int (*set_flag)(void *transport, uint32_t vp, uint8_t sint, uint16_t flag);
	/** HvSignalEvent on `connection_id` sets the dispatcher's doorbell flag `channel`; flag 0
	 *  is the event port that channels share. -EEXIST, -ENOSPC. */
	int (*bind_port)(void *transport, uint32_t connection_id, uint32_t dispatcher,
			 uint32_t channel);
	void (*unbind_port)(void *transport, uint32_t connection_id);
	/** The guest signals this channel, bound just now, by a flag of its choice. NULL: it
	 * signals by connection id alone. */
	void (*bind_flag)(void *transport, uint32_t channel, uint16_t flag);
	/** True, once, for every reset that the guest asked for; reset_done lets the guest go on.
	 */
	bool (*take_reset)(void *transport);
	void (*reset_done)(void *transport);
	/** A guest that takes no messages is owed more than the bound: nothing more is kept for it.
	 *  NULL: the transport cannot be rid of it. */
	void (*flooded)(void *transport);
	/** The guest's reference counter and this machine's clock at one instant. -ENOTSUP: there
	 *  is no such counter, or it cannot be read now. NULL: the transport knows of none. Any
	 *  thread; takes no lock and does not wait. */
	int (*read_clocks)(void *transport, struct hv_clocks *clocks);
	/** Where a dispatcher sleeps, so that the guest's bells wake it and no thread between.
	 * Lives as long as the transport. NULL, here or returned: on its line alone. */
	const struct part_ear *(*ear)(void *transport, uint32_t dispatcher);
	/** Passes on what the guest has signalled by those bells. The dispatcher with the ear calls
	 *  it when it was woken, and every so often while it is awake. */
	void (*hear)(void *transport, uint32_t dispatcher);
};

/** The guest end's lines, one of each a VP. */
struct part_guest_lines {
	struct part_event *messages; /**< a message slot was filled */
	uint32_t vps;
	struct part_event *const *flags; /**< an event flag went from 0 to 1; not needed where there
					    is an ear */
};

struct part_guest_ops {
	void (*start)(void *transport, const struct part_guest_lines *lines);
	void (*stop)(void *transport);
	/** The VP's message and event flag page, as SIMP and SIEFP would tell. */
	int (*enable_synic)(void *transport, uint32_t vp, uint64_t simp_gpa, uint64_t siefp_gpa);
	/** Lets a SINT's messages and interrupts through, or no more. VMBus's own (2) begins
	 *  unmasked, the others masked. Who unmasks one looks at its flags: they interrupted
	 * nobody. */
	int (*unmask_sint)(void *transport, uint32_t vp, uint8_t sint, bool unmasked);
	/** HvPostMessage. */
	uint16_t (*post_message)(void *transport, const struct hv_message *message);
	/** HvSignalEvent. */
	uint16_t (*signal_event)(void *transport, uint32_t connection_id, uint16_t flag);
	/** Where channels are signalled by event flags toward the host too: in place of
	 *  signal_event, which is NULL there. Flag 0: look at the interrupt page. */
	void (*signal_flag)(void *transport, uint32_t vp, uint16_t flag);
	void (*end_of_message)(void *transport, uint32_t vp);
	/** A reset of the partition. Blocks until the host has let go of everything. */
	void (*reset)(void *transport);
	/** True, once, each time the host went away; the `messages` line is raised. NULL: it does
	 *  not. */
	bool (*take_loss)(void *transport);
	/** Whether a host is there, after a loss: the line is raised when one has come. */
	bool (*is_up)(void *transport);
	/** As a host's. The flags themselves are in the VP's page. */
	const struct part_ear *(*ear)(void *transport, uint32_t vp);
};

#endif
