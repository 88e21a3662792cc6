/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "partition/client_end.h"

#include <dirent.h>
#include <errno.h>
#include <time.h>

void nap(uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u),
			     .tv_nsec = (long)(ns % 1000000000u)};

	nanosleep(&t, NULL);
}

static unsigned int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

unsigned int count_fds(void)
{
	return count_entries("/proc/self/fd");
}

unsigned int count_threads(void)
{
	return count_entries("/proc/self/task");
}

uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- the guest by hand ---- */

void raw_guest_start(struct raw_guest *g, const struct part_options *options)
{
	struct part_options o = {.memory = TEST_MEMORY, .server_dispatchers = 2};
	struct part_guest_lines lines = {.messages = &g->messages, .vps = RAW_VPS};

	if (options)
		o = *options;
	o.vps = RAW_VPS;
	memset(g, 0, sizeof(*g));
	assert_int_equal(part_loopback_assemble(&o, &g->part), 0);
	g->host = part_server(g->part);
	g->ops = g->part->client.guest;
	assert_int_equal(server_end_start(g->host), 0);
	for (uint32_t i = 0; i < RAW_VPS; i++)
		g->lines[i] = &g->flag_lines[i];
	lines.flags = g->lines;
	g->ops->start(g->part->transport, &lines);
	for (uint32_t i = 0; i < RAW_VPS; i++) {
		assert_int_equal(part_pages_alloc(&g->part->client, 2, &g->gpa[i]), 0);
		g->simp[i] = part_memory_at(&g->part->client, g->gpa[i], 4096);
		g->siefp[i] = part_memory_at(&g->part->client, g->gpa[i] + 4096, 4096);
		assert_int_equal(
			g->ops->enable_synic(g->part->transport, i, g->gpa[i], g->gpa[i] + 4096),
			0);
	}
}

void raw_guest_stop(struct raw_guest *g)
{
	part_destroy(g->part);
}

uint16_t raw_post_to(struct raw_guest *g, uint32_t connection, const void *bytes, uint32_t size)
{
	struct hv_message m = {.connection_id = connection, .type = 1, .size = size};

	memcpy(m.payload, bytes, size < sizeof(m.payload) ? size : sizeof(m.payload));
	return g->ops->post_message(g->part->transport, &m);
}

void raw_post(struct raw_guest *g, const void *bytes, uint32_t size)
{
	uint16_t status;

	wait_until((status = raw_post_to(g, 1, bytes, size)) != HV_STATUS_INSUFFICIENT_BUFFERS);
	assert_int_equal(status, HV_STATUS_SUCCESS);
}

static uint8_t *slot_of(struct raw_guest *g, uint32_t vp, uint32_t sint)
{
	return g->simp[vp] + sint * 256;
}

bool raw_slot_full(struct raw_guest *g, uint32_t vp, uint32_t sint)
{
	return __atomic_load_n((uint32_t *)(void *)slot_of(g, vp, sint), __ATOMIC_ACQUIRE) != 0;
}

/* Bytes that the other end writes, one relaxed load each. */
static void get_bytes(uint8_t *to, const uint8_t *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
}

