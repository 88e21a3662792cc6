/* SPDX-License-Identifier: MIT */
/* The reference counter of a guest under KVM, as the host's end tells it. */
#include "kvm_rig.h"

#define AGO       123456789012345ull
#define HOUR_NS   3600000000000ull
#define PERIOD_NS 5000000u

static void start_with_clock(struct kvm_guest *g, uint64_t period_ns)
{
	struct kvm_transport_options o = {.clock_ns = period_ns};

	rig_start_with(g, &o);
	rig_kvm.clock = AGO;
}

/* Whether it is told, and as it was while it was asked for, or a little earlier; never later. */
static bool tells(struct kvm_guest *g, uint64_t earlier_ns)
{
	uint64_t clock = rig_kvm.clock, before = clock + rig_raw_ns(), reference, real_ns;

	if (part_server_clocks(part_server(g->raw.part), &reference, &real_ns))
		return false;
	assert_true(reference <= (clock + rig_raw_ns()) / 100);
	return reference >= (before - earlier_ns) / 100;
}

static bool tells_nothing(struct kvm_guest *g)
{
	uint64_t reference, real_ns;
	int error = part_server_clocks(part_server(g->raw.part), &reference, &real_ns);

	assert_true(!error || error == -ENOTSUP);
	return error != 0;
}

/* In units of 100 ns; and a reading that was interrupted does not count. */
static void ic_020_the_reference_counter_is_the_vms(void **state)
{
	uint64_t reference, real_ns;
	struct timespec now;
	struct kvm_guest g;

	start_with_clock(&g, PERIOD_NS);
	wait_until(tells(&g, INTERRUPTION_NS / 2));
	rig_kvm.clock_interrupted = true;
	for (uint32_t i = 0; i < 4; i++) {
		rig_kvm.clock_undisturbed = i;
		/* another time, so that nothing is left of what was read before */
		rig_kvm.clock += HOUR_NS;
		wait_until(tells(&g, INTERRUPTION_NS / 2));
	}
	assert_int_equal(part_server_clocks(part_server(g.raw.part), &reference, &real_ns), 0);
	clock_gettime(CLOCK_REALTIME, &now);
	/* a wall clock of today, whatever the machine was doing meanwhile */
	assert_true(real_ns / 1000000000 + 60 > (uint64_t)now.tv_sec &&
		    real_ns / 1000000000 <= (uint64_t)now.tv_sec + 60);
	rig_kvm.clock_interrupted = false;
	rig_stop(&g);
}

/* At DISPATCH_LEVEL nobody may wait: not for KVM, and not for who waits for it. */
static void the_reference_counter_is_told_while_kvm_is_busy(void **state)
{
	struct kvm_guest g;
	unsigned int clocks;

	start_with_clock(&g, PERIOD_NS);
	wait_until(tells(&g, HOUR_NS));
	rig_kvm.clock_blocks = true;
	wait_until(rig_kvm.clock_blocked);
	clocks = rig_kvm.clocks;
	for (uint32_t i = 0; i < 100; i++)
		assert_true(tells(&g, HOUR_NS));
	assert_int_equal(rig_kvm.clocks, clocks);
	assert_true(rig_kvm.clock_blocks);
	rig_kvm.clock_blocks = false;
	rig_stop(&g);
}

/* From the moment that a VM is there until it goes, and as it is when somebody has set it. */
static void ic_020_the_reference_counter_follows_the_vms(void **state)
{
	struct kvm_guest g;

	start_with_clock(&g, HOUR_NS);
	assert_true(tells_nothing(&g));
	kvm_transport_detach(g.t);
	rig_attach(&g);
	assert_true(tells(&g, HOUR_NS));
	kvm_transport_detach(g.t);
	assert_true(tells_nothing(&g));
	rig_stop(&g);

	start_with_clock(&g, PERIOD_NS);
	wait_until(tells(&g, HOUR_NS));
	rig_kvm.clock += 2 * HOUR_NS;
	wait_until(tells(&g, HOUR_NS));
	rig_kvm.clock = 0;
	wait_until(tells_nothing(&g));
	rig_stop(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ic_020_the_reference_counter_is_the_vms),
		cmocka_unit_test(the_reference_counter_is_told_while_kvm_is_busy),
		cmocka_unit_test(ic_020_the_reference_counter_follows_the_vms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
