/* SPDX-License-Identifier: MIT */
/*
 * The server between a client and devices that do what the input says. The client's messages make
 * sense and name what is live, or differ from such a one in a single field, or are raw bytes.
 * Devices answer late, badly, or (an option) without having been asked. After each call the
 * invariants hold, and what is posted and asked fits what was said before.
 */
#include "device.h"
#include "vmbus/server_internal.h"
#include "witness.h"

#define GPADLS 32u

struct bench {
	struct fuzz_heap heap;
	struct vmbus_server_config config;
	struct devices d;
	struct witness w;
	struct fuzz_patch patch;
	struct {
		uint32_t channel, id, pages, sent;
	} gpadl[GPADLS]; /* the latest ones announced */
	unsigned int gpadls;
	uint32_t open_ids;
	uint32_t version;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the client's words ---- */

static void post_bytes(struct bench *b, uint32_t port, const uint8_t *bytes, size_t size)
{
	/* Memory of just that size, so that reading past the end is seen. */
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, bytes, size);
	trace_message("server gets", copy, size);
	witness_client(&b->w, copy, size);
	vmbus_server_receive(b->d.s, port, copy, size);
	free(copy);
	devices_check(&b->d);
}

static void post_patched(struct bench *b, uint32_t port, uint8_t *bytes, size_t size)
{
	post_bytes(b, port, bytes, patch_message(&b->patch, bytes, size));
}

static void post(struct bench *b, const struct vmbus_message *m, size_t size)
{
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};

	vmbus_message_encode(m, bytes, size);
	post_patched(b, VMBUS_PORT_MESSAGE, bytes, size);
}

/* A channel that the client sees, or sometimes any id at all. */
static uint32_t channel(const struct bench *b, uint8_t which)
{
	uint32_t live[DEVICES], count = 0;

	if (which & 0x80)
		return which & 0x40 ? VMBUS_MAX_CHANNEL - 8 + (which & 15) : which & 15;
	for (unsigned int i = 0; i < DEVICES; i++) {
		live[count] = vmbus_server_channel_id(b->d.s, b->d.device[i].offer);
		count += live[count] != 0;
	}
	return count ? live[which % count] : which;
}

/* The index of a GPADL of that channel, the latest first; `which` over 0x40 takes any. */
static unsigned int gpadl_of(const struct bench *b, uint32_t channel, uint8_t which)
{
	if (which >= 0x40)
		return which % GPADLS;
	for (unsigned int i = 0; i < GPADLS; i++) {
		unsigned int n = (b->gpadls + GPADLS - 1 - i) % GPADLS;

		if (b->gpadl[n].channel == channel && which-- == 0)
			return n;
	}
	return which % GPADLS;
}

static void contact(struct bench *b, const struct step *step)
{
	static const uint32_t ports[] = {4, 1, 4, 0x800074};
	struct vmbus_message m = {.type = VMBUS_MSG_INITIATE_CONTACT};
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};
	uint32_t version = vmbus_versions[step->a % vmbus_version_count];

	if (step->c & 8)
		version = step->d;
	m.initiate_contact.version = version;
	m.initiate_contact.target_vp = step->c >> 4 & 7;
	m.initiate_contact.page_or_target = vmbus_contact_target(2, 0, step->b);
	if (version < VMBUS_V2_4)
		m.initiate_contact.page_or_target = 0x4000;
	if (step->c & 4) {
		m.initiate_contact.monitor_parent_to_child = 0x1000;
		m.initiate_contact.monitor_child_to_parent = 0x2000;
	}
	vmbus_message_encode(&m, bytes, 56);
	post_patched(b, ports[step->c & 3], bytes, step->c & 0x80 ? 40 : 56);
}

