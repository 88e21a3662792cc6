/* SPDX-License-Identifier: MIT */
/* VmbChannelSetInterruptLatency over the monitor page that both ends of a bus share. */
#include "harness.h"

#include "partition/client_end.h"
#include "partition/internal.h"

#define OFFERED 3000u /* 300 us */

static struct kmcl_offer_options with_monitor = {.monitored = true, .monitor_latency = OFFERED};

/* Nothing polls, so every packet needs its signal. */
static int monitored_bus(void **state)
{
	const struct part_options options = {
		.memory = 48u << 20, .vps = 2, .server_dispatchers = 2, .poll_ns = -1};
	struct kt_bus *bus;

	if (kt_setup(state))
		return -1;
	bus = *state;
	kt_bus_destroy(bus);
	kt_bus_create(bus, &options);
	bus->server_device.offer_options = &with_monitor;
	return 0;
}

static NTSTATUS set(struct kt_chan *c, UINT16 latency, UINT16 *before)
{
	*before = 0xdead;
	return VmbChannelSetInterruptLatency(c->h, latency, before);
}

/* What the page says, at the offset that the wire gives it. */
static uint16_t in_page(struct kt_bus *bus, uint32_t id)
{
	const uint8_t *page = part_client(bus->part)->cli->monitor_page;

	return __atomic_load_n((const uint16_t *)(const void *)(page + 0x240 + 2 * id),
			       __ATOMIC_SEQ_CST);
}

static NTSTATUS at_opened, at_closed;
static UINT16 before_opened, before_closed;

static NTSTATUS set_at_opened(struct kt_chan *c)
{
	at_opened = set(c, 500, &before_opened);
	return STATUS_SUCCESS;
}

static void set_at_closed(struct kt_chan *c)
{
	at_closed = set(c, 700, &before_closed);
}

static void packet_there_and_back(struct kt_pair *p, unsigned int seed)
{
	struct kt_send *s = kt_send_new(p->client);

	assert_int_equal(kt_send_pattern(s, 100, seed, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines));
	assert_int_equal(s->status, STATUS_SUCCESS);
	kt_send_free(s);
}

static void ddi_044_from_opened_to_closed_inclusive(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	UINT16 before;

	p.client->on_opened = set_at_opened;
	p.client->on_closed = set_at_closed;
	assert_int_equal(set(p.client, 1, &before), STATUS_INVALID_DEVICE_STATE);
	for (unsigned int turn = 0; turn < 4; turn++) {
		at_opened = at_closed = STATUS_UNSUCCESSFUL;
		kt_pair_open(&p);
		/* What the last open asked for ended with it. */
		assert_int_equal(at_opened, STATUS_SUCCESS);
		assert_int_equal(before_opened, OFFERED);
		assert_int_equal(in_page(bus, 0), 500);
		packet_there_and_back(&p, turn);
		assert_int_equal(set(p.client, 600, &before), STATUS_SUCCESS);
		assert_int_equal(before, 500);
		assert_int_equal(in_page(bus, 0), 600);
		packet_there_and_back(&p, turn);
		/* The close is the client's, or it follows from the offer's end. */
		VmbChannelDisable(turn & 1 ? p.server->h : p.client->h);
		KT_WAIT(kt_is_disabled(p.client));
		assert_int_equal(at_closed, STATUS_SUCCESS);
		assert_int_equal(before_closed, 600);
		assert_int_equal(set(p.client, 1, &before), STATUS_INVALID_DEVICE_STATE);
		assert_int_equal(before, 0xdead);
		VmbChannelDisable(p.server->h);
		kt_forget(p.client);
		kt_forget(p.server);
	}
	p.client->on_opened = NULL;
	p.client->on_closed = NULL;
	kt_pair_free(&p);
}

static void ddi_044_a_latency_of_nothing_is_no_wait(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	UINT16 before;

	kt_pair_open(&p);
	assert_int_equal(set(p.client, 0, &before), STATUS_SUCCESS);
	assert_int_equal(before, OFFERED);
	for (unsigned int i = 0; i < 20; i++)
		packet_there_and_back(&p, i);
	assert_int_equal(set(p.client, 65535, &before), STATUS_SUCCESS);
	assert_int_equal(before, 0);
	for (unsigned int i = 0; i < 20; i++)
		packet_there_and_back(&p, i);
	kt_pair_free(&p);
}

static void ddi_044_arguments_and_irql(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	UINT16 before = 9;
	KIRQL irql;

	kt_pair_open(&p);
	assert_int_equal(VmbChannelSetInterruptLatency(NULL, 1, &before),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelSetInterruptLatency(p.server->h, 1, &before),
			 STATUS_INVALID_PARAMETER_1);
	assert_int_equal(VmbChannelSetInterruptLatency(p.client->h, 1, NULL),
			 STATUS_INVALID_PARAMETER_3);
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	KT_VIOLATES(assert_int_equal(VmbChannelSetInterruptLatency(p.client->h, 1, &before),
				     STATUS_INVALID_DEVICE_STATE));
	KeLowerIrql(irql);
	assert_int_equal(before, 9);
	assert_int_equal(set(p.client, 1, &before), STATUS_SUCCESS);
	assert_int_equal(before, OFFERED);
	kt_pair_free(&p);
}

static void ddi_044_without_a_monitor_there_is_none_to_set(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p;
	UINT16 before;

	bus->server_device.offer_options = NULL;
	p = kt_pair_new(bus);
	kt_pair_open(&p);
	assert_int_equal(set(p.client, 1, &before), STATUS_NOT_SUPPORTED);
	assert_int_equal(before, 0xdead);
	packet_there_and_back(&p, 1);
	kt_pair_free(&p);
}

/* Two channels, two slots: the one's latency is not the other's. */
static void ddi_044_each_channel_has_its_own(void **state)
{
	struct kt_pair a = kt_pair_new(*state), b = kt_pair_new(*state);
	UINT16 before;

	kt_pair_open(&a);
	kt_pair_open(&b);
	assert_int_equal(set(a.client, 11, &before), STATUS_SUCCESS);
	assert_int_equal(set(b.client, 22, &before), STATUS_SUCCESS);
	assert_int_equal(before, OFFERED);
	assert_int_equal(set(a.client, 33, &before), STATUS_SUCCESS);
	assert_int_equal(before, 11);
	packet_there_and_back(&a, 1);
	packet_there_and_back(&b, 2);
	kt_pair_free(&a);
	assert_int_equal(set(b.client, 44, &before), STATUS_SUCCESS);
	assert_int_equal(before, 22);
	packet_there_and_back(&b, 3);
	kt_pair_free(&b);
}

#define T(f) cmocka_unit_test_setup_teardown(f, monitored_bus, kt_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ddi_044_from_opened_to_closed_inclusive),
		T(ddi_044_a_latency_of_nothing_is_no_wait),
		T(ddi_044_arguments_and_irql),
		T(ddi_044_without_a_monitor_there_is_none_to_set),
		T(ddi_044_each_channel_has_its_own),
	};

	return KT_MAIN("latency", tests);
}
