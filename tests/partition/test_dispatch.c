/* SPDX-License-Identifier: MIT */
/* Dispatchers with ports that have no rings: what is polled, what parks, what wakes. */
#include "support.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DISPATCHERS 2u

/* How the other end signals. */
enum signalling {
	BY_LINE, /* a flag, then the line */
	BY_BELL, /* a flag, then a bell in the dispatcher's ear */
	BY_HEAR, /* the same, and the transport passes the flags on */
};

struct bench {
	struct part part;
	struct part_endpoint *ep;
	struct hv_flags flag_memory[DISPATCHERS];
	struct hv_flags *flags[DISPATCHERS];
	enum signalling signalling;
	struct hv_flags signals[DISPATCHERS]; /* that are to be passed on */
	struct part_ear ear[DISPATCHERS];
	int bell[DISPATCHERS];
};

/* Work is a number of units posted and a number done. */
struct worker {
	struct part_port port;
	atomic_uint posted, done, polls, parks, running;
	enum part_poll answer_when_idle;
	uint64_t retry_ns, takes_ns;
	bool refuses_to_park;
	bool was_on_dispatcher;
};

static struct worker *worker_of(struct part_port *port)
{
	return (struct worker *)(void *)((char *)port - offsetof(struct worker, port));
}

static enum part_poll worker_poll(struct part_port *port)
{
	struct worker *w = worker_of(port);
	enum part_poll result = w->answer_when_idle;

	atomic_fetch_add(&w->running, 1);
	atomic_fetch_add(&w->polls, 1);
	w->was_on_dispatcher = part_port_on_dispatcher(port);
	port->retry_ns = w->retry_ns;
	if (w->takes_ns)
		nap(w->takes_ns);
	if (atomic_load(&w->done) != atomic_load(&w->posted)) {
		atomic_fetch_add(&w->done, 1);
		result = PART_POLL_WORKED;
	}
	atomic_fetch_sub(&w->running, 1);
	return result;
}

static bool worker_park(struct part_port *port)
{
	struct worker *w = worker_of(port);

	atomic_fetch_add(&w->parks, 1);
	return !w->refuses_to_park && atomic_load(&w->done) == atomic_load(&w->posted);
}

static const struct part_port_ops worker_ops = {.poll = worker_poll, .park = worker_park};

static const struct part_ear *ear_of(void *transport, uint32_t dispatcher)
{
	struct bench *b = transport;

	return &b->ear[dispatcher];
}

static void hear(void *transport, uint32_t dispatcher)
{
	struct bench *b = transport;

	for (uint32_t word = 0; word < HV_FLAG_WORDS; word++) {
		uint64_t bits = hv_flags_take(&b->signals[dispatcher], word);

		for (; bits; bits &= bits - 1)
			hv_flag_set(b->flags[dispatcher],
				    word * 64 + (uint32_t)__builtin_ctzll(bits));
	}
}

