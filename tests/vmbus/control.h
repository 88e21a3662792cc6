/* SPDX-License-Identifier: MIT */
/*
 * A bench for the control plane's state machines. Messages are bytes put together here, by hand
 * and by offset, so that a mistake in the library's own message table cannot hide itself.
 */
#ifndef TESTS_VMBUS_CONTROL_H
#define TESTS_VMBUS_CONTROL_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "vmbus/client.h"
#include "vmbus/server.h"

/* ---- raw messages ---- */

struct raw {
	uint8_t b[320];
	size_t n;
};

/* `n` bytes, the type in front, the rest zero. */
struct raw raw(uint32_t type, size_t n);
void put8(struct raw *r, size_t at, uint8_t v);
void put16(struct raw *r, size_t at, uint16_t v);
void put32(struct raw *r, size_t at, uint32_t v);
void put64(struct raw *r, size_t at, uint64_t v);
uint32_t get32(const uint8_t *b, size_t at);
/* From hexadecimal text, blanks allowed. */
struct raw from_hex(const char *text);

struct raw raw_contact(uint32_t version);
struct raw raw_contact6(uint32_t features);
struct raw raw_one(uint32_t type, size_t n, uint32_t channel);
struct raw raw_open(uint32_t channel, uint32_t open_id, uint32_t gpadl, uint32_t vp, uint32_t d);
/* A GPADL of one range of `pages` whole pages from page frame `first`, cut into its messages. */
struct raw raw_header(uint32_t channel, uint32_t gpadl, uint32_t pages, uint64_t first);
struct raw raw_body(uint32_t gpadl, uint32_t pages, uint64_t first, uint32_t sent);
struct raw raw_gpadl_teardown(uint32_t channel, uint32_t gpadl);
struct raw raw_modify(uint32_t channel, uint32_t vp);
struct raw raw_open_reserved(uint32_t channel, uint32_t vp, uint32_t sint, uint32_t gpadl,
			     uint32_t d);
struct raw raw_close_reserved(uint32_t channel, uint32_t vp, uint32_t sint);
/* Host messages. */
struct raw raw_version_ok(uint32_t selected);
struct raw raw_version_failed(uint32_t selected);
struct raw raw_open_result(uint32_t channel, uint32_t open_id, uint32_t status);
struct raw raw_created(uint32_t channel, uint32_t gpadl, uint32_t status);
struct raw raw_torndown(uint32_t gpadl);
struct raw raw_modify_response(uint32_t channel, uint32_t status);

/* ---- memory ---- */

struct heap {
	size_t live, bytes, peak;
	size_t allowed; /* allocations before the heap says no; SIZE_MAX: always yes */
};

struct vmbus_allocator heap_allocator(struct heap *h);

/* ---- a server on the bench ---- */

#define DEVICES 4

struct bench {
	struct heap heap;
	struct vmbus_server_config config;
	struct vmbus_server *s;
	char device[DEVICES]; /* only their addresses are used */
	vmbus_offer_id offer[DEVICES];
	struct vmbus_server_action a; /* the latest one taken */
};

int bench_setup(void **state);
int bench_teardown(void **state);
/* Replaces the server by one with the bench's config. */
void bench_restart(struct bench *t);

void post_to(struct bench *t, uint32_t port, const struct raw *r);
void post(struct bench *t, struct raw r); /* to port 1 */

void expect_none_at(struct bench *t, int line);
void expect_post_at(struct bench *t, uint32_t vp, struct raw r, int line);
void expect_unqueued_at(struct bench *t, uint32_t vp, uint8_t sint, struct raw r, int line);
struct vmbus_server_action *expect_at(struct bench *t, enum vmbus_server_action_type type,
				      int line);
void expect_device_at(struct bench *t, enum vmbus_server_action_type type, int device, int line);
void check_at(struct bench *t, int line);

#define expect_none(t)                  expect_none_at(t, __LINE__)
#define expect_post(t, r)               expect_post_at(t, 0, r, __LINE__)
#define expect_post_vp(t, vp, r)        expect_post_at(t, vp, r, __LINE__)
#define expect_unqueued(t, vp, sint, r) expect_unqueued_at(t, vp, sint, r, __LINE__)
#define expect(t, type)                 expect_at(t, type, __LINE__)
#define expect_device(t, type, device)  expect_device_at(t, type, device, __LINE__)
/* The message is dropped: no action, and exactly this counter moves, by one. */
#define assert_dropped(t, r, counter)                                                            \
	do {                                                                                     \
		struct raw dropped_ = (r);                                                       \
		assert_dropped_at(t, 1, &dropped_, offsetof(struct vmbus_server_stats, counter), \
				  __LINE__);                                                     \
	} while (0)
void assert_dropped_at(struct bench *t, uint32_t port, const struct raw *r, size_t counter,
		       int line);

struct vmbus_offer an_offer(int device);
/* Offers device n with interface and instance id n+1. */
void offer(struct bench *t, int device);
struct raw raw_offer(int device, uint32_t channel);

/* Contact, its answer, at `version` (from 6.0 on with `features`). */
void negotiate(struct bench *t, uint32_t version, uint32_t features);
/* REQUEST_OFFERS, its offers (channel n+1 for device n) and its end. */
void request_offers(struct bench *t, int devices);
/* All of the above with that many devices. */
void connect_with(struct bench *t, uint32_t version, uint32_t features, int devices);
/* A GPADL of `pages` pages, accepted. */
void make_gpadl(struct bench *t, int device, uint32_t id, uint32_t pages);
/* Channel device+1 on a ring GPADL 100+device of 8 pages, half each way. */
void ask_open(struct bench *t, int device);
void finish_open(struct bench *t, int device);
void open_channel(struct bench *t, int device);
void ask_reserved(struct bench *t, int device, uint32_t vp, uint32_t sint);
void open_reserved(struct bench *t, int device);

#endif