static void header(struct bench *b, const struct step *step, uint32_t pages)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_HEADER};
	uint32_t sent = pages < 26 ? pages : 26, n = b->gpadls++ % GPADLS;
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};

	b->gpadl[n].channel = channel(b, step->a);
	b->gpadl[n].id = 0x100 + b->gpadls;
	/* One that was there before, perhaps on another channel, perhaps not whole yet. */
	if (step->b & 0x80)
		b->gpadl[n].id = b->gpadl[(n + GPADLS - 1 - (step->b & 7u)) % GPADLS].id;
	b->gpadl[n].pages = pages;
	b->gpadl[n].sent = sent;
	m.gpadl_header.channel_id = b->gpadl[n].channel;
	m.gpadl_header.gpadl = b->gpadl[n].id;
	m.gpadl_header.length = (uint16_t)(8 + 8 * pages);
	m.gpadl_header.range_count = 1;
	vmbus_message_encode(&m, bytes, 20);
	vmbus_put32(bytes + 20, pages * VMBUS_PAGE_SIZE);
	vmbus_put32(bytes + 24, step->d & 0x10 ? step->d >> 16 : 0);
	for (uint32_t i = 0; i < sent; i++)
		vmbus_put64(bytes + 28 + 8 * i, 0x1000 + i);
	/* The same words as so many ranges of a page each. */
	if (step->d & 0x20 && pages > 1 && pages <= 13) {
		vmbus_put16(bytes + 16, (uint16_t)(16 * pages));
		vmbus_put16(bytes + 18, (uint16_t)pages);
		for (uint32_t i = 0; i < 2 * pages; i++)
			vmbus_put64(bytes + 20 + 8 * i, i & 1 ? 0x1000 + i : VMBUS_PAGE_SIZE);
		post_patched(b, VMBUS_PORT_MESSAGE, bytes, 20 + 16 * pages);
		return;
	}
	post_patched(b, VMBUS_PORT_MESSAGE, bytes, step->d & 0x40 ? 240 : 28 + 8 * sent);
}

static void body(struct bench *b, unsigned int n, bool pad)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_BODY};
	uint32_t left = b->gpadl[n].pages - b->gpadl[n].sent, words = left < 28 ? left : 28;
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};

	m.gpadl_body.gpadl = b->gpadl[n].id;
	vmbus_message_encode(&m, bytes, 16);
	b->gpadl[n].sent += words;
	post_patched(b, VMBUS_PORT_MESSAGE, bytes, pad ? 240 : 16 + 8 * words);
}

static void announce(struct bench *b, const struct step *step, uint32_t pages)
{
	unsigned int n = b->gpadls % GPADLS;

	header(b, step, pages);
	/* Some stop half way; the rest may follow by itself. */
	while (b->gpadl[n].sent < pages && !(step->d & 0x80))
		body(b, n, step->d & 0x40);
}

static void open_channel(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_OPEN_CHANNEL};
	uint32_t relid = channel(b, step->a), features = vmbus_server_features(b->d.s);
	unsigned int ring = gpadl_of(b, relid, step->b);

	m.open_channel.channel_id = relid;
	m.open_channel.open_id = ++b->open_ids;
	m.open_channel.ring_gpadl = b->gpadl[ring].id;
	m.open_channel.downstream_page = step->c & 0x80 ? step->c & 0x7f : b->gpadl[ring].pages / 2;
	m.open_channel.target_vp = step->d & 8 ? VMBUS_VP_NONE : step->d & 3;
	m.open_channel.connection_id = step->d & 16 ? step->d >> 8 : 0x3000 + relid;
	m.open_channel.event_flag = (uint16_t)(step->d & 32 ? step->d >> 8 : relid);
	m.open_channel.open_flags = step->d >> 2 & 1;
	post(b, &m, features & 3 || step->d & 64 ? 156 : 148);
}

static void open_reserved(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_OPEN_RESERVED_CHANNEL};
	uint32_t relid = channel(b, step->a);
	unsigned int ring = gpadl_of(b, relid, step->b);

	m.open_reserved_channel.channel_id = relid;
	m.open_reserved_channel.ring_gpadl = b->gpadl[ring].id;
	m.open_reserved_channel.downstream_page =
		step->c & 0x80 ? step->c & 0x7f : b->gpadl[ring].pages / 2;
	m.open_reserved_channel.target_vp = step->d & 7;
	m.open_reserved_channel.target_sint = step->d >> 3 & 31;
	post(b, &m, 28);
}

static void teardown(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_TEARDOWN};
	uint32_t relid = channel(b, step->a);
	unsigned int n = gpadl_of(b, relid, step->b);

	m.gpadl_teardown.channel_id = step->c & 0x80 ? relid : b->gpadl[n].channel;
	m.gpadl_teardown.gpadl = b->gpadl[n].id;
	post(b, &m, 16);
}

