/* SPDX-License-Identifier: MIT */
/* The scripted drivers' side of the harness: callbacks that record, rules that hold always. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the recording callbacks ---- */

static struct kt_event *record(struct kt_chan *c, enum kt_what what, bool end, NTSTATUS status,
			       uint32_t value)
{
	struct kt_event *e;

	if (c->event_count == KT_EVENTS) {
		kt_problem("more than %d events", KT_EVENTS);
		c->event_count = 0;
	}
	e = &c->events[c->event_count++];
	*e = (struct kt_event){.what = what,
			       .end = end,
			       .irql = (uint8_t)KeGetCurrentIrql(),
			       .status = status,
			       .value = value,
			       .order = kt_order(),
			       .thread = pthread_self()};
	return e;
}

static char letter(enum kt_what what, NTSTATUS status)
{
	static const char letters[] = "OSPUCF";

	return what == KT_OPENED && !NT_SUCCESS(status) ? 'o' : letters[what];
}

static void append(char *trace, unsigned int *count, char c)
{
	if (*count + 1 < sizeof(((struct kt_chan *)0)->begun))
		trace[(*count)++] = c;
	trace[*count] = 0;
}

static struct kt_chan *state_begin(VMBCHANNEL channel, enum kt_what what)
{
	struct kt_chan *c = VmbChannelGetPointer(channel);

	if (atomic_fetch_add(&c->in_state, 1) != 0)
		kt_problem("two state callbacks of a channel at once");
	if (KeGetCurrentIrql() != PASSIVE_LEVEL)
		kt_problem("state callback at IRQL %d", KeGetCurrentIrql());
	if (nt_driver_current() != (c->server ? c->bus->server_driver : c->bus->client_driver))
		kt_problem("callback in the wrong driver's name");
	if (c->h != channel)
		kt_problem("callback with another channel");
	kt_lock();
	if (!c->quiet)
		record(c, what, false, STATUS_SUCCESS, 0);
	append(c->begun, &c->begun_count, letter(what, STATUS_SUCCESS));
	kt_broadcast();
	kt_unlock();
	return c;
}

static void state_end(struct kt_chan *c, enum kt_what what, NTSTATUS status)
{
	kt_lock();
	if (!c->quiet)
		record(c, what, true, status, 0);
	append(c->done, &c->done_count, letter(what, status));
	atomic_fetch_sub(&c->in_state, 1);
	kt_broadcast();
	kt_unlock();
}

static NTSTATUS opened(VMBCHANNEL channel)
{
	struct kt_chan *c = state_begin(channel, KT_OPENED);
	NTSTATUS status = c->on_opened ? c->on_opened(c) : c->opened_status;

	state_end(c, KT_OPENED, status);
	return status;
}

static VOID started(VMBCHANNEL channel)
{
	struct kt_chan *c = state_begin(channel, KT_STARTED);

	if (c->on_started)
		c->on_started(c);
	state_end(c, KT_STARTED, STATUS_SUCCESS);
}

static VOID post_started(VMBCHANNEL channel)
{
	struct kt_chan *c = state_begin(channel, KT_POST_STARTED);

	if (c->on_post_started)
		c->on_post_started(c);
	state_end(c, KT_POST_STARTED, STATUS_SUCCESS);
}

static VOID suspend(VMBCHANNEL channel)
{
	struct kt_chan *c = state_begin(channel, KT_SUSPEND);

	if (c->on_suspend)
		c->on_suspend(c);
	state_end(c, KT_SUSPEND, STATUS_SUCCESS);
}

static VOID closed(VMBCHANNEL channel)
{
	struct kt_chan *c = state_begin(channel, KT_CLOSED);

	if (atomic_load(&c->outstanding))
		kt_problem("closed with %u packets outstanding", atomic_load(&c->outstanding));
	if (c->on_closed)
		c->on_closed(c);
	state_end(c, KT_CLOSED, STATUS_SUCCESS);
}

static VOID pnp_failure(VMBCHANNEL channel, NTSTATUS status)
{
	struct kt_chan *c = state_begin(channel, KT_PNP_FAILURE);

	c->pnp_status = status;
	state_end(c, KT_PNP_FAILURE, STATUS_SUCCESS);
}

void kt_note_packet(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		    UINT32 flags)
{
	struct kt_packet *p;

	kt_lock();
	if (c->packet_count == KT_PACKETS) {
		kt_problem("more than %d packets", KT_PACKETS);
		c->packet_count = 0;
	}
	p = &c->packets[c->packet_count++];
	*p = (struct kt_packet){.handle = packet,
				.buffer = buffer,
				.length = length,
				.flags = flags,
				.irql = (uint8_t)KeGetCurrentIrql()};
	memcpy(p->prefix, buffer, length < KT_PREFIX ? length : KT_PREFIX);
	kt_broadcast();
	kt_unlock();
}

