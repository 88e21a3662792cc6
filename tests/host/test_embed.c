/* SPDX-License-Identifier: MIT */
/* One end alone, over a machine of the embedder's: here function calls, as in examples/embed.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <kmcl/vmm.h>

#define VPS 2

struct machine {
	kmcl_partition *host, *guest;
	atomic_uint interrupts, posts, signals, ends;
	uint64_t message_page[VPS], event_flag_page[VPS];
	atomic_bool hold, held; /* interrupts wait; one does */
};

static void interrupt(void *ctx, uint32_t vp, uint32_t sint)
{
	struct machine *m = ctx;

	atomic_fetch_add(&m->interrupts, 1);
	while (atomic_load(&m->hold)) {
		atomic_store(&m->held, true);
		sched_yield();
	}
	if (m->guest)
		kmcl_guest_interrupt(m->guest, vp);
}

static int synic(void *ctx, uint32_t vp, uint64_t message_page, uint64_t event_flag_page)
{
	struct machine *m = ctx;

	m->message_page[vp] = message_page;
	m->event_flag_page[vp] = event_flag_page;
	return kmcl_host_synic(m->host, vp, message_page, event_flag_page);
}

static int mask(void *ctx, uint32_t vp, uint32_t sint, int masked)
{
	return kmcl_host_mask(((struct machine *)ctx)->host, vp, sint, masked);
}

static uint16_t post(void *ctx, uint32_t connection_id, uint32_t type, const void *payload,
		     size_t size)
{
	struct machine *m = ctx;

	atomic_fetch_add(&m->posts, 1);
	return kmcl_host_post_message(m->host, connection_id, type, payload, size);
}

static uint16_t signal_event(void *ctx, uint32_t connection_id, uint16_t flag)
{
	struct machine *m = ctx;

	atomic_fetch_add(&m->signals, 1);
	return kmcl_host_signal_event(m->host, connection_id, flag);
}

static void end_of_message(void *ctx, uint32_t vp)
{
	struct machine *m = ctx;

	atomic_fetch_add(&m->ends, 1);
	kmcl_host_end_of_message(m->host);
}

static void reset(void *ctx)
{
	kmcl_host_reset(((struct machine *)ctx)->host);
}

static const struct kmcl_host_machine for_host = {
	.size = sizeof(for_host), .processors = VPS, .interrupt = interrupt};
static const struct kmcl_guest_machine for_guest = {
	.size = sizeof(for_guest),
	.processors = VPS,
	.synic = synic,
	.mask = mask,
	.post_message = post,
	.signal_event = signal_event,
	.end_of_message = end_of_message,
	.reset = reset,
};

static void quiet(void *ctx, enum kmcl_log_severity severity, const char *subsystem, uint32_t part,
		  uint32_t channel, const char *text)
{
}

static void start_host(struct machine *m)
{
	memset(m, 0, sizeof(*m));
	kmcl_set_log(quiet, NULL);
	assert_int_equal(kmcl_partition_create_host(NULL, &for_host, m, &m->host), 0);
}

static void join(struct machine *m)
{
	struct kmcl_partition_options options;
	uint64_t bytes;
	int fd;

	kmcl_partition_options_init(&options);
	options.memory = 16u << 20;
	assert_int_equal(kmcl_partition_create_guest(&options, &for_guest, m, &m->guest), 0);
	fd = kmcl_guest_memory(m->guest, &bytes);
	assert_int_equal(bytes, 16u << 20);
	assert_int_equal(kmcl_host_add_memory(m->host, fd, 0, bytes, 0), 0);
	assert_int_equal(kmcl_guest_connect(m->guest), 0);
}

static void stop(struct machine *m)
{
	kmcl_partition_destroy(m->guest);
	m->guest = NULL;
	kmcl_partition_destroy(m->host);
	kmcl_set_log(NULL, NULL);
}

/* Until the close has come through. */
static void wait_saved(kmcl_partition *host, void **bytes, size_t *size)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	char *error = NULL;
	int code = -EBUSY;

	for (int i = 0; i < 5000 && code == -EBUSY; i++) {
		kmcl_free(error);
		code = kmcl_partition_save(host, bytes, size, &error);
		if (code)
			nanosleep(&pause, NULL);
	}
	if (code)
		fail_msg("%s", error);
}