/* Messages of a channel's id and at most two words. */
static void simple(struct bench *b, enum vmbus_message_type type, const struct step *step)
{
	const struct vmbus_message_info *info = vmbus_message_info(type);
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};

	vmbus_put32(bytes, type);
	if (info->sizes[0] > 8)
		vmbus_put32(bytes + 8, channel(b, step->a));
	if (info->sizes[0] > 12)
		vmbus_put32(bytes + 12, step->b & 7);
	if (info->sizes[0] > 16)
		vmbus_put32(bytes + 16, step->c & 31);
	post_patched(b, VMBUS_PORT_MESSAGE, bytes, info->sizes[0]);
}

static void modify_connection(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_MODIFY_CONNECTION};

	if (step->a & 1) {
		m.modify_connection.monitor_parent_to_child = 0x5000;
		m.modify_connection.monitor_child_to_parent = 0x6000;
	}
	post(b, &m, 24);
}

static void socket_request(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_TL_CONNECT_REQUEST};

	m.tl_connect_request.endpoint_id.b[0] = step->a & 3;
	m.tl_connect_request.service_id.b[0] = step->b & 3;
	post(b, &m, step->c & 1 ? 40 : 56);
}

/* ---- a whole life at once, so that what comes later is found sooner ---- */

static void come_up(struct bench *b, const struct step *step)
{
	static const struct step nothing;
	bool prompt = b->d.prompt;

	b->d.prompt = true;
	contact(b, step);
	devices_take(&b->d, UINT32_MAX);
	simple(b, VMBUS_MSG_REQUEST_OFFERS, &nothing);
	devices_take(&b->d, UINT32_MAX);
	b->d.prompt = prompt;
}

static void bring_up(struct bench *b, const struct step *step)
{
	struct step open = {.a = step->a, .d = step->d};
	bool prompt = b->d.prompt;

	b->d.prompt = true;
	announce(b, &(struct step){.a = step->a}, 4 + step->c % 64u);
	devices_take(&b->d, UINT32_MAX);
	b->d.prompt = prompt;
	if (step->b & 0x80)
		open_reserved(b, &open);
	else
		open_channel(b, &open);
}

/* ---- steps ---- */

enum operation {
	CONTACT,
	ANNOUNCE,
	BODY,
	TEARDOWN,
	OPEN,
	OPEN_RESERVED,
	MESSAGE, /* one of `messages` */
	MODIFY_CONNECTION,
	SOCKET,
	COME_UP,
	BRING_UP,
	OFFER,
	REVOKE,
	RESET,
	ANSWER,
	ANSWER_WELL,
	PROMPT,
	TAKE,
	PATCH,
	UNASKED,
	NO_MEMORY,
	QUERY,
	SAVE,
	OPERATIONS,
};

static const enum vmbus_message_type messages[] = {
	VMBUS_MSG_REQUEST_OFFERS,
	VMBUS_MSG_CLOSE_CHANNEL,
	VMBUS_MSG_RELID_RELEASED,
	VMBUS_MSG_UNLOAD,
	VMBUS_MSG_CLOSE_RESERVED_CHANNEL,
	VMBUS_MSG_MODIFY_CHANNEL,
	VMBUS_MSG_PAUSE,
	VMBUS_MSG_RESUME,
};

static void run_step(struct bench *b, const struct step *step, bool lawless)
{
	static const uint32_t ports[] = {1, 4, 2, 0x800074};

	if (step->op == STEP_BYTES) {
		post_bytes(b, ports[step->b & 3], step->bytes, step->a);
		return;
	}
	switch ((enum operation)((step->op & 0x7f) % OPERATIONS)) {
	case CONTACT:
		contact(b, step);
		break;
	case ANNOUNCE:
		announce(b, step, step->d & 0x100 ? 8190 : step->c);
		break;
	case BODY:
		body(b, gpadl_of(b, channel(b, step->a), step->b), step->c & 1);
		break;
	case TEARDOWN:
		teardown(b, step);
		break;
	case OPEN:
		open_channel(b, step);
		break;
	case OPEN_RESERVED:
		open_reserved(b, step);
		break;
	case MESSAGE:
		simple(b, messages[step->d % (sizeof(messages) / sizeof(messages[0]))], step);
		break;
	case MODIFY_CONNECTION:
		modify_connection(b, step);
		break;
	case SOCKET:
		socket_request(b, step);
		break;
	case COME_UP:
		come_up(b, step);
		break;
	case BRING_UP:
		bring_up(b, step);
		break;
	case OFFER:
		devices_offer(&b->d, step);
		break;
	case REVOKE:
		devices_revoke(&b->d, step->a);
		break;
	case RESET:
		devices_reset(&b->d);
		witness_reset(&b->w);
		break;
	case ANSWER:
		devices_answer(&b->d, step->a, step->b & 1, step->d);
		break;
	case ANSWER_WELL:
		devices_answer(&b->d, step->a, true, 0);
		break;
	case PROMPT:
		b->d.prompt = step->a & 1;
		break;
	case TAKE:
		devices_take(&b->d, step->a & 3);
		break;
	case PATCH:
		b->patch = (struct fuzz_patch){true, *step};
		break;
	case UNASKED:
		if (lawless)
			devices_answer_unasked(&b->d, step);
		break;
	case NO_MEMORY:
		b->heap.fail_in = step->a & 3;
		break;
	case QUERY:
		devices_query(&b->d);
		break;
	case SAVE:
		b->heap.fail_in = 0;
		devices_restore(&b->d, &b->config, step);
		break;
	case OPERATIONS:
		break;
	}
}

