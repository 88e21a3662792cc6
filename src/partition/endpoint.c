/* SPDX-License-Identifier: MIT */
/* What both ends of a partition have in common: threads, waiting, messages that wait to be posted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "partition/internal.h"

/* A state machine that gets no memory for what the peer said may have nobody to tell. */
static void *allocator_alloc(void *ctx, size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		KMCL_LOG_PEER(KMCL_LOG_ERROR, PART_SUBSYSTEM, 0, 0, "no memory: %zu bytes", size);
	return p;
}

static void allocator_free(void *ctx, void *p, size_t size)
{
	free(p);
}

const struct vmbus_allocator *endpoint_allocator(void)
{
	static const struct vmbus_allocator a = {.alloc = allocator_alloc, .free = allocator_free};

	return &a;
}

int endpoint_errno(enum vmbus_status status)
{
	static const int table[] = {
		[VMBUS_OK] = 0,
		[VMBUS_E_NO_MEMORY] = -ENOMEM,
		[VMBUS_E_LIMIT] = -ENOSPC,
		[VMBUS_E_INVALID] = -EINVAL,
		[VMBUS_E_STATE] = -EBUSY,
		[VMBUS_E_NOT_FOUND] = -ENOENT,
		[VMBUS_E_EXISTS] = -EEXIST,
		[VMBUS_E_REFUSED] = -ECONNREFUSED,
		[VMBUS_E_GONE] = -ENODEV,
	};

	return (size_t)status < sizeof(table) / sizeof(table[0]) ? table[status] : -EINVAL;
}

/* ---- life ---- */

void endpoint_init(struct part_endpoint *ep, struct part *part, bool server)
{
	ep->part = part;
	ep->id = part->id;
	ep->server = server;
	pthread_mutex_init(&ep->lock, NULL);
	endpoint_cond_init(&ep->changed);
}

void endpoint_destroy(struct part_endpoint *ep)
{
	capture_tap_end(ep);
	endpoint_free_dispatchers(ep);
	free(ep->nt_memory);
	block_pool_destroy(ep->blocks);
	page_pool_destroy(&ep->pages);
	mmio_destroy(&ep->mmio);
	part_memory_close(&ep->memory);
	pthread_cond_destroy(&ep->changed);
	pthread_mutex_destroy(&ep->lock);
}

static void find_ear(struct part_endpoint *ep, struct part_dispatch_options *options)
{
	options->transport = ep->transport;
	if (ep->server && ep->host && ep->host->ear) {
		options->ear = ep->host->ear(ep->transport, options->index);
		options->hear = options->ear ? ep->host->hear : NULL;
	} else if (!ep->server && ep->guest && ep->guest->ear) {
		options->ear = ep->guest->ear(ep->transport, options->index);
	}
}

void part_own_flags(const struct part *part, uint32_t *first_word, uint32_t *end_word)
{
	const struct part_options *o = &part->options;

	*first_word = o->first_channel / 64;
	*end_word = (o->first_channel + o->channel_range) / 64;
}

int endpoint_start_dispatchers(struct part_endpoint *ep, uint32_t count,
			       struct hv_flags *const *flags)
{
	int error = 0;

	ep->dispatchers = aligned_alloc(64, (count * sizeof(*ep->dispatchers) + 63) & ~(size_t)63);
	if (!ep->dispatchers)
		return -ENOMEM;
	while (!error && ep->dispatcher_count < count) {
		struct part_dispatch_options options = {
			.map = &ep->ports,
			.all = ep->dispatchers,
			.count = count,
			.index = ep->dispatcher_count,
			.partition = ep->id,
			.prefix = ep->server ? "kmcl-host" : "kmcl-guest",
			.flags = flags[ep->dispatcher_count],
			.poll_ns = ep->part->options.poll_ns,
		};

		find_ear(ep, &options);
		if (ep->server)
			part_own_flags(ep->part, &options.first_word, &options.end_word);
		error = part_dispatcher_start(&ep->dispatchers[options.index], &options);
		if (!error)
			ep->dispatcher_count++;
	}
	return error;
}

void endpoint_stop_dispatchers(struct part_endpoint *ep)
{
	for (uint32_t i = 0; i < ep->dispatcher_count; i++)
		part_dispatcher_stop(&ep->dispatchers[i]);
}

void endpoint_free_dispatchers(struct part_endpoint *ep)
{
	for (uint32_t i = 0; i < ep->dispatcher_count; i++)
		part_dispatcher_free(&ep->dispatchers[i]);
	free(ep->dispatchers);
	ep->dispatchers = NULL;
	ep->dispatcher_count = 0;
}

