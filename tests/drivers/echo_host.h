/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Both echo drivers, loaded as a program loads them, on a bus of their own. A violation of the
 * DDI's contract fails the test; a leak in either driver's pool does when the bus is taken down.
 */
#ifndef TESTS_ECHO_HOST_H
#define TESTS_ECHO_HOST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include <kmcl/kmcl.h>

#include "echo_ioctl.h"
#include "echo_protocol.h"

#define PATIENCE_MS 20000u /* nothing takes so long */

#define STATUS_SUCCESS_              0
#define STATUS_INVALID_PARAMETER_    ((kmcl_status)0xc000000d)
#define STATUS_DEVICE_REMOVED_       ((kmcl_status)0xc00002b6)
#define STATUS_DEVICE_NOT_CONNECTED_ ((kmcl_status)0xc000009d)
#define STATUS_NO_SUCH_DEVICE_       ((kmcl_status)0xc000000e)
#define STATUS_CANCELLED_            ((kmcl_status)0xc0000120)
#define STATUS_INVALID_DEVICE_STATE_ ((kmcl_status)0xc0000184)

struct echo_host {
	kmcl_partition *partition;
	kmcl_driver *server, *client;
	unsigned int channels;
};

/** Options as in "channels=4"; NULL: none. Returns when every channel runs. */
void echo_host_start(struct echo_host *host, unsigned int channels, const char *server_options,
		     const char *client_options);
void echo_host_stop(struct echo_host *host);

/** Waits until the channel of that client device runs (or, with false, is closed). */
void echo_wait_running(struct echo_host *host, unsigned int device, bool running);
void echo_query_client(struct echo_host *host, unsigned int device, struct echo_info *info);
kmcl_status echo_control(kmcl_driver *driver, unsigned int device, uint32_t channel, uint32_t code);

/* ---- RAW ---- */
struct raw_answer {
	kmcl_status status;          /* of the transaction */
	uint32_t size;               /* of the completion */
	struct echo_completion head; /* its first 16 bytes */
	uint8_t data[65552];         /* what follows them */
	uint8_t *external;           /* as the server left it; malloc'ed */
};
struct raw_request {
	const void *request;
	uint32_t request_size;
	const void *external;
	uint32_t external_size;
	uint32_t flags;
};
/** The device control's own status; *answer is NULL-able parts filled on success. */
kmcl_status echo_raw_on(struct echo_host *host, unsigned int device, const struct raw_request *r,
			struct raw_answer *answer);
/** On device 0, must succeed as a transaction. */
void echo_raw(struct echo_host *host, const struct raw_request *r, struct raw_answer *answer);
/** op, length and tag alone, with a completion. */
void echo_simple(struct echo_host *host, uint32_t op, uint32_t length, uint64_t tag,
		 struct raw_answer *answer);
/** Answered as refused: right op and tag, STATUS_INVALID_PARAMETER, no data. */
void assert_refused(const struct raw_answer *answer, uint32_t op, uint64_t tag);
void assert_answered(const struct raw_answer *answer, uint32_t op, uint64_t tag, uint32_t data);
/** The channel is up: an ECHO comes back. */
void assert_alive(struct echo_host *host);

/* ---- RUN ---- */
struct run_answer {
	kmcl_status status; /* of the device control */
	struct echo_run_result result;
	uint8_t *data; /* malloc'ed, NULL: none */
	size_t data_size;
};
void echo_run_on(struct echo_host *host, unsigned int device, const struct echo_run *run,
		 const void *data, size_t out_data, struct run_answer *answer);

/** Fills with bytes that depend on `seed`. */
void fill_bytes(uint8_t *to, size_t size, uint64_t seed);
void sha256_of(const void *data, size_t size, uint8_t digest[ECHO_DIGEST_SIZE]);
/** `plain`, or a tenth of it in sanitizer builds, or ten times as many when KMCL_SOAK is set. */
unsigned int scaled(unsigned int plain);
uint64_t now_ms(void);

#endif