static void note_end(struct kt_chan *c, VMBPACKETCOMPLETION packet)
{
	kt_lock();
	for (unsigned int i = c->packet_count; i-- > 0;) {
		if (c->packets[i].handle == packet && !c->packets[i].ended) {
			c->packets[i].ended = true;
			break;
		}
	}
	kt_unlock();
}

static void deliver(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		    UINT32 flags)
{
	if (!c->quiet)
		kt_note_packet(c, packet, buffer, length, flags);
	if (c->on_packet && c->on_packet(c, packet, buffer, length, flags))
		return;
	atomic_fetch_add(&c->outstanding, 1);
	if (atomic_load(&c->mode) == KT_HOLD)
		return;
	if (!c->quiet)
		note_end(c, packet);
	atomic_fetch_sub(&c->outstanding, 1);
	if (atomic_load(&c->mode) == KT_ECHO)
		VmbChannelPacketComplete(packet, buffer, length);
	else
		VmbChannelPacketComplete(packet, NULL, 0);
}

static VOID process_packet(VMBCHANNEL channel, VMBPACKETCOMPLETION packet, PVOID buffer,
			   UINT32 length, UINT32 flags)
{
	struct kt_chan *c = VmbChannelGetPointer(channel);
	KIRQL irql = KeGetCurrentIrql();

	if (atomic_fetch_add(&c->in_delivery, 1) != 0)
		kt_problem("two deliveries of a channel at once");
	if (irql > DISPATCH_LEVEL)
		kt_problem("delivery at IRQL %d", irql);
	if (nt_driver_current() != (c->server ? c->bus->server_driver : c->bus->client_driver))
		kt_problem("delivery in the wrong driver's name");
	atomic_fetch_add(&c->delivered, 1);
	if (!c->quiet) {
		kt_lock();
		record(c, KT_PACKET, false, STATUS_SUCCESS, length);
		kt_unlock();
	}
	deliver(c, packet, buffer, length, flags);
	if (KeGetCurrentIrql() != irql)
		kt_problem("IRQL changed in a callback");
	if (!c->quiet) {
		kt_lock();
		record(c, KT_PACKET, true, STATUS_SUCCESS, length)->deferred = c->deferring;
		c->deferring = false;
		kt_unlock();
	}
	atomic_fetch_sub(&c->in_delivery, 1);
}

static VOID processing_complete(VMBCHANNEL channel, UINT32 count)
{
	struct kt_chan *c = VmbChannelGetPointer(channel);

	if (atomic_fetch_add(&c->in_delivery, 1) != 0)
		kt_problem("ProcessingComplete during a delivery");
	if (count == 0)
		kt_problem("ProcessingComplete for no packet");
	kt_lock();
	if (!c->quiet)
		record(c, KT_BATCH, false, STATUS_SUCCESS, count);
	kt_unlock();
	if (c->on_batch)
		c->on_batch(c, count);
	/* the sum comes last: whoever waits for it may forget all events */
	kt_lock();
	if (!c->quiet)
		record(c, KT_BATCH, true, STATUS_SUCCESS, count);
	c->batch_sum += count;
	kt_broadcast();
	kt_unlock();
	atomic_fetch_sub(&c->in_delivery, 1);
}

/* ---- the rules that hold always ---- */

/* One callback of the pattern ((o | O (S P? U)* C | F))*; false when it does not fit. */
static bool fits(char *state, char c)
{
	static const struct {
		char from, c, to;
	} rules[] = {
		{0, 'o', 0},   {0, 'F', 0},     {0, 'O', 'O'},   {'O', 'S', 'S'},
		{'O', 'C', 0}, {'S', 'P', 'P'}, {'S', 'U', 'O'}, {'P', 'U', 'O'},
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (rules[i].from == *state && rules[i].c == c) {
			*state = rules[i].to;
			return true;
		}
	}
	return false;
}

static void check_order(struct kt_chan *c)
{
	char state = 0;

	for (unsigned int i = 0; i < c->done_count; i++)
		if (!fits(&state, c->done[i]))
			kt_fail(__FILE__, __LINE__, "state callbacks out of order");
	if (state)
		kt_fail(__FILE__, __LINE__, "a session did not end");
}

/* Deliveries only between the return of Started and the call of Suspend; batches add up. */
static void check_deliveries(struct kt_chan *c)
{
	unsigned int batch = 0;
	bool running = false;

	for (unsigned int i = 0; i < c->event_count; i++) {
		const struct kt_event *e = &c->events[i];

		if (e->what == KT_STARTED && e->end)
			running = true;
		if (e->what == KT_SUSPEND && !e->end)
			running = false;
		if ((e->what == KT_PACKET || e->what == KT_BATCH) && !running)
			kt_fail(__FILE__, __LINE__, "delivery outside Started..Suspend");
		if (e->what == KT_PACKET && e->end && !e->deferred)
			batch++;
		if (e->what == KT_BATCH && !e->end) {
			if (e->value != batch)
				kt_fail(__FILE__, __LINE__, "wrong PacketsProcessed");
			batch = 0;
		}
	}
	if (batch)
		kt_fail(__FILE__, __LINE__, "batch without ProcessingComplete");
}

