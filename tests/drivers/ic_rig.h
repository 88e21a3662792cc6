/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The integration components on a real server end, and a guest written by hand that speaks their
 * messages byte by byte.
 */
#ifndef TESTS_IC_RIG_H
#define TESTS_IC_RIG_H

#include "../hostile/guest.h"

#include <pthread.h>

#include <kmcl/kmcl.h>

#include "ic_ioctl.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define E_FAIL     0x80004005u
#define E_NO_MORE  0x80070103u
#define E_NO_GUID  0x80041002u
#define OK_        0u
#define PENDING_   ((kmcl_status)0x103)
#define BUSY_      ((kmcl_status)0x80000011)
#define OVERFLOW_  ((kmcl_status)0x80000005)
#define NO_ENTRY_  ((kmcl_status)0x8000001a)
#define BAD_       ((kmcl_status)0xc000000d)
#define UNKNOWN_   ((kmcl_status)0xc0000010)
#define ABSENT_    ((kmcl_status)0xc000000e)
#define SMALL_     ((kmcl_status)0xc0000023)
#define DATA_      ((kmcl_status)0xc000003e)
#define CLOSED_    ((kmcl_status)0xc000009d)
#define NOT_READY_ ((kmcl_status)0xc00000a3)
#define LATE_      ((kmcl_status)0xc00000b5)
#define NOT_KNOWN_ ((kmcl_status)0xc00000bb)
#define CANCELLED_ ((kmcl_status)0xc0000120)
#define REMOVED_   ((kmcl_status)0xc00002b6)

/* Where things are in a message, the header of the component first. */
#define AT_FRAMEWORK     0u
#define AT_TYPE          4u
#define AT_VERSION       6u
#define AT_SIZE          10u
#define AT_STATUS        12u
#define AT_TRANSACTION   16u
#define AT_MESSAGE_FLAGS 17u
#define AT_BODY          20u

#define VERSION(major, minor) ((uint32_t)(major) | (uint32_t)(minor) << 16)

struct ic_rig {
	struct machine *m;
	struct guest g;
	kmcl_partition *partition;
	kmcl_driver *driver;
	struct held held;
};

/** Options as in "period=10"; a list that ends with NULL, or NULL. `frozen`: the partition's clocks
 *  stand still at what rig_clocks says. */
void rig_start(struct ic_rig *r, const char *const *options, bool frozen);
void rig_stop(struct ic_rig *r);

/** A program's only rig; what sets it up for a test. */
extern struct ic_rig rig;
int rig_set_up(void **state);
int rig_set_up_quick(void **state);
int rig_set_up_frozen(void **state);
int rig_tear_down(void **state);
/* No message but the answers' consequences: periods of a day. */
#define RIG_TEST(name)   cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)
/* Periods of 10 ms. */
#define RIG_QUICK(name)  cmocka_unit_test_setup_teardown(name, rig_set_up_quick, rig_tear_down)
/* The same, with clocks that stand still. */
#define RIG_FROZEN(name) cmocka_unit_test_setup_teardown(name, rig_set_up_frozen, rig_tear_down)

extern uint64_t rig_reference, rig_real_ns;
/** What both clocks would say if it were read now. */
void rig_read_clocks(struct ic_rig *r, uint64_t *reference, uint64_t *real_ns);

/** One message as the guest reads or writes it, without the pipe's header. */
struct ic_message {
	uint32_t size;
	uint32_t packet; /**< bytes of the whole packet */
	uint64_t id;     /**< of the packet */
	uint8_t b[16384];
};

uint32_t rig_relid(struct ic_rig *r, unsigned int component);
void rig_open(struct ic_rig *r, struct channel *c, unsigned int component);
/** The next message; its framing is checked. */
void rig_receive(struct channel *c, struct ic_message *m);
/** The message that came, as an answer. */
void rig_answer(struct channel *c, struct ic_message *m);
/** As it is: pipe header of that type and length, and bytes. */
void rig_send(struct channel *c, uint32_t pipe_type, uint32_t pipe_length, const uint8_t *bytes,
	      uint32_t size);
/** As rig_send, with the right pipe header. */
void rig_send_message(struct channel *c, const struct ic_message *m);
/** Takes NEGOTIATE and chooses, as Linux does. */
void rig_negotiate(struct channel *c, uint32_t framework, uint32_t version);
/** The same with the highest that Linux knows of this component; and its first SYNC. */
void rig_ready(struct ic_rig *r, struct channel *c, unsigned int component);
/** Changes a NEGOTIATE into an answer that has chosen. */
void rig_choose(struct ic_message *m, uint32_t framework, uint32_t version);

void rig_info(struct ic_rig *r, struct ic_info *info);
uint32_t rig_missed(struct ic_rig *r);
uint32_t rig_state(struct ic_rig *r, unsigned int component);
struct ic_component_info rig_counts(struct ic_rig *r, unsigned int component);
kmcl_status rig_control(struct ic_rig *r, uint32_t code, unsigned int component);
/** Device control that must not pend for long. */
kmcl_status rig_do(struct ic_rig *r, uint32_t code, const void *in, size_t in_size, void *out,
		   size_t out_size);

/** A request that pends in a thread of its own. */
struct ask {
	struct ic_rig *r;
	pthread_t thread;
	uint32_t code;
	kmcl_status status;
	size_t size, returned;
	union {
		struct ic_answer answer;
		struct ic_shutdown_request shutdown;
		struct ic_clock_request clock;
		struct ic_kvp_request kvp;
		struct ic_ip_request ip;
	} u;
};
/** `a->u` is filled in. */
void ask_begin(struct ic_rig *r, struct ask *a, uint32_t code);
void ask_end(struct ask *a);

/** "pool" text in UTF-16 with its 0; bytes. */
uint32_t put_text(uint8_t *to, const char *text);
/** A KVP request about this key. */
void kvp_request(struct ask *a, uint32_t operation, uint32_t pool, const char *key);

#endif
