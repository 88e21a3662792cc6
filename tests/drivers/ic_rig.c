/* SPDX-License-Identifier: MIT */
#include "ic_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"
#include "partition/internal.h"
#include "partition/machine.h"

#define RING_PAGES 4u

int ic_vsp_entry(void *driver, void *path);

uint64_t rig_reference, rig_real_ns;

/* ---- clocks that stand still ---- */

static struct part_host_ops frozen_ops;

static int frozen_clocks(void *transport, struct hv_clocks *clocks)
{
	if (!rig_real_ns)
		return -ENOTSUP;
	clocks->reference = rig_reference;
	clocks->real_ns = rig_real_ns;
	return 0;
}

void rig_read_clocks(struct ic_rig *r, uint64_t *reference, uint64_t *real_ns)
{
	assert_int_equal(part_server_clocks(part_server(machine_part(r->m)), reference, real_ns),
			 0);
}

/* ---- life ---- */

static void violated(void *ctx, const char *rule, const char *driver, const char *text)
{
	print_error("contract violation %s by %s: %s\n", rule, driver, text);
	abort();
}

void rig_start(struct ic_rig *r, const char *const *options, bool frozen)
{
	struct machine_config config = {0};
	char *error = NULL;
	struct part *part;

	memset(r, 0, sizeof(*r));
	r->held = count_held();
	kmcl_set_violation(violated, NULL);
	r->m = machine_create(&config);
	part = machine_part(r->m);
	if (frozen) {
		frozen_ops = *part_server(part)->host;
		frozen_ops.read_clocks = frozen_clocks;
		part_server(part)->host = &frozen_ops;
	}
	assert_int_equal(server_end_start(part_server(part)), 0);
	r->partition = host_partition_of(part);
	assert_non_null(r->partition);
	if (kmcl_driver_load_entry(r->partition, KMCL_SERVER, "ic_vsp",
				   (void *)(uintptr_t)ic_vsp_entry, options, NULL, &r->driver,
				   &error))
		fail_msg("%s", error);
	guest_start(&r->g, r->m);
	guest_connect(&r->g, 0x00050003);
}

void rig_stop(struct ic_rig *r)
{
	if (r->driver)
		assert_int_equal(kmcl_driver_unload(r->driver), 0);
	kmcl_partition_destroy(r->partition);
	machine_destroy(r->m);
	kmcl_set_violation(NULL, NULL);
	assert_nothing_more_held(r->held);
}

struct ic_rig rig;

static const char *const still[] = {"period=86400000", "sample=86400000", NULL};
static const char *const quick[] = {"period=10", "sample=10", "misses=3", NULL};

int rig_set_up(void **state)
{
	rig_start(&rig, still, false);
	return 0;
}

int rig_set_up_quick(void **state)
{
	rig_start(&rig, quick, false);
	return 0;
}

int rig_set_up_frozen(void **state)
{
	rig_reference = 0x123456789a;
	rig_real_ns = 1700000000123456700ull;
	rig_start(&rig, quick, true);
	return 0;
}

int rig_tear_down(void **state)
{
	rig_stop(&rig);
	return 0;
}

/* ---- messages ---- */

static const char *const classes[IC_COMPONENTS] = {
	"394f1657 1591 784e ab55 382f3bd5422d",
	"31600b0e 1352 3449 818b 38d90ced39db",
	"30e62795 aed0 7b49 adce e80ab0175caf",
	"e7f4a0a9 455a 964d b827 8a841e8c03e6",
};

uint32_t rig_relid(struct ic_rig *r, unsigned int component)
{
	uint8_t class[16];

	assert_int_equal(parse_hex(classes[component], class, sizeof(class)), 16);
	for (uint32_t i = 0; i < r->g.offer_count; i++)
		if (!memcmp(r->g.offers[i].b + 8, class, sizeof(class)))
			return get32(r->g.offers[i].b + 184);
	fail_msg("component %u was not offered", component);
	return 0;
}

void rig_open(struct ic_rig *r, struct channel *c, unsigned int component)
{
	channel_open(c, &r->g, rig_relid(r, component), RING_PAGES, RING_PAGES);
}

void rig_receive(struct channel *c, struct ic_message *m)
{
	static uint8_t packet[17000];

	m->packet = channel_receive(c, packet, sizeof(packet));
	/* in-band, no completion wanted, data at 16 */
	assert_int_equal(get16(packet), 6);
	assert_int_equal(get16(packet + 2), 2);
	assert_int_equal(get16(packet + 6), 0);
	m->id = get64(packet + 8);
	assert_true(m->packet >= 24 + 20);
	assert_int_equal(get32(packet + 16), 1);
	m->size = get32(packet + 20);
	assert_int_equal((24 + m->size + 7) & ~7u, m->packet);
	memcpy(m->b, packet + 24, m->size);
	/* the length is the header's and the body's, which are a request in a transaction */
	assert_int_equal(m->size, 20 + get16(m->b + AT_SIZE));
	assert_int_equal(m->b[AT_MESSAGE_FLAGS], 3);
	assert_int_equal(get32(m->b + AT_STATUS), 0);
	assert_int_equal(get16(m->b + 18), 0);
}

