/* SPDX-License-Identifier: MIT */
/*
 * A wait without end is told of every few seconds, with the channel's name and what it waits for:
 * here those of a channel that goes down while its driver still has packets.
 */
#include "harness.h"

#include "base/log.h"

static atomic_uint told[2];
static atomic_uint channel_told;

static void note_waits(void *ctx, enum kmcl_log_level level, const char *subsystem,
		       uint32_t partition, uint32_t channel, const char *text)
{
	if (level != KMCL_LOG_WARNING || strcmp(subsystem, "kmcl") || !partition ||
	    !strstr(text, "patient"))
		return;
	atomic_store(&channel_told, channel);
	if (strstr(text, "2 packets to be completed: 0x"))
		atomic_fetch_add(&told[0], 1);
	if (strstr(text, "EvtVmbChannelProcessPacket to return"))
		atomic_fetch_add(&told[1], 1);
	kt_changed();
}

static struct kt_pair patient_pair(struct kt_bus *bus)
{
	static WCHAR text[] = {'p', 'a', 't', 'i', 'e', 'n', 't', 0};
	UNICODE_STRING name = {14, 16, text};
	struct kt_pair p = kt_pair_new(bus);

	assert_int_equal(VmbChannelInitSetFriendlyName(p.server->h, &name), STATUS_SUCCESS);
	atomic_store(&told[0], 0);
	atomic_store(&told[1], 0);
	kmcl_log_set(note_waits, NULL);
	return p;
}

/* Twice, so that it is known to go on; nothing more once the packets have ended. */
static void field_026_packets_that_their_driver_keeps(void **state)
{
	struct kt_pair p = patient_pair(*state);
	struct kt_send *s[2];
	struct kt_call call;

	atomic_store(&p.server->mode, KT_HOLD);
	kt_pair_open(&p);
	for (unsigned int i = 0; i < 2; i++) {
		s[i] = kt_send_new(p.client);
		assert_int_equal(kt_send_pattern(s[i], 8, i, KT_WAITED), STATUS_SUCCESS);
	}
	KT_WAIT(atomic_load(&p.server->outstanding) == 2);
	kt_call_start(&call, p.server, kt_do_disable, p.server->h);
	KT_WAIT(atomic_load(&told[0]) == 2);
	assert_int_equal(atomic_load(&channel_told), 1);
	assert_false(atomic_load(&call.done));
	for (unsigned int i = 0; i < 2; i++)
		kt_complete(p.server, i, NULL, 0);
	kt_call_join(&call);
	assert_int_equal(atomic_load(&told[0]), 2);
	kmcl_log_set(NULL, NULL);
	for (unsigned int i = 0; i < 2; i++) {
		KT_WAIT(atomic_load(&s[i]->routines) == 1);
		kt_send_free(s[i]);
	}
	kt_pair_free(&p);
}

static struct kt_gate gate;

static bool stay(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		 UINT32 flags)
{
	kt_gate_pass(&gate);
	return false;
}

static void field_026_a_callback_that_does_not_return(void **state)
{
	struct kt_pair p = patient_pair(*state);
	struct kt_send *s;
	struct kt_call call;

	p.server->on_packet = stay;
	kt_pair_open(&p);
	s = kt_send_new(p.client);
	assert_int_equal(kt_send_pattern(s, 8, 1, KT_WAITED), STATUS_SUCCESS);
	KT_AT_GATE(&gate);
	kt_call_start(&call, p.server, kt_do_disable, p.server->h);
	KT_WAIT(atomic_load(&told[1]) == 2);
	assert_false(atomic_load(&call.done));
	kt_gate_open(&gate);
	kt_call_join(&call);
	kmcl_log_set(NULL, NULL);
	KT_WAIT(atomic_load(&s->routines) == 1);
	kt_send_free(s);
	kt_pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KT_TEST(field_026_packets_that_their_driver_keeps),
		KT_TEST(field_026_a_callback_that_does_not_return),
	};

	return KT_MAIN("waits", tests);
}
