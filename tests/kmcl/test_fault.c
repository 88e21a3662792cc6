/* SPDX-License-Identifier: MIT */
/* Fault injection: what specifications say, which calls they hit, and what drivers then see. */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "kmcl/fault.h"
#include "kmcl/kmcl.h"

#define TAG 'tluF'

static void inject(const char *spec)
{
	char *error;
	int code = kmcl_fault_set(spec, &error);

	if (code)
		fail_msg("%s: %s", spec, error);
	assert_null(error);
}

static uint64_t calls(enum kmcl_fault_kind kind)
{
	struct kmcl_fault_counts counts = {.size = sizeof(counts)};

	assert_int_equal(kmcl_fault_counts(&counts), 0);
	return counts.calls[kind];
}

static uint64_t injected(enum kmcl_fault_kind kind)
{
	struct kmcl_fault_counts counts = {.size = sizeof(counts)};

	assert_int_equal(kmcl_fault_counts(&counts), 0);
	return counts.injected[kind];
}

static int no_faults(void **state)
{
	(void)state;
	kmcl_fault_set(NULL, NULL);
	return kt_teardown(state);
}

/* ---- specifications ---- */

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *spec, *word;
	} wrong[] = {
		{"alloc", "'alloc' says not when"},
		{"memory@1", "'memory' is no fault"},
		{"alloc@0", "'0' after 'alloc@'"},
		{"alloc@x", "'x' after 'alloc@'"},
		{"alloc@", "'' after 'alloc@'"},
		{"alloc@-1", "'-1' after 'alloc@'"},
		{"alloc@99999999999999999999", "no number"},
		{"room/", "'' after 'room/'"},
		{"alloc%0", "no percentage"},
		{"alloc%101", "no percentage"},
		{"alloc%nan", "no percentage"},
		{"alloc@1,", "missing"},
		{",alloc@1", "missing"},
		{"alloc@1:seed=3", "by chance"},
		{"alloc%1:seed=x", "a seed is a number"},
		{"alloc@1:driver=", "names no driver"},
		{"alloc@1:5ms", "'5ms' of alloc is not understood"},
		{"pend@1:5s", "200us or 5ms"},
		{"pend@1:ms", "200us or 5ms"},
		{"pend@1:61000ms", "200us or 5ms"},
		{"room@1,room@2,room@3,room@4,room@5,room@6,room@7,room@8,room@9,room@10,room@11,"
		 "room@12,room@13,room@14,room@15,room@16,room@17",
		 "more than 16"},
	};

	(void)state;
	inject("room@9");
	for (size_t i = 0; i < ARRAYSIZE(wrong); i++) {
		char *error = NULL;

		assert_int_equal(kmcl_fault_set(wrong[i].spec, &error), -EINVAL);
		if (!error || !strstr(error, wrong[i].word))
			fail_msg("%s: %s", wrong[i].spec, error ? error : "no reason");
		kmcl_free(error);
		assert_int_equal(kmcl_fault_set(wrong[i].spec, NULL), -EINVAL);
	}
	inject("alloc@17,pend/5:200us,room%0.01:seed=42:driver=echo_vsp,pend%100:5ms");
	inject("");
	inject(NULL);
}

static void environment_is_checked(void **state)
{
	char text[256] = "";
	int fds[2], status;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (!child) {
		dup2(fds[1], STDERR_FILENO);
		setenv("KMCL_FAULT", "alok@1", 1);
		execl("/proc/self/exe", "test", "--list", (char *)NULL);
		_exit(99);
	}
	close(fds[1]);
	assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	assert_non_null(strstr(text, "KMCL_FAULT=alok@1: 'alok' is no fault"));
}

/* ---- which calls ---- */

/* A letter a block of the client's: '.' or, where there was none, 'x'. */
static void allocate(struct kt_bus *bus, bool server, char *text, unsigned int count)
{
	struct nt_driver *previous = kt_enter(bus, server);

	for (unsigned int i = 0; i < count; i++) {
		void *p = ExAllocatePool2(POOL_FLAG_NON_PAGED, 16, TAG);

		text[i] = p ? '.' : 'x';
		if (p)
			ExFreePoolWithTag(p, TAG);
	}
	text[count] = 0;
	kt_leave(previous);
}

static void the_nth_and_every_nth(void **state)
{
	char text[64];

	inject("alloc@3");
	allocate(*state, false, text, 6);
	assert_string_equal(text, "..x...");
	assert_int_equal(calls(KMCL_FAULT_ALLOC), 6);
	assert_int_equal(injected(KMCL_FAULT_ALLOC), 1);
	inject("alloc/3");
	allocate(*state, false, text, 7);
	assert_string_equal(text, "..x..x.");
	inject("alloc@2,alloc@4");
	allocate(*state, false, text, 5);
	assert_string_equal(text, ".x.x.");
}

