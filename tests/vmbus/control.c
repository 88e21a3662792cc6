/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "control.h"

/* ---- raw messages ---- */

struct raw raw(uint32_t type, size_t n)
{
	struct raw r = {.n = n};

	put32(&r, 0, type);
	return r;
}

void put8(struct raw *r, size_t at, uint8_t v)
{
	assert_true(at < sizeof(r->b));
	r->b[at] = v;
}

void put16(struct raw *r, size_t at, uint16_t v)
{
	put8(r, at, v & 0xff);
	put8(r, at + 1, v >> 8);
}

void put32(struct raw *r, size_t at, uint32_t v)
{
	put16(r, at, v & 0xffff);
	put16(r, at + 2, v >> 16);
}

void put64(struct raw *r, size_t at, uint64_t v)
{
	put32(r, at, (uint32_t)v);
	put32(r, at + 4, (uint32_t)(v >> 32));
}

uint32_t get32(const uint8_t *b, size_t at)
{
	return b[at] | b[at + 1] << 8 | b[at + 2] << 16 | (uint32_t)b[at + 3] << 24;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

struct raw from_hex(const char *text)
{
	struct raw r = {0};

	while (*text && *text != '\n') {
		if (*text == ' ') {
			text++;
			continue;
		}
		assert_true(digit(text[0]) >= 0 && digit(text[1]) >= 0);
		put8(&r, r.n++, (uint8_t)(digit(text[0]) << 4 | digit(text[1])));
		text += 2;
	}
	return r;
}

struct raw raw_contact(uint32_t version)
{
	struct raw r = raw(14, 40);

	put32(&r, 8, version);
	return r;
}

struct raw raw_contact6(uint32_t features)
{
	struct raw r = raw(14, 56);

	put32(&r, 8, 0x00060000);
	put8(&r, 16, 2);
	put32(&r, 20, features);
	return r;
}

struct raw raw_one(uint32_t type, size_t n, uint32_t channel)
{
	struct raw r = raw(type, n);

	put32(&r, 8, channel);
	return r;
}

struct raw raw_open(uint32_t channel, uint32_t open_id, uint32_t gpadl, uint32_t vp, uint32_t d)
{
	struct raw r = raw_one(5, 148, channel);

	put32(&r, 12, open_id);
	put32(&r, 16, gpadl);
	put32(&r, 20, vp);
	put32(&r, 24, d);
	return r;
}

struct raw raw_header(uint32_t channel, uint32_t gpadl, uint32_t pages, uint64_t first)
{
	uint32_t here = pages < 26 ? pages : 26;
	struct raw r = raw_one(8, 28 + 8 * here, channel);

	put32(&r, 12, gpadl);
	put16(&r, 16, (uint16_t)(8 + 8 * pages));
	put16(&r, 18, 1);
	put32(&r, 20, pages * 4096);
	for (uint32_t i = 0; i < here; i++)
		put64(&r, 28 + 8 * i, first + i);
	return r;
}

struct raw raw_body(uint32_t gpadl, uint32_t pages, uint64_t first, uint32_t sent)
{
	uint32_t here = pages - sent < 28 ? pages - sent : 28;
	struct raw r = raw(9, 16 + 8 * here);

	put32(&r, 12, gpadl);
	for (uint32_t i = 0; i < here; i++)
		put64(&r, 16 + 8 * i, first + sent + i);
	return r;
}

struct raw raw_gpadl_teardown(uint32_t channel, uint32_t gpadl)
{
	struct raw r = raw_one(11, 16, channel);

	put32(&r, 12, gpadl);
	return r;
}

struct raw raw_modify(uint32_t channel, uint32_t vp)
{
	struct raw r = raw_one(22, 16, channel);

	put32(&r, 12, vp);
	return r;
}

struct raw raw_open_reserved(uint32_t channel, uint32_t vp, uint32_t sint, uint32_t gpadl,
			     uint32_t d)
{
	struct raw r = raw_one(18, 28, channel);

	put32(&r, 12, vp);
	put32(&r, 16, sint);
	put32(&r, 20, gpadl);
	put32(&r, 24, d);
	return r;
}

struct raw raw_close_reserved(uint32_t channel, uint32_t vp, uint32_t sint)
{
	struct raw r = raw_one(19, 20, channel);

	put32(&r, 12, vp);
	put32(&r, 16, sint);
	return r;
}

struct raw raw_version_ok(uint32_t selected)
{
	struct raw r = raw(15, 16);

	put8(&r, 8, 1);
	put32(&r, 12, selected);
	return r;
}

struct raw raw_version_failed(uint32_t selected)
{
	struct raw r = raw_version_ok(selected);

	put8(&r, 9, 2);
	return r;
}

struct raw raw_open_result(uint32_t channel, uint32_t open_id, uint32_t status)
{
	struct raw r = raw_one(6, 20, channel);

	put32(&r, 12, open_id);
	put32(&r, 16, status);
	return r;
}

struct raw raw_created(uint32_t channel, uint32_t gpadl, uint32_t status)
{
	struct raw r = raw_open_result(channel, gpadl, status);

	put32(&r, 0, 10);
	return r;
}

struct raw raw_torndown(uint32_t gpadl)
{
	return raw_one(12, 12, gpadl);
}

struct raw raw_modify_response(uint32_t channel, uint32_t status)
{
	struct raw r = raw_one(24, 16, channel);

	put32(&r, 12, status);
	return r;
}

/* ---- memory ---- */

static void *heap_alloc(void *ctx, size_t size)
{
	struct heap *h = ctx;
	void *p;

	if (!h->allowed)
		return NULL;
	if (h->allowed != SIZE_MAX)
		h->allowed--;
	p = calloc(1, size);
	assert_non_null(p);
	h->live++;
	h->bytes += size;
	if (h->bytes > h->peak)
		h->peak = h->bytes;
	return p;
}

static void heap_free(void *ctx, void *p, size_t size)
{
	struct heap *h = ctx;

	assert_non_null(p);
	assert_true(h->live > 0 && h->bytes >= size);
	h->live--;
	h->bytes -= size;
	/* What is freed must not be read again; ASan sees it, other builds see garbage. */
	memset(p, 0xa5, size);
	free(p);
}

struct vmbus_allocator heap_allocator(struct heap *h)
{
	return (struct vmbus_allocator){heap_alloc, heap_free, h};
}

/* ---- a server on the bench ---- */

void bench_restart(struct bench *t)
{
	vmbus_server_destroy(t->s);
	assert_int_equal(t->heap.live, 0);
	t->s = vmbus_server_create(&t->config);
	assert_non_null(t->s);
	memset(t->offer, 0, sizeof(t->offer));
}

int bench_setup(void **state)
{
	struct bench *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->heap.allowed = SIZE_MAX;
	t->config.allocator = heap_allocator(&t->heap);
	t->config.vp_count = 8;
	t->config.features = 0xff;
	bench_restart(t);
	*state = t;
	return 0;
}

int bench_teardown(void **state)
{
	struct bench *t = *state;

	vmbus_server_destroy(t->s);
	if (t->heap.live || t->heap.bytes)
		print_error("%zu allocations leaked\n", t->heap.live);
	if (t->heap.live || t->heap.bytes)
		return -1;
	free(t);
	return 0;
}

static void fail_at(int line, const char *what)
{
	fail_msg("line %d: %s", line, what);
}

void check_at(struct bench *t, int line)
{
	const char *wrong = vmbus_server_check(t->s);

	if (wrong)
		fail_at(line, wrong);
}

void post_to(struct bench *t, uint32_t port, const struct raw *r)
{
	/* An exact allocation, so that reading past the message is seen. */
	uint8_t *copy = malloc(r->n ? r->n : 1);

	assert_non_null(copy);
	memcpy(copy, r->b, r->n);
	vmbus_server_receive(t->s, port, copy, r->n);
	free(copy);
	check_at(t, __LINE__);
}

void post(struct bench *t, struct raw r)
{
	post_to(t, 1, &r);
}

static const char *const type_names[] = {
	"POST",  "CONNECT",        "DISCONNECTED", "OPEN",    "CLOSE",
	"GPADL", "GPADL_TEARDOWN", "MODIFY",       "MONITOR", "HVSOCK",
};

void expect_none_at(struct bench *t, int line)
{
	check_at(t, line);
	if (!vmbus_server_next_action(t->s, &t->a))
		return;
	if (t->a.type == VMBUS_SERVER_POST)
		fail_msg("line %d: unexpected message %u", line, get32(t->a.message.data, 0));
	fail_msg("line %d: unexpected %s", line, type_names[t->a.type]);
}

struct vmbus_server_action *expect_at(struct bench *t, enum vmbus_server_action_type type, int line)
{
	check_at(t, line);
	if (!vmbus_server_next_action(t->s, &t->a))
		fail_msg("line %d: no action, %s expected", line, type_names[type]);
	if (t->a.type != type && t->a.type == VMBUS_SERVER_POST)
		fail_msg("line %d: message %u, %s expected", line, get32(t->a.message.data, 0),
			 type_names[type]);
	if (t->a.type != type)
		fail_msg("line %d: %s, %s expected", line, type_names[t->a.type], type_names[type]);
	return &t->a;
}

static void same_bytes(const struct vmbus_server_action *a, const struct raw *r, int line)
{
	if (a->message.size != r->n)
		fail_msg("line %d: message %u has %u bytes, %zu expected", line,
			 get32(a->message.data, 0), a->message.size, r->n);
	for (size_t i = 0; i < r->n; i++) {
		if (a->message.data[i] != r->b[i])
			fail_msg("line %d: message %u byte %zu is %02x, %02x expected", line,
				 get32(a->message.data, 0), i, a->message.data[i], r->b[i]);
	}
}

void expect_post_at(struct bench *t, uint32_t vp, struct raw r, int line)
{
	struct vmbus_server_action *a = expect_at(t, VMBUS_SERVER_POST, line);

	same_bytes(a, &r, line);
	if (a->message.vp != vp || a->message.sint != 2 || a->message.unqueued)
		fail_msg("line %d: message goes to VP %u SINT %u%s", line, a->message.vp,
			 a->message.sint, a->message.unqueued ? " unqueued" : "");
}

void expect_unqueued_at(struct bench *t, uint32_t vp, uint8_t sint, struct raw r, int line)
{
	struct vmbus_server_action *a = expect_at(t, VMBUS_SERVER_POST, line);

	same_bytes(a, &r, line);
	if (a->message.vp != vp || a->message.sint != sint || !a->message.unqueued)
		fail_msg("line %d: message goes to VP %u SINT %u%s", line, a->message.vp,
			 a->message.sint, a->message.unqueued ? "" : ", queued");
}

void expect_device_at(struct bench *t, enum vmbus_server_action_type type, int device, int line)
{
	struct vmbus_server_action *a = expect_at(t, type, line);

	if (a->device != &t->device[device] || a->offer != t->offer[device])
		fail_at(line, "the action is for another device");
}

static uint64_t counter(const struct bench *t, size_t at)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)vmbus_server_statistics(t->s) + at, sizeof(v));
	return v;
}

