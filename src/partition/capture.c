/* SPDX-License-Identifier: MIT */
/* A capture: lanes, and the thread that brings their records into the file. */
#include "partition/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "partition/capture_internal.h"

#define DEFAULT_LANE  (4u << 20)
#define LEAST_LANE    4096u
#define MOST_LANE     (1u << 30)
#define MOST_PAYLOAD  (8u * VMBUS_PKT_UNITS_MAX)
/* A record's time is taken before it is complete. Nothing younger is written yet, so that what
 * other threads are about to complete still comes before it. */
#define SLACK_NS      1000000u
#define PACE_NS       1000000u
#define IDLE_PASSES   100u
#define IDLE_NS       1000000000u
#define STATISTICS_NS 1000000000u

/* ---- lanes ---- */

static struct capture_record *record_at(const struct capture_lane *l, uint64_t position)
{
	return (struct capture_record *)(void *)(l->memory + (position & (l->size - 1)));
}

/* Moves `head`. `*at` is where the record goes; a record that would wrap leaves room before it. */
static bool reserve(struct capture_lane *l, uint32_t size, uint64_t *at)
{
	uint64_t head = atomic_load_explicit(&l->head, memory_order_relaxed);
	uint32_t skip;

	for (;;) {
		/* pairs with the release in advance(): what is reserved is zero */
		uint64_t tail = atomic_load_explicit(&l->tail, memory_order_acquire);
		uint32_t left = l->size - (uint32_t)(head & (l->size - 1));

		skip = size > left ? left : 0;
		if (tail <= head && head - tail + skip + size > l->size)
			return false;
		if (tail > head)
			head = atomic_load_explicit(&l->head, memory_order_relaxed);
		else if (atomic_compare_exchange_weak_explicit(&l->head, &head, head + skip + size,
							       memory_order_relaxed,
							       memory_order_relaxed))
			break;
	}
	if (skip)
		atomic_store_explicit(&record_at(l, head)->size, skip | CAPTURE_PAD,
				      memory_order_release);
	*at = head + skip;
	return true;
}

static uint32_t record_size(uint32_t data)
{
	return (uint32_t)(sizeof(struct capture_record) + data + 7) & ~7u;
}

struct capture_record *capture_reserve(struct part_capture *c, uint32_t lane, uint32_t data)
{
	struct capture_lane *l = &c->lanes[lane];
	struct capture_record *r;
	uint64_t at;

	if (!reserve(l, record_size(data), &at)) {
		atomic_fetch_add_explicit(&l->dropped, 1, memory_order_relaxed);
		return NULL;
	}
	r = record_at(l, at);
	r->kept = data;
	r->dropped = atomic_load_explicit(&l->dropped, memory_order_relaxed);
	return r;
}

void capture_complete(struct part_capture *c, struct capture_record *r)
{
	/* pairs with the acquire in next_of() */
	atomic_store_explicit(&r->size, record_size(r->kept), memory_order_release);
	part_event_raise(&c->event);
}

static void advance(struct capture_lane *l, uint32_t size)
{
	uint64_t tail = atomic_load_explicit(&l->tail, memory_order_relaxed);

	atomic_store_explicit(&l->tail, tail + size, memory_order_release);
}

/* The lane's next record, if it is complete. */
static struct capture_record *next_of(struct capture_lane *l)
{
	for (;;) {
		struct capture_record *r =
			record_at(l, atomic_load_explicit(&l->tail, memory_order_relaxed));
		uint32_t size = atomic_load_explicit(&r->size, memory_order_acquire);

		if (!(size & CAPTURE_PAD))
			return size ? r : NULL;
		atomic_store_explicit(&r->size, 0, memory_order_relaxed);
		advance(l, size & ~CAPTURE_PAD);
	}
}

static void take(struct capture_lane *l, struct capture_record *r)
{
	uint32_t size = atomic_load_explicit(&r->size, memory_order_relaxed);

	memset((void *)r, 0, size);
	advance(l, size);
}

/* ---- the writer ---- */

static void write_record(struct part_capture *c, struct capture_lane *l, struct capture_record *r)
{
	uint64_t dropped = r->dropped > l->told ? r->dropped - l->told : 0;

	if (capture_file_record(&c->file, r, dropped))
		l->told += dropped;
	take(l, r);
}

static uint64_t drops(struct part_capture *c)
{
	uint64_t dropped = c->file.lost;

	for (uint32_t i = 0; i < CAPTURE_LANES; i++)
		dropped += atomic_load_explicit(&c->lanes[i].dropped, memory_order_relaxed);
	return dropped;
}

static bool half_full(struct part_capture *c)
{
	for (uint32_t i = 0; i < CAPTURE_LANES; i++) {
		struct capture_lane *l = &c->lanes[i];

		if (atomic_load_explicit(&l->head, memory_order_relaxed) -
			    atomic_load_explicit(&l->tail, memory_order_relaxed) >
		    l->size / 2)
			return true;
	}
	return false;
}

/*
 * Writes what is older than `horizon`, a time from before any lane is looked at. A lane that is
 * found empty is not looked at again: what comes there later is younger, or within the slack.
 */