static void drivers_talk_across(void **state)
{
	struct machine m;
	kmcl_driver *vsp, *vsc;
	char *error = NULL;

	start_host(&m);
	assert_int_equal(kmcl_driver_load(m.host, KMCL_SERVER, ECHO_VSP, &vsp, &error), 0);
	join(&m);
	assert_int_equal(kmcl_driver_load(m.guest, KMCL_CLIENT, ECHO_VSC, &vsc, &error), 0);
	assert_int_equal(kmcl_driver_wait_devices(vsc, 1, 20000), 0);
	assert_true(atomic_load(&m.posts) >= 1);
	assert_true(atomic_load(&m.interrupts) >= 1);
	assert_int_equal(kmcl_driver_unload(vsc), 0);
	for (uint32_t vp = 0; vp < VPS; vp++)
		assert_int_not_equal(m.message_page[vp], 0);
	/* the host is told of its end: it does not interrupt what is no more */
	stop(&m);
	for (uint32_t vp = 0; vp < VPS; vp++)
		assert_true(!m.message_page[vp] && !m.event_flag_page[vp]);
}

/* A second host for the same guest. It knows where the guest's pages are, as a VMM does. */
static kmcl_partition *another_host(struct machine *m, uint64_t event_flag_page[VPS])
{
	kmcl_partition *host;
	uint64_t bytes;
	int fd = kmcl_guest_memory(m->guest, &bytes);

	assert_int_equal(kmcl_partition_create_host(NULL, &for_host, m, &host), 0);
	assert_int_equal(kmcl_host_add_memory(host, fd, 0, bytes, 0), 0);
	for (uint32_t i = 0; i < VPS; i++)
		assert_int_equal(kmcl_host_synic(host, i, m->message_page[i], event_flag_page[i]),
				 0);
	return host;
}

static void a_guest_moves_to_another_host(void **state)
{
	kmcl_driver *vsp, *vsc;
	kmcl_partition *first, *second;
	uint64_t event_pages[VPS];
	char *error = NULL;
	struct machine m;
	size_t size = 0;
	void *bytes = NULL;

	start_host(&m);
	first = m.host;
	assert_int_equal(kmcl_driver_load(first, KMCL_SERVER, ECHO_VSP, &vsp, &error), 0);
	join(&m);
	assert_int_equal(kmcl_driver_load(m.guest, KMCL_CLIENT, ECHO_VSC, &vsc, &error), 0);
	assert_int_equal(kmcl_driver_wait_devices(vsc, 1, 20000), 0);
	/* the echo server does not save its channel: it cannot be left open */
	while (kmcl_partition_save(first, &bytes, &size, &error) == 0) {
		kmcl_free(bytes); /* the open has not come so far */
		assert_int_equal(kmcl_partition_resume(first), 0);
	}
	assert_non_null(strstr(error, "channel 1 is "));
	kmcl_free(error);
	assert_int_equal(kmcl_partition_resume(first), -EINVAL);
	assert_int_equal(kmcl_driver_unload(vsc), 0);
	wait_saved(first, &bytes, &size);
	assert_int_equal(kmcl_partition_restore(first, bytes, size, &error), -EBUSY);
	kmcl_free(error);
	for (uint32_t i = 0; i < VPS; i++)
		event_pages[i] = m.event_flag_page[i];
	second = another_host(&m, event_pages);
	((uint8_t *)bytes)[8] = 9;
	assert_int_equal(kmcl_partition_restore(second, bytes, size, &error), -EINVAL);
	assert_non_null(strstr(error, "header.version"));
	kmcl_free(error);
	((uint8_t *)bytes)[8] = 1;
	assert_int_equal(kmcl_partition_restore(second, bytes, size, &error), 0);
	kmcl_free(bytes);
	atomic_store(&m.posts, 0);
	m.host = second;
	kmcl_partition_destroy(first);
	assert_int_equal(kmcl_driver_load(second, KMCL_SERVER, ECHO_VSP, &vsp, &error), 0);
	kmcl_partition_restored(second);
	/* the guest has not been asked for anything: no contact, no release */
	assert_int_equal(atomic_load(&m.posts), 0);
	assert_int_equal(kmcl_driver_load(m.guest, KMCL_CLIENT, ECHO_VSC, &vsc, &error), 0);
	assert_int_equal(kmcl_driver_wait_devices(vsc, 1, 20000), 0);
	/* its rings' GPADL and the open */
	for (int i = 0; atomic_load(&m.posts) < 2; i++) {
		struct timespec pause = {.tv_nsec = 1000000};

		assert_true(i < 20000);
		nanosleep(&pause, NULL);
	}
	assert_int_equal(kmcl_driver_unload(vsc), 0);
	stop(&m);
}

static void an_end_that_is_not_there_takes_no_driver(void **state)
{
	struct machine m;
	kmcl_driver *driver;
	char *error = NULL;

	start_host(&m);
	assert_int_equal(kmcl_driver_load(m.host, KMCL_CLIENT, ECHO_VSC, &driver, &error), -ENODEV);
	assert_non_null(strstr(error, "no client end"));
	kmcl_free(error);
	assert_int_equal(kmcl_partition_create_guest(NULL, &for_guest, &m, &m.guest), 0);
	/* Not connected: it has no end yet either. */
	assert_int_equal(kmcl_driver_load(m.guest, KMCL_CLIENT, ECHO_VSC, &driver, &error),
			 -ENODEV);
	kmcl_free(error);
	assert_int_equal(kmcl_driver_load(m.guest, KMCL_SERVER, ECHO_VSP, &driver, &error),
			 -ENODEV);
	kmcl_free(error);
	stop(&m);
}

