/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/internal.h"
#include "partition/internal.h"

#include "echo_ioctl.h"
#include "echo_protocol.h"

#define NO_SUCH_DEVICE 0xc000000eu

int echo_vsc_entry(void *driver, void *path);

static void violated(void *ctx, const char *rule, const char *driver, const char *text)
{
	print_error("contract violation %s by %s: %s\n", rule, driver, text);
	abort();
}

void client_start(struct client *c, const struct machine_config *config)
{
	static const char *const ids[] = {"VMBUS\\{8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01}", NULL};
	struct machine_config defaults = {0};
	char *error = NULL;
	struct part *part;

	memset(c, 0, sizeof(*c));
	c->held = count_held();
	kmcl_set_violation(violated, NULL);
	c->m = machine_create(config ? config : &defaults);
	part = machine_part(c->m);
	host_start(&c->h, c->m);
	assert_int_equal(client_end_start(part_client(part)), 0);
	c->partition = host_partition_of(part);
	assert_non_null(c->partition);
	if (kmcl_driver_load_entry(c->partition, KMCL_CLIENT, "echo_vsc",
				   (void *)(uintptr_t)echo_vsc_entry, NULL, ids, &c->driver,
				   &error))
		fail_msg("%s", error);
}

/* ---- what blocks ---- */

struct client_task {
	pthread_t thread;
	struct client *c;
	client_work *work;
	void *arg;
	atomic_bool done;
};

static void *task_run(void *arg)
{
	struct client_task *t = arg;

	t->work(t->c, t->arg);
	atomic_store(&t->done, true);
	return NULL;
}

struct client_task *client_begin(struct client *c, client_work *work, void *arg)
{
	struct client_task *t = calloc(1, sizeof(*t));

	t->c = c;
	t->work = work;
	t->arg = arg;
	assert_int_equal(pthread_create(&t->thread, NULL, task_run, t), 0);
	return t;
}

bool client_done(struct client_task *t)
{
	return atomic_load(&t->done);
}

void client_end(struct client *c, struct client_task *t)
{
	serve_until(c, client_done(t));
	pthread_join(t->thread, NULL);
	free(t);
}

void client_do(struct client *c, client_work *work, void *arg)
{
	client_end(c, client_begin(c, work, arg));
}

/* ---- devices ---- */

static bool query(struct client *c, uint32_t index, struct echo_info *info)
{
	size_t returned;

	return kmcl_device_control(c->driver, index, ECHO_IOCTL_QUERY, NULL, 0, info, sizeof(*info),
				   &returned) >= 0;
}

/* The device whose instance ends as the channel's does. One that is disabled does not know, and is
 * where it was. */
static uint32_t device_of(struct client *c, uint32_t relid, struct echo_info *info)
{
	memset(info, 0, sizeof(*info));
	for (uint32_t i = kmcl_driver_devices(c->driver); i-- > 0;) {
		if (query(c, i, info) && info->instance[15] == 0xe0 + relid - 1) {
			atomic_store(&c->device[relid], i);
			return i;
		}
	}
	memset(info, 0, sizeof(*info));
	return atomic_load(&c->device[relid]);
}

/* Another device that goes while this one is asked moves it to a place before: then once more. */
static kmcl_status ask_device(struct client *c, uint32_t relid, uint32_t code, const void *in,
			      size_t in_size, void *out, size_t out_size)
{
	struct echo_info info;
	kmcl_status status;
	size_t returned;

	for (int tries = 0; tries < 1000; tries++) {
		status = kmcl_device_control(c->driver, device_of(c, relid, &info), code, in,
					     in_size, out, out_size, &returned);
		if ((uint32_t)status != NO_SUCH_DEVICE)
			break;
		usleep(1000);
	}
	return status;
}

bool client_runs(struct client *c, uint32_t relid)
{
	struct echo_info info;

	device_of(c, relid, &info);
	return info.running;
}

void client_connect(struct client *c, uint32_t version)
{
	c->h.version = version;
	serve_until(c, client_runs(c, 1) && client_runs(c, 2));
}

