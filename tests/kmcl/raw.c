/* SPDX-License-Identifier: MIT */
#include "raw.h"

struct raw raw;

static void raw_offered(struct part_client_listener *l, struct part_client_channel *ch)
{
	(void)l;
	if (memcmp(part_client_offer(ch)->instance_id.b, raw.instance, 16) == 0 &&
	    part_client_claim(ch, &raw.ops, &raw) == 0) {
		raw.ch = ch;
		atomic_store(&raw.claimed, true);
	}
}

static void raw_withdrawn(struct part_client_listener *l, struct part_client_channel *ch)
{
	(void)l;
	(void)ch;
}

static void raw_rescind(void *owner)
{
	(void)owner;
	atomic_store(&raw.rescinded, true);
}

void raw_open(struct kt_bus *bus, struct kt_chan *server)
{
	uint32_t status = 1;

	memset(&raw, 0, sizeof(raw));
	memcpy(raw.instance, &server->instance, 16);
	raw.listener.offered = raw_offered;
	raw.listener.withdrawn = raw_withdrawn;
	raw.ops.rescind = raw_rescind;
	assert_int_equal(part_client_listen(part_client(bus->part), &raw.listener), 0);
	KT_WAIT(atomic_load(&raw.claimed));
	assert_int_equal(part_client_open(raw.ch, &raw.port, 4, 4, 0, &status), 0);
	assert_int_equal(status, 0);
	KT_EXPECT(server, "OSP");
}

void raw_close(struct kt_bus *bus)
{
	part_client_close(raw.ch);
	part_client_free_rings(raw.ch, &raw.port);
	part_client_put(raw.ch);
	part_client_unlisten(part_client(bus->part), &raw.listener);
}

void raw_write(const struct vmbus_packet_out *packet)
{
	assert_int_equal(vmbus_ring_write(&raw.port.out, packet), VMBUS_RING_OK);
	if (vmbus_ring_publish(&raw.port.out))
		part_port_signal(&raw.port);
}

/* What the server wrote next. */
void raw_read(uint64_t *buffer, uint32_t size, struct vmbus_packet_in *packet)
{
	uint64_t deadline = kt_now_ms() + KT_LIMIT_MS;

	while (vmbus_ring_read(&raw.port.in, buffer, size, packet) != VMBUS_RING_OK) {
		assert_true(kt_now_ms() < deadline);
		kt_nap(1);
	}
}
