/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Two scripted drivers on a loopback bus. Every callback of every channel is recorded with its
 * order, IRQL and thread, and checked at the end against the rules that hold always (kt_check).
 * Waits have deadlines; a test that hangs in a call is ended by an alarm.
 */
#ifndef TESTS_KMCL_HARNESS_H
#define TESTS_KMCL_HARNESS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <vmbuskernelmodeclientlibapi.h>

#include "kmcl/bus.h"
#include "nt/nt.h"
#include "partition/partition.h"

enum {
	KT_EVENTS = 4096,    /* recorded per channel */
	KT_PACKETS = 1024,   /* incoming packets recorded per channel */
	KT_PREFIX = 128,     /* bytes of each that are copied */
	KT_DATA = 1024,      /* completion bytes that a struct kt_send keeps */
	KT_CHANNELS = 160,   /* alive at once on a bus */
	KT_LIMIT_MS = 20000, /* longest wait for anything */
	KT_QUIET_MS = 25,    /* how long nothing must happen where nothing may */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KT_SANITIZED 1
#endif
#endif
#ifndef KT_SANITIZED
#define KT_SANITIZED 0
#endif

struct kt_bus {
	struct part *part;
	struct nt_driver *server_driver, *client_driver;
	struct kmcl_bus_device server_device, client_device;
	PDEVICE_OBJECT server_pdo, client_pdo;
	unsigned int channels; /* allocated and not freed */
};

enum kt_what {
	KT_OPENED,
	KT_STARTED,
	KT_POST_STARTED,
	KT_SUSPEND,
	KT_CLOSED,
	KT_PNP_FAILURE,
	KT_PACKET,
	KT_BATCH,
};

struct kt_event {
	enum kt_what what;
	bool end, deferred;
	uint8_t irql;
	NTSTATUS status;
	uint32_t value;
	unsigned int order; /* over all channels */
	pthread_t thread;
};

struct kt_packet {
	VMBPACKETCOMPLETION handle;
	uint8_t *buffer;
	uint32_t length, flags;
	uint8_t irql;
	bool ended;
	uint8_t prefix[KT_PREFIX];
};

enum kt_mode {
	KT_ECHO,  /* completed with its own data */
	KT_EMPTY, /* completed without data */
	KT_HOLD,  /* kept until kt_complete */
};

struct kt_chan {
	struct kt_bus *bus;
	VMBCHANNEL h;
	bool server;
	GUID type, instance;
	/* script; set before the channel is enabled, or from its own callbacks */
	NTSTATUS opened_status;
	_Atomic enum kt_mode mode;
	bool quiet; /* nothing is recorded, only counted */
	NTSTATUS (*on_opened)(struct kt_chan *c);
	void (*on_started)(struct kt_chan *c);
	void (*on_post_started)(struct kt_chan *c);
	void (*on_suspend)(struct kt_chan *c);
	void (*on_closed)(struct kt_chan *c);
	/* True: the hook dealt with the packet. */
	bool (*on_packet)(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer,
			  UINT32 length, UINT32 flags);
	void (*on_batch)(struct kt_chan *c, UINT32 count);
	void *arg;
	/* record, under kt_lock() */
	struct kt_event *events;
	unsigned int event_count;
	struct kt_packet *packets;
	unsigned int packet_count;
	char begun[256], done[256]; /* a letter a state callback: O (o: failed), S, P, U, C, F */
	unsigned int begun_count, done_count;
	unsigned int batch_sum;
	bool deferring; /* the delivery under way was deferred */
	VMBPACKETCOMPLETION blocker;
	atomic_uint in_state, in_delivery, delivered, outstanding;
	NTSTATUS pnp_status;
};

struct kt_pair {
	struct kt_chan *server, *client;
};

/** An outgoing packet with its history. */
struct kt_send {
	struct kt_chan *c;
	VMBPACKET packet;
	void (*hook)(struct kt_send *s); /* at the end of the routine */
	atomic_uint routines, hooks;     /* calls; hooks that have returned */
	unsigned int order;
	NTSTATUS status;
	uint32_t length;
	bool data_null;
	uint8_t irql;
	uint8_t data[KT_DATA];
};

/* ---- running ---- */
int kt_setup(void **state);
int kt_teardown(void **state);
int kt_run(const char *group, const struct CMUnitTest *tests, size_t count);
#define KT_TEST(f)            cmocka_unit_test_setup_teardown(f, kt_setup, kt_teardown)
#define KT_MAIN(group, tests) kt_run(group, tests, sizeof(tests) / sizeof((tests)[0]))
/** Whether the long form of a test was asked for (KMCL_SOAK). */
bool kt_soak(void);
/** A failure found outside the test's own thread; the test fails at its end. */
void kt_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));
unsigned int kt_problems(void);

/* ---- waiting ---- */
void kt_lock(void);
void kt_unlock(void);
/** Something that a waiter looks at has changed. */
void kt_changed(void);
uint64_t kt_now_ms(void);
bool kt_wait_changed(uint64_t deadline_ms);
/** The same with kt_lock() held. */
void kt_broadcast(void);
void kt_nap(unsigned int ms);
/** Numbers events of all channels in their order. */
unsigned int kt_order(void);
_Noreturn void kt_fail(const char *file, int line, const char *what);

