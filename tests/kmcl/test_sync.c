/* SPDX-License-Identifier: MIT */
/* VmbChannelSendSynchronousRequest in all its forms. */
#include "harness.h"

#include <stdlib.h>

static void enable(struct kt_chan *c)
{
	assert_int_equal(VmbChannelEnable(c->h), STATUS_SUCCESS);
}

static LARGE_INTEGER milliseconds(int64_t ms)
{
	LARGE_INTEGER t;

	t.QuadPart = -ms * 10000;
	return t;
}

static NTSTATUS place_now(struct kt_chan *c, const void *data, uint32_t size)
{
	LARGE_INTEGER now = {.QuadPart = 0};

	return VmbChannelSendSynchronousRequest(c->h, (PVOID)(uintptr_t)data, size, NULL, 0, NULL,
						NULL, &now);
}

/* A running pair with the smallest rings, whose server reads nothing until kt_unblock: three of
 * these packets fit. */
static struct kt_pair full_pair(struct kt_bus *bus, struct kt_send **sends, unsigned int count)
{
	struct kt_pair p = kt_pair_new(bus);

	assert_int_equal(VmbClientChannelInitSetRingBufferPageCount(p.client->h, 2, 2),
			 STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumPacketSize(p.client->h, 1024), STATUS_SUCCESS);
	assert_int_equal(VmbChannelInitSetMaximumExternalData(p.client->h, 4096, 1),
			 STATUS_SUCCESS);
	kt_pair_open(&p);
	kt_block(p.client, p.server);
	for (unsigned int i = 0; i < count; i++) {
		sends[i] = kt_send_new(p.client);
		assert_int_equal(kt_send_pattern(sends[i], 1024, i, 0), STATUS_SUCCESS);
	}
	return p;
}

static void ddi_042_inv_036_request_and_answer(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	uint8_t request[64], answer[72];
	LARGE_INTEGER absolute;
	UINT32 size;

	kt_pair_open(&p);
	kt_fill(request, sizeof(request), 1);
	memset(answer, 0, sizeof(answer));
	size = 64;
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, request, 64, NULL, KT_WAITED,
							  answer, &size, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(size, 64); /* bytes written */
	assert_true(kt_filled(answer, 64, 1));
	assert_int_equal(answer[64], 0);
	size = 72; /* more room than needed */
	KeQuerySystemTime(&absolute);
	absolute.QuadPart += 10 * 10000000ll;
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, request, 16, NULL, KT_WAITED,
							  answer, &size, &absolute),
			 STATUS_SUCCESS);
	assert_int_equal(size, 16);
	size = 16; /* less: the part that fits */
	memset(answer, 0, sizeof(answer));
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, request, 64, NULL, KT_WAITED,
							  answer, &size, NULL),
			 STATUS_BUFFER_TOO_SMALL);
	assert_int_equal(size, 16);
	assert_true(kt_filled(answer, 16, 1));
	assert_int_equal(answer[16], 0);
	/* nobody wants the answer */
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, request, 64, NULL, KT_WAITED,
							  NULL, NULL, NULL),
			 STATUS_SUCCESS);
	atomic_store(&p.server->mode, KT_EMPTY);
	size = 64;
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, request, 64, NULL, KT_WAITED,
							  answer, &size, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(size, 0);
	KT_WAIT(p.server->packet_count == 5);
	kt_pair_free(&p);
}

static void ddi_042_without_wait_it_ends_in_the_ring(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	uint64_t data = 7, answer = 5;
	UINT32 size = 8;

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, &data, 8, NULL, 0, &answer,
							  &size, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(size, 0);
	assert_int_equal(answer, 5);
	KT_WAIT(p.server->packet_count == 1);
	kt_complete(p.server, 0, NULL, 0);
	kt_pair_free(&p);
}