bool raw_take(struct raw_guest *g, uint32_t vp, uint32_t sint, struct raw_message *m)
{
	uint8_t *slot = slot_of(g, vp, sint);
	uint32_t type = 1;

	if (!raw_slot_full(g, vp, sint))
		return false;
	assert_int_equal(__atomic_load_n((uint32_t *)(void *)slot, __ATOMIC_ACQUIRE), 1);
	m->size = __atomic_load_n(slot + 4, __ATOMIC_RELAXED);
	assert_true(m->size <= MESSAGE_BYTES);
	get_bytes(m->bytes, slot + 16, MESSAGE_BYTES);
	assert_true(__atomic_compare_exchange_n((uint32_t *)(void *)slot, &type, 0, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	g->last_flags = __atomic_load_n(slot + 5, __ATOMIC_SEQ_CST);
	if (g->last_flags & 1 && !g->keeps_quiet)
		g->ops->end_of_message(g->part->transport, vp);
	return true;
}

void raw_expect(struct raw_guest *g, uint32_t type, struct raw_message *m)
{
	wait_until(raw_take(g, g->message_vp, 2, m));
	if (vmbus_get32(m->bytes) != type)
		fail_msg("message %u where %u was expected", vmbus_get32(m->bytes), type);
}

void raw_expect_nothing(struct raw_guest *g)
{
	nap(SETTLE_NS);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		for (uint32_t sint = 0; sint < 16; sint++)
			assert_false(raw_slot_full(g, vp, sint));
}

static uint64_t *flag_word(struct raw_guest *g, uint32_t vp, uint32_t flag)
{
	return (uint64_t *)(void *)(g->siefp[vp] + 2 * 256 + flag / 64 * 8);
}

bool raw_flag(struct raw_guest *g, uint32_t vp, uint32_t flag)
{
	return __atomic_load_n(flag_word(g, vp, flag), __ATOMIC_SEQ_CST) >> (flag % 64) & 1;
}

void raw_clear_flag(struct raw_guest *g, uint32_t vp, uint32_t flag)
{
	__atomic_fetch_and(flag_word(g, vp, flag), ~(1ull << (flag % 64)), __ATOMIC_SEQ_CST);
}

void raw_contact(struct raw_guest *g, uint32_t version, uint32_t target_vp)
{
	uint8_t m[40] = {14};

	vmbus_put32(m + 8, version);
	vmbus_put32(m + 12, target_vp);
	g->message_vp = target_vp;
	raw_post(g, m, sizeof(m));
}

uint32_t raw_connect(struct raw_guest *g, uint32_t version)
{
	uint8_t request[8] = {3};
	struct raw_message m;
	uint32_t offers = 0;

	raw_contact(g, version, g->message_vp);
	raw_expect(g, 15, &m);
	assert_int_equal(m.bytes[8], 1);
	raw_post(g, request, sizeof(request));
	for (;;) {
		wait_until(raw_take(g, g->message_vp, 2, &m));
		if (vmbus_get32(m.bytes) == 4)
			return offers;
		assert_int_equal(vmbus_get32(m.bytes), 1);
		offers++;
	}
}

void raw_gpadl(struct raw_guest *g, uint32_t channel, uint32_t gpadl, uint64_t gpa, uint32_t pages)
{
	uint8_t b[240] = {8};
	struct raw_message m;

	assert_true(pages <= 26);
	vmbus_put32(b + 8, channel);
	vmbus_put32(b + 12, gpadl);
	vmbus_put16(b + 16, (uint16_t)(8 + 8 * pages));
	vmbus_put16(b + 18, 1);
	vmbus_put64(b + 20, pages * 4096ull);
	for (uint32_t i = 0; i < pages; i++)
		vmbus_put64(b + 28 + 8 * i, gpa / 4096 + i);
	raw_post(g, b, 28 + 8 * pages);
	raw_expect(g, 10, &m);
	assert_int_equal(m.size, 20);
	assert_int_equal(vmbus_get32(m.bytes + 12), gpadl);
	assert_int_equal(vmbus_get32(m.bytes + 16), 0);
}

void raw_post_open(struct raw_guest *g, uint32_t channel, uint32_t gpadl, uint32_t downstream,
		   uint32_t vp)
{
	uint8_t b[148] = {5};

	vmbus_put32(b + 8, channel);
	vmbus_put32(b + 12, 0x1234);
	vmbus_put32(b + 16, gpadl);
	vmbus_put32(b + 20, vp);
	vmbus_put32(b + 24, downstream);
	raw_post(g, b, sizeof(b));
}

uint32_t raw_expect_open_result(struct raw_guest *g, uint32_t channel)
{
	struct raw_message m;

	raw_expect(g, 6, &m);
	assert_int_equal(m.size, 20);
	assert_int_equal(vmbus_get32(m.bytes + 8), channel);
	assert_int_equal(vmbus_get32(m.bytes + 12), 0x1234);
	return vmbus_get32(m.bytes + 16);
}

void raw_post_channel(struct raw_guest *g, uint32_t type, uint32_t channel)
{
	uint8_t b[12] = {(uint8_t)type};

	vmbus_put32(b + 8, channel);
	raw_post(g, b, sizeof(b));
}

void raw_teardown(struct raw_guest *g, uint32_t channel, uint32_t gpadl)
{
	uint8_t b[16] = {11};

	vmbus_put32(b + 8, channel);
	vmbus_put32(b + 12, gpadl);
	raw_post(g, b, sizeof(b));
}

/* ---- a device ---- */

static void device_on_open(void *device, const struct part_server_open *open)
{
	struct device *d = device;

	d->open = *open;
	atomic_fetch_add(&d->opens, 1);
	pthread_mutex_lock(&d->lock);
	if (!d->manual_open && !d->revoking) {
		part_server_open_done(d->ch, d->status);
		if (!d->status) {
			d->held = 0;
			d->attached = true;
			part_port_attach(&d->port);
		}
	}
	pthread_mutex_unlock(&d->lock);
	sem_post(&d->opened);
}

static void device_on_close(void *device)
{
	struct device *d = device;

	atomic_fetch_add(&d->closes, 1);
	if (!d->manual_close) {
		device_stop(d);
		part_server_close_done(d->ch);
	}
	sem_post(&d->closed);
}

const struct part_server_channel_ops device_ops = {
	.open = device_on_open,
	.close = device_on_close,
};

/* Sends back what is held. False: no room; it stays held and the ring will tell. */
static bool device_answer(struct device *d)
{
	struct part_port *port = &d->port;
	enum vmbus_ring_result result;

	if (!d->held)
		return true;
	result = vmbus_ring_write_inband(&port->out, VMBUS_PKT_COMPLETION, 0, d->held_id,
					 d->buffer + 2, d->held);
	if (result == VMBUS_RING_FULL) {
		if (vmbus_ring_publish(&port->out))
			part_port_signal(port);
		if (vmbus_ring_writer_block(&port->out, vmbus_ring_packet_size(0, d->held)))
			return false;
		return device_answer(d);
	}
	if (vmbus_ring_publish(&port->out))
		part_port_signal(port);
	d->held = 0;
	return true;
}

static enum part_poll device_poll(struct part_port *port)
{
	struct device *d = (struct device *)(void *)((char *)port - offsetof(struct device, port));
	struct vmbus_packet_in p;

	atomic_fetch_add_explicit(&d->polls, 1, memory_order_relaxed);
	port->retry_ns = d->retry_ns;
	if (!device_answer(d))
		return PART_POLL_BLOCKED;
	vmbus_ring_mask(&port->in);
	if (vmbus_ring_read(&port->in, d->buffer, sizeof(d->buffer), &p) != VMBUS_RING_OK)
		return PART_POLL_IDLE;
	atomic_fetch_add(&d->received, 1);
	if (atomic_load(&d->echo)) {
		d->held = p.payload_size;
		d->held_id = p.transaction_id;
	}
	if (vmbus_ring_release(&port->in))
		part_port_signal(port);
	return device_answer(d) ? PART_POLL_WORKED : PART_POLL_BLOCKED;
}

static bool device_park(struct part_port *port)
{
	return !vmbus_ring_unmask(&port->in);
}

const struct part_port_ops device_port_ops = {.poll = device_poll, .park = device_park};

void device_init(struct device *d)
{
	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
	sem_init(&d->opened, 0, 0);
	sem_init(&d->closed, 0, 0);
	d->port.ops = &device_port_ops;
	atomic_store(&d->echo, true);
}

void device_destroy(struct device *d)
{
	pthread_mutex_destroy(&d->lock);
	sem_destroy(&d->opened);
	sem_destroy(&d->closed);
}

int device_try_offer(struct device *d, struct part_endpoint *ep, uint32_t instance)
{
	struct vmbus_offer offer = {.interface_id = {{0x6e, 0x2a}}, .order = instance};

	d->revoking = false;
	offer.monitored = d->monitored;
	offer.monitor_latency = d->latency;
	offer.vtl = d->vtl;
	vmbus_put32(offer.instance_id.b, instance + 1);
	return part_server_offer(ep, &offer, &device_ops, d, &d->port, &d->ch);
}

void device_offer(struct device *d, struct part_endpoint *ep, uint32_t instance)
{
	assert_int_equal(device_try_offer(d, ep, instance), 0);
}

void device_stop(struct device *d)
{
	pthread_mutex_lock(&d->lock);
	if (d->attached)
		part_port_detach(&d->port);
	d->attached = false;
	pthread_mutex_unlock(&d->lock);
}

void device_revoke(struct device *d)
{
	pthread_mutex_lock(&d->lock);
	d->revoking = true;
	pthread_mutex_unlock(&d->lock);
	device_stop(d);
	part_server_revoke(d->ch);
}

/* ---- the host by hand ---- */

void raw_host_start(struct raw_host *h, const uint32_t *ports, const struct part_options *options)
{
	struct part_options o = {.memory = TEST_MEMORY};
	struct part_host_lines lines = {.messages = &h->messages, .dispatchers = 1};

	if (options)
		o = *options;
	o.vps = RAW_VPS;
	memset(h, 0, sizeof(*h));
	assert_int_equal(part_loopback_assemble(&o, &h->part), 0);
	h->guest = part_client(h->part);
	h->ops = h->part->server.host;
	h->events[0] = &h->event;
	h->doorbells[0] = &h->doorbell;
	lines.events = h->events;
	lines.doorbells = h->doorbells;
	h->ops->start(h->part->transport, &lines);
	for (; *ports; ports++)
		assert_int_equal(h->ops->bind_messages(h->part->transport, *ports), 0);
	assert_int_equal(client_end_start(h->guest), 0);
}

void raw_host_stop(struct raw_host *h)
{
	/* Nobody answers an unload here. */
	h->part->client.cli->link = LINK_DOWN;
	part_destroy(h->part);
}

void raw_host_expect(struct raw_host *h, uint32_t type, struct hv_message *m)
{
	wait_until(h->ops->take_message(h->part->transport, m));
	if (vmbus_get32(m->payload) != type)
		fail_msg("message %u where %u was expected", vmbus_get32(m->payload), type);
}

void raw_host_expect_nothing(struct raw_host *h)
{
	struct hv_message m;

	nap(SETTLE_NS);
	assert_false(h->ops->take_message(h->part->transport, &m));
}

void raw_host_send(struct raw_host *h, const void *bytes, uint32_t size)
{
	int error;

	wait_until((error = h->ops->deliver(h->part->transport, 0, 2, bytes, size)) != -EAGAIN);
	assert_int_equal(error, 0);
}

void raw_host_offer(struct raw_host *h, uint32_t channel)
{
	uint8_t b[196] = {1};

	b[8] = 0x6e;
	vmbus_put32(b + 24, channel);
	vmbus_put32(b + 184, channel);
	b[188] = 0xff;
	b[190] = 1;
	vmbus_put32(b + 192, 0x2000 + channel);
	raw_host_send(h, b, sizeof(b));
}

void raw_host_send_channel(struct raw_host *h, uint32_t type, uint32_t channel)
{
	uint8_t b[12] = {(uint8_t)type};

	vmbus_put32(b + 8, channel);
	raw_host_send(h, b, sizeof(b));
}

void raw_host_connect(struct raw_host *h, uint32_t version, uint32_t offers)
{
	uint8_t response[16] = {15};
	uint8_t delivered[8] = {4};
	struct hv_message m;

	raw_host_expect(h, 14, &m);
	response[8] = vmbus_get32(m.payload + 8) == version;
	vmbus_put32(response + 12, version >= VMBUS_V5_0 ? 1 : version);
	while (!response[8]) {
		raw_host_send(h, response, sizeof(response));
		raw_host_expect(h, 14, &m);
		response[8] = vmbus_get32(m.payload + 8) == version;
	}
	raw_host_send(h, response, sizeof(response));
	raw_host_expect(h, 3, &m);
	for (uint32_t i = 1; i <= offers; i++)
		raw_host_offer(h, i);
	raw_host_send(h, delivered, sizeof(delivered));
}

uint32_t raw_host_accept_gpadl(struct raw_host *h, uint32_t channel, uint32_t status,
			       uint64_t *words, uint32_t most, uint32_t *count)
{
	struct hv_message m;
	uint8_t created[20] = {10};
	uint32_t left, gpadl, n = 0, at = 20;

	raw_host_expect(h, 8, &m);
	assert_int_equal(vmbus_get32(m.payload + 8), channel);
	gpadl = vmbus_get32(m.payload + 12);
	left = vmbus_get16(m.payload + 16) / 8;
	for (;;) {
		for (; left && at + 8 <= m.size; at += 8, left--) {
			if (n < most)
				words[n] = vmbus_get64(m.payload + at);
			n++;
		}
		if (!left)
			break;
		raw_host_expect(h, 9, &m);
		assert_int_equal(vmbus_get32(m.payload + 12), gpadl);
		at = 16;
	}
	if (count)
		*count = n;
	vmbus_put32(created + 8, channel);
	vmbus_put32(created + 12, gpadl);
	vmbus_put32(created + 16, status);
	raw_host_send(h, created, sizeof(created));
	return gpadl;
}

/* ---- a driver ---- */

static struct driver_channel *channel_of_offer(struct driver *d, struct part_client_channel *ch)
{
	uint32_t instance = vmbus_get32(part_client_offer(ch)->instance_id.b) - 1;

	return instance < DRIVER_CHANNELS ? &d->channels[instance] : NULL;
}

static void driver_offered(struct part_client_listener *l, struct part_client_channel *ch)
{
	struct driver *d = (struct driver *)(void *)l;
	struct driver_channel *c = channel_of_offer(d, ch);

	if (!c)
		return;
	atomic_store(&c->ch, ch);
	atomic_fetch_add(&c->offers, 1);
}

static void driver_withdrawn(struct part_client_listener *l, struct part_client_channel *ch)
{
	struct driver *d = (struct driver *)(void *)l;
	struct driver_channel *c = channel_of_offer(d, ch);

	if (c)
		atomic_fetch_add(&c->withdrawals, 1);
}

static void driver_rescind(void *owner)
{
	struct driver_channel *c = owner;

	atomic_fetch_add(&c->rescinds, 1);
	if (c->driver->put_on_rescind) {
		if (c->attached)
			part_port_detach(&c->port);
		c->attached = false;
		part_client_free_rings(atomic_load(&c->ch), &c->port);
		part_client_put(atomic_load(&c->ch));
	}
}

const struct part_client_channel_ops driver_ops = {.rescind = driver_rescind};

static enum part_poll driver_poll(struct part_port *port)
{
	struct driver_channel *c =
		(struct driver_channel *)(void *)((char *)port -
						  offsetof(struct driver_channel, port));
	struct vmbus_packet_in p;
	enum part_poll result = PART_POLL_IDLE;

	atomic_fetch_add_explicit(&c->polls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->in_poll, 1, memory_order_relaxed);
	port->retry_ns = c->retry_ns;
	vmbus_ring_mask(&port->in);
	if (vmbus_ring_read(&port->in, c->buffer, sizeof(c->buffer), &p) == VMBUS_RING_OK) {
		if (vmbus_ring_release(&port->in))
			part_port_signal(port);
		atomic_fetch_add(&c->received, 1);
		result = PART_POLL_WORKED;
	}
	atomic_fetch_sub_explicit(&c->in_poll, 1, memory_order_relaxed);
	return result;
}

static bool driver_park(struct part_port *port)
{
	return !vmbus_ring_unmask(&port->in);
}

const struct part_port_ops driver_port_ops = {.poll = driver_poll, .park = driver_park};

void driver_start(struct driver *d, struct part_endpoint *ep)
{
	memset(d, 0, sizeof(*d));
	d->ep = ep;
	d->listener.offered = driver_offered;
	d->listener.withdrawn = driver_withdrawn;
	for (uint32_t i = 0; i < DRIVER_CHANNELS; i++) {
		d->channels[i].driver = d;
		d->channels[i].port.ops = &driver_port_ops;
	}
	assert_int_equal(part_client_listen(ep, &d->listener), 0);
}

void driver_stop(struct driver *d)
{
	part_client_unlisten(d->ep, &d->listener);
}

struct driver_channel *driver_claim(struct driver *d, uint32_t instance)
{
	struct driver_channel *c = &d->channels[instance];

	wait_until(atomic_load(&c->offers) > atomic_load(&c->withdrawals));
	assert_int_equal(part_client_claim(atomic_load(&c->ch), &driver_ops, c), 0);
	return c;
}

int driver_open(struct driver_channel *c, uint32_t vp, uint32_t *status)
{
	int error =
		part_client_open(atomic_load(&c->ch), &c->port, RING_PAGES, RING_PAGES, vp, status);

	if (!error) {
		c->attached = true;
		part_port_attach(&c->port);
	}
	return error;
}

void driver_close(struct driver_channel *c)
{
	if (c->attached)
		part_port_detach(&c->port);
	c->attached = false;
	part_client_close(atomic_load(&c->ch));
	part_client_free_rings(atomic_load(&c->ch), &c->port);
}

void driver_put(struct driver_channel *c)
{
	part_client_put(atomic_load(&c->ch));
}

enum vmbus_ring_result driver_send(struct driver_channel *c, const void *payload, uint32_t size,
				   uint64_t id)
{
	enum vmbus_ring_result result =
		vmbus_ring_write_inband(&c->port.out, VMBUS_PKT_INBAND, id != 0, id, payload, size);

	if (result == VMBUS_RING_OK && vmbus_ring_publish(&c->port.out))
		part_port_signal(&c->port);
	return result;
}