static void one_drivers_alone(void **state)
{
	char text[64];

	inject("alloc/2:driver=server");
	allocate(*state, false, text, 4);
	assert_string_equal(text, "....");
	allocate(*state, true, text, 4);
	assert_string_equal(text, ".x.x");
}

static void a_seed_gives_the_same_calls_again(void **state)
{
	char first[501], again[501], other[501];
	unsigned int hits = 0;

	inject("alloc%20:seed=42");
	allocate(*state, false, first, 500);
	inject("alloc%20:seed=42");
	allocate(*state, false, again, 500);
	assert_string_equal(first, again);
	inject("alloc%20:seed=43");
	allocate(*state, false, other, 500);
	assert_string_not_equal(first, other);
	for (unsigned int i = 0; i < 500; i++)
		hits += first[i] == 'x';
	assert_in_range(hits, 60, 140);
	inject("alloc%100");
	allocate(*state, false, first, 3);
	assert_string_equal(first, "xxx");
}

static char last_line[512];

static void keep_line(void *ctx, enum kmcl_log_level level, const char *subsystem,
		      uint32_t partition, uint32_t channel, const char *text)
{
	(void)ctx;
	(void)level;
	(void)partition;
	(void)channel;
	if (!strcmp(subsystem, "fault"))
		snprintf(last_line, sizeof(last_line), "%s", text);
}

static void the_log_says_how_to_see_it_again(void **state)
{
	char text[64], again[64];

	kmcl_log_set(keep_line, NULL);
	inject("alloc/4:driver=client");
	allocate(*state, false, text, 5);
	kmcl_log_set(NULL, NULL);
	assert_non_null(strstr(last_line, "KMCL_FAULT=alloc@4:driver=client"));
	inject(strstr(last_line, "KMCL_FAULT=") + 11);
	allocate(*state, false, again, 5);
	assert_string_equal(text, again);
}

static void the_library_allocates_for_the_driver(void **state)
{
	struct kt_bus *bus = *state;
	struct nt_driver *previous;
	struct kt_pair p = kt_pair_new(bus);
	uint8_t *memory = kt_guest_alloc(bus, 4096);
	VMBCHANNEL channel;
	UINT32 gpadl;
	PMDL mdl;

	kt_pair_open(&p);
	inject("alloc%100:driver=client");
	previous = kt_enter(bus, false);
	assert_null(VmbPacketAllocate(p.client->h));
	assert_int_equal(VmbChannelAllocate(bus->client_pdo, FALSE, &channel),
			 STATUS_INSUFFICIENT_RESOURCES);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, memory, 4096, &gpadl),
			 STATUS_INSUFFICIENT_RESOURCES);
	assert_null(IoAllocateMdl(memory, 4096, FALSE, FALSE, NULL));
	assert_null(IoAllocateIrp(1, FALSE));
	kt_leave(previous);
	inject(NULL);
	assert_int_equal(VmbChannelCreateGpadlFromBuffer(p.client->h, 0, memory, 4096, &gpadl), 0);
	inject("alloc@1:driver=server");
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, gpadl, &mdl),
			 STATUS_INSUFFICIENT_RESOURCES);
	assert_int_equal(VmbChannelMapGpadl(p.server->h, 0, gpadl, &mdl), STATUS_SUCCESS);
	VmbChannelUnmapGpadl(p.server->h, gpadl);
	VmbChannelDeleteGpadl(p.client->h, gpadl);
	kt_pair_free(&p);
	kt_guest_free(bus, memory);
}

/* ---- the ring ---- */

static void no_room_queues_and_goes_on(void **state)
{
	LARGE_INTEGER now = {.QuadPart = 0};
	struct kt_pair p = kt_pair_new(*state);
	struct kt_send *s[8];
	uint64_t data = 0;

	kt_pair_open(&p);
	inject("room@1");
	assert_int_equal(
		VmbChannelSendSynchronousRequest(p.client->h, &data, 8, NULL, 0, NULL, NULL, &now),
		STATUS_BUFFER_OVERFLOW);
	assert_int_equal(
		VmbChannelSendSynchronousRequest(p.client->h, &data, 8, NULL, 0, NULL, NULL, &now),
		STATUS_SUCCESS);
	KT_WAIT(p.server->packet_count == 1);
	inject("room/2"); /* requests and answers alike */
	for (unsigned int i = 0; i < ARRAYSIZE(s); i++) {
		s[i] = kt_send_new(p.client);
		assert_int_equal(kt_send_pattern(s[i], 64, i, KT_WAITED), STATUS_SUCCESS);
	}
	for (unsigned int i = 0; i < ARRAYSIZE(s); i++) {
		KT_WAIT(atomic_load(&s[i]->routines) == 1);
		assert_int_equal(s[i]->status, STATUS_SUCCESS);
		assert_true(kt_filled(s[i]->data, 64, i));
		kt_send_free(s[i]);
	}
	assert_true(injected(KMCL_FAULT_ROOM) >= 4);
	assert_int_equal(p.server->packet_count, 1 + ARRAYSIZE(s));
	inject(NULL);
	kt_pair_free(&p);
}