static void ddi_042_inv_036_argument_codes_and_nothing_sent(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	PMDL mdl = kt_mdl_alloc(bus, 64, NULL);
	static uint8_t data[4104];
	UINT32 size;

	kt_pair_open(&p);
	for (size = 1; size < 32; size++) {
		UINT32 in = size;

		if (size % 8)
			assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, data, 8,
									  NULL, KT_WAITED, data,
									  &in, NULL),
					 STATUS_INVALID_PARAMETER_7);
		assert_int_equal(in, size);
	}
	size = 8;
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, data, 8, NULL, KT_WAITED,
							  NULL, &size, NULL),
			 STATUS_INVALID_PARAMETER_6);
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, data, 8, NULL, KT_WAITED,
							  data, NULL, NULL),
			 STATUS_INVALID_PARAMETER_7);
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, NULL, 8, NULL, KT_WAITED,
							  NULL, NULL, NULL),
			 STATUS_INVALID_PARAMETER_2);
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, data, 4097, NULL, KT_WAITED,
							  NULL, NULL, NULL),
			 STATUS_INVALID_PARAMETER_3);
	assert_int_equal(
		VmbChannelSendSynchronousRequest(p.client->h, data, 8, mdl, 0, NULL, NULL, NULL),
		STATUS_INVALID_PARAMETER_5);
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, data, 8, NULL, 0x10, NULL,
							  NULL, NULL),
			 STATUS_INVALID_PARAMETER_5);
	KT_STAYS(p.server->packet_count == 0);
	kt_mdl_free(bus, mdl);
	kt_pair_free(&p);
}

static void ddi_042_inv_034_no_room_now(void **state)
{
	struct kt_pair p = full_pair(*state, NULL, 0);
	unsigned int placed = 0, refused = 0;
	uint8_t data[1024];
	KIRQL irql;

	/* twice, with time between: the reader may have taken one out to look at */
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	while (refused < 2 && placed < 10) {
		NTSTATUS status;

		memset(data, refused ? 0xee : (int)placed, sizeof(data));
		status = place_now(p.client, data, sizeof(data));
		if (status == STATUS_SUCCESS) {
			placed++;
			continue;
		}
		assert_int_equal(status, STATUS_BUFFER_OVERFLOW);
		refused++;
		kt_nap(KT_QUIET_MS);
	}
	assert_in_range(placed, 3, 4);
	KeLowerIrql(irql);
	kt_unblock(p.server, KT_ECHO);
	KT_WAIT(p.server->packet_count == placed);
	KT_STAYS(p.server->packet_count == placed); /* those refused were never seen */
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	assert_int_equal(place_now(p.client, data, 8), STATUS_SUCCESS); /* room again */
	KeLowerIrql(irql);
	KT_WAIT(p.server->packet_count == placed + 1);
	kt_pair_free(&p);
}

static void ddi_042_inv_034_others_ahead_paused_or_not_open(void **state)
{
	struct kt_send *sends[6];
	struct kt_pair p = full_pair(*state, sends, 6); /* some are queued */
	uint64_t data = 0;

	assert_int_equal(place_now(p.client, &data, 8), STATUS_BUFFER_OVERFLOW);
	kt_unblock(p.server, KT_ECHO);
	KT_WAIT(p.server->packet_count == 6);
	VmbChannelPause(p.client->h);
	assert_int_equal(place_now(p.client, &data, 8), STATUS_BUFFER_OVERFLOW);
	for (int i = 0; i < 6; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		kt_send_free(sends[i]);
	}
	VmbChannelDisable(p.server->h);
	KT_WAIT(kt_is_disabled(p.client));
	assert_int_equal(place_now(p.client, &data, 8), STATUS_DEVICE_REMOVED);
	enable(p.client);
	assert_int_equal(place_now(p.client, &data, 8), STATUS_BUFFER_OVERFLOW);
	kt_pair_free(&p);
}

/* Timeout 0 limits the way into the ring, not the answer. */
struct request {
	VMBCHANNEL h;
	bool no_wait_for_room;
	int64_t timeout_ms; /* 0: none */
	NTSTATUS status;
	uint64_t answer;
	UINT32 size;
};