static bool pass(struct part_capture *c, uint64_t horizon)
{
	struct capture_record *next[CAPTURE_LANES];
	bool any = false;

	for (uint32_t i = 0; i < CAPTURE_LANES; i++)
		next[i] = next_of(&c->lanes[i]);
	for (;;) {
		uint32_t first = CAPTURE_LANES;

		for (uint32_t i = 0; i < CAPTURE_LANES; i++)
			if (next[i] &&
			    (first == CAPTURE_LANES || next[i]->time < next[first]->time))
				first = i;
		if (first == CAPTURE_LANES || next[first]->time > horizon)
			break;
		write_record(c, &c->lanes[first], next[first]);
		next[first] = next_of(&c->lanes[first]);
		any = true;
	}
	for (uint32_t i = 0; i < CAPTURE_LANES; i++)
		any = any || next[i];
	return any;
}

/* A file that is cut off tells of its drops too. */
static void tell_drops(struct part_capture *c)
{
	uint64_t dropped = drops(c), now = clock_now_ns();

	if (dropped == c->statistics_dropped || now - c->statistics_at < STATISTICS_NS)
		return;
	capture_file_statistics(&c->file, c->start, dropped);
	c->statistics_dropped = dropped;
	c->statistics_at = now;
}

static void complain_once(struct part_capture *c, bool *told)
{
	if (!c->file.error || *told)
		return;
	*told = true;
	kmcl_log(KMCL_LOG_ERROR, PART_SUBSYSTEM, 0, 0,
		 "the capture ends here: its file cannot be written (%s)", strerror(c->file.error));
}

/* While records come, looks are paced by the clock, so that nobody who records has to wake anyone;
 * after a while without any it sleeps until the first. */
static void *write_records(void *arg)
{
	static const struct timespec pace = {.tv_nsec = PACE_NS};
	struct part_capture *c = arg;
	uint32_t idle = 0;
	bool told = false;

	while (!atomic_load(&c->stop)) {
		uint64_t horizon = clock_now_ns() - (half_full(c) ? 0 : SLACK_NS);

		idle = pass(c, horizon) ? 0 : idle + 1;
		tell_drops(c);
		capture_file_flush(&c->file);
		complain_once(c, &told);
		if (idle < IDLE_PASSES)
			nanosleep(&pace, NULL);
		else
			part_event_wait(&c->event, IDLE_NS);
	}
	return NULL;
}

/* ---- life ---- */

static uint32_t lane_size(uint32_t wanted)
{
	uint32_t size = LEAST_LANE;

	if (!wanted)
		return DEFAULT_LANE;
	while (size < wanted && size < MOST_LANE)
		size *= 2;
	return size;
}

static void unmap_lanes(struct part_capture *c)
{
	for (uint32_t i = 0; i < CAPTURE_LANES; i++)
		if (c->lanes[i].memory)
			munmap(c->lanes[i].memory, c->lanes[i].size);
}

/* Address space until a thread first records. */
static int map_lanes(struct part_capture *c)
{
	for (uint32_t i = 0; i < CAPTURE_LANES; i++) {
		struct capture_lane *l = &c->lanes[i];
		void *memory;

		l->size = c->options.lane;
		memory = mmap(NULL, l->size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (memory == MAP_FAILED)
			return -ENOMEM;
		l->memory = memory;
	}
	return 0;
}

static void free_capture(struct part_capture *c)
{
	unmap_lanes(c);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static int start(struct part_capture *c, const char *path)
{
	int error = map_lanes(c);

	if (!error)
		error = capture_file_open(
			&c->file, path, CAPTURE_HEADER + CAPTURE_PACKET_MOST + c->options.payload);
	if (error)
		return error;
	c->start = c->statistics_at = clock_now_ns();
	error = part_thread_create(&c->thread, write_records, c, "kmcl-capture");
	if (error)
		capture_file_close(&c->file);
	return error;
}

int part_capture_open(const char *path, const struct part_capture_options *options,
		      struct part_capture **capture)
{
	struct part_capture *c = calloc(1, sizeof(*c));
	int error;

	if (!c)
		return -ENOMEM;
	c->options = *options;
	c->options.lane = lane_size(options->lane);
	if (c->options.payload > MOST_PAYLOAD)
		c->options.payload = MOST_PAYLOAD;
	pthread_mutex_init(&c->lock, NULL);
	error = start(c, path);
	if (error)
		free_capture(c);
	else
		*capture = c;
	return error;
}

int part_capture_close(struct part_capture *c, struct part_capture_counts *counts)
{
	uint64_t dropped;
	int error;

	capture_tap_close(c);
	atomic_store(&c->stop, true);
	part_event_raise(&c->event);
	pthread_join(c->thread, NULL);
	pass(c, UINT64_MAX);
	dropped = drops(c);
	capture_file_statistics(&c->file, c->start, dropped);
	error = capture_file_close(&c->file);
	if (counts)
		*counts = (struct part_capture_counts){c->file.records, drops(c)};
	free_capture(c);
	return error;
}