static bool take_data(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		      UINT32 flags)
{
	NTSTATUS status;
	PMDL mdl = NULL;

	status = VmbChannelPacketGetExternalData(packet, 0, &mdl);
	if (status == STATUS_PENDING) {
		atomic_fetch_add((atomic_uint *)c->arg, 1);
		kt_comes_again(c);
		return true;
	}
	if (!NT_SUCCESS(status) || MmGetMdlByteCount(mdl) != 4096)
		kt_problem("no external data: 0x%08x", (unsigned int)status);
	return false;
}

static void data_pends_as_often_as_said(void **state)
{
	struct kt_bus *bus = *state;
	struct kt_pair p = kt_pair_new(bus);
	atomic_uint pended = 0;
	uint64_t data = 0;
	uint8_t *va;
	PMDL mdl = kt_mdl_alloc(bus, 4096, &va);

	p.server->on_packet = take_data;
	p.server->arg = &pended;
	kt_pair_open(&p);
	inject("pend/3:100us:driver=server");
	for (unsigned int i = 0; i < 9; i++) {
		struct kt_send *s = kt_send_new(p.client);

		assert_int_equal(VmbPacketSend(s->packet, &data, 8, mdl, KT_WAITED), 0);
		KT_WAIT(atomic_load(&s->routines) == 1);
		kt_send_free(s);
	}
	/* the third call is the first of the third packet, which asks again: the fourth */
	assert_int_equal(atomic_load(&pended), injected(KMCL_FAULT_PEND));
	assert_true(atomic_load(&pended) >= 2);
	inject(NULL);
	kt_pair_free(&p);
	kt_mdl_free(bus, mdl);
}

/* ---- the peer ---- */

static void open_again(struct kt_pair *p)
{
	KT_WAIT(kt_is_disabled(p->client));
	kt_forget(p->client);
	kt_forget(p->server);
	kt_do_enable(p->client->h);
	KT_EXPECT(p->client, "OSP");
	KT_EXPECT(p->server, "OSP");
}

static void send_one(struct kt_pair *p)
{
	struct kt_send *s = kt_send_new(p->client);

	assert_int_equal(kt_send_pattern(s, 64, 1, KT_WAITED), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
}

/* Refused, or ended one way or the other. */
static void send_last(struct kt_pair *p)
{
	struct kt_send *s = kt_send_new(p->client);
	NTSTATUS status = kt_send_pattern(s, 64, 1, KT_WAITED);

	if (NT_SUCCESS(status))
		KT_WAIT(atomic_load(&s->routines) == 1);
	else
		assert_int_equal(status, STATUS_DEVICE_REMOVED);
	kt_send_free(s);
}

/* The channel is closed under whoever sends or is given the second packet, and can be opened again.
 */
static void broken_at_the_second_packet(struct kt_bus *bus, const char *spec,
					enum kmcl_fault_kind kind)
{
	struct kt_pair p = kt_pair_new(bus);

	kt_pair_open(&p);
	inject(spec);
	send_one(&p);
	send_last(&p);
	KT_EXPECT(p.client, "OSPUC");
	KT_EXPECT(p.server, "OSPUC");
	assert_int_equal(injected(kind), 1);
	inject(NULL);
	open_again(&p);
	send_one(&p);
	kt_pair_free(&p);
}

static void the_client_closes(void **state)
{
	broken_at_the_second_packet(*state, "close@2:driver=server", KMCL_FAULT_CLOSE);
	broken_at_the_second_packet(*state, "close@2:driver=client", KMCL_FAULT_CLOSE);
}

static void the_host_rescinds(void **state)
{
	broken_at_the_second_packet(*state, "rescind@2:driver=server", KMCL_FAULT_RESCIND);
	broken_at_the_second_packet(*state, "rescind@2:driver=client", KMCL_FAULT_RESCIND);
}

static void the_guest_is_reset(void **state)
{
	broken_at_the_second_packet(*state, "reset@2:driver=server", KMCL_FAULT_RESET);
	broken_at_the_second_packet(*state, "reset@2:driver=client", KMCL_FAULT_RESET);
}

#define FAULTY(f) cmocka_unit_test_setup_teardown(f, kt_setup, no_faults)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(environment_is_checked),
		FAULTY(the_nth_and_every_nth),
		FAULTY(one_drivers_alone),
		FAULTY(a_seed_gives_the_same_calls_again),
		FAULTY(the_log_says_how_to_see_it_again),
		FAULTY(the_library_allocates_for_the_driver),
		FAULTY(no_room_queues_and_goes_on),
		FAULTY(data_pends_as_often_as_said),
		FAULTY(the_client_closes),
		FAULTY(the_host_rescinds),
		FAULTY(the_guest_is_reset),
	};

	(void)argv;
	if (argc > 1)
		return 0;
	return KT_MAIN("kmcl-fault", tests);
}
