/* SPDX-License-Identifier: MIT */
#include "echo_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

static void violated(void *ctx, const char *rule, const char *driver, const char *text)
{
	fprintf(stderr, "contract violation %s by %s: %s\n", rule, driver, text);
	abort();
}

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

unsigned int scaled(unsigned int plain)
{
	if (getenv("KMCL_SOAK"))
		return plain * 10;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	return plain / 10;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
	return plain / 10;
#endif
#endif
	return plain;
}

void fill_bytes(uint8_t *to, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		to[i] = (uint8_t)(seed >> 56);
	}
}

void sha256_of(const void *data, size_t size, uint8_t digest[ECHO_DIGEST_SIZE])
{
	assert_int_equal(EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL), 1);
}

/* ---- life ---- */

static void load(struct echo_host *host, enum kmcl_end end, const char *path, const char *options,
		 kmcl_driver **driver)
{
	char spec[1024], *error = NULL;

	snprintf(spec, sizeof(spec), "%s%s%s", path, options ? "," : "", options ? options : "");
	if (kmcl_driver_load(host->partition, end, spec, driver, &error))
		fail_msg("%s", error ? error : "no sentence");
	kmcl_free(error);
}

void echo_host_start(struct echo_host *host, unsigned int channels, const char *server_options,
		     const char *client_options)
{
	char options[256];

	memset(host, 0, sizeof(*host));
	host->channels = channels;
	kmcl_set_violation(violated, NULL);
	assert_int_equal(kmcl_partition_create_loopback(NULL, &host->partition), 0);
	snprintf(options, sizeof(options), "channels=%u%s%s", channels, server_options ? "," : "",
		 server_options ? server_options : "");
	load(host, KMCL_SERVER, ECHO_VSP, options, &host->server);
	load(host, KMCL_CLIENT, ECHO_VSC, client_options, &host->client);
	assert_int_equal(kmcl_driver_wait_devices(host->client, channels, PATIENCE_MS), 0);
	for (unsigned int i = 0; i < channels; i++)
		echo_wait_running(host, i, true);
}

void echo_host_stop(struct echo_host *host)
{
	assert_int_equal(kmcl_driver_unload(host->client), 0);
	assert_int_equal(kmcl_driver_unload(host->server), 0);
	kmcl_partition_destroy(host->partition);
	kmcl_set_violation(NULL, NULL);
}

void echo_query_client(struct echo_host *host, unsigned int device, struct echo_info *info)
{
	size_t returned;

	assert_int_equal(kmcl_device_control(host->client, device, ECHO_IOCTL_QUERY, NULL, 0, info,
					     sizeof(*info), &returned),
			 0);
	assert_int_equal(returned, sizeof(*info));
}

void echo_wait_running(struct echo_host *host, unsigned int device, bool running)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	struct echo_info info;
	kmcl_status status;
	size_t returned;

	for (;;) {
		/* a device of an offer before may still be on its way out */
		status = kmcl_device_control(host->client, device, ECHO_IOCTL_QUERY, NULL, 0, &info,
					     sizeof(info), &returned);
		if (status >= 0 && (running ? info.running : !info.open))
			return;
		if (now_ms() > end)
			fail_msg("channel %u did not become %s", device,
				 running ? "running" : "closed");
		pause_ms(1);
	}
}

kmcl_status echo_control(kmcl_driver *driver, unsigned int device, uint32_t channel, uint32_t code)
{
	struct echo_select select = {.channel = channel};
	size_t returned;

	return kmcl_device_control(driver, device, code, &select, sizeof(select), NULL, 0,
				   &returned);
}

/* ---- RAW ---- */

kmcl_status echo_raw_on(struct echo_host *host, unsigned int device, const struct raw_request *r,
			struct raw_answer *answer)
{
	struct echo_raw ask = {
		.flags = r->flags,
		.request_size = r->request_size,
		.external_size = r->external_size,
	};
	size_t in_size = sizeof(ask) + r->request_size + r->external_size;
	size_t out_size = sizeof(struct echo_raw_result) + 65552 + r->external_size, returned;
	uint8_t *in = malloc(in_size), *out = malloc(out_size), *at;
	struct echo_raw_result result;
	kmcl_status status;

