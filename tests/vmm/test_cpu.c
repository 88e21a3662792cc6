/* SPDX-License-Identifier: MIT */
/* CPUID as this machine's KVM lets it be; the guest tests see the rest where KVM has Hyper-V. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"

static int kvm = -1;

static int open_kvm(void **state)
{
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	return 0;
}

static int close_kvm(void **state)
{
	if (kvm >= 0)
		close(kvm);
	return 0;
}

static struct kvm_cpuid2 *leaves(uint32_t index, bool auto_eoi)
{
	if (kvm < 0)
		skip(); /* the guest tests look at the same leaves from inside */
	return cpu_leaves(kvm, index, auto_eoi);
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *all, uint32_t function)
{
	for (uint32_t i = 0; i < all->nent; i++)
		if (all->entries[i].function == function)
			return &all->entries[i];
	return NULL;
}

static void host_003_only_our_hypervisor_is_there(void **state)
{
	struct kvm_cpuid2 *all = leaves(0, false);
	uint32_t of_hypervisors = 0;

	assert_non_null(all);
	for (uint32_t i = 0; i < all->nent; i++) {
		const struct kvm_cpuid_entry2 *leaf = &all->entries[i];

		if (leaf->function >> 28 != 4)
			continue;
		assert_int_equal(leaf->function, 0x40000000 + of_hypervisors++);
		assert_int_not_equal(leaf->ebx, 0x4b4d564b); /* "KVMK" */
	}
	assert_int_equal(of_hypervisors, 6);
	assert_int_equal(find(all, 0x40000000)->ebx, 0x7263694d);
	assert_int_equal(find(all, 0x40000001)->eax, 0x31237648);
	assert_true(find(all, 1)->ecx >> 31);
	free(all);
}

static void host_005_no_forbidden_bit(void **state)
{
	struct kvm_cpuid2 *all = leaves(0, false);
	uint32_t privileges;

	assert_non_null(all);
	privileges = find(all, 0x40000003)->ebx;
	assert_int_equal(privileges & (1 << 1 | 1 << 12 | 1 << 20 | 1 << 22), 0);
	assert_int_equal(find(all, 0x40000004)->eax & 3, 0);
	free(all);
}

static void host_005_no_bit_that_the_kernel_lacks(void **state)
{
	struct kvm_cpuid2 *supported =
		calloc(1, sizeof(*supported) + 64 * sizeof(supported->entries[0]));
	struct kvm_cpuid2 *all = leaves(0, false);
	const struct kvm_cpuid_entry2 *has, *says;

	assert_non_null(all);
	supported->nent = 64;
	if (ioctl(kvm, KVM_GET_SUPPORTED_HV_CPUID, supported)) {
		free(supported);
		free(all);
		skip(); /* this one has no Hyper-V; the guest tests run this where it has */
	}
	for (uint32_t leaf = 0x40000003; leaf <= 0x40000004; leaf++) {
		has = find(supported, leaf);
		says = find(all, leaf);
		assert_int_equal(says->eax & ~has->eax, 0);
		assert_int_equal(says->edx & ~has->edx, 0);
	}
	assert_int_equal(find(all, 0x40000003)->ebx & ~find(supported, 0x40000003)->ebx, 0);
	/* All that a guest of ours needs is there. */
	assert_int_equal(find(all, 0x40000003)->eax, 0xa7e);
	assert_int_equal(find(all, 0x40000003)->ebx, 0x30);
	free(supported);
	free(all);
}

static void each_processor_has_its_own_id(void **state)
{
	for (uint32_t i = 0; i < 4; i++) {
		struct kvm_cpuid2 *all = leaves(i, true);

		assert_non_null(all);
		assert_int_equal(find(all, 1)->ebx >> 24, i);
		assert_int_equal(find(all, 0x40000004)->eax & 1 << 9, 0); /* AutoEOI */
		free(all);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_003_only_our_hypervisor_is_there),
		cmocka_unit_test(host_005_no_forbidden_bit),
		cmocka_unit_test(host_005_no_bit_that_the_kernel_lacks),
		cmocka_unit_test(each_processor_has_its_own_id),
	};

	return cmocka_run_group_tests(tests, open_kvm, close_kvm);
}