#define KT_WAIT(condition)                                                           \
	do {                                                                         \
		uint64_t kt_deadline_ = kt_now_ms() + KT_LIMIT_MS;                   \
		kt_lock();                                                           \
		while (!(condition)) {                                               \
			if (kt_wait_changed(kt_deadline_))                           \
				continue;                                            \
			kt_unlock();                                                 \
			kt_fail(__FILE__, __LINE__, "never came true: " #condition); \
		}                                                                    \
		kt_unlock();                                                         \
	} while (0)

/** Holds for KT_QUIET_MS. */
#define KT_STAYS(condition)                                                            \
	do {                                                                           \
		kt_nap(KT_QUIET_MS);                                                   \
		kt_lock();                                                             \
		bool kt_holds_ = (condition);                                          \
		kt_unlock();                                                           \
		if (!kt_holds_)                                                        \
			kt_fail(__FILE__, __LINE__, "did not stay true: " #condition); \
	} while (0)

/* ---- contract violations ---- */
unsigned int kt_violations(void);
void kt_violations_expected(unsigned int count);
#define KT_VIOLATES(call)                                          \
	do {                                                       \
		unsigned int kt_before_ = kt_violations();         \
		call;                                              \
		assert_int_equal(kt_violations() - kt_before_, 1); \
		kt_violations_expected(1);                         \
	} while (0)

/* ---- buses, drivers, memory ---- */
void kt_bus_create(struct kt_bus *bus, const struct part_options *options);
void kt_bus_destroy(struct kt_bus *bus);
struct nt_driver *kt_enter(struct kt_bus *bus, bool server);
void kt_leave(struct nt_driver *previous);
void *kt_guest_alloc(struct kt_bus *bus, size_t bytes);
void kt_guest_free(struct kt_bus *bus, void *p);
/** Guest memory and an MDL over it. */
PMDL kt_mdl_alloc(struct kt_bus *bus, size_t bytes, uint8_t **va);
void kt_mdl_free(struct kt_bus *bus, PMDL mdl);
void kt_fill(void *p, size_t bytes, unsigned int seed);
bool kt_filled(const void *p, size_t bytes, unsigned int seed);

/** A VMBus handle of the bus's server end, and the object behind it. */
extern HANDLE kt_bus_handle;
extern struct kmcl_bus_handle kt_bus_object;
void kt_bus_handle_open(struct kt_bus *bus);
void kt_bus_handle_close(void);

/* ---- channels ---- */
/** A channel without any configuration; kt_drop cleans it up. */
VMBCHANNEL kt_bare(struct kt_bus *bus, bool server);
VMBCHANNEL kt_allocate(struct kt_bus *bus, PDEVICE_OBJECT parent, bool server);
void kt_drop(VMBCHANNEL c);
extern const GUID kt_type;
GUID kt_new_instance(void);
/** For what is printed when a test fails. */
void kt_register(struct kt_chan *c, bool alive);
/** Allocates and configures a channel for type/instance, with the recording callbacks. On the heap,
 * so that callbacks after a failed test find it. */
struct kt_chan *kt_chan_new(struct kt_bus *bus, bool server, GUID type, GUID instance);
/** Disables, checks, frees. */
void kt_chan_free(struct kt_chan *c);
/** The rules that hold always; the channel is disabled. */
void kt_check(struct kt_chan *c);
struct kt_pair kt_pair_new(struct kt_bus *bus);
void kt_pair_free(struct kt_pair *p);
/** Enables both, server started, and waits until both run. */
void kt_pair_open(struct kt_pair *p);
/** Waits until exactly these state callbacks have returned. */
void kt_expect_at(struct kt_chan *c, const char *trace, const char *file, int line);
#define KT_EXPECT(c, trace) kt_expect_at(c, trace, __FILE__, __LINE__)
/** PostStarted has returned, and nothing was called since. */
bool kt_runs(struct kt_chan *c);
/** Forgets what was recorded so far. */
void kt_forget(struct kt_chan *c);
bool kt_is_disabled(struct kt_chan *c);
/** Makes `to` stop reading: it holds a packet of `from`, the only one that its quota allows. What
 * was recorded of packets is forgotten. */
void kt_block(struct kt_chan *from, struct kt_chan *to);
/** Lets it read again, in that mode. */
void kt_unblock(struct kt_chan *to, enum kt_mode mode);
/** Ends a held packet. */
void kt_complete(struct kt_chan *c, unsigned int index, const void *data, uint32_t length);
/** Defers from a packet hook. */
void kt_defer(struct kt_chan *c, VMBPACKETCOMPLETION packet);
/** The delivery under way comes again, though not by a deferral. */
void kt_comes_again(struct kt_chan *c);
void kt_note_packet(struct kt_chan *c, VMBPACKETCOMPLETION packet, PVOID buffer, UINT32 length,
		    UINT32 flags);

/* ---- outgoing packets ---- */
struct kt_send *kt_send_new(struct kt_chan *c);
void kt_send_free(struct kt_send *s);
EVT_VMB_PACKET_COMPLETION_ROUTINE kt_routine;
/** Sends `length` bytes (pattern `seed`). */
NTSTATUS kt_send_pattern(struct kt_send *s, uint32_t length, unsigned int seed, uint32_t flags);
#define KT_WAITED VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION

/* ---- calls on a thread of their own ---- */
struct kt_call {
	pthread_t thread;
	void (*run)(void *arg);
	void *arg;
	struct kt_bus *bus;
	bool server;
	atomic_bool done;
};
void kt_call_start(struct kt_call *call, struct kt_chan *c, void (*run)(void *arg), void *arg);
void kt_call_join(struct kt_call *call);
/** Where a callback stops until the test lets it go on. Heap or static. */
struct kt_gate {
	atomic_uint entered;
	atomic_bool open;
};
void kt_gate_pass(struct kt_gate *gate);
void kt_gate_open(struct kt_gate *gate);
#define KT_AT_GATE(gate) KT_WAIT(atomic_load(&(gate)->entered))
void kt_do_pause(void *channel);
void kt_do_start(void *channel);
void kt_do_disable(void *channel);
void kt_do_enable(void *channel);

#endif
