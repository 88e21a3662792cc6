/* SPDX-License-Identifier: MIT */
#include "partition/kvm_clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PERIOD_NS 1000000000u
#define NO_CLOCK  INT64_MIN
#define TRIES     4u /* something may come between two readings */

static uint64_t raw_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * Ours is read after the VM's, so that each difference is too small, by the time between them, and
 * the largest is the best. None is too large: a guest must not be told of a time that is to come.
 */
static void note(struct kvm_clock *c, int vm_fd)
{
	int64_t ahead = NO_CLOCK;

	for (unsigned int i = 0; i < TRIES; i++) {
		struct kvm_clock_data data = {0};
		int64_t difference;

		if (c->control(vm_fd, KVM_GET_CLOCK, &data)) {
			ahead = NO_CLOCK;
			break;
		}
		difference = (int64_t)(data.clock - raw_ns());
		if (difference > ahead)
			ahead = difference;
	}
	atomic_store_explicit(&c->ahead, ahead, memory_order_relaxed);
}

static int set_timer(struct kvm_clock *c, uint64_t period_ns)
{
	struct timespec period = {.tv_sec = (time_t)(period_ns / 1000000000u),
				  .tv_nsec = (long)(period_ns % 1000000000u)};
	struct itimerspec both = {.it_interval = period, .it_value = period};

	return timerfd_settime(c->timer, 0, &both, NULL) ? -errno : 0;
}

int kvm_clock_start(struct kvm_clock *c, int vm_fd)
{
	int error = set_timer(c, c->period_ns);

	if (!error)
		note(c, vm_fd);
	return error;
}

void kvm_clock_stop(struct kvm_clock *c)
{
	set_timer(c, 0);
	atomic_store_explicit(&c->ahead, NO_CLOCK, memory_order_relaxed);
}

void kvm_clock_look(struct kvm_clock *c, int vm_fd)
{
	uint64_t times;

	if (read(c->timer, &times, sizeof(times)) > 0)
		note(c, vm_fd);
}

static int read_reference(void *ctx, uint64_t *reference)
{
	struct kvm_clock *c = ctx;
	int64_t ahead = atomic_load_explicit(&c->ahead, memory_order_relaxed);

	if (ahead == NO_CLOCK)
		return -ENOTSUP;
	*reference = (raw_ns() + (uint64_t)ahead) / 100;
	return 0;
}

int kvm_clock_read(struct kvm_clock *c, struct hv_clocks *clocks)
{
	return hv_bracket_clocks(read_reference, c, clocks);
}

int kvm_clock_open(struct kvm_clock *c, kvm_control *control, uint64_t period_ns)
{
	c->control = control;
	c->period_ns = period_ns ? period_ns : PERIOD_NS;
	c->ahead = NO_CLOCK;
	c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return c->timer < 0 ? -errno : 0;
}

void kvm_clock_close(struct kvm_clock *c)
{
	if (c->timer >= 0)
		close(c->timer);
}
