/* SPDX-License-Identifier: MIT */
/*
 * A dispatcher polls the ports on its active list. A port that stays idle for the poll time parks:
 * it unmasks its ring, looks once more and leaves the list; a blocked one leaves at once. Flags
 * from the other end, kicks from this end and timers bring ports back. With an empty list the
 * dispatcher sleeps.
 *
 * No wake-up is lost: flags and kicks are set before the line is raised and taken after the line
 * was taken, and a port leaves the list only by a decision made after its last poll or park. A flag
 * set since then has raised the line, which is looked at before the dispatcher sleeps.
 *
 * Where the other end is another process it raises no line: it sets a flag and rings a bell in the
 * dispatcher's ear. Awake, the dispatcher looks at the flags every so often; a bell that rang since
 * it last slept ends its next sleep at once, and it looks again.
 */
#include "partition/dispatch.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "partition/capture.h"

#define DEFAULT_POLL_NS     50000u
#define POLL_GROW_FROM      4000u
#define POLL_SHRINK_TO      1000u
#define ROUNDS_PER_LOOK     64u /* polls between two looks at the clock */
#define WORKED_ROUND        8u  /* a round that did something counts as so many */
#define ROUNDS_BEFORE_PAUSE 64u
#define CONTENDED_NS        5000u /* a yield that took so long let somebody run */
#define CONTENDED_FOR_NS    20000000u
#define ROUNDS_BEFORE_YIELD 256u

enum {
	PLACE_NONE,
	PLACE_ACTIVE,
	PLACE_QUIET
};

static _Thread_local const struct part_dispatcher *current;

int part_thread_create(pthread_t *thread, void *(*run)(void *), void *arg, const char *name)
{
	/* These are a thread's own: blocked, they kill without the handler that tells where. */
	static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
	sigset_t all, old;
	int error;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&all, own[i]);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!error)
		pthread_setname_np(*thread, name);
	return -error;
}

/* ---- lists; the dispatcher's thread alone ---- */

static void timed_add(struct part_dispatcher *d, struct part_port *port)
{
	port->dispatch.timed_index = d->timed_count;
	d->timed[d->timed_count++] = port;
}

static void timed_remove(struct part_dispatcher *d, struct part_port *port)
{
	struct part_port *last = d->timed[--d->timed_count];

	d->timed[port->dispatch.timed_index] = last;
	last->dispatch.timed_index = port->dispatch.timed_index;
	port->dispatch.deadline = 0;
}

static void activate(struct part_dispatcher *d, struct part_port *port)
{
	port->dispatch.last_work = d->now;
	if (port->dispatch.place == PLACE_ACTIVE)
		return;
	if (port->dispatch.deadline)
		timed_remove(d, port);
	port->dispatch.place = PLACE_ACTIVE;
	port->dispatch.active_index = d->active_count;
	d->active[d->active_count++] = port;
}

static void leave_active(struct part_dispatcher *d, struct part_port *port)
{
	struct part_port *last = d->active[--d->active_count];

	d->active[port->dispatch.active_index] = last;
	last->dispatch.active_index = port->dispatch.active_index;
	port->dispatch.place = PLACE_QUIET;
}

static void quiet(struct part_dispatcher *d, struct part_port *port)
{
	leave_active(d, port);
	if (!port->retry_ns)
		return;
	port->dispatch.deadline = clock_now_ns() + port->retry_ns;
	timed_add(d, port);
}

static bool park(struct part_dispatcher *d, struct part_port *port)
{
	if (!port->ops->park(port)) {
		port->dispatch.last_work = d->now;
		return false;
	}
	quiet(d, port);
	return true;
}

/* ---- events ---- */

static void ring(struct part_dispatcher *d, uint32_t channel, bool signal)
{
	struct part_port *port = d->attached[channel];
	uint8_t owner;

	d->rung = true;
	if (port) {
		if (signal) {
			__atomic_store_n(&port->signals_taken, port->signals_taken + 1,
					 __ATOMIC_RELAXED);
			part_capture_signal(port, false, 0);
		}
		activate(d, port);
		return;
	}
	/* The other end may flag any VP; the port's own dispatcher has to see to it. */
	owner = channel ? atomic_load(&d->map->owner[channel]) : 0;
	if (owner && owner - 1u != d->index) {
		struct part_dispatcher *other = &d->all[owner - 1];

		hv_flag_set(other->flags, channel);
		part_event_raise(&other->event);
	} else if (signal) {
		atomic_fetch_add_explicit(&d->strays, 1, memory_order_relaxed);
	}
}

static void take_word(struct part_dispatcher *d, struct hv_flags *flags, uint32_t word, bool signal)
{
	uint64_t bits = hv_flags_take(flags, word);

	while (bits) {
		ring(d, word * 64 + (uint32_t)__builtin_ctzll(bits), signal);
		bits &= bits - 1;
	}
}

