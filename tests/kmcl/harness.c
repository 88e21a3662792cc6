/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "kmcl/verify.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TAG 'tstK'

const GUID kt_type = {0x4b54e570, 0x11a2, 0x4c3d, {0x9e, 0x01, 1, 2, 3, 4, 5, 6}};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static atomic_uint order;
static atomic_uint problems, violations, expected;
static struct kt_chan *channels[KT_CHANNELS];
static struct kt_bus *current_bus;

/* ---- time and failures ---- */

uint64_t kt_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void kt_nap(unsigned int ms)
{
	struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

void kt_lock(void)
{
	pthread_mutex_lock(&lock);
}

void kt_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void kt_broadcast(void)
{
	pthread_cond_broadcast(&changed);
}

void kt_changed(void)
{
	kt_lock();
	kt_broadcast();
	kt_unlock();
}

unsigned int kt_order(void)
{
	return atomic_fetch_add(&order, 1);
}

void kt_register(struct kt_chan *c, bool alive)
{
	for (unsigned int i = 0; i < KT_CHANNELS; i++) {
		if (channels[i] == (alive ? NULL : c)) {
			channels[i] = alive ? c : NULL;
			return;
		}
	}
}

/* Short slices: some conditions are atomics that nobody announces. */
bool kt_wait_changed(uint64_t deadline_ms)
{
	uint64_t now = kt_now_ms();
	uint64_t until = now + 5;
	struct timespec t;

	if (now >= deadline_ms)
		return false;
	t.tv_sec = (time_t)(until / 1000);
	t.tv_nsec = (long)(until % 1000) * 1000000;
	pthread_cond_timedwait(&changed, &lock, &t);
	return true;
}

void kt_problem(const char *format, ...)
{
	va_list ap;

	atomic_fetch_add(&problems, 1);
	va_start(ap, format);
	fputs("# problem: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
}

unsigned int kt_problems(void)
{
	return atomic_load(&problems);
}

/* Without the lock: whoever holds it may be what hangs. */
static void dump(void)
{
	for (unsigned int i = 0; i < KT_CHANNELS; i++) {
		struct kt_chan *c = channels[i];

		if (c)
			fprintf(stderr, "# %s: begun \"%s\" done \"%s\", %u delivered, %u held\n",
				c->server ? "server" : "client", c->begun, c->done,
				atomic_load(&c->delivered), atomic_load(&c->outstanding));
	}
}

_Noreturn void kt_fail(const char *file, int line, const char *what)
{
	dump();
	print_error("%s\n", what);
	_fail(file, line);
	abort();
}

static void on_alarm(int sig)
{
	static const char text[] = "Bail out! a call never returned\n";

	(void)sig;
	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	dump();
	_exit(99);
}

static void on_violation(void *ctx, const char *rule, const char *driver, const char *text)
{
	(void)ctx;
	atomic_fetch_add(&violations, 1);
	fprintf(stderr, "# violation: %s: %s (%s)\n", rule, text, driver ? driver : "nobody");
}

static void on_report(void *ctx, const char *rule, const char *driver, const char *text)
{
	/* what a call refuses with a status is judged by that */
}

unsigned int kt_violations(void)
{
	return atomic_load(&violations);
}

void kt_violations_expected(unsigned int count)
{
	atomic_fetch_add(&expected, count);
}

bool kt_soak(void)
{
	const char *soak = getenv("KMCL_SOAK");

	return soak && strcmp(soak, "0") != 0;
}

/* ---- buses ---- */

static NTSTATUS driver_entry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	(void)driver;
	(void)path;
	return STATUS_SUCCESS;
}

static struct nt_driver *load(const char *name, const struct nt_memory *memory)
{
	struct nt_driver_config config = {.name = name, .entry = driver_entry, .memory = memory};
	struct nt_driver *driver = NULL;
	char *error = NULL;
	NTSTATUS status = nt_driver_load(&config, &driver, &error);

	if (!NT_SUCCESS(status))
		print_error("%s: %s\n", name, error ? error : "no reason given");
	assert_int_equal(status, STATUS_SUCCESS);
	free(error);
	return driver;
}

void kt_bus_create(struct kt_bus *bus, const struct part_options *options)
{
	struct part_options defaults = {.memory = 48u << 20, .vps = 2, .server_dispatchers = 2};

	memset(bus, 0, sizeof(*bus));
	assert_int_equal(part_loopback_create(options ? options : &defaults, &bus->part), 0);
	bus->server_driver = load("server", NULL);
	bus->client_driver = load("client", part_nt_memory(part_client(bus->part)));
	bus->server_device.ep = part_server(bus->part);
	bus->server_device.server = true;
	bus->client_device.ep = part_client(bus->part);
	assert_int_equal(nt_pdo_create(&kmcl_bus_ops, &bus->server_device, &bus->server_pdo), 0);
	assert_int_equal(nt_pdo_create(&kmcl_bus_ops, &bus->client_device, &bus->client_pdo), 0);
}

static void check_pool(struct nt_driver *driver)
{
	size_t blocks = 0, bytes = 0;

	nt_pool_usage(driver, &blocks, &bytes);
	assert_int_equal(blocks, 0);
	assert_int_equal(bytes, 0);
}

void kt_bus_destroy(struct kt_bus *bus)
{
	assert_int_equal(bus->channels, 0);
	check_pool(bus->server_driver);
	check_pool(bus->client_driver);
	nt_pdo_delete(bus->client_pdo);
	nt_pdo_delete(bus->server_pdo);
	nt_driver_unload(bus->client_driver);
	nt_driver_unload(bus->server_driver);
	part_destroy(bus->part);
	memset(bus, 0, sizeof(*bus));
}

struct nt_driver *kt_enter(struct kt_bus *bus, bool server)
{
	return nt_driver_enter(server ? bus->server_driver : bus->client_driver);
}

void kt_leave(struct nt_driver *previous)
{
	nt_driver_leave(previous);
}

void *kt_guest_alloc(struct kt_bus *bus, size_t bytes)
{
	struct nt_driver *previous = kt_enter(bus, false);
	void *p = ExAllocatePoolWithTag(NonPagedPoolNx, bytes, TAG);

	kt_leave(previous);
	assert_non_null(p);
	return p;
}

void kt_guest_free(struct kt_bus *bus, void *p)
{
	struct nt_driver *previous = kt_enter(bus, false);

	ExFreePoolWithTag(p, TAG);
	kt_leave(previous);
}

PMDL kt_mdl_alloc(struct kt_bus *bus, size_t bytes, uint8_t **va)
{
	void *p = kt_guest_alloc(bus, bytes);
	struct nt_driver *previous = kt_enter(bus, false);
	PMDL mdl = IoAllocateMdl(p, (ULONG)bytes, FALSE, FALSE, NULL);

	assert_non_null(mdl);
	MmBuildMdlForNonPagedPool(mdl);
	kt_leave(previous);
	if (va)
		*va = p;
	return mdl;
}

void kt_mdl_free(struct kt_bus *bus, PMDL mdl)
{
	void *p = MmGetMdlVirtualAddress(mdl);
	struct nt_driver *previous = kt_enter(bus, false);

	IoFreeMdl(mdl);
	kt_leave(previous);
	kt_guest_free(bus, p);
}

static uint8_t pattern(size_t i, unsigned int seed)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + seed * 13 + 5);
}

