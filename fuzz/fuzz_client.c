/* SPDX-License-Identifier: MIT */
/*
 * The client between drivers and a host that do what the input says. The host's messages make sense
 * and name what is live, or differ from such a one in a single field, or are raw bytes. After each
 * call the invariants hold, what was posted is well-formed, every request ends once, and no channel
 * id is released that was not rescinded, or twice.
 */
#include "driver.h"
#include "vmbus/client_internal.h"

#define ANNOUNCED 32u

struct bench {
	struct fuzz_heap heap;
	struct drivers d;
	struct fuzz_patch patch;
	uint32_t open_id[VMBUS_MAX_CHANNEL + 1];
	struct {
		uint32_t channel, id;
	} gpadl[ANNOUNCED]; /* the latest that the client announced */
	unsigned int gpadls;
	bool rescinded[VMBUS_MAX_CHANNEL + 1]; /* and not released */
	uint64_t refused_offers;
	bool late;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- what the client posts ---- */

static void released(struct bench *b, uint32_t relid)
{
	must(relid && relid <= VMBUS_MAX_CHANNEL, "the release of an impossible id");
	/* An offer that cannot be taken goes back without ever having been seen. */
	if (!b->rescinded[relid])
		must(++b->refused_offers <= vmbus_client_statistics(b->d.c)->released_offers,
		     "an id is released that was not rescinded");
	b->rescinded[relid] = false;
}

static void posted(void *ctx, const struct vmbus_client_action *a)
{
	struct bench *b = ctx;
	struct vmbus_message m;

	vmbus_message_decode(&m, a->message.data, a->message.size);
	switch (m.type) {
	case VMBUS_MSG_OPEN_CHANNEL:
		b->open_id[m.open_channel.channel_id] = m.open_channel.open_id;
		break;
	case VMBUS_MSG_GPADL_HEADER:
		b->gpadl[b->gpadls % ANNOUNCED].channel = m.gpadl_header.channel_id;
		b->gpadl[b->gpadls++ % ANNOUNCED].id = m.gpadl_header.gpadl;
		break;
	case VMBUS_MSG_RELID_RELEASED:
		released(b, m.relid_released.channel_id);
		break;
	case VMBUS_MSG_INITIATE_CONTACT:
		memset(b->rescinded, 0, sizeof(b->rescinded));
		break;
	default:
		break;
	}
}

/* ---- the host's words ---- */

static void receive_bytes(struct bench *b, const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	struct vmbus_message m = {0};
	bool was[2] = {false, false};
	uint32_t relid = 0;

	if (!copy)
		abort();
	memcpy(copy, bytes, size);
	if (vmbus_message_check(bytes, size, VMBUS_TO_CLIENT) == VMBUS_CHECK_OK)
		vmbus_message_decode(&m, bytes, size);
	if (m.type == VMBUS_MSG_RESCIND_CHANNEL_OFFER) {
		relid = m.rescind_channel_offer.channel_id;
		if (relid && relid <= VMBUS_MAX_CHANNEL && b->d.c->by_relid[relid])
			was[0] = b->d.c->by_relid[relid]->state != CLIENT_RESCINDED;
	}
	trace_message("client gets", copy, size);
	vmbus_client_receive(b->d.c, copy, size);
	free(copy);
	if (was[0] && b->d.c->by_relid[relid])
		was[1] = b->d.c->by_relid[relid]->state == CLIENT_RESCINDED;
	if (was[1])
		b->rescinded[relid] = true;
}

static void receive(struct bench *b, const struct vmbus_message *m, size_t size)
{
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};

	vmbus_message_encode(m, bytes, size);
	receive_bytes(b, bytes, patch_message(&b->patch, bytes, size));
}

/* A channel that the drivers see, or sometimes any id at all. */
static uint32_t channel(struct bench *b, uint8_t which)
{
	struct driver_channel *ch = drivers_channel(&b->d, which);

	if (which & 0x80)
		return which & 0x40 ? VMBUS_MAX_CHANNEL - 8 + (which & 15) : which & 31;
	return ch ? ch->relid : which;
}

static unsigned int announced(const struct bench *b, uint8_t which)
{
	return (b->gpadls + ANNOUNCED - 1 - which % ANNOUNCED) % ANNOUNCED;
}

static void version_response(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_VERSION_RESPONSE};
	static const uint8_t sizes[] = {16, 20, 40};

	m.version_response.supported = !(step->a & 1);
	m.version_response.state = step->a & 2 ? step->b : 0;
	m.version_response.selected = step->d;
	m.version_response.features = step->b;
	m.version_response.monitor_child_to_parent = step->a & 4 ? 0x1000 : 0;
	receive(b, &m, sizes[step->c % 3]);
}

