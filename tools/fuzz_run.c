/* SPDX-License-Identifier: MIT */
/*
 * The child: the library, the driver, and the peer that speaks to it. What the verifier says ends
 * the run as a crash does, after it has been written where the parent finds it.
 */
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <kmcl/verify.h>

#include "fuzz_wire.h"
#include "kmcl.h"

#define EXIT_FOUND   77
#define STACK_LOOKED 512u /* words in which the driver's code is looked for */

static struct fuzz_shared *shared;
static const struct fuzz_setup *setup;
static bool here; /* no parent reads what is found */

uint64_t fuzz_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void fuzz_die(struct fuzz_shared *s, enum fuzz_kind kind, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->text, sizeof(s->text), format, args);
	va_end(args);
	if (here) {
		fprintf(stderr, "%s\n%s", s->text, s->trace);
		abort(); /* where a debugger stops */
	}
	__atomic_store_n(&s->kind, kind, __ATOMIC_RELEASE);
	_exit(EXIT_FOUND);
}

/* ---- what the verifier says ---- */

static bool ignored(const char *rule)
{
	for (uint32_t i = 0; i < setup->ignored_count; i++)
		if (!strcmp(setup->ignored[i], rule))
			return true;
	return false;
}

static void broken_rule(void *ctx, const char *rule, const char *driver, const char *text)
{
	static uint32_t first;
	struct kmcl_violation_details details = {.size = sizeof(details)};

	if (ignored(rule))
		return;
	if (__atomic_exchange_n(&first, 1, __ATOMIC_ACQ_REL))
		for (;;)
			pause(); /* another thread is about to end the process */
	kmcl_violation_describe(&details);
	snprintf(shared->rule, sizeof(shared->rule), "%s", rule);
	snprintf(shared->trace, sizeof(shared->trace), "%s", details.backtrace);
	fuzz_die(shared, FUZZ_VIOLATION, "%s: driver %s%s%s: %s", rule, driver,
		 details.channel[0] ? ", channel " : "", details.channel, text);
}

static void hush(void *ctx, enum kmcl_log_severity severity, const char *subsystem,
		 uint32_t partition, uint32_t channel, const char *text)
{
}

static void set_verifier(void)
{
	struct kmcl_verifier_options options = {.size = sizeof(options)};

	kmcl_verifier_get(&options);
	if (!getenv("KMCL_VERIFIER")) {
		options.mode = KMCL_VERIFIER_ABORT;
		/* so that who keeps a suspend waiting is named before it is a hang */
		options.suspend_ms = setup->timeout_ms / 2 + 1;
	}
	kmcl_verifier_set(&options);
}

/* ---- signals ---- */

#if defined(__clang__)
#define PLAIN __attribute__((no_sanitize("address", "thread", "undefined", "coverage")))
#else
#define PLAIN __attribute__((no_sanitize("address", "thread", "undefined")))
#endif

static bool in_driver(uint64_t pc)
{
	return pc >= shared->driver_at && pc < shared->driver_end;
}

static uint64_t pc_of(const ucontext_t *u)
{
#if defined(__x86_64__)
	return (uint64_t)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return u->uc_mcontext.pc;
#else
	return 0;
#endif
}

/* The handler runs on the stack of what failed: a return address into the driver lies above. */
PLAIN static uint64_t look_above(void)
{
	const uintptr_t *at = __builtin_frame_address(0);

	for (uint32_t i = 0; i < STACK_LOOKED; i++)
		if (in_driver(at[i]))
			return at[i];
	return 0;
}

PLAIN static void on_signal(int number, siginfo_t *info, void *context)
{
	uint64_t pc = pc_of(context);

	signal(number, SIG_DFL);
	shared->pc = in_driver(pc) ? pc : 0;
	__atomic_store_n(&shared->kind, FUZZ_SIGNAL, __ATOMIC_RELEASE);
	if (!shared->pc)
		shared->pc = look_above();
	raise(number);
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

	if (dlsym(RTLD_DEFAULT, "__asan_init") || dlsym(RTLD_DEFAULT, "__tsan_init"))
		return; /* a sanitizer tells more */
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

/* ---- the driver ---- */

static int find_driver(struct dl_phdr_info *info, size_t size, void *ctx)
{
	const char *name = info->dlpi_name ? info->dlpi_name : "";
	size_t length = strcspn(setup->spec, ",");

	if (strlen(name) < length || strncmp(name, setup->spec, length) || name[length])
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && p->p_flags & PF_X) {
			shared->driver_at = info->dlpi_addr + p->p_vaddr;
			shared->driver_end = shared->driver_at + p->p_memsz;
			shared->driver_base = info->dlpi_addr;
		}
	}
	return 1;
}

static struct fuzz_peer *create(kmcl_driver **driver)
{
	struct fuzz_peer *peer;
	char *error = NULL;

	set_verifier();
	fuzz_coverage_accept(shared, true);
	peer = setup->end == KMCL_SERVER ? fuzz_guest_create(setup, shared, driver, &error)
					 : fuzz_host_create(setup, shared, driver, &error);
	fuzz_coverage_accept(shared, false);
	if (!peer)
		fuzz_die(shared, FUZZ_UNABLE, "%s", error ? error : "out of memory");
	dl_iterate_phdr(find_driver, NULL);
	return peer;
}

static void run_input(struct fuzz_peer *peer, const uint8_t *bytes, size_t size)
{
	static struct fuzz_input input;

	fuzz_decode(&input, bytes, size);
	fuzz_coverage_begin();
	shared->waits = 0;
	peer->run(peer, &input);
	fuzz_coverage_end();
}

static void end(struct fuzz_peer *peer, kmcl_driver *driver)
{
	size_t leaked;

	peer->finish(peer);
	leaked = kmcl_driver_unload(driver);
	kmcl_partition_destroy(peer->partition);
	if (leaked)
		fuzz_die(shared, FUZZ_LEAK, "the driver left %zu block%s of its pool behind",
			 leaked, leaked == 1 ? "" : "s");
}

/* ---- */

static void set_callbacks(void)
{
	kmcl_set_violation(broken_rule, NULL);
	kmcl_set_report(broken_rule, NULL);
	if (!setup->loud && !getenv("KMCL_LOG"))
		kmcl_set_log(hush, NULL);
}

void fuzz_run_serve(const struct fuzz_setup *how, struct fuzz_shared *with, int go, int done)
{
	kmcl_driver *driver = NULL;
	struct fuzz_peer *peer;
	char what = 's';

	shared = with;
	setup = how;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	catch_signals();
	set_callbacks();
	peer = create(&driver);
	while (write(done, &what, 1) == 1 && what != 'f' && read(go, &what, 1) == 1) {
		if (what == 'f')
			end(peer, driver);
		else
			run_input(peer, shared->input, shared->size);
	}
	_exit(0);
}

void fuzz_run_here(const struct fuzz_setup *how, struct fuzz_shared *with,
		   const struct fuzz_history *h)
{
	kmcl_driver *driver = NULL;
	struct fuzz_peer *peer;

	with->replay = true;
	shared = with;
	setup = how;
	here = true;
	set_callbacks();
	peer = create(&driver);
	for (uint32_t i = 0; i < h->count; i++)
		run_input(peer, h->run[i].bytes, h->run[i].size);
	end(peer, driver);
}
