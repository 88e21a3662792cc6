/* SPDX-License-Identifier: MIT */
/*
 * The client's end against a host that is written here by hand: it takes posts from the machine
 * between and fills message slots and event flags.
 */
#include "support.h"

#include "base/log.h"
#include "partition/client_end.h"
#include "partition/synic.h"

static const uint32_t both_ports[] = {1, 4, 0};
static const uint32_t old_port[] = {1, 0};

static uint8_t *slot(struct raw_host *h, uint32_t vp)
{
	return (uint8_t *)part_memory_at(part_server(h->part),
					 h->guest->cli->synic_gpa + vp * 8192ull, 4096) +
	       512;
}

static struct hv_flags *flags(struct raw_host *h, uint32_t vp)
{
	uint64_t gpa = h->guest->cli->synic_gpa + vp * 8192ull + 4096;

	return synic_flags(part_memory_at(part_server(h->part), gpa, 4096), 2);
}

/* An operation of the client that blocks, on a thread of its own. */
struct call {
	pthread_t thread;
	struct driver_channel *c;
	uint32_t status, gpadl, pages;
	uint64_t gpa;
	int error;
	atomic_bool done;
};

static void *run_open(void *arg)
{
	struct call *call = arg;

	call->error = driver_open(call->c, 0, &call->status);
	atomic_store(&call->done, true);
	return NULL;
}

static void *run_close(void *arg)
{
	struct call *call = arg;

	driver_close(call->c);
	atomic_store(&call->done, true);
	return NULL;
}

static void *run_gpadl(void *arg)
{
	struct call *call = arg;
	uint64_t *words = calloc(call->pages + 1, sizeof(*words));

	words[0] = call->pages * 4096ull;
	for (uint32_t i = 0; i < call->pages; i++)
		words[1 + i] = 1000 + 2 * i;
	call->error = part_client_gpadl_create(atomic_load(&call->c->ch), words, call->pages + 1, 1,
					       call->status, &call->gpadl);
	free(words);
	atomic_store(&call->done, true);
	return NULL;
}

static void *run_gpadl_delete(void *arg)
{
	struct call *call = arg;

	call->error = part_client_gpadl_delete(atomic_load(&call->c->ch), call->gpadl);
	atomic_store(&call->done, true);
	return NULL;
}

static void begin(struct call *call, struct driver_channel *c, void *(*run)(void *))
{
	call->c = c;
	atomic_store(&call->done, false);
	assert_int_equal(pthread_create(&call->thread, NULL, run, call), 0);
}

static void end(struct call *call)
{
	wait_until(atomic_load(&call->done));
	pthread_join(call->thread, NULL);
}

static void send_open_result(struct raw_host *h, const struct hv_message *open, uint32_t status)
{
	uint8_t b[20] = {6};

	memcpy(b + 8, open->payload + 8, 8);
	vmbus_put32(b + 16, status);
	raw_host_send(h, b, sizeof(b));
}

/* Serves the rings' GPADL and takes the OPEN, which is left unanswered. */
static void take_open(struct raw_host *h, struct call *call, struct driver_channel *c,
		      struct hv_message *open)
{
	begin(call, c, run_open);
	raw_host_accept_gpadl(h, vmbus_get32(part_client_offer(c->ch)->instance_id.b), 0, NULL, 0,
			      NULL);
	raw_host_expect(h, 5, open);
}

static void open_channel(struct raw_host *h, struct driver_channel *c)
{
	struct call call = {0};
	struct hv_message open;

	take_open(h, &call, c, &open);
	send_open_result(h, &open, 0);
	end(&call);
	assert_int_equal(call.error, 0);
}

/* The host's own: everything ends by a rescind. */
static void rescind_and_put(struct raw_host *h, struct driver_channel *c, uint32_t channel)
{
	struct hv_message m;

	raw_host_send_channel(h, 2, channel);
	wait_until(atomic_load(&c->rescinds) == 1);
	if (c->attached)
		part_port_detach(&c->port);
	c->attached = false;
	part_client_free_rings(atomic_load(&c->ch), &c->port);
	driver_put(c);
	raw_host_expect(h, 13, &m);
	assert_int_equal(vmbus_get32(m.payload + 8), channel);
}