static void take_channel_flags(struct part_dispatcher *d, struct hv_flags *flags, bool signal)
{
	for (uint32_t word = 0; word < HV_FLAG_WORDS; word++)
		take_word(d, flags, word, signal);
}

static void take_shared_flags(struct part_dispatcher *d, struct hv_flags *shared)
{
	for (uint32_t word = d->first_word; word < d->end_word; word++)
		take_word(d, shared, word, true);
}

static void take_flags(struct part_dispatcher *d)
{
	struct hv_flags *shared = atomic_load(&d->shared);
	struct hv_flags *redirected = atomic_load(&d->redirected);
	bool look = shared && atomic_load(&d->flags->word[0]) & hv_flag_order(1);

	if (look)
		atomic_fetch_and(&d->flags->word[0], ~hv_flag_order(1));
	take_channel_flags(d, d->flags, true);
	if (redirected)
		take_channel_flags(d, redirected, true);
	if (look)
		take_shared_flags(d, shared);
}

static void attach(struct part_dispatcher *d, struct part_port *port)
{
	uint32_t channel = port->event_flag % PART_CHANNELS;

	if (d->attached[channel]) {
		kmcl_log(KMCL_LOG_ERROR, "partition", d->partition, channel,
			 "a second port for this channel is left out");
		return;
	}
	d->attached[channel] = port;
	port->dispatch.attached = true;
	port->dispatch.place = PLACE_QUIET;
	port->dispatch.deadline = 0;
	atomic_store(&d->map->owner[channel], (uint8_t)(d->index + 1));
	activate(d, port);
}

static void detach(struct part_dispatcher *d, struct part_port *port)
{
	uint32_t channel = port->event_flag % PART_CHANNELS;

	if (port->dispatch.place == PLACE_ACTIVE)
		leave_active(d, port);
	if (port->dispatch.deadline)
		timed_remove(d, port);
	port->dispatch.place = PLACE_NONE;
	port->dispatch.attached = false;
	d->attached[channel] = NULL;
	atomic_store(&d->map->owner[channel], 0);
}

static void take_commands(struct part_dispatcher *d)
{
	bool told = false;

	pthread_mutex_lock(&d->lock);
	d->rung |= d->commands != NULL;
	while (d->commands) {
		struct part_port *port = d->commands;

		d->commands = port->dispatch.next_command;
		port->dispatch.queued = false;
		if (port->dispatch.wanted && !port->dispatch.attached) {
			attach(d, port);
		} else if (!port->dispatch.wanted) {
			if (port->dispatch.attached)
				detach(d, port);
			told = true;
		}
	}
	d->last_command = &d->commands;
	/* A detached port may be gone as soon as the lock is free. */
	if (told)
		pthread_cond_broadcast(&d->detached);
	pthread_mutex_unlock(&d->lock);
}

static void take_timers(struct part_dispatcher *d)
{
	for (uint32_t i = 0; i < d->timed_count;) {
		struct part_port *port = d->timed[i];

		if (port->dispatch.deadline <= d->now)
			activate(d, port); /* and another takes its place */
		else
			i++;
	}
}

static void hear(struct part_dispatcher *d)
{
	if (d->hear)
		d->hear(d->transport, d->index);
	take_flags(d);
}

/* False: there was nothing. */
static bool take_event(struct part_dispatcher *d)
{
	d->now = clock_now_ns();
	d->rung = false;
	take_commands(d);
	hear(d);
	take_channel_flags(d, &d->kicks, false);
	return d->rung;
}

/* ---- polling ---- */

static bool poll_ports(struct part_dispatcher *d)
{
	bool worked = false;

	for (uint32_t i = 0; i < d->active_count;) {
		struct part_port *port = d->active[i];

		switch (port->ops->poll(port)) {
		case PART_POLL_WORKED:
			port->dispatch.last_work = d->now;
			worked = true;
			i++;
			break;
		case PART_POLL_IDLE:
			if (d->poll_ns || !park(d, port))
				i++;
			break;
		case PART_POLL_BLOCKED:
			quiet(d, port);
			break;
		}
	}
	return worked;
}

static void park_idle_ports(struct part_dispatcher *d)
{
	for (uint32_t i = 0; i < d->active_count;) {
		struct part_port *port = d->active[i];

		if (d->now - port->dispatch.last_work < d->poll_ns || !park(d, port))
			i++;
	}
}

/*
 * Whoever is to give us work may be waiting for this processor. If somebody was, polling only takes
 * from those that work, and blocking is quicker for all: unless the owner asked for polls of its
 * own length, there are none for a while.
 */
static void give_way(struct part_dispatcher *d)
{
	uint64_t before = d->now;

	sched_yield();
	if (!d->adaptive)
		return;
	d->now = clock_now_ns();
	if (d->now - before < CONTENDED_NS)
		return;
	d->contended_until = d->now + CONTENDED_FOR_NS;
	d->poll_ns = 0;
	park_idle_ports(d);
}

