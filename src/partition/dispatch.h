/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Dispatcher threads. A port belongs to one; that thread alone calls its operations.
 */
#ifndef PARTITION_DISPATCH_H
#define PARTITION_DISPATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "partition/partition.h"
#include "partition/transport.h"

#define PART_MAX_DISPATCHERS 64u
#define PART_CHANNELS        2048u

/** Of an endpoint: which dispatcher has the attached port of a channel; 0: none, else index + 1. */
struct part_port_map {
	_Atomic uint8_t owner[PART_CHANNELS];
};

struct part_dispatcher {
	/* [a] any thread, atomics  [l] under lock  [d] the dispatcher's thread alone */
	struct part_event event; /* [a] */
	struct hv_flags kicks;   /* [a] by event flag, from this end */
	struct hv_flags *flags;  /* [a] by event flag, from the other end */
	/* [a] the same at another SINT; NULL: none */
	_Atomic(struct hv_flags *) redirected;
	/* [a] flag 0 means: look here; below version 2.4 */
	_Atomic(struct hv_flags *) shared;
	uint32_t first_word, end_word; /* of them, those that are this end's */
	atomic_bool stop;              /* [a] */
	_Atomic uint64_t strays;       /* [a] flags of channels that nobody has */

	pthread_mutex_t lock;
	pthread_cond_t detached;
	struct part_port *commands, **last_command; /* [l] */

	uint32_t active_count;                     /* [d] */
	uint32_t timed_count;                      /* [d] */
	uint32_t rounds, idle_rounds;              /* [d] */
	uint64_t now;                              /* [d] as of the last look */
	bool adaptive;                             /* [d] */
	bool rung;                                 /* [d] a flag, kick or command was taken */
	uint64_t contended_until;                  /* [d] */
	uint64_t poll_ns, poll_max;                /* [d] */
	struct part_port *active[PART_CHANNELS];   /* [d] polled */
	struct part_port *timed[PART_CHANNELS];    /* [d] wait for a time */
	struct part_port *attached[PART_CHANNELS]; /* [d] by event flag */

	struct part_dispatcher *all; /* of the endpoint, for flags that came to the wrong one */
	uint32_t count, index;
	/* What the other end has signalled goes into `flags`; NULL: it is there. */
	void (*hear)(void *transport, uint32_t dispatcher);
	void *transport;
	struct part_port_map *map;
	uint32_t partition;
	char name[16];
	pthread_t thread;
};

struct part_dispatch_options {
	struct part_port_map *map;
	struct part_dispatcher *all;
	uint32_t count, index;
	uint32_t partition;
	const char *prefix; /**< of the thread's name */
	struct hv_flags *flags;
	/** See partition/transport.h; NULL: the line is raised for each flag. */
	const struct part_ear *ear;
	void (*hear)(void *transport, uint32_t dispatcher);
	void *transport;
	int64_t poll_ns;               /**< as in struct part_options */
	uint32_t first_word, end_word; /**< of the shared flags, those that are this end's */
};

int part_dispatcher_start(struct part_dispatcher *d, const struct part_dispatch_options *options);
/** Ends the thread; ports still attached are forgotten. Kicks do no harm until
 * part_dispatcher_free. */
void part_dispatcher_stop(struct part_dispatcher *d);
void part_dispatcher_free(struct part_dispatcher *d);
/** Whether the calling thread is this dispatcher's. */
bool part_dispatcher_is_current(const struct part_dispatcher *d);
/** The thread's attributes that all threads of a partition share: every signal blocked, a name. */
int part_thread_create(pthread_t *thread, void *(*run)(void *), void *arg, const char *name);

#endif