static void ctl_009_a_busy_host_loses_no_message_and_no_order(void **state)
{
	enum {
		PAGES = 8000
	};
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct call call = {.pages = PAGES};
	uint64_t *words = calloc(PAGES + 1, sizeof(*words));
	uint32_t count, gpadl;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 1);
	c = driver_claim(&d, 0);
	begin(&call, c, run_gpadl);
	/* Some 290 messages, for which there are not nearly as many buffers. */
	nap(SETTLE_NS);
	pthread_mutex_lock(&h.guest->lock);
	assert_true(h.guest->cli->outgoing.count > 100);
	pthread_mutex_unlock(&h.guest->lock);
	gpadl = raw_host_accept_gpadl(&h, 1, 0, words, PAGES + 1, &count);
	end(&call);
	assert_int_equal(gpadl, call.gpadl);
	assert_int_equal(call.error, 0);
	assert_int_equal(count, PAGES + 1);
	assert_int_equal(words[0], PAGES * 4096ull);
	for (uint32_t i = 0; i < PAGES; i++)
		assert_int_equal(words[1 + i], 1000 + 2 * i);
	rescind_and_put(&h, c, 1);
	driver_stop(&d);
	raw_host_stop(&h);
	free(words);
}

/* Writes a slot's bytes as no host of ours would. */
static void send_raw(struct raw_host *h, uint32_t type, uint8_t size, const uint8_t *bytes,
		     uint32_t n)
{
	uint8_t *s = slot(h, 0);

	wait_until(!__atomic_load_n((uint32_t *)(void *)s, __ATOMIC_ACQUIRE));
	for (uint32_t i = 0; i < n; i++)
		__atomic_store_n(s + 16 + i, bytes[i], __ATOMIC_RELAXED);
	__atomic_store_n(s + 4, size, __ATOMIC_RELAXED);
	__atomic_store_n(s + 5, 0, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(void *)s, type, __ATOMIC_SEQ_CST);
	part_event_raise(&h->guest->messages);
}

static void ctl_010_what_is_no_message_frees_the_slot(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	uint8_t offer[196] = {1}, bytes[240] = {0};

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 0);
	offer[24] = 1;
	offer[184] = 1;
	send_raw(&h, 1, 241, offer, sizeof(offer));
	send_raw(&h, 1, 255, offer, sizeof(offer));
	send_raw(&h, 0x80000010, 196, offer, sizeof(offer));
	send_raw(&h, 1, 0, bytes, 0);
	for (uint32_t type = 0; type < 40; type++) {
		/* Every type that is not a host's, and those beyond the table. */
		if (type == 1 || type == 2 || type == 4 || type == 6 || type == 10 || type == 12 ||
		    type == 15 || type == 17)
			continue;
		bytes[0] = (uint8_t)type;
		send_raw(&h, 1, 240, bytes, sizeof(bytes));
	}
	wait_until(!__atomic_load_n((uint32_t *)(void *)slot(&h, 0), __ATOMIC_ACQUIRE));
	raw_host_expect_nothing(&h);
	assert_int_equal(atomic_load(&d.channels[0].offers), 0);
	assert_int_equal(h.guest->cli->bad_messages, 3);
	/* And the client goes on. */
	raw_host_offer(&h, 1);
	c = driver_claim(&d, 0);
	driver_put(c);
	driver_stop(&d);
	raw_host_stop(&h);
}

static void ctl_011_the_end_of_a_message_is_told_when_more_wait(void **state)
{
	struct raw_host h;
	uint8_t delivered[8] = {4};

	raw_host_start(&h, both_ports, NULL);
	raw_host_connect(&h, VMBUS_V6_0, 0);
	wait_until(!__atomic_load_n((uint32_t *)(void *)slot(&h, 0), __ATOMIC_ACQUIRE));
	/* Nobody waits: nobody is told. */
	part_event_take(&h.messages);
	raw_host_send(&h, delivered, sizeof(delivered));
	wait_until(!__atomic_load_n((uint32_t *)(void *)slot(&h, 0), __ATOMIC_ACQUIRE));
	nap(SETTLE_NS);
	assert_false(part_event_take(&h.messages));
	/* One waits. The client is kept from looking until that is said. */
	pthread_mutex_lock(&h.guest->lock);
	assert_int_equal(h.ops->deliver(h.part->transport, 0, 2, delivered, 8), 0);
	assert_int_equal(h.ops->deliver(h.part->transport, 0, 2, delivered, 8), -EAGAIN);
	pthread_mutex_unlock(&h.guest->lock);
	wait_until(part_event_take(&h.messages));
	assert_int_equal(h.ops->deliver(h.part->transport, 0, 2, delivered, 8), 0);
	raw_host_stop(&h);
}