void assert_dropped_at(struct bench *t, uint32_t port, const struct raw *r, size_t at, int line)
{
	uint64_t before[sizeof(struct vmbus_server_stats) / sizeof(uint64_t)];

	memcpy(before, vmbus_server_statistics(t->s), sizeof(before));
	post_to(t, port, r);
	expect_none_at(t, line);
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		size_t here = i * sizeof(uint64_t);
		uint64_t moved = counter(t, here) - before[i];
		bool should = here == at || here == offsetof(struct vmbus_server_stats, received);

		if (moved != should)
			fail_msg("line %d: counter %zu moved by %llu", line, i,
				 (unsigned long long)moved);
	}
}

struct vmbus_offer an_offer(int device)
{
	struct vmbus_offer o = {0};

	o.interface_id.b[0] = o.instance_id.b[15] = (uint8_t)(device + 1);
	for (size_t i = 0; i < sizeof(o.user_data); i++)
		o.user_data[i] = (uint8_t)(i + (size_t)device);
	o.mmio_megabytes = 8;
	return o;
}

void offer(struct bench *t, int device)
{
	struct vmbus_offer o = an_offer(device);

	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[device], &t->offer[device]), 0);
	check_at(t, __LINE__);
}

struct raw raw_offer(int device, uint32_t channel)
{
	struct raw r = raw(1, 196);

