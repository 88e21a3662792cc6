/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
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
	"getcpu",
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

/* ---- threads that are there already ---- */

/*
 * Capabilities and Landlock are a thread's own: the library's workers, which run what drivers
 * queue, and threads that a driver began would keep both. Each is asked by a signal that none of
 * them blocks to give them up itself; there is no other way.
 */
#define ASK          SIGSYS
#define MOST_THREADS 4096u
#define PATIENCE     5000u /* milliseconds */

static int files = -1; /* the Landlock rules; -1: none */
static atomic_uint entered;
static atomic_int refused;

static int restrict_thread(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_capset, &header, none) ||
	    (files >= 0 && syscall(SYS_landlock_restrict_self, files, 0)))
		return errno;
	return 0;
}

static void on_ask(int signal)
{
	int was = errno, error = restrict_thread();

	if (error)
		atomic_store(&refused, error);
	atomic_fetch_add(&entered, 1);
	errno = was;
}

/* True: it has, or is no more. */
static bool ask_thread(pid_t thread)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	unsigned int before = atomic_load(&entered);

	if (syscall(SYS_tgkill, getpid(), thread, ASK))
		return errno == ESRCH;
	for (unsigned int i = 0; i < PATIENCE; i++) {
		if (atomic_load(&entered) != before ||
		    (syscall(SYS_tgkill, getpid(), thread, 0) && errno == ESRCH))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static bool was_asked(const pid_t *asked, unsigned int count, pid_t thread)
{
	for (unsigned int i = 0; i < count; i++)
		if (asked[i] == thread)
			return true;
	return false;
}

/* Asks those that were not asked yet; -1: one does not answer, or they are too many. */
static int ask_new_threads(DIR *tasks, pid_t *asked, unsigned int *count)
{
	struct dirent *entry;
	int found = 0;

	rewinddir(tasks);
	while ((entry = readdir(tasks))) {
		pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);

		if (thread <= 0 || thread == gettid() || was_asked(asked, *count, thread))
			continue;
		if (*count == MOST_THREADS || !ask_thread(thread))
			return -1;
		asked[(*count)++] = thread;
		found++;
	}
	return found;
}

/* A thread that was asked begins none that is not restricted, so that there is an end to it. */
static bool restrict_threads(void)
{
	struct sigaction ask = {.sa_handler = on_ask, .sa_flags = SA_RESTART}, before;
	pid_t *asked = calloc(MOST_THREADS, sizeof(*asked));
	DIR *tasks = opendir("/proc/self/task");
	unsigned int count = 0;
	int found = -1;

	if (asked && tasks && !sigaction(ASK, &ask, &before)) {
		do
			found = ask_new_threads(tasks, asked, &count);
		while (found > 0);
		sigaction(ASK, &before, NULL);
	}
	if (tasks)
		closedir(tasks);
	free(asked);
	if (!found && !atomic_load(&refused))
		return true;
	complain("cannot take privileges and files from threads that are there: %s",
		 strerror(found ? EBUSY : atomic_load(&refused)));
	return false;
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

/* Where a socket of ours appears and goes. */
static bool allow_socket(int rules, const char *socket, uint64_t access)
{
	char *copy = socket ? strdup(socket) : NULL;
	bool good = !socket || (copy && allow_below(rules, dirname(copy), access));

	free(copy);
	return good;
}

static bool make_rules(const char *socket, const char *control)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_OF_VERSION_1};

	files = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (files < 0) {
		complain("this kernel has no Landlock: files are open to drivers as they are to "
			 "their user");
		return true;
	}
	if (allow_socket(files, socket,
			 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE) &&
	    allow_socket(files, control, LANDLOCK_ACCESS_FS_REMOVE_FILE) &&
	    allow_below(files, "/dev/zero", LANDLOCK_ACCESS_FS_READ_FILE))
		return true;
	complain("cannot close files: %s", strerror(errno));
	return false;
}

static bool restrict_privileges_and_files(const char *socket, const char *control)
{
	int error = 0;
	bool good = make_rules(socket, control) && restrict_threads();

	if (good)
		error = restrict_thread();
	if (error)
		complain("cannot give up privileges and files: %s", strerror(error));
	if (files >= 0)
		close(files);
	files = -1;
	return good && !error;
}

/* ---- system calls ---- */

static int allow(scmp_filter_ctx filter, const char *name)
{
	int number = seccomp_syscall_resolve_name(name);

	/* Other machines have other names for some. */
	return number < 0 ? 0 : seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
}

static bool restrict_calls(bool pairs)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int error = filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;

	for (size_t i = 0; !error && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		error = allow(filter, allowed[i]);
	if (!error && pairs)
		error = allow(filter, "socketpair");
	if (!error)
		error = seccomp_load(filter);
	seccomp_release(filter);
	if (error)
		complain("cannot filter system calls, and serves nobody without that "
			 "(--no-sandbox does): %s",
			 strerror(-error));
	return !error;
}

bool sandbox_enter(const char *socket, const char *control, bool pairs)
{
	return restrict_privileges_and_files(socket, control) && restrict_calls(pairs);
}