static void ctl_033_an_unknown_port_means_an_older_host(void **state)
{
	struct raw_host h;
	struct hv_message m;

	raw_host_start(&h, old_port, NULL);
	/* 6.0 to 5.0 go to port 4, which this machine does not have. */
	raw_host_expect(&h, 14, &m);
	assert_int_equal(m.connection_id, 1);
	assert_int_equal(vmbus_get32(m.payload + 8), VMBUS_V4_1);
	raw_host_expect_nothing(&h);
	raw_host_stop(&h);
}

static void ctl_090_a_packet_from_before_the_result_is_found(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct call call = {0};
	struct hv_message open;
	struct vmbus_ring_view view;
	struct vmbus_ring_writer w;
	struct port_rings *rings;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 1);
	c = driver_claim(&d, 0);
	take_open(&h, &call, c, &open);
	rings = c->port.ring_private;
	view.size = (RING_PAGES - 1) * 4096;
	view.mirrored = false;
	view.pages = NULL;
	view.control = part_memory_at(part_server(h.part), rings->gpa + RING_PAGES * 4096ull, 4096);
	view.data = (uint8_t *)view.control + 4096;
	assert_int_equal(vmbus_ring_writer_attach(&w, &view), VMBUS_RING_OK);
	assert_int_equal(vmbus_ring_write_inband(&w, VMBUS_PKT_INBAND, 0, 0, "early", 5),
			 VMBUS_RING_OK);
	vmbus_ring_publish(&w);
	/* No event flag is set, now or later. */
	send_open_result(&h, &open, 0);
	end(&call);
	wait_until(atomic_load(&c->received) == 1);
	rescind_and_put(&h, c, 1);
	driver_stop(&d);
	raw_host_stop(&h);
}

static uint64_t strays(struct raw_host *h)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < RAW_VPS; i++)
		n += atomic_load(&h->guest->dispatchers[i].strays);
	return n;
}

static void ctl_118_flags_of_nobody_are_cleared_and_ignored(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct call call = {0};
	struct hv_message m;
	uint32_t polls;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 2);
	c = driver_claim(&d, 0);
	open_channel(&h, c);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++) {
		h.ops->set_flag(h.part->transport, vp, 2, 2);    /* offered, not open */
		h.ops->set_flag(h.part->transport, vp, 2, 2047); /* unknown */
		h.ops->set_flag(h.part->transport, vp, 2, 0);    /* never a channel */
	}
	wait_until(strays(&h) == RAW_VPS * 3);
	for (uint32_t vp = 0; vp < RAW_VPS; vp++)
		for (uint32_t word = 0; word < HV_FLAG_WORDS; word++)
			assert_int_equal(atomic_load(&flags(&h, vp)->word[word]), 0);
	/* On any VP the flag of an open channel counts. */
	for (uint32_t vp = 0; vp < RAW_VPS; vp++) {
		polls = atomic_load(&c->polls);
		h.ops->set_flag(h.part->transport, vp, 2, 1);
		wait_until(atomic_load(&c->polls) > polls);
	}
	assert_int_equal(strays(&h), RAW_VPS * 3);
	/* Closed: nobody's again. */
	begin(&call, c, run_close);
	raw_host_expect(&h, 7, &m);
	raw_host_expect(&h, 11, &m);
	polls = atomic_load(&c->polls);
	h.ops->set_flag(h.part->transport, 3, 2, 1);
	wait_until(strays(&h) == RAW_VPS * 3 + 1);
	assert_int_equal(atomic_load(&c->polls), polls);
	assert_int_equal(atomic_load(&flags(&h, 3)->word[0]), 0);
	raw_host_send_channel(&h, 2, 1);
	end(&call);
	h.ops->set_flag(h.part->transport, 1, 2, 1);
	wait_until(strays(&h) == RAW_VPS * 3 + 2);
	wait_until(atomic_load(&c->rescinds) == 1);
	driver_put(c);
	driver_stop(&d);
	raw_host_stop(&h);
}