/* The clock is looked at once in many rounds: a round over one idle port takes nanoseconds. */
static void pace(struct part_dispatcher *d, bool worked)
{
	if (worked) {
		d->idle_rounds = 0;
		d->rounds += WORKED_ROUND;
	} else {
		d->rounds++;
		if (++d->idle_rounds > ROUNDS_BEFORE_PAUSE)
			cpu_relax();
	}
	if (d->rounds < ROUNDS_PER_LOOK)
		return;
	d->rounds = 0;
	d->now = clock_now_ns();
	take_timers(d);
	if (d->event.ear)
		hear(d);
	if (d->idle_rounds < ROUNDS_PER_LOOK)
		return;
	park_idle_ports(d);
	if (d->idle_rounds > ROUNDS_BEFORE_YIELD)
		give_way(d);
}

/* A sleep that was short would better have been polled through; a long one shows that polling
 * before it was in vain. */
static void adapt(struct part_dispatcher *d, uint64_t slept)
{
	if (d->now < d->contended_until)
		return;
	if (slept < d->poll_max) {
		d->poll_ns = d->poll_ns * 2 > POLL_GROW_FROM ? d->poll_ns * 2 : POLL_GROW_FROM;
		if (d->poll_ns > d->poll_max)
			d->poll_ns = d->poll_max;
	} else {
		d->poll_ns = d->poll_ns / 2 < POLL_SHRINK_TO ? 0 : d->poll_ns / 2;
	}
}

static void sleep_until_event(struct part_dispatcher *d)
{
	uint64_t first = PART_EVENT_FOREVER;
	uint64_t asleep = clock_now_ns(), woke;
	bool woken;

	for (uint32_t i = 0; i < d->timed_count; i++)
		if (d->timed[i]->dispatch.deadline < first)
			first = d->timed[i]->dispatch.deadline;
	if (first != PART_EVENT_FOREVER)
		first = first > asleep ? first - asleep : 0;
	woken = part_event_wait(&d->event, first);
	d->now = woke = clock_now_ns();
	/* A bell may stand for flags that were seen before: that was no sleep. */
	if (woken && take_event(d))
		adapt(d, woke - asleep);
	take_timers(d);
	d->rounds = 0;
	d->idle_rounds = 0;
}

static void *dispatcher_run(void *arg)
{
	struct part_dispatcher *d = arg;

	current = d;
	while (!atomic_load_explicit(&d->stop, memory_order_relaxed)) {
		if (part_event_take(&d->event))
			take_event(d);
		if (d->active_count)
			pace(d, poll_ports(d));
		else
			sleep_until_event(d);
	}
	current = NULL;
	return NULL;
}

/* ---- life ---- */

static uint64_t longest_poll(int64_t option)
{
	cpu_set_t set;

	if (option < 0)
		return 0;
	CPU_ZERO(&set);
	/* With one processor polling only keeps the other side from working. */
	if (!sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) < 2)
		return 0;
	return option ? (uint64_t)option : DEFAULT_POLL_NS;
}

int part_dispatcher_start(struct part_dispatcher *d, const struct part_dispatch_options *options)
{
	int error;

	memset(d, 0, sizeof(*d));
	d->last_command = &d->commands;
	d->all = options->all;
	d->count = options->count;
	d->index = options->index;
	d->event.ear = options->ear;
	d->hear = options->hear;
	d->transport = options->transport;
	d->map = options->map;
	d->partition = options->partition;
	d->flags = options->flags;
	d->first_word = options->first_word;
	d->end_word = options->end_word ? options->end_word : HV_FLAG_WORDS;
	d->poll_max = longest_poll(options->poll_ns);
	d->adaptive = options->poll_ns <= 0;
	d->poll_ns = options->poll_ns > 0 ? d->poll_max : d->poll_max / 2;
	snprintf(d->name, sizeof(d->name), "%s%u", options->prefix, options->index);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->detached, NULL);
	error = part_thread_create(&d->thread, dispatcher_run, d, d->name);
	if (error) {
		pthread_cond_destroy(&d->detached);
		pthread_mutex_destroy(&d->lock);
	}
	return error;
}

void part_dispatcher_stop(struct part_dispatcher *d)
{
	atomic_store(&d->stop, true);
	part_event_raise(&d->event);
	pthread_join(d->thread, NULL);
	for (uint32_t i = 0; i < PART_CHANNELS; i++)
		if (d->attached[i])
			kmcl_log(KMCL_LOG_ERROR, "partition", d->partition, i,
				 "the partition ends with this channel's port attached");
}

void part_dispatcher_free(struct part_dispatcher *d)
{
	pthread_cond_destroy(&d->detached);
	pthread_mutex_destroy(&d->lock);
}

bool part_dispatcher_is_current(const struct part_dispatcher *d)
{
	return current == d;
}