void endpoint_share_interrupts(struct part_endpoint *ep, uint8_t *page)
{
	uint8_t *incoming = page && ep->server ? page + PART_INTERRUPT_TO_HOST : page;

	atomic_store(&ep->interrupt_page, page);
	for (uint32_t i = 0; i < ep->dispatcher_count; i++)
		atomic_store(&ep->dispatchers[i].shared, (struct hv_flags *)(void *)incoming);
}

int endpoint_start_messages(struct part_endpoint *ep, void *(*run)(void *))
{
	int error;

	capture_tap_begin(ep);
	error = part_thread_create(&ep->thread, run, ep,
				   ep->server ? "kmcl-host-msg" : "kmcl-guest-msg");
	ep->running = !error;
	return error;
}

void endpoint_stop_messages(struct part_endpoint *ep)
{
	if (!ep->running)
		return;
	atomic_store(&ep->stop, true);
	part_event_raise(&ep->messages);
	pthread_join(ep->thread, NULL);
	ep->running = false;
}

bool endpoint_on_message_thread(const struct part_endpoint *ep)
{
	return ep->running && pthread_equal(pthread_self(), ep->thread);
}

/* ---- waiting ---- */

void endpoint_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

static bool wait_on(struct part_endpoint *ep, pthread_cond_t *cond)
{
	uint64_t at = clock_now_ns() + PART_WAIT_LOG_NS;
	struct timespec t = {.tv_sec = (time_t)(at / 1000000000u),
			     .tv_nsec = (long)(at % 1000000000u)};

	return pthread_cond_timedwait(cond, &ep->lock, &t) != ETIMEDOUT;
}

bool endpoint_wait(struct part_endpoint *ep)
{
	return wait_on(ep, &ep->changed);
}

/* A mutex is not fair: without a pause the same thread has it again before another one woke up. */
void endpoint_give_way(struct part_endpoint *ep)
{
	struct timespec pause = {.tv_nsec = 20000};

	pthread_mutex_unlock(&ep->lock);
	nanosleep(&pause, NULL);
	pthread_mutex_lock(&ep->lock);
}

void endpoint_wait_for(struct part_endpoint *ep, pthread_cond_t *cond, const bool *done,
		       uint32_t channel, const char *what)
{
	uint64_t start = clock_now_ns();
	uint64_t told = start;

	while (!*done) {
		uint64_t now;

		wait_on(ep, cond);
		now = clock_now_ns();
		if (*done || now - told < PART_WAIT_LOG_NS)
			continue;
		told = now;
		kmcl_log(KMCL_LOG_WARNING, PART_SUBSYSTEM, ep->id, channel,
			 "waits for %s, %u s now", what,
			 (unsigned int)((now - start) / 1000000000u));
	}
}

/* ---- messages that wait ---- */

void outgoing_init(struct outgoing_queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
	q->count = 0;
}

bool outgoing_push(struct outgoing_queue *q, const struct outgoing *message)
{
	struct outgoing *copy = malloc(sizeof(*copy));

	if (!copy)
		return false;
	*copy = *message;
	copy->next = NULL;
	*q->tail = copy;
	q->tail = &copy->next;
	q->count++;
	return true;
}

void outgoing_pop(struct outgoing_queue *q)
{
	struct outgoing *head = q->head;

	q->head = head->next;
	if (!q->head)
		q->tail = &q->head;
	q->count--;
	free(head);
}

void outgoing_clear(struct outgoing_queue *q)
{
	while (q->head)
		outgoing_pop(q);
}

/* ---- questions ---- */

struct part_endpoint *part_server(struct part *part)
{
	return &part->server;
}

struct part_endpoint *part_client(struct part *part)
{
	return &part->client;
}

bool part_endpoint_exists(const struct part_endpoint *ep)
{
	return ep->srv || ep->cli;
}

uint32_t part_id(const struct part *part)
{
	return part->id;
}

struct part *part_of(struct part_endpoint *ep)
{
	return ep->part;
}

uint8_t part_vtl(const struct part_endpoint *ep)
{
	return ep->part->options.vtl;
}

int part_server_clocks(struct part_endpoint *ep, uint64_t *reference, uint64_t *real_ns)
{
	struct hv_clocks clocks;
	int error = -ENOTSUP;

	if (ep->host && ep->host->read_clocks)
		error = ep->host->read_clocks(ep->transport, &clocks);
	if (error)
		return error;
	*reference = clocks.reference;
	*real_ns = clocks.real_ns;
	return 0;
}

const struct part_options *part_options_of(const struct part_endpoint *ep)
{
	return &ep->part->options;
}

uint32_t part_dispatchers(const struct part_endpoint *ep)
{
	return ep->dispatcher_count;
}

bool part_gpadl_is_read_only(uint32_t gpadl)
{
	return gpadl >> 20 == PART_GPADL_READ_ONLY;
}