void kt_check(struct kt_chan *c)
{
	if (strcmp(c->begun, c->done) != 0 && !strchr(c->done, 'o'))
		kt_fail(__FILE__, __LINE__, "a callback has not returned");
	check_order(c);
	check_deliveries(c);
	assert_int_equal(atomic_load(&c->outstanding), 0);
	assert_int_equal(kt_problems(), 0);
}

/* ---- channels ---- */

GUID kt_new_instance(void)
{
	static atomic_uint next = 1;
	GUID guid = {0, 0x7e57, 0x4b54, {0x80, 0, 0, 0, 0, 0, 0, 1}};

	guid.Data1 = atomic_fetch_add(&next, 1);
	return guid;
}

static void configure(struct kt_chan *c)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = opened;
	callbacks.EvtChannelClosed = closed;
	callbacks.EvtChannelSuspend = suspend;
	callbacks.EvtChannelStarted = started;
	callbacks.EvtChannelPostStarted = post_started;
	assert_int_equal(VmbChannelInitSetStateChangeCallbacks(c->h, &callbacks), STATUS_SUCCESS);
	assert_int_equal(
		VmbChannelInitSetProcessPacketCallbacks(c->h, process_packet, processing_complete),
		STATUS_SUCCESS);
	if (c->server)
		assert_int_equal(
			VmbServerChannelInitSetTargetInterfaceId(c->h, c->type, c->instance),
			STATUS_SUCCESS);
	else
		assert_int_equal(
			VmbClientChannelInitSetTargetPnp(c->h, &c->type, &c->instance, pnp_failure),
			STATUS_SUCCESS);
}

struct kt_chan *kt_chan_new(struct kt_bus *bus, bool server, GUID type, GUID instance)
{
	struct kt_chan *c = calloc(1, sizeof(*c));
	struct nt_driver *previous;

	assert_non_null(c);
	c->bus = bus;
	c->server = server;
	c->type = type;
	c->instance = instance;
	c->events = calloc(KT_EVENTS, sizeof(*c->events));
	c->packets = calloc(KT_PACKETS, sizeof(*c->packets));
	assert_non_null(c->events);
	assert_non_null(c->packets);
	previous = kt_enter(bus, server);
	assert_int_equal(
		VmbChannelAllocate(server ? bus->server_pdo : bus->client_pdo, server, &c->h),
		STATUS_SUCCESS);
	kt_leave(previous);
	assert_non_null(c->h);
	VmbChannelSetPointer(c->h, c);
	bus->channels++;
	kt_register(c, true);
	configure(c);
	return c;
}

void kt_chan_free(struct kt_chan *c)
{
	VmbChannelDisable(c->h);
	kt_check(c);
	VmbChannelCleanup(c->h);
	kt_register(c, false);
	c->bus->channels--;
	free(c->events);
	free(c->packets);
	free(c);
}

struct kt_pair kt_pair_new(struct kt_bus *bus)
{
	GUID instance = kt_new_instance();
	struct kt_pair p;

	p.server = kt_chan_new(bus, true, kt_type, instance);
	p.client = kt_chan_new(bus, false, kt_type, instance);
	return p;
}

void kt_pair_free(struct kt_pair *p)
{
	kt_chan_free(p->client);
	kt_chan_free(p->server);
}

void kt_pair_open(struct kt_pair *p)
{
	assert_int_equal(VmbChannelEnable(p->server->h), STATUS_SUCCESS);
	VmbChannelStart(p->server->h);
	assert_int_equal(VmbChannelEnable(p->client->h), STATUS_SUCCESS);
	KT_WAIT(p->server->done_count && p->server->done[p->server->done_count - 1] == 'P');
	KT_WAIT(p->client->done_count && p->client->done[p->client->done_count - 1] == 'P');
}

void kt_expect_at(struct kt_chan *c, const char *trace, const char *file, int line)
{
	uint64_t deadline = kt_now_ms() + KT_LIMIT_MS;
	char text[640];
	bool right;

	kt_lock();
	while (strcmp(c->done, trace) != 0 && kt_wait_changed(deadline))
		if (c->done_count > strlen(trace))
			break;
	right = strcmp(c->done, trace) == 0;
	snprintf(text, sizeof(text), "%s: expected callbacks \"%s\", got \"%s\" (begun \"%s\")",
		 c->server ? "server" : "client", trace, c->done, c->begun);
	kt_unlock();
	if (!right)
		kt_fail(file, line, text);
}

