/* SPDX-License-Identifier: MIT */
/*
 * A server channel that sends numbered packets, is saved, destroyed and restored in another server
 * end on the same guest memory. What becomes of each packet, in which life of the server, is
 * written down.
 */
#ifndef TESTS_KMCL_SAVE_RIG_H
#define TESTS_KMCL_SAVE_RIG_H

#include "harness.h"

enum {
	RIG_PACKETS = 256,
	RIG_STREAM = 1 << 20,
};

struct rig_packet {
	VMBPACKET packet;
	unsigned int life; /* of the server that has it now */
	unsigned int routines, removed;
	NTSTATUS status;
	uint32_t answer, answer_length;
	unsigned int saves[2]; /* calls of the save callback: asked for the size, for the bytes */
	unsigned int restores;
};

struct rig {
	struct kt_pair pair;
	unsigned int life;
	struct rig_packet packets[RIG_PACKETS];
	uint32_t sent;
	uint32_t saved[RIG_PACKETS], saved_count; /* in which SavePacket was asked first */
	uint32_t order[RIG_PACKETS], ordered;     /* in which RestorePacket got them */
	NTSTATUS save_status;                     /* what SavePacket is to fail with; 0: it works */
	NTSTATUS restore_status;
	bool forget; /* RestorePacket succeeds and restores nothing */
	bool save_nothing;
	uint8_t *stream;
	uint32_t size;
	uint32_t chunk_at[RIG_PACKETS + 8], chunks; /* where the calls of SaveContinue ended */
};

/* The rig of the test that runs; both ends run. */
struct rig *rig_new(struct kt_bus *bus);
void rig_free(struct rig *r);
/* The server sends so many, each waiting for an answer if `wait`. */
void rig_send(struct rig *r, unsigned int count, bool wait);
/* Pauses the server and saves it into r->stream, `room` bytes a call at most, 0: all at once. */
void rig_save(struct rig *r, uint32_t room);
NTSTATUS rig_save_continue(struct rig *r, uint32_t room);
/* The partition's server end, saved; the server channel and its driver's state are gone. */
void rig_destroy_server(struct rig *r, void **bus, size_t *bus_size);
/* Another server end from those bytes, with a channel that is disabled. `flags`: of the server. */
void rig_new_server(struct rig *r, void *bus, size_t bus_size, uint32_t flags);
NTSTATUS rig_restore(struct rig *r);
/* Everything: save, destroy, new server, restore, enable, start. */
void rig_live_on(struct rig *r);
void rig_run(struct rig *r);

#endif
