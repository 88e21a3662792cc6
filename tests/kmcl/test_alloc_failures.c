/* SPDX-License-Identifier: MIT */
/*
 * Memory ends, at every place where the library asks for some. A bus is made, drivers are loaded, a
 * channel is offered, opened, used in every way, saved and closed, with the first allocation
 * failing, then the second, and so on until a run has no failure left. Each run is a process: it
 * ends, with or without an error that somebody was told of, and neither crashes, hangs, leaks nor
 * blames a driver.
 *
 * What fails is chosen by wrapping the calls of malloc and its kin, of mmap and of pthread_create.
 * KMCL_ALLOC_FROM and KMCL_ALLOC_TO limit the walk; KMCL_ALLOC_TRACE=1 shows where each one is.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vmbuskernelmodeclientlibapi.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/symbols.h"
#include "kmcl/bus.h"
#include "nt/nt.h"
#include "partition/partition.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
#else
#define LEAKS() 0
#endif

enum result {
	RESULT_DONE,  /* all went well, the failure was made up for */
	RESULT_ERROR, /* somebody was told */
	RESULT_NO_FAILURE_LEFT,
	RESULT_SILENT, /* nothing happened any more, and nobody was told */
	RESULT_VIOLATION,
	RESULT_LEAK,
};

#define SILENCE_MS     15000u
#define AFTER_ERROR_MS 1000u
#define SERVER_TAG     'SxeA'

/* ---- the allocations ---- */

static atomic_uint armed, count, failing;

static bool fails(void)
{
	unsigned int n;

	if (!atomic_load(&armed))
		return false;
	n = atomic_fetch_add(&count, 1) + 1;
	if (n != atomic_load(&failing))
		return false;
	if (getenv("KMCL_ALLOC_TRACE")) {
		void *frames[24];
		char text[160];

		atomic_store(&armed, 0);
		for (int i = 2, end = backtrace(frames, 24); i < end; i++) {
			symbols_describe((char *)frames[i] - 1, text, sizeof(text));
			fprintf(stderr, "  #%d %s\n", i - 2, text);
		}
		atomic_store(&armed, 1);
	}
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

int __real_posix_memalign(void **p, size_t align, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
	return fails() ? ENOMEM : __real_posix_memalign(p, align, size);
}

void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(align, size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

int __real_vasprintf(char **text, const char *format, va_list args);
int __wrap_vasprintf(char **text, const char *format, va_list args);
int __wrap_vasprintf(char **text, const char *format, va_list args)
{
	return fails() ? -1 : __real_vasprintf(text, format, args);
}

void *__real_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap64(at, size, prot, flags, fd, offset);
}

void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap(at, size, prot, flags, fd, offset);
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
	return fails() ? EAGAIN : __real_pthread_create(t, a, run, arg);
}

/* ---- two drivers ---- */

static struct {
	struct part *part;
	struct nt_driver *server_driver, *client_driver;
	struct kmcl_bus_device server_device, client_device;
	PDEVICE_OBJECT server_pdo, client_pdo;
	VMBCHANNEL server, client;
	atomic_uint opened, closed, failed, answered, external;
	uint8_t *memory;
	PMDL mdl;
	const char *where; /* what an error is about */
} the;

static const GUID type = {0x4b54e570, 1, 2, {3}}, instance = {0x4b54e571, 1, 2, {3}};

static NTSTATUS entry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	(void)driver;
	(void)path;
	return STATUS_SUCCESS;
}

static NTSTATUS opened(VMBCHANNEL channel)
{
	(void)channel;
	return STATUS_SUCCESS;
}

static VOID started(VMBCHANNEL channel)
{
	(void)channel;
	atomic_fetch_add(&the.opened, 1);
}

static VOID closed(VMBCHANNEL channel)
{
	(void)channel;
	atomic_fetch_add(&the.closed, 1);
}

static VOID pnp_failure(VMBCHANNEL channel, NTSTATUS status)
{
	(void)channel;
	(void)status;
	atomic_fetch_add(&the.failed, 1);
}