	put8(&r, 8, (uint8_t)(device + 1));
	put8(&r, 39, (uint8_t)(device + 1));
	put16(&r, 58, 8);
	for (int i = 0; i < 120; i++)
		put8(&r, 60 + (size_t)i, (uint8_t)(i + device));
	put32(&r, 184, channel);
	put8(&r, 188, 0xff);
	put16(&r, 190, 1);
	put32(&r, 192, 0x2000 + channel);
	return r;
}

void negotiate(struct bench *t, uint32_t version, uint32_t features)
{
	struct raw r = version >= 0x00060000 ? raw_contact6(features) : raw_contact(version);
	struct raw answer = raw_version_ok(version < 0x00050000 ? version : 1);

	post(t, r);
	assert_int_equal(expect(t, VMBUS_SERVER_CONNECT)->connect.version, version);
	expect_none(t);
	vmbus_server_connect_done(t->s, true);
	if (version >= 0x00060000) {
		answer.n = 20;
		put32(&answer, 16, features);
	}
	expect_post(t, answer);
	expect_none(t);
}

void request_offers(struct bench *t, int devices)
{
	post(t, raw(3, 8));
	for (int i = 0; i < devices; i++)
		expect_post(t, raw_offer(i, (uint32_t)i + 1));
	expect_post(t, raw(4, 8));
	expect_none(t);
}