void rig_send(struct channel *c, uint32_t pipe_type, uint32_t pipe_length, const uint8_t *bytes,
	      uint32_t size)
{
	static uint8_t payload[16384 + 64];

	assert_true(size + 8 <= sizeof(payload));
	put32(payload, pipe_type);
	put32(payload + 4, pipe_length);
	memcpy(payload + 8, bytes, size);
	/* no driver follows a packet's id, whatever it is */
	channel_send(c, 6, 0, 0xdeadbeefcafe0000u + c->next_id++, NULL, 0, payload, size + 8);
}

void rig_send_message(struct channel *c, const struct ic_message *m)
{
	rig_send(c, 1, m->size, m->b, m->size);
}

void rig_answer(struct channel *c, struct ic_message *m)
{
	m->b[AT_MESSAGE_FLAGS] = 5;
	rig_send_message(c, m);
}

void rig_choose(struct ic_message *m, uint32_t framework, uint32_t version)
{
	put16(m->b + AT_SIZE, 16);
	put16(m->b + AT_BODY, framework != 0);
	put16(m->b + AT_BODY + 2, framework != 0);
	put32(m->b + AT_BODY + 8, framework);
	put32(m->b + AT_BODY + 12, version);
}

void rig_negotiate(struct channel *c, uint32_t framework, uint32_t version)
{
	struct ic_message m;

	rig_receive(c, &m);
	assert_int_equal(get16(m.b + AT_TYPE), 0);
	rig_choose(&m, framework, version);
	rig_answer(c, &m);
}

void rig_ready(struct ic_rig *r, struct channel *c, unsigned int component)
{
	static const uint32_t versions[IC_COMPONENTS] = {VERSION(3, 0), VERSION(3, 2),
							 VERSION(4, 0), VERSION(4, 0)};
	struct ic_message m;

	rig_open(r, c, component);
	rig_negotiate(c, VERSION(3, 0), versions[component]);
	if (component == IC_COMPONENT_TIMESYNC) {
		rig_receive(c, &m);
		rig_answer(c, &m);
	}
	wait_for(rig_state(r, component) == IC_STATE_READY);
	if (component == IC_COMPONENT_TIMESYNC)
		wait_for(rig_counts(r, component).answered >= 2);
}

/* ---- device control ---- */

kmcl_status rig_do(struct ic_rig *r, uint32_t code, const void *in, size_t in_size, void *out,
		   size_t out_size)
{
	size_t returned;

	return kmcl_device_control(r->driver, 0, code, in, in_size, out, out_size, &returned);
}

void rig_info(struct ic_rig *r, struct ic_info *info)
{
	assert_int_equal(rig_do(r, IC_IOCTL_QUERY, NULL, 0, info, sizeof(*info)), 0);
}

struct ic_component_info rig_counts(struct ic_rig *r, unsigned int component)
{
	struct ic_info info;

	rig_info(r, &info);
	return info.component[component];
}

uint32_t rig_missed(struct ic_rig *r)
{
	struct ic_info info;

	rig_info(r, &info);
	return info.missed;
}

uint32_t rig_state(struct ic_rig *r, unsigned int component)
{
	return rig_counts(r, component).state;
}

kmcl_status rig_control(struct ic_rig *r, uint32_t code, unsigned int component)
{
	struct ic_select select = {.component = component};

	return rig_do(r, code, &select, sizeof(select), NULL, 0);
}

static void *ask_thread(void *arg)
{
	struct ask *a = arg;

	a->status = kmcl_device_control(a->r->driver, 0, a->code, &a->u, a->size, &a->u, a->size,
					&a->returned);
	return NULL;
}

void ask_begin(struct ic_rig *r, struct ask *a, uint32_t code)
{
	a->r = r;
	a->code = code;
	a->size = code == IC_IOCTL_SHUTDOWN ? sizeof(a->u.shutdown)
		  : code == IC_IOCTL_CLOCK  ? sizeof(a->u.clock)
		  : code == IC_IOCTL_KVP    ? sizeof(a->u.kvp)
					    : sizeof(a->u.ip);
	assert_int_equal(pthread_create(&a->thread, NULL, ask_thread, a), 0);
}

void ask_end(struct ask *a)
{
	assert_int_equal(pthread_join(a->thread, NULL), 0);
}

uint32_t put_text(uint8_t *to, const char *text)
{
	uint32_t n = 0;

	do {
		put16(to + n, (uint8_t)*text);
		n += 2;
	} while (*text++);
	return n;
}

void kvp_request(struct ask *a, uint32_t operation, uint32_t pool, const char *key)
{
	memset(&a->u, 0, sizeof(a->u));
	a->u.kvp.operation = operation;
	a->u.kvp.pool = pool;
	if (key)
		a->u.kvp.value.key_size = put_text((uint8_t *)&a->u.kvp.value + 12, key);
}