static VOID process(VMBCHANNEL channel, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 size,
		    UINT32 flags)
{
	PMDL mdl;

	(void)channel;
	if ((flags & VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA) &&
	    NT_SUCCESS(VmbChannelPacketGetExternalData(packet, 0, &mdl)) &&
	    MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority))
		atomic_fetch_add(&the.external, 1);
	VmbChannelPacketComplete(packet, buffer, size);
}

static VOID answered(VMBPACKET packet, NTSTATUS status, PVOID buffer, UINT32 size)
{
	(void)status;
	(void)buffer;
	(void)size;
	VmbPacketFree(packet);
	atomic_fetch_add(&the.answered, 1);
}

static NTSTATUS save_packet(VMBCHANNEL channel, VMBPACKET packet, PVOID buffer, UINT32 size,
			    PUINT32 needed)
{
	(void)channel;
	(void)packet;
	(void)buffer;
	(void)size;
	*needed = 0;
	return STATUS_SUCCESS;
}

/* Notes the place of what went wrong; the run goes on with tidying up. */
static bool is(bool good, const char *where)
{
	if (!good && !the.where)
		the.where = where;
	return good;
}
#define OK(call) is(NT_SUCCESS(call), #call)

static atomic_bool told; /* in the log */

/* What does not come is an error if somebody was told of one, and then there is more to try. */
static bool await(bool (*ready)(void))
{
	uint64_t begun = clock_now_ns();
	struct timespec pause = {.tv_nsec = 200000};

	while (!ready()) {
		uint64_t waited_ms = (clock_now_ns() - begun) / 1000000;

		if (waited_ms > AFTER_ERROR_MS && atomic_load(&told))
			return is(false, "the log");
		if (waited_ms > SILENCE_MS)
			_exit(RESULT_SILENT);
		nanosleep(&pause, NULL);
	}
	return true;
}

/* ---- the run ---- */

static bool load(const char *name, const struct nt_memory *memory, struct nt_driver **driver)
{
	struct nt_driver_config config = {.name = name, .entry = entry, .memory = memory};
	char *error = NULL;
	bool good = OK(nt_driver_load(&config, driver, &error));

	free(error);
	return good;
}

static bool make_bus(void)
{
	struct part_options options = {.memory = 32u << 20, .vps = 2, .server_dispatchers = 2};

	if (!is(part_loopback_create(&options, &the.part) == 0, "part_loopback_create"))
		return false;
	the.server_device = (struct kmcl_bus_device){.ep = part_server(the.part), .server = true};
	the.client_device = (struct kmcl_bus_device){.ep = part_client(the.part)};
	return load("server", NULL, &the.server_driver) &&
	       load("client", part_nt_memory(part_client(the.part)), &the.client_driver) &&
	       OK(nt_pdo_create(&kmcl_bus_ops, &the.server_device, &the.server_pdo)) &&
	       OK(nt_pdo_create(&kmcl_bus_ops, &the.client_device, &the.client_pdo));
}

static void break_bus(void)
{
	if (the.client_pdo)
		nt_pdo_delete(the.client_pdo);
	if (the.server_pdo)
		nt_pdo_delete(the.server_pdo);
	if (the.client_driver && nt_driver_unload(the.client_driver))
		_exit(RESULT_LEAK);
	if (the.server_driver && nt_driver_unload(the.server_driver))
		_exit(RESULT_LEAK);
	if (the.part)
		part_destroy(the.part);
}

static bool configure(VMBCHANNEL channel)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	callbacks.EvtChannelOpened = opened;
	callbacks.EvtChannelStarted = started;
	callbacks.EvtChannelClosed = closed;
	return OK(VmbChannelInitSetStateChangeCallbacks(channel, &callbacks)) &&
	       OK(VmbChannelInitSetProcessPacketCallbacks(channel, process, NULL));
}

static bool make_channels(void)
{
	struct nt_driver *previous = nt_driver_enter(the.server_driver);
	bool good = OK(VmbChannelAllocate(the.server_pdo, TRUE, &the.server));

	nt_driver_enter(the.client_driver);
	good = good && OK(VmbChannelAllocate(the.client_pdo, FALSE, &the.client));
	nt_driver_leave(previous);
	return good && configure(the.server) && configure(the.client) &&
	       OK(VmbServerChannelInitSetTargetInterfaceId(the.server, type, instance)) &&
	       OK(VmbServerChannelInitSetSaveRestorePacketCallbacks(the.server, save_packet,
								    (PVOID)save_packet)) &&
	       OK(VmbClientChannelInitSetTargetPnp(the.client, &type, &instance, pnp_failure));
}