static void run_request(void *arg)
{
	struct request *r = arg;
	LARGE_INTEGER timeout = milliseconds(r->timeout_ms);
	uint64_t data = 0x4242;

	if (r->no_wait_for_room)
		timeout.QuadPart = 0;
	r->size = 8;
	r->status = VmbChannelSendSynchronousRequest(
		r->h, &data, 8, NULL, KT_WAITED, &r->answer, &r->size,
		r->no_wait_for_room || r->timeout_ms ? &timeout : NULL);
}

static void ddi_042_timeout_zero_with_wait_waits_for_the_answer(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct request r = {.no_wait_for_room = true};
	struct kt_call call;
	uint64_t answer = 99;

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	r.h = p.client->h;
	kt_call_start(&call, p.client, run_request, &r);
	KT_WAIT(p.server->packet_count == 1);
	KT_STAYS(!atomic_load(&call.done));
	kt_complete(p.server, 0, &answer, 8);
	kt_call_join(&call);
	assert_int_equal(r.status, STATUS_SUCCESS);
	assert_int_equal(r.answer, 99);
	kt_pair_free(&p);
}

static void ddi_042_forever_waits_for_the_open_too(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct request r = {0};
	struct kt_call call;

	enable(p.client);
	r.h = p.client->h;
	kt_call_start(&call, p.client, run_request, &r);
	KT_STAYS(!atomic_load(&call.done));
	enable(p.server);
	VmbChannelStart(p.server->h);
	kt_call_join(&call);
	assert_int_equal(r.status, STATUS_SUCCESS);
	assert_int_equal(r.answer, 0x4242); /* the echo */
	kt_pair_free(&p);
}

static void ddi_042_inv_035_timeout_in_the_ring_and_a_late_answer(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct request r = {.timeout_ms = 50};
	struct kt_send *sends[20];
	uint64_t start, late = 1, right = 2;

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	r.h = p.client->h;
	r.answer = 5;
	start = kt_now_ms();
	run_request(&r);
	assert_int_equal(r.status, STATUS_CANCELLED);
	assert_true(kt_now_ms() - start >= 45);
	assert_int_equal(r.answer, 5);
	KT_WAIT(p.server->packet_count == 1);
	/* transactions that would get the late answer, had its id been given to one of them */
	for (int i = 0; i < 20; i++) {
		sends[i] = kt_send_new(p.client);
		assert_int_equal(kt_send_pattern(sends[i], 64, 1, KT_WAITED), STATUS_SUCCESS);
	}
	KT_WAIT(p.server->packet_count == 21);
	kt_complete(p.server, 0, &late, 8);
	kt_nap(KT_QUIET_MS);
	for (int i = 0; i < 20; i++)
		assert_int_equal(atomic_load(&sends[i]->routines), 0);
	for (int i = 0; i < 20; i++)
		kt_complete(p.server, (unsigned int)i + 1, &right, 8);
	for (int i = 0; i < 20; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		assert_int_equal(sends[i]->status, STATUS_SUCCESS);
		assert_memory_equal(sends[i]->data, &right, 8);
		kt_send_free(sends[i]);
	}
	kt_pair_free(&p);
}

static void ddi_042_inv_035_timeout_in_the_queue(void **state)
{
	struct kt_send *sends[6];
	struct kt_pair p = full_pair(*state, sends, 6);
	struct request r = {.h = p.client->h, .timeout_ms = 30};

	run_request(&r);
	assert_int_equal(r.status, STATUS_CANCELLED);
	kt_unblock(p.server, KT_ECHO);
	KT_WAIT(p.server->packet_count == 6);
	KT_STAYS(p.server->packet_count == 6); /* taken out, never sent */
	for (int i = 0; i < 6; i++) {
		KT_WAIT(atomic_load(&sends[i]->routines) == 1);
		kt_send_free(sends[i]);
	}
	kt_pair_free(&p);
}