void kt_fill(void *p, size_t bytes, unsigned int seed)
{
	for (size_t i = 0; i < bytes; i++)
		((uint8_t *)p)[i] = pattern(i, seed);
}

bool kt_filled(const void *p, size_t bytes, unsigned int seed)
{
	for (size_t i = 0; i < bytes; i++)
		if (((const uint8_t *)p)[i] != pattern(i, seed))
			return false;
	return true;
}

HANDLE kt_bus_handle;
struct kmcl_bus_handle kt_bus_object;

static void handle_reference(void *object)
{
	atomic_fetch_add(&((struct kmcl_bus_handle *)object)->users, 1);
}

void kt_bus_handle_open(struct kt_bus *bus)
{
	kt_bus_object.ep = part_server(bus->part);
	atomic_store(&kt_bus_object.users, 0);
	handle_reference(&kt_bus_object);
	assert_int_equal(nt_handle_create(&kmcl_bus_handle_type, &kt_bus_object, &kt_bus_handle),
			 0);
}

void kt_bus_handle_close(void)
{
	assert_int_equal(ZwClose(kt_bus_handle), STATUS_SUCCESS);
	/* nobody holds the bus any more but this test */
	assert_int_equal(atomic_load(&kt_bus_object.users), 1);
}

static struct kt_bus *bare_bus;