	memset(answer, 0, sizeof(*answer));
	memcpy(in, &ask, sizeof(ask));
	if (r->request_size)
		memcpy(in + sizeof(ask), r->request, r->request_size);
	if (r->external_size)
		memcpy(in + sizeof(ask) + r->request_size, r->external, r->external_size);
	status = kmcl_device_control(host->client, device, ECHO_IOCTL_RAW, in, in_size, out,
				     out_size, &returned);
	if (status >= 0) {
		memcpy(&result, out, sizeof(result));
		at = out + sizeof(result);
		answer->status = (kmcl_status)result.status;
		answer->size = result.completion_size;
		memcpy(&answer->head, at,
		       result.completion_size < 16 ? result.completion_size : 16);
		if (result.completion_size > 16)
			memcpy(answer->data, at + 16, result.completion_size - 16);
		if (result.external_size) {
			answer->external = malloc(result.external_size);
			memcpy(answer->external, at + result.completion_size, result.external_size);
		}
	}
	free(in);
	free(out);
	return status;
}

void echo_raw(struct echo_host *host, const struct raw_request *r, struct raw_answer *answer)
{
	kmcl_status status = echo_raw_on(host, 0, r, answer);

	if (status < 0)
		fail_msg("device control failed with %s", kmcl_status_name(status));
	if (answer->status < 0)
		fail_msg("the transaction failed with %s", kmcl_status_name(answer->status));
}

void echo_simple(struct echo_host *host, uint32_t op, uint32_t length, uint64_t tag,
		 struct raw_answer *answer)
{
	struct echo_request request = {.op = op, .length = length, .tag = tag};
	struct raw_request r = {
		.request = &request,
		.request_size = sizeof(request),
		.flags = ECHO_RAW_WAIT,
	};

	echo_raw(host, &r, answer);
}

void assert_refused(const struct raw_answer *answer, uint32_t op, uint64_t tag)
{
	assert_int_equal(answer->status, 0);
	assert_int_equal(answer->size, sizeof(struct echo_completion));
	assert_int_equal(answer->head.op, op);
	assert_int_equal(answer->head.status, ECHO_STATUS_INVALID_PARAMETER);
	assert_int_equal(answer->head.tag, tag);
}

void assert_answered(const struct raw_answer *answer, uint32_t op, uint64_t tag, uint32_t data)
{
	assert_int_equal(answer->status, 0);
	assert_int_equal(answer->head.op, op);
	assert_int_equal(answer->head.status, ECHO_STATUS_SUCCESS);
	assert_int_equal(answer->head.tag, tag);
	assert_int_equal(answer->size, sizeof(struct echo_completion) + ((data + 7u) & ~7u));
}

void assert_alive(struct echo_host *host)
{
	struct {
		struct echo_request head;
		char text[16];
	} request = {{ECHO_OP_ECHO, 13, 0xa11ce}, "still running"};
	struct raw_request r = {
		.request = &request,
		.request_size = sizeof(request),
		.flags = ECHO_RAW_WAIT,
	};
	struct raw_answer *answer = malloc(sizeof(*answer));

	echo_raw(host, &r, answer);
	assert_answered(answer, ECHO_OP_ECHO, 0xa11ce, 13);
	assert_memory_equal(answer->data, "still running", 13);
	free(answer);
}

/* ---- RUN ---- */

static bool sends_data(uint32_t op)
{
	return op == ECHO_OP_ECHO || op == ECHO_OP_SUM || op == ECHO_OP_SINK ||
	       op == ECHO_OP_GPADL_SUM;
}

void echo_run_on(struct echo_host *host, unsigned int device, const struct echo_run *run,
		 const void *data, size_t out_data, struct run_answer *answer)
{
	size_t data_size = sends_data(run->op) ? run->total : 0;
	size_t in_size = sizeof(*run) + data_size;
	size_t out_size = sizeof(answer->result) + out_data, returned = 0;
	uint8_t *in = malloc(in_size), *out = malloc(out_size);

	memset(answer, 0, sizeof(*answer));
	memcpy(in, run, sizeof(*run));
	if (data_size)
		memcpy(in + sizeof(*run), data, data_size);
	answer->status = kmcl_device_control(host->client, device, ECHO_IOCTL_RUN, in, in_size, out,
					     out_size, &returned);
	if (answer->status >= 0) {
		memcpy(&answer->result, out, sizeof(answer->result));
		answer->data_size = returned - sizeof(answer->result);
		if (answer->data_size) {
			answer->data = malloc(answer->data_size);
			memcpy(answer->data, out + sizeof(answer->result), answer->data_size);
		}
	}
	free(in);
	free(out);
}