void connect_with(struct bench *t, uint32_t version, uint32_t features, int devices)
{
	for (int i = 0; i < devices; i++)
		offer(t, i);
	negotiate(t, version, features);
	request_offers(t, devices);
}

void make_gpadl(struct bench *t, int device, uint32_t id, uint32_t pages)
{
	uint32_t channel = (uint32_t)device + 1;

	post(t, raw_header(channel, id, pages, 0x1000));
	for (uint32_t sent = 26; sent < pages; sent += 28)
		post(t, raw_body(id, pages, 0x1000, sent));
	expect_device(t, VMBUS_SERVER_GPADL, device);
	assert_int_equal(t->a.gpadl.id, id);
	vmbus_server_gpadl_done(t->s, t->offer[device], id, true);
	expect_post(t, raw_created(channel, id, 0));
	expect_none(t);
}

void ask_open(struct bench *t, int device)
{
	uint32_t channel = (uint32_t)device + 1;
	struct vmbus_gpadl_view view;

	if (vmbus_server_gpadl(t->s, t->offer[device], 100 + (uint32_t)device, &view))
		make_gpadl(t, device, 100 + (uint32_t)device, 8);
	post(t, raw_open(channel, 0x77 + channel, 100 + (uint32_t)device, 1, 4));
	expect_device(t, VMBUS_SERVER_OPEN, device);
	expect_none(t);
}

void finish_open(struct bench *t, int device)
{
	uint32_t channel = (uint32_t)device + 1;

	vmbus_server_open_done(t->s, t->offer[device], 0);
	expect_post(t, raw_open_result(channel, 0x77 + channel, 0));
	expect_none(t);
}

void open_channel(struct bench *t, int device)
{
	ask_open(t, device);
	finish_open(t, device);
}

void ask_reserved(struct bench *t, int device, uint32_t vp, uint32_t sint)
{
	uint32_t channel = (uint32_t)device + 1;

	make_gpadl(t, device, 100 + (uint32_t)device, 8);
	post(t, raw_open_reserved(channel, vp, sint, 100 + (uint32_t)device, 4));
	expect_device(t, VMBUS_SERVER_OPEN, device);
	assert_int_equal(t->a.open.target_vp, 0xffffffff);
	expect_none(t);
}

void open_reserved(struct bench *t, int device)
{
	ask_reserved(t, device, 3, 7);
	vmbus_server_open_done(t->s, t->offer[device], 0);
	expect_unqueued(t, 3, 7, raw_open_result((uint32_t)device + 1, 0, 0));
	expect_none(t);
}
