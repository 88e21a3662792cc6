/* SPDX-License-Identifier: MIT */
/*
 * The server between a client and devices that do what the input says, raw bytes or messages that
 * make sense. After each step the invariants hold and what was posted is well-formed.
 */
#include "control.h"
#include "vmbus/server.h"

#define DEVICES 8
#define OWED    64

struct bench {
	struct vmbus_server *s;
	vmbus_offer_id offer[DEVICES];
	struct vmbus_server_action owed[OWED]; /* answers that the owner still has to give */
	unsigned int owed_count;
	bool prompt; /* devices answer at once */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct bench *b, const struct vmbus_server_action *a, bool ok)
{
	switch (a->type) {
	case VMBUS_SERVER_POST:
		check_posted(a->message.data, a->message.size, VMBUS_TO_CLIENT);
		break;
	case VMBUS_SERVER_CONNECT:
		vmbus_server_connect_done(b->s, ok);
		break;
	case VMBUS_SERVER_DISCONNECTED:
		break;
	case VMBUS_SERVER_OPEN:
		vmbus_server_open_done(b->s, a->offer, ok ? 0 : 0xc0000001);
		break;
	case VMBUS_SERVER_CLOSE:
		vmbus_server_close_done(b->s, a->offer);
		break;
	case VMBUS_SERVER_GPADL:
		vmbus_server_gpadl_done(b->s, a->offer, a->gpadl.id, ok);
		break;
	case VMBUS_SERVER_GPADL_TEARDOWN:
		vmbus_server_gpadl_released(b->s, a->offer, a->gpadl.id);
		break;
	case VMBUS_SERVER_MODIFY:
		vmbus_server_modify_done(b->s, a->offer, ok ? 0 : 1);
		break;
	case VMBUS_SERVER_MONITOR:
		vmbus_server_monitor_done(b->s, ok);
		break;
	case VMBUS_SERVER_HVSOCK:
		vmbus_server_hvsock_done(b->s, &a->hvsock.endpoint, &a->hvsock.service, ok);
		break;
	}
	if (vmbus_server_check(b->s))
		abort();
}

static void take_actions(struct bench *b)
{
	struct vmbus_server_action a;

	while (vmbus_server_next_action(b->s, &a)) {
		bool later = !b->prompt && a.type != VMBUS_SERVER_POST &&
			     a.type != VMBUS_SERVER_DISCONNECTED && b->owed_count < OWED;

		if (later)
			b->owed[b->owed_count++] = a;
		else
			answer(b, &a, true);
	}
}

static void answer_owed(struct bench *b, unsigned int which, bool ok)
{
	struct vmbus_server_action a;

	if (!b->owed_count)
		return;
	which %= b->owed_count;
	a = b->owed[which];
	b->owed_count--;
	memmove(&b->owed[which], &b->owed[which + 1], (b->owed_count - which) * sizeof(b->owed[0]));
	answer(b, &a, ok);
}

static void receive(struct bench *b, uint32_t port, const struct vmbus_message *m, size_t size)
{
	uint8_t bytes[VMBUS_MAX_MESSAGE];

	vmbus_message_encode(m, bytes, size);
	vmbus_server_receive(b->s, port, bytes, size);
}

static void contact(struct bench *b, struct input *in)
{
	struct vmbus_message m = {.type = VMBUS_MSG_INITIATE_CONTACT};
	uint8_t features;

	m.initiate_contact.version = vmbus_versions[draw(in) % vmbus_version_count];
	features = draw(in);
	m.initiate_contact.page_or_target = vmbus_contact_target(2, 0, features);
	if (features & 0x80) {
		m.initiate_contact.monitor_parent_to_child = 0x1000;
		m.initiate_contact.monitor_child_to_parent = 0x2000;
	}
	receive(b, 4, &m, 56);
}

/* HEADER and BODYs of one range, up to 255 pages; some are cut off. */
static void gpadl(struct bench *b, struct input *in)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_HEADER};
	uint32_t id = draw(in) & 7, pages, sent;
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};

	m.gpadl_header.gpadl = id;
	m.gpadl_header.channel_id = draw(in) & 15;
	pages = draw(in);
	m.gpadl_header.length = (uint16_t)(8 + 8 * pages);
	m.gpadl_header.range_count = 1;
	vmbus_message_encode(&m, bytes, 20);
	vmbus_put32(bytes + 20, pages * 4096);
	sent = pages < 26 ? pages : 26;
	vmbus_server_receive(b->s, 1, bytes, 28 + 8 * sent);
	memset(&m, 0, sizeof(m));
	m.type = VMBUS_MSG_GPADL_BODY;
	m.gpadl_body.gpadl = id;
	for (; sent < pages && sent % 7 != 3; sent += 28) {
		memset(bytes, 0, sizeof(bytes));
		vmbus_message_encode(&m, bytes, 16);
		vmbus_server_receive(b->s, 1, bytes, 240);
	}
}