static void ddi_042_inv_037_server_only_places(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	LARGE_INTEGER zero = {.QuadPart = 0}, some = milliseconds(100);
	uint64_t data = 0;

	kt_pair_open(&p);
	assert_int_equal(VmbChannelSendSynchronousRequest(p.server->h, &data, 8, NULL, KT_WAITED,
							  NULL, NULL, &zero),
			 STATUS_INVALID_PARAMETER_5);
	assert_int_equal(
		VmbChannelSendSynchronousRequest(p.server->h, &data, 8, NULL, 0, NULL, NULL, NULL),
		STATUS_INVALID_PARAMETER_8);
	assert_int_equal(
		VmbChannelSendSynchronousRequest(p.server->h, &data, 8, NULL, 0, NULL, NULL, &some),
		STATUS_INVALID_PARAMETER_8);
	KT_STAYS(p.client->packet_count == 0);
	assert_int_equal(place_now(p.server, &data, 8), STATUS_SUCCESS);
	KT_WAIT(p.client->packet_count == 1);
	kt_pair_free(&p);
}

static void ddi_042_disabled_and_closing(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	struct request r = {0}, queued = {0};
	struct kt_call call, waiting, disable;

	r.h = queued.h = p.client->h;
	run_request(&r);
	assert_int_equal(r.status, STATUS_DEVICE_REMOVED); /* disabled */
	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	kt_call_start(&call, p.client, run_request, &r); /* in the ring */
	KT_WAIT(p.server->packet_count == 1);
	VmbChannelPause(p.client->h);
	kt_call_start(&waiting, p.client, run_request, &queued);
	KT_STAYS(!atomic_load(&call.done) && !atomic_load(&waiting.done));
	kt_call_start(&disable, p.client, kt_do_disable, p.client->h);
	kt_call_join(&call);
	kt_call_join(&waiting);
	assert_int_equal(r.status, STATUS_DEVICE_REMOVED);
	assert_int_equal(queued.status, STATUS_DEVICE_REMOVED);
	kt_complete(p.server, 0, NULL, 0); /* until then the server holds the rings */
	kt_call_join(&disable);
	kt_pair_free(&p);
}

static void ddi_042_waiting_at_dispatch_level_is_a_violation(void **state)
{
	struct kt_pair p = kt_pair_new(*state);
	uint64_t data = 0;
	KIRQL irql;

	kt_pair_open(&p);
	KeRaiseIrql(DISPATCH_LEVEL, &irql);
	KT_VIOLATES(assert_false(NT_SUCCESS(VmbChannelSendSynchronousRequest(
		p.client->h, &data, 8, NULL, KT_WAITED, NULL, NULL, NULL))));
	KeLowerIrql(irql);
	KT_STAYS(p.server->packet_count == 0);
	kt_pair_free(&p);
}

static void ddi_042_external_data(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	PMDL mdl = kt_mdl_alloc(bus, 64, NULL);
	uint64_t data = 3, answer = 0;
	UINT32 size = 8;

	kt_pair_open(&p);
	assert_int_equal(VmbChannelSendSynchronousRequest(p.client->h, &data, 8, mdl, KT_WAITED,
							  &answer, &size, NULL),
			 STATUS_SUCCESS);
	assert_int_equal(answer, 3);
	assert_int_equal(p.server->packets[0].flags,
			 VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA);
	kt_mdl_free(bus, mdl);
	kt_pair_free(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		KT_TEST(ddi_042_inv_036_request_and_answer),
		KT_TEST(ddi_042_without_wait_it_ends_in_the_ring),
		KT_TEST(ddi_042_inv_036_argument_codes_and_nothing_sent),
		KT_TEST(ddi_042_inv_034_no_room_now),
		KT_TEST(ddi_042_inv_034_others_ahead_paused_or_not_open),
		KT_TEST(ddi_042_timeout_zero_with_wait_waits_for_the_answer),
		KT_TEST(ddi_042_forever_waits_for_the_open_too),
		KT_TEST(ddi_042_inv_035_timeout_in_the_ring_and_a_late_answer),
		KT_TEST(ddi_042_inv_035_timeout_in_the_queue),
		KT_TEST(ddi_042_inv_037_server_only_places),
		KT_TEST(ddi_042_disabled_and_closing),
		KT_TEST(ddi_042_waiting_at_dispatch_level_is_a_violation),
		KT_TEST(ddi_042_external_data),
	};

	return KT_MAIN("kmcl-sync", tests);
}
