/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kmcl.h"

/* What a host does once it serves, by what for. Anything else fails with EPERM. */
static const char *const allowed[] = {
	/* guests: sockets, memory, doorbells */
	"accept4",
	"recvmsg",
	"sendmsg",
	"recvfrom",
	"sendto",
	"shutdown",
	"getsockopt",
	"poll",
	"ppoll",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"eventfd2",
	"io_setup",
	"io_destroy",
	"io_submit",
	"io_getevents",
	"fstatfs",
	"fstat",
	"newfstatat",
	"statx",
	"fcntl",
	"read",
	"write",
	"writev",
	"readv",
	"pread64",
	"pwrite64",
	"close",
	"dup",
	"lseek",
	"openat",
	/* memory */
	"mmap",
	"munmap",
	"mprotect",
	"madvise",
	"mremap",
	"brk",
	"memfd_create",
	"ftruncate",
	/* threads and time */
	"futex",
	"clone",
	"clone3",
	"exit",
	"exit_group",
	"set_robust_list",
	"rseq",
	"sched_yield",
	"sched_getaffinity",
	"sched_setaffinity",
	"nanosleep",
	"clock_nanosleep",
	"clock_gettime",
	"clock_getres",
	"gettimeofday",
	"prctl",
	"gettid",
	"getpid",
	"getppid",
	"geteuid",
	"getuid",
	"getrandom",
	"membarrier",
	"uname",
	"sysinfo",
	"restart_syscall",
	/* signals, and an end with a message */
	"rt_sigprocmask",
	"rt_sigaction",
	"rt_sigreturn",
	"rt_sigtimedwait",
	"sigaltstack",
	"tgkill",
	/* the socket's name */
	"rename",
	"renameat",
	"renameat2",
	"unlink",
	"unlinkat",
	"chmod",
	"stat",
};

static bool drop_privileges(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_capset, &header, none)) {
		complain("cannot drop privileges: %s", strerror(errno));
		return false;
	}
	return true;
}

/* ---- files ---- */

#define ALL_OF_VERSION_1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

static bool allow_below(int rules, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr attr = {.allowed_access = access};
	bool allowed_now;

	attr.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (attr.parent_fd < 0)
		return false;
	allowed_now = !syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &attr, 0);
	close(attr.parent_fd);
	return allowed_now;
}

static bool restrict_files(const char *socket)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_OF_VERSION_1};
	int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	char *copy = strdup(socket);
	bool good;

	if (rules < 0) {
		complain("this kernel has no Landlock: files are open to drivers as they are to "
			 "their user");
		free(copy);
		return true;
	}
	good = copy &&
	       allow_below(rules, dirname(copy),
			   LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE) &&
	       allow_below(rules, "/dev/zero", LANDLOCK_ACCESS_FS_READ_FILE) &&
	       !syscall(SYS_landlock_restrict_self, rules, 0);
	if (!good)
		complain("cannot close files: %s", strerror(errno));
	free(copy);
	close(rules);
	return good;
}

/* ---- system calls ---- */

static bool restrict_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int error = filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;

	for (size_t i = 0; !error && i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		int number = seccomp_syscall_resolve_name(allowed[i]);

		/* Other machines have other names for some. */
		if (number >= 0)
			error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
	}
	if (!error)
		error = seccomp_load(filter);
	seccomp_release(filter);
	if (error)
		complain("cannot filter system calls, and serves nobody without that "
			 "(--no-sandbox does): %s",
			 strerror(-error));
	return !error;
}

bool sandbox_enter(const char *socket)
{
	return drop_privileges() && restrict_files(socket) && restrict_calls();
}
