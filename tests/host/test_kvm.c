/* SPDX-License-Identifier: MIT */
/* Why /dev/kvm does not do, and what a partition for KVM refuses. open and ioctl are replaced. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

#include "kmcl/kvm.h"
#include "partition/kvm.h"

#define NOTHING ULONG_MAX

static int open_error;
static unsigned long missing; /* the capability that this KVM lacks */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_kvm_control_system(int fd, unsigned long request, void *argument);

int __wrap_open64(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/kvm"))
		return __real_open64(path, flags, 0);
	errno = open_error;
	return open_error ? -1 : __real_open64("/dev/null", O_RDWR | O_CLOEXEC);
}

int __wrap_kvm_control_system(int fd, unsigned long request, void *argument)
{
	assert_int_equal(request, KVM_CHECK_EXTENSION);
	return (unsigned long)(uintptr_t)argument != missing;
}

static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void refused(int code, const char *word, char *text)
{
	unsigned int fds = count_fds();
	char *error = NULL;

	assert_int_equal(kmcl_kvm_open(&error), code);
	assert_non_null(error);
	assert_non_null(strstr(error, word));
	assert_null(strchr(error, '\n'));
	strcpy(text, error);
	kmcl_free(error);
	assert_int_equal(kmcl_kvm_open(NULL), code);
	assert_int_equal(count_fds(), fds);
}

static void host_001_three_messages_and_nothing_left_behind(void **state)
{
	char text[3][256];
	char *error = NULL;
	int fd;

	missing = NOTHING;
	open_error = ENOENT;
	refused(-ENOENT, "missing", text[0]);
	open_error = EACCES;
	refused(-EACCES, "group kvm", text[1]);
	open_error = 0;
	missing = KVM_CAP_HYPERV_SYNIC2;
	refused(-ENOTSUP, "CONFIG_KVM_HYPERV", text[2]);
	for (unsigned int i = 0; i < 3; i++)
		assert_string_not_equal(text[i], text[(i + 1) % 3]);
	missing = NOTHING;
	fd = kmcl_kvm_open(&error);
	assert_true(fd >= 0);
	assert_null(error);
	close(fd);
}

static void another_capability_that_is_missing_is_named(void **state)
{
	static const struct {
		unsigned long cap;
		const char *name;
	} caps[] = {{KVM_CAP_IRQFD_RESAMPLE, "KVM_CAP_IRQFD_RESAMPLE"},
		    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"}};
	char text[256];

	open_error = 0;
	for (unsigned int i = 0; i < 2; i++) {
		missing = caps[i].cap;
		refused(-ENOTSUP, caps[i].name, text);
	}
	open_error = EMFILE;
	refused(-EMFILE, "/dev/kvm", text);
}

static void impossible_machines_are_refused(void **state)
{
	const struct kmcl_kvm_machine good = {.size = sizeof(good), .processors = 2};
	struct kmcl_kvm_machine bad[] = {good, good, good, good, good};
	kmcl_partition *partition;

	bad[0].size--;
	bad[1].processors = 0;
	bad[2].processors = 65;
	bad[3].flags = 0x80;
	bad[4].sints = 0x10000;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(kmcl_partition_create_kvm(NULL, &bad[i], &partition), -EINVAL);
		assert_null(partition);
	}
	assert_int_equal(kmcl_partition_create_kvm(NULL, &good, &partition), 0);
	assert_int_equal(kmcl_kvm_connect(partition, NULL, 0), -ENOTCONN);
	assert_int_equal(kmcl_kvm_attach(partition, -1), -EBADF);
	kmcl_partition_destroy(partition);
	assert_int_equal(kmcl_partition_create_loopback(NULL, &partition), 0);
	assert_int_equal(kmcl_kvm_attach(partition, 0), -EINVAL);
	assert_int_equal(kmcl_kvm_exit(partition, 0, NULL), 0);
	kmcl_partition_destroy(partition);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_001_three_messages_and_nothing_left_behind),
		cmocka_unit_test(another_capability_that_is_missing_is_named),
		cmocka_unit_test(impossible_machines_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