/* ---- a run ---- */

static void posted(void *ctx, const struct vmbus_server_action *a)
{
	struct bench *b = ctx;

	if (!b->d.lawless)
		witness_server(&b->w, a->message.data, a->message.size, a->message.unqueued);
}

static void disconnected(void *ctx)
{
	struct bench *b = ctx;

	witness_disconnected(&b->w);
}

static void begin(struct bench *b, const uint8_t *how)
{
	struct vmbus_server_config config = {
		.max_version = how[0] ? vmbus_versions[how[0] % vmbus_version_count] : 0,
		.features = how[1] ^ 0xff,
		.vp_count = 1 + (how[2] & 7u) % 5,
		.vtl = how[2] >> 7 ? 2 : 0,
		.trusted = how[3] & 1,
		.redirect_sint = how[3] & 2 ? 5 : 0,
		.monitor_child_to_parent = how[3] & 4 ? 0x3000 : 0,
		.limits = {.channels = 12, .gpadls = 24, .gpadl_pages = 9000, .hvsock = 2},
		.allocator = {fuzz_alloc, fuzz_free, &b->heap}};

	if (how[4] & 1)
		config.limits.channels = 3;
	if (how[4] & 2)
		config.limits.gpadls = 3;
	if (how[4] & 4)
		config.limits.gpadl_pages = 100;
	b->config = config;
	b->d.s = vmbus_server_create(&config);
	if (!b->d.s)
		abort();
	b->d.vps = config.vp_count;
	b->d.prompt = how[3] & 8;
	b->d.posted = posted;
	b->d.disconnected = disconnected;
	b->d.ctx = b;
	for (uint8_t n = 0; n < (how[5] & 7); n++)
		devices_offer(&b->d, &(struct step){.a = n, .b = how[6]});
}

/* Once all devices have answered nothing is left to wait for; after a reset nothing is left. */
static void end(struct bench *b, bool ok)
{
	struct vmbus_server *s = b->d.s;

	b->heap.fail_in = 0;
	devices_restored(&b->d);
	devices_settle(&b->d, ok);
	must(s->state != VMBUS_SERVER_STATE_DISCONNECTING &&
		     s->state != VMBUS_SERVER_STATE_CONNECTING,
	     "it waits, and for nobody");
	devices_reset(&b->d);
	witness_reset(&b->w);
	devices_settle(&b->d, ok);
	must(s->state == VMBUS_SERVER_STATE_DISCONNECTED && !s->gpadls.count && !s->draining &&
		     !s->tearing,
	     "something outlives a reset");
	for (uint32_t i = 0; i < s->channel_count; i++)
		must(s->sorted[i]->state == CHANNEL_RELEASED, "a channel outlives a reset");
	for (unsigned int n = 0; n < DEVICES; n++)
		devices_revoke(&b->d, n);
	must(!s->channel_count, "a channel outlives its device");
	vmbus_server_destroy(s);
	must(!b->heap.live, "memory outlives the server");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct steps in;
	struct step step;

	if (!b)
		abort();
	steps_begin(&in, data, size);
	begin(b, in.config);
	while (steps_next(&in, &step)) {
		run_step(b, &step, in.config[3] & 0x10);
		if (step.op == STEP_BYTES || !(step.op & 0x80)) /* now and then it is late */
			devices_take(&b->d, UINT32_MAX);
	}
	end(b, !(in.config[3] & 0x20));
	free(b);
	return 0;
}
