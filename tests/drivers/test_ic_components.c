/* SPDX-License-Identifier: MIT */
/* Heartbeat, shutdown and time synchronisation, each against a guest written by hand. */
#include "ic_rig.h"

#include <string.h>

#include "nt/nt.h"

#include "host/internal.h"

#define EPOCH 116444736000000000ull

static struct ic_info info(void)
{
	struct ic_info i;

	rig_info(&rig, &i);
	return i;
}

/* ---- heartbeat ---- */

static void open_heartbeat(struct channel *c)
{
	rig_open(&rig, c, IC_COMPONENT_HEARTBEAT);
	rig_negotiate(c, VERSION(3, 0), VERSION(3, 0));
}

/* The next heartbeat, checked; its number. */
static uint64_t take_beat(struct channel *c, struct ic_message *m)
{
	uint8_t zero[32] = {0};

	rig_receive(c, m);
	assert_int_equal(get16(m->b + AT_TYPE), 1);
	assert_int_equal(m->size, 60);
	assert_memory_equal(m->b + AT_BODY + 8, zero, sizeof(zero));
	return get64(m->b + AT_BODY);
}

static void give_beat(struct channel *c, struct ic_message *m, uint64_t number)
{
	put64(m->b + AT_BODY, number);
	rig_answer(c, m);
}

static void ic_011_heartbeats_are_counted_and_missed_ones_reported(void **state)
{
	struct ic_message m;
	struct channel c;
	uint64_t number;

	assert_false(info().alive);
	assert_true(info().silent == ~0ull);
	assert_int_equal(info().period, 10);
	open_heartbeat(&c);
	for (unsigned int n = 1; n <= 20; n++) {
		number = take_beat(&c, &m);
		assert_false(channel_has_packet(&c));
		give_beat(&c, &m, number + 1);
		wait_for(info().beats == n);
		assert_true(info().silent < 86400000);
	}
	take_beat(&c, &m);
	wait_for(info().missed >= 3);
	assert_false(info().alive);
	assert_false(channel_has_packet(&c));
	assert_int_equal(info().beats, 20);
	/* late, and alive again */
	give_beat(&c, &m, get64(m.b + AT_BODY) + 1);
	wait_for(info().beats == 21);
	wait_for(channel_has_packet(&c));
	channel_close(&c);
	guest_unload(&rig.g);
}

static void ic_012_wrong_numbers_are_no_life(void **state)
{
	static const int64_t wrong[] = {0, 2, -1, 1000000, INT64_MIN, INT64_MAX};
	struct ic_message m;
	struct channel c;
	uint64_t number;

	open_heartbeat(&c);
	for (unsigned int n = 0; n < COUNT(wrong); n++) {
		number = take_beat(&c, &m);
		give_beat(&c, &m, number + (uint64_t)wrong[n]);
		wait_for(info().wrong_beats == n + 1);
		assert_int_equal(info().beats, 0);
		assert_false(info().alive);
	}
	assert_true(info().missed >= COUNT(wrong));
	assert_int_equal(rig_counts(&rig, IC_COMPONENT_HEARTBEAT).rejected, COUNT(wrong));
	number = take_beat(&c, &m);
	give_beat(&c, &m, number + 1);
	wait_for(info().beats == 1);
	channel_close(&c);
	guest_unload(&rig.g);
}

