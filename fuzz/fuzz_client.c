/* SPDX-License-Identifier: MIT */
/*
 * The client between a host and a driver that do what the input says. After each step the
 * invariants hold, what was posted is well-formed, and no channel id is released that was not
 * rescinded, or twice.
 */
#include "control.h"
#include "vmbus/client.h"

#define CHANNELS 16
#define GPADLS   16

struct bench {
	struct vmbus_client *c;
	vmbus_channel_id channel[CHANNELS]; /* by the low bits of the relid */
	uint32_t open_id[CHANNELS];
	uint32_t gpadl[GPADLS];
	unsigned int next_gpadl;
	bool rescinded[VMBUS_MAX_CHANNEL + 1]; /* and not released */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void posted(struct bench *b, const uint8_t *bytes, size_t size)
{
	struct vmbus_message m;

	check_posted(bytes, size, VMBUS_TO_SERVER);
	vmbus_message_decode(&m, bytes, size);
	if (m.type == VMBUS_MSG_OPEN_CHANNEL)
		b->open_id[m.open_channel.channel_id % CHANNELS] = m.open_channel.open_id;
	if (m.type != VMBUS_MSG_RELID_RELEASED)
		return;
	/* An offer beyond the limit goes back without ever having been seen. */
	if (!b->rescinded[m.relid_released.channel_id] &&
	    !vmbus_client_statistics(b->c)->released_offers)
		abort();
	b->rescinded[m.relid_released.channel_id] = false;
}

static void take_actions(struct bench *b)
{
	struct vmbus_client_action a;

	while (vmbus_client_next_action(b->c, &a)) {
		if (a.type == VMBUS_CLIENT_POST)
			posted(b, a.message.data, a.message.size);
		if (a.type == VMBUS_CLIENT_OFFER) {
			b->channel[a.offer.relid % CHANNELS] = a.channel;
			vmbus_client_set_owner(b->c, a.channel, (void *)(uintptr_t)a.offer.relid);
		}
		if (a.type == VMBUS_CLIENT_RESCIND)
			b->rescinded[(uintptr_t)a.owner] = true;
		if (a.type == VMBUS_CLIENT_CONNECTED)
			memset(b->rescinded, 0, sizeof(b->rescinded));
	}
}

static void receive(struct bench *b, const struct vmbus_message *m, size_t size)
{
	uint8_t bytes[VMBUS_MAX_MESSAGE];

	vmbus_message_encode(m, bytes, size);
	vmbus_client_receive(b->c, bytes, size);
}

static void host(struct bench *b, struct input *in)
{
	uint8_t which = draw(in), x = draw(in), y = draw(in);
	struct vmbus_message m = {0};

	switch (which & 7) {
	case 0:
		m.type = VMBUS_MSG_VERSION_RESPONSE;
		m.version_response.supported = !(x & 1);
		m.version_response.features = y;
		m.version_response.monitor_child_to_parent = 0x1000;
		receive(b, &m, 40);
		break;
	case 1:
		m.type = VMBUS_MSG_OFFER_CHANNEL;
		m.offer_channel.channel_id = x % 20;
		m.offer_channel.monitor_id = y;
		m.offer_channel.monitor_allocated = 1;
		receive(b, &m, 196);
		break;
	case 2:
		m.type = VMBUS_MSG_OPEN_CHANNEL_RESULT;
		m.open_channel_result.channel_id = x % 20;
		m.open_channel_result.open_id = b->open_id[x % 20 % CHANNELS];
		m.open_channel_result.status = y & 1;
		receive(b, &m, 20);
		break;
	case 3:
		m.type = VMBUS_MSG_GPADL_CREATED;
		m.gpadl_created.channel_id = x % 20;
		m.gpadl_created.gpadl = b->gpadl[y % GPADLS];
		m.gpadl_created.status = y >> 7;
		receive(b, &m, 20);
		break;
	case 4:
		m.type = VMBUS_MSG_GPADL_TORNDOWN;
		m.gpadl_torndown.gpadl = b->gpadl[y % GPADLS];
		receive(b, &m, 12);
		break;
	case 5:
		m.type = VMBUS_MSG_RESCIND_CHANNEL_OFFER;
		m.rescind_channel_offer.channel_id = x % 20;
		receive(b, &m, 12);
		break;
	case 6:
		m.type = VMBUS_MSG_MODIFY_CHANNEL_RESPONSE;
		m.modify_channel_response.channel_id = x % 20;
		receive(b, &m, 16);
		break;
	case 7:
		m.type = x & 1 ? VMBUS_MSG_ALL_OFFERS_DELIVERED : VMBUS_MSG_UNLOAD_COMPLETE;
		receive(b, &m, 8);
		break;
	}
}

static void create_gpadl(struct bench *b, vmbus_channel_id ch, uint8_t pages)
{
	uint64_t words[257] = {0};
	uint32_t id;

	words[0] = pages * 4096u;
	if (vmbus_client_gpadl_create(b->c, ch, words, pages + 1u, 1, pages & 1, &id) == VMBUS_OK)
		b->gpadl[b->next_gpadl++ % GPADLS] = id;
}

static void driver(struct bench *b, struct input *in)
{
	struct vmbus_client_open o = {.downstream_page = 2};
	uint8_t which = draw(in), y = draw(in);
	vmbus_channel_id ch = b->channel[draw(in) % CHANNELS];

	switch (which % 10) {
	case 0:
		vmbus_client_connect(b->c);
		break;
	case 1:
		o.ring_gpadl = b->gpadl[y % GPADLS];
		vmbus_client_open(b->c, ch, &o);
		break;
	case 2:
		vmbus_client_close(b->c, ch);
		break;
	case 3:
		vmbus_client_modify(b->c, ch, y);
		break;
	case 4:
	case 5:
		create_gpadl(b, ch, y);
		break;
	case 6:
		vmbus_client_gpadl_teardown(b->c, ch, b->gpadl[y % GPADLS]);
		break;
	case 7:
		vmbus_client_release(b->c, ch);
		break;
	case 8:
		vmbus_client_unload(b->c);
		break;
	case 9:
		if (y & 1)
			vmbus_client_post_failed(b->c, y & 2 ? 18 : 19);
		else
			vmbus_client_lost(b->c);
		break;
	}
}

static void step(struct bench *b, struct input *in)
{
	uint8_t op = draw(in);

	if ((op & 7) < 3) {
		host(b, in);
	} else if ((op & 7) < 7) {
		driver(b, in);
	} else {
		size_t size;
		uint8_t *bytes = draw_message(in, &size);

		vmbus_client_receive(b->c, bytes, size);
		free(bytes);
	}
	if (vmbus_client_check(b->c))
		abort();
	if (!(op & 0x80))
		take_actions(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	size_t live = 0;
	struct vmbus_client_config config = {.limits = {.channels = 12, .gpadls = 12},
					     .allocator = {fuzz_alloc, fuzz_free, &live}};
	struct bench *b = calloc(1, sizeof(*b));

	config.features = draw(&in);
	config.max_version = vmbus_versions[draw(&in) % vmbus_version_count];
	if (!b || !(b->c = vmbus_client_create(&config)))
		abort();
	for (int i = 0; i < FUZZ_STEPS && in.at < in.end; i++)
		step(b, &in);
	take_actions(b);
	vmbus_client_lost(b->c);
	if (vmbus_client_check(b->c))
		abort();
	take_actions(b);
	vmbus_client_destroy(b->c);
	free(b);
	if (live)
		abort();
	return 0;
}