/* A channel without any configuration. */
VMBCHANNEL kt_allocate(struct kt_bus *bus, PDEVICE_OBJECT parent, bool server)
{
	struct nt_driver *previous = kt_enter(bus, server);
	VMBCHANNEL c = NULL;

	assert_int_equal(VmbChannelAllocate(parent, server, &c), STATUS_SUCCESS);
	kt_leave(previous);
	assert_non_null(c);
	bus->channels++;
	bare_bus = bus;
	return c;
}

VMBCHANNEL kt_bare(struct kt_bus *bus, bool server)
{
	return kt_allocate(bus, server ? bus->server_pdo : bus->client_pdo, server);
}

void kt_drop(VMBCHANNEL c)
{
	VmbChannelCleanup(c);
	bare_bus->channels--;
}

/* ---- calls on a thread of their own ---- */

static void *call_main(void *arg)
{
	struct kt_call *call = arg;
	struct nt_driver *previous = kt_enter(call->bus, call->server);

	call->run(call->arg);
	kt_leave(previous);
	atomic_store(&call->done, true);
	kt_changed();
	return NULL;
}

void kt_call_start(struct kt_call *call, struct kt_chan *c, void (*run)(void *arg), void *arg)
{
	memset(call, 0, sizeof(*call));
	call->run = run;
	call->arg = arg;
	call->bus = c->bus;
	call->server = c->server;
	assert_int_equal(pthread_create(&call->thread, NULL, call_main, call), 0);
}

void kt_call_join(struct kt_call *call)
{
	KT_WAIT(atomic_load(&call->done));
	pthread_join(call->thread, NULL);
}

void kt_gate_pass(struct kt_gate *gate)
{
	uint64_t deadline = kt_now_ms() + KT_LIMIT_MS;

	kt_lock();
	atomic_fetch_add(&gate->entered, 1);
	pthread_cond_broadcast(&changed);
	while (!atomic_load(&gate->open) && kt_wait_changed(deadline))
		;
	kt_unlock();
	if (!atomic_load(&gate->open))
		kt_problem("nobody opened the gate");
}

void kt_gate_open(struct kt_gate *gate)
{
	atomic_store(&gate->open, true);
	kt_changed();
}

void kt_do_pause(void *channel)
{
	VmbChannelPause(channel);
}

void kt_do_start(void *channel)
{
	VmbChannelStart(channel);
}

void kt_do_disable(void *channel)
{
	VmbChannelDisable(channel);
}

void kt_do_enable(void *channel)
{
	NTSTATUS status = VmbChannelEnable(channel);

	if (status != STATUS_SUCCESS)
		kt_problem("enable: %08x", (unsigned int)status);
}

/* ---- running ---- */

int kt_setup(void **state)
{
	KeLowerIrql(PASSIVE_LEVEL); /* a test may have failed above it */
	current_bus = calloc(1, sizeof(*current_bus));
	assert_non_null(current_bus);
	memset(channels, 0, sizeof(channels));
	atomic_store(&problems, 0);
	atomic_store(&violations, 0);
	atomic_store(&expected, 0);
	nt_violation_set(on_violation, NULL);
	kmcl_set_report(on_report, NULL);
	alarm(KT_SANITIZED ? 180 : 60);
	kt_bus_create(current_bus, NULL);
	*state = current_bus;
	return 0;
}

/* A test that failed leaves its bus behind: nothing about it can be relied on. */
int kt_teardown(void **state)
{
	struct kt_bus *bus = *state;
	bool failed = bus->channels != 0;

	if (failed)
		return 0;
	kt_bus_destroy(bus);
	free(bus);
	alarm(0);
	assert_int_equal(kt_problems(), 0);
	assert_int_equal(kt_violations(), atomic_load(&expected));
	return 0;
}

int kt_run(const char *group, const struct CMUnitTest *tests, size_t count)
{
	pthread_condattr_t attr;
	const char *filter = getenv("KT_FILTER");
	int failed;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &attr);
	pthread_condattr_destroy(&attr);
	signal(SIGALRM, on_alarm);
	if (filter)
		cmocka_set_test_filter(filter);
	failed = _cmocka_run_group_tests(group, tests, count, NULL, NULL);
	fflush(NULL);
	if (failed)
		_exit(failed > 0 ? 1 : 2);
	return 0;
}