static bool is_open_or_failed(void)
{
	return atomic_load(&the.opened) == 2 || atomic_load(&the.failed);
}

static bool open_channels(void)
{
	if (!OK(VmbChannelEnable(the.server)))
		return false;
	VmbChannelStart(the.server);
	if (!OK(VmbChannelEnable(the.client)))
		return false;
	if (!await(is_open_or_failed))
		return false;
	return is(!atomic_load(&the.failed), "EvtChannelPnpFailure");
}

static void use_gpadl(void)
{
	UINT32 gpadl;
	PMDL mdl;

	if (!OK(VmbChannelCreateGpadlFromBuffer(the.client, 0, the.memory, 64 * 1024, &gpadl)))
		return;
	if (OK(VmbChannelMapGpadl(the.server, 0, gpadl, &mdl))) {
		is(MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority) != NULL, "map");
		VmbChannelUnmapGpadl(the.server, gpadl);
	}
	VmbChannelDeleteGpadl(the.client, gpadl);
}

static unsigned int sent;

static bool are_answered(void)
{
	return atomic_load(&the.answered) == sent;
}

static void send(PMDL mdl)
{
	VMBPACKET packet = VmbPacketAllocate(the.client);
	uint64_t data = 0;

	if (!is(packet != NULL, "VmbPacketAllocate"))
		return;
	VmbPacketSetCompletionRoutine(packet, answered);
	if (OK(VmbPacketSend(packet, &data, 8, mdl, VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION)))
		sent++;
	else
		VmbPacketFree(packet);
}

static void use_packets(void)
{
	static uint8_t outside[8192];
	struct nt_driver *previous = nt_driver_enter(the.client_driver);
	PMDL bounced = IoAllocateMdl(outside, sizeof(outside), FALSE, FALSE, NULL);
	UINT64 answer = 0, data = 0;
	UINT32 size = sizeof(answer);

	for (unsigned int i = 0; i < 20; i++)
		send(i & 1 ? the.mdl : NULL);
	if (is(bounced != NULL, "IoAllocateMdl")) {
		MmBuildMdlForNonPagedPool(bounced);
		send(bounced);
	}
	OK(VmbChannelSendSynchronousRequest(the.client, &data, 8, the.mdl,
					    VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION, &answer,
					    &size, NULL));
	await(are_answered);
	if (bounced)
		IoFreeMdl(bounced);
	nt_driver_leave(previous);
}

/* In the driver's pool, which is guest memory. */
static bool make_memory(void)
{
	struct nt_driver *previous = nt_driver_enter(the.client_driver);

	the.memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64 * 1024, SERVER_TAG);
	if (is(the.memory != NULL, "ExAllocatePool2"))
		the.mdl = IoAllocateMdl(the.memory, 16 * 1024, FALSE, FALSE, NULL);
	if (the.mdl)
		MmBuildMdlForNonPagedPool(the.mdl);
	nt_driver_leave(previous);
	return is(the.mdl != NULL, "IoAllocateMdl");
}

static void free_memory(void)
{
	if (the.mdl)
		IoFreeMdl(the.mdl);
	if (the.memory)
		ExFreePoolWithTag(the.memory, SERVER_TAG);
}

static void save(void)
{
	static uint8_t buffer[65536];
	ULONG filled, required;
	NTSTATUS status;

	VmbChannelPause(the.server);
	if (OK(VmbChannelSaveBegin(the.server))) {
		do {
			status = VmbChannelSaveContinue(the.server, buffer, sizeof(buffer), &filled,
							&required);
		} while (status == STATUS_BUFFER_OVERFLOW && filled);
		OK(status);
		VmbChannelSaveEnd(the.server);
	}
	VmbChannelStart(the.server);
}