static void open_channel(struct bench *b, struct input *in, bool reserved)
{
	struct vmbus_message m = {.type = VMBUS_MSG_OPEN_CHANNEL};

	if (reserved) {
		m.type = VMBUS_MSG_OPEN_RESERVED_CHANNEL;
		m.open_reserved_channel.channel_id = draw(in) & 15;
		m.open_reserved_channel.ring_gpadl = draw(in) & 7;
		m.open_reserved_channel.downstream_page = draw(in);
		m.open_reserved_channel.target_sint = 5;
		receive(b, 1, &m, 28);
		return;
	}
	m.open_channel.channel_id = draw(in) & 15;
	m.open_channel.ring_gpadl = draw(in) & 7;
	m.open_channel.downstream_page = draw(in);
	m.open_channel.connection_id = draw(in) * 7u;
	m.open_channel.event_flag = draw(in);
	receive(b, 1, &m, 156);
}

/* Messages of a channel id and perhaps one word more. */
static void simple(struct bench *b, struct input *in, enum vmbus_message_type type)
{
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};

	vmbus_put32(bytes, type);
	vmbus_put32(bytes + 8, draw(in) & 15);
	vmbus_put32(bytes + 12, draw(in) & 7);
	vmbus_server_receive(b->s, 1, bytes, 40);
}

static void offer(struct bench *b, struct input *in)
{
	struct vmbus_offer o = {0};
	unsigned int n = draw(in) % DEVICES;
	uint8_t how = draw(in);
	vmbus_offer_id id;

	o.instance_id.b[0] = (uint8_t)n;
	o.monitored = how & 1;
	o.subchannel = how >> 1 & 1;
	o.fixed_channel_id = how & 4 ? n + 1 : 0;
	if (vmbus_server_offer(b->s, &o, NULL, &id) == VMBUS_OK)
		b->offer[n] = id;
}

static void raw_message(struct bench *b, struct input *in)
{
	static const uint32_t ports[] = {1, 4, 2, 0x800074};
	uint32_t port = ports[draw(in) & 3];
	size_t size;
	uint8_t *bytes = draw_message(in, &size);

	vmbus_server_receive(b->s, port, bytes, size);
	free(bytes);
}

static void step(struct bench *b, struct input *in)
{
	static const enum vmbus_message_type types[] = {VMBUS_MSG_CLOSE_CHANNEL,
							VMBUS_MSG_GPADL_TEARDOWN,
							VMBUS_MSG_RELID_RELEASED,
							VMBUS_MSG_MODIFY_CHANNEL,
							VMBUS_MSG_UNLOAD,
							VMBUS_MSG_CLOSE_RESERVED_CHANNEL,
							VMBUS_MSG_PAUSE,
							VMBUS_MSG_RESUME,
							VMBUS_MSG_TL_CONNECT_REQUEST,
							VMBUS_MSG_MODIFY_CONNECTION,
							VMBUS_MSG_REQUEST_OFFERS};
	uint8_t op = draw(in);

	switch (op & 15) {
	case 0:
		raw_message(b, in);
		break;
	case 1:
		contact(b, in);
		break;
	case 2:
		gpadl(b, in);
		break;
	case 3:
		open_channel(b, in, op & 16);
		break;
	case 4:
		offer(b, in);
		break;
	case 5:
		vmbus_server_revoke(b->s, b->offer[draw(in) % DEVICES]);
		break;
	case 6:
		vmbus_server_reset(b->s);
		break;
	case 7:
		b->prompt = op & 16;
		break;
	case 8:
	case 9:
	case 10:
		answer_owed(b, draw(in), op & 16);
		break;
	default:
		simple(b, in, types[op % (sizeof(types) / sizeof(types[0]))]);
		break;
	}
	if (vmbus_server_check(b->s))
		abort();
	if (!(op & 0x80)) /* now and then the owner is late */
		take_actions(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	size_t live = 0;
	struct vmbus_server_config config = {
		.features = 0xff,
		.vp_count = 4,
		.limits = {.channels = 12, .gpadls = 24, .gpadl_pages = 2000, .hvsock = 2},
		.allocator = {fuzz_alloc, fuzz_free, &live}};
	struct bench *b = calloc(1, sizeof(*b));
	uint8_t how = draw(&in);

	config.trusted = how & 1;
	config.monitor_child_to_parent = how & 2 ? 0x3000 : 0;
	if (!b || !(b->s = vmbus_server_create(&config)))
		abort();
	b->prompt = how & 4;
	for (int i = 0; i < FUZZ_STEPS && in.at < in.end; i++)
		step(b, &in);
	take_actions(b);
	while (b->owed_count)
		answer_owed(b, 0, true), take_actions(b);
	/* All devices have answered: nothing is left to wait for. */
	if (vmbus_server_state(b->s) == VMBUS_SERVER_STATE_DISCONNECTING ||
	    vmbus_server_state(b->s) == VMBUS_SERVER_STATE_CONNECTING)
		abort();
	vmbus_server_destroy(b->s);
	free(b);
	if (live)
		abort();
	return 0;
}