static void ic_010_short_heartbeats_have_what_is_there(void **state)
{
	struct ic_message m;
	struct channel c;
	uint64_t number;

	open_heartbeat(&c);
	/* no application state, and not even a number */
	number = take_beat(&c, &m);
	put32(m.b + AT_BODY + 8, 2);
	put16(m.b + AT_SIZE, 12);
	give_beat(&c, &m, number + 1);
	wait_for(info().beats == 1);
	assert_int_equal(info().application_state, 2);
	number = take_beat(&c, &m);
	put32(m.b + AT_BODY + 8, 3);
	put16(m.b + AT_SIZE, 8);
	m.size = 28;
	give_beat(&c, &m, number + 1);
	wait_for(info().beats == 2);
	assert_int_equal(info().application_state, 0);
	for (uint16_t size = 0; size < 8; size++) {
		number = take_beat(&c, &m);
		put16(m.b + AT_SIZE, size);
		m.size = 20u + size;
		m.b[AT_MESSAGE_FLAGS] = 5;
		put64(m.b + AT_BODY, number + 1);
		rig_send_message(&c, &m);
		wait_for(info().wrong_beats == size + 1u);
	}
	assert_int_equal(info().beats, 2);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* The application's state is in messages from version 3.0 on. */
static void heartbeats_of_version_1_have_no_application_state(void **state)
{
	struct ic_message m;
	struct channel c;
	uint64_t number;

	rig_open(&rig, &c, IC_COMPONENT_HEARTBEAT);
	rig_negotiate(&c, VERSION(1, 0), VERSION(1, 0));
	number = take_beat(&c, &m);
	put32(m.b + AT_BODY + 8, 1);
	give_beat(&c, &m, number + 1);
	wait_for(info().beats == 1);
	assert_int_equal(info().application_state, 0);
	channel_close(&c);
	guest_unload(&rig.g);
}

static void beat_twice(struct channel *c)
{
	uint64_t beats = info().beats, number;
	struct ic_message m;

	for (unsigned int n = 1; n <= 2; n++) {
		number = take_beat(c, &m);
		give_beat(c, &m, number + 1);
		wait_for(info().beats == beats + n);
	}
}

static void ic_013_heartbeats_resume_with_a_new_negotiation(void **state)
{
	struct ic_message m;
	struct channel c;

	open_heartbeat(&c);
	beat_twice(&c);
	for (unsigned int n = 0; n < 3; n++) {
		assert_int_equal(rig_control(&rig, IC_IOCTL_PAUSE, IC_COMPONENT_HEARTBEAT), OK_);
		assert_false(info().alive);
		/* what was under way is answered or not */
		if (channel_has_packet(&c)) {
			take_beat(&c, &m);
			give_beat(&c, &m, get64(m.b + AT_BODY) + 1);
		}
		assert_int_equal(rig_control(&rig, IC_IOCTL_START, IC_COMPONENT_HEARTBEAT), OK_);
		rig_negotiate(&c, VERSION(3, 0), VERSION(3, 0));
		beat_twice(&c);
		channel_close(&c);
		open_heartbeat(&c);
		beat_twice(&c);
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

/* ---- shutdown ---- */

static void open_shutdown(struct channel *c, uint32_t version)
{
	rig_open(&rig, c, IC_COMPONENT_SHUTDOWN);
	rig_negotiate(c, VERSION(3, 0), version);
	wait_for(rig_state(&rig, IC_COMPONENT_SHUTDOWN) == IC_STATE_READY);
}

static struct ask shutdown_ask(uint32_t flags)
{
	struct ask a = {.u.shutdown.shutdown.flags = flags};

	return a;
}

static kmcl_status refused_shutdown(uint32_t flags)
{
	struct ask a = shutdown_ask(flags);

	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	ask_end(&a);
	return a.status;
}

static void ic_014_a_shutdown_request_to_the_byte(void **state)
{
	struct ask a = shutdown_ask(1);
	uint8_t want[2080] = {0};
	struct ic_message m;
	struct channel c;
	uint8_t text[64];
	uint32_t n;

	open_shutdown(&c, VERSION(3, 2));
	a.u.shutdown.shutdown.reason = 0x80020003;
	a.u.shutdown.shutdown.timeout = 75;
	n = put_text(text, "Good night");
	memcpy((uint8_t *)&a.u.shutdown.shutdown + 12, text, n);
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	rig_receive(&c, &m);
	parse_hex("0300 0000 0300 0300 0200 0c08 00000000 02 03 0000"
		  "03000280 4b000000 01000000",
		  want, sizeof(want));
	memcpy(want + 32, text, n);
	assert_int_equal(m.size, 2080); /* and 8 of the pipe's: 2088 */
	assert_memory_equal(m.b, want, 2080);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_int_equal(a.returned, 4);
	assert_int_equal(a.u.answer.status, 0);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* Which flags a version knows; the rest is refused before anything is sent. */
static void ic_015_restart_and_hibernation_need_their_versions(void **state)
{
	static const uint32_t versions[] = {VERSION(3, 0), VERSION(3, 1), VERSION(3, 2)};
	struct ic_message m;
	struct channel c;

	for (unsigned int v = 0; v < COUNT(versions); v++) {
		open_shutdown(&c, versions[v]);
		for (uint32_t flags = 0; flags < 6; flags++) {
			uint64_t sent = rig_counts(&rig, IC_COMPONENT_SHUTDOWN).sent;
			struct ask a = shutdown_ask(flags);

			if (flags / 2 > v) {
				assert_int_equal(refused_shutdown(flags), NOT_KNOWN_);
				assert_int_equal(rig_counts(&rig, IC_COMPONENT_SHUTDOWN).sent,
						 sent);
				continue;
			}
			ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
			rig_receive(&c, &m);
			assert_int_equal(get32(m.b + AT_BODY + 8), flags);
			rig_answer(&c, &m);
			ask_end(&a);
			assert_int_equal(a.status, OK_);
		}
		assert_int_equal(refused_shutdown(6), BAD_);
		assert_int_equal(refused_shutdown(8), BAD_);
		assert_int_equal(refused_shutdown(~0u), BAD_);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

static void ic_016_acceptance_refusal_and_silence(void **state)
{
	struct ic_message m;
	struct channel c;
	struct ask a;

	assert_int_equal(refused_shutdown(0), NOT_READY_);
	open_shutdown(&c, VERSION(3, 2));
	a = shutdown_ask(0);
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	rig_receive(&c, &m);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_int_equal(a.u.answer.status, 0);

	a = shutdown_ask(4);
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	rig_receive(&c, &m);
	put32(m.b + AT_STATUS, E_FAIL);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	assert_int_equal(a.u.answer.status, E_FAIL);

	a = shutdown_ask(0);
	a.u.shutdown.wait = 20;
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	ask_end(&a);
	assert_int_equal(a.status, LATE_);
	/* once it has been answered after all, there may be another */
	assert_int_equal(refused_shutdown(0), BUSY_);
	rig_receive(&c, &m);
	rig_answer(&c, &m);
	wait_for(rig_counts(&rig, IC_COMPONENT_SHUTDOWN).answered == 4);
	a = shutdown_ask(0);
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	rig_receive(&c, &m);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);

	/* and one that goes away without a word */
	a = shutdown_ask(0);
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	rig_receive(&c, &m);
	channel_close(&c);
	ask_end(&a);
	assert_int_equal(a.status, CLOSED_);
	guest_unload(&rig.g);
}

static void ic_017_one_shutdown_at_a_time(void **state)
{
	struct ask a = shutdown_ask(0);
	struct ic_message m;
	struct channel c;

	open_shutdown(&c, VERSION(3, 2));
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	rig_receive(&c, &m);
	assert_int_equal(refused_shutdown(0), BUSY_);
	assert_int_equal(refused_shutdown(3), BUSY_);
	assert_false(channel_has_packet(&c));
	assert_int_equal(rig_counts(&rig, IC_COMPONENT_SHUTDOWN).sent, 2);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* The driver goes while the guest is asked. */
static void a_request_under_way_ends_with_the_device(void **state)
{
	struct ask a = shutdown_ask(0);
	struct ic_message m;
	struct channel c;

	open_shutdown(&c, VERSION(3, 2));
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	rig_receive(&c, &m);
	assert_int_equal(kmcl_driver_unload(rig.driver), 0);
	rig.driver = NULL;
	ask_end(&a);
	assert_int_equal(a.status, REMOVED_);
}

static NTSTATUS on_completed(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
	atomic_store((_Atomic NTSTATUS *)context, irp->IoStatus.Status);
	return STATUS_MORE_PROCESSING_REQUIRED;
}

/* A program's thread may cancel what it waits for; what the guest says then reaches nobody. */
static void a_request_under_way_can_be_cancelled(void **state)
{
	static struct ic_shutdown_request request;
	_Atomic NTSTATUS status = STATUS_PENDING;
	PDEVICE_OBJECT device;
	PIO_STACK_LOCATION location;
	struct ic_message m;
	struct channel c;
	PIRP irp;

	open_shutdown(&c, VERSION(3, 2));
	device = nt_driver_device(rig.driver->nt, 0);
	irp = IoAllocateIrp(device->StackSize, FALSE);
	assert_non_null(irp);
	irp->AssociatedIrp.SystemBuffer = &request;
	location = IoGetNextIrpStackLocation(irp);
	location->MajorFunction = IRP_MJ_DEVICE_CONTROL;
	location->Parameters.DeviceIoControl.IoControlCode = IC_IOCTL_SHUTDOWN;
	location->Parameters.DeviceIoControl.InputBufferLength = sizeof(request);
	location->Parameters.DeviceIoControl.OutputBufferLength = sizeof(request);
	IoSetCompletionRoutine(irp, on_completed, (PVOID)&status, TRUE, TRUE, TRUE);
	assert_int_equal(IoCallDriver(device, irp), STATUS_PENDING);
	rig_receive(&c, &m);
	assert_int_equal(atomic_load(&status), STATUS_PENDING);
	assert_true(IoCancelIrp(irp));
	assert_int_equal(atomic_load(&status), STATUS_CANCELLED);
	assert_false(IoCancelIrp(irp));
	rig_answer(&c, &m);
	wait_for(rig_counts(&rig, IC_COMPONENT_SHUTDOWN).answered == 2);
	IoFreeIrp(irp);
	nt_device_dereference(device);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* ---- time synchronisation ---- */

static void open_timesync(struct channel *c, uint32_t version)
{
	rig_open(&rig, c, IC_COMPONENT_TIMESYNC);
	rig_negotiate(c, VERSION(3, 0), version);
}

static void ic_018_the_form_follows_the_version(void **state)
{
	static const struct {
		uint32_t version, body, flags_at;
	} forms[] = {{VERSION(1, 0), 28, 24}, {VERSION(3, 0), 28, 24}, {VERSION(4, 0), 24, 16}};
	uint64_t host = rig_real_ns / 100 + EPOCH;
	uint8_t zero[28] = {0};
	struct ic_message m;
	struct channel c;

	for (unsigned int i = 0; i < COUNT(forms); i++) {
		open_timesync(&c, forms[i].version);
		rig_receive(&c, &m);
		assert_int_equal(get16(m.b + AT_TYPE), 4);
		assert_int_equal(m.size, 20 + forms[i].body);
		assert_int_equal(get64(m.b + AT_BODY), host);
		assert_int_equal(get64(m.b + AT_BODY + 8), forms[i].body == 24 ? rig_reference : 0);
		assert_int_equal(m.b[AT_BODY + forms[i].flags_at], 1);
		memset(m.b + AT_BODY, 0, 16);
		m.b[AT_BODY + forms[i].flags_at] = 0;
		assert_memory_equal(m.b + AT_BODY, zero, forms[i].body);
		channel_close(&c);
	}
	guest_unload(&rig.g);
}

/* One SYNC, then SAMPLEs, each after the answer to the one before; after a resume the same. */
static void ic_019_one_sync_then_samples(void **state)
{
	struct ic_message m;
	struct channel c;

	open_timesync(&c, VERSION(4, 0));
	for (unsigned int session = 1; session <= 3; session++) {
		for (unsigned int n = 0; n < 10; n++) {
			rig_receive(&c, &m);
			assert_int_equal(m.b[AT_BODY + 16], n ? 2 : 1);
			/* some periods go by */
			if (n == 3)
				nap_us(50000);
			assert_false(channel_has_packet(&c));
			rig_answer(&c, &m);
		}
		wait_for(info().samples >= 9 * session);
		assert_int_equal(info().syncs, session);
		assert_int_equal(rig_control(&rig, IC_IOCTL_PAUSE, IC_COMPONENT_TIMESYNC), OK_);
		if (channel_has_packet(&c)) {
			rig_receive(&c, &m);
			rig_answer(&c, &m);
		}
		assert_int_equal(rig_control(&rig, IC_IOCTL_START, IC_COMPONENT_TIMESYNC), OK_);
		rig_negotiate(&c, VERSION(3, 0), VERSION(4, 0));
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

/* Both clocks as the partition tells them at one time, whatever the time is when they are sent. */
static void ic_020_both_clocks_are_read_together(void **state)
{
	struct ic_message m;
	struct channel c;

	open_timesync(&c, VERSION(4, 0));
	for (unsigned int n = 0; n < 5; n++) {
		rig_receive(&c, &m);
		assert_int_equal(get64(m.b + AT_BODY), rig_real_ns / 100 + EPOCH);
		assert_int_equal(get64(m.b + AT_BODY + 8), rig_reference);
		rig_answer(&c, &m);
	}
	channel_close(&c);
	guest_unload(&rig.g);
}

/* The partition's own counter: it runs with the clock, from the partition's beginning. */
static void ic_020_the_reference_is_the_partitions_counter(void **state)
{
	uint64_t before, after, real_before, real_after, host, reference;
	struct ic_message m;
	struct channel c;

	rig_read_clocks(&rig, &before, &real_before);
	open_timesync(&c, VERSION(4, 0));
	rig_receive(&c, &m);
	rig_read_clocks(&rig, &after, &real_after);
	host = get64(m.b + AT_BODY);
	reference = get64(m.b + AT_BODY + 8);
	assert_in_range(reference, before, after);
	assert_in_range(host, real_before / 100 + EPOCH - 10000, real_after / 100 + EPOCH + 10000);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* Where the counter cannot be had, no version that needs it is offered. */
static void ic_018_020_without_a_reference_time_there_is_no_version_4(void **state)
{
	struct ic_message m;
	struct channel c;

	rig_real_ns = 0;
	rig_open(&rig, &c, IC_COMPONENT_TIMESYNC);
	rig_receive(&c, &m);
	assert_int_equal(get16(m.b + AT_BODY + 2), 2);
	assert_int_equal(get32(m.b + AT_BODY + 16), VERSION(1, 0));
	assert_int_equal(get32(m.b + AT_BODY + 20), VERSION(3, 0));
	rig_choose(&m, VERSION(3, 0), VERSION(3, 0));
	rig_answer(&c, &m);
	rig_receive(&c, &m);
	assert_int_equal(m.size, 20 + 28);
	assert_true(get64(m.b + AT_BODY) > EPOCH);
	channel_close(&c);
	/* 4.0 all the same: it was not offered */
	rig_open(&rig, &c, IC_COMPONENT_TIMESYNC);
	rig_negotiate(&c, VERSION(3, 0), VERSION(4, 0));
	wait_for(rig_state(&rig, IC_COMPONENT_TIMESYNC) == IC_STATE_UNMATCHED);
	channel_close(&c);
	guest_unload(&rig.g);
}

static struct ask clock_ask(uint32_t operation, int64_t value)
{
	struct ask a = {.u.clock = {.operation = operation, .value = value}};

	return a;
}

/* What comes next is a SYNC of that time. */
static void expect_sync(struct channel *c, uint64_t time, struct ask *a)
{
	struct ic_message m;

	rig_receive(c, &m);
	/* a sample may have been on its way */
	if (m.b[AT_BODY + 16] == 2) {
		rig_answer(c, &m);
		rig_receive(c, &m);
	}
	assert_int_equal(m.b[AT_BODY + 16], 1);
	assert_int_equal(get64(m.b + AT_BODY), time);
	rig_answer(c, &m);
	ask_end(a);
	assert_int_equal(a->status, OK_);
	assert_int_equal(a->u.answer.status, 0);
}

static void a_set_clock_is_told_and_kept(void **state)
{
	uint64_t now = rig_real_ns / 100 + EPOCH;
	struct ic_message m;
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, IC_COMPONENT_TIMESYNC);
	a = clock_ask(IC_CLOCK_OFFSET, -36000000000);
	ask_begin(&rig, &a, IC_IOCTL_CLOCK);
	expect_sync(&c, now - 36000000000, &a);
	assert_int_equal(info().clock_offset, -36000000000);
	rig_receive(&c, &m);
	assert_int_equal(m.b[AT_BODY + 16], 2);
	assert_int_equal(get64(m.b + AT_BODY), now - 36000000000);
	rig_answer(&c, &m);
	a = clock_ask(IC_CLOCK_SYNC, 0);
	ask_begin(&rig, &a, IC_IOCTL_CLOCK);
	expect_sync(&c, now - 36000000000, &a);
	a = clock_ask(IC_CLOCK_OFFSET, 0);
	ask_begin(&rig, &a, IC_IOCTL_CLOCK);
	expect_sync(&c, now, &a);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* The year 2001, while the host's clock goes on: what is told is that, or a little more. */
static void a_clock_set_to_a_time(void **state)
{
	const int64_t want = 126227808000000000;
	struct ic_message m;
	struct channel c;
	struct ask a;

	rig_ready(&rig, &c, IC_COMPONENT_TIMESYNC);
	a = clock_ask(IC_CLOCK_TIME, want);
	ask_begin(&rig, &a, IC_IOCTL_CLOCK);
	rig_receive(&c, &m);
	assert_int_equal(m.b[AT_BODY + 16], 1);
	assert_in_range(get64(m.b + AT_BODY), want - 10000, want + 600000000);
	rig_answer(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, OK_);
	channel_close(&c);
	guest_unload(&rig.g);
}

static void clocks_that_cannot_be_set(void **state)
{
	static const struct {
		uint32_t operation;
		int64_t value;
	} bad[] = {
		{IC_CLOCK_SYNC, 1},
		{IC_CLOCK_TIME, 0},
		{IC_CLOCK_TIME, INT64_MAX},
		{IC_CLOCK_TIME, INT64_MIN},
		{IC_CLOCK_TIME, EPOCH - 1},
		{IC_CLOCK_TIME, 2650467744000000000},
		{IC_CLOCK_OFFSET, INT64_MIN},
		{IC_CLOCK_OFFSET, INT64_MAX},
		{IC_CLOCK_OFFSET, 2650467743999999999},
		{IC_CLOCK_OFFSET, -2650467743999999999},
		{3, 0},
		{~0u, 0},
	};
	struct ask a = clock_ask(IC_CLOCK_SYNC, 0);
	struct channel c;

	ask_begin(&rig, &a, IC_IOCTL_CLOCK);
	ask_end(&a);
	assert_int_equal(a.status, NOT_READY_);
	rig_ready(&rig, &c, IC_COMPONENT_TIMESYNC);
	for (unsigned int i = 0; i < COUNT(bad); i++) {
		a = clock_ask(bad[i].operation, bad[i].value);
		ask_begin(&rig, &a, IC_IOCTL_CLOCK);
		ask_end(&a);
		assert_int_equal(a.status, BAD_);
	}
	assert_int_equal(info().clock_offset, 0);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* A set clock that is not answered in time, and one asked for meanwhile: the second is sent when
 * the first is answered, and its own answer alone ends it. */
static void ic_019_a_sync_waits_for_the_answer_before_it(void **state)
{
	struct ic_message m;
	struct channel c;
	struct ask a, b;

	rig_ready(&rig, &c, IC_COMPONENT_TIMESYNC);
	a = clock_ask(IC_CLOCK_SYNC, 0);
	a.u.clock.wait = 20;
	ask_begin(&rig, &a, IC_IOCTL_CLOCK);
	rig_receive(&c, &m);
	ask_end(&a);
	assert_int_equal(a.status, LATE_);
	b = clock_ask(IC_CLOCK_OFFSET, 10000000);
	ask_begin(&rig, &b, IC_IOCTL_CLOCK);
	wait_for(info().clock_offset == 10000000);
	a = clock_ask(IC_CLOCK_SYNC, 0);
	ask_begin(&rig, &a, IC_IOCTL_CLOCK);
	ask_end(&a);
	assert_int_equal(a.status, BUSY_);
	assert_false(channel_has_packet(&c));
	put32(m.b + AT_STATUS, E_FAIL);
	rig_answer(&c, &m);
	rig_receive(&c, &m);
	assert_int_equal(m.b[AT_BODY + 16], 1);
	rig_answer(&c, &m);
	ask_end(&b);
	assert_int_equal(b.status, OK_);
	assert_int_equal(b.u.answer.status, 0);
	channel_close(&c);
	guest_unload(&rig.g);
}

/* ---- device control ---- */

static void requests_that_make_no_sense(void **state)
{
	static const uint32_t codes[] = {IC_IOCTL_SHUTDOWN, IC_IOCTL_CLOCK, IC_IOCTL_KVP,
					 IC_IOCTL_IP};
	static const size_t sizes[] = {sizeof(struct ic_shutdown_request),
				       sizeof(struct ic_clock_request),
				       sizeof(struct ic_kvp_request), sizeof(struct ic_ip_request)};
	uint8_t bytes[sizeof(struct ic_ip_request)] = {0};
	struct ic_select none = {.component = IC_COMPONENTS};

	assert_int_equal(rig_do(&rig, IC_IOCTL(9), bytes, 8, bytes, 8), UNKNOWN_);
	assert_int_equal(rig_do(&rig, 0x222000, bytes, 8, bytes, 8), UNKNOWN_);
	assert_int_equal(rig_do(&rig, IC_IOCTL_QUERY, NULL, 0, bytes, sizeof(struct ic_info) - 1),
			 SMALL_);
	for (unsigned int i = 0; i < COUNT(codes); i++) {
		assert_int_equal(rig_do(&rig, codes[i], bytes, sizes[i] - 1, bytes, sizes[i]),
				 BAD_);
		assert_int_equal(rig_do(&rig, codes[i], bytes, sizes[i], bytes, 3), SMALL_);
		put32(bytes, IC_MOST_WAIT + 1);
		assert_int_equal(rig_do(&rig, codes[i], bytes, sizes[i], bytes, sizes[i]), BAD_);
		put32(bytes, 0);
	}
	assert_int_equal(rig_do(&rig, IC_IOCTL_PAUSE, &none, sizeof(none), NULL, 0), ABSENT_);
	assert_int_equal(rig_do(&rig, IC_IOCTL_PAUSE, &none, 3, NULL, 0), BAD_);
}

static void components_that_are_not_offered(void **state)
{
	static const char *const options[] = {"shutdown=0", "kvp=0", "timesync=0", NULL};
	struct ask a = shutdown_ask(0);

	rig_start(&rig, options, false);
	assert_int_equal(rig.g.offer_count, 1);
	rig_relid(&rig, IC_COMPONENT_HEARTBEAT);
	assert_int_equal(rig_state(&rig, IC_COMPONENT_SHUTDOWN), IC_STATE_ABSENT);
	assert_int_equal(rig_state(&rig, IC_COMPONENT_HEARTBEAT), IC_STATE_CLOSED);
	ask_begin(&rig, &a, IC_IOCTL_SHUTDOWN);
	ask_end(&a);
	assert_int_equal(a.status, ABSENT_);
	assert_int_equal(rig_control(&rig, IC_IOCTL_ENABLE, IC_COMPONENT_KVP), ABSENT_);
	guest_unload(&rig.g);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_QUICK(ic_011_heartbeats_are_counted_and_missed_ones_reported),
		RIG_QUICK(ic_012_wrong_numbers_are_no_life),
		RIG_QUICK(ic_010_short_heartbeats_have_what_is_there),
		RIG_QUICK(heartbeats_of_version_1_have_no_application_state),
		RIG_QUICK(ic_013_heartbeats_resume_with_a_new_negotiation),
		RIG_TEST(ic_014_a_shutdown_request_to_the_byte),
		RIG_TEST(ic_015_restart_and_hibernation_need_their_versions),
		RIG_TEST(ic_016_acceptance_refusal_and_silence),
		RIG_TEST(ic_017_one_shutdown_at_a_time),
		RIG_TEST(a_request_under_way_ends_with_the_device),
		RIG_TEST(a_request_under_way_can_be_cancelled),
		RIG_FROZEN(ic_018_the_form_follows_the_version),
		RIG_QUICK(ic_019_one_sync_then_samples),
		RIG_FROZEN(ic_020_both_clocks_are_read_together),
		RIG_TEST(ic_020_the_reference_is_the_partitions_counter),
		RIG_FROZEN(ic_018_020_without_a_reference_time_there_is_no_version_4),
		RIG_FROZEN(a_set_clock_is_told_and_kept),
		RIG_TEST(a_clock_set_to_a_time),
		RIG_TEST(clocks_that_cannot_be_set),
		RIG_TEST(ic_019_a_sync_waits_for_the_answer_before_it),
		RIG_TEST(requests_that_make_no_sense),
		cmocka_unit_test(components_that_are_not_offered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