void client_echo_work(struct client *c, void *arg)
{
	struct client_echo *e = arg;
	size_t in_size = sizeof(struct echo_raw) + 16 + e->size;
	size_t out_size = sizeof(struct echo_raw_result) + ECHO_RAW_MAXIMUM_REQUEST;
	uint8_t *in = calloc(1, in_size), *out = calloc(1, out_size);
	struct echo_raw ask = {.flags = ECHO_RAW_WAIT, .request_size = 16 + e->size};
	struct echo_raw_result *result = (void *)out;
	uint8_t *request = in + sizeof(ask), *answer = out + sizeof(*result);
	uint64_t tag = 0xabcdef0123456789u ^ e->size;

	for (uint32_t i = 0; i < e->size; i++)
		request[16 + i] = (uint8_t)(i * 3 + 1);
	memcpy(in, &ask, sizeof(ask));
	put32(request, ECHO_OP_ECHO);
	put32(request + 4, e->size);
	put64(request + 8, tag);
	e->status = ask_device(c, e->relid, ECHO_IOCTL_RAW, in, in_size, out, out_size);
	if (e->status >= 0)
		e->status = (kmcl_status)result->status;
	e->answer_size = result->completion_size;
	put32(request + 4, 0);
	e->right = e->status >= 0 && result->completion_size == ((16 + e->size + 7) & ~7u) &&
		   !memcmp(answer, request, 16 + e->size);
	free(in);
	free(out);
}

void client_echo(struct client *c, uint32_t relid)
{
	static _Thread_local uint32_t size;
	struct client_echo e = {.relid = relid, .size = size++ * 37 % 1200};

	client_do(c, client_echo_work, &e);
	assert_int_equal(e.status, 0);
	assert_true(e.right);
}

struct control {
	uint32_t relid, code;
	kmcl_status status;
};

static void control_work(struct client *c, void *arg)
{
	struct control *k = arg;
	struct echo_select select = {0};

	k->status = ask_device(c, k->relid, k->code, &select, sizeof(select), NULL, 0);
}

kmcl_status client_disable_blocking(struct client *c, uint32_t relid)
{
	struct control k = {.relid = relid, .code = ECHO_IOCTL_DISABLE};

	control_work(c, &k);
	return k.status;
}

kmcl_status client_enable_blocking(struct client *c, uint32_t relid)
{
	struct control k = {.relid = relid, .code = ECHO_IOCTL_ENABLE};

	control_work(c, &k);
	return k.status;
}

void client_disable(struct client *c, uint32_t relid)
{
	struct control k = {.relid = relid, .code = ECHO_IOCTL_DISABLE};

	client_do(c, control_work, &k);
	assert_int_equal(k.status, 0);
}

void client_enable(struct client *c, uint32_t relid)
{
	struct control k = {.relid = relid, .code = ECHO_IOCTL_ENABLE};

	client_do(c, control_work, &k);
	assert_int_equal(k.status, 0);
	serve_until(c, client_runs(c, relid));
}

struct kmcl_channel_stats client_stats(struct client *c, uint32_t relid)
{
	struct kmcl_channel_stats stats[8];
	size_t n = kmcl_partition_stats(c->partition, stats, 8);

	for (size_t i = 0; i < n && i < 8; i++)
		if (!stats[i].server && stats[i].channel_id == relid)
			return stats[i];
	fail_msg("channel %u has no counters", relid);
	return stats[0];
}

/* ---- the end ---- */

static void destroy_work(struct client *c, void *arg)
{
	kmcl_partition_destroy(c->partition);
}

struct client_task *client_stop_begin(struct client *c)
{
	return client_begin(c, destroy_work, NULL);
}

void client_stop_end(struct client *c, struct client_task *t)
{
	client_end(c, t);
	machine_destroy(c->m);
	kmcl_set_violation(NULL, NULL);
	assert_nothing_more_held(c->held);
}

void client_stop(struct client *c)
{
	client_stop_end(c, client_stop_begin(c));
}