static void offer(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_OFFER_CHANNEL};

	m.offer_channel.channel_id = step->a < 0xf0 ? 1 + step->a % 24u : 2040 + step->a % 16u;
	m.offer_channel.instance_id.b[0] = step->a;
	m.offer_channel.monitor_id = step->b;
	m.offer_channel.monitor_allocated = step->c & 1;
	m.offer_channel.subchannel = step->c >> 1 & 3;
	m.offer_channel.dedicated = step->c >> 3 & 1;
	m.offer_channel.connection_id = step->d;
	receive(b, &m, 196);
}

static void open_result(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_OPEN_CHANNEL_RESULT};
	uint32_t relid = channel(b, step->a);

	m.open_channel_result.channel_id = relid;
	m.open_channel_result.open_id = b->open_id[relid & VMBUS_MAX_CHANNEL] + (step->b >> 6);
	m.open_channel_result.status = step->c & 1 ? step->d : 0;
	receive(b, &m, 20);
}

static void created(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_CREATED};
	unsigned int n = announced(b, step->a);

	m.gpadl_created.channel_id = step->b & 0x80 ? channel(b, step->b) : b->gpadl[n].channel;
	m.gpadl_created.gpadl = b->gpadl[n].id;
	m.gpadl_created.status = step->c & 1 ? step->d : 0;
	receive(b, &m, 20);
}

static void torn_down(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_GPADL_TORNDOWN};

	m.gpadl_torndown.gpadl = b->gpadl[announced(b, step->a)].id;
	receive(b, &m, 12);
}

static void modify_response(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_MODIFY_CHANNEL_RESPONSE};

	m.modify_channel_response.channel_id = channel(b, step->a);
	m.modify_channel_response.status = step->c & 1 ? step->d : 0;
	receive(b, &m, 16);
}

static void pages_moved(struct bench *b, const struct step *step)
{
	struct vmbus_message m = {.type = VMBUS_MSG_MODIFY_CONNECTION_RESPONSE};

	m.modify_connection_response.state = step->a & 1 ? step->b : 0;
	receive(b, &m, 9);
}

/* Any of the host's messages, zero but for its channel's id. */
static void simple(struct bench *b, uint32_t type, const struct step *step)
{
	const struct vmbus_message_info *info = vmbus_message_info(type);
	uint8_t bytes[VMBUS_MAX_MESSAGE] = {0};

	if (!info || info->direction != VMBUS_TO_CLIENT)
		return;
	vmbus_put32(bytes, type);
	if (info->sizes[0] >= 12)
		vmbus_put32(bytes + 8, channel(b, step->a));
	receive_bytes(b, bytes, patch_message(&b->patch, bytes, info->sizes[0]));
}

/* ---- a whole life at once, so that what comes later is found sooner ---- */

static void come_up(struct bench *b, const struct step *step)
{
	drivers_connect(&b->d);
	drivers_take(&b->d, UINT32_MAX);
	version_response(b, &(struct step){.b = step->b, .c = step->c, .d = 1});
	for (uint8_t n = 0; n < (step->a & 7); n++)
		offer(b, &(struct step){.a = n});
	simple(b, VMBUS_MSG_ALL_OFFERS_DELIVERED, step);
	drivers_take(&b->d, UINT32_MAX);
}

static void bring_up(struct bench *b, const struct step *step)
{
	drivers_create(&b->d, &(struct step){.a = step->a, .c = 8});
	drivers_take(&b->d, UINT32_MAX);
	created(b, &(struct step){0});
	drivers_take(&b->d, UINT32_MAX);
	drivers_open(&b->d, &(struct step){.a = step->a, .b = 1});
	drivers_take(&b->d, UINT32_MAX);
	if (!(step->b & 0x80))
		open_result(b, &(struct step){.a = step->a & 0x7f});
}

/* ---- steps ---- */

enum operation {
	VERSION,
	OFFER,
	RESULT,
	CREATED,
	TORN_DOWN,
	MODIFIED,
	PAGES_MOVED,
	RESCIND,
	MESSAGE,
	ALL_OFFERS,
	UNLOAD_COMPLETE,
	COME_UP,
	BRING_UP,
	CONNECT,
	CREATE,
	TEARDOWN,
	OPEN,
	CLOSE,
	MODIFY,
	RELEASE,
	MOVE_PAGES,
	UNLOAD,
	LOST,
	POST_FAILED,
	PATCH,
	TAKE,
	NO_MEMORY,
	QUERY,
	OPERATIONS,
};