static void ctl_068_ring_pages_are_kept_until_torn_down(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct call call = {0};
	struct hv_message m;
	uint8_t torn[12] = {12};
	uint64_t free_before, free_open;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 1);
	c = driver_claim(&d, 0);
	free_before = h.guest->pages.free;
	open_channel(&h, c);
	free_open = h.guest->pages.free;
	assert_int_equal(free_before - free_open, 2 * RING_PAGES);
	begin(&call, c, run_close);
	raw_host_expect(&h, 7, &m);
	raw_host_expect(&h, 11, &m);
	nap(SETTLE_NS);
	assert_false(atomic_load(&call.done));
	assert_int_equal(h.guest->pages.free, free_open);
	memcpy(torn + 8, m.payload + 12, 4);
	raw_host_send(&h, torn, sizeof(torn));
	end(&call);
	assert_int_equal(h.guest->pages.free, free_before);
	driver_put(c);
	driver_stop(&d);
	raw_host_stop(&h);
}

static void ctl_097_a_rescind_ends_the_requests_and_releases_once(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct call open = {0}, gpadl = {.pages = 3};
	struct hv_message m;
	uint64_t free_before;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 1);
	c = driver_claim(&d, 0);
	free_before = h.guest->pages.free;
	take_open(&h, &open, c, &m);
	begin(&gpadl, c, run_gpadl);
	raw_host_expect(&h, 8, &m);
	raw_host_send_channel(&h, 2, 1);
	end(&open);
	end(&gpadl);
	assert_int_equal(open.error, -ENODEV);
	assert_int_equal(gpadl.error, -ENODEV);
	assert_int_equal(h.guest->pages.free, free_before);
	wait_until(atomic_load(&c->rescinds) == 1);
	raw_host_send_channel(&h, 2, 1);
	/* The id is the driver's until it lets go. */
	raw_host_expect_nothing(&h);
	driver_put(c);
	/* And until the GPADL that was under way has been answered. */
	{
		uint8_t created[20] = {10};

		memcpy(created + 8, m.payload + 8, 8);
		raw_host_send(&h, created, sizeof(created));
	}
	raw_host_expect(&h, 13, &m);
	raw_host_expect_nothing(&h);
	assert_int_equal(atomic_load(&c->rescinds), 1);
	assert_int_equal(atomic_load(&d.channels[0].withdrawals), 1);
	driver_stop(&d);
	raw_host_stop(&h);
}

static void the_host_can_refuse(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct call call = {0};
	struct hv_message m;
	uint8_t torn[12] = {12};
	uint64_t free_before;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 1);
	c = driver_claim(&d, 0);
	free_before = h.guest->pages.free;
	take_open(&h, &call, c, &m);
	send_open_result(&h, &m, 0xc0000001);
	raw_host_expect(&h, 11, &m);
	memcpy(torn + 8, m.payload + 12, 4);
	raw_host_send(&h, torn, sizeof(torn));
	end(&call);
	assert_int_equal(call.error, -ECONNREFUSED);
	assert_int_equal(call.status, 0xc0000001);
	begin(&call, c, run_open);
	raw_host_accept_gpadl(&h, 1, 0x8000ffff, NULL, 0, NULL);
	end(&call);
	assert_int_equal(call.error, -ECONNREFUSED);
	assert_int_equal(h.guest->pages.free, free_before);
	assert_null(c->port.ring_private);
	driver_put(c);
	driver_stop(&d);
	raw_host_stop(&h);
}

static void a_read_only_gpadl_is_told_by_its_id(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct call call = {.pages = 2, .status = true};
	uint8_t torn[12] = {12};
	struct hv_message m;
	uint32_t gpadl;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 1);
	c = driver_claim(&d, 0);
	for (int read_only = 0; read_only < 2; read_only++) {
		call.status = (uint32_t)read_only;
		begin(&call, c, run_gpadl);
		gpadl = raw_host_accept_gpadl(&h, 1, 0, NULL, 0, NULL);
		end(&call);
		assert_int_equal(call.error, 0);
		assert_int_equal(gpadl, call.gpadl);
		assert_int_equal(part_gpadl_is_read_only(gpadl), read_only);
		begin(&call, c, run_gpadl_delete);
		raw_host_expect(&h, 11, &m);
		memcpy(torn + 8, m.payload + 12, 4);
		raw_host_send(&h, torn, sizeof(torn));
		end(&call);
		assert_int_equal(call.error, 0);
		assert_int_equal(part_client_gpadl_delete(c->ch, gpadl), -ENOENT);
	}
	driver_put(c);
	driver_stop(&d);
	raw_host_stop(&h);
}

