/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What the tests of src/partition share: waiting with a deadline, counting what a process holds, a
 * guest and a host written by hand at the wire, and owners of channels.
 */
#ifndef TESTS_PARTITION_SUPPORT_H
#define TESTS_PARTITION_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "partition/internal.h"
#include "vmbus/wire.h"

#define DEADLINE_NS   20000000000ull
#define SETTLE_NS     30000000ull /* long enough for something wrong to happen */
#define RAW_VPS       4u
#define RING_PAGES    4u
#define TEST_MEMORY   (16u << 20)
#define MESSAGE_BYTES 240u

/* Spins (sleeping a little) until the expression holds; fails the test after the deadline. */
#define wait_until(expression)                                          \
	do {                                                            \
		uint64_t until_ = clock_now_ns() + DEADLINE_NS;         \
		while (!(expression)) {                                 \
			if (clock_now_ns() > until_)                    \
				fail_msg("timed out: %s", #expression); \
			nap(100000);                                    \
		}                                                       \
	} while (0)

void nap(uint64_t ns);
unsigned int count_fds(void);
unsigned int count_threads(void);
uint64_t random_next(uint64_t *state);

/* ---- a guest by hand: bytes in slots, hypercalls ---- */
struct raw_guest {
	struct part *part;
	struct part_endpoint *host; /* the end under test */
	const struct part_guest_ops *ops;
	struct part_event messages, flag_lines[RAW_VPS];
	struct part_event *lines[RAW_VPS];
	uint8_t *simp[RAW_VPS], *siefp[RAW_VPS];
	uint64_t gpa[RAW_VPS];
	uint32_t message_vp;
	bool keeps_quiet;   /* empties slots and does not tell */
	uint8_t last_flags; /* of the slot last emptied, as they were while it was full */
};

struct raw_message {
	uint32_t size;
	uint8_t bytes[MESSAGE_BYTES];
};

void raw_guest_start(struct raw_guest *g, const struct part_options *options);
void raw_guest_stop(struct raw_guest *g);
uint16_t raw_post_to(struct raw_guest *g, uint32_t connection, const void *bytes, uint32_t size);
/* To connection 1; retried while the host is busy. */
void raw_post(struct raw_guest *g, const void *bytes, uint32_t size);
/* Whether slot `sint` of the VP is full. */
bool raw_slot_full(struct raw_guest *g, uint32_t vp, uint32_t sint);
/* Empties the slot as a guest does; false: it was empty. */
bool raw_take(struct raw_guest *g, uint32_t vp, uint32_t sint, struct raw_message *m);
/* Waits for a message of that type to the contact's VP, SINT 2; fails on another. */
void raw_expect(struct raw_guest *g, uint32_t type, struct raw_message *m);
void raw_expect_nothing(struct raw_guest *g);
bool raw_flag(struct raw_guest *g, uint32_t vp, uint32_t flag);
void raw_clear_flag(struct raw_guest *g, uint32_t vp, uint32_t flag);

void raw_contact(struct raw_guest *g, uint32_t version, uint32_t target_vp);
/* Contact, REQUEST_OFFERS; returns the number of offers taken up to ALL_OFFERS_DELIVERED. */
uint32_t raw_connect(struct raw_guest *g, uint32_t version);
/* Announces one range of `pages` pages from `gpa`; expects CREATED with `status`. */
void raw_gpadl(struct raw_guest *g, uint32_t channel, uint32_t gpadl, uint64_t gpa, uint32_t pages);
void raw_post_open(struct raw_guest *g, uint32_t channel, uint32_t gpadl, uint32_t downstream,
		   uint32_t vp);
uint32_t raw_expect_open_result(struct raw_guest *g, uint32_t channel);
void raw_post_channel(struct raw_guest *g, uint32_t type, uint32_t channel);
void raw_teardown(struct raw_guest *g, uint32_t channel, uint32_t gpadl);

/* ---- a device at the server's end ---- */
struct device {
	struct part_server_channel *ch;
	struct part_port port;
	struct part_server_open open;
	sem_t opened, closed;
	atomic_uint opens, closes, polls;
	bool manual_open, manual_close; /* the test answers */
	pthread_mutex_t lock;
	bool attached, revoking; /* under lock */
	atomic_bool echo;        /* send back what comes */
	uint32_t status;         /* of the open */
	bool monitored;          /* of its offers */
	uint16_t latency;
	uint8_t vtl;
	uint64_t retry_ns;
	atomic_uint received;
	uint64_t buffer[1024];
	uint32_t held; /* bytes in `buffer` that found no room */
	uint64_t held_id;
};

void device_init(struct device *d);
void device_destroy(struct device *d);
void device_offer(struct device *d, struct part_endpoint *ep, uint32_t instance);
int device_try_offer(struct device *d, struct part_endpoint *ep, uint32_t instance);
/* Detaches the port. */
void device_stop(struct device *d);
void device_revoke(struct device *d);
extern const struct part_server_channel_ops device_ops;
extern const struct part_port_ops device_port_ops;

/* ---- a host by hand ---- */
struct raw_host {
	struct part *part;
	struct part_endpoint *guest; /* the end under test */
	const struct part_host_ops *ops;
	struct part_event messages, event;
	struct hv_flags doorbell;
	struct part_event *events[1];
	struct hv_flags *doorbells[1];
	struct synic_vp *vps;
};

/* `ports`: message connection ids that exist, ended by 0. Neither asked nor answered anything yet.
 */
void raw_host_start(struct raw_host *h, const uint32_t *ports, const struct part_options *options);
void raw_host_stop(struct raw_host *h);
/* Waits for the guest's next message, which must be of that type. */
void raw_host_expect(struct raw_host *h, uint32_t type, struct hv_message *m);
void raw_host_expect_nothing(struct raw_host *h);
/* Delivers to VP 0, SINT 2; waits while the slot is full. */
void raw_host_send(struct raw_host *h, const void *bytes, uint32_t size);
/* Answers the contact with that version and offers the channels 1..count. */
void raw_host_connect(struct raw_host *h, uint32_t version, uint32_t offers);
void raw_host_offer(struct raw_host *h, uint32_t channel);
void raw_host_send_channel(struct raw_host *h, uint32_t type, uint32_t channel);
/* Takes a GPADL_HEADER with its bodies and accepts it; the id. */
uint32_t raw_host_accept_gpadl(struct raw_host *h, uint32_t channel, uint32_t status,
			       uint64_t *words, uint32_t most, uint32_t *count);

/* ---- a driver at the client's end ---- */
#define DRIVER_CHANNELS 64u

struct driver_channel {
	struct driver *driver;
	_Atomic(struct part_client_channel *) ch;
	struct part_port port;
	atomic_uint offers, rescinds, withdrawals, polls, received;
	atomic_uint in_poll;
	bool attached;
	uint64_t retry_ns;
	uint64_t next_expected; /* the last byte stream's number */
	uint64_t buffer[1024];
};

struct driver {
	struct part_client_listener listener;
	struct part_endpoint *ep;
	struct driver_channel channels[DRIVER_CHANNELS]; /* by instance */
	bool put_on_rescind;
};

void driver_start(struct driver *d, struct part_endpoint *ep);
/* Every channel must have been let go. */
void driver_stop(struct driver *d);
/* Waits for the offer and claims it. */
struct driver_channel *driver_claim(struct driver *d, uint32_t instance);
int driver_open(struct driver_channel *c, uint32_t vp, uint32_t *status);
void driver_close(struct driver_channel *c);
void driver_put(struct driver_channel *c);
/* From the test's thread while the port is not attached or is quiet: one packet. */
enum vmbus_ring_result driver_send(struct driver_channel *c, const void *payload, uint32_t size,
				   uint64_t id);
extern const struct part_client_channel_ops driver_ops;
extern const struct part_port_ops driver_port_ops;

#endif
