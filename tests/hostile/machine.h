/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The hypervisor between a peer written by hand and a real end: hypercalls, SynIC, guest memory.
 * The one thing that the raw peers know of the library; it can as well be a socket's.
 */
#ifndef TESTS_HOSTILE_MACHINE_H
#define TESTS_HOSTILE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MACHINE_VPS    2u
#define MACHINE_MEMORY (32u << 20)

struct machine;

enum {
	STATUS_OK = 0,
	STATUS_BAD_PARAMETER = 5,
	STATUS_NO_PORT = 18,
	STATUS_BUSY = 19,
};

/** What the real end is told; zeroes are its defaults. */
struct machine_config {
	uint32_t max_version;
	uint32_t features;
	uint32_t channels, gpadls, gpadl_pages; /**< limits of the real end */
	uint32_t posted_messages, queued_messages;
};

/** Neither end runs yet. */
struct machine *machine_create(const struct machine_config *config);
void machine_destroy(struct machine *m);
/** Guest memory as the raw peer sees it. */
uint8_t *machine_memory(struct machine *m);
uint64_t machine_memory_size(struct machine *m);

/* ---- a raw guest's hypercalls ---- */
void machine_be_guest(struct machine *m);
bool machine_enable_synic(struct machine *m, uint32_t vp, uint64_t simp, uint64_t siefp);
uint16_t machine_post(struct machine *m, uint32_t connection, const void *bytes, uint32_t size);
/** Messages of the real host's that wait for the guest to empty its slots. */
uint32_t machine_queued(struct machine *m);
uint16_t machine_signal(struct machine *m, uint32_t connection, uint16_t flag);
void machine_end_of_message(struct machine *m, uint32_t vp);
/** Blocks until the host has let go of everything. */
void machine_reset(struct machine *m);

/* ---- a raw host's side ---- */
/** Until machine_leave the machine and the guest's memory stay, whatever the guest does. False:
 * they are gone. */
bool machine_enter(struct machine *m);
void machine_leave(struct machine *m);
void machine_be_host(struct machine *m);
/** Messages to that connection id are taken; without it posting fails. */
void machine_open_port(struct machine *m, uint32_t connection);
bool machine_take(struct machine *m, uint32_t *connection, uint8_t *bytes, uint32_t *size);
/** False: the slot is full. */
bool machine_deliver(struct machine *m, uint32_t vp, uint8_t sint, const void *bytes,
		     uint32_t size);
/** The bytes of a message slot, where the guest put its page. */
uint8_t *machine_slot(struct machine *m, uint32_t vp, uint8_t sint);
/** From now on VP 1 finds a message in its slot again as soon as it has emptied it. */
void machine_flood(struct machine *m, const void *bytes, uint32_t size);
/** The guest's interrupt for messages, whatever the slots hold. */
void machine_kick_messages(struct machine *m);
void machine_set_flag(struct machine *m, uint32_t vp, uint16_t flag);
/** The guest's signals on `connection` set flag `channel`, to be taken with machine_rung. */
bool machine_bind_signal(struct machine *m, uint32_t connection, uint32_t channel);
void machine_unbind_signal(struct machine *m, uint32_t connection);
bool machine_rung(struct machine *m, uint32_t channel);

/* ---- for those who build the real end beside it ---- */
void *machine_part(struct machine *m);

#endif