static atomic_uint waits_told;

static void count_waits(void *ctx, enum kmcl_log_level level, const char *subsystem,
			uint32_t partition, uint32_t channel, const char *text)
{
	if (level == KMCL_LOG_WARNING && channel == 1 && partition &&
	    strstr(text, "the host to open the channel"))
		atomic_fetch_add(&waits_told, 1);
}

static void field_026_a_wait_that_lasts_says_for_what(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct call call = {0};
	struct hv_message m;

	kmcl_log_set(count_waits, NULL);
	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 1);
	c = driver_claim(&d, 0);
	take_open(&h, &call, c, &m);
	wait_until(atomic_load(&waits_told) == 1);
	send_open_result(&h, &m, 0);
	end(&call);
	assert_int_equal(call.error, 0);
	rescind_and_put(&h, c, 1);
	driver_stop(&d);
	raw_host_stop(&h);
	kmcl_log_set(NULL, NULL);
}

static void claims_are_exclusive_and_end_with_the_offer(void **state)
{
	struct raw_host h;
	struct driver d;
	struct driver_channel *c;
	struct part_client_channel *ch;
	struct hv_message m;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&d, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 1);
	c = driver_claim(&d, 0);
	ch = atomic_load(&c->ch);
	assert_int_equal(part_client_claim(ch, &driver_ops, c), -EBUSY);
	driver_put(c);
	assert_int_equal(part_client_claim(ch, &driver_ops, c), 0);
	raw_host_send_channel(&h, 2, 1);
	wait_until(atomic_load(&d.channels[0].withdrawals) == 1);
	assert_int_equal(atomic_load(&c->rescinds), 1);
	assert_int_equal(part_client_claim(ch, &driver_ops, c), -ENODEV);
	driver_put(c);
	raw_host_expect(&h, 13, &m);
	/* Nobody claims this one: the client releases it by itself. */
	raw_host_offer(&h, 1);
	wait_until(atomic_load(&c->offers) == 2);
	raw_host_send_channel(&h, 2, 1);
	raw_host_expect(&h, 13, &m);
	driver_stop(&d);
	raw_host_stop(&h);
}

static void a_late_listener_hears_of_every_offer(void **state)
{
	struct raw_host h;
	struct driver first, *late = calloc(1, sizeof(*late));
	struct hv_message m;

	raw_host_start(&h, both_ports, NULL);
	driver_start(&first, h.guest);
	raw_host_connect(&h, VMBUS_V6_0, 5);
	wait_until(atomic_load(&first.channels[4].offers) == 1);
	driver_start(late, h.guest);
	for (uint32_t i = 0; i < 5; i++)
		wait_until(atomic_load(&late->channels[i].offers) == 1);
	driver_stop(late);
	raw_host_send_channel(&h, 2, 3);
	raw_host_expect(&h, 13, &m);
	assert_int_equal(atomic_load(&first.channels[2].withdrawals), 1);
	assert_int_equal(atomic_load(&late->channels[2].withdrawals), 0);
	driver_stop(&first);
	raw_host_stop(&h);
	free(late);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctl_009_a_busy_host_loses_no_message_and_no_order),
		cmocka_unit_test(ctl_010_what_is_no_message_frees_the_slot),
		cmocka_unit_test(ctl_011_the_end_of_a_message_is_told_when_more_wait),
		cmocka_unit_test(ctl_033_an_unknown_port_means_an_older_host),
		cmocka_unit_test(ctl_090_a_packet_from_before_the_result_is_found),
		cmocka_unit_test(ctl_118_flags_of_nobody_are_cleared_and_ignored),
		cmocka_unit_test(ctl_068_ring_pages_are_kept_until_torn_down),
		cmocka_unit_test(ctl_097_a_rescind_ends_the_requests_and_releases_once),
		cmocka_unit_test(the_host_can_refuse),
		cmocka_unit_test(a_read_only_gpadl_is_told_by_its_id),
		cmocka_unit_test(field_026_a_wait_that_lasts_says_for_what),
		cmocka_unit_test(claims_are_exclusive_and_end_with_the_offer),
		cmocka_unit_test(a_late_listener_hears_of_every_offer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