bool kt_runs(struct kt_chan *c)
{
	bool runs;

	kt_lock();
	runs = c->done_count && c->done[c->done_count - 1] == 'P' &&
	       c->begun_count == c->done_count;
	kt_unlock();
	return runs;
}

void kt_forget(struct kt_chan *c)
{
	kt_lock();
	c->begun_count = c->done_count = c->event_count = c->packet_count = c->batch_sum = 0;
	c->begun[0] = c->done[0] = 0;
	kt_unlock();
}

bool kt_is_disabled(struct kt_chan *c)
{
	/* Flags that do not exist are looked at after the channel's state, and change nothing that
	 * a thread which still sends would read. */
	NTSTATUS status = VmbChannelInitSetFlags(c->h, UINT32_MAX);

	assert_true(status == STATUS_INVALID_PARAMETER_2 || status == STATUS_INVALID_PARAMETER_1);
	return status == STATUS_INVALID_PARAMETER_2;
}

void kt_complete(struct kt_chan *c, unsigned int index, const void *data, uint32_t length)
{
	VMBPACKETCOMPLETION handle;

	kt_lock();
	handle = c->packets[index].handle;
	c->packets[index].ended = true;
	kt_unlock();
	atomic_fetch_sub(&c->outstanding, 1);
	VmbChannelPacketComplete(handle, (PVOID)(uintptr_t)data, length);
}

void kt_comes_again(struct kt_chan *c)
{
	kt_lock();
	c->deferring = true;
	kt_unlock();
}

void kt_defer(struct kt_chan *c, VMBPACKETCOMPLETION packet)
{
	kt_comes_again(c);
	VmbChannelPacketDeferToPassive(packet);
}

void kt_block(struct kt_chan *from, struct kt_chan *to)
{
	VMBPACKET packet = VmbPacketAllocate(from->h);
	uint64_t data = 0;

	assert_non_null(packet);
	VmbChannelSetTransactionQuota(to->h, 1);
	atomic_store(&to->mode, KT_HOLD);
	assert_int_equal(VmbPacketSend(packet, &data, sizeof(data), NULL, 0), STATUS_SUCCESS);
	KT_WAIT(atomic_load(&to->outstanding) == 1);
	kt_lock();
	to->blocker = to->packets[to->packet_count - 1].handle;
	to->packet_count = 0;
	kt_unlock();
}

void kt_unblock(struct kt_chan *to, enum kt_mode mode)
{
	atomic_store(&to->mode, mode);
	atomic_fetch_sub(&to->outstanding, 1);
	VmbChannelSetTransactionQuota(to->h, UINT32_MAX);
	VmbChannelPacketComplete(to->blocker, NULL, 0);
}

/* ---- outgoing packets ---- */

VOID kt_routine(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 length)
{
	struct kt_send *s = VmbPacketGetPointer(packet);
	void (*hook)(struct kt_send *) = s->hook;

	if (s->packet != packet)
		kt_problem("routine with another packet");
	if (VmbPacketGetChannel(packet) != s->c->h)
		kt_problem("routine of another channel's packet");
	if (KeGetCurrentIrql() > DISPATCH_LEVEL)
		kt_problem("routine at IRQL %d", KeGetCurrentIrql());
	kt_lock();
	s->status = status;
	s->length = length;
	s->data_null = buffer == NULL;
	s->irql = (uint8_t)KeGetCurrentIrql();
	s->order = kt_order();
	if (buffer)
		memcpy(s->data, buffer, length < KT_DATA ? length : KT_DATA);
	atomic_fetch_add(&s->routines, 1);
	kt_broadcast();
	kt_unlock();
	/* without a hook the owner may have freed it by now */
	if (hook) {
		hook(s);
		atomic_fetch_add(&s->hooks, 1);
	}
}

struct kt_send *kt_send_new(struct kt_chan *c)
{
	struct kt_send *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->c = c;
	s->packet = VmbPacketAllocate(c->h);
	assert_non_null(s->packet);
	VmbPacketSetPointer(s->packet, s);
	VmbPacketSetCompletionRoutine(s->packet, kt_routine);
	return s;
}

void kt_send_free(struct kt_send *s)
{
	VmbPacketFree(s->packet);
	free(s);
}

NTSTATUS kt_send_pattern(struct kt_send *s, uint32_t length, unsigned int seed, uint32_t flags)
{
	uint8_t data[8192];
	NTSTATUS status;

	assert_true(length <= sizeof(data));
	kt_fill(data, length, seed);
	status = VmbPacketSend(s->packet, data, length, NULL, flags);
	memset(data, 0xcc, length);
	return status;
}