static void use_channels(void)
{
	if (make_channels() && open_channels()) {
		use_gpadl();
		use_packets();
		save();
	}
	if (the.client)
		VmbChannelDisable(the.client);
	if (the.server)
		VmbChannelDisable(the.server);
	if (the.client)
		VmbChannelCleanup(the.client);
	if (the.server)
		VmbChannelCleanup(the.server);
}

static void use_bus(void)
{
	if (make_bus()) {
		if (make_memory())
			use_channels();
		free_memory();
	}
	break_bus();
	nt_shutdown();
}

static void blamed(void *ctx, const char *rule, const char *driver, const char *text)
{
	(void)ctx;
	atomic_store(&armed, 0);
	fprintf(stderr, "# violation %s by %s: %s\n", rule, driver, text);
	_exit(RESULT_VIOLATION);
}

static void silent_log(void *ctx, enum kmcl_log_level level, const char *subsystem,
		       uint32_t partition, uint32_t channel, const char *text)
{
	(void)ctx;
	(void)partition;
	(void)channel;
	/* the verifier's reports are about the drivers here */
	if (level <= KMCL_LOG_WARNING && strcmp(subsystem, "verifier"))
		atomic_store(&told, true);
	if (getenv("KMCL_ALLOC_TRACE"))
		fprintf(stderr, "  %s: %s\n", subsystem, text);
}

static _Noreturn void run_child(unsigned int n)
{
	const struct rlimit no_core = {0, 0};

	setrlimit(RLIMIT_CORE, &no_core);
	alarm(60);
	nt_violation_set(blamed, NULL);
	kmcl_log_set(silent_log, NULL);
	atomic_store(&failing, n);
	atomic_store(&armed, 1);
	use_bus();
	atomic_store(&armed, 0);
	kmcl_log_set(NULL, NULL);
	if (LEAKS())
		_exit(RESULT_LEAK);
	if (atomic_load(&count) < n)
		_exit(the.where ? RESULT_VIOLATION : RESULT_NO_FAILURE_LEFT);
	if (getenv("KMCL_ALLOC_TRACE") && the.where)
		fprintf(stderr, "  ended with an error at %s\n", the.where);
	_exit(the.where ? RESULT_ERROR : RESULT_DONE);
}

/* How the run with the Nth failing ended. */
static int run(unsigned int n)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		run_child(n);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static unsigned int limit(const char *name, unsigned int otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned int)strtoul(text, NULL, 10) : otherwise;
}

static void every_allocation_fails_once(void **state)
{
	unsigned int n = limit("KMCL_ALLOC_FROM", 1), to = limit("KMCL_ALLOC_TO", 5000);
	unsigned int first = n, errors = 0, done = 0, bad = 0;

	(void)state;
	for (; n <= to; n++) {
		int status = run(n);

		if (WIFEXITED(status) && WEXITSTATUS(status) == RESULT_NO_FAILURE_LEFT)
			break;
		if (WIFEXITED(status) && WEXITSTATUS(status) == RESULT_ERROR) {
			errors++;
		} else if (WIFEXITED(status) && WEXITSTATUS(status) == RESULT_DONE) {
			done++;
		} else {
			static const char *const names[] = {[RESULT_SILENT] = "silence",
							    [RESULT_VIOLATION] = "a violation",
							    [RESULT_LEAK] = "a leak",
							    [RESULT_LEAK + 1] = NULL};
			int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

			print_error("allocation %u: %s %d\n", n,
				    code >= RESULT_SILENT && code <= RESULT_LEAK ? names[code]
				    : code >= 0                                  ? "exit code"
										 : "signal",
				    code >= 0 ? code : WTERMSIG(status));
			bad++;
		}
	}
	print_message("# %u allocations failed: %u runs ended with an error, %u without\n",
		      n - first, errors, done);
	assert_int_equal(bad, 0);
	assert_true(n <= to || getenv("KMCL_ALLOC_TO"));
	assert_true(errors > 50 || first > 1 || getenv("KMCL_ALLOC_TO"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_fails_once),
	};

	return cmocka_run_group_tests_name("kmcl-alloc_failures", tests, NULL, NULL);
}
