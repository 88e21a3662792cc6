/* SPDX-License-Identifier: MIT */
/*
 * The child as the parent sees it: started when it is needed, told what to run, watched, and read
 * after it died.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "kmcl.h"

#define PATIENT_RUNS 16u
#define NOISE_MOST   (1u << 20)
#define NOISE_SHOWN  5000u
#define START_MS     60000u /* until the driver is loaded */

bool fuzz_child_init(struct fuzz_child *c, const struct fuzz_setup *setup)
{
	void *memory = mmap(NULL, sizeof(*c->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*c = (struct fuzz_child){.setup = setup, .go = -1, .done = -1};
	c->noise = memfd_create("kmcl-fuzz-noise", MFD_CLOEXEC);
	c->shared = memory == MAP_FAILED ? NULL : memory;
	if (c->shared && c->noise >= 0)
		return true;
	complain("cannot start: %s", strerror(errno));
	fuzz_child_destroy(c);
	return false;
}

void fuzz_child_destroy(struct fuzz_child *c)
{
	fuzz_child_kill(c);
	if (c->shared)
		munmap(c->shared, sizeof(*c->shared));
	if (c->noise >= 0)
		close(c->noise);
	c->shared = NULL;
}

/* ---- its life ---- */

static void close_pipes(struct fuzz_child *c)
{
	close(c->go);
	close(c->done);
	c->go = c->done = -1;
	c->pid = 0;
}

static void be_child(struct fuzz_child *c, int go, int done)
{
	if (!c->setup->loud) {
		dup2(c->noise, STDOUT_FILENO);
		dup2(c->noise, STDERR_FILENO);
	}
	fuzz_run_serve(c->setup, c->shared, go, done);
}

static bool make_pipes(int *go, int *done)
{
	if (pipe2(go, O_CLOEXEC))
		return false;
	if (!pipe2(done, O_CLOEXEC))
		return true;
	close(go[0]);
	close(go[1]);
	return false;
}

static bool fork_child(struct fuzz_child *c)
{
	int go[2], done[2], error;
	pid_t pid;

	if (!make_pipes(go, done))
		return false;
	if (!ftruncate(c->noise, 0))
		lseek(c->noise, 0, SEEK_SET);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		close(go[1]);
		close(done[0]);
		be_child(c, go[0], done[1]);
	}
	error = errno;
	close(go[0]);
	close(done[1]);
	c->go = go[1];
	c->done = done[0];
	c->pid = pid;
	c->runs = 0;
	if (pid < 0)
		close_pipes(c);
	errno = error;
	return c->pid;
}

void fuzz_child_kill(struct fuzz_child *c)
{
	if (!c->pid)
		return;
	kill(c->pid, SIGKILL);
	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close_pipes(c);
}

/* ---- what became of it ---- */

static void clean_name(char *name)
{
	size_t n = 0;

	for (const char *at = name; *at && n < 100; at++) {
		bool good = isalnum((unsigned char)*at) || strchr("._+-", *at);

		if (good)
			name[n++] = *at;
		else if (n && name[n - 1] != '-')
			name[n++] = '-';
	}
	while (n && name[n - 1] == '-')
		n--;
	name[n] = 0;
}

static void read_noise(const struct fuzz_child *c, char *to, size_t room)
{
	off_t size = lseek(c->noise, 0, SEEK_END);
	off_t from = size > (off_t)(room - 1) ? size - (off_t)(room - 1) : 0;
	ssize_t n = pread(c->noise, to, room - 1, from);

	to[n > 0 ? n : 0] = 0;
}

/* "SUMMARY: AddressSanitizer: heap-buffer-overflow x.c:12 in f": the kind and the place. */
static bool read_summary(const char *noise, struct fuzz_finding *f)
{
	const char *line = strstr(noise, "SUMMARY: ");

	if (!line)
		return false;
	line += strlen("SUMMARY: ");
	snprintf(f->text, sizeof(f->text), "%.*s", (int)strcspn(line, "\n"), line);
	snprintf(f->name, sizeof(f->name), "%.120s", f->text);
	return true;
}

static void name_signal(const struct fuzz_child *c, int number, struct fuzz_finding *f)
{
	const struct fuzz_shared *s = c->shared;
	size_t length = strcspn(c->setup->spec, ",");

	f->kind = FUZZ_SIGNAL;
	snprintf(f->text, sizeof(f->text), "the driver died of %s", strsignal(number));
	snprintf(f->name, sizeof(f->name), "SIG%s", sigabbrev_np(number));
	if (!s->pc)
		return;
	snprintf(f->name, sizeof(f->name), "SIG%s-%llx", sigabbrev_np(number),
		 (unsigned long long)(s->pc - s->driver_base));
	snprintf(f->more, sizeof(f->more), "at %.*s+0x%llx; addr2line -fie %.*s 0x%llx",
		 (int)length, c->setup->spec, (unsigned long long)(s->pc - s->driver_base),
		 (int)length, c->setup->spec, (unsigned long long)(s->pc - s->driver_base));
}

static void name_exit(struct fuzz_child *c, int status, struct fuzz_finding *f)
{
	f->kind = FUZZ_EXIT;
	read_noise(c, f->more, NOISE_SHOWN);
	if (read_summary(f->more, f))
		return;
	if (WIFSIGNALED(status)) {
		f->more[0] = 0;
		name_signal(c, WTERMSIG(status), f);
		return;
	}
	snprintf(f->text, sizeof(f->text), "the driver ended the process with status %d",
		 WEXITSTATUS(status));
	snprintf(f->name, sizeof(f->name), "exit-%d", WEXITSTATUS(status));
}

static void name_finding(struct fuzz_child *c, int status, struct fuzz_finding *f)
{
	const struct fuzz_shared *s = c->shared;

	memset(f, 0, sizeof(*f));
	f->kind = (enum fuzz_kind)s->kind;
	switch (f->kind) {
	case FUZZ_VIOLATION:
		snprintf(f->name, sizeof(f->name), "%s", s->rule);
		snprintf(f->text, sizeof(f->text), "%s", s->text);
		snprintf(f->more, sizeof(f->more), "%s", s->trace);
		break;
	case FUZZ_LEAK:
	case FUZZ_UNABLE:
		snprintf(f->name, sizeof(f->name), "pool-leak");
		snprintf(f->text, sizeof(f->text), "%s", s->text);
		break;
	case FUZZ_HANG:
		snprintf(f->name, sizeof(f->name), "hang");
		snprintf(f->text, sizeof(f->text),
			 "the driver hung: nothing for %u ms, in or after step %u",
			 c->setup->timeout_ms, s->step + 1);
		break;
	default:
		name_exit(c, status, f);
		break;
	}
	clean_name(f->name);
}

/* ---- a run ---- */

/* What the driver prints is kept for a sanitizer's report, and not without end. */
static void bound_noise(struct fuzz_child *c)
{
	if (lseek(c->noise, 0, SEEK_CUR) > (off_t)NOISE_MOST && !ftruncate(c->noise, 0))
		lseek(c->noise, 0, SEEK_SET);
}

/* True: it said that it is done. False: it died, or has to. */
static bool wait_done(struct fuzz_child *c, uint32_t ms, bool *hung)
{
	uint64_t until = fuzz_now_ms() + ms;
	char what;

	*hung = false;
	for (;;) {
		struct pollfd fd = {.fd = c->done, .events = POLLIN};
		uint64_t now = fuzz_now_ms();

		if (now >= until)
			break;
		if (poll(&fd, 1, (int)(until - now)) > 0)
			return read(c->done, &what, 1) == 1;
	}
	*hung = true;
	return false;
}

static void bury(struct fuzz_child *c, bool hung, struct fuzz_finding *f)
{
	int status = 0;

	if (hung) {
		kill(c->pid, SIGKILL);
		c->shared->kind = FUZZ_HANG;
	}
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	close_pipes(c);
	name_finding(c, status, f);
}

/* Something was asked of it. */
static bool wait_answer(struct fuzz_child *c, uint32_t ms, struct fuzz_finding *f)
{
	bool hung;

	if (wait_done(c, ms, &hung))
		return true;
	bury(c, hung, f);
	return false;
}

static void clear_result(struct fuzz_child *c)
{
	c->shared->kind = FUZZ_NOTHING;
	c->shared->pc = 0;
	c->shared->step = 0;
}

static bool start(struct fuzz_child *c, struct fuzz_finding *f)
{
	clear_result(c);
	if (fork_child(c))
		return wait_answer(c, START_MS, f);
	memset(f, 0, sizeof(*f));
	f->kind = FUZZ_UNABLE;
	snprintf(f->text, sizeof(f->text), "cannot start a process: %s", strerror(errno));
	return false;
}

/* If it cannot be told any more, it is dead, which the answer shows. */
static bool tell(struct fuzz_child *c, char what, struct fuzz_finding *f)
{
	clear_result(c);
	bound_noise(c);
	if (write(c->go, &what, 1) == 1)
		c->runs++;
	return wait_answer(c, c->setup->timeout_ms, f);
}

bool fuzz_child_run(struct fuzz_child *c, const uint8_t *bytes, size_t size, struct fuzz_finding *f)
{
	if (!c->pid && !start(c, f))
		return false;
	memcpy(c->shared->input, bytes, size);
	c->shared->size = (uint32_t)size;
	return tell(c, 'r', f);
}

bool fuzz_child_finish(struct fuzz_child *c, struct fuzz_finding *f)
{
	bool good = !c->pid || tell(c, 'f', f);

	fuzz_child_kill(c);
	return good;
}

bool fuzz_child_replay(struct fuzz_child *c, const struct fuzz_history *h, uint64_t until,
		       struct fuzz_finding *f)
{
	bool good = true;

	fuzz_child_kill(c);
	/* What many runs lead to came of a search, which had less patience. */
	c->shared->replay = h->count <= PATIENT_RUNS;
	for (uint32_t i = 0; i < h->count && good && fuzz_now_ms() < until; i++)
		good = fuzz_child_run(c, h->run[i].bytes, h->run[i].size, f);
	good = good && fuzz_child_finish(c, f);
	c->shared->replay = false;
	return good;
}