static void a_machine_that_is_not_whole_is_refused(void **state)
{
	struct kmcl_host_machine host = for_host;
	struct kmcl_guest_machine guest = for_guest;
	kmcl_partition *p;

	host.size--;
	assert_int_equal(kmcl_partition_create_host(NULL, &host, NULL, &p), -EINVAL);
	host = for_host;
	host.processors = 0;
	assert_int_equal(kmcl_partition_create_host(NULL, &host, NULL, &p), -EINVAL);
	host.processors = 65;
	assert_int_equal(kmcl_partition_create_host(NULL, &host, NULL, &p), -EINVAL);
	host = for_host;
	host.interrupt = NULL;
	assert_int_equal(kmcl_partition_create_host(NULL, &host, NULL, &p), -EINVAL);
	guest.post_message = NULL;
	assert_int_equal(kmcl_partition_create_guest(NULL, &guest, NULL, &p), -EINVAL);
	guest = for_guest;
	guest.size++;
	assert_int_equal(kmcl_partition_create_guest(NULL, &guest, NULL, &p), -EINVAL);
	assert_null(p);
}

static void memory_is_checked(void **state)
{
	int shrinkable = memfd_create("shrinkable", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct machine m;
	uint64_t bytes;
	int fd;

	start_host(&m);
	assert_int_equal(ftruncate(shrinkable, 1 << 20), 0);
	assert_int_equal(kmcl_host_add_memory(m.host, shrinkable, 0, 1 << 20, 0), -EPERM);
	assert_int_equal(kmcl_host_add_memory(m.host, -1, 0, 1 << 20, 0), -EBADF);
	assert_int_equal(kmcl_partition_create_guest(NULL, &for_guest, &m, &m.guest), 0);
	fd = kmcl_guest_memory(m.guest, &bytes);
	assert_int_equal(kmcl_host_add_memory(m.host, fd, 0, 1000, 0), -EINVAL);
	assert_int_equal(kmcl_host_add_memory(m.host, fd, 0, 1 << 20, 0), 0);
	assert_int_equal(kmcl_host_add_memory(m.host, fd, 4096, 4096, 0), -EEXIST);
	assert_int_equal(kmcl_host_synic(m.host, 0, 0x1000, 0x2000), 0);
	assert_int_equal(kmcl_host_synic(m.host, 0, 1 << 20, 0x2000), -EINVAL);
	assert_int_equal(kmcl_host_synic(m.host, 0, 0x1001, 0x2000), -EINVAL);
	assert_int_equal(kmcl_host_synic(m.host, VPS, 0x1000, 0x2000), -EINVAL);
	close(shrinkable);
	stop(&m);
}

static void hypercalls_tell_what_was_wrong(void **state)
{
	uint8_t payload[256] = {16};
	struct machine m;

	start_host(&m);
	assert_int_equal(kmcl_host_post_message(m.host, 77, 1, payload, 8),
			 KMCL_HV_INVALID_CONNECTION_ID);
	assert_int_equal(kmcl_host_post_message(m.host, 1, 2, payload, 8),
			 KMCL_HV_INVALID_PARAMETER);
	assert_int_equal(kmcl_host_post_message(m.host, 1, 1, payload, 241),
			 KMCL_HV_INVALID_PARAMETER);
	assert_int_equal(kmcl_host_post_message(m.host, 1, 1, payload, 8), KMCL_HV_SUCCESS);
	assert_int_equal(kmcl_host_signal_event(m.host, 4711, 0), KMCL_HV_INVALID_CONNECTION_ID);
	assert_int_equal(kmcl_host_mask(m.host, VPS, 2, 0), -EINVAL);
	assert_int_equal(kmcl_host_mask(m.host, 0, 16, 0), -EINVAL);
	stop(&m);
}

static void a_guest_connects_once(void **state)
{
	struct machine m;

	start_host(&m);
	join(&m);
	assert_int_equal(kmcl_guest_connect(m.guest), -EBUSY);
	stop(&m);
}

/* ---- a guest of bytes ---- */

#define MESSAGE_PAGE 0x1000
#define FLAG_PAGE    0x2000
#define SLOT         (MESSAGE_PAGE + 2 * 256)

static void put32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

static uint8_t *guest_of_bytes(struct machine *m)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t *memory;

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(kmcl_host_add_memory(m->host, fd, 0, 1 << 20, 0), 0);
	memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	close(fd);
	return memory;
}