static void open_ears(struct bench *b)
{
	static const struct part_host_ops by_bell = {.ear = ear_of},
					  by_hear = {.ear = ear_of, .hear = hear};

	for (uint32_t i = 0; i < DISPATCHERS; i++) {
		assert_int_equal(part_ear_open(&b->ear[i]), 0);
		b->bell[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_int_equal(part_ear_add(&b->ear[i], b->bell[i]), 0);
	}
	b->ep->host = b->signalling == BY_HEAR ? &by_hear : &by_bell;
	b->ep->transport = b;
}

static void start_with(struct bench *b, enum signalling signalling, int64_t poll_ns)
{
	memset(b, 0, sizeof(*b));
	b->signalling = signalling;
	b->part.id = 77;
	b->part.options.poll_ns = poll_ns;
	b->ep = &b->part.server;
	endpoint_init(b->ep, &b->part, true);
	for (uint32_t i = 0; i < DISPATCHERS; i++)
		b->flags[i] = &b->flag_memory[i];
	if (signalling != BY_LINE)
		open_ears(b);
	assert_int_equal(endpoint_start_dispatchers(b->ep, DISPATCHERS, b->flags), 0);
}

static void start(struct bench *b, int64_t poll_ns)
{
	start_with(b, BY_LINE, poll_ns);
}

static void stop(struct bench *b)
{
	endpoint_stop_dispatchers(b->ep);
	endpoint_destroy(b->ep);
	for (uint32_t i = 0; b->signalling != BY_LINE && i < DISPATCHERS; i++) {
		part_ear_close(&b->ear[i]);
		close(b->bell[i]);
	}
}

static void worker_init(struct bench *b, struct worker *w, uint32_t channel)
{
	memset(w, 0, sizeof(*w));
	w->port.ops = &worker_ops;
	w->port.ep = b->ep;
	w->port.relid = channel;
	w->port.event_flag = channel;
	w->port.dispatcher = channel % DISPATCHERS;
}

/* As the other end rings: a flag by channel, then the line or the bell. */
static void flag(struct bench *b, uint32_t dispatcher, uint32_t channel)
{
	uint64_t one = 1;

	if (b->signalling != BY_LINE) {
		hv_flag_set(b->signalling == BY_HEAR ? &b->signals[dispatcher]
						     : b->flags[dispatcher],
			    channel);
		assert_int_equal(write(b->bell[dispatcher], &one, sizeof(one)), sizeof(one));
		return;
	}
	if (hv_flag_set(b->flags[dispatcher], channel))
		part_event_raise(&b->ep->dispatchers[dispatcher].event);
}

static void attached_ports_are_polled_at_once(void **state)
{
	struct bench b;
	struct worker w;

	start(&b, 0);
	worker_init(&b, &w, 5);
	atomic_store(&w.posted, 3);
	assert_false(part_port_on_dispatcher(&w.port));
	part_port_attach(&w.port);
	wait_until(atomic_load(&w.done) == 3);
	wait_until(atomic_load(&w.parks) == 1);
	part_port_detach(&w.port);
	assert_true(w.was_on_dispatcher);
	stop(&b);
}

static void a_parked_port_rests_until_it_is_woken(void **state)
{
	struct bench b;
	struct worker w;
	unsigned int polls;

	start(&b, -1);
	worker_init(&b, &w, 5);
	part_port_attach(&w.port);
	wait_until(atomic_load(&w.parks) == 1);
	nap(SETTLE_NS);
	polls = atomic_load(&w.polls);
	assert_int_equal(polls, 1);
	part_port_kick(&w.port);
	wait_until(atomic_load(&w.parks) == 2);
	assert_int_equal(atomic_load(&w.polls), 2);
	flag(&b, 1, 5);
	wait_until(atomic_load(&w.parks) == 3);
	assert_int_equal(__atomic_load_n(&w.port.signals_taken, __ATOMIC_RELAXED), 1);
	/* A flag that came to another dispatcher finds the port as well. */
	flag(&b, 0, 5);
	wait_until(atomic_load(&w.parks) == 4);
	part_port_detach(&w.port);
	stop(&b);
}

static void never_poll_means_never(void **state)
{
	struct bench b;
	struct worker w;

	start(&b, -1);
	worker_init(&b, &w, 1);
	part_port_attach(&w.port);
	for (uint32_t i = 1; i <= 50; i++) {
		wait_until(atomic_load(&w.parks) >= i);
		atomic_fetch_add(&w.posted, 1);
		part_port_kick(&w.port);
	}
	wait_until(atomic_load(&w.parks) >= 51);
	part_port_detach(&w.port);
	/* Whenever there was nothing to do it parked. */
	assert_int_equal(atomic_load(&w.done), 50);
	assert_int_equal(atomic_load(&w.polls), atomic_load(&w.parks) + 50);
	stop(&b);
}

static void a_long_poll_does_not_park(void **state)
{
	struct bench b;
	struct worker w;
	cpu_set_t set;

	CPU_ZERO(&set);
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	if (CPU_COUNT(&set) < 2)
		skip();
	start(&b, 3600000000000);
	worker_init(&b, &w, 1);
	part_port_attach(&w.port);
	wait_until(atomic_load(&w.polls) > 20000);
	/* No kick: it is being looked at. */
	atomic_fetch_add(&w.posted, 1);
	wait_until(atomic_load(&w.done) == 1);
	assert_int_equal(atomic_load(&w.parks), 0);
	part_port_detach(&w.port);
	stop(&b);
}

static void work_at_the_moment_of_parking_is_done(void **state)
{
	struct bench b;
	struct worker w;

	start(&b, -1);
	worker_init(&b, &w, 1);
	w.refuses_to_park = true;
	part_port_attach(&w.port);
	wait_until(atomic_load(&w.polls) > 100);
	assert_true(atomic_load(&w.parks) >= 100);
	part_port_detach(&w.port);
	stop(&b);
}

static void a_blocked_port_leaves_without_parking(void **state)
{
	struct bench b;
	struct worker w;

	start(&b, 0);
	worker_init(&b, &w, 1);
	w.answer_when_idle = PART_POLL_BLOCKED;
	part_port_attach(&w.port);
	wait_until(atomic_load(&w.polls) == 1);
	nap(SETTLE_NS);
	assert_int_equal(atomic_load(&w.polls), 1);
	part_port_kick(&w.port);
	wait_until(atomic_load(&w.polls) == 2);
	assert_int_equal(atomic_load(&w.parks), 0);
	part_port_detach(&w.port);
	stop(&b);
}

static void a_blocked_port_can_ask_to_be_polled_by_time(void **state)
{
	struct bench b;
	struct worker w;
	uint64_t start_ns;

	start(&b, 0);
	worker_init(&b, &w, 1);
	w.answer_when_idle = PART_POLL_BLOCKED;
	w.retry_ns = 3000000;
	start_ns = clock_now_ns();
	part_port_attach(&w.port);
	wait_until(atomic_load(&w.polls) >= 11);
	part_port_detach(&w.port);
	/* So often, and no more often. */
	assert_true(clock_now_ns() - start_ns >= (atomic_load(&w.polls) - 1) * w.retry_ns);
	/* A port that parks is looked at by time too. */
	worker_init(&b, &w, 2);
	w.retry_ns = 1000000;
	part_port_attach(&w.port);
	wait_until(atomic_load(&w.parks) >= 5);
	part_port_detach(&w.port);
	stop(&b);
}

static void timers_run_while_another_port_is_busy(void **state)
{
	struct bench b;
	struct worker busy, timed;

	start(&b, 0);
	worker_init(&b, &busy, 2);
	worker_init(&b, &timed, 4);
	atomic_store(&busy.posted, UINT32_MAX);
	timed.answer_when_idle = PART_POLL_BLOCKED;
	timed.retry_ns = 1000000;
	part_port_attach(&busy.port);
	part_port_attach(&timed.port);
	wait_until(atomic_load(&timed.polls) >= 20);
	part_port_detach(&timed.port);
	part_port_detach(&busy.port);
	stop(&b);
}

static void detach_waits_for_a_poll_under_way(void **state)
{
	struct bench b;
	struct worker w;
	unsigned int polls;

	start(&b, 0);
	for (uint32_t i = 0; i < 20; i++) {
		worker_init(&b, &w, 1);
		w.takes_ns = 2000000;
		atomic_store(&w.posted, UINT32_MAX);
		part_port_attach(&w.port);
		wait_until(atomic_load(&w.running) == 1);
		part_port_detach(&w.port);
		assert_int_equal(atomic_load(&w.running), 0);
		polls = atomic_load(&w.polls);
		part_port_kick(&w.port);
		flag(&b, 1, 1);
		nap(3000000);
		assert_int_equal(atomic_load(&w.polls), polls);
	}
	stop(&b);
}

static atomic_uint complaints;

static void count_complaints(void *ctx, enum kmcl_log_level level, const char *subsystem,
			     uint32_t partition, uint32_t channel, const char *text)
{
	if (partition == 77 && channel == 9)
		atomic_fetch_add(&complaints, 1);
}

static void a_second_port_of_a_channel_is_left_out(void **state)
{
	struct bench b;
	struct worker first, second;

	kmcl_log_set(count_complaints, NULL);
	start(&b, 0);
	worker_init(&b, &first, 9);
	worker_init(&b, &second, 9);
	part_port_attach(&first.port);
	part_port_attach(&second.port);
	wait_until(atomic_load(&complaints) == 1);
	part_port_detach(&second.port);
	assert_int_equal(atomic_load(&second.polls), 0);
	atomic_fetch_add(&first.posted, 1);
	part_port_kick(&first.port);
	wait_until(atomic_load(&first.done) == 1);
	part_port_detach(&first.port);
	stop(&b);
	kmcl_log_set(NULL, NULL);
}

/* Random pauses on the poster's side, of the lengths at which a dispatcher falls asleep. */
struct poster {
	struct bench *b;
	struct worker *w;
	uint32_t count;
	bool by_flag;
	bool lost;
};

static void *post_work(void *arg)
{
	struct poster *p = arg;
	uint64_t seed = 0x9e3779b97f4a7c15ull + p->w->port.relid;

	for (uint32_t i = 0; i < p->count && !p->lost; i++) {
		uint64_t until = clock_now_ns() + DEADLINE_NS;

		atomic_fetch_add(&p->w->posted, 1);
		if (p->by_flag)
			flag(p->b, p->w->port.dispatcher, p->w->port.relid);
		else
			part_port_kick(&p->w->port);
		if (random_next(&seed) % 4 == 0)
			continue;
		while (atomic_load(&p->w->done) != atomic_load(&p->w->posted) && !p->lost) {
			p->lost = clock_now_ns() > until;
			sched_yield();
		}
		if (random_next(&seed) % 8 == 0)
			nap(random_next(&seed) % 100000);
		else
			for (uint64_t n = random_next(&seed) % 2000; n; n--)
				cpu_relax();
	}
	return NULL;
}

static void no_wake_up_is_lost(enum signalling signalling, int64_t poll_ns, uint32_t count)
{
	enum {
		WORKERS = 4
	};
	struct bench b;
	struct worker w[WORKERS];
	struct poster p[WORKERS];
	pthread_t threads[WORKERS];

	start_with(&b, signalling, poll_ns);
	for (uint32_t i = 0; i < WORKERS; i++) {
		worker_init(&b, &w[i], 10 + i);
		if (i & 1)
			w[i].answer_when_idle = PART_POLL_BLOCKED;
		part_port_attach(&w[i].port);
		p[i] = (struct poster){&b, &w[i], count, i >= 2, false};
		assert_int_equal(pthread_create(&threads[i], NULL, post_work, &p[i]), 0);
	}
	for (uint32_t i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t i = 0; i < WORKERS; i++) {
		assert_false(p[i].lost);
		wait_until(atomic_load(&w[i].done) == atomic_load(&w[i].posted));
		part_port_detach(&w[i].port);
	}
	stop(&b);
}

static void no_wake_up_is_lost_when_blocking(void **state)
{
	no_wake_up_is_lost(BY_LINE, -1, 3000);
}

static void no_wake_up_is_lost_when_polling_a_little(void **state)
{
	no_wake_up_is_lost(BY_LINE, 0, 3000);
	no_wake_up_is_lost(BY_LINE, 2000, 3000);
}

static void no_bell_is_lost_when_blocking(void **state)
{
	no_wake_up_is_lost(BY_BELL, -1, 2000);
	no_wake_up_is_lost(BY_HEAR, -1, 2000);
}

static void no_bell_is_lost_when_polling_a_little(void **state)
{
	no_wake_up_is_lost(BY_BELL, 0, 2000);
	no_wake_up_is_lost(BY_HEAR, 2000, 2000);
}

/* A dispatcher that never sleeps looks at the flags all the same. */
static void flags_are_seen_while_another_port_is_busy(void **state)
{
	struct bench b;
	struct worker busy, w;

	for (enum signalling by = BY_BELL; by <= BY_HEAR; by++) {
		start_with(&b, by, 0);
		worker_init(&b, &busy, 2);
		worker_init(&b, &w, 4);
		part_port_attach(&w.port);
		wait_until(atomic_load(&w.parks));
		atomic_store(&busy.posted, UINT32_MAX);
		part_port_attach(&busy.port);
		wait_until(atomic_load(&busy.done));
		for (unsigned int i = 1; i <= 20; i++) {
			atomic_fetch_add(&w.posted, 1);
			flag(&b, 0, 4);
			wait_until(atomic_load(&w.done) == i);
		}
		part_port_detach(&w.port);
		part_port_detach(&busy.port);
		stop(&b);
	}
}

static void a_flag_at_another_dispatcher_is_passed_on(void **state)
{
	struct bench b;
	struct worker w;

	for (enum signalling by = BY_LINE; by <= BY_HEAR; by++) {
		start_with(&b, by, -1);
		worker_init(&b, &w, 4);
		part_port_attach(&w.port);
		for (unsigned int i = 1; i <= 20; i++) {
			wait_until(atomic_load(&w.parks) >= i);
			atomic_fetch_add(&w.posted, 1);
			flag(&b, 1, 4);
			wait_until(atomic_load(&w.done) == i);
		}
		part_port_detach(&w.port);
		stop(&b);
	}
}

/* Timers go on where a dispatcher sleeps in its ear, and lines raised here end that sleep too. */
static void timers_and_kicks_end_a_sleep_in_the_ear(void **state)
{
	struct bench b;
	struct worker w;

	start_with(&b, BY_BELL, -1);
	worker_init(&b, &w, 4);
	w.answer_when_idle = PART_POLL_BLOCKED;
	w.retry_ns = 300000;
	part_port_attach(&w.port);
	wait_until(atomic_load(&w.polls) >= 20);
	part_port_detach(&w.port);
	worker_init(&b, &w, 4);
	part_port_attach(&w.port);
	for (unsigned int i = 1; i <= 100; i++) {
		wait_until(atomic_load(&w.parks) >= i);
		atomic_fetch_add(&w.posted, 1);
		part_port_kick(&w.port);
		wait_until(atomic_load(&w.done) == i);
	}
	part_port_detach(&w.port);
	stop(&b);
}

/* Ports come and go, their memory with them, while flags for their channels keep coming. */
struct storm {
	struct bench *b;
	atomic_bool stop;
	uint32_t channel;
	uint32_t turns;
	uint64_t until; /* on one processor the flags leave little for the turns */
	bool failed;
};

static void *storm_flags(void *arg)
{
	struct storm *s = arg;
	uint64_t seed = 42;

	while (!atomic_load(&s->stop)) {
		uint32_t channel = 20 + random_next(&seed) % 4;

		if (channel & 8)
			hv_flag_set(&s->b->ep->dispatchers[channel % DISPATCHERS].kicks, channel);
		part_event_raise(&s->b->ep->dispatchers[channel % DISPATCHERS].event);
		flag(s->b, random_next(&seed) % DISPATCHERS, channel);
	}
	return NULL;
}

static void *storm_ports(void *arg)
{
	struct storm *s = arg;
	uint64_t seed = 7 + s->channel;

	for (uint32_t i = 0; i < s->turns && clock_now_ns() < s->until; i++) {
		struct worker *w = malloc(sizeof(*w));

		worker_init(s->b, w, s->channel);
		w->answer_when_idle = i % 3 ? PART_POLL_IDLE : PART_POLL_BLOCKED;
		w->retry_ns = i % 5 ? 0 : 100000;
		part_port_attach(&w->port);
		for (uint64_t n = random_next(&seed) % 4; n; n--) {
			atomic_fetch_add(&w->posted, 1);
			part_port_kick(&w->port);
			sched_yield();
		}
		part_port_detach(&w->port);
		s->failed |= atomic_load(&w->running) != 0;
		memset(w, 0xdb, sizeof(*w));
		free(w);
	}
	return NULL;
}

static void ports_come_and_go_in_a_storm_of_flags(void **state)
{
	struct bench b;
	struct storm flags = {.b = &b}, ports[4];
	pthread_t flagger, threads[4];

	start(&b, 0);
	assert_int_equal(pthread_create(&flagger, NULL, storm_flags, &flags), 0);
	for (uint32_t i = 0; i < 4; i++) {
		ports[i] = (struct storm){.b = &b,
					  .channel = 20 + i,
					  .turns = 2000,
					  .until = clock_now_ns() + 5000000000u};
		assert_int_equal(pthread_create(&threads[i], NULL, storm_ports, &ports[i]), 0);
	}
	for (uint32_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&flags.stop, true);
	pthread_join(flagger, NULL);
	for (uint32_t i = 0; i < 4; i++)
		assert_false(ports[i].failed);
	stop(&b);
}

static void every_port_gets_its_turn(void **state)
{
	enum {
		PORTS = 200
	};
	struct bench b;
	struct worker *w = calloc(PORTS, sizeof(*w));

	start(&b, 0);
	for (uint32_t i = 0; i < PORTS; i++) {
		worker_init(&b, &w[i], 1 + i);
		atomic_store(&w[i].posted, UINT32_MAX);
		part_port_attach(&w[i].port);
	}
	for (uint32_t i = 0; i < PORTS; i++)
		wait_until(atomic_load(&w[i].done) > 50);
	for (uint32_t i = 0; i < PORTS; i++)
		part_port_detach(&w[i].port);
	stop(&b);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attached_ports_are_polled_at_once),
		cmocka_unit_test(a_parked_port_rests_until_it_is_woken),
		cmocka_unit_test(never_poll_means_never),
		cmocka_unit_test(a_long_poll_does_not_park),
		cmocka_unit_test(work_at_the_moment_of_parking_is_done),
		cmocka_unit_test(a_blocked_port_leaves_without_parking),
		cmocka_unit_test(a_blocked_port_can_ask_to_be_polled_by_time),
		cmocka_unit_test(timers_run_while_another_port_is_busy),
		cmocka_unit_test(detach_waits_for_a_poll_under_way),
		cmocka_unit_test(a_second_port_of_a_channel_is_left_out),
		cmocka_unit_test(no_wake_up_is_lost_when_blocking),
		cmocka_unit_test(no_wake_up_is_lost_when_polling_a_little),
		cmocka_unit_test(no_bell_is_lost_when_blocking),
		cmocka_unit_test(no_bell_is_lost_when_polling_a_little),
		cmocka_unit_test(flags_are_seen_while_another_port_is_busy),
		cmocka_unit_test(a_flag_at_another_dispatcher_is_passed_on),
		cmocka_unit_test(timers_and_kicks_end_a_sleep_in_the_ear),
		cmocka_unit_test(ports_come_and_go_in_a_storm_of_flags),
		cmocka_unit_test(every_port_gets_its_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