/* False: it is a driver's, or the middle's. */
static bool host_step(struct bench *b, enum operation op, const struct step *step)
{
	switch (op) {
	case VERSION:
		version_response(b, step);
		return true;
	case OFFER:
		offer(b, step);
		return true;
	case RESULT:
		open_result(b, step);
		return true;
	case CREATED:
		created(b, step);
		return true;
	case TORN_DOWN:
		torn_down(b, step);
		return true;
	case MODIFIED:
		modify_response(b, step);
		return true;
	case PAGES_MOVED:
		pages_moved(b, step);
		return true;
	case RESCIND:
		simple(b, VMBUS_MSG_RESCIND_CHANNEL_OFFER, step);
		return true;
	case MESSAGE:
		simple(b, step->b % 32u, step);
		return true;
	case ALL_OFFERS:
		simple(b, VMBUS_MSG_ALL_OFFERS_DELIVERED, step);
		return true;
	case UNLOAD_COMPLETE:
		simple(b, VMBUS_MSG_UNLOAD_COMPLETE, step);
		return true;
	case COME_UP:
		come_up(b, step);
		return true;
	case BRING_UP:
		bring_up(b, step);
		return true;
	default:
		return false;
	}
}

static void driver_step(struct bench *b, enum operation op, const struct step *step)
{
	switch (op) {
	case CONNECT:
		drivers_connect(&b->d);
		break;
	case CREATE:
		drivers_create(&b->d, step);
		break;
	case TEARDOWN:
		drivers_teardown(&b->d, step->a);
		break;
	case OPEN:
		drivers_open(&b->d, step);
		break;
	case CLOSE:
		drivers_close(&b->d, step->a);
		break;
	case MODIFY:
		drivers_modify(&b->d, step->a, step->b & 0x80 ? VMBUS_VP_NONE : step->b & 3);
		break;
	case RELEASE:
		drivers_release(&b->d, step->a);
		break;
	case MOVE_PAGES:
		drivers_move_pages(&b->d, step->a & 1);
		break;
	case UNLOAD:
		drivers_unload(&b->d);
		break;
	case LOST:
		drivers_lost(&b->d);
		break;
	case POST_FAILED:
		vmbus_client_post_failed(b->d.c, step->a & 1 ? 18 : step->b);
		break;
	case PATCH:
		b->patch = (struct fuzz_patch){true, *step};
		break;
	case TAKE:
		drivers_take(&b->d, step->a & 3);
		break;
	case NO_MEMORY:
		b->heap.fail_in = step->a & 3;
		break;
	case QUERY:
		drivers_query(&b->d);
		break;
	default:
		break;
	}
}

static void run_step(struct bench *b, const struct step *step)
{
	enum operation op = (enum operation)((step->op & 0x7f) % OPERATIONS);

	if (step->op == STEP_BYTES)
		receive_bytes(b, step->bytes, step->a);
	else if (!host_step(b, op, step))
		driver_step(b, op, step);
	drivers_check(&b->d);
	if (step->op == STEP_BYTES || !(step->op & 0x80))
		drivers_take(&b->d, UINT32_MAX);
}

/* ---- a run ---- */

static void begin(struct bench *b, const uint8_t *how)
{
	struct vmbus_client_config config = {
		.max_version = how[0] ? vmbus_versions[how[0] % vmbus_version_count] : 0,
		.min_version = how[2] ? vmbus_versions[how[2] % vmbus_version_count] : 0,
		.features = how[1] ^ 0xff,
		.limits = {.channels = how[4] & 1 ? 3 : 12, .gpadls = how[4] & 2 ? 3 : 24},
		.vtl = how[3] & 8 ? 2 : 0,
		.first_gpadl_id = how[4] & 4 ? 0xfffffffd : 0,
		.allocator = {fuzz_alloc, fuzz_free, &b->heap}};

	if (how[3] & 1)
		config.max_version++;
	if (how[3] & 2) {
		config.monitor_parent_to_child = 0x1000;
		config.monitor_child_to_parent = 0x2000;
	}
	b->d.c = vmbus_client_create(&config);
	if (!b->d.c)
		abort();
	b->d.letting_go = how[3] & 4;
	b->d.posted = posted;
	b->d.ctx = b;
}

/* When the transport is gone every request ends, and what drivers let go of is freed. */
static void end(struct bench *b)
{
	b->heap.fail_in = 0;
	drivers_take(&b->d, UINT32_MAX);
	drivers_lost(&b->d);
	drivers_take(&b->d, UINT32_MAX);
	drivers_rest(&b->d);
	drivers_release_all(&b->d);
	must(!drivers_channel(&b->d, 0) && !b->d.c->channel_count && !b->d.c->gpadls.count,
	     "something outlives its connection");
	vmbus_client_destroy(b->d.c);
	must(!b->heap.live, "memory outlives the client");
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
	while (steps_next(&in, &step))
		run_step(b, &step);
	end(b);
	free(b);
	return 0;
}