static void post_contact(struct machine *m)
{
	uint8_t contact[40] = {0};

	put32(contact, 14);
	put32(contact + 8, 0x40001);
	assert_int_equal(kmcl_host_post_message(m->host, 1, 1, contact, sizeof(contact)),
			 KMCL_HV_SUCCESS);
}

/* The type of the message in the slot, which is emptied; 0: none came. */
static uint32_t take_message(struct machine *m, uint8_t *memory, unsigned int milliseconds)
{
	struct timespec pause = {.tv_nsec = 1000000};
	uint32_t *slot = (uint32_t *)(void *)(memory + SLOT);

	for (unsigned int i = 0; i < milliseconds; i++, nanosleep(&pause, NULL)) {
		uint32_t type;

		if (!__atomic_load_n(slot, __ATOMIC_ACQUIRE))
			continue;
		type = slot[4];
		__atomic_store_n(slot, 0, __ATOMIC_SEQ_CST);
		kmcl_host_end_of_message(m->host);
		return type;
	}
	return 0;
}

static void a_reset_guest_is_forgotten_and_may_come_again(void **state)
{
	struct machine m;
	uint8_t *memory;

	start_host(&m);
	memory = guest_of_bytes(&m);
	assert_int_equal(kmcl_host_synic(m.host, 0, MESSAGE_PAGE, FLAG_PAGE), 0);
	for (int life = 0; life < 3; life++) {
		post_contact(&m);
		assert_int_equal(take_message(&m, memory, 20000), 15);
		kmcl_host_reset(m.host);
		/* Its pages are its own again. */
		post_contact(&m);
		assert_int_equal(take_message(&m, memory, 20), 0);
		kmcl_host_reset(m.host);
		assert_int_equal(kmcl_host_synic(m.host, 0, MESSAGE_PAGE, FLAG_PAGE), 0);
	}
	stop(&m);
	munmap(memory, 1 << 20);
}

static void a_masked_sint_gets_its_message_later(void **state)
{
	struct machine m;
	uint8_t *memory;
	unsigned int before;

	start_host(&m);
	memory = guest_of_bytes(&m);
	assert_int_equal(kmcl_host_synic(m.host, 0, MESSAGE_PAGE, FLAG_PAGE), 0);
	assert_int_equal(kmcl_host_mask(m.host, 0, 2, 1), 0);
	before = atomic_load(&m.interrupts);
	post_contact(&m);
	assert_int_equal(take_message(&m, memory, 50), 0);
	assert_int_equal(atomic_load(&m.interrupts), before);
	assert_int_equal(kmcl_host_mask(m.host, 0, 2, 0), 0);
	assert_int_equal(take_message(&m, memory, 20000), 15);
	assert_int_equal(atomic_load(&m.interrupts), before + 1);
	stop(&m);
	munmap(memory, 1 << 20);
}

static void *take_pages_away(void *arg)
{
	struct machine *m = arg;

	kmcl_host_synic(m->host, 0, 0, 0);
	atomic_store(&m->ends, 1);
	return NULL;
}

static void wait_for_bool(atomic_bool *flag)
{
	struct timespec pause = {.tv_nsec = 1000000};

	for (int i = 0; !atomic_load(flag); i++, nanosleep(&pause, NULL))
		assert_true(i < 30000);
}

/* Whoever takes a processor's pages away may free all that its interrupt needs. */
static void pages_go_when_the_last_interrupt_for_them_has_returned(void **state)
{
	const struct timespec while_held = {.tv_nsec = 30000000};
	struct machine m;
	pthread_t thread;
	uint8_t *memory;
	bool waited;

	start_host(&m);
	memory = guest_of_bytes(&m);
	assert_int_equal(kmcl_host_synic(m.host, 0, MESSAGE_PAGE, FLAG_PAGE), 0);
	atomic_store(&m.hold, true);
	post_contact(&m);
	wait_for_bool(&m.held);
	assert_int_equal(pthread_create(&thread, NULL, take_pages_away, &m), 0);
	nanosleep(&while_held, NULL);
	waited = !atomic_load(&m.ends);
	atomic_store(&m.hold, false);
	pthread_join(thread, NULL);
	assert_true(waited);
	stop(&m);
	munmap(memory, 1 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drivers_talk_across),
		cmocka_unit_test(a_guest_moves_to_another_host),
		cmocka_unit_test(an_end_that_is_not_there_takes_no_driver),
		cmocka_unit_test(a_machine_that_is_not_whole_is_refused),
		cmocka_unit_test(memory_is_checked),
		cmocka_unit_test(hypercalls_tell_what_was_wrong),
		cmocka_unit_test(a_guest_connects_once),
		cmocka_unit_test(a_reset_guest_is_forgotten_and_may_come_again),
		cmocka_unit_test(a_masked_sint_gets_its_message_later),
		cmocka_unit_test(pages_go_when_the_last_interrupt_for_them_has_returned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
